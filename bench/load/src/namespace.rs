//! Work inside a network namespace: a socket belongs to the one it was made in, whoever uses it later.

use std::fs::File;
use std::path::Path;

use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::failure::Failure;

/// Runs `work` in the namespace of that name as `ip netns` keeps it, on a thread of its own; without a name, here.
///
/// # Errors
/// The namespace is missing, or the privilege to enter it; a panic.
pub fn inside<T: Send>(name: Option<&str>, work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    let Some(name) = name else { return Ok(work()) };
    let path = Path::new("/run/netns").join(name);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(&path)
                .map_err(|error| Failure::Local { what: format!("network namespace {name}: {error}") })?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|_| {
                Failure::Privilege { what: format!("entering the network namespace {name} was refused") }
            })?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|_| {
            Err(Failure::Local { what: format!("a thread in the network namespace {name} panicked") })
        })
    })
}
