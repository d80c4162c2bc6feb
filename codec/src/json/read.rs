//! JSON text to message.

use super::{
    Wrong,
    object::{Object, Scalar, cut},
    terms,
};
use crate::{
    code,
    frame::FLAG_PAGE,
    message::{
        Acknowledge, Beat, Class, Error, GoAway, Head, Hello, Level, Message, NAME_BYTES_MAX,
        Notify, NotifyAcknowledge, Page, Receipt, Request, SYNC_LIMIT_MAX, Sync, VERSION, Welcome,
    },
};

/// Entries of a page whose question names no number: a screen and what follows it.
const SYNC_LIMIT: u64 = 50;

/// Types of messages, named in errors.
const TYPES: &str = "hello, welcome, request, acknowledge, notify, notify_acknowledge, head, \
                     sync, page, receipt, ping, pong, go_away or error";

/// A text that was read, and lends the message in it.
#[derive(Clone, Debug)]
pub struct Parsed<'a> {
    object: Object<'a>,
    kind: Kind,
    /// What stood in the message's one member of base64.
    bytes: Option<Vec<u8>>,
    /// Channel on which the answer comes back.
    pub channel: u16,
    /// [`FLAG_PAGE`] or 0.
    pub flags: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hello,
    Welcome,
    Request,
    Acknowledge,
    Notify,
    NotifyAcknowledge,
    Head,
    Sync,
    Page,
    Receipt,
    Ping,
    Pong,
    GoAway,
    Error,
}

impl Kind {
    /// The type's name with the dot that stands before a member's in errors.
    fn of(name: &str) -> Option<(Self, &'static str)> {
        Some(match name {
            "hello" => (Self::Hello, "hello."),
            "welcome" => (Self::Welcome, "welcome."),
            "request" => (Self::Request, "request."),
            "acknowledge" => (Self::Acknowledge, "acknowledge."),
            "notify" => (Self::Notify, "notify."),
            "notify_acknowledge" => (Self::NotifyAcknowledge, "notify_acknowledge."),
            "head" => (Self::Head, "head."),
            "sync" => (Self::Sync, "sync."),
            "page" => (Self::Page, "page."),
            "receipt" => (Self::Receipt, "receipt."),
            "ping" => (Self::Ping, "ping."),
            "pong" => (Self::Pong, "pong."),
            "go_away" => (Self::GoAway, "go_away."),
            "error" => (Self::Error, "error."),
            _ => return None,
        })
    }
}

impl<'a> Parsed<'a> {
    /// Reads the text of one message. Its length is the caller's to bound, by
    /// [`super::text_bytes_max`] of the longest body taken.
    ///
    /// # Errors
    /// No JSON object, an unknown type, or base64 that is none.
    pub fn read(text: &'a str) -> Result<Self, Wrong> {
        let mut object = Object::read(text)?;
        let name = object.required_text("type").map_err(|mut wrong| {
            wrong.text = format!("type: must be one of {TYPES}");
            wrong
        })?;
        let Some((kind, what)) = Kind::of(name) else {
            let text = format!("type: {:?}, must be one of {TYPES}", cut(name, 32));
            return Err(Wrong { code: code::UNKNOWN_KIND, text });
        };
        object.what = what;
        Self::of(object, kind)
    }

    /// Reads the text of a hello, whose type need not be named.
    pub(crate) fn untyped_hello(text: &'a str) -> Result<Self, Wrong> {
        Self::of(Object::read(text)?, Kind::Hello)
    }

    fn of(object: Object<'a>, kind: Kind) -> Result<Self, Wrong> {
        let bytes = match kind {
            Kind::Hello | Kind::Welcome => bytes_of(&object, "resume_token")?,
            Kind::Request | Kind::Notify => bytes_of(&object, "body")?,
            _ => None,
        };
        let channel = object.number("channel", 0, u16::MAX.into())?.unwrap_or(0) as u16;
        let paged = kind == Kind::Notify && object.flag("page")?.unwrap_or(false);
        Ok(Self { object, kind, bytes, channel, flags: if paged { FLAG_PAGE } else { 0 } })
    }

