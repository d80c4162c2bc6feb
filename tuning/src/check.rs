//! What the machine has beside what the plan needs: one finding per setting.

use crate::plan::{Figure, Plan};
use crate::setting::{Rule, SETTINGS, Setting, Urgency};
use crate::system::{Machine, Root, Sources, Unseen, sysctl_path};

/// What came of looking at one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The load does not fit.
    Limit,
    /// Hurts under the load.
    Risk,
    /// Could be better; measure it.
    Advice,
    /// Could not be seen.
    Unseen,
    /// As it should be.
    Ok,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Name.
    pub id: String,
    /// Value now; empty if it could not be seen.
    pub current: String,
    /// What is needed, with its derivation.
    pub needed: String,
    /// Who set it.
    pub source: String,
    /// Counters since boot, and what they say.
    pub evidence: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Why it matters.
    pub explanation: String,
}

/// Looks at everything, the urgent first.
#[must_use]
pub fn check(root: &Root, machine: &Machine, sources: &Sources, plan: &Plan) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(descriptors(machine));
    for setting in SETTINGS {
        // Where nothing is tracked its settings do not exist, and none are needed.
        if setting.id.starts_with("net.netfilter.") && !machine.tracks {
            continue;
        }
        findings.push(look(setting, root, machine, sources, plan));
    }
    findings.extend(swap(root));
    findings.extend(huge_pages(root));
    findings.sort_by_key(|finding| finding.verdict);
    findings
}

