//! Random users, devices, crashes, slow disks and lost links against what may never happen.
//!
//! The oracle: nothing acknowledged is lost, no number is given twice, sequences are dense, a
//! sender's order holds, and every device sees every entry of its mailbox once, in order.

use super::{Client, Heard, Planted, WORKERS, World, settings};
use hawser_codec::{code, link};
use hawser_router::HostSettings;
use hawser_router::host::Mark;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const USERS: [&str; 4] = ["ann", "bob", "cid", "dee"];

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

#[derive(Clone)]
struct Outgoing {
    client_seq: u64,
    to: &'static str,
    body: Vec<u8>,
}

struct Player {
    client: Client,
    online: bool,
    next_seq: u64,
    outbox: VecDeque<Outgoing>,
    /// All entries up to here were seen, each once.
    seen: u64,
    reading: bool,
    behind: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    conversation: String,
    sequence: u64,
    sender: String,
    incarnation: u64,
    client_seq: u64,
}

#[derive(Default)]
struct Oracle {
    /// By (user, number).
    entries: BTreeMap<(String, u64), Entry>,
    /// By (conversation, sequence): who sent it.
    messages: BTreeMap<(String, u64), (u64, u64)>,
    bodies: BTreeMap<(u64, u64), Vec<u8>>,
    /// By (incarnation, client_seq): incarnations are unique per device here.
    accepted: BTreeMap<(u64, u64), u64>,
    /// Accepted by conversation.
    sent: BTreeMap<String, BTreeSet<u64>>,
}

/// Small tables, so that their limits are met.
fn narrow() -> HostSettings {
    HostSettings {
        answers_max: 16,
        dedup_bytes_max: 600,
        unacknowledged_max: 4,
        notify_timeout_us: 2_000_000,
        ..settings()
    }
}

