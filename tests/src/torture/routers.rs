//! Torture of two gateways and two routers: each in its turn is killed with SIGKILL and started
//! again, or paused with SIGSTOP, at random instants under chat.
//!
//! Devices are spread over both gateways at random. Beside what [`super`] asks, no logged-in
//! connection may end but those of a gateway that was killed.

use super::{
    Random,
    chat::{CONNECTIONS, Load, Shared},
};
use crate::{
    company::until,
    ledger::Verdict,
    process::{Gateway, Home, Setup},
    router::Router,
};
use rustix::process::Signal;
use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

/// Of each kind.
const COUNT: usize = 2;

/// Metric of connections that ended, by reason.
const CLOSED: &str = "hawser_gateway_closed_connections_total";

/// What a torture does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kills and pauses in all.
    pub events: u32,
    /// Decides when and to whom, and what is sent to whom.
    pub seed: u64,
    /// Longest time between the end of one event and the next.
    pub pause_max: Duration,
    /// How long a process is stopped, ms.
    pub stopped_ms: RangeInclusive<u64>,
}

/// What is done to one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Kill,
    Pause,
}

/// Events of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Killed with SIGKILL and started again.
    pub kills: u32,
    /// Stopped and continued.
    pub pauses: u32,
}

impl Deeds {
    fn count(&mut self, deed: Deed) {
        match deed {
            Deed::Kill => self.kills += 1,
            Deed::Pause => self.pauses += 1,
        }
    }
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Counts and violations.
    pub verdict: Verdict,
    /// Done to routers.
    pub routers: Deeds,
    /// Done to gateways.
    pub gateways: Deeds,
    /// Events since whose beginning something was acknowledged.
    pub under_load: u32,
    /// Connections that ended with a gateway that was killed.
    pub ended_by_kill: u64,
    /// Connections that ended for no such reason, each event in words.
    pub dropped: Vec<String>,
    /// Connections that the gateways counted before the first event and after the last.
    pub connections: [u64; 2],
    /// Entries that a fresh device of each user read in the end.
    pub audited: u64,
    /// Where the routers' data was left, if something is wrong with it.
    pub kept: Vec<PathBuf>,
}

impl Outcome {
    /// Nothing is wrong and there was something to be wrong.
    pub fn is_clean(&self) -> bool {
        let verdict = &self.verdict;
        let is_correct = verdict.is_clean() && verdict.refused == 0 && verdict.acknowledged > 0;
        is_correct && self.dropped.is_empty() && self.connections == [CONNECTIONS; 2]
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (routers, gateways) = (self.routers, self.gateways);
        writeln!(
            f,
            "routers: {} kills, {} pauses; gateways: {} kills, {} pauses; {} under load",
            routers.kills, routers.pauses, gateways.kills, gateways.pauses, self.under_load
        )?;
        let [before, after] = self.connections;
        writeln!(
            f,
            "connections: {before} before, {after} after; {} ended with a killed gateway, {}",
            self.ended_by_kill,
            if self.dropped.is_empty() { "none otherwise" } else { "and otherwise:" }
        )?;
        self.dropped.iter().try_for_each(|dropped| writeln!(f, "  {dropped}"))?;
        writeln!(f, "audited {} entries on fresh devices", self.audited)?;
        write!(f, "{}", self.verdict)?;
        self.kept.iter().try_for_each(|path| write!(f, "\ndata kept in {}", path.display()))?;
        write!(f, "\nverdict: {}", if self.is_clean() { "clean" } else { "FAILED" })
    }
}

/// The processes.
struct Fleet {
    places: Vec<Home>,
    routers: Vec<Router>,
    gateways: Vec<Gateway>,
}

impl Fleet {
    fn start(setup: &Setup) -> Self {
        let places: Vec<Home> = (0..COUNT).map(|_| Home::new()).collect();
        let list: Vec<SocketAddr> = places.iter().map(Home::native).collect();
        let start = |index: usize| Router::start(&list, index, &places[index].data_dir());
        let routers = (0..COUNT).map(start).collect();
        let names: Vec<String> = list.iter().map(SocketAddr::to_string).collect();
        let setup = setup.clone().argument("--router").argument(names.join(","));
        let gateways = (0..COUNT).map(|_| setup.clone().start()).collect();
        Self { places, routers, gateways }
    }

    fn connections(&self) -> u64 {
        self.gateways
            .iter()
            .map(|gateway| gateway.metric("hawser_gateway_connections{") as u64)
            .sum()
    }

    /// Waits until every device is logged in somewhere.
    fn settle(&self) -> u64 {
        until("all connections", || {
            let connections = self.connections();
            (connections == CONNECTIONS).then_some(connections)
        })
    }

