//! The vectorised parts: 64 bytes at a time for the header index, 16 at a time for the spans that typed views skip over.
//!
//! Vectors come from the crate `wide`: SSE2 on every x86-64, NEON on every AArch64, plain integers elsewhere. Each
//! routine has a naive twin in the tests.

use wide::u8x16;

use crate::class;

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

/// Where are the line feeds and where the control bytes? The header index walks the line feeds, and uses the other
/// mask to prove, without a second look at the bytes, that nothing but CRLF is among them.
#[inline(always)]
pub(crate) fn masks(block: &[u8; BLOCK]) -> Masks {
    let mut result = Masks { line_feed: 0, control: 0 };
    let (lanes, _) = block.as_chunks::<16>();
    for (i, lane) in lanes.iter().enumerate() {
        let bytes = u8x16::new(*lane);
        let line_feed = bytes.simd_eq(u8x16::splat(b'\n'));
        let control = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes) | bytes.simd_eq(u8x16::splat(0x7f));
        result.line_feed |= u64::from(line_feed.to_bitmask()) << (16 * i);
        result.control |= u64::from(control.to_bitmask()) << (16 * i);
    }
    result
}

/// Offset of the first `:` among the 16 bytes, or 16.
#[inline(always)]
pub(crate) fn colon(window: &[u8; 16]) -> usize {
    first(u8x16::new(*window).simd_eq(u8x16::splat(b':')))
}

/// Where a run that begins at `at` ends: the first byte from there on that is not in a class of `mask`, or the end.
/// `outside` finds the same byte in 16 bytes at a time.
#[inline(always)]
fn run_end(text: &[u8], at: usize, mask: u16, outside: impl Fn(u8x16) -> u8x16) -> usize {
    let mut at = at;
    while let Some(window) = text.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        let found = first(outside(u8x16::new(*window)));
        at += found;
        if found < 16 {
            return at;
        }
    }
    while let Some(&byte) = text.get(at) {
        if !class::is(byte, mask) {
            break;
        }
        at += 1;
    }
    at
}

/// End of a run of [`class::VALUE`].
#[inline(always)]
pub(crate) fn value_end(text: &[u8], at: usize) -> usize {
    run_end(text, at, class::VALUE, |b| {
        let eq = |byte| b.simd_eq(u8x16::splat(byte));
        not_visible(b) | eq(b';') | eq(b',') | eq(b'"') | eq(b'<') | eq(b'>') | eq(b'\\')
    })
}

/// End of a run of [`class::ADDRESS`].
#[inline(always)]
pub(crate) fn address_end(text: &[u8], at: usize) -> usize {
    run_end(text, at, class::ADDRESS, |b| {
        let eq = |byte| b.simd_eq(u8x16::splat(byte));
        not_visible(b) | eq(b'"') | eq(b'<') | eq(b'>')
    })
}

/// End of a run of [`class::CALL_ID`].
#[inline(always)]
pub(crate) fn call_id_end(text: &[u8], at: usize) -> usize {
    run_end(text, at, class::CALL_ID, |b| {
        let eq = |byte| b.simd_eq(u8x16::splat(byte));
        not_visible(b) | eq(b'#') | eq(b'$') | eq(b'&') | eq(b',') | eq(b';') | eq(b'=') | eq(b'^') | eq(b'|')
    })
}

/// First `"` or `\` from `at` on, or the end.
#[inline(always)]
pub(crate) fn quote(text: &[u8], at: usize) -> usize {
    run_end(text, at, class::UNQUOTE, |b| b.simd_eq(u8x16::splat(b'"')) | b.simd_eq(u8x16::splat(b'\\')))
}

/// Not `%x21-7E`.
#[inline(always)]
fn not_visible(bytes: u8x16) -> u8x16 {
    // 0x21..=0x7e becomes 0..=0x5d.
    let moved = bytes - u8x16::splat(0x21);
    moved.max(u8x16::splat(0x5e)).simd_eq(moved)
}

#[inline(always)]
fn first(mask: u8x16) -> usize {
    (mask.to_bitmask() | 1 << 16).trailing_zeros() as usize
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

    /// Every byte, with the vector's end before, at and after it.
    #[test]
    fn runs_end_where_their_class_does() {
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=255u8 {
                    let mut text = vec![b'a'; len];
                    text[at] = byte;
                    for from in 0..=at {
                        let naive = |mask| (from..len).find(|&i| !class::is(text[i], mask)).unwrap_or(len);
                        assert_eq!(value_end(&text, from), naive(class::VALUE), "{byte:#x} at {at}");
                        assert_eq!(address_end(&text, from), naive(class::ADDRESS), "{byte:#x} at {at}");
                        assert_eq!(call_id_end(&text, from), naive(class::CALL_ID), "{byte:#x} at {at}");
                        assert_eq!(quote(&text, from), naive(class::UNQUOTE), "{byte:#x} at {at}");
                    }
                }
            }
        }
        assert_eq!(value_end(b"abc", 9), 9);
    }

    proptest! {
        #[test]
        fn masks_agree_with_the_naive_scan(bytes in prop::collection::vec(any::<u8>(), BLOCK)) {
            let block: &[u8; BLOCK] = bytes.as_slice().try_into().unwrap();
            prop_assert_eq!(masks(block), naive(block));
        }
    }
}
