//! The Route header (RFC 3261 sections 16.4 and 16.6 item 6) and our own Record-Route: reading what is ours, and the
//! edits that take values away or append one.
//!
//! Our Record-Route carries a token, without which a request for somewhere else is not relayed. Each party of a dialog
//! gets one of its own: it is good for this Call-ID, this caller, and for the one host that requests of that party
//! have to go to next. The callee's stands in the request and is for the hop before us; the caller's is written over
//! it in the response, which a proxy may do (section 16.7 item 8), and is for the hop after us. So the token opens
//! no way to anywhere else, and nothing has to be remembered for it.

use core::net::{IpAddr, SocketAddr};

use strowger_sip::{Contact, EditError, EditPlan, Essentials, HeaderName, Host, Message, NameAddr, Uri};

use crate::keys::{Keys, Prf, read_base32, same, write_base32};
use crate::refusal::Refusal;
use crate::site::{DEFAULT_PORT, Site};

/// The parameter of our Record-Route URIs that holds the dialog's token.
const PARAMETER: &str = "dlg";

/// Octets of a token: 64 bits.
const TOKEN_LEN: usize = 13;

/// Record-Routes of ours that get a new token in one response. A request goes through us twice at most in one hop
/// (RFC 5658), and few calls spiral more than once; the token of one that is left as it is opens nothing.
const REWRITTEN: usize = 8;

/// The Route values of a request, after those that mean us are taken away.
pub(crate) struct Routes<'a> {
    /// Values in the message.
    count: usize,
    /// Values at the front that are taken away.
    reached: usize,
    /// The last value is taken away: it becomes the Request-URI.
    pop_last: bool,
    /// First and last of the values that stay.
    stay: Option<(NameAddr<'a>, NameAddr<'a>)>,
    /// The listen address that the last value of ours names: the request leaves from there (RFC 5658 section 4).
    pub(crate) leaves_from: Option<u8>,
    /// What stands as token in the value of ours that is nearest to the next hop; it is not judged yet.
    token: Option<&'a [u8]>,
}

impl<'a> Routes<'a> {
    /// Reads all Route values. When the Request-URI is one that we put into a Record-Route, the request comes from a
    /// strict router and the last value is the real Request-URI: it is returned beside.
    pub(crate) fn read(
        message: &Message<'a>,
        uri: &Uri<'a>,
        site: &Site,
    ) -> Result<(Self, Option<NameAddr<'a>>), Refusal> {
        let mut routes =
            Self { count: 0, reached: 0, pop_last: false, stay: None, leaves_from: None, token: None };
        if !message.has(HeaderName::Route) {
            return Ok((routes, None));
        }
        let strict =
            site_of(uri, site).filter(|_| uri.is_loose() && uri.params().contains(PARAMETER.as_bytes()));
        if strict.is_some() {
            routes.leaves_from = strict;
            routes.token = token_in(uri);
        }
        // The value before the last one, and the last one so far.
        let (mut previous, mut last): (Option<NameAddr<'a>>, Option<NameAddr<'a>>) = (None, None);
        let mut first_staying: Option<NameAddr<'a>> = None;
        let mut reached_last = false;
        for value in message.routes() {
            let value = value.map_err(Refusal::Header)?;
            routes.count += 1;
            reached_last = false;
            if first_staying.is_none() {
                let uri = value.uri().map_err(|e| Refusal::UriIn(HeaderName::Route, e))?;
                let host = uri.host().filter(|host| site.is_us(host, uri.port()));
                if host.is_some() {
                    routes.reached += 1;
                    reached_last = true;
                    routes.leaves_from = site_of(&uri, site).or(routes.leaves_from);
                    routes.token = token_in(&uri).or(routes.token);
                } else {
                    first_staying = Some(value);
                }
            }
            previous = last.replace(value);
        }
        routes.pop_last = strict.is_some() && routes.count > 0;
        if !routes.pop_last {
            routes.stay = first_staying.zip(last);
            return Ok((routes, None));
        }
        // The last value is no Route any more, whoever it names.
        if reached_last {
            routes.reached -= 1;
        }
        let staying = routes.count - 1 - routes.reached;
        routes.stay = if staying > 0 { first_staying.zip(previous) } else { None };
        Ok((routes, last))
    }

    /// What the token says about a request that goes to `target` when no Route stays: `None` when there is no token,
    /// else whether it is the one of this dialog for the next hop.
    pub(crate) fn proves(
        &self,
        headers: &Essentials<'_>,
        target: &Uri<'_>,
        keys: &Keys,
    ) -> Result<Option<bool>, Refusal> {
        let Some(token) = self.token else { return Ok(None) };
        let hop = self.hop(target)?;
        Ok(Some(hop.is_some_and(|hop| proves(token, headers, &hop, keys))))
    }

