//! Streams between hosts of different processes, over links that can be lost at any moment.
//!
//! ```text
//!            peer_up: Open* Opened(k)
//!   home  ------------------------------>  source    drops what is applied,
//!         <------------------------------            reads the rest from the log,
//!           Begin(k) Stream Stream ...               then goes on as messages come
//!         ------------------------------>
//!           Arrived(k, count), once durable          forgets what has arrived
//! ```
//!
//! Each host is a home to the others and a source for them; the two halves (`home.rs`,
//! `source.rs`) know of each other only whether to ask for an opening. Hosts of one process need
//! none of this: what one says the other hears.
//!
//! Invariants: an entry leaves its source when its message is durable; it is forgotten there when
//! it is durable with its home; a home applies it only behind its predecessor. So every message
//! in the log gets its entry once, whatever the links do.

mod home;
mod queue;
mod source;

use super::Host;
use super::settings::HostSettings;
use hawser_codec::link::Damaged;
use hawser_codec::time::Now;
use home::Incoming;
pub(crate) use queue::Unconfirmed;
use source::Outgoing;
pub(super) use source::StreamRead;

/// A home asks for an opening again no sooner than this, except when a link comes up: a stream
/// that cannot be opened must not fill the link with attempts. Microseconds.
const REOPEN_WAIT_US: u64 = 100_000;

/// What there is between this host and a remote one.
pub(super) struct Remote {
    /// What is said to it goes somewhere.
    up: bool,
    outgoing: Outgoing,
    incoming: Incoming,
}

/// How the stream to another host stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamFigures {
    /// Its link is up.
    pub up: bool,
    /// It has opened the stream.
    pub open: bool,
    /// What leaves is taken from the log, because it is behind.
    pub catching_up: bool,
    /// Entries it has not confirmed.
    pub unconfirmed: u64,
    /// Bytes of the messages behind them.
    pub unconfirmed_bytes: u64,
    /// Of these, bytes said to it.
    pub said_bytes: u64,
}

/// All remote hosts, by number; `None` for the own one. Empty if there are none.
pub(super) fn remotes(
    settings: &HostSettings,
    now: Now,
    found: Vec<Vec<Unconfirmed>>,
) -> Vec<Option<Box<Remote>>> {
    if !settings.remote {
        return Vec::new();
    }
    let mut found = found.into_iter();
    (0..settings.hosts)
        .map(|host| {
            let outgoing =
                Outgoing::new(found.next().unwrap_or_default(), settings.stream_window_bytes);
            let remote = Remote { up: false, outgoing, incoming: Incoming::new(now) };
            settings.is_remote(host).then(|| Box::new(remote))
        })
        .collect()
}

impl Host {
    /// What is given for `host` in [`super::Outputs::peers`] from now on reaches it, in order,
    /// until [`Host::peer_down`]. Of what was given before nothing may reach it any more. Called
    /// for a link that was up already this means that it is another one.
    pub fn peer_up(&mut self, now: Now, host: u16) {
        self.peer_down(host);
        if let Some(remote) = self.remote(host) {
            remote.up = true;
            self.open(now, host);
            self.tellings.begin(host);
        }
    }

    /// The link to `host` is lost; what was given for it last may have arrived or not. What comes
    /// from there may come over another link, and is taken as before.
    pub fn peer_down(&mut self, host: u16) {
        let Some(remote) = self.remote(host) else { return };
        remote.up = false;
        remote.outgoing.close();
        self.commit.forget_peer(host);
        self.tellings.end(host);
    }

    /// How the stream to `host` stands; nothing for hosts of the own process.
    pub fn stream_figures(&self, host: u16) -> StreamFigures {
        let remote = self.remotes.get(usize::from(host)).and_then(Option::as_ref);
        remote.map_or_else(StreamFigures::default, |remote| StreamFigures {
            up: remote.up,
            ..remote.outgoing.figures()
        })
    }

    /// Lowest segment of `lane` with a message whose entry a remote host has not confirmed. A
    /// checkpoint's replay must not begin behind it, and so the segment is kept.
    pub fn oldest_unconfirmed(&self, lane: u8) -> Option<u32> {
        let remotes = self.remotes.iter().flatten();
        remotes.filter_map(|remote| remote.outgoing.oldest(lane)).min()
    }

    /// What is said to `host` now has a way to go.
    pub(super) fn reaches(&self, host: u16) -> bool {
        let remote = self.remotes.get(usize::from(host)).and_then(Option::as_ref);
        remote.is_none_or(|remote| remote.up)
    }

    fn remote(&mut self, host: u16) -> Option<&mut Remote> {
        self.remotes.get_mut(usize::from(host))?.as_deref_mut()
    }

    /// A remote host whose frames are being taken.
    fn sender(&mut self, host: u16) -> Result<&mut Remote, Damaged> {
        self.remote(host).ok_or(Damaged)
    }

    /// When a stream wants to be looked at.
    pub(super) fn stream_deadline(&self) -> Option<u64> {
        let up = self.remotes.iter().flatten().filter(|remote| remote.up);
        up.filter_map(|remote| {
            let ends = [remote.incoming.deadline(), remote.outgoing.deadline()];
            ends.into_iter().flatten().min()
        })
        .min()
    }

    /// Looks at every stream whose time has come.
    pub(super) fn expire_streams(&mut self, now: Now) {
        for host in 0..self.remotes.len() as u16 {
            self.open_if_due(now, host);
            self.catch_up(now, host);
        }
    }
}
