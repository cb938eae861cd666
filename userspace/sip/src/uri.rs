//! URIs: SIP and SIPS of RFC 3261 section 19.1, tel of RFC 3966, any other as scheme and rest.

mod compare;
mod escape;

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::host::{self, Host};
use crate::limit;
use crate::param::{Param, Span};
use crate::via::Transport;

pub use escape::{UnescapeError, escape_user, unescape_into};

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966)
    Tel,
    /// Any other; a proxy that has to route by it answers 416.
    Other(&'a [u8]),
}

/// A URI, checked as a whole when it was parsed.
///
/// For `sip` and `sips`: `scheme ":" [ user [ ":" password ] "@" ] host [ ":" port ] *( ";" param ) [ "?" headers ]`.
/// For `tel` the number is in [`user`](Self::user) and the parameters are read; for other schemes everything after
/// the colon is in [`opaque`](Self::opaque).
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme<'a>,
    /// User part as it stands, escapes and all; the number of a tel URI.
    pub user: Option<&'a [u8]>,
    /// Password as it stands.
    pub password: Option<&'a [u8]>,
    /// Host; `None` for schemes other than sip and sips.
    pub host: Option<Host<'a>>,
    /// Port.
    pub port: Option<u16>,
    /// Parameters.
    pub params: UriParams<'a>,
    /// Text after `?`, as it stands.
    pub headers: Option<&'a [u8]>,
    /// What follows the scheme's colon, for schemes other than sip, sips and tel.
    pub opaque: &'a [u8],
    text: &'a [u8],
    host_span: Span,
}

impl<'a> Uri<'a> {
    /// Parses a URI that stands alone, without angle brackets.
    ///
    /// # Errors
    /// A byte that the grammar does not allow, an escape without its digits, a host or port that is none, a parameter that
    /// is there twice, a part over its limit.
    pub fn parse(text: &'a [u8]) -> Result<Uri<'a>, ValueError> {
        if text.len() > limit::REQUEST_URI {
            return Err(ValueError::new(ValueFault::TooLong, limit::REQUEST_URI));
        }
        let (scheme, from) = scheme(text)?;
        let mut uri = Uri {
            scheme,
            user: None,
            password: None,
            host: None,
            port: None,
            params: UriParams { raw: b"" },
            headers: None,
            opaque: b"",
            text,
            host_span: (from, from),
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => uri.sip(from)?,
            Scheme::Tel => uri.tel(from)?,
            Scheme::Other(_) => {
                uri.opaque = text.get(from..).unwrap_or_default();
                if uri.opaque.is_empty() {
                    return Err(ValueError::new(ValueFault::Ended, from));
                }
                if let Some(bad) = uri.opaque.iter().position(|&b| !class::is(b, class::URIC) && b != b'#') {
                    return Err(ValueError::new(ValueFault::Unexpected, from + bad));
                }
            }
        }
        Ok(uri)
    }

    /// The whole URI as it stands.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// The host as it is written, brackets and all; empty for schemes other than sip and sips.
    #[must_use]
    pub fn host_bytes(&self) -> &'a [u8] {
        self.text.get(self.host_span.0..self.host_span.1).unwrap_or_default()
    }

