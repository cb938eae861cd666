//! Who sends a request: digest authentication (RFC 3261 section 22, RFC 7616, RFC 8760).
//!
//! Asked by the element for everything that is neither ACK nor CANCEL, nor proven to be of a dialog of ours, nor from
//! a trusted peer. The order of the checks is fixed and the same for everybody: a user that does not exist costs what
//! one costs who does, and gets the same octets. Nothing is kept of anybody who has not proven who he is.

mod algorithm;
mod credit;
mod nonce;
mod window;

use core::fmt::Write as _;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;

pub use algorithm::Algorithm;
use algorithm::{Said, eight_digits};
pub(crate) use credit::Credit;
use nonce::{Nonce, Nonces};
use strowger_sip::{
    Credentials, DigestCredentials, HeaderName, Message, Method, Qop, Scheme, Uri, ValueError, quoted,
};
use window::Windows;

use crate::config::{Auth, Config, limit};
use crate::counters::{Counters, Event};
use crate::keys::{Keys, Prf};
use crate::refusal::Refusal;
use crate::registrar::User;
use crate::request::Request;
use crate::site::Site;
use crate::text::Text;
use crate::time::Time;
use crate::users::{State, Users};

/// As what this node asks for credentials (RFC 3261 sections 22.2 and 22.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The request ends here: 401, WWW-Authenticate, Authorization.
    Server,
    /// It is to be sent on: 407, Proxy-Authenticate, Proxy-Authorization.
    Proxy,
}

impl Role {
    fn credentials(self) -> HeaderName {
        match self {
            Self::Server => HeaderName::Authorization,
            Self::Proxy => HeaderName::ProxyAuthorization,
        }
    }

    fn challenge(self) -> &'static str {
        match self {
            Self::Server => "WWW-Authenticate",
            Self::Proxy => "Proxy-Authenticate",
        }
    }
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The user whom From names, or To in a REGISTER.
    User,
    /// A peer that speaks for its own users.
    TrustedPeer,
}

/// Authentication for one worker.
pub(crate) struct Digest {
    users: Arc<dyn Users>,
    auth: Auth,
    realm: Box<str>,
    /// The domains of ours, by their index.
    domains: Box<[Box<str>]>,
    nonces: Nonces,
    windows: Windows,
    pub(crate) credit: Credit,
    /// The HA1 of nobody.
    nobody: [u8; 32],
    /// See [`Digest::guessed`].
    guessed: bool,
}

impl Digest {
    /// `worker`: a number of its own for each engine of a node.
    pub(crate) fn new(config: &Config, keys: &Keys, users: Arc<dyn Users>, worker: u64) -> Self {
        let domains: Box<[Box<str>]> = config.domains().iter().map(|d| d.to_string().into()).collect();
        let realm = match &*config.auth.realm {
            "" => domains.first().cloned().unwrap_or_default(),
            realm => realm.into(),
        };
        let mut nobody = [0; 32];
        for (part, n) in nobody.as_chunks_mut::<16>().0.iter_mut().zip(0..) {
            *part = Prf::wide(&keys.nonce).field(b"nobody").number(n).finish128().to_le_bytes();
        }
        Self {
            users,
            auth: config.auth.clone(),
            realm,
            domains,
            nonces: Nonces::new(keys.nonce, worker),
            windows: Windows::new(config.auth.nonces),
            credit: Credit::new(keys.nonce),
            nobody,
            guessed: false,
        }
    }

    pub(crate) fn set_users(&mut self, users: Arc<dyn Users>) {
        self.users = users;
    }

    /// Whether requests from there need no credentials.
    pub(crate) fn trusts(&self, source: IpAddr) -> bool {
        self.auth.trusted.iter().any(|network| network.contains(source))
    }

