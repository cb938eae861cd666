//! An AF_XDP socket on one queue: opened, bound, woken.
//!
//! In copy mode a kernel may let several sockets bind one queue; which of them gets packets the XSKMAP says.
//! Owned by one worker thread. `open` is the cold half (all setup, every way to fail named); `receive`, `transmit`,
//! `recycle` and `service` are the hot half, in `rings` but for the wake-ups.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::error::XskError;
use super::frame::{Frame, FrameBatch};
use super::memory::Memory;
use super::ring::{Consumer, Offsets, Producer};
use super::rings::{Balance, Queue, RingUse, Rings};
use super::statistics::{Counters, Statistics};
use super::umem::{Umem, UmemConfig};
use crate::syscall;

/// Closing an AF_XDP socket lets go of its queue some time later, so a restarted node finds it taken for a moment.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Largest ring, far above what drivers use.
const MAX_RING: u32 = 1 << 20;

/// One call transmits at most 32 frames in copy mode; a full batch needs two, the rest is for a kernel in a hurry.
const WAKES_PER_SERVICE: u32 = 4;

/// Frames that reception never takes, so that messages of our own and replies can always be built.
const RESERVE: u32 = FrameBatch::CAPACITY as u32;

/// How packets get between NIC and UMEM, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Zero copy if the driver has it, else copy; see [`Socket::fallback_reason`].
    #[default]
    Auto,
    /// Zero copy or nothing.
    ZeroCopy,
    /// The kernel copies between its own buffers and the UMEM.
    Copy,
}

/// How packets get between NIC and UMEM, as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindMode {
    /// The NIC reads and writes the UMEM.
    ZeroCopy,
    /// The kernel copies between its own buffers and the UMEM.
    Copy,
}

/// Descriptors in each ring; rounded up to powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSizes {
    /// Received, kernel → us.
    pub rx: u32,
    /// To transmit, us → kernel.
    pub tx: u32,
    /// To receive into, us → kernel.
    pub fill: u32,
    /// Transmitted, kernel → us.
    pub completion: u32,
}

impl Default for RingSizes {
    fn default() -> Self {
        Self { rx: 2048, tx: 2048, fill: 4096, completion: 2048 }
    }
}

/// How to open a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketConfig {
    /// The packet memory.
    pub umem: UmemConfig,
    /// The four rings.
    pub rings: RingSizes,
    /// Zero copy or copy.
    pub mode: Mode,
    /// Let the kernel sleep until it is woken, and wake it only when it says that it sleeps. Without it a driver in
    /// zero-copy mode busy-polls the rings on the core of its interrupt.
    pub need_wakeup: bool,
}

impl Default for SocketConfig {
    fn default() -> Self {
        Self { umem: UmemConfig::default(), rings: RingSizes::default(), mode: Mode::Auto, need_wakeup: true }
    }
}

/// An AF_XDP socket with its queue's UMEM. [`Send`], not [`Sync`]: one worker owns it.
///
/// Every frame taken from it must come back by [`Self::transmit`] or [`Self::recycle`], and [`Self::service`] must run
/// once in each turn of the worker's loop, also when nothing was received.
#[derive(Debug)]
pub struct Socket {
    // Before the rings: the kernel lets go of the memory before it is unmapped.
    fd: OwnedFd,
    rings: Rings,
    need_wakeup: bool,
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
        let sizes = rounded(config.rings)?;
        let fd =
            syscall::socket(libc::AF_XDP, libc::SOCK_RAW).map_err(|error| match error.raw_os_error() {
                Some(libc::EAFNOSUPPORT) => XskError::Unsupported,
                Some(libc::EPERM) => XskError::Privilege,
                _ => XskError::Kernel { step: "socket", source: error },
            })?;
        let umem = Umem::new(&config.umem)?;
        register(fd.as_fd(), &umem)?;
        let reserve = RESERVE.min(umem.frames() / 4);
        let mut rings = map_rings(fd.as_fd(), umem, sizes, reserve)?;
        rings.refill();
        rings.counters = Counters::default();

