//! Streams between routers, one behaviour at a time.

#![allow(clippy::unwrap_used)] // a test may stop where it stands

mod shard_world;

use hawser_codec::{code, link};
use hawser_router::host::Mark;
use hawser_router::recovery::RecoveryError;
use hawser_router::{HostSettings, Recovery, RouterPlace};
use shard_world::{Client, Heard, World, deliveries, numbers, settings};

/// Two routers without a link; router 0 has the conversation, router 1 the mailbox of the peer.
struct Pair {
    world: World,
    ann: Client,
    bob: Client,
}

impl Pair {
    fn new() -> Pair {
        Pair::with(settings())
    }

    fn with(settings: HostSettings) -> Pair {
        let mut world = World::of_routers(settings, 2);
        let at = |world: &World, name: &str| world.host_of(&world.keys.user(0, name.as_bytes()).0);
        let names = || (0..).map(|number| format!("user{number}"));
        let ann = names().find(|name| at(&world, name) == 0).unwrap();
        let ann = world.login(&ann, "phone");
        let bob = names().find(|name| {
            let (key, _) = world.keys.user(0, name.as_bytes());
            world.host_of(&key) == 1 && world.host_of(&world.keys.direct(&ann.user, &key)) == 0
        });
        let bob = world.login(&bob.unwrap(), "desk");
        world.heard.clear();
        Pair { world, ann, bob }
    }

    fn send(&mut self, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            self.world.send(&self.ann, &self.bob.user_name, seq, b"hello");
        }
        self.world.settle();
    }

    fn connect(&mut self) {
        self.world.connect_all();
        self.world.settle();
    }

    fn cut(&mut self) {
        self.world.cut(0, 1);
        self.world.cut(1, 0);
    }

    fn heard_by_bob(&mut self) -> Vec<u64> {
        let heard = self.world.hear(&self.bob);
        let told = deliveries(&heard);
        assert!(told.windows(2).all(|two| two[0].sequence < two[1].sequence), "{told:?}");
        numbers(&heard)
    }
}

#[test]
fn what_was_sent_without_a_link_arrives_with_it_and_then_as_it_comes() {
    let mut pair = Pair::new();
    pair.send(1..=3);
    assert_eq!(pair.world.hear(&pair.ann).len(), 6, "acknowledged and in the own mailbox");
    assert_eq!(pair.heard_by_bob(), [0; 0]);
    assert_eq!(pair.world.hosts[0].stream_figures(1).unconfirmed, 3);
    pair.connect();
    assert_eq!(pair.heard_by_bob(), [1, 2, 3]);
    let from_log = pair.world.hosts[0].counters().mark(Mark::StreamedFromLog);
    assert_eq!(from_log, 3);
    pair.send(4..=5);
    assert_eq!(pair.heard_by_bob(), [4, 5]);
    let counters = pair.world.hosts[0].counters();
    assert_eq!((counters.mark(Mark::StreamedFromLog), counters.streamed), (3, 5));
    let figures = pair.world.hosts[0].stream_figures(1);
    assert!(figures.up && figures.open && !figures.catching_up);
    assert_eq!((figures.unconfirmed, figures.said_bytes), (0, 0), "all is confirmed");
}

#[test]
fn an_entry_leaves_its_router_only_when_its_message_is_durable_and_is_confirmed_when_it_is() {
    let mut pair = Pair::new();
    pair.connect();
    pair.world.send(&pair.ann, &pair.bob.user_name.clone(), 1, b"hello");
    pair.world.turn();
    assert_eq!(pair.world.links.under_way(0, 1), 0);
    pair.world.flush_one(0);
    pair.world.turn();
    assert!(pair.world.deliver(0, 1));
    assert_eq!(pair.world.links.under_way(1, 0), 0, "the entry is not durable");
    pair.world.flush_one(1);
    pair.world.turn();
    assert_eq!(pair.world.hosts[0].stream_figures(1).unconfirmed, 1);
    assert!(pair.world.deliver(1, 0));
    assert_eq!(pair.world.hosts[0].stream_figures(1).unconfirmed, 0);
}

