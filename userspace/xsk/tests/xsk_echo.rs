//! Both directions through the real XDP program: datagrams from a host behind a gateway, edited where they lie and sent
//! back by the next hop that the mirror knows.

mod lab;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::Namespace;
use rustix::time::{ClockId, clock_gettime};
use strowger_wire::{ChecksumState, Headers, decode, udp_checksum_state};
use strowger_xdp::{AttachMode, Counter, LoadOptions, Program};
use strowger_xsk::{
    BindMode, FrameBatch, Mirror, NextHops, RingSizes, Socket, SocketConfig, Statistics, UmemConfig,
    frames_leaked,
};

const SMALL: SocketConfig = SocketConfig {
    umem: UmemConfig { frames: 512, chunk: 4096, headroom: 256, huge: true },
    rings: RingSizes { rx: 64, tx: 64, fill: 128, completion: 64 },
    mode: strowger_xsk::Mode::Auto,
    need_wakeup: true,
};

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator; the counter is a plain cell of the thread, which allocates
// nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|count| count.set(count.get() + 1));
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated() -> u64 {
    ALLOCATED.with(Cell::get)
}

/// Put before each payload: the frame grows to the front by this.
const STAMP: &[u8] = b"Via: SIP/2.0/UDP 10.91.1.1;branch=z9hG4bK0123456789\r\n";

/// node sw-n 10.91.1.1 ── gateway ── 10.91.2.9 sw-f far; the same in IPv6.
struct Network {
    node: Namespace,
    gateway: Namespace,
    far: Namespace,
}

impl Network {
    fn new(test: &str) -> Self {
        let [node, gateway, far] = ["node", "gw", "far"].map(|role| Namespace::new(test, role));
        lab::veth((&node, "sw-n", "10.91.1.1/24"), (&gateway, "sw-g1", "10.91.1.254/24"));
        lab::veth((&gateway, "sw-g2", "10.91.2.254/24"), (&far, "sw-f", "10.91.2.9/24"));
        for (namespace, device, address) in [
            (&node, "sw-n", "fd91:1::1/64"),
            (&gateway, "sw-g1", "fd91:1::fe/64"),
            (&gateway, "sw-g2", "fd91:2::fe/64"),
            (&far, "sw-f", "fd91:2::9/64"),
        ] {
            namespace.ip(&format!("address add {address} dev {device} nodad"));
        }
        node.ip("route add default via 10.91.1.254");
        node.ip("route add default via fd91:1::fe");
        far.ip("route add default via 10.91.2.254");
        far.ip("route add default via fd91:2::fe");
        gateway.enter(|| {
            // /proc/sys/net is the reading thread's namespace's.
            for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                std::fs::write(format!("/proc/sys/net/{file}"), "1").expect("forwarding on");
            }
        });
        Self { node, gateway, far }
    }

    /// Makes the node's kernel resolve the gateway's two addresses.
    fn resolve(&self, hops: &NextHops, device: u32) {
        self.node.enter(|| {
            for far in ["10.91.2.9:9", "[fd91:2::9]:9"] {
                let far: SocketAddr = far.parse().expect("an address");
                let any = if far.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                UdpSocket::bind(any).expect("a socket").send_to(b"?", far).expect("sent");
                let found = lab::until(Duration::from_secs(5), || hops.lookup(device, far.ip()).ok());
                let (hop, _) = found.expect("resolved");
                assert_eq!(hop.dst_mac.0, self.gateway.mac("sw-g1"), "not the far host's");
            }
        });
    }
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The worker: all that came goes back stamped; how many.
fn echo(socket: &mut Socket, hops: &NextHops, device: u32, batch: &mut FrameBatch) -> usize {
    let received = socket.receive(batch);
    while let Some(mut frame) = batch.pop() {
        let packet = socket.umem().bytes(&frame);
        let datagram = decode(packet).expect("what the XDP program lets through");
        assert_ne!(udp_checksum_state(packet, &datagram), ChecksumState::Bad);
        let payload = datagram.payload_range();
        let base = frame.start();
        let payload = base + payload.start..base + payload.end;
        let hop = hops.lookup(device, datagram.source().ip()).expect("a next hop");
        let headers = Headers {
            src_mac: hop.src_mac,
            dst_mac: hop.dst_mac,
            vlans: hop.vlans,
            src: datagram.destination(),
            dst: datagram.source(),
            ttl: 64,
            tos: 0,
            ident: 0,
        };
        let stamped = payload.start - STAMP.len()..payload.end;
        let chunk = socket.umem_mut().chunk_mut(&mut frame);
        chunk[stamped.start..payload.start].copy_from_slice(STAMP);
        let range = headers.write(chunk, stamped).expect("room in front");
        frame.set_range(range).expect("inside the chunk");
        if let Err(frame) = socket.transmit(frame) {
            socket.recycle(frame);
        }
    }
    socket.service();
    received
}

