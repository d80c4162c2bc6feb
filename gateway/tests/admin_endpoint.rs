//! The admin endpoint over a real socket of this machine.

#![allow(clippy::unwrap_used)] // the lint takes shared test code for ordinary code

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use hawser_gateway::{
    admin::{self, Admin, AdminKey, Ask, Asks, Outcome, Reloaded},
    metrics::{CloseReason, FrameKind, ProcessMetrics, Spoken, encode},
};

/// A listener on a free port below those of clients, as the tests of this project do.
fn start(key: Option<AdminKey>, metrics: &Arc<ProcessMetrics>) -> Admin {
    start_from(17_000, key, metrics)
}

fn start_from(first: u16, key: Option<AdminKey>, metrics: &Arc<ProcessMetrics>) -> Admin {
    for port in first..first + 200 {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if let Ok(admin) = Admin::start(address, key, metrics.clone(), axum::Router::new()) {
            return admin;
        }
    }
    panic!("no port of 200 is free");
}

fn get(at: SocketAddr, path: &str, header: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let question = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n");
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (code, answer)
}

#[test]
fn a_scrape_shows_what_workers_count() {
    let metrics = ProcessMetrics::new(2, 1);
    metrics.workers[0].connections.at(Spoken::Native).add(3);
    metrics.workers[1].connections.at(Spoken::Native).add(4);
    metrics.workers[1].accepted.add(4);
    metrics.workers[1].closed.at(CloseReason::Heartbeat).add(2);
    metrics.workers[0].frames_in.at(FrameKind::Request).add(9);
    metrics.workers[0].turn_us.record(3);
    metrics.hosts[0].flush_us.record(2_000_000);
    metrics.hosts[0].refused.at(401).add(5);
    let admin = start(None, &metrics);
    let (code, page) = get(admin.address(), "/metrics", "");
    assert_eq!(code, 200);
    for line in [
        "content-type: application/openmetrics-text",
        "\nhawser_gateway_connections{protocol=\"native\"} 7\n",
        "\nhawser_gateway_accepted_connections_total{worker=\"0\"} 0\n",
        "\nhawser_gateway_accepted_connections_total{worker=\"1\"} 4\n",
        "\nhawser_gateway_closed_connections_total{reason=\"heartbeat\"} 2\n",
        "\nhawser_gateway_received_frames_total{kind=\"request\"} 9\n",
        "\nhawser_gateway_turn_seconds_count 1\n",
        "\nhawser_store_flush_seconds_bucket{le=\"+Inf\"} 1\n",
        "\nhawser_router_refused_messages_total{code=\"401\"} 5\n",
        "\n# EOF\n",
    ] {
        assert!(page.contains(line), "{line:?} is not in\n{page}");
    }
}

#[test]
fn a_level_counted_up_at_one_worker_and_down_at_another_sums_up() {
    let metrics = ProcessMetrics::new(2, 0);
    metrics.workers[0].connections.at(Spoken::Native).add(5);
    metrics.workers[1].connections.at(Spoken::Native).sub(2);
    let page = encode(&metrics).unwrap();
    assert!(page.contains("\nhawser_gateway_connections{protocol=\"native\"} 3\n"), "{page}");
    metrics.workers[1].connections.at(Spoken::Native).sub(4);
    let page = encode(&metrics).unwrap();
    assert!(page.contains("\nhawser_gateway_connections{protocol=\"native\"} 0\n"), "{page}");
}

#[test]
fn buckets_are_cumulative_and_in_base_units() {
    let metrics = ProcessMetrics::new(1, 0);
    for us in [1, 2, 2, 16_384, 20_000] {
        metrics.workers[0].turn_us.record(us);
    }
    let page = encode(&metrics).unwrap();
    let count = |le: f64| {
        let found = page.lines().find_map(|line| {
            let rest = line.strip_prefix("hawser_gateway_turn_seconds_bucket{le=\"")?;
            let (bound, count) = rest.split_once("\"} ")?;
            let bound: f64 = bound.parse().ok()?;
            ((bound - le).abs() < 1e-9).then(|| count.parse::<u64>().unwrap())
        });
        found.unwrap_or_else(|| panic!("no bucket {le} in\n{page}"))
    };
    assert_eq!([count(0.000_001), count(0.000_002), count(0.016_384)], [1, 3, 4]);
    assert!(page.contains("turn_seconds_bucket{le=\"+Inf\"} 5\n"), "{page}");
}

