//! The upgrade from HTTP (RFC 6455 4): the server's side here, the client's in [`client`].
//!
//! The head has been parsed by the caller; what comes in are its method, version and fields. What
//! goes out is a whole head, 101 or a refusal. What is not here: which Origin is allowed, which
//! path does what, who may log in.

pub mod client;
mod refusal;

pub use refusal::Refusal;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use sha1::{Digest, Sha1};

use super::{
    deflate::Agreement,
    extension::{self, Extension},
};

/// Native frames as binary messages.
pub const PROTOCOL_NATIVE: &str = "hawser.v1";
/// The same operations as JSON text messages.
pub const PROTOCOL_JSON: &str = "hawser.json.v1";
/// MQTT packets as binary messages (MQTT 6.0: registered name).
pub const PROTOCOL_MQTT: &str = "mqtt";
/// What a browser, which cannot set other fields, writes its token behind, in base64url without
/// padding; it stands beside the sub-protocol it wants and is never chosen itself.
pub const PROTOCOL_TOKEN_PREFIX: &str = "hawser.token.";

/// The one version of the protocol (RFC 6455 4.1).
pub const VERSION: &str = "13";

/// Sub-protocols one request may offer: a client knows a few and one of them is its token.
pub const PROTOCOLS_MAX: usize = 16;
/// Extensions one request may offer, the offers of the same one counted: browsers send one, two.
pub const EXTENSIONS_MAX: usize = 16;

/// Bytes of the accept key: 20 of SHA-1 in base64.
const ACCEPT_BYTES: usize = 28;
/// Bytes of a key in base64.
const KEY_TEXT_BYTES: usize = 24;
/// RFC 6455 1.3.
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A client's request to upgrade; it exists only if it follows RFC 6455 4.2.1.
#[derive(Clone, Debug)]
pub struct Upgrade<'a> {
    /// The field `Host`.
    pub host: &'a [u8],
    /// The field `Origin`: whose page it is that connects; `None`: no browser.
    pub origin: Option<&'a [u8]>,
    /// Sub-protocols offered, in the client's order, tokens among them.
    pub protocols: Vec<&'a str>,
    /// Extensions offered, in the client's order.
    pub extensions: Vec<Extension<'a>>,
    accept: [u8; ACCEPT_BYTES],
}

/// The request's fields as they came, unchecked.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    origin: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    upgrades: bool,
    connection: bool,
    protocols: Vec<&'a str>,
    extensions: Vec<Extension<'a>>,
}

