//! What the machine offers against what the configuration needs.
//!
//! Reading is a shell over a root directory (`/`, or a made-up one in tests); judging is pure. An
//! error names the setting, its value and what is needed, and the gateway refuses to start (exit
//! code 2); a warning is one line in the log.
//!
//! What it is not: a probe of the ring. Whether io_uring really works is asked of the kernel when
//! the first ring is made; here only what can be read is judged.

use std::{fmt, fs, path::Path};

pub use hawser_tune::risks::Risk;
use hawser_tune::{load::Load, system::Root};

use crate::{
    config::{Config, Machine},
    limits::{self, MemoryBudget},
};

/// Oldest kernel the ring's probe accepts.
const KERNEL_NEEDED: (u32, u32) = hawser_ring::setup::KERNEL_MIN;
/// Oldest kernel the ring's conformance list has run on.
const KERNEL_TESTED: (u32, u32) = (6, 18);
/// Ordinary descriptors beside rings and listeners: standard streams, log segments being written
/// and recycled, key files, the admin thread and what it accepts.
const DESCRIPTORS_SHARED: u64 = 192;
/// Per ring: the ring and its waker; per worker, besides: a signal of its rings, and a listener
/// each.
const DESCRIPTORS_PER_RING: u64 = 2;
const DESCRIPTORS_PER_WORKER: u64 = 1;

/// A number or no limit at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// This many.
    At(u64),
    /// `unlimited` or `max`.
    None,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(value) => value.fmt(f),
            Self::None => f.write_str("unlimited"),
        }
    }
}

