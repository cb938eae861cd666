//! The client transaction of one branch: INVITE by RFC 3261 section 17.1.1 with RFC 6026, any other by section 17.1.2.
//! With it the CANCEL for it, which is a client transaction of its own with the same branch (section 9.1).

use core::net::SocketAddr;
use core::time::Duration;

use strowger_sip::Method;

use super::failover::{Failover, Fate, prolonged};
use super::{Core, Keep, NEVER, Outcome};
use crate::arena::Kept;
use crate::branch::Slot;
use crate::config::Timers;
use crate::counters::{Counters, Event};
use crate::engine::Reason;
use crate::outbox::Kind;
use crate::response::Headers;
use crate::time::Time;

/// States of figures 5 and 6 of RFC 3261, figure 4 of RFC 6026.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its request was not sent yet: others are tried first.
    Waiting,
    /// Nothing was answered. For a request other than INVITE the RFC calls it Trying.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A final response came; to an INVITE, one that is no 2xx.
    Completed,
    /// INVITE: a 2xx came (RFC 6026).
    Accepted,
    /// Over without a response: what is left is its code, for the choice.
    Ended,
}

/// The CANCEL of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    No,
    /// To be sent when a provisional response has come.
    Wanted,
    Sent,
    /// A final response to it came.
    Answered,
}

/// One client transaction.
pub(crate) struct Branch {
    /// Where its request goes.
    pub(super) remote: SocketAddr,
    /// Request-URI and Routes, when they are not those of the kept request.
    pub(super) target: Option<Kept>,
    /// Its final response, ready to be sent upstream, while others are waited for.
    pub(super) response: Option<Kept>,
    /// To of its final response, for the ACK.
    pub(super) to: Option<Kept>,
    /// Timer A or E.
    repeat_at: Time,
    repeat: Duration,
    /// Timer B, C, D, F, K or M.
    end_at: Time,
    /// Timer E of the CANCEL.
    cancel_at: Time,
    cancel_repeat: Duration,
    pub(super) transaction: u32,
    /// The next branch of the same transaction, plus one.
    pub(super) next: u32,
    /// Status code of the final response; 408 or 487 without one.
    pub(super) code: u16,
    /// Index of the listen address it leaves from.
    pub(super) local: u8,
    pub(super) state: State,
    cancel: Cancel,
    /// Preference of its target, in thousandths.
    pub(super) q: u16,
    /// Index of its target in the gateway group.
    pub(super) address: u8,
    /// It is given up so early because there is another address for its target.
    hurried: Option<Duration>,
    /// Timer A or E has fired.
    repeated: bool,
    /// Its part of Max-Breadth.
    pub(super) breadth: u8,
}

const _: () = assert!(size_of::<Branch>() <= 256);

impl Branch {
    /// One that waits for its turn; the first of its transaction with `target` none.
    pub(super) fn new(
        transaction: u32,
        (local, remote): (u8, SocketAddr),
        (q, address): (u16, u8),
        target: Option<Kept>,
    ) -> Self {
        Self {
            remote,
            target,
            response: None,
            to: None,
            repeat_at: NEVER,
            repeat: Duration::ZERO,
            end_at: NEVER,
            cancel_at: NEVER,
            cancel_repeat: Duration::ZERO,
            transaction,
            next: 0,
            code: 0,
            local,
            state: State::Waiting,
            cancel: Cancel::No,
            q,
            address,
            hurried: None,
            repeated: false,
            breadth: 0,
        }
    }

    /// Its request is sent now: timers A and B, or E and F.
    pub(super) fn start(&mut self, now: Time, breadth: u8, timers: &Timers) {
        self.state = State::Calling;
        self.repeat = timers.t1;
        self.repeat_at = now.after(timers.t1);
        self.end_at = now.after(timers.give_up());
        self.breadth = breadth;
    }

