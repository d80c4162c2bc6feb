//! Closed-loop load for the rows of publish and subscribe and of the WebSocket echo: it runs against
//! the relays, the gateway and any other server that speaks the protocol.
//!
//! Each sender has so many messages under way and sends the next when one has come back. That is
//! right for comparing costs and wrong for latencies under load, which are printed only to show that
//! neither side holds back. Every message carries its number: what is lost, doubled or out of order
//! is counted, and a server that does so has no figures worth comparing.

mod publish;
mod websocket;

use hawser_ring::{
    Completion, Errno, Event, Operation, Pace, Ring, Socket, SocketOptions, Token, Wait,
    uring::{RingSettings, UringRing},
};
use hdrhistogram::Histogram;
use std::net::SocketAddr;

pub use publish::{Publish, Shape};
pub use websocket::Echo;

const SLOTS: u32 = 20_000;
/// Connects under way at once.
const CONNECTS: u32 = 64;
/// From the start of the load until figures count.
const WARM_UP_US: u64 = 1_000_000;
/// Everybody is connected and ready within this, microseconds.
const READY_US: u64 = 30_000_000;
const OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    receive_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: 0,
    keepalive_s: 0,
};

/// What is said over the connections.
pub trait Dialogue {
    /// How many there are.
    fn connections(&self) -> u32;
    /// A connection stands.
    fn on_connected(&mut self, ground: &mut Ground, slot: u32);
    /// Whole messages at the front of `bytes`; gives how many bytes they took.
    ///
    /// # Errors
    /// The server said something that no server may say.
    fn on_bytes(&mut self, ground: &mut Ground, slot: u32, bytes: &[u8]) -> Result<usize, String>;
    /// Everybody is ready: the load begins.
    fn begin(&mut self, ground: &mut Ground);
}

#[derive(Default)]
struct Connection {
    socket: Option<Socket>,
    partial: Vec<u8>,
    out: Vec<u8>,
    sending: bool,
    dirty: bool,
}

/// What a dialogue writes to, and what it counts.
pub struct Ground {
    connections: Vec<Connection>,
    dirty: Vec<u32>,
    spare: Vec<Vec<u8>>,
    latency_us: Histogram<u64>,
    measuring: bool,
    /// Monotonic time of this turn, microseconds.
    pub now_us: u64,
    /// Connections that may take part.
    pub ready: u32,
    /// Messages that came back since figures count.
    delivered: u64,
    /// Messages that did not come in their order.
    pub disordered: u64,
}

impl Ground {
    /// Where messages to the server are appended.
    pub fn out(&mut self, slot: u32) -> &mut Vec<u8> {
        let connection = &mut self.connections[slot as usize];
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
        &mut connection.out
    }

    /// A message that was sent at `sent_us` has come back.
    pub fn deliver(&mut self, sent_us: u64) {
        if self.measuring {
            self.delivered += 1;
            self.latency_us.saturating_record(self.now_us.saturating_sub(sent_us).max(1));
        }
    }
}

/// What was measured.
pub struct Figures {
    /// Messages that came back.
    pub delivered: u64,
    /// Of them, out of order.
    pub disordered: u64,
    /// Measured time.
    pub seconds: f64,
    /// CPU of the server per message, if its process was named.
    pub server_cpu_us: Option<f64>,
    /// CPU of this process per message.
    pub own_cpu_us: f64,
    /// Round trip or delivery, microseconds.
    pub latency_us: Histogram<u64>,
}

impl Figures {
    /// One line of JSON, in the load generator's names.
    pub fn to_json(&self) -> String {
        let quantile = |at| self.latency_us.value_at_quantile(at);
        let server = self.server_cpu_us.map_or("null".to_owned(), |us| format!("{us:.4}"));
        format!(
            "{{\"delivered\":{},\"reordered\":{},\"seconds\":{:.3},\
             \"latency_us\":{{\"p50\":{},\"p99\":{},\"max\":{}}},\
             \"load_cpu_us_per_message\":{:.4},\"server\":{{\"cpu_us_per_message\":{server}}}}}",
            self.delivered,
            self.disordered,
            self.seconds,
            quantile(0.5),
            quantile(0.99),
            self.latency_us.max(),
            self.own_cpu_us,
        )
    }
}

