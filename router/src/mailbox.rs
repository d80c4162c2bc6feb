//! Where the entries of one mailbox stand in the log.
//!
//! ```text
//! | blocks 0 ..          by index records, level over level | latest blocks | tail |
//!                                                            in memory       in memory
//! ```
//!
//! The tail are durable entries that are in no durable block yet. Of every level the places that
//! are in no index record yet are in memory, and the last few of those that are.
//!
//! Invariant: blocks, and the records of each level, become durable in order of their numbers. One
//! block is under way at a time, and an index record is appended as soon as what it names is
//! durable, so before the next block.

use crate::recent::Spot;
use crate::record::{BLOCK_ENTRIES, INDEX_FANOUT, INDEX_OVERLAP, Site};
use std::collections::VecDeque;

/// Where an entry stands in the log, and perhaps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub location: u64,
    pub recent: Spot,
    /// Length of the record, frame included.
    pub bytes: u16,
}

/// What is being done about the tail's next block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Building {
    #[default]
    Nothing,
    /// It stands in the host's queue.
    Due,
    /// Entries that left memory are being read.
    Gathering,
    /// It is in a run that is not durable yet.
    Written,
}

/// Blocks (level 0) or the index records of one level.
#[derive(Default)]
pub(crate) struct Level {
    /// Durable ones in all.
    pub count: u64,
    /// The last of them: all that no index record names, and [`INDEX_OVERLAP`] before.
    pub sites: Vec<Site>,
}

impl Level {
    /// Number of the first place in memory.
    pub fn first(&self) -> u64 {
        self.count - self.sites.len() as u64
    }
}

#[derive(Default)]
pub(crate) struct Mailbox {
    /// Entries up to here are no longer kept.
    pub floor: u64,
    pub levels: Vec<Level>,
    /// Durable entries above those in blocks.
    pub tail: VecDeque<Place>,
    pub building: Building,
}

/// Where to begin to look for blocks.
pub(crate) enum Route {
    /// Places of all of them.
    Blocks(Vec<Site>),
    /// The index record of this level that leads there.
    Index { level: u8, number: u64, site: Site },
}

impl Mailbox {
    /// Highest number whose place is known, which is the highest durable one.
    pub fn located(&self) -> u64 {
        self.in_blocks() + self.tail.len() as u64
    }

    pub fn blocks(&self) -> u64 {
        self.levels.first().map_or(0, |blocks| blocks.count)
    }

    /// Highest number that stands in a block.
    pub fn in_blocks(&self) -> u64 {
        self.blocks() * BLOCK_ENTRIES as u64
    }

    /// Block that holds an entry.
    pub fn block_of(number: u64) -> u64 {
        (number - 1) / BLOCK_ENTRIES as u64
    }

    /// Takes note of the next durable block, which holds the tail's first entries.
    pub fn add_block(&mut self, site: Site) {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        self.levels[0].sites.push(site);
        self.levels[0].count += 1;
        self.tail.drain(..BLOCK_ENTRIES.min(self.tail.len()));
        self.building = Building::Nothing;
    }

    /// Number of the next index record of a level, if what it names is there.
    pub fn next_index(&self, level: usize) -> Option<u64> {
        let below = self.levels.get(level)?;
        let number = self.levels.get(level + 1).map_or(0, |above| above.count);
        (below.count >= (number + 1) * INDEX_FANOUT).then_some(number)
    }

    /// The places that index record `number` of a level names. It is the next one.
    pub fn to_index(&self, level: usize, number: u64) -> &[Site] {
        let below = &self.levels[level];
        let end = ((number + 1) * INDEX_FANOUT - below.first()) as usize;
        let first = (number * INDEX_FANOUT).saturating_sub(INDEX_OVERLAP);
        &below.sites[(first - below.first()) as usize..end]
    }