    /// Who sends the request, by its credentials or by the address it comes from.
    pub(crate) fn check(
        &mut self,
        now: Time,
        request: &Request<'_>,
        role: Role,
        site: &Site,
        counters: &mut Counters,
    ) -> Result<Identity, Refusal> {
        let source = request.source();
        self.guessed = false;
        if self.trusts(source.ip()) {
            return Ok(Identity::TrustedPeer);
        }
        let floor = self.nonces.floor(now);
        let asked = |stale| Refusal::Challenge { role, stale };
        let Some(given) = self.credentials(&request.message, role)? else {
            counters.count(Event::AuthChallenged);
            return Err(asked(false));
        };
        // RFC 7616 section 3.4.6. It depends on nothing but the request.
        if !same_resource(given.uri, request) {
            counters.count(Event::AuthUri);
            return Err(Refusal::DigestUri);
        }
        let owned = match request.method {
            Method::Register => request.headers.to.uri(),
            _ => request.headers.from.uri(),
        };
        let owned = owned.ok().and_then(|uri| address_of_record(&uri, site));
        let domain = owned.as_ref().map(|(domain, _)| *domain);
        let Some((count, state)) = self.proves(&given, request.method, domain) else {
            counters.count(Event::AuthRejected);
            // The nonce shows that he is where he says: our challenge has arrived there.
            self.guessed = self.fresh(now, given.nonce, source, floor).is_some();
            return Err(asked(false));
        };
        // From here on he has the password.
        let Some(nonce) = self.fresh(now, given.nonce, source, floor) else {
            counters.count(Event::AuthStale);
            return Err(asked(true));
        };
        if !self.windows.take(nonce.id, nonce.mac, count) {
            counters.count(Event::AuthReplayed);
            return Err(asked(true));
        }
        let owns = owned.is_some_and(|(domain, user)| self.owns(&given, domain, user.as_bytes()));
        if state != State::Active || !owns {
            counters.count(Event::AuthForbidden);
            return Err(Refusal::Forbidden);
        }
        counters.count(Event::AuthAccepted);
        Ok(Identity::User)
    }

    /// Whether the last request that was [checked](Self::check) answers a challenge that its source has had from us not
    /// long ago, and with what is no user's. The same for names that are no user's as for wrong passwords of those that are.
    pub(crate) fn guessed(&self) -> bool {
        self.guessed
    }

    /// The nonce that this says, if it is one that this worker made for `source` since its start and not too long ago.
    fn fresh(&self, now: Time, text: &[u8], source: SocketAddr, floor: u64) -> Option<Nonce> {
        let nonce = self.nonces.read(text, source, self.realm.as_bytes())?;
        (nonce.id >= floor && !nonce.expired(now, self.lifetime())).then_some(nonce)
    }

    fn lifetime(&self) -> Duration {
        Duration::from_secs(self.auth.nonce_lifetime.into())
    }

