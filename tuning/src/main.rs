//! `hawser-tune`: what this machine needs for many long connections.

mod commands;

use clap::{Args, Parser, Subcommand};
use hawser_tune::{
    calibrate::Calibration,
    check::{self, Verdict},
    heartbeat::{
        picture,
        recommend::{self, Wishes},
        simulate::Settings,
    },
    journal::{Journal, Trouble},
    load::Load,
    plan::{self, Ground, Plan},
    system::{Machine, Root, Sources},
};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Parser)]
#[command(
    name = "hawser-tune",
    version,
    about = "What a Linux machine needs for many long connections"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lays what the machine has beside what the load needs. Reads only; needs no privilege, and
    /// says what it could not see.
    Check {
        #[command(flatten)]
        load: LoadArguments,
        /// Findings as JSON.
        #[arg(long)]
        json: bool,
        /// Also what is as it should be.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        known: Known,
    },
    /// What the load needs, with the derivation of each figure.
    Plan {
        #[command(flatten)]
        load: LoadArguments,
        /// The plan as JSON.
        #[arg(long)]
        json: bool,
        /// Memory to plan for, as 24G or 512M [default: this machine's].
        #[arg(long, value_name = "SIZE", value_parser = bytes)]
        ram: Option<u64>,
        #[command(flatten)]
        known: Known,
    },
    /// Raises what is too low, live and lasting. Without --yes it only says what it would do.
    Apply {
        #[command(flatten)]
        load: LoadArguments,
        #[command(flatten)]
        options: commands::apply::Options,
        #[command(flatten)]
        place: Place,
    },
    /// The changes of the last apply stay.
    Confirm {
        #[command(flatten)]
        place: Place,
    },
    /// Takes the last apply back, to the letter.
    Rollback {
        /// Also what somebody else has changed since.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
    /// The timer that apply leaves behind.
    #[command(hide = true)]
    Expire {
        number: u64,
        seconds: u64,
        #[command(flatten)]
        place: Place,
    },
    /// Measures what a connection costs this kernel: opens probe sockets on loopback and fits bytes per
    /// idle socket, armed request and queued message.
    Calibrate(commands::calibrate::Options),
    /// Simulates heartbeats on networks that forget quiet connections, and recommends intervals.
    Heartbeat {
        /// Clients of each class that are simulated.
        #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        clients: u32,
        /// Days of each.
        #[arg(long, default_value_t = 7, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=365))]
        days: u32,
        /// Same seed, same result.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Share of the day in which a push may not arrive.
        #[arg(long, default_value_t = 0.001, value_name = "SHARE")]
        missed: f64,
        /// Energy a client may spend on it, joules a day.
        #[arg(long, default_value_t = 5500.0, value_name = "JOULES")]
        joules: f64,
        /// Results as JSON.
        #[arg(long)]
        json: bool,
        /// The front as a picture.
        #[arg(long, value_name = "FILE.svg")]
        picture: Option<PathBuf>,
        #[command(flatten)]
        path: commands::measure::Options,
    },
}

/// What a plan is made from, beside the load.
#[derive(Args, Clone)]
struct Known {
    /// Figures of this kernel that `calibrate` has written.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Root directory to read from.
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
}

impl Known {
    fn root(&self) -> Root {
        Root::new(&self.root)
    }

    fn calibration(&self) -> Result<Option<Calibration>, Failure> {
        self.calibration.as_deref().map(calibration).transpose()
    }
}

#[derive(Args, Clone)]
struct Place {
    /// Root directory to work on.
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// Where old values are kept [default: var/lib/hawser-tune below the root].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Place {
    fn root(&self) -> Root {
        Root::new(&self.root)
    }

    fn state(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| self.root.join("var/lib/hawser-tune"))
    }

    fn journal(&self) -> Result<Journal, Failure> {
        Journal::open(&self.root(), &self.state()).map_err(failure)
    }
}

fn failure(trouble: Trouble) -> Failure {
    Failure::Environment(trouble.to_string())
}

#[derive(Args)]
struct LoadArguments {
    /// Connections held at once, as 1000000 or 1M.
    #[arg(long, default_value = "1M", value_name = "N", value_parser = count)]
    connections: u64,
    /// Messages delivered per second [default: one in 200 s for each connection].
    #[arg(long, value_name = "RATE")]
    message_rate: Option<f64>,
    /// Share of connections that have a message queued at the worst instant, 0 to 1.
    #[arg(long, default_value_t = 0.2, value_name = "SHARE")]
    fan_out: f64,
    /// Share of connections that read so slowly that their buffers are full, 0 to 1.
    #[arg(long, default_value_t = 0.001, value_name = "SHARE")]
    slow: f64,
    /// Share of connections over TLS, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    tls: f64,
    /// Connects per second after a failure [default: all return in 50 s].
    #[arg(long, value_name = "RATE")]
    connect_rate: Option<f64>,
    /// Interval of heartbeats, seconds.
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    heartbeat: f64,
    /// The clients run on this machine, too, as in a load test.
    #[arg(long)]
    both_ends: bool,
}

