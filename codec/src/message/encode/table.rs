//! A body that is one small table with texts behind it, laid out without flatbuffers' builder.
//!
//! The builder grows any tree of tables back to front in memory of its own, and its bookkeeping
//! cost ten times what the bytes did. Here the places of the texts are computed first, the table is
//! built back to front in a block of fixed size, and all goes into the caller's buffer in one piece:
//!
//! ```text
//! | root | vtable | table: vtable offset, fields, the last added first | texts, the last first |
//! ```
//!
//! Invariant: the bytes are those the builder makes of the same fields in the same order; tests
//! compare them. Places are counted from the end of the body, because alignment is.

use flatbuffers::VOffsetT;

use crate::frame;

/// Fields of the largest table written here (`Notify` has 13), rounded up to a vector register.
const FIELDS_MAX: usize = 16;
/// Root, vtable and fields of that table, each at its most and with padding.
const BLOCK_BYTES: usize = 160;
/// Bytes of an offset or a length, and what they are aligned to.
const OFFSET_BYTES: usize = 4;
/// What the longest numbers are aligned to.
const ALIGN_MAX: usize = size_of::<u64>();
/// A vtable begins with its own and the table's length.
const VTABLE_HEAD_BYTES: usize = 4;

/// The next place with this alignment, a power of two.
const fn aligned(place: usize, align: usize) -> usize {
    (place + align - 1) & !(align - 1)
}

/// A text or vector of bytes behind the table; one that is empty is left out.
pub(super) struct Behind<'a> {
    bytes: &'a [u8],
    /// Where it begins; 0 if it is left out.
    place: usize,
}

/// Gives each text its place, the first at the end of the body.
#[derive(Default)]
pub(super) struct Places {
    used: usize,
}

impl Places {
    /// A text, which a zero byte ends.
    #[inline]
    pub fn text<'a>(&mut self, text: &'a [u8]) -> Behind<'a> {
        self.place(text, 1)
    }

    /// A vector of bytes.
    #[inline]
    pub fn bytes<'a>(&mut self, bytes: &'a [u8]) -> Behind<'a> {
        self.place(bytes, 0)
    }

    #[inline]
    fn place<'a>(&mut self, bytes: &'a [u8], zeros: usize) -> Behind<'a> {
        if bytes.is_empty() {
            return Behind { bytes, place: 0 };
        }
        self.used = aligned(self.used + bytes.len() + zeros, OFFSET_BYTES) + OFFSET_BYTES;
        Behind { bytes, place: self.used }
    }
}

/// The table being built.
pub(super) struct Table {
    /// The front of the body, from its end; its last bytes belong to the texts.
    block: [u8; BLOCK_BYTES],
    /// Where the block ends: a multiple of the longest alignment.
    base: usize,
    /// Where the texts begin and the table ends, counted from the block's end like all below.
    end: usize,
    /// Bytes of the block that are used.
    used: usize,
    /// Longest alignment so far: the whole has it.
    align: usize,
    /// Where each field begins; 0 if it is left out.
    fields: [u16; FIELDS_MAX],
}

impl Table {
    /// An empty table in front of the texts.
    #[inline]
    pub fn before(places: Places) -> Self {
        let end = places.used % ALIGN_MAX;
        Self {
            block: [0; BLOCK_BYTES],
            base: places.used - end,
            end,
            used: end,
            align: OFFSET_BYTES,
            fields: [0; FIELDS_MAX],
        }
    }

    /// Adds a number; 0 is left out.
    #[inline]
    pub fn number(&mut self, field: VOffsetT, number: u64) {
        if number != 0 {
            self.align = ALIGN_MAX;
            self.add(field, number.to_le_bytes(), ALIGN_MAX);
        }
    }

    /// Adds a number of one byte; 0 is left out.
    #[inline]
    pub fn byte(&mut self, field: VOffsetT, byte: u8) {
        if byte != 0 {
            self.add(field, [byte], 1);
        }
    }

    /// Adds a structure of single bytes.
    #[inline]
    pub fn structure<const BYTES: usize>(&mut self, field: VOffsetT, bytes: [u8; BYTES]) {
        self.add(field, bytes, 1);
    }

    /// Adds the offset of what stands behind the table.
    #[inline]
    pub fn offset(&mut self, field: VOffsetT, to: &Behind<'_>) {
        if to.place != 0 {
            let from = self.base + aligned(self.used, OFFSET_BYTES) + OFFSET_BYTES;
            self.add(field, ((from - to.place) as u32).to_le_bytes(), OFFSET_BYTES);
        }
    }

    #[inline]
    fn add<const BYTES: usize>(&mut self, field: VOffsetT, bytes: [u8; BYTES], align: usize) {
        self.put(bytes, align);
        self.fields[usize::from(field) / 2 - 2] = self.used as u16;
    }

    #[inline]
    fn put<const BYTES: usize>(&mut self, bytes: [u8; BYTES], align: usize) {
        self.used = aligned(self.used, align) + BYTES;
        let at = BLOCK_BYTES - self.used;
        self.block[at..at + BYTES].copy_from_slice(&bytes);
    }

