//! Rings for a scenario, and the normalised trace of what they report.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use hawser_ring::{
    Completion, Event, Lease, Listener, Operation, Ring, RingSettings, Socket, SocketOptions,
    Token, Wait,
    sim::{SimDisk, SimRing, World},
    uring::UringRing,
};

/// Options of most sockets.
pub const OPTIONS: SocketOptions = SocketOptions {
    no_delay: true,
    send_buffer_bytes: None,
    receive_buffer_bytes: None,
    not_sent_low_bytes: None,
    user_timeout_ms: 0,
    keepalive_s: 0,
};
/// Rounds over all rings one wait may take.
const ROUNDS: u32 = 2000;
/// Rounds in a row without news that count as quiet.
const QUIET_ROUNDS: u32 = 5;
/// A real ring's wait in one round, microseconds.
const ROUND_US: u64 = 2000;

/// The ring that listens.
pub const SERVER: usize = 0;
/// The ring that connects.
pub const CLIENT: usize = 1;
/// A third ring.
pub const OTHER: usize = 2;

/// One scenario.
pub struct Scenario {
    pub name: &'static str,
    /// Buffers of each ring.
    pub buffers: u16,
    pub run: fn(&mut Stage),
    /// One line per operation, sorted.
    pub expected: &'static str,
}

/// What one completion said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Socket(Socket, Option<SocketAddr>),
    Bytes(Vec<u8>),
    End,
    Count(usize),
    Done,
    Failed(i32),
}

struct Step {
    text: String,
    bytes: usize,
}

pub struct Stage {
    rings: Vec<Box<dyn Ring>>,
    world: Option<(World, SimDisk)>,
    directory: PathBuf,
    pub port: u16,
    labels: Vec<String>,
    seen: BTreeMap<(usize, String), VecDeque<Seen>>,
    steps: BTreeMap<String, Vec<Step>>,
    /// Leases are kept instead of given back.
    pub hold: bool,
    held: Vec<(usize, Lease)>,
}

impl Stage {
    pub fn real(port: u16, directory: PathBuf, make: impl Fn(u32) -> Box<dyn Ring>) -> Self {
        Self::new(port, TABLES.map(make).into(), None, directory)
    }

    pub fn simulated(
        port: u16,
        world: &World,
        disk: &SimDisk,
        settings: impl Fn(u32) -> RingSettings,
    ) -> Self {
        let rings = TABLES.map(|descriptors| {
            Box::new(SimRing::new(world, disk, settings(descriptors))) as Box<dyn Ring>
        });
        Self::new(port, rings.into(), Some((world.clone(), disk.clone())), PathBuf::from("/sim"))
    }

    fn new(
        port: u16,
        rings: Vec<Box<dyn Ring>>,
        world: Option<(World, SimDisk)>,
        directory: PathBuf,
    ) -> Self {
        Self {
            rings,
            world,
            directory,
            port,
            labels: Vec::new(),
            seen: BTreeMap::new(),
            steps: BTreeMap::new(),
            hold: false,
            held: Vec::new(),
        }
    }

    pub fn ring(&mut self, ring: usize) -> &mut dyn Ring {
        self.rings[ring].as_mut()
    }

    /// A token whose completions are traced under `label`.
    pub fn token(&mut self, operation: Operation, label: &str) -> Token {
        self.labels.push(label.to_owned());
        Token::new(operation, self.labels.len() as u32 - 1, 7)
    }

    pub fn listen(&mut self, options: SocketOptions) -> Listener {
        let address = SocketAddr::from(([127, 11, 0, 1], self.port));
        self.ring(SERVER).listen(address, 16, options).expect("the port is the scenario's own")
    }

    /// Connects `CLIENT` from the source port given, as `connect-N`.
    pub fn connect(&mut self, number: u16, options: SocketOptions) {
        let source = SocketAddr::from(([127, 11, 0, 2], 0));
        let target = SocketAddr::from(([127, 11, 0, 1], self.port));
        let token = self.token(Operation::Connect, &format!("client connect {number}"));
        self.ring(CLIENT).connect(source, target, options, token);
    }

