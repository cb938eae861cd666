//! Netlink messages → [`Fact`]s.
//!
//! What isn't known to be harmless makes a route or rule unusual; nothing is ignored because it is unknown.

use std::net::IpAddr;

use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, VlanProtocol,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use strowger_wire::{MacAddr, VlanTag};

use super::facts::{Fact, Family, Kind, Link, Neighbour, Route, Rule, Vlan};
use super::prefix::Prefix;

/// What a message tells. A message without something it must have tells [`Fact::Unsettled`].
pub(super) fn fact(message: &RouteNetlinkMessage) -> Fact {
    use RouteNetlinkMessage as M;
    match message {
        M::NewLink(link) => link_fact(link),
        M::DelLink(link) if link.header.interface_family == AddressFamily::Unspec => {
            Fact::LinkGone(link.header.index)
        }
        M::NewNeighbour(neighbour) => neighbour_fact(neighbour).map_or(Fact::Nothing, Fact::Neighbour),
        M::DelNeighbour(neighbour) => {
            neighbour_fact(neighbour).map_or(Fact::Nothing, |neighbour| Fact::NeighbourGone(neighbour.key))
        }
        M::NewRoute(route) => route_fact(route, Fact::Route),
        M::DelRoute(route) => route_fact(route, Fact::RouteGone),
        M::NewRule(rule) => rule_fact(rule),
        // An address takes routes with it when it goes.
        M::NewAddress(_) | M::DelAddress(_) | M::DelRule(_) => Fact::Unsettled,
        _ => Fact::Nothing,
    }
}

fn mac(bytes: &[u8]) -> Option<MacAddr> {
    let mac = MacAddr(bytes.try_into().ok()?);
    (!mac.is_group() && mac != MacAddr::default()).then_some(mac)
}

fn link_fact(message: &LinkMessage) -> Fact {
    let header = &message.header;
    // Messages of a family (a bridge's port, IPv6's settings) tell of that family's part only.
    if header.interface_family != AddressFamily::Unspec {
        return Fact::Nothing;
    }
    let mut link = Link {
        index: header.index,
        up: header.flags.contains(LinkFlags::Up | LinkFlags::Running),
        mtu: 0,
        mac: None,
        vlan: None,
    };
    let (mut parent, mut vlan) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) if header.link_layer_type == LinkLayerType::Ether => {
                link.mac = mac(bytes);
            }
            LinkAttribute::Link(index) => parent = Some(*index),
            LinkAttribute::LinkInfo(infos) => vlan = infos.iter().find_map(vlan_info),
            _ => {}
        }
    }
    if let Some(tag) = vlan {
        // Index 0 is no interface, so such a VLAN leads nowhere.
        link.vlan = Some(Vlan { parent: parent.unwrap_or(0), tag });
    }
    // Without an MTU the message tells of something else than the link itself.
    if link.mtu == 0 { Fact::Nothing } else { Fact::Link(link) }
}

/// The tag of a VLAN interface; the inner `None` if it isn't a plain one.
fn vlan_info(info: &LinkInfo) -> Option<Option<VlanTag>> {
    let LinkInfo::Data(InfoData::Vlan(infos)) = info else { return None };
    let (mut id, mut protocol, mut plain) = (None, None, true);
    for info in infos {
        match info {
            InfoVlan::Id(vid) => id = Some(*vid),
            InfoVlan::Protocol(tpid) => protocol = Some(*tpid),
            InfoVlan::EgressQos(mappings) => plain &= mappings.is_empty(),
            InfoVlan::Flags(_) | InfoVlan::IngressQos(_) => {}
            _ => plain = false,
        }
    }
    let tag = match (id, protocol) {
        (Some(vid), Some(VlanProtocol::Ieee8021Q)) => Some(VlanTag::customer(vid)),
        (Some(vid), Some(VlanProtocol::Ieee8021Ad)) => Some(VlanTag::service(vid)),
        _ => None,
    };
    Some(tag.filter(|_| plain))
}

fn neighbour_fact(message: &NeighbourMessage) -> Option<Neighbour> {
    let header = &message.header;
    // A proxy entry says for whom we answer, not where somebody is.
    if header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let (mut address, mut link_layer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => link_layer = mac(bytes),
            _ => {}
        }
    }
    use NeighbourState as S;
    let usable = match header.state {
        // Delay and probe: the kernel goes on sending to the address it has until the probes fail.
        S::Reachable | S::Stale | S::Delay | S::Probe | S::Permanent | S::Noarp => true,
        S::Incomplete | S::Failed | S::None | S::Other(_) => false,
        _ => false,
    };
    Some(Neighbour {
        key: (header.ifindex, address?),
        mac: link_layer.filter(|_| usable),
        stale: header.state == S::Stale,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn route_fact(message: &RouteMessage, wrap: impl FnOnce(Route) -> Fact) -> Fact {
    let header = &message.header;
    let family = match header.address_family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return Fact::Nothing,
    };
    // What the kernel learnt of one destination (redirects, path MTU), not a route of the tables.
    if header.flags.contains(RouteFlags::Cloned) {
        return Fact::Nothing;
    }
    let unspecified = match family {
        Family::V4 => IpAddr::from([0; 4]),
        Family::V6 => IpAddr::from([0; 16]),
    };
    let mut destination = Some(unspecified);
    let mut table = u32::from(header.table);
    let (mut metric, mut gateway, mut oif, mut mtu) = (0, None, 0, None);
    let mut unusual = header.source_prefix_length != 0;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Gateway(address) => {
                gateway = ip(address);
                unusual |= gateway.is_none_or(|gateway| Family::of(gateway) != family);
            }
            RouteAttribute::Oif(index) => oif = *index,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            // They choose a source address, an accounting realm, a lifetime, a rank among routers: not the hop.
            RouteAttribute::PrefSource(_)
            | RouteAttribute::Realm(_)
            | RouteAttribute::CacheInfo(_)
            | RouteAttribute::Expires(_)
            | RouteAttribute::Preference(_) => {}
            // Several hops, encapsulation, a gateway of the other family, next-hop objects, what may come.
            _ => unusual = true,
        }
    }
    let Some(prefix) =
        destination.and_then(|destination| Prefix::new(destination, header.destination_prefix_length))
    else {
        return Fact::Unsettled;
    };
    let kind = match header.kind {
        RouteType::Unicast => Kind::Unicast,
        RouteType::Local | RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast => Kind::Local,
        RouteType::Unreachable => Kind::Unreachable,
        _ => Kind::Other,
    };
    let dead = header.flags.contains(RouteFlags::Dead);
    let tos = header.tos;
    wrap(Route { family, table, prefix, tos, metric, kind, gateway, oif, mtu, dead, unusual })
}

fn rule_fact(message: &RuleMessage) -> Fact {
    let header = &message.header;
    let family = match header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return Fact::Nothing,
    };
    let mut table = u32::from(header.table);
    let mut priority = 0;
    let mut plain = header.action == RuleAction::ToTable
        && (header.dst_len, header.src_len, header.tos) == (0, 0, 0)
        && !header.flags.contains(RuleFlags::Invert);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => priority = *number,
            // All ones: nothing is suppressed.
            RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::Protocol(_) => {}
            _ => plain = false,
        }
    }
    Fact::Rule(Rule { family, priority, table: plain.then_some(table) })
}
