//! The kernel's UDP socket beside AF_XDP: the same address and port, in batches, with the same room for edits in place.
//!
//! It receives what XDP passes and sends what AF_XDP can't, and with mode `off` it is the whole data plane. A received
//! datagram lies in a slot with headroom; the caller edits it there and queues the slot to be sent, so a message that
//! comes and goes by the same socket is copied by nobody but the kernel. Owned by one worker; allocates at bind only.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Protocol, Type};

use crate::mmsg::{self, BATCH, Outgoing};
use crate::syscall;

/// Longest UDP payload over IPv4 or IPv6 without jumbograms, and a little more: 65,535 less the headers.
const LONGEST: usize = 65_535;
/// Bytes free before a datagram, for the message to grow to the front. As much as a frame of an AF_XDP socket has.
const HEADROOM: usize = 512;
/// Indices of `SK_MEMINFO_RMEM_ALLOC`, `SK_MEMINFO_RCVBUF` and `SK_MEMINFO_DROPS` in what `SO_MEMINFO` gives
/// (`<linux/sock_diag.h>`), and its length.
const MEMINFO_RECEIVED: usize = 0;
const MEMINFO_RECEIVE_BUFFER: usize = 1;
const MEMINFO_DROPS: usize = 8;
const MEMINFO_LENGTH: usize = 9;

/// One datagram's place.
struct Slot {
    bytes: Box<[u8]>,
    range: Range<usize>,
    peer: SocketAddr,
}

/// Which slot an outgoing datagram lies in.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// A received one, edited.
    Received(usize),
    /// A copy of somebody else's.
    Copied(usize),
}

/// A datagram that waits for [`KernelSocket::flush`].
#[derive(Debug, Clone)]
struct Waiting {
    place: Place,
    range: Range<usize>,
    to: SocketAddr,
}

/// What the socket counted since it was bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// Datagrams received.
    pub received: u64,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Datagrams lost since the socket's send buffer was full.
    pub send_full: u64,
    /// Datagrams that the kernel refused: no route, message too long, a filter.
    pub send_refused: u64,
    /// System calls that received nothing for another reason than that there was nothing.
    pub receive_failed: u64,
}

/// A received datagram in its slot.
pub struct Received<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// The whole slot; room before and after the message.
    pub slot: &'a mut [u8],
    /// Where the message lies in it.
    pub message: Range<usize>,
}

/// See the head of this file.
pub struct KernelSocket {
    fd: OwnedFd,
    local: SocketAddr,
    slots: Vec<Slot>,
    copies: Vec<Slot>,
    copied: usize,
    waiting: Vec<Waiting>,
    counters: KernelCounters,
}

impl KernelSocket {
    /// Datagrams that one [`Self::receive`] brings at most.
    pub const BATCH: usize = BATCH;

