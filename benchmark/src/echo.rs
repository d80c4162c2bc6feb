//! The bare echo: what the kernel alone asks for a receive and a send on this machine.

use hawser_ring::{
    Completion, Event, Operation, Ring, SocketOptions, Token, Wait,
    uring::{RingSettings, UringRing},
};
use std::{net::SocketAddr, sync::mpsc, time::Duration};

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 7899);
const OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    receive_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: 0,
    keepalive_s: 0,
};

fn ring() -> Result<UringRing, String> {
    UringRing::new(RingSettings {
        descriptors: 20_000,
        completion_entries: 16_384,
        submission_entries: 1024,
        buffers: 512,
        buffer_bytes: 4096,
    })
    .map_err(|refusal| refusal.to_string())
}

/// Runs server and client threads and prints what the server's thread used.
///
/// # Errors
/// A ring or the port cannot be had.
pub fn run(connections: u32, in_flight: u32, bytes: usize, seconds: u64) -> Result<(), String> {
    let (ready, listening) = mpsc::channel();
    let server = std::thread::spawn(move || serve(&ready, seconds + 1));
    listening.recv().map_err(|_| "the echo server did not start".to_owned())?;
    let client = std::thread::spawn(move || drive(connections, in_flight, bytes, seconds));
    let rounds = client.join().map_err(|_| "the client panicked")??;
    let (served, cpu) = server.join().map_err(|_| "the server panicked")??;
    println!(
        "echo connections={connections} in_flight={in_flight} bytes={bytes} rounds={rounds} served={served} server_cpu_us_per_round={:.3}",
        cpu.as_secs_f64() * 1e6 / served.max(1) as f64
    );
    Ok(())
}

/// CPU time of the calling thread, from the kernel's accounting.
fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

fn wait(batch: usize, until_us: Option<u64>) -> Wait {
    if batch >= 20 {
        Wait { until_us, batch: 128, gather_us: 50 }
    } else {
        Wait { until_us, batch: 1, gather_us: 0 }
    }
}

fn serve(ready: &mpsc::Sender<()>, seconds: u64) -> Result<(u64, Duration), String> {
    let mut ring = ring()?;
    let listener =
        ring.listen(SocketAddr::from(ADDRESS), 4096, OPTIONS).map_err(|e| e.to_string())?;
    let mut asked = 16;
    for accept in 0..asked {
        ring.accept(listener, Token::new(Operation::Accept, 0, accept));
    }
    let _ = ready.send(());
    let mut completions: Vec<Completion> = Vec::new();
    let (mut end_us, mut batch, mut served) = (None, 0, 0);
    loop {
        let turn = ring.turn(wait(batch, end_us), &mut completions).map_err(|e| e.to_string())?;
        let end = *end_us.get_or_insert(turn.now.monotonic_us + seconds * 1_000_000);
        if turn.now.monotonic_us >= end {
            return Ok((served, thread_cpu()));
        }
        batch = completions.len();
        for completion in completions.drain(..) {
            let slot = completion.token.slot;
            match completion.event {
                Event::Accepted(Ok((socket, _))) => {
                    ring.receive(socket, Token::new(Operation::Receive, socket.0, 0));
                    asked += 1;
                    ring.accept(listener, Token::new(Operation::Accept, 0, asked));
                }
                Event::Received(Ok(Some(lease))) => {
                    let bytes = ring.bytes(&lease).to_vec();
                    ring.give_back(lease);
                    served += 1;
                    let socket = hawser_ring::Socket(slot);
                    ring.send(socket, bytes, Token::new(Operation::Send, slot, 0));
                    if !completion.more {
                        ring.receive(socket, Token::new(Operation::Receive, slot, 0));
                    }
                }
                Event::Received(Err(hawser_ring::Errno(libc::ENOBUFS))) => {
                    ring.receive(
                        hawser_ring::Socket(slot),
                        Token::new(Operation::Receive, slot, 0),
                    );
                }
                _ => {}
            }
        }
    }
}

fn drive(connections: u32, in_flight: u32, bytes: usize, seconds: u64) -> Result<u64, String> {
    let mut ring = ring()?;
    for index in 0..connections {
        let source = SocketAddr::from(([127, 0, 1, 1 + (index / 10_000) as u8], 0));
        let target = SocketAddr::from(ADDRESS);
        ring.connect(source, target, OPTIONS, Token::new(Operation::Connect, index, 0));
    }
    let mut completions: Vec<Completion> = Vec::new();
    let (mut end_us, mut batch, mut rounds) = (None, 0, 0);
    loop {
        let turn = ring.turn(wait(batch, end_us), &mut completions).map_err(|e| e.to_string())?;
        let end = *end_us.get_or_insert(turn.now.monotonic_us + seconds * 1_000_000);
        if turn.now.monotonic_us >= end {
            return Ok(rounds);
        }
        batch = completions.len();
        for completion in completions.drain(..) {
            match completion.event {
                Event::Connected(Ok(socket)) => {
                    ring.receive(socket, Token::new(Operation::Receive, socket.0, 0));
                    let message = vec![b'x'; bytes * in_flight as usize];
                    ring.send(socket, message, Token::new(Operation::Send, socket.0, 0));
                }
                Event::Connected(Err(errno)) => return Err(format!("connect: errno {}", errno.0)),
                Event::Received(Ok(Some(lease))) => {
                    let slot = completion.token.slot;
                    let echoed = ring.bytes(&lease).to_vec();
                    ring.give_back(lease);
                    rounds += (echoed.len() / bytes) as u64;
                    let socket = hawser_ring::Socket(slot);
                    ring.send(socket, echoed, Token::new(Operation::Send, slot, 0));
                    if !completion.more {
                        ring.receive(socket, Token::new(Operation::Receive, slot, 0));
                    }
                }
                Event::Received(Err(hawser_ring::Errno(libc::ENOBUFS))) => {
                    let slot = completion.token.slot;
                    ring.receive(
                        hawser_ring::Socket(slot),
                        Token::new(Operation::Receive, slot, 0),
                    );
                }
                _ => {}
            }
        }
    }
}
