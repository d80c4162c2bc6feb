//! Masking (RFC 6455 5.3): payload bytes XOR a key of four bytes, over and over.

/// Masks or unmasks `bytes` in place; the key's first byte belongs to the first of them. Returns
/// the key turned so that its first byte belongs to the byte after them.
#[inline]
pub fn apply(bytes: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let word = u32::from_ne_bytes(key);
    let wide = u64::from(word) << 32 | u64::from(word);
    // Four words a round, so that the compiler turns a round into vector instructions.
    let (blocks, rest) = bytes.as_chunks_mut::<32>();
    for block in blocks {
        for eight in block.as_chunks_mut::<8>().0 {
            *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
        }
    }
    let (words, rest) = rest.as_chunks_mut::<4>();
    for four in words {
        *four = (u32::from_ne_bytes(*four) ^ word).to_ne_bytes();
    }
    let turned = rest.len();
    for (byte, part) in rest.iter_mut().zip(key) {
        *byte ^= part;
    }
    let mut next = key;
    next.rotate_left(turned);
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // norm: RFC6455-5.3-5
        #[test]
        fn bytes_are_masked_as_the_norm_writes_it(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            key in any::<[u8; 4]>(),
            cut in 0usize..300,
        ) {
            let expected: Vec<u8> =
                bytes.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut masked = bytes.clone();
            let (first, second) = masked.split_at_mut(cut.min(bytes.len()));
            let turned = apply(first, key);
            apply(second, turned);
            prop_assert_eq!(masked, expected);
        }
    }
}
