//! What it takes to answer an OPTIONS ping in the element's place, octet by octet as it would.
//!
//! For the XDP program, which does so for peers that the configuration names. Whom it may answer, and when, is the node's
//! to decide: an element that asks for credentials, is [draining](crate::Engine::drain) or has too much to do says
//! something else than 200 (see [`Engine::is_ready`](crate::Engine::is_ready)).

use crate::config::Config;
use crate::keys::{DIGITS, Keys};
use crate::refusal::ALLOW_LINE;
use crate::site::DEFAULT_PORT;

/// Lines that a 200 to OPTIONS offers first (RFC 3261 section 11.2). A body of any type is as good as none; there are no
/// extensions yet.
pub(crate) const LINES: [&str; 3] = [ALLOW_LINE, "Accept: */*", "Supported:"];

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct PingFacts {
    /// URIs that mean the element itself, in the form that they usually have. There are others.
    pub uris: Vec<String>,
    /// Header lines of the 200 beside what it repeats of the request, without their ends: each goes out if the 200 is
    /// no longer than the request with it.
    pub offered: Vec<String>,
    /// The key of the To tag: eight digits for the lower 40 bits of the SipHash-2-4 of Call-ID and From tag, each behind
    /// its length in four octets, and the CSeq in eight; all little-endian.
    pub tag_key: [u8; 16],
    /// The digits.
    pub tag_digits: [u8; 32],
}

impl PingFacts {
    /// Of an element with this configuration, which has been validated.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut uris = Vec::new();
        for address in &config.listen {
            uris.push(format!("sip:{address}"));
            if address.port() == DEFAULT_PORT {
                let text = address.to_string();
                uris.push(format!("sip:{}", text.trim_end_matches(":5060")));
            }
        }
        for domain in config.domains() {
            uris.push(format!("sip:{domain}"));
            // An address of ours has the ports that we listen on there, and these were named.
            let is_ours = |address: &std::net::SocketAddr| domain.is(address.ip());
            if !config.listen.iter().any(is_ours) {
                uris.extend(config.listen.iter().map(|address| format!("sip:{domain}:{}", address.port())));
            }
        }
        let mut unique = Vec::new();
        for uri in uris {
            if !unique.contains(&uri) {
                unique.push(uri);
            }
        }
        let mut offered: Vec<String> = LINES.map(str::to_owned).into();
        if !config.server.is_empty() {
            offered.push(format!("Server: {}", config.server));
        }
        Self {
            uris: unique,
            offered,
            tag_key: Keys::derive(&config.secret).tag.octets(),
            tag_digits: *DIGITS,
        }
    }
}
