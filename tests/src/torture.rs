//! Kill torture: users chat on several devices while the gateway is killed with SIGKILL and
//! started again, at random instants, also while it recovers.
//!
//! In the end everything acknowledged must have reached every device of both users once and in
//! order, and a fresh device of each user must find the same in the mailbox.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use hawser_client::{Client, Event, Settings};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    company::{runtime, settings},
    ledger::{Id, Ledger, Verdict},
    process::{Gateway, PATIENCE, Setup},
};

const USERS: u32 = 25;
const DEVICES: [&str; 2] = ["phone", "desk"];
/// Unanswered requests of a device.
const WINDOW: usize = 16;
/// Between two messages of a device.
const PACE: Duration = Duration::from_millis(5);
/// Bytes of a body before its filler.
const HEAD_BYTES: usize = 16;
/// Filler: short ones stand in the mailbox entry, long ones are referred to.
const FILLERS: [usize; 4] = [0, 40, 480, 1500];

/// What a torture does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often the gateway is killed.
    pub kills: u32,
    /// Decides when, and what is sent to whom.
    pub seed: u64,
    /// Longest time between serving and the next kill.
    pub pause_max: Duration,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Counts and violations.
    pub verdict: Verdict,
    /// Kills.
    pub kills: u32,
    /// Of these: before the gateway served again.
    pub kills_in_recovery: u32,
    /// Of these: since the last one something was acknowledged.
    pub kills_under_load: u32,
    /// Entries that a fresh device of each user read in the end.
    pub audited: u64,
    /// Where the data was left, if something is wrong with it.
    pub kept: Option<std::path::PathBuf>,
}

impl Outcome {
    /// Nothing is wrong and there was something to be wrong.
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.verdict.refused == 0 && self.verdict.acknowledged > 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "kills {} ({} under load, {} during recovery)",
            self.kills, self.kills_under_load, self.kills_in_recovery
        )?;
        writeln!(f, "audited {} entries on fresh devices", self.audited)?;
        write!(f, "{}", self.verdict)?;
        if let Some(path) = &self.kept {
            write!(f, "\ndata kept in {}", path.display())?;
        }
        write!(f, "\nverdict: {}", if self.is_clean() { "clean" } else { "FAILED" })
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[derive(Clone)]
struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    sending: Arc<AtomicBool>,
    address: SocketAddr,
    run: u64,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
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

/// Kills and restarts as planned, then judges. Blocks.
///
/// # Panics
/// If the gateway does not start, or the devices do not settle in the end.
pub fn run(plan: Plan, setup: Setup) -> Outcome {
    let mut random = Random(plan.seed);
    let mut gateway = setup.start();
    let shared = Shared {
        ledger: Arc::default(),
        sending: Arc::new(AtomicBool::new(true)),
        address: gateway.native(),
        run: random.below(u64::MAX),
    };
    let (ended, end) = mpsc::channel();
    let load = shared.clone();
    let loader = std::thread::spawn(move || {
        let audited = runtime().block_on(chat(load));
        // The main thread may have panicked: then nobody waits for this.
        let _ = ended.send(());
        audited
    });
    let mut outcome = Outcome {
        verdict: Verdict::default(),
        kills: 0,
        kills_in_recovery: 0,
        kills_under_load: 0,
        audited: 0,
        kept: None,
    };
    let mut acknowledged = 0;
    for _ in 0..plan.kills {
        let pause = Duration::from_micros(random.below(plan.pause_max.as_micros() as u64 + 1));
        // The loader ends early only by a panic.
        if end.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
            break;
        }
        kill(&mut gateway, &mut random, &mut outcome, &end);
        let now = shared.ledger().acknowledged_count();
        outcome.kills_under_load += u32::from(now > acknowledged);
        acknowledged = now;
        if !shared.ledger().is_clean() {
            break;
        }
    }
    shared.sending.store(false, Ordering::Release);
    match loader.join() {
        Ok(audited) => outcome.audited = audited,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    outcome.verdict = shared.ledger().verdict();
    if !outcome.is_clean() {
        outcome.kept = Some(gateway.into_home().keep());
    }
    outcome
}

/// Kills the gateway and starts it again; one time in four it is killed once more on its way.
fn kill(
    gateway: &mut Gateway,
    random: &mut Random,
    outcome: &mut Outcome,
    end: &mpsc::Receiver<()>,
) {
    gateway.kill();
    outcome.kills += 1;
    if random.below(4) == 0 {
        gateway.begin_restart();
        let pause = Duration::from_micros(random.below(40_000));
        // Only a bounded wait: what it brings does not matter here.
        let _ = end.recv_timeout(pause);
        gateway.kill();
        outcome.kills_in_recovery += 1;
    }
    gateway.restart();
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
    let mut client = start(&shared, settings(&shared.name(user), name));
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
            let settled = unanswered == 0 && shared.ledger().outstanding() == 0;
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
                event => shared.saw(device, &event),
            }
        }
    }
}

fn start(shared: &Shared, settings: Settings) -> Client {
    Client::start(&shared.address.to_string(), settings, None).expect("there are random numbers")
}

/// A new device of a user reads the mailbox from its first entry.
async fn audit(shared: Shared, user: u32) -> u64 {
    let device = shared.ledger().device(user);
    let mut settings = settings(&shared.name(user), "auditor");
    settings.page_entries = 100;
    let mut client = start(&shared, settings);
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
