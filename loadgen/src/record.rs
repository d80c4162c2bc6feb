//! The coordinator's book of a run: what the workers handed over, second by second and as a whole.
//!
//! A row is closed when every worker has handed over its second, or when one has not for a while:
//! what it hands over then goes into the next row. So every latency recorded is in exactly one row
//! of its stage, and the sum of all rows is the whole run. Rows are kept compressed; those of the
//! schedule are a second long, or longer in runs of many hours.

pub mod csv;
pub mod hlog;

use std::collections::{BTreeMap, VecDeque};

use crate::{
    report::{Phase, Quantiles, Row, StageFigures},
    tally::{Counters, Interval, Latency, Shared, Stage, Stages},
};

/// Rows of the schedule at most: two hours of seconds, some megabytes of JSON. A longer run has
/// longer rows.
const SCHEDULE_ROWS_MAX: u64 = 7200;

/// Seconds of a row while connecting, once that has taken as many rows.
const LATE_ROW_S: u64 = 60;

/// Seconds a row waits for a worker that does not hand over: one that is starved.
const PATIENCE_S: u64 = 3;

const US_PER_SECOND: u64 = 1_000_000;

/// What the coordinator saw of the processes at the end of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Processes {
    /// CPU of the server's process over the second, in cores, and its memory, bytes.
    pub server: Option<(f64, u64)>,
    /// CPU of this process over the second, in cores.
    pub generator_cpu: f64,
}

/// A closed row with all its stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// As the series has it.
    pub row: Row,
    /// Every stage recorded in it, as [`Latency::to_text`] gives it.
    pub stages: Vec<(Stage, String)>,
}

/// Bounds of the phases, seconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    /// First second of the schedule.
    start: u64,
    /// Of the measured window; the warm-up's last second may be cut.
    measure_us: u64,
    end_us: u64,
    /// Seconds of a row from the start on.
    row_s: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Record {
    headline: Stage,
    /// Deliveries of a message that make it done where nothing is acknowledged.
    viewers: u64,
    /// What each worker has handed over and no row has taken.
    waiting: Vec<VecDeque<Interval>>,
    /// Counters of each worker at the end of the last row.
    counters: Vec<Counters>,
    /// Sum of them.
    sum: Counters,
    /// The sum a row earlier.
    before: Counters,
    /// First second that is in no row.
    next: u64,
    bounds: Option<Bounds>,
    processes: BTreeMap<u64, Processes>,
    whole: BTreeMap<Stage, Latency>,
    rows: Vec<Closed>,
    /// Each stage of the last row, and of the run so far.
    latest: Vec<(Stage, Quantiles, Quantiles)>,
}

impl Record {
    /// Of a run that begins at this time, microseconds of the monotonic clock. A message is for
    /// so many viewers.
    pub fn new(headline: Stage, viewers: u64, workers: usize, began_us: u64) -> Self {
        Self {
            headline,
            viewers,
            waiting: vec![VecDeque::new(); workers],
            counters: vec![Counters::default(); workers],
            sum: Counters::default(),
            before: Counters::default(),
            next: began_us / US_PER_SECOND,
            bounds: None,
            processes: BTreeMap::new(),
            whole: BTreeMap::new(),
            rows: Vec::new(),
            latest: Vec::new(),
        }
    }

    /// The schedule starts with this second, and the measured window is between these times,
    /// microseconds.
    pub fn schedule(&mut self, start_us: u64, measure_us: u64, end_us: u64) {
        let seconds = end_us.saturating_sub(start_us).div_ceil(US_PER_SECOND);
        let row_s = seconds.div_ceil(SCHEDULE_ROWS_MAX).max(1);
        let start = start_us / US_PER_SECOND;
        self.bounds = Some(Bounds { start, measure_us, end_us, row_s });
    }

    /// The measured window ends earlier than was said.
    pub fn cut(&mut self, end_us: u64) {
        if let Some(bounds) = &mut self.bounds {
            bounds.end_us = bounds.end_us.min(end_us);
        }
    }

