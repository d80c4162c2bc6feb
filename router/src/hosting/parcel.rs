//! What travels between a shard host and whoever else has a part in it: workers, other hosts, the
//! owner of the lane. In one process parcels go through queues; between processes the batches in
//! them are what a link carries.

use crate::Location;

/// Batches are joined up to this length: a host's slice, so that a joined one is fed at once.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// Where parcels for others go.
pub trait Parcels {
    /// Takes a parcel for worker (or origin, or host) `to`. In order per receiver, never lost
    /// while the receiver lives.
    fn send(&mut self, to: usize, parcel: Parcel);
}

/// How far the way to a router of another process goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of it.
    Up,
    /// The router takes less than it is offered: no new work for it.
    Crowded,
    /// The link is away, and what is sent to the router waits for it.
    Away,
    /// The link has been away for too long: everything for the router is refused.
    Refusing,
}

/// What travels.
pub enum Parcel {
    /// Link frames from a worker to a host.
    Uplink(Vec<u8>),
    /// Link frames from a host to a worker.
    Downlink(Vec<u8>),
    /// Link frames for a router of another process, to the worker that holds its link.
    ToRouter {
        /// Which router.
        router: u16,
        /// The frames.
        batch: Vec<u8>,
    },
    /// Link frames from such a router, to the worker they are for.
    FromRouter {
        /// Which router.
        router: u16,
        /// The frames.
        batch: Vec<u8>,
    },
    /// How far the way to such a router goes now.
    Reach {
        /// Which router.
        router: u16,
        /// How far.
        reach: Reach,
    },
    /// Link frames from host to host.
    Peer {
        /// Life of the sending host.
        life: u32,
        /// The frames.
        batch: Vec<u8>,
    },
    /// A sealed run of records for the owner of the lane.
    Run {
        /// Life of the sending host.
        life: u32,
        /// Number of the run at its host.
        run: u64,
        /// To be flushed without waiting.
        urgent: bool,
        /// Records.
        records: Vec<u8>,
    },
    /// The lane's owner has made a run durable.
    Durable {
        /// Life of the sending host.
        life: u32,
        /// Number of the run.
        run: u64,
        /// Where its first byte stands.
        base: Location,
    },
    /// The lane takes records, or does not.
    Storage {
        /// Life of the sending host.
        life: u32,
        /// It does.
        available: bool,
    },
    /// A lane has failed: the life is over for all hosts.
    Failed {
        /// The life.
        life: u32,
    },
}

impl Parcel {
    /// Bytes of frames or records in it.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Uplink(batch)
            | Self::Downlink(batch)
            | Self::ToRouter { batch, .. }
            | Self::FromRouter { batch, .. }
            | Self::Peer { batch, .. } => batch.len(),
            Self::Run { records, .. } => records.len(),
            Self::Durable { .. }
            | Self::Storage { .. }
            | Self::Failed { .. }
            | Self::Reach { .. } => 0,
        }
    }

    /// Takes `later` into this one if both are batches of one kind and life.
    ///
    /// # Errors
    /// `later` itself, when it has to travel on its own.
    pub fn join(&mut self, later: Self) -> Result<(), Self> {
        if self.bytes() + later.bytes() > JOINED_BYTES_MAX {
            return Err(later);
        }
        match (self, later) {
            (Self::Uplink(batch), Self::Uplink(more))
            | (Self::Downlink(batch), Self::Downlink(more)) => batch.extend_from_slice(&more),
            (Self::ToRouter { router, batch }, Self::ToRouter { router: same, batch: more })
            | (
                Self::FromRouter { router, batch },
                Self::FromRouter { router: same, batch: more },
            ) if *router == same => {
                batch.extend_from_slice(&more);
            }
            (Self::Peer { life, batch }, Self::Peer { life: same, batch: more })
                if *life == same =>
            {
                batch.extend_from_slice(&more);
            }
            (_, later) => return Err(later),
        }
        Ok(())
    }

    /// The hosts' life it belongs to, if it must not survive one.
    pub fn life(&self) -> Option<u32> {
        match self {
            Self::Uplink(_)
            | Self::Downlink(_)
            | Self::ToRouter { .. }
            | Self::FromRouter { .. }
            | Self::Reach { .. } => None,
            Self::Peer { life, .. }
            | Self::Run { life, .. }
            | Self::Durable { life, .. }
            | Self::Storage { life, .. }
            | Self::Failed { life } => Some(*life),
        }
    }
}
