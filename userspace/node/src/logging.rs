//! Logs: to standard error, pretty on a terminal and JSON elsewhere unless the file says otherwise.
//!
//! Only the control side logs. A worker counts; what it counts is shown by `strowger status`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Format, Level, Log};

/// Installs the process's subscriber. `STROWGER_LOG` (a filter such as `info,strowger_xsk=debug`) overrides the level.
pub(crate) fn init(log: &Log) {
    let level = match log.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let filter = EnvFilter::try_from_env("STROWGER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        Format::Json => true,
        Format::Pretty => false,
        Format::Auto => !terminal,
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // A second subscriber can only come from a second call, which the subcommands don't make; nothing is lost by it.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).try_init()
    };
}
