//! `cargo xtask build-ebpf`: the XDP program's object, committed beside a hash of its sources.

use crate::Failure;

/// Options of `build-ebpf`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say whether the committed object is fresh; fail when it is stale.
    #[arg(long)]
    pub check: bool,
    /// Install what is missing to build it.
    #[arg(long)]
    pub install: bool,
}

/// Rebuilds or checks the object.
///
/// # Errors
/// No toolchain, a build that fails, or a stale object.
pub fn run(_args: &Args) -> Result<(), Failure> {
    Err(Failure::failed("build-ebpf is not written yet"))
}
