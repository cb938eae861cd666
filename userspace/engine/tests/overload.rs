//! Too much of everything: floods of Call-IDs and of source addresses, budgets, and what is refused first.
#![expect(clippy::unwrap_used)]

mod pair;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

// Without transactions, so that a request is decided on each time that it comes.
use pair::{ALICE, BOB, Out, Pair, Text, US, register, request, stateless as config};
use strowger_engine::{Config, Event, Flow, Gateway, Reason, RouteAction, RouteRule, Verdict};
use strowger_sip::Buffer;

/// How many messages a flood has: `STROWGER_FLOOD`, or as many as take a second.
fn flood() -> u32 {
    std::env::var("STROWGER_FLOOD").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000)
}

/// A message that is sent again and again with another number in it, without allocating anything.
struct Template {
    bytes: Vec<u8>,
    memory: Vec<u8>,
    places: Vec<usize>,
}

impl Template {
    /// `########` in the text is where the number goes.
    fn new(text: &Text) -> Self {
        let bytes = text.bytes();
        let places =
            (0..bytes.len().saturating_sub(7)).filter(|at| &bytes[*at..at + 8] == b"########").collect();
        Self { memory: vec![0; bytes.len() + 8192], bytes, places }
    }

    /// What became of it, and how many octets left.
    fn send(&mut self, pair: &mut Pair, source: SocketAddr, number: u32) -> (Verdict, usize) {
        let range = 2048..2048 + self.bytes.len();
        self.memory[range.clone()].copy_from_slice(&self.bytes);
        for place in &self.places {
            for (at, shift) in (0..8).zip((0..32).step_by(4).rev()) {
                self.memory[2048 + place + at] = b"0123456789abcdef"[(number >> shift) as usize & 15];
            }
        }
        let mut buffer = Buffer::new(&mut self.memory, range).unwrap();
        let flow = Flow { local: US.parse().unwrap(), remote: source };
        let verdict = pair.engine.handle(pair.now, flow, &mut buffer);
        let mut out = if matches!(verdict, Verdict::Send(_)) { buffer.message().len() } else { 0 };
        while pair.engine.has_transmit() {
            let mut buffer = Buffer::new(&mut self.memory, 2048..2048).unwrap();
            if pair.engine.transmit(pair.now, &mut buffer).is_none() {
                break;
            }
            out += buffer.message().len();
        }
        (verdict, out)
    }
}

fn source(n: u32) -> SocketAddr {
    SocketAddr::from(((0x0b00_0000 + n).to_be_bytes(), 5060))
}

/// THREATS, "memory by unauthenticated flood": ten million Call-IDs from as many addresses leave nothing behind.
/// `STROWGER_FLOOD=10000000` sends them all.
#[test]
fn a_flood_of_call_ids_takes_no_memory_and_answers_with_no_more_than_it_sent() {
    for method in
        ["INVITE", "REGISTER", "MESSAGE", "SUBSCRIBE", "OPTIONS", "PUBLISH", "BYE", "ACK", "CANCEL", "FOO"]
    {
        let mut pair = Pair::new(Config { auth_required: true, ..config() });
        pair.engine.set_wall_clock(pair.now, 1_700_000_000);
        let text = request(method, "sip:bob@example.net")
            .set("Call-ID", "########@flood")
            .set("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK########;rport");
        let mut template = Template::new(&text);
        let (messages, octets) = (flood() / 10, template.bytes.len());
        // Whatever is made at first use is made now.
        let _ = template.send(&mut pair, source(0), 0);
        let before = pair.engine.occupancy();
        let counted = allocation_counter::measure(|| {
            for n in 1..messages {
                pair.now = pair.now.after(Duration::from_micros(10));
                let (_, out) = template.send(&mut pair, source(n), n);
                assert!(out <= octets, "{method}: {out} octets for {octets}");
            }
        });
        assert_eq!(counted.count_total, 0, "{method}: allocations in {messages} messages");
        assert_eq!(pair.engine.occupancy(), before, "{method}");
    }
}

/// The same with lies: responses and requests of dialogs that never were.
#[test]
fn forged_responses_and_dialogs_take_no_memory() {
    let mut pair = Pair::new(config());
    let response = request("INVITE", "sip:bob@example.net").response(200, "OK", "x");
    let response =
        response.set("Via", &format!("SIP/2.0/UDP {US};branch=z9hG4bK########")).set("Call-ID", "########");
    let bye = request("BYE", "sip:bob@192.0.2.7")
        .set("To", "<sip:bob@example.net>;tag=########")
        .add("Route", &format!("<sip:{US};lr;dlg=00000########>"));
    for text in [response, bye] {
        let mut template = Template::new(&text);
        let _ = template.send(&mut pair, source(0), 0);
        let before = pair.engine.occupancy();
        let counted = allocation_counter::measure(|| {
            for n in 1..flood() / 10 {
                let (verdict, out) = template.send(&mut pair, source(n), n);
                assert!(
                    matches!(verdict, Verdict::Drop(_) | Verdict::Send(_)) && out <= template.bytes.len()
                );
            }
        });
        assert_eq!((counted.count_total, pair.engine.occupancy()), (0, before));
    }
}

