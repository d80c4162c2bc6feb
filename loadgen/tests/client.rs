//! The client library on tokio, over real sockets, against the same small server.

mod mock;

use std::time::Duration;

use hawser_client::{Client, ClientError, ConnectionState, Event, Outbox, SendError, Settings};
use mock::Fault;
use tokio::time::timeout;

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn client(address: &str, user: &str, outbox: Option<Outbox>) -> Client {
    let mut settings = Settings::new(user, "test");
    settings.backoff_min_ms = 20;
    Client::start(address, settings, outbox).expect("random numbers")
}

async fn next(client: &mut Client) -> Option<Event> {
    timeout(PATIENCE, client.next()).await.expect("an event comes in time")
}

async fn bodies(client: &mut Client, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        if let Event::Message(message) = next(client).await.expect("session goes on") {
            bodies.push(String::from_utf8(message.body).expect("sent as text"));
        }
    }
    bodies
}

#[tokio::test(flavor = "current_thread")]
async fn messages_arrive_once_in_order_though_every_connection_breaks() {
    let address = mock::start(Fault::Break(20)).to_string();
    let alice = client(&address, "alice", None);
    let mut bob = client(&address, "bob", None);
    let expected: Vec<String> = (0..40).map(|number| format!("message {number}")).collect();
    for body in &expected {
        alice.send("bob", body.as_bytes()).await.unwrap();
    }
    assert_eq!(bodies(&mut bob, 40).await, expected);
}

#[tokio::test(flavor = "current_thread")]
async fn stored_outbox_sends_after_a_restart_what_was_never_answered() {
    // Nobody listens on port 1: the first program never gets through.
    let alice = client("127.0.0.1:1", "alice", None);
    alice.send("bob", b"kept").await.unwrap();
    let stored = alice.outbox().await.unwrap();
    alice.end().await;

    let address = mock::start(Fault::None).to_string();
    let mut bob = client(&address, "bob", None);
    let outbox = Outbox::from_bytes(&stored).unwrap();
    let mut alice = client(&address, "alice", Some(outbox));
    assert_eq!(bodies(&mut bob, 1).await, ["kept"]);
    while !matches!(next(&mut alice).await.unwrap(), Event::Acknowledged { client_seq: 1, .. }) {}
}

#[tokio::test(flavor = "current_thread")]
async fn refused_login_ends_the_session_with_its_reason() {
    let address = mock::start(Fault::Refuse).to_string();
    let mut alice = client(&address, "alice", None);
    let mut last = None;
    while let Some(event) = next(&mut alice).await {
        last = Some(event);
    }
    let code = 200;
    assert_eq!(last, Some(Event::Ended { code, text: String::new() }));
    assert!(matches!(alice.sync().await, Err(ClientError::Ended)));
}

#[tokio::test(flavor = "current_thread")]
async fn bad_name_is_refused_before_anything_is_sent() {
    let address = mock::start(Fault::None).to_string();
    let mut alice = client(&address, "alice", None);
    assert_eq!(next(&mut alice).await, Some(Event::State(ConnectionState::Connecting)));
    let refused = alice.send("", b"x").await;
    assert!(matches!(refused, Err(ClientError::Send(SendError::BadName))));
}
