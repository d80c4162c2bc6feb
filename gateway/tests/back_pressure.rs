//! Clients that do not read, and clients that flood: what waits for them is bounded, neighbours are
//! served, and nothing is lost once they read again. The worker is the real one, on a simulated
//! ring; the test plays the shard host.

#![allow(clippy::unwrap_used)] // the lint takes shared test code for ordinary code

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hawser_codec::{
    code,
    frame::{self, FrameLimits, PREFACE, Step},
    link::{Accepted, Deliver, LoggedIn, PeerReceipt, Uplink},
    message::{
        self, Beat, Class, Encoder, Hello, Level, Message, NotifyAcknowledge, Request, Sync,
    },
};
use hawser_gateway::{
    auth::Authenticator,
    config::{AuthConfig, AuthKind, WebSocketConfig},
    limits,
    listener::ListenerSettings,
    mesh::{MeshPort, Parcel, mesh},
    metrics::{CloseReason, FrameKind, ProcessMetrics, WorkerMetrics},
    resume::ResumeKeys,
    session::SessionSettings,
    shared_keys::SharedKeys,
    tls::Offers,
    websocket::WebSocketSettings,
    worker::{Fleet, Worker, WorkerSettings},
};
use hawser_ring::{
    Ring, RingSettings, SocketOptions, Wait,
    sim::{Fault, Faults, SimDisk, SimPeer, SimRing, World},
};

use hawser_tls::{CertificatePem, ClientCertificates, Material, Pem, Versions};
use rcgen::{CertifiedKey, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const LISTEN: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 14, 0, 1), 11_300);
const OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    receive_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: 0,
    keepalive_s: 0,
};
const FRAMES: FrameLimits = FrameLimits { body_bytes_max: 64 * 1024 };
const HEARTBEAT_S: u16 = 30;
/// Far more steps than any test needs, so that a stall is seen as one.
const STEPS_MAX: usize = 100_000;

/// A worker, and in place of the shard host the test itself.
struct Gateway {
    world: World,
    worker: Worker<SimRing>,
    metrics: Arc<WorkerMetrics>,
    host: MeshPort,
    host_ring: SimRing,
    heard: Heard,
    /// Clients come with TLS and trust it.
    authority: Option<Authority>,
}

/// What the host was told, besides what it answers.
#[derive(Default)]
struct Heard {
    /// Connections that logged in, in order.
    connections: Vec<u64>,
    reads: usize,
    stalls: usize,
}

impl Gateway {
    /// `workers` of the process only decide this one's share of its memory.
    fn new(world: &World, workers: usize) -> Self {
        Self::with_buffers(world, workers, limits::RECEIVE_BUFFER_BYTES)
    }

    /// With receive buffers of so many bytes.
    fn with_buffers(world: &World, workers: usize, buffer_bytes: u32) -> Self {
        let disk = SimDisk::new(world);
        let ring = |buffers| {
            let (completion_entries, submission_entries) = (4096, 1024);
            let settings = RingSettings {
                descriptors: 2_000,
                completion_entries,
                submission_entries,
                buffers,
                buffer_bytes,
            };
            SimRing::new(world, &disk, settings)
        };
        let metrics = ProcessMetrics::new(2, 1);
        let auth = AuthConfig { kind: AuthKind::None, resume_lifetime_s: 60 };
        let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let sessions = SessionSettings {
            authenticator: Authenticator::new(&auth, &[1; 32], &no_file).unwrap(),
            resume: ResumeKeys::from_secrets([2; 32], None),
            resume_lifetime_s: 60,
            keys: SharedKeys::known([3; 32]),
            frames: FRAMES,
            heartbeat_s: [HEARTBEAT_S; 4],
            heartbeat_range_ms: (5_000, 600_000),
            grace_ms: 10_000,
            outbound_bytes_high: limits::OUTBOUND_BYTES_HIGH as usize,
            requests_max: limits::REQUESTS_IN_FLIGHT,
            websocket: WebSocketSettings::of(&WebSocketConfig::SHIPPED, 1),
            mqtt: hawser_gateway::mqtt::MqttSettings::shipped(),
        };
        let settings = WorkerSettings {
            index: 1,
            hosts: 1,
            listeners: vec![ListenerSettings {
                tls: is_secure(),
                ..ListenerSettings::native(SocketAddr::from(LISTEN))
            }],
            proxies: Arc::new([]),
            slots: 2_000,
            share: 1_900,
            handshake_ms: 10_000,
            close_ms: 2_000,
            secret: 7,
            options: OPTIONS,
            buffer_bytes,
        };
        let mut ports = mesh(2, 1).into_iter();
        let (host, port) = (ports.next().unwrap(), ports.next().unwrap());
        // More than so many workers have: these turns are slow, and nobody shall starve.
        let (buffers, _) = limits::receive_buffers_per_table(workers as u32, 1);
        let (host_ring, worker_ring) = (ring(16), ring(buffers));
        host.announce(host_ring.address());
        let counters = metrics.workers[1].clone();
        let fleet = Arc::new(Fleet::new(workers));
        let authority = is_secure().then(Authority::new);
        if let Some(authority) = &authority {
            fleet.offer_tls(Arc::new(authority.offers(world.now().wall_ms / 1000)));
        }
        let worker = Worker::new(
            settings,
            fleet,
            worker_ring,
            port,
            None,
            Arc::new(sessions),
            counters.clone(),
        );
        let worker = worker.unwrap();
        Self {
            world: world.clone(),
            worker,
            metrics: counters,
            host,
            host_ring,
            heard: Heard::default(),
            authority,
        }
    }

