//! What a Linux machine needs so that one process holds many long connections, and whether it has it.
//!
//! [`load`] is what is asked for, [`memory`] the model of what connections cost the kernel, [`plan`]
//! turns the two into needs with their derivation, [`system`] reads what the machine says of itself
//! below a root directory, and [`check`] lays the one beside the other.
//!
//! Plan and check are pure: they see what was read, never the machine. Nothing here writes.

pub mod check;
pub mod heartbeat;
pub mod load;
pub mod memory;
pub mod plan;
pub mod setting;
pub mod system;
