//! What every end-to-end test stands on: a laboratory of its own, the binary, a turn on the machine.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use strowger_xtask::lab::Lab;
use strowger_xtask::lab::network::Guard;
use strowger_xtask::lab::phones::{Phones, knock};
use strowger_xtask::machine::{self, Tool};
use strowger_xtask::node::{Configuration, Console, Node};
use strowger_xtask::progress::Step;
use strowger_xtask::{test, workspace};
use tempfile::TempDir;

/// A laboratory with a working directory. Nodes that it starts must be dropped before it.
pub(crate) struct Bench {
    pub(crate) lab: Guard,
    pub(crate) directory: TempDir,
    _turn: File,
}

/// How long a node may take to come up or to end here. Generous: no test fails because the machine is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl Bench {
    /// A bench, or nothing when the machine lacks something; see [`turn`].
    pub(crate) fn with(tools: &[Tool]) -> Option<Self> {
        Self::after(turn(tools)?)
    }

    /// A bench for a test that waits for timers most of its time and measures nothing: it stands beside one of the
    /// others. `.config/nextest.toml` names these tests too.
    pub(crate) fn patient(tools: &[Tool]) -> Option<Self> {
        Self::after(turn_in("strowger-patient.lock", tools)?)
    }

    fn after(turn: File) -> Option<Self> {
        let lab = Lab::named(&unique_name()).guard();
        lab.up().unwrap();
        Some(Self {
            lab,
            directory: tempfile::Builder::new().prefix("strowger-").tempdir().unwrap(),
            _turn: turn,
        })
    }

    /// A bench for tests that bring their own phones.
    pub(crate) fn plain() -> Option<Self> {
        Self::with(&[])
    }

    /// A bench for tests with sipp.
    pub(crate) fn with_sipp() -> Option<Self> {
        Self::with(&[machine::SIPP])
    }

    /// A configuration for a node here, in this mode.
    pub(crate) fn configuration(&self, mode: &str) -> Configuration {
        Configuration {
            socket: Some(self.directory.path().join("node.sock")),
            mode: mode.to_owned(),
            ..Configuration::for_lab(&self.lab, "end-to-end")
        }
    }

    /// Starts a node and waits until it answers.
    pub(crate) fn start(&self, configuration: &Configuration) -> Node {
        let mut node = self.start_without_waiting(configuration);
        node.wait_until_up(PATIENCE).unwrap();
        node
    }

    /// Starts a node.
    pub(crate) fn start_without_waiting(&self, configuration: &Configuration) -> Node {
        let file = self.write(configuration);
        let console = Console::new(binary(), configuration.socket.clone());
        Node::start(console, &file, &self.directory.path().join("node.log")).unwrap()
    }

    /// Writes the configuration file.
    pub(crate) fn write(&self, configuration: &Configuration) -> PathBuf {
        let file = self.directory.path().join("strowger.yaml");
        configuration.write(&file).unwrap();
        file
    }

    /// Real phones in this laboratory.
    pub(crate) fn phones(&self, local: IpAddr, node: SocketAddr) -> Phones<'_> {
        Phones { lab: &self.lab, local, node, directory: self.directory.path() }
    }

    /// Both sides know each other's link-layer address, and the node answers.
    pub(crate) fn warm_up(&self, local: IpAddr, node: SocketAddr) {
        knock(&self.lab, local, node, PATIENCE).unwrap();
    }

    /// No XDP program on the node's interface, at once or soon: the kernel takes programs down in the background.
    /// Gives how long it took.
    pub(crate) fn assert_detached(&self) -> Duration {
        let began = Instant::now();
        loop {
            let programs = self.lab.xdp_programs().unwrap();
            if programs.is_empty() {
                return began.elapsed();
            }
            assert!(began.elapsed() < Duration::from_secs(5), "still attached: {programs:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Neither program nor status socket.
    pub(crate) fn assert_nothing_left(&self) {
        self.assert_detached();
        let socket = self.directory.path().join("node.sock");
        assert!(!socket.exists(), "{} was left behind", socket.display());
    }
}

impl Drop for Bench {
    /// What a test that failed has written (logs, sipp's errors) stays to be read.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.directory.disable_cleanup(true);
            say(&format!("left to be read: {}", self.directory.path().display()));
        }
    }
}

/// The turn on this machine: one test at a time, whichever runner starts them, because they would measure each other.
/// Nothing when the machine lacks root or a tool: then the test is skipped aloud, and under `CI=true` failed.
pub(crate) fn turn(tools: &[Tool]) -> Option<File> {
    turn_in("strowger-end-to-end.lock", tools)
}

fn turn_in(line: &str, tools: &[Tool]) -> Option<File> {
    if !machine::is_root() {
        return skip("not root");
    }
    if let Some(tool) = tools.iter().chain(&[machine::IP]).find(|tool| !tool.present()) {
        return skip(&format!("{} is not installed (apt: {})", tool.program, tool.package));
    }
    let turn = File::create(std::env::temp_dir().join(line)).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    Some(turn)
}

/// The binary under test: what `cargo xtask test` has built, or one built now.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os(test::BINARY) {
        Some(path) => PathBuf::from(path),
        None => workspace::build_node(&Step::begin("build the node")).unwrap(),
    })
}

/// How `strowger` ended that should not have come up: its exit code and what it said.
pub(crate) struct Refusal {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

/// Runs a command that should end by itself, with a limit.
pub(crate) fn refused(mut command: Command) -> Refusal {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let until = Instant::now() + PATIENCE;
    loop {
        if child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            return Refusal {
                code: output.status.code(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            };
        }
        if Instant::now() > until {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it runs, and should have refused to");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until it is so, and fails with `what` was waited for when that is in vain.
pub(crate) fn until(what: &str, mut it_is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !it_is() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A line that reaches the log of the run whatever the runner does with the output of tests that pass.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn skip(why: &str) -> Option<File> {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(!test::ci(), "{name} cannot run: {why}");
    say(&format!("SKIPPED {name}: {why}"));
    None
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("swt-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
