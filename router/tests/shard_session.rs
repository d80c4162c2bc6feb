//! Logins, cursors, and when pushing stops.

mod shard_world;

use hawser_codec::{code, link};
use hawser_router::host::Mark;
use shard_world::{Client, Heard, World, deliveries, numbers, settings};

fn logged_in(heard: &[Heard]) -> Option<(u64, u64)> {
    heard.iter().find_map(|heard| match heard {
        Heard::LoggedIn { head, cursor, .. } => Some((*head, *cursor)),
        _ => None,
    })
}

fn heads(heard: &[Heard]) -> Vec<u64> {
    heard
        .iter()
        .filter_map(|heard| match heard {
            Heard::Head { head, .. } => Some(*head),
            _ => None,
        })
        .collect()
}

fn fill(world: &mut World, from: &Client, to: &str, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        world.send(from, to, seq, format!("body {seq}").as_bytes());
        world.settle();
    }
}

#[test]
fn a_second_login_of_a_device_ends_the_first() {
    let mut world = World::new();
    let old = world.login("ann", "phone");
    world.heard.clear();
    let mut new = old.clone();
    world.relogin_as(&mut new, 2);
    world.settle();
    let kick = Heard::Kick { connection: old.connection, code: code::REPLACED };
    assert_eq!(world.hear(&old), [kick]);
    assert_eq!(logged_in(&world.hear(&new)), Some((0, 0)));
    // What the old connection still says is nobody's.
    world.logout(&old);
    world.confirm(&old, 0);
    assert_eq!(world.hosts[0].counters().sessions, 1);
    world.logout(&new);
    assert_eq!(world.hosts[0].counters().sessions, 0);
}

#[test]
fn a_client_overtaken_by_its_own_late_hello_is_told_to_come_back() {
    let mut world = World::new();
    let newer = world.login("ann", "phone");
    world.heard.clear();
    let mut late = newer.clone();
    world.relogin(&mut late);
    world.settle();
    let kick = Heard::Kick { connection: newer.connection, code: code::TIMEOUT };
    assert_eq!(world.hear(&newer), [kick]);
}

#[test]
fn another_check_value_for_a_known_key_is_refused() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    world.heard.clear();
    let login = world.login_frame(&ann);
    world.put_login(&ann, link::Login { check: ann.check ^ 1, ..login });
    world.settle();
    let refused = Heard::LoginRefused { connection: ann.connection, code: code::UNAUTHENTICATED };
    assert_eq!(world.hear(&ann), [refused]);
}

#[test]
fn an_offline_user_finds_messages_and_reads_before_being_pushed_to() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    fill(&mut world, &ann, "bob", 1..=3);
    let bob = world.login("bob", "desk");
    assert_eq!(logged_in(&world.hear(&bob)), Some((3, 0)));
    fill(&mut world, &ann, "bob", 4..=4);
    assert_eq!(world.hear(&bob), [], "nothing is pushed while there is something to read");
    world.read(&bob, 0, 50, false);
    world.settle();
    let heard = world.hear(&bob);
    assert_eq!(numbers(&heard), [1, 2, 3, 4]);
    assert!(matches!(heard.last(), Some(Heard::PageEnd { more: false, code: 0, .. })));
    fill(&mut world, &ann, "bob", 5..=5);
    let pushed = deliveries(&world.hear(&bob));
    assert_eq!((pushed[0].number, pushed[0].page), (5, false));
}

#[test]
fn a_clients_own_cursor_wins_if_higher_and_a_lower_one_only_with_rewind() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let mut bob = world.login("bob", "desk");
    fill(&mut world, &ann, "bob", 1..=4);
    world.confirm(&bob, 2);
    let mut cursor_after = |plus_one: u64, rewind: bool| {
        bob.connection += 1000;
        let login = world.login_frame(&bob);
        world.put_login(&bob, link::Login { cursor_plus_one: plus_one, rewind, ..login });
        world.settle();
        let heard = world.hear(&bob);
        logged_in(&heard).map(|(_, cursor)| cursor).ok_or(heard)
    };
    assert_eq!(cursor_after(0, false), Ok(2));
    assert_eq!(cursor_after(4, false), Ok(3));
    assert_eq!(cursor_after(2, false), Ok(3));
    assert_eq!(cursor_after(2, true), Ok(1));
    let refused = cursor_after(6, false).unwrap_err();
    assert!(matches!(refused[0], Heard::LoginRefused { code: code::BAD_NUMBER, .. }));
}

#[test]
fn unacknowledged_entries_stop_the_push_with_one_head() {
    let mut tight = settings();
    tight.unacknowledged_max = 3;
    let mut world = World::with(tight, 1);
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    world.hear(&bob);
    fill(&mut world, &ann, "bob", 1..=6);
    let heard = world.hear(&bob);
    assert_eq!(numbers(&heard), [1, 2, 3]);
    assert_eq!(heads(&heard), [4]);
    world.read(&bob, 3, 50, false);
    world.settle();
    assert_eq!(numbers(&world.hear(&bob)), [4, 5, 6]);
    world.confirm(&bob, 6);
    fill(&mut world, &ann, "bob", 7..=7);
    assert_eq!(numbers(&world.hear(&bob)), [7]);
    // Ann's own device acknowledged nothing either.
    assert_eq!(world.hosts[0].counters().mark(Mark::CursorModeByLimit), 2);
}

