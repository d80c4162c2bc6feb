//! How a gateway leaves.

use hawser_client::{ConnectionState, Event};
use hawser_codec::{code, message::Message};
use hawser_tests::{
    company::{event, online, random_name, runtime, settings},
    process::Setup,
    raw::{RawClient, request},
};
use rustix::process::Signal;

const INTERRUPTED: i32 = 130;

#[test]
fn sigterm_asks_everybody_to_leave_and_ends_with_success() {
    let mut gateway = Setup::new().start();
    let mut clients: Vec<RawClient> =
        (0..20).map(|_| RawClient::login(gateway.native(), &random_name(), "phone").0).collect();
    let answer = clients[0].deliver(&request(1, "bob", b"before the end"));
    gateway.signal(Signal::TERM);
    for client in &mut clients {
        let (code, retry_after_ms) = client.take("go-away", |_, message| match message {
            Message::GoAway(go_away) => Some((go_away.code, go_away.retry_after_ms)),
            _ => None,
        });
        assert_eq!(code, code::SHUTTING_DOWN);
        assert!(retry_after_ms > 0);
        client.end();
    }
    assert_eq!(gateway.wait().code(), Some(0));
    gateway.restart();
    let (_, welcome) = RawClient::login_at(gateway.native(), "bob", "phone", 1);
    assert_eq!((welcome.head, answer.sequence), (1, 1));
}

#[test]
fn client_that_is_asked_to_leave_comes_back_by_itself() {
    let mut gateway = Setup::new().start();
    let runtime = runtime();
    let (alice, bob) = (random_name(), random_name());
    let mut client = runtime.block_on(online(gateway.native(), settings(&alice, "phone")));
    gateway.signal(Signal::TERM);
    runtime.block_on(event(&mut client, "go-away", |event| {
        matches!(event, Event::GoingAway { code: code::SHUTTING_DOWN }).then_some(())
    }));
    assert_eq!(gateway.wait().code(), Some(0));
    gateway.restart();
    runtime.block_on(async {
        event(&mut client, "return", |event| {
            matches!(event, Event::State(ConnectionState::Online)).then_some(())
        })
        .await;
        let number = client.send(&bob, b"back again").await.expect("the outbox is empty");
        let acknowledged = event(&mut client, "acknowledgement", |event| match event {
            Event::Acknowledged { client_seq, .. } => Some(*client_seq),
            _ => None,
        });
        assert_eq!(acknowledged.await, number);
    });
}

#[test]
fn client_that_takes_no_bytes_does_not_stop_a_shutdown() {
    let mut gateway = Setup::new().setting("limits.close_timeout_ms", 200).start();
    let (alice, bob) = (random_name(), random_name());
    let (mut sender, _) = RawClient::login(gateway.native(), &alice, "phone");
    let (_stuck, _) = RawClient::login(gateway.native(), &bob, "phone");
    for number in 1..=200 {
        sender.deliver(&request(number, &bob, &[1; 60_000]));
    }
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn sigint_ends_at_once_and_loses_nothing_acknowledged() {
    let mut gateway = Setup::new().start();
    let (mut sender, _) = RawClient::login(gateway.native(), "alice", "phone");
    for number in 1..=10 {
        sender.deliver(&request(number, "bob", b"acknowledged"));
    }
    gateway.signal(Signal::INT);
    assert_eq!(gateway.wait().code(), Some(INTERRUPTED));
    gateway.restart();
    let (_, welcome) = RawClient::login_at(gateway.native(), "bob", "phone", 10);
    assert_eq!(welcome.head, 10);
}
