//! What deploy/ promises: the capabilities of the unit are enough, and the example configuration is valid.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::{Command, Stdio};

use strowger_xtask::lab::Lab;
use strowger_xtask::node::Console;
use strowger_xtask::workspace;

use crate::bench::{Bench, binary};

/// Ends the process with the test.
struct Service(std::process::Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The value of a key in the unit.
fn unit(key: &str) -> String {
    let text = fs::read_to_string(workspace::root().join("deploy/strowger.service")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
    line.to_owned()
}

#[test]
fn the_capabilities_of_the_unit_are_enough() {
    const NOBODY: u32 = 65_534;
    let Some(bench) = Bench::plain() else { return };
    let directory = bench.directory.path();
    let program = directory.join("strowger");
    fs::copy(binary(), &program).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    let mut configuration = bench.configuration("copy");
    // systemd starts it where the NIC is.
    configuration.netns = None;
    let file = bench.write(&configuration);
    for path in [directory, &program, &file] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let capabilities = |key: &str| {
        let names = unit(key);
        names
            .split_whitespace()
            .map(|name| format!("+{}", name[4..].to_lowercase()))
            .collect::<Vec<_>>()
            .join(",")
    };
    assert_eq!(unit("AmbientCapabilities"), unit("CapabilityBoundingSet"));
    let granted = capabilities("AmbientCapabilities");
    let mut command = bench.lab.node.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]);
    command.args(["--inh-caps", &format!("-all,{granted}"), "--ambient-caps", &granted]);
    command.args(["--bounding-set", &format!("-all,{granted}"), "--pdeathsig", "KILL"]);
    let log = fs::File::create(directory.join("node.log")).unwrap();
    command.arg(&program).args(["run", "--config"]).arg(&file);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut service = Service(command.spawn().unwrap());

    let console = Console::new(binary(), configuration.socket.clone());
    let until = std::time::Instant::now() + crate::bench::PATIENCE;
    let status = loop {
        if let Ok(status) = console.status() {
            break status;
        }
        let log = || fs::read_to_string(directory.join("node.log")).unwrap();
        assert!(service.0.try_wait().unwrap().is_none(), "{}", log());
        assert!(std::time::Instant::now() < until, "{}", log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(status.dataplane.mode, "copy");
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
}

#[test]
fn the_example_configuration_is_valid() {
    let file = workspace::root().join("deploy/strowger.yaml");
    let output = Command::new(binary()).arg("check").arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
