//! One run from start to verdict: starts the workers, watches them, ends them.
//!
//! Phases: connect (all users log in), run (the schedule), drain (what is on its way arrives),
//! stop. The coordinator is no part of any message's way: it reads counters twenty times a second.

mod observe;

use std::{
    io::{self, IsTerminal, Write},
    net::TcpStream,
    ops::Range,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hawser_ring::Ring;

use crate::{
    arguments::Options,
    connection::{Ground, fault_text, is_denied},
    identity::{CONNECTIONS_PER_ADDRESS, Names},
    judge::{Thresholds, judge},
    measure::{self, Sample},
    oracle::{Audience, Bounds, Findings, Oracle, Promise},
    plan,
    record::Record,
    report::{Evidence, Report, SCHEMA, Server, Verdict},
    scenario::{Metric, Quantile, Scenario, Threshold},
    schedule::Schedule,
    source::Sources,
    tally::{Counters, Shared, Stage},
    wire::Wire,
    worker::{Assignment, Control, Work, Worker},
};
pub use observe::{Observer, PlainLines, ProcessView, Rates, Snapshot, StageView, Wish};

/// First logins unfinished at once, over all workers: a tenth of a second at the default rate.
const LOGINS_UNFINISHED_MAX: u32 = 2048;

/// Time between two looks at the workers.
const LOOK: Duration = Duration::from_millis(50);

/// Connecting is given up when no login succeeded for so long.
const LOGIN_STALL: Duration = Duration::from_secs(20);

/// From the last login to the first message.
const START_DELAY_US: u64 = 100_000;

/// After everything has arrived, doubles may still come for so long.
const AFTERMATH: Duration = Duration::from_millis(500);

/// Wait for the target's first answer.
const PROBE_WAIT: Duration = Duration::from_secs(3);

/// Why a run could not be made; nothing was measured.
#[derive(Debug, PartialEq, Eq)]
pub enum RunError {
    /// The machine or the target.
    Environment(String),
}

/// Makes rings: one for each worker, on its thread, with its time now in microseconds.
pub trait MakeRing: Send + Sync + 'static {
    /// The backend.
    type Ring: Ring;

    /// A ring with so many tables of so many slots.
    ///
    /// # Errors
    /// One line that names what is missing.
    fn make(&self, slots: u32, tables: u32) -> Result<(Self::Ring, u64), String>;

    /// The rings' time now, microseconds.
    fn now_us(&self) -> u64;
}

/// A worker's thread, and what it makes visible.
type Hired = (JoinHandle<Result<(), String>>, Arc<Shared>);

struct Crew {
    workers: Vec<Hired>,
    control: Arc<Control>,
}

impl Crew {
    fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for (_, shared) in &self.workers {
            shared.add_to(&mut sum);
        }
        sum
    }

    /// A worker that ended before it was told to has failed.
    fn has_failed(&self) -> bool {
        self.workers.iter().any(|(handle, _)| handle.is_finished())
    }

    fn end(self, record: &mut Record) -> Result<(), RunError> {
        self.control.stop();
        let mut failure = None;
        for (handle, shared) in self.workers {
            match handle.join() {
                Ok(Ok(())) => record.take(&shared),
                Ok(Err(reason)) => failure = Some(reason),
                Err(_) => failure = Some("a worker thread panicked".to_owned()),
            }
        }
        failure.map_or(Ok(()), |reason| Err(RunError::Environment(reason)))
    }
}

/// Runs a scenario; `command` goes into the report, `run` names the run.
///
/// # Errors
/// [`RunError`].
pub fn run<M: MakeRing>(
    scenario: &Scenario,
    options: &Options,
    command: &str,
    run: u64,
    rings: M,
) -> Result<Report, RunError> {
    let shares = shares(scenario, options);
    probe(options)?;
    let rings = Arc::new(rings);
    let ground = Arc::new(Ground {
        wire: Wire::of(scenario, options).map_err(RunError::Environment)?,
        names: Names::new(run),
        oracle: Oracle::new(run, Bounds::USUAL)
            .judging(Audience::of(scenario), Promise::of(scenario)),
        scenario: scenario.clone(),
        payload_bytes: scenario.payload_bytes as usize,
        token: options.token.clone(),
        measure_from_us: AtomicU64::new(u64::MAX),
        measure_to_us: AtomicU64::new(u64::MAX),
    });
    let before = sample(options)?;
    let crew = hire(scenario, options, &shares, &ground, &rings)?;
    let watch = Watch::new(scenario, options, &ground, crew, before);
    watch.go(command, run, &*rings)
}

