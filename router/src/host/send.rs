//! The conversation shard's part: a message is judged, numbered, appended and streamed.

use super::counters::Mark;
use super::entry::{MessageAt, STREAM_LOCATION_AT};
use super::settings::{REPEAT_MARGIN_MS, RETRY_SOON_MS, RETRY_STORAGE_MS};
use super::{Host, own};
use crate::conversation::{Answer, Sender, Verdict, body_check};
use crate::key::shard_of;
use crate::origin::Origin;
use crate::record::{self, ENTRY_BODY_BYTES_MAX};
use crate::recovery::Undelivered;
use crate::store::log::Location;
use crate::uuids::{self, Accepted};
use hawser_codec::code;
use hawser_codec::link::{self, Key, Refused, Send, Stream};
use hawser_codec::message::NAME_BYTES_MAX;
use hawser_codec::time::Now;

/// Why a message is not accepted, and when to come back (0: never).
struct Refusal(u16, u32);

impl Host {
    pub(super) fn on_send(&mut self, now: Now, worker: Origin, send: &Send) {
        if let Err(Refusal(code, retry_after_ms)) = self.accept(now, worker, send) {
            let (connection, channel) = (send.connection, send.channel);
            let client_seq = send.client_seq;
            self.counters.refuse(code);
            Refused { connection, channel, client_seq, code, retry_after_ms }
                .put(self.commit.down(worker));
        }
    }

    fn say_accepted(&mut self, worker: Origin, send: &Send, sequence: u64, time_ms: u64) {
        let (connection, channel, client_seq) = (send.connection, send.channel, send.client_seq);
        link::Accepted { connection, channel, client_seq, sequence, time_ms }
            .put(self.commit.down(worker));
    }

    fn accept(&mut self, now: Now, worker: Origin, send: &Send) -> Result<(), Refusal> {
        let names = [send.sender_name, send.device_name, send.peer_name];
        let is_named = match send.client_seq {
            0 => send.uuid != [0; 16],
            _ => send.incarnation != 0,
        };
        if !is_named
            || send.level > 2
            || send.body.len() > self.settings.body_bytes_max
            || names.iter().any(|name| name.len() > NAME_BYTES_MAX)
        {
            return Err(Refusal(code::BAD_REQUEST, 0));
        }
        if send.level == 0 {
            self.say_accepted(worker, send, 0, now.wall_ms);
            self.tell_ephemeral(now, send);
            return Ok(());
        }
        let repeatable_ms = match send.client_seq {
            0 => uuids::KEPT_MS,
            _ => self.settings.retention_ms.saturating_sub(REPEAT_MARGIN_MS),
        };
        if send.first_attempt_ms != 0
            && send.first_attempt_ms.saturating_add(repeatable_ms) < now.wall_ms
        {
            self.counters.hit(Mark::TooOld);
            return Err(Refusal(code::TOO_OLD, 0));
        }
        if send.client_seq == 0 {
            return self.accept_unnumbered(now, worker, send);
        }
        let sender = Sender { device: send.device, incarnation: send.incarnation };
        let asked = Answer {
            client_seq: send.client_seq,
            sequence: 0,
            time_ms: now.wall_ms,
            uuid: send.uuid,
            check: body_check(send.body),
        };
        let shard = own(&mut self.shards, &send.conversation);
        match shard.conversations.judge(&send.conversation, &sender, &asked, send.after) {
            Verdict::New(window) => self.append(now, worker, send, asked, Some((&sender, window))),
            Verdict::Repeat(answer) => self.repeat(worker, send, answer.sequence, answer.time_ms),
            Verdict::Reused => {
                self.counters.hit(Mark::NumberReused);
                Err(Refusal(code::NUMBER_REUSED, 0))
            }
            Verdict::Superseded => {
                self.counters.hit(Mark::Superseded);
                Err(Refusal(code::SUPERSEDED, 0))
            }
            Verdict::OutOfOrder => {
                self.counters.hit(Mark::OutOfOrder);
                Err(Refusal(code::OUT_OF_ORDER, RETRY_SOON_MS))
            }
            Verdict::LookUp => {
                self.look_up_window(&send.conversation, &sender);
                Err(Refusal(code::TRY_AGAIN, RETRY_SOON_MS))
            }
        }
    }

