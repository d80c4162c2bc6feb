//! A gateway whose router tier is elsewhere: one worker on a simulated ring, its links, and routers
//! played by the other end of the link protocol. Links break, are refused, are slow; connections
//! stay, and every question gets an answer.

#![allow(clippy::unwrap_used)] // the lint takes shared test code for ordinary code

mod fake_router;

use fake_router::{FakeRouter, Stage, Told};
use hawser_codec::code;
use hawser_gateway::limits;
use hawser_ring::sim::{Fault, Faults};
use hawser_router::hosting::Reach;

/// Both users' home shards are router 0's when there is one router.
const ONE: usize = 1;

#[test]
fn a_client_logs_in_and_sends_through_a_router_that_gives_the_hash_key() {
    let mut stage = Stage::new(ONE);
    stage.start_router(0);
    stage.until_up(0);
    let mut anna = stage.client("anna");
    anna.request(1, "bert");
    stage.run("acknowledge", |stage| stage.has_answer(&mut anna, 1));
    assert_eq!(anna.acknowledged, [1]);
    assert_eq!(stage.metrics.routers[0].links.get(), 1);
    assert!(stage.metrics.readiness().1.contains("router 0 at 127.15.0.1:12000: up, fake 0"));
}

#[test]
fn nobody_logs_in_before_a_router_was_ever_reached() {
    let mut stage = Stage::new(ONE);
    let mut anna = stage.connect("anna");
    stage.run("refusal", |_| anna.read_fatal().is_some());
    assert_eq!(anna.fatal, Some((code::RECOVERING, limits::ROUTER_RETRY_MS)));
    let (ready, text) = stage.metrics.readiness();
    assert!(!ready && text.contains("cannot connect: Connection refused"), "{text}");
    assert_eq!(stage.metrics.routers[0].up.get(), 0);
}

#[test]
fn a_short_absence_is_waited_out_and_what_was_sent_meanwhile_arrives() {
    let mut stage = Stage::new(ONE);
    stage.start_router(0);
    stage.until_up(0);
    let mut anna = stage.client("anna");
    stage.stop_router(0);
    stage.run("the end of the link", |stage| stage.reach(0) == Reach::Away);
    anna.request(1, "bert");
    stage.pass_ms(500);
    assert!(!stage.has_answer(&mut anna, 1));
    stage.start_router(0);
    stage.run("acknowledge", |stage| stage.has_answer(&mut anna, 1));
    assert_eq!(anna.acknowledged, [1]);
    assert_eq!(stage.metrics.routers[0].links.get(), 2);
}

#[test]
fn a_long_absence_opens_the_breaker_and_the_first_welcome_closes_it() {
    let mut stage = Stage::new(ONE);
    stage.start_router(0);
    stage.until_up(0);
    let mut anna = stage.client("anna");
    stage.stop_router(0);
    stage.run("the end of the link", |stage| stage.reach(0) == Reach::Away);
    // What waits is answered when patience ends.
    anna.request(1, "bert");
    stage.run("refusal", |stage| stage.has_answer(&mut anna, 1));
    assert_eq!(anna.refused, [(1, code::STORAGE_UNAVAILABLE)]);
    assert_eq!(stage.reach(0), Reach::Refusing);
    // What comes then is answered at once, and new logins are told to come back.
    anna.request(2, "bert");
    stage.run("refusal", |stage| stage.has_answer(&mut anna, 2));
    let mut bert = stage.connect("bert");
    stage.run("refusal", |_| bert.read_fatal().is_some());
    assert_eq!(bert.fatal, Some((code::RECOVERING, limits::ROUTER_RETRY_MS)));
    assert!(stage.metrics.routers[0].refusing.get() == 1);
    assert!(!stage.metrics.readiness().0);
    // The connection was never closed, and its session is announced to the router that is back.
    stage.start_router(0);
    stage.run("announcement", |stage| stage.told(0).announced == 1);
    anna.request(3, "bert");
    stage.run("acknowledge", |stage| stage.has_answer(&mut anna, 3));
    assert_eq!((&anna.acknowledged[..], anna.fatal), (&[3][..], None));
    assert!(stage.metrics.readiness().0);
}

