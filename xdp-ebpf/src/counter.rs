//! The counters of the XDP program: one for each way a packet can leave it.

use strowger_wire::Reject;

/// What the kernel does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// To an AF_XDP socket.
    Redirect,
    /// Back out of the interface, changed into an answer.
    Transmit,
    /// Away.
    Drop,
    /// To the kernel's network stack.
    Pass,
}

/// What happened to a packet; exactly one of them moves for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Counter {
    /// Ours, and given to an AF_XDP socket of its queue.
    Redirect,
    /// A STUN Binding request, answered.
    AnswerStun,
    /// An OPTIONS ping of a peer, answered.
    AnswerOptions,
    /// From a banned address.
    DropBanned,
    /// From a banned prefix.
    DropBannedPrefix,
    /// A keep-alive, see [`Opening::KeepAlive`](strowger_wire::Opening::KeepAlive).
    DropKeepAlive,
    /// Neither SIP nor STUN by its first bytes.
    DropJunk,
    /// From a known source that has used up its budget.
    DropKnownRate,
    /// From an unknown source that has used up its budget.
    DropUnknownRate,
    /// From an unknown source, while all of them together have used up theirs.
    DropStrangers,
    /// UDP, but to no listener.
    PassNotListener,
    /// To a listener, but from an address that no host has on a network: see
    /// [`Datagram::is_from_one_host`](strowger_wire::Datagram::is_from_one_host).
    PassMartian,
    /// To a listener, but longer than [`LONGEST_FRAME`](crate::LONGEST_FRAME).
    PassTooLong,
    /// To a listener, on a queue beyond [`MAX_QUEUES`](crate::MAX_QUEUES).
    PassQueueUnknown,
    /// To a listener, but its Call-ID isn't where the program looks: the workers find it.
    PassNoCallId,
    /// To a listener, but its worker hasn't beaten yet.
    PassNoHeartbeat,
    /// To a listener, but its worker's last beat is too old.
    PassStaleHeartbeat,
    /// To a listener, but its worker has no AF_XDP socket on the queue.
    PassNoSocket,
    /// See [`Reject::TruncatedEthernet`].
    PassTruncatedEthernet,
    /// See [`Reject::GroupAddressed`].
    PassGroupAddressed,
    /// See [`Reject::TruncatedVlan`].
    PassTruncatedVlan,
    /// See [`Reject::VlanDepth`].
    PassVlanDepth,
    /// See [`Reject::NotIp`].
    PassNotIp,
    /// See [`Reject::TruncatedIp`].
    PassTruncatedIp,
    /// See [`Reject::IpHeader`].
    PassIpHeader,
    /// See [`Reject::IpOptions`].
    PassIpOptions,
    /// See [`Reject::Fragment`].
    PassFragment,
    /// See [`Reject::Ipv6Extension`].
    PassIpv6Extension,
    /// See [`Reject::NotUdp`].
    PassNotUdp,
    /// See [`Reject::TruncatedUdp`].
    PassTruncatedUdp,
    /// See [`Reject::IpLength`].
    PassIpLength,
    /// See [`Reject::UdpLength`].
    PassUdpLength,
}

impl Counter {
    /// How many counters there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Every counter, in the order of their discriminants.
    pub const ALL: [Self; 32] = [
        Self::Redirect,
        Self::AnswerStun,
        Self::AnswerOptions,
        Self::DropBanned,
        Self::DropBannedPrefix,
        Self::DropKeepAlive,
        Self::DropJunk,
        Self::DropKnownRate,
        Self::DropUnknownRate,
        Self::DropStrangers,
        Self::PassNotListener,
        Self::PassMartian,
        Self::PassTooLong,
        Self::PassQueueUnknown,
        Self::PassNoCallId,
        Self::PassNoHeartbeat,
        Self::PassStaleHeartbeat,
        Self::PassNoSocket,
        Self::PassTruncatedEthernet,
        Self::PassGroupAddressed,
        Self::PassTruncatedVlan,
        Self::PassVlanDepth,
        Self::PassNotIp,
        Self::PassTruncatedIp,
        Self::PassIpHeader,
        Self::PassIpOptions,
        Self::PassFragment,
        Self::PassIpv6Extension,
        Self::PassNotUdp,
        Self::PassTruncatedUdp,
        Self::PassIpLength,
        Self::PassUdpLength,
    ];

    /// What becomes of a packet that is counted here.
    #[inline(always)]
    pub const fn action(self) -> Action {
        // Four ranges of the discriminant. What is none of ours comes first: it is to cost least.
        let number = self as u64;
        if number >= Self::PassNotListener as u64 {
            Action::Pass
        } else if number == Self::Redirect as u64 {
            Action::Redirect
        } else if number < Self::DropBanned as u64 {
            Action::Transmit
        } else {
            Action::Drop
        }
    }

