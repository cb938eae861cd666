//! The tree we are in, and cargo at work in it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Failure;
use crate::failure::Doing as _;
use crate::interrupt;
use crate::process;
use crate::progress::Step;

/// The root of the workspace.
pub fn root() -> PathBuf {
    // Cargo sets it when it runs us; the path at build time serves a binary that is run by itself.
    let crate_root = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    crate_root.parent().map_or_else(|| crate_root.clone(), Path::to_path_buf)
}

/// Cargo, the one that runs us when it does, in the root of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The target directory, wherever the environment or the configuration puts it.
///
/// # Errors
/// Cargo does not answer.
pub fn target() -> Result<PathBuf, Failure> {
    let text =
        process::output(cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).doing("read cargo's metadata")?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| Failure::failed("cargo's metadata names no target directory"))
}

/// Builds the node in release mode and gives the path of `strowger`. Cargo's own progress feeds the step; when the
/// build fails its messages go to standard error as they are.
///
/// # Errors
/// The build fails.
pub fn build_node(step: &Step) -> Result<PathBuf, Failure> {
    let mut command = cargo();
    command.args(["build", "--release", "--package", "strowger-node", "--bin", "strowger"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| process::not_started(&command, &error))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Failure::failed("cargo has no output"));
    };
    let mut said = Vec::new();
    let mut built = None;
    std::thread::scope(|scope| {
        let built = &mut built;
        scope.spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(path) = executable(&line) {
                    *built = Some(path);
                }
            }
        });
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            step.now(line.trim());
            said.push(line);
        }
    });
    let status = child.wait().doing("wait for cargo")?;
    interrupt::check()?;
    if !status.success() {
        for line in said.iter().filter(|line| !line.trim_start().starts_with("Compiling ")) {
            eprintln!("{line}");
        }
        return Err(Failure::failed(format!("`{}` failed", process::shown(&command))));
    }
    built.ok_or_else(|| Failure::failed("cargo built no executable `strowger`"))
}

/// Runs a build of cargo's without its output; when it fails, what it said goes to standard error as it is.
///
/// # Errors
/// The build fails, or was interrupted.
pub fn build(command: &mut Command) -> Result<(), Failure> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| process::not_started(command, &error))?;
    interrupt::check()?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(Failure::failed(format!("`{}` failed", process::shown(command))));
    }
    Ok(())
}

/// The executable that a line of cargo's JSON announces, when it announces one.
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["target"]["name"] != "strowger" {
        return None;
    }
    message["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"strowger"},"executable":"/t/release/strowger"}"#;
        assert_eq!(executable(line), Some(PathBuf::from("/t/release/strowger")));
        assert_eq!(
            executable(r#"{"reason":"compiler-artifact","target":{"name":"clap"},"executable":null}"#),
            None
        );
        assert_eq!(executable("Compiling"), None);
    }

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().join("Cargo.lock").exists());
        assert!(root().join("xtask/Cargo.toml").exists());
    }
}
