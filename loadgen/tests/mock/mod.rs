//! A small server of the native protocol that goes wrong to order: the proof that the generator
//! notices. Tests start it in their own process, the example `faulty-server` as a program.
//!
//! A thread per connection, mailboxes and conversations in memory, nothing else: no resume
//! tokens, no receipts, no disk. Invariant: what is not wrong by order is right, also under load
//! and after connections broke; each user's entries go out in the order of their numbers.

// Every user of this module takes a part of it.
#![allow(dead_code)]

mod session;
mod store;

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64},
    },
    thread,
    time::{Duration, Instant},
};

use store::Store;

/// Connections that are closed at once after all broke, as while a server restarts.
const TURNED_AWAY: u32 = 10;

/// One fault, as a test names it; the number says with which message it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Acknowledged and never delivered.
    Lose(u64),
    /// Delivered under two numbers.
    Double(u64),
    /// Delivered behind the next one of the same sender to the same user.
    Swap(u64),
    /// A byte is changed.
    Damage(u64),
    /// A stranger gets it too.
    Misdeliver(u64),
    /// Every connection breaks once, the answer to this message included, and the first ones to
    /// come back find the door shut.
    Break(u64),
    /// Pings are not answered.
    Deaf,
    /// Nobody may log in.
    Refuse,
}

/// A time without any answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// After the first message.
    pub at: Duration,
    /// How long.
    pub lasts: Duration,
}

/// What the server does wrong, and how slowly it works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Faults; of each kind the first counts.
    pub faults: Vec<Fault>,
    /// Every answer waits so long, at the server and not on the wire.
    pub stall: Option<Stall>,
    /// Time a message takes; the next one of the same connection waits for it.
    pub service: Duration,
    /// Heartbeat asked of clients, seconds.
    pub heartbeat_s: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { faults: Vec::new(), stall: None, service: Duration::ZERO, heartbeat_s: 1 }
    }
}

impl Settings {
    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

/// A running server; it ends with its process.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// How long the stall really was, once it is over: the kernel wakes nobody early, and may be
    /// late.
    pub fn stalled(&self) -> Option<Duration> {
        self.shared.stalled.get().copied()
    }

    /// Messages it took so far.
    pub fn messages(&self) -> u64 {
        self.shared.store.messages()
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    store: Store,
    /// Held for writing while the server stalls.
    gate: RwLock<()>,
    stalled: OnceLock<Duration>,
    begun: OnceLock<()>,
    turned_away: AtomicU32,
    sessions: AtomicU64,
}

/// Starts a server with one fault on a free port; gives its address.
pub fn start(fault: Fault) -> SocketAddr {
    start_with(Settings { faults: vec![fault], ..Settings::default() }).address
}

/// Starts a server on a free port.
pub fn start_with(settings: Settings) -> Server {
    // Clients of the tests bind ports from 20000 up.
    let first = 10_000 + std::process::id() as u16 % 8_000;
    let mut ports = (first..20_000).chain(10_000..first);
    let listener = ports.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    serve(listener.expect("one of 10,000 ports is free"), settings)
        .expect("a bound socket has an address")
}

/// Serves on this listener, on threads of its own.
pub fn serve(listener: TcpListener, settings: Settings) -> io::Result<Server> {
    let shared = Arc::new(Shared {
        settings,
        store: Store::default(),
        gate: RwLock::new(()),
        stalled: OnceLock::new(),
        begun: OnceLock::new(),
        turned_away: AtomicU32::new(0),
        sessions: AtomicU64::new(0),
    });
    let server = Server { address: listener.local_addr()?, shared: Arc::clone(&shared) };
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let shared = Arc::clone(&shared);
            let serve = move || session::serve(&shared, socket);
            // Without a thread the socket closes, and the client comes again.
            let _ = thread::Builder::new().stack_size(session::STACK_BYTES).spawn(serve);
        }
    });
    Ok(server)
}

impl Shared {
    /// The first message sets the clock of the stall.
    fn begin(self: &Arc<Self>) {
        let Some(stall) = self.settings.stall else { return };
        self.begun.get_or_init(|| {
            let shared = Arc::clone(self);
            thread::spawn(move || {
                thread::sleep(stall.at);
                let shut = shared.gate.write();
                let since = Instant::now();
                thread::sleep(stall.lasts);
                // Nobody else sets it.
                let _ = shared.stalled.set(since.elapsed());
                drop(shut);
            });
        });
    }

    /// The answer to a message was due when every connection breaks.
    fn break_all(&self) {
        self.turned_away.store(TURNED_AWAY, std::sync::atomic::Ordering::Relaxed);
        self.store.hang_up();
    }
}

/// A thread that panicked has left nothing half done: each lock is held over whole steps only.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shut(socket: &TcpStream) {
    // It may be shut already.
    let _ = socket.shutdown(std::net::Shutdown::Both);
}
