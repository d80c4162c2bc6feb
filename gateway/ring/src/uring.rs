//! The real backend: one io_uring, its descriptor table and its buffers, on the thread that made
//! it.
//!
//! Every entry goes to the kernel through `UringRing::try_push`, the only call of the crate's
//! unsafe push. What the kernel may touch while an operation is in flight:
//!
//! | operation | memory | owner while in flight | given back on |
//! |---|---|---|---|
//! | accept | address | `in_flight` | its completion |
//! | connect | address, table index | `in_flight` | completion of the last stage |
//! | receive | provided buffers | kernel, then the lease | `give_back` |
//! | send, write, read | the `Vec` | `in_flight` | its completion |
//! | abort | the linger value | static | - |
//! | watch, cancel, close, pass, wake, sync | none | - | - |
//!
//! `user_data` is the caller's token. Steps the caller never sees (moving a new socket into the
//! table, the first half of a pass) carry the same token with a stage in place of its
//! operation.
#![allow(unsafe_code)] // the one push, and teardown

mod complete;
mod connect;
mod flight;
mod group;
mod operate;
mod registry;

use std::{
    collections::VecDeque,
    fs, io,
    marker::PhantomData,
    mem::ManuallyDrop,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use hawser_codec::time::Now;
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use self::flight::InFlight;
use crate::{
    Completion, Event, Operation, RingAddress, RingCounters, Token, Turn, Wait, Waker, abi,
    abi::{EnterWait, RingName},
    buffers::{BUFFER_GROUP, Buffers},
    setup,
};

pub use self::group::RingGroup;
pub use crate::setup::{Probe, Refusal, RingSettings};

/// Completions one turn reports at most; the rest waits in the queue. At 2-4 µs each this keeps
/// a turn under 2 ms.
pub const COMPLETIONS_PER_TURN: usize = 512;
/// Waits of one turn that may end without anything to report (steps the caller never sees)
/// before it returns empty-handed.
const SILENT_ENTERS_MAX: u32 = 4;
/// Rounds teardown waits for cancelled operations before it leaks their memory instead.
const TEARDOWN_ROUNDS: u32 = 64;
/// Wait of one such round, microseconds.
const TEARDOWN_WAIT_US: u64 = 20_000;

/// What an entry is that the caller did not ask for as such; stands where a token has its
/// operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// A connect's socket moves into the table.
    ConnectTable = 0x41,
    /// A failed connect's slot closes.
    ConnectClose = 0x42,
    /// The descriptor travels to the other ring; the close is linked behind it.
    PassSend = 0x43,
    /// The linger value of an abort; the close is linked behind it.
    CloseAbort = 0x44,
    /// A wake left for another ring.
    WakeSent = 0x45,
    /// The event counter of [`Waker`] moved.
    Doorbell = 0x46,
    /// Answer to `peer_address`.
    PeerName = 0x47,
    /// Teardown's cancel.
    Teardown = 0x48,
    /// Another ring of the group has work ([`RingGroup`]).
    Signal = 0x49,
}

impl Stage {
    const ALL: [Self; 9] = [
        Self::ConnectTable,
        Self::ConnectClose,
        Self::PassSend,
        Self::CloseAbort,
        Self::WakeSent,
        Self::Doorbell,
        Self::PeerName,
        Self::Teardown,
        Self::Signal,
    ];

    /// `user_data` of this stage of `token`'s operation.
    const fn of(self, token: Token) -> u64 {
        (self as u64) << 56 | (token.to_u64() & ((1 << 56) - 1))
    }

    fn from_user_data(raw: u64) -> Option<Self> {
        if raw >> 56 < Self::ConnectTable as u64 {
            return None;
        }
        Self::ALL.into_iter().find(|stage| u64::from(*stage as u8) == raw >> 56)
    }
}

/// Token of events that have none of their own.
const NO_TOKEN: Token = Token::new(Operation::Wake, 0, 0);
/// Token under which the memory of the read behind [`Stage::Signal`] stands.
const SIGNAL_TOKEN: Token = Token::new(Operation::Wake, 1, 0);

/// A listening socket.
#[derive(Debug)]
struct Listening {
    fd: OwnedFd,
    address: SocketAddr,
}

