//! The load generator as a program: its command lines, and what it writes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use strowger_load::record::Record;

use crate::failure::Doing as _;
use crate::lab::Lab;
use crate::{Failure, interrupt, process};

/// How long calls may go on after the window, besides their own length. Requests are repeated after 0.5, 1.5 and 3.5 s.
const DRAIN: Duration = Duration::from_secs(4);

/// Calls at a time, unless more are meant to be up.
const PLACES: u32 = 200_000;

/// What is played, and how.
#[derive(Clone, Debug)]
pub struct Task {
    /// The scenario's name.
    pub scenario: String,
    /// The proxy; none for the floor.
    pub target: Option<SocketAddr>,
    /// The process to watch.
    pub watch: Option<u32>,
    /// Users.
    pub users: u32,
    /// One rate, or a search.
    pub load: Load,
    /// Not measured, before.
    pub warm_up: Duration,
    /// The steady window; of each step of a search.
    pub window: Duration,
    /// How long calls last; none: as the scenario says.
    pub hold: Option<Duration>,
    /// The generator never sleeps, so that its own waking up is in no latency.
    pub spin: bool,
}

/// How load is offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Begun each second.
    Rate(f64),
    /// Each user once.
    Once,
    /// The highest lossless rate is looked for.
    Search {
        /// The first rate tried.
        from: f64,
        /// The highest tried.
        to: f64,
    },
}

/// Everything that the generator needs besides the task.
#[derive(Clone, Debug)]
pub struct Generator {
    /// The program.
    pub program: PathBuf,
    /// For the JSON.
    pub directory: PathBuf,
    /// Whose peers' end it runs at.
    pub lab: Lab,
}

impl Generator {
    /// Plays it. Beyond the limit it is told to end and to write what it has.
    ///
    /// # Errors
    /// It wrote nothing: a wrong command line, a proxy that does not answer, a missing privilege; its own words.
    pub fn play(&self, task: &Task, limit: Duration) -> Result<Record, Failure> {
        let json = self.directory.join("run.json");
        let log = self.directory.join("generator.log");
        let _ = fs::remove_file(&json);
        let mut command = self.command(task, &json);
        let output = fs::File::create(&log).doing(format!("write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(|error| process::not_started(&command, &error))?;
        let until = Instant::now() + limit;
        let mut asked: Option<Instant> = None;
        while child.try_wait().doing("wait for the generator")?.is_none() {
            if interrupt::raised() {
                let _ = process::end_group(&mut child);
                interrupt::check()?;
            }
            match asked {
                None if Instant::now() > until => {
                    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                        let _ = kill_process(pid, Signal::TERM);
                    }
                    asked = Some(Instant::now());
                }
                Some(when) if when.elapsed() > Duration::from_secs(20) => {
                    let _ = process::end_group(&mut child);
                }
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        let text = fs::read_to_string(&json).unwrap_or_default();
        serde_json::from_str(&text).map_err(|_| {
            let words = fs::read_to_string(&log).unwrap_or_default();
            let said: Vec<&str> = words.lines().filter(|line| !line.trim().is_empty()).collect();
            Failure::failed(format!("the generator: {}", said.join(" "))).fix(process::shown(&command))
        })
    }

    fn command(&self, task: &Task, json: &Path) -> Command {
        let mut command = Command::new(&self.program);
        let seconds = |time: Duration| format!("{}ms", time.as_millis());
        command.arg(if matches!(task.load, Load::Search { .. }) { "search" } else { "run" });
        command.arg(&task.scenario).args(["--netns", self.lab.peers.name()]);
        match task.target {
            Some(target) => command.args(["--target", &target.to_string()]),
            // Both ends of the wire: what remains is the same load without a proxy.
            None => command.args([
                "--no-proxy",
                "--local",
                &Lab::PEERS_V4.to_string(),
                "--callee-local",
                &Lab::NODE_V4.to_string(),
                "--callee-netns",
                self.lab.node.name(),
            ]),
        };
        command.args(["--xdp", Lab::PEERS_INTERFACE]);
        if task.target.is_none() {
            command.args(["--callee-xdp", Lab::NODE_INTERFACE]);
        }
        if task.spin {
            // The last processor: our own node's only worker has the first.
            let last = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) - 1;
            command.args(["--spin", "--cpu", &last.to_string()]);
        }
        if let Some(pid) = task.watch {
            command.arg("--watch").arg(format!("peer={pid}"));
            command.args(["--watch-netns", self.lab.node.name()]);
        }
        command.args(["--users", &task.users.to_string()]);
        command.args(["--warm-up", &seconds(task.warm_up), "--duration", &seconds(task.window)]);
        if let Some(hold) = task.hold {
            command.args(["--hold", &seconds(hold)]);
            if let Load::Rate(rate) = task.load {
                // As many as are up at once, and a second's more.
                let places = (rate * (hold.as_secs_f64() + 1.0)).ceil().max(f64::from(PLACES));
                command.args(["--places", &format!("{places:.0}")]);
            }
        }
        // What has not ended by then has failed: a bad step costs seconds, and not timer B's 32.
        let drain = task.hold.unwrap_or_default() + DRAIN;
        command.args(["--drain", &seconds(drain)]);
        match task.load {
            Load::Rate(rate) => {
                command.args(["--rate", &format!("{rate}")]);
            }
            Load::Once => {
                command.args(["--outstanding", "64"]);
            }
            Load::Search { from, to } => {
                command.args(["--from", &format!("{from:.0}"), "--to", &format!("{to:.0}")]);
                command.args(["--precision", "8"]);
            }
        }
        command.args(["--quiet", "--json"]).arg(json);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let generator = Generator {
            program: PathBuf::from("strowger-load"),
            directory: PathBuf::from("/tmp"),
            lab: Lab::named("swt-bench-text"),
        };
        let task = Task {
            scenario: "call".to_owned(),
            target: Some(Lab::node_v4()),
            watch: Some(7),
            users: 1000,
            load: Load::Rate(200.0),
            warm_up: Duration::from_secs(1),
            window: Duration::from_secs(8),
            hold: Some(Duration::from_millis(2500)),
            spin: true,
        };
        let line = process::shown(&generator.command(&task, Path::new("x.json")));
        let last = std::thread::available_parallelism().unwrap().get() - 1;
        assert_eq!(
            line,
            format!(
                "strowger-load run call --netns swt-bench-text-peers --target 10.77.0.2:5060 --xdp sw-peers --spin --cpu \
             {last} --watch peer=7 --watch-netns swt-bench-text-node --users 1000 --warm-up 1000ms --duration 8000ms --hold 2500ms --places 200000 --drain 6500ms --rate 200 \
             --quiet --json x.json"
            )
        );
        let floor = Task {
            target: None,
            watch: None,
            hold: None,
            load: Load::Search { from: 4000.0, to: 1e5 },
            ..task
        };
        let line = process::shown(&generator.command(&floor, Path::new("x.json")));
        assert!(
            line.starts_with("strowger-load search call ") && line.contains(" --no-proxy --local 10.77.0.1 ")
        );
        assert!(line.contains(" --xdp sw-peers --callee-xdp sw-node "), "{line}");
        assert!(line.contains(" --from 4000 --to 100000 --precision 8 "), "{line}");
    }
}
