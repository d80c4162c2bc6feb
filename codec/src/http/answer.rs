//! Answers, appended to the caller's buffer: whole, or as a stream of events.

use std::{fmt::Display, io::Write};

use super::{Head, Refused, Version, date::Date};

/// Digits of a chunk's length, with leading zeros: it is filled in when the chunk is complete.
const CHUNK_DIGITS: usize = 8;

/// Short text of a status this server uses (RFC 9110 section 15).
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

/// What an answer must know of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its version.
    pub version: Version,
    /// The connection stays open behind the answer.
    pub keep_alive: bool,
    /// The method was HEAD: fields only.
    pub head_only: bool,
}

impl Asked {
    /// Of a request that was understood.
    pub fn of(head: &Head<'_>) -> Self {
        let (version, keep_alive) = (head.version, head.keep_alive);
        Self { version, keep_alive, head_only: head.method == "HEAD" }
    }

    /// Of bytes that were no request: answered and closed.
    pub const MALFORMED: Self =
        Self { version: Version::Http11, keep_alive: false, head_only: false };

    /// The same, but the connection ends.
    #[must_use]
    pub const fn closing(self) -> Self {
        Self { keep_alive: false, ..self }
    }
}

/// An answer under way: status line and fields, then one of [`Answer::body`], [`Answer::empty`],
/// [`Answer::chunked`] or [`Answer::events`]. Dropped before, it leaves half a head in the buffer.
#[must_use]
#[derive(Debug)]
pub struct Answer<'o> {
    out: &'o mut Vec<u8>,
    asked: Asked,
    status: u16,
}

impl<'o> Answer<'o> {
    /// Begins an answer of this status at this wall time, milliseconds.
    pub fn begin(out: &'o mut Vec<u8>, asked: Asked, status: u16, wall_ms: u64) -> Self {
        let mut answer = Self { out, asked, status };
        answer.write(format_args!("HTTP/1.1 {status} {}\r\n", reason(status)));
        answer.field("Date", Date(wall_ms));
        answer
    }

    /// Adds a field. Neither part may hold a line break: what peers sent has been checked by
    /// [`super::request::step`].
    pub fn field(&mut self, name: &str, value: impl Display) {
        self.write(format_args!("{name}: {value}\r\n"));
    }

    /// Ends the answer with a body.
    pub fn body(mut self, content_type: &str, body: &[u8]) {
        self.field("Content-Type", content_type);
        self.field("Content-Length", body.len());
        self.end_head();
        if !self.asked.head_only {
            self.out.extend_from_slice(body);
        }
    }

    /// Ends the answer without a body.
    pub fn empty(mut self) {
        // RFC 9110 section 8.6: none in a 1xx or 204.
        if self.status >= 200 && self.status != 204 {
            self.field("Content-Length", 0);
        }
        self.end_head();
    }

    /// Ends the head; what follows is an event stream (HTML standard, section 9.2).
    pub fn events(mut self) {
        // Proxies that gather answers would hold events back.
        self.field("X-Accel-Buffering", "no");
        self.chunked("text/event-stream");
    }

    /// Ends the head; what follows comes in chunks or, for HTTP/1.0, until the connection closes.
    pub fn chunked(mut self, content_type: &str) {
        self.field("Content-Type", content_type);
        self.field("Cache-Control", "no-store");
        match self.asked.version {
            Version::Http11 => self.field("Transfer-Encoding", "chunked"),
            Version::Http10 => self.asked.keep_alive = false,
        }
        self.end_head();
    }

