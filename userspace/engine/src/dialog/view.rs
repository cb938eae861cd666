//! What an operator sees of the table: copies of some of its dialogs.
//!
//! Asked by the console through the worker that owns the engine. A step of the walk looks at a bounded number of slots,
//! so that the worker is not kept from its messages; this is the only part of the table that allocates.

use core::net::SocketAddr;

use super::entry::{Dialog, State};
use super::event::Party;
use super::table::DialogId;
use super::{Dialogs, Part, TEXT, strings};
use crate::time::Time;

/// Slots looked at in one step: about half a millisecond.
const STEP: u32 = 4096;

/// Where a dialog stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialogState {
    /// An INVITE without a response from anybody.
    Trying,
    /// A callee has answered provisionally.
    Early,
    /// It is up.
    Confirmed,
    /// An end or an operator has hung up; not all have heard of it.
    Ending,
}

/// Which dialogs: all that is given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialogFilter {
    /// The whole Call-ID.
    pub call_id: Option<Vec<u8>>,
    /// A part of the caller's or of the callee's URI, compared without case.
    pub uri: Option<Vec<u8>>,
    /// The state.
    pub state: Option<DialogState>,
}

/// One end of a [`DialogView`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogEnd {
    /// URI of From or To.
    pub uri: Vec<u8>,
    /// Tag; empty when there is none.
    pub tag: Vec<u8>,
    /// Remote target: its Contact.
    pub target: Vec<u8>,
    /// The way from us to it, as values of a Route header.
    pub routes: Vec<u8>,
    /// Where its messages come from; `None` before one came.
    pub remote: Option<SocketAddr>,
    /// The highest CSeq number it sent; 0 before it sent any.
    pub cseq: u32,
}

/// A dialog, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogView {
    /// Its name.
    pub id: DialogId,
    /// Where it stands.
    pub state: DialogState,
    /// Call-ID.
    pub call_id: Vec<u8>,
    /// Who sent the INVITE.
    pub caller: DialogEnd,
    /// Who answers it.
    pub callee: DialogEnd,
    /// When the INVITE was sent on.
    pub begun: Time,
    /// When it first rang.
    pub ringing: Option<Time>,
    /// When it was answered.
    pub answered: Option<Time>,
    /// Session timer in seconds, and who refreshes (RFC 4028).
    pub session: Option<(u32, Party)>,
    /// When it ends by itself.
    pub expires: Time,
    /// Index of the gateway group it went to.
    pub gateway: Option<u16>,
}

impl Dialogs {
    /// At most `most` dialogs that fit `filter`, from the slot `from` on, and where to go on; `None` at the end. There
    /// may be none in a step and more in the next.
    pub(crate) fn views(
        &self,
        filter: &DialogFilter,
        from: u32,
        most: usize,
    ) -> (Vec<DialogView>, Option<u32>) {
        let extent = self.table.extent();
        let stop = from.saturating_add(STEP).min(extent);
        let mut found = Vec::new();
        for slot in from..stop {
            if found.len() == most {
                return (found, Some(slot));
            }
            if let Some((id, dialog)) = self.table.at(slot) {
                found.extend(self.view(id, dialog, filter));
            }
        }
        (found, (stop < extent).then_some(stop))
    }

    fn view(&self, id: DialogId, dialog: &Dialog, filter: &DialogFilter) -> Option<DialogView> {
        let state = match dialog.state {
            State::Trying => DialogState::Trying,
            State::Early => DialogState::Early,
            State::Confirmed => DialogState::Confirmed,
            State::Ending(_) | State::Killing(_) => DialogState::Ending,
        };
        if filter.state.is_some_and(|wanted| wanted != state) {
            return None;
        }
        let mut scratch = [0; TEXT];
        let strings = strings(&self.texts, dialog, &mut scratch);
        let call_id = strings.get(Part::CallId);
        if filter.call_id.as_ref().is_some_and(|wanted| wanted != call_id) {
            return None;
        }
        let has = |part: &[u8]| {
            let mut uris = [strings.uri(Party::Caller), strings.uri(Party::Callee)].into_iter();
            part.is_empty()
                || uris.any(|uri| uri.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part)))
        };
        if filter.uri.as_ref().is_some_and(|part| !has(part)) {
            return None;
        }
        let end = |party| {
            let end = dialog.end(party);
            DialogEnd {
                uri: strings.uri(party).to_vec(),
                tag: strings.tag(party).to_vec(),
                target: strings.target(party).to_vec(),
                routes: strings.routes(party).to_vec(),
                remote: end.remote.get(),
                cseq: end.cseq,
            }
        };
        let refresher = if dialog.caller_refreshes { Party::Caller } else { Party::Callee };
        Some(DialogView {
            id,
            state,
            call_id: call_id.to_vec(),
            caller: end(Party::Caller),
            callee: end(Party::Callee),
            begun: dialog.begun,
            ringing: dialog.time(dialog.ringing),
            answered: dialog.time(dialog.answered),
            session: (dialog.session != 0).then_some((dialog.session, refresher)),
            expires: dialog.time(dialog.expires).unwrap_or(dialog.begun),
            gateway: dialog.gateway.checked_sub(1),
        })
    }
}
