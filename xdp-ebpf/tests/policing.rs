//! Policing through the kernel (BPF_PROG_TEST_RUN): bans, trust, junk and budgets, each verdict with its counter, over
//! IPv4, IPv6 and VLANs; and what a full table does. Needs root as `verdicts.rs` does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(missing_docs)]

mod packet;
mod served;
mod skip;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use packet::{CUSTOMER, Packet, SERVICE, to};
use served::{Dice, Served, now_ns};
use strowger_wire::{Opening, opening};
use strowger_xdp::Counter::*;
use strowger_xdp::{AccessList, BAN_ROOM, Budgets, Counter, Junk, LoadOptions, MapError, Network, Policing};

const V4: &str = "10.77.0.2:5060";
const V6: &str = "[fd77::2]:5060";

/// An hour: longer than any test.
const HOUR_NS: u64 = 3_600_000_000_000;

/// Budgets that don't come back while a test runs.
const STINGY: Budgets =
    Budgets { unknown_pps: 1, known_pps: 1, burst: 10, strangers_pps: 0, room: 4_096, known_room: 1_000 };

fn served(policing: Policing) -> Option<Served> {
    Served::new(&[V4, V6], &LoadOptions { policing, ..LoadOptions::default() })
}

fn with_bans() -> Option<(Served, AccessList)> {
    let mut served = served(Policing { bans: true, ..Policing::default() })?;
    let list = served.program.access_list().unwrap();
    assert!(served.program.access_list().is_none(), "it belongs to one");
    Some((served, list))
}

