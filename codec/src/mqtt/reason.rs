//! Reason codes of MQTT 5.0 (section 2.4), the packets that may carry each, and the return codes of
//! MQTT 3.1.1 that stand for some of them.

use super::Role;

/// Packets that carry reason codes, a set.
type Carriers = u16;

const CONNACK: Carriers = 1;
const PUBACK: Carriers = 2;
const PUBREL: Carriers = 4;
const SUBACK: Carriers = 8;
const UNSUBACK: Carriers = 16;
/// DISCONNECT of the client.
const LEAVE: Carriers = 32;
/// DISCONNECT of the server.
const DISMISS: Carriers = 64;
/// AUTH of the client.
const ASK: Carriers = 128;
/// AUTH of the server.
const REPLY: Carriers = 256;
const DISCONNECT: Carriers = LEAVE | DISMISS;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal, $carriers:expr;)*) => {
        $($(#[$doc])* pub const $name: u8 = $value;)*

        /// Short text for people; unknown codes have one too.
        #[must_use]
        pub const fn text(reason: u8) -> &'static str {
            match reason {
                $($value => $text,)*
                _ => "unknown reason",
            }
        }

        const fn carriers(reason: u8) -> Carriers {
            match reason {
                $($value => $carriers,)*
                _ => 0,
            }
        }
    };
}

reasons! {
    /// Success; of a DISCONNECT: normal, the will is dropped; of a SUBACK: QoS 0 granted.
    SUCCESS = 0x00, "success", CONNACK | PUBACK | PUBREL | SUBACK | UNSUBACK | DISCONNECT | REPLY;
    /// QoS 1 granted.
    GRANTED_QOS_1 = 0x01, "granted QoS 1", SUBACK;
    /// QoS 2 granted.
    GRANTED_QOS_2 = 0x02, "granted QoS 2", SUBACK;
    /// The client leaves and wants its will published.
    DISCONNECT_WITH_WILL = 0x04, "disconnect with will", LEAVE;
    /// Accepted, but nobody has subscribed to the topic.
    NO_MATCHING_SUBSCRIBERS = 0x10, "no matching subscribers", PUBACK;
    /// Nothing was unsubscribed.
    NO_SUBSCRIPTION_EXISTED = 0x11, "no subscription existed", UNSUBACK;
    /// Authentication goes on.
    CONTINUE_AUTHENTICATION = 0x18, "continue authentication", ASK | REPLY;
    /// The client wants to authenticate again.
    REAUTHENTICATE = 0x19, "re-authenticate", ASK;
    /// Nothing more can be said.
    UNSPECIFIED = 0x80, "unspecified error", CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT;
    /// Bytes that are no packet.
    MALFORMED_PACKET = 0x81, "malformed packet", CONNACK | DISCONNECT;
    /// A packet that may not come, or not so.
    PROTOCOL_ERROR = 0x82, "protocol error", CONNACK | DISCONNECT;
    /// Valid, but not accepted by this server.
    IMPLEMENTATION_SPECIFIC = 0x83, "implementation specific error",
        CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT;
    /// The server speaks other versions.
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "unsupported protocol version", CONNACK;
    /// The client identifier is not allowed.
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "client identifier not valid", CONNACK;
    /// Who are you?
    BAD_USER_NAME_OR_PASSWORD = 0x86, "bad user name or password", CONNACK;
    /// Not allowed.
    NOT_AUTHORIZED = 0x87, "not authorized", CONNACK | PUBACK | SUBACK | UNSUBACK | DISCONNECT;
    /// The server is not available.
    SERVER_UNAVAILABLE = 0x88, "server unavailable", CONNACK;
    /// Try again later.
    SERVER_BUSY = 0x89, "server busy", CONNACK | DISMISS;
    /// Shut out by the operator.
    BANNED = 0x8A, "banned", CONNACK;
    /// The server goes.
    SERVER_SHUTTING_DOWN = 0x8B, "server shutting down", DISMISS;
    /// The authentication method is not supported, or not the one agreed.
    BAD_AUTHENTICATION_METHOD = 0x8C, "bad authentication method", CONNACK | DISMISS;
    /// Nothing came within one and a half of the keep-alive.
    KEEP_ALIVE_TIMEOUT = 0x8D, "keep alive timeout", DISMISS;
    /// Another connection has the same client identifier.
    SESSION_TAKEN_OVER = 0x8E, "session taken over", DISMISS;
    /// A topic filter that is not accepted.
    TOPIC_FILTER_INVALID = 0x8F, "topic filter invalid", SUBACK | UNSUBACK | DISMISS;
    /// A topic name that is not accepted.
    TOPIC_NAME_INVALID = 0x90, "topic name invalid", CONNACK | PUBACK | DISCONNECT;
    /// The packet identifier is in use.
    PACKET_IDENTIFIER_IN_USE = 0x91, "packet identifier in use", PUBACK | SUBACK | UNSUBACK;
    /// The packet identifier is not known.
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "packet identifier not found", PUBREL;
    /// More publishes unanswered than agreed.
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "receive maximum exceeded", DISCONNECT;
    /// A topic alias beyond the maximum, or not set yet.
    TOPIC_ALIAS_INVALID = 0x94, "topic alias invalid", DISCONNECT;
    /// A packet longer than the receiver takes.
    PACKET_TOO_LARGE = 0x95, "packet too large", CONNACK | DISCONNECT;
    /// Too fast.
    MESSAGE_RATE_TOO_HIGH = 0x96, "message rate too high", DISCONNECT;
    /// A limit of the server or of the operator.
    QUOTA_EXCEEDED = 0x97, "quota exceeded", CONNACK | PUBACK | SUBACK | DISCONNECT;
    /// The operator closed the connection.
    ADMINISTRATIVE_ACTION = 0x98, "administrative action", DISCONNECT;
    /// The payload is not what its format indicator says.
    PAYLOAD_FORMAT_INVALID = 0x99, "payload format invalid", CONNACK | PUBACK | DISCONNECT;
    /// Retained messages are not supported.
    RETAIN_NOT_SUPPORTED = 0x9A, "retain not supported", CONNACK | DISMISS;
    /// The quality of service is not supported.
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported", CONNACK | DISMISS;
    /// Go to another server for now.
    USE_ANOTHER_SERVER = 0x9C, "use another server", CONNACK | DISMISS;
    /// Go to another server for good.
    SERVER_MOVED = 0x9D, "server moved", CONNACK | DISMISS;
    /// Shared subscriptions are not supported.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "shared subscriptions not supported",
        SUBACK | DISMISS;
    /// Too many connections in too short a time.
    CONNECTION_RATE_EXCEEDED = 0x9F, "connection rate exceeded", CONNACK | DISMISS;
    /// The connection has lasted as long as it may.
    MAXIMUM_CONNECT_TIME = 0xA0, "maximum connect time", DISMISS;
    /// Subscription identifiers are not supported.
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1, "subscription identifiers not supported",
        SUBACK | DISMISS;
    /// Wildcard subscriptions are not supported.
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, "wildcard subscriptions not supported",
        SUBACK | DISMISS;
}

