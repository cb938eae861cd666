//! Inside the guest: the node on one NIC, phones on the other, and what they saw as one line of JSON.
//!
//! Runs as the guest's only program, started by its init script with standard output on the serial line that the host
//! reads. Nothing here judges.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::phone::Phone;
use super::verdict::Evidence;
use super::{EVIDENCE, MODE, STEP, TROUBLE, WORKERS, image};
use crate::failure::Doing as _;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::node::{Configuration, Console, Node, Status};
use crate::{Failure, machine, process};

/// The node's NIC and the phones', in the order that QEMU was given them.
const NODE_NIC: &str = "eth0";
const PHONES_NIC: &str = "eth1";
/// Where they call from and where they are called.
const CALLING_PORT: u16 = 5080;
const CALLED_PORT: u16 = 5070;
/// Users, and calls to each of them.
const USERS: u64 = 20;
const CALLS_EACH: u64 = 10;
const NODE_LOG: &str = "/run/strowger.log";
/// How long the node may take to come up; emulation is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does everything and says it. What fails is a line too: the exit code of a guest's program reaches nobody.
///
/// # Errors
/// None; the signature is that of a verb.
pub(super) fn run() -> Result<(), Failure> {
    if let Err(failure) = witnessed() {
        for line in failure.to_string().lines() {
            println!("{TROUBLE}{line}");
        }
        // Standard error is the console, whose log the host keeps.
        eprintln!("{}", fs::read_to_string(NODE_LOG).unwrap_or_default());
    }
    Ok(())
}

fn say(doing: &str) {
    println!("{STEP}{doing}");
}