    /// It has only so long to say anything.
    pub(super) fn hurry(&mut self, now: Time, patience: Option<Duration>) {
        self.hurried = patience;
        if let Some(patience) = patience {
            self.end_at = now.after(patience);
        }
    }

    /// Whether its request was sent before: the first branch's in the frame it came in, another's when it began.
    pub(super) fn is_sent(&self) -> bool {
        self.target.is_none() || self.repeated
    }

    /// When its timer has to fire.
    pub(super) fn deadline(&self, invite: bool) -> Time {
        let repeats = match self.state {
            State::Calling => true,
            State::Proceeding => !invite,
            State::Waiting | State::Completed | State::Accepted | State::Ended => false,
        };
        let repeat = if repeats { self.repeat_at } else { NEVER };
        repeat.min(self.end_at).min(self.cancel_at)
    }

    /// Whether a message may yet be made from the kept request.
    pub(super) fn needs_request(&self, invite: bool) -> bool {
        match self.state {
            State::Waiting | State::Calling | State::Proceeding => true,
            // The ACK, when the response comes again.
            State::Completed => invite,
            State::Accepted | State::Ended => false,
        }
    }

    /// Whether it waits for a final response, and was not cancelled.
    pub(super) fn is_open(&self) -> bool {
        self.is_pending() && self.cancel == Cancel::No
    }

    /// Whether it waits for a final response.
    fn is_pending(&self) -> bool {
        matches!(self.state, State::Calling | State::Proceeding)
    }
}

impl Core {
    /// A response with a branch of ours that was verified.
    pub(crate) fn response(
        &mut self,
        now: Time,
        at: Slot,
        headers: &Headers<'_>,
        counters: &mut Counters,
    ) -> Result<Outcome, Reason> {
        if at.worker != self.worker || !self.branches.is(at.slot, at.generation) {
            // RFC 6026 section 7.3 and RFC 4320 section 4.2: it is not forwarded.
            return Err(Reason::ResponseStray);
        }
        let (code, method) = (headers.code, headers.cseq.method);
        let branch = self.branches.get_mut(at.slot).ok_or(Reason::ResponseStray)?;
        let transaction = self.transactions.get(branch.transaction).ok_or(Reason::ResponseStray)?;
        let invite = transaction.invite;
        if method == Method::Cancel && invite {
            if code >= 200 && branch.cancel == Cancel::Sent {
                branch.cancel = Cancel::Answered;
                branch.cancel_at = NEVER;
            }
            counters.count(Event::ResponseAbsorbed);
            return Ok(Outcome::Absorbed);
        }
        // Section 17.1.3: the method of CSeq is that of the request.
        if (method == Method::Invite) != invite {
            return Err(Reason::ResponseForged);
        }
        let outcome = match (code / 100, invite) {
            (1, true) => self.provisional(now, at.slot, code, counters),
            (1, false) => {
                // RFC 4320 section 4.1: none goes upstream.
                if branch.is_pending() {
                    branch.state = State::Proceeding;
                    branch.repeat = self.timers.t2;
                    if let Some(patience) = branch.hurried.take() {
                        branch.end_at = prolonged(branch.end_at, patience, &self.timers);
                    }
                }
                Outcome::Absorbed
            }
            (_, true) => self.invite_final(now, at.slot, headers, counters),
            (_, false) => self.other_final(now, at.slot, code, counters),
        };
        if outcome == Outcome::Absorbed {
            counters.count(Event::ResponseAbsorbed);
        }
        Ok(outcome)
    }

