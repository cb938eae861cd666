//! Headers that are numbers or words: CSeq, Max-Forwards, Expires, Call-ID.

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::limit;
use crate::scan;
use crate::start::{self, Method};
use crate::text::Text;

/// `CSeq = 1*DIGIT LWS Method` (RFC 3261 sections 20.16 and 25.1). Any number of leading zeros is legal; the number is at most
/// [`limit::CSEQ`]. Whether the method is the request's is checked by [`Message::essentials`](crate::Message::essentials).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// 0 to 2^31 − 1 (section 8.1.1.5).
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Parses a CSeq value.
    ///
    /// # Errors
    /// [`ValueFault::Number`] for 2^31 and above; [`ValueFault::Unexpected`] where number, white space and method are
    /// not in this order.
    pub fn parse(text: &'a [u8]) -> Result<CSeq<'a>, ValueError> {
        Self::read(Text::alone(text), 0)
    }

    #[inline(always)]
    pub(crate) fn read(text: Text<'a>, at: usize) -> Result<CSeq<'a>, ValueError> {
        let cseq = match Self::usual(text, at) {
            Some(cseq) => cseq,
            None => Self::any(text.value(), at)?,
        };
        Ok(cseq)
    }

    /// Up to eight digits, one space, one of the six methods of RFC 3261; `None` for any other.
    #[inline(always)]
    fn usual(text: Text<'a>, at: usize) -> Option<CSeq<'a>> {
        let (number, digits) = scan::short_number(text.bytes(at)?);
        let space = at + digits;
        let [b' ', method @ ..] = text.bytes::<9>(space)? else { return None };
        let method = start::usual_method(*method, text.end().wrapping_sub(space + 1))?;
        (digits.wrapping_sub(1) < 8).then_some(CSeq { number, method })
    }

    #[inline(never)]
    fn any(value: &'a [u8], at: usize) -> Result<CSeq<'a>, ValueError> {
        let text = Text::alone(value);
        let number = scan::number(text, at);
        let end = match number {
            Some((_, end)) => end,
            None => at + class::span(text.rest(at), class::DIGIT),
        };
        let from = text.skip_lws(end);
        if end == at || from == end {
            return Err(ValueError::new(ValueFault::Unexpected, end));
        }
        match (number, Method::from_bytes(text.rest(from))) {
            (Some((number, _)), Some(method)) if number <= limit::CSEQ => Ok(CSeq { number, method }),
            (Some((..=limit::CSEQ, _)), None) => Err(ValueError::new(ValueFault::Unexpected, from)),
            _ => Err(ValueError::new(ValueFault::Number, at)),
        }
    }
}

/// A number and nothing else.
#[inline(always)]
pub(crate) fn whole(text: Text<'_>, at: usize) -> Result<u32, ValueError> {
    if let Some(front) = text.bytes(at)
        && let (number, digits @ 1..=8) = scan::short_number(front)
        && at + digits == text.end()
    {
        return Ok(number);
    }
    any_whole(text.value(), at)
}

#[inline(never)]
fn any_whole(value: &[u8], at: usize) -> Result<u32, ValueError> {
    let text = Text::alone(value);
    match scan::number(text, at) {
        Some((number, end)) if end == text.end() => Ok(number),
        _ => Err(ValueError::new(ValueFault::Number, at)),
    }
}

/// `Max-Forwards = 1*DIGIT`, 0 to 255 (RFC 3261 section 20.22).
#[inline(always)]
pub(crate) fn max_forwards(text: Text<'_>, at: usize) -> Result<u32, ValueError> {
    match whole(text, at) {
        Ok(number) if number <= limit::MAX_FORWARDS => Ok(number),
        _ => Err(ValueError::new(ValueFault::Number, at)),
    }
}

/// `callid = word [ "@" word ]` (RFC 3261 section 20.8). More than one `@` is tolerated: it is an opaque key.
#[inline(always)]
pub(crate) fn call_id(text: Text<'_>, at: usize) -> Result<&[u8], ValueError> {
    // Most are short, of the usual letters, and followed by other headers.
    if let Some(window) = text.bytes::<32>(at)
        && let len @ 1..32 = scan::plain_call_id(window)
        && at + len == text.end()
    {
        return Ok(text.rest(at));
    }
    any_call_id(text.value(), at)
}

#[inline(never)]
fn any_call_id(value: &[u8], at: usize) -> Result<&[u8], ValueError> {
    let text = Text::alone(value);
    let end = scan::call_id_end(text, at);
    if end != text.end() {
        return Err(ValueError::new(ValueFault::Unexpected, end));
    }
    match end - at {
        0 => Err(ValueError::new(ValueFault::Ended, at)),
        1..=limit::IDENTIFIER => Ok(text.rest(at)),
        _ => Err(ValueError::new(ValueFault::TooLong, at)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cseq() {
        assert_eq!(CSeq::parse(b"0009\r\n  INVITE"), Ok(CSeq { number: 9, method: Method::Invite }));
        assert_eq!(CSeq::parse(b"2147483647 ACK"), Ok(CSeq { number: limit::CSEQ, method: Method::Ack }));
        for (text, fault) in [
            (&b"2147483648 ACK"[..], ValueFault::Number),
            (b"36893488147419103232 REGISTER", ValueFault::Number),
            (b"-1 ACK", ValueFault::Unexpected),
            (b"1ACK", ValueFault::Unexpected),
            (b"1", ValueFault::Unexpected),
            (b"1 ", ValueFault::Unexpected),
            (b"1 A B", ValueFault::Unexpected),
            (b"INVITE", ValueFault::Unexpected),
            (b"", ValueFault::Unexpected),
        ] {
            assert_eq!(CSeq::parse(text).unwrap_err().fault, fault, "{:?}", text.escape_ascii().to_string());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_follows_a_value_does_not_matter(
            text in "[0-9]{0,10} {0,2}(INVITE|ACK|BYE|CANCEL|REGISTER|OPTIONS|INFO|[A-Za-z]{0,9})|[0-9]{1,11}|[!-~]{1,33}|[a-z0-9@.]{0,33}",
            after in "[ -~]{0,3}",
        ) {
            let datagram = format!("x{text}{after}{}", "\r\n".repeat(20));
            let within = Text::new(datagram.as_bytes(), 1 + text.len());
            prop_assert_eq!(CSeq::read(within, 1), CSeq::any(within.value(), 1));
            prop_assert_eq!(call_id(within, 1), any_call_id(within.value(), 1));
            prop_assert_eq!(whole(within, 1), any_whole(within.value(), 1));
        }
    }

    #[test]
    fn max_forwards_is_a_byte() {
        assert_eq!(max_forwards(Text::alone(b"0068"), 0), Ok(68));
        assert_eq!(max_forwards(Text::alone(b"255"), 0), Ok(255));
        for bad in [&b"256"[..], b"300", b"-1", b"", b"7 0", b"99999999999"] {
            assert!(max_forwards(Text::alone(bad), 0).is_err());
        }
    }
}
