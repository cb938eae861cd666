//! The server transaction: INVITE by RFC 3261 section 17.2.1 with RFC 6026, any other by section 17.2.2 with RFC 4320.
//! With it the response context of section 16.7: what its branches answered, and the choice among that.

use core::net::SocketAddr;
use core::time::Duration;

use strowger_sip::{HeaderName, Message, Method};

use super::client;
use super::failover::{Failover, Fate};
use super::{Begin, Core, Keep, NEVER, Outcome};
use crate::arena::Kept;
use crate::counters::{Counters, Event};
use crate::fork::choice;
use crate::outbox::Kind;
use crate::plant::{Plant, is_planted};
use crate::time::Time;

/// States of figures 7 and 8 of RFC 3261, figure 5 of RFC 6026.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not an INVITE: nothing was answered yet.
    Trying,
    /// No final response was sent.
    Proceeding,
    /// INVITE: a 2xx was sent (RFC 6026).
    Accepted,
    /// A final response was sent; to an INVITE, one that is no 2xx.
    Completed,
    /// INVITE: the ACK has come.
    Confirmed,
    /// Over, but for branches that are not.
    Terminated,
}

/// One server transaction and its response context.
pub(crate) struct Transaction {
    pub(super) key: u128,
    /// Where its responses go.
    pub(super) reply_to: SocketAddr,
    /// The request as its first branch sent it.
    pub(super) request: Option<Kept>,
    /// The last response sent upstream, ready to be sent again.
    pub(super) last: Option<Kept>,
    /// The next retransmission of a final response (timer G); of a request other than INVITE, when a 100 is due.
    repeat_at: Time,
    /// Its interval.
    repeat: Duration,
    /// Timer H, I, J or L.
    end_at: Time,
    /// The next transaction in the bucket, plus one.
    pub(super) next: u32,
    /// The first of its branches, plus one.
    pub(super) first: u32,
    /// Branches without a final response.
    pub(super) live: u16,
    /// Status code of the final response, and of what is made of the request when [`local`](Self::local).
    pub(super) code: u16,
    /// Index of the listen address it came to.
    pub(super) listen: u8,
    pub(super) state: State,
    pub(super) invite: bool,
    /// Responses are made from the request: nothing that a branch received can be sent.
    pub(super) local: bool,
    /// What its branches are to each other.
    pub(super) failover: Failover,
    /// Its targets are contacts of a user of ours, and others may be added.
    pub(super) located: bool,
    /// No more branches are begun: a CANCEL came, or a 6xx.
    closed: bool,
    /// Max-Breadth (RFC 5393 section 5.3.3).
    pub(super) breadth: u8,
    /// Index of the listen address that the first branch left from.
    pub(super) first_local: u8,
    /// The kept request has our Record-Route.
    pub(super) recorded: bool,
    /// The kept request has a Route line for its own target.
    pub(super) first_path: bool,
}

/// 200,000 of them are 100 MB.
const _: () = assert!(size_of::<Transaction>() <= 512);

impl Transaction {
    pub(super) fn new(begin: &Begin, next: u32, trying: Time) -> Self {
        Self {
            key: begin.key,
            reply_to: begin.reply_to,
            request: None,
            last: None,
            repeat_at: if begin.invite { NEVER } else { trying },
            repeat: Duration::ZERO,
            end_at: NEVER,
            next,
            first: 0,
            live: 0,
            code: 0,
            listen: begin.listen,
            state: if begin.invite { State::Proceeding } else { State::Trying },
            invite: begin.invite,
            local: false,
            failover: begin.first.failover,
            located: begin.first.located,
            closed: false,
            breadth: begin.breadth,
            first_local: begin.local,
            recorded: begin.recorded,
            first_path: begin.first.path,
        }
    }

    /// Whether no more branches are begun.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether no final response was sent yet.
    pub(super) fn is_undecided(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding)
    }
}

/// What is to be done with a request that a transaction knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: its response is on the way again, where there is one.
    Absorbed,
    /// The CANCEL is answered 200 (section 16.10).
    Cancelled,
    /// The ACK goes on, to whoever sent the 2xx (RFC 6026 section 7.1).
    Acknowledged,
}

impl Core {
    /// A request that belongs to the transaction in `slot`: the same again, its CANCEL, or its ACK.
    pub(crate) fn again(
        &mut self,
        now: Time,
        slot: u32,
        method: Method<'_>,
        counters: &mut Counters,
    ) -> Known {
        let confirmed = now.after(self.timers.t4);
        let Some(transaction) = self.transactions.get_mut(slot) else { return Known::Absorbed };
        match (method, transaction.state) {
            (Method::Cancel, _) => {
                if transaction.is_undecided() {
                    transaction.closed = true;
                    self.cancel_branches(now, slot, counters);
                }
                return Known::Cancelled;
            }
            (Method::Ack, State::Accepted) => return Known::Acknowledged,
            (Method::Ack, State::Completed) => {
                // Timer I.
                transaction.state = State::Confirmed;
                self.unacknowledged -= 1;
                (transaction.repeat_at, transaction.end_at) = (NEVER, confirmed);
                self.arena.release_any(&mut transaction.last);
                self.wheel.arm(slot, confirmed);
            }
            (Method::Ack, _) => {}
            (_, State::Proceeding | State::Completed) if transaction.last.is_some() || transaction.local => {
                self.push(Kind::Response, slot, counters);
            }
            _ => {}
        }
        counters.count(Event::RequestAbsorbed);
        Known::Absorbed
    }

