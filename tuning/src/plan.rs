//! From a load to what the machine must offer, each figure with its derivation.
//!
//! Formulas, per connection where not said otherwise:
//!
//! ```text
//! memory   = sockets (idle slab + armed request + user bytes) + sockets x fan-out x page
//!            + slow (send + receive buffer) + 8 hash buckets + tracked entries
//! tcp_mem  = 1.5 (sockets x fan-out pages + slow (send + receive) / page), thirds 1/2, 3/4, 1
//! ```

use crate::calibrate::Calibration;
use crate::load::Load;
use crate::memory::KernelCost;
use crate::system::{Machine, Unseen};
use std::fmt;

/// Largest receive buffer the kernel may grow to by itself, bytes: messages are short, and the
/// buffer of a slow sender is memory that nobody counted on.
pub const RECEIVE_BYTES_MAX: u64 = 262_144;
/// Largest send buffer: what a slow reader may hold of the kernel's memory.
pub const SEND_BYTES_MAX: u64 = 262_144;
/// User memory of an idle connection, and of its TLS state, bytes.
pub const USER_BYTES: u64 = 256;
/// See [`USER_BYTES`].
pub const TLS_BYTES: u64 = 512;
/// Share of memory that TCP may take for queued data.
pub const TCP_SHARE_MAX: f64 = 0.4;
/// Share of memory that a plan may use: the rest is for the system, page cache and growth.
pub const MEMORY_SHARE_MAX: f64 = 0.9;
/// Memory of the process itself with its pools and log buffers, and of the system, bytes.
const BASE_BYTES: u64 = 512 << 20;
/// Accepts may stand still for so long (a long turn, a stolen processor), seconds.
const ACCEPT_STALL_S: f64 = 0.5;
/// Largest established hash without a boot parameter (`tcp_init` of Linux: 512 Ki).
pub const HASH_BUCKETS_UNASKED_MAX: u64 = 524_288;
/// Sockets per hash bucket up to which a look-up stays short.
pub const HASH_CHAIN_MAX: u64 = 4;
/// Descriptors in use beside connections.
const DESCRIPTORS_BESIDE: u64 = 4096;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Pages of memory.
    Pages,
    /// Things.
    Count,
}

/// One figure of a plan.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Figure {
    /// What it is about; a kernel setting's own name where it is one.
    pub id: &'static str,
    /// The figure, or three of them.
    pub value: Vec<u64>,
    /// What it counts.
    pub unit: Unit,
    /// How it was come by.
    pub derivation: String,
}

/// Memory by what takes it, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Idle sockets, armed requests.
    pub sockets: u64,
    /// The process, per connection.
    pub user: u64,
    /// Messages queued at the worst instant.
    pub queued: u64,
    /// Full buffers of slow readers.
    pub slow: u64,
    /// Hash of established connections.
    pub hash: u64,
    /// Tracking table.
    pub tracking: u64,
    /// Process and system.
    pub base: u64,
}

impl Memory {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sockets + self.user + self.queued + self.slow + self.hash + self.tracking + self.base
    }

    /// What takes most.
    #[must_use]
    pub fn largest(&self) -> (&'static str, u64) {
        [
            ("idle sockets", self.sockets),
            ("the process's memory per connection", self.user),
            ("queued messages", self.queued),
            ("buffers of slow readers", self.slow),
            ("the connection hash", self.hash),
            ("the tracking table", self.tracking),
            ("the system and the process itself", self.base),
        ]
        .into_iter()
        .max_by_key(|(_, bytes)| *bytes)
        .expect("there are several")
    }
}

/// A plan.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Plan {
    /// Figures in the order of their explanation.
    pub figures: Vec<Figure>,
    /// Where memory goes.
    pub memory: Memory,
}

/// The machine cannot carry the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impossible {
    /// The limit that binds, and by how much.
    pub binding: String,
    /// Connections that would fit, all else equal.
    pub connections_max: u64,
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {} connections would fit", self.binding, self.connections_max)
    }
}