/// Users of each worker; pairs stay together.
fn shares(scenario: &Scenario, options: &Options) -> Vec<Range<u32>> {
    let users = scenario.users;
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let default = users.div_ceil(CONNECTIONS_PER_ADDRESS).min(cores);
    let threads = options.threads.unwrap_or(default);
    let share = users.div_ceil(threads).next_multiple_of(2);
    let starts = (0..users).step_by(share as usize);
    starts.map(|start| start..(start + share).min(users)).collect()
}

fn probe(options: &Options) -> Result<(), RunError> {
    let target = options.target;
    match TcpStream::connect_timeout(&target, PROBE_WAIT) {
        Ok(_) => Ok(()),
        Err(error) => Err(RunError::Environment(format!(
            "target {target} cannot be reached ({error}): is the server running, and does it \
             listen there? Another address is given with --target"
        ))),
    }
}

fn sample(options: &Options) -> Result<Option<Sample>, RunError> {
    let Some(pid) = options.server_pid else { return Ok(None) };
    let sample = measure::sample(pid).map_err(|error| {
        RunError::Environment(format!("--server-pid {pid}: no such process to look at ({error})"))
    })?;
    Ok(Some(sample))
}

fn hire<M: MakeRing>(
    scenario: &Scenario,
    options: &Options,
    shares: &[Range<u32>],
    ground: &Arc<Ground>,
    rings: &Arc<M>,
) -> Result<Crew, RunError> {
    let control = Arc::new(Control::default());
    let sources = Sources::new(
        options.target.ip(),
        &options.source,
        scenario.connections(),
        ground.names.run(),
    );
    let sources = Arc::new(sources.map_err(RunError::Environment)?);
    let shared_scenario = Arc::new(scenario.clone());
    let mut workers = Vec::with_capacity(shares.len());
    for (number, users) in shares.iter().enumerate() {
        let shared = Arc::new(Shared::default());
        let connections = users.start * scenario.devices..users.end * scenario.devices;
        let tables = plan::tables(scenario, connections.len() as u32);
        let assignment = Assignment {
            worker: number as u32,
            sources: Arc::clone(&sources),
            connections,
            scenario: Arc::clone(&shared_scenario),
            kept_max: tables.kept,
            target: options.target,
            connect_rate: scenario.connect.rate / shares.len() as f64,
            logins_unfinished_max: (LOGINS_UNFINISHED_MAX / shares.len() as u32).max(8),
            work: work(scenario, options, users),
            ground: Arc::clone(ground),
            control: Arc::clone(&control),
            shared: Arc::clone(&shared),
        };
        let rings = Arc::clone(rings);
        let thread = thread::Builder::new().name(format!("load-{number}")).spawn(move || {
            let (ring, now_us) = rings.make(tables.slots, tables.count)?;
            Worker::new(ring, assignment, now_us).run().map_err(|error| format!("ring: {error}"))
        });
        let handle = thread
            .map_err(|error| RunError::Environment(format!("cannot start a thread: {error}")))?;
        workers.push((handle, shared));
    }
    Ok(Crew { workers, control })
}

fn work(scenario: &Scenario, options: &Options, users: &Range<u32>) -> Work {
    let duration_us = scenario.duration.as_micros() as u64;
    match scenario.load.in_flight {
        Some(messages) if scenario.kind.sends() => Work::InFlight { messages, duration_us },
        Some(_) | None => {
            Work::Scheduled(Box::new(Schedule::new(scenario, options.seed, users.clone())))
        }
    }
}

/// What the server's process and the counters said at one moment.
type Moment = (Option<Sample>, Counters);

/// The measured window.
struct Window {
    first: Moment,
    last: Moment,
    seconds: f64,
}

/// How the connections came up.
struct Logins {
    logged_in: u64,
    connect_s: f64,
    before: Option<Sample>,
    connected: Option<Sample>,
}

/// The coordinator's notes of one run.
struct Watch<'a> {
    scenario: &'a Scenario,
    options: &'a Options,
    ground: &'a Ground,
    crew: Crew,
    before: Option<Sample>,
    began: Instant,
    shown: Instant,
    shown_counters: Counters,
    connections_min: u64,
    record: Record,
}

impl<'a> Watch<'a> {
    fn new(
        scenario: &'a Scenario,
        options: &'a Options,
        ground: &'a Ground,
        crew: Crew,
        before: Option<Sample>,
    ) -> Self {
        let now = Instant::now();
        Self {
            scenario,
            options,
            ground,
            crew,
            before,
            began: now,
            shown: now,
            shown_counters: Counters::default(),
            connections_min: u64::MAX,
            record: Record::default(),
        }
    }

