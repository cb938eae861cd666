//! A worker that is alive and does nothing: one thread stopped, then the whole process. Its messages are served by somebody
//! else, or wait where nothing is lost, and it goes on as soon as it can.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::Signal;
use strowger_xtask::lab::Lab;
use strowger_xtask::lab::phones::Traffic;
use strowger_xtask::node::{Configuration, Node, Status};

use crate::bench::{Bench, PATIENCE, say};
use crate::phone::Phone;

/// After so long a worker without a beat is passed by, and what a busy machine takes besides.
const STUCK: Duration = Duration::from_millis(200);

/// One thread of a process, held by a debugger's means; it goes on when dropped. SIGSTOP would stop all of them.
struct Held {
    thread: Pid,
}

impl Held {
    fn hold(node: &Node, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap();
        let named = |entry: &fs::DirEntry| {
            fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let entry = tasks.map(Result::unwrap).find(named).unwrap_or_else(|| panic!("no thread {name}"));
        let thread = Pid::from_raw(entry.file_name().to_str().unwrap().parse().unwrap());
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        let held = Self { thread };
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A process that has ended has no thread to let go of.
        let _ = ptrace::detach(self.thread, None);
    }
}

fn verdict(status: &Status, name: &str) -> u64 {
    status.whole["dataplane"]["xdp"][name].as_u64().unwrap_or(0)
}

fn stand_in(status: &Status, name: &str) -> u64 {
    status.whole["stand_in"]["counters"][name].as_u64().unwrap()
}

#[test]
fn the_only_worker_is_stuck() {
    stuck("copy", 1, 0);
}

#[test]
fn one_of_two_workers_on_a_queue_is_stuck() {
    stuck("copy", 2, 1);
}

#[test]
fn the_owner_of_the_queue_is_stuck() {
    stuck("copy", 2, 0);
}

#[test]
fn one_of_two_workers_without_xdp_is_stuck() {
    stuck("off", 2, 1);
}

/// THREATS, "alive but stuck": calls begun meanwhile are served, and so are those begun afterwards.
fn stuck(mode: &str, workers: u32, victim: u32) {
    const CALLS: u32 = 60;
    let Some(bench) = Bench::with_sipp() else { return };
    let configuration = Configuration { workers: Some(workers), ..bench.configuration(mode) };
    let node = bench.start(&configuration);
    let (local, remote) = (Lab::PEERS_V4.into(), Lab::node_v4());
    bench.warm_up(local, remote);
    let phones = bench.phones(local, remote);
    assert_eq!(phones.register(20, |_| ()).unwrap().failed, 0);
    let traffic = Traffic { users: 20, calls: CALLS, rate: 60, hold: Duration::from_millis(200) };

    let before = node.status().unwrap();
    let held = Held::hold(&node, &format!("worker-{victim}"));
    std::thread::sleep(STUCK);
    let meanwhile = phones.call(&traffic, |_| ()).unwrap();
    let during = node.status().unwrap();
    let served = stand_in(&during, "rx_kernel") - stand_in(&before, "rx_kernel");
    let passed = verdict(&during, "pass_stale_heartbeat") - verdict(&before, "pass_stale_heartbeat");
    drop(held);
    std::thread::sleep(STUCK);
    let afterwards = phones.call(&traffic, |_| ()).unwrap();
    let after = node.status().unwrap();
    let late = stand_in(&after, "rx_kernel") - stand_in(&during, "rx_kernel");
    say(&format!(
        "{mode}, worker {victim} of {workers} stuck: {} of {CALLS} calls ok meanwhile, {} repetitions; {passed} packets passed, \
         {served} messages served by the stand-in; {} ok afterwards, {late} more served by it",
        meanwhile.calling.ok, meanwhile.calling.retransmissions, afterwards.calling.ok
    ));
    assert_eq!((meanwhile.calling.ok, meanwhile.calling.failed), (CALLS.into(), 0), "{meanwhile:?}");
    assert_eq!((afterwards.calling.ok, afterwards.calling.failed), (CALLS.into(), 0), "{afterwards:?}");
    // A call is 6 messages to the node, and a worker has half of the calls or all of them.
    let least = u64::from(CALLS * 6 / workers / 2);
    assert!(served >= least, "{served} of at least {least}");
    assert!(mode == "off" || passed >= least, "{passed} of at least {least}");
    assert!(late < least / 2, "the worker has its own again: {late}");
    assert_eq!(after.whole["dataplane"]["frames_leaked"], 0);
}

/// The whole process is stopped: the program passes after 100 ms, by a clock that goes in ticks of up to 10 ms; the kernel's sockets keep what comes, and the process answers
/// it when it goes on.
#[test]
fn a_stopped_process_loses_nothing_and_goes_on() {
    const PHONES: u16 = 50;
    const SURELY: Duration = Duration::from_millis(150);
    let Some(bench) = Bench::plain() else { return };
    let node = bench.start(&bench.configuration("copy"));
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let before = node.status().unwrap();
    node.signal(Signal::STOP).unwrap();
    let stopped = Instant::now();
    std::thread::sleep(SURELY);
    let mut phones: Vec<Phone> = (0..PHONES)
        .map(|at| {
            let address = (Lab::PEERS_V4, 6000 + at).into();
            Phone::new(&bench.lab.peers, format!("user{at}"), address, Lab::node_v4())
        })
        .collect();
    for phone in &mut phones {
        let request = phone.register();
        phone.send(&request);
    }
    let sent = stopped.elapsed();
    assert!(phones[0].receive(Duration::from_millis(100)).is_none(), "it is stopped");
    node.signal(Signal::CONT).unwrap();
    for phone in &phones {
        let answer = phone.receive(PATIENCE).expect("an answer");
        assert!(answer.text.starts_with("SIP/2.0 200 "), "{}", answer.text);
    }
    let after = node.status().unwrap();
    let passed = verdict(&after, "pass_stale_heartbeat") - verdict(&before, "pass_stale_heartbeat");
    say(&format!("{PHONES} REGISTERs until {} ms after SIGSTOP, {passed} passed", sent.as_millis()));
    assert_eq!(passed, u64::from(PHONES), "after {SURELY:?} none goes into a ring that nobody reads");
    let again = phones[0].register();
    let in_rings = after.totals.sip_in_xsk;
    assert!(phones[0].ask(&again, 5).expect("an answer").text.starts_with("SIP/2.0 200 "));
    assert!(node.status().unwrap().totals.sip_in_xsk > in_rings, "its rings are in use again");
}
