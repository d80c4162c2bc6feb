//! One run from start to verdict: starts the workers, watches them, ends them.
//!
//! Phases: connect (all users log in), run (the schedule), drain (what is on its way arrives),
//! stop. The coordinator is no part of any message's way: it reads counters twenty times a second
//! and takes histograms once.

mod actions;
mod crew;
mod interrupt;
mod observe;
mod outcome;
mod processes;

use std::{
    io,
    net::TcpStream,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime},
};

use hawser_ring::Ring;

use crate::{
    arguments::Options,
    connection::{Ground, fault_text, is_denied},
    identity::Names,
    measure::{Sample, ThreadTime},
    oracle::{Audience, Bounds, Oracle, Promise},
    payload::GROUP,
    record::{Closed, Record},
    report::{Phase, Report},
    scenario::{Kind, Scenario},
    tally::{Counters, ErrorKind, Stage},
    wire::Wire,
};
use actions::Actions;
use crew::Crew;
use interrupt::Interrupt;
pub use observe::{Observer, PlainLines, ProcessView, Rates, Silent, Snapshot, StageView, Wish};
use processes::Watched;

/// Time between two looks at the workers.
const LOOK: Duration = Duration::from_millis(50);

/// Time between two snapshots for the observer.
const SHOW: Duration = Duration::from_millis(250);

/// Connecting is given up when no login succeeded for so long.
const LOGIN_STALL: Duration = Duration::from_secs(20);

/// From the last login to the first message at least; then the next whole second.
const START_DELAY_US: u64 = 100_000;

const US_PER_SECOND: u64 = 1_000_000;

/// After everything has arrived, doubles may still come for so long.
const AFTERMATH: Duration = Duration::from_millis(500);

/// Messages that arrived within this time before the end of the drain are a stream that has not
/// ended.
const ARRIVING: Duration = Duration::from_secs(2);

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

/// A run's result, with what only files need.
#[derive(Debug)]
pub struct Outcome {
    /// The result.
    pub report: Report,
    /// Every row with all its stages.
    pub rows: Vec<Closed>,
    /// Wall time of the first row.
    pub began: SystemTime,
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
    observer: &mut dyn Observer,
) -> Result<Report, RunError> {
    outcome(scenario, options, command, run, rings, observer).map(|outcome| outcome.report)
}

/// As [`run`], with all rows.
///
/// # Errors
/// [`RunError`].
pub fn outcome<M: MakeRing>(
    scenario: &Scenario,
    options: &Options,
    command: &str,
    run: u64,
    rings: M,
    observer: &mut dyn Observer,
) -> Result<Outcome, RunError> {
    let shares = crew::shares(scenario, options);
    probe(options)?;
    let server = server(options)?;
    let interrupt = Interrupt::listen().map_err(|error| {
        RunError::Environment(format!("signals cannot be listened to: {error}"))
    })?;
    let rings = Arc::new(rings);
    let oracle = Oracle::new(run, Bounds::USUAL);
    let ground = Arc::new(Ground {
        wire: Wire::of(scenario, options).map_err(RunError::Environment)?,
        names: Names::new(run),
        oracle: oracle.judging(Audience::of(scenario), Promise::of(scenario)),
        scenario: scenario.clone(),
        payload_bytes: scenario.payload_bytes as usize,
        token: options.token.clone(),
        measure_from_us: AtomicU64::new(u64::MAX),
        measure_to_us: AtomicU64::new(u64::MAX),
    });
    let crew = crew::hire(scenario, options, &shares, &ground, &rings)?;
    let began_us = rings.now_us();
    let target = if scenario.kind.publishes() { GROUP } else { 0 };
    let viewers = u64::from(ground.oracle.audience().viewers(target));
    let watch = Watch {
        scenario,
        options,
        record: Record::new(headline(scenario), viewers, crew.len(), began_us),
        viewers,
        ground: &ground,
        crew,
        rings: &*rings,
        observer,
        interrupt,
        actions: Actions::new(&scenario.actions),
        before: server.as_ref().map(Watched::last),
        server,
        own: Watched::new(std::process::id()).ok(),
        began_us,
        began: SystemTime::now(),
        start_us: None,
        noted: began_us / US_PER_SECOND,
        shown: Instant::now(),
        phase: Phase::Connect,
        connections_min: u64::MAX,
        gone_second: None,
        cut_off: false,
        stopped: false,
    };
    watch.go(command, run)
}