#[test]
fn without_acknowledgement_the_head_is_told_once_and_then_pushing_stops() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    world.hear(&bob);
    fill(&mut world, &ann, "bob", 1..=1);
    world.confirm(&ann, 1);
    let t = world.settings.notify_timeout_us / 1000;
    world.after_ms(t - 1);
    world.settle();
    assert_eq!(heads(&world.hear(&bob)), [0; 0]);
    world.after_ms(1);
    world.settle();
    assert_eq!(heads(&world.hear(&bob)), [1]);
    fill(&mut world, &ann, "bob", 2..=2);
    world.confirm(&ann, 2);
    assert_eq!(numbers(&world.hear(&bob)), [2], "still pushed to after T");
    world.after_ms(t);
    world.settle();
    assert_eq!(heads(&world.hear(&bob)), [2]);
    fill(&mut world, &ann, "bob", 3..=3);
    world.confirm(&ann, 3);
    world.after_ms(5 * t);
    world.settle();
    assert_eq!(world.hear(&bob), [], "cursor mode says nothing more");
    world.confirm(&bob, 2);
    world.read(&bob, 2, 10, false);
    world.settle();
    assert_eq!(numbers(&world.hear(&bob)), [3]);
}

#[test]
fn a_stalled_connection_is_left_one_head() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    world.hear(&bob);
    fill(&mut world, &ann, "bob", 1..=1);
    world.hear(&bob);
    world.stall(&bob);
    world.stall(&bob);
    fill(&mut world, &ann, "bob", 2..=3);
    let heard = world.hear(&bob);
    assert_eq!((heads(&heard), numbers(&heard)), (vec![1], vec![]));
}

#[test]
fn an_acknowledgement_beyond_the_head_is_ignored() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let mut bob = world.login("bob", "desk");
    fill(&mut world, &ann, "bob", 1..=2);
    world.confirm(&bob, 3);
    world.confirm(&bob, u64::MAX);
    world.relogin(&mut bob);
    world.settle();
    assert_eq!(logged_in(&world.hear(&bob)), Some((2, 0)));
    assert_eq!(world.hosts[0].counters().mark(Mark::ConfirmBeyondHead), 2);
}

#[test]
fn cursors_reach_the_log_within_a_second_and_many_moves_make_one_record() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    fill(&mut world, &ann, "bob", 1..=3);
    for number in 1..=3 {
        world.confirm(&bob, number);
    }
    world.turn();
    assert!(world.lanes[0].waiting.is_empty());
    let due = world.hosts[0].next_deadline().unwrap();
    assert!(due <= world.now.monotonic_us + 1_000_000);
    world.after_ms(500);
    world.turn();
    assert_eq!(world.lanes[0].waiting.len(), 1);
    world.settle();
    world.crash(1, |_| 0);
    let bob = world.login("bob", "desk");
    assert_eq!(logged_in(&world.hear(&bob)), Some((3, 3)));
}

#[test]
fn an_announced_session_is_told_the_head_if_something_is_unread() {
    let mut world = World::new();
    let ann = world.login("ann", "phone");
    let bob = world.login("bob", "desk");
    fill(&mut world, &ann, "bob", 1..=2);
    world.crash(1, |waiting| waiting);
    assert!(world.heard.contains(&(bob.worker, Heard::Announce)));
    world.heard.clear();
    let login = world.login_frame(&bob);
    world.put_login(&bob, link::Login { announce: true, ..login });
    world.settle();
    let heard = world.hear(&bob);
    assert!(matches!(heard[0], Heard::LoggedIn { announced: true, head: 2, cursor: 0, .. }));
    assert_eq!(heads(&heard), [2]);
}

#[test]
fn every_device_of_a_user_has_its_own_cursor_and_the_sender_sees_its_own_message() {
    let mut world = World::new();
    let phone = world.login("ann", "phone");
    let desk = world.login("ann", "desk");
    let bob = world.login("bob", "desk");
    world.heard.clear();
    world.send(&phone, "bob", 1, b"hi");
    world.settle();
    let own = deliveries(&world.hear(&phone));
    let other = deliveries(&world.hear(&desk));
    assert_eq!((own[0].own, own[0].body.len(), own[0].peer.as_str()), (true, 0, "bob"));
    assert_eq!((other[0].own, other[0].body.as_slice()), (false, &b"hi"[..]));
    assert_eq!(deliveries(&world.hear(&bob)).len(), 1);
}

#[test]
fn receipts_reach_the_sessions_of_the_peer_through_another_host() {
    let mut world = World::with(settings(), 2);
    let ann = world.login("ann", "phone");
    let others: Vec<_> = (0..4).map(|n| world.login(&format!("bob{n}"), "desk")).collect();
    for bob in &others {
        world.heard.clear();
        world.receipt(&ann, &bob.user_name, 7);
        world.turn();
        assert!(matches!(world.hear(bob)[..], [Heard::Receipt { what: 2, sequence: 7, .. }]));
    }
}
