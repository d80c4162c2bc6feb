//! One device: the client library's session, a connection of the test's, an application that
//! sends, and everything that happens to phones.

use super::{
    oracle::{Oracle, Violation},
    plan::{Form, Plan},
    plant::{Plants, Tampering},
    seam::Trace,
};
use hawser_client::{ClientSession, Event, Outbox, Outgoing, Settings, session::Action};
use hawser_codec::{
    frame::{self, FrameLimits, Step},
    message::{self, Beat, Encoder, Level, Message},
    time::Now,
};
use hawser_ring::sim::{Random, SimPeer, World};
use std::net::SocketAddr;

/// Characters printed of a frame.
const TOLD_BYTES_MAX: usize = 160;
/// Frames a connection left behind still sends.
const GHOST_WORDS: u32 = 2_000;
/// Time a patient device waits for an answer, milliseconds.
const PATIENCE_MS: u32 = 20_000;
/// Time a connection gets to be established, microseconds.
const CONNECT_US: u64 = 5_000_000;

/// A device of a user.
pub struct Device {
    /// Index among all devices.
    index: usize,
    user: usize,
    users: Vec<String>,
    /// Gateways, of which each connection goes to any.
    targets: Vec<SocketAddr>,
    session: ClientSession,
    settings: Settings,
    peer: Option<SimPeer>,
    tampering: Tampering,
    connected: bool,
    /// A connection that does not stand by then is given up.
    connect_until_us: u64,
    random: Random,
    body_bytes_max: u64,
    pause_us_max: u64,
    trouble_us: u64,
    /// Messages it still sends.
    left: u32,
    send_at_us: u64,
    trouble_at_us: u64,
    /// It reads nothing until then.
    read_at_us: u64,
    /// It cannot connect until then.
    online_at_us: u64,
    /// Nothing happens to it any more.
    calm: bool,
    /// Nothing has ever happened to it, nor will.
    untroubled: bool,
    ended: bool,
    sent: u64,
    /// A connection it has left without a word and on which something still talks.
    ghost: Option<(SimPeer, u32)>,
    /// Prints what it says and hears.
    told: bool,
}

/// Prints whole frames of a piece of a stream; one cut off at an end is left out.
fn tell(now: Now, direction: &str, bytes: &[u8]) {
    let limits = FrameLimits { body_bytes_max: u32::MAX };
    let mut rest = bytes.strip_prefix(&frame::PREFACE).unwrap_or(bytes);
    while let Ok(Step::Frame { frame, consumed }) = frame::step(&limits, rest) {
        rest = &rest[consumed..];
        let mut text = format!("{:?}", message::decode(frame));
        text.truncate(TOLD_BYTES_MAX);
        eprintln!("{:>14} us {direction} {text}", now.monotonic_us);
    }
    if !rest.is_empty() {
        eprintln!("{:>14} us {direction} {} bytes of a frame", now.monotonic_us, rest.len());
    }
}

impl Device {
    /// Device `index` of all, which belongs to user `user` and has not started yet.
    pub fn new(
        plan: &Plan,
        index: usize,
        user: usize,
        users: &[String],
        name: &str,
        plants: Plants,
        targets: &[SocketAddr],
    ) -> Self {
        let mut random = Random::new(plan.seed.wrapping_mul(0x9e37).wrapping_add(index as u64));
        let mut settings = Settings::new(&users[user], name);
        settings.request_timeout_ms = [300, 1_000, 5_000][random.below(3) as usize];
        settings.handshake_timeout_ms = 3_000;
        if plan.form != Form::Embedded {
            // A page whose entries are read one after the other, some turns of three processes
            // each, takes up to half a second of virtual time.
            settings.request_timeout_ms = settings.request_timeout_ms.max(1_000);
        }
        if plan.calm_devices {
            settings.request_timeout_ms = PATIENCE_MS;
            settings.handshake_timeout_ms = PATIENCE_MS;
        }
        settings.grace_ms = 1_000;
        settings.backoff_min_ms = 50;
        settings.backoff_max_ms = 2_000;
        settings.page_entries = [1, 7, 50][random.below(3) as usize];
        settings.acknowledge_count = [1, 8, 32][random.below(3) as usize];
        settings.acknowledge_delay_ms = [1, 20, 400][random.below(3) as usize];
        let outbox = Outbox::new(random.next() | 1);
        Self {
            index,
            user,
            users: users.to_vec(),
            targets: targets.to_vec(),
            session: ClientSession::new(settings.clone(), outbox),
            settings,
            peer: None,
            tampering: Tampering::new(plants.entries),
            connected: false,
            connect_until_us: 0,
            body_bytes_max: plan.body_bytes_max,
            pause_us_max: plan.pause_us_max,
            trouble_us: plan.device_trouble_us,
            left: plan.messages,
            send_at_us: 0,
            trouble_at_us: 0,
            read_at_us: 0,
            online_at_us: 0,
            calm: false,
            untroubled: plan.calm_devices,
            ended: false,
            sent: 0,
            ghost: None,
            told: false,
            random,
        }
    }

