//! `apply`, and the timer it leaves behind.

use crate::{Failure, Place, failure, page_bytes, planned, print};
use hawser_tune::{
    apply, check,
    load::Load,
    nft, spread,
    system::{Machine, Sources},
};
use std::{fmt::Write as _, process::Stdio, time::Duration};

#[derive(clap::Args)]
pub struct Options {
    /// Make the changes.
    #[arg(long)]
    yes: bool,
    /// Also what is a matter of taste (ADVICE of check).
    #[arg(long)]
    advice: bool,
    /// Take everything back after so many seconds unless `hawser-tune confirm` is said; 0: never.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    confirm_within: u64,
    /// Ports the gateway listens on, for the rules that keep them untracked.
    #[arg(long, value_delimiter = ',', value_name = "PORT,…",
          default_values_t = [7900, 7901, 1883, 7943, 7944, 8883])]
    ports: Vec<u16>,
    /// Load those rules now, too (nftables); without it they are only written.
    #[arg(long)]
    load_rules: bool,
    /// Spread the work of these network cards over the processors now (RPS, XPS, interrupts); without it
    /// a script is written.
    #[arg(long, value_delimiter = ',', value_name = "DEVICE,…")]
    network: Vec<String>,
}

/// The timer looks so often whether the apply has let go of its lock, …
const EXPIRE_LOOKS: u32 = 3000;
/// … this long apart.
const EXPIRE_WAIT: Duration = Duration::from_millis(200);

/// Makes the changes that the check asks for, or says what they would be.
pub fn apply_all(load: &Load, options: &Options, place: &Place) -> Result<(), Failure> {
    let Options { yes, confirm_within, ports, .. } = options;
    let root = place.root();
    let machine = Machine::read(&root, page_bytes());
    let plan = planned(load, &machine, None, None)?;
    let findings = check::check(&root, &machine, &Sources::read(&root), &plan);
    let mut changes = apply::changes(&findings, &plan, options.advice);
    let files = apply::lasting(&changes, &plan, ports, machine.tracks);
    for device in &options.network {
        if root.names(&format!("sys/class/net/{device}/queues")).is_empty() {
            return Err(Failure::Arguments(format!("--network {device}: no such device")));
        }
        changes.extend(spread::changes(&root, &machine, device));
    }
    let rules = (options.load_rules && machine.tracks).then(|| apply::rules(ports));
    let mut text = String::new();
    for change in &changes {
        let _ = writeln!(text, "{:<50} {} -> {}", change.id, change.from, change.to);
    }
    for file in &files {
        let _ = writeln!(text, "write {}", root.path(file.path).display());
    }
    if rules.is_some() {
        let _ = writeln!(text, "load nftables table {}", nft::TABLE.join(" "));
    } else if options.load_rules {
        text.push_str("no rules are needed: connections are not tracked here\n");
    }
    if !*yes {
        text.push_str("\nNothing was changed; --yes makes it so. The files would be:\n");
        for file in &files {
            let _ = write!(text, "\n--- /{}\n{}", file.path, file.text);
        }
        print(&text);
        return Ok(());
    }
    let journal = place.journal()?;
    let number = journal.prepare(&changes, &files, rules.as_deref()).map_err(failure)?;
    if *confirm_within > 0 {
        // Before the first change: whatever happens to this process, the timer runs.
        start_timer(number, *confirm_within, place)?;
    }
    journal.make().map_err(failure)?;
    if *confirm_within > 0 {
        let _ = writeln!(
            text,
            "\nApplied. `hawser-tune confirm` within {confirm_within} s keeps it; else all is taken back."
        );
    } else {
        text.push_str("\nApplied. `hawser-tune rollback` takes it back.\n");
    }
    print(&text);
    Ok(())
}

/// A process of its own, which outlives this one and its terminal.
fn start_timer(number: u64, seconds: u64, place: &Place) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt as _;
    let failed = |error: std::io::Error| Failure::Environment(format!("the timer: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let mut timer = std::process::Command::new(program);
    timer.args(["expire", &number.to_string(), &seconds.to_string()]);
    timer.arg("--root").arg(&place.root).arg("--state").arg(place.state());
    timer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    timer.spawn().map_err(failed).map(|_| ())
}

/// What the timer does when its time has come.
pub fn expire(number: u64, seconds: u64, place: &Place) -> Result<(), Failure> {
    // Of its own session, so that the end of the terminal's does not reach it. Fails only for the
    // leader of a process group, which has one already.
    let _ = rustix::process::setsid();
    std::thread::sleep(Duration::from_secs(seconds));
    for _ in 0..EXPIRE_LOOKS {
        match place.journal() {
            Ok(journal) if journal.is_unconfirmed(number) => {
                return journal.roll_back(false).map_err(failure);
            }
            Ok(_) => return Ok(()),
            // The apply itself may still hold the lock.
            Err(_) => std::thread::sleep(EXPIRE_WAIT),
        }
    }
    Err(Failure::Environment("the lock was never free: nothing was taken back".to_owned()))
}
