//! A request as the element sees it: the headers that decide, read once, and where its replies go.
//!
//! Built by the engine before anything is decided; read by registrar and proxy core. What is computed here depends
//! on the message alone, so that a retransmission gives the same (RFC 3261 section 16.11).

use core::net::{IpAddr, SocketAddr};

use strowger_sip::{Essentials, HeaderName, Host, Message, Method, Uri, Via};

use crate::keys::{Keys, Prf, write_base32};
use crate::plant::{Plant, is_planted};
use crate::refusal::Refusal;
use crate::route::{Hop, Routes};
use crate::site::{DEFAULT_PORT, Site};

/// Octets of our To tags: 40 bits, over the 32 that RFC 3261 section 19.3 wants.
pub(crate) const TAG_LEN: usize = 8;

/// One request, read.
pub(crate) struct Request<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) method: Method<'a>,
    pub(crate) headers: &'a Essentials<'a>,
    /// The Request-URI after RFC 3261 section 16.4: for a request from a strict router its last Route.
    pub(crate) uri: Uri<'a>,
    /// The Request-URI as it came.
    pub(crate) received_uri: &'a [u8],
    pub(crate) routes: Routes<'a>,
    /// What the token in a Route of ours says: `None` without one, else whether it is good for this dialog and for
    /// where the request goes.
    pub(crate) token: Option<bool>,
    /// Index of the listen address it came to.
    pub(crate) listen: u8,
    pub(crate) remote: SocketAddr,
    pub(crate) reply_to: SocketAddr,
}

impl<'a> Request<'a> {
    /// Reads what forwarding and answering need: the syntax check of RFC 3261 section 16.3 item 1, and 16.4.
    pub(crate) fn read(
        message: Message<'a>,
        method: Method<'a>,
        headers: &'a Essentials<'a>,
        (site, keys): (&Site, &Keys),
        (listen, remote): (u8, SocketAddr),
    ) -> Result<Self, Refusal> {
        let received_uri = message.request().map_or(&b""[..], |line| line.uri);
        let received = Uri::parse(received_uri).map_err(Refusal::Uri)?;
        let (routes, last) = Routes::read(&message, &received, site)?;
        let uri = match last {
            None => received,
            Some(last) => last.uri().map_err(|e| Refusal::UriIn(HeaderName::Route, e))?,
        };
        let token = routes.proves(headers, &uri, keys)?;
        let reply_to = reply_to(&headers.via, remote);
        Ok(Self { message, method, headers, uri, received_uri, routes, token, listen, remote, reply_to })
    }

    /// See [`via_marks`].
    pub(crate) fn via_marks(&self) -> (Option<IpAddr>, Option<u16>) {
        via_marks(&self.headers.via, self.remote)
    }

    /// Where it came from.
    pub(crate) fn source(&self) -> SocketAddr {
        self.remote
    }

