//! The proxy core: where a request goes next (RFC 3261 sections 16.3 to 16.6), and the branch it gets.
//!
//! Everything here is computed from the message, the configuration and the location table; what a request goes on as
//! is the same with a transaction and without (section 16.11), but for the branch.

use core::net::SocketAddr;

use strowger_sip::{
    Digits, EditError, EditPlan, HeaderName, Host, Message, Method, Scheme, Transport, Uri, Via,
};

use crate::branch::{Bound, Branch, Origin};
use crate::fork::targets::BREADTH;
use crate::keys::Keys;
use crate::location::{BoundFlow, Target};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::route::RecordRoute;
use crate::site::{DEFAULT_PORT, Site};

/// Where a request is for.
#[derive(Clone, Copy)]
pub(crate) enum Destination {
    /// This server itself.
    Us,
    /// A user of the domain with this index.
    User(u16),
    /// A user at one of our addresses which is no domain: there are none.
    Nobody,
    /// Somewhere else.
    Elsewhere,
}

impl Destination {
    pub(crate) fn of(uri: &Uri<'_>, site: &Site) -> Self {
        let Some(host) = uri.host() else { return Self::Elsewhere };
        match (site.domain(&host, uri.port()), uri.user()) {
            (Some(_), None) => Self::Us,
            (Some(domain), Some(_)) => Self::User(domain),
            (None, user) if site.listen_named(&host, uri.port()).is_some() => {
                if user.is_some() {
                    Self::Nobody
                } else {
                    Self::Us
                }
            }
            (None, _) => Self::Elsewhere,
        }
    }
}

/// The checks of section 16.3 that follow the syntax, in its order. `Ok` with the loop part of the branch.
///
/// `for_us`: the request ends here, so that Max-Forwards does not count, and Proxy-Require neither: it speaks to
/// proxies (section 20.29), and Require to us.
pub(crate) fn validate(
    request: &Request<'_>,
    for_us: bool,
    site: &Site,
    keys: &Keys,
) -> Result<u32, Refusal> {
    if request.uri.scheme() != Scheme::Sip {
        return Err(Refusal::Scheme);
    }
    if request.headers.max_forwards == Some(0) && !for_us {
        return Err(Refusal::TooManyHops);
    }
    if for_us {
        // It goes no further: it cannot loop, and has no branch of ours.
        return Ok(0);
    }
    let looped = request.looped(keys);
    if has_looped(request, looped, site) {
        return Err(Refusal::Loop);
    }
    // Section 8.2.2.3: ignored in CANCEL and ACK.
    let counts = !matches!(request.method, Method::Ack | Method::Cancel);
    if counts && request.message.has(HeaderName::ProxyRequire) {
        return Err(Refusal::Extension(HeaderName::ProxyRequire));
    }
    Ok(looped)
}

/// RFC 5393 section 4.2.2: one of the Vias is ours and has the hash that we would give this request now.
fn has_looped(request: &Request<'_>, looped: u32, site: &Site) -> bool {
    let ours = |via: &Via<'_>| {
        site.listen_named(&via.host(), via.port()).is_some()
            && via.branch().and_then(Branch::read).is_some_and(|(branch, _)| branch.looped == looped)
    };
    let (message, top) = (&request.message, &request.headers.via);
    // What comes from a phone has one Via, which has been read.
    let alone = message.single(HeaderName::Via).is_ok_and(|line| line == Some(top.as_bytes()));
    ours(top) || (!alone && message.vias().skip(1).map_while(Result::ok).any(|via| ours(&via)))
}

/// The address a URI leads to without asking a name server (RFC 3263 section 4: an IP address, by the transport that
/// the URI names or UDP, at its port or 5060). `None` when it leads nowhere that this node can send to: a name, a
/// transport other than UDP, a family it does not listen on, itself. `maddr` is not followed.
pub(crate) fn next_hop(uri: &Uri<'_>, site: &Site) -> Option<SocketAddr> {
    if uri.scheme() != Scheme::Sip || !matches!(uri.transport(), None | Some(Transport::Udp)) {
        return None;
    }
    let ip = uri.host()?.ip()?.to_canonical();
    let port = uri.port().unwrap_or(DEFAULT_PORT);
    let address = SocketAddr::new(ip, port);
    is_usable(address, site).then_some(address)
}

/// The name that a URI leads to by a transport of ours, its port, and whether it names the transport: what a name
/// server has to be asked for (RFC 3263 section 4).
pub(crate) fn named<'a>(uri: &Uri<'a>) -> Option<(&'a [u8], Option<u16>, bool)> {
    let Some(Host::Name(name)) = uri.host() else { return None };
    match (uri.scheme(), uri.transport()) {
        (Scheme::Sip, None) => Some((name, uri.port(), false)),
        (Scheme::Sip, Some(Transport::Udp)) => Some((name, uri.port(), true)),
        _ => None,
    }
}