fn with_budgets(budgets: Budgets) -> Option<(Served, AccessList)> {
    let mut served = served(Policing { bans: true, budgets: Some(budgets), ..Policing::default() })?;
    let list = served.program.access_list().unwrap();
    Some((served, list))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn network(text: &str) -> Network {
    let (address, len) = text.split_once('/').unwrap();
    Network::new(ip(address), len.parse().unwrap()).unwrap()
}

/// From this address to our listener of its version.
fn from(source: IpAddr) -> Packet {
    to(if source.is_ipv4() { V4 } else { V6 }).from(SocketAddr::new(source, 5061))
}

/// The verdict on packets of `source`, which must be the same however they are tagged.
#[track_caller]
fn verdict(served: &Served, source: &str) -> Counter {
    let packet = from(ip(source));
    let plain = served.verdict(source, &packet.bytes());
    assert_eq!(served.verdict(source, &packet.clone().tag(CUSTOMER).bytes()), plain, "{source}, tagged");
    assert_eq!(served.verdict(source, &packet.tag(SERVICE).tag(CUSTOMER).bytes()), plain, "{source}, QinQ");
    plain
}

/// How many of `count` packets from `source` come through; the others end by `refusal`.
#[track_caller]
fn through(served: &Served, source: IpAddr, count: usize, refusal: Counter) -> usize {
    let packet = from(source).bytes();
    let verdicts = (0..count).map(|_| served.verdict("a message", &packet));
    verdicts.filter(|verdict| assert_ends(*verdict, refusal)).count()
}

#[track_caller]
fn assert_ends(verdict: Counter, refusal: Counter) -> bool {
    assert!(verdict == Redirect || verdict == refusal, "{verdict:?}");
    verdict == Redirect
}

#[test]
fn nothing_is_policed_by_itself() {
    let Some(served) = served(Policing::default()) else { return };
    for payload in [Vec::new(), b"\r\n\r\n".to_vec(), vec![0x80; 200]] {
        assert_eq!(served.verdict("anything", &to(V4).payload(payload).bytes()), Redirect);
    }
    assert_eq!(through(&served, ip("10.77.0.1"), 1_000, Redirect), 1_000);
    assert!(served.program.known_sources().is_none());
}

#[test]
fn a_banned_address_is_dropped_until_its_time() {
    let Some((served, mut list)) = with_bans() else { return };
    for (banned, others) in [
        ("10.9.0.7", ["10.9.0.8", "11.9.0.7", "a09:7::ffff:10.9.0.7"]),
        ("2001:db8::7", ["2001:db8::8", "2001:db8:0:1::7", "7::2001:db8"]),
    ] {
        let now = now_ns();
        assert_eq!(verdict(&served, banned), Redirect, "before");
        assert_eq!(list.ban(ip(banned), now, now + HOUR_NS).unwrap(), None);
        assert_eq!(verdict(&served, banned), DropBanned);
        for other in others {
            assert_eq!(verdict(&served, other), Redirect, "{other} isn't {banned}");
        }
        assert_eq!(list.banned_until(ip(banned)), Some(now + HOUR_NS));
        // Whoever is banned is so on our listeners alone.
        let elsewhere = to("10.77.0.2:53").bytes();
        assert_eq!(served.verdict("another port", &elsewhere), PassNotListener);

        assert!(list.unban(ip(banned)));
        assert_eq!(verdict(&served, banned), Redirect, "after");
        assert!(!list.unban(ip(banned)));
        assert_eq!(list.banned_until(ip(banned)), None);

        // The coarse clock lags by a tick: 10 ms at most.
        let now = now_ns();
        list.ban(ip(banned), now, now + 50_000_000).unwrap();
        assert_eq!(verdict(&served, banned), DropBanned, "for 50 ms");
        std::thread::sleep(std::time::Duration::from_millis(70));
        assert_eq!(verdict(&served, banned), Redirect, "70 ms later");
        // Renewed, and shortened.
        list.ban(ip(banned), now_ns(), now_ns() + HOUR_NS).unwrap();
        assert_eq!(verdict(&served, banned), DropBanned, "again");
        list.ban(ip(banned), now_ns(), now_ns() - 20_000_000).unwrap();
        assert_eq!(verdict(&served, banned), Redirect, "shortened");
    }
}

/// More bans than there is room for: each one holds when it is made, and those that end last are kept.
#[test]
fn a_full_table_of_bans_works_on() {
    let Some((served, mut list)) = with_bans() else { return };
    let now = now_ns();
    let source = |n: u32| IpAddr::from(Ipv4Addr::from(0x0b00_0000 + n));
    let mut ended = 0;
    for n in 0..2 * BAN_ROOM {
        let evicted = list.ban(source(n), now, now + HOUR_NS + u64::from(n)).unwrap();
        if let Some(evicted) = evicted {
            assert_eq!(list.banned_until(evicted), None, "{evicted}");
            ended += 1;
        }
        if n % 997 == 0 {
            assert_eq!(served.verdict("just banned", &from(source(n)).bytes()), DropBanned);
        }
    }
    assert!((BAN_ROOM..BAN_ROOM + BAN_ROOM / 5).contains(&ended), "{ended}");
    let banned = (0..2 * BAN_ROOM).filter(|n| list.banned_until(source(*n)).is_some()).count() as u32;
    assert_eq!(banned, 2 * BAN_ROOM - ended);
    // Of the later half, whose bans end later, hardly one had to go.
    let late = (BAN_ROOM..2 * BAN_ROOM).filter(|n| list.banned_until(source(*n)).is_some()).count() as u32;
    assert!(late > BAN_ROOM * 7 / 10, "{late}");
    // Bans that are over make room without anybody's being ended.
    let later = now + 2 * HOUR_NS;
    let evictions =
        (0..1_000).filter(|n| list.ban(source(1_000_000 + n), later, later + 1).unwrap().is_some());
    assert_eq!(evictions.count(), 0);
}

#[test]
fn networks_are_banned_and_trusted_by_the_longest_prefix() {
    let Some((served, mut list)) = with_bans() else { return };
    list.ban_network(network("10.9.0.0/16")).unwrap();
    list.ban_network(network("2001:db8:bad::/48")).unwrap();
    list.trust(network("10.9.8.0/24")).unwrap();
    list.trust(network("2001:db8:bad:1::/64")).unwrap();
    for (source, expected) in [
        ("10.9.0.1", DropBannedPrefix),
        ("10.9.255.255", DropBannedPrefix),
        ("10.9.7.255", DropBannedPrefix),
        ("10.9.8.0", Redirect),
        ("10.9.8.255", Redirect),
        ("10.9.9.0", DropBannedPrefix),
        ("10.10.0.0", Redirect),
        ("10.8.255.255", Redirect),
        ("2001:db8:bad::1", DropBannedPrefix),
        ("2001:db8:bad:1::1", Redirect),
        ("2001:db8:bae::1", Redirect),
    ] {
        assert_eq!(verdict(&served, source), expected, "{source}");
    }
    list.unban_network(network("10.9.0.0/16")).unwrap();
    list.distrust(network("2001:db8:bad:1::/64")).unwrap();
    assert_eq!(verdict(&served, "10.9.0.1"), Redirect);
    assert_eq!(verdict(&served, "2001:db8:bad:1::1"), DropBannedPrefix);
    list.unban_network(network("2001:db8:bad::/48")).unwrap();
    list.distrust(network("10.9.8.0/24")).unwrap();
    assert_eq!(verdict(&served, "2001:db8:bad::1"), Redirect);
}

/// Trust comes first, in whichever order it is said.
#[test]
fn nobody_who_is_trusted_is_banned() {
    let Some((served, mut list)) = with_bans() else { return };
    let now = now_ns();
    list.ban(ip("10.9.8.7"), now, now + HOUR_NS).unwrap();
    list.ban(ip("10.9.9.7"), now, now + HOUR_NS).unwrap();
    list.ban_network(network("10.9.8.128/25")).unwrap();
    list.ban_network(network("10.9.0.0/16")).unwrap();
    list.trust(network("10.9.8.0/24")).unwrap();
    assert_eq!(verdict(&served, "10.9.8.7"), Redirect);
    assert_eq!(verdict(&served, "10.9.8.200"), Redirect);
    assert_eq!(verdict(&served, "10.9.9.7"), DropBanned);
    assert!(list.trusts(&network("10.9.8.128/25")));
    assert!(!list.trusts(&network("10.9.0.0/16")));
    let refused = list.ban(ip("10.9.8.7"), now, now + HOUR_NS);
    assert!(matches!(refused, Err(MapError::Trusted)), "{refused:?}");
    let refused = list.ban_network(network("10.9.8.128/25"));
    assert!(matches!(refused, Err(MapError::Trusted)), "{refused:?}");
    assert_eq!(verdict(&served, "10.9.8.7"), Redirect);
}

#[test]
fn without_bans_nobody_can_be_banned() {
    let Some(mut served) = served(Policing::default()) else { return };
    let mut list = served.program.access_list().unwrap();
    let refused = list.ban(ip("10.9.8.7"), 0, HOUR_NS);
    assert!(matches!(refused, Err(MapError::NoBans)), "{refused:?}");
    let refused = list.ban_network(network("10.9.0.0/16"));
    assert!(matches!(refused, Err(MapError::NoBans)), "{refused:?}");
}

/// What isn't plain, and the kernel serves all the same: from `source` to our listener of its version, by the counter
/// that it has when it is passed.
fn unusual(source: &str) -> Vec<(&'static str, Packet, Counter)> {
    let packet = from(ip(source));
    if ip(source).is_ipv4() {
        return vec![
            ("four NOPs", packet.clone().options(&[1; 4]), PassIpOptions),
            ("all options", packet.clone().options(&[1; 40]), PassIpOptions),
            (
                "options in the first fragment",
                packet.clone().options(&[1; 8]).fragment(0x2000),
                PassIpOptions,
            ),
            ("the first fragment", packet.clone().fragment(0x2000), PassFragment),
            ("a fragment in the middle", packet.clone().fragment(0x20b9), PassFragment),
            ("the last fragment", packet.clone().fragment(0x00b9), PassFragment),
            ("UDP length short of IP's", packet.clone().udp_length(20), PassUdpLength),
        ];
    }
    let behind = |next| packet.clone().extension(0).extension_bytes(&[next, 0, 1, 4, 0, 0, 0, 0]);
    vec![
        ("hop-by-hop", packet.clone().extension(0), PassIpv6Extension),
        ("destination options", packet.clone().extension(60), PassIpv6Extension),
        (
            "hop-by-hop of 24 bytes",
            packet
                .clone()
                .extension(0)
                .extension_bytes(&[17, 2].into_iter().chain([0; 22]).collect::<Vec<_>>()),
            PassIpv6Extension,
        ),
        (
            "authentication header of 16 bytes",
            packet
                .clone()
                .extension(51)
                .extension_bytes(&[17, 2].into_iter().chain([0; 14]).collect::<Vec<_>>()),
            PassIpv6Extension,
        ),
        ("two extension headers", behind(60), PassIpv6Extension),
        ("an extension header and a fragment's", behind(44), PassIpv6Extension),
        (
            "the first fragment",
            packet.clone().extension(44).extension_bytes(&[17, 9, 0, 1, 0, 0, 0, 7]),
            PassFragment,
        ),
        (
            "a later fragment",
            packet.clone().extension(44).extension_bytes(&[17, 0, 0, 9, 0, 0, 0, 7]),
            PassFragment,
        ),
        (
            "UDP length 0, which the kernel takes for all that is there",
            packet.clone().udp_length(0),
            PassUdpLength,
        ),
    ]
}

/// What is passed to the kernel because it isn't plain comes from nobody who is banned, by address or by network.
#[test]
fn a_ban_holds_for_what_the_kernel_serves() {
    let Some((served, mut list)) = with_bans() else { return };
    for (source, other, covering) in
        [("10.9.0.7", "10.9.0.8", "10.9.0.0/16"), ("2001:db8::7", "2001:db8::8", "2001:db8::/32")]
    {
        let everywhere = |expected: Option<Counter>, from: &str| {
            for (name, packet, passed) in unusual(from) {
                let expected = expected.unwrap_or(passed);
                for (tags, packet) in [
                    ("plain", packet.clone()),
                    ("tagged", packet.clone().tag(CUSTOMER)),
                    ("QinQ", packet.clone().tag(SERVICE).tag(CUSTOMER)),
                ] {
                    assert_eq!(
                        served.verdict(name, &packet.bytes()),
                        expected,
                        "{name}, {tags}, from {from}"
                    );
                }
            }
        };
        everywhere(None, source);
        list.ban(ip(source), now_ns(), now_ns() + HOUR_NS).unwrap();
        everywhere(Some(DropBanned), source);
        everywhere(None, other);
        assert!(list.unban(ip(source)));
        everywhere(None, source);
        list.ban_network(network(covering)).unwrap();
        everywhere(Some(DropBannedPrefix), source);
        list.unban_network(network(covering)).unwrap();
        everywhere(None, source);
    }
}

/// A ban is one on our listeners, for UDP: what is for others, or isn't UDP, is the kernel's.
#[test]
fn a_ban_is_no_more_than_that_where_packets_are_unusual() {
    let Some((mut served, mut list)) = with_bans() else { return };
    let (v4, v6) = ("10.9.0.7", "2001:db8::7");
    for source in [v4, v6] {
        list.ban(ip(source), now_ns(), now_ns() + HOUR_NS).unwrap();
    }
    let to = |listener: &str| {
        to(listener).from(SocketAddr::new(ip(if listener.starts_with('[') { v6 } else { v4 }), 5061))
    };
    let nops = [1; 4];
    for (name, packet, expected) in [
        ("options, TCP", to(V4).options(&nops).protocol(6), PassIpOptions),
        ("options, ESP", to(V4).options(&nops).protocol(50), PassIpOptions),
        ("options, another port", to("10.77.0.2:53").options(&nops), PassIpOptions),
        ("options, another port with the bit of ours", to("10.77.0.2:5124").options(&nops), PassIpOptions),
        ("options, another address", to("10.77.0.3:5060").options(&nops), PassIpOptions),
        ("options, cut before the port", to(V4).options(&nops).cut(40), PassIpOptions),
        ("a first fragment to another port", to("10.77.0.2:53").fragment(0x2000), PassFragment),
        ("a later fragment to another address", to("10.77.0.3:5060").fragment(0x00b9), PassFragment),
        ("a later fragment of TCP", to(V4).fragment(0x00b9).protocol(6), PassFragment),
        ("an extension, another port", to("[fd77::2]:53").extension(0), PassIpv6Extension),
        ("an extension, another address", to("[fd77::3]:5060").extension(0), PassIpv6Extension),
        (
            "two extensions to another address",
            to("[fd77::3]:5060").extension(0).extension_bytes(&[60, 0, 1, 4, 0, 0, 0, 0]),
            PassIpv6Extension,
        ),
        (
            "an extension before ICMPv6",
            to(V6).extension(0).extension_bytes(&[58, 0, 5, 2, 0, 0, 0, 0]),
            PassIpv6Extension,
        ),
        ("ESP that seems to begin with UDP", to(V6).extension(50), PassIpv6Extension),
        (
            "a first fragment of TCP",
            to(V6).extension(44).extension_bytes(&[6, 0, 0, 1, 0, 0, 0, 7]),
            PassFragment,
        ),
        ("an extension cut short", to(V6).extension(0).cut(61), PassIpv6Extension),
        ("TCP", to(V4).protocol(6), PassNotUdp),
        ("IP length beyond the frame, which the kernel drops", to(V4).ip_length(1_500), PassIpLength),
    ] {
        assert_eq!(served.verdict(name, &packet.bytes()), expected, "{name}");
    }
    // A fragment whose port isn't in it goes by the address: somebody listens at it.
    served.program.unlisten(V4.parse().unwrap()).unwrap();
    assert_eq!(served.verdict("nobody listens", &to(V4).fragment(0x00b9).bytes()), PassFragment);
    served.program.listen("10.77.0.2:5070".parse().unwrap()).unwrap();
    served.program.listen(V4.parse().unwrap()).unwrap();
    served.program.unlisten(V4.parse().unwrap()).unwrap();
    assert_eq!(served.verdict("another listener is left", &to(V4).fragment(0x00b9).bytes()), DropBanned);
}

/// Whoever sends what isn't plain has no more of a budget than others.
#[test]
fn what_the_kernel_serves_is_charged() {
    let Some((served, mut list)) = with_budgets(STINGY) else { return };
    for source in ["10.9.0.1", "2001:db8::1"] {
        let verdict = |packet: &Packet| served.verdict("a message", &packet.bytes());
        let all = unusual(source);
        let later = ["a fragment in the middle", "the last fragment", "a later fragment"];
        let (later, first): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, ..)| later.contains(name));
        let mut passed = 0;
        for round in 0..20 {
            let (name, packet, expected) = &first[round % first.len()];
            let verdict = verdict(packet);
            assert!(verdict == *expected || verdict == DropUnknownRate, "{name}: {verdict:?}");
            passed += usize::from(verdict == *expected);
        }
        assert_eq!(passed, 10, "as many as if they were plain");
        assert_eq!(verdict(&from(ip(source))), DropUnknownRate, "it is one budget");
        // The first fragment paid, or there will be no message.
        for (name, packet, expected) in &later {
            assert_eq!(verdict(packet), *expected, "{name}");
        }
        list.trust(Network::new(ip(source), if ip(source).is_ipv4() { 32 } else { 128 }).unwrap()).unwrap();
        for (name, packet, expected) in &first {
            assert_eq!(verdict(packet), *expected, "{name}, trusted");
        }
    }
    // What is for another port costs nothing.
    let elsewhere = to("10.77.0.2:53").from("10.9.0.3:53".parse().unwrap()).fragment(0x2000).bytes();
    for _ in 0..20 {
        assert_eq!(served.verdict("a resolver's long answer", &elsewhere), PassFragment);
    }
    assert_eq!(through(&served, ip("10.9.0.3"), 20, DropUnknownRate), 10);
}

