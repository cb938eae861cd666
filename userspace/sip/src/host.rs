//! Hosts and ports: `host`, `hostport` and `sent-by` of RFC 3261 section 25.1, IPv6 as RFC 5118 advises.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::limit;
use crate::param::Piece;
use crate::scan::{self, HostKind};
use crate::text::Text;

/// `host = hostname / IPv4address / IPv6reference` (RFC 3261 section 25.1).
///
/// A name has at most [`limit::HOST`] octets. Not checked: the length of a label, and where in it a `-` stands.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// A host name: labels of letters, digits, `-` and `_`, not all digits; compare without regard to case.
    /// A first digit in the last label is accepted (the grammar wants a letter): machines name themselves so.
    Name(&'a [u8]),
    /// An IPv4 address: `1*3DIGIT` four times, each up to 255, decimal whatever zeros it begins with.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets, without zone. A third colon before an IPv4 part is tolerated (RFC 5118
    /// section 4.10).
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Parses a host that stands alone.
    ///
    /// # Errors
    /// [`ValueFault::Host`] when it is neither name nor address; [`ValueFault::Unexpected`] when something follows it.
    pub fn parse(text: &'a [u8]) -> Result<Host<'a>, ValueError> {
        let (place, end) = take(Text::alone(text), 0, 0)?;
        if end != text.len() {
            return Err(ValueError::new(ValueFault::Unexpected, end));
        }
        place.host(text).ok_or(ValueError::new(ValueFault::Host, 0))
    }

    /// The address, if the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(a) => Some(IpAddr::V4(*a)),
            Host::V6(a) => Some(IpAddr::V6(*a)),
        }
    }
}

/// Names are equal without regard to case and to a final dot; addresses by value (RFC 5118 section 4.9: an address has many spellings).
impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Host::Name(a), Host::Name(b)) => {
                a.strip_suffix(b".").unwrap_or(a).eq_ignore_ascii_case(b.strip_suffix(b".").unwrap_or(b))
            }
            (Host::V4(a), Host::V4(b)) => a == b,
            (Host::V6(a), Host::V6(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(text) => fmt::Display::fmt(&text.escape_ascii(), f),
            Host::V4(a) => fmt::Display::fmt(a, f),
            Host::V6(a) => write!(f, "[{a}]"),
        }
    }
}

/// A host as views keep it: small numbers, read back on demand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    kind: HostKind,
    address: u32,
    piece: Piece,
}

impl Place {
    /// No host.
    pub(crate) const NONE: Place = Place { kind: HostKind::Neither, address: 0, piece: Piece::NONE };

    /// A host that begins at `at` in its text.
    #[inline(always)]
    pub(crate) fn new(found: scan::HostPort, at: usize) -> Place {
        Place { kind: found.kind, address: found.address, piece: Piece::new((at, at + found.host_end), 0) }
    }

    /// The host, in the text that its piece counts from.
    #[inline(always)]
    pub(crate) fn host(self, text: &[u8]) -> Option<Host<'_>> {
        match self.kind {
            HostKind::V4 => Some(Host::V4(Ipv4Addr::from_bits(self.address))),
            HostKind::Name => self.piece.of(text).map(Host::Name),
            HostKind::V6 => {
                let inner = self.piece.of(text)?.strip_prefix(b"[")?.strip_suffix(b"]")?;
                v6(inner).map(Host::V6)
            }
            HostKind::Neither => None,
        }
    }

    /// As it is written.
    pub(crate) fn piece(self) -> Piece {
        self.piece
    }
}

/// The host at `at` in a text that begins at `start`, and its end.
pub(crate) fn take(text: Text<'_>, start: usize, at: usize) -> Result<(Place, usize), ValueError> {
    let (kind, address, end) = any(text, at).ok_or(ValueError::new(ValueFault::Host, at))?;
    Ok((Place { kind, address: address.map_or(0, u32::from), piece: Piece::new((at, end), start) }, end))
}

/// What the host at `at` is, its IPv4 address, and its end.
fn any(text: Text<'_>, at: usize) -> Option<(HostKind, Option<Ipv4Addr>, usize)> {
    if text.byte(at) == b'[' {
        // The longest address is 45 characters long, and one more for the third colon of `v6`.
        let inner = text.slice(at + 1, text.end().min(at + 48));
        let len = memchr::memchr(b']', inner)?;
        v6(&inner[..len])?;
        return Some((HostKind::V6, None, at + len + 2));
    }
    let end = scan::hostname_end(text, at);
    let name = text.slice(at, end);
    if name.iter().all(|&b| b.is_ascii_digit() || b == b'.') {
        return v4(name).map(|address| (HostKind::V4, Some(address), end));
    }
    let empty_label = name.first() == Some(&b'.') || name.windows(2).any(|pair| pair == b"..");
    (name.len() <= limit::HOST && !empty_label).then_some((HostKind::Name, None, end))
}

