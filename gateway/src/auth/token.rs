//! Static tokens: a table from token to user, kept as keyed hashes.

use std::{collections::HashMap, fmt};

use hawser_codec::code;

use super::Denied;
use crate::limits::{NAME_BYTES_MAX, TOKEN_BYTES_MAX};

/// Shortest static token, bytes: 128 bits in hexadecimal are 32, a passphrase may be shorter.
const TOKEN_BYTES_MIN: usize = 16;

/// Static tokens of one configuration; more belong into signed tokens.
const TOKENS_MAX: usize = 100_000;

/// User a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    realm: u32,
    user: String,
}

/// Tokens as configured. Its `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenTable {
    owners: HashMap<String, Owner>,
}

impl fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenTable({} tokens)", self.owners.len())
    }
}

impl TokenTable {
    pub(crate) fn new() -> Self {
        Self { owners: HashMap::new() }
    }

    /// No token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Adds `"TOKEN" = "USER"` and `"TOKEN" = { user = "USER", realm = 7 }`. What it says about a
    /// refusal names no token.
    pub(crate) fn add(&mut self, table: &toml::Table) -> Result<(), String> {
        for (token, value) in table {
            let (user, realm) = match value {
                toml::Value::String(user) => (Some(user.as_str()), Some(0)),
                toml::Value::Table(keys) => {
                    if let Some(key) = keys.keys().find(|key| !["user", "realm"].contains(&&***key))
                    {
                        return Err(format!("unknown key `{key}`; allowed: user, realm"));
                    }
                    let realm = keys.get("realm").map_or(Some(0), toml::Value::as_integer);
                    (keys.get("user").and_then(toml::Value::as_str), realm)
                }
                _ => (None, None),
            };
            let user = user
                .filter(|user| (1..=NAME_BYTES_MAX).contains(&user.len()))
                .ok_or_else(|| format!("user of a token: allowed: 1 to {NAME_BYTES_MAX} bytes"))?;
            let realm = realm
                .and_then(|realm| u32::try_from(realm).ok())
                .ok_or_else(|| format!("realm of user {user}: allowed: 0 to {}", u32::MAX))?;
            if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
                return Err(format!(
                    "token of user {user} has {} bytes; allowed: {TOKEN_BYTES_MIN} to \
                     {TOKEN_BYTES_MAX}",
                    token.len()
                ));
            }
            let owner = Owner { realm, user: user.to_owned() };
            if self.owners.insert(token.clone(), owner).is_some() {
                return Err(format!("token of user {user} is there twice"));
            }
        }
        if self.owners.len() > TOKENS_MAX {
            return Err(format!("{} tokens; allowed: {TOKENS_MAX}", self.owners.len()));
        }
        Ok(())
    }
}

/// Tokens ready to be looked up.
///
/// The table is searched by a keyed hash, so that the time a look-up takes says nothing about the
/// bytes of a token; equal hashes are compared in constant time.
#[derive(Debug)]
pub(super) struct Tokens {
    secret: [u8; 32],
    owners: HashMap<[u8; 16], (blake3::Hash, Owner)>,
}

impl Tokens {
    pub fn new(table: &TokenTable, secret: &[u8; 32]) -> Self {
        let owners = table
            .owners
            .iter()
            .map(|(token, owner)| {
                let hash = blake3::keyed_hash(secret, token.as_bytes());
                (place(&hash), (hash, owner.clone()))
            })
            .collect();
        Self { secret: *secret, owners }
    }

    /// Expiry of the login, which is never.
    pub fn check(&self, realm: u32, user: &str, token: &str) -> Result<u64, Denied> {
        let hash = blake3::keyed_hash(&self.secret, token.as_bytes());
        match self.owners.get(&place(&hash)) {
            // `blake3::Hash` compares in constant time.
            Some((known, owner))
                if *known == hash && owner.realm == realm && owner.user == user =>
            {
                Ok(u64::MAX)
            }
            _ => Err(Denied::of(code::UNAUTHENTICATED)),
        }
    }
}

fn place(hash: &blake3::Hash) -> [u8; 16] {
    let mut place = [0; 16];
    place.copy_from_slice(&hash.as_bytes()[..16]);
    place
}