    /// Prints everything it says and hears from now on.
    pub fn tell(&mut self) {
        self.told = true;
    }

    /// It sends nothing and meets no trouble from now on.
    pub fn calm_down(&mut self) {
        self.calm = true;
        self.left = 0;
        self.read_at_us = 0;
        self.online_at_us = 0;
    }

    /// Leaves for good.
    pub fn end(&mut self) {
        self.ended = true;
        self.session.end();
    }

    /// How it stands, for people.
    pub fn describe(&self) -> String {
        format!(
            "device {} of {}: {:?}, cursor {:?}, {} unanswered, deadline {:?}",
            self.index,
            self.users[self.user],
            self.session.state(),
            self.session.outbox().cursor(),
            self.session.outbox().requests().len(),
            self.session.next_deadline()
        )
    }

    /// When it wants to be looked at although nothing arrived, microseconds.
    pub fn next_us(&self) -> Option<u64> {
        let own = if self.calm { None } else { Some(self.trouble_at_us) };
        let send = (self.left > 0).then_some(self.send_at_us);
        let read = (self.read_at_us > 0).then_some(self.read_at_us);
        let connecting = self.peer.is_some() && !self.connected;
        let connect = connecting.then_some(self.connect_until_us);
        [self.session.next_deadline(), own, send, read, connect].into_iter().flatten().min()
    }

    /// Everything there is to do now.
    ///
    /// # Errors
    /// What the oracle says to an event.
    pub fn step(
        &mut self,
        now: Now,
        world: &World,
        oracle: &mut Oracle,
        trace: &Trace,
    ) -> Result<(), Violation> {
        self.meet_trouble(now);
        if now.monotonic_us >= self.read_at_us {
            self.read_at_us = 0;
        }
        self.look_at_peer(now, trace);
        self.haunt();
        if self.session.next_deadline().is_some_and(|at| at <= now.monotonic_us) {
            self.session.on_time(now);
        }
        self.say_something(now, oracle);
        self.act(now, world);
        while let Some(event) = self.session.next_event() {
            match event {
                Event::Ended { code: 0, .. } if self.ended => {}
                event => oracle.on_event(self.index, &event)?,
            }
        }
        Ok(())
    }

    fn look_at_peer(&mut self, now: Now, trace: &Trace) {
        let Some(peer) = &self.peer else { return };
        if peer.error().is_some() {
            return self.lose(now);
        }
        if !self.connected && peer.is_connected() {
            self.connected = true;
            self.session.on_connected(now);
        }
        if !self.connected && now.monotonic_us >= self.connect_until_us {
            return self.lose(now);
        }
        if self.connected && self.read_at_us == 0 && !self.session.is_full() {
            let bytes = self.tampering.pass(peer.receive());
            if !bytes.is_empty() {
                trace.add_bytes(&bytes);
                if self.told {
                    tell(now, "hears", &bytes);
                }
                self.session.on_bytes(now, &bytes);
            }
            if self.peer.as_ref().is_some_and(SimPeer::is_finished) {
                self.lose(now);
            }
        }
    }

    fn lose(&mut self, now: Now) {
        if let Some(peer) = self.peer.take() {
            peer.close();
            self.connected = false;
            self.session.on_disconnected(now, self.random.next());
        }
    }

    /// What was left behind goes on talking, until the server has closed it or it is tired.
    fn haunt(&mut self) {
        let Some((peer, words)) = &mut self.ghost else { return };
        let mut ping = Vec::new();
        let beat = Message::Ping(Beat { next_ms: 1_000 });
        Encoder::new().message(&mut ping, 0, 0, &beat);
        peer.send(&ping);
        *words -= 1;
        if *words == 0 || peer.error().is_some() || peer.is_finished() {
            peer.reset();
            self.ghost = None;
        }
    }

