//! The Route header (RFC 3261 sections 16.4 and 16.6 item 6) and our own Record-Route: reading what is ours, and the
//! edits that take values away or append one.

use strowger_sip::{EditError, EditPlan, Essentials, HeaderName, Message, NameAddr, Uri};

use crate::keys::{Keys, Prf, read_base32, same, write_base32};
use crate::refusal::Refusal;
use crate::site::Site;

/// The parameter of our Record-Route URIs that holds the dialog's token.
const PARAMETER: &str = "dlg";

/// Octets of a token: 64 bits.
const TOKEN_LEN: usize = 13;

/// The Route values of a request, after those that mean us are taken away.
pub(crate) struct Routes<'a> {
    /// Values in the message.
    count: usize,
    /// Values at the front that are taken away.
    reached: usize,
    /// The last value is taken away: it becomes the Request-URI.
    pop_last: bool,
    /// First and last of the values that stay.
    stay: Option<(NameAddr<'a>, NameAddr<'a>)>,
    /// The listen address that the last value of ours names: the request leaves from there (RFC 5658 section 4).
    pub(crate) leaves_from: Option<u8>,
    /// A value of ours had a token that proves the dialog.
    pub(crate) proven: bool,
    /// A value of ours had a token that does not.
    pub(crate) forged: bool,
}

impl<'a> Routes<'a> {
    /// Reads all Route values. When the Request-URI is one that we put into a Record-Route, the request comes from a
    /// strict router and the last value is the real Request-URI: it is returned beside.
    pub(crate) fn read(
        message: &Message<'a>,
        headers: &Essentials<'_>,
        uri: &Uri<'_>,
        site: &Site,
        keys: &Keys,
    ) -> Result<(Self, Option<NameAddr<'a>>), Refusal> {
        let mut routes = Self {
            count: 0,
            reached: 0,
            pop_last: false,
            stay: None,
            leaves_from: None,
            proven: false,
            forged: false,
        };
        if !message.has(HeaderName::Route) {
            return Ok((routes, None));
        }
        let strict =
            site_of(uri, site).filter(|_| uri.is_loose() && uri.params().contains(PARAMETER.as_bytes()));
        if strict.is_some() {
            routes.leaves_from = strict;
            routes.judge(uri, headers, keys);
        }
        // The value before the last one, and the last one so far.
        let (mut previous, mut last): (Option<NameAddr<'a>>, Option<NameAddr<'a>>) = (None, None);
        let mut first_staying: Option<NameAddr<'a>> = None;
        let mut reached_last = false;
        for value in message.routes() {
            let value = value.map_err(Refusal::Header)?;
            routes.count += 1;
            reached_last = false;
            if first_staying.is_none() {
                let uri = value.uri().map_err(|e| Refusal::UriIn(HeaderName::Route, e))?;
                let host = uri.host().filter(|host| site.is_us(host, uri.port()));
                if host.is_some() {
                    routes.reached += 1;
                    reached_last = true;
                    routes.leaves_from = site_of(&uri, site).or(routes.leaves_from);
                    routes.judge(&uri, headers, keys);
                } else {
                    first_staying = Some(value);
                }
            }
            previous = last.replace(value);
        }
        routes.pop_last = strict.is_some() && routes.count > 0;
        if !routes.pop_last {
            routes.stay = first_staying.zip(last);
            return Ok((routes, None));
        }
        // The last value is no Route any more, whoever it names.
        if reached_last {
            routes.reached -= 1;
        }
        let staying = routes.count - 1 - routes.reached;
        routes.stay = if staying > 0 { first_staying.zip(previous) } else { None };
        Ok((routes, last))
    }

    /// Whether the token in a URI of ours proves the dialog.
    fn judge(&mut self, uri: &Uri<'_>, headers: &Essentials<'_>, keys: &Keys) {
        if let Some(token) = uri.params().value(PARAMETER.as_bytes()) {
            let proven = proves(token, headers, keys);
            self.proven |= proven;
            self.forged |= !proven;
        }
    }

    /// The first value that stays: the next hop.
    pub(crate) fn next(&self) -> Option<&NameAddr<'a>> {
        self.stay.as_ref().map(|(first, _)| first)
    }

    /// Plans the removal of what was reached and of what became the Request-URI. With `strict_next` the next value
    /// goes too, into the Request-URI, and this URI becomes the last value (section 16.6 item 6).
    pub(crate) fn edit(
        &self,
        message: &Message<'_>,
        strict_next: Option<&[u8]>,
        plan: &mut EditPlan,
    ) -> Result<(), EditError> {
        let from = self.reached + usize::from(strict_next.is_some());
        let to = self.count - usize::from(self.pop_last);
        if from >= to {
            plan.remove_header(message, HeaderName::Route)?;
            return match strict_next {
                Some(uri) => plan.append_header(message, HeaderName::Route, &[b"<", uri, b">"]),
                None => Ok(()),
            };
        }
        if from > 0 {
            plan.remove_routes(message, from)?;
        }
        if !self.pop_last && strict_next.is_none() {
            return Ok(());
        }
        // What stays ends with the value before `to`.
        let Some(last) = message.routes().map_while(Result::ok).nth(to - 1).map(|value| value.range()) else {
            return Ok(());
        };
        for line in message.headers(HeaderName::Route) {
            if line.line_range.start >= last.end {
                plan.delete(line.line_range)?;
            } else if line.value_range.start <= last.start && last.end <= line.value_range.end {
                let rest = last.end..line.value_range.end;
                match strict_next {
                    Some(uri) => plan.replace_with(rest, &[b", <", uri, b">"])?,
                    None => plan.delete(rest)?,
                }
            }
        }
        Ok(())
    }
}

/// A Record-Route value of ours for the listen address `host`, as the parts of a header line.
pub(crate) struct RecordRoute {
    token: [u8; TOKEN_LEN],
}

impl RecordRoute {
    /// For the dialog that this request makes.
    pub(crate) fn new(headers: &Essentials<'_>, keys: &Keys) -> Self {
        let mut text = [0; TOKEN_LEN];
        write_base32(token(headers.call_id, headers.from.tag().unwrap_or_default(), keys), &mut text);
        Self { token: text }
    }

    /// Plans the lines: one for each listen address that the dialog goes through, the one that sends first (RFC 5658
    /// section 4).
    pub(crate) fn add(
        &self,
        message: &Message<'_>,
        hosts: &[&str],
        plan: &mut EditPlan,
    ) -> Result<(), EditError> {
        for host in hosts {
            let parts: [&[u8]; 5] = [b"<sip:", host.as_bytes(), b";lr;dlg=", &self.token, b">"];
            plan.prepend_header(message, HeaderName::RecordRoute, &parts)?;
        }
        Ok(())
    }
}

/// The listen address that a URI names by address.
fn site_of(uri: &Uri<'_>, site: &Site) -> Option<u8> {
    site.listen_named(&uri.host()?, uri.port())
}

fn token(call_id: &[u8], tag: &[u8], keys: &Keys) -> u64 {
    Prf::new(&keys.dialog).field(call_id).field(tag).finish()
}

/// The token binds the Call-ID and the tag of the caller, which is From of what the caller sends and To of what the
/// callee sends.
fn proves(text: &[u8], headers: &Essentials<'_>, keys: &Keys) -> bool {
    let Some(value) = (text.len() == TOKEN_LEN).then(|| read_base32(text)).flatten() else { return false };
    [headers.from.tag(), headers.to.tag()]
        .into_iter()
        .any(|tag| same(token(headers.call_id, tag.unwrap_or_default(), keys), value))
}
