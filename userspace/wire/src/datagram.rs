//! The decoder: where in a frame its one UDP datagram lies, or why the frame isn't plainly one.
//!
//! It runs in the XDP program for every packet of the interface and again in the worker for every
//! packet of ours. It accepts the plain case alone: Ethernet with at most two VLAN tags, IPv4 without
//! options or IPv6 without extension headers, no fragment, and three lengths (frame, IP, UDP) that
//! agree. Everything else is a [`Reject`], which to the XDP program means "leave it to the kernel".
//!
//! What most packets are that are none of ours is found first, by as few comparisons as may be: each of them costs the
//! whole machine's traffic. Checksums aren't its business: the kernel side can't afford them, see `checksum`.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::Range;

use crate::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::{
    ETHERNET_LEN, IPV4_LEN, IPV6_LEN, Load, MAX_VLAN_TAGS, MacAddr, UDP_LEN, VLAN_TAG_LEN, VlanTag, VlanTags,
    Window,
};

/// Protocol number of UDP, in IPv4's Protocol and IPv6's Next Header.
pub(crate) const PROTOCOL_UDP: u8 = 17;
/// Next Header value of the IPv6 fragment header (RFC 8200, 4.5).
pub(crate) const NEXT_HEADER_FRAGMENT: u8 = 44;
/// Next Header value of the Encapsulating Security Payload (RFC 4303).
pub(crate) const NEXT_HEADER_ESP: u8 = 50;
/// Next Header value of the Authentication Header (RFC 4302).
pub(crate) const NEXT_HEADER_AH: u8 = 51;
/// More Fragments and the 13 bits of Fragment Offset (RFC 791, 3.1). Don't Fragment isn't among them.
const IPV4_FRAGMENT_MASK: u16 = 0x3fff;

/// Version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum IpVersion {
    /// IPv4, RFC 791.
    V4 = 4,
    /// IPv6, RFC 8200.
    V6 = 6,
}

/// An IP address: one of IPv6, or one of IPv4 as IPv6 maps it (RFC 4291, 2.5.5.2).
///
/// Two words as the machine reads them, so that the XDP program takes an address from a frame, compares it and looks
/// it up without touching single octets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Address([u64; 2]);

impl Address {
    /// Of IPv6.
    #[inline(always)]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let all = u128::from_ne_bytes(octets);
        let (low, high) = (all as u64, (all >> 64) as u64);
        if cfg!(target_endian = "little") { Self([low, high]) } else { Self([high, low]) }
    }

    /// Of IPv4.
    pub const fn v4([a, b, c, d]: [u8; 4]) -> Self {
        Self::v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// Of IPv4, the four octets as the machine reads them.
    #[inline(always)]
    pub(crate) const fn mapped(address: u32) -> Self {
        let address = address as u64;
        if cfg!(target_endian = "little") {
            Self([0, address << 32 | 0xffff_0000])
        } else {
            Self([0, 0xffff << 32 | address])
        }
    }

    /// Of IPv6, the two halves as the machine reads them.
    #[inline(always)]
    pub(crate) const fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// The address in the order of the wire.
    pub const fn octets(self) -> [u8; 16] {
        let (first, second) = (self.0[0] as u128, self.0[1] as u128);
        if cfg!(target_endian = "little") {
            (second << 64 | first).to_ne_bytes()
        } else {
            (first << 64 | second).to_ne_bytes()
        }
    }

    /// The two halves as the machine reads them.
    #[inline(always)]
    pub const fn words(self) -> [u64; 2] {
        self.0
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::v4(ip.octets()),
            IpAddr::V6(ip) => Self::v6(ip.octets()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Ipv6Addr::from(self.octets()).to_canonical(), f)
    }
}

/// An address and a port. Which kind of address it is, [`Datagram::version`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The UDP port, in the host's order.
    pub port: u16,
}

/// Where in its frame one UDP datagram lies, and between whom it goes. Offsets count from the first
/// byte of the Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Destination of the Ethernet header; never a group address.
    pub dst_mac: MacAddr,
    /// Source of the Ethernet header.
    pub src_mac: MacAddr,
    /// The VLAN tags found in the frame. A NIC that strips tags in hardware leaves none to find.
    pub vlans: VlanTags,
    /// Version of the IP header.
    pub version: IpVersion,
    /// Offset of the IP header.
    pub l3: usize,
    /// Offset of the UDP header.
    pub l4: usize,
    /// Offset of the payload.
    pub payload: usize,
    /// Bytes of the payload by the UDP header; can be 0, and the frame can be longer (padding).
    pub payload_len: usize,
    /// Sender.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
}

