//! The topic shard's part in publish/subscribe: who wants a message, and that it is not lost.
//!
//! ```text
//! Publish -> match -> (quality 1, 2, retained: append M) -> one `Topic` per worker
//!                                                       \-> one entry per home shard, in the
//!                                                           stream of its source
//! ```
//!
//! Live connections are their worker's business: a host knows of it only that it wants a filter
//! (`route.rs`). Sessions that are kept are their home shard's business: it gets an entry in the
//! same streams as mailboxes get theirs (`stream.rs` here), which the record names, so that
//! recovery streams it again to exactly these. Retained messages are answered out of memory
//! (`retained.rs`).
//!
//! Invariants: a publish of quality 1 or 2 is answered only once its record is durable (by output
//! commit, as everything); while the filters of some home shard are not known none is taken; a
//! packet id of quality 2 gets one record until it is released, and that is durable, too, before
//! it is said.

mod followed;
mod pick;
mod retained;
mod route;
mod stream;

use super::counters::Mark;
use super::settings::{HostSettings, RETRY_FOLLOWING_MS, RETRY_SOON_MS, RETRY_STORAGE_MS};
use super::{Host, own};
use crate::key::shard_of;
use crate::origin::Origin;
use crate::record::{self, payload_of};
use crate::topic::filter::{LEVELS_MAX, is_topic, levels};
use crate::topic::kept::kept_bytes;
use crate::topic::marks::{MARKS_PER_SHARD_MAX, Marked};
use crate::topic::names::Names;
use crate::topic::{FilterTree, TreeLimits};
use hawser_codec::code;
use hawser_codec::link::{
    Damaged, Handed, Publish, Published, Release, Released, Retained, Topic, Uplink,
};
use hawser_codec::time::Now;
use pick::Found;
use retained::Questions;
use route::{Destination, Followers, Shares};

pub(super) use stream::topic_entry_of;

/// Shared filters named in one record, bytes: with the longest content and topic the record stays
/// below what a lane writes at once. Members of further shares are served by the next message.
const SHARES_BYTES_MAX: usize = 60 << 10;

/// What a host keeps of topics beside what its shards own.
pub(super) struct Topics {
    routes: FilterTree<Destination>,
    shares: Shares,
    followers: Followers,
    /// Where the sweep for destinations that have gone is, if one is under way.
    swept: Option<u64>,
    /// Somebody has gone since it began.
    sweep_again: bool,
    /// When the last portion of what takes many turns was done.
    portion_us: u64,
    /// Topics with a retained message.
    names: Names,
    questions: Questions,
    /// Shard in which the next look for expired ones is made.
    expiry_shard: u8,
    /// Shared messages so far: draws their members.
    drawn: u64,
    /// Buffers of the match under way.
    found: Found,
    homes: Vec<u8>,
}

impl Topics {
    pub fn new(settings: &HostSettings) -> Topics {
        let limits =
            TreeLimits { subscriptions: settings.routes_max, bytes: settings.route_bytes_max };
        Topics {
            routes: FilterTree::new(limits, settings.text_seed),
            shares: Shares::default(),
            followers: Followers::new(settings),
            swept: None,
            sweep_again: false,
            portion_us: u64::MAX,
            names: Names::new(settings.text_seed),
            questions: Questions::default(),
            expiry_shard: 0,
            drawn: 0,
            found: Found::default(),
            homes: Vec::new(),
        }
    }
}

/// Why a publish is not taken, and when to come back (0: never).
struct Refusal(u16, u32);

impl Host {
    /// Takes up what recovery found.
    pub(super) fn begin_topics(&mut self) {
        self.take_over_followed();
        for shard in self.shards.iter().flatten() {
            for kept in shard.retained.iter() {
                self.topics.names.insert(kept.realm, &kept.topic, kept.key);
            }
            self.counters.retained += shard.retained.len() as u64;
            self.counters.retained_bytes += shard.retained.bytes as u64;
            self.counters.packet_ids += shard.marks.len() as u64;
        }
    }

    pub(super) fn on_topic_uplink(
        &mut self,
        now: Now,
        worker: Origin,
        frame: &Uplink<'_>,
    ) -> Result<(), Damaged> {
        match frame {
            Uplink::Publish(publish) => {
                self.owned(&publish.topic_key)?;
                self.on_publish(now, worker, publish);
            }
            Uplink::Route(route) => self.on_route(worker, route),
            Uplink::Release(release) => {
                if release.topic_key != [0; 16] {
                    self.owned(&release.topic_key)?;
                }
                self.on_release(worker, release);
            }
            Uplink::Retained(Retained { connection, request, realm, filter }) => {
                self.ask_retained(worker, *connection, *request, *realm, filter);
            }
            _ => return Err(Damaged),
        }
        Ok(())
    }