    /// A provisional response to INVITE.
    fn provisional(&mut self, now: Time, slot: u32, code: u16, counters: &mut Counters) -> Outcome {
        let ring = now.after(self.timers.c);
        let Some(branch) = self.branches.get_mut(slot) else { return Outcome::Absorbed };
        match branch.state {
            State::Calling => {
                branch.state = State::Proceeding;
                // Timer C; section 16.6 item 11 has it run from the start, which is less than T1 * 64 ago.
                branch.end_at = ring;
                if branch.cancel == Cancel::Wanted {
                    self.send_cancel(now, slot, counters);
                }
            }
            // Section 16.7 item 2.
            State::Proceeding if code > 100 && branch.cancel == Cancel::No => branch.end_at = ring,
            State::Proceeding => {}
            State::Waiting | State::Completed | State::Accepted | State::Ended => return Outcome::Absorbed,
        }
        let context = self.branches.get(slot).map(|b| b.transaction);
        match context.and_then(|slot| Some((slot, self.transactions.get(slot)?))) {
            Some((slot, context)) if code > 100 && context.is_undecided() => {
                Outcome::Forward(context.listen, context.reply_to, Keep::Last(slot))
            }
            _ => Outcome::Absorbed,
        }
    }

    /// A final response to INVITE.
    fn invite_final(
        &mut self,
        now: Time,
        slot: u32,
        headers: &Headers<'_>,
        counters: &mut Counters,
    ) -> Outcome {
        let code = headers.code;
        let (m, d) = (now.after(self.timers.give_up()), now.after(self.timers.d()));
        let Some(branch) = self.branches.get_mut(slot) else { return Outcome::Absorbed };
        let was_pending = branch.is_pending();
        match branch.state {
            State::Calling | State::Proceeding | State::Ended if code < 300 => {
                branch.state = State::Accepted;
                branch.end_at = m;
            }
            // A 2xx again, or that of another fork farther on.
            State::Accepted if code < 300 => {}
            State::Calling | State::Proceeding => {
                branch.state = State::Completed;
                branch.end_at = d;
                branch.to = headers.to.and_then(|to| self.arena.keep(to.as_bytes()));
                self.push(Kind::Ack, slot, counters);
            }
            State::Completed if code >= 300 => {
                self.push(Kind::Ack, slot, counters);
                return Outcome::Absorbed;
            }
            State::Waiting | State::Completed | State::Accepted | State::Ended => return Outcome::Absorbed,
        }
        self.ended(slot, code, was_pending);
        self.settle(now, slot, code, counters)
    }

    /// A final response to a request other than INVITE.
    fn other_final(&mut self, now: Time, slot: u32, code: u16, counters: &mut Counters) -> Outcome {
        let k = now.after(self.timers.t4);
        let Some(branch) = self.branches.get_mut(slot).filter(|branch| branch.is_pending()) else {
            return Outcome::Absorbed;
        };
        branch.state = State::Completed;
        branch.end_at = k;
        self.ended(slot, code, true);
        self.settle(now, slot, code, counters)
    }

    /// A branch waits no longer.
    fn ended(&mut self, slot: u32, code: u16, was_pending: bool) {
        let timer = self.branch_timer_number(slot);
        let Some(branch) = self.branches.get_mut(slot) else { return };
        branch.code = code;
        branch.cancel_at = NEVER;
        self.wheel.arm(timer, branch.end_at);
        if was_pending && let Some(transaction) = self.transactions.get_mut(branch.transaction) {
            transaction.live -= 1;
        }
    }

