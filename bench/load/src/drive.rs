//! One thread's loop: agents, their wire, and the clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::agents::Agents;
use crate::pace::Pace;
use crate::wire::Wire;

/// Longest datagram that is received.
const LONGEST: usize = 65_535;
/// The loop looks at the interrupt flag at least so often.
const NAP: Duration = Duration::from_millis(50);

/// How long a thread waits, while messages come often, so that it takes more at once: a wake-up for each of them would
/// be most of what the machine does, and at whose expense it goes is for the scheduler to say.
const GATHER: Duration = Duration::from_micros(50);
/// How long messages are counted before it is judged whether they come often.
const WINDOW: u64 = 2_000_000;
/// Messages that come while one waits, at least, for the waiting to be worth it: 40,000 a second.
const COMPANY: u64 = 2;

/// Nanoseconds since the program began: one for all threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> u64 {
        // 584 years go into it.
        self.0.elapsed().as_nanos() as u64
    }
}

/// What the live view sees of a thread. Written by the thread alone, once in each turn.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Calls begun.
    pub begun: AtomicU64,
    /// Ended well.
    pub succeeded: AtomicU64,
    /// Ended otherwise.
    pub failed: AtomicU64,
    /// Going on.
    pub live: AtomicU64,
    /// Requests and responses repeated.
    pub repeated: AtomicU64,
}

/// Plays one run to its end: until every call that was to begin is over, `drain` nanoseconds after the last beginning at
/// the latest, or until `stop` is raised.
pub fn drive(
    agents: &mut Agents,
    wire: &mut dyn Wire,
    clock: Clock,
    (pace, window, drain): (Pace, (u64, u64), u64),
    spin: bool,
    (gauge, stop): (&Gauge, &AtomicBool),
) {
    // The kernel lets sleeps of ordinary threads run 50 µs over; requests would leave as late.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut datagram = vec![0; LONGEST];
    let before = wire.counts();
    agents.begin(pace, window);
    let mut ending = None;
    let mut often = Often::default();
    loop {
        agents.advance(clock.now(), wire);
        wire.flush();
        let received = wire.receive();
        // When they were there: what follows is our own time.
        let now = clock.now();
        for at in 0..received {
            if let Some((side, source, len)) = wire.datagram(at, &mut datagram) {
                agents.receive(now, side, source, datagram.get(..len).unwrap_or_default(), wire);
            }
        }
        wire.flush();
        show(agents, gauge);
        let now = clock.now();
        if agents.begins_no_more() {
            let since = *ending.get_or_insert(now);
            if now.saturating_sub(since) >= drain {
                agents.give_up();
                show(agents, gauge);
            }
        }
        if agents.over(now) || stop.load(Ordering::Relaxed) {
            break;
        }
        if received > 0 || spin {
            often.came += received as u64;
        } else if often.wait(now) {
            std::thread::sleep(GATHER);
        } else {
            let nap = agents.next().map_or(NAP, |next| Duration::from_nanos(next.saturating_sub(now)));
            if !nap.is_zero() {
                wire.wait(nap.min(NAP));
            }
        }
    }
    let after = wire.counts();
    agents.traffic().sent = after.sent - before.sent;
}

/// Whether messages come so often that it is better not to be woken for each.
#[derive(Debug, Default)]
struct Often {
    since: u64,
    came: u64,
    so: bool,
}

impl Often {
    fn wait(&mut self, now: u64) -> bool {
        let window = now.saturating_sub(self.since);
        if window >= WINDOW {
            self.so = self.came * GATHER.as_nanos() as u64 >= COMPANY * window;
            (self.since, self.came) = (now, 0);
        }
        self.so
    }
}

fn show(agents: &Agents, gauge: &Gauge) {
    let tally = agents.tally();
    let both = |of: fn(&crate::tally::Counting) -> u64| of(&tally.steady) + of(&tally.outside);
    gauge.begun.store(both(|counting| counting.begun), Ordering::Relaxed);
    gauge.succeeded.store(both(|counting| counting.succeeded), Ordering::Relaxed);
    gauge.failed.store(both(|counting| counting.failed), Ordering::Relaxed);
    let repeated = both(|counting| counting.requests_repeated + counting.responses_repeated);
    gauge.repeated.store(repeated, Ordering::Relaxed);
    gauge.live.store(u64::from(agents.live()), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_waits_for_more_only_while_messages_come_often() {
        let mut often = Often::default();
        assert!(!often.wait(10_000_000));
        often.came = 100;
        assert!(!often.wait(11_000_000), "the window is not over");
        assert!(often.wait(12_000_000), "50 a millisecond");
        often.came = 79;
        assert!(!often.wait(14_000_000), "39.5 a millisecond");
    }
}
