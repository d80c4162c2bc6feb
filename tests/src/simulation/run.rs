//! The loop: turns of workers in any order, devices, time, and the troubles of the plan.

use super::{
    cluster::Cluster,
    device::Device,
    nodes::NodeTrouble,
    oracle::{Oracle, Violation},
    plan::{Form, HOSTS_MAX, Moment, Plan, Trouble},
    plant::Plants,
    process::{self, Machine, Process},
    report::Marks,
    seam::Trace,
};
use hawser_gateway::worker::Phase;
use hawser_ring::sim::{Crash, FaultCounts, Faults, SimDisk, World};
use hawser_router::host::{HostCounters, Mark};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Rounds of one run at most: a system that does not come to rest is seen as one.
const ROUNDS_MAX: u64 = 3_000_000;
/// Fair weather in which all that is owed has to arrive, microseconds: client back-offs, lost
/// heartbeats and retries for storage are a few seconds each.
const FAIR_US: u64 = 120_000_000;
/// Quiet time after that, in which nothing may come twice and busy connections cool down.
const QUIET_US: u64 = 12_000_000;
/// Time in which the process has to notice that all clients have left.
const LEAVE_US: u64 = 60_000_000;
/// Time a process gets to drain, and then to stop, microseconds.
const DRAIN_US: u64 = 25_000_000;
/// See [`DRAIN_US`].
const STOP_US: u64 = 10_000_000;
/// Longest time between the end of a process and the start of the next.
const DOWN_US: u64 = 500_000;

/// Longest time a crash waits for its moment.
const MOMENT_US: u64 = 2_000_000;

/// What a run came to.
#[derive(Debug)]
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// What went wrong, if anything.
    pub violation: Option<Violation>,
    /// Hash of everything that happened.
    pub trace: u64,
    /// Messages sent.
    pub messages: usize,
    /// Virtual time it took, microseconds.
    pub took_us: u64,
    /// Rounds of turns it took.
    pub rounds: u64,
    /// How often each fault was hit.
    pub faults: FaultCounts,
    /// How often each mark was hit.
    pub marks: Marks,
}

struct Run {
    plan: Plan,
    machine: Machine,
    /// The one process of the embedded form.
    process: Option<Process>,
    /// All processes of the separate one.
    cluster: Option<Cluster>,
    start_at_us: u64,
    began_us: u64,
    devices: Vec<Device>,
    /// Devices that read everything at the end; they stand behind the others.
    readers: usize,
    oracle: Oracle,
    marks: Marks,
    /// Counters of the hosts that live, as last seen.
    seen: Vec<Option<HostCounters>>,
    /// Connections held and hot, as last seen.
    seen_hot: (u64, u64),
    rounds: u64,
    full_until_us: u64,
    tell: Tell,
}

/// What a run prints while it goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tell {
    /// What happens when.
    pub events: bool,
    /// All that this device says and hears.
    pub device: Option<usize>,
}

/// Runs a plan.
pub fn run(plan: &Plan, plants: Plants, tell: Tell) -> Verdict {
    let world = World::new(plan.seed, plan.faults.clone());
    let trace = Trace::new();
    let mut run = Run::new(plan.clone(), &world, trace.clone(), plants, tell);
    let outcome = catch_unwind(AssertUnwindSafe(|| run.play()));
    run.devices.iter().for_each(|device| run.say(&device.describe()));
    run.cluster.iter().for_each(|cluster| run.say(&cluster.describe()));
    let violation = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
            // What the panic left half done must not be dropped in an orderly way.
            std::mem::forget(run.process.take());
            std::mem::forget(run.cluster.take());
            Some(Violation::Panicked(text.unwrap_or_default()))
        }
    };
    trace.add(run.oracle.events());
    Verdict {
        seed: plan.seed,
        violation,
        trace: trace.value(),
        messages: run.oracle.messages(),
        rounds: run.rounds,
        took_us: world.now().monotonic_us - run.began_us,
        faults: world.counts(),
        marks: std::mem::take(&mut run.marks),
    }
}

