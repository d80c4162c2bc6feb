//! One simulated device as a state machine without IO: the same protocol as the client library's
//! session, in at most 400 bytes while idle.
//!
//! ```text
//!  Down --greet--> Greeting --welcome--> Online --fault, end--> Down
//! ```
//!
//! It does not resume by token but logs in by name, which it can compute; all else survives a
//! lost connection: cursor, unanswered requests, counters. Invariant: a request keeps its
//! `client_seq`, message id and body for all its attempts, and leaves only behind every earlier
//! unanswered one to the same recipient.

mod chat;
mod mailbox;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hawser_codec::{
    code,
    frame::{self, FLAG_PAGE, FrameLimits, PREFACE, Step},
    message::{self, Beat, Class, Encoder, Hello, Message as Wire, Welcome},
    time::Now,
};

use crate::{
    identity::Names,
    oracle::Oracle,
    tally::{Latency, Tally},
};
use chat::Chat;
use mailbox::Mailbox;

/// Longest frame body taken, bytes.
const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

/// Silence after a ping before the connection is given up, microseconds.
const PONG_WAIT_US: u64 = 10_000_000;

/// From connect to welcome, microseconds: a million clients may be logging in at once.
const WELCOME_WAIT_US: u64 = 30_000_000;

/// Heartbeat if the server names none.
const HEARTBEAT_DEFAULT_S: u16 = 30;

/// What all connections of a run share.
#[derive(Debug)]
pub struct Ground {
    /// Who is who.
    pub names: Names,
    /// The judge.
    pub oracle: Oracle,
    /// Bytes of a message's body.
    pub payload_bytes: usize,
    /// Heartbeat asked for, seconds; 0: the server's.
    pub heartbeat_s: u16,
    /// Token shown at login.
    pub token: String,
    /// Messages intended from then on are measured, microseconds; `u64::MAX`: not yet known.
    pub measure_from_us: AtomicU64,
    /// Messages intended from then on are not.
    pub measure_to_us: AtomicU64,
}

impl Ground {
    /// An intended time is in the measured window.
    fn is_measured(&self, intended_us: u64) -> bool {
        let from_us = self.measure_from_us.load(Relaxed);
        (from_us..self.measure_to_us.load(Relaxed)).contains(&intended_us)
    }
}

/// What the connections of one worker share.
#[derive(Debug)]
pub struct World {
    /// What all workers share.
    pub ground: Arc<Ground>,
    /// Counters and histograms.
    pub tally: Tally,
    /// Senders whose messages were delivered since this was last emptied (closed loop only).
    pub credits: Vec<u32>,
    /// The run is over but for what is on its way: no heartbeat is begun.
    pub draining: bool,
    encoder: Encoder,
    body: Vec<u8>,
}

impl World {
    /// A fresh world on this ground.
    pub fn new(ground: Arc<Ground>) -> Self {
        Self {
            ground,
            tally: Tally::default(),
            credits: Vec::new(),
            draining: false,
            encoder: Encoder::new(),
            body: Vec::new(),
        }
    }

    /// Records a latency if what began at `intended_us` is measured; tells whether it is.
    fn record(&mut self, intended_us: u64, us: u64, of: fn(&mut Tally) -> &mut Latency) -> bool {
        let measured = self.ground.is_measured(intended_us);
        if measured {
            of(&mut self.tally).record(us);
        }
        measured
    }
}

/// Why a connection has to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Protocol error code, as the server named it or as fits best.
    pub code: u16,
    /// Come back no earlier than after this, milliseconds.
    pub retry_after_ms: u32,
}

