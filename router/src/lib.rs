//! In construction.

pub mod store;
