//! What a Linux machine needs so that one process holds many long connections, and whether it has it.
//!
//! [`load`] is what is asked for, [`memory`] the model of what connections cost the kernel, [`plan`]
//! turns the two into needs with their derivation, [`system`] reads what the machine says of itself
//! below a root directory, [`check`] lays the one beside the other, and [`risks`] says in one line each
//! what a server should know of it at its start.
//!
//! [`apply`] says what to change and which files make it last, [`heartbeat`] how often clients should
//! be heard from, [`calibrate`] what a connection costs this very kernel. All of these are pure: they
//! see what was read, never the machine. Those that touch it are [`journal`], which writes so that
//! everything can be taken back, with [`nft`] for rules; [`calibrate::probe`], which opens sockets on
//! loopback; and [`heartbeat::measure`].

pub mod apply;
pub mod calibrate;
pub mod check;
pub mod heartbeat;
pub mod journal;
pub mod load;
pub mod memory;
pub mod nft;
pub mod plan;
pub mod risks;
pub mod setting;
pub mod spread;
pub mod system;
