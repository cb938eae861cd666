//! Who serves in the place of a worker that is alive but stuck: its thread is stopped, or waits for something that does not come.
//!
//! The XDP program passes what belongs to a worker without a heartbeat, so it comes to the kernel's sockets: to the stuck
//! worker's own, and to those of the others, who know by the hash whose it is and hand it over here. The stand-in is one
//! thread with an engine without transactions (RFC 3261 section 16.11), which leaves nothing behind when the worker is back, and
//! with a second descriptor of every worker's kernel sockets. It reads a worker's sockets only while its beat is too old; what
//! of that belongs to a worker that lives goes there. The rest of the time it sleeps.
//!
//! What it can't do is what the stuck worker alone knows: a CANCEL of an INVITE which that one sent on has another branch here, and
//! finds nothing where it goes.

use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use strowger_engine::{Engine, Time};
use strowger_xsk::KernelSocket;

use super::chores::Chores;
use super::count::Count;
use super::exchange::Exchange;
use super::lane::Lane;
use super::report::{self, Report};
use super::{HANDED_AT_ONCE, monotonic};
use crate::names::Asker;
use crate::orders::Orders;
use crate::report::Desk;

/// How often it looks whether a worker is stuck: a quarter of the time after which one is.
const WATCH: Duration = Duration::from_millis(25);
/// How often it asks the sockets of one that is.
const SERVE: Duration = Duration::from_millis(1);

/// See the head of this file.
pub(crate) struct StandIn {
    lane: Lane,
    /// Every worker's kernel sockets, once more.
    wards: Vec<Vec<KernelSocket>>,
    chores: Chores,
    orders: Arc<Orders>,
}

impl StandIn {
    /// One for the workers whose kernel sockets `wards` are, by their numbers. `engine` keeps no transactions.
    pub(crate) fn new(
        mut engine: Engine,
        wards: Vec<Vec<KernelSocket>>,
        names: Asker,
        exchange: Exchange,
        desk: Arc<Desk<Report>>,
        orders: Arc<Orders>,
    ) -> StandIn {
        engine.stand_in();
        StandIn {
            lane: Lane::new(engine, None, names, exchange, &[]),
            wards,
            chores: Chores::new(desk),
            orders,
        }
    }

    /// The loop, until told to stop.
    pub(crate) fn run(mut self) {
        while !self.orders.is_stopping() {
            let now = monotonic();
            self.lane.counts.count(Count::Turns);
            if self.orders.is_still() {
                // The workers' sockets may be another node's by now.
                self.answer_desk(now);
                std::thread::sleep(SERVE);
                continue;
            }
            self.chores.tell(now, &self.orders, &mut self.lane.engine);
            let (mut worked, serving) = self.serve(now);
            worked |= self.others(now);
            self.answer_desk(now);
            if !worked && self.lane.exchange.lie_down() {
                self.sleep(now, if serving || self.lane.awaits_names() { SERVE } else { WATCH });
            }
        }
    }

    /// Answers whoever has asked for a report.
    fn answer_desk(&mut self, now: Time) {
        let StandIn { chores, lane, wards, .. } = self;
        let kernel = || wards.iter().map(|sockets| report::kernel(sockets)).fold(Vec::new(), report::sum);
        chores.answer(|| Report::of(now, lane, Vec::new(), kernel()));
    }

    /// What came to the sockets of stuck workers. Whether anything did, and whether there are any.
    fn serve(&mut self, now: Time) -> (bool, bool) {
        let (mut worked, mut serving) = (false, false);
        for (worker, kernel) in self.wards.iter_mut().enumerate() {
            if !self.lane.exchange.is_stuck(worker, now) {
                continue;
            }
            serving = true;
            for at in 0..kernel.len() {
                worked |= self.lane.datagrams(now, at, kernel) > 0;
            }
            self.lane.flush(kernel);
        }
        if worked {
            self.lane.announce();
        }
        (worked, serving)
    }

    /// What others handed over, and what the time has brought. Whether there was any.
    fn others(&mut self, now: Time) -> bool {
        // They all have the same addresses.
        let Some(kernel) = self.wards.first_mut() else { return false };
        let came = self.lane.handed_turn(now, HANDED_AT_ONCE, kernel);
        self.lane.time_turn(now);
        let sends = self.lane.engine.has_transmit();
        if sends {
            self.lane.transmit(now, None, kernel);
            self.lane.flush(kernel);
        }
        came || sends
    }

    /// Until somebody hands something over, a timer is due, or it is time to look.
    fn sleep(&mut self, now: Time, most: Duration) {
        self.lane.counts.count(Count::Sleeps);
        let longest = self.lane.engine.timeout().map_or(most, |at| at.since(now).min(most));
        // At most 25 ms: the conversion cannot fail.
        let longest = Timespec::try_from(longest).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 1_000_000 });
        let rung = match self.lane.exchange.bell() {
            Some(bell) => {
                poll(&mut [PollFd::from_borrowed_fd(bell, PollFlags::IN)], Some(&longest)).unwrap_or(0) > 0
            }
            None => false,
        };
        self.lane.exchange.get_up(rung);
    }
}
