//! One connection's place in a worker: what the kernel has of it.

use hawser_ring::Socket;

use crate::{connection::Connection, scenario::Protocol};

/// Lives of a slot that tokens tell apart: their generation has 24 bits.
const LIVES: u32 = 1 << 24;

/// Where the socket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Net {
    /// None; the wheel or the ramp brings it up.
    Down,
    /// A connect is in flight.
    Connecting,
    /// Connected.
    Up(Socket),
    /// To be closed when nothing is in flight; then not before this time again.
    Closing { socket: Socket, retry_after_ms: u32 },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) connection: Connection,
    pub(super) net: Net,
    /// Tick of the entry in the wheel that counts, 0 for none.
    pub(super) armed_tick: u64,
    /// Generation of the tokens, and half of the source port.
    pub(super) life: u32,
    pub(super) failures: u8,
    /// In the list of those to be flushed.
    pub(super) touched: bool,
    /// In flight: a receive, armed or single.
    pub(super) receiving: bool,
    /// The receive in flight is a multishot that has completed before.
    pub(super) armed: bool,
    /// In flight: a watch.
    pub(super) watching: bool,
    /// In flight: a send.
    pub(super) sending: bool,
    /// In flight: a cancel.
    pub(super) cancelling: bool,
    /// In flight: the close.
    pub(super) closing: bool,
    pub(super) receive_cancelled: bool,
    pub(super) watch_cancelled: bool,
    pub(super) send_cancelled: bool,
}

impl Slot {
    /// A slot whose connection was never up.
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            connection: Connection::new(protocol),
            net: Net::Down,
            armed_tick: 0,
            life: 0,
            failures: 0,
            touched: false,
            receiving: false,
            armed: false,
            watching: false,
            sending: false,
            cancelling: false,
            closing: false,
            receive_cancelled: false,
            watch_cancelled: false,
            send_cancelled: false,
        }
    }

    /// Nothing is in flight any more: a new generation, everything else as at the start.
    pub(super) fn begin_life(&mut self) {
        debug_assert!(!self.receiving && !self.watching && !self.sending && !self.cancelling);
        self.life = (self.life + 1) % LIVES;
        self.net = Net::Down;
        self.armed_tick = 0;
        self.armed = false;
        self.closing = false;
        self.receive_cancelled = false;
        self.watch_cancelled = false;
        self.send_cancelled = false;
    }
}

/// With the socket's kernel memory, 2,000,000 idle connections must fit beside their server.
const _: () = assert!(size_of::<Slot>() <= 400);

/// Memory of this process for one idle connection.
pub const SLOT_BYTES: u64 = size_of::<Slot>() as u64;
