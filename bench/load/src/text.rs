//! Short texts of bounded length that live where they stand: what a call keeps between messages.

/// At most `N` octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<const N: usize> {
    len: u16,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    pub(crate) const EMPTY: Self = Self { len: 0, bytes: [0; N] };

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds all of it, or nothing and false where there is no room.
    #[must_use]
    pub(crate) fn push(&mut self, text: &[u8]) -> bool {
        let (from, to) = (usize::from(self.len), usize::from(self.len) + text.len());
        match self.bytes.get_mut(from..to).filter(|_| to <= usize::from(u16::MAX)) {
            Some(room) => {
                room.copy_from_slice(text);
                self.len = to as u16;
                true
            }
            None => false,
        }
    }

    /// Replaces what was there.
    #[must_use]
    pub(crate) fn set(&mut self, text: &[u8]) -> bool {
        self.clear();
        self.push(text)
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The lower-case hexadecimal digits of a number: eight.
pub(crate) fn hex(number: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (at, digit) in digits.iter_mut().enumerate() {
        let nibble = number >> (28 - 4 * at) & 15;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
    digits
}

/// The number that eight hexadecimal digits are.
pub(crate) fn unhex(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 {
        return None;
    }
    digits.iter().try_fold(0_u32, |number, &digit| {
        Some(number << 4 | char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase())?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let mut text = Text::<4>::EMPTY;
        assert!(text.push(b"abc") && !text.push(b"de") && text.push(b"d") && !text.push(b"e"));
        assert_eq!(text.as_bytes(), b"abcd");
        assert!(!text.set(b"12345") && text.is_empty());
    }

    #[test]
    fn hexadecimal_and_back() {
        for number in [0, 1, 0x89ab_cdef, u32::MAX] {
            assert_eq!(hex(number), format!("{number:08x}").as_bytes());
            assert_eq!(unhex(&hex(number)), Some(number));
        }
        for wrong in [&b"0000000"[..], b"000000000", b"0000000g", b"0000000F", b"+0000000"] {
            assert_eq!(unhex(wrong), None);
        }
    }
}
