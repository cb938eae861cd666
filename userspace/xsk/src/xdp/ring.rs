//! One ring shared with the kernel: single producer, single consumer, indices that wrap at 2^32.
//!
//! Producer and consumer index count all descriptors ever passed, modulo 2^32; the slot is the index modulo the
//! ring's size, a power of two. So `producer - consumer` (wrapping) is what the ring holds, and full and empty are
//! told apart without a spare slot. Each end keeps its own index and the last value seen of the other's, and looks
//! at the shared one (another core's cache line) only when the copy says that there isn't enough.
//!
//! Ordering, the same at both ends:
//! - an end publishes its index with *release*: whoever sees the new index sees the descriptors written (or knows that
//!   they were read) before it;
//! - an end loads the other's index with *acquire*: descriptors are read (or overwritten) only after that.
//!
//! The kernel's side does the same (`net/xdp/xsk_queue.h`). An index from the other side that would mean more
//! descriptors than the ring has slots is treated as "none", never followed.

use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use super::memory::Memory;

// Under `--features loom` the model checker's types stand in; that build can run the model tests only.
#[cfg(feature = "loom")]
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, Ordering},
};
#[cfg(not(feature = "loom"))]
use std::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, Ordering, fence},
};

/// Where the parts of a ring lie in its mapping (`xdp_ring_offset`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Offsets {
    pub(super) producer: u64,
    pub(super) consumer: u64,
    pub(super) flags: u64,
    pub(super) descriptors: u64,
}

impl From<libc::xdp_ring_offset> for Offsets {
    fn from(offsets: libc::xdp_ring_offset) -> Self {
        let libc::xdp_ring_offset { producer, consumer, desc, flags } = offsets;
        Self { producer, consumer, flags, descriptors: desc }
    }
}

/// A ring's shared parts, and what keeps their memory alive.
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<UnsafeCell<T>>,
    mask: u32,
    _memory: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the pointers lead into `_memory`, which may be used and dropped on any thread; an end of a ring has one
// owner, and moving it to another thread is a synchronisation of its own.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// A ring of `size` slots in the mapping of an AF_XDP socket. `None` when a part would lie outside of it.
    fn in_mapping(memory: Memory, offsets: Offsets, size: u32) -> Option<Self> {
        if cfg!(feature = "loom") {
            return None; // The model checker's atomics can't lie in the kernel's memory.
        }
        assert!(size.is_power_of_two());
        let fits = |offset: u64, len: usize, align: usize| {
            let offset = usize::try_from(offset).ok()?;
            let end = offset.checked_add(len)?;
            (end <= memory.len() && offset.is_multiple_of(align)).then_some(offset)
        };
        let word = size_of::<AtomicU32>();
        let producer = fits(offsets.producer, word, word)?;
        let consumer = fits(offsets.consumer, word, word)?;
        let flags = fits(offsets.flags, word, word)?;
        let slots = fits(offsets.descriptors, size as usize * size_of::<T>(), align_of::<T>())?;
        let base = memory.base();
        // SAFETY: each offset was just checked to leave room for its part inside the mapping; the mapping starts on
        // a page, so a multiple of the alignment is aligned.
        let (producer, consumer, flags, slots) = unsafe {
            (
                base.add(producer).cast(),
                base.add(consumer).cast(),
                base.add(flags).cast(),
                base.add(slots).cast(),
            )
        };
        Some(Self { producer, consumer, flags, slots, mask: size - 1, _memory: Arc::new(memory) })
    }

    fn size(&self) -> u32 {
        self.mask.wrapping_add(1)
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: points into `_memory`, aligned, alive as long as `self`; the kernel only accesses it atomically.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as `producer`.
        unsafe { self.flags.as_ref() }
    }

    fn slot(&self, index: u32) -> &UnsafeCell<T> {
        // SAFETY: `index & mask` is below the number of slots that `_memory` has room for.
        unsafe { self.slots.add((index & self.mask) as usize).as_ref() }
    }

    /// # Safety
    ///
    /// The slot is between the consumer's and the producer's index: no one writes it until we release it.
    unsafe fn read(&self, index: u32) -> T {
        #[cfg(feature = "loom")]
        // SAFETY: passed on to our caller.
        return self.slot(index).with(|slot| unsafe { *slot });
        #[cfg(not(feature = "loom"))]
        // SAFETY: the pointer is valid and aligned (see `slot`), `T` is `Copy`, and nobody writes there meanwhile.
        unsafe {
            self.slot(index).get().read()
        }
    }

    /// # Safety
    ///
    /// The slot is free, between the producer's index and the consumer's plus the size: no one reads it until we
    /// submit it.
    unsafe fn write(&self, index: u32, value: T) {
        #[cfg(feature = "loom")]
        // SAFETY: passed on to our caller.
        return self.slot(index).with_mut(|slot| unsafe { *slot = value });
        #[cfg(not(feature = "loom"))]
        // SAFETY: the pointer is valid and aligned (see `slot`), and nobody else uses the slot meanwhile.
        unsafe {
            self.slot(index).get().write(value);
        }
    }
}

