//! `heartbeat --measure`: a real path is asked how much silence it bears; `heartbeat --echo`: the other
//! end for it.

use crate::{Failure, print, print_json};
use hawser_tune::heartbeat::{
    measure::{RealPath, Speech, echo},
    probe::{Probe, Tried},
    schedule::MARGIN,
};
use std::{
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    time::Duration,
};

#[derive(clap::Args)]
pub struct Options {
    /// Instead: find out how much silence the path to this server bears, by one idle connection after
    /// the other. Takes hours where time-outs are long.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "echo")]
    measure: Option<String>,
    /// What that server understands: `echo` (see --echo) or `mqtt` (any MQTT server without login).
    #[arg(long, default_value = "echo", value_name = "SPEECH", value_parser = speech)]
    speak: Speech,
    /// Shortest silence the path is sure to bear, seconds.
    #[arg(long, default_value_t = 15.0, value_name = "SECONDS", value_parser = seconds)]
    shortest: f64,
    /// Longest silence of interest, seconds.
    #[arg(long, default_value_t = 3600.0, value_name = "SECONDS", value_parser = seconds)]
    longest: f64,
    /// Try this silence only.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    silence: Option<f64>,
    /// An answer that takes longer does not come, seconds.
    #[arg(long, default_value_t = 8.0, value_name = "SECONDS", value_parser = seconds)]
    answer_within: f64,
    /// Instead: send back what connections to this address say, until interrupted.
    #[arg(long, value_name = "ADDR:PORT")]
    echo: Option<SocketAddr>,
}

/// Longer than any time-out of a path that was heard of: a day.
const SILENCE_MAX_S: f64 = 86_400.0;

fn seconds(text: &str) -> Result<f64, String> {
    let allowed = || format!("more than 0 and at most {SILENCE_MAX_S} seconds");
    let seconds: f64 = text.parse().map_err(|_| allowed())?;
    if seconds > 0.0 && seconds <= SILENCE_MAX_S { Ok(seconds) } else { Err(allowed()) }
}

fn speech(text: &str) -> Result<Speech, String> {
    match text {
        "echo" => Ok(Speech::Echo),
        "mqtt" => Ok(Speech::Mqtt),
        _ => Err("echo or mqtt".to_owned()),
    }
}

/// False: neither was asked for.
pub fn run(options: &Options, json: bool) -> Result<bool, Failure> {
    if let Some(address) = options.echo {
        let listener = TcpListener::bind(address)
            .map_err(|error| Failure::Environment(format!("--echo {address}: {error}")))?;
        print(&format!("sending back what is said to {address}\n"));
        echo(&listener, None).map_err(|error| Failure::Environment(error.to_string()))?;
        return Ok(true);
    }
    let Some(target) = &options.measure else { return Ok(false) };
    let unreachable =
        |error: std::io::Error| Failure::Environment(format!("--measure {target}: {error}"));
    let path = RealPath {
        target: target
            .to_socket_addrs()
            .map_err(unreachable)?
            .next()
            .ok_or_else(|| Failure::Arguments(format!("--measure {target}: no such host")))?,
        speech: options.speak,
        answer_within: Duration::from_secs_f64(options.answer_within),
    };
    let mut tries = Vec::new();
    let mut ask = |silence_s: f64| {
        let tried = path.bears(silence_s).map_err(unreachable)?;
        tries.push(tried);
        if !json {
            print(&said(tried));
        }
        Ok(tried)
    };
    if let Some(silence_s) = options.silence {
        let tried = ask(silence_s)?;
        if json {
            print_json(&serde_json::json!({ "version": 1, "tries": [tried] }));
        }
        return if tried.borne { Ok(true) } else { Err(Failure::Judged("it was cut".to_owned())) };
    }
    if options.shortest >= options.longest {
        return Err(Failure::Arguments(format!(
            "--shortest is {}: it must be below --longest, {}",
            options.shortest, options.longest
        )));
    }
    let mut probe = Probe::between(options.shortest, options.longest);
    probe.search(&mut ask)?;
    let cut_seen = tries.iter().any(|tried| !tried.borne);
    let borne_seen = tries.iter().any(|tried| tried.borne);
    if json {
        print_json(&serde_json::json!({ "version": 1, "tries": tries, "borne_s": probe.borne_s(),
            "cut_s": probe.cut_s(), "answer_s": probe.answer_s() }));
    } else {
        print(&answer(&probe, borne_seen, cut_seen));
    }
    Ok(true)
}

fn said(Tried { silence_s, borne }: Tried) -> String {
    format!("{silence_s:>8.1} s of silence: {}\n", if borne { "borne" } else { "cut" })
}

fn answer(probe: &Probe, borne_seen: bool, cut_seen: bool) -> String {
    let margin = MARGIN * probe.borne_s();
    match (borne_seen, cut_seen) {
        (_, false) => format!(
            "the path bears all that was tried, {:.0} s; a heartbeat of {margin:.0} s is safe\n",
            probe.borne_s()
        ),
        (false, true) => {
            format!("the path cuts before {:.1} s: try a smaller --shortest\n", probe.cut_s())
        }
        (true, true) => format!(
            "the path bears {:.1} s and cuts at {:.1} s; a heartbeat of {margin:.0} s is safe ({MARGIN} of \
             what it bears)\n",
            probe.borne_s(),
            probe.cut_s()
        ),
    }
}
