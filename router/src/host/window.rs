//! Dedup windows on their way to the log and back.

use super::counters::Mark;
use super::entry::{Pending, Wanted};
use super::reading::ReadFor;
use super::settings::{LOOKUP_DEPTH_MAX, LOOKUPS_MAX};
use super::{Host, own};
use crate::conversation::{Sender, Spilled, decode_answers, fingerprint};
use crate::record::{self, Framed};
use crate::store::log::Location;
use hawser_codec::link::Key;
use hawser_codec::time::Now;

/// Windows that leave memory with one message: one comes, so two are enough to shrink.
const SPILLS_PER_MESSAGE_MAX: usize = 2;

/// A window being looked for in the log.
pub(super) struct LookUp {
    conversation: Key,
    sender: Sender,
    /// Reads made so far.
    depth: u8,
    location: Location,
    /// Where the look-up began: the window as it was spilled then.
    began: Location,
}

impl Host {
    /// Brings the windows of a shard back under their bound.
    pub(super) fn spill_surplus(&mut self, now: Now, number: u8, conversation: u32) {
        let bytes_max = self.settings.dedup_bytes_max;
        for _ in 0..SPILLS_PER_MESSAGE_MAX {
            let shard = self.shards[usize::from(number)].as_mut().expect("the shard is ours");
            let Some(index) = shard.conversations.surplus(conversation, bytes_max) else {
                return;
            };
            let held = shard.conversations.bytes;
            let window = shard.conversations.take(index);
            self.counters.window_bytes -= (held - shard.conversations.bytes) as u64;
            if window.used_ms.saturating_add(self.settings.retention_ms) < now.wall_ms {
                // A repeat of anything in it would be refused as too old.
                self.counters.hit(Mark::WindowExpired);
                continue;
            }
            let key = shard.conversations.all[window.conversation].key;
            let fingerprint = fingerprint(&key, &window.sender);
            let previous = shard.conversations.spilled(fingerprint).copied();
            let mut answers = std::mem::take(&mut self.scratch);
            answers.clear();
            window.encode_answers(&mut answers);
            let record = record::Window {
                conversation: key,
                device: window.sender.device,
                incarnation: window.sender.incarnation,
                highest: window.highest,
                used_ms: window.used_ms,
                previous: previous.map_or(0, |spilled| spilled.location.0),
                previous_bytes: previous.map_or(0, |spilled| spilled.bytes),
                answers: &answers,
            };
            let position = shard.step();
            let offset = self.commit.run.len() as u64;
            let bytes = record.put(number, position, &mut self.commit.run) as u32;
            self.scratch = answers;
            shard.conversations.set_spilled(Spilled {
                fingerprint,
                location: Location::NONE,
                bytes,
                looking: false,
            });
            let what = Wanted::Window { fingerprint, bytes };
            let run = self.commit.number;
            self.pending.push_back(Pending { run, offset, shard: number, what });
            self.counters.spills += 1;
            self.counters.hit(Mark::WindowSpilled);
        }
    }

    /// Asks the log for a window, unless that is under way or its record not durable yet.
    pub(super) fn look_up_window(&mut self, conversation: &Key, sender: &Sender) {
        let lookups = self.reading.lookups;
        let shard = own(&mut self.shards, conversation);
        let Some(spilled) = shard.conversations.spilled(fingerprint(conversation, sender)) else {
            // Dropped with its segment: nothing is known any more, and nothing will be.
            self.found_nothing(conversation, sender, true);
            return;
        };
        if spilled.location == Location::NONE || spilled.looking || lookups >= LOOKUPS_MAX {
            return;
        }
        let (location, bytes) = (spilled.location, spilled.bytes);
        spilled.looking = true;
        let (conversation, sender) = (*conversation, *sender);
        let look = LookUp { conversation, sender, depth: 1, location, began: location };
        self.reading.lookups += 1;
        self.reading.ask(location, bytes, ReadFor::Window(look));
    }

