//! How connections come: accepted, kept or passed on, refused when the process is full.

use super::*;
use crate::listener::Kind;

impl<R: Ring> Worker<R> {
    /// Keeps accepts in flight as long as slots are free beyond the reserve.
    pub(super) fn accept_more(&mut self) {
        if self.fleet.phase() != Phase::Serving {
            return;
        }
        // Beyond it the backlog waits: those already here would time out behind newcomers, come
        // back, and make it worse.
        if self.levels.greeting >= self.greetings_max() {
            self.shed_silent();
        }
        if self.levels.greeting >= self.greetings_max() {
            return;
        }
        let mut in_flight: u32 = self.doors.iter().map(|door| door.accepts).sum();
        for (index, door) in self.doors.iter_mut().enumerate() {
            while door.accepts < limits::ACCEPTS_IN_FLIGHT
                && self.ring.free_slots() > in_flight + limits::ACCEPT_SLOTS_LOW
            {
                door.asked = door.asked.wrapping_add(1);
                let token = Token::new(Operation::Accept, index as u32, door.asked);
                self.ring.accept(door.listener, token);
                door.accepts += 1;
                in_flight += 1;
            }
        }
    }

    fn greetings_max(&self) -> u32 {
        let workers = self.fleet.loads.len() as u32;
        (limits::GREETINGS_MAX / workers).max(limits::GREETINGS_MIN)
    }

    /// Others may wait for a place: the oldest of those that have sent nothing give theirs up, as
    /// many as are accepted at a time.
    fn shed_silent(&mut self) {
        let enough = self.greetings_max() - limits::ACCEPTS_IN_FLIGHT;
        for _ in 0..limits::SHED_PER_TURN {
            if self.levels.greeting <= enough {
                return;
            }
            let Some(handle) = self.newcomers.front().copied() else { return };
            let connection = self.connections.get_mut(handle);
            let silent = connection.filter(|connection| connection.is_silent());
            if let Some(connection) = silent {
                if self.tick - connection.since < limits::SILENT_TICKS {
                    return;
                }
                let text = "silent while others waited for the place";
                let farewell = Farewell::saying(code::TIMEOUT, text);
                self.dismiss(handle, &farewell, CloseReason::Silent);
            }
            self.newcomers.pop_front();
        }
    }

    /// Takes note of who came when. Those that have spoken or gone meanwhile are weeded out once they
    /// are about half, so the list is bounded by the greetings, and each is looked at twice or so.
    fn note_newcomer(&mut self, handle: Handle) {
        let greetings = self.levels.greeting.max(self.greetings_max()) as usize;
        if self.newcomers.len() >= 2 * greetings {
            let connections = &mut self.connections;
            self.newcomers.retain(|one| connections.get_mut(*one).is_some_and(|c| c.is_silent()));
        }
        self.newcomers.push_back(handle);
    }

    pub(super) fn on_accepted(
        &mut self,
        token: Token,
        result: Result<(Socket, SocketAddr), Errno>,
    ) {
        if let Some(door) = self.doors.get_mut(token.slot as usize) {
            door.accepts -= 1;
        }
        match result {
            Ok((socket, peer)) => {
                self.metrics.accepted.add(1);
                let door = token.slot as u8;
                match self.may_come(door, peer) {
                    true => self.admit(socket, door),
                    false => {
                        self.note_stranger(peer);
                        self.turn_away(socket, door);
                    }
                }
            }
            // The peer left before it was accepted, or the table was full after all.
            Err(_) => self.metrics.closed.at(CloseReason::Full).add(1),
        }
    }

    /// The token is the passing worker's; its generation names the listener.
    pub(super) fn on_arrived(&mut self, token: Token, result: Result<Socket, Errno>) {
        if let Ok(socket) = result {
            self.hold(socket, token.generation as u8);
        }
    }

