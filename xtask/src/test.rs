//! `cargo xtask test`: every test of the workspace through one runner, whose verdict is the last thing printed.
//!
//! The node is built first, in release mode: the end-to-end tests are about the binary that is shipped. They find it
//! by [`BINARY`]. Tests that need root, a phone or a kernel feature which the machine lacks skip themselves and say so;
//! under `CI=true` a lack is a failure, because a green run must mean that everything ran.

use std::path::Path;
use std::process::Command;

use crate::progress::{Step, warn};
use crate::{Code, Failure, machine, process, workspace, zerocopy};

/// The environment variable that tells the end-to-end tests which `strowger` to start.
pub const BINARY: &str = "STROWGER_BIN";

/// Options of `test`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only tests whose name contains this.
    filter: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test                   everything
  cargo xtask test neighbour         tests with `neighbour` in their name

As root with sipp and baresip (apt: sip-tester, baresip-core) everything runs; without them the tests that
need them skip themselves aloud, and under CI=true that is a failure. With cargo-nextest installed it is the runner; otherwise
`cargo test` is. With qemu-system-x86_64 and busybox (apt: qemu-system-x86, busybox-static) a guest proves zero copy, as
`cargo xtask test-zerocopy` does; elsewhere that alone is skipped, aloud. No BPF toolchain is needed: the committed object is what is tested.";

/// Runs the tests.
///
/// # Errors
/// A build or a test failed, or something is missing under `CI=true`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let lacks = lacks();
    if !lacks.is_empty() && ci() {
        return Err(Failure::missing(format!(
            "CI=true, and the end-to-end tests need {}",
            lacks.join(" and ")
        ))
        .fix(".ci/run as root installs what is missing"));
    }
    let step = Step::begin_long("build the node");
    let binary = workspace::build_node(&step)?;
    step.done(binary.display());
    if args.filter.is_none() {
        doc_tests()?;
        zerocopy::test(&binary)?;
    }
    let lacking = !lacks.is_empty();
    let nextest = process::succeeds(workspace::cargo().args(["nextest", "--version"]));
    let mut runner = if nextest { nextest_runner(lacking) } else { cargo_runner() };
    build(nextest)?;
    if lacking {
        let count = end_to_end_tests(&binary);
        warn(format_args!("skipped: {count} end-to-end tests, because they need {}", lacks.join(" and ")));
    }
    runner.env(BINARY, &binary);
    if let Some(filter) = &args.filter {
        runner.arg(filter);
    }
    match runner.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::silent()),
        Err(error) => Err(process::not_started(&runner, &error)),
    }
}

/// Whether a lack is a failure.
pub fn ci() -> bool {
    std::env::var("CI").is_ok_and(|value| matches!(value.as_str(), "true" | "1"))
}

/// What the end-to-end tests need and this machine has not. As root the phones are installed rather than missed.
pub fn lacks() -> Vec<&'static str> {
    if !machine::is_root() {
        return vec!["root"];
    }
    let mut lacks = Vec::new();
    for (tool, name) in [(machine::IP, "ip (apt: iproute2)"), (machine::SIPP, "sipp (apt: sip-tester)")] {
        if let Err(failure) = machine::ensure(&[tool]) {
            warn(failure);
            lacks.push(name);
        }
    }
    // One test alone needs it, and skips itself.
    if let Err(failure) = machine::ensure(&[machine::BARESIP]) {
        warn(failure);
    }
    lacks
}

/// One verdict over all crates, a process for each test (they enter namespaces), an end for one that hangs.
fn nextest_runner(without_end_to_end: bool) -> Command {
    let mut command = workspace::cargo();
    command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    if without_end_to_end {
        command.args(["-E", "not binary(end_to_end)"]);
    }
    command
}

/// Where cargo-nextest is not installed. The end-to-end tests skip themselves here.
fn cargo_runner() -> Command {
    let mut command = workspace::cargo();
    command.args(["test", "--quiet", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
    command
}

/// Builds the tests beforehand, so that the runner's part is running.
fn build(nextest: bool) -> Result<(), Failure> {
    let step = Step::begin_long("build the tests");
    let mut command = workspace::cargo();
    if nextest {
        command.args(["nextest", "run", "--workspace", "--no-run", "--cargo-quiet"]);
    } else {
        command.args(["test", "--quiet", "--workspace", "--lib", "--bins", "--tests", "--no-run"]);
    }
    succeeded(&mut command)?;
    step.done("");
    Ok(())
}

/// The examples in the documentation; no runner but cargo's own has them.
fn doc_tests() -> Result<(), Failure> {
    let step = Step::begin_long("test the examples in the documentation");
    let text = process::output(workspace::cargo().args(["test", "--quiet", "--workspace", "--doc"]))
        .map_err(|failure| failure.fix("cargo test --workspace --doc"))?;
    step.done(format!("{} passed", passed(&text)));
    Ok(())
}

/// Adds up the verdicts in the output of `cargo test --quiet`: how many tests passed.
pub(crate) fn passed(text: &str) -> u32 {
    text.lines()
        .filter_map(|line| line.strip_prefix("test result: ok. ")?.split_once(" passed"))
        .filter_map(|(count, _)| count.parse::<u32>().ok())
        .sum()
}

/// How many there are, as their own binary lists them.
fn end_to_end_tests(binary: &Path) -> usize {
    let mut command = workspace::cargo();
    command.args(["test", "--quiet", "--package", "strowger-xtask", "--test", "end_to_end", "--", "--list"]);
    let list = process::output(command.env(BINARY, binary)).unwrap_or_default();
    list.lines().filter(|line| line.ends_with(": test")).count()
}

/// Runs with our own output; fails with one line when it fails.
fn succeeded(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| process::not_started(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(Code::Failed, format!("`{}` failed ({status})", process::shown(command))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_added_up() {
        let text = "\nrunning 2 tests\n..\ntest result: ok. 2 passed; 0 failed; 0 ignored\n\n\
                    running 0 tests\n\ntest result: ok. 0 passed; 0 failed\n\ntest result: ok. 11 passed; 0 failed\n";
        assert_eq!(passed(text), 13);
    }
}
