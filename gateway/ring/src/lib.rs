//! The one seam to the kernel.
//!
//! Typed operations go in, typed [`Completion`]s come out, and time comes with them. Two backends
//! implement [`Ring`]: [`uring`] on io_uring, and [`sim`], a seeded simulation with virtual time
//! and faults. All code above runs unchanged on both; a readiness backend (epoll) fits as well,
//! because no operation's meaning needs the kernel to hold a buffer.
//!
//! Rules every backend keeps, and the conformance list checks:
//!
//! 1. Every operation that takes a [`Token`] ends in exactly one completion with
//!    [`Completion::more`] false. `more` alone says whether a multishot is still armed, whatever
//!    the result: a full completion queue ends one with valid data.
//! 2. Buffers are values. A send or write owns its bytes until its completion gives them back;
//!    a receive lends a [`Lease`] which must be given back in the turn that reported it.
//! 3. Nothing completes inside a submitting call; all completions come from [`Ring::turn`].
//! 4. A socket or file may be closed or passed only when nothing is in flight on it; one send and
//!    one receive at a time are in flight on a socket.
//! 5. A token's [`Operation`] is the one it is given to, and no two operations in flight have the
//!    same token.
//! 6. Operations on a full table, a missing ring or a dead peer end in an error, never in silence.

mod abi;
mod address;
mod buffers;
mod pace;
pub mod setup;
pub mod sim;
mod token;
pub mod uring;

pub use pace::Pace;
pub use setup::RingSettings;
pub use token::{GENERATIONS, Operation, Token};

use std::{io, net::SocketAddr, ops::Range, path::Path};

/// A listening socket of this ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listener(pub u32);

/// A connected socket: an index into this ring's descriptor table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket(pub u32);

/// An open file of this ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct File(pub u32);

/// Another ring of the same process, as [`Ring::address`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RingAddress(pub u32);

/// A buffer of received bytes, lent until [`Ring::give_back`]. Neither `Copy` nor `Clone`: it is
/// given back once.
#[must_use = "a lease that is not given back starves the ring of buffers"]
#[derive(Debug, PartialEq, Eq)]
pub struct Lease {
    /// Buffer's index among the ring's.
    pub buffer: u32,
    /// Bytes received into it.
    pub length: u32,
}

/// Errno of a failed operation, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMode {
    /// Writes bypass the page cache and are durable when they complete (`O_DIRECT|O_DSYNC`);
    /// offset, length and memory are multiples of [`BLOCK_BYTES`].
    DirectDurable,
    /// Writes are durable only after a completed [`Ring::sync`].
    Buffered,
    /// Reads only.
    ReadOnly,
}

/// Unit of direct writes, bytes.
pub const BLOCK_BYTES: usize = 4096;

/// What an operation came to. Each variant answers the method of [`Ring`] named in its doc.
#[derive(Debug)]
pub enum Event {
    /// [`Ring::accept`].
    Accepted(Result<(Socket, SocketAddr), Errno>),
    /// [`Ring::connect`]; a failed one has closed its socket.
    Connected(Result<Socket, Errno>),
    /// [`Ring::receive`]. `Ok(None)`: the peer has finished (FIN). `ENOBUFS`: starved, arm again when
    /// a buffer returns, or at once if [`RingCounters::leases`] says that none is out (they may all
    /// have returned before this completion was seen). `EINTR`: arm again.
    Received(Result<Option<Lease>, Errno>),
    /// [`Ring::watch`]: bytes, an end or an error wait to be received, or, rarely, nothing.
    Readable(Result<(), Errno>),
    /// [`Ring::send`]: bytes accepted by the socket, maybe fewer than asked; the buffer is back.
    Sent(Result<usize, Errno>, Vec<u8>),
    /// [`Ring::cancel`]: how the cancel itself went (`ENOENT`, `EALREADY` are ordinary). The
    /// cancelled operation still completes on its own, before or after.
    Cancelled(Result<(), Errno>),
    /// [`Ring::close`].
    Closed(Result<(), Errno>),
    /// [`Ring::pass`]: the socket now belongs to the other ring, its slot here is free. With an error
    /// (`ENFILE`: no slot there; `ENXIO`: no such ring) it stays this ring's.
    Passed(Result<(), Errno>),
    /// A socket arrived from another ring, with the `u64` its sender gave. Token: as given to
    /// [`Ring::pass`].
    Arrived(Result<Socket, Errno>),
    /// [`Ring::write`]: bytes written, maybe fewer; the buffer is back.
    Written(Result<usize, Errno>, Vec<u8>),
    /// [`Ring::sync`].
    Synced(Result<(), Errno>),
    /// [`Ring::read`]: the bytes, fewer at the end of the file.
    Read(Result<Vec<u8>, Errno>),
    /// Another ring called [`Ring::wake`] (or a thread its [`Waker`]). Carries no token.
    Woken,
}

