//! Two workers of a gateway on simulated rings, clients, and routers made of the other end of the
//! link protocol. Clients are on worker 1; the link to router 0 is on worker 0, so that everything
//! for it goes through the mesh.

use hawser_codec::{
    frame::{self, FrameLimits, PREFACE, Step},
    link::{Accepted, Announce, LoggedIn, Uplink},
    message::{self, Class, Encoder, Hello, Level, Message, Request},
    time::Now,
};
use hawser_gateway::{
    auth::Authenticator,
    config::{AuthConfig, AuthKind, WebSocketConfig},
    limits,
    listener::ListenerSettings,
    mesh::mesh,
    metrics::ProcessMetrics,
    resume::ResumeKeys,
    session::SessionSettings,
    shared_keys::SharedKeys,
    websocket::WebSocketSettings,
    worker::{Fleet, RouterSetup, RouterTier, Worker, WorkerSettings},
};
use hawser_ring::{
    RingSettings, SocketOptions,
    sim::{Faults, SimDisk, SimListener, SimPeer, SimRing, World},
};
use hawser_router::{
    KeySpace,
    hosting::Reach,
    link::{
        self, Family, Inbox, LinkEvent, LinkSecret, LinkSession, LinkSettings, Role, Taken,
        WINDOW_BYTES_RANGE, wire,
    },
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Hash key of the routers.
pub const HASH_KEY: [u8; 32] = [7; 32];
const SECRET: &[u8] = b"the secret of all";
const WORKERS: u16 = 2;
const FRAMES: FrameLimits = FrameLimits { body_bytes_max: 64 * 1024 };
/// Far more steps than any test needs, so that a stall is seen as one.
const STEPS_MAX: usize = 100_000;

fn listen_address(worker: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 15, 0, 2), 11_400 + worker as u16))
}

fn router_address(router: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 15, 0, 1), 12_000 + router as u16))
}

/// What a router was told in its present life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub logins: u64,
    pub announced: u64,
    pub sends: u64,
}

/// A router, and how it misbehaves.
pub struct FakeRouter {
    pub settings: LinkSettings,
    pub secret: Vec<u8>,
    pub newer_only: bool,
    pub talks_http: bool,
    /// Neither reads nor says anything.
    pub frozen: bool,
    /// Logins and requests get an answer.
    pub answers: bool,
    /// Batches are granted again.
    pub grants: bool,
    /// Connections accepted.
    pub accepted: u32,
    told: Told,
    listener: Option<SimListener>,
    links: Vec<Linked>,
}

struct Linked {
    peer: SimPeer,
    session: Option<LinkSession>,
    inbox: Inbox,
}

impl FakeRouter {
    fn new(router: usize, routers: usize) -> Self {
        let settings = LinkSettings {
            role: Role::Router,
            name: format!("fake {router}"),
            epoch: 100 + router as u64,
            nonce: [4; 32],
            workers: 1,
            routers: routers as u16,
            index: Some(router as u16),
            peer_index: None,
            secret: LinkSecret::new(SECRET),
            hash_key: Some(HASH_KEY),
            window_bytes: WINDOW_BYTES_RANGE.0,
        };
        Self {
            settings,
            secret: SECRET.to_vec(),
            newer_only: false,
            talks_http: false,
            frozen: false,
            answers: true,
            grants: true,
            accepted: 0,
            told: Told::default(),
            listener: None,
            links: Vec::new(),
        }
    }

    fn turn(&mut self, now: Now) {
        if self.frozen {
            return;
        }
        while let Some(peer) = self.listener.as_ref().and_then(SimListener::accept) {
            self.accepted += 1;
            if self.talks_http {
                peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                self.links.push(Linked { peer, session: None, inbox: Inbox::default() });
                continue;
            }
            if self.newer_only {
                let mut bytes = wire::PREFACE.to_vec();
                let hello = link::Hello {
                    versions: (2, 3),
                    role: Role::Router,
                    workers: 1,
                    routers: 1,
                    index: Some(0),
                    peer_index: None,
                    epoch: 5,
                    hash_check: 0,
                    window_bytes: WINDOW_BYTES_RANGE.0,
                    nonce: [5; 32],
                    name: "newer".into(),
                };
                hello.put(&mut bytes);
                peer.send(&bytes);
                self.links.push(Linked { peer, session: None, inbox: Inbox::default() });
                continue;
            }
            let secret = LinkSecret::new(&self.secret);
            let settings = LinkSettings { secret, ..self.settings.clone() };
            let session = Some(LinkSession::acceptor(settings, now));
            self.links.push(Linked { peer, session, inbox: Inbox::default() });
        }
        let (answers, grants) = (self.answers, self.grants);
        for linked in &mut self.links {
            linked.turn(now, answers, grants, &mut self.told);
        }
        self.links.retain(|linked| {
            let over = linked.session.as_ref().is_some_and(LinkSession::is_over);
            if over {
                linked.peer.close();
            }
            !over && !linked.peer.is_finished() && linked.peer.error().is_none()
        });
    }
}