fn look(
    setting: &Setting,
    root: &Root,
    machine: &Machine,
    sources: &Sources,
    plan: &Plan,
) -> Finding {
    let figure = plan.figure(setting.id);
    let finding = Finding {
        id: setting.id.to_owned(),
        current: String::new(),
        needed: needed(setting, figure),
        source: String::new(),
        evidence: evidence(setting, machine),
        verdict: Verdict::Unseen,
        explanation: explanation(setting, machine),
    };
    let current = match root.text(&sysctl_path(setting.id)) {
        Ok(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Err(unseen) => return Finding { source: unseen.text(), ..finding },
    };
    // Negative: the hash of a namespace is its parent's.
    let value = current.trim_start_matches('-');
    let verdict = match holds(setting.rule, value, figure) {
        None => Verdict::Unseen,
        Some(true) => Verdict::Ok,
        Some(false) => match setting.urgency {
            Urgency::Limit => Verdict::Limit,
            Urgency::Load => Verdict::Risk,
            Urgency::Advice => Verdict::Advice,
        },
    };
    let source = match sources.boot("thash_entries") {
        Some(entries) if setting.id == "net.ipv4.tcp_ehash_entries" => {
            format!("kernel command line, thash_entries={entries}")
        }
        _ => sources.text(setting.id, &current),
    };
    Finding { current, source, verdict, ..finding }
}

/// Whether the value is as it should be; `None` if it is not understood.
fn holds(rule: Rule, current: &str, figure: Option<&Figure>) -> Option<bool> {
    let numbers: Option<Vec<u64>> =
        current.split_whitespace().map(|word| word.parse().ok()).collect();
    let number = || numbers.as_ref()?.first().copied();
    let third = || numbers.as_ref()?.get(2).copied();
    Some(match rule {
        Rule::Planned => number()? >= *figure?.value.first()?,
        Rule::AtLeast(least) => number()? >= least,
        Rule::AtMost(most) => number()? <= most,
        Rule::PlannedThird => third()? >= *figure?.value.get(2)?,
        Rule::PlannedThirdAtMost => third()? <= *figure?.value.get(2)?,
        Rule::OneOf(words) => words.contains(&current),
    })
}

fn needed(setting: &Setting, figure: Option<&Figure>) -> String {
    let figure = || {
        figure.map_or_else(String::new, |figure| {
            let values: Vec<String> = figure.value.iter().map(u64::to_string).collect();
            format!("{}: {}", values.join(" "), figure.derivation)
        })
    };
    match setting.rule {
        Rule::Planned | Rule::PlannedThird => figure(),
        Rule::PlannedThirdAtMost => format!("at most {}", figure()),
        Rule::AtLeast(least) => format!("at least {least}"),
        Rule::AtMost(most) => format!("at most {most}"),
        Rule::OneOf(words) => words.join(" or "),
    }
}

fn evidence(setting: &Setting, machine: &Machine) -> String {
    let parts: Vec<String> = setting
        .evidence
        .iter()
        .map(|name| match machine.counters.get(*name) {
            Some(value) => format!("{name} {value}"),
            None => format!("{name} not seen"),
        })
        .collect();
    if parts.is_empty() {
        return "no counter tells".to_owned();
    }
    format!("{} (up {:.0} h)", parts.join(", "), machine.uptime_s / 3600.0)
}

fn explanation(setting: &Setting, machine: &Machine) -> String {
    if machine.in_container && !setting.per_namespace {
        format!("{}; the host's, a container cannot set it", setting.why)
    } else {
        setting.why.to_owned()
    }
}

fn descriptors(machine: &Machine) -> Option<Finding> {
    let finding = |current: String, source: String, verdict| Finding {
        id: "RLIMIT_NOFILE".to_owned(),
        current,
        needed: format!(
            "any: hawser-gateway keeps connections in as many tables of this size as it needs; other \
             servers need {DESCRIPTORS_WISHED} or more, one for each connection"
        ),
        source,
        evidence: "no counter tells".to_owned(),
        verdict,
        explanation:
            "descriptors of one process; also the size of one of io_uring's tables, below \
                      which small ones need many rings"
                .to_owned(),
    };
    Some(match &machine.descriptors {
        Ok((soft, hard)) => {
            let text = |limit: &u64| match *limit {
                u64::MAX => "unlimited".to_owned(),
                limit => limit.to_string(),
            };
            let verdict = if *soft < DESCRIPTORS_LEAST { Verdict::Risk } else { Verdict::Ok };
            let current = format!("{} (hard {})", text(soft), text(hard));
            finding(current, "ulimit, systemd's LimitNOFILE= or limits.conf".to_owned(), verdict)
        }
        Err(unseen) => finding(String::new(), unseen.text(), Verdict::Unseen),
    })
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
        evidence: "no counter tells".to_owned(),
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
        evidence: "no counter tells".to_owned(),
        verdict: if current == "always" { Verdict::Advice } else { Verdict::Ok },
        explanation: "memory of millions of small objects is touched sparsely and grows by whole \
                      huge pages; hawser-gateway turns them off for itself"
            .to_owned(),
        id: "transparent huge pages".to_owned(),
        current,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{load::Load, memory::KernelCost, plan};
    use std::fs;

    struct Made {
        directory: tempfile::TempDir,
    }

    impl Made {
        /// A root on which everything is as a million connections need it.
        fn well() -> Self {
            let made = Self { directory: tempfile::tempdir().unwrap() };
            made.put("proc/meminfo", "MemTotal: 64000000 kB\n");
            made.put("proc/self/limits", "Max open files   20000    20000    files\n");
            made.put("proc/swaps", "Filename Type Size\n");
            made.put("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
            made.put("proc/net/netstat", "TcpExt: ListenOverflows\nTcpExt: 0\n");
            made.sysctl("net.netfilter.nf_conntrack_max", "1");
            let plan = made.plan();
            for setting in SETTINGS {
                let planned = || {
                    let values = &plan.figure(setting.id).unwrap().value;
                    values.iter().map(u64::to_string).collect::<Vec<_>>().join("\t")
                };
                let value = match setting.rule {
                    Rule::Planned | Rule::PlannedThird | Rule::PlannedThirdAtMost => planned(),
                    Rule::AtLeast(number) | Rule::AtMost(number) => number.to_string(),
                    Rule::OneOf(words) => words[0].to_owned(),
                };
                made.sysctl(setting.id, &value);
            }
            made
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn sysctl(&self, name: &str, value: &str) {
            self.put(&sysctl_path(name), value);
        }

        fn root(&self) -> Root {
            Root::new(self.directory.path())
        }

        fn plan(&self) -> Plan {
            let machine = Machine::read(&self.root(), 4096);
            let ground = plan::Ground {
                memory: machine.memory.unwrap(),
                cores: machine.cores,
                tracks: machine.tracks,
                cost: KernelCost::kept(4096),
            };
            plan::plan(&Load::of(1_000_000), &ground).unwrap()
        }

        fn findings(&self) -> Vec<Finding> {
            let root = self.root();
            let machine = Machine::read(&root, 4096);
            check(&root, &machine, &Sources::read(&root), &self.plan())
        }
    }

    #[test]
    fn a_machine_that_has_what_it_needs_has_no_finding_but_ok() {
        for finding in Made::well().findings() {
            assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
        }
    }

    #[test]
    fn each_setting_that_is_wrong_is_the_one_found() {
        for setting in SETTINGS {
            let made = Made::well();
            let wrong = match setting.rule {
                Rule::Planned => "1",
                Rule::AtLeast(_) => "0",
                Rule::AtMost(_) | Rule::OneOf(_) => "99999",
                Rule::PlannedThird => "1 2 3",
                Rule::PlannedThirdAtMost => "4096 131072 16777216",
            };
            made.sysctl(setting.id, wrong);
            let findings = made.findings();
            let found: Vec<_> =
                findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
            assert_eq!(found.len(), 1, "{}: {found:?}", setting.id);
            assert_eq!(found[0].id, setting.id);
            assert!(!found[0].needed.is_empty() && !found[0].explanation.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_seen_is_said_and_not_passed_over() {
        let made = Made::well();
        let path = made.directory.path().join(sysctl_path("net.core.somaxconn"));
        fs::remove_file(path).unwrap();
        let findings = made.findings();
        let finding = findings.iter().find(|f| f.id == "net.core.somaxconn").unwrap();
        assert_eq!(finding.verdict, Verdict::Unseen);
        assert!(finding.source.contains("not there"), "{}", finding.source);
        made.sysctl("net.core.somaxconn", "many");
        let findings = made.findings();
        let finding = findings.iter().find(|f| f.id == "net.core.somaxconn").unwrap();
        assert_eq!((finding.verdict, finding.current.as_str()), (Verdict::Unseen, "many"));
    }

    #[test]
    fn swap_huge_pages_and_few_descriptors_are_found() {
        let made = Made::well();
        made.put("proc/swaps", "Filename Type\n/dev/sda2 partition 1\n");
        made.put("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
        made.put("proc/self/limits", "Max open files   1024    1024    files\n");
        let findings = made.findings();
        let verdict = |id: &str| findings.iter().find(|f| f.id == id).unwrap().verdict;
        assert_eq!(verdict("swap"), Verdict::Advice);
        assert_eq!(verdict("transparent huge pages"), Verdict::Advice);
        assert_eq!(verdict("RLIMIT_NOFILE"), Verdict::Risk);
        assert_eq!(findings[0].id, "RLIMIT_NOFILE", "the urgent stands first");
    }

    #[test]
    fn a_container_is_told_what_only_its_host_can_set() {
        let made = Made::well();
        made.put(".dockerenv", "");
        let findings = made.findings();
        let explanation =
            |id: &str| findings.iter().find(|f| f.id == id).unwrap().explanation.clone();
        assert!(explanation("fs.file-max").contains("a container cannot set it"));
        assert!(!explanation("net.core.somaxconn").contains("a container"));
    }
}
