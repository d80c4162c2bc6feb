//! One device reads one mailbox through every door in turn, while others write to it: native,
//! WebSocket with native frames and with JSON, `$hawser/inbox` of MQTT, long-poll and events.
//!
//! A visit reads some entries and confirms them, or some of them, or drops the connection. Whoever
//! comes next, through whichever door, must be shown what follows the confirmed: that and nothing
//! else, and the same under the same number as before.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use hawser_codec::{
    frame::{self, FLAG_PAGE, FrameLimits, Step},
    message::{self, Encoder, Message, NotifyAcknowledge, Sync},
    mqtt::{
        Kind, Qos, Version,
        packet::{Connect, Disconnect, Options, Packet},
        property::{self, Properties, Value},
    },
    websocket::Opcode,
};
use hawser_loadgen::schedule::Random;
use hawser_tests::{
    company::until,
    curl::Curl,
    mqtt::{Heard as Packets, Message as Published, MqttClient, connect},
    process::{Gateway, Setup},
    raw::{RawClient, hello, request},
    websocket::{Heard, WebSocketClient, Wish},
};
use serde_json::{Value as Json, json};

const READER: &str = "alice";
const DEVICE: &str = "web";
const WRITERS: [&str; 3] = ["bob", "carol", "dave"];
/// How often each door is visited while others write.
const ROUNDS: usize = 5;
/// What each writer writes during a visit.
const WRITTEN_IN_A_VISIT: u64 = 7;
const TOTAL: u64 = (ROUNDS * Door::ALL.len() * WRITERS.len()) as u64 * WRITTEN_IN_A_VISIT;
/// Entries a visit wants, at most.
const WANTED_MAX: u32 = 50;
const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

/// A way to the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Native,
    WebSocket,
    Json,
    Mqtt,
    Poll,
    Events,
}

impl Door {
    const ALL: [Self; 6] =
        [Self::Native, Self::WebSocket, Self::Json, Self::Mqtt, Self::Poll, Self::Events];
}

/// How a visit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// All is confirmed, and the server has said or shown so.
    Sure,
    /// Something is confirmed and the connection dropped behind it: it may have come or not.
    Hasty,
    /// The connection is dropped.
    Rude,
}

impl Leave {
    fn any(random: &mut Random) -> Self {
        [Self::Sure, Self::Sure, Self::Hasty, Self::Rude][random.below(4) as usize]
    }
}

/// An entry, as far as all doors show it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    number: u64,
    conversation: String,
    sender: String,
    sequence: u64,
    body: String,
}

/// What the device has been shown and what it has confirmed: the judge.
#[derive(Debug, Default)]
struct Device {
    entries: BTreeMap<u64, Entry>,
    /// The server's cursor is here at least.
    low: u64,
    /// And here at most.
    high: u64,
    /// Shown more than once, because it had not been confirmed.
    repeated: u64,
}

impl Device {
    /// The server named the device's cursor.
    #[track_caller]
    fn cursor(&self, told: u64) -> u64 {
        let Self { low, high, .. } = self;
        assert!((*low..=*high).contains(&told), "cursor {told}, confirmed {low} to {high}");
        told
    }

    /// An entry was shown behind the one with number `last`.
    #[track_caller]
    fn shown(&mut self, last: u64, entry: Entry) -> u64 {
        let number = entry.number;
        assert_eq!(number, last + 1, "entries follow each other: {entry:?}");
        assert!(number > self.low, "{entry:?} was confirmed, all up to {} was", self.low);
        match self.entries.get(&number) {
            Some(before) => {
                assert_eq!(*before, entry, "through another door it was another");
                self.repeated += 1;
            }
            None => {
                // What was shown has no hole, so an entry beyond it would have left one out.
                assert_eq!(number, self.entries.len() as u64 + 1, "{entry:?}");
                self.entries.insert(number, entry);
            }
        }
        number
    }

    /// The first entry of a visit whose door does not name the cursor tells it.
    #[track_caller]
    fn begins(&self, first: &Entry) -> u64 {
        self.cursor(first.number - 1)
    }

    /// All up to `number` is confirmed for certain.
    fn confirmed(&mut self, number: u64) {
        self.low = self.low.max(number);
        self.high = self.high.max(number);
    }

    /// All up to `number` may be confirmed.
    fn perhaps_confirmed(&mut self, number: u64) {
        self.high = self.high.max(number);
    }
}

