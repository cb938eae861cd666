//! OPTIONS pings that the XDP program answers: for peers that are named, and while the node itself would say that it is
//! there.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use strowger_xtask::lab::Lab;
use strowger_xtask::node::{Configuration, Node};

use crate::bench::{Bench, PATIENCE, say};
use crate::counted::fresh;
use crate::phone::{Phone, Received};

/// When a ping without an answer is sent again: T1.
const AGAIN: Duration = Duration::from_millis(500);
/// Not a peer.
const STRANGER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 77, 0, 66);

fn ping(phone: &Phone, number: u32, more: &str) -> String {
    let (node, own) = (Lab::node_v4(), phone.address);
    format!(
        "OPTIONS sip:{node} SIP/2.0\r\nVia: SIP/2.0/UDP {own};rport;branch=z9hG4bKping{number}\r\n\
         From: <sip:gateway@{own}>;tag=ping{number}\r\nTo: <sip:{node}>\r\nCall-ID: ping\r\n\
         CSeq: {number} OPTIONS\r\nMax-Forwards: 70\r\n{more}User-Agent: a gateway that asks who is there\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Pings that the program answered, and OPTIONS that came to the engine.
fn counted(node: &Node) -> (u64, u64) {
    let status = fresh(node);
    (status.whole["dataplane"]["xdp"]["answer_options"].as_u64().unwrap(), status.event("request_options"))
}

/// The answer to this ping, which is repeated until it is there. One to a ping before is passed over.
fn asked(phone: &Phone, number: u32, more: &str) -> Received {
    let request = ping(phone, number, more);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        phone.send(&request);
        let sent = Instant::now();
        while let Some(answer) = phone.receive(AGAIN.saturating_sub(sent.elapsed())) {
            if answer.number() == number {
                return answer;
            }
        }
    }
    panic!("no answer to ping {number}");
}

fn code(answer: &Received) -> &str {
    answer.text.split(' ').nth(1).unwrap()
}

/// A text in which nothing depends on who asked.
fn of_anybody(answer: &Received, phone: &Phone) -> String {
    let (ip, port) = (phone.address.ip().to_string(), phone.address.port().to_string());
    answer.text.replace(&ip, "HOST").replace(&port, "PORT")
}

#[test]
fn a_peers_pings_are_answered_while_the_node_serves() {
    let Some(bench) = Bench::plain() else { return };
    let address = format!("{STRANGER}/24");
    bench.lab.peers.ip(&["address", "add", &address, "dev", Lab::PEERS_INTERFACE]).unwrap();
    let mut node = bench.start(&Configuration {
        extra: format!("policing: {{ answer_options: [{}] }}\n", Lab::PEERS_V4),
        // A veth pair brings what a native program sends back (XDP_TX) only to an end that has a program too.
        ..bench.configuration("generic")
    });
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let peer = Phone::new(&bench.lab.peers, "gateway", (Lab::PEERS_V4, 5090).into(), Lab::node_v4());
    let stranger = Phone::new(&bench.lab.peers, "gateway", (STRANGER, 5090).into(), Lab::node_v4());
    // The engine answers in the program's place where a worker was not let run for 100 ms: then once more.
    let mut number = 0;
    let (answer, after) = loop {
        number += 1;
        let before = counted(&node);
        let answer = asked(&peer, number, "");
        assert_eq!(code(&answer), "200", "{}", answer.text);
        assert_eq!(answer.headers("Via")[0].matches(";received=").count(), 1, "{}", answer.text);
        let after = counted(&node);
        if after.0 > before.0 && after.1 == before.1 {
            break (answer, after);
        }
        assert!(number < 10, "the engine answers: {before:?} {after:?}");
    };

    // The engine's own: to a stranger, and to what is more than a ping.
    let engines = asked(&stranger, number, "");
    assert_eq!(of_anybody(&engines, &stranger), of_anybody(&answer, &peer));
    let refused = asked(&peer, number + 1, "Require: foo\r\n");
    assert_eq!(code(&refused), "420", "{}", refused.text);
    // More when they were sent again; none by the program.
    let now = counted(&node);
    assert!(now.0 == after.0 && now.1 >= after.1 + 2, "{after:?} {now:?}");

    // On the way down: somebody's phone rings.
    let phone = |user, port| Phone::new(&bench.lab.peers, user, (Lab::PEERS_V4, port).into(), Lab::node_v4());
    let mut alice = phone("alice", 5081).registered();
    let bob = phone("bob", 5082).registered();
    let invite = alice.invite("bob", "");
    alice.send(&invite);
    let received = bob.of_call("INVITE ", &invite);
    bob.send(&received.reply("180 Ringing", bob.address));
    let began = Instant::now();
    node.signal(Signal::TERM).unwrap();
    let mut number = 20;
    loop {
        let answer = asked(&peer, number, "");
        match code(&answer) {
            "503" => break,
            said => assert!(said == "200" && began.elapsed() < Duration::from_secs(2), "{}", answer.text),
        }
        number += 1;
    }
    say(&format!("SIGTERM: pings hear 503 {} ms later", began.elapsed().as_millis()));
    let ended = node.stop(Signal::INT, PATIENCE).unwrap();
    assert_eq!(ended.code(), Some(0), "{}", node.last_words(10));
    bench.assert_nothing_left();
}
