//! Header parameters: `*( SEMI generic-param )` of RFC 3261 section 25.1.

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::limit;
use crate::scan;
use crate::text::Text;

/// One parameter: `generic-param = token [ EQUAL gen-value ]` of a header, or `pname [ "=" pvalue ]` of a URI (RFC 3261
/// section 25.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name: a token, in a URI `1*paramchar` with its escapes; compare without regard to case.
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

/// `*( SEMI generic-param )`: the parameters of one header value (RFC 3261 section 25.1), checked when the value was parsed,
/// read on demand.
///
/// A value without quotes is visible ASCII other than `; , " < > \`, which is wider than `gen-value`. At most
/// [`limit::PARAMETERS`]. A name may be there several times; [`find`](Self::find) gives the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    /// From the first `;` (or the white space before it) to the end of the value; empty without parameters.
    raw: &'a [u8],
}

impl<'a> Params<'a> {
    /// Checks parameters that stand alone: text that is empty or begins with `;`.
    ///
    /// # Errors
    /// [`ValueFault::Ended`] or [`ValueFault::Unexpected`] for a parameter without name, or with `=` and no value;
    /// [`ValueFault::Unterminated`] for a quoted string that does not end; [`ValueFault::TooMany`].
    pub fn parse(text: &'a [u8]) -> Result<Params<'a>, ValueError> {
        let text = Text::alone(text);
        let (params, end) = take(text, 0)?;
        if !text.is_over(end) {
            return Err(ValueError::new(ValueFault::Unexpected, end));
        }
        Ok(params)
    }

    /// Parameters that were checked when their value was.
    pub(crate) fn checked(raw: &'a [u8]) -> Params<'a> {
        Params { raw }
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

/// Iterator over [`Params`]. Nothing in it can fail: they were checked.
#[derive(Clone, Debug)]
pub struct ParamIter<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for ParamIter<'a> {
    type Item = Param<'a>;
    fn next(&mut self) -> Option<Param<'a>> {
        let found = one(Text::alone(self.text), self.at).ok().flatten()?;
        self.at = found.end();
        Some(Param {
            name: self.text.get(found.name.0..found.name.1)?,
            value: found.value.and_then(|(from, to)| self.text.get(from..to)),
        })
    }
}

/// Start and end of a piece of text.
pub(crate) type Span = (usize, usize);

/// A [`Span`] inside a value, as views keep it: a message has at most 65,535 octets. Nothing ends at 0, so that is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    from: u16,
    to: u16,
}

impl Piece {
    pub(crate) const NONE: Piece = Piece { from: 0, to: 0 };

    /// The span, counted from `start`.
    #[inline(always)]
    pub(crate) fn new((from, to): Span, start: usize) -> Piece {
        Piece { from: (from - start) as u16, to: (to - start) as u16 }
    }

    /// The span with its ends counted from `start`; `None` when it is already taken.
    #[inline(always)]
    pub(crate) fn put(&mut self, span: Span, start: usize) -> Option<()> {
        let free = self.to == 0;
        *self = Piece::new(span, start);
        free.then_some(())
    }

    /// Where it lies in a value that begins at `offset`.
    #[inline(always)]
    pub(crate) fn range(self, offset: usize) -> Option<core::ops::Range<usize>> {
        (self.to != 0).then(|| offset + usize::from(self.from)..offset + usize::from(self.to))
    }

    /// The piece of `text`.
    #[inline(always)]
    pub(crate) fn of(self, text: &[u8]) -> Option<&[u8]> {
        text.get(self.range(0)?)
    }
}

/// End of the quoted string that begins at `at` (on its `"`), after the closing quote.
#[inline(always)]
pub(crate) fn quoted_end(text: Text<'_>, at: usize) -> Result<usize, ValueError> {
    let mut from = at + 1;
    loop {
        let found = scan::quote(text, from);
        match text.byte(found) {
            b'"' => return Ok(found + 1),
            b'\\' if found + 1 < text.end() => from = found + 2,
            _ => return Err(ValueError::new(ValueFault::Unterminated, at)),
        }
    }
}

/// The parameters whose meaning the views of every message depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Branch,
    Received,
    Rport,
    Tag,
    Other,
}

/// One parameter as it is found: spans of name and value.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) key: Key,
    pub(crate) name: Span,
    pub(crate) value: Option<Span>,
}

