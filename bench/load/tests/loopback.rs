//! The program as it is run, over the loopback: peers that are silent, wrong, lossy, slow; exit codes and files.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use strowger_load::record::{Load, Record};

fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strowger-load")).args(arguments).output().expect("it starts")
}

/// What it wrote to standard error.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn record(path: &Path) -> Record {
    serde_json::from_slice(&std::fs::read(path).expect("the file")).expect("the JSON of a record")
}

/// A socket on the loopback that a thread answers from until it is dropped.
struct Peer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// `answer` gets each datagram and gives what goes back.
    fn start(mut answer: impl FnMut(&str) -> Option<String> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
        let address = socket.local_addr().expect("its address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                let text = String::from_utf8_lossy(&buffer[..len]);
                if let Some(answer) = answer(&text) {
                    socket.send_to(answer.as_bytes(), from).expect("sent");
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    fn text(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the peer");
        }
    }
}

/// A registrar that says yes to everything.
fn ok(request: &str) -> Option<String> {
    let (first, rest) = request.split_once("\r\n")?;
    first.ends_with("SIP/2.0").then(|| {
        let headers = rest.lines().take_while(|line| !line.is_empty());
        let kept = headers.filter(|line| {
            ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|name| line.starts_with(name))
        });
        let headers: String = kept.map(|line| format!("{line}\r\n")).collect();
        format!("SIP/2.0 200 OK\r\n{headers}Content-Length: 0\r\n\r\n")
    })
}

