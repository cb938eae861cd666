//! Timers of calls: when each is due, which call it is for, and which setting of it.
//!
//! Nearly all timers are a first T1 (500 ms) that an answer makes pointless, or a hold time. What is set for the same
//! span again and again falls due in the order in which it was set, so it goes into a queue and costs a push; the rest
//! (later repetitions, pauses of various lengths) goes into a heap. A timer is never taken out: a call that no longer
//! wants it knows it by its number. Used by `agents` alone; allocates when more timers run than ever before.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// One timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    /// When it is due, nanoseconds.
    pub(crate) due: u64,
    /// The call's place.
    pub(crate) place: u32,
    /// The setting: the call ignores all but its last.
    pub(crate) serial: u32,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Timers {
    span: u64,
    queue: VecDeque<Timer>,
    heap: BinaryHeap<Reverse<Timer>>,
}

impl Timers {
    /// For about `expected` timers at a time; most of them are for `span` nanoseconds.
    pub(crate) fn new(span: u64, expected: usize) -> Self {
        Self { span, queue: VecDeque::with_capacity(expected), heap: BinaryHeap::with_capacity(expected) }
    }

    /// Sets a timer `span` after `now`.
    pub(crate) fn set(&mut self, now: u64, span: u64, place: u32, serial: u32) {
        let timer = Timer { due: now.saturating_add(span), place, serial };
        // Callers' clocks never go back, but a queue out of order would fire late: the heap takes what does not fit.
        if span == self.span && self.queue.back().is_none_or(|last| last.due <= timer.due) {
            self.queue.push_back(timer);
        } else {
            self.heap.push(Reverse(timer));
        }
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<u64> {
        let queued = self.queue.front().map(|timer| timer.due);
        let heaped = self.heap.peek().map(|Reverse(timer)| timer.due);
        match (queued, heaped) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Takes one that is due.
    pub(crate) fn fire(&mut self, now: u64) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let heaped = self.heap.peek().map(|Reverse(timer)| timer.due);
        match self.queue.front() {
            Some(queued) if heaped.is_none_or(|due| queued.due <= due) => self.queue.pop_front(),
            _ => self.heap.pop().map(|Reverse(timer)| timer),
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.heap.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The same timers come out, each when it is due, as from a list that is searched.
        #[test]
        fn as_a_list_would(steps in proptest::collection::vec((0_u64..300, 0_u64..4), 1..200)) {
            let mut timers = Timers::new(100, 4);
            let mut list: Vec<Timer> = Vec::new();
            let mut now = 0;
            for (serial, (wait, kind)) in (0..).zip(steps) {
                let span = [100, 100, 7, 1_000][kind as usize];
                timers.set(now, span, 0, serial);
                list.push(Timer { due: now + span, place: 0, serial });
                now += wait / 10;
                prop_assert_eq!(timers.next(), list.iter().map(|timer| timer.due).min());
                while let Some(timer) = timers.fire(now) {
                    prop_assert!(timer.due <= now);
                    let earliest = list.iter().map(|timer| timer.due).min();
                    prop_assert_eq!(Some(timer.due), earliest, "in order");
                    let at = list.iter().position(|&other| other == timer);
                    prop_assert!(at.is_some(), "it was set, and fires once");
                    list.swap_remove(at.unwrap_or_default());
                }
                prop_assert!(list.iter().all(|timer| timer.due > now), "none is forgotten");
            }
        }
    }
}