impl Linked {
    fn turn(&mut self, now: Now, answers: bool, grants: bool, told: &mut Told) {
        let bytes = self.peer.receive();
        let Some(session) = &mut self.session else { return };
        self.inbox.extend(&bytes);
        let mut downlinks: Vec<(u16, Vec<u8>)> = Vec::new();
        loop {
            let (length, event) = match session.step(now, self.inbox.bytes()) {
                Taken::NeedMore(_) => break,
                Taken::Frame(length, event) => (length, event),
            };
            let mut granted = 0;
            match event {
                Some(LinkEvent::Up(peer)) => {
                    for worker in 0..peer.workers {
                        let mut batch = Vec::new();
                        Announce { epoch: 0 }.put(&mut batch);
                        downlinks.push((worker, batch));
                    }
                }
                Some(LinkEvent::Batch { worker, bytes, cost, .. }) => {
                    granted = cost;
                    let mut batch = Vec::new();
                    answer(bytes, answers, &mut batch, told);
                    downlinks.push((worker, batch));
                }
                _ => {}
            }
            self.inbox.consume(length);
            if grants && granted > 0 {
                session.grant(granted);
            }
        }
        for (worker, batch) in downlinks {
            session.send(Family::Downlink, worker, &mut &batch[..]).unwrap();
        }
        if session.next_deadline().is_some_and(|at| at <= now.monotonic_us) {
            let _ = session.on_deadline(now);
        }
        self.peer.send(&session.take_out(Vec::new()));
    }
}

fn answer(batch: &[u8], answers: bool, out: &mut Vec<u8>, told: &mut Told) {
    let mut rest = batch;
    while let Some(uplink) = Uplink::take(&mut rest).unwrap() {
        match uplink {
            Uplink::Login(login) => {
                told.announced += u64::from(login.announce);
                told.logins += u64::from(!login.announce);
                if answers {
                    LoggedIn {
                        connection: login.connection,
                        epoch: 1,
                        head: 0,
                        cursor: 0,
                        floor: 0,
                        announced: login.announce,
                    }
                    .put(out);
                }
            }
            Uplink::Send(send) => {
                told.sends += 1;
                if answers {
                    Accepted {
                        connection: send.connection,
                        channel: send.channel,
                        client_seq: send.client_seq,
                        sequence: send.client_seq,
                        time_ms: 1,
                    }
                    .put(out);
                }
            }
            _ => {}
        }
    }
}

/// Everything.
pub struct Stage {
    world: World,
    workers: Vec<Worker<SimRing>>,
    routers: Vec<FakeRouter>,
    pub metrics: Arc<ProcessMetrics>,
}

impl Stage {
    /// A gateway that was told of so many routers, none of which runs.
    pub fn new(routers: usize) -> Self {
        Self::with_faults(routers, 1, Faults::none())
    }

    /// The same in a world with faults.
    pub fn with_faults(routers: usize, seed: u64, faults: Faults) -> Self {
        let world = World::new(seed, faults);
        let disk = SimDisk::new(&world);
        let addresses = (0..routers).map(|router| router_address(router).to_string());
        let metrics = ProcessMetrics::with_routers(u32::from(WORKERS), addresses);
        metrics.set_ready(true);
        let keys = SharedKeys::unknown();
        let sessions = Arc::new(session_settings(keys.clone()));
        let fleet = Arc::new(Fleet::new(usize::from(WORKERS)));
        let ports = mesh(usize::from(WORKERS), routers.min(usize::from(WORKERS)));
        let workers = ports.into_iter().enumerate().map(|(index, port)| {
            let ring = SimRing::new(&world, &disk, ring_settings());
            let settings = worker_settings(index, routers as u16);
            let counters = metrics.workers[index].clone();
            let mut worker =
                Worker::new(settings, fleet.clone(), ring, port, None, sessions.clone(), counters)
                    .unwrap();
            let tier = tier(&world, index, routers, keys.clone(), &metrics);
            worker.reach_through(tier, world.now());
            worker
        });
        let workers = workers.collect();
        let routers = (0..routers).map(|router| FakeRouter::new(router, routers)).collect();
        Self { world, workers, routers, metrics }
    }

    pub fn router(&mut self, router: usize) -> &mut FakeRouter {
        &mut self.routers[router]
    }

    pub fn told(&self, router: usize) -> Told {
        self.routers[router].told
    }