#[test]
fn a_router_that_is_away_for_long_costs_only_those_who_write_to_its_users() {
    let mut pair = Pair::with(HostSettings { unconfirmed_max: 3, ..settings() });
    pair.send(1..=4);
    let refused = pair.world.hear(&pair.ann).into_iter().find_map(|heard| match heard {
        Heard::Refused { client_seq, code, retry_after_ms, .. } => {
            Some((client_seq, code, retry_after_ms))
        }
        _ => None,
    });
    assert_eq!(refused, Some((4, code::OVERLOADED, 1000)));
    // To herself she may write, and repeats are answered.
    let own = pair.ann.user_name.clone();
    pair.world.send(&pair.ann, &own, 5, b"note");
    pair.send(1..=1);
    let accepted = |heard: &&Heard| matches!(heard, Heard::Accepted { .. });
    assert_eq!(pair.world.hear(&pair.ann).iter().filter(accepted).count(), 2);
    pair.connect();
    pair.send(4..=4);
    assert_eq!(pair.heard_by_bob(), [1, 2, 3, 4]);
    assert_eq!(pair.world.hosts[0].counters().mark(Mark::StreamBackedUp), 1);
}

#[test]
fn bytes_that_are_not_confirmed_are_bounded_as_well() {
    let mut pair = Pair::with(HostSettings { unconfirmed_bytes_max: 1000, ..settings() });
    pair.send(1..=20);
    let figures = pair.world.hosts[0].stream_figures(1);
    assert!(figures.unconfirmed < 10 && figures.unconfirmed_bytes < 1300, "{figures:?}");
}

#[test]
fn a_long_body_is_kept_by_the_router_of_the_mailbox() {
    let mut pair = Pair::new();
    let body = vec![b'x'; 60_000];
    let to = pair.bob.user_name.clone();
    pair.world.send(&pair.ann, &to, 1, &body);
    pair.world.settle();
    pair.connect();
    pair.world.send(&pair.ann, &to, 2, &body);
    pair.world.settle();
    let told = deliveries(&pair.world.hear(&pair.bob));
    assert!(told.len() == 2 && told.iter().all(|told| told.body == body));
    // Without its source the mailbox is whole, also after a restart.
    pair.world.crash_one(1, |_| 0);
    let mut bob = pair.bob.clone();
    pair.world.relogin(&mut bob);
    pair.world.settle();
    pair.world.hear(&bob);
    pair.world.read(&bob, 0, 10, false);
    pair.world.settle();
    let told = deliveries(&pair.world.hear(&bob));
    assert!(told.len() == 2 && told.iter().all(|told| told.body == body));
}

#[test]
fn a_restart_of_either_router_loses_and_doubles_nothing() {
    let mut pair = Pair::new();
    pair.connect();
    pair.send(1..=2);
    pair.cut();
    pair.send(3..=4);
    for router in [0, 1, 0] {
        pair.world.checkpoint();
        pair.world.settle();
        pair.world.crash_one(router, |_| 0);
    }
    let mut bob = pair.bob.clone();
    pair.world.relogin(&mut bob);
    pair.connect();
    pair.bob = bob;
    assert_eq!(pair.world.hosts[0].stream_figures(1).unconfirmed, 0);
    pair.world.read(&pair.bob.clone(), 0, 10, false);
    pair.world.settle();
    let heard = pair.world.hear(&pair.bob);
    let paged: Vec<u64> =
        deliveries(&heard).iter().filter(|told| told.page).map(|told| told.number).collect();
    assert_eq!(paged, [1, 2, 3, 4]);
}

#[test]
fn a_segment_is_held_by_the_oldest_entry_that_is_not_confirmed() {
    let mut pair = Pair::new();
    assert_eq!(pair.world.hosts[0].oldest_unconfirmed(0), None);
    pair.send(1..=1);
    pair.world.next_segment();
    pair.send(2..=2);
    assert_eq!(pair.world.hosts[0].oldest_unconfirmed(0), Some(1));
    assert_eq!(pair.world.hosts[0].oldest_unconfirmed(1), None, "another lane");
    pair.world.crash_one(0, |_| 0);
    assert_eq!(pair.world.hosts[0].oldest_unconfirmed(0), Some(1), "recovery finds it");
    pair.connect();
    assert_eq!(pair.world.hosts[0].oldest_unconfirmed(0), None);
}

#[test]
fn a_slow_router_is_fed_from_the_log_and_holds_no_memory() {
    let mut pair = Pair::new();
    pair.connect();
    let body = vec![b'x'; 60_000];
    let to = pair.bob.user_name.clone();
    for seq in 1..=300 {
        pair.world.send(&pair.ann, &to, seq, &body);
        pair.world.turn();
        pair.world.flush_one(0);
        pair.world.turn();
    }
    let figures = pair.world.hosts[0].stream_figures(1);
    assert!(figures.catching_up, "{figures:?}");
    assert!(figures.said_bytes < (8 << 20) + 400_000, "{figures:?}");
    assert_eq!(figures.unconfirmed, 300);
    pair.world.settle();
    let figures = pair.world.hosts[0].stream_figures(1);
    assert_eq!((figures.unconfirmed, figures.catching_up), (0, false));
    assert!(pair.world.hosts[0].counters().mark(Mark::StreamedFromLog) > 100);
    // More than one may have unacknowledged: the rest waits in the mailbox.
    assert_eq!(pair.heard_by_bob(), (1..=256).collect::<Vec<_>>());
    assert_eq!(pair.world.hosts[1].counters().entries, 300);
}

