//! `hawser-tune`: what this machine needs for many long connections.

use clap::{Args, Parser, Subcommand};
use hawser_tune::{
    apply,
    check::{self, Finding, Verdict},
    heartbeat::{
        network::CLASSES,
        picture,
        recommend::{self, Report, Tried, Wishes, configuration},
        simulate::{Settings, storm_peak_per_s},
    },
    journal::{Journal, Trouble},
    load::Load,
    memory::KernelCost,
    plan::{self, Ground, Plan, Unit},
    system::{Machine, Root, Sources},
};
use std::{
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
    process::{ExitCode, Stdio},
    time::Duration,
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
        /// Root directory to read from.
        #[arg(long, default_value = "/", value_name = "DIR")]
        root: PathBuf,
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
        /// Root directory to read from.
        #[arg(long, default_value = "/", value_name = "DIR")]
        root: PathBuf,
    },
    /// Raises what is too low, live and lasting. Without --yes it only says what it would do.
    Apply {
        #[command(flatten)]
        load: LoadArguments,
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
    },
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
/// found is a limit or risk, or the plan is impossible.
enum Failure {
    Arguments(String),
    Environment(String),
    Judged(String),
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
    };
    eprintln!("hawser-tune: {text}");
    ExitCode::from(code)
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Check { load, json, all, root } => {
            let load = load.load().map_err(Failure::Arguments)?;
            let root = Root::new(root);
            let machine = Machine::read(&root, page_bytes());
            let plan = planned(&load, &machine, None)?;
            let findings = check::check(&root, &machine, &Sources::read(&root), &plan);
            if json {
                print_json(&serde_json::json!({ "version": 1, "kernel": machine.kernel,
                    "connections": load.connections, "findings": findings }));
            } else {
                print(&check_text(&load, &machine, &findings, all));
            }
            let worst = findings.iter().map(|finding| finding.verdict).min();
            match worst {
                Some(Verdict::Limit | Verdict::Risk) => {
                    Err(Failure::Judged(format!("not ready for {} connections", load.connections)))
                }
                _ => Ok(()),
            }
        }
        Command::Plan { load, json, ram, root } => {
            let load = load.load().map_err(Failure::Arguments)?;
            let machine = Machine::read(&Root::new(root), page_bytes());
            let plan = planned(&load, &machine, ram)?;
            if json {
                print_json(&serde_json::json!({ "version": 1, "plan": plan }));
            } else {
                print(&plan_text(&load, &plan));
            }
            Ok(())
        }
        Command::Apply { load, yes, advice, confirm_within, ports, place } => {
            let load = load.load().map_err(Failure::Arguments)?;
            apply_all(&load, yes, advice, confirm_within, &ports, &place)
        }
        Command::Confirm { place } => place.journal()?.confirm().map_err(failure),
        Command::Rollback { force, place } => place.journal()?.roll_back(force).map_err(failure),
        Command::Expire { number, seconds, place } => expire(number, seconds, &place),
        Command::Heartbeat { clients, days, seed, missed, joules, json, picture } => {
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
                print(&heartbeat_text(&reports));
            }
            Ok(())
        }
    }
}