/// First bytes: what the kernel says is what userspace says, for every kind and for bytes at random.
#[test]
fn junk_is_judged_alike_by_kernel_and_userspace() {
    let Some(served) = served(Policing { junk: Junk::Drop, ..Policing::default() }) else { return };
    let mut dice = Dice(5626);
    let mut seen = std::collections::HashMap::new();
    let beginnings: [&[u8]; 8] = [
        b"INVITE sip:a SIP/2.0\r\n",
        b"A-VERY-LONG-METHOD sip:a SIP/2.0\r\n",
        b"SIP/2.0 200 OK\r\n",
        b"\r\n\r\n\0\0\0\0\0\0\0",
        b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl",
        b"\x80\x00\x12\x34\x00\x00\x00\xa0rtp and more",
        b"\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\r\n\r\nOPTIONS sip:a SIP/2.0\r\n",
    ];
    for round in 0..20_000 {
        let mut payload = beginnings[round % beginnings.len()].to_vec();
        if round >= beginnings.len() {
            for _ in 0..dice.throw(3) {
                let at = dice.throw(10);
                payload[at] = b"\r\n\0 SIPx/2.0\x7f\x80\xff!~("[dice.throw(18)];
            }
            payload.truncate(if dice.throw(3) == 0 { dice.throw(12) } else { payload.len() });
        }
        let kind = opening(payload.as_slice(), 0, payload.len());
        let expected = match kind {
            Opening::Sip | Opening::Stun => Redirect,
            Opening::KeepAlive => DropKeepAlive,
            Opening::Other => DropJunk,
        };
        let packet = match round % 4 {
            0 => to(V4),
            1 => to(V6),
            2 => to(V4).tag(CUSTOMER),
            _ => to(V6).tag(SERVICE).tag(CUSTOMER),
        };
        let packet = packet.payload(payload.clone()).padding(dice.throw(12));
        let name = format!("round {round}: {}", payload.escape_ascii());
        assert_eq!(served.verdict(&name, &packet.bytes()), expected, "{name}");
        *seen.entry(kind).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.values().all(|count| *count > 300), "{seen:?}");
}

