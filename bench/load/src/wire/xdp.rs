//! AF_XDP: our own rings on every queue of an interface, with the kernel sockets beside them.
//!
//! The kernel sockets hold the same addresses and ports. What the XDP program passes (fragments, ARP's companions) comes
//! by them, and what cannot leave by a ring (a neighbour not resolved, over the MTU) goes by them, as in the node. One
//! thread serves all queues, so it does not matter to which of them the device puts a message.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::time::{ClockId, clock_gettime};
use strowger_wire::{ChecksumState, Headers, decode, udp_checksum_state};
use strowger_xdp::{AttachError, AttachMode, Heartbeat, LoadError, LoadOptions, Program};
use strowger_xsk::{
    BindMode, Device, Frame, FrameBatch, Mirror, NextHops, RingSizes, Socket, SocketConfig, UmemConfig,
    XskError,
};

use super::{Kernel, Wire, WireCounts};
use crate::agents::Outbox;
use crate::failure::Failure;
use crate::namespace;
use crate::record::Io;
use crate::scenario::Side;

/// Frames of one queue, and entries of its rings: 8,192 messages are what arrives in 50 ms of the highest rates.
const FRAMES: u32 = 16_384;
const RING: u32 = 4_096;
/// Bytes of a frame: a page, room for what the XDP program redirects.
const CHUNK: u32 = 4_096;
/// Room for headers before a message, besides XDP's own.
const HEADROOM: u32 = 256;
const _: () =
    assert!(strowger_xdp::LONGEST_FRAME <= (CHUNK - strowger_xsk::XDP_HEADROOM - HEADROOM) as usize);
/// What epoll says of a ring's socket, and of a kernel socket.
const RINGS: u64 = 0;
const KERNEL: u64 = 1;
/// How often the kernel sockets are asked while the rings bring something. They carry the exceptions.
const KERNEL_EVERY: u64 = 500_000;
/// TTL or hop limit: what IANA recommends, RFC 1700.
const TTL: u8 = 64;
/// An Ethernet header, which the MTU does not count.
const ETHERNET: usize = 14;

/// A message that came by a ring.
struct Arrived {
    queue: usize,
    frame: Frame,
    side: Side,
    source: SocketAddr,
    payload: std::ops::Range<usize>,
}

/// See the head of this file.
pub struct Xdp {
    kernel: Kernel,
    local: [SocketAddr; 2],
    device: u32,
    sockets: Vec<Socket>,
    /// An epoll descriptor: readable when any of the sockets is.
    any: OwnedFd,
    heart: Heartbeat,
    hops: NextHops,
    arrived: Vec<Arrived>,
    from_kernel: usize,
    /// When the kernel sockets are asked next, at the latest.
    kernel_at: u64,
    batch: FrameBatch,
    ident: u16,
    /// Frames with a wrong checksum or for a port that is not ours: the program redirects by address and port alone.
    refused: u64,
    full: u64,
    sent: u64,
    // Last: they go when the sockets are closed.
    _program: Program,
    _mirror: Mirror,
}

impl Xdp {
    /// Attaches the XDP program to `interface`, in the namespace, and opens a socket on each of its queues. `kernel` has
    /// the addresses, which are the interface's.
    ///
    /// # Errors
    /// No such interface or no XDP on it, a program that is there already, missing privileges.
    pub fn open(interface: &str, netns: Option<&str>, kernel: Kernel) -> Result<(Self, Io), Failure> {
        namespace::inside(netns, || Self::open_here(interface, kernel))?
    }

