//! Addresses: `name-addr`, `addr-spec` and their parameters, as in From, To, Contact, Route, Record-Route, Path,
//! Service-Route, Refer-To, P-Asserted-Identity (RFC 3261 section 20.10, 20.20, 20.34, 20.39).

use core::ops::Range;

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::limit;
use crate::list::Value;
use crate::param::{self, Key, Params, Piece, Run};
use crate::scan;
use crate::text::Text;
use crate::uri::Uri;

/// `( name-addr / addr-spec ) *( SEMI param )`: From, To, Contact, Route and the like (RFC 3261 section 25.1).
///
/// The form is checked when it is parsed, and the URI is a run of visible ASCII without `<`, `>` and `"`; the URI
/// itself is parsed by [`uri`](Self::uri), since most messages are forwarded without a need for it.
///
/// Limits: [`limit::IDENTIFIER`] for the tag, [`limit::PARAMETERS`]; for the URI, [`limit::REQUEST_URI`] when it is parsed.
/// Errors: see [`parse`](Self::parse). Not checked: that bytes beyond ASCII are UTF-8, that parameters other than tag are there
/// once, and that a header whose grammar has only `name-addr` has angle brackets.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// From the value's first byte to the end of the datagram.
    reach: &'a [u8],
    /// Length of the value.
    len: u16,
    /// Where the value lies; the pieces count from its start.
    offset: u16,
    display: Piece,
    uri: Piece,
    tag: Piece,
    /// Where the parameters begin.
    params: u16,
}

impl<'a> NameAddr<'a> {
    /// Parses one address that stands alone.
    ///
    /// # Errors
    /// [`ValueFault::Unterminated`] for a quoted string or angle bracket that does not end; [`ValueFault::Unexpected`] for an
    /// unquoted display name with anything but tokens and bytes beyond ASCII, white space inside the angle brackets, a `?`
    /// or `,` in an address without them (section 20.10), a second value; [`ValueFault::DuplicateParameter`] for a tag
    /// twice; [`ValueFault::TooLong`] for one over [`limit::IDENTIFIER`]; [`ValueFault::TooMany`] over
    /// [`limit::PARAMETERS`]; [`ValueFault::Ended`] for an empty text or parameter.
    pub fn parse(text: &'a [u8]) -> Result<NameAddr<'a>, ValueError> {
        crate::list::single(Text::alone(text), 0)
    }

    /// Display name as it stands: tokens or a quoted string with its quotes; `None` when there is none.
    #[must_use]
    pub fn display(&self) -> Option<&'a [u8]> {
        self.display.of(self.reach).map(class::trim)
    }

    /// The parameters after the address.
    #[must_use]
    pub fn params(&self) -> Params<'a> {
        Params::checked(self.as_bytes().get(usize::from(self.params)..).unwrap_or_default())
    }

    /// The value as it stands, from the display name to the last parameter.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.reach.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Where the value lies in the message (or in the text, when it was parsed on its own).
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        let offset = usize::from(self.offset);
        offset..offset + usize::from(self.len)
    }

    /// The URI as it stands, without angle brackets.
    #[must_use]
    pub fn uri_bytes(&self) -> &'a [u8] {
        self.uri.of(self.reach).unwrap_or_default()
    }

    /// Where the URI lies in the message.
    #[must_use]
    pub fn uri_range(&self) -> Range<usize> {
        self.uri.range(usize::from(self.offset)).unwrap_or_default()
    }

    /// The URI, parsed.
    ///
    /// # Errors
    /// See [`Uri::parse`]; the offset counts from where the address's own offsets count.
    #[inline(always)]
    pub fn uri(&self) -> Result<Uri<'a>, ValueError> {
        let range = self.uri.range(0).unwrap_or_default();
        match Uri::read(Text::new(self.reach, range.end), range.start) {
            Ok(uri) => Ok(uri),
            Err(error) => Err(ValueError::new(error.fault, error.at + usize::from(self.offset))),
        }
    }

    /// The tag parameter.
    #[must_use]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.tag.of(self.reach)
    }
}

