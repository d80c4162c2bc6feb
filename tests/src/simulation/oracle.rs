//! What every application sent, heard acknowledged and was shown, and what may not happen to it.
//!
//! Nothing here is forgotten when a process dies: a number that was shown once, in whatever life
//! of whatever process, means the same message for ever.

use hawser_client::{Event, Message};
use std::collections::BTreeMap;

/// What a run did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A device was not shown what is in its mailbox, or a message not taken, within the bound.
    Missing(String),
    /// A message was shown, numbered or answered twice.
    Doubled(String),
    /// A conversation or a sender's order is not kept.
    Reordered(String),
    /// A number was shown with two contents.
    Renumbered(String),
    /// A message is not what was sent, or nobody sent it.
    Corrupted(String),
    /// The server refused for good what it has to take.
    Refused(String),
    /// Something was not given back, or a table is not empty at the end.
    Leaked(String),
    /// The process could not start from what the last one left.
    Unrecoverable(String),
    /// The system went on without ever coming to rest.
    Restless(String),
    /// Product code panicked.
    Panicked(String),
}

/// Name of a message: sending device and its number there.
type Id = (usize, u64);

#[derive(Clone, Debug)]
struct Sent {
    to: usize,
    body: Vec<u8>,
    acknowledged: Option<u64>,
}

/// What one device's application has been shown.
#[derive(Clone, Debug, Default)]
struct View {
    user: usize,
    /// Highest mailbox number.
    last: u64,
    /// Highest sequence by other user.
    sequences: BTreeMap<usize, u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Oracle {
    users: Vec<String>,
    devices: Vec<(usize, String)>,
    views: Vec<View>,
    sent: BTreeMap<Id, Sent>,
    by_uuid: BTreeMap<[u8; 16], Id>,
    /// Sequence to message, by pair of users.
    conversations: BTreeMap<(usize, usize), BTreeMap<u64, Id>>,
    /// Number to message, by user.
    mailboxes: Vec<BTreeMap<u64, Id>>,
    events: u64,
}

impl Oracle {
    /// An oracle for `users` and devices given as (user, name).
    pub fn new(users: Vec<String>, devices: Vec<(usize, String)>) -> Self {
        let views = devices.iter().map(|(user, _)| View { user: *user, ..View::default() });
        Self {
            mailboxes: vec![BTreeMap::new(); users.len()],
            views: views.collect(),
            users,
            devices,
            ..Self::default()
        }
    }

    /// Messages sent.
    pub fn messages(&self) -> usize {
        self.sent.len()
    }

    /// Events seen.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The application of `device` sends.
    pub fn on_send(&mut self, device: usize, number: u64, to: usize, uuid: [u8; 16], body: &[u8]) {
        let sent = Sent { to, body: body.to_vec(), acknowledged: None };
        self.sent.insert((device, number), sent);
        self.by_uuid.insert(uuid, (device, number));
    }

    /// The application of `device` is told something.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub fn on_event(&mut self, device: usize, event: &Event) -> Result<(), Violation> {
        self.events += 1;
        match event {
            Event::Acknowledged { client_seq, sequence, .. } => {
                self.on_acknowledged((device, *client_seq), *sequence)
            }
            Event::Message(message) => self.on_message(device, message),
            Event::Own { number, conversation, sequence, client_seq } => {
                let Some(client_seq) = client_seq else {
                    return Err(Violation::Corrupted(format!("own entry {number} is not ours")));
                };
                let id = (device, *client_seq);
                self.on_entry(device, *number, conversation, *sequence, id)
            }
            Event::Refused { client_seq, code, text } => {
                Err(Violation::Refused(format!("{device}/{client_seq}: {code} {text}")))
            }
            Event::Expired { from, to } => {
                Err(Violation::Missing(format!("device {device}: {from} to {to} expired")))
            }
            Event::Ended { code, text } => {
                Err(Violation::Refused(format!("device {device} ended: {code} {text}")))
            }
            Event::State(_) | Event::Receipt { .. } | Event::GoingAway { .. } => Ok(()),
        }
    }

    fn on_acknowledged(&mut self, id: Id, sequence: u64) -> Result<(), Violation> {
        let Some(sent) = self.sent.get_mut(&id) else {
            return Err(Violation::Corrupted(format!("{id:?} was acknowledged and never sent")));
        };
        if sent.acknowledged.replace(sequence).is_some() {
            return Err(Violation::Doubled(format!("{id:?} was answered twice")));
        }
        let to = sent.to;
        self.bind_sequence(id, to, sequence)
    }

