//! Finding what can build the object, or saying how to get it.
//!
//! Three things: a rustc whose sysroot has the sources of `core` (the target has no prebuilt one), bpf-linker built
//! against an LLVM at least as new as that rustc's, and an objcopy that knows BPF.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::manifest::Manifest;
use crate::Failure;
use crate::process;
use crate::progress::Step;

/// Where `--install` puts bpf-linker when it may; shared by all trees on the machine.
const TOOLS: &str = "/opt/bpf-tools";
/// The bpf-linker that is known to work with the LLVM of Debian's compiler.
const BPF_LINKER: &str = "0.13.0";

/// What builds the object.
#[derive(Debug)]
pub(super) struct Toolchain {
    pub(super) rustc: PathBuf,
    pub(super) sysroot: PathBuf,
    version: Version,
    linker: PathBuf,
    linker_version: String,
    objcopy: PathBuf,
}

/// What `rustc -vV` says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    /// As in "1.96.0 (ac68faa20 2026-05-25)".
    rustc: String,
    /// As in "22.1.8".
    llvm: String,
}

/// A compiler that has the sources of `core`.
struct Compiler {
    rustc: PathBuf,
    sysroot: PathBuf,
    version: Version,
}

impl Toolchain {
    /// The first complete toolchain of this machine; preferably the one that made `committed`.
    pub(super) fn find(committed: Option<&Manifest>) -> Option<Self> {
        let linker = linker()?;
        let linker_version = process::output(Command::new(&linker).arg("--version")).ok()?.trim().to_owned();
        let made_by = committed.and_then(|manifest| manifest.versions.get("rustc"));
        let mut compilers = compilers();
        // Stable sort: the one that is wanted comes first, the others stay in their order.
        compilers.sort_by_key(|compiler| Some(&compiler.version.rustc) != made_by);
        compilers.into_iter().find_map(|Compiler { rustc, sysroot, version }| {
            let objcopy = objcopy(&sysroot, &version)?;
            let (linker, linker_version) = (linker.clone(), linker_version.clone());
            Some(Self { rustc, sysroot, version, linker, linker_version, objcopy })
        })
    }

    /// The versions that decide what the object is.
    pub(super) fn versions(&self) -> BTreeMap<String, String> {
        let linker = self.linker_version.trim_start_matches("bpf-linker ");
        let versions =
            [("rustc", self.version.rustc.as_str()), ("llvm", &self.version.llvm), ("bpf-linker", linker)];
        versions.into_iter().map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
    }

    /// PATH with bpf-linker in it.
    pub(super) fn path(&self) -> Result<OsString, Failure> {
        path_with(self.linker.parent().unwrap_or(Path::new("/")))
    }

    /// objcopy, ready for its arguments.
    pub(super) fn objcopy(&self) -> Command {
        let mut command = Command::new(&self.objcopy);
        // rustup's own rust-objcopy doesn't find the LLVM beside it by itself.
        command.env("LD_LIBRARY_PATH", self.sysroot.join("lib"));
        command
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rustc, version, linker_version, .. } = self;
        write!(f, "{} {}, LLVM {}, {linker_version}", rustc.display(), version.rustc, version.llvm)
    }
}

fn path_with(directory: &Path) -> Result<OsString, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths([directory.to_path_buf()].into_iter().chain(std::env::split_paths(&path)))
        .map_err(|error| Failure::failed(format!("PATH can't be extended: {error}")))
}

/// Every compiler on this machine that has the sources of `core`: Debian's, the one in PATH, rustup's.
fn compilers() -> Vec<Compiler> {
    let mut candidates = vec![PathBuf::from("/usr/bin/rustc"), PathBuf::from("/usr/local/bin/rustc")];
    candidates.extend(process::find("rustc"));
    let rustup = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    if let Some(rustup) = rustup.or_else(|| Some(std::env::home_dir()?.join(".rustup"))) {
        let toolchains = std::fs::read_dir(rustup.join("toolchains")).into_iter().flatten().flatten();
        let mut toolchains: Vec<_> = toolchains.map(|entry| entry.path().join("bin/rustc")).collect();
        toolchains.sort();
        candidates.extend(toolchains);
    }
    candidates.into_iter().filter_map(|rustc| Compiler::ask(&rustc)).collect()
}

