//! Clients of publish/subscribe: what they ask of their home, and what they hear of it.

use super::clients::{Client, Heard, Queued};
use super::{WORKERS, World};
use hawser_codec::link::{self, Peer};

/// What a session's worker hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Restored { filter: String, options: u8, identifier: u32 },
    Marked { number: u64 },
    Attached { present: bool, code: u16 },
    Subscribed { request: u32, existed: bool, code: u16 },
    Unsubscribed { request: u32, existed: bool },
    Entry(Queued),
    Kick { code: u16 },
}

/// What a session is told, with its connection.
fn told(heard: &Heard) -> Option<(u64, Told)> {
    Some(match heard.clone() {
        Heard::Restored { connection, filter, options, identifier } => {
            (connection, Told::Restored { filter, options, identifier })
        }
        Heard::Marked { connection, number } => (connection, Told::Marked { number }),
        Heard::Attached { connection, present, code } => {
            (connection, Told::Attached { present, code })
        }
        Heard::Subscribed { connection, request, existed, code } => {
            (connection, Told::Subscribed { request, existed, code })
        }
        Heard::Unsubscribed { connection, request, existed } => {
            (connection, Told::Unsubscribed { request, existed })
        }
        Heard::QueueEntry(queued) => (queued.connection, Told::Entry(queued)),
        Heard::Kick { connection, code } => (connection, Told::Kick { code }),
        _ => return None,
    })
}

/// How a client attaches; the shape of most.
#[derive(Clone, Copy)]
pub struct Way {
    pub clean: bool,
    pub expiry_s: u32,
    pub window: u16,
    pub announce: bool,
    /// Quality, delay in seconds.
    pub will: Option<(u8, u32)>,
}

pub const KEPT: Way = Way { clean: false, expiry_s: 3600, window: 20, announce: false, will: None };
pub const CLEAN: Way = Way { clean: true, expiry_s: 0, ..KEPT };

impl World {
    pub fn attach(&mut self, client: &Client, way: Way) {
        let (will, will_delay_s) = way.will.map_or((0, 0), |(qos, delay_s)| (qos + 1, delay_s));
        let will_topic = format!("wills/{}", client.device_name);
        let attach = link::Attach {
            connection: client.connection,
            user: client.user,
            device: client.device,
            check: client.check,
            realm: 0,
            clean: way.clean,
            expiry_s: way.expiry_s,
            receive_max: way.window,
            announce: way.announce,
            will,
            will_retain: false,
            will_delay_s,
            will_expiry_s: 0,
            will_key: self.keys.topic(0, will_topic.as_bytes()),
            user_name: client.user_name.as_bytes(),
            device_name: client.device_name.as_bytes(),
            will_topic: if will == 0 { b"" } else { will_topic.as_bytes() },
            will_content: if will == 0 { b"" } else { b"\0\0\0\0gone" },
        };
        self.uplink(&client.user, client.worker, |batch| attach.put(batch));
    }

    /// A client that has attached.
    pub fn session(&mut self, user: &str, device: &str, way: Way) -> Client {
        let client = self.client(user, device);
        self.attach(&client, way);
        self.settle();
        client
    }

    /// The same session on another connection, perhaps of another worker.
    pub fn reattach(&mut self, client: &mut Client, way: Way) {
        client.connection = self.next_connection;
        self.next_connection += 1;
        client.worker = (client.connection % u64::from(WORKERS)) as u16;
        self.attach(client, way);
    }

    pub fn detach(&mut self, client: &Client, expiry_s: u32, will: bool) {
        let (connection, user, device) = (client.connection, client.user, client.device);
        self.uplink(&user, client.worker, |batch| {
            link::Detach { connection, user, device, expiry_s, will }.put(batch);
        });
    }

    pub fn subscribe(&mut self, client: &Client, filter: &str, options: u8, identifier: u32) {
        let (connection, user, device) = (client.connection, client.user, client.device);
        let (request, filter) = (filter.len() as u32, filter.as_bytes());
        self.uplink(&user, client.worker, |batch| {
            link::Subscribe { connection, user, device, request, identifier, options, filter }
                .put(batch);
        });
    }

    pub fn unsubscribe(&mut self, client: &Client, filter: &str) {
        let (connection, user, device) = (client.connection, client.user, client.device);
        let (request, filter) = (filter.len() as u32, filter.as_bytes());
        self.uplink(&user, client.worker, |batch| {
            link::Unsubscribe { connection, user, device, request, filter }.put(batch);
        });
    }

    pub fn mark(&mut self, client: &Client, number: u64, done: bool) {
        let (connection, user, device) = (client.connection, client.user, client.device);
        self.uplink(&user, client.worker, |batch| {
            link::QueueMark { connection, user, device, number, done }.put(batch);
        });
    }

    pub fn confirm_queue(&mut self, client: &Client, number: u64) {
        let connection = client.connection | link::CONFIRMS_QUEUE;
        let (user, device) = (client.user, client.device);
        self.uplink(&user, client.worker, |batch| {
            link::Confirm { connection, user, device, number }.put(batch);
        });
    }

    /// An entry for a home shard, as its topic's shard streams it. In a world of one process.
    pub fn put_entry(&mut self, entry: &link::TopicEntry) {
        let mut batch = Vec::new();
        entry.put(&mut batch);
        assert!(matches!(Peer::take(&mut &batch[..]), Ok(Some(Peer::TopicEntry(_)))));
        let host = usize::from(u16::from(entry.home) % self.settings.hosts);
        let from = u16::from(entry.source) % self.settings.hosts;
        self.hosts[host].on_peer(self.now, from, &batch).unwrap();
    }

    /// What a session was told since last asked.
    pub fn listen(&mut self, client: &Client) -> Vec<Told> {
        let mut found = Vec::new();
        self.heard.retain(|(worker, heard)| match told(heard) {
            Some((connection, told))
                if *worker == client.worker && connection == client.connection =>
            {
                found.push(told);
                false
            }
            _ => true,
        });
        found
    }
}

/// Numbers of the entries among what was told.
pub fn entries(told: &[Told]) -> Vec<u64> {
    told.iter()
        .filter_map(|told| match told {
            Told::Entry(queued) => Some(queued.number),
            _ => None,
        })
        .collect()
}
