//! How often a client should be heard from: a simulator of clients on networks that forget quiet
//! connections, the schedules that are used in the field, and what each costs.
//!
//! Pure and seeded: the same numbers give the same result.

pub mod mars;
pub mod network;
pub mod picture;
pub mod probe;
pub mod recommend;
pub mod schedule;
pub mod simulate;