impl Run {
    fn new(plan: Plan, world: &World, trace: Trace, plants: Plants, tell: Tell) -> Self {
        let users: Vec<String> = (0..plan.users).map(|user| format!("user-{user}")).collect();
        let mut named: Vec<(usize, String)> = Vec::new();
        for (user, count) in plan.devices.iter().enumerate() {
            named.extend((0..*count).map(|device| (user, format!("device-{device}"))));
        }
        let readers = named.len();
        named.extend((0..plan.users).map(|user| (user, "reader".to_owned())));
        let cluster = Cluster::new(&plan, world, &trace, plants);
        let targets = match plan.form {
            Form::Embedded => vec![process::address()],
            Form::Separate { .. } => Cluster::addresses(),
        };
        let devices = named.iter().enumerate().map(|(index, (user, name))| {
            let mut device = Device::new(&plan, index, *user, &users, name, plants, &targets);
            if index >= readers {
                device.calm_down();
            }
            if tell.device == Some(index) {
                device.tell();
            }
            device
        });
        let began_us = world.now().monotonic_us;
        Self {
            devices: devices.collect(),
            readers,
            oracle: Oracle::new(users, named),
            machine: Machine { world: world.clone(), disk: SimDisk::new(world), trace, plants },
            process: None,
            // There is no such process in the separate form.
            start_at_us: if cluster.is_some() { u64::MAX } else { began_us },
            cluster,
            began_us,
            marks: Marks::default(),
            seen: vec![None; HOSTS_MAX],
            seen_hot: (0, 0),
            rounds: 0,
            full_until_us: 0,
            plan,
            tell,
        }
    }

    fn now_us(&self) -> u64 {
        self.machine.world.now().monotonic_us
    }

    fn say(&self, what: &str) {
        if self.tell.events {
            eprintln!("{:>12.6} s  {what}", (self.now_us() - self.began_us) as f64 / 1e6);
        }
    }

    fn play(&mut self) -> Result<(), Violation> {
        for (at, trouble) in std::mem::take(&mut self.plan.troubles) {
            self.until(self.began_us + at, self.readers, |_| false)?;
            self.meet(trouble)?;
        }
        self.until(self.began_us + self.plan.trouble_us, self.readers, |_| false)?;
        self.say("fair weather");
        self.machine.world.set_faults(Faults::none());
        self.machine.disk.set_full(false);
        self.full_until_us = 0;
        self.devices.iter_mut().for_each(Device::calm_down);
        if let Some(cluster) = &mut self.cluster {
            cluster.calm_down();
        }
        let all = self.devices.len();
        let fair_until = self.now_us() + FAIR_US;
        self.until(fair_until, all, |run| run.oracle.owed(|_| true).is_none())?;
        if let Some(owed) = self.oracle.owed(|_| true) {
            return Err(owed);
        }
        self.until(self.now_us() + QUIET_US, all, |_| false)?;
        self.leave()
    }

    /// Everybody leaves; then nothing may be left behind.
    fn leave(&mut self) -> Result<(), Violation> {
        self.say("everybody leaves");
        self.devices.iter_mut().for_each(Device::end);
        let all = self.devices.len();
        let leftovers = |run: &Self| match &run.cluster {
            Some(cluster) => cluster.leftovers(),
            None => run.process.as_ref().and_then(Process::leftovers),
        };
        self.until(self.now_us() + LEAVE_US, all, |run| leftovers(run).is_none())?;
        if let Some(text) = leftovers(self) {
            return Err(Violation::Leaked(text));
        }
        self.collect_marks(true);
        if let Some(cluster) = &mut self.cluster {
            cluster.collect_marks(&mut self.marks)?;
        }
        Ok(())
    }

    fn meet(&mut self, trouble: Trouble) -> Result<(), Violation> {
        self.say(&format!("{trouble:?}"));
        match trouble {
            Trouble::Kill(moment) => self.crash_at(moment, Crash::Process)?,
            Trouble::PowerCut(moment) => self.crash_at(moment, Crash::Power)?,
            Trouble::Drain => self.drain()?,
            Trouble::DiskFull(for_us) => {
                self.machine.disk.set_full(true);
                self.full_until_us = self.now_us() + for_us;
            }
            Trouble::ClockJump(by_ms) => self.machine.world.jump_wall_ms(by_ms),
            Trouble::Node(trouble) => self.meet_at_node(trouble)?,
        }
        Ok(())
    }

