//! The router tier as a process of its own: the same cores as in the embedded form, on tokio-uring.

pub mod files;