    /// Is this a sip or sips URI?
    #[must_use]
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// Does the URI belong to a loose router (`lr`, RFC 3261 section 19.1.1)?
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.params.contains(b"lr")
    }

    /// The transport parameter.
    #[must_use]
    pub fn transport(&self) -> Option<Transport<'a>> {
        self.params.value(b"transport").map(Transport::from_bytes)
    }

    /// The `hname=hvalue` pairs after `?`.
    pub fn header_pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let text = self.headers.unwrap_or_default();
        text.split(|&b| b == b'&').filter_map(|pair| {
            let equal = pair.iter().position(|&b| b == b'=')?;
            Some((pair.get(..equal)?, pair.get(equal + 1..)?))
        })
    }

    fn sip(&mut self, from: usize) -> Result<(), ValueError> {
        let text = self.text;
        let mut at = from;
        // An `@` can only end the userinfo: neither host, parameters nor headers may hold one unescaped.
        let rest = text.get(from..).unwrap_or_default();
        if let Some(i) = memchr::memchr(b'@', rest) {
            let info = &rest[..i];
            let user = class::span(info, class::USER);
            if user == 0 {
                return Err(ValueError::new(ValueFault::Unexpected, from));
            }
            check_escapes(&info[..user], from)?;
            self.user = Some(&info[..user]);
            if let Some((colon, password)) = info[user..].split_first() {
                let bad = class::span(password, class::PASSWORD);
                if *colon != b':' || bad != password.len() {
                    let offset = if *colon == b':' { user + 1 + bad } else { user };
                    return Err(ValueError::new(ValueFault::Unexpected, from + offset));
                }
                check_escapes(password, from + user + 1)?;
                self.password = Some(password);
            }
            at = from + i + 1;
        }
        let (host, end) = host::take(text, at)?;
        self.host = Some(host);
        self.host_span = (at, end);
        at = end;
        if text.get(at) == Some(&b':') {
            let (port, end) = host::port(text, at + 1)?;
            self.port = Some(port);
            at = end;
        }
        if at == text.len() {
            return Ok(());
        }
        let end = self.take_params(at)?;
        match text.get(end) {
            None => Ok(()),
            Some(b'?') => self.take_headers(end + 1),
            Some(_) => Err(ValueError::new(ValueFault::Unexpected, end)),
        }
    }

    fn tel(&mut self, from: usize) -> Result<(), ValueError> {
        let rest = self.text.get(from..).unwrap_or_default();
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let number = &rest[..end];
        // RFC 3966 section 3: global numbers have digits and visual separators, local ones also hexadecimal, * and #.
        let digits = number.strip_prefix(b"+").unwrap_or(number);
        let local = digits.len() == number.len();
        let allowed = |b: u8| {
            b.is_ascii_digit()
                || b"-.()".contains(&b)
                || (local && (class::is(b, class::HEX) || b == b'*' || b == b'#'))
        };
        if let Some(bad) = digits.iter().position(|&b| !allowed(b)) {
            return Err(ValueError::new(ValueFault::Unexpected, from + number.len() - digits.len() + bad));
        }
        if !digits.iter().any(|&b| b.is_ascii_hexdigit() || b == b'*' || b == b'#') {
            return Err(ValueError::new(ValueFault::Ended, from + end));
        }
        self.user = Some(number);
        let end = self.take_params(from + end)?;
        if end == self.text.len() { Ok(()) } else { Err(ValueError::new(ValueFault::Unexpected, end)) }
    }

    fn take_params(&mut self, at: usize) -> Result<usize, ValueError> {
        let text = self.text;
        let mut end = at;
        let mut count = 0;
        while text.get(end) == Some(&b';') {
            count += 1;
            if count > limit::PARAMETERS {
                return Err(ValueError::new(ValueFault::TooMany, end));
            }
            let mut from = end + 1;
            for part in 0..2 {
                let piece = text.get(from..).unwrap_or_default();
                let len = class::span(piece, class::URI_PARAM);
                if len == 0 {
                    let fault = if piece.is_empty() { ValueFault::Ended } else { ValueFault::Unexpected };
                    return Err(ValueError::new(fault, from));
                }
                check_escapes(&piece[..len], from)?;
                end = from + len;
                if part == 1 || text.get(end) != Some(&b'=') {
                    break;
                }
                from = end + 1;
            }
        }
        self.params = UriParams { raw: text.get(at..end).unwrap_or_default() };
        if count > 1 && self.params.has_duplicate() {
            return Err(ValueError::new(ValueFault::DuplicateParameter, at));
        }
        Ok(end)
    }

    fn take_headers(&mut self, at: usize) -> Result<(), ValueError> {
        let headers = self.text.get(at..).unwrap_or_default();
        let mut from = at;
        for (count, pair) in headers.split(|&b| b == b'&').enumerate() {
            if count == limit::PARAMETERS {
                return Err(ValueError::new(ValueFault::TooMany, from));
            }
            let equal = memchr::memchr(b'=', pair).filter(|&e| e > 0);
            let Some(equal) = equal else { return Err(ValueError::new(ValueFault::Unexpected, from)) };
            if let Some(bad) = pair.iter().position(|&b| !class::is(b, class::URI_HEADER)) {
                return Err(ValueError::new(ValueFault::Unexpected, from + bad));
            }
            if let Some(bad) = memchr::memchr(b'=', &pair[equal + 1..]) {
                return Err(ValueError::new(ValueFault::Unexpected, from + equal + 1 + bad));
            }
            check_escapes(pair, from)?;
            from += pair.len() + 1;
        }
        self.headers = Some(headers);
        Ok(())
    }
}

/// The scheme and where the rest begins.
#[inline]
fn scheme(text: &[u8]) -> Result<(Scheme<'_>, usize), ValueError> {
    if let Some(head) = text.first_chunk::<4>()
        && head.eq_ignore_ascii_case(b"sip:")
    {
        return Ok((Scheme::Sip, 4));
    }
    let len = text
        .iter()
        .position(|&b| !b.is_ascii_alphanumeric() && b != b'+' && b != b'-' && b != b'.')
        .ok_or(ValueError::new(ValueFault::Ended, text.len()))?;
    let name = &text[..len];
    if text[len] != b':' || !name.first().is_some_and(u8::is_ascii_alphabetic) {
        return Err(ValueError::new(ValueFault::Unexpected, len));
    }
    let scheme = if name.eq_ignore_ascii_case(b"sips") {
        Scheme::Sips
    } else if name.eq_ignore_ascii_case(b"tel") {
        Scheme::Tel
    } else {
        Scheme::Other(name)
    };
    Ok((scheme, len + 1))
}

/// Each `%` must be followed by two hexadecimal digits.
#[inline]
fn check_escapes(text: &[u8], base: usize) -> Result<(), ValueError> {
    let mut at = 0;
    while let Some(i) = memchr::memchr(b'%', text.get(at..).unwrap_or_default()) {
        match text.get(at + i + 1..at + i + 3) {
            Some(digits) if class::all(digits, class::HEX) => at += i + 3,
            _ => return Err(ValueError::new(ValueFault::Escape, base + at + i)),
        }
    }
    Ok(())
}

