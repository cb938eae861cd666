//! What the configuration says about routes: rules as they are written, before they are compiled.
//!
//! The node fills these from its file. Nothing is checked here; [`Routing`](super::Routing) compiles them and says
//! what is wrong with which.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

/// One of `routes`: what it matches, and what then becomes of the request. The first that matches decides.
///
/// Of what is given, everything must match; of a list, one member. What is left empty matches every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteRule {
    /// Methods, in upper case.
    pub methods: Vec<String>,
    /// Where the request came from.
    pub sources: Vec<RouteSource>,
    /// How the user in From begins.
    pub from_prefix: Option<String>,
    /// Domain or address in From.
    pub from_domain: Option<String>,
    /// How the user in the header To begins. It decides nothing by the RFC; it is what the caller dialled first.
    pub to_header_prefix: Option<String>,
    /// Domain or address in the header To.
    pub to_header_domain: Option<String>,
    /// How the user that is called begins: the one of the Request-URI.
    pub to_prefix: Option<String>,
    /// Domain or address that is called: the one of the Request-URI.
    pub domain: Option<String>,
    /// An expression that is found in `USER@DOMAIN` (or `DOMAIN`) of the Request-URI, the domain in lower case.
    pub regex: Option<String>,
    /// Octets taken away at the front of the called user.
    pub strip: usize,
    /// Octets put in front of it afterwards.
    pub prepend: String,
    /// Takes the place of the called user, before `strip` and `prepend`.
    pub rewrite_user: Option<String>,
    /// Takes the place of host and port of the Request-URI: `HOST` or `HOST:PORT`.
    pub rewrite_host: Option<String>,
    /// What becomes of the request.
    pub action: RouteAction,
    /// Forward without a transaction (RFC 3261 section 16.11).
    pub stateless: bool,
}

/// What becomes of a request that a [`RouteRule`] matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RouteAction {
    /// By its Request-URI after rewriting: users of our domains are looked up, everything else goes where the URI
    /// leads (RFC 3263).
    #[default]
    Uri,
    /// The location table, whatever the domain is called; the user must be one of a domain of ours.
    Location,
    /// To the gateway group of this name.
    Gateway(String),
    /// Refused with this code, 300 to 699, and reason phrase; without one, that of RFC 3261.
    Reject {
        /// Status code.
        code: u16,
        /// Reason phrase; empty for the usual one.
        phrase: String,
    },
}

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteSource {
    /// An address of this prefix.
    Prefix(IpPrefix),
    /// An address of a target of the gateway group of this name.
    Gateway(String),
}

/// Addresses that begin with the same bits: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    address: IpAddr,
    length: u8,
}

impl IpPrefix {
    /// The prefix of one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The prefix of `length` bits that the address is in; `None` when its family has not so many.
    #[must_use]
    pub fn around(address: IpAddr, length: u8) -> Option<Self> {
        let whole = Self::host(address);
        let behind = u32::from(whole.length.checked_sub(length)?);
        let address = match whole.address {
            IpAddr::V4(ip) => {
                let rest = u32::MAX.checked_shl(behind).unwrap_or(0);
                IpAddr::V4((ip.to_bits() & rest).into())
            }
            IpAddr::V6(ip) => {
                let rest = u128::MAX.checked_shl(behind).unwrap_or(0);
                IpAddr::V6((ip.to_bits() & rest).into())
            }
        };
        Some(Self { address, length })
    }

    /// The first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Leading bits that count: all that its family has for one address.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// Whether the address begins so. IPv4-mapped addresses are those they stand for.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.checked_shr(32 - u32::from(self.length)).is_none_or(|rest| rest == 0)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.checked_shr(128 - u32::from(self.length)).is_none_or(|rest| rest == 0)
            }
            _ => false,
        }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for IpPrefix {
    type Err = &'static str;

    /// `ADDRESS` or `ADDRESS/LENGTH`. Bits behind the prefix must be zero: `10.1.2.3/8` is most likely a mistake.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "is neither ADDRESS nor ADDRESS/LENGTH";
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| FORM)?;
        if address.to_canonical() != address {
            return Err("is an IPv4-mapped IPv6 address; write the IPv4 address");
        }
        let whole = Self::host(address);
        let Some(length) = length else { return Ok(whole) };
        let digits = (1..=3).contains(&length.len()) && length.bytes().all(|b| b.is_ascii_digit());
        let length = length.parse().ok().filter(|l| digits && *l <= whole.length);
        let prefix = Self { address, length: length.ok_or("has a length that its family does not have")? };
        let rest = match address {
            IpAddr::V4(ip) => ip.to_bits().checked_shl(u32::from(prefix.length)).unwrap_or(0) != 0,
            IpAddr::V6(ip) => ip.to_bits().checked_shl(u32::from(prefix.length)).unwrap_or(0) != 0,
        };
        if rest { Err("has bits behind its length") } else { Ok(prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_prefix_around_an_address_is_one_that_can_be_written() {
        let around = |text: &str, length| IpPrefix::around(text.parse().unwrap(), length);
        for (address, length, prefix) in [
            ("192.0.2.77", 32, "192.0.2.77"),
            ("192.0.2.77", 24, "192.0.2.0/24"),
            ("192.0.2.77", 0, "0.0.0.0/0"),
            ("::ffff:192.0.2.77", 24, "192.0.2.0/24"),
            ("2001:db8::1:2:3:4", 64, "2001:db8::/64"),
            ("2001:db8::1", 0, "::/0"),
        ] {
            assert_eq!(around(address, length), prefix.parse().ok(), "{address}/{length}");
        }
        assert_eq!((around("192.0.2.77", 33), around("::1", 129)), (None, None));
    }

    #[test]
    fn prefixes_as_they_are_written() {
        let prefix = |text: &str| text.parse::<IpPrefix>();
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
        ] {
            let prefix = prefix(text).expect(text);
            assert!(prefix.contains(inside.parse().expect("address")), "{inside} in {text}");
            assert!(!prefix.contains(outside.parse().expect("address")), "{outside} in {text}");
        }
        assert!(prefix("10.0.0.0/8").expect("valid").contains("::ffff:10.1.1.1".parse().expect("address")));
        for bad in
            ["", "10.0.0.0/33", "10.0.0.1/8", "::1/129", "::ffff:10.0.0.1", "10.0.0.0/", "10.0.0.0/+8", "a/8"]
        {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_prefix_holds_what_shares_its_bits(address: u32, other: u32, length in 0u8..=32) {
            let mask = if length == 0 { 0 } else { u32::MAX << (32 - length) };
            let prefix = IpPrefix { address: IpAddr::from((address & mask).to_be_bytes()), length };
            let expected = other & mask == address & mask;
            prop_assert_eq!(prefix.contains(IpAddr::from(other.to_be_bytes())), expected);
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
        }
    }
}