/// `1*3DIGIT` four times, decimal, each up to 255. Leading zeros are decimal too, as the grammar has them.
pub(crate) fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut numbers = text.split(|&b| b == b'.');
    for octet in &mut octets {
        let digits = numbers.next().filter(|digits| digits.len() <= 3)?;
        *octet = u8::try_from(class::decimal(digits)?).ok()?;
    }
    numbers.next().is_none().then(|| octets.into())
}

/// An IPv6 address without its brackets; zones are not part of the grammar.
pub(crate) fn v6(text: &[u8]) -> Option<Ipv6Addr> {
    let text = core::str::from_utf8(text).ok()?;
    if let Some((before, after)) = text.split_once(":::") {
        // RFC 5118 section 4.10: the grammar of RFC 3261 allows a third colon before an IPv4 part; tolerate it there.
        let mut fixed = [0; 48];
        let len = before.len() + 2 + after.len();
        if !after.contains('.') || after.contains(':') || len > fixed.len() {
            return None;
        }
        fixed[..before.len()].copy_from_slice(before.as_bytes());
        fixed[before.len()..before.len() + 2].copy_from_slice(b"::");
        fixed[before.len() + 2..len].copy_from_slice(after.as_bytes());
        return core::str::from_utf8(&fixed[..len]).ok()?.parse().ok();
    }
    text.parse().ok()
}

/// An address with or without brackets, as `received` carries it (RFC 5118 section 4.5).
pub(crate) fn address(text: &[u8]) -> Option<IpAddr> {
    match text {
        [b'[', inner @ .., b']'] => v6(inner).map(IpAddr::V6),
        _ if text.contains(&b':') => v6(text).map(IpAddr::V6),
        _ => v4(text).map(IpAddr::V4),
    }
}

/// A port at `at`, after its colon: 1 to 65,535. Zero is in the grammar but no packet can be sent there.
#[inline(always)]
pub(crate) fn port(text: Text<'_>, at: usize) -> Result<(u16, usize), ValueError> {
    let (number, end) = scan::number(text, at).unwrap_or_default();
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok((port, end)),
        _ => Err(ValueError::new(ValueFault::Port, at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let name = |t: &'static [u8]| Host::parse(t).ok();
        assert!(matches!(name(b"example.com."), Some(Host::Name(_))));
        assert!(matches!(name(b"3f2a9c1b8d7e"), Some(Host::Name(_))));
        assert_eq!(name(b"192.0.2.1"), Some(Host::V4([192, 0, 2, 1].into())));
        assert_eq!(name(b"192.000.02.1"), Some(Host::V4([192, 0, 2, 1].into())));
        assert_eq!(name(b"[2001:DB8::1]"), Some(Host::V6("2001:db8::1".parse().unwrap())));
        assert_eq!(name(b"[::ffff:192.0.2.10]"), Some(Host::V6("::ffff:192.0.2.10".parse().unwrap())));
        assert_eq!(name(b"[2001:db8:::192.0.2.1]"), name(b"[2001:db8::192.0.2.1]"));
        for bad in [
            &b"[2001:db8:::1]"[..],
            b"[1:::2:::192.0.2.1]",
            b"",
            b"1.2.3",
            b"1.2.3.4.5",
            b"1.2.3.256",
            b"1.2.3.",
            b"1234",
            b".a",
            b"a..b",
            b"[::1",
            b"[]",
            b"[fe80::1%eth0]",
            b"[1.2.3.4]",
            b"2001:db8::1",
            b"a b",
            b"a%62",
            b"1.2.3.0004",
        ] {
            assert!(name(bad).is_none(), "{:?}", bad.escape_ascii().to_string());
        }
        assert_eq!(Host::parse(b"A.example."), Host::parse(b"a.EXAMPLE"));
        assert!(Host::parse(&[b'a'; limit::HOST]).is_ok());
        assert!(Host::parse(&[b'a'; limit::HOST + 1]).is_err());
    }

    #[test]
    fn ports() {
        assert_eq!(port(Text::alone(b"5060;"), 0), Ok((5060, 4)));
        assert_eq!(port(Text::alone(b"65535"), 0), Ok((65535, 5)));
        for bad in [&b"0"[..], b"65536", b"", b"-1", b"99999999999999999999"] {
            assert!(port(Text::alone(bad), 0).is_err());
        }
    }
}