    /// One turn of the worker and of the host.
    fn turn(&mut self) {
        self.worker.turn().unwrap();
        let wait = Wait { until_us: Some(0), batch: 1, gather_us: 0 };
        self.host_ring.turn(wait, &mut Vec::new()).unwrap();
        let mut parcels = Vec::new();
        self.host.receive(usize::MAX, &mut parcels);
        let mut answers = Vec::new();
        for (_, parcel) in parcels {
            let Parcel::Uplink(batch) = parcel else { panic!("a worker sends nothing else") };
            answer(&batch, &mut answers, &mut self.heard);
        }
        if !answers.is_empty() {
            self.host.send(1, Parcel::Downlink(answers));
        }
        self.host.flush(&mut self.host_ring);
    }

    /// Turns, and time that passes when there is nothing to do, until `done`.
    fn run(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..STEPS_MAX {
            self.turn();
            if done(self) {
                return;
            }
            let now_us = self.world.now().monotonic_us;
            let next_us = self.world.next_event_us().unwrap_or(u64::MAX);
            self.world.advance_to(next_us.clamp(now_us, now_us + 10_000));
        }
        let closed: Vec<_> = CloseReason::ALL
            .iter()
            .map(|reason| (reason.label(), self.metrics.closed.at(*reason).get()))
            .filter(|(_, count)| *count > 0)
            .collect();
        panic!(
            "{what}: not within {STEPS_MAX} steps; closed: {closed:?}, held: {}, broken records: {}",
            self.held(),
            self.metrics.tls_broken.get()
        );
    }

    /// Lets time pass in steps of a tick.
    fn pass(&mut self, seconds: u64, mut each: impl FnMut(&mut Self)) {
        let end_us = self.world.now().monotonic_us + seconds * 1_000_000;
        while self.world.now().monotonic_us < end_us {
            (0..4).for_each(|_| self.turn());
            each(self);
            self.world.advance_to(self.world.now().monotonic_us + 250_000);
        }
    }

    fn held(&self) -> u64 {
        self.metrics.outbound_bytes.get()
    }

    /// TLS, where these clients come with it.
    fn shake_hands(&mut self, client: &mut Client) {
        client.tls = self.authority.as_ref().map(Authority::client);
        self.run("handshake", |_| client.is_past_handshake());
    }

    fn client(&mut self, name: &str) -> Client {
        let port = 20_000 + self.world.draw(40_000) as u16;
        let source = SocketAddr::from((Ipv4Addr::new(127, 14, 1, 1), port));
        let peer = self.world.connect(source, SocketAddr::from(LISTEN));
        let mut client = Client::over(peer);
        self.shake_hands(&mut client);
        client.hello(name);
        self.run("login", |_| client.read().contains(&Said::Welcome));
        client
    }
}

