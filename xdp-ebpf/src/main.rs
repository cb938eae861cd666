//! The XDP program: which packets of the interface are our SIP, and to whom they go.
//!
//! Runs in the kernel for every packet, in the driver (native) or before the network stack (generic).
//! Its only answers are REDIRECT, to an AF_XDP socket of the packet's receive queue, and PASS, to the
//! kernel as if the program weren't there. It changes no byte and drops nothing: whatever is unusual,
//! the kernel's own UDP socket on the same address and port can serve.
//!
//! The way of a packet, each step with its own way out ([`Exit`]):
//!
//! 1. decode: Ethernet, up to two VLAN tags, IPv4 or IPv6, UDP (`strowger_wire::decode`, which the worker
//!    applies to the same bytes again);
//! 2. is destination and port a listener of ours?
//! 3. does it fit into a chunk of the socket? The kernel would drop it after the redirect;
//! 4. whose is it? The worker's that the hash of the Call-ID names (`strowger_wire::steer`); with one worker, or
//!    when flows are steered, the queue's, and no byte of SIP is read;
//! 5. does this worker live?
//! 6. redirect to its socket on this queue, with PASS for an empty slot.
//!
//! What may refuse a packet of ours belongs between 3 and 4.
//!
//! The whole packet lies between `data` and `data_end`. One in several buffers never comes here: the program
//! isn't `xdp.frags`, so drivers refuse it at an MTU for which they need them, and generic XDP makes the packet
//! one piece first. If one came nevertheless, its IP length would not fit into the first buffer: PASS.
//!
//! Built by `cargo xtask build-ebpf` for bpfel-unknown-none, and committed as `object/strowger-xdp.o`.
#![no_std]
#![no_main]
// For the one instruction in `frame`; the object is built with the compiler's unstable features on, as the target
// wants it anyway.
#![feature(asm_experimental_arch)]
// The entry point is exported by a function that the macro writes, without words of its own.
#![allow(missing_docs, unreachable_pub)]

#[path = "program/frame.rs"]
mod frame;
#[path = "program/maps.rs"]
mod maps;

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action::{XDP_PASS, XDP_REDIRECT};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use strowger_wire::steer::{self, SteeringKey};
use strowger_wire::{Datagram, Load as _, Reject, decode};
use strowger_xdp::{Counter, LONGEST_FRAME, ListenerKey, MAX_QUEUES, worker_of_queue};

use crate::frame::Frame;
use crate::maps::Liveness;

// Named by `strowger_xdp::constant`.
#[unsafe(no_mangle)]
static WORKERS: Global<u32> = Global::new(1);
#[unsafe(no_mangle)]
static BY_CALL_ID: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static STEERING_KEY: Global<[u64; 2]> = Global::new([0; 2]);

/// Every way for a packet not to be redirected.
enum Exit {
    Undecodable(Reject),
    NotListener,
    TooLong,
    QueueUnknown,
    NoCallId,
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
        Err(Exit::NoCallId) => (XDP_PASS, Counter::PassNoCallId),
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
    if queue >= MAX_QUEUES {
        return Err(Exit::QueueUnknown);
    }
    let worker = worker(&frame, &datagram, queue)?;
    match maps::liveness(worker) {
        Liveness::Alive => {}
        Liveness::Stale => return Err(Exit::StaleHeartbeat),
        Liveness::NeverBeat => return Err(Exit::NoHeartbeat),
    }
    // The slot of a socket that was closed is empty again, so this is not only a matter of start-up.
    if maps::redirect(queue, worker) { Ok(()) } else { Err(Exit::NoSocket) }
}

/// The worker that the message belongs to.
#[inline(always)]
fn worker(frame: &Frame<'_>, datagram: &Datagram, queue: u32) -> Result<u32, Exit> {
    let workers = WORKERS.load();
    if BY_CALL_ID.load() == 0 || workers <= 1 {
        return Ok(worker_of_queue(queue, workers));
    }
    let key = SteeringKey::from_words(STEERING_KEY.load());
    let hash = steer::scan(&key, frame, datagram.payload, datagram.payload_len).ok_or(Exit::NoCallId)?;
    Ok(steer::worker_of(hash, workers))
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
