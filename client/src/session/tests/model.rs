//! A server with one user, and the wire to it.

use std::collections::HashMap;

use hawser_codec::{
    code,
    frame::{self, FLAG_PAGE, FrameLimits, Step},
    message::{self as wire, Encoder, Message as Wire},
    time::Now,
};

use crate::{
    outbox::Outbox,
    session::{Acknowledging, Action, ClientSession, ConnectionState, Event, Outgoing, Settings},
};

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

#[derive(Clone, Debug)]
pub struct Entry {
    peer: String,
    sequence: u64,
    incarnation: u64,
    client_seq: u64,
    uuid: [u8; 16],
    pub own: bool,
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
pub struct Server {
    pub mailbox: Vec<Entry>,
    cursor: u64,
    sequences: HashMap<String, u64>,
    /// Highest number appended per conversation and incarnation.
    appended: HashMap<(String, u64), u64>,
    incarnation: u64,
    online: bool,
    pushed: u64,
    pushing: bool,
    /// Head number told instead of pushing; pushing goes on when the cursor is there.
    told: u64,
    pub refuse: u8,
    pub ignore: bool,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    encoder: Encoder,
    arrivals: u64,
}

impl Server {
    fn put(&mut self, flags: u8, message: &Wire<'_>) {
        self.encoder.message(&mut self.outbound, 0, flags, message);
    }

    pub fn arrive(&mut self, peer: &str) {
        self.arrivals += 1;
        let sequence = self.next_sequence(peer);
        self.mailbox.push(Entry {
            peer: peer.to_owned(),
            sequence,
            incarnation: 1,
            client_seq: self.arrivals,
            uuid: [1; 16],
            own: false,
            body: self.arrivals.to_le_bytes().to_vec(),
        });
        self.push();
    }

    fn next_sequence(&mut self, peer: &str) -> u64 {
        let sequence = self.sequences.entry(peer.to_owned()).or_default();
        *sequence += 1;
        *sequence
    }

    pub fn stall(&mut self) {
        let head = self.mailbox.len() as u64;
        if self.online && self.cursor < head {
            self.pushing = false;
            self.told = head;
            self.put(0, &Wire::Head(wire::Head { head }));
        }
    }

    fn push(&mut self) {
        while self.online && self.pushing && self.pushed < self.mailbox.len() as u64 {
            self.pushed += 1;
            self.notify(self.pushed, 0);
        }
    }

    fn notify(&mut self, number: u64, flags: u8) {
        let entry = self.mailbox[number as usize - 1].clone();
        let notify = wire::Notify {
            number,
            conversation: &entry.peer,
            sequence: entry.sequence,
            sender: if entry.own { "alice" } else { &entry.peer },
            device: "d",
            incarnation: entry.incarnation,
            client_seq: entry.client_seq,
            uuid: entry.uuid,
            time_ms: 1,
            content: 0,
            receipts: 0,
            own: entry.own,
            body: if entry.own { &[] } else { &entry.body },
        };
        self.put(flags, &Wire::Notify(notify));
    }

    fn disconnect(&mut self) {
        self.online = false;
        self.inbound.clear();
        self.outbound.clear();
    }

    fn on_bytes(&mut self, bytes: &[u8]) {
        self.inbound.extend_from_slice(bytes);
        let inbound = std::mem::take(&mut self.inbound);
        let mut rest = inbound.as_slice();
        if !self.online && rest.starts_with(&frame::PREFACE[..1]) {
            match frame::preface(rest).unwrap() {
                Some(count) if rest.len() > count => rest = &rest[count..],
                _ => return self.inbound = inbound,
            }
        }
        let mut used = 0;
        while let Step::Frame { frame, consumed } = frame::step(&LIMITS, &rest[used..]).unwrap() {
            used += consumed;
            self.on_message(&wire::decode(frame).unwrap());
        }
        let keep = if self.online { rest[used..].to_vec() } else { inbound.clone() };
        self.inbound = keep;
    }

