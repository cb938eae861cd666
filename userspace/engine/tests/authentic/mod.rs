//! Users with passwords, and the client's half of digest authentication, written from RFC 7616 and not from the engine.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // every test binary takes its own part of it

use std::collections::HashMap;
use std::sync::Arc;

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};
use strowger_engine::{Algorithm, Config, Credentials, State, Users};
use strowger_sip::Hash;

use crate::pair::{Pair, Text, config, unique};

pub const REALM: &str = "example.net";

/// Alice, Bob and others; everybody's password is the name with `-secret`.
#[derive(Default)]
pub struct Known(pub HashMap<(Vec<u8>, String), Credentials>);

impl Known {
    pub fn with(mut self, name: &str, state: State) -> Self {
        let ha1 = |algorithm: Algorithm| {
            algorithm.ha1(name.as_bytes(), REALM.as_bytes(), format!("{name}-secret").as_bytes())
        };
        let wide = |hash| match hash {
            Hash::Bits256(bytes) => bytes,
            Hash::Bits128(_) => panic!("256 bits"),
        };
        let Hash::Bits128(md5) = ha1(Algorithm::Md5) else { panic!("128 bits") };
        let user = Credentials {
            md5: Some(md5),
            sha256: Some(wide(ha1(Algorithm::Sha256))),
            sha512_256: Some(wide(ha1(Algorithm::Sha512_256))),
            state,
        };
        self.0.insert((name.as_bytes().to_vec(), REALM.into()), user);
        self
    }
}

impl Users for Known {
    fn find(&self, user: &[u8], domain: &str) -> Option<Credentials> {
        self.0.get(&(user.to_vec(), domain.to_owned())).copied()
    }
}

/// What [`pair`](crate::pair::config) has, and authentication.
pub fn closed() -> Config {
    Config { auth_required: true, ..config() }
}

/// A pair whose engine wants to know who it is.
pub fn pair_with(config: Config) -> Pair {
    let mut pair = Pair::new(config);
    let users = ["alice", "bob", "carol", "alice@example.net"];
    let users = users.iter().fold(Known::default(), |known, name| known.with(name, State::Active));
    let users = users.with("dave", State::Inactive).with("eve", State::Suspended);
    pair.engine.set_users(Arc::new(users));
    pair
}

/// A challenge as the client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub algorithm: String,
    pub qop: String,
    pub stale: bool,
}

impl Challenge {
    /// The challenges of a 401 or 407, in their order.
    #[track_caller]
    pub fn all(reply: &Text) -> Vec<Self> {
        let name = match reply.code() {
            401 => "WWW-Authenticate",
            407 => "Proxy-Authenticate",
            code => panic!("{code} {} is no challenge", reply.reason()),
        };
        let read = |line: &&str| {
            let rest = line.strip_prefix("Digest ").expect("digest");
            let value = |name: &str| {
                let at = rest.split(',').find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='));
                at.map_or(String::new(), |v| v.trim_matches('"').to_owned())
            };
            Self {
                realm: value("realm"),
                nonce: value("nonce"),
                algorithm: value("algorithm"),
                qop: value("qop"),
                stale: value("stale") == "true",
            }
        };
        reply.all(name).iter().map(read).collect()
    }

    #[track_caller]
    pub fn first(reply: &Text) -> Self {
        Self::all(reply).remove(0)
    }

    fn hash(&self, text: &str) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        match &*self.algorithm {
            "SHA-512-256" => hex(&Sha512_256::digest(text)),
            "SHA-256" => hex(&Sha256::digest(text)),
            "MD5" => hex(&Md5::digest(text)),
            other => panic!("{other}"),
        }
    }

    /// The value of (Proxy-)Authorization for a request.
    pub fn answer(&self, request: &Text, user: &str, password: &str, nc: u32) -> String {
        let (method, uri) = (request.method(), request.start.split(' ').nth(1).unwrap());
        let cnonce = "0a4f113b";
        let ha1 = self.hash(&format!("{user}:{}:{password}", self.realm));
        let ha2 = self.hash(&format!("{method}:{uri}"));
        let response = self.hash(&format!("{ha1}:{}:{nc:08x}:{cnonce}:auth:{ha2}", self.nonce));
        format!(
            "Digest username=\"{user}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm={}, cnonce=\"{cnonce}\", qop=auth, nc={nc:08x}",
            self.realm, self.nonce, self.algorithm
        )
    }

    /// The request with the header that answers this challenge; a 401 and a 407 have different ones.
    pub fn sign(&self, reply: &Text, request: &Text, user: &str, nc: u32) -> Text {
        let name = if reply.code() == 401 { "Authorization" } else { "Proxy-Authorization" };
        let value = self.answer(request, user, &format!("{user}-secret"), nc);
        unique(request.clone()).set(name, &value)
    }
}

/// Sends a request, answers its challenge as `user`, and sends it again.
#[track_caller]
pub fn signed(pair: &mut Pair, source: &str, request: &Text, user: &str) -> Text {
    let reply = pair.pass(source, request).to(source);
    Challenge::first(&reply).sign(&reply, request, user, 1)
}
