//! Which nonce counts were used: each is good once (RFC 7616 section 3.4, `nc`).
//!
//! A fixed table of rows with eight places each. A nonce gets its place when somebody first proves himself with it, so
//! that whoever only asks for nonces takes no memory. In a full row the oldest nonce loses its place, and the row
//! remembers the youngest one that was lost: a nonce without a place that is not younger than that one may have been
//! used, and is refused as stale. So nothing is ever accepted twice because memory was short.

/// Counts below the highest one seen that are told apart; requests that overtake each other on their way are a few.
const WIDTH: u32 = 128;

/// Places in a row.
const WAYS: usize = 8;

/// The ids lie side by side: to look for one is to read one cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Row {
    /// Of each place its nonce's. 0 is a free place: nonces of time 0 have a count of at least 1.
    ids: [u64; WAYS],
    /// The youngest nonce that lost its place.
    lost: u64,
    /// The highest count used.
    tops: [u32; WAYS],
    /// Bit n: the count `top - n` was used.
    used: [u128; WAYS],
}

/// The nonces in use.
pub(super) struct Windows {
    rows: Box<[Row]>,
    mask: usize,
}

impl Windows {
    /// With room for `nonces` at least.
    pub(super) fn new(nonces: usize) -> Self {
        let rows = nonces.div_ceil(WAYS).next_power_of_two();
        Self { rows: vec![Row::default(); rows].into_boxed_slice(), mask: rows - 1 }
    }

    /// Uses the count `nc` of the nonce `id`; `mac` says in which row it is. False when it was used, or may have been.
    pub(super) fn take(&mut self, id: u64, mac: u64, nc: u32) -> bool {
        let Some(row) = self.rows.get_mut(mac as usize & self.mask) else { return false };
        if nc == 0 || id == 0 {
            return false;
        }
        let mut each = row.ids.iter().zip(row.tops.iter_mut().zip(&mut row.used));
        if let Some((_, (top, used))) = each.find(|(own, _)| **own == id) {
            return take(top, used, nc);
        }
        if id <= row.lost {
            return false;
        }
        // A free place has the smallest id there is.
        let each = row.ids.iter_mut().zip(row.tops.iter_mut().zip(&mut row.used));
        let Some((oldest, (top, used))) = each.min_by_key(|(own, _)| **own) else { return false };
        row.lost = row.lost.max(*oldest);
        (*oldest, *top, *used) = (id, nc, 1);
        true
    }
}

/// Uses the count `nc` of one nonce.
fn take(top: &mut u32, used: &mut u128, nc: u32) -> bool {
    if nc > *top {
        *used = used.checked_shl(nc - *top).unwrap_or(0) | 1;
        *top = nc;
        return true;
    }
    let bit = match *top - nc {
        behind if behind < WIDTH => 1 << behind,
        _ => return false,
    };
    let fresh = *used & bit == 0;
    *used |= bit;
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn each_count_once_in_any_order_within_the_window() {
        let mut windows = Windows::new(8);
        for (nc, fresh) in [
            (1, true),
            (1, false),
            (3, true),
            (2, true),
            (2, false),
            (0, false),
            (200, true),
            (73, true),
            (72, false),
            (73, false),
            (u32::MAX, true),
            (200, false),
            (u32::MAX - 127, true),
            (u32::MAX - 128, false),
        ] {
            assert_eq!(windows.take(9, 0, nc), fresh, "{nc}");
        }
    }

    #[test]
    fn who_lost_his_place_is_refused_and_so_is_who_may_have() {
        let mut windows = Windows::new(8);
        for id in 11..=18 {
            assert!(windows.take(id, 0, 1));
        }
        assert!(windows.take(19, 0, 1), "11 loses its place");
        assert!(!windows.take(11, 0, 1) && !windows.take(11, 0, 2));
        assert!(!windows.take(10, 0, 1), "older than one that lost its place: who knows");
        assert!(windows.take(12, 0, 2) && !windows.take(12, 0, 2), "the others are untouched");
        assert!(windows.take(20, 0, 1) && !windows.take(12, 0, 3), "12 is the next");
    }

    #[test]
    fn memory_is_fixed() {
        let windows = Windows::new(65_536);
        assert_eq!((windows.rows.len(), size_of::<Row>()), (8192, 256));
    }

    proptest! {
        /// Against a memory without limits: nothing is accepted twice, and what fits is accepted.
        #[test]
        fn nothing_twice(uses in proptest::collection::vec((1u64..30, 1u32..300), 1..400)) {
            let mut windows = Windows::new(16);
            let mut all: HashMap<u64, HashSet<u32>> = HashMap::new();
            for (id, nc) in uses {
                let counts = all.entry(id).or_default();
                let known = counts.contains(&nc);
                if windows.take(id, id, nc) {
                    prop_assert!(!known, "{id} {nc} twice");
                    counts.insert(nc);
                }
            }
        }

        #[test]
        fn one_nonce_against_a_set(counts in proptest::collection::vec(1u32..400, 1..300)) {
            let mut windows = Windows::new(8);
            let (mut seen, mut top) = (HashSet::new(), 0);
            for nc in counts {
                let expected = (nc > top || top - nc < WIDTH) && seen.insert(nc);
                top = top.max(nc);
                prop_assert_eq!(windows.take(5, 77, nc), expected);
            }
        }
    }
}
