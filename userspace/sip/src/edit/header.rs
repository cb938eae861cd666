//! Edits by header: what a proxy does to a request or response on its way (RFC 3261 sections 16.6 and 16.7).

use core::net::IpAddr;

use super::copy::SLACK;
use super::{EditError, EditPlan};
use crate::address::NameAddr;
use crate::error::{ValueError, ValueFault};
use crate::list::Value;
use crate::message::Message;
use crate::name::{HeaderName, NAMES};
use crate::render::{AddressText, Digits, write_v4};
use crate::text::Text;
use crate::via::Via;

/// Max-Forwards of a request that has none: RFC 3261 section 16.6 step 3.
const MAX_FORWARDS: &[u8] = b"Max-Forwards: 70\r\n";

impl EditPlan {
    /// Replaces the Request-URI (section 16.6 step 2). That `uri` is one is not checked.
    ///
    /// # Errors
    /// [`EditError::OutOfRange`] for a response; see [`replace`](Self::replace).
    #[inline]
    pub fn replace_request_uri(&mut self, message: &Message<'_>, uri: &[u8]) -> Result<(), EditError> {
        if !message.is_request() {
            return Err(EditError::OutOfRange);
        }
        self.replace(message.uri_range(), uri)
    }

    /// Adds `Name: parts…` above all other header lines, so it is the first of its name. Of two lines added so, the
    /// one added first stands first. Not for [`HeaderName::Other`], which has no spelling: [`insert`](Self::insert) does it.
    ///
    /// # Errors
    /// See [`replace`](Self::replace).
    #[inline]
    pub fn prepend_header(
        &mut self,
        message: &Message<'_>,
        name: HeaderName,
        parts: &[&[u8]],
    ) -> Result<(), EditError> {
        self.header_line(message.first_line_end(), name, parts)
    }

    /// Adds `Name: parts…` below all other header lines.
    ///
    /// # Errors
    /// See [`replace`](Self::replace).
    pub fn append_header(
        &mut self,
        message: &Message<'_>,
        name: HeaderName,
        parts: &[&[u8]],
    ) -> Result<(), EditError> {
        self.header_line(message.headers_end(), name, parts)
    }

    /// Removes every line of that header, however it is spelled: any case, compact form, space before the colon,
    /// folded. For [`HeaderName::Other`]: every header that the enum does not know.
    ///
    /// # Errors
    /// See [`replace`](Self::replace).
    pub fn remove_header(&mut self, message: &Message<'_>, name: HeaderName) -> Result<(), EditError> {
        let Some(first) = message.index().first(name) else { return Ok(()) };
        for entry in message.index().entries().get(first..).unwrap_or_default() {
            if entry.name == name {
                self.delete(usize::from(entry.line)..message.line_end(entry))?;
            }
        }
        Ok(())
    }

    /// Removes the topmost Via value, as is done to a response before it is forwarded (section 16.7 step 3).
    ///
    /// # Errors
    /// [`EditError::Missing`], or the Via cannot be read.
    #[inline]
    pub fn remove_top_via(&mut self, message: &Message<'_>) -> Result<(), EditError> {
        self.remove_first_values::<Via<'_>>(message, HeaderName::Via, 1)
    }

    /// As [`remove_top_via`](Self::remove_top_via), for the topmost Via of this message when it was read already.
    ///
    /// # Errors
    /// As [`remove_top_via`](Self::remove_top_via).
    #[inline]
    pub fn remove_via(&mut self, message: &Message<'_>, top: &Via<'_>) -> Result<(), EditError> {
        match message.entry(HeaderName::Via) {
            // Alone in its line, as nearly all are.
            Some(entry) if top.range() == (usize::from(entry.value)..usize::from(entry.value_end)) => {
                self.delete(usize::from(entry.line)..message.line_end(entry))
            }
            _ => self.remove_top_via(message),
        }
    }

    /// Removes the first Route value (section 16.4).
    ///
    /// # Errors
    /// [`EditError::Missing`], or the Route cannot be read.
    pub fn remove_first_route(&mut self, message: &Message<'_>) -> Result<(), EditError> {
        self.remove_first_values::<NameAddr<'_>>(message, HeaderName::Route, 1)
    }

    /// Removes the first `count` Route values: two when this element record-routed twice.
    ///
    /// # Errors
    /// [`EditError::Missing`] when there are fewer, or one cannot be read.
    pub fn remove_routes(&mut self, message: &Message<'_>, count: usize) -> Result<(), EditError> {
        self.remove_first_values::<NameAddr<'_>>(message, HeaderName::Route, count)
    }

    /// Removes the first `count` values of a header: whole lines, and the front of the line in which the last of them
    /// stands.
    ///
    /// # Errors
    /// [`EditError::Missing`] when there are fewer, or one cannot be read.
    pub fn remove_first_values<'a, T: Value<'a>>(
        &mut self,
        message: &Message<'a>,
        name: HeaderName,
        count: usize,
    ) -> Result<(), EditError> {
        let mut left = count;
        let first = message.index().first(name).ok_or(EditError::Missing(name))?;
        for entry in message.index().entries().get(first..).unwrap_or_default() {
            if left == 0 {
                return Ok(());
            }
            if entry.name != name {
                continue;
            }
            let text = message.text(entry);
            let base = usize::from(entry.value);
            let at;
            (at, left) = pass_values::<T>(text, base, left).map_err(|e| e.of(name))?;
            if at == text.end() {
                self.delete(usize::from(entry.line)..message.line_end(entry))?;
            } else {
                self.delete(base..at)?;
            }
        }
        if left == 0 { Ok(()) } else { Err(EditError::Missing(name)) }
    }

