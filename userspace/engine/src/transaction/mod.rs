//! The transactions of one worker (RFC 3261 section 17) and the response contexts that tie them together (section 16):
//! tables, timers, kept messages and what waits to be sent, all of fixed size.
//!
//! Called by the element with a request or response that was read already; nothing here decides where a request goes.
//! A [`Transaction`] is a server transaction with its response context, a [`Branch`] a client transaction; the machines
//! are in `server` and `client`, and `write` makes messages of what is kept. The message at hand is edited and sent where
//! it lies; a copy is kept of the request as its first branch sent it, and of the last response that went upstream.
//! Every other message is made from these when there is a frame for it.

mod client;
mod extend;
mod failover;
mod server;
mod slab;
mod succession;
mod write;

use core::net::SocketAddr;

use strowger_sip::{EditPlan, Index, Message};

pub(crate) use client::Branch;
pub(crate) use extend::Extensible;
use failover::Policies;
pub(crate) use failover::{Failover, Fate, Report};
pub(crate) use server::{Known, Transaction};
use slab::Slab;
use succession::Succession;

use crate::arena::{Arena, Kept};
use crate::branch;
use crate::config::{Config, Timers, limit};
use crate::counters::{Counters, Event};
use crate::engine::Level;
use crate::fork::targets;
use crate::outbox::{Item, Kind, Outbox};
use crate::time::Time;
use crate::timer::Wheel;

/// A deadline that is none.
const NEVER: Time = Time::from_nanos(u64::MAX);

/// What a response does to its transaction, and what is to be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It leaves from this listen address to this address, without our Via; then a copy is kept, if so.
    Forward(u8, SocketAddr, Keep),
    /// It waits, without our Via, for the responses of other branches.
    Keep(Keep),
    /// Nothing more is to be done with it.
    Absorbed,
}

/// What the message, once edited, is kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    /// The request of this transaction as its first branch sends it.
    Request(u32),
    /// The last response that this transaction sent upstream.
    Last(u32),
    /// The final response of this branch.
    Final(u32),
}

/// A request that begins a transaction.
pub(crate) struct Begin {
    pub(crate) key: u128,
    pub(crate) invite: bool,
    /// Index of the listen address it came to.
    pub(crate) listen: u8,
    /// Where its responses go.
    pub(crate) reply_to: SocketAddr,
    /// Index of the listen address that its first branch leaves from.
    pub(crate) local: u8,
    /// Where its first branch goes.
    pub(crate) remote: SocketAddr,
    /// What is known of its target beside that.
    pub(crate) first: First,
    /// Max-Breadth (RFC 5393 section 5.3.3).
    pub(crate) breadth: u8,
    /// It has our Record-Route.
    pub(crate) recorded: bool,
}

/// The target of a transaction's first branch.
#[derive(Clone, Copy, Default)]
pub(crate) struct First {
    /// Its preference, in thousandths.
    pub(crate) q: u16,
    /// It has a Route line of its own.
    pub(crate) path: bool,
    /// What the targets are to each other.
    pub(crate) failover: Failover,
    /// Its index in the gateway group.
    pub(crate) address: u8,
    /// It is a contact of a user of ours, whom nobody is in a dialog with yet: others may take its place.
    pub(crate) located: bool,
}

/// One more target of a request whose transaction is about to begin.
struct Staged {
    local: u8,
    remote: SocketAddr,
    q: u16,
    address: u8,
    target: Kept,
}

/// See the head of this file.
pub(crate) struct Core {
    timers: Timers,
    worker: u16,
    transactions: Slab<Transaction>,
    branches: Slab<Branch>,
    /// First transaction of each hash, plus one.
    buckets: Vec<u32>,
    /// Timers of the transactions, then of the branches.
    wheel: Wheel,
    arena: Arena,
    outbox: Outbox,
    /// Transactions without a final response.
    undecided: usize,
    /// Transactions of INVITEs whose refusal is repeated until its ACK comes.
    unacknowledged: usize,
    /// When an INVITE was last answered 2xx.
    answered_at: Option<Time>,
    /// Targets beside the first, of the request that is being decided on.
    staged: Vec<Staged>,
    policies: Policies,
    succession: Succession,
    plan: Box<EditPlan>,
    index: Box<Index>,
    other_index: Box<Index>,
    scratch: Box<[u8]>,
    other_scratch: Box<[u8]>,
}

