//! The way to one router of another process: its link, a bounded queue, and a circuit breaker, as a
//! state machine.
//!
//! ```text
//!           due            connected         welcome
//!  Waiting ─────▶ Dialing ───────────▶ Linked ───────▶ (up)
//!     ▲              │ failed             │ ended
//!     │              ▼                    ▼
//!     └─ back-off ── closed ◀────────── Ending (last words go, bounded)
//! ```
//!
//! While the link is away, batches wait in the queue. Once it has been away for
//! [`limits::ROUTER_AWAY_US`], or the queue is full, the breaker opens: what waits and what comes is
//! answered with a refusal that says when to come back. Attempts to connect go on all the while and
//! are its half-open probes: it closes with the first welcome.
//!
//! Pure: no ring, no clock, no randomness. The worker that holds the link (`worker/links.rs`) dials,
//! moves bytes and hands on what [`LinkOutputs`] holds.

use crate::limits;
use hawser_codec::time::Now;
use hawser_router::{
    hosting::{Reach, refuse},
    link::{
        BatchQueue, Family, Inbox, LinkEvent, LinkSession, LinkSettings, Refusal, Taken,
        refusal_code,
    },
};

/// What an operator should know, once per change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkNote {
    /// The link is up, with this router's name.
    Up(String),
    /// It is away, or still is, for another reason than was said last.
    Down(String),
    /// The router will end soon.
    GoingAway(String),
}

/// What a call left to be done, in order. Cleared by the worker.
#[derive(Debug, Default)]
pub struct LinkOutputs {
    /// Batches of downlinks, by worker.
    pub downlinks: Vec<(u16, Vec<u8>)>,
    /// The way goes so far now; to be told to all workers, before any downlink of the same call.
    pub reach: Vec<Reach>,
    /// For the log and `/readyz`.
    pub notes: Vec<LinkNote>,
    /// The hash key, from a router asked for it.
    pub hash_key: Option<[u8; 32]>,
}

impl LinkOutputs {
    /// Appends what was said later.
    pub fn absorb(&mut self, mut later: Self) {
        self.downlinks.append(&mut later.downlinks);
        self.reach.append(&mut later.reach);
        self.notes.append(&mut later.notes);
        self.hash_key = self.hash_key.or(later.hash_key);
    }
}

/// Figures of one link, cumulative but for the last two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkFigures {
    /// Links that came up.
    pub links: u64,
    /// Batches sent to the router.
    pub batches_out: u64,
    /// Batches received from it.
    pub batches_in: u64,
    /// Questions refused because the breaker was open or the queue full.
    pub refused: u64,
    /// Bytes that wait.
    pub queued_bytes: u64,
    /// Latest round trip, microseconds.
    pub round_trip_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For the next attempt.
    Waiting { until_us: u64 },
    /// A connect is under way.
    Dialing { until_us: u64 },
    /// There is a connection.
    Linked,
    /// The link is over; the connection is being closed.
    Ending { until_us: u64 },
}

/// See the module's head.
pub struct RouterLink {
    settings: LinkSettings,
    stage: Stage,
    session: Option<LinkSession>,
    inbox: Inbox,
    queue: BatchQueue,
    reach: Reach,
    away_since_us: u64,
    /// Attempts that failed in a row.
    failures: u32,
    /// What was said last of why the link is away.
    trouble: Option<String>,
    /// The protocol gave that reason, which says more than how a connection ended.
    is_reasoned: bool,
    /// Costs of batches taken and not yet granted again.
    owed: u32,
    figures: LinkFigures,
}

impl RouterLink {
    /// A way that dials as soon as it is asked. The nonce of `settings` is replaced by each
    /// connection's own.
    pub fn new(settings: LinkSettings, now: Now) -> Self {
        Self {
            settings,
            stage: Stage::Waiting { until_us: now.monotonic_us },
            session: None,
            inbox: Inbox::default(),
            queue: BatchQueue::new(limits::ROUTER_QUEUE_BYTES),
            reach: Reach::Away,
            away_since_us: now.monotonic_us,
            failures: 0,
            trouble: None,
            is_reasoned: false,
            owed: 0,
            figures: LinkFigures::default(),
        }
    }

