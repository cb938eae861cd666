//! `cargo xtask bench`: builds the benchmarks in release mode, with every peer that this machine has, and runs them.
//!
//! What is measured and how is in `bench/`; its program writes the report to standard output.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Doing as _;
use crate::progress::{self, Step};
use crate::{Failure, interrupt, process, workspace};

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
}

const SIP: &str = "\
Takes about half a minute after the build. Fails when a target is missed; the last line says how many.
libosip2 takes part where libosip2-dev is installed, instructions are counted where valgrind is.";

const ENGINE: &str = "\
Takes a minute or two and 2 GB after the build, with --quick a quarter of both. Fails when a target is missed; the last
line says how many. Instructions are counted where valgrind is installed.";

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
}

/// Builds and runs a suite.
///
/// # Errors
/// The build fails, or a target is missed.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (suite, args) = match &args.suite {
        Suite::Sip(args) => ("sip", args),
        Suite::Engine(args) => ("engine", args),
    };
    let mut command = Command::new(build()?);
    command.arg(suite);
    for (option, file) in [("--json", &args.json), ("--markdown", &args.markdown)] {
        if let Some(file) = file {
            command.arg(option).arg(std::path::absolute(file).doing("find the output file")?);
        }
    }
    command.args(args.quick.then_some("--quick"));
    command.args(args.record.then_some("--record"));
    let status = command.status().map_err(|error| process::not_started(&command, &error))?;
    interrupt::check()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(Failure::failed("a target is missed")),
        _ => Err(Failure::failed(format!("the benchmark did not finish ({status})"))),
    }
}

/// Builds the benchmarks; gives the program.
fn build() -> Result<PathBuf, Failure> {
    let step = Step::begin_long("build the benchmarks");
    let mut command = workspace::cargo();
    command.args(["build", "--release", "--package", "strowger-bench", "--bin", "strowger-bench"]);
    if has_libosip2() {
        command.args(["--features", "osip"]);
    } else {
        progress::warn("libosip2 takes no part: apt-get install libosip2-dev brings it");
    }
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| process::not_started(&command, &error))?;
    interrupt::check()?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(Failure::failed(format!("`{}` failed", process::shown(&command))));
    }
    step.done("");
    Ok(workspace::target()?.join("release").join("strowger-bench"))
}

/// Whether the library can be linked: its development package brings the header and the link.
fn has_libosip2() -> bool {
    process::succeeds(Command::new("pkg-config").args(["--exists", "libosip2"]))
        || Path::new("/usr/include/osipparser2/osip_message.h").exists()
}
