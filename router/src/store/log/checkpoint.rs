//! Checkpoint files: what shards remember, so that recovery need not read the whole log.
//!
//! Only the framing is known here; a section's bytes are its shard's business.
//!
//! ```text
//! header   "HWSC" u32 | version u16 | host u8 | 0 u8 | number u32 | starts u32
//!          | (lane u32, segment u32) * starts | crc32c u32
//! section  "SECT" u32 | shard u8 | 0 u8 * 3 | position u64 | length u64 | bytes | crc32c u32
//! trailer  "DONE" u32 | sections u32 | wall ms u64 | crc32c u32
//! ```
//! Each host writes its own files, one section for every shard it hosts, also for an empty one.
//! A record is needed after a restart if its position is above its shard's section; the scan
//! starts name, per lane, the lowest segment that may hold such a record.
//!
//! Invariant: a file that is not whole is as good as no file. The two newest of each host are
//! kept, so that one that goes bad costs time and no data, as long as retention respects
//! [`Checkpoints::oldest_starts`].

use std::{collections::BTreeMap, io};

use crate::store::{AtomicFile, Disk, read_full};

/// Logical shards, constant on disk.
pub const SHARD_COUNT: usize = 256;
/// Files kept per host: the newest and the one before.
const KEPT_PER_HOST: usize = 2;
/// Bytes of a file held while it is checked.
const WINDOW_BYTES: usize = 1 << 20;

const MAGIC: u32 = u32::from_le_bytes(*b"HWSC");
const SECTION: u32 = u32::from_le_bytes(*b"SECT");
const TRAILER: u32 = u32::from_le_bytes(*b"DONE");
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
const TRAILER_BYTES: usize = 20;
const SECTION_BYTES: usize = 24;

/// `checkpoint-HH-NNNNNNNN.ckp`, decimal.
#[must_use]
pub fn name(host: u8, number: u32) -> String {
    format!("checkpoint-{host:02}-{number:08}.ckp")
}

/// Host and number a file name stands for, if it is one.
#[must_use]
pub fn parse_name(file: &str) -> Option<(u8, u32)> {
    let (host, number) = file.strip_prefix("checkpoint-")?.strip_suffix(".ckp")?.split_once('-')?;
    let (host, number) = (host.parse().ok()?, number.parse().ok()?);
    (name(host, number) == file).then_some((host, number))
}

/// Wall clock at which a checkpoint was committed; `None` if the file has gone or has no trailer.
///
/// # Errors
/// Those of the disk.
pub fn committed_ms(disk: &dyn Disk, name: &str, file_bytes: u64) -> io::Result<Option<u64>> {
    let mut trailer = [0; TRAILER_BYTES];
    let offset = file_bytes.saturating_sub(TRAILER_BYTES as u64);
    match read_full(disk, name, offset, &mut trailer) {
        Ok(()) => Ok((word(&trailer, 0) == TRAILER).then(|| long(&trailer, 8))),
        Err(error) => match Unusable::from(error) {
            Unusable::Io(error) => Err(error),
            Unusable::Bad(_) => Ok(None),
        },
    }
}

/// Numbers of a host's files, newest first.
fn numbers(disk: &dyn Disk, host: u8) -> io::Result<Vec<u32>> {
    let files = disk.list()?;
    let ours = files.iter().filter_map(|file| parse_name(&file.name));
    let mut numbers: Vec<u32> = ours.filter(|found| found.0 == host).map(|found| found.1).collect();
    numbers.sort_unstable_by(|left, right| right.cmp(left));
    Ok(numbers)
}

/// Writes one checkpoint, a section per call, so that it can be spread over time.
pub struct CheckpointWriter {
    file: Box<dyn AtomicFile>,
    host: u8,
    sections: u32,
}

