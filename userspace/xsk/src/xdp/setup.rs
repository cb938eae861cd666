//! Everything that makes an AF_XDP socket: options, mappings, bind; every way to fail has a name.
//!
//! Used by [`super::Socket`] alone, before the first packet; never on the way of one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::crossing;
use super::error::XskError;
use super::frame::FrameBatch;
use super::memory::Memory;
use super::ring::{Consumer, Offsets, Producer};
use super::rings::{Queue, Rings, Side};
use super::statistics::Counters;
use super::umem::{Umem, UmemConfig};
use crate::syscall;

/// Closing an AF_XDP socket lets go of its queue some time later, so a restarted node finds it taken for a moment.
const BUSY_TRIES: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Largest ring, far above what drivers use.
const MAX_RING: u32 = 1 << 20;

/// Frames that reception never takes, so that messages of our own and replies can always be built.
const RESERVE: u32 = FrameBatch::CAPACITY as u32;

/// How packets get between NIC and UMEM, as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Zero copy if the driver has it, else copy; see [`super::Socket::fallback_reason`].
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

/// A socket that is bound, with its rings.
pub(super) struct Opened {
    pub(super) fd: OwnedFd,
    pub(super) rings: Rings,
    pub(super) mode: BindMode,
    pub(super) fallback: Option<io::Error>,
}

/// Opens `count` sockets on one queue: the owner of the queue first.
pub(super) fn open(
    ifindex: u32,
    queue: u32,
    config: &SocketConfig,
    count: u32,
) -> Result<Vec<Opened>, XskError> {
    let sizes = rounded(config.rings)?;
    let umem = Umem::for_sockets(&config.umem, count)?;
    let address = Address { ifindex, queue };
    // All rings are made before the first bind: the fill ring is to be full when packets can come, and what the others get
    // on loan must be set aside before it is filled.
    let owner = socket()?;
    register(owner.as_fd(), &umem)?;
    let offsets = ring_options(owner.as_fd(), sizes, true)?;
    let (rx, tx) = map_own(owner.as_fd(), &offsets, sizes)?;
    let (fill, completion) = map_queue(owner.as_fd(), &offsets, sizes)?;
    let reserve = RESERVE.min(umem.frames() / 4);
    let queue_rings = Queue { fill, completion, lenders: Vec::new() };
    let mut rings =
        Rings { umem, side: Side::Owner(queue_rings), rx, tx, counters: Counters::default(), reserve };
    let mut borrowers = Vec::new();
    for _ in 1..count {
        let fd = socket()?;
        let offsets = ring_options(fd.as_fd(), sizes, false)?;
        let (rx, tx) = map_own(fd.as_fd(), &offsets, sizes)?;
        let (lender, borrower) = crossing::between(rings.umem.frames(), count, sizes.fill, rx.gauge());
        if let Side::Owner(queue) = &mut rings.side {
            queue.lenders.push(lender);
        }
        let umem = rings.umem.shared();
        let side = Side::Borrower(borrower);
        borrowers.push((fd, Rings { umem, side, rx, tx, counters: Counters::default(), reserve: 0 }));
    }
    rings.settle();
    rings.counters = Counters::default();

    let flags = if config.need_wakeup { libc::XDP_USE_NEED_WAKEUP } else { 0 };
    let own = |mode| address.bind(owner.as_fd(), mode | flags, None);
    let fallback = match config.mode {
        Mode::Copy => {
            own(libc::XDP_COPY)?;
            None
        }
        Mode::ZeroCopy => match own(libc::XDP_ZEROCOPY) {
            Err(XskError::Bind { source: reason, .. }) => {
                return Err(XskError::NoZeroCopy { ifindex, queue, reason });
            }
            result => result.map(|()| None)?,
        },
        Mode::Auto => match own(libc::XDP_ZEROCOPY) {
            Err(XskError::Bind { source: reason, .. }) => {
                own(libc::XDP_COPY)?;
                Some(reason)
            }
            result => result.map(|()| None)?,
        },
    };
    let mode = bound_mode(owner.as_fd())?;
    let mut opened = vec![Opened { fd: owner, rings, mode, fallback }];
    for (fd, mut rings) in borrowers {
        // The first is there: pushed just above.
        let owner = opened.first().map(|owner| owner.fd.as_fd());
        // Mode and need-wakeup are the owner's; naming them again is an error.
        address.bind(fd.as_fd(), libc::XDP_SHARED_UMEM, owner)?;
        rings.settle();
        rings.counters = Counters::default();
        let mode = bound_mode(fd.as_fd())?;
        opened.push(Opened { fd, rings, mode, fallback: None });
    }
    Ok(opened)
}

fn socket() -> Result<OwnedFd, XskError> {
    syscall::socket(libc::AF_XDP, libc::SOCK_RAW).map_err(|error| match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => XskError::Unsupported,
        Some(libc::EPERM) => XskError::Privilege,
        _ => XskError::Kernel { step: "socket", source: error },
    })
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