    /// True when a connection is to be made now; it counts as being made.
    pub fn begin_dial(&mut self, now: Now) -> bool {
        let due = matches!(self.stage, Stage::Waiting { until_us } if until_us <= now.monotonic_us);
        if due {
            self.stage = Stage::Dialing { until_us: now.monotonic_us + limits::ROUTER_DIAL_US };
        }
        due
    }

    /// The connect has taken too long, or the connection that is to be closed: cancel what is in
    /// flight on it.
    pub fn is_overdue(&self, now: Now) -> bool {
        match self.stage {
            Stage::Dialing { until_us } | Stage::Ending { until_us } => {
                until_us <= now.monotonic_us
            }
            Stage::Waiting { .. } | Stage::Linked => false,
        }
    }

    /// A connection is made. `nonce` is random, for it alone; the hash key is passed if another
    /// router has given it since.
    pub fn on_connected(&mut self, now: Now, nonce: [u8; 32], hash_key: Option<[u8; 32]>) {
        self.stage = Stage::Linked;
        self.inbox.clear();
        self.owed = 0;
        self.settings.nonce = nonce;
        self.settings.hash_key = hash_key;
        self.session = Some(LinkSession::initiator(self.settings.clone(), now));
    }

    /// Received bytes.
    pub fn on_bytes(&mut self, now: Now, bytes: &[u8], out: &mut LinkOutputs) {
        // Whole frames are read where they lie; only an unfinished one is copied aside.
        let mut inbox = std::mem::take(&mut self.inbox);
        if inbox.is_empty() {
            let taken = self.take_frames(now, bytes, out);
            inbox.extend(&bytes[taken.0..]);
            inbox.expect(taken.1);
        } else {
            inbox.extend(bytes);
            let taken = self.take_frames(now, inbox.bytes(), out);
            inbox.consume(taken.0);
            inbox.expect(taken.1);
        }
        self.inbox = inbox;
        self.judge_reach(now, out);
    }

    /// Bytes taken off the front, and how many a whole frame needs.
    fn take_frames(&mut self, now: Now, bytes: &[u8], out: &mut LinkOutputs) -> (usize, usize) {
        let mut done = 0;
        loop {
            let Some(session) = &mut self.session else { return (bytes.len(), 0) };
            match session.step(now, &bytes[done..]) {
                Taken::NeedMore(at_least) => return (done, at_least),
                Taken::Frame(length, event) => {
                    done += length;
                    if let Some(event) = event {
                        self.on_event(now, event, out);
                    }
                }
            }
        }
    }

    fn on_event(&mut self, now: Now, event: LinkEvent<'_>, out: &mut LinkOutputs) {
        match event {
            LinkEvent::Up(peer) => {
                self.failures = 0;
                self.trouble = None;
                self.is_reasoned = false;
                self.figures.links += 1;
                if let Some(hash_key) = peer.hash_key {
                    self.settings.hash_key = Some(hash_key);
                    out.hash_key = Some(hash_key);
                }
                out.notes.push(LinkNote::Up(peer.name));
            }
            LinkEvent::Batch { worker, bytes, cost, .. } => {
                self.figures.batches_in += 1;
                self.owed += cost;
                out.downlinks.push((worker, bytes.to_vec()));
            }
            LinkEvent::GoAway(reason) => out.notes.push(LinkNote::GoingAway(reason.to_string())),
            LinkEvent::Down(end) => {
                self.end(now, end.to_string(), out);
                self.is_reasoned = true;
            }
        }
    }

    /// The connection failed, could not be made, or was ended by the other side; it is closed.
    pub fn on_closed(&mut self, now: Now, trouble: &str, jitter: u32, out: &mut LinkOutputs) {
        self.end(now, trouble.to_owned(), out);
        self.session = None;
        self.inbox.clear();
        let wait_us = back_off_us(self.failures, jitter);
        self.failures = self.failures.saturating_add(1);
        self.stage = Stage::Waiting { until_us: now.monotonic_us + wait_us };
    }

