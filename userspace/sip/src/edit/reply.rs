//! Replies: a plan that turns a request into its response (RFC 3261 section 8.2.6), in place or into another buffer.

use core::net::IpAddr;

use super::{EditError, EditPlan};
use crate::address::NameAddr;
use crate::list;
use crate::message::Message;
use crate::name::HeaderName;
use crate::render::Digits;

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
}

impl Default for Reply<'_> {
    fn default() -> Self {
        Self { code: 500, reason: b"", to_tag: None, received: None, rport: None, record_route: false }
    }
}

impl EditPlan {
    /// Begins a plan that makes the request into a response: status line; all Vias in their order with `received` and
    /// `rport` set; From, To with tag, Call-ID and CSeq as they stand; Timestamp in a 100 (section 8.2.6.1);
    /// Record-Route if due; `Content-Length: 0` and no body. Everything else goes.
    ///
    /// Works on a [salvaged](Message::salvage) message too: what is missing stays missing, and what is there twice is
    /// kept once.
    ///
    /// # Errors
    /// [`EditError::OutOfRange`] for a response, which is never answered; [`EditError::Missing`] without any Via.
    /// A topmost Via that cannot be read is sent back as it stands (the reply is then a 400, and goes to where the
    /// request came from).
    pub fn reply(&mut self, message: &Message<'_>, reply: &Reply<'_>) -> Result<(), EditError> {
        if !message.is_request() {
            return Err(EditError::OutOfRange);
        }
        if !message.has(HeaderName::Via) {
            return Err(EditError::Missing(HeaderName::Via));
        }
        self.begin(message);
        let code = Digits::new(u32::from(reply.code));
        let reason =
            if reply.reason.is_empty() { reason_phrase(reply.code).as_bytes() } else { reply.reason };
        let status_line: [&[u8]; 5] = [b"SIP/2.0 ", code.as_bytes(), b" ", reason, b"\r\n"];

        // From here to the next kept line everything goes.
        let mut dropped = message.extent().start;
        let mut status_line = Some(status_line);
        let mut kept_once = 0u128;
        for entry in message.index().entries() {
            let once = match entry.name {
                HeaderName::Via => false,
                HeaderName::RecordRoute if reply.record_route => false,
                HeaderName::Timestamp if reply.code == 100 => true,
                HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq => true,
                _ => continue,
            };
            let bit = 1u128 << entry.name as u8;
            if once && kept_once & bit != 0 {
                continue;
            }
            kept_once |= bit;
            let line = usize::from(entry.line);
            match status_line.take() {
                Some(status_line) => self.replace_with(dropped..line, &status_line)?,
                None if line > dropped => self.delete(dropped..line)?,
                None => {}
            }
            dropped = message.line_end(entry);
            if entry.name == HeaderName::To
                && let Some(tag) = reply.to_tag
                && let Ok(to) = list::single::<NameAddr<'_>>(message.text(entry), usize::from(entry.value))
                && to.tag().is_none()
            {
                let end = to.range().end;
                self.replace_with(end..end, &[b";tag=", tag])?;
            }
        }
        let headers_end = message.headers_end();
        if headers_end > dropped {
            self.delete(dropped..headers_end)?;
        }
        // Ends after the point where header lines are appended, so that they come before it.
        self.replace(headers_end..message.extent().end, b"Content-Length: 0\r\n\r\n")?;
        match message.top_via() {
            Ok(via) => self.mark_via(&via, reply.received, reply.rport),
            Err(_) => Ok(()),
        }
    }
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
