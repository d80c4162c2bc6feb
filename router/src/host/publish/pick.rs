//! Who shall have one message: workers, home shards, and of each shared filter one member.
//!
//! A message of quality 1 or 2 for a shared filter goes to a kept session if the share has any,
//! because only these can be given it for certain; else, and with quality 0, to a worker. Among
//! those a member is drawn, each as likely as the other.

use super::super::Host;
use super::super::counters::Mark;
use super::SHARES_BYTES_MAX;
use super::route::{Destination, Who};
use crate::origin::Origin;
use crate::record::put_home;
use crate::topic::FilterId;
use hawser_codec::link::Publish;
use std::ops::Range;

/// The outcome of a match; kept for its buffers.
#[derive(Default)]
pub(super) struct Found {
    /// Of ordinary filters, each once.
    workers: Vec<Origin>,
    /// Bits: home shards with an ordinary filter or a picked share.
    homes: [u64; 4],
    members: Vec<(FilterId, Destination)>,
    /// Shared filters with the worker or home shard picked, as places in `texts`.
    worker_shares: Vec<(Origin, Range<usize>)>,
    home_shares: Vec<(u8, Range<usize>)>,
    texts: Vec<u8>,
}

impl Found {
    fn clear(&mut self) {
        self.workers.clear();
        self.homes = [0; 4];
        self.members.clear();
        self.worker_shares.clear();
        self.home_shares.clear();
        self.texts.clear();
    }

    /// Somebody wants it.
    pub fn any(&self) -> bool {
        !self.workers.is_empty() || !self.worker_shares.is_empty() || self.homes != [0; 4]
    }

    pub fn workers(&self) -> impl Iterator<Item = Origin> {
        self.workers.iter().copied()
    }

    /// Workers of which one member shall have it, with the shared filter.
    pub fn worker_shares(&self) -> impl Iterator<Item = (Origin, &[u8])> {
        self.worker_shares.iter().map(|(worker, text)| (*worker, &self.texts[text.clone()]))
    }

    /// Home shards, ascending.
    pub fn homes(&self) -> impl Iterator<Item = u8> {
        (0u8..).zip(self.homes).flat_map(|(word, mut bits)| {
            // From bit to bit: of most messages none is set, and to ask all 256 is a fifth of what
            // a message costs.
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as u8)?;
                bits &= bits - 1;
                Some(word << 6 | bit)
            })
        })
    }

    /// Appends the home shards as a record has them.
    pub fn put_homes(&self, out: &mut Vec<u8>) {
        if self.homes == [0; 4] {
            return;
        }
        let mut shares = Vec::new();
        for home in self.homes() {
            shares.clear();
            for (_, text) in self.home_shares.iter().filter(|(of, _)| *of == home) {
                shares.extend_from_slice(&(text.len() as u16).to_le_bytes());
                shares.extend_from_slice(&self.texts[text.clone()]);
            }
            put_home(home, &shares, out);
        }
    }

    fn add_home(&mut self, home: u8) {
        self.homes[usize::from(home >> 6)] |= 1 << (home & 63);
    }
}

impl Host {
    /// Matches a message.
    pub(super) fn find(&mut self, publish: &Publish<'_>, found: &mut Found) {
        found.clear();
        let topics = &self.topics;
        let origins = &self.commit.origins;
        topics.routes.matches(publish.realm, publish.topic, |id, destination| {
            match destination.who {
                Who::Worker(worker) if !origins.is_here(worker) => {}
                Who::Home(_) if publish.qos == 0 => {}
                Who::Home(home) if topics.is_void(self.settings.host_of(home), destination) => {}
                _ if destination.share != 0 => found.members.push((id, *destination)),
                Who::Worker(worker) => found.workers.push(worker),
                Who::Home(home) => found.add_home(home),
            }
        });
        found.workers.sort_unstable();
        found.workers.dedup();
        if !found.members.is_empty() {
            self.pick_members(found);
        }
    }

    /// Picks a member for each shared filter; those of one stand together.
    fn pick_members(&mut self, found: &mut Found) {
        let members = std::mem::take(&mut found.members);
        let mut home_bytes = 0;
        let of_one = |one: &(FilterId, Destination), other: &(FilterId, Destination)| {
            one.0 == other.0 && one.1.share == other.1.share
        };
        for group in members.chunk_by(of_one) {
            let is_home = |who| matches!(who, Who::Home(_));
            let to_home = group.iter().any(|(_, member)| is_home(member.who));
            let able = || group.iter().filter(|(_, member)| is_home(member.who) == to_home);
            let count: u64 = able().map(|(_, member)| u64::from(member.count)).sum();
            self.topics.drawn = self.topics.drawn.wrapping_add(1);
            let mut left = mixed(self.topics.drawn) % count.max(1);
            let picked = able().find(|(_, member)| {
                let within = left < u64::from(member.count);
                left = left.saturating_sub(u64::from(member.count));
                within
            });
            let Some((id, Destination { share, who, .. })) = picked.copied() else { continue };
            let begin = found.texts.len();
            found.texts.extend_from_slice(b"$share/");
            found.texts.extend_from_slice(self.topics.shares.name(share));
            found.texts.push(b'/');
            self.topics.routes.text(id, &mut found.texts);
            let text = begin..found.texts.len();
            match who {
                Who::Worker(worker) => found.worker_shares.push((worker, text)),
                Who::Home(_) if home_bytes + text.len() + 2 > SHARES_BYTES_MAX => {
                    self.counters.topic_limits += 1;
                }
                Who::Home(home) => {
                    home_bytes += text.len() + 2;
                    self.counters.hit(Mark::ShareToHome);
                    found.add_home(home);
                    found.home_shares.push((home, text));
                }
            }
        }
        found.members = members;
    }
}

/// Spreads a count over all numbers (the finalizer of splitmix64).
fn mixed(count: u64) -> u64 {
    let mut mixed = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
