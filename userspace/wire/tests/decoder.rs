//! The decoder against a naive oracle, and its verdict at every boundary of length.
//!
//! The oracle below walks the frame the slow and obvious way, with its own literals; it shares no code
//! with the crate but the types of the answer.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use strowger_wire::{
    Address, Datagram, Endpoint, Headers, IpVersion, MacAddr, Reject, VlanTag, VlanTags, decode, decode_for,
};

const PAYLOAD: &[u8] = b"OPTIONS sip:a@example.net SIP/2.0\r\n\r\n";

fn headers(v6: bool, vlans: VlanTags) -> Headers {
    let (src, dst) =
        if v6 { ("[2001:db8::1]:5061", "[2001:db8::2]:5060") } else { ("192.0.2.1:5061", "192.0.2.2:5060") };
    Headers {
        src_mac: MacAddr([2, 0, 0, 0, 0, 1]),
        dst_mac: MacAddr([2, 0, 0, 0, 0, 2]),
        vlans,
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        ttl: 64,
        tos: 0,
        ident: 7,
    }
}

fn frame(v6: bool, vlans: VlanTags, payload: &[u8]) -> Vec<u8> {
    let headers = headers(v6, vlans);
    let start = headers.len();
    let mut buf = vec![0; start];
    buf.extend_from_slice(payload);
    let end = buf.len();
    headers.write(&mut buf, start..end).unwrap();
    buf
}

fn tags(count: usize) -> VlanTags {
    match count {
        0 => VlanTags::NONE,
        1 => VlanTags::one(VlanTag::customer(100)),
        _ => VlanTags::two(VlanTag::service(7), VlanTag::customer(100)),
    }
}

fn be16(frame: &[u8], at: usize) -> usize {
    usize::from(frame[at]) * 256 + usize::from(frame[at + 1])
}

/// `port`: the only one that is asked for.
fn oracle(frame: &[u8], port: Option<u16>) -> Result<Datagram, Reject> {
    if frame.len() < 14 {
        return Err(Reject::TruncatedEthernet);
    }
    if frame[0] % 2 == 1 {
        return Err(Reject::GroupAddressed);
    }
    let mut l3 = 14;
    let mut found = Vec::new();
    while matches!(be16(frame, l3 - 2), 0x8100 | 0x88a8) {
        if found.len() == 2 {
            return Err(Reject::VlanDepth);
        }
        if frame.len() < l3 + 4 {
            return Err(Reject::TruncatedVlan);
        }
        found.push(VlanTag { tpid: be16(frame, l3 - 2) as u16, tci: be16(frame, l3) as u16 });
        l3 += 4;
    }
    let vlans = match found[..] {
        [] => VlanTags::NONE,
        [tag] => VlanTags::one(tag),
        _ => VlanTags::two(found[0], found[1]),
    };

    let (version, header_len) = match be16(frame, l3 - 2) {
        0x0800 => (IpVersion::V4, 20),
        0x86dd => (IpVersion::V6, 40),
        _ => return Err(Reject::NotIp),
    };
    if frame.len() < l3 + header_len {
        return Err(Reject::TruncatedIp);
    }
    let (nibble, ihl) = (frame[l3] / 16, frame[l3] % 16);
    let protocol;
    let rest: isize;
    let (mut src, mut dst) = ([0; 16], [0; 16]);
    match version {
        IpVersion::V4 => {
            if nibble != 4 || ihl < 5 {
                return Err(Reject::IpHeader);
            }
            if ihl > 5 {
                return Err(Reject::IpOptions);
            }
            let (more, offset) = (frame[l3 + 6] & 0x20 != 0, be16(frame, l3 + 6) % 8192);
            if more || offset > 0 {
                return Err(Reject::Fragment);
            }
            protocol = frame[l3 + 9];
            rest = be16(frame, l3 + 2) as isize - 20;
            src[10..12].fill(0xff);
            dst[10..12].fill(0xff);
            src[12..].copy_from_slice(&frame[l3 + 12..l3 + 16]);
            dst[12..].copy_from_slice(&frame[l3 + 16..l3 + 20]);
        }
        IpVersion::V6 => {
            if nibble != 6 {
                return Err(Reject::IpHeader);
            }
            protocol = frame[l3 + 6];
            if protocol == 44 {
                return Err(Reject::Fragment);
            }
            if [0, 43, 50, 51, 60, 135, 139, 140, 253, 254].contains(&protocol) {
                return Err(Reject::Ipv6Extension);
            }
            rest = be16(frame, l3 + 4) as isize;
            src.copy_from_slice(&frame[l3 + 8..l3 + 24]);
            dst.copy_from_slice(&frame[l3 + 24..l3 + 40]);
        }
    }
    if protocol != 17 {
        return Err(Reject::NotUdp);
    }
    let l4 = l3 + header_len;
    if frame.len() < l4 + 8 {
        return Err(Reject::TruncatedUdp);
    }
    if port.is_some_and(|port| be16(frame, l4 + 2) != usize::from(port)) {
        return Err(Reject::OtherPort);
    }
    if rest < 0 {
        return Err(Reject::IpLength);
    }
    if rest < 8 {
        return Err(Reject::TruncatedUdp);
    }
    if frame.len() < l4 + rest as usize {
        return Err(Reject::IpLength);
    }
    if be16(frame, l4 + 4) != rest as usize {
        return Err(Reject::UdpLength);
    }
    Ok(Datagram {
        dst_mac: MacAddr(frame[..6].try_into().unwrap()),
        src_mac: MacAddr(frame[6..12].try_into().unwrap()),
        vlans,
        version,
        l3,
        l4,
        payload: l4 + 8,
        payload_len: rest as usize - 8,
        src: Endpoint { address: Address::v6(src), port: be16(frame, l4) as u16 },
        dst: Endpoint { address: Address::v6(dst), port: be16(frame, l4 + 2) as u16 },
    })
}

