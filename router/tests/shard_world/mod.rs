//! Hosts over a log in memory: runs become durable late, in order, and a crash keeps a prefix.
#![allow(dead_code)] // every test binary uses its own part
#![allow(clippy::unwrap_used)] // a test may stop where it stands

use hawser_codec::link::{self, Downlink, Key};
use hawser_codec::time::Now;
use hawser_router::host::{RunOutput, downlink_frames};
use hawser_router::record::Framed;
use hawser_router::{Host, HostSettings, KeySpace, Location, Outputs, Recovery};
use std::collections::VecDeque;

/// A downlink frame as a client's worker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    LoggedIn { connection: u64, head: u64, cursor: u64, floor: u64, announced: bool },
    LoginRefused { connection: u64, code: u16 },
    Accepted { connection: u64, client_seq: u64, sequence: u64, time_ms: u64 },
    Refused { connection: u64, client_seq: u64, code: u16, retry_after_ms: u32 },
    Deliver(Delivered),
    Head { connection: u64, head: u64 },
    PageStart { connection: u64, request: u64 },
    PageEnd { connection: u64, head: u64, cursor: u64, floor: u64, more: bool, code: u16 },
    Kick { connection: u64, code: u16 },
    Receipt { connection: u64, what: u8, sequence: u64 },
    Announce,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub connection: u64,
    pub page: bool,
    pub number: u64,
    pub sequence: u64,
    pub incarnation: u64,
    pub client_seq: u64,
    pub own: bool,
    pub peer: String,
    pub sender: String,
    pub body: Vec<u8>,
}

fn owned(frame: Downlink) -> Heard {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match frame {
        Downlink::LoggedIn(f) => Heard::LoggedIn {
            connection: f.connection,
            head: f.head,
            cursor: f.cursor,
            floor: f.floor,
            announced: f.announced,
        },
        Downlink::LoginRefused(f) => Heard::LoginRefused { connection: f.connection, code: f.code },
        Downlink::Accepted(f) => Heard::Accepted {
            connection: f.connection,
            client_seq: f.client_seq,
            sequence: f.sequence,
            time_ms: f.time_ms,
        },
        Downlink::Refused(f) => Heard::Refused {
            connection: f.connection,
            client_seq: f.client_seq,
            code: f.code,
            retry_after_ms: f.retry_after_ms,
        },
        Downlink::Deliver(f) => Heard::Deliver(Delivered {
            connection: f.connection,
            page: f.page,
            number: f.number,
            sequence: f.sequence,
            incarnation: f.incarnation,
            client_seq: f.client_seq,
            own: f.own,
            peer: text(f.peer_name),
            sender: text(f.sender_name),
            body: f.body.to_vec(),
        }),
        Downlink::Head(f) => Heard::Head { connection: f.connection, head: f.head },
        Downlink::PageStart(f) => Heard::PageStart { connection: f.connection, request: f.request },
        Downlink::PageEnd(f) => Heard::PageEnd {
            connection: f.connection,
            head: f.head,
            cursor: f.cursor,
            floor: f.floor,
            more: f.more,
            code: f.code,
        },
        Downlink::Kick(f) => Heard::Kick { connection: f.connection, code: f.code },
        Downlink::PeerReceipt(f) => {
            Heard::Receipt { connection: f.connection, what: f.what, sequence: f.sequence }
        }
        Downlink::Announce(_) => Heard::Announce,
    }
}

/// One device of one user.
#[derive(Clone, Debug)]
pub struct Client {
    pub user_name: String,
    pub device_name: String,
    pub user: Key,
    pub check: u64,
    pub device: Key,
    pub connection: u64,
    pub worker: u16,
    pub incarnation: u64,
}

/// A lane: one segment, written in order.
pub struct Lane {
    /// By segment.
    bytes: Vec<Vec<u8>>,
    /// Handed over and not durable.
    pub waiting: VecDeque<(u16, RunOutput)>,
    lowest: u32,
}

/// First byte of a run never stands at location 0, like behind a real batch's header.
const BATCH_HEADER_BYTES: usize = 64;

