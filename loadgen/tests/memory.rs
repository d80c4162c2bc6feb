//! What an idle connection costs this process, measured: the promise is 400 B.
//!
//! The program itself runs, against a server in this process that says welcome and nothing else,
//! with many connections and with more; the slope between the two is the cost of one. Fewer would
//! not do: pools, above all the receive buffers of the ring, grow into their bounds first.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use hawser_codec::{
    frame::{self, FrameLimits, Step},
    message::{self as wire, Encoder, Message},
};
use hawser_loadgen::{measure::kilobytes, worker::SLOT_BYTES};

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 1 << 20 };

/// Looks at the run, a tenth of a second apart, until all must be connected.
const LOOKS_MAX: u32 = 1200;

/// Looks between the last login and the one that counts.
const SETTLING_LOOKS: u32 = 15;

/// Threads that accept: each waits for one hello at a time.
const ACCEPTING: usize = 16;

/// Says welcome to everybody and keeps the sockets.
fn welcome_all() -> (SocketAddr, Arc<AtomicUsize>) {
    let first = 10_000 + std::process::id() as u16 % 8_000;
    let listener = (first..20_000).chain(10_000..first);
    let listener = { listener }.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let listener = listener.expect("one of 10,000 ports is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let welcomed = Arc::new(AtomicUsize::new(0));
    for _ in 0..ACCEPTING {
        let listener = listener.try_clone().expect("a descriptor is left");
        let count = Arc::clone(&welcomed);
        thread::spawn(move || {
            let mut kept = Vec::new();
            let welcome = welcome();
            for mut socket in listener.incoming().map_while(Result::ok) {
                if hears_hello(&mut socket) && socket.write_all(&welcome).is_ok() {
                    kept.push(socket);
                    count.fetch_add(1, Relaxed);
                }
            }
        });
    }
    (address, welcomed)
}

fn welcome() -> Vec<u8> {
    let mut bytes = Vec::new();
    let welcome = wire::Welcome {
        version: 1,
        server_time_ms: 1,
        heartbeat_s: 3600,
        resume_token: b"",
        head: 0,
        cursor: 0,
        floor: 0,
        frame_bytes_max: 65536,
        requests_max: 8,
        compression: 0,
    };
    Encoder::new().message(&mut bytes, 0, 0, &Message::Welcome(welcome));
    bytes
}

/// False: it only looked whether somebody listens.
fn hears_hello(socket: &mut impl Read) -> bool {
    let mut inbound = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        match socket.read(&mut chunk) {
            Ok(count) if count > 0 => inbound.extend_from_slice(&chunk[..count]),
            _ => return false,
        }
        let Ok(Some(preface)) = frame::preface(&inbound) else { continue };
        if matches!(frame::step(&LIMITS, &inbound[preface..]), Ok(Step::Frame { .. })) {
            return true;
        }
    }
}

/// A run that ends with this value.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Anonymous memory of a run that holds so many connections, bytes.
fn memory_of(connections: usize) -> u64 {
    let (address, welcomed) = welcome_all();
    let arguments = format!(
        "run hold --plain --threads 1 --duration 5m --connect-rate 10000 --target {address} \
         --connections {connections}"
    );
    let program = Command::new(env!("CARGO_BIN_EXE_hawser-loadgen"))
        .args(arguments.split_whitespace())
        // What is free is the system's again at once, and is not counted.
        .env("MIMALLOC_PURGE_DELAY", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut run = Run(program.expect("the program was built with this test"));
    let status = format!("/proc/{}/status", run.0.id());
    for _ in 0..LOOKS_MAX {
        pause();
        assert_eq!(run.0.try_wait().expect("it is our child"), None, "the run has ended early");
        if welcomed.load(Relaxed) == connections {
            // The last buffers go back.
            (0..SETTLING_LOOKS).for_each(|_| pause());
            let status = fs::read_to_string(&status).unwrap_or_default();
            return kilobytes(&status, "RssAnon:") * 1024;
        }
    }
    panic!("{} of {connections} connected", welcomed.load(Relaxed));
}

fn pause() {
    thread::park_timeout(Duration::from_millis(100));
}

#[test]
fn idle_connection_costs_at_most_400_bytes_of_the_process() {
    let (few, many) = (9_000, 14_000);
    let grown = memory_of(many).saturating_sub(memory_of(few));
    let each = grown / (many - few) as u64;
    assert!(each <= 400, "{each} B for each connection, of which its slot is {SLOT_BYTES}");
    assert!(each + 16 >= SLOT_BYTES, "{each} B is less than a slot: not measured");
}