/// The producing end: fill and TX rings for us, RX and completion rings for the kernel.
pub(super) struct Producer<T> {
    shared: Shared<T>,
    /// Next slot to write; slots before it and from `published` on are written but not visible yet.
    next: u32,
    published: u32,
    consumer_seen: u32,
}

impl<T: Copy> Producer<T> {
    pub(super) fn in_mapping(memory: Memory, offsets: Offsets, size: u32) -> Option<Self> {
        Shared::in_mapping(memory, offsets, size).map(Self::over)
    }

    fn over(shared: Shared<T>) -> Self {
        let next = shared.producer().load(Ordering::Relaxed);
        let consumer_seen = shared.consumer().load(Ordering::Acquire);
        Self { shared, next, published: next, consumer_seen }
    }

    pub(super) fn size(&self) -> u32 {
        self.shared.size()
    }

    /// How many slots of the `wanted` can be written now.
    #[inline]
    pub(super) fn reserve(&mut self, wanted: u32) -> u32 {
        let mut free = self.free();
        if free < wanted {
            // Acquire: the consumer has read a slot before it released it, so we may overwrite it.
            self.consumer_seen = self.shared.consumer().load(Ordering::Acquire);
            free = self.free();
        }
        free.min(wanted)
    }

    fn free(&self) -> u32 {
        // More in use than there are slots: the other side's index is nonsense, so nothing is free.
        self.size().saturating_sub(self.next.wrapping_sub(self.consumer_seen))
    }

    /// Writes one descriptor; the consumer sees it after [`Self::submit`]. False, and nothing written, if full.
    #[inline]
    pub(super) fn push(&mut self, value: T) -> bool {
        if self.reserve(1) == 0 {
            return false;
        }
        // SAFETY: a slot is free at `next`, says `reserve`.
        unsafe { self.shared.write(self.next, value) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Descriptors written but not submitted.
    #[inline]
    pub(super) fn unsubmitted(&self) -> u32 {
        self.next.wrapping_sub(self.published)
    }

    /// Makes all written descriptors visible to the consumer.
    #[inline]
    pub(super) fn submit(&mut self) {
        if self.next != self.published {
            // Release: who sees this index sees the descriptors before it.
            self.shared.producer().store(self.next, Ordering::Release);
            self.published = self.next;
        }
    }

    /// Descriptors in the ring that the consumer hasn't released, submitted or not.
    pub(super) fn pending(&self) -> u32 {
        self.next.wrapping_sub(self.shared.consumer().load(Ordering::Acquire)).min(self.size())
    }

    /// Whether the kernel sleeps until it is woken by a system call.
    #[inline]
    #[cfg(not(feature = "loom"))]
    pub(super) fn needs_wakeup(&self) -> bool {
        // The kernel sets the flag and then looks at the producer index once more; we stored the index and now look
        // at the flag. Without a full barrier between, both sides could miss the other's store.
        fence(Ordering::SeqCst);
        self.shared.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    #[cfg(feature = "loom")]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.shared.flags().load(Ordering::SeqCst) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// The consuming end: RX and completion rings for us, fill and TX rings for the kernel.
pub(super) struct Consumer<T> {
    shared: Shared<T>,
    /// Next slot to read; slots before it and from `released` on are read but not handed back yet.
    next: u32,
    released: u32,
    producer_seen: u32,
}

impl<T: Copy> Consumer<T> {
    pub(super) fn in_mapping(memory: Memory, offsets: Offsets, size: u32) -> Option<Self> {
        Shared::in_mapping(memory, offsets, size).map(Self::over)
    }

    fn over(shared: Shared<T>) -> Self {
        let next = shared.consumer().load(Ordering::Relaxed);
        let producer_seen = shared.producer().load(Ordering::Acquire);
        Self { shared, next, released: next, producer_seen }
    }

    pub(super) fn size(&self) -> u32 {
        self.shared.size()
    }

    /// How many of the `wanted` descriptors can be read now.
    #[inline]
    pub(super) fn peek(&mut self, wanted: u32) -> u32 {
        let mut ready = self.ready();
        if ready < wanted {
            // Acquire: the producer has written the descriptors before it published this index.
            self.producer_seen = self.shared.producer().load(Ordering::Acquire);
            ready = self.ready();
        }
        ready.min(wanted)
    }

    fn ready(&self) -> u32 {
        let ready = self.producer_seen.wrapping_sub(self.next);
        // More ready than there are slots: the other side's index is nonsense, so nothing is.
        if ready > self.size() { 0 } else { ready }
    }

    /// Reads one descriptor; its slot goes back to the producer at [`Self::release`].
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.peek(1) == 0 {
            return None;
        }
        // SAFETY: a descriptor is ready at `next`, says `peek`.
        let value = unsafe { self.shared.read(self.next) };
        self.next = self.next.wrapping_add(1);
        Some(value)
    }

    /// Hands the slots of all descriptors read back to the producer.
    #[inline]
    pub(super) fn release(&mut self) {
        if self.next != self.released {
            // Release: our reads are done before the producer may overwrite the slots.
            self.shared.consumer().store(self.next, Ordering::Release);
            self.released = self.next;
        }
    }

    /// For another thread to read how many wait.
    pub(super) fn gauge(&self) -> Gauge {
        let Shared { producer, consumer, _memory: memory, .. } = &self.shared;
        Gauge { producer: *producer, consumer: *consumer, size: self.size(), _memory: Arc::clone(memory) }
    }

    /// Descriptors that wait to be read.
    pub(super) fn pending(&self) -> u32 {
        self.shared.producer().load(Ordering::Acquire).wrapping_sub(self.next).min(self.size())
    }
}

/// Reads how many descriptors wait in a ring; for whoever reports on a ring that another thread consumes.
pub(super) struct Gauge {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    size: u32,
    _memory: Arc<dyn Any + Send + Sync>,
}

// SAFETY: as for `Shared`; through a gauge the two indices are read, atomically, and nothing else.
unsafe impl Send for Gauge {}

impl Gauge {
    /// Descriptors that wait to be read, or are being read.
    pub(super) fn pending(&self) -> u32 {
        // SAFETY: both point into `_memory`, aligned, alive as long as `self`; everybody accesses them atomically.
        let (producer, consumer) = unsafe { (self.producer.as_ref(), self.consumer.as_ref()) };
        let consumer = consumer.load(Ordering::Relaxed);
        producer.load(Ordering::Acquire).wrapping_sub(consumer).min(self.size)
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gauge {{ pending: {} }}", self.pending())
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, next, published, consumer_seen } = self;
        write!(f, "Producer {{ next: {next}, published: {published}, ")?;
        write!(f, "consumer_seen: {consumer_seen}, mask: {:#x} }}", shared.mask)
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, next, released, producer_seen } = self;
        write!(f, "Consumer {{ next: {next}, released: {released}, ")?;
        write!(f, "producer_seen: {producer_seen}, mask: {:#x} }}", shared.mask)
    }
}

/// A ring in ordinary memory, whose other end plays the kernel in tests.
#[cfg(test)]
pub(super) mod fake {
    use super::*;

