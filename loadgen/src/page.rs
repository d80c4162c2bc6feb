//! The report as one page: a single HTML file that needs no network and no other file.

pub mod axis;
pub mod curve;
pub mod figure;
pub mod number;
