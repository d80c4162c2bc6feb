//! Messages up: frames are taken as they come, whole messages go to the core that they are for.

use super::{Unfinished, rules};
use crate::{
    connection::{Connection, Flag, Protocol, State},
    cores::Cores,
    limits,
    outbound::Queue,
    session::{Ending, Farewell, Outlet, Stop, Taken},
    slab::Handle,
};
use hawser_codec::{
    code, json,
    websocket::{
        Event, Limits, Opcode, Role, Violation,
        close::{Close, code as close_code},
        header::{self, Header},
        mask, write,
    },
};

impl From<Violation> for Farewell {
    fn from(violation: Violation) -> Self {
        Self::saying(code::MALFORMED, violation.to_string())
            .ending(Ending::WebSocket(violation.close_code()))
    }
}

impl Cores {
    /// Takes frames, and gives whole messages on.
    pub(crate) fn on_websocket(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        let mut unfinished = take_aside(connection, handle, outlet);
        let mut payload = match unfinished.payload {
            Queue::NONE => outlet.pool.spare(),
            _ => outlet.pool.take(&mut unfinished.payload),
        };
        let part = (&mut unfinished, &mut payload);
        let taken = self.take_frames(connection, handle, bytes, budget, part, outlet);
        let is_full = outlet.marks.full && payload.len() > limits::RECEIVE_BUFFER_BYTES as usize;
        match unfinished.reader.is_idle() {
            true => outlet.pool.recycle(payload),
            false => {
                outlet.pool.put(&mut unfinished.payload, payload);
                outlet.pool.count(unfinished.payload);
                if is_full && taken.is_ok() {
                    put_aside(connection, handle, unfinished, outlet);
                    let text = "no room for an unfinished message";
                    return Err(Farewell::saying(code::OVERLOADED, text)
                        .retry_after(limits::OVERLOADED_RETRY_MS));
                }
            }
        }
        put_aside(connection, handle, unfinished, outlet);
        taken
    }

    fn take_frames(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        bytes: &[u8],
        budget: usize,
        (unfinished, payload): (&mut Unfinished, &mut Vec<u8>),
        outlet: &mut Outlet<'_>,
    ) -> Result<Taken, Farewell> {
        let limits = self.websocket().limits;
        let mut done = 0;
        if connection.flags.has(Flag::Waiting) {
            connection.flags.set(Flag::Waiting, false);
            let waiting = outlet.pool.take(&mut unfinished.inner);
            let stop = self.give(connection, handle, &waiting, budget, unfinished, outlet);
            outlet.pool.recycle(waiting);
            if let Some(stop) = stop? {
                return Ok(Taken { bytes: 0, stop });
            }
        }
        loop {
            if matches!(connection.state, State::Leaving | State::Closing) {
                return Ok(await_close(connection, bytes, unfinished, payload, limits));
            }
            if done < bytes.len() {
                if outlet.waiting(connection) > outlet.marks.read {
                    return Ok(Taken { bytes: done, stop: Stop::Pressure });
                }
                if done >= budget {
                    return Ok(Taken { bytes: done, stop: Stop::Budget });
                }
            }
            let rest = &bytes[done..];
            if connection.protocol == Protocol::WebSocketEcho
                && unfinished.reader.is_idle()
                && let Some(consumed) = echo_whole(connection, rest, limits, outlet)?
            {
                done += consumed;
                continue;
            }
            let step = unfinished.reader.step(&rules(connection, limits), rest, payload)?;
            done += step.consumed;
            match step.event {
                None => return Ok(Taken { bytes: done, stop: Stop::NeedMore }),
                Some(Event::Message { text, compressed: false }) => {
                    let left = budget.saturating_sub(done);
                    let part = (text, &payload[..]);
                    let stop = self.on_whole(connection, handle, part, left, unfinished, outlet)?;
                    if let Some(stop) = stop {
                        return Ok(Taken { bytes: done, stop });
                    }
                }
                Some(Event::Message { text, compressed: true }) => {
                    let mut inflated = outlet.pool.spare();
                    let bytes_max = limits.message_bytes_max;
                    let mut codec = outlet.faces.websockets.codec(connection, handle);
                    codec.inflate(payload, text, bytes_max, &mut inflated)?;
                    let left = budget.saturating_sub(done);
                    let part = (text, &inflated[..]);
                    let stop = self.on_whole(connection, handle, part, left, unfinished, outlet)?;
                    outlet.pool.recycle(inflated);
                    if let Some(stop) = stop {
                        return Ok(Taken { bytes: done, stop });
                    }
                }
                Some(Event::Ping(ping)) => {
                    let queue = outlet.pool.open(&mut connection.queued);
                    write::pong(queue, ping.as_bytes(), None);
                }
                Some(Event::Pong(_)) => {}
                Some(Event::Close(close)) => return Err(answer_close(connection, &close, outlet)),
            }
        }
    }

