//! The live view: one moving line on a terminal, one line for each thing done elsewhere. On standard error.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::drive::Gauge;

/// See the head of this file.
#[derive(Debug)]
pub struct Live {
    quiet: bool,
    now: Mutex<Option<Now>>,
}

#[derive(Debug)]
struct Now {
    what: String,
    bar: ProgressBar,
    began: Instant,
    /// When the line was drawn last, and how many had begun then.
    drawn: (Instant, u64),
    rate: f64,
}

impl Live {
    /// `quiet` shows nothing at all.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { quiet, now: Mutex::new(None) }
    }

    /// Something begins; `of` is how many it will be, if that is known.
    pub fn begin(&self, what: &str, of: Option<u64>) {
        if self.quiet {
            return;
        }
        let bar = match (std::io::stderr().is_terminal(), of) {
            (false, _) => ProgressBar::hidden(),
            (true, Some(of)) => ProgressBar::new(of).with_style(style("{bar:24.cyan} {wide_msg}")),
            (true, None) => {
                ProgressBar::new_spinner().with_style(style("{spinner:.cyan} {elapsed} {wide_msg}"))
            }
        };
        let now = Instant::now();
        self.set(Some(Now { what: what.to_owned(), bar, began: now, drawn: (now, 0), rate: 0.0 }));
    }

    /// How it goes.
    pub fn show(&self, gauges: &[Gauge]) {
        let Ok(mut now) = self.now.lock() else { return };
        let Some(now) = now.as_mut().filter(|now| !now.bar.is_hidden()) else { return };
        let sum = |of: fn(&Gauge) -> &std::sync::atomic::AtomicU64| -> u64 {
            gauges.iter().map(|gauge| of(gauge).load(Ordering::Relaxed)).sum()
        };
        let begun = sum(|gauge| &gauge.begun);
        let since = now.drawn.0.elapsed().as_secs_f64();
        if since > 0.5 {
            now.rate = begun.saturating_sub(now.drawn.1) as f64 / since;
            now.drawn = (Instant::now(), begun);
        }
        let (succeeded, failed) = (sum(|gauge| &gauge.succeeded), sum(|gauge| &gauge.failed));
        now.bar.set_position(succeeded + failed);
        now.bar.set_message(format!(
            "{}: {:.0}/s now, {begun} begun, {succeeded} ok, {failed} failed, {} going on, {} repeated",
            now.what,
            now.rate,
            sum(|gauge| &gauge.live),
            sum(|gauge| &gauge.repeated),
        ));
    }

    /// It is done; `result` says how it went.
    pub fn done(&self, result: &str) {
        let Ok(mut now) = self.now.lock() else { return };
        let Some(now) = now.take() else { return };
        now.bar.finish_and_clear();
        eprintln!("{} ({:.1} s): {result}", now.what, now.began.elapsed().as_secs_f64());
    }

    fn set(&self, what: Option<Now>) {
        if let Ok(mut now) = self.now.lock() {
            *now = what;
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
