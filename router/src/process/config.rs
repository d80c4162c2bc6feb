//! Configuration of the separate router: parsed once, validated, frozen.
//!
//! Layers as the gateway's, the later over the earlier: defaults, the TOML file, `HAWSER_…`
//! variables, flags. An error names key, value and what is allowed. Nothing here reads a clock, a
//! file or the environment.
//!
//! Invariant: a [`Config`] exists only if every value in it is usable.

mod layers;

use crate::{
    admin::{AdminKey, KEY_BYTES_MIN},
    host::TopicBounds,
    link::{LinkSecret, SECRET_BYTES_MIN},
    log_tools::LogCommand,
    settings::{ConfigError, Kind, Setting, integer, setting},
};
use clap::Parser as _;
use layers::Layers;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

const MIB: u64 = 1 << 20;
/// Routers of a list: more would own less than four shards each, and every router has a link to
/// every other.
pub const ROUTERS_MAX: u64 = 64;

/// Every setting.
const SETTINGS: &[Setting] = &[
    setting("link.listen", Kind::Text, Some("127.0.0.1:7910")).flag("listen"),
    setting("link.routers", Kind::List, Some("")).flag("routers"),
    integer("link.index", 0, ROUTERS_MAX - 1, "", "").flag("index").decided_later(),
    setting("link.secret_file", Kind::Text, Some("")).flag("secret-file"),
    setting("store.data_dir", Kind::Text, Some("./hawser-router-data")).flag("data-dir"),
    integer("store.segment_bytes", 4 * MIB, 4096 * MIB, "bytes", "268435456"),
    setting("store.write", Kind::Choice(&["auto", "direct", "sync"]), Some("auto")),
    integer("store.commit_bytes", 4096, 4 * MIB, "bytes", "65536"),
    integer("store.commit_wait_us", 0, 100_000, "us", "500"),
    integer("store.retention_hours", 2, 10 * 365 * 24, "h", "72"),
    integer("router.notify_timeout_ms", 100, 600_000, "ms", "5000"),
    integer("router.dedup_bytes_per_shard", 64 * 1024, 4096 * MIB, "bytes", "67108864"),
    integer("router.kept_sessions_max", 1, 64 * MIB, "", "1000000"),
    integer("router.queue_entries_max", 1, MIB, "", "1024"),
    integer("router.queue_bytes_max", 64 * 1024, 4096 * MIB, "bytes", "16777216"),
    integer("router.retained_max", 0, 64 * MIB, "", "1000000"),
    integer("router.retained_bytes_max", 64 * 1024, 65_536 * MIB, "bytes", "268435456"),
    integer("router.requests_max", 1, 1024, "", "64"),
    integer("router.body_bytes_max", 1024, MIB, "bytes", "65536"),
    integer("limits.drain_timeout_s", 0, 3_600, "s", "25"),
    setting("admin.address", Kind::Address, Some("127.0.0.1:7981")).flag("admin"),
    setting("admin.key_file", Kind::Text, Some("")),
    setting("log.format", Kind::Choice(&["text", "json"]), Some("text")),
    setting("log.level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), Some("info")),
];

/// Hawser's router: numbers messages, keeps them and brings them to every device, for gateways that
/// reach it over links.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "hawser-router", version)]
struct CommandLine {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the log [default: ./hawser-router-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address where gateways and other routers connect [default: 127.0.0.1:7910].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// All routers, this one included, in the order that every gateway and router is given
    /// [default: this one alone].
    #[arg(long, value_name = "ADDR[,ADDR...]")]
    routers: Option<String>,
    /// Place of this router in the list, from 0 [default: that of --listen].
    #[arg(long, value_name = "I")]
    index: Option<String>,
    /// File with the secret that gateways and routers share.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// Address of metrics and health, or off [default: 127.0.0.1:7981].
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Allow links beyond this machine without a secret, and an admin address without a key.
    #[arg(long)]
    insecure: bool,
    /// Check the configuration and exit: 0 good, 1 not.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Look after a data directory.
    #[command(subcommand)]
    Log(LogCommand),
}

/// How writes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritePolicy {
    /// Direct where the file system can.
    Auto,
    /// Only direct.
    Direct,
    /// Write, then flush.
    Sync,
}

/// Everything, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where links are taken.
    pub listen: SocketAddr,
    /// All routers, in order; this one alone, if there was no list.
    pub routers: Vec<String>,
    /// Own place in it.
    pub index: u16,
    /// What gateways and routers share; `None` without a file.
    pub secret: Option<Secret>,
    /// Where it stands.
    pub secret_file: Option<PathBuf>,
    /// Data directory.
    pub data_dir: PathBuf,
    /// Length of a segment, bytes.
    pub segment_bytes: u64,
    /// How writes are made durable.
    pub write: WritePolicy,
    /// Bytes that start a write.
    pub commit_bytes: u32,
    /// Longest a record waits for company, µs.
    pub commit_wait_us: u32,
    /// How long messages are kept, hours.
    pub retention_hours: u32,
    /// Time without an acknowledgement after which a device is told the head, ms.
    pub notify_timeout_ms: u32,
    /// Bound of the dedup windows of one shard, bytes.
    pub dedup_bytes_per_shard: u64,
    /// Bounds of publish/subscribe.
    pub topics: TopicBounds,
    /// Most requests any gateway lets a client have unanswered.
    pub requests_max: u16,
    /// Longest message body, bytes.
    pub body_bytes_max: u32,
    /// Time from SIGTERM to exit, s.
    pub drain_timeout_s: u32,
    /// Metrics and health; `None`: off.
    pub admin_address: Option<SocketAddr>,
    /// What `/metrics` wants to see.
    pub admin_key: Option<AdminKey>,
    /// Log lines as JSON.
    pub log_json: bool,
    /// Level of log lines.
    pub log_level: &'static str,
    /// Worth a line in the log, each.
    pub warnings: Vec<String>,
}