    /// The next hop of a request that goes to `target` when no Route stays.
    pub(crate) fn hop<'h>(&self, target: &Uri<'h>) -> Result<Option<Hop<'h>>, Refusal>
    where
        'a: 'h,
    {
        Ok(match self.next() {
            None => Hop::of(target),
            Some(next) => Hop::of(&next.uri().map_err(|e| Refusal::UriIn(HeaderName::Route, e))?),
        })
    }

    /// The number that stands as token.
    pub(crate) fn given(&self) -> Option<u64> {
        read_base32(self.token.filter(|token| token.len() == TOKEN_LEN)?)
    }

    /// The first value that stays: the next hop.
    pub(crate) fn next(&self) -> Option<&NameAddr<'a>> {
        self.stay.as_ref().map(|(first, _)| first)
    }

    /// Plans the removal of what was reached and of what became the Request-URI. With `strict_next` the next value
    /// goes too, into the Request-URI, and this URI becomes the last value (section 16.6 item 6).
    pub(crate) fn edit(
        &self,
        message: &Message<'_>,
        strict_next: Option<&[u8]>,
        plan: &mut EditPlan,
    ) -> Result<(), EditError> {
        let from = self.reached + usize::from(strict_next.is_some());
        let to = self.count - usize::from(self.pop_last);
        if from >= to {
            plan.remove_header(message, HeaderName::Route)?;
            return match strict_next {
                Some(uri) => plan.append_header(message, HeaderName::Route, &[b"<", uri, b">"]),
                None => Ok(()),
            };
        }
        if from > 0 {
            plan.remove_routes(message, from)?;
        }
        if !self.pop_last && strict_next.is_none() {
            return Ok(());
        }
        // What stays ends with the value before `to`.
        let Some(last) = message.routes().map_while(Result::ok).nth(to - 1).map(|value| value.range()) else {
            return Ok(());
        };
        for line in message.headers(HeaderName::Route) {
            if line.line_range.start >= last.end {
                plan.delete(line.line_range)?;
            } else if line.value_range.start <= last.start && last.end <= line.value_range.end {
                let rest = last.end..line.value_range.end;
                match strict_next {
                    Some(uri) => plan.replace_with(rest, &[b", <", uri, b">"])?,
                    None => plan.delete(rest)?,
                }
            }
        }
        Ok(())
    }
}

/// A Record-Route value of ours for the listen address `host`, as the parts of a header line.
pub(crate) struct RecordRoute {
    token: [u8; TOKEN_LEN],
}

impl RecordRoute {
    /// For the dialog that this request makes. What the callee sends goes to the hop that recorded itself last, else
    /// to the Contact; a request without either makes no dialog, and its token is for where it came from.
    pub(crate) fn new(
        message: &Message<'_>,
        headers: &Essentials<'_>,
        source: SocketAddr,
        keys: &Keys,
    ) -> Self {
        let recorded = message.record_routes().next();
        let before = match recorded {
            Some(value) => value.ok().and_then(|value| Hop::of(&value.uri().ok()?)),
            None => contact_hop(message),
        };
        let hop = before.unwrap_or(Hop::Address(source));
        let caller = headers.from.tag().unwrap_or_default();
        Self { token: text_of(token(headers.call_id, caller, &hop, keys)) }
    }

    /// One more for the same dialog as this value of ours.
    pub(crate) fn again(value: &NameAddr<'_>) -> Option<Self> {
        let token = token_in(&value.uri().ok()?)?.try_into().ok()?;
        Some(Self { token })
    }

    /// Plans the lines: one for each listen address that the dialog goes through, the one that sends first (RFC 5658
    /// section 4).
    pub(crate) fn add(
        &self,
        message: &Message<'_>,
        hosts: &[&str],
        plan: &mut EditPlan,
    ) -> Result<(), EditError> {
        for host in hosts {
            let parts: [&[u8]; 5] = [b"<sip:", host.as_bytes(), b";lr;dlg=", &self.token, b">"];
            plan.prepend_header(message, HeaderName::RecordRoute, &parts)?;
        }
        Ok(())
    }
}

/// The listen address that a URI names by address.
fn site_of(uri: &Uri<'_>, site: &Site) -> Option<u8> {
    site.listen_named(&uri.host()?, uri.port())
}

