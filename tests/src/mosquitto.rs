//! Debian's mosquitto as a child process: an MQTT broker that is not ours.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
};

use crate::process::{Home, Process};

/// A broker that serves; its sessions are kept on disk when it ends in order.
#[derive(Debug)]
pub struct Mosquitto {
    home: Home,
    process: Process,
}

impl Mosquitto {
    /// Starts one on an address of its own. Its queues are bounded by the machine alone, so that
    /// it drops nothing; small packets leave at once, as a gateway's do.
    ///
    /// # Panics
    /// If it does not serve.
    #[track_caller]
    pub fn start() -> Self {
        let home = Home::new();
        let process = spawn(&home);
        Self { home, process }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.home.spare[0]
    }

    /// Ends it in order and starts it again with what it kept.
    ///
    /// # Panics
    /// If it does not end, or not serve again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.terminate();
        self.process.wait();
        self.process = spawn(&self.home);
    }
}

fn spawn(home: &Home) -> Process {
    let address = home.spare[0];
    let store = home.write("mosquitto.conf", "");
    let directory = store.parent().expect("a file lies in a directory");
    let mut settings = String::new();
    write!(
        settings,
        "listener {} {}\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n\
         persistence true\npersistence_location {}/\nlog_dest stderr\n",
        address.port(),
        address.ip(),
        directory.display(),
    )
    .expect("writing to a string cannot fail");
    // Started by root it would become a user who may not write here.
    if rustix::process::geteuid().is_root() {
        settings.push_str("user root\n");
    }
    let file = home.write("mosquitto.conf", &settings);
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let process = Process::spawn(command);
    process.wait_for_line(" running");
    process
}