    fn open_here(interface: &str, kernel: Kernel) -> Result<(Self, Io), Failure> {
        let local = |what: String| Failure::Local { what: format!("--xdp {interface}: {what}") };
        let device = Device::find(interface).map_err(|error| local(error.to_string()))?;
        if !device.up {
            return Err(local("the interface is down".to_owned()));
        }
        let options = LoadOptions { queues: device.rx_queues, ..LoadOptions::default() };
        let mut program = Program::load(&options).map_err(|error| match error {
            LoadError::Privilege { .. } => Failure::Privilege { what: format!("--xdp {interface}: {error}") },
            other => local(other.to_string()),
        })?;
        let addresses = kernel.local();
        for address in addresses {
            program.listen(address).map_err(|error| local(error.to_string()))?;
        }
        program
            .attach(device.index, AttachMode::Native)
            .or_else(|error| match error {
                AttachError::NoNative { .. } | AttachError::Kernel { .. } => {
                    program.attach(device.index, AttachMode::Generic)
                }
                other => Err(other),
            })
            .map_err(|error| local(error.to_string()))?;
        let config = SocketConfig {
            umem: UmemConfig { frames: FRAMES, chunk: CHUNK, headroom: HEADROOM, huge: true },
            rings: RingSizes { rx: RING, tx: RING, fill: RING, completion: RING },
            ..SocketConfig::default()
        };
        let mut sockets = Vec::new();
        for queue in 0..device.rx_queues {
            let socket = Socket::open(device.index, queue, &config).map_err(|error| match error {
                XskError::Privilege => Failure::Privilege { what: format!("--xdp {interface}: {error}") },
                other => local(format!("queue {queue}: {other}")),
            })?;
            program.set_socket(queue, 0, socket.as_fd()).map_err(|error| local(error.to_string()))?;
            sockets.push(socket);
        }
        let any = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| local(error.to_string()))?;
        let descriptors = (sockets.iter().map(|socket| (socket.as_fd(), RINGS)))
            .chain(kernel.sockets().iter().map(|socket| (socket.as_fd(), KERNEL)));
        for (descriptor, what) in descriptors {
            epoll::add(&any, descriptor, epoll::EventData::new_u64(what), epoll::EventFlags::IN)
                .map_err(|error| local(error.to_string()))?;
        }
        let heart = program.heartbeat(0).map_err(|error| local(error.to_string()))?;
        let (mirror, hops) = Mirror::start().map_err(|error| local(error.to_string()))?;
        let zero_copy = sockets.iter().all(|socket| socket.mode() == BindMode::ZeroCopy);
        let mode = if zero_copy { "zero-copy" } else { "copy" };
        let io = Io::Xdp { interface: interface.to_owned(), mode: mode.to_owned() };
        let room = sockets.len() * FrameBatch::CAPACITY;
        let xdp = Self {
            kernel,
            local: addresses,
            device: device.index,
            sockets,
            any,
            heart,
            hops,
            arrived: Vec::with_capacity(room),
            from_kernel: 0,
            kernel_at: 0,
            batch: FrameBatch::new(),
            ident: 0,
            refused: 0,
            full: 0,
            sent: 0,
            _program: program,
            _mirror: mirror,
        };
        let _ = xdp.beat();
        Ok((xdp, io))
    }

    /// Without a beat for 100 ms the program leaves everything to the kernel sockets. Now, in nanoseconds.
    fn beat(&self) -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        let now = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
        self.heart.beat(now);
        now
    }

    /// Sleeps until something comes, at most that long. What epoll says of the kernel sockets is remembered.
    fn hear(&mut self, longest: Duration) {
        let mut events = [const {
            epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }
        }; 8];
        let Ok(longest) = Timespec::try_from(longest) else { return };
        // A signal wakes us early, and that is all.
        let said = epoll::wait(&self.any, &mut events[..], Some(&longest)).unwrap_or(0);
        if events.iter().take(said).any(|event| event.data.u64() == KERNEL) {
            self.kernel_at = 0;
        }
    }

    /// Asks epoll, without waiting, whether the kernel sockets have something.
    pub(super) fn hear_kernel(&mut self) {
        self.hear(Duration::ZERO);
    }

    /// Frees the frames of the last [`Wire::receive`].
    fn recycle(&mut self) {
        for Arrived { queue, frame, .. } in self.arrived.drain(..) {
            if let Some(socket) = self.sockets.get_mut(queue) {
                socket.recycle(frame);
            }
        }
    }

    fn side_of(&self, address: SocketAddr) -> Option<Side> {
        match self.local.iter().position(|local| *local == address)? {
            0 => Some(Side::Caller),
            _ => Some(Side::Callee),
        }
    }

    /// Puts the message into the first queue's ring. False: the kernel shall send it.
    fn send_by_ring(&mut self, side: Side, to: SocketAddr, message: &[u8]) -> bool {
        let Ok(hop) = self.hops.lookup(self.device, to.ip()) else { return false };
        let Some(socket) = self.sockets.first_mut() else { return false };
        self.ident = self.ident.wrapping_add(1);
        let headers = Headers {
            src_mac: hop.src_mac,
            dst_mac: hop.dst_mac,
            vlans: hop.vlans,
            src: self.local[side as usize],
            dst: to,
            ttl: TTL,
            tos: 0,
            ident: self.ident,
        };
        if headers.len() + message.len() > hop.mtu as usize + ETHERNET + hop.vlans.wire_len() {
            return false;
        }
        let Some(mut frame) = socket.umem_mut().take() else {
            self.full += 1;
            return true;
        };
        let chunk = socket.umem_mut().chunk_mut(&mut frame);
        let payload = frame_payload(chunk, message);
        let range = payload.and_then(|payload| headers.write(chunk, payload).ok());
        let ready = range.is_some_and(|range| frame.set_range(range).is_ok());
        if !ready {
            socket.recycle(frame);
            return false;
        }
        match socket.transmit(frame) {
            Ok(()) => self.sent += 1,
            Err(frame) => {
                self.full += 1;
                socket.recycle(frame);
            }
        }
        true
    }
}

