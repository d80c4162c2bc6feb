//! Resume tokens: a signed claim with which a dropped client comes back without its login.
//!
//! The token is opaque to clients, binary and versioned:
//!
//! ```text
//! | version u8 | key id u8[4] | realm u32 | epoch u32 | login expiry u64 | expiry u64 |
//! | length u8, user | length u8, device | MAC u8[32] |
//! ```
//!
//! little-endian; the MAC is keyed BLAKE3 over all before it. The keys lie in a file, of the data
//! directory unless another is named (0600): the current one seals, the current and the previous one open, so that a
//! rotation disconnects nobody. A cluster shares the file.
//!
//! What it is not: a session. Whoever opens a token compares its epoch with the session's; a kick
//! raises the epoch, and the token is dead although its MAC stands.

use std::{io, path::Path};

use hawser_codec::code;

use crate::{
    auth::{Denied, Identity},
    limits::NAME_BYTES_MAX,
    secret_file,
};

/// Version of the token's layout.
const TOKEN_VERSION: u8 = 1;
const MAC_BYTES: usize = 32;
const FIXED_BYTES: usize = 1 + 4 + 4 + 4 + 8 + 8 + 2 + MAC_BYTES;

/// Longest resume token, bytes.
pub const RESUME_TOKEN_BYTES_MAX: usize = FIXED_BYTES + 2 * NAME_BYTES_MAX;

/// Name of the key file in the data directory.
pub const KEY_FILE: &str = "resume.keys";
const KEY_FILE_HEAD: &str = "hawser resume keys 1";

const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize);

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeClaims {
    /// Tenant.
    pub realm: u32,
    /// User's name, 1 to 64 bytes.
    pub user: String,
    /// Device's name, 1 to 64 bytes.
    pub device: String,
    /// Epoch of the session when the token was sealed.
    pub epoch: u32,
    /// Wall time at which the login itself ends, ms: a resumed session inherits it.
    pub login_expires_ms: u64,
    /// Wall time from which it opens no more, ms.
    pub expires_ms: u64,
}

impl ResumeClaims {
    /// Claims for a login that stands: they end with the login, or `lifetime_s` from now if that is
    /// sooner.
    #[must_use]
    pub fn of(identity: &Identity, epoch: u32, now_ms: u64, lifetime_s: u32) -> Self {
        let end_ms = now_ms.saturating_add(u64::from(lifetime_s) * 1000);
        Self {
            realm: identity.realm,
            user: identity.user.clone(),
            device: identity.device.clone(),
            epoch,
            login_expires_ms: identity.expires_ms,
            expires_ms: end_ms.min(identity.expires_ms),
        }
    }
}

#[derive(Clone)]
struct Key {
    id: [u8; 4],
    secret: [u8; 32],
}

impl Key {
    fn new(secret: [u8; 32]) -> Self {
        let mut id = [0; 4];
        let hash = blake3::derive_key("hawser 2026 resume key id", &secret);
        id.copy_from_slice(&hash[..4]);
        Self { id, secret }
    }
}

/// Keys that seal and open. Pure once read; share it by reference.
#[derive(Clone)]
pub struct ResumeKeys {
    current: Key,
    previous: Option<Key>,
}

impl std::fmt::Debug for ResumeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ResumeKeys({:02x?})", self.current.id)
    }
}

impl ResumeKeys {
    /// Keys given, not read: for tests and simulations.
    #[must_use]
    pub fn from_secrets(current: [u8; 32], previous: Option<[u8; 32]>) -> Self {
        Self { current: Key::new(current), previous: previous.map(Key::new) }
    }

    /// Reads the key file of a data directory; makes it, and the directory, at first start.
    ///
    /// # Errors
    /// As [`ResumeKeys::open_or_create_at`].
    pub fn open_or_create(dir: &Path) -> io::Result<Self> {
        Self::open_or_create_at(&dir.join(KEY_FILE))
    }

    /// Reads a key file, which gateways may share; makes it, and its directory, if it is not there.
    ///
    /// # Errors
    /// With the path in the text: cannot be read or made, is readable by others, is damaged.
    pub fn open_or_create_at(path: &Path) -> io::Result<Self> {
        let make = || Ok(Self { current: Key::new(random()?), previous: None }.text());
        let (text, is_new) = secret_file::open_or_create(path, make)?;
        if is_new {
            tracing::info!(file = %path.display(), "new keys for resume tokens made");
        }
        parse_keys(&text).map_err(|error| secret_file::named(path, &error))
    }

