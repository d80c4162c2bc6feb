//! Yardsticks for the gateway. Each does the traffic of the gateway with as little as possible
//! around the kernel's work: same ring set-up, same wait policy, an exact-match table, no session,
//! no mailbox, no window. What the gateway costs above them is what it has to justify.

mod echo;
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
    /// Serve the native protocol without sessions: request in, body appended to a log through the
    /// gateway's own lane, acknowledge to the sender and notify to the recipient once durable.
    /// Ends when standard input ends or after --seconds.
    Relay {
        /// Address to listen on.
        #[arg(long, default_value = "127.0.0.1:7900")]
        address: SocketAddr,
        /// Directory of the log; without it nothing is durable.
        #[arg(long)]
        durable: Option<PathBuf>,
        /// Bound on the run, seconds.
        #[arg(long, default_value_t = 120)]
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
        Mode::Relay { address, durable, seconds } => relay::run(address, durable, seconds),
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
