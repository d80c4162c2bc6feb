//! The hash key, known from the start or learnt from the first router that gives it.

use hawser_router::KeySpace;
use std::sync::{Arc, OnceLock};

struct Known {
    hash_key: [u8; 32],
    space: KeySpace,
}

/// Shared by all workers; set once. Until then nobody can log in, because nothing has a key.
#[derive(Clone, Default)]
pub struct SharedKeys(Arc<OnceLock<Known>>);

impl SharedKeys {
    /// Not known yet.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Known: from the header of a data directory.
    pub fn known(hash_key: [u8; 32]) -> Self {
        let keys = Self::default();
        keys.learn(hash_key);
        keys
    }

    /// The first one counts: routers with another are refused by their link.
    pub fn learn(&self, hash_key: [u8; 32]) {
        self.0.get_or_init(|| Known { hash_key, space: KeySpace::new(hash_key) });
    }

    /// Makes keys, once the hash key is known.
    pub fn space(&self) -> Option<&KeySpace> {
        self.0.get().map(|known| &known.space)
    }

    /// The hash key itself, for the hello of a link.
    pub fn hash_key(&self) -> Option<[u8; 32]> {
        self.0.get().map(|known| known.hash_key)
    }
}
