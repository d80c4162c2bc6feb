//! What one durable direct message costs the gateway in user space: frames in, sessions, shard host,
//! lane, sessions, frames out, in one thread and without a ring, so that nothing but our own code
//! is counted.
//!
//! `cargo bench -p hawser-gateway --bench message` prints nanoseconds. On a machine that others use,
//! count instructions instead; they repeat to a fraction of a percent:
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='*measured*' TARGET/release/deps/message-… \
//!     --burst 8 --messages 20000
//! ```
//!
//! and divide what was collected by the number of messages. It is not a measure of throughput: a
//! disk write completes at once here.

#![allow(missing_docs)]

use clap::Parser;
use hawser_codec::{
    frame::{self, FrameLimits},
    link::Downlink,
    message::{Class, Encoder, Hello, Level, NotifyAcknowledge, Request, VERSION},
    time::Now,
};
use hawser_gateway::{
    auth::Authenticator,
    config::{AuthConfig, AuthKind, WebSocketConfig},
    connection::{Connection, Protocol},
    face::Faces,
    limits,
    metrics::WorkerMetrics,
    outbound::Pool,
    pressure::Pressure,
    resume::ResumeKeys,
    session::{Outlet, SessionSettings, Sessions},
    shared_keys::SharedKeys,
    slab::Handle,
    uplinks::Uplinks,
    websocket::WebSocketSettings,
};
use hawser_router::{
    Host, HostSettings, Outputs, Recovery,
    store::log::{LaneAction, LanePolicy, LaneSettings, LaneWriter},
};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pairs that write in one turn: the receives a busy worker finds at once.
const PAIRS_PER_TURN: usize = 16;
/// Answers of a full dedup window.
const WARM_PER_PAIR: usize = 128;

#[derive(Parser)]
struct Arguments {
    /// Pairs in all.
    #[arg(long, default_value_t = 200)]
    pairs: usize,
    /// Requests that arrive with one receive; both rows without it.
    #[arg(long)]
    burst: Option<usize>,
    /// Messages measured.
    #[arg(long, default_value_t = 200_000)]
    messages: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The connections' side of a worker.
struct Edge {
    sessions: Sessions,
    connections: Vec<Connection>,
    pool: Pool,
    pressure: Pressure,
    uplinks: Uplinks,
    metrics: WorkerMetrics,
    faces: Faces,
}

impl Edge {
    fn lend(&mut self, now: Now, slot: u32) -> (&mut Sessions, &mut Connection, Outlet<'_>) {
        let Self { sessions, connections, pool, pressure, uplinks, metrics, faces } = self;
        let marks = pressure.marks(pool.held_bytes());
        let outlet = Outlet { now, tick: 0, pool, uplinks, metrics, marks, faces };
        (sessions, &mut connections[slot as usize], outlet)
    }
}

/// What stands between the ring's two ends in a worker that hosts all shards.
struct Gateway {
    edge: Edge,
    host: Host,
    outputs: Outputs,
    lane: LaneWriter,
    now: Now,
    spare: Vec<u8>,
    dirty: Vec<u32>,
    bytes_out: u64,
}

impl Gateway {
    fn new(pairs: usize) -> Self {
        let now = Now { monotonic_us: 1, wall_ms: 1_800_000_000_000 };
        let settings = HostSettings::new(0, 1, 1);
        let recovered = Recovery::new(settings.answers_max).finish(1).expect("empty").remove(0);
        let auth = AuthConfig { kind: AuthKind::None, resume_lifetime_s: 3600 };
        let no_file = |_: &std::path::Path| Err(io::ErrorKind::NotFound.into());
        let sessions = SessionSettings {
            authenticator: Authenticator::new(&auth, &[1; 32], &no_file).expect("asks for nothing"),
            resume: ResumeKeys::from_secrets([2; 32], None),
            resume_lifetime_s: 3600,
            keys: SharedKeys::known([3; 32]),
            frames: FrameLimits { body_bytes_max: 1 << 16 },
            heartbeat_s: [30; 4],
            heartbeat_range_ms: (10_000, 600_000),
            grace_ms: 15_000,
            outbound_bytes_high: 1 << 16,
            requests_max: 64,
            websocket: WebSocketSettings::of(&WebSocketConfig::SHIPPED, 1),
            mqtt: hawser_gateway::mqtt::MqttSettings::shipped(),
        };
        let edge = Edge {
            sessions: Sessions::new(Arc::new(sessions), limits::peer_keys_bytes_per_worker(1)),
            connections: (0..pairs * 2)
                .map(|_| Connection::new(0, u16::MAX, 0, Protocol::Native))
                .collect(),
            pool: Pool::new(1 << 20),
            pressure: Pressure::new(1 << 16, 64 << 20),
            uplinks: Uplinks::new(1),
            metrics: WorkerMetrics::default(),
            faces: Faces::default(),
        };
        Self {
            edge,
            host: Host::new(settings, now, recovered),
            outputs: Outputs::default(),
            lane: LaneWriter::open(0, None, 1, LaneSettings::new(LanePolicy::DirectDurable, 1)),
            now,
            spare: Vec::new(),
            dirty: Vec::new(),
            bytes_out: 0,
        }
    }

