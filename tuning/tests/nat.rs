//! Heartbeats against a real NAT: three network namespaces in a row, client, NAT and server, where the
//! middle one masquerades with nftables and forgets quiet connections after T seconds. What the
//! simulator says of such a path and what the path does must agree.
#![allow(clippy::unwrap_used)] // helpers of tests fail by it, as the tests do

mod common;

use common::{has, in_namespace};
use hawser_tune::heartbeat::{
    network::{Class, Network, TimeOut, WIRED},
    probe::{Probe, Tried},
    schedule::Kind,
    simulate::{Path, Settings, simulate},
};
use std::convert::Infallible;

/// Time-out of the NAT, seconds: small, so that a search ends within half a minute. Connection
/// tracking counts in ticks of the kernel; what blurs the cut is the delayed acknowledgement of the
/// last packet, some 40 ms.
const T_S: f64 = 3.0;
/// So long behind T both answers are right, seconds.
const BLUR_S: f64 = 0.1;
/// Ends of the search.
const RANGE_S: (f64, f64) = (1.0, 12.0);

/// Namespaces, links, routes, the NAT, and an echo behind it. `loose=0`: a packet in the middle of a
/// connection that is not known makes no new entry, as with carriers' NATs.
const PRELUDE: &str = r#"
ip link set lo up
unshare --net sleep 300 & nat=$!
unshare --net sleep 300 & server=$!
trap 'kill $nat $server $echo 2>/dev/null' EXIT
echo=
own=$(readlink /proc/self/ns/net)
for pid in $nat $server; do
    for i in $(seq 200); do [ "$(readlink /proc/$pid/ns/net)" = "$own" ] || break; sleep 0.05; done
done
in_nat() { nsenter --target $nat --net "$@"; }
in_server() { nsenter --target $server --net "$@"; }
ip link add c0 type veth peer name n0 netns $nat
in_nat ip link add n1 type veth peer name s0 netns $server
ip addr add 10.77.1.2/24 dev c0; ip link set c0 up
in_nat ip addr add 10.77.1.1/24 dev n0; in_nat ip link set n0 up
in_nat ip addr add 10.77.2.1/24 dev n1; in_nat ip link set n1 up
in_server ip addr add 10.77.2.2/24 dev s0; in_server ip link set s0 up
ip route add default via 10.77.1.1
in_nat sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
in_nat nft -f - <<'RULES'
table ip nat {
    chain out { type nat hook postrouting priority srcnat; oifname "n1" masquerade; }
}
RULES
in_nat sh -c "echo $T > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"
in_nat sh -c 'echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose'
nsenter --target $server --net "$TUNE" heartbeat --echo 10.77.2.2:7007 > $STATE/echo & echo=$!
for i in $(seq 200); do [ -s $STATE/echo ] && break; sleep 0.05; done
measure() { "$TUNE" heartbeat --measure 10.77.2.2:7007 --answer-within 1 --json "$@"; }
"#;

fn behind_nat(rest: &str) -> Option<std::path::PathBuf> {
    if !has("nft") || !has("ip") {
        return None;
    }
    let state = tempfile::tempdir().unwrap().keep();
    let script = format!("T={T_S}\n{PRELUDE}{rest}");
    in_namespace(&script, &state)?;
    Some(state)
}

fn json(path: &std::path::Path) -> serde_json::Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{}: {error}: {text}", path.display()))
}

fn tries(value: &serde_json::Value) -> Vec<Tried> {
    let tries = value["tries"].as_array().unwrap().iter();
    tries
        .map(|tried| Tried {
            silence_s: tried["silence_s"].as_f64().unwrap(),
            borne: tried["borne"].as_bool().unwrap(),
        })
        .collect()
}

/// A path of the simulator with the NAT's time-out.
fn simulated_path() -> impl FnMut(f64) -> Result<Tried, Infallible> {
    let mut path = Path { cut_s: T_S, spoken_s: 0.0 };
    let mut now_s = 0.0;
    move |silence_s| {
        path.spoken_s = now_s;
        now_s += silence_s;
        Ok(Tried { silence_s, borne: now_s < path.forgets_at_s() })
    }
}

#[test]
fn a_real_nat_cuts_where_the_simulator_says() {
    // Side by side, each on its own connection.
    let rest = r#"
        tried=
        for silence in 1 2 2.5 2.8 3.2 3.5 4 6; do
            (measure --silence $silence > $STATE/$silence.json || true) & tried="$tried $!"
        done
        wait $tried
    "#;
    let Some(state) = behind_nat(rest) else { return };
    for asked in ["1", "2", "2.5", "2.8", "3.2", "3.5", "4", "6"] {
        let observed = tries(&json(&state.join(format!("{asked}.json"))))[0];
        if (T_S..T_S + BLUR_S).contains(&observed.silence_s) {
            continue;
        }
        // What the simulator's path does with the silence that was really kept.
        let predicted = simulated_path()(observed.silence_s).unwrap();
        assert_eq!(observed, predicted, "asked for {asked} s");
    }
    std::fs::remove_dir_all(state).unwrap();
}

#[test]
fn a_fixed_heartbeat_is_cut_in_the_simulator_as_on_the_nat() {
    const NAT: Network = Network {
        name: "namespace",
        time_outs: &[TimeOut { seconds: T_S, share: 1.0 }],
        moves_per_hour: 0.0,
        radio: WIRED,
        source: "nf_conntrack_tcp_timeout_established of the test",
    };
    const CLASS: Class = Class { name: "test", networks: &[(NAT, 1.0)], pushes_per_hour: 0.0 };
    let settings = Settings { clients: 2, days: 0.01, seed: 1 };
    let cuts = |interval_s| simulate(&CLASS, Kind::Fixed(interval_s), settings).cuts_per_day;
    assert_eq!(cuts(2.8), 0.0);
    assert!(cuts(3.2) > 1000.0);
}

#[test]
fn the_probing_schedule_finds_the_time_out_on_the_real_nat_and_in_the_simulator() {
    let mut probe = Probe::between(RANGE_S.0, RANGE_S.1);
    let Ok(()) = probe.search(simulated_path());
    assert!((probe.answer_s() / T_S - 1.0).abs() < 0.1, "simulated: {}", probe.answer_s());

    let (shortest, longest) = RANGE_S;
    let rest = format!("measure --shortest {shortest} --longest {longest} > $STATE/found.json");
    let Some(state) = behind_nat(&rest) else { return };
    let found = json(&state.join("found.json"));
    let answer_s = found["answer_s"].as_f64().unwrap();
    assert!((answer_s / T_S - 1.0).abs() < 0.1, "on the NAT: {found}");
    assert!(found["borne_s"].as_f64().unwrap() < T_S + 0.2, "{found}");
    assert!(tries(&found).len() >= 5, "{found}");
    std::fs::remove_dir_all(state).unwrap();
}
