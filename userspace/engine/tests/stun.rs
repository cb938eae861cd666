//! STUN keep-alives on the SIP port (RFC 5626 section 8), through the engine's face.

mod authentic;
mod pair;

use authentic::{closed, pair_with, signed};
use pair::{ALICE, BOB, Out, Pair, US, config, register};
use strowger_engine::{Config, Event, Reason};

const ID: &[u8; 12] = b"transaction1";

fn binding(kind: u16, attributes: &[u8]) -> Vec<u8> {
    let length = attributes.len() as u16;
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), &[0x21, 0x12, 0xa4, 0x42], ID, attributes].concat()
}

/// The answer, which is one.
#[track_caller]
fn answer(out: &Out, to: &str) -> Vec<u8> {
    let Out::Sent { local, remote, bytes } = out else { panic!("{out:?}") };
    assert_eq!((local.to_string(), remote.to_string()), (US.to_owned(), to.to_owned()));
    assert_eq!(
        (&bytes[..2], &bytes[4..8], &bytes[8..20]),
        (&[1, 1][..], &[0x21, 0x12, 0xa4, 0x42][..], &ID[..])
    );
    bytes.clone()
}

/// XOR-MAPPED-ADDRESS says where the request came from; the answer goes there, from where it was sent to.
#[test]
fn rfc_5626_8_a_binding_request_is_answered() {
    let mut pair = Pair::new(config());
    let bytes = answer(&pair.pass_to(BOB, US, &binding(1, &[])), BOB);
    // 10.77.0.12:5070
    let (port, ip) = (5070_u16 ^ 0x2112, 0x0a4d_000c_u32 ^ 0x2112_a442);
    assert_eq!(bytes[20..], [&[0, 32, 0, 8, 0, 1][..], &port.to_be_bytes(), &ip.to_be_bytes()].concat());
    let mut pair = Pair::new(Config {
        listen: vec![US.parse().unwrap(), "[2001:db8::2]:5060".parse().unwrap()],
        ..config()
    });
    match pair.pass_to("[2001:db8::7]:5062", "[2001:db8::2]:5060", &binding(1, &[])) {
        Out::Sent { bytes, local, .. } => assert_eq!((bytes.len(), local.port()), (44, 5060)),
        other => panic!("{other:?}"),
    }
    assert_eq!(pair.count(Event::StunAnswered), 1);
}

#[test]
fn what_is_stun_and_nothing_to_answer() {
    let mut pair = Pair::new(config());
    for (bytes, why) in [
        (binding(0x0011, &[]), Reason::KeepAlive),
        (binding(0x0101, &[]), Reason::Stun),
        (binding(0x0001, &[0, 6, 0, 9]), Reason::Stun),
        (binding(0x0001, &[])[..12].to_vec(), Reason::Stun),
        // No cookie: RFC 3489, which RFC 5626 section 8 does without.
        ([&[0, 1, 0, 0][..], &[7; 16]].concat(), Reason::NotSip),
    ] {
        assert_eq!(pair.pass_to(BOB, US, &bytes).dropped(), why, "{bytes:x?}");
    }
}

/// Who has not shown who he is gets no more octets than he sent; who has registered is answered at once.
#[test]
fn a_stranger_gets_no_more_than_he_sent() {
    let mut pair = pair_with(closed());
    let (mut received, mut sent) = (0, 0);
    for round in 0..50 {
        let request = binding(1, &[]);
        received += request.len();
        match pair.pass_to(BOB, US, &request) {
            Out::Sent { bytes, .. } => sent += bytes.len(),
            other => assert_eq!(other.dropped(), Reason::Withheld),
        }
        assert!(sent <= received, "round {round}: {sent} of {received}");
        assert!(round != 1 || sent == 32, "the first retransmission is answered");
    }
    assert!(sent + 32 > received);
    let text =
        register("bob", &format!("<sip:bob@{ALICE}>")).add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS");
    let text = signed(&mut pair, ALICE, &text, "bob");
    assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 200);
    for _ in 0..5 {
        answer(&pair.pass_to(ALICE, US, &binding(1, &[])), ALICE);
    }
}

/// STUN is charged to the budget of its source as anything else.
#[test]
fn a_flood_of_stun_is_cut() {
    let mut pair = Pair::new(Config { per_source_pps: 10, ..config() });
    let answered =
        (0..100).filter(|_| matches!(pair.pass_to(BOB, US, &binding(1, &[])), Out::Sent { .. })).count();
    assert_eq!((answered, pair.count(Event::DropBudget)), (10, 90));
}
