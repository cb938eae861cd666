//! The program's verdicts: packet by packet through the kernel (BPF_PROG_TEST_RUN), as a table.
//!
//! For each packet: the action, the one counter that moved, and not a byte changed. Then the same packets
//! through the decoder in userspace, which must see what the kernel saw. Needs root (CAP_BPF and
//! CAP_NET_ADMIN), says SKIP without and fails under `CI=true`; no interface is touched.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![allow(missing_docs)]

mod packet;
mod served;
mod skip;

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use packet::{CUSTOMER, Packet, SERVICE, to};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use served::{Dice, Served, now_ns};
use strowger_wire::decode_for;
use strowger_xdp::Counter::*;
use strowger_xdp::{
    Action, Counter, HEARTBEAT_STALE_NS, LONGEST_FRAME, ListenerKey, LoadError, LoadOptions, MapError,
    Program,
};

/// The kernel runs no packet shorter than an Ethernet header; userspace judges those alone.
const LEAST_RUN: usize = 14;

/// A test run gives a longer packet in several buffers, of which the program sees the first: a page of 4,096 bytes
/// less 256 in front and 320 behind. What lies between this and an interface's longest frame is judged by userspace
/// alone here, and by the kernel in `attach.rs`.
const MOST_RUN: usize = 3_520;

const V4: &str = "10.77.0.2:5060";
const V6: &str = "[fd77::2]:5060";
const LISTENERS: [&str; 2] = [V4, V6];