    fn end_head(&mut self) {
        if !self.asked.keep_alive {
            self.field("Connection", "close");
        } else if self.asked.version == Version::Http10 {
            self.field("Connection", "keep-alive");
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a Vec takes every byte");
    }
}

/// Appends `100 Continue`: the client may send its body.
pub fn put_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Appends a whole answer to a request that was refused, its text as JSON `{"error":…}`.
pub fn put_refused(out: &mut Vec<u8>, asked: Asked, refused: &Refused, wall_ms: u64) {
    let body = format!("{{\"error\":\"{}\"}}\n", refused.text);
    Answer::begin(out, asked, refused.status, wall_ms).body("application/json", body.as_bytes());
}

/// Opens a chunk of a stream that [`Answer::chunked`] began; what is appended until
/// [`close_chunk`] is its content. For HTTP/1.0 it writes nothing.
#[must_use]
pub fn open_chunk(out: &mut Vec<u8>, version: Version) -> Chunk {
    if version == Version::Http11 {
        out.extend_from_slice(&[b'0'; CHUNK_DIGITS]);
        out.extend_from_slice(b"\r\n");
    }
    Chunk { content_at: out.len(), version }
}

/// A chunk that [`open_chunk`] began.
#[derive(Debug)]
pub struct Chunk {
    content_at: usize,
    version: Version,
}

/// Ends a chunk. An empty one leaves no trace, since it would end the stream.
pub fn close_chunk(out: &mut Vec<u8>, chunk: Chunk) {
    if chunk.version == Version::Http10 {
        return;
    }
    let digits_at = chunk.content_at - CHUNK_DIGITS - 2;
    let content_bytes = out.len() - chunk.content_at;
    if content_bytes == 0 {
        out.truncate(digits_at);
        return;
    }
    write!(&mut out[digits_at..], "{content_bytes:08x}").expect("eight digits were left free");
    out.extend_from_slice(b"\r\n");
}

/// Ends a stream of chunks; the connection may take another request then.
pub fn end_chunks(out: &mut Vec<u8>, version: Version) {
    if version == Version::Http11 {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked = Asked { keep_alive: true, ..Asked::MALFORMED };

    #[test]
    fn an_answer_is_written_with_date_and_length() {
        let mut out = Vec::new();
        let mut answer = Answer::begin(&mut out, ASKED, 200, 784_111_777_000);
        answer.field("Retry-After", 3);
        answer.body("application/json", b"{}");
        let expected = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Retry-After: 3\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn head_and_empty_answers_have_no_body_and_the_last_one_says_so() {
        let mut out = Vec::new();
        Answer::begin(&mut out, Asked { head_only: true, ..ASKED }, 200, 0)
            .body("text/plain", b"ok");
        assert!(out.ends_with(b"Content-Length: 2\r\n\r\n"));
        out.clear();
        Answer::begin(&mut out, ASKED.closing(), 204, 0).empty();
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("GMT\r\nConnection: close\r\n\r\n"), "{text}");
    }

    #[test]
    fn events_come_in_chunks_whose_length_is_filled_in() {
        let mut out = Vec::new();
        let chunk = open_chunk(&mut out, Version::Http11);
        out.extend_from_slice(b"data: {\"n\":1}\n\n");
        close_chunk(&mut out, chunk);
        let empty = open_chunk(&mut out, Version::Http11);
        close_chunk(&mut out, empty);
        end_chunks(&mut out, Version::Http11);
        assert_eq!(out, b"0000000f\r\ndata: {\"n\":1}\n\n\r\n0\r\n\r\n");
    }

    #[test]
    fn http_1_0_gets_its_events_bare_and_a_closed_connection() {
        let mut out = Vec::new();
        let asked = Asked { version: Version::Http10, ..ASKED };
        Answer::begin(&mut out, asked, 200, 0).events();
        let chunk = open_chunk(&mut out, Version::Http10);
        out.extend_from_slice(b"data: 1\n\n");
        close_chunk(&mut out, chunk);
        end_chunks(&mut out, Version::Http10);
        let text = String::from_utf8(out).unwrap();
        assert!(text.ends_with("Connection: close\r\n\r\ndata: 1\n\n"), "{text}");
        assert!(!text.contains("chunked"));
    }
}
