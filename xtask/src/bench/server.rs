//! A server under measurement: a child process with its own data directory, gone when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Setup;

/// Where every server of a benchmark listens.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7900);
/// From start to the first accepted connection; a fresh log fills its first segment before.
const START_MAX: Duration = Duration::from_secs(30);
const START_STEP: Duration = Duration::from_millis(50);

/// Which program is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `hawser-benchmark relay`, with the gateway's log writer.
    Relay,
    /// `hawser-gateway` with that many workers.
    Gateway {
        /// Worker threads.
        workers: u32,
    },
    /// `hawser-benchmark relay` of publish and subscribe.
    MqttRelay {
        /// With a log, through the gateway's writer.
        durable: bool,
    },
    /// `hawser-gateway` with one worker, its MQTT listener.
    MqttGateway,
    /// `hawser-gateway` with one worker, its WebSocket listener, the echo turned on.
    WebSocketGateway,
    /// Debian's mosquitto, its queues unbounded.
    Mosquitto,
}

/// A server that accepts connections.
pub struct Server {
    child: Child,
    directory: PathBuf,
}

impl Server {
    /// Starts it on an empty data directory and waits until it accepts.
    ///
    /// # Errors
    /// The port is taken, the program ends or does not accept in time; its own words are quoted.
    pub fn start(side: Side, setup: &Setup) -> Result<Self, String> {
        // Another server on the port would be measured in place of ours.
        drop(TcpListener::bind(ADDRESS).map_err(|error| format!("{ADDRESS}: {error}"))?);
        let directory = setup.scratch.join(format!("data-{}", std::process::id()));
        remove(&directory);
        fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        let said = directory.with_extension("log");
        let output = File::create(&said).map_err(|e| format!("{}: {e}", said.display()))?;
        let child = command(side, setup, &directory.join("store"))?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .map_err(|error| format!("{side:?}: {error}"))?;
        let mut server = Self { child, directory };
        server.wait_until_it_accepts(side, &said)?;
        Ok(server)
    }

    /// Process id, for the load generator's accounting.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Anonymous resident memory, bytes: the process's own, without the binary's pages.
    ///
    /// # Errors
    /// The process is gone.
    pub fn anonymous_bytes(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes * 1024).ok_or(format!("{path}: no RssAnon"))
    }

    fn wait_until_it_accepts(&mut self, side: Side, said: &Path) -> Result<(), String> {
        let end = Instant::now() + START_MAX;
        loop {
            if TcpStream::connect(ADDRESS).is_ok() {
                return Ok(());
            }
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || Instant::now() > end {
                let words = fs::read_to_string(said).unwrap_or_default();
                return Err(format!("{side:?} does not accept on {ADDRESS}:\n{words}"));
            }
            std::thread::sleep(START_STEP);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // These fail only when it has ended already, or was never there.
        let _ = self.child.kill();
        let _ = self.child.wait();
        remove(&self.directory);
        let _ = fs::remove_file(self.directory.with_extension("log"));
    }
}

fn command(side: Side, setup: &Setup, store: &Path) -> Result<Command, String> {
    let address = ADDRESS.to_string();
    let relay = |protocol| {
        let mut relay = Command::new(setup.binaries.join("hawser-benchmark"));
        relay.args(["relay", "--address", &address, "--protocol", protocol]);
        relay
    };
    let gateway = |listener, workers: u32| {
        let mut gateway = Command::new(setup.binaries.join("hawser-gateway"));
        gateway.args(["--native", "--websocket", "--mqtt"].into_iter().flat_map(|name| {
            [name.to_owned(), if name == listener { address.clone() } else { "off".to_owned() }]
        }));
        gateway.args(["--admin", "off", "--workers", &workers.to_string()]);
        // What one descriptor table holds, so that one worker is enough.
        gateway.args(["--max-connections", "19000"]).arg("--data-dir").arg(store);
        gateway
    };
    Ok(match side {
        Side::Relay | Side::MqttRelay { durable: true } => {
            let protocol = if side == Side::Relay { "native" } else { "mqtt" };
            let mut relay = relay(protocol);
            relay.arg("--durable").arg(store);
            relay
        }
        Side::MqttRelay { durable: false } => relay("mqtt"),
        Side::Gateway { workers } => gateway("--native", workers),
        Side::MqttGateway => gateway("--mqtt", 1),
        Side::WebSocketGateway => {
            let mut gateway = gateway("--websocket", 1);
            gateway.env("HAWSER_WEBSOCKET_ECHO", "true");
            gateway
        }
        Side::Mosquitto => {
            let file = store.with_extension("conf");
            let port = ADDRESS.port();
            let text = format!(
                "listener {port} {}\nallow_anonymous true\nmax_inflight_messages 0\n\
                 max_queued_messages 0\nset_tcp_nodelay true\n",
                ADDRESS.ip()
            );
            fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
            let mut mosquitto = Command::new("mosquitto");
            mosquitto.arg("-c").arg(file);
            mosquitto
        }
    })
}

fn remove(directory: &Path) {
    // Not there is what is wanted; anything else shows when the directory is made again.
    let _ = fs::remove_dir_all(directory);
}
