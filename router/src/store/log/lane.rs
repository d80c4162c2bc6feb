//! The writer of one lane: gathers sealed runs into batches and says what to write when.
//!
//! Pure: it is told the time and the outcome of every write, and asks for the next one. It does
//! not open files and it does not know the records it copies.
//!
//! ```text
//!          append                poll                 on_written        (WriteThenSync)
//! host ----------> waiting batch ----> Write in flight ----------> done, or Sync in flight
//!                                        |  short: again from the block      |  on_synced
//!                                        |  error                            v
//!                                        +------> Failed <------------- pop_durable
//! ```
//! Invariants: one write or sync is in flight at a time; the next batch is not written before the
//! one before is durable; after the first failure nothing more is written or reported durable,
//! because what then stands on the disk is known only to recovery.

mod contract;
mod gathering;

use std::{collections::VecDeque, ops::Range};

use hawser_codec::time::Now;

pub use contract::{
    Durable, GATHER_BYTES, GATHER_US, LaneAction, LaneCounters, LanePolicy, LaneSettings, Refused,
    WAITING_BYTES_MAX,
};
use gathering::Gathering;

use super::{
    batch::{BATCH_BYTES_MAX, BLOCK_BYTES, HEADER_BYTES, Header, RUN_BYTES_MAX, padded},
    location::{LANE_COUNT_MAX, Location, SEGMENT_MAX},
    recovery::LaneTail,
    segment::{SEGMENT_BYTES, SEGMENT_BYTES_MIN},
};

/// Buffers kept for the next batches, per lane: one in flight, one gathering, one between.
const SPARE_BUFFERS_MAX: usize = 3;
/// Writes in a row that may move nothing before the lane is given up.
const EMPTY_WRITES_MAX: u32 = 16;
/// Pause before a segment that could not be made is asked for again, microseconds. A full disk
/// is looked at once a second, not in every turn.
const PREPARE_RETRY_US: u64 = 1_000_000;
/// Share of a segment that is kept for what was accepted before it was known that there will be no
/// next one: of the shortest segment a setting allows it is the longest batch.
const ROOM_KEPT_SHARE: u64 = 4;
/// Errno of a lane that was given up without an error of the system: `EIO`.
const EIO: i32 = libc::EIO;

/// What the lane is doing. A batch's runs are at the front of `LaneWriter::runs` until it is
/// durable.
#[derive(Debug)]
enum State {
    Idle,
    /// A short write: the rest is to be written.
    Rest {
        batch: InFlight,
        bytes: Vec<u8>,
    },
    Writing(InFlight),
    /// Written, to be synced.
    Unsynced(InFlight),
    Syncing(InFlight),
    Failed(i32),
}

#[derive(Clone, Debug)]
struct InFlight {
    segment: u32,
    /// Where the batch begins in the segment.
    start: u64,
    /// What is still to be written, in the buffer.
    range: Range<usize>,
    /// Bytes of the batch already written.
    written: u64,
    empty_writes: u32,
    runs: usize,
    /// Bytes of its runs, as counted in `LaneWriter::waiting_bytes`.
    run_bytes: usize,
    begun_us: u64,
}

#[derive(Debug)]
struct RunMark {
    host: u16,
    run: u64,
    /// From the start of its batch.
    offset: usize,
}

/// The file being written, or about to be.
#[derive(Debug)]
struct Current {
    segment: u32,
    bytes: u64,
    offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Unasked,
    Asked,
    Ready,
    Failed { errno: i32, again_us: u64 },
}

/// Writer of one lane. See the module's doc.
#[derive(Debug)]
pub struct LaneWriter {
    lane: u8,
    epoch: u64,
    settings: LaneSettings,
    position: u64,
    /// `None` until the first segment of a new lane is ready.
    current: Option<Current>,
    /// Number of the segment after the current one, and how far it is.
    next: (u32, Next),
    /// The latest attempt at the next segment failed; true also while it is being tried again.
    next_failed: bool,
    waiting: VecDeque<Gathering>,
    waiting_bytes: usize,
    runs: VecDeque<RunMark>,
    durable: VecDeque<Durable>,
    state: State,
    spare_buffers: Vec<Vec<u8>>,
    counters: LaneCounters,
}

