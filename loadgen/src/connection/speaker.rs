//! How the messages of Hawser's protocol are written: as frames, or as WebSocket messages of
//! either sub-protocol.

use hawser_codec::{
    json,
    message::{Encoder, Message},
    websocket::{Opcode, write},
};

use crate::{identity::mix, scenario::Protocol, schedule::Random};

/// What a message becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// A frame in a stream that begins with a preface.
    Frames,
    /// A frame in a binary WebSocket message.
    BinaryMessages,
    /// JSON in a WebSocket text.
    TextMessages,
}

/// Writes messages for all connections of a worker.
#[derive(Debug)]
pub(super) struct Speaker {
    pub(super) dialect: Dialect,
    encoder: Encoder,
    /// Of one message, before it is masked.
    text: Vec<u8>,
    random: Random,
}

impl Speaker {
    /// Keys follow from `seed`: a run is repeated with the same ones.
    pub(super) fn new(protocol: Protocol, seed: u64) -> Self {
        let dialect = match protocol {
            Protocol::WebsocketNative => Dialect::BinaryMessages,
            Protocol::WebsocketJson => Dialect::TextMessages,
            Protocol::Native | Protocol::Echo | Protocol::Mqtt3 | Protocol::Mqtt5 => {
                Dialect::Frames
            }
        };
        Self { dialect, encoder: Encoder::new(), text: Vec::new(), random: Random(seed) }
    }

    /// Appends a message.
    pub(super) fn say(&mut self, outbound: &mut Vec<u8>, message: &Message<'_>) {
        let opcode = match self.dialect {
            Dialect::Frames => return self.encoder.message(outbound, 0, 0, message),
            Dialect::BinaryMessages => Opcode::Binary,
            Dialect::TextMessages => Opcode::Text,
        };
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        if opcode == Opcode::Binary {
            self.encoder.message(&mut text, 0, 0, message);
        } else {
            json::put(&mut text, 0, 0, message);
        }
        write::frame(outbound, opcode, true, false, &text, Some(self.mask()));
        self.text = text;
    }

    /// Key of one WebSocket frame. That it can be foretold harms nobody: masks protect proxies
    /// from the pages of a browser.
    pub(super) fn mask(&mut self) -> [u8; 4] {
        (self.random.bits() as u32).to_le_bytes()
    }

    /// Key of one WebSocket handshake of this connection: workers begin with the same seed, but
    /// hold different connections.
    pub(super) fn handshake_key(&mut self, index: u32) -> [u8; 16] {
        let (low, high) = (self.random.bits(), self.random.bits() ^ mix(index.into()));
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
    }
}
