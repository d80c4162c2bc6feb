//! One connection's place in a worker: what the kernel has of it, and what the schedule did to it.

use hawser_ring::Socket;

use crate::{connection::Connection, scenario::Close, source::Sources};

/// Lives of a slot that tokens tell apart: their generation has 24 bits.
const LIVES: u32 = 1 << 24;

/// Where the socket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Net {
    /// None; the wheel, the ramp or the agenda brings it up.
    Down,
    /// A connect is in flight.
    Connecting,
    /// Connected.
    Up(Socket),
    /// To be closed when nothing is in flight; then not before this time again.
    Closing { socket: Socket, retry_after_ms: u32 },
}

/// What the schedule did to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Nothing: it lives as its protocol says.
    Usual,
    /// It has left, and comes back when it is told.
    Away,
    /// It does not read.
    Dozing,
    /// It reads again, and hears of the time when it has read what waited: else it would give up a
    /// server that has answered long ago.
    Waking,
    /// It says nothing, hears what is said, and waits for the server to close.
    Hushed,
}

/// Which latency runs, from [`Slot::since_us`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// None.
    Nothing,
    /// The first login.
    FirstLogin,
    /// Another login.
    Login,
    /// Another login, and then what its mailbox has for it.
    LoginAndMail,
    /// What its mailbox has for it.
    Mail,
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
    /// When what it awaits began, or when it hushed, microseconds.
    pub(super) since_us: u64,
    /// End of its mood, microseconds; `u64::MAX`: when it is told.
    pub(super) until_us: u64,
    pub(super) mood: Mood,
    pub(super) awaits: Awaits,
    /// How its socket is closed.
    pub(super) close: Close,
    pub(super) failures: u8,
    /// Places that were taken, in a row.
    pub(super) conflicts: u8,
    /// The next life has another address.
    pub(super) elsewhere: bool,
    /// The socket is not closed but kept, unread.
    pub(super) kept: bool,
    /// The next life begins as soon as this one has ended.
    pub(super) prompt: bool,
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
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            net: Net::Down,
            armed_tick: 0,
            life: 0,
            since_us: 0,
            until_us: 0,
            mood: Mood::Usual,
            awaits: Awaits::Nothing,
            close: Close::Rst,
            failures: 0,
            conflicts: 0,
            elsewhere: false,
            kept: false,
            prompt: false,
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
        let elsewhere = std::mem::take(&mut self.elsewhere);
        let next = if elsewhere { Sources::life_elsewhere(self.life) } else { self.life + 1 };
        self.life = next % LIVES;
        self.net = Net::Down;
        self.armed_tick = 0;
        self.armed = false;
        self.closing = false;
        self.kept = false;
        self.receive_cancelled = false;
        self.watch_cancelled = false;
        self.send_cancelled = false;
    }

    /// What its protocol wants to say is sent.
    pub(super) fn is_speaking(&self) -> bool {
        !matches!(self.mood, Mood::Hushed | Mood::Away)
    }
}

/// With the socket's kernel memory, 2,000,000 idle connections must fit beside their server.
const _: () = assert!(size_of::<Slot>() <= 400);

/// Memory of this process for one idle connection.
pub const SLOT_BYTES: u64 = size_of::<Slot>() as u64;
