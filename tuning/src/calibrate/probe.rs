//! Opens probe sockets: a shell over a ring, so that their number is not bounded by the descriptor
//! limit of the process.
//!
//! Both ends of every connection are in this process, on loopback. Clients are closed with a reset,
//! so that nothing stays behind in TIME_WAIT.

use super::{Look, Opened, observe::Sample};
use hawser_ring::{
    Completion, Event, Listener, Operation, Ring, Socket, SocketOptions, Token, Wait,
};
use std::net::{Ipv4Addr, SocketAddr};

/// Ports of the listeners: below the range that clients connect from.
const LISTEN_PORT_FIRST: u16 = 19_000;
/// Listeners: each takes as many connections that nobody has accepted as its queue holds.
const LISTENERS_MAX: u64 = 256;
/// Ports of a source address.
const SOURCE_PORTS: std::ops::Range<u16> = 20_000..60_000;
/// Connects, accepts or closes on their way at once: fits every listen queue.
const IN_FLIGHT_MAX: usize = 64;
/// Nothing has completed for so long: something is wrong.
const STALL_US: u64 = 10_000_000;
/// Before a look: what was freed late (RCU, deferred work) is gone by then.
const SETTLE_US: u64 = 60_000;
/// Bytes of a queued message.
pub const MESSAGE_BYTES: usize = 200;
/// Steps in which each kind is opened.
pub const STEPS: u64 = 5;
/// One part in so many of a round is opened before its first look: each processor keeps slabs with
/// free objects that the kernel's figures count as used, and these are then filled.
pub const PRIMED: u64 = 4;
/// Looks before the first opening and behind the last: what grows while nothing is opened is not
/// ours.
pub const IDLE_LOOKS: usize = 6;

const OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: 0,
    keepalive_s: 0,
    receive_buffer_bytes: None,
};

/// Opens so many more of one kind.
type Opening<R> = fn(&mut Prober<R>, u64) -> Result<(), String>;

/// Probe sockets on one ring.
pub struct Prober<R> {
    ring: R,
    place: u32,
    listeners: Vec<(Listener, SocketAddr)>,
    clients: Vec<Socket>,
    servers: Vec<Socket>,
    opened: Opened,
    /// Operations that have ended since it was last set to nothing.
    ended: usize,
    failure: Option<String>,
    completions: Vec<Completion>,
}

impl<R: Ring> Prober<R> {
    /// Listens on loopback. `place` tells this prober's addresses from another's at the same time;
    /// `unaccepted` connections must fit the queues of its listeners, which hold `backlog` each.
    ///
    /// # Errors
    /// No port is free, or the queues are too short.
    pub fn new(ring: R, place: u32, unaccepted: u64, backlog: u64) -> Result<Self, String> {
        let count = unaccepted.div_ceil(backlog.max(1)).max(1);
        if count > LISTENERS_MAX {
            return Err(format!(
                "net.core.somaxconn is {backlog}: {LISTENERS_MAX} listeners do not hold {unaccepted} \
                 connections"
            ));
        }
        let mut prober = Self {
            ring,
            place,
            listeners: Vec::new(),
            clients: Vec::new(),
            servers: Vec::new(),
            opened: Opened::default(),
            ended: 0,
            failure: None,
            completions: Vec::new(),
        };
        for number in 0..count as u16 {
            let address = SocketAddr::from((prober.address(64), LISTEN_PORT_FIRST + number));
            let listener = prober
                .ring
                .listen(address, backlog.min(u64::from(u32::MAX)) as u32, OPTIONS)
                .map_err(|error| format!("listening on {address}: {error}"))?;
            prober.listeners.push((listener, address));
        }
        Ok(prober)
    }

    /// 127.`first`.x.x, where the last two are this prober's place.
    fn address(&self, first: u8) -> Ipv4Addr {
        let [_, high, middle, low] = self.place.to_be_bytes();
        Ipv4Addr::new(127, first | (high & 0x3f), middle, low)
    }

    /// What is open.
    #[must_use]
    pub fn opened(&self) -> Opened {
        self.opened
    }

