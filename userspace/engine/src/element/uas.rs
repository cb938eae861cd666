//! What the element answers itself, as a UAS (RFC 3261 sections 8.2 and 18.2.2): REGISTER and OPTIONS for this server,
//! refusals, and how both go back.
//!
//! Called on the way of a request that ends here, and by the engine for what could not be read or sent on.

use core::net::SocketAddr;
use core::time::Duration;

use strowger_sip::{EditPlan, Essentials, HeaderName, Message, Method};

use super::{Element, Origin, Step};
use crate::answer::{Answer, REPLY_GROWTH};
use crate::counters::Event;
use crate::engine::Reason;
use crate::ping;
use crate::refusal::{Refusal, reply_event};
use crate::registrar::Registrar;
use crate::request::{self, Request};
use crate::sighting::Sighting;
use crate::transaction::{Begin, First, Keep};

/// A request that is answered, and its headers when they could all be read.
pub(crate) type Asked<'m, 'a> = (&'m Message<'a>, Option<&'m Essentials<'a>>);

impl Element {
    /// Keeps the answer to a request with credentials, which are good once: when it comes again it gets the same, and is not
    /// carried out again (section 8.2.7 has no stateless registrars). What comes from somebody who has not shown who he is
    /// takes no memory. `read`: the request's key, and where its responses go; `None` when it could not be read.
    pub(super) fn remember(
        &mut self,
        origin: &Origin,
        step: Step,
        (method, read, code): (Method<'_>, Option<(u128, SocketAddr)>, u16),
        plan: &EditPlan,
    ) -> Step {
        if self.config.stateless || !self.proven {
            return step;
        }
        let Some((key, reply_to)) = read else { return step };
        let begin = Begin {
            key,
            invite: method == Method::Invite,
            listen: origin.listen,
            reply_to,
            local: origin.listen,
            remote: reply_to,
            first: First::default(),
            breadth: 0,
            recorded: false,
        };
        match self.core.answered(origin.now, &begin, (code, plan.edited_len())) {
            Some(slot) => Step { keep: Keep::Last(slot), ..step },
            None => {
                self.counters.count(Event::TransactionLimit);
                step
            }
        }
    }

    /// A request for this server itself: what the 200 says goes into `answer`.
    pub(super) fn serve(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        answer: &mut Answer,
    ) -> Result<(), Refusal> {
        match request.method {
            Method::Register => {
                // The reply keeps less of the request than there is; what is added beside the bindings is small.
                let room = origin.room.saturating_sub(request.message.bytes().len() + REPLY_GROWTH);
                let mut registrar = Registrar {
                    config: &self.config,
                    site: &self.site,
                    keys: &self.keys,
                    location: &self.location,
                    expiry: &mut self.expiry,
                    counters: &mut self.counters,
                };
                registrar.register(request, origin.now, room, &mut answer.lines)?;
                let source = origin.remote.ip();
                self.admission.budgets.vouch(source);
                if self.proven {
                    let longest = Duration::from_secs(self.config.registrar.max_expires.into());
                    self.seen(Sighting::Registered { source, until: origin.now.after(longest) });
                }
                if let Some(clock) = &self.clock {
                    answer.offer(&[b"Date: ", &clock.date(origin.now)]);
                }
            }
            Method::Options => {
                if request.message.has(HeaderName::Require) {
                    return Err(Refusal::Extension(HeaderName::Require));
                }
                for line in ping::LINES {
                    answer.offer(&[line.as_bytes()]);
                }
            }
            Method::Other(_) => return Err(Refusal::UnknownMethod),
            _ => return Err(Refusal::Method),
        }
        if !self.config.server.is_empty() {
            answer.offer(&[b"Server: ", self.config.server.as_bytes()]);
        }
        Ok(())
    }

    /// Plans the reply that says why not.
    pub(crate) fn refuse(
        &mut self,
        origin: &Origin,
        (message, headers): Asked<'_, '_>,
        refusal: &Refusal,
        plan: &mut EditPlan,
        answer: &mut Answer,
    ) -> Result<Step, Reason> {
        if let Some(event) = refusal.event() {
            self.counters.count(event);
        }
        let mut refusal = *refusal;
        if message.method() == Some(Method::Cancel) {
            refusal = self.refuse_cancel(origin, refusal)?;
        }
        answer.clear();
        answer.refuse(&refusal, message);
        let method = message.method().ok_or(Reason::Unanswerable)?;
        if let Refusal::Challenge { role, stale } = refusal {
            self.auth.challenge(origin.now, origin.remote, (role, stale), &mut answer.challenges);
        }
        if !self.config.auth_required || self.proven || method == Method::Cancel {
            return self.reply(origin, (message, headers), method, refusal.code(), plan, answer);
        }
        // Whoever it is has not shown who he is, and may not be where he says: he gets no more than he has sent. Where
        // somebody has registered he gets the shortest refusal at least, since phones behind one address ask all the time.
        let source = origin.remote.ip();
        answer.room = self.auth.credit.receive(source, message.datagram().len());
        let step = self.reply(origin, (message, headers), method, refusal.code(), plan, answer)?;
        if !self.auth.credit.spend(source, plan.edited_len()) {
            if !self.admission.budgets.is_known(source) {
                return Err(Reason::Withheld);
            }
            // As far as it is paid for.
            self.auth.credit.clear(source);
        }
        Ok(step)
    }

    /// What a CANCEL hears that cannot be sent on. Section 9.2 has it told that there is nothing to cancel. But nothing
    /// is kept of anybody before he has shown who he is, and for him this is the stateless server of section 8.2.7, which
    /// MUST ignore it: a CANCEL cannot be challenged (section 22.1), so any answer would go to whatever address is forged.
    #[cold]
    fn refuse_cancel(&self, origin: &Origin, refusal: Refusal) -> Result<Refusal, Reason> {
        let source = origin.remote.ip();
        match !self.config.auth_required || self.gateways.trusts(source) || self.auth.trusts(source) {
            true => Ok(refusal.of_cancel()),
            false => Err(Reason::Cancel),
        }
    }

    /// Plans the reply to the request: to the address it came from (RFC 3261 section 18.2.2, RFC 3581).
    pub(super) fn reply(
        &self,
        origin: &Origin,
        message: Asked<'_, '_>,
        method: Method<'_>,
        code: u16,
        plan: &mut EditPlan,
        answer: &Answer,
    ) -> Result<Step, Reason> {
        if method == Method::Ack {
            return Err(Reason::Ack);
        }
        self.answer(origin, message, code, plan, answer)
    }

    /// As [`reply`](Self::reply), whatever the method.
    pub(super) fn answer(
        &self,
        origin: &Origin,
        (message, headers): Asked<'_, '_>,
        code: u16,
        plan: &mut EditPlan,
        answer: &Answer,
    ) -> Result<Step, Reason> {
        let read;
        let via = match headers {
            Some(headers) => &headers.via,
            None => {
                read = message.top_via().map_err(|_| Reason::Unanswerable)?;
                &read
            }
        };
        let asked = (message, headers);
        answer.plan(asked, via, origin.remote, code, &self.keys, plan).map_err(|_| Reason::NoRoom)?;
        self.admission.feedback(via, plan).map_err(|_| Reason::NoRoom)?;
        let remote = request::reply_to(via, origin.remote);
        let events = [Some(reply_event(code)), None];
        Ok(Step { local: origin.listen, remote, request: false, send: true, keep: Keep::Nothing, events })
    }
}