    /// Draws a new current key; the one of now becomes the previous one, and the previous one is
    /// forgotten. Written durably before it is used.
    ///
    /// # Errors
    /// With the path in the text.
    pub fn rotate(&self, dir: &Path) -> io::Result<Self> {
        let keys = Self { current: Key::new(random()?), previous: Some(self.current.clone()) };
        secret_file::replace(&dir.join(KEY_FILE), &keys.text())?;
        Ok(keys)
    }

    /// The key file.
    fn text(&self) -> String {
        let mut text = String::from(KEY_FILE_HEAD);
        for key in [Some(&self.current), self.previous.as_ref()].into_iter().flatten() {
            text.push('\n');
            text.push_str(blake3::Hash::from_bytes(key.secret).to_hex().as_str());
        }
        text.push('\n');
        text
    }

    /// The token for these claims.
    ///
    /// # Panics
    /// When a name is longer than [`NAME_BYTES_MAX`]: names are checked at login.
    #[must_use]
    pub fn seal(&self, claims: &ResumeClaims) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + claims.user.len() + claims.device.len());
        out.push(TOKEN_VERSION);
        out.extend_from_slice(&self.current.id);
        out.extend_from_slice(&claims.realm.to_le_bytes());
        out.extend_from_slice(&claims.epoch.to_le_bytes());
        out.extend_from_slice(&claims.login_expires_ms.to_le_bytes());
        out.extend_from_slice(&claims.expires_ms.to_le_bytes());
        for name in [&claims.user, &claims.device] {
            assert!(name.len() <= NAME_BYTES_MAX, "names are checked at login");
            #[allow(clippy::cast_possible_truncation)] // asserted
            out.push(name.len() as u8);
            out.extend_from_slice(name.as_bytes());
        }
        let mac = blake3::keyed_hash(&self.current.secret, &out);
        out.extend_from_slice(mac.as_bytes());
        out
    }

    /// What the token says, if it is ours and still good.
    ///
    /// # Errors
    /// `TOKEN_EXPIRED`, or `UNAUTHENTICATED` for everything else: forged, cut, of a forgotten key,
    /// of another version.
    pub fn open(&self, now_ms: u64, token: &[u8]) -> Result<ResumeClaims, Denied> {
        let forged = Denied::of(code::UNAUTHENTICATED);
        if !(FIXED_BYTES..=RESUME_TOKEN_BYTES_MAX).contains(&token.len()) {
            return Err(forged);
        }
        let (signed, mac) = token.split_last_chunk::<MAC_BYTES>().ok_or(forged)?;
        let (&[version], rest) = signed.split_first_chunk().ok_or(forged)?;
        let (id, rest) = rest.split_first_chunk::<4>().ok_or(forged)?;
        let key = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.id == *id)
            .ok_or(forged)?;
        // Compared in constant time, and before anything in it is believed.
        if version != TOKEN_VERSION || blake3::keyed_hash(&key.secret, signed) != *mac {
            return Err(forged);
        }
        let claims = parse(rest).ok_or(forged)?;
        if claims.expires_ms <= now_ms {
            return Err(Denied::of(code::TOKEN_EXPIRED));
        }
        Ok(claims)
    }
}

fn parse(bytes: &[u8]) -> Option<ResumeClaims> {
    let (realm, rest) = bytes.split_first_chunk()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (login_expires_ms, rest) = rest.split_first_chunk()?;
    let (expires_ms, rest) = rest.split_first_chunk()?;
    let (user, rest) = name(rest)?;
    let (device, rest) = name(rest)?;
    rest.is_empty().then(|| ResumeClaims {
        realm: u32::from_le_bytes(*realm),
        user,
        device,
        epoch: u32::from_le_bytes(*epoch),
        login_expires_ms: u64::from_le_bytes(*login_expires_ms),
        expires_ms: u64::from_le_bytes(*expires_ms),
    })
}

fn name(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(length.into())?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    Some((str::from_utf8(name).ok()?.to_owned(), rest))
}

fn random() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(secret)
}

fn damaged(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn parse_keys(text: &str) -> io::Result<ResumeKeys> {
    let mut lines = text.lines();
    if lines.next() != Some(KEY_FILE_HEAD) {
        return Err(damaged(&format!("first line is not \"{KEY_FILE_HEAD}\"")));
    }
    let mut key = || -> io::Result<Option<Key>> {
        let Some(line) = lines.next() else { return Ok(None) };
        let hash = blake3::Hash::from_hex(line)
            .map_err(|_| damaged("a key is not 64 hexadecimal digits"))?;
        Ok(Some(Key::new(*hash.as_bytes())))
    };
    let current = key()?.ok_or_else(|| damaged("holds no key"))?;
    Ok(ResumeKeys { current, previous: key()? })
}

#[cfg(test)]
mod tests;