    /// The first digest credentials for our realm; those for others are others' (RFC 3261 section 22.3).
    fn credentials<'a>(
        &self,
        message: &Message<'a>,
        role: Role,
    ) -> Result<Option<DigestCredentials<'a>>, Refusal> {
        let header = role.credentials();
        if !message.has(header) {
            return Ok(None);
        }
        for line in message.headers(header) {
            let value = Credentials::parse(line.value).map_err(|e| {
                Refusal::Header(ValueError { header, at: line.value_range.start + e.at, ..e })
            })?;
            match value {
                Credentials::Digest(digest) if quoted::equals(digest.realm, self.realm.as_bytes()) => {
                    return Ok(Some(digest));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether the response proves a user: the count it was made with, and whether he may use the node.
    fn proves(
        &self,
        given: &DigestCredentials<'_>,
        method: Method<'_>,
        domain: Option<u16>,
    ) -> Option<(u32, State)> {
        let algorithm = Algorithm::from_credentials(given.algorithm)?;
        if !self.auth.algorithms.contains(&algorithm) || given.userhash {
            return None;
        }
        let count = match (given.qop, given.nc, given.cnonce) {
            (Some(Qop::Auth), Some(nc), Some(cnonce)) => Some((nc, cnonce)),
            (None, ..) if self.auth.allow_without_qop => None,
            _ => return None,
        };
        let mut name = [0; limit::USER];
        let mut len = 0;
        for byte in quoted::unescape(given.username) {
            *name.get_mut(len)? = byte;
            len += 1;
        }
        let name = name.get(..len)?;
        // Who has no domain of ours is nobody, at the same price.
        let domain = domain.and_then(|domain| self.domains.get(usize::from(domain)));
        let user = self.users.find(name, domain.map_or("", |domain| domain));
        let ha1 = user.and_then(|user| algorithm.of(&user));
        let known = ha1.is_some();
        let said = Said {
            method: method.as_bytes(),
            uri: given.uri,
            nonce: given.nonce,
            count: count.map(|(nc, cnonce)| (eight_digits(nc), cnonce)),
        };
        let expected = algorithm.response(&ha1.unwrap_or_else(|| algorithm.nobody(&self.nobody)), &said);
        let right = expected.matches(&given.response);
        let state = user.map_or(State::Inactive, |user| user.state);
        // Without qop a nonce is good for one request.
        (right && known).then_some((count.map_or(1, |(nc, _)| nc), state))
    }

    /// Whether the user whose credentials these are is the one whom the request names: `user`, or `user@domain`.
    fn owns(&self, given: &DigestCredentials<'_>, domain: u16, user: &[u8]) -> bool {
        if quoted::equals(given.username, user) {
            return true;
        }
        let Some(domain) = self.domains.get(usize::from(domain)) else { return false };
        // The domain's case does not count, the user's does.
        let mut name = quoted::unescape(given.username);
        name.by_ref().take(user.len()).eq(user.iter().copied())
            && name.map(|b| b.to_ascii_lowercase()).eq([b'@'].into_iter().chain(domain.bytes()))
    }

    /// Writes one challenge for each algorithm, the most wanted first (RFC 7616 section 3.7, RFC 8760 section 2.4). There
    /// is no `opaque`, which has nothing to carry here: a challenge is to be no longer than what asks for it.
    pub(crate) fn challenge<const N: usize>(
        &mut self,
        now: Time,
        source: SocketAddr,
        (role, stale): (Role, bool),
        lines: &mut Text<N>,
    ) {
        let nonce = self.nonces.make(now, source, self.realm.as_bytes());
        for algorithm in &self.auth.algorithms {
            // A text without room has those that were wanted more.
            let _ = lines.line(|line| {
                write!(line, "{}: Digest realm=\"{}\",nonce=\"", role.challenge(), self.realm)?;
                line.push(&nonce)?;
                write!(line, "\",algorithm={},qop=\"auth\"", algorithm.name())?;
                if stale { line.write_str(",stale=true") } else { Ok(()) }
            });
        }
    }

    /// Whether a header line holds credentials for our realm, which nobody behind us has to see.
    pub(crate) fn is_ours(&self, value: &[u8]) -> bool {
        matches!(Credentials::parse(value), Ok(Credentials::Digest(digest)) if quoted::equals(digest.realm, self.realm.as_bytes()))
    }
}

/// The domain and user of ours that a URI names.
fn address_of_record(uri: &Uri<'_>, site: &Site) -> Option<(u16, User)> {
    let domain = (uri.scheme() == Scheme::Sip).then(|| site.domain(&uri.host()?, uri.port())).flatten()?;
    Some((domain, User::read(uri.user()?)?))
}

/// Whether the `uri` of the credentials and the Request-URI name the same resource (RFC 7616 section 3.4.6): the same
/// user, host and port, as it came or after strict routing was undone. Parameters and headers may differ: phones and
/// proxies add them.
fn same_resource(uri: &[u8], request: &Request<'_>) -> bool {
    if uri == request.received_uri {
        return true;
    }
    let Ok(uri) = Uri::parse(uri) else { return false };
    let same = |other: &Uri<'_>| {
        let port = |uri: &Uri<'_>| uri.port().unwrap_or(crate::site::DEFAULT_PORT);
        let host = match (uri.host(), other.host()) {
            (Some(a), Some(b)) => a == b,
            _ => uri.as_bytes() == other.as_bytes(),
        };
        uri.scheme() == other.scheme() && uri.user() == other.user() && host && port(&uri) == port(other)
    };
    same(&request.uri) || Uri::parse(request.received_uri).is_ok_and(|received| same(&received))
}
