//! Envelopes against a naive oracle, and against the decoder: what is plain has the envelope that the decoder says.
//!
//! The oracle walks the frame the slow and obvious way, with its own literals; it shares no code with the crate but the
//! types of the answer.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(missing_docs)]

use proptest::prelude::*;
use strowger_wire::{Address, Envelope, IpVersion, Port, Reject, decode, envelope};

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

/// The port of the UDP header at `at`, all of which must be there.
fn port(frame: &[u8], at: usize) -> Option<Port> {
    frame.get(at..at + 8)?;
    be16(frame, at + 2).map(Port::of)
}

fn oracle(frame: &[u8]) -> Option<Envelope> {
    let mut l3 = 14;
    let mut tags = 0;
    while matches!(be16(frame, l3 - 2)?, 0x8100 | 0x88a8) {
        tags += 1;
        l3 += 4;
    }
    if tags > 2 {
        return None;
    }
    match be16(frame, l3 - 2)? {
        0x0800 => {
            let header = frame.get(l3..l3 + 20)?;
            let ihl = header[0] % 16;
            if header[0] / 16 != 4 || ihl < 5 || header[9] != 17 {
                return None;
            }
            let offset = be16(header, 6)? % 8192;
            let port = match offset {
                0 => port(frame, l3 + 4 * usize::from(ihl))?,
                _ => Port::OF_FIRST_FRAGMENT,
            };
            let address = |at: usize| Address::v4(header[at..at + 4].try_into().unwrap());
            Some(Envelope { version: IpVersion::V4, src: address(12), dst: address(16), port })
        }
        0x86dd => {
            let header = frame.get(l3..l3 + 40)?;
            if header[0] / 16 != 6 {
                return None;
            }
            let looked_behind = [0, 43, 44, 51, 60, 135, 139, 140, 253, 254];
            let port = match header[6] {
                17 => port(frame, l3 + 40)?,
                kind if looked_behind.contains(&kind) => {
                    let extension = frame.get(l3 + 40..l3 + 48)?;
                    let len = match kind {
                        44 => 8,
                        51 => (usize::from(extension[1]) + 2) * 4,
                        _ => (usize::from(extension[1]) + 1) * 8,
                    };
                    let offset = if kind == 44 { be16(extension, 2)? / 8 } else { 0 };
                    match extension[0] {
                        next if next != 17 && !looked_behind.contains(&next) => return None,
                        _ if offset > 0 => Port::OF_FIRST_FRAGMENT,
                        17 => port(frame, l3 + 40 + len)?,
                        _ => Port::HIDDEN,
                    }
                }
                _ => return None,
            };
            let address = |at: usize| Address::v6(header[at..at + 16].try_into().unwrap());
            Some(Envelope { version: IpVersion::V6, src: address(8), dst: address(24), port })
        }
        _ => None,
    }
}

/// A frame that is nearly one, of any length: each byte that matters is one of those that do, or any.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let kind = || prop_oneof![3 => Just(17_u8), 4 => proptest::sample::select(vec![0, 6, 43, 44, 50, 51, 58, 60, 135, 254]), 1 => any::<u8>()];
    let ip = (
        any::<bool>(),
        0..4_usize,
        any::<[u8; 300]>(),
        kind(),
        kind(),
        prop_oneof![Just(0_u16), any::<u16>()],
    );
    (ip, prop_oneof![Just(5_u8), 0..16_u8], prop_oneof![3 => 0..4_u8, 1 => any::<u8>()], 0..400_usize)
        .prop_map(|((v6, tags, noise, next, behind, offset), ihl, units, len)| {
            let mut frame = vec![2; 12];
            for _ in 0..tags {
                frame.extend([0x81, 0, 0, 7]);
            }
            frame.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0] });
            let l3 = frame.len();
            frame.extend(noise);
            frame[l3] = if v6 { 0x60 } else { 0x40 | ihl };
            if v6 {
                frame[l3 + 6] = next;
                frame[l3 + 40..l3 + 42].copy_from_slice(&[behind, units]);
                frame[l3 + 42..l3 + 44].copy_from_slice(&offset.to_be_bytes());
            } else {
                frame[l3 + 9] = next;
                frame[l3 + 6..l3 + 8].copy_from_slice(&offset.to_be_bytes());
            }
            frame.truncate(len);
            frame
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_envelope_is_that_of_the_oracle(frame in frames()) {
        prop_assert_eq!(envelope(&frame[..]), oracle(&frame));
    }

    #[test]
    fn any_bytes_at_all_are_survived(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(envelope(&frame[..]), oracle(&frame));
    }

    /// What the decoder finds or calls a bad UDP length has an envelope, which says the same; what isn't UDP has none.
    #[test]
    fn decoder_and_envelope_agree(mut frame in frames(), length in 0..300_u16) {
        // Lengths that agree more often than not.
        let l3 = (12..frame.len().saturating_sub(60)).find(|at| matches!(frame[*at..], [0x08, 0, ..] | [0x86, 0xdd, ..]));
        if let Some(l3) = l3.map(|at| at + 2) {
            let (ip, field, header) = if frame[l3] >> 4 == 6 { (length, 4, 40) } else { (length + 20, 2, 20) };
            frame[l3 + field..l3 + field + 2].copy_from_slice(&ip.to_be_bytes());
            frame[l3 + header + 4..l3 + header + 6].copy_from_slice(&length.to_be_bytes());
        }
        if let Some(first) = frame.first_mut() {
            *first = 2;
        }
        match decode(&frame[..]) {
            Ok(d) => {
                let expected = Envelope { version: d.version, src: d.src.address, dst: d.dst.address, port: Port::of(d.dst.port) };
                prop_assert_eq!(envelope(&frame[..]), Some(expected));
            }
            Err(Reject::UdpLength) => {
                let has_a_port = envelope(&frame[..]).is_some_and(|found| found.port.number().is_some());
                prop_assert!(has_a_port);
            }
            Err(Reject::NotUdp | Reject::NotIp | Reject::VlanDepth | Reject::TruncatedIp) => {
                prop_assert_eq!(envelope(&frame[..]), None);
            }
            Err(_) => {}
        }
    }
}

/// What the kernel may serve is what its four reasons say, and nothing that it drops itself or leaves to others.
#[test]
fn four_rejects_may_be_served() {
    let served: Vec<_> = Reject::ALL.into_iter().filter(|reject| reject.may_be_served()).collect();
    assert_eq!(served, [Reject::IpOptions, Reject::Fragment, Reject::Ipv6Extension, Reject::UdpLength]);
}
