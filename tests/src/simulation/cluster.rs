//! Gateways and routers as processes of their own, each on a machine with its own disk, and the ways
//! between them.

use super::{
    nodes::{GATEWAYS, Node, NodeTrouble},
    oracle::Violation,
    plan::{Form, Plan},
    plant::Plants,
    process::{GatewaySetup, Machine, Process},
    report::Marks,
    router::{Router, RouterSetup},
    seam::Trace,
};
use hawser_gateway::{metrics::CloseReason, worker::Phase};
use hawser_ring::sim::{Crash, Road, SimDisk, World};
use hawser_router::{RouterPlace, host::HostCounters, host::Mark, link::LinkSecret};
use std::net::SocketAddr;

/// Longest time between two looks at counters that die with a process, rounds.
const LOOK_ROUNDS: u64 = 8;

/// Time a process gets to leave, microseconds: a pause on the way included.
const LEAVE_US: u64 = 25_000_000;
/// And to end once it must.
const STOP_US: u64 = 10_000_000;

/// A place for a process.
struct Seat<T> {
    node: Node,
    machine: Machine,
    running: Option<T>,
    start_at_us: u64,
    /// Stopped by a signal until then.
    paused_until_us: u64,
    full_until_us: u64,
    /// It was asked to leave; started again so long after its end, microseconds, and must have ended
    /// by then.
    leaving: Option<(u64, u64)>,
    /// Nothing gets in or out of the machine: its power is off.
    is_dark: bool,
}

impl<T> Seat<T> {
    fn new(node: Node, machine: Machine, start_at_us: u64) -> Self {
        Self {
            node,
            machine,
            running: None,
            start_at_us,
            paused_until_us: 0,
            full_until_us: 0,
            leaving: None,
            is_dark: false,
        }
    }

    fn active(&mut self, now_us: u64) -> Option<&mut T> {
        self.running.as_mut().filter(|_| self.paused_until_us <= now_us)
    }

    fn next_us(&self, now_us: u64, of: impl Fn(&T) -> Option<u64>) -> Option<u64> {
        let full = (self.full_until_us > 0).then_some(self.full_until_us);
        let own = match &self.running {
            None => Some(self.start_at_us),
            Some(_) if self.paused_until_us > now_us => Some(self.paused_until_us),
            Some(running) => of(running),
        };
        [full, own].into_iter().flatten().min()
    }

    /// A full disk is emptied in time.
    fn make_room(&mut self, now_us: u64) {
        if self.full_until_us > 0 && now_us >= self.full_until_us {
            self.full_until_us = 0;
            self.machine.disk.set_full(false);
        }
    }
}

/// A way that is to become like all others again.
struct Detour {
    from: Node,
    to: Node,
    until_us: u64,
}

/// See the module.
pub struct Cluster {
    world: World,
    gateways: Vec<Seat<Process>>,
    workers: [u16; GATEWAYS],
    /// A gateway has the wrong secret until it is started again, due then.
    mistaken_until_us: [u64; GATEWAYS],
    routers: Vec<Seat<Router>>,
    detours: Vec<Detour>,
    /// Counters of the hosts that live, as last seen.
    seen: Vec<Option<HostCounters>>,
    /// Gateways whose breaker towards a router was open, as last seen.
    refusing: u64,
    /// Processes whose last turn left something to be done at once, gateways first.
    unfinished: Vec<bool>,
    rounds: u64,
}

