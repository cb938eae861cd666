//! What can be told from the outside of a packet that `decode` rejects and that may be a UDP datagram all the same: by
//! whom, to whom, and to which port.
//!
//! The kernel takes IP options, fragments, extension headers and a UDP length short of IP's. What the XDP program leaves
//! to it for these must obey the same bans and budgets as what is plain, so the program reads the envelope of it. That is
//! no second decoder: nothing is checked here that the kernel will check.

use crate::datagram::{
    NEXT_HEADER_AH, NEXT_HEADER_ESP, NEXT_HEADER_FRAGMENT, PROTOCOL_UDP, is_extension, vlan_tags,
};
use crate::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::{Address, ETHERNET_LEN, IPV4_LEN, IPV6_LEN, IpVersion, Load, Reject, UDP_LEN, Window};

/// The bits of IPv4's Fragment Offset (RFC 791, 3.1).
const IPV4_OFFSET_MASK: u16 = 0x1fff;
/// The bits of the fragment header's Fragment Offset (RFC 8200, 4.5).
const IPV6_OFFSET_MASK: u16 = 0xfff8;
/// What any extension header has at least (RFC 8200, 4).
const EXTENSION_LEN: usize = 8;

/// The outside of a packet that is a UDP datagram, a part of one, or may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Version of the IP header.
    pub version: IpVersion,
    /// Sender.
    pub src: Address,
    /// Receiver.
    pub dst: Address,
    /// The receiver's port.
    pub port: Port,
}

/// The UDP port that a packet is for, as far as it says.
///
/// A number and no enum: what an enum leaves undefined, the compiler may copy all the same, and the verifier refuses that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(u32);

impl Port {
    /// The one that the first fragment names; this is a later one.
    pub const OF_FIRST_FRAGMENT: Self = Self(1 << 16);
    /// Behind more than one IPv6 extension header. Nobody looks for it there, and there may be no UDP at all.
    pub const HIDDEN: Self = Self(2 << 16);

    /// This one.
    #[inline(always)]
    pub const fn of(number: u16) -> Self {
        Self(number as u32)
    }

    /// Its number, if the packet says it.
    #[inline(always)]
    pub const fn number(self) -> Option<u16> {
        if self.0 >> 16 == 0 { Some(self.0 as u16) } else { None }
    }
}

impl Reject {
    /// Whether the kernel may find a UDP datagram where [`decode`](crate::decode) said this.
    #[inline(always)]
    pub const fn may_be_served(self) -> bool {
        matches!(self, Self::IpOptions | Self::Fragment | Self::Ipv6Extension | Self::UdpLength)
    }
}

/// Reads the envelope of `frame`; `None` when it can be no UDP datagram, or ends before its port.
#[inline(always)]
pub fn envelope<L: Load + ?Sized>(frame: &L) -> Option<Envelope> {
    let ethertype = u16::from_be(frame.window::<ETHERNET_LEN>(0)?.u16::<{ ETHERNET_LEN - 2 }>());
    let (tags_len, ethertype) = match ethertype {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => (0, ethertype),
        tpid => {
            let (vlans, inner) = vlan_tags(frame, tpid).ok()?;
            (vlans.wire_len(), inner)
        }
    };
    let l3 = frame.blur(ETHERNET_LEN + tags_len);
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, l3),
        ETHERTYPE_IPV6 => ipv6(frame, l3),
        _ => None,
    }
}

/// RFC 791, 3.1. Fragments of one datagram are those whose protocol is the same too, so each of them says it.
#[inline(always)]
fn ipv4<L: Load + ?Sized>(frame: &L, l3: usize) -> Option<Envelope> {
    let ip = frame.window::<IPV4_LEN>(l3)?;
    let header_len = usize::from(ip.u8::<0>() & 0xf) * 4;
    if ip.u8::<0>() >> 4 != 4 || header_len < IPV4_LEN || ip.u8::<9>() != PROTOCOL_UDP {
        return None;
    }
    let port = if ip.u16::<6>() & IPV4_OFFSET_MASK.to_be() == 0 {
        port(frame, l3 + header_len)?
    } else {
        Port::OF_FIRST_FRAGMENT
    };
    let (src, dst) = (Address::mapped(ip.u32::<12>()), Address::mapped(ip.u32::<16>()));
    Some(Envelope { version: IpVersion::V4, src, dst, port })
}

/// RFC 8200, 3 and 4. One extension header is looked behind.
#[inline(always)]
fn ipv6<L: Load + ?Sized>(frame: &L, l3: usize) -> Option<Envelope> {
    let ip = frame.window::<IPV6_LEN>(l3)?;
    if ip.u8::<0>() >> 4 != 6 {
        return None;
    }
    let (next, at) = (ip.u8::<6>(), l3 + IPV6_LEN);
    let port = if next == PROTOCOL_UDP { port(frame, at)? } else { behind(frame, next, at)? };
    let src = Address::from_words([ip.u64::<8>(), ip.u64::<16>()]);
    let dst = Address::from_words([ip.u64::<24>(), ip.u64::<32>()]);
    Some(Envelope { version: IpVersion::V6, src, dst, port })
}

/// The port behind the extension header `kind` at `at`. What ESP (RFC 4303) protects, nobody reads who isn't meant to.
#[inline(always)]
fn behind<L: Load + ?Sized>(frame: &L, kind: u8, at: usize) -> Option<Port> {
    if !may_cover(kind) {
        return None;
    }
    let header = frame.window::<EXTENSION_LEN>(at)?;
    let (next, units) = (header.u8::<0>(), usize::from(header.u8::<1>()));
    // The fragments after the first have the port of that one, and whatever is between.
    let is_later = kind == NEXT_HEADER_FRAGMENT && header.u16::<2>() & IPV6_OFFSET_MASK.to_be() != 0;
    if next != PROTOCOL_UDP && !may_cover(next) {
        return None;
    }
    if is_later {
        return Some(Port::OF_FIRST_FRAGMENT);
    }
    if next != PROTOCOL_UDP {
        return Some(Port::HIDDEN);
    }
    let len = match kind {
        NEXT_HEADER_FRAGMENT => EXTENSION_LEN,
        // RFC 4302, 2.2: in units of four octets, less two.
        NEXT_HEADER_AH => (units + 2) * 4,
        _ => (units + 1) * EXTENSION_LEN,
    };
    port(frame, at + len)
}

/// Whether a UDP header may stand behind an IPv6 header of this kind.
#[inline(always)]
fn may_cover(kind: u8) -> bool {
    kind == NEXT_HEADER_FRAGMENT || (is_extension(kind) && kind != NEXT_HEADER_ESP)
}

/// The destination port of the UDP header at `l4`, which is below 4,096: the longest headers are.
#[inline(always)]
fn port<L: Load + ?Sized>(frame: &L, l4: usize) -> Option<Port> {
    let udp = frame.window::<UDP_LEN>(frame.blur(l4))?;
    Some(Port::of(u16::from_be(udp.u16::<2>())))
}
