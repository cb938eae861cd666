//! A few hundred worlds in every test run, and what a seed promises.

use strowger_sim::{Coverage, Options, Record, Report, ladder, run};

/// Seeds of an ordinary test run; `cargo xtask sim` runs as many as one likes.
const SEEDS: u64 = 400;

fn told(report: &Report) -> String {
    let faults: Vec<String> = report.faults.iter().map(|f| format!("{:?} {}", f.at, f.what)).collect();
    format!(
        "seed {}: {}; again: cargo xtask sim --seed {} --trace",
        report.seed,
        faults.join("; "),
        report.seed
    )
}

#[test]
fn some_hundred_worlds_without_a_fault() {
    let mut covered = Coverage::default();
    for seed in 1..=SEEDS {
        let report = run(seed, &Options::default());
        assert!(report.faults.is_empty(), "{}", told(&report));
        covered.add(&report.coverage);
    }
    // Worlds in which nothing happens have no faults either.
    assert!(
        covered.calls > SEEDS && covered.requests > 10 * SEEDS && covered.cancelled > SEEDS / 4,
        "{covered:?}"
    );
}

#[test]
fn no_loss_and_much_loss() {
    for loss in [0, 300] {
        for seed in 1000..1050 {
            let report = run(seed, &Options { loss: Some(loss), keep: false });
            assert!(report.faults.is_empty(), "loss {loss}: {}", told(&report));
        }
    }
}

#[test]
fn a_seed_has_one_history() {
    for seed in 1..40 {
        let histories = [0, 1].map(|_| run(seed, &Options::default()).trace.hash());
        assert_eq!(histories[0], histories[1], "seed {seed}");
        assert_ne!(histories[0], run(seed + 1, &Options::default()).trace.hash());
    }
}

#[test]
fn a_ladder_shows_every_datagram() {
    let report = run(7, &Options { loss: None, keep: true });
    assert_eq!(report.trace.hash(), run(7, &Options::default()).trace.hash(), "keeping changes nothing");
    let datagrams = report.trace.records().iter().filter(|r| matches!(r, Record::Datagram { .. })).count();
    assert_eq!(datagrams as u64, report.trace.datagrams());
    let drawn = ladder::draw(&report, &ladder::Filter::default());
    assert!(drawn.lines().count() > datagrams, "one line each, and the names");
    assert!(drawn.contains("INVITE sip:") && drawn.contains("REGISTER sip:"), "{drawn}");
}
