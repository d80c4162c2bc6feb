//! Texts of long-poll and of event streams: what is asked, read from heads and bodies, and what is
//! answered, appended to the caller's buffer.
//!
//! ```text
//! POST /poll/session {user, device, …}          -> {"session":…,"cursor":…,"head":…,…}
//! GET  /poll?cursor=N&wait=S&limit=L            -> {"entries":[…],"cursor":…,"head":…}
//! POST /poll/send {to, text or body, …}         -> {"sequence":…,"time_ms":…}
//! POST /poll/close                              -> nothing
//! GET  /events                                  -> id: N, data: {…}
//! ```
//!
//! Members and messages are those of [`crate::json`]; the page is docs/protocol/http.md. Who waits
//! for what is the gateway's business.

use super::{Head, request::decimal};
use crate::{
    code,
    json::{
        self, Parsed, Wrong,
        object::{Object, cut},
        read, terms,
        write::Members,
    },
    message::{Acknowledge, Error, Hello, Message, Notify, Request, SYNC_LIMIT_MAX, Welcome},
};

/// Longest time a poll may wait, seconds: proxies give up on a silent request after sixty.
pub const WAIT_S_MAX: u64 = 55;
/// Entries of an answer whose question names no number.
const LIMIT: u64 = 50;
/// Of a value that is named in an error, so many characters are shown.
const SHOWN_CHARACTERS: usize = 40;

/// Body of `POST /poll/session`: a hello without its type.
#[derive(Clone, Debug)]
pub struct SessionAsked<'a>(Parsed<'a>);

impl<'a> SessionAsked<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// No JSON object, or a member that is wrong.
    pub fn read(text: &'a str) -> Result<Self, Wrong> {
        Ok(Self(Parsed::untyped_hello(text)?))
    }

    /// The hello. `incarnation` is taken as the session's own; `bearer` is the token of the
    /// Authorization field, which counts if the body has none.
    ///
    /// # Errors
    /// A member is of the wrong type or out of range.
    pub fn hello<'p>(
        &'p self,
        incarnation: u64,
        bearer: Option<&'p str>,
    ) -> Result<Hello<'p>, Wrong> {
        let Message::Hello(mut hello) = self.0.message(incarnation)? else {
            return Err(wrong("not a hello".into()));
        };
        if hello.token.is_empty() {
            hello.token = bearer.unwrap_or_default();
        }
        Ok(hello)
    }
}

/// Body of `POST /poll/send`: a request without its type and numbers.
#[derive(Clone, Debug)]
pub struct SendAsked<'a> {
    object: Object<'a>,
    bytes: Option<Vec<u8>>,
}

impl<'a> SendAsked<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// No JSON object, or base64 that is none.
    pub fn read(text: &'a str) -> Result<Self, Wrong> {
        let object = Object::read(text)?;
        let bytes = read::bytes_of(&object, "body")?;
        Ok(Self { object, bytes })
    }

    /// The request, its number 0: what makes it the same again is its message id alone.
    ///
    /// # Errors
    /// A member is missing, of the wrong type or out of range.
    pub fn request(&self, uuid: [u8; 16]) -> Result<Request<'_>, Wrong> {
        let object = &self.object;
        let (content, body) = read::content_and_body(object, self.bytes.as_deref())?;
        object.required_text("to")?;
        Ok(Request {
            client_seq: 0,
            after: 0,
            uuid,
            to: read::name_of(object, "to")?,
            level: read::level_of(object)?,
            content,
            receipts: object.number("receipts", 0, u8::MAX.into())?.unwrap_or(0) as u8,
            first_attempt_ms: 0,
            body,
        })
    }
}

/// Message id in the field Idempotency-Key, in quotes or without.
///
/// # Errors
/// It is missing or no UUID.
pub fn idempotency_key(head: &Head<'_>) -> Result<[u8; 16], Wrong> {
    const WANTED: &str = "must be a UUID like 01963d5c-0011-7abc-8def-1032547698ba";
    let value = head.field_text("idempotency-key").unwrap_or_default();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    terms::uuid_of(bare).ok_or_else(|| {
        let shown = cut(value, SHOWN_CHARACTERS);
        wrong(format!("Idempotency-Key: {shown:?}, {WANTED}"))
    })
}

/// Query of `GET /poll`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollAsked {
    /// Entries up to it are acknowledged, those above it are wanted.
    pub cursor: u64,
    /// Without any, wait so long for one, seconds.
    pub wait_s: u64,
    /// At most so many, 1 to 100.
    pub limit: u16,
}

impl PollAsked {
    /// Reads it.
    ///
    /// # Errors
    /// A parameter is missing or out of range.
    pub fn read(head: &Head<'_>) -> Result<Self, Wrong> {
        let cursor = number(head, "cursor", 0, u64::MAX)?;
        Ok(Self {
            cursor: cursor.ok_or_else(|| wrong("cursor: missing, must be a number".into()))?,
            wait_s: number(head, "wait", 0, WAIT_S_MAX)?.unwrap_or(0),
            limit: number(head, "limit", 1, SYNC_LIMIT_MAX.into())?.unwrap_or(LIMIT) as u16,
        })
    }
}

