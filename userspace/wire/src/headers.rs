//! The headers of an outgoing datagram, written into the room before its payload.
//!
//! Called by the workers for every message they send by AF_XDP. The payload isn't moved.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;

use crate::checksum::{Sum, pseudo_header};
use crate::datagram::PROTOCOL_UDP;
use crate::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, MAX_HEADERS_LEN, MacAddr, UDP_LEN, VlanTags};

/// Headers for one UDP datagram, from Ethernet to UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Our address on the link.
    pub src_mac: MacAddr,
    /// The next hop's address on the link.
    pub dst_mac: MacAddr,
    /// The VLAN tags to send with.
    pub vlans: VlanTags,
    /// Sender; must be of the same IP version as `dst`.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service (DSCP and ECN), or traffic class.
    pub tos: u8,
    /// IPv4's identification. Fragmentation on the way is allowed (DF is 0), so datagrams between the
    /// same two hosts should differ in it (RFC 6864, 4.3). IPv6 has none.
    pub ident: u16,
}

/// Why headers couldn't be written; nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Less room before the payload than [`Headers::len`] says.
    NoRoom,
    /// The payload's range isn't inside the buffer.
    OutOfBuffer,
    /// IP header, UDP header and payload together exceed what the length field of IP can say.
    TooLong,
    /// One address is IPv4, the other IPv6.
    MixedVersions,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom => "too little room before the payload for its headers",
            Self::OutOfBuffer => "the payload's range is not inside the buffer",
            Self::TooLong => "the payload is too long for one IP packet",
            Self::MixedVersions => "source and destination are of different IP versions",
        })
    }
}

impl core::error::Error for WriteError {}

impl Headers {
    /// Bytes that these headers take before the payload: 42 (IPv4, no tag) to 70 (IPv6, two tags).
    // There are always headers, so emptiness isn't a question to ask of them.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        let ip_len = if self.dst.is_ipv4() { IPV4_LEN } else { IPV6_LEN };
        ETHERNET_LEN + self.vlans.wire_len() + ip_len + UDP_LEN
    }

    /// Writes the headers immediately before the payload that lies at `payload` in `buf`, with full
    /// checksums, and returns where the frame now lies in `buf`. No padding to Ethernet's minimum is
    /// added: that is the NIC's.
    ///
    /// # Errors
    ///
    /// [`WriteError`] says what doesn't fit; `buf` is unchanged then.
    pub fn write(&self, buf: &mut [u8], payload: Range<usize>) -> Result<Range<usize>, WriteError> {
        let body = buf.get(payload.clone()).ok_or(WriteError::OutOfBuffer)?;
        let start = payload.start.checked_sub(self.len()).ok_or(WriteError::NoRoom)?;
        let udp_len = UDP_LEN + body.len();
        let mut cursor = Cursor { bytes: [0; MAX_HEADERS_LEN], at: 0 };
        self.put_ethernet(&mut cursor);
        let pseudo = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let total_len = u16::try_from(IPV4_LEN + udp_len).map_err(|_| WriteError::TooLong)?;
                self.put_ipv4(&mut cursor, total_len, src.octets(), dst.octets());
                pseudo_header(&widen(src.octets()), &widen(dst.octets()), udp_len)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let payload_len = u16::try_from(udp_len).map_err(|_| WriteError::TooLong)?;
                self.put_ipv6(&mut cursor, payload_len, src.octets(), dst.octets());
                pseudo_header(&src.octets(), &dst.octets(), udp_len)
            }
            _ => return Err(WriteError::MixedVersions),
        };

        // The cast loses nothing: `udp_len` passed through one of the conversions above.
        let udp = Cursor::words([self.src.port(), self.dst.port(), udp_len as u16]);
        let checksum = pseudo.add(&udp).add(body).udp_checksum();
        cursor.put(udp);
        cursor.put(checksum.to_be_bytes());

        let room = buf.get_mut(start..payload.start).ok_or(WriteError::NoRoom)?;
        room.copy_from_slice(cursor.bytes.get(..room.len()).ok_or(WriteError::NoRoom)?);
        Ok(start..payload.end)
    }

    fn put_ethernet(&self, cursor: &mut Cursor) {
        cursor.put(self.dst_mac.0);
        cursor.put(self.src_mac.0);
        for tag in self.vlans.as_slice() {
            cursor.put(tag.tpid.to_be_bytes());
            cursor.put(tag.tci.to_be_bytes());
        }
        let ethertype = if self.dst.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
        cursor.put(ethertype.to_be_bytes());
    }

    /// RFC 791, 3.1. Flags are 0: a router on the way may fragment.
    fn put_ipv4(&self, cursor: &mut Cursor, total_len: u16, src: [u8; 4], dst: [u8; 4]) {
        let [n0, n1] = total_len.to_be_bytes();
        let [i0, i1] = self.ident.to_be_bytes();
        let [s0, s1, s2, s3] = src;
        let [d0, d1, d2, d3] = dst;
        let header = |c: u16| -> [u8; IPV4_LEN] {
            let [c0, c1] = c.to_be_bytes();
            [
                0x45,
                self.tos,
                n0,
                n1,
                i0,
                i1,
                0,
                0,
                self.ttl,
                PROTOCOL_UDP,
                c0,
                c1,
                s0,
                s1,
                s2,
                s3,
                d0,
                d1,
                d2,
                d3,
            ]
        };
        cursor.put(header(Sum::ZERO.add(&header(0)).checksum()));
    }

    /// RFC 8200, 3. The flow label is 0: none assigned (RFC 6437, 2).
    fn put_ipv6(&self, cursor: &mut Cursor, payload_len: u16, src: [u8; 16], dst: [u8; 16]) {
        cursor.put([0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
        cursor.put(payload_len.to_be_bytes());
        cursor.put([PROTOCOL_UDP, self.ttl]);
        cursor.put(src);
        cursor.put(dst);
    }
}

/// An IPv4 address in the room of an IPv6 one, the rest zero.
fn widen(octets: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = octets;
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Headers under construction, from the front. They are built beside the buffer and copied once, so an
/// error leaves the buffer alone.
struct Cursor {
    bytes: [u8; MAX_HEADERS_LEN],
    at: usize,
}

impl Cursor {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(room) = self.bytes.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut) {
            *room = bytes;
            self.at += N;
        }
    }

    fn words([a, b, c]: [u16; 3]) -> [u8; 6] {
        let ([a0, a1], [b0, b1], [c0, c1]) = (a.to_be_bytes(), b.to_be_bytes(), c.to_be_bytes());
        [a0, a1, b0, b1, c0, c1]
    }
}
