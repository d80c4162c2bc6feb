//! Agreeing on permessage-deflate (RFC 7692 5 and 7.1).

use std::num::NonZeroU8;

use crate::websocket::extension::Extension;

/// Name of the extension.
pub(crate) const NAME: &str = "permessage-deflate";

/// Base-2 logarithm of the largest window, bytes; agreed if nothing else is.
pub const WINDOW_BITS_MAX: u8 = 15;
/// The same of the smallest window our deflater can keep to. The norm also knows 8: a server
/// declines an offer that asks it for 8, a client asked for 8 sends everything uncompressed.
pub const WINDOW_BITS_MIN: u8 = 9;
const WINDOW_BITS_LOWEST: u8 = 8;

const SERVER_NO_TAKE_OVER: &str = "server_no_context_takeover";
const CLIENT_NO_TAKE_OVER: &str = "client_no_context_takeover";
const SERVER_WINDOW: &str = "server_max_window_bits";
const CLIENT_WINDOW: &str = "client_max_window_bits";

/// What a server agrees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Messages may refer to earlier ones, at [`super::KEPT_BYTES_MAX`] a connection. A caller
    /// that has no room for one more connection of this kind says `false` for it.
    pub take_over: bool,
}

/// What holds for the messages of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// A message may refer to earlier ones.
    pub take_over: bool,
    /// Base-2 logarithm of how far back it may refer, bytes.
    pub window_bits: u8,
}

const TAKE_OVER: u8 = 0x80;

/// permessage-deflate as both ends agreed on it; 2 bytes, also within an `Option`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    server: NonZeroU8,
    client: NonZeroU8,
}

const _: () = assert!(size_of::<Option<Agreement>>() == 2);

/// What a client makes of a server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The server does not compress.
    Declined,
    /// It does.
    Agreed(Agreement),
}

impl Agreement {
    fn new(server: Direction, client: Direction) -> Self {
        let pack = |direction: Direction| {
            let take_over = if direction.take_over { TAKE_OVER } else { 0 };
            NonZeroU8::new(direction.window_bits | take_over).expect("a window has at least 8 bits")
        };
        Self { server: pack(server), client: pack(client) }
    }

    /// Without context take-over, and with this window for what the server sends: all that a server
    /// must remember of such a connection is that one number.
    ///
    /// # Panics
    /// If the window has 0 bits.
    pub fn without_take_over(server_window_bits: u8) -> Self {
        let of = |window_bits| Direction { take_over: false, window_bits };
        Self::new(of(server_window_bits), of(WINDOW_BITS_MAX))
    }

    /// What the server sends.
    pub fn server(self) -> Direction {
        unpack(self.server)
    }

    /// What the client sends.
    pub fn client(self) -> Direction {
        unpack(self.client)
    }

    /// The first of a client's offers that can be accepted; `None`: nothing is compressed.
    pub fn accept(offers: &[Extension<'_>], settings: &Settings) -> Option<Self> {
        let offers = offers.iter().filter(|offer| offer.name == NAME);
        let mut valid = offers.filter_map(|offer| Parameters::read(offer, true));
        let offer = valid.find(|offer| offer.server_window_bits != Some(WINDOW_BITS_LOWEST))?;
        let server = Direction {
            take_over: settings.take_over && !offer.server_no_take_over,
            window_bits: offer.server_window_bits.unwrap_or(WINDOW_BITS_MAX),
        };
        // The offer only hints how the client will compress; unless we ask for less, and smaller
        // windows save an inflater nothing, it may always use the full one.
        let client = Direction {
            take_over: settings.take_over && !offer.client_no_take_over,
            window_bits: WINDOW_BITS_MAX,
        };
        Some(Self::new(server, client))
    }

    /// Appends what a server answers to the offer it has accepted.
    pub fn put_answer(self, out: &mut Vec<u8>) {
        out.extend_from_slice(NAME.as_bytes());
        let (server, client) = (self.server(), self.client());
        for (is_so, parameter) in
            [(!server.take_over, SERVER_NO_TAKE_OVER), (!client.take_over, CLIENT_NO_TAKE_OVER)]
        {
            if is_so {
                out.extend_from_slice(b"; ");
                out.extend_from_slice(parameter.as_bytes());
            }
        }
        // Only an offer that names it makes it less, so that it never answers what was not asked.
        if server.window_bits < WINDOW_BITS_MAX {
            out.extend_from_slice(format!("; {SERVER_WINDOW}={}", server.window_bits).as_bytes());
        }
    }

    /// Appends a client's offer; with `take_over` messages may refer to earlier ones.
    pub fn put_offer(out: &mut Vec<u8>, take_over: bool) {
        out.extend_from_slice(NAME.as_bytes());
        out.extend_from_slice(format!("; {CLIENT_WINDOW}").as_bytes());
        if !take_over {
            let parameters = format!("; {SERVER_NO_TAKE_OVER}; {CLIENT_NO_TAKE_OVER}");
            out.extend_from_slice(parameters.as_bytes());
        }
    }

    /// Reads a server's answer to [`Agreement::put_offer`]; `None`: it is no answer to that, and
    /// the handshake fails.
    pub fn read_answer(answer: &[Extension<'_>], take_over: bool) -> Option<Answered> {
        let answer = match answer {
            [] => return Some(Answered::Declined),
            [one] if one.name == NAME => Parameters::read(one, false)?,
            _ => return None,
        };
        if !take_over && !answer.server_no_take_over {
            return None;
        }
        let server = Direction {
            take_over: !answer.server_no_take_over,
            window_bits: answer.server_window_bits.unwrap_or(WINDOW_BITS_MAX),
        };
        let client = Direction {
            take_over: take_over && !answer.client_no_take_over,
            window_bits: answer.client_window_bits.unwrap_or(WINDOW_BITS_MAX),
        };
        Some(Answered::Agreed(Self::new(server, client)))
    }
}

fn unpack(packed: NonZeroU8) -> Direction {
    let packed = packed.get();
    Direction { take_over: packed & TAKE_OVER != 0, window_bits: packed & !TAKE_OVER }
}

/// The parameters of one offer or answer.
#[derive(Default)]
struct Parameters {
    server_no_take_over: bool,
    client_no_take_over: bool,
    server_window_bits: Option<u8>,
    client_window_bits: Option<u8>,
}

impl Parameters {
    /// `None` if one is unknown, there twice, or has a value it must not have.
    fn read(extension: &Extension<'_>, is_offer: bool) -> Option<Self> {
        let mut parameters = Self::default();
        for (at, (name, value)) in extension.parameters.iter().enumerate() {
            if extension.parameters[..at].iter().any(|(earlier, _)| earlier == name) {
                return None;
            }
            match (*name, value.as_deref()) {
                (SERVER_NO_TAKE_OVER, None) => parameters.server_no_take_over = true,
                (CLIENT_NO_TAKE_OVER, None) => parameters.client_no_take_over = true,
                (SERVER_WINDOW, Some(value)) => {
                    parameters.server_window_bits = Some(window_bits(value)?);
                }
                (CLIENT_WINDOW, Some(value)) => {
                    parameters.client_window_bits = Some(window_bits(value)?);
                }
                (CLIENT_WINDOW, None) if is_offer => {}
                _ => return None,
            }
        }
        Some(parameters)
    }
}

/// A decimal number from 8 to 15 without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    let known = ["8", "9", "10", "11", "12", "13", "14", "15"];
    let place = known.iter().position(|known| *known == value)?;
    Some(WINDOW_BITS_LOWEST + place as u8)
}
