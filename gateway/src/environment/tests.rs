use super::*;
use crate::config::{self, Invocation};

fn config(arguments: &[&str]) -> Config {
    let arguments = ["hawser-gateway"].iter().chain(arguments).map(Into::into);
    let machine = Machine { cores: 2, descriptors_max: 20_000 };
    let read: config::ReadFile<'_> = &|_| unreachable!("no file is named");
    match config::load(arguments, [], machine, read).unwrap() {
        Invocation::Run(config) => *config,
        other => panic!("{other:?}"),
    }
}

/// A made-up root with these files.
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     \n\
Max data size             unlimited            unlimited            bytes     \n\
Max open files            1024                 20000                files     \n\
Max address space         unlimited            unlimited            bytes     \n";

const GOOD: &[(&str, &str)] = &[
    ("proc/self/limits", LIMITS),
    ("proc/meminfo", "MemTotal:       24684096 kB\nMemAvailable:   23681724 kB\n"),
    ("sys/fs/cgroup/memory.max", "max\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
    ("proc/sys/fs/file-max", "9223372036854775807\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/sys/kernel/osrelease", "6.18.44-fc-v595\n"),
];

/// Findings on the good root with one file written otherwise.
fn findings(arguments: &[&str], path: &str, text: &str) -> Findings {
    let changed = root(GOOD);
    let path = changed.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    judge(&config(arguments), &Environment::read(changed.path()))
}

#[track_caller]
fn assert_one(found: &[String], parts: &[&str]) {
    assert_eq!(found.len(), 1, "{found:?}");
    for part in parts {
        assert!(found[0].contains(part), "{part} is not in: {}", found[0]);
    }
}

#[test]
fn a_good_machine_has_nothing_against_it() {
    let found = judge(&config(&[]), &Environment::read(root(GOOD).path()));
    assert_eq!(found, Findings { descriptors_needed: 20_000, ..Findings::default() });
}

#[test]
fn a_descriptor_limit_too_low_refuses_and_names_both_numbers() {
    let limits = LIMITS.replace("20000", "4096 ");
    let found = findings(&[], "proc/self/limits", &limits);
    assert_one(&found.errors, &["RLIMIT_NOFILE", "4096", "20000"]);
}

#[test]
fn too_little_memory_for_the_connections_asked_for_refuses() {
    let million = ["--max-connections", "1000000"];
    let found = findings(&million, "proc/meminfo", "MemAvailable:    2048000 kB\n");
    assert_one(&found.errors, &["MemAvailable", "2000 MiB", "1000000", "limits.max_connections"]);
    assert!(findings(&[], "proc/meminfo", "MemAvailable:    2048000 kB\n").errors.is_empty());

    let found = findings(&million, "sys/fs/cgroup/memory.max", "1073741824\n");
    assert_one(&found.errors, &["control group", "1024 MiB"]);

    let limits = LIMITS
        .replace("Max address space         unlimited", "Max address space         104857600");
    let found = findings(&million, "proc/self/limits", &limits);
    assert_one(&found.errors, &["RLIMIT_AS", "100 MiB"]);
}

#[test]
fn forbidden_io_uring_and_an_old_kernel_refuse_by_name() {
    let path = "proc/sys/kernel/io_uring_disabled";
    assert_one(&findings(&[], path, "2\n").errors, &["kernel.io_uring_disabled is 2"]);
    assert_one(&findings(&[], path, "1\n").warnings, &["kernel.io_uring_disabled is 1"]);
    let path = "proc/sys/kernel/osrelease";
    assert_one(&findings(&[], path, "5.15.0-91-generic\n").errors, &["5.15", "6.12"]);
    assert_one(&findings(&[], path, "6.14.0\n").warnings, &["6.14", "6.18"]);
}

#[test]
fn what_only_slows_is_a_warning() {
    let found = findings(&[], "proc/sys/net/core/somaxconn", "128\n");
    assert_one(&found.warnings, &["net.core.somaxconn is 128", "4096"]);
    let found = findings(&[], "proc/sys/net/ipv4/ip_local_port_range", "7950 60999\n");
    assert_one(&found.warnings, &["7980", "7950 to 60999"]);
    let found = findings(&[], "proc/sys/net/netfilter/nf_conntrack_max", "1000\n");
    assert_one(&found.warnings, &["nf_conntrack_max is 1000"]);
    let found = findings(&[], "proc/sys/fs/file-max", "50000\n");
    assert_one(&found.warnings, &["fs.file-max is 50000"]);
    assert!(found.errors.is_empty());
}

#[test]
fn an_empty_or_garbled_root_refuses_nothing() {
    let found = judge(&config(&[]), &Environment::read(root(&[]).path()));
    assert_eq!((found.errors.len(), found.warnings.len()), (0, 1), "{found:?}");
    for (path, _) in GOOD {
        let found = findings(&[], path, "\u{1}garbage -7\n\n");
        assert!(found.errors.is_empty(), "{path}: {found:?}");
    }
}

#[test]
fn a_lower_hard_limit_makes_smaller_tables() {
    let limits = LIMITS.replace("20000", "4096 ");
    let facts = Environment::read(root(&[("proc/self/limits", &limits)]).path());
    assert_eq!(facts.descriptors_soft, Some(Limit::At(1024)));
    assert_eq!(facts.machine(2), Machine { cores: 2, descriptors_max: 4096 });
}

#[test]
fn what_the_tuning_tool_calls_a_risk_for_the_configured_number_is_told_once_each() {
    let dir = root(GOOD);
    for (path, text) in [
        ("proc/sys/net/core/somaxconn", "128\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
        ("proc/sys/net/ipv4/tcp_syncookies", "0\n"),
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let of = |arguments: &[&str]| {
        let config = config(arguments);
        let findings = judge(&config, &Environment::read(dir.path()));
        assert!(findings.errors.is_empty(), "{findings:?}");
        risks(&config, dir.path(), &findings)
    };
    let ids = |risks: &[Risk]| risks.iter().map(|risk| risk.id.clone()).collect::<Vec<_>>();
    // The queue is named by the judgement itself.
    assert_eq!(ids(&of(&["--max-connections", "40000"])), ["net.ipv4.tcp_syncookies"]);
    let many = of(&["--max-connections", "200000"]);
    assert_eq!(ids(&many), ["net.netfilter.nf_conntrack_max", "net.ipv4.tcp_syncookies"]);
    assert!(many[0].is_limit && !many[1].is_limit);
    assert!(many[0].text.contains("is 262144, needed: 400000"), "{}", many[0].text);
}

#[test]
fn a_garbled_root_has_no_risks_and_does_not_fail() {
    let dir = root(&[("proc/meminfo", "\u{1}garbage\n"), ("proc/self/limits", "-7\n")]);
    assert_eq!(risks(&config(&[]), dir.path(), &Findings::default()), []);
}

#[test]
fn heartbeats_that_the_tuning_tool_recommends_are_a_configuration_the_gateway_takes() {
    use hawser_tune::heartbeat::{
        recommend::{Wishes, configuration, report},
        simulate::Settings,
    };
    let reports = report(Settings { clients: 5, days: 1.0, seed: 1 }, Wishes::default());
    let text = configuration(&reports);
    let read: config::ReadFile<'_> = &|_| Ok(text.clone());
    let machine = Machine { cores: 2, descriptors_max: 20_000 };
    let arguments = ["hawser-gateway", "--config", "heartbeat.toml"].map(Into::into);
    let Ok(Invocation::Run(config)) = config::load(arguments, [], machine, read) else {
        panic!("refused: {text}");
    };
    let heartbeat = &config.heartbeat;
    let taken = [
        ("mobile", heartbeat.mobile_s),
        ("web", heartbeat.web_s),
        ("desktop", heartbeat.desktop_s),
        ("bot", heartbeat.bot_s),
    ];
    for report in &reports {
        let (_, seconds) = taken.iter().find(|(class, _)| *class == report.class).unwrap();
        assert_eq!(u64::from(*seconds), report.recommended_s, "{}", report.class);
    }
}
