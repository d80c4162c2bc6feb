//! Suites, and keys expanded on use.
//!
//! A [`crate::Record`] keeps secrets, not ready keys: an expanded AES key costs over 600 B a
//! direction. What is in use stands in a cache of the worker, found by the secret itself, so that
//! no entry can be taken for another connection's. An entry is wiped when it is displaced or the
//! cache ends; a cold connection costs an expansion (measured by the bench `record`).

use aws_lc_rs::{
    aead::{self, LessSafeKey, UnboundKey},
    hkdf,
};
use zeroize::Zeroize;

/// Bytes of the longest secret: a traffic secret under SHA-384.
pub(crate) const SECRET_BYTES_MAX: usize = 48;
/// Bytes of a nonce, for all suites.
pub(crate) const NONCE_BYTES: usize = 12;
/// Bytes of a tag, for all suites.
pub(crate) const TAG_BYTES: usize = 16;
/// Where the fixed part of the nonce stands in a secret of TLS 1.2, behind the longest key.
pub(crate) const IV_AT: usize = 32;

/// Most memory a key of the cache takes, bytes: its place, the entry, and aws-lc's key schedule with
/// its allocation.
pub const CACHED_KEY_BYTES: usize = 8 + size_of::<Entry>() + 640;

/// A secret, zero-padded. Of TLS 1.3: a traffic secret. Of TLS 1.2: the key, and the nonce's fixed
/// part at [`IV_AT`].
pub(crate) type Secret = [u8; SECRET_BYTES_MAX];

/// Version, AEAD and hash of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Suite {
    /// TLS 1.3, AES-128-GCM, SHA-256.
    Aes128 = 1,
    /// TLS 1.3, AES-256-GCM, SHA-384.
    Aes256 = 2,
    /// TLS 1.3, ChaCha20-Poly1305, SHA-256.
    ChaCha = 3,
    /// TLS 1.2, AES-128-GCM.
    OldAes128 = 4,
    /// TLS 1.2, AES-256-GCM.
    OldAes256 = 5,
    /// TLS 1.2, ChaCha20-Poly1305.
    OldChaCha = 6,
}

