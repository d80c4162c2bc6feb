//! The gateway: holds connections and, unless told otherwise, embeds the router tier.

use hawser_gateway::{
    config::{self, Config, Invocation, Stop},
    environment::{Environment, judge},
    log, log_tools,
    start::{Running, StartError, start},
    worker::Phase,
};
use std::{path::Path, process::ExitCode, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes, the same in every Hawser program.
const CONFIGURATION: u8 = 1;
const ENVIRONMENT: u8 = 2;
const INTERRUPTED: u8 = 130;

/// How often the main thread looks whether workers have ended while it waits for a drain.
const WATCH: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let environment = Environment::read(Path::new("/"));
    let machine = environment.machine(cores);
    let read = |path: &Path| std::fs::read_to_string(path);
    let invocation = config::load(std::env::args_os(), std::env::vars(), machine, &read);
    match invocation {
        Ok(Invocation::Run(config)) => run(&config, &environment),
        Ok(Invocation::Check(config)) => {
            config.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            println!("configuration is valid");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Command(command)) => log_tools::run(&command),
        Err(Stop::Shown(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(Stop::Usage(text)) => {
            eprint!("{text}");
            ExitCode::from(CONFIGURATION)
        }
        Err(Stop::Config(error)) => {
            eprintln!("hawser-gateway: {error}");
            ExitCode::from(CONFIGURATION)
        }
    }
}

fn run(config: &Config, environment: &Environment) -> ExitCode {
    log::start(config.log);
    let findings = judge(config, environment);
    for warning in config.warnings.iter().chain(&findings.warnings) {
        tracing::warn!("{warning}");
    }
    if !findings.errors.is_empty() {
        findings.errors.iter().for_each(|error| eprintln!("hawser-gateway: {error}"));
        return ExitCode::from(ENVIRONMENT);
    }
    raise_descriptor_limit();
    match start(config) {
        Ok(running) => serve(config, running),
        Err(error) => {
            eprintln!("hawser-gateway: {error}");
            ExitCode::from(match error {
                StartError::Config(_) => CONFIGURATION,
                StartError::Environment(_) => ENVIRONMENT,
            })
        }
    }
}

/// A ring's table may have as many slots as the soft limit says, so it is raised to the hard one;
/// that it suffices was judged before.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Waits for signals until the workers have ended.
fn serve(config: &Config, running: Running) -> ExitCode {
    let budget = hawser_gateway::limits::MemoryBudget::for_config(
        config.limits.workers,
        config.limits.max_connections,
    );
    eprintln!("{budget}");
    for listener in &config.listeners {
        tracing::info!(address = %listener.address, "listening");
    }
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
            eprintln!("hawser-gateway: {error}");
            ExitCode::from(ENVIRONMENT)
        }
    }
}

/// True: interrupted, end at once. False: drained.
async fn watch(config: &Config, running: &Running) -> Result<bool, String> {
    let on = |kind| signal(kind).map_err(|error| error.to_string());
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut tick = tokio::time::interval(WATCH);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(true),
            _ = terminate.recv() => break,
            _ = tick.tick() => if running.has_ended() { return Err("a worker has ended".into()) },
        }
    }
    tracing::info!(seconds = config.limits.drain_timeout_s, "draining");
    running.set_phase(Phase::Draining);
    let bound = Duration::from_secs(u64::from(config.limits.drain_timeout_s));
    let drained = async {
        while !running.is_over() {
            tick.tick().await;
        }
    };
    let _ = tokio::time::timeout(bound, drained).await;
    Ok(false)
}
