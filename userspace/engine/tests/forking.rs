//! Forking: parallel and serial by q, the choice among responses, CANCEL of the losers (RFC 3261 sections 16.6 and 16.7),
//! Max-Breadth (RFC 5393 section 5). At the end of every test everything is given back.

mod pair;

use pair::{ALICE, Out, Pair, Text, US, config, over, request};
use strowger_engine::{Config, Event, Reason, Transactions};

/// Where Bob's phones are.
const PHONES: [&str; 4] = ["10.77.0.21:5060", "10.77.0.22:5061", "10.77.0.23:5062", "10.77.0.24:5063"];

/// Bob with a phone for each q.
fn phones(qs: &[&str]) -> Pair {
    phones_with(config(), qs)
}

fn phones_with(config: Config, qs: &[&str]) -> Pair {
    let mut pair = Pair::new(config);
    for (phone, q) in PHONES.iter().zip(qs) {
        pair.register("bob", &format!("<sip:bob@{phone}>;q={q};expires=7200"));
    }
    pair
}

fn invite() -> Text {
    request("INVITE", "sip:bob@example.net").body("v=0\r\no=- 1 1 IN IP4 10.77.0.11\r\n")
}

/// What waits to be sent now, with where to.
fn waiting(pair: &mut Pair) -> Vec<(String, Text)> {
    let texts = pair.drain().into_iter().map(|out| match out {
        Out::Sent { remote, ref bytes, .. } => (remote.to_string(), Text::parse(bytes)),
        out => panic!("{out:?}"),
    });
    texts.collect()
}

/// Start words of what waits, by destination.
fn words(sent: &[(String, Text)]) -> Vec<String> {
    let mut words: Vec<String> = sent
        .iter()
        .map(|(to, text)| match text.start.strip_prefix("SIP/2.0 ") {
            Some(status) => format!("{to} {}", &status[..3]),
            None => format!("{to} {}", text.method()),
        })
        .collect();
    words.sort();
    words
}

/// The INVITE of every branch that is begun now, in the order of the phones.
#[track_caller]
fn ring(pair: &mut Pair) -> Vec<Text> {
    let Out::Sent { remote, bytes, .. } = pair.pass(ALICE, &invite()) else { panic!("not sent") };
    let mut all = vec![(remote.to_string(), Text::parse(&bytes))];
    all.extend(waiting(pair).into_iter().filter(|(_, text)| text.start.starts_with("INVITE")));
    all.sort_by_key(|(to, _)| PHONES.iter().position(|phone| phone == to));
    all.into_iter().map(|(_, text)| text).collect()
}

/// Section 16.6: every branch is the same request but for Request-URI, branch, and part of Max-Breadth.
#[test]
fn equal_q_in_parallel() {
    let mut pair = phones(&["1", "1", "1"]);
    let rings = ring(&mut pair);
    assert_eq!(rings.len(), 3);
    let mut branches = std::collections::HashSet::new();
    let mut breadth = 0;
    for (text, phone) in rings.iter().zip(PHONES) {
        assert_eq!(text.request_uri(), format!("sip:bob@{phone}"));
        assert!(
            text.get("Via").starts_with(&format!("SIP/2.0/UDP {US};branch=z9hG4bKt")),
            "{}",
            text.get("Via")
        );
        assert_eq!((text.all("Via").len(), text.all("Via")[1]), (2, invite().get("Via")));
        assert!(branches.insert(text.param("Via", "branch").unwrap().to_owned()));
        breadth += text.get("Max-Breadth").parse::<u32>().unwrap();
        for same in ["Record-Route", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "User-Agent"]
        {
            assert_eq!(text.all(same), rings[0].all(same), "{same}");
        }
        assert_eq!(text.body, invite().body);
    }
    assert_eq!(breadth, 60);
    assert_eq!((pair.count(Event::BranchBegun), pair.count(Event::RequestForwarded)), (2, 3));
    // Each is sent again by itself, as it was (timer A).
    let again: Vec<Text> = pair.pause(600).into_iter().map(|(_, out)| out.text()).collect();
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|text| rings.contains(text)));
    over(pair);
}

