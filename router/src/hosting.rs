//! A shard host on a worker: feeds the pure [`Host`] and carries out what it and its lane ask.
//!
//! Invariants: a run is handed to its lane before any batch that rests on it leaves for another
//! host (the entry then stands behind its message in the lane); what a host says reaches workers
//! only through [`Host::seal`], which holds it until it is durable.
//!
//! A failed write stops the lane. All hosts of the process then drop their state together, wait
//! for recovery from disk, and begin a new *life*; parcels of an earlier life are void.
//! Connections stay meanwhile, and senders hear "storage unavailable".

pub mod disk_thread;
pub mod disk_work;
mod files;
mod lane;
mod limits;
mod parcel;
mod reads;
mod rebuild;
mod refuse;
pub mod storage;

pub use files::{FileEvent, FileMode, LogFile, LogFiles};
pub use limits::{ANSWERS_MAX, CHECKPOINT_BYTES};
pub use parcel::{Parcel, Parcels, Reach};
pub use refuse::refuse;

use crate::{Host, HostSettings, Location, Outputs, metrics::HostMetrics};
use hawser_codec::time::Now;
use lane::LaneShell;
use reads::SegmentReader;
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};
use storage::{Background, Done, Job, Rebuilt, StorageSettings};

/// Marks a batch that came from the worker this host lives on.
const FRAME_LENGTH_BYTES: usize = 4;

enum Life {
    /// Serving.
    Host(Box<Host>),
    /// The last write or read of the failed life is awaited.
    Quiescing,
    /// Recovery is under way.
    Rebuilding,
}

struct Checkpoint {
    next_shard: u16,
    /// Run that has to be durable before the checkpoint may count.
    after_run: u64,
}

/// See the module.
pub struct Hosting {
    index: u16,
    settings: HostSettings,
    storage: Arc<StorageSettings>,
    background: Box<dyn Background>,
    metrics: Arc<HostMetrics>,
    life: Life,
    life_number: u32,
    lane: Option<LaneShell>,
    lane_owner: u16,
    /// Worker whose thread this is.
    local_worker: Option<u16>,
    reader: SegmentReader,
    outputs: Outputs,
    local: VecDeque<Vec<u8>>,
    /// Runs for the lane of another host, peer batches and downlinks, in order.
    outgoing: Vec<(usize, Parcel)>,
    /// Parcels of a life this host has not begun yet.
    early: VecDeque<(u16, Parcel)>,
    /// Deadline of the host's timers.
    deadline_us: Option<u64>,
    last_run: u64,
    durable_run: u64,
    bytes_since_checkpoint: u64,
    checkpoint: Option<Checkpoint>,
    spare: Vec<Vec<u8>>,
}

impl Hosting {
    /// A host that begins with what recovery gave it.
    pub fn new(
        settings: HostSettings,
        now: Now,
        storage: Arc<StorageSettings>,
        background: Box<dyn Background>,
        metrics: Arc<HostMetrics>,
        rebuilt: Rebuilt,
    ) -> Self {
        let index = settings.host;
        let mut hosting = Self {
            index,
            lane_owner: if rebuilt.lane.is_some() { index } else { index % storage.lanes },
            local_worker: Some(index),
            reader: SegmentReader::new(storage.directory.clone()),
            settings,
            storage,
            background,
            metrics,
            life: Life::Rebuilding,
            life_number: 0,
            lane: None,
            outputs: Outputs::default(),
            local: VecDeque::new(),
            outgoing: Vec::new(),
            early: VecDeque::new(),
            deadline_us: None,
            last_run: 0,
            durable_run: 0,
            bytes_since_checkpoint: 0,
            checkpoint: None,
            spare: Vec::new(),
        };
        hosting.begin_life(now, rebuilt);
        hosting
    }

    /// A host without a worker on its thread: all it says leaves as parcels.
    #[must_use]
    pub fn without_worker(mut self) -> Self {
        self.local_worker = None;
        self
    }

    /// Counts from 1 how often the host has begun anew.
    pub fn life(&self) -> u32 {
        self.life_number
    }

