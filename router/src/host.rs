//! One shard host: all logical shards that one thread serves, as a pure state machine.
//!
//! ```text
//! Send -> conversation shard: judge, number, append M -> (stream, log order) -> home shard:
//! number, append E, push to live sessions        ... run durable ...  everything said leaves
//! ```
//!
//! Events and time go in; at the end of a turn [`Host::seal`] gives what is to be written, said
//! and read. What a host says is held until every record it may rest on is durable
//! (`commit.rs`); nothing else keeps a number from being shown too early.
//!
//! A failed write is not an event here: the lane stops, the host is thrown away and rebuilt from
//! the log by [`crate::Recovery`], and the workers announce their sessions again.

mod attach;
mod block;
mod checkpoint;
mod commit;
mod counters;
mod entry;
mod find;
mod origins;
mod page;
mod publish;
mod queue;
mod reading;
mod send;
mod session;
mod settings;
mod stream;
mod window;

pub use counters::{HostCounters, Mark};
pub use settings::{HostSettings, ORIGINS_MAX, TopicBounds};
pub use stream::StreamFigures;

use crate::key::shard_of;
use crate::recent::Recent;
use crate::recovery::Recovered;
use crate::shard::{SHARDS, Shard};
use crate::store::log::Location;
use attach::{Attachments, Tellings};
use commit::Commit;
use entry::Pending;
use hawser_codec::link::{
    Announce, CONFIRMS_QUEUE, Damaged, Downlink, Followed, Key, Peer, Uplink,
};
use hawser_codec::time::Now;
use publish::Topics;
use queue::Queues;
use reading::Reading;
use session::Sessions;
use std::collections::VecDeque;
use stream::Remote;

pub(crate) use checkpoint::{SectionDamaged, restore};
pub(crate) use stream::Unconfirmed;

/// Records of one turn, to be written in order of `number`.
#[derive(Debug)]
pub struct RunOutput {
    /// Run number, from 1, dense.
    pub number: u64,
    /// Framed records.
    pub records: Vec<u8>,
    /// Holds a message that asks not to wait for others.
    pub urgent: bool,
}

/// Bytes wanted from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// Comes back in [`Host::on_read`].
    pub id: u64,
    /// First byte.
    pub location: Location,
    /// Bytes, all within one segment.
    pub length: u32,
}

/// What a turn leaves. Cleared by the shell; buffers go back through [`Host::recycle`].
#[derive(Debug, Default)]
pub struct Outputs {
    /// Records to be written, in order; nearly always one run or none.
    pub runs: Vec<RunOutput>,
    /// Batches of `hawser_codec::link::Downlink` frames, by origin.
    pub downlinks: Vec<(u16, Vec<u8>)>,
    /// Batches of `hawser_codec::link::Peer` frames, by host. With one lane for all hosts the
    /// runs of the same turn have to reach the lane before them.
    pub peers: Vec<(u16, Vec<u8>)>,
    /// Reads to be made.
    pub reads: Vec<ReadRequest>,
}

/// See the module's head.
pub struct Host {
    settings: HostSettings,
    /// By number; those of other hosts are not there.
    shards: Vec<Option<Box<Shard>>>,
    commit: Commit,
    /// Records whose place is wanted once their run is durable.
    pending: VecDeque<Pending>,
    /// Mailboxes, by shard and user, whose tail is long enough for a block.
    due: VecDeque<(u8, u32)>,
    recent: Recent,
    sessions: Sessions,
    reading: Reading,
    /// Segments below these are gone, by lane.
    dropped: [u32; 64],
    storage: bool,
    counters: HostCounters,
    /// Body and length of a long message on its way to another host.
    scratch: Vec<u8>,
    /// Hosts of other processes, by number.
    remotes: Vec<Option<Box<Remote>>>,
    attachments: Attachments,
    tellings: Tellings,
    queues: Queues,
    topics: Topics,
}