impl Datagram {
    /// The sender as the standard library's type. IPv6 scope and flow label are 0.
    pub fn source(&self) -> SocketAddr {
        socket_addr(self.version, &self.src)
    }

    /// The receiver as the standard library's type. IPv6 scope and flow label are 0.
    pub fn destination(&self) -> SocketAddr {
        socket_addr(self.version, &self.dst)
    }

    /// Whether its source is an address that one host can have on a network. Those that none can (RFC 1122, 3.2.1.3; RFC
    /// 4291, 2.5 and 2.7): 0.0.0.0/8, loopback, multicast, and what lies above it; of IPv6 multicast, and the /64 that has the
    /// unspecified address, loopback, and IPv4 addresses as IPv6 maps them. The kernel drops most of these as martians.
    #[inline(always)]
    pub const fn is_from_one_host(&self) -> bool {
        let [head, tail] = self.src.address.words();
        match self.version {
            IpVersion::V4 => !matches!((u64::from_be(tail) >> 24) as u8, 0 | 127 | 224..),
            IpVersion::V6 => head != 0 && (u64::from_be(head) >> 56) as u8 != 0xff,
        }
    }

    /// Where the payload lies in the frame; always inside the frame that was decoded.
    pub const fn payload_range(&self) -> Range<usize> {
        self.payload..self.payload + self.payload_len
    }
}

fn socket_addr(version: IpVersion, end: &Endpoint) -> SocketAddr {
    let ip = match version {
        IpVersion::V4 => {
            let [.., a, b, c, d] = end.address.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        IpVersion::V6 => IpAddr::V6(Ipv6Addr::from(end.address.octets())),
    };
    SocketAddr::new(ip, end.port)
}

/// Why a frame isn't plainly one UDP datagram. The order is the decoder's: the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reject {
    /// The frame ends inside the Ethernet header.
    TruncatedEthernet,
    /// The Ethernet destination is multicast or broadcast.
    GroupAddressed,
    /// The frame ends inside a VLAN tag.
    TruncatedVlan,
    /// More VLAN tags than [`MAX_VLAN_TAGS`].
    VlanDepth,
    /// The EtherType is neither IPv4 nor IPv6.
    NotIp,
    /// The frame ends inside the IP header.
    TruncatedIp,
    /// The IP header contradicts itself: its version isn't the EtherType's, or IHL is below 5.
    IpHeader,
    /// An IPv4 header with options (IHL above 5).
    IpOptions,
    /// A fragment, the first one included: IPv4 by flags and offset, IPv6 by the fragment header.
    Fragment,
    /// An IPv6 extension header other than the fragment header stands before the payload.
    Ipv6Extension,
    /// The IP protocol isn't UDP.
    NotUdp,
    /// The frame or the IP packet ends inside the UDP header.
    TruncatedUdp,
    /// UDP to a port that [`decode_for`] wasn't asked for.
    OtherPort,
    /// The IP length is below the IP header's own or runs past the end of the frame.
    IpLength,
    /// The UDP length is below 8 or isn't what the IP header leaves for UDP.
    UdpLength,
}

impl Reject {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 15] = [
        Self::TruncatedEthernet,
        Self::GroupAddressed,
        Self::TruncatedVlan,
        Self::VlanDepth,
        Self::NotIp,
        Self::TruncatedIp,
        Self::IpHeader,
        Self::IpOptions,
        Self::Fragment,
        Self::Ipv6Extension,
        Self::NotUdp,
        Self::TruncatedUdp,
        Self::OtherPort,
        Self::IpLength,
        Self::UdpLength,
    ];
}

/// Finds the UDP datagram in `frame`, or says why there isn't plainly one.
///
/// On success the whole payload is inside the frame, and the UDP length is exactly what the IP header
/// leaves for it: a datagram with bytes between its UDP and its IP end is unusual, and the kernel may
/// judge it.
#[inline(always)]
pub fn decode<L: Load + ?Sized>(frame: &L) -> Result<Datagram, Reject> {
    decode_for(frame, |_| true)
}

