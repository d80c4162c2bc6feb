//! Links between remote hosts, one for each direction: they keep the order, and lose everything
//! that is on its way when they end.

use super::World;
use std::collections::{BTreeMap, VecDeque};

#[derive(Default)]
struct Link {
    up: bool,
    /// What is sent vanishes, and nobody has noticed yet.
    dead: bool,
    under_way: VecDeque<Vec<u8>>,
}

#[derive(Default)]
pub struct Links {
    all: BTreeMap<(u16, u16), Link>,
    /// Batches that were taken at the far end.
    pub taken: u64,
    /// Batches that were lost.
    pub lost: u64,
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

    /// What is sent from now on, and what is on its way, never arrives.
    pub fn die(&mut self, from: u16, to: u16) {
        self.all.entry((from, to)).or_default().dead = true;
    }
}

impl World {
    /// Remote hosts, each with a disk of its own and no link.
    pub fn of_routers(settings: hawser_router::HostSettings, routers: u16) -> World {
        let settings = hawser_router::HostSettings { remote: true, same_lane: false, ..settings };
        World::with(settings, routers)
    }

    /// The sender has a new link, whatever it had.
    pub fn connect(&mut self, from: u16, to: u16) {
        self.cut(from, to);
        self.links.all.entry((from, to)).or_default().up = true;
        self.hosts[usize::from(from)].peer_up(self.now, to);
        self.turn();
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
        let Some(batch) = link.under_way.pop_front() else { return false };
        if link.dead {
            self.links.lost += 1;
            return true;
        }
        self.links.taken += 1;
        self.hosts[usize::from(to)].on_peer(self.now, from, &batch).unwrap();
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
