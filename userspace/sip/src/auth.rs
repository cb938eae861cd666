//! Digest authentication: credentials and challenges (RFC 3261 sections 20.7, 20.27, 20.28, 20.44; RFC 7616;
//! RFC 8760).
//!
//! The values are read, not judged: nothing is computed here. Hashes are fixed-size values, so that a wrong length
//! cannot be compared with a right one.

use core::fmt;

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::limit;
use crate::param::{Param, quoted_end, strip_quotes};
use crate::scan;
use crate::text::Text;

/// A hash as `response`, `rspauth` or HA1 carry it (`request-digest`, `response-digest`: RFC 7616 sections 3.4.1 and 3.5):
/// 128 or 256 bits, read from 32 or 64 hexadecimal digits. It is a value of fixed size, so no length that a sender chose
/// is left in it. Which algorithm made it, it does not know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// MD5.
    Bits128([u8; 16]),
    /// SHA-256 and SHA-512-256.
    Bits256([u8; 32]),
}

impl Hash {
    /// The hash that `text` spells: 32 or 64 hexadecimal digits; the RFCs write them in lower case, either is read. `None`
    /// for any other length and any other byte.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Option<Hash> {
        fn read<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
            let (digits, []) = text.as_chunks::<16>() else { return None };
            let mut bytes = [0; N];
            for (part, digits) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(digits) {
                *part = scan::hexadecimal(digits)?;
            }
            Some(bytes)
        }
        match text.len() {
            32 => read(text).map(Hash::Bits128),
            64 => read(text).map(Hash::Bits256),
            _ => None,
        }
    }

    /// Are the two equal, in a time that does not tell where they differ?
    #[must_use]
    pub fn matches(&self, other: &Hash) -> bool {
        let differ = |a: &[u8], b: &[u8]| a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0;
        match (self, other) {
            (Hash::Bits128(a), Hash::Bits128(b)) => differ(a, b),
            (Hash::Bits256(a), Hash::Bits256(b)) => differ(a, b),
            _ => false,
        }
    }
}

/// A hash can stand for a password: it is not printed.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hash::Bits128(_) => "Hash(128 bits)",
            Hash::Bits256(_) => "Hash(256 bits)",
        })
    }
}

/// `algorithm = "algorithm" EQUAL ( "MD5" / "MD5-sess" / token )` (RFC 3261 section 25.1, RFC 7616 section 6.1, RFC 8760
/// section 2.1); MD5 when it is left out. Whether the [`Hash`](enum@Hash) beside it has the algorithm's size is for the caller to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the algorithms
pub enum Algorithm<'a> {
    Md5,
    Md5Sess,
    Sha256,
    Sha256Sess,
    Sha512_256,
    Sha512_256Sess,
    /// A token that is none of the above: the credentials cannot be checked, the challenge is to be ignored.
    Other(&'a [u8]),
}