    fn meet_at_node(&mut self, trouble: NodeTrouble) -> Result<(), Violation> {
        if let NodeTrouble::Kill(node, Moment::Writing, _)
        | NodeTrouble::PowerCut(node, Moment::Writing, _) = trouble
        {
            self.await_write(|run| {
                run.cluster.as_ref().is_some_and(|cluster| cluster.is_writing(node))
            })?;
        }
        match &mut self.cluster {
            Some(cluster) => cluster.meet(trouble, &mut self.marks),
            None => Ok(()),
        }
    }

    /// Until some time in the midst of a write.
    fn await_write(&mut self, writing: impl Fn(&Self) -> bool) -> Result<(), Violation> {
        self.until(self.now_us() + MOMENT_US, self.readers, writing)?;
        // It was asked for a moment ago; the disk may be anywhere in it.
        let wait_us = self.machine.world.draw(self.plan.faults.conditions.disk_us.1);
        self.until(self.now_us() + self.plan.round_us + wait_us, self.readers, |_| false)
    }

    fn crash_at(&mut self, moment: Moment, crash: Crash) -> Result<(), Violation> {
        if moment == Moment::Writing {
            self.await_write(|run| run.process.as_ref().is_some_and(Process::is_writing))?;
        }
        self.crash(crash);
        Ok(())
    }

    fn crash(&mut self, crash: Crash) {
        self.collect_marks(true);
        if let Some(process) = self.process.take() {
            drop(process);
            self.machine.disk.crash(crash);
        }
        self.start_at_us = self.now_us() + self.machine.world.draw(DOWN_US);
    }

    fn drain(&mut self) -> Result<(), Violation> {
        if let Some(process) = &self.process {
            process.set_phase(Phase::Draining);
        }
        let over = |run: &Self| run.process.as_ref().is_none_or(Process::is_over);
        self.until(self.now_us() + DRAIN_US, self.readers, over)?;
        if let Some(process) = &self.process {
            process.set_phase(Phase::Stopping);
        }
        self.until(self.now_us() + STOP_US, self.readers, over)?;
        if let Some(process) = self.process.as_ref().filter(|process| !process.is_over()) {
            return Err(Violation::Restless(format!("does not stop: {}", process.describe())));
        }
        self.crash(Crash::Process);
        Ok(())
    }

