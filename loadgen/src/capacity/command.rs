//! `hawser-loadgen capacity`: makes the runs that the search asks for.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    outcome::outcome,
    search::{Answer, Bounds, End, Next, Outcome, Purpose, Search, Step},
};
use crate::{
    arguments::{Options, RATE_ALLOWED, RATE_MAX, RunArguments},
    report::{Quantiles, Report},
    run::{self, MakeRing, RunError, Silent},
    scenario::{Curve, Metric, Scenario, Threshold, time},
};

/// Version of the JSON.
pub const SCHEMA: &str = "hawser-capacity/1";

/// What a capacity is worth nothing without, unless a threshold says otherwise.
const ACHIEVED: &str = "achieved/offered >= 0.99";

/// The same for steps shorter than [`HOLD_LONG`]: what is on its way at the end of the schedule is
/// not achieved, and weighs more in them.
const ACHIEVED_SHORT: &str = "achieved/offered >= 0.9";

/// Hold from which on the messages on their way at the end hardly count.
const HOLD_LONG: Duration = Duration::from_secs(10);

/// Measured time of a recovery check: long enough to see a queue that does not drain.
const RECOVERY: Duration = Duration::from_secs(5);

/// Wait for an answer of a server that may be gone.
const PROBE_WAIT: Duration = Duration::from_secs(3);

/// Exit codes beside those of a run.
const EXIT_ARGUMENTS: u8 = 1;
const EXIT_ENVIRONMENT: u8 = 2;
const EXIT_BROKE: u8 = 3;
const EXIT_INVALID: u8 = 5;
const EXIT_INTERRUPTED: u8 = 130;

/// Of `capacity`: those of `run`, and where to search.
#[derive(Clone, Debug, Args)]
pub struct CapacityArguments {
    /// What is run, as after `run`; rate and duration are the search's.
    #[command(flatten)]
    pub run: RunArguments,
    /// First rate tried, messages per second.
    #[arg(long, value_name = "R", default_value_t = 100.0, value_parser = rate,
          help_heading = "Search")]
    pub from: f64,
    /// Highest rate tried.
    #[arg(long, value_name = "R", default_value_t = RATE_MAX, hide_default_value = true,
          value_parser = rate, help_heading = "Search")]
    pub to: f64,
    /// Measured time of each step, after the warm-up.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = time::parse,
          help_heading = "Search")]
    pub hold: Duration,
    /// The search ends when first bad and last good are so many percent apart.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percent,
          help_heading = "Search")]
    pub precision: f64,
    /// Keep the JSON of every run in this directory.
    #[arg(long, value_name = "DIR", help_heading = "Search")]
    pub keep: Option<PathBuf>,
}

/// A step with what its run measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// What was asked.
    #[serde(flatten)]
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
    /// Messages done per second of the measured window.
    pub achieved_rate: f64,
    /// The headline's quantiles.
    pub latency_us: Quantiles,
    /// CPU of the server's process, cores; absent without `--server-pid`.
    pub server_cpu: Option<f64>,
}

/// The result, as `--json` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// [`SCHEMA`].
    pub schema: String,
    /// The scenario, its rate being the last one tried.
    pub scenario: Scenario,
    /// The command line.
    pub command: String,
    /// Where it was searched.
    pub bounds: Bounds,
    /// Measured time of each step, seconds.
    pub hold_s: f64,
    /// Every step in order.
    pub steps: Vec<StepResult>,
    /// What was found; absent after an interrupt.
    pub answer: Option<Answer>,
}

/// A failure with its exit code.
type Failure = (u8, String);