/// What a shard host would say: every login stands, every request is accepted.
fn answer(batch: &[u8], answers: &mut Vec<u8>, heard: &mut Heard) {
    let mut rest = batch;
    while let Some(uplink) = Uplink::take(&mut rest).unwrap() {
        match uplink {
            Uplink::Login(login) => {
                heard.connections.push(login.connection);
                LoggedIn {
                    connection: login.connection,
                    epoch: 1,
                    head: 0,
                    cursor: 0,
                    floor: 0,
                    announced: false,
                }
                .put(answers);
            }
            Uplink::Read(_) => heard.reads += 1,
            Uplink::Stall(_) => heard.stalls += 1,
            Uplink::Send(send) => Accepted {
                connection: send.connection,
                channel: send.channel,
                client_seq: send.client_seq,
                sequence: send.client_seq,
                time_ms: 1,
            }
            .put(answers),
            _ => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Welcome,
    Pong,
    Notify(u64),
    Receipt,
    Acknowledge(u64),
    Refused(u64, u16),
    Fatal(u16),
}

struct Client {
    peer: SimPeer,
    tls: Option<ClientConnection>,
    encoder: Encoder,
    bytes: Vec<u8>,
    answered: Vec<u64>,
}

/// The same tests run over TLS where another crate of tests takes this file as a module.
fn is_secure() -> bool {
    module_path!().contains("tls")
}

/// A certificate of the server, and clients that trust it.
struct Authority {
    certified: CertifiedKey<KeyPair>,
    config: Arc<ClientConfig>,
}

impl Authority {
    fn new() -> Self {
        let certified = rcgen::generate_simple_self_signed(["chat.example".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A longer record than a buffer would be an unfinished one, for which a full worker has no room.
        config.max_fragment_size = Some(1024);
        Self { certified, config: Arc::new(config) }
    }

    fn offers(&self, now_s: u64) -> Offers {
        let (chain, key) = (self.certified.cert.pem(), self.certified.signing_key.serialize_pem());
        let pem = |file, text: &'static str| Pem { file, bytes: text.as_bytes() };
        let certificate =
            CertificatePem { chain: pem("chain", chain.leak()), key: pem("key", key.leak()) };
        let material = Material {
            certificates: &[certificate],
            clients: ClientCertificates::Unasked,
            versions: Versions::Both,
            post_quantum: true,
            ticket_keys: None,
            ticket_lifetime_s: 3600,
        };
        Offers::new(&material, now_s).unwrap()
    }

    fn client(&self) -> ClientConnection {
        let name = "chat.example".try_into().unwrap();
        ClientConnection::new(Arc::clone(&self.config), name).unwrap()
    }
}

impl Client {
    fn over(peer: SimPeer) -> Self {
        Self { peer, tls: None, encoder: Encoder::new(), bytes: Vec::new(), answered: Vec::new() }
    }

    /// One step of the handshake; true when it is done.
    fn is_past_handshake(&mut self) -> bool {
        self.send(&[]);
        self.receive();
        self.send(&[]);
        self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    fn send(&mut self, bytes: &[u8]) {
        let Some(tls) = &mut self.tls else { return self.peer.send(bytes) };
        for part in bytes.chunks(16 * 1024) {
            tls.writer().write_all(part).unwrap();
            let mut sealed = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut sealed).unwrap();
            }
            self.peer.send(&sealed);
        }
        let mut sealed = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut sealed).unwrap();
        }
        self.peer.send(&sealed);
    }

    fn receive(&mut self) {
        let came = self.peer.receive();
        let Some(tls) = &mut self.tls else { return self.bytes.extend(came) };
        let (mut rest, mut plain) = (&came[..], [0; 16 * 1024]);
        while !rest.is_empty() {
            tls.read_tls(&mut rest).unwrap();
            tls.process_new_packets().unwrap();
            while let Ok(bytes @ 1..) = tls.reader().read(&mut plain) {
                self.bytes.extend_from_slice(&plain[..bytes]);
            }
        }
    }

    fn hello(&mut self, name: &str) {
        let bytes = self.hello_bytes(name);
        self.send(&bytes);
    }

    fn hello_bytes(&mut self, name: &str) -> Vec<u8> {
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
        bytes
    }

    /// Bytes of one ping.
    fn ping(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encoder.ping(&mut bytes, 0, 0, &Beat { next_ms: 0 });
        bytes
    }

    fn request(&mut self, client_seq: u64) {
        let request = Request {
            client_seq,
            after: 0,
            uuid: [client_seq as u8; 16],
            to: "anna",
            level: Level::Normal,
            content: 1,
            receipts: 0,
            first_attempt_ms: 0,
            body: b"hello",
        };
        let mut bytes = Vec::new();
        self.encoder.request(&mut bytes, 0, 0, &request);
        self.send(&bytes);
    }

    /// Reads all that is there.
    fn read(&mut self) -> Vec<Said> {
        self.receive();
        let mut said = Vec::new();
        let mut done = 0;
        while let Step::Frame { frame, consumed } =
            frame::step(&FRAMES, &self.bytes[done..]).unwrap()
        {
            done += consumed;
            said.push(match message::decode(frame).unwrap() {
                Message::Welcome(_) => Said::Welcome,
                Message::Pong(_) => Said::Pong,
                Message::Notify(notify) => Said::Notify(notify.number),
                Message::Receipt(_) => Said::Receipt,
                Message::Acknowledge(acknowledge) => Said::Acknowledge(acknowledge.client_seq),
                Message::Error(error) if error.fatal => Said::Fatal(error.code),
                Message::Error(error) => Said::Refused(error.client_seq, error.code),
                other => panic!("{other:?}"),
            });
        }
        self.bytes.drain(..done);
        for said in &said {
            if let Said::Acknowledge(number) | Said::Refused(number, _) = said {
                self.answered.push(*number);
            }
        }
        said
    }
}

/// Small socket buffers, so that a client that does not read is felt at once.
fn tight(mut faults: Faults) -> World {
    faults.conditions.send_bytes = 16 * 1024;
    faults.conditions.receive_bytes = 16 * 1024;
    World::new(faults.conditions.send_bytes as u64, faults)
}

/// What one connection may hold: answers up to the mark, those to a budget of requests already
/// handed to the host, and what was received before its receive had ended.
const ONE_HELD_MAX: u64 = (limits::OUTBOUND_BYTES_HIGH + limits::OUTBOUND_ANSWER_BYTES) as u64
    + 4 * limits::RECEIVE_BYTES_PER_TURN as u64;

#[test]
fn a_client_that_never_reads_is_held_back_and_misses_nothing_when_it_reads() {
    const REQUESTS: u64 = 20_000;
    let world = tight(Faults::none());
    let mut gateway = Gateway::new(&world, 2);
    let (mut deaf, mut neighbour) = (gateway.client("deaf"), gateway.client("neighbour"));
    (1..=REQUESTS).for_each(|number| deaf.request(number));

    let mut beats = 0;
    gateway.pass(5 * u64::from(HEARTBEAT_S), |gateway| {
        assert!(gateway.held() <= ONE_HELD_MAX, "{} bytes held", gateway.held());
        let ping = neighbour.ping();
        neighbour.send(&ping);
        (0..4).for_each(|_| gateway.turn());
        world.advance_to(world.now().monotonic_us + 1_000);
        (0..4).for_each(|_| gateway.turn());
        world.advance_to(world.now().monotonic_us + 1_000);
        beats += neighbour.read().iter().filter(|said| **said == Said::Pong).count();
    });
    assert!(beats > 500, "the neighbour heard {beats} answers");
    assert!(gateway.metrics.pauses.get() > 0);
    assert_eq!(gateway.metrics.connections_slow.get(), 1);
    assert!(deaf.peer.unsent() > 0, "its sender is held back by its own socket");
    assert_eq!(deaf.peer.error(), None, "it is not taken for silent while it is not listened to");
    assert_eq!(gateway.worker.connections(), 2);

    gateway.run("all answers", |_| {
        deaf.read();
        deaf.answered.len() as u64 >= REQUESTS
    });
    let answered: BTreeSet<u64> = deaf.answered.iter().copied().collect();
    assert_eq!(answered.len() as u64, REQUESTS, "each request got one answer");
    assert_eq!(deaf.answered.len() as u64, REQUESTS);
    assert_eq!(gateway.metrics.connections_slow.get(), 0);
    gateway.run("quiet", |gateway| gateway.held() == 0);

    // It is an ordinary client again: answered, and expected to beat.
    let ping = deaf.ping();
    deaf.send(&ping);
    gateway.run("pong", |_| deaf.read().contains(&Said::Pong));
    gateway.pass(u64::from(HEARTBEAT_S) + 15, |_| {});
    assert_eq!(gateway.worker.connections(), 0, "silence ends it");
}

#[test]
fn answers_survive_pauses_under_every_fault_of_the_ring_that_is_not_deadly() {
    const REQUESTS: u64 = 4_000;
    for seed in 0..12 {
        let mut faults = Faults::none();
        for fault in [
            Fault::ShortSend,
            Fault::MoreLostWithData,
            Fault::MoreLostWithoutData,
            Fault::NoBuffers,
            Fault::Busy,
            Fault::Interrupted,
            Fault::CancelTooLate,
            Fault::CancelAlready,
            Fault::CancelledFirst,
            Fault::Reordered,
            Fault::Late,
        ] {
            faults = faults.with(fault, 0.05);
        }
        faults.conditions.send_bytes = 8 * 1024;
        faults.conditions.receive_bytes = 8 * 1024;
        let world = World::new(seed, faults);
        let mut gateway = Gateway::new(&world, 2);
        let mut client = gateway.client("anna");
        (1..=REQUESTS).for_each(|number| client.request(number));
        let mut sips = 0;
        gateway.run(&format!("seed {seed}"), |_| {
            sips += 1;
            // Reads now and then, so that it is paused and resumed many times.
            if sips % 64 == 0 {
                client.read();
            }
            client.answered.len() as u64 >= REQUESTS
        });
        let answered: BTreeSet<u64> = client.answered.iter().copied().collect();
        assert_eq!(answered.len() as u64, REQUESTS, "seed {seed}");
        assert!(gateway.metrics.pauses.get() > 1, "seed {seed}");
    }
}

#[test]
fn a_flood_is_cut_into_turns() {
    // Frames that are not answered: nothing but its budget holds this client back.
    const FRAMES_SENT: u64 = 60_000;
    let mut faults = Faults::none();
    faults.conditions.receive_bytes = 4 << 20;
    let world = World::new(1, faults);
    // The simulated ring brings few buffers of one socket in a turn, so they are larger.
    let mut gateway = Gateway::with_buffers(&world, 2, limits::RECEIVE_BYTES_PER_TURN / 2);
    let (mut flood, mut neighbour) = (gateway.client("flood"), gateway.client("neighbour"));
    let (mut frame, mut all) = (Vec::new(), Vec::new());
    for number in 1..=FRAMES_SENT {
        frame.clear();
        let acknowledge = NotifyAcknowledge { number };
        neighbour.encoder.notify_acknowledge(&mut frame, 0, 0, &acknowledge);
        all.extend_from_slice(&frame);
    }
    flood.send(&all);
    let ping = neighbour.ping();
    neighbour.send(&ping);
    let per_turn = (limits::RECEIVE_BYTES_PER_TURN as usize).div_ceil(frame.len()) as u64;
    let (mut seen, mut most, mut heard_at) = (0, 0, None);
    gateway.run("all frames", |gateway| {
        let now = gateway.metrics.frames_in.at(FrameKind::NotifyAcknowledge).get();
        most = most.max(now - seen);
        assert!(most <= per_turn, "{most} in one turn");
        assert!(gateway.held() <= ONE_HELD_MAX, "{} bytes held", gateway.held());
        seen = now;
        // A turn takes time, in which others are heard.
        gateway.world.advance_to(gateway.world.now().monotonic_us + 1_000);
        if heard_at.is_none() && neighbour.read().contains(&Said::Pong) {
            heard_at = Some(seen);
        }
        seen == FRAMES_SENT
    });
    assert_eq!(most, per_turn, "the budget was never used up: the test shows nothing");
    assert!(heard_at.unwrap() < FRAMES_SENT / 4, "the neighbour waited for the flood");
}

#[test]
fn all_floods_together_are_cut_into_turns() {
    const CLIENTS: usize = 40;
    const PINGS: usize = 4_000;
    let mut faults = Faults::none();
    faults.conditions.send_bytes = 1 << 20;
    faults.conditions.receive_bytes = 1 << 20;
    let world = World::new(1, faults);
    let mut gateway = Gateway::new(&world, 2);
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|index| gateway.client(&format!("user-{index}"))).collect();
    let ping = clients[0].ping();
    clients.iter_mut().for_each(|client| client.send(&ping.repeat(PINGS)));
    let in_all = limits::RECEIVE_BYTES_PER_TURN_IN_ALL as usize;
    let per_turn = in_all.div_ceil(ping.len()) + 2 * CLIENTS;
    let (mut seen, mut pongs) = (0, 0);
    gateway.run("all pongs", |gateway| {
        let now = gateway.metrics.frames_in.at(FrameKind::Ping).get() as usize;
        assert!(now - seen <= per_turn, "{} in one turn", now - seen);
        seen = now;
        pongs += clients.iter_mut().map(|client| client.read().len()).sum::<usize>();
        pongs == CLIENTS * PINGS
    });
}

