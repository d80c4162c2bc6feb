//! The command line. An error names the flag, what was given and what is allowed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

use crate::{
    page::files::PageArguments,
    payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN},
    plan::Load,
    scenario::{
        Arrivals, Curve, HeartbeatShare, Kind, Protocol, Recipients, Scenario, Threshold, time,
    },
    source::{Given, Sources},
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

/// Of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// What the users do: a kind of scenario.
    #[arg(value_enum)]
    pub scenario: Kind,
    /// Server, as address and port [default: Hawser's port of the protocol on 127.0.0.1].
    #[arg(long, value_name = "ADDR")]
    pub target: Option<SocketAddr>,
    /// Protocol spoken.
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
    /// Speak TLS.
    #[arg(long)]
    pub tls: bool,
    /// Certificates in PEM that the server's must be signed by [default: those of the system].
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Take any certificate.
    #[arg(long = "tls-insecure", requires = "tls")]
    pub insecure: bool,
    /// Name that the server's certificate must have [default: localhost].
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Connections in all [default: 1000].
    #[arg(long, value_name = "N", conflicts_with = "pairs",
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: Option<u32>,
    /// Pairs of users who write to each other.
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64 / 2))]
    pub pairs: Option<u32>,
    /// Connections of each user.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub devices: Option<u32>,
    /// Messages per second in all, at fixed times [default: 1000].
    #[arg(long, value_name = "R", conflicts_with = "in_flight", value_parser = rate)]
    pub rate: Option<f64>,
    /// Closed loop instead: messages each pair keeps on their way. For comparing costs, not for
    /// latencies.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub in_flight: Option<u32>,
    /// How long messages are sent, or connections held [default: 10s, hold: 3m].
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub duration: Option<Duration>,
    /// Left out of the latencies at the start of the duration.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub warm_up: Option<Duration>,
    /// Longest wait for outstanding messages at the end.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub drain: Option<Duration>,
    /// New connections per second in all.
    #[arg(long, value_name = "R", value_parser = rate)]
    pub connect_rate: Option<f64>,
    /// To whom users write [default: pair with --pairs, else random].
    #[arg(long, value_enum)]
    pub recipients: Option<Recipients>,
    /// How the intended times are spread.
    #[arg(long, value_enum)]
    pub arrivals: Option<Arrivals>,
    /// Bytes of a message.
    #[arg(long, value_name = "BYTES",
          value_parser = clap::value_parser!(u32)
              .range(PAYLOAD_BYTES_MIN as i64..=PAYLOAD_BYTES_MAX as i64))]
    pub payload: Option<u32>,
    /// Heartbeat to ask for, seconds; 0: the server's.
    #[arg(long, value_name = "SECONDS")]
    pub heartbeat: Option<u16>,
    /// Token shown at login.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub token: String,
    /// Seed of the schedule.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Threads that hold the connections [default: as many as there are cores, or one for 19,900].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// Local addresses to connect from, as 10.0.0.5,10.1.0.0/24 [default: many of 127.0.0.0/8 for
    /// a server there, else the kernel's choice].
    #[arg(long, value_name = "LIST")]
    pub source: Option<Given>,
    /// Process of the server, to measure its CPU and memory.
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Write the result as JSON there.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the result as one HTML page there.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write one line for each second as CSV there.
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write an HdrHistogram interval log there.
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// The JSON of an earlier run, laid over in the page.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Plain lines instead of the live view.
    #[arg(long)]
    pub plain: bool,
    /// Fail (exit code 3) if this does not hold; may be given several times.
    #[arg(long, value_name = "TEXT", value_parser = Threshold::parse)]
    pub threshold: Vec<Threshold>,
    /// Fail (exit code 3) if the 99th percentile of the latency is above.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub p99_max: Option<Duration>,
    /// Call the run invalid (exit code 5) if the generator itself was later than this at the 99th
    /// percentile.
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = time::parse)]
    pub schedule_lag_max: Duration,
    /// Allow a target that is not on this machine.
    #[arg(long)]
    pub allow_remote: bool,
}

