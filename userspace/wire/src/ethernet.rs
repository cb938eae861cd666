//! Ethernet addresses and VLAN tags (IEEE 802.3, 802.1Q, 802.1ad).

use core::fmt;

use crate::{MAX_VLAN_TAGS, VLAN_TAG_LEN};

/// EtherType of IPv4.
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Tag protocol identifier of a customer tag (802.1Q).
const TPID_CUSTOMER: u16 = 0x8100;
/// Tag protocol identifier of a service tag (802.1ad, "QinQ").
const TPID_SERVICE: u16 = 0x88a8;

/// An Ethernet address, in the order of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Whether this is a group address: multicast, or broadcast (the lowest bit of the first octet).
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// One VLAN tag as it lies in the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// Tag protocol identifier: 0x8100 or 0x88a8.
    pub tpid: u16,
    /// Tag control information: 3 bits of priority, 1 of drop eligibility, 12 of VLAN identifier.
    pub tci: u16,
}

impl VlanTag {
    /// A customer tag (802.1Q, 0x8100) for the VLAN identifier `vid`; bits above the twelfth are ignored.
    pub const fn customer(vid: u16) -> Self {
        Self { tpid: TPID_CUSTOMER, tci: vid & 0x0fff }
    }

    /// A service tag (802.1ad, 0x88a8) for the VLAN identifier `vid`; bits above the twelfth are ignored.
    pub const fn service(vid: u16) -> Self {
        Self { tpid: TPID_SERVICE, tci: vid & 0x0fff }
    }

    /// The VLAN identifier; 0 means that the tag carries a priority alone.
    pub const fn vid(self) -> u16 {
        self.tci & 0x0fff
    }

    /// Whether `ethertype` announces a VLAN tag.
    #[inline(always)]
    pub(crate) const fn announced_by(ethertype: u16) -> bool {
        ethertype == TPID_CUSTOMER || ethertype == TPID_SERVICE
    }
}

/// The VLAN tags of one frame, outermost first: none, one or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanTags {
    tags: [VlanTag; MAX_VLAN_TAGS],
    count: u8,
}

impl VlanTags {
    /// No tag at all.
    pub const NONE: Self = Self { tags: [VlanTag { tpid: 0, tci: 0 }; MAX_VLAN_TAGS], count: 0 };

    /// One tag.
    pub const fn one(tag: VlanTag) -> Self {
        Self { tags: [tag, VlanTag { tpid: 0, tci: 0 }], count: 1 }
    }

    /// Two tags, the outer one first on the wire.
    pub const fn two(outer: VlanTag, inner: VlanTag) -> Self {
        Self { tags: [outer, inner], count: 2 }
    }

    /// The tags, outermost first.
    pub fn as_slice(&self) -> &[VlanTag] {
        self.tags.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// How many tags there are, at most [`MAX_VLAN_TAGS`].
    #[inline(always)]
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes that these tags add to the Ethernet header.
    #[inline(always)]
    pub const fn wire_len(&self) -> usize {
        self.count() * VLAN_TAG_LEN
    }
}

impl fmt::Display for VlanTags {
    /// `-` for none, otherwise the identifiers with the outermost first: `100` or `100.7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.as_slice() {
            [] => f.write_str("-"),
            [tag] => write!(f, "{}", tag.vid()),
            [outer, inner, ..] => write!(f, "{}.{}", outer.vid(), inner.vid()),
        }
    }
}
