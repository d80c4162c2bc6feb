//! What `check` and `calibrate` say of this very machine, beside what the kernel itself says.

use rustix::process::{Resource, getrlimit};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

const TUNE: &str = env!("CARGO_BIN_EXE_hawser-tune");

fn tune(arguments: &[&str]) -> Value {
    let output = Command::new(TUNE).args(arguments).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("{arguments:?}: {error}: {said}")
    })
}

fn finding<'a>(report: &'a Value, id: &str) -> &'a Value {
    let mut findings = report["findings"].as_array().unwrap().iter();
    findings.find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("no finding {id}"))
}

fn kernel(path: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn what_check_names_for_a_million_is_what_the_kernel_says() {
    let report = tune(&["check", "--connections", "1000000", "--json"]);

    let limit = getrlimit(Resource::Nofile);
    let text = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let expected = format!("{} (hard {})", text(limit.current), text(limit.maximum));
    assert_eq!(finding(&report, "RLIMIT_NOFILE")["current"], expected.as_str());

    let mut compared = 0;
    for (id, path) in [
        ("net.netfilter.nf_conntrack_max", "net/netfilter/nf_conntrack_max"),
        ("net.netfilter.nf_conntrack_buckets", "net/netfilter/nf_conntrack_buckets"),
        ("net.ipv4.tcp_mem", "net/ipv4/tcp_mem"),
        ("net.core.somaxconn", "net/core/somaxconn"),
        ("net.ipv4.tcp_ehash_entries", "net/ipv4/tcp_ehash_entries"),
        ("fs.file-max", "fs/file-max"),
        ("fs.nr_open", "fs/nr_open"),
    ] {
        // Where nothing is tracked there is nothing to name.
        let Some(value) = kernel(path) else { continue };
        assert_eq!(finding(&report, id)["current"], value.as_str(), "{id}");
        compared += 1;
    }
    assert!(compared >= 4, "only {compared} were there");

    // The counters, too, come from the kernel: this one stands still on a machine that is not full.
    let pages = finding(&report, "net.ipv4.tcp_mem")["evidence"].as_str().unwrap().to_owned();
    assert!(pages.contains("sockstat.TCP.mem ") && !pages.contains("not seen"), "{pages}");
}

#[test]
fn a_user_without_privilege_gets_the_same_findings_and_is_told_what_could_not_be_seen() {
    // Only root can become somebody else; anybody else is without privilege already.
    let state = tempfile::tempdir().unwrap();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = state.path().join("hawser-tune");
    fs::copy(TUNE, &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    if !rustix::process::geteuid().is_root() {
        command = Command::new(&program);
    }
    let output = command.args(["check", "--connections", "1M", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let slabs = finding(&report, "/proc/slabinfo");
    assert_eq!(slabs["verdict"], "unseen");
    assert!(slabs["source"].as_str().unwrap().contains("may not be read"), "{slabs}");
    let value = kernel("net/core/somaxconn").unwrap();
    assert_eq!(finding(&report, "net.core.somaxconn")["current"], value.as_str());
}

/// A calibration and its validation; `None` if every try said that others disturbed it.
fn undisturbed(file: &str) -> Option<Value> {
    (0..TRIES).find_map(|_| {
        let output = Command::new(TUNE)
            .args(["calibrate", "--sockets", "2000", "--rounds", "2", "--validate", "20000"])
            .args(["--json", "--out", file])
            .output()
            .unwrap();
        let disturbed = output.status.code() == Some(5);
        (!disturbed).then(|| serde_json::from_slice(&output.stdout).unwrap())
    })
}

/// Tries until the machine is quiet.
const TRIES: u32 = 5;

#[test]
fn two_thousand_sockets_predict_twenty_thousand_and_the_figures_reach_the_plan() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("kernel.json");
    let file = file.to_str().unwrap();
    let Some(report) = undisturbed(file) else {
        eprintln!("skipped, other programs on this machine opened sockets all the time");
        return;
    };
    let validation = &report["validation"];
    assert_eq!(validation["sockets"], 20_000);
    assert_eq!(validation["watches"], 10_000);
    let bytes = |name: &str| validation[name].as_f64().unwrap();
    let predicted = bytes("predicted_bytes");
    // Of the caches that sockets take from; where they may not be read, of all slab memory.
    let observed = validation["caches_bytes"].as_f64().unwrap_or_else(|| bytes("observed_bytes"));
    assert!((predicted / observed - 1.0).abs() < 0.05, "{validation}");

    let each = report["calibration"]["idle_server"]["value"].as_f64().unwrap();
    assert!((2000.0..8000.0).contains(&each), "{each} bytes");
    let poll = report["calibration"]["armed_watch"]["value"].as_f64().unwrap();
    let plan =
        tune(&["plan", "--connections", "1000", "--ram", "16G", "--json", "--calibration", file]);
    let sockets = plan["plan"]["memory"]["sockets"].as_f64().unwrap();
    assert!((sockets - 1000.0 * (each + poll)).abs() <= 1.0, "{sockets} {each} {poll}");
}

#[test]
fn a_calibration_that_cannot_be_read_is_a_wrong_argument_and_names_the_file() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("broken.json");
    fs::write(&file, "{}").unwrap();
    let output = Command::new(TUNE).args(["plan", "--calibration"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken.json"));
}
