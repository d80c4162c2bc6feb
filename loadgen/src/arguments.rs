//! The command line. An error names the flag, what was given and what is allowed.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    identity::CONNECTIONS_PER_ADDRESS,
    page::files::PageArguments,
    payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN},
    schedule::{Arrivals, Recipients},
};

/// Users of one run at most: 102 rings' worth and a little.
pub const CONNECTIONS_MAX: u32 = 4_000_000;

/// Load generator with a message oracle. Latencies count from the intended time of a message,
/// which is fixed by the seed before the run (no coordinated omission).
///
/// Exit codes: 0 clean, 1 wrong arguments, 2 environment or target, 3 threshold failed,
/// 4 a message was lost, doubled, reordered or damaged, 5 run invalid, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "hawser-loadgen", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Sub-commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario against a server and judge it.
    Run(Box<RunArguments>),
    /// Lay results of runs over each other on one page.
    Page(PageArguments),
    /// Say what a run needs on this machine and what is missing.
    Plan(PlanArguments),
}

/// What the users of a run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Log in and answer heartbeats.
    Hold,
    /// Send direct messages.
    Chat,
}

/// Protocols a run can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Hawser's own.
    Native,
}

/// Of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// What the users do.
    pub scenario: Scenario,
    /// Server, as address and port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7900")]
    pub target: SocketAddr,
    /// Protocol spoken.
    #[arg(long, value_enum, default_value_t = Protocol::Native)]
    pub protocol: Protocol,
    /// Users, each with one connection [default: 1000].
    #[arg(long, value_name = "N", conflicts_with = "pairs",
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: Option<u32>,
    /// Pairs of users (chat only).
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64 / 2))]
    pub pairs: Option<u32>,
    /// Messages per second in all, at fixed times (chat only) [default: 1000].
    #[arg(long, value_name = "R", conflicts_with = "in_flight", value_parser = rate)]
    pub rate: Option<f64>,
    /// Closed loop instead: messages each pair keeps on their way. For comparing costs, not for
    /// latencies.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub in_flight: Option<u32>,
    /// How long messages are sent, or connections held [default: 10s, hold: 3m].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Left out of the latencies at the start of the duration.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub warm_up: Duration,
    /// Longest wait for outstanding messages at the end.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub drain: Duration,
    /// New connections per second in all.
    #[arg(long, value_name = "R", default_value = "20000", value_parser = rate)]
    pub connect_rate: f64,
    /// To whom users write [default: pair with --pairs, else random].
    #[arg(long, value_enum)]
    pub recipients: Option<Recipients>,
    /// How the intended times are spread.
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    pub arrivals: Arrivals,
    /// Bytes of a message.
    #[arg(long, value_name = "BYTES", default_value_t = 64,
          value_parser = clap::value_parser!(u32)
              .range(PAYLOAD_BYTES_MIN as i64..=PAYLOAD_BYTES_MAX as i64))]
    pub payload: u32,
    /// Heartbeat to ask for, seconds; 0: the server's.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub heartbeat: u16,
    /// Token shown at login.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub token: String,
    /// Seed of the schedule.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Threads that hold the connections [default: as many as there are cores, or one for 19,900].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// Process of the server, to measure its CPU and memory.
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Write the result as JSON there.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Fail (exit code 3) if the 99th percentile of the latency is above.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub p99_max: Option<Duration>,
    /// Call the run invalid (exit code 5) if the generator itself was later than this at the 99th
    /// percentile.
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = duration)]
    pub schedule_lag_max: Duration,
    /// Allow a target that is not on this machine.
    #[arg(long)]
    pub allow_remote: bool,
}

/// Of `plan`.
#[derive(Clone, Copy, Debug, Args)]
pub struct PlanArguments {
    /// Users, each with one connection.
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: u32,
}

