//! Routing: ordered rules that say what becomes of a request (the local policy of RFC 3261 section 16.5).
//!
//! Compiled once from the configuration; the element asks for every new request, before the location table. The first
//! rule that matches decides. Without one, users of our domains are looked up and everything else goes by its URI.
//! Deciding walks the rules in their order, allocates nothing, and keeps nothing.

mod number;
mod pattern;
mod rule;
#[cfg(test)]
mod tests;

use core::fmt::Write as _;
use core::net::{IpAddr, SocketAddr};

use strowger_sip::{Host, Method, Uri, reason_phrase};

pub(crate) use number::UriText;
use number::{Dialled, Rewrite, RewriteError};
use pattern::Pattern;
pub use rule::{IpPrefix, RouteAction, RouteRule, RouteSource};

use crate::config::{ConfigError, limit};
use crate::gateway::Gateway;
use crate::refusal::Refusal;
use crate::site::Site;

/// What rules look at.
pub(crate) struct RouteFacts<'a> {
    pub(crate) method: Method<'a>,
    /// Address it came from, IPv4-mapped ones as what they stand for.
    pub(crate) source: IpAddr,
    /// URI in From, if it can be read.
    pub(crate) from: Option<Uri<'a>>,
    /// URI in To, if it can be read.
    pub(crate) to: Option<Uri<'a>>,
    /// The Request-URI (after RFC 3261 section 16.4): a sip URI.
    pub(crate) uri: Uri<'a>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) action: Action,
    /// Without a transaction.
    pub(crate) stateless: bool,
    /// The URI text that was given holds the new Request-URI.
    pub(crate) rewritten: bool,
    /// The rule that matched, from 0.
    pub(crate) rule: Option<u16>,
}

/// See [`RouteAction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// By the Request-URI.
    Uri,
    /// The location table.
    Location,
    /// The gateway group with this index.
    Gateway(u16),
    /// A reply.
    Reject(Rejection),
}

/// Code and phrase of a refusal that a rule wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) code: u16,
    len: u8,
    phrase: [u8; limit::PHRASE],
}

impl Rejection {
    /// `phrase` is cut to what there is room for; empty, it is the usual one.
    fn new(code: u16, phrase: &str) -> Self {
        let text = if phrase.is_empty() { reason_phrase(code) } else { phrase };
        let mut phrase = [0; limit::PHRASE];
        let len = text.len().min(limit::PHRASE);
        for (to, from) in phrase.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self { code, len: len as u8, phrase }
    }

    pub(crate) fn phrase(&self) -> &str {
        let text = self.phrase.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

/// A domain or an address as it is compared.
#[derive(Debug)]
enum Place {
    Name(Box<[u8]>),
    Address(IpAddr),
}

impl Place {
    fn read(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Some(Self::Address(ip.to_canonical()));
        }
        match Host::parse(text.as_bytes()).ok()? {
            Host::Name(name) => Some(Self::Name(name.to_ascii_lowercase().into_boxed_slice())),
            Host::V4(_) | Host::V6(_) => None,
        }
    }

    fn is(&self, uri: Option<&Uri<'_>>) -> bool {
        match (self, uri.and_then(Uri::host)) {
            (Self::Name(name), Some(host @ Host::Name(_))) => Host::Name(name) == host,
            (Self::Address(ip), Some(host)) => host.ip().is_some_and(|other| other.to_canonical() == *ip),
            _ => false,
        }
    }
}

/// One rule, compiled.
struct Rule {
    methods: Box<[Box<[u8]>]>,
    /// Prefixes; gateways are here with the addresses of their targets.
    sources: Option<Box<[IpPrefix]>>,
    from_prefix: Option<Box<[u8]>>,
    from_domain: Option<Place>,
    to_header_prefix: Option<Box<[u8]>>,
    to_header_domain: Option<Place>,
    to_prefix: Option<Box<[u8]>>,
    domain: Option<Place>,
    regex: Option<Pattern>,
    rewrite: Rewrite,
    action: Action,
    stateless: bool,
}

/// The rules of a node.
pub(crate) struct Routing {
    rules: Box<[Rule]>,
    /// Some rule looks at From or To.
    parties: bool,
}

impl Routing {
    /// Compiles the rules; `gateways` are the groups they may name, by their index.
    ///
    /// # Errors
    /// The first rule that cannot work: its number, the key, and what is accepted.
    pub(crate) fn new(rules: &[RouteRule], gateways: &[Gateway]) -> Result<Self, ConfigError> {
        if rules.len() > limit::ROUTES {
            return Err(ConfigError::TooManyRoutes);
        }
        let compiled: Result<Box<[Rule]>, ConfigError> = rules
            .iter()
            .enumerate()
            .map(|(at, rule)| {
                compile(rule, gateways).map_err(|(key, problem)| ConfigError::Route { at, key, problem })
            })
            .collect();
        let parties = |rule: &RouteRule| {
            rule.from_prefix.is_some()
                || rule.from_domain.is_some()
                || rule.to_header_prefix.is_some()
                || rule.to_header_domain.is_some()
        };
        Ok(Self { rules: compiled?, parties: rules.iter().any(parties) })
    }

