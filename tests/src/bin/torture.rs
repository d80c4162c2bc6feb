//! `torture [--kills N] [--seed S] [--pause-ms M]`: kills the gateway under load, again and again,
//! and judges what is left. Exit code 4 if a message was lost, doubled, reordered or corrupted.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hawser_tests::{
    process::Setup,
    torture::{Plan, run},
};

const USAGE: u8 = 1;
const INCORRECT: u8 = 4;

fn main() -> ExitCode {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut plan =
        Plan { kills: 100, seed: since.as_nanos() as u64, pause_max: Duration::from_millis(800) };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--kills", Some(kills)) => plan.kills = u32::try_from(kills).unwrap_or(u32::MAX),
            ("--seed", Some(seed)) => plan.seed = seed,
            ("--pause-ms", Some(pause)) => plan.pause_max = Duration::from_millis(pause),
            _ => {
                eprintln!("usage: torture [--kills N] [--seed S] [--pause-ms M]");
                return ExitCode::from(USAGE);
            }
        }
    }
    println!("seed {}", plan.seed);
    let outcome = run(plan, Setup::new().setting("store.segment_bytes", 16 << 20));
    println!("{outcome}");
    if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(INCORRECT) }
}
