//! Bytes to frames and back, for every protocol of Hawser.
//!
//! Pure: no clock, no IO, no thread. Hand-written code here holds no `unsafe`.
//!
//! Native protocol, bytes up: [`frame::preface`], then [`frame::step`] cuts the stream into frames,
//! [`message::decode`] verifies a body once and gives a view that borrows from it. Bytes down:
//! [`message::Encoder`] appends whole frames to the caller's buffer. Between our own tiers the
//! plainer frames of [`link`] travel; their fields, and those of log records, are [`field`].
//!
//! Below any client's protocol: [`proxy`] is the header of a load balancer, [`opening`] tells
//! protocols apart by their first bytes.
//!
//! Doors of other protocols: [`websocket`].

pub mod code;
pub mod field;
pub mod frame;
mod generated;
pub mod http;
pub mod json;
pub mod link;
pub mod malformed;
pub mod message;
pub mod mqtt;
pub mod opening;
pub mod proxy;
pub mod time;
pub mod websocket;
