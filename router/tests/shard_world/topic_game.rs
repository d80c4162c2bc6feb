//! A game of publishers and kept sessions in which hosts crash and links come and go, and an
//! oracle that knows what must have been heard.
//!
//! Publishers repeat what was not answered, as their norm asks; subscribers come, go, and repeat
//! nothing. What is judged: an acknowledged publish reaches every session that had a filter for
//! it; one of quality 2 once; a number of a queue never means two messages, and none is left out;
//! of a retained topic the last message is kept.

use super::game::Random;
use super::sessions::{KEPT, Told as Heard, Way};
use super::{Client, Heard as Any, Message, Planted, World, settings};
use hawser_codec::code;
use hawser_router::HostSettings;
use hawser_router::host::Mark;
use hawser_router::topic::filter::is_match;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const TOPICS: [&str; 5] = ["a/1", "a/2", "b/1", "b/1/x", "c"];
const FILTERS: [&str; 5] = ["a/+", "b/#", "c", "#", "a/1"];
/// More would pass the queues, which may then drop.
const OUTSTANDING_MAX: usize = 6;

#[derive(Clone)]
struct Outgoing {
    topic: &'static str,
    payload: Vec<u8>,
    qos: u8,
    request: u16,
    retain: bool,
    /// Of quality 2: it is published, its packet id not yet released.
    releasing: bool,
    /// Hosts that have not said yet that they released it.
    unreleased: usize,
}

struct Publisher {
    client: Client,
    outbox: VecDeque<Outgoing>,
    next: u64,
    next_request: u16,
}

struct Subscriber {
    client: Client,
    filters: Vec<&'static str>,
    online: bool,
    /// Payload by number.
    had: BTreeMap<u64, Vec<u8>>,
    confirmed: u64,
}

pub struct TopicGame {
    seed: u64,
    random: Random,
    pub world: World,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    /// Acknowledged: topic, payload, quality.
    published: BTreeMap<Vec<u8>, (&'static str, u8)>,
    /// Last acknowledged by publisher, which each have a topic of their own.
    retained: BTreeMap<String, Vec<u8>>,
    pub marks: Vec<u64>,
    routers: bool,
}

impl TopicGame {
    /// Hosts of one process.
    pub fn new(seed: u64) -> TopicGame {
        let mut random = Random::new(seed);
        let hosts = 1 + random.below(2) as u16;
        let settings = HostSettings { same_lane: random.below(2) == 0, ..settings() };
        let world = World::with(settings, hosts);
        TopicGame::begin(seed, random, world, false)
    }

    /// Hosts of a process each.
    pub fn of_routers(seed: u64, planted: Option<Planted>) -> TopicGame {
        let mut random = Random::new(seed);
        let settings = HostSettings {
            stream_window_bytes: [400, 1 << 20][random.below(2) as usize],
            unconfirmed_max: 30,
            ..settings()
        };
        let routers = 2 + random.below(2) as u16;
        let mut world = World::with_planted(settings, routers, planted);
        world.connect_all();
        TopicGame::begin(seed, random, world, true)
    }

    fn begin(seed: u64, mut random: Random, mut world: World, routers: bool) -> TopicGame {
        let mut subscribers = Vec::new();
        for number in 0..4 {
            let client = world.session(&format!("sub{number}"), "sensor", KEPT);
            let mut filters: Vec<&str> =
                (0..2).map(|_| FILTERS[random.below(5) as usize]).collect();
            filters.sort_unstable();
            filters.dedup();
            for filter in &filters {
                world.subscribe(&client, filter, 2, 0);
            }
            world.settle();
            let told = world.listen(&client);
            let subscribed = |told: &&Heard| matches!(told, Heard::Subscribed { code: 0, .. });
            assert_eq!(told.iter().filter(subscribed).count(), filters.len(), "{told:?}");
            let (had, confirmed) = (BTreeMap::new(), 0);
            subscribers.push(Subscriber { client, filters, online: true, had, confirmed });
        }
        let publishers = (0..3).map(|number| Publisher {
            client: world.client(&format!("pub{number}"), "sensor"),
            outbox: VecDeque::new(),
            next: 1,
            next_request: 1,
        });
        let publishers = publishers.collect();
        let (published, retained) = (BTreeMap::new(), BTreeMap::new());
        let marks = vec![0; Mark::ALL.len()];
        TopicGame {
            seed,
            random,
            world,
            publishers,
            subscribers,
            published,
            retained,
            marks,
            routers,
        }
    }

