//! When to look at which record again: a calendar, so that no number of users makes it slower. One for each worker; every
//! record of the table is in exactly one of them, exactly once: that of the worker that made it.
//!
//! A refresh does not touch it. The entry comes due at the time the record was last looked at for, finds the binding
//! prolonged, and is put back for the new time. A binding that was shortened is ignored by lookups from its end on, and
//! its memory comes back when the entry is due. So there is never more than one entry for each record, whatever a client
//! sends.

use super::{Aor, Location};
use crate::config::limit;
use crate::time::Time;

/// Whole seconds of engine time.
type Seconds = u32;

/// No place. Links are stored plus one, so that zero means this.
const NONE: u32 = 0;

/// Bits of a digit: a level's occupied slots are one 64-bit word.
const DIGIT: u32 = 6;
const SLOTS: usize = 1 << DIGIT;
/// Digits: as many as [`Seconds`] has.
const LEVELS: usize = 6;
const _: () = assert!(LEVELS as u32 * DIGIT >= Seconds::BITS);

/// One record: 20 octets, and no deadline, which the record itself knows.
struct Entry {
    aor: [u8; 16],
    /// The next in the same slot, or the next free one; plus one.
    next: u32,
}

/// What one worker has to look at, soonest first. It grows with the records that there are.
pub(crate) struct Expiry {
    entries: Vec<Entry>,
    /// The first free entry, plus one.
    free: u32,
    calendar: Calendar,
}

/// Lists of entries by when they are due: as in [`Wheel`](crate::timer::Wheel), but of seconds, and with nothing to
/// disarm, so that an entry needs but one link. An entry is in the slot of the highest digit in which its second
/// differs from the current one.
struct Calendar {
    /// First entry of each slot, plus one.
    heads: [[u32; SLOTS]; LEVELS],
    /// Which slots have any.
    occupied: [u64; LEVELS],
    /// The entries of a slot whose time has come, which are due or are filed anew; plus one.
    opened: u32,
    /// All seconds before this one are over.
    current: Seconds,
}

impl Calendar {
    const fn new() -> Self {
        Self { heads: [[NONE; SLOTS]; LEVELS], occupied: [0; LEVELS], opened: NONE, current: 0 }
    }

    /// Puts an entry that is in no list into that for `due`, or for now when that is over.
    fn file(&mut self, entries: &mut [Entry], at: u32, due: Seconds) {
        let due = due.max(self.current);
        let level = (((self.current ^ due) | 1).ilog2() / DIGIT) as usize;
        let slot = (due >> (DIGIT * level as u32)) as usize % SLOTS;
        let (Some(head), Some(occupied), Some(entry)) = (
            self.heads.get_mut(level).and_then(|slots| slots.get_mut(slot)),
            self.occupied.get_mut(level),
            entries.get_mut(at as usize),
        ) else {
            return;
        };
        entry.next = core::mem::replace(head, at + 1);
        *occupied |= 1 << slot;
    }

    /// Takes an entry whose slot's time has come out of its list. It is due, or has to be filed anew.
    fn take(&mut self, entries: &mut [Entry], now: Seconds) -> Option<u32> {
        if self.opened == NONE {
            let first = self.first().filter(|(_, _, second)| *second <= now);
            let Some((level, slot, second)) = first else {
                // Nothing is filed between the current second and this one, so all stay in their slots.
                self.current = self.current.max(now);
                return None;
            };
            self.current = second;
            self.opened = core::mem::take(self.heads.get_mut(level)?.get_mut(slot)?);
            *self.occupied.get_mut(level)? &= !(1 << slot);
        }
        let at = self.opened.checked_sub(1)?;
        self.opened = core::mem::take(&mut entries.get_mut(at as usize)?.next);
        Some(at)
    }

    /// When [`take`](Self::take) has something: never later than the first entry is due.
    fn next(&self) -> Option<Seconds> {
        match self.opened {
            NONE => self.first().map(|(_, _, second)| second),
            _ => Some(self.current),
        }
    }

    /// The first occupied slot, and the second it begins at. All that is on a lower level comes before all that is on a
    /// higher one, since it agrees with the current second in more digits.
    fn first(&self) -> Option<(usize, usize, Seconds)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = self.occupied.get(level)?.trailing_zeros();
        let below = DIGIT * level as u32;
        let above = self.current.checked_shr(below + DIGIT).map_or(0, |digits| digits << (below + DIGIT));
        Some((level, slot as usize, (above | slot << below).max(self.current)))
    }
}