    /// The log answered.
    pub(super) fn take_window(&mut self, look: LookUp, bytes: Result<&[u8], i32>) {
        self.reading.lookups -= 1;
        let shard = own(&mut self.shards, &look.conversation);
        let spilled = shard.conversations.spilled(fingerprint(&look.conversation, &look.sender));
        if spilled.is_none_or(|spilled| !spilled.looking || spilled.location != look.began) {
            // The window was spilled anew meanwhile, with answers that this record does not have:
            // taken for the whole, it would let their requests in again. The next one looks there.
            return;
        }
        let gone = self.is_gone(look.location);
        let read = bytes.ok().and_then(|bytes| Framed::take(bytes).ok());
        let window = read
            .filter(|(framed, _)| framed.kind == record::Window::KIND)
            .and_then(|(framed, _)| record::Window::take(framed.payload).ok());
        let Some(window) = window else {
            if gone {
                self.found_nothing(&look.conversation, &look.sender, true);
                return;
            }
            self.counters.hit(Mark::ReadFailed);
            let shard = own(&mut self.shards, &look.conversation);
            let fingerprint = fingerprint(&look.conversation, &look.sender);
            if let Some(spilled) = shard.conversations.spilled(fingerprint) {
                spilled.looking = false;
            }
            return;
        };
        let previous = Location(window.previous);
        if window.conversation == look.conversation
            && window.device == look.sender.device
            && window.incarnation == look.sender.incarnation
        {
            self.found_window(&look, &window);
        } else if look.depth < LOOKUP_DEPTH_MAX && !self.is_gone(previous) {
            let look = LookUp { depth: look.depth + 1, location: previous, ..look };
            self.reading.lookups += 1;
            self.reading.ask(previous, window.previous_bytes, ReadFor::Window(look));
        } else {
            self.found_nothing(&look.conversation, &look.sender, false);
        }
    }

    fn found_window(&mut self, look: &LookUp, window: &record::Window) {
        self.counters.hit(Mark::WindowLookedUp);
        let answers_max = self.settings.answers_max;
        let shard = own(&mut self.shards, &look.conversation);
        let fingerprint = fingerprint(&look.conversation, &look.sender);
        let held = shard.conversations.bytes;
        shard.conversations.merge(
            &look.conversation,
            &look.sender,
            window.highest,
            window.used_ms,
            decode_answers(window.answers),
            answers_max,
        );
        self.counters.window_bytes += (shard.conversations.bytes - held) as u64;
        if look.depth > 1 {
            // Another sender's window with the same fingerprint stands in front of it.
            if let Some(spilled) = shard.conversations.spilled(fingerprint) {
                spilled.looking = false;
            }
        } else if window.previous == 0 {
            shard.conversations.forget_spilled(fingerprint);
        } else {
            // What was spilled before may hold older answers of the same sender: recovery opens
            // a new window beside one that had been spilled.
            shard.conversations.set_complete(&look.conversation, &look.sender, false);
            shard.conversations.set_spilled(Spilled {
                fingerprint,
                location: Location(window.previous),
                bytes: window.previous_bytes,
                looking: false,
            });
        }
    }

    /// Notes that the log knows no more of a sender than memory does.
    fn found_nothing(&mut self, conversation: &Key, sender: &Sender, forget: bool) {
        let answers_max = self.settings.answers_max;
        let shard = own(&mut self.shards, conversation);
        let held = shard.conversations.bytes;
        shard.conversations.merge(conversation, sender, 0, 0, std::iter::empty(), answers_max);
        self.counters.window_bytes += (shard.conversations.bytes - held) as u64;
        let fingerprint = fingerprint(conversation, sender);
        if forget {
            shard.conversations.forget_spilled(fingerprint);
        } else if let Some(spilled) = shard.conversations.spilled(fingerprint) {
            spilled.looking = false;
        }
    }
}
