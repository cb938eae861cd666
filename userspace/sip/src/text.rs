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

    /// The datagram from `at` on.
    #[inline(always)]
    pub(crate) fn reach(self, at: usize) -> &'a [u8] {
        self.reach.get(at..).unwrap_or_default()
    }

    /// What is left from `at` on.
    #[inline(always)]
    pub(crate) fn rest(self, at: usize) -> &'a [u8] {
        self.value.get(at..).unwrap_or_default()
    }

    /// 16 bytes from `at` on, if the datagram has them. What is beyond the value is arbitrary.
    ///
    /// Without them the caller takes a way of its own, out of line: bytes put together in memory would wait for each other
    /// when they are loaded as a vector, and a vector that may come from memory makes the usual one go through it too.
    #[inline(always)]
    pub(crate) fn window(self, at: usize) -> Option<&'a [u8; 16]> {
        self.reach.get(at..)?.first_chunk::<16>()
    }

    /// So many bytes from `at` on, if the datagram has them. What is beyond the value is arbitrary.
    #[inline(always)]
    pub(crate) fn bytes<const N: usize>(self, at: usize) -> Option<&'a [u8; N]> {
        bytes_at(self.reach, at as u32)
    }

    /// Four bytes from `at` on, the first one lowest, if the datagram has them. What is beyond the value is arbitrary.
    #[inline(always)]
    pub(crate) fn word(self, at: usize) -> Option<u32> {
        self.reach.get(at..)?.first_chunk::<4>().map(|word| u32::from_le_bytes(*word))
    }

    /// Skips linear white space; folding was checked when the header was indexed.
    #[inline(always)]
    pub(crate) fn skip_lws(self, at: usize) -> usize {
        // One compare where there is none: white bytes are below every other that may stand here.
        match self.value.get(at) {
            Some(..=b' ') => skip_white(self.value, at),
            _ => at,
        }
    }

    /// Is there nothing but white space from `at` on?
    #[inline(always)]
    pub(crate) fn is_over(self, at: usize) -> bool {
        at >= self.end() || self.skip_lws(at) >= self.end()
    }
}

/// `N` bytes from `at` on, if `bytes` has them. With a position of 32 bits there is one compare: no sum with it can overflow.
#[inline(always)]
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], at: u32) -> Option<&[u8; N]> {
    let at = at as usize;
    bytes.get(at..at + N)?.first_chunk()
}

// What is called rarely stays out of line and takes slices: a `Text` that is passed by address has to live in memory,
// and is then loaded in other pieces than it was stored, which stalls.

#[inline(never)]
fn skip_white(value: &[u8], at: usize) -> usize {
    class::run_end(value, at, class::LWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_reaches_over_the_value_and_stops_at_the_datagram() {
        let text = Text::new(b"ab: value\r\nnext: x\r\n", 9);
        assert_eq!((text.rest(4), text.end(), text.byte(8), text.byte(9)), (&b"value"[..], 9, b'e', 0));
        assert_eq!(text.window(4), Some(b"value\r\nnext: x\r\n"));
        assert_eq!((text.window(5), text.window(99)), (None, None));
        assert_eq!((text.word(16), text.word(17)), (Some(u32::from_le_bytes(*b" x\r\n")), None));
        assert_eq!(text.slice(4, 10), b"");
        assert_eq!(Text::new(b"abc", 4).end(), 0);
        assert!(Text::alone(b"a \r\n ").is_over(1) && !Text::alone(b"a").is_over(0));
    }
}
