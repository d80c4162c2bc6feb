//! Tickets: sessions that the clients keep for us, under keys that gateways share.
//!
//! The key file is text. Its first line is `hawser ticket keys 1`; every other line is one key, 64
//! hexadecimal digits. The first key seals, all of them open: to rotate, put a new line on top,
//! copy the file to all gateways, reload them, and drop the last line once the lifetime of tickets
//! has passed. (To lose no resumption on the way, put the new key at the second place first, and on
//! top when all gateways know it.)
//!
//! ```text
//! ticket: | version u8 = 1 | key id u8[4] | nonce u8[12] | sealed: made at u64 (s), session | tag u8[16] |
//! ```
//!
//! AES-256-GCM-SIV, because a fleet draws more nonces than 96 random bits bear under plain GCM. What
//! a listener asks of client certificates is authenticated with it: a ticket of a listener that
//! asks for none opens nothing at one that does.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, rand,
};
use rustls::server::ProducesTickets;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    certificates::{Pem, Problem, Refused},
    desk,
};

/// Most keys in a file: a new one, one in use, and a week of daily rotation behind them.
pub const TICKET_KEYS_MAX: usize = 9;

const FILE_HEAD: &str = "hawser ticket keys 1";
const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 4;
const HEAD_BYTES: usize = 1 + ID_BYTES + NONCE_LEN;

/// One key.
struct Key {
    id: [u8; ID_BYTES],
    key: LessSafeKey,
}

impl Key {
    fn new(secret: &[u8; KEY_BYTES]) -> Self {
        let mut named = digest::Context::new(&digest::SHA256);
        named.update(b"hawser ticket key id");
        named.update(secret);
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&named.finish().as_ref()[..ID_BYTES]);
        let key = UnboundKey::new(&AES_256_GCM_SIV, secret).expect("a key of 32 bytes");
        Self { id, key: LessSafeKey::new(key) }
    }
}

/// Keys of a file, read.
pub struct TicketKeys(Vec<Key>);

impl TicketKeys {
    /// Reads a key file.
    ///
    /// # Errors
    /// The file is no key file, holds no key, or too many.
    pub fn parse(file: Pem<'_>) -> Result<Self, Refused> {
        let refused = |text: &str| Refused::new(file.file, Problem::TicketKeys(text.to_owned()));
        let text = std::str::from_utf8(file.bytes).map_err(|_| refused("is not text"))?;
        let mut lines = text.lines();
        if lines.next() != Some(FILE_HEAD) {
            return Err(refused("does not begin with the line `hawser ticket keys 1`"));
        }
        let keys = lines
            .map(|line| {
                let secret = secret_of(line)
                    .ok_or_else(|| refused("has a line that is not 64 hexadecimal digits"))?;
                Ok(Key::new(&secret))
            })
            .take(TICKET_KEYS_MAX + 1)
            .collect::<Result<Vec<_>, Refused>>()?;
        match keys.len() {
            0 => Err(refused("holds no key")),
            1..=TICKET_KEYS_MAX => Ok(Self(keys)),
            _ => Err(refused("holds more than 9 keys")),
        }
    }

    /// Text of a new key file with one random key, to be written with mode 0600.
    ///
    /// # Panics
    /// The system gives no randomness; then there is no TLS either.
    #[must_use]
    pub fn new_file() -> Zeroizing<String> {
        let mut secret = [0; KEY_BYTES];
        rand::fill(&mut secret).expect("the system gives randomness");
        let mut text = Zeroizing::new(String::with_capacity(FILE_HEAD.len() + 2 * KEY_BYTES + 2));
        text.push_str(FILE_HEAD);
        text.push('\n');
        for byte in secret {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).expect("four bits are a digit"));
            }
        }
        text.push('\n');
        secret.zeroize();
        text
    }
}

fn secret_of(line: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let digits = line.as_bytes();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut secret = Zeroizing::new([0; KEY_BYTES]);
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(secret)
}

/// Seals and opens tickets for rustls.
pub(crate) struct Tickets {
    keys: Vec<Key>,
    /// Says what a listener asks of client certificates.
    scope: [u8; 32],
    lifetime_s: u32,
}

impl Tickets {
    pub(crate) fn new(keys: TicketKeys, scope: [u8; 32], lifetime_s: u32) -> Self {
        Self { keys: keys.0, scope, lifetime_s }
    }

    fn aad(&self, head: &[u8]) -> Aad<Vec<u8>> {
        Aad::from([head, &self.scope].concat())
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (head, sealed) = ticket.split_at_checked(HEAD_BYTES)?;
        let (id, nonce) = head.strip_prefix(&[VERSION])?.split_at(ID_BYTES);
        let key = self.keys.iter().find(|key| key.id == id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let bytes = key.key.open_in_place(nonce, self.aad(head), &mut plain).ok()?.len();
        plain.truncate(bytes);
        let made_s = u64::from_be_bytes(*plain.first_chunk()?);
        let age_s = desk::now_s().saturating_sub(made_s);
        if age_s > self.lifetime_s.into() {
            plain.zeroize();
            return None;
        }
        plain.drain(..size_of::<u64>());
        Some(plain)
    }
}

impl fmt::Debug for Tickets {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.keys.iter().map(|key| key.id).collect();
        write!(f, "Tickets({ids:02x?})")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime_s
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(HEAD_BYTES + 8 + plain.len() + 16);
        ticket.push(VERSION);
        ticket.extend_from_slice(&key.id);
        ticket.extend_from_slice(&nonce);
        let aad = self.aad(&ticket);
        ticket.extend_from_slice(&desk::now_s().to_be_bytes());
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = &mut ticket[HEAD_BYTES..];
        let tag = key.key.seal_in_place_separate_tag(nonce, aad, sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket)
    }
}