    /// Binds to `local`. With `shared`, every socket bound so to the same address gets its part of the flows
    /// (SO_REUSEPORT). `buffer` is the wanted size of the receive and send buffers in bytes; the kernel may give less.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`, or whatever the kernel says.
    pub fn bind(local: SocketAddr, shared: bool, buffer: usize) -> io::Result<KernelSocket> {
        let socket = socket2::Socket::new(
            Domain::for_address(local),
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::UDP),
        )?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        if local.is_ipv6() {
            // IPv4 has sockets of its own.
            socket.set_only_v6(true)?;
        }
        for (name, forced) in
            [(libc::SO_RCVBUF, libc::SO_RCVBUFFORCE), (libc::SO_SNDBUF, libc::SO_SNDBUFFORCE)]
        {
            let wanted = libc::c_int::try_from(buffer).unwrap_or(libc::c_int::MAX);
            // Above net.core.rmem_max only CAP_NET_ADMIN may go; without it the limit is what we get.
            syscall::set_option(socket.as_fd(), libc::SOL_SOCKET, forced, &wanted)
                .or_else(|_| syscall::set_option(socket.as_fd(), libc::SOL_SOCKET, name, &wanted))?;
        }
        // Datagrams longer than the path's MTU are to be fragmented and not refused: RFC 3261 section 18.1.1 has every
        // element accept up to 65,535 bytes. IPv4 without DF, so that routers may fragment as well; IPv6 by the path
        // MTU that the kernel knows.
        match local {
            SocketAddr::V4(_) => {
                syscall::set_option(
                    socket.as_fd(),
                    libc::IPPROTO_IP,
                    libc::IP_MTU_DISCOVER,
                    &libc::IP_PMTUDISC_DONT,
                )?;
            }
            SocketAddr::V6(_) => {
                syscall::set_option(
                    socket.as_fd(),
                    libc::IPPROTO_IPV6,
                    libc::IPV6_MTU_DISCOVER,
                    &libc::IPV6_PMTUDISC_WANT,
                )?;
            }
        }
        socket.bind(&local.into())?;
        KernelSocket::over(socket.into())
    }

    /// The same socket of the kernel's once more, with slots of its own: what one of both receives the other does not.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub fn share(&self) -> io::Result<KernelSocket> {
        KernelSocket::over(self.fd.try_clone()?)
    }

    /// Takes a socket over that was [bound](Self::bind) so, perhaps by another process.
    ///
    /// # Errors
    /// `InvalidInput` for a descriptor that is no bound UDP socket.
    pub fn over(fd: OwnedFd) -> io::Result<KernelSocket> {
        let socket = socket2::Socket::from(fd);
        if socket.r#type()? != Type::DGRAM {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
        // Zeroed memory that nothing touches is not backed by pages, so slots cost what their datagrams take.
        let slots = |n: usize| -> Vec<Slot> {
            (0..n)
                .map(|_| Slot {
                    bytes: vec![0; HEADROOM + LONGEST].into_boxed_slice(),
                    range: 0..0,
                    peer: local,
                })
                .collect()
        };
        Ok(KernelSocket {
            fd: socket.into(),
            local,
            slots: slots(BATCH),
            copies: slots(BATCH),
            copied: 0,
            waiting: Vec::with_capacity(BATCH),
            counters: KernelCounters::default(),
        })
    }

    /// The address it is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Receives up to [`Self::BATCH`] datagrams without waiting; how many. What still waits to be sent is sent first,
    /// because it lies in the slots that are about to be used again.
    pub fn receive(&mut self) -> usize {
        self.flush();
        let KernelSocket { fd, slots, counters, .. } = self;
        let mut arrivals = [(0, self.local); BATCH];
        let buffers = slots.iter_mut().map(|slot| &mut slot.bytes[HEADROOM..]);
        let took = |at: usize, len, source| {
            if let Some(arrival) = arrivals.get_mut(at) {
                *arrival = (len, source);
            }
        };
        let n = match mmsg::receive(fd.as_fd(), buffers, took) {
            Ok(n) => n,
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock && error.kind() != io::ErrorKind::Interrupted {
                    counters.receive_failed += 1;
                }
                0
            }
        };
        for (slot, (len, source)) in slots.iter_mut().zip(arrivals).take(n) {
            slot.range = HEADROOM..HEADROOM + len.min(LONGEST);
            slot.peer = source;
        }
        counters.received += n as u64;
        n
    }

    /// The `at`th datagram of the last [`Self::receive`], to be edited where it lies. None beyond [`Self::BATCH`].
    pub fn received(&mut self, at: usize) -> Option<Received<'_>> {
        let slot = self.slots.get_mut(at)?;
        Some(Received { source: slot.peer, slot: &mut slot.bytes, message: slot.range.clone() })
    }

    /// The bytes at `range` of the `at`th slot: what the caller made of the datagram, for another socket to send.
    pub fn slot(&self, at: usize, range: Range<usize>) -> Option<&[u8]> {
        self.slots.get(at)?.bytes.get(range)
    }

    /// Queues what now lies at `message` in the `at`th slot. It leaves with the next [`Self::flush`] or
    /// [`Self::receive`]. False when there is no such slot or range.
    pub fn send_slot(&mut self, at: usize, message: Range<usize>, to: SocketAddr) -> bool {
        if self.slot(at, message.clone()).is_none() {
            return false;
        }
        self.make_room();
        self.waiting.push(Waiting { place: Place::Received(at), range: message, to });
        true
    }

    /// Queues a copy of `message`. False when it is longer than a UDP datagram can be.
    pub fn send_copy(&mut self, message: &[u8], to: SocketAddr) -> bool {
        // First: a flush gives all copies' places away, so it must not come between taking one and queueing it.
        self.make_room();
        let at = self.copied;
        let Some(place) = self.copies.get_mut(at).and_then(|slot| slot.bytes.get_mut(..message.len())) else {
            return false;
        };
        place.copy_from_slice(message);
        self.copied += 1;
        self.waiting.push(Waiting { place: Place::Copied(at), range: 0..message.len(), to });
        true
    }

    /// One more can wait, and one more copy be kept: every copy waits, so there are never more of them.
    fn make_room(&mut self) {
        if self.waiting.len() == BATCH {
            self.flush();
        }
    }

    /// Sends everything that waits. What the kernel does not take is counted and lost, as UDP is: SIP retransmits.
    pub fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let KernelSocket { fd, slots, copies, waiting, counters, .. } = self;
        let mut datagrams = [Outgoing { bytes: &[], to: self.local }; BATCH];
        for (datagram, waits) in datagrams.iter_mut().zip(waiting.iter()) {
            let slot = match waits.place {
                Place::Received(at) => slots.get(at),
                Place::Copied(at) => copies.get(at),
            };
            let bytes = slot.and_then(|slot| slot.bytes.get(waits.range.clone())).unwrap_or_default();
            *datagram = Outgoing { bytes, to: waits.to };
        }
        let mut left = datagrams.get(..waiting.len()).unwrap_or_default();
        while !left.is_empty() {
            let gone = match mmsg::send(fd.as_fd(), left) {
                Ok(sent) => {
                    counters.sent += sent as u64;
                    sent.max(1)
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => 0,
                    Some(libc::EAGAIN | libc::ENOBUFS) => {
                        counters.send_full += 1;
                        1
                    }
                    // The first is the culprit; those behind it go on.
                    _ => {
                        counters.send_refused += 1;
                        1
                    }
                },
            };
            left = left.get(gone..).unwrap_or_default();
        }
        waiting.clear();
        self.copied = 0;
    }

    /// What it counted.
    pub fn counters(&self) -> KernelCounters {
        self.counters
    }

    /// How full the receive buffer is, in percent. A system call.
    pub fn backlog(&self) -> io::Result<u8> {
        let memory = meminfo(&self.fd)?;
        let (used, most) = (u64::from(memory[MEMINFO_RECEIVED]), u64::from(memory[MEMINFO_RECEIVE_BUFFER]));
        Ok((used * 100).checked_div(most).unwrap_or(0).min(100) as u8)
    }

    /// Datagrams that the kernel dropped since the receive buffer was full. A system call.
    pub fn drops(&self) -> io::Result<u64> {
        drops(&self.fd)
    }
}

