//! The router tier: numbers messages, keeps them, and brings them to every device once.
//!
//! [`Host`] is the pure core: no IO, no clock, no thread, no randomness. [`Recovery`] rebuilds it
//! from checkpoint sections and log records. [`record`] says what the log holds. [`hosting`] feeds a
//! host and carries out what it asks, [`link`] carries the tiers' frames between processes, and
//! [`process`] is the tier as a process of its own.

pub mod admin;
mod attached;
mod conversation;
mod directory;
pub mod host;
pub mod hosting;
pub mod huge_pages;
pub mod key;
pub mod link;
pub mod log_tools;
mod mailbox;
pub mod metrics;
mod origin;
pub mod process;
mod recent;
pub mod record;
pub mod recovery;
pub mod settings;
mod shard;
mod slab;
pub mod store;
pub mod topic;
mod uuids;

pub use host::{Host, HostSettings, Outputs, ReadRequest};
pub use key::KeySpace;
pub use recovery::{Recovered, Recovery};
pub use store::RouterPlace;
pub use store::log::Location;
