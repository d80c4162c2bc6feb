//! A simulated ring: what is in flight, and the turn.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Fault, SimDisk, World,
    network::End,
    submit::Submission,
    world::{Happening, RingCore, State},
};
use crate::{
    Completion, Errno, Event, FileMode, Operation, RingAddress, RingCounters, RingSettings, Socket,
    Token, Turn, Wait, Waker, buffers::Loans,
};

pub use crate::setup::RingSettings as SimSettings;

/// Completions one enter of the kernel brings at most when no more are asked for
/// (`IO_LOCAL_TW_DEFAULT_MAX`, kernel 6.13).
const KERNEL_BATCH: u32 = 20;
/// Completions a turn reports at most, as the real backend.
const COMPLETIONS_PER_TURN: usize = crate::uring::COMPLETIONS_PER_TURN;

/// Token of events that have none of their own.
pub(super) const NO_TOKEN: Token = Token::new(Operation::Wake, 0, 0);

/// Operations armed on one slot.
#[derive(Debug, Default)]
pub(super) struct SlotOperations {
    pub receive: Option<Receive>,
    pub watch: Option<Token>,
    pub send: Option<(Token, Vec<u8>)>,
    pub connect: Option<Token>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Receive {
    pub token: Token,
    pub once: bool,
}

/// What a token in the kernel stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Slot(u32),
    Accept,
    Disk,
}

#[derive(Debug)]
pub(super) enum DiskWork {
    Write { offset: u64, bytes: Vec<u8>, range: std::ops::Range<usize>, durable: bool },
    Sync { mark: u64 },
    Read { offset: u64, length: u32 },
}

#[derive(Debug)]
pub(super) struct DiskOperation {
    pub due_us: u64,
    pub token: Token,
    pub inode: u64,
    pub work: DiskWork,
}

/// What a caller has in flight on one slot, from its call to the report of the end.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    pub operations: u32,
    pub sending: bool,
    pub receiving: bool,
}

#[derive(Debug)]
pub(super) struct Queued {
    /// Slot whose completions must keep their order.
    slot: Option<u32>,
    completion: Completion,
}

/// Completions of one slot that come later.
#[derive(Debug)]
struct Late {
    due_us: u64,
    queued: VecDeque<Queued>,
}

/// A ring of a simulated process. Dropping it is that process being killed: its connections are
/// reset, and what its writes in flight came to is decided by [`SimDisk::crash`].
#[derive(Debug)]
pub struct SimRing {
    pub(super) world: World,
    pub(super) disk: SimDisk,
    pub(super) index: u32,
    pub(super) settings: RingSettings,
    pub(super) memory: Vec<u8>,
    pub(super) loans: Loans,
    pub(super) free: VecDeque<u16>,
    pub(super) returned: Vec<u16>,
    pub(super) submissions: VecDeque<Submission>,
    pub(super) slots: BTreeMap<u32, SlotOperations>,
    pub(super) accepts: VecDeque<(Token, u32)>,
    pub(super) armed: BTreeMap<u64, Target>,
    pub(super) disk_operations: Vec<DiskOperation>,
    queue: VecDeque<Queued>,
    late: BTreeMap<u32, Late>,
    pub(super) outstanding: BTreeMap<u32, Outstanding>,
    /// Tokens of operations not yet reported to their end, with their slot.
    pub(super) live: BTreeMap<u64, Option<u32>>,
    pub(super) files: Vec<Option<(u64, FileMode)>>,
    woken: Arc<AtomicBool>,
    pub(super) counters: RingCounters,
    /// Where it connects from unless told.
    pub(super) machine: Option<IpAddr>,
}

#[derive(Debug)]
struct SimWaker(Arc<AtomicBool>);

impl Waker for SimWaker {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl SimRing {
    /// A ring in `world` whose files are on `disk`.
    pub fn new(world: &World, disk: &SimDisk, settings: RingSettings) -> Self {
        let mut state = world.state();
        let index = state.rings.len() as u32;
        state.rings.push(RingCore {
            alive: true,
            slots: vec![None; settings.descriptors as usize],
            ..RingCore::default()
        });
        drop(state);
        Self {
            world: world.clone(),
            disk: disk.clone(),
            index,
            settings,
            memory: vec![0; usize::from(settings.buffers) * settings.buffer_bytes as usize],
            loans: Loans::new(settings.buffers),
            free: (0..settings.buffers).collect(),
            returned: Vec::new(),
            submissions: VecDeque::new(),
            slots: BTreeMap::new(),
            accepts: VecDeque::new(),
            armed: BTreeMap::new(),
            disk_operations: Vec::new(),
            queue: VecDeque::new(),
            late: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            live: BTreeMap::new(),
            files: Vec::new(),
            woken: Arc::default(),
            counters: RingCounters::default(),
            machine: None,
        }
    }

