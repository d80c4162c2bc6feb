//! The router tier as a process of its own: the same cores as in the embedded form, on tokio-uring.
//!
//! [`config`] says what is wanted, [`start`] composes a process from it. One thread turns the
//! [`tier`]: host, lane, [`files`], and the [`board`] of links, whose sockets are in [`net`].
//! Beside it run the disk's thread, which does what blocks, and the admin's.

pub mod board;
mod clock;
pub mod config;
pub mod files;
pub mod metrics;
pub mod net;
pub mod start;
pub mod tier;

pub use clock::now;
