//! Several rings of one thread that behave as one.
//!
//! `RLIMIT_NOFILE` bounds each ring's descriptor table, and often cannot be raised; a thread that
//! is to hold more connections than one table has slots has several rings. It waits on the first
//! alone. The others count up an event counter when their first task waits to be run, and the
//! first ring has a read of that counter in flight. (A poll of the other rings' descriptors would
//! not do: with deferred task work the kernel wakes it only after the tasks have run.)
//!
//! Sockets are numbered over all tables: table times slots of a table, plus slot. Files, listeners
//! and wakes belong to the first ring.
//!
//! No sleep misses work: a ring is served until it says that nothing waits, looked at after its
//! counting was switched on again; and what comes later counts.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    ops::Range,
    os::fd::AsRawFd,
    path::Path,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use io_uring::{opcode, types};

use super::{COMPLETIONS_PER_TURN, SIGNAL_TOKEN, Stage, UringRing, flight::Lent, refuse, registry};
use crate::{
    Completion, Errno, Event, File, FileMode, Lease, Listener, Ring, RingAddress, RingCounters,
    RingSettings, Socket, SocketOptions, Token, Turn, Wait, Waker, abi, setup::Refusal,
};

/// Free slots under which a table is no longer the first choice for new sockets: those that
/// arrive from other rings need some.
const SLOTS_LOW: u32 = 64;
/// Completions a turn keeps for the first ring when the others are busy: the log's writes and the
/// wakes of other threads end there.
const FIRST_RING_COMPLETIONS: usize = 128;
/// Bits of a lease's buffer number within its ring; those above name the ring.
const BUFFER_BITS: u32 = 16;
/// A turn that does not wait.
const NO_WAIT: Wait = Wait { until_us: Some(0), batch: 1, gather_us: 0 };

/// See the module.
#[derive(Debug)]
pub struct RingGroup {
    rings: Vec<UringRing>,
    /// Slots of each table.
    slots: u32,
    /// Accepts and connects under way, by table.
    opening: Vec<u32>,
    /// Table of each of them.
    tables: HashMap<u64, usize>,
    /// Ring that was served first in the last turn; the next begins.
    first_served: usize,
    /// Table that sockets passed here go to.
    receiver: usize,
    /// Some ring may have more to report.
    unfinished: bool,
}

impl RingGroup {
    /// Makes `count` rings, at least one, for the calling thread.
    ///
    /// # Errors
    /// As [`UringRing::new`].
    pub fn new(settings: RingSettings, count: u32) -> Result<Self, Refusal> {
        let rings: Result<Vec<_>, _> =
            (0..count.max(1)).map(|_| UringRing::new(settings)).collect();
        let mut rings = rings?;
        if let [first, others @ ..] = &mut rings[..]
            && !others.is_empty()
        {
            // Without EFD_NONBLOCK: the kernel waits with the read instead of failing it.
            let signal =
                abi::event_fd(0).map_err(|error| refuse("making an eventfd", settings, &error))?;
            for other in others {
                let registered = other.ring.submitter().register_eventfd(signal.as_raw_fd());
                registered.map_err(|error| refuse("registering an eventfd", settings, &error))?;
            }
            first.signal = Some(signal);
            first.arm_signal();
        }
        let count = rings.len();
        Ok(Self {
            rings,
            slots: settings.descriptors,
            opening: vec![0; count],
            tables: HashMap::new(),
            first_served: 0,
            receiver: 0,
            unfinished: false,
        })
    }

    /// Ring and socket within it.
    fn of(&mut self, socket: Socket) -> (&mut UringRing, Socket) {
        let ring = &mut self.rings[(socket.0 / self.slots) as usize];
        (ring, Socket(socket.0 % self.slots))
    }

    fn lease_of(&self, lease: &Lease) -> (usize, Lease) {
        let within = lease.buffer & ((1 << BUFFER_BITS) - 1);
        let ring = (lease.buffer >> BUFFER_BITS) as usize;
        (ring, Lease { buffer: within, length: lease.length })
    }

    /// Slots of a table that nothing is on its way to.
    fn room(&self, table: usize) -> u32 {
        self.rings[table].free_slots().saturating_sub(self.opening[table])
    }

    /// Table for a new socket: tables fill one after the other, because sockets that stand
    /// together are served with fewer system calls.
    fn table_for_new(&self) -> usize {
        let tables = 0..self.rings.len();
        let fit = tables.clone().find(|table| self.room(*table) > SLOTS_LOW);
        fit.or_else(|| tables.max_by_key(|table| self.room(*table))).unwrap_or(0)
    }

