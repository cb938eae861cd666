//! Agents in virtual time, with a network that loses what it is told to lose and a proxy that is strings.

use std::collections::VecDeque;

use super::*;
use crate::record::{Counts, Load};
use crate::scenario::Script;
use crate::template::Constants;

const CALLER: &str = "10.0.0.1:5060";
const CALLEE: &str = "10.0.0.2:5060";
const PROXY: &str = "10.0.0.9:5060";
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A datagram under way: from, to, text.
#[derive(Clone, Debug, PartialEq)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    text: String,
}

impl Datagram {
    fn begins(&self, text: &str) -> bool {
        self.text.starts_with(text)
    }
}

#[derive(Default)]
struct Sent(Vec<Datagram>);

impl Outbox for Sent {
    fn send(&mut self, side: Side, to: SocketAddr, message: &[u8]) {
        let from = address([CALLER, CALLEE][side as usize]);
        let text = String::from_utf8(message.to_vec()).expect("text");
        self.0.push(Datagram { from, to, text });
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// What the network does with a datagram: what arrives instead.
type Fate<'f> = &'f mut dyn FnMut(Datagram) -> Vec<Datagram>;

fn setup(scenario: &str, no_proxy: bool) -> Setup {
    let script = Script::load(scenario).expect("built in");
    let constants = [CALLER, CALLEE].map(|local| Constants {
        domain: "example.net".to_owned(),
        target: address(PROXY),
        local: address(local),
    });
    Setup {
        parts: script.bind(&constants),
        legs: script.legs().len(),
        population: Population::new("u{n}", "secret-{n}", 1, 10).expect("users"),
        users: (0, 10),
        once: script.once,
        hold: script.hold.unwrap_or_default(),
        target: if no_proxy { [address(CALLEE), address(CALLER)] } else { [address(PROXY); 2] },
        no_proxy,
        allowed: Allowed::Any,
        timing: Timing::default(),
        places: 100,
        run: 77,
        seed: 1,
    }
}

/// Plays for two seconds and until all is over; everything takes a millisecond on the wire. Gives all that was sent.
fn play(agents: &mut Agents, load: Load, fate: Fate<'_>) -> Vec<Datagram> {
    let mut wire: VecDeque<(u64, Datagram)> = VecDeque::new();
    let mut all = Vec::new();
    let mut now = SECOND;
    agents.begin(Pace::new(load, now, now + 2 * SECOND, u64::MAX, 1), (now, now + 2 * SECOND));
    loop {
        let mut sent = Sent::default();
        agents.advance(now, &mut sent);
        while wire.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, datagram)) = wire.pop_front() else { break };
            let side = if datagram.to == address(CALLER) { Side::Caller } else { Side::Callee };
            agents.receive(now, side, datagram.from, datagram.text.as_bytes(), &mut sent);
        }
        for datagram in sent.0 {
            all.push(datagram.clone());
            wire.extend(fate(datagram).into_iter().map(|datagram| (now + MS, datagram)));
        }
        if agents.over(now) {
            return all;
        }
        let next = [agents.next(), wire.front().map(|(at, _)| *at)].into_iter().flatten().min();
        now = next.unwrap_or(now).max(now + 1).min(now + SECOND);
        assert!(now < 200 * SECOND, "it ends: {} live", agents.live());
    }
}

fn counts(agents: &Agents) -> Counts {
    let [steady, whole] = agents.tally().counts(&|part, step| format!("{part}.{step}"));
    assert_eq!(steady, whole, "the window is the run");
    steady
}

const RATE: Load = Load::Open { rate: 20.0, poisson: false };

