//! Every frame of every family, with fields drawn from arbitrary bytes.

use proptest::prelude::*;

use super::{Damaged, Downlink, Key, Peer, Uplink};

/// Longest text drawn, bytes: short, so that one source fills many frames.
const TEXT_BYTES_MAX: usize = 40;
/// Enough for one frame of each kind.
const SOURCE_BYTES: std::ops::Range<usize> = 0..4096;

/// Arbitrary bytes of which fields are drawn; zeros when they are used up.
pub(super) struct Draw<'a> {
    source: &'a [u8],
}

impl<'a> Draw<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (head, tail) = self.source.split_at(count.min(self.source.len()));
        self.source = tail;
        head
    }

    fn array<const COUNT: usize>(&mut self) -> [u8; COUNT] {
        let mut array = [0; COUNT];
        let head = self.bytes(COUNT);
        array[..head.len()].copy_from_slice(head);
        array
    }
}

/// A field that can be drawn.
pub(super) trait Drawn<'a> {
    fn drawn(draw: &mut Draw<'a>) -> Self;
}

macro_rules! drawn_number {
    ($($t:ty),*) => {$(
        impl Drawn<'_> for $t {
            fn drawn(draw: &mut Draw<'_>) -> Self {
                Self::from_le_bytes(draw.array())
            }
        }
    )*};
}
drawn_number!(u8, u16, u32, u64);

impl Drawn<'_> for Key {
    fn drawn(draw: &mut Draw<'_>) -> Self {
        draw.array()
    }
}

impl Drawn<'_> for bool {
    fn drawn(draw: &mut Draw<'_>) -> Self {
        u8::drawn(draw) & 1 == 1
    }
}

impl<'a> Drawn<'a> for &'a [u8] {
    fn drawn(draw: &mut Draw<'a>) -> Self {
        let count = usize::from(u8::drawn(draw)) % (TEXT_BYTES_MAX + 1);
        draw.bytes(count)
    }
}

macro_rules! family_tests {
    ($module:ident, $family:ident) => {
        mod $module {
            use super::*;

            fn drawn(source: &[u8]) -> (Vec<$family<'_>>, Vec<u8>) {
                let frames = $family::one_of_each(&mut Draw { source });
                let mut batch = Vec::new();
                frames.iter().for_each(|frame| frame.put(&mut batch));
                (frames, batch)
            }

            /// Takes all of `batch`; ends, because every frame takes at least its length.
            fn taken(mut batch: &[u8]) -> Result<Vec<$family<'_>>, Damaged> {
                let mut frames = Vec::new();
                while let Some(frame) = $family::take(&mut batch)? {
                    frames.push(frame);
                }
                Ok(frames)
            }

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(64))]

                #[test]
                fn a_batch_of_every_frame_comes_back_the_same(
                    source in prop::collection::vec(any::<u8>(), SOURCE_BYTES),
                ) {
                    let (frames, batch) = drawn(&source);
                    prop_assert_eq!(taken(&batch), Ok(frames));
                }

                #[test]
                fn arbitrary_bytes_are_frames_or_damaged(
                    mut bytes in prop::collection::vec(any::<u8>(), 0..256),
                    length in any::<u8>(),
                    kind in 0_u8..16,
                ) {
                    let _ = taken(&bytes);
                    // With a plausible head they get further.
                    if let Some(head) = bytes.first_chunk_mut() {
                        *head = [length, 0, 0, 0, kind];
                    }
                    let _ = taken(&bytes);
                }
            }

            #[test]
            fn every_truncation_gives_the_frames_before_it_and_then_damaged() {
                let source: Vec<u8> = (0..=u8::MAX).cycle().take(2048).collect();
                let (frames, batch) = drawn(&source);
                for cut in 0..batch.len() {
                    let mut rest = &batch[..cut];
                    let mut whole = 0;
                    let result = loop {
                        match $family::take(&mut rest) {
                            Ok(Some(frame)) => {
                                assert_eq!(frame, frames[whole]);
                                whole += 1;
                            }
                            other => break other,
                        }
                    };
                    let mut before = Vec::new();
                    frames[..whole].iter().for_each(|frame| frame.put(&mut before));
                    let between = before.len() == cut;
                    assert_eq!(result, if between { Ok(None) } else { Err(Damaged) }, "at {cut}");
                }
            }

            #[test]
            fn a_frame_whose_length_ends_within_its_fields_is_damaged() {
                let (frames, _) = drawn(&[1; 2048]);
                for frame in frames {
                    let mut batch = Vec::new();
                    frame.put(&mut batch);
                    for length in 0..batch.len() - 4 {
                        let mut short = batch[..4 + length].to_vec();
                        short[..4].copy_from_slice(&(length as u32).to_le_bytes());
                        assert_eq!($family::take(&mut short.as_slice()), Err(Damaged));
                    }
                }
            }

            #[test]
            fn an_unknown_kind_is_damaged() {
                let unknown = [1, 0, 0, 0, 0xFF];
                assert_eq!($family::take(&mut unknown.as_slice()), Err(Damaged));
            }
        }
    };
}

family_tests!(uplink, Uplink);
family_tests!(downlink, Downlink);
family_tests!(peer, Peer);