impl Cluster {
    /// All processes start at once, unless the plan is of another form.
    pub fn new(plan: &Plan, world: &World, trace: &Trace, plants: Plants) -> Option<Self> {
        let Form::Separate { gateways, routers } = plan.form else { return None };
        let now_us = world.now().monotonic_us;
        let machine = || Machine {
            world: world.clone(),
            disk: SimDisk::new(world),
            trace: trace.clone(),
            plants,
        };
        let gateway = |index| Seat::new(Node::Gateway(index), machine(), now_us);
        let router = |index| Seat::new(Node::Router(index), machine(), now_us);
        Some(Self {
            world: world.clone(),
            gateways: (0..GATEWAYS as u16).map(gateway).collect(),
            workers: gateways,
            mistaken_until_us: [0; GATEWAYS],
            routers: (0..routers).map(router).collect(),
            detours: Vec::new(),
            seen: vec![None; usize::from(routers)],
            refusing: 0,
            unfinished: vec![false; GATEWAYS + usize::from(routers)],
            rounds: 0,
        })
    }

    /// Where clients connect to.
    pub fn addresses() -> Vec<SocketAddr> {
        (0..GATEWAYS as u16).map(|gateway| Node::Gateway(gateway).address()).collect()
    }

    fn router_addresses(&self) -> Vec<SocketAddr> {
        self.routers.iter().map(|seat| seat.node.address()).collect()
    }

    fn nodes(&self) -> Vec<Node> {
        let gateways = self.gateways.iter().map(|seat| seat.node);
        gateways.chain(self.routers.iter().map(|seat| seat.node)).collect()
    }

    /// One turn of each process's threads, in any order, some left out. True if there may be more
    /// to do at once.
    pub fn round(&mut self, plan: &Plan, marks: &mut Marks) -> Result<bool, Violation> {
        let now = self.world.now();
        let now_us = now.monotonic_us;
        self.end_detours(now_us);
        self.see_off(now_us, marks)?;
        self.correct_secrets(now_us, marks);
        self.start_some(plan, marks)?;
        let mut busy = false;
        let count = self.gateways.len() + self.routers.len();
        let first = self.world.draw(count as u64) as usize;
        for index in (first..first + count).map(|index| index % count) {
            if plan.missed_turns > 0 && self.world.draw(plan.missed_turns) == 0 {
                busy |= self.unfinished[index];
                continue;
            }
            let goes_on = match index.checked_sub(self.gateways.len()) {
                None => self.turn_gateway(index, now_us)?,
                Some(router) => self.turn_router(router)?,
            };
            self.unfinished[index] = goes_on;
            busy |= goes_on;
        }
        self.rounds += 1;
        if self.rounds.is_multiple_of(LOOK_ROUNDS) {
            self.look(marks)?;
        }
        Ok(busy)
    }

    fn turn_gateway(&mut self, index: usize, now_us: u64) -> Result<bool, Violation> {
        let mut busy = false;
        let Some(process) = self.gateways[index].active(now_us) else { return Ok(false) };
        for worker in 0..process.workers() {
            busy |= process.turn(worker, now_us).map_err(Violation::Leaked)?;
        }
        Ok(busy)
    }

    fn turn_router(&mut self, index: usize) -> Result<bool, Violation> {
        let now = self.world.now();
        let seat = &mut self.routers[index];
        seat.make_room(now.monotonic_us);
        let Some(router) = seat.active(now.monotonic_us) else { return Ok(false) };
        let did = router.run_jobs(now);
        Ok(router.turn().map_err(Violation::Leaked)? || did)
    }

    /// When something is due without anything happening first, microseconds.
    pub fn next_us(&self) -> Option<u64> {
        let now_us = self.world.now().monotonic_us;
        let gateways =
            self.gateways.iter().filter_map(|seat| seat.next_us(now_us, Process::next_us));
        let routers = self.routers.iter().filter_map(|seat| seat.next_us(now_us, Router::next_us));
        let detours = self.detours.iter().map(|detour| detour.until_us);
        let mistaken = self.mistaken_until_us.iter().copied().filter(|until_us| *until_us > 0);
        gateways.chain(routers).chain(detours).chain(mistaken).min()
    }