/// What is heard through the doors that speak the native protocol, in whatever spelling.
#[derive(Debug)]
enum Said {
    Welcome { cursor: u64, head: u64 },
    Notify { is_page: bool, entry: Entry },
    Head(u64),
    Page { count: u64, head: u64, cursor: u64 },
    Other,
}

fn said(flags: u8, message: &Message<'_>) -> Said {
    match message {
        Message::Welcome(of) => Said::Welcome { cursor: of.cursor, head: of.head },
        Message::Notify(of) => Said::Notify {
            is_page: flags & FLAG_PAGE != 0,
            entry: Entry {
                number: of.number,
                conversation: of.conversation.to_owned(),
                sender: of.sender.to_owned(),
                sequence: of.sequence,
                body: String::from_utf8_lossy(of.body).into_owned(),
            },
        },
        Message::Head(of) => Said::Head(of.head),
        Message::Page(of) => {
            Said::Page { count: u64::from(of.count), head: of.head, cursor: of.cursor }
        }
        Message::Error(of) => panic!("{of:?}"),
        _ => Said::Other,
    }
}

fn number(json: &Json, name: &str) -> u64 {
    json[name].as_u64().unwrap_or_else(|| panic!("no {name}: {json}"))
}

fn text(json: &Json, name: &str) -> String {
    json[name].as_str().unwrap_or_else(|| panic!("no {name}: {json}")).to_owned()
}

/// A notify, as JSON, polls and events have it.
fn entry(json: &Json) -> Entry {
    Entry {
        number: number(json, "number"),
        conversation: text(json, "conversation"),
        sender: text(json, "sender"),
        sequence: number(json, "sequence"),
        body: text(json, "text"),
    }
}

fn said_as_json(json: &Json) -> Said {
    let number = |name| number(json, name);
    match json["type"].as_str() {
        Some("welcome") => Said::Welcome { cursor: number("cursor"), head: number("head") },
        Some("notify") => Said::Notify { is_page: json["page"] == true, entry: entry(json) },
        Some("head") => Said::Head(number("head")),
        Some("page") => {
            Said::Page { count: number("count"), head: number("head"), cursor: number("cursor") }
        }
        Some("error") => panic!("{json}"),
        _ => Said::Other,
    }
}

/// A connection of the native protocol, in one of its three spellings.
enum Line {
    Native(RawClient),
    WebSocket(WebSocketClient),
    Json(WebSocketClient),
}

impl Line {
    #[track_caller]
    fn open(gateway: &Gateway, door: Door) -> Self {
        let open = |protocol| {
            let client = WebSocketClient::open(gateway.websocket(), &Wish::of("/ws", &[protocol]));
            client.unwrap_or_else(|refused| panic!("{refused:?}"))
        };
        let mut line = match door {
            Door::WebSocket => Self::WebSocket(open("hawser.v1")),
            Door::Json => Self::Json(open("hawser.json.v1")),
            _ => return Self::Native(RawClient::greet(gateway.native(), &hello(READER, DEVICE))),
        };
        let this = Message::Hello(hello(READER, DEVICE));
        line.say(&this, &json!({"type": "hello", "user": READER, "device": DEVICE}));
        line
    }

    /// Says this, or in JSON that.
    fn say(&mut self, this: &Message<'_>, that: &Json) {
        match self {
            Self::Native(client) => client.tell(this),
            Self::WebSocket(client) => {
                let mut bytes = Vec::new();
                Encoder::new().message(&mut bytes, 0, 0, this);
                client.say(Opcode::Binary, &bytes);
            }
            Self::Json(client) => client.say_text(&that.to_string()),
        }
    }

    #[track_caller]
    fn hear(&mut self) -> Said {
        match self {
            Self::Native(client) => {
                client.take("anything", |received, message| Some(said(received.flags, message)))
            }
            Self::WebSocket(client) => {
                let heard = client.hear();
                let Heard::Binary(bytes) = heard else { panic!("no frame: {heard:?}") };
                let Ok(Step::Frame { frame, .. }) = frame::step(&LIMITS, &bytes) else {
                    panic!("no whole frame: {bytes:?}")
                };
                said(frame.flags, &message::decode(frame).expect("the server speaks well"))
            }
            Self::Json(client) => {
                let text = client.hear_text();
                said_as_json(&serde_json::from_str(&text).expect("the server speaks JSON"))
            }
        }
    }

