//! Why an MQTT connection has to be left, as a number that a [`Fault`] can carry and a text.
//!
//! The numbers lie above those of the native protocol, in two ranges: what the server said, with
//! MQTT 5's reason codes, which stand for 3.1.1's return codes too; and what it did wrong.

use hawser_codec::mqtt::{Malformed, Version, reason};

use super::super::{Fault, MQTT_NAMED as NAMED, MQTT_WRONG as WRONG};

/// The server's own reason.
pub(super) const fn named(reason: u8) -> Fault {
    Fault::new(NAMED | reason as u16)
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
    Fault::new(WRONG | reason::PROTOCOL_ERROR as u16)
}

/// More messages of QoS 2 than were offered to be taken.
pub(super) const fn too_many() -> Fault {
    Fault::new(WRONG | reason::RECEIVE_MAXIMUM_EXCEEDED as u16)
}

/// Bytes that are no packet.
pub(super) fn malformed(malformed: &Malformed) -> Fault {
    Fault::new(WRONG | u16::from(malformed.reason()))
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

/// Text of a fault's number for people; `None`: it is not one of MQTT's.
pub(in super::super) fn text(code: u16) -> Option<String> {
    let reason = code as u8;
    let words = reason::text(reason);
    match code & 0xFF00 {
        NAMED => Some(format!("MQTT reason 0x{reason:02X}, {words}")),
        WRONG => Some(format!("with what is wrong in MQTT: {words}")),
        _ => None,
    }
}

/// The server said that it will not have this client, now or later.
pub(in super::super) fn is_denied(code: u16) -> bool {
    let for_good = [
        reason::UNSUPPORTED_PROTOCOL_VERSION,
        reason::CLIENT_IDENTIFIER_NOT_VALID,
        reason::BAD_USER_NAME_OR_PASSWORD,
        reason::NOT_AUTHORIZED,
        reason::BANNED,
        reason::BAD_AUTHENTICATION_METHOD,
        reason::TOPIC_FILTER_INVALID,
        reason::QOS_NOT_SUPPORTED,
    ];
    // What is no MQTT today will be none in a moment.
    code & 0xFF00 == WRONG || for_good.iter().any(|reason| code == NAMED | u16::from(*reason))
}