impl Lane {
    fn write(&mut self, lane: usize, run: &[u8]) -> Location {
        let segment = self.bytes.len() as u64;
        let bytes = self.bytes.last_mut().unwrap();
        bytes.extend_from_slice(&[0xee; BATCH_HEADER_BYTES]);
        let at = bytes.len() as u64;
        bytes.extend_from_slice(run);
        Location((lane as u64) << 58 | segment << 28 | at)
    }
}

struct Candidate {
    sections: Vec<(u8, Vec<u8>)>,
    /// Runs that have to be durable, by host.
    runs: Vec<u64>,
    /// Where the checkpoint before began.
    began: usize,
    /// Where this one began.
    record: usize,
    valid: bool,
}

pub struct World {
    /// Last durable run by host.
    durable: Vec<u64>,
    pub settings: HostSettings,
    pub hosts: Vec<Host>,
    pub lanes: Vec<Lane>,
    /// Framed records that are durable, in order, by lane.
    records: Vec<(usize, Vec<u8>, Location)>,
    sections: Vec<(u8, Vec<u8>)>,
    /// First record that is replayed.
    replay_from: usize,
    candidate: Option<Candidate>,
    pub now: Now,
    pub keys: KeySpace,
    pub heard: Vec<(u16, Heard)>,
    /// Reads are answered by `answer_reads` instead of at once.
    pub reads_by_hand: bool,
    pub reads: VecDeque<(usize, hawser_router::ReadRequest)>,
    pub read_count: usize,
    next_connection: u64,
}

pub const WORKERS: u16 = 2;

pub fn settings() -> HostSettings {
    HostSettings::new(0, 1, WORKERS)
}

impl World {
    pub fn new() -> World {
        World::with(settings(), 1)
    }

    pub fn with(mut settings: HostSettings, hosts: u16) -> World {
        settings.hosts = hosts;
        let mut world = World {
            durable: Vec::new(),
            settings,
            hosts: Vec::new(),
            lanes: (0..8)
                .map(|_| Lane { bytes: vec![Vec::new()], waiting: VecDeque::new(), lowest: 1 })
                .collect(),
            records: Vec::new(),
            sections: Vec::new(),
            replay_from: 0,
            candidate: None,
            now: Now { monotonic_us: 1_000_000, wall_ms: 1_800_000_000_000 },
            keys: KeySpace::new([3; 32]),
            heard: Vec::new(),
            reads_by_hand: false,
            reads: VecDeque::new(),
            read_count: 0,
            next_connection: 1,
        };
        world.start(hosts);
        world.heard.clear();
        world
    }

    fn start(&mut self, hosts: u16) {
        let mut recovery = Recovery::new(self.settings.answers_max);
        for (shard, section) in &self.sections {
            recovery.section(*shard, section).unwrap();
        }
        for (lane, Lane { lowest, .. }) in self.lanes.iter().enumerate() {
            recovery.lane_begins(lane as u8, *lowest);
        }
        // Lane by lane, as the store replays.
        let mut records: Vec<_> = self.records[self.replay_from..].iter().collect();
        records.sort_by_key(|(lane, ..)| *lane);
        for (_, record, location) in records {
            let (framed, _) = Framed::take(record).unwrap();
            recovery.apply(&framed, *location).unwrap();
        }
        self.settings.hosts = hosts;
        self.durable = vec![0; usize::from(hosts)];
        let recovered = recovery.finish(hosts).unwrap();
        self.hosts = recovered
            .into_iter()
            .enumerate()
            .map(|(host, state)| {
                let settings = HostSettings { host: host as u16, ..self.settings };
                Host::new(settings, self.now, state)
            })
            .collect();
        self.turn();
    }

