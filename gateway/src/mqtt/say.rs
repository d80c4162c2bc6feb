//! How endings are said: by CONNACK before the session stands, by DISCONNECT after it, and by the
//! end of the connection alone where the older version has no words.

use super::*;
use hawser_codec::mqtt::{
    Fault, Properties, packet,
    property::{self, Value},
};

/// Reason strings are cut to this many bytes: they are for people.
const REASON_STRING_BYTES_MAX: usize = 200;

/// A farewell with a reason code of MQTT.
pub(super) fn ending(reason: u8, text: impl Into<String>) -> Farewell {
    Farewell::saying(code_of(reason), text).ending(Ending::Mqtt(reason))
}

/// Code of [`hawser_codec::code`] that comes nearest, for those who count.
const fn code_of(reason: u8) -> u16 {
    match reason {
        reason::MALFORMED_PACKET => code::MALFORMED,
        reason::PACKET_TOO_LARGE => code::FRAME_TOO_LONG,
        reason::UNSUPPORTED_PROTOCOL_VERSION => code::VERSION_UNSUPPORTED,
        reason::CLIENT_IDENTIFIER_NOT_VALID => code::BAD_NAME,
        reason::BAD_USER_NAME_OR_PASSWORD
        | reason::NOT_AUTHORIZED
        | reason::BAD_AUTHENTICATION_METHOD => code::UNAUTHENTICATED,
        reason::SERVER_BUSY | reason::QUOTA_EXCEEDED | reason::MESSAGE_RATE_TOO_HIGH => {
            code::OVERLOADED
        }
        reason::SERVER_UNAVAILABLE => code::STORAGE_UNAVAILABLE,
        reason::SESSION_TAKEN_OVER => code::REPLACED,
        reason::KEEP_ALIVE_TIMEOUT => code::TIMEOUT,
        _ => code::UNEXPECTED_FRAME,
    }
}

/// Reason code for a code of [`hawser_codec::code`], in a CONNACK if `greeting`.
pub(super) const fn reason_of(code: u16, greeting: bool) -> u8 {
    match code {
        code::MALFORMED => reason::MALFORMED_PACKET,
        code::FRAME_TOO_LONG => reason::PACKET_TOO_LARGE,
        code::VERSION_UNSUPPORTED if greeting => reason::UNSUPPORTED_PROTOCOL_VERSION,
        code::BAD_NAME if greeting => reason::CLIENT_IDENTIFIER_NOT_VALID,
        code::UNAUTHENTICATED if greeting => reason::BAD_USER_NAME_OR_PASSWORD,
        code::UNAUTHENTICATED | code::TOKEN_EXPIRED => reason::NOT_AUTHORIZED,
        code::TIMEOUT if !greeting => reason::KEEP_ALIVE_TIMEOUT,
        code::REPLACED if !greeting => reason::SESSION_TAKEN_OVER,
        code::KICKED => {
            if greeting {
                reason::BANNED
            } else {
                reason::ADMINISTRATIVE_ACTION
            }
        }
        code::OVERLOADED | code::CONNECTIONS_FULL | code::RATE_LIMITED => reason::SERVER_BUSY,
        code::STORAGE_UNAVAILABLE | code::RECOVERING | code::TRY_AGAIN | code::SHUTTING_DOWN => {
            match (greeting, code) {
                (true, _) => reason::SERVER_UNAVAILABLE,
                (false, code::SHUTTING_DOWN) => reason::SERVER_SHUTTING_DOWN,
                (false, _) => reason::SERVER_BUSY,
            }
        }
        _ => reason::UNSPECIFIED,
    }
}

/// What of `text` fits into a reason string.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(REASON_STRING_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

impl MqttSessions {
    /// Says why the connection ends.
    pub fn say_farewell(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        farewell: &Farewell,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(terms) = Terms::of(connection) else { return };
        let greeting =
            matches!(connection.state, State::Opening | State::Greeting | State::LoggingIn);
        let found = match farewell.ending {
            Ending::Mqtt(reason) => reason,
            _ => reason_of(farewell.code, greeting),
        };
        self.end(connection, handle, &terms, greeting, found, cut(farewell.text()), "", outlet);
    }

