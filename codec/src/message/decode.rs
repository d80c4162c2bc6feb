//! Frame to message: the body is verified once, here, and never looked at with doubt again.

mod plain;

use flatbuffers::{Follow, Verifiable, VerifierOptions, root_with_opts};

use super::{
    Acknowledge, Beat, Class, Error, GoAway, Head, Hello, Level, Message, NAME_BYTES_MAX, Notify,
    NotifyAcknowledge, Page, RECEIPT_WHAT_MAX, Receipt, Request, SYNC_LIMIT_MAX, Sync, Welcome,
};
use crate::frame::{FLAG_COMPRESSED, FLAG_OPTIONAL, Frame, kind};
use crate::generated as table;
use crate::malformed::Malformed;

/// How often the bytes of a body may be reached, on average: an honest encoder may let several
/// fields share one text, a hostile one lets all of them share a huge one to waste our time.
const BODY_SHARING_MAX: usize = 4;
/// Allowance for offsets and field tables, which the verifier reads more than once; bytes.
const BODY_TABLE_BYTES: usize = 256;

/// Reads the message in `frame`.
///
/// What comes back is within its documented ranges: texts are UTF-8, names at most
/// [`NAME_BYTES_MAX`] bytes. Names may be empty: whether that is allowed depends on the state.
///
/// # Errors
/// Any [`Malformed`] but those of [`crate::frame`]. An unknown kind with the optional flag is to be
/// skipped, see [`Malformed::is_fatal`].
#[inline]
pub fn decode(frame: Frame<'_>) -> Result<Message<'_>, Malformed> {
    if frame.flags & FLAG_COMPRESSED != 0 && (kind::HELLO..=kind::ERROR).contains(&frame.kind) {
        return Err(Malformed::Compressed { kind: frame.kind });
    }
    match frame.kind {
        kind::HELLO => hello(frame).map(Message::Hello),
        kind::WELCOME => welcome(frame).map(Message::Welcome),
        kind::REQUEST => request(frame).map(Message::Request),
        kind::ACKNOWLEDGE => acknowledge(frame).map(Message::Acknowledge),
        kind::NOTIFY => notify(frame).map(Message::Notify),
        kind::NOTIFY_ACKNOWLEDGE => notify_acknowledge(frame).map(Message::NotifyAcknowledge),
        kind::HEAD => Ok(Message::Head(Head { head: verify::<table::Head<'_>>(frame)?.head() })),
        kind::SYNC => sync(frame).map(Message::Sync),
        kind::PAGE => page(frame).map(Message::Page),
        kind::RECEIPT => receipt(frame).map(Message::Receipt),
        kind::PING => beat(frame).map(Message::Ping),
        kind::PONG => beat(frame).map(Message::Pong),
        kind::GO_AWAY => go_away(frame).map(Message::GoAway),
        kind::ERROR => error(frame).map(Message::Error),
        kind => {
            let optional = frame.flags & FLAG_OPTIONAL != 0;
            Err(Malformed::UnknownKind { kind, optional })
        }
    }
}

fn verify<'a, T>(frame: Frame<'a>) -> Result<T::Inner, Malformed>
where
    T: Follow<'a> + Verifiable + 'a,
{
    // A body is a single table: nothing in version 1 is nested.
    let options = VerifierOptions {
        max_depth: 1,
        max_tables: 1,
        max_apparent_size: BODY_SHARING_MAX * frame.body.len() + BODY_TABLE_BYTES,
        ignore_missing_null_terminator: false,
    };
    root_with_opts::<T>(&options, frame.body)
        .map_err(|invalid| Malformed::body(frame.kind, &invalid))
}

fn name<'a>(field: &'static str, text: Option<&'a str>) -> Result<&'a str, Malformed> {
    let text = text.unwrap_or_default();
    if text.len() > NAME_BYTES_MAX {
        let name_bytes_max = NAME_BYTES_MAX;
        return Err(Malformed::NameTooLong { field, name_bytes: text.len(), name_bytes_max });
    }
    Ok(text)
}

fn range(field: &'static str, value: u64, min: u64, max: u64) -> Result<u64, Malformed> {
    if value < min || value > max {
        return Err(Malformed::OutOfRange { field, value, min, max });
    }
    Ok(value)
}

fn bytes(vector: Option<flatbuffers::Vector<'_, u8>>) -> &[u8] {
    vector.map(|vector| vector.bytes()).unwrap_or_default()
}

fn uuid(field: Option<&table::Uuid>) -> [u8; 16] {
    field.map(|uuid| uuid.0).unwrap_or_default()
}

fn class(class: table::Class) -> Result<Class, Malformed> {
    match class {
        table::Class::Mobile => Ok(Class::Mobile),
        table::Class::Web => Ok(Class::Web),
        table::Class::Desktop => Ok(Class::Desktop),
        table::Class::Bot => Ok(Class::Bot),
        table::Class(value) => {
            let (value, max) = (value.into(), Class::Bot as u64);
            Err(Malformed::OutOfRange { field: "hello.class", value, min: 0, max })
        }
    }
}

fn level(level: table::Level) -> Result<Level, Malformed> {
    match level {
        table::Level::Ephemeral => Ok(Level::Ephemeral),
        table::Level::Normal => Ok(Level::Normal),
        table::Level::Important => Ok(Level::Important),
        table::Level(value) => {
            let (value, max) = (value.into(), Level::Important as u64);
            Err(Malformed::OutOfRange { field: "request.level", value, min: 0, max })
        }
    }
}

fn hello(frame: Frame<'_>) -> Result<Hello<'_>, Malformed> {
    let hello = verify::<table::Hello<'_>>(frame)?;
    Ok(Hello {
        version_min: hello.version_min(),
        version_max: hello.version_max(),
        realm: hello.realm(),
        user: name("hello.user", hello.user())?,
        device: name("hello.device", hello.device())?,
        token: hello.token().unwrap_or_default(),
        resume_token: bytes(hello.resume_token()),
        incarnation: range("hello.incarnation", hello.incarnation(), 1, u64::MAX)?,
        class: class(hello.class())?,
        heartbeat_s: hello.heartbeat_s(),
        cursor: hello.cursor(),
        rewind: hello.rewind(),
        compression: hello.compression(),
        agent: hello.agent().unwrap_or_default(),
    })
}

fn welcome(frame: Frame<'_>) -> Result<Welcome<'_>, Malformed> {
    let welcome = verify::<table::Welcome<'_>>(frame)?;
    Ok(Welcome {
        version: welcome.version(),
        server_time_ms: welcome.server_time_ms(),
        heartbeat_s: welcome.heartbeat_s(),
        resume_token: bytes(welcome.resume_token()),
        head: welcome.head(),
        cursor: welcome.cursor(),
        floor: welcome.floor(),
        frame_bytes_max: welcome.frame_bytes_max(),
        requests_max: welcome.requests_max(),
        compression: welcome.compression(),
    })
}

fn request(frame: Frame<'_>) -> Result<Request<'_>, Malformed> {
    plain::request(frame.body).map_or_else(|| verified_request(frame), Ok)
}

fn notify_acknowledge(frame: Frame<'_>) -> Result<NotifyAcknowledge, Malformed> {
    let plain = plain::notify_acknowledge(frame.body);
    plain.map_or_else(|| verified_notify_acknowledge(frame), Ok)
}

fn verified_notify_acknowledge(frame: Frame<'_>) -> Result<NotifyAcknowledge, Malformed> {
    let number = verify::<table::NotifyAcknowledge<'_>>(frame)?.number();
    Ok(NotifyAcknowledge { number })
}

fn verified_request(frame: Frame<'_>) -> Result<Request<'_>, Malformed> {
    let request = verify::<table::Request<'_>>(frame)?;
    Ok(Request {
        client_seq: range("request.client_seq", request.client_seq(), 1, u64::MAX)?,
        after: request.after(),
        uuid: uuid(request.uuid()),
        to: name("request.to", request.to())?,
        level: level(request.level())?,
        content: request.content(),
        receipts: request.receipts(),
        first_attempt_ms: request.first_attempt_ms(),
        body: bytes(request.body()),
    })
}

fn acknowledge(frame: Frame<'_>) -> Result<Acknowledge, Malformed> {
    let acknowledge = verify::<table::Acknowledge<'_>>(frame)?;
    Ok(Acknowledge {
        client_seq: acknowledge.client_seq(),
        sequence: acknowledge.sequence(),
        time_ms: acknowledge.time_ms(),
    })
}

fn notify(frame: Frame<'_>) -> Result<Notify<'_>, Malformed> {
    let notify = verify::<table::Notify<'_>>(frame)?;
    Ok(Notify {
        number: notify.number(),
        conversation: name("notify.conversation", notify.conversation())?,
        sequence: notify.sequence(),
        sender: name("notify.sender", notify.sender())?,
        device: name("notify.device", notify.device())?,
        incarnation: notify.incarnation(),
        client_seq: notify.client_seq(),
        uuid: uuid(notify.uuid()),
        time_ms: notify.time_ms(),
        content: notify.content(),
        receipts: notify.receipts(),
        own: notify.own(),
        body: bytes(notify.body()),
    })
}

fn sync(frame: Frame<'_>) -> Result<Sync, Malformed> {
    let sync = verify::<table::Sync<'_>>(frame)?;
    range("sync.limit", sync.limit().into(), 1, SYNC_LIMIT_MAX.into())?;
    Ok(Sync {
        request: sync.request(),
        after: sync.after(),
        limit: sync.limit(),
        backward: sync.backward(),
        since_ms: sync.since_ms(),
    })
}

fn page(frame: Frame<'_>) -> Result<Page, Malformed> {
    let page = verify::<table::Page<'_>>(frame)?;
    Ok(Page {
        request: page.request(),
        count: page.count(),
        head: page.head(),
        cursor: page.cursor(),
        floor: page.floor(),
        more: page.more(),
    })
}

fn receipt(frame: Frame<'_>) -> Result<Receipt<'_>, Malformed> {
    let receipt = verify::<table::Receipt<'_>>(frame)?;
    range("receipt.what", receipt.what().into(), 1, RECEIPT_WHAT_MAX.into())?;
    Ok(Receipt {
        conversation: name("receipt.conversation", receipt.conversation())?,
        what: receipt.what(),
        sequence: receipt.sequence(),
    })
}

fn beat(frame: Frame<'_>) -> Result<Beat, Malformed> {
    Ok(Beat { next_ms: verify::<table::Beat<'_>>(frame)?.next_ms() })
}

fn go_away(frame: Frame<'_>) -> Result<GoAway<'_>, Malformed> {
    let go_away = verify::<table::GoAway<'_>>(frame)?;
    Ok(GoAway {
        code: go_away.code(),
        retry_after_ms: go_away.retry_after_ms(),
        endpoint: go_away.endpoint().unwrap_or_default(),
    })
}

fn error(frame: Frame<'_>) -> Result<Error<'_>, Malformed> {
    let error = verify::<table::Error<'_>>(frame)?;
    Ok(Error {
        code: error.code(),
        text: error.text().unwrap_or_default(),
        retry_after_ms: error.retry_after_ms(),
        client_seq: error.client_seq(),
        fatal: error.fatal(),
    })
}
