//! The bindings of one user, packed: one block of text, one block of fixed-size bindings.
//!
//! [`Record::next`] is the algorithm of RFC 3261 section 10.3 items 6 and 7 as a pure function from one record to
//! the next.

use core::time::Duration;

use strowger_sip::Uri;

use super::Found;
use crate::config::limit;
use crate::time::Time;

/// A part of [`Record::text`]. 16 bits are enough: [`limit::USER`] + [`limit::CONTACTS`] · 2 · [`limit::CONTACT`].
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u16,
    len: u16,
}

/// One contact of a user. 32 octets.
#[derive(Clone, Copy, Debug)]
struct Binding {
    expires: Time,
    /// Keyed hash of the Call-ID: all that is ever asked is whether it is the same one.
    call_id: u64,
    cseq: u32,
    /// The URI as it was registered.
    uri: Span,
    /// What goes into a Request-URI: the URI without what RFC 3261 section 19.1.1 forbids there.
    target: Span,
    /// Thousandths.
    q: u16,
    /// Whether this node can send there: an address, by UDP, of a family it listens on.
    reachable: bool,
}

/// A user's bindings. The oldest comes first; a refresh keeps the place, so that of two equal contacts the choice
/// does not change between an INVITE and its CANCEL only because one of them refreshed (RFC 3261 section 16.11).
pub(super) struct Record {
    /// The user, unescaped, then the contacts' texts.
    text: Box<[u8]>,
    bindings: Box<[Binding]>,
    /// Without bindings: until when the user stays known.
    known_until: Time,
    user: u16,
    pub(super) domain: u16,
}

/// One contact of a REGISTER, as granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact<'a> {
    pub(crate) uri: &'a [u8],
    /// See [`Binding::target`].
    pub(crate) target: &'a [u8],
    /// Seconds; 0 removes the binding.
    pub(crate) expires: u32,
    /// Thousandths, 0 to 1000.
    pub(crate) q: u16,
    pub(crate) reachable: bool,
}

/// What a REGISTER does to the bindings.
#[derive(Clone, Copy)]
pub(crate) enum Change<'a> {
    /// `Contact: *`.
    RemoveAll,
    Each(&'a [Contact<'a>]),
}

/// A REGISTER with Contact.
#[derive(Clone, Copy)]
pub(crate) struct Update<'a> {
    /// Keyed hash of the Call-ID.
    pub(crate) call_id: u64,
    pub(crate) cseq: u32,
    pub(crate) change: Change<'a>,
    /// Octets there are to list the bindings afterwards.
    pub(crate) room: usize,
}

/// What an update did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) added: usize,
    pub(crate) refreshed: usize,
    pub(crate) removed: usize,
    pub(crate) expired: usize,
}

/// Why nothing of an update was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// An older or equal CSeq in the same Call-ID.
    OutOfOrder,
    /// More contacts than a user may have, or than fit an answer; a place is free after so many seconds.
    Contacts { retry_after: u32 },
    /// The table is full.
    Full,
}

/// A binding for the 200.
pub(crate) struct Listed<'a> {
    pub(crate) uri: &'a [u8],
    /// Seconds left, at least 1.
    pub(crate) expires: u32,
    pub(crate) q: u16,
}

impl Listed<'_> {
    /// Octets that a binding's line in the 200 takes beside its URI at most:
    /// `Contact: <>;q=0.123;expires=2147483647` and CRLF.
    pub(crate) const LINE: usize = 44;
}

/// A binding outside of a record.
struct Draft<'a> {
    uri: &'a [u8],
    target: &'a [u8],
    binding: Binding,
}

/// How a contact of a request meets a binding.
enum Order {
    /// Another Call-ID, or a later CSeq: it applies.
    Later,
    /// The same Call-ID and CSeq: the same request again. UDP clients retransmit; the answer is the same.
    Same,
    Earlier,
}

impl Order {
    fn of(update: &Update<'_>, binding: &Binding) -> Self {
        if update.call_id != binding.call_id || update.cseq > binding.cseq {
            Self::Later
        } else if update.cseq == binding.cseq {
            Self::Same
        } else {
            Self::Earlier
        }
    }
}

impl Record {
    /// The record after `update`, and what changed; `None` when nothing did.
    pub(super) fn next(
        old: Option<&Self>,
        (domain, user): (u16, &[u8]),
        update: &Update<'_>,
        now: Time,
        max_contacts: usize,
    ) -> Result<Option<(Self, Tally)>, Refusal> {
        let mut tally = Tally::default();
        let mut drafts: Vec<Draft<'_>> = Vec::with_capacity(limit::CONTACTS);
        if let Some(old) = old {
            drafts.extend(old.drafts().filter(|d| d.binding.expires > now));
            tally.expired = old.bindings.len() - drafts.len();
        }
        match update.change {
            Change::RemoveAll => {
                if drafts.iter().any(|d| !matches!(Order::of(update, &d.binding), Order::Later)) {
                    return Err(Refusal::OutOfOrder);
                }
                tally.removed = drafts.len();
                drafts.clear();
            }
            Change::Each(contacts) => {
                for contact in contacts {
                    Self::apply(&mut drafts, contact, update, now, &mut tally)?;
                }
            }
        }
        let listed: usize = drafts.iter().map(|d| d.uri.len() + Listed::LINE).sum();
        if tally.added > 0 && (drafts.len() > max_contacts || listed > update.room) {
            let before = drafts.iter().take(drafts.len().saturating_sub(tally.added));
            let soonest = before.map(|d| d.binding.expires.seconds_from(now)).min();
            return Err(Refusal::Contacts { retry_after: soonest.unwrap_or(limit::RETRY_AFTER) });
        }
        if tally == Tally::default() {
            return Ok(None);
        }
        Ok(Some((Self::pack(domain, user, &drafts, now), tally)))
    }

