//! What a worker keeps of one connection.
//!
//! ```text
//!           preface          hello             LoggedIn
//!  Opening ────────▶ Greeting ─────▶ LoggingIn ─────────▶ Open
//!     │                 │                │                  │
//!     └─────────────────┴────────────────┴──────────────────┤ peer gone, violation, kick, time-out
//!                                                           ▼
//!                                Leaving (last bytes go, bounded) ──▶ Closing ──▶ slot freed
//! ```
//!
//! A slot is freed only after its last completion: [`InFlight`] counts what the kernel holds.

use crate::{names::NameRef, outbound::Queue, timers::Tick};
use hawser_codec::link::Key;
use hawser_ring::Operation;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for the preface.
    Opening,
    /// Waits for the hello.
    Greeting,
    /// The home shard is asked.
    LoggingIn,
    /// Frames flow.
    Open,
    /// Nothing more is read; last bytes go out under a bound.
    Leaving,
    /// Operations are cancelled and awaited, then the slot is closed.
    Closing,
}

/// How bytes are awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// A readiness watch is armed (256 B in the kernel); bytes are fetched once when it fires.
    Cold,
    /// A multishot receive is armed (864 B in the kernel, nothing to submit per message).
    Hot,
    /// Nothing is armed for want of buffers; armed again when some are given back.
    Starved,
    /// Nothing is armed and nothing will be.
    Ended,
}

/// Whether its bytes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// As they come.
    Open,
    /// It has had its share of this turn; the rest waits for the next.
    Yielding,
    /// It does not read its answers: nothing more is taken until they have gone.
    Paused,
    /// What comes next hangs on an answer of a host: nothing more is taken until it is there.
    Asking,
}

/// Operations of one connection that the kernel has not finished, a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight(u8);

impl InFlight {
    const fn bit(operation: Operation) -> u8 {
        match operation {
            Operation::Receive => 1,
            Operation::Watch => 2,
            Operation::Send => 4,
            Operation::Cancel => 8,
            Operation::Close => 16,
            Operation::Pass => 32,
            _ => 0,
        }
    }

    /// Submitted.
    pub fn set(&mut self, operation: Operation) {
        debug_assert!(!self.has(operation), "{operation:?} is already in flight");
        self.0 |= Self::bit(operation);
    }

    /// Final completion seen.
    pub fn clear(&mut self, operation: Operation) {
        self.0 &= !Self::bit(operation);
    }

    /// Is it under way?
    pub fn has(self, operation: Operation) -> bool {
        self.0 & Self::bit(operation) != 0
    }

    /// Nothing is under way.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What is spoken on a connection. It is set when it is accepted, and changes when first bytes or
/// an upgrade decide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// Hawser's own.
    Native,
    /// MQTT 3.1.1 or 5.
    Mqtt,
    /// Native frames as binary messages (sub-protocol `hawser.v1`).
    WebSocketNative,
    /// The same operations as JSON text (sub-protocol `hawser.json.v1`).
    WebSocketJson,
    /// Each message comes back as it came.
    WebSocketEcho,
    /// MQTT in binary messages, a stream of bytes.
    WebSocketMqtt,
    /// HTTP requests, one of which may upgrade it.
    Http,
    /// HTTP requests of a device that is logged in: long-poll.
    Poll,
    /// An answer without end: server-sent events.
    Events,
    /// The first bytes will tell.
    Undetermined,
}

impl Protocol {
    /// What a core appends goes out as it is: no face stands between.
    #[inline]
    pub const fn is_bare(self) -> bool {
        self as u8 <= Self::Mqtt as u8
    }

    /// WebSocket frames (RFC 6455) carry it.
    pub const fn is_websocket(self) -> bool {
        matches!(
            self,
            Self::WebSocketNative | Self::WebSocketJson | Self::WebSocketEcho | Self::WebSocketMqtt
        )
    }

    /// The MQTT core has it, not the native session's.
    pub const fn is_mqtt(self) -> bool {
        matches!(self, Self::Mqtt | Self::WebSocketMqtt)
    }

    /// Somebody logs in on it: a session at a home shard goes with it once it is open.
    pub const fn has_session(self) -> bool {
        !matches!(self, Self::WebSocketEcho | Self::Http | Self::Undetermined)
    }
}

/// One fact of [`Flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// Reset instead of FIN at the end.
    Abort = 1,
    /// The home shard was told to stop pushing.
    Stalled = 2,
    /// A PROXY header is to come first.
    Proxy = 4,
    /// Bytes are TLS records, or on a connection whose protocol the first bytes will tell may be.
    Tls = 8,
    /// Its protocol keeps something of it in a table of its own, to be dropped at the end.
    Aside = 16,
    /// Bytes were taken off the wire whose turn has not come: its core is called again without new
    /// ones.
    Waiting = 64,
    /// A layer below its protocol has something of it that has to be finished in time: a handshake,
    /// or plaintext that is no whole frame.
    Unfinished = 128,
    /// It has been silent for its heartbeat, was asked for a sign, and has not answered; or it is
    /// leaving and has not answered that.
    Asked = 32,
}

