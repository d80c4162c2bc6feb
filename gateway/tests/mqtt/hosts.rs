//! Shard hosts as far as the core can tell them from real ones: they answer at once, know who
//! wants what, keep retained messages and the queues of kept sessions.

use hawser_codec::link::{self, Key, Uplink};
use hawser_codec::mqtt::topic::{Filter, matches};
use std::collections::{BTreeMap, HashMap};

/// What was asked, as text, and what is answered instead of the usual.
#[derive(Default)]
pub struct Hosts {
    /// Frames heard, one line each.
    pub heard: Vec<String>,
    /// Publishes are refused with this code.
    pub refuse_publish: u16,
    /// Attaches are refused with this code.
    pub refuse_attach: u16,
    /// Routes and subscriptions are refused with this code.
    pub refuse_route: u16,
    /// Nothing is answered but attaches.
    pub silent: bool,
    routes: Vec<(u16, String)>,
    retained: BTreeMap<String, Retained>,
    sessions: HashMap<(Key, Key), Session>,
    received: Vec<(Key, u16)>,
    shared: usize,
    sequence: u64,
}

#[derive(Clone)]
struct Retained {
    qos: u8,
    content: Vec<u8>,
    user: Key,
    device: Key,
}

/// No connection.
const NOBODY: u64 = u64::MAX;

#[derive(Default)]
struct Session {
    connection: u64,
    filters: Vec<(String, u8, u32)>,
    queue: BTreeMap<u64, Queued>,
    last: u64,
    receive_max: usize,
}