    fn on_publish(&mut self, now: Now, worker: Origin, publish: &Publish<'_>) {
        let (connection, request) = (publish.connection, publish.request);
        let (code, retry_after_ms, matched) = match self.publish(now, publish) {
            Ok(matched) => (0, 0, matched),
            Err(Refusal(code, retry_after_ms)) => {
                self.counters.refuse(code);
                (code, retry_after_ms, false)
            }
        };
        if publish.qos > 0 {
            Published { connection, request, code, retry_after_ms, matched }
                .put(self.commit.down(worker));
        }
    }

    /// A message of a home shard of this host, for any shard; `false` if it cannot be taken or
    /// handed on now. Not answered, and lost with a link that is lost.
    pub(super) fn publish_from_home(&mut self, now: Now, publish: &Publish<'_>) -> bool {
        let shard = shard_of(&publish.topic_key);
        if self.settings.owns(shard) {
            // What will never be taken need not be tried again.
            return !matches!(self.publish(now, publish), Err(Refusal(_, 1..)));
        }
        let host = self.settings.host_of(shard);
        if !self.is_heard_by(host) {
            return false;
        }
        let Publish {
            topic_key, user, device, realm, qos, retain, expiry_s, topic, content, ..
        } = *publish;
        Handed { topic_key, user, device, realm, qos, retain, expiry_s, topic, content }
            .put(self.commit.peer(host));
        true
    }

    pub(super) fn on_handed(&mut self, now: Now, handed: &Handed<'_>) -> Result<(), Damaged> {
        self.owned(&handed.topic_key)?;
        let Handed { topic_key, user, device, realm, qos, retain, expiry_s, topic, content } =
            *handed;
        let (connection, request) = (0, 0);
        let publish = Publish {
            connection,
            user,
            device,
            topic_key,
            realm,
            request,
            qos,
            retain,
            expiry_s,
            topic,
            content,
        };
        if let Err(Refusal(code, _)) = self.publish(now, &publish) {
            self.counters.refuse(code);
        }
        Ok(())
    }

    /// Takes a message: whether any filter matched.
    fn publish(&mut self, now: Now, publish: &Publish<'_>) -> Result<bool, Refusal> {
        let payload = payload_of(publish.content);
        if publish.qos > 2
            || payload.is_none()
            || publish.content.len() > self.settings.content_bytes_max
            || !is_topic(publish.topic)
        {
            return Err(Refusal(code::BAD_REQUEST, 0));
        }
        let mut stored = publish.qos > 0 || publish.retain;
        if stored {
            match self.judge(now, publish) {
                Ok(Some(matched)) => return Ok(matched),
                Ok(None) => {}
                Err(refusal) if publish.qos > 0 => return Err(refusal),
                // Nobody hears that it cannot be kept: who listens now has it at least.
                Err(Refusal(code, _)) => {
                    self.counters.refuse(code);
                    stored = false;
                }
            }
        }
        if publish.qos == 0 && self.commit.held_bytes() > self.settings.held_bytes_max {
            self.counters.topic_dropped += 1;
            return Err(Refusal(code::OVERLOADED, RETRY_SOON_MS));
        }
        let mut found = std::mem::take(&mut self.topics.found);
        self.find(publish, &mut found);
        if publish.qos > 0 && found.homes().any(|home| self.is_backed_up(home)) {
            self.topics.found = found;
            self.counters.hit(Mark::StreamBackedUp);
            return Err(Refusal(code::OVERLOADED, RETRY_STORAGE_MS));
        }
        if stored {
            self.keep(now, publish, &found);
        }
        self.tell(publish, &found);
        let matched = found.any();
        self.topics.found = found;
        self.counters.published += 1;
        self.counters.matched += u64::from(matched);
        Ok(matched)
    }

    /// Whether a message that is to be stored may be; for a repeat the answer.
    fn judge(&mut self, now: Now, publish: &Publish<'_>) -> Result<Option<bool>, Refusal> {
        if !self.storage {
            return Err(Refusal(code::STORAGE_UNAVAILABLE, RETRY_STORAGE_MS));
        }
        if self.commit.held_bytes() > self.settings.held_bytes_max {
            return Err(Refusal(code::OVERLOADED, RETRY_SOON_MS));
        }
        let shard = own(&mut self.shards, &publish.topic_key);
        if publish.qos == 2 && publish.request != 0 {
            match shard.marks.judge(
                &publish.device,
                publish.request,
                now.wall_ms,
                MARKS_PER_SHARD_MAX,
            ) {
                Marked::New => {}
                Marked::Repeat => {
                    self.counters.hit(Mark::PublishRepeated);
                    return Ok(Some(true));
                }
                Marked::Full => return Err(self.limit(RETRY_STORAGE_MS)),
            }
        }
        if publish.qos > 0 && !self.topics.followers.are_known() {
            self.counters.hit(Mark::PublishBeforeFollowing);
            return Err(Refusal(code::RECOVERING, RETRY_FOLLOWING_MS));
        }
        if publish.retain {
            self.judge_retained(now, publish)?;
        }
        Ok(None)
    }

