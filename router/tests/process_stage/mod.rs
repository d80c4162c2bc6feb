//! Routers as this test's threads, and a gateway that speaks to them over real sockets.

#![allow(dead_code, clippy::unwrap_used)] // every test program uses its own part, and may panic

use hawser_codec::link::{self, Downlink, Key};
use hawser_router::{
    KeySpace,
    host::downlink_frames,
    link::{
        Family, Inbox, LinkEnd, LinkEvent, LinkSecret, LinkSession, LinkSettings, PeerIdentity,
        Role, Taken, WINDOW_BYTES,
    },
    process::{
        config::{self, Config, Invocation},
        now,
        start::{Phase, Running, start},
    },
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Nothing here takes this long unless it never comes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Configuration from flags and a file's text.
pub fn config(flags: &[&str], file: &str) -> Config {
    let mut line = vec!["hawser-router", "--admin", "off", "--config", "test.toml"];
    line.extend_from_slice(flags);
    let read = |path: &Path| match path.to_str() {
        Some("test.toml") => Ok(file.to_owned()),
        _ => std::fs::read_to_string(path),
    };
    match config::load(line.into_iter().map(Into::into), [], &read).unwrap() {
        Invocation::Run(config) => *config,
        _ => panic!("these flags start a process"),
    }
}

/// Free ports below those of clients.
pub fn ports(count: usize) -> Vec<SocketAddr> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut found = Vec::new();
    while found.len() < count {
        let at = NEXT.fetch_add(1, Ordering::Relaxed) + u64::from(std::process::id()) * 7;
        let address = SocketAddr::from(([127, 0, 0, 1], 12_000 + (at % 6_000) as u16));
        if TcpListener::bind(address).is_ok() {
            found.push(address);
        }
    }
    found
}

/// Ends a router as SIGTERM does.
pub fn drain(running: Running) {
    running.set_phase(Phase::Draining);
    running.join().unwrap();
}

/// One router of a list over `directory`.
pub fn router(directory: &Path, list: &[SocketAddr], index: usize, more: &[&str]) -> Running {
    router_that_writes("auto", directory, list, index, more)
}

/// The same with another `store.write`.
pub fn router_that_writes(
    write: &str,
    directory: &Path,
    list: &[SocketAddr],
    index: usize,
    more: &[&str],
) -> Running {
    let routers: Vec<String> = list.iter().map(SocketAddr::to_string).collect();
    let directory = directory.join(index.to_string());
    let (routers, listen) = (routers.join(","), routers[index].clone());
    let mut flags = vec!["--routers", &routers, "--listen", &listen, "--data-dir"];
    flags.push(directory.to_str().unwrap());
    flags.extend_from_slice(more);
    let file = format!("[store]\nsegment_bytes = 4194304\nwrite = \"{write}\"\n");
    start(&config(&flags, &file)).unwrap()
}

/// What a client of the gateway hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    LoggedIn { connection: u64, head: u64 },
    Accepted { connection: u64, client_seq: u64, sequence: u64 },
    Refused { connection: u64, client_seq: u64, code: u16 },
    Deliver { connection: u64, number: u64, own: bool, body: Vec<u8> },
    Announce { router: usize },
    Other,
}

pub struct Link {
    address: SocketAddr,
    stream: TcpStream,
    session: LinkSession,
    inbox: Inbox,
    pub peer: Option<PeerIdentity>,
    pub end: Option<LinkEnd>,
    pub went_away: bool,
    pub closed: bool,
}

/// What a gateway says of itself.
#[derive(Clone)]
pub struct Who {
    pub secret: Vec<u8>,
    pub routers: u16,
    pub epoch: u64,
    pub hash_key: Option<[u8; 32]>,
}

