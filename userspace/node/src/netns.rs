//! Entering the network namespace of the data plane.
//!
//! A namespace is entered by a thread, and threads it starts inherit it; the rest of the process stays outside. So
//! everything of the data plane is started by one thread that came through [`enter`].

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::fault::Fault;

/// Where `ip netns add` keeps its namespaces.
const NETNS_DIR: &str = "/run/netns";

/// The file of a namespace given by name, or by absolute path.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Moves the calling thread into the namespace; `None` leaves it where it is.
pub(crate) fn enter(name: Option<&str>) -> Result<(), Fault> {
    let Some(name) = name else { return Ok(()) };
    let path = path(name);
    let file = File::open(&path).map_err(|error| Fault::NoNetns { path: path.clone(), error })?;
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).map_err(
        |errno| match errno {
            rustix::io::Errno::PERM => Fault::Privilege {
                what: format!("entering the namespace {}", path.display()),
                missing: "CAP_SYS_ADMIN".to_owned(),
            },
            _ => Fault::NoNetns { path, error: errno.into() },
        },
    )
}

/// Runs `work` on a thread of its own inside the namespace and waits for it. Threads that `work` starts stay inside.
pub(crate) fn inside<T: Send + 'static>(
    name: Option<&str>,
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let name = name.map(str::to_owned);
    std::thread::Builder::new()
        .name("dataplane".to_owned())
        .spawn(move || {
            enter(name.as_deref())?;
            work()
        })
        .map_err(|e| Fault::Other(format!("cannot start a thread: {e}")))?
        .join()
        .unwrap_or_else(|_| Err(Fault::Other("the data plane's start panicked; see the log".to_owned())))
}

/// How messages call the place: "namespace `x`" or "this network namespace".
pub(crate) fn place(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("network namespace `{name}`"),
        None => "this network namespace".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        assert_eq!(path("blue"), Path::new("/run/netns/blue"));
        assert_eq!(path("/proc/1/ns/net"), Path::new("/proc/1/ns/net"));
    }

    #[test]
    fn what_is_not_there_is_a_fault_with_its_code() {
        let fault = inside(Some("strowger-no-such-netns"), || Ok(())).expect_err("not there");
        assert_eq!(fault.code(), 5);
        assert!(fault.to_string().contains("dataplane.netns"), "{fault}");
    }

    #[test]
    fn none_stays() {
        assert!(inside(None, || Ok(7)).is_ok_and(|n| n == 7));
    }
}
