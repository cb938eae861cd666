//! The one vectorised pass: for 64 bytes at a time, where are the line feeds and where the control bytes?
//!
//! The header index walks the line feeds and uses the control mask to prove, without a second look at the bytes,
//! that nothing but CRLF is among them. SSE2 is part of every x86-64, so its intrinsics are safe to call here;
//! elsewhere eight bytes at a time are compared in ordinary integers.

/// Bytes looked at in one step: one bit each in a [`Masks`] word.
pub(crate) const BLOCK: usize = 64;

/// Bit `i` speaks of byte `i` of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Masks {
    /// The byte is LF.
    pub(crate) line_feed: u64,
    /// The byte is below 0x20 or is DEL: CR, LF and HTAB are among them.
    pub(crate) control: u64,
}

#[inline(always)]
pub(crate) fn masks(block: &[u8; BLOCK]) -> Masks {
    portable(block)
}

/// Offset of the first `:` among the 16 bytes, or 16.
#[inline(always)]
pub(crate) fn colon(window: &[u8; 16]) -> usize {
    const ONES: u128 = u128::from_ne_bytes([1; 16]);
    let word = u128::from_le_bytes(*window) ^ (ONES * b':' as u128);
    // The lowest byte that is zero is exact; bytes above it may be wrong, and do not matter.
    let zero = word.wrapping_sub(ONES) & !word & (ONES << 7);
    (zero.trailing_zeros() / 8) as usize
}

/// The same answer from eight bytes at a time; also the oracle's neighbour in the tests.
fn portable(block: &[u8; BLOCK]) -> Masks {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const HIGH: u64 = !LOW;
    /// The top bit of each byte that is zero, exactly (no borrow runs between bytes).
    const fn zero(word: u64) -> u64 {
        !(((word & LOW) + LOW) | word | LOW)
    }
    /// Gathers the top bits of the eight bytes.
    const fn gather(word: u64) -> u64 {
        ((word >> 7) & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }
    let mut result = Masks { line_feed: 0, control: 0 };
    let (words, _) = block.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let line_feed = zero(word ^ 0x0a0a_0a0a_0a0a_0a0a);
        let below = zero(word & 0xe0e0_e0e0_e0e0_e0e0);
        let delete = zero(word ^ LOW);
        result.line_feed |= gather(line_feed) << (8 * i);
        result.control |= gather((below | delete) & HIGH) << (8 * i);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(block: &[u8; BLOCK]) -> Masks {
        let mut masks = Masks { line_feed: 0, control: 0 };
        for (i, &b) in block.iter().enumerate() {
            masks.line_feed |= u64::from(b == b'\n') << i;
            masks.control |= u64::from(b.is_ascii_control()) << i;
        }
        masks
    }

    #[test]
    fn every_byte_in_every_lane() {
        for at in 0..BLOCK {
            for byte in 0..=255u8 {
                let mut block = [b'a'; BLOCK];
                block[at] = byte;
                assert_eq!(masks(&block), naive(&block), "{byte} at {at}");
                assert_eq!(portable(&block), naive(&block), "{byte} at {at}, portable");
            }
        }
        for at in 0..16 {
            let mut window = [b'a'; 16];
            window[at] = b':';
            window[15] = b':';
            assert_eq!(colon(&window), at);
        }
        assert_eq!(colon(&[b'a'; 16]), 16);
    }

    proptest! {
        #[test]
        fn vector_and_portable_agree_with_the_naive_scan(bytes in prop::collection::vec(any::<u8>(), BLOCK)) {
            let block: &[u8; BLOCK] = bytes.as_slice().try_into().unwrap();
            prop_assert_eq!(masks(block), naive(block));
            prop_assert_eq!(portable(block), naive(block));
        }
    }
}
