//! How the decoder reads bytes: the one seam between a slice and the bounds the BPF verifier must see.

/// Read access to one frame, from the first byte of its Ethernet header.
///
/// Userspace reads slices. The XDP program compares every access with `data_end`, in a shape that the
/// kernel's verifier can follow: it learns from comparing a packet pointer with the end, not from a length
/// that was once computed. Therefore the length isn't offered, only the question whether it suffices.
pub trait Load {
    /// The `N` bytes at `offset`, or `None` when the frame ends before them.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The eight bytes at `offset`, the first one lowest, or `None` when the frame ends before them.
    #[inline(always)]
    fn word(&self, offset: usize) -> Option<u64> {
        self.load(offset).map(u64::from_le_bytes)
    }

    /// Whether the frame has at least `len` bytes.
    fn holds(&self, len: usize) -> bool;
}

impl Load for [u8] {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        self.len() >= len
    }
}
