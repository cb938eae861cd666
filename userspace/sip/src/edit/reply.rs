//! Replies: a plan that turns a request into its response (RFC 3261 section 8.2.6), in place or into another buffer.

use core::net::IpAddr;

use super::header::pass_values;
use super::layout::Layout;
use super::{EditError, EditPlan};
use crate::address::NameAddr;
use crate::list::{self, Value as _};
use crate::message::{Essentials, Message};
use crate::name::HeaderName;
use crate::render::Digits;
use crate::text::Text;
use crate::via::Via;

/// What a reply says: the parts of a `Response` (RFC 3261 sections 7.2 and 8.2.6) that are not the request's. Header lines of
/// its own are added to the plan afterwards with [`EditPlan::append_header`].
///
/// Not checked: that the code is three digits, and the texts, which are put in as they are.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'r> {
    /// 100 to 699.
    pub code: u16,
    /// Reason phrase; when empty, that of [`reason_phrase`].
    pub reason: &'r [u8],
    /// Added to a To without a tag (section 8.2.6.2); a 100 needs none.
    pub to_tag: Option<&'r [u8]>,
    /// `received` for the topmost Via.
    pub received: Option<IpAddr>,
    /// Value for the `rport` of the topmost Via, if the sender asked for it.
    pub rport: Option<u16>,
    /// Keep Record-Route: in a response by the UAS to a request that makes a dialog (section 12.1.1).
    pub record_route: bool,
    /// So many of the first Via values are left out, and the next one is the topmost: 1 when a proxy answers from the
    /// request as it forwarded it, where its own Via stands on top.
    pub skip_vias: usize,
}

impl Default for Reply<'_> {
    fn default() -> Self {
        Self {
            code: 500,
            reason: b"",
            to_tag: None,
            received: None,
            rport: None,
            record_route: false,
            skip_vias: 0,
        }
    }
}

impl EditPlan {
    /// Begins a plan that makes the request into a response: status line; all Vias but those to skip, in their order,
    /// the topmost with `received` and `rport` set; From, To with tag, Call-ID and CSeq as they stand; Timestamp in a
    /// 100 (section 8.2.6.1); Record-Route if due; `Content-Length: 0` and no body. Everything else goes.
    ///
    /// Works on a [salvaged](Message::salvage) message too: what is missing stays missing, and what is there twice is
    /// kept once.
    ///
    /// # Errors
    /// [`EditError::OutOfRange`] for a response, which is never answered; [`EditError::Missing`] when no Via is left;
    /// [`EditError::Value`] for a Via to skip that cannot be read. A topmost Via that cannot be read is sent back as it
    /// stands (the reply is then a 400, and goes to where the request came from).
    pub fn reply(&mut self, message: &Message<'_>, reply: &Reply<'_>) -> Result<(), EditError> {
        let via = if reply.skip_vias == 0 { message.top_via().ok() } else { None };
        let to = match (reply.to_tag, message.entry(HeaderName::To)) {
            (Some(_), Some(entry)) => list::single(message.text(entry), usize::from(entry.value)).ok(),
            _ => None,
        };
        self.write_reply(message, via.as_ref(), to.as_ref(), reply)
    }

