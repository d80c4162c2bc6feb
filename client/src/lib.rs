//! Rust client of the Hawser native protocol.
//!
//! Two layers. [`session::ClientSession`] is the protocol itself: a pure state machine without
//! clock, IO or randomness, for programs with an event loop of their own and for simulation.
//! [`Client`] runs one session on tokio and is what most programs want:
//!
//! ```no_run
//! # async fn example() -> Result<(), hawser_client::ClientError> {
//! use hawser_client::{Client, Event, Settings};
//!
//! let settings = Settings::new("alice", "laptop");
//! let mut client = Client::start("127.0.0.1:7900", settings, None)?;
//! client.send("bob", b"ahoy").await?;
//! while let Some(event) = client.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {:?}", message.sender, message.body);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What the client promises its application: each message of the mailbox is reported once, in
//! the order of the mailbox; each message sent is answered once, by [`Event::Acknowledged`] or
//! [`Event::Refused`], however often the connection breaks in between. To keep both promises
//! across a restart of the program, store [`Outbox::to_bytes`] and start with it again.

pub mod outbox;
pub mod session;
mod transport;

pub use outbox::Outbox;
pub use session::{
    Acknowledging, ClientSession, ConnectionState, Event, Message, Outgoing, SendError, Settings,
};
pub use transport::{Client, ClientError};
