//! What can go wrong between userspace and the program, each with its remedy in one line.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use aya::EbpfError;
use aya::programs::ProgramError;
use thiserror::Error;

use crate::{LONGEST_FRAME, MAX_LISTENERS, MAX_QUEUES, MAX_WORKERS};

/// Why the program couldn't be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The kernel refuses BPF to this process.
    #[error(
        "no permission to load the XDP program: run as root, or with CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN \
         and CAP_NET_RAW ({operation}: {source})"
    )]
    Privilege {
        /// The operation that was refused.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel knows no BPF, or lacks something the program uses.
    #[error(
        "this kernel can't run the XDP program: Linux 5.11 or newer with CONFIG_BPF_SYSCALL and \
         CONFIG_XDP_SOCKETS is needed, or dataplane.mode: off ({operation}: {source})"
    )]
    Unsupported {
        /// The operation that isn't there.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The verifier read the program and refused it.
    #[error(
        "the kernel's verifier refused the XDP program: {reason}; report it with the kernel's version, \
         and use dataplane.mode: off until then"
    )]
    Refused {
        /// The last thing the verifier said.
        reason: String,
        /// All it said.
        log: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The object isn't one of ours.
    #[error("the XDP object is unusable: {reason}; rebuild it: cargo xtask build-ebpf")]
    Object {
        /// What the parser found.
        reason: String,
    },
    /// The object lacks a program or map, or has it of another kind.
    #[error("the XDP object has no {name}; rebuild it: cargo xtask build-ebpf")]
    Missing {
        /// The name in the object.
        name: &'static str,
    },
    /// A map couldn't be mapped into this process.
    #[error("can't map {name} of the XDP program: {source}")]
    Mapping {
        /// The map.
        name: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// More queues than the program's maps have room for.
    #[error("{queues} queues are more than {MAX_QUEUES}: name the queues to serve in dataplane.queues")]
    TooManyQueues {
        /// The queues asked for.
        queues: u32,
    },
    /// Budgets that can't be kept.
    #[error("policing: {reason}")]
    Budgets {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// The kernel gave no random numbers.
    #[error("no random numbers for the XDP program's secrets: {0}")]
    Random(#[source] io::Error),
    /// No workers, or more than the program's maps have room for.
    #[error("{workers} workers: the XDP program serves 1 to {MAX_WORKERS}, see dataplane.workers")]
    Workers {
        /// The workers asked for.
        workers: u32,
    },
    /// Another answer of the kernel.
    #[error("loading the XDP program failed: {operation}: {source}")]
    Kernel {
        /// The operation that failed.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl LoadError {
    /// Sorts aya's error by what the operator can do about it.
    pub(super) fn from_aya(error: EbpfError) -> Self {
        let operation = match &error {
            EbpfError::MapError(_) => "creating maps",
            EbpfError::ProgramError(_) => "loading code",
            _ => "reading the object",
        };
        let Some(number) = os_error(&error) else { return Self::Object { reason: error.to_string() } };
        let source = io::Error::from_raw_os_error(number);
        if let EbpfError::ProgramError(ProgramError::LoadError { verifier_log, .. }) = &error {
            // A refusal comes with the verifier's words, even as EPERM or EINVAL.
            let log = verifier_log.to_string();
            if let Some(reason) = last_words(&log) {
                // What the verifier allows with CAP_PERFMON alone, it calls prohibited for !root.
                if reason.contains("!root") {
                    return Self::Privilege { operation: "verifying code without CAP_PERFMON", source };
                }
                return Self::Refused { reason: reason.to_owned(), log, source };
            }
        }
        match number {
            libc::EPERM | libc::EACCES => Self::Privilege { operation, source },
            libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP => Self::Unsupported { operation, source },
            _ => Self::Kernel { operation, source },
        }
    }
}

/// The reason in a verifier's log: its last line before the statistics.
fn last_words(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 3] = ["processed ", "verification time", "stack depth"];
    let mut lines = log.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty() && !STATISTICS.iter().any(|words| line.starts_with(words)))
}

/// Who is on the interface already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupant {
    /// The program's number, as `bpftool prog` shows it.
    pub id: Option<u32>,
    /// The program's name; reading it needs CAP_SYS_ADMIN.
    pub name: Option<String>,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.name) {
            (Some(id), Some(name)) => write!(f, "{name} (id {id})"),
            (Some(id), None) => write!(f, "id {id}"),
            (None, _) => f.write_str("of unknown id"),
        }
    }
}

