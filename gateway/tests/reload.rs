//! The real process: what it says at its start, and that SIGHUP takes over who may log in while
//! those who are logged in stay.

#![allow(clippy::unwrap_used)] // the lint takes shared test code for ordinary code

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use hawser_codec::{
    code,
    frame::{self, FrameLimits, PREFACE, Step},
    message::{self, Beat, Class, Encoder, Hello, Message},
};

/// Far more than anything here takes, so that a hang is seen as one.
const PATIENCE: Duration = Duration::from_secs(60);
const FRAMES: FrameLimits = FrameLimits { body_bytes_max: 64 * 1024 };

struct Gateway {
    child: Child,
    address: SocketAddr,
    lines: Receiver<String>,
}

impl Gateway {
    fn start(dir: &Path, config: &str) -> Self {
        let address = free_address();
        let file = dir.join("hawser.toml");
        fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_hawser-gateway"))
            .args(["--config", file.to_str().unwrap(), "--native", &address.to_string()])
            .args(["--websocket", "off", "--mqtt", "off"])
            .args(["--admin", "off", "--workers", "1", "--max-connections", "100"])
            .args(["--data-dir", dir.join("data").to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, address, lines }
    }

    /// Lines up to and with the first that holds `part`.
    fn until(&self, part: &str) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        while !seen.last().is_some_and(|line| line.contains(part)) {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => seen.push(line),
                Err(_) => panic!("{part:?} is not in {seen:#?}"),
            }
        }
        seen
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port below those of clients that nobody listens on.
fn free_address() -> SocketAddr {
    let first = 17_300 + (std::process::id() % 100) as u16 * 10;
    (first..first + 200)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("no port of 200 is free")
}

struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    encoder: Encoder,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Welcome,
    Pong,
    Error(u16),
}

impl Client {
    fn login(address: SocketAddr, device: &str, token: &str) -> (Self, Said) {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { stream, bytes: Vec::new(), encoder: Encoder::new() };
        let mut bytes = PREFACE.to_vec();
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            realm: 0,
            user: "ann",
            device,
            token,
            resume_token: b"",
            incarnation: 7,
            class: Class::Mobile,
            heartbeat_s: 0,
            cursor: None,
            rewind: false,
            compression: 0,
            agent: "",
        };
        client.encoder.hello(&mut bytes, 0, 0, &hello);
        client.stream.write_all(&bytes).unwrap();
        let said = client.read();
        (client, said)
    }

    fn ping(&mut self) -> Said {
        let mut bytes = Vec::new();
        self.encoder.ping(&mut bytes, 0, 0, &Beat { next_ms: 0 });
        self.stream.write_all(&bytes).unwrap();
        self.read()
    }

    fn read(&mut self) -> Said {
        loop {
            if let Step::Frame { frame, consumed } = frame::step(&FRAMES, &self.bytes).unwrap() {
                let said = match message::decode(frame).unwrap() {
                    Message::Welcome(_) => Said::Welcome,
                    Message::Pong(_) => Said::Pong,
                    Message::Error(error) => Said::Error(error.code),
                    other => panic!("{other:?}"),
                };
                self.bytes.drain(..consumed);
                return said;
            }
            let mut more = [0; 4096];
            let count = self.stream.read(&mut more).unwrap();
            assert!(count > 0, "the connection ended");
            self.bytes.extend_from_slice(&more[..count]);
        }
    }
}

#[test]
fn a_reload_takes_over_tokens_and_level_and_refuses_what_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens.toml");
    let write = |text: &str| fs::write(&tokens, text).unwrap();
    write("\"first-token-of-ann-01\" = \"ann\"\n");
    let config = format!("[auth]\nkind = \"token\"\ntoken_file = \"{}\"\n", tokens.display());
    let gateway = Gateway::start(dir.path(), &config);
    let started = gateway.until("ready");
    let place = |part: &str| started.iter().position(|line| line.contains(part)).unwrap();
    assert!(place("memory budget") < place("listening"), "{started:#?}");

    // Another device each time: the same one would take the session over.
    let mut device = 0;
    let mut login = |token| {
        device += 1;
        Client::login(gateway.address, &format!("phone-{device}"), token)
    };
    let (mut stays, said) = login("first-token-of-ann-01");
    assert_eq!(said, Said::Welcome);
    assert_eq!(login("second-token-of-ann-1").1, Said::Error(code::UNAUTHENTICATED));

    write("\"second-token-of-ann-1\" = \"ann\"\n");
    fs::write(dir.path().join("hawser.toml"), format!("{config}[log]\nlevel = \"warn\"\n"))
        .unwrap();
    gateway.signal("-HUP");
    let lines = gateway.until("configuration reloaded");
    assert!(lines.last().unwrap().contains("warn"), "{lines:#?}");
    assert_eq!(login("second-token-of-ann-1").1, Said::Welcome);
    assert_eq!(login("first-token-of-ann-01").1, Said::Error(code::UNAUTHENTICATED));
    assert_eq!(stays.ping(), Said::Pong, "who is logged in stays so");

    write("\"short\" = \"ann\"\n");
    gateway.signal("-HUP");
    let lines = gateway.until("reload refused");
    assert!(lines.last().unwrap().contains("auth.token_file"), "{lines:#?}");
    assert!(!lines.last().unwrap().contains("short"), "a token is shown: {lines:#?}");
    assert_eq!(login("second-token-of-ann-1").1, Said::Welcome);

    write("\"second-token-of-ann-1\" = \"ann\"\n");
    fs::write(dir.path().join("hawser.toml"), format!("{config}[heartbeat]\nweb_s = 20\n"))
        .unwrap();
    gateway.signal("-HUP");
    gateway.until("only a restart takes over");
    assert_eq!(stays.ping(), Said::Pong);
}

#[test]
fn every_line_of_a_json_log_is_an_object() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(dir.path(), "[log]\nformat = \"json\"\n");
    let mut lines = gateway.until("\"ready\"");
    gateway.signal("-TERM");
    assert!(gateway.child.wait().unwrap().success());
    lines.extend(gateway.lines.iter());
    for line in &lines {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(object.is_object(), "{line}");
    }
    assert!(lines.iter().any(|line| line.contains("memory budget") && line.contains("sockets")));
    assert!(lines.iter().any(|line| line.contains("draining")));
}
