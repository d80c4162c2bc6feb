//! The simulated ring as a worker gets it: what a turn asked and brought is noted for the loop
//! that drives the workers, and hashed for the proof that a seed always runs the same way. Here
//! the faults of [`RingPlant`] are planted.

use super::plant::RingPlant;
use hawser_ring::{
    BLOCK_BYTES, Completion, Errno, Event, File, FileMode, Lease, Listener, Operation, Ring,
    RingAddress, RingCounters, Socket, SocketOptions, Token, Turn, Wait, Waker, sim::SimRing,
};
use std::{cell::Cell, io, net::SocketAddr, ops::Range, path::Path, rc::Rc, sync::Arc};

/// Hash of everything that happened, in order.
#[derive(Clone, Debug)]
pub struct Trace(Rc<Cell<u64>>);

impl Trace {
    /// Of nothing.
    pub fn new() -> Self {
        Self(Rc::new(Cell::new(0xcbf2_9ce4_8422_2325)))
    }

    /// Adds a number (FNV-1a, by words).
    pub fn add(&self, number: u64) {
        self.0.set((self.0.get() ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(23));
    }

    /// Adds bytes.
    pub fn add_bytes(&self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        bytes.iter().for_each(|byte| self.add(u64::from(*byte)));
    }

    /// The hash.
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// See the module.
pub struct Seam {
    ring: SimRing,
    trace: Trace,
    until_us: Option<u64>,
    completions: usize,
    /// Buffers reported and not given back.
    lent: usize,
    /// Writes and syncs in flight.
    writing: usize,
    plant: Option<RingPlant>,
    /// Completions a plant has made up, for the next turn.
    forged: Vec<Completion>,
    /// Operations a plant has reported already; their real end is nobody's business any more.
    hidden: Vec<Token>,
    shadows: u32,
    /// Receives whose cancel is under way.
    cancelled: Vec<Token>,
}

const CANCELED: Errno = Errno(libc::ECANCELED);
/// Slots of tokens of writes that a plant has reported already.
const SHADOW_SLOT: u32 = 1 << 20;

impl Seam {
    /// Around `ring`.
    pub fn new(ring: SimRing, trace: Trace, plant: Option<RingPlant>) -> Self {
        Self {
            ring,
            trace,
            until_us: None,
            completions: 0,
            lent: 0,
            writing: 0,
            plant,
            forged: Vec::new(),
            hidden: Vec::new(),
            shadows: 0,
            cancelled: Vec::new(),
        }
    }

    fn forge(&mut self, token: Token, event: Event) {
        self.forged.push(Completion { token, more: false, event });
    }

    /// Token of an operation whose end is reported before it comes.
    fn shadow(&mut self, operation: Operation) -> Token {
        self.shadows += 1;
        let token = Token::new(operation, SHADOW_SLOT, self.shadows);
        self.hidden.push(token);
        token
    }

    /// Makes of what a turn brought what the plant wants the worker to see.
    fn spoil(&mut self, completions: &mut Vec<Completion>) {
        let real = std::mem::take(completions);
        completions.append(&mut self.forged);
        for completion in real {
            let token = completion.token;
            if let Some(at) = self.hidden.iter().position(|hidden| *hidden == token) {
                if !completion.more {
                    self.hidden.swap_remove(at);
                }
                if let Event::Received(Ok(Some(lease))) = completion.event {
                    self.ring.give_back(lease);
                }
                continue;
            }
            if !completion.more {
                self.cancelled.retain(|cancelled| *cancelled != token);
            }
            let is_cancel = matches!(completion.event, Event::Cancelled(_));
            completions.push(completion);
            if is_cancel && self.plant == Some(RingPlant::CancelIsCompletion) {
                // The operation a worker cancels has its slot and generation.
                let target = Token::new(Operation::Receive, token.slot, token.generation);
                let event = Event::Received(Err(CANCELED));
                if self.cancelled.contains(&target) {
                    self.cancelled.retain(|cancelled| *cancelled != target);
                    self.hidden.push(target);
                    completions.push(Completion { token: target, more: false, event });
                }
            }
        }
    }

    /// Until when the last turn would have slept.
    pub fn until_us(&self) -> Option<u64> {
        self.until_us
    }

    /// Completions the last turn brought.
    pub fn completions(&self) -> usize {
        self.completions
    }

    /// Buffers the worker has and has not given back.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// A write or a sync is in flight.
    pub fn is_writing(&self) -> bool {
        self.writing > 0
    }

    /// Operations in flight.
    pub fn in_flight(&self) -> usize {
        self.ring.in_flight()
    }
}

/// A copy at an address that direct writes accept.
fn aligned(bytes: &[u8]) -> (Vec<u8>, Range<usize>) {
    let mut copy: Vec<u8> = Vec::with_capacity(bytes.len() + BLOCK_BYTES);
    let start = copy.as_ptr().align_offset(BLOCK_BYTES);
    copy.resize(start, 0);
    copy.extend_from_slice(bytes);
    let range = start..copy.len();
    (copy, range)
}

fn outcome<T>(result: &Result<T, Errno>, value: impl Fn(&T) -> u64) -> u64 {
    match result {
        Ok(found) => value(found),
        Err(errno) => (1 << 40) + errno.0 as u64,
    }
}

fn digest(event: &Event) -> u64 {
    match event {
        Event::Accepted(result) => outcome(result, |(socket, _)| u64::from(socket.0)),
        Event::Connected(result) | Event::Arrived(result) => {
            outcome(result, |socket| u64::from(socket.0))
        }
        Event::Received(result) => {
            outcome(result, |lease| lease.as_ref().map_or(0, |lease| u64::from(lease.length)))
        }
        Event::Readable(result)
        | Event::Cancelled(result)
        | Event::Closed(result)
        | Event::Passed(result)
        | Event::Synced(result) => outcome(result, |()| 1),
        Event::Sent(result, _) | Event::Written(result, _) => {
            outcome(result, |count| *count as u64)
        }
        Event::Read(result) => outcome(result, |bytes| bytes.len() as u64),
        Event::Woken => 2,
    }
}

impl Ring for Seam {
    fn listen(
        &mut self,
        address: SocketAddr,
        backlog: u32,
        options: SocketOptions,
    ) -> io::Result<Listener> {
        self.ring.listen(address, backlog, options)
    }

    fn local_address(&self, listener: Listener) -> SocketAddr {
        self.ring.local_address(listener)
    }

    fn unlisten(&mut self, listener: Listener) {
        self.ring.unlisten(listener);
    }

    fn accept(&mut self, listener: Listener, token: Token) {
        self.ring.accept(listener, token);
    }

    fn connect(
        &mut self,
        source: SocketAddr,
        target: SocketAddr,
        options: SocketOptions,
        token: Token,
    ) {
        self.ring.connect(source, target, options, token);
    }

    fn receive(&mut self, socket: Socket, token: Token) {
        self.ring.receive(socket, token);
    }

    fn receive_once(&mut self, socket: Socket, token: Token) {
        self.ring.receive_once(socket, token);
    }

    fn watch(&mut self, socket: Socket, token: Token) {
        self.ring.watch(socket, token);
    }

    fn send(&mut self, socket: Socket, bytes: Vec<u8>, token: Token) {
        self.ring.send(socket, bytes, token);
    }

    fn cancel(&mut self, socket: Option<Socket>, target: Token, token: Token) {
        if target.operation == Operation::Receive {
            match self.plant {
                Some(RingPlant::SlotReused) => {
                    self.forge(token, Event::Cancelled(Ok(())));
                    self.forge(target, Event::Received(Err(CANCELED)));
                    self.hidden.push(target);
                    return;
                }
                Some(RingPlant::CancelIsCompletion) => self.cancelled.push(target),
                _ => {}
            }
        }
        self.ring.cancel(socket, target, token);
    }

    fn close(&mut self, socket: Socket, abort: bool, token: Token) {
        self.ring.close(socket, abort, token);
    }

    fn pass(&mut self, socket: Socket, to: RingAddress, there: Token, token: Token) {
        self.ring.pass(socket, to, there, token);
    }

    fn peer_address(&mut self, socket: Socket) -> Result<SocketAddr, Errno> {
        self.ring.peer_address(socket)
    }

    fn address(&self) -> RingAddress {
        self.ring.address()
    }

    fn wake(&mut self, to: RingAddress) {
        self.ring.wake(to);
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.ring.waker()
    }

    fn open(&mut self, path: &Path, mode: FileMode) -> io::Result<File> {
        match (self.plant, mode) {
            (Some(RingPlant::NotDurable), FileMode::DirectDurable) => {
                self.ring.open(path, FileMode::Buffered)
            }
            _ => self.ring.open(path, mode),
        }
    }

    fn close_file(&mut self, file: File) {
        self.ring.close_file(file);
    }

    fn write(
        &mut self,
        file: File,
        offset: u64,
        bytes: Vec<u8>,
        range: Range<usize>,
        token: Token,
    ) {
        self.writing += 1;
        if self.plant == Some(RingPlant::DurableAtSubmission) {
            let (copy, copied) = aligned(&bytes[range.clone()]);
            let shadow = self.shadow(Operation::Write);
            self.ring.write(file, offset, copy, copied, shadow);
            return self.forge(token, Event::Written(Ok(range.len()), bytes));
        }
        self.ring.write(file, offset, bytes, range, token);
    }

    fn sync(&mut self, file: File, token: Token) {
        self.writing += 1;
        match self.plant {
            Some(RingPlant::DurableAtSubmission) => {
                let shadow = self.shadow(Operation::Sync);
                self.ring.sync(file, shadow);
                self.forge(token, Event::Synced(Ok(())));
            }
            Some(RingPlant::NotDurable) => self.forge(token, Event::Synced(Ok(()))),
            _ => self.ring.sync(file, token),
        }
    }

    fn read(&mut self, file: File, offset: u64, length: u32, token: Token) {
        self.ring.read(file, offset, length, token);
    }

    fn bytes(&self, lease: &Lease) -> &[u8] {
        self.ring.bytes(lease)
    }

    fn give_back(&mut self, lease: Lease) {
        self.lent -= 1;
        self.ring.give_back(lease);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<Turn> {
        let turn = self.ring.turn(wait, completions)?;
        if self.plant.is_some() {
            self.spoil(completions);
        }
        self.until_us = wait.until_us;
        self.completions = completions.len();
        for completion in completions.iter() {
            match completion.event {
                Event::Received(Ok(Some(_))) => self.lent += 1,
                Event::Written(..) | Event::Synced(_) => self.writing -= 1,
                _ => {}
            }
            self.trace.add(turn.now.monotonic_us);
            self.trace.add(completion.token.to_u64());
            self.trace.add(digest(&completion.event) * 2 + u64::from(completion.more));
        }
        Ok(turn)
    }

    fn clock_us(&self) -> u64 {
        self.ring.clock_us()
    }

    fn counters(&self) -> RingCounters {
        self.ring.counters()
    }

    fn free_slots(&self) -> u32 {
        self.ring.free_slots()
    }
}
