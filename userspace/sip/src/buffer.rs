//! A message where it lies: some bytes, with free room before and after.

use core::ops::Range;

/// A frame's or socket buffer's bytes and the range in them that is the message. Edits move the message's ends inside
/// it; nothing is copied out. Of any size; the message in it has at most [`limit::MESSAGE`](crate::limit::MESSAGE) octets when
/// it is parsed or edited. There is nothing in it that can fail but [`new`](Self::new) and [`replace`](Self::replace).
#[derive(Debug)]
pub struct Buffer<'b> {
    bytes: &'b mut [u8],
    range: Range<usize>,
}

impl<'b> Buffer<'b> {
    /// `None` when `range` does not lie in `bytes`.
    #[must_use]
    pub fn new(bytes: &'b mut [u8], range: Range<usize>) -> Option<Buffer<'b>> {
        (range.start <= range.end && range.end <= bytes.len()).then_some(Buffer { bytes, range })
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }

    /// Where the message lies now.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Free bytes before the message.
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.range.start
    }

    /// Free bytes after the message.
    #[must_use]
    pub fn tailroom(&self) -> usize {
        self.bytes.len() - self.range.end
    }

    /// Bytes in all: the largest message that an edit can make.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Puts another message at the place of this one, as near to where it began as it fits. `false`, and nothing
    /// changed, when it is larger than the whole buffer.
    pub fn replace(&mut self, message: &[u8]) -> bool {
        let Some(last) = self.bytes.len().checked_sub(message.len()) else { return false };
        let start = self.range.start.min(last);
        let range = start..start + message.len();
        let Some(place) = self.bytes.get_mut(range.clone()) else { return false };
        place.copy_from_slice(message);
        self.range = range;
        true
    }

    /// Makes room for a message of `len` octets at the place of this one, as near to where it began as it fits; its
    /// octets are the caller's to write. `None`, and nothing changed, when it is larger than the whole buffer.
    pub fn place(&mut self, len: usize) -> Option<&mut [u8]> {
        let last = self.bytes.len().checked_sub(len)?;
        let start = self.range.start.min(last);
        self.range = start..start + len;
        self.bytes.get_mut(self.range.clone())
    }

    pub(crate) fn parts(&mut self) -> (&mut [u8], &mut Range<usize>) {
        (self.bytes, &mut self.range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_inside() {
        let mut bytes = [0; 8];
        assert!(Buffer::new(&mut bytes, 3..9).is_none());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 4..3;
        assert!(Buffer::new(&mut bytes, reversed).is_none());
        let mut buffer = Buffer::new(&mut bytes, 6..7).unwrap();
        assert_eq!((buffer.headroom(), buffer.tailroom(), buffer.capacity()), (6, 1, 8));
        assert!(buffer.replace(b"abcd") && buffer.range() == (4..8));
        assert!(!buffer.replace(&[0; 9]) && buffer.message() == b"abcd");
        assert!(buffer.place(9).is_none() && buffer.range() == (4..8));
        buffer.place(6).unwrap().copy_from_slice(b"efghij");
        assert!(buffer.range() == (2..8) && buffer.message() == b"efghij");
    }
}