    /// The message, within the ranges that [`crate::message::decode`] promises. `incarnation` is
    /// used where the client names none: for a hello one that the caller draws at random, for a
    /// request that of its connection, from which a message id is made that a repeat has as well.
    ///
    /// # Errors
    /// A member is missing, of the wrong type or out of range.
    pub fn message(&self, incarnation: u64) -> Result<Message<'_>, Wrong> {
        Ok(match self.kind {
            Kind::Hello => Message::Hello(self.hello(incarnation)?),
            Kind::Welcome => Message::Welcome(self.welcome()?),
            Kind::Request => Message::Request(self.request(incarnation)?),
            Kind::Acknowledge => Message::Acknowledge(Acknowledge {
                client_seq: self.u64("client_seq")?,
                sequence: self.u64("sequence")?,
                time_ms: self.u64("time_ms")?,
            }),
            Kind::Notify => Message::Notify(self.notify()?),
            Kind::NotifyAcknowledge => Message::NotifyAcknowledge(NotifyAcknowledge {
                number: self.object.required_number("number", 0, u64::MAX)?,
            }),
            Kind::Head => Message::Head(Head { head: self.u64("head")? }),
            Kind::Sync => Message::Sync(self.sync()?),
            Kind::Page => Message::Page(Page {
                request: self.u64("request")?,
                count: self.u16("count")?,
                head: self.u64("head")?,
                cursor: self.u64("cursor")?,
                floor: self.u64("floor")?,
                more: self.flag("more")?,
            }),
            Kind::Receipt => Message::Receipt(self.receipt()?),
            Kind::Ping => Message::Ping(Beat { next_ms: self.u32("next_ms")? }),
            Kind::Pong => Message::Pong(Beat { next_ms: self.u32("next_ms")? }),
            Kind::GoAway => Message::GoAway(GoAway {
                code: self.u16("code")?,
                retry_after_ms: self.u32("retry_after_ms")?,
                endpoint: self.text("endpoint")?,
            }),
            Kind::Error => Message::Error(Error {
                code: self.u16("code")?,
                text: self.text("text")?,
                retry_after_ms: self.u32("retry_after_ms")?,
                client_seq: self.u64("client_seq")?,
                fatal: self.flag("fatal")?,
            }),
        })
    }

    fn hello(&self, incarnation: u64) -> Result<Hello<'_>, Wrong> {
        let object = &self.object;
        let version = |name| {
            let version = object.number(name, 0, u16::MAX.into())?;
            Ok(version.map_or(VERSION, |version| version as u16))
        };
        Ok(Hello {
            version_min: version("version_min")?,
            version_max: version("version_max")?,
            realm: self.u32("realm")?,
            user: self.name("user")?,
            device: self.name("device")?,
            token: self.text("token")?,
            resume_token: self.bytes.as_deref().unwrap_or_default(),
            incarnation: object.number("incarnation", 1, u64::MAX)?.unwrap_or(incarnation.max(1)),
            class: match object.choice("class", &terms::CLASSES, 3)? {
                Some(0) => Class::Mobile,
                Some(2) => Class::Desktop,
                Some(3) => Class::Bot,
                Some(_) | None => Class::Web,
            },
            heartbeat_s: self.u16("heartbeat_s")?,
            cursor: object.number("cursor", 0, u64::MAX)?,
            rewind: self.flag("rewind")?,
            compression: self.u8("compression")?,
            agent: self.text("agent")?,
        })
    }

    fn welcome(&self) -> Result<Welcome<'_>, Wrong> {
        Ok(Welcome {
            version: self.u16("version")?,
            server_time_ms: self.u64("server_time_ms")?,
            heartbeat_s: self.u16("heartbeat_s")?,
            resume_token: self.bytes.as_deref().unwrap_or_default(),
            head: self.u64("head")?,
            cursor: self.u64("cursor")?,
            floor: self.u64("floor")?,
            frame_bytes_max: self.u32("frame_bytes_max")?,
            requests_max: self.u16("requests_max")?,
            compression: self.u8("compression")?,
        })
    }

    fn request(&self, incarnation: u64) -> Result<Request<'_>, Wrong> {
        let client_seq = self.object.required_number("client_seq", 1, u64::MAX)?;
        let (content, body) = content_and_body(&self.object, self.bytes.as_deref())?;
        Ok(Request {
            client_seq,
            after: self.u64("after")?,
            uuid: self.uuid()?.unwrap_or_else(|| terms::uuid_made(incarnation, client_seq)),
            to: self.name("to")?,
            level: level_of(&self.object)?,
            content,
            receipts: self.u8("receipts")?,
            first_attempt_ms: self.u64("first_attempt_ms")?,
            body,
        })
    }

    fn notify(&self) -> Result<Notify<'_>, Wrong> {
        let (content, body) = content_and_body(&self.object, self.bytes.as_deref())?;
        Ok(Notify {
            number: self.u64("number")?,
            conversation: self.name("conversation")?,
            sequence: self.u64("sequence")?,
            sender: self.name("sender")?,
            device: self.name("device")?,
            incarnation: self.u64("incarnation")?,
            client_seq: self.u64("client_seq")?,
            uuid: self.uuid()?.unwrap_or_default(),
            time_ms: self.u64("time_ms")?,
            content,
            receipts: self.u8("receipts")?,
            own: self.flag("own")?,
            body,
        })
    }

    fn sync(&self) -> Result<Sync, Wrong> {
        let limit = self.object.number("limit", 1, SYNC_LIMIT_MAX.into())?;
        let backward = self.flag("backward")?;
        // Without a number a preview begins with the newest.
        let start = if backward { u64::MAX } else { 0 };
        Ok(Sync {
            request: self.u64("request")?,
            after: self.object.number("after", 0, u64::MAX)?.unwrap_or(start),
            limit: limit.unwrap_or(SYNC_LIMIT) as u16,
            backward,
            since_ms: self.u64("since_ms")?,
        })
    }

    fn receipt(&self) -> Result<Receipt<'_>, Wrong> {
        let what = self.object.choice("what", &terms::WHATS, 2)?;
        match what {
            Some(what) if what > 0 => Ok(Receipt {
                conversation: self.name("conversation")?,
                what: what as u8,
                sequence: self.u64("sequence")?,
            }),
            what => {
                let found = what.map_or(Scalar::Null, Scalar::Number);
                Err(self.object.wrong("what", &found, "1, 2, \"delivered\" or \"read\""))
            }
        }
    }

    fn u64(&self, name: &str) -> Result<u64, Wrong> {
        Ok(self.object.number(name, 0, u64::MAX)?.unwrap_or(0))
    }

    fn u32(&self, name: &str) -> Result<u32, Wrong> {
        Ok(self.object.number(name, 0, u32::MAX.into())?.unwrap_or(0) as u32)
    }

    fn u16(&self, name: &str) -> Result<u16, Wrong> {
        Ok(self.object.number(name, 0, u16::MAX.into())?.unwrap_or(0) as u16)
    }

    fn u8(&self, name: &str) -> Result<u8, Wrong> {
        Ok(self.object.number(name, 0, u8::MAX.into())?.unwrap_or(0) as u8)
    }

    fn flag(&self, name: &str) -> Result<bool, Wrong> {
        Ok(self.object.flag(name)?.unwrap_or(false))
    }

    fn text(&self, name: &str) -> Result<&str, Wrong> {
        Ok(self.object.text(name)?.unwrap_or_default())
    }

    fn name(&self, name: &str) -> Result<&str, Wrong> {
        name_of(&self.object, name)
    }

    fn uuid(&self) -> Result<Option<[u8; 16]>, Wrong> {
        let Some(text) = self.object.text("uuid")? else { return Ok(None) };
        let wanted = "an id like \"01963d5c-0011-7abc-8def-1032547698ba\"";
        let found = Scalar::Text(text.into());
        let uuid = terms::uuid_of(text).ok_or_else(|| self.object.wrong("uuid", &found, wanted))?;
        Ok(Some(uuid))
    }
}

