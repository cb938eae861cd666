//! A worker: one pinned thread that owns its queues, its kernel sockets and its engine, and shares nothing on the way
//! of a message.
//!
//! Each turn of the loop beats the hearts of its queues, takes up to 64 frames from each RX ring, runs every message
//! through the engine where it lies, puts the result on the TX ring, reaps completions and refills. The kernel sockets
//! are asked when `epoll` says so, and otherwise every so often. With nothing to do for a while the thread sleeps in
//! `epoll`, never so long that its hearts would look still.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::time::{ClockId, clock_gettime};
use strowger_engine::resolve::limit;
use strowger_engine::{Counters, Engine, Flow, Occupancy, Time, Verdict};
use strowger_sip::Buffer;
use strowger_wire::ChecksumState;
use strowger_xdp::Heartbeat;
use strowger_xsk::{BindMode, Frame, FrameBatch, KernelCounters, KernelSocket, Received, Socket};

use crate::egress::FastPath;
use crate::names::Asker;
use crate::orders::Orders;
use crate::report::Desk;

/// Longest sleep: a fifth of the age at which XDP takes a heart for still, and the longest that a status request or a
/// stop waits.
const SLEEP: Duration = Duration::from_millis(20);
/// Longest sleep while the kernel has not taken all of a TX ring, or a name is asked for: nothing would wake us.
const SLEEP_SENDING: Duration = Duration::from_millis(1);
/// How long an idle worker looks at its rings before it sleeps: a wake-up costs several microseconds, so this bounds
/// the waste at a few times what it saves.
const SPIN: Duration = Duration::from_micros(20);
/// How often a busy worker asks its kernel sockets. They carry the exceptions, and asking is a system call.
const KERNEL_EVERY: Duration = Duration::from_micros(200);
/// How often the engine is told the calendar time, which only its Date headers show.
const DATE_EVERY: Duration = Duration::from_secs(1);
/// Turns that a stopping worker still makes for what is in its rings.
const LAST_TURNS: usize = 64;

strowger_engine::counters! {
    /// What a worker counts besides its engine's events. `detour_*` are messages sent by the kernel's socket because
    /// the AF_XDP path was not sure.
    pub(crate) enum Count, struct Counts {
        /// SIP messages received from an AF_XDP ring.
        RxXsk = "rx_xsk",
        /// SIP messages received from a kernel socket.
        RxKernel = "rx_kernel",
        /// SIP messages sent by an AF_XDP ring.
        TxXsk = "tx_xsk",
        /// Of those, messages sent from the very chunk that they were received in: nothing was copied.
        TxInPlace = "tx_in_place",
        /// Of those, messages of our own, and copies: sent from another chunk than any that was received.
        TxOwn = "tx_own",
        /// SIP messages handed to a kernel socket.
        TxKernel = "tx_kernel",
        /// Frames that XDP let through and the worker's decoder does not take: a bug if it ever counts.
        DropUndecodable = "drop_undecodable",
        /// Frames with a damaged IP header or UDP checksum (RFC 1122 sections 3.2.1.2 and 4.1.3.4).
        DropChecksum = "drop_checksum",
        /// Messages the engine answered with nothing; its own counters say why.
        EngineDrop = "engine_drop",
        /// Messages that the engine took and did not send on from where they lay: absorbed, or answered besides.
        EngineTaken = "engine_taken",
        /// Messages sent by the kernel: no route to the destination.
        DetourNoRoute = "detour_no_route",
        /// Messages sent by the kernel: the route leaves by another interface.
        DetourOtherInterface = "detour_other_interface",
        /// Messages sent by the kernel: the neighbour's address is not known yet.
        DetourUnresolved = "detour_unresolved",
        /// Messages sent by the kernel: a route of a kind that only the kernel follows.
        DetourUnusual = "detour_unusual",
        /// Messages sent by the kernel: the interface is down.
        DetourDown = "detour_down",
        /// Messages sent by the kernel: the destination is this machine.
        DetourLocal = "detour_local",
        /// Messages sent by the kernel: the picture of routes and neighbours was lost and is being taken anew.
        DetourBlind = "detour_blind",
        /// Messages sent by the kernel: longer than the MTU.
        DetourOverMtu = "detour_over_mtu",
        /// Messages sent by the kernel: no room left in the frame for the headers.
        DetourNoHeadroom = "detour_no_headroom",
        /// Messages sent by the kernel: the TX ring was full.
        DetourRingFull = "detour_ring_full",
        /// Messages sent by the kernel: no frame was free for a message of our own, or it was too long for one.
        DetourNoFrame = "detour_no_frame",
        /// Messages the kernel socket would not take either.
        DropKernelSend = "drop_kernel_send",
        /// Messages whose local address is none of our sockets'; a bug if it ever counts.
        DropNoSocket = "drop_no_socket",
        /// Names of next hops asked for.
        NamesAsked = "names_asked",
        /// Names not asked for because too many were already; the engine asks again.
        NamesLost = "names_lost",
        /// Turns of the loop.
        Turns = "turns",
        /// Sleeps in poll.
        Sleeps = "sleeps",
    }
}