/// One step of one operation.
#[derive(Debug)]
pub struct Completion {
    /// As given with the operation.
    pub token: Token,
    /// The operation is still armed and will complete again.
    pub more: bool,
    /// What happened.
    pub event: Event,
}

/// How long [`Ring::turn`] may wait for completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Return at the latest at this monotonic time, microseconds; `None`: when something
    /// completes. A time already past means: do not wait.
    pub until_us: Option<u64>,
    /// Completions worth waiting for, for at most `gather_us`; 1 when latency counts.
    pub batch: u32,
    /// Bound on the wait for more than one completion, microseconds.
    pub gather_us: u32,
}

/// What a turn returned with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Time after the wait.
    pub now: hawser_codec::time::Now,
    /// The kernel was interrupted or out of room (`EINTR`, `EBUSY`): completions may be missing,
    /// nothing is lost, go on.
    pub interrupted: bool,
}

/// Counters of one ring, cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Completions reported.
    pub completions: u64,
    /// Turns that found more completions than the queue holds: a sizing fault if not 0.
    pub overflows: u64,
    /// Receives that found no buffer.
    pub starved: u64,
    /// Buffers on loan now, for the low mark; the simulation counts those of completions it has
    /// not yet reported too.
    pub leases: u32,
}

/// Options every accepted or connected socket gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `TCP_NODELAY`.
    pub no_delay: bool,
    /// `SO_SNDBUF`, bytes; `None`: kernel's choice.
    pub send_buffer_bytes: Option<u32>,
    /// `SO_RCVBUF`, bytes, which the kernel doubles; `None`: kernel's choice. A client that does not
    /// read fills it.
    pub receive_buffer_bytes: Option<u32>,
    /// `TCP_NOTSENT_LOWAT`, bytes; `None`: kernel's choice.
    pub not_sent_low_bytes: Option<u32>,
    /// `TCP_USER_TIMEOUT`, milliseconds, 0 off.
    pub user_timeout_ms: u32,
    /// `SO_KEEPALIVE` after so many idle seconds, 0 off.
    pub keepalive_s: u32,
}

/// A thread without a ring wakes a ring through this.
pub trait Waker: Send + Sync {
    /// Makes the ring's next or current turn return with [`Event::Woken`].
    fn wake(&self);
}

/// The seam. One ring belongs to one thread (it is not `Send` on io_uring).
pub trait Ring {
    /// Opens a listening socket with `SO_REUSEPORT`; what it accepts inherits `options`.
    ///
    /// # Errors
    /// As `bind` and `listen`: `EADDRINUSE`, `EACCES`.
    fn listen(
        &mut self,
        address: SocketAddr,
        backlog: u32,
        options: SocketOptions,
    ) -> io::Result<Listener>;

    /// Address a listener really has (port 0 asked for any).
    fn local_address(&self, listener: Listener) -> SocketAddr;

    /// Closes a listener on which no accept is in flight.
    fn unlisten(&mut self, listener: Listener);