/// Where a registered contact is sent to, and from which listen address: that of its flow, or `preferred`, or one of the
/// right family. `None` when nothing leads there.
pub(crate) fn way_to(target: &Target<'_>, preferred: u8, site: &Site) -> Option<(u8, SocketAddr)> {
    let (remote, local) = match target.flow {
        Some(flow) => (flow.remote, flow.listen),
        None => (next_hop(&Uri::parse(target.next_uri()).ok()?, site)?, preferred),
    };
    Some((site.listen_for(remote, local)?, remote))
}

/// Whether this node can send to an address, and the address is not its own.
pub(crate) fn is_usable(address: SocketAddr, site: &Site) -> bool {
    is_unicast(address) && site.listen_index(address).is_none() && site.listen_for(address, 0).is_some()
}

/// Whether a datagram to this address can reach one host.
pub(crate) fn is_unicast(address: SocketAddr) -> bool {
    let ip = address.ip();
    let broadcast = matches!(ip, core::net::IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// Max-Breadth of a request: what it says, at most ours; ours when it says nothing, or what cannot be read (RFC 5393
/// section 5.3.3).
pub(crate) fn max_breadth(message: &Message<'_>) -> u8 {
    let said = message.single(HeaderName::MaxBreadth).ok().flatten();
    let number = said.and_then(|text| core::str::from_utf8(text).ok()?.parse::<u32>().ok());
    u8::try_from(number.unwrap_or(BREADTH).min(BREADTH)).unwrap_or(u8::MAX)
}

/// Plans the Max-Breadth of a branch.
fn set_max_breadth(message: &Message<'_>, breadth: u8, plan: &mut EditPlan) -> Result<(), EditError> {
    let digits = Digits::new(u32::from(breadth));
    match message.header(HeaderName::MaxBreadth) {
        None => plan.prepend_header(message, HeaderName::MaxBreadth, &[digits.as_bytes()]),
        Some(header) if header.value == digits.as_bytes() => Ok(()),
        Some(header) => plan.replace(header.value_range, digits.as_bytes()),
    }
}

/// Whether our Record-Route goes on requests with this method: those that make dialogs, and those nobody knows
/// (section 16.6 item 4). In a dialog too, for the end that lost its memory.
pub(crate) fn makes_dialog(method: Method<'_>) -> bool {
    matches!(method, Method::Invite | Method::Subscribe | Method::Notify | Method::Refer | Method::Other(_))
}

/// A request on its way: what section 16.6 needs beside the request.
pub(crate) struct Forward<'e> {
    pub(crate) site: &'e Site,
    pub(crate) keys: &'e Keys,
    pub(crate) record_route: bool,
    /// The loop part of the branch.
    pub(crate) looped: u32,
    /// What the branch leads to.
    pub(crate) origin: Origin,
    /// Where the next hop is when a name server was asked for it.
    pub(crate) resolved: Option<SocketAddr>,
    /// Max-Breadth of this branch.
    pub(crate) breadth: u8,
}

impl Forward<'_> {
    /// Plans all edits of section 16.6 for the one target `uri`. Returns the index of the listen address it leaves
    /// from, and where it goes.
    pub(crate) fn plan(
        &self,
        request: &Request<'_>,
        uri: &Uri<'_>,
        plan: &mut EditPlan,
    ) -> Result<(u8, SocketAddr), Refusal> {
        let next = request.routes.next();
        let parsed = match next {
            Some(next) => next.uri().map_err(|e| Refusal::UriIn(HeaderName::Route, e))?,
            None => *uri,
        };
        let (uri, next_uri) = (uri.as_bytes(), parsed.as_bytes());
        let remote = self.resolved.or_else(|| next_hop(&parsed, self.site)).ok_or(Refusal::Unreachable)?;
        // Item 6: a strict router finds itself in the Request-URI.
        let strict = next.is_some() && !parsed.is_loose();
        let (request_uri, appended) = if strict { (next_uri, Some(uri)) } else { (uri, None) };
        self.leave(request, request_uri, appended, (remote, None), plan)
    }

    /// The same, to a registered contact: by its Path and over its flow, when it has them.
    pub(crate) fn plan_target(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        plan: &mut EditPlan,
    ) -> Result<(u8, SocketAddr), Refusal> {
        let (local, remote) = self.way_to(request, target).ok_or(Refusal::Unreachable)?;
        let left = self.leave(request, target.uri, None, (remote, Some(local)), plan)?;
        if !target.path.is_empty() {
            plan.prepend_header(&request.message, HeaderName::Route, &[target.path])
                .map_err(|_| Refusal::TooLarge)?;
        }
        Ok(left)
    }

    /// Where a registered contact is sent to, and from which listen address; `None` when nothing leads there.
    pub(crate) fn way_to(&self, request: &Request<'_>, target: &Target<'_>) -> Option<(u8, SocketAddr)> {
        way_to(target, request.routes.leaves_from.unwrap_or(request.listen), self.site)
    }

    /// The same, over a flow of ours whatever the URI says. The request has no Route left.
    pub(crate) fn plan_over(
        &self,
        request: &Request<'_>,
        uri: &[u8],
        flow: BoundFlow,
        plan: &mut EditPlan,
    ) -> Result<(u8, SocketAddr), Refusal> {
        self.leave(request, uri, None, (flow.remote, Some(flow.listen)), plan)
    }

    /// The listen address from which a request leaves to this address.
    pub(crate) fn leaves_from(&self, request: &Request<'_>, remote: SocketAddr) -> Option<u8> {
        self.site.listen_for(remote, request.routes.leaves_from.unwrap_or(request.listen))
    }

    /// The same, to a next hop that local policy names and not the URI (item 7). The request has no Route left.
    pub(crate) fn plan_to(
        &self,
        request: &Request<'_>,
        uri: &[u8],
        remote: SocketAddr,
        plan: &mut EditPlan,
    ) -> Result<(u8, SocketAddr), Refusal> {
        self.leave(request, uri, None, (remote, None), plan)
    }

    fn leave(
        &self,
        request: &Request<'_>,
        request_uri: &[u8],
        appended: Option<&[u8]>,
        (remote, local): (SocketAddr, Option<u8>),
        plan: &mut EditPlan,
    ) -> Result<(u8, SocketAddr), Refusal> {
        let preferred = local.or(request.routes.leaves_from).unwrap_or(request.listen);
        let local = self.site.listen_for(remote, preferred).ok_or(Refusal::Unreachable)?;
        self.edit(request, request_uri, appended, local, plan).map_err(|_| Refusal::TooLarge)?;
        Ok((local, remote))
    }

    fn edit(
        &self,
        request: &Request<'_>,
        request_uri: &[u8],
        appended: Option<&[u8]>,
        local: u8,
        plan: &mut EditPlan,
    ) -> Result<(), EditError> {
        let (Some(out), Some(inside)) = (self.site.listen(local), self.site.listen(request.listen)) else {
            return Ok(());
        };
        let message = &request.message;
        let headers = request.headers;
        plan.begin(message);
        if request_uri != request.received_uri {
            plan.replace_request_uri(message, request_uri)?;
        }
        let branch = Branch { origin: self.origin, looped: self.looped };
        let bound = Bound { call_id: headers.call_id, cseq: headers.cseq.number, reply_to: request.reply_to };
        let branch = branch.write(self.keys, &bound);
        let via: [&[u8]; 4] = [b"SIP/2.0/UDP ", out.text.as_bytes(), b";branch=", &branch];
        plan.prepend_header(message, HeaderName::Via, &via)?;
        if self.record_route && makes_dialog(request.method) {
            let both = [&*out.text, &*inside.text];
            let hosts = if local == request.listen { both.get(..1) } else { both.get(..) };
            let ours = RecordRoute::new(message, headers, request.reply_to, self.keys);
            ours.add(message, hosts.unwrap_or_default(), plan)?;
        }
        set_max_breadth(message, self.breadth, plan)?;
        // In the order in which these headers usually stand: an edit behind all others is only appended.
        let (received, rport) = request.via_marks();
        plan.mark_via(&headers.via, received, rport)?;
        match headers.max_forwards {
            Some(hops) => plan.set_max_forwards(message, hops.checked_sub(1).ok_or(EditError::Exhausted)?)?,
            None => plan.decrement_max_forwards(message)?,
        }
        request.routes.edit(message, appended, plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn next_hops_without_a_name_server() {
        let site = Site::new(&Config {
            listen: ["10.0.0.2:5060", "[2001:db8::2]:5060"].map(|a| a.parse().unwrap()).into(),
            secret: [1; 32],
            ..Config::default()
        });
        for (uri, expected) in [
            ("sip:a@192.0.2.1", Some("192.0.2.1:5060")),
            ("sip:192.0.2.1:99;transport=UDP;lr", Some("192.0.2.1:99")),
            ("sip:a@[2001:db8::9]:7", Some("[2001:db8::9]:7")),
            ("sip:a@[::ffff:192.0.2.1]", Some("192.0.2.1:5060")),
            ("sip:a@10.0.0.2:5061", Some("10.0.0.2:5061")),
            ("sip:a@192.0.2.1;maddr=192.0.2.2", Some("192.0.2.1:5060")),
            ("sip:a@10.0.0.2", None),
            ("sip:a@[2001:db8::2]:5060", None),
            ("sip:a@example.com", None),
            ("sip:a@192.0.2.1;transport=tcp", None),
            ("sips:a@192.0.2.1", None),
            ("tel:+1", None),
            ("sip:a@0.0.0.0", None),
            ("sip:a@255.255.255.255", None),
            ("sip:a@239.1.2.3", None),
            ("sip:a@[ff02::1]", None),
        ] {
            let hop = next_hop(&Uri::parse(uri.as_bytes()).unwrap(), &site);
            assert_eq!(hop.map(|hop| hop.to_string()).as_deref(), expected, "{uri}");
        }
    }
}
