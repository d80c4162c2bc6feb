//! What a request may and may not do, and what survives the death of the gateway.

use std::time::{SystemTime, UNIX_EPOCH};

use hawser_codec::{code, message::Message};
use hawser_tests::{
    company::random_name,
    process::{PATIENCE, Setup},
    raw::{RawClient, hello, request},
};

#[test]
fn repeat_gets_the_first_answer_on_any_connection_and_after_a_kill() {
    let mut gateway = Setup::new().start();
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let message = request(1, &bob, b"once");
    let first = sender.deliver(&message);
    assert_eq!(sender.deliver(&message), first);
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    assert_eq!(sender.deliver(&message), first);

    gateway.kill();
    gateway.restart();
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let mut repeat = message;
    repeat.first_attempt_ms = wall_ms();
    repeat.after = 0;
    assert_eq!(sender.deliver(&repeat), first);
    assert_eq!(sender.deliver(&request(2, &bob, b"next")).sequence, first.sequence + 1);
    let (mut reader, welcome) = RawClient::login_at(gateway.native(), &bob, "phone", 2);
    assert_eq!(welcome.head, 2, "the repeats left no second entry");
    let (entries, _) = reader.page(0, 100);
    let bodies: Vec<_> = entries.iter().map(|entry| entry.body.as_slice()).collect();
    assert_eq!(bodies, [b"once", b"next"]);
}

#[test]
fn number_used_for_another_body_or_id_is_refused_for_good() {
    let mut gateway = Setup::new().start();
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let first = sender.deliver(&request(1, &bob, b"the truth"));
    let other_body = request(1, &bob, b"the truth?");
    let mut other_id = request(1, &bob, b"the truth");
    other_id.uuid = [9; 16];
    for killed in [false, true] {
        if killed {
            gateway.kill();
            gateway.restart();
            sender = RawClient::login(gateway.native(), &alice, "phone").0;
        }
        for message in [&other_body, &other_id] {
            sender.request(message);
            let refusal = sender.answer(1).expect_err("it is another message");
            assert_eq!((refusal.code, refusal.retry_after_ms), (code::NUMBER_REUSED, 0));
            assert!(!refusal.fatal);
        }
        assert_eq!(sender.deliver(&request(1, &bob, b"the truth")), first);
    }
    // The number counts within an incarnation.
    let mut afresh = hello(&alice, "phone");
    afresh.incarnation = 2;
    let mut sender = RawClient::greet(gateway.native(), &afresh);
    sender.welcome();
    assert_eq!(sender.deliver(&other_body).sequence, 2);
}

#[test]
fn request_whose_predecessor_was_not_accepted_is_refused_and_may_come_again() {
    let gateway = Setup::new().start();
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let mut second = request(2, &bob, b"second");
    second.after = 1;
    sender.request(&second);
    assert_eq!(sender.answer(2).expect_err("nothing stands before it").code, code::OUT_OF_ORDER);
    // Both in one go: the second finds the first appended, if not yet durable.
    sender.request(&request(1, &bob, b"first"));
    sender.request(&second);
    assert_eq!(sender.answer(1).expect("it is new").sequence, 1);
    assert_eq!(sender.answer(2).expect("its predecessor is there").sequence, 2);
}

#[test]
fn number_below_an_accepted_one_is_superseded() {
    let gateway = Setup::new().start();
    let (alice, bob, carol) = (random_name(), random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    sender.deliver(&request(5, &bob, b"later"));
    sender.request(&request(3, &bob, b"earlier"));
    let refusal = sender.answer(3).expect_err("a later one was accepted");
    assert_eq!((refusal.code, refusal.retry_after_ms), (code::SUPERSEDED, 0));
    // Another conversation has an order of its own.
    sender.deliver(&request(4, &carol, b"elsewhere"));
}

#[test]
fn attempt_older_than_retention_is_refused() {
    let gateway = Setup::new().setting("store.retention_hours", 2).start();
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let hours = |count: u64| count * 3_600_000;
    let mut message = request(1, &bob, b"from long ago");
    // Retention less one hour is the bound.
    message.first_attempt_ms = wall_ms() - hours(1) - 60_000;
    sender.request(&message);
    let refusal = sender.answer(1).expect_err("nobody can tell whether it is a repeat");
    assert_eq!((refusal.code, refusal.retry_after_ms), (code::TOO_OLD, 0));
    message.first_attempt_ms = wall_ms() - hours(1) / 2;
    sender.deliver(&message);
}

#[test]
fn requests_beyond_the_window_are_refused_for_now_and_cost_nothing_else() {
    let gateway = Setup::new()
        .setting("limits.requests_max", 2)
        // Answers wait for a full commit or this long: all requests meet the window unanswered.
        .setting("store.commit_wait_us", 100_000)
        .start();
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, welcome) = RawClient::login(gateway.native(), &alice, "phone");
    assert_eq!(welcome.requests_max, 2);
    let mut frames = Vec::new();
    for number in 1..=5 {
        let mut message = request(number, &bob, b"eager");
        message.after = number - 1;
        hawser_codec::message::Encoder::new().message(
            &mut frames,
            0,
            0,
            &Message::Request(message),
        );
    }
    sender.say(&frames);
    for number in 1..=2 {
        sender.answer(number).expect("within the window");
    }
    for number in 3..=5 {
        let refusal = sender.answer(number).expect_err("beyond the window");
        assert_eq!(refusal.code, code::RATE_LIMITED);
        assert!(refusal.retry_after_ms > 0 && !refusal.fatal);
    }
    assert_eq!(sender.deliver(&request(3, &bob, b"eager")).sequence, 3);
}

#[test]
fn acknowledged_messages_cursors_and_order_survive_a_kill_under_any_counts() {
    let mut gateway = Setup::new().start();
    let (alice, bob) = (random_name(), random_name());
    let mut sent = 0;
    // The number of workers, hosts and lanes is not part of the data.
    for (workers, hosts, lanes) in [(2, 2, 1), (1, 1, 1), (4, 2, 2), (3, 1, 1), (2, 2, 2)] {
        gateway.kill();
        gateway.change(|setup| {
            setup.workers(workers).setting("router.hosts", hosts).setting("store.lanes", lanes)
        });
        gateway.restart();
        let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
        for _ in 0..10 {
            sent += 1;
            let answer = sender.deliver(&request(sent, &bob, &sent.to_le_bytes()));
            assert_eq!(answer.sequence, sent);
        }
    }
    gateway.kill();
    gateway.restart();
    let (mut reader, welcome) = RawClient::login_at(gateway.native(), &bob, "phone", sent);
    assert_eq!(welcome.head, sent);
    let (entries, _) = reader.page(0, 100);
    assert_eq!(entries.len() as u64, sent);
    for (entry, number) in entries.iter().zip(1..) {
        assert_eq!((entry.number, entry.sequence), (number, number));
        assert_eq!(entry.body, number.to_le_bytes());
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    assert!(since > PATIENCE);
    since.as_millis() as u64
}
