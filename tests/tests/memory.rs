//! What one more idle connection costs the gateway's process, and what all of it takes.
//!
//! Real process, real sockets, one worker. `RssAnon` is read at two numbers of connections that are
//! all logged in, as different users with names of 36 bytes, and quiet again; the slope between the
//! two is free of binary, pools and the first touch of tables.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use hawser_codec::{message::Encoder, websocket::Opcode};
use hawser_gateway::limits::{MemoryBudget, TLS_BYTES_PER_CONNECTION, USER_BYTES_PER_CONNECTION};
use hawser_tests::{
    company::until,
    process::{Gateway, Home, Setup},
    raw::{RawClient, hello},
    secure::{Authority, NAME},
    websocket::{Heard, WebSocketClient, Wish},
};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Connections of the two points; the second nearly fills a worker's table.
const FEW: usize = 6_000;
const MANY: usize = FEW + 13_000;

/// Room of the gateway for them.
const CONNECTIONS_MAX: u32 = 19_500;

/// Descriptors this process needs: one per client, and what it has besides.
const DESCRIPTORS: u64 = MANY as u64 + 200;

/// Greetings under way at once: they share a flush of the log.
const GREETINGS: usize = 500;

/// What the slope may be above the truth because memory is counted in pages and grows in steps,
/// bytes per connection: ten runs lay between 248 and 265. All 256 shards have as many users, so they
/// grow in step: one page of each of them is 80 B on 13,000 connections.
const ALLOWANCE_BYTES: u64 = 16;

/// Looks in a row at which nothing may have changed, 20 ms apart.
const STEADY_LOOKS: u32 = 10;

/// Processes measured until one is within the bound. What else comes first between the two points
/// (a write buffer, a receive buffer of a busier turn) adds to a slope and has its own place in the
/// budget; nothing of the kind makes it smaller.
const PROCESSES: u32 = 3;

#[test]
fn an_idle_connection_costs_at_most_its_budget_and_all_of_them_what_was_printed() {
    assert_slope(USER_BYTES_PER_CONNECTION, slope_of_a_process);
}

#[test]
fn tls_adds_at_most_its_budget_to_an_idle_connection() {
    assert_slope(USER_BYTES_PER_CONNECTION + TLS_BYTES_PER_CONNECTION, slope_with_tls);
}

#[test]
fn an_idle_websocket_costs_no_more_than_a_native_connection() {
    assert_slope(USER_BYTES_PER_CONNECTION, slope_of_websockets);
}

#[test]
fn an_idle_mqtt_session_costs_no_more_than_a_native_connection() {
    assert_slope(USER_BYTES_PER_CONNECTION, slope_of_mqtt);
}

fn assert_slope(budget: u64, measure: fn() -> f64) {
    allow_descriptors();
    let bound = (budget + ALLOWANCE_BYTES) as f64;
    let mut slopes = Vec::new();
    while slopes.len() < PROCESSES as usize && slopes.last().is_none_or(|slope| *slope > bound) {
        slopes.push(measure());
    }
    let least = slopes.iter().copied().fold(f64::INFINITY, f64::min);
    println!("{slopes:.0?} B for each connection more");
    assert!(least <= bound, "{slopes:.0?} B for each connection more, above {bound} B");
}

/// The same over TLS 1.3.
fn slope_with_tls() -> f64 {
    let (home, authority) = (Home::new(), Authority::new());
    let files = authority.issue(&home, "server");
    let text = format!(
        "[[listener]]\nkind = \"native\"\naddress = \"{}\"\ntls = true\n[tls]\ncertificates = \
         [{{ chain = \"{}\", key = \"{}\" }}]\n",
        home.native(),
        files.chain.display(),
        files.key.display()
    );
    let path = home.write("gateway.toml", &text).display().to_string();
    let setup = setup().without_listeners().argument("--config").argument(path);
    let gateway = setup.start_in(home);
    let trust = authority.trust();
    let greet = |name: &str| {
        RawClient::greet_securely(gateway.native(), &trust, NAME, &hello(name, "phone"))
    };
    let (few, many) = fill(&gateway, greet, welcome);
    slope(few, many)
}

fn welcome(client: &mut RawClient) {
    client.welcome();
}