#[test]
fn a_plain_datagram_is_found_whatever_its_version_and_tags() {
    for (v6, ip_len) in [(false, 20), (true, 40)] {
        for count in 0..=2 {
            let frame = frame(v6, tags(count), PAYLOAD);
            let d = decode(frame.as_slice()).unwrap();
            let h = headers(v6, tags(count));
            assert_eq!(d.l3, 14 + 4 * count);
            assert_eq!(d.l4, d.l3 + ip_len);
            assert_eq!(d.payload, d.l4 + 8);
            assert_eq!(&frame[d.payload_range()], PAYLOAD);
            assert_eq!((d.source(), d.destination()), (h.src, h.dst));
            assert_eq!((d.src_mac, d.dst_mac, d.vlans), (h.src_mac, h.dst_mac, h.vlans));
        }
    }
}

/// Cut after every byte: the reason names the layer in which the frame ends.
#[test]
fn a_cut_is_named_by_the_layer_it_falls_into() {
    for (v6, ip_len) in [(false, 20), (true, 40)] {
        for count in 0..=2 {
            let whole = frame(v6, tags(count), PAYLOAD);
            let l3 = 14 + 4 * count;
            for len in 0..whole.len() {
                let expected = match len {
                    0..14 => Reject::TruncatedEthernet,
                    _ if len < l3 => Reject::TruncatedVlan,
                    _ if len < l3 + ip_len => Reject::TruncatedIp,
                    _ if len < l3 + ip_len + 8 => Reject::TruncatedUdp,
                    _ => Reject::IpLength,
                };
                assert_eq!(decode(&whole[..len]), Err(expected), "v6 {v6}, {count} tags, {len} bytes");
            }
            assert!(decode(whole.as_slice()).is_ok());
        }
    }
}

#[test]
fn padding_after_the_ip_packet_is_not_payload() {
    for payload in [&b""[..], b"\r\n\r\n"] {
        let mut frame = frame(false, VlanTags::NONE, payload);
        frame.resize(60, 0xaa);
        let d = decode(frame.as_slice()).unwrap();
        assert_eq!(&frame[d.payload_range()], payload);
    }
}

/// Every value of each length field around the true one, and the extremes.
#[test]
fn lengths_must_agree() {
    let udp_len = 8 + PAYLOAD.len();
    for (v6, field, true_value) in [(false, 16, 20 + udp_len), (true, 18, udp_len)] {
        let overhead = true_value - udp_len;
        for value in (0..=true_value + 20).chain([0x7fff, 0x8000, 0xffff]) {
            let mut frame = frame(v6, VlanTags::NONE, PAYLOAD);
            frame[field..field + 2].copy_from_slice(&(value as u16).to_be_bytes());
            let expected = match value {
                _ if value < overhead => Err(Reject::IpLength),
                _ if value < overhead + 8 => Err(Reject::TruncatedUdp),
                _ if value > true_value => Err(Reject::IpLength),
                _ if value < true_value => Err(Reject::UdpLength),
                _ => Ok(PAYLOAD.len()),
            };
            assert_eq!(decode(frame.as_slice()).map(|d| d.payload_len), expected, "IP, v6 {v6}, {value}");
        }
    }
    for (v6, l4) in [(false, 34), (true, 54)] {
        for value in (0..=udp_len + 20).chain([0x7fff, 0x8000, 0xffff]) {
            let mut frame = frame(v6, VlanTags::NONE, PAYLOAD);
            frame[l4 + 4..l4 + 6].copy_from_slice(&(value as u16).to_be_bytes());
            let expected = if value == udp_len { Ok(PAYLOAD.len()) } else { Err(Reject::UdpLength) };
            assert_eq!(decode(frame.as_slice()).map(|d| d.payload_len), expected, "UDP, v6 {v6}, {value}");
        }
    }
}

