//! A user's answer to a digest challenge: RFC 7616 section 3.4 and RFC 8760, without allocation.

use std::str::FromStr;

use md5::Md5;
use sha2::{Sha256, Sha512_256};
use strowger_sip::{Algorithm, Challenge, DigestChallenge, HeaderName, Message};

use crate::text::{Text, hex};

/// Room for an Authorization line.
pub(crate) type Line = Text<768>;

/// The algorithms a user takes part in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// Whatever is offered first (RFC 8760 section 2.4).
    #[default]
    Any,
    /// MD5 alone.
    Md5,
    /// SHA-256 alone.
    Sha256,
    /// SHA-512-256 alone.
    Sha512_256,
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.to_ascii_uppercase().as_str() {
            "ANY" => Allowed::Any,
            "MD5" => Allowed::Md5,
            "SHA-256" => Allowed::Sha256,
            "SHA-512-256" => Allowed::Sha512_256,
            _ => return Err("one of any, MD5, SHA-256, SHA-512-256".to_owned()),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Md5,
    Sha256,
    Sha512_256,
}

impl Hash {
    fn of(algorithm: Algorithm<'_>) -> Option<Self> {
        match algorithm {
            Algorithm::Md5 => Some(Hash::Md5),
            Algorithm::Sha256 => Some(Hash::Sha256),
            Algorithm::Sha512_256 => Some(Hash::Sha512_256),
            _ => None,
        }
    }

    fn allowed(self, allowed: Allowed) -> bool {
        match allowed {
            Allowed::Any => true,
            Allowed::Md5 => self == Hash::Md5,
            Allowed::Sha256 => self == Hash::Sha256,
            Allowed::Sha512_256 => self == Hash::Sha512_256,
        }
    }

    fn name(self) -> &'static [u8] {
        match self {
            Hash::Md5 => b"MD5",
            Hash::Sha256 => b"SHA-256",
            Hash::Sha512_256 => b"SHA-512-256",
        }
    }

    /// The hash of the parts with colons between them, in hexadecimal.
    fn hash(self, parts: &[&[u8]]) -> Text<64> {
        match self {
            Hash::Md5 => hashed::<Md5>(parts),
            Hash::Sha256 => hashed::<Sha256>(parts),
            Hash::Sha512_256 => hashed::<Sha512_256>(parts),
        }
    }
}

fn hashed<D: sha2::Digest>(parts: &[&[u8]]) -> Text<64> {
    let mut digest = D::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            digest.update(b":");
        }
        digest.update(part);
    }
    let mut text = Text::EMPTY;
    for word in digest.finalize().chunks_exact(4) {
        let number = u32::from_be_bytes(word.try_into().unwrap_or_default());
        // 32 octets at most: there is room.
        let _ = text.push(&hex(number));
    }
    text
}

/// What is kept of a challenge, to answer it now and again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nonce {
    proxy: bool,
    hash: Hash,
    qop: bool,
    /// How often it was used.
    count: u32,
    realm: Text<128>,
    nonce: Text<256>,
    opaque: Text<128>,
}

/// Whose answer it is, and to what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answering<'a> {
    pub(crate) user: &'a [u8],
    pub(crate) password: &'a [u8],
    pub(crate) method: &'a [u8],
    /// The Request-URI.
    pub(crate) uri: &'a [u8],
    /// Any number.
    pub(crate) random: u32,
}

impl Nonce {
    /// The first challenge of a 401 or 407 that can be answered.
    pub(crate) fn of(message: &Message<'_>, code: u16, allowed: Allowed) -> Option<Self> {
        let proxy = code == 407;
        let name = if proxy { HeaderName::ProxyAuthenticate } else { HeaderName::WwwAuthenticate };
        message.headers(name).find_map(|header| match Challenge::parse(header.value) {
            Ok(Challenge::Digest(challenge)) => Self::keep(&challenge, proxy, allowed),
            _ => None,
        })
    }

    fn keep(challenge: &DigestChallenge<'_>, proxy: bool, allowed: Allowed) -> Option<Self> {
        let hash = Hash::of(challenge.algorithm).filter(|hash| hash.allowed(allowed))?;
        let mut nonce = Nonce {
            proxy,
            hash,
            qop: challenge.qop_auth,
            count: 0,
            realm: Text::EMPTY,
            nonce: Text::EMPTY,
            opaque: Text::EMPTY,
        };
        let fits = nonce.realm.set(challenge.realm)
            && nonce.nonce.set(challenge.nonce)
            && nonce.opaque.set(challenge.opaque.unwrap_or_default());
        fits.then_some(nonce)
    }