    fn go<M: MakeRing>(mut self, command: &str, run: u64, rings: &M) -> Result<Report, RunError> {
        let logged_in = self.connect();
        let connect_s = self.began.elapsed().as_secs_f64();
        let connected = sample(self.options).ok().flatten();
        if logged_in == 0 && !self.crew.has_failed() {
            let reason = describe(&self.crew.counters());
            // Whether the workers end well does not matter any more.
            let _ = self.crew.end(&mut self.record);
            let target = self.options.target;
            let reason = format!("no user could log in at {target}: {reason}");
            return Err(RunError::Environment(reason));
        }
        let window = self.measure(rings);
        self.crew.control.drain();
        let counters = self.drain();
        let logins = Logins { logged_in, connect_s, before: self.before, connected };
        let findings = self.ground.oracle.findings();
        self.crew.end(&mut self.record)?;
        let record = &self.record;
        let mut report = report(self.scenario, &findings, &counters, record, &logins, &window);
        report.connections_min = self.connections_min.min(counters.online);
        report.evidence.run = format!("{run:016x}");
        report.evidence.seed = self.options.seed;
        report.evidence.target = self.options.target.to_string();
        report.evidence.command = command.to_owned();
        judge(
            &mut report,
            &Thresholds {
                schedule_lag_us: self.options.schedule_lag_max.as_micros() as u64,
                p99_us: p99_bound(self.scenario),
                all_logged_in: logged_in == u64::from(self.scenario.connections()),
            },
        );
        Ok(report)
    }

    /// Waits until all are logged in, or nobody else can; gives how many.
    fn connect(&mut self) -> u64 {
        let users = u64::from(self.scenario.connections());
        let mut progress = (0, Instant::now());
        loop {
            let counters = self.look("connecting");
            if counters.logged_in > progress.0 {
                progress = (counters.logged_in, Instant::now());
            }
            let stalled = progress.1.elapsed() > LOGIN_STALL;
            // Who may not log in will not be let in by asking again.
            let denied = counters.logged_in == 0 && is_denied(counters.last_code as u16);
            if denied || counters.logged_in == users || stalled || self.crew.has_failed() {
                return counters.logged_in;
            }
        }
    }

    /// Lets the schedule run.
    fn measure<M: MakeRing>(&mut self, rings: &M) -> Window {
        let start_us = rings.now_us() + START_DELAY_US;
        let from_us = start_us + self.scenario.warm_up.as_micros() as u64;
        let to_us = start_us + self.scenario.duration.as_micros() as u64;
        self.ground.measure_from_us.store(from_us, Relaxed);
        self.ground.measure_to_us.store(to_us, Relaxed);
        self.crew.control.start(start_us);
        self.look_until(rings, from_us);
        let first = (sample(self.options).ok().flatten(), self.crew.counters());
        let first_at = Instant::now();
        self.look_until(rings, to_us);
        let last = (sample(self.options).ok().flatten(), self.crew.counters());
        Window { first, last, seconds: first_at.elapsed().as_secs_f64() }
    }

    fn look_until<M: MakeRing>(&mut self, rings: &M, until_us: u64) {
        while rings.now_us() < until_us && !self.crew.has_failed() {
            let counters = self.look("running");
            self.connections_min = self.connections_min.min(counters.online);
        }
    }

    /// Waits until everything on its way has arrived, within the bound; gives the last counters.
    fn drain(&mut self) -> Counters {
        let began = Instant::now();
        let mut whole_since = None;
        loop {
            let counters = self.look("draining");
            let whole = counters.unanswered == 0
                && self.ground.oracle.awaited() == 0
                && counters.heartbeats_answered >= counters.heartbeats_expected
                && counters.schedule_ended >= self.crew.workers.len() as u64;
            let since = whole_since.filter(|_| whole);
            whole_since = whole.then(|| since.unwrap_or_else(Instant::now));
            let settled = whole_since.is_some_and(|since| since.elapsed() >= AFTERMATH);
            if settled || began.elapsed() >= self.scenario.drain || self.crew.has_failed() {
                return counters;
            }
        }
    }

    /// Sleeps a little, reads the counters, and shows them once a second.
    fn look(&mut self, phase: &str) -> Counters {
        thread::sleep(LOOK);
        let counters = self.crew.counters();
        for (_, shared) in &self.crew.workers {
            self.record.take(shared);
        }
        let since = self.shown.elapsed();
        if since >= Duration::from_secs(1) {
            let old = &self.shown_counters;
            let rate = |new: u64, old: u64| {
                (new.saturating_sub(old) as f64 / since.as_secs_f64()).round() as u64
            };
            let line = format!(
                "{:>4}s {phase:<10} online {:>8}  offered {:>7}/s  acknowledged {:>7}/s  \
                 delivered {:>7}/s  waiting {:>6}  reconnects {}",
                self.began.elapsed().as_secs(),
                counters.online,
                rate(counters.offered, old.offered),
                rate(counters.acknowledged, old.acknowledged),
                rate(counters.delivered, old.delivered),
                counters.unanswered,
                counters.reconnects
            );
            show(&line);
            self.shown = Instant::now();
            self.shown_counters = counters;
        }
        counters
    }
}

