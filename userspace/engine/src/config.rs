//! What a node's configuration says to the engine, and what is wrong with it.
//!
//! The node fills this from its YAML file; [`Engine::new`](crate::Engine::new) and
//! [`Location::new`](crate::Location::new) validate it. The texts of [`ConfigError`] name the YAML keys.

mod error;
pub mod limit;

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use strowger_sip::Uri;

use crate::digest::Algorithm;
use crate::gateway::{self, Gateway};
use crate::routing::{IpPrefix, RouteRule, Routing};

pub use error::ConfigError;

/// Intervals and counts of the registrar (RFC 3261 section 10.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrar {
    /// Seconds; a shorter registration gets 423. At most 3600: the RFC forbids refusing an hour or more.
    pub min_expires: u32,
    /// Seconds granted when the request asks for nothing.
    pub default_expires: u32,
    /// Seconds granted at most.
    pub max_expires: u32,
    /// Contacts one user may have at once, 1 to [`limit::CONTACTS`].
    pub max_contacts: usize,
    /// Reach phones behind a NAT at the address that their REGISTER came from.
    pub nat: bool,
    /// Bind contacts to flows (RFC 5626); `false` ignores `reg-id`.
    pub outbound: bool,
    /// Seconds for Flow-Timer: how often a phone should prove its flow alive (RFC 5626 section 4.4); 0 for none.
    pub flow_timer: u32,
    /// Give GRUUs to phones that know them (RFC 5627).
    pub gruu: bool,
    /// URIs that users are told to call by (RFC 3608), first hop first; usually none, or this node's.
    pub service_route: Vec<String>,
}

impl Default for Registrar {
    fn default() -> Self {
        Self {
            min_expires: 60,
            default_expires: 3600,
            max_expires: 7200,
            max_contacts: 10,
            nat: true,
            outbound: true,
            flow_timer: 0,
            gruu: true,
            service_route: Vec::new(),
        }
    }
}

/// Digest authentication (RFC 7616, RFC 8760).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Empty: the first domain.
    pub realm: String,
    /// Offered in this order, each once.
    pub algorithms: Vec<Algorithm>,
    /// Seconds that a nonce is good for.
    pub nonce_lifetime: u32,
    /// Accept credentials without `qop` (RFC 2069), each nonce for one request.
    pub allow_without_qop: bool,
    /// Networks whose hosts are not asked: gateways and proxies that speak for their own users.
    pub trusted: Vec<IpPrefix>,
    /// Nonces whose counts each worker remembers; 36 octets each.
    pub nonces: usize,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            realm: String::new(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            nonce_lifetime: 300,
            allow_without_qop: false,
            trusted: Vec::new(),
            nonces: 65_536,
        }
    }
}

/// Intervals of transactions (RFC 3261 section 17 and table 4, RFC 6026). All others follow from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// T1, the estimated round trip; 64 of them end a transaction (timers B, F, H, J, L, M).
    pub t1: Duration,
    /// T2, the longest interval between retransmissions of a non-INVITE request or a final response to INVITE.
    pub t2: Duration,
    /// T4, the longest a message stays in the network (timers I, K).
    pub t4: Duration,
    /// Timer C: how long a call may ring. More than 3 minutes (section 16.6 item 11).
    pub c: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            c: Duration::from_secs(185),
        }
    }
}

impl Timers {
    /// 64 · T1.
    pub(crate) fn give_up(&self) -> Duration {
        self.t1 * 64
    }

    /// Timer D: at least 32 s over UDP (section 17.1.1.2).
    pub(crate) fn d(&self) -> Duration {
        self.give_up().max(Duration::from_secs(32))
    }

    /// After how long a request other than INVITE gets a 100: when a client's Timer E has been reset to T2 (RFC 4320
    /// section 4.1).
    pub(crate) fn trying(&self) -> Duration {
        let (mut at, mut interval) = (Duration::ZERO, self.t1);
        while interval < self.t2 {
            at += interval;
            interval *= 2;
        }
        at
    }
}

/// What one worker's transactions may take. Memory is reserved at the start and used as it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transactions {
    /// Server transactions at once. Beyond: 503, or without state where a dialog's token allows that.
    pub max: usize,
    /// Client transactions at once: the branches of all requests.
    pub max_branches: usize,
    /// Octets for kept messages.
    pub max_kept: usize,
}

impl Default for Transactions {
    fn default() -> Self {
        Self::sized(200_000)
    }
}

impl Transactions {
    /// For so many transactions, with what they usually take: half as many branches again, and 1.5 KiB of messages.
    #[must_use]
    pub const fn sized(max: usize) -> Self {
        Self { max, max_branches: max.saturating_add(max / 2), max_kept: max.saturating_mul(1536) }
    }
}

