//! Targets that take the place of one that answered: other flows of a phone whose flow has failed (RFC 5626 section 7),
//! and redirections that are followed here instead of by the caller (RFC 3261 section 16.7 item 4, 8.1.3.4).
//!
//! Called on the way of a 430, and of a 3xx when the configuration says so. Whoever is called chooses where the call goes next, and the
//! caller answers for it; so a contact is followed only where following it can cost nobody anything that he did not
//! ask for: it names a user of ours, and the rules would send the caller himself to where that user is registered.
//! Gateways, other domains and addresses are left to the caller, whose 3xx it is then. It is all or nothing: a 3xx that
//! goes upstream names no target that was tried here.

use strowger_sip::{Contact, Message, Method, Scheme, Uri};

use super::{Element, Origin};
use crate::branch;
use crate::counters::Event;
use crate::gruu;
use crate::location::Found;
use crate::proxy::{self, Destination};
use crate::registrar::User;
use crate::routing::{Action, RouteFacts};
use crate::transaction::Extensible;

impl Element {
    /// Makes the contacts of a 3xx targets of the request that it answers; whether all of them are.
    #[cold]
    pub(super) fn redirect(
        &mut self,
        origin: &Origin,
        at: branch::Slot,
        message: &Message<'_>,
    ) -> Option<Extensible> {
        let request = self.core.extensible(at)?;
        let method = message.cseq().ok()?.method;
        self.core.unstage();
        let followed = message.contacts().all(|contact| {
            // Section 8.1.3.4: by q; one without has the highest.
            let Ok(Contact::Address(contact)) = contact else { return false };
            let Ok(uri) = contact.uri() else { return false };
            self.follow(origin, request, (message, method), &uri, contact.q().unwrap_or(1000))
        });
        if !followed || !self.core.has_staged() {
            self.core.unstage();
            return None;
        }
        self.core.extend(request, &mut self.counters);
        self.counters.count(Event::Redirected);
        Some(request)
    }

    /// 430: the flow that a request was sent over is no more. Another of the same instance takes its place, where there is
    /// one (RFC 5626 section 7).
    #[cold]
    pub(super) fn flow_failed(
        &mut self,
        origin: &Origin,
        at: branch::Slot,
        message: &Message<'_>,
    ) -> Option<Extensible> {
        let request = self.core.extensible(at)?;
        let user = message.to().ok()?.uri().ok()?;
        let Destination::User(domain) = Destination::of(&user, &self.site) else { return None };
        let aor = self.location.aor(domain, User::read(user.user()?)?.as_bytes());
        self.core.unstage();
        let Self { core, counters, location, site, aimed, .. } = self;
        core.target_of(request, aimed)?;
        location.other_flows(aor, aimed.as_bytes(), origin.now, |target| {
            // One after the other: an instance is asked once at a time.
            if !core.has_staged()
                && let Some(to) = proxy::way_to(&target, request.listen, site)
                && core.is_new_way(request, to.1, target.path)
            {
                core.stage(to, (target.q, 0), (target.uri, target.path), counters);
            }
        });
        if !self.core.has_staged() {
            return None;
        }
        self.core.extend(request, &mut self.counters);
        self.counters.count(Event::FlowReplaced);
        Some(request)
    }

    /// Stages the targets of one contact that are new; whether it may be followed at all.
    fn follow(
        &mut self,
        origin: &Origin,
        request: Extensible,
        (message, method): (&Message<'_>, Method<'_>),
        uri: &Uri<'_>,
        q: u16,
    ) -> bool {
        let Destination::User(domain) = Destination::of(uri, &self.site) else { return false };
        // A URI with headers asks for another request than this (section 19.1.1), sips for another transport.
        if uri.scheme() != Scheme::Sip || uri.headers().is_some() || uri.params().contains(b"method") {
            return false;
        }
        let facts = RouteFacts {
            method,
            source: request.reply_to.ip(),
            from: message.from().ok().and_then(|from| from.uri().ok()),
            to: message.to().ok().and_then(|to| to.uri().ok()),
            uri: *uri,
        };
        let decision = self.routing.decide(&facts, &mut self.written);
        if decision.rewritten
            || decision.stateless
            || !matches!(decision.action, Action::Uri | Action::Location)
        {
            return false;
        }
        let Self { core, counters, location, keys, site, .. } = self;
        let found = gruu::find(location, keys, (domain, uri), origin.now, |found| {
            let Found::Targets(targets) = found else { return false };
            for target in targets {
                if core.is_new_target(request, target.uri)
                    && let Some(to) = proxy::way_to(&target, request.listen, site)
                {
                    let q = (u32::from(q) * u32::from(target.q) / 1000) as u16;
                    core.stage(to, (q, 0), (target.uri, target.path), counters);
                }
            }
            true
        });
        found.unwrap_or(false)
    }
}
