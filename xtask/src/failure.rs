//! How a verb fails: what went wrong, what to do about it, and the exit code that a script can tell it by.
//!
//! Every verb returns `Result<(), Failure>`; `main` is the only place that prints one.

use std::fmt;
use std::process::ExitCode;

/// Exit codes of `cargo xtask`, stated in its `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The thing that was asked for did not succeed: a check, a test, a call.
    Failed = 1,
    /// The command line makes no sense (clap exits with the same number).
    Usage = 2,
    /// A tool or a toolchain is missing on this machine.
    Missing = 3,
    /// Needs root or a capability.
    Privilege = 4,
    /// The node did not start, or ended on its own.
    Node = 5,
    /// Something was left behind that should have been removed.
    Leftover = 6,
    /// Ctrl-C or SIGTERM came before the work was done.
    Interrupted = 130,
}

/// What went wrong and how to mend it.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    what: String,
    fix: Option<String>,
}

impl Failure {
    /// A failure of the given kind; `what` is one line without a full stop.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), fix: None }
    }

    /// The thing asked for did not succeed.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Code::Failed, what)
    }

    /// Failed, and what was printed already says all: the last line of a test run is the runner's own.
    pub fn silent() -> Self {
        Self::failed(String::new())
    }

    /// A tool or toolchain is missing.
    pub fn missing(what: impl Into<String>) -> Self {
        Self::new(Code::Missing, what)
    }

    /// Adds what the reader can do about it, best a command that can be pasted.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// What went wrong, without the fix.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The kind of failure.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Prints the failure to standard error and gives the exit code.
    pub fn report(&self) -> ExitCode {
        if self.what.is_empty() {
            return ExitCode::from(self.code as u8);
        }
        eprintln!("{} {}", console::style("error:").for_stderr().red().bold(), self.what);
        if let Some(fix) = &self.fix {
            eprintln!("{} {fix}", console::style("  fix:").for_stderr().green().bold());
        }
        ExitCode::from(self.code as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(fix) = &self.fix {
            write!(f, " (fix: {fix})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Puts what was being done before an error of the operating system.
pub trait Doing<T> {
    /// `doing` completes the sentence "could not …".
    fn doing(self, doing: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::failed(format!("could not {doing}: {error}")))
    }
}
