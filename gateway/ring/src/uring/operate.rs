//! From the trait's operations to submission entries.

use std::{
    fs::OpenOptions,
    io,
    net::SocketAddr,
    ops::Range,
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
    sync::Arc,
};

use io_uring::{opcode, squeue::Flags, types};
use socket2::{Domain, Protocol, Socket as PlainSocket, Type};

use super::{
    Doorbell, Listening, NO_TOKEN, Stage, UringRing, connect::set_options, flight::Lent, made,
    registry,
};
use crate::{
    Completion, Errno, Event, File, FileMode, Lease, Listener, Operation, Ring, RingAddress,
    RingCounters, Socket, SocketOptions, Token, Turn, Wait, Waker, abi,
    address::{ADDRESS_V4_BYTES, ADDRESS_V6_BYTES, RawAddress},
    buffers::BUFFER_GROUP,
};

/// Buffers one receive may fill before other sockets get their turn; the kernel's own bound is 32
/// rounds, enough for one busy peer to empty the pool.
const RECEIVE_BUFFERS_PER_ROUND: u32 = 4;
/// Enters `peer_address` makes at most. The answer is there after the first; a busy kernel may
/// need more.
const PEER_NAME_ENTERS: u32 = 64;
/// `struct linger` with zero seconds: closing then resets.
static RESET_ON_CLOSE: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };

impl Ring for UringRing {
    fn listen(
        &mut self,
        address: SocketAddr,
        backlog: u32,
        options: SocketOptions,
    ) -> io::Result<Listener> {
        let domain = Domain::for_address(address);
        let socket = PlainSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        if address.is_ipv6() {
            // So that `[::]:P` and `0.0.0.0:P` are two listeners on every system.
            socket.set_only_v6(true)?;
        }
        set_options(&socket, options)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        let listening = Listening { fd: socket.into(), address };
        Ok(Listener(place(&mut self.listeners, listening)))
    }

    fn local_address(&self, listener: Listener) -> SocketAddr {
        self.listening(listener).address
    }

    fn unlisten(&mut self, listener: Listener) {
        self.listeners[listener.0 as usize] = None;
    }

    fn accept(&mut self, listener: Listener, token: Token) {
        self.accept_on(self.listening(listener).fd.as_raw_fd(), token);
    }

    fn connect(
        &mut self,
        source: SocketAddr,
        target: SocketAddr,
        options: SocketOptions,
        token: Token,
    ) {
        debug_assert_eq!(token.operation, Operation::Connect);
        self.start_connect(source, target, options, token);
    }

    fn receive(&mut self, socket: Socket, token: Token) {
        debug_assert_eq!(token.operation, Operation::Receive);
        let cap = if self.probe.receive_cap {
            self.buffers.buffer_bytes() * RECEIVE_BUFFERS_PER_ROUND
        } else {
            0
        };
        // Built from the one-shot type: the crate's multishot type cannot say POLL_FIRST.
        let entry = opcode::Recv::new(types::Fixed(socket.0), std::ptr::null_mut(), cap)
            .ioprio(abi::RECV_MULTISHOT | abi::RECVSEND_POLL_FIRST)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(Flags::BUFFER_SELECT);
        self.push(entry.user_data(token.to_u64()));
    }

    fn receive_once(&mut self, socket: Socket, token: Token) {
        debug_assert_eq!(token.operation, Operation::Receive);
        let (slot, bytes) = (types::Fixed(socket.0), self.buffers.buffer_bytes());
        // MSG_DONTWAIT: an empty socket answers EAGAIN instead of arming.
        let entry = opcode::Recv::new(slot, std::ptr::null_mut(), bytes)
            .flags(libc::MSG_DONTWAIT)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(Flags::BUFFER_SELECT);
        self.push(entry.user_data(token.to_u64()));
    }

    fn watch(&mut self, socket: Socket, token: Token) {
        debug_assert_eq!(token.operation, Operation::Watch);
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let entry = opcode::PollAdd::new(types::Fixed(socket.0), events).multi(true).build();
        self.push(entry.user_data(token.to_u64()));
    }

