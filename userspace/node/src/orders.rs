//! What the control side wants of every worker: to serve, to finish what is under way, or to stop. One relaxed load in
//! a worker's loop; it never goes back.

use std::sync::atomic::{AtomicU8, Ordering};

const SERVE: u8 = 0;
const DRAIN: u8 = 1;
const STOP: u8 = 2;

/// Shared by the control side, the workers and the watchers.
#[derive(Debug, Default)]
pub(crate) struct Orders(AtomicU8);

impl Orders {
    /// Begin nothing new.
    pub(crate) fn drain(&self) {
        self.0.fetch_max(DRAIN, Ordering::Relaxed);
    }

    /// Stop as soon as what was received is handled.
    pub(crate) fn stop(&self) {
        self.0.fetch_max(STOP, Ordering::Relaxed);
    }

    /// Whether nothing new may begin.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed) != SERVE
    }

    /// Whether to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Relaxed) == STOP
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
}
