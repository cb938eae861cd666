//! `cargo xtask sim`: builds the simulation in release mode and runs it over many seeds, or shows one.
//!
//! What a world is and what it must not show is in `userspace/sim`; its program prints the verdict.

use std::path::PathBuf;
use std::process::Command;

use crate::progress::Step;
use crate::{Failure, interrupt, process, workspace};

/// Options of `sim`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub first: u64,
    /// Seeds at the same time [default: one for each processor].
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Loss in per cent for all seeds [default: each seed draws its own, 0 to 30].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub loss: Option<u32>,
    /// This seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "first", "jobs"])]
    pub seed: Option<u64>,
    /// With --seed: draws the ladder of its messages.
    #[arg(long, requires = "seed")]
    pub trace: bool,
    /// With --seed: prints its events, one JSON object a line.
    #[arg(long, requires = "seed", conflicts_with = "trace")]
    pub json: bool,
    /// With --seed: shows only calls whose Call-ID contains this.
    #[arg(long, requires = "seed", value_name = "TEXT")]
    pub call: Option<String>,
    /// Plants this bug into the engine first: the run must find it.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(PLANTS))]
    pub plant: Option<String>,
}

/// Bugs that can be planted into the engine (`strowger_engine::Plant`).
pub const PLANTS: [&str; 3] = ["timer-g", "cancel-match", "contact-order"];

const HELP: &str = "\
Examples:
  cargo xtask sim --seeds 100000              0 to 30 % loss, partitions, phones that die, strangers
  cargo xtask sim --seed 4711 --trace         the ladder of one seed
  cargo xtask sim --plant timer-g             fails, or the simulation is blind

Ends with the first seed that fails, and says how to see it again.";

/// Builds and runs it.
///
/// # Errors
/// The build fails, or a seed does.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut command = Command::new(build(args.plant.is_some())?);
    match args.seed {
        Some(seed) => {
            command.arg("--seed").arg(seed.to_string());
            command.args(args.trace.then_some("--trace")).args(args.json.then_some("--json"));
            if let Some(call) = &args.call {
                command.arg("--call").arg(call);
            }
        }
        None => {
            command.arg("--seeds").arg(args.seeds.to_string()).arg("--first").arg(args.first.to_string());
            if let Some(jobs) = args.jobs {
                command.arg("--jobs").arg(jobs.to_string());
            }
        }
    }
    if let Some(plant) = &args.plant {
        command.arg("--plant").arg(plant);
    }
    if let Some(loss) = args.loss {
        command.arg("--loss").arg(loss.to_string());
    }
    let status = command.status().map_err(|error| process::not_started(&command, &error))?;
    interrupt::check()?;
    match status.code() {
        Some(0) => Ok(()),
        // What it printed says all.
        Some(1) => Err(Failure::silent()),
        _ => Err(Failure::failed(format!("the simulation did not finish ({status})"))),
    }
}

fn build(plant: bool) -> Result<PathBuf, Failure> {
    let step = Step::begin_long("build the simulation");
    let mut command = workspace::cargo();
    command.args(["build", "--release", "--package", "strowger-sim", "--bin", "strowger-sim"]);
    command.args(plant.then_some("--features=plant"));
    workspace::build(&mut command)?;
    step.done("");
    Ok(workspace::target()?.join("release").join("strowger-sim"))
}
