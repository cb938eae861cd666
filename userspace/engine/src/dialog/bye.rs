//! An operator ends a call: a BYE to each end, as the other end would send it (RFC 3261 sections 12.2.1.1 and 15.1.1).
//!
//! Each BYE is a non-INVITE client transaction of our own (section 17.1.2). Nothing is kept of it but when it is sent
//! again: the request is written anew from the dialog, which stays in the table until both ends have answered or Timer F
//! is over. The branch says which dialog and which end, under a MAC.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use strowger_sip::{Buffer, Digits, Message, NameAddr, Uri};

use super::entry::{Dialog, State, bit};
use super::event::{EndReason, Part, Party};
use super::table::DialogId;
use super::{Dialogs, LINGER, Scene, TEXT, strings};
use crate::branch::COOKIE;
use crate::keys::{Keys, Prf, read_base32, same, write_base32};
use crate::proxy::next_hop;
use crate::site::Site;
use crate::text::Text;
use crate::time::Time;

/// Octets of a BYE: the strings of a dialog at their longest, the target twice, and what stands between.
const BYE: usize = 2 * TEXT + 512;

/// BYEs under way at once. An operator who ends more is told to try again.
const LIMIT: usize = 128;

/// Timer E's first and longest interval (section 17.1.2.2: T1 and T2).
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(4);

/// Kind of the branches of these: see [`crate::branch`].
const KIND: u8 = b'h';

/// Digits of the dialog's id and of the MAC.
const ID: usize = 13;
const MAC: usize = 13;

/// Octets of a branch: the cookie, the kind, the end, the dialog, the MAC.
const BRANCH: usize = COOKIE.len() + 2 + ID + MAC;

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
    /// Too many are being ended. Try again.
    Busy,
}

impl fmt::Display for KillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no such dialog",
            Self::NotAnswered => "the call was not answered yet",
            Self::Ending => "the call is about to end",
            Self::Incomplete => "the call's routes did not fit the table, so its ends cannot be reached",
            Self::Busy => "too many calls are being ended, try again",
        })
    }
}

impl core::error::Error for KillError {}

/// One BYE under way.
struct HangUp {
    id: DialogId,
    party: Party,
    /// When it is sent again.
    due: Time,
    interval: Duration,
    unsent: bool,
}

/// All of them.
pub(super) struct HangUps {
    open: Vec<HangUp>,
    /// The request at hand.
    text: Box<Text<BYE>>,
}

impl HangUps {
    pub(super) fn new() -> Self {
        Self { open: Vec::with_capacity(LIMIT), text: Box::new(Text::new()) }
    }

    pub(super) fn timeout(&self) -> Option<Time> {
        self.open.iter().map(|hang_up| hang_up.due).min()
    }

    /// Timer E.
    pub(super) fn expire(&mut self, now: Time) {
        for hang_up in self.open.iter_mut().filter(|hang_up| hang_up.due <= now) {
            hang_up.unsent = true;
            hang_up.interval = (hang_up.interval * 2).min(LONGEST);
            hang_up.due = now.after(hang_up.interval);
        }
    }

    /// The dialog is over.
    pub(super) fn forget(&mut self, id: DialogId) {
        self.open.retain(|hang_up| hang_up.id != id);
    }
}

impl Dialogs {
    /// Begins to end a dialog. Whatever comes or does not come, it is over after 64·T1.
    pub(crate) fn kill(&mut self, scene: &mut Scene<'_>, id: DialogId) -> Result<(), KillError> {
        let dialog = self.table.get_mut(id).ok_or(KillError::Unknown)?;
        match dialog.state {
            State::Trying | State::Early => return Err(KillError::NotAnswered),
            State::Ending(_) | State::Killing(_) => return Err(KillError::Ending),
            State::Confirmed if dialog.outdated => return Err(KillError::Incomplete),
            State::Confirmed if self.hang_ups.open.len() + 2 > LIMIT => return Err(KillError::Busy),
            State::Confirmed => {}
        }
        dialog.state = State::Killing(bit(Party::Caller) | bit(Party::Callee));
        dialog.hung_up = dialog.offset(scene.now);
        self.wait(id, scene.now.after(LINGER));
        for party in [Party::Caller, Party::Callee] {
            let due = scene.now.after(FIRST);
            self.hang_ups.open.push(HangUp { id, party, due, interval: FIRST, unsent: true });
        }
        Ok(())
    }

    pub(crate) fn has_transmit(&self) -> bool {
        self.hang_ups.open.iter().any(|hang_up| hang_up.unsent)
    }

    /// Whether a call is being ended by us.
    pub(crate) fn is_hanging_up(&self) -> bool {
        !self.hang_ups.open.is_empty()
    }