impl<'a> Algorithm<'a> {
    /// The algorithm that `text` spells, in any case.
    #[must_use]
    pub fn from_bytes(text: &'a [u8]) -> Algorithm<'a> {
        for (name, algorithm) in [
            (&b"MD5"[..], Algorithm::Md5),
            (b"SHA-256", Algorithm::Sha256),
            (b"SHA-512-256", Algorithm::Sha512_256),
            (b"MD5-sess", Algorithm::Md5Sess),
            (b"SHA-256-sess", Algorithm::Sha256Sess),
            (b"SHA-512-256-sess", Algorithm::Sha512_256Sess),
        ] {
            if text.eq_ignore_ascii_case(name) {
                return algorithm;
            }
        }
        Algorithm::Other(text)
    }
}

/// `qop-value = "auth" / "auth-int" / token` (RFC 3261 section 25.1, RFC 7616 section 3.4), without the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the values
pub enum Qop {
    Auth,
    AuthInt,
}

impl Qop {
    fn from_bytes(text: &[u8]) -> Option<Qop> {
        if text.eq_ignore_ascii_case(b"auth") {
            Some(Qop::Auth)
        } else if text.eq_ignore_ascii_case(b"auth-int") {
            Some(Qop::AuthInt)
        } else {
            None
        }
    }
}

/// `credentials = ( "Digest" LWS digest-response ) / other-response`: Authorization or Proxy-Authorization (RFC 3261
/// sections 20.7, 20.28 and 25.1; RFC 7616 section 3.4). The scheme is compared without regard to case.
///
/// Limits and errors: see [`parse`](Self::parse). Nothing is verified here: not the response, the nonce, its count, the
/// realm, nor that `uri` is the Request-URI.
///
/// ```
/// use strowger_sip::{Algorithm, Credentials};
///
/// let value = b"Digest username=\"alice\", realm=\"example.net\", nonce=\"n1\", uri=\"sip:example.net\", \
///     response=\"6629fae49393a05397450978507c4ef1\", algorithm=MD5";
/// let Credentials::Digest(digest) = Credentials::parse(value)? else { panic!("another scheme") };
/// assert_eq!((digest.username, digest.algorithm, digest.qop), (&b"alice"[..], Algorithm::Md5, None));
/// # Ok::<(), strowger_sip::ValueError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// Digest credentials with everything a check needs.
    Digest(DigestCredentials<'a>),
    /// Another scheme (RFC 4475 section 3.3.7: treated as if there were none).
    Other {
        /// The scheme.
        scheme: &'a [u8],
        /// What follows it, unchecked.
        rest: &'a [u8],
    },
}

/// `digest-response = dig-resp *( COMMA dig-resp )` (RFC 3261 section 25.1, RFC 7616 section 3.4).
///
/// Values are without quotes, whether or not the grammar has them quoted; escapes are as they stand: compare with
/// [`quoted::equals`](crate::quoted::equals). Parameters other than these are passed over. The values may be empty, since
/// an empty quoted string is a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestCredentials<'a> {
    /// `username`.
    pub username: &'a [u8],
    /// `realm`.
    pub realm: &'a [u8],
    /// `nonce`.
    pub nonce: &'a [u8],
    /// `uri`: what the client hashed, not what is routed by.
    pub uri: &'a [u8],
    /// `response`, of the size that it has; see [`Algorithm`].
    pub response: Hash,
    /// `algorithm`.
    pub algorithm: Algorithm<'a>,
    /// `cnonce`; there when `qop` is.
    pub cnonce: Option<&'a [u8]>,
    /// `opaque`.
    pub opaque: Option<&'a [u8]>,
    /// `qop`.
    pub qop: Option<Qop>,
    /// `nc`, eight hexadecimal digits; there when `qop` is.
    pub nc: Option<u32>,
    /// `userhash=true`: `username` is a hash of name and realm (RFC 7616 section 3.4.4).
    pub userhash: bool,
}

impl<'a> Credentials<'a> {
    /// Parses the value of Authorization or Proxy-Authorization.
    ///
    /// # Errors
    /// [`ValueFault::Missing`] when a Digest lacks username, realm, nonce, uri or response, or cnonce or nc beside
    /// qop; [`ValueFault::DuplicateParameter`] for one of those that are read; [`ValueFault::Number`] for a response or nc
    /// that is not of its size; [`ValueFault::Unexpected`] for a qop that is neither auth nor auth-int;
    /// [`ValueFault::TooMany`] over [`limit::AUTH_PARAMETERS`]; a scheme without anything after it; what the grammar does
    /// not allow.
    pub fn parse(text: &'a [u8]) -> Result<Credentials<'a>, ValueError> {
        let (scheme, at) = scheme(text)?;
        if !scheme.eq_ignore_ascii_case(b"Digest") {
            return Ok(Credentials::Other { scheme, rest: text.get(at..).unwrap_or_default() });
        }
        let fields = Fields::read(
            text,
            at,
            [
                &b"username"[..],
                b"realm",
                b"nonce",
                b"uri",
                b"response",
                b"algorithm",
                b"cnonce",
                b"opaque",
                b"qop",
                b"nc",
                b"userhash",
            ],
        )?;
        let [username, realm, nonce, uri, response, algorithm, cnonce, opaque, qop, nc, userhash] = fields.0;
        let missing = ValueError::new(ValueFault::Missing, text.len());
        let number = ValueError::new(ValueFault::Number, at);
        let qop = match qop {
            None => None,
            Some(text) => Some(Qop::from_bytes(text).ok_or(ValueError::new(ValueFault::Unexpected, at))?),
        };
        let nc = match nc {
            None => None,
            Some(digits) => Some(nonce_count(digits).ok_or(number)?),
        };
        if qop.is_some() && (nc.is_none() || cnonce.is_none()) {
            return Err(missing);
        }
        Ok(Credentials::Digest(DigestCredentials {
            username: username.ok_or(missing)?,
            realm: realm.ok_or(missing)?,
            nonce: nonce.ok_or(missing)?,
            uri: uri.ok_or(missing)?,
            response: Hash::from_hex(response.ok_or(missing)?).ok_or(number)?,
            algorithm: algorithm.map_or(Algorithm::Md5, Algorithm::from_bytes),
            cnonce,
            opaque,
            qop,
            nc,
            userhash: userhash.is_some_and(|v| v.eq_ignore_ascii_case(b"true")),
        }))
    }
}

/// `challenge = ( "Digest" LWS digest-cln *( COMMA digest-cln ) ) / other-challenge`: WWW-Authenticate or
/// Proxy-Authenticate (RFC 3261 sections 20.44, 20.27 and 25.1; RFC 7616 section 3.3). One challenge in each header line
/// (RFC 8760 section 2.3): a second one after a comma is not understood, and an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// A Digest challenge.
    Digest(DigestChallenge<'a>),
    /// Another scheme.
    Other {
        /// The scheme.
        scheme: &'a [u8],
        /// What follows it, unchecked.
        rest: &'a [u8],
    },
}

/// `digest-cln` of a Digest challenge (RFC 3261 section 25.1, RFC 7616 section 3.3). Values as in [`DigestCredentials`];
/// `domain` is not taken apart. Offers of qop other than auth and auth-int are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestChallenge<'a> {
    /// `realm`.
    pub realm: &'a [u8],
    /// `nonce`.
    pub nonce: &'a [u8],
    /// `domain`.
    pub domain: Option<&'a [u8]>,
    /// `opaque`.
    pub opaque: Option<&'a [u8]>,
    /// `stale=true`: the nonce was old, the password may be right.
    pub stale: bool,
    /// `algorithm`.
    pub algorithm: Algorithm<'a>,
    /// `qop` offers `auth`.
    pub qop_auth: bool,
    /// `qop` offers `auth-int`.
    pub qop_auth_int: bool,
    /// `userhash=true`.
    pub userhash: bool,
}

