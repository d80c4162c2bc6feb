//! Whole-system tests of Hawser: what they share. No product code.
//!
//! `process` runs the real gateway as a child, `raw` speaks to it byte by byte, `company` chats
//! through the real client library, `ledger` judges what was acknowledged and
//! delivered, `torture` does all of it under kills.

pub mod company;
pub mod confine;
pub mod ledger;
pub mod process;
pub mod raw;
pub mod torture;
