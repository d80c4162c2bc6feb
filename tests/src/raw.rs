//! A client that does exactly what a test says, right or wrong: no repeats, no reconnects, no
//! acknowledgement of its own accord.
//!
//! Frames that come are kept until somebody asks for them, because acknowledges and notifies have
//! no order among each other.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use hawser_codec::{
    code,
    frame::{self, FLAG_PAGE, FrameLimits, PREFACE, Step},
    message::{
        self, Acknowledge, Class, Encoder, Hello, Level, Message, NotifyAcknowledge, Page, Request,
        Sync,
    },
};

use crate::{company::until, process::PATIENCE, secure::Trust};
use rustls::{ClientConnection, Stream};

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 2 << 20 };

/// Time after which [`RawClient::insist`] repeats.
const REPEAT_AFTER: Duration = Duration::from_millis(500);

/// Frames shown when what was waited for does not come.
const FRAMES_SHOWN: usize = 8;

/// A received frame.
#[derive(Clone, Debug)]
pub struct Received {
    /// Kind.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Channel.
    pub channel: u16,
    body: Vec<u8>,
}

impl Received {
    /// What it says.
    ///
    /// # Panics
    /// If the server sent something malformed.
    pub fn message(&self) -> Message<'_> {
        let Self { kind, flags, channel, body } = self;
        let frame = frame::Frame { kind: *kind, flags: *flags, channel: *channel, body };
        message::decode(frame).expect("a server speaks well")
    }
}

/// An entry of the mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in the protocol
pub struct Entry {
    pub number: u64,
    pub conversation: String,
    pub sequence: u64,
    pub sender: String,
    pub device: String,
    pub client_seq: u64,
    pub own: bool,
    pub body: Vec<u8>,
}

/// A welcome's fields that tests look at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in the protocol
pub struct Welcomed {
    pub resume_token: Vec<u8>,
    pub head: u64,
    pub cursor: u64,
    pub heartbeat_s: u16,
    pub frame_bytes_max: u32,
    pub requests_max: u16,
    pub server_time_ms: u64,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in the protocol
pub struct Refusal {
    pub code: u16,
    pub text: String,
    pub retry_after_ms: u32,
    pub client_seq: u64,
    pub fatal: bool,
}

/// A hello as a test begins with.
pub fn hello<'a>(user: &'a str, device: &'a str) -> Hello<'a> {
    Hello {
        version_min: 1,
        version_max: 1,
        realm: 0,
        user,
        device,
        token: "",
        resume_token: &[],
        incarnation: 1,
        class: Class::Desktop,
        heartbeat_s: 0,
        cursor: None,
        rewind: false,
        compression: 0,
        agent: "tests",
    }
}

/// A request as a test begins with: text, normal level, a uuid that follows from the number.
pub fn request<'a>(client_seq: u64, to: &'a str, body: &'a [u8]) -> Request<'a> {
    let mut uuid = [7; 16];
    uuid[..8].copy_from_slice(&client_seq.to_le_bytes());
    Request {
        client_seq,
        after: 0,
        uuid,
        to,
        level: Level::Normal,
        content: 1,
        receipts: 0,
        first_attempt_ms: 0,
        body,
    }
}

/// See the module.
#[derive(Debug)]
pub struct RawClient {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    encoder: Encoder,
    bytes: Vec<u8>,
    inbox: VecDeque<Received>,
    ended: bool,
}

impl RawClient {
    /// Connects and says nothing.
    ///
    /// # Panics
    /// If nobody listens.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        socket.set_write_timeout(Some(PATIENCE)).expect("a time-out can be set");
        socket.set_nodelay(true).expect("a socket has the option");
        Self {
            socket,
            tls: None,
            encoder: Encoder::new(),
            bytes: Vec::new(),
            inbox: VecDeque::new(),
            ended: false,
        }
    }

