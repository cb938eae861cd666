//! A bad network: between phones and node stands a relay that loses packets, the same ones for the same seed and order.
//!
//! A phone sends to the relay's inner port and is seen by the node at the outer one, which is in its contacts too, so that
//! both ways of every message lead through here. Loss is bounded: the same datagram is lost at most [`PATIENCE`] times in
//! a row on its way, so that a test whose ends repeat themselves as they must ends in a known time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use strowger_xtask::namespace::Namespace;

/// How often one and the same datagram may be lost.
const PATIENCE: u32 = 1;
/// Datagrams remembered on each way; it is forgotten whom we owe patience when they are more.
const REMEMBERED: usize = 100_000;

/// The relay's ports for one phone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg {
    /// Where the phone is.
    pub(crate) phone: SocketAddr,
    /// Where it sends to instead of to the node.
    pub(crate) inner: SocketAddr,
    /// Where the node sees it.
    pub(crate) outer: SocketAddr,
}

/// What became of the datagrams.
#[derive(Debug, Default)]
struct Tally {
    passed: AtomicU64,
    lost: AtomicU64,
}

/// A running relay; dropped, it stops.
pub(crate) struct Relay {
    tally: Arc<Tally>,
    over: Arc<AtomicBool>,
    ways: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Loses `loss` of 100 datagrams on each way of each leg.
    pub(crate) fn start(namespace: &Namespace, node: SocketAddr, legs: &[Leg], loss: u64, seed: u64) -> Self {
        let (tally, over) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
        let mut ways = Vec::new();
        for (number, leg) in (0..).zip(legs) {
            // A socket stays in the namespace of the thread that made it.
            let bind = || [leg.inner, leg.outer].map(|address| UdpSocket::bind(address).unwrap());
            let [inner, outer] = namespace.enter_on_a_thread(bind).unwrap();
            let out = (inner.try_clone().unwrap(), outer.try_clone().unwrap(), leg.phone, node);
            let back = (outer, inner, node, leg.phone);
            for (way, (from, to, source, destination)) in (0..).zip([out, back]) {
                let dice = Dice(seed ^ (2 * number + way + 1));
                let (tally, over) = (Arc::clone(&tally), Arc::clone(&over));
                let way = move || carry(&from, &to, (source, destination), loss, dice, &tally, &over);
                ways.push(std::thread::spawn(way));
            }
        }
        Self { tally, over, ways }
    }

    /// Datagrams that passed, and that were lost.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.tally.passed.load(Ordering::Relaxed), self.tally.lost.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for way in self.ways.drain(..) {
            let _ = way.join();
        }
    }
}

fn carry(
    from: &UdpSocket,
    to: &UdpSocket,
    (source, destination): (SocketAddr, SocketAddr),
    loss: u64,
    mut dice: Dice,
    tally: &Tally,
    over: &AtomicBool,
) {
    from.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = vec![0; 65_535];
    let mut losses: HashMap<u64, u32> = HashMap::new();
    while !over.load(Ordering::Relaxed) {
        // An error is the time limit, or the kernel's word that nobody listened to something we sent before.
        let Ok((length, sender)) = from.recv_from(&mut buffer) else { continue };
        if sender != source {
            continue;
        }
        let datagram = &buffer[..length];
        let mut hasher = DefaultHasher::new();
        datagram.hash(&mut hasher);
        if losses.len() > REMEMBERED {
            losses.clear();
        }
        let lost = losses.entry(hasher.finish()).or_default();
        if dice.next() % 100 < loss && *lost < PATIENCE {
            *lost += 1;
            tally.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        *lost = 0;
        tally.passed.fetch_add(1, Ordering::Relaxed);
        let _ = to.send_to(datagram, destination);
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next throw.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