/// What the machine is, as far as a plan asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ground {
    /// Memory, bytes.
    pub memory: u64,
    /// Processors, each with a listener.
    pub cores: u64,
    /// Connections are tracked here.
    pub tracks: bool,
    /// What a connection costs this kernel.
    pub cost: KernelCost,
}

impl Ground {
    /// What was read of the machine; `memory` and `calibration` instead of what it says.
    ///
    /// # Errors
    /// Its memory could not be seen and was not given.
    pub fn of(
        machine: &Machine,
        memory: Option<u64>,
        calibration: Option<&Calibration>,
    ) -> Result<Self, Unseen> {
        let memory = memory.map_or_else(|| machine.memory.clone(), Ok)?;
        let slabs = machine.slabs.as_deref().ok();
        let cost = slabs
            .and_then(|text| KernelCost::from_slabinfo(text, machine.page))
            .unwrap_or_else(|| KernelCost::kept(machine.page));
        let cost = calibration.map_or(cost, |calibration| calibration.cost(cost));
        Ok(Self { memory, cores: machine.cores, tracks: machine.tracks, cost })
    }
}

/// Makes the plan.
///
/// # Errors
/// [`Impossible`]: names the binding limit.
pub fn plan(load: &Load, ground: &Ground) -> Result<Plan, Impossible> {
    let plan = figures(load, ground);
    let room = (ground.memory as f64 * MEMORY_SHARE_MAX) as u64;
    let total = plan.memory.total();
    if total <= room {
        return Ok(plan);
    }
    let fits = |connections: u64| {
        let smaller = Load { connections, ..*load };
        figures(&smaller, ground).memory.total() <= room
    };
    let (mut low, mut high) = (0, load.connections);
    while low + 1 < high {
        let middle = low.midpoint(high);
        if fits(middle) { low = middle } else { high = middle }
    }
    let (what, bytes) = plan.memory.largest();
    Err(Impossible {
        binding: format!(
            "memory: {} needed, {} of {} may be used; {} go to {what}",
            size(total),
            size(room),
            size(ground.memory),
            size(bytes)
        ),
        connections_max: low,
    })
}

