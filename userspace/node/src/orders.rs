//! What the control side wants of every worker: to serve, to finish what is under way, or to stop. One relaxed load in
//! a worker's loop; it never goes back. Besides, to stand still while another node takes this one's place, which goes back when
//! that one doesn't: again one relaxed load, of the same cache line.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

const SERVE: u8 = 0;
const DRAIN: u8 = 1;
const STOP: u8 = 2;

/// Shared by the control side, the workers and the watchers.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    order: AtomicU8,
    still: AtomicBool,
    /// Workers that stand still.
    standing: AtomicUsize,
    /// Messages that those still had in their rings.
    left: AtomicUsize,
}

impl Orders {
    /// Begin nothing new.
    pub(crate) fn drain(&self) {
        self.order.fetch_max(DRAIN, Ordering::Relaxed);
    }

    /// Stop as soon as what was received is handled.
    pub(crate) fn stop(&self) {
        self.order.fetch_max(STOP, Ordering::Relaxed);
    }

    /// Receive nothing more, handle what is in the rings, and wait. Told to stop then, a worker leaves its kernel sockets alone,
    /// because they are somebody else's.
    pub(crate) fn stand_still(&self) {
        self.still.store(true, Ordering::Relaxed);
    }

    /// Serve again, as before.
    pub(crate) fn go_on(&self) {
        self.still.store(false, Ordering::Relaxed);
    }

    /// Whether nothing new may begin.
    pub(crate) fn is_draining(&self) -> bool {
        self.order.load(Ordering::Relaxed) != SERVE
    }

    /// Whether to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.order.load(Ordering::Relaxed) == STOP
    }

    /// Whether to stand still.
    #[inline]
    pub(crate) fn is_still(&self) -> bool {
        self.still.load(Ordering::Relaxed)
    }

    /// For a worker: from now on it stands still, with so many messages left in its rings, and touches nothing that it shares.
    pub(crate) fn stands(&self, left: usize) {
        self.left.fetch_add(left, Ordering::Relaxed);
        // Whoever sees it sees all that the worker did before.
        self.standing.fetch_add(1, Ordering::Release);
    }

    /// For a worker that stood still: it goes on.
    pub(crate) fn goes(&self, left: usize) {
        self.standing.fetch_sub(1, Ordering::Relaxed);
        self.left.fetch_sub(left, Ordering::Relaxed);
    }

    /// How many workers stand still.
    pub(crate) fn standing(&self) -> usize {
        self.standing.load(Ordering::Acquire)
    }

    /// Messages that those have left.
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back() {
        let orders = Orders::default();
        assert!(!orders.is_draining() && !orders.is_stopping());
        orders.drain();
        assert!(orders.is_draining() && !orders.is_stopping());
        orders.stop();
        orders.drain();
        assert!(orders.is_draining() && orders.is_stopping());
    }

    #[test]
    fn standing_still_goes_back() {
        let orders = Orders::default();
        orders.stand_still();
        assert!(orders.is_still() && !orders.is_draining());
        orders.stands(2);
        orders.stands(0);
        assert_eq!((orders.standing(), orders.left()), (2, 2));
        orders.go_on();
        orders.goes(2);
        orders.goes(0);
        assert_eq!((orders.is_still(), orders.standing(), orders.left()), (false, 0, 0));
    }
}
