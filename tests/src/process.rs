//! The real gateway as a child process: own addresses, own directory, killed when dropped.
//!
//! Waits are for events (a line of its log, the end of the process) under [`PATIENCE`], never for
//! a time that ought to suffice.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Bound of every wait: far above what a loaded machine needs, so that only a hang meets it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Line a gateway logs once it serves.
const SERVING: &str = "listening";

/// A port below those that outgoing connections take.
const PORT_FIRST: u16 = 7000;

/// Addresses of a gateway beyond those of its usual listeners.
const SPARE_PORTS: usize = 4;

/// Lines of the log kept for a failed test's message.
const LINES_SHOWN: usize = 60;

/// How to start a gateway. Settings are given as environment variables, so each test names only
/// what it is about.
#[derive(Clone, Debug)]
pub struct Setup {
    settings: Vec<(String, String)>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    shell: Option<String>,
    workers: u32,
    names_data_dir: bool,
    names_listeners: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// Two workers, a thousand connections each, small log segments.
    pub fn new() -> Self {
        Self {
            settings: Vec::new(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            shell: None,
            workers: 2,
            names_data_dir: true,
            names_listeners: true,
        }
        // Segments are filled beforehand; the shipped size would write 256 MiB for every start.
        .setting("store.segment_bytes", 4 << 20)
        .setting("limits.max_connections", 2000)
    }

    /// Sets `section.name`, as in the configuration file.
    #[must_use]
    pub fn setting(mut self, key: &str, value: impl ToString) -> Self {
        let variable = format!("HAWSER_{}", key.replace('.', "_").to_uppercase());
        self.settings.retain(|(name, _)| *name != variable);
        self.settings.push((variable, value.to_string()));
        self
    }

    /// Adds a command line argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Runs the gateway by another program, which must replace itself with it (`exec`).
    #[must_use]
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// Runs shell commands first, in a mount namespace of its own; `DIR` is the data directory.
    #[must_use]
    pub fn after_mounting(mut self, commands: &str) -> Self {
        self.shell = Some(commands.to_owned());
        self
    }

    /// Leaves `--data-dir` to the arguments.
    #[must_use]
    pub fn without_data_dir(mut self) -> Self {
        self.names_data_dir = false;
        self
    }

    /// Leaves the listeners, all but the admin address, to a configuration file.
    #[must_use]
    pub fn without_listeners(mut self) -> Self {
        self.names_listeners = false;
        self
    }

    /// Worker threads.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// Starts in a fresh directory and waits until the gateway serves.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(self) -> Gateway {
        let home = Home::new();
        self.start_in(home)
    }

    /// Starts in a directory that may hold data.
    ///
    /// # Panics
    /// If the gateway does not serve.
    pub fn start_in(self, home: Home) -> Gateway {
        let process = self.spawn(&home);
        let mut gateway = Gateway { home, setup: self, process };
        gateway.wait_until_serving();
        gateway
    }

    /// Starts a gateway that serves nobody yet, because it does not reach its routers.
    ///
    /// # Panics
    /// If it does not come as far as that.
    pub fn start_unready_in(self, home: Home) -> Gateway {
        let process = self.spawn(&home);
        let gateway = Gateway { home, setup: self, process };
        gateway.wait_for_line(SERVING);
        gateway
    }

    /// Starts a gateway that is expected to refuse: gives its exit status and what it said.
    ///
    /// # Panics
    /// If it serves or hangs instead.
    pub fn refused_in(&self, home: &Home) -> Refused {
        let mut process = self.spawn(home);
        let status = process.wait();
        let said = process.said();
        Refused { code: status.code(), said }
    }

