//! The frames' way round the rings, with the kernel's ends played here.

use proptest::prelude::*;

use super::super::ring::fake::{self, Hand};
use super::super::umem::UmemConfig;
use super::*;

/// The other side: takes from fill and TX, gives to RX and completion.
struct Kernel {
    fill: Consumer<u64>,
    completion: Producer<u64>,
    rx: Producer<libc::xdp_desc>,
    tx: Consumer<libc::xdp_desc>,
    /// Taken from the fill ring, not yet received into.
    buffers: Vec<u64>,
    /// Taken from the TX ring, not yet completed.
    sending: Vec<libc::xdp_desc>,
    rx_hand: Hand<libc::xdp_desc>,
}

const NO_DESC: libc::xdp_desc = libc::xdp_desc { addr: 0, len: 0, options: 0 };

fn pair(frames: u32, ring: u32, first: u32) -> (Rings, Kernel) {
    let umem =
        Umem::new(&UmemConfig { frames, chunk: 2048, headroom: 64, huge: false }).expect("a small UMEM");
    let (fill, kernel_fill, _) = fake::ring(ring, first, 0);
    let (kernel_completion, completion, _) = fake::ring(ring, first, 0);
    let (kernel_rx, rx, rx_hand) = fake::ring(ring, first, NO_DESC);
    let (tx, kernel_tx, _) = fake::ring(ring, first, NO_DESC);
    let rings = Rings {
        umem,
        side: Side::Owner(Queue { fill, completion, lenders: Vec::new() }),
        rx,
        tx,
        counters: Counters::default(),
        reserve: frames / 4,
    };
    let kernel = Kernel {
        fill: kernel_fill,
        completion: kernel_completion,
        rx: kernel_rx,
        tx: kernel_tx,
        buffers: Vec::new(),
        sending: Vec::new(),
        rx_hand,
    };
    (rings, kernel)
}

impl Kernel {
    fn take_fill(&mut self, count: usize) {
        for _ in 0..count {
            self.buffers.extend(self.fill.pop());
        }
        self.fill.release();
    }

    fn deliver(&mut self, count: usize, len: u32) -> usize {
        let mut delivered = 0;
        for _ in 0..count {
            let Some(&address) = self.buffers.last() else { break };
            if !self.rx.push(libc::xdp_desc { addr: address + 256 + 64, len, options: 0 }) {
                break;
            }
            self.buffers.pop();
            delivered += 1;
        }
        self.rx.submit();
        delivered
    }

    fn take_tx(&mut self, count: usize) {
        for _ in 0..count {
            self.sending.extend(self.tx.pop());
        }
        self.tx.release();
    }

    fn complete(&mut self, count: usize) {
        for _ in 0..count {
            let Some(desc) = self.sending.last() else { break };
            if !self.completion.push(desc.addr) {
                break;
            }
            self.sending.pop();
        }
        self.completion.submit();
    }
}

#[test]
fn a_packet_goes_round_without_changing_its_chunk() {
    let (mut rings, mut kernel) = pair(16, 8, u32::MAX - 2);
    let mut batch = FrameBatch::new();
    for turn in 0..100u64 {
        rings.settle();
        kernel.take_fill(1);
        assert_eq!(kernel.deliver(1, 100), 1);
        assert_eq!(rings.receive(&mut batch), 1);
        let mut frame = batch.pop().unwrap();
        let chunk = frame.chunk();
        assert_eq!(frame.range(), 320..420);
        rings.umem.chunk_mut(&mut frame)[300..320].fill(0xaa);
        frame.set_range(300..420).unwrap();
        rings.transmit(frame).unwrap();
        rings.tx.submit();
        kernel.take_tx(1);
        let sent = kernel.sending[0];
        assert_eq!((sent.addr, sent.len), (u64::from(chunk) * 2048 + 300, 120));
        kernel.complete(1);
        assert_eq!((rings.counters.rx, rings.counters.tx), (turn + 1, turn + 1));
    }
    rings.settle();
    assert_eq!(rings.counters.completed, 100);
    assert!(rings.balance().holds());
}

#[test]
fn the_fill_ring_leaves_a_reserve_and_starvation_is_counted() {
    let (mut rings, mut kernel) = pair(16, 32, 0);
    rings.settle();
    assert_eq!(rings.ring_use().fill, 12);
    assert_eq!(rings.umem.available(), 4);
    assert_eq!(rings.counters.fill_starved, 0);
    kernel.take_fill(12);
    rings.settle();
    assert_eq!(rings.counters.fill_starved, 1);
}

#[test]
fn what_cannot_be_sent_comes_back() {
    let (mut rings, _kernel) = pair(16, 4, 0);
    let runt = rings.umem.take().unwrap();
    let runt = rings.transmit(runt).unwrap_err();
    rings.umem.give(runt);
    for nth in 0..5 {
        let mut frame = rings.umem.take().unwrap();
        let start = frame.start();
        frame.set_range(start..start + 60).unwrap();
        let result = rings.transmit(frame);
        assert_eq!(result.is_ok(), nth < 4);
        if let Err(frame) = result {
            rings.umem.give(frame);
        }
    }
    assert_eq!((rings.counters.tx_runt, rings.counters.tx_ring_full, rings.counters.tx), (1, 1, 4));
    assert!(rings.balance().holds());
}