/// Parameters of a URI, checked when it was parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UriParams<'a> {
    raw: &'a [u8],
}

impl<'a> UriParams<'a> {
    /// The parameters as they stand, from the first `;`.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// The parameters in their order, escapes as they stand.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + Clone + use<'a> {
        self.raw.split(|&b| b == b';').filter(|p| !p.is_empty()).map(|p| match memchr::memchr(b'=', p) {
            Some(equal) => Param { name: &p[..equal], value: Some(&p[equal + 1..]) },
            None => Param { name: p, value: None },
        })
    }

    /// RFC 3261 section 19.1.1: a name may be there once, however it is escaped. At most [`limit::PARAMETERS`] names.
    fn has_duplicate(&self) -> bool {
        let mut rest = self.iter();
        while let Some(param) = rest.next() {
            if rest.clone().any(|other| compare::same(param.name, other.name, false)) {
                return true;
            }
        }
        false
    }

    /// The parameter of that name, in any case.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Param<'a>> {
        self.iter().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// The value of the parameter of that name.
    #[must_use]
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.find(name).and_then(|p| p.value)
    }

    /// Is a parameter of that name there, with or without value?
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn parts_of_a_sip_uri() {
        let u = uri("sip:alice:secret@[2001:db8::1]:5070;transport=tcp;lr?to=a%40b&x=");
        assert_eq!(u.scheme, Scheme::Sip);
        assert_eq!((u.user, u.password), (Some(&b"alice"[..]), Some(&b"secret"[..])));
        assert_eq!(u.host_bytes(), b"[2001:db8::1]");
        assert_eq!(u.port, Some(5070));
        assert_eq!(u.transport(), Some(Transport::Tcp));
        assert!(u.is_loose() && u.is_sip());
        let pairs: Vec<_> = u.header_pairs().collect();
        assert_eq!(pairs, [(&b"to"[..], &b"a%40b"[..]), (b"x", b"")]);
    }

    #[test]
    fn a_user_part_may_look_like_parameters() {
        let u = uri("sip:user;par=u%40example.net@example.com");
        assert_eq!(u.user, Some(&b"user;par=u%40example.net"[..]));
        assert!(u.params.as_bytes().is_empty());
        let u = uri(
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
        );
        assert_eq!(u.password, Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..]));
    }

    #[test]
    fn tel_and_other_schemes() {
        let t = uri("tel:+1-201-555-0123;phone-context=example.com");
        assert_eq!((t.scheme, t.user), (Scheme::Tel, Some(&b"+1-201-555-0123"[..])));
        assert_eq!(t.params.value(b"phone-context"), Some(&b"example.com"[..]));
        assert_eq!(uri("nobodyKnowsThisScheme:totallyopaquecontent").opaque, b"totallyopaquecontent");
        assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme, Scheme::Other(b"soap.beep"));
    }

    #[test]
    fn what_is_not_a_uri() {
        for (text, fault) in [
            ("", ValueFault::Ended),
            ("sip", ValueFault::Ended),
            ("sip:", ValueFault::Host),
            ("sip:@a", ValueFault::Unexpected),
            ("sip:a@", ValueFault::Host),
            ("sip:a b@c", ValueFault::Unexpected),
            ("<sip:a@b>", ValueFault::Unexpected),
            ("sip:a@b:", ValueFault::Port),
            ("sip:a@b:70000", ValueFault::Port),
            ("sip:a@b;", ValueFault::Ended),
            ("sip:a@b;x=", ValueFault::Ended),
            ("sip:a@b?", ValueFault::Unexpected),
            ("sip:a@b?=x", ValueFault::Unexpected),
            ("sip:a@b?x=y=z", ValueFault::Unexpected),
            ("sip:a@b;x;y=1;X=2", ValueFault::DuplicateParameter),
            ("sip:a@b;lr;%6Cr", ValueFault::DuplicateParameter),
            ("sip:a%@b", ValueFault::Escape),
            ("sip:a%4@b", ValueFault::Escape),
            ("sip:a%zz@b", ValueFault::Escape),
            ("sip:a@b;x=%", ValueFault::Escape),
            ("sip:a@b?x=%4", ValueFault::Escape),
            ("sip:a@b@c", ValueFault::Unexpected),
            ("sip:a:b:c@d", ValueFault::Unexpected),
            ("sip:user@2001:db8::10", ValueFault::Host),
            ("sip:a@b ", ValueFault::Unexpected),
            ("sip:a@b\0", ValueFault::Unexpected),
            ("tel:", ValueFault::Ended),
            ("tel:+12a", ValueFault::Unexpected),
            ("1a:b", ValueFault::Unexpected),
            ("x:", ValueFault::Ended),
            ("x:a b", ValueFault::Unexpected),
        ] {
            assert_eq!(Uri::parse(text.as_bytes()).map(|_| ()).map_err(|e| e.fault), Err(fault), "{text:?}");
        }
    }
}