impl LoadArguments {
    fn load(&self) -> Result<Load, String> {
        let usual = Load::of(self.connections);
        let load = Load {
            message_rate: self.message_rate.unwrap_or(usual.message_rate),
            fan_out_share: self.fan_out,
            slow_share: self.slow,
            tls_share: self.tls,
            connect_rate: self.connect_rate.unwrap_or(usual.connect_rate),
            heartbeat_s: self.heartbeat,
            both_ends: self.both_ends,
            ..usual
        };
        load.validate()?;
        Ok(load)
    }
}

/// `1000000`, `1_000_000`, `20k`, `1M`.
fn count(text: &str) -> Result<u64, String> {
    scaled(text, &[("k", 1_000), ("K", 1_000), ("M", 1_000_000)])
        .ok_or_else(|| "a whole number, also as 20k or 1M".to_owned())
}

/// `24G`, `512M`, `1073741824`.
fn bytes(text: &str) -> Result<u64, String> {
    scaled(text, &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)])
        .ok_or_else(|| "a number of bytes, also as 512M or 24G".to_owned())
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let plain = text.replace('_', "");
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((plain.strip_suffix(unit)?, *factor)))
        .unwrap_or((&plain, 1));
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Exit codes: 1 for arguments, 2 for a machine that does not say what is needed, 3 when something
/// found is a limit or risk, or the plan is impossible, 5 when what was measured is not valid.
enum Failure {
    Arguments(String),
    Environment(String),
    Judged(String),
    Invalid(String),
}

fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // To print may fail only if nobody listens.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let (code, text) = match run(command_line.command) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Arguments(text)) => (1, text),
        Err(Failure::Environment(text)) => (2, text),
        Err(Failure::Judged(text)) => (3, text),
        Err(Failure::Invalid(text)) => (5, text),
    };
    eprintln!("hawser-tune: {text}");
    ExitCode::from(code)
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Check { load, json, all, known } => {
            let load = load.load().map_err(Failure::Arguments)?;
            let root = known.root();
            let machine = Machine::read(&root, page_bytes());
            let plan = planned(&load, &machine, None, known.calibration()?.as_ref())?;
            let findings = check::check(&root, &machine, &Sources::read(&root), &plan);
            if json {
                print_json(&serde_json::json!({ "version": 1, "kernel": machine.kernel,
                    "connections": load.connections, "findings": findings }));
            } else {
                print(&commands::text::check(&load, &machine, &findings, all));
            }
            let worst = findings.iter().map(|finding| finding.verdict).min();
            match worst {
                Some(Verdict::Limit | Verdict::Risk) => {
                    Err(Failure::Judged(format!("not ready for {} connections", load.connections)))
                }
                _ => Ok(()),
            }
        }
        Command::Plan { load, json, ram, known } => {
            let load = load.load().map_err(Failure::Arguments)?;
            let machine = Machine::read(&known.root(), page_bytes());
            let plan = planned(&load, &machine, ram, known.calibration()?.as_ref())?;
            if json {
                print_json(&serde_json::json!({ "version": 1, "plan": plan }));
            } else {
                print(&commands::text::plan(&load, &plan));
            }
            Ok(())
        }
        Command::Apply { load, options, place } => {
            let load = load.load().map_err(Failure::Arguments)?;
            commands::apply::apply_all(&load, &options, &place)
        }
        Command::Confirm { place } => place.journal()?.confirm().map_err(failure),
        Command::Rollback { force, place } => place.journal()?.roll_back(force).map_err(failure),
        Command::Expire { number, seconds, place } => {
            commands::apply::expire(number, seconds, &place)
        }
        Command::Calibrate(options) => commands::calibrate::run(&options),
        Command::Heartbeat { clients, days, seed, missed, joules, json, picture, path } => {
            if commands::measure::run(&path, json)? {
                return Ok(());
            }
            if !(0.0..=1.0).contains(&missed) {
                let text = format!("--missed is {missed}: a share is between 0 and 1");
                return Err(Failure::Arguments(text));
            }
            let settings = Settings { clients, days: f64::from(days), seed };
            let wishes = Wishes { missed_share_max: missed, joules_max: joules };
            let reports = recommend::report(settings, wishes);
            if let Some(path) = picture {
                std::fs::write(&path, picture::svg(&reports)).map_err(|error| {
                    Failure::Environment(format!("{}: {error}", path.display()))
                })?;
            }
            if json {
                print_json(&serde_json::json!({ "version": 1, "seed": seed, "classes": reports }));
            } else {
                print(&commands::heartbeat::text(&reports));
            }
            Ok(())
        }
    }
}

fn calibration(path: &Path) -> Result<Calibration, Failure> {
    let named = |error: &dyn std::fmt::Display| {
        Failure::Arguments(format!("--calibration {}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
    Calibration::from_json(&text).map_err(|error| named(&error))
}

fn planned(
    load: &Load,
    machine: &Machine,
    ram: Option<u64>,
    calibration: Option<&Calibration>,
) -> Result<Plan, Failure> {
    let ground = Ground::of(machine, ram, calibration).map_err(|unseen| {
        let reason = unseen.text();
        Failure::Environment(format!("memory of this machine: {reason}; give --ram"))
    })?;
    plan::plan(load, &ground)
        .map_err(|impossible| Failure::Judged(format!("impossible: {impossible}")))
}

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

fn print_json(value: &serde_json::Value) {
    print(&format!("{value:#}\n"));
}

fn print(text: &str) {
    // A reader that has closed its end (`| head`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
