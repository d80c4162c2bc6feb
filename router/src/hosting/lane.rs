//! Shell of the lane this host owns: files, and the queue of runs not yet taken.

use super::*;
use crate::store::log::{LaneAction, LanePolicy, LaneWriter, segment};

/// A run on its way into the lane.
struct Waiting {
    host: u16,
    run: u64,
    urgent: bool,
    records: Vec<u8>,
}

pub(super) struct LaneShell {
    writer: LaneWriter,
    waiting: VecDeque<Waiting>,
    spent: Vec<Vec<u8>>,
    file: Option<(u32, LogFile)>,
    in_flight: bool,
    started_us: u64,
    /// The next write waits for company until then.
    paced_until_us: Option<u64>,
    was_available: bool,
    open_failure: bool,
}

impl LaneShell {
    pub fn new(writer: LaneWriter) -> Self {
        Self {
            writer,
            waiting: VecDeque::new(),
            spent: Vec::new(),
            file: None,
            in_flight: false,
            started_us: 0,
            paced_until_us: None,
            was_available: true,
            open_failure: false,
        }
    }

    pub fn number(&self) -> u8 {
        self.writer.lane()
    }

    pub fn waiting_bytes(&self) -> usize {
        self.writer.waiting_bytes()
    }

    pub fn is_busy(&self) -> bool {
        self.in_flight || !self.waiting.is_empty() || !self.writer.is_idle()
    }

    pub fn in_flight(&self) -> bool {
        self.in_flight
    }

    pub fn is_failed(&self) -> bool {
        self.writer.is_failed() || self.open_failure
    }

    pub fn failure(&self) -> i32 {
        self.writer.failure().unwrap_or(0)
    }

    pub fn next_deadline(&self) -> Option<u64> {
        let deadline = self.writer.next_deadline()?;
        Some(self.paced_until_us.map_or(deadline, |paced| deadline.min(paced)))
    }

    pub fn queue(&mut self, host: u16, run: u64, records: Vec<u8>, urgent: bool) {
        self.waiting.push_back(Waiting { host, run, urgent, records });
    }

    pub fn on_segment_ready(&mut self, now: Now, segment: u32, result: Result<(), i32>) {
        if let Err(errno) = result {
            let error = std::io::Error::from_raw_os_error(errno);
            tracing::warn!(lane = self.number(), segment, %error, "no new segment; senders are refused until there is one");
        }
        self.writer.on_segment_ready(now, segment, result);
    }

    pub fn on_written(
        &mut self,
        now: Now,
        result: Result<usize, i32>,
        bytes: Vec<u8>,
        metrics: &HostMetrics,
    ) {
        self.in_flight = false;
        if let Ok(written) = result {
            metrics.batch_bytes.record(written as u64);
        }
        metrics.flush_us.record(now.monotonic_us.saturating_sub(self.started_us));
        self.writer.on_written(now, result, bytes);
    }

    pub fn on_synced(&mut self, now: Now, result: Result<(), i32>, metrics: &HostMetrics) {
        self.in_flight = false;
        metrics.flush_us.record(now.monotonic_us.saturating_sub(self.started_us));
        self.writer.on_synced(now, result);
    }

    /// Moves waiting runs into the writer as far as it takes them.
    fn feed(&mut self, now: Now) {
        while let Some(next) = self.waiting.front() {
            let (host, run, urgent) = (next.host, next.run, next.urgent);
            if self.writer.append(now, host, run, &next.records, urgent).is_err() {
                return;
            }
            if let Some(taken) = self.waiting.pop_front() {
                self.spent.push(taken.records);
            }
        }
    }

    /// New messages are welcome: runs are taken, and few wait.
    fn is_available(&self) -> bool {
        !self.writer.is_failed()
            && !self.writer.is_short_of_room()
            && self.waiting.len() < limits::LANE_RUNS_WAITING_MAX
    }

