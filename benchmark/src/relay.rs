//! Bare relays on the gateway's ring: accept, receive, a table, send, and for durable traffic one
//! record per message through the gateway's own log writer, answered once it is durable.
//!
//! What the bytes mean is a [`Traffic`]: `native` is direct chat in native frames, `publish` is
//! publish and subscribe as MQTT 3.1.1 has it. Neither keeps sessions, sequences, mailboxes,
//! windows, cursors or timers.

mod log;
mod native;
mod publish;

use hawser_codec::time::Now;
use hawser_ring::{
    Completion, Errno, Event, Listener, Operation, Ring, Socket, SocketOptions, Token, Wait,
    uring::{RingSettings, UringRing},
};
use log::Log;
use std::{collections::VecDeque, net::SocketAddr, path::PathBuf};

const SLOTS: u32 = 20_000;
const ACCEPTS: u32 = 16;
/// As the gateway: a turn that brought so many gathers in the next.
const BUSY: usize = 20;

/// What a relay carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Direct chat in native frames.
    Native,
    /// Publish and subscribe, MQTT 3.1.1 with exact topics and qualities 0 and 1.
    Mqtt,
}

/// What the bytes mean.
trait Traffic {
    /// What waits for the log to be durable.
    type Pending;

    /// Whole messages at the front of `bytes`; gives how many bytes they took.
    fn on_bytes(&mut self, wire: &mut Wire<Self::Pending>, slot: u32, bytes: &[u8]) -> usize;

    /// What waited is durable.
    fn on_durable(&mut self, wire: &mut Wire<Self::Pending>, pending: Self::Pending);

    /// The connection is gone.
    fn on_closed(&mut self, slot: u32);
}

struct Connection {
    socket: Socket,
    partial: Vec<u8>,
    out: Vec<u8>,
    sending: bool,
}

/// What a traffic writes to.
struct Wire<P> {
    connections: Vec<Option<Connection>>,
    dirty: Vec<u32>,
    pending: VecDeque<(u64, P)>,
    spare: Vec<Vec<u8>>,
    log: Option<Log>,
    now: Now,
}

impl<P> Wire<P> {
    /// Where answers to a connection are appended.
    fn out(&mut self, slot: u32) -> Option<&mut Vec<u8>> {
        let connection = self.connections[slot as usize].as_mut()?;
        if connection.out.is_empty() && !connection.sending {
            self.dirty.push(slot);
        }
        Some(&mut connection.out)
    }

    /// Keeps what is to be done once `body` is durable; at once without a log.
    fn log(&mut self, body: &[u8], pending: P) {
        let run = self.log.as_mut().map_or(0, |log| log.append(body));
        self.pending.push_back((run, pending));
    }

    /// A copy of `bytes` in a recycled buffer.
    fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.extend_from_slice(bytes);
        copy
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.spare.push(buffer);
    }
}

struct Relay<T: Traffic> {
    ring: UringRing,
    listener: Listener,
    accepts: u32,
    asked: u32,
    wire: Wire<T::Pending>,
    traffic: T,
}

/// Serves until `seconds` have passed.
///
/// # Errors
/// A ring, a port or a directory that cannot be had.
pub fn run(
    address: SocketAddr,
    protocol: Protocol,
    durable: Option<PathBuf>,
    seconds: u64,
) -> Result<(), String> {
    match protocol {
        Protocol::Native => Relay::open(address, durable, native::Chat::default())?.serve(seconds),
        Protocol::Mqtt => Relay::open(address, durable, publish::Topics::default())?.serve(seconds),
    }
}

impl<T: Traffic> Relay<T> {
    fn open(address: SocketAddr, durable: Option<PathBuf>, traffic: T) -> Result<Self, String> {
        let mut ring = UringRing::new(RingSettings {
            descriptors: SLOTS,
            completion_entries: 16_384,
            submission_entries: 1024,
            buffers: 512,
            buffer_bytes: 4096,
        })
        .map_err(|refusal| refusal.to_string())?;
        let options = SocketOptions {
            no_delay: true,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            not_sent_low_bytes: None,
            user_timeout_ms: 30_000,
            keepalive_s: 0,
        };
        let listener =
            ring.listen(address, 4096, options).map_err(|e| format!("{address}: {e}"))?;
        let wire = Wire {
            connections: (0..SLOTS).map(|_| None).collect(),
            dirty: Vec::new(),
            pending: VecDeque::new(),
            spare: Vec::new(),
            log: durable.map(Log::open).transpose()?,
            now: Now::default(),
        };
        Ok(Self { ring, listener, accepts: 0, asked: 0, wire, traffic })
    }

