//! WebSocket as a face: frames around what the native session core and the MQTT core take and say.
//!
//! ```text
//!  GET /ws ──▶ 101 ──▶ message ─▶ native frames ─▶ session core      (hawser.v1)
//!                            └──▶ JSON text ─────▶ session core      (hawser.json.v1)
//!  GET /mqtt ─▶ 101 ─▶ message ─▶ bytes ─────────▶ MQTT core
//!  GET /echo ─▶ 101 ─▶ message ─▶ the same message
//! ```
//!
//! What it is not: the codec ([`hawser_codec::websocket`]), and a session: who logs in, what is
//! sent and what is delivered is the cores' affair. Invariant: an idle connection has nothing here
//! but its place in the worker's table, unless it agreed to compression with context take-over.

mod incoming;
mod outgoing;
mod upgrade;

pub use outgoing::put_close;
pub use upgrade::PATHS;

use crate::{
    config::WebSocketConfig, connection::Connection, limits, outbound::Queue, slab::Handle,
};
use hashbrown::HashMap;
use hawser_codec::{
    http::OriginRule,
    websocket::{
        Limits, Reader, Role, Rules,
        deflate::{Agreement, Codec, Kept, Shared},
    },
};

/// Settings of WebSocket connections.
#[derive(Clone, Debug)]
pub struct WebSocketSettings {
    /// Longest frame and message taken.
    pub limits: Limits,
    /// permessage-deflate is agreed to if a client offers it.
    pub deflate: Option<DeflateSettings>,
    /// Pages that may connect.
    pub origins: OriginRule,
    /// `/echo` answers.
    pub echo: bool,
}

/// Settings of permessage-deflate (RFC 7692).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateSettings {
    /// From 1 (fast) to 9 (small).
    pub level: u8,
    /// Memory of the contexts of one worker's connections, bytes; beyond it connections are agreed
    /// with without context take-over, at 0 all of them.
    pub take_over_bytes_max: u64,
}

impl WebSocketSettings {
    /// As configured, for each of so many workers.
    pub fn of(config: &WebSocketConfig, workers: u32) -> Self {
        let kept_bytes_max = config.deflate_bytes_max / u64::from(workers.max(1));
        let deflate = DeflateSettings {
            level: limits::DEFLATE_LEVEL,
            take_over_bytes_max: if config.deflate_takeover { kept_bytes_max } else { 0 },
        };
        Self {
            limits: Limits {
                frame_bytes_max: config.frame_bytes_max,
                message_bytes_max: config.message_bytes_max,
            },
            deflate: config.deflate.then_some(deflate),
            origins: match config.origins.as_slice() {
                [] => OriginRule::Same,
                origins => OriginRule::Listed(origins.to_vec()),
            },
            echo: config.echo,
        }
    }
}

/// What is known of a connection's compression in one byte of it: the bits of the server's window,
/// and whether contexts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression(u8);

impl Compression {
    const TAKE_OVER: u8 = 0x80;

    fn of(agreement: Agreement, is_kept: bool) -> Self {
        Self(agreement.server().window_bits | if is_kept { Self::TAKE_OVER } else { 0 })
    }

    const fn is_kept(self) -> bool {
        self.0 & Self::TAKE_OVER != 0
    }

    const fn window_bits(self) -> u8 {
        self.0 & !Self::TAKE_OVER
    }
}

/// What a connection has in the table while it is in the midst of something.
#[derive(Default)]
struct Unfinished {
    /// Where in a message it is.
    reader: Reader,
    /// The message so far.
    payload: Queue,
    /// Payload of a whole message whose turn has not come, or the beginning of an MQTT packet.
    inner: Queue,
    /// Token given with the upgrade, for a hello that brings none.
    token: Option<Box<str>>,
}

impl Unfinished {
    fn is_nothing(&self) -> bool {
        self.reader.is_idle()
            && self.payload == Queue::NONE
            && self.inner == Queue::NONE
            && self.token.is_none()
    }
}

/// Contexts of a connection that agreed to take-over.
struct Context {
    agreement: Agreement,
    kept: Kept,
}

/// WebSocket connections of one worker that are not idle, and its compressors.
pub struct WebSockets {
    unfinished: HashMap<u32, Unfinished>,
    contexts: HashMap<u32, Context>,
    /// What the contexts may come to, bytes.
    contexts_bytes: u64,
    shared: Shared,
    level: u8,
    /// The shared compressors were used since they were looked at last.
    is_used: bool,
}

impl Default for WebSockets {
    fn default() -> Self {
        Self {
            unfinished: HashMap::new(),
            contexts: HashMap::new(),
            contexts_bytes: 0,
            shared: Shared::new(limits::DEFLATE_LEVEL),
            level: limits::DEFLATE_LEVEL,
            is_used: false,
        }
    }
}

impl WebSockets {
    /// Takes over the level of compression.
    pub fn take_over(&mut self, settings: &WebSocketSettings) {
        if let Some(deflate) = settings.deflate {
            self.level = deflate.level;
            self.shared = Shared::new(deflate.level);
        }
    }

    /// Called from time to time: compressors that nobody has used since the last time are given
    /// back, so that compression costs nothing where it is agreed on and not used.
    pub fn rest(&mut self) {
        if !std::mem::take(&mut self.is_used) && self.shared.bytes() > 0 {
            self.shared = Shared::new(self.level);
        }
    }

    /// Connections in the midst of a message.
    pub fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    /// Memory of compressors, bytes: the shared ones, and the contexts kept, at most.
    pub fn compressor_bytes(&self) -> u64 {
        self.shared.bytes() as u64 + self.contexts_bytes
    }

    fn codec(&mut self, connection: &Connection, handle: Handle) -> Codec<'_> {
        let compression = Compression(connection.compression);
        let context = match compression.is_kept() {
            true => self.contexts.get_mut(&handle.slot),
            false => None,
        };
        let (agreement, kept) = match context {
            Some(context) => (context.agreement, Some(&mut context.kept)),
            None => (Agreement::without_take_over(compression.window_bits()), None),
        };
        self.is_used = true;
        Codec { agreement, role: Role::Server, kept, shared: &mut self.shared }
    }

    /// The connection agreed to take-over.
    fn keep(&mut self, handle: Handle, agreement: Agreement) {
        let Some(kept) = Kept::new(agreement) else { return };
        self.contexts_bytes += Kept::bytes_max(agreement, Role::Server) as u64;
        self.contexts.insert(handle.slot, Context { agreement, kept });
    }

    /// The connection is gone; the buffers it had are the caller's to give back.
    pub fn forget(&mut self, connection: &Connection, handle: Handle) -> [Queue; 2] {
        if let Some(context) = self.contexts.remove(&handle.slot) {
            self.contexts_bytes -= Kept::bytes_max(context.agreement, Role::Server) as u64;
        }
        let is_aside = connection.flags.has(crate::connection::Flag::Aside);
        let unfinished = is_aside.then(|| self.unfinished.remove(&handle.slot)).flatten();
        unfinished.map_or([Queue::NONE; 2], |unfinished| [unfinished.payload, unfinished.inner])
    }
}

/// By what the bytes of a connection are judged.
const fn rules(connection: &Connection, limits: Limits) -> Rules {
    Rules { role: Role::Server, deflate: connection.compression != 0, limits }
}