#[test]
fn a_driver_gone_mad_costs_counts_and_nothing_else() {
    let (mut rings, mut kernel) = pair(16, 8, 0);
    rings.settle();
    kernel.take_fill(1);
    let good = kernel.buffers[0];
    for (addr, len) in [(u64::MAX, 60), (good + 2000, 100), (good + 2048 * 9, 60), (good, 60), (good, 60)] {
        assert!(kernel.rx.push(libc::xdp_desc { addr, len, options: 0 }));
    }
    kernel.rx.submit();
    let mut batch = FrameBatch::new();
    assert_eq!(rings.receive(&mut batch), 1, "one of five is real");
    assert_eq!(rings.counters.rx_bad_address, 4);
    rings.umem.give(batch.pop().unwrap());
    for address in [good, u64::MAX, 2048 * 16] {
        assert!(kernel.completion.push(address));
    }
    kernel.completion.submit();
    rings.settle();
    assert_eq!(rings.counters.completion_bad_address, 3);
    kernel.rx_hand.set_producer(77);
    assert_eq!(rings.receive(&mut batch), 0);
    assert!(rings.balance().holds());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Service,
    KernelFill(usize),
    Deliver(usize),
    Receive,
    Transmit(usize),
    Recycle(usize),
    Take(usize),
    KernelSend(usize),
    Complete(usize),
    Forge(u64, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let count = 1..20usize;
    prop_oneof![
        Just(Step::Service),
        count.clone().prop_map(Step::KernelFill),
        count.clone().prop_map(Step::Deliver),
        Just(Step::Receive),
        count.clone().prop_map(Step::Transmit),
        count.clone().prop_map(Step::Recycle),
        (1..4usize).prop_map(Step::Take),
        count.clone().prop_map(Step::KernelSend),
        count.prop_map(Step::Complete),
        // Addresses of chunks that are free, held or being sent as often as ones out of bounds.
        (0..80_000u64, 0..3000u32).prop_map(|(addr, len)| Step::Forge(addr, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the order of events, and whatever the kernel makes up, frames balance, no chunk has two owners, and
    /// in the end every frame that the kernel gives back is free again.
    #[test]
    fn frames_balance_after_every_step(first: u32, steps in prop::collection::vec(step(), 0..300)) {
        let (mut rings, mut kernel) = pair(32, 8, first);
        let mut batch = FrameBatch::new();
        let mut held: Vec<Frame> = Vec::new();
        let mut forged = false;
        for step in steps {
            match step {
                Step::Service => { rings.settle(); rings.tx.submit(); }
                Step::KernelFill(count) => kernel.take_fill(count),
                Step::Deliver(count) => { kernel.deliver(count, 64); }
                Step::Receive => {
                    rings.receive(&mut batch);
                    held.extend(std::iter::from_fn(|| batch.pop()));
                }
                Step::Transmit(count) => for _ in 0..count {
                    let Some(frame) = held.pop() else { break };
                    if let Err(frame) = rings.transmit(frame) {
                        held.push(frame);
                        break;
                    }
                },
                Step::Recycle(count) => for _ in 0..count {
                    let Some(frame) = held.pop() else { break };
                    rings.umem.give(frame);
                },
                Step::Take(count) => for _ in 0..count {
                    let Some(mut frame) = rings.umem.take() else { break };
                    frame.set_range(300..360).unwrap();
                    held.push(frame);
                },
                Step::KernelSend(count) => kernel.take_tx(count),
                Step::Complete(count) => kernel.complete(count),
                Step::Forge(addr, len) => {
                    forged = true;
                    kernel.rx.push(libc::xdp_desc { addr, len, options: 0 });
                    kernel.rx.submit();
                    kernel.completion.push(addr);
                    kernel.completion.submit();
                }
            }
            let balance = rings.balance();
            let chunks: std::collections::BTreeSet<u32> = held.iter().map(Frame::chunk).collect();
            prop_assert!(balance.holds(), "{balance:?}");
            prop_assert_eq!(balance.held as usize, held.len());
            prop_assert_eq!(chunks.len(), held.len(), "two tokens for one chunk");
        }
        held.drain(..).for_each(|frame| rings.umem.give(frame));
        if !forged {
            // From here on nothing is given for reception.
            rings.reserve = 32;
            for _ in 0..32 {
                rings.tx.submit();
                kernel.take_tx(32);
                kernel.complete(32);
                kernel.take_fill(32);
                kernel.deliver(32, 64);
                rings.receive(&mut batch);
                std::iter::from_fn(|| batch.pop()).for_each(|frame| rings.umem.give(frame));
                rings.settle();
            }
            prop_assert_eq!(rings.umem.available(), 32, "{:?}", rings.balance());
        }
    }
}
