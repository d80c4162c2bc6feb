//! What a run of so many connections needs on this machine, what of it is missing, and the command
//! that gets it.
//!
//! Pure: the machine is given ([`Machine`]), so that any can be made up. Not a judge of the server's
//! settings: of the other side only what the kernel keeps for it is counted, because both ends are
//! often on one machine. Invariant: what is *missing* stops a run of this size; what is only
//! *advised* does not.

mod machine;

use std::{fmt::Write, net::SocketAddr};

pub use machine::Machine;

use crate::{
    scenario::{Kind, Scenario},
    source::{CONNECTIONS_PER_ADDRESS, Given, PORT_FIRST, Sources, addresses},
    worker::SLOT_BYTES,
};

/// Kernel memory of one idle TCP socket, bytes: slab of socket, inode, directory entry and file on
/// Linux 6.18, x86-64.
pub const SOCKET_BYTES: u64 = 3_861;

/// Kernel memory of the request that watches it, bytes: one `io_kiocb` and its poll entry.
pub const WATCH_BYTES: u64 = 320;

/// User memory of a connection at a Hawser gateway: plain, and what TLS adds, bytes.
const SERVER_BYTES: (u64, u64) = (256, 512);

/// User memory that TLS adds on this side, bytes: measured with rustls 0.23 after the handshake; see
/// [`Tls`](crate::wire::tls::Tls).
pub const TLS_BYTES: u64 = 10_000;

/// Memory of one ring, bytes: receive buffers 2 MiB, queues, table.
const RING_BYTES: u64 = 3 << 20;

/// Memory of one thread, bytes: histograms of two seconds, wheel, send buffers.
const THREAD_BYTES: u64 = 6 << 20;

/// Memory of the process besides, bytes: code, oracle's parts, report.
const PROCESS_BYTES: u64 = 32 << 20;

/// Descriptors of the process besides its tables: rings, events, terminal, files, and sockets on
/// their way into a table.
const DESCRIPTORS_BESIDE: u64 = 1024;

/// Slots of a table beyond its connections: connects under way while old sockets close.
const SLOTS_BESIDE: u32 = 64;

/// Old sockets that one worker keeps open after it has come back from elsewhere: a server that
/// does not close the older of two has to be shown some, not all. At least and at most, and four
/// for each connection in between.
const KEPT: (u32, u32) = (64, 4096);

/// Entries of a hash bucket up to which looking up a connection stays short.
const HASH_CHAIN_MAX: u64 = 8;

/// Backlog of a listener for the usual rate of connects, whole tenths of a second of them.
const BACKLOG: u64 = 4096;

/// Files other processes may open meanwhile.
const FILES_BESIDE: u64 = 20_000;

/// What is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Connections.
    pub connections: u32,
    /// Server.
    pub target: SocketAddr,
    /// Source addresses named by the user.
    pub given: Given,
    /// Threads; none: as many as there are cores, at most one for each table.
    pub threads: Option<u32>,
    /// Over TLS.
    pub tls: bool,
}

impl Load {
    /// The server is on this machine, too.
    fn is_here(&self) -> bool {
        self.target.ip().is_loopback()
    }
}

/// Something that a run of this size cannot do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What it is, the value it has and the one that is needed.
    pub what: String,
    /// How to get it.
    pub command: String,
}

/// What a run needs, and what of it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For people.
    pub text: String,
    /// Each thing that is missing.
    pub missing: Vec<Missing>,
    /// What would be better otherwise.
    pub advice: Vec<Missing>,
    /// User memory of this process, bytes.
    pub user_bytes: u64,
    /// Memory of the kernel for this side's sockets, bytes.
    pub kernel_bytes: u64,
}

/// Tables of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// How many.
    pub count: u32,
    /// Slots of each.
    pub slots: u32,
    /// Sockets beyond those of its connections that they have room for.
    pub kept: u32,
}

/// Tables of a worker with so many connections of a scenario.
pub fn tables(scenario: &Scenario, connections: u32) -> Tables {
    let keeps = scenario.kind == Kind::NetworkChange;
    let kept = if keeps { (connections * 4).clamp(KEPT.0, KEPT.1) } else { 0 };
    let count = (connections + kept).div_ceil(CONNECTIONS_PER_ADDRESS).max(1);
    Tables { count, slots: table_slots((connections + kept).div_ceil(count)), kept }
}

/// Slots of a ring's table for so many connections.
fn table_slots(connections: u32) -> u32 {
    connections + SLOTS_BESIDE
}

