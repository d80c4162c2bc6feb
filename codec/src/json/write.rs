//! Message to JSON text, appended to the caller's buffer.

use std::io::Write;

use super::{NUMBER_MAX, terms};
use crate::{
    frame::{FLAG_PAGE, Frame},
    malformed::Malformed,
    message::{self, Error, Hello, Message, Notify, Page, Request, Welcome},
};

/// Appends the message in a native frame.
///
/// # Errors
/// As [`message::decode`]; nothing has been appended then.
pub fn put_frame(out: &mut Vec<u8>, frame: Frame<'_>) -> Result<(), Malformed> {
    put(out, frame.channel, frame.flags, &message::decode(frame)?);
    Ok(())
}

/// Appends a message. Numbers, flags and words are always written; empty texts and bytes, channel 0
/// and a page flag that is not set are left out.
pub fn put(out: &mut Vec<u8>, channel: u16, flags: u8, message: &Message<'_>) {
    let mut object = Members::open(out);
    match message {
        Message::Hello(hello) => put_hello(&mut object, hello),
        Message::Welcome(welcome) => put_welcome(&mut object, welcome),
        Message::Request(request) => put_request(&mut object, request),
        Message::Acknowledge(acknowledge) => {
            object.word("type", "acknowledge");
            object.number("client_seq", acknowledge.client_seq);
            object.number("sequence", acknowledge.sequence);
            object.number("time_ms", acknowledge.time_ms);
        }
        Message::Notify(notify) => {
            object.word("type", "notify");
            put_notify(&mut object, notify);
            if flags & FLAG_PAGE != 0 {
                object.flag("page", true);
            }
        }
        Message::NotifyAcknowledge(acknowledge) => {
            object.word("type", "notify_acknowledge");
            object.number("number", acknowledge.number);
        }
        Message::Head(head) => {
            object.word("type", "head");
            object.number("head", head.head);
        }
        Message::Sync(sync) => {
            object.word("type", "sync");
            object.number("request", sync.request);
            object.number("after", sync.after);
            object.number("limit", sync.limit.into());
            object.flag("backward", sync.backward);
            object.number("since_ms", sync.since_ms);
        }
        Message::Page(page) => put_page(&mut object, page),
        Message::Receipt(receipt) => {
            object.word("type", "receipt");
            object.text("conversation", receipt.conversation);
            object.choice("what", &terms::WHATS, receipt.what);
            object.number("sequence", receipt.sequence);
        }
        Message::Ping(beat) => {
            object.word("type", "ping");
            object.number("next_ms", beat.next_ms.into());
        }
        Message::Pong(beat) => {
            object.word("type", "pong");
            object.number("next_ms", beat.next_ms.into());
        }
        Message::GoAway(go_away) => {
            object.word("type", "go_away");
            object.number("code", go_away.code.into());
            object.number("retry_after_ms", go_away.retry_after_ms.into());
            object.text("endpoint", go_away.endpoint);
        }
        Message::Error(error) => put_error(&mut object, error),
    }
    if channel != 0 {
        object.number("channel", channel.into());
    }
    object.close();
}

fn put_hello(object: &mut Members<'_>, hello: &Hello<'_>) {
    object.word("type", "hello");
    object.number("version_min", hello.version_min.into());
    object.number("version_max", hello.version_max.into());
    object.number("realm", hello.realm.into());
    object.text("user", hello.user);
    object.text("device", hello.device);
    object.text("token", hello.token);
    object.bytes("resume_token", hello.resume_token, terms::put_base64_for_urls);
    object.number("incarnation", hello.incarnation);
    object.choice("class", &terms::CLASSES, hello.class as u8);
    object.number("heartbeat_s", hello.heartbeat_s.into());
    if let Some(cursor) = hello.cursor {
        object.number("cursor", cursor);
    }
    object.flag("rewind", hello.rewind);
    object.number("compression", hello.compression.into());
    object.text("agent", hello.agent);
}

fn put_welcome(object: &mut Members<'_>, welcome: &Welcome<'_>) {
    object.word("type", "welcome");
    object.number("version", welcome.version.into());
    object.number("server_time_ms", welcome.server_time_ms);
    object.number("heartbeat_s", welcome.heartbeat_s.into());
    object.bytes("resume_token", welcome.resume_token, terms::put_base64_for_urls);
    object.number("head", welcome.head);
    object.number("cursor", welcome.cursor);
    object.number("floor", welcome.floor);
    object.number("frame_bytes_max", welcome.frame_bytes_max.into());
    object.number("requests_max", welcome.requests_max.into());
    object.number("compression", welcome.compression.into());
}

