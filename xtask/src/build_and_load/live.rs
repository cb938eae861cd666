//! The status line that moves: asked from the node's status socket, drawn in place on a terminal, printed every few
//! seconds elsewhere.

use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};

use crate::node::{Node, Status};
use crate::{Failure, interrupt};

/// How often a terminal's line is drawn anew.
const DRAW_EVERY: Duration = Duration::from_secs(1);
/// How often a line is printed where there is no terminal.
const PRINT_EVERY: Duration = Duration::from_secs(5);
/// How often the node's life and Ctrl-C are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Shows the line until Ctrl-C, the end of `limit`, or at once after the first line when `once`.
///
/// # Errors
/// The node ended on its own.
pub(super) fn watch(node: &mut Node, once: bool, limit: Option<Duration>) -> Result<(), Failure> {
    let terminal = Term::stdout().is_term();
    let bar = if terminal && !once { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_style(
        ProgressStyle::with_template("{spinner:.cyan} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let period = if terminal { DRAW_EVERY } else { PRINT_EVERY };
    let began = Instant::now();
    let mut due = began;
    let mut rates = Rates::default();
    loop {
        if let Some(status) = node.ended()? {
            bar.finish_and_clear();
            return Err(node.obituary(status));
        }
        if Instant::now() >= due {
            due = Instant::now() + period;
            // A node too busy to answer shows as a line that stands still; one that died is caught above.
            if let Ok(status) = node.status() {
                let facts = facts(&status, rates.update(Instant::now(), &status));
                if once || !terminal {
                    println!("{}", facts.join(" | "));
                } else {
                    // Two columns for the spinner, one that terminals like to keep.
                    bar.set_message(wrap(&facts, usize::from(Term::stdout().size().1).saturating_sub(3)));
                }
                if once {
                    return Ok(());
                }
            }
        }
        bar.tick();
        if interrupt::raised() || limit.is_some_and(|limit| began.elapsed() >= limit) {
            // The last line stays on the screen: it is the result of the session.
            bar.abandon();
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Messages and calls a second since the line before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rate {
    messages: f64,
    calls: f64,
}

#[derive(Debug, Default)]
struct Rates {
    before: Option<(Instant, u64, u64)>,
}

impl Rates {
    fn update(&mut self, now: Instant, status: &Status) -> Rate {
        let (messages, calls) = (status.totals.received(), status.calls.invites);
        let rate = self.before.map_or(Rate::default(), |(then, messages_then, calls_then)| {
            let seconds = now.duration_since(then).as_secs_f64().max(0.001);
            // A table or a JSON number wider than 2^53 is centuries away.
            Rate {
                messages: messages.saturating_sub(messages_then) as f64 / seconds,
                calls: calls.saturating_sub(calls_then) as f64 / seconds,
            }
        });
        self.before = Some((now, messages, calls));
        rate
    }
}

/// What the line says, in the order of its importance.
fn facts(status: &Status, rate: Rate) -> Vec<String> {
    let totals = &status.totals;
    vec![
        status.dataplane.mode.clone(),
        format!("AF_XDP {} in, {} out", grouped(totals.sip_in_xsk), grouped(totals.sip_out_xsk)),
        format!("kernel {} in, {} out", grouped(totals.sip_in_kernel), grouped(totals.sip_out_kernel)),
        format!("{} registered", grouped(status.registrations.bindings)),
        format!("{} calls, {:.0}/s", grouped(status.calls.invites), rate.calls),
        format!("{:.0} msg/s", rate.messages),
    ]
}

/// The facts on one line, or on as few as their terminal needs.
fn wrap(facts: &[String], width: usize) -> String {
    let mut text = String::new();
    let mut used = 0;
    for fact in facts {
        if used > 0 && used + 3 + fact.len() > width {
            text.push_str("\n  ");
            used = 0;
        } else if used > 0 {
            text.push_str(" | ");
            used += 3;
        }
        text.push_str(fact);
        used += fact.len();
    }
    text
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Calls, Dataplane, Identity, Registrations, Sip, Totals};

    fn status(received: u64, calls: u64) -> Status {
        Status {
            sip: Sip::default(),
            node: Identity { name: "lab-1".into(), pid: 1 },
            dataplane: Dataplane {
                mode: "copy".into(),
                wanted: "auto".into(),
                fallback: None,
                xdp_attached: true,
            },
            totals: Totals {
                sip_in_xsk: received,
                sip_in_kernel: 2,
                sip_out_xsk: 1_234_567,
                sip_out_kernel: 0,
            },
            workers: Vec::new(),
            registrations: Registrations { aors: 9, bindings: 10 },
            calls: Calls { invites: calls, answered: calls, byes: 0 },
            whole: serde_json::Value::Null,
        }
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn the_line_says_ways_registrations_calls_and_rates() {
        let mut rates = Rates::default();
        let began = Instant::now();
        assert_eq!(rates.update(began, &status(0, 0)), Rate::default());
        let rate = rates.update(began + Duration::from_secs(2), &status(1200, 200));
        let facts = facts(&status(1200, 200), rate);
        let line = "copy | AF_XDP 1,200 in, 1,234,567 out | kernel 2 in, 0 out | 10 registered | 200 calls, 100/s \
                    | 600 msg/s";
        assert_eq!(facts.join(" | "), line);
        assert_eq!(wrap(&facts, line.len()), line);
        let narrow = wrap(&facts, 60);
        assert_eq!(narrow.lines().count(), 2, "{narrow}");
        assert_eq!(narrow.replace("\n  ", " | "), line, "nothing is lost");
        assert!(narrow.lines().all(|line| line.len() <= 62), "{narrow}");
    }
}
