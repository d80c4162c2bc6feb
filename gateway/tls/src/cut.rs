//! Cutting a byte stream into records.
//!
//! ```text
//! | type u8 | version u16 | length u16 | length bytes |      (RFC 8446 section 5.1, big-endian)
//! ```
//!
//! Only the header is judged, and as early as its bytes allow: a peer that does not speak TLS is
//! told so by its first byte.

use crate::alert::Alert;

/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 5;
/// Longest plaintext of a record (RFC 8446 section 5.1).
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 14;
/// Longest body of a protected record (RFC 8446 section 5.2). RFC 5246 section 6.2.3 allows 2048
/// above the plaintext, but none of the suites spoken here adds more than 24.
pub const CIPHERTEXT_BYTES_MAX: usize = PLAINTEXT_BYTES_MAX + 256;
/// Longest record with its header.
pub const RECORD_BYTES_MAX: usize = RECORD_HEADER_BYTES + CIPHERTEXT_BYTES_MAX;

/// Record type of a change of cipher spec.
pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
/// Record type of an alert.
pub(crate) const ALERT: u8 = 21;
/// Record type of a handshake message.
pub(crate) const HANDSHAKE: u8 = 22;
/// Record type of application data, and of every protected record of TLS 1.3.
pub(crate) const APPLICATION_DATA: u8 = 23;

/// What stands at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A whole record of this many bytes, header included.
    Whole(usize),
    /// The record is at least this long; more bytes are needed.
    Needs(usize),
}

/// Judges the first record of `bytes`.
///
/// # Errors
/// The alert that ends the connection: this is no record of TLS, or it is too long.
pub fn cut(bytes: &[u8]) -> Result<Cut, Alert> {
    let kind = bytes.first();
    if kind.is_some_and(|kind| !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(kind)) {
        return Err(Alert::UNEXPECTED_MESSAGE);
    }
    if bytes.get(1).is_some_and(|major| *major != 3) {
        return Err(Alert::DECODE_ERROR);
    }
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else {
        return Ok(Cut::Needs(RECORD_HEADER_BYTES));
    };
    let body = usize::from(u16::from_be_bytes([high, low]));
    if body > CIPHERTEXT_BYTES_MAX {
        return Err(Alert::RECORD_OVERFLOW);
    }
    let whole = RECORD_HEADER_BYTES + body;
    Ok(if bytes.len() < whole { Cut::Needs(whole) } else { Cut::Whole(whole) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_whole_with_its_last_byte() {
        let record = [23, 3, 3, 0, 2, b'a', b'b', 99];
        for bytes in 0..5 {
            assert_eq!(cut(&record[..bytes]), Ok(Cut::Needs(5)));
        }
        assert_eq!(cut(&record[..6]), Ok(Cut::Needs(7)));
        assert_eq!(cut(&record[..7]), Ok(Cut::Whole(7)));
        assert_eq!(cut(&record), Ok(Cut::Whole(7)));
    }

    #[test]
    fn what_is_no_record_is_refused_by_its_first_bytes() {
        assert_eq!(cut(b"G"), Err(Alert::UNEXPECTED_MESSAGE));
        assert_eq!(cut(&[22, 2]), Err(Alert::DECODE_ERROR));
        assert_eq!(cut(&[23, 3, 3, 0x41, 0x00]), Ok(Cut::Needs(5 + 16_640)));
        assert_eq!(cut(&[23, 3, 3, 0x41, 0x01]), Err(Alert::RECORD_OVERFLOW));
    }
}
