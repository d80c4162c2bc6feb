//! Which router of a fixed list: shard s belongs to router s mod n.

use std::fmt;

/// Routers a list may hold: one shard each.
pub const ROUTERS_MAX: u16 = 256;

/// Place of a router in the list of all routers. An embedded tier is the only one of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterPlace {
    index: u16,
    routers: u16,
}

impl RouterPlace {
    /// The only router.
    pub const ALONE: Self = Self { index: 0, routers: 1 };

    /// Router `index` of `routers`, counted from 0; `None` if there is no such router or the list
    /// is longer than [`ROUTERS_MAX`].
    #[must_use]
    pub fn new(index: u16, routers: u16) -> Option<Self> {
        (index < routers && routers <= ROUTERS_MAX).then_some(Self { index, routers })
    }

    /// Number of the router, from 0.
    #[must_use]
    pub fn index(self) -> u16 {
        self.index
    }

    /// Length of the list.
    #[must_use]
    pub fn routers(self) -> u16 {
        self.routers
    }

    /// This router serves the shard.
    #[must_use]
    pub fn owns(self, shard: u8) -> bool {
        u16::from(shard) % self.routers == self.index
    }
}

impl fmt::Display for RouterPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "router {} of {}", self.index, self.routers)
    }
}
