//! Memory of operations in flight, found by token.
//!
//! Only operations whose memory the kernel touches stand here, so an idle connection costs
//! nothing.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
};

use super::connect::Connecting;
use crate::{Token, address::RawAddress};

/// What an operation lends the kernel. The heap memory stays in place when this value moves.
#[derive(Debug)]
pub(super) enum Lent {
    /// Send, write, read.
    Bytes(Vec<u8>),
    /// Accept.
    Address(Box<RawAddress>),
    /// Connect.
    Connecting(Box<Connecting>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    lent: HashMap<u64, Lent, BuildHasherDefault<TokenHasher>>,
    /// Address buffers of finished accepts, to be used again.
    #[expect(clippy::vec_box, reason = "what is kept is the allocation the kernel writes to")]
    addresses: Vec<Box<RawAddress>>,
}

/// Address buffers kept for the next accepts; a few accepts per listener are in flight.
const ADDRESSES_KEPT: usize = 64;

impl InFlight {
    /// Keeps `lent` until [`InFlight::end`].
    pub(super) fn begin(&mut self, token: Token, lent: Lent) -> &mut Lent {
        match self.lent.entry(token.to_u64()) {
            Entry::Vacant(place) => place.insert(lent),
            Entry::Occupied(_) => panic!("two operations in flight have the token {token:?}"),
        }
    }

    /// Memory of an operation still in flight.
    pub(super) fn get(&mut self, token: Token) -> Option<&mut Lent> {
        self.lent.get_mut(&token.to_u64())
    }

    /// The operation's last completion is here.
    pub(super) fn end(&mut self, token: Token) -> Option<Lent> {
        self.lent.remove(&token.to_u64())
    }

    /// Bytes of a finished send, write or read.
    pub(super) fn end_bytes(&mut self, token: Token) -> Vec<u8> {
        match self.end(token) {
            Some(Lent::Bytes(bytes)) => bytes,
            other => unreachable!("{token:?} completed but lent {other:?}"),
        }
    }

    /// An address buffer for an accept.
    pub(super) fn address(&mut self) -> Box<RawAddress> {
        let mut address = self.addresses.pop().unwrap_or_else(|| Box::new(RawAddress::empty()));
        *address = RawAddress::empty();
        address
    }

    /// Keeps an address buffer for the next accept.
    pub(super) fn keep(&mut self, address: Box<RawAddress>) {
        if self.addresses.len() < ADDRESSES_KEPT {
            self.addresses.push(address);
        }
    }
}

/// Tokens are our own numbers, so a multiplication spreads them well enough; nobody outside can
/// choose them.
#[derive(Debug, Default)]
pub(super) struct TokenHasher(u64);

impl Hasher for TokenHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 / golden ratio; the fold brings the well-mixed high half down to the bucket bits.
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }
}