    /// What arrived on which connection goes in, and all that it leads to comes out.
    fn turn(&mut self, received: &[(u32, Vec<u8>)]) {
        for (slot, bytes) in received {
            let (sessions, connection, mut outlet) = self.edge.lend(self.now, *slot);
            let handle = Handle { slot: *slot, generation: 0 };
            let taken = sessions.on_bytes(connection, handle, bytes, usize::MAX, &mut outlet);
            assert_eq!(taken.expect("good frames").bytes, bytes.len());
        }
        let batch = self.edge.uplinks.take(0, std::mem::take(&mut self.spare));
        self.host.on_uplink(self.now, 0, &batch).expect("our own frames");
        self.spare = batch;
        self.spare.clear();
        // Once for what was said, once for what became durable.
        self.seal();
        self.write();
        self.seal();
        self.send();
        self.now.monotonic_us += 100;
    }

    fn seal(&mut self) {
        self.host.seal(self.now, &mut self.outputs);
        for run in self.outputs.runs.drain(..) {
            self.lane.append(self.now, 0, run.number, &run.records, run.urgent).expect("room");
            self.host.recycle(run.records);
        }
        for (_, batch) in self.outputs.downlinks.drain(..) {
            let mut rest = &batch[..];
            while let Some(downlink) = Downlink::take(&mut rest).expect("our own frames") {
                let Some(to) = downlink.connection() else { continue };
                let handle = Handle::from_u64(to);
                let (sessions, connection, mut outlet) = self.edge.lend(self.now, handle.slot);
                let told = sessions.on_downlink(connection, handle, &downlink, &mut outlet);
                assert_eq!(told, Ok(()));
                outlet.pool.count(connection.queued);
                if !connection.dirty {
                    connection.dirty = true;
                    self.dirty.push(handle.slot);
                }
            }
            self.host.recycle(batch);
        }
    }

    /// The disk answers at once.
    fn write(&mut self) {
        while let Some(action) = self.lane.poll(self.now, true) {
            match action {
                LaneAction::PrepareSegment { segment } => {
                    self.lane.on_segment_ready(self.now, segment, Ok(()));
                }
                LaneAction::Write { bytes, range, .. } => {
                    self.lane.on_written(self.now, Ok(range.len()), bytes);
                }
                LaneAction::Sync { .. } => self.lane.on_synced(self.now, Ok(())),
            }
        }
        while let Some(durable) = self.lane.pop_durable() {
            self.host.on_durable(self.now, durable.run, durable.base);
        }
    }

    /// The clients read at once.
    fn send(&mut self) {
        for slot in self.dirty.drain(..) {
            let (_, connection, outlet) = self.edge.lend(self.now, slot);
            connection.dirty = false;
            let bytes = outlet.pool.take_to_send(connection.queued);
            self.bytes_out += bytes.len() as u64;
            outlet.pool.sent(&mut connection.queued, 0);
            outlet.pool.recycle(bytes);
        }
    }
}

/// The other side: two devices that write to each other, one way.
struct Pair {
    /// Name of the one who is written to.
    to: String,
    /// Messages so far.
    sent: u64,
}

struct Clients {
    encoder: Encoder,
    pairs: Vec<Pair>,
    next: usize,
}

impl Clients {
    fn name(slot: usize) -> String {
        format!("0196bd5c-0011-7abc-8def-{slot:012}")
    }