#[test]
fn when_many_do_not_read_the_worker_keeps_its_bound_and_refuses_new_work() {
    const CLIENTS: usize = 90;
    // One of the most workers there can be: 4 MiB are its share.
    let workers = limits::WORKERS_MAX as usize;
    let mut bound = limits::held_bytes_per_worker(limits::WORKERS_MAX);
    if is_secure() {
        // Of each that is paused a buffer came that is not opened, and a record that was.
        bound += CLIENTS as u64 * u64::from(limits::RECEIVE_BUFFER_BYTES + 2048);
    }
    let world = tight(Faults::none());
    let mut gateway = Gateway::new(&world, workers);
    let mut reader = gateway.client("reader");
    let mut deaf: Vec<Client> =
        (0..CLIENTS).map(|index| gateway.client(&format!("deaf-{index}"))).collect();
    for client in &mut deaf {
        let ping = client.ping();
        client.send(&ping.repeat(20_000));
    }
    let mut most = 0;
    gateway.pass(20, |gateway| most = most.max(gateway.held()));
    assert!(most > bound / 2, "{most} bytes held: the test does not reach the bound");
    assert!(most <= bound, "{most} bytes held of {bound}");

    reader.request(1);
    gateway.run("refusal", |_| reader.read().contains(&Said::Refused(1, code::OVERLOADED)));
    let ping = reader.ping();
    reader.send(&ping);
    gateway.run("pong", |_| reader.read().contains(&Said::Pong));
    let late = world.connect(
        SocketAddr::from((Ipv4Addr::new(127, 14, 1, 2), 20_000)),
        SocketAddr::from(LISTEN),
    );
    let mut late = Client::over(late);
    gateway.shake_hands(&mut late);
    late.hello("late");
    gateway.run("refused login", |_| late.read().contains(&Said::Fatal(code::OVERLOADED)));

    let mut pongs = 0;
    gateway.run("all have read", |_| {
        pongs += deaf.iter_mut().map(|client| client.read().len()).sum::<usize>();
        pongs == CLIENTS * 20_000
    });
    reader.request(2);
    gateway.run("acceptance", |_| reader.read().contains(&Said::Acknowledge(2)));
}

