//! `cargo xtask bench xdp`: what a packet costs in the XDP program.
//!
//! The benchmark itself is `xdp-ebpf/benches/xdp.rs`. The kernel does all that is measured, so it is built as tests are.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::Doing as _;
use crate::progress::Step;
use crate::{Failure, ebpf, interrupt, process, workspace};

/// Options of `bench xdp`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Writes the run to FILE as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the report to FILE as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Fewer rounds.
    #[arg(long)]
    quick: bool,
}

pub(super) const HELP: &str = "\
Needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON. Takes half a minute after the build. A row is the best of 40
rounds of 20,000 runs (BPF_PROG_TEST_RUN), held against its target; the first row is what the kernel's harness takes.

CPU time of a whole relayed message, beside that of dataplane.mode: off, is not measured here but in the lab.

Exit codes: 0 all targets met; 1 one is missed; 3 the program may not be loaded here";

/// Builds and runs it.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    ebpf::check_sources()?;
    let mut command = Command::new(build()?);
    for (option, file) in [("--json", &args.json), ("--markdown", &args.markdown)] {
        if let Some(file) = file {
            command.arg(option).arg(std::path::absolute(file).doing("find the output file")?);
        }
    }
    command.args(args.quick.then_some("--quick"));
    let status = command.status().map_err(|error| process::not_started(&command, &error))?;
    interrupt::check()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(Failure::failed("a target is missed")),
        Some(3) => Err(Failure::missing("the XDP program was not loaded: see above")),
        _ => Err(Failure::failed(format!("the benchmark did not finish ({status})"))),
    }
}

/// Builds the benchmark; gives the program.
fn build() -> Result<PathBuf, Failure> {
    let step = Step::begin_long("build the benchmark");
    let mut command = workspace::cargo();
    command.args([
        "bench",
        "--no-run",
        "--package",
        "strowger-xdp-ebpf",
        "--bench",
        "xdp",
        "--profile",
        "test",
    ]);
    command.args(["--message-format", "json-render-diagnostics"]).stdin(Stdio::null());
    let text = process::output(&mut command)?;
    interrupt::check()?;
    let mut messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built =
        messages.find(|message| message["target"]["name"] == "xdp" && message["executable"].is_string());
    let program = built.as_ref().and_then(|message| message["executable"].as_str());
    let program = program.ok_or_else(|| Failure::failed("cargo did not say where the benchmark is"))?;
    step.done("");
    Ok(PathBuf::from(program))
}