    /// Plays until `end_us`, or until `done` says so; the first `devices` devices take part.
    fn until(
        &mut self,
        end_us: u64,
        devices: usize,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Violation> {
        while self.now_us() < end_us && !done(self) {
            self.rounds += 1;
            if self.rounds > ROUNDS_MAX {
                let process = match &self.cluster {
                    Some(cluster) => Some(cluster.describe()),
                    None => self.process.as_ref().map(Process::describe),
                };
                return Err(Violation::Restless(format!("at {} us: {process:?}", self.now_us())));
            }
            let busy = self.round(devices)?;
            let now_us = self.now_us();
            let next_us = if busy { now_us } else { self.next_us(devices) };
            self.machine.world.advance_to(next_us.max(now_us + self.plan.round_us).min(end_us));
        }
        Ok(())
    }

    /// One turn of each worker, in any order, some left out; then the devices.
    fn round(&mut self, devices: usize) -> Result<bool, Violation> {
        let world = self.machine.world.clone();
        let now = world.now();
        if self.full_until_us > 0 && now.monotonic_us >= self.full_until_us {
            self.full_until_us = 0;
            self.machine.disk.set_full(false);
        }
        if self.process.is_none() && now.monotonic_us >= self.start_at_us {
            self.start()?;
        }
        let missed = self.plan.missed_turns;
        let mut busy = false;
        if let Some(process) = &mut self.process {
            busy |= process.run_jobs(now.monotonic_us, now.wall_ms);
            let count = process.workers();
            let first = world.draw(count as u64) as usize;
            for index in first..first + count {
                if count > 1 && missed > 0 && world.draw(missed) == 0 {
                    busy = true;
                    continue;
                }
                busy |= process.turn(index, now.monotonic_us).map_err(Violation::Leaked)?;
            }
        }
        if let Some(cluster) = &mut self.cluster {
            busy |= cluster.round(&self.plan, &mut self.marks)?;
        }
        if self.rounds.is_multiple_of(8) {
            self.collect_marks(false);
        }
        for device in &mut self.devices[..devices] {
            device.step(world.now(), &world, &mut self.oracle, &self.machine.trace)?;
        }
        Ok(busy || world.next_event_us().is_some_and(|at| at <= now.monotonic_us))
    }

    fn next_us(&self, devices: usize) -> u64 {
        let mut next = self.machine.world.next_event_us().unwrap_or(u64::MAX);
        let mut sooner = |at: Option<u64>| next = next.min(at.unwrap_or(u64::MAX));
        match (&self.process, &self.cluster) {
            (_, Some(cluster)) => sooner(cluster.next_us()),
            (Some(process), None) => sooner(process.next_us()),
            (None, None) => sooner(Some(self.start_at_us)),
        }
        sooner((self.full_until_us > 0).then_some(self.full_until_us));
        for device in &self.devices[..devices] {
            sooner(device.next_us());
        }
        next
    }

    fn start(&mut self) -> Result<(), Violation> {
        let counts = self.plan.next_counts();
        self.say(&format!("{counts:?}"));
        match Process::start(&self.machine, &self.plan, counts) {
            Ok(process) => {
                self.marks.add("torn tail cut", process.torn as u64);
                self.marks.add("checkpoint used", u64::from(process.from_checkpoint));
                self.seen = vec![None; HOSTS_MAX];
                self.process = Some(process);
                Ok(())
            }
            // The header of a new directory finds no room: the operator makes some.
            Err(_) if self.full_until_us > 0 => {
                self.start_at_us = self.full_until_us + 1;
                Ok(())
            }
            Err(text) => Err(Violation::Unrecoverable(text)),
        }
    }

    /// Counters die with a host's life, so they are looked at often, and added when a life ends.
    fn collect_marks(&mut self, ends: bool) {
        let Some(process) = &self.process else { return };
        let mut now: Vec<Option<HostCounters>> = vec![None; HOSTS_MAX];
        for (index, counters) in process.host_counters() {
            now[index] = Some(counters);
        }
        for (index, before) in self.seen.iter_mut().enumerate() {
            if let Some(counters) = before.as_ref()
                && now[index].as_ref().is_none_or(|now| now.accepted < counters.accepted)
            {
                add_host(&mut self.marks, counters);
            }
            *before = now[index];
        }
        let (held, hot) = process.connections();
        let (held_before, hot_before) = std::mem::replace(&mut self.seen_hot, (held, hot));
        if held == held_before {
            self.marks.add("connection became hot", hot.saturating_sub(hot_before));
            self.marks.add("connection cooled down", hot_before.saturating_sub(hot));
        }
        if !ends {
            return;
        }
        self.seen_hot = (0, 0);
        for counters in self.seen.iter_mut().filter_map(Option::take) {
            add_host(&mut self.marks, &counters);
        }
        for worker in &process.metrics.workers {
            // Slots are freed after their last completion, so none is ever stale.
            assert_eq!(worker.stale_completions.get(), 0, "a completion met a freed slot");
            self.marks.add("starved receive", worker.starved.get());
            self.marks.add("outbound stall", worker.outbound_stalls.get());
            self.marks.add("connection passed", worker.passed.get());
            self.marks.add("session resumed", worker.resumes.get());
            self.marks.add("heartbeat missed", worker.heartbeats_expired.get());
        }
        for host in &process.metrics.hosts {
            self.marks.add("lane failed and rebuilt", host.lane_failures.get());
            self.marks.add("checkpoint made", host.checkpoints.get());
            self.marks.add("checkpoint failed", host.checkpoint_failures.get());
        }
    }
}

fn add_host(marks: &mut Marks, counters: &HostCounters) {
    for mark in Mark::ALL {
        marks.add_host(*mark, counters.mark(*mark));
    }
}