/// What one engine keeps of the calls that go through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Dialogs at once, early ones and INVITEs without any among them; above it new INVITEs get 503. 0: calls are not
    /// watched, and none is refused for it.
    pub max_dialogs: usize,
    /// Seconds a call may last before its record is closed, 1 to [`limit::CALL_SECONDS`]: what ends calls whose BYE
    /// never comes.
    pub max_seconds: u32,
    /// Events that wait for [`Engine::next_event`](crate::Engine::next_event); above it they are lost and counted. 0:
    /// nobody asks for them, and none are made.
    pub max_events: usize,
}

impl Default for Calls {
    fn default() -> Self {
        Self { max_dialogs: 200_000, max_seconds: 43_200, max_events: 4096 }
    }
}

/// What the engine has to know about its node. Shared by all workers.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// UDP addresses that are served: the addresses packets are sent to, never a wildcard.
    pub listen: Vec<SocketAddr>,
    /// Domains we are responsible for: names and addresses, without port. Empty: the listen addresses.
    pub domains: Vec<String>,
    /// Stay on the path of dialogs (RFC 3261 section 16.6 item 4).
    pub record_route: bool,
    /// Follow redirections to users of ours (section 16.7 item 4), instead of leaving all of them to the caller.
    pub follow_redirects: bool,
    /// Whether requests have to show who sends them. `false` serves everybody.
    pub auth_required: bool,
    /// How they do.
    pub auth: Auth,
    /// The registrar's intervals and counts.
    pub registrar: Registrar,
    /// Gateway groups that rules can name.
    pub gateways: Vec<Gateway>,
    /// Routing rules; the first that matches decides.
    pub routes: Vec<RouteRule>,
    /// Messages that one source address may send in a second, and as many at once.
    pub per_source_pps: u32,
    /// Bindings held at once; also the number of users that may have some.
    pub max_bindings: usize,
    /// Intervals of transactions.
    pub timers: Timers,
    /// What a worker's transactions may take.
    pub transactions: Transactions,
    /// Forward without transactions (section 16.11): for workers that do not get all messages of a transaction.
    pub stateless: bool,
    /// The table of dialogs. Each engine has its own.
    pub calls: Calls,
    /// The key of branches, tags and Record-Route tokens. Random, and kept over a restart, or else dialogs that are
    /// up cannot be ended through the restarted node.
    pub secret: [u8; 32],
    /// Value of the Server header in replies that have room for it; empty for none.
    pub server: String,
}

impl Default for Config {
    /// Everything but `listen` and `secret`, which have no default.
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            domains: Vec::new(),
            record_route: true,
            follow_redirects: false,
            auth_required: true,
            auth: Auth::default(),
            registrar: Registrar::default(),
            gateways: Vec::new(),
            routes: Vec::new(),
            per_source_pps: 2000,
            max_bindings: 1_000_000,
            timers: Timers::default(),
            transactions: Transactions::default(),
            stateless: false,
            calls: Calls::default(),
            secret: [0; 32],
            server: String::new(),
        }
    }
}