    /// A whole message, text or not.
    fn on_whole(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        (text, message): (bool, &[u8]),
        budget: usize,
        unfinished: &mut Unfinished,
        outlet: &mut Outlet<'_>,
    ) -> Result<Option<Stop>, Farewell> {
        match (connection.protocol, text) {
            (Protocol::WebSocketEcho, _) => {
                let opcode = if text { Opcode::Text } else { Opcode::Binary };
                let queue = outlet.pool.open(&mut connection.queued);
                outlet.faces.websockets.put(connection, handle, queue, opcode, message);
                Ok(None)
            }
            (Protocol::WebSocketJson, true) => {
                self.on_json(connection, handle, message, unfinished, outlet).map(|()| None)
            }
            (Protocol::WebSocketJson, false) => Err(unsupported("text is spoken here")),
            (_, true) => Err(unsupported("binary messages are spoken here")),
            (Protocol::WebSocketNative, false) if message.is_empty() => {
                Err(Farewell::saying(code::MALFORMED, "a message holds one frame at least"))
            }
            (_, false) => self.give(connection, handle, message, budget, unfinished, outlet),
        }
    }

    /// Bytes of a message for the core behind; what its turn has not come for is kept.
    fn give(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        message: &[u8],
        budget: usize,
        unfinished: &mut Unfinished,
        outlet: &mut Outlet<'_>,
    ) -> Result<Option<Stop>, Farewell> {
        let before = (unfinished.inner != Queue::NONE).then(|| {
            let mut before = outlet.pool.take(&mut unfinished.inner);
            before.extend_from_slice(message);
            before
        });
        let bytes = before.as_deref().unwrap_or(message);
        self.lend_token(unfinished);
        let taken = self.on_inner(connection, handle, bytes, budget.max(1), outlet);
        self.return_token(connection, unfinished);
        let stop = Self::keep_rest(connection, bytes, taken?, unfinished, outlet);
        if let Some(before) = before {
            outlet.pool.recycle(before);
        }
        stop
    }

    /// Keeps what the core behind has not taken.
    fn keep_rest(
        connection: &mut Connection,
        bytes: &[u8],
        taken: Taken,
        unfinished: &mut Unfinished,
        outlet: &mut Outlet<'_>,
    ) -> Result<Option<Stop>, Farewell> {
        let (rest, stop) = (&bytes[taken.bytes..], taken.stop);
        if rest.is_empty() {
            return Ok(None);
        }
        // MQTT in messages is a stream; a native frame stands whole in its message.
        if stop == Stop::NeedMore && connection.protocol == Protocol::WebSocketNative {
            let text = "a message ends within a frame";
            return Err(Farewell::saying(code::MALFORMED, text));
        }
        outlet.pool.open(&mut unfinished.inner).extend_from_slice(rest);
        outlet.pool.count(unfinished.inner);
        if stop == Stop::NeedMore {
            return Ok(None);
        }
        connection.flags.set(Flag::Waiting, true);
        Ok(Some(stop))
    }

    fn on_json(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        message: &[u8],
        unfinished: &mut Unfinished,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        let body_bytes_max = self.sessions().settings().frames.body_bytes_max as usize;
        if message.len() > json::text_bytes_max(body_bytes_max) {
            return Err(Farewell::of(code::FRAME_TOO_LONG));
        }
        let text = std::str::from_utf8(message).expect("the reader has checked it");
        let parsed = json::Parsed::read(text)?;
        let incarnation = match connection.state {
            State::Greeting => draw(handle, outlet),
            _ => connection.incarnation(),
        };
        let message = parsed.message(incarnation)?;
        self.lend_token(unfinished);
        let told =
            self.sessions_mut().on_message(connection, handle, parsed.channel, &message, outlet);
        self.return_token(connection, unfinished);
        told
    }

    /// A token that came with the upgrade is for the hello.
    fn lend_token(&mut self, unfinished: &mut Unfinished) {
        if unfinished.token.is_some() {
            self.sessions_mut().lend_token(unfinished.token.take());
        }
    }