#[test]
fn calls_without_a_proxy_are_counted_and_timed() {
    let mut agents = Agents::new(setup("call", true));
    let sent = play(&mut agents, RATE, &mut |datagram| vec![datagram]);
    let counts = counts(&agents);
    let expected = Counts { begun: 40, succeeded: 40, requests: 120, ..Counts::default() };
    assert_eq!(counts, expected);
    assert_eq!(sent.len(), 40 * 6, "INVITE, 180, 200, ACK, BYE, 200");
    let legs = agents.tally().legs(&Script::load("call").expect("built in").legs());
    let median = |name: &str| {
        let leg = legs.iter().find(|leg| leg.name == name).expect("a leg");
        (leg.intended.count, leg.intended.p50_ns / MS, leg.actual.p50_ns / MS)
    };
    assert_eq!(median("INVITE in→out"), (40, 1, 1));
    assert_eq!(median("INVITE→100").0, 0);
    assert_eq!(median("INVITE→200"), (40, 2, 2));
    assert_eq!(median("BYE→200"), (40, 2, 2));
}

#[test]
fn what_is_lost_once_is_repeated_and_everything_ends_well() {
    for (lost, repeated, again, seen) in
        [("INVITE", 1, 0, 0), ("SIP/2.0 180", 0, 0, 0), ("ACK", 0, 1, 0), ("BYE", 1, 0, 0)]
    {
        let mut agents = Agents::new(Setup { hold: Span::nanoseconds(SECOND), ..setup("call", true) });
        let mut dropped = 0;
        play(&mut agents, RATE, &mut |datagram| {
            if datagram.begins(lost) && dropped == 0 {
                dropped = 1;
                return Vec::new();
            }
            vec![datagram]
        });
        let expected = Counts {
            begun: 40,
            succeeded: 40,
            requests: 120,
            requests_repeated: repeated,
            responses_repeated: again,
            requests_seen_again: seen,
            ..Counts::default()
        };
        assert_eq!((dropped, counts(&agents)), (1, expected), "{lost}");
    }
}

#[test]
fn a_lost_200_is_fetched_by_whoever_is_first() {
    // The INVITE was answered 180, so its client waits; the callee repeats. A lost 200 to a BYE is the client's to fetch.
    for (method, repeated, again, seen) in [("INVITE", 0, 1, 0), ("BYE", 1, 0, 1)] {
        let mut agents = Agents::new(setup("call", true));
        let mut dropped = 0;
        play(&mut agents, RATE, &mut |datagram| {
            if datagram.begins("SIP/2.0 200")
                && datagram.text.contains(method)
                && !datagram.text.contains("CSeq: 9")
            {
                let of = datagram.text.lines().any(|line| line.starts_with("CSeq") && line.ends_with(method));
                if of && dropped == 0 {
                    dropped = 1;
                    return Vec::new();
                }
            }
            vec![datagram]
        });
        let counts = counts(&agents);
        let figures = (counts.requests_repeated, counts.responses_repeated, counts.requests_seen_again);
        assert_eq!((counts.succeeded, figures), (40, (repeated, again, seen)), "{method}");
    }
}

#[test]
fn whoever_is_never_answered_gives_up_after_64_t1() {
    let mut agents = Agents::new(setup("call", true));
    let sent = play(&mut agents, RATE, &mut |_| Vec::new());
    let counts = counts(&agents);
    assert_eq!((counts.failed, counts.failures.get("0.0: no answer")), (40, Some(&40)));
    // RFC 3261 section 17.1.1.2: after 500 ms, 1 s, 2 s, 4 s, 8 s and 16 s more.
    assert_eq!((sent.len(), counts.requests_repeated), (40 * 7, 40 * 6));

    let mut agents = Agents::new(setup("options", true));
    let sent = play(&mut agents, RATE, &mut |_| Vec::new());
    // Section 17.1.2.2: 500 ms, 1 s, 2 s, then every 4 s.
    assert_eq!(sent.len(), 40 * 11);
}

#[test]
fn an_ack_that_never_comes_is_a_failure() {
    let mut agents = Agents::new(setup("call", true));
    play(&mut agents, RATE, &mut |datagram| if datagram.begins("ACK") { Vec::new() } else { vec![datagram] });
    let counts = counts(&agents);
    assert_eq!((counts.succeeded, counts.failures.get("0.0: its ACK never came")), (0, Some(&40)));
}