/// Every kind of packet, by the verdict on it while the queue is served.
fn table() -> Vec<(&'static str, Packet, Counter)> {
    let long = |len| vec![b'x'; len];
    vec![
        // Ours.
        ("IPv4", to(V4), Redirect),
        ("IPv6", to(V6), Redirect),
        ("IPv4, one customer tag", to(V4).tag(CUSTOMER), Redirect),
        ("IPv4, one service tag", to(V4).tag(SERVICE), Redirect),
        ("IPv4, QinQ", to(V4).tag(SERVICE).tag(CUSTOMER), Redirect),
        ("IPv4, two customer tags", to(V4).tag(CUSTOMER).tag(CUSTOMER), Redirect),
        ("IPv6, one customer tag", to(V6).tag(CUSTOMER), Redirect),
        ("IPv6, QinQ", to(V6).tag(SERVICE).tag(CUSTOMER), Redirect),
        ("don't fragment", to(V4).fragment(0x4000), Redirect),
        (
            "a keep-alive of CRLF CRLF, padded to 60",
            to(V4).payload(b"\r\n\r\n".to_vec()).padding(14),
            Redirect,
        ),
        ("a payload of one byte", to(V4).payload(long(1)), Redirect),
        ("no payload", to(V4).payload(Vec::new()), Redirect),
        ("a full frame of 1,500 bytes", to(V4).payload(long(1_472)), Redirect),
        ("a jumbo frame", to(V6).payload(long(3_400)), Redirect),
        ("the longest over IPv4", to(V4).payload(long(LONGEST_FRAME - 42)), Redirect),
        ("the longest over IPv6", to(V6).payload(long(LONGEST_FRAME - 62)), Redirect),
        ("the longest, tags included", to(V4).tag(SERVICE).tag(CUSTOMER).payload(long(3_534)), Redirect),
        ("the longest, padding included", to(V4).payload(long(LONGEST_FRAME - 52)).padding(10), Redirect),
        // Ours, but for the kernel: no chunk holds it.
        ("one byte too long over IPv4", to(V4).payload(long(LONGEST_FRAME - 41)), PassTooLong),
        ("one byte too long over IPv6", to(V6).payload(long(LONGEST_FRAME - 61)), PassTooLong),
        ("too long by its tags", to(V4).tag(SERVICE).tag(CUSTOMER).payload(long(3_535)), PassTooLong),
        ("too long by its padding", to(V4).payload(long(LONGEST_FRAME - 52)).padding(11), PassTooLong),
        ("a full jumbo frame", to(V4).payload(long(8_972)), PassTooLong),
        // Somebody else's.
        ("another port", to("10.77.0.2:5061"), PassNotListener),
        ("another address", to("10.77.0.3:5060"), PassNotListener),
        ("port 0", to("10.77.0.2:0"), PassNotListener),
        ("a port with the bit of ours", to("10.77.0.2:5124"), PassNotListener),
        ("another port, IP length beyond the frame", to("10.77.0.2:5061").ip_length(1_500), PassNotListener),
        ("another port, UDP length 0", to("[fd77::2]:5061").udp_length(0), PassNotListener),
        ("a port with the bit of ours, UDP length 0", to("10.77.0.2:5124").udp_length(0), PassUdpLength),
        ("another IPv6 port", to("[fd77::2]:5061"), PassNotListener),
        ("another IPv6 address", to("[fd77::3]:5060"), PassNotListener),
        ("our IPv4 address, mapped into IPv6", to("[::ffff:10.77.0.2]:5060"), PassNotListener),
        ("our IPv4 octets at the head of IPv6", to("[a4d:2::]:5060"), PassNotListener),
        // From nobody.
        ("from IPv4 loopback", to(V4).from("127.0.0.1:5061".parse().unwrap()), PassMartian),
        ("from the end of IPv4 loopback", to(V4).from("127.255.255.255:5061".parse().unwrap()), PassMartian),
        ("from 0.0.0.0/8", to(V4).from("0.0.0.1:5061".parse().unwrap()), PassMartian),
        ("from IPv4 multicast", to(V4).from("224.0.0.1:5061".parse().unwrap()), PassMartian),
        ("from broadcast", to(V4).from("255.255.255.255:5061".parse().unwrap()), PassMartian),
        ("from the address below loopback", to(V4).from("126.255.255.255:5061".parse().unwrap()), Redirect),
        ("from the address above loopback", to(V4).from("128.0.0.0:5061".parse().unwrap()), Redirect),
        (
            "from the last address below multicast",
            to(V4).from("223.255.255.255:5061".parse().unwrap()),
            Redirect,
        ),
        ("from IPv6 loopback", to(V6).from("[::1]:5061".parse().unwrap()), PassMartian),
        ("from ::", to(V6).from("[::]:5061".parse().unwrap()), PassMartian),
        ("from mapped IPv4 loopback", to(V6).from("[::ffff:127.0.0.1]:5061".parse().unwrap()), PassMartian),
        ("from a mapped IPv4 address", to(V6).from("[::ffff:10.77.0.1]:5061".parse().unwrap()), PassMartian),
        ("from IPv6 multicast", to(V6).from("[ff02::1]:5061".parse().unwrap()), PassMartian),
        ("from a link-local address", to(V6).from("[fe80::1]:5061".parse().unwrap()), Redirect),
        (
            "from loopback to another port",
            to("10.77.0.2:53").from("127.0.0.1:53".parse().unwrap()),
            PassNotListener,
        ),
        // Not for one host.
        ("broadcast", to(V4).mac([0xff; 6]), PassGroupAddressed),
        ("IPv4 multicast", to(V4).mac([0x01, 0, 0x5e, 0, 0, 1]), PassGroupAddressed),
        ("IPv6 multicast", to(V6).mac([0x33, 0x33, 0, 0, 0, 1]), PassGroupAddressed),
        // VLANs.
        ("three tags", to(V4).tag(SERVICE).tag(CUSTOMER).tag(CUSTOMER), PassVlanDepth),
        ("the old QinQ type 0x9100", to(V4).tag(0x9100), PassNotIp),
        // Not IP, or not UDP.
        ("ARP", to(V4).ethertype(0x0806), PassNotIp),
        ("LLDP", to(V4).ethertype(0x88cc), PassNotIp),
        ("an 802.3 length", to(V4).ethertype(0x0040), PassNotIp),
        ("TCP", to(V4).protocol(6), PassNotUdp),
        ("ICMP", to(V4).protocol(1), PassNotUdp),
        ("UDP-Lite", to(V4).protocol(136), PassNotUdp),
        ("ICMPv6", to(V6).protocol(58), PassNotUdp),
        ("no next header", to(V6).protocol(59), PassNotUdp),
        // IP that isn't plain.
        ("a router alert (IHL 6)", to(V4).options(&[0x94, 4, 0, 0]), PassIpOptions),
        ("all options (IHL 15)", to(V4).options(&[1; 40]), PassIpOptions),
        ("IHL 4", to(V4).version_ihl(0x44), PassIpHeader),
        ("version 6 behind IPv4's type", to(V4).version_ihl(0x65), PassIpHeader),
        ("version 4 behind IPv6's type", to(V6).version_ihl(0x45), PassIpHeader),
        ("the first fragment", to(V4).fragment(0x2000), PassFragment),
        ("a fragment in the middle", to(V4).fragment(0x20b9), PassFragment),
        ("the last fragment", to(V4).fragment(0x00b9), PassFragment),
        ("IPv6 fragment header", to(V6).extension(44), PassFragment),
        ("IPv6 hop-by-hop", to(V6).extension(0), PassIpv6Extension),
        ("IPv6 routing header", to(V6).extension(43), PassIpv6Extension),
        ("IPv6 destination options", to(V6).extension(60), PassIpv6Extension),
        ("IPv6 authentication header", to(V6).extension(51), PassIpv6Extension),
        // Cut short. Offsets: Ethernet 0..14, IPv4 14..34, UDP 34..42; IPv6 14..54, UDP 54..62.
        ("empty", to(V4).cut(0), PassTruncatedEthernet),
        ("cut before the EtherType", to(V4).cut(12), PassTruncatedEthernet),
        ("cut inside the EtherType", to(V4).cut(13), PassTruncatedEthernet),
        ("cut after Ethernet", to(V4).cut(14), PassTruncatedIp),
        ("cut inside the first tag", to(V4).tag(CUSTOMER).cut(17), PassTruncatedVlan),
        ("cut inside the second tag", to(V4).tag(SERVICE).tag(CUSTOMER).cut(21), PassTruncatedVlan),
        ("cut inside IPv4", to(V4).cut(33), PassTruncatedIp),
        ("cut inside IPv6", to(V6).cut(53), PassTruncatedIp),
        ("cut before UDP", to(V4).cut(34), PassTruncatedUdp),
        ("cut inside UDP", to(V4).cut(41), PassTruncatedUdp),
        ("cut inside UDP over IPv6", to(V6).cut(61), PassTruncatedUdp),
        ("cut after UDP", to(V4).cut(42), PassIpLength),
        ("cut in the last byte", to(V4).payload(long(100)).cut(141), PassIpLength),
        // Lengths that lie.
        ("IP length 0", to(V4).ip_length(0), PassIpLength),
        ("IP length below the header", to(V4).ip_length(19), PassIpLength),
        ("IP length of the header alone", to(V4).ip_length(20), PassTruncatedUdp),
        ("IP length of half a UDP header", to(V4).ip_length(24), PassTruncatedUdp),
        ("IP length beyond the frame", to(V4).ip_length(1_500), PassIpLength),
        ("IP length 65,535", to(V4).ip_length(0xffff), PassIpLength),
        ("IP length short of UDP's", to(V4).payload(long(100)).ip_length(127), PassUdpLength),
        ("IPv6 length 0, as in a jumbogram", to(V6).ip_length(0), PassTruncatedUdp),
        ("IPv6 length beyond the frame", to(V6).ip_length(1_460), PassIpLength),
        ("IPv6 length 65,535", to(V6).ip_length(0xffff), PassIpLength),
        ("UDP length 0", to(V4).udp_length(0), PassUdpLength),
        ("UDP length below the header", to(V4).udp_length(7), PassUdpLength),
        ("UDP length short of IP's", to(V4).payload(long(100)).udp_length(107), PassUdpLength),
        ("UDP length beyond IP's", to(V4).payload(long(100)).udp_length(109), PassUdpLength),
        (
            "UDP length beyond IP's, into padding",
            to(V4).payload(long(4)).udp_length(20).padding(20),
            PassUdpLength,
        ),
        ("UDP length 65,535", to(V6).udp_length(0xffff), PassUdpLength),
    ]
}

