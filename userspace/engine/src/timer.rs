//! A hierarchical timer wheel of fixed size: arm, re-arm and disarm in constant time, no allocation after the start.
//!
//! Every timer has a number below the capacity that its owner chooses (a slot of its table), so an owner has at most
//! one entry, and there is no handle that could outlive it. Time is cut into ticks of about 8 ms. A timer is filed by
//! the highest base-64 digit in which its tick differs from the current one, and is filed anew, one digit lower, when
//! the wheel gets there: at most [`LEVELS`] times in its life. [`Wheel::pop`] files or fires, one at a time, so that the
//! caller bounds the work. A timer never fires early, and less than a tick late.

use core::time::Duration;

use crate::time::Time;

/// Nanoseconds of a tick, as a power of two: 8.4 ms, an eighth of the smallest interval anybody notices on a phone and
/// a sixtieth of T1.
const TICK: u32 = 23;
/// Bits of a digit: a level's occupied slots are one 64-bit word.
const DIGIT: u32 = 6;
const SLOTS: usize = 1 << DIGIT;
/// Digits: as many as a [`Time`] has.
const LEVELS: usize = 7;
const _: () = assert!(LEVELS as u32 * DIGIT >= u64::BITS - TICK);

/// No timer. Links are stored plus one, so that zeroed memory means this.
const NONE: u32 = 0;

/// One timer. Zero is a timer that is not armed.
#[derive(Clone, Copy, Default)]
struct Link {
    /// The next and the one before it in the slot's ring, plus one.
    next: u32,
    previous: u32,
    /// Tick it fires at.
    tick: u64,
    /// Slot it is in, plus one; 0 while it is not armed.
    place: u16,
}

/// See the head of this file.
pub(crate) struct Wheel {
    links: Vec<Link>,
    /// Timers there is room for. [`Wheel::links`] grows to it without allocating.
    capacity: usize,
    /// First timer of each slot, plus one.
    heads: [[u32; SLOTS]; LEVELS],
    /// Which slots have any.
    occupied: [u64; LEVELS],
    /// All ticks before this one have been popped.
    current: u64,
    /// The slot above the lowest level whose time has come: until it is empty, what is filed below is not all there.
    opened: (usize, usize),
    armed: usize,
}

impl Wheel {
    /// Octets of one timer.
    #[cfg(test)]
    pub(crate) const LINK: usize = size_of::<Link>();

    /// A wheel for the timers `0..capacity`, less than 2^32 - 1 of them.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            links: Vec::with_capacity(capacity),
            capacity,
            heads: [[NONE; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            current: 0,
            opened: (0, 0),
            armed: 0,
        }
    }

    /// Timers that run.
    pub(crate) fn armed(&self) -> usize {
        self.armed
    }

    /// Timers there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Lets `timer` fire at `at`, or when it runs already, at the earlier of both: who has prolonged a deadline lets
    /// the timer fire and arms it again.
    pub(crate) fn arm(&mut self, timer: u32, at: Time) {
        let at = usize_of(timer).filter(|index| *index < self.capacity).map(|index| (index, at));
        let Some((index, at)) = at else { return };
        let tick = at.as_nanos().div_ceil(1 << TICK).max(self.current);
        if index >= self.links.len() {
            self.links.resize(index + 1, Link::default());
        }
        match self.links.get(index) {
            Some(link) if link.place != 0 && link.tick <= tick => return,
            Some(link) if link.place != 0 => self.unlink(timer),
            _ => {}
        }
        self.link(timer, tick);
    }

    /// Stops `timer`, if it runs.
    pub(crate) fn disarm(&mut self, timer: u32) {
        if self.at(timer).place != 0 {
            self.unlink(timer);
        }
    }

    /// When [`pop`](Self::pop) has something to do: never later than the next timer, and earlier when it has to be
    /// filed anew first.
    pub(crate) fn next(&self) -> Option<Time> {
        self.first().map(|(_, _, tick)| Time::START.after(Duration::from_nanos(tick << TICK)))
    }

