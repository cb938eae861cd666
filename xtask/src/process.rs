//! Running the programs that do the work (ip, cargo, sipp, apt) and turning their complaints into a `Failure`.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::Failure;

/// The command as one would type it.
pub fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Runs to the end with nothing on the terminal; gives standard output.
///
/// # Errors
/// The program is missing, or ended with another code than 0: the message carries its last line of standard error.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let line = shown(command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let complaint = stderr.lines().rev().find(|text| !text.trim().is_empty()).unwrap_or("no message");
    Err(Failure::failed(format!("`{line}`: {} ({})", complaint.trim(), output.status)))
}

/// Whether the command ends with 0; its output is thrown away.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The failure of a program that could not be started.
pub fn not_started(command: &Command, error: &io::Error) -> Failure {
    let program = command.get_program().to_string_lossy().into_owned();
    if error.kind() == io::ErrorKind::NotFound {
        Failure::missing(format!("`{program}` is not installed"))
    } else {
        Failure::failed(format!("could not start `{program}`: {error}"))
    }
}

/// Kills a child that leads a process group of its own, with all the group, and waits for it.
///
/// # Errors
/// It is no child of ours any more.
pub fn end_group(child: &mut Child) -> io::Result<()> {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Gone already is as good.
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait().map(|_| ())
}

/// Where a program is: PATH, then the administrator's directories, which are not in everybody's PATH.
pub fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let program = program.as_ref();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}
