//! The segmented log: lanes of segments of batches of records.
//!
//! ```text
//! lane 0   lane-00-00000001.seg | -00000002.seg, being written | -00000003.seg, spare
//! segment  | batch | batch .. | batch | batch | zeros, or batches of the file's former life |
//! batch    | header 64 | run | run | run | padding to the next 4096 |
//! run      | record | record | ..        sealed by one shard host, never cut
//! record   | payload length u32 | kind u8 | shard u8 | 0 u16 | position u64 | payload |
//! ```
//! A lane is one file being written, by one [`LaneWriter`], one write at a time; it is kept by
//! recovery only as a prefix. What a record means is not known here.
//!
//! Invariant: a block that held acknowledged bytes is not written again until retention has
//! given its whole segment away.
//!
//! # Why a lane may go on in the segment that a crash left
//! - The next write starts only when the one before is durable, so at a crash at most one batch
//!   is in doubt: the last. Everything before it is on the medium.
//! - Recovery reads the last good batch from the medium ([`super::Disk::read_settled`]), so what
//!   it found good survives the next power cut too; new batches stand behind it.
//! - Batches start on new blocks. The bytes that are overwritten are those of the batch that was
//!   cut, which was never reported durable, or bytes nobody ever wrote in this life of the file.
//! - What is left behind the new tail cannot be taken for a batch: a batch names its segment (a
//!   recycled file has another number), its epoch (raised at each open) and its dense position,
//!   and carries the directory's salt, so that message bytes cannot imitate it.

pub mod batch;
pub mod checkpoint;
pub mod command;
mod lane;
mod location;
pub mod record;
mod recovery;
pub mod retention;
mod scan;
pub mod segment;
pub mod tool;

pub use checkpoint::{CheckpointWriter, Checkpoints};
pub use lane::{
    Durable, GATHER_BYTES, GATHER_US, LaneAction, LaneCounters, LanePolicy, LaneSettings,
    LaneWriter, Refused, WAITING_BYTES_MAX,
};
pub use location::{LANE_COUNT_MAX, Location};
pub use record::RecordView;
pub use recovery::{Damage, LaneTail, Recovered, Torn, recover, recover_lane};
