//! Workers' beats: the map of heartbeats, mapped into this process, so that a beat is one store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::mapped::MappedWords;
use crate::{HeartbeatSlot, MAX_WORKERS};

/// The sign of life of one worker, which owns it and beats it at least every 50 ms. When it is dropped, also by a
/// panic that unwinds the worker, the worker's packets are passed at once.
#[derive(Debug)]
pub struct Heartbeat {
    page: Arc<MappedWords>,
    worker: u32,
}

impl Heartbeat {
    pub(super) fn new(page: &Arc<MappedWords>, worker: u32) -> Option<Self> {
        (worker < MAX_WORKERS).then(|| Self { page: Arc::clone(page), worker })
    }

    /// Whose it is.
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Says that the worker lived at `now_ns` of CLOCK_MONOTONIC. One relaxed store, no system call.
    #[inline]
    pub fn beat(&self, now_ns: u64) {
        const WORDS: usize = size_of::<HeartbeatSlot>() / 8;
        if let Some(beat) = self.page.word(self.worker as usize * WORDS) {
            beat.store(now_ns, Ordering::Relaxed);
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.beat(0);
    }
}
