//! What every message passes, whichever way it came: the decoder, the engine, and the way out.
//!
//! Owned by a [`Worker`](super::Worker), which says what comes next. Nothing here allocates, locks or makes a system call
//! for a message; what the kernel sends waits until [`Lane::flush`].

use std::ops::Range;

use strowger_engine::resolve::limit;
use strowger_engine::{Engine, Flow, Time, Verdict};
use strowger_sip::Buffer;
use strowger_wire::{Address, ChecksumState};
use strowger_xsk::{Frame, KernelSocket, Received, Socket};

use super::count::{Count, Counts};
use super::exchange::{Destination, Exchange, Slot};
use super::monotonic;
use crate::egress::FastPath;
use crate::names::Asker;

/// Of so many steered messages one is looked at again: a hash costs as much as a tenth of a message. In builds with debug
/// assertions, every one.
const CHECK_EVERY: u32 = if cfg!(debug_assertions) { 1 } else { 64 };

/// See the head of this file.
pub(super) struct Lane {
    pub(super) engine: Engine,
    pub(super) counts: Counts,
    pub(super) exchange: Exchange,
    fast: Option<FastPath>,
    names: Asker,
    /// The addresses we listen at, each once. Nobody else has them, so nothing comes from them by a ring.
    own: Box<[Address]>,
    /// Names that were asked for and have no answer yet, and when the last of them was.
    unanswered: usize,
    last_asked: Time,
    ident: u16,
    /// Steered messages until the next one that is looked at again.
    unchecked: u32,
    /// Where a message of the engine's own is written when there is no frame for it.
    scratch: Box<[u8]>,
}

impl Lane {
    /// `fast` is none with mode `off`. `kernel` are the kernel sockets, one for each address that we listen at.
    pub(super) fn new(
        engine: Engine,
        fast: Option<FastPath>,
        names: Asker,
        exchange: Exchange,
        kernel: &[KernelSocket],
    ) -> Lane {
        let mut own: Vec<_> = kernel.iter().map(|socket| Address::from(socket.local().ip())).collect();
        own.sort_unstable_by_key(|address| address.octets());
        own.dedup();
        Lane {
            engine,
            counts: Counts::new(),
            exchange,
            fast,
            names,
            own: own.into_boxed_slice(),
            unanswered: 0,
            last_asked: Time::START,
            ident: 0,
            unchecked: 0,
            scratch: vec![0; strowger_sip::limit::MESSAGE].into_boxed_slice(),
        }
    }

    /// From now on the way out is this device, another one in the place of the last.
    pub(super) fn leave_by(&mut self, device: u32) {
        if let Some(fast) = &mut self.fast {
            fast.device = device;
        }
    }

    /// Whether a name was asked for whose answer nothing will wake us for.
    pub(super) fn awaits_names(&self) -> bool {
        self.unanswered > 0
    }

    /// What the time has brought: timers that are due, and names that were asked for.
    pub(super) fn time_turn(&mut self, now: Time) {
        if self.engine.timeout().is_some_and(|at| at <= now) {
            self.engine.on_timeout(now);
        }
        self.names_turn(now);
    }

    /// Hands the engine's questions to the thread for names, and its answers to the engine.
    fn names_turn(&mut self, now: Time) {
        while let Some(query) = self.engine.next_query() {
            let asked = self.names.ask(query);
            self.unanswered += usize::from(asked);
            self.last_asked = now;
            self.counts.count(if asked { Count::NamesAsked } else { Count::NamesLost });
        }
        while self.unanswered > 0
            && let Some(resolution) = self.names.answer()
        {
            self.unanswered -= 1;
            self.engine.resolved(now, &resolution);
        }
        // The engine has given up what was not answered by now.
        if self.unanswered > 0 && now.since(self.last_asked) > limit::PATIENCE {
            self.unanswered = 0;
        }
    }

    /// One frame from an RX ring: through the engine, and out, or its chunk is free again.
    pub(super) fn frame(
        &mut self,
        now: Time,
        mut frame: Frame,
        socket: &mut Socket,
        kernel: &mut [KernelSocket],
    ) {
        let (packet, received) = (frame.range(), frame.chunk());
        let chunk = socket.umem_mut().chunk_mut(&mut frame);
        let sent = match self.arrived(chunk, packet) {
            Some((flow, message)) => {
                self.check_steering(chunk.get(message.clone()).unwrap_or_default());
                self.through(now, flow, chunk, message)
            }
            None => None,
        };
        let Some((flow, message)) = sent else {
            socket.recycle(frame);
            return;
        };
        self.out(flow, frame, Some(received), message, socket, kernel);
    }

