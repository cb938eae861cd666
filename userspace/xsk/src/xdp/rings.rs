//! The way of a frame: free → fill → RX → held → TX → completion → free.
//!
//! No system call is made here, so all of it runs in tests against rings whose other end is played by a test. Used by
//! [`super::Socket`] only, which adds the wake-ups.

use super::frame::{Frame, FrameBatch};
use super::ring::{Consumer, Producer};
use super::statistics::Counters;
use super::umem::{Owner, Umem};

/// The shortest frame that the kernel transmits: an Ethernet header. It skips a shorter one and never completes it.
const MIN_FRAME: usize = 14;

/// Descriptors that may wait in the TX ring unseen by the kernel before they are published anyway.
const PUBLISH_AT: u32 = FrameBatch::CAPACITY as u32;

/// What belongs to a NIC queue and has one owner, also when several sockets share the UMEM.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) umem: Umem,
    pub(super) fill: Producer<u64>,
    pub(super) completion: Consumer<u64>,
}

/// A socket's two rings and the queue's.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) queue: Queue,
    pub(super) rx: Consumer<libc::xdp_desc>,
    pub(super) tx: Producer<libc::xdp_desc>,
    pub(super) counters: Counters,
    /// Free frames that the fill ring leaves alone, so that messages of our own can be sent.
    pub(super) reserve: u32,
}

/// Where all the frames of a UMEM are. The six add up to `total`, unless a frame was lost in `held`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// On the free list.
    pub free: u32,
    /// Given for reception: in the fill ring or in the driver's hands.
    pub fill: u32,
    /// Received, waiting in the RX ring.
    pub rx: u32,
    /// Given for transmission: in the TX ring or in the driver's hands.
    pub tx: u32,
    /// Transmitted, waiting in the completion ring.
    pub completion: u32,
    /// With the worker.
    pub held: u32,
    /// All frames of the UMEM.
    pub total: u32,
}

impl Balance {
    /// Whether every frame is accounted for.
    pub fn holds(&self) -> bool {
        let Self { free, fill, rx, tx, completion, held, total } = *self;
        [free, fill, rx, tx, completion, held].into_iter().map(u64::from).sum::<u64>() == total.into()
    }
}

/// How many descriptors wait in each ring for the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingUse {
    /// For the kernel to receive into.
    pub fill: u32,
    /// For us to read.
    pub rx: u32,
    /// For the kernel to send.
    pub tx: u32,
    /// For us to take back.
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
            let Some(frame) = self.queue.umem.received(desc.addr, desc.len) else {
                self.counters.rx_bad_address += 1;
                continue;
            };
            match out.push(frame) {
                Ok(()) => received += 1,
                Err(frame) => self.queue.umem.give(frame),
            }
        }
        self.rx.release();
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
        let (addr, len) = self.queue.umem.held_to_transmit(frame);
        let pushed = self.tx.push(libc::xdp_desc { addr, len, options: 0 });
        debug_assert!(pushed, "a slot was reserved");
        self.counters.tx += 1;
        if self.tx.unsubmitted() >= PUBLISH_AT {
            self.tx.submit();
        }
        Ok(())
    }

    /// Takes all completed frames back.
    #[inline]
    pub(super) fn reap(&mut self) {
        while let Some(address) = self.queue.completion.pop() {
            match self.queue.umem.completed(address) {
                Some(()) => self.counters.completed += 1,
                None => self.counters.completion_bad_address += 1,
            }
        }
        self.queue.completion.release();
    }

    /// Gives free frames, all but the reserve, to the kernel for reception.
    #[inline]
    pub(super) fn refill(&mut self) {
        let Queue { umem, fill, .. } = &mut self.queue;
        let spare = umem.available().saturating_sub(self.reserve);
        let room = fill.reserve(spare);
        for _ in 0..room {
            let Some(address) = umem.free_to_fill() else { break };
            let pushed = fill.push(address);
            debug_assert!(pushed, "a slot was reserved");
        }
        fill.submit();
        if spare == 0 && fill.pending() == 0 {
            self.counters.fill_starved += 1;
        }
    }

    pub(super) fn balance(&self) -> Balance {
        let Queue { umem, completion, .. } = &self.queue;
        // What waits for us in a ring is still the kernel's by the book.
        let rx = self.rx.pending().min(umem.owned_by(Owner::Receive));
        let completion = completion.pending().min(umem.owned_by(Owner::Transmit));
        Balance {
            free: umem.available(),
            fill: umem.owned_by(Owner::Receive) - rx,
            rx,
            tx: umem.owned_by(Owner::Transmit) - completion,
            completion,
            held: umem.owned_by(Owner::Held),
            total: umem.frames(),
        }
    }

    pub(super) fn ring_use(&self) -> RingUse {
        RingUse {
            fill: self.queue.fill.pending(),
            rx: self.rx.pending(),
            tx: self.tx.pending(),
            completion: self.queue.completion.pending(),
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
#[path = "rings_tests.rs"]
mod tests;