    #[track_caller]
    fn welcome(&mut self) -> (u64, u64) {
        match self.hear() {
            Said::Welcome { cursor, head } => (cursor, head),
            other => panic!("no welcome: {other:?}"),
        }
    }

    fn confirm(&mut self, number: u64) {
        let this = Message::NotifyAcknowledge(NotifyAcknowledge { number });
        self.say(&this, &json!({"type": "notify_acknowledge", "number": number}));
    }

    /// Reads a page behind `last`, which the question confirms; gives the last entry then and the
    /// mailbox's head.
    #[track_caller]
    fn page(&mut self, device: &mut Device, last: u64, limit: u16) -> (u64, u64) {
        let this = Sync { request: 1, after: last, limit, backward: false, since_ms: 0 };
        let that = json!({"type": "sync", "request": 1, "after": last, "limit": limit});
        self.say(&Message::Sync(this), &that);
        device.perhaps_confirmed(last);
        let (mut shown, mut pushed) = (last, 0);
        loop {
            match self.hear() {
                Said::Notify { is_page: true, entry } => shown = device.shown(shown, entry),
                Said::Notify { entry, .. } => pushed = pushed.max(entry.number),
                Said::Head(head) => pushed = pushed.max(head),
                Said::Page { count, head, cursor } => {
                    assert_eq!(count, shown - last, "the page says how much it held");
                    device.confirmed(last);
                    device.cursor(cursor);
                    return (shown, head.max(pushed));
                }
                Said::Welcome { .. } | Said::Other => {}
            }
        }
    }
}

/// Reads up to `target` through a door of the native protocol.
#[track_caller]
fn visit_line(
    gateway: &Gateway,
    device: &mut Device,
    door: Door,
    target: u64,
    leave: Leave,
    random: &mut Random,
) {
    let mut line = Line::open(gateway, door);
    let (cursor, mut head) = line.welcome();
    let mut last = device.cursor(cursor);
    while last < target {
        if head > last {
            let limit = 1 + random.below(20) as u16;
            (last, head) = line.page(device, last, limit);
            continue;
        }
        match line.hear() {
            Said::Notify { entry, .. } if entry.number == last + 1 => {
                last = device.shown(last, entry);
                head = last;
            }
            Said::Notify { entry, .. } => head = head.max(entry.number),
            Said::Head(told) => head = head.max(told),
            _ => {}
        }
    }
    match leave {
        Leave::Sure => {
            line.confirm(last);
            line.page(device, last, 1);
        }
        Leave::Hasty => {
            line.confirm(last);
            device.perhaps_confirmed(last);
        }
        Leave::Rude => {}
    }
}

/// An entry as MQTT 5.0 shows it.
fn entry_of(message: &Published) -> Entry {
    let properties = Properties::of(&message.properties);
    let pairs: BTreeMap<&str, &str> = properties
        .iter()
        .filter_map(|(id, value)| match value {
            Value::Pair(name, value) if id == property::USER_PROPERTY => Some((name, value)),
            _ => None,
        })
        .collect();
    Entry {
        number: pairs["number"].parse().expect("a number"),
        conversation: pairs["conversation"].to_owned(),
        sender: pairs["sender"].to_owned(),
        sequence: pairs["sequence"].parse().expect("a number"),
        body: message.payload.clone(),
    }
}

/// Reads up to `target` from `$hawser/inbox`.
#[track_caller]
fn visit_mqtt(gateway: &Gateway, device: &mut Device, target: u64, leave: Leave) {
    let who = Connect { user: Some(READER), ..connect(Version::V5, DEVICE) };
    let (mut client, _) = MqttClient::connect(gateway.mqtt(), &who);
    let at_least_once = Options::new(Qos::AtLeastOnce, false, false, 0);
    client.subscribe_with(&[("$hawser/inbox", at_least_once)], Properties::NONE);
    let (mut last, mut shown) = (None, VecDeque::new());
    while last.is_none_or(|last| last < target) {
        match client.hear() {
            Packets::Suback(77, reasons) => assert_eq!(reasons, [1]),
            Packets::Message(message) => {
                let entry = entry_of(&message);
                let before = last.unwrap_or_else(|| device.begins(&entry));
                shown.push_back((entry.number, message.packet_id));
                last = Some(device.shown(before, entry));
            }
            other => panic!("{other:?}"),
        }
    }
    let last = last.expect("the target is above the cursor");
    let confirmed = match leave {
        Leave::Rude => return,
        Leave::Sure => last,
        // One is left out: the cursor stays before it, though what is behind it is answered.
        Leave::Hasty => shown[shown.len() / 2].0 - 1,
    };
    let answered = shown.iter().filter(|(number, _)| *number != confirmed + 1);
    answered.for_each(|(_, packet_id)| client.answer(Kind::Puback, *packet_id));
    device.perhaps_confirmed(confirmed);
    client.say(&Packet::Disconnect(Disconnect { reason: 0, properties: Properties::NONE }));
    // What has been sent meanwhile is in the way.
    while client.hear() != Packets::End {}
    // It ended by itself, so all answers were read; they reach the mailbox soon.
    until("the cursor", || (look(gateway, device) >= confirmed).then_some(()));
    device.confirmed(confirmed);
}

