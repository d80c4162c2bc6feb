//! What the sub-commands do, and how they say it.

pub mod apply;
pub mod calibrate;
pub mod heartbeat;
pub mod measure;
pub mod text;
