//! Either end of a link.
//!
//! ```text
//!  initiator:  Greeting ─ hello ─▶ Proving ─ welcome ─▶ Up ─▶ Over
//!  acceptor:   Greeting ─ hello ─▶ Proving ─ proof ───▶ Up ─▶ Over
//! ```
//!
//! Received bytes are offered with [`LinkSession::step`], which borrows batches from them; what is
//! to be sent is fetched with [`LinkSession::take_out`]. A session lives as long as one connection.

use super::{
    FRAME_BODY_BYTES_MAX, HANDSHAKE_BODY_BYTES_MAX, HANDSHAKE_US, OUT_BYTES_HIGH, PIECE_BYTES,
    PING_US, SILENCE_US, VERSION_MAX, VERSION_MIN,
    hello::{Hello, Role},
    outgoing,
    refusal::{LinkEnd, Refusal, refusal_code},
    secret::{End, LinkSecret, PROOF_BYTES},
    wire::{self, FLAG_OPTIONAL, Family, Frame, HEADER_BYTES, PREFACE, Step, kind},
};
use crate::KeySpace;
use hawser_codec::{link::Damaged, time::Now};

/// What one side brings to a link. Epoch and nonce are random and come from the shell.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// What this side is.
    pub role: Role,
    /// Name for people, up to [`super::NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Random number of this process's life, not 0.
    pub epoch: u64,
    /// Random for this connection.
    pub nonce: [u8; 32],
    /// Workers of this side that batches may be for; origins, seen from the other.
    pub workers: u16,
    /// Length of the list of routers.
    pub routers: u16,
    /// Own place in the list, if this side is a router.
    pub index: Option<u16>,
    /// Place of the router that was dialled; `None` for who accepts.
    pub peer_index: Option<u16>,
    /// What both sides know.
    pub secret: LinkSecret,
    /// The hash key, if known; else the other side is asked for it.
    pub hash_key: Option<[u8; 32]>,
    /// Bytes of batches taken before more are granted ([`super::WINDOW_BYTES_RANGE`]).
    pub window_bytes: u32,
}

/// Who the other side has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// What it is.
    pub role: Role,
    /// Its name, for logs.
    pub name: String,
    /// Its life: a second link of the same epoch is of the same process.
    pub epoch: u64,
    /// Its workers.
    pub workers: u16,
    /// Its place in the list of routers.
    pub index: Option<u16>,
    /// Version of the protocol spoken.
    pub version: u16,
    /// The hash key, if this side asked for it and got it.
    pub hash_key: Option<[u8; 32]>,
}

/// What a step brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent<'a> {
    /// The link is up: batches may be sent.
    Up(PeerIdentity),
    /// A batch, or a piece of one that ends at a frame's end.
    Batch {
        /// What its frames are.
        family: Family,
        /// Worker of the gateway it is from (uplink) or for (downlink); 0 between routers.
        worker: u16,
        /// Frames of [`hawser_codec::link`].
        bytes: &'a [u8],
        /// To be given to [`LinkSession::grant`] once it is done with.
        cost: u32,
    },
    /// The other side will end soon; the link goes on until then.
    GoAway(Refusal),
    /// The link is over. What is left to be sent may be sent, then the connection is closed.
    Down(LinkEnd),
}