    /// The message in `frame` leaves: by the ring, or a copy of it by the kernel. `received` is the chunk that it came in,
    /// none for one of our own.
    fn out(
        &mut self,
        flow: Flow,
        mut frame: Frame,
        received: Option<u32>,
        message: Range<usize>,
        socket: &mut Socket,
        kernel: &mut [KernelSocket],
    ) {
        let length = message.len();
        let in_place = received == Some(frame.chunk());
        let chunk = socket.umem_mut().chunk_mut(&mut frame);
        let addressed = match &self.fast {
            Some(fast) => fast.address(chunk, message.clone(), &flow, self.ident),
            None => Err(Count::DetourNoRoute),
        };
        let detour = match addressed {
            Ok(whole) if frame.set_range(whole.clone()).is_ok() => match socket.transmit(frame) {
                Ok(()) => {
                    self.ident = self.ident.wrapping_add(1);
                    self.counts.count(Count::TxXsk);
                    self.counts.count(if in_place { Count::TxInPlace } else { Count::TxOwn });
                    return;
                }
                Err(back) => {
                    frame = back;
                    Count::DetourRingFull
                }
            },
            Ok(_) => Count::DetourNoHeadroom,
            Err(why) => why,
        };
        let bytes = socket.umem_mut().chunk_mut(&mut frame).get(message).unwrap_or_default();
        debug_assert_eq!(bytes.len(), length);
        self.send(&flow, bytes, kernel, Some(detour));
        socket.recycle(frame);
    }

    /// What the engine has to send besides: each message in a frame of its own, or by the kernel where there is none.
    pub(super) fn transmit(
        &mut self,
        now: Time,
        mut socket: Option<&mut Socket>,
        kernel: &mut [KernelSocket],
    ) {
        while self.engine.has_transmit() {
            if let Some(socket) = socket.as_deref_mut()
                && let Some(mut frame) = socket.umem_mut().take()
            {
                let empty = frame.range();
                let chunk = socket.umem_mut().chunk_mut(&mut frame);
                let sent = Buffer::new(chunk, empty).and_then(|mut buffer| {
                    let flow = self.engine.transmit(now, &mut buffer)?;
                    Some((flow, buffer.range()))
                });
                if let Some((flow, message)) = sent {
                    self.out(flow, frame, None, message, socket, kernel);
                    continue;
                }
                socket.recycle(frame);
                if !self.engine.has_transmit() {
                    return;
                }
            }
            // No queue, no frame, or too long for one.
            let mut scratch = core::mem::take(&mut self.scratch);
            let sent = Buffer::new(&mut scratch, 0..0).and_then(|mut buffer| {
                let flow = self.engine.transmit(now, &mut buffer)?;
                Some((flow, buffer.range()))
            });
            if let Some((flow, message)) = &sent {
                let detour = socket.is_some().then_some(Count::DetourNoFrame);
                self.send(flow, scratch.get(message.clone()).unwrap_or_default(), kernel, detour);
            }
            self.scratch = scratch;
            if sent.is_none() {
                return;
            }
        }
    }

    /// Whether the kernel may have a message for the flow's other end; counts it when not.
    fn may_detour(&mut self, flow: &Flow) -> bool {
        let may = self.fast.as_mut().is_none_or(|fast| fast.may_detour(monotonic(), flow.remote.ip()));
        if !may {
            self.counts.count(Count::DropUnresolved);
        }
        may
    }

    /// A copy of `message` to the kernel socket of the flow's local address; `detour` is why, if it should have left by a
    /// ring.
    fn send(&mut self, flow: &Flow, message: &[u8], kernel: &mut [KernelSocket], detour: Option<Count>) {
        if !self.may_detour(flow) {
            return;
        }
        if let Some(detour) = detour {
            self.counts.count(detour);
        }
        let count = match kernel.iter_mut().find(|socket| socket.local() == flow.local) {
            None => Count::DropNoSocket,
            Some(socket) => match socket.send_copy(message, flow.remote) {
                true => Count::TxKernel,
                false => Count::DropKernelSend,
            },
        };
        self.counts.count(count);
    }

    /// Sends what waits in the kernel sockets. No system call where nothing does.
    pub(super) fn flush(&mut self, kernel: &mut [KernelSocket]) {
        for socket in kernel {
            socket.flush();
        }
    }

    /// Whether the program gave us what is ours. It goes on here in any case: its state is here, if it is anywhere.
    fn check_steering(&mut self, message: &[u8]) {
        if !self.exchange.steers() {
            return;
        }
        self.unchecked += 1;
        if self.unchecked >= CHECK_EVERY {
            self.unchecked = 0;
            self.counts.count(Count::SteeredChecked);
            if self.exchange.elsewhere(message).is_some() {
                self.counts.count(Count::SteeredAstray);
            }
        }
    }

