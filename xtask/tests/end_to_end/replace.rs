//! A node takes the place of another while calls are made: none is lost, every binding is there, and when it cannot be done the
//! first one serves on.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use strowger_load::live::Live;
use strowger_load::population::Population;
use strowger_load::record::{Load, Run};
use strowger_load::run::Shape;
use strowger_load::site::{Plan, Site};
use strowger_xtask::lab::Lab;
use strowger_xtask::lab::phones::Traffic;
use strowger_xtask::node::{Configuration, Console, Node};

use crate::bench::{Bench, PATIENCE, binary, refused, say, until};
use crate::load;
use crate::phone::Phone;

const USERS: u32 = 100;

/// A node whose log is its own, started with `--replace`.
fn successor(bench: &Bench, configuration: &Configuration, number: u32) -> Node {
    let file = bench.write(configuration);
    let console = Console::new(binary(), configuration.socket.clone());
    let log = bench.directory.path().join(format!("node-{number}.log"));
    Node::start_with(console, &file, &log, &["--replace"]).unwrap()
}

/// Waits until `node` has taken over; the line in which it says so, or its last words when it ended.
fn took_over(node: &mut Node) -> Result<String, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let ended = node.ended().unwrap().is_some();
        let words = node.last_words(200);
        if let Some(line) = words.lines().find(|line| line.contains("took the place")) {
            return Ok(line.to_owned());
        }
        if ended {
            return Err(words);
        }
        assert!(Instant::now() < until, "{words}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A number or text of a line of the log.
fn said(line: &str, key: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let value = if line["fields"][key].is_null() { &line[key] } else { &line["fields"][key] };
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn until_mode(node: &Node, mode: &str) {
    let until = Instant::now() + PATIENCE;
    while node.status().unwrap().dataplane.mode != mode {
        assert!(Instant::now() < until, "{}", node.last_words(10));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Raises a flag at its end.
struct Raise<'f>(&'f AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The example of all promises: at some hundred calls a second the node is replaced again and again, also with another number of
/// workers. The calls go on until that is done, however long a machine takes to start a process.
fn no_call_is_lost(mode: &str, workers: &[u32]) {
    const RATE: u32 = 200;
    let rounds = workers.len() as u32 - 1;
    let calls = RATE * 2 * (rounds + 1);
    let Some(bench) = Bench::with_sipp() else { return };
    let configuration = |workers| Configuration { workers: Some(workers), ..bench.configuration(mode) };
    let mut node = bench.start(&configuration(workers[0]));
    let (local, remote) = (Lab::PEERS_V4.into(), Lab::node_v4());
    bench.warm_up(local, remote);
    let phones = bench.phones(local, remote);
    assert_eq!(phones.register(USERS, |_| ()).unwrap().failed, 0);
    let bindings = node.status().unwrap().registrations.bindings;
    assert_eq!(bindings, u64::from(USERS));
    let plan = Traffic { users: USERS, calls, rate: RATE, hold: Duration::from_millis(500) };
    let (stop, bare, ended_loads) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU32::new(0));
    let (reports, lines, under_load) = std::thread::scope(|scope| {
        let calling = scope.spawn(|| {
            let mut reports = Vec::new();
            while reports.is_empty() || !stop.load(Ordering::Relaxed) {
                reports.push(phones.call(&plan, |_| ()).unwrap());
                ended_loads.fetch_add(1, Ordering::Relaxed);
            }
            reports
        });
        let watching = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if mode != "off" && bench.lab.xdp_programs().unwrap().is_empty() {
                    bare.store(true, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        // Also when something below fails.
        let _watched = Raise(&stop);
        let (mut lines, mut under_load) = (Vec::new(), 0);
        for (number, workers) in (1..).zip(&workers[1..]) {
            std::thread::sleep(Duration::from_millis(1500));
            let loads = ended_loads.load(Ordering::Relaxed);
            let mut next = successor(&bench, &configuration(*workers), number);
            lines.push(took_over(&mut next).unwrap());
            under_load += u32::from(ended_loads.load(Ordering::Relaxed) == loads);
            let ended = node.wait(PATIENCE).unwrap();
            assert_eq!(ended.code(), Some(0), "{}", node.last_words(10));
            assert!(node.last_words(10).contains("handed over"), "{}", node.last_words(10));
            node = next;
            until_mode(&node, mode);
        }
        stop.store(true, Ordering::Relaxed);
        watching.join().unwrap();
        (calling.join().unwrap(), lines, under_load)
    });
    for line in &lines {
        say(&format!(
            "{mode}: {} bindings taken over, nobody served for {}, {} octets waited, {} messages lost",
            said(line, "bindings"),
            said(line, "gap"),
            said(line, "waiting_octets"),
            said(line, "lost")
        ));
        assert_eq!((said(line, "bindings"), said(line, "lost")), (bindings.to_string(), "0".to_owned()));
    }
    for report in &reports {
        say(&format!(
            "{mode}: {} of {calls} calls ok, {} repetitions; {rounds} replacements, {under_load} of them under load",
            report.calling.ok,
            report.calling.retransmissions + report.called.retransmissions
        ));
        assert_eq!((report.calling.ok, report.calling.failed), (calls.into(), 0), "{report:?}");
    }
    // Not in between, when one load was over and the next about to begin.
    assert!(under_load > 0, "replaced under load");
    assert!(!bare.load(Ordering::Relaxed), "the interface was without a program");
    let status = node.status().unwrap();
    assert_eq!((status.node.pid, status.registrations.bindings), (node.pid(), bindings));
    assert_eq!(status.whole["dataplane"]["frames_leaked"], 0);
    if mode != "off" {
        let phone = Phone::new(&bench.lab.peers, "carol", (Lab::PEERS_V4, 5090).into(), remote);
        phone.registered();
        let totals = node.status().unwrap().totals - status.totals;
        assert!(totals.sip_in_xsk > 0, "by AF_XDP: {totals:?}");
    }
    node.stop(Signal::TERM, PATIENCE * 2).unwrap();
    bench.assert_nothing_left();
}

#[test]
fn no_call_is_lost_by_af_xdp() {
    no_call_is_lost("copy", &[2, 2, 1, 3]);
}

#[test]
fn no_call_is_lost_by_kernel_sockets() {
    no_call_is_lost("off", &[2, 2]);
}

/// A hundred thousand bindings go over as fast: what is copied in the gap is what has changed since. How many: `STROWGER_BINDINGS`
/// (20000).
#[test]
fn many_bindings_are_copied_before_the_gap() {
    const RATE: f64 = 300.0;
    let bindings = std::env::var("STROWGER_BINDINGS").map_or(20_000, |text| text.parse().expect("a number"));
    let Some(bench) = Bench::plain() else { return };
    let configuration = load::configuration(&bench, "copy");
    let mut node = bench.start(&configuration);
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let population = Population::new("u{n}", "secret-{n}", 100_000, bindings).unwrap();
    let plan = Plan { population, ..load::plan(&bench, "call") };
    let (live, stop) = (Live::new(true), AtomicBool::new(false));
    let mut site = Site::open(plan).unwrap_or_else(|failure| panic!("{failure}"));
    site.prepare(&live, &stop).unwrap_or_else(|failure| panic!("{failure}"));
    let shape = Shape {
        load: Load::Open { rate: RATE, poisson: false },
        warm_up: Duration::from_millis(500),
        duration: Duration::from_secs(4),
        count: None,
        drain: None,
    };
    let taken = AtomicBool::new(false);
    let (runs, line) = std::thread::scope(|scope| {
        // Longer than it takes, however long that is.
        let calling = scope.spawn(|| {
            let mut runs = Vec::new();
            while runs.is_empty() || !taken.load(Ordering::Relaxed) {
                runs.push(site.play(&shape, &live, &stop).run);
            }
            runs
        });
        // Also when something below fails.
        let _taken = Raise(&taken);
        std::thread::sleep(Duration::from_secs(1));
        let mut next = successor(&bench, &configuration, 1);
        let line = took_over(&mut next).unwrap();
        assert_eq!(node.wait(PATIENCE).unwrap().code(), Some(0), "{}", node.last_words(10));
        node = next;
        taken.store(true, Ordering::Relaxed);
        (calling.join().unwrap(), line)
    });
    say(&format!(
        "{} bindings taken over, nobody served for {}",
        said(&line, "bindings"),
        said(&line, "gap")
    ));
    assert!(said(&line, "bindings").parse::<u32>().unwrap() >= bindings);
    for Run { counts, .. } in &runs {
        say(&format!(
            "{} calls, {} failed, {} requests repeated",
            counts.succeeded, counts.failed, counts.requests_repeated
        ));
        assert_eq!(counts.failed, 0, "{:?}", counts.failures);
        assert!(counts.succeeded as f64 >= RATE * 3.5, "{counts:?}");
    }
}

/// How another configuration differs.
type Change<'c> = &'c dyn Fn(&mut Configuration);

/// What cannot be taken over is named with what to do, and nothing changes for who runs.
#[test]
fn what_cannot_be_replaced_serves_on() {
    let Some(bench) = Bench::plain() else { return };
    let configuration = bench.configuration("copy");
    let run = |file: &std::path::Path| {
        let mut command = Command::new(binary());
        command.args(["run", "--replace", "--config"]).arg(file);
        refused(command)
    };
    let nobody = run(&bench.write(&configuration));
    assert_eq!(nobody.code, Some(11), "{}", nobody.stderr);
    assert!(
        nobody.stderr.contains("no node answers") && nobody.stderr.contains("without --replace"),
        "{}",
        nobody.stderr
    );

    let node = bench.start(&configuration);
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let mut phone =
        Phone::new(&bench.lab.peers, "alice", (Lab::PEERS_V4, 5081).into(), Lab::node_v4()).registered();
    let before = bench.lab.xdp_programs().unwrap();
    let other = |name: &str, change: Change<'_>| {
        let mut other = configuration.clone();
        change(&mut other);
        let file = bench.directory.path().join(format!("{name}.yaml"));
        other.write(&file).unwrap();
        // The node's own store, but where another one is the point.
        if name != "store" {
            let text = fs::read_to_string(&file).unwrap().replace(&format!("{name}.data"), "strowger.data");
            fs::write(&file, text).unwrap();
        }
        run(&file)
    };
    let cases: [(&str, &str, Change<'_>); 5] = [
        ("listen", "sip.listen", &|c| c.listen.truncate(1)),
        ("interface", "dataplane.interface", &|c| c.interface = "lo".to_owned()),
        ("mode", "dataplane.mode", &|c| c.mode = "generic".to_owned()),
        ("realm", "auth.realm", &|c| c.auth = "realm: elsewhere".to_owned()),
        ("store", "store.dir", &|_| ()),
    ];
    for (name, key, change) in cases {
        let refusal = other(name, change);
        assert_eq!(refusal.code, Some(11), "{name}: {}", refusal.stderr);
        assert!(refusal.stderr.contains(key), "{name}: {}", refusal.stderr);
    }
    // A configuration that is wrong in itself does not even get so far.
    assert_eq!(other("wrong", &|c| c.mode = "quick".to_owned()).code, Some(3));
    let again = phone.register();
    assert!(phone.ask(&again, 1).expect("an answer").text.starts_with("SIP/2.0 200 "));
    assert_eq!(bench.lab.xdp_programs().unwrap(), before);
    assert_eq!(node.status().unwrap().whole["node"]["state"], "up");
}

/// One that asks for the place by hand, to fail at any point.
struct Impostor {
    stream: BufReader<UnixStream>,
}

impl Impostor {
    /// As soon as the node has noticed that the one before has gone.
    fn greet(socket: &std::path::Path) -> Self {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"{\"ask\":\"hand-over\",\"format\":\"1.1\"}\n").unwrap();
            let mut impostor = Self { stream: BufReader::new(stream) };
            let mut offer = String::new();
            impostor.stream.read_line(&mut offer).unwrap();
            if offer.contains("\"seal\"") {
                return impostor;
            }
            assert!(offer.contains("already") && Instant::now() < until, "{offer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn say(&mut self, kind: u8) {
        self.stream.get_mut().write_all(&[kind, 0, 0, 0, 0]).unwrap();
    }

    /// Reads frames up to one of this kind, whose content it gives. Descriptors are thrown away.
    fn until(&mut self, kind: u8) -> String {
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).unwrap();
            let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut content = vec![0; length];
            self.stream.read_exact(&mut content).unwrap();
            if head[0] == kind {
                return String::from_utf8_lossy(&content).into_owned();
            }
        }
    }
}

const COPY: u8 = 1;
const PAUSE: u8 = 2;
const COPIED: u8 = 17;
const GIVEN: u8 = 23;
const KEPT: u8 = 25;

/// Whoever asks for the place and fails, goes or falls silent at any point before the last word leaves the node as it was.
#[test]
fn a_successor_that_fails_changes_nothing() {
    const CALLS: u32 = 300;
    let Some(bench) = Bench::with_sipp() else { return };
    let configuration = Configuration { workers: Some(2), ..bench.configuration("copy") };
    let socket = configuration.socket.clone().unwrap();
    let node = bench.start(&configuration);
    let (local, remote) = (Lab::PEERS_V4.into(), Lab::node_v4());
    bench.warm_up(local, remote);
    let phones = bench.phones(local, remote);
    assert_eq!(phones.register(20, |_| ()).unwrap().failed, 0);
    let before = bench.lab.xdp_programs().unwrap();
    let plan = Traffic { users: 20, calls: CALLS, rate: 60, hold: Duration::from_millis(200) };
    let report = std::thread::scope(|scope| {
        let calling = scope.spawn(|| phones.call(&plan, |_| ()).unwrap());
        std::thread::sleep(Duration::from_millis(500));
        // After the greeting; in the copy; with everything in its hands.
        drop(Impostor::greet(&socket));
        for steps in 1..=2 {
            let mut impostor = Impostor::greet(&socket);
            impostor.say(COPY);
            impostor.until(COPIED);
            if steps == 2 {
                impostor.say(PAUSE);
                impostor.until(GIVEN);
            }
        }
        // And silent in the gap, with a second one that has to wait.
        let mut silent = Impostor::greet(&socket);
        silent.say(COPY);
        silent.until(COPIED);
        assert_eq!(node.status().unwrap().whole["node"]["state"], "handing over");
        let mut second = UnixStream::connect(&socket).unwrap();
        second.write_all(b"{\"ask\":\"hand-over\",\"format\":\"1.1\"}\n").unwrap();
        let mut answer = String::new();
        BufReader::new(second).read_line(&mut answer).unwrap();
        assert!(answer.contains("already"), "{answer}");
        silent.say(PAUSE);
        silent.until(GIVEN);
        let began = Instant::now();
        let why = silent.until(KEPT);
        say(&format!("a silent successor was left after {} ms: {why}", began.elapsed().as_millis()));
        calling.join().unwrap()
    });
    let mut other = UnixStream::connect(&socket).unwrap();
    other.write_all(b"{\"ask\":\"hand-over\",\"format\":\"0.0\"}\n").unwrap();
    let mut answer = String::new();
    BufReader::new(other).read_line(&mut answer).unwrap();
    assert!(answer.contains("0.0") && answer.contains("1.1"), "{answer}");
    say(&format!(
        "{} of {CALLS} calls ok over four successors that failed, {} repetitions",
        report.calling.ok, report.calling.retransmissions
    ));
    assert_eq!((report.calling.ok, report.calling.failed), (CALLS.into(), 0), "{report:?}");
    let status = node.status().unwrap();
    assert_eq!(
        (status.whole["node"]["state"].as_str(), status.dataplane.mode.as_str()),
        (Some("up"), "copy")
    );
    assert_eq!(bench.lab.xdp_programs().unwrap(), before);
}

/// A node that is told to go does so at once, whoever is preparing to take its place.
#[test]
fn a_node_that_ends_waits_for_no_successor() {
    let Some(bench) = Bench::plain() else { return };
    let configuration = bench.configuration("off");
    let mut node = bench.start(&configuration);
    let mut prepares = Impostor::greet(configuration.socket.as_ref().unwrap());
    let began = Instant::now();
    let ended = node.stop(Signal::TERM, PATIENCE).unwrap();
    assert_eq!(ended.code(), Some(0), "{}", node.last_words(10));
    say(&format!("it has ended after {} ms", began.elapsed().as_millis()));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // That one sees it, and can start in its place.
    let mut rest = Vec::new();
    prepares.stream.read_to_end(&mut rest).unwrap();
}

/// The node that runs is killed while it is being replaced: the new one starts all the same, with what it has been given; or, when
/// it has not asked yet, says that there is nobody. How often: `STROWGER_KILLS` (5).
#[test]
fn killed_in_the_middle_of_handing_over() {
    let Some(bench) = Bench::plain() else { return };
    let configuration = bench.configuration("copy");
    let mut node = bench.start(&configuration);
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let mut phone = Phone::new(&bench.lab.peers, "alice", (Lab::PEERS_V4, 5081).into(), Lab::node_v4());
    // How long it takes undisturbed, once; then it is killed after so many hundredths of that.
    let mut whole = Duration::ZERO;
    let kills: u32 = std::env::var("STROWGER_KILLS").map_or(5, |text| text.parse().expect("a number"));
    let (mut handed, mut died, mut nobody) = (0, 0, 0);
    for round in 0..=kills {
        let request = phone.register();
        assert!(phone.ask(&request, 10).expect("an answer").text.starts_with("SIP/2.0 200 "));
        let began = Instant::now();
        let mut next = successor(&bench, &configuration, round);
        if round > 0 {
            std::thread::sleep(whole * (25 + round * 75 / kills) / 100);
            // It may have handed over by then; then it is too late.
            node.stop(Signal::KILL, PATIENCE).unwrap();
        }
        match took_over(&mut next) {
            Ok(line) if round == 0 => {
                whole = began.elapsed();
                node.wait(PATIENCE).unwrap();
                assert_eq!(said(&line, "bindings"), "1");
            }
            Ok(line) if next.last_words(50).contains("ended while it handed over") => {
                died += 1;
                let status = next.status().unwrap();
                assert_eq!(status.registrations.bindings.to_string(), said(&line, "bindings"));
            }
            Ok(line) => {
                handed += 1;
                assert_eq!(said(&line, "bindings"), "1");
            }
            Err(words) => {
                nobody += 1;
                assert_eq!(next.wait(PATIENCE).unwrap().code(), Some(11), "{words}");
                next = bench.start(&configuration);
            }
        }
        let request = phone.register();
        assert!(phone.ask(&request, 20).expect("an answer").text.starts_with("SIP/2.0 200 "));
        node = next;
        until_mode(&node, "copy");
        assert!(!bench.lab.xdp_programs().unwrap().is_empty());
    }
    say(&format!(
        "killed {kills} times within {} ms: {nobody} before it was asked, {died} before all was given, {handed} after that",
        whole.as_millis()
    ));
    assert_eq!(node.status().unwrap().node.pid, node.pid());
    node.stop(Signal::TERM, PATIENCE * 2).unwrap();
    bench.assert_nothing_left();
}

/// SIGUSR2: as a service is replaced, whose manager knows its own children alone, and is told which of them is the main one now.
#[test]
fn a_service_starts_its_own_successor() {
    let Some(bench) = Bench::plain() else { return };
    let configuration = bench.configuration("copy");
    let manager = UnixDatagram::bind(bench.directory.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let log = bench.directory.path().join("node.log");
    let output = fs::File::create(&log).unwrap();
    let mut command = Command::new(binary());
    command.args(["run", "--config"]).arg(bench.write(&configuration));
    command.env("NOTIFY_SOCKET", bench.directory.path().join("notify"));
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut first = Started(command.spawn().unwrap());
    let notified = |wanted: &str| {
        let mut bytes = [0; 4096];
        loop {
            let length = manager.recv(&mut bytes).expect("a word to the manager");
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if let Some(line) = text.lines().find(|line| line.starts_with(wanted)) {
                return line.to_owned();
            }
        }
    };
    notified("READY=1");
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    Phone::new(&bench.lab.peers, "alice", (Lab::PEERS_V4, 5081).into(), Lab::node_v4()).registered();
    kill_process(Pid::from_child(&first.0), Signal::USR2).unwrap();
    let main = notified("MAINPID=");
    let ended = first.0.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{}", fs::read_to_string(&log).unwrap());
    let console = Console::new(binary(), configuration.socket.clone());
    let status = console.status().unwrap();
    // Nobody's child any more: it is ended by its number.
    let _end = End(status.node.pid);
    assert_eq!(main, format!("MAINPID={}", status.node.pid));
    assert_ne!(status.node.pid, first.0.id());
    assert_eq!(status.registrations.bindings, 1);
    // By AF_XDP as before, as soon as it has its sockets.
    let mut phone = Phone::new(&bench.lab.peers, "carol", (Lab::PEERS_V4, 5090).into(), Lab::node_v4());
    manager.set_nonblocking(true).unwrap();
    until("the successor serves by AF_XDP", || {
        // Its beats for the watchdog: with the queue full a node waits until its manager has read some.
        while manager.recv(&mut [0; 4096]).is_ok() {}
        let before = console.status().unwrap();
        let request = phone.register();
        assert!(phone.ask(&request, 20).expect("an answer").text.starts_with("SIP/2.0 200 "));
        let more = console.status().unwrap().totals - before.totals;
        before.dataplane.mode == "copy" && more.sip_in_xsk > 0
    });
}

/// Ends the process with the test, unless it has ended by itself.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends a process that is nobody's child, and waits until it is gone.
struct End(u32);

impl Drop for End {
    fn drop(&mut self) {
        let Some(pid) = Pid::from_raw(self.0.cast_signed()) else { return };
        let until = Instant::now() + PATIENCE;
        while kill_process(pid, Signal::TERM).is_ok() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