impl<'a> Value<'a> for NameAddr<'a> {
    #[inline(always)]
    fn take(text: Text<'a>, at: usize) -> Result<(NameAddr<'a>, usize), ValueError> {
        let (value, end) = match NameAddr::usual(text, at) {
            Some(found) => found,
            None => NameAddr::any(text.reach(0), text.end(), at)?,
        };
        Ok((value, end))
    }
}

impl<'a> NameAddr<'a> {
    /// `<uri>` and perhaps `;tag=`, both short and the tag of the usual letters, at the value's end or before a comma; `None` for
    /// any other.
    #[inline(always)]
    fn usual(text: Text<'a>, start: usize) -> Option<(NameAddr<'a>, usize)> {
        Self::bracketed(text, start, 0, Piece::NONE)
    }

    /// As `usual`, after a short quoted string without escapes and perhaps one space.
    #[inline(always)]
    fn usual_with_name(text: Text<'a>, start: usize) -> Option<(NameAddr<'a>, usize)> {
        let [b'"', quoted @ ..] = text.bytes::<33>(start)? else { return None };
        let len = scan::plain_quoted(quoted);
        if len == 32 || quoted[len] != b'"' {
            return None;
        }
        let name_end = len + 2;
        let open = name_end + usize::from(text.byte(start + name_end) == b' ');
        Self::bracketed(text, start, open, Piece::new((0, name_end), 0))
    }

    /// What follows a display name, from its `<` on.
    #[inline(always)]
    fn bracketed(text: Text<'a>, start: usize, open: usize, display: Piece) -> Option<(NameAddr<'a>, usize)> {
        let [b'<', address @ ..] = text.bytes::<33>(start + open)? else { return None };
        let len = scan::plain_address(address);
        if len == 0 || len == 32 || address[len] != b'>' {
            return None;
        }
        let uri = Piece::new((open + 1, open + 1 + len), 0);
        let after = open + len + 2;
        let mut end = start + after;
        let mut tag = Piece::NONE;
        if text.byte(end) == b';' {
            let window = text.bytes::<{ 5 + 32 }>(end)?;
            let (name, value) = window.split_first_chunk::<5>()?;
            let len = scan::plain_value(value.first_chunk()?);
            if name.map(|b| b | 0x20) != *b";tag=" || len == 0 || len == 32 {
                return None;
            }
            tag = Piece::new((end + 5, end + 5 + len), start);
            end += 5 + len;
        }
        if end != text.end() && text.byte(end) != b',' {
            return None;
        }
        let address = NameAddr {
            reach: text.reach(start),
            len: (end - start) as u16,
            offset: start as u16,
            display,
            uri,
            tag,
            params: after as u16,
        };
        Some((address, end))
    }

    /// The address that begins at `at`, in a text that ends at `end`.
    #[inline(never)]
    fn any(datagram: &'a [u8], end: usize, at: usize) -> Result<(NameAddr<'a>, usize), ValueError> {
        let text = Text::new(datagram, end);
        match Self::usual_with_name(text, at) {
            Some(found) => Ok(found),
            None => Self::general(text, at),
        }
    }

