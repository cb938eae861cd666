//! The inside of a quoted string: `*( qdtext / quoted-pair )` of RFC 3261 section 25.1.
//!
//! Views give quoted values without their quotes and with their escapes, since undoing them would need memory. These two
//! read through the escapes. Whether the inside is UTF-8 is not checked.

/// The bytes of a quoted string's inside (without its quotes) with every quoted pair replaced by its second byte. A `\` at
/// the very end, which no view leaves there, is dropped.
pub fn unescape(inside: &[u8]) -> impl Iterator<Item = u8> + Clone + '_ {
    let mut bytes = inside.iter().copied();
    core::iter::from_fn(move || match bytes.next() {
        Some(b'\\') => bytes.next(),
        other => other,
    })
}

/// Is the inside of a quoted string, unescaped, the same as `text`? Case counts (RFC 3261 section 7.3.1).
#[must_use]
pub fn equals(inside: &[u8], text: &[u8]) -> bool {
    unescape(inside).eq(text.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_undone() {
        assert_eq!(unescape(br#"J Rosenberg \\\""#).collect::<Vec<_>>(), br#"J Rosenberg \""#);
        assert_eq!(unescape(b"a\\").collect::<Vec<_>>(), b"a");
        assert!(equals(b"a\\b", b"ab") && !equals(b"a", b"A") && !equals(b"a", b"ab"));
    }
}