    /// Accepts one connection into a free slot of the table (`Accepted`). `ENFILE`: the table is
    /// full and the connection was closed by the kernel: stop a reserve before that.
    fn accept(&mut self, listener: Listener, token: Token);

    /// Connects from `source` to `target` (`Connected`).
    fn connect(
        &mut self,
        source: SocketAddr,
        target: SocketAddr,
        options: SocketOptions,
        token: Token,
    );

    /// Arms a multishot receive (`Received`, many).
    fn receive(&mut self, socket: Socket, token: Token);

    /// Receives what waits now, once (`Received` with `more` false; `EAGAIN`: nothing waits). For a
    /// socket under [`Ring::watch`], which stays armed: a lone heartbeat then costs no re-arming.
    fn receive_once(&mut self, socket: Socket, token: Token);

    /// Arms a multishot readiness watch (`Readable`, many), cheaper for a quiet socket than
    /// [`Ring::receive`]. Edge-like: after it, receive until the socket is empty.
    fn watch(&mut self, socket: Socket, token: Token);

    /// Sends bytes (`Sent`). One send in flight per socket, else the stream could interleave.
    fn send(&mut self, socket: Socket, bytes: Vec<u8>, token: Token);

    /// Cancels the operation with token `target` (`Cancelled`), which is on `socket`; `None`: an
    /// accept or connect, which has no socket yet.
    fn cancel(&mut self, socket: Option<Socket>, target: Token, token: Token);

    /// Closes a socket with nothing in flight (`Closed`). `abort` resets (RST) instead of FIN.
    fn close(&mut self, socket: Socket, abort: bool, token: Token);

    /// Gives a socket with nothing in flight to another ring (`Passed` here, `Arrived` there with
    /// `there`).
    fn pass(&mut self, socket: Socket, to: RingAddress, there: Token, token: Token);

    /// Peer of a connected socket, for those that arrived from another ring.
    ///
    /// # Errors
    /// `ENOTCONN` when the peer has gone.
    fn peer_address(&mut self, socket: Socket) -> Result<SocketAddr, Errno>;

    /// This ring's name for [`Ring::pass`] and [`Ring::wake`] on others.
    fn address(&self) -> RingAddress;

    /// Wakes another ring (`Woken` there); nothing completes here.
    fn wake(&mut self, to: RingAddress);

    /// Something with which threads without a ring wake this one.
    fn waker(&self) -> std::sync::Arc<dyn Waker>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// As `open(2)`; `EINVAL` where the file system has no direct writes.
    fn open(&mut self, path: &Path, mode: FileMode) -> io::Result<File>;

    /// Closes a file with nothing in flight.
    fn close_file(&mut self, file: File);

    /// Writes `bytes[range]` at `offset` (`Written`).
    fn write(&mut self, file: File, offset: u64, bytes: Vec<u8>, range: Range<usize>, token: Token);

    /// Makes completed writes of a [`FileMode::Buffered`] file durable (`Synced`).
    fn sync(&mut self, file: File, token: Token);

    /// Reads up to `length` bytes at `offset` (`Read`).
    fn read(&mut self, file: File, offset: u64, length: u32, token: Token);

    /// Bytes of a lease.
    fn bytes(&self, lease: &Lease) -> &[u8];

    /// Returns a lease's buffer to the ring.
    fn give_back(&mut self, lease: Lease);

    /// Submits what was asked, waits as told, and appends completions.
    ///
    /// # Errors
    /// Only what no retry mends (the ring itself is broken).
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<Turn>;

    /// Monotonic time now, microseconds, to measure how long a turn worked. Deadlines and timers
    /// use the time [`Ring::turn`] returned, so that a turn is one instant for all it does.
    fn clock_us(&self) -> u64;

    /// Counters since the ring was made.
    fn counters(&self) -> RingCounters;

    /// Slots of the descriptor table still free; accepts and connects in flight may each take one.
    fn free_slots(&self) -> u32;
}
