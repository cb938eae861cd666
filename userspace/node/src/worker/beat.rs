//! Whether each worker still goes round: a number that it writes in every turn of its loop.
//!
//! What the XDP program judges by is like it, but the kernel's, and not there with mode `off`.

use std::sync::atomic::{AtomicU64, Ordering};

use strowger_engine::Time;

/// The age at which a worker is taken for stuck; the XDP program takes the same.
const STUCK_NS: u64 = strowger_xdp::HEARTBEAT_STALE_NS;

/// One worker's, in a cache line of its own. 0 before its first turn.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Beat(AtomicU64);

/// One for each worker.
#[derive(Debug)]
pub(super) struct Beats(Box<[Beat]>);

impl Beats {
    pub(super) fn of(workers: usize) -> Beats {
        Beats((0..workers).map(|_| Beat::default()).collect())
    }

    /// `worker` lived at `now`. One relaxed store.
    #[inline]
    pub(super) fn beat(&self, worker: usize, now: Time) {
        if let Some(beat) = self.0.get(worker) {
            beat.0.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// Whether `worker` has lived, and not for so long now. One that has not begun yet is about to.
    #[inline]
    pub(super) fn is_stuck(&self, worker: usize, now: Time) -> bool {
        let last = self.0.get(worker).map_or(0, |beat| beat.0.load(Ordering::Relaxed));
        last != 0 && now.as_nanos().saturating_sub(last) > STUCK_NS
    }
}
