//! The load generator's command line; see `hawser-loadgen --help`.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use hawser_loadgen::{
    arguments::{Arguments, Command, Options, RunArguments},
    capacity::{self, command::CapacityArguments},
    compare,
    live::Live,
    page,
    plan::{Machine, plan},
    record::{csv, hlog},
    report::Report,
    run::{self, MakeRing, Observer, Outcome, PlainLines, RunError},
    scenario::builtin,
    worker::RECEIVE_BYTES,
};
use hawser_ring::uring::{RingGroup, RingSettings, UringRing};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong arguments.
const EXIT_ARGUMENTS: u8 = 1;
/// Kernel, limits, ports, target.
const EXIT_ENVIRONMENT: u8 = 2;

/// Completions a ring queues: one for each connection of a worker would be safe, and this is
/// what a table of 20,000 had in use at most.
const COMPLETION_ENTRIES: u32 = 16_384;
/// Submissions before the kernel is entered early.
const SUBMISSION_ENTRIES: u32 = 1024;
/// Buffers of a ring: with their bytes, 2 MiB.
const BUFFERS: u16 = 512;

struct Urings;

impl MakeRing for Urings {
    type Ring = RingGroup;

    fn make(&self, slots: u32, tables: u32) -> Result<(RingGroup, u64), String> {
        let settings = RingSettings {
            descriptors: slots,
            completion_entries: COMPLETION_ENTRIES,
            submission_entries: SUBMISSION_ENTRIES,
            buffers: BUFFERS,
            buffer_bytes: RECEIVE_BYTES,
        };
        let ring = RingGroup::new(settings, tables).map_err(|refusal| refusal.0)?;
        Ok((ring, self.now_us()))
    }

    fn now_us(&self) -> u64 {
        UringRing::now().monotonic_us
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nothing is left to do if not even this can be printed.
            let _ = error.print();
            return ExitCode::from(if asked { 0 } else { EXIT_ARGUMENTS });
        }
    };
    match arguments.command {
        Command::Run(arguments) => run_scenario(&arguments),
        Command::Scenarios { name } => scenarios(name.as_deref()),
        Command::Page(arguments) => match page::files::write(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => fail(EXIT_ARGUMENTS, &reason),
        },
        Command::Compare(arguments) => match compare::command::run(&arguments) {
            Ok(code) => ExitCode::from(code),
            Err((code, reason)) => fail(code, &reason),
        },
        Command::Capacity(arguments) => search_capacity(&arguments),
        Command::Plan(arguments) => {
            let load = arguments.load();
            let plan = plan(&load, &Machine::here(&load.given));
            print!("{}", plan.text);
            ExitCode::from(if plan.missing.is_empty() { 0 } else { EXIT_ENVIRONMENT })
        }
    }
}

/// The command line, to be copied into a shell as it is.
fn command_line() -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@%+".contains(letter);
    let quoted = std::env::args().map(|word| {
        let is_plain = !word.is_empty() && word.chars().all(plain);
        if is_plain { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn run_scenario(arguments: &RunArguments) -> ExitCode {
    let command = command_line();
    let number = match getrandom::u64() {
        Ok(number) => number,
        Err(error) => return fail(EXIT_ENVIRONMENT, &format!("no random numbers: {error}")),
    };
    let (scenario, options) = match arguments.resolve() {
        Ok(resolved) => resolved,
        Err(reason) => return fail(EXIT_ARGUMENTS, &reason),
    };
    // Read before the run: a wrong file shall not cost the run.
    let baseline = match options.baseline.as_deref().map(page::files::read).transpose() {
        Ok(baseline) => baseline,
        Err(reason) => return fail(EXIT_ARGUMENTS, &format!("--baseline {reason}")),
    };
    let outcome = {
        // Ends with this block: the table goes to a terminal that was given back.
        let mut observer = observer(options.plain);
        run::outcome(&scenario, &options, &command, number, Urings, &mut *observer)
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(RunError::Environment(reason)) => return fail(EXIT_ENVIRONMENT, &reason),
    };
    print!("{}", outcome.report.table());
    match write_results(&options, &outcome, baseline.as_ref()) {
        Ok(()) => ExitCode::from(outcome.report.exit_code()),
        Err(reason) => fail(EXIT_ENVIRONMENT, &reason),
    }
}

fn search_capacity(arguments: &CapacityArguments) -> ExitCode {
    let command = command_line();
    let number = || getrandom::u64().map_err(|error| format!("no random numbers: {error}"));
    match capacity::command::run(arguments, &command, || Urings, number) {
        Ok(code) => ExitCode::from(code),
        Err((code, reason)) => fail(code, &reason),
    }
}

/// The live view where a person can see it, else plain lines.
fn observer(plain: bool) -> Box<dyn Observer> {
    let live = (!plain && Live::is_possible()).then(Live::open);
    match live {
        Some(Ok(live)) => Box::new(live),
        Some(Err(_)) | None => Box::new(PlainLines::new(std::io::stderr())),
    }
}

/// Writes the files asked for.
fn write_results(
    options: &Options,
    outcome: &Outcome,
    baseline: Option<&Report>,
) -> Result<(), String> {
    let write = |flag: &str, path: &Option<PathBuf>, text: &dyn Fn() -> Result<String, String>| {
        let Some(path) = path else { return Ok(()) };
        fs::write(path, text()?).map_err(|error| format!("{flag} {}: {error}", path.display()))
    };
    let report = &outcome.report;
    write("--json", &options.json, &|| Ok(report.to_json()))?;
    write("--report", &options.report, &|| {
        let mut runs = vec![("this run", report)];
        runs.extend(baseline.map(|baseline| ("baseline", baseline)));
        Ok(page::render(&runs))
    })?;
    write("--csv", &options.csv, &|| Ok(csv::text(&report.series)))?;
    write("--hlog", &options.hlog, &|| hlog::text(&outcome.rows, outcome.began))
}

/// Lists the built-in scenarios, or prints one as it is.
fn scenarios(name: Option<&str>) -> ExitCode {
    let text = match name.map(|name| (name, builtin::text(name))) {
        Some((_, Some(text))) => text.to_owned(),
        Some((name, None)) => {
            let reason = format!(
                "no scenario is called {name}; hawser-loadgen scenarios lists what there is"
            );
            return fail(EXIT_ARGUMENTS, &reason);
        }
        None => builtin::list().map(|(name, about)| format!("{name:<16}{about}\n")).collect(),
    };
    print!("{text}");
    ExitCode::SUCCESS
}

fn fail(code: u8, reason: &str) -> ExitCode {
    eprintln!("hawser-loadgen: {reason}");
    ExitCode::from(code)
}
