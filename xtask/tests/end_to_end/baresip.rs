//! baresip, a phone that people use: registers with a password, calls another one, hangs up, and signs off.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use strowger_xtask::lab::Lab;
use strowger_xtask::machine;
use strowger_xtask::node::{Configuration, Node};

use crate::bench::{Bench, PATIENCE, say};
use crate::credentials::users;

/// Where Debian has them.
const MODULES: &str = "/usr/lib/baresip/modules";

/// A baresip of one user, told what to do over its control connection. Dropped, it is killed.
struct Baresip {
    user: &'static str,
    child: Child,
    control: TcpStream,
    /// Received and not read yet.
    unread: Vec<u8>,
    log: PathBuf,
}

impl Baresip {
    /// Starts one that registers at the node. It takes the next port too, for TLS. `more` are parameters of its account.
    fn start(bench: &Bench, user: &'static str, password: &str, port: u16, more: &str) -> Self {
        let directory = bench.directory.path().join(user);
        std::fs::create_dir_all(&directory).unwrap();
        let control = SocketAddr::new(Lab::PEERS_V4.into(), port + 1000);
        let modules = "module g711.so\nmodule aubridge.so\nmodule_tmp account.so\n\
                       module_app menu.so\nmodule_app ctrl_tcp.so\n";
        let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
        // Sound goes round in a circle: there is no sound card, and nobody listens.
        write(
            "config",
            format!(
                "sip_listen {}:{port}\nmodule_path {MODULES}\n{modules}ctrl_tcp_listen {control}\n\
                 audio_source aubridge,{user}\naudio_player aubridge,{user}\naudio_alert aubridge,{user}\n",
                Lab::PEERS_V4
            ),
        );
        write(
            "accounts",
            format!("<sip:{user}@{}>;auth_user={user};auth_pass={password};regint=600{more}\n", Lab::NODE_V4),
        );
        write("contacts", String::new());
        let log = directory.join("log");
        let child = spawn(bench, &directory, &log);
        Self { user, child, control: connect(bench, control, &log), unread: Vec::new(), log }
    }

    /// One of its commands, as its menu has them.
    fn tell(&mut self, command: &str, parameters: &str) {
        let text = serde_json::json!({"command": command, "params": parameters}).to_string();
        // A netstring: its length, a colon, the text, a comma.
        write!(self.control, "{}:{text},", text.len()).unwrap();
    }

    /// Reads what it reports until an event of this type.
    fn wait_for(&mut self, event: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            while let Some(message) = self.next() {
                if message["event"] == true && message["type"] == event {
                    return message;
                }
            }
            assert!(Instant::now() < until, "{}: no {event}; it said:\n{}", self.user, self.said());
            let mut buffer = [0; 4096];
            match self.control.read(&mut buffer) {
                Ok(0) => panic!("{} is gone before {event}; it said:\n{}", self.user, self.said()),
                Ok(length) => self.unread.extend_from_slice(&buffer[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{}: {error}", self.user),
            }
        }
    }

    /// The next whole netstring.
    fn next(&mut self) -> Option<Value> {
        let colon = self.unread.iter().position(|&byte| byte == b':')?;
        let length: usize = std::str::from_utf8(&self.unread[..colon]).unwrap().parse().unwrap();
        let end = colon + 1 + length;
        if self.unread.len() <= end {
            return None;
        }
        let message = serde_json::from_slice(&self.unread[colon + 1..end]).unwrap();
        self.unread.drain(..=end);
        Some(message)
    }

    /// Asks it to end, which signs it off.
    fn quit(mut self) {
        self.tell("quit", "");
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "{} does not end; it said:\n{}", self.user, self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(bench: &Bench, directory: &Path, log: &Path) -> Child {
    let output = std::fs::File::create(log).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "ip", "netns", "exec", bench.lab.peers.name(), "baresip", "-f"]);
    command.arg(directory).stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    command.process_group(0).spawn().unwrap()
}

/// The control connection, once it listens.
fn connect(bench: &Bench, control: SocketAddr, log: &Path) -> TcpStream {
    let until = Instant::now() + PATIENCE;
    loop {
        // A socket stays in the namespace of the thread that made it.
        if let Ok(stream) = bench.lab.peers.enter_on_a_thread(|| TcpStream::connect(control)).unwrap() {
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            return stream;
        }
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        assert!(Instant::now() < until, "baresip does not listen; it said:\n{}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until so many contacts are bound.
fn until_bound(node: &Node, bindings: u64) {
    let until = Instant::now() + PATIENCE;
    while node.status().unwrap().registrations.bindings != bindings {
        assert!(Instant::now() < until, "{:?}", node.status().unwrap().registrations);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn baresip_registers_calls_and_hangs_up() {
    let Some(bench) = Bench::with(&[machine::BARESIP]) else { return };
    let people = [("alice", "looking-glass", "active"), ("bob", "builder", "active")];
    // baresip 1.0 knows MD5, and gives up where another algorithm is offered too.
    let configuration = Configuration {
        open: false,
        auth: format!("algorithms: [MD5], users: {}", users(&bench, &people).display()),
        ..bench.configuration("copy")
    };
    let node = bench.start(&configuration);
    bench.warm_up(Lab::PEERS_V4.into(), Lab::node_v4());
    let before = node.status().unwrap();
    let mut alice = Baresip::start(&bench, "alice", "looking-glass", 5091, "");
    let mut bob = Baresip::start(&bench, "bob", "builder", 5095, ";answermode=auto");
    until_bound(&node, 2);

    for (caller_hangs_up, round) in [(true, 1), (false, 2)] {
        alice.tell("dial", &format!("sip:bob@{}", Lab::NODE_V4));
        alice.wait_for("CALL_ESTABLISHED");
        bob.wait_for("CALL_ESTABLISHED");
        std::thread::sleep(Duration::from_millis(500));
        if caller_hangs_up {
            alice.tell("hangup", "")
        } else {
            bob.tell("hangup", "")
        }
        alice.wait_for("CALL_CLOSED");
        bob.wait_for("CALL_CLOSED");
        say(&format!("call {round}: established, and closed at both phones"));
    }
    let status = node.status().unwrap();
    let count = |name: &str| status.event(name) - before.event(name);
    assert_eq!((count("call_begun"), count("call_answered"), count("call_ended")), (2, 2, 2));
    let totals = status.totals - before.totals;
    say(&format!("baresip: {totals:?}, {} proofs accepted", count("auth_accepted")));
    // Two REGISTERs and two INVITEs proved who sent them; what belongs to a dialog needed no proof.
    assert_eq!(count("auth_accepted"), 4);
    assert_eq!(count("auth_rejected"), 0);

    alice.quit();
    bob.quit();
    until_bound(&node, 0);
}
