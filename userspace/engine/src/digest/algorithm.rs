//! The hashes of RFC 7616 section 3.4 with the algorithms of RFC 8760.

use md5::Md5;
use sha2::{Sha256, Sha512_256};
use strowger_sip::Hash;

use crate::users::Credentials;

/// A hash algorithm of RFC 8760 section 2.2, without `-sess`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-512/256.
    Sha512_256,
    /// SHA-256.
    Sha256,
    /// MD5, broken as a hash and for phones that know nothing else.
    Md5,
}

impl Algorithm {
    /// All of them, the strongest first.
    pub const ALL: [Self; 3] = [Self::Sha512_256, Self::Sha256, Self::Md5];

    /// The token of RFC 8760 section 2.2.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha512_256 => "SHA-512-256",
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    /// HA1: the hash of user, realm and password (RFC 7616 section 3.4.2).
    #[must_use]
    pub fn ha1(self, user: &[u8], realm: &[u8], password: &[u8]) -> Hash {
        self.hash(&[user, b":", realm, b":", password])
    }

    pub(super) fn from_credentials(algorithm: strowger_sip::Algorithm<'_>) -> Option<Self> {
        match algorithm {
            strowger_sip::Algorithm::Md5 => Some(Self::Md5),
            strowger_sip::Algorithm::Sha256 => Some(Self::Sha256),
            strowger_sip::Algorithm::Sha512_256 => Some(Self::Sha512_256),
            _ => None,
        }
    }

    /// The HA1 of a user by this algorithm.
    pub(super) fn of(self, user: &Credentials) -> Option<Hash> {
        match self {
            Self::Sha512_256 => user.sha512_256.map(Hash::Bits256),
            Self::Sha256 => user.sha256.map(Hash::Bits256),
            Self::Md5 => user.md5.map(Hash::Bits128),
        }
    }

    /// The HA1 of nobody: it costs the same and fits no password.
    pub(super) fn nobody(self, key: &[u8; 32]) -> Hash {
        match self {
            Self::Md5 => Hash::Bits128(*key.first_chunk().unwrap_or(&[0; 16])),
            _ => Hash::Bits256(*key),
        }
    }

    fn hash(self, parts: &[&[u8]]) -> Hash {
        match self {
            Self::Sha512_256 => Hash::Bits256(run::<Sha512_256>(parts).into()),
            Self::Sha256 => Hash::Bits256(run::<Sha256>(parts).into()),
            Self::Md5 => Hash::Bits128(run::<Md5>(parts).into()),
        }
    }

    /// `response` (section 3.4.1) with qop auth, or as RFC 2069 has it.
    pub(super) fn response(self, ha1: &Hash, said: &Said<'_>) -> Hash {
        let a2 = Hex::of(&self.hash(&[said.method, b":", said.uri]));
        let ha1 = Hex::of(ha1);
        match &said.count {
            Some((nc, cnonce)) => {
                let (ha1, a2) = (ha1.as_bytes(), a2.as_bytes());
                self.hash(&[ha1, b":", said.nonce, b":", nc, b":", cnonce, b":auth:", a2])
            }
            None => self.hash(&[ha1.as_bytes(), b":", said.nonce, b":", a2.as_bytes()]),
        }
    }
}

/// What is hashed beside the user.
pub(super) struct Said<'a> {
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) nonce: &'a [u8],
    /// `nc` as eight digits and `cnonce`; none without qop.
    pub(super) count: Option<([u8; 8], &'a [u8])>,
}

fn run<D: sha2::Digest>(parts: &[&[u8]]) -> sha2::digest::Output<D> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize()
}

/// `nc` as it is hashed.
pub(super) fn eight_digits(n: u32) -> [u8; 8] {
    let mut text = [0; 8];
    write_hex(&n.to_be_bytes(), &mut text);
    text
}

/// A hash as it goes into another one: 32 or 64 digits in lower case.
struct Hex {
    digits: [u8; 64],
    len: usize,
}

impl Hex {
    fn of(hash: &Hash) -> Self {
        let bytes: &[u8] = match hash {
            Hash::Bits128(bytes) => bytes,
            Hash::Bits256(bytes) => bytes,
        };
        let mut digits = [0; 64];
        write_hex(bytes, &mut digits);
        Self { digits, len: 2 * bytes.len() }
    }

    fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or_default()
    }
}

fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(hex: &str) -> Hash {
        Hash::from_hex(hex.as_bytes()).expect("hexadecimal digits")
    }

    fn check(
        algorithm: Algorithm,
        (user, realm, password): (&str, &str, &str),
        said: &Said<'_>,
        response: &str,
    ) {
        let ha1 = algorithm.ha1(user.as_bytes(), realm.as_bytes(), password.as_bytes());
        assert!(algorithm.response(&ha1, said).matches(&hash(response)), "{}", algorithm.name());
    }

    #[test]
    fn rfc_7616_section_3_9_1() {
        let user = ("Mufasa", "http-auth@example.org", "Circle of Life");
        let said = Said {
            method: b"GET",
            uri: b"/dir/index.html",
            nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            count: Some((eight_digits(1), b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")),
        };
        check(Algorithm::Md5, user, &said, "8ca523f5e9506fed4657c9700eebdbec");
        let response = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        check(Algorithm::Sha256, user, &said, response);
    }

    /// RFC 7616 section 3.9.2 prints values that are not SHA-512/256 (errata 4897); these are, computed with another
    /// implementation (Python's hashlib) from the same input.
    #[test]
    fn rfc_7616_section_3_9_2_with_sha_512_256() {
        let said = Said {
            method: b"GET",
            uri: b"/doe.json",
            nonce: b"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            count: Some((eight_digits(1), b"NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v")),
        };
        let user = ("J\u{e4}s\u{f8}n Doe", "api@example.org", "Secret, or not?");
        check(
            Algorithm::Sha512_256,
            user,
            &said,
            "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
        );
    }

    /// RFC 2617 section 3.5, the example that phones were built by.
    #[test]
    fn rfc_2617_section_3_5() {
        let said = Said {
            method: b"GET",
            uri: b"/dir/index.html",
            nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            count: Some((eight_digits(1), b"0a4f113b")),
        };
        let user = ("Mufasa", "testrealm@host.com", "Circle Of Life");
        check(Algorithm::Md5, user, &said, "6629fae49393a05397450978507c4ef1");
        // The same without qop (RFC 2069).
        check(Algorithm::Md5, user, &Said { count: None, ..said }, "670fd8c2df070c60b045671b8b24ff02");
    }

    #[test]
    fn the_count_is_eight_digits_in_lower_case() {
        assert_eq!(&eight_digits(1), b"00000001");
        assert_eq!(&eight_digits(0xdead_beef), b"deadbeef");
    }
}
