//! Text that is read forward: a value, and what follows it in the message.
//!
//! Vectors load 16 bytes at once, and most values are shorter or end within the last 16. Since the bytes after a value
//! are at hand in the datagram, they are loaded along and their results are cut off at the value's end: no tail is read
//! byte by byte, and no branch depends on its length.

use crate::class;

/// A value in a datagram. Positions are offsets into the datagram.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The datagram up to the end of the value.
    value: &'a [u8],
    /// The datagram.
    reach: &'a [u8],
}

impl<'a> Text<'a> {
    /// A value with nothing known after it; it begins at 0.
    #[inline(always)]
    pub(crate) fn alone(value: &'a [u8]) -> Self {
        Text { value, reach: value }
    }

    /// What ends at `end` in a datagram; nothing at all when the datagram is shorter.
    #[inline(always)]
    pub(crate) fn new(datagram: &'a [u8], end: usize) -> Self {
        Text { value: datagram.get(..end).unwrap_or_default(), reach: datagram }
    }

    #[inline(always)]
    pub(crate) fn end(self) -> usize {
        self.value.len()
    }

    /// The byte at `at`; NUL from the end on, which ends every rule of the grammar.
    #[inline(always)]
    pub(crate) fn byte(self, at: usize) -> u8 {
        match self.value.get(at) {
            Some(&byte) => byte,
            None => 0,
        }
    }

    #[inline(always)]
    pub(crate) fn slice(self, from: usize, to: usize) -> &'a [u8] {
        self.value.get(from..to).unwrap_or_default()
    }

    /// The datagram up to the end of the value.
    #[inline(always)]
    pub(crate) fn value(self) -> &'a [u8] {
        self.value
    }

    /// What is left from `at` on.
    #[inline(always)]
    pub(crate) fn rest(self, at: usize) -> &'a [u8] {
        self.value.get(at..).unwrap_or_default()
    }

    /// 16 bytes from `at` on. What is beyond the value is arbitrary.
    #[inline(always)]
    pub(crate) fn window(self, at: usize) -> [u8; 16] {
        match self.reach.get(at..).and_then(<[u8]>::first_chunk::<16>) {
            Some(window) => *window,
            None => last_window(self.reach, at),
        }
    }

    /// Skips linear white space; folding was checked when the header was indexed.
    #[inline(always)]
    pub(crate) fn skip_lws(self, at: usize) -> usize {
        // One compare where there is none: white bytes are below every other that may stand here.
        if self.byte(at) > b' ' { at } else { skip_white(self.value, at) }
    }

    /// Is there nothing but white space from `at` on?
    #[inline(always)]
    pub(crate) fn is_over(self, at: usize) -> bool {
        at >= self.end() || self.skip_lws(at) >= self.end()
    }
}

// What is called rarely stays out of line and takes slices: a `Text` that is passed by address has to live in memory,
// and is then loaded in other pieces than it was stored, which stalls.

#[inline(never)]
fn skip_white(value: &[u8], at: usize) -> usize {
    class::run_end(value, at, class::LWS)
}

/// The window that reaches over the end of the datagram. In registers: bytes stored one by one and loaded as a vector
/// would wait for each other.
#[inline(never)]
fn last_window(datagram: &[u8], at: usize) -> [u8; 16] {
    let len = datagram.len();
    let (bits, held) = match datagram.last_chunk::<16>() {
        Some(last) => (u128::from_le_bytes(*last), 16),
        None => (short(datagram), len),
    };
    let passed = (held + at).saturating_sub(len);
    bits.unbounded_shr(8 * passed.min(16) as u32).to_le_bytes()
}

/// A whole datagram which is shorter than 16 bytes: two halves that may overlap.
#[inline(always)]
fn short(datagram: &[u8]) -> u128 {
    let len = datagram.len() as u32;
    let halves = |first: u64, last: u64, width: u32| {
        u128::from(first) | u128::from(last).unbounded_shl(8 * len.saturating_sub(width))
    };
    if let (Some(first), Some(last)) = (datagram.first_chunk::<8>(), datagram.last_chunk::<8>()) {
        return halves(u64::from_le_bytes(*first), u64::from_le_bytes(*last), 8);
    }
    if let (Some(first), Some(last)) = (datagram.first_chunk::<4>(), datagram.last_chunk::<4>()) {
        return halves(u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into(), 4);
    }
    datagram.iter().rev().fold(0, |bits, &byte| bits << 8 | u128::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_reaches_over_the_value_and_stops_at_the_datagram() {
        let text = Text::new(b"ab: value\r\nnext: x\r\n", 9);
        assert_eq!((text.rest(4), text.end(), text.byte(8), text.byte(9)), (&b"value"[..], 9, b'e', 0));
        assert_eq!(&text.window(4), b"value\r\nnext: x\r\n");
        assert_eq!(text.slice(4, 10), b"");
        assert_eq!(Text::new(b"abc", 4).end(), 0);
        assert!(Text::alone(b"a \r\n ").is_over(1) && !Text::alone(b"a").is_over(0));
    }

    #[test]
    fn windows_at_the_end_hold_zeros() {
        let bytes: Vec<u8> = (1..60).collect();
        for len in 0..=bytes.len() {
            for at in 0..len + 20 {
                let mut expected = [0; 16];
                for (i, byte) in bytes[..len].iter().skip(at).take(16).enumerate() {
                    expected[i] = *byte;
                }
                assert_eq!(Text::alone(&bytes[..len]).window(at), expected, "{at} of {len}");
            }
        }
    }
}
