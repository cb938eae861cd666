//! What the kernel says of links, neighbours, routes and rules, cut down to what decides a next hop.
//!
//! Plain values: made from netlink messages by `decode`, kept by `state`, or written by hand in tests.

use std::net::IpAddr;

use strowger_wire::{MacAddr, VlanTag};

use super::prefix::Prefix;

/// Routing tables that the default rules consult (`rt_class_t`).
pub(super) const TABLE_DEFAULT: u32 = 253;
pub(super) const TABLE_MAIN: u32 = 254;
pub(super) const TABLE_LOCAL: u32 = 255;

/// The address family of a route or rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// An interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    /// Administratively up, and with a carrier.
    pub(super) up: bool,
    pub(super) mtu: u32,
    /// `None` for what isn't Ethernet.
    pub(super) mac: Option<MacAddr>,
    pub(super) vlan: Option<Vlan>,
}

/// What makes an interface a VLAN of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vlan {
    pub(super) parent: u32,
    /// `None` when the kernel would set priority bits that we don't know.
    pub(super) tag: Option<VlanTag>,
}

/// A neighbour's place in the cache: interface and address.
pub(super) type NeighbourKey = (u32, IpAddr);

/// A neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) key: NeighbourKey,
    /// Its address, if the kernel would send to it now.
    pub(super) mac: Option<MacAddr>,
    /// Usable, but the kernel would like to hear that somebody uses it.
    pub(super) stale: bool,
}

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unicast,
    /// For this host, or for a group.
    Local,
    Unreachable,
    /// Blackhole, prohibit, throw and what may come.
    Other,
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) family: Family,
    pub(super) table: u32,
    pub(super) prefix: Prefix,
    pub(super) tos: u8,
    pub(super) metric: u32,
    pub(super) kind: Kind,
    pub(super) gateway: Option<IpAddr>,
    /// 0 when the route names no interface.
    pub(super) oif: u32,
    pub(super) mtu: Option<u32>,
    /// The kernel doesn't use it at present.
    pub(super) dead: bool,
    /// It has something that we don't follow: several next hops, encapsulation, a source prefix, a next-hop object.
    pub(super) unusual: bool,
}

/// Where a table keeps a route.
pub(super) type RouteKey = (Family, u32, Prefix);

impl Route {
    pub(super) fn key(&self) -> RouteKey {
        (self.family, self.table, self.prefix)
    }

    /// Whether both take the same place among the routes of their prefix.
    pub(super) fn rivals(&self, other: &Self) -> bool {
        (self.tos, self.metric) == (other.tos, other.metric)
    }

    /// Whether both are the same route, whatever has become of it.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.key() == other.key()
            && self.rivals(other)
            && (self.kind, self.gateway, self.oif) == (other.kind, other.gateway, other.oif)
    }
}

/// A policy rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    pub(super) family: Family,
    pub(super) priority: u32,
    /// The table it leads to, if it applies to every packet and does nothing else.
    pub(super) table: Option<u32>,
}

/// What a netlink message tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Link(Link),
    LinkGone(u32),
    Neighbour(Neighbour),
    NeighbourGone(NeighbourKey),
    Route(Route),
    RouteGone(Route),
    Rule(Rule),
    /// Something changed whose consequences the kernel doesn't tell one by one.
    Unsettled,
    /// Nothing of interest.
    Nothing,
}