impl<'a> Challenge<'a> {
    /// Parses the value of WWW-Authenticate or Proxy-Authenticate.
    ///
    /// # Errors
    /// [`ValueFault::Missing`] when a Digest lacks realm or nonce; [`ValueFault::DuplicateParameter`];
    /// [`ValueFault::TooMany`] over [`limit::AUTH_PARAMETERS`]; what the grammar does not allow.
    pub fn parse(text: &'a [u8]) -> Result<Challenge<'a>, ValueError> {
        let (scheme, at) = scheme(text)?;
        if !scheme.eq_ignore_ascii_case(b"Digest") {
            return Ok(Challenge::Other { scheme, rest: text.get(at..).unwrap_or_default() });
        }
        let names =
            [&b"realm"[..], b"nonce", b"domain", b"opaque", b"stale", b"algorithm", b"qop", b"userhash"];
        let [realm, nonce, domain, opaque, stale, algorithm, qop, userhash] =
            Fields::read(text, at, names)?.0;
        let missing = ValueError::new(ValueFault::Missing, text.len());
        let offers = |wanted| {
            qop.is_some_and(|q| {
                q.split(|&b| b == b',').any(|o| Qop::from_bytes(class::trim(o)) == Some(wanted))
            })
        };
        let is_true = |v: Option<&[u8]>| v.is_some_and(|v| v.eq_ignore_ascii_case(b"true"));
        Ok(Challenge::Digest(DigestChallenge {
            realm: realm.ok_or(missing)?,
            nonce: nonce.ok_or(missing)?,
            domain,
            opaque,
            stale: is_true(stale),
            algorithm: algorithm.map_or(Algorithm::Md5, Algorithm::from_bytes),
            qop_auth: offers(Qop::Auth),
            qop_auth_int: offers(Qop::AuthInt),
            userhash: is_true(userhash),
        }))
    }
}

/// `ainfo *( COMMA ainfo )`: Authentication-Info (RFC 3261 sections 20.6 and 25.1, RFC 7616 section 3.5). Values as in
/// [`DigestCredentials`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthenticationInfo<'a> {
    /// `nextnonce`.
    pub next_nonce: Option<&'a [u8]>,
    /// `qop`; `None` also for another value than auth and auth-int.
    pub qop: Option<Qop>,
    /// `rspauth`.
    pub response: Option<Hash>,
    /// `cnonce`.
    pub cnonce: Option<&'a [u8]>,
    /// `nc`.
    pub nc: Option<u32>,
}