    /// Connects `count` more clients, each listener in turn.
    ///
    /// # Errors
    /// What failed first.
    pub fn connect(&mut self, count: u64) -> Result<(), String> {
        self.connect_and(count, false)
    }

    /// Connects and accepts `count` more pairs.
    ///
    /// # Errors
    /// What failed first.
    pub fn open_pairs(&mut self, count: u64) -> Result<(), String> {
        self.connect_and(count, true)
    }

    fn connect_and(&mut self, count: u64, accepts: bool) -> Result<(), String> {
        let base = self.opened.clients;
        self.many(count, if accepts { 2 } else { 1 }, |prober, step| {
            let number = base + step;
            let ports = u64::from(SOURCE_PORTS.end - SOURCE_PORTS.start);
            let port = SOURCE_PORTS.start + (number % ports) as u16;
            let mut source = prober.address(128).octets();
            // Beyond the ports of one address the next one begins.
            source[1] = source[1].wrapping_add((number / ports) as u8) | 128;
            let (listener, target) = prober.listeners[number as usize % prober.listeners.len()];
            let slot = number as u32;
            prober.ring.connect(
                SocketAddr::from((source, port)),
                target,
                OPTIONS,
                Token::new(Operation::Connect, slot, 0),
            );
            if accepts {
                prober.ring.accept(listener, Token::new(Operation::Accept, slot, 0));
            }
        })?;
        self.opened.clients += count;
        self.opened.servers += if accepts { count } else { 0 };
        Ok(())
    }

    /// Accepts `count` of those that are connected.
    ///
    /// # Errors
    /// What failed first.
    pub fn accept(&mut self, count: u64) -> Result<(), String> {
        let base = self.opened.servers;
        self.many(count, 1, |prober, step| {
            let number = base + step;
            let (listener, _) = prober.listeners[number as usize % prober.listeners.len()];
            prober.ring.accept(listener, Token::new(Operation::Accept, number as u32, 0));
        })?;
        self.opened.servers += count;
        Ok(())
    }

    /// Arms a poll on `count` of the accepted ones.
    ///
    /// # Errors
    /// What failed first.
    pub fn watch(&mut self, count: u64) -> Result<(), String> {
        let base = self.opened.watches;
        self.many(count, 0, |prober, step| {
            let slot = base + step;
            let socket = prober.servers[slot as usize];
            prober.ring.watch(socket, Token::new(Operation::Watch, slot as u32, 0));
        })?;
        self.opened.watches += count;
        Ok(())
    }

    /// Arms a receive on `count` of the clients.
    ///
    /// # Errors
    /// What failed first.
    pub fn receive(&mut self, count: u64) -> Result<(), String> {
        let base = self.opened.receives;
        self.many(count, 0, |prober, step| {
            let slot = base + step;
            let socket = prober.clients[slot as usize];
            prober.ring.receive(socket, Token::new(Operation::Receive, slot as u32, 0));
        })?;
        self.opened.receives += count;
        Ok(())
    }

    /// Sends a message from `count` of the clients, which nobody reads.
    ///
    /// # Errors
    /// What failed first.
    pub fn send(&mut self, count: u64) -> Result<(), String> {
        let base = self.opened.messages;
        self.many(count, 1, |prober, step| {
            let slot = base + step;
            let socket = prober.clients[slot as usize];
            let bytes = vec![0; MESSAGE_BYTES];
            prober.ring.send(socket, bytes, Token::new(Operation::Send, slot as u32, 0));
        })?;
        self.opened.messages += count;
        Ok(())
    }

    /// Resets every client on which nothing is armed; what is left closes with the ring.
    ///
    /// # Errors
    /// What failed first.
    pub fn close(&mut self) -> Result<(), String> {
        let armed = self.opened.receives as usize;
        let idle: Vec<Socket> = self.clients.split_off(armed);
        self.many(idle.len() as u64, 1, |prober, step| {
            let token = Token::new(Operation::Close, step as u32, 0);
            prober.ring.close(idle[step as usize], true, token);
        })
    }

