//! The router tier as a process of its own: see the README for when it is wanted.

use hawser_router::{
    log_tools,
    process::{
        config::{self, Config, Invocation, Stop},
        now,
        start::{Phase, Running, StartError, start},
    },
};
use std::{path::Path, process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{EnvFilter, fmt};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROGRAM: &str = "hawser-router";

/// Exit codes, the same in every Hawser program.
const CONFIGURATION: u8 = 1;
const ENVIRONMENT: u8 = 2;
const INTERRUPTED: u8 = 130;

/// How often the main thread looks whether the tier has ended.
const WATCH: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    hawser_router::huge_pages::disable();
    let read = |path: &Path| std::fs::read_to_string(path);
    // A name that is not UTF-8 is none of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    match config::load(std::env::args_os(), variables, &read) {
        Ok(Invocation::Run(config)) => run(&config),
        Ok(Invocation::Check(config)) => {
            config.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            println!("configuration is valid");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Log(command)) => log_tools::run(PROGRAM, &command, now().wall_ms),
        Err(Stop::Shown(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(Stop::Usage(text)) => {
            eprint!("{text}");
            ExitCode::from(CONFIGURATION)
        }
        Err(Stop::Config(error)) => {
            eprintln!("{PROGRAM}: {error}");
            ExitCode::from(CONFIGURATION)
        }
    }
}

fn run(config: &Config) -> ExitCode {
    let lines =
        fmt().with_env_filter(EnvFilter::new(config.log_level)).with_writer(std::io::stderr);
    if config.log_json {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_ansi(false).init();
    }
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if config.secret.is_none() && config.routers.len() > 1 {
        tracing::warn!("no --secret-file: whoever reaches the links' address is believed");
    }
    match start(config) {
        Ok(running) => serve(config, running),
        Err(error) => {
            eprintln!("{PROGRAM}: {error}");
            ExitCode::from(match error {
                StartError::Config(_) => CONFIGURATION,
                StartError::Environment(_) => ENVIRONMENT,
            })
        }
    }
}

/// Waits for signals until the tier has ended.
fn serve(config: &Config, running: Running) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(watch(config, &running)),
        Err(error) => Err(error.to_string()),
    };
    let interrupted = matches!(outcome, Ok(true));
    running.set_phase(Phase::Stopping);
    match outcome.map(|_| ()).and(running.join()) {
        Ok(()) if interrupted => ExitCode::from(INTERRUPTED),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{PROGRAM}: {error}");
            ExitCode::from(ENVIRONMENT)
        }
    }
}

/// True: interrupted, end at once. False: drained.
async fn watch(config: &Config, running: &Running) -> Result<bool, String> {
    let on = |kind| signal(kind).map_err(|error| error.to_string());
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    // Who reads "ready" may send a signal at once, so it is said only now.
    tracing::info!(protocol = "link", address = %running.address(), "listening");
    if let Some(address) = running.admin_address() {
        tracing::info!(protocol = "admin", %address, "listening");
    }
    tracing::info!(
        index = config.index,
        routers = config.routers.len(),
        data_dir = %config.data_dir.display(),
        "ready"
    );
    let mut tick = tokio::time::interval(WATCH);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(true),
            _ = terminate.recv() => break,
            _ = tick.tick() => if running.is_over() { return Err("the tier has ended".into()) },
        }
    }
    tracing::info!(seconds = config.drain_timeout_s, "draining");
    running.set_phase(Phase::Draining);
    while !running.is_over() {
        tokio::select! {
            _ = interrupt.recv() => return Ok(true),
            _ = tick.tick() => {}
        }
    }
    Ok(false)
}