/// As [`decode`], for somebody who serves few ports: of UDP to one that `serves` doesn't know nothing more is read, not
/// even its lengths, and it is [`Reject::OtherPort`].
#[inline(always)]
pub fn decode_for<L, P>(frame: &L, serves: P) -> Result<Datagram, Reject>
where
    L: Load + ?Sized,
    P: FnOnce(u16) -> bool,
{
    let ethernet = frame.window::<ETHERNET_LEN>(0).ok_or(Reject::TruncatedEthernet)?;
    if ethernet.u8::<0>() & 1 == 1 {
        return Err(Reject::GroupAddressed);
    }
    let link = |vlans: VlanTags| Link {
        dst_mac: mac(ethernet.u32::<0>(), ethernet.u16::<4>()),
        src_mac: mac(ethernet.u32::<6>(), ethernet.u16::<10>()),
        vlans,
        l3: ETHERNET_LEN + vlans.wire_len(),
    };
    let ethertype = ethernet.u16::<{ ETHERNET_LEN - 2 }>();
    // Most frames have no tag: for these all is at offsets that are known when this is compiled.
    if ethertype == ETHERTYPE_IPV4.to_be() {
        return ipv4(frame, link(VlanTags::NONE), serves);
    }
    if ethertype == ETHERTYPE_IPV6.to_be() {
        return ipv6(frame, link(VlanTags::NONE), serves);
    }
    let (vlans, ethertype) = vlan_tags(frame, u16::from_be(ethertype))?;
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, link(vlans), serves),
        ETHERTYPE_IPV6 => ipv6(frame, link(vlans), serves),
        _ => Err(Reject::NotIp),
    }
}

/// What stands before the IP header.
struct Link {
    dst_mac: MacAddr,
    src_mac: MacAddr,
    vlans: VlanTags,
    l3: usize,
}

/// An Ethernet address from its first four octets and its last two, as the machine reads them.
#[inline(always)]
fn mac(head: u32, tail: u16) -> MacAddr {
    let ([a, b, c, d], [e, g]) = (head.to_ne_bytes(), tail.to_ne_bytes());
    MacAddr([a, b, c, d, e, g])
}

/// The VLAN tags that `ethertype` announces after the Ethernet header, and the EtherType behind them. Written out instead of
/// looped: the verifier then sees constant offsets on every path.
#[inline(always)]
pub(crate) fn vlan_tags<L: Load + ?Sized>(frame: &L, ethertype: u16) -> Result<(VlanTags, u16), Reject> {
    const _: () = assert!(MAX_VLAN_TAGS == 2, "the tags are written out here");
    if !VlanTag::announced_by(ethertype) {
        return Err(Reject::NotIp);
    }
    let (outer, ethertype) = vlan_tag(frame, ETHERNET_LEN, ethertype)?;
    if !VlanTag::announced_by(ethertype) {
        return Ok((VlanTags::one(outer), ethertype));
    }
    let (inner, ethertype) = vlan_tag(frame, ETHERNET_LEN + VLAN_TAG_LEN, ethertype)?;
    if VlanTag::announced_by(ethertype) {
        return Err(Reject::VlanDepth);
    }
    Ok((VlanTags::two(outer, inner), ethertype))
}

#[inline(always)]
fn vlan_tag<L: Load + ?Sized>(frame: &L, offset: usize, tpid: u16) -> Result<(VlanTag, u16), Reject> {
    const _: () = assert!(VLAN_TAG_LEN == size_of::<u32>());
    let tag = u32::from_be(frame.u32(offset).ok_or(Reject::TruncatedVlan)?);
    Ok((VlanTag { tpid, tci: (tag >> 16) as u16 }, tag as u16))
}

