//! Judge of a chat: what was sent and acknowledged against what every device saw.
//!
//! Pure, and independent of the client's own bookkeeping: a message is known by what its body
//! says, so a doubled one is found under whatever number it comes. Nothing is forgotten: memory
//! grows with the messages of a run.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// A message: the device that sent it, and its count there (from 1, over all conversations).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    /// Index of the sending device.
    pub device: u32,
    /// Its `client_seq`.
    pub count: u64,
}

/// Violations kept in words.
const EXAMPLES_MAX: usize = 10;

#[derive(Debug)]
struct Sent {
    to: u32,
    /// Count among the messages of this device in this conversation.
    place: u64,
    acknowledged: Option<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    messages: HashSet<Id>,
    /// Last sequence by the other user.
    sequences: HashMap<u32, u64>,
    /// Last place by the other user and sending device.
    places: HashMap<(u32, u32), u64>,
}

/// See the module. Users are numbered; user u has the devices that [`Ledger::device`] named.
#[derive(Debug, Default)]
pub struct Ledger {
    users: Vec<u32>,
    devices: HashMap<u32, Vec<u32>>,
    /// Pairs of acknowledged message and device that should see it and has not.
    outstanding: u64,
    /// The same by device.
    outstanding_of: Vec<u64>,
    sent: HashMap<Id, Sent>,
    next_place: HashMap<(u32, u32), u64>,
    seen: Vec<Seen>,
    /// One order for all: which message has a sequence of a conversation.
    timelines: HashMap<([u32; 2], u64), Id>,
    verdict: Verdict,
}

/// Counts, and the first violations in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages given to a client.
    pub sent: u64,
    /// Of these: durable, as far as the sender knows.
    pub acknowledged: u64,
    /// Of these: refused for good.
    pub refused: u64,
    /// Entries seen, over all devices.
    pub delivered: u64,
    /// Acknowledged and not seen, over all devices that should have.
    pub lost: u64,
    /// Seen twice by a device, or under two sequences.
    pub doubled: u64,
    /// Seen out of its conversation's order or its sender's.
    pub reordered: u64,
    /// Not what was sent, or not for who saw it.
    pub corrupted: u64,
    /// Devices whose session the server ended for good.
    pub ended: u64,
    /// What exactly, the first few.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.corrupted + self.ended == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {}, acknowledged {}, refused {}, delivered {}, lost {}, doubled {}, \
             reordered {}, corrupted {}, ended {}",
            self.sent,
            self.acknowledged,
            self.refused,
            self.delivered,
            self.lost,
            self.doubled,
            self.reordered,
            self.corrupted,
            self.ended
        )?;
        self.examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

impl Ledger {
    /// Another device of `user`; gives its index.
    pub fn device(&mut self, user: u32) -> u32 {
        let device = self.users.len() as u32;
        let concerns = |(id, sent): &(&Id, &Sent)| {
            sent.acknowledged.is_some()
                && (sent.to == user || self.users[id.device as usize] == user)
        };
        let unseen = self.sent.iter().filter(concerns).count() as u64;
        self.outstanding += unseen;
        self.outstanding_of.push(unseen);
        self.users.push(user);
        self.seen.push(Seen::default());
        self.devices.entry(user).or_default().push(device);
        device
    }

