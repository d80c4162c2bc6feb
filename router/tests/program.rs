//! The program as its operator meets it: refusals with their texts and exit codes, signals, the admin
//! port, the log's sub-commands.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod process_stage;

use process_stage::{Gateway, PATIENCE, ports};
use std::{
    fs::Permissions,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Instant,
};

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hawser-router"));
    command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HAWSER_")) {
        command.env_remove(name);
    }
    command
}

fn run(flags: &[&str]) -> Output {
    command(flags).output().unwrap()
}

/// Exit code and all that was said.
fn outcome(flags: &[&str]) -> (Option<i32>, String) {
    let output = run(flags);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// A router that has said that it is ready.
struct Program(Child);

impl Program {
    fn start(directory: &Path, list: &[SocketAddr], index: usize, more: &[&str]) -> Program {
        let routers: Vec<String> = list.iter().map(SocketAddr::to_string).collect();
        let (routers, listen) = (routers.join(","), routers[index].clone());
        let directory = directory.join(index.to_string());
        let mut flags = vec!["--routers", &routers, "--listen", &listen];
        flags.extend_from_slice(&["--data-dir", directory.to_str().unwrap()]);
        flags.extend_from_slice(more);
        let mut child = command(&flags).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut text = String::new();
        while !text.contains(" ready ") {
            assert_ne!(said.read_line(&mut text).unwrap(), 0, "ended: {text}");
        }
        // Whoever logs must never wait for a reader.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Program(child)
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn end(mut self, name: &str) -> Option<i32> {
        self.signal(name);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "{name} did not end it");
            std::thread::yield_now();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_what_is_allowed() {
    let check = |more: &[&str]| outcome(&[&["--check-config"], more].concat());
    assert_eq!(check(&[]), (Some(0), "configuration is valid\n".to_owned()));
    let list = "127.0.0.1:7910,127.0.0.1:7911";
    assert_eq!(check(&["--routers", list, "--listen", "127.0.0.1:7911"]).0, Some(0));
    assert_eq!(check(&["--routers", "10.0.0.1:7910", "--insecure"]).0, Some(0));
    for (flags, said) in [
        (&["--listen", "0.0.0.0:7910"][..], "--secret-file FILE, or --insecure"),
        (&["--routers", "127.0.0.1:7910,10.0.0.2:7910"], "on another machine"),
        (&["--routers", "127.0.0.1:7911,127.0.0.1:7912"], "is not in the list"),
        (&["--routers", "127.0.0.1:7910,127.0.0.1:7910"], "twice"),
        (&["--routers", list, "--index", "2"], "allowed: 0 to 1"),
        (&["--admin", "0.0.0.0:7981"], "`admin.key_file`"),
        (&["--admin", "127.0.0.1:7910"], "links have this address"),
        (&["--secret-file", "/nowhere"], "`link.secret_file` = \"/nowhere\""),
        (&["--listen", "here"], "allowed: IP:PORT"),
        (&["--config", "/nowhere.toml"], "`config` = \"/nowhere.toml\""),
        (&["--no-such-flag"], "--no-such-flag"),
    ] {
        let (code, text) = check(flags);
        assert_eq!(code, Some(1), "{flags:?}: {text}");
        assert!(text.contains(said), "{flags:?}: {text}");
    }
}

#[test]
fn file_variables_and_flags_lie_over_one_another_and_misspelt_keys_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("router.toml");
    let check = |text: &str, variables: &[(&str, &str)], flags: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let mut command = command(&["--check-config", "--config", file.to_str().unwrap()]);
        let output = command.args(flags).envs(variables.iter().copied()).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let bad = "[link]\nlisten = \"0.0.0.0:7910\"\n";
    assert!(check(bad, &[], &[]).contains("router.toml"));
    let variable = [("HAWSER_LINK_LISTEN", "0.0.0.0:1")];
    assert!(check(bad, &variable, &[]).contains("environment HAWSER_LINK_LISTEN"));
    assert!(check(bad, &variable, &["--listen", "0.0.0.0:2"]).contains("(--listen)"));
    assert_eq!(check(bad, &variable, &["--listen", "127.0.0.1:1"]), "configuration is valid\n");
    let text = check("[store]\nsegment_byte = 1\n", &[], &[]);
    assert!(text.contains("the nearest known key is `store.segment_bytes`"), "{text}");
    let text = check("[store]\nsegment_bytes = 1\n", &[], &[]);
    assert!(text.contains("4194304 to 4294967296 bytes"), "{text}");
}

#[test]
fn what_the_machine_does_not_give_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let list = ports(1);
    let address = list[0].to_string();
    let taken = TcpListener::bind(list[0]).unwrap();
    let data = directory.path().join("0");
    let flags = ["--listen", &address, "--admin", "off", "--data-dir", data.to_str().unwrap()];
    let (code, text) = outcome(&flags);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(&format!("cannot listen: {address}: Address already in use")), "{text}");
    drop(taken);

    let running = Program::start(directory.path(), &list, 0, &["--admin", "off"]);
    let (code, text) = outcome(&flags);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains(&format!("is in use by process {}", running.0.id())), "{text}");
    drop(running);

    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for place in [file.clone(), file.join("inside")] {
        let flags = ["--listen", &address, "--data-dir", place.to_str().unwrap()];
        let (code, text) = outcome(&flags);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("is not a directory"), "{text}");
    }
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "a secret of thirty-two characters\n").unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let data = directory.path().join("0");
    let flags = ["--secret-file", file.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
    let (code, text) = outcome(&flags);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("mode 0640 lets others read it; allowed: 0600"), "{text}");
}