    /// The pure host, unless it is being rebuilt.
    pub fn host(&self) -> Option<&Host> {
        match &self.life {
            Life::Host(host) => Some(host),
            Life::Quiescing | Life::Rebuilding => None,
        }
    }

    /// Something is not yet durable or not yet handed on.
    pub fn is_busy(&self) -> bool {
        self.durable_run < self.last_run || self.lane.as_ref().is_some_and(LaneShell::is_busy)
    }

    /// Monotonic time at which the next turn is due, microseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        let lane = self.lane.as_ref().and_then(LaneShell::next_deadline);
        let host = self.host().and_then(Host::next_deadline);
        // One that waits for its last run is woken by it: on a full disk that may take for ever.
        let checkpoint = self.checkpoint.as_ref().and_then(|checkpoint| {
            let goes_on = checkpoint.next_shard < 256 || self.durable_run >= checkpoint.after_run;
            goes_on.then_some(0)
        });
        [lane, host, checkpoint].into_iter().flatten().min()
    }

    /// An empty batch for uplinks.
    pub fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a batch back.
    pub fn recycle(&mut self, mut batch: Vec<u8>) {
        if self.spare.len() < limits::SPARE_BATCHES_MAX
            && batch.capacity() <= limits::SPARE_BATCH_BYTES_MAX
        {
            batch.clear();
            self.spare.push(batch);
        }
    }

    /// Next batch for the worker this host lives on.
    pub fn pop_local_downlink(&mut self) -> Option<Vec<u8>> {
        self.local.pop_front()
    }

    /// A parcel from worker `from` (the own one included).
    pub fn on_parcel(&mut self, now: Now, from: u16, parcel: Parcel) {
        if let Some(life) = parcel.life()
            && life != self.life_number
        {
            if life > self.life_number {
                self.early.push_back((from, parcel));
            }
            return;
        }
        match parcel {
            Parcel::Uplink(batch) => {
                self.on_uplinks(now, from, &batch);
                self.recycle(batch);
            }
            Parcel::Peer { batch, .. } => {
                self.on_peer_batch(now, from, &batch);
                self.recycle(batch);
            }
            Parcel::Run { run, urgent, records, .. } => {
                if let Some(lane) = &mut self.lane {
                    lane.queue(from, run, records, urgent);
                }
            }
            Parcel::Durable { run, base, .. } => self.on_durable(now, run, base),
            Parcel::Storage { available, .. } => self.set_storage(available),
            Parcel::Failed { .. } => self.fail(),
            Parcel::Downlink(_)
            | Parcel::ToRouter { .. }
            | Parcel::FromRouter { .. }
            | Parcel::Reach { .. } => {}
        }
    }

    /// Tells the host something that is no batch; one that is being rebuilt does not hear it.
    pub fn tell(&mut self, now: Now, what: impl FnOnce(&mut Host)) {
        if let Life::Host(host) = &mut self.life {
            what(host);
            self.seal(now);
        }
    }

    /// A batch of another process's host, for this life of this one.
    pub fn on_peer_batch(&mut self, now: Now, from: u16, batch: &[u8]) {
        if let Life::Host(host) = &mut self.life
            && host.on_peer(now, from, batch).is_err()
        {
            self.metrics.link_damaged.add(1);
        }
        self.seal(now);
    }

    /// Feeds a batch of a worker or origin in slices, so that no run grows beyond what a lane
    /// takes.
    pub fn on_uplinks(&mut self, now: Now, worker: u16, batch: &[u8]) {
        if !matches!(self.life, Life::Host(_)) {
            return self.refuse_all(worker, batch);
        }
        let mut rest = batch;
        while !rest.is_empty() {
            let slice = cut_at_frame(rest, limits::UPLINK_SLICE_BYTES);
            let (head, tail) = rest.split_at(slice);
            rest = tail;
            let Life::Host(host) = &mut self.life else { return };
            if host.on_uplink(now, worker, head).is_err() {
                self.metrics.link_damaged.add(1);
                return;
            }
            self.seal(now);
        }
    }

    /// Ends a run: hands records to the lane, then batches to whom they are for.
    fn seal(&mut self, now: Now) {
        let Life::Host(host) = &mut self.life else { return };
        let mut outputs = std::mem::take(&mut self.outputs);
        host.seal(now, &mut outputs);
        self.deadline_us = host.next_deadline();
        let life = self.life_number;
        for run in outputs.runs.drain(..) {
            self.last_run = run.number;
            self.bytes_since_checkpoint += run.records.len() as u64;
            let (run, urgent, records) = (run.number, run.urgent, run.records);
            match &mut self.lane {
                Some(lane) if self.lane_owner == self.index => {
                    lane.queue(self.index, run, records, urgent);
                }
                _ => {
                    let parcel = Parcel::Run { life, run, urgent, records };
                    self.outgoing.push((usize::from(self.lane_owner), parcel));
                }
            }
        }
        for (host, batch) in outputs.peers.drain(..) {
            self.outgoing.push((usize::from(host), Parcel::Peer { life, batch }));
        }
        for (worker, batch) in outputs.downlinks.drain(..) {
            if self.local_worker == Some(worker) {
                self.local.push_back(batch);
            } else {
                self.outgoing.push((usize::from(worker), Parcel::Downlink(batch)));
            }
        }
        for read in outputs.reads.drain(..) {
            self.reader.queue(read);
        }
        self.outputs = outputs;
    }

    fn on_durable(&mut self, now: Now, run: u64, base: Location) {
        self.durable_run = self.durable_run.max(run);
        if let Life::Host(host) = &mut self.life {
            host.on_durable(now, run, base);
        }
    }

    fn set_storage(&mut self, available: bool) {
        if let Life::Host(host) = &mut self.life {
            host.set_storage(available);
        }
    }

    /// A completion of a write, sync or read of this host.
    pub fn on_file<F: LogFiles>(&mut self, now: Now, event: FileEvent, files: &mut F) {
        match event {
            FileEvent::Written(result, bytes) => {
                if let Some(lane) = &mut self.lane {
                    lane.on_written(now, result, bytes, &self.metrics);
                }
            }
            FileEvent::Synced(result) => {
                if let Some(lane) = &mut self.lane {
                    lane.on_synced(now, result, &self.metrics);
                }
            }
            FileEvent::Read(token, result) => {
                let Some((life, id)) = self.reader.on_read(token, files) else { return };
                if let Life::Host(host) = &mut self.life
                    && life == self.life_number
                {
                    host.on_read(now, id, result.as_deref().map_err(|errno| *errno));
                }
            }
        }
    }

    /// The host's part of a turn, after all that came in.
    pub fn turn<F: LogFiles, P: Parcels>(&mut self, now: Now, files: &mut F, others: &mut P) {
        while let Some(done) = self.background.poll() {
            self.on_done(now, done);
        }
        self.collect_durable(now, others);
        if let Life::Host(host) = &mut self.life
            && host.next_deadline().is_some_and(|at| at <= now.monotonic_us)
        {
            host.on_deadline(now);
        }
        self.seal(now);
        self.drive_lane(now, files, others);
        self.reader.submit(self.life_number, files, |id, errno| {
            if let Life::Host(host) = &mut self.life {
                host.on_read(now, id, Err(errno));
            }
        });
        self.step_checkpoint();
        self.step_rebuild(files);
        for (to, parcel) in self.outgoing.drain(..) {
            others.send(to, parcel);
        }
        self.export();
    }

    fn on_done(&mut self, now: Now, done: Done) {
        match done {
            Done::Segment { lane, segment, result } => {
                if let Some(shell) = &mut self.lane
                    && shell.number() == lane
                {
                    shell.on_segment_ready(now, segment, result);
                }
            }
            Done::Checkpoint(Ok(())) => self.metrics.checkpoints.add(1),
            Done::Checkpoint(Err(error)) => {
                self.metrics.checkpoint_failures.add(1);
                tracing::warn!(host = self.index, %error, "checkpoint failed; the next one will cover it");
            }
            Done::Dropped { lane, below } => {
                if let Life::Host(host) = &mut self.life {
                    host.on_segments_dropped(lane, below);
                }
            }
            Done::Rebuilt(rebuilt) => self.on_rebuilt(now, *rebuilt),
        }
    }

    /// One shard a turn, so that a checkpoint of millions of users stalls nobody.
    fn step_checkpoint(&mut self) {
        let Life::Host(host) = &self.life else {
            self.checkpoint = None;
            return;
        };
        if self.checkpoint.is_none() {
            if self.bytes_since_checkpoint < self.storage.checkpoint_bytes {
                return;
            }
            self.bytes_since_checkpoint = 0;
            // One segment lower than the one being written: a message just before the sections
            // may have its entry still between hosts, and a replay must meet both. So must that of
            // a message another process has not confirmed.
            let segments = self.storage.segments.iter().enumerate();
            let starts = segments.map(|(lane, segment)| {
                let below = segment.load(Ordering::Acquire).saturating_sub(1).max(1);
                let unconfirmed = host.oldest_unconfirmed(lane as u8).unwrap_or(below);
                (lane as u8, below.min(unconfirmed))
            });
            let job = Job::BeginCheckpoint { host: self.index, starts: starts.collect() };
            self.background.submit(job);
            let next_shard = if self.settings.remote { 0 } else { self.index };
            self.checkpoint = Some(Checkpoint { next_shard, after_run: 0 });
            return;
        }
        let Some(checkpoint) = &mut self.checkpoint else { return };
        if checkpoint.next_shard < 256 {
            let shard = checkpoint.next_shard as u8;
            let mut bytes = Vec::new();
            let position = host.checkpoint_section(shard, &mut bytes).unwrap_or(0);
            // Alone in its directory, a router vouches for shards it does not have, too.
            checkpoint.next_shard += if self.settings.remote { 1 } else { self.settings.hosts };
            // The host may hold records it has not sealed yet; the section reflects them.
            checkpoint.after_run = host.last_run();
            let host = self.index;
            self.background.submit(Job::CheckpointSection { host, shard, position, bytes });
        } else if self.durable_run >= checkpoint.after_run {
            // Sections hold what was appended, durable or not; only now is all of it on disk.
            self.background.submit(Job::CommitCheckpoint { host: self.index });
            self.checkpoint = None;
        }
    }

    fn export(&self) {
        let Life::Host(host) = &self.life else { return };
        self.metrics.publish(&host.counters());
        if let Some(lane) = &self.lane {
            self.metrics.lane_waiting_bytes.set(lane.waiting_bytes() as u64);
        }
    }
}

