//! Policing over IPv6, on the wire: bans by network, budgets of a /64 and of all strangers, while a phone calls that is known.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use strowger_wire::VlanTags;
use strowger_xtask::lab::Lab;
use strowger_xtask::node::Configuration;

use crate::bench::{Bench, PATIENCE, say};
use crate::counted::{Report, number};
use crate::credentials::{Algorithm, authorized, users};
use crate::forge::{Ends, Forge};
use crate::phone::{Phone, Received};

/// Frames of each storm.
const STORM: u32 = 5_000;

/// The node's users are of its IPv4 domain; a domain is a name, whatever it is reached by.
fn at_domain(request: &str) -> String {
    request.replace(&format!("[{}]", Lab::NODE_V6), &Lab::NODE_V4.to_string())
}

/// Asks, and again with credentials.
fn proven(phone: &Phone, request: &str) -> Received {
    let request = at_domain(request);
    let challenge = phone.ask(&request, 10).expect("a challenge");
    let again = authorized(&request, &challenge, Algorithm::Sha256, "looking-glass", 1);
    let answer = phone.ask(&again, 10).expect("an answer");
    assert!(answer.text.starts_with("SIP/2.0 200 "), "{}", answer.text);
    answer
}

#[test]
fn bans_and_budgets_hold_over_ipv6() {
    let Some(bench) = Bench::plain() else { return };
    let node = bench.start(&Configuration {
        open: false,
        auth: format!(
            "algorithms: [SHA-256], users: {}",
            users(&bench, &[("alice", "looking-glass", "active")]).display()
        ),
        extra:
            "policing: { bans: true, deny: [\"fd99::/16\"], unknown_pps: 10, known_pps: 5000, burst: 100, \
                strangers_pps: 500, junk: drop }\n"
                .to_owned(),
        ..bench.configuration("copy")
    });
    bench.warm_up(Lab::PEERS_V6.into(), Lab::node_v6());
    let mut alice = Phone::new(&bench.lab.peers, "alice", (Lab::PEERS_V6, 5081).into(), Lab::node_v6());
    let register = alice.register();
    proven(&alice, &register);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(number(&Report::of(&node).0["policing"]["counters"], "published"), 1);

    let ends = Ends::of(&bench);
    let options = |source: Ipv6Addr, nth: u32| {
        format!(
            "OPTIONS sip:10.77.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP [{source}]:5060;branch=z9hG4bK{nth};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:u@h>;tag={nth}\r\nTo: <sip:10.77.0.2>\r\nCall-ID: {nth}@six\r\n\
             CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    };
    let banned = |nth: u32| {
        let source = Ipv6Addr::new(0xfd99, (nth >> 16) as u16, nth as u16, 0, 0, 0, 0, 1);
        (source, options(source, nth))
    };
    // One host has a whole /64.
    let one = |nth: u32| {
        let source = Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 1, nth as u16);
        (source, options(source, nth))
    };
    let many = |nth: u32| {
        let source = Ipv6Addr::new(0xfd98, 1, (nth >> 16) as u16, nth as u16, 0, 0, 0, 1);
        (source, options(source, nth))
    };
    let junk = |nth: u32| (Ipv6Addr::new(0xfd98, 2, 0, nth as u16, 0, 0, 0, 1), vec![0x80 | nth as u8; 200]);
    type Made<'a> = &'a (dyn Fn(u32) -> (Ipv6Addr, Vec<u8>) + Sync);
    let storms: [(&str, Made<'_>, u64); 4] = [
        ("drop_banned_prefix", &banned, u64::from(STORM)),
        ("drop_unknown_rate", &one, u64::from(STORM) * 9 / 10),
        ("drop_strangers", &many, u64::from(STORM) / 2),
        ("drop_junk", &junk, u64::from(STORM)),
    ];
    for (verdict, made, least) in storms {
        let before = Report::of(&node);
        bench
            .lab
            .peers
            .enter_on_a_thread(|| {
                let mut forge = Forge::open(ends);
                for nth in 0..STORM {
                    let (source, payload) = made(nth);
                    forge.send((SocketAddr::from((source, 5060)), Lab::node_v6()), VlanTags::NONE, &payload);
                }
            })
            .unwrap();
        // Whoever is known does not notice.
        let register = alice.register();
        proven(&alice, &register);
        let after = Report::of(&node);
        let refused = after.xdp(verdict) - before.xdp(verdict);
        say(&format!("IPv6: {refused} of {STORM} are {verdict}"));
        assert!((least..=u64::from(STORM)).contains(&refused), "{verdict}: {refused} of {STORM}");
        assert_eq!(after.xdp("drop_known_rate"), 0);
    }
    std::thread::sleep(Duration::from_millis(100));
    Report::of(&node).assert_balanced();
    drop(node);
    assert!(bench.assert_detached() < PATIENCE);
}
