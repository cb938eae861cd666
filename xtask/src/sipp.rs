//! Real phones: sipp with scenarios of our own, one process for each side, read back through its statistics file.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::Failure;
use crate::failure::Doing as _;
use crate::namespace::Namespace;
use crate::{interrupt, process};

/// What a sipp process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario<'a> {
    /// Names its files in the working directory.
    pub name: &'a str,
    /// The scenario file.
    pub text: &'a str,
    /// Whether it waits to be called; else it begins `calls` calls.
    pub called: bool,
}

impl Scenario<'static> {
    /// Registers one contact for each line of the injected file.
    pub const REGISTER: Self =
        Self { name: "register", text: include_str!("../scenarios/register.xml"), called: false };
    /// Calls.
    pub const UAC: Self = Self { name: "uac", text: include_str!("../scenarios/uac.xml"), called: false };
    /// Is called.
    pub const UAS: Self = Self { name: "uas", text: include_str!("../scenarios/uas.xml"), called: true };
}

/// How one sipp is to run.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// What it plays.
    pub scenario: Scenario<'a>,
    /// Further arguments.
    pub arguments: &'a [&'a str],
    /// Tells several of one scenario apart in the working directory.
    pub label: &'a str,
    /// Where it runs.
    pub namespace: &'a Namespace,
    /// Its own address.
    pub local: SocketAddr,
    /// The node; a UAS needs none.
    pub remote: Option<SocketAddr>,
    /// The lines of the injected file, fields separated by semicolons; empty for none.
    pub injected: &'a [String],
    /// Calls to make, and how many a second.
    pub calls: u32,
    /// Calls begun in a second.
    pub rate: u32,
    /// How long a call lasts between ACK and BYE.
    pub hold: Duration,
    /// After this long sipp gives up whatever is left.
    pub limit: Duration,
    /// Where scenario, injected file, statistics and logs are written.
    pub directory: &'a Path,
}

/// A running sipp. Dropped, it is killed.
#[derive(Debug)]
pub struct Sipp {
    child: Child,
    name: String,
    statistics: PathBuf,
    errors: PathBuf,
    screen: PathBuf,
}

/// What sipp counted. `created` is the number of calls begun (UAC) or received (UAS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Calls begun or received.
    pub created: u64,
    /// Calls that are going on.
    pub current: u64,
    /// Calls that went through their whole scenario.
    pub ok: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Messages this side had to repeat.
    pub retransmissions: u64,
}

