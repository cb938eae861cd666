//! The simulation is not blind: a bug that is planted into the engine is found within a few hundred seeds, by the fault that it is.
//!
//! The build is the same for all bugs, and for none: without one it finds nothing. That many seeds of the engine as it is
//! shipped have no fault is for the simulation's own tests.

use std::path::Path;
use std::process::{Command, Output};

/// Seeds within which each is found.
const SEEDS: u64 = 300;

/// What the simulation says of each bug.
const FOUND: [(&str, &str); 3] = [
    ("timer-g", "no final response to INVITE"),
    ("cancel-match", "that nobody asked for"),
    ("contact-order", "is tried before"),
];

/// Runs some seeds of the simulation, built by the profile of tests, with a bug or none.
fn seeds(plant: Option<&str>, first: u64, count: u64) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace");
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root).args(["run", "--quiet", "--profile", "test", "--package", "strowger-sim"]);
    command.args(["--features", "plant", "--", "--first", &first.to_string(), "--seeds", &count.to_string()]);
    command.args(plant.iter().flat_map(|plant| ["--plant", plant]));
    command.output().expect("cargo starts")
}

/// Whether the next seed that fails with this bug, from `first` on, fails by this fault: others may follow from it.
fn finds(plant: &str, fault: &str, first: &mut u64) -> bool {
    assert!(*first <= SEEDS, "{plant} was not found by `{fault}`");
    let found = seeds(Some(plant), *first, SEEDS + 1 - *first);
    let said = String::from_utf8_lossy(&found.stdout);
    assert_eq!(found.status.code(), Some(1), "{plant} was not found from seed {first} on: {said}");
    let (faults, end) = said.rsplit_once("sim: seed ").expect("the last line names the seed");
    assert!(end.contains("again: cargo xtask sim --seed "), "{plant}: {said}");
    *first = end.split(' ').next().and_then(|seed| seed.parse::<u64>().ok()).expect("a seed") + 1;
    faults.lines().any(|line| line.contains("FAULT") && line.contains(fault))
}

#[test]
fn sim_finds_planted_bugs() {
    let sound = seeds(None, 1, 40);
    assert!(sound.status.success(), "{}", String::from_utf8_lossy(&sound.stdout));
    assert_eq!(FOUND.map(|(plant, _)| plant), strowger_xtask::sim::PLANTS);
    for (plant, fault) in FOUND {
        let mut first = 1;
        while !finds(plant, fault, &mut first) {}
    }
}