#[test]
fn a_slow_reader_is_pushed_to_up_to_the_mark_and_its_host_told_once() {
    const PUSHED: u64 = 2_000;
    let world = tight(Faults::none());
    let mut gateway = Gateway::new(&world, 2);
    let mut client = gateway.client("slow");
    let connection = gateway.heard.connections[0];
    let body = [7; 200];
    for number in 1..=PUSHED {
        let mut batch = Vec::new();
        let deliver = Deliver {
            connection,
            page: false,
            number,
            sequence: number,
            incarnation: 1,
            client_seq: number,
            uuid: [0; 16],
            time_ms: 1,
            content: 1,
            receipts: 0,
            own: false,
            peer_name: b"anna",
            sender_name: b"anna",
            device_name: b"phone",
            body: &body,
        };
        deliver.put(&mut batch);
        PeerReceipt { connection, what: 1, sequence: number, peer_name: b"anna" }.put(&mut batch);
        gateway.host.send(1, Parcel::Downlink(batch));
        gateway.turn();
    }
    let most = u64::from(limits::OUTBOUND_BYTES_HIGH) + 1024;
    assert!(gateway.held() <= most, "{} bytes held", gateway.held());
    assert_eq!(gateway.heard.stalls, 1);

    let mut numbers = Vec::new();
    gateway.run("all has gone", |gateway| {
        numbers.extend(client.read().into_iter().filter_map(|said| match said {
            Said::Notify(number) => Some(number),
            _ => None,
        }));
        gateway.held() == 0 && world.next_event_us().is_none_or(|at| at > world.now().monotonic_us)
    });
    let count = numbers.len() as u64;
    assert!(count > 100 && count < PUSHED, "{count} were pushed");
    assert_eq!(numbers, (1..=count).collect::<Vec<u64>>(), "a prefix, in order");
}

