//! Ethernet, VLAN, IPv4, IPv6 and UDP headers around one datagram.
//!
//! Called by the XDP program (which steers by what [`decode`] says), by the workers (which decode the
//! same frame again, check its checksums and write the headers of what they send) and by the next-hop
//! mirror (which hands out [`MacAddr`] and [`VlanTags`]). One decoder serves both sides, so the kernel
//! and the worker can't disagree about where a payload lies.
//!
//! It may not allocate, or panic on any bytes. Of SIP it knows how a message begins and where its Call-ID stands.
//!
//! * [`decode`] finds the datagram in a frame, or says why the frame isn't plainly one ([`Reject`]); [`decode_for`] leaves
//!   off early at a port that nobody asks for.
//! * [`envelope`] reads sender and receiver of what is not plain, but may be a datagram to the kernel.
//! * [`udp_checksum_state`] and [`ipv4_header_valid`] are the receive checks, userspace only.
//! * [`Headers`] writes the headers of an outgoing datagram immediately before its payload.
//! * [`opening`] tells SIP from what else comes to its port.
//! * [`steer`] finds the worker that a message belongs to, for the kernel side and for userspace alike.
//! * [`SipHash`] is what both sides hash with where there is no library.
#![no_std]
#![forbid(unsafe_code)]

mod bytes;
mod checksum;
mod datagram;
mod envelope;
mod ethernet;
mod headers;
mod load;
mod opening;
mod siphash;
pub mod steer;

pub use checksum::{ChecksumState, ipv4_header_valid, udp_checksum_state};
pub use datagram::{Address, Datagram, Endpoint, IpVersion, Reject, decode, decode_for};
pub use envelope::{Envelope, Port, envelope};
pub use ethernet::{MacAddr, VlanTag, VlanTags};
pub use headers::{Headers, WriteError};
pub use load::{Load, Window};
pub use opening::{Opening, STUN_COOKIE, STUN_LEN, opening};
pub use siphash::SipHash;

/// Bytes of an Ethernet header without VLAN tags: two addresses and the EtherType.
pub const ETHERNET_LEN: usize = 14;
/// Bytes that one VLAN tag adds to the Ethernet header (IEEE 802.1Q).
pub const VLAN_TAG_LEN: usize = 4;
/// VLAN tags that are looked through; a frame with more is rejected.
pub const MAX_VLAN_TAGS: usize = 2;
/// Bytes of an IPv4 header without options (RFC 791, 3.1).
pub const IPV4_LEN: usize = 20;
/// Bytes of the fixed IPv6 header (RFC 8200, 3).
pub const IPV6_LEN: usize = 40;
/// Bytes of a UDP header (RFC 768).
pub const UDP_LEN: usize = 8;
/// The most bytes that [`Headers::write`] puts before a payload: two tags and IPv6.
pub const MAX_HEADERS_LEN: usize = ETHERNET_LEN + MAX_VLAN_TAGS * VLAN_TAG_LEN + IPV6_LEN + UDP_LEN;
