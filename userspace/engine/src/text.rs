//! Text of a fixed size: header lines and phrases of replies are put together here without allocation.

use core::fmt;

/// At most `N` octets. Writing more fails and leaves what was there.
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub(crate) const fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Appends octets.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> fmt::Result {
        let end = self.len + bytes.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Appends a header line with its CRLF; all of it or, without room, nothing.
    pub(crate) fn line(&mut self, write: impl FnOnce(&mut Self) -> fmt::Result) -> fmt::Result {
        let before = self.len;
        let done = write(self).and_then(|()| self.push(b"\r\n"));
        if done.is_err() {
            self.len = before;
        }
        done
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write as _;

    #[test]
    fn a_line_is_there_whole_or_not_at_all() {
        let mut text = Text::<10>::new();
        assert!(text.line(|t| write!(t, "A: {}", 1)).is_ok());
        assert!(text.line(|t| t.push(b"B: 22")).is_err());
        assert_eq!(text.as_bytes(), b"A: 1\r\n");
        assert!(text.line(|t| t.push(b"C:")).is_ok());
        assert_eq!(text.as_bytes(), b"A: 1\r\nC:\r\n");
        assert!(text.push(b"x").is_err());
        text.clear();
        assert!(text.as_bytes().is_empty());
    }
}