/// Plans a run.
pub fn plan(load: &Load, machine: &Machine) -> Plan {
    let mut draft = Draft { load, machine, lines: Vec::new(), missing: Vec::new(), advice: vec![] };
    draft.line("connections", load.connections.to_string());
    draft.addresses();
    draft.descriptors();
    let (user_bytes, kernel_bytes) = draft.memory();
    draft.kernel_limits();
    let text = draft.text();
    Plan { text, missing: draft.missing, advice: draft.advice, user_bytes, kernel_bytes }
}

struct Draft<'a> {
    load: &'a Load,
    machine: &'a Machine,
    lines: Vec<(&'static str, String)>,
    missing: Vec<Missing>,
    advice: Vec<Missing>,
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

impl Draft<'_> {
    fn line(&mut self, name: &'static str, value: impl Into<String>) {
        self.lines.push((name, value.into()));
    }

    fn lacks(&mut self, what: String, command: impl Into<String>) {
        self.missing.push(Missing { what, command: command.into() });
    }

    fn advises(&mut self, what: String, command: impl Into<String>) {
        self.advice.push(Missing { what, command: command.into() });
    }

    /// Where connections come from.
    fn addresses(&mut self) {
        let Load { connections, target, ref given, .. } = *self.load;
        let sources = match Sources::new(target.ip(), given, connections, 0) {
            Ok(sources) => sources,
            Err(reason) => {
                let needed = addresses(connections);
                return self.lacks(
                    reason,
                    format!("--source with a list or network of {needed} addresses"),
                );
            }
        };
        self.line("source addresses", sources.text(connections));
        if sources.is_kernels_choice() {
            return self.ephemeral_ports();
        }
        let (last, second) = (PORT_FIRST as u32 + CONNECTIONS_PER_ADDRESS - 1, PORT_FIRST * 2);
        let second_last = u32::from(second) + CONNECTIONS_PER_ADDRESS - 1;
        self.line(
            "ports on each",
            format!("{PORT_FIRST}-{last}, and {second}-{second_last} for every second life"),
        );
        if let Some(first) = self.machine.unusable.first() {
            let count = self.machine.unusable.len();
            self.lacks(
                format!("source addresses: {count} are not this machine's, the first is {first}"),
                format!(
                    "ip address add {first} dev DEVICE for each; or a whole network at once: \
                     ip route add local NETWORK dev lo, and a route back to it at the server"
                ),
            );
        }
        if self.load.is_here() && self.machine.ports.0 < u64::from(PORT_FIRST) {
            let last = self.machine.ports.1;
            self.lacks(
                format!(
                    "ports: net.ipv4.ip_local_port_range begins at {}, so other programs may take \
                     ports that servers listen on; needed: {PORT_FIRST} or above",
                    self.machine.ports.0
                ),
                format!(
                    "sysctl -w net.ipv4.ip_local_port_range=\"{PORT_FIRST} {}\"",
                    last.max(60_999)
                ),
            );
        }
    }

    fn ephemeral_ports(&mut self) {
        let (first, last) = self.machine.ports;
        let count = (last + 1).saturating_sub(first);
        let connections = u64::from(self.load.connections);
        self.line("ports", format!("{connections} of {count}, the kernel's choice {first}-{last}"));
        if count >= connections {
            return;
        }
        let needed = addresses(self.load.connections);
        let widest = 65_535 - 1024 + 1;
        let command = if connections <= widest {
            "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"; or ".to_owned()
        } else {
            String::new()
        };
        self.lacks(
            format!("ports: {count} to one server from one address, needed {connections}"),
            format!("{command}--source with a list or network of {needed} addresses"),
        );
    }

    fn tables(&self) -> u32 {
        addresses(self.load.connections).max(1)
    }

    fn threads(&self) -> u32 {
        self.load.threads.unwrap_or(self.tables().min(self.machine.cores)).max(1)
    }

    /// Tables of direct descriptors, each compared with the limit on its own.
    fn descriptors(&mut self) {
        let (tables, threads) = (self.tables(), self.threads());
        let tables = tables.next_multiple_of(threads);
        let share = self.load.connections.div_ceil(tables);
        let slots = u64::from(table_slots(share));
        self.line("threads", format!("{threads} on {} cores", self.machine.cores));
        self.line("descriptor tables", format!("{tables} of {slots}, one for each ring"));
        let needed = slots.max(DESCRIPTORS_BESIDE);
        let limit = self.machine.descriptors;
        self.line("open files (ulimit -n)", format!("{needed} of {limit}, tables do not add up"));
        if limit < needed {
            self.lacks(
                format!("open files: RLIMIT_NOFILE is {limit}, needed {needed}"),
                format!(
                    "ulimit -n {needed}; beyond the hard limit as root: \
                     prlimit --pid $$ --nofile={needed}"
                ),
            );
        }
        let ends = if self.load.is_here() { 2 } else { 1 };
        let files = u64::from(self.load.connections) * ends + FILES_BESIDE;
        let limit = self.machine.files_max;
        if limit < files {
            self.lacks(
                format!("files: fs.file-max is {limit}, needed {files} for both ends"),
                format!("sysctl -w fs.file-max={files}"),
            );
        }
    }

    /// Gives the user memory and the kernel memory of this side.
    fn memory(&mut self) -> (u64, u64) {
        let connections = u64::from(self.load.connections);
        let one = SLOT_BYTES + if self.load.tls { TLS_BYTES } else { 0 };
        let fixed = u64::from(self.tables()) * RING_BYTES
            + u64::from(self.threads()) * THREAD_BYTES
            + PROCESS_BYTES;
        let user = connections * one + fixed;
        let kernel = connections * (SOCKET_BYTES + WATCH_BYTES);
        self.line(
            "memory of this process",
            format!("{} ({one} B a connection, {} besides)", mib(user), mib(fixed)),
        );
        let of_kernel = format!("{SOCKET_BYTES} B a socket, {WATCH_BYTES} B its watch");
        self.line("kernel memory, this side", format!("{} ({of_kernel})", mib(kernel)));
        let mut needed = user + kernel;
        if self.load.is_here() {
            let server = SERVER_BYTES.0 + if self.load.tls { SERVER_BYTES.1 } else { 0 };
            self.line("kernel memory, server side", mib(kernel));
            self.line(
                "memory of the server",
                format!("{} (Hawser: {server} B a connection)", mib(connections * server)),
            );
            needed += kernel + connections * server;
        }
        let have = self.machine.memory_bytes;
        self.line("memory available", format!("{} of {} needed", mib(have), mib(needed)));
        if have < needed {
            let each = (needed - fixed).div_ceil(connections.max(1));
            let fit = have.saturating_sub(fixed) / each.max(1);
            self.lacks(
                format!("memory: {} available, needed {}", mib(have), mib(needed)),
                format!("--connections {fit} would fit; or the server on another machine"),
            );
        }
        (user, kernel)
    }

    /// Limits of the kernel that are no memory.
    fn kernel_limits(&mut self) {
        let connections = u64::from(self.load.connections);
        let ends = if self.load.is_here() { 2 } else { 1 };
        if let Some((max, count)) = self.machine.tracking {
            let needed = connections + count;
            let what = format!(
                "connection tracking: net.netfilter.nf_conntrack_max is {max}, needed {needed}"
            );
            let command = format!(
                "sysctl -w net.netfilter.nf_conntrack_max={}; or do not track this traffic \
                 (nft: notrack)",
                needed.next_multiple_of(65_536)
            );
            match (max < needed, count) {
                (false, _) => {}
                // The table is there, and nothing is tracked: no rule asks for it.
                (true, 0) => self.advises(what + ", should anything be tracked", command),
                (true, _) => self.lacks(what, command),
            }
        }
        let backlog = self.machine.backlog;
        if self.load.is_here() && backlog < BACKLOG.min(connections) {
            self.advises(
                format!("backlog: net.core.somaxconn is {backlog}; storms want {BACKLOG}"),
                format!("sysctl -w net.core.somaxconn={BACKLOG}"),
            );
        }
        let pages = self.machine.tcp_pages_max;
        if pages < connections * ends {
            self.advises(
                format!(
                    "queued messages: net.ipv4.tcp_mem ends at {pages} pages; one short message \
                     waiting at each connection takes {} (a broadcast to slow readers)",
                    connections * ends
                ),
                format!(
                    "sysctl -w net.ipv4.tcp_mem=\"{} {} {}\"",
                    connections * ends / 2,
                    connections * ends * 3 / 4,
                    connections * ends
                ),
            );
        }
        if let Some(buckets) = self.machine.hash_buckets
            && connections * ends > buckets * HASH_CHAIN_MAX
        {
            self.advises(
                format!(
                    "look-up: {buckets} hash buckets for {} sockets, chains of {}",
                    connections * ends,
                    (connections * ends).div_ceil(buckets)
                ),
                format!(
                    "boot parameter thash_entries={}",
                    (connections * ends).next_power_of_two() / 2
                ),
            );
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut put = |name: &str, value: &str| {
            writeln!(text, "{name:<28}{value}").expect("writing to a string cannot fail");
        };
        for (name, value) in &self.lines {
            put(name, value);
        }
        let groups = [("missing", &self.missing), ("advised", &self.advice)];
        for (name, all) in groups {
            for one in all {
                put(name, &one.what);
                put("", &format!("-> {}", one.command));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests;
