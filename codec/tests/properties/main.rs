//! Properties of the native protocol over arbitrary messages and arbitrary bytes.

mod checks;

use hawser_codec::frame::{self, FLAG_COMPRESSED, FLAG_PAGE, Frame, FrameLimits, Step};
use hawser_codec::json;
use hawser_codec::message::{
    self, Acknowledge, Beat, Class, Encoder, Error, GoAway, Head, Hello, Level, Message, Notify,
    NotifyAcknowledge, Page, Receipt, Request, SYNC_LIMIT_MAX, Sync, Welcome,
};
use hawser_codec::proxy;
use proptest::prelude::*;

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 65_536 };

/// Arbitrary values of which a message of any kind is put together.
#[derive(Clone, Debug)]
struct Parts {
    numbers: [u64; 6],
    small: [u16; 3],
    bytes: [u8; 3],
    flags: [bool; 2],
    uuid: [u8; 16],
    names: [String; 3],
    text: String,
    body: Vec<u8>,
}

prop_compose! {
    fn parts()(
        numbers in any::<[u64; 6]>(),
        small in any::<[u16; 3]>(),
        bytes in any::<[u8; 3]>(),
        flags in any::<[bool; 2]>(),
        uuid in any::<[u8; 16]>(),
        // At most 4 bytes a character, so 16 characters are within a name's 64 bytes.
        names in prop::array::uniform3("\\PC{0,16}"),
        text in "\\PC{0,80}",
        body in prop::collection::vec(any::<u8>(), 0..600),
    ) -> Parts {
        Parts { numbers, small, bytes, flags, uuid, names, text, body }
    }
}

/// One message of each kind.
fn messages(p: &Parts) -> [Message<'_>; 14] {
    let [n0, n1, n2, n3, n4, n5] = p.numbers;
    let [s0, s1, s2] = p.small;
    let [b0, b1, b2] = p.bytes;
    let [f0, f1] = p.flags;
    let [first, second, third] = &p.names;
    let beat = Beat { next_ms: n0 as u32 };
    [
        Message::Hello(Hello {
            version_min: s0,
            version_max: s1,
            realm: n0 as u32,
            user: first,
            device: second,
            token: &p.text,
            resume_token: &p.body,
            incarnation: n1.max(1),
            class: [Class::Mobile, Class::Web, Class::Desktop, Class::Bot][usize::from(b0 % 4)],
            heartbeat_s: s2,
            cursor: f0.then_some(n2),
            rewind: f1,
            compression: b1,
            agent: third,
        }),
        Message::Welcome(Welcome {
            version: s0,
            server_time_ms: n0,
            heartbeat_s: s1,
            resume_token: &p.body,
            head: n1,
            cursor: n2,
            floor: n3,
            frame_bytes_max: n4 as u32,
            requests_max: s2,
            compression: b0,
        }),
        Message::Request(Request {
            client_seq: n0.max(1),
            after: n1,
            uuid: p.uuid,
            to: first,
            level: [Level::Ephemeral, Level::Normal, Level::Important][usize::from(b0 % 3)],
            content: b1,
            receipts: b2,
            first_attempt_ms: n2,
            body: &p.body,
        }),
        Message::Acknowledge(Acknowledge { client_seq: n0, sequence: n1, time_ms: n2 }),
        Message::Notify(Notify {
            number: n0,
            conversation: first,
            sequence: n1,
            sender: second,
            device: third,
            incarnation: n2,
            client_seq: n3,
            uuid: p.uuid,
            time_ms: n4,
            content: b0,
            receipts: b1,
            own: f0,
            body: &p.body,
        }),
        Message::NotifyAcknowledge(NotifyAcknowledge { number: n0 }),
        Message::Head(Head { head: n0 }),
        Message::Sync(Sync {
            request: n0,
            after: n1,
            limit: 1 + s0 % SYNC_LIMIT_MAX,
            backward: f0,
            since_ms: n2,
        }),
        Message::Page(Page { request: n0, count: s0, head: n1, cursor: n2, floor: n3, more: f0 }),
        Message::Receipt(Receipt { conversation: first, what: 1 + b0 % 2, sequence: n0 }),
        Message::Ping(beat),
        Message::Pong(beat),
        Message::GoAway(GoAway { code: s0, retry_after_ms: n0 as u32, endpoint: &p.text }),
        Message::Error(Error {
            code: s0,
            text: &p.text,
            retry_after_ms: n5 as u32,
            client_seq: n1,
            fatal: f0,
        }),
    ]
}

