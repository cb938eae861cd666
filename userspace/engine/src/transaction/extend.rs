//! More targets for a request that is on its way, because of what one of its branches was answered (RFC 3261 section
//! 16.7 item 4).
//!
//! The element asks whether a response may do that ([`Core::extensible`]), stages the targets, and after the response
//! was taken has them replace the branch's answer ([`Core::replaced`]). All of it is rare and off the usual way.

use core::net::SocketAddr;

use super::{Core, client};
use crate::branch;
use crate::config::limit;
use crate::counters::Counters;
use crate::fork::targets;
use crate::text::Text;
use crate::time::Time;

/// What is known of a request that may get more targets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extensible {
    /// The branch that was answered.
    pub(crate) branch: u32,
    /// Index of the listen address it came to.
    pub(crate) listen: u8,
    /// Where its responses go.
    pub(crate) reply_to: SocketAddr,
}

impl Core {
    /// The request of a branch that waits for its final response, when more targets may be added for it: it is for a
    /// user of ours, nothing final was sent upstream, nobody cancelled it.
    #[cold]
    pub(crate) fn extensible(&self, at: branch::Slot) -> Option<Extensible> {
        if at.worker != self.worker || !self.branches.is(at.slot, at.generation) {
            return None;
        }
        let branch = self.branches.get(at.slot).filter(|branch| branch.is_open())?;
        let transaction = self.transactions.get(branch.transaction)?;
        let open = transaction.located && transaction.is_undecided() && !transaction.is_closed();
        open.then_some(Extensible {
            branch: at.slot,
            listen: transaction.listen,
            reply_to: transaction.reply_to,
        })
    }

    /// Whether a URI is no target of this request yet, neither begun nor staged (section 16.5: each once), and there may
    /// be one more.
    #[cold]
    pub(crate) fn is_new_target(&mut self, request: Extensible, uri: &[u8]) -> bool {
        let Self { transactions, branches, arena, staged, scratch, index, .. } = self;
        let Some(context) =
            branches.get(request.branch).and_then(|branch| transactions.get(branch.transaction))
        else {
            return false;
        };
        // The first branch's is in the request itself.
        let Some(sent) = context.request.as_ref().and_then(|kept| arena.read(kept, scratch)) else {
            return false;
        };
        let first = strowger_sip::Message::parse(sent, index).ok();
        let mut count = 0;
        if first.is_none_or(|first| first.request().is_none_or(|line| line.uri == uri)) {
            return false;
        }
        let mut is =
            |kept| arena.read(kept, scratch).and_then(targets::read).is_some_and(|(text, _)| text == uri);
        let mut at = context.first;
        while let Some(branch) = at.checked_sub(1).and_then(|slot| branches.get(slot)) {
            at = branch.next;
            count += 1;
            if branch.target.as_ref().is_some_and(&mut is) {
                return false;
            }
        }
        count + staged.len() < limit::CONTACTS && !staged.iter().any(|staged| is(&staged.target))
    }

    /// Where the request of a branch went; its Request-URI goes into `uri`.
    #[cold]
    pub(crate) fn target_of<const N: usize>(
        &mut self,
        request: Extensible,
        uri: &mut Text<N>,
    ) -> Option<SocketAddr> {
        let Self { transactions, branches, arena, scratch, index, .. } = self;
        let branch = branches.get(request.branch)?;
        uri.clear();
        match &branch.target {
            Some(target) => uri.push(targets::read(arena.read(target, scratch)?)?.0).ok()?,
            None => {
                let sent = arena.read(transactions.get(branch.transaction)?.request.as_ref()?, scratch)?;
                let sent = strowger_sip::Message::parse(sent, index).ok()?;
                uri.push(sent.request()?.uri).ok()?;
            }
        }
        Some(branch.remote)
    }

    /// Whether nobody was asked by this way yet: to this address with this Path.
    #[cold]
    pub(crate) fn is_new_way(&mut self, request: Extensible, remote: SocketAddr, path: &[u8]) -> bool {
        let Self { transactions, branches, arena, scratch, .. } = self;
        let Some(context) =
            branches.get(request.branch).and_then(|branch| transactions.get(branch.transaction))
        else {
            return false;
        };
        let (mut at, mut count) = (context.first, 0);
        while let Some(branch) = at.checked_sub(1).and_then(|slot| branches.get(slot)) {
            at = branch.next;
            count += 1;
            // What Path the first branch had is not looked for: then the address alone decides.
            let same = branch.target.as_ref().is_none_or(|target| {
                arena.read(target, scratch).and_then(targets::read).is_some_and(|(_, other)| other == path)
            });
            if branch.remote == remote && same {
                return false;
            }
        }
        count < limit::CONTACTS
    }

    /// Whether something was staged.
    pub(crate) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// The staged targets become branches of the request, which wait for their turn. Called before the response is taken,
    /// so that it is not the last that was waited for.
    #[cold]
    pub(crate) fn extend(&mut self, request: Extensible, counters: &mut Counters) {
        if let Some(context) = self.branches.get(request.branch).map(|branch| branch.transaction) {
            self.add_staged(context, counters);
        }
    }

    /// The answer of a branch does not count: others took its place. The next of them is begun when it is their turn.
    #[cold]
    pub(crate) fn replaced(&mut self, now: Time, request: Extensible, counters: &mut Counters) {
        let Some(branch) = self.branches.get_mut(request.branch) else { return };
        debug_assert!(matches!(branch.state, client::State::Completed));
        branch.code = 0;
        let context = branch.transaction;
        self.decide(now, context, counters);
    }
}
