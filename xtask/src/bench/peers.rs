//! Who takes part in a run, as data: how it is configured, started, asked for its version, and ended.
//!
//! Every peer listens at the same address in the namespace of a laboratory of its own run. What is started is ended with
//! all its children when its [`Running`] goes, also when the run fails or is interrupted.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use strowger_report::session::{self, COPY, FLOOR, GENERIC, KAMAILIO, OFF};
use strowger_report::targets::BUSY;

use crate::failure::Doing as _;
use crate::lab::Lab;
use crate::node::Configuration;
use crate::{Code, Failure, interrupt, machine, process};

/// The digest realm of every peer.
pub const REALM: &str = "lab";
/// The first user's number, and how names and passwords are made of it: the generator's own defaults.
const FIRST_USER: u32 = 100_000;
/// Kamailio's configuration.
const KAMAILIO_CFG: &str = include_str!("kamailio.cfg");
/// Frames of a queue of our node: its rings hold 8,192 messages, as what waits for Kamailio has its socket's buffer.
const FRAMES: u32 = 16_384;
/// Octets of Kamailio's receive buffer.
const BUFFER: u32 = 16 << 20;
/// How long a peer may take until it runs.
const UP_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to end when it is asked to.
const DOWN_LIMIT: Duration = Duration::from_secs(3);

/// How a peer is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody: callers call callees directly.
    Floor,
    /// Kamailio.
    Kamailio,
    /// Our own node: `dataplane.mode` and `dataplane.polling`.
    Node {
        /// The mode.
        mode: &'static str,
        /// How workers wait.
        polling: &'static str,
    },
    /// A command of the user's, run in the peers' place; it listens at the address.
    Command {
        /// For the shell.
        line: String,
        /// Where it listens.
        address: SocketAddr,
    },
}

/// Somebody who takes part.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The word by which the report names it.
    pub key: String,
    /// As people call it.
    pub title: String,
    /// How it is started.
    pub kind: Kind,
    /// Processes or threads that handle messages, where that can be said.
    pub workers: Option<u32>,
}

/// Where a run keeps files and finds programs.
#[derive(Clone, Debug)]
pub struct Place {
    /// The namespaces.
    pub lab: Lab,
    /// For configurations and logs.
    pub directory: PathBuf,
    /// `strowger`.
    pub node: PathBuf,
    /// Users of the digest scenarios.
    pub users: u32,
    /// Bindings that our node makes room for; its index of them is reserved when it starts, and touched as it fills.
    pub bindings: u32,
}

/// The peers that a run has by itself.
pub fn own() -> Vec<Peer> {
    let node = |key: &str, title: &str, mode, polling| Peer {
        key: key.to_owned(),
        title: title.to_owned(),
        kind: Kind::Node { mode, polling },
        workers: Some(1),
    };
    vec![
        Peer { key: FLOOR.into(), title: "no proxy".into(), kind: Kind::Floor, workers: None },
        Peer { key: KAMAILIO.into(), title: "Kamailio".into(), kind: Kind::Kamailio, workers: Some(2) },
        node(OFF, "Strowger, kernel sockets", "off", "adaptive"),
        node(GENERIC, "Strowger, generic XDP", "generic", "adaptive"),
        node(COPY, "Strowger, AF_XDP copy", "copy", "adaptive"),
        node(BUSY, "Strowger, copy, busy polling", "copy", "busy"),
    ]
}

/// A peer that runs. Dropped, it is gone.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// A child that leads a process group of its own.
    pub fn of(child: Child, log: PathBuf) -> Self {
        Self { child, log }
    }

    /// Its process; children count with it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it ended by itself.
    ///
    /// # Errors
    /// It did; its last words are in the failure.
    pub fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait().doing("ask after the peer")? {
            None => Ok(()),
            Some(status) => {
                let text = fs::read_to_string(&self.log).unwrap_or_default();
                let words: Vec<&str> =
                    text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
                let words = words.into_iter().rev().collect::<Vec<_>>().join("\n");
                Err(Failure::new(Code::Node, format!("the peer ended ({status}): {words}"))
                    .fix(format!("see {}", self.log.display())))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let until = Instant::now() + DOWN_LIMIT;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Workers that outlived their parent go too.
        let _ = process::end_group(&mut self.child);
    }
}