fn apply_all(
    load: &Load,
    yes: bool,
    advice: bool,
    confirm_within: u64,
    ports: &[u16],
    place: &Place,
) -> Result<(), Failure> {
    let root = place.root();
    let machine = Machine::read(&root, page_bytes());
    let plan = planned(load, &machine, None)?;
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

fn expire(number: u64, seconds: u64, place: &Place) -> Result<(), Failure> {
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

fn heartbeat_text(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        let _ = writeln!(
            text,
            "{}\n  {:<14}{:>12}{:>12}{:>9}{:>12}{:>12}{:>12}",
            report.class,
            "schedule",
            "missed s/d",
            "noticed s",
            "cuts/d",
            "packets/s",
            "J/d",
            "interval s"
        );
        for Tried { schedule, outcome, on_front, .. } in &report.tried {
            let _ = writeln!(
                text,
                "{} {schedule:<14}{:>12.1}{:>12.1}{:>9.2}{:>12.0}{:>12.0}{:>12.0}",
                if *on_front { '*' } else { ' ' },
                outcome.missed_s_per_day,
                outcome.detection_s,
                outcome.cuts_per_day,
                outcome.packets_per_second,
                outcome.joules_per_day,
                outcome.interval_s
            );
        }
        text.push('\n');
    }
    text.push_str(
        "* nothing else is better in missed time, packets (for a million clients) or energy\n",
    );
    text.push_str("  without being worse in another. Time-outs assumed:\n");
    let mut shown = Vec::new();
    for (network, _) in CLASSES.iter().flat_map(|class| class.networks) {
        if !shown.contains(&network.name) {
            shown.push(network.name);
            let _ = writeln!(text, "  {}: {}", network.name, network.source);
        }
    }
    for spread_s in [10.0, 50.0, 100.0] {
        let peak = storm_peak_per_s(1_000_000, spread_s, 1);
        let _ = writeln!(text, "a million that return within {spread_s} s: {peak}/s at the peak");
    }
    let _ = write!(text, "\nFor hawser-gateway's configuration:\n\n{}", configuration(reports));
    text
}

fn planned(load: &Load, machine: &Machine, ram: Option<u64>) -> Result<Plan, Failure> {
    let unseen = |unseen: &hawser_tune::system::Unseen| {
        Failure::Environment(format!("memory of this machine: {}; give --ram", unseen.text()))
    };
    let memory = match (ram, &machine.memory) {
        (Some(ram), _) => ram,
        (None, memory) => memory.clone().map_err(|reason| unseen(&reason))?,
    };
    let slabs = machine.slabs.as_deref().ok();
    let cost = slabs
        .and_then(|text| KernelCost::from_slabinfo(text, machine.page))
        .unwrap_or_else(|| KernelCost::kept(machine.page));
    let ground = Ground { memory, cores: machine.cores, tracks: machine.tracks, cost };
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

fn check_text(load: &Load, machine: &Machine, findings: &[Finding], all: bool) -> String {
    let mut text = format!(
        "{} connections on Linux {}, {} processor(s), {}{}\n",
        load.connections,
        machine.kernel,
        machine.cores,
        machine.memory.as_ref().map_or("memory unknown".to_owned(), |bytes| plan::size(*bytes)),
        if machine.memory_limited { " (limit of the control group)" } else { "" },
    );
    for (verdict, title) in [
        (Verdict::Limit, "LIMIT: the load does not fit"),
        (Verdict::Risk, "RISK: hurts under the load"),
        (Verdict::Advice, "ADVICE: measure it"),
        (Verdict::Unseen, "NOT SEEN"),
        (Verdict::Ok, "OK"),
    ] {
        let group: Vec<&Finding> =
            findings.iter().filter(|finding| finding.verdict == verdict).collect();
        if group.is_empty() {
            continue;
        }
        if verdict == Verdict::Ok && !all {
            let _ =
                writeln!(text, "\n{} more are as they should be (--all shows them)", group.len());
            continue;
        }
        let _ = writeln!(text, "\n{title}");
        for finding in group {
            let _ = writeln!(text, "  {}", finding.id);
            for (label, value) in [
                ("is", &finding.current),
                ("needed", &finding.needed),
                ("set by", &finding.source),
                ("evidence", &finding.evidence),
                ("why", &finding.explanation),
            ] {
                if !value.is_empty() {
                    let _ = writeln!(text, "    {label:<9} {value}");
                }
            }
        }
    }
    text
}

fn plan_text(load: &Load, plan: &Plan) -> String {
    let mut text = format!("{} connections\n\n", load.connections);
    for figure in &plan.figures {
        let values: Vec<String> = figure
            .value
            .iter()
            .map(|value| match figure.unit {
                Unit::Bytes if figure.value.len() == 1 => plan::size(*value),
                Unit::Bytes | Unit::Pages | Unit::Count => value.to_string(),
            })
            .collect();
        let unit = if figure.unit == Unit::Pages { " pages" } else { "" };
        let _ = writeln!(text, "{:<50} {}{unit}", figure.id, values.join(" "));
        let _ = writeln!(text, "    = {}", figure.derivation);
    }
    text
}
