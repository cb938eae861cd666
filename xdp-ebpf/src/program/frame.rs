//! A packet as the program may read it: between `data` and `data_end`, in a shape that the verifier
//! follows.

use core::arch::asm;
use core::marker::PhantomData;

use aya_ebpf::programs::XdpContext;
use strowger_wire::{Load, Window};

use crate::maps;

/// The packet of one run of the program.
pub(crate) struct Frame<'a> {
    data: usize,
    data_end: usize,
    context: PhantomData<&'a XdpContext>,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    pub(crate) fn of(ctx: &'a XdpContext) -> Self {
        // SAFETY: the context is the kernel's, and these are words of it, which the verifier turns into pointers.
        // Volatile, so that they are read anew for each frame: the verifier then knows nothing of its bounds yet, and
        // what it knows from before doesn't tell ways apart.
        let (data, data_end) = unsafe {
            ((&raw const (*ctx.ctx).data).read_volatile(), (&raw const (*ctx.ctx).data_end).read_volatile())
        };
        Self { data: data as usize, data_end: data_end as usize, context: PhantomData }
    }
}

impl Frame<'_> {
    /// Where the `len` bytes at `offset` lie, which may be written; `None` when the frame ends before them.
    #[inline(always)]
    pub(crate) fn room(&self, offset: usize, len: usize) -> Option<usize> {
        let at = place(self.data + offset);
        (at + len <= self.data_end).then_some(at)
    }
}

/// `address`, of which the compiler knows nothing any more. From what was compared before it would conclude that some of
/// the comparisons with `data_end` are needless, and the verifier doesn't follow that.
#[inline(always)]
fn place(mut address: usize) -> usize {
    // SAFETY: a move to itself. It can't be less: the kernel refuses line numbers of no instruction.
    unsafe { asm!("{0} = {0}", inout(reg) address, options(pure, nomem, nostack, preserves_flags)) };
    address
}

/// Reads an integer by one instruction. The compiler would read it byte by byte, because it can't know that packets
/// may be read at any address, as the kernel allows on the machines that it has a JIT for.
macro_rules! read {
    ($frame:ident, $offset:ident, $int:ident) => {{
        let at = place($frame.data + $offset);
        if at + size_of::<$int>() > $frame.data_end {
            return None;
        }
        let value: u64;
        // SAFETY: as in `load`; the verifier proves that the bytes are the packet's. Nothing is written.
        unsafe {
            asm!(
                concat!("{} = *(", stringify!($int), " *)({} + 0)"),
                out(reg) value,
                in(reg) at,
                options(pure, readonly, nostack)
            );
        }
        Some(value as $int)
    }};
}

/// Bytes of the packet that were compared with its end once.
pub(crate) struct Piece<'a, const N: usize> {
    at: usize,
    frame: PhantomData<&'a XdpContext>,
}

/// Reads an integer at a constant offset of a piece by one instruction.
macro_rules! read_at {
    ($piece:ident, $offset:ident, $int:ident) => {{
        const { assert!($offset + size_of::<$int>() <= N) };
        let value: u64;
        // SAFETY: the piece's bytes are the packet's, and the offset is inside of it; the verifier proves the same.
        // Nothing is written.
        unsafe {
            asm!(
                concat!("{} = *(", stringify!($int), " *)({} + {})"),
                out(reg) value,
                in(reg) $piece.at,
                const $offset,
                options(pure, readonly, nostack)
            );
        }
        value as $int
    }};
}

impl<const N: usize> Window<N> for Piece<'_, N> {
    #[inline(always)]
    fn u8<const AT: usize>(&self) -> u8 {
        read_at!(self, AT, u8)
    }

    #[inline(always)]
    fn u16<const AT: usize>(&self) -> u16 {
        read_at!(self, AT, u16)
    }

    #[inline(always)]
    fn u32<const AT: usize>(&self) -> u32 {
        read_at!(self, AT, u32)
    }

    #[inline(always)]
    fn u64<const AT: usize>(&self) -> u64 {
        read_at!(self, AT, u64)
    }
}

impl Load for Frame<'_> {
    type Window<'a, const N: usize>
        = Piece<'a, N>
    where
        Self: 'a;

    #[inline(always)]
    fn window<const N: usize>(&self, offset: usize) -> Option<Piece<'_, N>> {
        Some(Piece { at: self.room(offset, N)?, frame: PhantomData })
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let at = place(self.data + offset);
        if at + N > self.data_end {
            return None;
        }
        // SAFETY: the N bytes from `at` end at or before `data_end`; the kernel keeps the packet for as
        // long as the context lives, and an array of bytes has no alignment. The verifier proves the
        // same and refuses to load a program that is wrong here.
        Some(unsafe { (at as *const [u8; N]).read() })
    }

    #[inline(always)]
    fn u16(&self, offset: usize) -> Option<u16> {
        read!(self, offset, u16)
    }

    #[inline(always)]
    fn u32(&self, offset: usize) -> Option<u32> {
        read!(self, offset, u32)
    }

    #[inline(always)]
    fn u64(&self, offset: usize) -> Option<u64> {
        read!(self, offset, u64)
    }

    #[inline(always)]
    fn blur(&self, offset: usize) -> usize {
        let Some(cpu) = maps::this_cpu() else { return 0 };
        let scratch = &raw mut cpu.scratch;
        // SAFETY: one word of this CPU's own memory; volatile, so that it is written and read indeed. What comes out of
        // a map is any number to the verifier.
        let number = unsafe {
            scratch.write_volatile(offset as u64);
            scratch.read_volatile()
        };
        number as usize & 4095
    }

    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        // The ends are subtracted, not `len` added: it was read from the packet, byte-swapped, and before Linux 7.0 the
        // verifier believes that a swapped number may be any. It allows no such number to be added to a pointer.
        len <= self.data_end - self.data
    }
}
