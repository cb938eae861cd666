//! A worker: one pinned thread that owns its sockets and its engine, and shares nothing on the way of a message.
//!
//! Each turn of the loop beats the worker's heart, takes up to 64 frames from each RX ring, runs every message
//! through the engine where it lies, puts the result on the TX ring, reaps completions and refills. The kernel sockets
//! are asked when `epoll` says so, and otherwise every so often; what of theirs belongs to another worker is handed over (see
//! [`exchange`]). With nothing to do for a while the thread sleeps in `epoll`, never so long that its heart would look still.
//!
//! While another node takes this one's place the worker stands still: it beats no more, so that everything comes to the kernel
//! sockets, handles what its rings have, and touches nothing until it is told to go on or to stop.
//!
//! A queue has a socket for each worker, which all use one UMEM. The worker that owns the queue keeps its fill and completion
//! ring going; the others say when they need it, also in its sleep.
//!
//! | File | Holds |
//! |---|---|
//! | `lane` | what every message passes, whichever way it came |
//! | `exchange`, `bell` | messages that come by one worker and belong to another |
//! | `stand_in`, `beat` | who serves in the place of a worker that is stuck, and how that shows |
//! | `polling` | how long to look before sleeping |
//! | `chores` | what a loop does besides its messages |
//! | `count`, `report` | what is counted, and how status gets it |

mod beat;
mod bell;
mod chores;
mod count;
mod exchange;
mod lane;
mod polling;
mod report;
mod stand_in;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rtrb::Producer;
use rustix::event::{Timespec, epoll};
use rustix::thread::clock_nanosleep_relative;
use rustix::time::{ClockId, clock_gettime};
use strowger_engine::{Engine, Sighting, Time};
use strowger_xdp::Heartbeat;
use strowger_xsk::{FrameBatch, KernelSocket, Socket};

use self::chores::Chores;
pub(crate) use self::count::{Count, Counts};
pub(crate) use self::exchange::{Exchange, Spread, Wakers};
use self::lane::Lane;
use self::polling::Gathering;
pub(crate) use self::report::{QueueReport, Report};
pub(crate) use self::stand_in::StandIn;
use crate::calls::Errands;
use crate::config::Polling;
use crate::dataplane::nic::Share;
use crate::dataplane::watch::Refit;
use crate::egress::FastPath;
use crate::names::Asker;
use crate::orders::Orders;
use crate::report::Desk;

/// Longest sleep: a fifth of the age at which XDP takes a heart for still, and the longest that a status request or a
/// stop waits.
const SLEEP: Duration = Duration::from_millis(20);
/// Longest sleep while the kernel has not taken all of a TX ring, or a name is asked for: nothing would wake us.
const SLEEP_SENDING: Duration = Duration::from_millis(1);
/// How often a busy worker asks its kernel sockets. They carry the exceptions, and asking is a system call.
const KERNEL_EVERY: Duration = Duration::from_micros(200);
/// Turns that a stopping worker still makes for what is in its rings.
const LAST_TURNS: usize = 64;
/// A worker that is to stand still has had nothing in its rings for so long: what another CPU was just putting there is in.
const QUIET: Duration = Duration::from_millis(1);
/// It stands still after so long whatever is in them.
const QUIET_AT_LAST: Duration = Duration::from_millis(20);
/// How often one that stands still looks whether to go on.
const STILL_WATCH: Duration = Duration::from_micros(200);
/// What a turn can make its engine see of sources at most: about a batch of each queue.
const SIGHTINGS: usize = 1024;
/// Messages from other workers that one turn takes at most.
const HANDED_AT_ONCE: usize = 64;

/// One queue, as one of its workers has it.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Its number on the device.
    pub number: u32,
    /// The worker that owns it.
    pub owner: usize,
    /// This worker's socket on it.
    pub socket: Socket,
}

/// What a worker is made of.
pub(crate) struct Parts {
    /// Its own.
    pub engine: Engine,
    /// A socket on each queue that can bring it messages; none with mode `off`.
    pub queues: Vec<Queue>,
    /// One for each listen address.
    pub kernel: Vec<KernelSocket>,
    /// What tells XDP that it lives; none with mode `off`.
    pub heartbeat: Option<Heartbeat>,
    /// None with mode `off`.
    pub fast: Option<FastPath>,
    /// Who resolves names.
    pub names: Asker,
    /// Its ends of the lines to the others.
    pub exchange: Exchange,
    /// Where it says what it has seen of sources; none when nobody wants to know.
    pub sightings: Option<Producer<Sighting>>,
    /// How it waits.
    pub polling: Polling,
    /// How long it waits under load so that more messages are taken at once.
    pub gather: Duration,
    /// Where its part of a device that was made anew is left.
    pub refit: Arc<Refit>,
}

