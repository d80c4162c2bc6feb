//! Messages of topics to all of this worker's clients whose filters match, a bounded amount of work
//! at a time.
//!
//! A message for many is written once for each form it takes (version, quality, retain flag) and
//! copied from there; what differs from client to client beyond its packet identifier is written
//! apart (see `deliver`).

use super::{
    deliver::{How, Message},
    share::NOT_SHARED,
    subscribe::Member,
    window::Source,
    *,
};
use hawser_codec::mqtt::{encode::Form, packet::Options, property};
use std::collections::VecDeque;

/// One client that shall have the message.
#[derive(Clone, Copy, Debug)]
struct Match {
    handle: Handle,
    options: Options,
    identifier: u32,
}

/// What is written once for many, and who has yet to get it.
#[derive(Default)]
pub(super) struct Copies {
    /// Link frames of messages not yet given to all.
    pending: VecDeque<Vec<u8>>,
    /// Their bytes.
    pending_bytes: usize,
    /// Messages that found no room, to be counted.
    dropped: u64,
    /// Those being given: of the same publisher and topic, so the same connections shall have them.
    /// Each connection gets all of them in one send.
    group: Vec<Vec<u8>>,
    /// Who shall have the group, and how many of them have it.
    matched: Vec<Match>,
    given: usize,
    /// Written forms of each message of the group, and of which one is being given.
    forms: Vec<[Written; FORMS]>,
    giving: usize,
    /// Answers to routes that ended questions.
    answered: Vec<question::Question>,
    spare: Vec<Vec<u8>>,
}

/// A message in one form.
#[derive(Default)]
pub(super) struct Written {
    pub packet: Vec<u8>,
    /// Where its packet identifier stands.
    pub packet_id_at: usize,
}

/// Forms in which one message may have to be written: by version, quality of service and retain.
const FORMS: usize = 12;

/// Messages that are given together at most: what a connection is sent at once stays short.
const GROUP_MAX: usize = 16;

impl Copies {
    /// The next messages to be given become the group, if there are any; nothing of it is written.
    fn begin_group(&mut self) -> bool {
        let Some(first) = self.pending.pop_front() else { return false };
        self.group.push(first);
        while self.group.len() < GROUP_MAX
            && self.pending.front().is_some_and(|next| goes_with(&self.group[0], next))
            && let Some(next) = self.pending.pop_front()
        {
            self.group.push(next);
        }
        if self.forms.len() < self.group.len() {
            self.forms.resize_with(self.group.len(), Default::default);
        }
        self.forms.iter_mut().flatten().for_each(|form| form.packet.clear());
        true
    }

    /// All who shall have the group have it.
    fn end_group(&mut self) {
        for mut frame in self.group.drain(..) {
            self.pending_bytes -= frame.len();
            if self.spare.len() < GROUP_MAX && frame.capacity() <= limits::SPARE_BUFFER_BYTES_MAX {
                frame.clear();
                self.spare.push(frame);
            }
        }
    }

    /// The message in this form.
    pub fn form(
        &mut self,
        version: Version,
        message: &Message<'_>,
        qos: Qos,
        retain: bool,
    ) -> &Written {
        let index = match version {
            Version::V311 => 0,
            Version::V5 => 6,
        } + qos as usize * 2
            + usize::from(retain);
        let written = &mut self.forms[self.giving][index];
        if written.packet.is_empty() {
            let mut own = [0; 5];
            let form = Form {
                version,
                dup: false,
                qos,
                retain,
                topic: message.topic,
                packet_id: 0,
                own: expiry_property(message.expiry_s, &mut own),
                passed: message.passed,
                payload: message.payload,
            };
            written.packet_id_at = form.put(&mut written.packet);
        }
        written
    }
}

/// The message of a noted frame.
fn read(frame: &[u8]) -> Option<link::Topic<'_>> {
    let mut batch = frame;
    match Downlink::take(&mut batch) {
        Ok(Some(Downlink::Topic(topic))) => Some(topic),
        _ => None,
    }
}