    /// One timer that is due. `budget` goes down by one for each timer that is fired or filed anew; `None` when it is
    /// used up, or when no timer is due.
    pub(crate) fn pop(&mut self, now: Time, budget: &mut usize) -> Option<u32> {
        let now = now.as_nanos() >> TICK;
        while *budget > 0 {
            let Some((level, slot, tick)) = self.first().filter(|(_, _, tick)| *tick <= now) else {
                // Nothing is filed between the current tick and this one, so all stay in their slots.
                self.current = self.current.max(now);
                self.opened = (0, 0);
                return None;
            };
            *budget -= 1;
            self.current = self.current.max(tick);
            self.opened = (level, slot);
            let head = self.heads.get(level).and_then(|slots| slots.get(slot)).copied().unwrap_or(NONE);
            let timer = head.checked_sub(1)?;
            let due = self.at(timer).tick;
            self.unlink(timer);
            if due <= self.current {
                return Some(timer);
            }
            self.link(timer, due);
        }
        None
    }

    /// The first occupied slot, and the tick it begins at. All that is on a lower level comes before all that is on a
    /// higher one, since it agrees with the current tick in more digits.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let (level, slot) = self.opened;
        if level > 0 && self.occupied.get(level).is_some_and(|slots| slots >> slot & 1 == 1) {
            return Some((level, slot, self.current));
        }
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        let slot = self.occupied.get(level)?.trailing_zeros();
        let below = DIGIT * level as u32;
        let digit = u64::from(slot) << below;
        let above = self.current >> (below + DIGIT) << (below + DIGIT);
        Some((level, slot as usize, (above | digit).max(self.current)))
    }

    fn at(&self, timer: u32) -> Link {
        usize_of(timer).and_then(|index| self.links.get(index)).copied().unwrap_or_default()
    }

    fn at_mut(&mut self, timer: u32) -> Option<&mut Link> {
        self.links.get_mut(usize_of(timer)?)
    }

    fn link(&mut self, timer: u32, tick: u64) {
        let differing = (self.current ^ tick) | 1;
        let level = (differing.ilog2() / DIGIT) as usize;
        let slot = (tick >> (DIGIT * level as u32)) as usize % SLOTS;
        let id = timer + 1;
        let Some(head) = self.heads.get_mut(level).and_then(|slots| slots.get_mut(slot)) else { return };
        let next = core::mem::replace(head, id);
        if let Some(slots) = self.occupied.get_mut(level) {
            *slots |= 1 << slot;
        }
        if let Some(after) = next.checked_sub(1).and_then(|next| self.at_mut(next)) {
            after.previous = id;
        }
        let place = (level * SLOTS + slot + 1) as u16;
        if let Some(link) = self.at_mut(timer) {
            *link = Link { next, previous: NONE, tick, place };
        }
        self.armed += 1;
    }

    fn unlink(&mut self, timer: u32) {
        let Some(link) = self.at_mut(timer) else { return };
        let Link { next, previous, place, .. } = core::mem::take(link);
        let Some(place) = usize::from(place).checked_sub(1) else { return };
        if let Some(after) = next.checked_sub(1).and_then(|next| self.at_mut(next)) {
            after.previous = previous;
        }
        match previous.checked_sub(1) {
            Some(before) => {
                if let Some(before) = self.at_mut(before) {
                    before.next = next;
                }
            }
            None => {
                let (level, slot) = (place / SLOTS, place % SLOTS);
                if let Some(head) = self.heads.get_mut(level).and_then(|slots| slots.get_mut(slot)) {
                    *head = next;
                }
                if next == NONE
                    && let Some(slots) = self.occupied.get_mut(level)
                {
                    *slots &= !(1 << slot);
                }
            }
        }
        self.armed -= 1;
    }
}

