//! `cargo xtask ci`: every check that a change must pass. The tests come last, so the end of the log is their verdict.

use std::process::{Command, Stdio};

use crate::progress::{Step, warn};
use crate::{Failure, bench, ebpf, machine, process, test, workspace};

/// Options of `ci`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

const EXAMPLES: &str = "\
Example:
  CI=true cargo xtask ci

In this order: rustfmt, clippy with warnings denied, the committed eBPF object is as its sources, documentation
with warnings denied, every schedule of the rings' producer and consumer (loom), the rings under Miri where a
nightly has it, the instruction counts of the fast path where valgrind is, and `cargo xtask test`. The first that
fails ends it. `.ci/run` installs what is needed and calls this.";

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
    rings()?;
    guard()?;
    test::run(&test::Args::default())
}

/// The fast path takes no more instructions than are recorded; valgrind is not everybody's.
fn guard() -> Result<(), Failure> {
    if !machine::VALGRIND.present() {
        warn("instructions of the fast path: not counted, valgrind is not there (apt-get install valgrind)");
        return Ok(());
    }
    bench::guard(&bench::GuardArgs::default())
}

/// The rings are where unsafe code and atomics meet. loom runs their model through every schedule, on stable. Miri
/// looks for undefined behaviour in their other tests; it comes with a nightly, which nobody must have.
fn rings() -> Result<(), Failure> {
    let model = ["test", "--quiet", "--package", "strowger-xsk", "--features", "loom", "--lib", "loom"];
    quiet_check("rings: every schedule (loom)", workspace::cargo().args(model))?;
    if !process::succeeds(miri().arg("--version")) {
        warn("rings under Miri: not run, it is not there (rustup component add miri --toolchain nightly)");
        return Ok(());
    }
    let tests = ["test", "--quiet", "--package", "strowger-xsk", "--lib", "ring::"];
    quiet_check("rings: undefined behaviour (Miri)", miri().args(tests))
}

/// `cargo +nightly miri`, by the proxy of rustup: the cargo that runs us is one toolchain's own and knows no other.
fn miri() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace::root()).args(["+nightly", "miri"]);
    for ours in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(ours);
    }
    command
}

/// Tests that speak only when they fail. To cargo a filter that no test's name matches any more is a success; not here.
fn quiet_check(name: &str, command: &mut Command) -> Result<(), Failure> {
    let step = Step::begin_long(name);
    let shown = process::shown(command);
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| process::not_started(command, &error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        eprint!("{text}{}", String::from_utf8_lossy(&output.stderr));
        return Err(Failure::failed(format!("{name}: failed")).fix(shown));
    }
    let passed = test::passed(&text);
    if passed == 0 {
        return Err(Failure::failed(format!("{name}: no test ran")).fix(shown));
    }
    step.done(format!("{passed} passed"));
    Ok(())
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