/// Where a run goes and with what: no part of what is repeated elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Server.
    pub target: SocketAddr,
    /// Certificates in PEM that the server's must be signed by; none: those of the system.
    pub tls_ca: Option<PathBuf>,
    /// Any certificate is taken.
    pub insecure: bool,
    /// Name that the server's certificate must have.
    pub server_name: String,
    /// Token shown at login.
    pub token: String,
    /// Local addresses to connect from; none: many of loopback for a server there, else the
    /// kernel's choice.
    pub source: Given,
    /// Process of the server.
    pub server_pid: Option<u32>,
    /// Threads that hold the connections; none: as many as there are cores, or one for 19,900.
    pub threads: Option<u32>,
    /// Seed of the schedule.
    pub seed: u64,
    /// A target that is not on this machine is allowed.
    pub allow_remote: bool,
    /// Result as JSON.
    pub json: Option<PathBuf>,
    /// Result as one HTML page.
    pub report: Option<PathBuf>,
    /// One line for each second.
    pub csv: Option<PathBuf>,
    /// HdrHistogram interval log.
    pub hlog: Option<PathBuf>,
    /// JSON of an earlier run, laid over in the page.
    pub baseline: Option<PathBuf>,
    /// Plain lines instead of the live view.
    pub plain: bool,
    /// The run is invalid if the generator's own 99th percentile of lateness is above.
    pub schedule_lag_max: Duration,
}

impl Options {
    /// Everything usual, towards this server.
    pub fn to(target: SocketAddr) -> Self {
        Self {
            target,
            tls_ca: None,
            insecure: false,
            server_name: "localhost".to_owned(),
            token: String::new(),
            source: Given::default(),
            server_pid: None,
            threads: None,
            seed: 1,
            allow_remote: false,
            json: None,
            report: None,
            csv: None,
            hlog: None,
            baseline: None,
            plain: false,
            schedule_lag_max: Duration::from_millis(20),
        }
    }
}

/// Of `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArguments {
    /// Connections in all.
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: u32,
    /// Server, as address and port: on this machine both ends are counted.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7900")]
    pub target: SocketAddr,
    /// Local addresses to connect from, as 10.0.0.5,10.1.0.0/24.
    #[arg(long, value_name = "LIST")]
    pub source: Option<Given>,
    /// Threads that hold the connections [default: as many as there are cores, or one for 19,900].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// Over TLS.
    #[arg(long)]
    pub tls: bool,
}

impl PlanArguments {
    /// What is planned.
    pub fn load(&self) -> Load {
        Load {
            connections: self.connections,
            target: self.target,
            given: self.source.clone().unwrap_or_default(),
            threads: self.threads,
            tls: self.tls,
        }
    }
}

impl RunArguments {
    /// What to do, and where and with what.
    ///
    /// # Errors
    /// One line that names the flag and what is allowed.
    pub fn resolve(&self) -> Result<(Scenario, Options), String> {
        let mut scenario = Scenario::usual(self.scenario);
        self.lay_over(&mut scenario)?;
        let options = self.options(&scenario);
        self.check_flags(&scenario)?;
        check(&scenario)?;
        check_target(&scenario, &options)?;
        Ok((scenario, options))
    }

    /// Flags win over the file.
    fn lay_over(&self, scenario: &mut Scenario) -> Result<(), String> {
        fn set<T: Copy>(field: &mut T, flag: Option<T>) {
            if let Some(value) = flag {
                *field = value;
            }
        }
        set(&mut scenario.protocol, self.protocol);
        scenario.tls |= self.tls;
        set(&mut scenario.devices, self.devices);
        if let Some(pairs) = self.pairs {
            scenario.users = pairs * 2;
            scenario.recipients = Recipients::Pair;
        }
        if let Some(connections) = self.connections {
            let devices = scenario.devices;
            if !connections.is_multiple_of(devices) {
                return Err(format!(
                    "--connections {connections}: with {devices} devices of each user a multiple \
                     of {devices} is needed"
                ));
            }
            scenario.users = connections / devices;
        }
        set(&mut scenario.recipients, self.recipients);
        set(&mut scenario.duration, self.duration);
        set(&mut scenario.warm_up, self.warm_up);
        set(&mut scenario.drain, self.drain);
        set(&mut scenario.payload_bytes, self.payload);
        set(&mut scenario.connect.rate, self.connect_rate);
        set(&mut scenario.load.arrivals, self.arrivals);
        if let Some(rate) = self.rate {
            scenario.load.curve = Curve::Constant(rate);
        }
        scenario.load.in_flight = self.in_flight.or(scenario.load.in_flight);
        if let Some(seconds) = self.heartbeat {
            scenario.heartbeats = vec![HeartbeatShare { share: 1.0, seconds }];
        }
        scenario.thresholds.extend(self.threshold.iter().cloned());
        if let Some(bound) = self.p99_max {
            scenario.thresholds.push(Threshold::parse(&format!("p99 <= {}", time::text(bound)))?);
        }
        Ok(())
    }