    /// A connection, as (server's socket, client's socket).
    pub fn pair(&mut self, listener: Listener, number: u16) -> (Socket, Socket) {
        let token = self.token(Operation::Accept, &format!("server accept {number}"));
        self.ring(SERVER).accept(listener, token);
        self.connect(number, OPTIONS);
        let client = self.socket(CLIENT, &format!("client connect {number}"));
        (self.socket(SERVER, &format!("server accept {number}")), client)
    }

    pub fn socket(&mut self, ring: usize, label: &str) -> Socket {
        match self.wait(ring, label) {
            Seen::Socket(socket, _) => socket,
            other => panic!("{label}: {other:?} is no socket"),
        }
    }

    pub fn receive(&mut self, ring: usize, socket: Socket, label: &str) -> Token {
        let token = self.token(Operation::Receive, label);
        self.ring(ring).receive(socket, token);
        token
    }

    pub fn receive_once(&mut self, ring: usize, socket: Socket, label: &str) -> Seen {
        let token = self.token(Operation::Receive, label);
        self.ring(ring).receive_once(socket, token);
        self.wait(ring, label)
    }

    pub fn send(&mut self, ring: usize, socket: Socket, bytes: &[u8], label: &str) -> Seen {
        let token = self.token(Operation::Send, label);
        self.ring(ring).send(socket, bytes.to_vec(), token);
        self.wait(ring, label)
    }

    pub fn cancel(&mut self, ring: usize, socket: Option<Socket>, target: Token, label: &str) {
        let token = self.token(Operation::Cancel, label);
        self.ring(ring).cancel(socket, target, token);
    }

    pub fn close(&mut self, ring: usize, socket: Socket, abort: bool, label: &str) {
        let token = self.token(Operation::Close, label);
        self.ring(ring).close(socket, abort, token);
        self.wait(ring, label);
    }

    /// Next completion of `label`.
    pub fn wait(&mut self, ring: usize, label: &str) -> Seen {
        for _ in 0..ROUNDS {
            let seen = self.seen.get_mut(&(ring, label.to_owned()));
            if let Some(seen) = seen.and_then(VecDeque::pop_front) {
                return seen;
            }
            self.round();
        }
        panic!("{label} did not complete; so far: {:#?}", self.trace());
    }