fn put_request(object: &mut Members<'_>, request: &Request<'_>) {
    object.word("type", "request");
    object.number("client_seq", request.client_seq);
    object.number("after", request.after);
    object.uuid("uuid", &request.uuid);
    object.text("to", request.to);
    object.choice("level", &terms::LEVELS, request.level as u8);
    object.choice("content", &terms::CONTENTS, request.content);
    object.number("receipts", request.receipts.into());
    object.number("first_attempt_ms", request.first_attempt_ms);
    object.body(request.body);
}

/// Writes the members of an entry, but for its type.
pub(crate) fn put_notify(object: &mut Members<'_>, notify: &Notify<'_>) {
    object.number("number", notify.number);
    object.text("conversation", notify.conversation);
    object.number("sequence", notify.sequence);
    object.text("sender", notify.sender);
    object.text("device", notify.device);
    object.number("incarnation", notify.incarnation);
    object.number("client_seq", notify.client_seq);
    object.uuid("uuid", &notify.uuid);
    object.number("time_ms", notify.time_ms);
    object.choice("content", &terms::CONTENTS, notify.content);
    object.number("receipts", notify.receipts.into());
    object.flag("own", notify.own);
    object.body(notify.body);
}

fn put_page(object: &mut Members<'_>, page: &Page) {
    object.word("type", "page");
    object.number("request", page.request);
    object.number("count", page.count.into());
    object.number("head", page.head);
    object.number("cursor", page.cursor);
    object.number("floor", page.floor);
    object.flag("more", page.more);
}

fn put_error(object: &mut Members<'_>, error: &Error<'_>) {
    object.word("type", "error");
    object.number("code", error.code.into());
    object.text("text", error.text);
    object.number("retry_after_ms", error.retry_after_ms.into());
    object.number("client_seq", error.client_seq);
    object.flag("fatal", error.fatal);
}

/// An object under way.
#[derive(Debug)]
pub(crate) struct Members<'o> {
    pub(crate) out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Members<'o> {
    /// Begins an object.
    pub(crate) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Ends it.
    pub(crate) fn close(self) {
        self.out.push(b'}');
    }

    /// Begins a member. Names are the program's own and need no escapes.
    pub(crate) fn name(&mut self, name: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(crate) fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        let written = if number > NUMBER_MAX {
            write!(self.out, "\"{number}\"")
        } else {
            write!(self.out, "{number}")
        };
        written.expect("a Vec takes every byte");
    }

    pub(crate) fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    /// A text of the program's own that needs no escapes.
    pub(crate) fn word(&mut self, name: &str, word: &str) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
    }

    /// A text, unless it is empty.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.name(name);
            serde_json::to_writer(&mut *self.out, text).expect("a Vec takes every byte");
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8], put: fn(&mut Vec<u8>, &[u8])) {
        if !bytes.is_empty() {
            self.quoted(name, |out| put(out, bytes));
        }
    }

    /// A text in quotes that needs no escapes, written by `put`.
    pub(crate) fn quoted(&mut self, name: &str, put: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        self.out.push(b'"');
        put(self.out);
        self.out.push(b'"');
    }

    fn uuid(&mut self, name: &str, uuid: &[u8; 16]) {
        self.quoted(name, |out| terms::put_uuid(out, uuid));
    }

    fn choice(&mut self, name: &str, words: &[&str], number: u8) {
        match words.get(usize::from(number)) {
            Some(word) if !word.is_empty() => self.word(name, word),
            Some(_) | None => self.number(name, number.into()),
        }
    }

    /// The message itself, as text if it is one that escapes cannot make much longer.
    pub(crate) fn body(&mut self, body: &[u8]) {
        match std::str::from_utf8(body) {
            Ok(text) if !body.iter().any(|byte| is_odd(*byte)) => self.text("text", text),
            Ok(_) | Err(_) => self.bytes("body", body, terms::put_base64),
        }
    }
}

/// Control characters that JSON writes with six bytes; tabs and line ends take two.
fn is_odd(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')
}
