//! The gateway: connections, sessions, and the shell around the router tier.
//!
//! From the outside in: [`start`] composes a process from a configuration; [`worker`] is one
//! thread with its ring; [`cores`] finds the protocol of a connection, [`session`] is the native one,
//! [`face`] what it looks like in others, all pure; [`hosting`] carries out what the pure
//! router core asks; [`router_link`] is the way to a router of another process instead; [`mesh`]
//! connects workers and whoever holds hosts or links.

pub mod access;
pub mod admin;
pub mod auth;
pub mod certificates;
pub mod config;
pub mod connection;
pub mod cores;
pub mod environment;
pub mod face;
pub mod hosting;
pub mod http;
pub mod limits;
pub mod listener;
pub mod log;
pub mod mesh;
pub mod metrics;
pub mod mqtt;
pub mod names;
pub mod outbound;
pub mod peers;
pub mod pressure;
pub mod resume;
pub mod router_link;
pub mod secret_file;
pub mod session;
pub mod shared_keys;
pub mod slab;
pub mod start;
pub mod timers;
pub mod tls;
pub mod uplinks;
pub mod websocket;
pub mod worker;

pub use hawser_router::{
    hosting::{disk_thread, disk_work, storage},
    huge_pages,
};
