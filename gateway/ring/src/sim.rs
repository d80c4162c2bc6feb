//! The simulated backend: the same trait on virtual time, a virtual network and a virtual disk,
//! all driven by one seed.
//!
//! A [`World`] holds the clock, the network and the faults. [`SimRing`]s and [`SimPeer`]s (clients
//! that are no rings) live in it; [`SimDisk`]s outlive the rings that write them. Nothing here
//! blocks: a turn with nothing to do returns nothing, and the test moves time:
//!
//! ```text
//! loop { every ring: turn, handle;  if no completions came: world.advance_to(next event or deadline) }
//! ```
//!
//! What it is not: a model of TCP's congestion, of keepalive probes, of the page cache's
//! write-back order, or of directory entries lost in a power cut (the blocking functions of
//! [`SimDisk`] are durable when they return). A rule of the trait broken by the caller, which
//! the kernel would answer with silence, panics here: a socket closed, passed or received on
//! twice with operations in flight, a token used twice, a buffer given back twice.
//!
//! Same seed, same calls: same run, bit for bit.

mod disk;
mod fault;
mod look;
mod network;
mod operate;
mod peer;
mod random;
mod ring;
mod road;
mod submit;
mod world;

pub use disk::SimDisk;
pub use fault::{Conditions, Fault, FaultCounts, Faults};
pub use peer::{SimListener, SimPeer};
pub use random::Random;
pub use ring::{SimRing, SimSettings};
pub use road::Road;
pub use world::{Crash, World};
