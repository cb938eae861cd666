//! How a message leaves: by the AF_XDP ring with headers of our own, or, where that is not sure, by the kernel's socket.
//!
//! Called by a worker for each message, with the message in its frame. The kernel's socket is always right, only
//! slower: it resolves neighbours, fragments, follows policy routing. So every doubt goes there, and is counted.

mod solicits;

use std::net::IpAddr;
use std::ops::Range;

use strowger_engine::{Flow, Time};
use strowger_wire::Headers;
use strowger_xsk::{Miss, NextHops};

use self::solicits::Solicits;
use crate::worker::Count;

/// TTL or hop limit of what we send: what IANA recommends, RFC 1700.
const TTL: u8 = 64;
/// Bytes of an Ethernet header without tags. The MTU counts neither it nor tags.
const ETHERNET: usize = 14;

/// The way out of the device that XDP serves.
pub(crate) struct FastPath {
    /// Its index.
    pub device: u32,
    /// Routes and neighbours.
    hops: NextHops,
    solicits: Solicits,
}

impl FastPath {
    /// The way out of `device` for one of so many workers.
    pub(crate) fn new(device: u32, hops: NextHops, workers: usize) -> FastPath {
        FastPath { device, hops, solicits: Solicits::new(workers) }
    }

    /// Whether the kernel may have a message for `remote`, as far as its table of neighbours goes: no when it would
    /// have to ask for somebody new, and too many are being asked for.
    pub(crate) fn may_detour(&mut self, now: Time, remote: IpAddr) -> bool {
        match self.hops.unresolved(self.device, remote) {
            Some(neighbour) => self.solicits.may_ask(now, neighbour),
            None => true,
        }
    }

    /// Writes Ethernet, IP and UDP headers in front of the message at `chunk[message]`, and returns the whole frame's
    /// range; or the reason to take the kernel's path, with the message untouched.
    ///
    /// `ident` is the IPv4 identification; RFC 6864 section 4.1 frees it for datagrams that are not fragmented, but
    /// ours may be by a router, so each gets another.
    pub(crate) fn address(
        &self,
        chunk: &mut [u8],
        message: Range<usize>,
        flow: &Flow,
        ident: u16,
    ) -> Result<Range<usize>, Count> {
        let hop = self.hops.lookup(self.device, flow.remote.ip()).map_err(detour)?;
        let tags = hop.vlans.wire_len();
        let headers = Headers {
            src_mac: hop.src_mac,
            dst_mac: hop.dst_mac,
            vlans: hop.vlans,
            src: flow.local,
            dst: flow.remote,
            ttl: TTL,
            tos: 0,
            ident,
        };
        if headers.len() + message.len() > hop.mtu as usize + ETHERNET + tags {
            return Err(Count::DetourOverMtu);
        }
        headers.write(chunk, message).map_err(|_| Count::DetourNoHeadroom)
    }
}

/// The counter of each reason to take the kernel's path.
fn detour(miss: Miss) -> Count {
    match miss {
        Miss::NoRoute => Count::DetourNoRoute,
        Miss::OtherInterface => Count::DetourOtherInterface,
        Miss::Unresolved => Count::DetourUnresolved,
        Miss::Unusual => Count::DetourUnusual,
        Miss::Down => Count::DetourDown,
        Miss::Local => Count::DetourLocal,
        Miss::Blind => Count::DetourBlind,
    }
}
