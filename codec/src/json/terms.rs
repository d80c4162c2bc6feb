//! How single values stand in JSON: words for small numbers, message ids, bytes as base64.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};

/// Words of [`crate::message::Class`].
pub(super) const CLASSES: [&str; 4] = ["mobile", "web", "desktop", "bot"];
/// Words of [`crate::message::Level`].
pub(super) const LEVELS: [&str; 3] = ["ephemeral", "normal", "important"];
/// Words of content kinds; others are numbers.
pub(super) const CONTENTS: [&str; 7] =
    ["custom", "text", "emoji", "image", "video", "voice", "file"];
/// Words of a receipt's `what`, which counts from 1.
pub(super) const WHATS: [&str; 3] = ["", "delivered", "read"];
/// Content kind of a body given as text.
pub(super) const CONTENT_TEXT: u64 = 1;

/// Padding is written and need not be there when read, nor need the last unused bits be zero.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const FOR_URLS: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Bytes of a base64 text of either alphabet, padded or not.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { &FOR_URLS } else { &PLAIN };
    engine.decode(text).ok()
}

/// Appends bytes as padded base64, which a browser's `atob` reads.
pub(super) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    put_with(&PLAIN, out, bytes);
}

/// Appends bytes as base64 that may stand in a URL or a header field, unpadded.
pub(crate) fn put_base64_for_urls(out: &mut Vec<u8>, bytes: &[u8]) {
    put_with(&general_purpose::URL_SAFE_NO_PAD, out, bytes);
}

fn put_with(engine: &GeneralPurpose, out: &mut Vec<u8>, bytes: &[u8]) {
    let at = out.len();
    // Four characters for each three bytes begun.
    out.resize(at + bytes.len().div_ceil(3) * 4, 0);
    let written = engine.encode_slice(bytes, &mut out[at..]).expect("the room was measured");
    out.truncate(at + written);
}

/// A message id of the form `01963d5c-0011-7abc-8def-1032547698ba`, in any case.
pub(crate) fn uuid_of(text: &str) -> Option<[u8; 16]> {
    let shape = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if !shape {
        return None;
    }
    let mut uuid = [0; 16];
    let digits = text.bytes().filter_map(|byte| (byte as char).to_digit(16));
    for (at, digit) in digits.enumerate() {
        uuid[at / 2] = uuid[at / 2] << 4 | digit as u8;
    }
    Some(uuid)
}

/// Appends the text of a message id.
pub(crate) fn put_uuid(out: &mut Vec<u8>, uuid: &[u8; 16]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Message id of a request that names none: version 8 of RFC 9562, the incarnation and 58 bits of
/// the number, so that a repeat has the same one.
pub(super) fn uuid_made(incarnation: u64, client_seq: u64) -> [u8; 16] {
    const VARIANT_BITS: u32 = 62;
    let known = u128::from(incarnation) << 58 | u128::from(client_seq & ((1 << 58) - 1));
    let low = known & ((1 << VARIANT_BITS) - 1);
    let middle = known >> VARIANT_BITS & 0xFFF;
    let high = known >> (VARIANT_BITS + 12);
    (high << 80 | 0x8 << 76 | middle << 64 | 0b10 << VARIANT_BITS | low).to_be_bytes()
}
