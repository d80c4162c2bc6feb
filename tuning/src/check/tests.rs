use super::*;
use crate::{load::Load, memory::KernelCost, plan};
use std::fs;

const LIMITS: &str = "Max open files   20000    20000    files\n\
    Max locked memory   8388608   8388608   bytes\n";

struct Made {
    directory: tempfile::TempDir,
}

impl Made {
    /// A root on which everything is as a million connections need it.
    fn well() -> Self {
        let made = Self { directory: tempfile::tempdir().unwrap() };
        made.put("proc/meminfo", "MemTotal: 64000000 kB\n");
        made.put("proc/self/limits", LIMITS);
        made.put("proc/slabinfo", "slabinfo - version: 2.1\n");
        made.put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
        made.put("proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\n");
        made.put("sys/class/net/eth0/device/vendor", "0x1af4\n");
        made.put("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000003\n");
        made.put("sys/class/net/lo/queues/rx-0/rps_cpus", "0\n");
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
            Rule::AtMost(_) | Rule::OneOf(_) => "4294967295",
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
fn each_thing_beside_the_settings_that_is_wrong_is_the_one_found() {
    let faults = [
        ("proc/self/limits", LIMITS.replace("20000", "1024"), "RLIMIT_NOFILE", Verdict::Risk),
        ("proc/self/limits", LIMITS.replace("8388608", "65536"), "RLIMIT_MEMLOCK", Verdict::Advice),
        ("proc/swaps", "Filename\n/dev/sda2 partition 1\n".to_owned(), "swap", Verdict::Advice),
        (
            "sys/kernel/mm/transparent_hugepage/enabled",
            "[always] madvise never\n".to_owned(),
            "transparent huge pages",
            Verdict::Advice,
        ),
        (
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            "powersave\n".to_owned(),
            "processor governor",
            Verdict::Advice,
        ),
        (
            "sys/class/net/eth0/queues/rx-0/rps_cpus",
            "00000000\n".to_owned(),
            "receive queues of eth0",
            Verdict::Advice,
        ),
    ];
    for (path, text, id, verdict) in faults {
        let made = Made::well();
        made.put(path, &text);
        let findings = made.findings();
        let found: Vec<_> =
            findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
        assert_eq!(found.len(), 1, "{id}: {found:?}");
        assert_eq!((found[0].id.as_str(), found[0].verdict), (id, verdict));
        assert_eq!(findings[0].id, id, "the urgent stands first");
        assert!(!found[0].current.is_empty() && !found[0].needed.is_empty());
    }
}

#[test]
fn every_finding_there_can_be_is_shown_by_a_fault_of_these_tests() {
    let ids: Vec<String> = Made::well().findings().into_iter().map(|finding| finding.id).collect();
    let settings = SETTINGS.iter().map(|setting| setting.id.to_owned());
    let beside = [
        "RLIMIT_NOFILE",
        "RLIMIT_MEMLOCK",
        "swap",
        "transparent huge pages",
        "processor governor",
        "receive queues of eth0",
    ];
    let known: std::collections::BTreeSet<String> =
        settings.chain(beside.map(str::to_owned)).collect();
    assert_eq!(ids.into_iter().collect::<std::collections::BTreeSet<_>>(), known);
}

#[test]
fn what_only_root_or_the_host_can_see_is_said() {
    let made = Made::well();
    fs::remove_file(made.directory.path().join("proc/slabinfo")).unwrap();
    fs::remove_dir_all(made.directory.path().join("proc/sys/net/netfilter")).unwrap();
    made.put(".dockerenv", "");
    let findings = made.findings();
    let found: Vec<_> = findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
    let ids: Vec<_> = found.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!(ids, ["/proc/slabinfo", "connection tracking of the host"]);
    assert!(found.iter().all(|finding| finding.verdict == Verdict::Unseen));
}

#[test]
fn a_container_is_told_what_only_its_host_can_set() {
    let made = Made::well();
    made.put(".dockerenv", "");
    let findings = made.findings();
    let explanation = |id: &str| findings.iter().find(|f| f.id == id).unwrap().explanation.clone();
    assert!(explanation("fs.file-max").contains("a container cannot set it"));
    assert!(!explanation("net.core.somaxconn").contains("a container"));
}
