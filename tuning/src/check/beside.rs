//! What matters beside kernel settings: limits of the process, swap, pages, processors, the network
//! card, and what cannot be seen from where we stand.

use super::{Finding, Verdict};
use crate::system::{Machine, Root, Unseen};

const NO_COUNTER: &str = "no counter tells";

/// All of them that apply.
pub(super) fn findings(root: &Root, machine: &Machine) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    findings.push(descriptors(machine));
    findings.extend(locked(root));
    findings.extend(swap(root));
    findings.extend(huge_pages(root));
    findings.extend(governor(root));
    findings.extend(steering(root, machine));
    findings.extend(slabs(machine));
    findings.extend(host(root, machine));
    findings
}

fn descriptors(machine: &Machine) -> Finding {
    let finding = |current: String, source: String, verdict| Finding {
        id: "RLIMIT_NOFILE".to_owned(),
        current,
        needed: format!(
            "any: hawser-gateway keeps connections in as many tables of this size as it needs; other \
             servers need {DESCRIPTORS_WISHED} or more, one for each connection"
        ),
        source,
        evidence: NO_COUNTER.to_owned(),
        verdict,
        explanation:
            "descriptors of one process; also the size of one of io_uring's tables, below \
                      which small ones need many rings"
                .to_owned(),
    };
    match &machine.descriptors {
        Ok((soft, hard)) => {
            let text = |limit: &u64| match *limit {
                u64::MAX => "unlimited".to_owned(),
                limit => limit.to_string(),
            };
            // Servers of this kind raise the soft limit to the hard one themselves.
            let verdict = if *hard < DESCRIPTORS_LEAST { Verdict::Risk } else { Verdict::Ok };
            let current = format!("{} (hard {})", text(soft), text(hard));
            finding(current, "ulimit, systemd's LimitNOFILE= or limits.conf".to_owned(), verdict)
        }
        Err(unseen) => finding(String::new(), unseen.text(), Verdict::Unseen),
    }
}

/// Below this a table holds so little that rings outnumber what a turn can look at.
const DESCRIPTORS_LEAST: u64 = 4096;
/// What servers without direct descriptors are usually given.
const DESCRIPTORS_WISHED: u64 = 1_048_576;

fn swap(root: &Root) -> Option<Finding> {
    let text = match root.text("proc/swaps") {
        Ok(text) => text,
        Err(Unseen::Absent) => return None,
        Err(unseen) => unseen.text(),
    };
    let devices: Vec<&str> =
        text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let on = !devices.is_empty();
    Some(Finding {
        id: "swap".to_owned(),
        current: if on { devices.join(" ") } else { "off".to_owned() },
        needed: "off".to_owned(),
        source: "/etc/fstab or a swap unit".to_owned(),
        evidence: NO_COUNTER.to_owned(),
        verdict: if on { Verdict::Advice } else { Verdict::Ok },
        explanation:
            "state of quiet connections is swapped out first, and the storm that wakes them \
                      waits for the disk"
                .to_owned(),
    })
}