    /// Devices of the two users of a message.
    fn concerned(&self, id: Id, to: u32) -> impl Iterator<Item = u32> + '_ {
        let [one, other] = pair(self.users[id.device as usize], to);
        let second = (other != one).then_some(other);
        [Some(one), second].into_iter().flatten().flat_map(|user| &self.devices[&user]).copied()
    }

    fn wrong(&mut self, which: fn(&mut Verdict) -> &mut u64, what: String) {
        *which(&mut self.verdict) += 1;
        if self.verdict.examples.len() < EXAMPLES_MAX {
            self.verdict.examples.push(what);
        }
    }

    /// A device gave its client a message for user `to`.
    pub fn sent(&mut self, id: Id, to: u32) {
        self.verdict.sent += 1;
        let place = self.next_place.entry((id.device, to)).or_default();
        *place += 1;
        let sent = Sent { to, place: *place, acknowledged: None };
        let known = self.sent.insert(id, sent);
        assert!(known.is_none(), "a client gave the number of {id:?} twice");
    }

    /// The sender was told that its message is durable, with this sequence.
    pub fn acknowledged(&mut self, id: Id, sequence: u64) {
        let Some(sent) = self.sent.get_mut(&id) else {
            return self.wrong(|v| &mut v.corrupted, format!("{id:?} acknowledged, never sent"));
        };
        let to = sent.to;
        let is_first = sent.acknowledged.is_none();
        let before = *sent.acknowledged.get_or_insert(sequence);
        if before != sequence {
            let what = format!("{id:?} acknowledged as {before} and as {sequence}");
            self.wrong(|v| &mut v.doubled, what);
        }
        if is_first {
            self.verdict.acknowledged += 1;
            let unseen = |device: &u32| !self.seen[*device as usize].messages.contains(&id);
            let unseen: Vec<u32> = self.concerned(id, to).filter(unseen).collect();
            self.outstanding += unseen.len() as u64;
            unseen.iter().for_each(|device| self.outstanding_of[*device as usize] += 1);
        }
        let pair = pair(self.users[id.device as usize], to);
        self.place(pair, sequence, id);
    }

    /// The sender was told that its message will never be accepted.
    pub fn refused(&mut self, id: Id) {
        self.verdict.refused += 1;
        self.sent.remove(&id);
    }

    /// The server ended a device's session for good, which a device that did nothing wrong must
    /// never meet.
    pub fn ended(&mut self, device: u32, why: &str) {
        self.wrong(|v| &mut v.ended, format!("session of device {device} ended: {why}"));
    }

    /// Nothing is wrong so far, whatever is still to come.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean()
    }

    fn place(&mut self, pair: [u32; 2], sequence: u64, id: Id) {
        let known = *self.timelines.entry((pair, sequence)).or_insert(id);
        if known != id {
            let what = format!("sequence {sequence} of {pair:?} is {known:?} and {id:?}");
            self.wrong(|v| &mut v.doubled, what);
        }
    }

    /// A device saw a message in its conversation with user `with`.
    pub fn seen(&mut self, device: u32, with: u32, sequence: u64, id: Id) {
        self.verdict.delivered += 1;
        let user = self.users[device as usize];
        let sender = self.users.get(id.device as usize).copied();
        let Some(&Sent { to, place, acknowledged }) = self.sent.get(&id) else {
            return self.wrong(|v| &mut v.corrupted, format!("device {device} saw unsent {id:?}"));
        };
        if sender.map(|sender| pair(sender, to)) != Some(pair(user, with)) {
            let what = format!("device {device} of {user} saw {id:?} in its chat with {with}");
            return self.wrong(|v| &mut v.corrupted, what);
        }
        self.place(pair(user, with), sequence, id);
        let seen = &mut self.seen[device as usize];
        let is_new = seen.messages.insert(id);
        let was_outstanding = u64::from(is_new && acknowledged.is_some());
        self.outstanding -= was_outstanding;
        self.outstanding_of[device as usize] -= was_outstanding;
        let last = std::mem::replace(seen.sequences.entry(with).or_default(), sequence);
        let last_place =
            std::mem::replace(seen.places.entry((with, id.device)).or_default(), place);
        if !is_new {
            self.wrong(|v| &mut v.doubled, format!("device {device} saw {id:?} twice"));
        } else if sequence != last + 1 {
            let what = format!("device {device} saw {id:?} as {sequence} after {last}");
            self.wrong(|v| &mut v.reordered, what);
        } else if place <= last_place {
            let what = format!("device {device} saw {id:?} ({place}) after {last_place}");
            self.wrong(|v| &mut v.reordered, what);
        }
    }

    /// Messages that were given to a client and are neither acknowledged nor refused.
    pub fn unanswered(&self) -> u64 {
        self.verdict.sent - self.verdict.acknowledged - self.verdict.refused
    }

    /// How many acknowledged messages some device has still to see.
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// The same for one device.
    pub fn outstanding_of(&self, device: u32) -> u64 {
        self.outstanding_of[device as usize]
    }

    fn missing(&self) -> impl Iterator<Item = (u32, Id)> + '_ {
        let acknowledged = self.sent.iter().filter(|(_, sent)| sent.acknowledged.is_some());
        acknowledged.flat_map(|(id, sent)| {
            let unseen = |device: &u32| !self.seen[*device as usize].messages.contains(id);
            self.concerned(*id, sent.to).filter(unseen).map(|device| (device, *id))
        })
    }

    /// Acknowledged messages so far.
    pub fn acknowledged_count(&self) -> u64 {
        self.verdict.acknowledged
    }

    /// Judges the whole; what has not been seen by now is lost.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = self.verdict.clone();
        for (device, id) in self.missing() {
            verdict.lost += 1;
            if verdict.examples.len() < EXAMPLES_MAX {
                verdict.examples.push(format!("device {device} never saw {id:?}"));
            }
        }
        verdict
    }
}

