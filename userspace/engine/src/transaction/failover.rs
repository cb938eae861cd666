//! Failover: several addresses for one target, tried one after the other, and only as long as an address fails.
//!
//! Unlike a fork by preference, where every final response but a 2xx leads to the next branch, here a final response
//! is the target's answer unless it speaks of the address alone: a busy callee is not called again by another gateway.
//! Who fails is told to those who watch gateways, through a short list that the element empties.

use core::time::Duration;

use super::{Core, client};
use crate::config::{Config, Timers};
use crate::time::Time;

/// What the branches of a transaction are to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Failover {
    /// Targets of their own: a fork.
    #[default]
    None,
    /// Targets of the gateway group with this index.
    Gateway(u16),
    /// Addresses of a name (RFC 3263 section 4.3).
    Name,
}

/// A final response of an address of a name after which the next is tried (RFC 3263 section 4.3).
const NAME_CODE: u16 = 503;

/// How long an address of a name may say nothing when there is another. RFC 3263 section 4.3 would wait for timer B or
/// F, after which the caller has hung up.
const NAME_PATIENCE: Duration = Duration::from_secs(4);

/// Reports that wait for the element. It empties them after every message and every batch of timers.
const REPORTS: usize = 512;

/// What became of a gateway's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) group: u16,
    pub(crate) target: u8,
    pub(crate) what: Fate,
}

/// See [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A request goes there.
    Chosen,
    /// It gave this final response.
    Answered(u16),
    /// It sent nothing in time.
    TimedOut,
}

/// Patience and codes of every gateway group, and what is to be told of them.
pub(super) struct Policies {
    groups: Box<[(Duration, Box<[u16]>)]>,
    reports: Vec<Report>,
}

impl Policies {
    pub(super) fn new(config: &Config) -> Self {
        let groups = config.gateways.iter().map(|group| (group.timeout, group.failover.clone().into()));
        Self { groups: groups.collect(), reports: Vec::with_capacity(REPORTS) }
    }

    fn group(&self, group: u16) -> Option<&(Duration, Box<[u16]>)> {
        self.groups.get(usize::from(group))
    }
}

impl Core {
    /// Whether this final response is that of an address, and the target may have another.
    pub(super) fn fails_over(&self, failover: Failover, code: u16) -> bool {
        match failover {
            Failover::None => true,
            Failover::Gateway(group) => {
                self.policies.group(group).is_some_and(|(_, codes)| codes.contains(&code))
            }
            Failover::Name => code == NAME_CODE,
        }
    }

    /// How long an address may say nothing while there is another.
    pub(super) fn patience(&self, failover: Failover) -> Option<Duration> {
        let patience = match failover {
            Failover::None => return None,
            Failover::Gateway(group) => self.policies.group(group)?.0,
            Failover::Name => NAME_PATIENCE,
        };
        Some(patience.min(self.timers.give_up()))
    }

    /// Whether an address of this transaction was not tried yet.
    pub(super) fn has_waiting(&self, slot: u32) -> bool {
        let mut at = self.transactions.get(slot).map_or(0, |transaction| transaction.first);
        while let Some(branch) = at.checked_sub(1).and_then(|slot| self.branches.get(slot)) {
            if branch.state == client::State::Waiting {
                return true;
            }
            at = branch.next;
        }
        false
    }

    /// Notes what became of the address that a branch goes to.
    pub(super) fn report(&mut self, branch: u32, what: Fate) {
        let Some(branch) = self.branches.get(branch) else { return };
        if let Some(Failover::Gateway(group)) = self.transactions.get(branch.transaction).map(|t| t.failover)
            && self.policies.reports.len() < REPORTS
        {
            self.policies.reports.push(Report { group, target: branch.address, what });
        }
    }

    /// The next thing to tell those who watch gateways; in any order.
    pub(crate) fn next_report(&mut self) -> Option<Report> {
        self.policies.reports.pop()
    }
}

/// When a branch that was given up early would have been by timer F: after a provisional response it has that time.
pub(super) fn prolonged(end_at: Time, patience: Duration, timers: &Timers) -> Time {
    end_at.after(timers.give_up().saturating_sub(patience))
}