    /// Everybody's opening.
    fn hello(&mut self) -> Vec<(u32, Vec<u8>)> {
        let hello = |slot: usize| {
            let mut bytes = frame::PREFACE.to_vec();
            let hello = Hello {
                version_min: VERSION,
                version_max: VERSION,
                realm: 0,
                user: &Self::name(slot),
                device: "phone",
                token: "",
                resume_token: &[],
                incarnation: 7,
                class: Class::Desktop,
                heartbeat_s: 0,
                cursor: None,
                rewind: false,
                compression: 0,
                agent: "",
            };
            Encoder::new().hello(&mut bytes, 0, 0, &hello);
            (slot as u32, bytes)
        };
        (0..self.pairs.len() * 2).map(hello).collect()
    }

    /// A turn's worth: each of some pairs sends `burst` requests and acknowledges what came before.
    fn say(&mut self, burst: usize) -> Vec<(u32, Vec<u8>)> {
        let mut received = Vec::new();
        for _ in 0..PAIRS_PER_TURN.min(self.pairs.len()) {
            let index = self.next;
            self.next = (self.next + 1) % self.pairs.len();
            let pair = &mut self.pairs[index];
            let (mut from, mut to) = (Vec::new(), Vec::new());
            let acknowledge = NotifyAcknowledge { number: pair.sent };
            for _ in 0..burst {
                pair.sent += 1;
                let mut uuid = [index as u8; 16];
                uuid[..8].copy_from_slice(&pair.sent.to_le_bytes());
                let request = Request {
                    client_seq: pair.sent,
                    after: 0,
                    uuid,
                    to: &pair.to,
                    level: Level::Normal,
                    content: 1,
                    receipts: 0,
                    first_attempt_ms: 0,
                    body: &[b'x'; 64],
                };
                self.encoder.request(&mut from, 0, 0, &request);
            }
            if acknowledge.number > 0 {
                self.encoder.notify_acknowledge(&mut from, 0, 0, &acknowledge);
                self.encoder.notify_acknowledge(&mut to, 0, 0, &acknowledge);
            }
            received.push((index as u32 * 2, from));
            received.push((index as u32 * 2 + 1, to));
        }
        received
    }
}

fn run(pairs: usize, burst: usize, messages: usize) {
    let mut gateway = Gateway::new(pairs);
    let pair = |index| Pair { to: Clients::name(index * 2 + 1), sent: 0 };
    let pairs = (0..pairs).map(pair).collect();
    let mut clients = Clients { encoder: Encoder::new(), pairs, next: 0 };
    gateway.turn(&clients.hello());
    let per_turn = PAIRS_PER_TURN.min(clients.pairs.len()) * burst;
    // Windows and buffers grow until each pair has filled a window.
    let warm = (WARM_PER_PAIR * clients.pairs.len()).div_ceil(per_turn);
    for _ in 0..warm {
        gateway.turn(&clients.say(burst));
    }
    let bytes_before = gateway.bytes_out;
    let mut spent = Duration::ZERO;
    let turns = messages.div_ceil(per_turn);
    for _ in 0..turns {
        let received = clients.say(burst);
        let began = Instant::now();
        measured(&mut gateway, &received);
        spent += began.elapsed();
    }
    let counters = gateway.host.counters();
    assert_eq!(counters.accepted, ((warm + turns) * per_turn) as u64);
    assert_eq!(counters.delivered, 2 * counters.accepted);
    let sent = turns * per_turn;
    println!(
        "{burst} a receive: {:.0} ns and {} bytes out per message, {sent} messages",
        spent.as_nanos() as f64 / sent as f64,
        (gateway.bytes_out - bytes_before) / sent as u64,
    );
}

/// What is counted: its name is what callgrind is told.
#[inline(never)]
fn measured(gateway: &mut Gateway, received: &[(u32, Vec<u8>)]) {
    gateway.turn(received);
}

fn main() {
    let arguments = Arguments::parse();
    // Run by the tests, it shows that it works.
    let messages =
        if arguments.bench || arguments.burst.is_some() { arguments.messages } else { 1000 };
    for burst in arguments.burst.map_or(vec![1, 8], |burst| vec![burst]) {
        run(arguments.pairs, burst, messages);
    }
}
