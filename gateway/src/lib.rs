//! In construction.
#![warn(missing_docs)]
pub mod admin;
pub mod auth;
pub mod config;
pub mod environment;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod resume;