#[test]
fn one_page_is_under_way_at_a_time_until_it_counts_as_lost() {
    let world = tight(Faults::none());
    let mut gateway = Gateway::new(&world, 2);
    let mut client = gateway.client("anna");
    let mut question = Vec::new();
    let sync = Sync { request: 1, after: 0, limit: 50, backward: false, since_ms: 0 };
    client.encoder.sync(&mut question, 0, 0, &sync);
    client.send(&question.repeat(3));
    let refused = Said::Refused(0, code::RATE_LIMITED);
    let mut refusals = 0;
    gateway.run("refusals", |_| {
        refusals += client.read().iter().filter(|said| **said == refused).count();
        refusals == 2
    });
    assert_eq!(gateway.heard.reads, 1);
    gateway.pass(11, |_| {});
    client.send(&question);
    gateway.run("the next question", |gateway| gateway.heard.reads == 2);
}

#[test]
fn a_shorter_heartbeat_counts_from_its_announcement() {
    let world = tight(Faults::none());
    let mut gateway = Gateway::new(&world, 2);
    let mut client = gateway.client("anna");
    let mut soon = Vec::new();
    client.encoder.ping(&mut soon, 0, 0, &Beat { next_ms: 5_000 });
    client.send(&soon);
    gateway.run("the pong", |_| client.read().contains(&Said::Pong));
    // 5 s and the grace of 10 s: well before the 40 s that the login had filed.
    let mut said = Vec::new();
    gateway.pass(14, |_| said.extend(client.read()));
    assert_eq!(said, []);
    gateway.pass(3, |_| said.extend(client.read()));
    assert_eq!(said, [Said::Fatal(code::TIMEOUT)]);
}

