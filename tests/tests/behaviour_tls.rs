//! TLS on every kind of listener, with foreign clients and with ours: what it carries, what a
//! reload leaves alone, what resumes where, and what a peer that does not keep to it costs.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use hawser_tests::{
    company::{random_name, until},
    process::{Gateway, Home, Setup},
    raw::{RawClient, hello, request},
    secure::{Authority, Files, NAME, is_shown},
};
use rustix::process::Signal;
use rustls::HandshakeKind;

/// A gateway with TLS at its spare addresses: native, WebSocket, and what comes.
struct Place {
    home: Home,
    setup: Setup,
    authority: Authority,
    files: Files,
}

const ANSWERED: &str = "HTTP/1.1 200";

impl Place {
    fn new(more: &str) -> Self {
        let (home, authority) = (Home::new(), Authority::new());
        let files = authority.issue(&home, "server");
        let listeners = [("native", 0), ("websocket", 1), ("any", 2)].map(|(kind, spare)| {
            let address = home.spare[spare];
            format!("[[listener]]\nkind = \"{kind}\"\naddress = \"{address}\"\ntls = true\n")
        });
        let (chain, key) = (files.chain.display(), files.key.display());
        let text = format!(
            "{}[tls]\ncertificates = [{{ chain = \"{chain}\", key = \"{key}\" }}]\n{more}\n",
            listeners.concat()
        );
        let path = home.write("gateway.toml", &text).display().to_string();
        let setup = Setup::new().without_listeners().argument("--config").argument(path);
        Self { home, setup, authority, files }
    }

    fn start(self) -> (Gateway, Authority, Files) {
        (self.setup.start_in(self.home), self.authority, self.files)
    }
}

fn address(gateway: &Gateway, spare: usize) -> SocketAddr {
    gateway.home().spare[spare]
}