    /// The router listens, and begins a new life.
    pub fn start_router(&mut self, router: usize) {
        let listener = self.world.listen(router_address(router), 16);
        let fake = &mut self.routers[router];
        fake.listener = listener;
        fake.told = Told::default();
        fake.answers = true;
        fake.settings.epoch += 10;
    }

    /// The router dies as a process does: all its sockets are reset.
    pub fn stop_router(&mut self, router: usize) {
        let fake = &mut self.routers[router];
        if let Some(listener) = fake.listener.take() {
            listener.close();
        }
        for linked in fake.links.drain(..) {
            linked.peer.reset();
        }
    }

    /// Starts a router that does not listen.
    pub fn restart_if_stopped(&mut self, router: usize) {
        if self.routers[router].listener.is_none() {
            self.start_router(router);
        }
    }

    /// A number below `bound`, of the world's own.
    pub fn draw(&self, bound: u64) -> u64 {
        self.world.draw(bound)
    }

    pub fn reach(&self, router: usize) -> Reach {
        let metrics = &self.metrics.routers[router];
        match (metrics.up.get(), metrics.crowded.get(), metrics.refusing.get()) {
            (_, 1, _) => Reach::Crowded,
            (1, ..) => Reach::Up,
            (_, _, 1) => Reach::Refusing,
            _ => Reach::Away,
        }
    }

    pub fn until_up(&mut self, router: usize) {
        self.run("link", |stage| stage.reach(router) == Reach::Up);
        // And all workers know.
        self.pass_ms(50);
    }

    fn turn(&mut self) {
        for worker in &mut self.workers {
            worker.turn().unwrap();
        }
        let now = self.world.now();
        self.routers.iter_mut().for_each(|router| router.turn(now));
    }

    fn advance(&self) {
        let now_us = self.world.now().monotonic_us;
        let next_us = self.world.next_event_us().unwrap_or(u64::MAX);
        self.world.advance_to(next_us.clamp(now_us + 1, now_us + 10_000));
    }

    /// Turns, and time that passes, until `done`.
    pub fn run(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..STEPS_MAX {
            self.turn();
            if done(self) {
                return;
            }
            self.advance();
        }
        panic!("{what}: not within {STEPS_MAX} steps; {}", self.metrics.readiness().1);
    }

    pub fn pass_ms(&mut self, milliseconds: u64) {
        let end_us = self.world.now().monotonic_us + milliseconds * 1000;
        while self.world.now().monotonic_us < end_us {
            self.turn();
            self.advance();
        }
    }

    /// A client that has said hello.
    pub fn connect(&mut self, name: &str) -> Client {
        let port = 20_000 + self.world.draw(40_000) as u16;
        let source = SocketAddr::from((Ipv4Addr::new(127, 15, 1, 1), port));
        let peer = self.world.connect(source, listen_address(1));
        let mut client = Client {
            peer,
            encoder: Encoder::new(),
            bytes: Vec::new(),
            welcomed: false,
            acknowledged: Vec::new(),
            refused: Vec::new(),
            fatal: None,
        };
        client.hello(name);
        client
    }

    /// A client that is logged in.
    pub fn client(&mut self, name: &str) -> Client {
        let mut client = self.connect(name);
        self.run("login", |_| {
            client.read();
            assert_eq!((client.fatal, client.peer.error()), (None, None), "{name}");
            client.welcomed
        });
        client
    }

    /// Reads; whether request `number` was answered.
    pub fn has_answer(&self, client: &mut Client, number: u64) -> bool {
        client.read();
        client.acknowledged.contains(&number)
            || client.refused.iter().any(|(refused, _)| *refused == number)
    }

    /// Name of a user whose home is at router `router`.
    pub fn user_of_shard(&self, router: u8) -> String {
        let keys = KeySpace::new(HASH_KEY);
        let routers = self.routers.len() as u8;
        (0..1000)
            .map(|number| format!("user{number}"))
            .find(|name| keys.user(0, name.as_bytes()).0[0] % routers == router)
            .unwrap()
    }

    /// Name of one whose chat with `user` is at router `router`.
    pub fn peer_of_shard(&self, user: &str, router: u8) -> String {
        let keys = KeySpace::new(HASH_KEY);
        let routers = self.routers.len() as u8;
        let (user, _) = keys.user(0, user.as_bytes());
        (0..1000)
            .map(|number| format!("peer{number}"))
            .find(|name| {
                let (peer, _) = keys.user(0, name.as_bytes());
                keys.direct(&user, &peer)[0] % routers == router
            })
            .unwrap()
    }
}

fn ring_settings() -> RingSettings {
    RingSettings {
        descriptors: 2_000,
        completion_entries: 4096,
        submission_entries: 1024,
        buffers: 256,
        buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
    }
}