/// Searches, prints and writes; gives the exit code. `number` gives the number of each run.
///
/// # Errors
/// Exit code and one line.
pub fn run<M: MakeRing>(
    arguments: &CapacityArguments,
    command: &str,
    rings: impl Fn() -> M,
    number: impl FnMut() -> Result<u64, String>,
) -> Result<u8, Failure> {
    let (scenario, options) = prepared(arguments).map_err(|reason| (EXIT_ARGUMENTS, reason))?;
    let bounds =
        Bounds { from: arguments.from, to: arguments.to, precision: arguments.precision / 100.0 };
    let mut shell =
        Shell { arguments, scenario, options, command, rings, number, steps: Vec::new() };
    println!("{}", heading());
    let mut search = Search::new(bounds);
    let answer = loop {
        match search.next() {
            Next::Done(answer) => break Some(answer),
            Next::Run(step) => match shell.step(step)? {
                Some(outcome) => search.take(step, outcome),
                None => break None,
            },
        }
    };
    let code = answer.as_ref().map_or(EXIT_INTERRUPTED, exit_code);
    println!("{}", answer.as_ref().map_or_else(|| "interrupted".to_owned(), text));
    if let Some(path) = &arguments.run.json {
        let result = shell.result(bounds, answer);
        let json = serde_json::to_string_pretty(&result).expect("a result has text keys only");
        write(path, "--json", &(json + "\n"))?;
    }
    Ok(code)
}

struct Shell<'a, R, N> {
    arguments: &'a CapacityArguments,
    scenario: Scenario,
    options: Options,
    command: &'a str,
    rings: R,
    number: N,
    steps: Vec<StepResult>,
}

impl<M, R, N> Shell<'_, R, N>
where
    M: MakeRing,
    R: Fn() -> M,
    N: FnMut() -> Result<u64, String>,
{
    /// Makes one run; `None`: it was interrupted.
    fn step(&mut self, step: Step) -> Result<Option<Outcome>, Failure> {
        let hold = match step.purpose {
            Purpose::Recover => self.arguments.hold.min(RECOVERY),
            _ => self.arguments.hold,
        };
        self.scenario.load.curve = Curve::Constant(step.rate);
        self.scenario.duration = self.scenario.warm_up + hold;
        let number = (self.number)().map_err(|reason| (EXIT_ENVIRONMENT, reason))?;
        let rings = (self.rings)();
        let made =
            run::run(&self.scenario, &self.options, self.command, number, rings, &mut Silent);
        let report = match made {
            Ok(report) => report,
            Err(RunError::Environment(reason)) => return self.not_made(step, reason).map(Some),
        };
        if report.interrupted {
            return Ok(None);
        }
        self.keep(&step, &report)?;
        let outcome = outcome(&report);
        self.note(StepResult {
            step,
            outcome: outcome.clone(),
            achieved_rate: report.achieved_rate,
            latency_us: report.latency_us,
            server_cpu: report.server.cpu,
        });
        Ok(Some(outcome))
    }

    /// Only a server that was there before and is gone now has broken; all else is the machine's.
    fn not_made(&mut self, step: Step, reason: String) -> Result<Outcome, Failure> {
        let is_gone = TcpStream::connect_timeout(&self.options.target, PROBE_WAIT).is_err();
        if self.steps.is_empty() || !is_gone {
            return Err((EXIT_ENVIRONMENT, reason));
        }
        let outcome = Outcome::Broke(format!("the server is gone: {reason}"));
        self.note(StepResult {
            step,
            outcome: outcome.clone(),
            achieved_rate: 0.0,
            latency_us: Quantiles::default(),
            server_cpu: None,
        });
        Ok(outcome)
    }

    fn note(&mut self, result: StepResult) {
        println!("{}", line(self.steps.len() + 1, &result));
        self.steps.push(result);
    }

    fn keep(&self, step: &Step, report: &Report) -> Result<(), Failure> {
        let Some(directory) = &self.arguments.keep else { return Ok(()) };
        let failed = |error| (EXIT_ENVIRONMENT, format!("--keep {}: {error}", directory.display()));
        fs::create_dir_all(directory).map_err(failed)?;
        let name = format!("{:02}-{}.json", self.steps.len() + 1, step.rate);
        write(&directory.join(name), "--keep", &report.to_json())
    }

    fn result(self, bounds: Bounds, answer: Option<Answer>) -> Capacity {
        Capacity {
            schema: SCHEMA.to_owned(),
            scenario: self.scenario,
            command: self.command.to_owned(),
            bounds,
            hold_s: self.arguments.hold.as_secs_f64(),
            steps: self.steps,
            answer,
        }
    }
}