/// See the head of this file.
pub(crate) struct Worker {
    queues: Vec<Queue>,
    kernel: Vec<KernelSocket>,
    heartbeat: Option<Heartbeat>,
    lane: Lane,
    /// How long it goes round without work before it sleeps; none for never.
    patience: Option<Duration>,
    polling: Polling,
    gather: Duration,
    gathering: Gathering,
    refit: Arc<Refit>,
    /// How often it asks its kernel sockets while there is other work.
    kernel_every: Duration,
    chores: Chores,
    errands: Arc<Errands>,
    orders: Arc<Orders>,
    sightings: Option<Producer<Sighting>>,
    sleeper: OwnedFd,
}

/// What epoll says of a queue's socket.
const QUEUE: u64 = 0;
/// What epoll says of a kernel socket.
const KERNEL: u64 = 1;
/// What epoll says of the bell.
const BELL: u64 = 2;

impl Worker {
    /// A worker over its parts. Fails when the kernel has no epoll descriptor left.
    pub(crate) fn new(
        mut parts: Parts,
        (desk, errands, orders): (Arc<Desk<Report>>, Arc<Errands>, Arc<Orders>),
    ) -> std::io::Result<Worker> {
        if parts.sightings.is_some() {
            parts.engine.watch_sources(SIGHTINGS);
        }
        let sleeper = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let sources = (parts.queues.iter().map(|queue| (queue.socket.as_fd(), QUEUE)))
            .chain(parts.kernel.iter().map(|socket| (socket.as_fd(), KERNEL)))
            .chain(parts.exchange.bell().map(|bell| (bell, BELL)));
        for (source, what) in sources {
            epoll::add(&sleeper, source, epoll::EventData::new_u64(what), epoll::EventFlags::IN)?;
        }
        let (patience, kernel_every) = habits(parts.polling, &parts.queues);
        Ok(Worker {
            gathering: Gathering::new(parts.polling, parts.gather, parts.queues.len()),
            lane: Lane::new(parts.engine, parts.fast, parts.names, parts.exchange, &parts.kernel),
            queues: parts.queues,
            kernel: parts.kernel,
            heartbeat: parts.heartbeat,
            patience,
            polling: parts.polling,
            gather: parts.gather,
            refit: parts.refit,
            kernel_every,
            chores: Chores::new(desk),
            errands,
            orders,
            sightings: parts.sightings,
            sleeper,
        })
    }

    /// The loop, until told to stop.
    pub(crate) fn run(mut self) {
        // The kernel lets sleeps of ordinary threads run 50 µs over.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let mut batch = FrameBatch::new();
        let mut last_work = monotonic();
        let mut last_kernel = Time::START;
        let mut kernel_ready = true;
        let mut kernel_backlog = 0;
        while !self.orders.is_stopping() {
            if self.orders.is_still() {
                self.stand_still(&mut batch);
                (last_work, kernel_ready) = (monotonic(), true);
                continue;
            }
            let now = monotonic();
            if self.refit.is_left() {
                self.refitted();
            }
            self.chores.tell(now, &self.orders, &mut self.lane.engine);
            self.lane.engine.set_pressure(self.backlog().max(kernel_backlog));
            let mut worked = self.queue_turn(now, &mut batch);
            worked |= self.lane.handed_turn(now, HANDED_AT_ONCE, &mut self.kernel);
            if kernel_ready || now.since(last_kernel) >= self.kernel_every {
                let came = self.kernel_turn(now);
                worked |= came > 0;
                // A full batch means that there may be more: ask again at once.
                kernel_ready = came >= KernelSocket::BATCH;
                kernel_backlog = if kernel_ready { self.kernel_backlog() } else { 0 };
                last_kernel = now;
            }
            self.lane.time_turn(now);
            self.tell_sightings();
            worked |= self.errands.serve(&mut self.lane.engine, now);
            worked |= self.transmit_turn(now);
            self.answer_desk(now);
            if worked {
                last_work = now;
            } else if let Some(wait) = self.gathering.wait(now, self.lane.counts.of(Count::RxXsk)) {
                self.gather(wait);
            } else if self.patience.is_some_and(|patience| now.since(last_work) >= patience)
                && self.lane.exchange.lie_down()
            {
                kernel_ready = self.sleep(now);
                // epoll has just looked at the kernel sockets too.
                last_kernel = monotonic();
            }
        }
        if self.orders.is_still() {
            // What the kernel sockets have is for whoever took this node's place.
            return;
        }
        // What is in the rings was taken off the wire. The program is detached, so this ends.
        for _ in 0..LAST_TURNS {
            let now = monotonic();
            let mut idle = !self.queue_turn(now, &mut batch);
            idle &= !self.lane.handed_turn(now, HANDED_AT_ONCE, &mut self.kernel);
            if self.kernel_turn(now) == 0 && !self.transmit_turn(now) && idle {
                break;
            }
        }
    }