    /// How it stands, for people.
    pub fn describe(&self) -> String {
        let gateways = self.gateways.iter().map(|seat| match &seat.running {
            Some(process) => process.describe(),
            None => format!("{:?} is down", seat.node),
        });
        let routers = self.routers.iter().map(|seat| match &seat.running {
            Some(router) => router.describe(),
            None => format!("{:?} is down", seat.node),
        });
        gateways.chain(routers).collect::<Vec<_>>().join("\n")
    }

    /// A write of this router is in flight.
    pub fn is_writing(&self, node: Node) -> bool {
        let seat = self.routers.iter().find(|seat| seat.node == node);
        seat.and_then(|seat| seat.running.as_ref()).is_some_and(Router::is_writing)
    }

    /// What should have been given back and was not, once every client has left.
    pub fn leftovers(&self) -> Option<String> {
        for seat in &self.gateways {
            let Some(process) = &seat.running else {
                return Some(format!("{:?} is down", seat.node));
            };
            if let Some(text) = process.leftovers() {
                return Some(format!("{:?}: {text}", seat.node));
            }
        }
        let (gateways, routers) = (self.gateways.len() as u64, self.routers.len() as u64);
        for seat in &self.routers {
            let Some(router) = &seat.running else {
                return Some(format!("{:?} is down", seat.node));
            };
            let links = &router.metrics.links;
            let counts = (links.gateways.get(), links.routers.get());
            let sessions = router.host_counters().map(|host| host.sessions);
            if counts != (gateways, routers - 1) || sessions != Some(0) {
                return Some(format!("{:?}: {counts:?} links, {sessions:?} sessions", seat.node));
            }
        }
        None
    }

    /// All that ends by itself ends now.
    pub fn calm_down(&mut self) {
        let now_us = self.world.now().monotonic_us;
        for detour in &mut self.detours {
            detour.until_us = now_us;
        }
        for seat in &mut self.gateways {
            seat.paused_until_us = 0;
            seat.start_at_us = now_us;
        }
        for seat in &mut self.routers {
            seat.paused_until_us = 0;
            seat.start_at_us = now_us;
            seat.full_until_us = 0;
            seat.machine.disk.set_full(false);
        }
        for until_us in self.mistaken_until_us.iter_mut().filter(|until_us| **until_us > 0) {
            *until_us = now_us;
        }
    }

    /// Something happens. A crash that has to wait for its moment has waited.
    pub fn meet(&mut self, trouble: NodeTrouble, marks: &mut Marks) -> Result<(), Violation> {
        let now_us = self.world.now().monotonic_us;
        match trouble {
            NodeTrouble::Kill(node, _, for_us) => {
                self.crash(node, Crash::Process, now_us + for_us, marks)?;
            }
            NodeTrouble::PowerCut(node, _, for_us) => {
                self.crash(node, Crash::Power, now_us + for_us, marks)?;
            }
            NodeTrouble::Pause(node, for_us) => match node {
                Node::Gateway(index) => {
                    self.gateways[usize::from(index)].paused_until_us = now_us + for_us;
                }
                Node::Router(index) => {
                    self.routers[usize::from(index)].paused_until_us = now_us + for_us;
                }
            },
            NodeTrouble::Leave(node, for_us) => self.ask_to_leave(node, for_us),
            NodeTrouble::DiskFull(node, for_us) => {
                if let Some(seat) = self.routers.iter_mut().find(|seat| seat.node == node) {
                    seat.machine.disk.set_full(true);
                    seat.full_until_us = now_us + for_us;
                }
            }
            NodeTrouble::WrongSecret(node, for_us) => {
                if let Node::Gateway(index) = node {
                    self.crash(node, Crash::Process, now_us, marks)?;
                    self.mistaken_until_us[usize::from(index)] = now_us + for_us;
                }
            }
            NodeTrouble::Reset(one, other) => {
                let links = self.world.reset_between(one.machine(), other.machine());
                marks.add("link reset", links as u64);
            }
            NodeTrouble::Road(from, to, road, for_us) => {
                self.detour(from, to, road, now_us + for_us);
            }
            NodeTrouble::Apart(one, other, for_us) => {
                self.detour(one, other, Road::Lost, now_us + for_us);
                self.detour(other, one, Road::Lost, now_us + for_us);
            }
        }
        Ok(())
    }

