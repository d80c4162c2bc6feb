//! Names of those who send uplinks and hear downlinks.

/// Bits of the number; the rest counts lives.
const NUMBER_BITS: u32 = 10;

/// An origin: a worker of the own process, or one at the far end of a link, from when it came
/// until it went. What is said to one that has gone is never heard by the next with its number:
/// numbers of connections mean something only to their own worker.
///
/// A number begins its 2^22nd life as the first one again. With a link that is lost each second
/// and numbers given in turn that is after a hundred years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin(u32);

impl Origin {
    /// Of a device that was never on-line.
    pub const NOBODY: Origin = Origin(u32::MAX);

    pub fn new(number: u16, life: u32) -> Origin {
        debug_assert!(u32::from(number) < 1 << NUMBER_BITS);
        Origin(life << NUMBER_BITS | u32::from(number))
    }

    pub fn number(self) -> u16 {
        (self.0 & ((1 << NUMBER_BITS) - 1)) as u16
    }
}
