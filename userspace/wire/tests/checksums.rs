//! The header writer and the receive checks, each against frames whose bytes are known and against each
//! other.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use proptest::prelude::*;
use strowger_wire::{
    ChecksumState, Datagram, Headers, MAX_HEADERS_LEN, MacAddr, VlanTag, VlanTags, WriteError, decode,
    ipv4_header_valid, udp_checksum_state,
};

fn headers(src: SocketAddr, dst: SocketAddr) -> Headers {
    Headers {
        src_mac: MacAddr([2, 0, 0, 0, 0, 1]),
        dst_mac: MacAddr([2, 0, 0, 0, 0, 2]),
        vlans: VlanTags::NONE,
        src,
        dst,
        ttl: 64,
        tos: 0xb8,
        ident: 0x1234,
    }
}

fn v4() -> Headers {
    headers("192.0.2.1:5061".parse().unwrap(), "192.0.2.2:5060".parse().unwrap())
}

fn v6() -> Headers {
    headers("[2001:db8::1]:5061".parse().unwrap(), "[2001:db8::2]:5060".parse().unwrap())
}

fn written(headers: &Headers, payload: &[u8]) -> (Vec<u8>, Datagram) {
    let mut buf = vec![0xee; headers.len()];
    buf.extend_from_slice(payload);
    let range = headers.len()..buf.len();
    let frame = headers.write(&mut buf, range).unwrap();
    assert_eq!(frame, 0..buf.len());
    let d = decode(buf.as_slice()).unwrap();
    (buf, d)
}

/// Computed by hand from RFC 791 and RFC 768.
#[test]
fn an_ipv4_datagram_byte_by_byte() {
    let (frame, _) = written(&v4(), b"abc");
    let expected = [
        0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, // Ethernet
        0x45, 0xb8, 0x00, 0x1f, 0x12, 0x34, 0x00, 0x00, 0x40, 0x11, 0xe3, 0xde, // IPv4
        192, 0, 2, 1, 192, 0, 2, 2, //
        0x13, 0xc5, 0x13, 0xc4, 0x00, 0x0b, 0x8f, 0xe8, // UDP
        b'a', b'b', b'c',
    ];
    assert_eq!(frame, expected);
}

#[test]
fn an_ipv6_datagram_with_two_tags_byte_by_byte() {
    let vlans = VlanTags::two(VlanTag { tpid: 0x88a8, tci: 0xa007 }, VlanTag::customer(100));
    let (frame, _) = written(&Headers { vlans, ..v6() }, b"");
    assert_eq!(frame.len(), MAX_HEADERS_LEN);
    assert_eq!(frame[12..22], [0x88, 0xa8, 0xa0, 0x07, 0x81, 0x00, 0x00, 0x64, 0x86, 0xdd]);
    assert_eq!(frame[22..30], [0x6b, 0x80, 0x00, 0x00, 0x00, 0x08, 17, 64]);
    assert_eq!(frame[62..68], [0x13, 0xc5, 0x13, 0xc4, 0x00, 0x08]);
}

#[test]
fn the_length_is_said_before() {
    assert_eq!(v4().len(), 42);
    assert_eq!(Headers { vlans: VlanTags::one(VlanTag::customer(1)), ..v4() }.len(), 46);
    assert_eq!(v6().len(), 62);
}

#[test]
fn only_the_room_before_the_payload_is_written() {
    let headers = v4();
    let mut buf = vec![0xee; 200];
    let frame = headers.write(&mut buf, 100..150).unwrap();
    assert_eq!(frame, 58..150);
    assert!(buf[..58].iter().chain(&buf[100..]).all(|&byte| byte == 0xee));
    assert!(decode(&buf[frame]).is_ok());
}

#[test]
fn what_does_not_fit_is_named_and_leaves_the_buffer_alone() {
    let mixed = Headers { dst: v6().dst, ..v4() };
    let long_v4 = 42..42 + 65_508;
    let long_v6 = 62..62 + 65_528;
    let reversed = std::ops::Range { start: 100, end: 90 };
    let cases = [
        (v4(), 41..100, WriteError::NoRoom),
        (v6(), 61..100, WriteError::NoRoom),
        (v4(), 0..0, WriteError::NoRoom),
        (v4(), 42..70_001, WriteError::OutOfBuffer),
        (v4(), reversed, WriteError::OutOfBuffer),
        (v4(), long_v4, WriteError::TooLong),
        (v6(), long_v6, WriteError::TooLong),
        (mixed, 100..120, WriteError::MixedVersions),
    ];
    for (headers, payload, error) in cases {
        let mut buf = vec![0xee; 70_000];
        assert_eq!(headers.write(&mut buf, payload.clone()), Err(error), "{payload:?}");
        assert!(buf.iter().all(|&byte| byte == 0xee), "{payload:?} wrote");
    }
}

