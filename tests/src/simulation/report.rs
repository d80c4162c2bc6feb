//! How often what was met, over all seeds of a run of the simulator.

use super::run::Verdict;
use hawser_ring::sim::{Fault, FaultCounts};
use hawser_router::host::Mark;
use std::{collections::BTreeMap, fmt};

/// Marks that well-behaved clients of one process whose log keeps everything never reach. Clients
/// that break the rules, retention, streams between processes, and mailboxes of thousands of
/// entries have tests of their own.
const OUT_OF_REACH: [Mark; 19] = [
    Mark::StreamRepeated,
    Mark::ConfirmBeyondHead,
    Mark::NumberReused,
    Mark::Superseded,
    Mark::TooOld,
    Mark::FloorRaised,
    Mark::WindowExpired,
    Mark::IndexWritten,
    Mark::PageThroughIndex,
    Mark::PageCutByBytes,
    Mark::BlockOfReferences,
    Mark::OriginGone,
    Mark::StreamBackedUp,
    Mark::StreamFellBack,
    Mark::StreamLive,
    Mark::StreamMiscounted,
    Mark::StreamReopened,
    Mark::StreamStale,
    Mark::StreamedFromLog,
];
/// As [`OUT_OF_REACH`], of routers that are processes of their own.
const OUT_OF_REACH_OF_ROUTERS: [Mark; 14] = [
    Mark::StreamRepeated,
    Mark::StreamedAgain,
    // Nothing is lost within a TCP stream: see the planted loss.
    Mark::StreamReopened,
    Mark::StreamMiscounted,
    Mark::ConfirmBeyondHead,
    Mark::NumberReused,
    Mark::Superseded,
    Mark::TooOld,
    Mark::FloorRaised,
    Mark::WindowExpired,
    Mark::IndexWritten,
    Mark::PageThroughIndex,
    Mark::PageCutByBytes,
    Mark::BlockOfReferences,
];
/// What only clients of publish/subscribe and of HTTP reach, and the simulator has none: the router's
/// games of topics and of kept sessions (`topic_property`, `session_property`) meet them.
const OF_TOPICS: [Mark; 18] = [
    Mark::FollowRefused,
    Mark::PublishBeforeFollowing,
    Mark::PublishRepeated,
    Mark::QueueFull,
    Mark::QueueRead,
    Mark::RetainedExpired,
    Mark::RetainedSearchCut,
    Mark::RoutesSwept,
    Mark::SessionAnnounced,
    Mark::SessionExpired,
    Mark::SessionLost,
    Mark::SessionTaken,
    Mark::ShareToHome,
    Mark::ShareToWorker,
    Mark::TopicStreamedAgain,
    Mark::UnnumberedFull,
    Mark::WillPublished,
    Mark::WillWaits,
];
/// Marks of faults of our own: a hit is a violation.
pub const FORBIDDEN: [Mark; 1] = [Mark::StreamGap];

/// Not to be met here at all.
fn is_elsewhere(mark: Mark) -> bool {
    OF_TOPICS.contains(&mark) || FORBIDDEN.contains(&mark)
}

/// Sums over seeds.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    seeds: u64,
    messages: u64,
    faults: FaultCounts,
    marks: BTreeMap<String, u64>,
}

/// Marks hit by name, in order.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    by_name: BTreeMap<String, u64>,
    /// Connections that gateways have ended, other than at the client's end or wish, because of a
    /// login elsewhere, or to leave.
    pub dropped: u64,
    /// Streams between routers that were opened again because an entry was missing: none, unless a
    /// loss is planted.
    pub reopened: u64,
}

impl Marks {
    /// Adds to a mark, so that it is listed even if never hit.
    pub fn add(&mut self, name: &str, count: u64) {
        *self.by_name.entry(name.to_owned()).or_default() += count;
    }

    /// Adds one of the host of a router that is a process of its own.
    pub fn add_host_of_list(&mut self, mark: Mark, count: u64) {
        if !OUT_OF_REACH_OF_ROUTERS.contains(&mark) && !is_elsewhere(mark) {
            self.add(&format!("{mark:?}"), count);
        }
    }

    /// Adds one of a shard host.
    pub fn add_host(&mut self, mark: Mark, count: u64) {
        if !OUT_OF_REACH.contains(&mark) && !is_elsewhere(mark) {
            self.add(&format!("{mark:?}"), count);
        }
    }
}

impl Totals {
    /// Adds one run.
    pub fn add(&mut self, verdict: &Verdict) {
        self.seeds += 1;
        self.messages += verdict.messages as u64;
        self.faults.add(&verdict.faults);
        for (name, count) in &verdict.marks.by_name {
            *self.marks.entry(name.clone()).or_default() += count;
        }
    }

    /// Faults and marks that were never hit.
    pub fn never(&self) -> Vec<String> {
        let faults = self.faults.iter().filter(|(_, count)| *count == 0);
        let faults = faults.map(|(fault, _)| format!("{fault:?}"));
        let marks = self.marks.iter().filter(|(_, count)| **count == 0);
        faults.chain(marks.map(|(name, _)| name.clone())).collect()
    }

    /// Times a mark was hit.
    pub fn of_mark(&self, name: &str) -> u64 {
        self.marks.get(name).copied().unwrap_or(0)
    }

    /// Times a fault was hit.
    pub fn of(&self, fault: Fault) -> u64 {
        self.faults.of(fault)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} seeds, {} messages", self.seeds, self.messages)?;
        for (fault, count) in self.faults.iter() {
            writeln!(out, "{count:>10}  fault {fault:?}")?;
        }
        for (name, count) in &self.marks {
            writeln!(out, "{count:>10}  {name}")?;
        }
        Ok(())
    }
}