/// Whether an entry may leave for another host before its message is durable, because it will
/// stand behind it in the lane. With three hosts and one lane a run and the batch that rests on
/// it travel through different queues, and the entry could reach the lane first.
pub fn rests_on_one_lane(hosts: u16, lanes: u16) -> bool {
    lanes == 1 && hosts <= 2
}

/// Length of the longest prefix of whole frames within `bytes_max`, at least one frame.
fn cut_at_frame(batch: &[u8], bytes_max: usize) -> usize {
    if batch.len() <= bytes_max {
        return batch.len();
    }
    let mut at = 0;
    while let Some(length) = batch.get(at..at + FRAME_LENGTH_BYTES) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = at + FRAME_LENGTH_BYTES + length;
        if end > bytes_max && at > 0 {
            break;
        }
        at = end;
    }
    at.min(batch.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let mut frame = (length as u32).to_le_bytes().to_vec();
        frame.resize(FRAME_LENGTH_BYTES + length, 7);
        frame
    }

    #[test]
    fn a_long_batch_is_cut_between_frames() {
        let batch = [frame(10), frame(20), frame(30)].concat();
        assert_eq!(cut_at_frame(&batch, 1000), batch.len());
        assert_eq!(cut_at_frame(&batch, 40), 14 + 24);
        assert_eq!(cut_at_frame(&batch, 14), 14);
        // A single frame above the bound still goes, alone.
        assert_eq!(cut_at_frame(&batch, 3), 14);
        assert_eq!(cut_at_frame(&batch[14..], 3), 24);
    }
}