    /// The command line without the program, for one directory.
    fn command(&self, home: &Home) -> Command {
        let program = program();
        let mut line = self.wrapper.clone();
        if let Some(commands) = &self.shell {
            let script = format!("{commands}\nexec \"$@\"");
            line.extend(["unshare".into(), "--mount".into()]);
            if !rustix::process::geteuid().is_root() {
                line.push("--map-root-user".into());
            }
            line.extend(["sh".into(), "-ec".into(), script, "sh".into()]);
        }
        line.push(program.display().to_string());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        if self.names_data_dir {
            command.arg("--data-dir").arg(home.data_dir());
        }
        if self.names_listeners {
            let listeners =
                [("native", home.native), ("websocket", home.websocket), ("mqtt", home.mqtt)];
            for (kind, address) in listeners {
                command.arg(format!("--{kind}")).arg(address.to_string());
            }
        }
        command
            .arg("--admin")
            .arg(home.admin.to_string())
            .arg("--workers")
            .arg(self.workers.to_string())
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DIR", home.data_dir())
            .env("RUST_BACKTRACE", "1")
            .envs(self.settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn spawn(&self, home: &Home) -> Process {
        Process::spawn(self.command(home))
    }

    /// Starts a gateway that is changed before it runs, and that is expected to refuse.
    ///
    /// # Panics
    /// As [`Setup::refused_in`].
    pub fn refused_when(&self, home: &Home, change: impl FnOnce(&mut Command)) -> Refused {
        let mut command = self.command(home);
        change(&mut command);
        let mut process = Process::spawn(command);
        let status = process.wait();
        Refused { code: status.code(), said: process.said() }
    }
}

/// How a start was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All it wrote to standard error.
    pub said: String,
}

impl Refused {
    /// Asserts code and words of the message.
    ///
    /// # Panics
    /// If one is missing.
    #[track_caller]
    pub fn assert(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "it said:\n{}", self.said);
        for word in words {
            assert!(self.said.contains(word), "`{word}` is missing in:\n{}", self.said);
        }
        assert!(!self.said.contains("panicked"), "{}", self.said);
    }
}

/// Addresses and directory of one gateway; outlives its processes.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
    /// Address of the native protocol.
    pub native: SocketAddr,
    /// Address of WebSocket and HTTP.
    pub websocket: SocketAddr,
    /// Address of MQTT.
    pub mqtt: SocketAddr,
    /// Address of metrics and health.
    pub admin: SocketAddr,
    /// For listeners that a test names in a configuration file.
    pub spare: [SocketAddr; SPARE_PORTS],
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// A fresh directory on the disk the build is on, and addresses nobody else has.
    ///
    /// # Panics
    /// If there is no room for a directory.
    pub fn new() -> Self {
        static TAKEN: AtomicU16 = AtomicU16::new(0);
        // A loopback address per test process, ports of its own per gateway: listeners share ports
        // with SO_REUSEPORT, so two gateways must not meet.
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 128 | high, middle, low);
        let count = 4 + SPARE_PORTS as u16;
        let port = PORT_FIRST + count * TAKEN.fetch_add(1, Ordering::Relaxed);
        let at = |offset: u16| SocketAddr::from((address, port + offset));
        let root = program().parent().expect("it lies in the target directory").join("tmp");
        std::fs::create_dir_all(&root).expect("the target directory can be written");
        let directory = tempfile::Builder::new().prefix("gateway-").tempdir_in(root);
        Self {
            directory: directory.expect("a directory can be made"),
            native: at(0),
            admin: at(1),
            websocket: at(2),
            mqtt: at(3),
            spare: std::array::from_fn(|spare| at(4 + spare as u16)),
        }
    }

    /// Address for what listens here first.
    pub fn native(&self) -> SocketAddr {
        self.native
    }

    /// The data directory; the first start makes it.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Leaves the data on disk and says where.
    pub fn keep(self) -> PathBuf {
        self.directory.keep()
    }

    /// A file beside the data directory.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("a file can be written");
        path
    }
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    home: Home,
    setup: Setup,
    process: Process,
}

impl Gateway {
    /// Address of the native protocol.
    pub fn native(&self) -> SocketAddr {
        self.home.native
    }

    /// Address of WebSocket and HTTP.
    pub fn websocket(&self) -> SocketAddr {
        self.home.websocket
    }

    /// Address of MQTT.
    pub fn mqtt(&self) -> SocketAddr {
        self.home.mqtt
    }

    /// Its directory and addresses.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    #[track_caller]
    fn wait_until_serving(&mut self) {
        self.wait_for_line(SERVING);
        // With routers of their own it is ready when it has reached them.
        let deadline = Instant::now() + PATIENCE;
        while self.ask("/readyz").0 != 200 {
            assert!(Instant::now() < deadline, "never ready: {}", self.said());
        }
    }