    /// Connects by TLS, to the server of this name, and greets.
    ///
    /// # Panics
    /// If the handshake fails.
    #[track_caller]
    pub fn greet_securely(
        address: SocketAddr,
        trust: &Trust,
        name: &str,
        hello: &Hello<'_>,
    ) -> Self {
        let mut client = Self::connect(address);
        let mut tls = Box::new(trust.client(name));
        while tls.is_handshaking() {
            tls.complete_io(&mut client.socket).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        client.tls = Some(tls);
        client.say(&PREFACE);
        client.tell(&Message::Hello(*hello));
        client
    }

    /// What is known of its TLS connection.
    pub fn tls(&mut self) -> Option<&mut ClientConnection> {
        self.tls.as_deref_mut()
    }

    /// Connects and greets; the answer is for the test to take.
    #[track_caller]
    pub fn greet(address: SocketAddr, hello: &Hello<'_>) -> Self {
        let mut client = Self::connect(address);
        client.say(&PREFACE);
        client.tell(&Message::Hello(*hello));
        client
    }

    /// Connects and logs in without a token.
    ///
    /// # Panics
    /// If that is refused.
    #[track_caller]
    pub fn login(address: SocketAddr, user: &str, device: &str) -> (Self, Welcomed) {
        let mut client = Self::greet(address, &hello(user, device));
        let welcomed = client.welcome();
        (client, welcomed)
    }

    /// Logs in once the mailbox has entries up to `head`: an acknowledged message may still be on
    /// its way there, above all after a restart.
    #[track_caller]
    pub fn login_at(address: SocketAddr, user: &str, device: &str, head: u64) -> (Self, Welcomed) {
        until("the entries", || {
            let (client, welcomed) = Self::login(address, user, device);
            (welcomed.head >= head).then_some((client, welcomed))
        })
    }

    /// Sends any bytes. A server that has closed meanwhile does not hear them.
    pub fn say(&mut self, bytes: &[u8]) {
        // The failure shows when the answer is read.
        let _ = match &mut self.tls {
            None => self.socket.write_all(bytes),
            Some(tls) => {
                tls.writer().write_all(bytes).expect("the answers before were read");
                while tls.wants_write() && tls.write_tls(&mut self.socket).is_ok() {}
                Ok(())
            }
        };
    }

    /// Sends bytes past TLS.
    pub fn say_unsealed(&mut self, bytes: &[u8]) {
        // The failure shows when the answer is read.
        let _ = self.socket.write_all(bytes);
    }

    /// Sends a message.
    pub fn tell(&mut self, message: &Message<'_>) {
        let mut frame = Vec::new();
        self.encoder.message(&mut frame, 0, 0, message);
        self.say(&frame);
    }

    /// Sends a request.
    pub fn request(&mut self, request: &Request<'_>) {
        self.tell(&Message::Request(*request));
    }

    /// Acknowledges the mailbox up to `number`.
    pub fn confirm(&mut self, number: u64) {
        self.tell(&Message::NotifyAcknowledge(NotifyAcknowledge { number }));
    }

    /// Closes the sending half.
    pub fn finish(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Reads what there is; false at the end of the connection.
    #[track_caller]
    fn read(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        let came = match &mut self.tls {
            None => self.socket.read(&mut buffer),
            Some(tls) => Stream::new(&mut **tls, &mut self.socket).read(&mut buffer),
        };
        match came {
            Ok(0) => self.ended = true,
            Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}; waiting: {:?}", self.latest())
            }
            // A reset: the server closed with bytes of ours unread.
            Err(_) => self.ended = true,
        }
        let mut used = 0;
        while let Ok(Step::Frame { frame, consumed }) = frame::step(&LIMITS, &self.bytes[used..]) {
            used += consumed;
            self.inbox.push_back(Received {
                kind: frame.kind,
                flags: frame.flags,
                channel: frame.channel,
                body: frame.body.to_vec(),
            });
        }
        self.bytes.drain(..used);
        !self.ended
    }

