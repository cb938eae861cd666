//! URIs: SIP and SIPS of RFC 3261 section 19.1, tel of RFC 3966, any other as scheme and rest.

mod compare;
mod escape;

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::host::{self, Host};
use crate::limit;
use crate::param::{Param, Piece};
use crate::scan;
use crate::text::Text;
use crate::via::Transport;

pub use escape::{UnescapeError, escape_user, unescape_into};

/// `scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )` of a URI, in any case (RFC 3261 section 25.1).
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

/// `SIP-URI / SIPS-URI / absoluteURI` (RFC 3261 sections 19.1.1 and 25.1), and `telephone-uri` of RFC 3966 section 3; checked as
/// a whole when it was parsed.
///
/// For `sip` and `sips`: `scheme ":" [ user [ ":" password ] "@" ] host [ ":" port ] *( ";" param ) [ "?" headers ]`.
/// For `tel` the number is the [`user`](Self::user) and the parameters are read; for other schemes everything after
/// the colon is [`opaque`](Self::opaque).
///
/// Limits: [`limit::REQUEST_URI`] for all of it, [`limit::HOST`], [`limit::PARAMETERS`] for parameters and for headers. Errors:
/// see [`parse`](Self::parse). Not checked: what a parameter's value means (`ttl`, `method`, `transport`), that a URI is one that
/// may stand where it stands (headers and `method` may not in a Request-URI), a local number of tel without its
/// phone-context, and of other schemes anything but the bytes.
///
/// ```
/// use strowger_sip::{Host, Uri};
///
/// let uri = Uri::parse(b"sip:alice%40home@[2001:db8::1]:5070;transport=tcp;lr")?;
/// assert_eq!((uri.user(), uri.port()), (Some(&b"alice%40home"[..]), Some(5070)));
/// assert_eq!(uri.host(), Some(Host::V6("2001:db8::1".parse().expect("an address"))));
/// assert!(uri.is_loose());
/// assert!(uri.is_equivalent(&Uri::parse(b"SIP:alice%40home@[2001:DB8:0::1]:5070;LR;Transport=TCP")?));
/// assert!(Uri::parse(b"sip:alice%4@example.net").is_err());
/// # Ok::<(), strowger_sip::ValueError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    text: &'a [u8],
    kind: Kind,
    user: Piece,
    password: Piece,
    host: host::Place,
    /// 0: none.
    port: u16,
    params: Piece,
    headers: Piece,
    /// Where the part after the scheme's colon begins.
    after_scheme: u16,
}

/// A [`Scheme`] without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sip,
    Sips,
    Tel,
    Other,
}

