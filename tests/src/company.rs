//! Users of the real client library who chat while something else goes on, and notice if it
//! costs them anything.

use std::{net::SocketAddr, time::Duration};

use hawser_client::{Client, ConnectionState, Event, Settings};
use tokio::{runtime::Runtime, time::timeout};

use crate::process::PATIENCE;

/// Settings of a test's client: comes back quickly, and knows nothing of the wall clock.
pub fn settings(user: &str, device: &str) -> Settings {
    Settings { backoff_min_ms: 20, backoff_max_ms: 200, ..Settings::new(user, device) }
}

/// A runtime for one thread.
///
/// # Panics
/// If the system has none left.
pub fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime can be made")
}

/// Waits under [`PATIENCE`].
///
/// # Panics
/// If that ends first.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Waits for the first event that `pick` takes; the others are dropped.
///
/// # Panics
/// If the session ends first.
pub async fn event<T>(client: &mut Client, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
    soon(what, async {
        loop {
            let event = client.next().await.unwrap_or_else(|| panic!("ended before {what}"));
            if let Some(picked) = pick(&event) {
                return picked;
            }
        }
    })
    .await
}

/// Starts a client and waits until it is logged in.
///
/// # Panics
/// If it never is.
pub async fn online(address: SocketAddr, settings: Settings) -> Client {
    let mut client =
        Client::start(&address.to_string(), settings, None).expect("there are random numbers");
    event(&mut client, "login", |event| {
        matches!(event, Event::State(ConnectionState::Online)).then_some(())
    })
    .await;
    client
}

/// Two users who chat, each on a device.
#[derive(Debug)]
pub struct Neighbours {
    runtime: Runtime,
    one: Client,
    other: Client,
    names: [String; 2],
    said: u64,
}

impl Neighbours {
    /// Two users named after what the test is about.
    pub fn new(address: SocketAddr, about: &str) -> Self {
        let runtime = runtime();
        let names = [format!("{about}-one"), format!("{about}-other")];
        let (one, other) = runtime.block_on(async {
            let one = online(address, settings(&names[0], "phone")).await;
            (one, online(address, settings(&names[1], "phone")).await)
        });
        Self { runtime, one, other, names, said: 0 }
    }

    /// A few messages each way; each must be acknowledged and arrive, in order, over the
    /// connections that were there from the start.
    ///
    /// # Panics
    /// If one does not, or a connection breaks.
    #[track_caller]
    pub fn chat(&mut self) {
        let Self { runtime, one, other, names, said } = self;
        runtime.block_on(async {
            for _ in 0..4 {
                *said += 1;
                exchange(one, other, &names[1], *said).await;
                exchange(other, one, &names[0], *said).await;
            }
        });
    }
}

async fn exchange(from: &mut Client, to: &mut Client, name: &str, count: u64) {
    let body = count.to_le_bytes();
    let number = from.send(name, &body).await.expect("the outbox is empty");
    let acknowledged = event(from, "neighbour's acknowledgement", |event| match event {
        Event::Acknowledged { client_seq, .. } => Some(*client_seq),
        Event::Own { .. } | Event::Message(_) => None,
        other => panic!("a neighbour was disturbed: {other:?}"),
    });
    assert_eq!(acknowledged.await, number);
    let heard = event(to, "neighbour's message", |event| match event {
        Event::Message(message) => Some(message.body.clone()),
        Event::Own { .. } => None,
        other => panic!("a neighbour was disturbed: {other:?}"),
    });
    assert_eq!(heard.await, body);
}

/// Repeats a question that is answered "not yet", without burning the machine's two cores.
///
/// # Panics
/// If the answer does not come within [`PATIENCE`].
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let runtime = runtime();
    runtime.block_on(soon(what, async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }))
}

/// A user's name that no run before had: which shard and worker it meets is left to chance.
pub fn random_name() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("user-{:016x}", RandomState::new().hash_one(0))
}