/// Connects, lets the load run for `seconds` and measures all but the first of them.
///
/// # Errors
/// The server cannot be reached, breaks a connection or the protocol, or its process is not there.
pub fn run<D: Dialogue>(
    target: SocketAddr,
    server: Option<u32>,
    seconds: u64,
    dialogue: D,
) -> Result<Figures, String> {
    let ring = UringRing::new(RingSettings {
        descriptors: SLOTS,
        completion_entries: 16_384,
        submission_entries: 1024,
        buffers: 512,
        buffer_bytes: 4096,
    })
    .map_err(|refusal| refusal.to_string())?;
    let mut connections = Vec::new();
    connections.resize_with(dialogue.connections() as usize, Connection::default);
    let ground = Ground {
        connections,
        dirty: Vec::new(),
        spare: Vec::new(),
        latency_us: Histogram::new_with_bounds(1, 60_000_000, 3).map_err(|e| e.to_string())?,
        measuring: false,
        now_us: 0,
        ready: 0,
        delivered: 0,
        disordered: 0,
    };
    Load { ring, ground, dialogue, target, asked: 0, under_way: 0, slots: Vec::new() }
        .run(server, seconds)
}

struct Load<D> {
    ring: UringRing,
    ground: Ground,
    dialogue: D,
    target: SocketAddr,
    asked: u32,
    under_way: u32,
    /// Connection by socket.
    slots: Vec<u32>,
}

impl<D: Dialogue> Load<D> {
    fn run(mut self, server: Option<u32>, seconds: u64) -> Result<Figures, String> {
        let mut completions: Vec<Completion> = Vec::new();
        let mut pace = Pace::default();
        self.turn(&mut completions, &mut pace, None)?;
        let ready_by_us = self.ground.now_us + READY_US;
        while self.ground.ready < self.dialogue.connections() {
            self.connect_more();
            self.turn(&mut completions, &mut pace, Some(ready_by_us))?;
            if self.ground.now_us >= ready_by_us {
                let (ready, all) = (self.ground.ready, self.dialogue.connections());
                return Err(format!("{ready} of {all} connections are ready"));
            }
        }
        self.dialogue.begin(&mut self.ground);
        let warm_us = self.ground.now_us + WARM_UP_US;
        while self.ground.now_us < warm_us {
            self.turn(&mut completions, &mut pace, Some(warm_us))?;
        }
        let cpu = |pid| server.is_some().then(|| cpu_us(pid)).transpose();
        let server_pid = server.unwrap_or_default();
        let (server_before, own_before) = (cpu(server_pid)?, cpu_us(std::process::id())?);
        let from_us = self.ground.now_us;
        self.ground.measuring = true;
        let end_us = warm_us + seconds.saturating_sub(1).max(1) * 1_000_000;
        while self.ground.now_us < end_us {
            self.turn(&mut completions, &mut pace, Some(end_us))?;
        }
        let delivered = self.ground.delivered.max(1) as f64;
        let server_cpu_us = server_before
            .map(|before| Ok::<_, String>((cpu_us(server_pid)? - before) as f64 / delivered))
            .transpose()?;
        Ok(Figures {
            delivered: self.ground.delivered,
            disordered: self.ground.disordered,
            seconds: (self.ground.now_us - from_us) as f64 / 1e6,
            server_cpu_us,
            own_cpu_us: (cpu_us(std::process::id())? - own_before) as f64 / delivered,
            latency_us: self.ground.latency_us,
        })
    }

    fn connect_more(&mut self) {
        while self.asked < self.dialogue.connections() && self.under_way < CONNECTS {
            let source = SocketAddr::from(([127, 0, 1, 1 + (self.asked / 10_000) as u8], 0));
            let token = Token::new(Operation::Connect, self.asked, 0);
            self.ring.connect(source, self.target, OPTIONS, token);
            self.asked += 1;
            self.under_way += 1;
        }
    }

