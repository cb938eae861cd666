//! How one worker gets another's attention: a bit for each worker that has something for it, and a descriptor that wakes
//! it when it sleeps.
//!
//! A worker that is awake sees the bits in its loop: one load of a line that nobody writes while nothing is handed over.
//! Waking costs a system call, so only the first who finds it asleep does it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// One worker's bell. Rung by all others, answered by it alone.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Bell {
    waiting: AtomicU64,
    asleep: AtomicBool,
    event: OwnedFd,
}

impl Bell {
    /// Silent. Fails when the kernel has no descriptor left.
    pub(super) fn new() -> io::Result<Bell> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Bell { waiting: AtomicU64::new(0), asleep: AtomicBool::new(false), event })
    }

    /// Worker `from`, below 64, has put something where the owner of the bell will look. Whether it had to be woken.
    pub(super) fn ring(&self, from: usize) -> bool {
        // Sequentially consistent, as in `lie_down`: of the bit here and the sleep there at least one is seen.
        self.waiting.fetch_or(1_u64.checked_shl(from as u32).unwrap_or(0), Ordering::SeqCst);
        self.wake()
    }

    /// Wakes the owner of the bell if it sleeps. Whether it had to be woken.
    pub(super) fn wake(&self) -> bool {
        let asleep = self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst);
        if asleep {
            // Cannot fail: a counter that is read before each sleep does not fill up.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
        asleep
    }

    /// For the owner: who has rung since the last time, one bit each.
    pub(super) fn answer(&self) -> u64 {
        match self.waiting.load(Ordering::Relaxed) {
            0 => 0,
            // Acquire: what was put there before the ring is seen.
            _ => self.waiting.swap(0, Ordering::Acquire),
        }
    }

    /// For the owner: it is about to wait for [`Self::as_fd`]. False when somebody has rung, and it must not.
    pub(super) fn lie_down(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let quiet = self.waiting.load(Ordering::SeqCst) == 0;
        if !quiet {
            self.get_up(false);
        }
        quiet
    }

    /// For the owner: it is awake; `rung` when its descriptor said so.
    pub(super) fn get_up(&self, rung: bool) {
        // A ring that comes between finds it asleep once too often, which costs a wake-up of nothing.
        let woken = !self.asleep.swap(false, Ordering::SeqCst);
        if woken || rung {
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
        }
    }
}

impl AsFd for Bell {
    /// Can be read when the bell has rung in the owner's sleep.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::time::{Duration, Instant};

    fn waits(bell: &Bell, most: Duration) -> bool {
        let most = Timespec::try_from(most).expect("short");
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&most)).expect("polls") > 0
    }

    #[test]
    fn whoever_rings_a_sleeper_wakes_it_once() {
        let bell = Bell::new().expect("a bell");
        assert!(!bell.ring(3), "it is awake");
        assert!(!bell.lie_down(), "somebody has rung");
        assert_eq!(bell.answer(), 1 << 3);
        assert_eq!(bell.answer(), 0);
        assert!(bell.lie_down());
        assert!(bell.ring(0), "it sleeps");
        assert!(!bell.ring(63), "woken already");
        assert!(waits(&bell, Duration::ZERO));
        bell.get_up(true);
        assert_eq!(bell.answer(), 1 | 1 << 63);
        assert!(bell.lie_down());
        assert!(!waits(&bell, Duration::ZERO), "the last ring is forgotten");
        bell.get_up(false);
        assert!(!bell.wake());
    }

    #[test]
    fn no_ring_is_lost_between_looking_and_sleeping() {
        let (bell, back) = (Bell::new().expect("a bell"), Bell::new().expect("a bell"));
        let rounds = 20_000;
        let side = |mine: &Bell, other: &Bell, first: bool| {
            let mut due = first;
            for _ in 0..rounds {
                if due {
                    other.ring(1);
                }
                due = true;
                let start = Instant::now();
                while mine.answer() == 0 {
                    if mine.lie_down() {
                        let rung = waits(mine, Duration::from_secs(5));
                        mine.get_up(rung);
                    }
                    assert!(start.elapsed() < Duration::from_secs(4), "slept through a ring");
                }
            }
            other.ring(1);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| side(&bell, &back, true));
            scope.spawn(|| side(&back, &bell, false));
        });
    }
}