/// Datagrams that the kernel dropped since the receive buffer of this UDP socket was full. A system call.
///
/// # Errors
/// It is no socket.
pub fn drops(socket: &impl AsFd) -> io::Result<u64> {
    Ok(u64::from(meminfo(socket)?[MEMINFO_DROPS]))
}

/// Octets of the kernel's memory that what waits to be received by this UDP socket takes: each datagram's own and as many
/// again or more around it. A system call.
///
/// # Errors
/// It is no socket.
pub fn waiting(socket: &impl AsFd) -> io::Result<u64> {
    Ok(u64::from(meminfo(socket)?[MEMINFO_RECEIVED]))
}

fn meminfo(socket: &impl AsFd) -> io::Result<[u32; MEMINFO_LENGTH]> {
    let (memory, _) = syscall::option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO)?;
    Ok(memory)
}

impl fmt::Debug for KernelSocket {
    /// Without the datagrams.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSocket")
            .field("local", &self.local)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl AsFd for KernelSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    fn loopback() -> KernelSocket {
        KernelSocket::bind("127.0.0.1:0".parse().expect("an address"), true, 1 << 20).expect("binds")
    }

    fn receive(socket: &mut KernelSocket) -> usize {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match socket.receive() {
                0 if Instant::now() < deadline => std::thread::yield_now(),
                n => return n,
            }
        }
    }

    fn peer() -> UdpSocket {
        let peer = UdpSocket::bind("127.0.0.1:0").expect("binds");
        peer.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        peer
    }

    #[test]
    fn a_batch_is_edited_in_place_and_sent_back() {
        let mut socket = loopback();
        let peer = peer();
        for text in ["one", "two", "three"] {
            peer.send_to(text.as_bytes(), socket.local()).expect("sent");
        }
        let mut back = Vec::new();
        while back.len() < 3 {
            for at in 0..receive(&mut socket) {
                let Received { source, slot, message } = socket.received(at).expect("there");
                assert_eq!(Some(source), peer.local_addr().ok());
                assert!(message.start >= 512, "room to grow");
                let grown = message.start - 2..message.end;
                slot[grown.start..message.start].copy_from_slice(b"> ");
                assert!(socket.send_slot(at, grown, source));
            }
            socket.flush();
            peer.set_nonblocking(true).expect("set");
            let mut bytes = [0; 64];
            while let Ok(n) = peer.recv(&mut bytes) {
                back.push(String::from_utf8_lossy(&bytes[..n]).into_owned());
            }
        }
        assert_eq!(back, ["> one", "> two", "> three"]);
        assert_eq!((socket.counters().received, socket.counters().sent), (3, 3));
    }

    #[test]
    fn more_copies_than_a_batch_all_arrive() {
        let mut socket = loopback();
        let peer = peer();
        let to = peer.local_addr().expect("bound");
        for n in 0..100u8 {
            assert!(socket.send_copy(&[n; 40], to));
        }
        socket.flush();
        let mut bytes = [0; 64];
        for n in 0..100u8 {
            assert_eq!(peer.recv(&mut bytes).expect("arrives"), 40);
            assert_eq!(bytes[..40], [n; 40]);
        }
        assert_eq!(socket.counters().sent, 100);
    }

    #[test]
    fn copies_behind_a_full_batch_of_answers_keep_their_bytes() {
        let mut socket = loopback();
        let (one, two) = (peer(), peer());
        one.send_to(b"ask", socket.local()).expect("sent");
        assert_eq!(receive(&mut socket), 1);
        let Received { source, message, .. } = socket.received(0).expect("there");
        for _ in 0..KernelSocket::BATCH {
            assert!(socket.send_slot(0, message.clone(), source));
        }
        assert!(socket.send_copy(b"for ONE", one.local_addr().expect("bound")));
        assert!(socket.send_copy(b"for TWO", two.local_addr().expect("bound")));
        socket.flush();
        let mut bytes = [0; 64];
        for _ in 0..KernelSocket::BATCH {
            assert_eq!(one.recv(&mut bytes).expect("arrives"), 3);
        }
        assert_eq!(one.recv(&mut bytes).map(|n| bytes[..n].to_vec()).expect("arrives"), b"for ONE");
        assert_eq!(two.recv(&mut bytes).map(|n| bytes[..n].to_vec()).expect("arrives"), b"for TWO");
    }

    #[test]
    fn the_longest_datagram_goes_both_ways_and_a_longer_one_is_refused() {
        let mut socket = loopback();
        let peer = peer();
        let to = peer.local_addr().expect("bound");
        let longest = vec![b'x'; 65_507];
        peer.send_to(&longest, socket.local()).expect("sent");
        assert_eq!(receive(&mut socket), 1);
        let Received { message, .. } = socket.received(0).expect("there");
        assert_eq!(message.len(), 65_507);
        assert!(socket.send_slot(0, message, to));
        // Too long for UDP over IPv4: the kernel says so, and what stands behind it is sent all the same.
        assert!(socket.send_copy(&[0; 65_520], to));
        assert!(socket.send_copy(b"behind", to));
        assert!(!socket.send_copy(&vec![0; 70_000], to), "longer than a slot");
        socket.flush();
        let mut bytes = vec![0; 70_000];
        assert_eq!(peer.recv(&mut bytes).expect("arrives"), 65_507);
        assert_eq!(peer.recv(&mut bytes).expect("arrives"), 6);
        let counters = socket.counters();
        assert_eq!((counters.sent, counters.send_refused), (2, 1));
    }

    #[test]
    fn slots_and_ranges_that_are_not_there_are_refused() {
        let mut socket = loopback();
        let to = socket.local();
        assert!(socket.received(KernelSocket::BATCH).is_none());
        assert!(!socket.send_slot(KernelSocket::BATCH, 0..1, to));
        assert!(!socket.send_slot(0, 0..1 << 20, to));
    }

    #[test]
    fn sharing_is_only_for_those_who_share() {
        let first = loopback();
        KernelSocket::bind(first.local(), true, 1 << 16).expect("shared");
        let error = KernelSocket::bind(first.local(), false, 1 << 16).expect_err("exclusive");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let error = KernelSocket::bind("203.0.113.1:5060".parse().expect("an address"), true, 1 << 16)
            .expect_err("not ours");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn what_the_kernel_drops_is_told() {
        let mut socket =
            KernelSocket::bind("127.0.0.1:0".parse().expect("an address"), true, 4096).expect("binds");
        assert_eq!((socket.drops().expect("told"), socket.backlog().expect("told")), (0, 0));
        let peer = peer();
        for _ in 0..500 {
            peer.send_to(&[0; 1000], socket.local()).expect("sent");
        }
        assert!(socket.backlog().expect("told") > 50, "more came than it can hold");
        assert!(waiting(&socket).expect("told") > 2000, "in octets");
        let mut received = 0;
        loop {
            match socket.receive() {
                0 => break,
                n => received += n as u64,
            }
        }
        assert!(received < 500);
        assert_eq!(socket.drops().expect("told"), 500 - received);
    }
}
