//! Responses: whose they are, and back along the Vias (RFC 3261 sections 16.11, 17.1.3 and 18.2.2).
//!
//! A response is believed only when its branch carries our MAC over this transaction and over the address it is to
//! go to. So nobody who has not seen our request can send one through us, and nobody who has can send it elsewhere.

use core::net::SocketAddr;

use strowger_sip::{CSeq, EditPlan, HeaderName, Message, Method, NameAddr, ValueError, Values, Via};

use crate::branch::{Bound, Branch, Origin};
use crate::engine::Reason;
use crate::keys::Keys;
use crate::proxy::is_unicast;
use crate::route;
use crate::site::{DEFAULT_PORT, Site};
use crate::transaction::Core;

/// The two Vias of a response that matter here, read once.
pub(crate) struct Vias<'a> {
    /// Ours, if the response is; `None` without any Via.
    pub(crate) top: Option<Result<Via<'a>, ValueError>>,
    /// Whom it goes to next.
    pub(crate) next: Option<Result<Via<'a>, ValueError>>,
}

impl<'a> Vias<'a> {
    pub(crate) fn read(message: &Message<'a>) -> Self {
        let mut vias = message.vias();
        Self { top: next(&mut vias), next: next(&mut vias) }
    }
}

/// Out of line: reading a Via is much code, and is wanted twice.
#[inline(never)]
fn next<'a>(vias: &mut Values<'a, Via<'a>>) -> Option<Result<Via<'a>, ValueError>> {
    vias.next()
}

/// What everybody wants to know of a response, read once.
pub(crate) struct Headers<'a> {
    pub(crate) code: u16,
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: CSeq<'a>,
    /// From, and To; `None` when it cannot be read.
    pub(crate) from: Option<NameAddr<'a>>,
    pub(crate) to: Option<NameAddr<'a>>,
}

impl<'a> Headers<'a> {
    pub(crate) fn read(message: &Message<'a>) -> Result<Self, Reason> {
        let malformed = |_| Reason::ResponseMalformed;
        Ok(Self {
            code: message.status().map_or(0, |line| line.code),
            call_id: message.call_id().map_err(malformed)?,
            cseq: message.cseq().map_err(malformed)?,
            from: address(message, HeaderName::From),
            to: address(message, HeaderName::To),
        })
    }

    /// Tag of From; empty for a client of RFC 2543 that has none.
    pub(crate) fn sender_tag(&self) -> &'a [u8] {
        self.from.and_then(|from| from.tag()).unwrap_or_default()
    }
}

/// Out of line, as `next` is.
#[inline(never)]
fn address<'a>(message: &Message<'a>, name: HeaderName) -> Option<NameAddr<'a>> {
    message.address(name).ok().flatten()
}

/// Our branch in a response to a request that was sent from here, not believed yet.
pub(crate) fn branch<'a>(top: &Via<'a>, site: &Site) -> Result<&'a [u8], Reason> {
    if site.listen_named(&top.host(), top.port()).is_none() {
        return Err(Reason::ResponseNotOurs);
    }
    top.branch().ok_or(Reason::ResponseForged)
}

/// What our branch in a response says, once it is believed, and the address that the next Via names.
pub(crate) fn verify(
    branch: &[u8],
    headers: &Headers<'_>,
    vias: &Vias<'_>,
    keys: &Keys,
    core: &Core,
) -> Result<(Branch, SocketAddr), Reason> {
    let Headers { call_id, cseq, .. } = headers;
    let reply_to = match &vias.next {
        // The CANCEL that it answers had our Via alone, and the branch of its INVITE.
        None if cseq.method == Method::Cancel => {
            match Branch::read(branch).map(|(branch, _)| branch.origin) {
                Some(Origin::Transaction(slot)) => core.reply_to(slot).ok_or(Reason::ResponseStray)?,
                _ => return Err(Reason::ResponseForged),
            }
        }
        None => return Err(Reason::ResponseNoNextVia),
        Some(next) => next.as_ref().ok().and_then(destination).ok_or(Reason::ResponseMalformed)?,
    };
    let bound = Bound { call_id, cseq: cseq.number, reply_to };
    let branch = Branch::verify(branch, keys, &bound).ok_or(Reason::ResponseForged)?;
    Ok((branch, reply_to))
}

/// Plans what is done to a response that goes on: our Via is taken away (section 16.7 item 3), our Record-Route handed
/// over to the caller (item 8).
pub(crate) fn edit(
    message: &Message<'_>,
    headers: &Headers<'_>,
    top: &Via<'_>,
    site: &Site,
    keys: &Keys,
    plan: &mut EditPlan,
) -> Result<(), Reason> {
    let malformed = |_| Reason::ResponseMalformed;
    plan.begin(message);
    plan.remove_via(message, top).map_err(malformed)?;
    if (101..300).contains(&headers.code) {
        route::hand_over(message, headers.call_id, headers.sender_tag(), site, keys, plan)
            .map_err(malformed)?;
    }
    Ok(())
}

/// RFC 3261 section 18.2.2 with RFC 3581 section 4: `received` and `rport`, else the sent-by. `maddr` is not followed.
/// A name in sent-by without `received` cannot be ours: we mark every such Via.
fn destination(via: &Via<'_>) -> Option<SocketAddr> {
    let port = via.port().unwrap_or(DEFAULT_PORT);
    let address = match (via.received(), via.rport()) {
        (Some(ip), Some(Some(port))) => SocketAddr::new(ip, port),
        (Some(ip), _) => SocketAddr::new(ip, port),
        (None, _) => SocketAddr::new(via.host().ip()?, port),
    };
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    is_unicast(address).then_some(address)
}