/// The figures alone, whether or not the machine can carry them.
#[must_use]
pub fn figures(load: &Load, ground: &Ground) -> Plan {
    let cost = &ground.cost;
    let sockets = load.sockets();
    let (n, page) = (sockets as f64, cost.page as f64);
    let mut figures = Vec::new();
    let mut add = |id, value: Vec<u64>, unit, derivation: String| {
        figures.push(Figure { id, value, unit, derivation });
    };

    let user = USER_BYTES as f64 + load.tls_share * TLS_BYTES as f64;
    let slow = load.slow_share * n;
    let buffers = (SEND_BYTES_MAX + RECEIVE_BYTES_MAX) as f64;
    let queued_pages = n * load.fan_out_share * cost.queued_pages;

    // Queued data.
    let slow_pages = slow * buffers / page;
    let hard = (1.5 * (queued_pages + slow_pages)).ceil().max(1.0);
    let cap = (ground.memory as f64 * TCP_SHARE_MAX / page).floor();
    let hard = hard.min(cap.max(1.0)) as u64;
    add(
        "net.ipv4.tcp_mem",
        vec![hard / 2, hard * 3 / 4, hard],
        Unit::Pages,
        format!(
            "1.5 x ({sockets} sockets x {} fan-out x {} page + {} slow x {} / {page}), at most {} \
             of memory; half and three quarters of it below",
            load.fan_out_share,
            cost.queued_pages,
            slow.ceil(),
            size(SEND_BYTES_MAX + RECEIVE_BYTES_MAX),
            TCP_SHARE_MAX
        ),
    );
    add(
        "net.ipv4.tcp_rmem",
        vec![4096, 16_384, RECEIVE_BYTES_MAX],
        Unit::Bytes,
        "least, initial and most; the most bounds what one slow sender may hold".to_owned(),
    );
    add(
        "net.ipv4.tcp_wmem",
        vec![4096, 16_384, SEND_BYTES_MAX],
        Unit::Bytes,
        "least, initial and most; the most bounds what one slow reader may hold".to_owned(),
    );

    // Descriptors.
    let files = sockets + sockets / 10 + DESCRIPTORS_BESIDE;
    add(
        "fs.file-max",
        vec![files],
        Unit::Count,
        format!("{sockets} sockets, a tenth more, and {DESCRIPTORS_BESIDE} beside them"),
    );
    add(
        "fs.nr_open",
        vec![(sockets + sockets / 10 + DESCRIPTORS_BESIDE).next_multiple_of(64).max(1 << 20)],
        Unit::Count,
        "as fs.file-max, at least 2^20: the most that RLIMIT_NOFILE may be; servers with direct \
         descriptors, as hawser-gateway, need less"
            .to_owned(),
    );

    // Queues of those who are not connected yet.
    let per_listener = load.connect_rate * ACCEPT_STALL_S / ground.cores as f64;
    let backlog = (per_listener.ceil() as u64).clamp(4096, 65_535);
    let backlog_text = format!(
        "{} connects/s x {ACCEPT_STALL_S} s without an accept / {} listeners, at least 4096",
        load.connect_rate, ground.cores
    );
    add("net.core.somaxconn", vec![backlog], Unit::Count, backlog_text.clone());
    add("net.ipv4.tcp_max_syn_backlog", vec![backlog], Unit::Count, backlog_text);

    add(
        "net.core.netdev_max_backlog",
        vec![(load.connections / 64).next_power_of_two().clamp(1000, 16_384)],
        Unit::Count,
        format!(
            "{} connections / 64, as a power of two, 1000 to 16384: a burst of them at one instant",
            load.connections
        ),
    );
    add(
        "vm.min_free_kbytes",
        vec![(ground.memory / 100).min(2 << 30) >> 10],
        Unit::Count,
        format!("1 % of {}, at most 2 GiB, in KiB", size(ground.memory)),
    );

    // Hash of established connections.
    let buckets = sockets.div_ceil(HASH_CHAIN_MAX).next_power_of_two();
    add(
        "net.ipv4.tcp_ehash_entries",
        vec![buckets],
        Unit::Count,
        format!(
            "{sockets} sockets / {HASH_CHAIN_MAX} a bucket, as a power of two; above \
             {HASH_BUCKETS_UNASKED_MAX} only with thash_entries= at boot or in a network namespace"
        ),
    );

    // Tracking.
    let tracked = if ground.tracks { load.connections * 2 } else { 0 };
    if ground.tracks {
        add(
            "net.netfilter.nf_conntrack_max",
            vec![tracked],
            Unit::Count,
            format!(
                "{} connections x 2; better: do not track the server's ports",
                load.connections
            ),
        );
        add(
            "net.netfilter.nf_conntrack_buckets",
            vec![load.connections.next_power_of_two()],
            Unit::Count,
            "a bucket per connection, as a power of two".to_owned(),
        );
        add(
            "net.netfilter.nf_conntrack_tcp_timeout_established",
            vec![((3.0 * load.heartbeat_s).ceil() as u64).max(1800)],
            Unit::Count,
            format!("3 x {} s of heartbeat, at least 1800 s", load.heartbeat_s),
        );
    }

    // Those who have left.
    let closes = (load.connect_rate * 30.0).ceil() as u64;
    add(
        "net.ipv4.tcp_max_orphans",
        vec![closes.max(65_536)],
        Unit::Count,
        format!("{} closes/s x 30 s until last bytes are given up", load.connect_rate),
    );
    add(
        "net.ipv4.tcp_max_tw_buckets",
        vec![(load.connect_rate * 60.0).ceil().max(131_072.0) as u64],
        Unit::Count,
        format!("{} closes/s x 60 s of TIME_WAIT, at least 131072", load.connect_rate),
    );

    // Ports, where this machine is the one that connects.
    if load.both_ends {
        let addresses = load.connections.div_ceil(45_000);
        add(
            "source addresses",
            vec![addresses],
            Unit::Count,
            format!("{} connections / 45,000 ports each (20000 to 64999)", load.connections),
        );
    }

    let memory = Memory {
        sockets: (load.connections as f64 * (cost.idle_socket + cost.armed_request)
            + (sockets - load.connections) as f64 * (cost.idle_client + cost.armed_request))
            .ceil() as u64,
        user: (load.connections as f64 * user).ceil() as u64,
        queued: (queued_pages * page).ceil() as u64,
        slow: (slow * buffers).ceil() as u64,
        hash: buckets * 8,
        tracking: (tracked as f64 / 2.0 * cost.conntrack_entry) as u64,
        base: BASE_BYTES,
    };
    add(
        "memory",
        vec![memory.total()],
        Unit::Bytes,
        format!(
            "{sockets} sockets x ({:.0} idle + {:.0} armed) ({}), {} x {user:.0} of the process, \
             {} queued, {} in slow buffers, {} beside",
            cost.idle_socket,
            cost.armed_request,
            cost.source.text(),
            load.connections,
            size(memory.queued),
            size(memory.slow),
            size(memory.hash + memory.tracking + memory.base)
        ),
    );
    let beats = load.connections as f64 / load.heartbeat_s;
    add(
        "packets per second",
        vec![(3.0 * beats + 4.0 * load.message_rate).ceil() as u64],
        Unit::Count,
        format!(
            "{} connections / {} s x 3 packets a heartbeat, {} messages/s x 4 (message, \
             acknowledge and theirs)",
            load.connections, load.heartbeat_s, load.message_rate
        ),
    );
    Plan { figures, memory }
}

