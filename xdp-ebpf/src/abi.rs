//! Maps: their names, keys and values, as kernel and userspace both see them.

use core::net::SocketAddr;

use strowger_wire::{Address, Endpoint, IpVersion};

use crate::Counter;
use crate::source::{BanSet, BudgetSet, KnownSet};

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
    /// The program's variables: one [`Switches`](crate::Switches).
    pub const SWITCHES: &str = ".bss";
    /// Array of [`ListenerSet`](crate::ListenerSet), [`LISTENER_SETS`](crate::LISTENER_SETS) of them.
    pub const LISTENERS: &str = "LISTENERS";
    /// Mappable array of [`BanSet`](crate::source::BanSet).
    pub const BANS: &str = "BANS";
    /// LPM trie of [`PrefixKey`](crate::PrefixKey) to [`TRUSTED`](crate::TRUSTED) or [`BANNED`](crate::BANNED).
    pub const PREFIXES: &str = "PREFIXES";
    /// Mappable array of [`KnownSet`](crate::source::KnownSet).
    pub const KNOWN: &str = "KNOWN";
    /// Array of [`BudgetSet`](crate::source::BudgetSet).
    pub const BUDGETS: &str = "BUDGETS";
    /// Array of one [`Shape`](crate::ping::Shape).
    pub const PINGS: &str = "PINGS";
    /// Array of [`PeerSet`](crate::ping::PeerSet), [`PEER_SETS`](crate::ping::PEER_SETS) of them.
    pub const PEERS: &str = "PEERS";
    /// Per-CPU array of one [`Scratch`](crate::ping::Scratch).
    pub const SCRATCH: &str = "SCRATCH";
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
    /// `[u64; 5]`: the words of the [`SourceKey`](crate::source::SourceKey).
    pub const SOURCE_KEY: &str = "SOURCE_KEY";
    /// `u32`: sets of the table of bans, a power of two; 0 when nobody is ever banned.
    pub const BAN_SETS: &str = "BAN_SETS";
    /// `u32`: sets of the table of known sources, likewise; 0 when sources have no budgets.
    pub const KNOWN_SETS: &str = "KNOWN_SETS";
    /// `u32`: sets of the table of budgets, likewise.
    pub const BUDGET_SETS: &str = "BUDGET_SETS";
    /// `[u64; 4]`: what a message costs an unknown source, the debt up to which it is served, and the same for known
    /// ones; in nanoseconds.
    pub const BUDGET: &str = "BUDGET";
    /// `[u64; 2]`: what a message costs all unknown sources of one CPU together, and their debt; 0: nothing.
    pub const STRANGERS: &str = "STRANGERS";
    /// `u32`: 1 when what isn't SIP is dropped.
    pub const DROP_JUNK: &str = "DROP_JUNK";
    /// `u32`: 1 when STUN Binding requests are answered here.
    pub const ANSWER_STUN: &str = "ANSWER_STUN";
    /// `u32`: 1 when OPTIONS pings are.
    pub const ANSWER_OPTIONS: &str = "ANSWER_OPTIONS";
}

/// What the loader changes while the program runs, and the program reads first.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Switches {
    /// The bit `port % 64` for each listener: a datagram to a port whose bit isn't set is none of ours.
    pub ports: u64,
    /// How many entries are in the trie of prefixes.
    pub prefixes: u64,
}

/// Listeners that a set of their table holds.
pub const LISTENERS_OF_A_SET: usize = 4;
/// Sets of the table of listeners: so many that among [`MAX_LISTENERS`] and their addresses hardly ever five fall into one.
pub const LISTENER_SETS: u32 = 1024;
/// One set of the table of listeners; what isn't used is zero, which is no listener: its version is neither 4 nor 6.
pub type ListenerSet = [ListenerKey; LISTENERS_OF_A_SET];

/// Prefixes that can be trusted or banned.
pub const MAX_PREFIXES: u32 = 16_384;
/// The value of a prefix whose packets are neither banned nor charged.
pub const TRUSTED: u32 = 1;
/// The value of a prefix whose packets are dropped.
pub const BANNED: u32 = 2;

/// A key of the trie of prefixes, as `struct bpf_lpm_trie_key` wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PrefixKey {
    /// Leading bits of the address that count; those of an IPv4 prefix come after the 96 that map it into IPv6.
    pub len: u32,
    /// The address in the order of the wire, in the machine's words.
    pub address: [u32; 4],
}

