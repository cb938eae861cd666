//! The client's half of digest authentication (RFC 7616, RFC 8760), written for the tests, and users files as
//! `strowger user hash` writes them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256, Sha512_256};

use crate::bench::{Bench, binary};
use crate::phone::Received;

/// Algorithms of RFC 8760 that this client knows; MD5 is sipp's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Sha256,
    Sha512_256,
}

impl Algorithm {
    /// As challenges name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    fn hash(self, parts: &[&str]) -> String {
        let text = parts.join(":");
        let bytes = match self {
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha512_256 => Sha512_256::digest(text).to_vec(),
        };
        bytes.iter().fold(String::new(), |mut digits, byte| {
            // Writing to a String cannot fail.
            let _ = write!(digits, "{byte:02x}");
            digits
        })
    }
}

/// The request once more, with the credentials that the challenge asks for; `count` is how often its nonce was used,
/// this time included. It is a new transaction: one more in CSeq, another branch.
pub(crate) fn authorized(
    request: &str,
    challenge: &Received,
    algorithm: Algorithm,
    password: &str,
    count: u32,
) -> String {
    let name = if challenge.text.starts_with("SIP/2.0 407 ") { "Proxy-Auth" } else { "WWW-Auth" };
    let offered = challenge.headers(&format!("{name}enticate"));
    let offer = offered
        .iter()
        .find(|offer| parameter(offer, "algorithm") == Some(algorithm.name()))
        .unwrap_or_else(|| panic!("{algorithm:?} is not offered: {}", challenge.text));
    let header = if name == "Proxy-Auth" { "Proxy-Authorization" } else { "Authorization" };
    let (realm, nonce) = (parameter(offer, "realm").unwrap(), parameter(offer, "nonce").unwrap());
    let sent = Received { text: request.to_owned() };
    let mut first = request.split(' ');
    let (method, uri) = (first.next().unwrap(), first.next().unwrap());
    let user = sent.headers("From")[0].split(['@', ':']).nth(1).unwrap();
    let count = format!("{count:08x}");
    let proof = algorithm.hash(&[
        &algorithm.hash(&[user, realm, password]),
        nonce,
        &count,
        "0a4f113b",
        "auth",
        &algorithm.hash(&[method, uri]),
    ]);
    let credentials = format!(
        "{header}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", qop=auth, \
         nc={count}, cnonce=\"0a4f113b\", response=\"{proof}\", algorithm={}\r\n",
        algorithm.name()
    );
    let (number, next) = (sent.number(), sent.number() + 1000);
    request.replacen(&format!("CSeq: {number} "), &format!("{credentials}CSeq: {next} "), 1).replacen(
        ";rport",
        &format!("-{count};rport"),
        1,
    )
}

/// A parameter of a challenge, without its quotes.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    challenge.strip_prefix("Digest ")?.split(',').find_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then(|| value.trim_matches('"'))
    })
}

/// Writes a users file: name and password of each, and the state they are in.
pub(crate) fn users(bench: &Bench, users: &[(&str, &str, &str)]) -> PathBuf {
    let mut text = String::from("users:\n");
    for (name, password, state) in users {
        text += &line(name, password).replace("state: active", &format!("state: {state}"));
    }
    let file = bench.directory.path().join("users.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

/// What `strowger user hash` prints for this user of the node's first domain.
fn line(name: &str, password: &str) -> String {
    let mut child = Command::new(binary())
        .args(["user", "hash", &format!("{name}@10.77.0.2")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed by being dropped: the password is a line of it.
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}