fn huge_pages(root: &Root) -> Option<Finding> {
    let text = root.text("sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let current = text.split('[').nth(1)?.split(']').next()?.to_owned();
    Some(Finding {
        needed: "madvise or never".to_owned(),
        source: "kernel default, boot parameter or a unit".to_owned(),
        evidence: NO_COUNTER.to_owned(),
        verdict: if current == "always" { Verdict::Advice } else { Verdict::Ok },
        explanation: "memory of millions of small objects is touched sparsely and grows by whole \
                      huge pages; hawser-gateway turns them off for itself"
            .to_owned(),
        id: "transparent huge pages".to_owned(),
        current,
    })
}

/// Locked memory that io_uring's registered buffers may take, bytes: what distributions give by
/// default; older ones 64 KiB.
const LOCKED_LEAST: u64 = 8 << 20;

fn locked(root: &Root) -> Option<Finding> {
    let text = root.text("proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    let soft = line.split_whitespace().next()?;
    // "unlimited" is no number.
    let low = soft.parse::<u64>().is_ok_and(|bytes| bytes < LOCKED_LEAST);
    Some(Finding {
        id: "RLIMIT_MEMLOCK".to_owned(),
        current: soft.to_owned(),
        needed: format!("{LOCKED_LEAST} bytes or more"),
        source: "ulimit, systemd's LimitMEMLOCK= or limits.conf".to_owned(),
        evidence: NO_COUNTER.to_owned(),
        verdict: if low { Verdict::Advice } else { Verdict::Ok },
        explanation: "io_uring's buffers are pinned; with too little a ring is refused (ENOMEM)"
            .to_owned(),
    })
}

fn governor(root: &Root) -> Option<Finding> {
    let current = root.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").ok()?;
    let slow = current != "performance";
    Some(Finding {
        id: "processor governor".to_owned(),
        needed: "performance".to_owned(),
        source: "kernel default, tuned, or a unit".to_owned(),
        evidence: NO_COUNTER.to_owned(),
        verdict: if slow { Verdict::Advice } else { Verdict::Ok },
        explanation:
            "processors that serve quiet connections are idle most of the time and wake slowly \
                      under any other governor; it costs power"
                .to_owned(),
        current,
    })
}

/// Cards with fewer receive queues than there are processors, and nothing that spreads them.
fn steering(root: &Root, machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    for device in root.names("sys/class/net") {
        let base = format!("sys/class/net/{device}");
        // Devices without hardware (loopback, bridges) have no such entry.
        if root.names(&format!("{base}/device")).is_empty() {
            continue;
        }
        let queues: Vec<String> = root
            .names(&format!("{base}/queues"))
            .into_iter()
            .filter(|name| name.starts_with("rx-"))
            .collect();
        let spread = |queue: &String| {
            let masks = root.text(&format!("{base}/queues/{queue}/rps_cpus"));
            masks.is_ok_and(|mask| {
                mask.chars().any(|letter| matches!(letter, '1'..='9' | 'a'..='f'))
            })
        };
        let bad = (queues.len() as u64) < machine.cores && !queues.iter().any(spread);
        findings.push(Finding {
            id: format!("receive queues of {device}"),
            current: format!("{} for {} processors", queues.len(), machine.cores),
            needed: "as many as processors, or receive packet steering (rps_cpus)".to_owned(),
            source: "the driver; `ethtool -L`, or `hawser-tune apply --network`".to_owned(),
            evidence: match machine.counters.get("softnet.time_squeeze") {
                Some(count) => format!("softnet.time_squeeze {count}"),
                None => "softnet.time_squeeze not seen".to_owned(),
            },
            verdict: if bad { Verdict::Advice } else { Verdict::Ok },
            explanation: "all packets are taken in by one processor, which is the first to be full"
                .to_owned(),
        });
    }
    findings
}

fn slabs(machine: &Machine) -> Option<Finding> {
    let unseen = machine.slabs.as_ref().err()?;
    Some(Finding {
        id: "/proc/slabinfo".to_owned(),
        current: String::new(),
        needed: "root, or figures of `hawser-tune calibrate` (--calibration)".to_owned(),
        source: unseen.text(),
        evidence: NO_COUNTER.to_owned(),
        verdict: Verdict::Unseen,
        explanation:
            "what a socket costs this kernel; figures of Linux 6.18 on x86-64 were used instead"
                .to_owned(),
    })
}

/// A container sees its own network name space only; whether the host tracks connections on their
/// way to it cannot be told from inside.
fn host(root: &Root, machine: &Machine) -> Option<Finding> {
    let shut_in =
        machine.in_container || root.text("proc/sys/net/core/netdev_max_backlog").is_err();
    if machine.tracks || !shut_in {
        return None;
    }
    Some(Finding {
        id: "connection tracking of the host".to_owned(),
        current: String::new(),
        needed: "run `hawser-tune check` on the host, too".to_owned(),
        source: "not visible from a container or network name space".to_owned(),
        evidence: NO_COUNTER.to_owned(),
        verdict: Verdict::Unseen,
        explanation: "bridges and NAT of containers track every connection in the host's table"
            .to_owned(),
    })
}