/// A secret that does not show itself.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret")
    }
}

impl Config {
    /// What the link's ends prove to one another.
    pub fn link_secret(&self) -> LinkSecret {
        LinkSecret::new(self.secret.as_ref().map_or(&[], |secret| &secret.0))
    }

    /// Hash key of a new directory of one of several routers, which all need the same: derived from
    /// their secret.
    pub fn shared_hash_key(&self) -> [u8; 32] {
        let secret = self.secret.as_ref().map_or(&[][..], |secret| &secret.0);
        blake3::derive_key("hawser 2026 hash key of a list of routers", secret)
    }
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// Serve.
    Run(Box<Config>),
    /// `--check-config`, and it is good: exit 0.
    Check(Box<Config>),
    /// `log …`; no configuration is read for it.
    Log(LogCommand),
}

/// Why there is nothing to run.
#[derive(Clone, Debug)]
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

/// Keys of all settings, as `section.name`.
pub fn keys() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.key)
}

/// Command line, variables and file to a configuration; `arguments` begins with the program's name.
///
/// # Errors
/// See [`Stop`].
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (String, String)>,
    read: ReadFile<'_>,
) -> Result<Invocation, Stop> {
    let line = CommandLine::try_parse_from(arguments).map_err(|error| {
        let text = error.render().to_string();
        if error.use_stderr() { Stop::Usage(text) } else { Stop::Shown(text) }
    })?;
    if let Some(Command::Log(command)) = line.command {
        return Ok(Invocation::Log(command));
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
    for (flag, text) in [
        ("listen", &line.listen),
        ("routers", &line.routers),
        ("index", &line.index),
        ("secret-file", &line.secret_file),
        ("data-dir", &line.data_dir),
        ("admin", &line.admin),
    ] {
        layers.flag(flag, text);
    }
    layers.insecure |= line.insecure;
    let config = validate(&layers, read).map_err(|error| match layers.origin(&error.key) {
        Some(from) => error.at(from),
        None => error,
    })?;
    let config = Box::new(config);
    Ok(if line.check_config { Invocation::Check(config) } else { Invocation::Run(config) })
}

fn validate(layers: &Layers, read: ReadFile<'_>) -> Result<Config, ConfigError> {
    let listen_text = layers.text("link.listen");
    let listen = address("link.listen", &listen_text)?;
    let (routers, index) = list(layers, &listen_text, listen)?;
    let data_dir = layers.text("store.data_dir");
    if data_dir.is_empty() {
        return Err(ConfigError::new("store.data_dir", "", "a directory's path"));
    }
    let segment_bytes: u64 = layers.number("store.segment_bytes")?;
    if !segment_bytes.is_multiple_of(4096) {
        let allowed = "multiples of 4096 bytes, the unit of direct writes";
        return Err(ConfigError::new("store.segment_bytes", segment_bytes.to_string(), allowed));
    }
    let admin = layers.text("admin.address");
    let config = Config {
        listen,
        routers,
        index,
        secret: secret(layers, read)?,
        secret_file: Some(layers.text("link.secret_file"))
            .filter(|file| !file.is_empty())
            .map(PathBuf::from),
        data_dir: data_dir.into(),
        segment_bytes,
        write: match layers.choice("store.write")? {
            "direct" => WritePolicy::Direct,
            "sync" => WritePolicy::Sync,
            _ => WritePolicy::Auto,
        },
        commit_bytes: layers.number("store.commit_bytes")?,
        commit_wait_us: layers.number("store.commit_wait_us")?,
        retention_hours: layers.number("store.retention_hours")?,
        notify_timeout_ms: layers.number("router.notify_timeout_ms")?,
        dedup_bytes_per_shard: layers.number("router.dedup_bytes_per_shard")?,
        topics: TopicBounds {
            kept_sessions_max: layers.number("router.kept_sessions_max")?,
            queue_entries_max: layers.number("router.queue_entries_max")?,
            queue_bytes_max: layers.number("router.queue_bytes_max")?,
            retained_max: layers.number("router.retained_max")?,
            retained_bytes_max: layers.number("router.retained_bytes_max")?,
        },
        requests_max: layers.number("router.requests_max")?,
        body_bytes_max: layers.number("router.body_bytes_max")?,
        drain_timeout_s: layers.number("limits.drain_timeout_s")?,
        admin_address: match admin.as_str() {
            "off" => None,
            text => Some(address("admin.address", text)?),
        },
        admin_key: admin_key(layers, read)?,
        log_json: layers.choice("log.format")? == "json",
        log_level: layers.choice("log.level")?,
        warnings: layers.warnings.clone(),
    };
    if config.admin_address == Some(config.listen) && config.listen.port() != 0 {
        let reason = "links have this address; allowed: another, or off";
        return Err(ConfigError::refused("admin.address", admin, reason));
    }
    if !layers.insecure {
        refuse_exposed(&config)?;
    }
    Ok(config)
}

fn address(key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| ConfigError::new(key, text, "IP:PORT or [IPv6]:PORT"))
}