    fn general(text: Text<'a>, at: usize) -> Result<(NameAddr<'a>, usize), ValueError> {
        let start = text.skip_lws(at);
        // Where the display name ends, or what stands at its place.
        let name_end = match text.byte(start) {
            b'<' => start,
            b'"' => param::quoted_end(text, start)?,
            _ if start >= text.end() => return Err(ValueError::new(ValueFault::Ended, start)),
            _ => start + class::span(text.rest(start), class::DISPLAY),
        };
        let open = text.skip_lws(name_end);
        let (mut display, mut uri, mut tag) = (Piece::NONE, Piece::NONE, Piece::NONE);
        let after = if text.byte(open) == b'<' {
            if open > start {
                display.put((start, name_end), start);
            }
            let end = scan::address_end(text, open + 1);
            if text.byte(end) != b'>' || end == open + 1 {
                let (fault, at) = match end {
                    end if end >= text.end() => (ValueFault::Unterminated, open),
                    end => (ValueFault::Unexpected, end),
                };
                return Err(ValueError::new(fault, at));
            }
            uri.put((open + 1, end), start);
            end + 1
        } else {
            let end = bare_uri_end(text.value(), start)?;
            uri.put((start, end), start);
            end
        };
        let mut params = Run::new(after);
        while let Some(found) = params.next(text)? {
            if found.key == Key::Tag {
                let value = found.value()?;
                if value.1 - value.0 > limit::IDENTIFIER {
                    return Err(ValueError::new(ValueFault::TooLong, value.0));
                }
                tag.put(value, start).ok_or(ValueError::new(ValueFault::DuplicateParameter, found.name.0))?;
            }
        }
        let end = params.at;
        if end > limit::MESSAGE {
            return Err(ValueError::new(ValueFault::TooLong, limit::MESSAGE));
        }
        let params = (after - start) as u16;
        let len = (end - start) as u16;
        let reach = text.reach(start);
        Ok((NameAddr { reach, len, offset: start as u16, display, uri, tag, params }, end))
    }
}

/// End of an `addr-spec` without angle brackets. The parameters then belong to the header, and neither `,` nor `?` may
/// be in the URI.
#[inline(never)]
fn bare_uri_end(value: &[u8], start: usize) -> Result<usize, ValueError> {
    let text = Text::alone(value);
    let rest = text.rest(start);
    let outside = |b: &u8| !class::is(*b, class::ADDRESS) || matches!(b, b'?' | b',' | b';');
    let len = rest.iter().position(outside).unwrap_or(rest.len());
    if len == 0 || rest.get(len) == Some(&b'?') || memchr::memchr(b':', &rest[..len]).is_none() {
        return Err(ValueError::new(ValueFault::Unexpected, start + len));
    }
    Ok(start + len)
}

/// One value of Contact: `STAR` or `contact-param` (RFC 3261 sections 20.10 and 25.1), with the parameters of RFC 5626 and
/// RFC 5627.
///
/// Errors, besides those of [`NameAddr::parse`]: [`ValueFault::Number`] for a q that is no `qvalue` and for a reg-id that is
/// not 1 to 2^31 − 1. Of q, expires and reg-id, the last counts. Not checked: that `*` is alone, and the URI.
#[derive(Clone, Copy, Debug)]
pub enum Contact<'a> {
    /// `*`: all of them (only in a REGISTER with Expires: 0, section 10.2.2).
    Star,
    /// An address.
    Address(ContactAddress<'a>),
}

/// `contact-param` with an address, and what its parameters say (RFC 3261 sections 20.10 and 25.1). Errors and what is not
/// checked: see [`Contact`].
#[derive(Clone, Copy, Debug)]
pub struct ContactAddress<'a> {
    /// The address and all parameters.
    pub address: NameAddr<'a>,
    q: Option<u16>,
    expires: Option<u32>,
    reg_id: Option<u32>,
}

impl<'a> ContactAddress<'a> {
    /// Preference in thousandths, 0 to 1000; `None` when the Contact does not say.
    #[must_use]
    pub fn q(&self) -> Option<u16> {
        self.q
    }

    /// The expires parameter in seconds. What is no number counts as 3600 (section 20.10).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.expires
    }

    /// `reg-id` of RFC 5626 section 4.2: 1 to 2^31 − 1.
    #[must_use]
    pub fn reg_id(&self) -> Option<u32> {
        self.reg_id
    }

    /// `+sip.instance` of RFC 5626 section 4.1, without quotes; usually `<urn:uuid:…>`.
    #[must_use]
    pub fn instance(&self) -> Option<&'a [u8]> {
        self.address.params().value(b"+sip.instance")
    }

    /// Is the URI parameter `ob` there, in a URI that can be read (RFC 5626 section 5.4: the flow is wanted for requests in dialogs)?
    #[must_use]
    pub fn wants_outbound(&self) -> bool {
        self.address.uri().is_ok_and(|u| u.params().contains(b"ob"))
    }

    /// The URI, parsed. See [`NameAddr::uri`].
    ///
    /// # Errors
    /// See [`Uri::parse`].
    #[inline(always)]
    pub fn uri(&self) -> Result<Uri<'a>, ValueError> {
        self.address.uri()
    }
}

