//! From merged layers to a [`Config`]: ranges, and settings that depend on each other.

mod listeners;
mod protocols;

use std::{net::SocketAddr, path::PathBuf};

use super::{
    AdminConfig, AuthConfig, AuthKind, CertificateSource, Config, ConfigError, HeartbeatConfig,
    JwtConfig, LimitsConfig, LogConfig, LogFormat, Machine, ReadFile, RouterConfig, StoreConfig,
    WritePolicy, layers,
    layers::{Given, Layers},
    settings,
};
use crate::{auth::TokenTable, limits};
use hawser_router::{
    host::TopicBounds,
    link::{self, LinkSecret},
};

/// Listeners of one configuration; each takes a descriptor per worker.
pub const LISTENERS_MAX: usize = 16;

pub(super) fn validate(
    layers: &Layers,
    machine: Machine,
    read: ReadFile<'_>,
) -> Result<Config, ConfigError> {
    let limits = limits(layers, machine)?;
    let mut config = Config {
        listeners: listeners::listeners(layers)?,
        auth: auth(layers, read)?,
        heartbeat: heartbeat(layers)?,
        store: store(layers)?,
        router: router(layers, machine, limits.workers, read)?,
        resume_key_file: path(layers, "auth.resume_key_file"),
        tls: protocols::tls(layers)?,
        proxies: listeners::proxies(layers)?,
        websocket: protocols::websocket(layers)?,
        mqtt: protocols::mqtt(layers)?,
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
    let has_certificates = config.tls.certificates != CertificateSource::None;
    let Config { listeners, proxies, warnings, .. } = &mut config;
    listeners::judge(listeners, has_certificates, proxies, warnings)?;
    refuse_own_endpoint(&config)?;
    if config.router.endpoints.is_empty() && config.store.lanes > config.router.hosts {
        let reason = format!(
            "{} lanes need as many hosts, there are {} (`router.hosts`)",
            config.store.lanes, config.router.hosts
        );
        return Err(ConfigError::refused("store.lanes", config.store.lanes.to_string(), reason));
    }
    if let Some(address) = config.admin.address
        && address.port() != 0
        && config.listeners.iter().any(|listener| listener.address == address)
    {
        let reason = "a listener has this address; allowed: another, or off";
        return Err(ConfigError::refused("admin.address", address.to_string(), reason));
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
            "reachable from other machines, and `auth.kind` = \"none\" asks nobody who they are; \
             allowed: a loopback address, --auth token or jwt, or --insecure",
        ));
    }
    if config.router.secret_file.is_none()
        && let Some(address) = config.router.endpoints.iter().find(|one| exposed(one))
    {
        return Err(ConfigError::refused(
            "router.endpoints",
            address.to_string(),
            "on another machine, and without `router.secret_file` nobody proves who they are; \
             allowed: loopback addresses, a secret file, or --insecure",
        ));
    }
    if let Some(address) = config.admin.address
        && config.admin.key_file.is_none()
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

/// Refuses a link that would lead to a port of this very process.
fn refuse_own_endpoint(config: &Config) -> Result<(), ConfigError> {
    let listeners = config.listeners.iter().map(|listener| listener.address);
    let own: Vec<SocketAddr> = listeners.chain(config.admin.address).collect();
    match config.router.endpoints.iter().find(|endpoint| own.contains(endpoint)) {
        Some(endpoint) => Err(ConfigError::refused(
            "router.endpoints",
            endpoint.to_string(),
            "an address of this gateway itself; allowed: the link addresses of routers",
        )),
        None => Ok(()),
    }
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
    let per_table = table_slots - limits::TABLE_SLOTS_RESERVED;
    let cores = machine.cores.clamp(1, limits::WORKERS_MAX);
    let asked: Option<u32> = optional(layers, "limits.max_connections")?;
    let workers = optional(layers, "limits.workers")?.unwrap_or(cores);
    let needed = asked.map_or(1, |connections| connections.div_ceil(workers).div_ceil(per_table));
    let tables = optional(layers, "limits.tables")?.unwrap_or(needed);
    let most = limits::TABLES_MAX / workers;
    if tables < needed || tables > most {
        let reason = format!(
            "{} connections (`limits.max_connections`) on {workers} workers (`limits.workers`) \
             need {needed} tables a worker of {per_table} connections each (RLIMIT_NOFILE is {}); \
             allowed: {needed} to {most}",
            asked.unwrap_or(workers * per_table),
            match machine.descriptors_max {
                u64::MAX => "unlimited".to_owned(),
                most => most.to_string(),
            },
        );
        return Err(ConfigError::refused("limits.tables", tables.to_string(), reason));
    }
    let max_connections = asked.unwrap_or(workers * tables * per_table);
    Ok(LimitsConfig {
        max_connections,
        workers,
        tables,
        table_slots,
        frame_body_bytes_max: number(layers, "limits.frame_body_bytes_max")?,
        requests_max: number(layers, "limits.requests_max")?,
        outbound_bytes_high: number(layers, "limits.outbound_bytes_high")?,
        handshake_timeout_ms: number(layers, "limits.handshake_timeout_ms")?,
        send_stall_timeout_ms: number(layers, "limits.send_stall_timeout_ms")?,
        close_timeout_ms: number(layers, "limits.close_timeout_ms")?,
        drain_timeout_s: number(layers, "limits.drain_timeout_s")?,
        core_dumps: layers.boolean("limits.core_dumps")?,
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
        let allowed = "IP:PORT, [IPv6]:PORT or off";
        let meant = meant(&given.text).map_or(String::new(), |text| format!("; maybe {text}"));
        ConfigError::new(key, &given.text, format!("{allowed}{meant}")).at(&given.from)
    })
}

