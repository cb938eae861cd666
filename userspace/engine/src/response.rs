//! Responses: back along the Vias (RFC 3261 sections 16.11 and 18.2.2).
//!
//! A response is believed only when its branch carries our MAC over this transaction and over the address it is to
//! go to. So nobody who has not seen our request can send one through us, and nobody who has can send it elsewhere.

use core::net::SocketAddr;

use strowger_sip::{EditPlan, Message, Via};

use crate::branch::{Bound, Branch};
use crate::engine::Reason;
use crate::keys::Keys;
use crate::proxy::is_unicast;
use crate::route;
use crate::site::{DEFAULT_PORT, Site};

/// Plans the removal of our Via. Returns the index of the listen address it leaves from, and where it goes.
pub(crate) fn forward(
    message: &Message<'_>,
    site: &Site,
    keys: &Keys,
    plan: &mut EditPlan,
) -> Result<(u8, SocketAddr), Reason> {
    let mut vias = message.vias();
    let malformed = |_| Reason::ResponseMalformed;
    let top = vias.next().ok_or(Reason::ResponseMalformed)?.map_err(malformed)?;
    if site.listen_named(&top.host(), top.port()).is_none() {
        return Err(Reason::ResponseNotOurs);
    }
    let next = vias.next().ok_or(Reason::ResponseNoNextVia)?.map_err(malformed)?;
    let reply_to = destination(&next).ok_or(Reason::ResponseMalformed)?;
    let call_id = message.call_id().map_err(malformed)?;
    let cseq = message.cseq().map_err(malformed)?.number;
    let branch = top.branch().ok_or(Reason::ResponseForged)?;
    let branch =
        Branch::verify(branch, keys, &Bound { call_id, cseq, reply_to }).ok_or(Reason::ResponseForged)?;
    plan.begin(message);
    plan.remove_top_via(message).map_err(|_| Reason::ResponseMalformed)?;
    if message.status().is_some_and(|status| (101..300).contains(&status.code)) {
        let caller = message.from().ok().and_then(|from| from.tag()).unwrap_or_default();
        route::hand_over(message, call_id, caller, site, keys, plan)
            .map_err(|_| Reason::ResponseMalformed)?;
    }
    // The configuration may have changed under a secret that stayed.
    site.listen(branch.listen).ok_or(Reason::ResponseForged)?;
    Ok((branch.listen, reply_to))
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
