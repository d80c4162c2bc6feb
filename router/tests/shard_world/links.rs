//! Links between remote hosts, one for each direction: they keep the order, and lose everything
//! that is on its way when they end.

use super::World;
use hawser_codec::link::{self, Arrived, Peer};
use std::collections::{BTreeMap, VecDeque};

/// A fault on purpose, which the oracle has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Entries and confirmations leave before what they rest on is durable.
    SaidBeforeDurable,
    /// A home confirms what it was given before it is durable.
    ConfirmedBeforeDurable,
    /// A home does not say how far it is.
    NothingApplied,
    /// A checkpoint is relied on from where it began, whatever is not confirmed.
    CheckpointForgets,
}

struct Link {
    up: bool,
    /// What is sent vanishes, and nobody has noticed yet.
    dead: bool,
    under_way: VecDeque<Vec<u8>>,
    /// Opening and stored entries that have passed since it began.
    passed: Arrived,
}

const NOTHING: Arrived = Arrived { opening: 0, count: 0, source: 0, position: 0 };

impl Default for Link {
    fn default() -> Link {
        Link { up: false, dead: false, under_way: VecDeque::new(), passed: NOTHING }
    }
}

#[derive(Default)]
pub struct Links {
    all: BTreeMap<(u16, u16), Link>,
    /// Batches that were taken at the far end.
    pub taken: u64,
    /// Batches that were lost.
    pub lost: u64,
    pub planted: Option<Planted>,
}

impl Links {
    pub fn send(&mut self, from: u16, to: u16, batch: Vec<u8>) {
        let link = self.all.entry((from, to)).or_default();
        assert!(link.up, "host {from} speaks to {to} without a link");
        link.under_way.push_back(batch);
    }

    pub fn is_up(&self, from: u16, to: u16) -> bool {
        self.all.get(&(from, to)).is_some_and(|link| link.up)
    }

    pub fn under_way(&self, from: u16, to: u16) -> usize {
        self.all.get(&(from, to)).map_or(0, |link| link.under_way.len())
    }

    /// One batch is lost although the link goes on, which no link does.
    pub fn lose_one(&mut self, from: u16, to: u16, at: usize) {
        let under_way = &mut self.all.entry((from, to)).or_default().under_way;
        self.lost += u64::from(under_way.remove(at).is_some());
    }

    /// What is sent from now on, and what is on its way, never arrives.
    pub fn die(&mut self, from: u16, to: u16) {
        self.all.entry((from, to)).or_default().dead = true;
    }
}

fn without_opens(mut batch: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    loop {
        let before = batch;
        let Some(frame) = Peer::take(&mut batch).unwrap() else { return kept };
        if !matches!(frame, Peer::Open(_)) {
            kept.extend_from_slice(&before[..before.len() - batch.len()]);
        }
    }
}

fn note_passed(mut batch: &[u8], passed: &mut Arrived) {
    while let Some(frame) = Peer::take(&mut batch).unwrap() {
        match frame {
            Peer::Begin(link::Begin { opening }) => *passed = Arrived { opening, ..NOTHING },
            Peer::Stream(link::Stream { source, position, .. })
            | Peer::TopicEntry(link::TopicEntry { source, position, .. })
                if position > 0 =>
            {
                *passed = Arrived { count: passed.count + 1, source, position, ..*passed };
            }
            _ => {}
        }
    }
}

impl World {
    /// Remote hosts, each with a disk of its own and no link.
    pub fn of_routers(settings: hawser_router::HostSettings, routers: u16) -> World {
        World::with_planted(settings, routers, None)
    }

    /// The same with a fault.
    pub fn with_planted(
        settings: hawser_router::HostSettings,
        routers: u16,
        planted: Option<Planted>,
    ) -> World {
        let same_lane = planted == Some(Planted::SaidBeforeDurable);
        let settings = hawser_router::HostSettings { remote: true, same_lane, ..settings };
        let mut world = World::with(settings, routers);
        world.links.planted = planted;
        world
    }

    /// The sender has a new link, whatever it had.
    pub fn connect(&mut self, from: u16, to: u16) {
        self.cut(from, to);
        self.links.all.entry((from, to)).or_default().up = true;
        self.hosts[usize::from(from)].peer_up(self.now, to);
        self.turn();
    }

    /// Every link is another one.
    pub fn reconnect_all(&mut self) {
        self.links.all.values_mut().for_each(|link| link.dead = true);
        self.connect_all();
    }

    /// All links are up that are not.
    pub fn connect_all(&mut self) {
        for from in 0..self.settings.hosts {
            for to in (0..self.settings.hosts).filter(|to| *to != from) {
                let dead = self.links.all.get(&(from, to)).is_some_and(|link| link.dead);
                if dead || !self.links.is_up(from, to) {
                    self.connect(from, to);
                }
            }
        }
    }

    /// The link ends with all that is on its way.
    pub fn cut(&mut self, from: u16, to: u16) {
        let link = self.links.all.entry((from, to)).or_default();
        self.links.lost += link.under_way.len() as u64;
        let was_up = std::mem::take(link).up;
        if was_up {
            self.hosts[usize::from(from)].peer_down(to);
        }
    }

    /// The next batch arrives.
    pub fn deliver(&mut self, from: u16, to: u16) -> bool {
        let Some(link) = self.links.all.get_mut(&(from, to)) else { return false };
        let Some(mut batch) = link.under_way.pop_front() else { return false };
        if link.dead {
            self.links.lost += 1;
            return true;
        }
        self.links.taken += 1;
        if self.links.planted == Some(Planted::NothingApplied) {
            batch = without_opens(&batch);
        }
        note_passed(&batch, &mut link.passed);
        let passed = link.passed;
        self.hosts[usize::from(to)].on_peer(self.now, from, &batch).unwrap();
        if self.links.planted == Some(Planted::ConfirmedBeforeDurable) {
            let mut early = Vec::new();
            passed.put(&mut early);
            self.hosts[usize::from(from)].on_peer(self.now, to, &early).unwrap();
        }
        self.turn();
        true
    }

    pub fn deliver_all(&mut self) -> bool {
        let ends: Vec<(u16, u16)> = self.links.all.keys().copied().collect();
        let mut moved = false;
        for (from, to) in ends {
            for _ in 0..self.links.under_way(from, to) {
                moved |= self.deliver(from, to);
            }
        }
        moved
    }
}
