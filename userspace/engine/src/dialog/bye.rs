//! An operator ends a call: a BYE to each end, as the other end would send it (RFC 3261 sections 12.2.1.1 and 15.1.1).
//!
//! Here is what the requests say; the transaction core sends them, with our Via, and tells how they were answered.

use core::fmt;
use core::net::SocketAddr;

use strowger_sip::{Digits, NameAddr, Uri};

use super::entry::{State, bit};
use super::event::{EndReason, Party};
use super::table::DialogId;
use super::{Dialogs, LINGER, Scene, TEXT, strings};
use crate::proxy::next_hop;
use crate::text;

/// Octets of a BYE: the strings of a dialog at their longest, some of them twice, and the header lines' names.
pub(crate) const BYE: usize = 2 * TEXT + 512;

/// Why a dialog cannot be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillError {
    /// There is none of this name, or not any more.
    Unknown,
    /// It was not answered yet: nothing but its caller's CANCEL ends it early.
    NotAnswered,
    /// It is about to end.
    Ending,
    /// What is kept of it is not whole, because it did not fit: a BYE would not reach its ends.
    Incomplete,
    /// There is no room for the requests. Try again.
    Busy,
}

impl fmt::Display for KillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no such dialog",
            Self::NotAnswered => "the call was not answered yet",
            Self::Ending => "the call is about to end",
            Self::Incomplete => "the call's routes did not fit the table, so it cannot be reached",
            Self::Busy => "no room for the requests, try again",
        })
    }
}

impl core::error::Error for KillError {}

/// Where a BYE goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// Index of the listen address that this end is used to.
    pub(crate) listen: u8,
    pub(crate) remote: SocketAddr,
}

impl Dialogs {
    /// Begins to end a dialog: from now on [`bye`](Self::bye) writes the requests and [`hung_up`](Self::hung_up)
    /// hears how they were answered. Whatever comes or does not come, it is over after 64·T1.
    pub(crate) fn kill(&mut self, scene: &Scene<'_>, id: DialogId) -> Result<(), KillError> {
        let dialog = self.table.get_mut(id).ok_or(KillError::Unknown)?;
        match dialog.state {
            State::Trying | State::Early => return Err(KillError::NotAnswered),
            State::Ending(_) | State::Killing(_) => return Err(KillError::Ending),
            State::Confirmed if dialog.outdated => return Err(KillError::Incomplete),
            State::Confirmed => {}
        }
        dialog.state = State::Killing(bit(Party::Caller) | bit(Party::Callee));
        dialog.hung_up = dialog.offset(scene.now);
        self.wait(id, scene.now.after(LINGER));
        Ok(())
    }

    /// Writes the BYE to one end, without Via, and says where it goes; `None` when there is no dialog, no room, or no
    /// way: the first hop is a name (asking for it would take longer than the call matters), and nothing came from
    /// that end.
    pub(crate) fn bye<const N: usize>(
        &mut self,
        scene: &Scene<'_>,
        id: DialogId,
        to: Party,
        out: &mut text::Text<N>,
    ) -> Option<Way> {
        let dialog = self.table.get(id)?;
        let strings = strings(&self.texts, dialog, &mut self.scratch);
        let from = to.other();
        let target = strings.target(to);
        let mut routes = strings.routes(to);
        // Section 12.2.1.1: a first router that is strict finds itself in the Request-URI, and the target comes last.
        let first = first_of(routes);
        let first_uri = first.and_then(|route| route.uri().ok());
        let strict = first_uri.filter(|uri| !uri.is_loose()).map(|uri| uri.as_bytes());
        if let (Some(_), Some(first)) = (strict, first) {
            routes = routes.get(first.range().end..).unwrap_or_default();
            routes = routes.strip_prefix(b", ").unwrap_or(routes);
        }
        let hop = first_uri.or_else(|| Uri::parse(target).ok()).and_then(|uri| next_hop(&uri, scene.site));
        let end = dialog.end(to);
        let remote = hop.or_else(|| end.remote.get())?;
        // What the other end would number its next request with; if it never sent one, any number will do.
        let cseq = Digits::new(dialog.end(from).cseq + 1);

        out.clear();
        let mut put = |parts: &[&[u8]]| parts.iter().try_for_each(|part| out.push(part)).ok();
        put(&[b"BYE ", strict.unwrap_or(target), b" SIP/2.0\r\nMax-Forwards: 70\r\n"])?;
        if !routes.is_empty() {
            put(&[b"Route: ", routes, b"\r\n"])?;
        }
        if strict.is_some() {
            put(&[b"Route: <", target, b">\r\n"])?;
        }
        for (name, party) in [(&b"From: <"[..], from), (b"To: <", to)] {
            put(&[name, strings.uri(party), b">"])?;
            // A client of RFC 2543 has no tag.
            if !strings.tag(party).is_empty() {
                put(&[b";tag=", strings.tag(party)])?;
            }
            put(&[b"\r\n"])?;
        }
        put(&[b"Call-ID: ", strings.get(super::Part::CallId), b"\r\nCSeq: ", cseq.as_bytes(), b" BYE\r\n"])?;
        put(&[b"Content-Length: 0\r\n\r\n"])?;
        Some(Way { listen: end.listen, remote })
    }

    /// The BYE to one end has its final response, or will have none.
    pub(crate) fn hung_up(&mut self, scene: &mut Scene<'_>, id: DialogId, party: Party) {
        let Some(dialog) = self.table.get_mut(id) else { return };
        let State::Killing(open) = dialog.state else { return };
        let open = open & !bit(party);
        dialog.state = State::Killing(open);
        if open == 0 {
            let at = dialog.time(dialog.hung_up).unwrap_or(scene.now);
            self.finish(scene, id, EndReason::Killed, 0, at);
        }
    }
}

/// The first value of a route set as it is kept: values with ", " between.
fn first_of(routes: &[u8]) -> Option<NameAddr<'_>> {
    if routes.is_empty() {
        return None;
    }
    // A comma may stand in a quoted display name or in the URI; the shortest front that is an address is the first.
    let ends = routes.windows(2).enumerate().filter(|(_, pair)| pair == b", ").map(|(at, _)| at);
    ends.chain([routes.len()]).find_map(|end| {
        let value = NameAddr::parse(routes.get(..end)?).ok()?;
        value.uri().is_ok().then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_route_of_several() {
        for (routes, expected) in [
            ("", None),
            ("<sip:p1;lr>", Some("<sip:p1;lr>")),
            ("<sip:p1;lr>, <sip:p2>", Some("<sip:p1;lr>")),
            ("\"a, b\" <sip:p1;lr>;x=\"c, d\", <sip:p2>", Some("\"a, b\" <sip:p1;lr>;x=\"c, d\"")),
            ("\"a, <sip:p0>, b\" <sip:p1>, <sip:p2>", Some("\"a, <sip:p0>, b\" <sip:p1>")),
        ] {
            let first = first_of(routes.as_bytes());
            assert_eq!(
                first.map(|f| f.as_bytes().to_vec()),
                expected.map(|e| e.as_bytes().to_vec()),
                "{routes}"
            );
        }
    }
}