impl CheckpointWriter {
    /// Begins a file. `starts` names every lane there is. `number` must be above those of all
    /// files of the host, see [`Checkpoints::next_number`].
    ///
    /// # Errors
    /// Those of the disk.
    pub fn begin(disk: &dyn Disk, host: u8, number: u32, starts: &[(u8, u32)]) -> io::Result<Self> {
        let mut header = Vec::with_capacity(HEADER_BYTES + 8 * starts.len() + 4);
        header.extend_from_slice(&MAGIC.to_le_bytes());
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&[host, 0]);
        header.extend_from_slice(&number.to_le_bytes());
        header.extend_from_slice(&(starts.len() as u32).to_le_bytes());
        for (lane, segment) in starts {
            header.extend_from_slice(&u32::from(*lane).to_le_bytes());
            header.extend_from_slice(&segment.to_le_bytes());
        }
        let crc = crc32c::crc32c(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        let mut file = disk.create(&name(host, number))?;
        file.write(&header)?;
        Ok(Self { file, host, sections: 0 })
    }

    /// Adds what `shard` remembers of its records up to `position`, which must be durable in the
    /// log by now: a checkpoint that knows more than the log would give numbers out twice.
    ///
    /// # Errors
    /// Those of the disk; the writer should then be dropped.
    pub fn section(&mut self, shard: u8, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut head = [0; SECTION_BYTES];
        head[..4].copy_from_slice(&SECTION.to_le_bytes());
        head[4] = shard;
        head[8..16].copy_from_slice(&position.to_le_bytes());
        head[16..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), bytes);
        self.file.write(&head)?;
        self.file.write(bytes)?;
        self.file.write(&crc.to_le_bytes())?;
        self.sections += 1;
        Ok(())
    }

    /// Makes the file count, durable, and then removes the host's older ones but one.
    ///
    /// # Errors
    /// Those of the disk. The checkpoint may or may not stand then; the log is still needed from
    /// the older one's scan starts.
    pub fn commit(mut self, disk: &dyn Disk, wall_ms: u64) -> io::Result<()> {
        let mut trailer = [0; TRAILER_BYTES];
        trailer[..4].copy_from_slice(&TRAILER.to_le_bytes());
        trailer[4..8].copy_from_slice(&self.sections.to_le_bytes());
        trailer[8..16].copy_from_slice(&wall_ms.to_le_bytes());
        let crc = crc32c::crc32c(&trailer[..16]);
        trailer[16..].copy_from_slice(&crc.to_le_bytes());
        self.file.write(&trailer)?;
        self.file.commit()?;
        for number in numbers(disk, self.host)?.into_iter().skip(KEPT_PER_HOST) {
            disk.remove(&name(self.host, number))?;
        }
        Ok(())
    }
}

/// Where a shard's section stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The shard.
    pub shard: u8,
    /// Its records up to here are in it.
    pub position: u64,
    /// File it stands in.
    pub file: String,
    /// Length of its bytes.
    pub bytes: u64,
    offset: u64,
}

impl Section {
    /// Reads and checks the section's bytes.
    ///
    /// # Errors
    /// Those of the disk; `InvalidData` when the checksum is wrong.
    pub fn read(&self, disk: &dyn Disk) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut all = vec![0; SECTION_BYTES + length + 4];
        read_full(disk, &self.file, self.offset, &mut all)?;
        let (bytes, crc) = all.split_at(SECTION_BYTES + length);
        if crc32c::crc32c(bytes).to_le_bytes() != crc {
            let what = format!("{}: section of shard {} is damaged", self.file, self.shard);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        all.truncate(SECTION_BYTES + length);
        all.drain(..SECTION_BYTES);
        Ok(all)
    }
}

/// A file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its name.
    pub file: String,
    /// Why.
    pub why: &'static str,
}

/// What the directory's checkpoints amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoints {
    /// For each shard that has one, the section with the highest position, by shard.
    pub sections: Vec<Section>,
    /// Where recovery must begin, for [`super::recover`]. A lane that is missing here is read
    /// from its lowest segment; all are, when a shard has no section.
    pub starts: Vec<(u8, u32)>,
    /// The same over all whole files: what retention must not touch, so that the older ones stay
    /// of use. Empty: nothing may be dropped.
    pub oldest_starts: Vec<(u8, u32)>,
    /// Files that are not whole.
    pub ignored: Vec<Ignored>,
    numbers: BTreeMap<u8, u32>,
}