    /// What the processes did in the second that is over.
    pub fn note(&mut self, second: u64, processes: Processes) {
        self.processes.insert(second, processes);
    }

    /// Takes what a worker has handed over.
    pub fn take(&mut self, worker: usize, shared: &Shared) {
        self.waiting[worker].extend(shared.take());
    }

    /// Closes the rows that are over at this time.
    pub fn close(&mut self, now_us: u64, shared: &[&Shared]) {
        let now = now_us / US_PER_SECOND;
        while self.next < now {
            let end = self.row_end();
            let whole = end <= now && self.all_have(end - 1);
            if !whole && end + PATIENCE_S > now {
                break;
            }
            self.close_row(end, shared);
        }
    }

    /// Closes the last rows, whole or not: nothing more will be handed over.
    pub fn finish(&mut self, shared: &[&Shared]) {
        while self.waiting.iter().any(|queue| !queue.is_empty()) {
            self.close_row(self.row_end(), shared);
        }
    }

    /// Second behind the row that begins with the next one.
    fn row_end(&self) -> u64 {
        match self.bounds {
            Some(bounds) if self.next >= bounds.start => self.next + bounds.row_s,
            // Rows of the schedule are aligned with its start.
            Some(bounds) => (self.next + self.connect_row_s()).min(bounds.start),
            None => self.next + self.connect_row_s(),
        }
    }

    fn connect_row_s(&self) -> u64 {
        if (self.rows.len() as u64) < SCHEDULE_ROWS_MAX { 1 } else { LATE_ROW_S }
    }

    /// Every worker has handed over this second or a later one.
    fn all_have(&self, second: u64) -> bool {
        let has = |queue: &VecDeque<Interval>| {
            queue.back().is_some_and(|interval| interval.second >= second)
        };
        self.waiting.iter().all(has)
    }

    /// Makes a row of the seconds from the next one up to, not including, `end`.
    fn close_row(&mut self, end: u64, shared: &[&Shared]) {
        let mut stages: Stages = Default::default();
        for (worker, queue) in self.waiting.iter_mut().enumerate() {
            while queue.front().is_some_and(|interval| interval.second < end) {
                let Some(interval) = queue.pop_front() else { break };
                self.counters[worker] = interval.counters;
                for (sum, latency) in stages.iter_mut().zip(interval.stages) {
                    merge(sum, latency, shared[worker]);
                }
            }
        }
        let mut now = Counters::default();
        for counters in &self.counters {
            now.add(counters);
        }
        let row = self.row(end, &now, &stages);
        self.before = std::mem::replace(&mut self.sum, now);
        self.next = end;
        let texts = |(stage, latency): (&Stage, &Option<Latency>)| {
            latency.as_ref().map(|latency| (*stage, latency.to_text()))
        };
        let texts: Vec<_> = Stage::ALL.iter().zip(&stages).filter_map(texts).collect();
        let headline = texts.iter().find(|(stage, _)| *stage == self.headline);
        let row = Row { histogram: headline.map(|(_, text)| text.clone()), ..row };
        self.rows.push(Closed { row, stages: texts });
        self.sum_up(&stages);
    }

    fn sum_up(&mut self, stages: &Stages) {
        for (stage, latency) in Stage::ALL.iter().zip(stages) {
            if let Some(latency) = latency {
                self.whole.entry(*stage).or_default().add(latency);
            }
        }
        let view = |(stage, whole): (&Stage, &Latency)| {
            let last = stages[*stage as usize].as_ref();
            (*stage, last.map(Quantiles::from).unwrap_or_default(), Quantiles::from(whole))
        };
        self.latest = self.whole.iter().map(view).collect();
    }

