//! Why the node could not start or stopped: one line with the fix, and an exit code for each kind.
//!
//! The codes are part of the interface (`strowger --help` lists them); scripts and systemd units rely on them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::ConfigError;

/// Everything that ends a subcommand early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A privilege is missing.
    #[error(
        "not enough privilege: {what} needs {missing}; run as root, or grant it as deploy/strowger.service does"
    )]
    Privilege {
        /// What was tried.
        what: String,
        /// The capabilities that would do.
        missing: String,
    },
    /// The device is not there.
    #[error("dataplane.interface: no device `{interface}` in {place}; `ip -br link` lists what is there")]
    NoInterface {
        /// Its name.
        interface: String,
        /// The namespace searched.
        place: String,
    },
    /// The device is down.
    #[error("dataplane.interface: `{interface}` is down; `ip link set {interface} up`")]
    InterfaceDown {
        /// Its name.
        interface: String,
    },
    /// A worker cannot be where it is wanted.
    #[error("dataplane.cpus: {cpu} is not a CPU this process may use; it may use {allowed:?}")]
    Cpu {
        /// The CPU asked for.
        cpu: usize,
        /// Those that would do.
        allowed: Vec<usize>,
    },
    /// The network namespace is not there.
    #[error("dataplane.netns: {}: {error}; `ip netns list` lists what is there, `ip netns add NAME` makes one", path.display())]
    NoNetns {
        /// Its file.
        path: PathBuf,
        /// Why it can't be entered.
        error: io::Error,
    },
    /// A listen address can't be had.
    #[error("sip.listen: {address}: {problem}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why, and what to do.
        problem: String,
    },
    /// The status socket can't be had.
    #[error("node.socket: {}: {problem}", path.display())]
    StatusSocket {
        /// Its path.
        path: PathBuf,
        /// Why, and what to do.
        problem: String,
    },
    /// The driver lacks what the mode needs.
    #[error("{0}")]
    Unsupported(String),
    /// The kernel lacks what every mode but `off` needs.
    #[error("{0}")]
    Kernel(String),
    /// Another AF_XDP socket has the queue.
    #[error("{0}")]
    QueueBusy(String),
    /// Another XDP program sits on the device.
    #[error("{0}")]
    XdpBusy(String),
    /// No node answers.
    #[error("no node answers at {}: {error}; is `strowger run` up, and are you its owner?", path.display())]
    NotRunning {
        /// The status socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no node whose place could be taken.
    #[error(
        "--replace: no node answers at {}: {error}; where none runs, start this one without --replace",
        path.display()
    )]
    NoPredecessor {
        /// The status socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The node that runs is not replaced; it serves on.
    #[error("--replace: {}: {why}", path.display())]
    Replace {
        /// Its status socket.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// The machine is not fit; `doctor` has printed why.
    #[error("{0}")]
    Unfit(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Fault {
    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Fault::Other(_) | Fault::NotRunning { .. } => 1,
            Fault::Config(_) | Fault::Cpu { .. } => 3,
            Fault::Privilege { .. } => 4,
            Fault::NoInterface { .. } | Fault::InterfaceDown { .. } | Fault::NoNetns { .. } => 5,
            Fault::Listen { .. } | Fault::StatusSocket { .. } => 6,
            Fault::Unsupported(_) => 7,
            Fault::XdpBusy(_) | Fault::QueueBusy(_) => 8,
            Fault::Unfit(_) => 9,
            Fault::Kernel(_) => 10,
            Fault::NoPredecessor { .. } | Fault::Replace { .. } => 11,
        }
    }

    /// Prints the one line and gives the code to exit with.
    pub(crate) fn report(&self) -> ExitCode {
        // One line even where a library's message has several.
        let text = self.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        eprintln!("strowger: {text}");
        ExitCode::from(self.code())
    }
}

/// What `--help` says about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed for a reason that has no code of its own
  2  the command line is wrong
  3  the configuration is wrong
  4  a privilege is missing
  5  the interface or network namespace is not there or is down
  6  a listen address or the status socket can't be had
  7  the driver lacks what dataplane.mode wants
  8  another XDP program or AF_XDP socket has the interface
  9  doctor found something that would stop the node
 10  the kernel lacks XDP or AF_XDP sockets
 11  there is no node that --replace could replace, or it was not replaced and serves on";