    /// What XDP let through, looked at again: where it comes from and goes to, and where in the chunk the message is.
    fn arrived(&mut self, chunk: &[u8], packet: Range<usize>) -> Option<(Flow, Range<usize>)> {
        let start = packet.start;
        let Some(bytes) = chunk.get(packet) else {
            self.counts.count(Count::DropUndecodable);
            return None;
        };
        let Ok(datagram) = strowger_wire::decode(bytes) else {
            self.counts.count(Count::DropUndecodable);
            return None;
        };
        // The kernel refuses these as martians, which XDP redirects before it sees them. What this machine sends to itself
        // comes by the kernel's sockets.
        if self.own.contains(&datagram.src.address) {
            self.counts.count(Count::DropMartian);
            return None;
        }
        if !strowger_wire::ipv4_header_valid(bytes, &datagram)
            || strowger_wire::udp_checksum_state(bytes, &datagram) == ChecksumState::Bad
        {
            self.counts.count(Count::DropChecksum);
            return None;
        }
        self.counts.count(Count::RxXsk);
        let payload = datagram.payload_range();
        let flow = Flow { local: datagram.destination(), remote: datagram.source() };
        Some((flow, start + payload.start..start + payload.end))
    }

    /// The message at `chunk[message]` through the engine: where the result goes, and where it lies now.
    fn through(
        &mut self,
        now: Time,
        flow: Flow,
        chunk: &mut [u8],
        message: Range<usize>,
    ) -> Option<(Flow, Range<usize>)> {
        let Some(mut buffer) = Buffer::new(chunk, message) else {
            self.counts.count(Count::DropUndecodable);
            return None;
        };
        match self.engine.handle(now, flow, &mut buffer) {
            Verdict::Send(flow) => Some((flow, buffer.range())),
            Verdict::Taken => {
                self.counts.count(Count::EngineTaken);
                None
            }
            Verdict::Drop(_) => {
                self.counts.count(Count::EngineDrop);
                None
            }
        }
    }
}

impl Lane {
    /// What the kernel socket `at` has: each message through the engine and out. How many came.
    pub(super) fn datagrams(&mut self, now: Time, at: usize, kernel: &mut [KernelSocket]) -> usize {
        let n = kernel.get_mut(at).map_or(0, KernelSocket::receive);
        for place in 0..n {
            self.datagram(now, at, place, kernel);
            self.transmit(now, None, kernel);
        }
        n
    }

    /// The datagram `place` of the last that the kernel socket `at` received, through the engine and out.
    fn datagram(&mut self, now: Time, at: usize, place: usize, kernel: &mut [KernelSocket]) {
        let Some(socket) = kernel.get_mut(at) else { return };
        let local = socket.local();
        let Some(Received { source, slot, message }) = socket.received(place) else { return };
        if let Some(bytes) = slot.get(message.clone())
            && let Some(to) = self.exchange.destination(now, bytes)
        {
            let room = self.exchange.hand_over(to, local, source, bytes);
            self.counts.count(match (room, to) {
                (true, Destination::Worker(_)) => Count::HandedOverOut,
                (true, Destination::StandIn) => Count::HandedToStandIn,
                (false, _) => Count::HandedOverDropped,
            });
            return;
        }
        self.counts.count(Count::RxKernel);
        let Some((flow, message)) = self.through(now, Flow { local, remote: source }, slot, message) else {
            return;
        };
        if !self.may_detour(&flow) {
            return;
        }
        // What came by the kernel leaves by the kernel: it is the exception, or mode `off`.
        if flow.local == local {
            let queued = socket.send_slot(place, message, flow.remote);
            self.counts.count(if queued { Count::TxKernel } else { Count::DropKernelSend });
            return;
        }
        // Received on one address, sent from another: only the other's socket can, and only a copy.
        let other = kernel.iter().position(|k| k.local() == flow.local).unwrap_or(at);
        let Ok([from, to]) = kernel.get_disjoint_mut([at, other]) else {
            self.counts.count(Count::DropNoSocket);
            return;
        };
        let queued = to.send_copy(from.slot(place, message).unwrap_or_default(), flow.remote);
        self.counts.count(if queued { Count::TxKernel } else { Count::DropKernelSend });
    }

    /// Messages of ours that came by other workers, at most so many: each through the engine and out. Whether any came.
    pub(super) fn handed_turn(&mut self, now: Time, most: usize, kernel: &mut [KernelSocket]) -> bool {
        let mut came = false;
        for _ in 0..most {
            let Some(mut slot) = self.exchange.next() else { break };
            came = true;
            self.counts.count(Count::HandedOverIn);
            self.handed(now, &mut slot, kernel);
            self.exchange.done(slot);
            self.transmit(now, None, kernel);
        }
        if came {
            self.flush(kernel);
        }
        came
    }

    fn handed(&mut self, now: Time, slot: &mut Slot, kernel: &mut [KernelSocket]) {
        self.counts.count(Count::RxKernel);
        let flow = Flow { local: slot.local, remote: slot.remote };
        let message = slot.message.clone();
        if let Some((flow, message)) = self.through(now, flow, slot.bytes_mut(), message) {
            self.send(&flow, slot.bytes(message), kernel, None);
        }
    }

    /// Rings at the workers who were given something.
    pub(super) fn announce(&mut self) {
        let woken = self.exchange.announce();
        self.counts.add(Count::WokeOthers, woken);
    }
}