/// What [`LinkSession::step`] took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken<'a> {
    /// So many bytes off the front, and what they said.
    Frame(usize, Option<LinkEvent<'a>>),
    /// Nothing: no whole frame before so many bytes are there.
    NeedMore(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Proving,
    Up,
    Over,
}

/// Credit of both directions, in bytes of batch frames with their headers, all cumulative.
struct Credit {
    sent: u64,
    /// Sending may begin below it.
    send_limit: u64,
    received: u64,
    consumed: u64,
    /// Limit the other side knows of.
    announced: u64,
    window: u64,
}

/// See the module's head.
pub struct LinkSession {
    end: End,
    state: State,
    hello: Hello,
    secret: LinkSecret,
    hash_key: Option<[u8; 32]>,
    peer: Option<Hello>,
    /// Both hello frames, the initiator's first.
    hellos: Vec<u8>,
    preface_heard: bool,
    preface_said: bool,
    out: Vec<u8>,
    credit: Credit,
    heard_us: u64,
    /// When the handshake must be over; then, when the next ping leaves.
    due_us: u64,
    /// When the ping that is not yet answered left.
    pinged_us: Option<u64>,
    round_trip_us: Option<u64>,
}

impl LinkSession {
    /// The side that has connected; its greeting waits to be sent.
    pub fn initiator(settings: LinkSettings, now: Now) -> Self {
        let mut session = Self::new(End::Initiator, settings, now);
        session.say_hello();
        session
    }

    /// The side that has accepted.
    pub fn acceptor(settings: LinkSettings, now: Now) -> Self {
        Self::new(End::Acceptor, settings, now)
    }

    fn new(end: End, settings: LinkSettings, now: Now) -> Self {
        let hash_check = settings.hash_key.map_or(0, |key| KeySpace::new(key).check());
        let window = u64::from(settings.window_bytes);
        Self {
            end,
            state: State::Greeting,
            hello: Hello {
                versions: (VERSION_MIN, VERSION_MAX),
                role: settings.role,
                workers: settings.workers,
                routers: settings.routers,
                index: settings.index,
                peer_index: settings.peer_index,
                epoch: settings.epoch,
                hash_check,
                window_bytes: settings.window_bytes,
                nonce: settings.nonce,
                name: settings.name,
            },
            secret: settings.secret,
            hash_key: settings.hash_key,
            peer: None,
            hellos: Vec::new(),
            preface_heard: false,
            preface_said: false,
            out: Vec::new(),
            credit: Credit {
                sent: 0,
                send_limit: 0,
                received: 0,
                consumed: 0,
                announced: window,
                window,
            },
            heard_us: now.monotonic_us,
            due_us: now.monotonic_us + HANDSHAKE_US,
            pinged_us: None,
            round_trip_us: None,
        }
    }

    /// Takes the first frame off `bytes`, which are all that was received and not yet taken. Call
    /// it until it asks for more.
    pub fn step<'a>(&mut self, now: Now, bytes: &'a [u8]) -> Taken<'a> {
        if bytes.is_empty() {
            return Taken::NeedMore(1);
        }
        if self.state == State::Over {
            return Taken::Frame(bytes.len(), None);
        }
        self.heard_us = now.monotonic_us;
        if !self.preface_heard {
            return self.take_preface(bytes);
        }
        let body_bytes_max =
            if self.state == State::Up { FRAME_BODY_BYTES_MAX } else { HANDSHAKE_BODY_BYTES_MAX };
        match wire::step(bytes, body_bytes_max) {
            Step::NeedMore(at_least) => Taken::NeedMore(at_least),
            Step::TooLong(_) => Taken::Frame(bytes.len(), self.broken("a frame is too long")),
            Step::Frame(frame, length) => {
                let event = self.on_frame(now, frame, &bytes[..length]);
                Taken::Frame(length, event)
            }
        }
    }

    fn take_preface<'a>(&mut self, bytes: &[u8]) -> Taken<'a> {
        let Some(first) = bytes.first_chunk() else { return Taken::NeedMore(PREFACE.len()) };
        if *first == PREFACE {
            self.preface_heard = true;
            return Taken::Frame(PREFACE.len(), None);
        }
        // Whoever that is, it does not understand a refusal.
        self.state = State::Over;
        Taken::Frame(bytes.len(), Some(LinkEvent::Down(LinkEnd::NotALink(*first))))
    }

    fn on_frame<'a>(&mut self, now: Now, frame: Frame<'a>, raw: &[u8]) -> Option<LinkEvent<'a>> {
        match (self.state, frame.kind) {
            (State::Greeting, kind::HELLO) => self.on_hello(frame.body, raw),
            (State::Proving, kind::PROOF) if self.end == End::Acceptor => {
                self.on_proof(now, frame.body)
            }
            (State::Proving, kind::WELCOME) if self.end == End::Initiator => {
                self.on_welcome(now, frame.body)
            }
            (_, kind::REFUSED) => match wire::Farewell::take(frame.body) {
                Some(farewell) => {
                    self.state = State::Over;
                    Some(LinkEvent::Down(LinkEnd::RefusedByPeer(farewell.into())))
                }
                None => self.broken("a refusal is too short"),
            },
            (State::Up, _) => self.on_frame_up(now, frame),
            _ if frame.flags & FLAG_OPTIONAL != 0 => None,
            _ => self.broken("a frame came that is not allowed before the welcome"),
        }
    }

    fn on_frame_up<'a>(&mut self, now: Now, frame: Frame<'a>) -> Option<LinkEvent<'a>> {
        if let Some(family) = Family::of(frame.kind) {
            return self.on_batch(family, frame);
        }
        let number = wire::take_number(frame.body);
        match (frame.kind, number) {
            (kind::CREDIT, Some(limit)) => {
                self.credit.send_limit = self.credit.send_limit.max(limit);
                None
            }
            (kind::PING, Some(number)) => {
                wire::put_number(&mut self.out, kind::PONG, number);
                None
            }
            (kind::PONG, Some(number)) => {
                if self.pinged_us == Some(number) {
                    self.round_trip_us = Some(now.monotonic_us.saturating_sub(number));
                    self.pinged_us = None;
                }
                None
            }
            (kind::GO_AWAY, _) => match wire::Farewell::take(frame.body) {
                Some(farewell) => Some(LinkEvent::GoAway(farewell.into())),
                None => self.broken("a farewell is too short"),
            },
            (kind::CREDIT | kind::PING | kind::PONG, None) => {
                self.broken("a credit or heartbeat is too short")
            }
            (kind::HELLO | kind::PROOF | kind::WELCOME, _) => {
                self.broken("a frame of the handshake came after it")
            }
            _ if frame.flags & FLAG_OPTIONAL != 0 => None,
            _ => self.broken("a frame of an unknown kind that is not optional"),
        }
    }

    fn on_batch<'a>(&mut self, family: Family, frame: Frame<'a>) -> Option<LinkEvent<'a>> {
        let peer = self.peer.as_ref()?;
        let (expected, workers) = match (peer.role, self.hello.role) {
            (Role::Gateway, Role::Router) => (Family::Uplink, peer.workers),
            (Role::Router, Role::Gateway) => (Family::Downlink, self.hello.workers),
            (Role::Router, Role::Router) => (Family::Peer, 1),
            (Role::Gateway, Role::Gateway) => return self.broken("batches between gateways"),
        };
        if family != expected {
            return self.broken("a batch of a family that does not go this way");
        }
        if frame.worker >= workers {
            return self.broken("a batch names a worker that does not exist");
        }
        if self.credit.received >= self.credit.announced {
            return self.broken("a batch came without credit");
        }
        let cost = (HEADER_BYTES + frame.body.len()) as u32;
        self.credit.received += u64::from(cost);
        Some(LinkEvent::Batch { family, worker: frame.worker, bytes: frame.body, cost })
    }

    fn say_preface(&mut self) {
        if !self.preface_said {
            self.preface_said = true;
            self.out.extend_from_slice(&PREFACE);
        }
    }

    fn say_hello(&mut self) {
        self.say_preface();
        let at = self.out.len();
        self.hello.put(&mut self.out);
        self.hellos.extend_from_slice(&self.out[at..]);
    }

    fn on_hello<'a>(&mut self, body: &[u8], raw: &[u8]) -> Option<LinkEvent<'a>> {
        let peer = match Hello::take(body) {
            Ok(peer) => peer,
            Err(refusal) => return self.refused(refusal),
        };
        self.credit.send_limit = u64::from(peer.window_bytes);
        self.peer = Some(peer);
        self.state = State::Proving;
        self.hellos.extend_from_slice(raw);
        match self.end {
            End::Acceptor => self.say_hello(),
            End::Initiator => {
                let proof = self.secret.proof(End::Initiator, &self.hellos, &[]);
                wire::put(&mut self.out, kind::PROOF, 0, 0, proof.as_bytes());
            }
        }
        None
    }

    fn on_proof<'a>(&mut self, now: Now, body: &[u8]) -> Option<LinkEvent<'a>> {
        let Some(proof) = body.first_chunk::<PROOF_BYTES>() else {
            return self.broken("a proof is too short");
        };
        // `Hash` compares in constant time.
        if self.secret.proof(End::Initiator, &self.hellos, &[]) != *proof {
            return self.refused(wrong_secret());
        }
        let peer = self.peer.clone()?;
        if let Some(refusal) = self.hello.objection(&peer) {
            return self.refused(refusal);
        }
        let mut given = vec![0];
        if let Some(hash_key) = self.hash_key.filter(|_| peer.hash_check == 0) {
            given[0] = 1;
            given.extend_from_slice(&self.secret.seal(&self.hellos, &hash_key));
        }
        let proof = self.secret.proof(End::Acceptor, &self.hellos, &given);
        let mut welcome = proof.as_bytes().to_vec();
        welcome.extend_from_slice(&given);
        wire::put(&mut self.out, kind::WELCOME, 0, 0, &welcome);
        Some(self.up(now, &peer, None))
    }

    fn on_welcome<'a>(&mut self, now: Now, body: &[u8]) -> Option<LinkEvent<'a>> {
        let Some((proof, given)) = body.split_first_chunk::<PROOF_BYTES>() else {
            return self.broken("a welcome is too short");
        };
        if self.secret.proof(End::Acceptor, &self.hellos, given) != *proof {
            return self.refused(wrong_secret());
        }
        let peer = self.peer.clone()?;
        if let Some(refusal) = self.hello.objection(&peer) {
            return self.refused(refusal);
        }
        let hash_key = match (given.first(), given.get(1..33)) {
            (Some(1), Some(sealed)) => {
                let sealed = sealed.first_chunk().expect("cut to 32 bytes");
                let hash_key = self.secret.seal(&self.hellos, sealed);
                if KeySpace::new(hash_key).check() != peer.hash_check {
                    return self.broken("the hash key given is not the one named");
                }
                Some(hash_key)
            }
            _ => None,
        };
        Some(self.up(now, &peer, hash_key))
    }

    fn up<'a>(&mut self, now: Now, peer: &Hello, hash_key: Option<[u8; 32]>) -> LinkEvent<'a> {
        self.state = State::Up;
        self.due_us = now.monotonic_us + PING_US;
        self.hellos = Vec::new();
        LinkEvent::Up(PeerIdentity {
            role: peer.role,
            name: peer.name.clone(),
            epoch: peer.epoch,
            workers: peer.workers,
            index: peer.index,
            version: self.hello.version_with(peer),
            hash_key,
        })
    }

    fn refused<'a>(&mut self, refusal: Refusal) -> Option<LinkEvent<'a>> {
        self.refuse(refusal.clone());
        Some(LinkEvent::Down(LinkEnd::RefusedPeer(refusal)))
    }

    fn broken<'a>(&mut self, what: &'static str) -> Option<LinkEvent<'a>> {
        self.refuse(Refusal::of(refusal_code::MALFORMED, what.to_owned()));
        Some(LinkEvent::Down(LinkEnd::Malformed(what)))
    }

    /// Ends the link and tells the other side why. No event follows.
    pub fn refuse(&mut self, refusal: Refusal) {
        if self.state != State::Over {
            self.say_preface();
            refusal.into_farewell().put(&mut self.out, kind::REFUSED);
            self.state = State::Over;
        }
    }

    /// Says that this side will end soon. The link goes on.
    pub fn go_away(&mut self, reason: Refusal) {
        if self.is_up() {
            reason.into_farewell().put(&mut self.out, kind::GO_AWAY);
        }
    }

    /// Encodes of `rest` what credit and the outbound bound allow, and cuts that off; the rest, if
    /// any, is offered again when [`LinkSession::can_send`] says so. Uplinks name the worker they
    /// are from, downlinks the one they are for, batches between routers 0.
    ///
    /// # Errors
    /// What is left of `rest` holds no whole frame that fits: our own tier is broken. The other
    /// side cannot tell; the link is to be ended.
    pub fn send(&mut self, family: Family, worker: u16, rest: &mut &[u8]) -> Result<(), Damaged> {
        while !rest.is_empty() && self.can_send() {
            let length = outgoing::piece_bytes(rest, PIECE_BYTES, FRAME_BODY_BYTES_MAX)?;
            let (piece, tail) = rest.split_at(length);
            wire::put(&mut self.out, family.kind(), 0, worker, piece);
            self.credit.sent += (HEADER_BYTES + length) as u64;
            *rest = tail;
        }
        Ok(())
    }

    /// [`LinkSession::send`] would take something.
    pub fn can_send(&self) -> bool {
        self.is_up() && self.credit.sent < self.credit.send_limit && self.out.len() < OUT_BYTES_HIGH
    }

    /// Batches of these costs are done with: their memory is free, the other side may send on.
    pub fn grant(&mut self, cost: u32) {
        let credit = &mut self.credit;
        credit.consumed += u64::from(cost);
        let limit = credit.consumed + credit.window;
        // A grant for each batch would be a frame for each batch.
        if self.state == State::Up && limit - credit.announced >= credit.window / 4 {
            credit.announced = limit;
            wire::put_number(&mut self.out, kind::CREDIT, limit);
        }
    }

    /// Bytes that wait to be sent.
    pub fn out_bytes(&self) -> usize {
        self.out.len()
    }

    /// Takes what is to be sent and leaves `empty` in its place.
    pub fn take_out(&mut self, empty: Vec<u8>) -> Vec<u8> {
        debug_assert!(empty.is_empty());
        std::mem::replace(&mut self.out, empty)
    }

    /// When [`LinkSession::on_deadline`] wants to be called, monotonic microseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        match self.state {
            State::Greeting | State::Proving => Some(self.due_us),
            State::Up => Some(self.due_us.min(self.heard_us + SILENCE_US)),
            State::Over => None,
        }
    }

    /// Time has come to [`LinkSession::next_deadline`], or past it. Received bytes are offered
    /// before, so that what came in time counts.
    pub fn on_deadline(&mut self, now: Now) -> Option<LinkEvent<'static>> {
        let now_us = now.monotonic_us;
        let end = match self.state {
            State::Over => return None,
            State::Greeting | State::Proving if now_us >= self.due_us => LinkEnd::HandshakeTimeout,
            State::Up if now_us >= self.heard_us + SILENCE_US => LinkEnd::Silent,
            State::Up if now_us >= self.due_us => {
                self.due_us = now_us + PING_US;
                self.pinged_us = Some(now_us);
                wire::put_number(&mut self.out, kind::PING, now_us);
                return None;
            }
            _ => return None,
        };
        self.state = State::Over;
        Some(LinkEvent::Down(end))
    }

    /// The handshake is done and the link not over.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Nothing more will be taken; what waits may still be sent.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Time from the latest answered ping to its answer, microseconds.
    pub fn round_trip_us(&self) -> Option<u64> {
        self.round_trip_us
    }
}

fn wrong_secret() -> Refusal {
    let text = "the secrets differ: the refused side does not know the other's `secret`".to_owned();
    Refusal::of(refusal_code::SECRET, text)
}
