//! How the decoder reads bytes: the one seam between a slice and the bounds the BPF verifier must see.

/// Read access to one frame, from the first byte of its Ethernet header.
///
/// Userspace reads slices. The XDP program compares every access with `data_end`, in a shape that the
/// kernel's verifier can follow: it learns from comparing a packet pointer with the end, not from a length
/// that was once computed. Therefore the length isn't offered, only the question whether it suffices.
pub trait Load {
    /// The `N` bytes at `offset`, or `None` when the frame ends before them.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The two bytes at `offset` as the machine reads them, or `None` when the frame ends before them.
    #[inline(always)]
    fn u16(&self, offset: usize) -> Option<u16> {
        self.load(offset).map(u16::from_ne_bytes)
    }

    /// The four bytes at `offset` as the machine reads them.
    #[inline(always)]
    fn u32(&self, offset: usize) -> Option<u32> {
        self.load(offset).map(u32::from_ne_bytes)
    }

    /// The eight bytes at `offset` as the machine reads them.
    #[inline(always)]
    fn u64(&self, offset: usize) -> Option<u64> {
        self.load(offset).map(u64::from_ne_bytes)
    }

    /// `offset`, which is below 4,096.
    ///
    /// To the verifier a number of which it knows no more than that, so that ways by which it came to be different
    /// numbers are one way from here on; otherwise it would follow each of them to the program's end.
    #[inline(always)]
    fn blur(&self, offset: usize) -> usize {
        offset
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