    fn send(&mut self, socket: Socket, bytes: Vec<u8>, token: Token) {
        debug_assert_eq!(token.operation, Operation::Send);
        // The memory stays in place when the Vec moves into `in_flight`.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fixed(socket.0), bytes.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL)
            .build();
        self.in_flight.begin(token, Lent::Bytes(bytes));
        self.push(entry.user_data(token.to_u64()));
    }

    fn cancel(&mut self, _socket: Option<Socket>, target: Token, token: Token) {
        debug_assert_eq!(token.operation, Operation::Cancel);
        if target.operation == Operation::Connect {
            self.cancel_connect(target);
        }
        let entry = opcode::AsyncCancel::new(target.to_u64()).build();
        self.push(entry.user_data(token.to_u64()));
    }

    fn close(&mut self, socket: Socket, abort: bool, token: Token) {
        debug_assert_eq!(token.operation, Operation::Close);
        let slot = types::Fixed(socket.0);
        let close = opcode::Close::new(slot).build().user_data(token.to_u64());
        if !abort {
            return self.push(close);
        }
        let value = (&raw const RESET_ON_CLOSE).cast();
        let bytes = size_of::<libc::linger>() as u32;
        let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_LINGER as u32);
        // Hard link: the slot closes even if the option could not be set.
        let linger = opcode::SetSockOpt::new(slot, level, name, value, bytes)
            .build()
            .flags(Flags::IO_HARDLINK | Flags::SKIP_SUCCESS)
            .user_data(Stage::CloseAbort.of(token));
        self.armed += 1;
        self.push_batch(&[linger, close]);
    }

    fn pass(&mut self, socket: Socket, to: RingAddress, there: Token, token: Token) {
        debug_assert_eq!((token.operation, there.operation), (Operation::Pass, Operation::Arrive));
        let Some(ring) = registry::receiver(to).filter(|_| to != self.address) else {
            let event = Event::Passed(Err(Errno(libc::ENXIO)));
            return self.ready.push_back(made(token, event));
        };
        let slot = types::Fixed(socket.0);
        let any = types::DestinationSlot::auto_target();
        let send = opcode::MsgRingSendFd::new(types::Fd(ring), slot, any, there.to_u64())
            .build()
            .flags(Flags::IO_LINK | Flags::SKIP_SUCCESS)
            .user_data(Stage::PassSend.of(token));
        let close = opcode::Close::new(slot).build().user_data(token.to_u64());
        self.armed += 1;
        self.push_batch(&[send, close]);
    }

    fn peer_address(&mut self, socket: Socket) -> Result<SocketAddr, Errno> {
        let address = self.ask_peer(socket, ADDRESS_V4_BYTES)?;
        let address =
            if address.is_v6() { self.ask_peer(socket, ADDRESS_V6_BYTES)? } else { address };
        address.decode().ok_or(Errno(libc::EAFNOSUPPORT))
    }

    fn address(&self) -> RingAddress {
        self.address
    }

    fn wake(&mut self, to: RingAddress) {
        if to == self.address {
            return self.ready.push_back(made(NO_TOKEN, Event::Woken));
        }
        let Some(ring) = registry::descriptor(to) else { return };
        let entry = opcode::MsgRingData::new(types::Fd(ring), 0, NO_TOKEN.to_u64(), None)
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(Stage::WakeSent.of(NO_TOKEN));
        self.push_batch(&[entry]);
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::new(Doorbell(Arc::clone(&self.doorbell)))
    }

    fn open(&mut self, path: &Path, mode: FileMode) -> io::Result<File> {
        let mut options = OpenOptions::new();
        match mode {
            FileMode::DirectDurable => {
                options.write(true).read(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC)
            }
            FileMode::Buffered => options.write(true).read(true),
            FileMode::ReadOnly => options.read(true),
        };
        let file = options.open(path)?;
        if mode != FileMode::ReadOnly {
            // The kernel may still be writing for a ring whose process was killed; a write in
            // flight keeps the file open and with it this lock, so that a successor can wait for
            // it. Where a file system has no locks there is nothing to be done about that.
            let _ = file.try_lock_shared();
        }
        Ok(File(place(&mut self.files, file)))
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
        debug_assert_eq!(token.operation, Operation::Write);
        let slice = &bytes[range];
        let length = u32::try_from(slice.len()).unwrap_or(u32::MAX);
        let entry =
            opcode::Write::new(self.file(file), slice.as_ptr(), length).offset(offset).build();
        self.in_flight.begin(token, Lent::Bytes(bytes));
        self.push(entry.user_data(token.to_u64()));
    }

    fn sync(&mut self, file: File, token: Token) {
        debug_assert_eq!(token.operation, Operation::Sync);
        let entry = opcode::Fsync::new(self.file(file)).flags(types::FsyncFlags::DATASYNC).build();
        self.push(entry.user_data(token.to_u64()));
    }

    fn read(&mut self, file: File, offset: u64, length: u32, token: Token) {
        debug_assert_eq!(token.operation, Operation::Read);
        let mut bytes = vec![0; length as usize];
        let entry =
            opcode::Read::new(self.file(file), bytes.as_mut_ptr(), length).offset(offset).build();
        self.in_flight.begin(token, Lent::Bytes(bytes));
        self.push(entry.user_data(token.to_u64()));
    }

    fn bytes(&self, lease: &Lease) -> &[u8] {
        self.buffers.bytes(lease)
    }

    fn give_back(&mut self, lease: Lease) {
        self.buffers.give_back(lease);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<Turn> {
        self.turn_now(wait, completions)
    }

    fn clock_us(&self) -> u64 {
        Self::now().monotonic_us
    }

    fn counters(&self) -> RingCounters {
        RingCounters { leases: self.buffers.on_loan(), ..self.counters }
    }

    fn free_slots(&self) -> u32 {
        self.descriptors.saturating_sub(self.used)
    }
}

