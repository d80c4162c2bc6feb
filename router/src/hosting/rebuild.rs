//! From a failed lane back to service: quiesce, recover from disk, begin a new life.

use super::*;
use crate::store::log::LaneWriter;

impl Hosting {
    /// Drops the state of this life: what was not yet durable was never shown to anybody.
    pub(super) fn fail(&mut self) {
        if matches!(self.life, Life::Host(_)) {
            self.metrics.lane_failures.add(1);
            self.life = Life::Quiescing;
            self.reader.clear();
            self.local.clear();
            self.checkpoint = None;
        }
    }

    /// Asks for recovery once nothing of the failed life is in flight.
    pub(super) fn step_rebuild<F: LogFiles>(&mut self, files: &mut F) {
        let quiet = !self.lane.as_ref().is_some_and(LaneShell::in_flight) && self.reader.is_idle();
        if matches!(self.life, Life::Quiescing) && quiet {
            self.life = Life::Rebuilding;
            if let Some(mut lane) = self.lane.take() {
                lane.close(files);
            }
            self.background.submit(Job::Recover);
        }
    }

    pub(super) fn begin_life(&mut self, now: Now, rebuilt: Rebuilt) {
        self.life_number += 1;
        self.last_run = 0;
        self.durable_run = 0;
        self.lane = rebuilt.lane.map(|opened| {
            let settings = self.storage.lane;
            LaneShell::new(LaneWriter::open(opened.lane, opened.tail, opened.epoch, settings))
        });
        let host = Host::new(self.settings, now, rebuilt.state);
        self.life = Life::Host(Box::new(host));
    }

    pub(super) fn on_rebuilt(&mut self, now: Now, rebuilt: Rebuilt) {
        self.begin_life(now, rebuilt);
        tracing::info!(
            host = self.index,
            life = self.life_number,
            "recovered from disk; serving again"
        );
        for (from, parcel) in std::mem::take(&mut self.early) {
            self.on_parcel(now, from, parcel);
        }
    }

    /// Without a host every question gets an answer that says when to ask again.
    pub(super) fn refuse_all(&mut self, worker: u16, batch: &[u8]) {
        let mut answers = self.spare();
        refuse(batch, limits::STORAGE_RETRY_MS, &mut answers);
        if self.local_worker == Some(worker) {
            self.local.push_back(answers);
        } else {
            self.outgoing.push((usize::from(worker), Parcel::Downlink(answers)));
        }
    }
}