    /// As [`reply`](Self::reply), for a request whose essential headers were read already: they are not read again.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub fn reply_read(
        &mut self,
        message: &Message<'_>,
        headers: &Essentials<'_>,
        reply: &Reply<'_>,
    ) -> Result<(), EditError> {
        self.write_reply(message, Some(&headers.via), Some(&headers.to), reply)
    }

    /// `via`: the topmost of the message, `to`: its first To, as far as they can be read.
    #[inline(always)]
    fn write_reply(
        &mut self,
        message: &Message<'_>,
        via: Option<&Via<'_>>,
        to: Option<&NameAddr<'_>>,
        reply: &Reply<'_>,
    ) -> Result<(), EditError> {
        if !message.is_request() {
            return Err(EditError::OutOfRange);
        }
        let mut layout = Layout::begin(self, message);
        layout.put(b"SIP/2.0 ")?;
        layout.put(Digits::new(u32::from(reply.code)).as_bytes())?;
        layout.put(b" ")?;
        layout.put(if reply.reason.is_empty() {
            reason_phrase(reply.code).as_bytes()
        } else {
            reply.reason
        })?;
        layout.put(b"\r\n")?;
        let mut skip = reply.skip_vias;
        let mut topmost = true;
        for (number, entry) in message.index().entries().iter().enumerate() {
            let line = usize::from(entry.line);
            let mut from = line;
            match entry.name {
                HeaderName::Via if skip > 0 => {
                    let text = message.text(entry);
                    let value = usize::from(entry.value);
                    let (at, left) =
                        pass_values::<Via<'_>>(text, value, skip).map_err(|e| e.of(HeaderName::Via))?;
                    skip = left;
                    if at == text.end() {
                        continue;
                    }
                    topmost = false;
                    layout.keep(line..value)?;
                    from = at;
                    if let Some(via) = via_at(text, at) {
                        from = keep_marked(&mut layout, from, &via, reply)?;
                    }
                }
                HeaderName::Via if topmost => {
                    topmost = false;
                    let later;
                    let via = if reply.skip_vias == 0 {
                        via
                    } else {
                        later = via_at(message.text(entry), usize::from(entry.value));
                        later.as_ref()
                    };
                    if let Some(via) = via {
                        from = keep_marked(&mut layout, from, via, reply)?;
                    }
                }
                HeaderName::Via => {}
                HeaderName::RecordRoute if reply.record_route => {}
                HeaderName::Timestamp if reply.code != 100 => continue,
                HeaderName::From
                | HeaderName::To
                | HeaderName::CallId
                | HeaderName::CSeq
                | HeaderName::Timestamp => {
                    if message.index().first(entry.name) != Some(number) {
                        continue;
                    }
                    if entry.name == HeaderName::To
                        && let Some(tag) = reply.to_tag
                        && let Some(to) = to
                        && to.tag().is_none()
                    {
                        from = to.range().end;
                        layout.keep(line..from)?;
                        layout.put(b";tag=")?;
                        layout.put(tag)?;
                    }
                }
                _ => continue,
            }
            layout.keep(from..message.line_end(entry))?;
        }
        if topmost {
            return Err(EditError::Missing(HeaderName::Via));
        }
        layout.end(message, b"Content-Length: 0\r\n\r\n")
    }
}

/// The Via at `at`, if it can be read.
#[inline(never)]
fn via_at(text: Text<'_>, at: usize) -> Option<Via<'_>> {
    match Via::take(text, at) {
        Ok((via, end)) if text.is_over(end) || text.byte(text.skip_lws(end)) == b',' => Some(via),
        _ => None,
    }
}

/// Keeps the line of the topmost Via from `from` to where `received` and `rport` are set (section 18.2.1; RFC 3581
/// section 4). Returns from where the rest is to be kept.
#[inline(always)]
fn keep_marked(
    layout: &mut Layout<'_>,
    from: usize,
    via: &Via<'_>,
    reply: &Reply<'_>,
) -> Result<usize, EditError> {
    let mut from = from;
    let mut received = reply.received;
    let place = via.received_range();
    if let Some(port) = reply.rport
        && let Some(range) = via.rport_range()
    {
        if let Some(address) = received
            && let Some(place) = place.clone()
            && place.start < range.start
        {
            layout.keep(from..place.start)?;
            layout.used = layout.plan.put_received(layout.used, address)?;
            from = place.end;
            received = None;
        }
        layout.keep(from..range.start)?;
        layout.used = layout.plan.put_rport(layout.used, port)?;
        from = range.end;
    }
    if let Some(address) = received {
        let end = via.range().end;
        layout.keep(from..place.clone().map_or(end, |place| place.start))?;
        if place.is_none() {
            layout.put(b";received=")?;
        }
        layout.used = layout.plan.put_received(layout.used, address)?;
        from = place.map_or(end, |place| place.end);
    }
    Ok(from)
}

/// The usual reason phrase of a status code: RFC 3261 section 21 and the extensions; that of its class otherwise.
#[must_use]
pub fn reason_phrase(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        424 => "Bad Location Information",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity-Info",
        437 => "Unsupported Certificate",
        438 => "Invalid Identity Header",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => match code / 100 {
            1 => "Trying",
            2 => "OK",
            3 => "Multiple Choices",
            4 => "Bad Request",
            5 => "Server Internal Error",
            _ => "Decline",
        },
    }
}