/// See the module.
pub struct UringRing {
    ring: ManuallyDrop<IoUring>,
    name: RingName,
    probe: Probe,
    buffers: ManuallyDrop<Buffers>,
    in_flight: ManuallyDrop<InFlight>,
    /// Entries pushed whose last completion is not yet seen.
    armed: u64,
    /// Entries that found the submission queue full and the kernel busy.
    backlog: VecDeque<Box<[squeue::Entry]>>,
    /// Completions made here, for the next turn.
    ready: VecDeque<Completion>,
    /// Completions taken from the queue out of turn, by `peer_address`.
    early: VecDeque<cqueue::Entry>,
    scratch: Vec<cqueue::Entry>,
    listeners: Vec<Option<Listening>>,
    files: Vec<Option<fs::File>>,
    doorbell: Arc<OwnedFd>,
    /// Event counter that the other rings of the group count up, and whether it has moved.
    signal: Option<OwnedFd>,
    signalled: bool,
    address: RingAddress,
    descriptors: u32,
    used: u32,
    counters: RingCounters,
    /// Entering from another thread is an error (`SINGLE_ISSUER`).
    not_send: PhantomData<*mut ()>,
}

impl UringRing {
    /// Makes a ring for the calling thread.
    ///
    /// # Errors
    /// One line that names what is missing, its value and what helps.
    pub fn new(settings: RingSettings) -> Result<Self, Refusal> {
        let probe = setup::probe(settings.descriptors)?;
        let ring = IoUring::builder()
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_no_sqarray()
            .setup_cqsize(settings.completion_entries)
            .build(settings.submission_entries)
            .map_err(|error| refuse("io_uring_setup", settings, &error))?;
        ring.submitter()
            .register_files_sparse(settings.descriptors)
            .map_err(|error| refuse("registering the descriptor table", settings, &error))?;
        let buffers = Buffers::new(settings.buffers, settings.buffer_bytes)
            .map_err(|error| refuse("mapping the buffers", settings, &error))?;
        // SAFETY: the ring of entries is inside `buffers`, which is unmapped only after the ring
        // has no receive left, or never.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                buffers.ring_address(),
                buffers.count(),
                BUFFER_GROUP,
                0,
            )
        }
        .map_err(|error| refuse("registering the buffers", settings, &error))?;
        let doorbell = abi::event_fd(libc::EFD_NONBLOCK)
            .map_err(|error| refuse("making an eventfd", settings, &error))?;
        let address = registry::enter(ring.as_raw_fd())?;
        let name = abi::register_ring_fd(ring.as_raw_fd());
        let mut made = Self {
            ring: ManuallyDrop::new(ring),
            name,
            probe,
            buffers: ManuallyDrop::new(buffers),
            in_flight: ManuallyDrop::default(),
            armed: 0,
            backlog: VecDeque::new(),
            ready: VecDeque::new(),
            early: VecDeque::new(),
            scratch: Vec::with_capacity(COMPLETIONS_PER_TURN),
            listeners: Vec::new(),
            files: Vec::new(),
            doorbell: Arc::new(doorbell),
            signal: None,
            signalled: false,
            address,
            descriptors: settings.descriptors,
            used: 0,
            counters: RingCounters::default(),
            not_send: PhantomData,
        };
        made.arm_doorbell();
        Ok(made)
    }

    /// Both clocks as this backend's turns report them, for deadlines before the first turn.
    pub fn now() -> Now {
        abi::now()
    }

    /// What the kernel offers.
    pub const fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Operations in flight, multishots and the ring's own steps included.
    pub const fn in_flight(&self) -> u64 {
        self.armed
    }

    /// Watches the event counter. It is never read: each write to it wakes the watch again, and
    /// its 64 bits do not run out.
    fn arm_doorbell(&mut self) {
        let fd = types::Fd(self.doorbell.as_raw_fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
        self.push(entry.user_data(Stage::Doorbell.of(NO_TOKEN)));
    }

    /// Queues an entry whose completion is awaited.
    fn push(&mut self, entry: squeue::Entry) {
        self.armed += 1;
        self.push_batch(&[entry]);
    }

    /// Queues entries that must be submitted together, because they are linked. `armed` is the
    /// caller's to count, by the completions it awaits.
    fn push_batch(&mut self, entries: &[squeue::Entry]) {
        if !self.backlog.is_empty() || !self.try_push(entries) {
            // Full: let the kernel take what is there. If it cannot, the entries wait here; the
            // backlog is bounded by the operations the callers may have in flight.
            self.flush();
            if !self.backlog.is_empty() || !self.try_push(entries) {
                self.backlog.push_back(entries.into());
            }
        }
    }

    fn try_push(&mut self, entries: &[squeue::Entry]) -> bool {
        // SAFETY: the project's one push. Every pointer in an entry points into a value owned by
        // `in_flight` (heap memory that stays in place when the owner moves) or into a static;
        // `in_flight` lets go of a value only in `complete`, on the operation's last completion,
        // or leaks it at teardown. Provided buffers are named by group and belong to `buffers`,
        // which outlives the ring. Slots and descriptors are plain numbers the kernel checks.
        unsafe { self.ring.submission().push_multiple(entries) }.is_ok()
    }

    /// Submits without waiting, to make room. Completions stay where they are.
    fn flush(&mut self) {
        let _ = self.enter(EnterWait {
            completions: 0,
            gather_us: 0,
            timeout_us: None,
            no_iowait: false,
        });
    }

    fn enter(&mut self, wait: EnterWait) -> Result<u32, i32> {
        while let Some(entries) = self.backlog.pop_front() {
            if !self.try_push(&entries) {
                self.backlog.push_front(entries);
                break;
            }
        }
        let submit = self.ring.submission().len() as u32;
        self.counters.enters += 1;
        abi::enter(self.name, submit, wait)
    }

    /// How long the next enter may wait.
    fn entering(&mut self, wait: Wait, idle: bool) -> EnterWait {
        let params = self.ring.params();
        let no_iowait = params.is_feature_no_iowait();
        let gathers = params.is_feature_min_timeout();
        let now_us = abi::now().monotonic_us;
        let left = wait.until_us.map(|until| until.saturating_sub(now_us));
        let stay =
            idle && left != Some(0) && self.backlog.is_empty() && self.ring.completion().is_empty();
        if !stay {
            return EnterWait { completions: 0, gather_us: 0, timeout_us: None, no_iowait };
        }
        let gather = gathers && wait.gather_us > 0 && wait.batch > 1;
        EnterWait {
            completions: if gather { wait.batch.min(COMPLETIONS_PER_TURN as u32) } else { 1 },
            gather_us: if gather { wait.gather_us } else { 0 },
            timeout_us: left,
            no_iowait,
        }
    }

    /// One turn, until `completions` has `length_max` entries; true if the kernel was interrupted.
    fn run_turn(
        &mut self,
        wait: Wait,
        length_max: usize,
        completions: &mut Vec<Completion>,
    ) -> io::Result<bool> {
        let start = completions.len();
        self.buffers.publish();
        for _ in 0..SILENT_ENTERS_MAX {
            let idle = self.ready.is_empty() && self.early.is_empty();
            let entering = self.entering(wait, idle);
            if entering.completions == 0 && !self.needs_enter() {
                completions.extend(self.ready.drain(..));
                self.drain(length_max, completions)?;
                return Ok(false);
            }
            let interrupted = match self.enter(entering) {
                Ok(_) | Err(libc::ETIME) => false,
                Err(libc::EINTR | libc::EBUSY | libc::EAGAIN) => true,
                Err(errno) => return Err(io::Error::from_raw_os_error(errno)),
            };
            completions.extend(self.ready.drain(..));
            let seen = self.drain(length_max, completions)?;
            if interrupted || completions.len() > start || seen == 0 || self.signalled {
                return Ok(interrupted);
            }
        }
        Ok(false)
    }

    /// The kernel has something to take from us or to give; else a turn that does not wait is
    /// spared the system call.
    fn needs_enter(&mut self) -> bool {
        let queue = self.ring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow() || !self.backlog.is_empty()
    }

    /// Turns waiting completions into events; returns how many of the kernel's it took.
    fn drain(&mut self, length_max: usize, completions: &mut Vec<Completion>) -> io::Result<usize> {
        let room = length_max.saturating_sub(completions.len());
        let mut scratch = std::mem::take(&mut self.scratch);
        let early = self.early.len().min(room);
        scratch.extend(self.early.drain(..early));
        // The kernel keeps what does not fit and flags it; its own counter moves only when it
        // had no memory to keep it.
        self.counters.overflows += u64::from(self.ring.submission().cq_overflow());
        let queue = self.ring.completion();
        if queue.overflow() != 0 {
            return Err(io::Error::other("the kernel ran out of memory and lost completions"));
        }
        scratch.extend(queue.take(room - early));
        for entry in &scratch {
            self.complete(entry, completions);
        }
        let seen = scratch.len();
        scratch.clear();
        self.scratch = scratch;
        Ok(seen)
    }

    fn turn_now(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<Turn> {
        let start = completions.len();
        let length_max = start + COMPLETIONS_PER_TURN;
        let interrupted = self.run_turn(wait, length_max, completions)?;
        self.counters.completions += (completions.len() - start) as u64;
        Ok(Turn { now: abi::now(), interrupted })
    }

    /// Cancels everything and waits for it, for a bounded time; `false` if something stays.
    fn quiesce(&mut self) -> bool {
        if self.armed == 0 {
            return true;
        }
        let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::any()).build();
        self.push(cancel.user_data(Stage::Teardown.of(NO_TOKEN)));
        for _ in 0..TEARDOWN_ROUNDS {
            let result = self.enter(EnterWait {
                completions: 1,
                gather_us: 0,
                timeout_us: Some(TEARDOWN_WAIT_US),
                no_iowait: false,
            });
            let mut last = 0;
            last += self.early.drain(..).filter(is_last_of_ours).count();
            last += self.ring.completion().filter(is_last_of_ours).count();
            self.armed = self.armed.saturating_sub(last as u64);
            if self.armed == 0 {
                return true;
            }
            if matches!(result, Err(errno) if errno != libc::ETIME && errno != libc::EINTR) {
                return false;
            }
        }
        false
    }
}