    /// Waits for the first frame that `pick` takes; the others stay for later.
    ///
    /// # Panics
    /// If the connection ends first, or nothing comes.
    #[track_caller]
    pub fn take<T>(
        &mut self,
        what: &str,
        pick: impl Fn(&Received, &Message<'_>) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut from = 0;
        loop {
            for index in from..self.inbox.len() {
                let received = &self.inbox[index];
                if let Some(taken) = pick(received, &received.message()) {
                    self.inbox.remove(index);
                    return taken;
                }
            }
            from = self.inbox.len();
            let went_on = self.read() || self.inbox.len() > from;
            assert!(went_on, "ended before {what}; waiting: {:?}", self.latest());
            assert!(Instant::now() < deadline, "no {what}; waiting: {:?}", self.latest());
        }
    }

    /// The welcome.
    #[track_caller]
    pub fn welcome(&mut self) -> Welcomed {
        self.take("welcome", |_, message| match message {
            Message::Welcome(welcome) => Some(Welcomed {
                resume_token: welcome.resume_token.to_vec(),
                head: welcome.head,
                cursor: welcome.cursor,
                heartbeat_s: welcome.heartbeat_s,
                frame_bytes_max: welcome.frame_bytes_max,
                requests_max: welcome.requests_max,
                server_time_ms: welcome.server_time_ms,
            }),
            _ => None,
        })
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// The refusal.
    #[track_caller]
    pub fn answer(&mut self, client_seq: u64) -> Result<Acknowledge, Refusal> {
        self.take("answer", |_, message| match message {
            Message::Acknowledge(answer) if answer.client_seq == client_seq => Some(Ok(*answer)),
            Message::Error(error) if error.client_seq == client_seq => Some(Err(refusal(error))),
            _ => None,
        })
    }

    /// Sends a request and waits for its acknowledgement.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn deliver(&mut self, request: &Request<'_>) -> Acknowledge {
        self.request(request);
        let answer = self.answer(request.client_seq);
        answer.unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// Sends a request again and again until there is an answer, as clients do.
    ///
    /// # Errors
    /// The refusal.
    #[track_caller]
    pub fn insist(&mut self, request: &Request<'_>) -> Result<Acknowledge, Refusal> {
        loop {
            self.request(request);
            let is_answer = |received: &Received| match received.message() {
                Message::Acknowledge(answer) => answer.client_seq == request.client_seq,
                Message::Error(error) => error.client_seq == request.client_seq,
                _ => false,
            };
            self.socket.set_read_timeout(Some(REPEAT_AFTER)).expect("a time-out can be set");
            let mut is_quiet = false;
            while !is_quiet && !self.inbox.iter().any(is_answer) {
                is_quiet = self.socket.peek(&mut [0]).is_err() || !self.read();
            }
            self.socket.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
            if !is_quiet || self.ended {
                return self.answer(request.client_seq);
            }
        }
    }

    /// The next pushed entry.
    #[track_caller]
    pub fn pushed(&mut self) -> Entry {
        self.take("entry", |received, message| match message {
            Message::Notify(notify) if received.flags & FLAG_PAGE == 0 => Some(entry(notify)),
            _ => None,
        })
    }

    /// The next pushed entry among the frames received already.
    pub fn pushed_already(&mut self) -> Option<Entry> {
        let is_pushed =
            |frame: &Received| frame.kind == frame::kind::NOTIFY && frame.flags & FLAG_PAGE == 0;
        let index = self.inbox.iter().position(is_pushed)?;
        match self.inbox.remove(index)?.message() {
            Message::Notify(notify) => Some(entry(&notify)),
            _ => None,
        }
    }

    /// The next head.
    #[track_caller]
    pub fn head(&mut self) -> u64 {
        self.take("head", |_, message| match message {
            Message::Head(head) => Some(head.head),
            _ => None,
        })
    }

    /// Asks for entries above `after` and gives them.
    #[track_caller]
    pub fn page(&mut self, after: u64, limit: u16) -> (Vec<Entry>, Page) {
        self.ask_page(&Sync { request: 1, after, limit, backward: false, since_ms: 0 })
    }

    /// Asks for a page and gives it; refusals for now are asked again.
    #[track_caller]
    pub fn ask_page(&mut self, question: &Sync) -> (Vec<Entry>, Page) {
        loop {
            self.tell(&Message::Sync(*question));
            let answer = self.take("page", |_, message| match message {
                Message::Page(page) if page.request == question.request => Some(Some(*page)),
                Message::Error(error)
                    if error.client_seq == 0 && error.code == code::RECOVERING =>
                {
                    Some(None)
                }
                _ => None,
            });
            let Some(page) = answer else { continue };
            let mut entries = Vec::new();
            for _ in 0..page.count {
                entries.push(self.take("entry of the page", |received, message| match message {
                    Message::Notify(notify) if received.flags & FLAG_PAGE != 0 => {
                        Some(entry(notify))
                    }
                    _ => None,
                }));
            }
            return (entries, page);
        }
    }

    /// The error that ends this connection, and its end.
    ///
    /// # Panics
    /// If it goes on after that.
    #[track_caller]
    pub fn farewell(&mut self) -> Refusal {
        let refusal = self.take("fatal error", |_, message| match message {
            Message::Error(error) if error.fatal => Some(refusal(error)),
            _ => None,
        });
        self.end();
        refusal
    }

    /// The error that ends this connection, if it has come.
    ///
    /// # Panics
    /// If the socket's mode cannot be changed.
    #[track_caller]
    pub fn farewell_already(&mut self) -> Option<Refusal> {
        self.socket.set_nonblocking(true).expect("a socket has the mode");
        let mut byte = [0];
        let came = self.socket.peek(&mut byte);
        self.socket.set_nonblocking(false).expect("a socket has the mode");
        came.is_ok().then(|| self.farewell())
    }

    /// Waits for the end of the connection.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn end(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.ended {
            self.read();
            assert!(Instant::now() < deadline, "the connection goes on");
        }
    }

    /// A question and its answer: everything the server sent before has been received after it.
    #[track_caller]
    pub fn settle(&mut self) {
        self.tell(&Message::Ping(message::Beat { next_ms: 0 }));
        self.take("pong", |_, message| matches!(message, Message::Pong(_)).then_some(()));
    }

    /// The last frames received and not asked for, latest first.
    fn latest(&self) -> Vec<Message<'_>> {
        self.inbox.iter().rev().take(FRAMES_SHOWN).map(Received::message).collect()
    }

    /// Frames received and not asked for.
    pub fn waiting(&self) -> impl Iterator<Item = &Received> {
        self.inbox.iter()
    }
}

fn entry(notify: &message::Notify<'_>) -> Entry {
    Entry {
        number: notify.number,
        conversation: notify.conversation.to_owned(),
        sequence: notify.sequence,
        sender: notify.sender.to_owned(),
        device: notify.device.to_owned(),
        client_seq: notify.client_seq,
        own: notify.own,
        body: notify.body.to_vec(),
    }
}

fn refusal(error: &message::Error<'_>) -> Refusal {
    Refusal {
        code: error.code,
        text: error.text.to_owned(),
        retry_after_ms: error.retry_after_ms,
        client_seq: error.client_seq,
        fatal: error.fatal,
    }
}