    pub fn play(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.routers {
                self.step_links();
            }
            self.step();
        }
        self.end();
    }

    fn step(&mut self) {
        let who = self.random.below(self.publishers.len() as u64) as usize;
        let whose = self.random.below(self.subscribers.len() as u64) as usize;
        match self.random.below(100) {
            0..25 => self.compose(who),
            25..35 => self.world.turn(),
            35..60 => {
                self.world.turn();
                let lane = self.random.below(3) as usize;
                self.world.flush_one(lane);
                self.world.turn();
            }
            60..68 => self.say_all(who),
            68..76 => self.attach(whose),
            76..80 => {
                let subscriber = &mut self.subscribers[whose];
                subscriber.online = false;
                let client = subscriber.client.clone();
                self.world.detach(&client, 1_000_000, false);
            }
            80..90 => self.confirm(whose),
            90..94 => {
                let ms = [10, 300, 2_100][self.random.below(3) as usize];
                self.world.after_ms(ms);
            }
            94..96 => self.world.checkpoint(),
            96..98 => self.crash(),
            _ => self.world.settle(),
        }
        self.listen();
    }

    fn compose(&mut self, who: usize) {
        let (topic, qos) = (TOPICS[self.random.below(5) as usize], 1 + self.random.below(2) as u8);
        let retain = self.random.below(6) == 0;
        let publisher = &mut self.publishers[who];
        if publisher.outbox.len() >= OUTSTANDING_MAX {
            return;
        }
        // Of two under way a repeat could bring the older one back, as the norm has it.
        let retain = retain && !publisher.outbox.iter().any(|one| one.retain);
        let payload = format!("{who}:{}", publisher.next).into_bytes();
        publisher.next += 1;
        let taken = |request| publisher.outbox.iter().any(|one| one.request == request);
        let mut requests = (1..100).map(|more| (publisher.next_request + more) % 20 + 1);
        let request = requests.find(|request| !taken(*request)).unwrap();
        publisher.next_request = request;
        // Retained topics have one publisher, else nobody could say which was the last.
        let topic = if retain { ["r/0", "r/1", "r/2"][who] } else { topic };
        let out =
            Outgoing { topic, payload, qos, request, retain, releasing: false, unreleased: 0 };
        publisher.outbox.push_back(out);
        let last = publisher.outbox.len() - 1;
        self.say(who, last);
    }

    fn say(&mut self, who: usize, at: usize) {
        let Publisher { client, outbox, .. } = &self.publishers[who];
        let (client, out) = (client.clone(), outbox[at].clone());
        if out.releasing {
            // Who does not know the topic asks all, and is done when all have answered.
            let topic = if self.random.below(4) == 0 { "" } else { out.topic };
            let hosts = if topic.is_empty() { self.world.hosts.len() } else { 1 };
            self.publishers[who].outbox[at].unreleased = hosts;
            return self.world.release(&client, topic, out.request);
        }
        let Outgoing { topic, payload, qos, request, retain, .. } = out;
        self.world.publish(
            &client,
            Message { topic, payload: &payload, qos, request, retain, expiry_s: 0 },
        );
    }

    /// Repeats what is not answered, on another connection: late answers are not for these.
    fn say_all(&mut self, who: usize) {
        let client = &self.publishers[who].client;
        let (user, device) = (client.user_name.clone(), client.device_name.clone());
        self.publishers[who].client = self.world.client(&user, &device);
        for at in 0..self.publishers[who].outbox.len() {
            self.say(who, at);
        }
    }