#[test]
fn a_login_that_was_under_way_when_the_link_broke_is_told_to_come_back() {
    let mut stage = Stage::new(ONE);
    stage.start_router(0);
    stage.until_up(0);
    stage.router(0).answers = false;
    let mut anna = stage.connect("anna");
    stage.run("login at the router", |stage| stage.told(0).logins == 1);
    stage.stop_router(0);
    stage.run("refusal", |_| anna.read_fatal().is_some());
    assert_eq!(anna.fatal, Some((code::RECOVERING, limits::ROUTER_RETRY_MS)));
}

#[test]
fn requests_lost_with_a_link_do_not_count_against_the_client_for_ever() {
    // The user's home is at the other router, which announces nothing when this one comes back.
    let mut stage = Stage::new(2);
    (0..2).for_each(|router| stage.start_router(router));
    (0..2).for_each(|router| stage.until_up(router));
    let user = stage.user_of_shard(1);
    let peer = stage.peer_of_shard(&user, 0);
    let mut anna = stage.client(&user);
    stage.router(0).answers = false;
    let most = u64::from(limits::REQUESTS_IN_FLIGHT);
    (1..=most).for_each(|number| anna.request(number, &peer));
    stage.run("requests at the router", |stage| stage.told(0).sends == most);
    anna.request(most + 1, &peer);
    stage.run("refusal", |stage| stage.has_answer(&mut anna, most + 1));
    assert_eq!(anna.refused, [(most + 1, code::RATE_LIMITED)]);
    stage.stop_router(0);
    stage.run("the end of the link", |stage| stage.reach(0) == Reach::Away);
    stage.start_router(0);
    stage.until_up(0);
    anna.request(1, &peer);
    stage.run("acknowledge", |stage| stage.has_answer(&mut anna, 1));
    assert_eq!(anna.acknowledged, [1]);
}

#[test]
fn a_router_that_takes_nothing_is_crowded_and_new_work_is_told_to_come_back() {
    let mut stage = Stage::new(ONE);
    stage.start_router(0);
    stage.until_up(0);
    let mut clients: Vec<_> = (0..64).map(|number| stage.client(&format!("u{number}"))).collect();
    stage.router(0).grants = false;
    stage.router(0).answers = false;
    let mut crowded = false;
    let mut number = 0;
    stage.run("the router to be crowded", |stage| {
        number += 1;
        for client in &mut clients {
            client.request_of(number, "bert", &[7; 8000]);
            client.read();
        }
        crowded |= stage.reach(0) == Reach::Crowded;
        let queued = stage.metrics.routers[0].queued_bytes.get();
        assert!(queued <= limits::ROUTER_QUEUE_BYTES as u64, "{queued}");
        crowded
    });
    // Crowded is a refusal with a time to come back, not an end.
    let mut anna = clients.swap_remove(0);
    anna.request(100_000, "bert");
    stage.run("refusal", |stage| stage.has_answer(&mut anna, 100_000));
    assert!(anna.refused.contains(&(100_000, code::OVERLOADED)), "{:?}", anna.refused.last());
    assert_eq!(anna.fatal, None);
}

#[test]
fn each_thing_that_is_wrong_is_named_once_and_shown() {
    type Change = fn(&mut FakeRouter);
    let cases: [(Change, &str); 5] = [
        (|router| router.secret = b"another secret".to_vec(), "the secrets differ"),
        (|router| router.settings.routers = 2, "the lists of routers differ"),
        (|router| router.settings.index = Some(3), "expects router 0 of 1 here, this is router 3"),
        (|router| router.newer_only = true, "speaks 2 to 3, which is newer"),
        (|router| router.talks_http = true, "speaks no link protocol"),
    ];
    for (change, text) in cases {
        let mut stage = Stage::new(ONE);
        stage.start_router(0);
        change(stage.router(0));
        stage.run(text, |stage| stage.metrics.readiness().1.contains(text));
        // It is tried again and again, says the same, and is not taken for up.
        stage.pass_ms(10_000);
        assert!(stage.router(0).accepted > 2, "{text}: {}", stage.router(0).accepted);
        let (ready, shown) = stage.metrics.readiness();
        assert!(!ready && shown.contains(text), "{shown}");
        assert_eq!(stage.metrics.routers[0].links.get(), 0);
    }
}

#[test]
fn a_router_with_another_hash_key_than_the_first_is_refused() {
    let mut stage = Stage::new(2);
    stage.start_router(0);
    stage.until_up(0);
    stage.start_router(1);
    stage.router(1).settings.hash_key = Some([9; 32]);
    let text = "the hash keys differ";
    stage.run(text, |stage| stage.metrics.readiness().1.contains(text));
    assert!(stage.metrics.readiness().0, "the other router serves");
}

