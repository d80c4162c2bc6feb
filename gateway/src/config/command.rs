//! The command line, as clap reads it. Values stay texts here: every layer's values are checked
//! in one place, with one kind of error.

pub use hawser_router::log_tools::LogCommand;
use std::path::PathBuf;

/// Hawser's gateway: holds connections and, unless told otherwise, the router tier and its store.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "hawser-gateway", version)]
pub(super) struct CommandLine {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of the log and the keys [default: ./hawser-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Connections to hold at most [default: what one descriptor table per core holds].
    #[arg(long, value_name = "N")]
    pub max_connections: Option<String>,
    /// Address of the native protocol, or off [default: 127.0.0.1:7900].
    #[arg(long, value_name = "ADDR")]
    pub native: Option<String>,
    /// Address of WebSocket and HTTP, or off [default: 127.0.0.1:7901].
    #[arg(long, value_name = "ADDR")]
    pub websocket: Option<String>,
    /// Address of MQTT, or off [default: 127.0.0.1:1883].
    #[arg(long, value_name = "ADDR")]
    pub mqtt: Option<String>,
    /// Address of metrics and health, or off [default: 127.0.0.1:7980].
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Worker threads, a descriptor table each [default: as many as --max-connections needs, one
    /// per core at least].
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// Link addresses of the routers, all of them and in the order every router has them
    /// [default: embedded, the tier is part of this process].
    #[arg(long, value_name = "ADDR[,ADDR...]")]
    pub router: Option<String>,
    /// Who may log in: none, token or jwt [default: none].
    #[arg(long, value_name = "KIND")]
    pub auth: Option<String>,
    /// Allow listeners beyond this machine without authentication, an admin address without a key,
    /// and links to other machines without a secret.
    #[arg(long)]
    pub insecure: bool,
    /// Check the configuration and exit: 0 good, 1 not.
    #[arg(long)]
    pub check_config: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// Look after a data directory.
    #[command(subcommand)]
    Log(LogCommand),
}