#[test]
fn a_flood_of_silent_connections_gives_way_to_those_who_want_to_log_in() {
    if is_secure() {
        return; // These say nothing on the wire.
    }
    let world = World::new(1, Faults::none());
    // So many workers that this one takes the least number of greetings at once.
    let mut gateway = Gateway::new(&world, limits::WORKERS_MAX as usize);
    let count = limits::GREETINGS_MIN as usize;
    let connect = |port| {
        let source = SocketAddr::from((Ipv4Addr::new(127, 14, 2, 1), port));
        world.connect(source, SocketAddr::from(LISTEN))
    };
    let mut silent: Vec<SimPeer> = (0..2 * count as u16).map(|n| connect(21_000 + n)).collect();
    // Who has begun to speak keeps the place until the handshake's time is over.
    silent[0].send(&PREFACE[..2]);
    let started_us = world.now().monotonic_us;
    let mut client = gateway.client("late");
    let waited_us = world.now().monotonic_us - started_us;
    assert!(waited_us > 1_000_000, "nobody had to give way: {waited_us} us");
    assert!(waited_us < 3_500_000, "two floods of a second each: {waited_us} us");

    gateway.pass(3, |_| {});
    let closed = gateway.metrics.closed.at(CloseReason::Silent).get();
    assert!(closed > count as u64 && closed < 2 * count as u64, "as many as were needed: {closed}");
    assert!(!silent[1].receive().is_empty(), "told why");
    assert!(silent[0].receive().is_empty());
    silent.remove(0).send(&client.hello_bytes("slow")[2..]);
    gateway.run("the slow one's login", |gateway| gateway.heard.connections.len() == 2);

    // Nobody waits any more: the rest has the handshake's time.
    gateway.pass(3, |_| {});
    assert_eq!(gateway.metrics.closed.at(CloseReason::Silent).get(), closed);
    let ping = client.ping();
    client.send(&ping);
    gateway.run("the pong", |_| client.read().contains(&Said::Pong));
}