/// Arbitrary bytes, and such that begin like a PROXY header and go on as they like.
fn first_bytes() -> impl Strategy<Value = Vec<u8>> {
    let tail = prop::collection::vec(any::<u8>(), 0..300);
    let line = "(PROXY )?(TCP4|TCP6|UNKNOWN|TCP)( [0-9a-f:.]{0,9}){0,5}(\r|\n|\r\n)?";
    let binary = (0u8..4, 0u8..0x40, 0u16..300, prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(command, family, length, tail)| {
            let mut bytes = proxy::SIGNATURE.to_vec();
            bytes.extend([0x20 | command, family]);
            bytes.extend(length.to_be_bytes());
            bytes.extend(tail);
            bytes
        });
    prop_oneof![tail, line.prop_map(String::into_bytes), binary]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_message_encoded_is_decoded_to_itself(
        parts in parts(),
        channel in any::<u16>(),
        flags in any::<u8>(),
    ) {
        let flags = flags & !FLAG_COMPRESSED;
        let mut encoder = Encoder::new();
        for message in messages(&parts) {
            let mut out = b"what was there before".to_vec();
            let before = out.len();
            encoder.message(&mut out, channel, flags, &message);
            let step = frame::step(&LIMITS, &out[before..]);
            let Ok(Step::Frame { frame, consumed }) = step else {
                return Err(TestCaseError::fail(format!("not one whole frame: {step:?}")));
            };
            prop_assert_eq!(consumed, out.len() - before);
            prop_assert_eq!((frame.channel, frame.flags), (channel, flags));
            prop_assert_eq!(message::decode(frame), Ok(message));
        }
    }

    #[test]
    fn a_used_encoder_writes_the_same_bytes_as_a_new_one(parts in parts()) {
        let mut used = Encoder::new();
        for message in messages(&parts) {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            used.message(&mut first, 0, 0, &message);
            Encoder::new().message(&mut second, 0, 0, &message);
            prop_assert_eq!(first, second);
        }
    }

    #[test]
    fn arbitrary_streams_are_cut_or_refused(
        stream in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        checks::frame_stream(&stream);
    }

    #[test]
    fn arbitrary_bodies_are_read_or_refused(
        kind in any::<u8>(),
        flags in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..256),
    ) {
        checks::message_body(Frame { kind, flags, channel: 0, body: &body });
    }

    #[test]
    fn damaged_messages_are_read_or_refused(
        parts in parts(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for message in messages(&parts) {
            let mut out = Vec::new();
            Encoder::new().message(&mut out, 0, 0, &message);
            for (index, value) in &damage {
                let at = index.index(out.len());
                out[at] = *value;
            }
            checks::frame_stream(&out);
        }
    }

    #[test]
    fn arbitrary_first_bytes_are_told_apart_the_same_way_at_every_split(
        bytes in first_bytes(),
    ) {
        checks::first_bytes(&bytes);
    }

    #[test]
    fn arbitrary_batches_of_the_link_are_taken_or_damaged(
        batch in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        checks::link_batch(&batch);
    }

    #[test]
    fn arbitrary_heads_are_taken_or_refused(stream in "\\PC{0,200}") {
        checks::http_heads(stream.as_bytes());
    }

    #[test]
    fn damaged_heads_are_taken_or_refused(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut stream = b"POST /poll/send?to=a%20b&x=+ HTTP/1.1\r\nHost: h\r\nOrigin: http://h\r\n\
            Content-Length: 5\r\nExpect: 100-continue\r\nAuthorization: Bearer t\r\n\
            Connection: close, x\r\n\r\nGET http://h/ HTTP/1.0\r\n\r\n".to_vec();
        for (index, value) in damage {
            let at = index.index(stream.len());
            stream[at] = value;
        }
        checks::http_heads(&stream);
    }

    #[test]
    fn every_message_survives_the_way_through_json(parts in parts(), channel in any::<u16>()) {
        let mut encoder = Encoder::new();
        for message in messages(&parts) {
            let flags = if channel % 2 == 0 { FLAG_PAGE } else { 0 };
            let mut out = Vec::new();
            encoder.message(&mut out, channel, flags, &message);
            let Ok(Step::Frame { frame, .. }) = frame::step(&LIMITS, &out) else {
                return Err(TestCaseError::fail("not one whole frame"));
            };
            checks::json_of_frame(frame);
            let mut text = Vec::new();
            prop_assert_eq!(json::put_frame(&mut text, frame), Ok(()));
            let text = String::from_utf8(text).expect("JSON is UTF-8");
            let parsed = json::Parsed::read(&text).expect("what is written is read");
            let mut again = Vec::new();
            let message = parsed.message(1).expect("what is written is read");
            encoder.message(&mut again, parsed.channel, parsed.flags, &message);
            if matches!(message, Message::Notify(_)) || flags == 0 {
                prop_assert_eq!(again, out);
            }
        }
    }

    #[test]
    fn damaged_texts_are_read_or_refused(
        parts in parts(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<char>()), 0..4),
    ) {
        for message in messages(&parts) {
            let mut text = Vec::new();
            json::put(&mut text, 3, 0, &message);
            let mut text: Vec<char> = String::from_utf8(text).expect("JSON is UTF-8").chars().collect();
            for (index, value) in &damage {
                let at = index.index(text.len());
                text[at] = *value;
            }
            checks::json_text(&text.into_iter().collect::<String>());
        }
    }
}