#[test]
fn a_budget_is_a_burst_and_a_rate() {
    let budgets = Budgets { unknown_pps: 50, burst: 10, ..STINGY };
    let Some((served, _list)) = with_budgets(budgets) else { return };
    for source in [ip("10.9.0.1"), ip("2001:db8::1")] {
        let began = now_ns();
        let burst = through(&served, source, 200, DropUnknownRate);
        let ms = (now_ns() - began) / 1_000_000;
        // One more for each 20 ms, and for the ticks at both ends.
        let most = 10 + ms as usize / 20 + 2;
        assert!((10..=most).contains(&burst), "{burst} of 200 in {ms} ms");
        std::thread::sleep(std::time::Duration::from_millis(100));
        let later = through(&served, source, 200, DropUnknownRate);
        assert!((3..=12).contains(&later), "{later} more after 100 ms");
    }
}

#[test]
fn sources_have_budgets_of_their_own() {
    let Some((served, _list)) = with_budgets(STINGY) else { return };
    for n in 1..=50 {
        assert_eq!(through(&served, Ipv4Addr::new(10, 9, 0, n).into(), 20, DropUnknownRate), 10);
    }
    // A /64 is one source, however many addresses it sends from.
    let mut all = 0;
    for n in 1..=50 {
        let source = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n);
        all += through(&served, source.into(), 1, DropUnknownRate);
    }
    assert_eq!(all, 10);
    assert_eq!(through(&served, ip("2001:db8:0:1::1"), 20, DropUnknownRate), 10);
}

