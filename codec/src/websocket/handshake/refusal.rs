//! Why an upgrade is refused, and the answer that says so.

use std::fmt;

use super::VERSION;

/// A request that opens no WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not GET.
    Method,
    /// HTTP/1.0.
    HttpVersion,
    /// No `Upgrade: websocket`: it was meant for something else.
    NoUpgrade,
    /// A field that must be there is not.
    Missing(&'static str),
    /// A field that must be there once is there again.
    Repeated(&'static str),
    /// Another version of the protocol, or none named.
    Version,
    /// A key that is no 16 bytes in base64.
    Key,
    /// Sub-protocols that are no list of tokens, or the same twice, or too many.
    Protocols,
    /// Extensions that are no list of extensions, or too many.
    Extensions,
    /// A token that is no base64url of a text.
    Token,
}

impl Refusal {
    /// HTTP status and its phrase.
    pub const fn status(&self) -> (u16, &'static str) {
        match self {
            Self::Method => (405, "Method Not Allowed"),
            Self::NoUpgrade | Self::Version => (426, "Upgrade Required"),
            Self::HttpVersion
            | Self::Missing(_)
            | Self::Repeated(_)
            | Self::Key
            | Self::Protocols
            | Self::Extensions
            | Self::Token => (400, "Bad Request"),
        }
    }

    /// Fields the status asks for.
    pub const fn fields(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Method => &[("Allow", "GET")],
            Self::NoUpgrade | Self::Version => {
                &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)]
            }
            _ => &[],
        }
    }

    /// Appends the whole answer; the connection is to be closed behind it.
    pub fn put_answer(&self, out: &mut Vec<u8>) {
        let (status, phrase) = self.status();
        let text = format!("{self}\n");
        let mut head = format!("HTTP/1.1 {status} {phrase}\r\n");
        for (name, value) in self.fields() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // The norm asks for the option `upgrade` with the field.
        let connection = if status == 426 { "upgrade, close" } else { "close" };
        head.push_str(&format!(
            "Connection: {connection}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            text.len()
        ));
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(text.as_bytes());
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("a WebSocket connection begins with GET"),
            Self::HttpVersion => f.write_str("a WebSocket connection needs HTTP/1.1"),
            Self::NoUpgrade => f.write_str("here is a WebSocket: Upgrade: websocket is missing"),
            Self::Missing(name) => write!(f, "{name} is missing"),
            Self::Repeated(name) => write!(f, "{name} is there more than once"),
            Self::Version => write!(f, "Sec-WebSocket-Version must be {VERSION}"),
            Self::Key => f.write_str("Sec-WebSocket-Key is no 16 bytes in base64"),
            Self::Protocols => {
                f.write_str("Sec-WebSocket-Protocol is no short list of different tokens")
            }
            Self::Extensions => f.write_str("Sec-WebSocket-Extensions is no short list"),
            Self::Token => f.write_str("the token among the sub-protocols is no base64url text"),
        }
    }
}

impl std::error::Error for Refusal {}
