//! Headers that are numbers or words: CSeq, Max-Forwards, Expires, Call-ID.

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::limit;
use crate::scan;
use crate::start::Method;

/// `CSeq = 1*DIGIT LWS Method` (RFC 3261 section 20.16).
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
    #[inline]
    pub fn parse(text: &'a [u8]) -> Result<CSeq<'a>, ValueError> {
        let digits = class::span(text, class::DIGIT);
        let from = class::skip_lws(text, digits);
        if digits == 0 || from == digits {
            return Err(ValueError::new(ValueFault::Unexpected, digits));
        }
        let number = class::decimal(&text[..digits])
            .filter(|&n| n <= limit::CSEQ)
            .ok_or(ValueError::new(ValueFault::Number, 0))?;
        let method =
            Method::from_bytes(&text[from..]).ok_or(ValueError::new(ValueFault::Unexpected, from))?;
        Ok(CSeq { number, method })
    }
}

/// `Max-Forwards = 1*DIGIT`, 0 to 255 (RFC 3261 section 20.22).
pub(crate) fn max_forwards(text: &[u8]) -> Result<u32, ValueError> {
    class::decimal(text).filter(|&n| n <= limit::MAX_FORWARDS).ok_or(ValueError::new(ValueFault::Number, 0))
}

/// `callid = word [ "@" word ]` (RFC 3261 section 20.8). More than one `@` is tolerated: it is an opaque key.
#[inline]
pub(crate) fn call_id(text: &[u8]) -> Result<&[u8], ValueError> {
    let len = scan::call_id_end(text, 0);
    if len != text.len() {
        return Err(ValueError::new(ValueFault::Unexpected, len));
    }
    if len == 0 {
        return Err(ValueError::new(ValueFault::Ended, 0));
    }
    if len > limit::IDENTIFIER {
        return Err(ValueError::new(ValueFault::TooLong, limit::IDENTIFIER));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn max_forwards_is_a_byte() {
        assert_eq!(max_forwards(b"0068"), Ok(68));
        assert_eq!(max_forwards(b"255"), Ok(255));
        for bad in [&b"256"[..], b"300", b"-1", b"", b"7 0", b"99999999999"] {
            assert!(max_forwards(bad).is_err());
        }
    }
}
