//! An AF_XDP socket on one queue: opened alone or with others that share the queue, and woken.
//!
//! Owned by one worker thread. What `open` does is in `setup`; `receive`, `transmit`, `recycle` and `service` are in
//! `rings` but for the wake-ups. Which of a queue's sockets gets a packet the XSKMAP says.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::error::XskError;
use super::frame::{Frame, FrameBatch};
use super::rings::{Balance, RingUse, Rings, Side};
use super::setup::{self, BindMode, Opened, RingSizes, SocketConfig};
use super::statistics::{Counters, Statistics};
use super::umem::Umem;
use crate::syscall;

/// One call transmits at most 32 frames in copy mode; a full batch needs two, the rest is for a kernel in a hurry.
const WAKES_PER_SERVICE: u32 = 4;

/// How the kernel busy-polls for a socket, in its user's system calls and not in interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyPoll {
    /// Microseconds that one call may poll the device's queue (`SO_BUSY_POLL`).
    pub micros: u32,
    /// Packets that one call may take from it (`SO_BUSY_POLL_BUDGET`).
    pub budget: u32,
}

/// An AF_XDP socket with its queue's UMEM. [`Send`], not [`Sync`]: one worker owns it.
///
/// Every frame taken from it must come back by [`Self::transmit`] or [`Self::recycle`] of the same socket, and
/// [`Self::service`] must run once in each turn of the worker's loop, also when nothing was received.
#[derive(Debug)]
pub struct Socket {
    // Before the rings: the kernel lets go of the memory before it is unmapped.
    fd: OwnedFd,
    rings: Rings,
    need_wakeup: bool,
    busy_poll: bool,
    mode: BindMode,
    fallback: Option<io::Error>,
    ifindex: u32,
    queue: u32,
}

impl Socket {
    /// Opens a socket on `queue` of the interface with `ifindex` in the calling thread's network namespace.
    ///
    /// The fill ring is full before the socket is bound, so no packet of the first moment is lost. Blocks for up to
    /// a second while another socket, perhaps one being closed, holds the queue.
    pub fn open(ifindex: u32, queue: u32, config: &SocketConfig) -> Result<Self, XskError> {
        let opened = setup::open(ifindex, queue, config, 1)?.into_iter().next();
        // One was asked for.
        let opened = opened.ok_or(XskError::Unsupported)?;
        Ok(Self::over(opened, ifindex, queue, config))
    }

    /// Opens `count` sockets, at least one, on one queue with one UMEM, each with an RX and a TX ring of its own, to be
    /// given to as many threads.
    ///
    /// The first owns the queue: it alone touches the fill and the completion ring, reports the balance of frames, and
    /// must have its [`Self::service`] run while any of the others is in use; see [`Self::wants_owner`].
    pub fn open_shared(
        ifindex: u32,
        queue: u32,
        config: &SocketConfig,
        count: u32,
    ) -> Result<Vec<Self>, XskError> {
        let opened = setup::open(ifindex, queue, config, count.max(1))?;
        Ok(opened.into_iter().map(|opened| Self::over(opened, ifindex, queue, config)).collect())
    }

    fn over(opened: Opened, ifindex: u32, queue: u32, config: &SocketConfig) -> Self {
        let Opened { fd, rings, mode, fallback } = opened;
        Self { fd, rings, need_wakeup: config.need_wakeup, busy_poll: false, mode, fallback, ifindex, queue }
    }

