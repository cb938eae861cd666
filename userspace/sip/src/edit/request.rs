//! Requests that a client transaction makes from the INVITE that it sent: CANCEL, and ACK for a non-2xx.

use super::layout::Layout;
use super::{EditError, EditPlan};
use crate::address::NameAddr;
use crate::class;
use crate::message::Message;
use crate::name::HeaderName;
use crate::start::Method;

/// What each of them must have of the INVITE besides its Via.
const NEEDED: [HeaderName; 4] = [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

impl EditPlan {
    /// Begins a plan that makes the CANCEL for `invite`, the request as it was sent (RFC 3261 section 9.1): its
    /// Request-URI; its topmost Via and no other; From, To, Call-ID and all Routes as they stand; its CSeq number;
    /// `Max-Forwards: 70`; `Content-Length: 0` and no body. Everything else goes, and with it Require and
    /// Proxy-Require.
    ///
    /// Header lines of its own, such as a Reason, are added to the plan afterwards with
    /// [`append_header`](Self::append_header).
    ///
    /// # Errors
    /// [`EditError::NotInvite`]; [`EditError::Missing`] without From, To, Call-ID or CSeq; [`EditError::Value`] when
    /// there is no Via that can be read, or no CSeq.
    pub fn cancel(&mut self, invite: &Message<'_>) -> Result<(), EditError> {
        self.request_of(invite, b"CANCEL", None)
    }

    /// Begins a plan that makes the ACK for a final response to `invite` other than a 2xx, `invite` being the request
    /// as it was sent (RFC 3261 section 17.1.1.3): as [`cancel`](Self::cancel), with `to`, the value of the response's
    /// To, in place of the request's.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel); [`EditError::Value`] also when `to` is no address.
    pub fn ack(&mut self, invite: &Message<'_>, to: &[u8]) -> Result<(), EditError> {
        NameAddr::parse(to).map_err(|error| error.of(HeaderName::To))?;
        self.request_of(invite, b"ACK", Some(to))
    }

    fn request_of(
        &mut self,
        invite: &Message<'_>,
        method: &[u8],
        to: Option<&[u8]>,
    ) -> Result<(), EditError> {
        if invite.method() != Some(Method::Invite) {
            return Err(EditError::NotInvite);
        }
        for name in NEEDED {
            if !invite.has(name) {
                return Err(EditError::Missing(name));
            }
        }
        invite.cseq()?;
        let via_end = invite.top_via()?.range().end;
        let mut topmost = true;
        let mut layout = Layout::begin(self, invite);
        layout.put(method)?;
        layout.put(b" ")?;
        layout.keep(invite.uri_range().start..invite.first_line_end())?;
        for entry in invite.index().entries() {
            let line = usize::from(entry.line);
            match entry.name {
                HeaderName::Via if topmost => {
                    topmost = false;
                    layout.keep(line..via_end)?;
                    layout.put(b"\r\nMax-Forwards: 70\r\n")?;
                }
                HeaderName::To if let Some(to) = to => {
                    layout.put(b"To: ")?;
                    layout.put(to)?;
                    layout.put(b"\r\n")?;
                }
                HeaderName::CSeq => {
                    let value = invite.value(entry);
                    layout.keep(line..usize::from(entry.value) + class::span(value, class::DIGIT))?;
                    layout.put(b" ")?;
                    layout.put(method)?;
                    layout.put(b"\r\n")?;
                }
                HeaderName::Route | HeaderName::From | HeaderName::To | HeaderName::CallId => {
                    layout.keep(line..invite.line_end(entry))?;
                }
                _ => {}
            }
        }
        layout.end(invite, b"Content-Length: 0\r\n\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::Reply;
    use crate::error::ValueFault;
    use crate::index::Index;

    /// An INVITE as a proxy sent it, with what a CANCEL or ACK must and must not have.
    const INVITE: &[u8] = b"INVITE sip:bob@192.0.2.4 SIP/2.0\r\n\
Via: SIP/2.0/UDP proxy.example;branch=z9hG4bKp1 , SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKk;received=192.0.2.1\r\n\
v: SIP/2.0/UDP pc34.atlanta.com;branch=z9hG4bKl\r\n\
Record-Route: <sip:proxy.example;lr>\r\n\
Max-Forwards: 9\r\n\
Route: <sip:a;lr>,\r\n <sip:b;lr>\r\n\
t: Bob <sip:bob@biloxi.com>\r\n\
Require: 100rel\r\n\
Proxy-Require: x\r\n\
From: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n\
Route: <sip:c;lr>\r\n\
Call-ID : a84b4c76e66710\r\n\
CSeq: 00314159\r\n INVITE\r\n\
Contact: <sip:alice@pc33.atlanta.com>\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 4\r\n\
\r\n\
v=0\n";

    fn made(
        bytes: &[u8],
        plan: impl FnOnce(&mut EditPlan, &Message<'_>) -> Result<(), EditError>,
    ) -> Result<String, EditError> {
        let mut index = Index::new();
        let message = Message::parse(bytes, &mut index).unwrap();
        let mut edits = EditPlan::new();
        plan(&mut edits, &message)?;
        let mut out = [0; 2048];
        Ok(String::from_utf8(edits.write_to(bytes, &mut out)?.to_vec()).unwrap())
    }

    fn without(name: &str) -> Vec<u8> {
        let text = String::from_utf8(INVITE.to_vec()).unwrap();
        let at = text.find(&format!("\r\n{name}")).unwrap() + 2;
        let end = at + text[at..].find("\r\n").unwrap() + 2;
        [&INVITE[..at], &INVITE[end..]].concat()
    }

    /// RFC 3261 section 9.1; a Reason (RFC 3326) is the caller's to add.
    #[test]
    fn the_cancel_of_an_invite() {
        let cancel = made(INVITE, |plan, m| {
            plan.cancel(m)?;
            plan.append_header(m, HeaderName::Reason, &[b"SIP ;cause=200"])
        });
        assert_eq!(
            cancel.unwrap(),
            "CANCEL sip:bob@192.0.2.4 SIP/2.0\r\n\
             Via: SIP/2.0/UDP proxy.example;branch=z9hG4bKp1\r\n\
             Max-Forwards: 70\r\n\
             Route: <sip:a;lr>,\r\n <sip:b;lr>\r\n\
             t: Bob <sip:bob@biloxi.com>\r\n\
             From: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n\
             Route: <sip:c;lr>\r\n\
             Call-ID : a84b4c76e66710\r\n\
             CSeq: 00314159 CANCEL\r\n\
             Reason: SIP ;cause=200\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    /// RFC 3261 section 17.1.1.3.
    #[test]
    fn the_ack_for_a_final_response_other_than_2xx() {
        let ack = made(INVITE, |plan, m| plan.ack(m, b"Bob <sip:bob@biloxi.com>;tag=99sa0xk"));
        assert_eq!(
            ack.unwrap(),
            "ACK sip:bob@192.0.2.4 SIP/2.0\r\n\
             Via: SIP/2.0/UDP proxy.example;branch=z9hG4bKp1\r\n\
             Max-Forwards: 70\r\n\
             Route: <sip:a;lr>,\r\n <sip:b;lr>\r\n\
             To: Bob <sip:bob@biloxi.com>;tag=99sa0xk\r\n\
             From: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n\
             Route: <sip:c;lr>\r\n\
             Call-ID : a84b4c76e66710\r\n\
             CSeq: 00314159 ACK\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    /// RFC 3261 section 8.2.6.2, by a proxy whose own Via stands on top of what it kept.
    #[test]
    fn a_reply_to_where_the_request_came_from() {
        let reply = |skip_vias| Reply { code: 408, to_tag: Some(b"p"), skip_vias, ..Reply::default() };
        let rest = "t: Bob <sip:bob@biloxi.com>;tag=p\r\n\
                    From: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n\
                    Call-ID : a84b4c76e66710\r\n\
                    CSeq: 00314159\r\n INVITE\r\n\
                    Content-Length: 0\r\n\r\n";
        let middle = "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKk;received=192.0.2.1\r\n";
        let last = "v: SIP/2.0/UDP pc34.atlanta.com;branch=z9hG4bKl\r\n";
        for (skip, vias) in [
            (0, format!("Via: SIP/2.0/UDP proxy.example;branch=z9hG4bKp1 , {middle}{last}")),
            (1, format!("Via: {middle}{last}")),
            (2, last.to_string()),
        ] {
            let made = made(INVITE, |plan, m| plan.reply(m, &reply(skip)));
            assert_eq!(made.unwrap(), format!("SIP/2.0 408 Request Timeout\r\n{vias}{rest}"));
        }
        for skip in [3, 4, usize::MAX] {
            let none = made(INVITE, |plan, m| plan.reply(m, &reply(skip)));
            assert_eq!(none, Err(EditError::Missing(HeaderName::Via)));
        }
        // `received` and `rport` are those of the Via that is then the topmost.
        let marked = Reply { received: Some([192, 0, 2, 9].into()), rport: Some(5), ..reply(1) };
        let asking = String::from_utf8(INVITE.to_vec()).unwrap().replace("bKk;", "bKk;rport;");
        let made = made(asking.as_bytes(), |plan, m| plan.reply(m, &marked)).unwrap();
        assert!(made.contains(
            "\r\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKk;rport=5;received=192.0.2.9\r\nv:"
        ));
    }

    #[test]
    fn what_is_no_invite_or_not_whole_is_refused() {
        let cancel = |bytes: &[u8]| made(bytes, EditPlan::cancel);
        for method in ["OPTIONS", "CANCEL", "ACK", "BYE"] {
            let text = String::from_utf8(INVITE.to_vec()).unwrap().replace("INVITE", method);
            assert_eq!(cancel(text.as_bytes()), Err(EditError::NotInvite));
            assert_eq!(made(text.as_bytes(), |plan, m| plan.ack(m, b"<sip:b>")), Err(EditError::NotInvite));
        }
        assert_eq!(cancel(b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n"), Err(EditError::NotInvite));
        for (line, name) in
            [("t:", HeaderName::To), ("From:", HeaderName::From), ("Call-ID", HeaderName::CallId)]
        {
            assert_eq!(cancel(&without(line)), Err(EditError::Missing(name)));
        }
        let faulty = |result| match result {
            Err(EditError::Value(error)) => Some((error.header, error.fault)),
            _ => None,
        };
        let broken = String::from_utf8(INVITE.to_vec()).unwrap().replace("00314159", "x");
        assert_eq!(faulty(cancel(broken.as_bytes())), Some((HeaderName::CSeq, ValueFault::Unexpected)));
        let no_via = String::from_utf8(without("v:")).unwrap().replace("\r\nVia:", "\r\nX:");
        assert_eq!(faulty(cancel(no_via.as_bytes())), Some((HeaderName::Via, ValueFault::Missing)));
        let forged = made(INVITE, |plan, m| plan.ack(m, b"<sip:b>\r\nX: y"));
        assert_eq!(faulty(forged).map(|(header, _)| header), Some(HeaderName::To));
    }

    #[test]
    fn a_made_message_goes_into_an_empty_buffer() {
        let mut index = Index::new();
        let message = Message::parse(INVITE, &mut index).unwrap();
        let mut plan = EditPlan::new();
        plan.cancel(&message).unwrap();
        let needed = plan.edited_len();
        let expected = made(INVITE, EditPlan::cancel).unwrap();
        for (size, at, start) in
            [(2048, 100, 100), (needed + 100, 100, 100), (needed + 99, 100, 99), (needed, 100, 0)]
        {
            let mut bytes = vec![0; size];
            let mut buffer = crate::Buffer::new(&mut bytes, at..at).unwrap();
            plan.write_into(INVITE, &mut buffer).unwrap();
            assert_eq!((buffer.message(), buffer.range().start), (expected.as_bytes(), start));
        }
        let mut bytes = vec![7; needed - 1];
        let mut buffer = crate::Buffer::new(&mut bytes, 3..4).unwrap();
        assert_eq!(
            plan.write_into(INVITE, &mut buffer),
            Err(EditError::NoRoom { needed, available: needed - 1 })
        );
        assert_eq!(
            plan.write_into(&INVITE[1..], &mut buffer),
            Err(EditError::NoRoom { needed, available: needed - 1 })
        );
        assert!(buffer.range() == (3..4) && bytes.iter().all(|&b| b == 7));
    }
}
