//! Connecting, in stages: an ordinary socket gets its options and source address, moves into the
//! table, and connects there.
//!
//! The move and the connect cannot be linked: only the completion of the move names the slot.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use io_uring::{opcode, types};
use socket2::{Domain, Protocol, Socket as PlainSocket, TcpKeepalive, Type};

use super::{Stage, UringRing, flight::Lent, made};
use crate::{Completion, Errno, Event, Socket, SocketOptions, Token, abi, address::RawAddress};

/// A connect in flight.
#[derive(Debug)]
pub(super) struct Connecting {
    /// In: the ordinary descriptor; out: its slot. The kernel reads and writes it.
    index: i32,
    /// Closed once the table has it.
    ordinary: Option<OwnedFd>,
    target: RawAddress,
    slot: u32,
    /// Cancelled while it moved into the table, where a cancel cannot find it.
    cancelled: bool,
    failure: Errno,
}

impl UringRing {
    pub(super) fn start_connect(
        &mut self,
        source: SocketAddr,
        target: SocketAddr,
        options: SocketOptions,
        token: Token,
    ) {
        let ordinary = match plain_socket(source, options) {
            Ok(socket) => OwnedFd::from(socket),
            Err(error) => {
                let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
                self.ready.push_back(made(token, Event::Connected(Err(errno))));
                return;
            }
        };
        let connecting = Box::new(Connecting {
            index: ordinary.as_raw_fd(),
            ordinary: Some(ordinary),
            target: RawAddress::new(target),
            slot: 0,
            cancelled: false,
            failure: Errno(0),
        });
        let Lent::Connecting(connecting) =
            self.in_flight.begin(token, Lent::Connecting(connecting))
        else {
            unreachable!("inserted as such")
        };
        let index = &raw mut connecting.index;
        // Offset -1: the kernel takes any free slot and writes its number to `index`.
        let entry = opcode::FilesUpdate::new(index.cast_const(), 1).offset(-1).build();
        self.push(entry.user_data(Stage::ConnectTable.of(token)));
    }

    /// Notes a cancel that would not find the connect in the kernel yet.
    pub(super) fn cancel_connect(&mut self, token: Token) {
        if let Some(Lent::Connecting(connecting)) = self.in_flight.get(token) {
            connecting.cancelled = connecting.ordinary.is_some();
        }
    }

    /// The socket is in the table, or the table is full.
    pub(super) fn connect_in_table(
        &mut self,
        token: Token,
        result: i32,
        completions: &mut Vec<Completion>,
    ) {
        let Some(Lent::Connecting(connecting)) = self.in_flight.get(token) else {
            unreachable!("a connect owns its state until it is reported")
        };
        connecting.ordinary = None;
        if result < 1 {
            // 0 does not happen: one descriptor was given.
            let errno = Errno(if result < 0 { -result } else { libc::EIO });
            self.in_flight.end(token);
            completions.push(made(token, Event::Connected(Err(errno))));
            return;
        }
        connecting.slot = connecting.index as u32;
        let slot = types::Fixed(connecting.slot);
        if connecting.cancelled {
            connecting.failure = Errno(libc::ECANCELED);
            let entry = opcode::Close::new(slot).build();
            self.used += 1;
            return self.push(entry.user_data(Stage::ConnectClose.of(token)));
        }
        let address = connecting.target.bytes.as_ptr().cast();
        let entry = opcode::Connect::new(slot, address, connecting.target.length).build();
        self.used += 1;
        self.push(entry.user_data(token.to_u64()));
    }

    /// The handshake ended.
    pub(super) fn connect_ended(
        &mut self,
        token: Token,
        result: i32,
        completions: &mut Vec<Completion>,
    ) {
        let Some(Lent::Connecting(connecting)) = self.in_flight.get(token) else {
            unreachable!("a connect owns its state until it is reported")
        };
        let slot = connecting.slot;
        if result < 0 {
            connecting.failure = Errno(-result);
            let entry = opcode::Close::new(types::Fixed(slot)).build();
            return self.push(entry.user_data(Stage::ConnectClose.of(token)));
        }
        self.in_flight.end(token);
        completions.push(made(token, Event::Connected(Ok(Socket(slot)))));
    }

    /// A failed connect has closed its slot.
    pub(super) fn connect_closed(&mut self, token: Token, completions: &mut Vec<Completion>) {
        let Some(Lent::Connecting(connecting)) = self.in_flight.end(token) else {
            unreachable!("a connect owns its state until it is reported")
        };
        self.used -= 1;
        completions.push(made(token, Event::Connected(Err(connecting.failure))));
    }
}

/// A socket bound to `source`, ready to connect.
fn plain_socket(source: SocketAddr, options: SocketOptions) -> io::Result<PlainSocket> {
    let domain = Domain::for_address(source);
    let socket = PlainSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    set_options(&socket, options)?;
    if source.port() == 0 {
        // The port is then chosen at connect, by the whole four-tuple, so that one source address
        // can hold more connections than there are ports.
        abi::bind_address_no_port(&socket)?;
    } else {
        // A named port may still be remembered from a connection closed a moment ago.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&source.into())?;
    Ok(socket)
}

/// Applies `options`; on a listener they are inherited by what it accepts.
pub(super) fn set_options(socket: &PlainSocket, options: SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.no_delay)?;
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        // Before the handshake, which settles how far the window can open.
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = options.not_sent_low_bytes {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    if options.user_timeout_ms > 0 {
        let timeout = std::time::Duration::from_millis(u64::from(options.user_timeout_ms));
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    if options.keepalive_s > 0 {
        let idle = std::time::Duration::from_secs(u64::from(options.keepalive_s));
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    Ok(())
}