    /// Until told to go on, or to stop. Without a beat the program passes what is this worker's, so it waits in the kernel
    /// sockets for whoever serves next; what is in the rings already is handled first.
    #[cold]
    fn stand_still(&mut self, batch: &mut FrameBatch) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat(0);
        }
        let began = monotonic();
        let mut last_work = began;
        loop {
            let now = monotonic();
            let mut worked = self.rings_turn(now, batch);
            worked |= self.lane.handed_turn(now, HANDED_AT_ONCE, &mut self.kernel);
            worked |= self.transmit_turn(now);
            self.lane.announce();
            // What the device has not taken yet would go with its ring.
            if worked || self.queues.iter().any(|queue| queue.socket.ring_use().tx > 0) {
                last_work = now;
            }
            if now.since(last_work) >= QUIET || now.since(began) >= QUIET_AT_LAST {
                break;
            }
        }
        self.tell_sightings();
        let left = self.queues.iter().map(|queue| queue.socket.ring_use().rx as usize).sum();
        self.orders.stands(left);
        while self.orders.is_still() && !self.orders.is_stopping() {
            // It is not stuck.
            self.lane.exchange.beat(monotonic());
            self.answer_desk(monotonic());
            std::thread::sleep(STILL_WATCH);
        }
        self.orders.goes(left);
    }

    /// Answers whoever has asked for a report.
    fn answer_desk(&mut self, now: Time) {
        let Worker { chores, lane, queues, kernel, .. } = self;
        let queues = || queues.iter().map(QueueReport::of).collect();
        chores.answer(|| Report::of(now, lane, queues(), report::kernel(kernel)));
    }

    /// The device has gone, and all that hung on it, or there is another one in its place.
    #[cold]
    fn refitted(&mut self) {
        // A socket that is closed leaves epoll by itself, and what was in its rings is lost with its device.
        self.queues.clear();
        self.heartbeat = None;
        if let Some((device, share)) = self.refit.take() {
            let Share { heartbeat, queues } = share;
            for queue in &queues {
                let data = epoll::EventData::new_u64(QUEUE);
                // Without it the worker would wait out its sleep, 20 ms at most.
                let _ = epoll::add(&self.sleeper, queue.socket.as_fd(), data, epoll::EventFlags::IN);
            }
            self.lane.leave_by(device);
            (self.heartbeat, self.queues) = (Some(heartbeat), queues);
        }
        (self.patience, self.kernel_every) = habits(self.polling, &self.queues);
        self.gathering = Gathering::new(self.polling, self.gather, self.queues.len());
    }

    /// Tells those who police sources what the engine has seen of them. Nobody is waited for.
    fn tell_sightings(&mut self) {
        let Some(line) = &mut self.sightings else { return };
        while let Some(sighting) = self.lane.engine.next_sighting() {
            if line.push(sighting).is_err() {
                self.lane.counts.count(Count::SightingsLost);
            }
        }
    }

    /// Sends what the engine has to send besides. Whether there was anything.
    ///
    /// What a message brings about leaves by that message's queue; only what a timer does comes here, and leaves by the
    /// first.
    fn transmit_turn(&mut self, now: Time) -> bool {
        if !self.lane.engine.has_transmit() {
            return false;
        }
        let socket = self.queues.first_mut().map(|queue| &mut queue.socket);
        self.lane.transmit(now, socket, &mut self.kernel);
        if let Some(queue) = self.queues.first_mut() {
            queue.socket.service();
        }
        self.lane.flush(&mut self.kernel);
        true
    }

    /// How full the fullest RX ring is, in percent.
    fn backlog(&self) -> u8 {
        let percent = |queue: &Queue| {
            let (used, size) = (queue.socket.ring_use().rx, queue.socket.ring_sizes().rx);
            (u64::from(used) * 100).checked_div(size.into()).unwrap_or(0).min(100) as u8
        };
        self.queues.iter().map(percent).max().unwrap_or(0)
    }

    /// How full the fullest kernel socket is, in percent. A system call for each.
    fn kernel_backlog(&self) -> u8 {
        self.kernel.iter().filter_map(|socket| socket.backlog().ok()).max().unwrap_or(0)
    }

    /// A sign of life, and one turn over the queues. Whether anything came.
    fn queue_turn(&mut self, now: Time, batch: &mut FrameBatch) -> bool {
        self.lane.exchange.beat(now);
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat(now.as_nanos());
            if heartbeat.is_spoken_for() {
                heartbeat.set_ready(self.lane.engine.is_ready(now));
            }
        }
        self.rings_turn(now, batch)
    }

    /// One turn over the queues. Whether anything came.
    fn rings_turn(&mut self, now: Time, batch: &mut FrameBatch) -> bool {
        let Worker { queues, kernel, lane, .. } = self;
        lane.counts.count(Count::Turns);
        let mut worked = false;
        for queue in queues {
            queue.socket.receive(batch);
            while let Some(frame) = batch.pop() {
                worked = true;
                lane.frame(now, frame, &mut queue.socket, kernel);
                lane.transmit(now, Some(&mut queue.socket), kernel);
            }
            queue.socket.service();
            if queue.socket.wants_owner() && lane.exchange.wake(queue.owner) {
                lane.counts.count(Count::WokeOthers);
            }
        }
        if worked {
            lane.flush(kernel);
        }
        worked
    }

    /// One turn over the kernel sockets: the most that came from one of them.
    fn kernel_turn(&mut self, now: Time) -> usize {
        let mut most = 0;
        for at in 0..self.kernel.len() {
            most = most.max(self.lane.datagrams(now, at, &mut self.kernel));
        }
        self.lane.flush(&mut self.kernel);
        self.lane.announce();
        most
    }

    /// Sleeps until something comes, the engine's next timer, or the next heartbeat is due. Whether a kernel socket has
    /// something.
    fn sleep(&mut self, now: Time) -> bool {
        self.lane.counts.count(Count::Sleeps);
        let sending =
            self.lane.awaits_names() || self.queues.iter().any(|queue| queue.socket.ring_use().tx > 0);
        let most = if sending { SLEEP_SENDING } else { SLEEP };
        let longest = self.lane.engine.timeout().map_or(most, |at| at.since(now).min(most));
        // At most 20 ms: the conversion cannot fail.
        let longest = Timespec::try_from(longest).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 1_000_000 });
        let mut events = [const {
            epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }
        }; 16];
        let (rung, kernel) = match epoll::wait(&self.sleeper, &mut events[..], Some(&longest)) {
            Ok(n) => {
                let said = |what| events.iter().take(n).any(|event| event.data.u64() == what);
                // With all places taken there may be more that was not said.
                (said(BELL), said(KERNEL) || n == events.len())
            }
            // Interrupted, most likely: asking the kernel sockets once too often does no harm.
            Err(_) => (false, true),
        };
        self.lane.exchange.get_up(rung);
        kernel
    }

    /// Waits whatever comes, so that it comes together.
    fn gather(&mut self, wait: Duration) {
        self.lane.counts.count(Count::Gathered);
        if let Ok(wait) = Timespec::try_from(wait) {
            // A signal makes it shorter, and that is all.
            let _ = clock_nanosleep_relative(ClockId::Monotonic, &wait);
        }
    }
}

/// How long a worker goes round without work before it sleeps, and how often it asks its kernel sockets meanwhile.
fn habits(polling: Polling, queues: &[Queue]) -> (Option<Duration>, Duration) {
    let patience = polling::patience(polling, queues.len());
    // Without queues there is no other work, and who never sleeps is not told by epoll.
    let kernel_every = if queues.is_empty() && patience.is_none() { Duration::ZERO } else { KERNEL_EVERY };
    (patience, kernel_every)
}

/// CLOCK_MONOTONIC, the clock of the heartbeats. Read from the vDSO: no system call.
pub(crate) fn monotonic() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    // Never negative.
    Time::from_nanos((now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64))
}
