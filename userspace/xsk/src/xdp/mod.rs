//! AF_XDP, named as the kernel's `Documentation/networking/af_xdp.rst` names it.
//!
//! | File | Holds | Syscalls |
//! |---|---|---|
//! | `memory` | one mapping and the pages it got | mmap, madvise |
//! | `frame`  | [`Frame`], the token for one chunk; [`FrameBatch`] | none |
//! | `umem`   | [`Umem`]: chunks, who owns each, the free list | none |
//! | `ring`   | producer and consumer ends of a ring | none |
//! | `rings`  | the way of a frame round the four rings | none |
//! | `socket` | [`Socket`]: open, bind, wake | all the rest |
//!
//! A queue's `rings` split into what belongs to the queue (UMEM, fill, completion) and what belongs to one socket
//! (RX, TX), since several sockets may share a queue's UMEM.

mod error;
mod frame;
#[allow(unsafe_code)]
mod memory;
#[allow(unsafe_code)]
mod ring;
mod rings;
mod socket;
mod statistics;
mod umem;

pub use error::XskError;
pub use frame::{Frame, FrameBatch, OutOfChunk, frames_leaked};
pub use memory::Pages;
pub use rings::{Balance, RingUse};
pub use socket::{BindMode, Mode, RingSizes, Socket, SocketConfig};
pub use statistics::{Counters, Statistics};
pub use umem::{Umem, UmemConfig, UmemError, XDP_HEADROOM};