    /// From now on [`Self::service`] polls the device itself whenever there is nothing to read, and the kernel puts the
    /// queue's interrupts off (`SO_PREFER_BUSY_POLL`, Linux 5.11). That only has an effect where the device's
    /// `napi_defer_hard_irqs` and `gro_flush_timeout` are set, and only for a thread that never sleeps.
    pub fn prefer_busy_poll(&mut self, how: BusyPoll) -> io::Result<()> {
        let set = |name, value: u32| {
            let value = libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX);
            syscall::set_option(self.fd.as_fd(), libc::SOL_SOCKET, name, &value)
        };
        set(libc::SO_PREFER_BUSY_POLL, 1)?;
        set(libc::SO_BUSY_POLL, how.micros)?;
        set(libc::SO_BUSY_POLL_BUDGET, how.budget)?;
        self.busy_poll = true;
        Ok(())
    }

    /// Moves received frames into `out`, as many as it has room for; how many came.
    #[inline]
    pub fn receive(&mut self, out: &mut FrameBatch) -> usize {
        self.rings.receive(out)
    }

    /// Puts a frame into the TX ring. Handed back when the ring is full or the packet is shorter than an Ethernet
    /// header: send it otherwise, or recycle it. [`Self::service`] makes the kernel send.
    #[inline]
    pub fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        self.rings.transmit(frame)
    }

    /// Drops a packet: its frame is free again.
    #[inline]
    pub fn recycle(&mut self, frame: Frame) {
        self.rings.umem.give(frame);
    }

    /// What must be done once in each turn of the loop: take completed frames back, refill the fill ring, publish
    /// what was transmitted, and wake the kernel where it says that it sleeps. No system call otherwise.
    pub fn service(&mut self) {
        self.rings.settle();
        self.rings.tx.submit();
        if self.rings.tx.pending() > 0 && (!self.need_wakeup || self.rings.tx.needs_wakeup()) {
            self.wake_tx();
        }
        let sleeps = match &self.rings.side {
            Side::Owner(queue) => self.need_wakeup && queue.fill.needs_wakeup(),
            Side::Borrower(_) => false,
        };
        if sleeps || (self.busy_poll && self.rings.rx.pending() == 0) {
            self.wake_rx();
        }
    }

    /// Whether this socket owns its queue: see [`Self::open_shared`].
    pub fn owns_queue(&self) -> bool {
        matches!(self.rings.side, Side::Owner(_))
    }

    /// Whether the owner of the queue should run [`Self::service`] soon, since this socket has used up its part of what
    /// the fill ring had, or of what the completion ring has room for. Once it said so it begins to count anew, so waking
    /// the owner for each yes is a bounded cost. Never for the owner itself.
    pub fn wants_owner(&mut self) -> bool {
        match &mut self.rings.side {
            Side::Owner(_) => false,
            Side::Borrower(borrower) => borrower.wants_owner(&self.rings.umem),
        }
    }

    #[cold]
    fn wake_rx(&mut self) {
        self.rings.counters.wakeups_rx += 1;
        if let Err(error) = syscall::wake_rx(self.fd.as_fd()) {
            self.count_refused(&error);
        }
    }

    fn wake_tx(&mut self) {
        for _ in 0..WAKES_PER_SERVICE {
            self.rings.counters.wakeups_tx += 1;
            match syscall::wake_tx(self.fd.as_fd()) {
                Ok(()) => return,
                Err(error) => {
                    self.count_refused(&error);
                    // EAGAIN: a part was sent, and there is more; or the completion ring is full.
                    if error.raw_os_error() != Some(libc::EAGAIN) || self.rings.tx.pending() == 0 {
                        return;
                    }
                    self.rings.make_room_to_complete();
                }
            }
        }
    }

    fn count_refused(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR) => {
                self.rings.counters.wakeups_deferred += 1;
            }
            _ => self.rings.counters.wakeups_failed += 1,
        }
    }

    /// The packet memory, to read a frame.
    #[inline]
    pub fn umem(&self) -> &Umem {
        &self.rings.umem
    }

    /// The packet memory, to edit a frame, or to take one for a message of our own.
    #[inline]
    pub fn umem_mut(&mut self) -> &mut Umem {
        &mut self.rings.umem
    }

    /// How packets get between NIC and UMEM.
    pub fn mode(&self) -> BindMode {
        self.mode
    }

    /// Why [`Mode::Auto`](super::Mode::Auto) ended in copy mode.
    pub fn fallback_reason(&self) -> Option<&io::Error> {
        self.fallback.as_ref()
    }

    /// The interface's index.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The queue's number.
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// What we counted.
    pub fn counters(&self) -> Counters {
        self.rings.counters
    }

    /// What the kernel counted. A system call.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let (kernel, _) =
            syscall::option::<libc::xdp_statistics>(self.fd.as_fd(), libc::SOL_XDP, libc::XDP_STATISTICS)?;
        Ok(kernel.into())
    }

    /// Where all the queue's frames are, whichever socket has them; all zero unless this socket owns the queue. Reads the
    /// whole book of owners: for reports, not for each turn.
    pub fn balance(&self) -> Balance {
        self.rings.balance()
    }

    /// Descriptors waiting in each ring.
    pub fn ring_use(&self) -> RingUse {
        self.rings.ring_use()
    }

    /// Slots of each ring, as rounded. Of fill and completion ring 0 where another socket owns the queue.
    pub fn ring_sizes(&self) -> RingSizes {
        let Rings { side, rx, tx, .. } = &self.rings;
        let (fill, completion) = match side {
            Side::Owner(queue) => (queue.fill.size(), queue.completion.size()),
            Side::Borrower(_) => (0, 0),
        };
        RingSizes { rx: rx.size(), tx: tx.size(), fill, completion }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