fn kernel(step: &'static str) -> impl Fn(io::Error) -> XskError {
    move |source| XskError::Kernel { step, source }
}

/// Makes a socket's rings, the queue's two as well for its owner, and asks where their parts lie.
fn ring_options(
    fd: BorrowedFd<'_>,
    sizes: RingSizes,
    owner: bool,
) -> Result<libc::xdp_mmap_offsets, XskError> {
    let make = |name, size: u32, step| {
        // Sizes are at most 2^20.
        syscall::set_option(fd, libc::SOL_XDP, name, &(size as libc::c_int)).map_err(kernel(step))
    };
    if owner {
        make(libc::XDP_UMEM_FILL_RING, sizes.fill, "XDP_UMEM_FILL_RING")?;
        make(libc::XDP_UMEM_COMPLETION_RING, sizes.completion, "XDP_UMEM_COMPLETION_RING")?;
    }
    make(libc::XDP_RX_RING, sizes.rx, "XDP_RX_RING")?;
    make(libc::XDP_TX_RING, sizes.tx, "XDP_TX_RING")?;
    let (offsets, known) =
        syscall::option::<libc::xdp_mmap_offsets>(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)
            .map_err(kernel("XDP_MMAP_OFFSETS"))?;
    // A kernel before need-wakeup fills a shorter structure, without the flags' offsets.
    if known < size_of::<libc::xdp_mmap_offsets>() {
        return Err(XskError::Unsupported);
    }
    Ok(offsets)
}

/// Maps a ring of `size` descriptors of so many bytes.
fn map(
    fd: BorrowedFd<'_>,
    offsets: Offsets,
    size: u32,
    descriptor: usize,
    page_offset: i64,
    step: &'static str,
) -> Result<Memory, XskError> {
    let len = usize::try_from(offsets.descriptors)
        .ok()
        .and_then(|start| start.checked_add(size as usize * descriptor))
        .ok_or_else(|| kernel(step)(io::ErrorKind::InvalidData.into()))?;
    Memory::of_ring(fd, len, page_offset).map_err(kernel(step))
}

fn nonsense() -> XskError {
    kernel("ring offsets")(io::ErrorKind::InvalidData.into())
}

/// Maps the two rings that each socket has.
fn map_own(
    fd: BorrowedFd<'_>,
    offsets: &libc::xdp_mmap_offsets,
    sizes: RingSizes,
) -> Result<(Consumer<libc::xdp_desc>, Producer<libc::xdp_desc>), XskError> {
    let desc = size_of::<libc::xdp_desc>();
    let (rx, tx) = (Offsets::from(offsets.rx), Offsets::from(offsets.tx));
    let receive = map(fd, rx, sizes.rx, desc, libc::XDP_PGOFF_RX_RING, "map RX ring")?;
    let transmit = map(fd, tx, sizes.tx, desc, libc::XDP_PGOFF_TX_RING, "map TX ring")?;
    Ok((
        Consumer::in_mapping(receive, rx, sizes.rx).ok_or_else(nonsense)?,
        Producer::in_mapping(transmit, tx, sizes.tx).ok_or_else(nonsense)?,
    ))
}

/// Maps the two rings that the queue has.
fn map_queue(
    fd: BorrowedFd<'_>,
    offsets: &libc::xdp_mmap_offsets,
    sizes: RingSizes,
) -> Result<(Producer<u64>, Consumer<u64>), XskError> {
    let word = size_of::<u64>();
    let (fr, cr) = (Offsets::from(offsets.fr), Offsets::from(offsets.cr));
    // The kernel's constants are below 2^33.
    let fill = map(fd, fr, sizes.fill, word, libc::XDP_UMEM_PGOFF_FILL_RING as i64, "map fill ring")?;
    let completion = libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64;
    let completion = map(fd, cr, sizes.completion, word, completion, "map completion ring")?;
    Ok((
        Producer::in_mapping(fill, fr, sizes.fill).ok_or_else(nonsense)?,
        Consumer::in_mapping(completion, cr, sizes.completion).ok_or_else(nonsense)?,
    ))
}

/// What a socket is bound to.
struct Address {
    ifindex: u32,
    queue: u32,
}

impl Address {
    /// Binds with `flags` (`XDP_COPY`, `XDP_ZEROCOPY`, `XDP_SHARED_UMEM`, `XDP_USE_NEED_WAKEUP`), waiting for a queue that
    /// is being let go. `owner` is the socket whose UMEM is shared.
    ///
    /// After a failure the same socket may be bound in the other mode.
    fn bind(&self, fd: BorrowedFd<'_>, flags: u16, owner: Option<BorrowedFd<'_>>) -> Result<(), XskError> {
        let &Self { ifindex, queue } = self;
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: ifindex,
            sxdp_queue_id: queue,
            // Never negative.
            sxdp_shared_umem_fd: owner.map_or(0, |owner| owner.as_raw_fd() as u32),
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
