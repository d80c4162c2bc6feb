//! What must hold for whatever bytes a peer sends. The property tests and the fuzz targets of
//! `codec/fuzz` run the same functions; each panics if its promise is broken.

use hawser_codec::frame::{self, Frame, FrameLimits, HEADER_BYTES, Step};
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
