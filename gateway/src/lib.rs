//! The gateway: connections, sessions, and the shell around the router tier.
//!
//! From the outside in: [`start`] composes a process from a configuration; [`worker`] is one
//! thread with its ring; [`session`] is the protocol, pure; [`hosting`] carries out what the pure
//! router core asks; [`mesh`] connects workers and shard hosts.

pub mod admin;
pub mod auth;
pub mod config;
pub mod connection;
pub mod disk_thread;
pub mod disk_work;
pub mod environment;
pub mod hosting;
pub mod huge_pages;
pub mod limits;
pub mod log;
pub mod log_tools;
pub mod mesh;
pub mod metrics;
pub mod names;
pub mod outbound;
pub mod peers;
pub mod pressure;
pub mod resume;
pub mod session;
pub mod slab;
pub mod start;
pub mod storage;
pub mod timers;
pub mod uplinks;
pub mod worker;