impl Core {
    /// `config` has been validated; `worker` is below [`limit::WORKERS`].
    pub(crate) fn new(config: &Config, worker: u16) -> Self {
        let sizes = config.transactions;
        Self {
            timers: config.timers,
            worker,
            transactions: Slab::new(sizes.max),
            branches: Slab::new(sizes.max_branches),
            buckets: vec![0; sizes.max.next_power_of_two()],
            wheel: Wheel::new(sizes.max + sizes.max_branches),
            arena: Arena::new(sizes.max_kept),
            outbox: Outbox::new(limit::OUTBOX),
            undecided: 0,
            unacknowledged: 0,
            answered_at: None,
            staged: Vec::with_capacity(limit::CONTACTS),
            policies: Policies::new(config),
            succession: Succession::Nobody,
            plan: Box::new(EditPlan::new()),
            index: Box::new(Index::new()),
            other_index: Box::new(Index::new()),
            scratch: vec![0; strowger_sip::limit::MESSAGE].into_boxed_slice(),
            other_scratch: vec![0; strowger_sip::limit::MESSAGE].into_boxed_slice(),
        }
    }

    pub(crate) fn transactions(&self) -> Level {
        Level { used: self.transactions.used(), limit: self.transactions.limit() }
    }

    pub(crate) fn branches(&self) -> Level {
        Level { used: self.branches.used(), limit: self.branches.limit() }
    }

    pub(crate) fn kept(&self) -> Level {
        Level { used: self.arena.used(), limit: self.arena.limit() }
    }

    pub(crate) fn timers(&self) -> Level {
        Level { used: self.wheel.armed(), limit: self.wheel.capacity() }
    }

    pub(crate) fn outbox(&self) -> Level {
        Level { used: self.outbox.len(), limit: self.outbox.limit() }
    }

