//! AF_XDP sockets on a real veth pair, as far as they go without an XDP program: open, refuse, transmit.

mod lab;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lab::Namespace;
use strowger_xsk::{BindMode, Mode, RingSizes, Socket, SocketConfig, UmemConfig, XskError};

const SMALL: SocketConfig = SocketConfig {
    umem: UmemConfig { frames: 256, chunk: 4096, headroom: 256, huge: true },
    rings: RingSizes { rx: 64, tx: 64, fill: 64, completion: 64 },
    mode: Mode::Auto,
    need_wakeup: true,
};

/// An Ethernet, IPv4 and UDP frame around `payload`; UDP checksum 0 means "none" (RFC 768).
fn frame(to: [u8; 6], from: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let udp_len = 8 + payload.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_len).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 88, 0, 1, 10, 88, 0, 2]);
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut bytes = [&to[..], &from[..], &[8, 0]].concat();
    bytes.extend(ip);
    for field in [5060, 5060, udp_len, 0] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

struct Pair {
    near: Namespace,
    far: Namespace,
}

impl Pair {
    fn new(test: &str) -> Self {
        let (near, far) = (Namespace::new(test, "near"), Namespace::new(test, "far"));
        lab::veth((&near, "sw0", "10.88.0.1/24"), (&far, "sw1", "10.88.0.2/24"));
        Self { near, far }
    }
}

#[test]
fn ten_thousand_frames_leave_by_a_ring_of_64_and_all_come_back() {
    if !lab::ready("ten_thousand_frames_leave_by_a_ring_of_64_and_all_come_back") {
        return;
    }
    const FRAMES: u32 = 10_000;
    for need_wakeup in [true, false] {
        let pair = Pair::new("tx");
        let (to, from) = (pair.far.mac("sw1"), pair.near.mac("sw0"));
        let ifindex = pair.near.ifindex("sw0");
        let receiver = pair.far.enter(|| UdpSocket::bind("10.88.0.2:5060").unwrap());
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The receiver's socket buffer is small: the sender stays at most 100 frames ahead.
        let received = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let counting = scope.spawn(|| {
                let mut seen = vec![false; FRAMES as usize];
                let mut buffer = [0; 2048];
                for _ in 0..FRAMES {
                    let (len, source) = receiver.recv_from(&mut buffer).unwrap();
                    assert_eq!(source, "10.88.0.1:5060".parse().unwrap());
                    assert_eq!(len, 200);
                    let number = u32::from_be_bytes(buffer[..4].try_into().unwrap());
                    assert!(!std::mem::replace(&mut seen[number as usize], true), "{number} came twice");
                    received.fetch_add(1, Ordering::Relaxed);
                }
            });
            pair.near.enter(|| {
                let config = SocketConfig { need_wakeup, ..SMALL };
                let mut socket = Socket::open(ifindex, 0, &config).unwrap();
                assert_eq!(socket.mode(), BindMode::Copy);
                let reason = socket.fallback_reason().expect("veth has no zero copy").to_string();
                assert!(reason.contains("not supported"), "{reason}");
                assert_eq!(socket.balance().fill, 64, "the fill ring is full from the start");

                let start = Instant::now();
                let mut number = 0u32;
                while number < FRAMES {
                    for _ in 0..32 {
                        if number >= received.load(Ordering::Relaxed) + 100 {
                            break;
                        }
                        let mut payload = [0; 200];
                        payload[..4].copy_from_slice(&number.to_be_bytes());
                        let bytes = frame(to, from, &payload);
                        let Some(mut frame) = socket.umem_mut().take() else { break };
                        let range = frame.start()..frame.start() + bytes.len();
                        socket.umem_mut().chunk_mut(&mut frame)[range.clone()].copy_from_slice(&bytes);
                        frame.set_range(range).unwrap();
                        if let Err(frame) = socket.transmit(frame) {
                            socket.recycle(frame);
                            break;
                        }
                        number += 1;
                        if number == FRAMES {
                            break;
                        }
                    }
                    socket.service();
                    assert!(socket.balance().holds(), "{:?}", socket.balance());
                    std::thread::yield_now();
                    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", socket.counters());
                }
                lab::until(Duration::from_secs(5), || {
                    socket.service();
                    let balance = socket.balance();
                    (balance.tx + balance.completion == 0).then_some(())
                })
                .expect("all frames come back");
                let (balance, counters) = (socket.balance(), socket.counters());
                assert!(balance.holds(), "{balance:?}");
                assert_eq!((balance.held, balance.fill, balance.free), (0, 64, 192), "{balance:?}");
                assert_eq!((counters.tx, counters.completed), (u64::from(FRAMES), u64::from(FRAMES)));
                assert_eq!(counters.wakeups_failed, 0, "{counters:?}");
                let statistics = socket.statistics().unwrap();
                assert_eq!(statistics.tx_invalid_descs, 0, "{statistics:?}");
                println!("need_wakeup {need_wakeup}: {counters:?}, pages {:?}", socket.umem().pages());
            });
            counting.join().unwrap();
        });
    }
}

