//! The router tier: numbers messages, keeps them, and brings them to every device once.
//!
//! [`Host`] is the pure core: no IO, no clock, no thread, no randomness. [`Recovery`] rebuilds it
//! from checkpoint sections and log records. [`record`] says what the log holds.

mod conversation;
mod directory;
pub mod host;
pub mod key;
mod mailbox;
mod recent;
pub mod record;
pub mod recovery;
mod shard;
mod slab;
pub mod store;

pub use host::{Host, HostSettings, Outputs, ReadRequest};
pub use key::KeySpace;
pub use recovery::{Recovered, Recovery};
pub use store::log::Location;
