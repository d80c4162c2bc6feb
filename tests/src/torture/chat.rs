//! The load of a torture: users who chat on several devices until they are told to stop, and the
//! audit of every mailbox afterwards.

use super::Random;
use crate::{
    company::{runtime, settings},
    ledger::{Id, Ledger},
    process::PATIENCE,
};
use hawser_client::{Client, ConnectionState, Event, Settings};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

const USERS: u32 = 25;
const DEVICES: [&str; 2] = ["phone", "desk"];
/// Connections while everybody is logged in.
pub(super) const CONNECTIONS: u64 = USERS as u64 * DEVICES.len() as u64;
/// Unanswered requests of a device.
const WINDOW: usize = 16;
/// Between two messages of a device.
const PACE: Duration = Duration::from_millis(5);
/// What the protocol's page recommends. A device that waits less leaves a gateway because of a
/// router behind it that is paused for longer, and then it was not the gateway that dropped it.
const REQUEST_TIMEOUT_MS: u32 = 10_000;
/// Bytes of a body before its filler.
const HEAD_BYTES: usize = 16;
/// Filler: short ones stand in the mailbox entry, long ones are referred to.
const FILLERS: [usize; 4] = [0, 40, 480, 1500];

/// A gateway that devices may be at.
struct Place {
    address: SocketAddr,
    /// Connections of logged-in devices that ended.
    drops: AtomicU64,
}

/// What the devices and the one who tortures share.
#[derive(Clone)]
pub(super) struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    sending: Arc<AtomicBool>,
    places: Arc<[Place]>,
    run: u64,
}

impl Shared {
    /// For devices spread over the gateways of these addresses.
    pub(super) fn new(addresses: &[SocketAddr], random: &mut Random) -> Self {
        let place = |address: &SocketAddr| Place { address: *address, drops: AtomicU64::new(0) };
        Self {
            ledger: Arc::default(),
            sending: Arc::new(AtomicBool::new(true)),
            places: addresses.iter().map(place).collect(),
            run: random.below(u64::MAX),
        }
    }

    /// Nobody begins anything new; who has settled leaves.
    pub(super) fn stop(&self) {
        self.sending.store(false, Ordering::Release);
    }

    /// Connections of logged-in devices that ended, by gateway.
    pub(super) fn drops(&self) -> Vec<u64> {
        self.places.iter().map(|place| place.drops.load(Ordering::Acquire)).collect()
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, user: u32) -> String {
        format!("torture-{:x}-{user}", self.run)
    }

    fn user(&self, name: &str) -> u32 {
        name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
    }

    /// Tells the ledger what a device saw.
    fn saw(&self, device: u32, event: &Event) {
        match event {
            Event::Message(message) => {
                let with = self.user(&message.conversation);
                let id = read_body(&message.body).unwrap_or(Id { device: u32::MAX, count: 0 });
                self.ledger().seen(device, with, message.sequence, id);
            }
            Event::Own { conversation, sequence, client_seq, .. } => {
                let id = Id { device, count: client_seq.unwrap_or(0) };
                self.ledger().seen(device, self.user(conversation), *sequence, id);
            }
            _ => {}
        }
    }
}

fn body(id: Id, filler: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(HEAD_BYTES + filler);
    body.extend_from_slice(&id.device.to_le_bytes());
    body.extend_from_slice(&(filler as u32).to_le_bytes());
    body.extend_from_slice(&id.count.to_le_bytes());
    body.resize(HEAD_BYTES + filler, filler_byte(id));
    body
}

fn filler_byte(id: Id) -> u8 {
    (id.count as u8).wrapping_mul(31) ^ id.device as u8
}

/// The message a body belongs to, if it is whole.
fn read_body(body: &[u8]) -> Option<Id> {
    let (device, rest) = body.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (count, filler) = rest.split_first_chunk()?;
    let id = Id { device: u32::from_le_bytes(*device), count: u64::from_le_bytes(*count) };
    let whole = filler.len() == u32::from_le_bytes(*length) as usize
        && filler.iter().all(|byte| *byte == filler_byte(id));
    whole.then_some(id)
}

/// A load that goes on in a thread of its own.
pub(super) struct Load {
    thread: JoinHandle<u64>,
    end: mpsc::Receiver<()>,
}

impl Load {
    pub(super) fn start(shared: &Shared) -> Self {
        let (ended, end) = mpsc::channel();
        let load = shared.clone();
        let thread = std::thread::spawn(move || {
            let audited = runtime().block_on(chat(load));
            // The main thread may have panicked: then nobody waits for this.
            let _ = ended.send(());
            audited
        });
        Self { thread, end }
    }