impl Suite {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Aes128,
            Self::Aes256,
            Self::ChaCha,
            Self::OldAes128,
            Self::OldAes256,
            Self::OldChaCha,
        ]
        .into_iter()
        .find(|suite| *suite as u8 == byte)
    }

    pub(crate) const fn is_tls13(self) -> bool {
        matches!(self, Self::Aes128 | Self::Aes256 | Self::ChaCha)
    }

    /// Bytes of the nonce sent with each record: only AES-GCM in TLS 1.2 (RFC 5288 section 3).
    pub(crate) const fn explicit_nonce_bytes(self) -> usize {
        match self {
            Self::OldAes128 | Self::OldAes256 => 8,
            Self::Aes128 | Self::Aes256 | Self::ChaCha | Self::OldChaCha => 0,
        }
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128 | Self::OldAes128 => &aead::AES_128_GCM,
            Self::Aes256 | Self::OldAes256 => &aead::AES_256_GCM,
            Self::ChaCha | Self::OldChaCha => &aead::CHACHA20_POLY1305,
        }
    }

    fn hash(self) -> hkdf::Algorithm {
        match self {
            Self::Aes256 => hkdf::HKDF_SHA384,
            _ => hkdf::HKDF_SHA256,
        }
    }

    /// Bytes of a traffic secret.
    fn secret_bytes(self) -> usize {
        match self {
            Self::Aes256 => 48,
            _ => 32,
        }
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label of RFC 8446 section 7.1 with an empty context.
fn expand_label(suite: Suite, secret: &Secret, label: &[u8], out: &mut [u8]) {
    const PREFIX: &[u8] = b"tls13 ";
    let bytes = out.len() as u16;
    let [high, low] = bytes.to_be_bytes();
    let head = [high, low, (PREFIX.len() + label.len()) as u8];
    let info: [&[u8]; 4] = [&head, PREFIX, label, &[0]];
    hkdf::Prk::new_less_safe(suite.hash(), &secret[..suite.secret_bytes()])
        .expand(&info, Length(out.len()))
        .and_then(|output| output.fill(out))
        .expect("keys are shorter than 255 hashes");
}

/// The traffic secret that follows `secret` (RFC 8446 section 7.2).
pub(crate) fn next_secret(suite: Suite, secret: &mut Secret) {
    let mut next = [0; SECRET_BYTES_MAX];
    expand_label(suite, secret, b"traffic upd", &mut next[..suite.secret_bytes()]);
    *secret = next;
    next.zeroize();
}

/// Start value of the nonces under `secret`.
pub(crate) fn start_nonce(suite: Suite, secret: &Secret) -> [u8; NONCE_BYTES] {
    let mut iv = [0; NONCE_BYTES];
    if suite.is_tls13() {
        expand_label(suite, secret, b"iv", &mut iv);
    } else {
        iv.copy_from_slice(&secret[IV_AT..IV_AT + NONCE_BYTES]);
    }
    iv
}

fn expand_key(suite: Suite, secret: &Secret) -> LessSafeKey {
    let algorithm = suite.algorithm();
    let mut bytes = [0; 32];
    let key = &mut bytes[..algorithm.key_len()];
    if suite.is_tls13() {
        expand_label(suite, secret, b"key", key);
    } else {
        key.copy_from_slice(&secret[..algorithm.key_len()]);
    }
    let unbound = UnboundKey::new(algorithm, key).expect("the key has the algorithm's length");
    bytes.zeroize();
    LessSafeKey::new(unbound)
}

/// A key ready for use.
pub(crate) struct Entry {
    secret: Secret,
    suite: Suite,
    iv: [u8; NONCE_BYTES],
    /// aws-lc wipes it when it is freed.
    key: LessSafeKey,
}

impl Entry {
    fn new(suite: Suite, secret: &Secret) -> Self {
        Self {
            secret: *secret,
            suite,
            iv: start_nonce(suite, secret),
            key: expand_key(suite, secret),
        }
    }

    pub(crate) fn key(&self) -> &LessSafeKey {
        &self.key
    }

    /// Nonce of a record: the start value with the count on top (RFC 8446 section 5.3).
    pub(crate) fn nonce(&self, count: u64) -> [u8; NONCE_BYTES] {
        let mut nonce = self.iv;
        for (byte, count) in nonce[4..].iter_mut().zip(count.to_be_bytes()) {
            *byte ^= count;
        }
        nonce
    }

    /// Nonce of a record that brings its explicit part.
    pub(crate) fn nonce_with(&self, explicit: [u8; 8]) -> [u8; NONCE_BYTES] {
        let mut nonce = self.iv;
        nonce[4..].copy_from_slice(&explicit);
        nonce
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.iv.zeroize();
    }
}

/// Expanded keys of one worker, direct-mapped: a place belongs to the secret used last there.
pub struct Keys {
    places: Vec<Option<Box<Entry>>>,
    expanded: u64,
}

impl Keys {
    /// A cache of at most `keys` keys, at least one: two for each connection that speaks in turn
    /// with others. It takes memory as they come.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        Self { places: (0..keys.max(1)).map(|_| None).collect(), expanded: 0 }
    }

    /// Keys expanded since the start: a count that grows as fast as records are opened and sealed
    /// says that the cache does not help.
    #[must_use]
    pub fn expanded(&self) -> u64 {
        self.expanded
    }

    /// Wipes all keys; they are expanded again on use.
    pub fn forget(&mut self) {
        self.places.iter_mut().for_each(|place| *place = None);
    }

    pub(crate) fn of(&mut self, suite: Suite, secret: &Secret) -> &Entry {
        // A secret is uniformly random, so two of its bytes are as good as a hash.
        let index = usize::from(u16::from_le_bytes([secret[0], secret[1]])) % self.places.len();
        let place = &mut self.places[index];
        let known = place.as_ref().is_some_and(|it| it.secret == *secret && it.suite == suite);
        if !known {
            self.expanded += 1;
            *place = None;
        }
        place.get_or_insert_with(|| Box::new(Entry::new(suite, secret)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn keys_come_out_as_in_rfc_8448_section_3() {
        let mut secret = [0; SECRET_BYTES_MAX];
        secret[..32].copy_from_slice(&bytes(
            "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
        ));
        let mut key = [0; 16];
        expand_label(Suite::Aes128, &secret, b"key", &mut key);
        assert_eq!(key[..], bytes("9f02283b6c9c07efc26bb9f2ac92e356"));
        assert_eq!(start_nonce(Suite::Aes128, &secret)[..], bytes("cf782b88dd83549aadf1e984"));
    }

    #[test]
    fn a_place_is_given_to_the_secret_used_last() {
        let mut keys = Keys::new(16);
        let (one, mut two) = ([7; SECRET_BYTES_MAX], [7; SECRET_BYTES_MAX]);
        two[30] = 8;
        let nonce_of_one = keys.of(Suite::Aes128, &one).nonce(1);
        keys.of(Suite::Aes128, &one);
        assert_eq!(keys.expanded(), 1);
        assert_ne!(keys.of(Suite::Aes128, &two).nonce(1), nonce_of_one);
        assert_eq!(keys.of(Suite::Aes128, &one).nonce(1), nonce_of_one);
        assert_eq!(keys.expanded(), 3);
    }
}