/// Plays the seeds asked for by `HAWSER_SEEDS` or `HAWSER_SEED`, else 0 to `seeds`; the sums of
/// the marks, unless only one seed was asked for.
pub fn play(seeds: u64, steps: usize, game: impl Fn(u64) -> Game) -> Option<Vec<u64>> {
    let seeds_max = std::env::var("HAWSER_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let one = std::env::var("HAWSER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(0..seeds_max.unwrap_or(seeds), |seed: u64| seed..seed + 1);
    let mut marks = vec![0; Mark::ALL.len()];
    for seed in seeds {
        let mut game = game(seed);
        game.play(steps);
        for (sum, mark) in marks.iter_mut().zip(&game.marks) {
            *sum += mark;
        }
    }
    for (mark, hits) in Mark::ALL.iter().zip(&marks) {
        println!("{mark:?}: {hits}");
    }
    one.is_none().then_some(marks)
}

fn conversation(one: &str, other: &str) -> String {
    if one <= other { format!("{one}-{other}") } else { format!("{other}-{one}") }
}

pub struct Game {
    seed: u64,
    pub random: Random,
    pub world: World,
    players: Vec<Player>,
    oracle: Oracle,
    pub marks: Vec<u64>,
    /// Links and origins come and go as well.
    routers: bool,
    /// Links lose what no link would.
    loses: bool,
}

impl Game {
    /// Hosts of one process.
    pub fn new(seed: u64) -> Game {
        let mut random = Random(seed);
        let hosts = 1 + random.below(2) as u16;
        let settings = HostSettings { same_lane: random.below(2) == 0, ..narrow() };
        Game::in_world(seed, random, World::with(settings, hosts), false)
    }

    /// The same with links that lose a batch and go on. Nothing may be lost by that either.
    pub fn with_losses(seed: u64) -> Game {
        let mut game = Game::of_routers(seed, None);
        game.loses = true;
        game
    }

    /// Two or three processes with a host each.
    pub fn of_routers(seed: u64, planted: Option<Planted>) -> Game {
        let mut random = Random(seed);
        let hosts = 2 + random.below(2) as u16;
        // Some seeds soon refuse to send.
        let unconfirmed_max = [5, 40, 1000][random.below(3) as usize];
        let stream_window_bytes = [400, 2000, 1 << 20][random.below(3) as usize];
        let settings = HostSettings { unconfirmed_max, stream_window_bytes, ..narrow() };
        Game::in_world(seed, random, World::with_planted(settings, hosts, planted), true)
    }

    fn in_world(seed: u64, random: Random, mut world: World, routers: bool) -> Game {
        let mut players = Vec::new();
        for (index, user) in USERS.iter().enumerate() {
            for device in ["phone", "desk"].iter().take(1 + index % 2) {
                let mut client = world.client(user, device);
                client.incarnation = 100 + players.len() as u64;
                players.push(Player {
                    client,
                    online: false,
                    next_seq: 1,
                    outbox: VecDeque::new(),
                    seen: 0,
                    reading: false,
                    behind: false,
                });
            }
        }
        let marks = vec![0; Mark::ALL.len()];
        Game {
            seed,
            random,
            world,
            players,
            oracle: Oracle::default(),
            marks,
            routers,
            loses: false,
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
        let who = self.random.below(self.players.len() as u64) as usize;
        match self.random.below(100) {
            0..30 => self.compose(who),
            30..40 => self.world.turn(),
            40..45 => {
                self.world.answer_reads();
            }
            45..65 => {
                self.world.turn();
                let lane = self.random.below(3) as usize;
                self.world.flush_one(lane);
                self.world.turn();
            }
            65..72 => self.send_all(who),
            72..80 => self.login(who),
            80..84 => self.read(who),
            84..92 => {
                let ms = [10, 300, 2_100][self.random.below(3) as usize];
                self.world.after_ms(ms);
            }
            92..94 => self.world.checkpoint(),
            94..95 => {
                let client = self.players[who].client.clone();
                self.world.stall(&client);
            }
            95..97 => {
                let client = self.players[who].client.clone();
                self.world.logout(&client);
                self.players[who].online = false;
            }
            97..98 => self.crash(),
            // The disk answers at once, or only when it pleases.
            98..99 => self.world.reads_by_hand = !self.world.reads_by_hand,
            _ => self.world.settle(),
        }
        self.listen();
    }

    fn compose(&mut self, who: usize) {
        let to = USERS[self.random.below(USERS.len() as u64) as usize];
        let long = if self.random.below(10) == 0 { 700 } else { 0 };
        let player = &mut self.players[who];
        if player.outbox.len() >= 8 {
            return;
        }
        let client_seq = player.next_seq;
        player.next_seq += 1;
        let incarnation = player.client.incarnation;
        let mut body = format!("{incarnation}:{client_seq}").into_bytes();
        body.resize(body.len() + long, b'.');
        self.oracle.bodies.insert((incarnation, client_seq), body.clone());
        player.outbox.push_back(Outgoing { client_seq, to, body });
        if player.online {
            let last = self.players[who].outbox.len() - 1;
            self.send(who, last);
        }
    }

    fn send(&mut self, who: usize, at: usize) {
        let player = &self.players[who];
        let Outgoing { client_seq, to, body } = player.outbox[at].clone();
        let earlier = player.outbox.iter().take(at).rfind(|earlier| earlier.to == to);
        let after = earlier.map_or(0, |earlier| earlier.client_seq);
        let client = player.client.clone();
        let send = self.world.send_frame(&client, to, client_seq, &body);
        self.world.put_send(&client, link::Send { after, ..send });
    }

    fn send_all(&mut self, who: usize) {
        if self.players[who].online {
            for at in 0..self.players[who].outbox.len() {
                self.send(who, at);
            }
        }
    }

    fn login(&mut self, who: usize) {
        let own = self.random.below(2) == 0;
        let player = &mut self.players[who];
        // Only a session that the host has lost is announced.
        let announce = self.random.below(3) == 0 && !player.online;
        let mut client = player.client.clone();
        let fresh = self.world.client(&client.user_name, &client.device_name);
        (client.connection, client.worker) = (fresh.connection, fresh.worker);
        let cursor_plus_one = if own { player.seen + 1 } else { 0 };
        (player.online, player.reading, player.behind) = (true, false, false);
        player.client = client.clone();
        let login = self.world.login_frame(&client);
        self.world.put_login(&client, link::Login { cursor_plus_one, announce, ..login });
    }

    fn read(&mut self, who: usize) {
        let player = &mut self.players[who];
        if player.online && player.behind && !player.reading {
            player.reading = true;
            let (client, seen) = (player.client.clone(), player.seen);
            self.world.read(&client, seen, 5, false);
        }
    }

    /// Something happens between processes.
    fn step_links(&mut self) {
        let routers = u64::from(self.world.settings.hosts);
        let from = self.random.below(routers) as u16;
        let to = (from + 1 + self.random.below(routers - 1) as u16) % routers as u16;
        match self.random.below(200) {
            0..110 => {
                self.world.deliver(from, to);
            }
            110..130 => {
                self.world.deliver_all();
            }
            130..150 if !self.world.links.is_up(from, to) => self.world.connect(from, to),
            // Another link in the place of one that is lost, or was not.
            150..153 => self.world.connect(from, to),
            153..157 => self.world.cut(from, to),
            157..159 => self.world.links.die(from, to),
            159..162 => self.lose_origin(from),
            162..190 if self.loses => {
                let under_way = self.world.links.under_way(from, to) as u64;
                let at = self.random.below(under_way + 1) as usize;
                self.world.links.lose_one(from, to, at);
            }
            _ => {}
        }
    }

    /// The link from a gateway to one router ends; another takes its number.
    fn lose_origin(&mut self, host: u16) {
        let origin = self.random.below(u64::from(WORKERS)) as u16;
        let before = self.world.hosts[usize::from(host)].counters().sessions;
        self.world.hosts[usize::from(host)].origin_gone(origin);
        assert!(self.world.hosts[usize::from(host)].origin_came(origin), "the number is free");
        let after = self.world.hosts[usize::from(host)].counters().sessions;
        assert!(after <= before, "seed {}: sessions came of nothing", self.seed);
        for player in &mut self.players {
            if player.client.worker == origin && self.world.host_of(&player.client.user) == host {
                player.online = false;
            }
        }
    }

    fn crash_one(&mut self) {
        self.note_marks();
        let host = self.random.below(u64::from(self.world.settings.hosts)) as u16;
        let random = &mut self.random;
        self.world.crash_one(host, |waiting| random.below(waiting as u64 + 1) as usize);
        for player in &mut self.players {
            player.online &= self.world.host_of(&player.client.user) != host;
        }
    }

    fn crash(&mut self) {
        if self.routers {
            return self.crash_one();
        }
        self.note_marks();
        let hosts = 1 + self.random.below(2) as u16;
        let random = &mut self.random;
        self.world.settings.same_lane = random.below(2) == 0;
        // A lane keeps a prefix. With several lanes each keeps its own.
        self.world.crash(hosts, |waiting| random.below(waiting as u64 + 1) as usize);
        for player in &mut self.players {
            player.online = false;
        }
    }

    fn note_marks(&mut self) {
        for host in &self.world.hosts {
            let counters = host.counters();
            assert_eq!(counters.stream_gaps, 0, "seed {}", self.seed);
            // With a fault planted the clients have to notice.
            let faults = self.world.links.planted.map_or(counters.stream_faults, |_| 0);
            assert_eq!(faults, 0, "seed {}", self.seed);
            for (at, mark) in Mark::ALL.iter().enumerate() {
                self.marks[at] += counters.mark(*mark);
            }
        }
    }

    fn listen(&mut self) {
        for who in 0..self.players.len() {
            let client = self.players[who].client.clone();
            for heard in self.world.hear(&client) {
                self.hear(who, heard);
            }
        }
        self.world.heard.retain(|_| false);
    }

    fn hear(&mut self, who: usize, heard: Heard) {
        let seed = self.seed;
        let player = &mut self.players[who];
        let incarnation = player.client.incarnation;
        match heard {
            Heard::LoggedIn { head, cursor, .. } => {
                assert!(head >= player.seen, "seed {seed}: a shown number was lost");
                assert!(cursor <= player.seen, "seed {seed}: cursor moved by itself");
                player.behind = cursor < head;
                // What the server thinks unread is pushed by page only.
            }
            Heard::Accepted { client_seq, sequence, .. } => {
                let at = player.outbox.iter().position(|one| one.client_seq == client_seq);
                let identity = (incarnation, client_seq);
                if let Some(before) = self.oracle.accepted.insert(identity, sequence) {
                    assert_eq!(before, sequence, "seed {seed}: two answers to one request");
                }
                if let Some(at) = at {
                    let to = player.outbox.remove(at).expect("found a moment ago").to;
                    let name = conversation(&player.client.user_name, to);
                    let fresh = self.oracle.sent.entry(name.clone()).or_default().insert(sequence);
                    assert!(fresh, "seed {seed}: {name} #{sequence} was given twice");
                }
            }
            Heard::Refused { code: why, .. } => {
                let passing = [code::OUT_OF_ORDER, code::TRY_AGAIN];
                let backed_up = self.routers && why == code::OVERLOADED;
                assert!(backed_up || passing.contains(&why), "seed {seed}: refused with {why}");
            }
            Heard::Deliver(told) => {
                let user = player.client.user_name.clone();
                let name = conversation(&user, &told.peer);
                assert!(told.number <= player.seen + 1, "seed {seed}: a hole before {told:?}");
                let identity = (told.incarnation, told.client_seq);
                let wanted = if told.own { &[][..] } else { &self.oracle.bodies[&identity] };
                assert!(told.body == wanted, "seed {seed}: wrong body of {told:?}");
                let entry = Entry {
                    conversation: name.clone(),
                    sequence: told.sequence,
                    sender: told.sender.clone(),
                    incarnation: told.incarnation,
                    client_seq: told.client_seq,
                };
                let before = self.oracle.entries.insert((user, told.number), entry.clone());
                assert!(before.is_none_or(|before| before == entry), "seed {seed}: {entry:?}");
                let key = (name, told.sequence);
                let before = self.oracle.messages.insert(key, identity);
                assert!(before.is_none_or(|before| before == identity), "seed {seed}: {entry:?}");
                if told.number == player.seen + 1 {
                    player.seen += 1;
                    if self.random.below(2) == 0 {
                        let (client, seen) = (player.client.clone(), player.seen);
                        self.world.confirm(&client, seen);
                    }
                }
            }
            Heard::Head { .. } => player.behind = true,
            Heard::PageEnd { more, code, .. } => {
                assert_eq!(code, 0, "seed {seed}");
                (player.reading, player.behind) = (false, more);
            }
            Heard::LoginRefused { code, .. } => panic!("seed {seed}: login refused: {code}"),
            Heard::Kick { .. } => player.online = false,
            // Nobody here has anything to do with topics.
            _ => {}
        }
    }

    fn end(&mut self) {
        self.world.reads_by_hand = false;
        if self.loses {
            self.world.reconnect_all();
        }
        for who in 0..self.players.len() {
            self.login(who);
        }
        for _ in 0..200 {
            if self.routers {
                self.world.connect_all();
                self.world.after_ms(200);
            }
            self.world.settle();
            self.listen();
            let mut busy = false;
            for who in 0..self.players.len() {
                self.send_all(who);
                self.read(who);
                busy |= !self.players[who].outbox.is_empty() || self.players[who].behind;
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

    fn judge(&self) {
        let seed = self.seed;
        let mut found: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
        for ((user, _), entry) in &self.oracle.entries {
            let key = (user.clone(), entry.conversation.clone());
            found.entry(key).or_default().push(entry.sequence);
        }
        for (name, sequences) in &self.oracle.sent {
            let dense: Vec<u64> = (1..=sequences.len() as u64).collect();
            let given: Vec<u64> = sequences.iter().copied().collect();
            assert_eq!(given, dense, "seed {seed}: {name} is not dense");
            for user in name.split('-') {
                // In mailbox order, which is the order of the conversation for every member.
                let seen = &found[&(user.to_string(), name.clone())];
                assert_eq!(*seen, dense, "seed {seed}: {name} as {user} sees it");
            }
        }
        let mut last: BTreeMap<(String, u64), u64> = BTreeMap::new();
        for ((name, _), (incarnation, client_seq)) in &self.oracle.messages {
            let before = last.insert((name.clone(), *incarnation), *client_seq);
            assert!(before < Some(*client_seq), "seed {seed}: order of {incarnation} in {name}");
        }
        for player in &self.players {
            assert!(player.outbox.is_empty(), "seed {seed}: a request is never answered");
            let user = player.client.user_name.clone();
            let all = self.oracle.entries.range((user.clone(), 0)..=(user, u64::MAX)).count();
            assert_eq!(player.seen, all as u64, "seed {seed}: {}", player.client.device_name);
        }
    }
}
