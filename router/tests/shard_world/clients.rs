//! The far end of downlinks: devices, what they ask and what they hear.

use super::{WORKERS, World};
use hawser_codec::link::{self, Downlink, Key};

/// A downlink frame as a client's worker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    LoggedIn { connection: u64, head: u64, cursor: u64, floor: u64, announced: bool },
    LoginRefused { connection: u64, code: u16 },
    Accepted { connection: u64, client_seq: u64, sequence: u64, time_ms: u64 },
    Refused { connection: u64, client_seq: u64, code: u16, retry_after_ms: u32 },
    Deliver(Delivered),
    Head { connection: u64, head: u64 },
    PageStart { connection: u64, request: u64 },
    PageEnd { connection: u64, head: u64, cursor: u64, floor: u64, more: bool, code: u16 },
    Kick { connection: u64, code: u16 },
    Receipt { connection: u64, what: u8, sequence: u64 },
    Announce,
    Restored { connection: u64, identifier: u32, options: u8, filter: String },
    Marked { connection: u64, number: u64 },
    Attached { connection: u64, present: bool, code: u16 },
    Subscribed { connection: u64, request: u32, existed: bool, code: u16 },
    Unsubscribed { connection: u64, request: u32, existed: bool },
    Routed { request: u32, code: u16 },
    Published { connection: u64, request: u16, code: u16, matched: bool },
    Released { connection: u64, request: u16, found: bool },
    Topic(Told),
    RetainedEnd { connection: u64, request: u32 },
    QueueEntry(Queued),
}

/// A message of a topic as a worker hears it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub connection: u64,
    pub request: u32,
    pub topic: String,
    pub share: String,
    pub qos: u8,
    pub retain: bool,
    pub expiry_s: u32,
    /// Without the properties.
    pub payload: Vec<u8>,
}

/// A message of a topic out of a session's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    pub connection: u64,
    pub number: u64,
    pub topic: String,
    pub qos: u8,
    pub retain: bool,
    pub repeated: bool,
    pub expiry_s: u32,
    pub identifiers: Vec<u8>,
    /// Without the properties.
    pub payload: Vec<u8>,
}

/// Content without properties.
pub fn content(payload: &[u8]) -> Vec<u8> {
    [&[0; 4], payload].concat()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub connection: u64,
    pub page: bool,
    pub number: u64,
    pub sequence: u64,
    pub incarnation: u64,
    pub client_seq: u64,
    pub own: bool,
    pub peer: String,
    pub sender: String,
    pub body: Vec<u8>,
}

pub fn owned(frame: Downlink) -> Heard {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match frame {
        Downlink::LoggedIn(f) => Heard::LoggedIn {
            connection: f.connection,
            head: f.head,
            cursor: f.cursor,
            floor: f.floor,
            announced: f.announced,
        },
        Downlink::LoginRefused(f) => Heard::LoginRefused { connection: f.connection, code: f.code },
        Downlink::Accepted(f) => Heard::Accepted {
            connection: f.connection,
            client_seq: f.client_seq,
            sequence: f.sequence,
            time_ms: f.time_ms,
        },
        Downlink::Refused(f) => Heard::Refused {
            connection: f.connection,
            client_seq: f.client_seq,
            code: f.code,
            retry_after_ms: f.retry_after_ms,
        },
        Downlink::Deliver(f) => Heard::Deliver(Delivered {
            connection: f.connection,
            page: f.page,
            number: f.number,
            sequence: f.sequence,
            incarnation: f.incarnation,
            client_seq: f.client_seq,
            own: f.own,
            peer: text(f.peer_name),
            sender: text(f.sender_name),
            body: f.body.to_vec(),
        }),
        Downlink::Head(f) => Heard::Head { connection: f.connection, head: f.head },
        Downlink::PageStart(f) => Heard::PageStart { connection: f.connection, request: f.request },
        Downlink::PageEnd(f) => Heard::PageEnd {
            connection: f.connection,
            head: f.head,
            cursor: f.cursor,
            floor: f.floor,
            more: f.more,
            code: f.code,
        },
        Downlink::Kick(f) => Heard::Kick { connection: f.connection, code: f.code },
        Downlink::PeerReceipt(f) => {
            Heard::Receipt { connection: f.connection, what: f.what, sequence: f.sequence }
        }
        Downlink::Announce(_) => Heard::Announce,
        Downlink::Restored(f) => Heard::Restored {
            connection: f.connection,
            identifier: f.identifier,
            options: f.options,
            filter: text(f.filter),
        },
        Downlink::Marked(f) => Heard::Marked { connection: f.connection, number: f.number },
        Downlink::Attached(f) => {
            Heard::Attached { connection: f.connection, present: f.present, code: f.code }
        }
        Downlink::Subscribed(f) => Heard::Subscribed {
            connection: f.connection,
            request: f.request,
            existed: f.existed,
            code: f.code,
        },
        Downlink::Unsubscribed(f) => {
            Heard::Unsubscribed { connection: f.connection, request: f.request, existed: f.existed }
        }
        Downlink::Routed(f) => Heard::Routed { request: f.request, code: f.code },
        Downlink::Published(f) => Heard::Published {
            connection: f.connection,
            request: f.request,
            code: f.code,
            matched: f.matched,
        },
        Downlink::Released(f) => {
            Heard::Released { connection: f.connection, request: f.request, found: f.found }
        }
        Downlink::Topic(f) => Heard::Topic(Told {
            connection: f.connection,
            request: f.request,
            topic: text(f.topic),
            share: text(f.share),
            qos: f.qos,
            retain: f.retain,
            expiry_s: f.expiry_s,
            payload: f.content[4..].to_vec(),
        }),
        Downlink::RetainedEnd(f) => {
            Heard::RetainedEnd { connection: f.connection, request: f.request }
        }
        Downlink::QueueEntry(f) => Heard::QueueEntry(Queued {
            connection: f.connection,
            number: f.number,
            topic: text(f.topic),
            qos: f.qos,
            retain: f.retain,
            repeated: f.repeated,
            expiry_s: f.expiry_s,
            identifiers: f.identifiers.to_vec(),
            payload: f.content[4..].to_vec(),
        }),
    }
}

