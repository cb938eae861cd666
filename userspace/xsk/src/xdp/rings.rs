//! The way of a frame: free → fill → RX → held → TX → completion → free. Where several sockets share a queue, one of them
//! owns the fill and the completion ring, and free frames cross between it and the others (see `crossing`).
//!
//! No system call is made here, so all of it runs in tests against rings whose other end is played by a test. Used by
//! [`super::Socket`] only, which adds the wake-ups.

use super::crossing::{Borrower, Lender};
use super::frame::{Frame, FrameBatch};
use super::ring::{Consumer, Producer};
use super::statistics::Counters;
use super::umem::Umem;

/// The shortest frame that the kernel transmits: an Ethernet header. It skips a shorter one and never completes it.
const MIN_FRAME: usize = 14;

/// Descriptors that may wait in the TX ring unseen by the kernel before they are published anyway.
const PUBLISH_AT: u32 = FrameBatch::CAPACITY as u32;

/// What belongs to a NIC queue and has one owner, also when several sockets share the UMEM.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) fill: Producer<u64>,
    pub(super) completion: Consumer<u64>,
    /// One for each other socket of the queue.
    pub(super) lenders: Vec<Lender>,
}

/// What a socket is on its queue.
#[derive(Debug)]
pub(super) enum Side {
    /// Has the fill and the completion ring.
    Owner(Queue),
    /// Has neither.
    Borrower(Borrower),
}

/// A socket's two rings, and its side of the queue.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) umem: Umem,
    pub(super) side: Side,
    pub(super) rx: Consumer<libc::xdp_desc>,
    pub(super) tx: Producer<libc::xdp_desc>,
    pub(super) counters: Counters,
    /// Free frames that the fill ring leaves alone, so that messages of our own can be sent.
    pub(super) reserve: u32,
}

/// Where all the frames of a UMEM are. The seven add up to `total`; a frame that was lost stays in `held`.
///
/// Exact in a quiet moment; while other threads move frames the parts are of slightly different moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// On a free list: the owner's or a borrower's.
    pub free: u32,
    /// Given for reception: in the fill ring or in the driver's hands.
    pub fill: u32,
    /// Received, waiting in the RX ring.
    pub rx: u32,
    /// Given for transmission: in the TX ring or in the driver's hands.
    pub tx: u32,
    /// Transmitted, waiting in the completion ring.
    pub completion: u32,
    /// With a worker.
    pub held: u32,
    /// On their way between the queue's owner and the other sockets. 0 for a queue with one socket.
    pub crossing: u32,
    /// All frames of the UMEM.
    pub total: u32,
}

impl Balance {
    /// Whether every frame is accounted for.
    pub fn holds(&self) -> bool {
        let Self { free, fill, rx, tx, completion, held, crossing, total } = *self;
        [free, fill, rx, tx, completion, held, crossing].into_iter().map(u64::from).sum::<u64>()
            == total.into()
    }
}

/// How many descriptors wait in each ring for the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingUse {
    /// For the kernel to receive into; 0 where another socket owns the queue.
    pub fill: u32,
    /// For us to read.
    pub rx: u32,
    /// For the kernel to send.
    pub tx: u32,
    /// For us to take back; 0 where another socket owns the queue.
    pub completion: u32,
}

impl Rings {
    /// Fills `out` from the RX ring; how many came.
    #[inline]
    pub(super) fn receive(&mut self, out: &mut FrameBatch) -> usize {
        let mut received = 0;
        // At most 64.
        let ready = self.rx.peek(out.room() as u32);
        for _ in 0..ready {
            let Some(desc) = self.rx.pop() else { break };
            let Some(frame) = self.umem.received(desc.addr, desc.len) else {
                self.counters.rx_bad_address += 1;
                continue;
            };
            match out.push(frame) {
                Ok(()) => received += 1,
                Err(frame) => self.umem.give(frame),
            }
        }
        self.rx.release();
        if let Side::Borrower(borrower) = &mut self.side {
            borrower.use_up(ready);
        }
        self.counters.rx += received as u64;
        received
    }

