//! The tier of this process: its host, its files and its links, turned by one thread.
//!
//! ```text
//!  links' bytes ─▶ sessions ─▶ host ─▶ run ─▶ lane ─▶ files
//!        ▲                       │                      │
//!        └─── batches ◀──────────┴◀──── durable ◀───────┘
//! ```
//!
//! What the sockets bring goes to the host at once; what the host and the lane want done is done in
//! [`Tier::turn`], which the tasks ask for by the notification it was given. So everything that has
//! come in one round of the runtime shares one turn, one write and one batch per link.
//!
//! Pure: no clock, no files and no sockets of its own, so that the simulator turns the same tier.

use super::{
    board::{Board, Change, Heard, LinkId, ToWrite},
    metrics::LinkMetrics,
};
use crate::{
    Host,
    hosting::{FileEvent, Hosting, LogFiles},
    link::{Inbox, LinkSession},
};
use hawser_codec::time::Now;
use std::{io, net::SocketAddr, rc::Rc, sync::Arc};
use tokio::sync::Notify;

/// See the module.
pub struct Tier {
    hosting: Hosting,
    board: Board,
    wake: Arc<Notify>,
    metrics: Arc<LinkMetrics>,
    /// Life of the host that knows who is there.
    life: u32,
    /// When a batch last came, monotonic microseconds.
    heard_us: u64,
    /// Nothing that comes is taken any more: the process ends.
    deaf: bool,
}

impl Tier {
    /// A tier without links; `wake` is what its turns wait for.
    pub fn new(
        hosting: Hosting,
        board: Board,
        wake: Arc<Notify>,
        metrics: Arc<LinkMetrics>,
    ) -> Self {
        Self { life: hosting.life(), hosting, board, wake, metrics, heard_us: 0, deaf: false }
    }

    /// Another link may begin.
    pub fn has_room(&self) -> bool {
        self.board.has_room()
    }

    /// A connection begins.
    pub fn add(&mut self, session: LinkSession, address: SocketAddr, writer: Rc<Notify>) -> LinkId {
        self.wake.notify_one();
        self.board.add(session, address, writer)
    }

    /// The connection is gone. True: the link has been up.
    pub fn remove(&mut self, now: Now, id: LinkId, why: Option<&io::Error>) -> bool {
        let was_up = self.board.remove(id, why);
        self.apply_changes(now);
        self.wake.notify_one();
        was_up
    }

    /// Takes all whole frames out of `inbox`. False: nothing is taken any more.
    pub fn receive(&mut self, now: Now, id: LinkId, inbox: &mut Inbox) -> bool {
        if self.deaf {
            return false;
        }
        loop {
            let (count, heard) = self.board.step(now, id, inbox.bytes());
            match heard {
                Some(Heard::Uplinks(origin, batch)) => {
                    self.heard_us = now.monotonic_us;
                    self.hosting.on_uplinks(now, origin, batch);
                }
                Some(Heard::Peers(host, batch)) => {
                    self.heard_us = now.monotonic_us;
                    self.hosting.on_peer_batch(now, host, batch);
                }
                Some(Heard::Changed) => self.apply_changes(now),
                None => {}
            }
            match count {
                Some(count) => inbox.consume(count),
                None => break,
            }
        }
        self.wake.notify_one();
        true
    }

    /// From now on nothing that comes is taken.
    pub fn take_no_more(&mut self) {
        self.deaf = true;
    }

    /// Ends all links, with a reason.
    pub fn end_links(&mut self) {
        self.board.end_all();
        self.wake.notify_one();
    }

    /// All connections are gone.
    pub fn has_no_links(&self) -> bool {
        self.board.is_empty()
    }

    /// What is to be written to a link's socket now.
    pub fn to_write(&mut self, id: LinkId, empty: Vec<u8>) -> ToWrite {
        self.board.to_write(id, empty)
    }

    /// An operation on a file has ended.
    pub fn on_file<F: LogFiles>(&mut self, now: Now, event: FileEvent, files: &mut F) {
        self.hosting.on_file(now, event, files);
    }

    /// Carries out what everybody wants. Afterwards nothing waits but for a completion, a socket or
    /// [`Tier::next_deadline`].
    pub fn turn<F: LogFiles>(&mut self, now: Now, files: &mut F) {
        self.metrics.turns.add(1);
        self.hosting.turn(now, files, &mut self.board);
        if self.hosting.life() != self.life {
            self.begin_life(now);
        }
        self.board.flush();
        self.apply_changes(now);
        while let Some(buffer) = self.board.pop_spare() {
            self.hosting.tell(now, |host| host.recycle(buffer));
        }
    }

    /// The host was read back from disk: it knows of nobody, and its streams have to begin again.
    fn begin_life(&mut self, now: Now) {
        self.life = self.hosting.life();
        self.board.end_peers();
        // What was to be told to the former host is part of who is there now.
        let gone = self.board.changes();
        drop(gone);
        for change in self.board.everybody() {
            self.hosting.tell(now, |host| apply(host, now, change));
        }
        self.wake.notify_one();
    }

    fn apply_changes(&mut self, now: Now) {
        let changes = self.board.changes();
        if changes.is_empty() {
            return;
        }
        for change in changes {
            self.hosting.tell(now, |host| apply(host, now, change));
        }
        self.wake.notify_one();
    }

    /// Timers of the links.
    pub fn on_time(&mut self, now: Now) {
        self.board.on_time(now);
        self.apply_changes(now);
        self.wake.notify_one();
    }

    /// Monotonic time of the next turn, microseconds, if nothing happens before.
    pub fn next_deadline(&self) -> Option<u64> {
        self.hosting.next_deadline()
    }

    /// All links hear that this process ends soon.
    pub fn go_away(&mut self) {
        self.board.go_away();
        self.wake.notify_one();
    }

    /// Everything taken is durable and said, and nothing has come for `quiet_us` microseconds.
    pub fn is_quiet(&self, now: Now, quiet_us: u64) -> bool {
        let since_us = now.monotonic_us.saturating_sub(self.heard_us);
        !self.is_busy() && (since_us >= quiet_us || self.board.is_empty())
    }

    /// The host and its lane.
    pub fn hosting(&self) -> &Hosting {
        &self.hosting
    }

    /// Something is not yet durable, or not yet said to somebody who is there.
    pub fn is_busy(&self) -> bool {
        self.hosting.is_busy() || self.board.has_output()
    }
}

fn apply(host: &mut Host, now: Now, change: Change) {
    match change {
        Change::OriginCame(origin) => {
            // The board gives a number to one at a time, and none beyond the host's bound.
            let came = host.origin_came(origin);
            debug_assert!(came);
        }
        Change::OriginGone(origin) => host.origin_gone(origin),
        Change::PeerUp(peer) => host.peer_up(now, peer),
        Change::PeerDown(peer) => host.peer_down(peer),
    }
}
