//! A game of kept sessions that come and go, change their filters and confirm in any order, while
//! hosts crash; and an oracle that knows what each of them must have.
//!
//! What is judged: filters survive exactly as acknowledged; an acknowledged publish reaches every
//! session that had a filter for it; an application is given an entry of quality 2 once, as a
//! client does that releases what it was told to; a number of a queue never means two messages.

use super::game::Random;
use super::sessions::{KEPT, Told, Way};
use super::{Client, Heard, Message, World, settings};
use hawser_codec::code;
use hawser_router::HostSettings;
use hawser_router::host::Mark;
use hawser_router::topic::filter::is_match;
use std::collections::{BTreeMap, BTreeSet};

const TOPICS: [&str; 4] = ["a/1", "a/2", "b/1", "c"];
const FILTERS: [&str; 5] = ["a/+", "b/#", "c", "#", "a/1"];

/// What the client knows of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Held,
    Absent,
    /// It asked, and lost its connection before the answer.
    Doubtful,
}

struct Subscriber {
    client: Client,
    online: bool,
    /// It has heard what it has.
    ready: bool,
    /// It asked for a clean start and has not heard that it was made.
    cleans: bool,
    filters: BTreeMap<&'static str, Filter>,
    /// A filter asked for or given back.
    asked: Option<(&'static str, bool)>,
    restored: BTreeSet<String>,
    /// Payload by number.
    had: BTreeMap<u64, Vec<u8>>,
    /// What the application was given, how often.
    given: BTreeMap<Vec<u8>, usize>,
    received: BTreeSet<u64>,
    released: BTreeSet<u64>,
    /// Entries that are to be confirmed.
    finished: BTreeSet<u64>,
    must: BTreeSet<Vec<u8>>,
}

/// A publish that is not answered, and who had a filter for it when it began.
struct Asked {
    topic: &'static str,
    payload: Vec<u8>,
    whose: Vec<usize>,
}

pub struct SessionGame {
    seed: u64,
    random: Random,
    pub world: World,
    publisher: Client,
    next: u16,
    asked: BTreeMap<u16, Asked>,
    subscribers: Vec<Subscriber>,
    pub marks: Vec<u64>,
}

impl SessionGame {
    pub fn new(seed: u64, forgets: Option<u8>) -> SessionGame {
        let mut random = Random::new(seed);
        let hosts = 1 + random.below(2) as u16;
        let settings = HostSettings {
            same_lane: random.below(2) == 0,
            // Nothing, or a single chunk.
            recent_bytes_max: random.below(2) as usize * (64 << 10),
            ..settings()
        };
        let mut world = World::with(settings, hosts);
        world.forgets = forgets;
        let publisher = world.client("publisher", "one");
        let subscribers = (0..3).map(|number| Subscriber {
            client: world.client(&format!("sub{number}"), "sensor"),
            online: false,
            ready: false,
            cleans: true,
            filters: FILTERS.iter().map(|filter| (*filter, Filter::Absent)).collect(),
            asked: None,
            restored: BTreeSet::new(),
            had: BTreeMap::new(),
            given: BTreeMap::new(),
            received: BTreeSet::new(),
            released: BTreeSet::new(),
            finished: BTreeSet::new(),
            must: BTreeSet::new(),
        });
        let subscribers = subscribers.collect();
        let (asked, marks) = (BTreeMap::new(), vec![0; Mark::ALL.len()]);
        SessionGame { seed, random, world, publisher, next: 1, asked, subscribers, marks }
    }

    pub fn play(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            self.listen();
        }
        self.end();
    }

    fn step(&mut self) {
        let whose = self.random.below(self.subscribers.len() as u64) as usize;
        match self.random.below(100) {
            0..20 => self.publish(),
            20..30 => self.world.turn(),
            30..52 => {
                self.world.turn();
                let lane = self.random.below(3) as usize;
                self.world.flush_one(lane);
                self.world.turn();
            }
            52..60 => self.attach(whose),
            60..63 => self.detach(whose),
            63..75 => self.change_filter(whose),
            75..88 => self.confirm(whose),
            88..92 => {
                let ms = [10, 300, 2_100][self.random.below(3) as usize];
                self.world.after_ms(ms);
            }
            92..94 => self.world.checkpoint(),
            94..97 => self.crash(),
            _ => self.world.settle(),
        }
    }