/// Section 16.7 items 5 and 10: the first 2xx goes on at once, the others are cancelled, and a late 2xx goes on too.
#[test]
fn the_first_to_answer_wins() {
    let mut pair = phones(&["0.5", "0.5", "0.5"]);
    let rings = ring(&mut pair);
    for (n, phone) in PHONES.iter().enumerate().take(3) {
        let ringing = rings[n].response(180, "Ringing", &format!("tag{n}"));
        assert_eq!(pair.pass(phone, &ringing).to(ALICE).param("To", "tag"), Some(&*format!("tag{n}")));
    }
    let ok = pair.pass(PHONES[1], &rings[1].response(200, "OK", "tag1")).to(ALICE);
    assert_eq!((ok.code(), ok.param("To", "tag"), ok.all("Via")), (200, Some("tag1"), invite().all("Via")));
    let cancels = waiting(&mut pair);
    assert_eq!(words(&cancels), [format!("{} CANCEL", PHONES[0]), format!("{} CANCEL", PHONES[2])]);
    for (to, cancel) in &cancels {
        let ring = rings.iter().find(|ring| ring.request_uri().ends_with(to)).unwrap();
        assert_eq!((cancel.request_uri(), cancel.all("Via")), (ring.request_uri(), vec![ring.get("Via")]));
    }
    // One gives in, one had answered already.
    assert_eq!(pair.pass(PHONES[0], &rings[0].response(487, "Request Terminated", "tag0")), Out::Taken);
    let ack = waiting(&mut pair);
    assert_eq!(words(&ack), [format!("{} ACK", PHONES[0])]);
    assert_eq!((ack[0].1.param("To", "tag"), ack[0].1.all("Via")), (Some("tag0"), vec![rings[0].get("Via")]));
    let late = pair.pass(PHONES[2], &rings[2].response(200, "OK", "tag2")).to(ALICE);
    assert_eq!((late.code(), late.param("To", "tag")), (200, Some("tag2")));
    assert!(pair.pause(40_000).is_empty());
    over(pair);
}

/// Section 16.6: targets of lower q after those of higher q have failed; one final response in the end.
#[test]
fn falling_q_one_after_the_other() {
    let mut pair = phones(&["0.1", "0.9", "0.5", "0.5"]);
    let first = ring(&mut pair);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].request_uri(), first[0].get("Max-Breadth")), ("sip:bob@10.77.0.22:5061", "60"));
    assert_eq!(pair.pass(PHONES[1], &first[0].response(486, "Busy Here", "b")), Out::Taken);
    let second = waiting(&mut pair);
    assert_eq!(
        words(&second),
        [format!("{} ACK", PHONES[1]), format!("{} INVITE", PHONES[2]), format!("{} INVITE", PHONES[3])]
    );
    for (to, text) in second.iter().filter(|(_, text)| text.method() == "INVITE") {
        assert_eq!(text.get("Max-Breadth"), "30", "section 5.3.3.1: what was used is used again");
        assert_eq!(pair.pass(to, &text.response(404, "Not Found", "x")), Out::Taken);
    }
    let third = waiting(&mut pair);
    let last = third.iter().find(|(to, _)| to == PHONES[0]).unwrap();
    assert_eq!((last.1.method(), third.len()), ("INVITE", 3));
    // Nobody there: timer B, and then the best of what was said before.
    let sent = pair.pause(33_000);
    let finals: Vec<Text> =
        sent.iter().map(|(_, out)| out.text()).filter(|text| text.start.starts_with("SIP/2.0")).collect();
    assert_eq!((finals[0].code(), finals[0].param("To", "tag")), (486, Some("b")));
    assert_eq!(pair.pass(ALICE, &invite().ack(&finals[0])), Out::Taken);
    over(pair);
}

