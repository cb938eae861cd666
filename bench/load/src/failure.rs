//! What can go wrong, each with its remedy and its exit code.

use std::net::SocketAddr;

use crate::scenario::ScenarioError;

/// Why a run could not be made, or is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Options that contradict each other.
    #[error("{what}")]
    Usage {
        /// Which, and how.
        what: String,
    },
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// No answer at all.
    #[error("{target} does not answer: no response to OPTIONS within {seconds} s")]
    Silent {
        /// Who.
        target: SocketAddr,
        /// How long it was waited for.
        seconds: u64,
    },
    /// An ICMP error said that nobody listens there.
    #[error("nobody listens at {target}: the port is closed")]
    Refused {
        /// Where.
        target: SocketAddr,
    },
    /// Something answers that is no SIP server.
    #[error("what answers at {target} is no SIP server: {what}")]
    WrongPeer {
        /// Where.
        target: SocketAddr,
        /// What came instead of a response.
        what: String,
    },
    /// No way there.
    #[error("{target} cannot be reached from {local}: {error}")]
    Unreachable {
        /// Where.
        target: SocketAddr,
        /// From where.
        local: SocketAddr,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The users could not be made ready.
    #[error("{failed} of {users} users could not be prepared ({why})")]
    Unprepared {
        /// How many.
        failed: u64,
        /// Of how many.
        users: u64,
        /// The most frequent reason.
        why: String,
    },
    /// A capability is missing.
    #[error("{what}")]
    Privilege {
        /// For what.
        what: String,
    },
    /// An address, interface or file of this machine.
    #[error("{what}")]
    Local {
        /// Which, and why.
        what: String,
    },
    /// The run was made, and calls failed.
    #[error("{failed} of {begun} failed")]
    Failed {
        /// How many.
        failed: u64,
        /// Of how many.
        begun: u64,
    },
    /// The run was made, and measures the generator.
    #[error("the generator, not the proxy, was the limit: {why}")]
    Limited {
        /// The signs.
        why: String,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// The exit code, as `--help` lists them.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Failure::Failed { .. } => 1,
            Failure::Usage { .. } | Failure::Scenario(_) => 2,
            Failure::Silent { .. }
            | Failure::Refused { .. }
            | Failure::WrongPeer { .. }
            | Failure::Unreachable { .. }
            | Failure::Unprepared { .. } => 3,
            Failure::Privilege { .. } => 4,
            Failure::Limited { .. } => 5,
            Failure::Local { .. } => 6,
            Failure::Interrupted => 130,
        }
    }

    /// What to do about it; empty when there is nothing to say.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Failure::Usage { .. } | Failure::Interrupted => "",
            Failure::Scenario(_) => {
                "`strowger-load list` shows what is built in, `strowger-load show call` a file to begin from"
            }
            Failure::Silent { .. } => {
                "is the proxy running, does it listen on that address, is a firewall between? A proxy that ignores \
                 OPTIONS is driven with --no-knock"
            }
            Failure::Refused { .. } => "start the proxy, or give the address and port that it listens on",
            Failure::WrongPeer { .. } => "give the proxy's SIP port over UDP",
            Failure::Unreachable { .. } => {
                "check --target and --local (`ip route get ADDRESS`), and --netns when the proxy is in a laboratory"
            }
            Failure::Unprepared { .. } => {
                "does the proxy serve --domain, and know the users and passwords (`strowger-load users`)? --rate does \
                 not matter yet"
            }
            Failure::Privilege { .. } => {
                "run as root, or with CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_SYS_ADMIN; without --xdp and --netns none \
                 is needed"
            }
            Failure::Local { .. } => {
                "check --local, --port, --xdp and --netns, and the paths of --json and --hgrm"
            }
            Failure::Failed { .. } => {
                "the table says why; a lower --rate, or `strowger-load search`, finds what the proxy can do"
            }
            Failure::Limited { .. } => {
                "lower --rate; or more --threads, --xdp, --places, a quieter machine, larger net.core.rmem_max: figures of \
                 this run are not the proxy's"
            }
        }
    }
}
