//! When to look at which record again. One queue for each worker; every record of the table is in exactly one of
//! them, exactly once: that of the worker that made it.
//!
//! A refresh does not touch the queue. The entry comes due at the time the record was last looked at for, finds the
//! binding prolonged, and is put back for the new time. A binding that was shortened is ignored by lookups from its
//! end on, and its memory comes back when the entry is due. So the queue never holds more than one entry for each
//! record, whatever a client sends.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Aor, Location};
use crate::config::limit;
use crate::time::Time;

/// Whole seconds of engine time, which keep an entry at 24 octets less than with [`Time`].
type Seconds = u32;

/// The queue of one worker, soonest first.
pub(crate) struct Expiry {
    queue: BinaryHeap<Reverse<(Seconds, [u8; 16])>>,
}

impl Expiry {
    pub(crate) const fn new() -> Self {
        Self { queue: BinaryHeap::new() }
    }

    /// Remembers to look at a record at `due`, or in the second after it.
    pub(crate) fn add(&mut self, aor: Aor, due: Time) {
        let seconds = u32::try_from(due.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        self.queue.push(Reverse((seconds, aor.0.to_le_bytes())));
    }

    /// When the next record has to be looked at.
    pub(crate) fn next(&self) -> Option<Time> {
        let Reverse((seconds, _)) = self.queue.peek()?;
        Some(Time::from_nanos(u64::from(*seconds) * 1_000_000_000))
    }

    /// Looks at records that are due, at most [`limit::EXPIRY_BATCH`]. Returns how many bindings ran out.
    pub(crate) fn run(&mut self, location: &Location, now: Time) -> usize {
        let mut expired = 0;
        for _ in 0..limit::EXPIRY_BATCH {
            if self.next().is_none_or(|due| due > now) {
                break;
            }
            let Some(Reverse((_, aor))) = self.queue.pop() else { break };
            let aor = Aor(u128::from_le_bytes(aor));
            let (count, due) = location.expire(aor, now);
            expired += count;
            if let Some(due) = due {
                self.add(aor, due);
            }
        }
        expired
    }

    /// Entries in the queue.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