/// Section 16.7 item 6: 6xx before all, then the lowest class, in it what tells how to try again; never a 503.
#[test]
fn the_best_of_all_responses() {
    for (codes, best) in [
        // Of two that are as good, that of the target that comes first: the contact made last.
        ([404, 486, 500], 486),
        ([500, 404, 302], 302),
        ([503, 407, 501], 407),
        ([404, 484, 500], 484),
        ([503, 503, 503], 500),
        ([503, 501, 503], 501),
        ([603, 302, 404], 603),
        ([302, 404, 606], 606),
    ] {
        let mut pair = phones(&["1", "1", "1"]);
        let rings = ring(&mut pair);
        let mut sent = Vec::new();
        for (n, code) in codes.into_iter().enumerate() {
            let response = rings[n].response(code, "Whatever", &format!("tag{n}"));
            if let Out::Sent { bytes, .. } = pair.pass(PHONES[n], &response) {
                sent.push(Text::parse(&bytes));
            }
            sent.extend(waiting(&mut pair).into_iter().map(|(_, text)| text));
        }
        let finals: Vec<&Text> = sent.iter().filter(|text| text.start.starts_with("SIP/2.0")).collect();
        assert_eq!(finals.len(), 1, "{codes:?}: {finals:#?}");
        assert_eq!((finals[0].code(), finals[0].all("Via")), (best, invite().all("Via")), "{codes:?}");
        assert_eq!(sent.iter().filter(|text| text.start.starts_with("ACK")).count(), 3);
        assert_eq!(pair.pass(ALICE, &invite().ack(finals[0])), Out::Taken);
        over(pair);
    }
}

/// Section 16.7 item 5: a 6xx cancels the others and begins no more.
#[test]
fn a_6xx_ends_the_search() {
    let mut pair = phones(&["1", "1", "0.5"]);
    let rings = ring(&mut pair);
    assert_eq!(rings.len(), 2);
    pair.pass(PHONES[0], &rings[0].response(180, "Ringing", "a")).to(ALICE);
    assert_eq!(pair.pass(PHONES[1], &rings[1].response(603, "Decline", "b")), Out::Taken);
    assert_eq!(words(&waiting(&mut pair)), [format!("{} CANCEL", PHONES[0]), format!("{} ACK", PHONES[1])]);
    assert_eq!(pair.pass(PHONES[0], &rings[0].response(487, "Request Terminated", "a")), Out::Taken);
    assert_eq!(words(&waiting(&mut pair)), [format!("{ALICE} 603"), format!("{} ACK", PHONES[0])]);
    over(pair);
}

/// Section 16.7 item 7: the challenges of all branches, unchanged, in the one that is chosen.
#[test]
fn challenges_are_gathered() {
    let mut pair = phones(&["1", "1", "1"]);
    let rings = ring(&mut pair);
    let challenge = |n: usize, code: u16, name: &str, value: &str| {
        rings[n].response(code, "No", &format!("tag{n}")).add(name, value)
    };
    let one = challenge(0, 401, "WWW-Authenticate", "Digest realm=\"a\", nonce=\"1\"");
    let two = challenge(1, 407, "Proxy-Authenticate", "Digest realm=\"b\", nonce=\"2\"")
        .add("Proxy-Authenticate", "Digest realm=\"c\",nonce=\"3\"");
    let three = challenge(2, 404, "WWW-Authenticate", "Digest realm=\"none\", nonce=\"4\"");
    for (n, text) in [(1, two), (2, three), (0, one)] {
        assert_eq!(pair.pass(PHONES[n], &text), Out::Taken);
    }
    let sent = waiting(&mut pair);
    let last: Vec<&Text> = sent.iter().filter(|(to, _)| to == ALICE).map(|(_, text)| text).collect();
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].code(), 407);
    assert_eq!(last[0].all("WWW-Authenticate"), ["Digest realm=\"a\", nonce=\"1\""]);
    assert_eq!(
        last[0].all("Proxy-Authenticate"),
        ["Digest realm=\"b\", nonce=\"2\"", "Digest realm=\"c\",nonce=\"3\""]
    );
    // And so it is repeated.
    let again = pair.pause(600);
    assert_eq!(again[0].1.to(ALICE), *last[0]);
    over(pair);
}