impl Sipp {
    /// Starts it. It ends with the thread that started it, should that die.
    ///
    /// # Errors
    /// Files that cannot be written; sipp is missing.
    pub fn start(plan: &Plan<'_>) -> Result<Self, Failure> {
        let stem = format!("{}-{}", plan.scenario.name, plan.label);
        let file = |extension: &str| plan.directory.join(format!("{stem}.{extension}"));
        let (scenario, statistics, errors, screen) = (file("xml"), file("csv"), file("err"), file("log"));
        fs::create_dir_all(plan.directory).doing("make the working directory of sipp")?;
        fs::write(&scenario, plan.scenario.text).doing("write the scenario")?;
        for old in [&statistics, &errors] {
            let _ = fs::remove_file(old);
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "ip", "netns", "exec", plan.namespace.name(), "sipp"]);
        command.arg("-sf").arg(&scenario);
        // -trace_err without a watchdog: a busy machine must not end the run, the calls say what became of them.
        command.args(["-nostdin", "-trace_err", "-trace_stat", "-fd", "1", "-buff_size", "4194304"]);
        command.args(["-watchdog_minor_maxtriggers", "1000000", "-watchdog_major_maxtriggers", "1000000"]);
        command.arg("-stf").arg(&statistics).arg("-error_file").arg(&errors);
        command.args(["-i", &plan.local.ip().to_string(), "-p", &plan.local.port().to_string()]);
        if plan.scenario.called {
            command.args(["-timeout", &seconds(plan.limit)]);
        } else {
            command.args(["-m", &plan.calls.to_string(), "-r", &plan.rate.to_string()]);
            command.args(["-l", &plan.calls.to_string(), "-d", &plan.hold.as_millis().to_string()]);
            command.args(["-timeout", &seconds(plan.limit), "-timeout_error", "-recv_timeout", "33000"]);
        }
        if !plan.injected.is_empty() {
            let injected = file("inject.csv");
            fs::write(&injected, format!("SEQUENTIAL\n{}\n", plan.injected.join("\n")))
                .doing("write the injected file")?;
            command.arg("-inf").arg(&injected);
        }
        command.args(plan.arguments);
        if let Some(remote) = plan.remote {
            command.arg(target(remote));
        }
        // What it names itself (-trace_rtt) it writes where it runs.
        command.current_dir(plan.directory);
        let log = File::create(&screen).doing("write the log of sipp")?;
        let also = log.try_clone().doing("write the log of sipp")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(also)
            .spawn()
            .map_err(|error| process::not_started(&command, &error))?;
        Ok(Self { child, name: stem, statistics, errors, screen })
    }

    /// What it has counted by now; it writes once a second and when it ends.
    pub fn tally(&self) -> Tally {
        fs::read_to_string(&self.statistics).ok().and_then(|text| Tally::read(&text)).unwrap_or_default()
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().doing("ask after sipp")
    }

    /// Asks a UAS to end once its calls are over, waits that long, and gives its last count.
    ///
    /// # Errors
    /// The operating system does not say what became of it.
    pub fn finish(mut self, wait: Duration) -> Result<Tally, Failure> {
        self.signal(Signal::USR1);
        let until = Instant::now() + wait;
        while self.ended()?.is_none() {
            if Instant::now() > until {
                self.signal(Signal::TERM);
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(self.tally())
    }

    /// What it complained of: the beginning of its error file, or the end of its screen when it did not get there.
    /// sipp sets no line ends between its errors, so the text is cut to a few hundred characters.
    pub fn complaint(&self) -> String {
        let errors = fs::read_to_string(&self.errors).unwrap_or_default();
        if !errors.trim().is_empty() {
            return format!("{} … (all of it: {})", cut(&errors), self.errors.display());
        }
        let screen = fs::read_to_string(&self.screen).unwrap_or_default();
        let kept: Vec<&str> = screen.lines().filter(|line| !line.trim().is_empty()).collect();
        kept[kept.len().saturating_sub(3)..].join("\n")
    }

    /// Waits until a UAS has its port: a call that comes earlier would be lost.
    ///
    /// # Errors
    /// It ended, or has no port after 10 s.
    pub fn listening(&mut self, namespace: &Namespace, local: SocketAddr) -> Result<(), Failure> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            if self.ended()?.is_some() || Instant::now() > until {
                let what = format!("sipp does not answer on {local}: {}", self.complaint());
                return Err(Failure::failed(what));
            }
            interrupt::check()?;
            if namespace.enter_on_a_thread(|| UdpSocket::bind(local).is_err())? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Follows one that makes `calls` calls to its end. `progress` hears its count meanwhile.
    ///
    /// # Errors
    /// It ended by something else than its calls. A call that fails is in the tally, not an error.
    pub fn follow(&mut self, calls: u32, mut progress: impl FnMut(&Tally)) -> Result<Tally, Failure> {
        loop {
            if let Some(status) = self.ended()? {
                let tally = self.tally();
                // 0 and 1 are sipp's own verdicts over its calls; everything else is sipp itself in trouble.
                if !matches!(status.code(), Some(0 | 1)) && tally.ok < u64::from(calls) {
                    let what = format!("sipp ({}) ended with {status}: {}", self.name, self.complaint());
                    return Err(Failure::failed(what));
                }
                return Ok(tally);
            }
            interrupt::check()?;
            progress(&self.tally());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended meanwhile; then there is nobody to tell.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tally {
    /// Reads the last full line of a statistics file by the names in its first.
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let names = lines.next()?;
        let last = lines.next_back()?;
        let value = |wanted: &str| -> Option<u64> {
            let column = names.trim_end().split(';').position(|name| name == wanted)?;
            last.trim_end().split(';').nth(column)?.trim().parse().ok()
        };
        Some(Self {
            created: value("TotalCallCreated")?,
            current: value("CurrentCall")?,
            ok: value("SuccessfulCall(C)")?,
            failed: value("FailedCall(C)")?,
            retransmissions: value("Retransmissions(C)")?,
        })
    }
}

/// The first few hundred characters, on one line.
fn cut(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}

fn target(remote: SocketAddr) -> String {
    match remote.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", remote.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", remote.port()),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_full_line_counts() {
        let text = "StartTime;TotalCallCreated;CurrentCall;SuccessfulCall(P);SuccessfulCall(C);FailedCall(C);\
                    Retransmissions(P);Retransmissions(C);\n\
                    t;10;10;0;0;0;0;0;\n\
                    t;200;1;5;198;1;0;3;\n\
                    t;999;9;9;9";
        let tally = Tally::read(text).unwrap();
        assert_eq!(tally, Tally { created: 200, current: 1, ok: 198, failed: 1, retransmissions: 3 });
    }

    #[test]
    fn a_file_without_a_line_counts_nothing() {
        assert_eq!(Tally::read("TotalCallCreated;CurrentCall\n"), None);
        assert_eq!(Tally::read(""), None);
        assert_eq!(Tally::read("a;b;\n1;2;\n"), None, "unknown columns");
    }
}
