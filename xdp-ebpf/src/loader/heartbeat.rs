//! Workers' beats: the map of heartbeats, mapped into this process, so that a beat is one store.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;

use crate::{HeartbeatSlot, MAX_WORKERS};

/// Bytes of the mapping; `abi` asserts that it is a page.
const LEN: usize = size_of::<HeartbeatSlot>() * MAX_WORKERS as usize;

/// The mapped map. Unmapped with the last [`Heartbeat`], which may outlive the program.
pub(super) struct HeartbeatPage(NonNull<HeartbeatSlot>);

// SAFETY: the mapping belongs to the process, not to a thread, and what is in it is only touched by
// atomic stores.
unsafe impl Send for HeartbeatPage {}
// SAFETY: as above.
unsafe impl Sync for HeartbeatPage {}

impl HeartbeatPage {
    /// Maps `data`, which must be the array of [`MAX_WORKERS`] slots.
    pub(super) fn map(data: &MapData) -> io::Result<Self> {
        let info = data.info().map_err(io::Error::other)?;
        let (value_len, entries) = (info.value_size() as usize, info.max_entries());
        if value_len != size_of::<HeartbeatSlot>() || entries != MAX_WORKERS {
            return Err(io::Error::other("the map has another shape"));
        }
        // SAFETY: a new mapping wherever the kernel chooses; it can't overlap anything of ours.
        let address = unsafe {
            let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, data.fd().as_fd().as_raw_fd());
            libc::mmap(ptr::null_mut(), LEN, protection, libc::MAP_SHARED, fd, 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(address.cast()).map(Self).ok_or_else(|| io::Error::other("mapped at address 0"))
    }
}

impl Drop for HeartbeatPage {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped, and nobody has a reference into it: heartbeats hold the page
        // by an Arc. It can't fail for a mapping that exists.
        unsafe { libc::munmap(self.0.as_ptr().cast(), LEN) };
    }
}

impl fmt::Debug for HeartbeatPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeartbeatPage")
    }
}

/// The sign of life of one worker, which owns it and beats it at least every 50 ms. When it is dropped, also by a
/// panic that unwinds the worker, the worker's packets are passed at once.
#[derive(Debug)]
pub struct Heartbeat {
    page: Arc<HeartbeatPage>,
    worker: u32,
}

impl Heartbeat {
    pub(super) fn new(page: &Arc<HeartbeatPage>, worker: u32) -> Option<Self> {
        (worker < MAX_WORKERS).then(|| Self { page: Arc::clone(page), worker })
    }

    /// Whose it is.
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Says that the worker lived at `now_ns` of CLOCK_MONOTONIC. One relaxed store, no system call.
    #[inline]
    pub fn beat(&self, now_ns: u64) {
        self.slot().store(now_ns, Ordering::Relaxed);
    }

    fn slot(&self) -> &AtomicU64 {
        // SAFETY: `new` checked that the slot lies in the mapping, which lives as long as `page`; slots
        // are aligned to 64 bytes from the start of a page, and this process touches them by atomic
        // operations alone. The kernel's reader reads eight aligned bytes at once.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.page.0.as_ptr().add(self.worker as usize)).beat_ns) }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.beat(0);
    }
}