        let address = Address { ifindex, queue, need_wakeup: config.need_wakeup };
        let fallback = match config.mode {
            Mode::Copy => {
                address.bind(fd.as_fd(), libc::XDP_COPY)?;
                None
            }
            Mode::ZeroCopy => match address.bind(fd.as_fd(), libc::XDP_ZEROCOPY) {
                Err(XskError::Bind { source: reason, .. }) => {
                    return Err(XskError::NoZeroCopy { ifindex, queue, reason });
                }
                result => result.map(|()| None)?,
            },
            Mode::Auto => match address.bind(fd.as_fd(), libc::XDP_ZEROCOPY) {
                Err(XskError::Bind { source: reason, .. }) => {
                    address.bind(fd.as_fd(), libc::XDP_COPY)?;
                    Some(reason)
                }
                result => result.map(|()| None)?,
            },
        };
        let mode = bound_mode(fd.as_fd())?;
        Ok(Self { fd, rings, need_wakeup: config.need_wakeup, mode, fallback, ifindex, queue })
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
        self.rings.queue.umem.give(frame);
    }

    /// What must be done once in each turn of the loop: take completed frames back, refill the fill ring, publish
    /// what was transmitted, and wake the kernel where it says that it sleeps. No system call otherwise.
    pub fn service(&mut self) {
        self.rings.reap();
        self.rings.refill();
        self.rings.tx.submit();
        if self.rings.tx.pending() > 0 && (!self.need_wakeup || self.rings.tx.needs_wakeup()) {
            self.wake_tx();
        }
        if self.need_wakeup && self.rings.queue.fill.needs_wakeup() {
            self.wake_rx();
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
                    self.rings.reap();
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
        &self.rings.queue.umem
    }

    /// The packet memory, to edit a frame, or to take one for a message of our own.
    #[inline]
    pub fn umem_mut(&mut self) -> &mut Umem {
        &mut self.rings.queue.umem
    }

    /// How packets get between NIC and UMEM.
    pub fn mode(&self) -> BindMode {
        self.mode
    }

    /// Why [`Mode::Auto`] ended in copy mode.
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

    /// Where all the frames are.
    pub fn balance(&self) -> Balance {
        self.rings.balance()
    }

    /// Descriptors waiting in each ring.
    pub fn ring_use(&self) -> RingUse {
        self.rings.ring_use()
    }

    /// Slots of each ring, as rounded.
    pub fn ring_sizes(&self) -> RingSizes {
        let Rings { queue: Queue { fill, completion, .. }, rx, tx, .. } = &self.rings;
        RingSizes { rx: rx.size(), tx: tx.size(), fill: fill.size(), completion: completion.size() }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn rounded(sizes: RingSizes) -> Result<RingSizes, XskError> {
    let round = |ring, size: u32| {
        let ok = (1..=MAX_RING).contains(&size);
        if ok { Ok(size.next_power_of_two()) } else { Err(XskError::RingSize { ring, size }) }
    };
    Ok(RingSizes {
        rx: round("RX", sizes.rx)?,
        tx: round("TX", sizes.tx)?,
        fill: round("fill", sizes.fill)?,
        completion: round("completion", sizes.completion)?,
    })
}

/// Shows the packet memory to the kernel, which pins it.
fn register(fd: BorrowedFd<'_>, umem: &Umem) -> Result<(), XskError> {
    let (addr, len) = umem.registration();
    let registration = libc::xdp_umem_reg {
        addr,
        len,
        chunk_size: umem.chunk_size(),
        headroom: umem.headroom(),
        flags: 0,
        tx_metadata_len: 0,
    };
    syscall::set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration).map_err(|source| {
        match source.raw_os_error() {
            Some(libc::ENOBUFS | libc::ENOMEM) => XskError::MemoryLock { bytes: len },
            Some(libc::EPERM) => XskError::Privilege,
            _ => XskError::Kernel { step: "XDP_UMEM_REG", source },
        }
    })
}

/// Makes the four rings and maps them.
fn map_rings(fd: BorrowedFd<'_>, umem: Umem, sizes: RingSizes, reserve: u32) -> Result<Rings, XskError> {
    let kernel = |step| move |source| XskError::Kernel { step, source };
    let make = |name, size: u32, step| {
        // Sizes are at most 2^20.
        syscall::set_option(fd, libc::SOL_XDP, name, &(size as libc::c_int)).map_err(kernel(step))
    };
    make(libc::XDP_UMEM_FILL_RING, sizes.fill, "XDP_UMEM_FILL_RING")?;
    make(libc::XDP_UMEM_COMPLETION_RING, sizes.completion, "XDP_UMEM_COMPLETION_RING")?;
    make(libc::XDP_RX_RING, sizes.rx, "XDP_RX_RING")?;
    make(libc::XDP_TX_RING, sizes.tx, "XDP_TX_RING")?;

    let (offsets, known) =
        syscall::option::<libc::xdp_mmap_offsets>(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)
            .map_err(kernel("XDP_MMAP_OFFSETS"))?;
    // A kernel before need-wakeup fills a shorter structure, without the flags' offsets.
    if known < size_of::<libc::xdp_mmap_offsets>() {
        return Err(XskError::Unsupported);
    }
    let map = |offsets: Offsets, size: u32, descriptor: usize, page_offset: i64, step| {
        let len = usize::try_from(offsets.descriptors)
            .ok()
            .and_then(|start| start.checked_add(size as usize * descriptor))
            .ok_or_else(|| kernel(step)(io::ErrorKind::InvalidData.into()))?;
        Memory::of_ring(fd, len, page_offset).map_err(kernel(step))
    };
    let word = size_of::<u64>();
    let desc = size_of::<libc::xdp_desc>();
    let [fr, cr, rx, tx] = [offsets.fr, offsets.cr, offsets.rx, offsets.tx].map(Offsets::from);
    // The kernel's constants are below 2^33.
    let fill = map(fr, sizes.fill, word, libc::XDP_UMEM_PGOFF_FILL_RING as i64, "map fill ring")?;
    let completion =
        map(cr, sizes.completion, word, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64, "map completion ring")?;
    let receive = map(rx, sizes.rx, desc, libc::XDP_PGOFF_RX_RING, "map RX ring")?;
    let transmit = map(tx, sizes.tx, desc, libc::XDP_PGOFF_TX_RING, "map TX ring")?;
    let nonsense = || kernel("ring offsets")(io::ErrorKind::InvalidData.into());
    Ok(Rings {
        queue: Queue {
            umem,
            fill: Producer::in_mapping(fill, fr, sizes.fill).ok_or_else(nonsense)?,
            completion: Consumer::in_mapping(completion, cr, sizes.completion).ok_or_else(nonsense)?,
        },
        rx: Consumer::in_mapping(receive, rx, sizes.rx).ok_or_else(nonsense)?,
        tx: Producer::in_mapping(transmit, tx, sizes.tx).ok_or_else(nonsense)?,
        counters: Counters::default(),
        reserve,
    })
}

/// What a socket is bound to.
struct Address {
    ifindex: u32,
    queue: u32,
    need_wakeup: bool,
}

impl Address {
    /// Binds with `mode`, one of `XDP_COPY` and `XDP_ZEROCOPY`, waiting for a queue that is being let go.
    ///
    /// After a failure the same socket may be bound in the other mode.
    fn bind(&self, fd: BorrowedFd<'_>, mode: u16) -> Result<(), XskError> {
        let &Self { ifindex, queue, need_wakeup } = self;
        let wakeup = if need_wakeup { libc::XDP_USE_NEED_WAKEUP } else { 0 };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: mode | wakeup,
            sxdp_ifindex: ifindex,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        while_busy(|| syscall::bind_xdp(fd, &address), || std::thread::sleep(BUSY_PAUSE)).map_err(|source| {
            match source.raw_os_error() {
                Some(libc::EBUSY) => XskError::Busy { ifindex, queue, tries: BUSY_TRIES },
                Some(libc::ENODEV) => XskError::NoInterface { ifindex },
                Some(libc::ENETDOWN) => XskError::Down { ifindex },
                Some(libc::EPERM) => XskError::Privilege,
                _ => XskError::Bind { ifindex, queue, source },
            }
        })
    }
}

/// Tries up to [`BUSY_TRIES`] times, as long as the answer is EBUSY.
fn while_busy(mut attempt: impl FnMut() -> io::Result<()>, mut pause: impl FnMut()) -> io::Result<()> {
    let mut result = attempt();
    for _ in 1..BUSY_TRIES {
        match result {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            _ => break,
        }
        pause();
        result = attempt();
    }
    result
}

fn bound_mode(fd: BorrowedFd<'_>) -> Result<BindMode, XskError> {
    let (options, _) = syscall::option::<libc::xdp_options>(fd, libc::SOL_XDP, libc::XDP_OPTIONS)
        .map_err(|source| XskError::Kernel { step: "XDP_OPTIONS", source })?;
    let zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
    Ok(if zero_copy { BindMode::ZeroCopy } else { BindMode::Copy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_queue_is_tried_a_bounded_number_of_times() {
        let errno = io::Error::from_raw_os_error;
        let run = |answers: &mut dyn FnMut(u32) -> io::Result<()>| {
            let (mut tries, mut pauses) = (0, 0);
            let attempt = || {
                tries += 1;
                answers(tries)
            };
            let result = while_busy(attempt, || pauses += 1);
            (result.map_err(|error| error.raw_os_error()), tries, pauses)
        };
        assert_eq!(run(&mut |_| Ok(())), (Ok(()), 1, 0));
        let third = &mut |nth| if nth < 3 { Err(errno(libc::EBUSY)) } else { Ok(()) };
        assert_eq!(run(third), (Ok(()), 3, 2));
        assert_eq!(run(&mut |_| Err(errno(libc::ENODEV))), (Err(Some(libc::ENODEV)), 1, 0));
        let always = run(&mut |_| Err(errno(libc::EBUSY)));
        assert_eq!(always, (Err(Some(libc::EBUSY)), BUSY_TRIES, BUSY_TRIES - 1));
    }
}
