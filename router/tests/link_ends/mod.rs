//! Two ends of a link and a pipe between them, for the tests of the link protocol.
#![allow(dead_code)] // each test file uses its part

use hawser_codec::time::Now;
use hawser_router::link::{
    Family, Inbox, LinkEnd, LinkEvent, LinkSecret, LinkSession, LinkSettings, PeerIdentity,
    Refusal, Role, Taken, WINDOW_BYTES_RANGE,
};

/// Hash key of the tests' routers.
pub const HASH_KEY: [u8; 32] = [7; 32];

pub fn at(monotonic_us: u64) -> Now {
    Now { monotonic_us, wall_ms: 0 }
}

pub fn gateway() -> LinkSettings {
    LinkSettings {
        role: Role::Gateway,
        name: "g1".into(),
        epoch: 1,
        nonce: [1; 32],
        workers: 2,
        routers: 1,
        index: None,
        peer_index: Some(0),
        secret: LinkSecret::new(b"example"),
        hash_key: None,
        window_bytes: WINDOW_BYTES_RANGE.0,
    }
}

pub fn router() -> LinkSettings {
    LinkSettings {
        role: Role::Router,
        name: "r0".into(),
        epoch: 2,
        nonce: [2; 32],
        workers: 1,
        routers: 1,
        index: Some(0),
        peer_index: None,
        secret: LinkSecret::new(b"example"),
        hash_key: Some(HASH_KEY),
        window_bytes: WINDOW_BYTES_RANGE.0,
    }
}

/// An event that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Up(PeerIdentity),
    Batch(Family, u16, Vec<u8>),
    GoAway(Refusal),
    Down(LinkEnd),
}

/// One end with its receive buffer and all it has seen.
pub struct End {
    pub session: LinkSession,
    pub inbox: Inbox,
    pub seen: Vec<Seen>,
    /// Costs of batches that are not yet granted again; `None`: granted at once.
    pub ungranted: Option<Vec<u32>>,
}

impl End {
    pub fn new(session: LinkSession) -> Self {
        Self { session, inbox: Inbox::default(), seen: Vec::new(), ungranted: None }
    }

    pub fn receive(&mut self, now: Now, bytes: &[u8]) {
        self.inbox.extend(bytes);
        loop {
            match self.session.step(now, self.inbox.bytes()) {
                Taken::NeedMore(at_least) => {
                    assert!(at_least > self.inbox.bytes().len());
                    return self.inbox.expect(at_least);
                }
                Taken::Frame(length, event) => {
                    let mut granted = None;
                    match event {
                        Some(LinkEvent::Up(peer)) => self.seen.push(Seen::Up(peer)),
                        Some(LinkEvent::Batch { family, worker, bytes, cost }) => {
                            granted = Some(cost);
                            self.seen.push(Seen::Batch(family, worker, bytes.to_vec()));
                        }
                        Some(LinkEvent::GoAway(reason)) => self.seen.push(Seen::GoAway(reason)),
                        Some(LinkEvent::Down(end)) => self.seen.push(Seen::Down(end)),
                        None => {}
                    }
                    self.inbox.consume(length);
                    match (&mut self.ungranted, granted) {
                        (None, Some(cost)) => self.session.grant(cost),
                        (Some(kept), Some(cost)) => kept.push(cost),
                        _ => {}
                    }
                }
            }
        }
    }

    pub fn out(&mut self) -> Vec<u8> {
        self.session.take_out(Vec::new())
    }

    pub fn end(&self) -> Option<&LinkEnd> {
        self.seen.iter().find_map(|seen| match seen {
            Seen::Down(end) => Some(end),
            _ => None,
        })
    }
}

/// Hands bytes to and fro until both are quiet.
pub fn run(one: &mut End, other: &mut End, now: Now) {
    for _ in 0..100 {
        let (there, back) = (one.out(), other.out());
        if there.is_empty() && back.is_empty() {
            return;
        }
        other.receive(now, &there);
        one.receive(now, &back);
    }
    panic!("the two ends never become quiet");
}

/// Both ends of a handshake between these.
pub fn meet(initiator: LinkSettings, acceptor: LinkSettings) -> (End, End) {
    let mut one = End::new(LinkSession::initiator(initiator, at(0)));
    let mut other = End::new(LinkSession::acceptor(acceptor, at(0)));
    run(&mut one, &mut other, at(0));
    (one, other)
}

/// A link that is up, gateway first.
pub fn linked() -> (End, End) {
    let (mut one, mut other) = meet(gateway(), router());
    assert!(one.session.is_up() && other.session.is_up(), "{:?} {:?}", one.seen, other.seen);
    one.seen.clear();
    other.seen.clear();
    (one, other)
}

/// A batch of codec frames with bodies of these lengths: a length and as many bytes of `fill`.
pub fn batch(lengths: &[usize], fill: u8) -> Vec<u8> {
    let mut batch = Vec::new();
    for length in lengths {
        batch.extend_from_slice(&(*length as u32).to_le_bytes());
        batch.resize(batch.len() + length, fill);
    }
    batch
}