impl Link {
    pub fn dial(address: SocketAddr, index: u16, who: &Who) -> Link {
        let begun = Instant::now();
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{address}: {error}"),
            }
        };
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        stream.set_nodelay(true).unwrap();
        let settings = LinkSettings {
            role: Role::Gateway,
            name: "test".into(),
            epoch: who.epoch,
            nonce: [7; 32],
            workers: 1,
            routers: who.routers,
            index: None,
            peer_index: Some(index),
            secret: LinkSecret::new(&who.secret),
            hash_key: who.hash_key,
            window_bytes: WINDOW_BYTES,
        };
        let session = LinkSession::initiator(settings, now());
        Link {
            address,
            stream,
            session,
            inbox: Inbox::default(),
            peer: None,
            end: None,
            went_away: false,
            closed: false,
        }
    }

    /// Sends what waits, takes what has come; gives downlink batches to `hear`.
    pub fn pump(&mut self, mut hear: impl FnMut(&[u8])) {
        let _ = self.session.on_deadline(now());
        let out = self.session.take_out(Vec::new());
        if self.stream.write_all(&out).is_err() {
            self.closed = true;
        }
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(count) => self.inbox.extend(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.closed = true,
        }
        loop {
            let (count, cost) = match self.session.step(now(), self.inbox.bytes()) {
                Taken::NeedMore(_) => break,
                Taken::Frame(count, event) => {
                    let mut owed = 0;
                    match event {
                        Some(LinkEvent::Up(peer)) => self.peer = Some(peer),
                        Some(LinkEvent::Batch { family, bytes, cost, .. }) => {
                            assert_eq!(family, Family::Downlink);
                            hear(bytes);
                            owed = cost;
                        }
                        Some(LinkEvent::GoAway(_)) => self.went_away = true,
                        Some(LinkEvent::Down(end)) => self.end = Some(end),
                        None => {}
                    }
                    (count, owed)
                }
            };
            self.inbox.consume(count);
            self.session.grant(cost);
        }
    }
}

/// A gateway with links to all routers of a list.
pub struct Gateway {
    pub who: Who,
    pub links: Vec<Link>,
    pub heard: Vec<Heard>,
    keys: KeySpace,
    next: u64,
}

/// One device of one user, logged in through a gateway.
#[derive(Clone, Debug)]
pub struct Client {
    name: String,
    user: Key,
    check: u64,
    device: Key,
    pub connection: u64,
}

impl Gateway {
    /// Links up to all routers; takes the hash key from the first.
    pub fn new(list: &[SocketAddr], secret: &[u8], epoch: u64) -> Gateway {
        let routers = list.len() as u16;
        let who = Who { secret: secret.to_vec(), routers, epoch, hash_key: None };
        let links = list.iter().enumerate();
        let links = links.map(|(index, at)| Link::dial(*at, index as u16, &who)).collect();
        let keys = KeySpace::new([0; 32]);
        let mut gateway = Gateway { who, links, heard: Vec::new(), keys, next: 1 };
        gateway.wait("links up", |gateway| gateway.links.iter().all(|link| link.peer.is_some()));
        let hash_key = gateway.links[0].peer.as_ref().unwrap().hash_key.unwrap();
        gateway.keys = KeySpace::new(hash_key);
        gateway.who.hash_key = Some(hash_key);
        gateway
    }

    /// A new link to router `index`.
    pub fn redial(&mut self, index: usize) {
        self.links[index] = Link::dial(self.links[index].address, index as u16, &self.who);
        self.wait("link up again", |gateway| gateway.links[index].peer.is_some());
    }

    pub fn pump(&mut self) {
        let Gateway { links, heard, .. } = self;
        for (router, link) in links.iter_mut().enumerate() {
            link.pump(|batch| {
                for frame in downlink_frames(batch).unwrap() {
                    heard.push(match frame {
                        Downlink::LoggedIn(f) => {
                            Heard::LoggedIn { connection: f.connection, head: f.head }
                        }
                        Downlink::Accepted(f) => Heard::Accepted {
                            connection: f.connection,
                            client_seq: f.client_seq,
                            sequence: f.sequence,
                        },
                        Downlink::Refused(f) => Heard::Refused {
                            connection: f.connection,
                            client_seq: f.client_seq,
                            code: f.code,
                        },
                        Downlink::Deliver(f) => Heard::Deliver {
                            connection: f.connection,
                            number: f.number,
                            own: f.own,
                            body: f.body.to_vec(),
                        },
                        Downlink::Announce(_) => Heard::Announce { router },
                        _ => Heard::Other,
                    });
                }
            });
        }
    }

