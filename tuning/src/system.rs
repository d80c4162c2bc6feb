//! What the machine says of itself, read below a root directory: `/`, or a made-up one in tests.
//!
//! Whatever cannot be read is kept as such with the reason, so that a check can say what it did not
//! see instead of passing it over.

mod sources;

pub use sources::{Setter, Sources};

use std::collections::BTreeMap;
use std::{fs, io, path::PathBuf};

/// Longest file that is read: those of /proc that matter are far shorter.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A root directory.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

/// Why something could not be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// There is no such file: the kernel has no such setting, or a container hides it.
    Absent,
    /// It may not be read.
    Forbidden,
    /// It says something that is not understood.
    Strange(String),
}

impl Unseen {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Absent => "not there (module not loaded, older kernel, or hidden)".to_owned(),
            Self::Forbidden => "may not be read by this user".to_owned(),
            Self::Strange(text) => format!("not understood: `{text}`"),
        }
    }
}

impl Root {
    /// The root at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where a file of the machine stands.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Text of a file, trimmed.
    ///
    /// # Errors
    /// [`Unseen`].
    pub fn text(&self, path: &str) -> Result<String, Unseen> {
        use io::Read as _;
        let file = fs::File::open(self.path(path)).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Unseen::Forbidden,
            _ => Unseen::Absent,
        })?;
        let mut text = Vec::new();
        let read = file.take(FILE_BYTES_MAX).read_to_end(&mut text);
        read.map_err(|_| Unseen::Forbidden)?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// A file with one number.
    ///
    /// # Errors
    /// [`Unseen`].
    pub fn number(&self, path: &str) -> Result<u64, Unseen> {
        let text = self.text(path)?;
        text.parse().map_err(|_| Unseen::Strange(text))
    }

    /// Names in a directory, sorted; none if it is not there.
    #[must_use]
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten();
        let mut names: Vec<_> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

/// Path of a kernel setting below the root.
#[must_use]
pub fn sysctl_path(name: &str) -> String {
    format!("proc/sys/{}", name.replace('.', "/"))
}

/// Path of what a change is about: a kernel setting by its name, or a file by its path.
#[must_use]
pub fn setting_path(id: &str) -> String {
    if id.starts_with("sys/") || id.starts_with("proc/") { id.to_owned() } else { sysctl_path(id) }
}

/// What was read once, for a plan and a check.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Memory of the machine, or of its control group if that is less, bytes.
    pub memory: Result<u64, Unseen>,
    /// The limit of the control group, if it is what binds.
    pub memory_limited: bool,
    /// Bytes of a page.
    pub page: u64,
    /// Processors that may be used.
    pub cores: u64,
    /// `kernel.osrelease`.
    pub kernel: String,
    /// Soft and hard `RLIMIT_NOFILE` of this process.
    pub descriptors: Result<(u64, u64), Unseen>,
    /// Connections are tracked here.
    pub tracks: bool,
    /// Text of `/proc/slabinfo`, which only root may read.
    pub slabs: Result<String, Unseen>,
    /// Runs in a container, as far as can be told.
    pub in_container: bool,
    /// Counters of /proc/net, by name.
    pub counters: BTreeMap<String, u64>,
    /// Time since boot, seconds.
    pub uptime_s: f64,
}

impl Machine {
    /// Reads the machine below `root`; `page` is its page size in bytes.
    #[must_use]
    pub fn read(root: &Root, page: u64) -> Self {
        let total = meminfo(root, "MemTotal:");
        let limit = cgroup_memory(root);
        let (memory, memory_limited) = match (total, limit) {
            (Ok(total), Some(limit)) if limit < total => (Ok(limit), true),
            (Err(_), Some(limit)) => (Ok(limit), true),
            (total, _) => (total, false),
        };
        Self {
            memory,
            memory_limited,
            page,
            cores: cores(root),
            kernel: root.text("proc/sys/kernel/osrelease").unwrap_or_default(),
            descriptors: descriptors(root),
            tracks: root.text("proc/sys/net/netfilter/nf_conntrack_max").is_ok(),
            slabs: root.text("proc/slabinfo"),
            in_container: in_container(root),
            counters: counters(root),
            uptime_s: uptime(root),
        }
    }
}