    /// Whether a retained message may be kept beside those there are.
    fn judge_retained(&mut self, now: Now, publish: &Publish<'_>) -> Result<(), Refusal> {
        if payload_of(publish.content).is_none_or(<[u8]>::is_empty) {
            return Ok(());
        }
        if levels(publish.topic).count() > LEVELS_MAX {
            return Err(Refusal(code::BAD_REQUEST, 0));
        }
        self.drop_expired(now);
        let shard = own(&mut self.shards, &publish.topic_key);
        let before = shard.retained.get(&publish.topic_key).map_or(0, |kept| kept.bytes());
        let count = self.counters.retained + u64::from(before == 0);
        let bytes = self.counters.retained_bytes - before as u64
            + kept_bytes(publish.topic.len(), publish.content.len()) as u64;
        if count > self.settings.retained_max as u64
            || bytes > self.settings.retained_bytes_max as u64
        {
            return Err(self.limit(0));
        }
        Ok(())
    }

    fn limit(&mut self, retry_after_ms: u32) -> Refusal {
        self.counters.topic_limits += 1;
        Refusal(code::OVERLOADED, retry_after_ms)
    }

    /// Appends the message and sends it to the home shards.
    fn keep(&mut self, now: Now, publish: &Publish<'_>, found: &Found) {
        let mut homes = std::mem::take(&mut self.topics.homes);
        homes.clear();
        if publish.qos > 0 {
            found.put_homes(&mut homes);
        }
        let message = record::Publish {
            topic_key: publish.topic_key,
            realm: publish.realm,
            user: publish.user,
            device: publish.device,
            time_ms: now.wall_ms,
            request: if publish.qos == 2 { publish.request } else { 0 },
            qos: publish.qos,
            retain: u8::from(publish.retain),
            expiry_s: publish.expiry_s,
            topic: publish.topic,
            content: publish.content,
            homes: &homes,
        };
        let shard = own(&mut self.shards, &publish.topic_key);
        let (number, position) = (shard.number, shard.step());
        let offset = self.commit.run.len() as u64;
        let bytes = message.put(number, position, &mut self.commit.run) as u32;
        if message.request != 0 {
            let before = shard.marks.len();
            shard.marks.add(&message.device, message.request, now.wall_ms, MARKS_PER_SHARD_MAX);
            self.counters.packet_ids += (shard.marks.len() - before) as u64;
        }
        if publish.retain {
            self.retain(&message);
        }
        self.stream_topic(now, number, position, &message, offset, bytes);
        self.topics.homes = homes;
    }

    /// Tells the workers, one copy each.
    fn tell(&mut self, publish: &Publish<'_>, found: &Found) {
        let mut topic = Topic {
            connection: 0,
            request: 0,
            realm: publish.realm,
            user: publish.user,
            device: publish.device,
            qos: publish.qos,
            retain: publish.retain,
            expiry_s: publish.expiry_s,
            topic: publish.topic,
            share: b"",
            content: publish.content,
        };
        for worker in found.workers() {
            topic.put(self.commit.down(worker));
        }
        self.counters.topic_copies += found.workers().count() as u64;
        for (worker, share) in found.worker_shares() {
            topic.share = share;
            topic.put(self.commit.down(worker));
            self.counters.topic_copies += 1;
            self.counters.hit(Mark::ShareToWorker);
        }
    }

    fn on_release(&mut self, worker: Origin, release: &Release) {
        if !self.storage {
            // What cannot be made durable is not said. The host begins a new life when its log can
            // be written again, and the worker asks once more.
            return;
        }
        let Release { connection, device, topic_key, request, .. } = *release;
        let anywhere = topic_key == [0; 16];
        let mut found = false;
        for shard in self.shards.iter_mut().flatten() {
            if !anywhere && shard.number != shard_of(&topic_key) {
                continue;
            }
            let before = shard.marks.len();
            if shard.marks.release(&device, request) {
                self.counters.packet_ids -= (before - shard.marks.len()) as u64;
                let (number, position) = (shard.number, shard.step());
                record::Released { device, request }.put(number, position, &mut self.commit.run);
                found = true;
            }
        }
        if request != 0 {
            Released { connection, request, found }.put(self.commit.down(worker));
        }
    }

    /// Something is to be done in the next turn.
    pub(super) fn topics_are_busy(&self) -> bool {
        let has_room = self.commit.held_bytes() <= self.settings.held_bytes_max;
        self.topics.swept.is_some() || has_room && self.topics.questions.is_busy()
    }

    /// What topics want done once a turn, however often it seals.
    pub(super) fn turn_topics(&mut self, now: Now) {
        if self.topics_are_busy() && self.topics.portion_us != now.monotonic_us {
            self.topics.portion_us = now.monotonic_us;
            self.go_on_sweeping();
            self.answer_retained(now);
        }
        self.counters.routes = self.topics.routes.subscriptions() as u64;
        self.counters.route_bytes = self.topics.routes.bytes() as u64;
    }
}
