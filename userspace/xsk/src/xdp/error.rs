//! Why an AF_XDP socket could not be opened: one variant for each thing an operator does about it.

use std::io;

use super::umem::UmemError;

/// Why there is no AF_XDP socket on a queue.
#[derive(Debug, thiserror::Error)]
pub enum XskError {
    /// The kernel was built without `CONFIG_XDP_SOCKETS`, or is older than 5.4 (no need-wakeup).
    #[error("this kernel has no AF_XDP sockets with need-wakeup (Linux 5.4, CONFIG_XDP_SOCKETS)")]
    Unsupported,
    /// `CAP_NET_RAW` is missing.
    #[error("no permission for AF_XDP sockets: CAP_NET_RAW is needed")]
    Privilege,
    /// The packet memory is more than may be locked.
    #[error(
        "{bytes} bytes of packet memory are more than may be locked: raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK"
    )]
    MemoryLock {
        /// Bytes wanted.
        bytes: u64,
    },
    /// No interface with this index in this network namespace.
    #[error("no interface with index {ifindex} in this network namespace")]
    NoInterface {
        /// The index asked for.
        ifindex: u32,
    },
    /// The interface is down.
    #[error("interface {ifindex} is down")]
    Down {
        /// The interface's index.
        ifindex: u32,
    },
    /// Another AF_XDP socket has the queue, still after all retries.
    #[error("queue {queue} of interface {ifindex} is taken by another AF_XDP socket ({tries} tries)")]
    Busy {
        /// The interface's index.
        ifindex: u32,
        /// The queue asked for.
        queue: u32,
        /// How often it was tried.
        tries: u32,
    },
    /// Zero copy was demanded, and the driver refused it.
    #[error("queue {queue} of interface {ifindex}: the driver refuses zero copy: {reason}")]
    NoZeroCopy {
        /// The interface's index.
        ifindex: u32,
        /// The queue asked for.
        queue: u32,
        /// What the kernel said.
        reason: io::Error,
    },
    /// The kernel refused the queue in copy mode too; mostly the interface has no such queue.
    #[error("queue {queue} of interface {ifindex} can't be bound (is there such a queue?): {source}")]
    Bind {
        /// The interface's index.
        ifindex: u32,
        /// The queue asked for.
        queue: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// A ring without slots, or with more than 2^20.
    #[error("{ring} ring of {size} descriptors: must be 1 to 1048576")]
    RingSize {
        /// Which ring.
        ring: &'static str,
        /// Descriptors asked for.
        size: u32,
    },
    /// The UMEM could not be made.
    #[error(transparent)]
    Umem(#[from] UmemError),
    /// A system call failed in a way that has no name here.
    #[error("AF_XDP: {step}: {source}")]
    Kernel {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}