impl Plan {
    /// The figure of this name.
    #[must_use]
    pub fn figure(&self, id: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.id == id)
    }
}

/// Bytes for people.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{:.1} KB", bytes as f64 / 1e3),
        10_000_000..=9_999_999_999 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground(memory: u64) -> Ground {
        Ground { memory, cores: 4, tracks: true, cost: KernelCost::kept(4096) }
    }

    #[test]
    fn a_broadcast_to_a_million_needs_a_page_each_and_half_as_much_again() {
        let load = Load { fan_out_share: 1.0, slow_share: 0.0, ..Load::of(1_000_000) };
        let plan = plan(&load, &ground(64 << 30)).unwrap();
        let tcp = plan.figure("net.ipv4.tcp_mem").unwrap();
        assert_eq!(tcp.value, [750_000, 1_125_000, 1_500_000]);
        assert!(tcp.derivation.contains("1000000 sockets x 1 fan-out"), "{}", tcp.derivation);
    }

    #[test]
    fn what_does_not_fit_names_the_limit_and_how_many_would() {
        let load = Load { fan_out_share: 0.0, slow_share: 0.0, ..Load::of(10_000_000) };
        let refused = plan(&load, &ground(16 << 30)).unwrap_err();
        assert!(refused.binding.starts_with("memory: "), "{}", refused.binding);
        assert!(refused.binding.contains("idle sockets"), "{}", refused.binding);
        let fits = Load { connections: refused.connections_max, ..load };
        assert!(plan(&fits, &ground(16 << 30)).is_ok());
        let more = Load { connections: refused.connections_max + 1, ..load };
        assert!(plan(&more, &ground(16 << 30)).is_err());
    }

    #[test]
    fn a_machine_that_tracks_nothing_needs_no_table_and_one_with_both_ends_twice_the_sockets() {
        let load = Load { both_ends: true, ..Load::of(1_000_000) };
        let plan = plan(&load, &Ground { tracks: false, ..ground(64 << 30) }).unwrap();
        assert_eq!(plan.figure("net.netfilter.nf_conntrack_max"), None);
        assert_eq!(plan.figure("fs.file-max").unwrap().value, [2_204_096]);
        assert_eq!(plan.figure("source addresses").unwrap().value, [23]);
        assert_eq!(plan.memory.sockets, 2_000_000 * (3861 + 256));
    }
}
