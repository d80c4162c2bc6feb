//! What the simulated kernel does with each submission.

use std::{net::SocketAddr, ops::Range};

use super::{
    Fault, SimRing,
    network::{Owner, SocketSizes},
    ring::{DiskOperation, DiskWork, NO_TOKEN, Receive, Target},
    world::{Happening, State},
};
use crate::{
    BLOCK_BYTES, Completion, Errno, Event, File, FileMode, Listener, RingAddress, Socket,
    SocketOptions, Token,
};

/// An operation asked for since the last turn.
#[derive(Debug)]
pub(super) enum Submission {
    Accept { listener: Listener, token: Token },
    Connect { source: SocketAddr, target: SocketAddr, options: SocketOptions, token: Token },
    Receive { socket: Socket, once: bool, token: Token },
    Watch { socket: Socket, token: Token },
    Send { socket: Socket, bytes: Vec<u8>, token: Token },
    Cancel { target: Token, token: Token },
    Close { socket: Socket, abort: bool, token: Token },
    Pass { socket: Socket, to: RingAddress, there: Token, token: Token },
    Wake { to: RingAddress },
    Write { file: File, offset: u64, bytes: Vec<u8>, range: Range<usize>, token: Token },
    Sync { file: File, token: Token },
    Read { file: File, offset: u64, length: u32, token: Token },
}

/// What a socket with these options is given.
pub(super) fn sizes(state: &State, options: SocketOptions) -> SocketSizes {
    let bytes = options.send_buffer_bytes.map(|bytes| bytes as usize);
    SocketSizes {
        send_bytes: bytes.unwrap_or(state.faults.conditions.send_bytes),
        user_timeout_us: u64::from(options.user_timeout_ms) * 1000,
    }
}

impl SimRing {
    pub(super) fn take(&mut self, state: &mut State, submission: Submission) {
        match submission {
            Submission::Accept { listener, token } => {
                self.armed.insert(token.to_u64(), Target::Accept);
                self.accepts.push_back((token, listener.0));
                state.rings[self.index as usize].accepts_dirty = true;
            }
            Submission::Connect { source, target, options, token } => {
                self.take_connect(state, source, target, options, token);
            }
            Submission::Receive { socket, once, token } => {
                if !self.is_open(state, socket) {
                    let event = Event::Received(Err(Errno(libc::EBADF)));
                    return self.complete(state, Some(socket.0), token, false, event);
                }
                self.armed.insert(token.to_u64(), Target::Slot(socket.0));
                self.slots.entry(socket.0).or_default().receive = Some(Receive { token, once });
                state.rings[self.index as usize].dirty.insert(socket.0);
            }
            Submission::Watch { socket, token } => self.take_watch(state, socket, token),
            Submission::Send { socket, bytes, token } => {
                if !self.is_open(state, socket) {
                    let event = Event::Sent(Err(Errno(libc::EBADF)), bytes);
                    return self.complete(state, Some(socket.0), token, false, event);
                }
                self.armed.insert(token.to_u64(), Target::Slot(socket.0));
                self.slots.entry(socket.0).or_default().send = Some((token, bytes));
                state.rings[self.index as usize].dirty.insert(socket.0);
            }
            Submission::Cancel { target, token } => self.take_cancel(state, target, token),
            Submission::Close { socket, abort, token } => {
                let end = state.rings[self.index as usize].vacate(socket.0);
                self.slots.remove(&socket.0);
                if let Some(end) = end {
                    state.close_end(end, abort);
                }
                let event = Event::Closed(end.map(|_| ()).ok_or(Errno(libc::EBADF)));
                // The completion queue is in order: a slot's end stands before its next socket.
                self.complete(state, Some(socket.0), token, false, event);
            }
            Submission::Pass { socket, to, there, token } => {
                let event = Event::Passed(self.hand_over(state, socket, to, there));
                self.complete(state, Some(socket.0), token, false, event);
            }
            Submission::Wake { to } => {
                let woken = Completion { token: NO_TOKEN, more: false, event: Event::Woken };
                if let Some(core) = state.rings.get_mut(to.0 as usize).filter(|core| core.alive) {
                    core.inbox.push_back((None, woken));
                }
            }
            disk => self.take_disk(state, disk),
        }
    }

    fn is_open(&self, state: &State, socket: Socket) -> bool {
        let slots = &state.rings[self.index as usize].slots;
        slots.get(socket.0 as usize).is_some_and(Option::is_some)
    }