    /// The connection failed and is to be closed by the worker.
    pub fn on_broken(&mut self, now: Now, trouble: &str, out: &mut LinkOutputs) {
        // Nothing more goes into it, nor out of it: what waits is for the next link.
        self.session = None;
        // A peer that refuses may close before its reason is read; once read, it stands.
        match (self.is_reasoned, &self.trouble) {
            (true, Some(reason)) => self.end(now, reason.clone(), out),
            _ => self.end(now, trouble.to_owned(), out),
        }
    }

    /// The link is no longer one; says so once per reason.
    fn end(&mut self, now: Now, trouble: String, out: &mut LinkOutputs) {
        if matches!(self.stage, Stage::Ending { .. }) {
            // What follows an end says nothing new.
            return;
        }
        self.stage = Stage::Ending { until_us: now.monotonic_us + limits::ROUTER_END_US };
        if self.trouble.as_ref() != Some(&trouble) {
            out.notes.push(LinkNote::Down(trouble.clone()));
            self.is_reasoned = false;
            self.trouble = Some(trouble);
        }
        if matches!(self.reach, Reach::Up | Reach::Crowded) {
            self.away_since_us = now.monotonic_us;
            self.tell(Reach::Away, out);
        }
        self.judge_reach(now, out);
    }

    /// The router has given a hash key that is not the one in force.
    pub fn refuse_hash_key(&mut self, now: Now, out: &mut LinkOutputs) {
        let text = "the hash keys differ: this router has another than one reached before";
        if let Some(session) = &mut self.session {
            session.refuse(Refusal::of(refusal_code::HASH_KEY, text.to_owned()));
        }
        self.settings.hash_key = None;
        self.end(now, text.to_owned(), out);
    }

    /// A batch of uplinks from `worker`. The buffer comes back if it is free already.
    pub fn on_uplinks(
        &mut self,
        now: Now,
        worker: u16,
        batch: Vec<u8>,
        out: &mut LinkOutputs,
    ) -> Option<Vec<u8>> {
        if self.reach == Reach::Refusing {
            return Some(self.refuse(worker, batch, out));
        }
        self.figures.batches_out += 1;
        let spare = match self.queue.push(Family::Uplink, worker, batch) {
            Ok(spare) => spare,
            Err(full) => {
                let spare = self.refuse(worker, full.0, out);
                if let Some(session) = self.session.as_mut().filter(|session| session.is_up()) {
                    // It lives and takes nothing: what it has missed cannot be made good, but a new
                    // link begins with all sessions.
                    let text = "the router does not take what is sent to it".to_owned();
                    session.refuse(Refusal::of(refusal_code::TOO_SLOW, text.clone()));
                    self.end(now, text, out);
                }
                self.open_breaker(out);
                Some(spare)
            }
        };
        self.judge_reach(now, out);
        spare
    }

    fn refuse(&mut self, worker: u16, mut batch: Vec<u8>, out: &mut LinkOutputs) -> Vec<u8> {
        let mut answers = Vec::new();
        self.figures.refused += refuse(&batch, limits::ROUTER_RETRY_MS, &mut answers);
        if !answers.is_empty() {
            out.downlinks.push((worker, answers));
        }
        batch.clear();
        batch
    }

    fn open_breaker(&mut self, out: &mut LinkOutputs) {
        self.tell(Reach::Refusing, out);
        let waiting: Vec<_> = self.queue.drain().collect();
        for (_, worker, batch) in waiting {
            self.refuse(worker, batch, out);
        }
    }