    /// Gives the first answer again.
    fn repeat(
        &mut self,
        worker: Origin,
        send: &Send,
        sequence: u64,
        time_ms: u64,
    ) -> Result<(), Refusal> {
        let waiting = self.commit.is_waiting();
        if waiting && !self.storage {
            // Its first answer may be held until there is room again: better told now.
            return Err(Refusal(code::STORAGE_UNAVAILABLE, RETRY_STORAGE_MS));
        }
        self.counters.hit(if waiting { Mark::RepeatBeforeDurable } else { Mark::RepeatAnswered });
        self.counters.repeats += 1;
        self.say_accepted(worker, send, sequence, time_ms);
        Ok(())
    }

    /// A request that has no number: its id tells whether it is a repeat.
    fn accept_unnumbered(&mut self, now: Now, worker: Origin, send: &Send) -> Result<(), Refusal> {
        let check = body_check(send.body);
        let bytes_max = self.settings.uuid_bytes_max;
        let shard = own(&mut self.shards, &send.conversation);
        let before = shard.uuids.len();
        shard.uuids.forget_old(now.wall_ms);
        let (found, has_room) =
            (shard.uuids.find(&send.device, &send.uuid).copied(), shard.uuids.has_room(bytes_max));
        self.counters.unnumbered -= (before - shard.uuids.len()) as u64;
        match found {
            Some(known) if known.conversation == send.conversation && known.check == check => {
                self.repeat(worker, send, known.sequence, known.time_ms)
            }
            Some(_) => {
                self.counters.hit(Mark::NumberReused);
                Err(Refusal(code::NUMBER_REUSED, 0))
            }
            None if !has_room => {
                self.counters.hit(Mark::UnnumberedFull);
                Err(Refusal(code::OVERLOADED, RETRY_STORAGE_MS))
            }
            None => {
                let (uuid, time_ms) = (send.uuid, now.wall_ms);
                let answer = Answer { client_seq: 0, sequence: 0, time_ms, uuid, check };
                self.append(now, worker, send, answer, None)
            }
        }
    }

    /// Numbers and appends a message. `sender` with its window, if the request has a number.
    fn append(
        &mut self,
        now: Now,
        worker: Origin,
        send: &Send,
        mut answer: Answer,
        sender: Option<(&Sender, Option<u32>)>,
    ) -> Result<(), Refusal> {
        if !self.storage {
            return Err(Refusal(code::STORAGE_UNAVAILABLE, RETRY_STORAGE_MS));
        }
        if self.commit.held_bytes() > self.settings.held_bytes_max {
            return Err(Refusal(code::OVERLOADED, RETRY_SOON_MS));
        }
        if [send.peer, send.user].iter().any(|user| self.is_backed_up(shard_of(user))) {
            self.counters.hit(Mark::StreamBackedUp);
            return Err(Refusal(code::OVERLOADED, RETRY_STORAGE_MS));
        }
        let shard = own(&mut self.shards, &send.conversation);
        let found = match sender.and_then(|(_, window)| window) {
            Some(window) => Some(shard.conversations.windows[window].conversation),
            None => shard.conversations.find(&send.conversation),
        };
        let conversation = match found {
            Some(conversation) => conversation,
            None if self.counters.conversations >= self.settings.conversations_max as u64 => {
                return Err(Refusal(code::OVERLOADED, RETRY_STORAGE_MS));
            }
            None => {
                self.counters.conversations += 1;
                shard.conversations.find_or_insert(&send.conversation)
            }
        };
        let sequence = shard.conversations.all[conversation].sequence + 1;
        shard.conversations.all[conversation].sequence = sequence;
        answer.sequence = sequence;
        let position = shard.step();
        let message = record::Message {
            conversation: send.conversation,
            sender: send.user,
            device: send.device,
            peer: send.peer,
            incarnation: send.incarnation,
            client_seq: send.client_seq,
            uuid: send.uuid,
            sequence,
            time_ms: now.wall_ms,
            content: send.content,
            receipts: send.receipts,
            sender_name: send.sender_name,
            device_name: send.device_name,
            peer_name: send.peer_name,
            body: send.body,
        };
        let offset = self.commit.run.len() as u64;
        let bytes = message.put(shard.number, position, &mut self.commit.run) as u32;
        self.commit.urgent |= send.level == 2;
        let number = shard.number;
        self.counters.accepted += 1;
        self.remember(now, send, conversation, answer, sender);
        self.say_accepted(worker, send, sequence, now.wall_ms);
        self.stream(now, number, position, &message, MessageAt::Run { offset, bytes });
        Ok(())
    }