/// CPU time between two samples for each of `count`.
fn cpu_us_per(from: Option<Sample>, to: Option<Sample>, count: u64) -> Option<f64> {
    let (from, to) = from.zip(to)?;
    // A server that was restarted meanwhile has begun to count anew.
    let cpu_us = to.cpu_us.checked_sub(from.cpu_us)?;
    (count > 0).then(|| cpu_us as f64 / count as f64)
}

/// The bound that `--p99-max` sets.
fn p99_bound(scenario: &Scenario) -> Option<u64> {
    let of_p99 = |threshold: &&Threshold| {
        threshold.metric == Metric::Latency { stage: None, quantile: Quantile::At(0.99) }
    };
    scenario.thresholds.iter().find(of_p99).map(|threshold| threshold.value as u64)
}

fn report(
    scenario: &Scenario,
    findings: &Findings,
    counters: &Counters,
    record: &Record,
    logins: &Logins,
    window: &Window,
) -> Report {
    let hold = !scenario.kind.sends();
    let headline = if hold { Stage::Heartbeat } else { Stage::Deliver };
    let stages = record.stages();
    let (first, last) = (&window.first.1, &window.last.1);
    let delivered = last.delivered - first.delivered;
    let growth = logins.before.zip(logins.connected).map(|(before, after)| {
        let grown = after.memory_bytes as f64 - before.memory_bytes as f64;
        grown / logins.logged_in.max(1) as f64
    });
    Report {
        schema: SCHEMA.to_owned(),
        offered: counters.offered,
        acknowledged: findings.acknowledged,
        delivered: findings.delivered,
        lost: findings.lost,
        duplicated: findings.duplicated,
        reordered: findings.reordered
            + findings.sequence_gaps
            + findings.sequence_repeats
            + findings.mailbox_gaps,
        corrupted: findings.corrupted,
        misdelivered: findings.misdelivered,
        reconnects: counters.reconnects,
        heartbeats_expected: counters.heartbeats_expected,
        heartbeats_answered: counters.heartbeats_answered,
        connections_held: counters.online,
        latency_us: stages.get(&headline).map(|figures| figures.quantiles).unwrap_or_default(),
        server: Server {
            cpu_us_per_message: cpu_us_per(window.first.0, window.last.0, delivered),
            bytes_per_connection: growth,
            cpu_us_per_connect: cpu_us_per(logins.before, logins.connected, logins.logged_in),
            cpu: None,
            memory_bytes: None,
        },
        verdict: Verdict::Clean,
        name: scenario.name.clone(),
        kind: scenario.kind.name().to_owned(),
        protocol: scenario.protocol.name().to_owned(),
        headline,
        achieved: last.done(),
        reasons: Vec::new(),
        notes: Vec::new(),
        thresholds: Vec::new(),
        stages,
        series: Vec::new(),
        actions: Vec::new(),
        errors: std::collections::BTreeMap::new(),
        oracle: *findings,
        expected: counters.expected,
        connections_asked: u64::from(scenario.connections()),
        connections_min: 0,
        connect_rate: logins.logged_in as f64 / logins.connect_s,
        offered_rate: (last.offered - first.offered) as f64 / window.seconds,
        achieved_rate: (last.done() - first.done()) as f64 / window.seconds,
        delivered_rate: delivered as f64 / window.seconds,
        repeats: counters.repeats,
        refused: counters.refused,
        shed: counters.shed,
        address_conflicts: counters.address_conflicts,
        measured_s: window.seconds,
        measured_from_s: scenario.warm_up.as_secs_f64(),
        interrupted: false,
        evidence: Evidence {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            scenario: serde_json::to_value(scenario).expect("a scenario has text keys only"),
            kernel: measure::kernel(),
            ..Evidence::default()
        },
    }
}

/// One line on a terminal is written over; elsewhere each stays.
fn show(line: &str) {
    let mut error = io::stderr().lock();
    let (begin, end) = if error.is_terminal() { ("\r\x1b[K", "") } else { ("", "\n") };
    // Progress is not worth failing for.
    let _ = write!(error, "{begin}{line}{end}");
    let _ = error.flush();
}

fn describe(counters: &Counters) -> String {
    if counters.last_code != 0 {
        return fault_text(counters.last_code as u16);
    }
    if counters.last_errno != 0 {
        return io::Error::from_raw_os_error(counters.last_errno as i32).to_string();
    }
    "connected, but no welcome came; does the port speak the protocol asked for?".to_owned()
}