    /// Whether no request waits for its final response and nothing waits to be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.undecided == 0 && !self.has_transmit()
    }

    /// Whether nobody depends on these tables any more: it [is idle](Self::is_idle), every refusal has its ACK, and an
    /// answer that was lost has come again by now. A 2xx is repeated end to end (RFC 3261 section 13.3.1.4), but passes
    /// only where its transaction is known: its repetitions T1 and 3·T1 after it still do.
    pub(crate) fn is_settled(&self, now: Time) -> bool {
        let repeated = |at: Time| at.after(4 * self.timers.t1) <= now;
        self.is_idle() && self.unacknowledged == 0 && self.answered_at.is_none_or(repeated)
    }

    pub(crate) fn has_transmit(&self) -> bool {
        self.outbox.len() > 0
    }

    pub(crate) fn next_timer(&self) -> Option<Time> {
        self.wheel.next()
    }

    /// Lets timers fire, a bounded number.
    pub(crate) fn on_timeout(&mut self, now: Time, counters: &mut Counters) {
        let mut budget = limit::TIMER_BATCH;
        while let Some(timer) = self.wheel.pop(now, &mut budget) {
            match timer.checked_sub(self.transactions.limit() as u32) {
                Some(branch) => self.branch_timer(now, branch, counters),
                None => self.transaction_timer(now, timer, counters),
            }
        }
    }

    /// The transaction of a request, by its [key](crate::request::Request::key).
    pub(crate) fn find(&self, key: u128) -> Option<u32> {
        let mut at = *self.buckets.get(self.bucket(key))?;
        loop {
            let slot = at.checked_sub(1)?;
            let transaction = self.transactions.get(slot)?;
            if transaction.key == key {
                return Some(slot);
            }
            at = transaction.next;
        }
    }

    /// What the branch of the next transaction's first request leads to; `None` when there is room for no other.
    pub(crate) fn vacant(&self) -> Option<branch::Slot> {
        self.transactions.vacant()?;
        let (slot, generation) = self.branches.vacant()?;
        Some(branch::Slot { worker: self.worker, slot, generation })
    }

    /// Where the responses of a branch go; `None` when it is no more, or another worker's.
    pub(crate) fn reply_to(&self, at: branch::Slot) -> Option<SocketAddr> {
        if at.worker != self.worker || !self.branches.is(at.slot, at.generation) {
            return None;
        }
        let branch = self.branches.get(at.slot)?;
        Some(self.transactions.get(branch.transaction)?.reply_to)
    }

    /// Whether a request of this length can be kept, and a response to it besides.
    pub(crate) fn has_room(&self, request: usize) -> bool {
        self.arena.has_room(&[request, request])
    }

    /// Begins a transaction, with its first branch at the place that [`vacant`](Self::vacant) said.
    pub(crate) fn begin(&mut self, now: Time, begin: &Begin, counters: &mut Counters) -> Option<u32> {
        let (bucket, trying) = (self.bucket(begin.key), now.after(self.timers.trying()));
        let first = self.buckets.get_mut(bucket)?;
        let slot = self.transactions.insert(Transaction::new(begin, *first, trying))?;
        *first = slot + 1;
        self.undecided += 1;
        if !begin.invite {
            self.wheel.arm(slot, trying);
        }
        let First { q, address, .. } = begin.first;
        self.add_branch(slot, (begin.local, begin.remote), (q, address), None)?;
        counters.count(Event::TransactionBegun);
        self.add_staged(slot, counters);
        self.start_branches(now, slot, counters);
        Some(slot)
    }

    /// The staged targets become branches of this transaction.
    fn add_staged(&mut self, slot: u32, counters: &mut Counters) {
        while let Some(Staged { local, remote, q, address, target }) = self.staged.pop() {
            if self.branches.vacant().is_none() {
                self.arena.release(target);
                counters.count(Event::TargetLimit);
                continue;
            }
            self.add_branch(slot, (local, remote), (q, address), Some(target));
        }
    }

    /// Begins a transaction that is answered already, by this server itself, with a reply of `len` octets: it is
    /// [kept](Self::keep) next as the last response, for requests that come again. `None` when the tables are half full:
    /// the other half is for what is sent on.
    pub(crate) fn answered(&mut self, now: Time, begin: &Begin, (code, len): (u16, usize)) -> Option<u32> {
        if 2 * self.transactions.used() >= self.transactions.limit()
            || 2 * self.arena.used() >= self.arena.limit()
            || !self.arena.has_room(&[len])
        {
            return None;
        }
        let bucket = self.bucket(begin.key);
        let first = self.buckets.get_mut(bucket)?;
        let slot = self.transactions.insert(Transaction::new(begin, *first, NEVER))?;
        *first = slot + 1;
        self.undecided += 1;
        self.finish(now, slot, code);
        Some(slot)
    }

    /// One more target of the request that is being decided on, for [`begin`](Self::begin).
    pub(crate) fn stage(
        &mut self,
        (local, remote): (u8, SocketAddr),
        (q, address): (u16, u8),
        (uri, path): (&[u8], &[u8]),
        counters: &mut Counters,
    ) {
        let room = self.staged.len() < limit::CONTACTS;
        let text = targets::write(uri, path, &mut self.scratch).filter(|_| room);
        match text.and_then(|text| self.arena.keep(text)) {
            Some(target) => self.staged.push(Staged { local, remote, q, address, target }),
            None => counters.count(Event::TargetLimit),
        }
    }

    /// Forgets the targets that were staged.
    pub(crate) fn unstage(&mut self) {
        while let Some(Staged { target, .. }) = self.staged.pop() {
            self.arena.release(target);
        }
    }

    /// One more branch of a transaction, behind the first, which waits for its turn.
    fn add_branch(
        &mut self,
        transaction: u32,
        to: (u8, SocketAddr),
        (q, address): (u16, u8),
        target: Option<Kept>,
    ) -> Option<u32> {
        let context = self.transactions.get_mut(transaction)?;
        let slot = self.branches.insert(Branch::new(transaction, to, (q, address), target))?;
        // The first branch stays at the front, and its targets' order is that of the list.
        match context.first.checked_sub(1).and_then(|first| self.branches.get_mut(first)) {
            None => context.first = slot + 1,
            Some(first) => {
                let next = core::mem::replace(&mut first.next, slot + 1);
                if let Some(branch) = self.branches.get_mut(slot) {
                    branch.next = next;
                }
            }
        }
        Some(slot)
    }

    /// Begins the waiting branches with the highest q, as many as Max-Breadth allows (RFC 3261 section 16.6, RFC 5393
    /// section 5.3.3): how many.
    fn start_branches(&mut self, now: Time, slot: u32, counters: &mut Counters) -> usize {
        let Some(transaction) = self.transactions.get(slot) else { return 0 };
        let (first, breadth, invite) = (transaction.first, transaction.breadth, transaction.invite);
        let patience = self.patience(transaction.failover);
        let mut best = None;
        let (mut waiting, mut all) = (0, 0);
        let mut at = first;
        while let Some(branch) = at.checked_sub(1).and_then(|slot| self.branches.get(slot)) {
            at = branch.next;
            if branch.state != client::State::Waiting {
                continue;
            }
            all += 1;
            waiting = if best == Some(branch.q) { waiting + 1 } else { waiting };
            if best.is_none_or(|best| branch.q > best) {
                (best, waiting) = (Some(branch.q), 1);
            }
        }
        let active = waiting.min(usize::from(breadth));
        let mut started = 0;
        let mut at = first;
        while started < active
            && let Some(this) = at.checked_sub(1)
        {
            let timer = self.branch_timer_number(this);
            let Some(branch) = self.branches.get_mut(this) else { break };
            at = branch.next;
            if branch.state != client::State::Waiting || Some(branch.q) != best {
                continue;
            }
            branch.start(now, targets::share(breadth, active, started), &self.timers);
            branch.hurry(now, patience.filter(|_| all > active));
            let (due, besides) = (branch.deadline(invite), branch.target.is_some());
            started += 1;
            self.wheel.arm(timer, due);
            if let Some(transaction) = self.transactions.get_mut(slot) {
                transaction.live += 1;
            }
            self.report(this, Fate::Chosen);
            if besides {
                counters.count(Event::BranchBegun);
                self.push(Kind::Request, this, counters);
            }
        }
        started
    }

    /// Forgets a transaction whose request could not be sent.
    pub(crate) fn abandon(&mut self, slot: u32) {
        let Some(transaction) = self.transactions.get_mut(slot) else { return };
        if transaction.is_undecided() {
            self.undecided -= 1;
        }
        transaction.state = server::State::Terminated;
        let mut branch = transaction.first;
        self.unhash(slot);
        while let Some(at) = branch.checked_sub(1) {
            branch = self.branches.get(at).map_or(0, |branch| branch.next);
            self.remove_branch(at);
        }
        self.remove_if_over(slot);
    }

    /// Keeps a message, once edited, as what it is.
    pub(crate) fn keep(&mut self, now: Time, keep: Keep, message: &[u8], counters: &mut Counters) {
        let place = match keep {
            Keep::Nothing => return,
            Keep::Request(slot) => self.transactions.get_mut(slot).map(|t| &mut t.request),
            Keep::Last(slot) => self.transactions.get_mut(slot).map(|t| &mut t.last),
            Keep::Final(slot) => self.branches.get_mut(slot).map(|b| &mut b.response),
        };
        if let Some(place) = place {
            self.arena.release_any(place);
            *place = self.arena.keep(message);
            if place.is_none() {
                counters.count(Event::KeptLimit);
            }
        }
        if let Keep::Final(branch) = keep
            && let Some(transaction) = self.branches.get(branch).map(|b| b.transaction)
        {
            self.decide(now, transaction, counters);
        }
    }

    /// Writes the 100 to an INVITE that `plan` makes, to be sent and to be repeated (section 17.2.1).
    pub(crate) fn trying(
        &mut self,
        slot: u32,
        request: &Message<'_>,
        plan: impl FnOnce(&mut EditPlan) -> Result<(), strowger_sip::EditError>,
        counters: &mut Counters,
    ) {
        let Self { plan: reply, scratch, arena, transactions, .. } = self;
        let Some(transaction) = transactions.get_mut(slot) else { return };
        if plan(reply).is_ok()
            && let Ok(trying) = reply.write_to(request.datagram(), scratch)
        {
            transaction.last = arena.keep(trying);
            self.push(Kind::Response, slot, counters);
        }
    }

    fn bucket(&self, key: u128) -> usize {
        key as usize & (self.buckets.len() - 1)
    }

    fn branch_timer_number(&self, slot: u32) -> u32 {
        self.transactions.limit() as u32 + slot
    }

    fn push(&mut self, kind: Kind, slot: u32, counters: &mut Counters) {
        let generation = match kind {
            Kind::Response => self.transactions.generation(slot),
            Kind::Request | Kind::Cancel | Kind::Ack => self.branches.generation(slot),
        };
        if !self.outbox.push(Item { kind, slot, generation }) {
            counters.count(Event::OutboxFull);
        }
    }

    /// Takes a transaction out of its bucket, so that no request finds it.
    fn unhash(&mut self, slot: u32) {
        let Some((key, next)) = self.transactions.get(slot).map(|t| (t.key, t.next)) else { return };
        let bucket = self.bucket(key);
        let Some(first) = self.buckets.get_mut(bucket) else { return };
        if *first == slot + 1 {
            *first = next;
            return;
        }
        let mut at = *first;
        while let Some(transaction) = at.checked_sub(1).and_then(|slot| self.transactions.get_mut(slot)) {
            if transaction.next == slot + 1 {
                transaction.next = next;
                return;
            }
            at = transaction.next;
        }
    }

    /// Removes a branch, and the response context when it was the last of one that is over.
    fn remove_branch(&mut self, slot: u32) {
        let timer = self.branch_timer_number(slot);
        let Some(mut branch) = self.branches.remove(slot) else { return };
        self.wheel.disarm(timer);
        for kept in [&mut branch.response, &mut branch.to, &mut branch.target] {
            self.arena.release_any(kept);
        }
        let Some(transaction) = self.transactions.get_mut(branch.transaction) else { return };
        if transaction.first == slot + 1 {
            transaction.first = branch.next;
        } else {
            let mut at = transaction.first;
            while let Some(before) = at.checked_sub(1).and_then(|slot| self.branches.get_mut(slot)) {
                if before.next == slot + 1 {
                    before.next = branch.next;
                    break;
                }
                at = before.next;
            }
        }
        self.remove_if_over(branch.transaction);
    }

    /// Section 16.7: the response context lasts until all of its transactions have ended.
    fn remove_if_over(&mut self, slot: u32) {
        let over =
            self.transactions.get(slot).is_some_and(|t| t.state == server::State::Terminated && t.first == 0);
        if over && let Some(mut transaction) = self.transactions.remove(slot) {
            self.wheel.disarm(slot);
            self.arena.release_any(&mut transaction.request);
            self.arena.release_any(&mut transaction.last);
        }
    }

    /// Lets the kept request go when no message will be made of it any more.
    fn trim(&mut self, slot: u32) {
        let Some(transaction) = self.transactions.get(slot) else { return };
        if transaction.is_undecided() || transaction.local || transaction.request.is_none() {
            return;
        }
        let mut at = transaction.first;
        while let Some(branch) = at.checked_sub(1).and_then(|slot| self.branches.get(slot)) {
            if branch.needs_request(transaction.invite) {
                return;
            }
            at = branch.next;
        }
        if let Some(transaction) = self.transactions.get_mut(slot) {
            self.arena.release_any(&mut transaction.request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one call in progress takes of each table; the kept messages come on top.
    #[test]
    fn octets_of_a_transaction_and_of_a_branch() {
        let (transaction, branch) = (Slab::<Transaction>::PLACE, Slab::<Branch>::PLACE);
        println!(
            "{transaction} octets a transaction, {branch} a branch; a timer and a bucket for each: {}",
            Wheel::LINK + size_of::<u32>()
        );
        assert!(transaction + branch + 2 * Wheel::LINK + size_of::<u32>() <= 512);
    }
}
