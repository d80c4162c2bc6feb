//! The two frames a server reads most, without flatbuffers' verifier.
//!
//! The verifier keeps a trace for its errors and walks the vtable twice, once to check and once to
//! read: ten times the instructions of what is done here, where each field is checked as it is
//! read. Nothing is decided here but that a body is good: `None` says "not so plain", and the
//! verifier judges and gives the reason.
//!
//! Invariant: what is read here the verifier lets pass too, and reads the same; a property test
//! compares them on damaged bodies. Its bound on shared bytes cannot be met with two vectors.

use flatbuffers::VOffsetT;

use crate::generated::{NotifyAcknowledge as AcknowledgeTable, Request as RequestTable};
use crate::message::{Level, NAME_BYTES_MAX, NotifyAcknowledge, Request};

/// Bytes of an offset or a length, and what they are aligned to.
const OFFSET_BYTES: usize = 4;

/// A body's table.
struct Table<'a> {
    body: &'a [u8],
    /// Where the table begins.
    at: usize,
    vtable: &'a [u8],
}

impl<'a> Table<'a> {
    #[inline]
    fn open(body: &'a [u8]) -> Option<Self> {
        let at = length_at(body, 0)?;
        // Further back is negative and then too large.
        let vtable = at.checked_sub(length_at(body, at)?)?;
        let rest = body.get(vtable..)?;
        let bytes = usize::from(u16::from_le_bytes(*rest.first_chunk()?));
        let is_aligned = vtable.is_multiple_of(2) && bytes.is_multiple_of(2);
        is_aligned.then_some(Self { body, at, vtable: rest.get(..bytes)? })
    }

    /// Where a field begins; 0 if it was left out.
    #[inline]
    fn place(&self, field: VOffsetT) -> usize {
        let entry = self.vtable.get(usize::from(field)..).and_then(|rest| rest.first_chunk());
        match entry.map_or(0, |offset| u16::from_le_bytes(*offset)) {
            0 => 0,
            offset => self.at + usize::from(offset),
        }
    }

    /// A field of fixed length; zeros if it was left out.
    #[inline]
    fn fixed<const BYTES: usize>(&self, field: VOffsetT, align: usize) -> Option<[u8; BYTES]> {
        match self.place(field) {
            0 => Some([0; BYTES]),
            place if place.is_multiple_of(align) => self.body.get(place..)?.first_chunk().copied(),
            _ => None,
        }
    }

    #[inline]
    fn number(&self, field: VOffsetT) -> Option<u64> {
        self.fixed(field, size_of::<u64>()).map(u64::from_le_bytes)
    }

    #[inline]
    fn byte(&self, field: VOffsetT) -> Option<u8> {
        self.fixed(field, 1).map(|[byte]| byte)
    }

    /// A vector of bytes, and what stands behind it.
    #[inline]
    fn bytes(&self, field: VOffsetT) -> Option<(&'a [u8], &'a [u8])> {
        let place = self.place(field);
        if place == 0 {
            return Some((&[], &[0]));
        }
        let at = place + length_at(self.body, place)?;
        let length = length_at(self.body, at)?;
        self.body[at + OFFSET_BYTES..].split_at_checked(length)
    }

    /// A text, which a zero byte ends.
    #[inline]
    fn text(&self, field: VOffsetT) -> Option<&'a str> {
        let (text, behind) = self.bytes(field)?;
        if behind.first() == Some(&0) { std::str::from_utf8(text).ok() } else { None }
    }
}

/// An aligned offset or length.
#[inline]
fn length_at(body: &[u8], at: usize) -> Option<usize> {
    if !at.is_multiple_of(OFFSET_BYTES) {
        return None;
    }
    body.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize)
}

