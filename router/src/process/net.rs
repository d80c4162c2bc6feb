//! Sockets of the links: accepts, dials, reads and writes, each link a task of its own, so that one
//! that does not move holds up none of the others.

use super::{
    board::{LinkId, ToWrite},
    clock,
    tier::Tier,
};
use crate::link::{Inbox, LinkSecret, LinkSession, LinkSettings, Role, WINDOW_BYTES};
use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::Notify,
    time::timeout,
};

/// Bytes of one read: a socket's buffer of a busy link in a few reads, and no link keeps the thread
/// for longer than the work of some hundred messages.
const READ_BYTES: usize = 128 << 10;
/// Time a connection to another router may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Wait before the first and before each later dial, doubled up to the second: a restart takes a few
/// hundred milliseconds, and a router that is away for long costs a connection a second.
const DIAL_WAIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Time last words get on their way to a side that is refused.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// Time the socket may take to accept one piece of output. Longer than the silence that ends a link
/// (five seconds): a connection that leads nowhere any more, its buffer full, would otherwise hold
/// its task until the kernel gives it up after a quarter of an hour, and nobody would dial anew.
const WRITE_TIMEOUT: Duration = Duration::from_secs(6);
/// Pause after a failed accept, which mostly means that descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A buffer that grew beyond this is not kept for the next write.
const KEPT_BYTES: usize = 1 << 20;

/// What all links of the process say of themselves.
pub struct Identity {
    /// Place in the list.
    pub index: u16,
    /// Length of the list.
    pub routers: u16,
    /// Name for the logs of others.
    pub name: String,
    /// Random number of this life.
    pub epoch: u64,
    /// What both sides know.
    pub secret: LinkSecret,
    /// Key of all names.
    pub hash_key: [u8; 32],
}

impl Identity {
    fn settings(&self, peer_index: Option<u16>) -> io::Result<LinkSettings> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        Ok(LinkSettings {
            role: Role::Router,
            name: self.name.clone(),
            epoch: self.epoch,
            nonce,
            workers: 1,
            routers: self.routers,
            index: Some(self.index),
            peer_index,
            secret: self.secret.clone(),
            hash_key: Some(self.hash_key),
            window_bytes: WINDOW_BYTES,
        })
    }
}

/// What the tasks share.
#[derive(Clone)]
pub struct Shell {
    /// The tier; borrowed between two waits, never across one.
    pub tier: Rc<RefCell<Tier>>,
    /// Who this is.
    pub identity: Rc<Identity>,
}

/// Takes links until the task is dropped.
pub async fn accept(shell: Shell, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                if shell.tier.borrow().has_room() {
                    tokio_uring::spawn(run_accepted(shell.clone(), stream, address));
                } else {
                    tracing::warn!(%address, "link not taken: too many links or handshakes");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a link could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn run_accepted(shell: Shell, stream: TcpStream, address: SocketAddr) {
    match shell.identity.settings(None) {
        Ok(settings) => {
            let session = LinkSession::acceptor(settings, clock::now());
            run(&shell, stream, session, address).await;
        }
        Err(error) => tracing::error!(%error, "no random numbers for a link"),
    }
}

/// Keeps a link to router `index` at `address` up until the task is dropped.
pub async fn dial(shell: Shell, index: u16, address: String) {
    let mut wait = DIAL_WAIT.0;
    let mut complaint = String::new();
    loop {
        match connect(&address).await {
            Ok((stream, peer)) => {
                complaint.clear();
                if run_dialled(&shell, stream, peer, index).await {
                    wait = DIAL_WAIT.0;
                }
            }
            Err(error) => {
                let text = error.to_string();
                // Once for each way in which it fails, not once a second.
                if text != complaint {
                    tracing::warn!(router = index, %address, %error, "router not reached; trying on");
                    complaint = text;
                }
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(DIAL_WAIT.1);
    }
}

async fn connect(address: &str) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = timeout(DIAL_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let peer = stream.peer_addr()?;
    Ok((stream, peer))
}

/// True: the link has been up.
async fn run_dialled(shell: &Shell, stream: TcpStream, peer: SocketAddr, index: u16) -> bool {
    match shell.identity.settings(Some(index)) {
        Ok(settings) => {
            let session = LinkSession::initiator(settings, clock::now());
            run(shell, stream, session, peer).await
        }
        Err(error) => {
            tracing::error!(%error, "no random numbers for a link");
            false
        }
    }
}

/// Serves one connection until it ends. True: it has been up.
async fn run(
    shell: &Shell,
    mut stream: TcpStream,
    session: LinkSession,
    address: SocketAddr,
) -> bool {
    // Batches are gathered by turns already.
    let _ = stream.set_nodelay(true);
    let writer = Rc::new(Notify::new());
    let id = shell.tier.borrow_mut().add(session, address, writer.clone());
    let (reading, writing) = stream.split();
    let outcome = tokio::select! {
        outcome = read(shell, id, reading) => outcome,
        outcome = write(shell, id, writing, &writer) => outcome,
    };
    shell.tier.borrow_mut().remove(clock::now(), id, outcome.as_ref().err())
}

async fn read(shell: &Shell, id: LinkId, mut from: ReadHalf<'_>) -> io::Result<()> {
    let mut inbox = Inbox::default();
    loop {
        inbox.expect(inbox.bytes().len() + READ_BYTES);
        if from.read_buf(inbox.spare()).await? == 0 {
            return Ok(());
        }
        let taken = shell.tier.borrow_mut().receive(clock::now(), id, &mut inbox);
        if !taken {
            // The writer has the last word.
            return std::future::pending().await;
        }
    }
}

async fn write(
    shell: &Shell,
    id: LinkId,
    mut to: WriteHalf<'_>,
    wanted: &Notify,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let next = shell.tier.borrow_mut().to_write(id, std::mem::take(&mut buffer));
        match next {
            ToWrite::Nothing => wanted.notified().await,
            ToWrite::Bytes(bytes) => {
                timeout(WRITE_TIMEOUT, to.write_all(&bytes))
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                if bytes.capacity() <= KEPT_BYTES {
                    buffer = bytes;
                    buffer.clear();
                }
            }
            ToWrite::Last(bytes) => {
                let farewell = async {
                    to.write_all(&bytes).await?;
                    to.shutdown().await
                };
                return timeout(FAREWELL_TIMEOUT, farewell).await.unwrap_or(Ok(()));
            }
        }
    }
}
