//! Bad input: one line that says what is wrong, an exit code of its own, and nothing left behind.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use strowger_xtask::lab::Lab;
use strowger_xtask::node::Configuration;

use crate::bench::{Bench, Refusal, binary, refused};
use crate::phone::Phone;

/// Exit codes that `strowger --help` promises.
const CONFIGURATION: i32 = 3;
const PRIVILEGE: i32 = 4;
const INTERFACE: i32 = 5;
const ADDRESS: i32 = 6;
const UNSUPPORTED: i32 = 7;
const OTHER_PROGRAM: i32 = 8;

fn run(program: &Path, file: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(file);
    command
}

/// The refusal of a configuration, after which nothing may be left behind.
fn refusal(bench: &Bench, configuration: &Configuration) -> Refusal {
    let refusal = refused(run(binary(), &bench.write(configuration)));
    bench.assert_nothing_left();
    refusal
}

/// The code, and one line among the log that names the culprit and comes last.
fn assert_says(refusal: &Refusal, code: i32, words: &[&str]) {
    assert_eq!(refusal.code, Some(code), "{}", refusal.stderr);
    let last = refusal.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("strowger: "), "{}", refusal.stderr);
    for word in words {
        assert!(last.contains(word), "`{word}` is not in: {last}");
    }
    let errors = refusal.stderr.lines().filter(|line| line.starts_with("strowger: ")).count();
    assert_eq!(errors, 1, "one line: {}", refusal.stderr);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let Some(bench) = Bench::plain() else { return };
    let mut configuration = bench.configuration("copy");
    configuration.extra = "regsitrar: { min_expires: 60 }\n".to_owned();
    let line = configuration.text().lines().position(|line| line.starts_with("regsitrar")).unwrap() + 1;
    let refusal = refusal(&bench, &configuration);
    assert_says(&refusal, CONFIGURATION, &["regsitrar", &format!("line {line}")]);
}

#[test]
fn a_missing_file_is_a_configuration_fault() {
    let Some(bench) = Bench::plain() else { return };
    let refusal = refused(run(binary(), &bench.directory.path().join("nothing.yaml")));
    assert_says(&refusal, CONFIGURATION, &["nothing.yaml"]);
}

#[test]
fn a_missing_interface_is_named() {
    let Some(bench) = Bench::plain() else { return };
    let mut configuration = bench.configuration("copy");
    configuration.interface = "sw-nowhere".to_owned();
    assert_says(&refusal(&bench, &configuration), INTERFACE, &["sw-nowhere"]);
}

#[test]
fn a_missing_namespace_is_named() {
    let Some(bench) = Bench::plain() else { return };
    let mut configuration = bench.configuration("copy");
    configuration.netns = Some("swt-no-such-namespace".to_owned());
    assert_says(&refusal(&bench, &configuration), INTERFACE, &["swt-no-such-namespace"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let Some(bench) = Bench::plain() else { return };
    let held = bench.lab.node.enter_on_a_thread(|| UdpSocket::bind(Lab::node_v4()).unwrap()).unwrap();
    for mode in ["copy", "off"] {
        assert_says(&refusal(&bench, &bench.configuration(mode)), ADDRESS, &["10.77.0.2:5060"]);
    }
    drop(held);
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    let Some(bench) = Bench::plain() else { return };
    let mut configuration = bench.configuration("copy");
    configuration.listen = vec!["10.99.0.1:5060".parse().unwrap()];
    assert_says(&refusal(&bench, &configuration), ADDRESS, &["10.99.0.1:5060"]);
}

#[test]
fn without_privilege_it_names_the_capabilities() {
    let Some(bench) = Bench::plain() else { return };
    // Nobody may not look into our directories, so the binary and its file go where everybody may.
    let program = bench.directory.path().join("strowger");
    fs::copy(binary(), &program).unwrap();
    fs::set_permissions(bench.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = bench.write(&bench.configuration("copy"));
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(&program).args(["run", "--config"]).arg(&file);
    let refusal = refused(command);
    assert_says(&refusal, PRIVILEGE, &["CAP_BPF", "CAP_NET_ADMIN"]);
    bench.assert_nothing_left();
}

#[test]
fn a_driver_without_zero_copy_is_refused_when_zero_copy_is_wanted() {
    let Some(bench) = Bench::plain() else { return };
    assert_says(&refusal(&bench, &bench.configuration("zero-copy")), UNSUPPORTED, &["zero copy"]);
}

#[test]
fn a_driver_without_native_xdp_is_refused_or_served_in_generic_mode() {
    let Some(bench) = Bench::plain() else { return };
    // The bridge driver has no XDP of its own.
    bench.lab.node.ip(&["link", "add", "sw-other", "type", "bridge"]).unwrap();
    bench.lab.node.ip(&["link", "set", "sw-other", "up"]).unwrap();
    let mut configuration = bench.configuration("copy");
    configuration.interface = "sw-other".to_owned();
    assert_says(&refusal(&bench, &configuration), UNSUPPORTED, &["sw-other"]);
    configuration.mode = "auto".to_owned();
    let node = bench.start(&configuration);
    assert_eq!(node.status().unwrap().dataplane.mode, "generic");
}

#[test]
fn another_xdp_program_is_left_alone() {
    let Some(bench) = Bench::plain() else { return };
    let first = bench.start(&bench.configuration("copy"));
    let attached = bench.lab.xdp_programs().unwrap();
    let mut second = bench.configuration("copy");
    second.socket = Some(bench.directory.path().join("second.sock"));
    second.listen = vec![(Lab::NODE_V4, 5062).into()];
    let file = bench.directory.path().join("second.yaml");
    second.write(&file).unwrap();
    let refusal = refused(run(binary(), &file));
    assert_says(&refusal, OTHER_PROGRAM, &[Lab::NODE_INTERFACE]);
    assert!(!bench.directory.path().join("second.sock").exists());

    assert_eq!(bench.lab.xdp_programs().unwrap(), attached, "the first keeps its program");
    let phone = Phone::new(&bench.lab.peers, "alice", (Lab::PEERS_V4, 5081).into(), Lab::node_v4());
    phone.registered();
    assert!(first.status().unwrap().totals.sip_in_xsk > 0, "and its packets");
}

#[test]
fn a_second_node_with_the_same_socket_is_refused() {
    let Some(bench) = Bench::plain() else { return };
    let first = bench.start(&bench.configuration("off"));
    let mut second = bench.configuration("off");
    second.listen = vec![(Lab::NODE_V4, 5062).into()];
    let file = bench.directory.path().join("second.yaml");
    second.write(&file).unwrap();
    let refusal = refused(run(binary(), &file));
    assert_says(&refusal, ADDRESS, &["node.sock"]);
    assert_eq!(first.status().unwrap().node.pid, first.pid(), "the first still answers there");
}