    struct Heap<T> {
        producer: AtomicU32,
        consumer: AtomicU32,
        flags: AtomicU32,
        slots: Box<[UnsafeCell<T>]>,
    }

    // SAFETY: the cells are accessed by the two ends only, each where the indices allow.
    unsafe impl<T: Send> Sync for Heap<T> {}

    /// Lets a test set what only the kernel sets.
    #[cfg_attr(feature = "loom", allow(dead_code))]
    pub(crate) struct Hand<T>(Arc<Heap<T>>);

    #[cfg_attr(feature = "loom", allow(dead_code))]
    impl<T> Hand<T> {
        pub(crate) fn set_producer(&self, index: u32) {
            self.0.producer.store(index, Ordering::Release);
        }

        pub(crate) fn set_consumer(&self, index: u32) {
            self.0.consumer.store(index, Ordering::Release);
        }

        pub(crate) fn set_need_wakeup(&self, on: bool) {
            self.0.flags.store(u32::from(on) * libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
        }
    }

    /// Both ends of a ring of `size` slots, all `blank`, whose indices stand at `first`.
    pub(crate) fn ring<T: Copy + Send + 'static>(
        size: u32,
        first: u32,
        blank: T,
    ) -> (Producer<T>, Consumer<T>, Hand<T>) {
        let heap = Arc::new(Heap {
            producer: AtomicU32::new(first),
            consumer: AtomicU32::new(first),
            flags: AtomicU32::new(0),
            slots: (0..size).map(|_| UnsafeCell::new(blank)).collect(),
        });
        let shared = || Shared {
            producer: NonNull::from(&heap.producer),
            consumer: NonNull::from(&heap.consumer),
            flags: NonNull::from(&heap.flags),
            slots: NonNull::from(&*heap.slots).cast(),
            mask: size - 1,
            _memory: heap.clone(),
        };
        (Producer::over(shared()), Consumer::over(shared()), Hand(heap))
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
