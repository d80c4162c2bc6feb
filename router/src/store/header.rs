//! The data directory's header file: format version, place in the list of routers, hash key.
//!
//! ```text
//! | "HAWSERDB" | version u32 | routers u16 | index u16 | hash key 32 | check value 32 | crc32c u32 |
//! ```
//! `routers` is 0 in the directory of the only router, an embedded tier's for one; such a header
//! has version 1. Others have version 2, so that a program which knows no lists refuses them.
//!
//! All names are hashed with the key, and the log's batches carry a number derived from it, so a
//! directory whose header is lost cannot be opened: the header is written once, atomically, and
//! copied by every backup. The check value is derived from the key and may be shown to peers
//! to compare keys without telling them.

use std::{fmt, io};

use super::{Disk, RouterPlace, read_full};

/// Name of the header file.
pub const HEADER_NAME: &str = "FORMAT";

/// Highest version of the whole directory's format that this build reads.
const FORMAT_VERSION: u32 = 2;
/// Version of the header of a list of one.
const FORMAT_VERSION_ALONE: u32 = 1;
const MAGIC: &[u8; 8] = b"HAWSERDB";
const HEADER_BYTES: usize = 8 + 4 + 4 + 32 + 32 + 4;

/// What the header file holds.
#[derive(Clone, PartialEq, Eq)]
pub struct DataHeader {
    hash_key: [u8; 32],
    place: RouterPlace,
}

impl fmt::Debug for DataHeader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is a secret: who knows it can choose names whose keys collide.
        out.debug_struct("DataHeader").finish_non_exhaustive()
    }
}

/// Why a directory cannot be used with its header.
#[derive(Debug)]
pub enum HeaderError {
    /// The disk refused.
    Io(io::Error),
    /// Not a header of this project, or a bit of it has changed.
    Damaged(&'static str),
    /// Written by a newer version of the program.
    Version {
        /// Version found.
        found: u32,
        /// Highest version this build reads.
        known: u32,
    },
    /// The directory holds the shards of another place in the list of routers.
    List {
        /// Place the directory was written in.
        found: RouterPlace,
        /// Place it was opened for.
        wanted: RouterPlace,
    },
    /// There is a log but no header, so the key that names and batches were made with is lost.
    Missing,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(out, "{HEADER_NAME}: {error}"),
            Self::Damaged(what) => write!(out, "{HEADER_NAME}: {what}; restore it from a backup"),
            Self::Version { found, known } => write!(
                out,
                "{HEADER_NAME}: format version {found}, this program knows up to {known}; \
                 use the program that wrote it or a newer one"
            ),
            Self::List { found, wanted } => write!(
                out,
                "{HEADER_NAME}: the directory was written by {found} and is opened for {wanted}; \
                 the list of routers cannot change while there is data, because every shard would \
                 have to move. Go back to the list it was written with. Moving the shards would \
                 take a command `hawser-router reshard --routers {}`, which this version does not \
                 have",
                wanted.routers()
            ),
            Self::Missing => write!(
                out,
                "{HEADER_NAME} is missing but the directory holds a log; restore it from a backup"
            ),
        }
    }
}

impl std::error::Error for HeaderError {}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl DataHeader {
    /// A header around a key, for a cluster whose key is given and for tests.
    #[must_use]
    pub fn new(hash_key: [u8; 32]) -> Self {
        Self { hash_key, place: RouterPlace::ALONE }
    }

    /// The same header for the directory of router `place`.
    #[must_use]
    pub fn with_place(self, place: RouterPlace) -> Self {
        Self { place, ..self }
    }

    /// Header of the only router's directory: see [`DataHeader::open_or_create_for`].
    ///
    /// # Errors
    /// [`HeaderError`]; nothing may be served from the directory then.
    pub fn open_or_create(disk: &dyn Disk, random: [u8; 32]) -> Result<Self, HeaderError> {
        Self::open_or_create_for(disk, random, RouterPlace::ALONE)
    }

