//! A process from its start to its drain, as its probes and its gauge tell it.

#![allow(clippy::unwrap_used)] // the lint takes shared test code for ordinary code

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use hawser_gateway::{
    config::{self, Invocation, Machine},
    start::start,
    worker::Phase,
};

/// Questions until a gauge has to say what it should; far more than any needs.
const QUESTIONS_MAX: usize = 20_000;

fn free_address(first: u16) -> SocketAddr {
    (first..first + 100)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("no port of 100 is free")
}

fn get(at: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let question = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

fn wait_for_connections(admin: SocketAddr, count: u32) {
    let line = format!("\nhawser_gateway_connections{{protocol=\"native\"}} {count}\n");
    let seen = (0..QUESTIONS_MAX).any(|_| get(admin, "/metrics").1.contains(&line));
    assert!(seen, "{line} is never shown");
}

#[test]
fn the_gauge_follows_closes_and_readiness_ends_with_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let (native, admin) = (free_address(17_600), free_address(17_700));
    let arguments = [
        "hawser-gateway".to_owned(),
        format!("--native={native}"),
        "--websocket=off".to_owned(),
        "--mqtt=off".to_owned(),
        format!("--admin={admin}"),
        format!("--data-dir={}", dir.path().join("data").display()),
        "--workers=2".to_owned(),
        "--max-connections=100".to_owned(),
    ];
    let machine = Machine { cores: 2, descriptors_max: 1_000 };
    let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let loaded = config::load(arguments.map(Into::into), [], machine, &no_file).unwrap();
    let Invocation::Run(config) = loaded else { panic!("{loaded:?}") };
    let running = start(&config).unwrap();
    assert_eq!(get(admin, "/readyz").0, 200);
    wait_for_connections(admin, 0);
    let mut clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(native).unwrap()).collect();
    wait_for_connections(admin, 3);
    clients.pop();
    wait_for_connections(admin, 2);

    running.set_phase(Phase::Draining);
    assert_eq!(get(admin, "/readyz").0, 503);
    assert_eq!(get(admin, "/healthz").0, 200);
    for mut client in clients {
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
    }
    running.join().unwrap();
}
