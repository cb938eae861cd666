//! Several sockets on one queue, with the kernel's ends played here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::super::crossing;
use super::super::ring::fake;
use super::super::umem::UmemConfig;
use super::*;

const NO_DESC: libc::xdp_desc = libc::xdp_desc { addr: 0, len: 0, options: 0 };
const SOCKETS: usize = 3;
const FRAMES: u32 = 64;

/// The other side of the queue and of each socket.
struct Kernel {
    fill: Consumer<u64>,
    completion: Producer<u64>,
    rx: Vec<Producer<libc::xdp_desc>>,
    tx: Vec<Consumer<libc::xdp_desc>>,
    buffers: Vec<u64>,
    sending: Vec<libc::xdp_desc>,
}

/// `count` sockets, the owner first.
fn queue(count: usize, frames: u32, ring: u32, first: u32) -> (Vec<Rings>, Kernel) {
    let config = UmemConfig { frames, chunk: 2048, headroom: 64, huge: false };
    let umem = Umem::for_sockets(&config, count as u32).expect("a small UMEM");
    let (fill, kernel_fill, _) = fake::ring(ring, first, 0);
    let (kernel_completion, completion, _) = fake::ring(ring, first, 0);
    let mut kernel = Kernel {
        fill: kernel_fill,
        completion: kernel_completion,
        rx: Vec::new(),
        tx: Vec::new(),
        buffers: Vec::new(),
        sending: Vec::new(),
    };
    let mut own_rings = || {
        let (kernel_rx, rx, _) = fake::ring(ring, first, NO_DESC);
        let (tx, kernel_tx, _) = fake::ring(ring, first, NO_DESC);
        kernel.rx.push(kernel_rx);
        kernel.tx.push(kernel_tx);
        (rx, tx)
    };
    let (rx, tx) = own_rings();
    let mut borrowers = Vec::new();
    let mut lenders = Vec::new();
    for _ in 1..count {
        let (rx, tx) = own_rings();
        let (lender, borrower) = crossing::between(frames, count as u32, ring, rx.gauge());
        lenders.push(lender);
        let side = Side::Borrower(borrower);
        borrowers.push(Rings {
            umem: umem.shared(),
            side,
            rx,
            tx,
            counters: Counters::default(),
            reserve: 0,
        });
    }
    let side = Side::Owner(Queue { fill, completion, lenders });
    let mut sockets = vec![Rings { umem, side, rx, tx, counters: Counters::default(), reserve: 4 }];
    sockets.append(&mut borrowers);
    sockets.iter_mut().for_each(Rings::settle);
    (sockets, kernel)
}

impl Kernel {
    fn take_fill(&mut self) {
        self.buffers.extend(std::iter::from_fn(|| self.fill.pop()));
        self.fill.release();
    }

    fn deliver(&mut self, socket: usize, count: usize) -> usize {
        let mut delivered = 0;
        while delivered < count
            && let Some(&address) = self.buffers.last()
            && self.rx[socket].push(libc::xdp_desc { addr: address + 320, len: 64, options: 0 })
        {
            self.buffers.pop();
            delivered += 1;
        }
        self.rx[socket].submit();
        delivered
    }

    fn send_and_complete(&mut self) {
        for tx in &mut self.tx {
            self.sending.extend(std::iter::from_fn(|| tx.pop()));
            tx.release();
        }
        while let Some(desc) = self.sending.last()
            && self.completion.push(desc.addr)
        {
            self.sending.pop();
        }
        self.completion.submit();
    }
}

fn received(rings: &mut Rings) -> Vec<Frame> {
    let mut batch = FrameBatch::new();
    rings.receive(&mut batch);
    std::iter::from_fn(|| batch.pop()).collect()
}

#[test]
fn what_a_borrower_drops_goes_home_and_what_it_sends_of_its_own_is_lent() {
    let (mut sockets, mut kernel) = queue(2, 512, 256, 0);
    let allowance = crossing::allowance(512, 2);
    assert_eq!(sockets[1].umem.available(), allowance, "a loan at the start");

    // It drops what it receives: the surplus is the owner's again.
    for _ in 0..20 {
        kernel.take_fill();
        assert_eq!(kernel.deliver(1, 60), 60);
        for frame in received(&mut sockets[1]) {
            sockets[1].umem.give(frame);
        }
        sockets[1].settle();
        assert!(sockets[1].umem.available() <= 2 * allowance, "no hoard");
        sockets[0].settle();
    }
    let (returned, taken) = (sockets[1].counters.returned, sockets[0].counters.taken_home);
    assert!(returned >= 20 * 60 - u64::from(allowance) && returned == taken, "{returned} {taken}");

    // It sends messages of its own without receiving any.
    let lent = sockets[0].counters.lent;
    for _ in 0..20 {
        for _ in 0..allowance / 2 {
            let mut frame = sockets[1].umem.take().expect("on loan");
            frame.set_range(320..384).expect("inside");
            sockets[1].transmit(frame).expect("room");
        }
        sockets[1].tx.submit();
        sockets[1].settle();
        kernel.send_and_complete();
        sockets[0].settle();
    }
    assert!(sockets[0].counters.lent > lent + u64::from(8 * allowance));
    let balance = sockets[0].balance();
    assert!(balance.holds() && balance.held == 0 && balance.tx == 0, "{balance:?}");
}