/// Whether `next` goes to the same connections as `first`.
fn goes_with(first: &[u8], next: &[u8]) -> bool {
    let (Some(first), Some(next)) = (read(first), read(next)) else { return false };
    let of = |topic: &link::Topic<'_>| (topic.realm, topic.user, topic.device);
    first.share.is_empty()
        && next.share.is_empty()
        && of(&first) == of(&next)
        && first.topic == next.topic
}

fn expiry_property(expiry_s: u32, out: &mut [u8; 5]) -> &[u8] {
    if expiry_s == 0 {
        return &[];
    }
    out[0] = property::MESSAGE_EXPIRY;
    out[1..].copy_from_slice(&expiry_s.to_be_bytes());
    out
}

impl MqttSessions {
    /// A link frame of `host` for the whole worker: a message for all whose filters match, or the
    /// answer to a route. It is noted; [`MqttSessions::spread`] acts on it.
    pub fn on_broadcast(&mut self, downlink: &Downlink<'_>, host: u16) {
        match downlink {
            Downlink::Topic(topic) => {
                // Others than those of QoS 0 have as much room again.
                let room = limits::MQTT_PENDING_BYTES << u32::from(topic.qos > 0);
                if self.copies.pending_bytes >= room {
                    self.copies.dropped += 1;
                    return;
                }
                let mut frame = self.copies.spare.pop().unwrap_or_default();
                topic.put(&mut frame);
                self.copies.pending_bytes += frame.len();
                self.copies.pending.push_back(frame);
            }
            Downlink::Routed(routed) => {
                let done = self.questions.routed(routed.request, host, routed.code);
                self.copies.answered.extend(done);
            }
            _ => {}
        }
    }

    /// Gives what was noted to the connections it is for, at most `work_max` units of work: a copy
    /// for a connection that has nothing waiting is a send more and takes
    /// [`limits::TOPIC_SEND_WORK`], another copy for it takes one. `told` is given who has something to be sent. True while more waits.
    pub fn spread(
        &mut self,
        connections: &mut Slab<Connection>,
        work_max: usize,
        told: &mut Vec<Handle>,
        outlet: &mut Outlet<'_>,
    ) -> bool {
        for question in std::mem::take(&mut self.copies.answered) {
            let handle = question.handle;
            if let Some(connection) = connections.get_mut(handle)
                && connection.state == State::Open
            {
                self.finish(connection, question, outlet);
                told.push(handle);
            }
        }
        outlet.metrics.mqtt_dropped.add(std::mem::take(&mut self.copies.dropped));
        let mut left = work_max;
        loop {
            let is_new = self.copies.group.is_empty();
            if is_new && !self.copies.begin_group() {
                return false;
            }
            let group = std::mem::take(&mut self.copies.group);
            let topics: Vec<link::Topic<'_>> = group.iter().filter_map(|one| read(one)).collect();
            let done = self.spread_group(&topics, is_new, connections, &mut left, told, outlet);
            self.copies.group = group;
            if !done {
                return true;
            }
            self.copies.end_group();
        }
    }

