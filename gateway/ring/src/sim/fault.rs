//! What can go wrong, how often, and how often it did.

use super::Random;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A send takes fewer bytes than there is room for.
    ShortSend,
    /// A send fails and the connection is dead.
    FailedSend,
    /// A receive gives fewer bytes than wait.
    ShortReceive,
    /// A receive fails and the connection is dead.
    FailedReceive,
    /// A multishot ends with valid data.
    MoreLostWithData,
    /// A multishot ends with nothing: a receive with `EINTR`, a watch in vain.
    MoreLostWithoutData,
    /// A receive finds no buffer although some are free.
    NoBuffers,
    /// The kernel has no room: a turn submits and reports nothing (`EBUSY`).
    Busy,
    /// A signal ends the wait (`EINTR`).
    Interrupted,
    /// The operation completes just before its cancel (`ENOENT`).
    CancelTooLate,
    /// The cancel finds the operation running (`EALREADY`); it ends a moment later.
    CancelAlready,
    /// The cancelled operation reports before the cancel.
    CancelledFirst,
    /// Completions of different sockets change places.
    Reordered,
    /// Completions of one socket come later.
    Late,
    /// The network resets a connection.
    Reset,
    /// An accept finds the table full (`ENFILE`); the connection is closed.
    TableFull,
    /// An accept fails (`ECONNABORTED`); the connection is gone.
    AcceptFailed,
    /// A wake nobody sent.
    SpuriousWake,
    /// A write fails (`EIO`); any part of it may be on disk.
    WriteFailed,
    /// A write ends early, at a 512-byte boundary.
    ShortWrite,
    /// A write finds the disk full (`ENOSPC`).
    DiskFull,
    /// A sync fails (`EIO`); what it should have made durable stays in doubt for ever.
    SyncFailed,
    /// A read fails (`EIO`).
    ReadFailed,
}

/// Number of kinds.
const FAULTS: usize = Fault::ALL.len();
/// Probabilities are parts of this.
const ONE: u32 = 1 << 20;

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 23] = [
        Self::ShortSend,
        Self::FailedSend,
        Self::ShortReceive,
        Self::FailedReceive,
        Self::MoreLostWithData,
        Self::MoreLostWithoutData,
        Self::NoBuffers,
        Self::Busy,
        Self::Interrupted,
        Self::CancelTooLate,
        Self::CancelAlready,
        Self::CancelledFirst,
        Self::Reordered,
        Self::Late,
        Self::Reset,
        Self::TableFull,
        Self::AcceptFailed,
        Self::SpuriousWake,
        Self::WriteFailed,
        Self::ShortWrite,
        Self::DiskFull,
        Self::SyncFailed,
        Self::ReadFailed,
    ];

    /// It ends a connection or a log lane, so it is drawn more rarely.
    const fn is_deadly(self) -> bool {
        matches!(
            self,
            Self::FailedSend
                | Self::FailedReceive
                | Self::Reset
                | Self::WriteFailed
                | Self::DiskFull
                | Self::SyncFailed
                | Self::ReadFailed
        )
    }
}

/// How the world is when nothing goes wrong. All times in microseconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// One way through the network.
    pub latency_us: (u64, u64),
    /// One disk operation.
    pub disk_us: (u64, u64),
    /// Delay of a late completion.
    pub late_us: (u64, u64),
    /// Send buffer of a socket whose options name none, bytes.
    pub send_bytes: usize,
    /// Receive buffer of every socket, bytes.
    pub receive_bytes: usize,
}

impl Conditions {
    /// A quick local network and a quick disk.
    pub const CALM: Self = Self {
        latency_us: (20, 20),
        disk_us: (50, 50),
        late_us: (10, 10_000),
        send_bytes: 256 * 1024,
        receive_bytes: 128 * 1024,
    };
}

/// Probability of each fault, and the conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    parts: [u32; FAULTS],
    /// The fair-weather side of the world.
    pub conditions: Conditions,
}

impl Faults {
    /// Nothing goes wrong.
    pub const fn none() -> Self {
        Self { parts: [0; FAULTS], conditions: Conditions::CALM }
    }

    /// Draws which faults this seed has and how often each (swarm testing, Groce et al. 2012:
    /// leaving faults out lets the others go deeper).
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xfa01_75fa_0175);
        let mut faults = Self::none();
        for fault in Fault::ALL {
            let often = [0, 0, ONE / 1000, ONE / 100, ONE / 20];
            let rarely = [0, 0, ONE / 5000, ONE / 1000, ONE / 200];
            let of_accept = [0, 0, ONE / 100, ONE / 20, ONE / 10];
            let of_cancel = [0, ONE / 20, ONE / 5, ONE / 2, ONE];
            let table = match fault {
                // Cancels and accepts are rare themselves.
                Fault::CancelTooLate | Fault::CancelAlready | Fault::CancelledFirst => of_cancel,
                Fault::TableFull | Fault::AcceptFailed => of_accept,
                fault if fault.is_deadly() => rarely,
                _ => often,
            };
            faults.parts[fault as usize] = table[random.below(5) as usize];
        }
        let latency = [20, 200, 5_000, 80_000][random.below(4) as usize];
        let disk = [30, 100, 2_000, 20_000][random.below(4) as usize];
        faults.conditions = Conditions {
            latency_us: (latency, latency * random.between(1, 10)),
            disk_us: (disk, disk * random.between(1, 20)),
            late_us: (1, [100, 10_000, 500_000][random.below(3) as usize]),
            send_bytes: [512, 4096, 65_536, 262_144][random.below(4) as usize],
            receive_bytes: [256, 4096, 65_536, 131_072][random.below(4) as usize],
        };
        faults
    }

    /// Sets one fault's probability, 0 to 1.
    #[must_use]
    pub fn with(mut self, fault: Fault, probability: f64) -> Self {
        self.parts[fault as usize] = (probability.clamp(0.0, 1.0) * f64::from(ONE)) as u32;
        self
    }

    /// Chance decides whether `fault` strikes now. Draws nothing if it is switched off, so that
    /// runs with and without other faults stay comparable.
    pub(super) fn strikes(&self, fault: Fault, random: &mut Random) -> bool {
        let parts = self.parts[fault as usize];
        parts > 0 && random.below(u64::from(ONE)) < u64::from(parts)
    }
}

/// How often each fault was hit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; FAULTS]);

impl FaultCounts {
    /// Times `fault` was hit.
    pub const fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// Every fault with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        Fault::ALL.into_iter().map(|fault| (fault, self.of(fault)))
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    pub(super) const fn hit(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }
}