/// The value of the token's parameter; empty when it has none.
fn token_in<'a>(uri: &Uri<'a>) -> Option<&'a [u8]> {
    Some(uri.params().find(PARAMETER.as_bytes())?.value.unwrap_or_default())
}

/// Plans the caller's tokens in a response that can make a dialog: in every Record-Route of ours, for the hop that
/// follows it on the way to the callee. That is the value above, or the Contact. Without a Contact there is no dialog
/// (section 12.1.2), and the token stays what it is: the callee's, which is no use to the caller.
///
/// `caller` is the tag in From. The token's length never changes, so this is an edit in place.
pub(crate) fn hand_over(
    message: &Message<'_>,
    call_id: &[u8],
    caller: &[u8],
    site: &Site,
    keys: &Keys,
    plan: &mut EditPlan,
) -> Result<(), EditError> {
    if !message.has(HeaderName::RecordRoute) {
        return Ok(());
    }
    let mut after = None;
    let mut rewritten = 0;
    for value in message.record_routes().map_while(Result::ok) {
        let Ok(uri) = value.uri() else { return Ok(()) };
        if site_of(&uri, site).is_none() {
            after = Hop::of(&uri);
            continue;
        }
        let Some(old) = token_in(&uri).filter(|old| old.len() == TOKEN_LEN) else { continue };
        let Some(hop) = after.or_else(|| contact_hop(message)) else { continue };
        rewritten += 1;
        if rewritten > REWRITTEN {
            return Ok(());
        }
        let Some(at) = place(message.datagram(), old) else { continue };
        plan.replace(at..at + TOKEN_LEN, &text_of(token(call_id, caller, &hop, keys)))?;
    }
    Ok(())
}

/// Where `part`, which is a part of `whole`, begins in it.
fn place(whole: &[u8], part: &[u8]) -> Option<usize> {
    let at = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    (whole.get(at..at + part.len())? == part).then_some(at)
}

/// A host and port that a URI names, as far as routing by RFC 3263 tells them apart. Resolving is not done for it, so
/// a name and its address are two hops.
#[derive(Clone, Copy)]
pub(crate) enum Hop<'a> {
    Address(SocketAddr),
    Name(&'a [u8], Option<u16>),
}

impl<'a> Hop<'a> {
    pub(crate) fn of(uri: &Uri<'a>) -> Option<Self> {
        let ip = match uri.host()? {
            Host::Name(name) => return Some(Self::Name(name, uri.port())),
            Host::V4(ip) => IpAddr::V4(ip),
            Host::V6(ip) => IpAddr::V6(ip).to_canonical(),
        };
        Some(Self::Address(SocketAddr::new(ip, uri.port().unwrap_or(DEFAULT_PORT))))
    }
}

/// As the token sees them: names without case.
impl PartialEq for Hop<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(a), Self::Address(b)) => a == b,
            (Self::Name(a, p), Self::Name(b, q)) => p == q && a.eq_ignore_ascii_case(b),
            _ => false,
        }
    }
}

/// The hop that the first Contact names.
fn contact_hop<'a>(message: &Message<'a>) -> Option<Hop<'a>> {
    match message.contacts().next()?.ok()? {
        Contact::Address(contact) => Hop::of(&contact.uri().ok()?),
        Contact::Star => None,
    }
}

pub(crate) fn token(call_id: &[u8], tag: &[u8], hop: &Hop<'_>, keys: &Keys) -> u64 {
    let mut hash = Prf::new(&keys.dialog);
    hash.field(call_id).field(tag);
    // The first number tells a name from an address; no port is not the same as port 0, which nobody can send to.
    match hop {
        Hop::Address(address) => hash.number(0).address(*address),
        Hop::Name(name, port) => hash.number(1).number(port.map_or(0, u64::from)).folded(name),
    }
    .finish()
}

fn text_of(token: u64) -> [u8; TOKEN_LEN] {
    let mut text = [0; TOKEN_LEN];
    write_base32(token, &mut text);
    text
}

/// The token binds the Call-ID and the tag of the caller, which is From of what the caller sends and To of what the
/// callee sends, and the next hop.
fn proves(text: &[u8], headers: &Essentials<'_>, hop: &Hop<'_>, keys: &Keys) -> bool {
    let Some(given) = (text.len() == TOKEN_LEN).then(|| read_base32(text)).flatten() else { return false };
    [headers.from.tag(), headers.to.tag()]
        .into_iter()
        .any(|tag| same(token(headers.call_id, tag.unwrap_or_default(), hop, keys), given))
}
