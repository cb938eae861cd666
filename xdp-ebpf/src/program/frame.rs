//! A packet as the program may read it: between `data` and `data_end`, in a shape that the verifier
//! follows.

use core::arch::asm;
use core::marker::PhantomData;

use aya_ebpf::programs::XdpContext;
use strowger_wire::Load;

/// The packet of one run of the program.
pub(crate) struct Frame<'a> {
    data: usize,
    data_end: usize,
    context: PhantomData<&'a XdpContext>,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    pub(crate) fn of(ctx: &'a XdpContext) -> Self {
        Self { data: ctx.data(), data_end: ctx.data_end(), context: PhantomData }
    }
}

impl Load for Frame<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let at = self.data + offset;
        if at + N > self.data_end {
            return None;
        }
        // SAFETY: the N bytes from `at` end at or before `data_end`; the kernel keeps the packet for as
        // long as the context lives, and an array of bytes has no alignment. The verifier proves the
        // same and refuses to load a program that is wrong here.
        Some(unsafe { (at as *const [u8; N]).read() })
    }

    #[inline(always)]
    fn word(&self, offset: usize) -> Option<u64> {
        let at = self.data + offset;
        if at + size_of::<u64>() > self.data_end {
            return None;
        }
        let word;
        // SAFETY: as above. One instruction, because the compiler would read eight bytes one by one where it can't
        // know that they are aligned; the kernels that the loader meets don't ask for it.
        unsafe { asm!("{} = *(u64 *)({} + 0)", out(reg) word, in(reg) at, options(readonly, nostack)) };
        Some(u64::from_le(word))
    }

    #[inline(always)]
    fn holds(&self, len: usize) -> bool {
        // The ends are subtracted, not `len` added: it was read from the packet, byte-swapped, and before Linux 7.0 the
        // verifier believes that a swapped number may be any. It allows no such number to be added to a pointer.
        len <= self.data_end - self.data
    }
}
