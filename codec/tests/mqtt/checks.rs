//! What must hold for whatever bytes a peer sends. The property tests and the fuzz target of
//! `codec/fuzz` run the same function; it panics if its promise is broken.

use hawser_codec::mqtt::{PacketLimits, Role, Step, Version, encode, step};

const PACKET_BYTES_MAX: u32 = 4096;

/// A stream is cut into packets within the limits, or refused with a reason; what is asked for is
/// always more than what is there and never beyond the limit; every packet read is read again from
/// its own encoding.
pub fn packet_stream(receiver: Role, version: Version, stream: &[u8]) {
    let limits = PacketLimits { receiver, packet_bytes_max: PACKET_BYTES_MAX };
    let mut rest = stream;
    // Bounded: every packet takes at least two bytes.
    loop {
        match step(&limits, version, rest) {
            Ok(Step::Packet { packet, consumed }) => {
                assert!((2..=rest.len()).contains(&consumed));
                let mut out = Vec::new();
                encode::packet(&mut out, version, &packet).expect("what came in is not too long");
                let again = step(&limits, version, &out);
                assert_eq!(again, Ok(Step::Packet { packet, consumed: out.len() }));
                rest = &rest[consumed..];
            }
            Ok(Step::NeedMore { at_least }) => {
                assert!(at_least > rest.len());
                assert!(at_least <= PACKET_BYTES_MAX as usize);
                return;
            }
            Err(malformed) => {
                assert!(malformed.reason() >= 0x80);
                assert!(!malformed.to_string().is_empty());
                return;
            }
        }
    }
}
