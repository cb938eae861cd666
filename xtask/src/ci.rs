//! `cargo xtask ci`: every check that a change must pass. The tests come last, so the end of the log is their verdict.

use std::process::Command;

use crate::progress::Step;
use crate::{Failure, ebpf, process, test, workspace};

/// Options of `ci`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

const EXAMPLES: &str = "\
Example:
  CI=true cargo xtask ci

In this order: rustfmt, clippy with warnings denied, the committed eBPF object is as its sources, documentation
with warnings denied, and `cargo xtask test`. The first that fails ends it. `.ci/run` installs what is needed
and calls this.";

/// Runs the checks in turn.
///
/// # Errors
/// The first check that failed.
pub fn run(_args: &Args) -> Result<(), Failure> {
    check("rustfmt", workspace::cargo().args(["fmt", "--all", "--check"]), "cargo fmt --all")?;
    let clippy = "cargo clippy --workspace --all-targets -- -D warnings";
    check(
        "clippy",
        workspace::cargo().args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
        clippy,
    )?;
    ebpf::run(&ebpf::Args { check: true, install: false })?;
    let documentation = "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps";
    check(
        "documentation",
        workspace::cargo()
            .args(["doc", "--quiet", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
        documentation,
    )?;
    test::run(&test::Args::default())
}

fn check(name: &str, command: &mut Command, by_hand: &str) -> Result<(), Failure> {
    let step = Step::begin_long(name);
    let status = command.status().map_err(|error| process::not_started(command, &error))?;
    if !status.success() {
        return Err(Failure::failed(format!("{name}: failed")).fix(by_hand));
    }
    step.done("");
    Ok(())
}