#[test]
fn the_same_address_in_two_rx_rings_is_one_frame() {
    let (mut sockets, mut kernel) = queue(3, 64, 64, u32::MAX - 2);
    kernel.take_fill();
    let address = kernel.buffers[0] + 320;
    for rx in &mut kernel.rx {
        assert!(rx.push(libc::xdp_desc { addr: address, len: 64, options: 0 }));
        rx.submit();
    }
    let frames: Vec<Vec<Frame>> = sockets.iter_mut().map(received).collect();
    assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(sockets.iter().map(|rings| rings.counters.rx_bad_address).sum::<u64>(), 2);
    for (rings, frames) in sockets.iter_mut().zip(frames) {
        frames.into_iter().for_each(|frame| rings.umem.give(frame));
    }
}

#[test]
fn a_borrower_asks_for_the_owner_before_the_fill_ring_is_empty() {
    let (mut sockets, mut kernel) = queue(2, 512, 256, 0);
    kernel.take_fill();
    let there = kernel.buffers.len();
    let asks = |rings: &mut Rings| match &mut rings.side {
        Side::Borrower(borrower) => borrower.wants_owner(&rings.umem),
        Side::Owner(_) => false,
    };
    let mut used = 0;
    while !asks(&mut sockets[1]) {
        assert_eq!(kernel.deliver(1, 1), 1, "it never asked");
        used += 1;
        for frame in received(&mut sockets[1]) {
            sockets[1].umem.give(frame);
        }
        sockets[1].settle();
    }
    assert!(used <= there / 2, "{used} of {there}");
    assert!(!asks(&mut sockets[1]), "once for so many frames");
    sockets[1].make_room_to_complete();
    assert!(asks(&mut sockets[1]), "nobody else can reap");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Service(usize),
    Fill,
    Deliver(usize, usize),
    Receive(usize),
    Transmit(usize, usize),
    Recycle(usize, usize),
    Take(usize, usize),
    Send,
    Forge(usize, u64, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let socket = 0..SOCKETS;
    let count = 1..20usize;
    prop_oneof![
        3 => socket.clone().prop_map(Step::Service),
        1 => Just(Step::Fill),
        2 => (socket.clone(), count.clone()).prop_map(|(socket, count)| Step::Deliver(socket, count)),
        2 => socket.clone().prop_map(Step::Receive),
        2 => (socket.clone(), count.clone()).prop_map(|(socket, count)| Step::Transmit(socket, count)),
        1 => (socket.clone(), count.clone()).prop_map(|(socket, count)| Step::Recycle(socket, count)),
        1 => (socket.clone(), 1..4usize).prop_map(|(socket, count)| Step::Take(socket, count)),
        1 => Just(Step::Send),
        1 => (socket, 0..150_000u64, 0..3000u32).prop_map(|(socket, addr, len)| Step::Forge(socket, addr, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the order in which the sockets have their turns, and whatever the kernel makes up: frames balance, no
    /// chunk has two tokens or is on two lists, and in the end everything is free again.
    #[test]
    fn frames_balance_over_all_sockets(first: u32, forge: bool, steps in prop::collection::vec(step(), 0..300)) {
        let (mut sockets, mut kernel) = queue(SOCKETS, FRAMES, 32, first);
        let mut held: Vec<Vec<Frame>> = (0..SOCKETS).map(|_| Vec::new()).collect();
        for step in steps {
            match step {
                Step::Service(at) => {
                    sockets[at].settle();
                    sockets[at].tx.submit();
                }
                Step::Fill => kernel.take_fill(),
                Step::Deliver(at, count) => { kernel.deliver(at, count); }
                Step::Receive(at) => held[at].append(&mut received(&mut sockets[at])),
                Step::Transmit(at, count) => for _ in 0..count {
                    let Some(frame) = held[at].pop() else { break };
                    if let Err(frame) = sockets[at].transmit(frame) {
                        held[at].push(frame);
                        break;
                    }
                },
                Step::Recycle(at, count) => for _ in 0..count {
                    let Some(frame) = held[at].pop() else { break };
                    sockets[at].umem.give(frame);
                },
                Step::Take(at, count) => for _ in 0..count {
                    let Some(mut frame) = sockets[at].umem.take() else { break };
                    frame.set_range(300..360).unwrap();
                    held[at].push(frame);
                },
                Step::Send => kernel.send_and_complete(),
                Step::Forge(at, addr, len) if forge => {
                    kernel.rx[at].push(libc::xdp_desc { addr, len, options: 0 });
                    kernel.rx[at].submit();
                    kernel.completion.push(addr);
                    kernel.completion.submit();
                }
                Step::Forge(..) => {}
            }
            let balance = sockets[0].balance();
            prop_assert!(balance.holds(), "{balance:?}");
            let chunks: BTreeSet<u32> = held.iter().flatten().map(Frame::chunk).collect();
            prop_assert_eq!(chunks.len(), held.iter().map(Vec::len).sum::<usize>(), "two tokens for one chunk");
            prop_assert_eq!(balance.held as usize, chunks.len());
            let listed: u32 = sockets.iter().map(|rings| rings.umem.available()).sum();
            prop_assert_eq!(balance.free, listed, "what is free is on one list");
        }
        for (rings, held) in sockets.iter_mut().zip(&mut held) {
            held.drain(..).for_each(|frame| rings.umem.give(frame));
        }
        if !forge {
            // From here on nothing is given for reception.
            sockets[0].reserve = FRAMES;
            for _ in 0..FRAMES {
                kernel.take_fill();
                for (at, rings) in sockets.iter_mut().enumerate() {
                    rings.tx.submit();
                    kernel.deliver(at, 8);
                    received(rings).into_iter().for_each(|frame| rings.umem.give(frame));
                    rings.settle();
                }
                kernel.send_and_complete();
            }
            let balance = sockets[0].balance();
            prop_assert_eq!(balance.free + balance.crossing, FRAMES, "{:?}", balance);
        }
    }
}

/// Owner and borrowers on threads of their own, the kernel on another: every packet is seen once, with the bytes that its
/// chunk's last holder wrote gone, and in the end nothing is missing.
#[test]
fn threads_share_a_queue() {
    let packets: u64 = if cfg!(miri) { 200 } else { 300_000 };
    let (sockets, mut kernel) = queue(3, 256, 128, u32::MAX - 1000);
    let seen = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let mut sockets = std::thread::scope(|scope| {
        let workers: Vec<_> = sockets
            .into_iter()
            .enumerate()
            .map(|(at, mut rings)| {
                let (seen, over) = (&seen, &over);
                scope.spawn(move || {
                    let mut nth = 0u64;
                    while !over.load(Ordering::Acquire) {
                        let frames = received(&mut rings);
                        let idle = frames.is_empty();
                        for mut frame in frames {
                            nth += 1;
                            let chunk = rings.umem.chunk_mut(&mut frame);
                            chunk[320..384].fill(at as u8);
                            // A third is dropped, the rest answered; every seventh has a message besides.
                            if nth.is_multiple_of(3) {
                                rings.umem.give(frame);
                            } else if let Err(frame) = rings.transmit(frame) {
                                rings.umem.give(frame);
                            }
                            if nth.is_multiple_of(7)
                                && let Some(mut own) = rings.umem.take()
                            {
                                rings.umem.chunk_mut(&mut own)[320..384].fill(at as u8);
                                own.set_range(320..384).expect("inside");
                                if let Err(own) = rings.transmit(own) {
                                    rings.umem.give(own);
                                }
                            }
                            seen.fetch_add(1, Ordering::Relaxed);
                        }
                        rings.settle();
                        rings.tx.submit();
                        if idle {
                            std::thread::yield_now();
                        }
                    }
                    rings
                })
            })
            .collect();
        let mut delivered = 0;
        let mut turn = 0;
        while delivered < packets {
            kernel.take_fill();
            turn += 1;
            let wanted = 5.min((packets - delivered) as usize);
            delivered += kernel.deliver(turn % 3, wanted) as u64;
            kernel.send_and_complete();
            std::thread::yield_now();
        }
        while seen.load(Ordering::Relaxed) < packets {
            kernel.send_and_complete();
            std::thread::yield_now();
        }
        over.store(true, Ordering::Release);
        workers.into_iter().map(|worker| worker.join().expect("ends well")).collect::<Vec<_>>()
    });
    for _ in 0..8 {
        sockets.iter_mut().for_each(|rings| rings.tx.submit());
        kernel.send_and_complete();
        sockets[0].settle();
    }
    assert_eq!(seen.load(Ordering::Relaxed), packets, "each once");
    let balance = sockets[0].balance();
    let listed: u32 = sockets.iter().map(|rings| rings.umem.available()).sum();
    assert!(balance.holds() && balance.held == 0 && balance.tx == 0 && balance.rx == 0, "{balance:?}");
    assert_eq!(balance.free, listed, "{balance:?}");
    let bad: u64 =
        sockets.iter().map(|r| r.counters.rx_bad_address + r.counters.completion_bad_address).sum();
    assert_eq!(bad, 0);
}
