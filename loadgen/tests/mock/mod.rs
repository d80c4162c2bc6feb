//! A small server of the native protocol on loopback, a thread per connection, with planted
//! faults.

// The lint knows tests by their attribute; this module is only ever compiled into one.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use hawser_codec::{
    frame::{self, FLAG_PAGE, FrameLimits, Step},
    message::{self as wire, Encoder, Message},
};

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

/// What is wrong with the server; the number says with which message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Acknowledged and never delivered.
    Lose(u64),
    /// Delivered under two numbers.
    Double(u64),
    /// Delivered behind the next one of its conversation.
    Swap(u64),
    /// A byte is changed.
    Damage(u64),
    /// Every connection breaks once, the answer to this message included, and the first ones to
    /// come back find the door shut, as while a server restarts.
    Break(u64),
    /// Pings are not answered.
    Deaf,
    /// Nobody may log in.
    Refuse,
}

#[derive(Clone)]
struct Entry {
    conversation: String,
    sender: String,
    sequence: u64,
    incarnation: u64,
    client_seq: u64,
    uuid: [u8; 16],
    own: bool,
    body: Vec<u8>,
}

#[derive(Default)]
struct User {
    mailbox: Vec<Entry>,
    socket: Option<TcpStream>,
}

#[derive(Default)]
struct State {
    users: HashMap<String, User>,
    sequences: HashMap<(String, String), u64>,
    accepted: HashMap<(String, u64), u64>,
    messages: u64,
    /// Connections that are closed at once.
    turned_away: u32,
    held_back: Option<(String, Entry)>,
    encoder: Encoder,
}

/// Starts a server; gives its address. Its threads end with the test's process.
pub fn start(fault: Fault) -> SocketAddr {
    // Clients of the tests bind ports from 20000 up.
    let first = 10_000 + std::process::id() as u16 % 8_000;
    let mut ports = (first..20_000).chain(10_000..first);
    let listener = ports.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::new(Mutex::new(State::default()));
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(&state, fault, socket));
        }
    });
    address
}

fn serve(state: &Mutex<State>, fault: Fault, mut socket: TcpStream) {
    {
        let mut state = state.lock().unwrap();
        if state.turned_away > 0 {
            state.turned_away -= 1;
            return;
        }
    }
    socket.set_nodelay(true).unwrap();
    let mut inbound = Vec::new();
    let mut chunk = [0; 4096];
    let mut user = String::new();
    let mut begun = false;
    let mut incarnation = 0;
    loop {
        match socket.read(&mut chunk) {
            Ok(count) if count > 0 => inbound.extend_from_slice(&chunk[..count]),
            _ => return,
        }
        if !begun {
            match frame::preface(&inbound).unwrap() {
                Some(count) => drop(inbound.drain(..count)),
                None => continue,
            }
            begun = true;
        }
        let mut used = 0;
        while let Step::Frame { frame, consumed } = frame::step(&LIMITS, &inbound[used..]).unwrap()
        {
            used += consumed;
            let message = wire::decode(frame).unwrap();
            let mut state = state.lock().unwrap();
            if let Message::Hello(hello) = &message {
                user = hello.user.to_owned();
                incarnation = hello.incarnation;
                state.users.entry(user.clone()).or_default().socket =
                    Some(socket.try_clone().unwrap());
            }
            state.on_message(fault, &user, incarnation, &message);
        }
        inbound.drain(..used);
    }
}

impl State {
    fn put(&mut self, user: &str, flags: u8, message: &Message<'_>) {
        let mut bytes = Vec::new();
        self.encoder.message(&mut bytes, 0, flags, message);
        if let Some(socket) = self.users.get_mut(user).and_then(|user| user.socket.as_mut()) {
            // A client that has gone reads it from its mailbox later.
            let _ = socket.write_all(&bytes);
        }
    }

    fn on_message(&mut self, fault: Fault, user: &str, incarnation: u64, message: &Message<'_>) {
        match message {
            Message::Hello(hello) => self.on_hello(fault, user, hello),
            Message::Ping(_) if fault == Fault::Deaf => {}
            Message::Ping(_) => self.put(user, 0, &Message::Pong(wire::Beat { next_ms: 0 })),
            Message::NotifyAcknowledge(_) => {}
            Message::Sync(sync) => self.on_sync(user, sync),
            Message::Request(request) => self.on_request(fault, user, incarnation, request),
            other => panic!("a client does not send {other:?}"),
        }
    }

