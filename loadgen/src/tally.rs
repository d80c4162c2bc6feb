//! What a worker counts and measures, and how it hands it to the coordinator.
//!
//! A worker records into histograms that are its own. When a second of the monotonic clock is
//! over it hands them over with a copy of its counters, through [`Shared`]: one lock a second and
//! none per message. Nothing is averaged and nothing left out, so the sum of all intervals is the
//! whole run.

mod latency;
mod shared;

use serde::{Deserialize, Serialize};

use crate::wire::fault;
pub use latency::Latency;
pub use shared::{INTERVALS_WAITING_MAX, Interval, Shared};

macro_rules! named {
    ($(#[$head:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$head])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl $type {
            /// Every one, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its name in reports and thresholds.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The one with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

named! {
    /// A latency with a name of its own.
    Stage {
        /// Intended connect to logged in.
        Connect = "connect",
        /// Intended to acknowledged.
        Acknowledge = "acknowledge",
        /// Sent to acknowledged: without the wait for a window or a connection.
        AcknowledgeSent = "acknowledge_sent",
        /// Intended to delivered: the headline of everything that sends messages.
        Deliver = "deliver",
        /// Sent to delivered: the only figure that a closed loop has.
        DeliverSent = "deliver_sent",
        /// Intended to delivered, to those who do not read or are away on purpose: apart, because
        /// the wait is their own and would hide what the others see.
        Held = "held",
        /// Intended to taken up by the generator: its own lateness.
        Lag = "lag",
        /// Heartbeat to its answer.
        Heartbeat = "heartbeat",
        /// Connection lost to logged in again.
        Reconnect = "reconnect",
        /// Return of an offline user to a mailbox that is level.
        Sync = "sync",
        /// Silence of a half-open client to the server's close.
        Detect = "detect",
    }
}

named! {
    /// Why a connection was lost or did not come up.
    ErrorKind {
        /// Nobody listened, or the backlog was full.
        ConnectRefused = "connect_refused",
        /// No answer to the connect.
        ConnectTimedOut = "connect_timed_out",
        /// The connect failed otherwise.
        ConnectFailed = "connect_failed",
        /// The source address and port were taken.
        AddressConflict = "address_conflict",
        /// Reset by the server.
        Reset = "reset",
        /// Closed by the server.
        Closed = "closed",
        /// The server did not answer within the protocol's patience.
        Silent = "silent",
        /// Login not allowed.
        Denied = "denied",
        /// The server said that it has too much to do, or leaves.
        Busy = "busy",
        /// The two ends did not understand each other.
        Protocol = "protocol",
        /// The TLS handshake or a record failed.
        Tls = "tls",
        /// The kernel said something else.
        Other = "other",
    }
}

impl ErrorKind {
    /// Kind of a failed connect, by the kernel's errno (positive).
    pub const fn of_connect(errno: i32) -> Self {
        match errno {
            libc::ECONNREFUSED => Self::ConnectRefused,
            libc::ETIMEDOUT => Self::ConnectTimedOut,
            libc::EADDRINUSE | libc::EADDRNOTAVAIL => Self::AddressConflict,
            _ => Self::ConnectFailed,
        }
    }

    /// Kind of a broken connection, by the kernel's errno (positive).
    pub const fn of_break(errno: i32) -> Self {
        match errno {
            libc::ECONNRESET | libc::EPIPE => Self::Reset,
            libc::ETIMEDOUT => Self::Silent,
            _ => Self::Other,
        }
    }

    /// Kind of an end by the protocol's error code or a layer's ([`fault`]); 0: closed without
    /// one.
    pub const fn of_code(code: u16) -> Self {
        use hawser_codec::code as known;
        match code {
            0 => Self::Closed,
            known::TIMEOUT => Self::Silent,
            200..300 => Self::Denied,
            400..1000 => Self::Busy,
            fault::FIRST.. => fault::kind(code),
            _ => Self::Protocol,
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one worker, cumulative.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
            /// Connections lost, refused or given up, by kind: [`Tally::error`].
            pub errors: [u64; ErrorKind::COUNT],
        }

        impl Counters {
            /// Adds another worker's.
            pub fn add(&mut self, other: &Self) {
                let last = (self.last_errno.max(other.last_errno), self.last_code.max(other.last_code));
                $(self.$name += other.$name;)*
                // Numbers of errors, not of anything that could be summed.
                (self.last_errno, self.last_code) = last;
                for (sum, one) in self.errors.iter_mut().zip(other.errors) {
                    *sum += one;
                }
            }
        }

        /// The same, readable from another thread.
        #[derive(Debug, Default)]
        struct Published {
            $($name: std::sync::atomic::AtomicU64,)*
            errors: [std::sync::atomic::AtomicU64; ErrorKind::COUNT],
        }

        impl Published {
            fn store(&self, counters: &Counters) {
                use std::sync::atomic::Ordering::Relaxed;
                $(self.$name.store(counters.$name, Relaxed);)*
                for (cell, count) in self.errors.iter().zip(counters.errors) {
                    cell.store(count, Relaxed);
                }
            }

            fn load(&self) -> Counters {
                use std::sync::atomic::Ordering::Relaxed;
                Counters {
                    $($name: self.$name.load(Relaxed),)*
                    errors: std::array::from_fn(|at| self.errors[at].load(Relaxed)),
                }
            }
        }
    };
}

counters! {
    /// Connections logged in now.
    online,
    /// Connections that were logged in at least once.
    logged_in,
    /// Messages the schedule intended so far.
    offered,
    /// Messages acknowledged.
    acknowledged,
    /// Messages delivered, each once to each of its recipients.
    delivered,
    /// Messages delivered whose intended time is in the measured window.
    delivered_measured,
    /// Messages intended and neither acknowledged nor refused.
    unanswered,
    /// Messages refused for good.
    refused,
    /// Messages sent that nobody acknowledges (QoS 0 of MQTT).
    forgotten,
    /// Messages not sent because a bound of the generator was reached.
    shed,
    /// Requests sent again.
    repeats,
    /// Mailbox entries that came again and were dropped by their number.
    entries_again,
    /// Pages of the mailbox read.
    pages,
    /// Heartbeats sent whose answer was or is due.
    heartbeats_expected,
    /// Heartbeats answered.
    heartbeats_answered,
    /// Connections made again after the first time.
    reconnects,
    /// Source addresses and ports that were taken, and moved on from.
    address_conflicts,
    /// Connections lost, refused or given up.
    failures,
    /// Last errno of a failed connect, 0 for none.
    last_errno,
    /// Last error code of the protocol that ended a connection, 0 for none.
    last_code,
    /// The schedule has come to its end.
    schedule_ended,
}

impl Counters {
    /// How often connections were lost, refused or given up for this reason.
    pub fn error(&self, kind: ErrorKind) -> u64 {
        self.errors[kind as usize]
    }

    /// Messages done: acknowledged, or where nothing is acknowledged delivered to all of so many
    /// viewers.
    pub fn done(&self, viewers: u64) -> u64 {
        if self.acknowledged > 0 { self.acknowledged } else { self.delivered / viewers.max(1) }
    }
}

/// Histograms of one interval, by stage; absent where nothing was measured.
pub type Stages = [Option<Latency>; Stage::COUNT];

/// Everything one worker measures.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Counters.
    pub counters: Counters,
    /// What was recorded since the last hand-over.
    stages: Stages,
    /// Empty histograms to be used again.
    spare: Vec<Latency>,
    /// Second of the monotonic clock that is being recorded.
    second: u64,
}

impl Tally {
    /// Records one latency, microseconds. Whether it is in the measured window is the caller's to
    /// know.
    pub fn record(&mut self, stage: Stage, us: u64) {
        let slot = &mut self.stages[stage as usize];
        let latency = slot.get_or_insert_with(|| self.spare.pop().unwrap_or_default());
        latency.record(us);
    }

    /// A connection was lost, refused or given up.
    pub fn error(&mut self, kind: ErrorKind) {
        self.counters.failures += 1;
        self.counters.errors[kind as usize] += 1;
    }

    /// How many latencies of this stage are not handed over yet.
    pub fn count(&self, stage: Stage) -> u64 {
        self.stages[stage as usize].as_ref().map_or(0, Latency::count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_stage_and_kind() {
        for stage in Stage::ALL {
            assert_eq!(Stage::from_name(stage.name()), Some(*stage));
            let text = serde_json::to_string(stage).unwrap();
            assert_eq!(text, format!("\"{}\"", stage.name()));
        }
        assert!(ErrorKind::ALL.iter().enumerate().all(|(at, kind)| *kind as usize == at));
        assert_eq!(Stage::from_name("deliver"), Some(Stage::Deliver));
        assert_eq!(Stage::from_name("Deliver"), None);
    }

    #[test]
    fn done_is_acknowledged_or_else_the_share_that_was_delivered() {
        let acknowledged = Counters { offered: 10, acknowledged: 7, ..Counters::default() };
        assert_eq!(acknowledged.done(1), 7);
        let fan_out = Counters { offered: 10, delivered: 450, ..Counters::default() };
        assert_eq!(fan_out.done(100), 4);
        assert_eq!(Counters::default().done(0), 0);
    }

    #[test]
    fn errors_are_told_apart_by_what_the_kernel_or_the_server_said() {
        assert_eq!(ErrorKind::of_connect(libc::ECONNREFUSED), ErrorKind::ConnectRefused);
        assert_eq!(ErrorKind::of_break(libc::ECONNRESET), ErrorKind::Reset);
        assert_eq!(ErrorKind::of_code(200), ErrorKind::Denied);
        assert_eq!(ErrorKind::of_code(0), ErrorKind::Closed);
        let mut tally = Tally::default();
        tally.error(ErrorKind::Silent);
        assert_eq!((tally.counters.failures, tally.counters.error(ErrorKind::Silent)), (1, 1));
    }
}
