//! `apply`, and the timer it leaves behind.

use crate::{Failure, Place, failure, page_bytes, planned, print};
use hawser_tune::{
    apply, check,
    load::Load,
    system::{Machine, Sources},
};
use std::{fmt::Write as _, process::Stdio, time::Duration};

/// Makes the changes that the check asks for, or says what they would be.
pub fn apply_all(
    load: &Load,
    yes: bool,
    advice: bool,
    confirm_within: u64,
    ports: &[u16],
    place: &Place,
) -> Result<(), Failure> {
    let root = place.root();
    let machine = Machine::read(&root, page_bytes());
    let plan = planned(load, &machine, None, None)?;
    let findings = check::check(&root, &machine, &Sources::read(&root), &plan);
    let changes = apply::changes(&findings, &plan, advice);
    let files = apply::lasting(&changes, &plan, ports, machine.tracks);
    let mut text = String::new();
    for change in &changes {
        let _ = writeln!(text, "{:<50} {} -> {}", change.id, change.from, change.to);
    }
    for file in &files {
        let _ = writeln!(text, "write {}", root.path(file.path).display());
    }
    if !yes {
        text.push_str("\nNothing was changed; --yes makes it so. The files would be:\n");
        for file in &files {
            let _ = write!(text, "\n--- /{}\n{}", file.path, file.text);
        }
        print(&text);
        return Ok(());
    }
    let journal = place.journal()?;
    let number = journal.prepare(&changes, &files).map_err(failure)?;
    if confirm_within > 0 {
        // Before the first change: whatever happens to this process, the timer runs.
        start_timer(number, confirm_within, place)?;
    }
    journal.make().map_err(failure)?;
    if confirm_within > 0 {
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
    loop {
        match place.journal() {
            Ok(journal) if journal.is_unconfirmed(number) => {
                return journal.roll_back(false).map_err(failure);
            }
            Ok(_) => return Ok(()),
            // The apply itself may still hold the lock.
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
