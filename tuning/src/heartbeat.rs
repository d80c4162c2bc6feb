//! How often a client should be heard from: a simulator of clients on networks that forget quiet
//! connections, the schedules that are used in the field, and what each costs.
//!
//! Pure and seeded: the same numbers give the same result. The one that touches a network is
//! [`measure`], which asks a real path how much silence it bears.

pub mod mars;
pub mod measure;
pub mod network;
pub mod picture;
pub mod probe;
pub mod recommend;
pub mod schedule;
pub mod simulate;