/// Section 16.10: a CANCEL reaches every branch, and begins no other.
#[test]
fn cancel_of_a_fork() {
    let mut pair = phones(&["1", "1", "0.5"]);
    let rings = ring(&mut pair);
    pair.pass(PHONES[0], &rings[0].response(180, "Ringing", "a")).to(ALICE);
    assert_eq!(pair.pass(ALICE, &invite().cancel()).to(ALICE).code(), 200);
    assert_eq!(words(&waiting(&mut pair)), [format!("{} CANCEL", PHONES[0])]);
    assert_eq!(pair.pass(PHONES[1], &rings[1].response(100, "Trying", "")), Out::Taken);
    assert_eq!(words(&waiting(&mut pair)), [format!("{} CANCEL", PHONES[1])]);
    assert_eq!(pair.pass(PHONES[0], &rings[0].response(487, "Request Terminated", "a")), Out::Taken);
    assert_eq!(pair.pass(PHONES[1], &rings[1].response(487, "Request Terminated", "b")), Out::Taken);
    let sent = waiting(&mut pair);
    assert_eq!(words(&sent)[0], format!("{ALICE} 487"));
    assert_eq!(sent.len(), 3);
    over(pair);
}

/// A request other than INVITE forks too: exactly one final response (section 16.7 item 5), no CANCEL.
#[test]
fn other_requests_fork() {
    let mut pair = phones(&["1", "1"]);
    let message = request("MESSAGE", "sip:bob@example.net").body("hi");
    let Out::Sent { remote, bytes, .. } = pair.pass(ALICE, &message) else { panic!("not sent") };
    let first = (remote.to_string(), Text::parse(&bytes));
    let other = waiting(&mut pair).remove(0);
    assert_eq!((other.1.method(), other.1.body.as_str()), ("MESSAGE", "hi"));
    assert_eq!(pair.pass(&other.0, &other.1.response(480, "Gone", "a")), Out::Taken);
    assert_eq!(pair.pass(&first.0, &first.1.response(202, "Accepted", "b")).to(ALICE).code(), 202);
    assert!(waiting(&mut pair).is_empty());
    let mut pair = phones(&["1", "1"]);
    let Out::Sent { remote, bytes, .. } = pair.pass(ALICE, &message) else { panic!("not sent") };
    let first = (remote.to_string(), Text::parse(&bytes));
    let other = waiting(&mut pair).remove(0);
    assert_eq!(pair.pass(&first.0, &first.1.response(200, "OK", "b")).to(ALICE).code(), 200);
    assert_eq!(pair.pass(&other.0, &other.1.response(200, "OK", "a")), Out::Taken, "one is enough");
    assert!(waiting(&mut pair).is_empty());
    over(pair);
}

/// RFC 5393 section 5.3.3: never more parallel branches than Max-Breadth; what is missing comes later; 0 is 440.
#[test]
fn max_breadth() {
    let of = |breadth: &str| invite().add("Max-Breadth", breadth);
    for (said, expected) in [("61", "60"), ("60", "60"), ("7", "7"), ("1", "1"), ("x", "60")] {
        let mut pair = phones(&["1"]);
        let at_bob = pair.pass(ALICE, &of(said)).to(PHONES[0]);
        assert_eq!(at_bob.all("Max-Breadth"), [expected], "{said}");
        over(pair);
    }
    let mut pair = phones(&["1", "1", "1"]);
    let refused = pair.pass(ALICE, &of("0")).to(ALICE);
    assert_eq!((refused.code(), refused.reason()), (440, "Max-Breadth Exceeded"));
    // Two at once, and the third when both have failed.
    let Out::Sent { remote, bytes, .. } = pair.pass(ALICE, &of("2")) else { panic!("not sent") };
    let mut rings = waiting(&mut pair);
    rings.retain(|(_, text)| text.start.starts_with("INVITE"));
    rings.push((remote.to_string(), Text::parse(&bytes)));
    assert_eq!(rings.len(), 2);
    for (to, text) in &rings {
        assert_eq!(text.all("Max-Breadth"), ["1"]);
        assert_eq!(pair.pass(to, &text.response(486, "Busy Here", "b")), Out::Taken);
    }
    let third = waiting(&mut pair);
    assert_eq!(third.iter().filter(|(_, text)| text.start.starts_with("INVITE")).count(), 1);
    over(pair);
}