impl Peer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match &self.kind {
            Kind::Command { address, .. } => *address,
            _ => Lab::node_v4(),
        }
    }

    /// Whether this machine has it; if not, why, with the fix.
    ///
    /// # Errors
    /// A program is missing.
    pub fn available(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Kamailio if process::find("kamailio").is_none() => {
                Err(Failure::missing("Kamailio is not installed").fix("apt-get install kamailio"))
            }
            _ => Ok(()),
        }
    }

    /// Its version, as it says itself.
    pub fn version(&self, place: &Place) -> String {
        let first = |command: &mut Command| {
            let text = process::output(command).unwrap_or_default();
            text.lines().next().unwrap_or("?").trim().to_owned()
        };
        match &self.kind {
            Kind::Floor => "callers call callees at the other end of the wire".to_owned(),
            Kind::Kamailio => first(Command::new("kamailio").arg("-v")),
            Kind::Node { .. } => first(Command::new(&place.node).arg("--version")),
            Kind::Command { line, .. } => line.clone(),
        }
    }

    /// The configuration that it is given, with authentication or without; empty when it has none.
    pub fn configuration(&self, place: &Place, digest: bool) -> String {
        match &self.kind {
            Kind::Floor | Kind::Command { .. } => String::new(),
            Kind::Kamailio => {
                let head = if digest { "#!KAMAILIO\n#!define WITH_AUTH" } else { "#!KAMAILIO" };
                KAMAILIO_CFG
                    .replacen("#!KAMAILIO", head, 1)
                    .replace("@WORKERS@", &self.workers.unwrap_or(2).to_string())
                    .replace("@ADDRESS@", &Lab::NODE_V4.to_string())
                    .replace("@PORT@", &Lab::SIP_PORT.to_string())
                    .replace("@BUFFER@", &BUFFER.to_string())
                    .replace("@DIRECTORY@", &place.directory.display().to_string())
                    .replace("@REALM@", REALM)
            }
            Kind::Node { mode, polling } => {
                let name = format!("bench-{}", self.key);
                let configuration = Configuration {
                    socket: Some(place.directory.join(format!("{name}.sock"))),
                    mode: (*mode).to_owned(),
                    workers: self.workers,
                    plane: format!("  polling: {polling}\n  frames: {FRAMES}\n"),
                    listen: vec![Lab::node_v4()],
                    open: !digest,
                    auth: if digest {
                        // As Kamailio: MD5 alone.
                        format!("realm: {REALM}, algorithms: [MD5], users: {}", users_file(place).display())
                    } else {
                        String::new()
                    },
                    extra: node_limits(place.bindings),
                    ..Configuration::for_lab(&place.lab, &name)
                };
                let store = place.directory.join(format!("{name}.data"));
                format!("{}store:\n  dir: {}\n", configuration.text(), store.display())
            }
        }
    }

    /// The command line, for the report.
    pub fn command(&self, place: &Place) -> String {
        match &self.kind {
            Kind::Floor => String::new(),
            _ => process::shown(&self.invocation(place)),
        }
    }

    fn configuration_file(&self, place: &Place) -> PathBuf {
        let ending = if self.kind == Kind::Kamailio { "cfg" } else { "yaml" };
        place.directory.join(format!("{}.{ending}", self.key))
    }

    fn invocation(&self, place: &Place) -> Command {
        let file = self.configuration_file(place);
        match &self.kind {
            Kind::Floor => Command::new("true"),
            Kind::Kamailio => {
                let mut command = place.lab.node.command("kamailio");
                // 2 GiB to share, 64 MiB each; stays in the foreground with its children.
                command.args(["-DD", "-m", "2048", "-M", "64", "-f"]).arg(file);
                command.arg("-Y").arg(&place.directory);
                command
            }
            Kind::Node { .. } => {
                let mut command = Command::new(&place.node);
                command.args(["run", "--config"]).arg(file);
                command
            }
            Kind::Command { line, .. } => {
                let mut command = place.lab.node.command("sh");
                command.args(["-c", &format!("exec {line}")]);
                command
            }
        }
    }

    /// Starts it and waits until it runs: our own node until it answers `status`, others until their socket is bound.
    /// None for the floor.
    ///
    /// # Errors
    /// It could not be started, or ended at once.
    pub fn start(&self, place: &Place, digest: bool) -> Result<Option<Running>, Failure> {
        if self.kind == Kind::Floor {
            return Ok(None);
        }
        let file = self.configuration_file(place);
        fs::write(&file, self.configuration(place, digest)).doing(format!("write {}", file.display()))?;
        let log = place.directory.join(format!("{}.log", self.key));
        let output = File::create(&log).doing(format!("write {}", log.display()))?;
        let also = output.try_clone().doing(format!("write {}", log.display()))?;
        let mut command = self.invocation(place);
        // A group of its own: Ctrl-C on our terminal does not reach it, and its children end with it.
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(also)
            .process_group(0)
            .spawn()
            .map_err(|error| process::not_started(&command, &error))?;
        let mut running = Running { child, log };
        let until = Instant::now() + UP_LIMIT;
        while !self.is_up(place) {
            running.check()?;
            interrupt::check()?;
            if Instant::now() > until {
                return Err(Failure::new(
                    Code::Node,
                    format!("{} is not up after {} s", self.title, UP_LIMIT.as_secs()),
                )
                .fix(format!("see {}", running.log.display())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(running))
    }

    /// Whether it serves.
    fn is_up(&self, place: &Place) -> bool {
        match &self.kind {
            Kind::Floor => true,
            Kind::Node { .. } => process::succeeds(
                Command::new(&place.node)
                    .arg("status")
                    .arg("--socket")
                    .arg(place.directory.join(format!("bench-{}.sock", self.key))),
            ),
            Kind::Kamailio | Kind::Command { .. } => {
                let port = format!("sport = :{}", self.address().port());
                process::output(place.lab.node.command("ss").args(["-Huln", &port]))
                    .is_ok_and(|text| !text.trim().is_empty())
            }
        }
    }

    /// What the node's own counters say was lost; nothing of others.
    pub fn drops(&self, place: &Place) -> std::collections::BTreeMap<String, u64> {
        let mut lost = std::collections::BTreeMap::new();
        if !matches!(self.kind, Kind::Node { .. }) {
            return lost;
        }
        let socket = place.directory.join(format!("bench-{}.sock", self.key));
        let Ok(status) = crate::node::Console::new(&place.node, Some(socket)).status() else { return lost };
        for worker in &status.workers {
            for (name, count) in worker.counters.iter().filter(|(name, count)| **count > 0 && is_a_loss(name))
            {
                *lost.entry(name.clone()).or_default() += count;
            }
        }
        for (name, count) in status.sip.counters.iter().filter(|(name, count)| **count > 0 && is_a_loss(name))
        {
            *lost.entry(name.clone()).or_default() += count;
        }
        lost
    }

    /// As the report has it.
    pub fn described(&self, place: &Place, digest: bool) -> session::Peer {
        session::Peer {
            key: self.key.clone(),
            title: self.title.clone(),
            version: self.version(place),
            workers: self.workers,
            command: self.command(place),
            configuration: self.configuration(place, digest),
        }
    }
}

/// Enough places for half a minute of transactions at the highest rates, and no budget for a single source: all phones
/// have one address.
fn node_limits(bindings: u32) -> String {
    format!(
        "limits: {{ per_source_pps: 10000000, transactions: 4000000, dialogs: 300000, bindings: {bindings} }}\n\
         log: {{ level: warn }}\n"
    )
}

/// Whether a counter of the node's counts what is lost.
fn is_a_loss(name: &str) -> bool {
    ["drop", "full", "lost", "starved", "overload", "over_budget"].iter().any(|word| name.contains(word))
}

fn users_file(place: &Place) -> PathBuf {
    place.directory.join("users.yaml")
}

/// Writes the users of the digest scenarios: for our node as YAML, for Kamailio as tables of db_text; both have the
/// MD5 of name, realm and password alone.
///
/// # Errors
/// The file system refuses.
pub fn write_users(place: &Place) -> Result<(), Failure> {
    use std::fmt::Write as _;

    let domain = Lab::NODE_V4;
    let mut yaml = String::from("users:\n");
    let mut table =
        String::from("key_name(string) key_type(int) value_type(int) key_value(string) expires(int)\n");
    for number in FIRST_USER..FIRST_USER + place.users {
        let ha1 = ha1(number);
        // Writing to a String cannot fail.
        let _ = writeln!(yaml, "  - {{ user: u{number}, domain: \"{domain}\", md5: \"{ha1}\" }}");
        let _ = writeln!(table, "u{number}:0:0:{ha1}:0");
    }
    let tables = place.directory.join("dbtext");
    fs::create_dir_all(&tables).doing(format!("make {}", tables.display()))?;
    let versions = "table_name(string) table_version(int)\nhtable:2\nusers:2\n";
    for (path, text) in [
        (users_file(place), yaml.as_str()),
        (tables.join("users"), table.as_str()),
        (tables.join("version"), versions),
    ] {
        write_privately(&path, text)?;
    }
    Ok(())
}

/// HA1s are as good as passwords: the node warns of a file that others can read.
fn write_privately(path: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;

    fs::write(path, text).doing(format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).doing(format!("close {}", path.display()))
}

/// RFC 7616 section 3.4.2.
fn ha1(number: u32) -> String {
    use md5::Digest as _;

    let digest = md5::Md5::digest(format!("u{number}:{REALM}:secret-{number}"));
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Makes sure that Kamailio is there; a run without it says so and goes on.
pub fn ensure_kamailio() -> Result<(), Failure> {
    machine::ensure(&[machine::KAMAILIO])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            lab: Lab::named("swt-bench-text"),
            directory: PathBuf::from("/tmp/x"),
            node: PathBuf::from("/tmp/strowger"),
            users: 1,
            bindings: 1_100_000,
        }
    }

    #[test]
    fn no_word_is_left_to_be_filled_in() {
        for peer in own() {
            for digest in [false, true] {
                let text = peer.configuration(&place(), digest);
                let words = ["@WORKERS@", "@ADDRESS@", "@PORT@", "@BUFFER@", "@DIRECTORY@", "@REALM@"];
                assert!(!words.iter().any(|word| text.contains(word)), "{text}");
                assert_eq!(
                    text.contains("#!define WITH_AUTH"),
                    peer.kind == Kind::Kamailio && digest,
                    "{}",
                    peer.key
                );
                if let Kind::Node { mode, polling } = peer.kind {
                    assert!(
                        text.contains(&format!("mode: {mode}\n"))
                            && text.contains(&format!("polling: {polling}\n"))
                    );
                    assert_eq!(text.contains("required: true"), digest);
                }
            }
        }
    }

    #[test]
    fn a_user_of_rfc_7616_kind() {
        // md5("u100000:lab:secret-100000")
        assert_eq!(ha1(100_000).len(), 32);
        assert_ne!(ha1(100_000), ha1(100_001));
    }

    #[test]
    fn losses_are_told_from_other_counters() {
        assert!(is_a_loss("rx_ring_full") && is_a_loss("dropped_malformed"));
        assert!(!is_a_loss("rx_xsk"));
    }
}