#[test]
fn the_longest_datagrams_are_found() {
    for (v6, longest) in [(false, 65_507), (true, 65_527)] {
        let frame = frame(v6, tags(2), &vec![b'x'; longest]);
        assert_eq!(decode(frame.as_slice()).unwrap().payload_len, longest);
    }
}

/// A bit of a header that turns a plain datagram into something else, and what it is called then.
#[test]
fn what_is_not_plain_is_named() {
    let set = |v6: bool, at: usize, value: u8| {
        let mut frame = frame(v6, VlanTags::NONE, PAYLOAD);
        frame[at] = value;
        decode(frame.as_slice()).map(|_| ())
    };
    assert_eq!(set(false, 0, 0x01), Err(Reject::GroupAddressed), "multicast");
    assert_eq!(set(false, 0, 0xff), Err(Reject::GroupAddressed), "broadcast");
    assert_eq!(set(false, 13, 0x06), Err(Reject::NotIp), "ARP");
    assert_eq!(set(false, 14, 0x65), Err(Reject::IpHeader), "version 6 in IPv4");
    assert_eq!(set(false, 14, 0x44), Err(Reject::IpHeader), "IHL 4");
    assert_eq!(set(false, 14, 0x46), Err(Reject::IpOptions), "IHL 6");
    assert_eq!(set(false, 14, 0x4f), Err(Reject::IpOptions), "IHL 15");
    assert_eq!(set(false, 20, 0x20), Err(Reject::Fragment), "more fragments");
    assert_eq!(set(false, 21, 0x01), Err(Reject::Fragment), "offset 8");
    assert_eq!(set(false, 20, 0x10), Err(Reject::Fragment), "offset 32,768");
    assert_eq!(set(false, 20, 0x40), Ok(()), "don't fragment");
    assert_eq!(set(false, 20, 0x80), Ok(()), "the reserved bit, which receivers ignore");
    assert_eq!(set(false, 23, 6), Err(Reject::NotUdp), "TCP");
    assert_eq!(set(true, 14, 0x40), Err(Reject::IpHeader), "version 4 in IPv6");
    assert_eq!(set(true, 20, 44), Err(Reject::Fragment), "fragment header");
    assert_eq!(set(true, 20, 0), Err(Reject::Ipv6Extension), "hop-by-hop");
    assert_eq!(set(true, 20, 58), Err(Reject::NotUdp), "ICMPv6");
    assert_eq!(set(true, 20, 59), Err(Reject::NotUdp), "no next header");
}

/// All 256 protocol numbers, which the random frames below hardly ever hit.
#[test]
fn every_protocol_is_judged_as_by_the_oracle() {
    for (v6, at) in [(false, 23), (true, 20)] {
        for protocol in 0..=255 {
            let mut frame = frame(v6, VlanTags::NONE, PAYLOAD);
            frame[at] = protocol;
            assert_eq!(decode(frame.as_slice()), oracle(&frame, None), "v6 {v6}, protocol {protocol}");
        }
    }
}

#[test]
fn reasons_are_numbered_as_they_are_listed() {
    for (index, reason) in Reject::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index);
    }
}

/// A plain frame with up to four bytes of its headers changed, the interesting values preferred, and
/// perhaps cut or padded.
fn damaged_frame() -> impl Strategy<Value = Vec<u8>> {
    let interesting = prop_oneof![
        Just(0u8),
        Just(4),
        Just(5),
        Just(6),
        Just(8),
        Just(17),
        Just(44),
        Just(0x20),
        Just(0x45),
        Just(0x46),
        Just(0x60),
        Just(0x81),
        Just(0x86),
        Just(0x88),
        Just(0xa8),
        Just(0xdd),
        Just(0xff),
        any::<u8>(),
    ];
    let changes = proptest::collection::vec((0usize..70, interesting), 0..4);
    let payload = proptest::collection::vec(any::<u8>(), 0..80);
    (any::<bool>(), 0usize..=2, payload, changes, 0usize..200, any::<bool>()).prop_map(
        |(v6, count, payload, changes, len, resize)| {
            let mut frame = frame(v6, tags(count), &payload);
            for (at, value) in changes {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            if resize {
                frame.resize(len, 0);
            }
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_verdict_is_the_oracles(frame in damaged_frame()) {
        prop_assert_eq!(decode(frame.as_slice()), oracle(&frame, None));
        for port in [5060, 5061] {
            prop_assert_eq!(decode_for(frame.as_slice(), |asked| asked == port), oracle(&frame, Some(port)));
        }
    }

    #[test]
    fn any_bytes_are_survived(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(decode(frame.as_slice()), oracle(&frame, None));
        for port in [5060, 5061] {
            prop_assert_eq!(decode_for(frame.as_slice(), |asked| asked == port), oracle(&frame, Some(port)));
        }
    }
}
