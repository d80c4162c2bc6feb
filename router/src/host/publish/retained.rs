//! Retained messages: kept by the shard of their topic, given to those who subscribe.

use super::super::counters::Mark;
use super::super::settings::{
    EXPIRY_LOOKS, RETAINED_BYTES_PER_TURN_MAX, RETAINED_QUESTIONS_MAX, RETAINED_VISITS_PER_TURN_MAX,
};
use super::super::{Host, own};
use crate::origin::Origin;
use crate::record;
use crate::shard::SHARDS;
use crate::topic::Written;
use crate::topic::filter::has_wildcard;
use crate::topic::kept::kept_of;
use crate::topic::names::Search;
use hawser_codec::link::{Connection, Key, RetainedEnd, Topic};
use hawser_codec::time::Now;
use std::collections::VecDeque;

struct Question {
    worker: Origin,
    connection: Connection,
    request: u32,
    realm: u32,
    filter: Box<[u8]>,
}

/// Questions that are not answered yet, in the order in which they came.
#[derive(Default)]
pub(super) struct Questions {
    waiting: VecDeque<Question>,
    /// That of the first.
    search: Option<Search>,
}

impl Questions {
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Host {
    /// Keeps a message that was just appended, or clears what is kept.
    pub(super) fn retain(&mut self, message: &record::Publish<'_>) {
        if message.clears() {
            self.forget_retained(&message.topic_key);
            return;
        }
        let shard = own(&mut self.shards, &message.topic_key);
        let before = shard.retained.bytes as u64;
        if shard.retained.put(kept_of(message)) {
            self.topics.names.insert(message.realm, message.topic, message.topic_key);
            self.counters.retained += 1;
        }
        self.counters.retained_bytes += shard.retained.bytes as u64;
        self.counters.retained_bytes -= before;
    }

    fn forget_retained(&mut self, key: &Key) {
        let Some(kept) = own(&mut self.shards, key).retained.take(key) else { return };
        self.topics.names.remove(kept.realm, &kept.topic);
        self.counters.retained -= 1;
        self.counters.retained_bytes -= kept.bytes() as u64;
    }

    /// Looks for retained messages that have expired, in the shards one after another. No record
    /// says that they are gone: wherever they come up again, they have expired still.
    pub(super) fn drop_expired(&mut self, now: Now) {
        let mut looks = EXPIRY_LOOKS;
        for _ in 0..SHARDS {
            let at = usize::from(self.topics.expiry_shard);
            self.topics.expiry_shard = self.topics.expiry_shard.wrapping_add(1);
            let Some(shard) = &mut self.shards[at] else { continue };
            let places = shard.retained.places().min(looks);
            let expired = shard.retained.next_expired(now.wall_ms, places);
            if let Some(key) = expired {
                self.counters.hit(Mark::RetainedExpired);
                self.forget_retained(&key);
            }
            looks -= places;
            if looks == 0 {
                return;
            }
        }
    }

    pub(super) fn ask_retained(
        &mut self,
        worker: Origin,
        connection: Connection,
        request: u32,
        realm: u32,
        filter: &[u8],
    ) {
        let waiting = &mut self.topics.questions.waiting;
        let full = waiting.len() >= RETAINED_QUESTIONS_MAX;
        // Shared filters get none (MQTT 5.0, 4.8.2).
        let filter = Written::read(filter).filter(|written| written.share.is_none());
        if let Some(written) = filter.filter(|_| !full) {
            let filter = written.filter.into();
            waiting.push_back(Question { worker, connection, request, realm, filter });
            return;
        }
        self.counters.topic_limits += u64::from(full);
        RetainedEnd { connection, request }.put(self.commit.down(worker));
    }

    /// Answers what is asked, as far as one turn may.
    pub(super) fn answer_retained(&mut self, now: Now) {
        let mut visits = RETAINED_VISITS_PER_TURN_MAX;
        let mut bytes = RETAINED_BYTES_PER_TURN_MAX;
        while visits > 0 && bytes > 0 && self.commit.held_bytes() <= self.settings.held_bytes_max {
            let Some(question) = self.topics.questions.waiting.pop_front() else { return };
            let ended = if has_wildcard(&question.filter) {
                self.go_on_searching(now, &question, &mut visits, &mut bytes)
            } else {
                visits -= 1;
                let found = self.topics.names.find(question.realm, &question.filter);
                if let Some(key) = found {
                    let said = self.say_retained(now, &question, &key);
                    bytes = bytes.saturating_sub(said);
                }
                true
            };
            if !ended {
                self.counters.hit(Mark::RetainedSearchCut);
                self.topics.questions.waiting.push_front(question);
                return;
            }
            let Question { worker, connection, request, .. } = question;
            RetainedEnd { connection, request }.put(self.commit.down(worker));
        }
    }

    /// A portion of a search; whether it has ended.
    fn go_on_searching(
        &mut self,
        now: Now,
        question: &Question,
        visits: &mut usize,
        bytes: &mut usize,
    ) -> bool {
        let questions = &mut self.topics.questions;
        let search = questions.search.take();
        let names = &mut self.topics.names;
        let mut search = search.unwrap_or_else(|| names.begin(question.realm, &question.filter));
        while *visits > 0 && *bytes > 0 {
            let mut found = None;
            let visited = self.topics.names.go_on(&mut search, *visits, |key| {
                found = Some(*key);
                false
            });
            if let Some(key) = found {
                let said = self.say_retained(now, question, &key);
                *bytes = bytes.saturating_sub(said);
            }
            let Some(visited) = visited else { return true };
            *visits -= visited;
        }
        self.topics.questions.search = Some(search);
        false
    }

    /// Says one retained message, if it has not expired; its bytes.
    fn say_retained(&mut self, now: Now, question: &Question, key: &Key) -> usize {
        let Some(kept) = own(&mut self.shards, key).retained.get(key) else { return 0 };
        let Some(expiry_s) = kept.left_s(now.wall_ms) else {
            self.counters.hit(Mark::RetainedExpired);
            self.forget_retained(key);
            return 0;
        };
        Topic {
            connection: question.connection,
            request: question.request,
            realm: kept.realm,
            user: kept.user,
            device: kept.device,
            qos: kept.qos,
            retain: true,
            expiry_s,
            topic: &kept.topic,
            share: b"",
            content: &kept.content,
        }
        .put(self.commit.down(question.worker));
        self.counters.topic_copies += 1;
        kept.bytes()
    }
}