    /// Takes note of the next durable index record of a level.
    pub fn add_index(&mut self, level: usize, site: Site) {
        if self.levels.len() == level + 1 {
            self.levels.push(Level::default());
        }
        let above = &mut self.levels[level + 1];
        above.sites.push(site);
        above.count += 1;
        let kept_from = above.count * INDEX_FANOUT - INDEX_OVERLAP;
        let below = &mut self.levels[level];
        let passed = kept_from.saturating_sub(below.first()) as usize;
        below.sites.drain(..passed.min(below.sites.len()));
    }

    /// How to find blocks `low` to `high`, which are of one page: at most [`INDEX_OVERLAP`] apart.
    pub fn route(&self, low: u64, high: u64) -> Route {
        let blocks = &self.levels[0];
        if low >= blocks.first() {
            let from = (low - blocks.first()) as usize;
            return Route::Blocks(blocks.sites[from..=from + (high - low) as usize].to_vec());
        }
        let mut number = high;
        let mut level = 1;
        loop {
            number /= INDEX_FANOUT;
            let known = &self.levels[level];
            if number >= known.first() {
                let site = known.sites[(number - known.first()) as usize];
                return Route::Index { level: level as u8 - 1, number, site };
            }
            level += 1;
        }
    }
}

/// Entries one of a level stands for, to the end of number `number`.
pub(crate) fn entries_through(level: u8, number: u64) -> u64 {
    (number + 1) * BLOCK_ENTRIES as u64 * INDEX_FANOUT.pow(u32::from(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(location: u64) -> Site {
        Site { location, bytes: 1 }
    }

    /// A mailbox with so many blocks; block n at location n, index record n of level l at
    /// `(l + 1) << 32 | n`. All index records, to be looked up as if read.
    fn mailbox(blocks: u64) -> (Mailbox, Vec<Vec<Vec<Site>>>) {
        let mut mailbox = Mailbox::default();
        let mut written: Vec<Vec<Vec<Site>>> = vec![Vec::new(); 4];
        for block in 0..blocks {
            mailbox.add_block(site(block));
            let mut level = 0;
            while let Some(number) = mailbox.next_index(level) {
                written[level].push(mailbox.to_index(level, number).to_vec());
                mailbox.add_index(level, site((level as u64 + 1) << 32 | number));
                level += 1;
            }
        }
        (mailbox, written)
    }

    #[test]
    fn a_place_in_a_tail_stays_small() {
        assert_eq!(size_of::<Place>(), 16);
    }

    #[test]
    fn the_blocks_of_any_page_are_found_with_few_index_reads_and_little_memory() {
        for blocks in [1u64, 5, 127, 128, 129, 1000, 16_383, 16_384, 20_000, 40_000] {
            let (mailbox, written) = mailbox(blocks);
            let in_memory: usize = mailbox.levels.iter().map(|level| level.sites.len()).sum();
            assert!(in_memory <= 3 * (INDEX_FANOUT + INDEX_OVERLAP) as usize);
            for high in (0..blocks).filter(|high| *high < 300 || high % 7 == 0) {
                let low = high.saturating_sub(INDEX_OVERLAP);
                let mut reads = 0;
                let mut route = mailbox.route(low, high);
                let found = loop {
                    let (level, number) = match route {
                        Route::Blocks(sites) => break sites,
                        Route::Index { level, number, site } => {
                            assert_eq!(site.location, (u64::from(level) + 1) << 32 | number);
                            (level, number)
                        }
                    };
                    reads += 1;
                    let sites = &written[usize::from(level)][number as usize];
                    let first = (number * INDEX_FANOUT).saturating_sub(INDEX_OVERLAP);
                    if level == 0 {
                        break sites[(low - first) as usize..=(high - first) as usize].to_vec();
                    }
                    let number = high / INDEX_FANOUT.pow(u32::from(level));
                    let site = sites[(number - first) as usize];
                    route = Route::Index { level: level - 1, number, site };
                };
                let wanted: Vec<Site> = (low..=high).map(site).collect();
                assert_eq!(found, wanted);
                assert!(reads <= if blocks < 16_384 { 1 } else { 2 }, "{blocks} {high}");
            }
        }
    }
}