#[derive(Clone)]
struct Queued {
    qos: u8,
    retain: bool,
    topic: String,
    identifiers: Vec<u8>,
    content: Vec<u8>,
    pushed: bool,
    received: bool,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Hosts {
    /// Frames heard that begin so.
    pub fn heard(&self, beginning: &str) -> usize {
        self.heard.iter().filter(|line| line.starts_with(beginning)).count()
    }

    /// Takes a batch towards `host` and appends answers to `answers`.
    pub fn on_batch(&mut self, host: u16, batch: &[u8], answers: &mut Vec<u8>) {
        let mut rest = batch;
        while let Some(uplink) = Uplink::take(&mut rest).unwrap() {
            self.on_uplink(host, &uplink, answers);
        }
    }

    fn on_uplink(&mut self, host: u16, uplink: &Uplink<'_>, out: &mut Vec<u8>) {
        match uplink {
            Uplink::Attach(attach) => self.on_attach(attach, out),
            Uplink::Detach(detach) => {
                self.heard.push(format!("detach expiry {} will {}", detach.expiry_s, detach.will));
                let key = (detach.user, detach.device);
                if self.sessions.get(&key).is_none_or(|at| at.connection != detach.connection) {
                    return;
                }
                if detach.expiry_s == 0 {
                    self.sessions.remove(&key);
                } else if let Some(session) = self.sessions.get_mut(&key) {
                    session.connection = NOBODY;
                }
            }
            Uplink::Route(route) => {
                let filter = text(route.filter);
                let word = if route.add { "add" } else { "remove" };
                self.heard.push(format!("route {host} {word} {filter}"));
                let shared = filter.starts_with("$share/");
                let known = self.routes.iter().position(|at| *at == (host, filter.clone()));
                match (route.add, known) {
                    (true, Some(_)) if !shared => {}
                    (true, _) => self.routes.push((host, filter)),
                    (false, Some(at)) => drop(self.routes.swap_remove(at)),
                    (false, None) => panic!("{filter} was never routed"),
                }
                if route.request != 0 && !self.silent {
                    link::Routed { request: route.request, code: self.refuse_route }.put(out);
                }
            }
            Uplink::Subscribe(subscribe) => self.on_subscribe(subscribe, out),
            Uplink::Unsubscribe(frame) => {
                let session = self.sessions.entry((frame.user, frame.device)).or_default();
                let filter = text(frame.filter);
                let before = session.filters.len();
                session.filters.retain(|at| at.0 != filter);
                let existed = session.filters.len() < before;
                let (connection, request) = (frame.connection, frame.request);
                link::Unsubscribed { connection, request, existed }.put(out);
            }
            Uplink::Publish(publish) => self.on_publish(publish, out),
            Uplink::Release(release) => self.on_release(release, out),
            Uplink::Retained(retained) => self.on_retained(host, retained, out),
            Uplink::QueueMark(mark) => self.on_mark(mark, out),
            Uplink::Send(send) => {
                self.heard.push(format!("send to {} after {}", text(send.peer_name), send.after));
                if !self.silent {
                    self.sequence += 1;
                    link::Accepted {
                        connection: send.connection,
                        channel: 0,
                        client_seq: send.client_seq,
                        sequence: self.sequence,
                        time_ms: 1,
                    }
                    .put(out);
                }
            }
            Uplink::Login(login) => {
                self.heard.push(format!("login announce {}", login.announce));
                link::LoggedIn {
                    connection: login.connection,
                    epoch: 0,
                    head: 0,
                    cursor: 0,
                    floor: 0,
                    announced: login.announce,
                }
                .put(out);
            }
            Uplink::Logout(_) => self.heard.push("logout".into()),
            Uplink::Confirm(confirm) => self.heard.push(format!("confirm {}", confirm.number)),
            Uplink::Read(read) => {
                self.heard.push(format!("read after {} limit {}", read.after, read.limit));
            }
            Uplink::Receipt(_) | Uplink::Stall(_) => self.heard.push("other".into()),
        }
    }

    fn on_attach(&mut self, attach: &link::Attach<'_>, out: &mut Vec<u8>) {
        self.heard.push(format!(
            "attach {} {} clean {} expiry {} receive {} will {} {} announce {}",
            text(attach.user_name),
            text(attach.device_name),
            attach.clean,
            attach.expiry_s,
            attach.receive_max,
            attach.will,
            text(attach.will_topic),
            attach.announce,
        ));
        let connection = attach.connection;
        if self.refuse_attach != 0 {
            let code = self.refuse_attach;
            link::Attached { connection, present: false, code, retry_after_ms: 0 }.put(out);
            return;
        }
        let key = (attach.user, attach.device);
        if let Some(before) = self.sessions.get(&key)
            && before.connection != NOBODY
            && before.connection != connection
        {
            let code = hawser_codec::code::REPLACED;
            link::Kick { connection: before.connection, code }.put(out);
        }
        if attach.clean {
            self.sessions.remove(&key);
        }
        let present = self.sessions.contains_key(&key);
        let session = self.sessions.entry(key).or_default();
        session.connection = connection;
        session.receive_max = attach.receive_max.into();
        for (filter, options, identifier) in &session.filters {
            let (identifier, options, filter) = (*identifier, *options, filter.as_bytes());
            link::Restored { connection, identifier, options, filter }.put(out);
        }
        for (number, queued) in &mut session.queue {
            if queued.received {
                link::Marked { connection, number: *number }.put(out);
            }
            queued.pushed &= queued.received;
        }
        link::Attached { connection, present, code: 0, retry_after_ms: 0 }.put(out);
        session.push(present, out);
    }

    fn on_subscribe(&mut self, frame: &link::Subscribe<'_>, out: &mut Vec<u8>) {
        let session = self.sessions.entry((frame.user, frame.device)).or_default();
        let filter = text(frame.filter);
        let existed = session.filters.iter().any(|at| at.0 == filter);
        session.filters.retain(|at| at.0 != filter);
        session.filters.push((filter, frame.options, frame.identifier));
        let (connection, request, code) = (frame.connection, frame.request, self.refuse_route);
        if !self.silent {
            link::Subscribed { connection, request, existed, code }.put(out);
        }
    }

    fn on_publish(&mut self, publish: &link::Publish<'_>, out: &mut Vec<u8>) {
        let topic = text(publish.topic);
        self.heard.push(format!(
            "publish {topic} qos {} retain {} expiry {}",
            publish.qos, publish.retain, publish.expiry_s
        ));
        let (connection, request) = (publish.connection, publish.request);
        let code = self.refuse_publish;
        if self.silent {
            return;
        }
        if code != 0 {
            if publish.qos > 0 {
                let matched = false;
                link::Published { connection, request, code, retry_after_ms: 0, matched }.put(out);
            }
            return;
        }
        let repeat = self.received.contains(&(publish.device, request));
        if publish.qos == 2 {
            self.received.push((publish.device, request));
        }
        let mut matched = false;
        if publish.qos < 2 || !repeat {
            matched = self.spread(publish, &topic, out);
        }
        if publish.qos > 0 {
            link::Published { connection, request, code, retry_after_ms: 0, matched }.put(out);
        }
    }

    fn spread(&mut self, publish: &link::Publish<'_>, topic: &str, out: &mut Vec<u8>) -> bool {
        if publish.retain {
            let payload = payload_of(publish.content);
            if payload.is_empty() {
                self.retained.remove(topic);
            } else {
                let retained = Retained {
                    qos: publish.qos,
                    content: publish.content.to_vec(),
                    user: publish.user,
                    device: publish.device,
                };
                self.retained.insert(topic.to_owned(), retained);
            }
        }
        let frame = link::Topic {
            connection: 0,
            request: 0,
            realm: publish.realm,
            user: publish.user,
            device: publish.device,
            qos: publish.qos,
            retain: publish.retain,
            expiry_s: publish.expiry_s,
            topic: publish.topic,
            share: &[],
            content: publish.content,
        };
        // All hosts know all routes; the first one's are as good as any.
        let routes: Vec<String> =
            self.routes.iter().filter(|at| at.0 == 0).map(|at| at.1.clone()).collect();
        let pattern = |filter: &str| Filter::parse(filter).unwrap().pattern.to_owned();
        let mut any = false;
        let ordinary = |filter: &&String| !filter.starts_with("$share/");
        if routes.iter().filter(ordinary).any(|filter| matches(filter, topic)) {
            frame.put(out);
            any = true;
        }
        let mut shares: Vec<&String> = routes
            .iter()
            .filter(|filter| filter.starts_with("$share/") && matches(&pattern(filter), topic))
            .collect();
        shares.dedup();
        for share in shares {
            self.shared += 1;
            link::Topic { share: share.as_bytes(), ..frame }.put(out);
            any = true;
        }
        for session in self.sessions.values_mut() {
            let mut best: Option<(u8, bool)> = None;
            let mut identifiers = Vec::new();
            for (filter, options, identifier) in &session.filters {
                if !filter.starts_with("$share/") && matches(filter, topic) {
                    let qos = publish.qos.min(options & 3);
                    let retain = publish.retain && options & 8 != 0;
                    best = Some(best.map_or((qos, retain), |(q, r)| (q.max(qos), r || retain)));
                    if *identifier != 0 {
                        identifiers.extend_from_slice(&identifier.to_le_bytes());
                    }
                }
            }
            if let Some((qos @ 1.., retain)) = best {
                any = true;
                session.last += 1;
                session.queue.insert(
                    session.last,
                    Queued {
                        qos,
                        retain,
                        topic: topic.to_owned(),
                        identifiers,
                        content: publish.content.to_vec(),
                        pushed: false,
                        received: false,
                    },
                );
                session.push(false, out);
            }
        }
        any
    }

    fn on_release(&mut self, release: &link::Release, out: &mut Vec<u8>) {
        let (device, request) = (release.device, release.request);
        self.heard.push(format!("release {request}"));
        if request == 0 {
            self.received.retain(|at| at.0 != device);
            return;
        }
        let found = self.received.contains(&(device, request));
        self.received.retain(|at| *at != (device, request));
        if !self.silent {
            link::Released { connection: release.connection, request, found }.put(out);
        }
    }

    fn on_retained(&mut self, host: u16, asked: &link::Retained<'_>, out: &mut Vec<u8>) {
        let filter = text(asked.filter);
        self.heard.push(format!("retained {host} {filter}"));
        // One host has them all, the one that is always asked.
        let wild = filter.contains(['+', '#']);
        for (topic, retained) in &self.retained {
            if matches(&filter, topic) && (host == 0 || !wild) {
                link::Topic {
                    connection: asked.connection,
                    request: asked.request,
                    realm: asked.realm,
                    user: retained.user,
                    device: retained.device,
                    qos: retained.qos,
                    retain: true,
                    expiry_s: 0,
                    topic: topic.as_bytes(),
                    share: &[],
                    content: &retained.content,
                }
                .put(out);
            }
        }
        link::RetainedEnd { connection: asked.connection, request: asked.request }.put(out);
    }

    fn on_mark(&mut self, mark: &link::QueueMark, out: &mut Vec<u8>) {
        self.heard.push(format!("mark {} done {}", mark.number, mark.done));
        let Some(session) = self.sessions.get_mut(&(mark.user, mark.device)) else { return };
        if mark.done {
            session.queue.remove(&mark.number);
            session.push(false, out);
        } else if let Some(queued) = session.queue.get_mut(&mark.number) {
            queued.received = true;
            if !self.silent {
                link::Marked { connection: mark.connection, number: mark.number }.put(out);
            }
        }
    }

    /// Pushes everything again, as a host does that has lost its memory and was told of a session.
    pub fn push_again(&mut self, out: &mut Vec<u8>) {
        for session in self.sessions.values_mut() {
            session.queue.values_mut().for_each(|queued| queued.pushed = queued.received);
            session.push(true, out);
        }
    }
}

impl Session {
    fn push(&mut self, repeated: bool, out: &mut Vec<u8>) {
        if self.connection == NOBODY {
            return;
        }
        let pushed = self.queue.values().filter(|queued| queued.pushed).count();
        let room = self.receive_max.saturating_sub(pushed);
        for (number, queued) in self.queue.iter_mut().filter(|at| !at.1.pushed).take(room) {
            queued.pushed = true;
            link::QueueEntry {
                connection: self.connection,
                number: *number,
                qos: queued.qos,
                retain: queued.retain,
                repeated,
                expiry_s: 0,
                topic: queued.topic.as_bytes(),
                identifiers: &queued.identifiers,
                content: &queued.content,
            }
            .put(out);
        }
    }
}

/// Payload of a message as links carry it.
pub fn payload_of(content: &[u8]) -> &[u8] {
    let (length, rest) = content.split_first_chunk().unwrap();
    &rest[u32::from_le_bytes(*length) as usize..]
}
