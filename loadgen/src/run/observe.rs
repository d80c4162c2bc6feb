//! What a run shows of itself while it goes on.

use std::io::Write;

use crate::{
    report::{Phase, Quantiles, Row},
    tally::{Counters, ErrorKind, Stage},
};

/// What an observer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The run goes on.
    GoOn,
    /// The run drains, reports and ends, as after SIGINT.
    Stop,
}

/// Watches a run; called by the coordinator, which is no part of any message's way.
pub trait Observer {
    /// Called about four times a second from the first connect on, and once at the end of the
    /// drain.
    fn show(&mut self, snapshot: &Snapshot) -> Wish;
}

/// Per second, over the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// First logins.
    pub logins: f64,
    /// Messages the schedule intended.
    pub offered: f64,
    /// Messages done: acknowledged, or delivered where nothing is acknowledged.
    pub achieved: f64,
    /// Messages acknowledged.
    pub acknowledged: f64,
    /// Messages delivered.
    pub delivered: f64,
    /// Connections made again.
    pub reconnects: f64,
    /// Connections lost, refused or given up.
    pub errors: f64,
}

impl Rates {
    /// From one look at the counters to another, `seconds` later; a message is for so many
    /// viewers.
    pub fn between(old: &Counters, new: &Counters, seconds: f64, viewers: u64) -> Self {
        let rate = |old: u64, new: u64| new.saturating_sub(old) as f64 / seconds;
        Self {
            logins: rate(old.logged_in, new.logged_in),
            offered: rate(old.offered, new.offered),
            achieved: rate(old.done(viewers), new.done(viewers)),
            acknowledged: rate(old.acknowledged, new.acknowledged),
            delivered: rate(old.delivered, new.delivered),
            reconnects: rate(old.reconnects, new.reconnects),
            errors: rate(old.failures, new.failures),
        }
    }
}

/// A stage at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageView {
    /// Which.
    pub stage: Stage,
    /// Latencies of the last whole second.
    pub last_second: Quantiles,
    /// Of the run so far.
    pub run: Quantiles,
}

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessView {
    /// Its number.
    pub pid: u32,
    /// It is there. If not, the figures are the last ones.
    pub alive: bool,
    /// CPU over the last second, in cores.
    pub cpu: f64,
    /// Memory of its own, bytes.
    pub memory_bytes: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Name of the scenario.
    pub name: String,
    /// Protocol spoken.
    pub protocol: String,
    /// Server's address.
    pub target: String,
    /// Where the run stands.
    pub phase: Phase,
    /// Since the first connect, seconds.
    pub elapsed_s: f64,
    /// Since the start of the schedule, seconds; 0 or negative before it.
    pub t_s: f64,
    /// Length of the schedule, seconds, warm-up included.
    pub duration_s: f64,
    /// Connections asked for.
    pub connections_asked: u64,
    /// Counters since the start.
    pub counters: Counters,
    /// Changes of the last second.
    pub rates: Rates,
    /// The stage that counts most in this kind of run.
    pub headline: Stage,
    /// Stages that were measured so far, in their order.
    pub stages: Vec<StageView>,
    /// Connections lost, refused or given up since the start: those kinds that occurred.
    pub errors: Vec<(ErrorKind, u64)>,
    /// The server's process, if it was named.
    pub server: Option<ProcessView>,
    /// This process.
    pub generator: ProcessView,
    /// The last whole interval of the series.
    pub row: Option<Row>,
    /// How many intervals the series has so far: a new row is one more.
    pub rows: usize,
}

impl Snapshot {
    /// A stage's figures, if it was measured.
    pub fn stage(&self, stage: Stage) -> Option<&StageView> {
        self.stages.iter().find(|view| view.stage == stage)
    }
}

/// Shows nothing: for runs that others watch over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn show(&mut self, _: &Snapshot) -> Wish {
        Wish::GoOn
    }
}

/// One line a second, for logs and pipes.
#[derive(Debug)]
pub struct PlainLines<W> {
    output: W,
    shown_s: Option<u64>,
}

impl<W: Write> PlainLines<W> {
    /// Lines go to `output`.
    pub fn new(output: W) -> Self {
        Self { output, shown_s: None }
    }
}

impl<W: Write> Observer for PlainLines<W> {
    fn show(&mut self, snapshot: &Snapshot) -> Wish {
        let second = snapshot.elapsed_s as u64;
        if self.shown_s != Some(second) && second > 0 {
            self.shown_s = Some(second);
            // Progress is not worth failing for.
            let _ = writeln!(self.output, "{}", line(snapshot));
            let _ = self.output.flush();
        }
        Wish::GoOn
    }
}

fn line(snapshot: &Snapshot) -> String {
    let counters = &snapshot.counters;
    let mut line = format!(
        "{:>4}s {:<10} online {:>8}  offered {:>7.0}/s  achieved {:>7.0}/s  delivered {:>7.0}/s  \
         waiting {:>6}  reconnects {}",
        snapshot.elapsed_s as u64,
        snapshot.phase.text(),
        counters.online,
        snapshot.rates.offered,
        snapshot.rates.achieved,
        snapshot.rates.delivered,
        counters.unanswered,
        counters.reconnects
    );
    let view = snapshot.stage(snapshot.headline).filter(|view| view.last_second.count > 0);
    if let Some(view) = view {
        let Quantiles { p50, p99, .. } = view.last_second;
        line += &format!(
            "  {} p50 {:.2} ms p99 {:.2} ms",
            view.stage.name(),
            p50 as f64 / 1000.0,
            p99 as f64 / 1000.0
        );
    }
    if let Some(server) = &snapshot.server {
        let mib = server.memory_bytes as f64 / f64::from(1 << 20);
        line += &if server.alive {
            format!("  server {:.2} cores {mib:.0} MiB", server.cpu)
        } else {
            "  server gone".to_owned()
        };
    }
    line
}