#[test]
fn every_name_says_part_and_unit_and_stands_once() {
    let page = encode(&ProcessMetrics::new(2, 2)).unwrap();
    let mut names: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(names.len() > 40);
    for name in &names {
        let part = name.strip_prefix("hawser_").unwrap_or_else(|| panic!("{name}"));
        assert!(["gateway_", "router_", "store_"].iter().any(|p| part.starts_with(p)), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
    }
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn readiness_follows_the_flag_and_health_does_not() {
    let metrics = ProcessMetrics::new(1, 1);
    let admin = start(None, &metrics);
    assert_eq!(get(admin.address(), "/healthz", "").0, 200);
    assert_eq!(get(admin.address(), "/readyz", "").0, 503);
    metrics.set_ready(true);
    assert_eq!(get(admin.address(), "/readyz", "").0, 200);
    metrics.set_ready(false);
    assert_eq!(get(admin.address(), "/readyz", "").0, 503);
    assert_eq!(get(admin.address(), "/v1/users", "").0, 404);
}

#[test]
fn with_a_key_metrics_want_it_and_probes_do_not() {
    let metrics = ProcessMetrics::new(1, 1);
    let admin = start(AdminKey::of("0123456789abcdef\nignored\n"), &metrics);
    let at = admin.address();
    assert_eq!(get(at, "/metrics", "").0, 401);
    assert_eq!(get(at, "/metrics", "authorization: Bearer 0123456789abcdee\r\n").0, 401);
    assert_eq!(get(at, "/metrics", "authorization: Basic 0123456789abcdef\r\n").0, 401);
    assert_eq!(get(at, "/metrics", "authorization: Bearer 0123456789abcdef\r\n").0, 200);
    assert_eq!(get(at, "/healthz", "").0, 200);
    assert!(AdminKey::of("short").is_none());
    assert!(AdminKey::of("").is_none());
}

#[test]
fn a_port_in_use_is_refused_by_name_and_a_stopped_one_is_free_again() {
    let metrics = ProcessMetrics::new(1, 1);
    // Ports of its own: a test beside it would take the one that has become free.
    let admin = start_from(18_000, None, &metrics);
    let at = admin.address();
    let error = Admin::start(at, None, metrics.clone(), axum::Router::new()).unwrap_err();
    assert!(error.to_string().contains(&format!("admin.address {at}")), "{error}");
    drop(admin);
    TcpListener::bind(at).unwrap();
}

#[test]
fn garbage_and_silence_cost_only_their_own_connection() {
    let metrics = ProcessMetrics::new(1, 1);
    let admin = start(None, &metrics);
    let silent = TcpStream::connect(admin.address()).unwrap();
    let mut garbage = TcpStream::connect(admin.address()).unwrap();
    garbage.write_all(&[0xA7; 4096]).unwrap();
    assert_eq!(get(admin.address(), "/healthz", "").0, 200);
    drop((silent, garbage));
}

const KEY: &str = "0123456789abcdef";
const BEARER: &str = "authorization: Bearer 0123456789abcdef\r\n";

/// An admin port with the server API, called by these names, too.
fn start_with_api(hosts: &[&str]) -> (Admin, Asks) {
    let hosts = hosts.iter().map(ToString::to_string).collect();
    let (api, asks) = admin::api(AdminKey::of(KEY).unwrap(), hosts);
    for port in 18_300..18_500 {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let metrics = ProcessMetrics::new(1, 1);
        if let Ok(admin) = Admin::start(address, None, metrics, api.clone()) {
            return (admin, asks);
        }
    }
    panic!("no port of 200 is free");
}

/// Answers one reload.
fn answering(mut asks: Asks, outcome: Reloaded) -> std::thread::JoinHandle<Asks> {
    std::thread::spawn(move || {
        let Some(Ask::Reload(answer)) = asks.blocking_recv() else { panic!("nobody asked") };
        answer.send(outcome).unwrap();
        asks
    })
}

fn ask(at: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let question = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn a_reload_is_asked_for_with_the_key_and_answered_with_its_outcome() {
    let (admin, asks) = start_with_api(&[]);
    let at = admin.address();
    let headers = format!("host: {at}\r\n{BEARER}");
    let process = answering(asks, Ok(Outcome { restart_needed: true }));
    let (code, answer) = ask(at, "POST", "/v1/reload", &headers);
    assert_eq!(code, 200, "{answer}");
    assert!(answer.contains("\"reloaded\":true") && answer.contains("\"restart_needed\":true"));

    let asks = process.join().unwrap();
    let process = answering(asks, Err("`log.level` = \"loud\"".to_owned()));
    let (code, answer) = ask(at, "POST", "/v1/reload", &headers);
    assert_eq!(code, 422, "{answer}");
    assert!(answer.contains("`log.level` = \\\"loud\\\""), "{answer}");

    // The process is ending.
    drop(process.join().unwrap());
    assert_eq!(ask(at, "POST", "/v1/reload", &headers).0, 503);
    assert_eq!(ask(at, "GET", "/v1/reload", &headers).0, 405);
    assert_eq!(ask(at, "GET", "/v1/users", &headers).0, 404);
}

#[test]
fn the_server_api_is_closed_to_those_without_the_key_and_to_strangers_pages() {
    let (admin, mut asks) = start_with_api(&["gateway.internal"]);
    let at = admin.address();
    let code = |headers: &str| ask(at, "POST", "/v1/reload", headers).0;
    let own = format!("host: {at}\r\n");
    assert_eq!(code(&own), 401);
    assert_eq!(code(&format!("{own}authorization: Bearer 0123456789abcdee\r\n")), 401);
    assert_eq!(ask(at, "GET", "/v1/anything", &own).0, 401);
    // A name of the attacker's that leads to this machine.
    for host in
        ["", "host: evil.example\r\n", "host: evil.example:7980\r\n", "host: localhost.evil\r\n"]
    {
        assert_eq!(code(&format!("{host}{BEARER}")), 403, "{host:?}");
    }
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", ""] {
        let headers = format!("{own}origin: {origin}\r\n{BEARER}");
        assert_eq!(code(&headers), 403, "{origin:?}");
    }
    assert!(asks.try_recv().is_err(), "a refused question came through");
    // These reach the process, of which nothing is there.
    drop(asks);
    let port = at.port();
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "localhost".to_owned(),
        format!("[::1]:{port}"),
        "Gateway.Internal".to_owned(),
    ] {
        assert_eq!(code(&format!("host: {host}\r\n{BEARER}")), 503, "{host}");
        let headers = format!("host: {host}\r\norigin: http://{host}\r\n{BEARER}");
        assert_eq!(code(&headers), 503, "{host}");
    }
}

#[test]
fn the_key_of_a_data_directory_is_made_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    admin::open_or_create_key(&data).unwrap();
    let path = data.join(admin::KEY_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(text.trim().len() >= 43 && text.ends_with('\n'), "{text:?}");
    admin::open_or_create_key(&data).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

    std::fs::write(&path, "short\n").unwrap();
    let error = admin::open_or_create_key(&data).unwrap_err().to_string();
    assert!(error.contains("admin.key") && error.contains("16 bytes"), "{error}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = admin::open_or_create_key(&data).unwrap_err().to_string();
    assert!(error.contains("admin.key") && error.contains("0640"), "{error}");
}
