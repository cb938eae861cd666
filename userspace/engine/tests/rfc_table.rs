//! `docs/rfc.md` names a test for each demand of the RFCs: every one of them is in the tree, and every row has one, or says
//! that it is a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn table() -> String {
    std::fs::read_to_string(root().join("docs/rfc.md")).expect("docs/rfc.md")
}

/// All `file::test` in backticks.
fn named(text: &str) -> Vec<(&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|word| word.split_once("::")).collect()
}

/// Names of the tests in a file: functions under `#[test]`, and those in `proptest!` too, which have it as well.
fn tests_in(file: &str) -> Option<BTreeSet<String>> {
    let text = [root().join("userspace"), root()]
        .iter()
        .find_map(|base| std::fs::read_to_string(base.join(file)).ok())?;
    let mut tests = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| marked) {
            tests.insert(rest.split(['(', '<']).next().unwrap_or_default().to_owned());
            marked = false;
        }
    }
    Some(tests)
}

#[test]
fn every_test_that_the_table_names_exists() {
    let table = table();
    let mut files: BTreeMap<&str, Option<BTreeSet<String>>> = BTreeMap::new();
    let named = named(&table);
    assert!(named.len() > 100, "the table names {} tests", named.len());
    let missing: BTreeSet<String> = named
        .into_iter()
        .filter(|(file, test)| {
            let tests = files.entry(file).or_insert_with(|| tests_in(file));
            !tests.as_ref().is_some_and(|tests| tests.contains(*test))
        })
        .map(|(file, test)| format!("{file}::{test}"))
        .collect();
    assert!(missing.is_empty(), "docs/rfc.md names tests that do not exist: {missing:#?}");
}

#[test]
fn every_row_has_a_test_or_says_why_not() {
    for line in table().lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{line}");
        let last = cells[2];
        let shown = !named(last).is_empty();
        let excused = last.contains("**gap**") || last.starts_with("not applicable");
        assert!(last == "Test" || shown || excused, "{line}");
    }
}

#[test]
fn the_rfcs_that_apply_are_there() {
    let table = table();
    for rfc in [3261, 3263, 3327, 3581, 3608, 4028, 4320, 5393, 5626, 5627, 6026, 7339, 7616, 8760] {
        assert!(
            table.lines().any(|line| line.starts_with("## ") && line.contains(&format!("RFC {rfc}"))),
            "{rfc}"
        );
    }
    for section in ["8.2", "9", "10", "16", "17", "18", "19", "22"] {
        let heading = format!("### Section {section}:");
        assert!(table.lines().any(|line| line.starts_with(&heading)), "{section}");
    }
}