    fn take_connect(
        &mut self,
        state: &mut State,
        mut source: SocketAddr,
        target: SocketAddr,
        options: SocketOptions,
        token: Token,
    ) {
        if let Some(machine) = self.machine.filter(|_| source.ip().is_unspecified()) {
            source.set_ip(machine);
        }
        if state.rings[self.index as usize].used >= self.settings.descriptors {
            let event = Event::Connected(Err(Errno(libc::ENFILE)));
            return self.complete(state, None, token, false, event);
        }
        let sizes = sizes(state, options);
        let end = state.connect(source, target, Owner::Peer, sizes);
        let slot = self.adopt(state, end).expect("a slot is free, looked up above");
        self.armed.insert(token.to_u64(), Target::Slot(slot));
        self.slots.entry(slot).or_default().connect = Some(token);
    }

    fn take_watch(&mut self, state: &mut State, socket: Socket, token: Token) {
        let core = &mut state.rings[self.index as usize];
        let Some(end) = core.slots.get(socket.0 as usize).copied().flatten() else {
            let event = Event::Readable(Err(Errno(libc::EBADF)));
            return self.complete(state, Some(socket.0), token, false, event);
        };
        core.dirty.insert(socket.0);
        if let Some(half) = state.network.half_mut(end) {
            // Arming looks once at what is there already; after that only news count.
            half.edge = !half.inbound.is_empty() || half.fin || half.error.is_some();
        }
        self.armed.insert(token.to_u64(), Target::Slot(socket.0));
        self.slots.entry(socket.0).or_default().watch = Some(token);
    }

    fn hand_over(
        &mut self,
        state: &mut State,
        socket: Socket,
        to: RingAddress,
        there: Token,
    ) -> Result<(), Errno> {
        let end = state.rings[self.index as usize].slots[socket.0 as usize];
        let end = end.ok_or(Errno(libc::EBADF))?;
        if to == self.sim_address() {
            return Err(Errno(libc::ENXIO));
        }
        let target = state.rings.get_mut(to.0 as usize).filter(|core| core.alive);
        let target = target.ok_or(Errno(libc::ENXIO))?;
        let slot = target.place(end).ok_or(Errno(libc::ENFILE))?;
        target.dirty.insert(slot);
        let event = Event::Arrived(Ok(Socket(slot)));
        target.inbox.push_back((Some(slot), Completion { token: there, more: false, event }));
        if let Some(half) = state.network.half_mut(end) {
            half.owner = Owner::Slot { ring: to.0, slot };
        }
        state.rings[self.index as usize].vacate(socket.0);
        self.slots.remove(&socket.0);
        Ok(())
    }

    fn take_cancel(&mut self, state: &mut State, target: Token, token: Token) {
        let answer = |result: Result<(), i32>| Event::Cancelled(result.map_err(Errno));
        let Some(found) = self.armed.get(&target.to_u64()).copied() else {
            return self.complete(state, None, token, false, answer(Err(libc::ENOENT)));
        };
        match found {
            Target::Disk => {
                self.complete(state, None, token, false, answer(Err(libc::EALREADY)));
            }
            Target::Slot(slot) if self.completes_before_cancel(state, slot, target) => {
                self.complete(state, None, token, false, answer(Err(libc::ENOENT)));
            }
            _ if state.strikes(Fault::CancelAlready) => {
                self.complete(state, None, token, false, answer(Err(libc::EALREADY)));
                self.end(state, found, target);
            }
            _ if state.strikes(Fault::CancelledFirst) => {
                self.end(state, found, target);
                self.complete(state, None, token, false, answer(Ok(())));
            }
            _ => {
                self.complete(state, None, token, false, answer(Ok(())));
                self.end(state, found, target);
            }
        }
    }

    /// By chance, a receive or send that could complete does so just before its cancel.
    fn completes_before_cancel(&mut self, state: &mut State, slot: u32, target: Token) -> bool {
        let Some(end) = state.rings[self.index as usize].slots[slot as usize] else { return false };
        let Some(operations) = self.slots.get_mut(&slot) else { return false };
        let readable = state.network.half(end).is_some_and(|half| !half.inbound.is_empty());
        let receive = operations.receive.filter(|receive| receive.token == target);
        if receive.is_some() && readable && state.strikes(Fault::CancelTooLate) {
            operations.receive = None;
            let step = self.receive_step(state, end, true);
            let (_, event) = step.expect("bytes wait, so a step ends one way or another");
            self.complete(state, Some(slot), target, false, event);
            return true;
        }
        if operations.send.as_ref().is_some_and(|(token, _)| *token == target)
            && state.network.send_room(end) > 0
            && state.strikes(Fault::CancelTooLate)
        {
            self.look_at(state, slot);
            return !self.armed.contains_key(&target.to_u64());
        }
        false
    }