impl Checkpoints {
    /// Reads and checks every checkpoint of the directory.
    ///
    /// # Errors
    /// Those of the disk. Damaged files are no error, see [`Checkpoints::ignored`].
    pub fn load(disk: &dyn Disk) -> io::Result<Self> {
        let mut found = Self::default();
        let mut whole = Vec::new();
        for file in disk.list()? {
            let Some((host, number)) = parse_name(&file.name) else { continue };
            let highest = found.numbers.entry(host).or_default();
            *highest = number.max(*highest);
            match Reader::new(disk, &file.name, file.bytes).read(host, number) {
                Ok(checkpoint) => whole.push(checkpoint),
                Err(Unusable::Io(error)) => return Err(error),
                Err(Unusable::Bad(why)) => found.ignored.push(Ignored { file: file.name, why }),
            }
        }
        let mut best: BTreeMap<u8, (usize, &Section)> = BTreeMap::new();
        for (index, checkpoint) in whole.iter().enumerate() {
            for section in &checkpoint.sections {
                let rank = |index: usize, section: &Section| {
                    (section.position, whole[index].wall_ms, whole[index].number)
                };
                let entry = best.entry(section.shard).or_insert((index, section));
                if rank(index, section) > rank(entry.0, entry.1) {
                    *entry = (index, section);
                }
            }
        }
        found.sections = best.values().map(|(_, section)| (*section).clone()).collect();
        if found.sections.len() == SHARD_COUNT {
            let used = best.values().map(|(index, _)| *index);
            found.starts = lowest_starts(used.map(|index| &whole[index]));
            found.oldest_starts = lowest_starts(whole.iter());
        }
        Ok(found)
    }

    /// Number for the host's next file.
    #[must_use]
    pub fn next_number(&self, host: u8) -> u32 {
        self.numbers.get(&host).map_or(1, |number| number + 1)
    }

    /// Removes files that are not whole, and files none of whose sections is the best of its
    /// shard, except the one before the newest of a host in use. Those of hosts that are no more
    /// would hold back retention for ever.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn prune(&self, disk: &dyn Disk) -> io::Result<Vec<String>> {
        let used: Vec<(u8, u32)> =
            self.sections.iter().filter_map(|section| parse_name(&section.file)).collect();
        let mut removed = Vec::new();
        for &host in self.numbers.keys() {
            let (bad, whole): (Vec<u32>, Vec<u32>) =
                numbers(disk, host)?.into_iter().partition(|number| {
                    self.ignored.iter().any(|ignored| ignored.file == name(host, *number))
                });
            let is_in_use = used.is_empty() || used.iter().any(|(used, _)| *used == host);
            let kept = if is_in_use { KEPT_PER_HOST } else { 0 };
            let old = whole.into_iter().skip(kept);
            for number in bad.into_iter().chain(old).filter(|n| !used.contains(&(host, *n))) {
                disk.remove(&name(host, number))?;
                removed.push(name(host, number));
            }
        }
        Ok(removed)
    }
}

/// Lowest start of each lane that all files name; one that a file does not name is read whole.
fn lowest_starts<'a>(files: impl Iterator<Item = &'a Whole>) -> Vec<(u8, u32)> {
    let mut lowest: Option<BTreeMap<u8, u32>> = None;
    for file in files {
        lowest = Some(match lowest {
            None => file.starts.clone(),
            Some(lowest) => lowest
                .into_iter()
                .filter_map(|(lane, start)| Some((lane, start.min(*file.starts.get(&lane)?))))
                .collect(),
        });
    }
    lowest.unwrap_or_default().into_iter().collect()
}

struct Whole {
    number: u32,
    wall_ms: u64,
    starts: BTreeMap<u8, u32>,
    sections: Vec<Section>,
}

