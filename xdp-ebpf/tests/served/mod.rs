//! The loaded program as a node serves it, without a network: listeners, sockets in the slots, workers that live.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::time::{ClockId, clock_gettime};
use strowger_xdp::{Action, Counter, Heartbeat, LoadError, LoadOptions, Program};

use crate::skip::skip;

pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;
pub(crate) const XDP_REDIRECT: u32 = 4;

/// The program with queue 0 served by every worker.
pub(crate) struct Served {
    pub(crate) program: Program,
    /// Of each worker, by its number.
    pub(crate) hearts: Vec<Heartbeat>,
    pub(crate) socket: OwnedFd,
}

impl Served {
    /// `None`, and a line that can't be overlooked, where BPF isn't to be had.
    pub(crate) fn new(listeners: &[&str], options: &LoadOptions) -> Option<Self> {
        let mut program = match Program::load(options) {
            Ok(program) => program,
            Err(error @ (LoadError::Privilege { .. } | LoadError::Unsupported { .. })) => {
                skip(&format!("the XDP program was NOT tested: {error}"));
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        for listener in listeners {
            program.listen(listener.parse().unwrap()).unwrap();
        }
        // The slot asks for an AF_XDP socket, not for a bound one.
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, flags, None).unwrap();
        let mut hearts = Vec::new();
        for worker in 0..options.workers {
            program.set_socket(0, worker, socket.as_fd()).unwrap();
            hearts.push(program.heartbeat(worker).unwrap());
        }
        let served = Self { program, hearts, socket };
        (0..options.workers as usize).for_each(|worker| served.revive(worker));
        Some(served)
    }

    /// Makes `worker` live for as long as any test takes.
    pub(crate) fn revive(&self, worker: usize) {
        // From the future, which is young: no pause of a test makes it stale.
        self.hearts[worker].beat(now_ns() + 3_600_000_000_000);
    }

    /// Sends one packet through and returns the counter that moved.
    #[track_caller]
    pub(crate) fn verdict(&self, name: &str, packet: &[u8]) -> Counter {
        let before = self.program.counters().unwrap();
        let run = self.program.test_run(packet, 1, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let after = self.program.counters().unwrap();
        let moved: Vec<_> = Counter::ALL
            .into_iter()
            .filter(|&counter| after[counter as usize] != before[counter as usize])
            .collect();
        let [counter] = moved[..] else { panic!("{name}: not one counter moved but {moved:?}") };
        assert_eq!(after[counter as usize], before[counter as usize] + 1, "{name}: moved by more than one");
        assert_eq!(run.packet, packet, "{name}: bytes changed");
        let action = match counter.action() {
            Action::Redirect => XDP_REDIRECT,
            Action::Transmit => XDP_TX,
            Action::Drop => XDP_DROP,
            Action::Pass => XDP_PASS,
        };
        assert_eq!(run.action, action, "{name}: {counter:?} but another action");
        counter
    }
}

pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The same throws in every run (SplitMix64), so that a failure can be looked at again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number from 0 to `below` - 1.
    pub(crate) fn throw(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % below as u64) as usize
    }
}