    /// Moves what waits into the link; `spare` gets empty buffers. Batches taken are granted again
    /// unless the workers are `behind` with them.
    pub fn flush(
        &mut self,
        now: Now,
        behind: bool,
        spare: impl FnMut(Vec<u8>),
        out: &mut LinkOutputs,
    ) {
        let Some(session) = &mut self.session else { return };
        if !behind && self.owed > 0 {
            session.grant(std::mem::take(&mut self.owed));
        }
        if self.queue.flush(session, spare).is_err() {
            // Our own workers wrote it: a fault to be seen, not one to be sent on.
            let text = "a batch for the router does not parse";
            session.refuse(Refusal::of(refusal_code::MALFORMED, text.to_owned()));
            self.queue.drain().for_each(drop);
            self.end(now, text.to_owned(), out);
        }
        self.judge_reach(now, out);
    }

    /// Takes bytes to be sent, if there are any; leaves `empty`.
    pub fn take_out(&mut self, empty: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
        match &mut self.session {
            Some(session) if session.out_bytes() > 0 => Ok(session.take_out(empty)),
            _ => Err(empty),
        }
    }

    /// Time passes: heartbeats, the end of patience.
    pub fn on_time(&mut self, now: Now, out: &mut LinkOutputs) {
        if let Some(session) = &mut self.session
            && session.next_deadline().is_some_and(|at| at <= now.monotonic_us)
            && let Some(LinkEvent::Down(end)) = session.on_deadline(now)
        {
            self.end(now, end.to_string(), out);
        }
        self.judge_reach(now, out);
    }

    /// When [`RouterLink::on_time`], [`RouterLink::begin_dial`] or [`RouterLink::is_overdue`] have
    /// something to say, monotonic microseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        let stage = match self.stage {
            Stage::Waiting { until_us }
            | Stage::Dialing { until_us }
            | Stage::Ending { until_us } => Some(until_us),
            Stage::Linked => None,
        };
        let session = self.session.as_ref().and_then(LinkSession::next_deadline);
        let patience =
            (self.reach == Reach::Away).then_some(self.away_since_us + limits::ROUTER_AWAY_US);
        [stage, session, patience].into_iter().flatten().min()
    }

    fn judge_reach(&mut self, now: Now, out: &mut LinkOutputs) {
        let waiting = self.queue.bytes();
        let is_up = self.session.as_ref().is_some_and(LinkSession::is_up);
        let reach = match (is_up, self.reach) {
            (true, Reach::Crowded) if waiting > limits::ROUTER_QUEUE_LOW_BYTES => Reach::Crowded,
            (true, _) if waiting > limits::ROUTER_QUEUE_HIGH_BYTES => Reach::Crowded,
            (true, _) => Reach::Up,
            (false, Reach::Refusing) => Reach::Refusing,
            (false, _) if now.monotonic_us >= self.away_since_us + limits::ROUTER_AWAY_US => {
                return self.open_breaker(out);
            }
            (false, _) => Reach::Away,
        };
        self.tell(reach, out);
    }

    fn tell(&mut self, reach: Reach, out: &mut LinkOutputs) {
        if self.reach != reach {
            self.reach = reach;
            out.reach.push(reach);
        }
    }

    /// The connection is to be closed once what is to be sent has gone, or it is overdue.
    pub fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending { .. })
    }

    /// How far the way goes.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Something waits to be sent that a stop should wait for.
    pub fn is_busy(&self) -> bool {
        matches!(self.reach, Reach::Up | Reach::Crowded) && !self.queue.is_empty()
    }

    /// Figures so far.
    pub fn figures(&self) -> LinkFigures {
        let session = self.session.as_ref();
        LinkFigures {
            queued_bytes: self.queue.bytes() as u64,
            round_trip_us: session.and_then(LinkSession::round_trip_us).unwrap_or(0),
            ..self.figures
        }
    }
}

/// Wait before the next attempt after `failures` in a row, microseconds: doubled each time up to
/// a bound, of which the random `jitter` takes up to half away, so that gateways that lost one
/// router together do not come back together.
fn back_off_us(failures: u32, jitter: u32) -> u64 {
    let full = (limits::ROUTER_BACK_OFF_US << failures.min(16)).min(limits::ROUTER_BACK_OFF_US_MAX);
    full - full / 2 * u64::from(jitter) / u64::from(u32::MAX)
}
