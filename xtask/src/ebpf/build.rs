//! One build of the object: the same bytes from the same sources and versions, wherever the tree lies.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::manifest::Manifest;
use super::toolchain::Toolchain;
use crate::Failure;
use crate::failure::Doing as _;
use crate::process;
use crate::progress::Step;
use crate::workspace;

/// Flags of the compiler that decide what the object is. Debug information is what bpf-linker makes BTF from.
pub(super) const FLAGS: [&str; 3] = ["-Cdebuginfo=2", "-Clinker=bpf-linker", "-Clink-arg=--btf"];

const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "strowger-xdp-ebpf";
const BINARY: &str = "strowger-xdp";

/// A fresh object and its description.
pub(super) struct Built {
    pub(super) object: Vec<u8>,
    pub(super) manifest: Manifest,
}

/// Builds with `toolchain`, in a target directory of its own, and touches nothing that is committed.
pub(super) fn build(toolchain: &Toolchain, step: &Step) -> Result<Built, Failure> {
    let root = workspace::root();
    let target = workspace::target()?.join("ebpf");
    compile(toolchain, &root, &target, step)?;
    let output = target.join(TARGET).join("release").join(BINARY);
    let sources = sources(&root, &output.with_extension("d"))?;
    let object = stripped(toolchain, &output)?;
    let manifest = Manifest::describe(&root, &object, &sources, toolchain.versions())?;
    Ok(Built { object, manifest })
}

fn compile(toolchain: &Toolchain, root: &Path, target: &Path, step: &Step) -> Result<(), Failure> {
    let mut command = workspace::cargo();
    command.args(["build", "--locked", "--release", "--target", TARGET, "-Z", "build-std=core"]);
    command.args(["--package", PACKAGE, "--bin", BINARY, "--features", "program"]);
    command.env("CARGO_TARGET_DIR", target);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain, root)?);
    command.env("RUSTC", &toolchain.rustc);
    // A released compiler takes -Z only so.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.env("PATH", toolchain.path()?);
    // The profile and the compiler are fixed here; whatever the caller has set for the host must not reach in.
    for name in std::env::vars_os().map(|(name, _)| name) {
        let text = name.to_string_lossy();
        let fixed = ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTUP_TOOLCHAIN"];
        if fixed.contains(&text.as_ref()) || text.starts_with("CARGO_PROFILE_") {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| process::not_started(&command, &error))?;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            step.now(line.trim());
            said.push(line);
        }
    }
    if child.wait().doing("wait for cargo")?.success() {
        return Ok(());
    }
    let progress = ["Compiling ", "Downloading ", "Downloaded ", "Updating ", "Locking "];
    for line in said.iter().filter(|line| !progress.iter().any(|word| line.trim_start().starts_with(word))) {
        eprintln!("{line}");
    }
    Err(Failure::failed("the XDP program does not compile")
        .fix(format!("see above; built with {toolchain}, which --install replaces when it is too old")))
}

/// [`FLAGS`], and one that gives each directory of this machine a name of its own in the object.
fn flags(toolchain: &Toolchain, root: &Path) -> Result<OsString, Failure> {
    let mut flags: Vec<OsString> = FLAGS.into_iter().map(OsString::from).collect();
    let mut rename = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    rename(root, "strowger");
    rename(&toolchain.sysroot.join("lib/rustlib/src/rust"), "rust");
    for directory in registry()? {
        rename(&directory, "crates");
    }
    Ok(flags.join(&OsString::from("\u{1f}")))
}

/// The directories in which cargo keeps unpacked crates.
fn registry() -> Result<BTreeSet<PathBuf>, Failure> {
    let text = process::output(workspace::cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).doing("read cargo's metadata")?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let foreign = packages.iter().filter(|package| !package["source"].is_null());
    let manifests = foreign.filter_map(|package| package["manifest_path"].as_str());
    Ok(manifests
        .filter_map(|manifest| Path::new(manifest).ancestors().nth(2))
        .map(Path::to_path_buf)
        .collect())
}

/// The files of the tree that cargo's dep-info says went in, relative to `root` and sorted.
fn sources(root: &Path, dep_info: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(dep_info).doing(format_args!("read {}", dep_info.display()))?;
    let prefix = format!("{}/", root.display());
    // A space inside of a path is escaped, and none of ours has one.
    let dependencies = text.split_once(": ").map_or("", |(_, dependencies)| dependencies);
    let files = dependencies.split_ascii_whitespace().filter_map(|file| file.strip_prefix(&prefix));
    let sources: BTreeSet<String> = files.map(str::to_owned).collect();
    if sources.is_empty() {
        return Err(Failure::failed(format!("{} names no source of the tree", dep_info.display())));
    }
    Ok(sources.into_iter().collect())
}

/// The object without DWARF, nine tenths of it, which no kernel reads; BTF stays.
fn stripped(toolchain: &Toolchain, object: &Path) -> Result<Vec<u8>, Failure> {
    let directory = tempfile::tempdir().doing("make a temporary directory")?;
    let stripped = directory.path().join(BINARY);
    process::output(toolchain.objcopy().arg("--strip-debug").arg(object).arg(&stripped))?;
    let mut bytes = Vec::new();
    let file = fs::File::open(&stripped);
    file.and_then(|mut file| file.read_to_end(&mut bytes)).doing("read the stripped object")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_those_of_the_tree() {
        let directory = tempfile::tempdir().unwrap();
        let dep_info = directory.path().join("x.d");
        let text = "/r/target/x: /r/wire/src/lib.rs /r/main.rs /home/u/registry/aya/lib.rs\n";
        fs::write(&dep_info, text).unwrap();
        assert_eq!(sources(Path::new("/r"), &dep_info).unwrap(), ["main.rs", "wire/src/lib.rs"]);
        assert!(sources(Path::new("/elsewhere"), &dep_info).is_err());
    }
}