    /// Writes the next BYE that is to be sent. Returns the index of the listen address it leaves from, and where it
    /// goes. `None` without one, or when the buffer has no room for it.
    pub(crate) fn transmit(
        &mut self,
        scene: &mut Scene<'_>,
        buffer: &mut Buffer<'_>,
    ) -> Option<(u8, SocketAddr)> {
        while let Some(hang_up) = self.hang_ups.open.iter_mut().find(|hang_up| hang_up.unsent) {
            let (id, party) = (hang_up.id, hang_up.party);
            let Some(dialog) = self.table.get(id) else {
                self.hang_ups.forget(id);
                continue;
            };
            let strings = strings(&self.texts, dialog, &mut self.scratch);
            let branch = branch(dialog, id, party, scene.keys);
            let way = write(dialog, &strings, party, scene.site, &branch, &mut self.hang_ups.text);
            let Some(way) = way else {
                // Its first hop is a name, and nothing ever came from it.
                self.hung_up(scene, id, party);
                continue;
            };
            if !buffer.replace(self.hang_ups.text.as_bytes()) {
                return None;
            }
            hang_up.unsent = false;
            return Some(way);
        }
        None
    }

    /// Whether the branch is that of a BYE of ours, by its kind.
    pub(crate) fn is_bye(branch: &[u8]) -> bool {
        branch.len() == BRANCH
            && branch.get(COOKIE.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(&KIND))
    }

    /// Takes the response to a BYE of ours; `false` when it answers none that we sent.
    pub(crate) fn bye_response(&mut self, scene: &mut Scene<'_>, message: &Message<'_>) -> bool {
        let Some((id, party)) = message.top_via().ok().and_then(|via| read(via.branch()?)) else {
            return false;
        };
        let Some(dialog) = self.table.get(id) else { return false };
        let ours = branch(dialog, id, party, scene.keys);
        let ours = ours.get(COOKIE.len() + 2 + ID..).and_then(read_base32);
        let given = message.top_via().ok().and_then(|via| read_base32(via.branch()?.get(BRANCH - MAC..)?));
        if !ours.zip(given).is_some_and(|(ours, given)| same(ours, given)) {
            return false;
        }
        if message.status().is_some_and(|status| status.code >= 200) {
            self.hung_up(scene, id, party);
        }
        true
    }

    /// The BYE to one end has its final response, or will have none: the call is over for it (section 15.1.1).
    fn hung_up(&mut self, scene: &mut Scene<'_>, id: DialogId, party: Party) {
        self.hang_ups.open.retain(|hang_up| (hang_up.id, hang_up.party) != (id, party));
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

/// Writes the BYE to one end, and says where it goes: `None` when there is no way. The first hop may be a name, for
/// which nobody is asked here; then it goes to where that end's messages come from.
fn write(
    dialog: &Dialog,
    strings: &super::Strings<'_>,
    to: Party,
    site: &Site,
    branch: &[u8],
    out: &mut Text<BYE>,
) -> Option<(u8, SocketAddr)> {
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
    let hop = first_uri.or_else(|| Uri::parse(target).ok()).and_then(|uri| next_hop(&uri, site));
    let end = dialog.end(to);
    let remote = hop.or_else(|| end.remote.get())?;
    let local = site.listen_for(remote, end.listen)?;
    // What the other end would number its next request with; if it never sent one, any number will do.
    let cseq = Digits::new(dialog.end(from).cseq + 1);

    out.clear();
    let mut put = |parts: &[&[u8]]| parts.iter().try_for_each(|part| out.push(part)).ok();
    put(&[b"BYE ", strict.unwrap_or(target), b" SIP/2.0\r\nVia: SIP/2.0/UDP "])?;
    put(&[site.listen(local)?.text.as_bytes(), b";branch=", branch, b";rport\r\nMax-Forwards: 70\r\n"])?;
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
    put(&[b"Call-ID: ", strings.get(Part::CallId), b"\r\nCSeq: ", cseq.as_bytes(), b" BYE\r\n"])?;
    put(&[b"Content-Length: 0\r\n\r\n"])?;
    Some((local, remote))
}

/// The branch of the BYE to one end: nobody else can make it.
fn branch(dialog: &Dialog, id: DialogId, party: Party, keys: &Keys) -> [u8; BRANCH] {
    let mac = Prf::new(&keys.bye)
        .number(id.bits())
        .number(u64::from(bit(party)))
        .number(dialog.call.0)
        .number(dialog.begun.as_nanos())
        .finish();
    let mut text = [0; BRANCH];
    let (head, rest) = text.split_at_mut(COOKIE.len() + 2);
    let (cookie, kind) = head.split_at_mut(COOKIE.len());
    cookie.copy_from_slice(COOKIE);
    kind.copy_from_slice(&[KIND, b'0' + bit(party)]);
    let (number, rest) = rest.split_at_mut(ID);
    write_base32(id.bits(), number);
    write_base32(mac, rest);
    text
}

/// Dialog and end of a branch, not believed yet.
fn read(branch: &[u8]) -> Option<(DialogId, Party)> {
    let party = match branch.get(COOKIE.len() + 1)? {
        b'1' => Party::Caller,
        b'2' => Party::Callee,
        _ => return None,
    };
    let from = COOKIE.len() + 2;
    Some((DialogId::from_bits(read_base32(branch.get(from..from + ID)?)?), party))
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
