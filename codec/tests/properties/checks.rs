//! What must hold for whatever bytes a peer sends. The property tests and the fuzz targets of
//! `codec/fuzz` run the same functions; each panics if its promise is broken.

use hawser_codec::frame::{self, Frame, FrameLimits, HEADER_BYTES, Step};
use hawser_codec::http::{self, OriginRule, request::HEAD_BYTES_MAX};
use hawser_codec::json::{self, Parsed};
use hawser_codec::link::{Downlink, Peer, Uplink};
use hawser_codec::message::{self, Encoder};
use hawser_codec::opening::{self, Opening};
use hawser_codec::proxy;

const LIMITS: FrameLimits = FrameLimits { body_bytes_max: 4096 };

/// A stream is cut into frames within the limits, or refused; what is asked for is always more
/// than what is there and never beyond the limit; every message read is read again from its own
/// encoding.
pub fn frame_stream(stream: &[u8]) {
    let mut rest = stream;
    if let Ok(Some(taken)) = frame::preface(stream) {
        rest = &stream[taken..];
    }
    // Bounded: every frame takes at least its header.
    loop {
        match frame::step(&LIMITS, rest) {
            Ok(Step::Frame { frame, consumed }) => {
                assert_eq!(consumed, HEADER_BYTES + frame.body.len());
                assert!(frame.body.len() <= LIMITS.body_bytes_max as usize);
                message_body(frame);
                rest = &rest[consumed..];
            }
            Ok(Step::NeedMore { at_least }) => {
                assert!(at_least > rest.len());
                assert!(at_least <= HEADER_BYTES + LIMITS.body_bytes_max as usize);
                return;
            }
            Err(malformed) => {
                assert!(malformed.is_fatal());
                assert!(!malformed.to_string().is_empty());
                return;
            }
        }
    }
}

/// A body is refused with a reason, or gives a message that survives encoding and decoding.
pub fn message_body(frame: Frame<'_>) {
    let message = match message::decode(frame) {
        Ok(message) => message,
        Err(malformed) => {
            assert!(!malformed.to_string().is_empty());
            return;
        }
    };
    let mut out = Vec::new();
    Encoder::new().message(&mut out, frame.channel, frame.flags, &message);
    // The encoding may be longer than what came, since that could share one text between fields.
    let limits = FrameLimits { body_bytes_max: u32::MAX };
    let Ok(Step::Frame { frame: again, consumed }) = frame::step(&limits, &out) else {
        panic!("an encoded message is one whole frame");
    };
    assert_eq!(consumed, out.len());
    assert_eq!((again.kind, again.flags, again.channel), (frame.kind, frame.flags, frame.channel));
    assert_eq!(message::decode(again), Ok(message));
}

/// A batch of the link gives frames or `Damaged`, in every family.
pub fn link_batch(batch: &[u8]) {
    let mut rest = batch;
    while let Ok(Some(_)) = Uplink::take(&mut rest) {}
    let mut rest = batch;
    while let Ok(Some(_)) = Downlink::take(&mut rest) {}
    let mut rest = batch;
    while let Ok(Some(_)) = Peer::take(&mut rest) {}
}

/// The first bytes of a connection: a PROXY header is taken, refused or asked for within its limit,
/// and what its parts said is what the whole says; a protocol once told stays told.
pub fn first_bytes(bytes: &[u8]) {
    let whole = proxy::step(bytes);
    match whole {
        Ok(proxy::Step::Header { consumed, .. }) => assert!(consumed <= bytes.len()),
        Ok(proxy::Step::NeedMore { at_least }) => {
            assert!(at_least > bytes.len() && at_least <= proxy::V2_BYTES_MAX);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let opening = opening::detect(bytes);
    for cut in 0..bytes.len().min(proxy::V2_BYTES_MAX) {
        match proxy::step(&bytes[..cut]) {
            Ok(proxy::Step::NeedMore { at_least }) => assert!(at_least > cut),
            decided => assert_eq!(decided, whole),
        }
        match opening::detect(&bytes[..cut]) {
            Opening::Undecided { at_least } => assert!(at_least > cut),
            decided => assert_eq!(decided, opening),
        }
    }
    if let Ok(proxy::Step::NeedMore { at_least }) = whole
        && let Some(more) = at_least.checked_sub(bytes.len() + 1)
    {
        // One byte fewer than asked for never is enough.
        let short = [bytes, &vec![b'x'; more]].concat();
        assert!(!matches!(proxy::step(&short), Ok(proxy::Step::Header { .. })));
    }
}

/// A stream is cut into request heads, more is asked for only below the limit, and a refusal has
/// a status of its kind; a head is the same however its bytes arrived.
pub fn http_heads(stream: &[u8]) {
    let mut rest = stream;
    // Bounded: every head takes at least its request line.
    loop {
        match http::request::step(rest) {
            Ok(http::Step::Head { head, consumed }) => {
                assert!((1..=HEAD_BYTES_MAX.min(rest.len())).contains(&consumed));
                assert!(head.path.starts_with('/') || head.path == "*");
                assert!(matches!(
                    http::request::step(&rest[..consumed - 1]),
                    Ok(http::Step::NeedMore)
                ));
                for pair in head.query.split('&') {
                    let name = pair.split('=').next().unwrap_or_default();
                    if let Err(refused) = head.parameter(name) {
                        assert_eq!(refused.status, 400);
                    }
                }
                let _ = (head.bearer(), head.expects_continue(), head.body_within(4096));
                let _ = OriginRule::Same.judge(&head, true);
                rest = &rest[consumed..];
            }
            Ok(http::Step::NeedMore) => {
                assert!(rest.len() <= HEAD_BYTES_MAX);
                return;
            }
            Err(refused) => {
                assert!((400..=505).contains(&refused.status));
                assert_ne!(http::reason(refused.status), "Status");
                return;
            }
        }
    }
}

/// A text is refused with a reason, or gives a message within the protocol's ranges: as a native
/// frame it is the same, and so it is when written and read again.
pub fn json_text(text: &str) {
    let parsed = match Parsed::read(text) {
        Ok(parsed) => parsed,
        Err(wrong) => {
            assert!(!wrong.text.is_empty() && wrong.text.len() < 1024);
            return;
        }
    };
    let Ok(message) = parsed.message(7) else { return };
    let mut frame = Vec::new();
    Encoder::new().message(&mut frame, parsed.channel, parsed.flags, &message);
    let limits = FrameLimits { body_bytes_max: u32::MAX };
    let Ok(Step::Frame { frame, .. }) = frame::step(&limits, &frame) else {
        panic!("an encoded message is one whole frame");
    };
    assert_eq!(message::decode(frame), Ok(message));
    json_of_frame(frame);
}

/// What a native frame holds is the same after a way through JSON, and an entry is no longer than
/// promised.
pub fn json_of_frame(frame: Frame<'_>) {
    let mut text = Vec::new();
    let Ok(message) = message::decode(frame) else {
        assert!(json::put_frame(&mut text, frame).is_err() && text.is_empty());
        return;
    };
    assert_eq!(json::put_frame(&mut text, frame), Ok(()));
    if frame.kind == frame::kind::NOTIFY {
        assert!(text.len() <= json::text_bytes_max(frame.body.len()));
    }
    let text = std::str::from_utf8(&text).expect("JSON is UTF-8");
    let parsed = Parsed::read(text).expect("what is written is read");
    assert_eq!(parsed.channel, frame.channel);
    assert_eq!(parsed.message(7), Ok(message));
}
