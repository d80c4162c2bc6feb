//! The gateway: holds connections and, unless told otherwise, embeds the router tier.

use hawser_gateway::{
    admin::{Ask, Asks, Outcome, Reloaded},
    config::{self, Command, Config, Invocation, LogFormat, Machine, Stop},
    environment::{self, Environment, Risk, judge},
    limits::MemoryBudget,
    log,
    start::{Running, StartError, check, start, wall_ms},
    worker::Phase,
};
use hawser_router::log_tools;
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
    hawser_gateway::huge_pages::disable();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let environment = Environment::read(Path::new("/"));
    let machine = environment.machine(cores);
    match load(machine) {
        Ok(Invocation::Run(config)) => run(&config, &environment, machine),
        Ok(Invocation::Check(config)) => {
            config.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            if let Err(error) = check(&config) {
                eprintln!("hawser-gateway: {error}");
                return ExitCode::from(CONFIGURATION);
            }
            println!("configuration is valid");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Command(Command::Log(command))) => {
            log_tools::run("hawser-gateway", &command, wall_ms())
        }
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

/// The configuration as it stands now, in all its layers.
fn load(machine: Machine) -> Result<Invocation, Stop> {
    let read = |path: &Path| std::fs::read_to_string(path);
    // A name that is not UTF-8 is none of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    config::load(std::env::args_os(), variables, machine, &read)
}

fn run(config: &Config, environment: &Environment, machine: Machine) -> ExitCode {
    let level = log::start(config.log);
    let findings = judge(config, environment);
    for warning in config.warnings.iter().chain(&findings.warnings) {
        tracing::warn!("{warning}");
    }
    if !findings.errors.is_empty() {
        findings.errors.iter().for_each(|error| eprintln!("hawser-gateway: {error}"));
        return ExitCode::from(ENVIRONMENT);
    }
    say_risks(&environment::risks(config, Path::new("/"), &findings));
    raise_descriptor_limit();
    if !config.limits.core_dumps {
        keep_out_of_core_dumps();
    }
    match start(config) {
        Ok(running) => serve(Reload { config, machine, level }, running),
        Err(error) => {
            eprintln!("hawser-gateway: {error}");
            ExitCode::from(match error {
                StartError::Config(_) => CONFIGURATION,
                StartError::Environment(_) => ENVIRONMENT,
            })
        }
    }
}

/// What hurts under load is no warning for the many who never have it.
fn say_risks(risks: &[Risk]) {
    for risk in risks {
        if risk.is_limit {
            tracing::warn!("{}", risk.text);
        } else {
            tracing::info!("{}", risk.text);
        }
    }
    if !risks.is_empty() {
        tracing::info!("`hawser-tune check` says more of these, `hawser-tune apply` mends them");
    }
}

/// A ring's table may have as many slots as the soft limit says, so it is raised to the hard one;
/// that it suffices was judged before.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Keys and messages stay in memory when the process crashes. The limit keeps them out of files;
/// a program that `kernel.core_pattern` names is not bound by it (core(5)), but by the attribute.
fn keep_out_of_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let kept = setrlimit(Resource::Core, none)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = kept {
        tracing::warn!(%error, "core dumps cannot be forbidden; they would hold keys and messages");
    }
}

/// What a reload starts from.
struct Reload<'a> {
    config: &'a Config,
    machine: Machine,
    level: log::Level,
}

impl Reload<'_> {
    /// Takes over what may change: who may log in, the keys of tokens, the level of the log. A bad
    /// configuration changes nothing.
    fn run(&self, running: &Running) -> Reloaded {
        let refused = match load(self.machine) {
            Ok(Invocation::Run(new)) => match self.take_over(*new, running) {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error.to_string(),
            },
            // The command line is the one it was started with.
            Ok(_) => "the command line asks for something else".to_owned(),
            Err(Stop::Shown(text) | Stop::Usage(text)) => text,
            Err(Stop::Config(error)) => error.to_string(),
        };
        tracing::error!("reload refused, the configuration in force stays: {refused}");
        Err(refused)
    }

    fn take_over(&self, new: Config, running: &Running) -> Result<Outcome, StartError> {
        let mut config = self.config.clone();
        new.clone_reloadable_into(&mut config);
        running.reload(&config)?;
        config.log.level = new.log.level;
        config.warnings.clone_from(&new.warnings);
        self.level.set("info");
        tracing::info!(log_level = new.log.level, "configuration reloaded");
        let restart_needed = config != new;
        if restart_needed {
            tracing::warn!("settings that only a restart takes over differ from those in force");
        }
        self.level.set(new.log.level);
        Ok(Outcome { restart_needed })
    }
}

/// Says with what the process has started, in the form the log has.
fn introduce(config: &Config) {
    let limits = &config.limits;
    let mut budget =
        MemoryBudget::for_config(limits.workers, limits.tables, limits.max_connections);
    if config.listeners.iter().any(|listener| listener.tls) {
        budget = budget.with_tls();
    }
    match config.log.format {
        LogFormat::Text => eprintln!("{budget}"),
        LogFormat::Json => {
            for item in &budget.items {
                let (bytes, bytes_each) = (item.bytes(), item.bytes_each);
                let (what, count, kernel) = (item.what, item.count, item.kernel);
                tracing::info!(what, count, bytes_each, bytes, kernel, "memory budget");
            }
        }
    }
    for listener in &config.listeners {
        let (protocol, address) = (listener.kind.name(), listener.address);
        let (tls, proxy) = (listener.tls, listener.proxy);
        tracing::info!(protocol, %address, tls, proxy, "listening");
    }
    if let Some(address) = config.admin.address {
        tracing::info!(protocol = "admin", %address, "listening");
    }
    tracing::info!(
        workers = limits.workers,
        tables = limits.tables,
        max_connections = limits.max_connections,
        data_dir = %config.store.data_dir.display(),
        "ready"
    );
}

/// Waits for signals until the workers have ended.
fn serve(reload: Reload<'_>, mut running: Running) -> ExitCode {
    let asks = running.take_asks();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(watch(&reload, asks, &running)),
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

/// The next question from the admin port; for ever none, where there is no such port.
async fn next(asks: &mut Option<Asks>) -> Option<Ask> {
    match asks {
        Some(asks) => asks.recv().await,
        None => std::future::pending().await,
    }
}

/// True: interrupted, end at once. False: drained.
async fn watch(
    reload: &Reload<'_>,
    mut asks: Option<Asks>,
    running: &Running,
) -> Result<bool, String> {
    let config = reload.config;
    let on = |kind| signal(kind).map_err(|error| error.to_string());
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hangup = on(SignalKind::hangup())?;
    // Who reads "ready" may send a signal at once, so it is said only now.
    introduce(config);
    let mut tick = tokio::time::interval(WATCH);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(true),
            _ = terminate.recv() => break,
            _ = hangup.recv() => drop(reload.run(running)),
            Some(ask) = next(&mut asks) => match ask {
                // Who asked may have gone.
                Ask::Reload(answer) => drop(answer.send(reload.run(running))),
            },
            _ = tick.tick() => if running.has_ended() { return Err("a worker has ended".into()) },
        }
    }
    // Who asks from now on hears that the process is ending.
    drop(asks);
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