impl Host {
    /// A host with what recovery found for it (of the same host number and count).
    ///
    /// Entries whose message is durable and which never reached their mailbox are streamed with
    /// the first seal; so is the question to all workers to announce their sessions.
    pub fn new(settings: HostSettings, now: Now, state: Recovered) -> Host {
        let mut shards: Vec<Option<Box<Shard>>> = (0..SHARDS).map(|_| None).collect();
        for number in (0..SHARDS).filter(|number| settings.owns(*number as u8)) {
            shards[number] = Some(Box::new(Shard::new(number as u8)));
        }
        let mut counters = HostCounters::new();
        for shard in state.shards {
            counters.users += shard.users.all.count() as u64;
            counters.conversations += shard.conversations.all.count() as u64;
            counters.window_bytes += shard.conversations.bytes as u64;
            counters.unnumbered += shard.uuids.len() as u64;
            let number = usize::from(shard.number);
            assert!(settings.owns(shard.number), "recovery splits by the same host count");
            shards[number] = Some(Box::new(shard));
        }
        let mut host = Host {
            settings,
            shards,
            commit: Commit::new(&settings),
            pending: VecDeque::new(),
            due: VecDeque::new(),
            recent: state.recent,
            sessions: Sessions::new(),
            reading: Reading::new(),
            dropped: [0; 64],
            storage: true,
            counters,
            scratch: Vec::new(),
            remotes: stream::remotes(&settings, now, state.unconfirmed),
            attachments: Attachments::new(),
            tellings: Tellings::default(),
            queues: Queues::default(),
            topics: Topics::new(&settings),
        };
        host.take_over_sessions(now);
        host.recent.set_bytes_max(settings.recent_bytes_max);
        for (lane, segment) in &state.lanes {
            host.on_segments_dropped(*lane, *segment);
        }
        host.begin_topics();
        for message in &state.undelivered {
            host.stream_again(now, message);
            host.commit.cut_long_run();
        }
        for worker in 0..settings.workers {
            host.ask_to_announce(worker);
        }
        host
    }

    /// A worker that will send uplinks under this number; it is asked to announce its sessions.
    /// `false` if the number is taken or not below [`ORIGINS_MAX`].
    pub fn origin_came(&mut self, origin: u16) -> bool {
        let came = self.commit.origins.come(origin);
        if came {
            self.ask_to_announce(origin);
        }
        came
    }

    /// The worker cannot be reached any more: its sessions have ended, and what was still to be
    /// said to it is dropped. The number is free; give it again as late as may be.
    pub fn origin_gone(&mut self, origin: u16) {
        if let Some(gone) = self.commit.origins.current(origin) {
            self.attachments.lose(gone);
        }
        let sessions = self.commit.origins.go(origin);
        self.counters.sessions -= sessions;
        if sessions > 0 {
            self.counters.hit(Mark::OriginGone);
        }
        self.commit.forget_origin(origin);
        self.topics.sweep();
    }

    fn ask_to_announce(&mut self, number: u16) {
        if let Some(origin) = self.commit.origins.current(number) {
            Announce { epoch: 0 }.put(self.commit.down(origin));
        }
    }