#[test]
fn datagrams_from_behind_a_gateway_come_back_stamped() {
    if !lab::ready("datagrams_from_behind_a_gateway_come_back_stamped") {
        return;
    }
    const EACH: usize = 2000;
    for mode in [AttachMode::Native, AttachMode::Generic] {
        let network = Network::new("echo");
        let device = network.node.ifindex("sw-n");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let worker = || {
                network.node.enter(|| {
                    let (_mirror, hops) = Mirror::start().unwrap();
                    network.resolve(&hops, device);
                    let mut program = Program::load(&LoadOptions::default()).unwrap();
                    for listener in ["10.91.1.1:5060", "[fd91:1::1]:5060"] {
                        program.listen(listener.parse().unwrap()).unwrap();
                    }
                    let mut socket = Socket::open(device, 0, &SMALL).unwrap();
                    assert_eq!(socket.mode(), BindMode::Copy);
                    program.set_socket(0, 0, socket.as_fd()).unwrap();
                    let heartbeat = program.heartbeat(0).unwrap();
                    heartbeat.beat(now_ns());
                    program.attach(device, mode).unwrap();

                    let mut batch = FrameBatch::new();
                    hops.lookup(device, "10.91.2.9".parse().unwrap()).unwrap();
                    let allocated_before = allocated();
                    while !stop.load(Ordering::Relaxed) {
                        heartbeat.beat(now_ns());
                        if echo(&mut socket, &hops, device, &mut batch) == 0 {
                            std::thread::yield_now();
                        }
                    }
                    assert_eq!(allocated() - allocated_before, 0, "the way of a packet allocates nothing");
                    lab::until(Duration::from_secs(5), || {
                        socket.service();
                        let balance = socket.balance();
                        assert!(balance.holds(), "{balance:?}");
                        (balance.tx + balance.completion == 0).then_some(())
                    })
                    .expect("all sent frames come back");
                    let (counters, balance) = (socket.counters(), socket.balance());
                    let expected = 2 * EACH as u64;
                    assert_eq!(program.counters().unwrap()[Counter::Redirect as usize], expected);
                    assert_eq!(
                        (counters.rx, counters.tx, counters.completed),
                        (expected, expected, expected)
                    );
                    assert_eq!((counters.rx_bad_address, counters.completion_bad_address), (0, 0));
                    assert_eq!((balance.held, balance.rx), (0, 0), "{balance:?}");
                    let statistics = socket.statistics().unwrap();
                    // Every wake-up ends when the kernel finds the ring empty.
                    let expected = Statistics {
                        tx_ring_empty_descs: statistics.tx_ring_empty_descs,
                        ..Statistics::default()
                    };
                    assert_eq!(statistics, expected);
                    assert_eq!(frames_leaked(), 0);
                    println!("{mode:?}: {counters:?} {balance:?}");
                });
            };
            let worker = scope.spawn(worker);
            network.far.enter(|| {
                // Stopped also when an assertion below fails.
                let _stop = Stop(&stop);
                for (from, to) in
                    [("10.91.2.9:5060", "10.91.1.1:5060"), ("[fd91:2::9]:5060", "[fd91:1::1]:5060")]
                {
                    let to: SocketAddr = to.parse().unwrap();
                    let client = UdpSocket::bind(from).unwrap();
                    wait_for_echo(&client, to, &worker);
                    exchange(&client, to, EACH - 1);
                }
            });
            worker.join().unwrap();
        });
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One exchange, when the worker has got ready: until then nobody answers.
fn wait_for_echo(client: &UdpSocket, to: SocketAddr, worker: &std::thread::ScopedJoinHandle<'_, ()>) {
    client.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let start = Instant::now();
    // The kernel has no socket on that port: what comes too early is refused, and isn't counted as redirected.
    while client.send_to(b"ready?", to).is_err() || client.recv_from(&mut [0; 256]).is_err() {
        assert!(!worker.is_finished() && start.elapsed() < Duration::from_secs(10), "no answer");
    }
}