impl<'a> Upgrade<'a> {
    /// Reads a request by its method, the minor number of its HTTP/1 version, and its fields.
    ///
    /// # Errors
    /// [`Refusal`]; its answer is to be sent and the connection closed.
    pub fn read(
        method: &str,
        minor_version: u8,
        fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, Refusal> {
        if method != "GET" {
            return Err(Refusal::Method);
        }
        if minor_version < 1 {
            return Err(Refusal::HttpVersion);
        }
        let mut read = Fields::default();
        for (name, value) in fields {
            read.field(name, value)?;
        }
        let host = read.host.ok_or(Refusal::Missing("Host"))?;
        if !read.upgrades {
            return Err(Refusal::NoUpgrade);
        }
        if !read.connection {
            return Err(Refusal::Missing("Connection: Upgrade"));
        }
        if read.version.ok_or(Refusal::Version)? != VERSION.as_bytes() {
            return Err(Refusal::Version);
        }
        let key = read.key.ok_or(Refusal::Missing("Sec-WebSocket-Key"))?;
        let accept = accept(key).ok_or(Refusal::Key)?;
        let (protocols, extensions) = (read.protocols, read.extensions);
        Ok(Self { host, origin: read.origin, protocols, extensions, accept })
    }

    /// The first sub-protocol the client offers that is among `known`.
    pub fn choose(&self, known: &[&'static str]) -> Option<&'static str> {
        let mut known_offers =
            self.protocols.iter().filter_map(|offer| known.iter().find(|known| *known == offer));
        known_offers.next().copied()
    }

    /// The token carried as a sub-protocol, if there is one.
    ///
    /// # Errors
    /// [`Refusal::Token`] if it is not base64url of a text.
    pub fn token(&self) -> Result<Option<String>, Refusal> {
        let mut tokens =
            self.protocols.iter().filter_map(|offer| offer.strip_prefix(PROTOCOL_TOKEN_PREFIX));
        let Some(token) = tokens.next() else { return Ok(None) };
        let token = URL_SAFE_NO_PAD.decode(token).map_err(|_| Refusal::Token)?;
        String::from_utf8(token).map(Some).map_err(|_| Refusal::Token)
    }

    /// Appends the head of the answer that opens the connection (RFC 6455 4.2.2).
    ///
    /// # Panics
    /// If `protocol` was not offered: a client fails the connection then.
    pub fn put_answer(
        &self,
        out: &mut Vec<u8>,
        protocol: Option<&str>,
        agreement: Option<Agreement>,
    ) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&self.accept);
        if let Some(protocol) = protocol {
            assert!(self.protocols.contains(&protocol), "{protocol} was not offered");
            out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
            out.extend_from_slice(protocol.as_bytes());
        }
        if let Some(agreement) = agreement {
            out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
            agreement.put_answer(out);
        }
        out.extend_from_slice(b"\r\n\r\n");
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self, name: &str, value: &'a [u8]) -> Result<(), Refusal> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let value = value.trim_ascii();
        if is("Host") {
            return once(&mut self.host, value, "Host");
        }
        if is("Origin") {
            return once(&mut self.origin, value, "Origin");
        }
        if is("Sec-WebSocket-Key") {
            return once(&mut self.key, value, "Sec-WebSocket-Key");
        }
        if is("Sec-WebSocket-Version") {
            return once(&mut self.version, value, "Sec-WebSocket-Version");
        }
        if is("Upgrade") {
            self.upgrades |= has_word(value, b"websocket");
        } else if is("Connection") {
            self.connection |= has_word(value, b"upgrade");
        } else if is("Sec-WebSocket-Protocol") {
            protocols(value, &mut self.protocols)?;
        } else if is("Sec-WebSocket-Extensions") {
            extension::parse(value, &mut self.extensions).map_err(|_| Refusal::Extensions)?;
            if self.extensions.len() > EXTENSIONS_MAX {
                return Err(Refusal::Extensions);
            }
        }
        Ok(())
    }
}

fn once<'a>(
    place: &mut Option<&'a [u8]>,
    value: &'a [u8],
    name: &'static str,
) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Repeated(name)),
    }
}

/// A comma-separated list has the word, in whatever case.
fn has_word(value: &[u8], word: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|element| element.trim_ascii().eq_ignore_ascii_case(word))
}

/// Appends the sub-protocols of one field value: tokens that differ from each other.
fn protocols<'a>(value: &'a [u8], list: &mut Vec<&'a str>) -> Result<(), Refusal> {
    for element in value.split(|&byte| byte == b',') {
        let element = element.trim_ascii();
        let is_token = !element.is_empty() && element.iter().copied().all(extension::is_token_byte);
        let name = std::str::from_utf8(element).ok().filter(|_| is_token);
        let name = name.ok_or(Refusal::Protocols)?;
        if list.contains(&name) || list.len() == PROTOCOLS_MAX {
            return Err(Refusal::Protocols);
        }
        list.push(name);
    }
    Ok(())
}

/// The accept key that answers a request's key; `None` if that is no 16 bytes in base64.
fn accept(key: &[u8]) -> Option<[u8; ACCEPT_BYTES]> {
    let mut random = [0; 18];
    if key.len() != KEY_TEXT_BYTES || STANDARD.decode_slice(key, &mut random) != Ok(16) {
        return None;
    }
    let hash = Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX).finalize();
    let mut accept = [0; ACCEPT_BYTES];
    STANDARD.encode_slice(hash, &mut accept).expect("20 bytes are 28 in base64");
    Some(accept)
}

#[cfg(test)]
mod tests;
