//! How a message that came by one worker's kernel socket reaches the worker that has its call.
//!
//! The XDP program steers by Call-ID, the kernel's sockets by address and port. What the program passes (fragments, options, a
//! Call-ID far behind), and with mode `off` everything, is therefore looked at here, by the same hash: it is handled on the
//! spot when it is this worker's, and otherwise copied once into a slot that goes to the other worker and comes back empty.
//! Each pair of workers has a bounded ring each way, so nothing is locked and nothing allocated, and a worker that has fallen
//! behind costs the others a counted drop. What one source sends to one call stays in order: one socket, one ring.
//!
//! Beside the workers there is a [stand-in](super::stand_in), whose place among a worker's lines is the worker's own, which it
//! would not use. What belongs to a worker that is stuck goes there.
//!
//! Owned by a worker, made for all at the start. With one worker, or flow steering, every message is this worker's.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};
use strowger_engine::Time;
use strowger_wire::steer::{self, SteeringKey};

use super::beat::Beats;
use super::bell::Bell;

/// Slots that each worker has for what it hands over: some batches of its kernel sockets.
const SLOTS: usize = 256;
/// With many workers each has fewer, down to two batches, so that all slots together stay below so many.
const ALL_SLOTS: usize = 4096;
/// Bytes free before a message, for it to grow to the front. As much as a kernel socket's slot has.
const HEADROOM: usize = 512;
/// Longest UDP payload.
const LONGEST: usize = 65_535;

/// A message on its way to another worker.
pub(super) struct Slot {
    bytes: Box<[u8]>,
    /// Where the message lies.
    pub(super) message: Range<usize>,
    /// The address it came to.
    pub(super) local: SocketAddr,
    /// Who sent it.
    pub(super) remote: SocketAddr,
    /// Whose slot it is.
    home: usize,
}

impl Slot {
    fn new(home: usize) -> Box<Slot> {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        // Zeroed memory that nothing touches is not backed by pages, so a slot costs what its messages take.
        let bytes = vec![0; HEADROOM + LONGEST].into_boxed_slice();
        Box::new(Slot { bytes, message: 0..0, local: nobody, remote: nobody, home })
    }

    /// The whole slot; room before and after the message.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The bytes at `range`.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }
}

/// This worker's ends of the rings to and from another.
struct Lines {
    /// Messages for the other.
    to: Producer<Box<Slot>>,
    /// Our slots, empty again.
    back: Consumer<Box<Slot>>,
    /// Messages from the other.
    from: Consumer<Box<Slot>>,
    /// The other's slots, empty again.
    returns: Producer<Box<Slot>>,
    /// Something was put into `to` since the other's bell was last rung.
    unannounced: bool,
}

/// Who is given a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// The worker that it belongs to.
    Worker(usize),
    /// Who serves in the place of a worker that is stuck.
    StandIn,
}

/// Which worker a message belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spread {
    /// Whoever gets it.
    Anyhow,
    /// The worker that its Call-ID's hash names.
    CallId(SteeringKey),
}

/// Wakes workers that sleep, all of them. For orders that cannot wait until they wake by themselves.
#[derive(Clone)]
pub(crate) struct Wakers(Arc<[Bell]>);

impl Wakers {
    /// Wakes them.
    pub(crate) fn wake_all(&self) {
        for bell in self.0.iter() {
            bell.wake();
        }
    }
}

/// See the head of this file.
pub(crate) struct Exchange {
    /// The worker's; of the stand-in, how many workers there are.
    id: usize,
    spread: Spread,
    /// One for each worker. In a worker's own place, the one to the stand-in.
    lines: Vec<Option<Lines>>,
    /// The workers', then the stand-in's.
    bells: Arc<[Bell]>,
    beats: Arc<Beats>,
    #[allow(clippy::vec_box, reason = "slots travel between threads by their address")]
    stock: Vec<Box<Slot>>,
    /// Others who rang and have not been asked yet.
    waiting: u64,
}

impl Exchange {
    /// One for each of `workers`, at most 64, then that of the stand-in. Fails when the kernel has no descriptors left.
    pub(crate) fn between(workers: usize, spread: Spread) -> io::Result<Vec<Exchange>> {
        let beats = Arc::new(Beats::of(workers));
        let bells: Arc<[Bell]> = (0..=workers).map(|_| Bell::new()).collect::<io::Result<Vec<_>>>()?.into();
        // By Call-ID alone is anything ever handed over.
        let slots = match spread {
            Spread::CallId(_) if workers > 1 => (ALL_SLOTS / workers).min(SLOTS),
            _ => 0,
        };
        let mut exchanges: Vec<Exchange> = (0..=workers)
            .map(|id| Exchange {
                id,
                spread,
                lines: (0..workers).map(|_| None).collect(),
                bells: Arc::clone(&bells),
                beats: Arc::clone(&beats),
                stock: (0..slots).map(|_| Slot::new(id)).collect(),
                waiting: 0,
            })
            .collect();
        for one in 0..workers {
            for two in one + 1..=workers {
                let (to_two, from_one) = RingBuffer::new(slots);
                let (to_one, from_two) = RingBuffer::new(slots);
                let (two_returns, one_back) = RingBuffer::new(slots);
                let (one_returns, two_back) = RingBuffer::new(slots);
                let lines = |to, back, from, returns| Lines { to, back, from, returns, unannounced: false };
                let ends = [
                    (one, two, lines(to_two, one_back, from_two, one_returns)),
                    (two, one, lines(to_one, two_back, from_one, two_returns)),
                ];
                for (at, other, ends) in ends {
                    let place = if other == workers { at } else { other };
                    if let Some(line) = exchanges.get_mut(at).and_then(|e| e.lines.get_mut(place)) {
                        *line = Some(ends);
                    }
                }
            }
        }
        Ok(exchanges)
    }