impl LaneWriter {
    /// Goes on behind `tail`, or begins a lane that the directory does not have. `epoch` must be
    /// above the highest one recovery saw in any lane.
    ///
    /// # Panics
    /// When a setting or the epoch is out of range: both are checked where they come from.
    #[must_use]
    pub fn open(lane: u8, tail: Option<LaneTail>, epoch: u64, settings: LaneSettings) -> Self {
        assert!(lane < LANE_COUNT_MAX);
        assert!(settings.segment_bytes.is_multiple_of(BLOCK_BYTES as u64));
        assert!((SEGMENT_BYTES_MIN..=SEGMENT_BYTES).contains(&settings.segment_bytes));
        assert!(settings.waiting_bytes_max >= BATCH_BYTES_MAX);
        let (current, next, position) = match tail {
            None => (None, (1, Next::Unasked), 1),
            Some(tail) => {
                assert!(tail.lane == lane && epoch > tail.epoch);
                let number = tail.segment + 1;
                let is_ready = tail.spare.contains(&(number, settings.segment_bytes));
                let current = Current {
                    segment: tail.segment,
                    bytes: tail.segment_bytes,
                    offset: tail.offset,
                };
                let next = if is_ready { Next::Ready } else { Next::Unasked };
                (Some(current), (number, next), tail.position)
            }
        };
        Self {
            lane,
            epoch,
            settings,
            position,
            current,
            next,
            next_failed: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            runs: VecDeque::new(),
            durable: VecDeque::new(),
            state: State::Idle,
            spare_buffers: Vec::new(),
            counters: LaneCounters::default(),
        }
    }

    /// Longest run this lane takes, bytes.
    #[must_use]
    pub fn run_bytes_max(&self) -> usize {
        RUN_BYTES_MAX.min(self.batch_bytes_max() - HEADER_BYTES)
    }

    /// A batch fits an empty segment.
    fn batch_bytes_max(&self) -> usize {
        let segment = usize::try_from(self.settings.segment_bytes).unwrap_or(usize::MAX);
        BATCH_BYTES_MAX.min(segment)
    }

    /// Takes a sealed run. It is never cut: its records stand in one batch, one behind the other.
    /// `urgent` starts the write as soon as the one before has ended.
    ///
    /// # Errors
    /// [`Refused`]; the run was not kept.
    ///
    /// # Panics
    /// When the run is empty or longer than [`LaneWriter::run_bytes_max`].
    pub fn append(
        &mut self,
        now: Now,
        host: u16,
        run: u64,
        records: &[u8],
        urgent: bool,
    ) -> Result<(), Refused> {
        assert!(!records.is_empty() && records.len() <= self.run_bytes_max());
        if let State::Failed(errno) = self.state {
            return Err(Refused::Failed(errno));
        }
        // What cannot be written for want of room is refused at once: its sender can be told why.
        if let (Some(errno), true) = (self.segment_failure(), self.needs_segment()) {
            return Err(Refused::NoSegment(errno));
        }
        if self.waiting_bytes + records.len() > self.settings.waiting_bytes_max {
            return Err(Refused::Full);
        }
        let batch_bytes_max = self.batch_bytes_max();
        let fits = |batch: &Gathering| batch.used() + records.len() <= batch_bytes_max;
        if !self.waiting.back().is_some_and(fits) {
            let buffer = self.spare_buffers.pop();
            self.waiting.push_back(Gathering::new(buffer, now.monotonic_us));
        }
        let batch = self.waiting.back_mut().expect("one was pushed if there was none");
        let offset = batch.push(records, urgent);
        self.runs.push_back(RunMark { host, run, offset });
        self.waiting_bytes += records.len();
        Ok(())
    }

    /// The next thing to do, if any. Call it until it says `None`: after every input, and in
    /// turns in which nothing else is runnable with `idle`.
    pub fn poll(&mut self, now: Now, idle: bool) -> Option<LaneAction> {
        if let State::Failed(_) = self.state {
            return None;
        }
        if let Some(action) = self.poll_prepare(now) {
            return Some(action);
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => self.poll_batch(now, idle),
            State::Rest { batch, bytes } => Some(self.write(batch, bytes)),
            State::Unsynced(batch) => {
                let segment = batch.segment;
                self.state = State::Syncing(batch);
                Some(LaneAction::Sync { segment })
            }
            busy @ (State::Writing(_) | State::Syncing(_) | State::Failed(_)) => {
                self.state = busy;
                None
            }
        }
    }

    fn poll_prepare(&mut self, now: Now) -> Option<LaneAction> {
        let is_wanted = match &self.current {
            None => true,
            // Half a segment is seconds of the fastest lane: time to fill the next one.
            Some(current) => current.offset >= current.bytes / 2,
        };
        let may_ask = match self.next.1 {
            Next::Unasked => true,
            Next::Failed { again_us, .. } => now.monotonic_us >= again_us,
            Next::Asked | Next::Ready => false,
        };
        let segment = self.next.0;
        if !is_wanted && !self.needs_segment() || !may_ask || segment > SEGMENT_MAX {
            return None;
        }
        self.next.1 = Next::Asked;
        Some(LaneAction::PrepareSegment { segment })
    }

