//! `torture [--routers] [--kills N] [--seed S] [--pause-ms M] [--write auto|direct|sync]
//! [--lanes N]`: kills the gateway under load, again and again, and judges what is left; with
//! `--routers` two gateways and two routers are killed and stopped in turn, `--kills` times in
//! all. Exit code 4 if a message was lost, doubled, reordered or corrupted, or a connection
//! dropped for no reason.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hawser_tests::{
    process::Setup,
    torture::{Plan, routers, run},
};

const USAGE: u8 = 1;
const INCORRECT: u8 = 4;

fn main() -> ExitCode {
    let mut with_routers = false;
    let mut plan = Plan { kills: 100, seed: seed(), pause_max: Duration::from_millis(800) };
    // More than one segment in the time of a kill or two, and not one for every hundred messages.
    let mut setup = Setup::new().setting("store.segment_bytes", 16 << 20);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--routers" {
            with_routers = true;
            continue;
        }
        let text = arguments.next().unwrap_or_default();
        let number = text.parse::<u64>();
        match (name.as_str(), number) {
            ("--kills", Ok(kills)) => plan.kills = u32::try_from(kills).unwrap_or(u32::MAX),
            ("--seed", Ok(seed)) => plan.seed = seed,
            ("--pause-ms", Ok(pause)) => plan.pause_max = Duration::from_millis(pause),
            ("--lanes", Ok(lanes)) => setup = setup.setting("store.lanes", lanes),
            ("--write", _) => setup = setup.setting("store.write", text),
            _ => {
                eprintln!(
                    "usage: torture [--routers] [--kills N] [--seed S] [--pause-ms M] \
                     [--write POLICY] [--lanes N]"
                );
                return ExitCode::from(USAGE);
            }
        }
    }
    println!("seed {}", plan.seed);
    let is_clean = if with_routers {
        let Plan { kills, seed, pause_max } = plan;
        let plan = routers::Plan { events: kills, seed, pause_max, stopped_ms: 1000..=8000 };
        let outcome = routers::run(&plan, &setup);
        println!("{outcome}");
        outcome.is_clean()
    } else {
        let outcome = run(plan, setup);
        println!("{outcome}");
        outcome.is_clean()
    };
    if is_clean { ExitCode::SUCCESS } else { ExitCode::from(INCORRECT) }
}

/// Another one each time; what was drawn is printed.
fn seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}