/// One device of one user.
#[derive(Clone, Debug)]
pub struct Client {
    pub user_name: String,
    pub device_name: String,
    pub user: Key,
    pub check: u64,
    pub device: Key,
    pub connection: u64,
    pub worker: u16,
    pub incarnation: u64,
}

impl World {
    pub fn uplink(&mut self, shard: &Key, worker: u16, put: impl FnOnce(&mut Vec<u8>)) {
        let mut batch = Vec::new();
        put(&mut batch);
        let host = usize::from(u16::from(shard[0]) % self.settings.hosts);
        self.hosts[host].on_uplink(self.now, worker, &batch).unwrap();
    }

    pub fn client(&mut self, user: &str, device: &str) -> Client {
        let (key, check) = self.keys.user(0, user.as_bytes());
        let connection = self.next_connection;
        self.next_connection += 1;
        Client {
            user_name: user.into(),
            device_name: device.into(),
            user: key,
            check,
            device: self.keys.device(&key, device.as_bytes()),
            connection,
            worker: (connection % u64::from(WORKERS)) as u16,
            incarnation: 77,
        }
    }

    pub fn login_frame<'a>(&self, client: &'a Client) -> link::Login<'a> {
        link::Login {
            connection: client.connection,
            user: client.user,
            device: client.device,
            check: client.check,
            realm: 0,
            epoch: 0,
            cursor_plus_one: 0,
            rewind: false,
            incarnation: 1,
            announce: false,
            user_name: client.user_name.as_bytes(),
            device_name: client.device_name.as_bytes(),
        }
    }

    pub fn put_login(&mut self, client: &Client, login: link::Login) {
        self.uplink(&client.user, client.worker, |batch| login.put(batch));
    }

    /// Logs a new device in and lets it settle.
    pub fn login(&mut self, user: &str, device: &str) -> Client {
        let client = self.client(user, device);
        self.put_login(&client, self.login_frame(&client));
        self.settle();
        client
    }

    /// The same device on a new connection.
    pub fn relogin(&mut self, client: &mut Client) {
        client.connection = self.next_connection;
        self.next_connection += 1;
        self.put_login(client, self.login_frame(client));
    }

    /// Another client under the device's name.
    pub fn relogin_as(&mut self, client: &mut Client, incarnation: u64) {
        client.connection = self.next_connection;
        self.next_connection += 1;
        self.put_login(client, link::Login { incarnation, ..self.login_frame(client) });
    }

    pub fn logout(&mut self, client: &Client) {
        let (connection, user, device) = (client.connection, client.user, client.device);
        self.uplink(&user, client.worker, |batch| {
            link::Logout { connection, user, device }.put(batch);
        });
    }

    pub fn send_frame<'a>(
        &self,
        client: &'a Client,
        to: &'a str,
        client_seq: u64,
        body: &'a [u8],
    ) -> link::Send<'a> {
        let (peer, _) = self.keys.user(0, to.as_bytes());
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&client_seq.to_le_bytes());
        link::Send {
            connection: client.connection,
            user: client.user,
            device: client.device,
            peer,
            conversation: self.keys.direct(&client.user, &peer),
            channel: 0,
            incarnation: client.incarnation,
            client_seq,
            after: 0,
            uuid,
            first_attempt_ms: 0,
            level: 1,
            content: 1,
            receipts: 0,
            sender_name: client.user_name.as_bytes(),
            device_name: client.device_name.as_bytes(),
            peer_name: to.as_bytes(),
            body,
        }
    }

    pub fn put_send(&mut self, client: &Client, send: link::Send) {
        self.uplink(&send.conversation, client.worker, |batch| send.put(batch));
    }

    pub fn send(&mut self, client: &Client, to: &str, client_seq: u64, body: &[u8]) {
        let send = self.send_frame(client, to, client_seq, body);
        self.put_send(client, send);
    }

    pub fn confirm(&mut self, client: &Client, number: u64) {
        let (connection, user, device) = (client.connection, client.user, client.device);
        self.uplink(&user, client.worker, |batch| {
            link::Confirm { connection, user, device, number }.put(batch);
        });
    }

    pub fn stall(&mut self, client: &Client) {
        let (connection, user, device) = (client.connection, client.user, client.device);
        self.uplink(&user, client.worker, |batch| {
            link::Stall { connection, user, device }.put(batch);
        });
    }

    pub fn receipt(&mut self, client: &Client, to: &str, sequence: u64) {
        let (peer, _) = self.keys.user(0, to.as_bytes());
        let conversation = self.keys.direct(&client.user, &peer);
        let (user, user_name) = (client.user, client.user_name.as_bytes());
        self.uplink(&client.user, client.worker, |batch| {
            link::Receipt { user, peer, conversation, what: 2, sequence, user_name }.put(batch);
        });
    }

    pub fn read(&mut self, client: &Client, after: u64, limit: u16, backward: bool) {
        let read = link::Read {
            connection: client.connection,
            user: client.user,
            device: client.device,
            channel: 0,
            request: after,
            after,
            limit,
            backward,
            since_ms: 0,
            preview: false,
        };
        self.put_read(client, read);
    }

    pub fn put_read(&mut self, client: &Client, read: link::Read) {
        self.uplink(&client.user, client.worker, |batch| read.put(batch));
    }

    /// What a client heard since last asked.
    pub fn hear(&mut self, client: &Client) -> Vec<Heard> {
        let mine = |(worker, heard): &(u16, Heard)| {
            *worker == client.worker
                && match heard {
                    Heard::LoggedIn { connection, .. }
                    | Heard::LoginRefused { connection, .. }
                    | Heard::Accepted { connection, .. }
                    | Heard::Refused { connection, .. }
                    | Heard::Deliver(Delivered { connection, .. })
                    | Heard::Head { connection, .. }
                    | Heard::PageStart { connection, .. }
                    | Heard::PageEnd { connection, .. }
                    | Heard::Kick { connection, .. }
                    | Heard::Receipt { connection, .. }
                    | Heard::Restored { connection, .. }
                    | Heard::Marked { connection, .. }
                    | Heard::Attached { connection, .. }
                    | Heard::Subscribed { connection, .. }
                    | Heard::Unsubscribed { connection, .. }
                    | Heard::Published { connection, .. }
                    | Heard::Released { connection, .. }
                    | Heard::Topic(Told { connection, .. })
                    | Heard::RetainedEnd { connection, .. }
                    | Heard::QueueEntry(Queued { connection, .. }) => {
                        *connection == client.connection
                    }
                    Heard::Announce | Heard::Routed { .. } => false,
                }
        };
        let (heard, rest) = std::mem::take(&mut self.heard).into_iter().partition(mine);
        self.heard = rest;
        let heard: Vec<(u16, Heard)> = heard;
        heard.into_iter().map(|(_, heard)| heard).collect()
    }
}

pub fn deliveries(heard: &[Heard]) -> Vec<Delivered> {
    heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Deliver(delivered) => Some(delivered.clone()),
            _ => None,
        })
        .collect()
}

pub fn numbers(heard: &[Heard]) -> Vec<u64> {
    deliveries(heard).iter().map(|delivered| delivered.number).collect()
}
