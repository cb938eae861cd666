//! Next hops that are names (RFC 3263), through the engine's face: what is asked, and what becomes of the request.
#![expect(clippy::unwrap_used)]

mod pair;

use std::time::Duration;

use pair::{ALICE, Out, Pair, Text, config, request};
use strowger_engine::resolve::{Answer, Query, Resolution, Server};
use strowger_engine::{Config, Event, Reason, RouteRule};

/// Calls to the domain leave by its name.
fn pair() -> Pair {
    let rule = RouteRule { domain: Some("partner.example".into()), ..RouteRule::default() };
    Pair::new(Config { routes: vec![rule], ..config() })
}

fn call() -> Text {
    request("INVITE", "sip:carol@Partner.Example.")
}

fn server(address: &str, priority: u16, record: u8) -> Server {
    Server { address: address.parse().unwrap(), priority, weight: 1, record }
}

fn found(query: &Query, servers: &[Server]) -> Resolution {
    let ttl = Duration::from_secs(30);
    Resolution { id: query.id(), answer: Answer::Found { servers: servers.to_vec(), ttl } }
}

#[test]
fn the_retransmission_finds_the_answer() {
    let mut pair = pair();
    assert_eq!(pair.pass(ALICE, &call()).dropped(), Reason::Awaited);
    assert_eq!(pair.pass(ALICE, &call()).dropped(), Reason::Awaited);
    let query = pair.engine.next_query().unwrap();
    assert_eq!((query.name(), query.port(), query.names_udp()), ("partner.example", None, false));
    assert!(pair.engine.next_query().is_none(), "asked once");
    let servers = [server("192.0.2.9:5060", 2, 0), server("192.0.2.8:5070", 1, 1)];
    pair.engine.resolved(pair.now, &found(&query, &servers));
    let Out::Sent { remote, bytes, .. } = pair.pass(ALICE, &call()) else { panic!("not sent") };
    assert_eq!(remote.to_string(), "192.0.2.8:5070");
    assert_eq!(Text::parse(&bytes).request_uri(), "sip:carol@Partner.Example.", "the URI stays (section 4)");
    assert_eq!(pair.count(Event::DropAwaited), 2);
    pair.sleep(31);
    assert_eq!(
        pair.pass(ALICE, &call().set("Call-ID", "another")).dropped(),
        Reason::Awaited,
        "its time is over"
    );
}

#[test]
fn a_name_that_leads_nowhere_is_said_so() {
    let mut pair = pair();
    let _ = pair.pass(ALICE, &call());
    let id = pair.engine.next_query().unwrap().id();
    pair.engine
        .resolved(pair.now, &Resolution { id, answer: Answer::Nothing { ttl: Duration::from_secs(9) } });
    assert_eq!(pair.pass(ALICE, &call()).to(ALICE).code(), 500);
    assert_eq!(pair.count(Event::NextHopUnreachable), 1);
}

#[test]
fn addresses_that_cannot_be_are_passed_over() {
    for (servers, expected) in [
        (vec![server(pair::US, 0, 0), server("192.0.2.8:5060", 1, 1)], Some("192.0.2.8:5060")),
        (vec![server("[2001:db8::1]:5060", 0, 0), server("192.0.2.8:5060", 0, 0)], Some("192.0.2.8:5060")),
        (vec![server("224.0.0.1:5060", 0, 0), server("0.0.0.0:5060", 1, 1)], None),
    ] {
        let mut pair = pair();
        let _ = pair.pass(ALICE, &call());
        let query = pair.engine.next_query().unwrap();
        pair.engine.resolved(pair.now, &found(&query, &servers));
        let Out::Sent { remote, bytes, .. } = pair.pass(ALICE, &call()) else { panic!("nothing sent") };
        match expected {
            Some(address) => assert_eq!(remote.to_string(), address),
            None => assert_eq!(Text::parse(&bytes).code(), 500),
        }
    }
}

#[test]
fn no_answer_at_all_is_a_failure_in_the_end() {
    let mut pair = pair();
    let _ = pair.pass(ALICE, &call());
    let query = pair.engine.next_query().unwrap();
    pair.sleep(17);
    assert_eq!(pair.pass(ALICE, &call()).to(ALICE).code(), 500);
    pair.engine.resolved(pair.now, &found(&query, &[server("192.0.2.8:5060", 0, 0)]));
    assert_eq!(pair.pass(ALICE, &call()).to(ALICE).code(), 500, "too late");
}

#[test]
fn nobody_makes_us_ask_who_may_not_send_there() {
    let mut pair = Pair::new(config());
    assert_eq!(pair.pass(ALICE, &call()).to(ALICE).code(), 403);
    assert!(pair.engine.next_query().is_none());
}

#[test]
fn the_next_address_is_tried_when_one_fails() {
    for silent in [true, false] {
        let mut pair = pair();
        let _ = pair.pass(ALICE, &call());
        let query = pair.engine.next_query().unwrap();
        let servers = [server("192.0.2.8:5060", 0, 0), server("192.0.2.9:5070", 1, 1)];
        pair.engine.resolved(pair.now, &found(&query, &servers));
        let out = pair.pass(ALICE, &call());
        let Out::Sent { remote, bytes, .. } = &out else { panic!("{out:?}") };
        assert_eq!(remote.to_string(), "192.0.2.8:5060");
        pair.drain();
        if !silent {
            let _ = pair.pass("192.0.2.8:5060", &Text::parse(bytes).response(503, "Down", "x"));
        }
        let until = pair.now.after(Duration::from_millis(if silent { 4100 } else { 1 }));
        let mut sent = pair.drain();
        while let Some(due) = pair.engine.timeout().filter(|due| *due <= until) {
            pair.now = pair.now.max(due);
            pair.engine.on_timeout(pair.now);
            sent.extend(pair.drain());
        }
        let next = sent.iter().find_map(|out| match out {
            Out::Sent { remote, bytes, .. } if remote.to_string() == "192.0.2.9:5070" => {
                Some(Text::parse(bytes))
            }
            _ => None,
        });
        assert_eq!(next.expect("the second address").request_uri(), "sip:carol@Partner.Example.");
    }
}
