//! Configuration: parsed once, validated, frozen.
//!
//! Layers, the later over the earlier: defaults, the TOML file, `HAWSER_…` variables, flags. An
//! error names key, value and what is allowed. Nothing here reads a clock, a file or the
//! environment: arguments, variables, the machine's facts and a reader of files are given, so that
//! every refusal is a test.
//!
//! Invariant: a [`Config`] exists only if every value in it is usable; nothing after [`load`]
//! checks a setting again.

mod command;
mod layers;
mod parts;
mod protocols;
mod settings;
mod validate;

pub use hawser_router::settings::ConfigError;

pub use command::{Command, LogCommand};
pub use parts::{
    AdminConfig, AuthConfig, AuthKind, HeartbeatConfig, JwtConfig, LimitsConfig, LogConfig,
    LogFormat, RouterConfig, StoreConfig, WritePolicy,
};
pub use protocols::{
    CertificateFiles, CertificateSource, ClientAuth, KeyExchange, MqttConfig, TlsConfig,
    TlsVersion, WebSocketConfig,
};
pub use validate::LISTENERS_MAX;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use clap::Parser as _;

use crate::{
    admin,
    auth::Authenticator,
    listener::{ListenerSettings, Network},
};
use command::CommandLine;
use layers::Layers;

/// What the machine offers to defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Processors this process may use.
    pub cores: u32,
    /// Hard limit of descriptors (`RLIMIT_NOFILE`), which also bounds each descriptor table.
    pub descriptors_max: u64,
}

/// Everything, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// At least one.
    pub listeners: Vec<ListenerSettings>,
    /// `[limits]`.
    pub limits: LimitsConfig,
    /// `[auth]`.
    pub auth: AuthConfig,
    /// `[heartbeat]`.
    pub heartbeat: HeartbeatConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[router]`.
    pub router: RouterConfig,
    /// Keys of resume tokens, if not those of the data directory.
    pub resume_key_file: Option<PathBuf>,
    /// `[tls]`.
    pub tls: TlsConfig,
    /// `[proxy] from`: who may send PROXY headers.
    pub proxies: Vec<Network>,
    /// `[websocket]`.
    pub websocket: WebSocketConfig,
    /// `[mqtt]`.
    pub mqtt: MqttConfig,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// Worth a line in the log, each.
    pub warnings: Vec<String>,
}

impl Config {
    /// Puts into `running` what may change without a restart.
    pub fn clone_reloadable_into(&self, running: &mut Self) {
        running.auth.clone_from(&self.auth);
        running.tls.clone_from(&self.tls);
        running.websocket.clone_from(&self.websocket);
        running.mqtt.clone_from(&self.mqtt);
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Serve.
    Run(Box<Config>),
    /// `--check-config`, and it is good: exit 0.
    Check(Box<Config>),
    /// A sub-command; no configuration is read for it.
    Command(Command),
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `--help` or `--version` was asked: print to standard output, exit 0.
    Shown(String),
    /// The command line does not parse: print to standard error, exit 1.
    Usage(String),
    /// The configuration is refused: print to standard error, exit 1.
    Config(ConfigError),
}

impl From<ConfigError> for Stop {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Reads a file whole; `std::fs::read_to_string` in the program.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Keys of all settings outside `[[listener]]`, `[auth.tokens]` and `[[mqtt.rule]]`, as `section.name`.
pub fn keys() -> impl Iterator<Item = &'static str> {
    settings::SETTINGS.iter().map(|setting| setting.key)
}

/// Command line, variables and file to a configuration.
///
/// `arguments` begins with the program's name.
///
/// # Errors
/// See [`Stop`].
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (String, String)>,
    machine: Machine,
    read: ReadFile<'_>,
) -> Result<Invocation, Stop> {
    let line = CommandLine::try_parse_from(arguments).map_err(|error| {
        let mut text = error.render().to_string();
        text.push_str(match error.kind() {
            clap::error::ErrorKind::InvalidSubcommand => {
                "\nTo serve, give no command; a configuration file is named by --config FILE.\n"
            }
            clap::error::ErrorKind::UnknownArgument => {
                "\nSettings without a flag stand in the file (--config FILE) or in a variable \
                 (HAWSER_LOG_LEVEL for `level` of `[log]`).\n"
            }
            _ => "",
        });
        if error.use_stderr() { Stop::Usage(text) } else { Stop::Shown(text) }
    })?;
    if let Some(command) = line.command {
        return Ok(Invocation::Command(command));
    }
    let variables: BTreeMap<String, String> = variables.into_iter().collect();
    let mut layers = Layers::default();
    let named = variables.get("HAWSER_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
    if let Some(path) = line.config.clone().or(named) {
        let name = path.display().to_string();
        let text = read(&path)
            .map_err(|error| ConfigError::refused("config", &name, unreadable(&error)))?;
        layers.file(&text, &name)?;
    }
    layers.environment(&variables)?;
    layers.flags(&line);
    let checked = validate::validate(&layers, machine, read).and_then(|config| {
        // Keys are read again where they are used; here a bad one is found while it is cheap.
        Authenticator::new(&config.auth, &[0; 32], read)?;
        admin::read_key(&config.admin, read)?;
        Ok(config)
    });
    let config = checked.map_err(|error| match layers.origin(&error.key) {
        Some(from) => error.at(from),
        None => error,
    })?;
    let config = Box::new(config);
    Ok(if line.check_config { Invocation::Check(config) } else { Invocation::Run(config) })
}
