//! Escapes of RFC 3261 section 19.1.2.

use core::fmt;

use crate::class;

/// Why a text could not be unescaped, or escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnescapeError {
    /// A `%` without two hexadecimal digits.
    Escape,
    /// The destination is too small.
    NoRoom,
}

impl fmt::Display for UnescapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnescapeError::Escape => "% without two hexadecimal digits",
            UnescapeError::NoRoom => "unescaped text does not fit",
        })
    }
}

impl core::error::Error for UnescapeError {}

/// The byte at the front of `text`, unescaped, and how many bytes it took. A malformed escape stands for itself.
#[inline]
pub(super) fn unescaped(text: &[u8]) -> Option<(u8, bool, usize)> {
    match text {
        [b'%', high, low, ..] if class::is(*high, class::HEX) && class::is(*low, class::HEX) => {
            Some((hex(*high) << 4 | hex(*low), true, 3))
        }
        [byte, ..] => Some((*byte, false, 1)),
        [] => None,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10) & 15,
    }
}

/// Writes `text` without its escapes (`escaped = "%" HEXDIG HEXDIG`, RFC 3261 sections 19.1.2 and 25.1) into `out` and returns
/// what was written. The result may hold any byte, NUL too
/// (RFC 4475 section 3.1.1.4): it is a key or a label, never text to be put into a message again.
///
/// # Errors
/// A malformed escape; `out` too small (`text.len()` bytes always suffice).
pub fn unescape_into<'o>(text: &[u8], out: &'o mut [u8]) -> Result<&'o [u8], UnescapeError> {
    let mut len = 0;
    let mut rest = text;
    while let Some((byte, escaped, took)) = unescaped(rest) {
        if byte == b'%' && !escaped {
            return Err(UnescapeError::Escape);
        }
        *out.get_mut(len).ok_or(UnescapeError::NoRoom)? = byte;
        len += 1;
        rest = &rest[took..];
    }
    out.get(..len).ok_or(UnescapeError::NoRoom)
}

/// Writes `user` into `out` as a URI's user part: what the grammar does not allow there is escaped, `%` too.
/// Three bytes of `out` for each of `user` always suffice.
///
/// # Errors
/// [`UnescapeError::NoRoom`].
pub fn escape_user<'o>(user: &[u8], out: &'o mut [u8]) -> Result<&'o [u8], UnescapeError> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut len = 0;
    let mut put = |byte: u8| {
        *out.get_mut(len).ok_or(UnescapeError::NoRoom)? = byte;
        len += 1;
        Ok(())
    };
    for &byte in user {
        if class::is(byte, class::USER) && byte != b'%' {
            put(byte)?;
        } else {
            put(b'%')?;
            put(DIGITS[usize::from(byte >> 4)])?;
            put(DIGITS[usize::from(byte & 15)])?;
        }
    }
    out.get(..len).ok_or(UnescapeError::NoRoom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_of_rfc_4475() {
        let mut out = [0; 64];
        assert_eq!(unescape_into(b"sips%3Auser%40example.com", &mut out), Ok(&b"sips:user@example.com"[..]));
        assert_eq!(unescape_into(b"null-%00-null", &mut out), Ok(&b"null-\0-null"[..]));
        for bad in [&b"%"[..], b"a%", b"%4", b"%4x", b"%%41"] {
            assert_eq!(unescape_into(bad, &mut out), Err(UnescapeError::Escape));
        }
        assert_eq!(unescape_into(b"abc", &mut [0; 2]), Err(UnescapeError::NoRoom));
    }

    proptest! {
        #[test]
        fn escaping_is_undone_and_makes_a_user(user in prop::collection::vec(any::<u8>(), 1..40)) {
            let (mut there, mut back) = ([0; 120], [0; 120]);
            let escaped = escape_user(&user, &mut there).unwrap();
            let uri = [b"sip:", escaped, b"@h"].concat();
            prop_assert_eq!(crate::Uri::parse(&uri).unwrap().user(), Some(escaped));
            prop_assert_eq!(unescape_into(escaped, &mut back).unwrap(), &user[..]);
        }
    }
}
