//! What a verb shows while it works: a spinner on a terminal, plain lines elsewhere. It goes to standard error, so
//! that standard output holds results alone.

use std::fmt::Display;
use std::time::{Duration, Instant};

use console::{Term, style};
use indicatif::{ProgressBar, ProgressStyle};

/// Whether moving lines and colours are welcome: standard error is a terminal.
pub fn on_a_terminal() -> bool {
    Term::stderr().is_term()
}

/// One step under way. Dropped without [`Step::done`], it disappears: the failure that follows says the rest.
#[derive(Debug)]
pub struct Step {
    name: String,
    bar: ProgressBar,
    began: Instant,
}

impl Step {
    /// Begins a step; `name` says what is done, as in "build the node".
    pub fn begin(name: impl Into<String>) -> Self {
        let name = name.into();
        let bar = if on_a_terminal() {
            let bar = ProgressBar::new_spinner().with_style(spinner());
            bar.set_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            ProgressBar::hidden()
        };
        Self { name, bar, began: Instant::now() }
    }

    /// Like `begin` for a step that takes long: without a terminal its beginning is a line of its own.
    pub fn begin_long(name: impl Into<String>) -> Self {
        let step = Self::begin(name);
        if !on_a_terminal() {
            eprintln!("...  {}", step.name);
        }
        step
    }

    /// What is being done right now; a terminal alone shows it.
    pub fn now(&self, what: impl Display) {
        self.bar.set_message(what.to_string());
    }

    /// The step is done; `result` is what the reader wants to know of it, and may be empty.
    pub fn done(self, result: impl Display) {
        self.bar.finish_and_clear();
        let took = self.began.elapsed();
        let took = if took > Duration::from_secs(1) {
            format!(" ({:.1} s)", took.as_secs_f64())
        } else {
            String::new()
        };
        let result = result.to_string();
        let colon = if result.is_empty() { "" } else { ": " };
        eprintln!("{}   {}{colon}{result}{took}", style("ok").for_stderr().green().bold(), self.name);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Something the reader should know that stops nothing.
pub fn warn(what: impl Display) {
    eprintln!("{} {what}", style("warn").for_stderr().yellow().bold());
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner:.cyan} {prefix} {elapsed} {wide_msg:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