    /// RFC 3261 section 10.3 item 7 for one contact.
    fn apply<'a>(
        drafts: &mut Vec<Draft<'a>>,
        contact: &Contact<'a>,
        update: &Update<'_>,
        now: Time,
        tally: &mut Tally,
    ) -> Result<(), Refusal> {
        let binding = Binding {
            expires: now.after(Duration::from_secs(u64::from(contact.expires))),
            call_id: update.call_id,
            cseq: update.cseq,
            uri: Span { from: 0, len: 0 },
            target: Span { from: 0, len: 0 },
            q: contact.q,
            reachable: contact.reachable,
        };
        let draft = Draft { uri: contact.uri, target: contact.target, binding };
        let Some(at) = drafts.iter().position(|d| equivalent(d.uri, contact.uri)) else {
            if contact.expires > 0 {
                tally.added += 1;
                drafts.push(draft);
            }
            return Ok(());
        };
        let Some(existing) = drafts.get_mut(at) else { return Ok(()) };
        match (Order::of(update, &existing.binding), contact.expires) {
            (Order::Later, 0) => {
                tally.removed += 1;
                drafts.remove(at);
            }
            (Order::Later, _) => {
                tally.refreshed += 1;
                *existing = draft;
            }
            (Order::Same, 1..) => {}
            (Order::Same, 0) | (Order::Earlier, _) => return Err(Refusal::OutOfOrder),
        }
        Ok(())
    }

    fn pack(domain: u16, user: &[u8], drafts: &[Draft<'_>], now: Time) -> Self {
        let texts = |d: &Draft<'_>| d.uri.len() + if d.target == d.uri { 0 } else { d.target.len() };
        let mut text = Vec::with_capacity(user.len() + drafts.iter().map(texts).sum::<usize>());
        let mut put = |part: &[u8]| {
            let from = text.len();
            text.extend_from_slice(part);
            // The limits of the configuration keep both under 2^16; see Span.
            Span { from: u16::try_from(from).unwrap_or(0), len: u16::try_from(part.len()).unwrap_or(0) }
        };
        let user = put(user).len;
        let bindings = drafts.iter().map(|d| {
            let uri = put(d.uri);
            let target = if d.target == d.uri { uri } else { put(d.target) };
            Binding { uri, target, ..d.binding }
        });
        let bindings: Box<[Binding]> = bindings.collect();
        let known_until = now.after(Duration::from_secs(limit::KNOWN));
        Self { text: text.into_boxed_slice(), bindings, known_until, user, domain }
    }

    fn span(&self, span: Span) -> &[u8] {
        let from = usize::from(span.from);
        self.text.get(from..from + usize::from(span.len)).unwrap_or_default()
    }

    fn drafts(&self) -> impl Iterator<Item = Draft<'_>> {
        self.bindings.iter().map(|b| Draft {
            uri: self.span(b.uri),
            target: self.span(b.target),
            binding: *b,
        })
    }

    pub(super) fn user(&self) -> &[u8] {
        self.span(Span { from: 0, len: self.user })
    }

    /// Whether there is no binding left, be it one that ran out.
    pub(super) fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// When to look at this record again.
    pub(super) fn due(&self) -> Time {
        self.bindings.iter().map(|b| b.expires).min().unwrap_or(self.known_until)
    }

    /// Whether there is no binding, and was none for long enough.
    pub(super) fn forgotten(&self, now: Time) -> bool {
        self.is_empty() && self.known_until <= now
    }

    /// The record without the bindings that ran out, and their number; `None` when none did.
    pub(super) fn without_expired(&self, now: Time) -> Option<(Self, usize)> {
        let expired = self.bindings.iter().filter(|b| b.expires <= now).count();
        if expired == 0 {
            return None;
        }
        let live: Vec<_> = self.drafts().filter(|d| d.binding.expires > now).collect();
        Some((Self::pack(self.domain, self.user(), &live, now), expired))
    }

    /// The live bindings, oldest first.
    pub(super) fn list(&self, now: Time) -> impl Iterator<Item = Listed<'_>> {
        self.bindings.iter().filter(move |b| b.expires > now).map(move |b| Listed {
            uri: self.span(b.uri),
            expires: b.expires.seconds_from(now),
            q: b.q,
        })
    }

    /// The one target of a stateless proxy: of the live bindings we can send to the one with the highest q, and
    /// among equals the one that was made last.
    pub(super) fn target(&self, now: Time) -> Found<'_> {
        let mut live = self.bindings.iter().filter(|b| b.expires > now).peekable();
        if live.peek().is_none() {
            return Found::Offline;
        }
        // max_by_key gives the last of equals.
        live.filter(|b| b.reachable)
            .max_by_key(|b| b.q)
            .map_or(Found::Unreachable, |b| Found::Target(self.span(b.target)))
    }
}

/// RFC 3261 section 19.1.4.
fn equivalent(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    match (Uri::parse(a), Uri::parse(b)) {
        (Ok(a), Ok(b)) => a.is_equivalent(&b),
        _ => false,
    }
}