/// Codes from here on are errors.
pub const ERROR: u8 = 0x80;

/// Return code of a 3.1.1 SUBACK for a filter that was refused.
pub const FAILURE_311: u8 = 0x80;

pub(super) const fn in_connack(reason: u8) -> bool {
    carriers(reason) & CONNACK != 0
}

/// PUBACK and PUBREC.
pub(super) const fn in_puback(reason: u8) -> bool {
    carriers(reason) & PUBACK != 0
}

/// PUBREL and PUBCOMP.
pub(super) const fn in_pubrel(reason: u8) -> bool {
    carriers(reason) & PUBREL != 0
}

pub(super) const fn in_suback(reason: u8) -> bool {
    carriers(reason) & SUBACK != 0
}

pub(super) const fn in_unsuback(reason: u8) -> bool {
    carriers(reason) & UNSUBACK != 0
}

pub(super) const fn in_disconnect(reason: u8, receiver: Role) -> bool {
    let carrier = match receiver {
        Role::Server => LEAVE,
        Role::Client => DISMISS,
    };
    carriers(reason) & carrier != 0
}

pub(super) const fn in_auth(reason: u8, receiver: Role) -> bool {
    let carrier = match receiver {
        Role::Server => ASK,
        Role::Client => REPLY,
    };
    carriers(reason) & carrier != 0
}

/// CONNACK return code of MQTT 3.1.1 for a reason code.
#[must_use]
pub const fn connack_311(reason: u8) -> u8 {
    match reason {
        SUCCESS => 0,
        UNSUPPORTED_PROTOCOL_VERSION => 1,
        CLIENT_IDENTIFIER_NOT_VALID => 2,
        BAD_USER_NAME_OR_PASSWORD => 4,
        NOT_AUTHORIZED | BANNED | BAD_AUTHENTICATION_METHOD => 5,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_only_in_the_packets_that_may_carry_it() {
        assert!(in_connack(BANNED) && !in_disconnect(BANNED, Role::Client));
        assert!(in_disconnect(DISCONNECT_WITH_WILL, Role::Server));
        assert!(!in_disconnect(DISCONNECT_WITH_WILL, Role::Client));
        assert!(in_auth(REAUTHENTICATE, Role::Server) && !in_auth(REAUTHENTICATE, Role::Client));
        assert!(in_pubrel(PACKET_IDENTIFIER_NOT_FOUND) && !in_puback(PACKET_IDENTIFIER_NOT_FOUND));
        assert!(!in_suback(0x03) && !in_unsuback(GRANTED_QOS_1));
        assert_eq!(text(0x77), "unknown reason");
    }

    #[test]
    fn every_refusal_has_a_return_code_of_the_older_version() {
        assert_eq!(connack_311(SUCCESS), 0);
        assert!((ERROR..=u8::MAX).all(|reason| (1..=5).contains(&connack_311(reason))));
    }
}
