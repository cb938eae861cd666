//! One unchanging picture of links, routes and neighbours, and the lookup in it.
//!
//! Built by `state`, published by `mirror`, read by all workers at once. The lookup follows `fib_lookup` under the
//! default rules (local table, then main) and gives up, with the reason, wherever the kernel would do anything else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strowger_wire::{MacAddr, VlanTags};

use super::facts::NeighbourKey;
use super::prefix::Ranges;
use super::{Hop, Miss};

/// RFC 8200, 5: what every IPv6 path carries. The path's real MTU is known to the kernel's socket only.
const IPV6_MIN_MTU: u32 = 1280;

/// An interface as a packet leaves by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) ifindex: u32,
    /// The interface at the bottom, which the tagged frames leave by.
    pub(super) device: u32,
    /// `None` when they can't be written by us.
    pub(super) tags: Option<VlanTags>,
    pub(super) mac: Option<MacAddr>,
    pub(super) mtu: u32,
    /// This interface and all below it.
    pub(super) up: bool,
}

/// A neighbour, and whether somebody asked for it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) mac: Option<MacAddr>,
    /// Set by lookups, cleared by the mirror when it has told the kernel.
    pub(super) used: Arc<AtomicBool>,
}

/// What the routes of one prefix come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Via { gateway: Option<IpAddr>, oif: u32, mtu: Option<u32> },
    Miss(Miss),
}

/// The routes of one address family.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    /// What the local table claims.
    pub(super) local: Ranges<()>,
    /// Indices into `answers`.
    pub(super) main: Ranges<u32>,
    pub(super) answers: Vec<Answer>,
    /// Rules or tables beyond the usual: every answer would be a guess.
    pub(super) unusual: bool,
}

/// The picture.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// By `ifindex`, ascending.
    pub(super) ports: Arc<[Port]>,
    pub(super) neighbours: Arc<HashMap<NeighbourKey, Entry>>,
    pub(super) v4: Arc<Routes>,
    pub(super) v6: Arc<Routes>,
    /// False while nobody listens to the kernel: nothing in here can be trusted.
    pub(super) live: bool,
}

impl Table {
    #[inline]
    pub(super) fn lookup(&self, device: u32, dst: IpAddr) -> Result<Hop, Miss> {
        if !self.live {
            return Err(Miss::Blind);
        }
        let routes = if dst.is_ipv4() { &self.v4 } else { &self.v6 };
        if routes.unusual {
            return Err(Miss::Unusual);
        }
        if !is_plain_unicast(dst) || routes.local.longest(dst).is_some() {
            return Err(Miss::Local);
        }
        let nth = routes.main.longest(dst).ok_or(Miss::NoRoute)?;
        let answer = routes.answers.get(nth as usize).copied().unwrap_or(Answer::Miss(Miss::NoRoute));
        let (gateway, oif, mtu) = match answer {
            Answer::Via { gateway, oif, mtu } => (gateway, oif, mtu),
            Answer::Miss(miss) => return Err(miss),
        };
        let port = self.port(oif).ok_or(Miss::OtherInterface)?;
        if port.device != device {
            return Err(Miss::OtherInterface);
        }
        let (Some(vlans), Some(src_mac)) = (port.tags, port.mac) else { return Err(Miss::Unusual) };
        if !port.up {
            return Err(Miss::Down);
        }
        let neighbour = self.neighbours.get(&(oif, gateway.unwrap_or(dst))).ok_or(Miss::Unresolved)?;
        // Read before it is written, so that workers don't take the cache line from each other for nothing.
        if !neighbour.used.load(Ordering::Relaxed) {
            neighbour.used.store(true, Ordering::Relaxed);
        }
        let dst_mac = neighbour.mac.ok_or(Miss::Unresolved)?;
        let mut mtu = mtu.map_or(port.mtu, |mtu| mtu.min(port.mtu));
        if gateway.is_some() && dst.is_ipv6() {
            mtu = mtu.min(IPV6_MIN_MTU);
        }
        Ok(Hop { src_mac, dst_mac, vlans, mtu })
    }

    /// The neighbour that is missing, where nothing else is.
    pub(super) fn unresolved(&self, device: u32, dst: IpAddr) -> Option<IpAddr> {
        if self.lookup(device, dst) != Err(Miss::Unresolved) {
            return None;
        }
        let routes = if dst.is_ipv4() { &self.v4 } else { &self.v6 };
        match routes.answers.get(routes.main.longest(dst)? as usize)? {
            Answer::Via { gateway, .. } => Some(gateway.unwrap_or(dst)),
            Answer::Miss(_) => None,
        }
    }

    fn port(&self, ifindex: u32) -> Option<&Port> {
        let nth = self.ports.binary_search_by_key(&ifindex, |port| port.ifindex).ok()?;
        self.ports.get(nth)
    }
}

/// Whether routes alone decide where a packet for `address` goes. A link-local address needs its interface too.
fn is_plain_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified() || v4.is_loopback())
        }
        IpAddr::V6(v6) => {
            !(v6.is_multicast() || v6.is_unspecified() || v6.is_loopback() || v6.is_unicast_link_local())
        }
    }
}