#[test]
fn a_directory_keeps_its_place_in_the_list() {
    let directory = tempfile::tempdir().unwrap();
    let list = ports(2);
    let running = Program::start(directory.path(), &list[..1], 0, &["--admin", "off"]);
    let mut gateway = Gateway::new(&list[..1], b"", 1);
    let ann = gateway.login("ann");
    gateway.send(&ann, "bob", 1, b"kept");
    gateway.wait_accepted(&ann, 1);
    assert_eq!(running.end("-TERM"), Some(0));

    let routers = format!("{},{}", list[0], list[1]);
    let data = directory.path().join("0");
    let data = data.to_str().unwrap();
    let listen = list[0].to_string();
    let flags = ["--routers", &routers, "--listen", &listen, "--data-dir", data, "--admin", "off"];
    let (code, text) = outcome(&flags);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("`link.routers`") && text.contains("hawser-router reshard"), "{text}");

    let (code, text) = outcome(&["log", "verify", data]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = outcome(&["log", "dump", data]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("lane 0 segment 1"), "{text}");
}

#[test]
fn the_admin_port_shows_links_and_health_and_signals_end_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let list = ports(3);
    let admin = list[2].to_string();
    let start = || Program::start(directory.path(), &list[..1], 0, &["--admin", &admin]);
    let running = start();
    let mut gateway = Gateway::new(&list[..1], b"", 1);
    let ann = gateway.login("ann");
    gateway.send(&ann, "bob", 1, b"counted");
    gateway.wait_accepted(&ann, 1);
    assert!(get(list[2], "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(list[2], "/readyz").starts_with("HTTP/1.1 200"));
    let begun = Instant::now();
    let page = loop {
        let page = get(list[2], "/metrics");
        // Counters are copied once a turn, after what they count has been said.
        if page.contains("\nhawser_router_accepted_messages_total{host=\"0\"} 1\n") {
            break page;
        }
        assert!(begun.elapsed() < PATIENCE, "{page}");
    };
    for line in ["\nhawser_router_gateway_links 1\n", "\nhawser_router_router_links 0\n"] {
        assert!(page.contains(line), "{line} in {page}");
    }
    assert_eq!(running.end("-TERM"), Some(0));
    gateway.wait("farewell", |gateway| gateway.links[0].went_away && gateway.links[0].closed);
    assert_eq!(start().end("-INT"), Some(130));
    let mut killed = start();
    killed.signal("-KILL");
    killed.0.wait().unwrap();
    assert_eq!(start().end("-TERM"), Some(0));
}

#[test]
fn the_example_is_the_shipped_configuration_and_shows_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("hawser-router.example.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let load = |text: &str| {
        let read = |_: &Path| Ok(text.to_owned());
        let flags = ["hawser-router", "--config", "example"].map(Into::into);
        match hawser_router::process::config::load(flags, [], &read) {
            Ok(hawser_router::process::config::Invocation::Run(config)) => format!("{config:?}"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(load(&text), load(""), "every line is the shipped value");
    let lines = text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line));
    let all = lines.collect::<Vec<_>>().join("\n");
    load(&all);
    let mut section = "";
    let mut shown = Vec::new();
    for line in all.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ") {
            shown.push(format!("{section}.{key}"));
        }
    }
    let mut known: Vec<&str> = hawser_router::process::config::keys().collect();
    known.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, known);
}