    pub(super) fn transaction_timer(&mut self, now: Time, slot: u32, counters: &mut Counters) {
        let t2 = self.timers.t2;
        let Some(transaction) = self.transactions.get_mut(slot) else { return };
        if transaction.end_at <= now {
            if transaction.invite && transaction.state == State::Completed {
                counters.count(Event::FinalUnacknowledged);
            }
            return self.terminate(slot);
        }
        if transaction.repeat_at <= now {
            match transaction.state {
                State::Trying => {
                    // RFC 4320 section 4.1. It is made from the request, and so are its repetitions.
                    transaction.state = State::Proceeding;
                    (transaction.local, transaction.code) = (true, 100);
                    transaction.repeat_at = NEVER;
                }
                State::Completed => {
                    transaction.repeat = (transaction.repeat * 2).min(t2);
                    transaction.repeat_at = now.after(transaction.repeat);
                }
                _ => transaction.repeat_at = NEVER,
            }
            let due = transaction.repeat_at.min(transaction.end_at);
            if due != NEVER {
                self.wheel.arm(slot, due);
            }
            return self.push(Kind::Response, slot, counters);
        }
        let due = transaction.repeat_at.min(transaction.end_at);
        if due != NEVER {
            self.wheel.arm(slot, due);
        }
    }

    /// The end of the server transaction. Its branches may last longer.
    fn terminate(&mut self, slot: u32) {
        let Some(transaction) = self.transactions.get_mut(slot) else { return };
        if transaction.is_undecided() {
            self.undecided -= 1;
        }
        if transaction.invite && transaction.state == State::Completed {
            self.unacknowledged -= 1;
        }
        transaction.state = State::Terminated;
        self.arena.release_any(&mut transaction.last);
        transaction.local = false;
        self.unhash(slot);
        self.trim(slot);
        self.remove_if_over(slot);
    }

    /// A final response goes upstream: states and timers of section 17.2 and RFC 6026.
    pub(super) fn finish(&mut self, now: Time, slot: u32, code: u16) {
        let Some(transaction) = self.transactions.get_mut(slot) else { return };
        if transaction.is_undecided() {
            self.undecided -= 1;
        }
        transaction.code = code;
        // Timers H, J, L.
        transaction.end_at = now.after(self.timers.give_up());
        transaction.repeat_at = NEVER;
        if transaction.invite && code < 300 {
            transaction.state = State::Accepted;
            self.answered_at = Some(now);
            self.arena.release_any(&mut transaction.last);
        } else {
            transaction.state = State::Completed;
            self.unacknowledged += usize::from(transaction.invite);
            if transaction.invite && !is_planted(Plant::TimerG) {
                // Timer G.
                transaction.repeat = self.timers.t1;
                transaction.repeat_at = now.after(transaction.repeat);
            }
        }
        self.wheel.arm(slot, transaction.repeat_at.min(transaction.end_at));
        self.sweep(slot);
        self.trim(slot);
    }

    /// A branch has its final response, which is at hand: what is to be done with it (section 16.7 items 4 to 6).
    pub(super) fn settle(&mut self, now: Time, branch: u32, code: u16, counters: &mut Counters) -> Outcome {
        let Some(slot) = self.branches.get(branch).map(|branch| branch.transaction) else {
            return Outcome::Absorbed;
        };
        let Some(transaction) = self.transactions.get_mut(slot) else { return Outcome::Absorbed };
        let (listen, reply_to, invite) = (transaction.listen, transaction.reply_to, transaction.invite);
        let failover = transaction.failover;
        self.report(branch, Fate::Answered(code));
        let Some(transaction) = self.transactions.get_mut(slot) else { return Outcome::Absorbed };
        if code < 300 {
            // Item 5: at once, and also when a final response was sent already, for an INVITE.
            if transaction.is_undecided() {
                transaction.local = false;
                self.finish(now, slot, code);
                if invite {
                    self.cancel_branches(now, slot, counters);
                }
            } else if !invite {
                return Outcome::Absorbed;
            } else {
                self.trim(slot);
            }
            let keep = if invite { Keep::Nothing } else { Keep::Last(slot) };
            return Outcome::Forward(listen, reply_to, keep);
        }
        if !transaction.is_undecided() {
            return Outcome::Absorbed;
        }
        if !self.fails_over(failover, code)
            && let Some(transaction) = self.transactions.get_mut(slot)
        {
            transaction.closed = true;
        }
        if code >= 600
            && let Some(transaction) = self.transactions.get_mut(slot)
        {
            // Item 5: no other branch is of any use.
            transaction.closed = true;
            self.cancel_branches(now, slot, counters);
        }
        let alone = self.transactions.get(slot).is_some_and(|t| t.first == branch + 1 && t.live == 0)
            && self.branches.get(branch).is_some_and(|branch| branch.next == 0);
        if alone && code != 503 {
            if let Some(transaction) = self.transactions.get_mut(slot) {
                transaction.local = false;
            }
            self.finish(now, slot, code);
            return Outcome::Forward(listen, reply_to, Keep::Last(slot));
        }
        Outcome::Keep(Keep::Final(branch))
    }