impl fmt::Debug for Config {
    /// All but the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("domains", &self.domains)
            .field("record_route", &self.record_route)
            .field("follow_redirects", &self.follow_redirects)
            .field("auth_required", &self.auth_required)
            .field("auth", &self.auth)
            .field("registrar", &self.registrar)
            .field("gateways", &self.gateways)
            .field("routes", &self.routes)
            .field("per_source_pps", &self.per_source_pps)
            .field("max_bindings", &self.max_bindings)
            .field("timers", &self.timers)
            .field("transactions", &self.transactions)
            .field("stateless", &self.stateless)
            .field("calls", &self.calls)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// The longest interval of a transaction: what is longer was meant otherwise.
const MAX_TIMER: Duration = Duration::from_secs(86_400);

impl Config {
    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.listen.is_empty() {
            return Err(ConfigError::NoListen);
        }
        if self.listen.len() > limit::LISTEN {
            return Err(ConfigError::TooManyListen);
        }
        for (n, address) in self.listen.iter().enumerate() {
            let ip = address.ip();
            if ip.is_unspecified() || ip.is_multicast() || ip.to_canonical() != ip {
                return Err(ConfigError::ListenAddress(*address));
            }
            if address.port() == 0 {
                return Err(ConfigError::ListenPort(*address));
            }
            if self.listen.iter().take(n).any(|other| other == address) {
                return Err(ConfigError::ListenTwice(*address));
            }
        }
        if self.domains.len() > limit::DOMAINS {
            return Err(ConfigError::TooManyDomains);
        }
        for (n, text) in self.domains.iter().enumerate() {
            let domain = Domain::read(text).ok_or_else(|| ConfigError::Domain(text.clone()))?;
            if self.domains.iter().take(n).any(|other| Domain::read(other).as_ref() == Some(&domain)) {
                return Err(ConfigError::DomainTwice(text.clone()));
            }
        }
        let Registrar { min_expires, default_expires, max_expires, max_contacts, .. } = self.registrar;
        let loose = |uri: &String| Uri::parse(uri.as_bytes()).is_ok_and(|uri| uri.is_sip() && uri.is_loose());
        let routes = &self.registrar.service_route;
        if let Some(bad) = routes.iter().find(|uri| uri.len() > limit::CONTACT || !loose(uri)) {
            return Err(ConfigError::ServiceRoute(bad.clone()));
        }
        if routes.len() > limit::SERVICE_ROUTES {
            return Err(ConfigError::TooManyServiceRoutes);
        }
        if min_expires > 3600 {
            return Err(ConfigError::MinExpires(min_expires));
        }
        if max_expires == 0 || max_expires > limit::EXPIRES {
            return Err(ConfigError::MaxExpires(max_expires));
        }
        if !(min_expires.max(1)..=max_expires).contains(&default_expires) {
            return Err(ConfigError::DefaultExpires(default_expires));
        }
        if !(1..=limit::CONTACTS).contains(&max_contacts) {
            return Err(ConfigError::MaxContacts(max_contacts));
        }
        self.validate_auth()?;
        if self.calls.max_dialogs > limit::DIALOGS {
            return Err(ConfigError::MaxDialogs(self.calls.max_dialogs));
        }
        if !(1..=limit::CALL_SECONDS).contains(&self.calls.max_seconds) {
            return Err(ConfigError::MaxCallSeconds(self.calls.max_seconds));
        }
        if self.calls.max_events > limit::CALL_EVENTS {
            return Err(ConfigError::MaxCallEvents(self.calls.max_events));
        }
        if !(1..=limit::BINDINGS).contains(&self.max_bindings) {
            return Err(ConfigError::MaxBindings(self.max_bindings));
        }
        if self.per_source_pps == 0 {
            return Err(ConfigError::PerSource);
        }
        gateway::check(&self.gateways, &self.listen)?;
        Routing::new(&self.routes, &self.gateways)?;
        let Timers { t1, t2, t4, c } = self.timers;
        if t1.is_zero()
            || t2 < t1
            || t4.is_zero()
            || c <= Duration::from_secs(180)
            || c > MAX_TIMER
            || t2 > MAX_TIMER
        {
            return Err(ConfigError::Timers(self.timers));
        }
        let Transactions { max, max_branches, .. } = self.transactions;
        if max == 0 || max_branches == 0 || max.max(max_branches) > limit::BRANCHES {
            return Err(ConfigError::Transactions(self.transactions));
        }
        if self.secret == [0; 32] {
            return Err(ConfigError::Secret);
        }
        if self.server.len() > limit::SERVER || self.server.bytes().any(|b| !(b' '..=b'~').contains(&b)) {
            return Err(ConfigError::Server);
        }
        Ok(())
    }

    fn validate_auth(&self) -> Result<(), ConfigError> {
        let Auth { realm, algorithms, nonce_lifetime, trusted, nonces, .. } = &self.auth;
        if realm.len() > limit::REALM || realm.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
            return Err(ConfigError::Realm);
        }
        let twice = algorithms.iter().enumerate().any(|(n, a)| algorithms.iter().take(n).any(|b| a == b));
        if algorithms.is_empty() || twice {
            return Err(ConfigError::Algorithms);
        }
        if !(1..=limit::NONCE_LIFETIME).contains(nonce_lifetime) {
            return Err(ConfigError::NonceLifetime(*nonce_lifetime));
        }
        if trusted.len() > limit::TRUSTED {
            return Err(ConfigError::TooManyTrusted);
        }
        if !(1..=limit::NONCES).contains(nonces) {
            return Err(ConfigError::Nonces(*nonces));
        }
        Ok(())
    }

    /// The domains as they are looked up; those of the listen addresses when none are configured.
    pub(crate) fn domains(&self) -> Vec<Domain> {
        if !self.domains.is_empty() {
            return self.domains.iter().filter_map(|text| Domain::read(text)).collect();
        }
        let mut domains = Vec::new();
        for address in &self.listen {
            let domain = Domain::Address(address.ip());
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        domains
    }
}

/// One of our domains.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Domain {
    /// In lower case, without the root's dot.
    Name(String),
    Address(IpAddr),
}

impl Domain {
    /// Whether it is this address.
    pub(crate) fn is(&self, address: IpAddr) -> bool {
        matches!(self, Self::Address(own) if *own == address)
    }

