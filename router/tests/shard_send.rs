//! What a conversation shard answers: repeats, reused numbers, sender's order, limits.

mod shard_world;

use hawser_codec::{code, link};
use hawser_router::host::Mark;
use shard_world::{Client, Heard, World, deliveries, settings};

fn two() -> (World, Client, Client) {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    world.heard.clear();
    (world, ann, bob)
}

fn refusal(heard: &[Heard]) -> Option<(u64, u16)> {
    heard.iter().find_map(|heard| match heard {
        Heard::Refused { client_seq, code, .. } => Some((*client_seq, *code)),
        _ => None,
    })
}

fn accepted(heard: &[Heard]) -> Vec<(u64, u64)> {
    heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Accepted { client_seq, sequence, .. } => Some((*client_seq, *sequence)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_repeat_gets_the_first_answer_and_makes_no_second_message() {
    let (mut world, ann, bob) = two();
    world.send(&ann, "bob", 5, b"once");
    world.settle();
    let first = accepted(&world.hear(&ann));
    world.after_ms(1000);
    world.send(&ann, "bob", 5, b"once");
    world.settle();
    assert_eq!(accepted(&world.hear(&ann)), first);
    assert_eq!(deliveries(&world.hear(&bob)).len(), 1);
    assert_eq!(world.hosts[0].counters().mark(Mark::RepeatAnswered), 1);
}

#[test]
fn a_repeat_of_what_is_not_durable_yet_waits_like_the_first() {
    let (mut world, ann, _) = two();
    world.send(&ann, "bob", 1, b"once");
    world.turn();
    world.send(&ann, "bob", 1, b"once");
    world.turn();
    assert_eq!(world.hear(&ann), []);
    world.settle();
    assert_eq!(accepted(&world.hear(&ann)), [(1, 1), (1, 1)]);
    assert_eq!(world.hosts[0].counters().mark(Mark::RepeatBeforeDurable), 1);
}

#[test]
fn a_number_with_another_body_or_id_is_refused_for_good() {
    let (mut world, ann, _) = two();
    world.send(&ann, "bob", 1, b"this");
    world.settle();
    world.hear(&ann);
    world.send(&ann, "bob", 1, b"that");
    world.settle();
    assert_eq!(refusal(&world.hear(&ann)), Some((1, code::NUMBER_REUSED)));
    let send = world.send_frame(&ann, "bob", 1, b"this");
    world.put_send(&ann, link::Send { uuid: [9; 16], ..send });
    world.settle();
    assert_eq!(refusal(&world.hear(&ann)), Some((1, code::NUMBER_REUSED)));
}

#[test]
fn a_lower_number_never_seen_is_superseded() {
    let (mut world, ann, _) = two();
    world.send(&ann, "bob", 5, b"late");
    world.send(&ann, "bob", 4, b"early");
    world.settle();
    assert_eq!(refusal(&world.hear(&ann)), Some((4, code::SUPERSEDED)));
}

#[test]
fn a_successor_waits_for_its_predecessor_and_refusals_are_forgotten() {
    let (mut world, ann, bob) = two();
    let second = world.send_frame(&ann, "bob", 2, b"second");
    world.put_send(&ann, link::Send { after: 1, ..second });
    world.settle();
    assert_eq!(refusal(&world.hear(&ann)), Some((2, code::OUT_OF_ORDER)));
    world.send(&ann, "bob", 1, b"first");
    world.put_send(&ann, link::Send { after: 1, ..second });
    world.settle();
    assert_eq!(accepted(&world.hear(&ann)), [(1, 1), (2, 2)]);
    let bodies: Vec<_> = deliveries(&world.hear(&bob)).into_iter().map(|d| d.body).collect();
    assert_eq!(bodies, [b"first".to_vec(), b"second".to_vec()]);
    // A repeat may name another predecessor: that is no part of what must match.
    world.put_send(&ann, link::Send { after: 0, ..second });
    world.settle();
    assert_eq!(accepted(&world.hear(&ann)), [(2, 2)]);
}

#[test]
fn a_first_attempt_beyond_retention_is_refused_before_any_look_up() {
    let (mut world, ann, _) = two();
    let retention = world.settings.retention_ms;
    let send = world.send_frame(&ann, "bob", 1, b"old");
    let first_attempt_ms = world.now.wall_ms - retention + 3_600_000 - 1;
    world.put_send(&ann, link::Send { first_attempt_ms, ..send });
    world.put_send(&ann, link::Send { first_attempt_ms: first_attempt_ms + 1, ..send });
    world.settle();
    let heard = world.hear(&ann);
    assert_eq!(refusal(&heard), Some((1, code::TOO_OLD)));
    assert_eq!(accepted(&heard), [(1, 1)]);
    assert_eq!(world.hosts[0].counters().refused(code::TOO_OLD), 1);
}

#[test]
fn fields_out_of_range_are_refused() {
    let (mut world, ann, _) = two();
    let send = world.send_frame(&ann, "bob", 1, b"x");
    let long = vec![0; world.settings.body_bytes_max + 1];
    let name = [b'n'; 65];
    for bad in [
        link::Send { client_seq: 0, uuid: [0; 16], ..send },
        link::Send { incarnation: 0, ..send },
        link::Send { level: 3, ..send },
        link::Send { body: &long, ..send },
        link::Send { peer_name: &name, ..send },
    ] {
        world.put_send(&ann, bad);
        world.settle();
        let heard = world.hear(&ann);
        assert_eq!(refusal(&heard), Some((bad.client_seq, code::BAD_REQUEST)));
    }
}

#[test]
fn an_ephemeral_message_has_no_number_and_reaches_only_who_is_there() {
    let (mut world, ann, bob) = two();
    let tablet = world.login("bob", "tablet");
    world.logout(&tablet);
    world.heard.clear();
    let send = world.send_frame(&ann, "bob", 1, b"typing");
    world.put_send(&ann, link::Send { level: 0, ..send });
    world.turn();
    assert_eq!(accepted(&world.hear(&ann)), [(1, 0)]);
    let told = deliveries(&world.hear(&bob));
    assert_eq!((told[0].number, told[0].body.as_slice()), (0, &b"typing"[..]));
    assert_eq!(world.heard, []);
    assert!(world.lanes[0].waiting.is_empty());
}

#[test]
fn while_the_log_cannot_be_written_messages_are_refused_and_repeats_answered() {
    let (mut world, ann, bob) = two();
    world.send(&ann, "bob", 1, b"before");
    world.settle();
    world.heard.clear();
    world.hosts[0].set_storage(false);
    world.send(&ann, "bob", 1, b"before");
    world.send(&ann, "bob", 2, b"during");
    world.confirm(&bob, 1);
    world.after_ms(2000);
    world.turn();
    assert!(world.lanes[0].waiting.is_empty(), "nothing is written");
    let heard = world.hear(&ann);
    assert_eq!(accepted(&heard), [(1, 1)]);
    let refused = Heard::Refused {
        connection: ann.connection,
        client_seq: 2,
        code: code::STORAGE_UNAVAILABLE,
        retry_after_ms: 1000,
    };
    assert!(heard.contains(&refused));
    world.hosts[0].set_storage(true);
    world.send(&ann, "bob", 2, b"during");
    world.settle();
    assert_eq!(accepted(&world.hear(&ann)), [(2, 2)]);
}

#[test]
fn a_spilled_window_is_read_back_before_anything_is_decided() {
    let mut tight = settings();
    tight.dedup_bytes_max = 1;
    let mut world = World::with(tight, 1);
    let ann = world.login("ann", "phone");
    world.login("bob", "desk");
    // Conversations of one shard share its bytes: find a second peer in the same shard.
    let shard_of = |world: &World, peer: &str| {
        let (key, _) = world.keys.user(0, peer.as_bytes());
        world.keys.direct(&ann.user, &key)[0]
    };
    let wanted = shard_of(&world, "bob");
    let other = (0..5000).map(|n| format!("peer{n}")).find(|p| shard_of(&world, p) == wanted);
    let other = other.unwrap();
    world.send(&ann, "bob", 1, b"first");
    world.send(&ann, &other, 2, b"second");
    world.settle();
    assert_eq!(world.hosts[0].counters().mark(Mark::WindowSpilled), 1);
    world.hear(&ann);
    world.send(&ann, "bob", 1, b"first");
    world.turn();
    assert_eq!(refusal(&world.hear(&ann)), Some((1, code::TRY_AGAIN)));
    world.send(&ann, "bob", 1, b"first");
    world.settle();
    assert_eq!(accepted(&world.hear(&ann)), [(1, 1)]);
    assert_eq!(world.hosts[0].counters().mark(Mark::WindowLookedUp), 1);
}

#[test]
fn a_spilled_window_whose_segment_is_gone_is_forgotten() {
    let mut tight = settings();
    tight.dedup_bytes_max = 1;
    let mut world = World::with(tight, 1);
    let mut ann = world.login("ann", "phone");
    for incarnation in [1, 2] {
        ann.incarnation = incarnation;
        world.send(&ann, "bob", 5, b"hello");
    }
    world.next_segment();
    world.drop_segments();
    world.hear(&ann);
    ann.incarnation = 1;
    world.send(&ann, "bob", 6, b"hello");
    world.settle();
    assert_eq!(accepted(&world.hear(&ann)), [(6, 3)]);
}

#[test]
fn users_and_conversations_have_a_limit() {
    let mut tight = settings();
    (tight.users_max, tight.conversations_max) = (2, 1);
    let mut world = World::with(tight, 1);
    let ann = world.login("ann", "phone");
    world.send(&ann, "bob", 1, b"one");
    world.send(&ann, "cid", 2, b"two");
    world.settle();
    assert_eq!(refusal(&world.hear(&ann)), Some((2, code::OVERLOADED)));
    let bob = world.login("bob", "desk");
    assert!(matches!(world.hear(&bob)[0], Heard::LoggedIn { head: 1, .. }));
    let cid = world.login("cid", "desk");
    assert!(matches!(world.hear(&cid)[0], Heard::LoginRefused { code: code::OVERLOADED, .. }));
}

#[test]
fn a_conversation_keeps_few_windows_in_memory() {
    let (mut world, mut ann, _) = two();
    for incarnation in 1..=100 {
        ann.incarnation = incarnation;
        world.send(&ann, "bob", 1, b"again");
    }
    world.settle();
    assert!(world.hosts[0].counters().spills >= 100 - 33);
}

#[test]
fn beyond_the_output_that_may_wait_messages_are_shed() {
    let mut tight = settings();
    tight.held_bytes_max = 1000;
    let mut world = World::with(tight, 1);
    let ann = world.login("ann", "phone");
    for seq in 1..=20 {
        world.send(&ann, "bob", seq, b"flood");
        world.turn();
    }
    world.settle();
    let heard = world.hear(&ann);
    assert_eq!(refusal(&heard).unwrap().1, code::OVERLOADED);
    assert!(!accepted(&heard).is_empty());
    world.send(&ann, "bob", 21, b"later");
    world.settle();
    assert_eq!(accepted(&world.hear(&ann)).len(), 1);
}
