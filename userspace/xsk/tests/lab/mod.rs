//! Network namespaces for tests: made with `ip`, removed on drop, also when the test fails.
//!
//! Needs root. Without it a test says so where nobody can miss it, and passes; under `CI=true` it fails: see [`ready`].
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

/// Whether namespaces can be made here; says why not past the test harness's capture. Under `CI=true` it panics
/// instead, because a green run must mean that everything ran.
pub(crate) fn ready(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    let ip = Command::new("ip").arg("-V").output().is_ok_and(|output| output.status.success());
    if root && ip {
        return true;
    }
    let reason = if root { "no `ip` command (package iproute2)" } else { "not root" };
    let ci = std::env::var("CI").is_ok_and(|value| matches!(value.as_str(), "true" | "1"));
    assert!(!ci, "{test} cannot run: {reason}");
    // `eprintln!` would be captured.
    let _ = writeln!(std::io::stderr(), "\nSKIP {test}: {reason}");
    false
}

/// Runs `ip` with words separated by spaces.
pub(crate) fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("ip runs");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A network namespace of this test process's own.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; `role` must be unique in the test.
    pub(crate) fn new(test: &str, role: &str) -> Self {
        let name = format!("swt-xsk-{test}-{role}-{}", std::process::id());
        ip(&format!("netns add {name}"));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name for `ip link ... netns NAME`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, words: &str) {
        ip(&format!("-n {} {words}", self.name));
    }

    /// What `ip` prints inside.
    pub(crate) fn ip_output(&self, words: &str) -> String {
        let words = format!("-n {} {words}", self.name);
        let output = Command::new("ip").args(words.split_whitespace()).output().expect("ip runs");
        String::from_utf8(output.stdout).expect("ip prints text")
    }

    /// Runs `work` on a thread inside.
    pub(crate) fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = File::open(format!("/run/netns/{}", self.name)).expect("namespace is there");
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(file.as_fd(), kind).expect("setns");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The device's Ethernet address, asked of `ip` since /sys shows the namespace that it was mounted in.
    pub(crate) fn mac(&self, device: &str) -> [u8; 6] {
        let link = self.ip_output(&format!("-o link show dev {device}"));
        let text = link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a MAC");
        let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect();
        bytes.try_into().expect("six bytes")
    }

    /// The interface's index.
    pub(crate) fn ifindex(&self, device: &str) -> u32 {
        let link = self.ip_output(&format!("-o link show dev {device}"));
        link.split(':').next().and_then(|index| index.parse().ok()).expect("an index")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// A veth pair of one queue between two namespaces, both ends up.
pub(crate) fn veth(one: (&Namespace, &str, &str), two: (&Namespace, &str, &str)) {
    let queues = "numtxqueues 1 numrxqueues 1";
    let (near, far, place) = (one.1, two.1, two.0.name());
    one.0.ip(&format!("link add {near} {queues} type veth peer name {far} {queues} netns {place}"));
    for (namespace, device, address) in [one, two] {
        // nodad: an IPv6 address is usable at once.
        let nodad = if address.contains(':') { "nodad" } else { "" };
        namespace.ip(&format!("address add {address} dev {device} {nodad}"));
        namespace.ip(&format!("link set {device} up"));
    }
}

/// Asks until the answer is `Some`, at most for `limit`; how long it took.
pub(crate) fn until<R>(limit: Duration, mut ask: impl FnMut() -> Option<R>) -> Option<(R, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some((answer, start.elapsed()));
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
