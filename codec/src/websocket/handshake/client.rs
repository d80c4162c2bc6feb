//! The client's side of the upgrade (RFC 6455 4.1): a request, and the check of its answer.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use httparse::{EMPTY_HEADER, Status};

use super::{VERSION, accept, has_word, once};
use crate::{
    http::request::{FIELDS_MAX, HEAD_BYTES_MAX},
    websocket::{
        deflate::{Agreement, Answered},
        extension,
    },
};

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Host, and port unless it is the usual one.
    pub host: &'a str,
    /// Path and query, beginning with `/`.
    pub path: &'a str,
    /// 16 random bytes, fresh for each connection.
    pub key: [u8; 16],
    /// Sub-protocols, the best first; all different tokens.
    pub protocols: &'a [&'a str],
    /// Offer permessage-deflate; `Some(true)`: with context take-over.
    pub deflate: Option<bool>,
    /// Further fields, such as `Origin` or `Authorization`.
    pub fields: &'a [(&'a str, &'a str)],
}

/// What the server has agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Sub-protocol chosen.
    pub protocol: Option<&'a str>,
    /// Compression, if any.
    pub deflate: Option<Agreement>,
}

/// An answer that does not open the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// No head of an HTTP/1 answer, or one that is too long.
    NotHttp,
    /// Not 101; what it says is the caller's to read.
    Status(u16),
    /// No `Upgrade: websocket`.
    Upgrade,
    /// No `Connection: Upgrade`.
    Connection,
    /// An accept key that does not belong to the request's.
    Accept,
    /// A sub-protocol that was not offered, or more than one.
    Protocol,
    /// An extension, or a parameter of one, that was not offered.
    Extensions,
}

impl<'a> Request<'a> {
    /// Appends the head of the request.
    pub fn put(&self, out: &mut Vec<u8>) {
        let Self { host, path, .. } = self;
        let key = STANDARD.encode(self.key);
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {VERSION}\r\n"
        );
        if !self.protocols.is_empty() {
            let protocols = self.protocols.join(", ");
            head.push_str(&format!("Sec-WebSocket-Protocol: {protocols}\r\n"));
        }
        for (name, value) in self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        out.extend_from_slice(head.as_bytes());
        if let Some(take_over) = self.deflate {
            out.extend_from_slice(b"Sec-WebSocket-Extensions: ");
            Agreement::put_offer(out, take_over);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Takes the answer at the start of `bytes` and tells how many bytes it had; `None` while it
    /// is unfinished. It is parsed anew each time, which a limit of [`HEAD_BYTES_MAX`] keeps
    /// cheap; what begins otherwise than HTTP does is refused at its first byte.
    ///
    /// # Errors
    /// [`AnswerFault`]; the connection is to be closed.
    pub fn take_answer(&self, bytes: &[u8]) -> Result<Option<(Opened<'a>, usize)>, AnswerFault> {
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut answer = httparse::Response::new(&mut fields);
        let seen = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let consumed = match answer.parse(seen) {
            Ok(Status::Complete(consumed)) => consumed,
            Ok(Status::Partial) if seen.len() < HEAD_BYTES_MAX => return Ok(None),
            Ok(Status::Partial) | Err(_) => return Err(AnswerFault::NotHttp),
        };
        let status = answer.code.ok_or(AnswerFault::NotHttp)?;
        let fields = answer.headers.iter().map(|field| (field.name, field.value));
        Ok(Some((self.read_answer(status, fields)?, consumed)))
    }

    /// Reads the answer by its status and fields.
    ///
    /// # Errors
    /// [`AnswerFault`]; the connection is to be closed.
    pub fn read_answer<'b>(
        &self,
        status: u16,
        fields: impl IntoIterator<Item = (&'b str, &'b [u8])>,
    ) -> Result<Opened<'a>, AnswerFault> {
        if status != 101 {
            return Err(AnswerFault::Status(status));
        }
        let (mut upgrade, mut connection) = (false, false);
        let (mut accepted, mut protocol, mut extensions) = (None, None, Vec::new());
        for (name, value) in fields {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            let value = value.trim_ascii();
            if is("Upgrade") {
                upgrade |= value.eq_ignore_ascii_case(b"websocket");
            } else if is("Connection") {
                connection |= has_word(value, b"upgrade");
            } else if is("Sec-WebSocket-Accept") {
                once(&mut accepted, value, "").map_err(|_| AnswerFault::Accept)?;
            } else if is("Sec-WebSocket-Protocol") {
                once(&mut protocol, value, "").map_err(|_| AnswerFault::Protocol)?;
            } else if is("Sec-WebSocket-Extensions") {
                extension::parse(value, &mut extensions).map_err(|_| AnswerFault::Extensions)?;
            }
        }
        if !upgrade {
            return Err(AnswerFault::Upgrade);
        }
        if !connection {
            return Err(AnswerFault::Connection);
        }
        let expected = accept(STANDARD.encode(self.key).as_bytes());
        if accepted.is_none() || accepted != expected.as_ref().map(|accept| &accept[..]) {
            return Err(AnswerFault::Accept);
        }
        let protocol = match protocol {
            None => None,
            Some(chosen) => {
                let mut offers = self.protocols.iter().copied();
                let offer = offers.find(|offer| offer.as_bytes() == chosen);
                Some(offer.ok_or(AnswerFault::Protocol)?)
            }
        };
        let deflate = match (self.deflate, extensions.as_slice()) {
            (_, []) => None,
            (None, _) => return Err(AnswerFault::Extensions),
            (Some(take_over), list) => match Agreement::read_answer(list, take_over) {
                Some(Answered::Agreed(agreement)) => Some(agreement),
                Some(Answered::Declined) => None,
                None => return Err(AnswerFault::Extensions),
            },
        };
        Ok(Opened { protocol, deflate })
    }
}

impl fmt::Display for AnswerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str("no answer of HTTP/1.1"),
            Self::Status(status) => write!(f, "status {status} instead of 101"),
            Self::Upgrade => f.write_str("answer without Upgrade: websocket"),
            Self::Connection => f.write_str("answer without Connection: Upgrade"),
            Self::Accept => f.write_str("Sec-WebSocket-Accept does not belong to the key"),
            Self::Protocol => f.write_str("sub-protocol that was not offered"),
            Self::Extensions => f.write_str("extension that was not offered"),
        }
    }
}

impl std::error::Error for AnswerFault {}