    /// Ends all hosts; of what was handed to each lane the first `kept(waiting)` runs survive.
    pub fn crash(&mut self, hosts: u16, mut kept: impl FnMut(usize) -> usize) {
        for lane in 0..self.lanes.len() {
            let waiting = std::mem::take(&mut self.lanes[lane].waiting);
            let kept = kept(waiting.len()).min(waiting.len());
            for (_, run) in waiting.into_iter().take(kept) {
                self.store(lane, &run.records);
            }
        }
        self.reads.clear();
        self.heard.clear();
        // A checkpoint that was not finished is no checkpoint; the next may begin anywhere later.
        self.candidate = self.candidate.take().filter(|candidate| candidate.valid);
        self.start(hosts);
    }

    fn store(&mut self, lane: usize, records: &[u8]) -> Location {
        let base = self.lanes[lane].write(lane, records);
        let mut at = 0;
        while at < records.len() {
            let (_, length) = Framed::take(&records[at..]).unwrap();
            let record = records[at..at + length].to_vec();
            self.records.push((lane, record, base.plus(at as u64)));
            at += length;
        }
        base
    }

    /// Takes sections of everything. They count once what was appended by now is durable, and then
    /// records are replayed from where the checkpoint before them began.
    pub fn checkpoint(&mut self) {
        if self.candidate.as_ref().is_some_and(|candidate| !candidate.valid) {
            return;
        }
        let mut sections = Vec::new();
        for shard in 0..=255u8 {
            let mut section = Vec::new();
            let host = usize::from(u16::from(shard) % self.settings.hosts);
            self.hosts[host].checkpoint_section(shard, &mut section).unwrap();
            sections.push((shard, section));
        }
        let runs = self.hosts.iter().map(Host::last_run).collect();
        let began = self.candidate.as_ref().map_or(self.replay_from, |before| before.record);
        let record = self.records.len();
        self.candidate = Some(Candidate { sections, runs, began, record, valid: false });
        self.promote();
    }

    /// Forgets all records, as if the checkpoint were all there is; they can still be read.
    pub fn drop_records(&mut self) {
        self.records.clear();
        self.replay_from = 0;
        self.candidate = None;
    }

    fn promote(&mut self) {
        let durable = &self.durable;
        if let Some(candidate) = &mut self.candidate
            && !candidate.valid
            && candidate.runs.iter().zip(durable).all(|(run, durable)| run <= durable)
        {
            candidate.valid = true;
            self.sections = candidate.sections.clone();
            self.replay_from = candidate.began;
        }
    }

    /// Seals all hosts until nothing moves without the disk.
    pub fn turn(&mut self) {
        for _ in 0..100 {
            let mut moved = false;
            for host in 0..self.hosts.len() {
                moved |= self.seal(host);
            }
            if !self.reads_by_hand {
                moved |= self.answer_reads();
            }
            if !moved {
                return;
            }
        }
        panic!("hosts do not come to rest");
    }

    /// One turn of one host, without the disk.
    pub fn seal(&mut self, host: usize) -> bool {
        let mut out = Outputs::default();
        self.hosts[host].seal(self.now, &mut out);
        let mut moved = false;
        for run in out.runs {
            let lane = if self.settings.same_lane { 0 } else { host };
            self.lanes[lane].waiting.push_back((host as u16, run));
        }
        for (worker, batch) in out.downlinks {
            for frame in downlink_frames(&batch).unwrap() {
                self.heard.push((worker, owned(frame)));
            }
            self.hosts[host].recycle(batch);
        }
        for (to, batch) in out.peers {
            self.hosts[usize::from(to)].on_peer(self.now, host as u16, &batch).unwrap();
            moved = true;
        }
        self.read_count += out.reads.len();
        for read in out.reads {
            self.reads.push_back((host, read));
        }
        moved
    }

    pub fn answer_reads(&mut self) -> bool {
        let moved = !self.reads.is_empty();
        while let Some((host, read)) = self.reads.pop_front() {
            let at = (read.location.0 & 0xfff_ffff) as usize;
            let lane = &self.lanes[usize::from(read.location.lane())];
            let segment = &lane.bytes[read.location.segment() as usize - 1];
            let bytes = &segment[at..at + read.length as usize];
            self.hosts[host].on_read(self.now, read.id, Ok(bytes));
        }
        moved
    }