    fn row(&mut self, end: u64, now: &Counters, stages: &Stages) -> Row {
        let old = &self.sum;
        let latency = |stage: Stage| stages[stage as usize].as_ref();
        let quantile = |share: f64| latency(self.headline).map(|one| one.quantile(share));
        let later = self.processes.split_off(&end);
        let past = std::mem::replace(&mut self.processes, later);
        let count = past.len().max(1) as f64;
        let servers: Vec<(f64, u64)> = past.values().filter_map(|one| one.server).collect();
        let server_cpu = sum(servers.iter().map(|(cpu, _)| *cpu)) / servers.len() as f64;
        let generator_cpu = sum(past.values().map(|one| one.generator_cpu)) / count;
        Row {
            // Counted from the start of the schedule when that is known.
            t_s: self.next as f64,
            seconds: (end - self.next) as f64,
            phase: self.phase(),
            offered: now.offered.saturating_sub(old.offered),
            achieved: now.done(self.viewers).saturating_sub(old.done(self.viewers)),
            acknowledged: now.acknowledged.saturating_sub(old.acknowledged),
            delivered: now.delivered.saturating_sub(old.delivered),
            online: now.online,
            reconnects: now.reconnects.saturating_sub(old.reconnects),
            errors: now.failures.saturating_sub(old.failures),
            waiting: now.unanswered,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            lag_p99_us: latency(Stage::Lag).map(|one| one.quantile(0.99)),
            server_cpu: (!servers.is_empty()).then_some(server_cpu),
            server_memory_bytes: servers.last().map(|(_, bytes)| *bytes),
            generator_cpu,
            histogram: None,
        }
    }

    /// Where the run stands at the start of the next row.
    fn phase(&self) -> Phase {
        let Some(bounds) = self.bounds else { return Phase::Connect };
        // A row that is measured in part is measured: what is before the window is not in it.
        let end_us = (self.next + 1) * US_PER_SECOND;
        if self.next < bounds.start {
            Phase::Connect
        } else if end_us <= bounds.measure_us {
            Phase::WarmUp
        } else if self.next * US_PER_SECOND < bounds.end_us {
            Phase::Measure
        } else {
            Phase::Drain
        }
    }

    /// Time of a row in the report: seconds after the start of the schedule, or after the first
    /// row if it never started.
    fn since_start(&self, t_s: f64) -> f64 {
        let first = self.rows.first().map_or(0.0, |closed| closed.row.t_s);
        t_s - self.bounds.map_or(first, |bounds| bounds.start as f64)
    }

    /// The rows so far, with their times as in the report.
    pub fn rows(&self) -> impl Iterator<Item = Closed> {
        self.rows.iter().map(|closed| {
            let row = Row { t_s: self.since_start(closed.row.t_s), ..closed.row.clone() };
            Closed { row, stages: closed.stages.clone() }
        })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// No row is closed yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The last row.
    pub fn last_row(&self) -> Option<Row> {
        let closed = self.rows.last()?;
        Some(Row { t_s: self.since_start(closed.row.t_s), ..closed.row.clone() })
    }

    /// Counters at the start and at the end of the last row, and its length in seconds.
    pub fn last_change(&self) -> (Counters, Counters, f64) {
        let seconds = self.rows.last().map_or(1.0, |closed| closed.row.seconds);
        (self.before, self.sum, seconds)
    }

    /// Each stage measured so far: of the last row, and of the run.
    pub fn latest(&self) -> &[(Stage, Quantiles, Quantiles)] {
        &self.latest
    }

    /// Each stage over the whole run.
    pub fn stages(&self) -> BTreeMap<Stage, StageFigures> {
        self.whole.iter().map(|(stage, latency)| (*stage, StageFigures::from(latency))).collect()
    }
}

/// The standard library's sum of nothing is -0, which files would show.
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |sum, value| sum + value)
}

fn merge(sum: &mut Option<Latency>, latency: Option<Latency>, shared: &Shared) {
    match (sum.as_mut(), latency) {
        (Some(sum), Some(latency)) => {
            sum.add(&latency);
            shared.give_back(latency);
        }
        (None, Some(latency)) => *sum = Some(latency),
        (_, None) => {}
    }
}

#[cfg(test)]
mod tests;