impl<'a> AuthenticationInfo<'a> {
    /// Parses the value of Authentication-Info.
    ///
    /// # Errors
    /// [`ValueFault::Number`] for an rspauth or nc that is not of its size; [`ValueFault::DuplicateParameter`];
    /// [`ValueFault::TooMany`] over [`limit::AUTH_PARAMETERS`]; what the grammar does not allow. There must be one
    /// parameter, no matter which.
    pub fn parse(text: &'a [u8]) -> Result<AuthenticationInfo<'a>, ValueError> {
        let names = [&b"nextnonce"[..], b"qop", b"rspauth", b"cnonce", b"nc"];
        let [next_nonce, qop, response, cnonce, nc] = Fields::read(text, 0, names)?.0;
        let number = ValueError::new(ValueFault::Number, 0);
        Ok(AuthenticationInfo {
            next_nonce,
            qop: qop.and_then(Qop::from_bytes),
            response: response.map(|r| Hash::from_hex(r).ok_or(number)).transpose()?,
            cnonce,
            nc: nc.map(|n| nonce_count(n).ok_or(number)).transpose()?,
        })
    }
}

/// `auth-scheme LWS`: the scheme and where the rest begins.
fn scheme(text: &[u8]) -> Result<(&[u8], usize), ValueError> {
    let len = class::span(text, class::TOKEN);
    let at = class::skip_lws(text, len);
    match text.get(len) {
        None => Err(ValueError::new(ValueFault::Ended, len)),
        Some(_) if len == 0 || at == len => Err(ValueError::new(ValueFault::Unexpected, len)),
        Some(_) => Ok((&text[..len], at)),
    }
}

/// `nc-value = 8LHEX`.
fn nonce_count(text: &[u8]) -> Option<u32> {
    let mut digits = *b"0000000000000000";
    *digits.last_chunk_mut()? = *text.as_array::<8>()?;
    let [.., a, b, c, d] = scan::hexadecimal(&digits)?;
    Some(u32::from_be_bytes([a, b, c, d]))
}

/// The name of a parameter in lower case, zero after its end. No two tokens become the same one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name([u64; 2]);

impl Name {
    /// A name of up to 16 bytes; a longer one, which is none of those that are read, becomes [`Name::LONG`].
    #[inline(always)]
    fn new(name: &[u8]) -> Name {
        let mut bytes = [0; 16];
        match bytes.get_mut(..name.len()) {
            Some(place) => place.copy_from_slice(name),
            None => return Name::LONG,
        }
        Name(Self::lower(u128::from_le_bytes(bytes), name.len()))
    }

    /// A name of `len` bytes at the front of a window.
    #[inline(always)]
    fn at_front(window: &[u8; 16], len: usize) -> Name {
        Name(Self::lower(u128::from_le_bytes(*window), len))
    }

    const LONG: Name = Name([0; 2]);

    #[inline(always)]
    fn lower(word: u128, len: usize) -> [u64; 2] {
        let keep = u128::MAX.unbounded_shr(128 - 8 * len.min(16) as u32);
        let lower = (word | u128::from_le_bytes([0x20; 16])) & keep;
        [lower as u64, (lower >> 64) as u64]
    }
}

/// The wanted parameters of a `name EQUAL value *(COMMA name EQUAL value)` list, without quotes.
struct Fields<'a, const N: usize>([Option<&'a [u8]>; N]);

impl<'a, const N: usize> Fields<'a, N> {
    fn read(text: &'a [u8], at: usize, names: [&[u8]; N]) -> Result<Self, ValueError> {
        let names = names.map(Name::new);
        let mut found = [None; N];
        let mut at = at;
        for _ in 0..limit::AUTH_PARAMETERS {
            let from = class::skip_lws(text, at);
            let (name, value, end) = match usual(text, from) {
                Some(usual) => usual,
                None => {
                    one(text, from).map(|(p, end)| (Name::new(p.name), p.value.unwrap_or_default(), end))?
                }
            };
            if name != Name::LONG
                && let Some(i) = names.iter().position(|n| *n == name)
                && let Some(place) = found.get_mut(i)
                && place.replace(strip_quotes(value)).is_some()
            {
                return Err(ValueError::new(ValueFault::DuplicateParameter, from));
            }
            let end = class::skip_lws(text, end);
            match text.get(end) {
                None => return Ok(Fields(found)),
                Some(b',') => at = end + 1,
                Some(_) => return Err(ValueError::new(ValueFault::Unexpected, end)),
            }
        }
        Err(ValueError::new(ValueFault::TooMany, at))
    }
}