    /// Section 16.7 item 6: when every branch has ended, the best of what they answered goes upstream.
    pub(super) fn decide(&mut self, now: Time, slot: u32, counters: &mut Counters) {
        let Some(transaction) = self.transactions.get(slot) else { return };
        if !transaction.is_undecided() || transaction.live > 0 {
            return;
        }
        if !transaction.closed && self.start_branches(now, slot, counters) > 0 {
            return;
        }
        let Some(transaction) = self.transactions.get(slot) else { return };
        let mut best: Option<(u32, u16)> = None;
        let mut challenges = 0;
        let mut at = transaction.first;
        while let Some(branch) = at.checked_sub(1).and_then(|slot| self.branches.get(slot)) {
            challenges += usize::from(matches!(branch.code, 401 | 407));
            // Code 0: its turn never came.
            if branch.code != 0 && best.is_none_or(|(_, code)| choice::rank(branch.code) < choice::rank(code))
            {
                best = Some((at - 1, branch.code));
            }
            at = branch.next;
        }
        let (branch, code) = best.unwrap_or((u32::MAX, 408));
        let response = match code {
            // Item 6: 503 would say that this proxy serves nobody.
            503 => None,
            _ => self.branches.get_mut(branch).and_then(|branch| branch.response.take()),
        };
        let code = if code == 503 { 500 } else { code };
        let response = match response {
            Some(response) if challenges > 1 && matches!(code, 401 | 407) => {
                Some(self.aggregate(slot, response))
            }
            response => response,
        };
        let Some(transaction) = self.transactions.get(slot) else { return };
        if response.is_none() && code == 408 && !transaction.invite {
            // RFC 4320 section 4.2: it is too late to say anything.
            return self.terminate_unanswered(slot);
        }
        let Some(transaction) = self.transactions.get_mut(slot) else { return };
        transaction.local = response.is_none();
        if let Some(response) = response {
            self.arena.release_any(&mut transaction.last);
            transaction.last = Some(response);
        }
        self.finish(now, slot, code);
        self.push(Kind::Response, slot, counters);
    }

    /// Section 16.7 item 7: the challenges of all other branches are added to the one that was chosen. Without room for
    /// them, those that there is room for.
    fn aggregate(&mut self, slot: u32, chosen: Kept) -> Kept {
        let Self { transactions, branches, arena, plan, index, other_index, scratch, other_scratch, .. } =
            self;
        let Some(best) = arena.read(&chosen, scratch) else { return chosen };
        let Ok(message) = Message::parse(best, index) else { return chosen };
        plan.begin(&message);
        let end = message.headers_end();
        let mut at = transactions.get(slot).map_or(0, |transaction| transaction.first);
        while let Some(branch) = at.checked_sub(1).and_then(|slot| branches.get(slot)) {
            at = branch.next;
            if !matches!(branch.code, 401 | 407) {
                continue;
            }
            let other = branch.response.as_ref().and_then(|kept| arena.read(kept, other_scratch));
            let Some(Ok(other)) = other.map(|other| Message::parse(other, other_index)) else { continue };
            for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
                for line in other.headers(name) {
                    let text = other.datagram().get(line.line_range).unwrap_or_default();
                    let _ = plan.insert(end, text);
                }
            }
        }
        let whole = plan.write_to(best, other_scratch).ok().and_then(|whole| arena.keep(whole));
        match whole {
            Some(whole) => {
                arena.release(chosen);
                whole
            }
            None => chosen,
        }
    }

    /// The end without a final response.
    fn terminate_unanswered(&mut self, slot: u32) {
        self.terminate(slot);
        self.sweep(slot);
    }

    /// Removes branches that have nothing more to do.
    fn sweep(&mut self, slot: u32) {
        let Some(transaction) = self.transactions.get(slot) else { return };
        let mut at = transaction.first;
        while let Some(this) = at.checked_sub(1) {
            let Some(branch) = self.branches.get(this) else { return };
            at = branch.next;
            if matches!(branch.state, client::State::Ended | client::State::Waiting) {
                self.remove_branch(this);
            }
        }
    }
}