    /// `None` when the text is neither an address (IPv6 with or without brackets) nor a host name.
    fn read(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return (ip.is_ipv6() || bare == text).then(|| Self::Address(ip.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        // RFC 3261 section 25.1: the top label starts with a letter, else it would be a broken address.
        let top = name.rsplit('.').next()?.starts_with(|c: char| c.is_ascii_alphabetic());
        (name.len() <= 253 && top && name.split('.').all(label)).then_some(Self::Name(name))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Config {
        Config {
            listen: vec!["10.77.0.2:5060".parse().unwrap()],
            domains: vec!["10.77.0.2".into(), "example.net".into()],
            secret: [1; 32],
            ..Config::default()
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_eq!(good().validate(), Ok(()));
        let wrong = |change: &dyn Fn(&mut Config), key: &str| {
            let mut config = good();
            change(&mut config);
            let error = config.validate().expect_err(key).to_string();
            assert!(error.starts_with(key), "{error} should name {key}");
        };
        wrong(&|c| c.listen.clear(), "sip.listen");
        wrong(
            &|c| c.listen = (1..=33).map(|n| SocketAddr::from(([10, 0, 0, n], 5060))).collect(),
            "sip.listen",
        );
        for bad in ["0.0.0.0:5060", "[::]:5060", "224.0.0.1:5060", "[::ffff:10.0.0.1]:5060", "10.0.0.1:0"] {
            wrong(&|c| c.listen.push(bad.parse().unwrap()), "sip.listen");
        }
        wrong(&|c| c.listen.push(c.listen[0]), "sip.listen");
        for bad in [
            "",
            "example.net:5060",
            "-a.net",
            "a..net",
            "10.0.0",
            "1.2.3.4.5",
            "a b",
            "[10.0.0.1]",
            "EXAMPLE.net.",
        ] {
            wrong(&|c| c.domains.push(bad.into()), "sip.domains");
        }
        wrong(&|c| c.domains = (0..1025).map(|n| format!("d{n}.net")).collect(), "sip.domains");
        wrong(&|c| c.registrar.min_expires = 3601, "registrar.min_expires");
        wrong(&|c| c.registrar.max_expires = 0, "registrar.max_expires");
        wrong(&|c| c.registrar.max_expires = 3599, "registrar.default_expires");
        wrong(&|c| c.registrar.default_expires = 59, "registrar.default_expires");
        wrong(&|c| c.registrar.max_contacts = 0, "registrar.max_contacts");
        for bad in ["", "192.0.2.1", "sip:192.0.2.1", "tel:+1;lr"] {
            wrong(&|c| c.registrar.service_route = vec![bad.into()], "registrar.service_route");
        }
        wrong(&|c| c.registrar.service_route = vec!["sip:a;lr".into(); 5], "registrar.service_route");
        wrong(&|c| c.registrar.max_contacts = 33, "registrar.max_contacts");
        wrong(&|c| c.max_bindings = 0, "limits.bindings");
        for bad in ["a\"b", "a\\b", "a\r\nb", &"r".repeat(256)] {
            wrong(&|c| c.auth.realm = bad.into(), "auth.realm");
        }
        wrong(&|c| c.auth.algorithms.clear(), "auth.algorithms");
        wrong(
            &|c| c.auth.algorithms = vec![Algorithm::Md5, Algorithm::Sha256, Algorithm::Md5],
            "auth.algorithms",
        );
        wrong(&|c| c.auth.nonce_lifetime = 0, "auth.nonce_lifetime");
        wrong(&|c| c.auth.nonce_lifetime = 86_401, "auth.nonce_lifetime");
        wrong(&|c| c.auth.trusted = vec!["192.0.2.1".parse().unwrap(); 257], "auth.trusted");
        wrong(&|c| c.auth.nonces = 0, "auth.nonces");
        wrong(&|c| c.timers.t1 = Duration::ZERO, "sip.timers");
        wrong(&|c| c.timers.t2 = Duration::from_millis(499), "sip.timers");
        wrong(&|c| c.timers.c = Duration::from_secs(180), "sip.timers");
        wrong(&|c| c.transactions.max = 0, "limits.transactions");
        wrong(&|c| c.transactions = Transactions::sized(limit::BRANCHES), "limits.transactions");
        wrong(&|c| c.secret = [0; 32], "secret");
        wrong(&|c| c.server = "a\r\nb".into(), "server");
    }

    #[test]
    fn domains_default_to_the_listen_addresses() {
        let mut config = good();
        config.domains.clear();
        config.listen.push("10.77.0.2:5080".parse().unwrap());
        config.listen.push("[2001:db8::2]:5060".parse().unwrap());
        let texts: Vec<_> = config.domains().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.77.0.2", "[2001:db8::2]"]);
    }

    #[test]
    fn debug_does_not_print_the_secret() {
        let config = Config { secret: [171; 32], ..good() };
        assert!(!format!("{config:?}").contains("171"));
    }
}