impl RunArguments {
    /// What does not fit together.
    ///
    /// # Errors
    /// One line that names the flag and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if !self.target.ip().is_loopback() && !self.allow_remote {
            return Err(format!(
                "--target {} is not on this machine: load goes to 127.0.0.0/8 and ::1 only, unless \
                 --allow-remote says that the target's owner agrees",
                self.target
            ));
        }
        let one_address = self.target.is_ipv6() && self.target.ip().is_loopback();
        let many = self.users() > CONNECTIONS_PER_ADDRESS || self.threads.unwrap_or(1) > 1;
        if one_address && many {
            return Err(format!(
                "--target {}: IPv6 loopback has one source address, enough for \
                 {CONNECTIONS_PER_ADDRESS} connections of one thread; 127.0.0.0/8 has no such limit",
                self.target
            ));
        }
        if self.scenario == Scenario::Hold {
            let chat_only = [
                ("--pairs", self.pairs.is_some()),
                ("--rate", self.rate.is_some()),
                ("--in-flight", self.in_flight.is_some()),
                ("--recipients", self.recipients.is_some()),
            ];
            if let Some((flag, _)) = chat_only.iter().find(|(_, given)| *given) {
                return Err(format!("{flag} is for the scenario chat; hold sends no messages"));
            }
            return Ok(());
        }
        if self.users() % 2 == 1 && self.recipients() == Recipients::Pair {
            let users = self.users();
            return Err(format!("--connections {users}: pairs need an even number"));
        }
        if self.users() < 2 {
            return Err("--connections 1: a chat needs at least 2 users".to_owned());
        }
        if self.in_flight.is_some() && self.recipients() == Recipients::Random {
            return Err("--in-flight needs pairs: give --pairs, or --recipients pair".to_owned());
        }
        if self.warm_up >= self.duration() {
            return Err(format!(
                "--warm-up {:?} leaves nothing of --duration {:?}",
                self.warm_up,
                self.duration()
            ));
        }
        Ok(())
    }

    /// Users in all.
    pub fn users(&self) -> u32 {
        self.pairs.map_or(self.connections.unwrap_or(1000), |pairs| pairs * 2)
    }

    /// Duration of the measured phase, warm-up included.
    pub fn duration(&self) -> Duration {
        let usual = if self.scenario == Scenario::Hold { 180 } else { 10 };
        self.duration.unwrap_or(Duration::from_secs(usual))
    }

    /// Messages per second.
    pub fn rate(&self) -> f64 {
        self.rate.unwrap_or(1000.0)
    }

    /// To whom users write.
    pub fn recipients(&self) -> Recipients {
        let usual = if self.pairs.is_some() { Recipients::Pair } else { Recipients::Random };
        self.recipients.unwrap_or(usual)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=100e6).contains(&rate) => Ok(rate),
        _ => Err("allowed: a number per second from 0.001 to 100000000".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let allowed =
        || "allowed: a number and ms, s, m or h, as in 500ms or 10s, up to 24h".to_owned();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| allowed())?;
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(allowed()),
    };
    let ms = number.checked_mul(unit_ms).filter(|ms| *ms <= 24 * 3_600_000).ok_or_else(allowed)?;
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<RunArguments, String> {
        let words = ["hawser-loadgen", "run"].into_iter().chain(line.split_whitespace());
        match Arguments::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Run(run) => run.check().map(|()| *run),
            Command::Plan(_) => unreachable!("the line says run"),
        }
    }

    #[test]
    fn usual_lines_are_understood() {
        let hold = parse("hold --connections 1000000").unwrap();
        assert_eq!((hold.users(), hold.duration().as_secs()), (1_000_000, 180));
        let chat = parse("chat --pairs 1000 --rate 5000 --duration 30s --target [::1]:7900");
        assert_eq!(chat.unwrap().users(), 2000);
        let random = parse("chat --connections 100 --duration 2m").unwrap();
        assert_eq!(random.recipients(), Recipients::Random);
    }

    #[test]
    fn wrong_values_are_named_with_what_is_allowed() {
        for (line, words) in [
            ("hold --target 8.8.8.8:7900", "--allow-remote"),
            ("hold --target [::1]:7900 --connections 20000", "IPv6 loopback has one"),
            ("hold --target nowhere", "--target <ADDR>"),
            ("hold --connections 0", "1..=4000000"),
            ("hold --rate 5", "--rate is for the scenario chat"),
            ("chat --pairs 1 --connections 2", "cannot be used with"),
            ("chat --connections 3 --recipients pair", "even"),
            ("chat --connections 1", "at least 2"),
            ("chat --rate 0", "from 0.001"),
            ("chat --duration 10x", "500ms or 10s"),
            ("chat --duration 1s --warm-up 1s", "leaves nothing"),
            ("chat --payload 10", "36..=32768"),
            ("chat --in-flight 1", "needs pairs"),
            ("dance", "hold, chat"),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.contains(words), "{line}: {message}");
        }
    }
}