    fn publish(&mut self) {
        let topic = TOPICS[self.random.below(4) as usize];
        let qos = 1 + self.random.below(2) as u8;
        let request = self.next;
        self.next += 1;
        let payload = format!("{qos}:{request}").into_bytes();
        let whose = self.subscribers.iter().enumerate().filter(|(_, subscriber)| {
            let held = |(filter, state): (&&str, &Filter)| {
                *state == Filter::Held && is_match(filter.as_bytes(), topic.as_bytes())
            };
            !subscriber.cleans && subscriber.filters.iter().any(held)
        });
        let whose = whose.map(|(whose, _)| whose).collect();
        self.asked.insert(request, Asked { topic, payload: payload.clone(), whose });
        let client = self.publisher.clone();
        let message = Message { qos, request, ..Message::new(topic, &payload) };
        self.world.publish(&client, message);
    }

    fn attach(&mut self, whose: usize) {
        let subscriber = &mut self.subscribers[whose];
        subscriber.lose_connection();
        subscriber.cleans |= self.random.below(12) == 0;
        subscriber.online = true;
        let (clean, mut client) = (subscriber.cleans, subscriber.client.clone());
        let window = 1 + self.random.below(8) as u16;
        self.world.reattach(&mut client, Way { expiry_s: 1_000_000, window, clean, ..KEPT });
        self.subscribers[whose].client = client;
    }

    fn detach(&mut self, whose: usize) {
        let subscriber = &mut self.subscribers[whose];
        let client = subscriber.client.clone();
        subscriber.lose_connection();
        self.world.detach(&client, 1_000_000, false);
    }

    fn change_filter(&mut self, whose: usize) {
        let filter = FILTERS[self.random.below(5) as usize];
        let subscriber = &mut self.subscribers[whose];
        if !subscriber.ready || subscriber.asked.is_some() {
            return;
        }
        let add = subscriber.filters[filter] == Filter::Absent || self.random.below(3) > 0;
        subscriber.asked = Some((filter, add));
        // It says itself what it no longer wants to have for sure.
        if !add {
            subscriber.filters.insert(filter, Filter::Doubtful);
            let kept: BTreeSet<_> = subscriber.had.values().cloned().collect();
            subscriber.must.retain(|payload| kept.contains(payload));
            for asked in self.asked.values_mut() {
                asked.whose.retain(|who| *who != whose);
            }
        }
        let client = subscriber.client.clone();
        match add {
            true => self.world.subscribe(&client, filter, 2, 0),
            false => self.world.unsubscribe(&client, filter),
        }
    }

    /// Confirms some entries, in any order.
    fn confirm(&mut self, whose: usize) {
        let subscriber = &mut self.subscribers[whose];
        if !subscriber.online || subscriber.cleans {
            return;
        }
        let client = subscriber.client.clone();
        for number in subscriber.received.clone() {
            if self.random.below(2) == 0 {
                self.world.mark(&client, number, false);
            }
        }
        for number in subscriber.finished.clone() {
            if self.random.below(2) == 0 {
                subscriber.finished.remove(&number);
                self.world.mark(&client, number, true);
            }
        }
    }

    fn crash(&mut self) {
        self.note_marks();
        let random = &mut self.random;
        let hosts = 1 + random.below(2) as u16;
        self.world.settings.same_lane = random.below(2) == 0;
        self.world.crash(hosts, |waiting| random.below(waiting as u64 + 1) as usize);
        for subscriber in &mut self.subscribers {
            subscriber.lose_connection();
        }
        self.asked.clear();
        let client = self.world.client("publisher", "one");
        self.publisher = client;
    }

    fn note_marks(&mut self) {
        for host in &self.world.hosts {
            let counters = host.counters();
            assert_eq!(counters.stream_gaps + counters.queue_dropped, 0, "seed {}", self.seed);
            for (at, mark) in Mark::ALL.iter().enumerate() {
                self.marks[at] += counters.mark(*mark);
            }
        }
    }

    fn listen(&mut self) {
        for heard in self.world.hear(&self.publisher.clone()) {
            if let Heard::Published { request, code, .. } = heard {
                assert!([0, code::RECOVERING].contains(&code), "seed {}: {code}", self.seed);
                let Some(asked) = self.asked.remove(&request).filter(|_| code == 0) else {
                    continue;
                };
                for whose in asked.whose {
                    self.subscribers[whose].must.insert(asked.payload.clone());
                }
                let client = self.publisher.clone();
                self.world.release(&client, asked.topic, request);
            }
        }
        for whose in 0..self.subscribers.len() {
            let client = self.subscribers[whose].client.clone();
            let told = self.world.listen(&client);
            if !self.subscribers[whose].online {
                // Nobody hears what comes after the good-bye.
                continue;
            }
            for told in told {
                let was_clean = self.subscribers[whose].cleans;
                self.subscribers[whose].hear(self.seed, told);
                if was_clean && !self.subscribers[whose].cleans {
                    for asked in self.asked.values_mut() {
                        asked.whose.retain(|who| *who != whose);
                    }
                }
            }
        }
        self.world.heard.clear();
    }

