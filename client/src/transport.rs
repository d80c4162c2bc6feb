//! One session on tokio: the shell around [`ClientSession`], and no more than that.
//!
//! A task owns the session and its socket; [`Client`] talks to it through two bounded channels.
//! Invariant: while the application does not take events, at most the session's own bound of
//! them is held and the socket is not read, so a slow application slows its server down.

use std::{
    io,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hawser_codec::{message::Level, time::Now};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{
    outbox::Outbox,
    session::{Action, ClientSession, ConnectionState, Event, Outgoing, SendError, Settings},
};

/// Calls of the application that may wait for the session's task.
const COMMANDS_MAX: usize = 64;

/// Events on the way to the application, beside those the session holds.
const EVENTS_MAX: usize = 64;

/// Read at a time, bytes.
const READ_BYTES: usize = 16 * 1024;

/// A connection that is not there after this time is a failed one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest sleep between two looks at the session, when it names no deadline.
const IDLE_SLEEP: Duration = Duration::from_secs(60);

/// What a [`Client`] can fail with.
#[derive(Debug)]
pub enum ClientError {
    /// The session did not take the message.
    Send(SendError),
    /// The session's task has ended: see the last event, [`Event::Ended`].
    Ended,
    /// The system gave no random numbers.
    Random(io::Error),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Send(error) => error.fmt(formatter),
            Self::Ended => formatter.write_str("session has ended"),
            Self::Random(error) => write!(formatter, "no random numbers: {error}"),
        }
    }
}

impl std::error::Error for ClientError {}

enum Command {
    Send(Outgoing, oneshot::Sender<Result<u64, SendError>>),
    Acknowledge(u64),
    Receipt { conversation: String, what: u8, sequence: u64 },
    Sync,
    Outbox(oneshot::Sender<Vec<u8>>),
    End,
}

/// A device's connection, kept up by a task until [`Client::end`] or until this is dropped.
#[derive(Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
}

impl Client {
    /// Starts a session with the server at `address` (`host:port`) and returns at once; the state
    /// of the connection comes as events. `outbox` is what [`Client::outbox`] gave before a
    /// restart; `None` starts afresh.
    ///
    /// Must be called on a tokio runtime with IO and time enabled.
    ///
    /// # Errors
    /// [`ClientError::Random`].
    pub fn start(
        address: &str,
        settings: Settings,
        outbox: Option<Outbox>,
    ) -> Result<Self, ClientError> {
        let outbox = match outbox {
            Some(outbox) => outbox,
            None => Outbox::new(random()?.max(1)),
        };
        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let (event_queue, events) = mpsc::channel(EVENTS_MAX);
        let driver = Driver {
            session: ClientSession::new(settings, outbox),
            address: address.to_owned(),
            commands: command_queue,
            events: event_queue,
            started: Instant::now(),
            socket: None,
            scratch: Vec::new(),
        };
        tokio::spawn(driver.run());
        Ok(Self { commands, events })
    }

    /// Sends a text or any bytes to a user, durably. Gives the number that comes back in
    /// [`Event::Acknowledged`] or [`Event::Refused`].
    ///
    /// # Errors
    /// [`ClientError::Send`], [`ClientError::Ended`], [`ClientError::Random`].
    pub async fn send(&self, to: &str, body: &[u8]) -> Result<u64, ClientError> {
        let outgoing = Outgoing {
            to: to.to_owned(),
            uuid: uuid()?,
            level: Level::Normal,
            content: 1,
            receipts: 0,
            body: body.to_vec(),
        };
        self.send_message(outgoing).await
    }

    /// Sends a message with all its fields.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_message(&self, message: Outgoing) -> Result<u64, ClientError> {
        let (answer, taken) = oneshot::channel();
        self.command(Command::Send(message, answer)).await?;
        taken.await.map_err(|_| ClientError::Ended)?.map_err(ClientError::Send)
    }

    /// Next event; `None` when the session has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// All entries up to `number` are stored (with manual acknowledgement).
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn acknowledge(&self, number: u64) -> Result<(), ClientError> {
        self.command(Command::Acknowledge(number)).await
    }

    /// Tells the other user that all up to `sequence` was delivered (1) or read (2).
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn receipt(
        &self,
        conversation: &str,
        what: u8,
        sequence: u64,
    ) -> Result<(), ClientError> {
        let conversation = conversation.to_owned();
        self.command(Command::Receipt { conversation, what, sequence }).await
    }

    /// Looks for mailbox entries now.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn sync(&self) -> Result<(), ClientError> {
        self.command(Command::Sync).await
    }

    /// The outbox in its stored form.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn outbox(&self) -> Result<Vec<u8>, ClientError> {
        let (answer, bytes) = oneshot::channel();
        self.command(Command::Outbox(answer)).await?;
        bytes.await.map_err(|_| ClientError::Ended)
    }

    /// Ends the session.
    pub async fn end(self) {
        // A session that has ended already needs no telling.
        let _ = self.command(Command::End).await;
    }

    async fn command(&self, command: Command) -> Result<(), ClientError> {
        self.commands.send(command).await.map_err(|_| ClientError::Ended)
    }
}

