//! The program on a network namespace of its own, whose settings are real and nobody else's.
#![allow(clippy::unwrap_used)] // helpers of tests fail by it, as the tests do

mod common;

use common::{has, in_mounted_namespace, in_namespace};
use std::{
    fs,
    time::{Duration, Instant},
};

/// Settings a namespace has its own of, and a root in which only these can be seen, so that the
/// machine itself is left alone.
const PRELUDE: &str = r#"
root=$STATE/root
mkdir -p $root/proc/sys/net/core $root/proc/sys/net/ipv4 $root/proc/self
for file in meminfo cpuinfo uptime; do cp /proc/$file $root/proc/$file; done
for name in net/core/somaxconn net/ipv4/tcp_max_syn_backlog net/ipv4/tcp_rmem net/ipv4/tcp_fin_timeout; do
    ln -s /proc/sys/$name $root/proc/sys/$name
done
all() { cat $root/proc/sys/net/core/* $root/proc/sys/net/ipv4/*; }
before=$(all)
tune() { "$TUNE" "$@" --root $root --state $STATE/journal; }
"#;

fn script(rest: &str) -> String {
    format!("{PRELUDE}{rest}")
}

#[test]
fn apply_and_rollback_leave_every_value_as_it_was() {
    let state = tempfile::tempdir().unwrap();
    let script = script(
        r#"
        tune apply --connections 1M --advice --yes --confirm-within 0
        [ "$(cat /proc/sys/net/core/somaxconn)" -ge 5000 ]
        [ "$(cat /proc/sys/net/ipv4/tcp_fin_timeout)" = 30 ]
        [ -f $root/etc/sysctl.d/90-hawser.conf ]
        tune rollback
        [ "$(all)" = "$before" ]
        [ ! -e $root/etc/sysctl.d/90-hawser.conf ]
        "#,
    );
    in_namespace(&script, state.path());
}

#[test]
fn without_yes_nothing_is_changed() {
    let state = tempfile::tempdir().unwrap();
    let script = script(
        r#"
        tune apply --connections 1M
        [ "$(all)" = "$before" ]
        [ ! -e $STATE/journal ]
        "#,
    );
    let Some(output) = in_namespace(&script, state.path()) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("net.core.somaxconn") && said.contains("Nothing was changed"), "{said}");
}

#[test]
fn an_apply_that_is_killed_in_the_middle_is_taken_back_by_rollback() {
    // Each write to a setting is a moment the process can be killed at: strace kills it there.
    for moment in 1..=3 {
        let state = tempfile::tempdir().unwrap();
        let script = script(&format!(
            r#"
            strace -qq -f -o /dev/null -e trace=renameat,rename,renameat2 \
                -e inject=renameat,rename,renameat2:signal=SIGKILL:when={} \
                "$TUNE" apply --connections 1M --advice --yes --confirm-within 0 \
                --root $root --state $STATE/journal || true
            [ -f $STATE/journal/journal.json ]
            tune rollback
            [ "$(all)" = "$before" ]
            [ ! -e $root/etc/sysctl.d/90-hawser.conf ]
            "#,
            // Number and journal are renamed into place first, then the files.
            moment + 2
        ));
        in_namespace(&script, state.path());
    }
}

#[test]
fn the_timer_takes_back_what_nobody_confirms_and_leaves_what_somebody_does() {
    let state = tempfile::tempdir().unwrap();
    let script = script(
        r#"
        tune apply --connections 1M --yes --confirm-within 1
        [ "$(all)" != "$before" ]
        for i in $(seq 200); do [ -e $STATE/journal/journal.json ] || break; sleep 0.1; done
        [ "$(all)" = "$before" ]
        tune apply --connections 1M --yes --confirm-within 1
        tune confirm
        applied=$(all)
        touch $STATE/confirmed
        for i in $(seq 25); do sleep 0.1; done
        [ "$(all)" = "$applied" ]
        tune rollback
        [ "$(all)" = "$before" ]
        "#,
    );
    let began = Instant::now();
    if in_namespace(&script, state.path()).is_none() {
        return;
    }
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(fs::exists(state.path().join("confirmed")).unwrap());
}

/// Connections of the namespace are tracked, and its root says so; a table of somebody else is there.
const TRACKED: &str = r#"
mkdir -p $root/proc/sys/net/netfilter
for name in $(ls /proc/sys/net/netfilter); do
    ln -s /proc/sys/net/netfilter/$name $root/proc/sys/net/netfilter/$name
done
ip link set lo up
nft -f - <<'RULES'
table inet other {
    chain in { type filter hook input priority 0; ct state new accept; }
}
RULES
rules() { nft list ruleset; }
rules_before=$(rules)
live() { tune apply --connections 1000 --yes --load-rules "$@"; }
"#;

fn with_rules(rest: &str) -> Option<()> {
    if !has("nft") || !has("ip") {
        return None;
    }
    let state = tempfile::tempdir().unwrap();
    in_namespace(&script(&format!("{TRACKED}{rest}")), state.path())?;
    Some(())
}

#[test]
fn rules_are_loaded_keep_connections_untracked_and_are_taken_back_exactly() {
    with_rules(
        r#"
        count() { cat /proc/sys/net/netfilter/nf_conntrack_count; }
        "$TUNE" heartbeat --echo 127.0.0.1:7900 > $STATE/echo & echo=$!
        trap 'kill $echo' EXIT
        for i in $(seq 200); do [ -s $STATE/echo ] && break; sleep 0.05; done
        beat() { "$TUNE" heartbeat --measure 127.0.0.1:7900 --silence 0.01; }
        beat
        tracked=$(count)
        [ "$tracked" -ge 1 ]
        live --confirm-within 0
        [ "$(rules)" != "$rules_before" ]
        nft list table inet hawser | grep -q notrack
        beat
        [ "$(count)" -le "$tracked" ]
        tune rollback
        [ "$(rules)" = "$rules_before" ]
        [ "$(all)" = "$before" ]
        beat
        [ "$(count)" -gt "$tracked" ]
        "#,
    );
}

#[test]
fn rules_are_taken_back_wherever_the_apply_or_its_child_is_killed() {
    // `wait4` is where it stands while `nft` works, `sendmsg` is `nft` asking the kernel.
    let moments = (1..=3).map(|at| ("wait4,waitid", at)).chain((1..=4).map(|at| ("sendmsg", at)));
    for (call, at) in moments {
        let done = with_rules(&format!(
            r#"
            strace -qq -f -o /dev/null -e trace={call} -e inject={call}:signal=SIGKILL:when={at} \
                "$TUNE" apply --connections 1000 --yes --load-rules --confirm-within 0 \
                --root $root --state $STATE/journal || true
            if [ -f $STATE/journal/journal.json ]; then
                # A child that was left alone holds the lock until it is done.
                for i in $(seq 100); do tune rollback && break; sleep 0.1; done
            fi
            [ ! -e $STATE/journal/journal.json ]
            [ "$(rules)" = "$rules_before" ]
            [ "$(all)" = "$before" ]
            [ ! -e $root/etc/sysctl.d/90-hawser.conf ]
            "#
        ));
        if done.is_none() {
            return;
        }
    }
}

#[test]
fn the_timer_takes_rules_back_too() {
    with_rules(
        r#"
        live --confirm-within 1
        nft list table inet hawser > /dev/null
        for i in $(seq 200); do [ -e $STATE/journal/journal.json ] || break; sleep 0.1; done
        [ "$(rules)" = "$rules_before" ]
        "#,
    );
}

#[test]
fn rules_that_somebody_has_changed_since_are_left_and_named_and_force_takes_them_back() {
    with_rules(
        r#"
        live --confirm-within 0
        nft add rule inet hawser in tcp dport 9999 notrack
        if tune rollback 2> $STATE/said; then exit 1; fi
        grep -q 'nftables table inet hawser' $STATE/said
        nft list table inet hawser | grep -q 9999
        nft delete table inet hawser
        live --confirm-within 0
        nft add rule inet hawser in tcp dport 9999 notrack
        tune rollback --force
        [ "$(rules)" = "$rules_before" ]
        "#,
    );
}

#[test]
fn a_table_of_the_same_name_that_is_not_ours_stops_the_apply_before_anything_is_changed() {
    with_rules(
        r#"
        nft add table inet hawser
        if live --confirm-within 0 2> $STATE/said; then exit 1; fi
        grep -q 'which hawser-tune has not made' $STATE/said
        [ "$(all)" = "$before" ]
        [ ! -e $STATE/journal/journal.json ]
        nft delete table inet hawser
        # Two at a time: one goes on, the other is told so, and the rules stand once.
        live --confirm-within 0 > $STATE/one 2>&1 & one=$!
        live --confirm-within 0 > $STATE/two 2>&1 & two=$!
        passed=0
        wait $one && passed=$((passed + 1))
        wait $two && passed=$((passed + 1))
        [ $passed = 1 ]
        [ "$(nft list tables | grep -c 'inet hawser')" = 1 ]
        tune rollback
        [ "$(rules)" = "$rules_before" ]
        "#,
    );
}

#[test]
fn the_work_of_a_card_is_spread_and_put_back() {
    if !has("ip") {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let script = script(
        r#"
        mkdir -p $root/sys/class
        ln -s /sys/class/net $root/sys/class/net
        printf 'processor : 0
processor : 1
' > $root/proc/cpuinfo
        ip link add v0 numrxqueues 1 numtxqueues 2 type veth peer name v1
        queues() { for file in /sys/class/net/v0/queues/*/[rx]ps_cpus; do echo "$file $(cat $file)"; done; }
        queues_before=$(queues)
        tune apply --connections 1000 --yes --network v0 --confirm-within 0
        [ "$((0x$(cat /sys/class/net/v0/queues/rx-0/rps_cpus)))" = 3 ]
        [ "$((0x$(cat /sys/class/net/v0/queues/tx-0/xps_cpus)))" = 1 ]
        [ "$((0x$(cat /sys/class/net/v0/queues/tx-1/xps_cpus)))" = 2 ]
        tune rollback
        [ "$(queues)" = "$queues_before" ]
        tune apply --connections 1000 --yes --network v0 --confirm-within 1
        for i in $(seq 200); do [ -e $STATE/journal/journal.json ] || break; sleep 0.1; done
        [ "$(queues)" = "$queues_before" ]
        if tune apply --connections 1000 --network v9 2> $STATE/said; then exit 1; fi
        grep -q 'no such device' $STATE/said
        "#,
    );
    // Only the machine's own root may set these.
    in_mounted_namespace(&script, state.path());
}