/// A name of at most [`NAME_BYTES_MAX`] bytes, empty if the member is not there.
pub(crate) fn name_of<'o>(object: &'o Object<'_>, name: &str) -> Result<&'o str, Wrong> {
    let text = object.text(name)?.unwrap_or_default();
    if text.len() > NAME_BYTES_MAX {
        let what = object.what;
        let text = format!("{what}{name}: {} bytes, allowed 0 to {NAME_BYTES_MAX}", text.len());
        return Err(Wrong { code: code::BAD_NAME, text });
    }
    Ok(text)
}

/// A member of base64, if it is there.
pub(crate) fn bytes_of(object: &Object<'_>, name: &str) -> Result<Option<Vec<u8>>, Wrong> {
    let Some(text) = object.text(name)? else { return Ok(None) };
    let wrong = || object.wrong(name, &Scalar::Text(text.into()), "base64");
    Ok(Some(terms::from_base64(text).ok_or_else(wrong)?))
}

/// A request's level.
pub(crate) fn level_of(object: &Object<'_>) -> Result<Level, Wrong> {
    Ok(match object.choice("level", &terms::LEVELS, 2)? {
        Some(0) => Level::Ephemeral,
        Some(2) => Level::Important,
        Some(_) | None => Level::Normal,
    })
}

/// The message itself: `text`, or `bytes` of the member `body`; and what kind of content it is.
pub(crate) fn content_and_body<'o>(
    object: &'o Object<'_>,
    bytes: Option<&'o [u8]>,
) -> Result<(u8, &'o [u8]), Wrong> {
    let text = object.text("text")?;
    let content = object.choice("content", &terms::CONTENTS, u8::MAX.into())?;
    let (default, body) = match (text, bytes) {
        (Some(_), Some(_)) => {
            let text = format!("{}body: not beside text", object.what);
            return Err(Wrong { code: code::BAD_REQUEST, text });
        }
        (Some(text), None) => (terms::CONTENT_TEXT, text.as_bytes()),
        (None, bytes) => (0, bytes.unwrap_or_default()),
    };
    Ok((content.unwrap_or(default) as u8, body))
}