/// The scenario with its thresholds, or what does not fit.
fn prepared(arguments: &CapacityArguments) -> Result<(Scenario, Options), String> {
    let run = &arguments.run;
    let without_use = [
        ("--rate", run.rate.is_some()),
        ("--curve", run.curve.is_some()),
        ("--in-flight", run.in_flight.is_some()),
        ("--duration", run.duration.is_some()),
        ("--report", run.report.is_some()),
        ("--csv", run.csv.is_some()),
        ("--hlog", run.hlog.is_some()),
        ("--baseline", run.baseline.is_some()),
    ];
    if let Some((flag, _)) = without_use.iter().find(|(_, given)| *given) {
        return Err(format!(
            "{flag} has no use here: the search sets the rate and --hold the time of each step; \
             --keep DIR keeps the runs"
        ));
    }
    if arguments.from > arguments.to {
        return Err(format!("--from {} is above --to {}", arguments.from, arguments.to));
    }
    if arguments.hold < Duration::from_secs(1) {
        return Err("--hold: at least 1s".to_owned());
    }
    let mut with_time = run.clone();
    with_time.rate = Some(arguments.from);
    let (mut scenario, options) = with_time.resolve()?;
    if scenario.load.in_flight.is_some() {
        return Err("a closed loop has no rate to search for: take load.in_flight out".to_owned());
    }
    if scenario.thresholds.is_empty() {
        return Err("a capacity is the highest rate that holds something: give at least one \
                    --threshold, as --threshold \"p99 < 20ms\""
            .to_owned());
    }
    let is_bounded = |one: &Threshold| one.metric == Metric::AchievedOfOffered;
    if !scenario.thresholds.iter().any(is_bounded) {
        let bound = if arguments.hold < HOLD_LONG { ACHIEVED_SHORT } else { ACHIEVED };
        scenario.thresholds.push(Threshold::parse(bound)?);
    }
    Ok((scenario, options))
}

fn heading() -> String {
    format!(
        "{:>4} {:>12} {:<9} {:>12} {:>10} {:>10} {:>10}  outcome",
        "step", "offered/s", "for", "achieved/s", "p50 ms", "p99 ms", "p99.9 ms"
    )
}

fn line(number: usize, result: &StepResult) -> String {
    let ms = |us: u64| format!("{:.3}", us as f64 / 1000.0);
    let latency = &result.latency_us;
    let outcome = match &result.outcome {
        Outcome::Held => "held".to_owned(),
        Outcome::Broke(what) => format!("broke: {what}"),
        Outcome::Invalid(why) => format!("invalid: {why}"),
    };
    format!(
        "{number:>4} {:>12} {:<9} {:>12.1} {:>10} {:>10} {:>10}  {outcome}",
        result.step.rate,
        purpose(result.step.purpose),
        result.achieved_rate,
        ms(latency.p50),
        ms(latency.p99),
        ms(latency.p999)
    )
}

const fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Climb => "climb",
        Purpose::Descend => "descend",
        Purpose::Bisect => "bisect",
        Purpose::Repeat => "repeat",
        Purpose::Recover => "recovery",
    }
}

