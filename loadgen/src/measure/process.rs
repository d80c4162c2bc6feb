//! CPU time and memory of a process.

use std::{fs, io};

use super::kilobytes;

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
    /// When it was started, ticks after boot: tells it from a later process of the same number.
    pub started: u64,
}

/// Looks at process `pid`.
///
/// # Errors
/// It is gone, or not ours to look at.
pub fn sample(pid: u32) -> io::Result<Sample> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let unknown = || io::Error::other("unknown form of /proc/PID/stat");
    let (state, cpu_us, started) = times(&stat).ok_or_else(unknown)?;
    if matches!(state, "Z" | "X") {
        return Err(io::Error::other("it has ended"));
    }
    let memory = kilobytes(&status, "RssAnon:") + kilobytes(&status, "VmSwap:");
    Ok(Sample { cpu_us, memory_bytes: memory * 1024, started })
}

/// The command's name, in parentheses, may hold spaces and parentheses itself.
fn times(stat: &str) -> Option<(&str, u64, u64)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // After the name: state is field 3 of proc(5), utime, stime and starttime are 14, 15 and 22.
    let number = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
    Some((fields.first()?, (number(14)? + number(15)?) * TICK_US, number(22)?))
}

/// Command line of a process, its words joined by spaces; empty if it is not ours to read.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_can_be_sampled() {
        let sample = sample(std::process::id()).unwrap();
        assert!(sample.memory_bytes > 0 && sample.started > 0);
        assert!(command_line(std::process::id()).contains("hawser"));
    }

    #[test]
    fn times_are_found_behind_an_odd_name() {
        let stat = "7 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 200 30 0 0 20 0 1 0 99 5";
        assert_eq!(times(stat), Some(("S", 2_300_000, 99)));
        assert_eq!(times("7 (x) S 1"), None);
    }
}
