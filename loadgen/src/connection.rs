//! One simulated device without IO: bytes of a transport in, bytes to be sent out, and the next
//! time it wants to be called. At most 400 bytes with its slot while idle.
//!
//! ```text
//!  transport <-> [ TLS ] <-> [ WebSocket ] <-> client: native (frames or JSON), echo, …
//! ```
//!
//! What is said is an affair of the protocol's client; this module opens the layers one after
//! the other, carries bytes through them, and holds what all connections of a run share. Not here: sockets, source addresses, when to come
//! back. Invariant: a client hears whole units of its protocol or is asked again with more, and
//! what must survive a lost connection stays in it.

mod client;
mod echo;
mod layers;
mod mqtt;
mod native;
mod speaker;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hawser_codec::{code, time::Now};

use crate::{
    identity::{Names, mix},
    oracle::{Arrival, Oracle},
    payload::{GROUP, Payload},
    scenario::{Protocol, Scenario},
    tally::{Stage, Tally},
    wire::{
        Wire, fault,
        tls::Tls,
        websocket::{Unfinished, Websocket},
    },
};
use client::Speak;
use echo::Echo;
use mqtt::Mqtt;
use native::Native;
use speaker::Speaker;

/// What all connections of a run share.
#[derive(Debug)]
pub struct Ground {
    /// What is spoken.
    pub wire: Wire,
    /// Who is who.
    pub names: Names,
    /// The judge.
    pub oracle: Oracle,
    /// What is done.
    pub scenario: Scenario,
    /// Bytes of a message's body.
    pub payload_bytes: usize,
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
    speaker: Speaker,
    body: Vec<u8>,
    /// Plaintext of TLS records.
    plain: Vec<u8>,
    /// What clients said, before it is put into WebSocket messages.
    said: Vec<u8>,
    /// What is to be sealed in TLS records.
    unsealed: Vec<u8>,
    spare: Option<Box<Unfinished>>,
}