/// The answer in words.
fn text(answer: &Answer) -> String {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), |r| format!("{r}/s"));
    let (good, bad) = (rate(answer.last_good), rate(answer.first_bad));
    let broke = answer.broke_first.as_deref().unwrap_or("-");
    match &answer.end {
        End::Found => format!("capacity: last good {good}, first bad {bad}; broke first: {broke}"),
        End::HeldThroughout => format!("capacity: at least {good}, the highest rate tried"),
        End::BrokeThroughout => format!("no rate held down to {bad}; broke first: {broke}"),
        End::GeneratorLimit(why) => {
            format!("the generator was the limit, not the server; last good {good}. {why}")
        }
        End::NoRecovery(what) => format!(
            "the server did not recover after {bad}: last good {good}; broke first: {broke}; still \
             broken at a low rate: {what}"
        ),
        End::Undecided => format!(
            "runs contradict each other: last good {good}, first bad {bad}; broke first: {broke}; \
             a longer --hold helps"
        ),
    }
}

/// 3: the server gave no capacity; 5: the runs did not.
fn exit_code(answer: &Answer) -> u8 {
    match answer.end {
        End::Found | End::HeldThroughout => 0,
        End::BrokeThroughout | End::NoRecovery(_) => EXIT_BROKE,
        End::GeneratorLimit(_) | End::Undecided => EXIT_INVALID,
    }
}

fn write(path: &Path, flag: &str, text: &str) -> Result<(), Failure> {
    let failed = |error| (EXIT_ENVIRONMENT, format!("{flag} {}: {error}", path.display()));
    fs::write(path, text).map_err(failed)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if RATE_ALLOWED.contains(&rate) => Ok(rate),
        _ => Err(format!("allowed: a number per second up to {RATE_MAX}")),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if (0.1..=100.0).contains(&percent) => Ok(percent),
        _ => Err("allowed: 0.1 to 100 percent".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        capacity: CapacityArguments,
    }

    fn prepare(line: &str) -> Result<(Scenario, Options), String> {
        let words = std::iter::once("capacity").chain(line.split('|'));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        prepared(&line.capacity)
    }

    #[test]
    fn thresholds_and_achieved_are_what_has_to_hold() {
        let (scenario, _) = prepare("chat|--threshold|p99 < 20ms").unwrap();
        let texts: Vec<&str> = scenario.thresholds.iter().map(|one| one.text.as_str()).collect();
        assert!(texts.contains(&"p99 < 20ms") && texts.contains(&ACHIEVED), "{texts:?}");
        let own = prepare("chat|--threshold|achieved/offered >= 0.5").unwrap().0;
        let bounds = own.thresholds.iter().filter(|one| one.metric == Metric::AchievedOfOffered);
        assert_eq!(bounds.count(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (line, words) in [
            ("chat|--rate|5|--threshold|p99 < 1s", "--rate has no use here"),
            ("chat|--threshold|p99 < 1s|--from|100|--to|50", "--from 100 is above --to 50"),
            ("chat|--threshold|p99 < 1s|--hold|100ms", "at least 1s"),
            ("hold|--threshold|p99 < 1s", "hold"),
        ] {
            let refusal = prepare(line).unwrap_err();
            assert!(refusal.contains(words), "{line}: {refusal}");
        }
    }

    #[test]
    fn every_end_is_told_and_has_its_exit_code() {
        let answer = |end| Answer {
            last_good: Some(950.0),
            first_bad: Some(1000.0),
            broke_first: Some("p99 < 20ms".to_owned()),
            end,
        };
        for (end, code, words) in [
            (End::Found, 0, "last good 950/s, first bad 1000/s; broke first: p99 < 20ms"),
            (End::HeldThroughout, 0, "at least 950/s"),
            (End::BrokeThroughout, 3, "no rate held"),
            (End::NoRecovery("late".to_owned()), 3, "did not recover"),
            (End::GeneratorLimit("lag".to_owned()), 5, "not the server"),
            (End::Undecided, 5, "contradict"),
        ] {
            let answer = answer(end);
            assert_eq!(exit_code(&answer), code);
            assert!(text(&answer).contains(words), "{}", text(&answer));
        }
    }
}
