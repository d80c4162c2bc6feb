//! Fields of link frames and log records: little-endian, in order of declaration, texts last.
//!
//! ```text
//! | fixed fields … | length u32, bytes | length u32, bytes | … |
//! ```
//!
//! What has a fixed length stands together, so it is written and read as one block at offsets the
//! compiler knows; only texts are measured. Framing, kinds and versions are the callers' business.

/// 128-bit key of a user, device or conversation (keyed hash of its realm and name).
pub type Key = [u8; 16];

/// The bytes end within a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

/// One field.
pub trait Field<'a>: Sized {
    /// Bytes in the fixed block; 0 for a text.
    const FIXED_BYTES: usize;

    /// Bytes behind the fixed block.
    #[inline]
    fn text_bytes(&self) -> usize {
        0
    }

    /// Writes what stands in the fixed block, which is [`Field::FIXED_BYTES`] long.
    #[inline]
    fn put_fixed(&self, _block: &mut [u8]) {}

    /// Writes what stands behind it to the front of `texts` and gives the rest.
    #[inline]
    fn put_text<'o>(&self, texts: &'o mut [u8]) -> &'o mut [u8] {
        texts
    }

    /// Reads the field from its part of the fixed block, or off the front of the texts.
    ///
    /// # Errors
    /// [`Cut`], if the texts end too early.
    fn read(block: &[u8], texts: &mut &'a [u8]) -> Result<Self, Cut>;

    /// Appends the field alone.
    fn put(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at + Self::FIXED_BYTES + self.text_bytes(), 0);
        let (block, texts) = out[at..].split_at_mut(Self::FIXED_BYTES);
        self.put_fixed(block);
        self.put_text(texts);
    }

    /// Takes the field alone off the front of `rest`.
    ///
    /// # Errors
    /// [`Cut`], if there is less.
    fn take(rest: &mut &'a [u8]) -> Result<Self, Cut> {
        let (block, mut texts) = rest.split_at_checked(Self::FIXED_BYTES).ok_or(Cut)?;
        let field = Self::read(block, &mut texts)?;
        *rest = texts;
        Ok(field)
    }
}

/// Whether texts come after all other fields, given every field's [`Field::FIXED_BYTES`] in order of
/// declaration: only then does the block stand where the order says.
#[must_use]
pub const fn texts_stand_last(fixed_bytes: &[usize]) -> bool {
    let mut at = 1;
    while at < fixed_bytes.len() {
        if fixed_bytes[at - 1] == 0 && fixed_bytes[at] > 0 {
            return false;
        }
        at += 1;
    }
    true
}

macro_rules! number_field {
    ($($t:ty),*) => {$(
        impl Field<'_> for $t {
            const FIXED_BYTES: usize = size_of::<$t>();
            #[inline]
            fn put_fixed(&self, block: &mut [u8]) {
                block.copy_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn read(block: &[u8], _texts: &mut &[u8]) -> Result<Self, Cut> {
                block.first_chunk().map(|bytes| Self::from_le_bytes(*bytes)).ok_or(Cut)
            }
        }
    )*};
}
number_field!(u8, u16, u32, u64);

impl Field<'_> for bool {
    const FIXED_BYTES: usize = 1;
    #[inline]
    fn put_fixed(&self, block: &mut [u8]) {
        u8::from(*self).put_fixed(block);
    }
    #[inline]
    fn read(block: &[u8], texts: &mut &[u8]) -> Result<Self, Cut> {
        Ok(u8::read(block, texts)? != 0)
    }
}

impl Field<'_> for Key {
    const FIXED_BYTES: usize = size_of::<Key>();
    #[inline]
    fn put_fixed(&self, block: &mut [u8]) {
        block.copy_from_slice(self);
    }
    #[inline]
    fn read(block: &[u8], _texts: &mut &[u8]) -> Result<Self, Cut> {
        block.first_chunk().copied().ok_or(Cut)
    }
}

macro_rules! numbers_field {
    ($($t:ty),*) => {$(
        impl<const COUNT: usize> Field<'_> for [$t; COUNT] {
            const FIXED_BYTES: usize = size_of::<Self>();
            #[inline]
            fn put_fixed(&self, block: &mut [u8]) {
                for (one, block) in self.iter().zip(block.chunks_exact_mut(size_of::<$t>())) {
                    one.put_fixed(block);
                }
            }
            #[inline]
            fn read(block: &[u8], texts: &mut &[u8]) -> Result<Self, Cut> {
                let mut all = [0; COUNT];
                for (one, block) in all.iter_mut().zip(block.chunks_exact(size_of::<$t>())) {
                    *one = <$t>::read(block, texts)?;
                }
                Ok(all)
            }
        }
    )*};
}
numbers_field!(u16, u64);

impl<'a> Field<'a> for &'a [u8] {
    const FIXED_BYTES: usize = 0;
    #[inline]
    fn text_bytes(&self) -> usize {
        size_of::<u32>() + self.len()
    }
    #[inline]
    fn put_text<'o>(&self, texts: &'o mut [u8]) -> &'o mut [u8] {
        let (length, texts) = texts.split_at_mut(size_of::<u32>());
        length.copy_from_slice(&(self.len() as u32).to_le_bytes());
        let (text, rest) = texts.split_at_mut(self.len());
        text.copy_from_slice(self);
        rest
    }
    #[inline]
    fn read(_block: &[u8], texts: &mut &'a [u8]) -> Result<Self, Cut> {
        let (length, rest) = texts.split_first_chunk().ok_or(Cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (text, rest) = rest.split_at_checked(length).ok_or(Cut)?;
        *texts = rest;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_field_behind_a_text_is_noticed() {
        assert!(
            texts_stand_last(&[8, 16, 0, 0]) && texts_stand_last(&[]) && texts_stand_last(&[0])
        );
        assert!(!texts_stand_last(&[8, 0, 1, 0]));
    }
}
