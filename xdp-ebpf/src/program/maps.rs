//! The maps, and the one thing the program does with each. Layouts are `strowger_xdp`'s.
//!
//! Look-ups in arrays cost no call: the verifier writes them out in place. So everything that each packet asks for is
//! an array.

use core::cell::UnsafeCell;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG};
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, PerCpuArray, XskMap};
use strowger_xdp::ping::{PEER_SETS, PeerSet, Scratch, Shape};
use strowger_xdp::source::{BanSet, BudgetSet, KnownSet};
use strowger_xdp::{
    Counter, CounterBlock, HEARTBEAT_STALE_NS, HeartbeatSlot, LISTENER_SETS, ListenerKey, ListenerSet,
    MAX_PREFIXES, MAX_QUEUES, MAX_WORKERS, Switches, socket_slot,
};

/// A variable of the program is a map of its own, `.bss`, whose value it reads without a look-up.
#[repr(transparent)]
struct Shared(UnsafeCell<Switches>);

// SAFETY: userspace alone writes it, word by word; here it is read, each word once.
unsafe impl Sync for Shared {}

static SWITCHES: Shared = Shared(UnsafeCell::new(Switches { ports: 0, prefixes: 0 }));

#[map]
static LISTENERS: Array<ListenerSet> = Array::with_max_entries(LISTENER_SETS, BPF_F_RDONLY_PROG);

#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(MAX_QUEUES * MAX_WORKERS, 0);

// Not BPF_F_RDONLY_PROG, though the program only reads: the kernel maps no such map for writing.
#[map]
static HEARTBEATS: Array<HeartbeatSlot> = Array::with_max_entries(MAX_WORKERS, BPF_F_MMAPABLE);

#[map]
static COUNTERS: PerCpuArray<CounterBlock> = PerCpuArray::with_max_entries(1, 0);

// The loader sets how many sets these three have.
#[map]
static BANS: Array<BanSet> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static KNOWN: Array<KnownSet> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static BUDGETS: Array<BudgetSet> = Array::with_max_entries(1, 0);

#[map]
static PINGS: Array<Shape> = Array::with_max_entries(1, BPF_F_RDONLY_PROG);
#[map]
static PEERS: Array<PeerSet> = Array::with_max_entries(PEER_SETS, BPF_F_RDONLY_PROG);
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[map]
static PREFIXES: LpmTrie<[u64; 2], u32> = LpmTrie::with_max_entries(MAX_PREFIXES, 0);

/// Whether some listener may have `port`. Most traffic is done with by this.
#[inline(always)]
pub(crate) fn may_listen(port: u16) -> bool {
    // SAFETY: a word of the program's own memory, aligned; volatile, because userspace writes it.
    let ports = unsafe { (&raw const (*SWITCHES.0.get()).ports).read_volatile() };
    ports & ListenerKey::port_bit(port) != 0
}

/// Whether datagrams to `key` are ours.
#[inline(always)]
pub(crate) fn is_listener(key: &ListenerKey) -> bool {
    let Some(set) = LISTENERS.get(key.set()) else { return false };
    set.iter().any(|listener| listener.equals(key))
}

/// Whether there are prefixes to look up.
#[inline(always)]
pub(crate) fn has_prefixes() -> bool {
    // SAFETY: as in `may_listen`.
    unsafe { (&raw const (*SWITCHES.0.get()).prefixes).read_volatile() != 0 }
}

/// The value of the longest prefix that `address` has.
#[inline(always)]
pub(crate) fn prefix_of(address: [u64; 2]) -> Option<u32> {
    PREFIXES.get(Key::new(128, address)).copied()
}

/// A set of the table of bans.
#[inline(always)]
pub(crate) fn bans(set: u32) -> Option<*const BanSet> {
    BANS.get_ptr(set)
}

/// A set of the table of known sources.
#[inline(always)]
pub(crate) fn known(set: u32) -> Option<*const KnownSet> {
    KNOWN.get_ptr(set)
}

/// A set of the table of budgets.
#[inline(always)]
pub(crate) fn budgets(set: u32) -> Option<*mut BudgetSet> {
    BUDGETS.get_ptr_mut(set)
}

/// What pings are known by.
#[inline(always)]
pub(crate) fn shape() -> Option<*const Shape> {
    PINGS.get_ptr(0)
}

/// A set of the table of peers.
#[inline(always)]
pub(crate) fn peers(set: u32) -> Option<*const PeerSet> {
    PEERS.get_ptr(set)
}

/// This CPU's memory for a ping.
#[inline(always)]
pub(crate) fn scratch() -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(0)
}

/// What this CPU has to itself.
#[inline(always)]
pub(crate) fn this_cpu() -> Option<&'static mut CounterBlock> {
    // SAFETY: a pointer that the lookup returned is valid for the whole value and for the whole run. It is this CPU's
    // own copy, XDP isn't interrupted by itself on one CPU, and no caller keeps the reference.
    COUNTERS.get_ptr_mut(0).map(|block| unsafe { &mut *block })
}

/// CLOCK_MONOTONIC in nanoseconds, as of the kernel's last tick: it lags by up to 10 ms, and by one tick more in the
/// moment of a tick.
///
/// It moves with the count of jiffies, which is one load, so the kernel's clock is asked once in each tick alone: the
/// call costs as much as the rest of the program up to it.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: takes no argument and can't fail.
    let jiffies = unsafe { bpf_jiffies64() };
    let Some(cpu) = this_cpu() else { return 0 };
    if cpu.clock_jiffies != jiffies {
        // SAFETY: as above.
        cpu.clock_ns = unsafe { bpf_ktime_get_coarse_ns() };
        cpu.clock_jiffies = jiffies;
    }
    cpu.clock_ns
}

/// What is known about a worker.
pub(crate) enum Liveness {
    Alive,
    Stale,
    NeverBeat,
}

/// Whether `worker` beat within [`HEARTBEAT_STALE_NS`]. One beyond [`MAX_WORKERS`] never did.
#[inline(always)]
pub(crate) fn liveness(worker: u32) -> Liveness {
    let Some(slot) = HEARTBEATS.get_ptr(worker) else { return Liveness::NeverBeat };
    // SAFETY: a pointer that the lookup returned is valid for the whole value and for the whole run. The
    // worker writes it at any time: volatile makes this one load of eight aligned bytes, which is whole.
    let beat_ns = unsafe { (&raw const (*slot).beat_ns).read_volatile() };
    if beat_ns == 0 {
        return Liveness::NeverBeat;
    }
    // The coarse clock lags, so a beat may seem to come from the future: that is age 0.
    if now_ns().saturating_sub(beat_ns) > HEARTBEAT_STALE_NS { Liveness::Stale } else { Liveness::Alive }
}

/// Whether `worker`, which lives, would answer a ping with a 200 now.
#[inline(always)]
pub(crate) fn is_ready(worker: u32) -> bool {
    // SAFETY: as in `liveness`.
    HEARTBEATS.get_ptr(worker).is_some_and(|slot| unsafe { (&raw const (*slot).ready).read_volatile() != 0 })
}

/// Gives the packet to the socket of `worker` on `queue`; false when there is none.
#[inline(always)]
pub(crate) fn redirect(queue: u32, worker: u32) -> bool {
    SOCKETS.redirect(socket_slot(queue, worker), XDP_PASS as u64).is_ok()
}

/// Adds one packet to `counter`, on this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = this_cpu().and_then(|cpu| cpu.values.get_mut(counter as usize)) {
        *value += 1;
    }
}
