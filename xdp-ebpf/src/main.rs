//! The XDP program: which packets of the interface are our SIP, and to whom they go.
//!
//! Runs in the kernel for every packet, in the driver (native) or before the network stack (generic).
//! Its only answers are REDIRECT, to the AF_XDP socket of the packet's receive queue, and PASS, to the
//! kernel as if the program weren't there. It changes no byte and drops nothing: whatever is unusual,
//! the kernel's own UDP socket on the same address and port can serve.
//!
//! The way of a packet, each step with its own way out ([`Exit`]):
//!
//! 1. decode: Ethernet, up to two VLAN tags, IPv4 or IPv6, UDP (`strowger_wire::decode`, which the worker
//!    applies to the same bytes again);
//! 2. is destination and port a listener of ours?
//! 3. does it fit into a chunk of the socket? The kernel would drop it after the redirect;
//! 4. does the worker of this queue live?
//! 5. redirect, with PASS for an empty slot.
//!
//! What may refuse a packet of ours belongs between 3 and 4; what chooses among several sockets of one
//! queue belongs between 4 and 5.
//!
//! The whole packet lies between `data` and `data_end`. One in several buffers never comes here: the program
//! isn't `xdp.frags`, so drivers refuse it at an MTU for which they need them, and generic XDP makes the packet
//! one piece first. If one came nevertheless, its IP length would not fit into the first buffer: PASS.
//!
//! Built by `cargo xtask build-ebpf` for bpfel-unknown-none, and committed as `object/strowger-xdp.o`.
#![no_std]
#![no_main]
// The entry point is exported by a function that the macro writes, without words of its own.
#![allow(missing_docs, unreachable_pub)]

#[path = "program/frame.rs"]
mod frame;
#[path = "program/maps.rs"]
mod maps;

use aya_ebpf::bindings::xdp_action::{XDP_PASS, XDP_REDIRECT};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use strowger_wire::{Load as _, Reject, decode};
use strowger_xdp::{Counter, LONGEST_FRAME, ListenerKey};

use crate::frame::Frame;
use crate::maps::Liveness;

/// Every way for a packet not to be redirected.
enum Exit {
    Undecodable(Reject),
    NotListener,
    TooLong,
    QueueUnknown,
    NoHeartbeat,
    StaleHeartbeat,
    NoSocket,
}

/// The entry point; the name is what `bpftool prog` and `ip link` show.
#[xdp]
pub fn strowger(ctx: XdpContext) -> u32 {
    let queue = ctx.rx_queue_index();
    let (action, counter) = match try_steer(&ctx, queue) {
        Ok(()) => (XDP_REDIRECT, Counter::Redirect),
        Err(Exit::Undecodable(reject)) => (XDP_PASS, Counter::from(reject)),
        Err(Exit::NotListener) => (XDP_PASS, Counter::PassNotListener),
        Err(Exit::TooLong) => (XDP_PASS, Counter::PassTooLong),
        Err(Exit::QueueUnknown) => (XDP_PASS, Counter::PassQueueUnknown),
        Err(Exit::NoHeartbeat) => (XDP_PASS, Counter::PassNoHeartbeat),
        Err(Exit::StaleHeartbeat) => (XDP_PASS, Counter::PassStaleHeartbeat),
        Err(Exit::NoSocket) => (XDP_PASS, Counter::PassNoSocket),
    };
    maps::count(counter);
    // The level is a constant that the loader sets; unless it asks for debug, the verifier removes this.
    // Names can't be logged (a table of strings needs relocations); the loader knows them by number.
    debug!(&ctx, "queue {} counter {}", queue, counter as u32);
    action
}

#[inline(always)]
fn try_steer(ctx: &XdpContext, queue: u32) -> Result<(), Exit> {
    let frame = Frame::of(ctx);
    let datagram = decode(&frame).map_err(Exit::Undecodable)?;
    if !maps::is_listener(&ListenerKey::new(datagram.version, &datagram.dst)) {
        return Err(Exit::NotListener);
    }
    if frame.holds(LONGEST_FRAME + 1) {
        return Err(Exit::TooLong);
    }
    match maps::liveness(queue) {
        Liveness::Alive => {}
        Liveness::Stale => return Err(Exit::StaleHeartbeat),
        Liveness::NeverBeat => return Err(Exit::NoHeartbeat),
        Liveness::QueueUnknown => return Err(Exit::QueueUnknown),
    }
    // The slot of a socket that was closed is empty again, so this is not only a matter of start-up.
    if maps::redirect(queue) { Ok(()) } else { Err(Exit::NoSocket) }
}

/// Unreachable: were there a way here, the verifier would refuse the endless loop.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets only GPL-compatible programs use some helpers; the project's own licence stands in
/// LICENSE-APACHE and LICENSE-MIT.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
