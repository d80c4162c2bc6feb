//! Names of who is logged in, one block per connection.
//!
//! A box per connection would take a wide pointer beside the text. Here a name is an index into
//! blocks of its own size class, and blocks are handed out from chunks, so that a million names
//! take little more than their bytes.

use crate::connection::Connection;
use hawser_codec::message::NAME_BYTES_MAX;

/// Size classes are multiples of this.
const STEP_BYTES: usize = 8;

/// Bytes of a chunk: small enough that a class with one name costs little.
const CHUNK_BYTES: usize = 8192;

/// A user's and a device's name.
const LONGEST_BYTES: usize = 2 * NAME_BYTES_MAX;

const CLASSES: usize = LONGEST_BYTES.div_ceil(STEP_BYTES) + 1;

/// Where a name stands: class in the high bits, block below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRef(u32);

impl NameRef {
    /// No name.
    pub const NONE: Self = Self(u32::MAX);

    const CLASS_SHIFT: u32 = 24;

    fn class(self) -> usize {
        (self.0 >> Self::CLASS_SHIFT) as usize
    }

    fn block(self) -> usize {
        (self.0 & ((1 << Self::CLASS_SHIFT) - 1)) as usize
    }
}

const _: () = assert!(CLASSES < 1 << (32 - NameRef::CLASS_SHIFT));

#[derive(Default)]
struct Class {
    chunks: Vec<Box<[u8]>>,
    used: usize,
    free: Vec<u32>,
}

/// Names of one worker's connections.
pub struct Names {
    classes: [Class; CLASSES],
}

impl Default for Names {
    fn default() -> Self {
        Self { classes: std::array::from_fn(|_| Class::default()) }
    }
}

impl Names {
    /// Keeps two names, of at most [`NAME_BYTES_MAX`] bytes each.
    pub fn keep(&mut self, user: &[u8], device: &[u8]) -> NameRef {
        let class = (user.len() + device.len()).div_ceil(STEP_BYTES);
        let (bytes, per_chunk) = Self::shape(class);
        let of = &mut self.classes[class];
        let block = of.free.pop().map_or_else(
            || {
                if of.used.is_multiple_of(per_chunk) {
                    of.chunks.push(vec![0; bytes * per_chunk].into_boxed_slice());
                }
                of.used += 1;
                of.used - 1
            },
            |block| block as usize,
        );
        let at = block % per_chunk * bytes;
        let chunk = &mut of.chunks[block / per_chunk];
        chunk[at..at + user.len()].copy_from_slice(user);
        chunk[at + user.len()..at + user.len() + device.len()].copy_from_slice(device);
        NameRef((class as u32) << NameRef::CLASS_SHIFT | block as u32)
    }

    /// The first `length` bytes kept under `name`.
    pub fn get(&self, name: NameRef, length: usize) -> &[u8] {
        if name == NameRef::NONE {
            return &[];
        }
        let (bytes, per_chunk) = Self::shape(name.class());
        let at = name.block() % per_chunk * bytes;
        &self.classes[name.class()].chunks[name.block() / per_chunk][at..at + length]
    }

    /// User's name.
    pub fn user(&self, connection: &Connection) -> &[u8] {
        self.get(connection.names, connection.user_bytes.into())
    }

    /// Device's name.
    pub fn device(&self, connection: &Connection) -> &[u8] {
        let user = usize::from(connection.user_bytes);
        let both = user + usize::from(connection.device_bytes);
        self.get(connection.names, both).get(user..).unwrap_or_default()
    }

    /// Forgets a name; its block is used again.
    pub fn forget(&mut self, name: &mut NameRef) {
        if *name != NameRef::NONE {
            self.classes[name.class()].free.push(name.block() as u32);
            *name = NameRef::NONE;
        }
    }

    /// Bytes of a block of `class` and blocks per chunk.
    fn shape(class: usize) -> (usize, usize) {
        let bytes = class.max(1) * STEP_BYTES;
        (bytes, CHUNK_BYTES / bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_come_back_and_blocks_are_used_again() {
        let mut names = Names::default();
        let text = |length: usize, byte: u8| vec![byte; length];
        let mut kept = Vec::new();
        for user in 0..=NAME_BYTES_MAX {
            for device in [0, 1, 5, NAME_BYTES_MAX] {
                let (user, device) = (text(user, b'u'), text(device, b'd'));
                kept.push((names.keep(&user, &device), user, device));
            }
        }
        for (name, user, device) in &kept {
            let both = names.get(*name, user.len() + device.len());
            assert_eq!(both, [user.as_slice(), device.as_slice()].concat());
        }
        let (mut first, user, device) = kept.swap_remove(100);
        let (before, length) = (first, user.len() + device.len());
        names.forget(&mut first);
        assert_eq!(first, NameRef::NONE);
        assert_eq!(names.get(first, 0), b"");
        assert_eq!(names.keep(&text(length, b'x'), b""), before);
    }

    #[test]
    fn a_chunk_of_many_names_takes_little_more_than_their_bytes() {
        let mut names = Names::default();
        (0..2040).for_each(|_| {
            let _ = names.keep(&[b'u'; 36], b"load");
        });
        assert_eq!(names.classes[5].chunks.len(), 10);
    }
}
