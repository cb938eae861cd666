//! Maps: their names, keys and values, as kernel and userspace both see them.

use core::net::{IpAddr, SocketAddr};

use strowger_wire::{Endpoint, IpVersion};

use crate::Counter;

/// Receive queues that can be served; a packet of a queue beyond is passed.
pub const MAX_QUEUES: u32 = 64;

/// Workers that can share the queues.
pub const MAX_WORKERS: u32 = 64;

/// Listening addresses that can be steered.
pub const MAX_LISTENERS: u32 = 64;

/// A worker whose last beat is older than this is taken for stuck, and its packets are passed.
/// The program reads the coarse clock, which lags by up to one tick of the kernel (1 to 10 ms).
pub const HEARTBEAT_STALE_NS: u64 = 100_000_000;

/// Bytes of the longest frame that is redirected, from the Ethernet header on; a longer one is passed.
///
/// What a chunk of 4,096 bytes of an AF_XDP socket holds behind the kernel's 256 bytes of headroom and 256 of
/// the socket's own. The kernel looks at the chunk only when the redirect is done, and then drops
/// (`rx_dropped`) what doesn't fit: PASS must come before. Whoever puts a socket into
/// [`map::SOCKETS`] gives its chunks this room.
pub const LONGEST_FRAME: usize = 4096 - 256 - 256;

/// The slot in [`map::SOCKETS`] of the AF_XDP socket by which `worker` is given packets of `queue`. A packet can
/// only go to a socket that is bound to the queue it came by, so there is one for each pair.
#[inline(always)]
pub const fn socket_slot(queue: u32, worker: u32) -> u32 {
    queue * MAX_WORKERS + worker
}

/// The worker whose packets are those of `queue` where messages aren't looked into: with one worker, or when
/// flows are steered by the device alone; 0 when there are no workers.
#[inline(always)]
pub const fn worker_of_queue(queue: u32, workers: u32) -> u32 {
    if workers == 0 { 0 } else { queue % workers }
}

/// Name of the program inside the object.
pub const PROGRAM_NAME: &str = "strowger";

/// Names of the maps inside the object; the kernel shows them too (`bpftool map`), up to 15 bytes.
pub mod map {
    /// Hash of [`ListenerKey`](crate::ListenerKey) to a `u32` that is reserved and 0.
    pub const LISTENERS: &str = "LISTENERS";
    /// XSKMAP: [`socket_slot`](crate::socket_slot) to the AF_XDP socket.
    pub const SOCKETS: &str = "SOCKETS";
    /// Mappable array: worker to [`HeartbeatSlot`](crate::HeartbeatSlot).
    pub const HEARTBEATS: &str = "HEARTBEATS";
    /// Per-CPU array of one [`CounterBlock`](crate::CounterBlock).
    pub const COUNTERS: &str = "COUNTERS";
}

/// Names of the constants that the loader sets before the verifier reads the program. What they switch off, the
/// verifier removes.
pub mod constant {
    /// `u32`: workers, from 1 to [`MAX_WORKERS`](crate::MAX_WORKERS).
    pub const WORKERS: &str = "WORKERS";
    /// `u32`: 1 when the Call-ID chooses the worker, 0 when the queue does.
    pub const BY_CALL_ID: &str = "BY_CALL_ID";
    /// `[u64; 2]`: the words of the [`SteeringKey`](strowger_wire::steer::SteeringKey).
    pub const STEERING_KEY: &str = "STEERING_KEY";
}

/// One address and port whose datagrams are ours. No wildcard: a listener on all addresses is one key
/// for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ListenerKey {
    /// The address in the order of the wire; IPv4 uses the first four octets and leaves the rest zero.
    address: [u8; 16],
    /// The UDP port, in the host's order.
    port: u16,
    /// 4 or 6: an IPv4 address is never the same listener as an IPv6 one with equal octets.
    version: u8,
    /// Always zero: the kernel compares every byte of a key.
    reserved: u8,
}

impl ListenerKey {
    /// The key under which a datagram to `end` is looked up.
    #[inline(always)]
    pub const fn new(version: IpVersion, end: &Endpoint) -> Self {
        Self { address: end.address, port: end.port, version: version as u8, reserved: 0 }
    }
}

impl From<SocketAddr> for ListenerKey {
    /// IPv6 scope and flow label don't take part.
    fn from(listener: SocketAddr) -> Self {
        let (version, address) = match listener.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                (IpVersion::V4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            }
            IpAddr::V6(ip) => (IpVersion::V6, ip.octets()),
        };
        Self::new(version, &Endpoint { address, port: listener.port() })
    }
}

/// When one worker beat last. A cache line of its own, so that workers on different cores
/// don't take it from each other.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct HeartbeatSlot {
    /// Nanoseconds of CLOCK_MONOTONIC; 0 before the first beat. Written by one worker, read by the
    /// program.
    pub beat_ns: u64,
    reserved: [u64; 7],
}

/// All counters of one CPU, indexed by [`Counter`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CounterBlock {
    /// Packets, by the discriminant of [`Counter`].
    pub values: [u64; Counter::COUNT],
}

// A change of these layouts must be meant: an object and a loader of different age would misread each
// other.
const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<ListenerKey>() == 20 && align_of::<ListenerKey>() == 2);
    assert!(offset_of!(ListenerKey, port) == 16 && offset_of!(ListenerKey, version) == 18);
    assert!(size_of::<HeartbeatSlot>() == 64 && align_of::<HeartbeatSlot>() == 64);
    assert!(offset_of!(HeartbeatSlot, beat_ns) == 0);
    assert!(size_of::<CounterBlock>() == 8 * Counter::COUNT && align_of::<CounterBlock>() == 8);
    // The loader maps all slots at once; the kernel rounds the map up to whole pages.
    assert!(size_of::<HeartbeatSlot>() * MAX_WORKERS as usize == 4096);
    assert!(map::LISTENERS.len() < 16 && map::SOCKETS.len() < 16);
    assert!(map::HEARTBEATS.len() < 16 && map::COUNTERS.len() < 16 && PROGRAM_NAME.len() < 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_listener_is_not_its_mapped_ipv6_one() {
        let v4 = ListenerKey::from(SocketAddr::from(([10, 77, 0, 2], 5060)));
        let mapped: SocketAddr = "[::ffff:10.77.0.2]:5060".parse().unwrap();
        let left_aligned: SocketAddr = "[a4d:2::]:5060".parse().unwrap();
        assert_ne!(v4, ListenerKey::from(mapped));
        assert_eq!(v4.address, ListenerKey::from(left_aligned).address);
        assert_ne!(v4, ListenerKey::from(left_aligned));
    }
}
