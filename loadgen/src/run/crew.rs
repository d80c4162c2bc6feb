//! The worker threads of a run: how the users are shared out, and what is hired to hold them.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
};

use super::{MakeRing, RunError};
use crate::{
    arguments::Options,
    connection::Ground,
    identity::CONNECTIONS_PER_ADDRESS,
    measure::{self, ThreadTime},
    plan,
    record::Record,
    report::ThreadShare,
    scenario::Scenario,
    schedule::Schedule,
    source::Sources,
    tally::{Counters, Shared},
    worker::{Assignment, Control, Work, Worker},
};

/// First logins unfinished at once, over all workers: a tenth of a second at the default rate.
const LOGINS_UNFINISHED_MAX: u32 = 2048;

/// A worker's thread, and what it makes visible.
struct Hired {
    handle: JoinHandle<Result<(), String>>,
    shared: Arc<Shared>,
    /// Number of the thread, once it runs.
    thread: Arc<OnceLock<u32>>,
}

/// All of them.
pub(super) struct Crew {
    workers: Vec<Hired>,
    pub(super) control: Arc<Control>,
}

impl Crew {
    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    pub(super) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for worker in &self.workers {
            worker.shared.add_to(&mut sum);
        }
        sum
    }

    /// A worker that ended before it was told to has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.workers.iter().any(|worker| worker.handle.is_finished())
    }

    /// Takes what was handed over, and closes the rows that are over.
    pub(super) fn gather(&self, record: &mut Record, now_us: u64) {
        for (number, worker) in self.workers.iter().enumerate() {
            record.take(number, &worker.shared);
        }
        record.close(now_us, &self.shared());
    }

    fn shared(&self) -> Vec<&Shared> {
        self.workers.iter().map(|worker| &*worker.shared).collect()
    }

    /// How long each thread ran and waited so far; what the kernel does not tell is absent.
    pub(super) fn times(&self) -> Vec<Option<ThreadTime>> {
        let time = |worker: &Hired| measure::thread_time(*worker.thread.get()?);
        self.workers.iter().map(time).collect()
    }

    /// Ends the workers and takes the last they have; they go however it went.
    pub(super) fn end(self, record: &mut Record) -> Result<(), RunError> {
        self.control.stop();
        let mut failure = None;
        let mut shared = Vec::with_capacity(self.workers.len());
        for worker in self.workers {
            match worker.handle.join() {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => failure = Some(reason),
                Err(_) => failure = Some("a worker thread panicked".to_owned()),
            }
            record.take(shared.len(), &worker.shared);
            shared.push(worker.shared);
        }
        record.finish(&shared.iter().map(|shared| &**shared).collect::<Vec<_>>());
        failure.map_or(Ok(()), |reason| Err(RunError::Environment(reason)))
    }
}

/// How each thread spent the time between two looks, `seconds` apart.
pub(super) fn shares_of_time(
    first: &[Option<ThreadTime>],
    last: &[Option<ThreadTime>],
    seconds: f64,
) -> Vec<ThreadShare> {
    let share = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9 / seconds.max(1e-9);
    let one = |(number, (first, last)): (usize, (&Option<ThreadTime>, &Option<ThreadTime>))| {
        let times = first.zip(*last);
        ThreadShare {
            name: name(number),
            cpu: times.map_or(0.0, |(first, last)| share(first.cpu_ns, last.cpu_ns)),
            wait: times.map(|(first, last)| share(first.wait_ns, last.wait_ns)),
        }
    };
    first.iter().zip(last).enumerate().map(one).collect()
}

fn name(number: usize) -> String {
    format!("load-{number}")
}

/// Users of each worker; pairs stay together.
pub(super) fn shares(scenario: &Scenario, options: &Options) -> Vec<Range<u32>> {
    let users = scenario.users;
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let default = scenario.connections().div_ceil(CONNECTIONS_PER_ADDRESS).min(cores);
    let threads = options.threads.unwrap_or(default);
    let share = users.div_ceil(threads).next_multiple_of(2);
    let starts = (0..users).step_by(share as usize);
    starts.map(|start| start..(start + share).min(users)).collect()
}

/// Starts a thread for each share of the users.
pub(super) fn hire<M: MakeRing>(
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
        let thread = Arc::new(OnceLock::new());
        let number_of_thread = Arc::clone(&thread);
        let work = move || {
            if let Some(number) = measure::own_thread() {
                // Nobody else sets it.
                let _ = number_of_thread.set(number);
            }
            let (ring, now_us) = rings.make(tables.slots, tables.count)?;
            Worker::new(ring, assignment, now_us).run().map_err(|error| format!("ring: {error}"))
        };
        let handle = thread::Builder::new().name(name(number)).spawn(work);
        let handle = handle
            .map_err(|error| RunError::Environment(format!("cannot start a thread: {error}")))?;
        workers.push(Hired { handle, shared, thread });
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