    /// Takes a batch of frames from an origin. An error means that our own tier is broken; frames
    /// before the broken one have been taken.
    pub fn on_uplink(&mut self, now: Now, origin: u16, mut batch: &[u8]) -> Result<(), Damaged> {
        let worker = self.commit.origins.current(origin).ok_or(Damaged)?;
        while let Some(frame) = Uplink::take(&mut batch)? {
            match frame {
                Uplink::Send(send) => {
                    self.owned(&send.conversation)?;
                    self.on_send(now, worker, &send);
                }
                Uplink::Confirm(confirm) => {
                    self.owned(&confirm.user)?;
                    if confirm.connection & CONFIRMS_QUEUE == 0 {
                        self.on_confirm(now, worker, &confirm);
                    } else {
                        self.on_queue_confirm(now, worker, &confirm);
                    }
                }
                Uplink::Login(login) => {
                    self.owned(&login.user)?;
                    self.on_login(now, worker, &login);
                }
                Uplink::Logout(logout) => {
                    self.owned(&logout.user)?;
                    self.on_logout(worker, &logout);
                }
                Uplink::Read(read) => {
                    self.owned(&read.user)?;
                    self.on_page(now, worker, &read);
                }
                Uplink::Receipt(receipt) => self.on_receipt(&receipt),
                Uplink::Stall(stall) => {
                    self.owned(&stall.user)?;
                    self.on_stall(worker, &stall);
                }
                Uplink::Attach(attach) => {
                    self.owned(&attach.user)?;
                    self.on_attach(now, worker, &attach);
                }
                Uplink::Detach(detach) => {
                    self.owned(&detach.user)?;
                    self.on_detach(now, worker, &detach);
                }
                Uplink::Subscribe(subscribe) => {
                    self.owned(&subscribe.user)?;
                    self.on_subscribe(worker, &subscribe);
                }
                Uplink::Unsubscribe(unsubscribe) => {
                    self.owned(&unsubscribe.user)?;
                    self.on_unsubscribe(worker, &unsubscribe);
                }
                Uplink::QueueMark(mark) => {
                    self.owned(&mark.user)?;
                    self.on_queue_mark(now, worker, &mark);
                }
                Uplink::Route(_)
                | Uplink::Publish(_)
                | Uplink::Release(_)
                | Uplink::Retained(_) => self.on_topic_uplink(now, worker, &frame)?,
            }
            self.commit.cut_long_run();
        }
        Ok(())
    }

    /// Takes a batch of frames from another host. Errors as in [`Host::on_uplink`].
    pub fn on_peer(&mut self, now: Now, from: u16, mut batch: &[u8]) -> Result<(), Damaged> {
        if from >= self.settings.hosts || from == self.settings.host && self.settings.remote {
            return Err(Damaged);
        }
        while let Some(frame) = Peer::take(&mut batch)? {
            match frame {
                Peer::Stream(entry) => {
                    self.owned(&entry.user)?;
                    if self.settings.remote {
                        self.on_remote_stream(now, from, &entry)?;
                    } else {
                        self.on_stream(now, &entry)?;
                    }
                }
                Peer::Open(open) => self.on_open(from, &open)?,
                Peer::Opened(opened) => self.on_opened(now, from, opened.opening, opened.ask)?,
                Peer::Begin(begin) => self.on_begin(from, begin.opening)?,
                Peer::Arrived(arrived) => self.on_arrived(now, from, &arrived)?,
                Peer::TopicEntry(entry) => self.on_topic_stream(now, from, &entry)?,
                Peer::Follow(follow) => {
                    let code = self.on_follow(from, &follow)?;
                    if follow.request != 0 {
                        Followed { request: follow.request, code }.put(self.commit.peer(from));
                    }
                }
                Peer::Followed(followed) => self.on_followed(from, &followed),
                Peer::Following(following) => self.on_following(from, following.done),
                Peer::Handed(handed) => self.on_handed(now, &handed)?,
                Peer::Forward(forward) => {
                    self.owned(&forward.peer)?;
                    self.tell_receipt(
                        &forward.peer,
                        forward.what,
                        forward.sequence,
                        forward.user_name,
                    );
                }
            }
            self.commit.cut_long_run();
        }
        Ok(())
    }

    /// Run `run` is on disk and its first byte stands at `base`. Called once per run, in order.
    pub fn on_durable(&mut self, now: Now, run: u64, base: Location) {
        self.commit.release(run, base);
        self.locate_unconfirmed(now, run, base);
        while self.pending.front().is_some_and(|pending| pending.run <= run) {
            let pending = self.pending.pop_front().expect("the front was just looked at");
            self.locate(now, &pending, base.plus(pending.offset));
            self.commit.cut_long_run();
        }
        self.resume_pages(now, run);
    }

    /// Answer to a [`ReadRequest`]: exactly the bytes asked for, or an error number.
    pub fn on_read(&mut self, now: Now, id: u64, bytes: Result<&[u8], i32>) {
        self.take_read(now, id, bytes);
    }

