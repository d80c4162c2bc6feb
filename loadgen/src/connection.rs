//! One simulated device without IO: bytes of a transport in, bytes to be sent out, and the next
//! time it wants to be called. At most 400 bytes with its slot while idle.
//!
//! ```text
//!  transport <-> [ TLS <-> WebSocket ] <-> client: native, …
//! ```
//!
//! What is said is an affair of the protocol's [`client`]; this module keeps what is unfinished,
//! and what all connections of a run share. Not here: sockets, source addresses, when to come
//! back. Invariant: a client hears whole units of its protocol or is asked again with more, and
//! what must survive a lost connection stays in it.

mod client;
mod mqtt;
mod native;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hawser_codec::{message::Encoder, time::Now};

use crate::{
    identity::Names,
    oracle::{Arrival, Oracle},
    payload::GROUP,
    scenario::{Protocol, Scenario},
    tally::{Stage, Tally},
};
use client::Speak;
use mqtt::Mqtt;
use native::Native;

/// What all connections of a run share.
#[derive(Debug)]
pub struct Ground {
    /// Who is who.
    pub names: Names,
    /// The judge.
    pub oracle: Oracle,
    /// What is done.
    pub scenario: Scenario,
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
    /// Messages delivered since this was last emptied: closed loops and replies live on it.
    pub arrived: Vec<Arrived>,
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
            arrived: Vec::new(),
            draining: false,
            encoder: Encoder::new(),
            body: Vec::new(),
        }
    }

    /// Records a latency if what began at `intended_us` is measured; tells whether it is.
    pub fn record(&mut self, intended_us: u64, us: u64, stage: Stage) -> bool {
        let measured = self.ground.is_measured(intended_us);
        if measured {
            self.tally.record(stage, us);
        }
        measured
    }

    /// A message to this target is not sent: a bound of the generator was reached.
    fn shed(&mut self, target: u32) {
        self.tally.counters.shed += 1;
        self.tally.counters.expected -= u64::from(self.ground.oracle.audience().viewers(target));
    }

    /// The server refused a message for good.
    fn refuse(&mut self, sender: u32, target: u32, number: u32, code: u16) {
        self.ground.oracle.refuse(sender, target, number);
        let counters = &mut self.tally.counters;
        counters.refused += 1;
        counters.expected -= u64::from(self.ground.oracle.audience().viewers(target));
        counters.last_code = u64::from(code);
    }

    /// A message was shown to a user: judges it, and measures it if it is a good one.
    fn deliver(&mut self, now: Now, arrival: &Arrival<'_>) {
        let Some(payload) = self.ground.oracle.deliver(arrival) else { return };
        self.tally.counters.delivered += 1;
        self.arrived.push(Arrived {
            sender: payload.sender,
            recipient: arrival.viewer,
            intended_us: payload.intended_us,
            hop: payload.hop,
        });
        let late_us = now.monotonic_us.saturating_sub(payload.intended_us);
        if self.record(payload.intended_us, late_us, Stage::Deliver) {
            self.tally.counters.delivered_measured += 1;
            let from_sent_us = late_us.saturating_sub(u64::from(payload.lag_us));
            self.tally.record(Stage::DeliverSent, from_sent_us);
        }
    }
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// A user, by its index.
    User(u32),
    /// A group or topic, by its index.
    Group(u32),
}

impl To {
    /// As in [`crate::payload::Payload::recipient`].
    pub fn target(self) -> u32 {
        match self {
            Self::User(user) => user,
            Self::Group(group) => group | GROUP,
        }
    }
}

/// A message that the schedule intends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whom it is for.
    pub to: To,
    /// When it was to be sent, microseconds of the machine's monotonic clock.
    pub intended_us: u64,
    /// How many messages it answers in a row: 0 for one that answers none.
    pub hop: u8,
}

/// A message that was delivered for the first time to this recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Index of the connection that sent it.
    pub sender: u32,
    /// Index of the connection that has it now.
    pub recipient: u32,
    /// When it was to be sent, microseconds of the machine's monotonic clock.
    pub intended_us: u64,
    /// As in its [`Offer`].
    pub hop: u8,
}

/// Codes of a [`Fault`] from here on: the server named the reason of MQTT in the low byte.
pub const MQTT_NAMED: u16 = 0x1000;

/// Codes from here on: the server did wrong, and the low byte is MQTT's reason for that.
pub const MQTT_WRONG: u16 = 0x1100;

/// Why a connection has to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Protocol error code, as the server named it or as fits best.
    pub code: u16,
    /// Come back no earlier than after this, milliseconds.
    pub retry_after_ms: u32,
}