#[test]
fn known_sources_have_more() {
    let budgets = Budgets { known_pps: 500, ..STINGY };
    let Some((served, mut list)) = with_budgets(budgets) else { return };
    let known = served.program.known_sources().unwrap();
    let now = now_ns();
    for source in [ip("10.9.0.1"), ip("2001:db8::1")] {
        assert_eq!(through(&served, source, 20, DropUnknownRate), 10, "unknown");
        known.publish(source, now, now + HOUR_NS);
        assert!(known.contains(source, now));
        // What it owes is measured by the known one's burst, 20 ms: it has to wait for what it spent as a stranger.
        assert_eq!(served.verdict("in debt", &from(source).bytes()), DropKnownRate);
        known.forget(source);
        assert!(!known.contains(source, now));
        assert_eq!(served.verdict("forgotten", &from(source).bytes()), DropUnknownRate);
    }
    // Known from the start: 500 in a second.
    let source = ip("10.9.0.2");
    known.publish(source, now, now + HOUR_NS);
    let began = now_ns();
    let mut passed = 0;
    while now_ns() - began < 200_000_000 {
        passed += through(&served, source, 1, DropKnownRate);
    }
    let ms = (now_ns() - began) / 1_000_000;
    // More than a stranger would get, and no more than the rate: pauses of this test cost some.
    assert!((30..=10 + ms / 2 + 12).contains(&(passed as u64)), "{passed} in {ms} ms");
    // Trusted: no budget at all.
    list.trust(network("10.9.0.0/24")).unwrap();
    assert_eq!(through(&served, ip("10.9.0.1"), 500, Redirect), 500);
}