impl<'a> Uri<'a> {
    /// Parses a URI that stands alone, without angle brackets.
    ///
    /// # Errors
    /// [`ValueFault::Unexpected`] for a byte that the grammar does not allow, which is also what stands after an empty user
    /// or in place of a header; [`ValueFault::Ended`] where something should follow;
    /// [`ValueFault::Escape`] for an escape without its digits; [`ValueFault::Host`], [`ValueFault::Port`] for one that is
    /// none; [`ValueFault::DuplicateParameter`] for a parameter of sip, sips or tel that is there twice, however it is
    /// escaped; [`ValueFault::TooLong`] over [`limit::REQUEST_URI`]; [`ValueFault::TooMany`] over [`limit::PARAMETERS`].
    pub fn parse(text: &'a [u8]) -> Result<Uri<'a>, ValueError> {
        Self::read(Text::alone(text), 0)
    }

    /// The URI that begins at `start`.
    #[inline(always)]
    pub(crate) fn read(text: Text<'a>, start: usize) -> Result<Uri<'a>, ValueError> {
        let uri = match Self::usual(text, start) {
            Some(uri) => uri,
            None => Self::any(text.reach(0), text.end(), start)?,
        };
        Ok(uri)
    }

    /// `sip:[user@]host[:port][;params]` with a short user and host of the usual letters, and something after the URI in
    /// reach; `None` for any other.
    #[inline(always)]
    fn usual(text: Text<'a>, start: usize) -> Option<Uri<'a>> {
        // Bit 5 set makes letters lower case; a colon is only itself.
        const SCHEME: u32 = u32::from_le_bytes(*b"sip:");
        let whole = text.rest(start);
        let head = text.bytes::<20>(start)?;
        let scheme = u32::from_le_bytes(*head.first_chunk()?) | 0x0020_2020;
        let from = start + 4;
        let user_end = scan::plain_user(head.last_chunk()?);
        let (mut user, mut host_at) = (Piece::NONE, from);
        if scheme != SCHEME || whole.len() > limit::REQUEST_URI {
            return None;
        }
        if user_end < 16 && head[4 + user_end] == b'@' {
            if user_end == 0 {
                return None;
            }
            user = Piece::new((4, 4 + user_end), 0);
            host_at = from + user_end + 1;
        }
        // The four bytes before the host are those of the scheme, or of a user.
        let found = scan::host_port(text.bytes(host_at - scan::BEFORE)?)?;
        let host_in = host_at - start;
        let end = host_in + found.end;
        if end > whole.len() {
            return None;
        }
        let mut params = Piece::NONE;
        let mut headers = Piece::NONE;
        if end < whole.len() {
            // Nothing but `;lr` is what most Routes have.
            let params_end = if end + 3 == whole.len() && whole.ends_with(b";lr") {
                whole.len()
            } else {
                tail(text.reach(0), text.end(), start + end).ok()? - start
            };
            params = Piece::new((end, params_end), 0);
            if params_end < whole.len() {
                headers = Piece::new((params_end + 1, whole.len()), 0);
            }
        }
        Some(Uri {
            text: whole,
            kind: Kind::Sip,
            user,
            password: Piece::NONE,
            host: host::Place::new(found, host_in),
            port: found.port,
            params,
            headers,
            after_scheme: 4,
        })
    }

    /// The URI that begins at `start` and ends at `end`.
    #[inline(never)]
    fn any(datagram: &'a [u8], end: usize, start: usize) -> Result<Uri<'a>, ValueError> {
        let text = Text::new(datagram, end);
        let whole = text.rest(start);
        if whole.len() > limit::REQUEST_URI {
            return Err(ValueError::new(ValueFault::TooLong, start + limit::REQUEST_URI));
        }
        const SIP: u32 = u32::from_le_bytes(*b"sip:");
        if text.word(start).is_some_and(|head| head | 0x0020_2020 == SIP) && whole.len() >= 4 {
            Self::sip(text, start, Kind::Sip, start + 4)
        } else {
            Self::other(text.value(), start)
        }
    }

    /// A scheme other than sip.
    fn other(value: &'a [u8], start: usize) -> Result<Uri<'a>, ValueError> {
        let text = Text::alone(value);
        let (kind, from) = scheme(text, start)?;
        match kind {
            Kind::Sip | Kind::Sips => return Self::sip(text, start, kind, from),
            Kind::Tel => return Self::tel(text, start, from),
            Kind::Other => {}
        }
        let opaque = text.rest(from);
        if opaque.is_empty() {
            return Err(ValueError::new(ValueFault::Ended, from));
        }
        if let Some(bad) = opaque.iter().position(|&b| !class::is(b, class::URIC) && b != b'#') {
            return Err(ValueError::new(ValueFault::Unexpected, from + bad));
        }
        Ok(Uri { after_scheme: (from - start) as u16, ..Uri::bare(text.rest(start), kind) })
    }

    fn bare(text: &'a [u8], kind: Kind) -> Uri<'a> {
        let none = Piece::NONE;
        let host = host::Place::NONE;
        Uri {
            text,
            kind,
            user: none,
            password: none,
            host,
            port: 0,
            params: none,
            headers: none,
            after_scheme: 0,
        }
    }

    /// The scheme.
    #[inline]
    #[must_use]
    pub fn scheme(&self) -> Scheme<'a> {
        match self.kind {
            Kind::Sip => Scheme::Sip,
            Kind::Sips => Scheme::Sips,
            Kind::Tel => Scheme::Tel,
            Kind::Other => {
                let colon = usize::from(self.after_scheme).saturating_sub(1);
                Scheme::Other(self.text.get(..colon).unwrap_or_default())
            }
        }
    }

    /// User part as it stands, escapes and all; the number of a tel URI.
    #[inline]
    #[must_use]
    pub fn user(&self) -> Option<&'a [u8]> {
        self.user.of(self.text)
    }

    /// Password as it stands.
    #[must_use]
    pub fn password(&self) -> Option<&'a [u8]> {
        self.password.of(self.text)
    }

    /// Host; `None` for schemes other than sip and sips.
    #[inline]
    #[must_use]
    pub fn host(&self) -> Option<Host<'a>> {
        self.host.host(self.text)
    }

    /// The host as it is written, brackets and all; empty for schemes other than sip and sips.
    #[must_use]
    pub fn host_bytes(&self) -> &'a [u8] {
        self.host.piece().of(self.text).unwrap_or_default()
    }

    /// Port.
    #[inline]
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        (self.port != 0).then_some(self.port)
    }