    /// Whether [`RouteFacts::from`] and [`RouteFacts::to`] are looked at.
    pub(crate) fn wants_parties(&self) -> bool {
        self.parties
    }

    /// Whether there are no rules: every request goes by its URI.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What becomes of the request. When the decision says that the URI is rewritten, it is in `out`.
    pub(crate) fn decide(&self, facts: &RouteFacts<'_>, out: &mut UriText) -> Decision {
        let none = Decision { action: Action::Uri, stateless: false, rewritten: false, rule: None };
        if self.rules.is_empty() {
            return none;
        }
        let refused = |code| Decision { action: Action::Reject(Rejection::new(code, "")), ..none };
        // A name that is too long to be looked at must not pass by the rules that bar it.
        let Some(called) = Dialled::read(facts.uri.user().unwrap_or_default()) else { return refused(414) };
        let user = |uri: Option<&Uri<'_>>| Dialled::read(uri.and_then(Uri::user).unwrap_or_default());
        let (from, to) = match self.parties {
            true => match (user(facts.from.as_ref()), user(facts.to.as_ref())) {
                (Some(from), Some(to)) => (Some(from), Some(to)),
                _ => return refused(400),
            },
            false => (None, None),
        };
        let mut whole = Whole::default();
        for (rule, at) in self.rules.iter().zip(0u16..) {
            let begins = |prefix: &Option<Box<[u8]>>, user: Option<&Dialled>| {
                prefix.as_ref().is_none_or(|p| user.is_some_and(|u| u.as_bytes().starts_with(p)))
            };
            let lies =
                |place: &Option<Place>, uri: Option<&Uri<'_>>| place.as_ref().is_none_or(|p| p.is(uri));
            let matches = (rule.methods.is_empty()
                || rule.methods.iter().any(|m| **m == *facts.method.as_bytes()))
                && begins(&rule.to_prefix, Some(&called))
                && lies(&rule.domain, Some(&facts.uri))
                && begins(&rule.from_prefix, from.as_ref())
                && lies(&rule.from_domain, facts.from.as_ref())
                && begins(&rule.to_header_prefix, to.as_ref())
                && lies(&rule.to_header_domain, facts.to.as_ref())
                && rule.sources.as_ref().is_none_or(|s| s.iter().any(|p| p.contains(facts.source)))
                && rule.regex.as_ref().is_none_or(|regex| regex.is_in(whole.of(&called, &facts.uri)));
            if !matches {
                continue;
            }
            let decision = Decision {
                action: rule.action,
                stateless: rule.stateless,
                rewritten: !rule.rewrite.is_nothing(),
                rule: Some(at),
            };
            if !decision.rewritten {
                return decision;
            }
            return match rule.rewrite.write(&facts.uri, &called, out) {
                Ok(()) => decision,
                Err(RewriteError::Short) => Decision { rule: Some(at), ..refused(484) },
                Err(RewriteError::Long) => Decision { rule: Some(at), ..refused(414) },
            };
        }
        none
    }
}

/// `USER@DOMAIN`, put together when the first expression wants it.
struct Whole {
    text: [u8; limit::USER + 1 + strowger_sip::limit::HOST],
    len: usize,
}

impl Default for Whole {
    fn default() -> Self {
        Self { text: [0; _], len: 0 }
    }
}

impl Whole {
    fn of(&mut self, called: &Dialled, uri: &Uri<'_>) -> &[u8] {
        if self.len == 0 {
            let host = uri.host_bytes();
            let host = host.strip_suffix(b".").unwrap_or(host);
            let at: &[u8] = if called.as_bytes().is_empty() { b"" } else { b"@" };
            // There is room: both parts are within their limits.
            for octet in
                called.as_bytes().iter().chain(at).copied().chain(host.iter().map(u8::to_ascii_lowercase))
            {
                if let Some(place) = self.text.get_mut(self.len) {
                    *place = octet;
                    self.len += 1;
                }
            }
        }
        self.text.get(..self.len).unwrap_or_default()
    }
}

/// The Request-URI for a gateway at `address`: when its host is one of ours, the gateway would have to send it back to
/// us, so the gateway's own address takes its place; any other stays (RFC 3261 section 16.6 items 2 and 7).
pub(crate) fn aimed<'u>(
    uri: &Uri<'u>,
    site: &Site,
    address: SocketAddr,
    out: &'u mut UriText,
) -> Result<&'u [u8], Refusal> {
    let ours = uri.host().is_some_and(|host| site.is_us(&host, uri.port()));
    if !ours {
        return Ok(uri.as_bytes());
    }
    let place = number::authority(uri);
    let text = uri.as_bytes();
    let (before, after) = (text.get(..place.start), text.get(place.end..));
    out.clear();
    out.push(before.unwrap_or_default())
        .and_then(|()| write!(out, "{address}"))
        .and_then(|()| out.push(after.unwrap_or_default()))
        .map_err(|_| Refusal::TooLarge)?;
    Ok(out.as_bytes())
}