#[test]
fn messages_that_come_while_the_log_is_read_wait_for_the_older_ones() {
    let mut pair = Pair::new();
    pair.send(1..=3);
    pair.world.reads_by_hand = true;
    pair.world.connect_all();
    pair.world.deliver_all();
    assert!(!pair.world.reads.is_empty());
    pair.send(4..=6);
    assert_eq!(pair.heard_by_bob(), [0; 0]);
    assert!(pair.world.hosts[0].stream_figures(1).catching_up);
    pair.world.reads_by_hand = false;
    pair.world.settle();
    assert_eq!(pair.heard_by_bob(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(pair.world.hosts[0].counters().mark(Mark::StreamedFromLog), 3);
}

#[test]
fn an_entry_that_cannot_be_read_is_waited_for() {
    let mut pair = Pair::new();
    pair.send(1..=2);
    pair.world.reads_by_hand = true;
    pair.world.connect_all();
    pair.world.deliver_all();
    let (_, read) = pair.world.reads.pop_front().unwrap();
    pair.world.hosts[0].on_read(pair.world.now, read.id, Err(5));
    pair.world.reads_by_hand = false;
    pair.world.settle();
    assert_eq!(pair.heard_by_bob(), [0; 0], "the next try is not due");
    pair.send(3..=3);
    pair.world.after_ms(1001);
    pair.world.settle();
    assert_eq!(pair.heard_by_bob(), [1, 2, 3]);
}

#[test]
fn a_stream_with_a_gap_is_opened_again_but_not_at_once() {
    let mut pair = Pair::new();
    pair.connect();
    let openings = |pair: &Pair| pair.world.hosts[1].counters().stream_openings;
    let before = openings(&pair);
    let entry = link::Stream {
        source: pair.world.keys.direct(&pair.ann.user, &pair.bob.user)[0],
        position: 1000,
        previous: 998,
        user: pair.bob.user,
        device: pair.ann.device,
        conversation: pair.world.keys.direct(&pair.ann.user, &pair.bob.user),
        sequence: 1,
        incarnation: 1,
        client_seq: 1,
        uuid: [3; 16],
        time_ms: 1,
        content: 0,
        receipts: 0,
        own: false,
        location: 0,
        peer_name: b"ann",
        sender_name: b"ann",
        device_name: b"phone",
        body: b"hi",
    };
    let mut batch = Vec::new();
    entry.put(&mut batch);
    entry.put(&mut batch);
    pair.world.hosts[1].on_peer(pair.world.now, 0, &batch).unwrap();
    pair.world.settle();
    let counters = pair.world.hosts[1].counters();
    assert_eq!((counters.streams_reopened, counters.entries), (1, 0));
    assert_eq!(counters.mark(Mark::StreamStale), 1, "the second belongs to a void opening");
    pair.world.after_ms(101);
    pair.world.settle();
    assert_eq!(openings(&pair), before + 1);
    pair.send(1..=2);
    assert_eq!(pair.heard_by_bob(), [1, 2]);
    // What no router may send.
    let bad =
        [link::Stream { source: entry.source ^ 1, ..entry }, link::Stream { location: 7, ..entry }];
    for bad in bad {
        batch.clear();
        bad.put(&mut batch);
        assert!(pair.world.hosts[1].on_peer(pair.world.now, 0, &batch).is_err());
    }
    assert!(pair.world.hosts[1].on_peer(pair.world.now, 1, &[]).is_err(), "not from itself");
}

#[test]
fn what_is_not_kept_is_dropped_while_nobody_would_hear_it() {
    let mut pair = Pair::new();
    let to = pair.bob.user_name.clone();
    let ephemeral = |pair: &mut Pair| {
        let send = link::Send { level: 0, ..pair.world.send_frame(&pair.ann, &to, 1, b"typing") };
        pair.world.put_send(&pair.ann, send);
        pair.world.receipt(&pair.ann.clone(), &to, 1);
        pair.world.settle();
    };
    ephemeral(&mut pair);
    assert_eq!(pair.world.hosts[0].counters().unheard, 2);
    pair.connect();
    assert!(pair.world.hear(&pair.bob).is_empty());
    ephemeral(&mut pair);
    assert_eq!(pair.world.hosts[0].counters().unheard, 2);
    let heard = pair.world.hear(&pair.bob);
    assert!(matches!(heard[..], [Heard::Deliver(_), Heard::Receipt { .. }]), "{heard:?}");
}

#[test]
fn a_link_that_ends_takes_with_it_what_was_said_for_it() {
    let mut pair = Pair::new();
    pair.connect();
    pair.world.send(&pair.ann, &pair.bob.user_name.clone(), 1, b"hello");
    pair.world.turn();
    // The entry waits for its message when the link goes, and for the next link after it.
    pair.cut();
    pair.world.settle();
    assert_eq!(pair.heard_by_bob(), [0; 0]);
    pair.connect();
    assert_eq!(pair.heard_by_bob(), [1]);
}

#[test]
fn a_link_in_one_direction_is_enough_for_nothing_to_be_lost() {
    let mut pair = Pair::new();
    pair.connect();
    pair.send(1..=1);
    pair.world.cut(1, 0);
    pair.send(2..=2);
    assert_eq!(pair.heard_by_bob(), [1, 2], "the way there is still up");
    assert_eq!(pair.world.hosts[0].stream_figures(1).unconfirmed, 1, "the way back is not");
    pair.world.connect(1, 0);
    pair.world.settle();
    assert_eq!(pair.world.hosts[0].stream_figures(1).unconfirmed, 0);
    // The other way round: the source loses its way, and asks to be opened again.
    pair.world.cut(0, 1);
    pair.send(3..=3);
    pair.world.connect(0, 1);
    pair.world.settle();
    pair.world.after_ms(101);
    pair.world.settle();
    assert_eq!(pair.heard_by_bob(), [3]);
}

#[test]
fn a_directory_older_than_what_it_served_is_noticed() {
    // The source has lost its last messages: nothing is streamed past the home's knowledge.
    let mut pair = Pair::new();
    pair.connect();
    pair.send(1..=3);
    pair.world.forget(0);
    pair.world.crash_one(0, |_| 0);
    pair.connect();
    assert_eq!(pair.world.hosts[0].counters().stream_faults, 1);
    assert!(!pair.world.hosts[0].stream_figures(1).open);
    // The home has lost entries that it had confirmed: that is said, and the rest goes on.
    let mut pair = Pair::new();
    pair.connect();
    pair.send(1..=3);
    pair.world.forget(1);
    pair.world.crash_one(1, |_| 0);
    pair.connect();
    assert_eq!(pair.world.hosts[0].counters().stream_faults, 1);
    let mut bob = pair.bob.clone();
    pair.world.relogin(&mut bob);
    pair.bob = bob;
    pair.world.settle();
    pair.world.hear(&pair.bob);
    pair.send(4..=5);
    assert_eq!(pair.heard_by_bob(), [1, 2]);
}

#[test]
fn a_router_refuses_shards_of_another() {
    let mut recovery = Recovery::of_router(16, RouterPlace::new(1, 2).unwrap());
    let mut bytes = Vec::new();
    hawser_router::record::Cursor { user: [4; 16], device: [1; 16], cursor: 1 }
        .put(4, 1, &mut bytes);
    let (framed, _) = hawser_router::record::Framed::take(&bytes).unwrap();
    recovery.apply(&framed, hawser_router::Location(1 << 28)).unwrap();
    let place = RouterPlace::new(1, 2).unwrap();
    let error = recovery.finish_router().err().unwrap();
    assert_eq!(error, RecoveryError::Foreign { shard: 4, place });
    assert_eq!(error.to_string(), "the directory holds shard 4, which is not of router 1 of 2");
}

#[test]
fn a_directory_written_embedded_opens_as_the_only_router_and_back() {
    let mut world = World::with(settings(), 2);
    let ann = world.login("ann", "phone");
    world.send(&ann, "bob", 1, b"embedded");
    world.settle();
    world.checkpoint();
    for (turn, (remote, hosts)) in [(true, 1), (false, 2), (true, 1)].into_iter().enumerate() {
        world.settings.remote = remote;
        world.crash(hosts, |_| 0);
        let mut again = ann.clone();
        world.relogin(&mut again);
        world.send(&again, "bob", turn as u64 + 2, &[b'x'; 900]);
        world.settle();
        world.checkpoint();
        world.settle();
    }
    let bob = world.login("bob", "desk");
    world.hear(&bob);
    world.read(&bob, 0, 10, false);
    world.settle();
    let told = deliveries(&world.hear(&bob));
    assert_eq!(told.iter().map(|told| told.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(told[3].body.len(), 900);
}
