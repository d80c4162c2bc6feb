//! Topics between routers, one behaviour at a time.

#![allow(clippy::unwrap_used)] // a test may stop where it stands

mod shard_world;

use hawser_codec::code;
use hawser_router::HostSettings;
use hawser_router::host::Mark;
use hawser_router::record;
use shard_world::sessions::{KEPT, Told, entries};
use shard_world::{Client, Message, World, settings};

/// Two routers; 0 has the topic, 1 the home of a kept session that wants it.
struct Pair {
    world: World,
    ann: Client,
    sensor: Client,
    topic: String,
}

impl Pair {
    fn new() -> Pair {
        let mut pair = Pair::apart(settings());
        pair.connect();
        pair.subscribe("#");
        pair
    }

    /// Never connected.
    fn apart(settings: HostSettings) -> Pair {
        let mut world = World::of_routers(settings, 2);
        let names = || (0..).map(|number| format!("name{number}"));
        let home = |name: &String| world.host_of(&world.keys.user(0, name.as_bytes()).0);
        let user = names().find(|name| home(name) == 1).unwrap();
        let of_topic = |name: &String| world.host_of(&world.keys.topic(0, name.as_bytes()));
        let topic = names().find(|name| of_topic(name) == 0).unwrap();
        let sensor = world.session(&user, "sensor", KEPT);
        let ann = world.client("ann", "phone");
        Pair { world, ann, sensor, topic }
    }

    fn connect(&mut self) {
        self.world.connect_all();
        self.world.after_ms(200);
        self.world.settle();
    }

    fn cut(&mut self) {
        self.world.cut(0, 1);
        self.world.cut(1, 0);
    }

    fn subscribe(&mut self, filter: &str) {
        self.world.subscribe(&self.sensor, filter, 1, 0);
        self.world.settle();
        let told = self.world.listen(&self.sensor);
        assert!(told.iter().any(|told| matches!(told, Told::Subscribed { code: 0, .. })));
    }

    fn publish(&mut self) -> u16 {
        self.world.publish(&self.ann, Message::new(&self.topic, b"hello"));
        self.world.settle();
        self.world.published(&self.ann)[0].1
    }

    fn had(&mut self) -> Vec<u64> {
        self.world.settle();
        entries(&self.world.listen(&self.sensor))
    }
}

#[test]
fn a_publish_reaches_a_kept_session_of_another_router() {
    let mut pair = Pair::new();
    assert_eq!((pair.publish(), pair.had()), (0, vec![1]));
    assert_eq!(pair.world.hosts[0].stream_figures(1).unconfirmed, 0);
    pair.cut();
    assert_eq!((pair.publish(), pair.had()), (0, vec![]));
    assert_eq!(pair.world.hosts[0].stream_figures(1).unconfirmed, 1);
    pair.connect();
    assert_eq!(pair.had(), [2]);
    assert!(pair.world.hosts[0].counters().mark(Mark::StreamedFromLog) > 0);
}

#[test]
fn a_router_that_never_met_another_takes_no_publish_that_may_not_be_lost() {
    let mut pair = Pair::apart(settings());
    assert_eq!(pair.publish(), code::RECOVERING);
    pair.connect();
    assert_eq!(pair.publish(), 0);
}

#[test]
fn a_router_that_begins_while_another_is_away_keeps_what_is_for_it() {
    for by_checkpoint in [false, true] {
        let mut pair = Pair::new();
        if by_checkpoint {
            pair.world.checkpoint();
            pair.world.checkpoint();
            pair.world.drop_records();
        }
        pair.cut();
        pair.world.crash_one(0, |_| 0);
        assert_eq!(pair.publish(), 0, "it knows what the other follows");
        pair.connect();
        assert_eq!(pair.had(), [1]);
    }
}

#[test]
fn what_is_no_longer_followed_is_forgotten_also_by_the_log() {
    let mut pair = Pair::new();
    pair.subscribe("$share/g/#");
    pair.world.unsubscribe(&pair.sensor, "#");
    pair.world.settle();
    pair.cut();
    pair.world.unsubscribe(&pair.sensor, "$share/g/#");
    pair.world.settle();
    pair.publish();
    assert_eq!(pair.world.hosts[0].stream_figures(1).unconfirmed, 1, "it cannot know yet");
    pair.connect();
    for again in [false, true] {
        if again {
            pair.cut();
            pair.world.crash_one(0, |_| 0);
        }
        let entries = |pair: &Pair| pair.world.hosts[0].counters().topic_entries;
        let before = entries(&pair);
        assert_eq!(pair.publish(), 0);
        assert_eq!((entries(&pair), pair.world.hosts[0].counters().routes), (before, 0));
    }
    let of_kind = |kind| pair.world.records().filter(|framed| framed.kind == kind).count();
    assert_eq!(of_kind(record::Followed::KIND), 4, "two came and two went");
}

#[test]
fn a_list_that_is_said_again_is_not_written_again() {
    let mut pair = Pair::new();
    let followed = |pair: &Pair| {
        let records = pair.world.records();
        records.filter(|framed| framed.kind == record::Followed::KIND).count()
    };
    let before = followed(&pair);
    for _ in 0..3 {
        pair.cut();
        pair.connect();
    }
    assert_eq!((followed(&pair), before), (1, 1));
    assert_eq!((pair.publish(), pair.had()), (0, vec![1]));
}

#[test]
fn a_router_that_is_away_for_long_costs_only_what_is_for_it() {
    let mut pair = Pair::apart(HostSettings { unconfirmed_max: 2, ..settings() });
    pair.connect();
    pair.subscribe(&pair.topic.clone());
    pair.cut();
    let codes = [pair.publish(), pair.publish(), pair.publish()];
    assert_eq!(codes, [0, 0, code::OVERLOADED]);
    let mut others = (0..).map(|number| format!("other{number}"));
    let keys = pair.world.keys.clone();
    let other = others.find(|name| keys.topic(0, name.as_bytes())[0].is_multiple_of(2));
    pair.topic = other.unwrap();
    assert_eq!(pair.publish(), 0);
    pair.connect();
    assert_eq!(pair.had(), [1, 2]);
}