    /// Reads the header of the directory of router `place`, or makes one with `random` as hash
    /// key when the directory is new. `random` is ignored when a header exists. A directory
    /// without a log takes any place, and keeps its key.
    ///
    /// # Errors
    /// [`HeaderError`]; nothing may be served from the directory then.
    pub fn open_or_create_for(
        disk: &dyn Disk,
        random: [u8; 32],
        place: RouterPlace,
    ) -> Result<Self, HeaderError> {
        let files = disk.list()?;
        let is_log = |name: &str| super::log::segment::parse_name(name).is_some();
        let has_log = files.iter().any(|file| is_log(&file.name));
        let header = if files.iter().any(|file| file.name == HEADER_NAME) {
            let header = Self::open(disk)?;
            if header.place == place {
                return Ok(header);
            }
            if has_log {
                return Err(HeaderError::List { found: header.place, wanted: place });
            }
            header.with_place(place)
        } else if has_log {
            return Err(HeaderError::Missing);
        } else {
            Self::new(random).with_place(place)
        };
        header.save(disk)?;
        Ok(header)
    }

    /// Reads the directory's header.
    ///
    /// # Errors
    /// [`HeaderError`]; [`HeaderError::Missing`] when there is none.
    pub fn open(disk: &dyn Disk) -> Result<Self, HeaderError> {
        let mut bytes = [0; HEADER_BYTES];
        match read_full(disk, HEADER_NAME, 0, &mut bytes) {
            Ok(()) => Self::decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(HeaderError::Missing),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(HeaderError::Damaged("too short"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the header, durable.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn save(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut file = disk.create(HEADER_NAME)?;
        file.write(&self.encode())?;
        file.commit()
    }

    /// Router the directory belongs to.
    #[must_use]
    pub fn place(&self) -> RouterPlace {
        self.place
    }

    /// Key of the keyed hash that names become keys with. Secret.
    #[must_use]
    pub fn hash_key(&self) -> &[u8; 32] {
        &self.hash_key
    }

    /// Tells two keys apart without telling the keys.
    #[must_use]
    pub fn check_value(&self) -> [u8; 32] {
        *blake3::keyed_hash(&self.hash_key, b"hawser check value").as_bytes()
    }

    /// Number that marks every batch of this directory's log, see [`super::log::batch`].
    #[must_use]
    pub fn salt(&self) -> u64 {
        let hash = blake3::keyed_hash(&self.hash_key, b"hawser log salt");
        let mut salt = [0; 8];
        salt.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(salt)
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        if self.place == RouterPlace::ALONE {
            bytes[8..12].copy_from_slice(&FORMAT_VERSION_ALONE.to_le_bytes());
        } else {
            bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
            bytes[12..14].copy_from_slice(&self.place.routers().to_le_bytes());
            bytes[14..16].copy_from_slice(&self.place.index().to_le_bytes());
        }
        bytes[16..48].copy_from_slice(&self.hash_key);
        bytes[48..80].copy_from_slice(&self.check_value());
        let crc = crc32c::crc32c(&bytes[..80]);
        bytes[80..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        if &bytes[..8] != MAGIC {
            return Err(HeaderError::Damaged("not a header of this program"));
        }
        let crc = u32::from_le_bytes([bytes[80], bytes[81], bytes[82], bytes[83]]);
        let found = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        // The version first: a newer header may keep its checksum elsewhere.
        if found > FORMAT_VERSION {
            return Err(HeaderError::Version { found, known: FORMAT_VERSION });
        }
        if crc != crc32c::crc32c(&bytes[..80]) {
            return Err(HeaderError::Damaged("checksum is wrong"));
        }
        let mut hash_key = [0; 32];
        hash_key.copy_from_slice(&bytes[16..48]);
        let routers = u16::from_le_bytes([bytes[12], bytes[13]]);
        let index = u16::from_le_bytes([bytes[14], bytes[15]]);
        let place = match routers {
            0 => RouterPlace::ALONE,
            _ => RouterPlace::new(index, routers)
                .ok_or(HeaderError::Damaged("no such place in a list of routers"))?,
        };
        let header = Self { hash_key, place };
        if bytes[48..80] != header.check_value() {
            return Err(HeaderError::Damaged("check value does not fit the key"));
        }
        Ok(header)
    }
}
