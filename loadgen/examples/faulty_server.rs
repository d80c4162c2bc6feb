//! A server of the native protocol that goes wrong to order, to try the generator on.
//!
//! ```text
//! cargo run --release -p hawser-loadgen --example faulty-server -- --stall 1s --at 3s
//! hawser-loadgen run chat --pairs 20 --rate 500 --target 127.0.0.1:7990
//! ```

use std::{
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::Parser;
use hawser_loadgen::scenario::time;

#[path = "../tests/mock/mod.rs"]
mod mock;

use mock::{Fault, Settings, Stall};

/// A server of the native protocol that goes wrong to order.
///
/// Messages are counted from 1 over all connections. It keeps everything in memory and is no
/// server for anything else.
#[derive(Debug, Parser)]
#[command(name = "faulty-server")]
struct Arguments {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7990")]
    listen: SocketAddr,
    /// Answer nothing for so long.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    stall: Option<Duration>,
    /// When, after the first message.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time::parse)]
    at: Duration,
    /// Time that each message takes, one after the other on each connection.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time::parse)]
    service_time: Duration,
    /// Acknowledge the N-th message and never deliver it.
    #[arg(long, value_name = "N")]
    lose: Option<u64>,
    /// Deliver it twice.
    #[arg(long, value_name = "N")]
    double: Option<u64>,
    /// Deliver it behind the next one of the same sender to the same user.
    #[arg(long, value_name = "N")]
    swap: Option<u64>,
    /// Change a byte of it.
    #[arg(long, value_name = "N")]
    damage: Option<u64>,
    /// Deliver it to a stranger as well.
    #[arg(long, value_name = "N")]
    misdeliver: Option<u64>,
    /// Break every connection when it comes.
    #[arg(long = "break", value_name = "N")]
    break_at: Option<u64>,
    /// Do not answer heartbeats.
    #[arg(long)]
    deaf: bool,
    /// Let nobody log in.
    #[arg(long)]
    refuse: bool,
    /// Heartbeat asked of clients, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    heartbeat: u16,
}

impl Arguments {
    fn settings(&self) -> Settings {
        type Numbered = fn(u64) -> Fault;
        let numbered: [(Option<u64>, Numbered); 6] = [
            (self.lose, Fault::Lose),
            (self.double, Fault::Double),
            (self.swap, Fault::Swap),
            (self.damage, Fault::Damage),
            (self.misdeliver, Fault::Misdeliver),
            (self.break_at, Fault::Break),
        ];
        let flagged = [(self.deaf, Fault::Deaf), (self.refuse, Fault::Refuse)];
        let numbered = numbered.into_iter().filter_map(|(at, fault)| at.map(fault));
        let flagged = flagged.into_iter().filter_map(|(on, fault)| on.then_some(fault));
        Settings {
            faults: numbered.chain(flagged).collect(),
            stall: self.stall.map(|lasts| Stall { at: self.at, lasts }),
            service: self.service_time,
            heartbeat_s: self.heartbeat,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = arguments.settings();
    let listener = match TcpListener::bind(arguments.listen) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("faulty-server: --listen {}: {error}", arguments.listen);
            return ExitCode::from(2);
        }
    };
    println!("listening on {}, wrong on purpose: {settings:?}", arguments.listen);
    match mock::serve(listener, settings) {
        Ok(_server) => loop {
            thread::park();
        },
        Err(error) => {
            eprintln!("faulty-server: {error}");
            ExitCode::from(2)
        }
    }
}