    /// Time has come to [`Host::next_deadline`], or past it.
    pub fn on_deadline(&mut self, now: Now) {
        self.expire_timers(now);
        self.expire_sessions(now);
        self.expire_streams(now);
    }

    /// When [`Host::on_deadline`] and [`Host::seal`] want to be called, monotonic microseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        let sessions = self.sessions.next_deadline(self.storage);
        let kept = [self.attachments.next_deadline(), self.queues.next_deadline(self.storage)];
        // What is cut into portions goes on at once, in the next turn.
        let portions =
            self.topics_are_busy() || self.attachments.is_ready() || self.tellings.is_ready();
        let topics = portions.then_some(0);
        let all = kept.into_iter().flatten().chain(topics);
        sessions.into_iter().chain(self.stream_deadline()).chain(all).min()
    }

    /// Something waits for [`Host::seal`].
    pub fn is_ready(&self) -> bool {
        self.commit.is_ready()
            || !self.reading.requests.is_empty()
            || self.has_arrived()
            || self.attachments.is_ready()
            || self.tellings.is_ready()
            || self.topics_are_busy()
            || self.storage && !self.due.is_empty()
    }

    /// End of a turn: gives everything that may leave, in the order in which it came about.
    pub fn seal(&mut self, now: Now, out: &mut Outputs) {
        if self.storage {
            self.flush_cursors(now);
            self.flush_marks(now);
            self.build_blocks();
        }
        self.sweep_sessions(now);
        self.turn_topics(now);
        self.tell_follows();
        self.say_arrived();
        self.counters.recent_bytes = self.recent.bytes() as u64;
        self.commit.seal(self.settings.same_lane, out, &mut self.counters);
        self.counters.reads += self.reading.requests.len() as u64;
        out.reads.append(&mut self.reading.requests);
    }

    /// Whether the log can be written. While it cannot, new messages and first logins are refused
    /// with `STORAGE_UNAVAILABLE`; everything else goes on.
    pub fn set_storage(&mut self, available: bool) {
        self.storage = available;
    }

    /// Segments of `lane` below `below` are gone.
    pub fn on_segments_dropped(&mut self, lane: u8, below: u32) {
        let lane = lane & 63;
        let dropped = &mut self.dropped[usize::from(lane)];
        *dropped = below.max(*dropped);
        for shard in self.shards.iter_mut().flatten() {
            shard.conversations.drop_spilled(lane, below);
        }
    }

    /// Gives a used buffer back, so that the steady state allocates nothing.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.commit.recycle(buffer);
    }

    /// Figures so far.
    pub fn counters(&self) -> HostCounters {
        self.counters
    }

    /// Run of the latest record, which may be still to be sealed; 0 before the first. A checkpoint
    /// whose sections were taken up to now may be relied on only once this run is durable.
    pub fn last_run(&self) -> u64 {
        self.commit.last()
    }

    fn owned(&self, key: &Key) -> Result<(), Damaged> {
        if self.settings.owns(shard_of(key)) { Ok(()) } else { Err(Damaged) }
    }

    /// A place in a segment that is no longer kept.
    fn is_gone(&self, location: Location) -> bool {
        location == Location::NONE
            || location.segment() < self.dropped[usize::from(location.lane())]
    }
}

/// Shard of a key that [`Host::owned`] has let pass.
fn own<'a>(shards: &'a mut [Option<Box<Shard>>], key: &Key) -> &'a mut Shard {
    shards[usize::from(shard_of(key))].as_mut().expect("frames for other hosts are refused")
}

/// All frames of a downlink batch; for tests and tools.
pub fn downlink_frames(mut batch: &[u8]) -> Result<Vec<Downlink<'_>>, Damaged> {
    let mut frames = Vec::new();
    while let Some(frame) = Downlink::take(&mut batch)? {
        frames.push(frame);
    }
    Ok(frames)
}