/// One node after the other, and a line of evidence for each.
fn witnessed() -> Result<(), Failure> {
    say("setting up the network");
    let phones = Namespace::new("phones");
    wire(&phones)?;
    for workers in WORKERS {
        let evidence = calls(&phones, workers)?;
        println!("{EVIDENCE}{}", serde_json::to_string(&evidence).doing("write the evidence")?);
        // The kernel lets go of a queue a moment after its process died.
        let until = Instant::now() + PATIENCE;
        while !sockets()?.is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Registrations and calls through a node with so many workers.
fn calls(phones: &Namespace, workers: u32) -> Result<Evidence, Failure> {
    say(&format!("{workers} workers: starting the node"));
    let mut node = start(workers)?;
    let first = node.wait_until_up(PATIENCE)?;
    let peer = |port| SocketAddr::from((Lab::PEERS_V4, port));
    let mut calling = phones.enter_on_a_thread(|| Phone::new(peer(CALLING_PORT), Lab::node_v4()))??;
    let mut called = phones.enter_on_a_thread(|| Phone::new(peer(CALLED_PORT), Lab::node_v4()))??;
    // The first messages go by the kernel, until both sides know each other's link-layer address.
    say(&format!("{workers} workers: waiting for the first answer by AF_XDP"));
    let before = warmed(&node, &mut called, &first)?;
    let earlier = called.repeated();
    say(&format!("{workers} workers: registering"));
    for user in 0..USERS {
        called.register(&format!("user{user}"), &format!("register-{workers}-{user}"))?;
    }
    say(&format!("{workers} workers: calling"));
    let (stop, damaged, twice) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let repeated = called.repeated() - earlier;
    std::thread::scope(|scope| {
        scope.spawn(|| called.serve(&stop, &damaged, &twice));
        let made = (0..USERS * CALLS_EACH).try_for_each(|number| {
            calling.call(&format!("user{}", number % USERS), &format!("call-{workers}-{number}"))
        });
        stop.store(true, Ordering::Relaxed);
        made
    })?;
    say(&format!("{workers} workers: asking the witnesses"));
    let after = node.status()?;
    let queues = after.whole["dataplane"]["queues"].as_array().cloned().unwrap_or_default();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let bad = |name: &str| queues.iter().map(|queue| number(&queue["counters"][name])).sum::<u64>();
    let mut balance = BTreeMap::new();
    for (place, frames) in queues.iter().filter_map(|queue| queue["balance"].as_object()).flatten() {
        *balance.entry(place.clone()).or_insert(0) += number(frames);
    }
    let received = |status: &Status, id| {
        let worker = status.workers.iter().find(|worker| worker.id == id);
        worker.map_or(0, |worker| worker.counted("rx_xsk"))
    };
    Ok(Evidence {
        kernel: machine::kernel(),
        driver: after.whole["dataplane"]["driver"].as_str().unwrap_or_default().to_owned(),
        mode: after.dataplane.mode.clone(),
        sockets: sockets()?,
        wanted_workers: workers,
        workers: after.workers.iter().map(|it| received(&after, it.id) - received(&before, it.id)).collect(),
        registered: USERS,
        calls: USERS * CALLS_EACH,
        repeated: repeated + calling.repeated() + twice.load(Ordering::Relaxed),
        bodies_damaged: damaged.load(Ordering::Relaxed),
        counters: grown(&before, &after),
        bad_addresses: bad("rx_bad_address") + bad("completion_bad_address"),
        leaked: number(&after.whole["dataplane"]["frames_leaked"]),
        balance,
    })
}

/// Addresses, and the phones' NIC in a namespace of its own: otherwise the kernel would keep all of it to itself.
fn wire(phones: &Namespace) -> Result<(), Failure> {
    let ip = |arguments: &[&str]| process::output(Command::new("ip").args(arguments)).map(drop);
    ip(&["link", "set", "lo", "up"])?;
    phones.ensure()?;
    ip(&["link", "set", PHONES_NIC, "netns", phones.name()])?;
    ip(&["address", "add", &format!("{}/24", Lab::NODE_V4), "dev", NODE_NIC])?;
    ip(&["link", "set", NODE_NIC, "up"])?;
    phones.ip(&["address", "add", &format!("{}/24", Lab::PEERS_V4), "dev", PHONES_NIC])?;
    phones.ip(&["link", "set", PHONES_NIC, "up"])?;
    Ok(())
}

fn start(workers: u32) -> Result<Node, Failure> {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let mode =
        command_line.split_whitespace().find_map(|word| word.strip_prefix(MODE)).unwrap_or("zero-copy");
    let socket = Path::new("/run/strowger.sock").to_path_buf();
    let configuration = Configuration {
        name: "zero-copy".to_owned(),
        socket: Some(socket.clone()),
        interface: NODE_NIC.to_owned(),
        netns: None,
        mode: mode.to_owned(),
        workers: Some(workers),
        plane: String::new(),
        listen: vec![Lab::node_v4()],
        open: true,
        auth: String::new(),
        extra: "limits: { transactions: 10000, dialogs: 10000, bindings: 10000 }\n".to_owned(),
    };
    let file = Path::new("/run/strowger.yaml");
    configuration.write(file)?;
    Node::start(Console::new(image::NODE, Some(socket)), file, Path::new(NODE_LOG))
}

/// Registers until an answer went by AF_XDP, and gives the status after it.
fn warmed(node: &Node, phone: &mut Phone, first: &Status) -> Result<Status, Failure> {
    for attempt in 0..100 {
        phone.register("early", &format!("early-{attempt}"))?;
        let status = node.status()?;
        if status.counted("tx_xsk") > first.counted("tx_xsk") {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::failed(format!(
        "no message leaves by AF_XDP; the node's last words:\n{}",
        node.last_words(12)
    )))
}

/// By how much each counter of the workers grew.
fn grown(before: &Status, after: &Status) -> BTreeMap<String, u64> {
    let names = after.workers.iter().flat_map(|worker| worker.counters.keys());
    let names = names.filter(|name| !matches!(name.as_str(), "turns" | "sleeps"));
    names.map(|name| (name.clone(), after.counted(name).saturating_sub(before.counted(name)))).collect()
}

/// What the kernel says of the memory of each AF_XDP socket.
fn sockets() -> Result<Vec<String>, Failure> {
    let text = process::output(Command::new("ss").args(["--xdp", "--all", "--extended", "--numeric"]))?;
    Ok(umems(&text))
}

/// `umem(…)` wherever it stands in the text.
fn umems(text: &str) -> Vec<String> {
    let rest = text.split("umem(").skip(1);
    rest.filter_map(|rest| Some(format!("umem({})", rest.split_once(')')?.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_word_is_found_in_what_ss_prints() {
        let text = "Recv-Q Send-Q Local\n0 0 eth0:q0 * ino:7 sk:1 rx(entries:2048) \
                    umem(id:0,size:16777216,num_pages:4096,chunk_size:4096,headroom:256,ifindex:2,qid:0,zc:1,refs:1) fr(entries:2048)";
        assert_eq!(umems(text).len(), 1);
        assert!(umems(text)[0].contains("zc:1"));
        assert_eq!(umems("nothing"), Vec::<String>::new());
    }
}