fn usize_of(timer: u32) -> Option<usize> {
    usize::try_from(timer).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, u64),
        Disarm(u32),
        Advance(u64),
    }

    /// Distances from milliseconds to years, so that every level is used.
    fn distance() -> impl Strategy<Value = u64> {
        (0u32..56, any::<u64>()).prop_map(|(bits, n)| n >> (63 - bits.max(20)))
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u32..40, distance()).prop_map(|(timer, after)| Step::Arm(timer, after)),
            1 => (0u32..40).prop_map(Step::Disarm),
            2 => distance().prop_map(Step::Advance),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The oracle: a map of deadlines in ticks.
        #[test]
        fn fires_what_a_sorted_map_fires(steps in proptest::collection::vec(step(), 1..200), start in 0u64..1 << 50) {
            let mut wheel = Wheel::new(40);
            let mut oracle: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = start;
            let ticks = |nanos: u64| nanos >> TICK;
            let mut far = usize::MAX;
            prop_assert_eq!(wheel.pop(Time::from_nanos(now), &mut far), None);
            for step in steps {
                match step {
                    Step::Arm(timer, after) => {
                        let at = now + after;
                        // In the past is as good as now.
                        let tick = at.div_ceil(1 << TICK).max(ticks(now));
                        wheel.arm(timer, Time::from_nanos(at));
                        let due = oracle.entry(timer).or_insert(tick);
                        *due = tick.min(*due);
                    }
                    Step::Disarm(timer) => {
                        wheel.disarm(timer);
                        oracle.remove(&timer);
                    }
                    Step::Advance(by) => {
                        now += by;
                        let mut fired = Vec::new();
                        let mut budget = usize::MAX;
                        while let Some(timer) = wheel.pop(Time::from_nanos(now), &mut budget) {
                            fired.push(timer);
                        }
                        let due: Vec<u32> =
                            oracle.iter().filter(|(_, tick)| **tick <= ticks(now)).map(|(t, _)| *t).collect();
                        // In the order of their ticks.
                        let order: Vec<u64> = fired.iter().map(|t| oracle.remove(t).unwrap_or(0)).collect();
                        prop_assert!(order.is_sorted(), "{:?}", order);
                        fired.sort_unstable();
                        prop_assert_eq!(fired, due);
                    }
                }
                prop_assert_eq!(wheel.armed(), oracle.len());
                // Never later than the first deadline, and never in the past.
                let first = oracle.values().min().map(|tick| tick << TICK);
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                if let (Some(next), Some(first)) = (wheel.next(), first) {
                    prop_assert!(next.as_nanos() <= first && next.as_nanos() >> TICK >= ticks(now).min(first >> TICK));
                }
            }
        }
    }

    #[test]
    fn work_is_bounded_by_the_budget() {
        let mut wheel = Wheel::new(1000);
        for timer in 0..1000 {
            wheel.arm(timer, Time::from_nanos(60_000_000_000));
        }
        let now = Time::from_nanos(60_100_000_000);
        let (mut calls, mut fired) = (0, 0);
        while wheel.armed() > 0 {
            let mut budget = 64;
            while wheel.pop(now, &mut budget).is_some() {
                fired += 1;
            }
            calls += 1;
            assert!(calls < 100, "each call makes progress");
            assert!(wheel.armed() == 0 || wheel.next().is_some_and(|due| due <= now), "due again at once");
        }
        assert_eq!(fired, 1000);
        assert!(calls > 1000 / 64, "{calls} calls");
    }

    #[test]
    fn a_prolonged_deadline_does_not_move_its_timer() {
        let mut wheel = Wheel::new(1);
        wheel.arm(0, Time::from_nanos(1 << 30));
        wheel.arm(0, Time::from_nanos(1 << 35));
        assert_eq!(wheel.pop(Time::from_nanos(1 << 30), &mut 9), Some(0));
        wheel.arm(0, Time::from_nanos(1 << 35));
        wheel.arm(0, Time::from_nanos(1 << 31));
        assert_eq!(wheel.pop(Time::from_nanos(1 << 31), &mut 9), Some(0));
        assert_eq!(wheel.armed(), 0);
        // One beyond the capacity is nobody's.
        wheel.arm(1, Time::START);
        assert_eq!((wheel.armed(), wheel.next()), (0, None));
    }
}
