//! The program on a network namespace of its own, whose settings are real and nobody else's.

mod common;

use common::in_namespace;
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