fn worker_settings(index: usize, hosts: u16) -> WorkerSettings {
    WorkerSettings {
        index,
        hosts,
        listeners: vec![ListenerSettings::native(listen_address(index))],
        proxies: Arc::new([]),
        slots: 2_000,
        share: 1_900,
        handshake_ms: 60_000,
        close_ms: 2_000,
        secret: 7,
        options: SocketOptions {
            no_delay: true,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            not_sent_low_bytes: None,
            user_timeout_ms: 0,
            keepalive_s: 0,
        },
        buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
    }
}

fn tier(
    world: &World,
    index: usize,
    routers: usize,
    keys: SharedKeys,
    metrics: &ProcessMetrics,
) -> RouterTier {
    let settings = LinkSettings {
        role: Role::Gateway,
        name: "gateway".into(),
        epoch: 1,
        nonce: [0; 32],
        workers: WORKERS,
        routers: routers as u16,
        index: None,
        peer_index: None,
        secret: LinkSecret::new(SECRET),
        hash_key: None,
        window_bytes: WINDOW_BYTES_RANGE.0,
    };
    let links = (0..routers).filter(|router| router % usize::from(WORKERS) == index);
    let world = world.clone();
    RouterTier {
        workers: WORKERS,
        links: links
            .map(|router| RouterSetup {
                router: router as u16,
                address: router_address(router),
                settings: LinkSettings { peer_index: Some(router as u16), ..settings.clone() },
            })
            .collect(),
        keys,
        entropy: Box::new(move || std::array::from_fn(|_| world.draw(256) as u8)),
        metrics: metrics.routers.clone(),
    }
}

fn session_settings(keys: SharedKeys) -> SessionSettings {
    let auth = AuthConfig { kind: AuthKind::None, resume_lifetime_s: 60 };
    let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    SessionSettings {
        authenticator: Authenticator::new(&auth, &[1; 32], &no_file).unwrap(),
        resume: ResumeKeys::from_secrets([2; 32], None),
        resume_lifetime_s: 60,
        keys,
        frames: FRAMES,
        heartbeat_s: [600; 4],
        heartbeat_range_ms: (5_000, 600_000),
        grace_ms: 10_000,
        outbound_bytes_high: limits::OUTBOUND_BYTES_HIGH as usize,
        requests_max: limits::REQUESTS_IN_FLIGHT,
        websocket: WebSocketSettings::of(&WebSocketConfig::SHIPPED, 1),
        mqtt: hawser_gateway::mqtt::MqttSettings::shipped(),
    }
}

pub struct Client {
    peer: SimPeer,
    encoder: Encoder,
    bytes: Vec<u8>,
    welcomed: bool,
    pub acknowledged: Vec<u64>,
    pub refused: Vec<(u64, u16)>,
    /// Code and time to come back of what ended it.
    pub fatal: Option<(u16, u32)>,
}

impl Client {
    fn hello(&mut self, name: &str) {
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            realm: 0,
            user: name,
            device: "phone",
            token: "",
            resume_token: b"",
            incarnation: 7,
            class: Class::Mobile,
            heartbeat_s: 0,
            cursor: None,
            rewind: false,
            compression: 0,
            agent: "",
        };
        let mut bytes = PREFACE.to_vec();
        self.encoder.hello(&mut bytes, 0, 0, &hello);
        self.peer.send(&bytes);
    }

    pub fn request(&mut self, client_seq: u64, to: &str) {
        self.request_of(client_seq, to, b"hello");
    }

    pub fn request_of(&mut self, client_seq: u64, to: &str, body: &[u8]) {
        let request = Request {
            client_seq,
            after: 0,
            uuid: [client_seq as u8; 16],
            to,
            level: Level::Normal,
            content: 1,
            receipts: 0,
            first_attempt_ms: 0,
            body,
        };
        let mut bytes = Vec::new();
        self.encoder.request(&mut bytes, 0, 0, &request);
        self.peer.send(&bytes);
    }

    /// Reads all that is there.
    pub fn read(&mut self) {
        self.bytes.extend(self.peer.receive());
        let mut done = 0;
        while let Step::Frame { frame, consumed } =
            frame::step(&FRAMES, &self.bytes[done..]).unwrap()
        {
            done += consumed;
            match message::decode(frame).unwrap() {
                Message::Welcome(_) => self.welcomed = true,
                Message::Acknowledge(answer) => self.acknowledged.push(answer.client_seq),
                Message::Error(error) if error.fatal => {
                    self.fatal = Some((error.code, error.retry_after_ms));
                }
                Message::Error(error) => self.refused.push((error.client_seq, error.code)),
                _ => {}
            }
        }
        self.bytes.drain(..done);
    }

    /// Reads; what ended it, if something has.
    pub fn read_fatal(&mut self) -> Option<(u16, u32)> {
        self.read();
        self.fatal
    }
}