/// As [`one`], where a name of letters, `=`, and a value that is short and of the usual letters follow each other, and something
/// follows them. `None` for any other.
#[inline(always)]
fn usual(text: &[u8], from: usize) -> Option<(Name, &[u8], usize)> {
    let text = Text::alone(text);
    let window = text.window(from)?;
    let len = scan::letters(window);
    let value = from + len + 1;
    let [equal, front @ ..] = text.bytes::<33>(from + len)?;
    if len == 0 || len == 16 || *equal != b'=' {
        return None;
    }
    let end = if front[0] == b'"' {
        quoted_end(text, value).ok()?
    } else {
        match scan::plain_value(front) {
            0 | 32 => return None,
            len => value + len,
        }
    };
    // Whatever goes on after an unquoted value is for the general way to judge.
    if !matches!(text.byte(end), b',' | 0) {
        return None;
    }
    Some((Name::at_front(window, len), text.slice(value, end), end))
}

/// One `name EQUAL ( token / quoted-string )`.
fn one(text: &[u8], from: usize) -> Result<(Param<'_>, usize), ValueError> {
    let rest = text.get(from..).unwrap_or_default();
    let name = class::span(rest, class::TOKEN);
    let equal = class::skip_lws(text, from + name);
    if name == 0 || text.get(equal) != Some(&b'=') {
        let fault = if equal >= text.len() { ValueFault::Ended } else { ValueFault::Unexpected };
        return Err(ValueError::new(fault, equal));
    }
    let value = class::skip_lws(text, equal + 1);
    let end = match text.get(value) {
        Some(b'"') => quoted_end(Text::alone(text), value)?,
        _ => class::run_end(text, value, class::VALUE),
    };
    if end == value {
        let fault = if value >= text.len() { ValueFault::Ended } else { ValueFault::Unexpected };
        return Err(ValueError::new(fault, value));
    }
    Ok((Param { name: &rest[..name], value: text.get(value..end) }, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn both_ways_agree(
            text in "[a-zA-Z]{0,17}[-0-9 ]?=?(\"[ -~]{0,34}\"?|[a-zA-Z0-9./:-]{0,34}|[ -~]{0,6})(, ?[ -~]{0,40})?",
        ) {
            if let Some((name, value, end)) = usual(text.as_bytes(), 0) {
                let (param, expected) = one(text.as_bytes(), 0).unwrap();
                prop_assert!(name == Name::new(param.name) && name != Name::LONG);
                prop_assert_eq!((Some(value), end), (param.value, expected));
            }
        }

        #[test]
        fn hexadecimal_digits_are_read_as_the_standard_library_reads_them(text in "[0-9a-fA-F]{30,34}|[0-9a-gG@`/:]{31,33}|[0-9a-f]{63,65}") {
            let digit = |b: u8| char::from(b).to_digit(16);
            let naive: Option<Vec<u8>> =
                text.as_bytes().chunks(2).map(|p| Some((digit(p[0])? << 4 | digit(*p.get(1)?)?) as u8)).collect();
            let read = match Hash::from_hex(text.as_bytes()) {
                Some(Hash::Bits128(bits)) => Some(bits.to_vec()),
                Some(Hash::Bits256(bits)) => Some(bits.to_vec()),
                None => None,
            };
            prop_assert_eq!(read, naive.filter(|bytes| [16, 32].contains(&bytes.len())));
            let count = &text.as_bytes()[..8];
            let naive = count.iter().all(u8::is_ascii_hexdigit).then(|| u32::from_str_radix(&text[..8], 16).unwrap());
            prop_assert_eq!(nonce_count(count), naive);
            prop_assert_eq!(nonce_count(&text.as_bytes()[..7]), None);
        }
    }

    const FULL: &[u8] = b"Digest username=\"bob\", realm=\"biloxi.example.com\",\r\n \
nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"sip:bob@biloxi.example.com\", qop=auth, nc=00000001, \
cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc\", algorithm=MD5";

    fn digest(text: &[u8]) -> DigestCredentials<'_> {
        match Credentials::parse(text) {
            Ok(Credentials::Digest(digest)) => digest,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn full_credentials() {
        let c = digest(FULL);
        assert_eq!(
            (c.username, c.realm, c.qop, c.nc),
            (&b"bob"[..], &b"biloxi.example.com"[..], Some(Qop::Auth), Some(1))
        );
        assert_eq!(c.uri, b"sip:bob@biloxi.example.com");
        assert_eq!((c.algorithm, c.userhash, c.opaque), (Algorithm::Md5, false, Some(&b"5ccc"[..])));
        assert!(matches!(c.response, Hash::Bits128([0x66, 0x29, ..])));
    }

    /// Kamailio CVE-2023-28098 read past the header's end: every prefix is parsed on its own.
    #[test]
    fn every_truncation_is_an_error_or_complete() {
        for end in 0..FULL.len() {
            if let Ok(Credentials::Digest(c)) = Credentials::parse(&FULL[..end]) {
                // Only after the response is everything there that must be.
                assert!(end > FULL.len() - 40, "{end}: {c:?}");
            }
        }
    }

    /// PJSIP CVE-2022-24754 trusted a hash's length.
    #[test]
    fn a_hash_has_one_of_two_sizes() {
        for len in 0..200 {
            let text = vec![b'a'; len];
            assert_eq!(Hash::from_hex(&text).is_some(), len == 32 || len == 64, "{len}");
        }
        assert!(Hash::from_hex(&[b'g'; 32]).is_none());
        let (a, b) = (Hash::Bits128([1; 16]), Hash::Bits256([1; 32]));
        assert!(a.matches(&a) && !a.matches(&b) && !a.matches(&Hash::Bits128([2; 16])));
        assert_eq!(format!("{a:?}"), "Hash(128 bits)");
        assert_eq!(
            Hash::from_hex(b"000102030405060708090A0b0c0d0e0f"),
            Some(Hash::Bits128([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]))
        );
    }

    #[test]
    fn what_is_missing_or_wrong() {
        let text = String::from_utf8(FULL.to_vec()).unwrap();
        for (what, with, fault) in [
            ("username=\"bob\", ", "", ValueFault::Missing),
            ("nc=00000001, ", "", ValueFault::Missing),
            ("cnonce=\"0a4f113b\", ", "", ValueFault::Missing),
            ("nc=00000001", "nc=1", ValueFault::Number),
            ("nc=00000001", "nc=+0000001", ValueFault::Number),
            ("6629fae4", "6629fae", ValueFault::Number),
            ("qop=auth", "qop=other", ValueFault::Unexpected),
            ("qop=auth", "qop=auth, qop=auth", ValueFault::DuplicateParameter),
            ("Digest ", "Digest", ValueFault::Unexpected),
            ("opaque=\"5ccc\"", "opaque=\"5ccc", ValueFault::Unterminated),
            ("algorithm=MD5", "algorithm=\"MD5", ValueFault::Unterminated),
            ("algorithm=MD5", "algorithm=", ValueFault::Ended),
            ("algorithm=MD5", "algorithm", ValueFault::Ended),
            ("algorithm=MD5", "", ValueFault::Ended),
        ] {
            let changed = text.replacen(what, with, 1);
            assert_ne!(changed, text);
            assert_eq!(Credentials::parse(changed.as_bytes()).unwrap_err().fault, fault, "{what} -> {with}");
        }
        let many = format!("Digest {}", vec!["a=b"; limit::AUTH_PARAMETERS + 1].join(","));
        assert_eq!(Credentials::parse(many.as_bytes()).unwrap_err().fault, ValueFault::TooMany);
    }

    #[test]
    fn challenges_and_other_schemes() {
        let Ok(Challenge::Digest(c)) = Challenge::parse(
            b"Digest realm=\"a, b\", qop=\"auth, auth-int\", nonce=\"n\", algorithm=SHA-256, stale=TRUE, userhash=true",
        ) else {
            panic!()
        };
        assert_eq!((c.realm, c.nonce, c.algorithm), (&b"a, b"[..], &b"n"[..], Algorithm::Sha256));
        assert!(c.qop_auth && c.qop_auth_int && c.stale && c.userhash);
        assert!(matches!(
            Credentials::parse(b"NoOneKnowsThisScheme opaque-data=here"),
            Ok(Credentials::Other { scheme: b"NoOneKnowsThisScheme", rest: b"opaque-data=here" })
        ));
        assert_eq!(Challenge::parse(b"Digest realm=\"a\"").unwrap_err().fault, ValueFault::Missing);
        let info = AuthenticationInfo::parse(b"nextnonce=\"x\", qop=auth, nc=0000000a").unwrap();
        assert_eq!((info.next_nonce, info.qop, info.nc), (Some(&b"x"[..]), Some(Qop::Auth), Some(10)));
    }
}