    fn on_hello(&mut self, fault: Fault, user: &str, hello: &wire::Hello<'_>) {
        if fault == Fault::Refuse {
            let code = hawser_codec::code::UNAUTHENTICATED;
            let error =
                wire::Error { code, text: "", retry_after_ms: 0, client_seq: 0, fatal: true };
            return self.put(user, 0, &Message::Error(error));
        }
        let head = self.users[user].mailbox.len() as u64;
        let welcome = wire::Welcome {
            version: 1,
            server_time_ms: 1,
            heartbeat_s: 1,
            resume_token: b"",
            head,
            cursor: hello.cursor.unwrap_or(0),
            floor: 0,
            frame_bytes_max: 65536,
            requests_max: 8,
            compression: 0,
        };
        self.put(user, 0, &Message::Welcome(welcome));
    }

    fn on_sync(&mut self, user: &str, sync: &wire::Sync) {
        let head = self.users[user].mailbox.len() as u64;
        let last = head.min(sync.after + u64::from(sync.limit));
        for number in sync.after + 1..=last {
            self.notify(user, number, FLAG_PAGE);
        }
        let page = wire::Page {
            request: sync.request,
            count: (last - sync.after) as u16,
            head,
            cursor: sync.after,
            floor: 0,
            more: last < head,
        };
        self.put(user, 0, &Message::Page(page));
    }

    fn notify(&mut self, user: &str, number: u64, flags: u8) {
        let entry = self.users[user].mailbox[number as usize - 1].clone();
        let notify = wire::Notify {
            number,
            conversation: &entry.conversation,
            sequence: entry.sequence,
            sender: &entry.sender,
            device: "load",
            incarnation: entry.incarnation,
            client_seq: entry.client_seq,
            uuid: entry.uuid,
            time_ms: 1,
            content: 0,
            receipts: 0,
            own: entry.own,
            body: if entry.own { &[] } else { &entry.body },
        };
        self.put(user, flags, &Message::Notify(notify));
    }

    fn append(&mut self, user: &str, entry: Entry) {
        let mailbox = &mut self.users.entry(user.to_owned()).or_default().mailbox;
        mailbox.push(entry);
        let number = mailbox.len() as u64;
        self.notify(user, number, 0);
    }

    fn on_request(
        &mut self,
        fault: Fault,
        user: &str,
        incarnation: u64,
        request: &wire::Request<'_>,
    ) {
        let identity = (user.to_owned(), request.client_seq);
        if let Some(&sequence) = self.accepted.get(&identity) {
            return self.accept(user, request.client_seq, sequence);
        }
        self.messages += 1;
        let ordinal = self.messages;
        let mut pair = [user.to_owned(), request.to.to_owned()];
        pair.sort();
        let [a, b] = pair;
        let next = self.sequences.entry((a, b)).or_default();
        *next += 1;
        let sequence = *next;
        self.accepted.insert(identity, sequence);
        let own = Entry {
            conversation: request.to.to_owned(),
            sender: user.to_owned(),
            sequence,
            incarnation,
            client_seq: request.client_seq,
            uuid: request.uuid,
            own: true,
            body: request.body.to_vec(),
        };
        let mut entry = Entry { conversation: user.to_owned(), own: false, ..own.clone() };
        self.append(user, own);
        if fault == Fault::Break(ordinal) {
            self.turned_away = 10;
            for user in self.users.values_mut() {
                if let Some(socket) = user.socket.take() {
                    let _ = socket.shutdown(Shutdown::Both);
                }
            }
        }
        self.accept(user, request.client_seq, sequence);
        match fault {
            Fault::Lose(bad) if bad == ordinal => return,
            Fault::Double(bad) if bad == ordinal => self.append(request.to, entry.clone()),
            Fault::Damage(bad) if bad == ordinal => entry.body[40] ^= 1,
            Fault::Swap(bad) if bad == ordinal => {
                self.held_back = Some((request.to.to_owned(), entry));
                return;
            }
            _ => {}
        }
        self.append(request.to, entry);
        if self.held_back.as_ref().is_some_and(|(to, _)| to == request.to) {
            let (to, late) = self.held_back.take().unwrap();
            self.append(&to, late);
        }
    }

    fn accept(&mut self, user: &str, client_seq: u64, sequence: u64) {
        let answer = wire::Acknowledge { client_seq, sequence, time_ms: 1 };
        self.put(user, 0, &Message::Acknowledge(answer));
    }
}
