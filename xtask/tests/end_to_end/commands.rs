//! The two commands of the README, as they are typed: `build-and-load` in one terminal, `lab call` in another, Ctrl-C.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use strowger_xtask::lab::Lab;
use strowger_xtask::machine;

use crate::bench::{self, PATIENCE, say};

fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// `build-and-load` in the background; dropped, it is asked to end, so that it cleans up.
struct Loaded {
    child: Child,
}

impl Loaded {
    fn start(log: &Path, arguments: &[&str]) -> Self {
        let mut command = xtask(&["build-and-load"]);
        command
            .args(arguments)
            .stdout(File::create(log).unwrap())
            .stderr(File::options().append(true).open(log).unwrap());
        Self { child: command.spawn().unwrap() }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = kill_process(pid, signal);
    }

    fn wait(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE * 2;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

#[test]
fn build_and_load_lab_call_and_ctrl_c() {
    let Some(_turn) = bench::turn(&[machine::SIPP]) else { return };
    if Lab::standard().exists() {
        return say("SKIPPED build_and_load_lab_call_and_ctrl_c: the lab of this machine is in use");
    }
    // Build first, outside the time in which it must come up.
    bench::binary();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut loaded = Loaded::start(&log, &[]);
    let until = Instant::now() + Duration::from_secs(180);
    while !std::fs::read_to_string(&log).unwrap().contains("The node is up") {
        assert!(loaded.child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(&log).unwrap());
        assert!(Instant::now() < until, "{}", std::fs::read_to_string(&log).unwrap());
        std::thread::sleep(Duration::from_millis(50));
    }

    let output = xtask(&["lab", "call", "--calls", "100", "--rate", "100", "--json"]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["phones"]["calling"]["ok"], 100, "{report}");
    assert_eq!(report["phones"]["calling"]["failed"], 0, "{report}");
    assert_eq!(report["registrations"]["ok"], 100, "{report}");
    assert_eq!(report["sip"]["sip_in_kernel"], 0, "{report}");
    assert_eq!(report["sip"]["sip_out_kernel"], 0, "{report}");
    assert!(report["sip"]["sip_in_xsk"].as_u64().is_some_and(|count| count >= 700), "{report}");

    // A second one is told about the first, and does it no harm.
    let second = xtask(&["build-and-load", "--once"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("runs already"));
    let down = xtask(&["lab", "down"]).output().unwrap();
    assert!(!down.status.success(), "not while a node runs in it");

    loaded.signal(Signal::INT);
    let code = loaded.wait();
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("copy | AF_XDP "), "a status line: {text}");
    assert!(text.contains("no XDP program is left"), "{text}");
    assert!(!Lab::standard().exists(), "the lab is gone");
}
