//! What a worker counts besides its engine's events: one counter for every way that a message can take or end.

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
        /// Frames from outside whose source is an address that we listen at: made up (RFC 1122 section 3.2.1.3).
        DropMartian = "drop_martian",
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
        /// Messages not sent: nobody knows where on the link they should go, and the kernel asks for as many others as it has room for.
        DropUnresolved = "drop_unresolved",
        /// Messages the kernel socket would not take either.
        DropKernelSend = "drop_kernel_send",
        /// Messages whose local address is none of our sockets'; a bug if it ever counts.
        DropNoSocket = "drop_no_socket",
        /// Names of next hops asked for.
        NamesAsked = "names_asked",
        /// Names not asked for because too many were already; the engine asks again.
        NamesLost = "names_lost",
        /// Messages that came by this worker's kernel sockets and were given to the worker that has their Call-ID.
        HandedOverOut = "handed_over_out",
        /// Messages that came by this worker's kernel sockets, belong to a worker that is stuck, and were given to the stand-in.
        HandedToStandIn = "handed_to_stand_in",
        /// Messages of this worker's that came by another's kernel sockets.
        HandedOverIn = "handed_over_in",
        /// Messages lost on the way to the worker that has their Call-ID, because that one was too far behind.
        HandedOverDropped = "handed_over_dropped",
        /// Messages from an AF_XDP ring whose Call-ID was hashed again, to see that the program steered them right.
        SteeredChecked = "steered_checked",
        /// Of those, messages that belong to another worker: a bug if it ever counts.
        SteeredAstray = "steered_astray",
        /// What sources have shown of themselves, lost because the control side was behind.
        SightingsLost = "sightings_lost",
        /// Turns of the loop.
        Turns = "turns",
        /// Sleeps, until something came or it was time.
        Sleeps = "sleeps",
        /// Waits of `dataplane.gather_us`, so that more messages are taken at once.
        Gathered = "gathered",
        /// System calls that woke another worker: for a message, or for frames of a queue it owns.
        WokeOthers = "woke_others",
    }
}