fn meminfo(root: &Root, name: &str) -> Result<u64, Unseen> {
    let text = root.text("proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or(Unseen::Absent)?;
    let kilobytes: Option<u64> = line.split_whitespace().next().and_then(|word| word.parse().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024).ok_or(Unseen::Strange(line.to_owned()))
}

fn cgroup_memory(root: &Root) -> Option<u64> {
    let second = root.number("sys/fs/cgroup/memory.max").ok();
    let first = || root.number("sys/fs/cgroup/memory/memory.limit_in_bytes").ok();
    // Version 1 says "no limit" as the largest number of whole pages.
    second.or_else(first).filter(|limit| *limit < 1 << 60)
}

fn cores(root: &Root) -> u64 {
    let text = root.text("proc/cpuinfo").unwrap_or_default();
    (text.lines().filter(|line| line.starts_with("processor")).count() as u64).max(1)
}

fn descriptors(root: &Root) -> Result<(u64, u64), Unseen> {
    let text = root.text("proc/self/limits")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let line = line.ok_or(Unseen::Absent)?;
    let mut words = line.split_whitespace().map(|word| match word {
        "unlimited" => Some(u64::MAX),
        word => word.parse().ok(),
    });
    match (words.next().flatten(), words.next().flatten()) {
        (Some(soft), Some(hard)) => Ok((soft, hard)),
        _ => Err(Unseen::Strange(line.trim().to_owned())),
    }
}

fn in_container(root: &Root) -> bool {
    let has = |path: &str| root.text(path).is_ok();
    has(".dockerenv")
        || has("run/.containerenv")
        || root.text("proc/1/cgroup").is_ok_and(|text| {
            ["docker", "kubepods", "containerd", "lxc"].iter().any(|word| text.contains(word))
        })
}

/// `/proc/net/netstat` and `/proc/net/snmp` (two lines each, names and values), `sockstat` and the
/// drops of `softnet_stat`, as one table: `TcpExt.ListenOverflows`, `sockstat.TCP.mem`, …
fn counters(root: &Root) -> BTreeMap<String, u64> {
    let mut table = BTreeMap::new();
    for file in ["proc/net/netstat", "proc/net/snmp"] {
        let text = root.text(file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks_exact(2) {
            let (Some((group, names)), Some((_, values))) =
                (pair[0].split_once(": "), pair[1].split_once(": "))
            else {
                continue;
            };
            for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
                // Some are signed; those that matter are not.
                if let Ok(value) = value.parse() {
                    table.insert(format!("{group}.{name}"), value);
                }
            }
        }
    }
    let text = root.text("proc/net/sockstat").unwrap_or_default();
    for line in text.lines() {
        let Some((group, rest)) = line.split_once(": ") else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        for pair in words.chunks_exact(2) {
            if let Ok(value) = pair[1].parse() {
                table.insert(format!("sockstat.{group}.{}", pair[0]), value);
            }
        }
    }
    let text = root.text("proc/net/softnet_stat").unwrap_or_default();
    for (column, name) in [(1, "softnet.dropped"), (2, "softnet.time_squeeze")] {
        let values = text
            .lines()
            .filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok());
        if !text.is_empty() {
            table.insert(name.to_owned(), values.sum());
        }
    }
    if let Ok(count) = root.number("proc/sys/net/netfilter/nf_conntrack_count") {
        table.insert("conntrack.count".to_owned(), count);
    }
    table
}

fn uptime(root: &Root) -> f64 {
    let text = root.text("proc/uptime").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_and_what_is_not_there_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/meminfo", "MemTotal:       24000000 kB\nMemFree: 1 kB\n");
        put("sys/fs/cgroup/memory.max", "1073741824\n");
        put("proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\n");
        put("proc/self/limits", "Max open files            1024                 20000    files\n");
        put(
            "proc/net/netstat",
            "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 0 7\nIpExt: InOctets\nIpExt: 12\n",
        );
        put("proc/net/sockstat", "sockets: used 9\nTCP: inuse 5 orphan 1 mem 3\n");
        put("proc/net/softnet_stat", "00000010 00000002 00000003\n00000010 0000000a 00000001\n");
        let machine = Machine::read(&Root::new(directory.path()), 4096);
        assert_eq!(machine.memory, Ok(1 << 30));
        assert!(machine.memory_limited);
        assert_eq!(machine.cores, 2);
        assert_eq!(machine.descriptors, Ok((1024, 20_000)));
        assert_eq!(machine.counters["TcpExt.ListenOverflows"], 7);
        assert_eq!(machine.counters["sockstat.TCP.mem"], 3);
        assert_eq!(machine.counters["softnet.dropped"], 12);
        assert_eq!(machine.slabs, Err(Unseen::Absent));
        assert!(!machine.tracks);
    }
}
