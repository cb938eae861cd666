//! The way of a response through the element (RFC 3261 sections 16.7 and 16.11).
//!
//! Called by the engine for each response that could be read: its branch is verified, its transaction says what becomes
//! of it, and those who watch dialogs are told of what goes on.

use strowger_sip::{EditPlan, Message, Method};

use super::{Element, Origin, Step};
use crate::branch;
use crate::counters::Event;
use crate::dialog::{Dialogs, Scene, Source};
use crate::engine::Reason;
use crate::gateway::Prober;
use crate::response::{self, Headers};
use crate::time::Time;
use crate::transaction::{Keep, Outcome};

impl Element {
    /// `Ok(None)`: a transaction took it, and nothing of it goes on.
    pub(crate) fn response(
        &mut self,
        origin: &Origin,
        message: &Message<'_>,
        plan: &mut EditPlan,
    ) -> Result<Option<Step>, Reason> {
        let code = message.status().map_or(0, |line| line.code);
        self.counters.count(match code / 100 {
            1 => Event::Response1xx,
            2 => Event::Response2xx,
            3 => Event::Response3xx,
            4 => Event::Response4xx,
            5 => Event::Response5xx,
            _ => Event::Response6xx,
        });
        // What is read is looked at where it lies, as in the engine.
        let vias = response::Vias::read(message);
        let Some(Ok(top)) = &vias.top else { return Err(Reason::ResponseMalformed) };
        if top.branch().is_some_and(Prober::is_probe) {
            return match self.prober.response(message, &self.gateways) {
                true => Ok(None),
                false => Err(Reason::ResponseForged),
            };
        }
        if top.branch().is_some_and(Dialogs::is_bye) {
            let Self { dialogs, site, keys, counters, .. } = self;
            return match dialogs.bye_response(&mut Scene { now: origin.now, site, keys, counters }, message) {
                true => Ok(None),
                false => Err(Reason::ResponseForged),
            };
        }
        let branch = response::branch(top, &self.site)?;
        let headers = Headers::read(message);
        let headers = match &headers {
            Ok(headers) => headers,
            Err(reason) => return Err(*reason),
        };
        let (branch, next) = response::verify(branch, headers, &vias, &self.keys, &self.core)?;
        let outcome = match branch.origin {
            branch::Origin::Stateless { listen, .. } => Outcome::Forward(listen, next, Keep::Nothing),
            branch::Origin::Transaction(slot) if self.core.speaks_for(origin.now, slot) => {
                self.counters.count(Event::ResponseInherited);
                let listen = self.site.listen_for(next, origin.listen).ok_or(Reason::Flow)?;
                Outcome::Forward(listen, next, Keep::Nothing)
            }
            branch::Origin::Transaction(slot) => {
                let redirected = match code {
                    300..400 if self.config.follow_redirects => self.redirect(origin, slot, message),
                    430 => self.flow_failed(origin, slot, message),
                    _ => None,
                };
                let outcome = self.core.response(origin.now, slot, headers, &mut self.counters)?;
                if let Some(request) = redirected {
                    self.core.replaced(origin.now, request, &mut self.counters);
                    return Ok(None);
                }
                outcome
            }
        };
        self.tell_gateways();
        let (local, remote, keep, send) = match outcome {
            Outcome::Forward(local, remote, keep) => (local, remote, keep, true),
            Outcome::Keep(keep) => (origin.listen, next, keep, false),
            Outcome::Absorbed => return Ok(None),
        };
        // The configuration may have changed under a secret that stayed.
        self.site.listen(local).ok_or(Reason::ResponseForged)?;
        if send {
            self.answered(origin, message, headers);
        }
        response::edit(message, headers, top, &self.site, &self.keys, plan)?;
        if let Some(Ok(via)) = &vias.next {
            self.admission.feedback(via, plan).map_err(|_| Reason::NoRoom)?;
        }
        let answers = code / 100 == 2 && headers.cseq.method == Method::Invite;
        let events = [Some(Event::ResponseForwarded), answers.then_some(Event::CallAnswered)];
        Ok(Some(Step { local, remote, request: false, send, keep, events }))
    }

    /// Tells those who watch dialogs of a response that is sent on.
    fn answered(&mut self, origin: &Origin, message: &Message<'_>, headers: &Headers<'_>) {
        let Self { dialogs, site, keys, counters, .. } = self;
        let source = Source { listen: origin.listen, remote: origin.remote };
        dialogs.response(
            &mut Scene { now: origin.now, site, keys, counters },
            message,
            headers,
            Some(source),
        );
    }

    /// Tells those who watch dialogs of a final response that was chosen or made here, and leaves now.
    pub(crate) fn concluded(&mut self, now: Time, message: &Message<'_>) {
        let Ok(headers) = Headers::read(message) else { return };
        let Self { dialogs, site, keys, counters, .. } = self;
        dialogs.response(&mut Scene { now, site, keys, counters }, message, &headers, None);
    }
}
