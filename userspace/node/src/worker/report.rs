//! What a worker tells status, when it is asked.

use strowger_engine::{Counters, Occupancy, Time};
use strowger_xsk::{Balance, BindMode, KernelCounters, KernelSocket};

use super::Queue;
use super::count::Counts;
use super::lane::Lane;

/// What a worker tells status.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// Its own counts.
    pub counts: Counts,
    /// Whether it was told to finish, and has.
    pub drained: bool,
    /// Its engine's.
    pub events: Counters,
    /// How full its engine's tables are.
    pub occupancy: Occupancy,
    /// Its queues'.
    pub queues: Vec<QueueReport>,
    /// Its kernel sockets', summed.
    pub kernel: Vec<(&'static str, u64)>,
}

impl Report {
    /// By whoever has this lane; `queues` and `kernel` are what there is to say of its sockets.
    pub(super) fn of(
        now: Time,
        lane: &Lane,
        queues: Vec<QueueReport>,
        kernel: Vec<(&'static str, u64)>,
    ) -> Report {
        Report {
            drained: lane.engine.is_drained(now),
            counts: lane.counts.clone(),
            events: lane.engine.counters().clone(),
            occupancy: lane.engine.occupancy(),
            queues,
            kernel,
        }
    }
}

/// What a worker tells of one queue.
#[derive(Debug, Clone)]
pub(crate) struct QueueReport {
    /// Number on the device.
    pub number: u32,
    /// The worker that owns it.
    pub owner: usize,
    /// How the socket is bound.
    pub mode: &'static str,
    /// Ring traffic.
    pub counters: Vec<(&'static str, u64)>,
    /// The kernel's XDP_STATISTICS; empty when it would not say.
    pub statistics: Vec<(&'static str, u64)>,
    /// Where the frames are, of all the queue's sockets; empty unless this worker owns the queue.
    pub balance: Vec<(&'static str, u64)>,
    /// Free frames that this worker has at hand. Over all workers they are the `free` of the balance.
    pub at_hand: u64,
    /// Descriptors waiting in each ring.
    pub rings: Vec<(&'static str, u64)>,
}

impl QueueReport {
    /// What there is to say of a queue now. Two system calls.
    pub(super) fn of(queue: &Queue) -> QueueReport {
        let socket = &queue.socket;
        let c = socket.counters();
        let r = socket.ring_use();
        let statistics = match socket.statistics() {
            Ok(s) => vec![
                ("rx_dropped", s.rx_dropped),
                ("rx_invalid_descs", s.rx_invalid_descs),
                ("tx_invalid_descs", s.tx_invalid_descs),
                ("rx_ring_full", s.rx_ring_full),
                ("rx_fill_ring_empty_descs", s.rx_fill_ring_empty_descs),
                ("tx_ring_empty_descs", s.tx_ring_empty_descs),
            ],
            Err(_) => Vec::new(),
        };
        let balance = match socket.owns_queue() {
            true => balance(&socket.balance()),
            false => Vec::new(),
        };
        QueueReport {
            number: queue.number,
            owner: queue.owner,
            mode: match socket.mode() {
                BindMode::ZeroCopy => "zero-copy",
                BindMode::Copy => "copy",
            },
            counters: vec![
                ("rx", c.rx),
                ("tx", c.tx),
                ("completed", c.completed),
                ("tx_ring_full", c.tx_ring_full),
                ("tx_runt", c.tx_runt),
                ("rx_bad_address", c.rx_bad_address),
                ("completion_bad_address", c.completion_bad_address),
                ("fill_starved", c.fill_starved),
                ("wakeups_tx", c.wakeups_tx),
                ("wakeups_rx", c.wakeups_rx),
                ("wakeups_deferred", c.wakeups_deferred),
                ("wakeups_failed", c.wakeups_failed),
                ("returned", c.returned),
                ("borrowed", c.borrowed),
                ("taken_home", c.taken_home),
                ("lent", c.lent),
            ],
            statistics,
            balance,
            at_hand: socket.umem().available().into(),
            rings: vec![
                ("fill", r.fill.into()),
                ("rx", r.rx.into()),
                ("tx", r.tx.into()),
                ("completion", r.completion.into()),
            ],
        }
    }
}

fn balance(frames: &Balance) -> Vec<(&'static str, u64)> {
    let Balance { free, fill, rx, tx, completion, held, crossing, total } = *frames;
    [
        ("free", free),
        ("fill", fill),
        ("rx", rx),
        ("tx", tx),
        ("completion", completion),
        ("held", held),
        ("crossing", crossing),
        ("total", total),
    ]
    .map(|(name, n)| (name, n.into()))
    .into()
}

/// What the kernel sockets counted, summed. A system call for each.
pub(super) fn kernel(sockets: &[KernelSocket]) -> Vec<(&'static str, u64)> {
    let mut sum = KernelCounters::default();
    let mut dropped = 0;
    for socket in sockets {
        let c = socket.counters();
        sum.received += c.received;
        sum.sent += c.sent;
        sum.send_full += c.send_full;
        sum.send_refused += c.send_refused;
        sum.receive_failed += c.receive_failed;
        dropped += socket.drops().unwrap_or(0);
    }
    vec![
        ("received", sum.received),
        ("receive_dropped", dropped),
        ("receive_failed", sum.receive_failed),
        ("sent", sum.sent),
        ("send_full", sum.send_full),
        ("send_refused", sum.send_refused),
    ]
}

/// Two workers' kernel sockets, added up; the same counters in the same order.
pub(super) fn sum(
    mut one: Vec<(&'static str, u64)>,
    other: Vec<(&'static str, u64)>,
) -> Vec<(&'static str, u64)> {
    if one.is_empty() {
        return other;
    }
    for ((_, sum), (_, more)) in one.iter_mut().zip(other) {
        *sum += more;
    }
    one
}
