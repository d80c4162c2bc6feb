//! The shared secret: proofs both ways, and the hash key on its way to who asks for it.
//!
//! A proof is a keyed BLAKE3 hash over who says it and both hellos as they were sent. Both hellos
//! hold a fresh nonce, so a proof is good for this one connection; the role in it keeps a proof
//! from being sent back to its maker.

/// Key derived from the secret both sides were given.
#[derive(Clone)]
pub struct LinkSecret {
    proof: [u8; 32],
    seal: [u8; 32],
}

/// Contexts of the derivation (BLAKE3's `derive_key`): never to be used for anything else.
const PROOF_CONTEXT: &str = "hawser 2026 link proof";
const SEAL_CONTEXT: &str = "hawser 2026 link hash key";

/// Shortest secret taken from a file, bytes: a shorter one could be found by trying.
pub const SECRET_BYTES_MIN: usize = 16;

/// Length of a proof and of the sealed hash key, bytes.
pub(super) const PROOF_BYTES: usize = 32;

/// Which end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has connected.
    Initiator = 1,
    /// It has accepted.
    Acceptor = 2,
}

impl std::fmt::Debug for LinkSecret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("LinkSecret")
    }
}

impl LinkSecret {
    /// From the secret's bytes. Empty on a link within one machine that is given none.
    pub fn new(secret: &[u8]) -> Self {
        Self {
            proof: blake3::derive_key(PROOF_CONTEXT, secret),
            seal: blake3::derive_key(SEAL_CONTEXT, secret),
        }
    }

    /// From the text of a secret's file: its first line, without spaces around it.
    ///
    /// # Errors
    /// The line is shorter than [`SECRET_BYTES_MIN`]; the text says so, and not what it holds.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let secret = text.lines().next().unwrap_or_default().trim();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!("allowed: a first line of {SECRET_BYTES_MIN} bytes or more"));
        }
        Ok(Self::new(secret.as_bytes()))
    }

    /// What `end` sends to prove that it knows the secret. `hellos`: both hello frames with their
    /// headers, the initiator's first; `more`: what else the proof vouches for.
    pub(super) fn proof(&self, end: End, hellos: &[u8], more: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.proof);
        // Frames carry their length, so what is joined here can be read in one way only.
        hasher.update(&[end as u8]).update(hellos).update(more);
        hasher.finalize()
    }

    /// Hides the hash key from those who listen, or shows it again: a stream of bytes that only
    /// this secret and these two nonces give.
    pub(super) fn seal(&self, hellos: &[u8], hash_key: &[u8; 32]) -> [u8; 32] {
        let stream = blake3::keyed_hash(&self.seal, hellos);
        std::array::from_fn(|at| hash_key[at] ^ stream.as_bytes()[at])
    }
}