/// Logs in and tells the device's cursor.
#[track_caller]
fn look(gateway: &Gateway, device: &Device) -> u64 {
    let (_, welcomed) = RawClient::login(gateway.native(), READER, DEVICE);
    device.cursor(welcomed.cursor)
}

fn get(gateway: &Gateway, path: &str) -> Curl {
    Curl::new(gateway.websocket(), path)
}

/// Opens a session; gives its handle and the cursor.
#[track_caller]
fn session(gateway: &Gateway) -> (String, u64) {
    let who = json!({"user": READER, "device": DEVICE}).to_string();
    let answer = get(gateway, "/poll/session").body(&who).ask();
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    (text(&json, "session"), number(&json, "cursor"))
}

/// Polls up to `target`.
#[track_caller]
fn visit_poll(
    gateway: &Gateway,
    device: &mut Device,
    target: u64,
    leave: Leave,
    random: &mut Random,
) {
    let (session, cursor) = session(gateway);
    let mut last = device.cursor(cursor);
    let poll = |device: &mut Device, last: u64, wait: u32, limit: u32| {
        let path = format!("/poll?cursor={last}&wait={wait}&limit={limit}");
        device.perhaps_confirmed(last);
        let answer = get(gateway, &path).session(&session).ask();
        assert_eq!(answer.status, 200, "{answer:?}");
        device.confirmed(last);
        let json = answer.json();
        let entries = json["entries"].as_array().expect("an answer to a poll");
        let shown = entries.iter().fold(last, |last, json| device.shown(last, entry(json)));
        assert_eq!(number(&json, "cursor"), shown, "{json}");
        shown
    };
    while last < target {
        last = poll(device, last, 20, 5 + random.below(30));
    }
    match leave {
        Leave::Sure => _ = poll(device, last, 0, 1),
        Leave::Hasty | Leave::Rude => {}
    }
}

/// Hears events up to `target`. The gateway confirms what it has sent, which may be more than came
/// here; the device comes back with its own number.
#[track_caller]
fn visit_events(gateway: &Gateway, device: &mut Device, target: u64, leave: Leave) {
    let (session, cursor) = session(gateway);
    let mut last = device.cursor(cursor);
    let mut hear = |device: &mut Device, ask: Curl, target: u64| {
        let mut stream = ask.session(&session).stream();
        assert!(stream.head().starts_with("HTTP/1.1 200"), "a stream begins");
        while last < target {
            let event = stream.event();
            if event.data["type"] == "notify" {
                let entry = entry(&event.data);
                assert_eq!(event.id, Some(entry.number));
                last = device.shown(last, entry);
            }
        }
        last
    };
    let own = match leave {
        Leave::Sure => hear(device, get(gateway, "/events"), target),
        // Lost in the middle, and gone on with.
        Leave::Hasty | Leave::Rude => {
            let middle = hear(device, get(gateway, "/events"), cursor.midpoint(target));
            let ask = get(gateway, "/events").field("Last-Event-ID", &middle.to_string());
            hear(device, ask, target)
        }
    };
    let back = message::Hello { cursor: Some(own), rewind: true, ..hello(READER, DEVICE) };
    let welcomed = RawClient::greet(gateway.native(), &back).welcome();
    assert_eq!(welcomed.cursor, own, "a rewind is taken at its word");
    device.confirmed(own);
}

