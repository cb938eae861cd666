//! The simulation is not blind: a bug that is planted into the engine is found within a few hundred seeds, and without
//! one there is no finding.

use std::path::Path;
use std::process::{Command, Output};

/// Runs some seeds of the simulation, built with a bug (or none) by the profile of tests.
fn seeds(plant: Option<&str>) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace");
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root).args(["run", "--quiet", "--profile", "test", "--package", "strowger-sim"]);
    if let Some(plant) = plant {
        command.arg("--features").arg(format!("plant-{plant}"));
    }
    command.args(["--", "--seeds", "300"]).output().expect("cargo starts")
}

#[test]
fn sim_finds_planted_bugs() {
    let sound = seeds(None);
    assert!(sound.status.success(), "{}", String::from_utf8_lossy(&sound.stdout));
    for plant in strowger_xtask::sim::PLANTS {
        let found = seeds(Some(plant));
        let said = String::from_utf8_lossy(&found.stdout);
        assert_eq!(found.status.code(), Some(1), "{plant} was not found: {said}");
        assert!(said.contains("FAULT") && said.contains("again: cargo xtask sim --seed "), "{plant}: {said}");
    }
}