/// What is wrong with a rule: the key, and what is accepted.
type Problem = (&'static str, String);

fn compile(rule: &RouteRule, gateways: &[Gateway]) -> Result<Rule, Problem> {
    let wrong = |key: &'static str, problem: String| Err((key, problem));
    let method = |text: &String| {
        let token = !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b));
        match token && *text == text.to_ascii_uppercase() {
            true => Ok(text.as_bytes().to_vec().into_boxed_slice()),
            false => Err(("method", format!("{text:?} is not a method such as INVITE"))),
        }
    };
    let group =
        |key: &'static str, name: &String| match gateways.iter().zip(0u16..).find(|(g, _)| g.name == *name) {
            Some(found) => Ok(found),
            None => Err((key, format!("`{name}` is not one of `gateways`"))),
        };
    let prefix = |key: &'static str, text: &Option<String>| match text {
        Some(text) if text.is_empty() || text.len() > limit::ROUTE_TEXT => {
            Err((key, format!("1 to {} octets", limit::ROUTE_TEXT)))
        }
        // As users are compared: see `number`.
        Some(text) => match Dialled::literal(text) {
            Some(text) => Ok(Some(text)),
            None => {
                Err((key, format!("{text:?} has separators that are ignored in numbers; leave them out")))
            }
        },
        None => Ok(None),
    };
    let place = |key: &'static str, text: &Option<String>| match text {
        Some(text) => match Place::read(text) {
            Some(place) => Ok(Some(place)),
            None => Err((key, format!("{text:?} is neither a host name nor an address"))),
        },
        None => Ok(None),
    };
    let methods = rule.methods.iter().map(method).collect::<Result<_, _>>()?;
    let mut sources = Vec::new();
    for source in &rule.sources {
        match source {
            RouteSource::Prefix(prefix) => sources.push(*prefix),
            RouteSource::Gateway(name) => {
                let (gateway, _) = group("source", name)?;
                sources.extend(gateway.targets.iter().map(|target| IpPrefix::host(target.address.ip())));
            }
        }
    }
    let regex = match &rule.regex {
        Some(text) => Some(Pattern::new(text).map_err(|problem| ("regex", problem))?),
        None => None,
    };
    if rule.strip > limit::USER {
        return wrong("strip", format!("{} is more than {} octets", rule.strip, limit::USER));
    }
    if rule.prepend.len() > limit::ROUTE_TEXT {
        return wrong("prepend", format!("more than {} octets", limit::ROUTE_TEXT));
    }
    if let Some(user) = &rule.rewrite_user
        && (user.is_empty() || user.len() > limit::USER)
    {
        return wrong("rewrite.user", format!("1 to {} octets", limit::USER));
    }
    if let Some(host) = &rule.rewrite_host {
        let uri = format!("sip:{host}");
        let alone = Uri::parse(uri.as_bytes()).is_ok_and(|uri| {
            uri.user().is_none() && uri.params().as_bytes().is_empty() && uri.headers().is_none()
        });
        if !alone {
            return wrong("rewrite.host", format!("{host:?} is neither HOST nor HOST:PORT"));
        }
    }
    let rewrite = Rewrite {
        strip: rule.strip,
        prepend: rule.prepend.as_bytes().into(),
        user: rule.rewrite_user.as_ref().map(|user| user.as_bytes().into()),
        host: rule.rewrite_host.as_ref().map(|host| host.as_bytes().into()),
    };
    let action = match &rule.action {
        RouteAction::Uri => Action::Uri,
        RouteAction::Location => Action::Location,
        RouteAction::Gateway(name) => Action::Gateway(group("gateway", name)?.1),
        RouteAction::Reject { code, phrase } => {
            if !(300..=699).contains(code) {
                return wrong("reject", format!("{code} is not a final response of 300 to 699"));
            }
            if phrase.len() > limit::PHRASE || phrase.bytes().any(|b| !(b' '..=b'~').contains(&b)) {
                return wrong(
                    "reject",
                    format!("a phrase has at most {} printable ASCII characters", limit::PHRASE),
                );
            }
            if !rewrite.is_nothing() || rule.stateless {
                return wrong(
                    "reject",
                    "a request that is refused is not changed and not sent on".to_owned(),
                );
            }
            Action::Reject(Rejection::new(*code, phrase))
        }
    };
    Ok(Rule {
        methods,
        sources: (!rule.sources.is_empty()).then(|| sources.into_boxed_slice()),
        from_prefix: prefix("from_prefix", &rule.from_prefix)?,
        from_domain: place("from_domain", &rule.from_domain)?,
        to_header_prefix: prefix("to_header_prefix", &rule.to_header_prefix)?,
        to_header_domain: place("to_header_domain", &rule.to_header_domain)?,
        to_prefix: prefix("to_prefix", &rule.to_prefix)?,
        domain: place("domain", &rule.domain)?,
        regex,
        rewrite,
        action,
        stateless: rule.stateless,
    })
}