    fn ask_to_leave(&mut self, node: Node, for_us: u64) {
        let by_us = self.world.now().monotonic_us + LEAVE_US;
        match node {
            Node::Gateway(index) => {
                let seat = &mut self.gateways[usize::from(index)];
                if let Some(process) = seat.running.as_ref().filter(|_| seat.leaving.is_none()) {
                    process.set_phase(Phase::Draining);
                    seat.leaving = Some((for_us, by_us));
                }
            }
            Node::Router(index) => {
                let seat = &mut self.routers[usize::from(index)];
                if let Some(router) = seat.running.as_mut().filter(|_| seat.leaving.is_none()) {
                    router.leave();
                    seat.leaving = Some((for_us, by_us));
                }
            }
        }
    }

    /// Takes those out that have left.
    fn see_off(&mut self, now_us: u64, marks: &mut Marks) -> Result<(), Violation> {
        let mut gone = Vec::new();
        for seat in self.gateways.iter_mut().filter(|seat| seat.paused_until_us <= now_us) {
            let (Some(process), Some((for_us, by_us))) = (&seat.running, &mut seat.leaving) else {
                continue;
            };
            if process.is_over() {
                gone.push((seat.node, now_us + *for_us));
            } else if *by_us <= now_us && process.phase() == Phase::Draining {
                process.set_phase(Phase::Stopping);
                *by_us = now_us + STOP_US;
            } else if *by_us <= now_us {
                return Err(Violation::Restless(format!("does not stop: {}", process.describe())));
            }
        }
        for seat in self.routers.iter().filter(|seat| seat.paused_until_us <= now_us) {
            let (Some(router), Some((for_us, by_us))) = (&seat.running, seat.leaving) else {
                continue;
            };
            if router.has_left() {
                gone.push((seat.node, now_us + for_us));
            } else if by_us <= now_us {
                return Err(Violation::Restless(format!("does not stop: {}", router.describe())));
            }
        }
        for (node, start_at_us) in gone {
            marks.add("process left in order", 1);
            self.crash(node, Crash::Process, start_at_us, marks)?;
        }
        Ok(())
    }

    fn detour(&mut self, from: Node, to: Node, road: Road, until_us: u64) {
        self.detours.retain(|detour| (detour.from, detour.to) != (from, to));
        self.detours.push(Detour { from, to, until_us });
        self.world.set_road(from.machine(), to.machine(), Some(road));
    }

    fn end_detours(&mut self, now_us: u64) {
        let dark = self.dark();
        let world = &self.world;
        self.detours.retain(|Detour { from, to, until_us }| {
            let goes_on = *until_us > now_us;
            if !goes_on && !dark.contains(from) && !dark.contains(to) {
                world.set_road(from.machine(), to.machine(), None);
            }
            goes_on
        });
    }

    fn dark(&self) -> Vec<Node> {
        let gateways = self.gateways.iter().filter(|seat| seat.is_dark).map(|seat| seat.node);
        let routers = self.routers.iter().filter(|seat| seat.is_dark).map(|seat| seat.node);
        gateways.chain(routers).collect()
    }

    /// The machine of `node` hears and says nothing while it has no power. Its peers learn of that
    /// when it is back, and its kernel knows of no connection.
    fn set_dark(&mut self, node: Node, dark: bool) {
        let others = self.nodes();
        let still_dark = self.dark();
        for other in others.into_iter().filter(|other| *other != node) {
            for (from, to) in [(node, other), (other, node)] {
                let detour = self.detours.iter().any(|way| (way.from, way.to) == (from, to));
                if dark {
                    self.world.set_road(from.machine(), to.machine(), Some(Road::Lost));
                } else if !detour && !still_dark.contains(&other) {
                    self.world.set_road(from.machine(), to.machine(), None);
                }
            }
        }
    }

