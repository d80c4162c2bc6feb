//! What was agreed with one client, in fields of its [`Connection`] that other protocols use for
//! other things: a client that is idle keeps nothing beside them.
//!
//! | field | here |
//! |---|---|
//! | `class` | version and flags |
//! | `epoch` | session expiry, seconds |
//! | `incarnation` | longest packet of the client, its receive maximum, its aliases |
//! | `requests` | its publishes not yet answered |
//! | `page_since` | low bits of the number of the entry of its queue that was pushed last |
//! | `silence` | one and a half keep-alives, see [`silence_ticks`] |

use crate::{
    connection::Connection,
    timers::{TICK_US, Tick},
};
use hawser_codec::mqtt::Version;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Version spoken.
    pub version: Version,
    /// Reason strings and user properties are welcome.
    pub problem_information: bool,
    /// The session outlives the connection: QoS 1 and 2 come from its queue.
    pub kept: bool,
    /// The will is not to be published.
    pub no_will: bool,
    /// Something of it stands in a table of the core.
    pub aside: bool,
    /// Entries of the queue were pushed.
    pub queued: bool,
    /// The session is new, and shards may still keep packet identifiers of an earlier one.
    pub fresh: bool,
    /// Seconds the session is kept after the connection.
    pub expiry_s: u32,
    /// Longest packet the client takes, bytes.
    pub packet_bytes_max: u32,
    /// Publishes of QoS 1 and 2 it takes unanswered.
    pub receive_max: u16,
    /// Aliases it takes.
    pub aliases_max: u16,
}

const KNOWN: u8 = 1;
const V5: u8 = 2;
const PROBLEM_INFORMATION: u8 = 4;
const KEPT: u8 = 8;
const NO_WILL: u8 = 16;
const ASIDE: u8 = 32;
const QUEUED: u8 = 64;
const FRESH: u8 = 128;

impl Terms {
    /// What stands in `connection`; `None` before its CONNECT.
    #[inline]
    pub fn of(connection: &Connection) -> Option<Self> {
        let flags = connection.class;
        let has = |flag: u8| flags & flag != 0;
        if !has(KNOWN) {
            return None;
        }
        let packed = connection.incarnation();
        Some(Self {
            version: if has(V5) { Version::V5 } else { Version::V311 },
            problem_information: has(PROBLEM_INFORMATION),
            kept: has(KEPT),
            no_will: has(NO_WILL),
            aside: has(ASIDE),
            queued: has(QUEUED),
            fresh: has(FRESH),
            expiry_s: connection.epoch,
            packet_bytes_max: (packed >> 32) as u32,
            receive_max: (packed >> 16) as u16,
            aliases_max: packed as u16,
        })
    }

    /// Writes them into `connection`.
    pub fn keep(&self, connection: &mut Connection) {
        let flag = |is_so: bool, flag: u8| if is_so { flag } else { 0 };
        connection.class = KNOWN
            | flag(self.version == Version::V5, V5)
            | flag(self.problem_information, PROBLEM_INFORMATION)
            | flag(self.kept, KEPT)
            | flag(self.no_will, NO_WILL)
            | flag(self.aside, ASIDE)
            | flag(self.queued, QUEUED)
            | flag(self.fresh, FRESH);
        connection.epoch = self.expiry_s;
        connection.set_incarnation(
            u64::from(self.packet_bytes_max) << 32
                | u64::from(self.receive_max) << 16
                | u64::from(self.aliases_max),
        );
    }
}

/// Notes that something of the connection stands in a table of the core.
pub(super) fn set_aside(connection: &mut Connection) {
    connection.class |= ASIDE;
}

/// Nothing of it does any longer.
pub(super) fn clear_aside(connection: &mut Connection) {
    connection.class &= !ASIDE;
}

/// Is there anything?
pub(super) fn is_aside(connection: &Connection) -> bool {
    connection.class & ASIDE != 0
}

/// Notes that the session is new.
pub(super) fn set_fresh(connection: &mut Connection) {
    connection.class |= FRESH;
}

/// Was it until now?
pub(super) fn take_fresh(connection: &mut Connection) -> bool {
    let was = connection.class & FRESH != 0;
    connection.class &= !FRESH;
    was
}

/// Low bits of the number of the entry of the queue that was pushed last, if any was.
pub(super) fn last_queued(connection: &Connection) -> Option<u16> {
    (connection.class & QUEUED != 0).then_some(connection.page_since)
}

/// This entry was.
pub(super) fn note_queued(connection: &mut Connection, number: u64) {
    connection.class |= QUEUED;
    connection.page_since = number as u16;
}

/// Set in a silence that counts in units of [`LONG_TICKS`].
const LONG: u16 = 1 << 15;
/// Ticks of a long unit: 16 s, a thousandth of what needs it.
const LONG_TICKS: Tick = 64;

/// Silence allowed of a client with this keep-alive, as it stands in a connection: one and a half
/// of it; 0 for no bound. A keep-alive may be 18 hours, which plain ticks in 16 bits cannot say.
pub(super) fn silence_of(keep_alive_s: u16) -> u16 {
    let ticks = (u64::from(keep_alive_s) * 1_500_000).div_ceil(TICK_US) as Tick;
    match u16::try_from(ticks) {
        Ok(ticks) if ticks < LONG => ticks,
        _ => LONG | ticks.div_ceil(LONG_TICKS) as u16,
    }
}

/// Silence allowed, ticks; [`Tick::MAX`] for no bound.
#[must_use]
pub fn silence_ticks(silence: u16) -> Tick {
    match silence {
        0 => Tick::MAX,
        long if long & LONG != 0 => Tick::from(long & !LONG) * LONG_TICKS,
        ticks => Tick::from(ticks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Protocol;
    use proptest::prelude::*;

    // norm: MQTT3-3.1.2-24
    // norm: MQTT5-3.1.2-22
    #[test]
    fn silence_is_one_and_a_half_keep_alives_up_to_the_longest() {
        assert_eq!(silence_ticks(silence_of(0)), Tick::MAX);
        for keep_alive_s in (1..=u16::MAX).step_by(7) {
            let exact = u64::from(keep_alive_s) * 1_500_000 / TICK_US;
            let ticks = u64::from(silence_ticks(silence_of(keep_alive_s)));
            assert!(ticks >= exact, "{keep_alive_s}");
            assert!(ticks <= exact + 1 || exact > 32_000 && ticks <= exact + 64, "{keep_alive_s}");
        }
    }

    proptest! {
        #[test]
        fn terms_are_read_as_they_were_kept(
            flags in any::<[bool; 7]>(),
            expiry_s in any::<u32>(),
            packet_bytes_max in any::<u32>(),
            receive_max in any::<u16>(),
            aliases_max in any::<u16>(),
        ) {
            let terms = Terms {
                version: if flags[0] { Version::V5 } else { Version::V311 },
                problem_information: flags[1],
                kept: flags[2],
                no_will: flags[3],
                aside: flags[4],
                queued: flags[5],
                fresh: flags[6],
                expiry_s,
                packet_bytes_max,
                receive_max,
                aliases_max,
            };
            let mut connection = Connection::new(0, 0, 0, Protocol::Mqtt);
            prop_assert_eq!(Terms::of(&connection), None);
            terms.keep(&mut connection);
            prop_assert_eq!(Terms::of(&connection), Some(terms));
        }
    }
}
