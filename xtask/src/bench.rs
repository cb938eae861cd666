//! `cargo xtask bench`: builds the benchmarks in release mode, with every peer that this machine has, and runs them.
//!
//! What is measured and how is in `bench/`. `sip`, `engine` and `guard` are its own program, in one process; `quick` and
//! `full` put whole proxies side by side in a laboratory ([`mod@run`], [`session`], [`peers`], [`generator`]).

pub mod generator;
pub mod peers;
pub mod plan;
pub mod run;
pub mod session;
mod xdp;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Doing as _;
use crate::progress::{self, Step};
use crate::{Failure, interrupt, machine, process, workspace};

/// Options of `bench`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, clap::Subcommand)]
enum Suite {
    /// The SIP message: parse, forward, reply, beside libosip2, rsip, rsipstack and httparse.
    #[command(after_help = SIP)]
    Sip(SuiteArgs),
    /// The SIP element: the messages of a call, REGISTER with digest, memory, and the same with full tables.
    #[command(after_help = ENGINE)]
    Engine(SuiteArgs),
    /// Kamailio, our node in its modes, and nobody, under the same loads, in under five minutes.
    #[command(after_help = RUN)]
    Quick(run::RunArgs),
    /// The same in rounds, with worker sweep, memory and scale.
    #[command(after_help = RUN)]
    Full(run::FullArgs),
    /// Writes a report anew, or says what changed between two.
    #[command(after_help = REPORT)]
    Report(run::ReportArgs),
    /// A packet in the XDP program: passed, dropped, redirected, steered; its size and the verifier's work.
    #[command(after_help = xdp::HELP)]
    Xdp(xdp::Args),
    /// The fast path's instructions: parse, edit, engine, XDP; fails when one takes over 5 % more than is recorded.
    #[command(after_help = GUARD)]
    Guard(GuardArgs),
}

const SIP: &str = "\
Takes about half a minute after the build. Fails when a target is missed; the last line says how many.
libosip2 takes part where libosip2-dev is installed, instructions are counted where valgrind is.";

const ENGINE: &str = "\
Takes a minute or two and 2 GB after the build, with --quick a quarter of both. Fails when a target is missed; the last
line says how many. Instructions are counted where valgrind is installed.";

const RUN: &str = "\
Examples:
  cargo xtask bench quick
  cargo xtask bench full
  cargo xtask bench full --minutes 10 --only floor,kamailio,copy
  cargo xtask bench quick --peer-command 'opensips -F -f my.cfg' --peer-address 10.77.0.2:5060

Needs root. Everything runs in two network namespaces of the run's own, which are removed at the end, also after a
failure or Ctrl-C. quick takes under 5 minutes after the build, full at most 25. The report is one HTML file, with
session.json, Markdown and .hgrm beside it. Fails when a target is missed; the last line says how many.
A peer of yours listens at the address it is given, 10.77.0.2 being the proxy's end of the wire, and accepts
REGISTER and calls of users u100000, u100001 ... without asking who they are.";

const REPORT: &str = "\
Examples:
  cargo xtask bench report bench/reports/NAME/session.json                   as Markdown
  cargo xtask bench report bench/reports/NAME/session.json --out DIR         HTML, Markdown and .hgrm
  cargo xtask bench report BEFORE/session.json AFTER/session.json            what changed beyond noise";

const GUARD: &str = "\
Takes about a minute after the build and needs valgrind. The record is bench/instructions.json. A rise that is worth
it goes in with --record and its reason, which is kept beside the count. `cargo xtask ci` runs this too.
--plant slow-parse builds a parser that is too slow on purpose: the guard must fail, or it is blind.";

/// Slowdowns that can be planted: features of the benchmarks.
pub const PLANTS: [&str; 1] = ["slow-parse"];

/// Options of `bench guard`.
#[derive(Debug, Default, clap::Args)]
pub struct GuardArgs {
    /// Keeps this run's counts in bench/instructions.json.
    #[arg(long, conflicts_with = "plant")]
    record: bool,
    /// Why counts rise by more than 5 %.
    #[arg(long, value_name = "TEXT", requires = "record")]
    reason: Option<String>,
    /// Counts this part alone: sip, the message, or engine, the element.
    #[arg(long, value_name = "PART", value_parser = ["sip", "engine"], conflicts_with = "record")]
    only: Option<String>,
    /// Builds it with a slowdown.
    #[arg(long, value_name = "NAME", value_parser = PLANTS)]
    plant: Option<String>,
}

