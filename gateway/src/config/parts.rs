//! The sections of a configuration, as the rest of the gateway sees them: checked, with units in
//! their names, and without defaults of their own.

use std::{net::SocketAddr, path::PathBuf};

use crate::{auth::TokenTable, limits};
use hawser_router::host::TopicBounds;

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Connections held at most by the process.
    pub max_connections: u32,
    /// Threads that hold connections.
    pub workers: u32,
    /// Rings of each worker, with a descriptor table each.
    pub tables: u32,
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
    /// A crash may write memory, with keys and messages, to a file.
    pub core_dumps: bool,
}

impl LimitsConfig {
    /// Connections one worker's tables hold.
    #[must_use]
    pub const fn connections_per_worker(&self) -> u32 {
        self.tables * (self.table_slots - limits::TABLE_SLOTS_RESERVED)
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

/// `[router]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Link addresses of the routers; empty: the tier is embedded in this process.
    pub endpoints: Vec<SocketAddr>,
    /// File whose first line is the secret of the links.
    pub secret_file: Option<PathBuf>,
    /// Name of this gateway in the routers' logs; empty: the machine's with the process id.
    pub name: String,
    /// Workers that also host shards.
    pub hosts: u32,
    /// Time T without an acknowledgement after which the head number is sent once, ms; after 2T
    /// the device is in cursor mode.
    pub notify_timeout_ms: u32,
    /// Bound of the dedup windows of one shard.
    pub dedup_bytes_per_shard: u64,
    /// Bounds of publish/subscribe, of the process.
    pub topics: TopicBounds,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where; `None`: off.
    pub address: Option<SocketAddr>,
    /// File whose first line is wanted as bearer token, by `/metrics`, too; `None`: that of the
    /// data directory, and `/metrics` wants none.
    pub key_file: Option<PathBuf>,
    /// Names the port may be called by, besides addresses and `localhost`.
    pub hosts: Vec<String>,
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
