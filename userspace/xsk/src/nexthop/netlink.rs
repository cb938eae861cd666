//! The mirror's two netlink sockets: one that hears events, one that asks.
//!
//! Opened in the network namespace of the calling thread. The event socket never blocks; the asking one waits for an
//! answer for a bounded time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::decode;
use super::facts::{Fact, NeighbourKey};
use super::state::State;
use crate::syscall;

/// The kernel's messages are at most 32 KiB; a longer one is taken for unintelligible.
const BUFFER_BYTES: usize = 64 << 10;

/// Bytes of events that may wait in the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventRoom(pub(super) i32);

impl Default for EventRoom {
    /// For a burst of some thousand changes; the kernel counts about 1 KiB for each.
    fn default() -> Self {
        Self(8 << 20)
    }
}

/// The kernel answers at once, or something is very wrong.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// A snapshot during which something changed is taken again, this often.
const SNAPSHOT_TRIES: u32 = 5;

/// What we want to hear of. Addresses and next-hop objects come along because they take routes with them silently.
const GROUPS: [u32; 9] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_NEXTHOP,
];

/// One event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) fact: Fact,
    /// A route that was put in another one's place.
    pub(super) replaces: bool,
}

/// A message of a datagram.
struct Message {
    sequence: u32,
    flags: u16,
    /// `None` if it can't be read: a field that this kernel writes in another way than we know.
    payload: Option<NetlinkPayload<RouteNetlinkMessage>>,
}

/// The messages of a datagram.
struct Messages<'a>(&'a [u8]);

impl Iterator for Messages<'_> {
    /// `None` inside: what follows isn't a message at all.
    type Item = Option<Message>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Ok(buffer) = NetlinkBuffer::new_checked(self.0) else {
            self.0 = &[];
            return Some(None);
        };
        let (sequence, flags) = (buffer.sequence_number(), buffer.flags());
        // Checked to be at most what there is, and at least a header.
        let len = buffer.length() as usize;
        let message = self.0.get(..len).and_then(|bytes| NetlinkMessage::deserialize(bytes).ok());
        // Messages start at multiples of 4 (NLMSG_ALIGN).
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Some(Message { sequence, flags, payload: message.map(|message| message.into_parts().1) }))
    }
}

/// One datagram into `buffer`; false if it was cut short or isn't from the kernel.
fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.clear();
    let (len, from) = socket.recv_from(buffer, libc::MSG_TRUNC)?;
    Ok(len <= buffer.len() && from.port_number() == 0)
}

/// Hears what changes.
#[derive(Debug)]
pub(super) struct Events {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Events {
    pub(super) fn open(room: EventRoom) -> io::Result<Self> {
        let EventRoom(bytes) = room;
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // Best effort: without CAP_NET_ADMIN the system's limit holds, and a burst costs a snapshot.
        let fd = socket.as_fd();
        if syscall::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes).is_err() {
            let _ = syscall::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes);
        }
        socket.bind_auto()?;
        for group in GROUPS {
            match socket.add_membership(group) {
                // An older kernel has no such objects, so there is nothing to hear of them.
                Err(_) if group == libc::RTNLGRP_NEXTHOP => {}
                result => result?,
            }
        }
        socket.set_non_blocking(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    /// Hands over the events of one datagram; false if there is none. An event that can't be read, or isn't ours to
    /// understand, is [`Fact::Unsettled`]. ENOBUFS means that events were lost.
    pub(super) fn next(&mut self, mut each: impl FnMut(Event)) -> io::Result<bool> {
        let whole = match receive(&self.socket, &mut self.buffer) {
            Ok(whole) => whole,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let unsettled = Event { fact: Fact::Unsettled, replaces: false };
        if !whole {
            each(unsettled);
            return Ok(true);
        }
        for message in Messages(&self.buffer) {
            let Some(Message { flags, payload, .. }) = message else {
                each(unsettled);
                break;
            };
            match payload {
                Some(NetlinkPayload::InnerMessage(message)) => {
                    each(Event { fact: decode::fact(&message), replaces: flags & NLM_F_REPLACE != 0 });
                }
                Some(NetlinkPayload::Noop | NetlinkPayload::Done(_)) => {}
                _ => each(unsettled),
            }
        }
        Ok(true)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks, and keeps neighbours alive.
#[derive(Debug)]
pub(super) struct Questions {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Questions {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    /// Everything, as it is now. Fails if it can't be had whole.
    pub(super) fn snapshot(&mut self) -> io::Result<State> {
        for _ in 0..SNAPSHOT_TRIES {
            let mut state = State::default();
            // Links before what refers to them; an interface that comes meanwhile is told by an event.
            let mut consistent = true;
            for question in [
                RouteNetlinkMessage::GetLink(LinkMessage::default()),
                RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
                RouteNetlinkMessage::GetRoute(RouteMessage::default()),
                RouteNetlinkMessage::GetRule(RuleMessage::default()),
            ] {
                consistent &= self.dump(question, &mut state)?;
            }
            if consistent {
                return Ok(state);
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "links or routes change faster than they can be read"))
    }

    fn send(&mut self, flags: u16, message: RouteNetlinkMessage) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(())
    }

    /// False if something changed meanwhile, so that the answer may have holes.
    fn dump(&mut self, question: RouteNetlinkMessage, state: &mut State) -> io::Result<bool> {
        // A link or neighbour that we can't read is one that we don't have: lookups miss. But without one route or
        // rule another would answer, wrongly.
        let unreadable = match &question {
            RouteNetlinkMessage::GetLink(_) | RouteNetlinkMessage::GetNeighbour(_) => Fact::Nothing,
            _ => Fact::Unsettled,
        };
        self.send(NLM_F_DUMP, question)?;
        let mut consistent = true;
        loop {
            match receive(&self.socket, &mut self.buffer) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer was cut short"));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !syscall::readable([self.socket.as_fd()], ANSWER_WITHIN)?[0] {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    continue;
                }
                Err(error) => return Err(error),
            }
            for message in Messages(&self.buffer) {
                let Some(Message { sequence, flags, payload }) = message else {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer can't be read"));
                };
                // The end of something asked before, such as a refusal to refresh a neighbour that is gone.
                if sequence != self.sequence {
                    continue;
                }
                consistent &= flags & NLM_F_DUMP_INTR == 0;
                match payload {
                    Some(NetlinkPayload::InnerMessage(message)) => state.learn(decode::fact(&message)),
                    Some(NetlinkPayload::Done(done)) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
                    }
                    Some(NetlinkPayload::Done(_)) => return Ok(consistent),
                    Some(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                    Some(NetlinkPayload::Noop) => {}
                    Some(_) | None => state.learn(unreadable),
                }
            }
        }
    }

    /// Tells the kernel that a neighbour is in use: a stale one is probed then. The kernel's answer isn't waited
    /// for; the new state comes as an event. Without NLM_F_CREATE a neighbour that is gone stays gone.
    pub(super) fn use_neighbour(&mut self, (ifindex, address): NeighbourKey) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.ifindex = ifindex;
        message.header.flags = NeighbourFlags::Use;
        message.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::from(address))];
        self.send(0, RouteNetlinkMessage::NewNeighbour(message))
    }
}
