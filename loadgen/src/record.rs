//! The coordinator's book of a run: what the workers handed over, second by second and as a whole.

use std::collections::BTreeMap;

use crate::{
    report::StageFigures,
    tally::{Interval, Latency, Shared, Stage},
};

/// See the module.
#[derive(Debug, Default)]
pub struct Record {
    whole: BTreeMap<Stage, Latency>,
}

impl Record {
    /// Takes what a worker has handed over.
    pub fn take(&mut self, shared: &Shared) {
        for interval in shared.take() {
            self.add(shared, interval);
        }
    }

    fn add(&mut self, shared: &Shared, interval: Interval) {
        for (stage, latency) in Stage::ALL.iter().zip(interval.stages) {
            let Some(latency) = latency else { continue };
            self.whole.entry(*stage).or_default().add(&latency);
            shared.give_back(latency);
        }
    }

    /// Each stage over the whole run.
    pub fn stages(&self) -> BTreeMap<Stage, StageFigures> {
        self.whole.iter().map(|(stage, latency)| (*stage, StageFigures::from(latency))).collect()
    }
}
