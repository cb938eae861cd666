//! `strowger-sim`: runs many seeds, or shows one. `cargo xtask sim` builds it in release mode and runs it.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use strowger_engine::Time;
use strowger_sim::{Coverage, Fate, Options, Record, Report, ladder, run};

/// Whole nodes, phones and networks in virtual time.
#[derive(Debug, Parser)]
#[command(name = "strowger-sim", disable_help_subcommand = true)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    first: u64,
    /// Seeds at the same time.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Loss in per cent for all seeds.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    loss: Option<u32>,
    /// This seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "first", "jobs"])]
    seed: Option<u64>,
    /// Draws its ladder.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Prints its events, one JSON object a line.
    #[arg(long, requires = "seed", conflicts_with = "trace")]
    json: bool,
    /// Shows only calls whose Call-ID contains this.
    #[arg(long, requires = "seed", value_name = "TEXT")]
    call: Option<String>,
    /// Plants this bug into the engine first.
    #[cfg(feature = "plant")]
    #[arg(long, value_name = "NAME", value_parser = |name: &str| strowger_engine::Plant::named(name).ok_or("no such bug"))]
    plant: Option<strowger_engine::Plant>,
}

/// Every so many seeds one is run twice, to see that it has one history.
const TWICE: u64 = 50;

fn main() -> ExitCode {
    let args = Args::parse();
    #[cfg(feature = "plant")]
    if let Some(plant) = args.plant {
        plant.plant();
    }
    match args.seed {
        Some(seed) => one(seed, &args),
        None => many(&args),
    }
}

fn options(args: &Args, keep: bool) -> Options {
    Options { loss: args.loss.map(|percent| percent * 10), keep }
}

fn one(seed: u64, args: &Args) -> ExitCode {
    let report = run(seed, &options(args, args.trace || args.json));
    if args.trace {
        print(&ladder::draw(&report, &ladder::Filter { call: args.call.clone() }));
    } else if args.json {
        json(&report);
    }
    for fault in &report.faults {
        print(&format!("{:>12.6}  FAULT {}\n", fault.at.as_secs_f64(), fault.what));
    }
    let verdict = if report.faults.is_empty() { "no fault" } else { "FAULTS" };
    eprintln!(
        "seed {seed}: {verdict}; {} datagrams in {} s, history {:016x}",
        report.coverage.datagrams,
        report.coverage.seconds,
        report.trace.hash()
    );
    if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whoever reads may have seen enough: a pipe that is closed is no error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn json(report: &Report) {
    let name = |address| report.parties.iter().find(|(a, _)| *a == address).map(|(_, name)| name.as_str());
    let seconds = |at: Time| at.as_nanos() as f64 / 1e9 - 1000.0;
    for record in report.trace.records() {
        let value = match record {
            Record::Datagram { at, from, to, fate, bytes } => serde_json::json!({
                "at": seconds(*at),
                "from": name(*from),
                "from_address": from.to_string(),
                "to": name(*to),
                "to_address": to.to_string(),
                "fate": match fate {
                    Fate::Arrives(_) => "arrives",
                    Fate::Twice(..) => "arrives twice",
                    Fate::Lost => "lost",
                    Fate::Severed => "cut off",
                    Fate::Nowhere => "nobody there",
                },
                "after": match fate {
                    Fate::Arrives(after) | Fate::Twice(after, _) => Some(after.as_secs_f64()),
                    _ => None,
                },
                "message": String::from_utf8_lossy(bytes),
            }),
            Record::Note { at, party, text } => serde_json::json!({
                "at": seconds(*at),
                "party": party.and_then(name),
                "note": text,
            }),
        };
        print(&format!("{value}\n"));
    }
}

/// A seed that did not go well.
struct Failed {
    seed: u64,
    faults: Vec<String>,
}

fn many(args: &Args) -> ExitCode {
    let jobs =
        args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let last = args.first.saturating_add(args.seeds);
    let next = AtomicU64::new(args.first);
    let stop = AtomicBool::new(false);
    let failed: Mutex<Vec<Failed>> = Mutex::new(Vec::new());
    let sum: Mutex<(Coverage, u64)> = Mutex::new((Coverage::default(), 0));
    let began = Instant::now();
    let bar = ProgressBar::new(args.seeds).with_style(style());
    // A panic is a fault like any other; what it says is shown with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        break;
                    }
                    match try_seed(seed, args) {
                        Ok((coverage, history)) => {
                            let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            sum.0.add(&coverage);
                            // Order does not matter: threads finish in any.
                            sum.1 ^= history.rotate_left((seed % 64) as u32);
                        }
                        Err(failure) => {
                            failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(failure);
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let _ = std::panic::take_hook();
    let took = began.elapsed().as_secs_f64();
    let mut failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    failed.sort_by_key(|failure| failure.seed);
    let (covered, history) = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let done = bar.position();
    println!(
        "{done} seeds in {took:.1} s: {} calls answered, {} requests ({} forked, {} cancelled), {} datagrams, \
         {} h of virtual time",
        covered.calls,
        covered.requests,
        covered.forked,
        covered.cancelled,
        covered.datagrams,
        covered.seconds / 3600
    );
    let Some(failure) = failed.first() else {
        println!("sim: {done} seeds from {} on, no fault, history {history:016x}", args.first);
        return ExitCode::SUCCESS;
    };
    for fault in &failure.faults {
        println!("{fault}");
    }
    let loss = args.loss.map(|percent| format!(" --loss {percent}")).unwrap_or_default();
    println!(
        "sim: seed {} failed; again: cargo xtask sim --seed {} --trace{loss}",
        failure.seed, failure.seed
    );
    ExitCode::FAILURE
}

fn try_seed(seed: u64, args: &Args) -> Result<(Coverage, u64), Failed> {
    let attempt = || catch_unwind(AssertUnwindSafe(|| run(seed, &options(args, false))));
    let report = attempt().map_err(|panic| Failed { seed, faults: vec![panicked(panic.as_ref())] })?;
    let mut faults: Vec<String> = report
        .faults
        .iter()
        .map(|fault| format!("{:>12.6}  FAULT {}", fault.at.as_secs_f64(), fault.what))
        .collect();
    if faults.is_empty() && seed.is_multiple_of(TWICE) {
        let again = attempt().map_err(|panic| Failed { seed, faults: vec![panicked(panic.as_ref())] })?;
        if again.trace.hash() != report.trace.hash() {
            faults.push("two runs of the seed are different".to_owned());
        }
    }
    if faults.is_empty() { Ok((report.coverage, report.trace.hash())) } else { Err(Failed { seed, faults }) }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("PANIC {}", text.unwrap_or("of an unknown kind"))
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