    /// Writes the Authorization or Proxy-Authorization line. False when it does not fit.
    pub(crate) fn answer(&mut self, who: &Answering<'_>, line: &mut Line) -> bool {
        self.count = self.count.wrapping_add(1);
        let (realm, nonce) = (self.realm.as_bytes(), self.nonce.as_bytes());
        let (count, cnonce) = (hex(self.count), hex(who.random));
        let ha1 = self.hash.hash(&[who.user, realm, who.password]);
        let ha2 = self.hash.hash(&[who.method, who.uri]);
        let (ha1, ha2) = (ha1.as_bytes(), ha2.as_bytes());
        let response = if self.qop {
            self.hash.hash(&[ha1, nonce, &count, &cnonce, b"auth", ha2])
        } else {
            // RFC 2069's form: RFC 7616 section 3.4.1 has qop in all challenges, RFC 3261 section 22.4 knows servers without.
            self.hash.hash(&[ha1, nonce, ha2])
        };
        line.clear();
        let parts: [&[u8]; 14] = [
            if self.proxy { b"Proxy-Authorization" } else { b"Authorization" },
            b": Digest username=\"",
            who.user,
            b"\", realm=\"",
            realm,
            b"\", nonce=\"",
            nonce,
            b"\", uri=\"",
            who.uri,
            b"\", response=\"",
            response.as_bytes(),
            b"\", algorithm=",
            self.hash.name(),
            b"",
        ];
        let mut fits = parts.iter().all(|part| line.push(part));
        if self.qop {
            let qop: [&[u8]; 4] = [b", qop=auth, nc=", &count, b", cnonce=\"", &cnonce];
            fits = fits && qop.iter().all(|part| line.push(part)) && line.push(b"\"");
        }
        if !self.opaque.is_empty() {
            fits = fits && line.push(b", opaque=\"") && line.push(self.opaque.as_bytes()) && line.push(b"\"");
        }
        fits && line.push(b"\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::Index;

    fn challenged(lines: &str, allowed: Allowed) -> Option<Nonce> {
        let text = format!("SIP/2.0 401 Unauthorized\r\n{lines}\r\n");
        let mut index = Index::new();
        Nonce::of(&Message::parse(text.as_bytes(), &mut index).expect("parses"), 401, allowed)
    }

    /// RFC 7616 section 3.9.1, but for the client's nonce and count, which are ours: checked against the RFC's own
    /// construction with the RFC's values where the response does not depend on them (without qop, RFC 2617 section 3.5's
    /// user).
    #[test]
    fn responses_are_those_of_the_rfc() {
        let hash = |hash: Hash, parts: &[&str]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            String::from_utf8(hash.hash(&parts).as_bytes().to_vec()).expect("ASCII")
        };
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, expected) in [
            (Hash::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Hash::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let ha1 = hash(algorithm, &["Mufasa", "http-auth@example.org", "Circle of Life"]);
            let ha2 = hash(algorithm, &["GET", "/dir/index.html"]);
            assert_eq!(hash(algorithm, &[&ha1, nonce, "00000001", cnonce, "auth", &ha2]), expected);
        }
    }

    #[test]
    fn the_line_says_what_was_asked_for() {
        let lines = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", opaque=\"o\", qop=\"auth\", algorithm=SHA-256\r\n\
                     WWW-Authenticate: Digest realm=\"r\", nonce=\"m\"\r\n";
        let mut nonce = challenged(lines, Allowed::Any).expect("the first");
        let who = Answering { user: b"u", password: b"p", method: b"REGISTER", uri: b"sip:x", random: 7 };
        let mut line = Line::EMPTY;
        assert!(nonce.answer(&who, &mut line) && nonce.answer(&who, &mut line));
        let text = String::from_utf8_lossy(line.as_bytes()).into_owned();
        let (ha1, ha2) =
            (Hash::Sha256.hash(&[b"u", b"r", b"p"]), Hash::Sha256.hash(&[b"REGISTER", b"sip:x"]));
        let expected =
            Hash::Sha256.hash(&[ha1.as_bytes(), b"n", b"00000002", b"00000007", b"auth", ha2.as_bytes()]);
        assert_eq!(
            text,
            format!(
                "Authorization: Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"{}\", \
                 algorithm=SHA-256, qop=auth, nc=00000002, cnonce=\"00000007\", opaque=\"o\"\r\n",
                String::from_utf8_lossy(expected.as_bytes())
            )
        );
        let mut old = challenged(lines, Allowed::Md5).expect("the second");
        assert!(old.answer(&who, &mut line));
        assert!(!String::from_utf8_lossy(line.as_bytes()).contains("qop"));
        assert!(challenged(lines, Allowed::Sha512_256).is_none());
        assert!(challenged("WWW-Authenticate: Basic realm=\"r\"\r\n", Allowed::Any).is_none());
        assert!(
            challenged("Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n", Allowed::Any).is_none()
        );
    }
}
