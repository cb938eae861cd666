//! First bytes: each kind by example, and against a byte-by-byte reading.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use strowger_wire::Opening::{KeepAlive, Other, Sip, Stun};
use strowger_wire::{Opening, opening};

fn kind(payload: &[u8]) -> Opening {
    let bare = opening(payload, 0, payload.len());
    let mut framed = vec![b'S'; 42];
    framed.extend_from_slice(payload);
    framed.extend_from_slice(b"padding");
    assert_eq!(opening(framed.as_slice(), 42, payload.len()), bare, "{}", payload.escape_ascii());
    bare
}

fn oracle(payload: &[u8]) -> Opening {
    if payload.len() <= 8 {
        return if payload.iter().all(|b| b"\r\n\0".contains(b)) { KeepAlive } else { Other };
    }
    if payload[..8] == [0; 8] {
        return KeepAlive;
    }
    if payload[0] < 4 {
        let stun = payload.len() >= 20 && payload[4..8] == [0x21, 0x12, 0xa4, 0x42];
        return if stun { Stun } else { Other };
    }
    if matches!(payload[0], b'\r' | b'\n') || payload[..8].eq_ignore_ascii_case(b"SIP/2.0 ") {
        return Sip;
    }
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    if !token(payload[0]) {
        return Other;
    }
    for byte in &payload[..8] {
        match byte {
            b' ' => return Sip,
            0..b' ' | 0x80.. => return Other,
            _ => {}
        }
    }
    Sip
}

#[test]
fn each_kind() {
    let long = [b"INVITE sip:".to_vec(), vec![b'x'; 3_000], b" SIP/2.0\r\n\r\n".to_vec()].concat();
    let stun = *b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";
    let rows: [(&[u8], Opening); 31] = [
        (b"INVITE sip:a SIP/2.0\r\n", Sip),
        (&long, Sip),
        (b"SUBSCRIBE sip:a SIP/2.0\r\n", Sip),
        (b"A-VERY-LONG-METHOD-THAT-NOBODY-KNOWS sip:a SIP/2.0\r\n", Sip),
        (b"X sip:a SIP/2.0\r\n", Sip),
        (b"!interesting-Method0123456789_*+`.%indeed'~ sip:a SIP/2.0\r\n", Sip),
        (b"SIP/2.0 200 OK\r\n", Sip),
        (b"sip/2.0 200 OK\r\n", Sip),
        (b"\r\n\r\nINVITE sip:a SIP/2.0\r\n", Sip),
        (b"GET / HTTP/1.1\r\n", Sip),
        (b"", KeepAlive),
        (b"\r\n", KeepAlive),
        (b"\r\n\r\n", KeepAlive),
        (b"\0", KeepAlive),
        (b"\0\0\0\0", KeepAlive),
        (b"\r\n\r\n\r\n\r\n", KeepAlive),
        (&[0; 64], KeepAlive),
        (&stun, Stun),
        (&stun[..19], Other),
        (b"INVITE s", Other),
        (b"jaK\0", Other),
        (b"x", Other),
        (b" INVITE sip:a SIP/2.0\r\n", Other),
        (b"INV\x01TE sip:a SIP/2.0\r\n", Other),
        (b"INV\xffTE sip:a SIP/2.0\r\n", Other),
        (b"INVITE\tsip:a SIP/2.0\r\n", Other),
        (b"INVITE\r\nFrom: x\r\n", Other),
        (b"<34>1 2003-10-11T22:14:15.003Z syslog", Other),
        (b"\x80\x00\x12\x34\x00\x00\x00\xa0\x00\x00\x00\x01rtp", Other),
        (b"\x23\x02\x06\xe8\x00\x00\x00\x00\x00\x00\x00\x00ntp", Other),
        (b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00dtls", Other),
    ];
    for (payload, expected) in rows {
        assert_eq!(kind(payload), expected, "{}", payload.escape_ascii());
        assert_eq!(oracle(payload), expected, "the oracle: {}", payload.escape_ascii());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_bytes_agree(
        bytes in prop::collection::vec(
            prop_oneof![
                any::<u8>(),
                prop::sample::select(b"\r\n\0 \tSIP/2.0aZ!~\x7f\x80\x1f\x21\x20".to_vec()),
            ],
            0..24,
        ),
    ) {
        prop_assert_eq!(kind(&bytes), oracle(&bytes));
    }

    #[test]
    fn changed_beginnings_agree(
        begin in prop::sample::select(vec![
            &b"INVITE sip:a SIP/2.0"[..],
            b"SIP/2.0 200 OK and more",
            b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl",
            b"ABCDEFGH sip:a",
        ]),
        at in 0_usize..10,
        byte in any::<u8>(),
    ) {
        let mut bytes = begin.to_vec();
        bytes[at] = byte;
        prop_assert_eq!(kind(&bytes), oracle(&bytes));
    }
}