/// The stage that counts most.
fn headline(scenario: &Scenario) -> Stage {
    match scenario.kind {
        Kind::Hold | Kind::Heartbeats => Stage::Heartbeat,
        Kind::Storm => Stage::Connect,
        Kind::HalfOpen => Stage::Detect,
        Kind::Chat
        | Kind::Replies
        | Kind::Fanout
        | Kind::Broadcast
        | Kind::Offline
        | Kind::Devices
        | Kind::Resume
        | Kind::NetworkChange
        | Kind::SlowReader
        | Kind::Restart => Stage::Deliver,
    }
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

fn server(options: &Options) -> Result<Option<Watched>, RunError> {
    let Some(pid) = options.server_pid else { return Ok(None) };
    let server = Watched::new(pid).map_err(|error| {
        RunError::Environment(format!("--server-pid {pid}: no such process to look at ({error})"))
    })?;
    Ok(Some(server))
}

/// What processes, threads and counters said at one moment.
struct Moment {
    at: Instant,
    server: Option<Sample>,
    own: Option<Sample>,
    threads: Vec<Option<ThreadTime>>,
    counters: Counters,
}

/// The measured window.
struct Window {
    first: Moment,
    last: Moment,
}

impl Window {
    fn seconds(&self) -> f64 {
        (self.last.at - self.first.at).as_secs_f64()
    }
}

/// How the connections came up.
struct Logins {
    logged_in: u64,
    connect_s: f64,
    before: Option<Sample>,
    connected: Option<Sample>,
}

/// The coordinator's notes of one run.
struct Watch<'a, M: MakeRing> {
    scenario: &'a Scenario,
    options: &'a Options,
    ground: &'a Ground,
    rings: &'a M,
    observer: &'a mut dyn Observer,
    crew: Crew,
    record: Record,
    viewers: u64,
    interrupt: Interrupt,
    actions: Actions,
    server: Option<Watched>,
    /// The server before the first connect.
    before: Option<Sample>,
    /// This process.
    own: Option<Watched>,
    began_us: u64,
    began: SystemTime,
    /// Start of the schedule.
    start_us: Option<u64>,
    /// Last second in which the processes were looked at.
    noted: u64,
    shown: Instant,
    phase: Phase,
    connections_min: u64,
    /// Second in which the server's process was first seen gone.
    gone_second: Option<u64>,
    /// Messages were still arriving when the drain reached its bound.
    cut_off: bool,
    /// A signal or the observer asked for the end.
    stopped: bool,
}

