//! System calls that neither `std` nor a safe crate offers, each wrapped so that its callers need no `unsafe`.
//!
//! Called by `xdp` and `udp`. Every function turns -1 into [`io::Error`] and owns nothing.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};

/// Plain structures of the kernel's: any bytes make a valid value, and there is nothing to drop.
///
/// # Safety
///
/// Implement only for `repr(C)` types of integers without invariants.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: integers, or `repr(C)` structures of them, declared by `libc` after the kernel's headers.
unsafe impl Plain for libc::c_int {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_umem_reg {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_statistics {}
// SAFETY: as above.
unsafe impl Plain for libc::xdp_options {}
// SAFETY: as above; SO_MEMINFO fills an array of `u32`.
unsafe impl<const N: usize> Plain for [u32; N] {}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A socket, closed on exec.
pub(crate) fn socket(domain: i32, kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    let fd = check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option.
pub(crate) fn set_option<T: Plain>(fd: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes at `value`, which is borrowed for the call.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// Reads a socket option; also how many bytes of it this kernel knows (the rest is zero).
pub(crate) fn option<T: Plain>(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<(T, usize)> {
    // SAFETY: `Plain` says that zero bytes make a value.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes at `value`, and any bytes are a valid `T`.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, ptr::from_mut(&mut value).cast(), &mut len)
    })?;
    Ok((value, len as usize))
}

/// Binds an AF_XDP socket.
pub(crate) fn bind_xdp(fd: BorrowedFd<'_>, address: &libc::sockaddr_xdp) -> io::Result<()> {
    // SAFETY: the kernel reads one `sockaddr_xdp` at `address`, borrowed for the call.
    check(unsafe {
        libc::bind(
            fd.as_raw_fd(),
            ptr::from_ref(address).cast(),
            size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// Tells the kernel to look at an AF_XDP socket's TX ring.
pub(crate) fn wake_tx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed.
    let sent = unsafe { libc::sendto(fd.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Tells the kernel to look at an AF_XDP socket's fill ring.
pub(crate) fn wake_rx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed.
    let received = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    if received < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn mapped(address: *mut libc::c_void) -> io::Result<NonNull<u8>> {
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Fresh zeroed private memory; `flags` are added to `MAP_PRIVATE | MAP_ANONYMOUS`.
pub(crate) fn map_anonymous(len: usize, flags: i32) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: no address is demanded, so no existing mapping can be replaced.
    mapped(unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) })
}

/// Fresh zeroed private memory whose address is a multiple of `alignment`, a multiple of the page size.
pub(crate) fn map_anonymous_aligned(len: usize, alignment: usize) -> io::Result<NonNull<u8>> {
    let wide = len.checked_add(alignment).ok_or(io::ErrorKind::OutOfMemory)?;
    let base = map_anonymous(wide, 0)?;
    let before = base.as_ptr().addr().next_multiple_of(alignment) - base.as_ptr().addr();
    // SAFETY: `before < alignment` and `wide` is `len + alignment`, so both addresses are in the mapping or one
    // past its end.
    let (start, end) = unsafe { (base.add(before), base.add(before + len)) };
    if before > 0 {
        unmap(base, before);
    }
    if alignment - before > 0 {
        unmap(end, alignment - before);
    }
    Ok(start)
}

/// One of an AF_XDP socket's rings, shared with the kernel.
pub(crate) fn map_ring(fd: BorrowedFd<'_>, len: usize, offset: i64) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: no address is demanded, so no existing mapping can be replaced.
    mapped(unsafe {
        libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd.as_raw_fd(), offset)
    })
}

/// Advice that may change which pages back the memory but never what is in it.
pub(crate) fn advise(base: NonNull<u8>, len: usize, advice: i32) -> io::Result<()> {
    assert!(
        [libc::MADV_HUGEPAGE, libc::MADV_POPULATE_WRITE, libc::MADV_COLLAPSE].contains(&advice),
        "only advice that keeps contents"
    );
    // SAFETY: the advice was just checked to be one that keeps the contents, so it is harmless wherever it points.
    check(unsafe { libc::madvise(base.as_ptr().cast(), len, advice) })?;
    Ok(())
}

/// Unmaps what one of the `map_` functions gave (or a part of it). The caller has no reference into it left.
pub(crate) fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: callers are the owners of the mapping (`Memory::drop`, the trimming above) and give up its address.
    // It can only fail for an address that isn't page-aligned, which no mapping has.
    unsafe { libc::munmap(base.as_ptr().cast(), len) };
}

/// Waits until one of the descriptors can be read, is hung up or has an error, at most for `limit`; which can.
pub(crate) fn readable<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    limit: std::time::Duration,
) -> io::Result<[bool; N]> {
    let mut polled =
        descriptors.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // Rounded up, so that a deadline isn't waited for in many waits of nothing.
    let millis = limit.as_micros().div_ceil(1000).try_into().unwrap_or(libc::c_int::MAX);
    // SAFETY: `polled` has `N` elements, which the kernel reads and writes during the call.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, millis) };
    match check(ready) {
        Ok(_) => Ok(polled.map(|fd| fd.revents != 0)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        Err(error) => Err(error),
    }
}