#[test]
fn who_is_known_is_unknown_when_his_time_is_over() {
    let Some((served, _list)) = with_budgets(STINGY) else { return };
    let known = served.program.known_sources().unwrap();
    let source = ip("10.9.0.1");
    // Published long ago, for a second; the table tells time in seconds.
    known.publish(source, 0, now_ns() - 3_000_000_000);
    assert!(!known.contains(source, now_ns()));
    let verdicts: Vec<_> = (0..11).map(|_| served.verdict("over", &from(source).bytes())).collect();
    assert_eq!(verdicts.last(), Some(&DropUnknownRate));
    // Longer is kept, shorter doesn't shorten.
    known.publish(source, now_ns(), now_ns() + HOUR_NS);
    known.publish(source, now_ns(), now_ns() + 1);
    assert!(known.contains(source, now_ns() + HOUR_NS / 2));
}

#[test]
fn who_is_known_is_known_to_the_program_that_comes_in_its_place() {
    let Some((before, _list)) = with_budgets(STINGY) else { return };
    let known = before.program.known_sources().unwrap();
    let (sources, now) = (["10.9.0.1", "2001:db8::1"].map(ip), now_ns());
    sources.iter().for_each(|source| known.publish(*source, now, now + HOUR_NS));

    let policing = Policing { bans: true, budgets: Some(STINGY), ..Policing::default() };
    let load = |policing, source_key| {
        Served::new(&[V4, V6], &LoadOptions { policing, source_key, ..LoadOptions::default() })
    };
    let Some(heir) = load(policing, Some(before.program.source_key())) else { return };
    let heirs = heir.program.known_sources().unwrap();
    let newer = ip("10.9.0.3");
    heirs.publish(newer, now, now + HOUR_NS);
    assert!(!heirs.contains(sources[0], now));
    assert!(heirs.take_over(&known));
    drop(before);
    for source in sources.into_iter().chain([newer]) {
        assert!(heirs.contains(source, now));
        let verdicts: Vec<_> = (0..11).map(|_| heir.verdict("known", &from(source).bytes())).collect();
        assert_eq!(verdicts.last(), Some(&DropKnownRate), "{source}");
    }
    assert!(!heirs.contains(ip("10.9.0.2"), now));

    // With a key of its own, or room for others, the tables mean something else.
    let Some(stranger) = load(policing, None) else { return };
    assert!(!stranger.program.known_sources().unwrap().take_over(&known));
    let roomy = Policing { budgets: Some(Budgets { known_room: 100_000, ..STINGY }), ..policing };
    let Some(roomy) = load(roomy, Some(heir.program.source_key())) else { return };
    assert!(!roomy.program.known_sources().unwrap().take_over(&known));
}

