//! Bytes to frames and back, for every protocol of Hawser.
//!
//! Pure: no clock, no IO, no thread. Hand-written code here holds no `unsafe`.

pub mod code;
pub mod link;
pub mod message;
pub mod time;