    /// Pumps until `done`.
    pub fn wait(&mut self, what: &str, done: impl Fn(&Gateway) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < PATIENCE, "{what} did not come; heard {:?}", self.heard);
            self.pump();
        }
    }

    fn uplink(&mut self, key: &Key, put: impl FnOnce(&mut Vec<u8>)) {
        let mut batch = Vec::new();
        put(&mut batch);
        let router = usize::from(key[0]) % self.links.len();
        let mut rest = &batch[..];
        self.links[router].session.send(Family::Uplink, 0, &mut rest).unwrap();
        assert!(rest.is_empty(), "the window is large enough");
    }

    /// Logs a device in, or announces it again, without waiting for the answer.
    pub fn say_login(&mut self, client: &Client, announce: bool) {
        let name = client.name.clone();
        let login = link::Login {
            connection: client.connection,
            user: client.user,
            device: client.device,
            check: client.check,
            realm: 0,
            epoch: 0,
            cursor_plus_one: self.delivered(client).map_or(0, |number| number + 1),
            rewind: false,
            incarnation: 77,
            announce,
            user_name: name.as_bytes(),
            device_name: b"phone",
        };
        self.uplink(&client.user, |batch| login.put(batch));
    }

    /// Highest mailbox number a client has, its own entries included.
    fn delivered(&self, client: &Client) -> Option<u64> {
        let numbers = self.heard.iter().filter_map(|heard| match heard {
            Heard::Deliver { connection, number, .. } => {
                (*connection == client.connection).then_some(*number)
            }
            _ => None,
        });
        numbers.max()
    }

    /// Acknowledges all that a client has.
    pub fn confirm(&mut self, client: &Client) {
        let Client { connection, user, device, .. } = *client;
        if let Some(number) = self.delivered(client) {
            let confirm = link::Confirm { connection, user, device, number };
            self.uplink(&user, |batch| confirm.put(batch));
        }
    }

    /// Announces a session to its router, if that is router `index`.
    pub fn say_login_if_there(&mut self, client: &Client, index: usize) {
        if usize::from(client.user[0]) % self.links.len() == index {
            self.say_login(client, true);
        }
    }

    pub fn login(&mut self, name: &str) -> Client {
        let (user, check) = self.keys.user(0, name.as_bytes());
        let device = self.keys.device(&user, b"phone");
        let connection = self.next;
        self.next += 1;
        let client = Client { name: name.into(), user, check, device, connection };
        self.say_login(&client, false);
        self.wait("login", |gateway| {
            gateway.heard.iter().any(
                |heard| matches!(heard, Heard::LoggedIn { connection: to, .. } if *to == connection),
            )
        });
        client
    }

    pub fn send(&mut self, client: &Client, to: &str, client_seq: u64, body: &[u8]) {
        let (peer, _) = self.keys.user(0, to.as_bytes());
        let conversation = self.keys.direct(&client.user, &peer);
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&client_seq.to_le_bytes());
        let name = client.name.clone();
        let send = link::Send {
            connection: client.connection,
            user: client.user,
            device: client.device,
            peer,
            conversation,
            channel: 0,
            incarnation: 77,
            client_seq,
            after: 0,
            uuid,
            first_attempt_ms: 0,
            level: 1,
            content: 1,
            receipts: 0,
            sender_name: name.as_bytes(),
            device_name: b"phone",
            peer_name: to.as_bytes(),
            body,
        };
        self.uplink(&conversation, |batch| send.put(batch));
    }

    pub fn wait_accepted(&mut self, client: &Client, client_seq: u64) {
        let (to, wanted) = (client.connection, client_seq);
        self.wait("acknowledge", |gateway| {
            gateway.heard.iter().any(|heard| {
                matches!(heard, Heard::Accepted { connection, client_seq, .. }
                    if (*connection, *client_seq) == (to, wanted))
            })
        });
    }

    /// Bodies delivered to a client, by mailbox number; own entries have none.
    pub fn bodies(&self, client: &Client) -> Vec<(u64, Vec<u8>)> {
        let delivered = self.heard.iter().filter_map(|heard| match heard {
            Heard::Deliver { connection, number, own: false, body }
                if *connection == client.connection =>
            {
                Some((*number, body.clone()))
            }
            _ => None,
        });
        delivered.collect()
    }

    pub fn wait_bodies(&mut self, client: &Client, count: usize) -> Vec<(u64, Vec<u8>)> {
        self.wait("messages", |gateway| gateway.bodies(client).len() >= count);
        self.bodies(client)
    }

    pub fn announced_by(&self, router: usize) -> usize {
        let wanted = Heard::Announce { router };
        self.heard.iter().filter(|heard| **heard == wanted).count()
    }
}
