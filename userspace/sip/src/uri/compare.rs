//! URI equality: RFC 3261 section 19.1.4; RFC 3966 section 4 for tel.

use core::cmp::Ordering;

use super::escape::unescaped;
use super::{Scheme, Uri, UriParams};

/// `reserved` of RFC 3261 section 25.1.
const RESERVED: &[u8] = b";/?:@&=+$,";

/// Parameters that make two URIs differ when only one of them has it.
const SIGNIFICANT: [&[u8]; 4] = [b"user", b"ttl", b"method", b"maddr"];

impl Uri<'_> {
    /// Are the two the same by RFC 3261 section 19.1.4? Not transitive, so never a key: `sip:a@b` equals
    /// `sip:a@b;x=1` and `sip:a@b;x=2`, which differ.
    ///
    /// sip and sips differ. User and password are compared by case, the rest without; an escape equals the byte it
    /// stands for unless that byte is reserved. A port given differs from a port left out. The parameters user, ttl,
    /// method and maddr, and transport by the RFC's examples, must be in both or in neither; any other counts only
    /// when both have it. Headers must be the same in both, in any order.
    #[must_use]
    pub fn is_equivalent(&self, other: &Uri<'_>) -> bool {
        match (self.scheme(), other.scheme()) {
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => {}
            (Scheme::Tel, Scheme::Tel) => return same_tel(self, other),
            (Scheme::Other(a), Scheme::Other(b)) => {
                return a.eq_ignore_ascii_case(b) && self.opaque() == other.opaque();
            }
            _ => return false,
        }
        same_optional(self.user(), other.user(), true)
            && same_optional(self.password(), other.password(), true)
            && self.host() == other.host()
            && self.port() == other.port()
            && same_params(self.params(), other.params())
            && same_params(other.params(), self.params())
            && same_headers(self, other)
            && same_headers(other, self)
    }
}

/// Equal after unescaping; an escaped reserved byte is not the same as that byte written out.
pub(super) fn same(a: &[u8], b: &[u8], case: bool) -> bool {
    let reserved = |byte: u8| RESERVED.contains(&byte);
    let (mut a, mut b) = (a, b);
    loop {
        match (unescaped(a), unescaped(b)) {
            (None, None) => return true,
            (Some((x, x_escaped, x_took)), Some((y, y_escaped, y_took))) => {
                let equal = if case { x == y } else { x.eq_ignore_ascii_case(&y) };
                if !equal || (x_escaped != y_escaped && reserved(x)) {
                    return false;
                }
                a = &a[x_took..];
                b = &b[y_took..];
            }
            _ => return false,
        }
    }
}

/// An order of names for sorting: equal where [`same`] without case is true.
pub(super) fn order(a: &[u8], b: &[u8]) -> Ordering {
    keys(a).cmp(keys(b))
}

/// What [`same`] compares of a text without case.
fn keys(mut text: &[u8]) -> impl Iterator<Item = (u8, bool)> {
    core::iter::from_fn(move || {
        let (byte, escaped, took) = unescaped(text)?;
        text = text.get(took..)?;
        Some((byte.to_ascii_lowercase(), escaped && RESERVED.contains(&byte)))
    })
}

fn same_optional(a: Option<&[u8]>, b: Option<&[u8]>, case: bool) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same(a, b, case),
        _ => false,
    }
}

/// Everything in `a` agrees with `b`; called both ways round.
fn same_params(a: UriParams<'_>, b: UriParams<'_>) -> bool {
    a.iter().all(|p| match b.iter().find(|q| same(p.name, q.name, false)) {
        Some(q) => same_optional(p.value, q.value, false),
        None => {
            !SIGNIFICANT.iter().any(|name| same(p.name, name, false)) && !same(p.name, b"transport", false)
        }
    })
}

/// Every header of `a` is in `b` with the same value.
fn same_headers(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    a.header_pairs().all(|(name, value)| {
        b.header_pairs().any(|(other, with)| same(name, other, false) && same(value, with, true))
    }) && a.header_pairs().count() == b.header_pairs().count()
}

/// RFC 3966 section 4: visual separators do not count; parameters must be the same, in any order.
fn same_tel(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let mut x = a.user().unwrap_or_default().iter().filter(|b| !b"-.()".contains(b));
    let mut y = b.user().unwrap_or_default().iter().filter(|b| !b"-.()".contains(b));
    let number = loop {
        match (x.next(), y.next()) {
            (None, None) => break true,
            (Some(p), Some(q)) if p.eq_ignore_ascii_case(q) => {}
            _ => break false,
        }
    };
    let within = |a: &Uri<'_>, b: &Uri<'_>| {
        a.params().iter().all(|p| {
            b.params().iter().any(|q| same(p.name, q.name, false) && same_optional(p.value, q.value, false))
        })
    };
    number && within(a, b) && within(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(a: &str, b: &str) -> bool {
        let (x, y) = (Uri::parse(a.as_bytes()).unwrap(), Uri::parse(b.as_bytes()).unwrap());
        let result = x.is_equivalent(&y);
        assert_eq!(y.is_equivalent(&x), result, "not symmetric: {a} {b}");
        result
    }

    proptest::proptest! {
        #[test]
        fn the_order_is_that_of_sameness(
            a in "([aAbB]|%4[12]|%61|%3[bB]|;|%){0,4}",
            b in "([aAbB]|%4[12]|%61|%3[bB]|;|%){0,4}",
        ) {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            proptest::prop_assert_eq!(order(a, b).is_eq(), same(a, b, false));
            proptest::prop_assert_eq!(order(a, b), order(b, a).reverse());
        }
    }

    /// The examples of RFC 3261 section 19.1.4.
    #[test]
    fn examples_of_rfc_3261() {
        for (a, b) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(equal(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
            ("sip:a@b", "sips:a@b"),
            ("sip:a%3Bb@c", "sip:a;b@c"),
            ("sip:a@b;user=phone", "sip:a@b"),
        ] {
            assert!(!equal(a, b), "{a} {b}");
        }
    }

    #[test]
    fn tel_ignores_visual_separators() {
        assert!(equal("tel:+1-201-555-0123", "tel:+1(201)555.0123"));
        assert!(!equal("tel:+12015550123", "tel:12015550123"));
        assert!(!equal("tel:863;phone-context=a.example", "tel:863;phone-context=b.example"));
        assert!(equal("urn:service:sos", "URN:service:sos"));
        assert!(!equal("tel:1", "sip:1@h"));
    }
}
