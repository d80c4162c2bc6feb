//! The highest rate that holds the thresholds.
//!
//! [`search`] decides what to try next, [`outcome`] what a run said; both are pure. [`command`] is
//! the shell: it makes the runs, tells each step, and writes the result. Runs that the generator
//! itself limited end the search and are never counted as the server's.

pub mod command;
pub mod outcome;
pub mod search;