    fn on_message(&mut self, message: &Wire<'_>) {
        match message {
            Wire::Hello(hello) => {
                self.online = true;
                self.incarnation = hello.incarnation;
                self.cursor = self.cursor.max(hello.cursor.unwrap_or(0));
                let head = self.mailbox.len() as u64;
                self.pushed = head;
                self.pushing = self.cursor == head;
                self.told = head;
                let cursor = self.cursor;
                self.put(0, &Wire::Welcome(welcome(head, cursor)));
            }
            Wire::Request(request) => self.on_request(request),
            Wire::NotifyAcknowledge(up_to) => {
                assert!(up_to.number <= self.mailbox.len() as u64);
                self.cursor = self.cursor.max(up_to.number);
                self.resume();
            }
            Wire::Sync(sync) => self.on_sync(sync),
            Wire::Ping(_) => self.put(0, &Wire::Pong(wire::Beat { next_ms: 0 })),
            other => panic!("a client does not send {other:?}"),
        }
    }

    fn resume(&mut self) {
        if !self.pushing && self.cursor >= self.told {
            self.pushing = true;
            self.pushed = self.cursor;
            self.push();
        }
    }

    fn on_sync(&mut self, sync: &wire::Sync) {
        if std::mem::take(&mut self.ignore) {
            return;
        }
        self.cursor = self.cursor.max(sync.after);
        let head = self.mailbox.len() as u64;
        let last = head.min(sync.after + u64::from(sync.limit));
        for number in sync.after + 1..=last {
            self.notify(number, FLAG_PAGE);
        }
        let page = wire::Page {
            request: sync.request,
            count: (last - sync.after) as u16,
            head,
            cursor: self.cursor,
            floor: 0,
            more: last < head,
        };
        self.put(0, &Wire::Page(page));
        if last == head {
            self.pushing = true;
            self.pushed = head;
        }
    }

    fn on_request(&mut self, request: &wire::Request<'_>) {
        if std::mem::take(&mut self.ignore) {
            return;
        }
        let key = (request.to.to_owned(), self.incarnation);
        let highest = self.appended.get(&key).copied().unwrap_or(0);
        let stored = self.mailbox.iter().find(|entry| {
            entry.own
                && entry.incarnation == self.incarnation
                && entry.client_seq == request.client_seq
        });
        if let Some(entry) = stored {
            assert_eq!((entry.uuid, entry.body.as_slice()), (request.uuid, request.body));
            let sequence = entry.sequence;
            return self.accept(request.client_seq, sequence);
        }
        if self.refuse > 0 {
            self.refuse -= 1;
            return self.refuse_request(request.client_seq, code::OVERLOADED);
        }
        assert!(request.client_seq > highest, "sent behind a later one of its conversation");
        if request.after > highest {
            return self.refuse_request(request.client_seq, code::OUT_OF_ORDER);
        }
        self.appended.insert(key, request.client_seq);
        let sequence = self.next_sequence(request.to);
        self.mailbox.push(Entry {
            peer: request.to.to_owned(),
            sequence,
            incarnation: self.incarnation,
            client_seq: request.client_seq,
            uuid: request.uuid,
            own: true,
            body: request.body.to_vec(),
        });
        self.accept(request.client_seq, sequence);
        self.push();
    }

    fn accept(&mut self, client_seq: u64, sequence: u64) {
        let answer = wire::Acknowledge { client_seq, sequence, time_ms: 1 };
        self.put(0, &Wire::Acknowledge(answer));
    }

    fn refuse_request(&mut self, client_seq: u64, code: u16) {
        let error = wire::Error { code, text: "", retry_after_ms: 50, client_seq, fatal: false };
        self.put(0, &Wire::Error(error));
    }
}

pub fn welcome(head: u64, cursor: u64) -> wire::Welcome<'static> {
    wire::Welcome {
        version: 1,
        server_time_ms: 5_000_000,
        heartbeat_s: 30,
        resume_token: b"token",
        head,
        cursor,
        floor: 0,
        frame_bytes_max: 65536,
        requests_max: 4,
        compression: 0,
    }
}

/// A session, the wire and the server, and what the application saw.
pub struct World {
    pub session: ClientSession,
    pub server: Server,
    pub now: Now,
    uplink: Vec<u8>,
    connected: bool,
    settings: Settings,
    manual: bool,
    sent: u64,
    seen: Vec<(u64, bool, Vec<u8>)>,
    answered: Vec<u64>,
}

impl World {
    pub fn new(server: Server, manual: bool) -> Self {
        let mut settings = Settings::new("alice", "d");
        settings.page_entries = 3;
        if manual {
            settings.acknowledging = Acknowledging::Manual;
        }
        let session = ClientSession::new(settings.clone(), Outbox::new(7));
        let now = Now { monotonic_us: 1, wall_ms: 1_000_000 };
        Self {
            session,
            server,
            now,
            uplink: Vec::new(),
            connected: false,
            settings,
            manual,
            sent: 0,
            seen: Vec::new(),
            answered: Vec::new(),
        }
    }

