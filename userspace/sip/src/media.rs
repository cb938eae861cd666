//! Media types: Content-Type, Accept, Content-Disposition (RFC 3261 sections 20.1, 20.11, 20.15).

use crate::dialog::token_with_params;
use crate::error::{ValueError, ValueFault};
use crate::list::{Value, single};
use crate::param::{self, Params};
use crate::scan;
use crate::text::Text;

/// `m-type SLASH m-subtype *( SEMI m-parameter )`: Content-Type (RFC 3261 section 20.15), or one range of Accept, where a
/// type or subtype may be `*` (section 20.1). Any two tokens are taken: a `*` in a Content-Type is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// The type; compare without regard to case.
    pub kind: &'a [u8],
    /// The subtype; compare without regard to case.
    pub subtype: &'a [u8],
    /// Parameters, `q` among them in an Accept.
    pub params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// Parses a Content-Type value.
    ///
    /// # Errors
    /// What the grammar does not allow; more than [`limit::PARAMETERS`](crate::limit::PARAMETERS).
    pub fn parse(text: &'a [u8]) -> Result<MediaType<'a>, ValueError> {
        single(Text::alone(text), 0)
    }

    /// Is it that type, in any case?
    #[must_use]
    pub fn is(&self, kind: &[u8], subtype: &[u8]) -> bool {
        self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
    }
}

impl<'a> Value<'a> for MediaType<'a> {
    fn take(text: Text<'a>, at: usize) -> Result<(MediaType<'a>, usize), ValueError> {
        let from = text.skip_lws(at);
        let kind_end = scan::token_end(text, from);
        let slash = text.skip_lws(kind_end);
        let sub = text.skip_lws(slash + 1);
        let sub_end = scan::token_end(text, sub);
        if kind_end == from || text.byte(slash) != b'/' || sub_end == sub {
            return Err(ValueError::new(ValueFault::Unexpected, from));
        }
        let (params, end) = param::take(text, sub_end)?;
        Ok((MediaType { kind: text.slice(from, kind_end), subtype: text.slice(sub, sub_end), params }, end))
    }
}

/// `disp-type *( SEMI disp-param )`: Content-Disposition (RFC 3261 section 20.11). Any token is a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition<'a> {
    /// `session`, `render`, …; compare without regard to case.
    pub kind: &'a [u8],
    /// `handling=optional`; without it, and with any other value, the handling is required.
    pub is_optional: bool,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Disposition<'a> {
    /// Parses a Content-Disposition value.
    ///
    /// # Errors
    /// What the grammar does not allow; more than [`limit::PARAMETERS`](crate::limit::PARAMETERS).
    pub fn parse(text: &'a [u8]) -> Result<Disposition<'a>, ValueError> {
        let (kind, params) = token_with_params(text)?;
        let is_optional = params.value(b"handling").is_some_and(|v| v.eq_ignore_ascii_case(b"optional"));
        Ok(Disposition { kind, is_optional, params })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        let m = MediaType::parse(b"Application / SDP ;charset=utf-8").unwrap();
        assert!(m.is(b"application", b"sdp") && !m.is(b"text", b"sdp"));
        assert_eq!(m.params.value(b"charset"), Some(&b"utf-8"[..]));
        assert!(MediaType::parse(b"*/*;q=0.5").is_ok());
        for bad in [&b""[..], b"application", b"application/", b"/sdp", b"a/b c", b"a/b;"] {
            assert!(MediaType::parse(bad).is_err());
        }
        let d = Disposition::parse(b"session;handling=optional").unwrap();
        assert!(d.is_optional && d.kind == b"session");
    }
}