    fn attach(&mut self, whose: usize) {
        let subscriber = &mut self.subscribers[whose];
        subscriber.online = true;
        let mut client = subscriber.client.clone();
        let window = 1 + self.random.below(10) as u16;
        self.world.reattach(&mut client, Way { expiry_s: 1_000_000, window, ..KEPT });
        self.subscribers[whose].client = client;
    }

    fn confirm(&mut self, whose: usize) {
        let subscriber = &mut self.subscribers[whose];
        let whole = (1..).take_while(|number| subscriber.had.contains_key(number)).last();
        let Some(number) = whole.filter(|number| *number > subscriber.confirmed) else { return };
        if subscriber.online {
            subscriber.confirmed = number;
            let client = subscriber.client.clone();
            self.world.confirm_queue(&client, number);
        }
    }

    fn step_links(&mut self) {
        let routers = u64::from(self.world.settings.hosts);
        let from = self.random.below(routers) as u16;
        let to = (from + 1 + self.random.below(routers - 1) as u16) % routers as u16;
        match self.random.below(200) {
            0..120 => {
                self.world.deliver(from, to);
            }
            120..140 => {
                self.world.deliver_all();
            }
            140..165 if !self.world.links.is_up(from, to) => self.world.connect(from, to),
            165..168 => self.world.connect(from, to),
            168..172 => self.world.cut(from, to),
            172..174 => self.world.links.die(from, to),
            _ => {}
        }
    }

    fn crash(&mut self) {
        self.note_marks();
        let random = &mut self.random;
        if self.routers {
            let host = random.below(u64::from(self.world.settings.hosts)) as u16;
            self.world.crash_one(host, |waiting| random.below(waiting as u64 + 1) as usize);
            for subscriber in &mut self.subscribers {
                subscriber.online &= self.world.host_of(&subscriber.client.user) != host;
            }
            return;
        }
        let hosts = 1 + random.below(2) as u16;
        self.world.settings.same_lane = random.below(2) == 0;
        self.world.crash(hosts, |waiting| random.below(waiting as u64 + 1) as usize);
        for subscriber in &mut self.subscribers {
            subscriber.online = false;
        }
    }

    fn note_marks(&mut self) {
        let seed = self.seed;
        for host in &self.world.hosts {
            let counters = host.counters();
            assert_eq!(counters.stream_gaps, 0, "seed {seed}");
            assert_eq!(counters.queue_dropped, 0, "seed {seed}: a queue was full");
            for (at, mark) in Mark::ALL.iter().enumerate() {
                self.marks[at] += counters.mark(*mark);
            }
        }
    }

    fn listen(&mut self) {
        for whose in 0..self.subscribers.len() {
            let client = self.subscribers[whose].client.clone();
            for told in self.world.listen(&client) {
                self.hear(whose, told);
            }
        }
        for who in 0..self.publishers.len() {
            let client = self.publishers[who].client.clone();
            for heard in self.world.hear(&client) {
                self.answered(who, heard);
            }
        }
        self.world.heard.clear();
    }

    fn hear(&mut self, whose: usize, told: Heard) {
        let seed = self.seed;
        let subscriber = &mut self.subscribers[whose];
        match told {
            Heard::Entry(queued) => {
                let topic = queued.topic.as_bytes();
                let wanted = subscriber.filters.iter().any(|f| is_match(f.as_bytes(), topic));
                assert!(wanted, "seed {seed}: nobody asked for {queued:?}");
                // What comes again is confirmed again.
                subscriber.confirmed = subscriber.confirmed.min(queued.number - 1);
                let before = subscriber.had.insert(queued.number, queued.payload.clone());
                assert!(
                    before.is_none_or(|before| before == queued.payload),
                    "seed {seed}: {} of {whose} means two messages",
                    queued.number
                );
            }
            Heard::Attached { present, code } => {
                assert!(present && code == 0, "seed {seed}: a kept session was forgotten, {code}");
            }
            Heard::Kick { .. } => subscriber.online = false,
            _ => {}
        }
    }

