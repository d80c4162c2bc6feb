//! WebSocket as a layer: frames on one side, messages or a stream on the other (RFC 6455).
//!
//! ```text
//!  Opening --101--> Open --close frame--> Closed
//! ```
//!
//! No extension is offered. Not here: who answers pings and what a message means; the connection
//! asks for one event after the other ([`Websocket::step`]). Invariant: between messages nothing
//! is kept but the phase.

use hawser_codec::websocket::{
    Event, Limits, Opcode, Reader, Role, Rules,
    handshake::client::{Opened, Request},
    write,
};

use super::fault;

/// Longest message taken, bytes: what a Hawser server sends at most as shipped.
const MESSAGE_BYTES_MAX: u32 = 1 << 20;

/// Longest message that a stream is cut into, bytes: any server takes it.
const STREAM_MESSAGE_BYTES: usize = 16 * 1024;

/// A spare buffer that grew beyond this is not kept, bytes.
const SPARE_BYTES_MAX: usize = 64 * 1024;

const RULES: Rules = Rules {
    role: Role::Client,
    deflate: false,
    limits: Limits { frame_bytes_max: MESSAGE_BYTES_MAX, message_bytes_max: MESSAGE_BYTES_MAX },
};

/// What lies in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Each holds whole units of the protocol, and clients write the frames themselves.
    Messages,
    /// A stream: units may cross messages, and what clients write is put into binary ones.
    Stream,
}

/// Where a WebSocket is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Host and port, as the server is asked for.
    pub host: String,
    /// Path, beginning with `/`.
    pub path: String,
    /// What is offered, and must be chosen then.
    pub sub_protocol: Option<&'static str>,
    /// What lies in messages.
    pub framing: Framing,
}

impl Door {
    fn read_answer(&self, key: [u8; 16], bytes: &[u8]) -> Result<Option<usize>, u16> {
        let protocols: &[&str] = self.sub_protocol.as_slice();
        let answer = self.request(key, protocols).take_answer(bytes);
        let Some((opened, consumed)) = answer.map_err(fault::of_answer)? else { return Ok(None) };
        let Opened { protocol, .. } = opened;
        if protocol != self.sub_protocol {
            return Err(fault::SUB_PROTOCOL);
        }
        Ok(Some(consumed))
    }

    fn request<'a>(&'a self, key: [u8; 16], protocols: &'a [&'a str]) -> Request<'a> {
        Request { host: &self.host, path: &self.path, key, protocols, deflate: None, fields: &[] }
    }
}

/// What was found in the bytes given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The server agreed to the upgrade.
    Opened,
    /// What a frame or a message brought.
    Event(Event),
    /// More bytes are needed.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
    Closed,
}

/// What there is only while something is unfinished, and while bytes are read.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// Of the message that was found, or of the one under way.
    pub payload: Vec<u8>,
    /// Of the handshake.
    key: [u8; 16],
    /// Part of a head, a header or a control frame.
    rest: Vec<u8>,
    reader: Reader,
}

/// One connection's WebSocket.
#[derive(Debug)]
pub struct Websocket {
    unfinished: Option<Box<Unfinished>>,
    phase: Phase,
}

/// With the pointer to it, what the layer costs an idle connection; 48 bytes are promised.
const _: () = assert!(size_of::<Websocket>() + size_of::<Option<Box<Websocket>>>() <= 24);

impl Websocket {
    /// Begins with a request to upgrade; `key` differs for every connection.
    pub fn open(door: &Door, key: [u8; 16], outbound: &mut Vec<u8>) -> Self {
        door.request(key, door.sub_protocol.as_slice()).put(outbound);
        let unfinished = Unfinished { key, ..Unfinished::default() };
        Self { unfinished: Some(Box::new(unfinished)), phase: Phase::Opening }
    }

    /// Messages can be sent.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Nothing is unfinished.
    pub fn is_idle(&self) -> bool {
        self.unfinished.is_none() && self.is_open()
    }

    /// Begins to read: gives what was left, or the spare one, and all the bytes there are now if
    /// some of an earlier call are among them.
    pub fn begin(
        &mut self,
        bytes: &[u8],
        spare: &mut Option<Box<Unfinished>>,
    ) -> (Box<Unfinished>, Option<Vec<u8>>) {
        let kept = self.unfinished.take().or_else(|| spare.take());
        let mut unfinished = kept.unwrap_or_default();
        if unfinished.rest.is_empty() {
            return (unfinished, None);
        }
        let mut joined = std::mem::take(&mut unfinished.rest);
        joined.extend_from_slice(bytes);
        (unfinished, Some(joined))
    }

    /// Takes `bytes` up to the end of what is found first, and tells how many bytes those were.
    ///
    /// # Errors
    /// A code of [`fault`]; the connection is lost.
    pub fn step(
        &mut self,
        door: &Door,
        unfinished: &mut Unfinished,
        bytes: &[u8],
    ) -> Result<(usize, Found), u16> {
        match self.phase {
            Phase::Opening => {
                let taken = door.read_answer(unfinished.key, bytes)?;
                let Some(consumed) = taken else { return Ok((0, Found::Nothing)) };
                self.phase = Phase::Open;
                Ok((consumed, Found::Opened))
            }
            Phase::Open => {
                let reader = &mut unfinished.reader;
                let step = reader.step(&RULES, bytes, &mut unfinished.payload);
                let step = step.map_err(fault::of_violation)?;
                if let Some(Event::Close(_)) = step.event {
                    self.phase = Phase::Closed;
                }
                Ok((step.consumed, step.event.map_or(Found::Nothing, Found::Event)))
            }
            Phase::Closed => Ok((bytes.len(), Found::Nothing)),
        }
    }

    /// Ends reading: what is left is kept until more comes, and nothing if nothing is left.
    pub fn end(
        &mut self,
        mut unfinished: Box<Unfinished>,
        rest: &[u8],
        spare: &mut Option<Box<Unfinished>>,
    ) {
        let opening = self.phase == Phase::Opening;
        if rest.is_empty() && unfinished.reader.is_idle() && !opening {
            if unfinished.payload.capacity() > SPARE_BYTES_MAX {
                unfinished.payload = Vec::new();
            }
            *spare = Some(unfinished);
            return;
        }
        unfinished.rest.extend_from_slice(rest);
        self.unfinished = Some(unfinished);
    }
}

/// Puts a stream's bytes into messages; each frame takes a fresh key.
pub fn wrap(bytes: &[u8], mut key: impl FnMut() -> [u8; 4], outbound: &mut Vec<u8>) {
    for chunk in bytes.chunks(STREAM_MESSAGE_BYTES) {
        write::frame(outbound, Opcode::Binary, true, false, chunk, Some(key()));
    }
}