impl World {
    /// A fresh world on this ground.
    pub fn new(ground: Arc<Ground>) -> Self {
        let speaker = Speaker::new(ground.wire.protocol, mix(ground.names.run()));
        Self {
            ground,
            tally: Tally::default(),
            arrived: Vec::new(),
            draining: false,
            speaker,
            body: Vec::new(),
            plain: Vec::new(),
            said: Vec::new(),
            unsealed: Vec::new(),
            spare: None,
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

    /// A message is not sent because a bound of the generator is reached.
    fn shed(&mut self) {
        self.tally.counters.shed += 1;
    }

    /// The server refused a message of this connection for good: nobody waits for it any more.
    fn refuse(&mut self, index: u32, target: u32, counter: u32, code: u16) {
        self.ground.oracle.refuse(index, target, counter);
        let counters = &mut self.tally.counters;
        counters.refused += 1;
        counters.last_code = u64::from(code);
    }

    /// A connection is logged in; `again`: it was before.
    fn note_login(&mut self, again: bool) {
        let counters = &mut self.tally.counters;
        counters.online += 1;
        if again {
            counters.reconnects += 1;
        } else {
            counters.logged_in += 1;
        }
    }

    /// A message was shown to a user: judges it, measures it if it is a good one, and gives its
    /// fields then.
    fn deliver(&mut self, now: Now, arrival: &Arrival<'_>) -> Option<Payload> {
        let payload = self.ground.oracle.deliver(arrival)?;
        self.tally.counters.delivered += 1;
        self.arrived.push(Arrived {
            sender: payload.sender,
            recipient: arrival.viewer,
            intended_us: payload.intended_us,
            hop: payload.hop,
        });
        let late_us = now.monotonic_us.saturating_sub(payload.intended_us);
        let held = self.ground.scenario.holds_up(arrival.viewer);
        let stage = if held { Stage::Held } else { Stage::Deliver };
        if self.record(payload.intended_us, late_us, stage) {
            self.tally.counters.delivered_measured += 1;
        }
        if !held && self.ground.is_measured(payload.intended_us) {
            let from_sent_us = late_us.saturating_sub(u64::from(payload.lag_us));
            self.tally.record(Stage::DeliverSent, from_sent_us);
        }
        Some(payload)
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
    /// As the oracle and a message's body name it: a user's index, or a group's with [`GROUP`].
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

/// Why a connection has to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Protocol error code, as the server named it or as fits best, or one of
    /// [`wire::fault`](crate::wire::fault).
    pub code: u16,
    /// Come back no earlier than after this, milliseconds.
    pub retry_after_ms: u32,
}

/// A line for people about a [`Fault`]'s code.
pub fn fault_text(code: u16) -> String {
    let native = || format!("the server answered {code}, {}", code::text(code));
    fault::text(code).unwrap_or_else(native)
}

/// Who got this [`Fault`]'s code at the first login will get it again.
pub fn is_denied(code: u16) -> bool {
    fault::is_denied(code) || (200..300).contains(&code)
}

impl Fault {
    const fn new(code: u16) -> Self {
        Self { code, retry_after_ms: 0 }
    }
}

/// From connect to open layers, microseconds: as long as for a welcome behind them.
const OPEN_WAIT_US: u64 = 30_000_000;

/// The client of a connection's protocol.
#[derive(Debug)]
enum Client {
    Native(Native),
    Echo(Echo),
    Mqtt(Mqtt),
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    /// Bytes to be sent.
    pub outbound: Vec<u8>,
    /// An unfinished unit of the client's protocol.
    inbound: Vec<u8>,
    tls: Option<Box<Tls>>,
    websocket: Option<Box<Websocket>>,
    client: Client,
    /// The layers began to open then; 0: they are open, or there are none.
    opening_us: u64,
    /// The connection is to be left when what was said has gone.
    leaving: Option<Fault>,
    /// The layers have been open once.
    was_open: bool,
}

/// What 2,000,000 idle connections may cost this process is 800 MB. TLS comes on top: see [`Tls`].
const _: () = assert!(size_of::<Connection>() <= 320);

/// Calls the client whichever it is.
macro_rules! with_client {
    ($connection:expr, $client:ident => $call:expr) => {
        match &$connection.client {
            Client::Native($client) => $call,
            Client::Echo($client) => $call,
            Client::Mqtt($client) => $call,
        }
    };
    (mut $connection:expr, $client:ident => $call:expr) => {
        with_client!(in &mut $connection.client, $client => $call)
    };
    (in $place:expr, $client:ident => $call:expr) => {
        match $place {
            Client::Native($client) => $call,
            Client::Echo($client) => $call,
            Client::Mqtt($client) => $call,
        }
    };
}
use with_client;

impl Connection {
    /// A connection that was never up.
    pub fn new(scenario: &Scenario) -> Self {
        let client = match scenario.protocol {
            Protocol::Native | Protocol::WebsocketNative | Protocol::WebsocketJson => {
                Client::Native(Native::default())
            }
            Protocol::Echo => Client::Echo(Echo::default()),
            Protocol::Mqtt3 | Protocol::Mqtt5 => Client::Mqtt(Mqtt::default()),
        };
        Self {
            outbound: Vec::new(),
            inbound: Vec::new(),
            tls: None,
            websocket: None,
            client,
            opening_us: 0,
            leaving: None,
            was_open: false,
        }
    }

    /// Logged in.
    pub fn is_online(&self) -> bool {
        with_client!(self, client => client.is_online())
    }

    /// Logged in, nothing sent that waits for an answer, nothing unread.
    pub fn is_quiet(&self) -> bool {
        let whole = self.websocket.as_ref().is_none_or(|websocket| websocket.is_idle());
        whole && with_client!(self, client => client.is_quiet())
    }

    /// Logged in, and everything the server has for it has come.
    pub fn is_level(&self) -> bool {
        with_client!(self, client => client.is_level())
    }

    /// It was logged in since this was last asked.
    pub fn take_came_online(&mut self) -> bool {
        with_client!(mut self, client => client.take_came_online())
    }

    /// The transport is connected: opens the layers, or says hello if there are none.
    pub fn greet(&mut self, world: &mut World, index: u32, now: Now) {
        self.inbound = Vec::new();
        self.outbound.clear();
        self.opening_us = now.monotonic_us;
        self.open(world, index, now);
    }

    /// The transport is gone; all that must survive, does.
    pub fn on_disconnected(&mut self, world: &mut World) {
        self.inbound = Vec::new();
        self.outbound = Vec::new();
        self.close(world);
        with_client!(mut self, client => client.on_disconnected(world));
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
        if self.tls.is_some() {
            return self.unseal(world, index, now, bytes);
        }
        let mut outbound = std::mem::take(&mut self.outbound);
        let received = self.receive(world, index, now, bytes, &mut outbound);
        self.outbound = outbound;
        received
    }

    /// The schedule intends a message of this connection.
    pub fn offer(&mut self, world: &mut World, index: u32, offer: Offer, now: Now) {
        world.tally.counters.offered += 1;
        self.tell(world, |client, world, outbound| {
            with_client!(in client, client => client.offer(world, index, offer, now, outbound));
        });
    }

    /// Whatever is due; harmless earlier than [`Connection::deadline`].
    ///
    /// # Errors
    /// [`Fault`]: the server has been silent for too long, or what it said before is the end.
    pub fn on_time(&mut self, world: &mut World, index: u32, now: Now) -> Result<(), Fault> {
        if let Some(fault) = self.leaving {
            return Err(fault);
        }
        if self.opening_us != 0 {
            let late = now.monotonic_us >= self.opening_us + OPEN_WAIT_US;
            return if late { Err(Fault::new(code::TIMEOUT)) } else { Ok(()) };
        }
        self.tell(world, |client, world, outbound| {
            with_client!(in client, client => client.on_time(world, index, now, outbound))
        })
    }

    /// When [`Connection::on_time`] is next needed, microseconds; `u64::MAX`: not by itself.
    pub fn deadline(&self) -> u64 {
        if self.leaving.is_some() {
            return 0;
        }
        if self.opening_us != 0 {
            return self.opening_us + OPEN_WAIT_US;
        }
        with_client!(self, client => client.deadline())
    }
}

#[cfg(test)]
mod tests;
