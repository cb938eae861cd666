//! The book of owners: for each chunk of a UMEM who has it, shared by all sockets of a queue, written without locks.
//!
//! Used by [`super::umem`] alone. A chunk changes hands in two ways:
//! - whoever has it gives it away ([`Book::assign`]): nobody else may touch its entry meanwhile, so a store will do;
//! - the kernel names it in a ring ([`Book::claim`]): the name may be wrong, twice in one ring, or in the rings of two
//!   sockets that two threads read at the same time. The entry is compared and swapped, so one of them gets it.
//!
//! Ordering: giving away is a *release*, claiming an *acquire*, so who claims a chunk sees every write to its bytes
//! that its last holder made, also where the kernel's own ordering did not see to it because it made the name up.

#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU8, Ordering};
#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicU8, Ordering};

/// Who owns a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Owner {
    /// On the free list of one of the sockets.
    Free,
    /// Somebody has its token.
    Held,
    /// The kernel, to receive into.
    Receive,
    /// The kernel, to transmit.
    Transmit,
    /// On its way between the queue's owner and a borrower.
    Crossing,
}

/// How many kinds of owners there are.
const KINDS: usize = 5;

/// Bytes of a cache line on every machine that we run on.
const LINE: usize = 64;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Book {
    entries: Box<[AtomicU8]>,
    stride_shift: u32,
}

impl Book {
    /// All `chunks` free. When several threads will write in it, each entry has a cache line of its own: chunks in
    /// flight are neighbours by chance only, and a line shared by chance costs more than all the rest of a change.
    pub(super) fn new(chunks: u32, shared: bool) -> Self {
        let stride_shift = if shared { LINE.trailing_zeros() } else { 0 };
        let entries = (0..(chunks as usize) << stride_shift).map(|_| AtomicU8::new(Owner::Free as u8));
        Self { entries: entries.collect(), stride_shift }
    }

    /// The caller has `chunk` and gives it to `owner`.
    ///
    /// # Panics
    ///
    /// If there is no such chunk.
    #[inline]
    pub(super) fn assign(&self, chunk: u32, owner: Owner) {
        self.entry(chunk).store(owner as u8, Ordering::Release);
    }

    /// The kernel says that it gives `chunk` back: whether it was `from`'s, and so is `to`'s now.
    ///
    /// # Panics
    ///
    /// If there is no such chunk.
    #[inline]
    pub(super) fn claim(&self, chunk: u32, from: Owner, to: Owner) -> bool {
        let entry = self.entry(chunk);
        entry.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// How many chunks each owner has, in the order of [`Owner`]. Reads every entry: for reports and tests.
    pub(super) fn count(&self) -> [u32; KINDS] {
        let mut counts = [0; KINDS];
        for entry in self.entries.iter().step_by(1 << self.stride_shift) {
            if let Some(count) = counts.get_mut(usize::from(entry.load(Ordering::Relaxed))) {
                *count += 1;
            }
        }
        counts
    }

    fn entry(&self, chunk: u32) -> &AtomicU8 {
        &self.entries[(chunk as usize) << self.stride_shift]
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_claim_needs_the_owner_that_it_names() {
        for shared in [false, true] {
            let book = Book::new(8, shared);
            assert!(!book.claim(3, Owner::Receive, Owner::Held));
            book.assign(3, Owner::Receive);
            assert!(book.claim(3, Owner::Receive, Owner::Held));
            assert!(!book.claim(3, Owner::Receive, Owner::Held), "claimed twice");
            assert_eq!(book.count(), [7, 1, 0, 0, 0]);
        }
    }
}

/// Two sockets of a queue read the same address in their RX rings at the same time.
#[cfg(all(test, feature = "loom"))]
#[allow(unsafe_code)]
mod loom_model {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    use super::*;

    struct Chunk {
        book: Book,
        bytes: UnsafeCell<u32>,
    }
    // SAFETY: the bytes are accessed by who has the chunk; that this is one at a time is what the model checks.
    unsafe impl Sync for Chunk {}

    #[test]
    fn loom_one_of_two_claims_wins_and_sees_what_the_last_holder_wrote() {
        loom::model(|| {
            let chunk = Arc::new(Chunk { book: Book::new(1, false), bytes: UnsafeCell::new(0) });
            chunk.book.assign(0, Owner::Held);
            let claim = |chunk: Arc<Chunk>| {
                move || {
                    let won = chunk.book.claim(0, Owner::Receive, Owner::Held);
                    if won {
                        // SAFETY: whoever claims a chunk has it alone; loom reports it if not.
                        chunk.bytes.with_mut(|bytes| unsafe {
                            assert_eq!(*bytes, 7);
                            *bytes = 8;
                        });
                    }
                    won
                }
            };
            let other = loom::thread::spawn(claim(chunk.clone()));
            // SAFETY: this thread holds it until it is given for reception.
            chunk.bytes.with_mut(|bytes| unsafe { *bytes = 7 });
            chunk.book.assign(0, Owner::Receive);
            let here = claim(chunk.clone())();
            let there = other.join().expect("ends");
            assert!(here != there, "one token for one chunk");
        });
    }
}