    fn serve(&mut self, seconds: u64) -> Result<(), String> {
        let mut completions: Vec<Completion> = Vec::new();
        let mut end_us = None;
        let mut batch = 0;
        loop {
            while self.accepts < ACCEPTS && self.ring.free_slots() > 64 {
                self.asked = self.asked.wrapping_add(1);
                self.ring.accept(self.listener, Token::new(Operation::Accept, 0, self.asked));
                self.accepts += 1;
            }
            let until_us = end_us;
            let wait = if batch >= BUSY {
                Wait { until_us, batch: 128, gather_us: 50 }
            } else {
                Wait { until_us, batch: 1, gather_us: 0 }
            };
            let turn = self.ring.turn(wait, &mut completions).map_err(|e| e.to_string())?;
            self.wire.now = turn.now;
            let end = *end_us.get_or_insert(turn.now.monotonic_us + seconds * 1_000_000);
            if turn.now.monotonic_us >= end {
                return Ok(());
            }
            batch = completions.len();
            for completion in completions.drain(..) {
                self.on_completion(completion);
            }
            if let Some(log) = &mut self.wire.log {
                log.drive(self.wire.now, &mut self.ring)?;
            }
            self.answer_durable();
            self.flush();
        }
    }

    fn on_completion(&mut self, completion: Completion) {
        let slot = completion.token.slot;
        match completion.event {
            Event::Accepted(result) => {
                self.accepts -= 1;
                let Ok((socket, _)) = result else { return };
                let (partial, out) = (Vec::new(), Vec::new());
                let connection = Connection { socket, partial, out, sending: false };
                self.wire.connections[socket.0 as usize] = Some(connection);
                self.ring.receive(socket, Token::new(Operation::Receive, socket.0, 0));
            }
            Event::Received(Ok(Some(lease))) => {
                let bytes = self.wire.copy(self.ring.bytes(&lease));
                self.ring.give_back(lease);
                self.on_bytes(slot, &bytes);
                self.wire.recycle(bytes);
                if !completion.more {
                    self.rearm(slot);
                }
            }
            Event::Received(Err(Errno(libc::ENOBUFS))) => self.rearm(slot),
            Event::Received(_) => self.close(slot),
            Event::Sent(_, bytes) => {
                self.wire.recycle(bytes);
                let Some(connection) = &mut self.wire.connections[slot as usize] else { return };
                connection.sending = false;
                if !connection.out.is_empty() {
                    self.wire.dirty.push(slot);
                }
            }
            Event::Written(result, bytes) => {
                if let Some(log) = &mut self.wire.log {
                    log.on_written(self.wire.now, result, bytes);
                }
            }
            _ => {}
        }
    }

    fn rearm(&mut self, slot: u32) {
        let Some(connection) = &self.wire.connections[slot as usize] else { return };
        self.ring.receive(connection.socket, Token::new(Operation::Receive, slot, 0));
    }

    fn close(&mut self, slot: u32) {
        let Some(connection) = self.wire.connections[slot as usize].take() else { return };
        self.traffic.on_closed(slot);
        if !connection.sending {
            let token = Token::new(Operation::Close, slot, 0);
            self.ring.close(connection.socket, true, token);
        }
    }

    fn on_bytes(&mut self, slot: u32, bytes: &[u8]) {
        let Some(connection) = &mut self.wire.connections[slot as usize] else { return };
        let mut held = std::mem::take(&mut connection.partial);
        let whole: &[u8] = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        let used = self.traffic.on_bytes(&mut self.wire, slot, whole);
        if used < whole.len()
            && let Some(connection) = &mut self.wire.connections[slot as usize]
        {
            connection.partial = whole[used..].to_vec();
        }
    }

    fn answer_durable(&mut self) {
        let mut durable = u64::MAX;
        if let Some(log) = &mut self.wire.log {
            durable = log.take_durable();
        }
        while self.wire.pending.front().is_some_and(|(run, _)| *run <= durable) {
            let Some((_, pending)) = self.wire.pending.pop_front() else { return };
            self.traffic.on_durable(&mut self.wire, pending);
        }
    }

    fn flush(&mut self) {
        for slot in std::mem::take(&mut self.wire.dirty) {
            let empty = self.wire.spare.pop().unwrap_or_default();
            let Some(connection) = &mut self.wire.connections[slot as usize] else { continue };
            if connection.sending || connection.out.is_empty() {
                self.wire.spare.push(empty);
                continue;
            }
            let bytes = std::mem::replace(&mut connection.out, empty);
            connection.sending = true;
            self.ring.send(connection.socket, bytes, Token::new(Operation::Send, slot, 0));
        }
    }
}
