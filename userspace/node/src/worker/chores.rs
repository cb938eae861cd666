//! What a loop does besides its messages, the workers' as well as the stand-in's: it tells its engine that the node drains, and what
//! the calendar says, and answers whoever asks for a report.

use std::sync::Arc;
use std::time::Duration;

use strowger_engine::{Engine, Time};

use super::report::Report;
use crate::orders::Orders;
use crate::report::Desk;

/// How often the engine is told the calendar time, which only its Date headers show.
const DATE_EVERY: Duration = Duration::from_secs(1);

/// See the head of this file.
pub(super) struct Chores {
    desk: Arc<Desk<Report>>,
    /// The last question that was answered.
    answered: u64,
    draining: bool,
    /// When the engine was told the calendar time.
    dated: Option<Time>,
}

impl Chores {
    /// For a loop that answers at `desk`.
    pub(super) fn new(desk: Arc<Desk<Report>>) -> Chores {
        Chores { desk, answered: 0, draining: false, dated: None }
    }

    /// Tells the engine what it can't know. For each turn, before its messages.
    pub(super) fn tell(&mut self, now: Time, orders: &Orders, engine: &mut Engine) {
        if !self.draining && orders.is_draining() {
            self.draining = true;
            engine.drain(now);
        }
        if self.dated.is_none_or(|dated| now.since(dated) >= DATE_EVERY) {
            engine.set_wall_clock(now, calendar());
            self.dated = Some(now);
        }
    }

    /// Answers whoever has asked, with a report that is made for it.
    pub(super) fn answer(&mut self, report: impl FnOnce() -> Report) {
        if let Some(number) = self.desk.asked(self.answered)
            && self.desk.answer(number, report())
        {
            self.answered = number;
        }
    }
}

/// Seconds since 1970, as the machine believes.
fn calendar() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
