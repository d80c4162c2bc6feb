//! A cursor over the fields of one packet: it cannot read beyond the packet's end, and every
//! failure names the field.

use super::malformed::Fault;

/// Bytes of a variable byte integer, at most.
pub(super) const VARIABLE_BYTES_MAX: usize = 4;

/// Largest variable byte integer.
pub(super) const VARIABLE_MAX: u32 = 268_435_455;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], Fault> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Fault::Cut { field })?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Fault> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Fault::Cut { field })?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Fault> {
        self.array(field).map(|[byte]| byte)
    }

    #[inline]
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Fault> {
        self.array(field).map(u16::from_be_bytes)
    }

    #[inline]
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Fault> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub fn variable(&mut self, field: &'static str) -> Result<u32, Fault> {
        match variable(self.rest)? {
            Some((value, bytes)) => {
                self.rest = &self.rest[bytes..];
                Ok(value)
            }
            None => Err(Fault::Cut { field }),
        }
    }

    #[inline]
    pub fn binary(&mut self, field: &'static str) -> Result<&'a [u8], Fault> {
        let length = self.u16(field)?;
        self.bytes(length.into(), field)
    }

    #[inline]
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, Fault> {
        let bytes = self.binary(field)?;
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| Fault::Text { field })?;
        if bytes.contains(&0) { Err(Fault::Text { field }) } else { Ok(text) }
    }

    pub fn end(self) -> Result<(), Fault> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(Fault::Trailing { bytes }),
        }
    }
}

/// Reads the variable byte integer `bytes` begin with, and says how long it is; `None` if they end
/// within it.
#[inline]
pub(super) fn variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, Fault> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(VARIABLE_BYTES_MAX).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            if byte == 0 && at > 0 {
                return Err(Fault::Length);
            }
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= VARIABLE_BYTES_MAX { Err(Fault::Length) } else { Ok(None) }
}

/// Bytes that `value` takes as a variable byte integer.
#[inline]
pub(super) const fn variable_bytes(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends `value`, at most [`VARIABLE_MAX`].
#[inline]
pub(super) fn put_variable(out: &mut Vec<u8>, mut value: u32) {
    debug_assert!(value <= VARIABLE_MAX);
    while value > 0x7F {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    // norm: MQTT5-1.5.5-1
    #[test]
    fn a_variable_integer_is_read_in_its_shortest_form_only() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VARIABLE_MAX] {
            let mut bytes = Vec::new();
            put_variable(&mut bytes, value);
            assert_eq!(bytes.len(), variable_bytes(value));
            for cut in 0..bytes.len() {
                assert_eq!(variable(&bytes[..cut]), Ok(None));
            }
            assert_eq!(variable(&bytes), Ok(Some((value, bytes.len()))));
        }
        assert_eq!(variable(&[0x80, 0x00]), Err(Fault::Length));
        assert_eq!(variable(&[0xFF, 0x80, 0x00]), Err(Fault::Length));
        assert_eq!(variable(&[0x80, 0x80, 0x80, 0x80]), Err(Fault::Length));
        assert_eq!(variable(&[0x80, 0x80, 0x80, 0x80, 0x01]), Err(Fault::Length));
    }

    // norm: MQTT3-1.5.3-1
    // norm: MQTT3-1.5.3-2
    // norm: MQTT3-1.5.3-3
    // norm: MQTT5-1.5.4-1
    // norm: MQTT5-1.5.4-2
    // norm: MQTT5-1.5.4-3
    #[test]
    fn a_text_is_utf8_without_surrogates_and_without_the_null_character() {
        let read = |text: &[u8]| {
            let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
            bytes.extend_from_slice(text);
            Reader::new(&bytes).text("text").map(str::to_owned)
        };
        assert_eq!(read("\u{2A6D4}é".as_bytes()).as_deref(), Ok("\u{2A6D4}é"));
        assert_eq!(read("\u{FEFF}a".as_bytes()).as_deref(), Ok("\u{FEFF}a"));
        for wrong in [&[0xED, 0xA0, 0x80][..], &[0xC0, 0x80], &[0xFF], b"a\0b", &[0xE2, 0x82]] {
            assert_eq!(read(wrong), Err(Fault::Text { field: "text" }));
        }
    }
}