    pub(super) fn branch_timer(&mut self, now: Time, slot: u32, counters: &mut Counters) {
        let timer = self.branch_timer_number(slot);
        let t2 = self.timers.t2;
        let Some(branch) = self.branches.get_mut(slot) else { return };
        let context = self.transactions.get(branch.transaction);
        let Some((invite, undecided)) = context.map(|t| (t.invite, t.is_undecided())) else { return };
        if branch.end_at <= now {
            match branch.state {
                // Timers D and K end the client transaction, not what it was answered: that waits for the choice.
                State::Completed if undecided => {
                    (branch.state, branch.end_at) = (State::Ended, NEVER);
                    return;
                }
                State::Proceeding if invite && branch.cancel == Cancel::No => {
                    // Section 16.8: timer C.
                    counters.count(Event::BranchRangOut);
                    self.send_cancel(now, slot, counters);
                    return;
                }
                State::Calling | State::Proceeding => return self.branch_timeout(now, slot, counters),
                State::Waiting | State::Completed | State::Accepted | State::Ended => {
                    return self.remove_branch(slot);
                }
            }
        }
        let mut repeat = None;
        if branch.is_pending() && branch.repeat_at <= now && (branch.state == State::Calling || !invite) {
            // Section 17.1.1.2: timer A has no bound but timer B; section 17.1.2.2: timer E has T2.
            branch.repeated = true;
            branch.repeat *= 2;
            if !invite {
                branch.repeat = branch.repeat.min(t2);
            }
            branch.repeat_at = now.after(branch.repeat);
            repeat = Some(Kind::Request);
        }
        let mut cancel = None;
        if branch.cancel_at <= now {
            branch.cancel_repeat = (branch.cancel_repeat * 2).min(t2);
            branch.cancel_at = now.after(branch.cancel_repeat);
            cancel = Some(Kind::Cancel);
        }
        let due = branch.deadline(invite);
        self.wheel.arm(timer, due);
        for kind in [repeat, cancel].into_iter().flatten() {
            self.push(kind, slot, counters);
        }
    }

    /// Timer B or F, or 64 * T1 after a CANCEL that nothing came of (section 9.1).
    fn branch_timeout(&mut self, now: Time, slot: u32, counters: &mut Counters) {
        counters.count(Event::BranchTimeout);
        self.report(slot, Fate::TimedOut);
        let Some(context) = self.branches.get(slot).map(|branch| branch.transaction) else { return };
        let fails_over = self.transactions.get(context).is_some_and(|t| t.failover != Failover::None)
            && self.has_waiting(context);
        let Some(branch) = self.branches.get_mut(slot) else { return };
        let code = match branch.cancel {
            // While others are left, what is known of this address is that it does not serve (section 16.9).
            Cancel::No if fails_over => 503,
            Cancel::No => 408,
            _ => 487,
        };
        (branch.state, branch.end_at, branch.code, branch.cancel_at) = (State::Ended, NEVER, code, NEVER);
        let Some(transaction) = self.transactions.get_mut(context) else { return };
        transaction.live -= 1;
        if transaction.is_undecided() {
            self.decide(now, context, counters);
        } else {
            self.remove_branch(slot);
            self.trim(context);
        }
    }

    /// Section 16.7 item 10 and section 16.10: cancels every branch that waits.
    pub(super) fn cancel_branches(&mut self, now: Time, slot: u32, counters: &mut Counters) {
        let Some(transaction) = self.transactions.get(slot) else { return };
        // Section 9.1: a CANCEL for anything but an INVITE has no effect.
        if !transaction.invite {
            return;
        }
        let mut at = transaction.first;
        while let Some(this) = at.checked_sub(1) {
            let Some(branch) = self.branches.get_mut(this) else { return };
            at = branch.next;
            match (branch.state, branch.cancel) {
                (State::Proceeding, Cancel::No) => self.send_cancel(now, this, counters),
                // Not before a provisional response has come.
                (State::Calling, Cancel::No) => branch.cancel = Cancel::Wanted,
                _ => {}
            }
        }
    }

    fn send_cancel(&mut self, now: Time, slot: u32, counters: &mut Counters) {
        let timer = self.branch_timer_number(slot);
        let (t1, give_up) = (self.timers.t1, now.after(self.timers.give_up()));
        let Some(branch) = self.branches.get_mut(slot) else { return };
        branch.cancel = Cancel::Sent;
        branch.cancel_repeat = t1;
        branch.cancel_at = now.after(t1);
        branch.end_at = give_up;
        let due = branch.cancel_at;
        self.wheel.arm(timer, due);
        self.push(Kind::Cancel, slot, counters);
    }
}