impl Found {
    /// The value, which must be there.
    #[inline(always)]
    pub(crate) fn value(&self) -> Result<Span, ValueError> {
        self.value.ok_or(ValueError::new(ValueFault::Ended, self.name.1))
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.value.map_or(self.name.1, |value| value.1)
    }
}

/// The token at `from`, which names a parameter: which one, and where it ends.
#[inline(always)]
fn name(text: Text<'_>, from: usize) -> (Key, usize) {
    // The usual ones, with nothing between name and `=` or `;`, are one compare of eight bytes. Bit 5 set makes lower
    // case, and changes none of the bytes after the names.
    const fn word(name: &[u8; 8]) -> u64 {
        u64::from_le_bytes(*name)
    }
    let Some(window) = text.window(from) else { return unusual_name(text.value(), from) };
    let lower = u128::from_le_bytes(*window) as u64 | word(b"        ");
    let (key, len) = if lower << 8 == word(b"branch= ") << 8 {
        (Key::Branch, 6)
    } else if lower << 32 == word(b"tag=    ") << 32 {
        (Key::Tag, 3)
    } else if lower << 24 == word(b"rport   ") << 24 && !class::is(text.byte(from + 5), class::TOKEN) {
        (Key::Rport, 5)
    } else {
        return unusual_name(text.value(), from);
    };
    // The window reaches beyond the value.
    if from + len <= text.end() { (key, from + len) } else { unusual_name(text.value(), from) }
}

#[inline(never)]
fn unusual_name(value: &[u8], from: usize) -> (Key, usize) {
    let text = Text::alone(value);
    let to = scan::token_end(text, from);
    let name = text.slice(from, to);
    let key = match name.len() {
        3 if name.eq_ignore_ascii_case(b"tag") => Key::Tag,
        5 if name.eq_ignore_ascii_case(b"rport") => Key::Rport,
        6 if name.eq_ignore_ascii_case(b"branch") => Key::Branch,
        8 if name.eq_ignore_ascii_case(b"received") => Key::Received,
        _ => Key::Other,
    };
    (key, to)
}

/// One `SEMI param` at `at`, if there is one.
#[inline(always)]
fn one(text: Text<'_>, at: usize) -> Result<Option<Found>, ValueError> {
    let semi = text.skip_lws(at);
    if text.byte(semi) != b';' {
        return Ok(None);
    }
    let from = text.skip_lws(semi + 1);
    let (key, to) = name(text, from);
    if to == from {
        let fault = if from >= text.end() { ValueFault::Ended } else { ValueFault::Unexpected };
        return Err(ValueError::new(fault, from));
    }
    let equal = text.skip_lws(to);
    if text.byte(equal) != b'=' {
        return Ok(Some(Found { key, name: (from, to), value: None }));
    }
    let value = text.skip_lws(equal + 1);
    let end = match text.byte(value) {
        b'"' => quoted_end(text, value)?,
        _ => scan::value_end(text, value),
    };
    if end == value {
        let fault = if value >= text.end() { ValueFault::Ended } else { ValueFault::Unexpected };
        return Err(ValueError::new(fault, value));
    }
    Ok(Some(Found { key, name: (from, to), value: Some((value, end)) }))
}

/// The parameters from `at` on, one after the other, up to a byte that is not `;`: a comma, or the end.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// Where the next one begins; after the last one, where they end.
    pub(crate) at: usize,
    count: usize,
}

impl Run {
    #[inline(always)]
    pub(crate) fn new(at: usize) -> Run {
        Run { at, count: 0 }
    }

    /// The next parameter.
    #[inline(always)]
    pub(crate) fn next(&mut self, text: Text<'_>) -> Result<Option<Found>, ValueError> {
        match one(text, self.at) {
            Ok(Some(found)) if self.count < limit::PARAMETERS => {
                self.count += 1;
                self.at = found.end();
                Ok(Some(found))
            }
            Ok(Some(_)) => Err(ValueError::new(ValueFault::TooMany, self.at)),
            other => other,
        }
    }
}

/// Checks all parameters from `at` on; also where they end.
pub(crate) fn take(text: Text<'_>, at: usize) -> Result<(Params<'_>, usize), ValueError> {
    let mut run = Run::new(at);
    while run.next(text)?.is_some() {}
    Ok((Params { raw: text.slice(at, run.at) }, run.at))
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