/// A writer: writes as much as it is told, gives what was acknowledged under which sequence.
fn writer(
    gateway: &Gateway,
    name: &'static str,
    permits: Receiver<u64>,
) -> JoinHandle<Vec<(u64, String)>> {
    let address = gateway.native();
    std::thread::spawn(move || {
        let (mut client, _) = RawClient::login(address, name, "phone");
        let mut acknowledged = Vec::new();
        for _ in permits.iter().flat_map(|count| 0..count) {
            let count = acknowledged.len() as u64 + 1;
            let body = format!("{name} says {count}");
            let answer = client.deliver(&request(count, READER, body.as_bytes()));
            acknowledged.push((answer.sequence, body));
        }
        acknowledged
    })
}

#[track_caller]
fn visit(
    gateway: &Gateway,
    device: &mut Device,
    door: Door,
    written: u64,
    leave: Leave,
    random: &mut Random,
) {
    // What is behind this will come in any case.
    let target = (device.high + 1 + u64::from(random.below(WANTED_MAX))).min(written);
    match door {
        Door::Mqtt => visit_mqtt(gateway, device, target, leave),
        Door::Poll => visit_poll(gateway, device, target, leave, random),
        Door::Events => visit_events(gateway, device, target, leave),
        Door::Native | Door::WebSocket | Door::Json => {
            visit_line(gateway, device, door, target, leave, random);
        }
    }
}

fn shuffled(random: &mut Random) -> [Door; Door::ALL.len()] {
    let mut doors = Door::ALL;
    for at in (1..doors.len()).rev() {
        doors.swap(at, random.below(at as u32 + 1) as usize);
    }
    doors
}

/// Everything acknowledged to a writer was shown, in its conversation's order, as it was written.
#[track_caller]
fn judge(device: &Device, writers: Vec<(&str, Vec<(u64, String)>)>) {
    let numbers: Vec<u64> = device.entries.keys().copied().collect();
    assert_eq!(numbers, (1..=TOTAL).collect::<Vec<_>>(), "numbers have no hole");
    for (name, acknowledged) in writers {
        let of_writer = device.entries.values().filter(|entry| entry.sender == name);
        let shown: Vec<(u64, String)> = of_writer
            .inspect(|entry| assert_eq!(entry.conversation, name))
            .map(|entry| (entry.sequence, entry.body.clone()))
            .collect();
        assert_eq!(shown, acknowledged, "{name}");
    }
}

/// Reads the mailbox through all doors, in an order that follows from `seed`.
#[track_caller]
fn every_door_in_turn(seed: u64) {
    let gateway = Setup::new().start();
    let (mut random, mut device) = (Random(seed), Device::default());
    let (permits, writers): (Vec<Sender<u64>>, Vec<_>) = WRITERS
        .into_iter()
        .map(|name| {
            let (permit, permits) = channel();
            (permit, (name, writer(&gateway, name, permits)))
        })
        .unzip();
    let (mut written, mut seen_by) = (0, String::new());
    for door in (0..ROUNDS).flat_map(|_| shuffled(&mut random)).collect::<Vec<_>>() {
        for permit in &permits {
            permit.send(WRITTEN_IN_A_VISIT).expect("a writer writes to the end");
            written += WRITTEN_IN_A_VISIT;
        }
        let leave = Leave::any(&mut random);
        seen_by += &format!("{door:?} {leave:?} from {}, ", device.low);
        // Shown by the harness if the visit fails.
        eprintln!("seed {seed}: {seen_by}");
        visit(&gateway, &mut device, door, written, leave, &mut random);
    }
    drop(permits);
    let written: Vec<_> = writers
        .into_iter()
        .map(|(name, writer)| (name, writer.join().expect("a writer has no complaint")))
        .collect();
    // A confirmation may still be on its way; this door tells where the cursor is then.
    visit(&gateway, &mut device, Door::Native, TOTAL, Leave::Sure, &mut random);
    let doors = shuffled(&mut random).into_iter().cycle();
    // Each visit confirms one entry at least.
    for door in doors.take(TOTAL as usize) {
        if device.low < TOTAL {
            visit(&gateway, &mut device, door, TOTAL, Leave::Sure, &mut random);
        }
    }
    until("the cursor", || (look(&gateway, &device) == TOTAL).then_some(()));
    assert!(device.repeated > 0, "some visits confirmed nothing");
    judge(&device, written);
}

#[test]
fn one_mailbox_is_the_same_through_every_door() {
    every_door_in_turn(1);
}

#[test]
fn one_mailbox_is_the_same_in_another_order_of_doors() {
    every_door_in_turn(2);
}
