//! What home shards of other processes follow, while it is read back from the log.

use crate::record;
use hawser_codec::field::{Cut, Field};
use std::collections::BTreeSet;

/// One filter of one home shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub home: u8,
    pub realm: u32,
    /// Share included.
    pub filter: Box<[u8]>,
}

#[derive(Default)]
pub(crate) struct Followed {
    pub lines: BTreeSet<Line>,
    /// Hosts that have said all of theirs.
    pub hosts: BTreeSet<u16>,
}

impl Followed {
    pub fn replay(&mut self, followed: &record::Followed) {
        let record::Followed { home, add, realm, filter } = *followed;
        let line = Line { home, realm, filter: filter.into() };
        if add == 1 {
            self.lines.insert(line);
        } else {
            self.lines.remove(&line);
        }
    }

    /// Reads what [`put_line`] and [`put_host`] wrote.
    pub fn restore(mut rest: &[u8]) -> Result<Followed, Cut> {
        let mut followed = Followed::default();
        while !rest.is_empty() {
            if u8::take(&mut rest)? == HOST {
                followed.hosts.insert(u16::take(&mut rest)?);
            } else {
                let (home, realm) = (u8::take(&mut rest)?, u32::take(&mut rest)?);
                let filter = <&[u8]>::take(&mut rest)?.into();
                followed.lines.insert(Line { home, realm, filter });
            }
        }
        Ok(followed)
    }
}

const LINE: u8 = 0;
const HOST: u8 = 1;

pub(crate) fn put_line(home: u8, realm: u32, filter: &[u8], out: &mut Vec<u8>) {
    LINE.put(out);
    home.put(out);
    realm.put(out);
    filter.put(out);
}

pub(crate) fn put_host(host: u16, out: &mut Vec<u8>) {
    HOST.put(out);
    host.put(out);
}