/// A request that is within its ranges.
pub(super) fn request(body: &[u8]) -> Option<Request<'_>> {
    let table = Table::open(body)?;
    let level = match (table.place(RequestTable::VT_LEVEL), table.byte(RequestTable::VT_LEVEL)?) {
        (0, _) | (_, 1) => Level::Normal,
        (_, 0) => Level::Ephemeral,
        (_, 2) => Level::Important,
        _ => return None,
    };
    let request = Request {
        client_seq: table.number(RequestTable::VT_CLIENT_SEQ)?,
        after: table.number(RequestTable::VT_AFTER)?,
        uuid: table.fixed(RequestTable::VT_UUID, 1)?,
        to: table.text(RequestTable::VT_TO)?,
        level,
        content: table.byte(RequestTable::VT_CONTENT)?,
        receipts: table.byte(RequestTable::VT_RECEIPTS)?,
        first_attempt_ms: table.number(RequestTable::VT_FIRST_ATTEMPT_MS)?,
        body: table.bytes(RequestTable::VT_BODY)?.0,
    };
    (request.client_seq != 0 && request.to.len() <= NAME_BYTES_MAX).then_some(request)
}

/// An acknowledgement of mailbox entries.
pub(super) fn notify_acknowledge(body: &[u8]) -> Option<NotifyAcknowledge> {
    let number = Table::open(body)?.number(AcknowledgeTable::VT_NUMBER)?;
    Some(NotifyAcknowledge { number })
}

#[cfg(test)]
mod tests {
    use super::super::{verified_notify_acknowledge, verified_request};
    use super::*;
    use crate::frame::{Frame, HEADER_BYTES, kind};
    use crate::message::Encoder;
    use proptest::prelude::*;

    fn frame(kind: u8, body: &[u8]) -> Frame<'_> {
        Frame { kind, flags: 0, channel: 0, body }
    }

    fn body(put: impl FnOnce(&mut Encoder, &mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut Encoder::new(), &mut out);
        out.split_off(HEADER_BYTES)
    }

    /// Two bytes set to small numbers, which are likely to be offsets and lengths, or to anything.
    fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
        let byte = prop_oneof![0_u8..64, any::<u8>()];
        prop::collection::vec((any::<prop::sample::Index>(), byte), 0..3)
    }

    fn damaged(mut body: Vec<u8>, damage: &[(prop::sample::Index, u8)], cut: usize) -> Vec<u8> {
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        body.truncate(body.len().saturating_sub(cut));
        body
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_request_read_here_is_one_that_the_verifier_reads_the_same(
            numbers in prop::array::uniform3(prop_oneof![Just(0_u64), any::<u64>()]),
            to in "[a-zé]{0,20}",
            level in prop_oneof![
                Just(Level::Ephemeral), Just(Level::Normal), Just(Level::Important)
            ],
            (content, receipts) in any::<(u8, u8)>(),
            payload in prop::collection::vec(any::<u8>(), 0..40),
            damage in damage(),
            cut in prop_oneof![Just(0_usize), 0..9_usize],
        ) {
            let [client_seq, after, first_attempt_ms] = numbers;
            let asked = Request {
                client_seq, after, uuid: [7; 16], to: &to, level, content, receipts,
                first_attempt_ms, body: &payload,
            };
            let whole = body(|encoder, out| encoder.request(out, 0, 0, &asked));
            prop_assert_eq!(request(&whole), (client_seq != 0).then_some(asked));
            let damaged = damaged(whole, &damage, cut);
            if let Some(read) = request(&damaged) {
                prop_assert_eq!(verified_request(frame(kind::REQUEST, &damaged)), Ok(read));
            }
        }

        #[test]
        fn an_acknowledgement_read_here_is_one_that_the_verifier_reads_the_same(
            number in any::<u64>(),
            damage in damage(),
            cut in prop_oneof![Just(0_usize), 0..9_usize],
        ) {
            let asked = NotifyAcknowledge { number };
            let whole = body(|encoder, out| encoder.notify_acknowledge(out, 0, 0, &asked));
            prop_assert_eq!(notify_acknowledge(&whole), Some(asked));
            let damaged = damaged(whole, &damage, cut);
            if let Some(read) = notify_acknowledge(&damaged) {
                let verified = verified_notify_acknowledge(frame(kind::NOTIFY_ACKNOWLEDGE, &damaged));
                prop_assert_eq!(verified, Ok(read));
            }
        }

        #[test]
        fn arbitrary_bytes_read_here_are_read_the_same_by_the_verifier(
            bytes in prop::collection::vec(prop_oneof![0_u8..32, any::<u8>()], 0..64),
        ) {
            if let Some(read) = request(&bytes) {
                prop_assert_eq!(verified_request(frame(kind::REQUEST, &bytes)), Ok(read));
            }
        }
    }
}