/// All workers publish at once, more than there is room for: what is published last is there.
#[test]
fn publishing_is_for_many_threads() {
    let Some((served, _list)) = with_budgets(STINGY) else { return };
    let known = served.program.known_sources().unwrap();
    let now = now_ns();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let known = &known;
            scope.spawn(move || {
                for n in 0..20_000 {
                    let source = IpAddr::from(Ipv4Addr::from(0x0a00_0000 + thread * 0x10_0000 + n));
                    known.publish(source, now, now + HOUR_NS);
                }
            });
        }
    });
    let last = ip("10.200.0.1");
    known.publish(last, now, now + 2 * HOUR_NS);
    assert!(known.contains(last, now));
    let there = (0..80_000_u32)
        .map(|n| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + n / 20_000 * 0x10_0000 + n % 20_000)))
        .filter(|source| known.contains(*source, now))
        .count();
    // Room for 1,000 is a table of 2,048.
    assert!((1_900..=2_048).contains(&there), "{there}");
}

/// A storm from made-up addresses fills the table: limiting goes on. Whoever had used up his budget has not got a new
/// one, newcomers inherit debts, and all of them together get no more than the table's entries may spend.
#[test]
fn a_spoofed_storm_ends_no_limit() {
    let Some((served, mut list)) = with_budgets(Budgets { burst: 2, ..STINGY }) else { return };
    let attacker = ip("10.9.0.1");
    assert_eq!(through(&served, attacker, 5, DropUnknownRate), 2);

    let mut admitted = 0;
    let (room, storm) = (STINGY.room, 20 * STINGY.room);
    let began = now_ns();
    for n in 0..storm {
        let source = IpAddr::from(Ipv4Addr::from(0x5000_0000 + n));
        admitted += u32::from(served.program.test_run(&from(source).bytes(), 1, None).unwrap().action == 4);
    }
    // Two for each entry, and one a second.
    let ms = (now_ns() - began) / 1_000_000;
    let most = (2 + ms / 900 + 1) * u64::from(room);
    assert!((u64::from(room)..most).contains(&u64::from(admitted)), "{admitted} of {storm} in {ms} ms");

    // Whoever comes now has no burst: he inherits what others owe.
    let newcomers = (0..100).map(|n| IpAddr::from(Ipv4Addr::from(0x6000_0000 + n)));
    let passed: usize = newcomers.map(|source| through(&served, source, 2, DropUnknownRate)).sum();
    assert!(passed < 120, "{passed} of 200");
    // Trusted peers don't notice.
    list.trust(network("10.8.0.0/16")).unwrap();
    assert_eq!(through(&served, ip("10.8.0.1"), 100, Redirect), 100);
}

