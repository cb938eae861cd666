//! `recvmmsg` and `sendmmsg`: many datagrams with one system call, without allocation.
//!
//! Called by `kernel` alone. The structures that the kernel reads point into one another and live on the stack for the
//! length of the call only, so nothing here is self-referential.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Datagrams that one system call carries at most. The cost of the call is spread well before 32; more would only make
/// the first wait for the last.
pub(crate) const BATCH: usize = 32;

/// One datagram to send.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) to: SocketAddr,
}

/// A socket address as the kernel reads and writes it. `sockaddr_in` is shorter and has its family, port and address in
/// other places, so both are read through the union.
#[repr(C)]
#[derive(Clone, Copy)]
union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    const EMPTY: Name = Name {
        v6: libc::sockaddr_in6 {
            sin6_family: 0,
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
    };

    /// And its length.
    fn of(address: SocketAddr) -> (Name, usize) {
        match address {
            SocketAddr::V4(v4) => {
                let name = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // All of the larger member is initialised, so that any member may be read later.
                let mut whole = Name::EMPTY;
                whole.v4 = name;
                (whole, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                let name = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                (Name { v6: name }, size_of::<libc::sockaddr_in6>())
            }
        }
    }

    /// None for a family that a UDP socket never gives.
    fn address(&self) -> Option<SocketAddr> {
        // SAFETY: every `Name` starts as `EMPTY` or one of `of`, all initialised, and the kernel writes plain integers;
        // each member is integers only, so any bytes are valid for all of them.
        unsafe {
            match i32::from(self.family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    Some(SocketAddrV4::new(ip, u16::from_be(self.v4.sin_port)).into())
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    let port = u16::from_be(self.v6.sin6_port);
                    Some(SocketAddrV6::new(ip, port, self.v6.sin6_flowinfo, self.v6.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }
}

const NO_VECTOR: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

fn headers() -> [libc::mmsghdr; BATCH] {
    // SAFETY: null pointers, zero lengths and zero flags are a valid, empty `mmsghdr`.
    unsafe { std::mem::zeroed() }
}

/// Receives at most [`BATCH`] datagrams, one into each of `buffers`, without waiting. `took(i, bytes, source)` is called
/// for each in order; a datagram longer than its buffer is cut there, which a buffer of 65,535 bytes excludes.
pub(crate) fn receive<'b>(
    fd: BorrowedFd<'_>,
    buffers: impl Iterator<Item = &'b mut [u8]>,
    mut took: impl FnMut(usize, usize, SocketAddr),
) -> io::Result<usize> {
    let mut names = [Name::EMPTY; BATCH];
    let mut vectors = [NO_VECTOR; BATCH];
    let mut headers = headers();
    let mut count = 0;
    for (((buffer, name), vector), header) in buffers.zip(&mut names).zip(&mut vectors).zip(&mut headers) {
        *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        header.msg_hdr.msg_namelen = size_of::<Name>() as libc::socklen_t;
        header.msg_hdr.msg_iov = ptr::from_mut(vector);
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers point at names and vectors of this frame, and the vectors at buffers that are
    // borrowed mutably for `'b`, each another one, with their true lengths.
    let received = unsafe {
        libc::recvmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, ptr::null_mut())
    };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let received = received as usize;
    for (at, (header, name)) in headers.iter().zip(&names).take(received).enumerate() {
        let source = name.address().unwrap_or(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)));
        took(at, header.msg_len as usize, source);
    }
    Ok(received)
}

/// Sends at most [`BATCH`] datagrams without waiting; how many the kernel took. An error is that of the first.
pub(crate) fn send(fd: BorrowedFd<'_>, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
    let mut names = [Name::EMPTY; BATCH];
    let mut vectors = [NO_VECTOR; BATCH];
    let mut headers = headers();
    let mut count = 0;
    for (((datagram, name), vector), header) in
        datagrams.iter().zip(&mut names).zip(&mut vectors).zip(&mut headers)
    {
        let length;
        (*name, length) = Name::of(datagram.to);
        *vector = libc::iovec {
            iov_base: datagram.bytes.as_ptr().cast_mut().cast(),
            iov_len: datagram.bytes.len(),
        };
        header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        header.msg_hdr.msg_namelen = length as libc::socklen_t;
        header.msg_hdr.msg_iov = ptr::from_mut(vector);
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers point at names and vectors of this frame, and the vectors at bytes that are
    // borrowed for the call; the kernel only reads them.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_shape() {
        for text in ["10.1.2.3:5060", "255.255.255.255:65535", "[2001:db8::1]:5061", "[::1]:1"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(Name::of(address).0.address(), Some(address));
        }
        let scoped = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 5060, 7, 3));
        assert_eq!(Name::of(scoped).0.address(), Some(scoped));
        assert_eq!(Name::EMPTY.address(), None);
    }
}
