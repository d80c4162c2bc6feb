//! Hosts over a log in memory: runs become durable late, in order, and a crash keeps a prefix.
//!
//! Hosts of one process share a disk and crash together. Remote hosts have a disk each, write a
//! lane of their own number, crash one by one, and speak over links (`links.rs`).
#![allow(dead_code)] // every test binary uses its own part
#![allow(clippy::unwrap_used)] // a test may stop where it stands

mod clients;
pub mod game;
mod links;
pub mod session_game;
pub mod sessions;
pub mod topic_game;
mod topics;
#[allow(unused_imports)] // likewise
pub use links::Planted;

use clients::owned;
#[allow(unused_imports)] // likewise
pub use clients::{Client, Delivered, Heard, Queued, Told, content, deliveries, numbers};
#[allow(unused_imports)] // likewise
pub use topics::Message;

use hawser_codec::time::Now;
use hawser_router::host::{RunOutput, downlink_frames};
use hawser_router::record::Framed;
use hawser_router::{
    Host, HostSettings, KeySpace, Location, Outputs, Recovered, Recovery, RouterPlace,
};
use links::Links;
use std::collections::VecDeque;

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
    /// Runs that have to be durable, with their hosts.
    runs: Vec<(usize, u64)>,
    /// Where the checkpoint before began.
    began: usize,
    /// Where this one began.
    record: usize,
    valid: bool,
}

/// What one process leaves.
#[derive(Default)]
struct Disk {
    /// Framed records that are durable, in order, by lane.
    records: Vec<(usize, Vec<u8>, Location)>,
    sections: Vec<(u8, Vec<u8>)>,
    /// First record that is replayed.
    replay_from: usize,
    candidate: Option<Candidate>,
}

