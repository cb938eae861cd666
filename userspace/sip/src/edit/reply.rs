//! Replies: a plan that turns a request into its response (RFC 3261 section 8.2.6), in place or into another buffer.

use core::net::IpAddr;

use super::header::pass_values;
use super::layout::Layout;
use super::{EditError, EditPlan};
use crate::address::NameAddr;
use crate::index::Entry;
use crate::list::{self, Value as _};
use crate::message::Message;
use crate::name::HeaderName;
use crate::render::{AddressText, Digits};
use crate::via::Via;

/// What a reply says. Header lines of its own are added to the plan afterwards with
/// [`EditPlan::append_header`].
#[derive(Clone, Copy, Debug)]
pub struct Reply<'r> {
    /// 100 to 699.
    pub code: u16,
    /// Reason phrase; when empty, that of [`reason_phrase`].
    pub reason: &'r [u8],
    /// Added to a To without a tag (section 8.2.6.2); none in a 100.
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
        if !message.is_request() {
            return Err(EditError::OutOfRange);
        }
        let reason =
            if reply.reason.is_empty() { reason_phrase(reply.code).as_bytes() } else { reply.reason };
        let mut layout = Layout::begin(self, message);
        layout.put(b"SIP/2.0 ")?;
        layout.put(Digits::new(u32::from(reply.code)).as_bytes())?;
        layout.put(b" ")?;
        layout.put(reason)?;
        layout.put(b"\r\n")?;
        let mut skip = reply.skip_vias;
        let mut topmost = true;
        let mut kept_once = 0u128;
        for entry in message.index().entries() {
            let line = usize::from(entry.line);
            match entry.name {
                HeaderName::Via => {
                    let mut from = line;
                    let mut at = usize::from(entry.value);
                    if skip > 0 {
                        let text = message.text(entry);
                        (at, skip) = pass_values::<Via<'_>>(text, at, skip).map_err(|e| e.of(entry.name))?;
                        if at == text.end() {
                            continue;
                        }
                        layout.keep(line..usize::from(entry.value))?;
                        from = at;
                    }
                    if topmost {
                        topmost = false;
                        from = mark(&mut layout, message, entry, from, at, reply)?;
                    }
                    layout.keep(from..message.line_end(entry))?;
                    continue;
                }
                HeaderName::RecordRoute if reply.record_route => {
                    layout.keep(line..message.line_end(entry))?;
                    continue;
                }
                HeaderName::Timestamp if reply.code == 100 => {}
                HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq => {}
                _ => continue,
            }
            let bit = 1u128 << entry.name as u8;
            if kept_once & bit != 0 {
                continue;
            }
            kept_once |= bit;
            let mut from = line;
            if entry.name == HeaderName::To
                && let Some(tag) = reply.to_tag
                && let Ok(to) = list::single::<NameAddr<'_>>(message.text(entry), usize::from(entry.value))
                && to.tag().is_none()
            {
                from = to.range().end;
                layout.keep(line..from)?;
                layout.put(b";tag=")?;
                layout.put(tag)?;
            }
            layout.keep(from..message.line_end(entry))?;
        }
        if topmost {
            return Err(EditError::Missing(HeaderName::Via));
        }
        layout.end(message, b"Content-Length: 0\r\n\r\n")
    }
}

/// Keeps the front of the topmost Via, which is at `at`, with `received` and `rport` set (section 18.2.1; RFC 3581
/// section 4); `line` is where its line's front is kept from. Returns from where the rest is to be kept.
fn mark(
    layout: &mut Layout<'_>,
    message: &Message<'_>,
    entry: &Entry,
    line: usize,
    at: usize,
    reply: &Reply<'_>,
) -> Result<usize, EditError> {
    let text = message.text(entry);
    let via = match Via::take(text, at) {
        Ok((via, end)) if text.is_over(end) || text.byte(text.skip_lws(end)) == b',' => via,
        _ => return Ok(line),
    };
    let end = via.range().end;
    let received = reply.received.map(|ip| {
        let range = via.received_range();
        let name: &[u8] = if range.is_some() { b"" } else { b";received=" };
        (range.unwrap_or(end..end), name, AddressText::received(ip))
    });
    let rport = via.rport_range().zip(reply.rport).map(|(range, port)| (range, Digits::new(u32::from(port))));
    let mut from = line;
    let put_received = |layout: &mut Layout<'_>, from: &mut usize, until: usize| match &received {
        Some((range, name, address)) if range.start < until && range.start >= *from => {
            layout.keep(*from..range.start)?;
            layout.put(name)?;
            layout.put(address.as_bytes())?;
            *from = range.end;
            Ok(())
        }
        _ => Ok::<_, EditError>(()),
    };
    if let Some((range, port)) = &rport {
        put_received(layout, &mut from, range.start)?;
        layout.keep(from..range.start)?;
        layout.put(b"rport=")?;
        layout.put(port.as_bytes())?;
        from = range.end;
    }
    put_received(layout, &mut from, usize::MAX)?;
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