/// THREATS, "hash flooding": Call-IDs that were chosen to meet under one node's key are strangers under another's.
#[test]
fn crafted_call_ids_meet_under_one_key_only() {
    let targets: Vec<SocketAddr> = (1..=8).map(|n| SocketAddr::from(([10, 77, 1, n], 5060))).collect();
    let rule = RouteRule { action: RouteAction::Gateway("g".into()), ..RouteRule::default() };
    let config = |secret| Config {
        gateways: vec![Gateway::new("g", &targets)],
        routes: vec![rule.clone()],
        secret,
        ..pair::stateless()
    };
    let target = |pair: &mut Pair, n: u32| match pair
        .pass(ALICE, &request("INVITE", "sip:1@example.net").set("Call-ID", &format!("{n}@x")))
    {
        Out::Sent { remote, .. } => remote,
        other => panic!("{other:?}"),
    };
    let (mut known, mut unknown) = (Pair::new(config([1; 32])), Pair::new(config([2; 32])));
    let crafted: Vec<u32> = (0..8000).filter(|n| target(&mut known, *n) == targets[0]).collect();
    assert!(crafted.len() > 800);
    let mut spread: HashMap<SocketAddr, usize> = HashMap::new();
    for n in &crafted {
        *spread.entry(target(&mut unknown, *n)).or_default() += 1;
    }
    assert_eq!(spread.len(), targets.len());
    assert!(spread.values().all(|n| *n < crafted.len() / 5), "{spread:?}");
}

/// THREATS, "spoofed sources": whoever has a call or a registration here goes on while others flood.
#[test]
fn a_flood_of_spoofed_sources_does_not_shut_out_those_who_are_known() {
    let mut pair = Pair::new(Config { per_source_pps: 100, ..config() });
    pair.register("bob", "<sip:bob@10.77.0.12:5070>");
    let mut template =
        Template::new(&request("INVITE", "sip:nobody@example.net").set("Call-ID", "########@flood"));
    for n in 0..flood() {
        pair.now = pair.now.after(Duration::from_micros(5));
        let _ = template.send(&mut pair, source(n), n);
        if n % 5000 == 0 {
            let call = request("INVITE", "sip:bob@example.net").set("Call-ID", &format!("{n}@alice"));
            assert!(
                matches!(pair.pass(ALICE, &call), Out::Sent { remote, .. } if remote.to_string() == BOB),
                "{n}"
            );
        }
    }
}

#[test]
fn a_source_gets_its_budget_and_a_gateway_any() {
    let gateway = Gateway::new("g", &["10.77.0.31:5060".parse().unwrap()]);
    let mut pair = Pair::new(Config { per_source_pps: 50, gateways: vec![gateway], ..config() });
    let options = request("OPTIONS", "sip:example.net");
    let mut answered =
        |source: &str| (0..500).filter(|_| matches!(pair.pass(source, &options), Out::Sent { .. })).count();
    assert_eq!(answered(ALICE), 50);
    assert_eq!(answered("10.77.0.11:7777"), 0, "another port is the same source");
    assert_eq!(answered(BOB), 50, "another address is not");
    assert_eq!(answered("10.77.0.31:5060"), 500, "a gateway carries the calls of many");
    assert_eq!(pair.pass(ALICE, &options).dropped(), Reason::Budget);
    assert_eq!(pair.count(Event::DropBudget), 450 + 500 + 450 + 1);
    pair.sleep(1);
    assert!(matches!(pair.pass(ALICE, &options), Out::Sent { .. }));
}

/// Alice and Bob with a call that is up: her BYE, as she would send it.
fn call(pair: &mut Pair) -> Text {
    pair.register("bob", "<sip:bob@10.77.0.12:5070>");
    let invite = request("INVITE", "sip:bob@example.net");
    let Out::Sent { bytes, .. } = pair.pass(ALICE, &invite) else { panic!("not forwarded") };
    let ok = Text::parse(&bytes).response(200, "OK", "bob-tag").add("Contact", "<sip:bob@10.77.0.12:5070>");
    pair.drain();
    let ok = pair.pass(BOB, &ok).to(ALICE);
    let mut bye = request("BYE", "sip:bob@10.77.0.12:5070").set("To", ok.get("To")).set("CSeq", "2 BYE");
    for route in ok.all("Record-Route").into_iter().rev() {
        bye = bye.add("Route", route);
    }
    bye
}

