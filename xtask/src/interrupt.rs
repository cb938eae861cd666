//! Ctrl-C and SIGTERM as a flag that the loops look at, so that every verb cleans up behind itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::Doing as _;
use crate::{Code, Failure};

static RAISED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on SIGINT, SIGTERM and SIGHUP end nothing by themselves, they only raise the flag.
///
/// # Errors
/// The operating system refuses the handlers.
pub fn watch() -> Result<(), Failure> {
    let flag = RAISED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag)).doing("watch for Ctrl-C")?;
    }
    Ok(())
}

/// Whether one of them came since [`watch`].
pub fn raised() -> bool {
    RAISED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Fails when one of them came: for the steps that are not worth finishing.
///
/// # Errors
/// [`Code::Interrupted`].
pub fn check() -> Result<(), Failure> {
    if raised() { Err(Failure::new(Code::Interrupted, "interrupted")) } else { Ok(()) }
}
