//! `cargo xtask fuzz`: runs the fuzz targets of the SIP message, each for a while, and says what they did.
//!
//! The targets are in `userspace/sip/fuzz`, a workspace of their own, since libFuzzer needs a nightly compiler. What
//! they check is in `userspace/sip/tests/exercise`, which ordinary tests run too, over the seeds and mutations of them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Doing as _;
use crate::progress::Step;
use crate::{Failure, interrupt, process, workspace};

/// Options of `fuzz`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The target; without it, all of them in turn.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    pub target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub minutes: u32,
}

/// Every target, in the order in which they run.
const TARGETS: [&str; 6] = ["parse", "views", "edit", "reply", "authorization", "uri"];

const HELP: &str = "\
Needs a nightly toolchain and cargo-fuzz; says how to get them. What a run has learnt stays in
userspace/sip/fuzz/corpus and the next one goes on from there. A finding ends it: the input is kept,
and the message says how to see it again.";

/// Octets of the largest input: the longest datagram is 16 times as long and takes 16 times the time.
const INPUT: &str = "-max_len=4096";
/// An input that takes longer than this many seconds is a finding.
const TIMEOUT: &str = "-timeout=10";

/// Runs the targets.
///
/// # Errors
/// A missing tool, a target that does not build, or a finding.
pub fn run(args: &Args) -> Result<(), Failure> {
    let folder = workspace::root().join("userspace/sip/fuzz");
    need_tools()?;
    build(&folder)?;
    let chosen = TARGETS.iter().filter(|target| args.target.as_deref().is_none_or(|only| only == **target));
    let mut inputs = 0;
    let mut ran = 0;
    for target in chosen {
        let executed = run_target(&folder, target, args.minutes)?;
        println!("{target:13} {executed:>12} inputs, no finding");
        inputs += executed;
        ran += 1;
    }
    println!("fuzz: {ran} targets, {} each, {inputs} inputs, no finding", minutes(args.minutes));
    Ok(())
}

fn minutes(number: u32) -> String {
    if number == 1 { "1 minute".into() } else { format!("{number} minutes") }
}

/// `cargo +nightly fuzz`, in the folder above the targets.
fn cargo_fuzz(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    // The cargo that runs us sets its own toolchain for its children.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").args(["+nightly", "fuzz"]);
    command.current_dir(folder.parent().unwrap_or(folder));
    command
}

fn need_tools() -> Result<(), Failure> {
    let nightly =
        Command::new("cargo").env_remove("RUSTUP_TOOLCHAIN").args(["+nightly", "--version"]).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        let missing = Failure::missing("libFuzzer needs a nightly toolchain, and there is none");
        return Err(missing.fix("rustup toolchain install nightly --profile minimal"));
    }
    if process::find("cargo-fuzz").is_none() {
        return Err(
            Failure::missing("`cargo-fuzz` is not installed").fix("cargo install cargo-fuzz --locked")
        );
    }
    Ok(())
}

fn build(folder: &Path) -> Result<(), Failure> {
    let step = Step::begin_long("build the fuzz targets");
    let mut command = cargo_fuzz(folder);
    let output = command.arg("build").stdin(Stdio::null()).output();
    let output = output.map_err(|error| process::not_started(&command, &error))?;
    interrupt::check()?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(Failure::failed(format!("`{}` failed", process::shown(&command))));
    }
    step.done("");
    Ok(())
}

/// Runs one target; gives the number of inputs that it tried.
fn run_target(folder: &Path, target: &str, length: u32) -> Result<u64, Failure> {
    let step = Step::begin_long(format!("fuzz {target} for {}", minutes(length)));
    let corpus = folder.join("corpus").join(target);
    std::fs::create_dir_all(&corpus).doing(format!("make {}", corpus.display()))?;
    let mut command = cargo_fuzz(folder);
    command.args(["run", target]).arg(&corpus).args(seeds(folder)?);
    command.arg("--").arg(format!("-dict={}", folder.join("sip.dict").display()));
    command.arg(format!("-max_total_time={}", u64::from(length) * 60));
    command.args([INPUT, TIMEOUT, "-print_final_stats=1"]);
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| process::not_started(&command, &error))?;

    // The end of what it said is shown when it failed.
    let mut last = std::collections::VecDeque::new();
    let mut executed = 0;
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(progress) = pulse(&line) {
                step.now(progress);
            }
            executed = units(&line).unwrap_or(executed);
            last.push_back(line);
            if last.len() > 60 {
                last.pop_front();
            }
        }
    }
    let status = child.wait().doing("wait for the fuzzer")?;
    interrupt::check()?;
    if status.success() {
        step.done(format!("{executed} inputs"));
        return Ok(executed);
    }
    for line in &last {
        eprintln!("{line}");
    }
    let finding =
        last.iter().rev().find_map(|line| line.split_once("Test unit written to ")).map(|(_, at)| at);
    let failure = Failure::failed(format!("`{target}` has a finding ({status})"));
    Err(match finding {
        Some(file) => failure.fix(format!("cargo +nightly fuzz run {target} {} shows it again", file.trim())),
        None => failure,
    })
}

/// The folders of seeds: every target starts from all of them.
fn seeds(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let seeds = folder.join("seeds");
    let entries = std::fs::read_dir(&seeds).doing(format!("read {}", seeds.display()))?;
    let mut folders: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    folders.sort();
    Ok(folders)
}

/// libFuzzer's progress: `#4096 pulse cov: 2141 ft: 5452 corp: 957/316Kb exec/s: 6916 …`.
fn pulse(line: &str) -> Option<&str> {
    line.strip_prefix('#').and_then(|rest| rest.find("cov: ").map(|at| &rest[at..]))
}

/// `stat::number_of_executed_units: 152136`
fn units(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let line = "#103753\tREDUCE cov: 2141 ft: 5452 corp: 957/316Kb lim: 1668 exec/s: 6916 rss: 330Mb";
        assert_eq!(pulse(line), Some(&line[line.find("cov").unwrap()..]));
        assert_eq!(pulse("INFO: seed corpus: files: 32"), None);
        assert_eq!(units("stat::number_of_executed_units: 152136"), Some(152_136));
        assert_eq!(units("stat::average_exec_per_sec:     2535"), None);
    }

    #[test]
    fn every_target_is_there_with_its_seeds() {
        let folder = workspace::root().join("userspace/sip/fuzz");
        for target in TARGETS {
            assert!(folder.join(format!("fuzz_targets/{target}.rs")).is_file(), "{target}");
        }
        let files = std::fs::read_dir(folder.join("fuzz_targets")).unwrap().count();
        assert_eq!(files, TARGETS.len());
        assert!(seeds(&folder).unwrap().len() >= 3);
    }
}