/// One address and port whose datagrams are ours. No wildcard: a listener on all addresses is one key
/// for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ListenerKey {
    /// The address.
    address: [u64; 2],
    /// The UDP port, in the host's order; or [`ANY_PORT`].
    port: u32,
    /// 4 or 6: an IPv4 address is not the IPv6 one that it is mapped to.
    version: u32,
}

/// No port that a datagram can have.
const ANY_PORT: u32 = 1 << 16;

impl ListenerKey {
    /// The key under which an address is looked up, whatever the port: each listener's has one too.
    #[inline(always)]
    pub const fn any_port(version: IpVersion, address: Address) -> Self {
        Self { address: address.words(), port: ANY_PORT, version: version as u32 }
    }

    /// The key under which a datagram to `end` is looked up.
    #[inline(always)]
    pub const fn new(version: IpVersion, end: &Endpoint) -> Self {
        Self { address: end.address.words(), port: end.port as u32, version: version as u32 }
    }

    /// The key of this listener's address.
    pub const fn of_address(self) -> Self {
        Self { port: ANY_PORT, ..self }
    }

    /// An unused place of a [`ListenerSet`].
    pub const NONE: Self = Self { address: [0; 2], port: 0, version: 0 };

    /// The set that this listener belongs to. Listeners are the operator's, so the hash needs no secret.
    #[inline(always)]
    pub const fn set(&self) -> u32 {
        let [head, tail] = self.address;
        let mixed = (head ^ tail.rotate_left(32) ^ self.port as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 54) as u32
    }

    /// The bit of [`Switches::ports`].
    #[inline(always)]
    pub const fn port_bit(port: u16) -> u64 {
        1 << (port & 63)
    }

    /// Whether `other` is the same, by as few comparisons as may be: the verifier follows every one.
    #[inline(always)]
    pub const fn equals(&self, other: &Self) -> bool {
        let differences = (self.address[0] ^ other.address[0])
            | (self.address[1] ^ other.address[1])
            | (self.port ^ other.port) as u64
            | (self.version ^ other.version) as u64;
        differences == 0
    }
}

impl From<SocketAddr> for ListenerKey {
    /// IPv6 scope and flow label don't take part.
    fn from(listener: SocketAddr) -> Self {
        let version = if listener.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
        Self::new(version, &Endpoint { address: listener.ip().into(), port: listener.port() })
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
    /// 1 while the worker would answer an OPTIONS ping with a 200: it isn't going down, and isn't overloaded. Written and
    /// read likewise.
    pub ready: u64,
    reserved: [u64; 6],
}

/// What one CPU has to itself.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CounterBlock {
    /// Packets, by the discriminant of [`Counter`].
    pub values: [u64; Counter::COUNT],
    /// The program's: the coarse clock in nanoseconds, as it was when the kernel counted `clock_jiffies`.
    pub clock_ns: u64,
    /// The program's: see `clock_ns`.
    pub clock_jiffies: u64,
    /// The program's: as [`Budget::spent_ns`](crate::source::Budget::spent_ns), of all unknown sources together.
    pub strangers_ns: u64,
    /// The program's: no meaning beyond a moment.
    pub scratch: u64,
}

// A change of these layouts must be meant: an object and a loader of different age would misread each
// other.
const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(size_of::<ListenerKey>() == 24 && align_of::<ListenerKey>() == 8);
    assert!(offset_of!(ListenerKey, port) == 16 && offset_of!(ListenerKey, version) == 20);
    assert!(size_of::<HeartbeatSlot>() == 64 && align_of::<HeartbeatSlot>() == 64);
    assert!(offset_of!(HeartbeatSlot, beat_ns) == 0 && offset_of!(HeartbeatSlot, ready) == 8);
    assert!(size_of::<CounterBlock>() == 8 * Counter::COUNT + 32 && align_of::<CounterBlock>() == 8);
    // The loader maps all slots at once; the kernel rounds the map up to whole pages.
    assert!(size_of::<HeartbeatSlot>() * MAX_WORKERS as usize == 4096);
    assert!(size_of::<PrefixKey>() == 20 && size_of::<Switches>() == 16);
    assert!(size_of::<BanSet>() == 128 && size_of::<KnownSet>() == 64 && size_of::<BudgetSet>() == 64);
    assert!(LISTENER_SETS == 1024, "`ListenerKey::set` gives ten bits");
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
        assert_eq!(v4.address, ListenerKey::from(mapped).address);
        assert_ne!(v4, ListenerKey::from(mapped));
    }
}