/// What was read; `None` where the machine does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `RLIMIT_NOFILE`, soft.
    pub descriptors_soft: Option<Limit>,
    /// `RLIMIT_NOFILE`, hard.
    pub descriptors_hard: Option<Limit>,
    /// `RLIMIT_AS`, soft, bytes.
    pub address_space: Option<Limit>,
    /// `RLIMIT_DATA`, soft, bytes.
    pub data_segment: Option<Limit>,
    /// `MemAvailable` of /proc/meminfo, bytes.
    pub memory_available: Option<u64>,
    /// Limit of the control group (v2, else v1), bytes.
    pub memory_cgroup: Option<Limit>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.ip_local_port_range`, inclusive.
    pub local_ports: Option<(u16, u16)>,
    /// `net.netfilter.nf_conntrack_max`, where connections are tracked.
    pub conntrack_max: Option<u64>,
    /// `fs.file-max`.
    pub file_max: Option<u64>,
    /// `kernel.io_uring_disabled`.
    pub io_uring_disabled: Option<u64>,
    /// Major and minor of `kernel.osrelease`.
    pub kernel: Option<(u32, u32)>,
}

impl Environment {
    /// Reads below `root`. What cannot be read or understood is `None`.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let number = |path: &str| text(path)?.trim().parse().ok();
        let limits = text("proc/self/limits").unwrap_or_default();
        let files = rlimit(&limits, "Max open files");
        Self {
            descriptors_soft: files.map(|(soft, _)| soft),
            descriptors_hard: files.map(|(_, hard)| hard),
            address_space: rlimit(&limits, "Max address space").map(|(soft, _)| soft),
            data_segment: rlimit(&limits, "Max data size").map(|(soft, _)| soft),
            memory_available: text("proc/meminfo").and_then(|text| available(&text)),
            memory_cgroup: text("sys/fs/cgroup/memory.max")
                .or_else(|| text("sys/fs/cgroup/memory/memory.limit_in_bytes"))
                .and_then(|text| limit(text.trim())),
            somaxconn: number("proc/sys/net/core/somaxconn"),
            local_ports: text("proc/sys/net/ipv4/ip_local_port_range").and_then(|text| {
                let mut ports = text.split_whitespace().map(str::parse);
                Some((ports.next()?.ok()?, ports.next()?.ok()?))
            }),
            conntrack_max: number("proc/sys/net/netfilter/nf_conntrack_max"),
            file_max: number("proc/sys/fs/file-max"),
            io_uring_disabled: number("proc/sys/kernel/io_uring_disabled"),
            kernel: text("proc/sys/kernel/osrelease").and_then(|text| kernel(text.trim())),
        }
    }

    /// What defaults of the configuration depend on.
    #[must_use]
    pub fn machine(&self, cores: u32) -> Machine {
        let descriptors_max = match self.descriptors_hard {
            Some(Limit::At(most)) => most,
            Some(Limit::None) | None => u64::MAX,
        };
        Machine { cores, descriptors_max }
    }
}

/// Soft and hard value of one line of /proc/self/limits.
fn rlimit(text: &str, name: &str) -> Option<(Limit, Limit)> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut columns = rest.split_whitespace().map(limit);
    Some((columns.next()??, columns.next()??))
}

fn limit(text: &str) -> Option<Limit> {
    match text {
        "unlimited" | "max" => Some(Limit::None),
        _ => text.parse().ok().map(Limit::At),
    }
}

fn available(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// `6.18.44-fc` gives (6, 18).
fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Outcome of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Any of these refuses the start.
    pub errors: Vec<String>,
    /// One line each.
    pub warnings: Vec<String>,
    /// The soft `RLIMIT_NOFILE` the process has to raise itself to before it makes a ring.
    pub descriptors_needed: u64,
}

/// Descriptors this configuration needs: the kernel checks each worker's table against the limit,
/// and all ordinary descriptors together.
#[must_use]
pub fn descriptors_needed(config: &Config) -> u64 {
    let listeners = config.listeners.len() as u64;
    let ordinary = DESCRIPTORS_SHARED
        + u64::from(config.limits.workers)
            * (u64::from(config.limits.tables) * DESCRIPTORS_PER_RING
                + DESCRIPTORS_PER_WORKER
                + listeners)
        + u64::from(config.store.lanes) * 4;
    ordinary.max(config.limits.table_slots.into())
}

/// Compares what is there with what is needed.
#[must_use]
pub fn judge(config: &Config, facts: &Environment) -> Findings {
    let mut findings =
        Findings { descriptors_needed: descriptors_needed(config), ..Findings::default() };
    judge_descriptors(config, facts, &mut findings);
    judge_memory(config, facts, &mut findings);
    judge_kernel(facts, &mut findings);
    judge_network(config, facts, &mut findings);
    findings
}

/// What `hawser-tune check` would call a limit or a risk for this configuration, without what
/// `findings` name already. Never fails: what cannot be read is passed over.
#[must_use]
pub fn risks(config: &Config, root: &Path, findings: &Findings) -> Vec<Risk> {
    let heartbeat = &config.heartbeat;
    let shortest = [heartbeat.mobile_s, heartbeat.web_s, heartbeat.desktop_s, heartbeat.bot_s]
        .into_iter()
        .min();
    let over_tls = config.listeners.iter().filter(|listener| listener.tls).count();
    let load = Load {
        tls_share: over_tls as f64 / config.listeners.len().max(1) as f64,
        heartbeat_s: shortest.map_or(30.0, f64::from),
        ..Load::of(config.limits.max_connections.into())
    };
    let page = rustix::param::page_size() as u64;
    let named = |risk: &Risk| findings.warnings.iter().any(|line| line.contains(&risk.id));
    let risks = hawser_tune::risks::risks(&Root::new(root), page, &load);
    risks.into_iter().filter(|risk| !named(risk)).collect()
}

fn judge_descriptors(config: &Config, facts: &Environment, findings: &mut Findings) {
    let needed = findings.descriptors_needed;
    match facts.descriptors_hard {
        Some(hard) if hard < Limit::At(needed) => findings.errors.push(format!(
            "RLIMIT_NOFILE (hard) is {hard}, needed: {needed} for {} workers (`limits.workers`); \
             raise it with `ulimit -Hn {needed}` or LimitNOFILE={needed}",
            config.limits.workers
        )),
        None => findings.warnings.push(
            "RLIMIT_NOFILE cannot be read from /proc/self/limits; it was not compared".to_owned(),
        ),
        Some(_) => {}
    }
    // Direct descriptors count as open files, too. A privileged process may pass the bound.
    let files = u64::from(config.limits.max_connections) + needed;
    if let Some(most) = facts.file_max.filter(|most| *most < files) {
        findings.warnings.push(format!(
            "fs.file-max is {most}, needed: {files} for {} connections \
             (`limits.max_connections`)",
            config.limits.max_connections
        ));
    }
}

fn judge_memory(config: &Config, facts: &Environment, findings: &mut Findings) {
    let limits = &config.limits;
    let mut budget =
        MemoryBudget::for_config(limits.workers, limits.tables, limits.max_connections);
    if config.listeners.iter().any(|listener| listener.tls) {
        budget = budget.with_tls();
    }
    let offers = [
        ("MemAvailable", facts.memory_available.map(Limit::At), budget.total_bytes()),
        ("the control group's memory limit", facts.memory_cgroup, budget.total_bytes()),
        ("RLIMIT_AS", facts.address_space, budget.user_bytes()),
        ("RLIMIT_DATA", facts.data_segment, budget.user_bytes()),
    ];
    for (name, offer, needed) in offers {
        let Some(Limit::At(bytes)) = offer else { continue };
        if bytes < needed {
            findings.errors.push(format!(
                "{name} is {} MiB, needed: {} MiB for {} connections \
                 (`limits.max_connections`)",
                bytes / limits::MIB,
                needed.div_ceil(limits::MIB),
                config.limits.max_connections
            ));
        }
    }
}

fn judge_kernel(facts: &Environment, findings: &mut Findings) {
    match facts.io_uring_disabled {
        Some(2..) => findings.errors.push(
            "kernel.io_uring_disabled is 2, needed: 0 (or 1 with the process in the group \
             kernel.io_uring_group)"
                .to_owned(),
        ),
        Some(1) => findings.warnings.push(
            "kernel.io_uring_disabled is 1: only members of the group kernel.io_uring_group and \
             privileged processes may use io_uring"
                .to_owned(),
        ),
        Some(0) | None => {}
    }
    let Some(version) = facts.kernel else { return };
    let (major, minor) = version;
    if version < KERNEL_NEEDED {
        let (needed_major, needed_minor) = KERNEL_NEEDED;
        findings.errors.push(format!(
            "kernel is {major}.{minor}, needed: {needed_major}.{needed_minor} or later"
        ));
    } else if version < KERNEL_TESTED {
        let (tested_major, tested_minor) = KERNEL_TESTED;
        findings.warnings.push(format!(
            "kernel is {major}.{minor}; tested from {tested_major}.{tested_minor} on"
        ));
    }
}

fn judge_network(config: &Config, facts: &Environment, findings: &mut Findings) {
    let backlog = u64::from(limits::LISTEN_BACKLOG);
    if let Some(most) = facts.somaxconn.filter(|most| *most < backlog) {
        findings.warnings.push(format!(
            "net.core.somaxconn is {most}, wanted: {backlog}; a storm of connects will wait for \
             retransmissions"
        ));
    }
    if let Some((low, high)) = facts.local_ports {
        let addresses =
            config.listeners.iter().map(|listener| listener.address).chain(config.admin.address);
        for address in addresses.filter(|address| (low..=high).contains(&address.port())) {
            findings.warnings.push(format!(
                "port {} lies in net.ipv4.ip_local_port_range ({low} to {high}): an outgoing \
                 connection of this machine may hold it when the gateway starts",
                address.port()
            ));
        }
    }
    let connections = u64::from(config.limits.max_connections);
    if let Some(most) = facts.conntrack_max.filter(|most| *most < connections) {
        findings.warnings.push(format!(
            "net.netfilter.nf_conntrack_max is {most}, wanted: {connections} \
             (`limits.max_connections`) if a rule tracks these connections"
        ));
    }
}

#[cfg(test)]
mod tests;
