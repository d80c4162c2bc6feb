//! The buffer in which runs are put together to a batch.

use crate::store::log::batch::{BATCH_BYTES_MAX, BLOCK_BYTES, HEADER_BYTES, Header};

/// A batch that gathers.
#[derive(Debug)]
pub(super) struct Gathering {
    bytes: Vec<u8>,
    /// Where the header begins in `bytes`: direct writes want memory aligned as blocks are.
    pub start: usize,
    pub runs: usize,
    pub oldest_us: u64,
    pub urgent: bool,
}

impl Gathering {
    /// An empty batch in a buffer that was given back, or in a new one.
    pub fn new(buffer: Option<Vec<u8>>, oldest_us: u64) -> Self {
        // Never grown: another allocation would be aligned differently.
        let mut bytes = buffer.unwrap_or_else(|| Vec::with_capacity(BATCH_BYTES_MAX + BLOCK_BYTES));
        bytes.clear();
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        bytes.resize(start + HEADER_BYTES, 0);
        Self { bytes, start, runs: 0, oldest_us, urgent: false }
    }

    /// Bytes of header and runs.
    pub fn used(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Adds a run and returns its offset from the start of the batch.
    pub fn push(&mut self, records: &[u8], urgent: bool) -> usize {
        let offset = self.used();
        self.bytes.extend_from_slice(records);
        self.runs += 1;
        self.urgent |= urgent;
        offset
    }

    /// Puts header and padding around the runs; the length of the body is filled in here.
    pub fn seal(self, mut header: Header) -> Vec<u8> {
        let Self { mut bytes, start, .. } = self;
        let body_at = start + HEADER_BYTES;
        header.body_bytes = u32::try_from(bytes.len() - body_at).expect("a batch is about 1 MiB");
        let head = header.encode(&bytes[body_at..]);
        bytes[start..body_at].copy_from_slice(&head);
        bytes.resize(start + header.padded_bytes(), 0);
        bytes
    }
}
