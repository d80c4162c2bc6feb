//! A WebSocket client byte by byte: it upgrades, says frames, and hears what comes one by one.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use hawser_codec::websocket::{
    Event, Limits, MESSAGE_BYTES_MAX, Opcode, Reader, Role, Rules,
    deflate::{Agreement, Codec, Kept, Shared},
    handshake::client::Request,
    write,
};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Key of this client's masks: what the norm wants random, a test wants the same each time.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What the server has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame: its code and reason.
    Close(Option<u16>, String),
    /// The connection has ended.
    End,
}

/// An answer to an upgrade that opened nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Status.
    pub status: u16,
    /// Head and body.
    pub text: String,
}

/// How a client asks for its upgrade.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Path and query.
    pub path: &'a str,
    /// Sub-protocols.
    pub protocols: &'a [&'a str],
    /// Further fields.
    pub fields: &'a [(&'a str, &'a str)],
    /// permessage-deflate, with context take-over or without.
    pub deflate: Option<bool>,
}

impl<'a> Wish<'a> {
    /// For this path and sub-protocol, without anything special.
    pub const fn of(path: &'a str, protocols: &'a [&'a str]) -> Self {
        Self { path, protocols, fields: &[], deflate: None }
    }
}

/// Compression as agreed.
struct Deflate {
    agreement: Agreement,
    kept: Option<Kept>,
    shared: Shared,
}

/// See the module.
pub struct WebSocketClient {
    socket: TcpStream,
    bytes: Vec<u8>,
    reader: Reader,
    payload: Vec<u8>,
    deflate: Option<Deflate>,
    /// Sub-protocol chosen.
    pub protocol: Option<String>,
}

impl std::fmt::Debug for WebSocketClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketClient").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// Connects, with a bound on every wait.
///
/// # Panics
/// If nobody listens.
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, PATIENCE)
        .unwrap_or_else(|error| panic!("{address}: {error}"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    socket.set_write_timeout(Some(PATIENCE)).expect("a time-out can be set");
    socket.set_nodelay(true).expect("a socket has the option");
    socket
}

/// Sends these bytes over a connection of their own and reads until the server closes it.
///
/// # Panics
/// If nobody listens, or it stays open.
#[track_caller]
pub fn ask(address: SocketAddr, request: &str) -> String {
    let mut socket = connect(address);
    socket.write_all(request.as_bytes()).expect("the request goes out");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("the answer ends");
    String::from_utf8_lossy(&answer).into_owned()
}

impl WebSocketClient {
    /// Opens a connection.
    ///
    /// # Errors
    /// The answer, if it opens none.
    ///
    /// # Panics
    /// If nobody listens, or the answer is not one to the request.
    #[track_caller]
    pub fn open(address: SocketAddr, wish: &Wish<'_>) -> Result<Self, Refused> {
        Self::open_over(connect(address), address, wish)
    }

    /// Opens a connection over this one.
    ///
    /// # Errors
    /// The answer, if it opens none.
    ///
    /// # Panics
    /// If the answer is not one to the request.
    #[track_caller]
    pub fn open_over(
        mut socket: TcpStream,
        address: SocketAddr,
        wish: &Wish<'_>,
    ) -> Result<Self, Refused> {
        let host = address.to_string();
        let request = Request {
            host: &host,
            path: wish.path,
            key: [7; 16],
            protocols: wish.protocols,
            deflate: wish.deflate,
            fields: wish.fields,
        };
        let mut head = Vec::new();
        request.put(&mut head);
        socket.write_all(&head).expect("the request goes out");
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let mut buffer = [0; 4096];
            let count = socket.read(&mut buffer).expect("an answer comes");
            assert!(count > 0, "closed without an answer: {}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&buffer[..count]);
        };
        let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        if status != 101 {
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).expect("a refusal ends the connection");
            let body = [&bytes[end..], &rest].concat();
            return Err(Refused { status, text: text + &String::from_utf8_lossy(&body) });
        }
        let fields = text.lines().skip(1).filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name, value.trim().as_bytes()))
        });
        let opened = request.read_answer(status, fields).unwrap_or_else(|fault| {
            panic!("{fault}: {text}");
        });
        Ok(Self {
            socket,
            bytes: bytes[end..].to_vec(),
            reader: Reader::default(),
            payload: Vec::new(),
            deflate: opened.deflate.map(|agreement| Deflate {
                agreement,
                kept: Kept::new(agreement),
                shared: Shared::new(6),
            }),
            protocol: opened.protocol.map(str::to_owned),
        })
    }

    /// Compression was agreed on.
    pub fn deflates(&self) -> bool {
        self.deflate.is_some()
    }

    /// Sends any bytes. A server that has closed meanwhile does not hear them.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        // The failure shows when the answer is read.
        let _ = self.socket.write_all(bytes);
    }

    /// Sends one frame.
    pub fn say_frame(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) {
        let mut frame = Vec::new();
        write::frame(&mut frame, opcode, fin, false, payload, Some(KEY));
        self.say_bytes(&frame);
    }

    /// Sends a message in one frame, compressed if that was agreed.
    pub fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        let Some(deflate) = &mut self.deflate else {
            return self.say_frame(opcode, true, payload);
        };
        let mut frame = Vec::new();
        codec(deflate).frame(&mut frame, opcode, payload, Some(KEY));
        self.say_bytes(&frame);
    }

    /// Sends a text.
    pub fn say_text(&mut self, text: &str) {
        self.say(Opcode::Text, text.as_bytes());
    }

    /// Sends a close frame.
    pub fn say_close(&mut self, code: Option<u16>) {
        let mut frame = Vec::new();
        write::close(&mut frame, code, "", Some(KEY));
        self.say_bytes(&frame);
    }

    /// Waits for what comes next.
    ///
    /// # Panics
    /// If nothing comes, or what comes breaks the norm.
    #[track_caller]
    pub fn hear(&mut self) -> Heard {
        let limits =
            Limits { frame_bytes_max: MESSAGE_BYTES_MAX, message_bytes_max: MESSAGE_BYTES_MAX };
        let rules = Rules { role: Role::Client, deflate: self.deflate.is_some(), limits };
        loop {
            let step = self
                .reader
                .step(&rules, &self.bytes, &mut self.payload)
                .unwrap_or_else(|violation| panic!("the server breaks the norm: {violation}"));
            self.bytes.drain(..step.consumed);
            match step.event {
                Some(Event::Message { text, compressed }) => {
                    let mut message = std::mem::take(&mut self.payload);
                    if compressed {
                        let deflate = self.deflate.as_mut().expect("the reader has checked it");
                        let mut inflated = Vec::new();
                        codec(deflate)
                            .inflate(&message, text, MESSAGE_BYTES_MAX, &mut inflated)
                            .unwrap_or_else(|violation| panic!("{violation}"));
                        message = inflated;
                    }
                    return match text {
                        true => Heard::Text(String::from_utf8(message).expect("checked")),
                        false => Heard::Binary(message),
                    };
                }
                Some(Event::Ping(ping)) => return Heard::Ping(ping.as_bytes().to_vec()),
                Some(Event::Pong(pong)) => return Heard::Pong(pong.as_bytes().to_vec()),
                Some(Event::Close(close)) => {
                    return Heard::Close(close.code, close.reason().to_owned());
                }
                None => {}
            }
            let mut buffer = [0; 64 * 1024];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Heard::End,
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    panic!("nothing came for {PATIENCE:?}");
                }
                // A reset: the server closed with bytes of ours unread.
                Err(_) => return Heard::End,
            }
        }
    }

    /// The next text.
    ///
    /// # Panics
    /// If something else comes.
    #[track_caller]
    pub fn hear_text(&mut self) -> String {
        match self.hear() {
            Heard::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    /// The close frame, and the end behind it; messages before it are skipped.
    ///
    /// # Panics
    /// If the connection ends without one, or goes on behind it.
    #[track_caller]
    pub fn hear_close(&mut self) -> Option<u16> {
        loop {
            match self.hear() {
                Heard::Close(code, _) => {
                    self.say_close(code);
                    assert_eq!(self.hear(), Heard::End, "nothing follows a close frame");
                    return code;
                }
                Heard::End => panic!("the connection ended without a close frame"),
                _ => {}
            }
        }
    }
}

fn codec(deflate: &mut Deflate) -> Codec<'_> {
    Codec {
        agreement: deflate.agreement,
        role: Role::Client,
        kept: deflate.kept.as_mut(),
        shared: &mut deflate.shared,
    }
}