    /// Receives under `label` until `bytes` have come.
    pub fn wait_bytes(&mut self, ring: usize, label: &str, bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            match self.wait(ring, label) {
                Seen::Bytes(more) => all.extend(more),
                other => panic!("{label}: {other:?} after {} bytes", all.len()),
            }
        }
        all
    }

    /// Next completion of `label` that has come already.
    pub fn seen(&mut self, ring: usize, label: &str) -> Option<Seen> {
        self.seen.get_mut(&(ring, label.to_owned()))?.pop_front()
    }

    /// Drops the steps of `label` so far, where how many there are is chance.
    pub fn forget(&mut self, label: &str) {
        self.steps.remove(label);
    }

    /// Lets everything under way arrive.
    pub fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < QUIET_ROUNDS {
            quiet = if self.round() { 0 } else { quiet + 1 };
        }
    }

    pub fn release(&mut self) {
        for (ring, lease) in std::mem::take(&mut self.held) {
            self.rings[ring].give_back(lease);
        }
    }

    /// One turn of every ring; true if anything came.
    fn round(&mut self) -> bool {
        let mut any = false;
        for ring in 0..self.rings.len() {
            let mut completions = Vec::new();
            let until_us = Some(UringRing::now().monotonic_us + ROUND_US);
            let wait = Wait { until_us, batch: 1, gather_us: 0 };
            self.rings[ring].turn(wait, &mut completions).expect("a ring that works");
            any |= !completions.is_empty();
            for completion in completions {
                self.note(ring, completion);
            }
        }
        if !any
            && let Some((world, _)) = &self.world
            && let Some(next_us) = world.next_event_us()
        {
            world.advance_to(next_us);
            return true;
        }
        any
    }

    fn note(&mut self, ring: usize, completion: Completion) {
        let Completion { token, more, event } = completion;
        let label = match event {
            Event::Woken => format!("woken {ring}"),
            _ => self.labels[token.slot as usize].clone(),
        };
        let (text, seen) = self.digest(ring, event);
        let bytes = if let Seen::Bytes(bytes) = &seen { bytes.len() } else { 0 };
        let more = if more { "…" } else { "." };
        let steps = self.steps.entry(label.clone()).or_default();
        match steps.last_mut() {
            // How a stream is cut into receives is chance.
            Some(last) if bytes > 0 && last.bytes > 0 && last.text == "bytes…" && more == "…" =>
            {
                last.bytes += bytes;
            }
            _ => steps.push(Step { text: format!("{text}{more}"), bytes }),
        }
        self.seen.entry((ring, label)).or_default().push_back(seen);
    }

    fn digest(&mut self, ring: usize, event: Event) -> (String, Seen) {
        let failed = |errno: i32| (name(errno), Seen::Failed(errno));
        match event {
            Event::Accepted(Ok((socket, peer))) => {
                (format!("accepted {}", peer.ip()), Seen::Socket(socket, Some(peer)))
            }
            Event::Connected(Ok(socket)) => ("connected".to_owned(), Seen::Socket(socket, None)),
            Event::Arrived(Ok(socket)) => ("arrived".to_owned(), Seen::Socket(socket, None)),
            Event::Received(Ok(Some(lease))) => {
                let bytes = self.rings[ring].bytes(&lease).to_vec();
                if self.hold {
                    self.held.push((ring, lease));
                } else {
                    self.rings[ring].give_back(lease);
                }
                ("bytes".to_owned(), Seen::Bytes(bytes))
            }
            Event::Received(Ok(None)) => ("end".to_owned(), Seen::End),
            Event::Sent(Ok(count), bytes) => {
                let what = if count < bytes.len() { "sent part" } else { "sent all" };
                (what.to_owned(), Seen::Count(count))
            }
            Event::Written(Ok(count), _) => (format!("written {count}"), Seen::Count(count)),
            Event::Read(Ok(bytes)) => (format!("read {}", bytes.len()), Seen::Bytes(bytes)),
            Event::Readable(Ok(())) => ("readable".to_owned(), Seen::Done),
            Event::Cancelled(Ok(()))
            | Event::Closed(Ok(()))
            | Event::Passed(Ok(()))
            | Event::Synced(Ok(()))
            | Event::Woken => ("done".to_owned(), Seen::Done),
            Event::Accepted(Err(errno)) => failed(errno.0),
            Event::Connected(Err(errno)) => failed(errno.0),
            Event::Arrived(Err(errno)) => failed(errno.0),
            Event::Received(Err(errno)) => failed(errno.0),
            Event::Read(Err(errno)) => failed(errno.0),
            Event::Sent(Err(errno), _) | Event::Written(Err(errno), _) => failed(errno.0),
            Event::Readable(Err(errno))
            | Event::Cancelled(Err(errno))
            | Event::Closed(Err(errno))
            | Event::Passed(Err(errno))
            | Event::Synced(Err(errno)) => failed(errno.0),
        }
    }

    /// One line per label: its steps, and the bytes it received.
    pub fn trace(&self) -> Vec<String> {
        let line = |(label, steps): (&String, &Vec<Step>)| {
            let steps: Vec<String> = steps
                .iter()
                .map(|step| {
                    let bytes = step.bytes;
                    if bytes > 0 { format!("{bytes} {}", step.text) } else { step.text.clone() }
                })
                .collect();
            format!("{label}: {}", steps.join(" "))
        };
        self.steps.iter().map(line).collect()
    }

    /// A file of zeros, made by blocking calls.
    pub fn make_file(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.directory.join(name);
        match &self.world {
            Some((_, disk)) => disk.write_whole(&path, &vec![0; bytes]).expect("not full"),
            None => std::fs::write(&path, vec![0; bytes]).expect("room for a file"),
        }
        path
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Descriptor tables of the three rings; the server's is small so that it fills.
const TABLES: [u32; 3] = [2, 8, 2];

fn name(errno: i32) -> String {
    match errno {
        libc::ECANCELED => "ECANCELED".to_owned(),
        libc::ENOENT => "ENOENT".to_owned(),
        libc::ENOBUFS => "ENOBUFS".to_owned(),
        libc::ECONNRESET => "ECONNRESET".to_owned(),
        libc::ECONNREFUSED => "ECONNREFUSED".to_owned(),
        libc::ENFILE => "ENFILE".to_owned(),
        libc::EAGAIN => "EAGAIN".to_owned(),
        libc::EPIPE => "EPIPE".to_owned(),
        other => format!("errno {other}"),
    }
}