/// The budget of all strangers together: a storm has that and no more, and who is known or trusted doesn't share it.
#[test]
fn strangers_share_a_budget() {
    let budgets = Budgets { known_pps: 100, strangers_pps: 1_000, ..STINGY };
    let Some((served, mut list)) = with_budgets(budgets) else { return };
    let known = served.program.known_sources().unwrap();
    let friend = ip("10.8.0.1");
    known.publish(friend, now_ns(), now_ns() + HOUR_NS);
    list.trust(network("10.7.0.0/16")).unwrap();
    let began = now_ns();
    let mut passed = 0_u64;
    for n in 0..50_000_u32 {
        let packet = from(Ipv4Addr::from(0x5000_0000 + n).into()).bytes();
        passed += u64::from(served.program.test_run(&packet, 1, None).unwrap().action == 4);
    }
    let ms = (now_ns() - began) / 1_000_000;
    // Test runs may move between CPUs, each of which has the budget.
    let most = (20 + ms + 20) * 2;
    assert!((20..=most).contains(&passed), "{passed} of 50,000 in {ms} ms");
    let counters = served.program.counters().unwrap();
    assert!(counters[DropStrangers as usize] > 40_000, "{}", counters[DropStrangers as usize]);
    assert_eq!(through(&served, friend, 5, Redirect), 5);
    assert_eq!(through(&served, ip("10.7.0.1"), 50, Redirect), 50);
}
