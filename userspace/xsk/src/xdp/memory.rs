//! Anonymous and ring mappings: made, told apart by the pages they got, unmapped on drop.
//!
//! Called by `umem` for packet memory and by `socket` for the four rings. Unsafe because it is where addresses come
//! from; nothing outside this file and `ring` turns one into a reference.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use crate::syscall;

/// Size of the huge pages asked for.
pub(super) const HUGE_PAGE: usize = 2 << 20;

/// What kind of pages the packet memory got. Fewer, larger pages mean fewer TLB misses on the packets' way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// 2 MB pages reserved by the administrator (`vm.nr_hugepages`); never swapped, never split.
    Huge,
    /// Ordinary memory that the kernel joined into 2 MB pages when asked to.
    Transparent,
    /// Pages of the machine's base size, usually 4 KiB.
    Ordinary,
}

/// One mapping, exclusively ours.
#[derive(Debug)]
pub(super) struct Memory {
    base: NonNull<u8>,
    len: usize,
    pages: Pages,
}

// SAFETY: the mapping belongs to the process, not to a thread, and `Memory` is its only owner.
unsafe impl Send for Memory {}
// SAFETY: through `&Memory` the base address and the length can be read; bytes are reached by unsafe functions whose
// callers answer for who else reads and writes them, on whatever thread.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory for packets: huge pages if `huge` and there are some, else transparent ones, else ordinary.
    ///
    /// Fails only when not even ordinary pages can be had.
    pub(super) fn for_packets(len: usize, huge: bool) -> io::Result<Self> {
        if !huge {
            return Self::ordinary(len);
        }
        let rounded = len.next_multiple_of(HUGE_PAGE);
        let flags = libc::MAP_HUGETLB | libc::MAP_HUGE_2MB | libc::MAP_POPULATE;
        if let Ok(base) = syscall::map_anonymous(rounded, flags) {
            return Ok(Self { base, len: rounded, pages: Pages::Huge });
        }
        Self::transparent(rounded).or_else(|_| Self::ordinary(len))
    }

    /// Ring memory of an AF_XDP socket; `offset` is one of the kernel's `XDP_*_PGOFF_*`.
    pub(super) fn of_ring(fd: BorrowedFd<'_>, len: usize, offset: i64) -> io::Result<Self> {
        let base = syscall::map_ring(fd, len, offset)?;
        Ok(Self { base, len, pages: Pages::Ordinary })
    }

    fn ordinary(len: usize) -> io::Result<Self> {
        let base = syscall::map_anonymous(len, 0)?;
        Ok(Self { base, len, pages: Pages::Ordinary })
    }

    /// Memory aligned for huge pages and joined into them; an error when the kernel didn't join all of it.
    ///
    /// `MADV_HUGEPAGE` alone is a wish. `MADV_COLLAPSE` (Linux 6.1) does it now and says whether it worked, so what
    /// we report is what we have.
    fn transparent(len: usize) -> io::Result<Self> {
        let base = syscall::map_anonymous_aligned(len, HUGE_PAGE)?;
        let memory = Self { base, len, pages: Pages::Transparent };
        syscall::advise(base, len, libc::MADV_HUGEPAGE)?;
        syscall::advise(base, len, libc::MADV_POPULATE_WRITE)?;
        syscall::advise(base, len, libc::MADV_COLLAPSE)?;
        Ok(memory)
    }

    pub(super) fn pages(&self) -> Pages {
        self.pages
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The bytes in `range`.
    ///
    /// # Safety
    ///
    /// For as long as the slice lives nobody, the kernel included, writes to these bytes.
    ///
    /// # Panics
    ///
    /// If `range` isn't inside the mapping.
    pub(super) unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.len, "outside the mapping");
        // SAFETY: the range was just checked to lie inside one mapping, which lives as long as `self` and was
        // zeroed by the kernel, so it is initialised; the caller answers for writers.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(range.start), range.len()) }
    }

    /// The bytes in `range`, to be written.
    ///
    /// # Safety
    ///
    /// For as long as the slice lives nobody else, the kernel included, reads or writes these bytes.
    ///
    /// # Panics
    ///
    /// If `range` isn't inside the mapping.
    #[allow(
        clippy::mut_from_ref,
        reason = "several sockets share the memory; each byte has one holder, says the caller"
    )]
    pub(super) unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.len, "outside the mapping");
        // SAFETY: as in `bytes`; the caller answers for readers and writers.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(range.start), range.len()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        syscall::unmap(self.base, self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_writable_and_as_long_as_asked() {
        for huge in [false, true] {
            let memory = Memory::for_packets(3 * 4096, huge).unwrap();
            assert!(memory.len() >= 3 * 4096);
            // SAFETY: nobody else knows this mapping.
            let bytes = unsafe { memory.bytes_mut(0..3 * 4096) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes[3 * 4096 - 1] = 7;
            // SAFETY: as above.
            assert_eq!(unsafe { memory.bytes(3 * 4096 - 1..3 * 4096) }, [7]);
        }
    }

    #[test]
    fn pages_said_to_be_joined_are_joined() {
        let memory = Memory::for_packets(4 * HUGE_PAGE, true).unwrap();
        if memory.pages() != Pages::Transparent {
            eprintln!("SKIP: got {:?} pages, nothing to check", memory.pages());
            return;
        }
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = memory.base().as_ptr().addr();
        let mut inside = false;
        let mut joined_kib = 0;
        for line in smaps.lines() {
            if let Some((range, _)) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')) {
                inside = usize::from_str_radix(range, 16).is_ok_and(|low| low <= start);
                if inside {
                    joined_kib = 0;
                }
            } else if inside && line.starts_with("AnonHugePages:") {
                joined_kib = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            }
        }
        assert!(joined_kib >= 4 * HUGE_PAGE / 1024, "only {joined_kib} KiB in huge pages");
    }

    #[test]
    #[should_panic(expected = "outside the mapping")]
    fn bytes_past_the_end_are_refused() {
        let memory = Memory::for_packets(4096, false).unwrap();
        // SAFETY: nobody else knows this mapping.
        let _ = unsafe { memory.bytes(4000..4097) };
    }
}
