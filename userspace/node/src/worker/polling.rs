//! How a worker waits for messages: what it costs in CPU, and what it saves in latency. `dataplane.polling`,
//! `dataplane.gather_us`.

use std::time::Duration;

use strowger_engine::Time;

use crate::config::Polling;

/// How long an idle worker looks at its rings before it sleeps: a wake-up costs several microseconds, so this bounds
/// the waste at a few times what it saves.
const SPIN: Duration = Duration::from_micros(20);
/// How long messages are counted before it is judged whether they come often.
const WINDOW: Duration = Duration::from_millis(2);
/// Messages that would come while one waits, at least, for the waiting to be worth its wake-up.
const COMPANY: u64 = 2;

/// How long a worker goes round without work before it sleeps; none for never. `queues` is how many it has: without any
/// there is nothing to look at but by system calls, and sleeping is one.
pub(super) fn patience(polling: Polling, queues: usize) -> Option<Duration> {
    match polling {
        Polling::Busy => None,
        Polling::Adaptive if queues > 0 => Some(SPIN),
        Polling::Adaptive | Polling::Power => Some(Duration::ZERO),
    }
}

/// Whether a worker that has run out of work waits a little for more, instead of being woken for each message.
///
/// What a NIC does with its interrupts, for rings: while messages come so often that a few of them meet in `most`, one
/// wake-up and one system call to send serve all of these. While they come rarely each is served at once.
#[derive(Debug)]
pub(super) struct Gathering {
    most: Duration,
    since: Time,
    /// Of the counter that is judged by, when the window began.
    seen: u64,
    pays: bool,
}

impl Gathering {
    /// For a worker with so many queues. With `busy` polling nothing is waited for.
    pub(super) fn new(polling: Polling, most: Duration, queues: usize) -> Gathering {
        let most = if polling == Polling::Busy || queues == 0 { Duration::ZERO } else { most };
        Gathering { most, since: Time::START, seen: 0, pays: false }
    }

    /// How long to wait now, with `received` messages since the beginning; none: not at all.
    pub(super) fn wait(&mut self, now: Time, received: u64) -> Option<Duration> {
        if self.most.is_zero() {
            return None;
        }
        let window = now.since(self.since);
        if window >= WINDOW {
            let came = u128::from(received.saturating_sub(self.seen));
            self.pays = came * self.most.as_nanos() >= u128::from(COMPANY) * window.as_nanos();
            (self.since, self.seen) = (now, received);
        }
        self.pays.then_some(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_waits_as_it_says() {
        assert_eq!(patience(Polling::Adaptive, 1), Some(SPIN));
        assert_eq!(patience(Polling::Adaptive, 0), Some(Duration::ZERO), "the kernel's sockets say when");
        assert_eq!(patience(Polling::Power, 4), Some(Duration::ZERO));
        assert_eq!(patience(Polling::Busy, 4), None);
    }

    #[test]
    fn waits_only_while_messages_come_often() {
        let most = Duration::from_micros(100);
        let at = |millis: u64| Time::from_nanos(millis * 1_000_000);
        let mut gathering = Gathering::new(Polling::Adaptive, most, 1);
        assert_eq!(gathering.wait(at(10), 0), None);
        assert_eq!(gathering.wait(at(11), 1000), None, "the window is not over");
        assert_eq!(gathering.wait(at(20), 1000), Some(most), "100 a millisecond: ten in each wait");
        assert_eq!(gathering.wait(at(30), 1200), Some(most), "20 a millisecond: two");
        assert_eq!(gathering.wait(at(31), 1200), Some(most), "still");
        assert_eq!(gathering.wait(at(40), 1390), None, "19 a millisecond");
        for none in [
            Gathering::new(Polling::Busy, most, 1),
            Gathering::new(Polling::Adaptive, most, 0),
            Gathering::new(Polling::Power, Duration::ZERO, 1),
        ] {
            let mut none = none;
            assert_eq!(none.wait(at(10), 1 << 40), None);
        }
    }
}
