//! TLS below the protocols of a worker's connections.
//!
//! ```text
//!  wire ──▶ Layer::open ──▶ plaintext ──▶ protocol ──▶ queue of plaintext ──▶ Layer::seal ──▶ wire
//!              │                                            ▲
//!              └── handshake, answers: sealed already ──────┘ (counted as `ready` at its front)
//! ```
//!
//! The layer knows nothing of protocols, and protocols nothing of it. What a connection costs while
//! it is idle is a record state in a table by slot; a handshake is boxed and goes when it is done.
//!
//! Handshakes wait for their turn: a worker spends a bounded part of each turn on them, oldest
//! first, so that a storm of new clients does not hold up those who are there.

mod layer;
mod pages;

pub use layer::{Layer, Opened};

use crate::listener::Kind;
use hawser_tls::{Alpn, Listening, Material, Refused};

/// What listeners with TLS offer: of each kind the same, but for the application protocol.
pub struct Offers([Listening; Kind::ALL.len()]);

impl Offers {
    /// Builds it; `now_s` is the wall time, seconds since 1970.
    ///
    /// # Errors
    /// The file that is wrong, and what is wrong with it.
    pub fn new(material: &Material<'_>, now_s: u64) -> Result<Self, Refused> {
        let of = |kind| Listening::new(material, spoken(kind), now_s);
        Ok(Self([of(Kind::Native)?, of(Kind::WebSocket)?, of(Kind::Mqtt)?, of(Kind::Any)?]))
    }

    fn of(&self, kind: Kind) -> &Listening {
        &self.0[kind as usize]
    }
}

fn spoken(kind: Kind) -> &'static [Alpn] {
    match kind {
        Kind::Native => &[Alpn::Hawser],
        Kind::WebSocket => &[Alpn::Http],
        Kind::Mqtt => &[Alpn::Mqtt],
        Kind::Any => &Alpn::ALL,
    }
}