    fn options(&self, scenario: &Scenario) -> Options {
        let port = scenario.protocol.port(scenario.tls);
        let target = self.target.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into());
        let usual = Options::to(target);
        Options {
            target,
            tls_ca: self.tls_ca.clone(),
            insecure: self.insecure,
            server_name: self.server_name.clone().unwrap_or(usual.server_name),
            token: self.token.clone(),
            source: self.source.clone().unwrap_or_default(),
            server_pid: self.server_pid,
            threads: self.threads,
            seed: self.seed,
            allow_remote: self.allow_remote,
            json: self.json.clone(),
            report: self.report.clone(),
            csv: self.csv.clone(),
            hlog: self.hlog.clone(),
            baseline: self.baseline.clone(),
            plain: self.plain,
            schedule_lag_max: self.schedule_lag_max,
        }
    }

    /// Flags that mean nothing for this kind are refused: who gives them expects something.
    fn check_flags(&self, scenario: &Scenario) -> Result<(), String> {
        if scenario.kind.sends() {
            return Ok(());
        }
        let of_messages = [
            ("--pairs", self.pairs.is_some()),
            ("--rate", self.rate.is_some()),
            ("--in-flight", self.in_flight.is_some()),
            ("--recipients", self.recipients.is_some()),
        ];
        let kind = scenario.kind.name();
        match of_messages.iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                Err(format!("{flag} is for kinds that send messages, as chat; {kind} sends none"))
            }
            None => Ok(()),
        }
    }
}

/// What does not fit together in a scenario.
fn check(scenario: &Scenario) -> Result<(), String> {
    let connections = u64::from(scenario.users) * u64::from(scenario.devices);
    if connections > u64::from(CONNECTIONS_MAX) {
        return Err(format!(
            "users {} times devices {} are {connections} connections; allowed: up to \
             {CONNECTIONS_MAX}",
            scenario.users, scenario.devices
        ));
    }
    if !scenario.kind.sends() {
        return Ok(());
    }
    if scenario.users % 2 == 1 && scenario.recipients == Recipients::Pair {
        return Err(format!("{} users: pairs need an even number", scenario.users));
    }
    if scenario.users < 2 {
        return Err("1 user: a chat needs at least 2".to_owned());
    }
    if scenario.load.in_flight.is_some() && scenario.recipients == Recipients::Random {
        return Err("--in-flight needs pairs: give --pairs, or --recipients pair".to_owned());
    }
    if scenario.warm_up >= scenario.duration {
        return Err(format!(
            "warm-up {} leaves nothing of duration {}",
            time::text(scenario.warm_up),
            time::text(scenario.duration)
        ));
    }
    Ok(())
}

fn check_target(scenario: &Scenario, options: &Options) -> Result<(), String> {
    let target = options.target;
    if !target.ip().is_loopback() && !options.allow_remote {
        return Err(format!(
            "--target {target} is not on this machine: load goes to 127.0.0.0/8 and ::1 only, \
             unless --allow-remote says that the target's owner agrees"
        ));
    }
    Sources::new(target.ip(), &options.source, scenario.connections(), 0).map(|_| ())
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=100e6).contains(&rate) => Ok(rate),
        _ => Err("allowed: a number per second from 0.001 to 100000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Scenario, Options), String> {
        let words = ["hawser-loadgen", "run"].into_iter().chain(line.split_whitespace());
        match Arguments::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Run(run) => run.resolve(),
            _ => unreachable!("the line says run"),
        }
    }

    #[test]
    fn usual_lines_are_understood() {
        let (hold, options) = parse("hold --connections 1000000").unwrap();
        assert_eq!((hold.users, hold.duration.as_secs()), (1_000_000, 180));
        assert_eq!(options.target, "127.0.0.1:7900".parse().unwrap());
        let (chat, _) =
            parse("chat --pairs 1000 --rate 5000 --duration 30s --target [::1]:7900").unwrap();
        assert_eq!((chat.users, chat.load.curve), (2000, Curve::Constant(5000.0)));
        let (random, _) = parse("chat --connections 100 --duration 2m").unwrap();
        assert_eq!(random.recipients, Recipients::Random);
    }

    #[test]
    fn wrong_values_are_named_with_what_is_allowed() {
        for (line, words) in [
            ("hold --target 8.8.8.8:7900", "--allow-remote"),
            ("hold --target [::1]:7900 --connections 20000", "IPv6 loopback has one"),
            ("hold --target nowhere", "--target <ADDR>"),
            ("hold --connections 0", "1..=4000000"),
            ("hold --rate 5", "--rate is for kinds that send"),
            ("chat --pairs 1 --connections 2", "cannot be used with"),
            ("chat --connections 3 --recipients pair", "even"),
            ("chat --connections 1", "at least 2"),
            ("chat --rate 0", "from 0.001"),
            ("chat --duration 10x", "10s\", up to 24h"),
            ("chat --duration 1s --warm-up 1s", "leaves nothing"),
            ("chat --payload 10", "36..=32768"),
            ("chat --in-flight 1", "needs pairs"),
            ("dance", "hold, storm"),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.contains(words), "{line}: {message}");
        }
    }
}
