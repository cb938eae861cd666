//! Eight bytes at a time: which of them are marked, and how far the first one is.

use crate::Load;

/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
pub(crate) const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Eight bytes of `frame`, the first one lowest.
#[inline(always)]
pub(crate) fn word<L: Load + ?Sized>(frame: &L, at: usize) -> Option<u64> {
    frame.u64(at).map(u64::from_le)
}

/// The highest bit of each byte of `word` that is `byte`. The lowest one set is right; those above it may not be,
/// because a subtraction borrows.
#[inline(always)]
pub(crate) const fn equal(word: u64, byte: u8) -> u64 {
    let differences = word ^ (ONES * byte as u64);
    differences.wrapping_sub(ONES) & !differences & HIGHS
}

/// The highest bit of each byte of `word` that is 0x20 or less, as in [`equal`].
#[inline(always)]
pub(crate) const fn up_to_space(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x21) & !word & HIGHS
}

/// Bytes up to and with the lowest one that is marked by its highest bit; 8 when none is.
#[inline(always)]
pub(crate) const fn through_first(marks: u64) -> usize {
    // The bits below the lowest mark hold one lowest bit of each of the bytes in question; the product adds them
    // up in the highest byte.
    let below = (marks & marks.wrapping_neg()).wrapping_sub(1);
    // The mask changes nothing, and tells the verifier how far this can go.
    ((below & ONES).wrapping_mul(ONES) >> 56 & 15) as usize
}
