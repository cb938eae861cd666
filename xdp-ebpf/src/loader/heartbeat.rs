//! Workers' beats: the map of heartbeats, mapped into this process, so that a beat is one store.

use std::mem::offset_of;
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
    spoken_for: bool,
}

impl Heartbeat {
    pub(super) fn new(page: &Arc<MappedWords>, worker: u32, spoken_for: bool) -> Option<Self> {
        (worker < MAX_WORKERS).then(|| Self { page: Arc::clone(page), worker, spoken_for })
    }

    /// Whether the program answers pings in the worker's place, and so has to know whether it [is
    /// ready](Self::set_ready).
    #[inline]
    pub fn is_spoken_for(&self) -> bool {
        self.spoken_for
    }

    /// Whose it is.
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Says that the worker lived at `now_ns` of CLOCK_MONOTONIC. One relaxed store, no system call.
    #[inline]
    pub fn beat(&self, now_ns: u64) {
        self.store(offset_of!(HeartbeatSlot, beat_ns), now_ns);
    }

    /// Says whether the worker would answer an OPTIONS ping with a 200 now; before it is said, it would not. Likewise.
    #[inline]
    pub fn set_ready(&self, ready: bool) {
        self.store(offset_of!(HeartbeatSlot, ready), ready.into());
    }

    #[inline]
    fn store(&self, offset: usize, value: u64) {
        if let Some(word) = self.page.word((self.worker as usize * size_of::<HeartbeatSlot>() + offset) / 8) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.set_ready(false);
        self.beat(0);
    }
}
