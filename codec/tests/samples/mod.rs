//! One sample of each message, for the golden bytes, the splits and the bench.

use hawser_codec::code;
use hawser_codec::frame::FLAG_PAGE;
use hawser_codec::message::{
    Acknowledge, Beat, Class, Error, GoAway, Head, Hello, Level, Message, Notify,
    NotifyAcknowledge, Page, RECEIPT_READ, Receipt, Request, Sync, Welcome,
};

/// A message with what stands in its header.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Name of its golden file.
    pub name: &'static str,
    /// Channel in the header.
    pub channel: u16,
    /// Flags in the header.
    pub flags: u8,
    /// The message.
    pub message: Message<'static>,
}

const UUID: [u8; 16] = *b"\x01\x96\x3d\x5c\x00\x11\x7a\xbc\x8d\xef\x10\x32\x54\x76\x98\xba";
const TIME_MS: u64 = 1_760_000_000_000;
const INCARNATION: u64 = 0x1122_3344_5566_7788;

/// All of them, in order of their kinds.
pub const SAMPLES: [Sample; 14] = [
    sample("hello", 0, Message::Hello(HELLO)),
    sample("welcome", 0, Message::Welcome(WELCOME)),
    sample("request", 7, Message::Request(REQUEST)),
    sample(
        "acknowledge",
        7,
        Message::Acknowledge(Acknowledge { client_seq: 42, sequence: 1001, time_ms: TIME_MS }),
    ),
    Sample { name: "notify", channel: 0, flags: FLAG_PAGE, message: Message::Notify(NOTIFY) },
    sample("notify_acknowledge", 0, Message::NotifyAcknowledge(NotifyAcknowledge { number: 517 })),
    sample("head", 0, Message::Head(Head { head: 530 })),
    sample(
        "sync",
        3,
        Message::Sync(Sync { request: 9, after: 517, limit: 50, backward: false, since_ms: 0 }),
    ),
    sample(
        "page",
        3,
        Message::Page(Page {
            request: 9,
            count: 13,
            head: 530,
            cursor: 517,
            floor: 20,
            more: false,
        }),
    ),
    sample(
        "receipt",
        0,
        Message::Receipt(Receipt { conversation: "anna", what: RECEIPT_READ, sequence: 1001 }),
    ),
    sample("ping", 0, Message::Ping(Beat { next_ms: 30_000 })),
    sample("pong", 0, Message::Pong(Beat { next_ms: 0 })),
    sample(
        "go_away",
        0,
        Message::GoAway(GoAway {
            code: code::SHUTTING_DOWN,
            retry_after_ms: 1500,
            endpoint: "gw2.example:7900",
        }),
    ),
    sample(
        "error",
        7,
        Message::Error(Error {
            code: code::OUT_OF_ORDER,
            text: "an earlier request is not accepted yet",
            retry_after_ms: 100,
            client_seq: 42,
            fatal: false,
        }),
    ),
];

const fn sample(name: &'static str, channel: u16, message: Message<'static>) -> Sample {
    Sample { name, channel, flags: 0, message }
}

const HELLO: Hello<'static> = Hello {
    version_min: 1,
    version_max: 1,
    realm: 0,
    user: "boris",
    device: "phone",
    token: "s3cret",
    resume_token: b"",
    incarnation: INCARNATION,
    class: Class::Mobile,
    heartbeat_s: 60,
    cursor: Some(517),
    rewind: false,
    compression: 0,
    agent: "example/1.0",
};

const WELCOME: Welcome<'static> = Welcome {
    version: 1,
    server_time_ms: TIME_MS,
    heartbeat_s: 60,
    resume_token: b"\x01\x02\x03\x04\x05",
    head: 530,
    cursor: 517,
    floor: 20,
    frame_bytes_max: 65_536,
    requests_max: 64,
    compression: 0,
};

const REQUEST: Request<'static> = Request {
    client_seq: 42,
    after: 41,
    uuid: UUID,
    to: "anna",
    level: Level::Normal,
    content: 1,
    receipts: 3,
    first_attempt_ms: 0,
    body: b"Hello, Anna",
};

const NOTIFY: Notify<'static> = Notify {
    number: 517,
    conversation: "boris",
    sequence: 1001,
    sender: "boris",
    device: "phone",
    incarnation: INCARNATION,
    client_seq: 42,
    uuid: UUID,
    time_ms: TIME_MS,
    content: 1,
    receipts: 3,
    own: false,
    body: b"Hello, Anna",
};