/// The completion ends one of the entries counted in `armed`.
fn is_last_of_ours(entry: &cqueue::Entry) -> bool {
    if cqueue::more(entry.flags()) {
        return false;
    }
    match Stage::from_user_data(entry.user_data()) {
        Some(Stage::PassSend | Stage::CloseAbort | Stage::WakeSent) => false,
        Some(_) => true,
        None => Token::from_u64(entry.user_data())
            .is_some_and(|token| !matches!(token.operation, Operation::Wake | Operation::Arrive)),
    }
}

impl Drop for UringRing {
    fn drop(&mut self) {
        registry::leave(self.address);
        let quiet = self.quiesce();
        abi::unregister_ring_fd(self.ring.as_raw_fd(), self.name);
        // SAFETY: dropped once, here, and not used again.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
            if quiet {
                // Nothing is in flight, so the kernel touches neither any more. Otherwise both
                // leak: a kernel worker may still write there.
                ManuallyDrop::drop(&mut self.buffers);
                ManuallyDrop::drop(&mut self.in_flight);
            }
        }
    }
}

impl std::fmt::Debug for UringRing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("UringRing")
            .field("address", &self.address)
            .field("descriptors", &self.descriptors)
            .field("used", &self.used)
            .field("armed", &self.armed)
            .finish_non_exhaustive()
    }
}

/// The waker of threads without a ring.
#[derive(Debug)]
struct Doorbell(Arc<OwnedFd>);

impl Waker for Doorbell {
    fn wake(&self) {
        // The only error is a full counter, which has woken the ring already.
        let _ = abi::ring_event(&self.0);
    }
}

fn refuse(step: &str, settings: RingSettings, error: &io::Error) -> Refusal {
    let limits = setup::gather();
    Refusal(format!(
        "{step} failed: {error} (table of {} descriptors, RLIMIT_NOFILE {}, RLIMIT_MEMLOCK {})",
        settings.descriptors, limits.descriptor_limit, limits.locked_bytes_limit
    ))
}

/// A completion of the ring's own making.
fn made(token: Token, event: Event) -> Completion {
    Completion { token, more: false, event }
}
