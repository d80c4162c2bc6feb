//! What is kept of a request until it is answered.
//!
//! ```text
//!             welcome            page              entries, time is up
//!  LoggingIn ────────▶ ToRead ◀─▶ Reading ──▶ Live ────────────────────▶ answered
//!                         ▲                    │ events: a gap, a head
//!                         └────────────────────┘
//! ```
//!
//! One per connection at most, and none while it is idle: a request is answered before the next one
//! on its connection is looked at. Every exchange has a time at which it is due, so that one whose
//! answer was lost ends all the same.

use std::collections::HashMap;

use crate::{slab::Handle, timers::Tick};
use hawser_codec::{
    http::{
        Head, Verdict,
        answer::{Answer, Asked},
        poll::PollAsked,
    },
    time::Now,
};

/// Requests of one worker that are under way.
#[derive(Default)]
pub struct Exchanges {
    held: HashMap<u32, Exchange>,
    /// Frames of the session core, while they are turned into an answer.
    pub(super) scratch: Vec<u8>,
    /// Time of this turn, for what is written.
    pub(super) now: Now,
    /// The same in ticks.
    pub(super) tick: Tick,
}

impl Exchanges {
    /// The request under way on this connection.
    pub(super) fn find(&mut self, handle: Handle) -> Option<&mut Exchange> {
        self.held.get_mut(&handle.slot)
    }

    pub(super) fn begin(&mut self, handle: Handle, exchange: Exchange) {
        self.held.insert(handle.slot, exchange);
    }

    /// Nothing is under way on this connection any more.
    pub fn forget(&mut self, handle: Handle) -> Option<Exchange> {
        self.held.remove(&handle.slot)
    }

    /// When a request under way wants to be looked at.
    pub fn due(&self, handle: Handle) -> Option<Tick> {
        self.held.get(&handle.slot).map(|exchange| exchange.due)
    }
}

/// One request.
pub struct Exchange {
    /// How it wants to be answered.
    pub(super) asked: Asked,
    /// The page of the web that must be told that it may read the answer.
    origin: Option<Box<str>>,
    /// What it wants.
    pub(super) what: What,
    /// When it is looked at whatever comes.
    pub(super) due: Tick,
    /// The answer's head is written.
    pub(super) is_begun: bool,
    /// The answer is complete.
    pub(super) is_done: bool,
}

impl Exchange {
    pub(super) fn of(head: &Head<'_>, verdict: Verdict<'_>, what: What, due: Tick) -> Self {
        let origin = match verdict {
            Verdict::AllowedTo(origin) => Some(origin.into()),
            Verdict::Allowed | Verdict::Foreign => None,
        };
        let asked = Asked::of(head);
        Self { asked, origin, what, due, is_begun: false, is_done: false }
    }

    /// Begins the answer.
    pub(super) fn answer<'o>(
        &mut self,
        out: &'o mut Vec<u8>,
        status: u16,
        wall_ms: u64,
    ) -> Answer<'o> {
        self.is_begun = true;
        let mut answer = Answer::begin(out, self.asked, status, wall_ms);
        if let Some(origin) = &self.origin {
            Verdict::AllowedTo(origin).put(&mut answer);
        }
        answer
    }
}

/// What a request wants.
pub(super) enum What {
    /// Its body; it was told to send it.
    Body,
    /// A session.
    Session,
    /// A message on its way.
    Send,
    /// Entries.
    Poll(Poll),
    /// Entries as they come, without end.
    Events(Events),
}

/// How far the entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The home shard is asked who it is.
    LoggingIn,
    /// A page of the mailbox is to be asked for.
    ToRead,
    /// It was.
    Reading,
    /// All up to the head was shown; what comes is pushed.
    Live,
}

/// A `GET /poll`.
pub(super) struct Poll {
    pub(super) asked: PollAsked,
    pub(super) stage: Stage,
    /// Highest entry written, or the cursor it came with.
    pub(super) cursor: u64,
    pub(super) head: u64,
    /// Entries written.
    pub(super) count: u16,
    /// Something came that could not be shown: the next poll reads it.
    pub(super) missed: bool,
}

/// A `GET /events`.
pub(super) struct Events {
    pub(super) stage: Stage,
    /// Highest entry written.
    pub(super) last: u64,
    /// The same, as the home shard knows it.
    pub(super) confirmed: u64,
    /// The mailbox goes at least up to here.
    pub(super) head: u64,
    /// When something has to be written again, so that the way stays open.
    pub(super) beat: Tick,
}

/// What a poll or a stream of events costs beyond its connection and session, bytes, with its place
/// in the table: it is not idle, yet there may be one for each connection.
pub const EXCHANGE_BYTES_MAX: usize = 192;
const _: () = assert!(size_of::<(u32, Exchange)>() <= EXCHANGE_BYTES_MAX);