/// Why the program couldn't be attached; the interface is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Somebody else's XDP program is there. It is never replaced.
    #[error(
        "interface {ifindex} already has an XDP program, {occupant}: stop its owner, or take it off with \
         `ip link set dev IF xdp off`"
    )]
    Busy {
        /// The interface.
        ifindex: u32,
        /// The program that is there.
        occupant: Occupant,
    },
    /// This program is attached already; one [`Program`](super::Program) serves one interface.
    #[error("the XDP program is attached already: detach it first")]
    Attached,
    /// The driver has no XDP of its own.
    #[error("the driver of interface {ifindex} has no native XDP: use generic mode")]
    NoNative {
        /// The interface.
        ifindex: u32,
    },
    /// What another process gave as its link is none, or is on another interface.
    #[error("what was given is no XDP link on interface {ifindex}")]
    NotItsLink {
        /// The interface.
        ifindex: u32,
    },
    /// The kernel refuses to attach for this process.
    #[error("no permission to attach the XDP program: run as root, or with CAP_BPF and CAP_NET_ADMIN")]
    Privilege,
    /// No such interface in this network namespace.
    #[error(
        "no interface {ifindex} in this network namespace: see `ip link`, and dataplane.netns when it \
         lives in another"
    )]
    NoInterface {
        /// The interface.
        ifindex: u32,
    },
    /// Another answer of the kernel or the driver.
    #[error(
        "attaching the XDP program to interface {ifindex} failed: {source}; `dmesg` may know more (a \
         usual reason in native mode is an MTU above 3,500: lower it, or use generic mode, where frames above \
         {LONGEST_FRAME} bytes go to the kernel's socket)"
    )]
    Kernel {
        /// The interface.
        ifindex: u32,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Why a map of the running program couldn't be read or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapError {
    /// The queue is none of those the program was loaded for.
    #[error("queue {queue} is none of the {queues} that the XDP program was loaded for")]
    NoSuchQueue {
        /// The queue asked for.
        queue: u32,
        /// The queues there are.
        queues: u32,
    },
    /// The worker is none of those that the program was loaded for.
    #[error("worker {worker} is none of the {workers} that the XDP program was loaded for")]
    NoSuchWorker {
        /// The worker asked for.
        worker: u32,
        /// The workers there are.
        workers: u32,
    },
    /// Too many listeners share one set of their table.
    #[error(
        "more than {limit} listening addresses fall into one set of the XDP program's table: leave one out"
    )]
    ListenersCollide {
        /// The room there is.
        limit: usize,
    },
    /// The trie of prefixes is full.
    #[error("more than {limit} networks that are trusted or banned")]
    TooManyPrefixes {
        /// The room there is.
        limit: u32,
    },
    /// Who is trusted isn't banned.
    #[error("a trusted network isn't banned: take it from the trusted ones first")]
    Trusted,
    /// The program was loaded without bans.
    #[error("the XDP program was loaded without bans: see policing.bans")]
    NoBans,
    /// OPTIONS pings can't be answered by the program as they are to be.
    #[error("policing.answer_options: {reason}")]
    Pings {
        /// What is too much.
        reason: &'static str,
    },
    /// The map of listeners is full.
    #[error("more than {limit} listening addresses: {MAX_LISTENERS} can be steered")]
    TooManyListeners {
        /// The room there is.
        limit: u32,
    },
    /// A wildcard can't be looked up by a packet's destination.
    #[error("{listener} is a wildcard: name each address to steer in sip.listen")]
    Unspecified {
        /// The listener asked for.
        listener: SocketAddr,
    },
    /// The descriptor isn't an AF_XDP socket.
    #[error("the descriptor for queue {queue} is no AF_XDP socket")]
    NotAnXdpSocket {
        /// The queue asked for.
        queue: u32,
    },
    /// Another answer of the kernel.
    #[error("map {map} of the XDP program: {source}")]
    Kernel {
        /// The map.
        map: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl MapError {
    pub(super) fn kernel(map: &'static str, error: aya::maps::MapError) -> Self {
        let source = match os_error(&error) {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other(error),
        };
        Self::Kernel { map, source }
    }
}

/// The kernel's answer at the bottom of `error`, however deeply it is wrapped.
pub(super) fn os_error(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_occupant_is_shown_by_what_is_known_of_it() {
        let occupant = |id, name: Option<&str>| Occupant { id, name: name.map(str::to_owned) }.to_string();
        assert_eq!(occupant(Some(7), Some("firewall")), "firewall (id 7)");
        assert_eq!(occupant(Some(7), None), "id 7");
        assert_eq!(occupant(None, None), "of unknown id");
    }

    #[test]
    fn a_refusals_reason_stands_before_the_statistics() {
        let log = "0: R1=ctx()\ninvalid access to packet, off=0 size=1\nverification time 7 usec\n\
                   stack depth 0\nprocessed 3 insns (limit 1000000)\n";
        assert_eq!(last_words(log), Some("invalid access to packet, off=0 size=1"));
        assert_eq!(last_words("\n"), None);
    }

    #[test]
    fn the_kernels_answer_is_found_at_the_bottom() {
        let error = aya::maps::MapError::CreateError {
            name: "LISTENERS".to_owned(),
            io_error: io::Error::from_raw_os_error(libc::EPERM),
        };
        assert!(matches!(LoadError::from_aya(error.into()), LoadError::Privilege { .. }));
    }
}
