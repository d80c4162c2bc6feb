//! Whole-system tests of Hawser.
//!
//! [`simulation`] runs the gateway, its shards, its store and many clients in one thread on
//! virtual time, network and disk, all from one seed.

pub mod simulation;
