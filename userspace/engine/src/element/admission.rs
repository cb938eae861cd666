//! Who may: whether there is room for a request, and who sends it.
//!
//! Called on the way of a request before anything is done for it. Decides with `crate::admission` and `crate::digest`,
//! and writes nothing into the message.

use strowger_sip::Method;

use super::{Element, Origin};
use crate::admission;
use crate::config::limit;
use crate::digest::{Identity, Role};
use crate::engine::{Level, Occupancy};
use crate::location::Found;
use crate::refusal::Refusal;
use crate::registrar::User;
use crate::request::Request;
use crate::sighting::Sighting;
use crate::time::Time;

impl Element {
    /// Whether the source may send one more message. A gateway carries the calls of many: it has no budget.
    pub(crate) fn budget(&mut self, origin: &Origin) -> bool {
        let source = origin.remote.ip();
        self.admission.budgets.take(origin.now, source) || self.gateways.trusts(source)
    }

    /// The fullest table that requests need, in percent.
    fn fullest(&self) -> u8 {
        let Occupancy { transactions, branches, kept, outbox, .. } = self.occupancy();
        let percent = |level: Level| (level.used * 100).checked_div(level.limit).unwrap_or(0).min(100) as u8;
        [transactions, branches, kept, outbox].map(percent).into_iter().max().unwrap_or(0)
    }

    /// See [`Engine::is_ready`](crate::Engine::is_ready).
    pub(crate) fn is_ready(&mut self, now: Time) -> bool {
        !self.draining && self.admission.load(now, self.fullest()) <= admission::FIRST
    }

    /// Whether there is room for this request, now and for this source.
    pub(super) fn admission(&mut self, origin: &Origin, request: &Request<'_>) -> Result<(), Refusal> {
        let goes_on = request.in_our_dialog() || matches!(request.method, Method::Ack | Method::Cancel);
        if self.draining && !goes_on {
            return Err(Refusal::Draining(limit::RETRY_AFTER));
        }
        let load = self.admission.load(origin.now, self.fullest());
        if request.in_our_dialog() {
            self.admission.budgets.vouch(origin.remote.ip());
        }
        if goes_on {
            return Ok(());
        }
        if load <= admission::FIRST {
            return Ok(());
        }
        let source = origin.remote.ip();
        let class =
            self.admission.class(source, self.gateways.trusts(source), self.refreshes(origin, request));
        self.admission.judge(class, load, request.headers.call_id).map_err(Refusal::Overload)
    }

    /// Whether this is a REGISTER of a user who has a binding.
    fn refreshes(&self, origin: &Origin, request: &Request<'_>) -> bool {
        let user = || {
            let uri = request.headers.to.uri().ok()?;
            let domain = self.site.domain(&uri.host()?, uri.port())?;
            let user = User::read(uri.user()?)?;
            let aor = self.location.aor(domain, user.as_bytes());
            Some(self.location.find(aor, origin.now, |found| matches!(found, Found::Targets(_))))
        };
        request.method == Method::Register && user().unwrap_or(false)
    }

    /// Who sends this request; `None` where that is not asked. ACK and CANCEL cannot be challenged (RFC 3261 section
    /// 22.1), and who is in a dialog of ours has been before.
    pub(super) fn digest(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        for_us: bool,
    ) -> Result<Option<Identity>, Refusal> {
        if !self.config.auth_required
            || matches!(request.method, Method::Ack | Method::Cancel)
            || (!for_us && request.in_our_dialog())
        {
            return Ok(None);
        }
        if self.gateways.trusts(origin.remote.ip()) {
            return Ok(Some(Identity::TrustedPeer));
        }
        let role = if for_us { Role::Server } else { Role::Proxy };
        let checked = self.auth.check(origin.now, request, role, &self.site, &mut self.counters);
        if self.auth.guessed() {
            self.seen(Sighting::Guessed { source: origin.remote.ip() });
        }
        // Who may not is known all the same, and his credentials are used.
        self.proven = matches!(checked, Ok(Identity::User) | Err(Refusal::Forbidden));
        let identity = checked?;
        self.admission.budgets.vouch(origin.remote.ip());
        Ok(Some(identity))
    }
}
