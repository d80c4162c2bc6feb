use super::*;

fn machine() -> Machine {
    Machine {
        descriptors: 20_000,
        files_max: 4_000_000,
        memory_bytes: 24 << 30,
        ports: (32_768, 60_999),
        cores: 2,
        backlog: 4096,
        tracking: None,
        tcp_pages_max: 4_000_000,
        hash_buckets: Some(524_288),
        unusable: Vec::new(),
    }
}

fn load(connections: u32) -> Load {
    Load {
        connections,
        target: "127.0.0.1:7900".parse().unwrap(),
        given: Given::default(),
        threads: None,
        tls: false,
    }
}

fn remote(connections: u32, given: &str) -> Load {
    let given = if given.is_empty() { Given::default() } else { given.parse().unwrap() };
    Load { target: "10.0.0.1:7900".parse().unwrap(), given, ..load(connections) }
}

/// What is missing and how to get it, as one text.
fn missing(load: &Load, machine: &Machine) -> String {
    let missing = plan(load, machine).missing;
    missing.iter().map(|one| format!("{} -> {}\n", one.what, one.command)).collect()
}

#[test]
fn million_fits_a_large_machine_with_the_usual_limits() {
    let plan = plan(&load(1_000_000), &machine());
    assert!(plan.missing.is_empty() && plan.advice.is_empty(), "{}", plan.text);
    for words in ["51 in 127.16.0.0/12", "52 of 19295", "2 on 2 cores", "19295 of 20000"] {
        assert!(plan.text.contains(words), "{words}: {}", plan.text);
    }
    assert!(plan.user_bytes < 600_000_000, "{}", plan.user_bytes);
    assert_eq!(plan.kernel_bytes, 1_000_000 * (SOCKET_BYTES + WATCH_BYTES));
}

#[test]
fn every_limit_that_is_too_low_is_named_with_both_values_and_a_command() {
    let good = machine();
    let rows: [(Machine, &str, &str); 6] = [
        (
            Machine { descriptors: 1024, ..good.clone() },
            "RLIMIT_NOFILE is 1024, needed 19295",
            "ulimit -n 19295",
        ),
        (
            Machine { files_max: 1_000_000, ..good.clone() },
            "fs.file-max is 1000000, needed 2020000",
            "sysctl -w fs.file-max=2020000",
        ),
        (
            Machine { memory_bytes: 4 << 30, ..good.clone() },
            "memory: 4096 MiB available, needed",
            "would fit",
        ),
        (
            Machine { ports: (1024, 65_535), ..good.clone() },
            "ip_local_port_range begins at 1024",
            "sysctl -w net.ipv4.ip_local_port_range=\"20000 65535\"",
        ),
        (
            Machine { tracking: Some((262_144, 10)), ..good.clone() },
            "nf_conntrack_max is 262144, needed 1000010",
            "sysctl -w net.netfilter.nf_conntrack_max=1048576",
        ),
        (
            Machine { unusable: vec!["10.0.0.5".parse().unwrap()], ..good.clone() },
            "1 are not this machine's, the first is 10.0.0.5",
            "ip address add 10.0.0.5 dev",
        ),
    ];
    for (machine, what, command) in rows {
        let missing = missing(&load(1_000_000), &machine);
        assert_eq!(missing.lines().count(), 1, "{missing}");
        assert!(missing.contains(what) && missing.contains(command), "{what}: {missing}");
    }
}

#[test]
fn connections_said_to_fit_do_fit() {
    let small = Machine { memory_bytes: 4 << 30, ..machine() };
    let told = missing(&load(1_000_000), &small);
    let fit = told.split("--connections ").nth(1).and_then(|rest| rest.split(' ').next());
    let fit: u32 = fit.and_then(|fit| fit.parse().ok()).unwrap();
    assert!((400_000..600_000).contains(&fit), "{fit}");
    assert_eq!(missing(&load(fit), &small), "");
    assert_ne!(missing(&load(fit + fit / 20), &small), "");
}

#[test]
fn settings_that_only_cost_are_advised_and_not_missing() {
    let slow = Machine {
        tracking: Some((262_144, 0)),
        backlog: 128,
        tcp_pages_max: 575_802,
        hash_buckets: Some(65_536),
        ..machine()
    };
    let plan = plan(&load(1_000_000), &slow);
    assert!(plan.missing.is_empty(), "{:?}", plan.missing);
    let advice: Vec<&str> = plan.advice.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(advice.len(), 4, "{advice:?}");
    assert!(advice[0].contains("should anything be tracked"), "{advice:?}");
    assert!(advice[2].contains("takes 2000000"), "{advice:?}");
    assert!(plan.advice[3].command.contains("thash_entries=1048576"), "{:?}", plan.advice[3]);
}

#[test]
fn remote_target_is_limited_by_ports_until_addresses_are_named() {
    assert_eq!(missing(&remote(28_232, ""), &machine()), "");
    let one = missing(&remote(28_233, ""), &machine());
    assert!(one.contains("28232 to one server from one address, needed 28233"), "{one}");
    assert!(one.contains("ip_local_port_range=\"1024 65535\"; or --source"), "{one}");
    let many = missing(&remote(100_000, ""), &machine());
    assert!(many.contains("-> --source with a list or network of 6 addresses"), "{many}");
    assert_eq!(missing(&remote(100_000, "10.0.0.0/29"), &machine()), "");
    let few = missing(&remote(100_000, "10.0.0.1"), &machine());
    assert!(few.contains("names 1 addresses; 100000 connections need 6"), "{few}");
}

#[test]
fn server_elsewhere_and_tls_change_the_memory_needed() {
    let plain = plan(&load(100_000), &machine());
    let away = plan(&remote(100_000, "10.0.0.0/24"), &machine());
    assert!(plain.text.contains("kernel memory, server side"), "{}", plain.text);
    assert!(!away.text.contains("server side"), "{}", away.text);
    let tls = plan(&Load { tls: true, ..load(100_000) }, &machine());
    assert_eq!(tls.user_bytes - plain.user_bytes, 100_000 * TLS_BYTES);
}
