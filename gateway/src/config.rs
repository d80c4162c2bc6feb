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
mod settings;

pub use command::{Command, LogCommand};

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Parser as _;

use crate::{auth::TokenTable, limits};
use command::CommandLine;
use layers::{Given, GivenListener, Layers};

/// Listeners of one configuration; each takes a descriptor per worker.
pub const LISTENERS_MAX: usize = 16;

/// What is wrong with the configuration: exit code 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting, as in the file.
    pub key: String,
    /// The value that was refused, if the key itself is not the fault.
    pub value: Option<String>,
    /// File, variable or flag.
    pub from: Option<String>,
    /// Allowed range, or why not.
    pub reason: String,
}

impl ConfigError {
    fn new(key: &str, value: impl Into<String>, allowed: impl fmt::Display) -> Self {
        Self::refused(key, value, format!("allowed: {allowed}"))
    }

    fn refused(key: &str, value: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: Some(value.into()), from: None, reason: reason.into() }
    }

    fn not_built(key: &str, value: impl Into<String>) -> Self {
        Self::refused(key, value, "not built yet in this version")
    }

    fn at(mut self, from: &str) -> Self {
        self.from.get_or_insert_with(|| from.to_owned());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: `{}`", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = \"{value}\"")?;
        }
        if let Some(from) = &self.from {
            write!(f, " ({from})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// What the machine offers to defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Processors this process may use.
    pub cores: u32,
    /// Hard limit of descriptors (`RLIMIT_NOFILE`), which also bounds each descriptor table.
    pub descriptors_max: u64,
}

/// Protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Hawser's own protocol.
    Native,
}

/// An address to accept on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Protocol spoken there.
    pub kind: ListenerKind,
    /// Where.
    pub address: SocketAddr,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Connections held at most by the process.
    pub max_connections: u32,
    /// Threads with a ring and a descriptor table each.
    pub workers: u32,
    /// Slots of each table: [`limits::TABLE_SLOTS`], or fewer where the descriptor limit is lower.
    pub table_slots: u32,
    /// Longest frame body taken, bytes.
    pub frame_body_bytes_max: u32,
    /// Requests a client may have unanswered.
    pub requests_max: u16,
    /// Queued bytes per connection above which nothing is pushed to it.
    pub outbound_bytes_high: u32,
    /// Accept to complete hello, ms.
    pub handshake_timeout_ms: u32,
    /// A send that does not move closes the connection after this, ms.
    pub send_stall_timeout_ms: u32,
    /// Time last bytes get on close, ms.
    pub close_timeout_ms: u32,
    /// SIGTERM to exit, s.
    pub drain_timeout_s: u32,
}

impl LimitsConfig {
    /// Connections one worker's table holds.
    #[must_use]
    pub const fn connections_per_worker(&self) -> u32 {
        self.table_slots - limits::TABLE_SLOTS_RESERVED
    }
}

/// How logins are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthKind {
    /// Everybody is who they say; loopback only.
    None,
    /// Tokens from `[auth.tokens]` and the token file (already read).
    Token(TokenTable),
    /// Signed tokens.
    Jwt(JwtConfig),
}

/// `[auth] jwt_…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// Secret (HS…) or public key in PEM (RS…, ES…, EdDSA).
    pub key_file: PathBuf,
    /// The only algorithm accepted, as in RFC 7518: `HS256`, …
    pub algorithm: &'static str,
    /// One of these must be in `aud`; empty: not asked.
    pub audience: Vec<String>,
    /// `iss` must be one of these; empty: not asked.
    pub issuer: Vec<String>,
    /// Claim that holds the user's name.
    pub user_claim: String,
    /// Claim that holds the realm's number; `None`: all are in realm 0.
    pub realm_claim: Option<String>,
    /// Clock difference forgiven at `exp` and `nbf`, s.
    pub leeway_s: u32,
}

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Who checks.
    pub kind: AuthKind,
    /// Longest life of a resume token, s; it never outlives the login.
    pub resume_lifetime_s: u32,
}