impl Compiler {
    /// Asks `rustc` where its sysroot is and looks there.
    fn ask(rustc: &Path) -> Option<Self> {
        if !rustc.is_file() {
            return None;
        }
        let sysroot = process::output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
        let sysroot = PathBuf::from(sysroot.trim());
        if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
            return None;
        }
        let version = Version::parse(&process::output(Command::new(rustc).arg("-vV")).ok()?)?;
        Some(Self { rustc: rustc.to_owned(), sysroot, version })
    }
}

impl Version {
    /// Reads `rustc -vV`.
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (release, llvm) = (field("release:")?, field("LLVM version:")?);
        let (hash, date) =
            (field("commit-hash:").unwrap_or("unknown"), field("commit-date:").unwrap_or("unknown"));
        let hash = hash.get(..9).unwrap_or(hash);
        Some(Self { rustc: format!("{release} ({hash} {date})"), llvm: llvm.to_owned() })
    }

    /// The first number of LLVM's version.
    fn llvm_major(&self) -> &str {
        self.llvm.split('.').next().unwrap_or_default()
    }
}

/// bpf-linker: in PATH, where cargo installs, or where `--install` put it.
fn linker() -> Option<PathBuf> {
    process::find("bpf-linker").or_else(|| {
        let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo = cargo.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        let directories = cargo.into_iter().chain([PathBuf::from(TOOLS)]);
        directories.map(|directory| directory.join("bin/bpf-linker")).find(|file| file.is_file())
    })
}

/// An objcopy of LLVM: Debian's of the compiler's version, one in PATH, or the compiler's own.
fn objcopy(sysroot: &Path, version: &Version) -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/llvm-{}/bin/llvm-objcopy", version.llvm_major()));
    let own = std::fs::read_dir(sysroot.join("lib/rustlib")).into_iter().flatten().flatten();
    let own = own.map(|entry| entry.path().join("bin/rust-objcopy"));
    [debian].into_iter().chain(process::find("llvm-objcopy")).chain(own).find(|file| file.is_file())
}

/// No toolchain: which part is missing, and the commands that bring it.
pub(super) fn missing() -> Failure {
    let compilers = compilers();
    let what = if compilers.is_empty() {
        "no compiler with the sources of core on this machine (nor a BPF target without them)"
    } else if linker().is_none() {
        "bpf-linker is not installed"
    } else {
        "no llvm-objcopy on this machine"
    };
    let commands: Vec<_> = plan(&compilers).iter().map(|step| format!("\n       {step}")).collect();
    Failure::missing(what).fix(format!("cargo xtask build-ebpf --install, which runs:{}", commands.concat()))
}

/// One command that brings the toolchain nearer.
struct Install {
    program: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// A directory whose programs come before those of PATH.
    before_path: Option<PathBuf>,
}

impl Install {
    fn new(line: &str, program: &'static str) -> Self {
        let arguments = line.split_ascii_whitespace().map(str::to_owned).collect();
        Self { program, arguments, environment: Vec::new(), before_path: None }
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.environment.push((name, value));
        self
    }

    fn run(&self) -> Result<(), Failure> {
        let step = Step::begin_long(self.to_string());
        let mut command = Command::new(self.program);
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        if let Some(directory) = &self.before_path {
            command.env("PATH", path_with(directory)?);
        }
        process::output(&mut command)?;
        step.done("");
        Ok(())
    }
}

impl fmt::Display for Install {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.program == "apt-get" && !rustix::process::geteuid().is_root() {
            f.write_str("sudo ")?;
        }
        for (name, value) in &self.environment {
            write!(f, "{name}={value} ")?;
        }
        if let Some(directory) = &self.before_path {
            write!(f, "PATH={}:$PATH ", directory.display())?;
        }
        write!(f, "{} {}", self.program, self.arguments.join(" "))
    }
}