impl<'a> Value<'a> for Contact<'a> {
    #[inline(always)]
    fn take(text: Text<'a>, at: usize) -> Result<(Contact<'a>, usize), ValueError> {
        let start = text.skip_lws(at);
        if text.byte(start) == b'*' {
            let after = text.skip_lws(start + 1);
            if after >= text.end() || text.byte(after) == b',' {
                return Ok((Contact::Star, after));
            }
        }
        let (address, end) = NameAddr::take(text, at)?;
        let mut contact = ContactAddress { address, q: None, expires: None, reg_id: None };
        if address.params == address.len {
            return Ok((Contact::Address(contact), end));
        }
        let params = address.params();
        for p in params {
            let value = p.unquoted().unwrap_or_default();
            if p.name.eq_ignore_ascii_case(b"q") {
                contact.q = Some(qvalue(value).ok_or(ValueError::new(ValueFault::Number, start))?);
            } else if p.name.eq_ignore_ascii_case(b"expires") {
                contact.expires = Some(delta_seconds(value).unwrap_or(3600));
            } else if p.name.eq_ignore_ascii_case(b"reg-id") {
                let id = class::decimal(value).filter(|id| (1..=i32::MAX as u32).contains(id));
                contact.reg_id = Some(id.ok_or(ValueError::new(ValueFault::Number, start))?);
            }
        }
        Ok((Contact::Address(contact), end))
    }
}

/// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`, in thousandths.
pub(crate) fn qvalue(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match text {
        [b'0'] => return Some(0),
        [b'1'] => return Some(1000),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = fraction.get(place).map_or(0, |b| b.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        thousandths = thousandths * 10 + u16::from(digit);
    }
    match whole {
        b'0' => Some(thousandths),
        _ if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// `delta-seconds`: digits of any length; what is over 2^32 − 1 counts as 2^32 − 1 (RFC 3261 section 20.19).
pub(crate) fn delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !class::all(text, class::DIGIT) {
        return None;
    }
    Some(class::decimal(text).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_of_an_address() {
        for (text, display, uri, tag) in [
            ("sip:a@b", None, "sip:a@b", None),
            ("sip:a@b;tag=x", None, "sip:a@b", Some("x")),
            ("<sip:a@b;lr?x=y>;tag=x", None, "sip:a@b;lr?x=y", Some("x")),
            ("A. G. Bell <sip:a@b>;TAG=x", Some("A. G. Bell"), "sip:a@b", Some("x")),
            ("\"<sip:x> \\\" , ;\" <sip:a@b> ; tag = x", Some("\"<sip:x> \\\" , ;\""), "sip:a@b", Some("x")),
            ("caller<sip:a@b>", Some("caller"), "sip:a@b", None),
            ("Мария <tel:+1>", Some("Мария"), "tel:+1", None),
            ("\r\n sip:a@b ; tag=x", None, "sip:a@b", Some("x")),
        ] {
            let address = NameAddr::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(address.display(), display.map(str::as_bytes), "{text}");
            assert_eq!(address.uri_bytes(), uri.as_bytes(), "{text}");
            assert_eq!(address.tag(), tag.map(str::as_bytes), "{text}");
            assert_eq!(&text.as_bytes()[address.uri_range()], uri.as_bytes());
        }
    }

    /// The short way at one address with something after it: what it takes, the thorough way must read the same.
    fn taken(text: &str, after: &str) -> bool {
        let datagram = format!("t:{text}{after}");
        let text = Text::new(datagram.as_bytes(), 2 + text.len());
        let short = NameAddr::usual(text, 2).or(NameAddr::usual_with_name(text, 2));
        let Some(short) = short else { return false };
        let thorough = NameAddr::general(text, 2);
        assert_eq!(Ok(format!("{short:?}")), thorough.map(|found| format!("{found:?}")), "{datagram:?}");
        true
    }

    #[test]
    fn usual_addresses_go_the_short_way() {
        let after = format!("\r\n{}", "To: <sip:a@b>\r\n".repeat(5));
        for text in
            ["<sip:a@b>", "<sip:a@b>;tag=1", "<sip:10.0.0.1:5060;lr>,<sip:b>", "<urn:service:sos>;TAG=a.b-c"]
        {
            assert!(taken(text, &after), "{text}");
            for end in 0..text.len() {
                taken(&text[..end], &format!("{}{after}", &text[end..]));
            }
        }
        for text in [
            "<>",
            "<sip:a@b>;tag=",
            "<sip:a@b>;tag=a;tag=b",
            "<sip:a@b>;tagx=1",
            "<sip:a b>",
            "<a\"b>",
            "<a>b",
            "< a>",
        ] {
            assert!(!taken(text, &after), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn both_ways_agree(
            text in "(\"[ -~]{0,6}\"?[ <]?)?<([!-~]{0,33}|sip:[a-z@.]{0,30})>(;tag=([a-zA-Z0-9./:-]{0,34}|[ -~]{0,6}))?[;, a-z0-9=]{0,9}",
            after in "[;,= a-z0-9]{0,8}",
        ) {
            taken(&text, &format!("{after}{}", "\r\n".repeat(32)));
            taken(&text, &after);
        }
    }

    #[test]
    fn what_is_not_an_address() {
        for text in [
            "",
            "<sip:a@b",
            "<>",
            "< sip:a@b >",
            "<sip:a@b >",
            "\"Mr. J. User <sip:j.user@example.com>",
            "Bell, Alexander <sip:a@b>",
            "sip:a@b?x=y",
            "sip:a b@c",
            "a b",
            "<sip:a@b>x",
            "<sip:a@b>;tag=",
            "<sip:a@b>;tag",
            "<sip:a@b>;tag=a;tag=b",
            "<sip:a@b>, <sip:c@d>",
            "<sip:a@b>;",
            "(a) <sip:a@b>",
        ] {
            assert!(NameAddr::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn contacts() {
        let read = |t: &'static str| match crate::list::single(Text::alone(t.as_bytes()), 0) {
            Ok(Contact::Address(a)) => a,
            other => panic!("{t}: {other:?}"),
        };
        let c = read("<sip:a@b;ob>;q=0.33;expires=60;reg-id=1;+sip.instance=\"<urn:uuid:1>\"");
        assert_eq!((c.q(), c.expires(), c.reg_id()), (Some(330), Some(60), Some(1)));
        assert_eq!(c.instance(), Some(&b"<urn:uuid:1>"[..]));
        assert!(c.wants_outbound());
        assert_eq!(read("<sip:a@b>;expires=forever").expires(), Some(3600));
        assert_eq!(read("<sip:a@b>;expires=99999999999999").expires(), Some(u32::MAX));
        assert!(matches!(crate::list::single(Text::alone(b" * "), 0), Ok(Contact::Star)));
        assert!(crate::list::single::<Contact<'_>>(Text::alone(b"<sip:a@b>;q=1.1"), 0).is_err());
        assert!(crate::list::single::<Contact<'_>>(Text::alone(b"<sip:a@b>;reg-id=0"), 0).is_err());
    }

    #[test]
    fn q_is_exact() {
        let table =
            [("0", 0), ("1", 1000), ("0.", 0), ("1.000", 1000), ("0.5", 500), ("0.05", 50), ("0.999", 999)];
        for (text, value) in table {
            assert_eq!(qvalue(text.as_bytes()), Some(value), "{text}");
        }
        for bad in ["", "2", "1.001", "0.1234", "0,5", ".5", "00", "0.-1"] {
            assert_eq!(qvalue(bad.as_bytes()), None, "{bad}");
        }
    }
}