    fn act(&mut self, now: Now, world: &World) {
        let bytes = self.session.take_bytes(Vec::new());
        if let Some(peer) = self.peer.as_ref().filter(|_| !bytes.is_empty()) {
            peer.send(&bytes);
            if self.told {
                tell(now, "says", &bytes);
            }
        }
        while let Some(action) = self.session.next_action() {
            match action {
                Action::Connect { .. } if now.monotonic_us < self.online_at_us => {
                    self.session.on_disconnected(now, self.random.next());
                }
                Action::Connect { .. } => {
                    let source = ([127, 0, 1, self.index as u8], 0).into();
                    self.connected = false;
                    self.connect_until_us = now.monotonic_us + CONNECT_US;
                    self.tampering.reset();
                    self.peer = Some(world.connect(source, self.any_target()));
                }
                Action::Close if self.ended => {
                    if let Some(peer) = self.peer.take() {
                        peer.close();
                    }
                }
                Action::Close => self.lose(now),
            }
        }
    }

    fn any_target(&mut self) -> SocketAddr {
        let count = self.targets.len();
        let index = if count > 1 { self.random.below(count as u64) as usize } else { 0 };
        self.targets[index]
    }

    fn say_something(&mut self, now: Now, oracle: &mut Oracle) {
        if self.left == 0 || now.monotonic_us < self.send_at_us {
            return;
        }
        self.left -= 1;
        let pause = self.random.below(self.pause_us_max);
        self.send_at_us = now.monotonic_us + if self.random.below(3) == 0 { 1 } else { pause };
        // To oneself now and then: notes that reach the other devices.
        let to = self.random.below(self.users.len() as u64) as usize;
        self.sent += 1;
        if self.random.below(4) == 0 {
            self.session.sync(now);
        }
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&(self.index as u64).to_le_bytes());
        uuid[8..].copy_from_slice(&self.sent.to_le_bytes());
        let mut body = uuid.to_vec();
        body.resize(16 + self.random.below(self.body_bytes_max) as usize, self.sent as u8);
        let message = Outgoing {
            to: self.users[to].clone(),
            uuid,
            level: Level::Normal,
            content: 1,
            receipts: 0,
            body: body.clone(),
        };
        if let Ok(number) = self.session.send(now, message) {
            oracle.on_send(self.index, number, to, uuid, &body);
        }
    }

    fn meet_trouble(&mut self, now: Now) {
        if self.calm || now.monotonic_us < self.trouble_at_us {
            return;
        }
        let first = self.trouble_at_us == 0;
        let wait = self.random.below(2 * self.trouble_us);
        self.trouble_at_us = now.monotonic_us + 1 + wait;
        if first {
            // Devices start one after the other.
            self.online_at_us = now.monotonic_us + self.random.below(self.trouble_us);
            if self.untroubled {
                self.trouble_at_us = u64::MAX;
            }
            return;
        }
        match self.random.below(12) {
            0 => self.peer.iter().for_each(SimPeer::reset),
            1 => self.lose(now),
            // Half open: the network has forgotten the connection and tells nobody.
            2 => self.peer.iter().for_each(SimPeer::vanish),
            3 => {
                if let Some(peer) = self.peer.take() {
                    peer.vanish();
                    self.connected = false;
                    self.session.on_disconnected(now, self.random.next());
                }
            }
            4 | 5 => self.read_at_us = now.monotonic_us + self.random.below(4 * self.trouble_us),
            6 => {
                self.online_at_us = now.monotonic_us + self.random.below(4 * self.trouble_us);
                self.lose(now);
            }
            7 => self.restart(),
            // Not trouble but whims of an application: looking for news, having read something.
            8 => self.session.sync(now),
            9 => {
                if let Some(peer) = self.peer.take_if(|_| self.connected) {
                    self.ghost = Some((peer, GHOST_WORDS));
                    self.connected = false;
                    self.session.on_disconnected(now, self.random.next());
                }
            }
            _ => {
                let other = (self.user + 1) % self.users.len();
                let conversation = self.users[other].clone();
                self.session.send_receipt(now, &conversation, 1, self.sent);
            }
        }
    }

    /// The program is started again with what it had stored.
    fn restart(&mut self) {
        if let Some(peer) = self.peer.take() {
            peer.reset();
        }
        self.connected = false;
        let stored = self.session.outbox().to_bytes();
        let outbox = Outbox::from_bytes(&stored).expect("an outbox reads what it wrote");
        self.session = ClientSession::new(self.settings.clone(), outbox);
    }
}