#[test]
fn an_echo_is_no_proxy() {
    for scenario in ["options", "call", "register"] {
        let mut agents = Agents::new(setup(scenario, false));
        let sent = play(&mut agents, RATE, &mut |datagram| {
            vec![Datagram { from: datagram.to, to: datagram.from, ..datagram }]
        });
        let counts = counts(&agents);
        assert_eq!((counts.succeeded, counts.failures.get("0.0: no answer")), (0, Some(&40)), "{scenario}");
        assert!(!sent.iter().any(|datagram| datagram.begins("SIP/2.0")), "{scenario}: nothing is answered");
        assert!(agents.tally().traffic.stray >= 40, "{scenario}");
    }
}

#[test]
fn who_answers_in_the_callees_place_does_not_pass() {
    let mut agents = Agents::new(setup("options", false));
    play(&mut agents, RATE, &mut |datagram| {
        let text = datagram.text.replacen("OPTIONS sip:u", "X", 1);
        let (_, headers) = text.split_once("\r\n").expect("lines");
        let text = format!("SIP/2.0 200 OK\r\n{headers}");
        vec![Datagram { from: datagram.to, to: datagram.from, text }]
    });
    let counts = counts(&agents);
    assert_eq!(counts.failures.get("0.0: answered, but not by the callee"), Some(&40));
}

#[test]
fn a_stall_shows_in_the_latency_of_all_that_were_to_leave_in_it() {
    // Everything sent between 2 s and 2.5 s of the clock waits until 2.5 s. A generator that waited with it would have
    // recorded one slow call.
    let mut agents = Agents::new(setup("options", true));
    let mut wire: VecDeque<(u64, Datagram)> = VecDeque::new();
    agents.begin(
        Pace::new(Load::Open { rate: 1_000.0, poisson: false }, SECOND, 3 * SECOND, u64::MAX, 1),
        (SECOND, 3 * SECOND),
    );
    agents.setup.places = 4_000;
    let mut now = SECOND;
    while !agents.over(now) {
        let mut sent = Sent::default();
        agents.advance(now, &mut sent);
        while wire.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, datagram)) = wire.pop_front() else { break };
            let side = if datagram.to == address(CALLER) { Side::Caller } else { Side::Callee };
            agents.receive(now, side, datagram.from, datagram.text.as_bytes(), &mut sent);
        }
        let stalled = (2 * SECOND..2 * SECOND + 400 * MS).contains(&now);
        let arrives = if stalled { 2 * SECOND + 400 * MS } else { now + MS };
        wire.extend(sent.0.into_iter().map(|datagram| (arrives, datagram)));
        now += MS;
    }
    let legs = agents.tally().legs(&Script::load("options").expect("built in").legs());
    let leg = legs.iter().find(|leg| leg.name == "OPTIONS→200").expect("a leg");
    assert_eq!((counts(&agents).succeeded, leg.intended.count), (2_000, 2_000));
    let slow = |least: u64| {
        leg.intended.buckets.iter().filter(|(at, _)| *at >= least * MS).map(|(_, n)| n).sum::<u64>()
    };
    assert!((295..=305).contains(&slow(100)), "300 waited 100 ms or longer: {}", slow(100));
    assert!((95..=105).contains(&slow(300)), "100 waited 300 ms or longer: {}", slow(300));
    assert!(leg.intended.max_ns >= 400 * MS);
}