/// What is to be installed, given the compilers that are there. Debian's packages when apt knows them, else rustup.
fn plan(compilers: &[Compiler]) -> Vec<Install> {
    let mut steps = Vec::new();
    let apt = apt_knows("rustc-web");
    if compilers.is_empty() {
        steps.push(if apt {
            apt_install("rustc-web rust-web-src")
        } else {
            Install::new("toolchain install nightly --profile minimal --component rust-src", "rustup")
        });
    }
    // Debian's compiler is linked against Debian's LLVM, and so must the linker be that reads what it writes.
    let debian = compilers.iter().find(|compiler| compiler.rustc == Path::new("/usr/bin/rustc"));
    if linker().is_none() {
        if debian.is_some() || (compilers.is_empty() && apt) {
            let major = debian.map_or("22", |compiler| compiler.version.llvm_major());
            steps.push(apt_install(&format!("llvm-{major}-dev g++ zlib1g-dev")));
            let line = format!(
                "install bpf-linker --version {BPF_LINKER} --no-default-features --features llvm-{major} --locked{}",
                tools_root()
            );
            let prefix = format!("/usr/lib/llvm-{major}");
            let mut step = Install::new(&line, "cargo").with("LLVM_PREFIX", prefix.clone());
            step.before_path = Some(Path::new(&prefix).join("bin"));
            steps.push(step);
        } else {
            // Linked against the LLVM of rustup's nightly itself.
            steps.push(Install::new(
                &format!("+nightly install bpf-linker --locked{}", tools_root()),
                "cargo",
            ));
        }
    } else if debian.is_some() {
        let major = debian.map_or("22", |compiler| compiler.version.llvm_major());
        steps.push(apt_install(&format!("llvm-{major}")));
    }
    steps
}

fn apt_install(packages: &str) -> Install {
    Install::new(&format!("install --yes --no-install-recommends {packages}"), "apt-get")
        .with("DEBIAN_FRONTEND", "noninteractive".to_owned())
}

fn apt_knows(package: &str) -> bool {
    process::succeeds(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
}

/// As root into a directory for all; else where cargo installs.
fn tools_root() -> String {
    if rustix::process::geteuid().is_root() { format!(" --root {TOOLS}") } else { String::new() }
}

/// Installs what is missing; nothing when nothing is.
pub(super) fn install() -> Result<(), Failure> {
    if let Some(toolchain) = Toolchain::find(None) {
        eprintln!("     a BPF toolchain is there: {toolchain}");
        return Ok(());
    }
    let steps = plan(&compilers());
    let apt = steps.iter().any(|step| step.program == "apt-get");
    if apt && !rustix::process::geteuid().is_root() {
        return Err(Failure::new(crate::Code::Privilege, "installing packages needs root")
            .fix("run it as root (sudo), or run yourself what `cargo xtask build-ebpf` prints"));
    }
    if apt {
        Install::new("update", "apt-get").run()?;
    }
    for step in steps {
        step.run()?;
        // The first step decides which LLVM the others need.
        if step.arguments.iter().any(|argument| argument == "rustc-web") {
            return install_rest();
        }
    }
    found()
}

fn install_rest() -> Result<(), Failure> {
    for step in plan(&compilers()) {
        step.run()?;
    }
    found()
}

fn found() -> Result<(), Failure> {
    match Toolchain::find(None) {
        Some(toolchain) => {
            eprintln!("     installed: {toolchain}");
            Ok(())
        }
        None => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_says_its_versions() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc\n\
                    commit-hash: ac68faa20c58cbccd01ee7208bf3b6e93a7d7f96\ncommit-date: 2026-05-25\n\
                    host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        let version = Version::parse(text).unwrap();
        assert_eq!(version.rustc, "1.96.0 (ac68faa20 2026-05-25)");
        assert_eq!(version.llvm_major(), "22");
        assert_eq!(Version::parse("release: 1.96.0\n"), None);
    }

    #[test]
    fn a_command_is_shown_as_one_types_it() {
        let step = Install::new("install --locked x", "cargo").with("LLVM_PREFIX", "/l".to_owned());
        assert_eq!(step.to_string(), "LLVM_PREFIX=/l cargo install --locked x");
    }
}
