//! IPv4 options and IPv6 extension headers: the XDP program does not look behind them, so the kernel's socket serves what is there.

use std::net::{IpAddr, SocketAddr};

use strowger_xtask::lab::Lab;

use crate::bench::{Bench, PATIENCE};
use crate::counted::Report;
use crate::forge::{Ends, Forge};
use crate::phone::Phone;

/// Where the IP header begins.
const IP: usize = 14;

/// Four octets of options that say nothing (RFC 791 section 3.1, No Operation).
fn with_options(mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(IP + 20..IP + 20, [1; 4]);
    frame[IP] = 0x46;
    let total = u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]) + 4;
    frame[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
    frame[IP + 10..IP + 12].fill(0);
    let words = frame[IP..IP + 24].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    frame[IP + 10..IP + 12].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// A Hop-by-Hop header of padding (RFC 8200 sections 4.2 and 4.3). UDP's checksum does not cover it.
fn with_extension(mut frame: Vec<u8>) -> Vec<u8> {
    const UDP: u8 = 17;
    assert_eq!(frame[IP + 6], UDP);
    frame.splice(IP + 40..IP + 40, [UDP, 0, 1, 4, 0, 0, 0, 0]);
    frame[IP + 6] = 0;
    let length = u16::from_be_bytes([frame[IP + 4], frame[IP + 5]]) + 8;
    frame[IP + 4..IP + 6].copy_from_slice(&length.to_be_bytes());
    frame
}

#[test]
fn what_is_behind_options_is_served_by_the_kernel_socket() {
    let Some(bench) = Bench::plain() else { return };
    let node = bench.start(&bench.configuration("copy"));
    let ends = Ends::of(&bench);
    type Case = (IpAddr, SocketAddr, fn(Vec<u8>) -> Vec<u8>, &'static str);
    let cases: [Case; 2] = [
        (Lab::PEERS_V4.into(), Lab::node_v4(), with_options, "pass_ip_options"),
        (Lab::PEERS_V6.into(), Lab::node_v6(), with_extension, "pass_ipv6_extension"),
    ];
    for (at, (local, remote, changed, verdict)) in cases.into_iter().enumerate() {
        bench.warm_up(local, remote);
        let port = 5081 + 10 * at as u16;
        let phone = |user, port| Phone::new(&bench.lab.peers, user, (local, port).into(), remote);
        let (mut alice, bob) = (phone("alice", port), phone("bob", port + 1).registered());
        let invite = alice.invite("bob", "v=0\r\n");
        let before = Report::of(&node);
        let send = || {
            let mut forge = Forge::open(ends);
            let frame = changed(forge.frame((alice.address, remote), invite.as_bytes()));
            forge.send_frame(&frame);
        };
        bench.lab.peers.enter_on_a_thread(send).unwrap();
        let received = bob.receive(PATIENCE).unwrap_or_else(|| panic!("no INVITE at {local}"));
        assert!(received.text.starts_with("INVITE sip:bob@"), "{}", received.text);
        assert_eq!(received.body(), "v=0\r\n");
        let after = Report::of(&node);
        let more = |name: &str| after.sum(name) - before.sum(name);
        assert_eq!((more("rx_xsk"), more("rx_kernel")), (0, 1), "{local}");
        assert!(after.xdp(verdict) > before.xdp(verdict), "{local}: {}", after.0["dataplane"]["xdp"]);
        bob.send(&received.reply("486 Busy Here", bob.address));
        let answer = alice.receive_from_peer(PATIENCE).expect("the answer");
        assert!(answer.text.starts_with("SIP/2.0 486 "), "{}", answer.text);
    }
    Report::of(&node).assert_balanced();
}
