//! The separate router as a child process, one or several of them.

use crate::process::{PATIENCE, router_program};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, sink},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

/// A router that serves.
#[derive(Debug)]
pub struct Router {
    child: Child,
    list: Vec<SocketAddr>,
    index: usize,
    data_dir: PathBuf,
    arguments: Vec<String>,
}

impl Router {
    /// Starts router `index` of `list` over a data directory and waits until it serves.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(list: &[SocketAddr], index: usize, data_dir: &Path) -> Self {
        Self::start_with(list, index, data_dir, &[])
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// As [`Router::start`].
    pub fn start_with(
        list: &[SocketAddr],
        index: usize,
        data_dir: &Path,
        arguments: &[String],
    ) -> Self {
        let (list, data_dir) = (list.to_vec(), data_dir.to_owned());
        let child = spawn(&list, index, &data_dir, arguments);
        Self { child, list, index, data_dir, arguments: arguments.to_vec() }
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is ours");
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Panics
    /// If it has ended by itself.
    pub fn kill(&mut self) {
        let ended = self.child.try_wait().expect("a child can be asked");
        assert_eq!(ended, None, "router {} ended by itself", self.index);
        self.child.kill().expect("it was there just now");
        self.child.wait().expect("a child can be waited for");
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    /// If it does not serve.
    pub fn restart(&mut self) {
        self.child = spawn(&self.list, self.index, &self.data_dir, &self.arguments);
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(list: &[SocketAddr], index: usize, data_dir: &Path, arguments: &[String]) -> Child {
    let routers: Vec<String> = list.iter().map(SocketAddr::to_string).collect();
    let mut command = Command::new(router_program());
    command
        .args(["--admin", "off", "--routers", &routers.join(","), "--listen", &routers[index]])
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .env("HAWSER_STORE_SEGMENT_BYTES", (4 << 20).to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut said = BufReader::new(child.stderr.take().expect("it was asked to be piped"));
    let mut text = String::new();
    while !text.contains(" ready ") {
        let length = said.read_line(&mut text).expect("a pipe can be read");
        assert!(length > 0 && begun.elapsed() < PATIENCE, "router does not serve:\n{text}");
    }
    // Whoever logs must never wait for a reader.
    std::thread::spawn(move || std::io::copy(&mut said, &mut sink()));
    child
}