    fn begin_opening(&mut self, token: Token) -> usize {
        let table = self.table_for_new();
        self.opening[table] += 1;
        self.tables.insert(token.to_u64(), table);
        table
    }

    /// Submits what ring `index` was asked and takes what it has, without waiting.
    fn serve(
        &mut self,
        index: usize,
        length_max: usize,
        completions: &mut Vec<Completion>,
    ) -> io::Result<bool> {
        let ring = &mut self.rings[index];
        ring.buffers.publish();
        if !ring.has_work() {
            return Ok(false);
        }
        let start = completions.len();
        // Its own completions need not wake the thread that takes them.
        ring.ring.completion().disable_eventfd();
        let interrupted = ring.run_turn(NO_WAIT, length_max.max(start), completions)?;
        ring.ring.completion().enable_eventfd();
        // Against the kernel, which adds a task and then looks whether counting is on.
        fence(Ordering::SeqCst);
        self.unfinished |= ring.has_work();
        ring.counters.completions += (completions.len() - start) as u64;
        self.number(index, &mut completions[start..]);
        Ok(interrupted)
    }

    /// Serves all rings but the first, each turn another one at the front.
    fn serve_others(
        &mut self,
        length_max: usize,
        completions: &mut Vec<Completion>,
    ) -> io::Result<bool> {
        let others = self.rings.len() - 1;
        let mut interrupted = false;
        for step in 0..others {
            let index = 1 + (self.first_served + step) % others;
            interrupted |= self.serve(index, length_max, completions)?;
        }
        Ok(interrupted)
    }

    /// Turns a ring's own numbers of sockets and buffers into the group's.
    fn number(&mut self, index: usize, completions: &mut [Completion]) {
        let base = index as u32 * self.slots;
        for completion in completions {
            match &mut completion.event {
                Event::Accepted(result) => {
                    if let Ok((socket, _)) = result {
                        socket.0 += base;
                    }
                    self.opening[index] -= 1;
                    self.tables.remove(&completion.token.to_u64());
                }
                Event::Connected(result) => {
                    if let Ok(socket) = result {
                        socket.0 += base;
                    }
                    self.opening[index] -= 1;
                    self.tables.remove(&completion.token.to_u64());
                }
                Event::Arrived(Ok(socket)) => socket.0 += base,
                Event::Received(Ok(Some(lease))) => lease.buffer |= (index as u32) << BUFFER_BITS,
                _ => {}
            }
        }
    }

    /// Sockets passed here go to a table with room.
    fn redirect(&mut self) {
        if self.room(self.receiver) > SLOTS_LOW / 2 {
            return;
        }
        let receiver = self.table_for_new();
        if receiver != self.receiver {
            self.receiver = receiver;
            let descriptor = self.rings[receiver].ring.as_raw_fd();
            registry::redirect(self.rings[0].address(), descriptor);
        }
    }

    fn turn_all(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<Turn> {
        let start = completions.len();
        let others_max = start + COMPLETIONS_PER_TURN - FIRST_RING_COMPLETIONS;
        self.unfinished = false;
        let others = self.rings.len() - 1;
        self.first_served = (self.first_served + 1) % others;
        let mut interrupted = self.serve_others(others_max, completions)?;
        let wait = if self.unfinished || completions.len() > start { NO_WAIT } else { wait };

        let from = completions.len();
        let length_max = start + COMPLETIONS_PER_TURN;
        interrupted |= self.rings[0].run_turn(wait, length_max, completions)?;
        self.rings[0].counters.completions += (completions.len() - from) as u64;
        self.number(0, &mut completions[from..]);
        if std::mem::take(&mut self.rings[0].signalled) {
            self.rings[0].arm_signal();
            interrupted |= self.serve_others(length_max, completions)?;
        }
        self.redirect();
        Ok(Turn { now: abi::now(), interrupted })
    }
}

impl UringRing {
    /// Reads the event counter: completes when it has moved.
    fn arm_signal(&mut self) {
        let Some(signal) = &self.signal else { return };
        let fd = types::Fd(signal.as_raw_fd());
        let mut bytes = vec![0; size_of::<u64>()];
        let entry = opcode::Read::new(fd, bytes.as_mut_ptr(), bytes.len() as u32).build();
        self.in_flight.begin(SIGNAL_TOKEN, Lent::Bytes(bytes));
        self.push(entry.user_data(Stage::Signal.of(SIGNAL_TOKEN)));
    }

    /// Something is to be submitted, to be run or to be reported.
    fn has_work(&mut self) -> bool {
        self.needs_enter()
            || !self.ready.is_empty()
            || !self.early.is_empty()
            || !self.ring.completion().is_empty()
    }
}

impl Ring for RingGroup {
    fn listen(
        &mut self,
        address: SocketAddr,
        backlog: u32,
        options: SocketOptions,
    ) -> io::Result<Listener> {
        self.rings[0].listen(address, backlog, options)
    }