impl<M: MakeRing> Watch<'_, M> {
    fn go(mut self, command: &str, run: u64) -> Result<Outcome, RunError> {
        let logged_in = self.connect();
        let connect_s = (self.rings.now_us() - self.began_us) as f64 / 1e6;
        let connected = self.server.as_mut().and_then(Watched::look);
        if logged_in == 0 && !self.stopped && !self.crew.has_failed() {
            let reason = describe(&self.crew.counters());
            // Whether the workers end well does not matter any more.
            let _ = self.crew.end(&mut self.record);
            let target = self.options.target;
            let reason = format!("no user could log in at {target}: {reason}");
            return Err(RunError::Environment(reason));
        }
        let window = self.measure();
        self.phase = Phase::Drain;
        self.crew.control.drain();
        let counters = self.drain();
        let logins = Logins { logged_in, connect_s, before: self.before, connected };
        self.finish(command, run, &counters, &logins, &window)
    }

    /// Waits until all are logged in, or nobody else can; gives how many.
    fn connect(&mut self) -> u64 {
        let connections = u64::from(self.scenario.connections());
        let mut progress = (0, Instant::now());
        loop {
            let counters = self.look(u64::MAX);
            if counters.logged_in > progress.0 {
                progress = (counters.logged_in, Instant::now());
            }
            let stalled = progress.1.elapsed() > LOGIN_STALL;
            // Who may not log in will not be let in by asking again.
            let denied = counters.logged_in == 0
                && (counters.error(ErrorKind::Denied) > 0 || is_denied(counters.last_code as u16));
            let over = counters.logged_in == connections || self.stopped;
            if denied || over || stalled || self.crew.has_failed() {
                return counters.logged_in;
            }
        }
    }

    /// Lets the schedule run, from a whole second on: rows are then the same parts of it in every
    /// run.
    fn measure(&mut self) -> Window {
        let start_us = (self.rings.now_us() + START_DELAY_US).next_multiple_of(US_PER_SECOND);
        let from_us = start_us + self.scenario.warm_up.as_micros() as u64;
        let to_us = start_us + self.scenario.duration.as_micros() as u64;
        self.ground.measure_from_us.store(from_us, Relaxed);
        self.ground.measure_to_us.store(to_us, Relaxed);
        self.record.schedule(start_us, from_us, to_us);
        self.start_us = Some(start_us);
        self.crew.control.start(start_us);
        self.look_until(start_us);
        self.phase = Phase::WarmUp;
        self.look_until(from_us);
        self.phase = Phase::Measure;
        let first = self.moment();
        self.look_until(to_us);
        if self.stopped {
            // What was to come is intended no more.
            let now_us = self.rings.now_us();
            self.ground.measure_to_us.fetch_min(now_us, Relaxed);
            self.record.cut(now_us);
        }
        Window { first, last: self.moment() }
    }

    fn moment(&mut self) -> Moment {
        Moment {
            at: Instant::now(),
            server: self.server.as_mut().and_then(Watched::look),
            own: self.own.as_mut().and_then(Watched::look),
            threads: self.crew.times(),
            counters: self.crew.counters(),
        }
    }

    fn look_until(&mut self, until_us: u64) {
        while self.rings.now_us() < until_us && !self.stopped && !self.crew.has_failed() {
            let counters = self.look(until_us);
            if self.phase != Phase::Connect {
                self.connections_min = self.connections_min.min(counters.online);
            }
        }
    }

    /// Waits until everything on its way has arrived, within the bound; gives the last counters.
    fn drain(&mut self) -> Counters {
        let began = Instant::now();
        let gone = outcome::may_be_gone(self.scenario);
        let mut whole_since = None;
        let mut arrived = (0, began);
        loop {
            let counters = self.look(u64::MAX);
            if counters.delivered > arrived.0 {
                arrived = (counters.delivered, Instant::now());
            }
            // Who was to come back may not do so once the schedule is given up.
            let present = self.stopped || counters.online + gone >= counters.logged_in;
            let whole = present
                && counters.unanswered == 0
                && counters.heartbeats_answered >= counters.heartbeats_expected
                && (self.stopped || counters.schedule_ended >= self.crew.len() as u64)
                && self.actions.are_over()
                && self.ground.oracle.awaited() == 0;
            let since = whole_since.filter(|_| whole);
            whole_since = whole.then(|| since.unwrap_or_else(Instant::now));
            let settled = whole_since.is_some_and(|since| since.elapsed() >= AFTERMATH);
            if settled || began.elapsed() >= self.scenario.drain || self.crew.has_failed() {
                // The last second is not over, and has its row nevertheless.
                self.note(self.noted + 1);
                let recent = ARRIVING.min(self.scenario.drain / 2);
                self.cut_off = !settled && arrived.1.elapsed() < recent;
                self.show(&counters);
                return counters;
            }
        }
    }

    /// Sleeps a little, but not beyond the given time, and looks at everything; gives the
    /// counters.
    fn look(&mut self, until_us: u64) -> Counters {
        let left_us = until_us.saturating_sub(self.rings.now_us());
        thread::sleep(LOOK.min(Duration::from_micros(left_us)));
        let now_us = self.rings.now_us();
        let second = now_us / US_PER_SECOND;
        if second > self.noted {
            self.note(second);
        }
        self.crew.gather(&mut self.record, now_us);
        if let Some(since_us) = self.start_us.and_then(|start_us| now_us.checked_sub(start_us))
            && !self.stopped
        {
            self.actions.go(Duration::from_micros(since_us));
        }
        self.stopped |= self.interrupt.is_asked();
        let counters = self.crew.counters();
        if self.shown.elapsed() >= SHOW {
            self.shown = Instant::now();
            self.show(&counters);
        }
        counters
    }

    /// What the processes did in the second that is over.
    fn note(&mut self, second: u64) {
        let server = self.server.as_mut().and_then(|server| {
            server.look()?;
            server.take_rate()
        });
        let own = self.own.as_mut().and_then(|own| {
            own.look()?;
            own.take_rate()
        });
        let processes =
            crate::record::Processes { server, generator_cpu: own.map_or(0.0, |(cpu, _)| cpu) };
        if self.server.as_ref().is_some_and(Watched::is_gone) {
            self.gone_second.get_or_insert(second);
        }
        self.record.note(second - 1, processes);
        self.noted = second;
    }

    fn show(&mut self, counters: &Counters) {
        let snapshot = self.snapshot(counters);
        if self.observer.show(&snapshot) == Wish::Stop {
            self.stopped = true;
        }
    }

    fn snapshot(&self, counters: &Counters) -> Snapshot {
        let now_us = self.rings.now_us();
        let since = |from_us: u64| (now_us as f64 - from_us as f64) / 1e6;
        let (old, new, seconds) = self.record.last_change();
        let errors = ErrorKind::ALL.iter().map(|kind| (*kind, counters.error(*kind)));
        Snapshot {
            name: self.scenario.name.clone(),
            protocol: self.scenario.protocol.name().to_owned(),
            target: self.options.target.to_string(),
            phase: self.phase,
            elapsed_s: since(self.began_us),
            t_s: self.start_us.map_or(0.0, since),
            duration_s: self.scenario.duration.as_secs_f64(),
            connections_asked: u64::from(self.scenario.connections()),
            counters: *counters,
            rates: Rates::between(&old, &new, seconds, self.viewers),
            headline: headline(self.scenario),
            stages: self
                .record
                .latest()
                .iter()
                .map(|&(stage, last_second, run)| StageView { stage, last_second, run })
                .collect(),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
            server: self.server.as_ref().map(Watched::view),
            generator: self.own.as_ref().map(Watched::view).unwrap_or_default(),
            row: self.record.last_row(),
            rows: self.record.len(),
        }
    }
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