/// `[heartbeat]`, s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// Class mobile.
    pub mobile_s: u16,
    /// Class web.
    pub web_s: u16,
    /// Class desktop.
    pub desktop_s: u16,
    /// Class bot.
    pub bot_s: u16,
    /// Shortest a client may ask for.
    pub client_min_s: u16,
    /// Longest.
    pub client_max_s: u16,
    /// Silence beyond the heartbeat after which the connection is gone.
    pub grace_s: u16,
}

/// How log data reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritePolicy {
    /// Direct where the file system can, else sync.
    Auto,
    /// `O_DIRECT|O_DSYNC`, or refuse to start.
    Direct,
    /// Write and fdatasync.
    Sync,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Directory of the log and the keys.
    pub data_dir: PathBuf,
    /// Size of a log segment, a multiple of 4096 bytes.
    pub segment_bytes: u64,
    /// How data is written.
    pub write: WritePolicy,
    /// A write starts when so many bytes wait.
    pub commit_bytes: u32,
    /// Or when the oldest record has waited so long, µs.
    pub commit_wait_us: u32,
    /// Messages are readable for so long, hours.
    pub retention_hours: u32,
    /// Files written side by side.
    pub lanes: u32,
}

/// `[router]`, the embedded tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Workers that also host shards.
    pub hosts: u32,
    /// Time T without an acknowledgement after which the head number is sent once, ms; after 2T
    /// the device is in cursor mode.
    pub notify_timeout_ms: u32,
    /// Bound of the dedup windows of one shard.
    pub dedup_bytes_per_shard: u64,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where; `None`: off.
    pub address: Option<SocketAddr>,
    /// File whose first line `/metrics` wants as bearer token.
    pub key_file: Option<PathBuf>,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Form of lines.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
}

/// Everything, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// At least one.
    pub listeners: Vec<ListenerConfig>,
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
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// Worth a line in the log, each.
    pub warnings: Vec<String>,
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

/// Keys of all settings outside `[[listener]]` and `[auth.tokens]`, as `section.name`.
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
        let text = error.render().to_string();
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
            .map_err(|error| ConfigError::refused("config", &name, error.to_string()))?;
        layers.file(&text, &name)?;
    }
    layers.environment(&variables)?;
    layers.flags(&line);
    let config =
        validate(&layers, machine, read).map_err(|error| match layers.origin(&error.key) {
            Some(from) => error.at(from),
            None => error,
        })?;
    let config = Box::new(config);
    Ok(if line.check_config { Invocation::Check(config) } else { Invocation::Run(config) })
}