    /// Whether the batch that is first in line has no room in the current segment.
    fn needs_segment(&self) -> bool {
        let Some(batch) = self.waiting.front() else { return false };
        let padded = padded(batch.used()) as u64;
        self.current.as_ref().is_none_or(|current| current.offset + padded > current.bytes)
    }

    fn poll_batch(&mut self, now: Now, idle: bool) -> Option<LaneAction> {
        let oldest = self.waiting.front()?;
        let is_due = idle
            || self.waiting.len() > 1
            || oldest.urgent
            || oldest.used() >= self.settings.gather_bytes
            || now.monotonic_us >= oldest.oldest_us.saturating_add(self.settings.gather_us);
        if !is_due {
            return None;
        }
        if self.needs_segment() {
            if self.next.1 != Next::Ready {
                return None;
            }
            let (segment, bytes) = (self.next.0, self.settings.segment_bytes);
            self.current = Some(Current { segment, bytes, offset: 0 });
            self.next = (segment + 1, Next::Unasked);
        }
        let batch = self.waiting.pop_front()?;
        let current = self.current.as_mut()?;
        let start = current.offset;
        let segment = current.segment;
        current.offset += padded(batch.used()) as u64;
        let in_flight = InFlight {
            segment,
            start,
            range: batch.start..batch.start + padded(batch.used()),
            written: 0,
            empty_writes: 0,
            runs: batch.runs,
            run_bytes: batch.used() - HEADER_BYTES,
            begun_us: now.monotonic_us,
        };
        let bytes = batch.seal(Header {
            lane: self.lane,
            segment,
            epoch: self.epoch,
            position: self.position,
            body_bytes: 0,
            wall_ms: now.wall_ms,
            salt: self.settings.salt,
        });
        self.position += 1;
        Some(self.write(in_flight, bytes))
    }

    fn write(&mut self, batch: InFlight, bytes: Vec<u8>) -> LaneAction {
        let offset = batch.start + batch.written;
        let (segment, range) = (batch.segment, batch.range.clone());
        self.state = State::Writing(batch);
        LaneAction::Write { segment, offset, bytes, range }
    }

    /// Outcome of the write in flight, bytes written or errno, and its buffer.
    ///
    /// # Panics
    /// When no write is in flight.
    pub fn on_written(&mut self, now: Now, result: Result<usize, i32>, bytes: Vec<u8>) {
        let State::Writing(mut batch) = std::mem::replace(&mut self.state, State::Idle) else {
            panic!("a completion without a write");
        };
        let length = batch.range.len();
        match result {
            Err(errno) => self.fail(errno),
            Ok(written) if written >= length => {
                batch.written += length as u64;
                self.keep_buffer(bytes);
                match self.settings.policy {
                    LanePolicy::DirectDurable => self.complete(now, &batch),
                    LanePolicy::WriteThenSync => self.state = State::Unsynced(batch),
                }
            }
            Ok(written) => {
                // A block is written whole or again.
                let whole = written - written % BLOCK_BYTES;
                batch.empty_writes = if whole == 0 { batch.empty_writes + 1 } else { 0 };
                if batch.empty_writes > EMPTY_WRITES_MAX {
                    self.fail(EIO);
                    return;
                }
                batch.range.start += whole;
                batch.written += whole as u64;
                self.state = State::Rest { batch, bytes };
            }
        }
    }

    /// Outcome of the sync in flight, errno if it failed.
    ///
    /// # Panics
    /// When no sync is in flight.
    pub fn on_synced(&mut self, now: Now, result: Result<(), i32>) {
        let State::Syncing(batch) = std::mem::replace(&mut self.state, State::Idle) else {
            panic!("a completion without a sync");
        };
        match result {
            Ok(()) => self.complete(now, &batch),
            Err(errno) => self.fail(errno),
        }
    }

    /// Outcome of a [`LaneAction::PrepareSegment`].
    pub fn on_segment_ready(&mut self, now: Now, segment: u32, result: Result<(), i32>) {
        if segment != self.next.0 {
            return;
        }
        self.next_failed = result.is_err();
        self.next.1 = match result {
            Ok(()) => Next::Ready,
            Err(errno) => Next::Failed { errno, again_us: now.monotonic_us + PREPARE_RETRY_US },
        };
    }

