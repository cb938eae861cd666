//! The bindings of one user, packed: one block of text, one block of fixed-size bindings.
//!
//! [`Record::next`] is the algorithm of RFC 3261 section 10.3 items 6 and 7 as a pure function from one record to
//! the next.

mod octets;

use core::time::Duration;

use strowger_sip::Uri;

use super::path::Path;
use super::target::{Listed, Target, Targets};
use super::{Found, Which};
use crate::config::limit;
use crate::plant::{Plant, is_planted};
use crate::time::Time;

/// One contact of a user. 40 octets; its texts lie one after the other in [`Record::text`]: the URI, the instance, the
/// Path, the remote end of its flow. 16 bits are enough for where: see the assertion.
#[derive(Clone, Copy, Debug)]
struct Binding {
    expires: Time,
    /// Keyed hash of the Call-ID: all that is ever asked is whether it is the same one.
    call_id: u64,
    cseq: u32,
    /// RFC 5626 section 4.2; 0 for none.
    reg_id: u32,
    /// Where the texts begin.
    from: u16,
    /// Octets of the URI as it was registered.
    uri: u16,
    /// Octets of its part that goes into a Request-URI: without headers, which RFC 3261 section 19.1.1 forbids there.
    target: u16,
    path: u16,
    /// Thousandths.
    q: u16,
    instance: u8,
    /// Octets of the flow's remote end: 6, 18, or 0 for a contact that is sent to by its URI.
    flow: u8,
    /// Index of the listen address of the flow.
    listen: u8,
    /// Whether this node can send there: by an address of a family it listens on, with UDP.
    reachable: bool,
}

const _: () = assert!(
    limit::USER + limit::CONTACTS * (limit::CONTACT + limit::INSTANCE + limit::PATH + Path::FLOW) <= 65_535
);
const _: () = assert!(limit::INSTANCE <= 255 && size_of::<Binding>() == 40);

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
    /// Octets of `uri` that go into a Request-URI.
    pub(crate) target: usize,
    /// Seconds; 0 removes the binding.
    pub(crate) expires: u32,
    /// Thousandths, 0 to 1000.
    pub(crate) q: u16,
    pub(crate) reachable: bool,
    /// `+sip.instance`; empty for none.
    pub(crate) instance: &'a [u8],
    /// `reg-id`, which counts only beside an instance (RFC 5626 section 6); 0 for none.
    pub(crate) reg_id: u32,
}

impl Contact<'_> {
    /// One that takes a place in an array.
    pub(crate) const NONE: Self =
        Self { uri: b"", target: 0, expires: 0, q: 0, reachable: false, instance: b"", reg_id: 0 };
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
    /// How its contacts are reached.
    pub(crate) path: Path<'a>,
    /// Octets there are to list the bindings afterwards.
    pub(crate) room: usize,
    /// Octets of a pair of GRUUs beside the instance, when the listing has them; else 0.
    pub(crate) gruus: usize,
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

/// A binding outside of a record.
struct Draft<'a> {
    uri: &'a [u8],
    instance: &'a [u8],
    path: Path<'a>,
    binding: Binding,
}

