//! Topics: which filters match them, and what is kept of them.
//!
//! Pure tables without a clock and without messages of their own: [`crate::host`] decides what is
//! durable and who is told.

pub mod filter;
pub(crate) mod followed;
pub(crate) mod kept;
pub(crate) mod marks;
pub(crate) mod names;
mod parts;
pub mod tree;
mod values;

pub use filter::{LEVELS_MAX, TOPIC_BYTES_MAX, Written};
pub use tree::{FilterId, FilterTree, Full, TreeLimits};