/// Native frames in binary messages.
fn slope_of_websockets() -> f64 {
    let gateway = setup().start();
    let wish = Wish::of("/ws", &["hawser.v1"]);
    let greet = |name: &str| {
        let opened = WebSocketClient::open(gateway.websocket(), &wish);
        let mut client = opened.unwrap_or_else(|refused| panic!("{refused:?}"));
        let mut frame = Vec::new();
        Encoder::new().hello(&mut frame, 0, 0, &hello(name, "phone"));
        client.say(Opcode::Binary, &frame);
        client
    };
    let (few, many) = fill(&gateway, greet, |client| {
        let heard = client.hear();
        assert!(matches!(heard, Heard::Binary(_)), "{heard:?}");
    });
    slope(few, many)
}

/// Clean sessions of 3.1.1 with a user name, which may be silent for ten minutes.
fn slope_of_mqtt() -> f64 {
    let gateway = setup().start();
    let greet = |name: &str| {
        let mut packet = vec![0x10, (10 + 2 + 5 + 2 + name.len()) as u8];
        packet.extend_from_slice(b"\0\x04MQTT\x04\x82\x02\x58\0\x05phone\0");
        packet.push(name.len() as u8);
        packet.extend_from_slice(name.as_bytes());
        let mut socket = TcpStream::connect(gateway.mqtt()).expect("it listens");
        socket.write_all(&packet).expect("it is taken");
        socket
    };
    let (few, many) = fill(&gateway, greet, |socket| {
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).expect("it is answered");
        assert_eq!(answer, [0x20, 2, 0, 0], "accepted, and no session was there");
    });
    slope(few, many)
}

fn slope(few: u64, many: u64) -> f64 {
    many.saturating_sub(few) as f64 / (MANY - FEW) as f64
}

fn setup() -> Setup {
    Setup::new()
        .workers(1)
        .setting("limits.max_connections", CONNECTIONS_MAX)
        // Room for all logins: filling a further segment touches a buffer of its own.
        .setting("store.segment_bytes", 64 << 20)
        .setting("limits.handshake_timeout_ms", 120_000)
        // Nobody beats here, and thousands of handshakes take longer than a heartbeat.
        .setting("heartbeat.mobile_s", 3600)
        .setting("heartbeat.desktop_s", 3600)
}

/// Anonymous memory at the two points, each with that many quiet connections.
fn fill<C>(
    gateway: &Gateway,
    greet: impl Fn(&str) -> C,
    mut welcome: impl FnMut(&mut C),
) -> (u64, u64) {
    let mut held: Vec<C> = Vec::with_capacity(MANY);
    let [few, many] = [FEW, MANY].map(|count| {
        while held.len() < count {
            let first = held.len();
            let until = count.min(first + GREETINGS);
            held.extend((first..until).map(|index| {
                let name = format!("somebody-with-a-long-name-{index:010}");
                assert_eq!(name.len(), 36);
                greet(&name)
            }));
            held[first..].iter_mut().for_each(&mut welcome);
        }
        settled_bytes(gateway, count)
    });
    (few, many)
}

/// Bytes for each connection more; the whole is asserted here.
fn slope_of_a_process() -> f64 {
    let gateway = setup().start();
    let greet = |name: &str| RawClient::greet(gateway.native(), &hello(name, "phone"));
    let (few, many) = fill(&gateway, greet, welcome);

    let budget = MemoryBudget::for_config(1, 1, CONNECTIONS_MAX);
    assert!(gateway.said().contains(&budget.to_string()), "{}", gateway.said());
    let share = budget.pool_bytes() + MANY as u64 * USER_BYTES_PER_CONNECTION;
    assert!(many <= share, "{many} B in all, above the {share} B of the printed budget");
    slope(few, many)
}

/// Anonymous memory of the gateway once all are quiet: watched only, nothing under way, and the
/// allocator has given back what it gives back.
fn settled_bytes(gateway: &Gateway, count: usize) -> u64 {
    let count = count as f64;
    let (mut last, mut looks) = (0, 0);
    until("all to be quiet", || {
        let quiet = gateway.metric("hawser_gateway_sessions") == count
            && gateway.metric("hawser_gateway_connections_cold") == count;
        let now = anonymous_bytes(gateway.pid());
        looks = if quiet && now == last { looks + 1 } else { 0 };
        last = now;
        (looks == STEADY_LOOKS).then_some(now)
    })
}

/// `RssAnon` of a process (proc_pid_status(5)), bytes.
fn anonymous_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.expect("Linux 4.5 and later").trim().parse::<u64>().expect("a number") * 1024
}

/// Many shells start programs with a soft limit of 1,024 below a far higher hard one.
fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|soft| soft < DESCRIPTORS) {
        limit.current = Some(DESCRIPTORS);
        setrlimit(Resource::Nofile, limit)
            .unwrap_or_else(|error| panic!("needs {DESCRIPTORS} descriptors (ulimit -n): {error}"));
    }
}