    /// Keeps an answer for repeats of its request.
    fn remember(
        &mut self,
        now: Now,
        send: &Send,
        conversation: u32,
        answer: Answer,
        sender: Option<(&Sender, Option<u32>)>,
    ) {
        let shard = own(&mut self.shards, &send.conversation);
        let Some((sender, window)) = sender else {
            let Answer { sequence, time_ms, uuid, check, .. } = answer;
            let (device, conversation) = (send.device, send.conversation);
            let accepted = Accepted { device, uuid, conversation, sequence, time_ms, check };
            shard.uuids.remember(accepted);
            self.counters.unnumbered += 1;
            return;
        };
        let (held, number) = (shard.conversations.bytes, shard.number);
        let answers_max = self.settings.answers_max;
        shard.conversations.remember(conversation, sender, window, answer, answers_max);
        self.counters.window_bytes += (shard.conversations.bytes - held) as u64;
        self.spill_surplus(now, number, conversation);
    }

    /// Sends a message's entries on their way: the recipient's, then the sender's own.
    fn stream(
        &mut self,
        now: Now,
        source: u8,
        position: u64,
        message: &record::Message,
        at: MessageAt,
    ) {
        self.stream_to(now, source, position << 1, message, &message.peer, at);
        if message.peer != message.sender {
            self.stream_to(now, source, position << 1 | 1, message, &message.sender, at);
        }
    }

    fn stream_to(
        &mut self,
        now: Now,
        source: u8,
        streamed: u64,
        message: &record::Message,
        user: &Key,
        at: MessageAt,
    ) {
        let home = shard_of(user);
        let shard = self.shards[usize::from(source)].as_mut().expect("the source is ours");
        let last = &mut shard.streamed[usize::from(home)];
        let previous = std::mem::replace(last, streamed);
        let mut entry = entry_of(message, source, streamed, previous, user);
        if self.settings.owns(home) {
            self.apply(now, &entry, at);
            return;
        }
        if self.settings.remote {
            // Recovery gives no place for these here: they wait in their queue.
            if let MessageAt::Run { offset, bytes } = at {
                let place = (entry.position, entry.previous);
                self.keep_for(source, home, place, offset, bytes, |batch| entry.put(batch));
            }
            return;
        }
        let host = self.settings.host_of(home);
        if message.body.len() <= ENTRY_BODY_BYTES_MAX {
            entry.put(self.commit.peer(host));
            return;
        }
        // A long body travels whole, for live sessions, with the length of its record behind it.
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        body.extend_from_slice(message.body);
        let frame = self.commit.peer(host).len();
        let (MessageAt::Run { bytes, .. } | MessageAt::Log { bytes, .. }) = at;
        body.extend_from_slice(&bytes.to_le_bytes());
        entry.body = &body;
        entry.location = match at {
            MessageAt::Run { offset, .. } => {
                self.commit.patch_peer(host, frame + STREAM_LOCATION_AT, offset);
                u64::MAX
            }
            MessageAt::Log { location, .. } => location.0,
        };
        entry.put(self.commit.peer(host));
        self.scratch = body;
    }

    /// Streams a message found in the log whose entry for one mailbox is missing.
    pub(super) fn stream_again(&mut self, now: Now, found: &Undelivered) {
        if found.kind == record::Publish::KIND {
            return self.stream_topic_again(now, found);
        }
        let Ok(message) = record::Message::take(&found.payload) else {
            self.counters.unreadable += 1;
            return;
        };
        self.counters.hit(Mark::StreamedAgain);
        let user = if found.streamed & 1 == 1 { message.sender } else { message.peer };
        let at = MessageAt::Log { location: Location(found.location), bytes: found.bytes };
        self.stream_to(now, found.source, found.streamed, &message, &user, at);
    }
}

/// The entry of a message for the mailbox of `user`, with its body.
pub(super) fn entry_of<'a>(
    message: &record::Message<'a>,
    source: u8,
    position: u64,
    previous: u64,
    user: &Key,
) -> Stream<'a> {
    let own = *user == message.sender;
    Stream {
        source,
        position,
        previous,
        user: *user,
        device: message.device,
        conversation: message.conversation,
        sequence: message.sequence,
        incarnation: message.incarnation,
        client_seq: message.client_seq,
        uuid: message.uuid,
        time_ms: message.time_ms,
        content: message.content,
        receipts: message.receipts,
        own,
        location: 0,
        peer_name: if own { message.peer_name } else { message.sender_name },
        sender_name: message.sender_name,
        device_name: message.device_name,
        body: message.body,
    }
}