    fn turn(
        &mut self,
        completions: &mut Vec<Completion>,
        pace: &mut Pace,
        until_us: Option<u64>,
    ) -> Result<(), String> {
        self.flush();
        let (batch, gather_us) = pace.gather();
        let until_us = until_us.or(Some(0));
        let wait = Wait { until_us, batch, gather_us };
        let turn = self.ring.turn(wait, completions).map_err(|error| error.to_string())?;
        self.ground.now_us = turn.now.monotonic_us;
        pace.note(turn.now, completions.len() as u32);
        for completion in completions.drain(..) {
            self.on_completion(completion)?;
        }
        Ok(())
    }

    fn on_completion(&mut self, completion: Completion) -> Result<(), String> {
        let at = completion.token.slot;
        match completion.event {
            Event::Connected(Ok(socket)) => {
                self.under_way -= 1;
                self.ground.connections[at as usize].socket = Some(socket);
                let index = socket.0 as usize;
                self.slots.resize(self.slots.len().max(index + 1), 0);
                self.slots[index] = at;
                self.ring.receive(socket, Token::new(Operation::Receive, socket.0, 0));
                self.dialogue.on_connected(&mut self.ground, at);
            }
            Event::Connected(Err(errno)) => {
                return Err(format!("connect to {}: errno {}", self.target, errno.0));
            }
            Event::Received(Ok(Some(lease))) => {
                let mut bytes = self.ground.spare.pop().unwrap_or_default();
                bytes.extend_from_slice(self.ring.bytes(&lease));
                self.ring.give_back(lease);
                self.on_bytes(self.slots[at as usize], &bytes)?;
                bytes.clear();
                self.ground.spare.push(bytes);
                if !completion.more {
                    self.ring.receive(Socket(at), Token::new(Operation::Receive, at, 0));
                }
            }
            Event::Received(Err(Errno(libc::ENOBUFS))) => {
                self.ring.receive(Socket(at), Token::new(Operation::Receive, at, 0));
            }
            Event::Received(Ok(None)) => return Err("the server closed a connection".to_owned()),
            Event::Received(Err(errno)) => return Err(format!("receive: errno {}", errno.0)),
            Event::Sent(Ok(_), mut bytes) => {
                bytes.clear();
                self.ground.spare.push(bytes);
                let slot = self.slots[at as usize];
                let connection = &mut self.ground.connections[slot as usize];
                connection.sending = false;
                if !connection.out.is_empty() && !connection.dirty {
                    connection.dirty = true;
                    self.ground.dirty.push(slot);
                }
            }
            Event::Sent(Err(errno), _) => return Err(format!("send: errno {}", errno.0)),
            _ => {}
        }
        Ok(())
    }

    fn on_bytes(&mut self, slot: u32, bytes: &[u8]) -> Result<(), String> {
        let mut held = std::mem::take(&mut self.ground.connections[slot as usize].partial);
        let whole: &[u8] = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        let used = self.dialogue.on_bytes(&mut self.ground, slot, whole)?;
        if used < whole.len() {
            self.ground.connections[slot as usize].partial = whole[used..].to_vec();
        }
        Ok(())
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.ground.dirty);
        for slot in dirty.drain(..) {
            let connection = &mut self.ground.connections[slot as usize];
            connection.dirty = false;
            let Some(socket) = connection.socket else { continue };
            if connection.sending || connection.out.is_empty() {
                continue;
            }
            let empty = self.ground.spare.pop().unwrap_or_default();
            let bytes = std::mem::replace(&mut connection.out, empty);
            connection.sending = true;
            self.ring.send(socket, bytes, Token::new(Operation::Send, socket.0, 0));
        }
        self.ground.dirty = dirty;
    }
}

/// CPU time of a process, microseconds, to the scheduler's nanosecond: sum over its threads.
fn cpu_us(pid: u32) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("process {pid}: {error}");
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).map_err(failed)? {
        let path = task.map_err(failed)?.path().join("schedstat");
        // A thread may end between the two looks.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let first = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        nanoseconds += first.unwrap_or(0);
    }
    Ok(nanoseconds / 1000)
}