    /// Makes the next run of a lane durable.
    pub fn flush_one(&mut self, lane: usize) -> bool {
        let Some((host, run)) = self.lanes[lane].waiting.pop_front() else {
            return false;
        };
        let base = self.store(lane, &run.records);
        self.durable[usize::from(host)] = run.number;
        self.hosts[usize::from(host)].on_durable(self.now, run.number, base);
        self.promote();
        true
    }

    /// All lanes go on in a new segment.
    pub fn next_segment(&mut self) {
        self.settle();
        for lane in &mut self.lanes {
            lane.bytes.push(Vec::new());
        }
    }

    /// Drops all segments but the last of each lane.
    pub fn drop_segments(&mut self) {
        for lane in 0..self.lanes.len() {
            let last = self.lanes[lane].bytes.len();
            self.lanes[lane].lowest = last as u32;
            for segment in &mut self.lanes[lane].bytes[..last - 1] {
                segment.clear();
            }
            for host in &mut self.hosts {
                host.on_segments_dropped(lane as u8, last as u32);
            }
        }
    }

    /// Makes everything durable and lets everything happen that follows from it.
    pub fn settle(&mut self) {
        for _ in 0..2_000 {
            self.turn();
            let mut moved = false;
            for lane in 0..self.lanes.len() {
                moved |= self.flush_one(lane);
            }
            if !moved {
                return;
            }
        }
        panic!("the log does not come to rest");
    }

    pub fn after_ms(&mut self, ms: u64) {
        self.now.monotonic_us += ms * 1000;
        self.now.wall_ms += ms;
        for host in 0..self.hosts.len() {
            let due = self.hosts[host].next_deadline();
            if due.is_some_and(|due| due <= self.now.monotonic_us) {
                self.hosts[host].on_deadline(self.now);
            }
        }
    }

    fn uplink(&mut self, shard: &Key, worker: u16, put: impl FnOnce(&mut Vec<u8>)) {
        let mut batch = Vec::new();
        put(&mut batch);
        let host = usize::from(u16::from(shard[0]) % self.settings.hosts);
        self.hosts[host].on_uplink(self.now, worker, &batch).unwrap();
    }

    pub fn client(&mut self, user: &str, device: &str) -> Client {
        let (key, check) = self.keys.user(0, user.as_bytes());
        let connection = self.next_connection;
        self.next_connection += 1;
        Client {
            user_name: user.into(),
            device_name: device.into(),
            user: key,
            check,
            device: self.keys.device(&key, device.as_bytes()),
            connection,
            worker: (connection % u64::from(WORKERS)) as u16,
            incarnation: 77,
        }
    }

