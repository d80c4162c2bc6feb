//! This machine: what a figure depends on beside the programs.

use std::{collections::BTreeMap, fs};

use super::{first_line, kilobytes};

/// Settings that change what a run measures, by sysctl name.
const SETTINGS: [&str; 19] = [
    "fs.file-max",
    "fs.nr_open",
    "kernel.io_uring_disabled",
    "kernel.sched_autogroup_enabled",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
    "net.netfilter.nf_conntrack_max",
];

/// Kernel's release.
pub fn kernel() -> String {
    first_line("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// Model of the first processor; the architecture if the kernel names none.
pub fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = line.and_then(|rest| rest.split_once(':')).map(|(_, model)| model.trim());
    model.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// Cores this process may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

/// Frequency governor of the first core; `None` where the kernel does not set frequencies, as in
/// most virtual machines.
pub fn governor() -> Option<String> {
    first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
}

/// Memory of the machine, bytes.
pub fn memory_bytes() -> u64 {
    kilobytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:") * 1024
}

/// The settings that matter; those that cannot be read here are absent.
pub fn settings() -> BTreeMap<String, String> {
    let value = |name: &str| {
        let line = first_line(&format!("/proc/sys/{}", name.replace('.', "/")))?;
        Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    SETTINGS.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_is_described() {
        assert!(!kernel().is_empty() && !cpu_model().is_empty());
        assert!(cores() >= 1 && memory_bytes() > 1 << 20);
        let settings = settings();
        let ports = settings["net.ipv4.ip_local_port_range"].split(' ');
        assert_eq!(ports.filter(|port| port.parse::<u16>().is_ok()).count(), 2);
    }
}
