//! The settings of a NIC, and those of the machine around it, that decide how fast the data plane is: read, judged against
//! what the node wants, and written.
//!
//! `cargo xtask nic` shows and changes them, `strowger doctor` names those that are not as they should be; both judge by
//! [`plan`], so they say the same. Nothing here runs while messages flow, and nothing here remembers: who changes
//! settings keeps what they were.
//!
//! What the driver decides is asked and told through the program `ethtool`. It speaks both of the kernel's interfaces, the
//! old one by ioctl and the new one by netlink, of which each setting has another; every step can be shown as the command
//! that an engineer would type, and typed by him; and it is packaged everywhere. The rest are files of /proc and /sys.
#![forbid(unsafe_code)]

mod ethtool;
mod knob;
mod plan;
mod reading;

pub use knob::{Knob, Refusal, Roots, Step};
pub use plan::{Line, Verdict, Wishes, plan};
pub use reading::{Reading, Readings};

/// Bytes of frame memory that each queue takes; the node's frames are counted in the same number.
pub const QUEUE_MEMORY: u64 = 16 << 20;
/// Entries of each of the node's rings. A NIC's ring that is longer would hold frames that the node then lacks.
pub const RING: u32 = 2048;
/// Queues that the node serves at most.
pub const MAX_QUEUES: u32 = 64;