    fn start<F: LogFiles>(
        &mut self,
        action: LaneAction,
        now: Now,
        storage: &StorageSettings,
        files: &mut F,
    ) {
        match action {
            LaneAction::Write { segment, offset, bytes, range } => {
                storage.segments[usize::from(self.number())].store(segment, Ordering::Release);
                let Some(file) = self.open(segment, storage, files) else {
                    self.open_failure = true;
                    return;
                };
                self.in_flight = true;
                self.started_us = now.monotonic_us;
                files.write(file, offset, bytes, range);
            }
            LaneAction::Sync { segment } => {
                let Some(file) = self.open(segment, storage, files) else {
                    self.open_failure = true;
                    return;
                };
                self.in_flight = true;
                files.sync(file);
            }
            LaneAction::PrepareSegment { .. } => {}
        }
    }

    fn open<F: LogFiles>(
        &mut self,
        segment: u32,
        storage: &StorageSettings,
        files: &mut F,
    ) -> Option<LogFile> {
        if let Some((open, file)) = self.file {
            if open == segment {
                return Some(file);
            }
            files.close(file);
            self.file = None;
        }
        let mode = match storage.lane.policy {
            LanePolicy::DirectDurable => FileMode::DirectDurable,
            LanePolicy::WriteThenSync => FileMode::Buffered,
        };
        let path = storage.directory.join(segment::name(self.number(), segment));
        match files.open(&path, mode) {
            Ok(file) => {
                self.file = Some((segment, file));
                Some(file)
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "segment cannot be opened");
                None
            }
        }
    }

    pub fn close<F: LogFiles>(&mut self, files: &mut F) {
        if let Some((_, file)) = self.file.take() {
            files.close(file);
        }
    }
}

impl Hosting {
    /// Tells hosts, this one included, what has become durable.
    pub(super) fn collect_durable<P: Parcels>(&mut self, now: Now, others: &mut P) {
        while let Some(durable) = self.lane.as_mut().and_then(|lane| lane.writer.pop_durable()) {
            if durable.host == self.index {
                self.on_durable(now, durable.run, durable.base);
            } else {
                let life = self.life_number;
                let (run, base) = (durable.run, durable.base);
                others.send(usize::from(durable.host), Parcel::Durable { life, run, base });
            }
        }
    }

    /// Feeds the lane and starts what it asks for.
    pub(super) fn drive_lane<F: LogFiles, P: Parcels>(
        &mut self,
        now: Now,
        files: &mut F,
        others: &mut P,
    ) {
        let Some(lane) = &mut self.lane else { return };
        lane.feed(now);
        // After a pause a write starts at once; while they follow one another, each waits a little
        // for company, because a write costs the same for one run or a hundred.
        let pace_us = lane.started_us + limits::LANE_PACE_US;
        let paced = now.monotonic_us < pace_us;
        lane.paced_until_us = paced.then_some(pace_us);
        while !lane.in_flight
            && let Some(action) = lane.writer.poll(now, !paced)
        {
            if let LaneAction::PrepareSegment { segment } = action {
                let lane = lane.number();
                self.background.submit(Job::PrepareSegment { lane, segment });
            } else {
                lane.start(action, now, &self.storage, files);
            }
        }
        while let Some(records) = lane.spent.pop() {
            if let Life::Host(host) = &mut self.life {
                host.recycle(records);
            }
        }
        let available = lane.is_available();
        let (changed, failed) = (available != lane.was_available, lane.is_failed());
        lane.was_available = available;
        let errno = lane.failure();
        if failed && matches!(self.life, Life::Host(_)) {
            let error = std::io::Error::from_raw_os_error(errno);
            tracing::error!(host = self.index, %error, "the log cannot be written; recovering from disk");
            for host in (0..self.settings.hosts).filter(|host| *host != self.index) {
                others.send(usize::from(host), Parcel::Failed { life: self.life_number });
            }
            self.fail();
        } else if changed {
            let life = self.life_number;
            for host in (0..self.settings.hosts).filter(|host| *host != self.index) {
                others.send(usize::from(host), Parcel::Storage { life, available });
            }
            self.set_storage(available);
        }
    }
}
