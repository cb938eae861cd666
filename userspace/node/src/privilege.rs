//! Which capabilities a configuration needs, and which are missing.
//!
//! Asked before anything is opened, so that the message names what to grant and nothing is left half attached.

use rustix::thread::{CapabilitySet, capabilities};

use crate::config::{Config, Mode};
use crate::fault::Fault;

/// A capability, its name, and what it is for here.
type Need = (CapabilitySet, &'static str, &'static str);

/// What `config` needs.
pub(crate) fn needs(config: &Config) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    if config.dataplane.mode != Mode::Off {
        needs.push((CapabilitySet::BPF, "CAP_BPF", "loading the XDP program"));
        // Without it the verifier refuses packet offsets that are not constants.
        needs.push((CapabilitySet::PERFMON, "CAP_PERFMON", "verifying it"));
        needs.push((CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "attaching it to the interface"));
        needs.push((CapabilitySet::NET_RAW, "CAP_NET_RAW", "AF_XDP sockets"));
    }
    if config.dataplane.netns.is_some() {
        needs.push((CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "entering dataplane.netns"));
    }
    if config.sip.listen.iter().any(|a| a.port() < 1024) {
        needs.push((CapabilitySet::NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE", "ports below 1024"));
    }
    needs
}

/// Those of `needs` that this process does not have now.
pub(crate) fn missing(needs: &[Need]) -> Vec<Need> {
    // Nothing to say when the kernel won't tell: the attempt itself will.
    let Ok(sets) = capabilities(None) else { return Vec::new() };
    needs.iter().copied().filter(|(set, ..)| !sets.effective.contains(*set)).collect()
}

/// A fault that names every missing capability.
pub(crate) fn check(config: &Config) -> Result<(), Fault> {
    let missing = missing(&needs(config));
    if missing.is_empty() {
        return Ok(());
    }
    let what = missing.iter().map(|(.., what)| *what).collect::<Vec<_>>().join(", ");
    let names = missing.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(" ");
    Err(Fault::Privilege { what, missing: names })
}