#[derive(Debug, clap::Args)]
struct SuiteArgs {
    /// Writes the whole run to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the report to FILE as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Fewer rounds; engine: tables a tenth as full.
    #[arg(long)]
    quick: bool,
    /// Keeps this run's instruction counts in bench/instructions.json.
    #[arg(long)]
    record: bool,
    /// Why counts rise by more than 5 %.
    #[arg(long, value_name = "TEXT", requires = "record")]
    reason: Option<String>,
}

/// Builds and runs a suite.
///
/// # Errors
/// The build fails, or a target is missed.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (suite, args) = match &args.suite {
        Suite::Sip(args) => ("sip", args),
        Suite::Engine(args) => ("engine", args),
        Suite::Xdp(args) => return xdp::run(args),
        Suite::Guard(args) => return guard(args),
        Suite::Quick(args) => return run::quick(args),
        Suite::Full(args) => return run::full(args),
        Suite::Report(args) => return run::report(args),
    };
    let mut command = Command::new(build(None)?);
    command.arg(suite);
    for (option, file) in [("--json", &args.json), ("--markdown", &args.markdown)] {
        if let Some(file) = file {
            command.arg(option).arg(std::path::absolute(file).doing("find the output file")?);
        }
    }
    command.args(args.quick.then_some("--quick"));
    command.args(args.record.then_some("--record"));
    command.args(args.reason.iter().flat_map(|reason| ["--reason", reason]));
    let status = command.status().map_err(|error| process::not_started(&command, &error))?;
    interrupt::check()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(Failure::failed("a target is missed")),
        _ => Err(Failure::failed(format!("the benchmark did not finish ({status})"))),
    }
}

/// How long the guard may count. It takes under a minute on an idle processor.
const GUARD_LIMIT: Duration = Duration::from_secs(600);

/// Counts the instructions of the fast path and holds them against the record.
///
/// # Errors
/// The build fails, valgrind is missing, it takes too long, or a count is not as it should be.
pub fn guard(args: &GuardArgs) -> Result<(), Failure> {
    interrupt::watch()?;
    machine::ensure(&[machine::VALGRIND])?;
    let mut command = Command::new(build(args.plant.as_deref())?);
    command.arg("guard");
    command.args(args.only.iter().flat_map(|part| ["--only", part]));
    command.args(args.record.then_some("--record"));
    command.args(args.reason.iter().flat_map(|reason| ["--reason", reason]));
    let mut child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| process::not_started(&command, &error))?;
    let until = Instant::now() + GUARD_LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().doing("wait for the guard")? {
            break status;
        }
        let late = Instant::now() > until;
        if late || interrupt::raised() {
            // valgrind is its child: the whole group ends.
            let _ = process::end_group(&mut child);
            interrupt::check()?;
            return Err(Failure::failed(format!("the guard took over {} s", GUARD_LIMIT.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(Failure::failed("the fast path takes more instructions than are recorded")),
        _ => Err(Failure::failed(format!("the guard did not finish ({status})"))),
    }
}

/// Builds the benchmarks, with a slowdown when one is to be planted; gives the program.
fn build(plant: Option<&str>) -> Result<PathBuf, Failure> {
    let step = Step::begin_long("build the benchmarks");
    let mut command = workspace::cargo();
    command.args(["build", "--release", "--package", "strowger-bench", "--bin", "strowger-bench"]);
    if let Some(plant) = plant {
        command.args(["--features", &format!("plant-{plant}")]);
    } else if has_libosip2() {
        command.args(["--features", "osip"]);
    } else {
        progress::warn("libosip2 takes no part: apt-get install libosip2-dev brings it");
    }
    workspace::build(&mut command)?;
    step.done("");
    let built = workspace::target()?.join("release").join("strowger-bench");
    if plant.is_none() {
        return Ok(built);
    }
    // All that it stands on is the sound one's; the program itself moves out of that one's place, where the next build puts it
    // back without compiling.
    let planted = built.with_file_name("strowger-bench-planted");
    std::fs::rename(&built, &planted).doing("put the slow program aside")?;
    Ok(planted)
}

/// Whether the library can be linked: its development package brings the header and the link.
fn has_libosip2() -> bool {
    process::succeeds(Command::new("pkg-config").args(["--exists", "libosip2"]))
        || Path::new("/usr/include/osipparser2/osip_message.h").exists()
}