    /// Waits for a log line that contains `text`.
    ///
    /// # Panics
    /// If the process ends or [`PATIENCE`] does.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) {
        self.process.wait_for_line(text);
    }

    /// All it wrote to standard error until now.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Kills it with SIGKILL and waits for its end. The kernel takes its ring and its listeners
    /// down some milliseconds later; the next start waits for that.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same data and addresses, after [`Gateway::kill`] or an end.
    ///
    /// # Panics
    /// If it does not serve.
    pub fn restart(&mut self) {
        self.begin_restart();
        self.wait_until_serving();
    }

    /// Starts it again without waiting until it serves.
    ///
    /// # Panics
    /// If there is no process to be had.
    pub fn begin_restart(&mut self) {
        self.kill();
        self.process = self.setup.spawn(&self.home);
    }

    /// Changes settings for the next start.
    pub fn change(&mut self, change: impl FnOnce(Setup) -> Setup) {
        self.setup = change(self.setup.clone());
    }

    /// Ends the process and gives its home back.
    pub fn into_home(mut self) -> Home {
        self.kill();
        self.home
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process.child);
        kill_process(pid, signal).expect("the process is ours and not yet waited for");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it goes on for more than [`PATIENCE`].
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Asks the admin address; gives status and body.
    ///
    /// # Panics
    /// If there is no answer.
    #[track_caller]
    pub fn ask(&self, path: &str) -> (u16, String) {
        self.try_ask(path).unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.said()))
    }

    fn try_ask(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut socket = TcpStream::connect_timeout(&self.home.admin, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status.unwrap_or(0), body.to_owned()))
    }

    /// Sum of all series of a metric whose line starts with `prefix`.
    ///
    /// # Panics
    /// If the admin address does not answer.
    #[track_caller]
    pub fn metric(&self, prefix: &str) -> f64 {
        let (_, page) = self.ask("/metrics");
        let values = page.lines().filter(|line| line.starts_with(prefix));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<(String, bool)>,
    changed: Condvar,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, (String, bool)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child process whose log is read; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = child.stderr.take().expect("it was asked to be piped");
        let log = Arc::new(Log::default());
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = writeln!(lines.lock().0, "{line}");
                lines.changed.notify_all();
            }
            lines.lock().1 = true;
            lines.changed.notify_all();
        });
        Self { child, log, reader: Some(reader), ended: None }
    }

    fn said(&self) -> String {
        self.log.lock().0.clone()
    }

    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut log = self.log.lock();
        while !log.0.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!log.1 && !left.is_zero(), "never said `{text}`:\n{}", tail(&log.0));
            log =
                self.log.changed.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The end of standard error is the end of the process.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut log = self.log.lock();
        while !log.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "did not end:\n{}", tail(&log.0));
            log =
                self.log.changed.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(log);
        let status = self.child.wait().expect("a child can be waited for");
        self.ended = Some(status);
        status
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        if self.ended.is_none() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
    }

    pub(crate) fn kill(&mut self) {
        if self.ended.is_none() {
            // It may have ended by itself: then there is nothing to kill.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let by_itself = self.ended.is_none() && matches!(self.child.try_wait(), Ok(Some(_)));
        self.kill();
        if by_itself {
            let signal = self.ended.and_then(|status| status.signal());
            eprintln!("it ended by itself (signal {signal:?}):\n{}", tail(&self.said()));
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

/// The gateway's program, built in the profile of this very test if cargo runs it.
///
/// # Panics
/// If it cannot be built or found.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| find("hawser-gateway", "GATEWAY_PROGRAM"))
}

/// The separate router's, in the same way.
///
/// # Panics
/// As [`program`].
pub fn router_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| find("hawser-router", "ROUTER_PROGRAM"))
}

/// The program `name`, or the one that `variable` names.
fn find(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let own = std::env::current_exe().expect("a process has a program");
    // target/PROFILE/program or target/PROFILE/deps/test-HASH.
    let above = own.ancestors().skip(1);
    let profile = above
        .take(2)
        .find(|directory| !directory.ends_with("deps"))
        .expect("programs lie in target/PROFILE");
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(Path::new(&cargo), profile, name);
    }
    let path = profile.join(name);
    assert!(path.exists(), "{} is not there: cargo build -p {name}", path.display());
    path
}

/// Cargo's own test for staleness costs little; a gateway of yesterday would cost an afternoon.
fn build(cargo: &Path, profile: &Path, program: &str) {
    let name = profile.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let target = profile.parent().expect("a profile lies in a target directory");
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", program, "--bin", program])
        .args(["--profile", if name == "debug" { "dev" } else { name }])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
