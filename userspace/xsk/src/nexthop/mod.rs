//! Next hops: which Ethernet addresses, VLAN tags and MTU a packet to an address leaves with.
//!
//! Swapping the MACs of a received frame is a guess that black-holes traffic behind a gateway. So a thread mirrors the
//! kernel's links, routes and neighbours over netlink and publishes an unchanging table after each burst of events;
//! workers look up in it without a lock or an allocation. Where the kernel would do anything but send one plain frame
//! to one known neighbour, the answer is a [`Miss`], and the caller sends by the kernel's own socket, which also makes
//! the kernel resolve the neighbour.
//!
//! | File | Holds |
//! |---|---|
//! | `prefix`  | longest-prefix match |
//! | `facts`   | links, neighbours, routes and rules as values |
//! | `decode`  | netlink messages → facts |
//! | `state`   | facts → the picture, and what of it must be asked again |
//! | `table`   | the published picture and the lookup |
//! | `netlink` | sockets: events, snapshots, the neighbours' refresh |
//! | `mirror`  | the thread |

mod decode;
mod facts;
mod mirror;
mod netlink;
mod prefix;
mod state;
mod table;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use strowger_wire::{MacAddr, VlanTags};

pub use mirror::{Mirror, MirrorCounters};

/// Why there is no mirror.
#[derive(Debug, thiserror::Error)]
pub enum NextHopError {
    /// A netlink socket couldn't be had, or the kernel refused to say what it knows.
    #[error("netlink: {step}: {source}")]
    Netlink {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread couldn't be started.
    #[error("next-hop thread: {0}")]
    Thread(io::Error),
}

/// How a packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The interface's own address: of the VLAN interface where there is one.
    pub src_mac: MacAddr,
    /// The neighbour's: the gateway, or the destination itself when it is on the link.
    pub dst_mac: MacAddr,
    /// What the frame is tagged with.
    pub vlans: VlanTags,
    /// Longest IP packet in bytes that may leave so: the smaller of the interface's and the route's MTU, and 1280 for
    /// IPv6 through a gateway, where only the kernel learns a path's real MTU.
    pub mtu: u32,
}

/// Why there is no hop. In each case the kernel's socket does the right thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Miss {
    /// No route, or one that says "unreachable".
    NoRoute,
    /// The address is this host's, or isn't a unicast address that routes alone decide on.
    Local,
    /// The packet leaves by another interface.
    OtherInterface,
    /// The neighbour's address isn't known (yet).
    Unresolved,
    /// The interface is down or has no carrier.
    Down,
    /// Several next hops, encapsulation, next-hop objects, an IPv6 gateway for IPv4, blackholes, routes by source or
    /// TOS, policy rules, VLAN priority maps.
    Unusual,
    /// The mirror has lost the kernel and hasn't found it again.
    Blind,
}

impl Miss {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::NoRoute,
        Self::Local,
        Self::OtherInterface,
        Self::Unresolved,
        Self::Down,
        Self::Unusual,
        Self::Blind,
    ];

    /// Name of its counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::Local => "local",
            Self::OtherInterface => "other_interface",
            Self::Unresolved => "unresolved",
            Self::Down => "down",
            Self::Unusual => "unusual",
            Self::Blind => "blind",
        }
    }
}

/// The published table. Cloned for each worker; all clones see the same.
#[derive(Debug, Clone)]
pub struct NextHops {
    table: Arc<ArcSwap<table::Table>>,
}

impl NextHops {
    /// How a packet to `dst` leaves by the interface with index `device`, or by a VLAN interface on it.
    ///
    /// Lock-free; no allocation but for a thread's first call. Marks the neighbour as used, so that the mirror
    /// keeps it alive: the kernel doesn't see what AF_XDP sends.
    #[inline]
    pub fn lookup(&self, device: u32, dst: IpAddr) -> Result<Hop, Miss> {
        self.table.load().lookup(device, dst)
    }

    /// Whom the kernel would have to ask for before a packet to `dst` could leave by `device`: the gateway, or `dst` itself.
    /// `None` whenever [`lookup`](Self::lookup) says anything but [`Miss::Unresolved`].
    pub fn unresolved(&self, device: u32, dst: IpAddr) -> Option<IpAddr> {
        self.table.load().unresolved(device, dst)
    }

    fn new(table: table::Table) -> Self {
        Self { table: Arc::new(ArcSwap::from_pointee(table)) }
    }

    fn publish(&self, table: table::Table) {
        self.table.store(Arc::new(table));
    }
}
