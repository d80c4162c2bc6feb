//! What this machine says of itself.

use std::{
    fs,
    net::{IpAddr, UdpSocket},
    thread,
};

use crate::{measure::kilobytes, source::Given};

/// Source addresses tried at most: who names a wrong network is told at its first address.
const ADDRESSES_TRIED_MAX: u64 = 1024;

/// What the machine offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Hard `RLIMIT_NOFILE`: the process raises the soft one itself.
    pub descriptors: u64,
    /// `fs.file-max`.
    pub files_max: u64,
    /// Memory available, bytes.
    pub memory_bytes: u64,
    /// First and last local port of the kernel's choice.
    pub ports: (u64, u64),
    /// Processors.
    pub cores: u32,
    /// `net.core.somaxconn`.
    pub backlog: u64,
    /// Entries of the connection tracking table at most, and now; none: not loaded.
    pub tracking: Option<(u64, u64)>,
    /// Pages that TCP may queue in all: the last value of `net.ipv4.tcp_mem`.
    pub tcp_pages_max: u64,
    /// Buckets of the hash of connections, if the kernel tells (Linux 6.1).
    pub hash_buckets: Option<u64>,
    /// Source addresses among those given that cannot be used.
    pub unusable: Vec<IpAddr>,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The numbers of a setting.
fn numbers(name: &str) -> Vec<u64> {
    let text = read(&format!("/proc/sys/{name}"));
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn number(name: &str) -> Option<u64> {
    numbers(name).first().copied()
}

impl Machine {
    /// This machine, as far as it tells; what it does not tell counts as no limit.
    pub fn here(given: &Given) -> Self {
        let ports = numbers("net/ipv4/ip_local_port_range");
        let tracking = number("net/netfilter/nf_conntrack_max")
            .map(|max| (max, number("net/netfilter/nf_conntrack_count").unwrap_or(0)));
        // Of a network name space of its own the kernel gives the number negative.
        let buckets = read("/proc/sys/net/ipv4/tcp_ehash_entries");
        let buckets = buckets.trim().parse::<i64>().ok().map(i64::unsigned_abs);
        Self {
            descriptors: hard_limit(&read("/proc/self/limits")),
            files_max: number("fs/file-max").unwrap_or(u64::MAX),
            memory_bytes: kilobytes(&read("/proc/meminfo"), "MemAvailable:") * 1024,
            ports: match ports[..] {
                [first, last] => (first, last),
                _ => (32_768, 60_999),
            },
            cores: thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            backlog: number("net/core/somaxconn").unwrap_or(u64::MAX),
            tracking,
            tcp_pages_max: numbers("net/ipv4/tcp_mem").last().copied().unwrap_or(u64::MAX),
            hash_buckets: buckets.filter(|buckets| *buckets > 0),
            unusable: unusable(given),
        }
    }
}

/// Line of `/proc/self/limits`: name, soft, hard, unit.
fn hard_limit(limits: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|rest| rest.split_whitespace().nth(1));
    hard.and_then(|hard| hard.parse().ok()).unwrap_or(u64::MAX)
}

/// Which of the given addresses this machine cannot bind.
fn unusable(given: &Given) -> Vec<IpAddr> {
    let numbers = 0..given.count().min(ADDRESSES_TRIED_MAX);
    let addresses = numbers.filter_map(|number| given.get(number));
    addresses.filter(|address| UdpSocket::bind((*address, 0)).is_err()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_tells_what_a_plan_needs() {
        let given = "127.7.7.7,198.51.100.1".parse().unwrap();
        let machine = Machine::here(&given);
        assert!(machine.memory_bytes > 0 && machine.descriptors >= 64);
        assert!(machine.ports.0 < machine.ports.1 && machine.cores > 0);
        assert_eq!(machine.unusable, ["198.51.100.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn hard_limit_is_the_second_value() {
        let limits = "Limit  Soft  Hard  Units\nMax open files            1024       \
                      20000                files\n";
        assert_eq!(hard_limit(limits), 20_000);
        assert_eq!(hard_limit("Max open files 1024 unlimited files"), u64::MAX);
        assert_eq!(hard_limit(""), u64::MAX);
    }
}
