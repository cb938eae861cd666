//! How the contacts of a REGISTER are to be reached: by the proxies of its Path (RFC 3327), over the flow it came by
//! (RFC 5626, or because its sender is behind a NAT), or by their URIs.

use core::net::SocketAddr;

use strowger_sip::{Contact as ContactValue, ContactAddress, HeaderName, NameAddr, Token};

use crate::config::limit;
use crate::location::{BoundFlow, Path};
use crate::proxy::next_hop;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::site::Site;
use crate::text::Text;

/// What a REGISTER says about its way.
pub(super) struct Reach {
    /// The URIs of Path, as a Route has them.
    path: Text<{ limit::PATH }>,
    /// Where the first proxy of the Path is, when we can send there.
    first: Option<SocketAddr>,
    /// Whether it came from its user agent and not through a proxy.
    direct: bool,
    /// The flow it came by.
    flow: BoundFlow,
    /// Whether the first hop behind its user agent keeps the flow (RFC 5626 section 6).
    pub(super) outbound: bool,
}

impl Reach {
    /// Reads Path and Via.
    pub(super) fn read(request: &Request<'_>, site: &Site, outbound: bool) -> Result<Self, Refusal> {
        let message = &request.message;
        let mut path = Text::new();
        let (mut first, mut kept) = (None, false);
        for value in message.values::<NameAddr<'_>>(HeaderName::Path) {
            let value = value.map_err(Refusal::Header)?;
            let uri = value.uri().map_err(|e| Refusal::UriIn(HeaderName::Path, e))?;
            if !uri.is_loose() {
                return Err(Refusal::Contact("Path Without lr"));
            }
            if uri.host().is_some_and(|host| site.is_us(&host, uri.port())) {
                return Err(Refusal::ContactIsUs);
            }
            // Only the first node behind the user agent may say so (RFC 5626 section 5.1), wherever it stands.
            kept |= uri.params().contains(b"ob");
            let separator: &[u8] = if path.as_bytes().is_empty() { b"" } else { b", " };
            if separator.is_empty() {
                first = next_hop(&uri, site);
            }
            for part in [separator, b"<", value.uri_bytes(), b">"] {
                path.push(part).map_err(|_| Refusal::Contact("Path Too Long"))?;
            }
        }
        let direct = path.as_bytes().is_empty() && message.vias().nth(1).is_none();
        // Section 5.3 of RFC 3327: whoever does not know Path must not be surprised by one.
        if !path.as_bytes().is_empty() && !supports(request, b"path") {
            return Err(Refusal::PathUnasked);
        }
        let flow = BoundFlow { listen: request.listen, remote: request.source() };
        Ok(Self { path, first, direct, flow, outbound: outbound && (direct || kept) })
    }

    pub(super) fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    /// Whether anything can be sent to this contact.
    pub(super) fn reaches(&self, contact: &ContactAddress<'_>, site: &Site) -> bool {
        if !self.path().is_empty() {
            return self.first.is_some();
        }
        self.outbound && contact.reg_id().is_some() && contact.instance().is_some()
            || contact.uri().is_ok_and(|uri| next_hop(&uri, site).is_some())
    }

    /// The way to the contacts. `flow`: a contact is bound to the flow (RFC 5626); else it is where the NAT of its
    /// sender is, if there is one.
    pub(super) fn way(&self, request: &Request<'_>, flow: bool, nat: bool) -> Path<'_> {
        let flow = self.direct && (flow || nat && behind_nat(request));
        Path { routes: self.path(), flow: flow.then_some(self.flow) }
    }
}

/// Whether the option tag stands in Supported.
pub(super) fn supports(request: &Request<'_>, tag: &[u8]) -> bool {
    let supported = request.message.values::<Token<'_>>(HeaderName::Supported);
    supported.map_while(Result::ok).any(|token| token.0.eq_ignore_ascii_case(tag))
}

/// Whether its sender does not know the address that it sends from: the Via says another host, and a Contact does too.
/// A contact elsewhere that was registered by somebody who knows where he is, is elsewhere.
fn behind_nat(request: &Request<'_>) -> bool {
    let source = request.source().ip();
    let is_source = |ip: Option<core::net::IpAddr>| ip.is_some_and(|ip| ip.to_canonical() == source);
    let contact_is_source = |value: ContactValue<'_>| match value {
        ContactValue::Star => true,
        ContactValue::Address(contact) => {
            contact.uri().is_ok_and(|uri| is_source(uri.host().and_then(|host| host.ip())))
        }
    };
    !is_source(request.headers.via.host().ip())
        && !request.message.contacts().map_while(Result::ok).any(contact_is_source)
}