/// All routers and the own place among them.
fn list(
    layers: &Layers,
    listen_text: &str,
    listen: SocketAddr,
) -> Result<(Vec<String>, u16), ConfigError> {
    let text = layers.text("link.routers");
    let given = layers.integer("link.index")?;
    let mut routers: Vec<String> =
        text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect();
    if routers.is_empty() {
        routers.push(listen_text.to_owned());
    }
    if routers.len() as u64 > ROUTERS_MAX {
        return Err(ConfigError::new("link.routers", text, format!("up to {ROUTERS_MAX} routers")));
    }
    for (at, router) in routers.iter().enumerate() {
        let port = router.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            return Err(ConfigError::new(
                "link.routers",
                router,
                "IP:PORT, [IPv6]:PORT or NAME:PORT",
            ));
        }
        if routers[..at].contains(router) {
            return Err(ConfigError::refused("link.routers", router, "is in the list twice"));
        }
    }
    let same = |router: &String| {
        router.parse().map_or(router == listen_text, |at: SocketAddr| at == listen)
    };
    let index = match given {
        Some(index) if index < routers.len() as u64 => index as usize,
        Some(index) => {
            let allowed = format!("0 to {}, the places in `link.routers`", routers.len() - 1);
            return Err(ConfigError::new("link.index", index.to_string(), allowed));
        }
        None if routers.len() == 1 => 0,
        None => routers.iter().position(same).ok_or_else(|| {
            let reason = format!(
                "`link.listen` = \"{listen_text}\" is not in the list, so this router's place in it \
                 is not known; allowed: a list that holds it, or --index"
            );
            ConfigError::refused("link.routers", &text, reason)
        })?,
    };
    Ok((routers, index as u16))
}

fn secret(layers: &Layers, read: ReadFile<'_>) -> Result<Option<Secret>, ConfigError> {
    let file = layers.text("link.secret_file");
    if file.is_empty() {
        return Ok(None);
    }
    let refused = |reason: String| ConfigError::refused("link.secret_file", &file, reason);
    let text = read(Path::new(&file)).map_err(|error| refused(error.to_string()))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.len() < SECRET_BYTES_MIN {
        return Err(refused(format!("allowed: a first line of {SECRET_BYTES_MIN} bytes or more")));
    }
    Ok(Some(Secret(line.as_bytes().to_vec())))
}

fn admin_key(layers: &Layers, read: ReadFile<'_>) -> Result<Option<AdminKey>, ConfigError> {
    let file = layers.text("admin.key_file");
    if file.is_empty() {
        return Ok(None);
    }
    let refused = |reason: String| ConfigError::refused("admin.key_file", &file, reason);
    let text = read(Path::new(&file)).map_err(|error| refused(error.to_string()))?;
    let short = || refused(format!("allowed: a first line of {KEY_BYTES_MIN} bytes or more"));
    AdminKey::of(&text).ok_or_else(short).map(Some)
}

/// Refuses to be reachable from other machines, or to reach them, without a check of who is there.
fn refuse_exposed(config: &Config) -> Result<(), ConfigError> {
    let exposed = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
    if config.secret.is_none() {
        let allowed = "allowed: a loopback address, --secret-file FILE, or --insecure";
        if exposed(&config.listen) {
            let reason = format!(
                "reachable from other machines, and without a secret every peer is believed; {allowed}"
            );
            return Err(ConfigError::refused("link.listen", config.listen.to_string(), reason));
        }
        let is_local = |router: &&String| {
            router.parse().map_or(router.starts_with("localhost:"), |at| !exposed(&at))
        };
        if let Some(router) = config.routers.iter().find(|router| !is_local(router)) {
            let reason =
                format!("on another machine, and without a secret it would be believed; {allowed}");
            return Err(ConfigError::refused("link.routers", router, reason));
        }
    }
    if let Some(address) = config.admin_address.filter(|_| config.admin_key.is_none())
        && exposed(&address)
    {
        return Err(ConfigError::refused(
            "admin.address",
            address.to_string(),
            "reachable from other machines, and without `admin.key_file` it tells everybody; \
             allowed: a loopback address, a key file, or --insecure",
        ));
    }
    Ok(())
}
