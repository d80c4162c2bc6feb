//! Output commit: what a host says leaves only when every record it may rest on is durable.
//!
//! Records of a turn form a run. Output of a turn is bound to the last run sealed, whether it
//! needs it or not: one comparison per batch instead of a proof per frame. That is the whole
//! argument for "acknowledged means durable" and "no number is shown before it is durable".
//!
//! Invariant: batches leave in the order in which they were made.

use super::counters::{HostCounters, Mark};
use super::origins::Origins;
use super::settings::{HostSettings, RUN_CUT_BYTES, SPARE_BUFFERS_MAX, SPARE_BYTES_MAX};
use super::{Outputs, RunOutput};
use crate::origin::Origin;
use crate::store::log::Location;
use std::collections::VecDeque;

/// A place in a frame where the location of a message is wanted that has none yet.
#[derive(Clone, Copy)]
struct Patch {
    run: u64,
    /// Where the eight bytes stand in the batch.
    at: usize,
    /// Where the message stands in the run.
    offset: u64,
}

#[derive(Default)]
struct PeerBatch {
    bytes: Vec<u8>,
    patches: Vec<Patch>,
}

struct Held {
    run: u64,
    to: Origin,
    bytes: Vec<u8>,
}

pub(crate) struct Commit {
    /// Run being built.
    pub number: u64,
    pub run: Vec<u8>,
    pub urgent: bool,
    /// Runs that were cut before the turn's end.
    cut: Vec<RunOutput>,
    /// Last durable run.
    durable: u64,
    pub origins: Origins,
    peers: Vec<PeerBatch>,
    held: VecDeque<Held>,
    held_peers: VecDeque<(u64, u16, PeerBatch)>,
    ready: Vec<(u16, Vec<u8>)>,
    ready_peers: Vec<(u16, Vec<u8>)>,
    held_bytes: usize,
    spare: Vec<Vec<u8>>,
}

impl Commit {
    pub fn new(settings: &HostSettings) -> Commit {
        Commit {
            number: 1,
            run: Vec::new(),
            urgent: false,
            cut: Vec::new(),
            durable: 0,
            origins: Origins::new(settings.workers),
            peers: (0..settings.hosts).map(|_| PeerBatch::default()).collect(),
            held: VecDeque::new(),
            held_peers: VecDeque::new(),
            ready: Vec::new(),
            ready_peers: Vec::new(),
            held_bytes: 0,
            spare: Vec::new(),
        }
    }

    /// Batch of this turn for an origin.
    pub fn down(&mut self, worker: Origin) -> &mut Vec<u8> {
        self.origins.down(worker)
    }

    /// Forgets what is said to an origin that goes.
    pub fn forget_origin(&mut self, number: u16) {
        self.ready.retain(|(to, _)| *to != number);
        let held_bytes = &mut self.held_bytes;
        self.held.retain(|held| {
            let goes = held.to.number() == number;
            *held_bytes -= if goes { held.bytes.len() } else { 0 };
            !goes
        });
    }

    /// Forgets what is said to another host, whose link is lost.
    pub fn forget_peer(&mut self, host: u16) {
        self.peers[usize::from(host)] = PeerBatch::default();
        self.ready_peers.retain(|(to, _)| *to != host);
        let held_bytes = &mut self.held_bytes;
        self.held_peers.retain(|(_, to, batch)| {
            let goes = *to == host;
            *held_bytes -= if goes { batch.bytes.len() } else { 0 };
            !goes
        });
    }

    /// Batch of this turn for another host.
    pub fn peer(&mut self, host: u16) -> &mut Vec<u8> {
        &mut self.peers[usize::from(host)].bytes
    }

    /// The eight bytes at `at` of the batch for `host` are to become the location of what stands
    /// at `offset` of the run being built.
    pub fn patch_peer(&mut self, host: u16, at: usize, offset: u64) {
        self.peers[usize::from(host)].patches.push(Patch { run: self.number, at, offset });
    }

    /// Something appended is not durable.
    pub fn is_waiting(&self) -> bool {
        !self.run.is_empty() || self.durable + 1 < self.number
    }

    /// The last run that has records: built or sealed.
    pub fn last(&self) -> u64 {
        if self.run.is_empty() { self.number - 1 } else { self.number }
    }

    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Output waits that may leave with the next seal.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
            || !self.ready_peers.is_empty()
            || !self.run.is_empty()
            || !self.cut.is_empty()
            || self.origins.is_touched()
            || self.peers.iter().any(|batch| !batch.bytes.is_empty())
    }

    /// `run` is on disk, its first byte at `base`.
    pub fn release(&mut self, run: u64, base: Location) {
        self.durable = self.durable.max(run);
        while self.held.front().is_some_and(|held| held.run <= run) {
            let held = self.held.pop_front().expect("the front was just looked at");
            self.held_bytes -= held.bytes.len();
            self.ready.push((held.to.number(), held.bytes));
        }
        for (.., batch) in &mut self.held_peers {
            for patch in batch.patches.iter().filter(|patch| patch.run == run) {
                let location = base.plus(patch.offset).0.to_le_bytes();
                batch.bytes[patch.at..patch.at + 8].copy_from_slice(&location);
            }
        }
        while self.held_peers.front().is_some_and(|(wanted, ..)| *wanted <= run) {
            let (_, host, batch) = self.held_peers.pop_front().expect("just looked at");
            self.held_bytes -= batch.bytes.len();
            self.ready_peers.push((host, batch.bytes));
        }
    }

    /// Ends the run if it is long enough: the store takes runs of bounded length. Called between
    /// messages, so that a message and its entries on this host stand in one run.
    pub fn cut_long_run(&mut self) {
        if self.run.len() >= RUN_CUT_BYTES {
            self.cut_run();
        }
    }

    fn cut_run(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let records = std::mem::replace(&mut self.run, self.spare.pop().unwrap_or_default());
        self.cut.push(RunOutput { number: self.number, records, urgent: self.urgent });
        self.number += 1;
        self.urgent = false;
    }

    /// End of turn: the runs go out, and of the rest what may.
    pub fn seal(&mut self, same_lane: bool, out: &mut Outputs, counters: &mut HostCounters) {
        self.cut_run();
        out.runs.append(&mut self.cut);
        let last = self.number - 1;
        out.downlinks.append(&mut self.ready);
        out.peers.append(&mut self.ready_peers);
        let spare = &mut self.spare;
        while let Some((to, bytes)) = self.origins.next_batch(|| spare.pop().unwrap_or_default()) {
            if self.durable >= last {
                out.downlinks.push((to.number(), bytes));
            } else {
                self.held_bytes += bytes.len();
                self.held.push_back(Held { run: last, to, bytes });
            }
        }
        for host in 0..self.peers.len() {
            if self.peers[host].bytes.is_empty() {
                continue;
            }
            let spare = self.spare.pop().unwrap_or_default();
            let fresh = PeerBatch { bytes: spare, patches: Vec::new() };
            let batch = std::mem::replace(&mut self.peers[host], fresh);
            // A batch that names a place in the run can only leave when the place is known, and
            // none may overtake it.
            let may_leave = same_lane && batch.patches.is_empty() && self.held_peers.is_empty();
            if may_leave || self.durable >= last {
                out.peers.push((host as u16, batch.bytes));
            } else {
                counters.hit(Mark::PeerBatchHeld);
                self.held_bytes += batch.bytes.len();
                self.held_peers.push_back((last, host as u16, batch));
            }
        }
        counters.held_bytes = self.held_bytes as u64;
        counters.held_bytes_high = counters.held_bytes_high.max(counters.held_bytes);
    }

    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS_MAX && buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}