/// Sends `count` datagrams of different lengths, 32 at a time, and checks every answer.
fn exchange(client: &UdpSocket, to: SocketAddr, count: usize) {
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let payload = |nth: usize| {
        let mut payload = vec![nth as u8; 4 + nth % 1100];
        payload[..4].copy_from_slice(&(nth as u32).to_be_bytes());
        payload
    };
    let mut answer = [0; 2048];
    for first in (0..count).step_by(32) {
        let batch = first..count.min(first + 32);
        for nth in batch.clone() {
            client.send_to(&payload(nth), to).expect("sent");
        }
        for nth in batch {
            let (len, from) = client.recv_from(&mut answer).expect("an answer");
            assert_eq!(from, to);
            let rest = answer[..len].strip_prefix(STAMP).expect("stamped");
            assert_eq!(rest, payload(nth), "answers come in order");
        }
    }
}

#[test]
fn a_worker_that_was_away_loses_packets_but_no_frame() {
    if !lab::ready("a_worker_that_was_away_loses_packets_but_no_frame") {
        return;
    }
    let network = Network::new("away");
    let device = network.node.ifindex("sw-n");
    network.node.enter(|| {
        let (_mirror, hops) = Mirror::start().unwrap();
        network.resolve(&hops, device);
        let mut program = Program::load(&LoadOptions::default()).unwrap();
        let listener: SocketAddr = "10.91.1.1:5060".parse().unwrap();
        program.listen(listener).unwrap();
        let mut socket = Socket::open(device, 0, &SMALL).unwrap();
        program.set_socket(0, 0, socket.as_fd()).unwrap();
        let heartbeat = program.heartbeat(0).unwrap();
        // A beat from the future: as if the worker were alive all the time.
        heartbeat.beat(now_ns() + 60_000_000_000);
        program.attach(device, AttachMode::Native).unwrap();

        let client = network.far.enter(|| UdpSocket::bind("10.91.2.9:5060").unwrap());
        for _ in 0..500 {
            client.send_to(b"nobody listens", listener).unwrap();
        }
        lab::until(Duration::from_secs(5), || {
            (program.counters().unwrap()[Counter::Redirect as usize] == 500).then_some(())
        })
        .expect("all were redirected");
        let (balance, statistics) = (socket.balance(), socket.statistics().unwrap());
        assert!(balance.holds(), "{balance:?}");
        assert_eq!(balance.rx, 64, "the RX ring is full: {balance:?}");
        assert_eq!(statistics.rx_ring_full, 500 - 64, "{statistics:?}");

        // Back: what waited is answered, and everything is as before.
        let mut batch = FrameBatch::new();
        let echoing = std::thread::scope(|scope| {
            let exchanged = scope.spawn(|| {
                client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                for _ in 0..64 {
                    client.recv_from(&mut [0; 256]).unwrap();
                }
                exchange(&client, listener, 500);
            });
            while !exchanged.is_finished() {
                echo(&mut socket, &hops, device, &mut batch);
            }
            exchanged.join()
        });
        echoing.unwrap();
        let balance = socket.balance();
        assert!(balance.holds() && balance.held == 0, "{balance:?}");
        assert_eq!(socket.counters().rx, 564);
    });
}
