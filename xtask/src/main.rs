//! `cargo xtask VERB`: the command line alone. What each verb does is in the library, where tests reach it too.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use strowger_xtask::Xtask;

fn main() -> ExitCode {
    match Xtask::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