/// RFC 791, 3.1.
#[inline(always)]
fn ipv4<L, P>(frame: &L, link: Link, serves: P) -> Result<Datagram, Reject>
where
    L: Load + ?Sized,
    P: FnOnce(u16) -> bool,
{
    let ip = frame.window::<IPV4_LEN>(link.l3).ok_or(Reject::TruncatedIp)?;
    match ip.u8::<0>() {
        0x45 => {}
        0x46..=0x4f => return Err(Reject::IpOptions),
        _ => return Err(Reject::IpHeader),
    }
    // Compared as it lies: the mask is swapped when this is compiled.
    if ip.u16::<6>() & IPV4_FRAGMENT_MASK.to_be() != 0 {
        return Err(Reject::Fragment);
    }
    if ip.u8::<9>() != PROTOCOL_UDP {
        return Err(Reject::NotUdp);
    }
    let l4 = link.l3 + IPV4_LEN;
    let total_len = || usize::from(u16::from_be(ip.u16::<2>()));
    let udp = udp(frame, l4, serves, || total_len().checked_sub(IPV4_LEN))?;
    let (src, dst) = (Address::mapped(ip.u32::<12>()), Address::mapped(ip.u32::<16>()));
    Ok(datagram(link, IpVersion::V4, l4, udp, (src, dst)))
}

/// RFC 8200, 3. The payload length counts from the end of the fixed header.
#[inline(always)]
fn ipv6<L, P>(frame: &L, link: Link, serves: P) -> Result<Datagram, Reject>
where
    L: Load + ?Sized,
    P: FnOnce(u16) -> bool,
{
    let ip = frame.window::<IPV6_LEN>(link.l3).ok_or(Reject::TruncatedIp)?;
    if ip.u8::<0>() >> 4 != 6 {
        return Err(Reject::IpHeader);
    }
    match ip.u8::<6>() {
        PROTOCOL_UDP => {}
        NEXT_HEADER_FRAGMENT => return Err(Reject::Fragment),
        next if is_extension(next) => return Err(Reject::Ipv6Extension),
        _ => return Err(Reject::NotUdp),
    }
    let l4 = link.l3 + IPV6_LEN;
    let udp = udp(frame, l4, serves, || Some(usize::from(u16::from_be(ip.u16::<4>()))))?;
    let src = Address([ip.u64::<8>(), ip.u64::<16>()]);
    let dst = Address([ip.u64::<24>(), ip.u64::<32>()]);
    Ok(datagram(link, IpVersion::V6, l4, udp, (src, dst)))
}

/// Whether this Next Header value is an extension header's, the fragment header's apart. IANA's "IPv6 Extension Header
/// Types": hop-by-hop, routing, ESP, AH, destination options, mobility, HIP, shim6, and two for experiments.
#[inline(always)]
pub(crate) const fn is_extension(next: u8) -> bool {
    matches!(next, 0 | 43 | NEXT_HEADER_ESP | NEXT_HEADER_AH | 60 | 135 | 139 | 140 | 253 | 254)
}

/// What the UDP header has to say.
struct Udp {
    src_port: u16,
    dst_port: u16,
    /// Bytes behind it.
    payload_len: usize,
}

/// RFC 768. `rest_len`: bytes after the IP header by its length field; `None` when that is below the header's own.
#[inline(always)]
fn udp<L, P, R>(frame: &L, l4: usize, serves: P, rest_len: R) -> Result<Udp, Reject>
where
    L: Load + ?Sized,
    P: FnOnce(u16) -> bool,
    R: FnOnce() -> Option<usize>,
{
    let udp = frame.window::<UDP_LEN>(l4).ok_or(Reject::TruncatedUdp)?;
    let dst_port = u16::from_be(udp.u16::<2>());
    if !serves(dst_port) {
        return Err(Reject::OtherPort);
    }
    let rest_len = rest_len().ok_or(Reject::IpLength)?;
    if rest_len < UDP_LEN {
        return Err(Reject::TruncatedUdp);
    }
    if !frame.holds(l4 + rest_len) {
        return Err(Reject::IpLength);
    }
    if usize::from(u16::from_be(udp.u16::<4>())) != rest_len {
        return Err(Reject::UdpLength);
    }
    Ok(Udp { src_port: u16::from_be(udp.u16::<0>()), dst_port, payload_len: rest_len - UDP_LEN })
}

#[inline(always)]
fn datagram(link: Link, version: IpVersion, l4: usize, udp: Udp, (src, dst): (Address, Address)) -> Datagram {
    let Link { dst_mac, src_mac, vlans, l3 } = link;
    Datagram {
        dst_mac,
        src_mac,
        vlans,
        version,
        l3,
        l4,
        payload: l4 + UDP_LEN,
        payload_len: udp.payload_len,
        src: Endpoint { address: src, port: udp.src_port },
        dst: Endpoint { address: dst, port: udp.dst_port },
    }
}
