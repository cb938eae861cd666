//! Counters: one name, one sentence of help and one slot for each thing that can happen.
//!
//! [`counters!`](crate::counters!) declares an enum of events and the array they index. The engine counts its
//! [`Event`]s with it; a node uses it for its workers. The slots are plain integers, because every worker owns its
//! own array and publishes copies: a shared counter would be a cache line in the way of every message.

/// Declares an enum of events and an array type with one `u64` for each. The single doc line of a variant is its
/// help text; the string is its name in reports.
///
/// ```
/// strowger_engine::counters! {
///     /// What a door counts.
///     pub enum Door, struct Doors {
///         /// Times it was opened.
///         Opened = "opened",
///         /// Times it was shut.
///         Shut = "shut",
///     }
/// }
/// let mut doors = Doors::new();
/// doors.count(Door::Opened);
/// doors.add(Door::Shut, 2);
/// assert_eq!(doors.of(Door::Shut), 2);
/// assert_eq!(Door::Opened.name(), "opened");
/// assert_eq!(Door::Opened.help(), "Times it was opened.");
/// assert_eq!(doors.iter().map(|(_, n)| n).sum::<u64>(), 3);
/// ```
#[macro_export]
macro_rules! counters {
    (
        $(#[$meta:meta])*
        $vis:vis enum $event:ident, struct $array:ident {
            $( #[doc = $help:literal] $variant:ident = $name:literal ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        $vis enum $event {
            $( #[doc = $help] $variant ),+
        }

        impl $event {
            /// Every event, in the order of its slot.
            pub const ALL: &'static [Self] = &[$( Self::$variant ),+];
            /// Number of events.
            pub const COUNT: usize = Self::ALL.len();

            /// Name in reports: lower case with underscores, never changed once released.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name ),+ }
            }

            /// One sentence saying what is counted.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $( Self::$variant => $help.trim_ascii() ),+ }
            }
        }

        #[doc = concat!("One count for each [`", stringify!($event), "`].")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $array([u64; $event::COUNT]);

        impl $array {
            /// All zero.
            #[must_use]
            pub const fn new() -> Self {
                Self([0; $event::COUNT])
            }

            /// One more of `event`.
            #[inline]
            pub const fn count(&mut self, event: $event) {
                self.add(event, 1);
            }

            /// `n` more of `event`.
            #[inline]
            pub const fn add(&mut self, event: $event, n: u64) {
                // In bounds: the array is as long as the enum. 2^64 is not reached by counting.
                self.0[event as usize] = self.0[event as usize].wrapping_add(n);
            }

            /// How many of `event`.
            #[must_use]
            #[inline]
            pub const fn of(&self, event: $event) -> u64 {
                self.0[event as usize]
            }

            /// Adds every count of `other`: sums workers.
            pub fn merge(&mut self, other: &Self) {
                for (mine, theirs) in self.0.iter_mut().zip(other.0) {
                    *mine = mine.wrapping_add(theirs);
                }
            }

            /// Every event with its count.
            pub fn iter(&self) -> impl Iterator<Item = ($event, u64)> + '_ {
                $event::ALL.iter().copied().zip(self.0)
            }

            /// The counts alone, in the order of the enum's `ALL`.
            #[must_use]
            pub const fn as_array(&self) -> &[u64; $event::COUNT] {
                &self.0
            }
        }

        impl Default for $array {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}

counters! {
    /// Everything the engine counts. `request_*` and `response_*` are arrivals, `reply_*` are responses that the
    /// engine itself wrote, `drop_*` are messages that produced nothing.
    pub enum Event, struct Counters {
        /// INVITE requests received.
        RequestInvite = "request_invite",
        /// ACK requests received.
        RequestAck = "request_ack",
        /// CANCEL requests received.
        RequestCancel = "request_cancel",
        /// BYE requests received.
        RequestBye = "request_bye",
        /// REGISTER requests received.
        RequestRegister = "request_register",
        /// OPTIONS requests received.
        RequestOptions = "request_options",
        /// Requests of any other method received.
        RequestOther = "request_other",
        /// Provisional responses received.
        Response1xx = "response_1xx",
        /// 2xx responses received.
        Response2xx = "response_2xx",
        /// 3xx responses received.
        Response3xx = "response_3xx",
        /// 4xx responses received.
        Response4xx = "response_4xx",
        /// 5xx responses received.
        Response5xx = "response_5xx",
        /// 6xx responses received.
        Response6xx = "response_6xx",
        /// Requests sent on towards their target.
        RequestForwarded = "request_forwarded",
        /// Responses sent on towards the caller.
        ResponseForwarded = "response_forwarded",
        /// Of those, responses to requests of an engine before this one, or of a worker that is stuck.
        ResponseInherited = "response_inherited",
        /// INVITE requests without a To tag sent on, which begin a call, their retransmissions included.
        CallBegun = "call_begun",
        /// 2xx responses to INVITE sent on, their retransmissions included.
        CallAnswered = "call_answered",
        /// BYE requests sent on, their retransmissions included.
        CallEnded = "call_ended",
        /// Transactions begun.
        TransactionBegun = "transaction_begun",
        /// Branches begun beside the first of their transaction.
        BranchBegun = "branch_begun",
        /// Requests that a transaction knew already and took: retransmissions, and the ACK of a non-2xx.
        RequestAbsorbed = "request_absorbed",
        /// Responses that went no further: 100s, retransmissions, and what came after the final response.
        ResponseAbsorbed = "response_absorbed",
        /// Requests sent again, since nothing was answered (timers A and E).
        RequestRepeated = "request_repeated",
        /// Responses sent again: asked for by a retransmission, or not acknowledged yet (timer G).
        ResponseRepeated = "response_repeated",
        /// ACKs sent for final responses other than 2xx.
        AckSent = "ack_sent",
        /// CANCELs sent, their retransmissions included.
        CancelSent = "cancel_sent",
        /// Branches that ended without a final response (timers B and F, or a CANCEL that nothing came of).
        BranchTimeout = "branch_timeout",
        /// Branches cancelled because they rang for too long (timer C).
        BranchRangOut = "branch_rang_out",
        /// Final responses other than 2xx whose ACK never came (timer H).
        FinalUnacknowledged = "final_unacknowledged",
        /// Requests for which there was no transaction left: refused, or sent on without.
        TransactionLimit = "transaction_limit",
        /// Targets of a fork that were left out: no branch or no memory for them.
        TargetLimit = "target_limit",
        /// Messages that could not be kept, for lack of memory, and so cannot be repeated.
        KeptLimit = "kept_limit",
        /// Messages lost because too many waited to be sent.
        OutboxFull = "outbox_full",
        /// Replies 100 Trying.
        Reply100 = "reply_100",
        /// 430 responses after which another flow of the same phone was tried (RFC 5626 section 7).
        FlowReplaced = "flow_replaced",
        /// 3xx responses whose contacts were tried here (RFC 3261 section 16.7 item 4).
        Redirected = "redirected",
        /// STUN Binding requests answered (RFC 5626 section 8).
        StunAnswered = "stun_answered",
        /// Replies 200 OK.
        Reply200 = "reply_200",
        /// Replies 400: the request is malformed; the reason phrase says how.
        Reply400 = "reply_400",
        /// Replies 401: the sender is to show who he is.
        Reply401 = "reply_401",
        /// Replies 407: the sender is to show who he is before we send his request on.
        Reply407 = "reply_407",
        /// Replies 403: forbidden.
        Reply403 = "reply_403",
        /// Replies 404: not a user of our domains.
        Reply404 = "reply_404",
        /// Replies 405: a method that this server does not serve itself.
        Reply405 = "reply_405",
        /// Replies 408: nothing was answered in time.
        Reply408 = "reply_408",
        /// Replies 414: Request-URI too long.
        Reply414 = "reply_414",
        /// Replies 416: a URI scheme other than sip.
        Reply416 = "reply_416",
        /// Replies 420: an extension demanded by Require or Proxy-Require.
        Reply420 = "reply_420",
        /// Replies 423: a registration shorter than the minimum.
        Reply423 = "reply_423",
        /// Replies 439: the first proxy does not keep flows, and the phone wants one.
        Reply439 = "reply_439",
        /// Replies 440: Max-Breadth was used up.
        Reply440 = "reply_440",
        /// Replies 480: a known user without a live binding.
        Reply480 = "reply_480",
        /// Replies 481: a CANCEL of nothing that is known.
        Reply481 = "reply_481",
        /// Replies 482: the request came back unchanged.
        Reply482 = "reply_482",
        /// Replies 483: Max-Forwards was used up.
        Reply483 = "reply_483",
        /// Replies 487: cancelled, and nothing was answered in time.
        Reply487 = "reply_487",
        /// Replies 500: a REGISTER out of order, or no next hop that can be reached.
        Reply500 = "reply_500",
        /// Replies 501: a method nobody has heard of, for this server itself.
        Reply501 = "reply_501",
        /// Replies 503: a limit was reached.
        Reply503 = "reply_503",
        /// Replies 505: a SIP version other than 2.0.
        Reply505 = "reply_505",
        /// Replies 513: the request is too large to be forwarded.
        Reply513 = "reply_513",
        /// Bindings made.
        BindingAdded = "binding_added",
        /// Bindings refreshed.
        BindingRefreshed = "binding_refreshed",
        /// Bindings removed by a REGISTER.
        BindingRemoved = "binding_removed",
        /// Bindings that ran out.
        BindingExpired = "binding_expired",
        /// Requests proven by digest credentials.
        AuthAccepted = "auth_accepted",
        /// Requests without credentials for our realm, answered with a challenge.
        AuthChallenged = "auth_challenged",
        /// Requests whose credentials prove nobody: wrong password, unknown user, an algorithm or qop not offered.
        AuthRejected = "auth_rejected",
        /// What a source has shown of itself, lost because the node did not ask for it in time.
        SightingLost = "sighting_lost",
        /// Right credentials with a nonce that is too old, not ours, or of another address: challenged again.
        AuthStale = "auth_stale",
        /// Right credentials with a nonce count that was used, or is no longer known: challenged again.
        AuthReplayed = "auth_replayed",
        /// Right credentials of a user who is not active, or for somebody else's address: answered 403.
        AuthForbidden = "auth_forbidden",
        /// Credentials for another resource than the Request-URI: answered 400.
        AuthUri = "auth_uri",
        /// Refusals not sent because they are longer than what their source has sent: nobody knows yet who that is.
        DropWithheld = "drop_withheld",
        /// REGISTER refused because the user has as many contacts as allowed.
        ContactLimit = "contact_limit",
        /// REGISTER refused because the table of bindings is full.
        BindingLimit = "binding_limit",
        /// INVITE refused because the table of dialogs is full, and branches of forked calls that it had no room for.
        DialogLimit = "dialog_limit",
        /// Calls that went through unwatched: their identifiers and URIs are longer than the table keeps.
        DialogTooLarge = "dialog_too_large",
        /// Branches of forked calls that went through unwatched: one INVITE had too many.
        DialogForkLimit = "dialog_fork_limit",
        /// Requests to where the other end of their dialog has moved to since their token was made.
        DialogMoved = "dialog_moved",
        /// BYEs of our own sent, because an operator ended a call; their retransmissions included.
        ByeSent = "bye_sent",
        /// Call events that were lost because nobody took them in time.
        CallEventLost = "call_event_lost",
        /// Requests for somewhere else without proof that their dialog is ours: this is no open relay.
        RelayRefused = "relay_refused",
        /// Route values of ours whose token did not fit the dialog.
        TokenInvalid = "token_invalid",
        /// Requests that begin something refused for want of means: the worker's backlog or a table that is filling up.
        OverloadRefused = "overload_refused",
        /// Requests refused by a routing rule.
        RouteRejected = "route_rejected",
        /// Requests for a gateway group without a target that is up.
        GatewaysDown = "gateways_down",
        /// OPTIONS requests of our own sent to gateways, their retransmissions included.
        ProbeSent = "probe_sent",
        /// Requests whose next hop is a name that leads nowhere, another transport, or a family we do not listen on.
        NextHopUnreachable = "next_hop_unreachable",
        /// Keep-alives: CRLF and empty datagrams.
        DropKeepAlive = "drop_keep_alive",
        /// Datagrams that are neither request nor response.
        DropNotSip = "drop_not_sip",
        /// STUN messages that are no Binding request, or a damaged one.
        DropStun = "drop_stun",
        /// Malformed requests that cannot even be answered.
        DropUnanswerable = "drop_unanswerable",
        /// ACKs that belong to nobody else, or that could not be sent on: an ACK is never answered.
        DropAck = "drop_ack",
        /// CANCELs that cannot be sent on, from somebody who has not shown who he is: without state they are ignored.
        DropCancel = "drop_cancel",
        /// Malformed responses.
        DropResponseMalformed = "drop_response_malformed",
        /// Responses whose top Via is not ours.
        DropResponseNotOurs = "drop_response_not_ours",
        /// Responses whose branch we did not make for this transaction.
        DropResponseForged = "drop_response_forged",
        /// Responses to a transaction that is over, or another worker's.
        DropResponseStray = "drop_response_stray",
        /// Responses without a second Via: we send no requests of our own.
        DropResponseNoNextVia = "drop_response_no_next_via",
        /// Requests for a next hop whose name is being asked for; their retransmissions find the answer.
        DropAwaited = "drop_awaited",
        /// Messages from sources that sent more than they may.
        DropBudget = "drop_budget",
        /// Messages that came to an address or from a port that cannot be answered.
        DropFlow = "drop_flow",
        /// Messages for which the buffer has no room.
        DropNoRoom = "drop_no_room",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_every_event_has_its_own_slot() {
        let names: HashSet<_> = Event::ALL.iter().map(|e| e.name()).collect();
        assert_eq!(names.len(), Event::COUNT);
        let mut counters = Counters::new();
        for (n, e) in Event::ALL.iter().enumerate() {
            counters.add(*e, n as u64 + 1);
        }
        for (n, (e, count)) in counters.iter().enumerate() {
            assert_eq!(count, n as u64 + 1, "{}", e.name());
            assert!(e.help().ends_with('.') && !e.help().starts_with(' '), "{}: {}", e.name(), e.help());
        }
    }

    #[test]
    fn merging_adds_slot_by_slot() {
        let (mut a, mut b) = (Counters::new(), Counters::new());
        a.count(Event::Reply200);
        b.add(Event::Reply200, 4);
        b.count(Event::DropAck);
        a.merge(&b);
        assert_eq!((a.of(Event::Reply200), a.of(Event::DropAck), a.of(Event::Reply400)), (5, 1, 0));
    }
}
