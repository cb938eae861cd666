//! Digest credentials as a phone makes them, and as the witness checks them: RFC 7616 with MD5 and SHA-256.

use md5::Md5;
use sha2::{Digest as _, Sha256};
use strowger_engine::{Credentials, State};

use super::Phone;
use crate::text::{Message, split};

/// The mask of an algorithm in [`Style::algorithms`](super::script::Style).
const MD5: u8 = 1;
const SHA_256: u8 = 2;

/// A challenge that was met, and how often its nonce was used.
pub(crate) struct Known {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: u8,
    qop: bool,
    /// From Proxy-Authenticate.
    proxy: bool,
    count: u32,
}

impl Phone {
    /// Takes the challenges of a 401 or 407: of each realm the first that we can do (RFC 7616 section 3.7). `false`
    /// when there is none.
    pub(super) fn learn(&mut self, message: &Message<'_>) -> bool {
        let mut learnt: Vec<Known> = Vec::new();
        for (name, value) in message.lines() {
            let proxy = match name.to_ascii_lowercase().as_str() {
                "www-authenticate" => false,
                "proxy-authenticate" => true,
                _ => continue,
            };
            let Some(fields) = value.strip_prefix("Digest ") else { continue };
            let algorithm = match field(fields, "algorithm") {
                None | Some("MD5") => MD5,
                Some("SHA-256") => SHA_256,
                Some(_) => continue,
            };
            let (Some(realm), Some(nonce)) = (field(fields, "realm"), field(fields, "nonce")) else {
                continue;
            };
            if algorithm & self.style.algorithms == 0
                || learnt.iter().any(|k| k.realm == realm && k.proxy == proxy)
            {
                continue;
            }
            learnt.push(Known {
                realm: realm.to_owned(),
                nonce: nonce.to_owned(),
                opaque: field(fields, "opaque").map(str::to_owned),
                algorithm,
                qop: field(fields, "qop").is_some_and(|qop| qop.split(',').any(|q| q.trim() == "auth")),
                proxy,
                count: 0,
            });
        }
        let any = !learnt.is_empty();
        for new in learnt {
            self.known.retain(|k| k.realm != new.realm || k.proxy != new.proxy);
            self.known.push(new);
        }
        any
    }

    /// The credentials that go on a request: always after a challenge, before one only when the phone is eager.
    pub(super) fn credentials(&mut self, method: &str, uri: &str, tries: u8) -> Vec<(&'static str, String)> {
        if tries == 0 && !self.style.eager_credentials {
            return vec![];
        }
        let mut lines = Vec::new();
        for known in &mut self.known {
            if known.realm == self.domain && known.proxy == (method == "REGISTER") {
                continue;
            }
            known.count += 1;
            let cnonce = format!("{:x}", self.dice.number());
            let nc = format!("{:08x}", known.count);
            let a1 = format!("{}:{}:{}", self.user, known.realm, self.password);
            let response =
                answer(known.algorithm, &a1, method, uri, &known.nonce, known.qop.then_some((&nc, &cnonce)));
            let algorithm = if known.algorithm == MD5 { "MD5" } else { "SHA-256" };
            let mut value = format!(
                "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\", \
                 algorithm={algorithm}",
                self.user, known.realm, known.nonce
            );
            if known.qop {
                value.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
            }
            if let Some(opaque) = &known.opaque {
                value.push_str(&format!(", opaque=\"{opaque}\""));
            }
            lines.push((if known.proxy { "Proxy-Authorization" } else { "Authorization" }, value));
        }
        lines
    }
}

fn hash(algorithm: u8, text: &str) -> String {
    let octets: Vec<u8> = match algorithm {
        MD5 => Md5::digest(text).to_vec(),
        _ => Sha256::digest(text).to_vec(),
    };
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// RFC 7616 section 3.4.1; without `qop` RFC 2069.
fn answer(
    algorithm: u8,
    a1: &str,
    method: &str,
    uri: &str,
    nonce: &str,
    qop: Option<(&str, &str)>,
) -> String {
    let ha1 = hash(algorithm, a1);
    let ha2 = hash(algorithm, &format!("{method}:{uri}"));
    match qop {
        Some((nc, cnonce)) => hash(algorithm, &format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}")),
        None => hash(algorithm, &format!("{ha1}:{nonce}:{ha2}")),
    }
}

/// The value of a field in a challenge or in credentials, without its quotes.
fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    split(fields).find_map(|f| {
        let (n, v) = f.split_once('=')?;
        n.trim().eq_ignore_ascii_case(name).then(|| v.trim().trim_matches('"'))
    })
}

/// What a node's users file says of a user: HA1s.
pub(crate) fn credentials_of(user: &str, realm: &str, password: &str, state: State) -> Credentials {
    let a1 = format!("{user}:{realm}:{password}");
    Credentials {
        md5: Some(Md5::digest(&a1).into()),
        sha256: Some(Sha256::digest(&a1).into()),
        sha512_256: None,
        state,
    }
}

/// Credentials that prove who sent a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proof {
    pub(crate) user: String,
    pub(crate) nonce: String,
    pub(crate) nc: String,
}

/// Checks the credentials of a request for `realm`; `password` knows the users. The witness's own opinion.
pub(crate) fn verify(
    message: &Message<'_>,
    realm: &str,
    password: impl Fn(&str) -> Option<String>,
) -> Option<Proof> {
    let lines = message.lines().filter(|(name, _)| {
        name.eq_ignore_ascii_case("Authorization") || name.eq_ignore_ascii_case("Proxy-Authorization")
    });
    for (_, value) in lines {
        let Some(fields) = value.strip_prefix("Digest ") else { continue };
        if field(fields, "realm") != Some(realm) {
            continue;
        }
        let get = |name| field(fields, name).unwrap_or_default();
        let algorithm = if get("algorithm") == "SHA-256" { SHA_256 } else { MD5 };
        let Some(password) = password(get("username")) else { continue };
        let a1 = format!("{}:{realm}:{password}", get("username"));
        let qop = field(fields, "qop").map(|_| (get("nc"), get("cnonce")));
        if answer(algorithm, &a1, message.method(), get("uri"), get("nonce"), qop) == get("response") {
            let proof = |name| get(name).to_owned();
            return Some(Proof { user: proof("username"), nonce: proof("nonce"), nc: proof("nc") });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 section 3.9.1.
    #[test]
    fn the_examples_of_the_rfc() {
        let a1 = "Mufasa:http-auth@example.org:Circle of Life";
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let qop = Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"));
        let answer = |algorithm| answer(algorithm, a1, "GET", "/dir/index.html", nonce, qop);
        assert_eq!(answer(MD5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(answer(SHA_256), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    #[test]
    fn fields_of_a_challenge() {
        let fields = "realm=\"a, b\", nonce=\"x=y\", qop=\"auth, auth-int\",algorithm=SHA-256";
        assert_eq!(field(fields, "realm"), Some("a, b"));
        assert_eq!(field(fields, "nonce"), Some("x=y"));
        assert_eq!(field(fields, "algorithm"), Some("SHA-256"));
    }
}