impl Draft<'_> {
    /// Whether a contact of a request is this binding: the same flow of the same instance when both say so (RFC 5626
    /// section 6), else an equivalent URI (RFC 3261 section 10.3 item 7).
    fn is(&self, contact: &Contact<'_>) -> bool {
        if contact.reg_id != 0 {
            return self.binding.reg_id == contact.reg_id && self.instance == contact.instance;
        }
        self.binding.reg_id == 0 && equivalent(self.uri, contact.uri)
    }
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
    /// How long a user is known after the last change.
    const KNOWN: Duration = Duration::from_secs(limit::KNOWN);

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
        let listed = |d: &Draft<'_>| Listed::length(d.uri.len(), d.instance.len(), update.gruus);
        let listed: usize = drafts.iter().map(listed).sum();
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
        update: &Update<'a>,
        now: Time,
        tally: &mut Tally,
    ) -> Result<(), Refusal> {
        let octets = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(0);
        let binding = Binding {
            expires: now.after(Duration::from_secs(u64::from(contact.expires))),
            call_id: update.call_id,
            cseq: update.cseq,
            reg_id: contact.reg_id,
            from: 0,
            uri: octets(contact.uri),
            target: u16::try_from(contact.target).unwrap_or(0),
            path: octets(update.path.routes),
            q: contact.q,
            instance: u8::try_from(contact.instance.len()).unwrap_or(0),
            flow: update.path.flow_len(),
            listen: update.path.flow.map_or(0, |flow| flow.listen),
            reachable: contact.reachable,
        };
        let draft = Draft { uri: contact.uri, instance: contact.instance, path: update.path, binding };
        let Some(at) = drafts.iter().position(|d| d.is(contact)) else {
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
        let texts = |d: &Draft<'_>| d.uri.len() + d.instance.len() + d.path.len();
        let mut text = Vec::with_capacity(user.len() + drafts.iter().map(texts).sum::<usize>());
        text.extend_from_slice(user);
        let bindings = drafts.iter().map(|d| {
            // The limits keep it under 2^16; see Binding.
            let from = u16::try_from(text.len()).unwrap_or(0);
            text.extend_from_slice(d.uri);
            text.extend_from_slice(d.instance);
            d.path.pack(&mut text);
            Binding { from, ..d.binding }
        });
        let bindings: Box<[Binding]> = bindings.collect();
        let known_until = now.after(Self::KNOWN);
        let user = u16::try_from(user.len()).unwrap_or(0);
        Self { text: text.into_boxed_slice(), bindings, known_until, user, domain }
    }

    fn draft(&self, binding: &Binding) -> Draft<'_> {
        let mut rest = self.text.get(usize::from(binding.from)..).unwrap_or_default();
        let mut take = |len: usize| {
            let (taken, left) = rest.split_at_checked(len).unwrap_or_default();
            rest = left;
            taken
        };
        let uri = take(binding.uri.into());
        let instance = take(binding.instance.into());
        let routes = take(binding.path.into());
        let path = Path::unpack(routes, take(binding.flow.into()), binding.listen);
        Draft { uri, instance, path, binding: *binding }
    }

    fn drafts(&self) -> impl Iterator<Item = Draft<'_>> {
        self.bindings.iter().map(|b| self.draft(b))
    }

    pub(super) fn user(&self) -> &[u8] {
        self.text.get(..usize::from(self.user)).unwrap_or_default()
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
        self.drafts().filter(move |d| d.binding.expires > now).map(move |d| Listed {
            uri: d.uri,
            expires: d.binding.expires.seconds_from(now),
            q: d.binding.q,
            instance: d.instance,
            reg_id: d.binding.reg_id,
            call_id: d.binding.call_id,
        })
    }

    /// The live bindings that `which` names and that we can send to: highest q first, and among equals the one that
    /// was made last. Of the flows of one instance only the one that lasts longest is there: RFC 5626 section 7 does
    /// not let two of them be tried at once.
    pub(super) fn targets(&self, which: &Which<'_>, now: Time) -> Found<'_> {
        let mut order = [0; limit::CONTACTS];
        let (mut live, mut count) = (false, 0);
        for (n, binding) in self.bindings.iter().enumerate().rev() {
            if binding.expires <= now {
                continue;
            }
            let draft = self.draft(binding);
            if !which.is(draft.instance, binding.call_id) {
                continue;
            }
            live = true;
            let other_flow = |b: &Binding| {
                binding.reg_id != 0
                    && b.reg_id != 0
                    && b.reg_id != binding.reg_id
                    && b.reachable
                    && b.expires > binding.expires.max(now)
                    && self.draft(b).instance == draft.instance
            };
            if binding.reachable
                && !self.bindings.iter().any(other_flow)
                && let Some(place) = order.get_mut(count)
            {
                *place = n as u8; // at most limit::CONTACTS
                count += 1;
            }
        }
        if !live {
            return which.nobody();
        }
        let Some(order_used) = order.get_mut(..count).filter(|used| !used.is_empty()) else {
            return Found::Unreachable;
        };
        // Stable: the later ones come first already.
        order_used.sort_by_key(|n| core::cmp::Reverse(self.bindings.get(usize::from(*n)).map_or(0, |b| b.q)));
        if is_planted(Plant::ContactOrder) {
            order_used.reverse();
        }
        Found::Targets(Targets::new(self, order, count))
    }

    /// The binding at a place that [`targets`](Self::targets) gave out.
    pub(super) fn target(&self, at: u8) -> Option<Target<'_>> {
        let binding = self.bindings.get(usize::from(at))?;
        let draft = self.draft(binding);
        Some(Target {
            uri: draft.uri.get(..usize::from(binding.target)).unwrap_or(draft.uri),
            q: binding.q,
            flow: draft.path.flow,
            path: draft.path.routes,
        })
    }

    /// The live flows of the instance that has a binding with this Request-URI, that one among them when there are several
    /// with the same.
    pub(super) fn other_flows<'r>(&'r self, uri: &[u8], now: Time) -> impl Iterator<Item = Target<'r>> {
        let with_uri =
            |d: &Draft<'_>| d.binding.reg_id != 0 && d.uri.get(..usize::from(d.binding.target)) == Some(uri);
        let failed = self.drafts().find(with_uri);
        let (instance, reg_id) = failed.map_or((&b""[..], 0), |d| (d.instance, d.binding.reg_id));
        let alone = self.drafts().filter(with_uri).count() < 2;
        let flows = self.bindings.iter().enumerate().filter(move |(_, binding)| {
            let of_instance = !instance.is_empty() && self.draft(binding).instance == instance;
            let other = binding.reg_id != 0 && !(alone && binding.reg_id == reg_id);
            of_instance && other && binding.reachable && binding.expires > now
        });
        // At most limit::CONTACTS of them.
        flows.filter_map(|(at, _)| self.target(at as u8))
    }

    /// The flow of the live binding whose contact has the user, host and port of `uri`.
    pub(super) fn flow_to(&self, uri: &Uri<'_>, now: Time) -> Option<super::BoundFlow> {
        let same = |d: &Draft<'_>| {
            Uri::parse(d.uri).is_ok_and(|contact| {
                contact.user() == uri.user() && contact.host() == uri.host() && contact.port() == uri.port()
            })
        };
        let with_flow = |d: &Draft<'_>| d.binding.flow > 0 && d.binding.expires > now && same(d);
        self.drafts().find(with_flow).and_then(|d| d.path.flow)
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
