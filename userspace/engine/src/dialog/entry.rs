//! One dialog as the table keeps it: fixed-size facts here, strings in [`Texts`](super::texts::Texts).

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use super::event::{PARTS, Party};
use super::table::{CallKey, CalleeKey, DialogId};
use super::texts::Text;
use crate::time::Time;

/// Where a dialog stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The INVITE was sent on; no response with a To tag came.
    Trying,
    /// A provisional response made an early dialog (RFC 3261 section 12.1).
    Early,
    /// A 2xx made it a dialog.
    Confirmed,
    /// This end sent a BYE, and its final response has not come.
    Ending(Party),
    /// We sent a BYE to both ends; the bits say which have not answered ([`bit`]).
    Killing(u8),
}

/// Bit of each end in [`State::Killing`].
pub(super) const fn bit(party: Party) -> u8 {
    match party {
        Party::Caller => 1,
        Party::Callee => 2,
    }
}

/// An address and port in 18 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    ip: [u8; 16],
    port: u16,
}

impl Address {
    pub(super) const NONE: Self = Self { ip: [0; 16], port: 0 };

    pub(super) fn new(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Self { ip: ip.octets(), port: address.port() }
    }

    /// `None` before there is one.
    pub(super) fn get(self) -> Option<SocketAddr> {
        let ip = IpAddr::V6(Ipv6Addr::from(self.ip)).to_canonical();
        (self.port != 0).then(|| SocketAddr::new(ip, self.port))
    }
}

/// What is known of one end.
#[derive(Debug)]
pub(super) struct End {
    /// Where its last message came from.
    pub(super) remote: Address,
    /// Index of the listen address it came to.
    pub(super) listen: u8,
    /// The highest CSeq number it sent in the dialog (RFC 3261 section 12.2.1.1); 0 before it sent any.
    pub(super) cseq: u32,
    /// The token that our Record-Route gave it; 0 before that.
    pub(super) token: u64,
    /// The Contact of its target refresh request that has no final response yet (section 12.2).
    pub(super) moving: Text,
    /// CSeq number of that request.
    pub(super) moving_cseq: u32,
}

impl End {
    pub(super) const fn new() -> Self {
        Self { remote: Address::NONE, listen: 0, cseq: 0, token: 0, moving: Text::EMPTY, moving_cseq: 0 }
    }
}

/// A dialog, or the INVITE that is about to make one.
#[derive(Debug)]
pub(super) struct Dialog {
    pub(super) call: CallKey,
    pub(super) callee: CalleeKey,
    /// The id under which the call began; its own for the first branch.
    pub(super) first: DialogId,
    pub(super) begun: Time,
    pub(super) text: Text,
    /// Length of each [`Part`](super::event::Part) in the text.
    pub(super) lens: [u16; PARTS],
    pub(super) state: State,
    /// Caller and callee.
    pub(super) ends: [End; 2],
    /// CSeq number of the INVITE that made it.
    pub(super) invite: u32,
    /// What its state waits for at most. This and the following are milliseconds from `begun`, plus one; 0 for what has
    /// not happened ([`Dialog::offset`], [`Dialog::time`]).
    pub(super) deadline: u32,
    /// When a dialog that is up ends by itself.
    pub(super) expires: u32,
    pub(super) ringing: u32,
    pub(super) answered: u32,
    pub(super) hung_up: u32,
    /// Seconds of the session timer; 0 without one.
    pub(super) session: u32,
    /// Index of the gateway group, plus one.
    pub(super) gateway: u16,
    /// The caller sent a CANCEL.
    pub(super) canceled: bool,
    /// The refresher is the caller (else the callee).
    pub(super) caller_refreshes: bool,
    /// Another branch of the call was answered.
    pub(super) lost: bool,
    /// A string or a route set did not fit: what is kept is not what holds.
    pub(super) outdated: bool,
}

impl Dialog {
    pub(super) fn end(&self, party: Party) -> &End {
        let [caller, callee] = &self.ends;
        match party {
            Party::Caller => caller,
            Party::Callee => callee,
        }
    }

    pub(super) fn end_mut(&mut self, party: Party) -> &mut End {
        let [caller, callee] = &mut self.ends;
        match party {
            Party::Caller => caller,
            Party::Callee => callee,
        }
    }

    /// A message of this end came, in a request with this CSeq number (0: in a response).
    pub(super) fn heard(&mut self, party: Party, source: super::Source, cseq: u32) {
        let end = self.end_mut(party);
        end.remote = Address::new(source.remote);
        end.listen = source.listen;
        end.cseq = end.cseq.max(cseq);
    }

    /// A time as it is kept.
    pub(super) fn offset(&self, at: Time) -> u32 {
        u32::try_from(at.since(self.begun).as_millis()).unwrap_or(u32::MAX - 1).saturating_add(1)
    }

    /// A kept time.
    pub(super) fn time(&self, offset: u32) -> Option<Time> {
        let millis = offset.checked_sub(1)?;
        Some(self.begun.after(Duration::from_millis(u64::from(millis))))
    }

    /// Whether it is the INVITE of a call that nobody has answered.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Trying | State::Early)
    }

    #[cfg(test)]
    pub(super) fn for_test(call: CallKey) -> Self {
        Self {
            call,
            callee: CalleeKey::NONE,
            first: DialogId::new(0, 0),
            begun: Time::START,
            deadline: 0,
            text: Text::EMPTY,
            lens: [0; PARTS],
            state: State::Trying,
            ends: [End::new(), End::new()],
            invite: 1,
            ringing: 0,
            answered: 0,
            hung_up: 0,
            session: 0,
            expires: 0,
            gateway: 0,
            canceled: false,
            caller_refreshes: false,
            lost: false,
            outdated: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_times_come_back() {
        for text in ["192.0.2.1:5060", "[2001:db8::1]:5061"] {
            let address = text.parse().unwrap();
            assert_eq!(Address::new(address).get(), Some(address));
        }
        assert_eq!(Address::NONE.get(), None);
        let begun = Time::from_nanos(7_000_000);
        let dialog = Dialog { begun, ..Dialog::for_test(CallKey(1)) };
        let later = begun.after(Duration::from_millis(1500));
        assert_eq!(dialog.time(dialog.offset(later)), Some(later));
        assert_eq!((dialog.time(dialog.offset(begun)), dialog.time(0)), (Some(begun), None));
        assert!(dialog.time(dialog.offset(Time::from_nanos(u64::MAX))).is_some());
    }
}
