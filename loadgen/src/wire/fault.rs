//! Why a connection ended, as a number that stands for a layer's reason, MQTT's or Hawser's, and
//! as a line for people.
//!
//! | code | meaning |
//! |---|---|
//! | up to 9,999 | of Hawser's protocol ([`hawser_codec::code`]) |
//! | 10,000 and above | of the layers, named here |
//! | 11,000 and the HTTP status | the answer to an upgrade |
//! | 12,500 and the alert | TLS alert of the server |
//! | 13,000 and the reason | what an MQTT server says, in MQTT 5's reason codes |
//! | 13,300 and the reason | what an MQTT server did wrong: what its client would say to it |
//! | 20,000 and the code | WebSocket close code of the server |

use hawser_codec::{
    mqtt::reason,
    websocket::{Violation, handshake::client::AnswerFault},
};
use rustls::{CertificateError, Error};

use crate::tally::ErrorKind;

/// Lowest code that is not Hawser's protocol's.
pub const FIRST: u16 = 10_000;

/// The connection ended before the upgrade was answered.
pub const UPGRADE_UNANSWERED: u16 = 10_000;
/// The answer to the upgrade is no HTTP.
pub const NOT_HTTP: u16 = 10_001;
/// Status 101 without the fields that must stand beside it.
pub const UPGRADE_INCOMPLETE: u16 = 10_002;
/// The accept key does not belong to the request's.
pub const ACCEPT_KEY: u16 = 10_003;
/// A sub-protocol that was not offered, or none.
pub const SUB_PROTOCOL: u16 = 10_004;
/// An extension that was not offered.
pub const EXTENSION: u16 = 10_005;
/// Frames against RFC 6455.
pub const FRAMES: u16 = 10_010;
/// A message of the wrong type, or one that does not hold whole units of the protocol.
pub const MESSAGE: u16 = 10_011;
/// A message longer than is taken.
pub const MESSAGE_TOO_LONG: u16 = 10_012;

/// The connection ended within the TLS handshake.
pub const TLS_UNANSWERED: u16 = 12_000;
/// What came is no TLS.
pub const NOT_TLS: u16 = 12_001;
/// The certificate was signed by nobody who is trusted.
pub const CERTIFICATE_UNTRUSTED: u16 = 12_002;
/// The certificate was issued for another name.
pub const CERTIFICATE_NAME: u16 = 12_003;
/// The certificate is not valid now.
pub const CERTIFICATE_AGE: u16 = 12_004;
/// The certificate cannot be used for another reason.
pub const CERTIFICATE: u16 = 12_005;
/// Both sides have no version, cipher or protocol in common.
pub const TLS_INCOMPATIBLE: u16 = 12_006;
/// The server broke TLS, or a record was damaged.
pub const TLS_BROKEN: u16 = 12_007;

/// An MQTT server named the reason that is added.
pub const MQTT_NAMED: u16 = 13_000;
/// An MQTT server did wrong: its client would name the reason that is added.
pub const MQTT_WRONG: u16 = 13_300;

const STATUS_BASE: u16 = 11_000;
const ALERT_BASE: u16 = 12_500;
const CLOSE_BASE: u16 = 20_000;

/// Of the answer to an upgrade.
pub(crate) fn of_answer(fault: AnswerFault) -> u16 {
    match fault {
        AnswerFault::NotHttp => NOT_HTTP,
        AnswerFault::Status(status) => STATUS_BASE + status.min(999),
        AnswerFault::Upgrade | AnswerFault::Connection => UPGRADE_INCOMPLETE,
        AnswerFault::Accept => ACCEPT_KEY,
        AnswerFault::Protocol => SUB_PROTOCOL,
        AnswerFault::Extensions => EXTENSION,
    }
}

/// Of frames against the norm or beyond a limit.
pub(crate) fn of_violation(violation: Violation) -> u16 {
    match violation {
        Violation::FrameTooLong { .. } | Violation::MessageTooLong { .. } => MESSAGE_TOO_LONG,
        _ => FRAMES,
    }
}