    fn answered(&mut self, who: usize, heard: Any) {
        let publisher = &mut self.publishers[who];
        let find = |outbox: &VecDeque<Outgoing>, request, releasing| {
            outbox.iter().position(|o| o.request == request && o.releasing == releasing)
        };
        match heard {
            Any::Published { request, code: 0, .. } => {
                let Some(at) = find(&publisher.outbox, request, false) else { return };
                let out = &mut publisher.outbox[at];
                self.published.insert(out.payload.clone(), (out.topic, out.qos));
                if out.retain {
                    self.retained.insert(out.topic.into(), out.payload.clone());
                }
                if out.qos == 2 {
                    out.releasing = true;
                } else {
                    publisher.outbox.remove(at);
                }
            }
            Any::Published { code, .. } => {
                let passing = [code::RECOVERING, code::OVERLOADED];
                assert!(passing.contains(&code), "seed {}: refused with {code}", self.seed);
            }
            Any::Released { request, .. } => {
                if let Some(at) = find(&publisher.outbox, request, true) {
                    let out = &mut publisher.outbox[at];
                    out.unreleased -= 1;
                    if out.unreleased == 0 {
                        publisher.outbox.remove(at);
                    }
                }
            }
            _ => {}
        }
    }

    fn end(&mut self) {
        if self.routers {
            self.world.reconnect_all();
        }
        for whose in 0..self.subscribers.len() {
            self.attach(whose);
        }
        for _ in 0..300 {
            if self.routers {
                self.world.connect_all();
                self.world.after_ms(200);
            }
            self.world.settle();
            self.listen();
            let mut busy = false;
            for who in 0..self.publishers.len() {
                self.say_all(who);
                busy |= !self.publishers[who].outbox.is_empty();
            }
            for whose in 0..self.subscribers.len() {
                let before = self.subscribers[whose].confirmed;
                self.confirm(whose);
                busy |= self.subscribers[whose].confirmed > before;
            }
            if !busy {
                break;
            }
        }
        self.world.settle();
        self.listen();
        self.note_marks();
        self.judge();
    }

    fn judge(&mut self) {
        let seed = self.seed;
        for publisher in &self.publishers {
            assert!(publisher.outbox.is_empty(), "seed {seed}: a publish is never answered");
        }
        for (whose, subscriber) in self.subscribers.iter().enumerate() {
            let dense = (1..=subscriber.had.len() as u64).eq(subscriber.had.keys().copied());
            assert!(dense, "seed {seed}: numbers of {whose} have a hole");
            let mut times: BTreeMap<&[u8], usize> = BTreeMap::new();
            for payload in subscriber.had.values() {
                *times.entry(payload).or_default() += 1;
            }
            for (payload, (topic, qos)) in &self.published {
                let mut filters = subscriber.filters.iter();
                let wanted = filters.any(|f| is_match(f.as_bytes(), topic.as_bytes()));
                let had = times.get(&payload[..]).copied().unwrap_or(0);
                let text = String::from_utf8_lossy(payload);
                assert!(!wanted || had > 0, "seed {seed}: {whose} misses {text} of {topic}");
                assert!(*qos < 2 || had <= 1, "seed {seed}: {whose} has {text} {had} times");
            }
        }
        let client = self.publishers[0].client.clone();
        let kept = self.world.retained(&client, "r/+");
        let wanted: Vec<_> = self.retained.clone().into_iter().collect();
        let names: BTreeSet<_> = kept.iter().map(|(topic, _)| topic).collect();
        assert_eq!(names.len(), kept.len(), "seed {seed}");
        assert_eq!(kept, wanted, "seed {seed}: retained messages");
    }
}