/// One queue and what goes with it.
pub(crate) struct Queue {
    /// Its number on the device.
    pub number: u32,
    /// Its socket.
    pub socket: Socket,
    /// What tells XDP that somebody reads it.
    pub heartbeat: Heartbeat,
}

/// What a worker tells status.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// Its own counts.
    pub counts: Counts,
    /// Whether it was told to finish, and has.
    pub drained: bool,
    /// Its engine's.
    pub events: Counters,
    /// How full its engine's tables are.
    pub occupancy: Occupancy,
    /// Its queues'.
    pub queues: Vec<QueueReport>,
    /// Its kernel sockets', summed.
    pub kernel: Vec<(&'static str, u64)>,
}

/// What a worker tells of one queue.
#[derive(Debug, Clone)]
pub(crate) struct QueueReport {
    /// Number on the device.
    pub number: u32,
    /// How the socket is bound.
    pub mode: &'static str,
    /// Ring traffic.
    pub counters: Vec<(&'static str, u64)>,
    /// The kernel's XDP_STATISTICS; empty when it would not say.
    pub statistics: Vec<(&'static str, u64)>,
    /// Where the frames are.
    pub balance: Vec<(&'static str, u64)>,
    /// Descriptors waiting in each ring.
    pub rings: Vec<(&'static str, u64)>,
}

/// See the head of this file.
pub(crate) struct Worker {
    queues: Vec<Queue>,
    kernel: Vec<KernelSocket>,
    lane: Lane,
    desk: Arc<Desk<Report>>,
    orders: Arc<Orders>,
    sleeper: OwnedFd,
}

/// What epoll says of a queue's socket.
const QUEUE: u64 = 0;
/// What epoll says of a kernel socket.
const KERNEL: u64 = 1;

/// What every message passes, whichever way it came.
struct Lane {
    engine: Engine,
    fast: Option<FastPath>,
    names: Asker,
    /// Names that were asked for and have no answer yet, and when the last of them was.
    unanswered: usize,
    last_asked: Time,
    counts: Counts,
    ident: u16,
    /// Where a message of the engine's own is written when there is no frame for it.
    scratch: Box<[u8]>,
}

impl Worker {
    /// A worker over its parts; `fast` is none with mode `off`. Fails when the kernel has no epoll descriptor left.
    pub(crate) fn new(
        engine: Engine,
        queues: Vec<Queue>,
        kernel: Vec<KernelSocket>,
        fast: Option<FastPath>,
        names: Asker,
        desk: Arc<Desk<Report>>,
        orders: Arc<Orders>,
    ) -> std::io::Result<Worker> {
        let sleeper = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for queue in &queues {
            epoll::add(
                &sleeper,
                queue.socket.as_fd(),
                epoll::EventData::new_u64(QUEUE),
                epoll::EventFlags::IN,
            )?;
        }
        for socket in &kernel {
            epoll::add(&sleeper, socket.as_fd(), epoll::EventData::new_u64(KERNEL), epoll::EventFlags::IN)?;
        }
        let lane = Lane {
            engine,
            fast,
            names,
            unanswered: 0,
            last_asked: Time::START,
            counts: Counts::new(),
            ident: 0,
            scratch: vec![0; strowger_sip::limit::MESSAGE].into_boxed_slice(),
        };
        Ok(Worker { queues, kernel, lane, desk, orders, sleeper })
    }

    /// The loop, until told to stop.
    pub(crate) fn run(mut self) {
        let mut batch = FrameBatch::new();
        let mut answered = 0;
        let mut last_work = monotonic();
        let mut last_kernel = Time::START;
        let mut kernel_ready = true;
        let mut kernel_backlog = 0;
        let mut last_date = last_work;
        let mut draining = false;
        self.lane.engine.set_wall_clock(last_date, calendar());
        while !self.orders.is_stopping() {
            let now = monotonic();
            if !draining && self.orders.is_draining() {
                draining = true;
                self.lane.engine.drain(now);
            }
            self.lane.engine.set_pressure(self.backlog().max(kernel_backlog));
            let mut worked = self.queue_turn(now, &mut batch);
            if kernel_ready || now.since(last_kernel) >= KERNEL_EVERY {
                let came = self.kernel_turn(now);
                worked |= came > 0;
                // A full batch means that there may be more: ask again at once.
                kernel_ready = came >= KernelSocket::BATCH;
                kernel_backlog = if kernel_ready { self.kernel_backlog() } else { 0 };
                last_kernel = now;
            }
            if self.lane.engine.timeout().is_some_and(|at| at <= now) {
                self.lane.engine.on_timeout(now);
            }
            self.lane.names_turn(now);
            worked |= self.transmit_turn(now);
            if now.since(last_date) >= DATE_EVERY {
                self.lane.engine.set_wall_clock(now, calendar());
                last_date = now;
            }
            if let Some(number) = self.desk.asked(answered)
                && self.desk.answer(number, self.report(now))
            {
                answered = number;
            }
            if worked {
                last_work = now;
            } else if self.queues.is_empty() || now.since(last_work) >= SPIN {
                kernel_ready = self.sleep(now);
                // epoll has just looked at the kernel sockets too.
                last_kernel = monotonic();
            }
        }
        // What is in the rings was taken off the wire. The program is detached, so this ends.
        for _ in 0..LAST_TURNS {
            let now = monotonic();
            let idle = !self.queue_turn(now, &mut batch);
            if self.kernel_turn(now) == 0 && !self.transmit_turn(now) && idle {
                break;
            }
        }
    }

    /// Sends what the engine has to send besides. Whether there was anything.
    fn transmit_turn(&mut self, now: Time) -> bool {
        if !self.lane.engine.has_transmit() {
            return false;
        }
        let socket = self.queues.first_mut().map(|queue| &mut queue.socket);
        self.lane.transmit(now, socket, &mut self.kernel);
        for queue in &mut self.queues {
            queue.socket.service();
        }
        self.lane.flush(&mut self.kernel);
        true
    }

    /// How full the fullest RX ring is, in percent.
    fn backlog(&self) -> u8 {
        let percent = |queue: &Queue| {
            let (used, size) = (queue.socket.ring_use().rx, queue.socket.ring_sizes().rx);
            (u64::from(used) * 100).checked_div(size.into()).unwrap_or(0).min(100) as u8
        };
        self.queues.iter().map(percent).max().unwrap_or(0)
    }

    /// How full the fullest kernel socket is, in percent. A system call for each.
    fn kernel_backlog(&self) -> u8 {
        self.kernel.iter().filter_map(|socket| socket.backlog().ok()).max().unwrap_or(0)
    }

    /// One turn over the queues. Whether anything came.
    fn queue_turn(&mut self, now: Time, batch: &mut FrameBatch) -> bool {
        self.lane.counts.count(Count::Turns);
        let mut worked = false;
        for queue in &mut self.queues {
            queue.heartbeat.beat(now.as_nanos());
            queue.socket.receive(batch);
            while let Some(frame) = batch.pop() {
                worked = true;
                self.lane.frame(now, frame, &mut queue.socket, &mut self.kernel);
                self.lane.transmit(now, Some(&mut queue.socket), &mut self.kernel);
            }
            queue.socket.service();
        }
        if worked {
            self.lane.flush(&mut self.kernel);
        }
        worked
    }

    /// One turn over the kernel sockets: the most that came from one of them.
    fn kernel_turn(&mut self, now: Time) -> usize {
        let mut most = 0;
        for at in 0..self.kernel.len() {
            most = most.max(self.lane.datagrams(now, at, &mut self.kernel));
        }
        self.lane.flush(&mut self.kernel);
        most
    }

    /// Sleeps until something comes, the engine's next timer, or the next heartbeat is due. Whether a kernel socket has
    /// something.
    fn sleep(&mut self, now: Time) -> bool {
        self.lane.counts.count(Count::Sleeps);
        let sending =
            self.lane.unanswered > 0 || self.queues.iter().any(|queue| queue.socket.ring_use().tx > 0);
        let most = if sending { SLEEP_SENDING } else { SLEEP };
        let longest = self.lane.engine.timeout().map_or(most, |at| at.since(now).min(most));
        // At most 20 ms: the conversion cannot fail.
        let longest = Timespec::try_from(longest).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 1_000_000 });
        let mut events = [const {
            epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }
        }; 16];
        match epoll::wait(&self.sleeper, &mut events[..], Some(&longest)) {
            Ok(n) => events.iter().take(n).any(|event| event.data.u64() == KERNEL),
            // Interrupted, most likely: asking the kernel sockets once too often does no harm.
            Err(_) => true,
        }
    }

    fn kernel_report(&self) -> Vec<(&'static str, u64)> {
        let mut sum = KernelCounters::default();
        let mut dropped = 0;
        for socket in &self.kernel {
            let c = socket.counters();
            sum.received += c.received;
            sum.sent += c.sent;
            sum.send_full += c.send_full;
            sum.send_refused += c.send_refused;
            sum.receive_failed += c.receive_failed;
            dropped += socket.drops().unwrap_or(0);
        }
        vec![
            ("received", sum.received),
            ("receive_dropped", dropped),
            ("receive_failed", sum.receive_failed),
            ("sent", sum.sent),
            ("send_full", sum.send_full),
            ("send_refused", sum.send_refused),
        ]
    }

    fn report(&self, now: Time) -> Report {
        Report {
            drained: self.lane.engine.is_drained(now),
            counts: self.lane.counts.clone(),
            events: self.lane.engine.counters().clone(),
            occupancy: self.lane.engine.occupancy(),
            queues: self.queues.iter().map(QueueReport::of).collect(),
            kernel: self.kernel_report(),
        }
    }
}

impl Lane {
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
    fn frame(&mut self, now: Time, mut frame: Frame, socket: &mut Socket, kernel: &mut [KernelSocket]) {
        let (packet, received) = (frame.range(), frame.chunk());
        let chunk = socket.umem_mut().chunk_mut(&mut frame);
        let sent = match self.arrived(chunk, packet) {
            Some((flow, message)) => self.through(now, flow, chunk, message),
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
        self.counts.count(detour);
        let bytes = socket.umem_mut().chunk_mut(&mut frame).get(message).unwrap_or_default();
        debug_assert_eq!(bytes.len(), length);
        self.send(&flow, bytes, kernel);
        socket.recycle(frame);
    }

    /// What the engine has to send besides: each message in a frame of its own, or by the kernel where there is none.
    fn transmit(&mut self, now: Time, mut socket: Option<&mut Socket>, kernel: &mut [KernelSocket]) {
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
                if socket.is_some() {
                    self.counts.count(Count::DetourNoFrame);
                }
                self.send(flow, scratch.get(message.clone()).unwrap_or_default(), kernel);
            }
            self.scratch = scratch;
            if sent.is_none() {
                return;
            }
        }
    }