impl Expiry {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), free: NONE, calendar: Calendar::new() }
    }

    /// Remembers to look at a record at `due`, or in the second after it.
    pub(crate) fn add(&mut self, aor: Aor, due: Time) {
        let aor = aor.0.to_le_bytes();
        let free = self.free.checked_sub(1).and_then(|at| Some((at, self.entries.get_mut(at as usize)?)));
        let at = match free {
            Some((at, entry)) => {
                self.free = core::mem::take(&mut entry.next);
                entry.aor = aor;
                at
            }
            None => {
                // A table of so many records does not fit any memory.
                let Ok(at) = u32::try_from(self.entries.len()) else { return };
                self.entries.push(Entry { aor, next: NONE });
                at
            }
        };
        self.calendar.file(&mut self.entries, at, seconds_after(due));
    }

    /// When [`run`](Self::run) has something to do: never later than the next record is due.
    pub(crate) fn next(&self) -> Option<Time> {
        self.calendar.next().map(|seconds| Time::from_nanos(u64::from(seconds) * 1_000_000_000))
    }

    /// Looks at records that are due or have to be filed anew, at most [`limit::EXPIRY_BATCH`]. Returns how many
    /// bindings ran out.
    pub(crate) fn run(&mut self, location: &Location, now: Time) -> usize {
        let seconds = u32::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX);
        let mut expired = 0;
        for _ in 0..limit::EXPIRY_BATCH {
            let Some(at) = self.calendar.take(&mut self.entries, seconds) else { break };
            let Some(entry) = self.entries.get_mut(at as usize) else { break };
            let (count, due) = location.expire(Aor(u128::from_le_bytes(entry.aor)), now);
            expired += count;
            match due {
                Some(due) => self.calendar.file(&mut self.entries, at, seconds_after(due)),
                None => entry.next = core::mem::replace(&mut self.free, at + 1),
            }
        }
        expired
    }

    /// Records that are to be looked at, and entries there are for them.
    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        let mut free = 0;
        let mut at = self.free;
        while let Some(entry) = at.checked_sub(1) {
            free += 1;
            at = self.entries[entry as usize].next;
        }
        (self.entries.len() - free, self.entries.len())
    }
}

/// The first whole second that is not before a time.
fn seconds_after(time: Time) -> Seconds {
    u32::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// From seconds to decades, so that every level is used.
    fn distance() -> impl Strategy<Value = u32> {
        (0u32..30, any::<u32>()).prop_map(|(bits, n)| n >> (31 - bits))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The oracle is a map of deadlines. Some stop half-way, as when a batch is used up.
        #[test]
        fn comes_due_as_in_a_sorted_map(
            steps in proptest::collection::vec((distance(), distance(), 0usize..20), 1..100),
            start in 0u32..1 << 30,
        ) {
            let (mut calendar, mut entries) = (Calendar::new(), Vec::new());
            let mut oracle: BTreeMap<u32, u32> = BTreeMap::new();
            let mut now = start;
            prop_assert_eq!(calendar.take(&mut entries, now), None);
            for (after, by, batch) in steps {
                let at = entries.len() as u32;
                entries.push(Entry { aor: [0; 16], next: NONE });
                let due = now.saturating_add(after);
                calendar.file(&mut entries, at, due);
                oracle.insert(at, due);
                let first = *oracle.values().min().unwrap();
                prop_assert!(calendar.next().is_some_and(|next| next <= first));
                now = now.saturating_add(by);
                let mut taken = 0;
                while let Some(at) = calendar.take(&mut entries, now) {
                    taken += 1;
                    prop_assert!(taken < 10_000, "it ends");
                    let due = oracle[&at];
                    if due <= now {
                        oracle.remove(&at);
                    } else {
                        calendar.file(&mut entries, at, due);
                    }
                    if taken == batch {
                        break;
                    }
                }
                if taken != batch || batch == 0 {
                    prop_assert!(oracle.values().all(|due| *due > now), "{:?} at {}", oracle, now);
                }
                prop_assert_eq!(calendar.next().is_some(), !oracle.is_empty());
            }
        }
    }
}
