//! The pair of times every core is given; nothing below the shells reads a clock.

/// One instant, seen by both clocks.
///
/// Timers use `monotonic_us` only, so that a wall clock set back or forward moves no deadline.
/// Retention, token expiry and the age of a request use `wall_ms` only, because they must mean
/// the same after a restart and on another machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since an arbitrary start, never going back.
    pub monotonic_us: u64,
    /// Milliseconds since 1970-01-01 UTC as this machine believes; may jump.
    pub wall_ms: u64,
}
