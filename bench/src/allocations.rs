//! Counts what is allocated, for us and for every peer alike.
//!
//! The whole binary runs on this allocator: the system's, plus three additions to thread-local numbers (about a
//! nanosecond, against some twenty for the allocation itself). libosip2 allocates in C; its FFI module reports to the
//! same numbers with [`record`]. `GlobalAlloc` is an unsafe trait: this file and the FFI are the only ones with unsafe.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Sub;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// Allocations of this thread since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    /// How many; growing a block counts as one.
    pub count: u64,
    /// Octets asked for.
    pub bytes: u64,
}

impl Allocations {
    /// The thread's numbers now.
    #[must_use]
    pub fn now() -> Self {
        Self { count: COUNT.get(), bytes: BYTES.get() }
    }
}

impl Sub for Allocations {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self { count: self.count - earlier.count, bytes: self.bytes - earlier.bytes }
    }
}

/// Octets that this thread has allocated and not given back, libosip2's left out. Below zero when it has given back what
/// another thread allocated.
#[must_use]
pub fn held() -> i64 {
    HELD.get()
}

/// As many more octets, or fewer, are held.
#[inline]
fn hold(more: usize, fewer: usize) {
    HELD.set(HELD.get().wrapping_add(more.cast_signed() as i64).wrapping_sub(fewer.cast_signed() as i64));
}

/// Adds one allocation of `bytes` octets.
#[inline]
pub fn record(bytes: usize) {
    COUNT.set(COUNT.get() + 1);
    BYTES.set(BYTES.get() + bytes as u64);
}

/// The system's allocator, counted.
#[derive(Debug)]
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to `System` with the caller's own arguments, so its promises are passed on as they are;
// counting touches three thread-local integers, allocates nothing and cannot unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        record(layout.size());
        hold(layout.size(), 0);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        record(layout.size());
        hold(layout.size(), 0);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        record(size);
        hold(size, layout.size());
        // SAFETY: as in `alloc`; `block` came from `System` through this type.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        hold(0, layout.size());
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn allocations_are_counted_and_their_absence_too() {
        let before = Allocations::now();
        let block = black_box(Vec::<u8>::with_capacity(100));
        let boxed = black_box(Box::new(7_u64));
        let counted = Allocations::now() - before;
        assert_eq!(counted, Allocations { count: 2, bytes: 108 });
        let with = held();
        drop((block, boxed));
        assert_eq!(with - held(), 108);
        let before = Allocations::now();
        black_box([0_u8; 100]);
        assert_eq!(Allocations::now() - before, Allocations::default());
    }
}
