//! Spreading the work of a network card over the processors: which files of `/sys` and `/proc/irq` get
//! which masks. Pure: it says what to write.
//!
//! What somebody has set already is left as it is.

use crate::apply::Change;
use crate::system::{Machine, Root};

/// Changes for one device; none if it has no queues here.
#[must_use]
pub fn changes(root: &Root, machine: &Machine, device: &str) -> Vec<Change> {
    let base = format!("sys/class/net/{device}/queues");
    let names = root.names(&base);
    let of = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).collect::<Vec<_>>();
    let (receive, send) = (of("rx-"), of("tx-"));
    let all: Vec<u64> = (0..machine.cores).collect();
    let mut changes = Vec::new();
    // With a queue for each processor there is nothing to spread.
    if (receive.len() as u64) < machine.cores {
        for queue in &receive {
            take(root, &mut changes, format!("{base}/{queue}/rps_cpus"), &all);
        }
    }
    // The kernel has no such choice where there is one queue.
    if send.len() > 1 {
        for (at, queue) in send.iter().enumerate() {
            let one = [at as u64 % machine.cores];
            take(root, &mut changes, format!("{base}/{queue}/xps_cpus"), &one);
        }
    }
    for (at, number) in interrupts(root, device).into_iter().enumerate() {
        let path = format!("proc/irq/{number}/smp_affinity");
        let Ok(current) = root.text(&path) else { continue };
        // The default is all of them; anything else was chosen.
        if same(&current, &mask(&all)) && machine.cores > 1 {
            let to = mask(&[at as u64 % machine.cores]);
            changes.push(Change { id: path, from: current, to });
        }
    }
    changes
}

fn take(root: &Root, changes: &mut Vec<Change>, path: String, processors: &[u64]) {
    if let Ok(current) = root.text(&path)
        && same(&current, "0")
    {
        changes.push(Change { id: path, from: current, to: mask(processors) });
    }
}

/// Interrupts of a device: named after it, or after the virtio device that it stands on.
fn interrupts(root: &Root, device: &str) -> Vec<u64> {
    let below = std::fs::read_link(root.path(&format!("sys/class/net/{device}/device"))).ok();
    let below = below.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let text = root.text("proc/interrupts").unwrap_or_default();
    let named = |line: &&str| {
        line.split_whitespace().any(|word| {
            [Some(device), below.as_deref()].into_iter().flatten().any(|name| {
                word.strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':']))
            })
        })
    };
    let number = |line: &str| line.trim().split(':').next()?.parse().ok();
    text.lines().filter(named).filter_map(number).collect()
}

/// Bits of processors as the kernel writes them: groups of 32, the highest first.
#[must_use]
pub fn mask(processors: &[u64]) -> String {
    let groups = processors.iter().max().map_or(1, |most| most / 32 + 1);
    let mut words = vec![0_u32; groups as usize];
    for processor in processors {
        words[(processor / 32) as usize] |= 1 << (processor % 32);
    }
    words.reverse();
    let mut text = format!("{:x}", words[0]);
    for word in &words[1..] {
        text.push_str(&format!(",{word:08x}"));
    }
    text
}

/// The same mask, however many zeros stand before it.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    let plain = |text: &str| {
        let digits: String = text.trim().chars().filter(|letter| *letter != ',').collect();
        digits.trim_start_matches('0').to_ascii_lowercase()
    };
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

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

    const CORES: (&str, &str) = ("proc/cpuinfo", "processor : 0\nprocessor : 1\n");

    fn found(root: &Root, device: &str) -> Vec<(String, String)> {
        let changes = changes(root, &Machine::read(root, 4096), device);
        changes.into_iter().map(|change| (change.id, change.to)).collect()
    }

    #[test]
    fn one_receive_queue_is_spread_and_send_queues_get_a_processor_each() {
        let (_directory, root) = root(&[
            CORES,
            ("sys/class/net/eth0/queues/rx-0/rps_cpus", "0\n"),
            ("sys/class/net/eth0/queues/tx-0/xps_cpus", "0\n"),
            ("sys/class/net/eth0/queues/tx-1/xps_cpus", "0\n"),
        ]);
        let base = "sys/class/net/eth0/queues";
        let expected = [("rx-0/rps_cpus", "3"), ("tx-0/xps_cpus", "1"), ("tx-1/xps_cpus", "2")]
            .map(|(path, to)| (format!("{base}/{path}"), to.to_owned()));
        assert_eq!(found(&root, "eth0"), expected);
        assert_eq!(found(&root, "eth1"), []);
    }

    #[test]
    fn what_was_set_already_and_what_needs_no_spreading_is_left() {
        let (_directory, root) = root(&[
            CORES,
            ("sys/class/net/eth0/queues/rx-0/rps_cpus", "2\n"),
            ("sys/class/net/eth0/queues/tx-0/xps_cpus", "0\n"),
            ("sys/class/net/eth1/queues/rx-0/rps_cpus", "0\n"),
            ("sys/class/net/eth1/queues/rx-1/rps_cpus", "0\n"),
        ]);
        assert_eq!(found(&root, "eth0"), []);
        assert_eq!(found(&root, "eth1"), []);
    }

    #[test]
    fn interrupts_of_the_device_get_a_processor_each_unless_somebody_has_chosen() {
        let lines = "           CPU0 CPU1\n 24: 1 1 MSI eth0-rx-0\n 25: 1 1 MSI eth0-tx-0\n \
                     26: 1 1 MSI eth01-rx-0\n 27: 1 1 MSI virtio1-input.0\nNMI: 0 0\n";
        let (directory, root) = root(&[
            CORES,
            ("proc/interrupts", lines),
            ("proc/irq/24/smp_affinity", "3\n"),
            ("proc/irq/25/smp_affinity", "1\n"),
            ("proc/irq/26/smp_affinity", "3\n"),
            ("proc/irq/27/smp_affinity", "3\n"),
        ]);
        let one = ("proc/irq/24/smp_affinity".to_owned(), "1".to_owned());
        assert_eq!(found(&root, "eth0"), [one]);
        fs::create_dir_all(directory.path().join("sys/class/net/eth9")).unwrap();
        let link = directory.path().join("sys/class/net/eth9/device");
        std::os::unix::fs::symlink("../../../virtio1", link).unwrap();
        let one = ("proc/irq/27/smp_affinity".to_owned(), "1".to_owned());
        assert_eq!(found(&root, "eth9"), [one]);
    }

    #[test]
    fn masks_are_written_and_compared_as_the_kernel_does() {
        assert_eq!(mask(&[0, 1]), "3");
        assert_eq!(mask(&[33]), "2,00000000");
        assert!(same("00000000,00000003", "3") && same("0", "00") && !same("1", "2"));
    }
}