    /// The name in status and metrics.
    pub const fn name(self) -> &'static str {
        self.text().0
    }

    /// One line for the operator who wonders why this counter moves.
    pub const fn help(self) -> &'static str {
        self.text().1
    }

    const fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::Redirect => ("redirect", "SIP given to an AF_XDP socket of its queue"),
            Self::AnswerStun => ("answer_stun", "STUN Binding requests that were answered at once"),
            Self::AnswerOptions => ("answer_options", "OPTIONS pings of peers that were answered at once"),
            Self::DropBanned => ("drop_banned", "from a banned address"),
            Self::DropBannedPrefix => ("drop_banned_prefix", "from a banned network"),
            Self::DropKeepAlive => {
                ("drop_keep_alive", "keep-alives without an answer: empty, or CR, LF and NUL alone")
            }
            Self::DropJunk => ("drop_junk", "for us, but neither SIP nor STUN by its first bytes"),
            Self::DropKnownRate => {
                ("drop_known_rate", "from a registered source that sends faster than its budget allows")
            }
            Self::DropUnknownRate => {
                ("drop_unknown_rate", "from an unknown source that sends faster than its budget allows")
            }
            Self::DropStrangers => {
                ("drop_strangers", "from an unknown source, while all unknown ones together send too fast")
            }
            Self::PassNotListener => ("pass_not_listener", "UDP to an address or port that is not ours"),
            Self::PassMartian => (
                "pass_martian",
                "for us, but from an address that no host has on a network, as loopback: the kernel drops those",
            ),
            Self::PassTooLong => {
                ("pass_too_long", "for us, but longer than a chunk of an AF_XDP socket: above 3,584 bytes")
            }
            Self::PassQueueUnknown => {
                ("pass_queue_unknown", "for us, on a receive queue beyond those that can be served")
            }
            Self::PassNoCallId => {
                ("pass_no_call_id", "for us, but with no Call-ID in the part that is looked at")
            }
            Self::PassNoHeartbeat => {
                ("pass_no_heartbeat", "for us, but the worker that it belongs to has not started yet")
            }
            Self::PassStaleHeartbeat => (
                "pass_stale_heartbeat",
                "for us, but the worker that it belongs to is stuck: no beat for 100 ms",
            ),
            Self::PassNoSocket => {
                ("pass_no_socket", "for us, but its worker has no AF_XDP socket on the queue")
            }
            Self::PassTruncatedEthernet => {
                ("pass_truncated_ethernet", "the frame ends inside the Ethernet header")
            }
            Self::PassGroupAddressed => {
                ("pass_group_addressed", "multicast or broadcast Ethernet destination")
            }
            Self::PassTruncatedVlan => ("pass_truncated_vlan", "the frame ends inside a VLAN tag"),
            Self::PassVlanDepth => ("pass_vlan_depth", "more than two VLAN tags"),
            Self::PassNotIp => ("pass_not_ip", "neither IPv4 nor IPv6"),
            Self::PassTruncatedIp => ("pass_truncated_ip", "the frame ends inside the IP header"),
            Self::PassIpHeader => ("pass_ip_header", "an IP header of the wrong version or below its length"),
            Self::PassIpOptions => ("pass_ip_options", "IPv4 with options"),
            Self::PassFragment => ("pass_fragment", "an IP fragment, the first one included"),
            Self::PassIpv6Extension => ("pass_ipv6_extension", "IPv6 with extension headers"),
            Self::PassNotUdp => ("pass_not_udp", "IP without UDP"),
            Self::PassTruncatedUdp => ("pass_truncated_udp", "the packet ends inside the UDP header"),
            Self::PassIpLength => ("pass_ip_length", "the IP length does not fit into the frame"),
            Self::PassUdpLength => ("pass_udp_length", "the UDP length disagrees with the IP length"),
        }
    }
}

impl From<Reject> for Counter {
    #[inline(always)]
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::TruncatedEthernet => Self::PassTruncatedEthernet,
            Reject::GroupAddressed => Self::PassGroupAddressed,
            Reject::TruncatedVlan => Self::PassTruncatedVlan,
            Reject::VlanDepth => Self::PassVlanDepth,
            Reject::NotIp => Self::PassNotIp,
            Reject::TruncatedIp => Self::PassTruncatedIp,
            Reject::IpHeader => Self::PassIpHeader,
            Reject::IpOptions => Self::PassIpOptions,
            Reject::Fragment => Self::PassFragment,
            Reject::Ipv6Extension => Self::PassIpv6Extension,
            Reject::NotUdp => Self::PassNotUdp,
            Reject::TruncatedUdp => Self::PassTruncatedUdp,
            Reject::OtherPort => Self::PassNotListener,
            Reject::IpLength => Self::PassIpLength,
            Reject::UdpLength => Self::PassUdpLength,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn counters_are_numbered_as_they_are_listed_and_named_apart() {
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index);
        }
        let names: HashSet<_> = Counter::ALL.into_iter().map(Counter::name).collect();
        assert_eq!(names.len(), Counter::COUNT);
    }

    #[test]
    fn a_counters_name_says_its_action() {
        for counter in Counter::ALL {
            let prefix = match counter.action() {
                Action::Redirect => "redirect",
                Action::Transmit => "answer_",
                Action::Drop => "drop_",
                Action::Pass => "pass_",
            };
            assert!(counter.name().starts_with(prefix), "{counter:?} is {:?}", counter.action());
        }
    }

    #[test]
    fn every_reject_has_a_counter_of_its_own() {
        let counters: HashSet<_> = Reject::ALL.into_iter().map(Counter::from).collect();
        assert_eq!(counters.len(), Reject::ALL.len());
    }
}