    /// A copy of `message` to the kernel socket of the flow's local address.
    fn send(&mut self, flow: &Flow, message: &[u8], kernel: &mut [KernelSocket]) {
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
    fn flush(&mut self, kernel: &mut [KernelSocket]) {
        for socket in kernel {
            socket.flush();
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
    fn datagrams(&mut self, now: Time, at: usize, kernel: &mut [KernelSocket]) -> usize {
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
        self.counts.count(Count::RxKernel);
        let Some((flow, message)) = self.through(now, Flow { local, remote: source }, slot, message) else {
            return;
        };
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
}

impl QueueReport {
    fn of(queue: &Queue) -> QueueReport {
        let socket = &queue.socket;
        let c = socket.counters();
        let b = socket.balance();
        let r = socket.ring_use();
        let statistics = match socket.statistics() {
            Ok(s) => vec![
                ("rx_dropped", s.rx_dropped),
                ("rx_invalid_descs", s.rx_invalid_descs),
                ("tx_invalid_descs", s.tx_invalid_descs),
                ("rx_ring_full", s.rx_ring_full),
                ("rx_fill_ring_empty_descs", s.rx_fill_ring_empty_descs),
                ("tx_ring_empty_descs", s.tx_ring_empty_descs),
            ],
            Err(_) => Vec::new(),
        };
        QueueReport {
            number: queue.number,
            mode: match socket.mode() {
                BindMode::ZeroCopy => "zero-copy",
                BindMode::Copy => "copy",
            },
            counters: vec![
                ("rx", c.rx),
                ("tx", c.tx),
                ("completed", c.completed),
                ("tx_ring_full", c.tx_ring_full),
                ("tx_runt", c.tx_runt),
                ("rx_bad_address", c.rx_bad_address),
                ("completion_bad_address", c.completion_bad_address),
                ("fill_starved", c.fill_starved),
                ("wakeups_tx", c.wakeups_tx),
                ("wakeups_rx", c.wakeups_rx),
                ("wakeups_deferred", c.wakeups_deferred),
                ("wakeups_failed", c.wakeups_failed),
            ],
            statistics,
            balance: vec![
                ("free", b.free.into()),
                ("fill", b.fill.into()),
                ("rx", b.rx.into()),
                ("tx", b.tx.into()),
                ("completion", b.completion.into()),
                ("held", b.held.into()),
                ("total", b.total.into()),
            ],
            rings: vec![
                ("fill", r.fill.into()),
                ("rx", r.rx.into()),
                ("tx", r.tx.into()),
                ("completion", r.completion.into()),
            ],
        }
    }
}

/// CLOCK_MONOTONIC, the clock of the heartbeats. Read from the vDSO: no system call.
fn monotonic() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    // Never negative.
    Time::from_nanos((now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64))
}

/// Seconds since 1970, as the machine believes.
fn calendar() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
