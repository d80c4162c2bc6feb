//! A door before a server that notes who came from where, and how each connection ended: what a
//! server sees of what the schedule did to its clients.

// The lint knows tests by their attribute; this module is only ever compiled into one.
#![allow(clippy::unwrap_used)]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

/// How a client ended its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
    /// It was silent for longer than the door allows, and was shut out.
    Silent,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Life {
    pub from: SocketAddr,
    pub opened: Instant,
    pub ended: Option<(End, Instant)>,
}

/// See the module.
pub struct Door {
    pub address: SocketAddr,
    lives: Arc<Mutex<Vec<Life>>>,
}

impl Door {
    /// Opens one before `server`. Who is silent for longer than `silence_max` is shut out.
    pub fn before(server: SocketAddr, silence_max: Option<Duration>) -> Self {
        // Clients of the tests bind ports from 20000 up.
        let first = 10_000 + std::process::id() as u16 % 8_000;
        let mut ports = (first..20_000).chain(10_000..first);
        let listener = ports.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).unwrap();
        let address = listener.local_addr().unwrap();
        let lives = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&lives);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let life =
                    Life { from: socket.peer_addr().unwrap(), opened: Instant::now(), ended: None };
                let mut lives = noted.lock().unwrap();
                let number = lives.len();
                lives.push(life);
                drop(lives);
                let noted = Arc::clone(&noted);
                thread::spawn(move || {
                    let end = carry(socket, server, silence_max);
                    noted.lock().unwrap()[number].ended = Some((end, Instant::now()));
                });
            }
        });
        Self { address, lives }
    }

    /// All connections so far, in order, without the first, which only looks whether somebody
    /// listens.
    pub fn lives(&self) -> Vec<Life> {
        self.lives.lock().unwrap().iter().skip(1).cloned().collect()
    }
}

/// Carries bytes both ways until the client ends.
fn carry(mut client: TcpStream, server: SocketAddr, silence_max: Option<Duration>) -> End {
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(silence_max).unwrap();
    let mut server = TcpStream::connect(server).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let down = thread::spawn(move || {
        let refused = pump(&mut from, &mut to).refused;
        // The client may be gone already.
        let _ = to.shutdown(Shutdown::Write);
        refused
    });
    let up = pump(&mut client, &mut server);
    // Either may be gone already.
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    // The kernel tells of a reset once, to whoever asks first.
    let reset_told_to_writer = down.join().unwrap();
    match up.end {
        None if reset_told_to_writer => End::Reset,
        None => End::Fin,
        Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => End::Silent,
        Some(_) => End::Reset,
    }
}

struct Pumped {
    /// Of `from`; none: finished.
    end: Option<ErrorKind>,
    /// `to` was reset.
    refused: bool,
}

/// Until the end of `from`, or an error.
fn pump(from: &mut TcpStream, to: &mut TcpStream) -> Pumped {
    let mut chunk = [0; 16 * 1024];
    let mut refused = false;
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Pumped { end: None, refused },
            Ok(count) => {
                let written = to.write_all(&chunk[..count]);
                refused |= written.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
            }
            Err(error) => return Pumped { end: Some(error.kind()), refused },
        }
    }
}