/// A proxy made of strings: one Via and one Record-Route of its own, location by the callee's address; asks for
/// credentials when it is told to.
fn proxy(datagram: Datagram, challenge: bool) -> Vec<Datagram> {
    let me = address(PROXY);
    assert_eq!(datagram.to, me, "everything goes by the proxy: {}", datagram.text);
    let (first, rest) = datagram.text.split_once("\r\n").expect("lines");
    if first.starts_with("SIP/2.0") {
        let (own, rest) = rest.split_once("\r\n").expect("lines");
        assert!(own.starts_with(&format!("Via: SIP/2.0/UDP {PROXY};branch=z9hG4bKp")), "{own}");
        assert!(rest.contains(";rport=5060;received=10.0.0."), "the proxy's values are repeated: {rest}");
        let to = if rest.contains(&format!("SIP/2.0/UDP {CALLER}")) { CALLER } else { CALLEE };
        return vec![Datagram { from: me, to: address(to), text: format!("{first}\r\n{rest}") }];
    }
    let register = first.starts_with("REGISTER");
    let credentials = rest.contains("Authorization: Digest username=\"u");
    if challenge && !credentials && (register || first.starts_with("INVITE")) {
        let kept = rest
            .lines()
            .filter(|line| ["Via", "From", "To:", "Call", "CSeq"].iter().any(|name| line.starts_with(name)));
        let headers: String = kept.map(|line| format!("{line}\r\n")).collect();
        let headers = headers.replace("@example.net>\r\nCall", "@example.net>;tag=refused\r\nCall");
        let (code, name) = if register { (401, "WWW-Authenticate") } else { (407, "Proxy-Authenticate") };
        let text = format!(
            "SIP/2.0 {code} No\r\n{headers}{name}: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\nContent-Length: 0\r\n\r\n"
        );
        return vec![Datagram { from: me, to: datagram.from, text }];
    }
    if register {
        let headers: String = rest
            .lines()
            .take_while(|line| !line.starts_with("Expires"))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let text = format!("SIP/2.0 200 OK\r\n{headers}Content-Length: 0\r\n\r\n");
        return vec![Datagram { from: me, to: datagram.from, text }];
    }
    if first.starts_with("ACK") && rest.contains(";tag=refused") {
        return Vec::new();
    }
    let (via, rest) = rest.split_once("\r\n").expect("lines");
    let via = via.replace(";rport", ";rport=5060;received=10.0.0.1");
    let route = format!("Route: <sip:{PROXY};lr;token=7>\r\n");
    let dialog =
        !first.starts_with("INVITE") && !first.starts_with("OPTIONS") && !first.starts_with("MESSAGE");
    assert_eq!(rest.contains(&route), dialog, "the route set, and only in the dialog: {first}\r\n{rest}");
    if dialog {
        assert!(first.contains(&format!("@{CALLEE} ")), "the remote target: {first}");
    }
    let record = if dialog { String::new() } else { format!("Record-Route: <sip:{PROXY};lr;token=7>\r\n") };
    let rest = rest.replace(&route, "");
    let text = format!("{first}\r\nVia: SIP/2.0/UDP {PROXY};branch=z9hG4bKp\r\n{via}\r\n{record}{rest}");
    vec![Datagram { from: me, to: address(CALLEE), text }]
}

#[test]
fn everything_goes_by_the_proxy_and_its_record_route() {
    for (scenario, requests) in [("call", 120), ("options", 40), ("message", 40), ("register", 40)] {
        let mut agents = Agents::new(setup(scenario, false));
        play(&mut agents, RATE, &mut |datagram| proxy(datagram, false));
        let expected = Counts { begun: 40, succeeded: 40, requests, ..Counts::default() };
        assert_eq!(counts(&agents), expected, "{scenario}");
        assert_eq!(agents.tally().traffic.stray, 0, "{scenario}");
    }
}

#[test]
fn challenges_are_answered() {
    for (scenario, requests) in [("call-digest", 160), ("register-digest", 80)] {
        let mut agents = Agents::new(setup(scenario, false));
        let mut acks = 0;
        play(&mut agents, RATE, &mut |datagram| {
            acks += u32::from(
                datagram.begins("ACK")
                    && datagram.text.contains("To: <sip:")
                    && datagram.text.contains(";tag=refused"),
            );
            proxy(datagram, true)
        });
        let expected = Counts { begun: 40, succeeded: 40, requests, challenges: 40, ..Counts::default() };
        assert_eq!(counts(&agents), expected, "{scenario}");
        assert_eq!(acks, if scenario == "call-digest" { 40 } else { 0 }, "each 407 has its ACK");
    }
    // One challenge for each user, then the nonce is good for the rest.
    let mut agents = Agents::new(setup("register-refresh", false));
    play(&mut agents, RATE, &mut |datagram| proxy(datagram, true));
    let expected = Counts { begun: 40, succeeded: 40, requests: 50, challenges: 10, ..Counts::default() };
    assert_eq!(counts(&agents), expected);
}

