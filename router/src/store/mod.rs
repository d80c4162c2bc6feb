//! What outlives a process: the data directory, its header and the segmented log in it.
//!
//! Everything here is either pure ([`log::LaneWriter`], retention, framing) or blocking through
//! [`Disk`], which is used at start, by the log's tools and by a background thread, never by a
//! thread that serves connections. The bytes that matter for latency are written by whoever runs
//! a [`log::LaneWriter`], through its own ring.
//!
//! Invariant: a name that [`Disk::list`] shows under its final form is complete; what is being
//! made stands under a temporary name and is removed at the next open.

mod disk;
mod header;
pub mod log;
mod place;
mod std_disk;

pub use disk::{AtomicFile, Disk, DiskFile, read_full};
pub use header::{DataHeader, HEADER_NAME, HeaderError};
pub use place::{ROUTERS_MAX, RouterPlace};
pub use std_disk::{OpenError, StdDisk};