#[test]
fn every_packet_gets_its_verdict() {
    let Some(served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    for (name, packet, expected) in table() {
        let bytes = packet.bytes();
        if (LEAST_RUN..=MOST_RUN).contains(&bytes.len()) {
            assert_eq!(served.verdict(name, &bytes), expected, "{name}");
        }
    }
}

/// Nothing in the table but the verdicts that depend on queue and worker, which have tests of their own, and those of
/// policing, which is off here.
#[test]
fn the_table_shows_every_verdict() {
    let shown: Vec<_> = table().into_iter().map(|(_, _, counter)| counter).collect();
    let of_the_worker = [PassQueueUnknown, PassNoCallId, PassNoHeartbeat, PassStaleHeartbeat, PassNoSocket];
    for counter in Counter::ALL {
        let elsewhere =
            of_the_worker.contains(&counter) || matches!(counter.action(), Action::Drop | Action::Transmit);
        assert_ne!(shown.contains(&counter), elsewhere, "{counter:?}");
    }
}

/// No driver gives such a packet to a program that isn't `xdp.frags`. Were there one, it is passed: the IP packet
/// doesn't fit into the first buffer.
#[test]
fn a_packet_in_several_buffers_is_pass() {
    let Some(served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    for bytes in [to(V4).payload(vec![b'x'; 3_900]).bytes(), to(V6).payload(vec![b'x'; 3_500]).bytes()] {
        assert_eq!(served.verdict("several buffers", &bytes), PassIpLength);
    }
}

/// What the kernel should have said, by the decoder in userspace.
fn judged_in_userspace(packet: &[u8]) -> Counter {
    let ours = LISTENERS.map(|listener| ListenerKey::from(listener.parse::<SocketAddr>().unwrap()));
    // The program knows which ports have listeners by their last six bits, and asks for these first.
    let serves = |port| ListenerKey::port_bit(port) == ListenerKey::port_bit(5060);
    match decode_for(packet, serves) {
        Err(reject) => Counter::from(reject),
        Ok(datagram) if ours.contains(&ListenerKey::new(datagram.version, &datagram.dst)) => {
            if !datagram.is_from_one_host() {
                return PassMartian;
            }
            if packet.len() > LONGEST_FRAME { PassTooLong } else { Redirect }
        }
        Ok(_) => PassNotListener,
    }
}

#[test]
fn userspace_judges_as_the_table_says() {
    for (name, packet, expected) in table() {
        assert_eq!(judged_in_userspace(&packet.bytes()), expected, "{name}");
    }
}

/// Packets of the table with bytes of their headers changed at random: kernel and userspace agree.
#[test]
fn kernel_and_userspace_agree_on_damaged_packets() {
    let Some(served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    let mut dice = Dice(5060);
    let mut packets: Vec<_> = table().into_iter().map(|(_, packet, _)| packet.bytes()).collect();
    packets.retain(|packet| (LEAST_RUN..=MOST_RUN).contains(&packet.len()));
    let mut redirected = 0;
    for round in 0..5_000 {
        let mut packet = packets[round % packets.len()].clone();
        for _ in 0..dice.throw(3) {
            let at = dice.throw(70);
            if let Some(byte) = packet.get_mut(at) {
                // Small numbers and single bits reach more than any byte does.
                *byte = match dice.throw(3) {
                    0 => dice.throw(256) as u8,
                    1 => dice.throw(20) as u8,
                    _ => *byte ^ (1 << dice.throw(8)),
                };
            }
        }
        if dice.throw(4) == 0 {
            packet.truncate(LEAST_RUN.max(dice.throw(packet.len() + 1)));
        }
        let expected = judged_in_userspace(&packet);
        let verdict = served.verdict(&format!("round {round}, {packet:02x?}"), &packet);
        assert_eq!(verdict, expected, "round {round}, {packet:02x?}");
        redirected += usize::from(verdict == Redirect);
    }
    assert!((100..4_900).contains(&redirected), "{redirected} of 5,000 redirected: that shows nothing");
}

#[test]
fn no_worker_yet_is_pass() {
    let Some(served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    served.hearts[0].beat(0);
    assert_eq!(served.verdict("before the first beat", &to(V4).bytes()), PassNoHeartbeat);
    assert_eq!(served.verdict("not ours anyway", &to("10.77.0.2:53").bytes()), PassNotListener);
}

#[test]
fn a_worker_that_is_gone_is_pass_at_once() {
    let Some(mut served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    let again = served.program.heartbeat(0).unwrap();
    drop(std::mem::replace(&mut served.hearts[0], again));
    assert_eq!(served.verdict("after its heart was dropped", &to(V4).bytes()), PassNoHeartbeat);
}

#[test]
fn a_stuck_worker_is_pass() {
    let Some(served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    // The coarse clock lags by a tick, which is 10 ms at most.
    served.hearts[0].beat(now_ns() - HEARTBEAT_STALE_NS - 10_000_000);
    assert_eq!(served.verdict("a stale beat", &to(V4).bytes()), PassStaleHeartbeat);
    assert_eq!(served.verdict("a stale beat, IPv6", &to(V6).bytes()), PassStaleHeartbeat);
    // A beat of 60 ms ago is alive. Measured again when this test itself was held up.
    for _ in 0..100 {
        let began = now_ns();
        served.hearts[0].beat(began - 60_000_000);
        let verdict = served.verdict("a beat of 60 ms ago", &to(V4).bytes());
        if now_ns() - began < 40_000_000 {
            assert_eq!(verdict, Redirect);
            return;
        }
    }
    panic!("100 runs of one packet took more than 40 ms each");
}

#[test]
fn an_empty_slot_is_pass() {
    let Some(mut served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    let packet = to(V4).bytes();
    served.program.clear_socket(0, 0).unwrap();
    assert_eq!(served.verdict("no socket", &packet), PassNoSocket);
    served.program.clear_socket(0, 0).unwrap();
    served.program.set_socket(0, 0, served.socket.as_fd()).unwrap();
    assert_eq!(served.verdict("a socket again", &packet), Redirect);
}

/// `kill -9` of a worker's process, seen from the slot: the kernel empties it with the descriptor.
#[test]
fn a_closed_socket_empties_its_slot() {
    let Some(mut served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    served.program.clear_socket(0, 0).unwrap();
    let flags = SocketFlags::CLOEXEC;
    let short_lived = rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, flags, None).unwrap();
    served.program.set_socket(0, 0, short_lived.as_fd()).unwrap();
    assert_eq!(served.verdict("open", &to(V4).bytes()), Redirect);
    drop(short_lived);
    assert_eq!(served.verdict("closed", &to(V4).bytes()), PassNoSocket);
    served.program.clear_socket(0, 0).unwrap();
}

#[test]
fn a_listener_comes_and_goes() {
    let Some(mut served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    let second: SocketAddr = "10.77.0.2:5080".parse().unwrap();
    let packet = to("10.77.0.2:5080").bytes();
    assert_eq!(served.verdict("before", &packet), PassNotListener);
    served.program.listen(second).unwrap();
    served.program.listen(second).unwrap();
    assert_eq!(served.verdict("listening", &packet), Redirect);
    served.program.unlisten(second).unwrap();
    served.program.unlisten(second).unwrap();
    assert_eq!(served.verdict("after", &packet), PassNotListener);
    assert_eq!(served.verdict("the first one stays", &to(V4).bytes()), Redirect);
}

#[test]
fn limits_are_errors_that_say_so() {
    let Some(mut served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    let wildcard = served.program.listen("0.0.0.0:5060".parse().unwrap());
    assert!(matches!(wildcard, Err(MapError::Unspecified { .. })), "{wildcard:?}");
    let no_queue = served.program.set_socket(strowger_xdp::MAX_QUEUES, 0, served.socket.as_fd());
    assert!(matches!(no_queue, Err(MapError::NoSuchQueue { queue: 64, .. })), "{no_queue:?}");
    let no_worker = served.program.set_socket(0, 1, served.socket.as_fd());
    assert!(matches!(no_worker, Err(MapError::NoSuchWorker { worker: 1, workers: 1 })), "{no_worker:?}");
    assert!(served.program.heartbeat(1).is_err());
    let file = std::fs::File::open("/dev/null").unwrap();
    let no_socket = served.program.set_socket(0, 0, file.as_fd());
    assert!(matches!(no_socket, Err(MapError::NotAnXdpSocket { queue: 0 })), "{no_socket:?}");
    let full = (0..=strowger_xdp::MAX_LISTENERS as u16)
        .find_map(|n| served.program.listen(SocketAddr::from(([192, 0, 2, 1], 6000 + n))).err());
    assert!(matches!(full, Some(MapError::TooManyListeners { .. })), "{full:?}");
    let too_many = Program::load(&LoadOptions { queues: 65, ..LoadOptions::default() });
    assert!(matches!(too_many, Err(LoadError::TooManyQueues { queues: 65 })), "{too_many:?}");
    for workers in [0, strowger_xdp::MAX_WORKERS + 1] {
        let refused = Program::load(&LoadOptions { workers, ..LoadOptions::default() });
        assert!(matches!(refused, Err(LoadError::Workers { .. })), "{refused:?}");
    }
}

#[test]
fn an_object_that_is_none_is_told_apart() {
    let garbage = Program::load_object(b"not an object", &LoadOptions::default());
    assert!(matches!(garbage, Err(LoadError::Object { .. })), "{garbage:?}");
}

/// What a packet costs in the program, for whoever compares machines. No threshold: this is a test.
#[test]
fn nanoseconds_per_packet() {
    let Some(served) = Served::new(&LISTENERS, &LoadOptions::default()) else { return };
    let sip = to(V4).payload(vec![b'x'; 500]);
    let rows = [
        ("TCP, passed", sip.clone().protocol(6)),
        ("UDP to another port, passed", to("10.77.0.2:53").payload(vec![b'x'; 500])),
        ("SIP over IPv4, redirected", sip),
        ("SIP over IPv6 and QinQ, redirected", to(V6).tag(SERVICE).tag(CUSTOMER).payload(vec![b'x'; 500])),
    ];
    for (name, packet) in rows {
        let bytes = packet.bytes();
        let runs = (0..10).map(|_| served.program.test_run(&bytes, 100_000, None).unwrap().ns);
        say(&format!("xdp: {name}: {} ns", runs.min().unwrap()));
    }
}

/// To the terminal even when the test passes: libtest keeps what the macros print.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