    /// Parameters.
    #[inline]
    #[must_use]
    pub fn params(&self) -> UriParams<'a> {
        UriParams { raw: self.params.of(self.text).unwrap_or_default() }
    }

    /// Text after `?`, as it stands.
    #[must_use]
    pub fn headers(&self) -> Option<&'a [u8]> {
        self.headers.of(self.text)
    }

    /// What follows the scheme's colon, for schemes other than sip, sips and tel; empty for those.
    #[must_use]
    pub fn opaque(&self) -> &'a [u8] {
        match self.kind {
            Kind::Other => self.text.get(usize::from(self.after_scheme)..).unwrap_or_default(),
            _ => b"",
        }
    }

    /// The whole URI as it stands.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// Is this a sip or sips URI?
    #[must_use]
    pub fn is_sip(&self) -> bool {
        matches!(self.kind, Kind::Sip | Kind::Sips)
    }

    /// Does the URI belong to a loose router (`lr`, RFC 3261 section 19.1.1)?
    #[must_use]
    pub fn is_loose(&self) -> bool {
        self.params().contains(b"lr")
    }

    /// The transport parameter.
    #[must_use]
    pub fn transport(&self) -> Option<Transport<'a>> {
        self.params().value(b"transport").map(Transport::from_bytes)
    }

    /// The `hname=hvalue` pairs after `?`.
    pub fn header_pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let text = self.headers().unwrap_or_default();
        text.split(|&b| b == b'&').filter_map(|pair| {
            let equal = pair.iter().position(|&b| b == b'=')?;
            Some((pair.get(..equal)?, pair.get(equal + 1..)?))
        })
    }

    /// What follows `sip:` or `sips:`, from `from` on.
    #[inline(always)]
    fn sip(text: Text<'a>, start: usize, kind: Kind, from: usize) -> Result<Uri<'a>, ValueError> {
        // Whatever runs up to an `@` is the user: host, parameters and headers cannot hold one unescaped.
        let user_end = user_end(text, from)?;
        let (mut user, mut password, mut host_at) = (Piece::NONE, Piece::NONE, from);
        if text.byte(user_end) == b'@' {
            user = Piece::new((from, user_end), start);
            host_at = user_end + 1;
        }
        let mut host_port = host_port(text, start, host_at);
        // A colon may also stand before a password, which ends in `@`.
        if text.byte(user_end) == b':'
            && !host_port.is_ok_and(|(_, _, end)| matches!(text.byte(end), 0 | b';' | b'?'))
            && let Some(end) = password_end(text.value(), user_end + 1)?
        {
            user = Piece::new((from, user_end), start);
            password = Piece::new((user_end + 1, end), start);
            host_at = end + 1;
            host_port = self::host_port(text, start, host_at);
        }
        if user_end == from && host_at > from {
            return Err(ValueError::new(ValueFault::Unexpected, from));
        }
        let (host, port, end) = host_port?;
        let (mut params, mut headers) = (Piece::NONE, Piece::NONE);
        if end < text.end() {
            // Nothing but `;lr` is what most Routes have.
            const LOOSE: u32 = u32::from_le_bytes(*b";lr\0");
            let loose = end + 3 == text.end() && text.word(end).is_some_and(|word| word << 8 == LOOSE << 8);
            let params_end = if loose { end + 3 } else { tail(text.reach(0), text.end(), end)? };
            params = Piece::new((end, params_end), start);
            if params_end < text.end() {
                headers = Piece::new((params_end + 1, text.end()), start);
            }
        }
        let after_scheme = (from - start) as u16;
        Ok(Uri { text: text.rest(start), kind, user, password, host, port, params, headers, after_scheme })
    }

    /// What follows `tel:`, from `from` on.
    fn tel(text: Text<'a>, start: usize, from: usize) -> Result<Uri<'a>, ValueError> {
        let rest = text.rest(from);
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let number = &rest[..end];
        // RFC 3966 section 3: global numbers have digits and visual separators, local ones also hexadecimal, * and #.
        let digits = number.strip_prefix(b"+").unwrap_or(number);
        let local = digits.len() == number.len();
        let is_local = |b: u8| local && (class::is(b, class::HEX) || b == b'*' || b == b'#');
        let allowed = |b: u8| b.is_ascii_digit() || b"-.()".contains(&b) || is_local(b);
        if let Some(bad) = digits.iter().position(|&b| !allowed(b)) {
            let at = from + number.len() - digits.len() + bad;
            return Err(ValueError::new(ValueFault::Unexpected, at));
        }
        if !digits.iter().any(|&b| b.is_ascii_hexdigit() || b == b'*' || b == b'#') {
            return Err(ValueError::new(ValueFault::Ended, from + end));
        }
        let params_end = take_params(text, from + end)?;
        if params_end != text.end() {
            return Err(ValueError::new(ValueFault::Unexpected, params_end));
        }
        Ok(Uri {
            user: Piece::new((from, from + end), start),
            params: Piece::new((from + end, params_end), start),
            after_scheme: (from - start) as u16,
            ..Uri::bare(text.rest(start), Kind::Tel)
        })
    }
}

/// `hostport` at `at`: host, port (0: none), and where they end.
#[inline(always)]
fn host_port(text: Text<'_>, start: usize, at: usize) -> Result<(host::Place, u16, usize), ValueError> {
    let (host, end) = host::take(text, start, at)?;
    if text.byte(end) != b':' {
        return Ok((host, 0, end));
    }
    let (port, end) = host::port(text, end + 1)?;
    Ok((host, port, end))
}

/// Checks parameters and headers, from `at` to the end; returns where the parameters end.
#[inline(never)]
fn tail(datagram: &[u8], end: usize, at: usize) -> Result<usize, ValueError> {
    let text = Text::new(datagram, end);
    let end = take_params(text, at)?;
    match text.byte(end) {
        b'?' => check_headers(text, end + 1).map(|()| end),
        _ if end >= text.end() => Ok(end),
        _ => Err(ValueError::new(ValueFault::Unexpected, end)),
    }
}

/// Checks the parameters from `at` on; returns where they end.
#[inline(always)]
fn take_params(text: Text<'_>, at: usize) -> Result<usize, ValueError> {
    let mut end = at;
    let mut count = 0;
    // Names that begin differently differ. The low bits of a letter are the same in both cases.
    let mut initials: u32 = 0;
    let mut alike = false;
    while text.byte(end) == b';' {
        count += 1;
        if count > limit::PARAMETERS {
            return Err(ValueError::new(ValueFault::TooMany, end));
        }
        let initial = text.byte(end + 1);
        let bit = 1 << (initial & 31);
        alike |= initials & bit != 0 || initial == b'%';
        initials |= bit;
        end = param_piece_end(text, end + 1)?;
        if text.byte(end) == b'=' {
            end = param_piece_end(text, end + 1)?;
        }
    }
    if count > 1 && alike && (UriParams { raw: text.slice(at, end) }).has_duplicate() {
        return Err(ValueError::new(ValueFault::DuplicateParameter, at));
    }
    Ok(end)
}

/// Checks `header *( "&" header )` from `at` to the end.
fn check_headers(text: Text<'_>, at: usize) -> Result<(), ValueError> {
    let headers = text.rest(at);
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
    Ok(())
}

/// End of a user part that begins at `at`, its escapes checked.
#[inline(always)]
fn user_end(text: Text<'_>, at: usize) -> Result<usize, ValueError> {
    let end = scan::user_end(text, at);
    if text.byte(end) == b'%' { escaped_end(text.value(), at, class::USER) } else { Ok(end) }
}

/// End of a parameter's name or value that begins at `at`, its escapes checked; not empty.
#[inline(always)]
fn param_piece_end(text: Text<'_>, at: usize) -> Result<usize, ValueError> {
    let mut end = scan::uri_param_end(text, at);
    if text.byte(end) == b'%' {
        end = escaped_end(text.value(), at, class::URI_PARAM)?;
    }
    if end == at {
        let fault = if at >= text.end() { ValueFault::Ended } else { ValueFault::Unexpected };
        return Err(ValueError::new(fault, at));
    }
    Ok(end)
}

/// As the two above, byte by byte, where there is an escape.
#[inline(never)]
fn escaped_end(value: &[u8], at: usize, mask: u16) -> Result<usize, ValueError> {
    let text = Text::alone(value);
    let end = at + class::span(text.rest(at), mask);
    check_escapes(text.slice(at, end), at)?;
    Ok(end)
}

/// Where the password that begins at `at` ends in `@`; `None` when it does not, so that what begins there is a port.
#[inline(never)]
fn password_end(value: &[u8], at: usize) -> Result<Option<usize>, ValueError> {
    let text = Text::alone(value);
    let end = at + class::span(text.rest(at), class::PASSWORD);
    if text.byte(end) != b'@' {
        return Ok(None);
    }
    check_escapes(text.slice(at, end), at)?;
    Ok(Some(end))
}

/// The scheme, and where the rest begins.
fn scheme(text: Text<'_>, start: usize) -> Result<(Kind, usize), ValueError> {
    let whole = text.rest(start);
    let len = whole
        .iter()
        .position(|&b| !b.is_ascii_alphanumeric() && b != b'+' && b != b'-' && b != b'.')
        .ok_or(ValueError::new(ValueFault::Ended, text.end()))?;
    let name = &whole[..len];
    if whole[len] != b':' || !name.first().is_some_and(u8::is_ascii_alphabetic) {
        return Err(ValueError::new(ValueFault::Unexpected, start + len));
    }
    let kind = if name.eq_ignore_ascii_case(b"sip") {
        Kind::Sip
    } else if name.eq_ignore_ascii_case(b"sips") {
        Kind::Sips
    } else if name.eq_ignore_ascii_case(b"tel") {
        Kind::Tel
    } else {
        Kind::Other
    };
    Ok((kind, start + len + 1))
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

/// `uri-parameters = *( ";" uri-parameter )` (RFC 3261 section 25.1), checked when the URI was parsed: at most
/// [`limit::PARAMETERS`], none of them twice. Names and values have their escapes; [`find`](Self::find) compares them as they
/// stand, [`Uri::is_equivalent`] by what they mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UriParams<'a> {
    raw: &'a [u8],
}

/// Parameters of one URI up to which comparing each with each is the short way. Phones write two to five.
const FEW_PARAMETERS: usize = 8;

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
    ///
    /// A few names are compared each with each. Many are sorted first: long names with a common beginning would else
    /// cost whoever receives them far more than whoever sends them.
    fn has_duplicate(&self) -> bool {
        if self.iter().nth(FEW_PARAMETERS).is_some() {
            return self.has_duplicate_of_many();
        }
        let mut rest = self.iter();
        while let Some(param) = rest.next() {
            if rest.clone().any(|other| compare::same(param.name, other.name, false)) {
                return true;
            }
        }
        false
    }

    #[cold]
    fn has_duplicate_of_many(&self) -> bool {
        let mut names = [&b""[..]; limit::PARAMETERS];
        let mut count = 0;
        for (place, param) in names.iter_mut().zip(self.iter()) {
            *place = param.name;
            count += 1;
        }
        let names = names.get_mut(..count).unwrap_or_default();
        names.sort_unstable_by(|a, b| compare::order(a, b));
        names.windows(2).any(|pair| matches!(pair, [a, b] if compare::order(a, b).is_eq()))
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
mod tests;
