//! What the kernel says it has given away, at one moment.

use crate::system::{Root, Unseen};
use std::collections::BTreeMap;

/// One cache of `/proc/slabinfo`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cache {
    /// Objects in use.
    pub objects: f64,
    /// What one takes of its slab's pages, bytes.
    pub object_bytes: f64,
}

/// One look.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Caches by name; why not, if they could not be read.
    pub caches: Result<BTreeMap<String, Cache>, Unseen>,
    /// `Slab` of `/proc/meminfo`, bytes.
    pub slab_bytes: Result<f64, Unseen>,
    /// `MemAvailable` of it, bytes.
    pub available_bytes: Result<f64, Unseen>,
    /// `TCP: mem` of `/proc/net/sockstat`, pages.
    pub tcp_pages: Result<f64, Unseen>,
    /// `TCP: alloc` of it: sockets of the whole machine, others' as well.
    pub tcp_sockets: Result<f64, Unseen>,
    /// Kernel memory charged to this process's control group, bytes.
    pub group_bytes: Result<f64, Unseen>,
}

impl Sample {
    /// Looks below `root`; `page` is the size of a page, bytes.
    #[must_use]
    pub fn read(root: &Root, page: u64) -> Self {
        Self {
            caches: root.text("proc/slabinfo").map(|text| caches(&text, page)),
            slab_bytes: kilobytes(root, "Slab:"),
            available_bytes: kilobytes(root, "MemAvailable:"),
            tcp_pages: tcp(root, "mem"),
            tcp_sockets: tcp(root, "alloc"),
            group_bytes: group_bytes(root),
        }
    }

    /// What could not be seen, with the reason and what is missing without it.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        let mut unseen = Vec::new();
        let mut note = |what: &str, reason: Option<&Unseen>, lost: &str| {
            if let Some(reason) = reason {
                unseen.push(format!("{what}: {}; {lost}", reason.text()));
            }
        };
        note(
            "/proc/slabinfo",
            self.caches.as_ref().err(),
            "the whole slab of /proc/meminfo is taken instead, in which all other work shows",
        );
        note("/proc/meminfo", self.slab_bytes.as_ref().err(), "nothing to compare with");
        note(
            "/proc/net/sockstat",
            self.tcp_pages.as_ref().err(),
            "pages of queued messages are not known",
        );
        note(
            "memory of the control group",
            self.group_bytes.as_ref().err(),
            "what a container is charged is not known",
        );
        unseen
    }
}

fn caches(text: &str, page: u64) -> BTreeMap<String, Cache> {
    let mut table = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with(['#'])) {
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let numbers: Vec<f64> = words.map_while(|word| word.parse().ok()).collect();
        let [objects, _, _, per_slab, slab_pages] = numbers[..] else { continue };
        if per_slab > 0.0 {
            let object_bytes = slab_pages * page as f64 / per_slab;
            table.insert(name.to_owned(), Cache { objects, object_bytes });
        }
    }
    table
}

fn kilobytes(root: &Root, name: &str) -> Result<f64, Unseen> {
    let text = root.text("proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or(Unseen::Absent)?;
    let number = line.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    number.map(|number| number * 1024.0).ok_or(Unseen::Strange(line.to_owned()))
}

fn tcp(root: &Root, name: &str) -> Result<f64, Unseen> {
    let text = root.text("proc/net/sockstat")?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).ok_or(Unseen::Absent)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let found = words.chunks_exact(2).find(|pair| pair[0] == name);
    let number = found.and_then(|pair| pair[1].parse().ok());
    number.ok_or_else(|| Unseen::Strange(line.to_owned()))
}

/// Version 2: `sock` and `slab` of `memory.stat` of the own group; version 1 keeps a count of all
/// kernel memory of the group.
fn group_bytes(root: &Root) -> Result<f64, Unseen> {
    let groups = root.text("proc/self/cgroup")?;
    let path_of = |controller: &str| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == controller).then(|| path.to_owned())
        })
    };
    let mut last = Unseen::Absent;
    if let Some(path) = path_of("") {
        match root.text(&format!("sys/fs/cgroup{path}/memory.stat")) {
            Ok(text) => return stat(&text).ok_or(Unseen::Absent),
            Err(unseen) => last = unseen,
        }
    }
    if let Some(path) = path_of("memory") {
        let own = format!("sys/fs/cgroup/memory{path}/memory.kmem.usage_in_bytes");
        // In a container the own group is mounted as the root.
        let mounted = "sys/fs/cgroup/memory/memory.kmem.usage_in_bytes";
        match root.number(&own).or_else(|_| root.number(mounted)) {
            Ok(bytes) => return Ok(bytes as f64),
            Err(unseen) => last = unseen,
        }
    }
    Err(last)
}

fn stat(text: &str) -> Option<f64> {
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<f64>().ok()
    };
    Some(of("slab")? + of("sock").unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SLABS: &str = "slabinfo - version: 2.1\n\
        # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n\
        TCP                 100    130   2368   13    8 : tunables    0    0    0 : slabdata 1 1 0\n\
        kmalloc-32          512    512     32  128    1 : tunables    0    0    0 : slabdata 4 4 0\n";

    fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = Root::new(directory.path());
        (directory, root)
    }

    #[test]
    fn everything_that_stands_there_is_read() {
        let (_directory, root) = root(&[
            ("proc/slabinfo", SLABS),
            ("proc/meminfo", "MemAvailable: 900 kB\nSlab:   2000 kB\n"),
            ("proc/net/sockstat", "sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 6 mem 33\n"),
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 5\nslab 4096\nslab_x 1\nsock 8192\n"),
        ]);
        let sample = Sample::read(&root, 4096);
        let caches = sample.caches.as_ref().unwrap();
        let tcp = Cache { objects: 100.0, object_bytes: 8.0 * 4096.0 / 13.0 };
        assert_eq!(caches["TCP"], tcp);
        assert_eq!(caches["kmalloc-32"].object_bytes, 32.0);
        assert_eq!(sample.slab_bytes, Ok(2_048_000.0));
        assert_eq!((sample.tcp_pages.clone(), sample.tcp_sockets.clone()), (Ok(33.0), Ok(6.0)));
        assert_eq!(sample.group_bytes, Ok(12_288.0));
        assert_eq!(sample.unseen(), Vec::<String>::new());
    }

    #[test]
    fn the_first_version_of_control_groups_is_read_also_where_the_own_one_is_the_root() {
        let groups = ("proc/self/cgroup", "4:cpu,memory:/docker/1\n0::/\n");
        let own = "sys/fs/cgroup/memory/docker/1/memory.kmem.usage_in_bytes";
        let (_one, first) = root(&[groups, (own, "77\n")]);
        assert_eq!(Sample::read(&first, 4096).group_bytes, Ok(77.0));
        let mounted = "sys/fs/cgroup/memory/memory.kmem.usage_in_bytes";
        let (_two, second) = root(&[groups, (mounted, "78\n")]);
        assert_eq!(Sample::read(&second, 4096).group_bytes, Ok(78.0));
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is_lost() {
        let (_directory, root) = root(&[("proc/meminfo", "Slab: 1 kB\nMemAvailable: 1 kB\n")]);
        let unseen = Sample::read(&root, 4096).unseen();
        assert_eq!(unseen.len(), 3, "{unseen:?}");
        assert!(unseen[0].starts_with("/proc/slabinfo: not there"), "{unseen:?}");
        assert!(unseen[1].starts_with("/proc/net/sockstat"), "{unseen:?}");
    }
}
