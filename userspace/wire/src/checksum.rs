//! The Internet checksum (RFC 1071) of IPv4 headers and UDP datagrams: checks on receive, and the sums
//! that `headers` writes. Userspace only; the XDP program leaves checksums to the worker.
//!
//! Sums are always computed over all bytes, never patched from the old one: a veth peer delivers
//! partial checksums, and an update would carry their error on.

use crate::datagram::PROTOCOL_UDP;
use crate::{Datagram, IPV4_LEN, IpVersion, UDP_LEN};

/// Offset of the checksum in the UDP header.
const UDP_CHECKSUM_OFFSET: usize = 6;

/// What the checksum field of a received UDP datagram is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChecksumState {
    /// The sum over pseudo-header, UDP header and payload holds (RFC 768; RFC 8200, 8.1).
    Valid,
    /// The field holds the sum of the pseudo-header alone. A sender on the same host (veth) leaves it
    /// so, for a NIC to complete. No network carries such a datagram but by an accident of 1 in 65,536.
    Partial,
    /// The field is zero: an IPv4 sender chose to compute none (RFC 768; RFC 1122, 4.1.3.4). With IPv6
    /// zero is [`Bad`](Self::Bad).
    Absent,
    /// The datagram was damaged on its way and must be discarded.
    Bad,
}

/// Judges the UDP checksum of the datagram `d` that [`decode`](crate::decode) found in `frame`.
///
/// A frame that isn't the one `d` was decoded from, so that offsets fall outside of it, is `Bad`.
pub fn udp_checksum_state(frame: &[u8], d: &Datagram) -> ChecksumState {
    let Some(datagram) = frame.get(d.l4..d.payload_range().end) else { return ChecksumState::Bad };
    let Some(&[c0, c1]) = datagram.get(UDP_CHECKSUM_OFFSET..UDP_LEN) else { return ChecksumState::Bad };
    let field = u16::from_be_bytes([c0, c1]);
    if field == 0 {
        return match d.version {
            IpVersion::V4 => ChecksumState::Absent,
            IpVersion::V6 => ChecksumState::Bad,
        };
    }
    let pseudo = pseudo_header(&d.src.address.octets(), &d.dst.address.octets(), datagram.len());
    // Every word takes part, the checksum too; an undamaged datagram sums up to all ones.
    if pseudo.add(datagram).fold() == 0xffff {
        ChecksumState::Valid
    } else if field == pseudo.fold() {
        ChecksumState::Partial
    } else {
        ChecksumState::Bad
    }
}

/// Whether the header checksum of the IPv4 datagram `d` found in `frame` holds (RFC 1122, 3.2.1.2).
/// IPv6 has none: always true.
pub fn ipv4_header_valid(frame: &[u8], d: &Datagram) -> bool {
    match d.version {
        IpVersion::V6 => true,
        IpVersion::V4 => {
            let header = frame.get(d.l3..).and_then(|rest| rest.get(..IPV4_LEN));
            header.is_some_and(|header| Sum::ZERO.add(header).fold() == 0xffff)
        }
    }
}

/// The sum of the pseudo-header of a UDP datagram of `udp_len` bytes (RFC 768; RFC 8200, 8.1). What stands around an
/// IPv4 address doesn't count: it is zero, or the 0xffff by which IPv6 maps it, which is zero to a ones' complement
/// sum.
pub(crate) fn pseudo_header(src: &[u8; 16], dst: &[u8; 16], udp_len: usize) -> Sum {
    Sum::ZERO.add(src).add(dst).add_number(udp_len as u64).add_number(u64::from(PROTOCOL_UDP))
}

/// A ones' complement sum that isn't folded to 16 bits yet.
///
/// It is kept in the machine's byte order: RFC 1071, 2 (B) shows that the order of the bytes doesn't
/// matter to the sum until it is read. The low 32-bit halves of 2^32 additions fit into the 64 bits, so
/// no carry is lost in a datagram.
#[derive(Clone, Copy)]
pub(crate) struct Sum(u64);

impl Sum {
    pub(crate) const ZERO: Self = Self(0);

    /// Adds `bytes`, which must start at an even offset of what is summed; an odd last byte is padded
    /// with zero.
    ///
    /// Words of 32 bits into a 64-bit sum keep the carries without looking at them, and the
    /// compiler turns the loop into vector additions.
    pub(crate) fn add(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum = self.0;
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds a number of at most 32 bits as it stands on the wire.
    pub(crate) fn add_number(self, number: u64) -> Self {
        self.add(&(number as u32).to_be_bytes())
    }

    /// The 16-bit ones' complement sum, as read from the wire (not complemented).
    pub(crate) fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::from_be(sum as u16)
    }

    /// The checksum to write.
    pub(crate) fn checksum(self) -> u16 {
        !self.fold()
    }

    /// The checksum to write into a UDP header: a sum that comes out as zero is sent as all ones,
    /// because zero says "none computed" (RFC 768).
    pub(crate) fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, 1, word by word and fold by fold.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            let word = u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum += word;
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.add(&bytes).fold(), 0xddf2);
        assert_eq!(Sum::ZERO.add(&bytes).checksum(), 0x220d);
    }

    #[test]
    fn the_longest_datagram_of_all_ones_loses_no_carry() {
        let bytes = [0xff; 65_535];
        assert_eq!(Sum::ZERO.add(&bytes).fold(), naive(&bytes));
    }

    #[test]
    fn a_zero_sum_is_written_as_all_ones_in_udp_alone() {
        let sum = Sum::ZERO.add(&[0xff, 0xff]);
        assert_eq!(sum.checksum(), 0);
        assert_eq!(sum.udp_checksum(), 0xffff);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_naive_one(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert_eq!(Sum::ZERO.add(&bytes).fold(), naive(&bytes));
        }

        #[test]
        fn parts_at_even_offsets_sum_up_to_the_whole(
            words in proptest::collection::vec(any::<[u8; 2]>(), 0..200),
            tail in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let head = words.concat();
            let whole: Vec<u8> = head.iter().chain(&tail).copied().collect();
            prop_assert_eq!(Sum::ZERO.add(&head).add(&tail).fold(), naive(&whole));
        }
    }
}