#[test]
fn credentials_that_are_refused_are_not_sent_for_ever() {
    let mut agents = Agents::new(setup("register-digest", false));
    let sent = play(&mut agents, RATE, &mut |datagram| {
        proxy(
            Datagram { text: datagram.text.replace("Authorization: Digest", "X: Digest"), ..datagram },
            true,
        )
    });
    assert_eq!((sent.len(), counts(&agents).failures.get("0.0: 401, not to be answered")), (80, Some(&40)));
}

#[test]
fn a_mix_has_its_proportions() {
    let mut agents = Agents::new(setup("mix", false));
    let mut begun = [0, 0, 0];
    play(&mut agents, Load::Open { rate: 50.0, poisson: false }, &mut |datagram| {
        for (count, method) in begun.iter_mut().zip(["INVITE", "REGISTER", "MESSAGE"]) {
            *count += u32::from(
                datagram.begins(method) && datagram.from != address(PROXY) && datagram.to == address(PROXY),
            );
        }
        proxy(datagram, false)
    });
    assert_eq!((begun, counts(&agents).succeeded), ([70, 20, 10], 100));
}

#[test]
fn a_closed_loop_has_as_many_as_it_was_told() {
    let mut agents = Agents::new(setup("options", true));
    let mut most = 0;
    let mut under_way = 0_i32;
    play(&mut agents, Load::Closed { outstanding: 7 }, &mut |datagram| {
        under_way += if datagram.begins("OPTIONS") { 1 } else { -1 };
        most = most.max(under_way);
        vec![datagram]
    });
    assert_eq!(most, 7);
    assert!(counts(&agents).succeeded > 4_000, "2 ms each, 7 at once, for 2 s: {:?}", counts(&agents));
}

#[test]
fn without_a_place_a_call_is_not_begun_and_counted() {
    let mut agents = Agents::new(Setup { places: 3, ..setup("call", true) });
    play(&mut agents, RATE, &mut |_| Vec::new());
    assert_eq!((counts(&agents).begun, agents.tally().skipped), (3, 37));
}

#[test]
fn noise_is_counted_and_changes_nothing() {
    let mut agents = Agents::new(setup("call", true));
    let mut sent = Sent::default();
    let peer = address(PROXY);
    for noise in [
        &b"\0\x01\x02"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK0000004d0000000000000001\r\n\r\n",
        b"\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKx;rport\r\nFrom: <sip:p@x>;tag=1\r\n\
          To: <sip:x>\r\nCall-ID: probe\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
    ] {
        agents.receive(SECOND, Side::Callee, peer, noise, &mut sent);
    }
    let traffic = agents.tally().traffic;
    assert_eq!((traffic.received, traffic.malformed, traffic.stray), (5, 2, 2));
    let [answer] = sent.0.as_slice() else { panic!("a proxy's probe is answered: {:?}", sent.0) };
    assert!(answer.begins("SIP/2.0 200 ") && answer.to == peer, "{answer:?}");
}

#[test]
fn what_goes_on_is_given_up() {
    let mut agents = Agents::new(setup("call", true));
    let mut sent = Sent::default();
    agents.begin(Pace::new(RATE, SECOND, 2 * SECOND, 3, 1), (SECOND, 2 * SECOND));
    for ms in 0..200 {
        agents.advance(SECOND + ms * MS, &mut sent);
    }
    assert!(agents.begins_no_more() && !agents.over(2 * SECOND));
    agents.give_up();
    assert_eq!((agents.live(), agents.over(2 * SECOND)), (0, true));
    let counts = counts(&agents);
    assert_eq!((counts.failed, counts.failures.get("0.0: not over in time")), (3, Some(&3)));
}
