//! How a worker tells what it has counted, without ever waiting for who asks.
//!
//! The control side raises a number on the worker's [`Desk`]; the worker sees it in its loop (one relaxed load), writes
//! its report and goes on. A worker that is stuck simply does not answer, and status says so. Nothing is shared
//! between the two on the way of a message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One worker's desk. `R` is what it reports.
#[derive(Debug)]
pub(crate) struct Desk<R> {
    /// Raised by whoever wants a report.
    wanted: AtomicU64,
    /// The last report and the number it answers.
    report: Mutex<(u64, Option<R>)>,
}

impl<R> Default for Desk<R> {
    fn default() -> Self {
        Desk { wanted: AtomicU64::new(0), report: Mutex::new((0, None)) }
    }
}

impl<R: Clone> Desk<R> {
    /// For the worker: the number to answer, if it is not `answered` yet.
    pub(crate) fn asked(&self, answered: u64) -> Option<u64> {
        let wanted = self.wanted.load(Ordering::Relaxed);
        (wanted != answered).then_some(wanted)
    }

    /// For the worker: answers `number`. False when somebody is reading just now; try again in the next loop.
    pub(crate) fn answer(&self, number: u64, report: R) -> bool {
        match self.report.try_lock() {
            Ok(mut slot) => {
                *slot = (number, Some(report));
                true
            }
            Err(_) => false,
        }
    }

    /// For the control side: asks, waits at most `patience`, and returns the report; an old one, or none, when the
    /// worker does not answer. The flag says whether it is fresh.
    pub(crate) async fn ask(&self, patience: Duration) -> (Option<R>, bool) {
        let number = self.wanted.fetch_add(1, Ordering::Relaxed) + 1;
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            {
                let slot = self.slot();
                if slot.0 >= number {
                    return (slot.1.clone(), true);
                }
                if tokio::time::Instant::now() >= deadline {
                    return (slot.1.clone(), false);
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn slot(&self) -> MutexGuard<'_, (u64, Option<R>)> {
        // A report is replaced whole, so one that a panic interrupted is still a whole one.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_live_worker_answers_and_a_stuck_one_does_not_block() {
        let desk = Arc::new(Desk::<u32>::default());
        assert_eq!(desk.ask(Duration::from_millis(5)).await, (None, false), "nobody there");

        let worker = Arc::clone(&desk);
        let thread = std::thread::spawn(move || {
            let mut answered = 0;
            for value in 0.. {
                if let Some(number) = worker.asked(answered)
                    && worker.answer(number, value)
                {
                    answered = number;
                    if number == 3 {
                        return;
                    }
                }
                std::thread::yield_now();
            }
        });
        let (first, fresh) = desk.ask(Duration::from_secs(5)).await;
        assert!(fresh);
        let (second, fresh) = desk.ask(Duration::from_secs(5)).await;
        assert!(fresh && second > first, "{second:?} is newer than {first:?}");
        thread.join().expect("ends after the third");

        let (last, fresh) = desk.ask(Duration::from_millis(5)).await;
        assert_eq!((last, fresh), (second, false), "the last one stays readable and is marked old");
    }
}
