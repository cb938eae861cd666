//! STUN answered by the program (BPF_PROG_TEST_RUN): byte by byte what the engine answers, in headers that hold. Needs
//! root as `verdicts.rs` does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(missing_docs)]

mod packet;
mod served;
mod skip;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use packet::{CUSTOMER, Packet, SERVICE, to};
use served::{Dice, Served, XDP_TX};
use strowger_engine::stun;
use strowger_wire::{ChecksumState, decode, ipv4_header_valid, udp_checksum_state};
use strowger_xdp::Counter::*;
use strowger_xdp::{Budgets, LoadOptions, Policing};

const V4: &str = "10.77.0.2:5060";
const V6: &str = "[fd77::2]:5060";

fn served() -> Option<Served> {
    let policing = Policing { answer_stun: true, ..Policing::default() };
    Served::new(&[V4, V6], &LoadOptions { policing, ..LoadOptions::default() })
}

fn request(transaction: [u8; 12]) -> Vec<u8> {
    [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &transaction].concat()
}

fn from(source: SocketAddr) -> Packet {
    to(if source.is_ipv4() { V4 } else { V6 }).from(source).payload(request(*b"transaction!"))
}

/// Sends `packet`, which asks `request`, and holds the answer against the engine's.
#[track_caller]
fn answered(served: &Served, packet: &Packet, request: &[u8]) {
    let asked = packet.bytes();
    let question = decode(asked.as_slice()).unwrap();
    let before = served.program.counters().unwrap()[AnswerStun as usize];
    let run = served.program.test_run(&asked, 1, None).unwrap();
    assert_eq!(run.action, XDP_TX);
    assert_eq!(served.program.counters().unwrap()[AnswerStun as usize], before + 1);

    let answer = decode(run.packet.as_slice()).unwrap();
    let mut buffer = [0; stun::LONGEST];
    let expected = stun::answer(request, question.source(), &mut buffer).unwrap();
    assert_eq!(&run.packet[answer.payload_range()], expected);
    assert_eq!(run.packet.len(), answer.payload_range().end, "nothing behind the answer");
    assert_eq!((answer.dst_mac, answer.src_mac), (question.src_mac, question.dst_mac));
    assert_eq!(answer.vlans, question.vlans);
    assert_eq!((answer.source(), answer.destination()), (question.destination(), question.source()));
    assert!(ipv4_header_valid(&run.packet, &answer));
    assert_eq!(udp_checksum_state(&run.packet, &answer), ChecksumState::Valid);
    let hop_limit = if question.source().is_ipv4() { 8 } else { 7 };
    assert_eq!(run.packet[answer.l3 + hop_limit], 64);
}

#[test]
fn the_answer_is_the_engines() {
    let Some(served) = served() else { return };
    let mut dice = Dice(8489);
    for round in 0..2_000 {
        let mut bytes = || std::array::from_fn(|_| dice.throw(256) as u8);
        let transaction: [u8; 12] = bytes();
        let tail: [u8; 12] = bytes();
        let port = u16::from_be_bytes([tail[0], tail[1]]).max(1);
        let ip = if round % 2 == 0 {
            IpAddr::from(Ipv4Addr::new(10, tail[2], tail[3], tail[4]))
        } else {
            let [a, b] = [u16::from(tail[2]) << 8 | 1, u16::from(tail[3]) << 8 | u16::from(tail[4])];
            IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, a, b, 0, u16::from(tail[5]), a, b))
        };
        let request = request(transaction);
        let packet = from(SocketAddr::new(ip, port)).payload(request.clone());
        let packet = match round % 3 {
            0 => packet,
            1 => packet.tag(CUSTOMER),
            _ => packet.tag(SERVICE).tag(CUSTOMER),
        };
        answered(&served, &packet, &request);
    }
}

/// Whatever isn't the plain request is left to the engine, with not a byte changed.
#[test]
fn the_rest_is_the_engines() {
    let Some(served) = served() else { return };
    let plain = request(*b"transaction!");
    let with = |at: usize, byte: u8| {
        let mut request = plain.clone();
        request[at] = byte;
        request
    };
    let software = [&with(3, 8)[..], &[0x80, 0x22, 0, 4, b't', b'e', b's', b't']].concat();
    for (name, payload) in [
        ("an indication", with(1, 0x11)),
        ("a response", with(0, 1)),
        ("another method", with(1, 3)),
        ("a length that lies", with(3, 4)),
        ("no cookie", with(4, 0x22)),
        ("an attribute", software),
        ("a byte too many", [&plain[..], &[0]].concat()),
        ("a byte too few", plain[..19].to_vec()),
        ("SIP", b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec()),
    ] {
        for listener in [V4, V6] {
            let packet = to(listener).payload(payload.clone());
            assert_eq!(served.verdict(name, &packet.bytes()), Redirect, "{name}");
        }
    }
    for source in ["10.77.0.1:0", "[fd77::1]:0"] {
        let packet = from(source.parse().unwrap());
        assert_eq!(served.verdict(source, &packet.bytes()), Redirect, "{source}");
    }
    // No host has these: not even the engine is asked.
    for source in
        ["0.0.0.0:9", "127.0.0.1:9", "224.0.0.5:9", "255.255.255.255:9", "[ff02::1]:9", "[::1]:9", "[::]:9"]
    {
        let packet = from(source.parse().unwrap());
        assert_eq!(served.verdict(source, &packet.bytes()), PassMartian, "{source}");
    }
    let padded = from("10.77.0.1:9".parse().unwrap()).padding(1);
    assert_eq!(served.verdict("padding", &padded.bytes()), Redirect);
}

/// The engine doesn't live: neither does the answer.
#[test]
fn nobody_answers_for_a_stuck_worker() {
    let Some(served) = served() else { return };
    let packet = from("10.77.0.1:9".parse().unwrap());
    served.hearts[0].beat(0);
    assert_eq!(served.verdict("no worker", &packet.bytes()), PassNoHeartbeat);
    served.revive(0);
    answered(&served, &packet, &request(*b"transaction!"));
}

#[test]
fn it_is_opt_in_and_charged() {
    let packet = from("10.77.0.1:9".parse().unwrap());
    let Some(silent) = Served::new(&[V4], &LoadOptions::default()) else { return };
    assert_eq!(silent.verdict("not asked for", &packet.bytes()), Redirect);

    let budgets =
        Budgets { unknown_pps: 1, known_pps: 1, burst: 3, strangers_pps: 0, room: 64, known_room: 64 };
    let policing = Policing { answer_stun: true, budgets: Some(budgets), ..Policing::default() };
    let Some(served) = Served::new(&[V4], &LoadOptions { policing, ..LoadOptions::default() }) else {
        return;
    };
    for _ in 0..3 {
        answered(&served, &packet, &request(*b"transaction!"));
    }
    assert_eq!(served.verdict("the fourth", &packet.bytes()), DropUnknownRate);
}