/// Copies the message to where the headers have room before it; where it lies.
fn frame_payload(chunk: &mut [u8], message: &[u8]) -> Option<std::ops::Range<usize>> {
    let range = HEADROOM as usize..HEADROOM as usize + message.len();
    chunk.get_mut(range.clone())?.copy_from_slice(message);
    Some(range)
}

impl AsFd for Xdp {
    /// Readable when there is something to receive.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.any.as_fd()
    }
}

impl Outbox for Xdp {
    fn send(&mut self, side: Side, to: SocketAddr, message: &[u8]) {
        if !self.send_by_ring(side, to, message) {
            self.kernel.send(side, to, message);
        }
    }
}

impl Wire for Xdp {
    fn receive(&mut self) -> usize {
        let now = self.beat();
        self.recycle();
        for queue in 0..self.sockets.len() {
            let Some(socket) = self.sockets.get_mut(queue) else { continue };
            socket.receive(&mut self.batch);
            while let Some(frame) = self.batch.pop() {
                let Some(socket) = self.sockets.get(queue) else { continue };
                let bytes = socket.umem().bytes(&frame);
                // RFC 1122 section 4.1.3.4: what has a wrong checksum is dropped; a local sender leaves it to a NIC.
                let datagram = decode(bytes)
                    .ok()
                    .filter(|datagram| udp_checksum_state(bytes, datagram) != ChecksumState::Bad);
                let known =
                    datagram.and_then(|datagram| Some((datagram, self.side_of(datagram.destination())?)));
                match known {
                    Some((datagram, side)) => self.arrived.push(Arrived {
                        queue,
                        frame,
                        side,
                        source: datagram.source(),
                        payload: datagram.payload_range(),
                    }),
                    None => {
                        self.refused += 1;
                        if let Some(socket) = self.sockets.get_mut(queue) {
                            socket.recycle(frame);
                        }
                    }
                }
            }
        }
        self.from_kernel = 0;
        if now >= self.kernel_at {
            self.from_kernel = self.kernel.receive();
            self.kernel_at = now + KERNEL_EVERY;
        }
        self.arrived.len() + self.from_kernel
    }

    fn datagram(&mut self, at: usize, into: &mut [u8]) -> Option<(Side, SocketAddr, usize)> {
        let Some(arrived) = self.arrived.get(at) else {
            return self.kernel.datagram(at - self.arrived.len(), into);
        };
        let bytes =
            self.sockets.get(arrived.queue)?.umem().bytes(&arrived.frame).get(arrived.payload.clone())?;
        into.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some((arrived.side, arrived.source, bytes.len()))
    }

    fn flush(&mut self) {
        self.kernel.flush();
        for socket in &mut self.sockets {
            socket.service();
        }
    }

    fn wait(&mut self, longest: Duration) {
        self.hear(longest);
    }

    fn counts(&self) -> WireCounts {
        let mut counts = self.kernel.counts();
        counts.sent += self.sent;
        counts.send_full += self.full;
        counts.xdp_lost += self.refused;
        for socket in &self.sockets {
            if let Ok(statistics) = socket.statistics() {
                counts.xdp_lost += statistics.rx_dropped + statistics.rx_ring_full;
            }
        }
        counts
    }
}

impl Drop for Xdp {
    fn drop(&mut self) {
        // A frame that is dropped and not given back is a bug, and says so.
        self.recycle();
    }
}
