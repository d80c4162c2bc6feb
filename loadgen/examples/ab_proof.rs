//! Does a comparison find what is there, and nothing else? Ten comparisons of the same thing, ten
//! with a fixed service time added, real runs, interleaved. Runs during which the generator itself
//! was starved are invalid and made again.
//!
//! ```text
//! cargo run --release -p hawser-loadgen --example ab-proof
//! ```

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use hawser_loadgen::{
    compare::{Comparison, RUNS_MIN, Verdict, share},
    scenario::time,
};

#[path = "../tests/drive/mod.rs"]
mod drive;
#[path = "../tests/mock/mod.rs"]
mod mock;

use drive::interleaved::{Opponent, compared, interleaved};
use mock::Settings;

/// Exit code: the proof failed.
const EXIT_FAILED: u8 = 3;

/// Exit code: the runs could not be made.
const EXIT_ENVIRONMENT: u8 = 2;

/// Ten comparisons of the same thing and ten with added service time, of real interleaved runs.
#[derive(Debug, Parser)]
#[command(name = "ab-proof")]
struct Arguments {
    /// Comparisons of each sort.
    #[arg(long, value_name = "N", default_value_t = 10)]
    comparisons: u64,
    /// Runs of each side.
    #[arg(long, value_name = "N", default_value_t = RUNS_MIN)]
    runs: usize,
    /// Service time of the server: a tenth of it should be well above what waking up a thread
    /// costs on the machine.
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = time::parse)]
    service_time: Duration,
    /// Service time added, percent of the median latency.
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    added: f64,
    /// What every run does.
    #[arg(
        long,
        value_name = "LINE",
        default_value = "chat --pairs 100 --rate 300 --duration 5s --warm-up 1s --connect-rate 4000"
    )]
    line: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match prove(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(reason) => {
            eprintln!("ab-proof: {reason}");
            ExitCode::from(EXIT_ENVIRONMENT)
        }
    }
}

fn serving(name: &'static str, service: Duration) -> Opponent {
    let settings = Settings { service, heartbeat_s: 30, ..Settings::default() };
    Opponent { name, server: mock::start_with(settings).address }
}

fn prove(arguments: &Arguments) -> Result<bool, String> {
    let mut number = 0;
    let base = || serving("base", arguments.service_time);
    let first = interleaved(&[base()], &arguments.line, 1, &mut number)?;
    let median_us = first[0].1[0].report.latency_us.p50;
    let added = Duration::from_micros((median_us as f64 * arguments.added / 100.0) as u64);
    println!("median {median_us} us; the slower server adds {} us", added.as_micros());
    let (mut alarms, mut found) = (0, 0);
    for comparison in 1..=arguments.comparisons {
        let opponents = [
            base(),
            serving("same", arguments.service_time),
            serving("slower", arguments.service_time + added),
        ];
        let sides = interleaved(&opponents, &arguments.line, arguments.runs, &mut number)?;
        let same = compared(&sides[0], &sides[1], comparison)?;
        let slower = compared(&sides[0], &sides[2], comparison)?;
        alarms += u64::from(matches!(same.verdict, Verdict::Worse | Verdict::Better));
        found += u64::from(slower.verdict == Verdict::Worse);
        println!("{comparison:>3}  same:   {}", line(&same));
        println!("     slower: {}", line(&slower));
    }
    let count = arguments.comparisons;
    println!("false alarms: {alarms} of {count}; found: {found} of {count}; {number} runs");
    // One of ten may go wrong on either side.
    Ok(alarms * 10 <= count && (count - found) * 10 <= count)
}

fn line(comparison: &Comparison) -> String {
    let shifts = comparison.sides[1].shifts.iter().map(|shift| {
        let interval = shift
            .interval
            .map_or_else(String::new, |[low, high]| format!(" [{}, {}]", share(low), share(high)));
        format!("{} {}{interval} {:?}", shift.metric, share(shift.change), shift.finding)
    });
    format!("{:?}: {}", comparison.verdict, shifts.collect::<Vec<_>>().join("; "))
}