    fn end(&mut self) {
        for whose in 0..self.subscribers.len() {
            self.attach(whose);
        }
        for _ in 0..200 {
            self.world.settle();
            self.listen();
            let before: usize = self.subscribers.iter().map(|one| one.left()).sum();
            for whose in 0..self.subscribers.len() {
                self.confirm(whose);
            }
            if before == 0 {
                break;
            }
        }
        self.note_marks();
        let seed = self.seed;
        for subscriber in &self.subscribers {
            let numbers = subscriber.had.keys().copied();
            assert!(numbers.eq(1..=subscriber.had.len() as u64), "seed {seed}: a hole");
            for payload in &subscriber.must {
                let text = String::from_utf8_lossy(payload);
                assert!(subscriber.given.contains_key(payload), "seed {seed}: {text} is missing");
            }
        }
        let queued: u64 = self.world.hosts.iter().map(|host| host.counters().queued).sum();
        assert_eq!(queued, 0, "seed {seed}: all is confirmed");
    }
}

impl Subscriber {
    fn lose_connection(&mut self) {
        (self.online, self.ready) = (false, false);
        self.restored.clear();
        if let Some((filter, _)) = self.asked.take() {
            self.filters.insert(filter, Filter::Doubtful);
        }
    }

    fn left(&self) -> usize {
        self.received.len() + self.finished.len()
    }

    fn hear(&mut self, seed: u64, told: Told) {
        match told {
            Told::Restored { filter, options, .. } => {
                assert_eq!(options, 2);
                self.restored.insert(filter);
            }
            Told::Attached { present, code } => {
                assert_eq!(code, 0, "seed {seed}");
                self.ready = true;
                if std::mem::take(&mut self.cleans) {
                    assert!(!present, "seed {seed}: a clean start found a session");
                    self.begin_anew();
                } else {
                    assert!(present, "seed {seed}: a kept session was forgotten");
                }
                for (filter, state) in &mut self.filters {
                    let is_there = self.restored.contains(*filter);
                    assert!(
                        *state == Filter::Doubtful || is_there == (*state == Filter::Held),
                        "seed {seed}: {filter} is {state:?}, restored {:?}",
                        self.restored
                    );
                    *state = if is_there { Filter::Held } else { Filter::Absent };
                }
            }
            Told::Subscribed { existed, code, .. } => {
                assert_eq!(code, 0, "seed {seed}");
                let (filter, add) = self.asked.take().unwrap();
                assert!(add && existed == (self.filters[filter] == Filter::Held), "seed {seed}");
                self.filters.insert(filter, Filter::Held);
            }
            Told::Unsubscribed { .. } => {
                let (filter, add) = self.asked.take().unwrap();
                assert!(!add);
                self.filters.insert(filter, Filter::Absent);
            }
            Told::Entry(queued) => self.take(seed, queued.number, queued.qos, queued.payload),
            Told::Marked { number } => {
                let known = self.received.remove(&number) || self.released.contains(&number);
                assert!(known, "seed {seed}: {number} was never said to be received");
                self.released.insert(number);
                self.finished.insert(number);
            }
            Told::Kick { .. } => panic!("seed {seed}: a session of its own was ended"),
        }
    }

    fn begin_anew(&mut self) {
        self.filters.values_mut().for_each(|state| *state = Filter::Absent);
        self.had.clear();
        self.given.clear();
        self.must.clear();
        self.received.clear();
        self.released.clear();
        self.finished.clear();
    }

    fn take(&mut self, seed: u64, number: u64, qos: u8, payload: Vec<u8>) {
        let before = self.had.insert(number, payload.clone());
        assert!(
            before.as_ref().is_none_or(|before| *before == payload),
            "seed {seed}: {number} means two messages"
        );
        if qos == 1 {
            *self.given.entry(payload).or_default() += 1;
            self.finished.insert(number);
            return;
        }
        assert!(
            !self.released.contains(&number),
            "seed {seed}: {number} came again after its release"
        );
        if self.received.insert(number) {
            let times = self.given.entry(payload).or_default();
            *times += 1;
            assert_eq!(*times, 1, "seed {seed}: {number} was given twice");
        }
    }
}
