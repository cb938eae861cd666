//! How free chunks cross between a queue's owner and the sockets that borrow its UMEM.
//!
//! The owner alone touches fill and completion ring. A borrower receives from its own RX ring and transmits by its own TX
//! ring; what it drops piles up on its free list, and the surplus goes home by one ring, while the chunks for messages
//! of its own come by another, a standing loan that the owner keeps filled. Both are bounded single-producer rings, used
//! in batches, so a message that comes and goes touches neither. Used by [`super::rings`] alone.
//!
//! Owner and borrower are mostly two threads, and an owner that sleeps takes nothing home. So a borrower counts what it
//! took from the queue, and says when the owner should be woken: [`Borrower::wants_owner`].

use super::ring::Gauge;
use super::statistics::Counters;
use super::umem::Umem;

/// Most chunks that a borrower gets on loan: a batch.
const MOST_LOAN: u32 = super::frame::FrameBatch::CAPACITY as u32;

/// Slots of a ring that leads home. When it is full the surplus waits with the borrower.
const HOME: u32 = 1024;

/// The owner's ends of the two rings to one borrower.
#[derive(Debug)]
pub(super) struct Lender {
    home: rtrb::Consumer<u32>,
    loans: rtrb::Producer<u32>,
    /// The borrower's RX ring.
    rx: Gauge,
}

/// The borrower's ends.
#[derive(Debug)]
pub(super) struct Borrower {
    home: rtrb::Producer<u32>,
    loans: rtrb::Consumer<u32>,
    allowance: u32,
    /// Chunks that went through our rings since we last asked for the owner.
    used: u32,
    /// So many are reason to ask.
    due: u32,
}

/// How many chunks a borrower may have idle, when a UMEM of so many `frames` has so many `sockets`: all of them together
/// a quarter of the frames, when each has its loan ring full and twice as many on its list.
pub(super) fn allowance(frames: u32, sockets: u32) -> u32 {
    (frames / 12).checked_div(sockets).unwrap_or(0).clamp(1, MOST_LOAN)
}

/// Both ends for one borrower, whose RX ring `rx` reads.
///
/// `fill` is the fill ring's size: the borrowers of `sockets` together ask for the owner before they can have used up
/// half of it.
pub(super) fn between(frames: u32, sockets: u32, fill: u32, rx: Gauge) -> (Lender, Borrower) {
    let allowance = allowance(frames, sockets);
    let (home, taken_home) = rtrb::RingBuffer::new(frames.min(HOME) as usize);
    let (lent, loans) = rtrb::RingBuffer::new(allowance as usize);
    let due = (fill / 2).checked_div(sockets).unwrap_or(0).max(1);
    (Lender { home: taken_home, loans: lent, rx }, Borrower { home, loans, allowance, used: 0, due })
}

impl Lender {
    /// Takes home what the borrower gave back, and fills its loan from what is free.
    pub(super) fn settle(&mut self, umem: &mut Umem, counters: &mut Counters) {
        while let Ok(chunk) = self.home.pop() {
            umem.free_again(chunk);
            counters.taken_home += 1;
        }
        // A full loan, the usual case, costs one look at an index of the borrower's.
        let room = self.loans.slots() as u32;
        if room > 0 {
            let put = |chunks: &[u32]| self.loans.push_partial_slice(chunks).0.len();
            counters.lent += u64::from(umem.free_to_crossing(room, put));
        }
    }

    /// Descriptors in the borrower's RX ring.
    pub(super) fn rx_pending(&self) -> u32 {
        self.rx.pending()
    }
}

impl Borrower {
    /// Sends a surplus home, or takes the loan when the list runs low.
    pub(super) fn settle(&mut self, umem: &mut Umem, counters: &mut Counters) {
        let free = umem.available();
        if free > self.allowance.saturating_mul(2) {
            let put = |chunks: &[u32]| self.home.push_partial_slice(chunks).0.len();
            counters.returned += u64::from(umem.free_to_crossing(free - self.allowance, put));
        } else if free < self.allowance.div_ceil(2) {
            for _ in free..self.allowance {
                let Ok(chunk) = self.loans.pop() else { break };
                umem.free_again(chunk);
                counters.borrowed += 1;
            }
        }
    }

    /// Counts chunks that the owner will have to replace or take back.
    #[inline]
    pub(super) fn use_up(&mut self, chunks: u32) {
        self.used = self.used.saturating_add(chunks);
    }

    /// The completion ring is full, or some such: only the owner can help.
    pub(super) fn ask(&mut self) {
        self.used = self.due;
    }

    /// Whether the owner should have a turn soon. Asking begins the count anew.
    pub(super) fn wants_owner(&mut self, umem: &Umem) -> bool {
        let wants = self.used >= self.due || umem.available() == 0;
        if wants {
            self.used = 0;
        }
        wants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loans_leave_three_quarters_of_the_frames_to_reception() {
        for frames in [16, 512, 4096, 1 << 20] {
            for sockets in [1, 2, 3, 16, 64] {
                let most = allowance(frames, sockets) * 3 * sockets;
                assert!(allowance(frames, sockets) >= 1);
                assert!(most <= frames / 4 || allowance(frames, sockets) == 1, "{frames} {sockets}: {most}");
            }
        }
    }
}