/// Forged and mixed-up: the branch of one phone is no use to the transaction of another call.
#[test]
fn a_branch_is_its_own() {
    let mut pair = phones(&["1", "1"]);
    let rings = ring(&mut pair);
    let other = rings[0].response(200, "OK", "x").set("Call-ID", "another");
    assert_eq!(pair.pass(PHONES[0], &other).dropped(), Reason::ResponseForged);
    over(pair);
}

/// Targets for which there is no branch are left out, and the call goes to the others.
#[test]
fn a_full_table_shortens_the_fork() {
    let sizes = Transactions { max_branches: 2, ..Transactions::sized(10) };
    let mut pair = phones_with(Config { transactions: sizes, ..config() }, &["1", "1", "1", "1"]);
    assert_eq!(ring(&mut pair).len(), 2);
    assert_eq!(pair.count(Event::TargetLimit), 2);
    over(pair);
}

/// From IPv4 to phones of both families: each branch leaves from an address of its own family, recorded as RFC 5658
/// section 4 wants.
#[test]
fn branches_of_both_families() {
    const V6: &str = "[2001:db8::2]:5060";
    for contacts in [["10.77.0.21:5060", "[2001:db8::21]:5060"], ["[2001:db8::21]:5060", "10.77.0.21:5060"]] {
        let mut pair =
            Pair::new(Config { listen: vec![US.parse().unwrap(), V6.parse().unwrap()], ..config() });
        for contact in contacts {
            pair.register("bob", &format!("<sip:bob@{contact}>"));
        }
        let Out::Sent { remote, local, bytes } = pair.pass(ALICE, &invite()) else { panic!("not sent") };
        let mut all = vec![(remote, local, Text::parse(&bytes))];
        for out in pair.drain() {
            let Out::Sent { remote, local, bytes } = out else { panic!("{out:?}") };
            all.push((remote, local, Text::parse(&bytes)));
        }
        all.retain(|(.., text)| text.start.starts_with("INVITE"));
        all.sort_by_key(|(remote, ..)| remote.is_ipv6());
        let [(_, local4, v4), (_, local6, v6)] = &all[..] else { panic!("{all:#?}") };
        assert_eq!((local4.to_string(), local6.to_string()), (US.to_owned(), V6.to_owned()));
        assert_eq!(v4.all("Record-Route").len(), 1);
        assert!(v4.get("Record-Route").starts_with(&format!("<sip:{US};lr")));
        assert_eq!(v6.all("Record-Route").len(), 2);
        assert!(v6.all("Record-Route")[0].starts_with(&format!("<sip:{V6};lr")));
        assert_eq!(v6.all("Record-Route")[1], v4.get("Record-Route"));
        assert!(v6.get("Via").starts_with(&format!("SIP/2.0/UDP {V6};")));
        over(pair);
    }
}

/// Section 16.7 item 6: what a branch answered waits for the choice longer than its client transaction lasts (timer D).
#[test]
fn an_early_refusal_outlives_timer_d() {
    let mut pair = phones(&["1", "1"]);
    let rings = ring(&mut pair);
    pair.pass(PHONES[0], &rings[0].response(302, "Moved Temporarily", "t0"));
    pair.pass(PHONES[1], &rings[1].response(180, "Ringing", "t1"));
    pair.pause(60_000);
    pair.pass(PHONES[1], &rings[1].response(486, "Busy Here", "t1"));
    let said = words(&waiting(&mut pair));
    assert!(said.contains(&format!("{ALICE} 302")), "{said:?}");
    over(pair);
}