/// Name of the conversation of two users.
fn pair(one: u32, other: u32) -> [u32; 2] {
    [one.min(other), one.max(other)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Id = Id { device: 0, count: 1 };
    const SECOND: Id = Id { device: 0, count: 2 };

    /// Device 0 of user 0 sends two messages to user 1, who has device 1.
    fn two_sent() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.device(0);
        ledger.device(1);
        for (id, sequence) in [(FIRST, 1), (SECOND, 2)] {
            ledger.sent(id, 1);
            ledger.acknowledged(id, sequence);
            ledger.seen(0, 1, sequence, id);
        }
        ledger
    }

    #[test]
    fn what_arrives_once_in_order_is_clean() {
        let mut ledger = two_sent();
        ledger.seen(1, 0, 1, FIRST);
        ledger.seen(1, 0, 2, SECOND);
        assert!(ledger.verdict().is_clean(), "{}", ledger.verdict());
        assert_eq!((ledger.verdict().acknowledged, ledger.verdict().delivered), (2, 4));
    }

    #[test]
    fn missing_message_is_lost() {
        let mut ledger = two_sent();
        ledger.seen(1, 0, 1, FIRST);
        assert_eq!((ledger.verdict().lost, ledger.outstanding()), (1, 1));
        let late = ledger.device(1);
        assert_eq!(ledger.outstanding(), 3, "a new device has both to see");
        assert_eq!(ledger.outstanding_of(late), 2);
        ledger.seen(late, 0, 1, FIRST);
        ledger.seen(late, 0, 2, SECOND);
        ledger.seen(1, 0, 2, SECOND);
        assert_eq!((ledger.verdict().lost, ledger.outstanding()), (0, 0));
        let third = Id { device: 0, count: 3 };
        ledger.sent(third, 1);
        assert_eq!((ledger.outstanding(), ledger.unanswered()), (0, 1));
        ledger.acknowledged(third, 3);
        assert_eq!((ledger.outstanding(), ledger.unanswered()), (3, 0));
    }

    #[test]
    fn message_seen_twice_or_under_two_sequences_is_doubled() {
        let mut ledger = two_sent();
        ledger.seen(1, 0, 1, FIRST);
        ledger.seen(1, 0, 2, FIRST);
        assert!(ledger.verdict().doubled >= 1);
        let mut ledger = two_sent();
        ledger.acknowledged(FIRST, 3);
        assert_eq!(ledger.verdict().doubled, 1);
    }

    #[test]
    fn swapped_messages_are_reordered() {
        let mut ledger = two_sent();
        ledger.seen(1, 0, 2, SECOND);
        ledger.seen(1, 0, 1, FIRST);
        assert!(ledger.verdict().reordered >= 1);
    }

    #[test]
    fn message_in_a_strange_mailbox_or_never_sent_is_corrupted() {
        let mut ledger = two_sent();
        ledger.device(2);
        ledger.seen(2, 0, 1, FIRST);
        ledger.seen(1, 0, 1, Id { device: 0, count: 9 });
        assert_eq!(ledger.verdict().corrupted, 2);
    }
}
