//! Back-pressure over TLS: the same clients, floods and bounds, with records between.

#![allow(clippy::unwrap_used)] // the lint takes shared test code for ordinary code

#[path = "back_pressure.rs"]
mod tls;
