//! A running node seen from outside: started with a configuration file, asked over its status socket, stopped by a
//! signal. `build-and-load` and the end-to-end tests use it; it knows the command line of `strowger` and nothing else.

mod configuration;
mod status;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub use configuration::{Configuration, Endpoint, default_socket};
pub use status::{Calls, Dataplane, Identity, Level, Registrations, Sip, Status, Totals, Worker};

use crate::failure::Doing as _;
use crate::{Code, Failure, interrupt, process};

/// A started `strowger run`. Dropped, it is killed.
#[derive(Debug)]
pub struct Node {
    child: Child,
    console: Console,
    log: PathBuf,
}

/// The way to ask a node, running or not: the binary and the status socket.
#[derive(Clone, Debug)]
pub struct Console {
    binary: PathBuf,
    socket: Option<PathBuf>,
}

impl Console {
    /// Asks by the `strowger` at `binary`; without a socket that binary's own default is used.
    pub fn new(binary: impl Into<PathBuf>, socket: Option<PathBuf>) -> Self {
        Self { binary: binary.into(), socket }
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// Nobody answers, or the answer is not the object that was agreed.
    pub fn status(&self) -> Result<Status, Failure> {
        Status::read(&self.status_text(true)?)
    }

    /// The same as text, as a person reads it or as JSON.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn status_text(&self, json: bool) -> Result<String, Failure> {
        let mut command = Command::new(&self.binary);
        command.arg("status");
        if json {
            command.arg("--json");
        }
        if let Some(socket) = &self.socket {
            command.arg("--socket").arg(socket);
        }
        process::output(&mut command)
    }

    /// The binary.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The status socket, when one was named.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }
}

impl Node {
    /// Starts `strowger run --config FILE` with its output in `log`. It is told to end (SIGTERM) should the thread
    /// that started it die, and Ctrl-C on our terminal does not reach it: who started it stops it.
    ///
    /// # Errors
    /// The log cannot be written, or the binary not be started.
    pub fn start(console: Console, configuration: &Path, log: &Path) -> Result<Self, Failure> {
        Self::start_with(console, configuration, log, &[])
    }

    /// The same, with further arguments of `strowger run`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(
        console: Console,
        configuration: &Path,
        log: &Path,
        arguments: &[&str],
    ) -> Result<Self, Failure> {
        use std::os::unix::process::CommandExt as _;

        let output = File::create(log).doing(format!("write {}", log.display()))?;
        let also = output.try_clone().doing(format!("write {}", log.display()))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM"])
            .arg(&console.binary)
            .args(["run", "--config"])
            .arg(configuration)
            .args(arguments);
        command.stdin(Stdio::null()).stdout(output).stderr(also).process_group(0);
        let child = command.spawn().map_err(|error| process::not_started(&command, &error))?;
        Ok(Self { child, console, log: log.to_path_buf() })
    }

    /// Waits until the status socket answers.
    ///
    /// # Errors
    /// The node ended, or did not answer in time; the failure carries its last lines.
    pub fn wait_until_up(&mut self, limit: Duration) -> Result<Status, Failure> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Err(self.obituary(status));
            }
            match self.console.status() {
                Ok(status) => return Ok(status),
                Err(failure) if Instant::now() > until => {
                    let what = format!("the node does not answer after {} s: {failure}", limit.as_secs());
                    return Err(Failure::new(Code::Node, what).fix(format!("see {}", self.log.display())));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
            interrupt::check()?;
        }
    }

    /// How it is asked.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer; the failure carries its last lines.
    pub fn status(&self) -> Result<Status, Failure> {
        self.console.status().map_err(|failure| {
            let what = format!("{}; the node's last words:\n{}", failure.what(), self.last_words(12));
            Failure::new(Code::Node, what)
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().doing("ask after the node")
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::failed("the node has no process id"))?;
        kill_process(pid, signal).doing("signal the node")
    }

    /// Sends the signal and waits for the end.
    ///
    /// # Errors
    /// It does not end in time; it is killed then.
    pub fn stop(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus, Failure> {
        self.signal(signal)?;
        self.wait(limit)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It does not end in time; it is killed then.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let what = format!("the node did not end within {} s and was killed", limit.as_secs());
                return Err(Failure::new(Code::Node, what).fix(format!("see {}", self.log.display())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The last lines of its log.
    pub fn last_words(&self, lines: usize) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// The failure of a node that ended on its own. The line in which it said why, with its fix, is the message; where
    /// there is none the end of its log is.
    pub fn obituary(&self, status: ExitStatus) -> Failure {
        let words = self.last_words(12);
        let what = match words.lines().rev().find(|line| line.starts_with("strowger: ")) {
            Some(line) => format!("the node ended ({status}): {line}"),
            None if words.is_empty() => format!("the node ended on its own ({status}) and wrote nothing"),
            None => format!("the node ended on its own ({status}):\n{words}"),
        };
        Failure::new(Code::Node, what)
            .fix(format!("mend what it names; the whole log is {}", self.log.display()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
