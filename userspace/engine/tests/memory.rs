//! What the engine takes from the heap: nothing for what it forwards and answers, a bounded amount for a binding.

mod pair;

use pair::{ALICE, BOB, HEADROOM, Pair, Text, US, config, register, request, stateless};
use strowger_engine::{Calls, Config, DialogFilter, DialogView, Flow, Transactions, Verdict};
use strowger_sip::Buffer;

/// A datagram in its buffer, ready to be handled without the test allocating anything.
struct Ready {
    what: &'static str,
    flow: Flow,
    memory: Vec<u8>,
    len: usize,
}

impl Ready {
    fn new(what: &'static str, source: &str, text: &Text) -> Self {
        let bytes = text.bytes();
        let mut memory = vec![0; HEADROOM + bytes.len() + 1024];
        memory[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(&bytes);
        let flow =
            Flow { local: US.parse().expect("an address"), remote: source.parse().expect("an address") };
        Self { what, flow, memory, len: bytes.len() }
    }

    /// Allocations and frees while it is handled.
    fn handle(&mut self, pair: &mut Pair) -> u64 {
        let mut buffer = Buffer::new(&mut self.memory, HEADROOM..HEADROOM + self.len).expect("in bounds");
        let mut verdict = None;
        let counted = allocation_counter::measure(|| {
            verdict = Some(pair.engine.handle(pair.now, self.flow, &mut buffer));
        });
        assert!(matches!(verdict, Some(Verdict::Send(_))), "{}: {verdict:?}", self.what);
        counted.count_total
    }
}

#[test]
fn every_kind_of_answer_and_of_forwarding_allocates_nothing() {
    let mut pair = Pair::new(stateless());
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let invite = request("INVITE", "sip:bob@example.net").body("v=0\r\n");
    let at_bob = pair.pass(ALICE, &invite).to(BOB);
    let ok = at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>"));
    let at_alice = pair.pass(BOB, &ok).to(ALICE);
    let in_dialog = |method: &str| {
        let text = request(method, &format!("sip:bob@{BOB}")).set("To", ok.get("To"));
        text.add("Route", at_alice.get("Record-Route"))
    };
    let bye = in_dialog("BYE");
    let bye_at_bob = pair.pass(ALICE, &bye).to(BOB);
    let again = register("bob", &format!("<sip:bob@{BOB}>"));
    for (what, source, text) in [
        ("INVITE", ALICE, invite.clone()),
        ("180", BOB, at_bob.response(180, "Ringing", "b")),
        ("200", BOB, ok.clone()),
        ("ACK", ALICE, in_dialog("ACK")),
        ("BYE", ALICE, bye),
        ("200 to BYE", BOB, bye_at_bob.response(200, "OK", "")),
        ("OPTIONS", ALICE, request("OPTIONS", "sip:example.net")),
        ("CANCEL", ALICE, invite.cancel()),
        ("strict route", ALICE, in_dialog("BYE").add("Route", "<sip:192.0.2.1>")),
        ("400", ALICE, invite.clone().set("CSeq", "x")),
        ("403", ALICE, request("INVITE", "sip:bob@example.com")),
        ("404", ALICE, request("INVITE", "sip:nobody@example.net")),
        ("405", ALICE, request("INVITE", "sip:example.net")),
        ("416", ALICE, request("INVITE", "tel:+1")),
        ("420", ALICE, request("INVITE", "sip:bob@example.net").add("Proxy-Require", "x")),
        ("423", ALICE, register("x", "<sip:x@192.0.2.1>;expires=1")),
        ("483", ALICE, request("INVITE", "sip:bob@example.net").set("Max-Forwards", "0")),
        ("REGISTER that asks", ALICE, register("bob", "")),
    ] {
        let mut ready = Ready::new(what, source, &text);
        assert_eq!(ready.handle(&mut pair), 0, "{what}");
    }
    // The measure works: a REGISTER that changes something builds a record.
    assert!(Ready::new("REGISTER", ALICE, &again.set("CSeq", "2 REGISTER")).handle(&mut pair) > 0);
    assert_eq!(allocation_counter::measure(|| pair.engine.on_timeout(pair.now)).count_total, 0);
}

/// One message through the engine and what leaves besides, in memory that is there already: the message sent, how many
/// besides, and the allocations.
fn pass(pair: &mut Pair, from: &str, text: &Text, scratch: &mut [u8]) -> (Text, usize, u64) {
    let mut ready = Ready::new("a call", from, text);
    let mut buffer = Buffer::new(&mut ready.memory, HEADROOM..HEADROOM + ready.len).expect("in bounds");
    let (now, mut verdict, mut besides) = (pair.now, None, 0);
    let counted = allocation_counter::measure(|| {
        verdict = Some(pair.engine.handle(now, ready.flow, &mut buffer));
        while pair.engine.has_transmit() {
            let mut empty = Buffer::new(scratch, HEADROOM..HEADROOM).expect("in bounds");
            if pair.engine.transmit(now, &mut empty).is_none() {
                break;
            }
            besides += 1;
        }
        if pair.engine.timeout().is_some_and(|due| due <= now) {
            pair.engine.on_timeout(now);
        }
    });
    assert!(matches!(verdict, Some(Verdict::Send(_))), "{}: {verdict:?}", text.start);
    (Text::parse(buffer.message()), besides, counted.count_total)
}

#[test]
fn a_thousand_calls_allocate_nothing() {
    let mut pair = Pair::new(Config { transactions: Transactions::sized(5000), ..config() });
    pair.register("bob", &format!("<sip:bob@{BOB}>"));
    let mut scratch = vec![0; HEADROOM + 65_535];
    let mut total = 0;
    for n in 0..1000 {
        let of_call = |text: Text, branch: &str| {
            text.set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-{branch}-{n:06}"))
                .set("Call-ID", &format!("{n:06}@alice"))
        };
        let mut step = |pair: &mut Pair, from: &str, text: Text, expected: usize| {
            let (sent, besides, allocations) = pass(pair, from, &text, &mut scratch);
            assert_eq!(besides, expected, "{}", text.start);
            total += allocations;
            sent
        };
        let invite = of_call(
            request("INVITE", "sip:bob@example.net").body("v=0\r\no=- 1 1 IN IP4 10.77.0.11\r\n"),
            "i",
        );
        // A 100 besides.
        let at_bob = step(&mut pair, ALICE, invite, 1);
        step(&mut pair, BOB, at_bob.response(180, "Ringing", "b"), 0);
        let ok = at_bob.response(200, "OK", "b").add("Contact", &format!("<sip:bob@{BOB}>"));
        let ok = step(&mut pair, BOB, ok, 0);
        let in_dialog = |method: &str| {
            of_call(request(method, &format!("sip:bob@{BOB}")), method)
                .set("To", ok.get("To"))
                .add("Route", ok.get("Record-Route"))
        };
        step(&mut pair, ALICE, in_dialog("ACK"), 0);
        let bye = step(&mut pair, ALICE, in_dialog("BYE").set("CSeq", "2 BYE"), 0);
        step(&mut pair, BOB, bye.response(200, "OK", ""), 0);
        // 20 calls a second: those of half a minute are in the tables at once.
        pair.pause(50);
    }
    assert_eq!(total, 0, "allocations in 1,000 calls");
    let full = pair.engine.occupancy();
    println!("20 calls a second: {full:?}");
    assert!(full.transactions.used > 1000 && full.kept.used > 0);
    pair.pause(100_000);
    let left = pair.engine.occupancy();
    assert_eq!((left.transactions.used, left.branches.used, left.kept.used, left.timers.used), (0, 0, 0, 0));
    assert_eq!(left.dialogs.used, 0);
}

#[test]
fn a_binding_takes_less_than_256_octets() {
    const BINDINGS: u64 = 100_000;
    let mut pair = None;
    let table = allocation_counter::measure(|| {
        pair = Some(Pair::new(Config {
            max_bindings: BINDINGS as usize,
            transactions: Transactions::sized(1),
            calls: Calls { max_dialogs: 0, max_events: 0, ..Calls::default() },
            ..config()
        }));
    });
    let mut pair = pair.expect("made");
    let empty = table.bytes_current as u64;
    let filled = allocation_counter::measure(|| {
        for n in 0..BINDINGS {
            let user = format!("user{n:06}");
            let contact = format!(
                "<sip:{user}@10.{}.{}.{}:5060;transport=udp>;expires=3600",
                n >> 16,
                n >> 8 & 255,
                n & 255
            );
            let text = register(&user, &contact).set("Call-ID", &format!("{n:032x}@10.20.30.40"));
            assert_eq!(pair.pass(ALICE, &text).to(ALICE).code(), 200);
        }
    });
    assert_eq!(pair.location.bindings(), BINDINGS as usize);
    let each = (empty + filled.bytes_current as u64) / BINDINGS;
    println!(
        "{BINDINGS} bindings: {each} octets each, {} of them the table's ({} octets empty), URI of about 43",
        empty / BINDINGS,
        empty
    );
    assert!(each < 256, "{each} octets for a binding");
}

/// Calls as usual phones make them: a UUID as Call-ID, tags of 64 bits, names of an office.
#[test]
fn a_confirmed_dialog_takes_no_more_than_512_octets() {
    const DIALOGS: usize = 20_000;
    let with = |max_dialogs| {
        let mut pair = None;
        let calls = Calls { max_dialogs, max_events: 1, ..Calls::default() };
        let table = allocation_counter::measure(|| pair = Some(Pair::new(Config { calls, ..stateless() })));
        (pair.expect("made"), table.bytes_current as usize)
    };
    let (mut pair, whole) = with(DIALOGS);
    let each = (whole - with(0).1) / DIALOGS;
    let contact = format!("<sip:bob.smith@{BOB};transport=udp>");
    pair.register("bob.smith", &contact);
    let call = |n: usize| {
        let text = request("INVITE", "sip:bob.smith@example.net")
            .set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK{n}"))
            .set("From", "\"Alice\" <sip:alice.miller@example.net>;tag=9fxced76sl3f91b2")
            .set("Call-ID", &format!("{n:08x}-9b1f-4ad0-8e52-0b8a6f1c33d7@10.77.0.11"));
        text.set("Contact", &format!("<sip:alice.miller@{ALICE}>"))
    };
    for n in 0..DIALOGS {
        let at_bob = pair.pass(ALICE, &call(n)).to(BOB);
        let ok = at_bob.response(200, "OK", "314159a8b2c7d6e5").add("Contact", &contact);
        assert_eq!(pair.pass(BOB, &ok).to(ALICE).code(), 200);
    }
    assert_eq!(pair.engine.occupancy().dialogs.used, DIALOGS, "the table holds as many as it says");
    assert_eq!(pair.pass(ALICE, &call(DIALOGS)).to(ALICE).code(), 503);
    let (views, _) = pair.engine.dialogs(&DialogFilter::default(), 0, 1);
    let [DialogView { call_id, caller, callee, .. }] = &views[..] else { panic!("{views:?}") };
    let ends = [caller, callee].map(|end| end.uri.len() + end.tag.len() + end.target.len());
    let strings = call_id.len() + ends.iter().sum::<usize>();
    println!("{DIALOGS} dialogs with {strings} octets of strings: {each} octets each");
    assert!(strings >= 200 && each <= 512, "{strings} {each}");
}
