//! What this machine has and lacks: root, the kernel, the programs that a chore needs; and getting them by apt.

use std::process::Command;

use crate::failure::Doing as _;
use crate::process;
use crate::progress::Step;
use crate::{Code, Failure};

/// A program and the Debian package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The program's name in PATH.
    pub program: &'static str,
    /// The package for apt.
    pub package: &'static str,
}

/// iproute2's `ip`: the laboratory is made with it.
pub const IP: Tool = Tool { program: "ip", package: "iproute2" };
/// A NIC's queues and offloads are set with it.
pub const ETHTOOL: Tool = Tool { program: "ethtool", package: "ethtool" };
/// The phones.
pub const SIPP: Tool = Tool { program: "sipp", package: "sip-tester" };
/// A phone that people use.
pub const BARESIP: Tool = Tool { program: "baresip", package: "baresip-core" };
/// The peer of the benchmarks.
pub const KAMAILIO: Tool = Tool { program: "kamailio", package: "kamailio" };
/// Counts instructions.
pub const VALGRIND: Tool = Tool { program: "valgrind", package: "valgrind" };

impl Tool {
    /// Whether it is installed.
    pub fn present(&self) -> bool {
        process::find(self.program).is_some()
    }
}

/// Whether we are root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Fails when we are not root; `verb` is what was asked for, as it would be typed after `cargo xtask`.
///
/// # Errors
/// Not root.
pub fn need_root(verb: &str) -> Result<(), Failure> {
    if is_root() {
        return Ok(());
    }
    Err(Failure::new(Code::Privilege, "network namespaces and XDP need root, and this is not root").fix(
        format!("sudo env PATH=\"$PATH\" HOME=\"$HOME\" CARGO_TARGET_DIR=target/root cargo xtask {verb}"),
    ))
}

/// The kernel's release, as `uname -r` says it.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The kernel's major and minor version, when its release begins with two numbers.
pub fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Makes sure that the tools are there: as root on a machine with apt it installs what is missing.
///
/// # Errors
/// A tool is missing and cannot be installed; the fix is the command that would do it.
pub fn ensure(tools: &[Tool]) -> Result<(), Failure> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !tool.present()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|tool| tool.program).collect::<Vec<_>>().join(", ");
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let command = format!("apt-get install -y {}", packages.join(" "));
    if !is_root() || process::find("apt-get").is_none() {
        return Err(Failure::missing(format!("{names} not installed")).fix(format!("sudo {command}")));
    }
    let step = Step::begin_long(format!("install {}", packages.join(", ")));
    step.now("apt-get update");
    // The lists may be stale or absent; an install that works without them needs no update, so its error is kept.
    let updated = process::output(apt().arg("update"));
    step.now(&command);
    process::output(apt().arg("install").args(&packages))
        .map_err(|failure| updated.err().unwrap_or(failure))
        .doing(format!("install {}", packages.join(", ")))?;
    step.done("");
    match missing.iter().find(|tool| !tool.present()) {
        None => Ok(()),
        Some(tool) => {
            Err(Failure::missing(format!("{} is installed but {} is not there", tool.package, tool.program)))
        }
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args([
        "-qq",
        "-y",
        "-o",
        "Acquire::Retries=3",
        "-o",
        "DPkg::Lock::Timeout=120",
        "--no-install-recommends",
    ]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions() {
        assert_eq!(kernel_version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(kernel_version("5.4.0-150-generic"), Some((5, 4)));
        assert_eq!(kernel_version("odd"), None);
    }
}
