//! Which protocol a connection speaks, by its first bytes.
//!
//! ```text
//! A7            native         16            TLS (a handshake record)
//! 10            MQTT CONNECT   0D            PROXY, version 2
//! "PROX"        PROXY v1       A … Z else    HTTP (a method)
//! ```
//!
//! The earliest byte that leaves one protocol only decides, and what follows is that protocol's to
//! refuse, in its own words: a client that is wrong in its second byte hears why. Nothing is
//! consumed: the protocol gets all bytes.
//!
//! What it is not: a check that the protocol is allowed there.

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// More than one protocol begins like this.
    Undecided {
        /// Bytes needed in all, counted from the first: more than were given.
        at_least: usize,
    },
    /// [`crate::frame::PREFACE`].
    Native,
    /// A record of type 22, handshake: a ClientHello (RFC 8446, section 5.1).
    Tls,
    /// A method in capitals, as all registered ones are (RFC 9110, section 9.1); HTTP/2's preface,
    /// too.
    Http,
    /// CONNECT, which is the first packet of an MQTT client (5.0, section 3.1).
    Mqtt,
    /// A PROXY header of version 1.
    ProxyV1,
    /// A PROXY header of version 2.
    ProxyV2,
    /// None of these.
    Unknown,
}

/// Tells what begins with `bytes`.
#[must_use]
pub fn detect(bytes: &[u8]) -> Opening {
    /// No method of HTTP begins with these (the nearest is `PROPFIND`).
    const PROXY: &[u8] = b"PROX";
    match bytes.first() {
        None => Opening::Undecided { at_least: 1 },
        Some(0xA7) => Opening::Native,
        Some(0x16) => Opening::Tls,
        Some(0x10) => Opening::Mqtt,
        Some(b'\r') => Opening::ProxyV2,
        Some(b'P') if bytes.starts_with(PROXY) => Opening::ProxyV1,
        Some(b'P') if PROXY.starts_with(bytes) => Opening::Undecided { at_least: bytes.len() + 1 },
        Some(b'A'..=b'Z') => Opening::Http,
        Some(_) => Opening::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{frame::PREFACE, proxy};

    const OPENINGS: &[(&[u8], Opening)] = &[
        (&PREFACE, Opening::Native),
        (&[0x16, 3, 1, 2, 0, 1], Opening::Tls),
        (&[0x10, 0x10, 0, 4, b'M', b'Q', b'T', b'T', 5], Opening::Mqtt),
        (b"GET /ws HTTP/1.1\r\n", Opening::Http),
        (b"POST /poll/session HTTP/1.1\r\n", Opening::Http),
        (b"PUT / HTTP/1.1\r\n", Opening::Http),
        (b"PROPFIND / HTTP/1.1\r\n", Opening::Http),
        (b"PRI * HTTP/2.0\r\n", Opening::Http),
        (b"OPTIONS * HTTP/1.1\r\n", Opening::Http),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Opening::ProxyV1),
        (&proxy::SIGNATURE, Opening::ProxyV2),
        (&[0x80, 0x2e, 1, 3, 1], Opening::Unknown),
        (b"get / HTTP/1.1\r\n", Opening::Unknown),
        (&[0], Opening::Unknown),
    ];

    #[test]
    fn every_protocol_is_told_by_its_first_bytes() {
        for (bytes, opening) in OPENINGS {
            assert_eq!(detect(bytes), *opening, "{bytes:x?}");
        }
    }

    #[test]
    fn a_beginning_is_undecided_or_already_what_the_whole_is() {
        for (bytes, opening) in OPENINGS {
            for cut in 0..bytes.len() {
                match detect(&bytes[..cut]) {
                    Opening::Undecided { at_least } => assert_eq!(at_least, cut + 1),
                    decided => assert_eq!(decided, *opening, "{:x?}", &bytes[..cut]),
                }
            }
        }
    }

    #[test]
    fn four_bytes_always_decide() {
        for first in 0..=u8::MAX {
            for rest in [*b"\0\0\0", *b"ROX", *b"ROP", *b"OST", [0xff; 3]] {
                let bytes = [first, rest[0], rest[1], rest[2]];
                assert!(!matches!(detect(&bytes), Opening::Undecided { .. }), "{bytes:x?}");
            }
        }
    }
}