    fn on_message(&mut self, device: usize, message: &Message) -> Result<(), Violation> {
        let Some(id) = self.by_uuid.get(&message.uuid).copied() else {
            return Err(Violation::Corrupted(format!("nobody sent {:?}", message.uuid)));
        };
        let sent = &self.sent[&id];
        let (sender, name) = &self.devices[id.0];
        if sent.body != message.body
            || message.sender != self.users[*sender]
            || message.device != *name
        {
            return Err(Violation::Corrupted(format!("{id:?} came as {message:?}")));
        }
        self.on_entry(device, message.number, &message.conversation, message.sequence, id)
    }

    fn on_entry(
        &mut self,
        device: usize,
        number: u64,
        conversation: &str,
        sequence: u64,
        id: Id,
    ) -> Result<(), Violation> {
        let Some(sent) = self.sent.get(&id) else {
            return Err(Violation::Corrupted(format!("{id:?} was never sent")));
        };
        let (from, to) = (self.devices[id.0].0, sent.to);
        let user = self.views[device].user;
        let other = if user == from { to } else { from };
        if (user != from && user != to) || self.users[other] != conversation {
            let text = format!("{id:?} of {from} to {to} came to {user} in {conversation}");
            return Err(Violation::Corrupted(text));
        }
        self.bind_sequence(id, to, sequence)?;
        self.bind_number(user, number, id)?;
        let view = &mut self.views[device];
        let expected = view.last + 1;
        if number != expected {
            let text = format!("device {device} was shown {number}, not {expected}");
            return Err(if number < expected {
                Violation::Doubled(text)
            } else {
                Violation::Missing(text)
            });
        }
        view.last = number;
        let last = view.sequences.entry(other).or_default();
        let expected = *last + 1;
        *last = sequence;
        if sequence != expected {
            let text = format!("device {device}, {conversation}: {sequence}, not {expected}");
            return Err(Violation::Reordered(text));
        }
        Ok(())
    }

    /// A sequence belongs to one message, and a message has one sequence.
    fn bind_sequence(&mut self, id: Id, to: usize, sequence: u64) -> Result<(), Violation> {
        let from = self.devices[id.0].0;
        let pair = (from.min(to), from.max(to));
        let conversation = self.conversations.entry(pair).or_default();
        if let Some(known) = conversation.get(&sequence) {
            if *known == id {
                return Ok(());
            }
            let text = format!("{pair:?} #{sequence}: {known:?}, then {id:?}");
            return Err(Violation::Renumbered(text));
        }
        if let Some((known, _)) = conversation.iter().find(|(_, known)| **known == id) {
            let text = format!("{id:?} in {pair:?}: #{known} and #{sequence}");
            return Err(Violation::Doubled(text));
        }
        conversation.insert(sequence, id);
        let before = conversation.range(..sequence).rev().find(|(_, other)| other.0 == id.0);
        let after = conversation.range(sequence + 1..).find(|(_, other)| other.0 == id.0);
        let is_behind = before.is_none_or(|(_, other)| other.1 < id.1);
        let is_before = after.is_none_or(|(_, other)| other.1 > id.1);
        if is_behind && is_before {
            return Ok(());
        }
        Err(Violation::Reordered(format!(
            "{id:?} in {pair:?} at #{sequence}: {before:?} {after:?}"
        )))
    }

    /// A mailbox number belongs to one message, and a message has one number in a mailbox.
    fn bind_number(&mut self, user: usize, number: u64, id: Id) -> Result<(), Violation> {
        let mailbox = &mut self.mailboxes[user];
        match mailbox.get(&number) {
            Some(known) if *known == id => return Ok(()),
            Some(known) => {
                let text = format!("mailbox of {user}, {number}: {known:?}, then {id:?}");
                return Err(Violation::Renumbered(text));
            }
            None => {}
        }
        if let Some((known, _)) = mailbox.iter().find(|(_, known)| **known == id) {
            let text = format!("{id:?} in mailbox of {user}: {known} and {number}");
            return Err(Violation::Doubled(text));
        }
        mailbox.insert(number, id);
        Ok(())
    }

    /// What is still owed, for all devices that `counts` says count; `None`: nothing.
    pub fn owed(&self, counts: impl Fn(usize) -> bool) -> Option<Violation> {
        for (id, sent) in &self.sent {
            if sent.acknowledged.is_none() {
                return Some(Violation::Missing(format!("{id:?} was never acknowledged")));
            }
        }
        let mut entries = vec![0; self.users.len()];
        for (id, sent) in &self.sent {
            let from = self.devices[id.0].0;
            entries[from] += 1;
            entries[sent.to] += u64::from(sent.to != from);
        }
        for (device, view) in self.views.iter().enumerate().filter(|(device, _)| counts(*device)) {
            let owed = entries[view.user];
            if view.last < owed {
                let text = format!("device {device} was shown {} of {owed}", view.last);
                return Some(Violation::Missing(text));
            }
        }
        None
    }
}