/// Number of the last event a client has, in the field Last-Event-ID that browsers send when they
/// come back, or else in the parameter `cursor`; `None` if it names none.
///
/// # Errors
/// It is no number.
pub fn last_event(head: &Head<'_>) -> Result<Option<u64>, Wrong> {
    match head.field("last-event-id").filter(|value| !value.is_empty()) {
        None => number(head, "cursor", 0, u64::MAX),
        Some(value) => match decimal(value) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong("Last-Event-ID: must be the number of an entry".into())),
        },
    }
}

/// The session handle, of the Authorization field or, for those who cannot set fields, of the
/// parameter `session`.
///
/// # Errors
/// 401 in [`status_of`] terms: there is none, or it is no base64.
pub fn session_handle(head: &Head<'_>) -> Result<Vec<u8>, Wrong> {
    let unauthenticated = |text: &str| Wrong { code: code::UNAUTHENTICATED, text: text.into() };
    let parameter = match head.parameter("session") {
        Ok(parameter) => parameter,
        Err(refused) => return Err(wrong(refused.text.into())),
    };
    let handle = head
        .bearer()
        .or(parameter.as_deref())
        .ok_or_else(|| unauthenticated("no session: Authorization: Bearer SESSION is missing"))?;
    match terms::from_base64(handle) {
        Some(bytes) if !bytes.is_empty() => Ok(bytes),
        Some(_) | None => Err(unauthenticated("the session is not one that this server gave")),
    }
}

fn number(head: &Head<'_>, name: &str, min: u64, max: u64) -> Result<Option<u64>, Wrong> {
    let Some(value) = head.parameter(name).map_err(|refused| wrong(refused.text.into()))? else {
        return Ok(None);
    };
    match json::object::digits_of(&value).filter(|_| !value.is_empty()) {
        Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
        Some(_) | None => {
            let shown = cut(&value, SHOWN_CHARACTERS);
            Err(wrong(format!("{name}: {shown:?}, allowed {min} to {max}")))
        }
    }
}

fn wrong(text: String) -> Wrong {
    Wrong { code: code::BAD_REQUEST, text }
}

/// Status that tells an error of the native protocol.
pub const fn status_of(error: u16) -> u16 {
    match error {
        code::FRAME_TOO_LONG => 413,
        code::TIMEOUT => 408,
        code::UNAUTHENTICATED | code::TOKEN_EXPIRED | code::KICKED => 401,
        code::REPLACED | code::SUPERSEDED | code::OUT_OF_ORDER => 409,
        code::NUMBER_REUSED => 422,
        code::TOO_OLD => 410,
        code::RATE_LIMITED => 429,
        400..=599 => 503,
        _ => 400,
    }
}

/// Appends the body that tells an error.
pub fn put_error(out: &mut Vec<u8>, error: &Error<'_>) {
    let mut object = Members::open(out);
    object.text("error", error.text);
    object.number("code", error.code.into());
    object.number("retry_after_ms", error.retry_after_ms.into());
    object.close();
    out.push(b'\n');
}

/// Appends the body that answers `POST /poll/session`.
pub fn put_session(out: &mut Vec<u8>, welcome: &Welcome<'_>) {
    let mut object = Members::open(out);
    object.quoted("session", |out| terms::put_base64_for_urls(out, welcome.resume_token));
    object.number("cursor", welcome.cursor);
    object.number("head", welcome.head);
    object.number("floor", welcome.floor);
    object.number("server_time_ms", welcome.server_time_ms);
    object.number("body_bytes_max", welcome.frame_bytes_max.into());
    object.close();
    out.push(b'\n');
}

/// Appends the body that answers `POST /poll/send`.
pub fn put_sent(out: &mut Vec<u8>, acknowledge: &Acknowledge) {
    let mut object = Members::open(out);
    object.number("sequence", acknowledge.sequence);
    object.number("time_ms", acknowledge.time_ms);
    object.close();
    out.push(b'\n');
}

/// Appends what stands before the entries of an answer to `GET /poll`.
pub fn open_entries(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"entries\":[");
}

/// Appends an entry.
pub fn put_entry(out: &mut Vec<u8>, is_first: bool, notify: &Notify<'_>) {
    if !is_first {
        out.push(b',');
    }
    out.push(b'\n');
    json::put(out, 0, 0, &Message::Notify(*notify));
}

/// Appends what stands behind the entries: the cursor to poll with next, and how far the mailbox
/// goes.
pub fn close_entries(out: &mut Vec<u8>, cursor: u64, head: u64) {
    out.extend_from_slice(b"],\n");
    let at = out.len();
    let mut object = Members::open(out);
    object.number("cursor", cursor);
    object.number("head", head);
    object.close();
    // Its members go on with the object that is open.
    out.remove(at);
    out.push(b'\n');
}

/// Appends an event: `id` is what the client names when it comes back, left out where it says
/// nothing new.
pub fn put_event(out: &mut Vec<u8>, id: Option<u64>, message: &Message<'_>) {
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    out.extend_from_slice(b"data: ");
    // JSON writes line ends within texts as escapes: one line it is.
    json::put(out, 0, 0, message);
    out.extend_from_slice(b"\n\n");
}

/// Appends a comment, which keeps the way open and says nothing.
pub fn put_comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b":\n\n");
}

#[cfg(test)]
mod tests;