    /// A listener behind a proxy is for proxies: whoever else reaches it could claim any address.
    fn may_come(&self, door: u8, peer: SocketAddr) -> bool {
        let behind_proxy =
            self.settings.listeners.get(usize::from(door)).is_some_and(|listener| listener.proxy);
        !behind_proxy || self.settings.proxies.iter().any(|network| network.contains(peer.ip()))
    }

    fn turn_away(&mut self, socket: Socket, door: u8) {
        self.fleet.loads[self.settings.index].fetch_add(1, Ordering::Relaxed);
        let handle = self.hold(socket, door);
        self.begin_close(handle, true, CloseReason::Denied);
    }

    /// Keeps a new connection, passes it to the emptiest worker when this one has its share, or
    /// tells it that the process is full.
    fn admit(&mut self, socket: Socket, door: u8) {
        let own = &self.fleet.loads[self.settings.index];
        if own.load(Ordering::Relaxed) < self.settings.share {
            own.fetch_add(1, Ordering::Relaxed);
            self.hold(socket, door);
            return;
        }
        let to = self.fleet.emptiest();
        let has_room = self.fleet.loads[to].load(Ordering::Relaxed) < self.settings.share;
        match self.fleet.addresses[to].get().copied().filter(|_| has_room) {
            Some(address) => {
                self.fleet.loads[to].fetch_add(1, Ordering::Relaxed);
                let there = Token::new(Operation::Arrive, to as u32, u32::from(door));
                // The generation says to whom it was counted, should it come back.
                let token = Token::new(Operation::Pass, socket.0, passed(to, door));
                self.ring.pass(socket, address, there, token);
            }
            None => {
                own.fetch_add(1, Ordering::Relaxed);
                let handle = self.hold(socket, door);
                let farewell =
                    Farewell::of(code::CONNECTIONS_FULL).retry_after(limits::FULL_RETRY_MS);
                self.dismiss(handle, &farewell, CloseReason::Full);
            }
        }
    }

    pub(super) fn on_passed(&mut self, token: Token, result: Result<(), Errno>) {
        if result.is_err() {
            // The other table was full after all: the connection stays here.
            let (to, door) = passed_to(token.generation);
            self.fleet.loads[to].fetch_sub(1, Ordering::Relaxed);
            self.fleet.loads[self.settings.index].fetch_add(1, Ordering::Relaxed);
            self.hold(Socket(token.slot), door);
        } else {
            self.metrics.passed.add(1);
        }
    }

    /// Begins a connection that is already counted in this worker's load.
    fn hold(&mut self, socket: Socket, door: u8) -> Handle {
        let silence = self.handshake_ticks() as u16;
        let mut connection = Connection::new(self.tick, silence, door, Protocol::Undetermined);
        if let Some(listener) = self.settings.listeners.get(usize::from(door)) {
            connection.protocol = protocol_of(listener);
            connection.flags.set(Flag::Proxy, listener.proxy);
            connection.flags.set(Flag::Tls, listener.tls);
        }
        self.count_spoken(connection.protocol, true);
        let handle = self.connections.insert(socket.0, connection);
        self.levels.greeting += 1;
        self.note_newcomer(handle);
        self.wheel.file(handle.slot, self.tick + Tick::from(silence));
        self.arm(handle);
        handle
    }
}

/// What is spoken on a new connection, as far as its listener says.
const fn protocol_of(listener: &ListenerSettings) -> Protocol {
    match listener.kind {
        Kind::Native => Protocol::Native,
        Kind::WebSocket => Protocol::Http,
        Kind::Mqtt => Protocol::Mqtt,
        Kind::Any => Protocol::Undetermined,
    }
}

/// Generation of a pass: to which worker, and of which listener.
const fn passed(to: usize, door: u8) -> u32 {
    (to as u32) << 8 | door as u32
}

const fn passed_to(generation: u32) -> (usize, u8) {
    ((generation >> 8) as usize, generation as u8)
}

const _: () = assert!(limits::WORKERS_MAX <= 1 << 16, "a generation has 24 bits");
