//! The targets of a fork beside the first one: how they are kept until their branch is begun, how Max-Breadth is shared
//! out among branches (RFC 5393 section 5.3.3), and the edits that make the request of one branch that of another.

use strowger_sip::{EditError, EditPlan, HeaderName, Message};

use crate::branch::{Bound, Branch, Origin, Slot};
use crate::keys::Keys;
use crate::route::RecordRoute;
use crate::site::Site;

/// Max-Breadth of a request that has none, and the most that is taken from one that has (section 5.3.3).
pub(crate) const BREADTH: u32 = 60;

/// What of `breadth` goes to the branch with this number (from 0) of `active` parallel ones: all of it in all, and one
/// at least while there are no more branches than that.
pub(crate) fn share(breadth: u8, active: usize, number: usize) -> u8 {
    let active = u8::try_from(active.max(1)).unwrap_or(u8::MAX);
    breadth / active + u8::from(number < usize::from(breadth % active))
}

/// A target as it is kept: Request-URI and the values of its Route, behind the length of the first.
pub(crate) fn write<'o>(uri: &[u8], path: &[u8], out: &'o mut [u8]) -> Option<&'o [u8]> {
    let len = u16::try_from(uri.len()).ok()?.to_le_bytes();
    let whole = out.get_mut(..2 + uri.len() + path.len())?;
    let (head, rest) = whole.split_at_mut(2);
    head.copy_from_slice(&len);
    let (first, second) = rest.split_at_mut(uri.len());
    first.copy_from_slice(uri);
    second.copy_from_slice(path);
    Some(whole)
}

/// Reads what [`write`] wrote.
pub(crate) fn read(kept: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = kept.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))
}

/// What makes a branch another one than the first of its transaction.
pub(crate) struct Retarget<'a> {
    pub(crate) site: &'a Site,
    pub(crate) keys: &'a Keys,
    pub(crate) uri: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) slot: Slot,
    pub(crate) bound_to: core::net::SocketAddr,
    /// Indices of listen addresses: the one it leaves from, the one the first branch left from, the one the request
    /// came to.
    pub(crate) local: u8,
    pub(crate) first_local: u8,
    pub(crate) listen: u8,
    /// The first branch has our Record-Route, a Route line of its own.
    pub(crate) recorded: bool,
    pub(crate) first_path: bool,
    pub(crate) breadth: u8,
}

impl Retarget<'_> {
    /// Plans, for the request that the first branch sent, what section 16.6 does otherwise for this one.
    pub(crate) fn plan(&self, first: &Message<'_>, plan: &mut EditPlan) -> Result<(), EditError> {
        let Some(out) = self.site.listen(self.local) else { return Err(EditError::OutOfRange) };
        plan.begin(first);
        plan.replace_request_uri(first, self.uri)?;
        let via = first.top_via()?;
        let looped = via.branch().and_then(Branch::read).map_or(0, |(branch, _)| branch.looped);
        let branch = Branch { origin: Origin::Transaction(self.slot), looped };
        let bound = Bound { call_id: first.call_id()?, cseq: first.cseq()?.number, reply_to: self.bound_to };
        let branch = branch.write(self.keys, &bound);
        plan.replace_with(via.range(), &[b"SIP/2.0/UDP ", out.text.as_bytes(), b";branch=", &branch])?;
        if self.recorded && self.local != self.first_local {
            self.record_route(first, &out.text, plan)?;
        }
        if self.first_path
            && let Some(route) = first.header(HeaderName::Route)
        {
            plan.delete(route.line_range)?;
        }
        if !self.path.is_empty() {
            plan.prepend_header(first, HeaderName::Route, &[self.path])?;
        }
        if let Some(breadth) = first.header(HeaderName::MaxBreadth) {
            let digits = strowger_sip::Digits::new(u32::from(self.breadth));
            plan.replace(breadth.value_range, digits.as_bytes())?;
        }
        Ok(())
    }

    /// RFC 5658 section 4: the line for the address that it leaves from, when that is not the one it came to.
    fn record_route(&self, first: &Message<'_>, host: &str, plan: &mut EditPlan) -> Result<(), EditError> {
        let Some(ours) = first.record_routes().next().and_then(Result::ok) else { return Ok(()) };
        if self.first_local != self.listen
            && let Some(line) = first.header(HeaderName::RecordRoute)
        {
            plan.delete(line.line_range)?;
        }
        if self.local != self.listen
            && let Some(again) = RecordRoute::again(&ours)
        {
            again.add(first, &[host], plan)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breadth_is_shared_out_whole() {
        for breadth in 1..=60 {
            for active in 1..=usize::from(breadth) {
                let shares: Vec<u8> = (0..active).map(|n| share(breadth, active, n)).collect();
                assert_eq!(shares.iter().sum::<u8>(), breadth);
                assert!(shares.iter().all(|share| *share > 0), "{breadth} among {active}");
            }
        }
        assert_eq!((share(60, 1, 0), share(60, 2, 1), share(7, 3, 0), share(7, 3, 2)), (60, 30, 3, 2));
    }

    #[test]
    fn a_target_is_read_as_it_was_written() {
        let mut out = [0; 40];
        let kept = write(b"sip:a@b", b"<sip:c;lr>", &mut out).unwrap();
        assert_eq!(read(kept), Some((&b"sip:a@b"[..], &b"<sip:c;lr>"[..])));
        assert_eq!(write(&[0; 30], &[0; 9], &mut out), None);
        assert_eq!((read(b"\x01"), read(b"\x02\x00a")), (None, None));
    }
}
