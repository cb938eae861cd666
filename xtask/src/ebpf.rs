//! `cargo xtask build-ebpf`: the XDP program's object, committed beside a hash of its sources.
//!
//! The object is committed so that an unchanged tree builds and loads on a machine with nothing but stable Rust.
//! This verb rebuilds it when a source has changed (which needs a compiler with the sources of `core`, and
//! bpf-linker), and `--check` tells whether it must be rebuilt (which needs neither). `build-and-load`, the tests and
//! the CI ask the same question by [`check_sources`].

mod build;
mod manifest;
mod toolchain;

use std::path::Path;

use self::build::Built;
use self::manifest::Manifest;
use self::toolchain::Toolchain;
use crate::Failure;
use crate::failure::Doing as _;
use crate::progress::Step;
use crate::workspace;

/// Where object and manifest lie in the tree.
const OBJECT: &str = "xdp-ebpf/object/strowger-xdp.o";
const MANIFEST: &str = "xdp-ebpf/object/strowger-xdp.json";

/// Options of `build-ebpf`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Only say whether the committed object is fresh; fail when it is stale.
    #[arg(long)]
    pub check: bool,
    /// Install what is missing to build it.
    #[arg(long)]
    pub install: bool,
}

const AFTER_HELP: &str = "\
Needs a compiler with the sources of core (Debian: rustc-web and rust-web-src; elsewhere
a nightly with rust-src), bpf-linker, and llvm-objcopy. Without them the commands that
install them are printed; --install runs them.

--check compares the committed object with the hashes of its sources, which needs no
toolchain. Where there is one, it also rebuilds the object beside the committed one: it
must compile, and by the same versions be the same byte for byte.

Exit codes: 0 rebuilt, or fresh; 1 stale, or the build failed; 3 no toolchain";

/// Rebuilds or checks the object.
///
/// # Errors
/// No toolchain, a build that fails, or a stale object.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.install {
        toolchain::install()?;
    }
    if args.check { check() } else { rebuild() }
}

/// Whether the committed object belongs to the sources in the tree, by their hashes alone: milliseconds, and no
/// toolchain.
///
/// # Errors
/// Names what changed since the object was built.
pub fn check_sources() -> Result<(), Failure> {
    let root = workspace::root();
    let manifest = Manifest::read(&root.join(MANIFEST))?;
    let changes = manifest.changes(&root)?;
    if changes.is_empty() { Ok(()) } else { Err(stale(&changes)) }
}

fn check() -> Result<(), Failure> {
    let step = Step::begin("the object's sources are those in the tree");
    check_sources()?;
    step.done("");
    let Some(toolchain) = Toolchain::find(Manifest::read(&workspace::root().join(MANIFEST)).ok().as_ref())
    else {
        eprintln!("     not rebuilt to compare: no BPF toolchain on this machine");
        return Ok(());
    };
    let step = Step::begin_long("it still compiles");
    let built = build::build(&toolchain, &step)?;
    step.done(&toolchain);
    compare(&built)
}

/// Holds a fresh build against the committed one.
fn compare(built: &Built) -> Result<(), Failure> {
    let root = workspace::root();
    let committed = Manifest::read(&root.join(MANIFEST))?;
    let changes = built.manifest.sources_missing_in(&committed);
    if !changes.is_empty() {
        return Err(stale(&changes));
    }
    if built.manifest.versions != committed.versions {
        eprintln!("     not compared byte by byte: the committed object is of other versions");
        return Ok(());
    }
    let step = Step::begin("the same sources give the same object");
    if built.manifest.object != committed.object {
        return Err(Failure::failed("the committed XDP object isn't what its sources give")
            .fix(format!("rebuild it and see what differs: cargo xtask build-ebpf && git diff {MANIFEST}")));
    }
    step.done("");
    Ok(())
}

fn rebuild() -> Result<(), Failure> {
    let root = workspace::root();
    let committed = Manifest::read(&root.join(MANIFEST)).ok();
    let toolchain = Toolchain::find(committed.as_ref()).ok_or_else(toolchain::missing)?;
    let step = Step::begin_long("build the XDP object");
    let built = build::build(&toolchain, &step)?;
    step.done(&toolchain);
    let unchanged = committed.is_some_and(|committed| committed == built.manifest);
    write(&root.join(OBJECT), &built.object)?;
    write(&root.join(MANIFEST), built.manifest.to_json()?.as_bytes())?;
    eprintln!(
        "     {OBJECT}: {} bytes, {}",
        built.object.len(),
        if unchanged { "as it was" } else { "changed: commit it together with its manifest" }
    );
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).doing(format_args!("write {}", path.display()))
}

fn stale(changes: &[String]) -> Failure {
    Failure::failed(format!("the committed XDP object is stale: {}", changes.join("; ")))
        .fix("rebuild it, and commit xdp-ebpf/object: cargo xtask build-ebpf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_object_is_fresh() {
        check_sources().unwrap();
    }
}
