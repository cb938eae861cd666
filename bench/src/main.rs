//! `strowger-bench SUITE`: what `cargo xtask bench SUITE` builds and runs.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
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
    // Before the run: a path that can't be written shall not cost half a minute.
    let mut json = args.json.as_deref().map(create).transpose()?;
    let mut markdown = args.markdown.as_deref().map(create).transpose()?;
    let rounds = if args.quick { 31 } else { 201 };
    let plan = Plan { rounds, batch: Duration::from_micros(400) };
    let report = sip::run(plan, progress);
    progress("");
    std::io::stdout().write_all(report.terminal().as_bytes()).map_err(|e| format!("standard output: {e}"))?;
    if let Some(file) = &mut json {
        serde_json::to_writer_pretty(&mut *file, &report)
            .map_err(|e| format!("could not write JSON: {e}"))?;
    }
    if let Some(file) = &mut markdown {
        let written = file.write_all(report.markdown().as_bytes());
        written.map_err(|e| format!("could not write Markdown: {e}"))?;
    }
    if args.record {
        record::write(&report)?;
    }
    Ok(if report.missed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows what is being done: on a terminal one line that is overwritten, elsewhere a line for each step.
fn progress(what: &str) {
    let mut stderr = std::io::stderr();
    let _ = if stderr.is_terminal() {
        write!(stderr, "\r\x1b[2K{what}")
    } else if what.is_empty() || what.starts_with("round ") {
        Ok(())
    } else {
        writeln!(stderr, "...  {what}")
    };
}

fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|e| format!("could not write {}: {e}", path.display()))
}