/// Facts about a connection, a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Is it so?
    #[inline]
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & flag as u8 != 0
    }

    /// Something stands below the protocol.
    #[inline]
    pub const fn is_layered(self) -> bool {
        self.0 & (Flag::Proxy as u8 | Flag::Tls as u8) != 0
    }

    /// It is so from now on, or no longer.
    #[inline]
    pub const fn set(&mut self, flag: Flag, is_so: bool) {
        match is_so {
            true => self.0 |= flag as u8,
            false => self.0 &= !(flag as u8),
        }
    }
}

/// One connection. Its size is part of the memory budget ([`crate::limits`]).
pub struct Connection {
    /// Where it stands.
    pub state: State,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// What else is to be known of it.
    pub flags: Flags,
    /// How bytes are awaited.
    pub receiving: Receiving,
    /// Whether its bytes are taken.
    pub flow: Flow,
    /// Bytes may wait in the socket that nothing armed will report.
    pub missed: bool,
    /// What the kernel holds.
    pub in_flight: InFlight,
    /// Class of the client ([`hawser_codec::message::Class`] as number).
    pub class: u8,
    /// Operations whose cancel was asked for.
    pub cancelled: InFlight,
    /// In the worker's list of connections to flush.
    pub dirty: bool,
    /// What is queued may wait for the next frame.
    pub lazy: bool,
    /// Receives since the last timer, saturating: several mean an active client.
    pub busy: u8,
    /// Requests not yet answered.
    pub requests: u16,
    /// Silence allowed, ticks.
    pub silence: u16,
    /// Bytes taken in this turn.
    pub spent: u16,
    /// When a page was asked for that has not come: low bits of the tick, 0 for none.
    pub page_since: u16,
    /// Last byte heard.
    pub heard: Tick,
    /// When the unfinished frame began, or the state was entered.
    pub since: Tick,
    /// Frames waiting to be sent.
    pub queued: Queue,
    /// An unfinished frame.
    pub partial: Queue,
    /// Login ends then, seconds since 1970; `u32::MAX`: never.
    pub expires_s: u32,
    /// Realm (tenant).
    pub realm: u32,
    /// Session epoch.
    pub epoch: u32,
    /// User's and device's name in the worker's [`crate::names::Names`].
    pub names: NameRef,
    /// Length of the user's name.
    pub user_bytes: u8,
    /// Length of the device's name, which follows it.
    pub device_bytes: u8,
    /// Index of the listener it came through.
    pub door: u8,
    /// permessage-deflate as agreed, in the words of [`crate::websocket::Compression`]; 0: none.
    pub compression: u8,
    /// Incarnation of the client's outbox, in two halves: a field of 8 bytes would align the whole
    /// to 8 and cost as much again.
    incarnation: [u32; 2],
    /// Key of the user.
    pub user: Key,
    /// Key of the device.
    pub device: Key,
}

impl Connection {
    /// A connection just accepted through the listener of this index, where this is spoken.
    pub fn new(now: Tick, silence: u16, door: u8, protocol: Protocol) -> Self {
        Self {
            state: State::Opening,
            protocol,
            flags: Flags::default(),
            receiving: Receiving::Ended,
            flow: Flow::Open,
            missed: false,
            in_flight: InFlight::default(),
            class: 0,
            cancelled: InFlight::default(),
            dirty: false,
            lazy: false,
            busy: 0,
            requests: 0,
            silence,
            spent: 0,
            page_since: 0,
            heard: now,
            since: now,
            queued: Queue::NONE,
            partial: Queue::NONE,
            expires_s: u32::MAX,
            realm: 0,
            epoch: 0,
            names: NameRef::NONE,
            user_bytes: 0,
            device_bytes: 0,
            door,
            compression: 0,
            incarnation: [0; 2],
            user: [0; 16],
            device: [0; 16],
        }
    }

    /// Nothing has come from it yet.
    pub fn is_silent(&self) -> bool {
        self.state == State::Opening && !self.has_unfinished()
    }

    /// The beginning of something waits for its end: of a frame, a record, a handshake.
    pub fn has_unfinished(&self) -> bool {
        self.partial != Queue::NONE || self.flags.has(Flag::Unfinished)
    }

    /// It was told that it ends, and has not said the same yet.
    pub fn awaits_answer(&self) -> bool {
        self.state == State::Leaving && self.flags.has(Flag::Asked)
    }

    /// Incarnation of the client's outbox.
    pub fn incarnation(&self) -> u64 {
        u64::from(self.incarnation[0]) << 32 | u64::from(self.incarnation[1])
    }

    /// Sets it.
    pub fn set_incarnation(&mut self, incarnation: u64) {
        self.incarnation = [(incarnation >> 32) as u32, incarnation as u32];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_fits_its_budget() {
        // With its names (36 + 4 bytes) and its timer this is the worker's share.
        assert!(size_of::<Connection>() <= 96, "{}", size_of::<Connection>());
    }

    #[test]
    fn operations_are_counted_apart() {
        let mut in_flight = InFlight::default();
        in_flight.set(Operation::Send);
        in_flight.set(Operation::Receive);
        in_flight.clear(Operation::Send);
        assert!(!in_flight.has(Operation::Send) && in_flight.has(Operation::Receive));
        in_flight.clear(Operation::Receive);
        assert!(in_flight.is_empty());
    }
}