    fn local_address(&self, listener: Listener) -> SocketAddr {
        self.rings[0].local_address(listener)
    }

    fn unlisten(&mut self, listener: Listener) {
        self.rings[0].unlisten(listener);
    }

    fn accept(&mut self, listener: Listener, token: Token) {
        let table = self.begin_opening(token);
        let listening = self.rings[0].listening(listener).fd.as_raw_fd();
        self.rings[table].accept_on(listening, token);
    }

    fn connect(
        &mut self,
        source: SocketAddr,
        target: SocketAddr,
        options: SocketOptions,
        token: Token,
    ) {
        let table = self.begin_opening(token);
        self.rings[table].connect(source, target, options, token);
    }

    fn receive(&mut self, socket: Socket, token: Token) {
        let (ring, socket) = self.of(socket);
        ring.receive(socket, token);
    }

    fn receive_once(&mut self, socket: Socket, token: Token) {
        let (ring, socket) = self.of(socket);
        ring.receive_once(socket, token);
    }

    fn watch(&mut self, socket: Socket, token: Token) {
        let (ring, socket) = self.of(socket);
        ring.watch(socket, token);
    }

    fn send(&mut self, socket: Socket, bytes: Vec<u8>, token: Token) {
        let (ring, socket) = self.of(socket);
        ring.send(socket, bytes, token);
    }

    fn cancel(&mut self, socket: Option<Socket>, target: Token, token: Token) {
        let table = match socket {
            Some(socket) => (socket.0 / self.slots) as usize,
            None => self.tables.get(&target.to_u64()).copied().unwrap_or(0),
        };
        let socket = socket.map(|socket| Socket(socket.0 % self.slots));
        self.rings[table].cancel(socket, target, token);
    }

    fn close(&mut self, socket: Socket, abort: bool, token: Token) {
        let (ring, socket) = self.of(socket);
        ring.close(socket, abort, token);
    }

    fn pass(&mut self, socket: Socket, to: RingAddress, there: Token, token: Token) {
        let own = self.address();
        let (ring, socket) = self.of(socket);
        // To itself there is nothing to pass: the ring refuses its own address.
        let to = if to == own { ring.address() } else { to };
        ring.pass(socket, to, there, token);
    }

    fn peer_address(&mut self, socket: Socket) -> Result<SocketAddr, Errno> {
        let (ring, socket) = self.of(socket);
        ring.peer_address(socket)
    }

    fn address(&self) -> RingAddress {
        self.rings[0].address()
    }

    fn wake(&mut self, to: RingAddress) {
        self.rings[0].wake(to);
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.rings[0].waker()
    }

    fn open(&mut self, path: &Path, mode: FileMode) -> io::Result<File> {
        self.rings[0].open(path, mode)
    }

    fn close_file(&mut self, file: File) {
        self.rings[0].close_file(file);
    }

    fn write(
        &mut self,
        file: File,
        offset: u64,
        bytes: Vec<u8>,
        range: Range<usize>,
        token: Token,
    ) {
        self.rings[0].write(file, offset, bytes, range, token);
    }

    fn sync(&mut self, file: File, token: Token) {
        self.rings[0].sync(file, token);
    }

    fn read(&mut self, file: File, offset: u64, length: u32, token: Token) {
        self.rings[0].read(file, offset, length, token);
    }

    fn bytes(&self, lease: &Lease) -> &[u8] {
        let (ring, lease) = self.lease_of(lease);
        self.rings[ring].bytes(&lease)
    }

    fn give_back(&mut self, lease: Lease) {
        let (ring, lease) = self.lease_of(&lease);
        self.rings[ring].give_back(lease);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<Turn> {
        if self.rings.len() > 1 {
            return self.turn_all(wait, completions);
        }
        let start = completions.len();
        let turn = self.rings[0].turn(wait, completions)?;
        self.number(0, &mut completions[start..]);
        Ok(turn)
    }

    fn clock_us(&self) -> u64 {
        self.rings[0].clock_us()
    }

    fn counters(&self) -> RingCounters {
        let mut sum = RingCounters::default();
        for ring in &self.rings {
            let one = ring.counters();
            sum.enters += one.enters;
            sum.completions += one.completions;
            sum.overflows += one.overflows;
            sum.starved += one.starved;
            sum.leases += one.leases;
        }
        sum
    }

    fn free_slots(&self) -> u32 {
        self.rings.iter().map(Ring::free_slots).sum()
    }
}
