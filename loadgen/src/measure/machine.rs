//! This machine: what a figure depends on beside the programs.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, SystemTime},
};

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

/// A wall time in UTC to the second, as in RFC 3339.
pub fn utc(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years are counted from March, so that a leap day is the last of its year; the era of
    // 400 years is the calendar's period of 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
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

    #[test]
    fn wall_time_is_written_in_utc() {
        let at = |seconds| utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_000_000), "2026-11-18T11:06:40Z");
    }
}