/// Text of a [`Fault`]'s code for people.
pub fn fault_text(code: u16) -> String {
    mqtt::fault_text(code).unwrap_or_else(|| format!("{code}, {}", hawser_codec::code::text(code)))
}

/// Who got this [`Fault`]'s code at the first login will get it again.
pub fn is_denied(code: u16) -> bool {
    mqtt::is_denied(code) || (200..300).contains(&code)
}

impl Fault {
    const fn new(code: u16) -> Self {
        Self { code, retry_after_ms: 0 }
    }
}

/// The client of a connection's protocol.
#[derive(Debug)]
enum Client {
    Native(Native),
    Mqtt(Mqtt),
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    /// Bytes to be sent.
    pub outbound: Vec<u8>,
    /// An unfinished unit of the client's protocol.
    inbound: Vec<u8>,
    client: Client,
}

/// What 2,000,000 idle connections may cost this process is 800 MB.
const _: () = assert!(size_of::<Connection>() <= 320);

/// Calls the client whichever it is.
macro_rules! client {
    ($connection:expr, $client:ident => $call:expr) => {
        match &$connection.client {
            Client::Native($client) => $call,
            Client::Mqtt($client) => $call,
        }
    };
    (mut $connection:expr, $client:ident => $call:expr) => {
        match &mut $connection.client {
            Client::Native($client) => $call,
            Client::Mqtt($client) => $call,
        }
    };
}

impl Connection {
    /// A connection that is not there yet.
    pub fn new(scenario: &Scenario) -> Self {
        let client = match scenario.protocol {
            Protocol::Mqtt3 | Protocol::Mqtt5 => Client::Mqtt(Mqtt::default()),
            _ => Client::Native(Native::default()),
        };
        Self { outbound: Vec::new(), inbound: Vec::new(), client }
    }

    /// Logged in.
    pub fn is_online(&self) -> bool {
        client!(self, client => client.is_online())
    }

    /// Logged in, nothing sent that waits for an answer, nothing unread.
    pub fn is_quiet(&self) -> bool {
        client!(self, client => client.is_quiet())
    }

    /// It was logged in since this was last asked.
    pub fn take_came_online(&mut self) -> bool {
        client!(mut self, client => client.take_came_online())
    }

    /// The transport is connected: says hello.
    pub fn greet(&mut self, world: &mut World, index: u32, now: Now) {
        self.inbound = Vec::new();
        self.outbound.clear();
        client!(mut self, client => client.greet(world, index, now, &mut self.outbound));
    }

    /// The transport is gone; all that must survive, does.
    pub fn on_disconnected(&mut self, world: &mut World) {
        self.inbound = Vec::new();
        self.outbound = Vec::new();
        client!(mut self, client => client.on_disconnected(world));
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
        let outbound = &mut self.outbound;
        if self.inbound.is_empty() {
            let used = client!(mut self, client => {
                client.take(world, index, now, bytes, outbound)
            })?;
            self.inbound.extend_from_slice(&bytes[used..]);
        } else {
            let mut inbound = std::mem::take(&mut self.inbound);
            inbound.extend_from_slice(bytes);
            let used = client!(mut self, client => {
                client.take(world, index, now, &inbound, outbound)
            })?;
            if used < inbound.len() {
                inbound.drain(..used);
                self.inbound = inbound;
            }
        }
        Ok(())
    }

    /// The schedule intends a message of this connection.
    pub fn offer(&mut self, world: &mut World, index: u32, offer: Offer, now: Now) {
        world.tally.counters.offered += 1;
        let viewers = world.ground.oracle.audience().viewers(offer.to.target());
        world.tally.counters.expected += u64::from(viewers);
        let lag_us = now.monotonic_us.saturating_sub(offer.intended_us);
        world.record(offer.intended_us, lag_us, Stage::Lag);
        client!(mut self, client => client.offer(world, index, offer, now, &mut self.outbound));
    }

    /// Whatever is due; harmless earlier than [`Connection::deadline`].
    ///
    /// # Errors
    /// [`Fault`]: the server has been silent for too long.
    pub fn on_time(&mut self, world: &mut World, index: u32, now: Now) -> Result<(), Fault> {
        client!(mut self, client => client.on_time(world, index, now, &mut self.outbound))
    }

    /// When [`Connection::on_time`] is next needed, microseconds; `u64::MAX`: not by itself.
    pub fn deadline(&self) -> u64 {
        client!(self, client => client.deadline())
    }
}

#[cfg(test)]
mod tests;
