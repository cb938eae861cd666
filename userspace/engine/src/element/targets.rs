//! Where a request goes: the addresses its way leads to (RFC 3261 sections 16.5 and 16.6, RFC 3263).
//!
//! Called on the way of a request. Plans the edits for the first target and stages the others for its transaction.

use core::net::SocketAddr;

use strowger_sip::{EditPlan, HeaderName, Uri};

use super::way::{Action, Way};
use super::{Element, Origin};
use crate::branch;
use crate::fork;
use crate::gateway::{Gateways, Tried};
use crate::gruu;
use crate::location::{BoundFlow, Found};
use crate::proxy::{self, Forward};
use crate::refusal::Refusal;
use crate::registrar::User;
use crate::request::Request;
use crate::resolve::Lookup;
use crate::routing;
use crate::transaction::{Failover, First};

/// Preference of the first address of a target with several. There are fewer addresses than that.
const FIRST_Q: u16 = 1000;

impl Element {
    /// Plans the forwarding to where the request goes.
    pub(super) fn targets(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        way: &Way,
        (looped, leads_to): (u32, branch::Origin),
        breadth: u8,
        plan: &mut EditPlan,
    ) -> Result<(u8, SocketAddr, First), Refusal> {
        let fork = matches!(leads_to, branch::Origin::Transaction(_));
        let uri = match way.rewritten {
            true => Uri::parse(self.written.as_bytes()).map_err(Refusal::Uri)?,
            false => request.uri,
        };
        let mut forward = Forward {
            site: &self.site,
            keys: &self.keys,
            record_route: self.config.record_route,
            looped,
            origin: leads_to,
            resolved: None,
            breadth,
        };
        let elsewhere = matches!(way.action, Action::Elsewhere);
        let routed = request.routes.next().is_some();
        let flow = elsewhere.then(|| self.flow_in_dialog(origin, request, &uri)).flatten();
        let next = match request.routes.next() {
            _ if flow.is_some() => None,
            Some(route) => Some(route.uri().map_err(|e| Refusal::UriIn(HeaderName::Route, e))?),
            None => elsewhere.then_some(uri),
        };
        let mut first = First::default();
        if let Some((name, port, udp)) = next.as_ref().and_then(proxy::named) {
            let seed = Gateways::call(&self.keys, request.headers.call_id);
            match self.resolver.lookup(origin.now, seed, name, port, udp) {
                Lookup::Ready(addresses) => {
                    let mut usable = addresses.iter().filter(|at| proxy::is_usable(*at, &self.site));
                    forward.resolved = usable.next();
                    // A strict router would need its own URI in the place of the target's.
                    if fork && next.as_ref().is_some_and(|uri| elsewhere && !routed || uri.is_loose()) {
                        first = First { q: FIRST_Q, failover: Failover::Name, ..First::default() };
                        for (at, q) in usable.zip((0..FIRST_Q).rev()) {
                            if let Some(local) = forward.leaves_from(request, at) {
                                let text = (uri.as_bytes(), &b""[..]);
                                self.core.stage((local, at), (q, 0), text, &mut self.counters);
                            }
                        }
                    }
                }
                Lookup::Waiting => return Err(Refusal::Awaited),
                Lookup::Failed => {}
            }
        }
        let alone = |(local, remote)| (local, remote, first);
        match way.action {
            Action::Elsewhere => match flow {
                Some(flow) => forward.plan_over(request, uri.as_bytes(), flow, plan),
                None => forward.plan(request, &uri, plan),
            }
            .map(alone),
            Action::Gateway(group) => {
                let call = Gateways::call(&self.keys, request.headers.call_id);
                let first =
                    self.gateways.choose(group, call, Tried::default()).ok_or(Refusal::GatewaysDown)?;
                let aimed = routing::aimed(&uri, &self.site, first.address, &mut self.aimed)?;
                let (local, remote) = forward.plan_to(request, aimed, first.address, plan)?;
                if !fork {
                    self.gateways.chosen(group, first.target);
                    return Ok((local, remote, First::default()));
                }
                let (mut tried, mut q) = (Tried::default().with(first.target), FIRST_Q);
                while let Some(next) = self.gateways.choose(group, call, tried) {
                    (tried, q) = (tried.with(next.target), q - 1);
                    let aimed = routing::aimed(&uri, &self.site, next.address, &mut self.aimed)?;
                    if let Some(local) = forward.leaves_from(request, next.address) {
                        let to = (local, next.address);
                        self.core.stage(to, (q, next.target), (aimed, b""), &mut self.counters);
                    }
                }
                let failover = Failover::Gateway(group);
                Ok((local, remote, First { q: FIRST_Q, failover, address: first.target, ..First::default() }))
            }
            Action::Location(domain) => {
                let located = request.headers.to.tag().is_none();
                let (core, counters) = (&mut self.core, &mut self.counters);
                gruu::find(&self.location, &self.keys, (domain, &uri), origin.now, |found| match found {
                    Found::Unknown => Err(Refusal::NotFound),
                    Found::Offline => Err(Refusal::Unavailable),
                    Found::Unreachable => Err(Refusal::Unreachable),
                    Found::Targets(mut targets) => {
                        let first = targets.next().ok_or(Refusal::Unreachable)?;
                        if fork {
                            let equals = targets.clone().take_while(|target| target.q == first.q).count();
                            let active = (1 + equals).min(usize::from(breadth));
                            forward.breadth = fork::targets::share(breadth, active, 0);
                        }
                        let (local, remote) = forward.plan_target(request, &first, plan)?;
                        if fork {
                            for target in targets {
                                // One that nothing leads to is no target (section 16.5).
                                if let Some(to) = forward.way_to(request, &target) {
                                    core.stage(to, (target.q, 0), (target.uri, target.path), counters);
                                }
                            }
                        }
                        Ok((
                            local,
                            remote,
                            First { q: first.q, path: !first.path.is_empty(), located, ..First::default() },
                        ))
                    }
                })
                .unwrap_or(Err(Refusal::NotFound))
            }
        }
    }

    /// The flow to the other party of a dialog, when he is a user of ours whom only his flow reaches. What he wrote into
    /// Contact is the Request-URI now; it leads nowhere from here.
    fn flow_in_dialog(&self, origin: &Origin, request: &Request<'_>, uri: &Uri<'_>) -> Option<BoundFlow> {
        if !request.in_our_dialog() || request.routes.next().is_some() {
            return None;
        }
        let party = request.headers.to.uri().ok()?;
        let domain = self.site.domain(&party.host()?, party.port())?;
        let aor = self.location.aor(domain, User::read(party.user()?)?.as_bytes());
        self.location.flow_to(aor, uri, origin.now)
    }
}
