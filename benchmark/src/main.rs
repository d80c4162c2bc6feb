//! Yardsticks for the gateway. Each does the traffic of the gateway with as little as possible
//! around the kernel's work: same ring set-up, same wait policy, an exact-match table, no session,
//! no mailbox, no window. What the gateway costs above them is what it has to justify.

mod echo;
mod load;
mod mqtt;
mod relay;

use clap::{Parser, Subcommand};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Bare servers on the gateway's ring, to measure the gateway against")]
struct CommandLine {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Serve a protocol without sessions: message in, body appended to a log through the gateway's
    /// own lane, answer to the sender and delivery to the recipients once durable. Ends after
    /// --seconds.
    Relay {
        /// Address to listen on.
        #[arg(long, default_value = "127.0.0.1:7900")]
        address: SocketAddr,
        /// What it speaks.
        #[arg(long, value_enum, default_value_t = relay::Protocol::Native)]
        protocol: relay::Protocol,
        /// Directory of the log; without it nothing is durable.
        #[arg(long)]
        durable: Option<PathBuf>,
        /// Bound on the run, seconds.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
    },
    /// Publish and subscribe against any MQTT server, closed loop; prints figures as JSON.
    Publish {
        /// Server.
        #[arg(long, default_value = "127.0.0.1:1883")]
        target: SocketAddr,
        /// Its process, for the CPU it takes.
        #[arg(long)]
        server_pid: Option<u32>,
        /// Publishers, each with a topic of its own.
        #[arg(long, default_value_t = 1000)]
        publishers: u32,
        /// Subscribers of each topic.
        #[arg(long, default_value_t = 1)]
        subscribers: u32,
        /// Messages each publisher keeps under way.
        #[arg(long, default_value_t = 1)]
        in_flight: u32,
        /// Quality of service, 0 or 1.
        #[arg(long, default_value_t = 0)]
        quality: u8,
        /// Length of a payload, bytes.
        #[arg(long, default_value_t = 64)]
        bytes: usize,
        /// Length of the run, the first second of it not measured.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Messages to a WebSocket echo and back, closed loop; prints figures as JSON.
    Websocket {
        /// Server.
        #[arg(long, default_value = "127.0.0.1:7901")]
        target: SocketAddr,
        /// Path of the echo.
        #[arg(long, default_value = "/echo")]
        path: String,
        /// Its process, for the CPU it takes.
        #[arg(long)]
        server_pid: Option<u32>,
        /// Connections.
        #[arg(long, default_value_t = 1000)]
        connections: u32,
        /// Messages each keeps under way.
        #[arg(long, default_value_t = 1)]
        in_flight: u32,
        /// Length of a message, bytes, 16 to 125.
        #[arg(long, default_value_t = 64)]
        bytes: usize,
        /// Length of the run, the first second of it not measured.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// Echo bytes between two threads over loopback and print the server's CPU per round.
    Echo {
        /// Connections.
        #[arg(long, default_value_t = 1000)]
        connections: u32,
        /// Messages in flight per connection.
        #[arg(long, default_value_t = 1)]
        in_flight: u32,
        /// Length of a message, bytes.
        #[arg(long, default_value_t = 64)]
        bytes: usize,
        /// Length of the run, seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().mode {
        Mode::Relay { address, protocol, durable, seconds } => {
            relay::run(address, protocol, durable, seconds)
        }
        Mode::Publish {
            target,
            server_pid,
            publishers,
            subscribers,
            in_flight,
            quality,
            bytes,
            seconds,
        } => {
            let shape = load::Shape { publishers, subscribers, in_flight, quality, bytes };
            load::run(target, server_pid, seconds, load::Publish::new(shape))
                .map(|figures| println!("{}", figures.to_json()))
        }
        Mode::Websocket { target, path, server_pid, connections, in_flight, bytes, seconds } => {
            let echo = load::Echo::new(connections, in_flight, bytes, path);
            load::run(target, server_pid, seconds, echo)
                .map(|figures| println!("{}", figures.to_json()))
        }
        Mode::Echo { connections, in_flight, bytes, seconds } => {
            echo::run(connections, in_flight, bytes, seconds)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hawser-benchmark: {error}");
            ExitCode::from(2)
        }
    }
}
