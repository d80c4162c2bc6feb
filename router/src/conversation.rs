//! Conversations of one shard: their sequence and the dedup windows of the devices that send.
//!
//! A window belongs to (conversation, device, incarnation) and remembers the highest request
//! number and the latest answers. Windows are bounded in bytes; the one whose device wrote
//! longest ago leaves for the log, and 24 bytes stay that say where it went. A window that is in
//! memory but not `complete` may have older answers in the log.
//!
//! Invariant: a request number at or below `highest` is never given a second sequence.

use crate::record::ANSWER_BYTES;
use crate::slab::Slab;
use crate::store::log::Location;
use hashbrown::HashTable;
use hawser_codec::link::Key;
use std::collections::VecDeque;

/// Windows of one conversation in memory: they are searched one after another, so a client that
/// invents incarnations must not make the search long. The oldest beyond this is spilled.
pub(crate) const WINDOWS_PER_CONVERSATION_MAX: usize = 32;
/// What a window costs beside its answers: its slot and its list and allocator overhead.
const WINDOW_BYTES: usize = size_of::<Window>() + 16;
/// No index.
const NONE: u32 = u32::MAX;

/// Who sends, beside the conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sender {
    pub device: Key,
    pub incarnation: u64,
}

#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub client_seq: u64,
    pub sequence: u64,
    pub time_ms: u64,
    pub uuid: Key,
    /// CRC and length of the body: a repeat must have the same.
    pub check: u64,
}

/// CRC-32C and length of a body. Not proof against a forger, who could only deceive himself.
pub(crate) fn body_check(body: &[u8]) -> u64 {
    u64::from(crc32c::crc32c(body)) << 32 | body.len() as u64 & 0xffff_ffff
}

pub(crate) struct Conversation {
    pub key: Key,
    /// Last sequence given.
    pub sequence: u64,
    /// First of its windows.
    windows: u32,
}

pub(crate) struct Window {
    pub sender: Sender,
    pub highest: u64,
    pub used_ms: u64,
    pub answers: VecDeque<Answer>,
    pub conversation: u32,
    /// Next window of the same conversation.
    next: u32,
    older: u32,
    newer: u32,
    /// Nothing about this sender is in the log that is not here, or it has been looked for.
    pub complete: bool,
}

impl Window {
    fn bytes(&self) -> usize {
        WINDOW_BYTES + self.answers.capacity() * size_of::<Answer>()
    }

    fn answer(&self, client_seq: u64) -> Option<&Answer> {
        // Repeats ask for recent numbers, and numbers ascend.
        let at = self.answers.partition_point(|answer| answer.client_seq < client_seq);
        self.answers.get(at).filter(|answer| answer.client_seq == client_seq)
    }

    /// Answers as they stand in a record.
    pub fn encode_answers(&self, out: &mut Vec<u8>) {
        for answer in &self.answers {
            for number in [answer.client_seq, answer.sequence, answer.time_ms, answer.check] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&answer.uuid);
        }
    }
}

/// Answers out of a record; a torn last one is left out.
pub(crate) fn decode_answers(bytes: &[u8]) -> impl DoubleEndedIterator<Item = Answer> + '_ {
    bytes.chunks_exact(ANSWER_BYTES).map(|chunk| {
        let number = |at: usize| {
            u64::from_le_bytes(*chunk[at..].first_chunk().expect("an answer has 48 bytes"))
        };
        Answer {
            client_seq: number(0),
            sequence: number(8),
            time_ms: number(16),
            check: number(24),
            uuid: *chunk[32..].first_chunk().expect("an answer has 48 bytes"),
        }
    })
}

/// Where a spilled window went.
#[derive(Clone, Copy)]
pub(crate) struct Spilled {
    pub fingerprint: u64,
    /// None until its run is durable.
    pub location: Location,
    pub bytes: u32,
    /// A read is under way, or recovery looks for its record.
    pub looking: bool,
}

/// What a request number means.
pub(crate) enum Verdict {
    New(Option<u32>),
    Repeat(Answer),
    Reused,
    Superseded,
    OutOfOrder,
    /// The log has to be asked first.
    LookUp,
}

pub(crate) struct Conversations {
    table: HashTable<u32>,
    pub all: Slab<Conversation>,
    pub windows: Slab<Window>,
    spilled: HashTable<Spilled>,
    oldest: u32,
    newest: u32,
    /// Memory of all windows.
    pub bytes: usize,
}

fn spread(key: &Key) -> u64 {
    // Keys are keyed hashes already; the first byte is the shard and equal for all.
    u64::from_le_bytes(*key.last_chunk().expect("a key has 16 bytes"))
}

