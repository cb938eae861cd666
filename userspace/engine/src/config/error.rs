//! What can be wrong with a configuration. The texts name the keys of the node's file.

use core::fmt;
use core::net::SocketAddr;

#[cfg(doc)]
use super::{Auth, Calls, Config, Registrar};
use super::{Timers, Transactions, limit};

/// What is wrong with a [`Config`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// No listen address.
    NoListen,
    /// More than [`limit::LISTEN`] listen addresses.
    TooManyListen,
    /// A wildcard, multicast or IPv4-mapped listen address.
    ListenAddress(SocketAddr),
    /// A listen address with port 0.
    ListenPort(SocketAddr),
    /// A listen address that is there twice.
    ListenTwice(SocketAddr),
    /// More than [`limit::DOMAINS`] domains.
    TooManyDomains,
    /// A domain that is neither host name nor address.
    Domain(String),
    /// A domain that is there twice.
    DomainTwice(String),
    /// A minimum of more than an hour.
    MinExpires(u32),
    /// A maximum of 0 or above [`limit::EXPIRES`].
    MaxExpires(u32),
    /// A default outside of minimum and maximum.
    DefaultExpires(u32),
    /// Not 1 to [`limit::CONTACTS`].
    MaxContacts(usize),
    /// A Service-Route that is no sip URI with `lr`.
    ServiceRoute(String),
    /// More than [`limit::SERVICE_ROUTES`].
    TooManyServiceRoutes,
    /// A realm that is too long, or has quotes, backslashes or control characters.
    Realm,
    /// No algorithm, or one that is there twice.
    Algorithms,
    /// Not 1 to [`limit::NONCE_LIFETIME`].
    NonceLifetime(u32),
    /// More than [`limit::TRUSTED`] networks.
    TooManyTrusted,
    /// Not 1 to [`limit::NONCES`].
    Nonces(usize),
    /// Not 1 to [`limit::BINDINGS`].
    MaxBindings(usize),
    /// A budget that lets nobody in.
    PerSource,
    /// More than [`limit::GATEWAYS`] groups, or [`limit::ALL_TARGETS`] targets in all of them.
    TooManyGateways,
    /// A gateway group that cannot work.
    Gateway {
        /// Its name.
        name: String,
        /// The key below `gateways.NAME`; empty for the name itself.
        key: &'static str,
        /// What is wrong, and what is accepted.
        problem: String,
    },
    /// More than [`limit::ROUTES`] rules.
    TooManyRoutes,
    /// A routing rule that cannot work.
    Route {
        /// Its number, from 0.
        at: usize,
        /// The key below `routes[AT]`.
        key: &'static str,
        /// What is wrong, and what is accepted.
        problem: String,
    },
    /// An interval of 0, T2 below T1, Timer C not above 3 minutes, or one above a day.
    Timers(Timers),
    /// A table of 0, or above [`limit::BRANCHES`].
    Transactions(Transactions),
    /// A worker's number that is not below [`limit::WORKERS`].
    Worker(u16),
    /// [`Calls::max_dialogs`] out of range.
    MaxDialogs(usize),
    /// [`Calls::max_seconds`] out of range.
    MaxCallSeconds(u32),
    /// [`Calls::max_events`] out of range.
    MaxCallEvents(usize),
    /// No secret.
    Secret,
    /// A server name that is too long or has control characters.
    Server,
    /// A location table made with another secret or other domains.
    Location,
    /// A table of gateways' health made for other gateways.
    Health,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoListen => f.write_str("sip.listen: at least one ADDRESS:PORT is needed"),
            Self::TooManyListen => write!(f, "sip.listen: at most {} addresses", limit::LISTEN),
            Self::ListenAddress(a) => {
                write!(f, "sip.listen: {a}: give each address that packets are sent to, no wildcard")
            }
            Self::ListenPort(a) => write!(f, "sip.listen: {a}: the port must not be 0"),
            Self::ListenTwice(a) => write!(f, "sip.listen: {a} is there twice"),
            Self::TooManyDomains => write!(f, "sip.domains: at most {} domains", limit::DOMAINS),
            Self::Domain(d) => write!(f, "sip.domains: {d:?} is neither a host name nor an address"),
            Self::DomainTwice(d) => write!(f, "sip.domains: {d:?} is there twice"),
            Self::MinExpires(s) => write!(f, "registrar.min_expires: {s} is more than 3600 (RFC 3261 10.3)"),
            Self::MaxExpires(s) => write!(f, "registrar.max_expires: {s} is not 1 to {}", limit::EXPIRES),
            Self::DefaultExpires(s) => {
                write!(f, "registrar.default_expires: {s} is not between min_expires and max_expires")
            }
            Self::MaxContacts(n) => {
                write!(f, "registrar.max_contacts: {n} is not 1 to {}", limit::CONTACTS)
            }
            Self::ServiceRoute(uri) => {
                write!(f, "registrar.service_route: {uri:?} is no sip URI with ;lr, as sip:192.0.2.1;lr is")
            }
            Self::TooManyServiceRoutes => {
                write!(f, "registrar.service_route: at most {}", limit::SERVICE_ROUTES)
            }
            Self::Realm => {
                write!(f, "auth.realm: at most {} octets, no quotes, backslashes or controls", limit::REALM)
            }
            Self::Algorithms => f.write_str("auth.algorithms: at least one, and none twice"),
            Self::NonceLifetime(s) => {
                write!(f, "auth.nonce_lifetime: {s} is not 1 to {}", limit::NONCE_LIFETIME)
            }
            Self::TooManyTrusted => write!(f, "auth.trusted: at most {} networks", limit::TRUSTED),
            Self::Nonces(n) => write!(f, "auth.nonces: {n} is not 1 to {}", limit::NONCES),
            Self::MaxBindings(n) => write!(f, "limits.bindings: {n} is not 1 to {}", limit::BINDINGS),
            Self::PerSource => f.write_str("limits.per_source_pps: 0 would let nobody in"),
            Self::TooManyGateways => {
                write!(f, "gateways: at most {} groups, {} targets", limit::GATEWAYS, limit::ALL_TARGETS)
            }
            Self::Gateway { name, key: "", problem } => write!(f, "gateways.{name}: {problem}"),
            Self::Gateway { name, key, problem } => write!(f, "gateways.{name}.{key}: {problem}"),
            Self::TooManyRoutes => write!(f, "routes: at most {} rules", limit::ROUTES),
            Self::Route { at, key, problem } => write!(f, "routes[{at}].{key}: {problem}"),
            Self::Timers(t) => write!(
                f,
                "sip.timers: 0 < T1 <= T2, 0 < T4, 180 s < Timer C, none above a day; not T1 {:?}, T2 {:?}, T4 {:?}, C {:?}",
                t.t1, t.t2, t.t4, t.c
            ),
            Self::Transactions(t) => write!(
                f,
                "limits.transactions: {} transactions with {} branches are not 1 to {}",
                t.max,
                t.max_branches,
                limit::BRANCHES
            ),
            Self::Worker(n) => write!(f, "worker {n}: there are at most {}", limit::WORKERS),
            Self::MaxDialogs(n) => write!(f, "limits.dialogs: {n} is over {}", limit::DIALOGS),
            Self::MaxCallSeconds(n) => {
                write!(f, "limits.call_seconds: {n} is not 1 to {}", limit::CALL_SECONDS)
            }
            Self::MaxCallEvents(n) => write!(f, "cdr.queue: {n} is over {}", limit::CALL_EVENTS),
            Self::Secret => f.write_str("secret: 32 random octets are needed"),
            Self::Server => write!(f, "server: at most {} printable ASCII characters", limit::SERVER),
            Self::Health => f.write_str("the gateways' health was made for another configuration"),
            Self::Location => f.write_str("the location table was made for another configuration"),
        }
    }
}

impl core::error::Error for ConfigError {}