    /// What wakes those that hang on these lines.
    pub(crate) fn wakers(&self) -> Wakers {
        Wakers(Arc::clone(&self.bells))
    }

    /// The worker that `message` belongs to, if it is another. One without a Call-ID stays where it came: it is no request
    /// and no response (RFC 3261 section 8.1.1), and leaves no state.
    #[inline]
    pub(super) fn elsewhere(&self, message: &[u8]) -> Option<usize> {
        let Spread::CallId(key) = &self.spread else { return None };
        let workers = self.lines.len();
        if workers < 2 {
            return None;
        }
        let worker = steer::worker_of(steer::message_hash(key, message)?, workers as u32) as usize;
        (worker != self.id).then_some(worker)
    }

    /// Where `message` is to be handed over to: to the worker that it belongs to, or in the place of one that is stuck to the
    /// stand-in.
    #[inline]
    pub(super) fn destination(&self, now: Time, message: &[u8]) -> Option<Destination> {
        let worker = self.elsewhere(message)?;
        match self.beats.is_stuck(worker, now) {
            false => Some(Destination::Worker(worker)),
            true if self.is_stand_in() => None,
            true => Some(Destination::StandIn),
        }
    }

    /// This worker lives.
    #[inline]
    pub(super) fn beat(&self, now: Time) {
        self.beats.beat(self.id, now);
    }

    /// Whether `worker` has stopped going round.
    pub(super) fn is_stuck(&self, worker: usize, now: Time) -> bool {
        self.beats.is_stuck(worker, now)
    }

    fn is_stand_in(&self) -> bool {
        self.id == self.lines.len()
    }

    /// Whether the XDP program steers by Call-ID between several workers.
    pub(super) fn steers(&self) -> bool {
        self.lines.len() > 1 && matches!(self.spread, Spread::CallId(_))
    }

    /// Gives a copy of `message` to another, who sees it after [`Self::announce`]. False when it has no room.
    pub(super) fn hand_over(
        &mut self,
        to: Destination,
        local: SocketAddr,
        remote: SocketAddr,
        message: &[u8],
    ) -> bool {
        if self.stock.is_empty() {
            self.collect();
        }
        let place = match to {
            Destination::Worker(worker) if worker == self.id => return false,
            Destination::Worker(worker) => worker,
            Destination::StandIn => self.id,
        };
        let Some(Some(lines)) = self.lines.get_mut(place) else { return false };
        let Some(mut slot) = self.stock.pop() else { return false };
        let range = HEADROOM..HEADROOM + message.len();
        let Some(place) = slot.bytes.get_mut(range.clone()) else {
            self.stock.push(slot);
            return false;
        };
        place.copy_from_slice(message);
        (slot.message, slot.local, slot.remote) = (range, local, remote);
        match lines.to.push(slot) {
            Ok(()) => {
                lines.unannounced = true;
                true
            }
            Err(rtrb::PushError::Full(slot)) => {
                self.stock.push(slot);
                false
            }
        }
    }

    /// Takes our empty slots back.
    fn collect(&mut self) {
        for lines in self.lines.iter_mut().flatten() {
            while let Ok(slot) = lines.back.pop() {
                self.stock.push(slot);
            }
        }
    }

    /// Rings at everybody who was given something. How many had to be woken.
    pub(super) fn announce(&mut self) -> u64 {
        let mut woken = 0;
        let stand_in = self.is_stand_in();
        for (place, lines) in self.lines.iter_mut().enumerate() {
            if let Some(lines) = lines
                && std::mem::take(&mut lines.unannounced)
            {
                // By the number under which the other knows us.
                let from = if stand_in { place } else { self.id };
                let whose = if place == self.id { self.bells.len() - 1 } else { place };
                woken += self.bells.get(whose).map_or(0, |bell| u64::from(bell.ring(from)));
            }
        }
        woken
    }

    /// The next message that another worker has for us. Give it back by [`Self::done`]. One load when there is none.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Box<Slot>> {
        if self.waiting == 0 {
            self.waiting = self.bells.get(self.id)?.answer();
        }
        while self.waiting != 0 {
            let from = self.waiting.trailing_zeros();
            let lines = self.lines.get_mut(from as usize).and_then(Option::as_mut);
            if let Some(slot) = lines.and_then(|lines| lines.from.pop().ok()) {
                return Some(slot);
            }
            self.waiting &= self.waiting - 1;
        }
        None
    }

    /// An empty slot goes home.
    pub(super) fn done(&mut self, slot: Box<Slot>) {
        let place = if slot.home == self.lines.len() { self.id } else { slot.home };
        if let Some(Some(lines)) = self.lines.get_mut(place) {
            // There is room for every slot that the other has.
            let _ = lines.returns.push(slot);
        }
    }

    /// Wakes `worker`, who owns a queue that we use. Whether it had to be woken.
    pub(super) fn wake(&self, worker: usize) -> bool {
        worker != self.id && self.bells.get(worker).is_some_and(Bell::wake)
    }

    /// This worker is about to sleep. False when somebody has something for it.
    pub(super) fn lie_down(&self) -> bool {
        self.waiting == 0 && self.bells.get(self.id).is_none_or(Bell::lie_down)
    }

    /// This worker is awake; `rung` when its bell's descriptor said so.
    pub(super) fn get_up(&self, rung: bool) {
        if let Some(bell) = self.bells.get(self.id) {
            bell.get_up(rung);
        }
    }

    /// What can be read when this worker is wanted in its sleep.
    pub(super) fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.bells.get(self.id).map(Bell::as_fd)
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
