//! The XDP program: which packets of the interface are our SIP, and to whom they go.
//!
//! Runs in the kernel for every packet, in the driver (native) or before the network stack (generic).
//! Its answers are REDIRECT, to an AF_XDP socket of the packet's receive queue, and PASS, to the kernel as if the program
//! weren't there: whatever is unusual, the kernel's own UDP socket on the same address and port can serve. It changes
//! no byte and drops nothing but what policing was told to drop, and what it was told to answer.
//!
//! The way of a packet, each step with its own way out ([`Exit`]):
//!
//! 1. decode: Ethernet, up to two VLAN tags, IPv4 or IPv6, UDP, a port that a listener has
//!    (`strowger_wire::decode_for`; the worker decodes the same bytes again);
//! 2. is destination and port a listener of ours?
//! 3. does it come from an address that one host can have? The kernel knows what it does with those that don't;
//! 4. does policing let it through (`police`)? Then: does it fit into a chunk of the socket? The kernel would drop it
//!    after the redirect. STUN may be answered here (`answer`);
//! 5. whose is it? The worker's that the hash of the Call-ID names (`strowger_wire::steer`); with one worker, or
//!    when flows are steered, the queue's, and no byte of SIP is read;
//! 6. does this worker live?
//! 7. is it a peer's OPTIONS ping, and would the worker answer it with a 200? Then that is done here (`ping`);
//! 8. redirect to its socket on this queue, with PASS for an empty slot.
//!
//! What isn't plainly a datagram (1) and yet may be one to the kernel is policed by its source on the way there.
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

#[path = "program/answer.rs"]
mod answer;
#[path = "program/frame.rs"]
mod frame;
#[path = "program/maps.rs"]
mod maps;
#[path = "program/ping.rs"]
mod ping;
#[path = "program/police.rs"]
mod police;

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use strowger_wire::steer::{self, SteeringKey};
use strowger_wire::{Datagram, Endpoint, Envelope, Load as _, decode_for, envelope};
use strowger_xdp::{Action, Counter, LONGEST_FRAME, ListenerKey, MAX_QUEUES, worker_of_queue};

use crate::frame::Frame;
use crate::maps::Liveness;
use crate::police::Admitted;

// Named by `strowger_xdp::constant`.
#[unsafe(no_mangle)]
static WORKERS: Global<u32> = Global::new(1);
#[unsafe(no_mangle)]
static BY_CALL_ID: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static STEERING_KEY: Global<[u64; 2]> = Global::new([0; 2]);
#[unsafe(no_mangle)]
static ANSWER_OPTIONS: Global<u32> = Global::new(0);

/// The entry point; the name is what `bpftool prog` and `ip link` show.
#[xdp]
pub fn strowger(ctx: XdpContext) -> u32 {
    let (Ok(counter) | Err(counter)) = judge(&ctx);
    maps::count(counter);
    // The level is a constant that the loader sets; unless it asks for debug, the verifier removes this.
    // Names can't be logged (a table of strings needs relocations); the loader knows them by number.
    debug!(&ctx, "queue {} counter {}", ctx.rx_queue_index(), counter as u32);
    match counter.action() {
        Action::Redirect => XDP_REDIRECT,
        Action::Transmit => XDP_TX,
        Action::Drop => XDP_DROP,
        Action::Pass => XDP_PASS,
    }
}

/// The counter of the way by which the packet leaves; an `Err` is one before the end.
#[inline(always)]
fn judge(ctx: &XdpContext) -> Result<Counter, Counter> {
    let frame = Frame::of(ctx);
    let datagram = match decode_for(&frame, maps::may_listen) {
        Ok(datagram) => datagram,
        Err(reject) if !reject.may_be_served() => return Err(Counter::from(reject)),
        Err(reject) => {
            if police::knows_sources()
                && let Some(refusal) = refusal(ctx.ctx)
            {
                return Err(refusal);
            }
            return Err(Counter::from(reject));
        }
    };
    let listener = ListenerKey::new(datagram.version, &datagram.dst);
    if !maps::is_listener(&listener) {
        return Err(Counter::PassNotListener);
    }
    if !datagram.is_from_one_host() {
        return Err(Counter::PassMartian);
    }
    let admitted = police::admit(&frame, &datagram)?;
    if frame.holds(LONGEST_FRAME + 1) {
        return Err(Counter::PassTooLong);
    }
    let queue = ctx.rx_queue_index();
    if queue >= MAX_QUEUES {
        return Err(Counter::PassQueueUnknown);
    }
    // A phone asks by STUN whether its flow still reaches a server (RFC 5626, 4.4.2): for one that is stuck nobody answers.
    if matches!(admitted, Admitted::Stun)
        && matches!(maps::liveness(worker_of_queue(queue, WORKERS.load())), Liveness::Alive)
        && answer::stun(ctx, &frame, &datagram)
    {
        return Ok(Counter::AnswerStun);
    }
    let worker = worker(ctx, &datagram, queue)?;
    beats(worker)?;
    // Without its owner a queue gets no frames, whoever is to have the message.
    let owner = worker_of_queue(queue, WORKERS.load());
    if owner != worker {
        beats(owner)?;
    }
    // Nobody is to be told that a node is there which would not say so itself.
    if ANSWER_OPTIONS.load() != 0
        && let Some(asked) = ping::may_be(&frame, &datagram)
        && maps::is_ready(worker)
        && ping::answer(ctx.ctx, &asked)
    {
        return Ok(Counter::AnswerOptions);
    }
    // The slot of a socket that was closed is empty again, so this is not only a matter of start-up.
    if maps::redirect(queue, worker) { Ok(Counter::Redirect) } else { Err(Counter::PassNoSocket) }
}

/// Why what isn't plainly a datagram may not go to the kernel: it may be for a listener, and its source is banned or sends
/// too much. Where no port is to be seen, the address has to do.
// A function of its own: it is seldom called, and what most packets take stays as it is.
#[inline(never)]
fn refusal(ctx: *mut xdp_md) -> Option<Counter> {
    let context = XdpContext::new(ctx);
    let envelope = envelope(&Frame::of(&context))?;
    let Envelope { version, dst: address, .. } = envelope;
    let listener = match envelope.port.number() {
        Some(port) => ListenerKey::new(version, &Endpoint { address, port }),
        None => ListenerKey::any_port(version, address),
    };
    if maps::is_listener(&listener) { police::admit_to_kernel(&envelope).err() } else { None }
}

/// Whether `worker` lives.
#[inline(always)]
fn beats(worker: u32) -> Result<(), Counter> {
    match maps::liveness(worker) {
        Liveness::Alive => Ok(()),
        Liveness::Stale => Err(Counter::PassStaleHeartbeat),
        Liveness::NeverBeat => Err(Counter::PassNoHeartbeat),
    }
}

/// The worker that the message belongs to.
#[inline(always)]
fn worker(ctx: &XdpContext, datagram: &Datagram, queue: u32) -> Result<u32, Counter> {
    let workers = WORKERS.load();
    if BY_CALL_ID.load() == 0 || workers <= 1 {
        return Ok(worker_of_queue(queue, workers));
    }
    let key = SteeringKey::from_words(STEERING_KEY.load());
    let hash = steer::scan(&key, &Frame::of(ctx), datagram.payload, datagram.payload_len);
    Ok(steer::worker_of(hash.ok_or(Counter::PassNoCallId)?, workers))
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
