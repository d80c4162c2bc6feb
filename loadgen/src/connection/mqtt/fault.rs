//! Why an MQTT connection has to be left: what the server said, in the reason codes of MQTT 5,
//! which stand for 3.1.1's return codes too; and what it did wrong. The texts are in
//! [`crate::wire::fault`].

use hawser_codec::mqtt::{Malformed, Version, reason};

use super::super::Fault;
use crate::wire::fault::{MQTT_NAMED as NAMED, MQTT_WRONG as WRONG};

/// The server's own reason.
pub(super) const fn named(reason: u8) -> Fault {
    Fault::new(NAMED + reason as u16)
}

/// A CONNACK that lets nobody in.
pub(super) fn refused(version: Version, code: u8) -> Fault {
    let meant = match (version, code) {
        (Version::V5, code) => code,
        (Version::V311, 1) => reason::UNSUPPORTED_PROTOCOL_VERSION,
        (Version::V311, 2) => reason::CLIENT_IDENTIFIER_NOT_VALID,
        (Version::V311, 3) => reason::SERVER_UNAVAILABLE,
        (Version::V311, 4) => reason::BAD_USER_NAME_OR_PASSWORD,
        (Version::V311, 5) => reason::NOT_AUTHORIZED,
        (Version::V311, _) => reason::UNSPECIFIED,
    };
    named(meant)
}

/// A packet that may not come now.
pub(super) const fn unexpected() -> Fault {
    Fault::new(WRONG + reason::PROTOCOL_ERROR as u16)
}

/// More messages of QoS 2 than were offered to be taken.
pub(super) const fn too_many() -> Fault {
    Fault::new(WRONG + reason::RECEIVE_MAXIMUM_EXCEEDED as u16)
}

/// Bytes that are no packet.
pub(super) fn malformed(malformed: &Malformed) -> Fault {
    Fault::new(WRONG + u16::from(malformed.reason()))
}

/// A server that speaks 3.1.1 alone refuses a client of 5.0 in its own words, a CONNACK of four
/// bytes, which is no packet of 5.0.
///
/// # Errors
/// It does.
pub(super) fn check_older(bytes: &[u8]) -> Result<(), Fault> {
    match bytes {
        [0x20, 0x02, ..] => Err(named(reason::UNSUPPORTED_PROTOCOL_VERSION)),
        _ => Ok(()),
    }
}
