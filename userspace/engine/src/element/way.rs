//! Which way a request goes: by its Route or Request-URI, or as the rules of the configuration say.
//!
//! Called on the way of a request once it is known who sends it. Says what is to be found; `targets` finds it.

use strowger_sip::{Method, Uri};

use super::{Element, Origin};
use crate::digest::Identity;
use crate::proxy::Destination;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::routing::{self, Decision, RouteFacts};

/// Which way a request goes, as `routing` says.
pub(super) struct Way {
    pub(super) action: Action,
    /// The Request-URI is the one in [`Element::written`].
    pub(super) rewritten: bool,
    /// Without a transaction.
    pub(super) stateless: bool,
}

/// See [`Way`].
pub(super) enum Action {
    /// To where its user is registered, in the domain with this index.
    Location(u16),
    /// To the gateway group with this index.
    Gateway(u16),
    /// By its own URI or Route.
    Elsewhere,
}

impl Action {
    /// By the Request-URI alone.
    fn of(destination: &Destination) -> Result<Self, Refusal> {
        match destination {
            Destination::Nobody => Err(Refusal::NotFound),
            Destination::Us | Destination::Elsewhere => Ok(Self::Elsewhere),
            Destination::User(domain) => Ok(Self::Location(*domain)),
        }
    }
}

impl Element {
    /// Which way the request goes: one of a dialog of ours by its Routes and Request-URI, one with a Route by that, all
    /// others as the rules say.
    pub(super) fn routing(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        destination: &Destination,
        sender: Option<Identity>,
    ) -> Result<Way, Refusal> {
        let known = self.is_known(origin, sender);
        let routed = request.routes.next().is_some();
        if routed || request.in_our_dialog() {
            let elsewhere = routed || matches!(destination, Destination::Elsewhere);
            if elsewhere && !request.in_our_dialog() && !known {
                return Err(Refusal::Relay);
            }
            return Action::of(destination).map(|action| Way { action, rewritten: false, stateless: false });
        }
        if self.routing.is_empty() {
            let action = Action::of(destination)?;
            // Out of the house go requests of those we know.
            return match action {
                Action::Location(_) => Ok(Way { action, rewritten: false, stateless: false }),
                _ if known => Ok(Way { action, rewritten: false, stateless: false }),
                _ => Err(Refusal::Relay),
            };
        }
        self.ruled(origin, request, destination, known)
    }

    /// As the rules say, of which there are some.
    #[inline(never)]
    fn ruled(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        destination: &Destination,
        known: bool,
    ) -> Result<Way, Refusal> {
        let parties = self.routing.wants_parties();
        let facts = RouteFacts {
            method: match request.method {
                // They follow their INVITE.
                Method::Ack | Method::Cancel => Method::Invite,
                method => method,
            },
            source: origin.remote.ip(),
            from: parties.then(|| request.headers.from.uri().ok()).flatten(),
            to: parties.then(|| request.headers.to.uri().ok()).flatten(),
            uri: request.uri,
        };
        let Decision { action, rewritten, rule, stateless } = self.routing.decide(&facts, &mut self.written);
        let destination = match rewritten {
            true => {
                let uri = Uri::parse(self.written.as_bytes()).map_err(Refusal::Uri)?;
                Destination::of(&uri, &self.site)
            }
            false => *destination,
        };
        let action = match action {
            routing::Action::Reject(rejection) => return Err(Refusal::Rejected(rejection)),
            routing::Action::Gateway(group) => Action::Gateway(group),
            routing::Action::Location if !matches!(destination, Destination::User(_)) => {
                return Err(Refusal::NotFound);
            }
            routing::Action::Location | routing::Action::Uri => Action::of(&destination)?,
        };
        // Out of the house go requests of those we know. Where nobody has to say who he is, the rules alone decide.
        // ACK and CANCEL cannot say it: they do nothing where their INVITE has not been.
        let out = !matches!(action, Action::Location(_));
        let known = known || (rule.is_some() && matches!(request.method, Method::Ack | Method::Cancel));
        if out && !known && (self.config.auth_required || rule.is_none()) {
            return Err(Refusal::Relay);
        }
        Ok(Way { action, rewritten, stateless })
    }

    /// Whether the sender of a request is known to be one whose requests may leave for elsewhere.
    fn is_known(&self, origin: &Origin, sender: Option<Identity>) -> bool {
        sender.is_some() || self.gateways.trusts(origin.remote.ip())
    }
}