/// What is answered: code and Retry-After. `None` when it is sent on.
fn fate(pair: &mut Pair, source: &str, text: &Text) -> Option<(u16, Option<String>)> {
    let out = pair.pass(source, text);
    let beside = pair.drain();
    let Out::Sent { remote, bytes, .. } = out else {
        assert!(!beside.is_empty(), "nothing");
        return None;
    };
    let text = Text::parse(&bytes);
    let back = remote.to_string() == source;
    back.then(|| (text.code(), text.find("Retry-After").map(str::to_owned)))
}

#[test]
fn under_load_what_something_depends_on_comes_first() {
    // Without transactions, so that a request is decided on each time that it comes.
    let mut pair = Pair::new(pair::stateless());
    let bye = call(&mut pair);
    let stranger = "10.77.9.9:5060";
    let new = |n: u32| request("INVITE", "sip:bob@example.net").set("Call-ID", &format!("new-{n}"));
    let from_stranger = |n: u32| new(n).set("Via", &format!("SIP/2.0/UDP {stranger};branch=z9hG4bK{n}"));
    let refresh = |n: u32| register("bob", "<sip:bob@10.77.0.12:5070>").set("Call-ID", &format!("r-{n}"));
    let shares = |pair: &mut Pair, source: &str, text: &dyn Fn(u32) -> Text| {
        let fates: Vec<_> = (0..200).map(|n| fate(pair, source, &text(n))).collect();
        let refused = fates.iter().flatten().filter(|(code, _)| *code == 503).count();
        let told = fates.iter().flatten().filter(|(_, after)| after.is_some()).count();
        (refused, told)
    };
    for (load, unknown, known, refreshing) in [
        (75, 0..=0, 0..=0, 0..=0),
        (81, 70..=120, 0..=0, 0..=0),
        (88, 200..=200, 20..=60, 0..=0),
        (97, 200..=200, 200..=200, 70..=130),
        (100, 200..=200, 200..=200, 200..=200),
    ] {
        pair.engine.set_pressure(load);
        for (name, (refused, told), expected) in [
            ("unknown", shares(&mut pair, stranger, &from_stranger), unknown),
            ("known", shares(&mut pair, ALICE, &new), known),
            ("refresh", shares(&mut pair, ALICE, &refresh), refreshing),
        ] {
            assert!(expected.contains(&refused), "{name} at {load}: {refused}");
            let all = refused == 200;
            assert_eq!(told, if all { 200 } else { 0 }, "{name} at {load}: Retry-After when all are refused");
        }
    }
    assert_eq!(fate(&mut pair, ALICE, &bye), None, "calls that are up can be ended");
    assert!(pair.count(Event::OverloadRefused) > 1000);
    pair.engine.set_pressure(0);
    assert_eq!(fate(&mut pair, stranger, &from_stranger(1000)), None);
}

/// RFC 7339 sections 4 and 5: in replies of ours and in responses that pass.
#[test]
fn upstream_is_told_in_its_own_via() {
    let mut pair = Pair::new(config());
    pair.register("bob", "<sip:bob@10.77.0.12:5070>");
    let via = format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-oc;oc;oc-algo=\"loss\"");
    let options = request("OPTIONS", "sip:example.net").set("Via", &via);
    let answer = pair.pass(ALICE, &options).to(ALICE);
    assert_eq!((answer.param("Via", "oc"), answer.param("Via", "oc-validity")), (Some("0"), Some("0")));
    pair.engine.set_pressure(91);
    let answer = pair.pass(ALICE, &options).to(ALICE);
    assert_eq!((answer.param("Via", "oc"), answer.param("Via", "oc-validity")), (Some("50"), Some("500")));
    assert_eq!(answer.param("Via", "oc-algo"), Some("\"loss\""));
    pair.engine.set_pressure(0);
    let invite = request("INVITE", "sip:bob@example.net").set("Via", &via);
    let Out::Sent { bytes, .. } = pair.pass(ALICE, &invite) else { panic!("not forwarded") };
    pair.drain();
    let lies = Text::parse(&bytes).response(486, "Busy Here", "b");
    let lies = Text {
        headers: lies.headers.into_iter().map(|(n, v)| (n, v.replace(";oc;", ";oc=100;"))).collect(),
        ..lies
    };
    let out = pair.pass(BOB, &lies);
    let answer = match out {
        Out::Sent { .. } => out.to(ALICE),
        _ => pair
            .drain()
            .iter()
            .find(|out| matches!(out, Out::Sent { remote, .. } if remote.to_string() == ALICE))
            .unwrap()
            .to(ALICE),
    };
    assert_eq!(
        (answer.param("Via", "oc"), answer.all("Via").len()),
        (Some("0"), 1),
        "ours, not that of downstream"
    );
}
