//! The maps, and the one thing the program does with each. Layouts are `strowger_xdp`'s.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG};
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, XskMap};
use strowger_xdp::{
    Counter, CounterBlock, HEARTBEAT_STALE_NS, HeartbeatSlot, ListenerKey, MAX_LISTENERS, MAX_QUEUES,
    MAX_WORKERS, socket_slot,
};

#[map]
static LISTENERS: HashMap<ListenerKey, u32> = HashMap::with_max_entries(MAX_LISTENERS, BPF_F_RDONLY_PROG);

#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(MAX_QUEUES * MAX_WORKERS, 0);

// Not BPF_F_RDONLY_PROG, though the program only reads: the kernel maps no such map for writing.
#[map]
static HEARTBEATS: Array<HeartbeatSlot> = Array::with_max_entries(MAX_WORKERS, BPF_F_MMAPABLE);

#[map]
static COUNTERS: PerCpuArray<CounterBlock> = PerCpuArray::with_max_entries(1, 0);

/// Whether datagrams to `key` are ours.
#[inline(always)]
pub(crate) fn is_listener(key: &ListenerKey) -> bool {
    LISTENERS.get_ptr(key).is_some()
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
    // SAFETY: takes no argument and can't fail. The coarse clock is a memory read where the precise one
    // asks the hardware (17 ns less of 96 for a packet); against 100 ms its tick doesn't matter.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    // The coarse clock lags, so a beat may seem to come from the future: that is age 0.
    if now_ns.saturating_sub(beat_ns) > HEARTBEAT_STALE_NS { Liveness::Stale } else { Liveness::Alive }
}

/// Gives the packet to the socket of `worker` on `queue`; false when there is none.
#[inline(always)]
pub(crate) fn redirect(queue: u32, worker: u32) -> bool {
    SOCKETS.redirect(socket_slot(queue, worker), XDP_PASS as u64).is_ok()
}

/// Adds one packet to `counter`, on this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    let Some(block) = COUNTERS.get_ptr_mut(0) else { return };
    // SAFETY: a pointer that the lookup returned is valid for the whole value and for the whole run. It
    // is this CPU's own copy, and XDP isn't interrupted by itself on one CPU.
    let block = unsafe { &mut *block };
    if let Some(value) = block.values.get_mut(counter as usize) {
        *value += 1;
    }
}