pub struct World {
    /// Last durable run by host.
    durable: Vec<u64>,
    pub settings: HostSettings,
    pub hosts: Vec<Host>,
    pub lanes: Vec<Lane>,
    /// One, or one by remote host.
    disks: Vec<Disk>,
    pub links: Links,
    pub now: Now,
    pub keys: KeySpace,
    pub heard: Vec<(u16, Heard)>,
    /// Reads are answered by `answer_reads` instead of at once.
    pub reads_by_hand: bool,
    pub reads: VecDeque<(usize, hawser_router::ReadRequest)>,
    pub read_count: usize,
    next_connection: u64,
    /// Planted fault: records of this kind become ones that nobody knows.
    pub forgets: Option<u8>,
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
            disks: (0..8).map(|_| Disk::default()).collect(),
            links: Links::default(),
            now: Now { monotonic_us: 1_000_000, wall_ms: 1_800_000_000_000 },
            keys: KeySpace::new([3; 32]),
            heard: Vec::new(),
            reads_by_hand: false,
            reads: VecDeque::new(),
            read_count: 0,
            next_connection: 1,
            forgets: None,
        };
        world.start(hosts);
        world.heard.clear();
        world
    }

    fn start(&mut self, hosts: u16) {
        self.settings.hosts = hosts;
        self.durable = vec![0; usize::from(hosts)];
        self.hosts.clear();
        if self.settings.remote {
            for host in 0..hosts {
                let state = self.recover(usize::from(host)).finish_router().unwrap();
                self.add_host(host, state);
            }
        } else {
            for (host, state) in self.recover(0).finish(hosts).unwrap().into_iter().enumerate() {
                self.add_host(host as u16, state);
            }
        }
        self.turn();
    }

    fn add_host(&mut self, host: u16, state: Recovered) {
        let settings = HostSettings { host, ..self.settings };
        self.hosts.insert(usize::from(host), Host::new(settings, self.now, state));
    }

    pub fn host_of(&self, key: &[u8; 16]) -> u16 {
        u16::from(key[0]) % self.settings.hosts
    }

    fn disk_of(&self, host: usize) -> usize {
        if self.settings.remote { host } else { 0 }
    }

    /// Whose runs stand in a lane, if they are of one process each.
    fn is_own(&self, disk: usize, lane: usize) -> bool {
        !self.settings.remote || disk == lane
    }

    fn recover(&mut self, at: usize) -> Recovery {
        let answers_max = self.settings.answers_max;
        let mut recovery = match self.settings.remote {
            true => {
                let place = RouterPlace::new(at as u16, self.settings.hosts).unwrap();
                Recovery::of_router(answers_max, place)
            }
            false => Recovery::new(answers_max),
        };
        let disk = &self.disks[at];
        for (shard, section) in &disk.sections {
            recovery.section(*shard, section).unwrap();
        }
        for (lane, Lane { lowest, .. }) in self.lanes.iter().enumerate() {
            if self.is_own(at, lane) {
                recovery.lane_begins(lane as u8, *lowest);
            }
        }
        // Lane by lane, as the store replays.
        let mut records: Vec<_> = disk.records[disk.replay_from..].iter().collect();
        records.sort_by_key(|(lane, ..)| *lane);
        for (_, record, location) in records {
            let (framed, _) = Framed::take(record).unwrap();
            recovery.apply(&framed, *location).unwrap();
        }
        recovery
    }

    /// Ends all hosts; of what was handed to each lane the first `kept(waiting)` runs survive.
    pub fn crash(&mut self, hosts: u16, mut kept: impl FnMut(usize) -> usize) {
        for lane in 0..self.lanes.len() {
            self.lose_waiting(lane, &mut kept);
        }
        self.reads.clear();
        self.heard.clear();
        // A checkpoint that was not finished is no checkpoint; the next may begin anywhere later.
        for disk in &mut self.disks {
            disk.candidate = disk.candidate.take().filter(|candidate| candidate.valid);
        }
        self.start(hosts);
    }

    /// Ends one remote host, and all its links.
    pub fn crash_one(&mut self, host: u16, mut kept: impl FnMut(usize) -> usize) {
        let at = usize::from(host);
        self.lose_waiting(at, &mut kept);
        self.reads.retain(|(of, _)| *of != at);
        let candidate = &mut self.disks[at].candidate;
        *candidate = candidate.take().filter(|candidate| candidate.valid);
        for other in (0..self.settings.hosts).filter(|other| *other != host) {
            self.cut(other, host);
            self.cut(host, other);
        }
        self.hosts.remove(at);
        self.durable[at] = 0;
        let state = self.recover(at).finish_router().unwrap();
        self.add_host(host, state);
        self.turn();
    }

    fn lose_waiting(&mut self, lane: usize, kept: &mut impl FnMut(usize) -> usize) {
        let waiting = std::mem::take(&mut self.lanes[lane].waiting);
        let kept = kept(waiting.len()).min(waiting.len());
        for (host, run) in waiting.into_iter().take(kept) {
            self.store(usize::from(host), lane, &run.records);
        }
    }

    fn store(&mut self, host: usize, lane: usize, records: &[u8]) -> Location {
        let base = self.lanes[lane].write(lane, records);
        let disk = self.disk_of(host);
        let mut at = 0;
        while at < records.len() {
            let (_, length) = Framed::take(&records[at..]).unwrap();
            let mut record = records[at..at + length].to_vec();
            if self.forgets == Some(record[4]) {
                record[4] = 200;
            }
            self.disks[disk].records.push((lane, record, base.plus(at as u64)));
            at += length;
        }
        base
    }

    /// Takes sections of everything. They count once what was appended by now is durable, and then
    /// records are replayed from where the checkpoint before them began.
    pub fn checkpoint(&mut self) {
        let disks = if self.settings.remote { self.hosts.len() } else { 1 };
        for disk in 0..disks {
            self.checkpoint_one(disk);
        }
    }

    /// Takes sections of all that one process has.
    pub fn checkpoint_one(&mut self, at: usize) {
        if self.disks[at].candidate.as_ref().is_some_and(|candidate| !candidate.valid) {
            return;
        }
        let mut sections = Vec::new();
        for shard in 0..=255u8 {
            let mut section = Vec::new();
            let owner = usize::from(u16::from(shard) % self.settings.hosts);
            let host = if self.settings.remote { at } else { owner };
            self.hosts[host].checkpoint_section(shard, &mut section).unwrap();
            sections.push((shard, section));
        }
        let own = |host: &usize| self.disk_of(*host) == at;
        let hosts = (0..self.hosts.len()).filter(own);
        let runs = hosts.map(|host| (host, self.hosts[host].last_run())).collect();
        let disk = &self.disks[at];
        // What a remote home may lack has to be found again, however old it is.
        let forgets = self.links.planted == Some(Planted::CheckpointForgets);
        let oldest = self.hosts[at].oldest_unconfirmed(at as u8).filter(|_| !forgets);
        let oldest = oldest.and_then(|oldest| {
            disk.records.iter().position(|(.., location)| location.segment() >= oldest)
        });
        let began = disk.candidate.as_ref().map_or(disk.replay_from, |before| before.record);
        let record = oldest.unwrap_or(usize::MAX).min(disk.records.len());
        self.disks[at].candidate = Some(Candidate { sections, runs, began, record, valid: false });
        self.promote();
    }

    /// Framed records that are durable, in order by lane.
    pub fn records(&self) -> impl Iterator<Item = Framed<'_>> {
        let records = self.disks.iter().flat_map(|disk| &disk.records);
        records.map(|(_, record, _)| Framed::take(record).unwrap().0)
    }

    /// Forgets all records, as if the checkpoint were all there is; they can still be read.
    pub fn drop_records(&mut self) {
        for disk in &mut self.disks {
            disk.records.clear();
            disk.replay_from = 0;
            disk.candidate = None;
        }
    }

    /// A remote host's disk is replaced by an empty one.
    pub fn forget(&mut self, host: usize) {
        self.lanes[host] = Lane { bytes: vec![Vec::new()], waiting: VecDeque::new(), lowest: 1 };
        self.disks[host] = Disk::default();
    }

    fn promote(&mut self) {
        for disk in &mut self.disks {
            let durable = |(host, run): &(usize, u64)| *run <= self.durable[*host];
            if let Some(candidate) = &mut disk.candidate
                && !candidate.valid
                && candidate.runs.iter().all(durable)
            {
                candidate.valid = true;
                disk.sections = candidate.sections.clone();
                disk.replay_from = candidate.began;
            }
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
            if self.settings.remote {
                self.links.send(host as u16, to, batch);
                continue;
            }
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
        let base = self.store(usize::from(host), lane, &run.records);
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
            moved |= self.deliver_all();
            if self.hosts.iter().any(Host::is_ready) {
                // What is cut into portions goes on in another turn.
                self.now.monotonic_us += 1;
                moved = true;
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
}