/// Of the server's close frame.
pub(crate) fn of_close(code: Option<u16>) -> u16 {
    // 1005 stands for an empty close frame wherever one is told.
    CLOSE_BASE + code.unwrap_or(1005).min(4999)
}

/// Of TLS.
pub(crate) fn of_tls(error: &Error) -> u16 {
    match error {
        Error::InvalidMessage(_) => NOT_TLS,
        Error::InvalidCertificate(wrong) => match wrong {
            // An authority of the same name with another key signed it.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                CERTIFICATE_UNTRUSTED
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                CERTIFICATE_NAME
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => CERTIFICATE_AGE,
            _ => CERTIFICATE,
        },
        Error::AlertReceived(alert) => ALERT_BASE + u16::from(u8::from(*alert)),
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TLS_INCOMPATIBLE,
        _ => TLS_BROKEN,
    }
}

/// Kind of a code from [`FIRST`] on.
pub(crate) const fn kind(code: u16) -> ErrorKind {
    match code {
        UPGRADE_UNANSWERED => ErrorKind::Closed,
        11_401 | 11_403 | 21_008 => ErrorKind::Denied,
        // Status 429 and 503; going away, restarting, try again later.
        11_429 | 11_503 | 21_001 | 21_012 | 21_013 => ErrorKind::Busy,
        TLS_UNANSWERED..=12_755 => ErrorKind::Tls,
        MQTT_NAMED..=13_255 => match (code - MQTT_NAMED) as u8 {
            reason::UNSUPPORTED_PROTOCOL_VERSION
            | reason::CLIENT_IDENTIFIER_NOT_VALID
            | reason::BAD_USER_NAME_OR_PASSWORD
            | reason::NOT_AUTHORIZED
            | reason::BANNED
            | reason::BAD_AUTHENTICATION_METHOD => ErrorKind::Denied,
            reason::SERVER_UNAVAILABLE
            | reason::SERVER_BUSY
            | reason::SERVER_SHUTTING_DOWN
            | reason::MESSAGE_RATE_TOO_HIGH
            | reason::QUOTA_EXCEEDED
            | reason::USE_ANOTHER_SERVER
            | reason::SERVER_MOVED
            | reason::CONNECTION_RATE_EXCEEDED => ErrorKind::Busy,
            _ => ErrorKind::Protocol,
        },
        _ => ErrorKind::Protocol,
    }
}

/// Who met this in opening the first connections will meet it again.
pub(crate) fn is_denied(code: u16) -> bool {
    match code {
        // Whoever closes without a word, or is overloaded, may be about to restart.
        UPGRADE_UNANSWERED | TLS_UNANSWERED | 11_429 | 11_500..=11_999 => false,
        MQTT_NAMED..=13_255 => {
            let reason = (code - MQTT_NAMED) as u8;
            let lacking =
                matches!(reason, reason::TOPIC_FILTER_INVALID | reason::QOS_NOT_SUPPORTED);
            lacking || matches!(kind(code), ErrorKind::Denied)
        }
        // What is no MQTT now will be none in a moment.
        MQTT_WRONG..=13_555 => true,
        NOT_HTTP..=MESSAGE_TOO_LONG | STATUS_BASE..TLS_UNANSWERED | NOT_TLS..=12_755 => true,
        _ => false,
    }
}