/// RFC 768: zero means "none", so a sum of zero goes out as all ones. The payload is chosen so that the
/// sum of everything else comes out at zero.
#[test]
fn a_zero_sum_is_sent_as_all_ones() {
    for headers in [v4(), v6()] {
        let (frame, d) = written(&headers, &[0, 0]);
        let sum_without = u16::from_be_bytes([frame[d.l4 + 6], frame[d.l4 + 7]]);
        let (frame, d) = written(&headers, &sum_without.to_be_bytes());
        assert_eq!(frame[d.l4 + 6..d.l4 + 8], [0xff, 0xff]);
        assert_eq!(udp_checksum_state(&frame, &d), ChecksumState::Valid);
    }
}

#[test]
fn no_checksum_is_legal_with_ipv4_alone() {
    let state = |headers: Headers| {
        let (mut frame, d) = written(&headers, b"abc");
        frame[d.l4 + 6..d.l4 + 8].fill(0);
        udp_checksum_state(&frame, &d)
    };
    assert_eq!(state(v4()), ChecksumState::Absent);
    assert_eq!(state(v6()), ChecksumState::Bad);
}

/// What a veth peer delivers: the folded sum of the pseudo-header, not complemented.
#[test]
fn a_partial_checksum_is_known() {
    // 192.0.2.1 + 192.0.2.2 + 17 + 11 = c000 + 0201 + c000 + 0202 + 0011 + 000b = 1_841f -> 8420
    let (mut frame, d) = written(&v4(), b"abc");
    frame[d.l4 + 6..d.l4 + 8].copy_from_slice(&[0x84, 0x20]);
    assert_eq!(udp_checksum_state(&frame, &d), ChecksumState::Partial);
    frame[d.l4 + 7] ^= 1;
    assert_eq!(udp_checksum_state(&frame, &d), ChecksumState::Bad);
    // 2001 + 0db8 + 0001 + 2001 + 0db8 + 0002 + 0011 + 000b = 5b91
    let (mut frame, d) = written(&v6(), b"abc");
    frame[d.l4 + 6..d.l4 + 8].copy_from_slice(&[0x5b, 0x91]);
    assert_eq!(udp_checksum_state(&frame, &d), ChecksumState::Partial);
}

#[test]
fn a_datagram_of_another_frame_is_bad() {
    let (frame, d) = written(&v4(), &[b'x'; 300]);
    assert_eq!(udp_checksum_state(&frame[..200], &d), ChecksumState::Bad);
    assert!(!ipv4_header_valid(&frame[..20], &d));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_written_reads_back(
        is_v6 in any::<bool>(),
        octets in any::<([u8; 16], [u8; 16])>(),
        ports in any::<(u16, u16)>(),
        (ttl, tos, ident) in any::<(u8, u8, u16)>(),
        tci in proptest::collection::vec(any::<u16>(), 0..=2),
        payload in proptest::collection::vec(any::<u8>(), 0..1_500),
    ) {
        let address = |octets: [u8; 16]| -> std::net::IpAddr {
            if is_v6 { octets.into() } else { [octets[0], octets[1], octets[2], octets[3]].into() }
        };
        let vlans = match tci[..] {
            [] => VlanTags::NONE,
            [tci] => VlanTags::one(VlanTag { tpid: 0x8100, tci }),
            _ => VlanTags::two(VlanTag { tpid: 0x88a8, tci: tci[0] }, VlanTag { tpid: 0x8100, tci: tci[1] }),
        };
        let headers = Headers {
            src_mac: MacAddr([2, 1, 2, 3, 4, 5]),
            dst_mac: MacAddr([4, 5, 6, 7, 8, 9]),
            vlans,
            src: SocketAddr::new(address(octets.0), ports.0),
            dst: SocketAddr::new(address(octets.1), ports.1),
            ttl,
            tos,
            ident,
        };
        let (frame, d) = written(&headers, &payload);
        prop_assert_eq!((d.source(), d.destination()), (headers.src, headers.dst));
        prop_assert_eq!((d.src_mac, d.dst_mac, d.vlans), (headers.src_mac, headers.dst_mac, vlans));
        prop_assert_eq!(&frame[d.payload_range()], &payload[..]);
        prop_assert_eq!(udp_checksum_state(&frame, &d), ChecksumState::Valid);
        prop_assert!(ipv4_header_valid(&frame, &d));
        if !is_v6 {
            prop_assert_eq!(&frame[d.l3 + 4..d.l3 + 9], &[(ident >> 8) as u8, ident as u8, 0, 0, ttl][..]);
        }
    }

    /// Ones' complement finds every single flipped bit; a flip of the checksum field itself may make it
    /// zero or partial, so those two bytes are left out.
    #[test]
    fn one_flipped_bit_is_found(
        is_v6 in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 1..1_500),
        at in any::<prop::sample::Index>(),
        bit in 0u32..8,
    ) {
        let (mut frame, d) = written(&if is_v6 { v6() } else { v4() }, &payload);
        let at = d.payload + at.index(payload.len());
        frame[at] ^= 1 << bit;
        prop_assert_eq!(udp_checksum_state(&frame, &d), ChecksumState::Bad);
    }

    #[test]
    fn one_flipped_bit_of_the_ipv4_header_is_found(at in 14usize..34, bit in 0u32..8) {
        let (mut frame, d) = written(&v4(), b"abc");
        frame[at] ^= 1 << bit;
        prop_assert!(!ipv4_header_valid(&frame, &d));
    }
}