/// Identity of a window in the table of spilled ones.
pub(crate) fn fingerprint(conversation: &Key, sender: &Sender) -> u64 {
    let mixed = spread(conversation).rotate_left(23) ^ spread(&sender.device);
    (mixed ^ sender.incarnation.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_mul(0xff51_afd7_ed55_8ccd)
        .rotate_left(31)
}

impl Conversations {
    pub fn new() -> Conversations {
        Conversations {
            table: HashTable::new(),
            all: Slab::new(),
            windows: Slab::new(),
            spilled: HashTable::new(),
            oldest: NONE,
            newest: NONE,
            bytes: 0,
        }
    }

    pub fn find(&self, key: &Key) -> Option<u32> {
        self.table.find(spread(key), |index| self.all[*index].key == *key).copied()
    }

    pub fn find_or_insert(&mut self, key: &Key) -> u32 {
        if let Some(index) = self.find(key) {
            return index;
        }
        let index = self.all.insert(Conversation { key: *key, sequence: 0, windows: NONE });
        let all = &self.all;
        self.table.insert_unique(spread(key), index, |index| spread(&all[*index].key));
        index
    }

    fn find_window(&self, conversation: u32, sender: &Sender) -> Option<u32> {
        let mut at = self.all[conversation].windows;
        while at != NONE {
            let window = &self.windows[at];
            if window.sender == *sender {
                return Some(at);
            }
            at = window.next;
        }
        None
    }

    pub fn spilled(&mut self, fingerprint: u64) -> Option<&mut Spilled> {
        self.spilled.find_mut(fingerprint, |spilled| spilled.fingerprint == fingerprint)
    }

    pub fn spilled_all(&self) -> impl Iterator<Item = &Spilled> {
        self.spilled.iter()
    }

    /// Nothing is being looked for any more.
    pub fn end_search(&mut self) {
        for spilled in self.spilled.iter_mut() {
            spilled.looking = false;
        }
    }

    pub fn set_spilled(&mut self, spilled: Spilled) {
        match self.spilled(spilled.fingerprint) {
            Some(there) => *there = spilled,
            None => {
                self.spilled
                    .insert_unique(spilled.fingerprint, spilled, |spilled| spilled.fingerprint);
            }
        }
    }

    pub fn forget_spilled(&mut self, fingerprint: u64) {
        if let Ok(entry) =
            self.spilled.find_entry(fingerprint, |spilled| spilled.fingerprint == fingerprint)
        {
            entry.remove();
        }
    }

    /// Drops what was spilled into segments that are gone: all of it is older than a repeat may be.
    pub fn drop_spilled(&mut self, lane: u8, below: u32) {
        self.spilled.retain(|spilled| {
            let at = spilled.location;
            at == Location::NONE || at.lane() != lane || at.segment() >= below
        });
    }

    /// Judges a request number. Changes nothing.
    pub fn judge(&mut self, key: &Key, sender: &Sender, asked: &Answer, after: u64) -> Verdict {
        let window = self.find(key).and_then(|index| self.find_window(index, sender));
        let Some(index) = window else {
            if self.spilled(fingerprint(key, sender)).is_some() {
                return Verdict::LookUp;
            }
            return if after == 0 { Verdict::New(None) } else { Verdict::OutOfOrder };
        };
        let window = &self.windows[index];
        if asked.client_seq > window.highest {
            return match after {
                0 => Verdict::New(Some(index)),
                after if after == window.highest => Verdict::New(Some(index)),
                after if window.answer(after).is_some() => Verdict::New(Some(index)),
                after if after < window.highest && !window.complete => Verdict::LookUp,
                _ => Verdict::OutOfOrder,
            };
        }
        match window.answer(asked.client_seq) {
            Some(answer) if answer.uuid == asked.uuid && answer.check == asked.check => {
                Verdict::Repeat(*answer)
            }
            Some(_) => Verdict::Reused,
            None if window.complete => Verdict::Superseded,
            None => Verdict::LookUp,
        }
    }

    /// Remembers an answer. `window` as judged.
    pub fn remember(
        &mut self,
        conversation: u32,
        sender: &Sender,
        window: Option<u32>,
        answer: Answer,
        answers_max: usize,
    ) {
        let index = match window.or_else(|| self.find_window(conversation, sender)) {
            Some(index) => index,
            None => self.open_window(conversation, sender),
        };
        self.unlink_age(index);
        let window = &mut self.windows[index];
        let before = window.bytes();
        if window.answers.len() >= answers_max {
            window.answers.pop_front();
        }
        window.answers.push_back(answer);
        window.highest = answer.client_seq;
        window.used_ms = answer.time_ms;
        self.bytes += window.bytes() - before;
        self.link_newest(index);
    }

    /// Puts what the log knew of a sender behind what is in memory. Also called with nothing, to
    /// note that the log knows nothing.
    pub fn merge(
        &mut self,
        key: &Key,
        sender: &Sender,
        highest: u64,
        used_ms: u64,
        answers: impl DoubleEndedIterator<Item = Answer>,
        answers_max: usize,
    ) {
        let conversation = self.find_or_insert(key);
        let index = match self.find_window(conversation, sender) {
            Some(index) => index,
            None => self.open_window(conversation, sender),
        };
        let window = &mut self.windows[index];
        let before = window.bytes();
        let lowest = window.answers.front().map_or(u64::MAX, |answer| answer.client_seq);
        for answer in answers.rev().filter(|answer| answer.client_seq < lowest) {
            if window.answers.len() >= answers_max {
                break;
            }
            window.answers.push_front(answer);
        }
        window.highest = window.highest.max(highest);
        window.used_ms = window.used_ms.max(used_ms);
        window.complete = true;
        self.bytes += window.bytes() - before;
    }

    /// Whether the log may know more of a sender than its window does.
    pub fn set_complete(&mut self, key: &Key, sender: &Sender, complete: bool) {
        let window = self.find(key).and_then(|index| self.find_window(index, sender));
        if let Some(index) = window {
            self.windows[index].complete = complete;
        }
    }

    /// Highest number of a sender in memory.
    pub fn highest(&self, conversation: u32, sender: &Sender) -> u64 {
        self.find_window(conversation, sender).map_or(0, |index| self.windows[index].highest)
    }

    fn open_window(&mut self, conversation: u32, sender: &Sender) -> u32 {
        let key = self.all[conversation].key;
        let complete = self.spilled(fingerprint(&key, sender)).is_none();
        let window = Window {
            sender: *sender,
            highest: 0,
            used_ms: 0,
            answers: VecDeque::new(),
            conversation,
            next: self.all[conversation].windows,
            older: NONE,
            newer: NONE,
            complete,
        };
        self.bytes += window.bytes();
        let index = self.windows.insert(window);
        self.all[conversation].windows = index;
        self.link_newest(index);
        index
    }

    /// The window to spill: the conversation's last beyond its bound, or the shard's oldest.
    pub fn surplus(&self, conversation: u32, bytes_max: usize) -> Option<u32> {
        let mut at = self.all[conversation].windows;
        let mut count = 1;
        while at != NONE && self.windows[at].next != NONE {
            at = self.windows[at].next;
            count += 1;
        }
        if count > WINDOWS_PER_CONVERSATION_MAX {
            return Some(at);
        }
        // The newest stays whatever it weighs, else its device would be looked up for ever.
        (self.bytes > bytes_max && self.oldest != self.newest).then_some(self.oldest)
    }

    /// Takes a window out of memory.
    pub fn take(&mut self, index: u32) -> Window {
        self.unlink_age(index);
        let conversation = self.windows[index].conversation;
        let next = self.windows[index].next;
        let mut at = self.all[conversation].windows;
        if at == index {
            self.all[conversation].windows = next;
        } else {
            while self.windows[at].next != index {
                at = self.windows[at].next;
            }
            self.windows[at].next = next;
        }
        self.bytes -= self.windows[index].bytes();
        let window = &mut self.windows[index];
        let taken = Window { answers: std::mem::take(&mut window.answers), ..*window };
        self.windows.release(index);
        taken
    }

    /// Takes the window of a sender out of memory, if it is there.
    pub fn take_sender(&mut self, key: &Key, sender: &Sender) -> Option<Window> {
        let conversation = self.find(key)?;
        let index = self.find_window(conversation, sender)?;
        Some(self.take(index))
    }

    /// Windows, the one that was used longest ago first.
    pub fn by_age(&self) -> impl Iterator<Item = &Window> {
        let mut at = self.oldest;
        std::iter::from_fn(move || {
            let window = (at != NONE).then(|| &self.windows[at])?;
            at = window.newer;
            Some(window)
        })
    }

    fn unlink_age(&mut self, index: u32) {
        let (older, newer) = (self.windows[index].older, self.windows[index].newer);
        match older {
            NONE => self.oldest = newer,
            older => self.windows[older].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.windows[newer].older = older,
        }
    }

    fn link_newest(&mut self, index: u32) {
        let older = self.newest;
        self.windows[index].older = older;
        self.windows[index].newer = NONE;
        match older {
            NONE => self.oldest = index,
            older => self.windows[older].newer = index,
        }
        self.newest = index;
    }
}
