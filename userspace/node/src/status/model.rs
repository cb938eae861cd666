//! The shape of a status report. The same types write it in the node and read it in the client.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counter name to value.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What is asked of a node, as one line of JSON. An empty line, or none, asks for its status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Its [`Status`].
    #[default]
    Status,
    /// Its calls, as a [`Listing`](crate::calls::Listing).
    Calls {
        /// Part of the URI of one of the ends.
        uri: Option<String>,
        /// How many at most.
        most: usize,
    },
    /// The end of a call, as [`Killed`](crate::calls::Killed).
    Kill {
        /// Its Call-ID.
        call_id: String,
    },
    /// Who is banned, as a [`Listing`](crate::policing::Listing).
    Bans,
    /// A ban; answered by [`Changed`](crate::policing::Changed).
    Ban {
        /// ADDRESS or ADDRESS/BITS.
        network: String,
        /// None for no end.
        seconds: Option<u64>,
    },
    /// Its place, for a node that starts: answered by an [`Offer`](crate::handover::Offer), and then as
    /// [`handover`](crate::handover) says.
    HandOver {
        /// See [`format()`](crate::handover::format).
        format: String,
    },
    /// The end of a ban; answered by [`Changed`](crate::policing::Changed).
    Unban {
        /// ADDRESS or ADDRESS/BITS.
        network: String,
    },
}

/// Everything a node says about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Who and since when.
    pub node: Node,
    /// XDP, queues and rings.
    pub dataplane: Dataplane,
    /// One for each worker thread.
    pub workers: Vec<Worker>,
    /// Who serves in the place of a worker that is stuck. Its `kernel` has what it received and sent itself.
    #[serde(default)]
    pub stand_in: Option<Worker>,
    /// The engines' events, summed over workers.
    pub sip: Sip,
    /// SIP messages by path, summed over workers.
    pub totals: Totals,
    /// The location table.
    pub registrations: Registrations,
    /// Calls as a stateless proxy can see them.
    pub calls: Calls,
    /// One for each target of each gateway group.
    #[serde(default)]
    pub gateways: Vec<Gateway>,
    /// Whom the XDP program refuses; none when nothing is policed. How many it refused is in its verdicts.
    #[serde(default)]
    pub policing: Option<Policing>,
}

/// Whom the XDP program refuses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Policing {
    /// Bans that hold.
    pub bans: u64,
    /// What was done.
    pub counters: Counts,
}

/// Who and since when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    /// `node.name`
    pub name: String,
    /// Of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// `up`; `draining` when it finishes what is under way and begins nothing new; `stopping`.
    pub state: String,
    /// `sip.listen`
    pub listen: Vec<String>,
}

/// XDP, queues and rings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Dataplane {
    /// What is in force: `zero-copy`, `copy`, `generic` or `off`.
    pub mode: String,
    /// What the configuration asked for.
    pub wanted: String,
    /// Why it is not the best one, where it is not.
    pub fallback: Option<String>,
    /// The device; none with mode `off`.
    pub interface: Option<String>,
    /// Its index.
    pub ifindex: Option<u32>,
    /// Its driver.
    pub driver: Option<String>,
    /// Its network namespace; none for the process's own.
    pub netns: Option<String>,
    /// Whether our program is on the device.
    pub xdp_attached: bool,
    /// What the memory of the frames is made of.
    pub memory: Option<String>,
    /// The XDP program's verdict counters, summed over CPUs.
    pub xdp: Counts,
    /// What the mirror of routes and neighbours did; empty with mode `off`.
    pub next_hops: Counts,
    /// How often the device was opened again, after it had gone.
    #[serde(default)]
    pub reopened: u64,
    /// Frames whose token was dropped instead of given back. Anything but 0 is a bug.
    pub frames_leaked: u64,
    /// One for each queue we serve and each worker with a socket on it.
    pub queues: Vec<Queue>,
}

/// One receive queue and one worker's socket on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Queue {
    /// Number on the device.
    pub queue: u32,
    /// The worker whose socket it is.
    pub worker: usize,
    /// The worker that owns the queue: its fill and completion ring, and its frames.
    #[serde(default)]
    pub owner: usize,
    /// How its socket is bound.
    pub mode: String,
    /// Ring traffic as the socket counts it.
    pub counters: Counts,
    /// The kernel's XDP_STATISTICS.
    pub statistics: Counts,
    /// Where the queue's frames are; the parts sum up to `total`. Empty unless the worker owns the queue.
    pub balance: Counts,
    /// Free frames that the worker has at hand; over all workers the `free` of the balance.
    #[serde(default)]
    pub at_hand: u64,
    /// Descriptors waiting in each ring.
    pub rings: Counts,
}

/// One worker thread.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Worker {
    /// From 0.
    pub id: usize,
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// False when it did not answer in time: what is shown is old.
    pub answering: bool,
    /// What it counted.
    pub counters: Counts,
    /// What its kernel sockets counted, and what the kernel dropped before them.
    pub kernel: Counts,
    /// Its engine's events.
    #[serde(default)]
    pub sip: Counts,
    /// How full its engine's tables are, by name.
    #[serde(default)]
    pub occupancy: BTreeMap<String, Level>,
}

/// The engines' events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sip {
    /// Event name to count, summed over workers.
    pub counters: Counts,
    /// How full the tables are, by name, summed over workers.
    #[serde(default)]
    pub occupancy: BTreeMap<String, Level>,
}

/// How full a table is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Level {
    /// Entries in use (octets, of `kept`).
    pub used: u64,
    /// Entries there is room for.
    pub limit: u64,
}

/// SIP messages by path.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Came out of an AF_XDP ring.
    pub sip_in_xsk: u64,
    /// Came from the kernel's UDP socket.
    pub sip_in_kernel: u64,
    /// Left by an AF_XDP ring.
    pub sip_out_xsk: u64,
    /// Left by the kernel's UDP socket.
    pub sip_out_kernel: u64,
}

/// The location table.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Registrations {
    /// Addresses-of-record with at least one binding.
    pub aors: u64,
    /// Contacts bound.
    pub bindings: u64,
}

/// Calls as a stateless proxy can see them: messages of calls, not calls.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Calls {
    /// INVITE requests sent on that begin a call, retransmissions included, re-INVITEs not.
    pub invites: u64,
    /// 2xx responses to INVITE forwarded.
    pub answered: u64,
    /// BYE requests forwarded.
    pub byes: u64,
}

/// One target of a gateway group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Gateway {
    /// The group it is in.
    pub group: String,
    /// Its address.
    pub address: String,
    /// Whether calls are sent there.
    pub up: bool,
    /// What was counted for it.
    pub counters: Counts,
}
