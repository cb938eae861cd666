//! Failover among the targets of a gateway group, with transactions: when the next one is tried, and when not.
#![expect(clippy::unwrap_used)]

mod pair;

use std::time::Duration;

use pair::{ALICE, Out, Pair, Text, config, request};
use strowger_engine::{Config, Gateway, Probe, RouteAction, RouteRule};

const ONE: &str = "10.77.0.31:5060";
const TWO: &str = "10.77.0.32:5060";

/// Numbers with 00 go to a group of two targets, the first preferred.
fn preferred() -> Config {
    let targets = [ONE, TWO].map(|address| address.parse().unwrap());
    let probe = Some(Probe { down_after: 3, ..Probe::default() });
    let mut gateway = Gateway { probe, ..Gateway::new("carrier-a", &targets) };
    gateway.targets[1].priority = 2;
    let rule = RouteRule {
        to_prefix: Some("00".into()),
        strip: 2,
        prepend: "+".into(),
        action: RouteAction::Gateway("carrier-a".into()),
        ..RouteRule::default()
    };
    Config { gateways: vec![gateway], routes: vec![rule], ..config() }
}

fn call(number: u32) -> Text {
    request("INVITE", "sip:0049301@example.net;user=phone")
        .set("Call-ID", &format!("call-{number}@alice"))
        .set("Via", &format!("SIP/2.0/UDP {ALICE};branch=z9hG4bK-call-{number}"))
}

/// Where a message went, and what it was.
#[track_caller]
fn sent(out: &Out) -> (String, Text) {
    let Out::Sent { remote, bytes, .. } = out else { panic!("{out:?}") };
    (remote.to_string(), Text::parse(bytes))
}

/// Lets time pass and gives what is sent in it, but for probes.
fn later(pair: &mut Pair, millis: u64) -> Vec<(String, Text)> {
    let until = pair.now.after(Duration::from_millis(millis));
    let mut all: Vec<_> = pair.drain();
    while let Some(due) = pair.engine.timeout().filter(|due| *due <= until) {
        pair.now = pair.now.max(due);
        pair.engine.on_timeout(pair.now);
        all.extend(pair.drain());
    }
    pair.now = until;
    all.iter().map(sent).filter(|(_, text)| !text.start.starts_with("OPTIONS ")).collect()
}

/// Those of the messages that are INVITEs.
fn invites(sent: &[(String, Text)]) -> Vec<&(String, Text)> {
    sent.iter().filter(|(_, text)| text.start.starts_with("INVITE ")).collect()
}

#[test]
fn a_silent_target_costs_its_patience_and_the_next_has_the_call() {
    let mut pair = Pair::new(preferred());
    let (to, first) = sent(&pair.pass(ALICE, &call(1)));
    assert_eq!(to, ONE);
    let early = later(&mut pair, 3900);
    assert!(invites(&early).iter().all(|(to, _)| to == ONE), "it is asked again first: {early:?}");
    let next = later(&mut pair, 200);
    let [(to, second)] = &invites(&next)[..] else { panic!("{next:?}") };
    assert_eq!((to.as_str(), second.request_uri()), (TWO, "sip:+49301@10.77.0.32:5060;user=phone"));
    assert_ne!(
        first.param("Via", "branch"),
        second.param("Via", "branch"),
        "a client transaction of its own"
    );
    assert_eq!(pair.pass(TWO, &second.response(200, "OK", "two")).to(ALICE).code(), 200);
    assert!(invites(&later(&mut pair, 60_000)).is_empty());
}

#[test]
fn the_next_target_is_tried_after_a_503_and_not_after_an_answer() {
    for (code, goes_on) in [(503, true), (486, false), (404, false), (500, false), (603, false)] {
        let mut pair = Pair::new(preferred());
        let (_, first) = sent(&pair.pass(ALICE, &call(1)));
        later(&mut pair, 1);
        let answer = pair.pass(ONE, &first.response(code, "Whatever", "one"));
        let mut besides = later(&mut pair, 1);
        besides.extend([answer].iter().filter(|out| matches!(out, Out::Sent { .. })).map(sent));
        let next = invites(&besides);
        let upstream = besides.iter().find(|(to, text)| to == ALICE && text.start.starts_with("SIP/2.0 "));
        if goes_on {
            assert_eq!((next.len(), next[0].0.as_str(), upstream), (1, TWO, None), "{code}");
            let busy = pair.pass(TWO, &next[0].1.response(486, "Busy Here", "two"));
            let all: Vec<_> = [busy].iter().filter(|out| matches!(out, Out::Sent { .. })).map(sent).collect();
            let all = [all, later(&mut pair, 1)].concat();
            assert!(
                all.iter().any(|(to, text)| to == ALICE && text.start == "SIP/2.0 486 Busy Here"),
                "{all:?}"
            );
        } else {
            assert!(next.is_empty(), "{code} is the answer: {next:?}");
            assert_eq!(upstream.unwrap().1.code(), code);
        }
    }
}

#[test]
fn a_target_that_rings_is_not_left() {
    let mut pair = Pair::new(preferred());
    let (_, first) = sent(&pair.pass(ALICE, &call(1)));
    assert_eq!(pair.pass(ONE, &first.response(180, "Ringing", "one")).to(ALICE).code(), 180);
    let all = later(&mut pair, 60_000);
    assert!(invites(&all).is_empty(), "{all:?}");
    assert_eq!(pair.pass(ONE, &first.response(200, "OK", "one")).to(ALICE).code(), 200);
}

#[test]
fn a_cancelled_call_tries_nobody_else() {
    let mut pair = Pair::new(preferred());
    let invite = call(1);
    let _ = pair.pass(ALICE, &invite);
    later(&mut pair, 1);
    let _ = pair.pass(ALICE, &invite.cancel());
    let all = later(&mut pair, 60_000);
    assert!(invites(&all).iter().all(|(to, _)| to == ONE), "{all:?}");
}

#[test]
fn failures_of_calls_count_as_those_of_probes() {
    let mut pair = Pair::new(preferred());
    for number in 0..2 {
        let (to, _) = sent(&pair.pass(ALICE, &call(number)));
        assert_eq!(to, ONE, "{number}");
        let next = later(&mut pair, 4100);
        assert!(invites(&next).iter().any(|(to, _)| to == TWO));
    }
    assert_eq!(
        sent(&pair.pass(ALICE, &call(9))).0,
        TWO,
        "two calls and a probe were not answered: it is down"
    );
}
