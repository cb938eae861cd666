//! A device tuned and put back, on a veth pair in namespaces of the test's own. What is the machine's is left alone: other
//! tests run on it.

use std::process::Output;

use strowger_xtask::lab::Lab;
use strowger_xtask::{Code, machine};

use crate::bench::Bench;

/// `cargo xtask nic` inside the node's namespace.
fn nic(bench: &Bench, arguments: &[&str]) -> Output {
    let mut command = bench.lab.node.command(env!("CARGO_BIN_EXE_xtask"));
    command.arg("nic").args(arguments).args(["--netns", bench.lab.node.name()]).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything of the device that a tune could touch, as other programs see it.
fn everything(bench: &Bench) -> String {
    let interface = Lab::NODE_INTERFACE;
    let mut text = String::new();
    for flag in ["-l", "-g", "-k", "-c"] {
        let output = bench.lab.node.command("ethtool").args([flag, interface]).output().unwrap();
        text.push_str(&stdout(&output));
    }
    for file in ["gro_flush_timeout", "napi_defer_hard_irqs"] {
        let path = format!("/sys/class/net/{interface}/{file}");
        text.push_str(&stdout(&bench.lab.node.command("cat").arg(path).output().unwrap()));
    }
    text
}

/// Where states of the device in the node's namespace are.
fn states(bench: &Bench) -> usize {
    let number = |path: &str| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let ours = number(&bench.lab.node.path().to_string_lossy());
    let name = format!("{}-{ours}.json", Lab::NODE_INTERFACE);
    usize::from(std::path::Path::new("/run/strowger/nic").join(name).exists())
}

#[test]
fn a_tuned_device_is_put_back_exactly() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let interface = Lab::NODE_INTERFACE;
    let before = everything(&bench);

    let checked = nic(&bench, &["check", interface, "--device-only"]);
    assert!(checked.status.success(), "{checked:?}");
    let text = stdout(&checked);
    assert!(text.contains("ring rx") && text.contains("not supported by driver"), "{text}");
    assert_eq!(everything(&bench), before, "check changes nothing");

    let tuned = nic(&bench, &["tune", interface, "--device-only", "--busy-poll", "--queues", "1"]);
    assert!(tuned.status.success(), "{tuned:?}");
    let text = stdout(&tuned);
    assert!(text.contains("ring rx: not supported by driver"), "{text}");
    assert!(text.contains("gro_flush_timeout"), "each step is shown: {text}");
    let after = everything(&bench);
    assert!(after.contains("rx-vlan-offload: off") && after.contains("\n200000\n"), "{after}");
    assert_ne!(after, before);
    assert_eq!(states(&bench), 1);

    // What was before the first time is what counts.
    let again = nic(&bench, &["tune", interface, "--device-only"]);
    assert!(again.status.success(), "{again:?}");
    assert_ne!(everything(&bench), after, "deferred interrupts are for busy polling alone");

    let undone = nic(&bench, &["undo", interface]);
    assert!(undone.status.success(), "{undone:?}");
    assert_eq!(everything(&bench), before);
    assert_eq!(states(&bench), 0);
    let idle = nic(&bench, &["undo", interface]);
    assert!(idle.status.success() && stdout(&idle).contains("nothing was changed"), "{idle:?}");
}

#[test]
fn the_default_routes_device_is_not_touched_unasked() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let interface = Lab::NODE_INTERFACE;
    bench.lab.node.ip(&["route", "add", "default", "via", &Lab::PEERS_V4.to_string()]).unwrap();
    let before = everything(&bench);
    let refused = nic(&bench, &["tune", interface, "--device-only"]);
    assert_eq!(refused.status.code(), Some(Code::Failed as i32), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"), "{refused:?}");
    assert_eq!((everything(&bench), states(&bench)), (before.clone(), 0));

    assert!(nic(&bench, &["tune", interface, "--device-only", "--force"]).status.success());
    assert_ne!(everything(&bench), before);
    assert!(nic(&bench, &["undo", interface, "--force"]).status.success());
    assert_eq!(everything(&bench), before);
}

#[test]
fn a_check_is_readable_by_programs() {
    let Some(bench) = Bench::with(&[machine::ETHTOOL]) else { return };
    let output = nic(&bench, &["check", Lab::NODE_INTERFACE, "--json"]);
    let lines: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let lines = lines.as_array().unwrap();
    let line =
        |setting: &str| lines.iter().find(|line| line["setting"] == setting).cloned().unwrap_or_default();
    assert_eq!(line("rxvlan")["verdict"], "change");
    assert_eq!(line("rxvlan")["step"], format!("ethtool -K {} rxvlan off", Lab::NODE_INTERFACE));
    assert_eq!(line("ring rx")["verdict"], "unsupported");
    assert!(line("huge pages").is_object() && line("irqbalance").is_object(), "{lines:?}");
}
