//! How the decoder reads bytes: the one seam between a slice and the bounds the BPF verifier must see.

/// Read access to one frame, from the first byte of its Ethernet header.
///
/// Userspace reads slices. The XDP program compares every access with `data_end`, in a shape that the
/// kernel's verifier can follow: it learns from comparing a packet pointer with the end, not from a length
/// that was once computed. Therefore the length isn't offered, only the question whether it suffices.
pub trait Load {
    /// A part of the frame that is known to be there.
    type Window<'a, const N: usize>: Window<N>
    where
        Self: 'a;

    /// The `N` bytes at `offset`, to be read piece by piece; `None` when the frame ends before them. One comparison for
    /// all of the pieces, where [`load`](Self::load) and the rest take one for each.
    fn window<const N: usize>(&self, offset: usize) -> Option<Self::Window<'_, N>>;

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

/// `N` bytes of a frame, at whose constant offsets integers are read as the machine reads them. An offset beyond `N`
/// doesn't compile.
pub trait Window<const N: usize> {
    /// The byte at `AT`.
    fn u8<const AT: usize>(&self) -> u8;

    /// The two bytes at `AT`.
    fn u16<const AT: usize>(&self) -> u16;

    /// The four bytes at `AT`.
    fn u32<const AT: usize>(&self) -> u32;

    /// The eight bytes at `AT`.
    fn u64<const AT: usize>(&self) -> u64;
}

impl<const N: usize> Window<N> for &[u8; N] {
    #[inline(always)]
    fn u8<const AT: usize>(&self) -> u8 {
        let [byte] = piece::<N, AT, 1>(self);
        byte
    }

    #[inline(always)]
    fn u16<const AT: usize>(&self) -> u16 {
        u16::from_ne_bytes(piece::<N, AT, 2>(self))
    }

    #[inline(always)]
    fn u32<const AT: usize>(&self) -> u32 {
        u32::from_ne_bytes(piece::<N, AT, 4>(self))
    }

    #[inline(always)]
    fn u64<const AT: usize>(&self) -> u64 {
        u64::from_ne_bytes(piece::<N, AT, 8>(self))
    }
}

/// `LEN` bytes at `AT`; that they are there is known when this is compiled.
#[inline(always)]
fn piece<const N: usize, const AT: usize, const LEN: usize>(bytes: &[u8; N]) -> [u8; LEN] {
    const { assert!(AT + LEN <= N) };
    bytes.get(AT..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; LEN])
}

impl Load for [u8] {
    type Window<'a, const N: usize> = &'a [u8; N];

    #[inline(always)]
    fn window<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.get(offset..)?.first_chunk()
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        self.len() >= len
    }
}
