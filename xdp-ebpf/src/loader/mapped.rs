//! An array of the kernel, mapped into this process: what is stored in it, the program reads, without a system call.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use aya::maps::MapData;

/// The words of a mapped array. Unmapped when dropped, which may be after the program is gone.
pub(super) struct MappedWords {
    words: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and what is in it is only touched by atomic
// operations.
unsafe impl Send for MappedWords {}
// SAFETY: as above.
unsafe impl Sync for MappedWords {}

impl MappedWords {
    /// Maps `data`, an array of `entries` values of `value_len` bytes, which must be a multiple of eight.
    pub(super) fn map(data: &MapData, value_len: usize, entries: u32) -> io::Result<Self> {
        let info = data.info().map_err(io::Error::other)?;
        if info.value_size() as usize != value_len
            || info.max_entries() != entries
            || !value_len.is_multiple_of(8)
        {
            return Err(io::Error::other("the map has another shape"));
        }
        let bytes = value_len * entries as usize;
        // SAFETY: a new mapping wherever the kernel chooses; it can't overlap anything of ours. The kernel rounds the
        // length up to whole pages, as it did for the map.
        let address = unsafe {
            let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, data.fd().as_fd().as_raw_fd());
            libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { words, count: bytes / 8 })
    }

    /// The word `index`, counted from the start of the array.
    #[inline]
    pub(super) fn word(&self, index: usize) -> Option<&AtomicU64> {
        // SAFETY: the words lie in the mapping, which lives as long as `self`; they are aligned, because the mapping
        // starts at a page, and this process touches them by atomic operations alone.
        (index < self.count).then(|| unsafe { self.words.add(index).as_ref() })
    }
}

impl Drop for MappedWords {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped, and nobody has a reference into it: `word` lends from `self`. It can't
        // fail for a mapping that exists.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.count * 8) };
    }
}

impl fmt::Debug for MappedWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedWords").field("count", &self.count).finish_non_exhaustive()
    }
}
