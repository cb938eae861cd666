//! `cargo xtask fuzz`: the fuzz targets of the SIP message.

use crate::Failure;

/// Options of `fuzz`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The target; without it, all of them.
    pub target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 10)]
    pub minutes: u32,
}

/// Runs the targets.
///
/// # Errors
/// A missing fuzzer, or a finding.
pub fn run(_args: &Args) -> Result<(), Failure> {
    Err(Failure::failed("fuzz is not written yet"))
}
