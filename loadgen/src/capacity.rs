//! The highest rate that holds the thresholds.

pub mod search;
