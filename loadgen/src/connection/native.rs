//! Hawser's own protocol, native frames or JSON: the same as the client library's session, small
//! enough for a million.
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

use hawser_codec::{
    code,
    frame::{self, FLAG_PAGE, FrameLimits, PREFACE, Step},
    json::Parsed,
    message::{self, Beat, Class, Hello, Message as Wire, Welcome},
    time::Now,
};

use super::{Fault, Offer, World, client::Speak, speaker::Dialect};
use crate::{tally::Stage, wire::fault};
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    Greeting,
    Online,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Native {
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
    /// Logged in since [`Speak::take_came_online`].
    came_online: bool,
}

impl Default for Native {
    fn default() -> Self {
        Self {
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

impl Speak for Native {
    fn is_online(&self) -> bool {
        self.phase == Phase::Online
    }

    fn is_quiet(&self) -> bool {
        let waits = self.chat.as_ref().is_some_and(|chat| !chat.is_empty());
        self.is_online() && !waits && self.pinged_us == 0 && self.mailbox.is_level()
    }

    fn is_level(&self) -> bool {
        self.is_online() && self.mailbox.is_read()
    }

    fn take_came_online(&mut self) -> bool {
        std::mem::take(&mut self.came_online)
    }

    fn greet(&mut self, world: &mut World, index: u32, now: Now, outbound: &mut Vec<u8>) {
        self.phase = Phase::Greeting;
        self.received_us = now.monotonic_us;
        if world.speaker.dialect == Dialect::Frames {
            outbound.extend_from_slice(&PREFACE);
        }
        let names = world.ground.names;
        let scenario = &world.ground.scenario;
        let user = names.name(index / scenario.devices);
        let device = format!("load-{}", index % scenario.devices);
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            realm: 0,
            user: user.as_str(),
            device: &device,
            token: &world.ground.token,
            resume_token: &[],
            incarnation: names.incarnation(index),
            class: Class::Mobile,
            heartbeat_s: scenario.heartbeat_s(index),
            cursor: Some(self.mailbox.cursor()),
            rewind: false,
            compression: 0,
            agent: concat!("hawser-loadgen/", env!("CARGO_PKG_VERSION")),
        };
        world.speaker.say(outbound, &Wire::Hello(hello));
    }

    fn on_disconnected(&mut self, world: &mut World) {
        if self.is_online() {
            world.tally.counters.online -= 1;
        }
        if self.pinged_us != 0 {
            // The break is counted as such, so the beat it swallowed is not asked for again.
            world.tally.counters.heartbeats_expected -= 1;
        }
        self.pinged_us = 0;
        self.phase = Phase::Down;
        self.mailbox.on_disconnected();
        if let Some(chat) = &mut self.chat {
            chat.on_disconnected();
        }
    }

    fn take(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
        outbound: &mut Vec<u8>,
    ) -> Result<usize, Fault> {
        self.received_us = now.monotonic_us;
        let used = match world.speaker.dialect {
            Dialect::Frames => self.take_frames(world, index, now, bytes, outbound)?,
            Dialect::BinaryMessages => {
                let used = self.take_frames(world, index, now, bytes, outbound)?;
                if used < bytes.len() {
                    return Err(Fault::new(fault::MESSAGE));
                }
                used
            }
            Dialect::TextMessages => {
                self.take_text(world, index, now, bytes, outbound)?;
                bytes.len()
            }
        };
        self.settle(world, index, now, outbound);
        Ok(used)
    }

    fn offer(
        &mut self,
        world: &mut World,
        index: u32,
        offer: Offer,
        now: Now,
        outbound: &mut Vec<u8>,
    ) {
        let chat = self.chat.get_or_insert_default();
        chat.offer(world, index, &offer, now);
        self.settle(world, index, now, outbound);
    }

    fn on_time(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        match self.phase {
            Phase::Down => return Ok(()),
            Phase::Greeting if now.monotonic_us >= self.received_us + WELCOME_WAIT_US => {
                return Err(Fault::new(code::TIMEOUT));
            }
            Phase::Greeting => return Ok(()),
            Phase::Online => {}
        }
        if let Some(chat) = &mut self.chat {
            chat.on_time(world, index, now, outbound)?;
        }
        self.mailbox.on_time(now)?;
        if self.pinged_us != 0 && now.monotonic_us >= self.pinged_us + PONG_WAIT_US {
            // Expected and not answered: stays counted so.
            self.pinged_us = 0;
            return Err(Fault::new(code::TIMEOUT));
        }
        if self.pinged_us == 0 && !world.draining && now.monotonic_us >= self.ping_at_us() {
            let beat = Beat { next_ms: self.heartbeat_ms };
            world.speaker.say(outbound, &Wire::Ping(beat));
            world.tally.counters.heartbeats_expected += 1;
            self.pinged_us = now.monotonic_us;
            self.sent_us = now.monotonic_us;
        }
        self.settle(world, index, now, outbound);
        Ok(())
    }

    fn deadline(&self) -> u64 {
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
}

impl Native {
    fn take_frames(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
        outbound: &mut Vec<u8>,
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
                            self.on_message(world, index, now, page, &message, outbound)?;
                        }
                        Err(malformed) if !malformed.is_fatal() => {}
                        Err(malformed) => return Err(Fault::new(malformed.code())),
                    }
                }
                Err(malformed) => return Err(Fault::new(malformed.code())),
            }
        }
    }

    /// One JSON message.
    fn take_text(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let text = str::from_utf8(bytes).map_err(|_| Fault::new(fault::MESSAGE))?;
        let parsed = Parsed::read(text).map_err(|wrong| Fault::new(wrong.code))?;
        let message = parsed.message(0).map_err(|wrong| Fault::new(wrong.code))?;
        let page = parsed.flags & FLAG_PAGE != 0;
        self.on_message(world, index, now, page, &message, outbound)
    }

    fn on_message(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        page: bool,
        message: &Wire<'_>,
        outbound: &mut Vec<u8>,
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
                world.speaker.say(outbound, &Wire::Pong(beat));
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
        world.note_login(self.was_online);
        self.was_online = true;
        self.came_online = true;
        self.mailbox.on_welcome(world, index, welcome);
        self.clock_offset_ms = welcome.server_time_ms as i64 - now.wall_ms as i64;
    }

    fn on_pong(&mut self, world: &mut World, now: Now) {
        if self.pinged_us != 0 {
            world.tally.counters.heartbeats_answered += 1;
            let (from_us, us) = (self.pinged_us, now.monotonic_us - self.pinged_us);
            world.record(from_us, us, Stage::Heartbeat);
            self.pinged_us = 0;
        }
    }

    /// A beat is due when either direction has been quiet for the agreed time.
    fn ping_at_us(&self) -> u64 {
        self.sent_us.min(self.received_us) + u64::from(self.heartbeat_ms) * 1000
    }

    /// Sends what may be sent and what is owed.
    fn settle(&mut self, world: &mut World, index: u32, now: Now, outbound: &mut Vec<u8>) {
        if !self.is_online() {
            return;
        }
        let before = outbound.len();
        if let Some(chat) = &mut self.chat {
            chat.set_clock(self.clock_offset_ms);
            chat.pump(world, index, now, self.requests_max, outbound);
        }
        self.mailbox.settle(world, now, outbound);
        if outbound.len() > before {
            self.sent_us = now.monotonic_us;
        }
    }
}
