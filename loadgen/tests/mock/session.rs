//! One connection: cuts its bytes into messages and answers each, in order.

use std::{
    io::Read,
    net::TcpStream,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hawser_codec::{
    code,
    frame::{self, FrameLimits, Step},
    message::{self as wire, Message},
};

use super::{
    Fault, Shared,
    store::{Mailbox, Message as Stored, User},
};

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

/// Requests a client may have unanswered.
const REQUESTS_MAX: u16 = 8;

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Stack of a connection's thread: thousands of them are no trouble, and a chunk is all it needs.
pub const STACK_BYTES: usize = 256 * 1024;

/// A client that takes nothing for so long is left: its thread would hold others up.
const WRITE_WAIT: Duration = Duration::from_secs(5);

/// Reads and answers until the client is gone or says what cannot be understood.
pub fn serve(shared: &Arc<Shared>, mut socket: TcpStream) {
    let away = shared.turned_away.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
    let options = socket.set_nodelay(true).and(socket.set_write_timeout(Some(WRITE_WAIT)));
    if away.is_ok() || options.is_err() {
        return;
    }
    let mut session = Session { shared, socket: None, user: None, incarnation: 0, life: 0 };
    let Ok(writer) = socket.try_clone() else { return };
    session.socket = Some(writer);
    let mut inbound = Vec::new();
    let mut chunk = [0; CHUNK_BYTES];
    let mut begun = false;
    loop {
        match socket.read(&mut chunk) {
            Ok(count) if count > 0 => inbound.extend_from_slice(&chunk[..count]),
            _ => return,
        }
        if !begun {
            match frame::preface(&inbound) {
                Ok(Some(count)) => drop(inbound.drain(..count)),
                Ok(None) => continue,
                Err(_) => return,
            }
            begun = true;
        }
        let mut used = 0;
        while let Ok(Step::Frame { frame, consumed }) = frame::step(&LIMITS, &inbound[used..]) {
            used += consumed;
            let Ok(message) = wire::decode(frame) else { return };
            if session.on_message(&message).is_none() {
                return;
            }
        }
        inbound.drain(..used);
    }
}

struct Session<'a> {
    shared: &'a Arc<Shared>,
    /// Until the login gives it to the user.
    socket: Option<TcpStream>,
    user: Option<Arc<User>>,
    incarnation: u64,
    /// Number of this connection among the user's.
    life: u64,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            user.mailbox().disconnect(self.life);
        }
    }
}

impl Session<'_> {
    /// `None`: the connection is to be left.
    fn on_message(&mut self, message: &Message<'_>) -> Option<()> {
        if let Message::Request(_) = message {
            self.shared.begin();
            if !self.shared.settings.service.is_zero() {
                thread::sleep(self.shared.settings.service);
            }
        }
        let _open = self.shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        if let Message::Hello(hello) = message {
            return self.on_hello(hello);
        }
        let user = self.user.as_ref()?;
        match message {
            Message::Ping(_) if self.shared.settings.has(Fault::Deaf) => {}
            Message::Ping(_) => {
                user.mailbox().put(0, &Message::Pong(wire::Beat { next_ms: 0 }));
            }
            Message::Sync(sync) => user.mailbox().page(sync),
            Message::Request(request) => self.on_request(user, request),
            // Cursors and receipts are not kept.
            _ => {}
        }
        Some(())
    }

    fn on_hello(&mut self, hello: &wire::Hello<'_>) -> Option<()> {
        let user = self.shared.store.user(hello.user);
        self.incarnation = hello.incarnation;
        let mut mailbox = user.mailbox();
        self.life = mailbox.connect(self.socket.take()?);
        if self.shared.settings.has(Fault::Refuse) {
            let code = code::UNAUTHENTICATED;
            let refusal =
                wire::Error { code, text: "", retry_after_ms: 0, client_seq: 0, fatal: true };
            mailbox.put(0, &Message::Error(refusal));
            return Some(());
        }
        let welcome = wire::Welcome {
            version: 1,
            server_time_ms: wall_ms(),
            heartbeat_s: self.shared.settings.heartbeat_s,
            resume_token: b"",
            head: mailbox.head(),
            cursor: hello.cursor.unwrap_or(0),
            floor: mailbox.floor(),
            frame_bytes_max: 65536,
            requests_max: REQUESTS_MAX,
            compression: 0,
        };
        mailbox.put(0, &Message::Welcome(welcome));
        drop(mailbox);
        self.user = Some(user);
        Some(())
    }

    fn on_request(&self, user: &Arc<User>, request: &wire::Request<'_>) {
        // A repeat may come on another connection while the first is still being worked on.
        let mut accepted = user.accepted();
        let identity = (self.incarnation, request.client_seq);
        if let Some(sequence) = accepted.get(identity) {
            return acknowledge(&mut user.mailbox(), request.client_seq, sequence);
        }
        let store = &self.shared.store;
        let ordinal = store.count_message();
        let to = store.user(request.to);
        let conversation = store.conversation(user, &to);
        // Held until both have it: two messages of a conversation reach both in one order.
        let mut conversation = conversation.hold();
        let message = Stored {
            from: Arc::clone(&user.name),
            to: Arc::clone(&to.name),
            sequence: conversation.next(),
            incarnation: self.incarnation,
            client_seq: request.client_seq,
            uuid: request.uuid,
            body: request.body.to_vec(),
        };
        accepted.insert(identity, message.sequence);
        let sequence = message.sequence;
        let message = Arc::new(message);
        user.mailbox().append(&message, true);
        if self.shared.settings.has(Fault::Break(ordinal)) {
            self.shared.break_all();
        }
        acknowledge(&mut user.mailbox(), request.client_seq, sequence);
        self.deliver(ordinal, &to, &message);
        if let Some(late) = conversation.release_behind(&message) {
            store.user(&late.to).mailbox().append(&late, false);
        }
        if self.shared.settings.has(Fault::Swap(ordinal)) {
            conversation.hold_back(message);
        }
    }

    fn deliver(&self, ordinal: u64, to: &User, message: &Arc<Stored>) {
        let wrong = |fault| self.shared.settings.has(fault);
        if wrong(Fault::Lose(ordinal)) || wrong(Fault::Swap(ordinal)) {
            return;
        }
        if wrong(Fault::Damage(ordinal)) {
            let mut damaged = Stored::clone(message);
            if let Some(byte) = damaged.body.last_mut() {
                *byte ^= 1;
            }
            return to.mailbox().append(&Arc::new(damaged), false);
        }
        to.mailbox().append(message, false);
        if wrong(Fault::Double(ordinal)) {
            to.mailbox().append(message, false);
        }
        if wrong(Fault::Misdeliver(ordinal))
            && let Some(stranger) = self.shared.store.stranger(&message.from, &message.to)
        {
            stranger.mailbox().append(message, false);
        }
    }
}

fn acknowledge(mailbox: &mut Mailbox, client_seq: u64, sequence: u64) {
    let answer = wire::Acknowledge { client_seq, sequence, time_ms: wall_ms() };
    mailbox.put(0, &Message::Acknowledge(answer));
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64)
}
