//! SIGUSR2: the node starts the one that is to take its place, as its own child, so that a service manager counts it to the
//! same service. The child asks for the place by itself, see [`handover`](crate::handover); a new program is there when its
//! file is.

use std::io;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::Pid;
use tokio::signal::unix::Signal;

/// How often it is looked whether the child has ended.
const WATCH: Duration = Duration::from_millis(200);
/// The argument that asks for the place.
const REPLACE: &str = "--replace";

/// Starts a successor on each signal; one at a time. One that takes this node's place outlives this.
pub(crate) async fn starts(mut signal: Signal) {
    while signal.recv().await.is_some() {
        match start() {
            Ok(mut child) => {
                tracing::info!(pid = child.id(), "SIGUSR2: a successor is started");
                let ended = loop {
                    match child.try_wait() {
                        Ok(None) => tokio::time::sleep(WATCH).await,
                        Ok(Some(status)) => break status.to_string(),
                        Err(error) => break error.to_string(),
                    }
                };
                tracing::error!(ended, "the successor has not taken over; this node serves on");
            }
            Err(error) => tracing::error!(%error, "SIGUSR2: no successor could be started"),
        }
    }
}

/// This command once more, whichever program has its name now.
fn start() -> io::Result<Child> {
    let mut arguments = std::env::args_os();
    let program = arguments.next().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(arguments.filter(|argument| argument != REPLACE)).arg(REPLACE);
    // It names the process that the watchdog is for, and that would be us. Without it, it is for whoever has the time.
    command.env_remove("WATCHDOG_PID");
    command.spawn()
}

/// Whether this node is a service's main process and `other` none of that service: then its manager would take the end of this
/// one for that of the service, and start it again.
pub(crate) fn is_stranger(other: Pid) -> bool {
    let group = |process: &str| std::fs::read_to_string(format!("/proc/{process}/cgroup")).ok();
    std::env::var_os("NOTIFY_SOCKET").is_some()
        && group("self").is_some_and(|ours| group(&other.as_raw_pid().to_string()) != Some(ours))
}
