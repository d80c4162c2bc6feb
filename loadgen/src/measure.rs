//! What the kernel says about the server's process and about this machine.

use std::{fs, io};

/// `utime` and `stime` of `/proc/PID/stat` are in hundredths of a second on every Linux
/// architecture (`USER_HZ`), whatever the kernel's own tick is.
const TICK_US: u64 = 10_000;

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// User and system time so far, microseconds; resolution 10 ms.
    pub cpu_us: u64,
    /// Memory of its own: anonymous pages resident and swapped, bytes.
    pub memory_bytes: u64,
}

/// Looks at process `pid`.
///
/// # Errors
/// It is gone, or not ours to look at.
pub fn sample(pid: u32) -> io::Result<Sample> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let cpu_us = cpu_us(&stat).ok_or_else(|| io::Error::other("unknown form of /proc/PID/stat"))?;
    let memory = kilobytes(&status, "RssAnon:") + kilobytes(&status, "VmSwap:");
    Ok(Sample { cpu_us, memory_bytes: memory * 1024 })
}

/// The command's name, in parentheses, may hold spaces and parentheses itself.
fn cpu_us(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    // After the name: state is field 3 of proc(5), utime and stime are 14 and 15.
    let mut times = fields.split(' ').skip(11).map(str::parse::<u64>);
    Some((times.next()?.ok()? + times.next()?.ok()?) * TICK_US)
}

/// Value of a line `name   123 kB`, 0 if there is none.
pub fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Kernel's release.
pub fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_can_be_sampled() {
        let sample = sample(std::process::id()).unwrap();
        assert!(sample.memory_bytes > 0);
    }

    #[test]
    fn times_are_found_behind_an_odd_name() {
        let stat = "7 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 200 30 0 0 20";
        assert_eq!(cpu_us(stat), Some(2_300_000));
        assert_eq!(cpu_us("7 (x) S 1"), None);
    }

    #[test]
    fn value_of_a_status_line_is_read() {
        assert_eq!(kilobytes("VmRSS:\t  10 kB\nRssAnon:\t   512 kB\n", "RssAnon:"), 512);
        assert_eq!(kilobytes("", "RssAnon:"), 0);
    }
}