/// The address of this machine that a port, `:port` or `localhost:port` stands for elsewhere.
fn meant(text: &str) -> Option<String> {
    let port = text.strip_prefix("localhost").unwrap_or(text);
    let port: u16 = port.strip_prefix(':').unwrap_or(port).parse().ok()?;
    Some(format!("127.0.0.1:{port}"))
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
    if !segment_bytes.is_multiple_of(4096) {
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

fn router(
    layers: &Layers,
    machine: Machine,
    workers: u32,
    read: ReadFile<'_>,
) -> Result<RouterConfig, ConfigError> {
    let endpoints = endpoints(layers)?;
    if !endpoints.is_empty()
        && let Some(hosts) = optional(layers, "router.hosts")?
    {
        let reason = "hosts are part of an embedded tier; with `router.endpoints` there are none";
        return Err(ConfigError::refused("router.hosts", hosts.to_string(), reason));
    }
    let most = machine.cores.max(1).min(workers).min(limits::HOSTS_MAX);
    let hosts = optional(layers, "router.hosts")?.unwrap_or(most);
    if hosts > workers {
        let allowed = format!("1 to {workers} (a host is a worker, `limits.workers`)");
        return Err(ConfigError::new("router.hosts", hosts.to_string(), allowed));
    }
    let secret_file = path(layers, "router.secret_file");
    if let Some(file) = &secret_file {
        let name = file.display().to_string();
        let refused = |reason: String| ConfigError::refused("router.secret_file", &name, reason);
        let text = read(file).map_err(|error| refused(super::unreadable(&error)))?;
        LinkSecret::from_text(&text).map_err(refused)?;
    }
    let name = text(layers, "router.name").text;
    if name.len() > link::NAME_BYTES_MAX {
        let allowed = format!("up to {} bytes", link::NAME_BYTES_MAX);
        return Err(ConfigError::new("router.name", name, allowed));
    }
    Ok(RouterConfig {
        endpoints,
        secret_file,
        name,
        hosts,
        notify_timeout_ms: number(layers, "router.notify_timeout_ms")?,
        dedup_bytes_per_shard: number(layers, "router.dedup_bytes_per_shard")?,
        topics: TopicBounds {
            kept_sessions_max: number(layers, "router.kept_sessions_max")?,
            queue_entries_max: number(layers, "router.queue_entries_max")?,
            queue_bytes_max: number(layers, "router.queue_bytes_max")?,
            retained_max: number(layers, "router.retained_max")?,
            retained_bytes_max: number(layers, "router.retained_bytes_max")?,
        },
    })
}

fn endpoints(layers: &Layers) -> Result<Vec<SocketAddr>, ConfigError> {
    const KEY: &str = "router.endpoints";
    let given = text(layers, KEY);
    if given.text == "embedded" {
        return Ok(Vec::new());
    }
    let mut endpoints: Vec<SocketAddr> = Vec::new();
    for item in given.text.split(',').map(str::trim) {
        let address = item.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        let address = address.ok_or_else(|| {
            let meant = meant(item).map_or(String::new(), |text| format!("; maybe {text}"));
            let allowed = format!("{}{meant}", settings::ENDPOINTS_ALLOWED);
            ConfigError::new(KEY, item, allowed).at(&given.from)
        })?;
        if endpoints.contains(&address) {
            let reason = "named twice; allowed: each router once";
            return Err(ConfigError::refused(KEY, item, reason).at(&given.from));
        }
        endpoints.push(address);
    }
    if endpoints.len() > limits::ROUTERS_MAX {
        let allowed = format!("1 to {} routers", limits::ROUTERS_MAX);
        return Err(ConfigError::new(KEY, endpoints.len().to_string(), allowed).at(&given.from));
    }
    Ok(endpoints)
}

fn admin(layers: &Layers) -> Result<AdminConfig, ConfigError> {
    Ok(AdminConfig {
        address: address("admin.address", &text(layers, "admin.address"))?,
        key_file: path(layers, "admin.key_file"),
        hosts: list(layers, "admin.hosts"),
    })
}
