//! The way of a request through the element, one step after the other (RFC 3261 sections 16.3 to 16.6, and 8.2).
//!
//! Called by the engine for each request that could be read. Each step is a function here or beside: whether a
//! transaction knows it, `admission`, the digest, `way`, `targets`, then those who watch are told. What is answered here
//! is in `uas`.

use core::net::SocketAddr;

use strowger_sip::{EditPlan, HeaderName, Message, Method, Reply};

use super::way::Action;
use super::{Element, Origin, Step};
use crate::answer::Answer;
use crate::branch;
use crate::config::limit;
use crate::counters::Event;
use crate::dialog::{Scene, Source};
use crate::engine::Reason;
use crate::proxy::{self, Destination};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::transaction::{Begin, Keep, Known};

/// How a request was carried out.
enum Done {
    /// The plan makes it the forwarded request, which leaves from the listen address with this index, and is kept. The
    /// event is counted when it is sent.
    Forwarded(u8, SocketAddr, Keep, Option<Event>),
    /// The answer says what the 200 contains.
    Served,
}

/// Octets that forwarding adds to a request at most, but for a target much longer than the Request-URI: Via,
/// Record-Route, marks of the Via before. Only a guess whether it can be kept; when it then cannot, it is sent all the
/// same, and not repeated.
const FORWARD_GROWTH: usize = 512;

impl Element {
    /// `Ok(None)`: a transaction took it, and nothing of it goes on.
    pub(crate) fn request(
        &mut self,
        origin: &Origin,
        message: Message<'_>,
        method: Method<'_>,
        plan: &mut EditPlan,
        answer: &mut Answer,
    ) -> Result<Option<Step>, Reason> {
        self.counters.count(match method {
            Method::Invite => Event::RequestInvite,
            Method::Ack => Event::RequestAck,
            Method::Cancel => Event::RequestCancel,
            Method::Bye => Event::RequestBye,
            Method::Register => Event::RequestRegister,
            Method::Options => Event::RequestOptions,
            _ => Event::RequestOther,
        });
        answer.clear();
        self.proven = false;
        let mut read = None;
        let arrival = (origin.listen, origin.remote);
        // Looked at where it lies: a request is large to move.
        let headers = message.essentials();
        let mut request = match &headers {
            Ok(headers) => Request::read(message, method, headers, (&self.site, &self.keys), arrival),
            Err(error) => Err(Refusal::Header(*error)),
        };
        let done = match &mut request {
            Ok(request) => {
                let key = request.key(&self.keys);
                match self.retransmission(origin, key, method) {
                    Some(Known::Absorbed) => return Ok(None),
                    Some(Known::Cancelled) => {
                        self.begun(origin, request, None);
                        return self
                            .answer(origin, (&message, headers.as_ref().ok()), 200, plan, answer)
                            .map(Some);
                    }
                    Some(Known::Acknowledged) => {}
                    // What is proven to be of a dialog is for its other end: our own replies make none.
                    None if !request.in_our_dialog() && request.acknowledges_us(&self.keys) => {
                        return Err(Reason::Ack);
                    }
                    None => {}
                }
                // Not where its token is for: perhaps the other end has moved since.
                if request.token == Some(false) && self.dialogs.permits(&self.keys, request) {
                    request.token = Some(true);
                    self.counters.count(Event::DialogMoved);
                }
                read = Some((key, request.reply_to));
                self.admission(origin, request)
                    .and_then(|()| self.carry_out(origin, request, key, plan, answer))
            }
            Err(refusal) => Err(*refusal),
        };
        match done {
            Ok(Done::Forwarded(local, remote, keep, event)) => {
                let events = [Some(Event::RequestForwarded), event];
                Ok(Step { local, remote, request: true, send: true, keep, events })
            }
            Ok(Done::Served) => {
                let step =
                    self.reply(origin, (&message, headers.as_ref().ok()), method, 200, plan, answer)?;
                Ok(self.remember(origin, step, (method, read, 200), plan))
            }
            Err(Refusal::Awaited) => return Err(Reason::Awaited),
            Err(refusal) => {
                let step = self.refuse(origin, (&message, headers.as_ref().ok()), &refusal, plan, answer)?;
                Ok(self.remember(origin, step, (method, read, refusal.code()), plan))
            }
        }
        .map(Some)
    }

    /// What is left to do with a request that a transaction knows; `None` when none does.
    fn retransmission(&mut self, origin: &Origin, key: u128, method: Method<'_>) -> Option<Known> {
        let transaction = self.core.find(key)?;
        Some(self.core.again(origin.now, transaction, method, &mut self.counters))
    }

