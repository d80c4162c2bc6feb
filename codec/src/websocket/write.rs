//! Frames down: appended to the caller's buffer. A client gives a fresh, unpredictable key for
//! each frame (RFC 6455 5.3); a server gives none.

use super::{CONTROL_BYTES_MAX, Opcode, close, header, mask};

/// Appends one frame: a whole message, or a fragment of one.
#[inline]
pub fn frame(
    out: &mut Vec<u8>,
    opcode: Opcode,
    fin: bool,
    compressed: bool,
    payload: &[u8],
    key: Option<[u8; 4]>,
) {
    let header = header::of(opcode, fin, compressed, payload.len(), key);
    out.reserve(header.as_bytes().len() + payload.len());
    out.extend_from_slice(header.as_bytes());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask::apply(&mut out[start..], key);
    }
}

/// Makes one server's frame of what has been appended to `out` since it was `start` long.
///
/// # Panics
/// If `start` is beyond the end of `out`.
pub fn frame_appended(out: &mut Vec<u8>, start: usize, opcode: Opcode) {
    header::of(opcode, true, false, out.len() - start, None).insert(out, start);
}

/// Appends a ping.
///
/// # Panics
/// If `payload` is longer than [`CONTROL_BYTES_MAX`].
pub fn ping(out: &mut Vec<u8>, payload: &[u8], key: Option<[u8; 4]>) {
    control(out, Opcode::Ping, payload, key);
}

/// Appends a pong; the answer to a ping has its payload.
///
/// # Panics
/// If `payload` is longer than [`CONTROL_BYTES_MAX`].
pub fn pong(out: &mut Vec<u8>, payload: &[u8], key: Option<[u8; 4]>) {
    control(out, Opcode::Pong, payload, key);
}

/// Appends a close frame: with `code` and as much of `reason` as fits, or empty without a code.
/// The answer to a close frame has its code.
///
/// # Panics
/// If `code` is one that must not be sent ([`close::may_be_sent`]).
pub fn close(out: &mut Vec<u8>, code: Option<u16>, reason: &str, key: Option<[u8; 4]>) {
    let Some(code) = code else { return control(out, Opcode::Close, &[], key) };
    assert!(close::may_be_sent(code), "close code {code} may not be sent");
    let reason = close::cut_reason(reason).as_bytes();
    let mut payload = [0; CONTROL_BYTES_MAX];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason);
    control(out, Opcode::Close, &payload[..2 + reason.len()], key);
}

fn control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "control payload of {} bytes", payload.len());
    frame(out, opcode, true, false, payload, key);
}