impl UringRing {
    /// Accepts from a listening socket, maybe of another ring of the group.
    pub(super) fn accept_on(&mut self, listening: RawFd, token: Token) {
        debug_assert_eq!(token.operation, Operation::Accept);
        let fd = types::Fd(listening);
        let address = self.in_flight.address();
        let Lent::Address(address) = self.in_flight.begin(token, Lent::Address(address)) else {
            unreachable!("inserted as such")
        };
        let length = &raw mut address.length;
        let entry = opcode::Accept::new(fd, address.bytes.as_mut_ptr().cast(), length)
            .file_index(Some(types::DestinationSlot::auto_target()))
            .build();
        self.push(entry.user_data(token.to_u64()));
    }

    pub(super) fn listening(&self, listener: Listener) -> &Listening {
        self.listeners[listener.0 as usize].as_ref().expect("the listener is open")
    }

    fn file(&self, file: File) -> types::Fd {
        types::Fd(self.files[file.0 as usize].as_ref().expect("the file is open").as_raw_fd())
    }

    /// Asks for exactly `bytes` of the peer's address. The command completes while it is
    /// submitted; other completions that come along wait for the next turn.
    fn ask_peer(&mut self, socket: Socket, bytes: u32) -> Result<RawAddress, Errno> {
        let token = NO_TOKEN;
        let address = self.in_flight.address();
        let Lent::Address(address) = self.in_flight.begin(token, Lent::Address(address)) else {
            unreachable!("inserted as such")
        };
        let entry = abi::peer_name(socket.0, address.bytes.as_mut_ptr(), bytes);
        self.push(entry.user_data(Stage::PeerName.of(token)));
        let mut answer = None;
        for _ in 0..PEER_NAME_ENTERS {
            self.flush();
            for entry in self.ring.completion() {
                if Stage::from_user_data(entry.user_data()) == Some(Stage::PeerName) {
                    self.armed -= 1;
                    answer = Some(entry.result());
                } else {
                    self.early.push_back(entry);
                }
            }
            if answer.is_some() {
                break;
            }
        }
        let result = answer.expect("a socket command completes while it is submitted");
        let Some(Lent::Address(address)) = self.in_flight.end(token) else {
            unreachable!("begun above")
        };
        let raw = (*address).clone();
        self.in_flight.keep(address);
        if result < 0 { Err(Errno(-result)) } else { Ok(raw) }
    }
}

/// Puts `value` at the first free index.
fn place<T>(places: &mut Vec<Option<T>>, value: T) -> u32 {
    let index = places.iter().position(Option::is_none).unwrap_or_else(|| {
        places.push(None);
        places.len() - 1
    });
    places[index] = Some(value);
    index as u32
}