#[test]
fn a_queue_let_go_can_be_taken_again_at_once() {
    if !lab::ready("a_queue_let_go_can_be_taken_again_at_once") {
        return;
    }
    let pair = Pair::new("again");
    let ifindex = pair.near.ifindex("sw0");
    pair.near.enter(|| {
        for _ in 0..20 {
            Socket::open(ifindex, 0, &SMALL).unwrap();
        }
    });
}

#[test]
fn each_way_to_fail_has_its_own_error() {
    if !lab::ready("each_way_to_fail_has_its_own_error") {
        return;
    }
    let pair = Pair::new("refuse");
    let ifindex = pair.near.ifindex("sw0");
    pair.near.enter(|| {
        let open = |ifindex, queue, config| Socket::open(ifindex, queue, &config);

        let error = open(ifindex, 0, SocketConfig { mode: Mode::ZeroCopy, ..SMALL }).unwrap_err();
        assert!(matches!(error, XskError::NoZeroCopy { .. }), "{error:?}");
        let error = open(9999, 0, SMALL).unwrap_err();
        assert!(matches!(error, XskError::NoInterface { ifindex: 9999 }), "{error:?}");
        let error = open(ifindex, 63, SMALL).unwrap_err();
        assert!(matches!(error, XskError::Bind { queue: 63, .. }), "{error:?}");
        let rings = RingSizes { tx: 0, ..SMALL.rings };
        let error = open(ifindex, 0, SocketConfig { rings, ..SMALL }).unwrap_err();
        assert!(matches!(error, XskError::RingSize { ring: "TX", size: 0 }), "{error:?}");
    });
}

#[test]
fn with_the_link_down_frames_wait_and_are_handed_back_when_the_ring_is_full() {
    if !lab::ready("with_the_link_down_frames_wait_and_are_handed_back_when_the_ring_is_full") {
        return;
    }
    let pair = Pair::new("down");
    let (to, from) = (pair.far.mac("sw1"), pair.near.mac("sw0"));
    let ifindex = pair.near.ifindex("sw0");
    pair.near.enter(|| {
        let mut socket = Socket::open(ifindex, 0, &SMALL).unwrap();
        pair.near.ip("link set sw0 down");
        let bytes = frame(to, from, &[0; 100]);
        let mut refused = 0;
        for _ in 0..100 {
            let mut frame = socket.umem_mut().take().unwrap();
            let range = frame.start()..frame.start() + bytes.len();
            socket.umem_mut().chunk_mut(&mut frame)[range.clone()].copy_from_slice(&bytes);
            frame.set_range(range).unwrap();
            if let Err(frame) = socket.transmit(frame) {
                refused += 1;
                socket.recycle(frame);
            }
            socket.service();
        }
        let (balance, counters) = (socket.balance(), socket.counters());
        assert!(balance.holds(), "{balance:?}");
        assert_eq!(counters.tx_ring_full, refused);
        assert_eq!(u64::from(balance.tx) + refused, 100, "{balance:?} {counters:?}");
        assert!(refused > 0 && counters.wakeups_failed > 0, "{counters:?}");
    });
}