#[test]
fn one_router_away_leaves_the_users_of_the_other_alone() {
    let mut stage = Stage::new(2);
    (0..2).for_each(|router| stage.start_router(router));
    (0..2).for_each(|router| stage.until_up(router));
    let (home_0, home_1) = (stage.user_of_shard(0), stage.user_of_shard(1));
    let mut staying = stage.client(&home_1);
    stage.stop_router(0);
    stage.run("breaker", |stage| stage.reach(0) == Reach::Refusing);
    let mut refused = stage.connect(&home_0);
    stage.run("refusal", |_| refused.read_fatal().is_some());
    let peer = stage.peer_of_shard(&home_1, 1);
    staying.request(1, &peer);
    stage.run("acknowledge", |stage| stage.has_answer(&mut staying, 1));
    assert_eq!(staying.acknowledged, [1]);
    let (ready, text) = stage.metrics.readiness();
    assert!(ready && text.contains("router 0 at") && text.contains("not reached"), "{text}");
}

#[test]
fn a_silent_router_is_left_and_a_blackholed_one_is_dialled_within_a_bound() {
    let mut stage = Stage::new(ONE);
    stage.start_router(0);
    stage.until_up(0);
    stage.router(0).frozen = true;
    stage.run("silence", |stage| {
        stage.metrics.readiness().1.contains("nothing heard for 5 s")
            || stage.metrics.readiness().1.contains("no welcome within 5 s")
    });
    assert!(stage.reach(0) != Reach::Up);
    stage.router(0).frozen = false;
    stage.until_up(0);
}

#[test]
fn every_session_is_announced_to_a_router_that_comes_back() {
    let mut stage = Stage::new(ONE);
    stage.start_router(0);
    stage.until_up(0);
    let clients: Vec<_> = (0..40).map(|number| stage.client(&format!("u{number}"))).collect();
    for _ in 0..3 {
        stage.stop_router(0);
        stage.run("the end of the link", |stage| stage.reach(0) == Reach::Away);
        stage.start_router(0);
        stage.run("announcements", |stage| stage.told(0).announced == 40);
        assert_eq!(stage.told(0), Told { announced: 40, ..Told::default() });
    }
    drop(clients);
}

#[test]
fn links_that_break_under_every_harmless_fault_of_the_ring_cost_no_connection_and_no_answer() {
    const REQUESTS: u64 = 12;
    for seed in 0..10 {
        let mut faults = Faults::none();
        for fault in [
            Fault::ShortSend,
            Fault::MoreLostWithData,
            Fault::MoreLostWithoutData,
            Fault::NoBuffers,
            Fault::Busy,
            Fault::Interrupted,
            Fault::CancelTooLate,
            Fault::CancelAlready,
            Fault::CancelledFirst,
            Fault::Reordered,
            Fault::Late,
        ] {
            faults = faults.with(fault, 0.05);
        }
        let mut stage = Stage::with_faults(2, seed, faults);
        (0..2).for_each(|router| stage.start_router(router));
        (0..2).for_each(|router| stage.until_up(router));
        let mut clients: Vec<_> =
            (0..12).map(|number| stage.client(&format!("u{number}"))).collect();
        for number in 1..=REQUESTS {
            let router = stage.draw(2) as usize;
            match stage.draw(6) {
                0 => stage.stop_router(router),
                1 => stage.router(router).frozen = true,
                _ => {}
            }
            clients.iter_mut().for_each(|client| client.request(number, "bert"));
            let pause_ms = stage.draw(4_000);
            stage.pass_ms(pause_ms);
            stage.router(router).frozen = false;
            stage.restart_if_stopped(router);
            let what = format!("seed {seed}, request {number}");
            // A client repeats what got no answer, or one that says later.
            let mut steps = 0;
            stage.run(&what, |stage| {
                steps += 1;
                let mut missing = 0;
                for client in &mut clients {
                    client.read();
                    assert_eq!(client.fatal, None, "{what}: {}", stage.metrics.readiness().1);
                    if !client.acknowledged.contains(&number) {
                        missing += 1;
                        if steps % 500 == 0 {
                            client.request(number, "bert");
                        }
                    }
                }
                let up = (0..2).all(|router| stage.reach(router) == Reach::Up);
                missing == 0 && up
            });
        }
    }
}