    fn crash(
        &mut self,
        node: Node,
        crash: Crash,
        start_at_us: u64,
        marks: &mut Marks,
    ) -> Result<(), Violation> {
        self.look(marks)?;
        let is_dark = crash == Crash::Power;
        if is_dark {
            self.set_dark(node, true);
        }
        match node {
            Node::Gateway(index) => {
                let seat = &mut self.gateways[usize::from(index)];
                seat.is_dark |= is_dark;
                seat.start_at_us = start_at_us;
                seat.paused_until_us = 0;
                seat.leaving = None;
                if let Some(process) = seat.running.take() {
                    add_gateway(marks, &process);
                }
            }
            Node::Router(index) => {
                let seat = &mut self.routers[usize::from(index)];
                seat.is_dark |= is_dark;
                seat.start_at_us = start_at_us;
                seat.paused_until_us = 0;
                seat.leaving = None;
                if let Some(router) = seat.running.take() {
                    add_router(marks, &router);
                    drop(router);
                    seat.machine.disk.crash(crash);
                }
                if let Some(counters) = self.seen[usize::from(index)].take() {
                    add_host(marks, &counters);
                }
            }
        }
        Ok(())
    }

    /// Gateways that were given another secret are started again with the right one.
    fn correct_secrets(&mut self, now_us: u64, marks: &mut Marks) {
        for index in 0..self.gateways.len() {
            let until_us = self.mistaken_until_us[index];
            if until_us == 0 || until_us > now_us {
                continue;
            }
            self.mistaken_until_us[index] = 0;
            let seat = &mut self.gateways[index];
            seat.start_at_us = now_us;
            seat.leaving = None;
            if let Some(process) = seat.running.take() {
                add_gateway(marks, &process);
            }
        }
    }

    fn start_some(&mut self, plan: &Plan, marks: &mut Marks) -> Result<(), Violation> {
        let now_us = self.world.now().monotonic_us;
        let routers = self.router_addresses();
        let mut lit = Vec::new();
        for (index, seat) in self.gateways.iter_mut().enumerate() {
            if seat.running.is_some() || seat.start_at_us > now_us {
                continue;
            }
            let secret = if self.mistaken_until_us[index] > now_us { "mistaken" } else { "common" };
            let setup = GatewaySetup {
                machine: seat.node.machine(),
                workers: self.workers[index],
                routers: routers.clone(),
                secret: LinkSecret::new(secret.as_bytes()),
            };
            let process = Process::start_gateway(&seat.machine, plan, &setup);
            seat.running = Some(process.map_err(Violation::Unrecoverable)?);
            if std::mem::take(&mut seat.is_dark) {
                lit.push(seat.node);
            }
        }
        for (index, seat) in self.routers.iter_mut().enumerate() {
            if seat.running.is_some() || seat.start_at_us > now_us {
                continue;
            }
            let place = RouterPlace::new(index as u16, routers.len() as u16);
            let setup = RouterSetup {
                place: place.expect("an index below the length of the list"),
                routers: routers.clone(),
                secret: LinkSecret::new(b"common"),
            };
            match Router::start(&seat.machine, plan, setup) {
                Ok(router) => {
                    marks.add("torn tail cut", router.torn as u64);
                    marks.add("checkpoint used", u64::from(router.from_checkpoint));
                    seat.running = Some(router);
                    if std::mem::take(&mut seat.is_dark) {
                        lit.push(seat.node);
                    }
                }
                // The header of a new directory finds no room: the operator makes some.
                Err(_) if seat.full_until_us > 0 => seat.start_at_us = seat.full_until_us + 1,
                Err(text) => return Err(Violation::Unrecoverable(text)),
            }
            seat.make_room(now_us);
        }
        for node in lit {
            self.set_dark(node, false);
        }
        Ok(())
    }

