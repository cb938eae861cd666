//! Byte classes of RFC 3261 section 25.1 as one 256-entry table.
//!
//! Every grammar rule of the crate asks this table instead of comparing bytes, so that a rule is one
//! load and one mask, and so that the classes can be read in one place.

/// `token`: alphanumerics and ``-.!%*_+`'~``.
pub(crate) const TOKEN: u16 = 1 << 0;
/// `DIGIT`.
pub(crate) const DIGIT: u16 = 1 << 1;
/// `HEXDIG`, either case.
pub(crate) const HEX: u16 = 1 << 2;
/// `user`: `unreserved`, `user-unreserved`, and `%` of an escape (checked apart).
pub(crate) const USER: u16 = 1 << 3;
/// `password`: `unreserved`, ``&=+$,``, and `%`.
pub(crate) const PASSWORD: u16 = 1 << 4;
/// `hostname`: alphanumerics, `-`, `.`; also `_`, which the grammar lacks but the field uses in host names.
pub(crate) const HOSTNAME: u16 = 1 << 5;
/// `paramchar` of a URI parameter, and `%`.
pub(crate) const URI_PARAM: u16 = 1 << 6;
/// `hname` and `hvalue` of URI headers, `%`, and the `&` and `=` between them.
pub(crate) const URI_HEADER: u16 = 1 << 7;
/// `uric`: `reserved`, `unreserved`, `%`, and the brackets of an IPv6 reference.
pub(crate) const URIC: u16 = 1 << 8;
/// A header parameter's unquoted value: what cannot be taken for a separator of the list around it.
/// Wider than `token / host`: phones send branches and tags in base64 with `/` and `=`.
pub(crate) const VALUE: u16 = 1 << 9;
/// `word` and the `@` between two of them: `callid`.
pub(crate) const CALL_ID: u16 = 1 << 10;
/// What can be in an address, with or without angle brackets: visible ASCII without `<`, `>` and `"`.
pub(crate) const ADDRESS: u16 = 1 << 11;
/// What is neither `"` nor `\`: runs on inside a quoted string.
pub(crate) const UNQUOTE: u16 = 1 << 12;
/// `WSP`, `CR` and `LF`: linear white space once folding was checked by the header index.
pub(crate) const LWS: u16 = 1 << 13;
/// An unquoted display name: `token`, white space and UTF-8; see `NameAddr`.
pub(crate) const DISPLAY: u16 = 1 << 14;

/// `%x21-7E`.
pub(crate) const VISIBLE: u16 = 1 << 15;

const fn contains(set: &[u8], byte: u8) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

const fn classes(byte: u8) -> u16 {
    let mut class = 0;
    let alphanum = byte.is_ascii_alphanumeric();
    let unreserved = alphanum || contains(b"-_.!~*'()", byte);
    let escape = byte == b'%';
    if alphanum || contains(b"-.!%*_+`'~", byte) {
        class |= TOKEN | CALL_ID | DISPLAY;
    }
    if contains(b"()<>:\\\"/[]?{}@", byte) {
        class |= CALL_ID;
    }
    if byte.is_ascii_digit() {
        class |= DIGIT;
    }
    if byte.is_ascii_hexdigit() {
        class |= HEX;
    }
    if byte > b' ' && byte < 0x7f && !contains(b"\"<>", byte) {
        class |= ADDRESS;
    }
    if byte > b' ' && byte < 0x7f {
        class |= VISIBLE;
    }
    if byte != b'"' && byte != b'\\' {
        class |= UNQUOTE;
    }
    if unreserved || escape || contains(b"&=+$,;?/", byte) {
        class |= USER;
    }
    if unreserved || escape || contains(b"&=+$,", byte) {
        class |= PASSWORD;
    }
    if alphanum || contains(b"-._", byte) {
        class |= HOSTNAME;
    }
    if unreserved || escape || contains(b"[]/:&+$", byte) {
        class |= URI_PARAM;
    }
    if unreserved || escape || contains(b"[]/?:+$&=", byte) {
        class |= URI_HEADER;
    }
    if unreserved || escape || contains(b";/?:@&=+$,[]", byte) {
        class |= URIC;
    }
    if byte > b' ' && byte < 0x7f && !contains(b";,\"<>\\", byte) {
        class |= VALUE;
    }
    if byte == b' ' || byte == b'\t' {
        class |= LWS | DISPLAY;
    }
    if byte == b'\r' || byte == b'\n' {
        class |= LWS | DISPLAY;
    }
    if byte >= 0x80 {
        class |= DISPLAY;
    }
    class
}

static TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = classes(byte as u8);
        byte += 1;
    }
    table
};

/// Is `byte` in any class of `mask`?
#[inline(always)]
pub(crate) fn is(byte: u8, mask: u16) -> bool {
    TABLE[byte as usize] & mask != 0
}

/// Where the run of bytes in a class of `mask` that begins at `at` ends.
#[inline(always)]
pub(crate) fn run_end(text: &[u8], at: usize, mask: u16) -> usize {
    let mut at = at;
    while let Some(&b) = text.get(at) {
        if !is(b, mask) {
            break;
        }
        at += 1;
    }
    at
}

/// How many bytes from the front of `text` are in a class of `mask`.
#[inline(always)]
pub(crate) fn span(text: &[u8], mask: u16) -> usize {
    run_end(text, 0, mask)
}

/// Is the whole of `text` in the classes of `mask`? True of an empty text.
#[inline]
pub(crate) fn all(text: &[u8], mask: u16) -> bool {
    text.iter().all(|&b| is(b, mask))
}

/// A `token`: not empty.
#[inline]
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, TOKEN)
}

/// Skips linear white space; folding was checked when the header was indexed.
#[inline(always)]
pub(crate) fn skip_lws(text: &[u8], mut at: usize) -> usize {
    // One compare where there is none: every white byte is below any other that a header may hold here.
    while let Some(&b) = text.get(at) {
        if b > b' ' || !is(b, LWS) {
            break;
        }
        at += 1;
    }
    at
}

/// `text` without linear white space at its ends.
#[inline]
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [first, rest @ ..] = text {
        if !is(*first, LWS) {
            break;
        }
        text = rest;
    }
    while let [rest @ .., last] = text {
        if !is(*last, LWS) {
            break;
        }
        text = rest;
    }
    text
}

/// Decimal digits to a number; `None` when empty, not all digits, or above `u32::MAX`. Leading zeros are legal.
#[inline]
pub(crate) fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let mut value: u32 = 0;
    for &b in text {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_grammar() {
        let of = |mask| (0..=255u8).filter(|&b| is(b, mask)).collect::<Vec<_>>();
        let token: Vec<u8> =
            (0..=255u8).filter(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(b)).collect();
        assert_eq!(of(TOKEN), token);
        assert_eq!(of(DIGIT), b"0123456789");
        assert_eq!(of(LWS), b"\t\n\r ");
        assert_eq!(of(HEX), b"0123456789ABCDEFabcdef");
        assert!(!of(USER).contains(&b'@') && !of(USER).contains(&b':') && of(USER).contains(&b';'));
        assert!(!of(VALUE).iter().any(|b| b";,\"<> \t\r\n".contains(b)));
    }

    #[test]
    fn decimal_stops_at_u32() {
        assert_eq!(decimal(b"4294967295"), Some(u32::MAX));
        assert_eq!(decimal(b"4294967296"), None);
        assert_eq!(decimal(b"00000000000000000007"), Some(7));
        for bad in [&b""[..], b"-1", b"+1", b" 1", b"1 ", b"0x1", b"99999999999999999999"] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
    }
}