impl Fault {
    const fn new(code: u16) -> Self {
        Self { code, retry_after_ms: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    Greeting,
    Online,
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    /// Bytes to be sent.
    pub outbound: Vec<u8>,
    /// An unfinished frame.
    inbound: Vec<u8>,
    chat: Option<Box<Chat>>,
    mailbox: Mailbox,
    sent_us: u64,
    received_us: u64,
    /// When the ping that is not answered yet was sent, 0 for none.
    pinged_us: u64,
    /// Server's wall clock less ours.
    clock_offset_ms: i64,
    heartbeat_ms: u32,
    requests_max: u16,
    phase: Phase,
    was_online: bool,
    /// Logged in since [`Connection::take_came_online`].
    came_online: bool,
}

/// What 2,000,000 idle connections may cost this process is 800 MB.
const _: () = assert!(size_of::<Connection>() <= 320);

impl Default for Connection {
    fn default() -> Self {
        Self {
            outbound: Vec::new(),
            inbound: Vec::new(),
            chat: None,
            mailbox: Mailbox::default(),
            sent_us: 0,
            received_us: 0,
            pinged_us: 0,
            clock_offset_ms: 0,
            heartbeat_ms: 0,
            requests_max: 0,
            phase: Phase::Down,
            was_online: false,
            came_online: false,
        }
    }
}

impl Connection {
    /// Logged in.
    pub fn is_online(&self) -> bool {
        self.phase == Phase::Online
    }

    /// Logged in, nothing sent that waits for an answer, nothing unread.
    pub fn is_quiet(&self) -> bool {
        let waits = self.chat.as_ref().is_some_and(|chat| !chat.is_empty());
        self.is_online() && !waits && self.pinged_us == 0 && self.mailbox.is_level()
    }

    /// It was logged in since this was last asked.
    pub fn take_came_online(&mut self) -> bool {
        std::mem::take(&mut self.came_online)
    }

    /// The transport is connected: says hello.
    pub fn greet(&mut self, world: &mut World, index: u32, now: Now) {
        self.phase = Phase::Greeting;
        self.received_us = now.monotonic_us;
        self.inbound = Vec::new();
        self.outbound.clear();
        self.outbound.extend_from_slice(&PREFACE);
        let names = world.ground.names;
        let user = names.name(index);
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            realm: 0,
            user: user.as_str(),
            device: "load",
            token: &world.ground.token,
            resume_token: &[],
            incarnation: names.incarnation(index),
            class: Class::Mobile,
            heartbeat_s: world.ground.heartbeat_s,
            cursor: Some(self.mailbox.cursor()),
            rewind: false,
            compression: 0,
            agent: concat!("hawser-loadgen/", env!("CARGO_PKG_VERSION")),
        };
        world.encoder.hello(&mut self.outbound, 0, 0, &hello);
    }

    /// The transport is gone; all that must survive, does.
    pub fn on_disconnected(&mut self, world: &mut World) {
        if self.is_online() {
            world.tally.counters.online -= 1;
        }
        if self.pinged_us != 0 {
            // The break is counted as such, so the beat it swallowed is not asked for again.
            world.tally.counters.heartbeats_expected -= 1;
        }
        self.pinged_us = 0;
        self.phase = Phase::Down;
        self.inbound = Vec::new();
        self.outbound = Vec::new();
        self.mailbox.on_disconnected();
        if let Some(chat) = &mut self.chat {
            chat.on_disconnected();
        }
    }

    /// Bytes came from the server, cut anywhere.
    ///
    /// # Errors
    /// [`Fault`]: the connection is to be left.
    pub fn on_bytes(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        self.received_us = now.monotonic_us;
        if self.inbound.is_empty() {
            let used = self.take_frames(world, index, now, bytes)?;
            self.inbound.extend_from_slice(&bytes[used..]);
        } else {
            let mut inbound = std::mem::take(&mut self.inbound);
            inbound.extend_from_slice(bytes);
            let used = self.take_frames(world, index, now, &inbound)?;
            if used < inbound.len() {
                inbound.drain(..used);
                self.inbound = inbound;
            }
        }
        self.settle(world, index, now);
        Ok(())
    }

    fn take_frames(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
    ) -> Result<usize, Fault> {
        let mut used = 0;
        loop {
            match frame::step(&LIMITS, &bytes[used..]) {
                Ok(Step::NeedMore { .. }) => return Ok(used),
                Ok(Step::Frame { frame, consumed }) => {
                    used += consumed;
                    match message::decode(frame) {
                        Ok(message) => {
                            let page = frame.flags & FLAG_PAGE != 0;
                            self.on_message(world, index, now, page, &message)?;
                        }
                        Err(malformed) if !malformed.is_fatal() => {}
                        Err(malformed) => return Err(Fault::new(malformed.code())),
                    }
                }
                Err(malformed) => return Err(Fault::new(malformed.code())),
            }
        }
    }

    fn on_message(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        page: bool,
        message: &Wire<'_>,
    ) -> Result<(), Fault> {
        match message {
            Wire::Welcome(welcome) if self.phase == Phase::Greeting => {
                self.on_welcome(world, index, now, welcome);
            }
            Wire::Error(error) if error.fatal || !self.is_online() => {
                return Err(Fault { code: error.code, retry_after_ms: error.retry_after_ms });
            }
            Wire::GoAway(leave) => {
                return Err(Fault { code: leave.code, retry_after_ms: leave.retry_after_ms });
            }
            Wire::Notify(notify) if self.is_online() => {
                self.mailbox.on_notify(world, index, now, page, notify);
            }
            Wire::Acknowledge(answer) if self.is_online() => {
                if let Some(chat) = &mut self.chat {
                    chat.on_acknowledge(world, index, now, answer);
                }
            }
            Wire::Error(error) if error.client_seq != 0 => {
                if let Some(chat) = &mut self.chat {
                    chat.on_refused(world, index, now, error);
                }
            }
            Wire::Error(error) => self.mailbox.on_page_refused(now, error.retry_after_ms),
            Wire::Head(head) if self.is_online() => self.mailbox.on_head(now, head.head),
            Wire::Page(page) if self.is_online() => self.mailbox.on_page(world, index, now, page),
            Wire::Pong(_) if self.is_online() => self.on_pong(world, now),
            Wire::Ping(_) if self.is_online() => {
                let beat = Beat { next_ms: self.heartbeat_ms };
                world.encoder.pong(&mut self.outbound, 0, 0, &beat);
                self.sent_us = now.monotonic_us;
            }
            Wire::Receipt(_) if self.is_online() => {}
            _ => return Err(Fault::new(code::UNEXPECTED_FRAME)),
        }
        Ok(())
    }

    fn on_welcome(&mut self, world: &mut World, index: u32, now: Now, welcome: &Welcome<'_>) {
        self.phase = Phase::Online;
        self.sent_us = now.monotonic_us;
        let seconds =
            if welcome.heartbeat_s == 0 { HEARTBEAT_DEFAULT_S } else { welcome.heartbeat_s };
        self.heartbeat_ms = u32::from(seconds) * 1000;
        self.requests_max = welcome.requests_max.max(1);
        let counters = &mut world.tally.counters;
        counters.online += 1;
        if self.was_online {
            counters.reconnects += 1;
        } else {
            counters.logged_in += 1;
        }
        self.was_online = true;
        self.came_online = true;
        self.mailbox.on_welcome(world, index, welcome);
        self.clock_offset_ms = welcome.server_time_ms as i64 - now.wall_ms as i64;
    }

    fn on_pong(&mut self, world: &mut World, now: Now) {
        if self.pinged_us != 0 {
            world.tally.counters.heartbeats_answered += 1;
            let (from_us, us) = (self.pinged_us, now.monotonic_us - self.pinged_us);
            world.record(from_us, us, |tally| &mut tally.heartbeat);
            self.pinged_us = 0;
        }
    }

    /// The schedule intends a message of this user.
    pub fn offer(
        &mut self,
        world: &mut World,
        index: u32,
        recipient: u32,
        intended_us: u64,
        now: Now,
    ) {
        world.tally.counters.offered += 1;
        let lag_us = now.monotonic_us.saturating_sub(intended_us);
        world.record(intended_us, lag_us, |tally| &mut tally.schedule_lag);
        let chat = self.chat.get_or_insert_default();
        chat.offer(world, index, recipient, intended_us, now);
        self.settle(world, index, now);
    }

    /// Whatever is due; harmless earlier than [`Connection::deadline`].
    ///
    /// # Errors
    /// [`Fault`]: the server has been silent for too long.
    pub fn on_time(&mut self, world: &mut World, index: u32, now: Now) -> Result<(), Fault> {
        match self.phase {
            Phase::Down => return Ok(()),
            Phase::Greeting if now.monotonic_us >= self.received_us + WELCOME_WAIT_US => {
                return Err(Fault::new(code::TIMEOUT));
            }
            Phase::Greeting => return Ok(()),
            Phase::Online => {}
        }
        if let Some(chat) = &mut self.chat {
            chat.on_time(world, index, now, &mut self.outbound)?;
        }
        self.mailbox.on_time(now)?;
        if self.pinged_us != 0 && now.monotonic_us >= self.pinged_us + PONG_WAIT_US {
            // Expected and not answered: stays counted so.
            self.pinged_us = 0;
            return Err(Fault::new(code::TIMEOUT));
        }
        if self.pinged_us == 0 && !world.draining && now.monotonic_us >= self.ping_at_us() {
            let beat = Beat { next_ms: self.heartbeat_ms };
            world.encoder.ping(&mut self.outbound, 0, 0, &beat);
            world.tally.counters.heartbeats_expected += 1;
            self.pinged_us = now.monotonic_us;
            self.sent_us = now.monotonic_us;
        }
        self.settle(world, index, now);
        Ok(())
    }

    /// A beat is due when either direction has been quiet for the agreed time.
    fn ping_at_us(&self) -> u64 {
        self.sent_us.min(self.received_us) + u64::from(self.heartbeat_ms) * 1000
    }

    /// When [`Connection::on_time`] is next needed, microseconds; `u64::MAX`: not by itself.
    pub fn deadline(&self) -> u64 {
        match self.phase {
            Phase::Down => u64::MAX,
            Phase::Greeting => self.received_us + WELCOME_WAIT_US,
            Phase::Online => {
                let heart = if self.pinged_us == 0 {
                    self.ping_at_us()
                } else {
                    self.pinged_us + PONG_WAIT_US
                };
                let chat = self.chat.as_ref().map_or(u64::MAX, |chat| chat.deadline());
                heart.min(chat).min(self.mailbox.deadline())
            }
        }
    }

    /// Sends what may be sent and what is owed.
    fn settle(&mut self, world: &mut World, index: u32, now: Now) {
        if !self.is_online() {
            return;
        }
        let before = self.outbound.len();
        if let Some(chat) = &mut self.chat {
            chat.set_clock(self.clock_offset_ms);
            chat.pump(world, index, now, self.requests_max, &mut self.outbound);
        }
        self.mailbox.settle(world, now, &mut self.outbound);
        if self.outbound.len() > before {
            self.sent_us = now.monotonic_us;
        }
    }
}

#[cfg(test)]
mod tests;