    /// Ends a cancelled operation.
    fn end(&mut self, state: &mut State, found: Target, target: Token) {
        const CANCELED: Errno = Errno(libc::ECANCELED);
        let Target::Slot(slot) = found else {
            self.accepts.retain(|(token, _)| *token != target);
            let event = Event::Accepted(Err(CANCELED));
            return self.complete(state, None, target, false, event);
        };
        let Some(operations) = self.slots.get_mut(&slot) else { return };
        let event = if operations.connect == Some(target) {
            if let Some(end) = state.rings[self.index as usize].slots[slot as usize] {
                self.abandon_connect(state, slot, end);
            }
            let event = Event::Connected(Err(CANCELED));
            return self.complete(state, None, target, false, event);
        } else if operations.watch == Some(target) {
            operations.watch = None;
            Event::Readable(Err(CANCELED))
        } else if operations.receive.is_some_and(|receive| receive.token == target) {
            operations.receive = None;
            Event::Received(Err(CANCELED))
        } else if let Some((_, bytes)) = operations.send.take_if(|(token, _)| *token == target) {
            Event::Sent(Err(CANCELED), bytes)
        } else {
            unreachable!("armed and slots name the same operations")
        };
        self.complete(state, Some(slot), target, false, event);
    }

    fn take_disk(&mut self, state: &mut State, submission: Submission) {
        let (token, file, work) = match submission {
            Submission::Write { file, offset, bytes, range, token } => {
                let durable = self.file(file).1 == FileMode::DirectDurable;
                (token, file, DiskWork::Write { offset, bytes, range, durable })
            }
            Submission::Sync { file, token } => {
                (token, file, DiskWork::Sync { mark: self.disk.sync_mark() })
            }
            Submission::Read { file, offset, length, token } => {
                (token, file, DiskWork::Read { offset, length })
            }
            other => unreachable!("{other:?} is no disk operation"),
        };
        let (low, high) = state.faults.conditions.disk_us;
        let due_us = state.now_us + state.random.between(low, high);
        state.schedule(due_us, Happening::Due { ring: self.index });
        self.armed.insert(token.to_u64(), Target::Disk);
        let inode = self.file(file).0;
        self.disk_operations.push(DiskOperation { due_us, token, inode, work });
    }

    pub(super) fn finish_disk_operations(&mut self, state: &mut State) {
        let now_us = state.now_us;
        let (mut due, waiting): (Vec<_>, Vec<_>) =
            self.disk_operations.drain(..).partition(|operation| operation.due_us <= now_us);
        self.disk_operations = waiting;
        due.sort_by_key(|operation| operation.due_us);
        for DiskOperation { token, inode, work, .. } in due {
            let event = match work {
                DiskWork::Write { offset, bytes, range, durable } => {
                    let result = self.write_now(state, inode, offset, &bytes[range], durable);
                    Event::Written(result.map_err(Errno), bytes)
                }
                DiskWork::Sync { mark } => {
                    let fails = state.strikes(Fault::SyncFailed);
                    self.disk.finish_sync(inode, mark, !fails);
                    Event::Synced(if fails { Err(Errno(libc::EIO)) } else { Ok(()) })
                }
                DiskWork::Read { offset, length } => {
                    if state.strikes(Fault::ReadFailed) {
                        Event::Read(Err(Errno(libc::EIO)))
                    } else {
                        Event::Read(Ok(self.disk.read_inode(inode, offset, length as usize)))
                    }
                }
            };
            self.complete(state, None, token, false, event);
        }
    }

    fn write_now(
        &self,
        state: &mut State,
        inode: u64,
        offset: u64,
        bytes: &[u8],
        durable: bool,
    ) -> Result<usize, i32> {
        let block = BLOCK_BYTES as u64;
        let aligned = offset.is_multiple_of(block)
            && bytes.len().is_multiple_of(BLOCK_BYTES)
            && bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES);
        if durable && !aligned {
            return Err(libc::EINVAL);
        }
        if self.disk.refuses(inode, offset + bytes.len() as u64) || state.strikes(Fault::DiskFull) {
            return Err(libc::ENOSPC);
        }
        if state.strikes(Fault::WriteFailed) {
            self.disk.fail_write(&mut state.random, inode, offset, bytes);
            return Err(libc::EIO);
        }
        let sectors = bytes.len() / 512;
        let length = if sectors > 1 && state.strikes(Fault::ShortWrite) {
            state.random.between(1, sectors as u64 - 1) as usize * 512
        } else {
            bytes.len()
        };
        self.disk.finish_write(inode, offset, &bytes[..length], durable);
        Ok(length)
    }
}