struct Driver {
    session: ClientSession,
    address: String,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    started: Instant,
    socket: Option<TcpStream>,
    scratch: Vec<u8>,
}

/// What one wait ended with.
enum Woke {
    Command(Option<Command>),
    Room(bool),
    Read(io::Result<usize>),
    Time,
}

impl Driver {
    async fn run(mut self) {
        let mut buffer = vec![0; READ_BYTES];
        let mut unread = None;
        loop {
            let now = self.now();
            self.session.on_time(now);
            self.act().await;
            if unread.is_none() {
                unread = self.session.next_event();
            }
            if unread.is_none() && self.session.state() == ConnectionState::Ended {
                return;
            }
            match self.wait(&mut buffer, unread.is_some()).await {
                Woke::Command(Some(command)) => self.on_command(command),
                // The client was dropped: nobody is left to hear.
                Woke::Command(None) | Woke::Room(false) => return,
                Woke::Room(true) => {
                    if let Some(event) = unread.take() {
                        // There is room, and no other sender; a closed channel ends the next wait.
                        let _ = self.events.try_send(event);
                    }
                }
                Woke::Read(Ok(count)) if count > 0 => {
                    let now = self.now();
                    self.session.on_bytes(now, &buffer[..count]);
                }
                Woke::Read(_) => self.lost(),
                Woke::Time => {}
            }
        }
    }

    async fn wait(&mut self, buffer: &mut [u8], has_event: bool) -> Woke {
        let now_us = self.now().monotonic_us;
        let pause = self.session.next_deadline().map_or(IDLE_SLEEP, |at_us| {
            Duration::from_micros(at_us.saturating_sub(now_us)).min(IDLE_SLEEP)
        });
        let readable = !self.session.is_full();
        let socket = &mut self.socket;
        let read = async {
            match socket {
                Some(socket) if readable => socket.read(buffer).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            command = self.commands.recv() => Woke::Command(command),
            room = self.events.reserve(), if has_event => Woke::Room(room.is_ok()),
            result = read => Woke::Read(result),
            () = sleep(pause) => Woke::Time,
        }
    }

    /// Writes what is to be written and does what the session asks.
    async fn act(&mut self) {
        self.write().await;
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Connect { endpoint } => self.connect(endpoint).await,
                Action::Close => self.lost(),
            }
            self.write().await;
        }
    }

    async fn connect(&mut self, endpoint: Option<String>) {
        let address = endpoint.as_deref().unwrap_or(&self.address);
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                // Latency only; a socket without the option still works.
                let _ = socket.set_nodelay(true);
                self.socket = Some(socket);
                let now = self.now();
                self.session.on_connected(now);
            }
            Ok(Err(_)) | Err(_) => self.lost(),
        }
    }

    async fn write(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        let bytes = self.session.take_bytes(std::mem::take(&mut self.scratch));
        let written = bytes.is_empty()
            || matches!(timeout(CONNECT_TIMEOUT, socket.write_all(&bytes)).await, Ok(Ok(())));
        self.scratch = bytes;
        if !written {
            self.lost();
        }
    }

    fn lost(&mut self) {
        self.socket = None;
        // Without random numbers the back-off loses its jitter, nothing else.
        let random = random().unwrap_or(u64::MAX);
        let now = self.now();
        self.session.on_disconnected(now, random);
    }

    fn on_command(&mut self, command: Command) {
        let now = self.now();
        match command {
            // A caller that stopped waiting for the answer still sent.
            Command::Send(message, answer) => drop(answer.send(self.session.send(now, message))),
            Command::Acknowledge(number) => self.session.acknowledge(now, number),
            Command::Receipt { conversation, what, sequence } => {
                self.session.send_receipt(now, &conversation, what, sequence);
            }
            Command::Sync => self.session.sync(now),
            Command::Outbox(answer) => drop(answer.send(self.session.outbox().to_bytes())),
            Command::End => self.session.end(),
        }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic_us: self.started.elapsed().as_micros() as u64,
            wall_ms: wall.as_millis() as u64,
        }
    }
}

fn random() -> Result<u64, ClientError> {
    getrandom::u64().map_err(|error| ClientError::Random(io::Error::other(error.to_string())))
}

/// A random UUID (version 4, RFC 9562).
fn uuid() -> Result<[u8; 16], ClientError> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random()?.to_le_bytes());
    bytes[8..].copy_from_slice(&random()?.to_le_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(bytes)
}
