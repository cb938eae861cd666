//! Header parameters: `*( SEMI generic-param )` of RFC 3261 section 25.1.

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::limit;

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name, a token; compare without regard to case.
    pub name: &'a [u8],
    /// The value as it stands, a quoted string with its quotes; `None` when there is no `=`.
    pub value: Option<&'a [u8]>,
}

impl<'a> Param<'a> {
    /// The value without its quotes; escapes stay as they are (see [`unescape`](crate::quoted::unescape)).
    #[must_use]
    pub fn unquoted(&self) -> Option<&'a [u8]> {
        self.value.map(strip_quotes)
    }
}

/// The parameters of one header value: checked when the value was parsed, read on demand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    /// From the first `;` (or the white space before it) to the end of the value; empty without parameters.
    raw: &'a [u8],
}

impl<'a> Params<'a> {
    /// Checks parameters that stand alone: text that is empty or begins with `;`.
    ///
    /// # Errors
    /// Whatever the grammar does not allow, with its offset.
    pub fn parse(text: &'a [u8]) -> Result<Params<'a>, ValueError> {
        let (params, end) = take(text, 0, |_, _| Ok(()))?;
        if class::skip_lws(text, end) != text.len() {
            return Err(ValueError::new(ValueFault::Unexpected, end));
        }
        Ok(params)
    }

    /// The parameters as they stand, from the first `;`.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// The parameters in their order.
    #[must_use]
    pub fn iter(&self) -> ParamIter<'a> {
        ParamIter { text: self.raw, at: 0 }
    }

    /// The first parameter of that name, in any case.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Param<'a>> {
        self.iter().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// The value of the first parameter of that name, without quotes.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.find(name).and_then(|p| p.unquoted())
    }

    /// Is a parameter of that name there, with or without value?
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }
}

impl<'a> IntoIterator for Params<'a> {
    type Item = Param<'a>;
    type IntoIter = ParamIter<'a>;
    fn into_iter(self) -> ParamIter<'a> {
        self.iter()
    }
}

/// Iterator over [`Params`].
#[derive(Clone, Debug)]
pub struct ParamIter<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for ParamIter<'a> {
    type Item = Param<'a>;
    fn next(&mut self) -> Option<Param<'a>> {
        let (name, value, next) = one(self.text, self.at).ok().flatten()?;
        self.at = next;
        Some(Param {
            name: self.text.get(name.0..name.1)?,
            value: value.and_then(|(from, to)| self.text.get(from..to)),
        })
    }
}

/// Start and end of a piece of text.
pub(crate) type Span = (usize, usize);

/// End of the quoted string that begins at `at` (on its `"`), after the closing quote.
#[inline]
pub(crate) fn quoted_end(text: &[u8], at: usize) -> Result<usize, ValueError> {
    let mut from = at + 1;
    loop {
        let rest = text.get(from..).unwrap_or_default();
        match memchr::memchr2(b'"', b'\\', rest) {
            Some(i) if rest[i] == b'"' => return Ok(from + i + 1),
            Some(i) if i + 1 < rest.len() => from += i + 2,
            _ => return Err(ValueError::new(ValueFault::Unterminated, at)),
        }
    }
}

/// One `SEMI param` at `at`, if there is one: spans of name and value, and where the next begins.
#[inline(always)]
fn one(text: &[u8], at: usize) -> Result<Option<(Span, Option<Span>, usize)>, ValueError> {
    let semi = class::skip_lws(text, at);
    if text.get(semi) != Some(&b';') {
        return Ok(None);
    }
    let from = class::skip_lws(text, semi + 1);
    let to = from + class::span(text.get(from..).unwrap_or_default(), class::TOKEN);
    if to == from {
        let fault = if from == text.len() { ValueFault::Ended } else { ValueFault::Unexpected };
        return Err(ValueError::new(fault, from));
    }
    let equal = class::skip_lws(text, to);
    if text.get(equal) != Some(&b'=') {
        return Ok(Some(((from, to), None, to)));
    }
    let value = class::skip_lws(text, equal + 1);
    let end = match text.get(value) {
        None => return Err(ValueError::new(ValueFault::Ended, value)),
        Some(b'"') => quoted_end(text, value)?,
        Some(_) => value + class::span(text.get(value..).unwrap_or_default(), class::VALUE),
    };
    if end == value {
        return Err(ValueError::new(ValueFault::Unexpected, value));
    }
    Ok(Some(((from, to), Some((value, end)), end)))
}

/// Reads all parameters from `at` on, up to a byte that is not `;` (a comma, or the end). `each` sees the spans of name
/// and value of every one and may refuse it.
#[inline(always)]
pub(crate) fn take<'a>(
    text: &'a [u8],
    at: usize,
    mut each: impl FnMut(Span, Option<Span>) -> Result<(), ValueError>,
) -> Result<(Params<'a>, usize), ValueError> {
    let mut end = at;
    let mut count = 0;
    while let Some((name, value, next)) = one(text, end)? {
        count += 1;
        if count > limit::PARAMETERS {
            return Err(ValueError::new(ValueFault::TooMany, end));
        }
        each(name, value)?;
        end = next;
    }
    Ok((Params { raw: text.get(at..end).unwrap_or_default() }, end))
}

/// Text between quotes, or the text as it is.
pub(crate) fn strip_quotes(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_with_and_without_value() {
        let params = Params::parse(b" ;a=b; C ; d = \"x;\\\",y\" ;e=[::1]:5").unwrap();
        let all: Vec<_> = params.iter().collect();
        assert_eq!(all.len(), 4);
        assert_eq!(params.value(b"A"), Some(&b"b"[..]));
        assert!(params.contains(b"c") && params.find(b"c").unwrap().value.is_none());
        assert_eq!(params.value(b"d"), Some(&b"x;\\\",y"[..]));
        assert_eq!(params.value(b"e"), Some(&b"[::1]:5"[..]));
    }

    #[test]
    fn half_parameters_are_errors() {
        for (text, fault) in [
            (&b";"[..], ValueFault::Ended),
            (b";;a", ValueFault::Unexpected),
            (b";a=", ValueFault::Ended),
            (b";a=;b", ValueFault::Unexpected),
            (b";a=\"b", ValueFault::Unterminated),
            (b";a=\"b\\\"", ValueFault::Unterminated),
            (b";a=\"b\\", ValueFault::Unterminated),
            (b";=a", ValueFault::Unexpected),
            (b";a b", ValueFault::Unexpected),
            (b"a", ValueFault::Unexpected),
        ] {
            assert_eq!(
                Params::parse(text).unwrap_err().fault,
                fault,
                "{:?}",
                text.escape_ascii().to_string()
            );
        }
        let many = b";a".repeat(limit::PARAMETERS);
        assert!(Params::parse(&many).is_ok());
        assert_eq!(Params::parse(&[&many[..], b";b"].concat()).unwrap_err().fault, ValueFault::TooMany);
    }
}
