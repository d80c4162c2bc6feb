//! Whole-system tests of Hawser: what they share. No product code.
//!
//! `simulation` runs the gateway, its shards, its store and many clients in one thread on virtual
//! time, network and disk, all from one seed. `process` runs the real gateway as a child, `router`
//! the separate router, `raw`
//! speaks to it byte by byte, `company` chats through the real client library, `ledger` judges
//! what was acknowledged and delivered, `torture` does all of it under kills.

pub mod clients;
pub mod company;
pub mod confine;
pub mod curl;
pub mod ledger;
pub mod load;
pub mod mosquitto;
pub mod mqtt;
pub mod process;
pub mod raw;
pub mod router;
pub mod secure;
pub mod simulation;
pub mod torture;
pub mod websocket;
