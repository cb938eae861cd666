//! The guard of the fast path is not blind: a parser that was made slower on purpose does not pass it.

use std::path::Path;
use std::process::Command;

#[test]
fn guard_finds_planted_slowdowns() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("not run: valgrind is not installed");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace");
    for plant in strowger_xtask::bench::PLANTS {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .current_dir(root)
            .args(["bench", "guard", "--only", "sip", "--plant", plant])
            .output()
            .expect("xtask starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{plant}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let line = said
            .lines()
            .find(|line| line.contains("parse INVITE / strowger"))
            .expect("the parser is counted");
        assert!(line.ends_with("MORE"), "{plant} was not found: {line}");
    }
}