#[test]
fn calls_without_a_proxy_come_out_in_json_and_hgrm() {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("run.json");
    let output = load(&[
        "run",
        "call",
        "--no-proxy",
        "--rate",
        "100",
        "--duration",
        "1s",
        "--warm-up",
        "200ms",
        "--hold",
        "10ms",
        "--label",
        "floor",
        "--json",
        json.to_str().expect("a path"),
        "--hgrm",
        directory.path().to_str().expect("a path"),
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let record = record(&json);
    let [run] = record.runs.as_slice() else { panic!("one run") };
    assert_eq!((run.counts.begun, run.counts.succeeded, run.whole.begun), (100, 100, 120));
    assert_eq!((record.label.as_str(), record.no_proxy, record.scenario.messages), ("floor", true, 6.0));
    assert_eq!(run.load, Load::Open { rate: 100.0, poisson: false });
    let leg = run.legs.iter().find(|leg| leg.name == "INVITE→200").expect("the leg");
    assert_eq!((leg.intended.count, leg.actual.count), (100, 100));
    assert!(leg.intended.p50_ns >= leg.actual.p50_ns && leg.actual.min_ns > 1_000, "{leg:?}");
    assert!(run.cpu.own_ns > 1_000_000 && run.cpu.own_ns < run.steady_ns, "{:?}", run.cpu);
    let listing =
        std::fs::read_to_string(directory.path().join("floor-call-1-INVITE-to-200.hgrm")).expect("the .hgrm");
    assert!(listing.contains("Total count    =          100]"), "{listing}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("100 begun, 100 ok, 0 failed") && table.contains("BYE→200"), "{table}");
}

#[test]
fn whoever_is_not_there_or_is_no_proxy_is_named() {
    let silent = Peer::start(|_| None);
    let output = load(&["run", "options", "--target", &silent.text()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        said(&output).contains("does not answer") && said(&output).contains("fix: is the proxy running"),
        "{}",
        said(&output)
    );

    let echo = Peer::start(|request| Some(request.to_owned()));
    let output = load(&["run", "options", "--target", &echo.text()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("no SIP server: our own request came back"), "{}", said(&output));

    let noise = Peer::start(|_| Some("HTTP/1.1 400 Bad Request\r\n\r\n".to_owned()));
    let output = load(&["run", "options", "--target", &noise.text()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("that are no SIP message"), "{}", said(&output));

    let closed = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let output = load(&["run", "options", "--target", &closed.to_string()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(said(&output).contains("nobody listens"), "{}", said(&output));
}

#[test]
fn users_that_are_refused_are_said_before_the_run() {
    let strict = Peer::start(|request| {
        let answer = ok(request)?;
        Some(if request.starts_with("REGISTER") { answer.replace("200 OK", "403 Forbidden") } else { answer })
    });
    let output = load(&["run", "call", "--target", &strict.text(), "--users", "20", "--port", "0"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        said(&output).contains("20 of 20 users could not be prepared (REGISTER: 403)"),
        "{}",
        said(&output)
    );
}

#[test]
fn what_cannot_be_done_has_its_exit_code() {
    for (arguments, code, says) in [
        (&["run", "nothing", "--no-proxy"][..], 2, "there is no scenario `nothing`"),
        (&["run", "call"], 2, "--target"),
        (&["run", "call", "--no-proxy", "--rate", "0"], 2, "a number above 0"),
        (&["run", "call", "--no-proxy", "--hold", "fast"], 2, "is no time such as"),
        (&["run", "call", "--no-proxy", "--user", "alice"], 2, "needs {n} once"),
        (&["run", "call", "--no-proxy", "--watch", "x=4294967295"], 2, "there is no process"),
        (&["run", "call", "--no-proxy", "--local", "192.0.2.1"], 6, "cannot use 192.0.2.1"),
        (&["run", "call", "--no-proxy", "--netns", "swt-l-none"], 6, "network namespace swt-l-none"),
        (&["run", "call", "--no-proxy", "--json", "/no/such/directory/x.json"], 6, "cannot write"),
        (&["run", "call", "--no-proxy", "--xdp", "no-such-dev"], 6, "no device `no-such-dev`"),
        (&["search", "register-fresh", "--no-proxy"], 2, "no rate to search for"),
    ] {
        let output = load(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(says), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn a_lossy_peer_costs_repetitions_and_no_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("run.json");
    // Every tenth REGISTER is lost the first time it comes.
    let (mut lost, mut heard) = (Vec::new(), 0);
    let lossy = Peer::start(move |request| {
        let branch = request.split("branch=").nth(1)?.split(';').next()?.to_owned();
        if request.starts_with("REGISTER") && !lost.contains(&branch) {
            heard += 1;
            lost.push(branch);
            if heard % 10 == 0 {
                return None;
            }
        }
        ok(request)
    });
    let output = load(&[
        "run",
        "register",
        "--target",
        &lossy.text(),
        "--rate",
        "200",
        "--count",
        "200",
        "--port",
        "0",
        "--json",
        json.to_str().expect("a path"),
        "--t1",
        "300ms",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let run = &record(&json).runs[0];
    assert_eq!((run.counts.begun, run.counts.succeeded), (200, 200));
    // A machine that sleeps longer than T1 may make it more.
    assert!((20..40).contains(&run.counts.requests_repeated), "{:?}", run.counts);
    assert!(!run.lossless, "10 % were repeated");
    let late =
        run.legs[0].intended.buckets.iter().filter(|(at, _)| *at >= 300_000_000).map(|(_, n)| n).sum::<u64>();
    assert!((20..40).contains(&late), "those took T1 and longer: {late}");
}

#[test]
fn a_peer_that_stalls_is_seen_in_all_that_waited() {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("run.json");
    let mut first = None;
    let mut stalled = false;
    let stalling = Peer::start(move |request| {
        if request.starts_with("REGISTER") {
            let began = *first.get_or_insert_with(Instant::now);
            if !stalled && began.elapsed() > Duration::from_millis(500) {
                stalled = true;
                std::thread::sleep(Duration::from_millis(400));
            }
        }
        ok(request)
    });
    let output = load(&[
        "run",
        "register",
        "--target",
        &stalling.text(),
        "--rate",
        "500",
        "--warm-up",
        "0s",
        "--duration",
        "2s",
        "--port",
        "0",
        "--t1",
        "5s",
        "--json",
        json.to_str().expect("a path"),
    ]);
    let run = &record(&json).runs[0];
    assert_eq!((run.counts.begun, run.counts.failed), (1_000, 0), "{}", said(&output));
    // 200 were to leave in the stall; three quarters of them waited for 100 ms or longer. A generator that waits for
    // answers before it goes on would have one.
    let leg = &run.legs[0].intended;
    let slow: u64 = leg.buckets.iter().filter(|(at, _)| *at >= 100_000_000).map(|(_, n)| n).sum();
    assert!((140..).contains(&slow), "{slow} waited 100 ms or longer");
    assert!(leg.max_ns >= 390_000_000, "{}", leg.max_ns);
}

#[test]
fn a_search_finds_where_the_peer_breaks() {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("search.json");
    // Refuses whatever comes within half a millisecond of the one before: under 2,000 a second, less on a busy machine.
    let mut last = Instant::now();
    let slow = Peer::start(move |request| {
        let answer = ok(request)?;
        let busy = request.starts_with("REGISTER") && last.elapsed() < Duration::from_micros(500);
        last = Instant::now();
        Some(if busy { answer.replace("200 OK", "503 Service Unavailable") } else { answer })
    });
    let output = load(&[
        "search",
        "register",
        "--target",
        &slow.text(),
        "--from",
        "40",
        "--to",
        "20000",
        "--precision",
        "30",
        "--duration",
        "400ms",
        "--warm-up",
        "0s",
        "--port",
        "0",
        "--quiet",
        "--json",
        json.to_str().expect("a path"),
    ]);
    let record = record(&json);
    let search = record.search.expect("a search");
    let broke = search.broke_at.unwrap_or_else(|| panic!("it breaks: {}", said(&output)));
    assert!(search.highest.is_none_or(|highest| highest < broke) && broke <= 4_000.0, "{search:?}");
    assert!(search.reason.contains("REGISTER: 503") || search.generator_limited, "{search:?}");
    assert!(record.runs.iter().filter(|run| !run.lossless).count() >= 2, "a second chance was given");
}

#[test]
fn names_and_scenarios_are_listed() {
    let users = load(&["users", "--users", "2", "--user", "a{n}", "--first-user", "7"]);
    assert_eq!(String::from_utf8_lossy(&users.stdout), "a7,secret-7\na8,secret-8\n");
    let list = load(&["list"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("register-storm"));
    let shown = load(&["show", "call"]);
    let directory = tempfile::tempdir().expect("a directory");
    let mine = directory.path().join("mine.yaml");
    std::fs::write(&mine, &shown.stdout).expect("written");
    let output = load(&[
        "run",
        mine.to_str().expect("a path"),
        "--no-proxy",
        "--count",
        "5",
        "--rate",
        "50",
        "--hold",
        "0s",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("5 begun, 5 ok"), "{}", said(&output));
}