    /// A ring on the machine of this address, from which it connects unless told otherwise.
    #[must_use]
    pub fn on_machine(mut self, machine: IpAddr) -> Self {
        self.machine = Some(machine);
        self
    }

    /// The process is killed; the same as dropping it.
    pub fn kill(self) {}

    /// Operations not yet reported to their end.
    pub fn in_flight(&self) -> usize {
        self.live.len()
    }

    pub(super) fn sim_waker(&self) -> Arc<dyn Waker> {
        Arc::new(SimWaker(Arc::clone(&self.woken)))
    }

    pub(super) fn sim_counters(&self) -> RingCounters {
        RingCounters { leases: self.loans.count(), ..self.counters }
    }

    pub(super) fn buffer(&self, buffer: u16, length: u32) -> &[u8] {
        let start = usize::from(buffer) * self.settings.buffer_bytes as usize;
        &self.memory[start..start + length as usize]
    }

    /// Something was asked for, so a turn has work.
    pub(super) fn submit(&mut self, submission: Submission) {
        self.submissions.push_back(submission);
        self.world.state().rings[self.index as usize].pending = true;
    }

    pub(super) fn sim_turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> Turn {
        let world = self.world.clone();
        let mut state = world.state();
        self.counters.enters += 1;
        for fault in [Fault::Interrupted, Fault::Busy] {
            if state.strikes(fault) {
                return Turn { now: state.now(), interrupted: true };
            }
        }
        self.free.extend(self.returned.drain(..));
        state.rings[self.index as usize].pending = false;
        while let Some(submission) = self.submissions.pop_front() {
            self.take(&mut state, submission);
        }
        self.take_wakes(&mut state);
        self.serve_accepts(&mut state);
        self.look_at_slots(&mut state);
        self.finish_disk_operations(&mut state);
        self.release_late(state.now_us);
        if state.strikes(Fault::Reordered) {
            self.reorder(&mut state);
        }
        let limit = wait.batch.max(KERNEL_BATCH) as usize;
        self.report(limit.min(COMPLETIONS_PER_TURN), completions);
        let more = !self.queue.is_empty();
        state.rings[self.index as usize].pending |= more;
        Turn { now: state.now(), interrupted: false }
    }

    fn report(&mut self, limit: usize, completions: &mut Vec<Completion>) {
        for _ in 0..limit {
            let Some(Queued { completion, .. }) = self.queue.pop_front() else { break };
            if !completion.more
                && let Some(Some(slot)) = self.live.remove(&completion.token.to_u64())
            {
                self.settle(slot, completion.token.operation);
            }
            self.counters.completions += 1;
            completions.push(completion);
        }
    }

    /// One operation of a slot has been reported to its end.
    fn settle(&mut self, slot: u32, operation: Operation) {
        let Some(outstanding) = self.outstanding.get_mut(&slot) else { return };
        outstanding.operations -= 1;
        match operation {
            Operation::Send => outstanding.sending = false,
            Operation::Receive => outstanding.receiving = false,
            _ => {}
        }
        if outstanding.operations == 0 {
            self.outstanding.remove(&slot);
        }
    }

    /// A completion goes into the queue, or waits if its slot's are late.
    pub(super) fn complete(
        &mut self,
        state: &mut State,
        slot: Option<u32>,
        token: Token,
        more: bool,
        event: Event,
    ) {
        if !more {
            self.armed.remove(&token.to_u64());
        }
        let queued = Queued { slot, completion: Completion { token, more, event } };
        let Some(slot) = slot else { return self.queue.push_back(queued) };
        if let Some(late) = self.late.get_mut(&slot) {
            return late.queued.push_back(queued);
        }
        if state.strikes(Fault::Late) {
            let (low, high) = state.faults.conditions.late_us;
            let due_us = state.now_us + state.random.between(low, high);
            state.schedule(due_us, Happening::Due { ring: self.index });
            self.late.insert(slot, Late { due_us, queued: VecDeque::from([queued]) });
            return;
        }
        if self.queue.len() >= self.settings.completion_entries as usize {
            self.counters.overflows += 1;
        }
        self.queue.push_back(queued);
    }