    /// Waits; false if the load has ended, which before [`Shared::stop`] it does only by a panic.
    pub(super) fn goes_on_for(&self, pause: Duration) -> bool {
        self.end.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout)
    }

    /// Waits for the end; gives the entries audited.
    ///
    /// # Panics
    /// As the load did.
    pub(super) fn join(self) -> u64 {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// All devices until they have settled, then the audit; gives the entries audited.
async fn chat(shared: Shared) -> u64 {
    let mut tasks = Vec::new();
    for user in 0..USERS {
        for name in DEVICES {
            let device = shared.ledger().device(user);
            tasks.push(tokio::spawn(sit(shared.clone(), user, device, name)));
        }
    }
    // Devices leave once nothing is outstanding for anybody.
    for task in tasks {
        if let Err(panic) = task.await {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
    // Side by side: where something is lost, each of them waits in vain.
    let audits: Vec<_> = (0..USERS).map(|user| tokio::spawn(audit(shared.clone(), user))).collect();
    let mut audited = 0;
    for audit in audits {
        match audit.await {
            Ok(read) => audited += read,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    audited
}

/// One device: sends while sending is on, tells the ledger everything, leaves when all is said.
async fn sit(shared: Shared, user: u32, device: u32, name: &str) {
    let mut random = Random(shared.run ^ u64::from(device) << 32);
    let place = &shared.places[random.below(shared.places.len() as u64) as usize];
    let mut is_online = false;
    let mut settings = settings(&shared.name(user), name);
    settings.request_timeout_ms = REQUEST_TIMEOUT_MS;
    let mut client = start(place, settings);
    let (mut unanswered, mut count) = (0_usize, 0_u64);
    let mut since: Option<Instant> = None;
    loop {
        let sending = shared.sending.load(Ordering::Acquire);
        if sending && unanswered < WINDOW {
            count += 1;
            let id = Id { device, count };
            let to = (user + 1 + random.below(u64::from(USERS) - 1) as u32) % USERS;
            let filler = FILLERS[random.below(FILLERS.len() as u64) as usize];
            shared.ledger().sent(id, to);
            let number = client.send(&shared.name(to), &body(id, filler)).await;
            assert_eq!(number.expect("the window is below the outbox"), count);
            unanswered += 1;
        }
        if !sending {
            // Once something is wrong there is no use in waiting for the rest.
            let patience = if shared.ledger().is_clean() { PATIENCE } else { PATIENCE / 20 };
            let until = *since.get_or_insert_with(Instant::now) + patience;
            // What another device has still unanswered may become something to be seen here.
            let settled = {
                let ledger = shared.ledger();
                ledger.unanswered() == 0 && ledger.outstanding() == 0
            };
            // What is late now is lost: the ledger will say so.
            if settled || Instant::now() > until {
                return client.end().await;
            }
        }
        let next = sleep(if sending { PACE } else { 20 * PACE });
        tokio::pin!(next);
        loop {
            let event = tokio::select! {
                event = client.next() => event.expect("nobody ends this session"),
                () = &mut next => break,
            };
            match event {
                Event::Acknowledged { client_seq, sequence, .. } => {
                    unanswered -= 1;
                    shared.ledger().acknowledged(Id { device, count: client_seq }, sequence);
                }
                Event::Refused { client_seq, code, text } => {
                    unanswered -= 1;
                    eprintln!("device {device}: {client_seq} refused: {code} {text}");
                    shared.ledger().refused(Id { device, count: client_seq });
                }
                Event::Ended { code, text } => {
                    return shared.ledger().ended(device, &format!("{code} {text}"));
                }
                Event::State(state) => {
                    let was_online =
                        std::mem::replace(&mut is_online, state == ConnectionState::Online);
                    if was_online && !is_online {
                        place.drops.fetch_add(1, Ordering::AcqRel);
                    }
                }
                event => shared.saw(device, &event),
            }
        }
    }
}

fn start(place: &Place, settings: Settings) -> Client {
    Client::start(&place.address.to_string(), settings, None).expect("there are random numbers")
}

/// A new device of a user reads the mailbox from its first entry.
async fn audit(shared: Shared, user: u32) -> u64 {
    let device = shared.ledger().device(user);
    let mut settings = settings(&shared.name(user), "auditor");
    settings.page_entries = 100;
    // At another gateway than the one before it, where there are several.
    let place = &shared.places[user as usize % shared.places.len()];
    let mut client = start(place, settings);
    let mut read = 0;
    while shared.ledger().outstanding_of(device) > 0 {
        // What does not come is lost: the ledger says so.
        let Ok(Some(event)) = timeout(PATIENCE / 20, client.next()).await else { break };
        match event {
            event @ (Event::Message(_) | Event::Own { .. }) => {
                read += 1;
                shared.saw(device, &event);
            }
            Event::Ended { code, text } => {
                shared.ledger().ended(device, &format!("{code} {text}"));
                break;
            }
            _ => {}
        }
    }
    client.end().await;
    read
}
