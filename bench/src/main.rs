//! `strowger-bench SUITE`: what `cargo xtask bench SUITE` builds and runs.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use strowger_bench::report::Report;
use strowger_bench::rounds::Plan;
use strowger_bench::{callgrind, record, sip};

/// Measures Strowger beside its peers.
#[derive(Debug, Parser)]
#[command(name = "strowger-bench")]
enum Suite {
    /// The SIP message: parse, forward, reply.
    Sip(SipArgs),
    /// Runs the cases for callgrind to count.
    #[command(name = callgrind::COMMAND, hide = true)]
    Count,
}

#[derive(Debug, clap::Args)]
struct SipArgs {
    /// Writes the whole run to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the report to FILE as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Fewer rounds.
    #[arg(long)]
    quick: bool,
    /// Keeps the instruction counts of this run as the record in the tree.
    #[arg(long)]
    record: bool,
}

fn main() -> ExitCode {
    let outcome = match Suite::parse() {
        Suite::Sip(args) => run_sip(&args),
        Suite::Count => {
            callgrind::run_counted(&mut sip::entries());
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|what| {
        eprintln!("error: {what}");
        ExitCode::from(2)
    })
}

fn run_sip(args: &SipArgs) -> Result<ExitCode, String> {
    let rounds = if args.quick { 31 } else { 201 };
    let plan = Plan { rounds, batch: Duration::from_micros(400) };
    let terminal = std::io::stderr().is_terminal();
    let mut stderr = std::io::stderr();
    let report = sip::run(plan, |what| {
        if terminal {
            let _ = write!(stderr, "\r\x1b[2K{what}");
        } else if !what.starts_with("round ") {
            let _ = writeln!(stderr, "...  {what}");
        }
    });
    if terminal {
        let _ = write!(stderr, "\r\x1b[2K");
    }
    if args.record {
        record::write(&report)?;
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
        save(path, &(text + "\n"))?;
    }
    if let Some(path) = &args.markdown {
        save(path, &report.markdown())?;
    }
    print(&report)?;
    Ok(if report.missed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn save(path: &PathBuf, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("could not write {}: {e}", path.display()))
}

fn print(report: &Report) -> Result<(), String> {
    std::io::stdout().write_all(report.terminal().as_bytes()).map_err(|e| format!("standard output: {e}"))
}