    /// Counters die with a process or a host's life, so they are looked at often.
    fn look(&mut self, marks: &mut Marks) -> Result<(), Violation> {
        for (index, seat) in self.routers.iter().enumerate() {
            let now = seat.running.as_ref().and_then(Router::host_counters);
            let before = &mut self.seen[index];
            if let Some(counters) = before.as_ref()
                && now.as_ref().is_none_or(|now| now.accepted < counters.accepted)
            {
                add_host(marks, counters);
            }
            *before = now;
            if let Some(counters) = before.as_ref() {
                judge(seat.node, counters)?;
            }
        }
        let refusing =
            self.gateways.iter().filter_map(|seat| seat.running.as_ref()).map(|process| {
                process.metrics.routers.iter().map(|router| router.refusing.get()).sum::<u64>()
            });
        let refusing: u64 = refusing.sum();
        marks.add("breaker opened", refusing.saturating_sub(self.refusing));
        marks.add("breaker closed", self.refusing.saturating_sub(refusing));
        self.refusing = refusing;
        Ok(())
    }

    /// What is left to be counted at the end.
    pub fn collect_marks(&mut self, marks: &mut Marks) -> Result<(), Violation> {
        self.look(marks)?;
        for counters in self.seen.iter_mut().filter_map(Option::take) {
            add_host(marks, &counters);
        }
        for process in self.gateways.iter().filter_map(|seat| seat.running.as_ref()) {
            add_gateway(marks, process);
        }
        for router in self.routers.iter().filter_map(|seat| seat.running.as_ref()) {
            add_router(marks, router);
        }
        Ok(())
    }
}

/// Counters that say that something is wrong for good.
fn judge(node: Node, counters: &HostCounters) -> Result<(), Violation> {
    let gaps = counters.mark(Mark::StreamGap) + counters.stream_gaps;
    if gaps > 0 || counters.stream_faults > 0 {
        let faults = counters.stream_faults;
        let text = format!("{node:?}: {gaps} gaps, {faults} faults of streams");
        return Err(Violation::Reordered(text));
    }
    Ok(())
}

fn add_host(marks: &mut Marks, counters: &HostCounters) {
    for mark in Mark::ALL {
        marks.add_host_of_list(*mark, counters.mark(*mark));
    }
    marks.reopened += counters.streams_reopened;
    marks.add("entry streamed", counters.streamed);
    marks.add("stream opened", counters.stream_openings);
}

fn add_gateway(marks: &mut Marks, process: &Process) {
    for worker in &process.metrics.workers {
        // Slots are freed after their last completion, so none is ever stale.
        assert_eq!(worker.stale_completions.get(), 0, "a completion met a freed slot");
        let closed = |reason| worker.closed.at(reason).get();
        assert_eq!(closed(CloseReason::Fault), 0, "a gateway counted a fault of its own");
        marks.add("login", worker.logins.get());
        marks.add("session resumed", worker.resumes.get());
        let by_the_gateway = [
            CloseReason::Silent,
            CloseReason::Heartbeat,
            CloseReason::Stalled,
            CloseReason::Protocol,
            CloseReason::Kicked,
        ];
        marks.dropped += by_the_gateway.map(closed).iter().sum::<u64>();
    }
    for router in &process.metrics.routers {
        marks.add("link to a router up", router.links.get());
        marks.add("refused at the link", router.refused_at_link.get());
        let refused: u64 = router.refused.iter().map(|worker| worker.get()).sum();
        marks.add("refused before the link", refused);
    }
}

fn add_router(marks: &mut Marks, router: &Router) {
    let links = &router.metrics.links;
    marks.add("link refused", links.refused.get());
    marks.add("link silent", links.silent.get());
    marks.add("link lost", links.lost.get());
    marks.add("batch for somebody gone", links.undeliverable.get());
    let host = &router.metrics.host;
    marks.add("lane failed and rebuilt", host.lane_failures.get());
    marks.add("checkpoint made", host.checkpoints.get());
}