    /// Starts `count` times what ends in `endings` completions each, a few at a time.
    fn many(
        &mut self,
        count: u64,
        endings: usize,
        mut start: impl FnMut(&mut Self, u64),
    ) -> Result<(), String> {
        let wanted = count as usize * endings;
        (self.ended, self.failure) = (0, None);
        let (mut started, mut moved_us) = (0, self.ring.clock_us());
        while started < count || self.ended < wanted {
            while started < count && (started as usize * endings) < self.ended + IN_FLIGHT_MAX {
                start(self, started);
                started += 1;
            }
            let before = self.ended;
            self.turn(if self.ended < wanted { 100_000 } else { 0 })?;
            if self.ended > before {
                moved_us = self.ring.clock_us();
            } else if self.ring.clock_us().saturating_sub(moved_us) > STALL_US {
                return Err(format!("only {} of {wanted} came to an end", self.ended));
            }
        }
        self.turn(0)
    }

    fn turn(&mut self, wait_us: u64) -> Result<(), String> {
        let until_us = Some(self.ring.clock_us() + wait_us);
        let wait = Wait { until_us, batch: 1, gather_us: 0 };
        let mut completions = std::mem::take(&mut self.completions);
        self.ring
            .turn(wait, &mut completions)
            .map_err(|error| format!("the ring broke: {error}"))?;
        for completion in completions.drain(..) {
            self.take(completion);
        }
        self.completions = completions;
        self.failure.take().map_or(Ok(()), Err)
    }

    fn take(&mut self, completion: Completion) {
        let failed = |what: &str, errno: i32| {
            let error = std::io::Error::from_raw_os_error(errno);
            Some(format!("{what}: {error}"))
        };
        match completion.event {
            Event::Connected(Ok(socket)) => self.clients.push(socket),
            Event::Accepted(Ok((socket, _))) => self.servers.push(socket),
            Event::Connected(Err(errno)) => self.failure = failed("connecting", errno.0),
            Event::Accepted(Err(errno)) => self.failure = failed("accepting", errno.0),
            Event::Sent(Err(errno), _) => self.failure = failed("sending", errno.0),
            Event::Closed(Err(errno)) => self.failure = failed("closing", errno.0),
            Event::Sent(Ok(_), _) | Event::Closed(Ok(())) => {}
            Event::Received(Ok(Some(lease))) => return self.ring.give_back(lease),
            // Messages make the watches fire, and the end ends them.
            _ => return,
        }
        self.ended += 1;
    }

    /// Lets late work of the kernel pass.
    ///
    /// # Errors
    /// The ring broke.
    pub fn settle(&mut self) -> Result<(), String> {
        let until_us = self.ring.clock_us() + SETTLE_US;
        while self.ring.clock_us() < until_us {
            let left_us = until_us.saturating_sub(self.ring.clock_us());
            self.turn(left_us)?;
        }
        Ok(())
    }

    /// One round: `pairs` of everything beside the primer, one kind after the other in [`STEPS`] steps,
    /// with a look after each, and [`IDLE_LOOKS`] before and behind them.
    ///
    /// # Errors
    /// What failed first.
    pub fn round(
        &mut self,
        round: usize,
        pairs: u64,
        mut look: impl FnMut() -> Sample,
    ) -> Result<Vec<Look>, String> {
        let kinds: [Opening<R>; 5] =
            [Self::connect, Self::accept, Self::watch, Self::receive, Self::send];
        for kind in kinds {
            kind(self, pairs / PRIMED)?;
        }
        let began_us = self.ring.clock_us();
        let mut looks = Vec::new();
        let mut note = |prober: &mut Self| {
            prober.settle()?;
            let at_s = (prober.ring.clock_us() - began_us) as f64 / 1e6;
            looks.push(Look { round, at_s, opened: prober.opened, sample: look() });
            Ok::<(), String>(())
        };
        for _ in 0..IDLE_LOOKS {
            note(self)?;
        }
        for kind in kinds {
            for step in 0..STEPS {
                let share = pairs * (step + 1) / STEPS - pairs * step / STEPS;
                kind(self, share)?;
                note(self)?;
            }
        }
        for _ in 0..IDLE_LOOKS {
            note(self)?;
        }
        Ok(looks)
    }
}