    /// Tag of From; empty for a client of RFC 2543 that has none.
    pub(crate) fn sender_tag(&self) -> &'a [u8] {
        self.headers.from.tag().unwrap_or_default()
    }

    /// Whether the request belongs to a dialog that went through us and goes where that dialog goes: it has a To tag,
    /// and a Route of ours with the token for it. The To tag alone proves nothing.
    pub(crate) fn in_our_dialog(&self) -> bool {
        self.token == Some(true) && self.headers.to.tag().is_some()
    }

    /// The host that it goes to next.
    pub(crate) fn hop(&self) -> Option<Hop<'a>> {
        self.routes.hop(&self.uri).ok().flatten()
    }

    /// Whether this is the ACK for a reply that we wrote ourselves.
    pub(crate) fn acknowledges_us(&self, keys: &Keys) -> bool {
        let Essentials { to, call_id, cseq, .. } = self.headers;
        self.method == Method::Ack
            && to.tag().is_some_and(|given| {
                given.len() == TAG_LEN && given == tag(call_id, self.sender_tag(), cseq.number, keys)
            })
    }

    /// Key of the server transaction that the request belongs to (RFC 3261 section 17.2.3): the same for a
    /// retransmission, and for the CANCEL of an INVITE and the ACK of a non-2xx. Beside branch, sent-by and method we
    /// take what all of these repeat, because there are clients that use one branch twice.
    ///
    /// Without the magic cookie it is RFC 2543's: the Via and the Request-URI whole, and the tag of From. The To tag is
    /// left out: the ACK has that of the response, and Via and CSeq tell the rest apart.
    pub(crate) fn key(&self, keys: &Keys) -> u128 {
        let Essentials { via, call_id, cseq, .. } = self.headers;
        let method = match self.method {
            Method::Ack | Method::Cancel => Method::Invite,
            method => method,
        };
        let mut hash = Prf::wide_lookup(&keys.branch);
        hash.field(call_id).number(u64::from(cseq.number)).field(method.as_bytes());
        if is_planted(Plant::CancelMatch) && method == Method::Invite {
            // As it is.
        } else if via.has_magic_cookie() {
            hash.folded(via.branch().unwrap_or_default()).number(via.port().map_or(0, u64::from));
            match via.host() {
                Host::Name(name) => hash.folded(name),
                Host::V4(ip) => hash.field(&ip.octets()),
                Host::V6(ip) => hash.field(&ip.octets()),
            };
        } else {
            hash.field(via.as_bytes()).field(self.sender_tag()).field(self.received_uri);
        }
        hash.finish128()
    }

    /// The part of our branch that recognises a loop: everything that decides where the request goes (RFC 5393
    /// section 4.2.1), and what tells one transaction from another. Not the method, not the To tag: CANCEL and ACK
    /// must have it too.
    pub(crate) fn looped(&self, keys: &Keys) -> u32 {
        let Essentials { call_id, cseq, .. } = self.headers;
        let mut hash = Prf::lookup(&keys.looped);
        hash.field(self.received_uri).field(call_id).number(u64::from(cseq.number)).field(self.sender_tag());
        for line in self.message.headers(HeaderName::Route) {
            hash.field(line.value);
        }
        // The upper half is as good as the lower one.
        (hash.finish() >> 32) as u32
    }
}

/// Where the reply to a request goes: to the address it came from, and to its port when the client asked for that
/// with `rport` (RFC 3581 section 4), else to the port of the sent-by (RFC 3261 section 18.2.2). `maddr` is not
/// followed: it would have us send to a third party.
pub(crate) fn reply_to(via: &Via<'_>, remote: SocketAddr) -> SocketAddr {
    let port = if via.rport().is_some() { remote.port() } else { via.port().unwrap_or(DEFAULT_PORT) };
    SocketAddr::new(remote.ip(), port)
}

/// What the top Via of a request gets, so that its responses find the way back: `received` when the sent-by is not
/// the address it came from (RFC 3261 section 18.2.1), always with `rport` (RFC 3581 section 4), and in place of one
/// that the client wrote itself; the value of `rport`.
pub(crate) fn via_marks(via: &Via<'_>, remote: SocketAddr) -> (Option<IpAddr>, Option<u16>) {
    let ip = remote.ip();
    let differs = via.host().ip().is_none_or(|host| host.to_canonical() != ip);
    let received = differs || via.rport().is_some() || via.received().is_some();
    (received.then_some(ip), via.rport().map(|_| remote.port()))
}

/// The tag we put into To: the same for every retransmission, and for the ACK to recognise (RFC 3261 section 8.2.7).
/// `None` without a Call-ID and CSeq to make it from; such a reply is for people who look at the wire.
#[cold]
pub(crate) fn own_tag(message: &Message<'_>, keys: &Keys) -> Option<[u8; TAG_LEN]> {
    let from = message.from().ok();
    let sender_tag = from.and_then(|from| from.tag()).unwrap_or_default();
    Some(tag(message.call_id().ok()?, sender_tag, message.cseq().ok()?.number, keys))
}

/// As [`own_tag`], from headers that were read.
pub(crate) fn tag_for(headers: &Essentials<'_>, keys: &Keys) -> [u8; TAG_LEN] {
    tag(headers.call_id, headers.from.tag().unwrap_or_default(), headers.cseq.number, keys)
}

fn tag(call_id: &[u8], sender_tag: &[u8], cseq: u32, keys: &Keys) -> [u8; TAG_LEN] {
    let hash = Prf::new(&keys.tag).field(call_id).field(sender_tag).number(u64::from(cseq)).finish();
    let mut tag = [0; TAG_LEN];
    write_base32(hash, &mut tag);
    tag
}