    /// What the gateways count of why connections ended.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for (at, gateway) in self.gateways.iter().enumerate() {
            let (_, page) = gateway.ask("/metrics");
            let lines = page.lines().filter_map(|line| line.strip_prefix(CLOSED));
            let lines = lines.filter(|line| !line.ends_with(" 0"));
            reasons.extend(lines.map(|line| format!("gateway {at}, ended in all: {line}")));
        }
        reasons
    }

    /// Does one deed to router or gateway `at`, counted through both kinds.
    fn suffer(&mut self, at: usize, deed: Deed, stopped: Duration, load: &Load) {
        let signal = |fleet: &Self, signal| match at.checked_sub(COUNT) {
            None => fleet.routers[at].signal(signal),
            Some(at) => fleet.gateways[at].signal(signal),
        };
        match (deed, at.checked_sub(COUNT)) {
            (Deed::Pause, _) => {
                signal(self, Signal::STOP);
                // Only a bounded wait: what it brings does not matter here.
                let _ = load.goes_on_for(stopped);
                signal(self, Signal::CONT);
            }
            (Deed::Kill, None) => {
                self.routers[at].kill();
                let _ = load.goes_on_for(stopped / 8);
                self.routers[at].restart();
            }
            (Deed::Kill, Some(at)) => {
                self.gateways[at].kill();
                self.gateways[at].restart();
            }
        }
    }

    fn keep(self) -> Vec<PathBuf> {
        drop((self.gateways, self.routers));
        self.places.into_iter().map(Home::keep).collect()
    }
}

/// Every deed to every process once, in a random order.
fn round(random: &mut Random) -> Vec<(usize, Deed)> {
    let mut round: Vec<(usize, Deed)> =
        (0..2 * COUNT).flat_map(|at| [(at, Deed::Kill), (at, Deed::Pause)]).collect();
    for at in (1..round.len()).rev() {
        round.swap(at, random.below(at as u64 + 1) as usize);
    }
    round
}

/// Kills, stops and restarts as planned, then judges. Blocks.
///
/// # Panics
/// If a process does not start, or the devices do not come back.
pub fn run(plan: &Plan, setup: &Setup) -> Outcome {
    let mut random = Random(plan.seed);
    let mut fleet = Fleet::start(setup);
    let addresses: Vec<SocketAddr> = fleet.gateways.iter().map(Gateway::native).collect();
    let shared = Shared::new(&addresses, &mut random);
    let load = Load::start(&shared);
    let mut outcome = Outcome::default();
    outcome.connections[0] = fleet.settle();
    let mut left = Vec::new();
    for event in 0..plan.events {
        if left.is_empty() {
            left = round(&mut random);
        }
        let Some((at, deed)) = left.pop() else { break };
        let (first, last) = (*plan.stopped_ms.start(), *plan.stopped_ms.end());
        let stopped = Duration::from_millis(first + random.below(last - first + 1));
        let (acknowledged, drops) = (shared.ledger().acknowledged_count(), shared.drops());
        fleet.suffer(at, deed, stopped, &load);
        let goes_on = load.goes_on_for(random.pause(plan.pause_max));
        if outcome.count(event, at, deed, &drops, &shared.drops()) {
            outcome.dropped.extend(fleet.reasons());
        }
        outcome.under_load += u32::from(shared.ledger().acknowledged_count() > acknowledged);
        if !goes_on || !shared.ledger().is_clean() {
            break;
        }
    }
    outcome.connections[1] = fleet.settle();
    shared.stop();
    outcome.audited = load.join();
    outcome.verdict = shared.ledger().verdict();
    if !outcome.is_clean() {
        outcome.kept = fleet.keep();
    }
    outcome
}

impl Outcome {
    /// Books one event and the connections that ended at each gateway meanwhile; true if one did
    /// that should not have.
    fn count(&mut self, event: u32, at: usize, deed: Deed, before: &[u64], after: &[u64]) -> bool {
        let known = self.dropped.len();
        let (kind, number) = match at.checked_sub(COUNT) {
            None => ("router", at),
            Some(at) => ("gateway", at),
        };
        let deeds = if kind == "router" { &mut self.routers } else { &mut self.gateways };
        deeds.count(deed);
        for (gateway, (before, after)) in before.iter().zip(after).enumerate() {
            let ended = after - before;
            if at == COUNT + gateway && deed == Deed::Kill {
                self.ended_by_kill += ended;
            } else if ended > 0 {
                let what = format!("event {event} ({deed:?} of {kind} {number})");
                self.dropped.push(format!("{what}: {ended} connections of gateway {gateway}"));
            }
        }
        self.dropped.len() > known
    }
}
