//! AF_XDP, named as the kernel's `Documentation/networking/af_xdp.rst` names it.
//!
//! | File | Holds | Syscalls |
//! |---|---|---|
//! | `memory` | one mapping and the pages it got | mmap, madvise |
//! | `frame`  | [`Frame`], the token for one chunk; [`FrameBatch`] | none |
//! | `umem`   | [`Umem`]: chunks, the free list | none |
//! | `book`   | who owns each chunk | none |
//! | `ring`   | producer and consumer ends of a ring | none |
//! | `rings`  | the way of a frame round the four rings | none |
//! | `crossing` | free chunks between the sockets of a queue | none |
//! | `setup`  | all that makes a socket, and every way to fail | socket, setsockopt, mmap, bind |
//! | `socket` | [`Socket`]: the hot half, and the wake-ups | sendto, recvfrom |
//!
//! A queue's `rings` split into what belongs to the queue (fill, completion: one owner) and what belongs to each socket
//! (RX, TX), since several sockets may share a queue's UMEM.

mod book;
mod crossing;
mod error;
mod frame;
#[allow(unsafe_code)]
mod memory;
#[allow(unsafe_code)]
mod ring;
mod rings;
mod setup;
mod socket;
mod statistics;
mod umem;

pub use error::XskError;
pub use frame::{Frame, FrameBatch, OutOfChunk, frames_leaked};
pub use memory::Pages;
pub use rings::{Balance, RingUse};
pub use setup::{BindMode, Mode, RingSizes, SocketConfig};
pub use socket::{BusyPoll, Socket};
pub use statistics::{Counters, Statistics};
pub use umem::{Umem, UmemConfig, UmemError, XDP_HEADROOM};
