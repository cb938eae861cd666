//! STUN on the SIP port: who is answered (RFC 5626 section 8). What the answer is stands in [`crate::stun`].
//!
//! Called by the engine for a datagram that is STUN, once its source's budget is charged.

use strowger_sip::Buffer;

use super::{Element, Origin};
use crate::counters::Event;
use crate::engine::{Flow, Reason};
use crate::stun::{self, Unanswered};

impl Element {
    /// Answers a Binding request where it lies. The shortest has 20 octets and its answer 32 or 44, so whoever has not
    /// shown who he is gets an answer only as far as he has sent as much, like any other: his first is withheld and its
    /// retransmission answered. A client of RFC 5626 sends STUN over flows that have registered, and waits for nothing.
    #[cold]
    pub(crate) fn stun(&mut self, origin: &Origin, message: &mut Buffer<'_>) -> Result<Flow, Reason> {
        let mut out = [0; stun::LONGEST];
        let response = stun::answer(message.message(), origin.remote, &mut out);
        let response = response.map_err(|why| match why {
            Unanswered::Indication => Reason::KeepAlive,
            _ => Reason::Stun,
        })?;
        let source = origin.remote.ip();
        let known = !self.config.auth_required
            || self.admission.budgets.is_known(source)
            || self.gateways.trusts(source)
            || self.auth.trusts(source);
        if !known {
            self.auth.credit.receive(source, message.message().len());
            if !self.auth.credit.spend(source, response.len()) {
                return Err(Reason::Withheld);
            }
        }
        let local = self.site.listen(origin.listen).ok_or(Reason::Flow)?.address;
        if !message.replace(response) {
            return Err(Reason::NoRoom);
        }
        self.counters.count(Event::StunAnswered);
        Ok(Flow { local, remote: origin.remote })
    }
}