enum Unusable {
    Io(io::Error),
    Bad(&'static str),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Bad("it ends before its trailer"),
            // Removed by the running process since the directory was read.
            io::ErrorKind::NotFound => Self::Bad("it was removed"),
            _ => Self::Io(error),
        }
    }
}

struct Reader<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
    file_bytes: u64,
    offset: u64,
    crc: u32,
}

impl<'a> Reader<'a> {
    fn new(disk: &'a dyn Disk, name: &'a str, file_bytes: u64) -> Self {
        Self { disk, name, file_bytes, offset: 0, crc: 0 }
    }

    fn read(&mut self, host: u8, number: u32) -> Result<Whole, Unusable> {
        let mut header = [0; HEADER_BYTES];
        self.take(&mut header)?;
        if word(&header, 0) != MAGIC {
            return Err(Unusable::Bad("it is not a checkpoint"));
        }
        if u16::from_le_bytes([header[4], header[5]]) != VERSION {
            return Err(Unusable::Bad("it has another version"));
        }
        if header[6] != host || word(&header, 8) != number {
            return Err(Unusable::Bad("it belongs under another name"));
        }
        let count = word(&header, 12);
        if count > u32::from(super::location::LANE_COUNT_MAX) {
            return Err(Unusable::Bad("its header is damaged"));
        }
        let mut starts = BTreeMap::new();
        for _ in 0..count {
            let mut start = [0; 8];
            self.take(&mut start)?;
            let lane = u8::try_from(word(&start, 0)).map_err(|_| Unusable::Bad("bad lane"))?;
            starts.insert(lane, word(&start, 4));
        }
        self.check("its header is damaged")?;
        let (sections, wall_ms) = self.sections()?;
        Ok(Whole { number, wall_ms, starts, sections })
    }

    fn sections(&mut self) -> Result<(Vec<Section>, u64), Unusable> {
        let mut sections = Vec::new();
        // One more turn than there are shards, for the trailer.
        for _ in 0..=SHARD_COUNT {
            let offset = self.offset;
            let mut head = [0; 8];
            self.take(&mut head)?;
            if word(&head, 0) == TRAILER {
                let mut wall_ms = [0; 8];
                self.take(&mut wall_ms)?;
                self.check("its trailer is damaged")?;
                if word(&head, 4) as usize != sections.len() {
                    return Err(Unusable::Bad("sections are missing"));
                }
                return Ok((sections, long(&wall_ms, 0)));
            }
            if word(&head, 0) != SECTION {
                return Err(Unusable::Bad("a section is damaged"));
            }
            let mut rest = [0; SECTION_BYTES - 8];
            self.take(&mut rest)?;
            let (position, bytes) = (long(&rest, 0), long(&rest, 8));
            self.skip(bytes)?;
            self.check("a section is damaged")?;
            let file = self.name.to_owned();
            sections.push(Section { shard: head[4], position, file, bytes, offset });
        }
        Err(Unusable::Bad("it has more sections than there are shards"))
    }

    /// Reads and adds to the checksum.
    fn take(&mut self, into: &mut [u8]) -> Result<(), Unusable> {
        read_full(self.disk, self.name, self.offset, into)?;
        self.offset += into.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, into);
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Unusable> {
        if bytes > self.file_bytes.saturating_sub(self.offset) {
            return Err(Unusable::Bad("it ends before its trailer"));
        }
        let mut window = vec![0; WINDOW_BYTES.min(bytes as usize)];
        let mut left = bytes;
        while left > 0 {
            let part = left.min(WINDOW_BYTES as u64) as usize;
            self.take(&mut window[..part])?;
            left -= part as u64;
        }
        Ok(())
    }

    fn check(&mut self, what: &'static str) -> Result<(), Unusable> {
        let crc = std::mem::take(&mut self.crc);
        let mut stored = [0; 4];
        self.take(&mut stored)?;
        self.crc = 0;
        if crc.to_le_bytes() == stored { Ok(()) } else { Err(Unusable::Bad(what)) }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