/// Sends a request by `openssl s_client`; gives all it shows.
fn s_client(address: SocketAddr, authority: &Path, arguments: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", NAME])
        .args(["-ign_eof", "-CAfile"])
        .arg(authority)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut input = child.stdin.take().expect("it was asked to be piped");
    let request = "GET /healthz HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n\r\n";
    input.write_all(request.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends with the connection");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn openssl_is_served_in_both_versions_and_resumes_at_another_gateway() {
    let shared = Home::new();
    let keys = shared.write("none", "").with_file_name("shared.keys");
    let more = format!("ticket_key_file = \"{}\"", keys.display());
    let (one, authority, _files) = Place::new(&more).start();
    // Another gateway is one of the same name, so of the same authority.
    let mut place = Place::new(&more);
    place.authority = authority;
    place.files = place.authority.issue(&place.home, "server");
    let (two, authority, _files) = place.start();
    let trusted = authority.publish(&shared);
    for version in ["-tls1_2", "-tls1_3"] {
        let session = shared.write("session", "");
        let session = session.display().to_string();
        let at_one = s_client(address(&one, 1), &trusted, &[version, "-sess_out", &session]);
        assert!(at_one.contains(ANSWERED), "{version}: {at_one}");
        assert!(at_one.contains("Verify return code: 0 (ok)"), "{version}: {at_one}");
        assert!(at_one.contains("New, TLSv1"), "{version}: {at_one}");
        let at_two = s_client(address(&two, 1), &trusted, &[version, "-sess_in", &session]);
        assert!(at_two.contains(ANSWERED), "{version}: {at_two}");
        assert!(at_two.contains("Reused, TLSv1"), "{version}: {at_two}");
    }
    assert_eq!(one.metric("hawser_gateway_tls_full_handshakes_total"), 2.0);
    assert_eq!(two.metric("hawser_gateway_tls_resumed_handshakes_total"), 2.0);
}

#[test]
fn curl_finds_the_gateway_healthy() {
    let (gateway, authority, _files) = Place::new("").start();
    let trusted = authority.publish(gateway.home());
    for spare in [1, 2] {
        let at = address(&gateway, spare);
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--include", "--cacert"])
            .arg(&trusted)
            .args(["--resolve", &format!("{NAME}:{}:{}", at.port(), at.ip())])
            .arg(format!("https://{NAME}:{}/healthz", at.port()))
            .output()
            .expect("curl is installed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.starts_with(ANSWERED), "{said}");
    }
}

#[test]
fn messages_go_from_a_client_of_either_version_to_one_without_tls() {
    let (gateway, authority, _files) = Place::new("").start();
    let (from, to) = (random_name(), random_name());
    // The listener that takes everything takes native frames without TLS as well.
    let (mut receiver, _) = RawClient::login(address(&gateway, 2), &to, "phone");
    let body = vec![b'x'; 40_000];
    for (sequence, trust) in [(1, authority.trust()), (2, authority.trust_of_old())] {
        for spare in [0, 2] {
            let device = format!("laptop-{sequence}-{spare}");
            let at = address(&gateway, spare);
            let greeting = hello(&from, &device);
            let mut sender = RawClient::greet_securely(at, &trust, NAME, &greeting);
            sender.welcome();
            // More than two records in, and answers to many small ones.
            sender.request(&request(1, &to, &body));
            sender.answer(1).expect("it is accepted");
            assert!(receiver.pushed().body == body, "another body");
            for client_seq in 2..20 {
                sender.request(&request(client_seq, &to, b"short"));
            }
            for client_seq in 2..20 {
                sender.answer(client_seq).expect("it is accepted");
                assert_eq!(receiver.pushed().body, b"short");
            }
        }
    }
}

#[test]
fn a_flood_over_tls_is_taken_in_shares_and_nothing_is_lost() {
    const REQUESTS: u64 = 50;
    let (gateway, authority, _files) = Place::new("").start();
    let (from, to) = (random_name(), random_name());
    let (mut receiver, _) = RawClient::login(address(&gateway, 2), &to, "phone");
    let (at, trust) = (address(&gateway, 0), authority.trust());
    let mut sender = RawClient::greet_securely(at, &trust, NAME, &hello(&from, "laptop"));
    sender.welcome();
    // Two megabytes, far more than a turn's share, and every frame spans records.
    let body = |client_seq: u64| vec![client_seq as u8; 30_000 + client_seq as usize];
    for client_seq in 1..=REQUESTS {
        sender.request(&request(client_seq, &to, &body(client_seq)));
    }
    for client_seq in 1..=REQUESTS {
        sender.answer(client_seq).expect("it is accepted");
    }
    // More than is pushed to somebody who does not read in between, so it is asked for.
    let mut entries = Vec::new();
    while entries.len() < REQUESTS as usize {
        let (page, _) = receiver.page(entries.len() as u64, 10);
        assert!(!page.is_empty(), "{} of {REQUESTS} entries", entries.len());
        entries.extend(page);
    }
    for (entry, client_seq) in entries.iter().zip(1..) {
        assert!(entry.body == body(client_seq), "entry {client_seq} holds something else");
    }
}

#[test]
fn a_reload_shows_the_new_certificate_and_leaves_live_connections_alone() {
    let (gateway, authority, old) = Place::new("").start();
    let at = address(&gateway, 0);
    let trust = authority.trust();
    let greeting = |name| hello(name, "phone");
    let mut held = RawClient::greet_securely(at, &trust, NAME, &greeting("held"));
    held.welcome();
    assert!(is_shown(held.tls().expect("it speaks TLS"), &old));

    let new = authority.issue(gateway.home(), "server");
    gateway.signal(Signal::HUP);
    gateway.wait_for_line("configuration reloaded");
    // The workers take it over at their next turn.
    until("the new certificate", || {
        let fresh = authority.trust();
        let mut client = RawClient::greet_securely(at, &fresh, NAME, &greeting("fresh"));
        client.welcome();
        is_shown(client.tls().expect("it speaks TLS"), &new).then_some(())
    });
    held.settle();

    // A certificate without its key changes nothing.
    let stray = authority.issue(gateway.home(), "stray");
    std::fs::copy(&stray.key, &new.key).expect("the files are ours");
    gateway.signal(Signal::HUP);
    gateway.wait_for_line("is not the key of the certificate in");
    let fresh = authority.trust();
    let mut client = RawClient::greet_securely(at, &fresh, NAME, &greeting("later"));
    client.welcome();
    held.settle();
}

#[test]
fn handshakes_beyond_a_turns_share_wait_and_are_all_done() {
    const CLIENTS: usize = 300;
    let (gateway, authority, _files) = Place::new("").start();
    let at = address(&gateway, 0);
    let trust = authority.trust();
    let mut held = RawClient::greet_securely(at, &trust, NAME, &hello("held", "phone"));
    held.welcome();
    // Their first flights all lie there before any of them reads.
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut socket = std::net::TcpStream::connect(at).expect("it listens");
            let mut tls = authority.trust().client(NAME);
            tls.write_tls(&mut socket).expect("a first flight fits the socket's buffer");
            (socket, tls)
        })
        .collect();
    held.settle();
    for (socket, tls) in &mut clients {
        while tls.is_handshaking() {
            tls.complete_io(socket).expect("the handshake goes on");
        }
        assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
    }
    held.settle();
    until("all of them to be counted", || {
        let done = gateway.metric("hawser_gateway_tls_full_handshakes_total");
        (done == CLIENTS as f64 + 1.0).then_some(())
    });
    assert_eq!(gateway.metric("hawser_gateway_tls_waiting_handshakes"), 0.0);
}

/// What the server says to bytes of somebody who does not speak TLS, up to its end.
fn answer_to(at: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = std::net::TcpStream::connect(at).expect("it listens");
    socket.write_all(bytes).expect("the socket has room");
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = socket.read_to_end(&mut answer);
    answer
}

#[test]
fn who_does_not_speak_tls_is_told_so_and_costs_nobody_else_anything() {
    let (gateway, authority, _files) = Place::new("").start();
    let at = address(&gateway, 0);
    let trust = authority.trust();
    let mut held = RawClient::greet_securely(at, &trust, NAME, &hello("held", "phone"));
    held.welcome();
    let alert = |description| vec![21, 3, 3, 0, 2, 2, description];
    assert_eq!(answer_to(at, b"GET / HTTP/1.1\r\n\r\n"), alert(10));
    assert_eq!(answer_to(at, &[22, 3, 1, 0xff, 0xff]), alert(22));
    assert_eq!(answer_to(at, &[22, 3, 1, 0, 4, 1, 0, 0, 0]), alert(50));
    let failed = |reason: &str| {
        let name = "hawser_gateway_tls_failed_handshakes_total";
        gateway.metric(&format!("{name}{{reason=\"{reason}\"}}"))
    };
    assert_eq!((failed("garbage"), failed("too_long")), (2.0, 1.0));

    // A client that is past its handshake and sends what does not open.
    let mut client = RawClient::greet_securely(at, &trust, NAME, &hello("broken", "phone"));
    client.welcome();
    client.say_unsealed(&[
        23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0,
    ]);
    client.end();
    until("it to be counted", || {
        (gateway.metric("hawser_gateway_tls_broken_connections_total") == 1.0).then_some(())
    });
    held.settle();
}
