//! The fuzz targets without a fuzzer: the seeds as they are, then mutations of them for a few seconds, with a printed seed.

mod common;
#[path = "common/mutate.rs"]
mod mutate;

mod exercise;

use std::path::Path;
use std::time::Duration;

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut seeds = Vec::new();
    for kind in std::fs::read_dir(&folder).expect("seeds") {
        for file in std::fs::read_dir(kind.expect("a folder").path()).expect("a folder") {
            seeds.push(std::fs::read(file.expect("a file").path()).expect("a seed"));
        }
    }
    assert!(seeds.len() > 20, "the seeds are gone");
    seeds
}

#[test]
fn every_seed_is_handled() {
    for seed in seeds() {
        exercise::all(&seed);
    }
}

#[test]
fn mutations_are_handled() {
    let seeds = seeds();
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).chain(common::ALL).collect();
    mutate::run("mutations", &seeds, 150_000, Duration::from_secs(4), exercise::all);
}