    /// Appends the frame to `out`: the table, and `behind` in the order in which they were placed.
    #[inline]
    pub fn finish<const COUNT: usize>(
        mut self,
        out: &mut Vec<u8>,
        (kind, flags, channel): (u8, u8, u16),
        behind: [Behind<'_>; COUNT],
    ) {
        // Fields behind the last one present have no place in the vtable.
        let count = self.fields.iter().rposition(|field| *field != 0).map_or(0, |last| last + 1);
        let vtable_bytes = VTABLE_HEAD_BYTES + 2 * count;
        self.put((vtable_bytes as u32).to_le_bytes(), OFFSET_BYTES);
        let table = self.used as u16;
        let fields = self.fields.map(|field| if field == 0 { 0 } else { table - field });
        let fields = fields.map(u16::to_le_bytes);
        self.used += vtable_bytes;
        let at = BLOCK_BYTES - self.used;
        let (head, rest) = self.block[at..at + vtable_bytes].split_at_mut(VTABLE_HEAD_BYTES);
        head[..2].copy_from_slice(&(vtable_bytes as u16).to_le_bytes());
        head[2..].copy_from_slice(&(table - self.end as u16).to_le_bytes());
        rest.copy_from_slice(&fields.as_flattened()[..2 * count]);
        self.used = aligned(self.used + OFFSET_BYTES, self.align) - OFFSET_BYTES;
        let root = (self.used + OFFSET_BYTES) as u32 - u32::from(table);
        self.put(root.to_le_bytes(), OFFSET_BYTES);

        let body = frame::open(out, kind, flags, channel, self.base + self.used);
        let (block, texts) = body.split_at_mut(self.used - self.end);
        block.copy_from_slice(&self.block[BLOCK_BYTES - self.used..BLOCK_BYTES - self.end]);
        for Behind { bytes, place } in behind.iter().filter(|behind| behind.place != 0) {
            let (length, text) = texts[self.base + self.end - place..].split_at_mut(OFFSET_BYTES);
            length.copy_from_slice(&(bytes.len() as u32).to_le_bytes());
            text[..bytes.len()].copy_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::message::{Acknowledge, Notify};
    use flatbuffers::FlatBufferBuilder;
    use proptest::prelude::*;

    type Builder = FlatBufferBuilder<'static>;

    fn text(builder: &mut Builder, text: &str) -> Option<WIPOffset<&'static str>> {
        (!text.is_empty()).then(|| builder.create_string(text))
    }

    fn framed<T>(mut builder: Builder, kind: u8, root: WIPOffset<T>) -> Vec<u8> {
        builder.finish_minimal(root);
        let mut out = Vec::new();
        frame::put(&mut out, kind, 2, 0x1234, builder.finished_data());
        out
    }

    fn built_notify(notify: &Notify<'_>) -> Vec<u8> {
        let mut builder = Builder::new();
        let arguments = generated::NotifyArgs {
            number: notify.number,
            conversation: text(&mut builder, notify.conversation),
            sequence: notify.sequence,
            sender: text(&mut builder, notify.sender),
            device: text(&mut builder, notify.device),
            incarnation: notify.incarnation,
            client_seq: notify.client_seq,
            uuid: Some(&generated::Uuid(notify.uuid)),
            time_ms: notify.time_ms,
            content: notify.content,
            receipts: notify.receipts,
            own: notify.own,
            body: (!notify.body.is_empty()).then(|| builder.create_vector(notify.body)),
        };
        let root = generated::Notify::create(&mut builder, &arguments);
        framed(builder, kind::NOTIFY, root)
    }

    fn built_acknowledge(acknowledge: &Acknowledge) -> Vec<u8> {
        let mut builder = Builder::new();
        let Acknowledge { client_seq, sequence, time_ms } = *acknowledge;
        let arguments = generated::AcknowledgeArgs { client_seq, sequence, time_ms };
        let root = generated::Acknowledge::create(&mut builder, &arguments);
        framed(builder, kind::ACKNOWLEDGE, root)
    }

    /// Often 0, which is left out.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), any::<u64>()]
    }

    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![Just(0), any::<u8>()]
    }

    proptest! {
        #[test]
        fn a_notify_is_the_bytes_that_the_builder_makes(
            numbers in prop::array::uniform5(number()),
            names in prop::array::uniform3("[a-zé]{0,20}"),
            uuid in any::<[u8; 16]>(),
            (content, receipts, own) in (byte(), byte(), any::<bool>()),
            body in prop::collection::vec(any::<u8>(), 0..70),
        ) {
            let [number, sequence, incarnation, client_seq, time_ms] = numbers;
            let [conversation, sender, device] = &names;
            let notify = Notify {
                number, conversation, sequence, sender, device, incarnation, client_seq, uuid,
                time_ms, content, receipts, own, body: &body,
            };
            let mut out = Vec::new();
            Encoder::new().notify(&mut out, 0x1234, 2, &notify);
            prop_assert_eq!(out, built_notify(&notify));
        }

        #[test]
        fn an_acknowledge_is_the_bytes_that_the_builder_makes(
            numbers in prop::array::uniform3(number()),
        ) {
            let [client_seq, sequence, time_ms] = numbers;
            let acknowledge = Acknowledge { client_seq, sequence, time_ms };
            let mut out = Vec::new();
            Encoder::new().acknowledge(&mut out, 0x1234, 2, &acknowledge);
            prop_assert_eq!(out, built_acknowledge(&acknowledge));
        }
    }
}
