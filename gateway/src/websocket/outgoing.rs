//! Messages down: a header before what a core has just appended, and the last words.

use super::{Compression, WebSockets};
use crate::{
    connection::{Connection, Protocol},
    outbound::Pool,
    session::{Ending, Farewell},
    slab::Handle,
};
use hawser_codec::{
    code,
    frame::{self, FrameLimits, Step},
    json,
    websocket::{Opcode, close, write},
};

/// What our own core has encoded is whole, whatever its length.
const ANY_LENGTH: FrameLimits = FrameLimits { body_bytes_max: u32::MAX };

impl WebSockets {
    /// Makes a message of what stands from `at` on in the connection's queue.
    pub fn wrap(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        pool: &mut Pool,
        at: usize,
    ) {
        let is_text = connection.protocol == Protocol::WebSocketJson;
        if !is_text && connection.compression == 0 {
            return write::frame_appended(pool.open(&mut connection.queued), at, Opcode::Binary);
        }
        let mut payload = pool.spare();
        let queue = pool.open(&mut connection.queued);
        if is_text {
            if let Ok(Step::Frame { frame, .. }) = frame::step(&ANY_LENGTH, &queue[at..]) {
                json::put_frame(&mut payload, frame).expect("our own encoder's frames decode");
            }
        } else {
            payload.extend_from_slice(&queue[at..]);
        }
        queue.truncate(at);
        let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
        self.put(connection, handle, queue, opcode, &payload);
        pool.recycle(payload);
    }

    /// Appends one message, compressed if that was agreed and is worth it.
    pub fn put(
        &mut self,
        connection: &Connection,
        handle: Handle,
        out: &mut Vec<u8>,
        opcode: Opcode,
        payload: &[u8],
    ) {
        if connection.compression == 0 {
            return write::frame(out, opcode, true, false, payload, None);
        }
        debug_assert!(Compression(connection.compression).window_bits() > 0);
        self.codec(connection, handle).frame(out, opcode, payload, None);
    }
}

/// Appends the close frame of a farewell.
pub fn put_close(out: &mut Vec<u8>, farewell: &Farewell) {
    let code = match farewell.ending {
        Ending::WebSocket(code) => code,
        _ => close_code(farewell.code),
    };
    let reason = if farewell.code == 0 { "" } else { farewell.text() };
    write::close(out, Some(code), reason, None);
}

/// Close code (RFC 6455 section 7.4.1) nearest to a code of ours.
const fn close_code(code: u16) -> u16 {
    match code {
        0 => close::code::NORMAL,
        code::MALFORMED => close::code::INVALID_PAYLOAD,
        code::FRAME_TOO_LONG => close::code::TOO_BIG,
        400..=499 => close::code::TRY_AGAIN,
        500..=599 => close::code::GOING_AWAY,
        _ => close::code::POLICY,
    }
}