    /// Gives the group to those who have not got it, as far as the work lasts; true when all have.
    fn spread_group(
        &mut self,
        topics: &[link::Topic<'_>],
        is_new: bool,
        connections: &mut Slab<Connection>,
        left: &mut usize,
        told: &mut Vec<Handle>,
        outlet: &mut Outlet<'_>,
    ) -> bool {
        let Some(topic) = topics.first() else { return true };
        let Some(qos) = Qos::from_bits(topic.qos) else { return true };
        if is_new {
            self.find_matches(topic, qos, connections);
        }
        let mut identifiers = Vec::new();
        while self.copies.given < self.copies.matched.len() {
            if *left == 0 {
                return false;
            }
            let at = self.copies.given;
            let first = self.copies.matched[at];
            let (mut options, mut as_published, mut end) = (first.options, false, at);
            identifiers.clear();
            // Several filters of one client: one copy, of the highest quality asked for.
            while let Some(more) = self.copies.matched.get(end).copied()
                && more.handle == first.handle
            {
                options = if more.options.qos() > options.qos() { more.options } else { options };
                as_published |= more.options.retain_as_published();
                if more.identifier != 0 {
                    identifiers.push(more.identifier);
                }
                end += 1;
            }
            self.copies.given = end;
            let Some(connection) = connections.get_mut(first.handle) else { continue };
            let Some(terms) = Terms::of(connection) else { continue };
            let identifiers = if terms.version == Version::V5 { &identifiers[..] } else { &[] };
            for (giving, topic) in topics.iter().enumerate() {
                if connection.state != State::Open {
                    break;
                }
                let message = Message::of(topic.topic, topic.qos, topic.expiry_s, topic.content);
                let Some(message) = message else { continue };
                let qos = message.qos.min(options.qos());
                // Of kept sessions these come from their queue. A share has picked this one for
                // good.
                if terms.kept && qos != Qos::AtMostOnce && topic.share.is_empty() {
                    continue;
                }
                let is_another = outlet.waiting(connection) > 0;
                let work = if is_another { 1 } else { limits::TOPIC_SEND_WORK };
                *left = left.saturating_sub(work);
                let retain = as_published && topic.retain;
                let how = How { qos, retain, dup: false, source: Source::Live, identifiers };
                self.copies.giving = giving;
                self.give(connection, first.handle, &terms, &message, &how, true, outlet);
            }
            told.push(first.handle);
        }
        true
    }

    /// Looks up who shall have a message: all whose filters match, or one member of a share.
    fn find_matches(
        &mut self,
        topic: &link::Topic<'_>,
        qos: Qos,
        connections: &mut Slab<Connection>,
    ) {
        self.copies.given = 0;
        let mut matched = std::mem::take(&mut self.copies.matched);
        matched.clear();
        if topic.share.is_empty() {
            let mut sorted = true;
            self.subscriptions.tree.matches(topic.realm, topic.topic, |_, member| {
                if member.share != NOT_SHARED {
                    return;
                }
                let Some(handle) = connections.handle(member.slot) else { return };
                if member.options.no_local()
                    && let Some(connection) = connections.get_mut(handle)
                    && connection.user == topic.user
                    && connection.device == topic.device
                {
                    return;
                }
                let (options, identifier) = (member.options, member.identifier);
                sorted &= matched.last().is_none_or(|last: &Match| last.handle.slot <= handle.slot);
                matched.push(Match { handle, options, identifier });
            });
            if !sorted {
                matched.sort_by_key(|one| one.handle.slot);
            }
        } else if let Some(member) = self.pick(topic, qos, connections)
            && let Some(handle) = connections.handle(member.slot)
        {
            let (options, identifier) = (member.options, member.identifier);
            matched.push(Match { handle, options, identifier });
        }
        self.copies.matched = matched;
    }

    /// The member of a share whose turn it is: the next slot behind the one served last that can
    /// take it.
    fn pick(
        &mut self,
        topic: &link::Topic<'_>,
        qos: Qos,
        connections: &mut Slab<Connection>,
    ) -> Option<Member> {
        let share = self.subscriptions.shares.find(topic.realm, topic.share)?;
        let text = std::str::from_utf8(topic.share).ok()?;
        let pattern = hawser_codec::mqtt::topic::Filter::parse(text).ok()?.pattern;
        let id = self.subscriptions.tree.find(topic.realm, pattern.as_bytes())?;
        let last = self.subscriptions.shares.last(share);
        let mut best: Option<(bool, u32, Member)> = None;
        for member in self.subscriptions.tree.subscribers(id) {
            if member.share != share {
                continue;
            }
            let Some(handle) = connections.handle(member.slot) else { continue };
            let Some(connection) = connections.get_mut(handle) else { continue };
            if connection.state != State::Open {
                continue;
            }
            // A kept session would lose it with the connection; its home is asked before.
            let kept = qos != Qos::AtMostOnce && Terms::of(connection).is_some_and(|at| at.kept);
            let turn = member.slot.wrapping_sub(last).wrapping_sub(1);
            if best.is_none_or(|(worse, later, _)| (kept, turn) < (worse, later)) {
                best = Some((kept, turn, *member));
            }
        }
        let (_, _, member) = best?;
        self.subscriptions.shares.served(share, member.slot);
        Some(member)
    }
}