    /// Puts a frame into the TX ring; hands it back when it can't be sent.
    #[inline]
    pub(super) fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        if frame.len() < MIN_FRAME {
            self.counters.tx_runt += 1;
            return Err(frame);
        }
        if self.tx.reserve(1) == 0 {
            self.counters.tx_ring_full += 1;
            return Err(frame);
        }
        let (addr, len) = self.umem.held_to_transmit(frame);
        let pushed = self.tx.push(libc::xdp_desc { addr, len, options: 0 });
        debug_assert!(pushed, "a slot was reserved");
        self.counters.tx += 1;
        if let Side::Borrower(borrower) = &mut self.side {
            borrower.use_up(1);
        }
        if self.tx.unsubmitted() >= PUBLISH_AT {
            self.tx.submit();
        }
        Ok(())
    }

    /// What the queue needs in each turn. The owner takes completed frames and what borrowers gave back, lends, and gives
    /// the rest but for the reserve to the kernel for reception; a borrower evens its list out.
    #[inline]
    pub(super) fn settle(&mut self) {
        let Self { umem, side, counters, reserve, .. } = self;
        match side {
            Side::Owner(queue) => {
                queue.reap(umem, counters);
                queue.lenders.iter_mut().for_each(|lender| lender.settle(umem, counters));
                queue.refill(umem, counters, *reserve);
            }
            Side::Borrower(borrower) => borrower.settle(umem, counters),
        }
    }

    /// The kernel has no room to complete into: the owner makes some, a borrower asks for it.
    #[cold]
    pub(super) fn make_room_to_complete(&mut self) {
        let Self { umem, side, counters, .. } = self;
        match side {
            Side::Owner(queue) => queue.reap(umem, counters),
            Side::Borrower(borrower) => borrower.ask(),
        }
    }

    /// Where the queue's frames are. All zero for a borrower: the owner reports for all.
    pub(super) fn balance(&self) -> Balance {
        let Side::Owner(queue) = &self.side else { return Balance::default() };
        let [free, held, receive, transmit, crossing] = self.umem.owned();
        let waiting: u32 = queue.lenders.iter().map(Lender::rx_pending).sum();
        // What waits for us in a ring is still the kernel's by the book.
        let rx = (self.rx.pending() + waiting).min(receive);
        let completion = queue.completion.pending().min(transmit);
        Balance {
            free,
            fill: receive - rx,
            rx,
            tx: transmit - completion,
            completion,
            held,
            crossing,
            total: self.umem.frames(),
        }
    }

    pub(super) fn ring_use(&self) -> RingUse {
        let (fill, completion) = match &self.side {
            Side::Owner(queue) => (queue.fill.pending(), queue.completion.pending()),
            Side::Borrower(_) => (0, 0),
        };
        RingUse { fill, rx: self.rx.pending(), tx: self.tx.pending(), completion }
    }
}

impl Queue {
    /// Takes all completed frames back.
    #[inline]
    fn reap(&mut self, umem: &mut Umem, counters: &mut Counters) {
        while let Some(address) = self.completion.pop() {
            match umem.completed(address) {
                Some(()) => counters.completed += 1,
                None => counters.completion_bad_address += 1,
            }
        }
        self.completion.release();
    }

    /// Gives free frames, all but the reserve, to the kernel for reception.
    #[inline]
    fn refill(&mut self, umem: &mut Umem, counters: &mut Counters, reserve: u32) {
        let spare = umem.available().saturating_sub(reserve);
        let room = self.fill.reserve(spare);
        for _ in 0..room {
            let Some(address) = umem.free_to_fill() else { break };
            let pushed = self.fill.push(address);
            debug_assert!(pushed, "a slot was reserved");
        }
        self.fill.submit();
        if spare == 0 && self.fill.pending() == 0 {
            counters.fill_starved += 1;
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
#[path = "rings_tests.rs"]
mod tests;

#[cfg(all(test, not(feature = "loom")))]
#[path = "shared_tests.rs"]
mod shared_tests;