    pub fn send(&mut self, to: &str) {
        self.sent += 1;
        let message = Outgoing {
            to: to.to_owned(),
            uuid: [self.sent as u8; 16],
            level: wire::Level::Normal,
            content: 0,
            receipts: 0,
            body: self.sent.to_le_bytes().to_vec(),
        };
        assert_eq!(self.session.send(self.now, message), Ok(self.sent));
        self.collect();
    }

    fn collect(&mut self) {
        let bytes = self.session.take_bytes(Vec::new());
        if self.connected {
            self.uplink.extend_from_slice(&bytes);
        }
        while let Some(event) = self.session.next_event() {
            match event {
                Event::Message(message) => {
                    self.seen.push((message.number, false, message.body));
                    if self.manual {
                        self.session.acknowledge(self.now, message.number);
                    }
                }
                Event::Own { number, .. } => {
                    self.seen.push((number, true, Vec::new()));
                    if self.manual {
                        self.session.acknowledge(self.now, number);
                    }
                }
                Event::Acknowledged { client_seq, .. } => self.answered.push(client_seq),
                Event::State(_) => {}
                other => panic!("not expected: {other:?}"),
            }
        }
        let bytes = self.session.take_bytes(Vec::new());
        if self.connected {
            self.uplink.extend_from_slice(&bytes);
        }
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Connect { .. } => {
                    self.connected = true;
                    self.session.on_connected(self.now);
                    self.uplink = self.session.take_bytes(Vec::new());
                }
                Action::Close => self.break_connection(),
            }
        }
    }

    pub fn break_connection(&mut self) {
        if self.connected {
            self.connected = false;
            self.uplink.clear();
            self.server.disconnect();
            self.session.on_disconnected(self.now, 12345);
            self.collect();
        }
    }

    pub fn restart(&mut self) {
        self.break_connection();
        let stored = self.session.outbox().to_bytes();
        let outbox = Outbox::from_bytes(&stored).unwrap();
        self.session = ClientSession::new(self.settings.clone(), outbox);
    }

    pub fn pass(&mut self, bytes: usize) {
        let up = bytes.min(self.uplink.len());
        let uplink: Vec<u8> = self.uplink.drain(..up).collect();
        self.server.on_bytes(&uplink);
        let down = bytes.min(self.server.outbound.len());
        let downlink: Vec<u8> = self.server.outbound.drain(..down).collect();
        self.session.on_bytes(self.now, &downlink);
        self.collect();
    }

    pub fn wait(&mut self, ms: u64) {
        let end_us = self.now.monotonic_us + ms * 1000;
        for _ in 0..10_000 {
            self.session.on_time(self.now);
            self.collect();
            match self.session.next_deadline() {
                Some(at_us) if at_us <= end_us => {
                    assert!(
                        at_us > self.now.monotonic_us
                            || self.session.state() != ConnectionState::Online,
                        "deadline that on_time does not clear"
                    );
                    self.set_time(at_us.max(self.now.monotonic_us));
                }
                _ => return self.set_time(end_us),
            }
        }
        panic!("time does not pass");
    }

    fn set_time(&mut self, monotonic_us: u64) {
        self.now.wall_ms += (monotonic_us - self.now.monotonic_us) / 1000;
        self.now.monotonic_us = monotonic_us;
    }

    pub fn settle(&mut self) {
        for _ in 0..400 {
            self.wait(200);
            self.pass(usize::MAX);
        }
    }

    pub fn check(&self) {
        let expected: Vec<(u64, bool, Vec<u8>)> = (1..)
            .zip(&self.server.mailbox)
            .map(|(number, entry)| {
                (number, entry.own, if entry.own { Vec::new() } else { entry.body.clone() })
            })
            .collect();
        assert_eq!(self.seen, expected);
        let mut answered = self.answered.clone();
        answered.sort_unstable();
        assert_eq!(answered, (1..=self.sent).collect::<Vec<_>>());
        for peer in ["bob", "carol"] {
            let of_peer =
                self.server.mailbox.iter().filter(|entry| entry.own && entry.peer == peer);
            let order: Vec<u64> = of_peer.map(|entry| entry.client_seq).collect();
            assert!(order.is_sorted(), "{peer}: {order:?}");
        }
        assert_eq!(self.server.cursor, self.server.mailbox.len() as u64, "all acknowledged");
    }
}
