//! What the kernel counts for a socket, and what we count.

/// The kernel's counts for one socket (`XDP_STATISTICS`), since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Packets dropped for other reasons than a full RX ring: no fill descriptor, too long for a chunk.
    pub rx_dropped: u64,
    /// Fill descriptors that the kernel found invalid.
    pub rx_invalid_descs: u64,
    /// TX descriptors that the kernel found invalid. Their frames never come back.
    pub tx_invalid_descs: u64,
    /// Packets dropped since the RX ring was full.
    pub rx_ring_full: u64,
    /// Times that the kernel wanted a fill descriptor and found none.
    pub rx_fill_ring_empty_descs: u64,
    /// Times that the kernel looked for TX descriptors and found none: the end of every wake-up, so no fault.
    pub tx_ring_empty_descs: u64,
}

impl From<libc::xdp_statistics> for Statistics {
    fn from(kernel: libc::xdp_statistics) -> Self {
        Self {
            rx_dropped: kernel.rx_dropped,
            rx_invalid_descs: kernel.rx_invalid_descs,
            tx_invalid_descs: kernel.tx_invalid_descs,
            rx_ring_full: kernel.rx_ring_full,
            rx_fill_ring_empty_descs: kernel.rx_fill_ring_empty_descs,
            tx_ring_empty_descs: kernel.tx_ring_empty_descs,
        }
    }
}

/// Our own counts for one socket, since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Frames received.
    pub rx: u64,
    /// Frames put into the TX ring.
    pub tx: u64,
    /// Frames whose transmission was completed.
    pub completed: u64,
    /// Frames handed back since the TX ring was full.
    pub tx_ring_full: u64,
    /// Frames handed back since they were shorter than an Ethernet header. The kernel would keep them for good.
    pub tx_runt: u64,
    /// Descriptors in the RX ring that named no chunk of the kernel's. Anything but 0 is a bug in a driver.
    pub rx_bad_address: u64,
    /// Descriptors in the completion ring that named no chunk of the kernel's. Anything but 0 is a bug in a driver.
    pub completion_bad_address: u64,
    /// Times that the fill ring stood empty and there was no free frame for it.
    pub fill_starved: u64,
    /// System calls that woke the kernel for the TX ring.
    pub wakeups_tx: u64,
    /// System calls that woke the kernel for the fill ring.
    pub wakeups_rx: u64,
    /// Wake-ups that the kernel put off (EAGAIN, EBUSY, ENOBUFS); the next `service` repeats them.
    pub wakeups_deferred: u64,
    /// Wake-ups that failed otherwise, such as with the link down.
    pub wakeups_failed: u64,
    /// Frames that this socket, which borrows its queue's UMEM, gave back to the owner.
    pub returned: u64,
    /// Frames that this socket, which borrows its queue's UMEM, got from the owner.
    pub borrowed: u64,
    /// Frames that this socket, which owns its queue, took back from the others.
    pub taken_home: u64,
    /// Frames that this socket, which owns its queue, put at the others' disposal.
    pub lent: u64,
}