fn validate(layers: &Layers, machine: Machine, read: ReadFile<'_>) -> Result<Config, ConfigError> {
    layers.choice("router.endpoints").map_err(|error| {
        ConfigError::not_built(&error.key, error.value.unwrap_or_default())
            .at(error.from.as_deref().unwrap_or("default"))
    })?;
    let limits = limits(layers, machine)?;
    let config = Config {
        listeners: listeners(layers)?,
        auth: auth(layers, read)?,
        heartbeat: heartbeat(layers)?,
        store: store(layers)?,
        router: router(layers, machine, limits.workers)?,
        admin: admin(layers)?,
        log: LogConfig {
            format: match layers.choice("log.format")? {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            level: layers.choice("log.level")?,
        },
        limits,
        warnings: layers.warnings.clone(),
    };
    if config.store.lanes > config.router.hosts {
        let reason = format!(
            "{} lanes need as many hosts, there are {} (`router.hosts`)",
            config.store.lanes, config.router.hosts
        );
        return Err(ConfigError::refused("store.lanes", config.store.lanes.to_string(), reason));
    }
    if !layers.insecure {
        refuse_exposed(&config)?;
    }
    Ok(config)
}

/// Refuses to be reachable from other machines without a check of who is there.
fn refuse_exposed(config: &Config) -> Result<(), ConfigError> {
    let exposed = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
    if config.auth.kind == AuthKind::None
        && let Some(listener) = config.listeners.iter().find(|one| exposed(&one.address))
    {
        return Err(ConfigError::refused(
            "listener.address",
            listener.address.to_string(),
            "reachable from other machines with `auth.kind` = \"none\": allowed: a loopback \
             address, auth token or jwt, or --insecure",
        ));
    }
    if let Some(address) = config.admin.address
        && config.admin.key_file.is_none()
        && exposed(&address)
    {
        return Err(ConfigError::refused(
            "admin.address",
            address.to_string(),
            "reachable from other machines without `admin.key_file`: allowed: a loopback \
             address, a key file, or --insecure",
        ));
    }
    Ok(())
}

/// A number of the table that has a default. Ranges in the table fit the type.
fn number<T: TryFrom<u64>>(layers: &Layers, key: &'static str) -> Result<T, ConfigError> {
    let value = layers.integer(key)?.expect("asked only for settings with a default");
    T::try_from(value)
        .map_err(|_| ConfigError::new(key, value.to_string(), layers::find(key).allowed()))
}

fn text(layers: &Layers, key: &'static str) -> Given {
    layers.text(key).expect("asked only for settings with a default")
}

fn path(layers: &Layers, key: &'static str) -> Option<PathBuf> {
    let given = text(layers, key);
    (!given.text.is_empty()).then(|| PathBuf::from(given.text))
}

fn list(layers: &Layers, key: &'static str) -> Vec<String> {
    let given = text(layers, key);
    given
        .text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn limits(layers: &Layers, machine: Machine) -> Result<LimitsConfig, ConfigError> {
    let table_slots = u32::try_from(machine.descriptors_max)
        .unwrap_or(u32::MAX)
        .clamp(2 * limits::TABLE_SLOTS_RESERVED, limits::TABLE_SLOTS);
    let per_worker = table_slots - limits::TABLE_SLOTS_RESERVED;
    let cores = machine.cores.clamp(1, limits::WORKERS_MAX);
    let asked: Option<u32> = optional(layers, "limits.max_connections")?;
    let workers = match optional(layers, "limits.workers")? {
        Some(workers) => workers,
        None => cores.max(asked.map_or(1, |connections| connections.div_ceil(per_worker))),
    };
    let max_connections = asked.unwrap_or(workers * per_worker);
    let needed = max_connections.div_ceil(per_worker);
    if workers < needed || workers > limits::WORKERS_MAX {
        let reason = format!(
            "{max_connections} connections (`limits.max_connections`) need {needed} workers of \
             {per_worker} connections each; allowed: {needed} to {}",
            limits::WORKERS_MAX
        );
        return Err(ConfigError::refused("limits.workers", workers.to_string(), reason));
    }
    Ok(LimitsConfig {
        max_connections,
        workers,
        table_slots,
        frame_body_bytes_max: number(layers, "limits.frame_body_bytes_max")?,
        requests_max: number(layers, "limits.requests_max")?,
        outbound_bytes_high: number(layers, "limits.outbound_bytes_high")?,
        handshake_timeout_ms: number(layers, "limits.handshake_timeout_ms")?,
        send_stall_timeout_ms: number(layers, "limits.send_stall_timeout_ms")?,
        close_timeout_ms: number(layers, "limits.close_timeout_ms")?,
        drain_timeout_s: number(layers, "limits.drain_timeout_s")?,
    })
}

fn optional(layers: &Layers, key: &'static str) -> Result<Option<u32>, ConfigError> {
    let Some(value) = layers.integer(key)? else { return Ok(None) };
    Ok(Some(u32::try_from(value).expect("the table's range is below 2^32")))
}

fn address(key: &str, given: &Given) -> Result<Option<SocketAddr>, ConfigError> {
    if given.text == "off" {
        return Ok(None);
    }
    given.text.parse().map(Some).map_err(|_| {
        ConfigError::new(key, &given.text, "IP:PORT, [IPv6]:PORT or off").at(&given.from)
    })
}

fn listeners(layers: &Layers) -> Result<Vec<ListenerConfig>, ConfigError> {
    for kind in ["websocket", "mqtt"] {
        if let Some(given) = layers.addresses.get(kind).filter(|given| given.text != "off") {
            return Err(ConfigError::not_built(kind, &given.text).at(&given.from));
        }
    }
    // The flag stands for the file's listeners of its kind, all of them.
    let given = match (layers.addresses.get("native"), &layers.listeners) {
        (Some(native), others) => {
            let mut given = others.clone().unwrap_or_default();
            given.retain(|listener| listener.kind != "native");
            given.push(native_at(native.text.clone(), &native.from));
            given
        }
        (None, Some(given)) => given.clone(),
        (None, None) => vec![native_at(settings::NATIVE_ADDRESS.to_owned(), "default")],
    };
    let mut listeners: Vec<ListenerConfig> = Vec::with_capacity(given.len());
    for GivenListener { kind, address: text, from } in given {
        match kind.as_str() {
            "native" => {}
            "websocket" | "mqtt" => {
                return Err(ConfigError::not_built("listener.kind", kind).at(&from));
            }
            _ => return Err(ConfigError::new("listener.kind", kind, "native").at(&from)),
        }
        let Some(at) = address("listener.address", &Given { text, from: from.clone() })? else {
            continue;
        };
        if at.port() != 0 && listeners.iter().any(|other| other.address == at) {
            let reason = "named by two listeners; allowed: each address once";
            return Err(ConfigError::refused("listener.address", at.to_string(), reason).at(&from));
        }
        listeners.push(ListenerConfig { kind: ListenerKind::Native, address: at });
    }
    if listeners.is_empty() || listeners.len() > LISTENERS_MAX {
        let allowed = format!("1 to {LISTENERS_MAX} listeners that are not off");
        return Err(ConfigError::new("listener", listeners.len().to_string(), allowed));
    }
    Ok(listeners)
}

fn native_at(address: String, from: &str) -> GivenListener {
    GivenListener { kind: "native".to_owned(), address, from: from.to_owned() }
}

fn auth(layers: &Layers, read: ReadFile<'_>) -> Result<AuthConfig, ConfigError> {
    let kind = match layers.choice("auth.kind")? {
        "token" => AuthKind::Token(tokens(layers, read)?),
        "jwt" => AuthKind::Jwt(jwt(layers)?),
        _ => AuthKind::None,
    };
    Ok(AuthConfig { kind, resume_lifetime_s: number(layers, "auth.resume_lifetime_s")? })
}

fn tokens(layers: &Layers, read: ReadFile<'_>) -> Result<TokenTable, ConfigError> {
    let mut table = TokenTable::new();
    if let Some(tokens) = &layers.tokens {
        table.add(tokens).map_err(|reason| refused_tokens("auth.tokens", None, reason))?;
    }
    if let Some(file) = path(layers, "auth.token_file") {
        let name = file.display().to_string();
        let refused = |reason| refused_tokens("auth.token_file", Some(&name), reason);
        let content = read(&file).map_err(|error| refused(error.to_string()))?;
        // The parser's own message would quote the line, and with it a token.
        let tokens: toml::Table =
            content.parse().map_err(|_| refused("not a TOML table".to_owned()))?;
        table.add(&tokens).map_err(refused)?;
    }
    if table.is_empty() {
        let reason = "needs tokens in `[auth.tokens]` or `auth.token_file`";
        return Err(ConfigError::refused("auth.kind", "token", reason));
    }
    Ok(table)
}

fn refused_tokens(key: &str, file: Option<&str>, reason: String) -> ConfigError {
    ConfigError { key: key.to_owned(), value: file.map(str::to_owned), from: None, reason }
}

fn jwt(layers: &Layers) -> Result<JwtConfig, ConfigError> {
    let Some(key_file) = path(layers, "auth.jwt_key_file") else {
        return Err(ConfigError::refused("auth.kind", "jwt", "needs `auth.jwt_key_file`"));
    };
    let user_claim = text(layers, "auth.jwt_user_claim").text;
    if user_claim.is_empty() {
        return Err(ConfigError::new("auth.jwt_user_claim", user_claim, "a claim's name"));
    }
    let realm_claim = text(layers, "auth.jwt_realm_claim").text;
    Ok(JwtConfig {
        key_file,
        algorithm: layers.choice("auth.jwt_algorithm")?,
        audience: list(layers, "auth.jwt_audience"),
        issuer: list(layers, "auth.jwt_issuer"),
        user_claim,
        realm_claim: (!realm_claim.is_empty()).then_some(realm_claim),
        leeway_s: number(layers, "auth.jwt_leeway_s")?,
    })
}

fn heartbeat(layers: &Layers) -> Result<HeartbeatConfig, ConfigError> {
    let heartbeat = HeartbeatConfig {
        mobile_s: number(layers, "heartbeat.mobile_s")?,
        web_s: number(layers, "heartbeat.web_s")?,
        desktop_s: number(layers, "heartbeat.desktop_s")?,
        bot_s: number(layers, "heartbeat.bot_s")?,
        client_min_s: number(layers, "heartbeat.client_min_s")?,
        client_max_s: number(layers, "heartbeat.client_max_s")?,
        grace_s: number(layers, "heartbeat.grace_s")?,
    };
    if heartbeat.client_min_s > heartbeat.client_max_s {
        let allowed = format!("5 to {} s (`heartbeat.client_max_s`)", heartbeat.client_max_s);
        let value = heartbeat.client_min_s.to_string();
        return Err(ConfigError::new("heartbeat.client_min_s", value, allowed));
    }
    Ok(heartbeat)
}

fn store(layers: &Layers) -> Result<StoreConfig, ConfigError> {
    let Some(data_dir) = path(layers, "store.data_dir") else {
        return Err(ConfigError::new("store.data_dir", "", "a directory's path"));
    };
    let segment_bytes: u64 = number(layers, "store.segment_bytes")?;
    if segment_bytes % 4096 != 0 {
        let allowed = "multiples of 4096 bytes, the unit of direct writes";
        return Err(ConfigError::new("store.segment_bytes", segment_bytes.to_string(), allowed));
    }
    Ok(StoreConfig {
        data_dir,
        segment_bytes,
        write: match layers.choice("store.write")? {
            "direct" => WritePolicy::Direct,
            "sync" => WritePolicy::Sync,
            _ => WritePolicy::Auto,
        },
        commit_bytes: number(layers, "store.commit_bytes")?,
        commit_wait_us: number(layers, "store.commit_wait_us")?,
        retention_hours: number(layers, "store.retention_hours")?,
        lanes: number(layers, "store.lanes")?,
    })
}

fn router(layers: &Layers, machine: Machine, workers: u32) -> Result<RouterConfig, ConfigError> {
    let most = machine.cores.max(1).min(workers).min(limits::HOSTS_MAX);
    let hosts = optional(layers, "router.hosts")?.unwrap_or(most);
    if hosts > workers {
        let allowed = format!("1 to {workers} (a host is a worker, `limits.workers`)");
        return Err(ConfigError::new("router.hosts", hosts.to_string(), allowed));
    }
    Ok(RouterConfig {
        hosts,
        notify_timeout_ms: number(layers, "router.notify_timeout_ms")?,
        dedup_bytes_per_shard: number(layers, "router.dedup_bytes_per_shard")?,
    })
}

fn admin(layers: &Layers) -> Result<AdminConfig, ConfigError> {
    Ok(AdminConfig {
        address: address("admin.address", &text(layers, "admin.address"))?,
        key_file: path(layers, "admin.key_file"),
    })
}