    fn return_token(&mut self, connection: &Connection, unfinished: &mut Unfinished) {
        let token = self.sessions_mut().return_token();
        if connection.state == State::Greeting {
            unfinished.token = token;
        }
    }
}

impl From<json::Wrong> for Farewell {
    fn from(wrong: json::Wrong) -> Self {
        Self::saying(wrong.code, wrong.text)
    }
}

fn unsupported(text: &str) -> Farewell {
    Farewell::saying(code::UNEXPECTED_FRAME, text)
        .ending(Ending::WebSocket(close_code::UNSUPPORTED))
}

/// The client says good-bye: it is told the same, and that was all.
fn answer_close(connection: &mut Connection, close: &Close, outlet: &mut Outlet<'_>) -> Farewell {
    write::close(outlet.pool.open(&mut connection.queued), close.code, "", None);
    Farewell::silent()
}

/// We have said good-bye: what still comes is looked through for the client's own, which ends it.
fn await_close(
    connection: &mut Connection,
    bytes: &[u8],
    unfinished: &mut Unfinished,
    payload: &mut Vec<u8>,
    limits: Limits,
) -> Taken {
    let mut done = 0;
    // Bounded: every step but the last takes a frame.
    while connection.awaits_answer() {
        let step = unfinished.reader.step(&rules(connection, limits), &bytes[done..], payload);
        let Ok(step) = step else {
            connection.flags.set(Flag::Asked, false);
            break;
        };
        done += step.consumed;
        match step.event {
            None => return Taken { bytes: done, stop: Stop::NeedMore },
            Some(Event::Close(_)) => connection.flags.set(Flag::Asked, false),
            Some(_) => {}
        }
    }
    Taken { bytes: bytes.len(), stop: Stop::NeedMore }
}

/// An incarnation for a client that keeps no outbox: another one for each login, that is all it is
/// for.
fn draw(handle: Handle, outlet: &Outlet<'_>) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| (state ^ word).wrapping_mul(ODD).rotate_left(29);
    let words = [outlet.now.wall_ms, outlet.now.monotonic_us, handle.to_u64()];
    words.into_iter().fold(ODD, mix).max(1)
}

/// The usual message of an echo, whole and in one frame, goes straight from the received bytes to
/// the queue, and is unmasked there. `None`: it is not that, and the reader's.
fn echo_whole(
    connection: &mut Connection,
    bytes: &[u8],
    limits: Limits,
    outlet: &mut Outlet<'_>,
) -> Result<Option<usize>, Violation> {
    let Some(header) = Header::parse(Role::Server, bytes)? else { return Ok(None) };
    let is_plain = header.fin
        && header.reserved == 0
        && matches!(header.opcode, Opcode::Text | Opcode::Binary)
        && header.payload_bytes <= u64::from(limits.frame_bytes_max.min(limits.message_bytes_max))
        && connection.compression == 0;
    if !is_plain {
        return Ok(None);
    }
    let end = header.header_bytes + header.payload_bytes as usize;
    let Some(masked) = bytes.get(header.header_bytes..end) else { return Ok(None) };
    let queue = outlet.pool.open(&mut connection.queued);
    let before = header::of(header.opcode, true, false, masked.len(), None);
    queue.reserve(before.as_bytes().len() + masked.len());
    queue.extend_from_slice(before.as_bytes());
    let at = queue.len();
    queue.extend_from_slice(masked);
    mask::apply(&mut queue[at..], header.key);
    if header.opcode == Opcode::Text
        && let Err(error) = std::str::from_utf8(&queue[at..])
    {
        queue.truncate(at - before.as_bytes().len());
        return Err(Violation::NotUtf8 { at: error.valid_up_to() });
    }
    Ok(Some(end))
}

fn take_aside(connection: &mut Connection, handle: Handle, outlet: &mut Outlet<'_>) -> Unfinished {
    if !connection.flags.has(Flag::Aside) {
        return Unfinished::default();
    }
    connection.flags.set(Flag::Aside, false);
    outlet.faces.websockets.unfinished.remove(&handle.slot).unwrap_or_default()
}

pub(super) fn put_aside(
    connection: &mut Connection,
    handle: Handle,
    unfinished: Unfinished,
    outlet: &mut Outlet<'_>,
) {
    if unfinished.is_nothing() {
        return;
    }
    connection.flags.set(Flag::Aside, true);
    outlet.faces.websockets.unfinished.insert(handle.slot, unfinished);
}
