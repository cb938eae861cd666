//! What `lab register` and `lab call` print at the end: a table for people, one JSON object for scripts.

use serde::Serialize;

use super::phones;
use crate::Failure;
use crate::failure::Doing as _;
use crate::node::Totals;
use crate::sipp::Tally;

/// After `lab register`.
#[derive(Debug, Serialize)]
pub(super) struct RegisterReport {
    pub(super) registrations: Tally,
    pub(super) sip: Totals,
}

/// After `lab call`.
#[derive(Debug, Serialize)]
pub(super) struct CallReport {
    pub(super) mode: String,
    pub(super) registrations: Tally,
    pub(super) phones: phones::Report,
    pub(super) sip: Totals,
}

impl RegisterReport {
    pub(super) fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            return print_json(self);
        }
        heading();
        row("registrations", &self.registrations);
        ways(&self.sip);
        Ok(())
    }
}

impl CallReport {
    pub(super) fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            return print_json(self);
        }
        heading();
        row("registrations", &self.registrations);
        // Both sides of a call count; a retransmission by either is one.
        let both = self.phones.calling.retransmissions + self.phones.called.retransmissions;
        row("calls", &Tally { retransmissions: both, ..self.phones.calling });
        ways(&self.sip);
        Ok(())
    }
}

fn print_json(report: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(report).doing("write the report")?;
    println!("{text}");
    Ok(())
}

fn heading() {
    println!("{:<16}{:>10}{:>10}{:>10}{:>18}", "", "begun", "ok", "failed", "retransmissions");
}

fn row(name: &str, tally: &Tally) {
    println!(
        "{name:<16}{:>10}{:>10}{:>10}{:>18}",
        tally.created, tally.ok, tally.failed, tally.retransmissions
    );
}

fn ways(sip: &Totals) {
    println!();
    println!("{:<16}{:>10}{:>10}", "SIP messages", "received", "sent");
    println!("{:<16}{:>10}{:>10}", "AF_XDP", sip.sip_in_xsk, sip.sip_out_xsk);
    println!("{:<16}{:>10}{:>10}", "kernel socket", sip.sip_in_kernel, sip.sip_out_kernel);
}