    /// Sets `received` and the value of `rport` in the topmost Via of a request (section 18.2.1; RFC 3581 section 4).
    /// A `received` that is there is replaced; `rport` is only filled in where the sender asked for it.
    ///
    /// # Errors
    /// The Via cannot be read; see [`replace`](Self::replace).
    pub fn set_top_via_params(
        &mut self,
        message: &Message<'_>,
        received: Option<IpAddr>,
        rport: Option<u16>,
    ) -> Result<(), EditError> {
        self.mark_via(&message.top_via()?, received, rport)
    }

    /// As [`set_top_via_params`](Self::set_top_via_params), for a Via that was read already.
    ///
    /// # Errors
    /// See [`replace`](Self::replace).
    #[inline]
    pub fn mark_via(
        &mut self,
        via: &Via<'_>,
        received: Option<IpAddr>,
        rport: Option<u16>,
    ) -> Result<(), EditError> {
        if let (Some(port), Some(range)) = (rport, via.rport_range()) {
            let at = self.put_rport(self.used as usize, port)?;
            self.add(range, at)?;
        }
        if let Some(address) = received {
            let (range, at) = match via.received_range() {
                Some(range) => (range, self.used as usize),
                None => {
                    let end = via.range().end;
                    (end..end, self.put(self.used as usize, b";received=")?)
                }
            };
            let at = self.put_received(at, address)?;
            self.add(range, at)?;
        }
        Ok(())
    }

    /// Puts `rport` with its value; see [`put`](Self::put).
    #[inline(always)]
    pub(super) fn put_rport(&mut self, at: usize, port: u16) -> Result<usize, EditError> {
        let at = self.put(at, b"rport=")?;
        let port = Digits::new(u32::from(port));
        let (block, len) = port.block();
        self.put_block(at, block, len)
    }

    /// Puts the value of `received`; see [`put`](Self::put).
    #[inline(always)]
    pub(super) fn put_received(&mut self, at: usize, address: IpAddr) -> Result<usize, EditError> {
        match address {
            IpAddr::V4(address) => {
                let room = self.text.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<16>);
                Ok(at + write_v4(room.ok_or(EditError::TextFull)?, address))
            }
            IpAddr::V6(_) => self.put(at, AddressText::received(address).as_bytes()),
        }
    }

    /// Max-Forwards less one, or 70 where there is none (section 16.6 step 3).
    ///
    /// # Errors
    /// [`EditError::Exhausted`] at 0; not a number; there twice.
    #[inline]
    pub fn decrement_max_forwards(&mut self, message: &Message<'_>) -> Result<(), EditError> {
        match message.max_forwards()? {
            Some(hops) => self.set_max_forwards(message, hops.checked_sub(1).ok_or(EditError::Exhausted)?),
            None => self.insert(message.first_line_end(), MAX_FORWARDS),
        }
    }

    /// Sets Max-Forwards, or adds it.
    ///
    /// # Errors
    /// See [`replace`](Self::replace).
    #[inline]
    pub fn set_max_forwards(&mut self, message: &Message<'_>, hops: u32) -> Result<(), EditError> {
        let hops = Digits::new(hops);
        let Some(entry) = message.entry(HeaderName::MaxForwards) else {
            return self.prepend_header(message, HeaderName::MaxForwards, &[hops.as_bytes()]);
        };
        let (block, len) = hops.block();
        let at = self.put_block(self.used as usize, block, len)?;
        self.add(usize::from(entry.value)..usize::from(entry.value_end), at)
    }

    #[inline(always)]
    fn header_line(&mut self, at: usize, name: HeaderName, parts: &[&[u8]]) -> Result<(), EditError> {
        let (head, len) = &HEADS[name as usize % HEADS.len()];
        let mut used = self.put_block(self.used as usize, head, usize::from(*len))?;
        for part in parts {
            used = self.put(used, part)?;
        }
        let used = self.put(used, b"\r\n")?;
        self.add(at..at, used)
    }
}

/// Name, colon and space of each header line, and how many octets they are.
static HEADS: [([u8; SLACK], u8); NAMES.len() + 1] = {
    let mut heads = [([0; SLACK], 0); NAMES.len() + 1];
    let mut i = 0;
    while i < heads.len() {
        // The name that is none is empty.
        let name = if i < NAMES.len() { NAMES[i].as_bytes() } else { b"" };
        let mut at = 0;
        while at < name.len() {
            heads[i].0[at] = name[at];
            at += 1;
        }
        heads[i].0[at] = b':';
        heads[i].0[at + 1] = b' ';
        heads[i].1 = at as u8 + 2;
        i += 1;
    }
    heads
};

/// Passes `count` values from `at` on, or those that there are: where the next one begins, or the end of the text; and
/// how many were missing.
#[inline]
pub(super) fn pass_values<'a, T: Value<'a>>(
    text: Text<'a>,
    at: usize,
    count: usize,
) -> Result<(usize, usize), ValueError> {
    let (mut at, mut left) = (at, count);
    while left > 0 && at < text.end() {
        let (_, end) = T::take(text, at)?;
        left -= 1;
        if text.is_over(end) {
            at = text.end();
            continue;
        }
        at = text.skip_lws(end);
        if text.byte(at) != b',' {
            return Err(ValueError::new(ValueFault::Unexpected, at));
        }
        at = text.skip_lws(at + 1);
        if at >= text.end() {
            return Err(ValueError::new(ValueFault::Ended, at));
        }
    }
    Ok((at, left))
}
