//! The trait on the simulated ring: callers' rules are checked here, work is done in the turn.

use std::{io, net::SocketAddr, ops::Range, path::Path, sync::Arc};

use super::{
    SimRing,
    submit::{Submission, sizes},
};
use crate::{
    Completion, Errno, File, FileMode, Lease, Listener, Operation, Ring, RingAddress, RingCounters,
    Socket, SocketOptions, Token, Turn, Wait, Waker,
};

impl Ring for SimRing {
    fn listen(
        &mut self,
        address: SocketAddr,
        backlog: u32,
        options: SocketOptions,
    ) -> io::Result<Listener> {
        let mut state = self.world.state();
        let sizes = sizes(&state, options);
        state
            .listen(Some(self.index), address, backlog, sizes)
            .map(Listener)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EADDRINUSE))
    }

    fn local_address(&self, listener: Listener) -> SocketAddr {
        self.world.state().network.listeners[&listener.0].address
    }

    fn unlisten(&mut self, listener: Listener) {
        let armed = self.accepts.iter().any(|(_, other)| *other == listener.0);
        assert!(!armed, "a listener is closed with an accept in flight");
        self.world.state().unlisten(listener.0);
    }

    fn accept(&mut self, listener: Listener, token: Token) {
        self.begin(token, Operation::Accept, None);
        self.submit(Submission::Accept { listener, token });
    }

    fn connect(
        &mut self,
        source: SocketAddr,
        target: SocketAddr,
        options: SocketOptions,
        token: Token,
    ) {
        self.begin(token, Operation::Connect, None);
        self.submit(Submission::Connect { source, target, options, token });
    }

    fn receive(&mut self, socket: Socket, token: Token) {
        self.begin(token, Operation::Receive, Some(socket));
        self.submit(Submission::Receive { socket, once: false, token });
    }

    fn receive_once(&mut self, socket: Socket, token: Token) {
        self.begin(token, Operation::Receive, Some(socket));
        self.submit(Submission::Receive { socket, once: true, token });
    }

    fn watch(&mut self, socket: Socket, token: Token) {
        self.begin(token, Operation::Watch, Some(socket));
        self.submit(Submission::Watch { socket, token });
    }

    fn send(&mut self, socket: Socket, bytes: Vec<u8>, token: Token) {
        self.begin(token, Operation::Send, Some(socket));
        self.submit(Submission::Send { socket, bytes, token });
    }

    fn cancel(&mut self, _socket: Option<Socket>, target: Token, token: Token) {
        self.begin(token, Operation::Cancel, None);
        self.submit(Submission::Cancel { target, token });
    }

    fn close(&mut self, socket: Socket, abort: bool, token: Token) {
        self.must_be_idle(socket, "closed");
        self.begin(token, Operation::Close, None);
        self.submit(Submission::Close { socket, abort, token });
    }

    fn pass(&mut self, socket: Socket, to: RingAddress, there: Token, token: Token) {
        assert_eq!(there.operation, Operation::Arrive, "the token for the other ring");
        self.must_be_idle(socket, "passed");
        self.begin(token, Operation::Pass, None);
        self.submit(Submission::Pass { socket, to, there, token });
    }

    fn peer_address(&mut self, socket: Socket) -> Result<SocketAddr, Errno> {
        let state = self.world.state();
        let slots = &state.rings[self.index as usize].slots;
        let end = slots.get(socket.0 as usize).copied().flatten().ok_or(Errno(libc::EBADF))?;
        let gone = state.network.half(end).is_none_or(|half| half.error.is_some());
        let peer = state.network.half(end.other()).filter(|_| !gone);
        peer.map(|half| half.address).ok_or(Errno(libc::ENOTCONN))
    }

    fn address(&self) -> RingAddress {
        self.sim_address()
    }

    fn wake(&mut self, to: RingAddress) {
        self.submit(Submission::Wake { to });
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.sim_waker()
    }

    fn open(&mut self, path: &Path, mode: FileMode) -> io::Result<File> {
        let open = Some((self.disk.open(path)?, mode));
        let free = self.files.iter().position(Option::is_none);
        let index = free.unwrap_or(self.files.len());
        if free.is_some() {
            self.files[index] = open;
        } else {
            self.files.push(open);
        }
        Ok(File(index as u32))
    }

    fn close_file(&mut self, file: File) {
        self.files[file.0 as usize] = None;
    }

    fn write(
        &mut self,
        file: File,
        offset: u64,
        bytes: Vec<u8>,
        range: Range<usize>,
        token: Token,
    ) {
        self.begin(token, Operation::Write, None);
        assert!(range.start <= range.end && range.end <= bytes.len(), "the range is in the bytes");
        self.submit(Submission::Write { file, offset, bytes, range, token });
    }

    fn sync(&mut self, file: File, token: Token) {
        self.begin(token, Operation::Sync, None);
        self.submit(Submission::Sync { file, token });
    }

    fn read(&mut self, file: File, offset: u64, length: u32, token: Token) {
        self.begin(token, Operation::Read, None);
        self.submit(Submission::Read { file, offset, length, token });
    }

    fn bytes(&self, lease: &Lease) -> &[u8] {
        assert!(self.loans.has(lease.buffer as u16), "a lease is read after it was given back");
        self.buffer(lease.buffer as u16, lease.length)
    }

    fn give_back(&mut self, lease: Lease) {
        let buffer = lease.buffer as u16;
        assert!(self.loans.take_back(buffer), "a lease is given back twice");
        self.returned.push(buffer);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<Turn> {
        Ok(self.sim_turn(wait, completions))
    }

    fn clock_us(&self) -> u64 {
        self.world.now().monotonic_us
    }

    fn counters(&self) -> RingCounters {
        self.sim_counters()
    }

    fn free_slots(&self) -> u32 {
        self.settings.descriptors - self.world.state().rings[self.index as usize].used
    }
}

impl SimRing {
    /// Notes an operation in flight and checks the caller's rules about it.
    fn begin(&mut self, token: Token, operation: Operation, socket: Option<Socket>) {
        assert_eq!(token.operation, operation, "a token names the operation it is given to");
        let before = self.live.insert(token.to_u64(), socket.map(|socket| socket.0));
        assert!(before.is_none(), "two operations in flight have the token {token:?}");
        let Some(Socket(slot)) = socket else { return };
        let outstanding = self.outstanding.entry(slot).or_default();
        outstanding.operations += 1;
        let twice = match operation {
            Operation::Send => std::mem::replace(&mut outstanding.sending, true),
            Operation::Receive => std::mem::replace(&mut outstanding.receiving, true),
            _ => false,
        };
        assert!(!twice, "two operations {operation:?} are in flight on {socket:?}");
    }

    fn must_be_idle(&self, socket: Socket, what: &str) {
        let busy = self.outstanding.get(&socket.0);
        assert!(busy.is_none(), "{socket:?} is {what} with operations in flight: {busy:?}");
    }

    pub(super) fn file(&self, file: File) -> (u64, FileMode) {
        self.files[file.0 as usize].expect("the file is open")
    }
}
