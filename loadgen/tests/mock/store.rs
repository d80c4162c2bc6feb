//! Users, mailboxes and conversations. Locks are taken in the order accepted, conversation,
//! mailbox, and never two of a kind.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::Write,
    net::TcpStream,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hawser_codec::{
    frame::FLAG_PAGE,
    message::{self as wire, Encoder, Message as Wire},
};

use super::{lock, shut};

/// Entries a mailbox keeps: a client that was away for longer finds a hole.
const ENTRIES_MAX: usize = 1024;

/// Answers kept of a user to be given again; clients have a few requests unanswered at most.
const ACCEPTED_MAX: usize = 1024;

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Message {
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub sequence: u64,
    pub incarnation: u64,
    pub client_seq: u64,
    pub uuid: [u8; 16],
    pub body: Vec<u8>,
}

/// Two users, the lesser name first.
type Pair = (Arc<str>, Arc<str>);

/// Everything the server remembers.
#[derive(Debug, Default)]
pub struct Store {
    users: Mutex<HashMap<Arc<str>, Arc<User>>>,
    conversations: Mutex<HashMap<Pair, Arc<Conversation>>>,
    messages: AtomicU64,
}

impl Store {
    /// The user of this name, made if there is none.
    pub fn user(&self, name: &str) -> Arc<User> {
        let mut users = lock(&self.users);
        if let Some(user) = users.get(name) {
            return Arc::clone(user);
        }
        let name: Arc<str> = name.into();
        let user = Arc::new(User {
            name: Arc::clone(&name),
            accepted: Mutex::default(),
            mailbox: Mutex::default(),
        });
        users.insert(name, Arc::clone(&user));
        user
    }

    /// Some user who is neither of these and has a connection.
    pub fn stranger(&self, one: &str, other: &str) -> Option<Arc<User>> {
        let users = lock(&self.users);
        let mut strangers =
            users.values().filter(|user| *user.name != *one && *user.name != *other);
        strangers.find(|user| user.mailbox().socket.is_some()).map(Arc::clone)
    }

    /// What two users have with each other.
    pub fn conversation(&self, one: &User, other: &User) -> Arc<Conversation> {
        let mut pair = [&one.name, &other.name];
        pair.sort();
        let key = (Arc::clone(pair[0]), Arc::clone(pair[1]));
        Arc::clone(lock(&self.conversations).entry(key).or_default())
    }

    /// Number of the next message, from 1.
    pub fn count_message(&self) -> u64 {
        self.messages.fetch_add(1, Relaxed) + 1
    }

    /// Messages taken so far.
    pub fn messages(&self) -> u64 {
        self.messages.load(Relaxed)
    }

    /// Breaks every connection.
    pub fn hang_up(&self) {
        for user in lock(&self.users).values() {
            user.mailbox().hang_up();
        }
    }
}

/// A user.
#[derive(Debug)]
pub struct User {
    pub name: Arc<str>,
    accepted: Mutex<Accepted>,
    mailbox: Mutex<Mailbox>,
}

impl User {
    pub fn accepted(&self) -> MutexGuard<'_, Accepted> {
        lock(&self.accepted)
    }

    pub fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        lock(&self.mailbox)
    }
}

/// Sequences given to a user's requests, by incarnation and number.
#[derive(Debug, Default)]
pub struct Accepted(BTreeMap<(u64, u64), u64>);

impl Accepted {
    pub fn get(&self, identity: (u64, u64)) -> Option<u64> {
        self.0.get(&identity).copied()
    }

    pub fn insert(&mut self, identity: (u64, u64), sequence: u64) {
        self.0.insert(identity, sequence);
        if self.0.len() > ACCEPTED_MAX {
            self.0.pop_first();
        }
    }
}

/// Two users' messages.
#[derive(Debug, Default)]
pub struct Conversation(Mutex<Course>);

/// What a conversation has come to.
#[derive(Debug, Default)]
pub struct Course {
    sequence: u64,
    held_back: Option<Arc<Message>>,
}

impl Conversation {
    pub fn hold(&self) -> MutexGuard<'_, Course> {
        lock(&self.0)
    }
}

impl Course {
    /// Next sequence.
    pub fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Keeps a message for after the next one of the same way.
    pub fn hold_back(&mut self, message: Arc<Message>) {
        self.held_back = Some(message);
    }

    /// The message held back, if it has the same way as this later one.
    pub fn release_behind(&mut self, next: &Message) -> Option<Arc<Message>> {
        self.held_back.take_if(|late| late.to == next.to)
    }
}

/// A user's entries and the connection they go out on.
#[derive(Debug, Default)]
pub struct Mailbox {
    entries: VecDeque<(Arc<Message>, bool)>,
    /// Number of the last entry dropped.
    floor: u64,
    socket: Option<TcpStream>,
    /// Connections so far.
    lives: u64,
    encoder: Encoder,
    outbound: Vec<u8>,
}

impl Mailbox {
    pub fn head(&self) -> u64 {
        self.floor + self.entries.len() as u64
    }

    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Another connection takes the place of the last one; gives its number.
    pub fn connect(&mut self, socket: TcpStream) -> u64 {
        self.hang_up();
        self.socket = Some(socket);
        self.lives += 1;
        self.lives
    }

    /// The connection with this number is over. Its descriptor is needed: proofs have thousands of
    /// users one after the other.
    pub fn disconnect(&mut self, life: u64) {
        if self.lives == life {
            self.socket = None;
        }
    }

    pub fn hang_up(&mut self) {
        if let Some(socket) = self.socket.take() {
            shut(&socket);
        }
    }

    /// Sends a message to the user's connection, if there is one.
    pub fn put(&mut self, flags: u8, message: &Wire<'_>) {
        self.outbound.clear();
        self.encoder.message(&mut self.outbound, 0, flags, message);
        let sent = self.socket.as_mut().map(|socket| socket.write_all(&self.outbound));
        // A client that has gone reads it from its mailbox later.
        if matches!(sent, Some(Err(_))) {
            self.hang_up();
        }
    }

    /// Takes an entry and sends it; `own`: to who wrote it.
    pub fn append(&mut self, message: &Arc<Message>, own: bool) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
            self.floor += 1;
        }
        self.entries.push_back((Arc::clone(message), own));
        self.notify(self.head(), 0);
    }

    /// Answers a question for a page, forward only.
    pub fn page(&mut self, sync: &wire::Sync) {
        let after = sync.after.max(self.floor);
        let last = self.head().min(after + u64::from(sync.limit));
        for number in after + 1..=last {
            self.notify(number, FLAG_PAGE);
        }
        let page = wire::Page {
            request: sync.request,
            count: last.saturating_sub(after) as u16,
            head: self.head(),
            cursor: sync.after,
            floor: self.floor,
            more: last < self.head(),
        };
        self.put(0, &Wire::Page(page));
    }

    fn notify(&mut self, number: u64, flags: u8) {
        let at = number.checked_sub(self.floor + 1);
        let Some((message, own)) = at.and_then(|at| self.entries.get(at as usize)) else { return };
        let (message, own) = (Arc::clone(message), *own);
        let notify = wire::Notify {
            number,
            conversation: if own { &message.to } else { &message.from },
            sequence: message.sequence,
            sender: &message.from,
            device: "load",
            incarnation: message.incarnation,
            client_seq: message.client_seq,
            uuid: message.uuid,
            time_ms: 1,
            content: 0,
            receipts: 0,
            own,
            body: if own { &[] } else { &message.body },
        };
        self.put(flags, &Wire::Notify(notify));
    }
}
