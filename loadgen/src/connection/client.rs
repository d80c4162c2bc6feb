//! What every protocol's client does; the connection around it brings the plain bytes.

use hawser_codec::time::Now;

use super::{Fault, Offer, World};

/// A client of one protocol, without IO: the index names its connection, `outbound` is where it
/// appends what is to be sent.
///
/// Order of calls: [`Speak::greet`], then [`Speak::take`], [`Speak::offer`] and
/// [`Speak::on_time`] as it comes, then [`Speak::on_disconnected`], and so on from the start.
/// Offers come at any time, connected or not; what they make survives a lost connection.
pub(super) trait Speak {
    /// Logged in.
    fn is_online(&self) -> bool;

    /// Logged in, nothing sent that waits for an answer, nothing unread.
    fn is_quiet(&self) -> bool;

    /// Logged in, and everything the server has for it has come.
    fn is_level(&self) -> bool {
        self.is_quiet()
    }

    /// It was logged in since this was last asked.
    fn take_came_online(&mut self) -> bool;

    /// The server can be spoken to.
    fn greet(&mut self, world: &mut World, index: u32, now: Now, outbound: &mut Vec<u8>);

    /// Takes whole units off the start of `bytes` and tells how many bytes they had; the rest
    /// comes again, with what follows it.
    ///
    /// # Errors
    /// [`Fault`]: the connection is to be left.
    fn take(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        bytes: &[u8],
        outbound: &mut Vec<u8>,
    ) -> Result<usize, Fault>;

    /// A message is intended. It has been counted as offered.
    fn offer(
        &mut self,
        world: &mut World,
        index: u32,
        offer: Offer,
        now: Now,
        outbound: &mut Vec<u8>,
    );

    /// Whatever is due; harmless earlier than [`Speak::deadline`].
    ///
    /// # Errors
    /// [`Fault`]: the server has been silent for too long.
    fn on_time(
        &mut self,
        world: &mut World,
        index: u32,
        now: Now,
        outbound: &mut Vec<u8>,
    ) -> Result<(), Fault>;

    /// When [`Speak::on_time`] is next needed, microseconds; `u64::MAX`: not by itself.
    fn deadline(&self) -> u64;

    /// The server can be spoken to no more; all that must survive, does.
    fn on_disconnected(&mut self, world: &mut World);
}
