//! `strowger-bench SUITE`: what `cargo xtask bench SUITE` builds and runs.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use strowger_bench::report::Report;
use strowger_bench::rounds::Plan;
use strowger_bench::{callgrind, engine, guard, record, sip};

/// Measures Strowger beside its peers.
#[derive(Debug, Parser)]
#[command(name = "strowger-bench")]
enum Suite {
    /// The SIP message: parse, forward, reply.
    Sip(SuiteArgs),
    /// The SIP element: calls, registrations, memory, scale.
    Engine(SuiteArgs),
    /// Counts the instructions of the fast path and holds them against the record.
    Guard(GuardArgs),
    /// Runs the cases of a suite for callgrind to count.
    #[command(name = callgrind::COMMAND, hide = true)]
    Count {
        /// Which.
        suite: Counted,
        /// Of the guard's, this part alone.
        #[arg(long)]
        only: Option<guard::Part>,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Counted {
    Sip,
    Engine,
    Guard,
}

#[derive(Debug, clap::Args)]
struct GuardArgs {
    /// Keeps the counts as the record in the tree.
    #[arg(long)]
    record: bool,
    /// Why counts may rise by more than 5 %.
    #[arg(long, value_name = "TEXT", requires = "record")]
    reason: Option<String>,
    /// Counts this part alone.
    #[arg(long, value_name = "PART", conflicts_with = "record")]
    only: Option<guard::Part>,
}

#[derive(Debug, clap::Args)]
struct SuiteArgs {
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
    /// Why counts may rise by more than 5 %.
    #[arg(long, value_name = "TEXT", requires = "record")]
    reason: Option<String>,
}

fn main() -> ExitCode {
    let outcome = match Suite::parse() {
        Suite::Sip(args) => run(&args, || {
            let rounds = if args.quick { 31 } else { 201 };
            sip::run(Plan { rounds, batch: Duration::from_micros(400) }, progress)
        }),
        Suite::Engine(args) => run(&args, || {
            let (rounds, large) = if args.quick { (15, engine::QUICK) } else { (101, engine::LARGE) };
            // Making the messages takes ten times as long as handling them.
            engine::run(Plan { rounds, batch: Duration::from_micros(100) }, large, progress)
        }),
        Suite::Guard(args) => guarded(&args),
        Suite::Count { suite, only } => {
            callgrind::run_counted(&mut match suite {
                Counted::Sip => sip::entries(),
                Counted::Engine => engine::counted(),
                Counted::Guard => guard::entries(only),
            });
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|what| {
        eprintln!("error: {what}");
        ExitCode::from(2)
    })
}

fn run(args: &SuiteArgs, suite: impl FnOnce() -> Report) -> Result<ExitCode, String> {
    // Before the run: a path that can't be written shall not cost half a minute.
    let mut json = args.json.as_deref().map(create).transpose()?;
    let mut markdown = args.markdown.as_deref().map(create).transpose()?;
    let report = suite();
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
        record::write(&report, args.reason.as_deref())?;
    }
    Ok(if report.missed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn guarded(args: &GuardArgs) -> Result<ExitCode, String> {
    progress("counting instructions under valgrind");
    let measured = guard::measure(args.only)?;
    progress("");
    let mut record = record::read()?;
    record.instructions.retain(|key, _| args.only.is_none_or(|part| part.has(key)));
    let verdict = guard::Verdict::of(&record, &measured, env!("STROWGER_BENCH_RUSTC"));
    print!("{}", verdict.terminal());
    if args.record {
        guard::keep(record, measured, args.reason.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