    /// Tells a client that the server is leaving, and where to go.
    pub fn say_go_away(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        _retry_after_ms: u32,
        outlet: &mut Outlet<'_>,
    ) {
        let Some(terms) = Terms::of(connection) else { return };
        let greeting = connection.state != State::Open;
        let settings = Arc::clone(&self.settings);
        let reference = settings.mqtt.server_reference.as_str();
        let found = match (reference, greeting) {
            ("", true) => reason::SERVER_UNAVAILABLE,
            ("", false) => reason::SERVER_SHUTTING_DOWN,
            _ => reason::USE_ANOTHER_SERVER,
        };
        self.end(connection, handle, &terms, greeting, found, "", reference, outlet);
    }

    #[allow(clippy::too_many_arguments)] // an ending has so many facts
    fn end(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        terms: &Terms,
        greeting: bool,
        found: u8,
        text: &str,
        reference: &str,
        outlet: &mut Outlet<'_>,
    ) {
        if terms.version == Version::V311 {
            if greeting {
                let bytes = [(Kind::Connack as u8) << 4, 2, 0, reason::connack_311(found)];
                outlet.say(connection, handle, |queue| queue.extend_from_slice(&bytes));
            }
            return;
        }
        let mut properties = Vec::new();
        if !reference.is_empty() {
            property::put(&mut properties, property::SERVER_REFERENCE, Value::Text(reference));
        }
        let without = properties.len();
        if !text.is_empty() {
            property::put(&mut properties, property::REASON_STRING, Value::Text(text));
        }
        // Header, flags, reason and lengths are ten bytes at most.
        if properties.len() + 10 > terms.packet_bytes_max as usize {
            properties.truncate(without);
        }
        let properties = Properties::of(&properties);
        let packet = if greeting {
            Packet::Connack(packet::Connack { session_present: false, reason: found, properties })
        } else {
            Packet::Disconnect(packet::Disconnect { reason: found, properties })
        };
        outlet.say(connection, handle, |queue| put(queue, Version::V5, &packet));
    }

    /// A first packet that is refused before its terms are known: a CONNECT is answered in the form
    /// of the version it names, anything else not at all.
    pub(super) fn refuse_first(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        malformed: &Malformed,
        outlet: &mut Outlet<'_>,
    ) {
        if malformed.kind != Some(Kind::Connect) {
            return;
        }
        // The level stands behind the header and the protocol's name.
        let level = match malformed.fault {
            Fault::ProtocolVersion { level } => level,
            Fault::ProtocolName => return,
            _ => match bytes.windows(5).take(8).find(|bytes| bytes.starts_with(b"MQTT")) {
                Some(bytes) => bytes[4],
                None => return,
            },
        };
        let found = malformed.reason();
        // In the older version nothing but its own return codes may be said.
        if level < Version::V5 as u8 && found != reason::UNSUPPORTED_PROTOCOL_VERSION {
            return;
        }
        let packet = packet::Connack {
            session_present: false,
            reason: if level < Version::V5 as u8 { reason::connack_311(found) } else { found },
            properties: Properties::NONE,
        };
        let version = if level < Version::V5 as u8 { Version::V311 } else { Version::V5 };
        outlet.say(connection, handle, |queue| put(queue, version, &Packet::Connack(packet)));
    }
}

/// Appends a packet of ours.
pub(super) fn put(queue: &mut Vec<u8>, version: Version, packet: &Packet<'_>) {
    // What is too long for the protocol is not made here; it would be left out.
    let _ = encode::packet(queue, version, packet);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_string_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "é".repeat(150);
        assert_eq!(cut(&long).len(), REASON_STRING_BYTES_MAX);
        let odd = format!("a{long}");
        assert_eq!(cut(&odd).len(), REASON_STRING_BYTES_MAX - 1);
    }

    // norm: MQTT5-3.2.2-8
    #[test]
    fn every_code_has_a_reason_that_the_packet_may_carry() {
        use hawser_codec::mqtt::{PacketLimits, step};
        let limits = PacketLimits { receiver: Role::Client, packet_bytes_max: 100 };
        for code in 100..=600 {
            for greeting in [true, false] {
                let reason = reason_of(code, greeting);
                let bytes = match greeting {
                    true => vec![0x20, 3, 0, reason, 0],
                    false => vec![0xE0, 1, reason],
                };
                let step = step(&limits, Version::V5, &bytes);
                assert!(matches!(step, Ok(Step::Packet { .. })), "{code} {greeting} {step:?}");
            }
        }
    }
}