    /// The next run that became durable, in the order of [`LaneWriter::append`].
    pub fn pop_durable(&mut self) -> Option<Durable> {
        self.durable.pop_front()
    }

    /// When [`LaneWriter::poll`] must be called at the latest, monotonic microseconds; a time
    /// already past: now. `None`: not before the next input.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let retry = match self.next.1 {
            Next::Failed { again_us, .. } => Some(again_us),
            Next::Unasked | Next::Asked | Next::Ready => None,
        };
        let due = match &self.state {
            State::Failed(_) => return None,
            State::Writing(_) | State::Syncing(_) => None,
            State::Rest { .. } | State::Unsynced(_) => Some(0),
            State::Idle => self.waiting.front().and_then(|oldest| {
                let blocked = self.needs_segment()
                    && matches!(self.next.1, Next::Asked | Next::Failed { .. });
                let is_due = self.waiting.len() > 1
                    || oldest.urgent
                    || oldest.used() >= self.settings.gather_bytes;
                let wait = if is_due { 0 } else { self.settings.gather_us };
                (!blocked).then_some(oldest.oldest_us.saturating_add(wait))
            }),
        };
        match (due, retry) {
            (Some(due), Some(retry)) => Some(due.min(retry)),
            (due, retry) => due.or(retry),
        }
    }

    /// Bytes that wait or are in flight.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether nothing waits and nothing is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle) && self.waiting.is_empty()
    }

    /// Whether a write or sync is in flight whose completion must still be given in. A failed
    /// lane may be dropped when this is false.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        matches!(self.state, State::Writing(_) | State::Syncing(_))
    }

    /// The errno of the failure that stopped the lane, if it has stopped.
    #[must_use]
    pub fn failure(&self) -> Option<i32> {
        match self.state {
            State::Failed(errno) => Some(errno),
            State::Idle
            | State::Rest { .. }
            | State::Writing(_)
            | State::Unsynced(_)
            | State::Syncing(_) => None,
        }
    }

    /// Whether the lane has failed and must be reopened by recovery.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.failure().is_some()
    }

    /// Errno with which the next segment could not be made, until it is.
    #[must_use]
    pub fn segment_failure(&self) -> Option<i32> {
        match self.next.1 {
            Next::Failed { errno, .. } => Some(errno),
            Next::Unasked | Next::Asked | Next::Ready => None,
        }
    }

    /// No next segment can be made and the current one is nearly full. Whoever asks this before it
    /// accepts a message can refuse it in time; what was accepted before still finds room.
    #[must_use]
    pub fn is_short_of_room(&self) -> bool {
        let room_kept = self.settings.segment_bytes / ROOM_KEPT_SHARE;
        let is_nearly_full = |current: &Current| {
            current.offset + self.waiting_bytes as u64 + room_kept > current.bytes
        };
        self.next_failed && self.current.as_ref().is_none_or(is_nearly_full)
    }

    /// What was done since the lane was opened.
    #[must_use]
    pub fn counters(&self) -> LaneCounters {
        self.counters
    }

    /// The lane's number.
    #[must_use]
    pub fn lane(&self) -> u8 {
        self.lane
    }

    /// Segment that is being written; before the first is ready, the one that will be. Recovery
    /// that starts here sees everything appended from now on.
    #[must_use]
    pub fn segment(&self) -> u32 {
        self.current.as_ref().map_or(self.next.0, |current| current.segment)
    }

    fn complete(&mut self, now: Now, batch: &InFlight) {
        let base = Location::new(self.lane, batch.segment, batch.start);
        for mark in self.runs.drain(..batch.runs) {
            let base = Location::of(base, mark.offset);
            self.durable.push_back(Durable { host: mark.host, run: mark.run, base });
        }
        self.waiting_bytes -= batch.run_bytes;
        let took_us = now.monotonic_us.saturating_sub(batch.begun_us);
        self.counters.batches += 1;
        self.counters.runs += batch.runs as u64;
        self.counters.bytes += batch.written;
        self.counters.durable_us += took_us;
        self.counters.durable_us_max = self.counters.durable_us_max.max(took_us);
        self.state = State::Idle;
    }

    fn fail(&mut self, errno: i32) {
        self.state = State::Failed(errno);
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.runs.clear();
        self.spare_buffers.clear();
    }

    fn keep_buffer(&mut self, bytes: Vec<u8>) {
        if self.spare_buffers.len() < SPARE_BUFFERS_MAX {
            self.spare_buffers.push(bytes);
        }
    }
}
