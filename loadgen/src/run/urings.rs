//! The kernel's rings for a run.

use hawser_ring::uring::{RingGroup, RingSettings, UringRing};

use super::MakeRing;
use crate::worker::RECEIVE_BYTES;

/// Receive buffers of all the rings of a thread, 16 MiB: a ring of many has fewer, because a thread
/// takes up what has come on all of them in each turn. Else the buffers of a million connections'
/// rings would cost 100 B of each.
const THREAD_BUFFERS: u32 = 4096;

/// Receive buffers of a ring at least.
const BUFFERS_MIN: u16 = 128;

/// Rings of one size.
#[derive(Clone, Copy, Debug)]
pub struct Urings {
    completion_entries: u32,
    submission_entries: u32,
    buffers: u16,
}

impl Urings {
    /// For tables of up to 20,000: a completion for each connection of a worker would be safe, and
    /// 16,384 is what a table had in use at most; 1,024 submissions before the kernel is entered
    /// early; 512 receive buffers, 2 MiB.
    pub const FULL: Self =
        Self { completion_entries: 16_384, submission_entries: 1024, buffers: 512 };

    /// For the few hundred connections of a test.
    pub const SMALL: Self =
        Self { completion_entries: 4096, submission_entries: 1024, buffers: 256 };
}

impl MakeRing for Urings {
    type Ring = RingGroup;

    fn make(&self, slots: u32, tables: u32) -> Result<(RingGroup, u64), String> {
        let mut buffers = self.buffers;
        while u32::from(buffers) * tables > THREAD_BUFFERS && buffers > BUFFERS_MIN {
            buffers /= 2;
        }
        let settings = RingSettings {
            descriptors: slots,
            completion_entries: self.completion_entries,
            submission_entries: self.submission_entries,
            buffers,
            buffer_bytes: RECEIVE_BYTES,
        };
        let ring = RingGroup::new(settings, tables).map_err(|refusal| refusal.0)?;
        Ok((ring, self.now_us()))
    }

    fn now_us(&self) -> u64 {
        UringRing::now().monotonic_us
    }
}