/// A line for people about a code from [`FIRST`] on; `None`: it is none.
pub fn text(code: u16) -> Option<String> {
    let text = match code {
        UPGRADE_UNANSWERED => {
            "the server closed instead of answering the WebSocket upgrade: is it a WebSocket port, \
             without TLS?"
        }
        NOT_HTTP => "the server's answer to the WebSocket upgrade is no HTTP: is it another port?",
        UPGRADE_INCOMPLETE => "the server's 101 lacks Upgrade: websocket or Connection: Upgrade",
        ACCEPT_KEY => "the server's Sec-WebSocket-Accept does not belong to the key it was sent",
        SUB_PROTOCOL => "the server chose no WebSocket sub-protocol, or one that was not offered",
        EXTENSION => "the server chose a WebSocket extension that was not offered",
        FRAMES => "the server broke the WebSocket protocol",
        MESSAGE => {
            "the server sent a WebSocket message of the wrong type, or one that holds no whole \
             frames"
        }
        MESSAGE_TOO_LONG => "the server sent a WebSocket message of more than 1 MiB",
        TLS_UNANSWERED => "the server closed within the TLS handshake: is TLS on at that port?",
        NOT_TLS => "the server does not answer in TLS: is TLS on at that port?",
        CERTIFICATE_UNTRUSTED => {
            "the server's certificate is signed by nobody who is trusted: --tls-ca names a file of \
             authorities, --tls-insecure takes any"
        }
        CERTIFICATE_NAME => {
            "the server's certificate is for another name: --server-name tells which to expect"
        }
        CERTIFICATE_AGE => "the server's certificate has expired, or is not valid yet",
        CERTIFICATE => {
            "the server's certificate cannot be used: damaged, revoked, for another purpose, or an \
             authority's own"
        }
        TLS_INCOMPATIBLE => "no TLS version, cipher suite or protocol in common with the server",
        TLS_BROKEN => "the server broke TLS, or a record was damaged on its way",
        STATUS_BASE..TLS_UNANSWERED => {
            let status = code - STATUS_BASE;
            return Some(format!("the server answered the WebSocket upgrade with status {status}"));
        }
        ALERT_BASE..=12_755 => {
            let alert = rustls::AlertDescription::from((code - ALERT_BASE) as u8);
            return Some(format!("the server ended the TLS handshake or session: {alert:?}"));
        }
        MQTT_NAMED..=13_255 => {
            let reason = (code - MQTT_NAMED) as u8;
            let words = reason::text(reason);
            return Some(format!("the server answered MQTT reason 0x{reason:02X}, {words}"));
        }
        MQTT_WRONG..=13_555 => {
            let words = reason::text((code - MQTT_WRONG) as u8);
            return Some(format!("the server sent what is wrong in MQTT: {words}"));
        }
        CLOSE_BASE..=24_999 => {
            let close = code - CLOSE_BASE;
            return Some(format!("the server closed the WebSocket with code {close}"));
        }
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_mqtt_have_a_kind_and_only_some_are_for_good() {
        let named = |reason: u8| MQTT_NAMED + u16::from(reason);
        for (code, expected, for_good) in [
            (named(reason::NOT_AUTHORIZED), ErrorKind::Denied, true),
            (named(reason::SERVER_SHUTTING_DOWN), ErrorKind::Busy, false),
            (named(reason::QOS_NOT_SUPPORTED), ErrorKind::Protocol, true),
            (named(reason::PROTOCOL_ERROR), ErrorKind::Protocol, false),
            (MQTT_WRONG + 0x89, ErrorKind::Protocol, true),
        ] {
            assert_eq!((kind(code), is_denied(code)), (expected, for_good), "{code}");
        }
    }

    #[test]
    fn every_code_has_a_line_that_tells_it_from_the_others() {
        let codes = [
            UPGRADE_UNANSWERED,
            NOT_HTTP,
            of_answer(AnswerFault::Status(404)),
            of_answer(AnswerFault::Status(u16::MAX)),
            of_tls(&Error::AlertReceived(rustls::AlertDescription::UnknownCA)),
            of_tls(&Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            of_close(Some(1008)),
            of_close(None),
            MQTT_NAMED + u16::from(reason::NOT_AUTHORIZED),
            MQTT_WRONG + u16::from(reason::PROTOCOL_ERROR),
        ];
        let texts: std::collections::HashSet<_> =
            codes.iter().map(|code| text(*code).unwrap()).collect();
        assert_eq!(texts.len(), codes.len());
        assert_eq!(text(hawser_codec::code::UNAUTHENTICATED), None);
        assert!(text(11_404).unwrap().contains("status 404"));
        assert!(text(12_548).unwrap().contains("UnknownCA"));
        assert!(text(21_008).unwrap().contains("code 1008"));
    }
}