    /// RFC 3261 sections 16.3 to 16.6; for what ends here, sections 8.2 and 10.3.
    fn carry_out(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        key: u128,
        plan: &mut EditPlan,
        answer: &mut Answer,
    ) -> Result<Done, Refusal> {
        if request.token == Some(false) {
            self.counters.count(Event::TokenInvalid);
        }
        let destination = Destination::of(&request.uri, &self.site);
        let routed = request.routes.next().is_some();
        let ours = match destination {
            Destination::Us => true,
            Destination::User(_) => request.method == Method::Register,
            Destination::Nobody | Destination::Elsewhere => false,
        };
        // Section 16.3 item 3: we may answer an OPTIONS that may go no further.
        let last_hop = request.method == Method::Options && request.headers.max_forwards == Some(0);
        let for_us = (ours && !routed) || last_hop;
        let looped = proxy::validate(request, for_us, &self.site, &self.keys)?;
        let sender = self.digest(origin, request, for_us)?;
        if for_us {
            return self.serve(origin, request, answer).map(|()| Done::Served);
        }
        let way = self.routing(origin, request, &destination, sender)?;
        if !self.dialogs.admits(&self.keys, request) {
            return Err(Refusal::DialogsFull(limit::RETRY_AFTER));
        }
        let place = self.place(request, way.stateless)?;
        let leads_to = match place {
            Some(slot) => branch::Origin::Transaction(slot),
            None => branch::Origin::Stateless { listen: request.listen, unique: key as u64 },
        };
        let breadth = proxy::max_breadth(&request.message);
        if breadth == 0 {
            return Err(Refusal::Breadth);
        }
        self.core.unstage();
        let (local, remote, first) =
            self.targets(origin, request, &way, (looped, leads_to), breadth, plan)?;
        self.consume_credentials(request, plan)?;
        let keep = match place {
            Some(_) => {
                let begin = Begin {
                    key,
                    invite: request.method == Method::Invite,
                    listen: request.listen,
                    reply_to: request.reply_to,
                    local,
                    remote,
                    first,
                    breadth,
                    recorded: self.config.record_route && proxy::makes_dialog(request.method),
                };
                self.begin(origin, request, &begin)
            }
            None => Keep::Nothing,
        };
        let gateway = match way.action {
            Action::Gateway(group) => Some(group),
            Action::Location(_) | Action::Elsewhere => None,
        };
        self.begun(origin, request, gateway);
        let event = match request.method {
            Method::Invite if request.headers.to.tag().is_none() => Some(Event::CallBegun),
            Method::Bye => Some(Event::CallEnded),
            _ => None,
        };
        Ok(Done::Forwarded(local, remote, keep, event))
    }

    /// The place for a transaction of this request. `None`: it goes without, because its method has none (section 16.11
    /// for CANCEL, 17 for ACK), because a rule or the configuration says so, or because the tables are full and it belongs to a
    /// dialog of ours.
    fn place(&mut self, request: &Request<'_>, stateless: bool) -> Result<Option<branch::Slot>, Refusal> {
        if stateless || self.config.stateless || matches!(request.method, Method::Ack | Method::Cancel) {
            return Ok(None);
        }
        let place = self.core.vacant();
        match place.filter(|_| self.core.has_room(request.message.bytes().len() + FORWARD_GROWTH)) {
            Some(slot) => Ok(Some(slot)),
            None if request.in_our_dialog() => {
                self.counters.count(Event::TransactionLimit);
                Ok(None)
            }
            None => Err(Refusal::TransactionsFull(limit::RETRY_AFTER)),
        }
    }

    /// Begins the transaction of a request that is about to be sent on; to an INVITE, a 100 is sent at once.
    fn begin(&mut self, origin: &Origin, request: &Request<'_>, begin: &Begin) -> Keep {
        let Some(transaction) = self.core.begin(origin.now, begin, &mut self.counters) else {
            return Keep::Nothing;
        };
        if begin.invite {
            let message = &request.message;
            let (received, rport) = request.via_marks();
            let trying = |plan: &mut EditPlan| {
                let reply = Reply { code: 100, received, rport, ..Reply::default() };
                plan.reply_read(message, request.headers, &reply)
            };
            self.core.trying(transaction, message, trying, &mut self.counters);
        }
        Keep::Request(transaction)
    }

    /// Plans that credentials for our realm go no further than here.
    fn consume_credentials(&self, request: &Request<'_>, plan: &mut EditPlan) -> Result<(), Refusal> {
        if self.config.auth_required {
            for line in request.message.headers(HeaderName::ProxyAuthorization) {
                if self.auth.is_ours(line.value) {
                    plan.delete(line.line_range).map_err(|_| Refusal::TooLarge)?;
                }
            }
        }
        Ok(())
    }

    /// Tells those who watch dialogs of a request that is sent on.
    fn begun(&mut self, origin: &Origin, request: &Request<'_>, gateway: Option<u16>) {
        let Self { dialogs, site, keys, counters, .. } = self;
        let source = Source { listen: origin.listen, remote: origin.remote };
        dialogs.request(&mut Scene { now: origin.now, site, keys, counters }, request, source, gateway);
    }
}