    pub fn login_frame<'a>(&self, client: &'a Client) -> link::Login<'a> {
        link::Login {
            connection: client.connection,
            user: client.user,
            device: client.device,
            check: client.check,
            realm: 0,
            epoch: 0,
            cursor_plus_one: 0,
            rewind: false,
            incarnation: 1,
            announce: false,
            user_name: client.user_name.as_bytes(),
            device_name: client.device_name.as_bytes(),
        }
    }

    pub fn put_login(&mut self, client: &Client, login: link::Login) {
        self.uplink(&client.user, client.worker, |batch| login.put(batch));
    }

    /// Logs a new device in and lets it settle.
    pub fn login(&mut self, user: &str, device: &str) -> Client {
        let client = self.client(user, device);
        self.put_login(&client, self.login_frame(&client));
        self.settle();
        client
    }

    /// The same device on a new connection.
    pub fn relogin(&mut self, client: &mut Client) {
        client.connection = self.next_connection;
        self.next_connection += 1;
        self.put_login(client, self.login_frame(client));
    }

    /// Another client under the device's name.
    pub fn relogin_as(&mut self, client: &mut Client, incarnation: u64) {
        client.connection = self.next_connection;
        self.next_connection += 1;
        self.put_login(client, link::Login { incarnation, ..self.login_frame(client) });
    }

    pub fn logout(&mut self, client: &Client) {
        let (connection, user, device) = (client.connection, client.user, client.device);
        self.uplink(&user, client.worker, |batch| {
            link::Logout { connection, user, device }.put(batch);
        });
    }

    pub fn send_frame<'a>(
        &self,
        client: &'a Client,
        to: &'a str,
        client_seq: u64,
        body: &'a [u8],
    ) -> link::Send<'a> {
        let (peer, _) = self.keys.user(0, to.as_bytes());
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&client_seq.to_le_bytes());
        link::Send {
            connection: client.connection,
            user: client.user,
            device: client.device,
            peer,
            conversation: self.keys.direct(&client.user, &peer),
            channel: 0,
            incarnation: client.incarnation,
            client_seq,
            after: 0,
            uuid,
            first_attempt_ms: 0,
            level: 1,
            content: 1,
            receipts: 0,
            sender_name: client.user_name.as_bytes(),
            device_name: client.device_name.as_bytes(),
            peer_name: to.as_bytes(),
            body,
        }
    }

    pub fn put_send(&mut self, client: &Client, send: link::Send) {
        self.uplink(&send.conversation, client.worker, |batch| send.put(batch));
    }

    pub fn send(&mut self, client: &Client, to: &str, client_seq: u64, body: &[u8]) {
        let send = self.send_frame(client, to, client_seq, body);
        self.put_send(client, send);
    }

    pub fn confirm(&mut self, client: &Client, number: u64) {
        let (connection, user, device) = (client.connection, client.user, client.device);
        self.uplink(&user, client.worker, |batch| {
            link::Confirm { connection, user, device, number }.put(batch);
        });
    }

    pub fn stall(&mut self, client: &Client) {
        let (connection, user, device) = (client.connection, client.user, client.device);
        self.uplink(&user, client.worker, |batch| {
            link::Stall { connection, user, device }.put(batch);
        });
    }

    pub fn receipt(&mut self, client: &Client, to: &str, sequence: u64) {
        let (peer, _) = self.keys.user(0, to.as_bytes());
        let conversation = self.keys.direct(&client.user, &peer);
        let (user, user_name) = (client.user, client.user_name.as_bytes());
        self.uplink(&client.user, client.worker, |batch| {
            link::Receipt { user, peer, conversation, what: 2, sequence, user_name }.put(batch);
        });
    }

    pub fn read(&mut self, client: &Client, after: u64, limit: u16, backward: bool) {
        let read = link::Read {
            connection: client.connection,
            user: client.user,
            device: client.device,
            channel: 0,
            request: after,
            after,
            limit,
            backward,
            since_ms: 0,
        };
        self.put_read(client, read);
    }

    pub fn put_read(&mut self, client: &Client, read: link::Read) {
        self.uplink(&client.user, client.worker, |batch| read.put(batch));
    }

    /// What a client heard since last asked.
    pub fn hear(&mut self, client: &Client) -> Vec<Heard> {
        let mine = |(worker, heard): &(u16, Heard)| {
            *worker == client.worker
                && match heard {
                    Heard::LoggedIn { connection, .. }
                    | Heard::LoginRefused { connection, .. }
                    | Heard::Accepted { connection, .. }
                    | Heard::Refused { connection, .. }
                    | Heard::Deliver(Delivered { connection, .. })
                    | Heard::Head { connection, .. }
                    | Heard::PageStart { connection, .. }
                    | Heard::PageEnd { connection, .. }
                    | Heard::Kick { connection, .. }
                    | Heard::Receipt { connection, .. } => *connection == client.connection,
                    Heard::Announce => false,
                }
        };
        let (heard, rest) = std::mem::take(&mut self.heard).into_iter().partition(mine);
        self.heard = rest;
        let heard: Vec<(u16, Heard)> = heard;
        heard.into_iter().map(|(_, heard)| heard).collect()
    }
}

pub fn deliveries(heard: &[Heard]) -> Vec<Delivered> {
    heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Deliver(delivered) => Some(delivered.clone()),
            _ => None,
        })
        .collect()
}

pub fn numbers(heard: &[Heard]) -> Vec<u64> {
    deliveries(heard).iter().map(|delivered| delivered.number).collect()
}
