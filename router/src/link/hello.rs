//! The first frame of either side: who it is and what it believes of the other.

use super::{
    NAME_BYTES_MAX, VERSION_MAX, VERSION_MIN, WINDOW_BYTES_RANGE,
    refusal::{Refusal, refusal_code},
    wire::{self, kind},
};

/// What a side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Holds clients.
    Gateway,
    /// Holds shards.
    Router,
}

impl Role {
    const fn number(self) -> u8 {
        match self {
            Self::Gateway => 1,
            Self::Router => 2,
        }
    }
}

/// "No index": of a gateway, or of a peer one knows nothing about.
const NO_INDEX: u16 = u16::MAX;
/// Bytes before the name.
const FIXED_BYTES: usize = 69;

/// The hello. All numbers as the page of the protocol lays them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Versions this side speaks, lowest and highest.
    pub versions: (u16, u16),
    /// What it is.
    pub role: Role,
    /// Workers it has: batches name one below it.
    pub workers: u16,
    /// Length of the list of routers it was given.
    pub routers: u16,
    /// Its own place in that list; `None` for a gateway.
    pub index: Option<u16>,
    /// Place it believes the other side to have; `None` for a gateway.
    pub peer_index: Option<u16>,
    /// Random number of this process's life.
    pub epoch: u64,
    /// Check value of the hash key ([`crate::KeySpace::check`]); 0: has none and asks for it.
    pub hash_check: u64,
    /// Bytes of batches it takes before it grants more.
    pub window_bytes: u32,
    /// Random for this connection.
    pub nonce: [u8; 32],
    /// For people; at most [`NAME_BYTES_MAX`] bytes.
    pub name: String,
}

impl Hello {
    /// Appends it as a frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(FIXED_BYTES + NAME_BYTES_MAX);
        let index = |index: Option<u16>| index.unwrap_or(NO_INDEX).to_le_bytes();
        body.extend_from_slice(&self.versions.0.to_le_bytes());
        body.extend_from_slice(&self.versions.1.to_le_bytes());
        body.extend_from_slice(&[self.role.number(), 0]);
        body.extend_from_slice(&self.workers.to_le_bytes());
        body.extend_from_slice(&self.routers.to_le_bytes());
        body.extend_from_slice(&index(self.index));
        body.extend_from_slice(&index(self.peer_index));
        body.extend_from_slice(&[0; 2]);
        body.extend_from_slice(&self.epoch.to_le_bytes());
        body.extend_from_slice(&self.hash_check.to_le_bytes());
        body.extend_from_slice(&self.window_bytes.to_le_bytes());
        body.extend_from_slice(&self.nonce);
        let name = &self.name[..self.name.floor_char_boundary(NAME_BYTES_MAX)];
        body.push(name.len() as u8);
        body.extend_from_slice(name.as_bytes());
        wire::put(out, kind::HELLO, 0, 0, &body);
    }

    /// Reads the body. Only the versions, which stand first in every version, decide whether the
    /// rest may be read at all.
    pub(super) fn take(body: &[u8]) -> Result<Self, Refusal> {
        let malformed = |what: &str| Refusal::of(refusal_code::MALFORMED, what.to_owned());
        let short = || malformed("the hello is shorter than its fields");
        let versions = body.first_chunk::<4>().ok_or_else(short)?;
        let versions = (
            u16::from_le_bytes([versions[0], versions[1]]),
            u16::from_le_bytes([versions[2], versions[3]]),
        );
        common_version(versions)?;
        let fixed: &[u8; FIXED_BYTES] = body.first_chunk().ok_or_else(short)?;
        let number = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
        let index = |at: usize| Some(number(at)).filter(|index| *index != NO_INDEX);
        let long = |at: usize| {
            u64::from_le_bytes(*fixed[at..].first_chunk().expect("within the fixed fields"))
        };
        let role = match fixed[4] {
            1 => Role::Gateway,
            2 => Role::Router,
            _ => return Err(malformed("the hello names a role that does not exist")),
        };
        let window_bytes = long(32) as u32;
        if !(WINDOW_BYTES_RANGE.0..=WINDOW_BYTES_RANGE.1).contains(&window_bytes) {
            return Err(malformed("the hello names a window out of its range"));
        }
        let name = body[FIXED_BYTES..].get(..usize::from(fixed[68])).ok_or_else(short)?;
        Ok(Self {
            versions,
            role,
            workers: number(6),
            routers: number(8),
            index: index(10),
            peer_index: index(12),
            epoch: long(16),
            hash_check: long(24),
            window_bytes,
            nonce: *fixed[36..].first_chunk().expect("within the fixed fields"),
            name: wire::printable(name, NAME_BYTES_MAX),
        })
    }

    /// Version spoken with a peer of these versions.
    pub(super) fn version_with(&self, peer: &Self) -> u16 {
        self.versions.1.min(peer.versions.1)
    }

    /// What this side has against the peer, from its own hello and the peer's. The text says what
    /// is wrong to whoever reads it, on either side.
    pub(super) fn objection(&self, peer: &Self) -> Option<Refusal> {
        let refused = |code, text| Some(Refusal::of(code, text));
        if self.epoch == peer.epoch {
            let text = "the link leads from this process to itself".to_owned();
            return refused(refusal_code::ITSELF, text);
        }
        if self.role == Role::Gateway && peer.role == Role::Gateway {
            return refused(refusal_code::ROLE, "both sides are gateways".to_owned());
        }
        if self.routers != peer.routers {
            let text = format!(
                "the lists of routers differ: {} has {} of them, {} has {}",
                self.called(),
                self.routers,
                peer.called(),
                peer.routers
            );
            return refused(refusal_code::LIST, text);
        }
        for (one, other) in [(self, peer), (peer, self)] {
            if let (Some(believed), Some(index)) = (one.peer_index, other.index)
                && believed != index
            {
                let text = format!(
                    "the lists of routers differ: {} expects router {believed} of {} here, this is \
                     router {index}",
                    one.called(),
                    one.routers
                );
                return refused(refusal_code::LIST, text);
            }
        }
        if self.hash_check != peer.hash_check && self.hash_check != 0 && peer.hash_check != 0 {
            let text = format!(
                "the hash keys differ: {} has the one with check {:016x}, {} that with {:016x}",
                self.called(),
                self.hash_check,
                peer.called(),
                peer.hash_check
            );
            return refused(refusal_code::HASH_KEY, text);
        }
        None
    }

    fn called(&self) -> String {
        match (self.role, self.index) {
            (Role::Router, Some(index)) => format!("router {index} ({})", self.name),
            (Role::Router, None) => format!("router ({})", self.name),
            (Role::Gateway, _) => format!("gateway {}", self.name),
        }
    }
}

/// Refuses a peer with whom there is no version in common.
fn common_version((low, high): (u16, u16)) -> Result<(), Refusal> {
    if low <= VERSION_MAX && high >= VERSION_MIN {
        return Ok(());
    }
    let which = if low > VERSION_MAX { "newer" } else { "older" };
    let text = format!(
        "no common link version: the refused side speaks {low} to {high}, which is {which}; this \
         one speaks {VERSION_MIN} to {VERSION_MAX}"
    );
    Err(Refusal::of(refusal_code::VERSION, text))
}