    fn release_late(&mut self, now_us: u64) {
        let due: Vec<u32> = self
            .late
            .iter()
            .filter(|(_, late)| late.due_us <= now_us)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in due {
            if let Some(late) = self.late.remove(&slot) {
                self.queue.extend(late.queued);
            }
        }
    }

    /// Shuffles the queue, keeping each slot's completions in order.
    fn reorder(&mut self, state: &mut State) {
        let mut lanes: BTreeMap<Option<u32>, VecDeque<Queued>> = BTreeMap::new();
        let count = self.queue.len();
        for queued in self.queue.drain(..) {
            lanes.entry(queued.slot).or_default().push_back(queued);
        }
        let mut lanes: Vec<VecDeque<Queued>> = lanes.into_values().collect();
        for _ in 0..count {
            let lane = state.random.below(lanes.len() as u64) as usize;
            self.queue.extend(lanes[lane].pop_front());
            if lanes[lane].is_empty() {
                lanes.swap_remove(lane);
            }
        }
    }

    fn take_wakes(&mut self, state: &mut State) {
        while let Some((slot, completion)) = state.rings[self.index as usize].inbox.pop_front() {
            self.complete(state, slot, completion.token, false, completion.event);
        }
        if self.woken.swap(false, Ordering::Acquire) || state.strikes(Fault::SpuriousWake) {
            self.complete(state, None, NO_TOKEN, false, Event::Woken);
        }
    }

    fn serve_accepts(&mut self, state: &mut State) {
        if !std::mem::take(&mut state.rings[self.index as usize].accepts_dirty) {
            return;
        }
        let mut waiting = VecDeque::new();
        while let Some((token, listener)) = self.accepts.pop_front() {
            let connection = state
                .network
                .listeners
                .get_mut(&listener)
                .and_then(|listening| listening.backlog.pop_front());
            match connection {
                Some(end) => self.accept_one(state, token, end),
                None => waiting.push_back((token, listener)),
            }
        }
        self.accepts = waiting;
    }

    fn accept_one(&mut self, state: &mut State, token: Token, end: End) {
        let peer = state.network.half(end.other()).map(|half| half.address);
        let failure = if state.strikes(Fault::AcceptFailed) {
            Some(libc::ECONNABORTED)
        } else if state.strikes(Fault::TableFull) {
            Some(libc::ENFILE)
        } else {
            None
        };
        let slot = match failure {
            Some(errno) => Err(Errno(errno)),
            None => self.adopt(state, end).ok_or(Errno(libc::ENFILE)),
        };
        if slot.is_err() {
            state.close_end(end, failure == Some(libc::ECONNABORTED));
        }
        let accepted = slot
            .map(|slot| (Socket(slot), peer.expect("a backlog holds only connections that exist")));
        let slot = accepted.as_ref().ok().map(|(socket, _)| socket.0);
        self.complete(state, slot, token, false, Event::Accepted(accepted));
    }

    /// Gives an end a slot of this ring.
    pub(super) fn adopt(&mut self, state: &mut State, end: End) -> Option<u32> {
        let slot = state.rings[self.index as usize].place(end)?;
        if let Some(half) = state.network.half_mut(end) {
            half.owner = super::network::Owner::Slot { ring: self.index, slot };
        }
        state.rings[self.index as usize].dirty.insert(slot);
        Some(slot)
    }

    /// This ring's address, for the trait.
    pub(super) const fn sim_address(&self) -> RingAddress {
        RingAddress(self.index)
    }
}

impl Drop for SimRing {
    fn drop(&mut self) {
        for operation in self.disk_operations.drain(..) {
            if let DiskWork::Write { offset, bytes, range, durable } = operation.work {
                self.disk.orphan(operation.inode, offset, bytes[range].to_vec(), durable);
            }
        }
        self.world.drop_ring(RingAddress(self.index));
    }
}
