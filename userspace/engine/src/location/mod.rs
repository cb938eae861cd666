//! The location table: which contacts a user of our domains is registered with (RFC 3261 sections 10 and 16.5).
//!
//! One table for all workers. A record is immutable once it is in: a REGISTER builds the next one and swaps it in
//! whole, so that readers take no lock and see either all of an update or nothing of it. Records are found by a
//! keyed 128-bit hash of the user, which nobody outside can steer.
//!
//! Called by the registrar and the proxy core, and by [`Expiry`] for records whose time has come. Nothing here knows
//! about messages.

mod expiry;
mod handover;
#[cfg(test)]
mod handover_tests;
mod path;
mod record;
mod target;
#[cfg(test)]
mod tests;

use core::hash::{BuildHasherDefault, Hash, Hasher};
use core::sync::atomic::{AtomicIsize, AtomicU64, Ordering};

use papaya::{Compute, HashMap, Operation};

pub(crate) use expiry::Expiry;
pub use handover::{FORMAT, Lineage, NotInherited};
pub(crate) use path::{BoundFlow, Path};
use record::Record;
pub(crate) use record::{Change, Contact, Refusal, Tally, Update};
use strowger_sip::Uri;
pub(crate) use target::{Listed, Target, Targets};

use crate::config::{Config, ConfigError};
use crate::keys::{Key, Keys, Prf};
use crate::time::Time;

/// Key of a record: a keyed hash of domain and user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Aor(u128);

impl Aor {
    pub(crate) const fn bits(self) -> u128 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

impl Hash for Aor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// [`Aor`]s are hashes already, and keyed ones.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*b);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A number that workers change after the table: what one of them added another may have taken away, and counted,
/// before the first has counted it. So it may be below zero for a moment, which reads as zero.
#[derive(Default)]
struct Count(AtomicIsize);

impl Count {
    fn change(&self, more: usize, fewer: usize) {
        // No number here is near 2^63. Unchanged, the cache line stays where it is.
        let by = more.cast_signed().wrapping_sub(fewer.cast_signed());
        if by != 0 {
            self.0.fetch_add(by, Ordering::Relaxed);
        }
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed).max(0).cast_unsigned()
    }
}

/// The bindings of all users, shared by all workers of a node.
pub struct Location {
    records: HashMap<Aor, Record, BuildHasherDefault<Hashed>>,
    key: Key,
    domains: Box<[String]>,
    max_bindings: usize,
    max_contacts: usize,
    /// Bindings in records, those that have run out and were not yet collected included.
    bindings: Count,
    /// Records.
    aors: Count,
    /// Records with bindings.
    registered: Count,
    /// Engines that were made for this table.
    workers: AtomicU64,
}

/// What is known of a user.
pub(crate) enum Found<'a> {
    /// Nothing: 404.
    Unknown,
    /// The user was here, and has no live binding: 480.
    Offline,
    /// Only contacts that this node cannot send to.
    Unreachable,
    /// Where to send.
    Targets(Targets<'a>),
}

/// Which of a user's contacts a request is for.
#[derive(Clone, Copy)]
pub(crate) enum Which<'a> {
    /// All: the Request-URI is the address-of-record.
    Every,
    /// Those of the instance that `gr` names: it is a public GRUU (RFC 5627 section 3.1.1).
    Instance(&'a [u8]),
    /// Those of which this is true of instance and hash of the Call-ID: it is a temporary GRUU (section 3.1.2).
    Proven(&'a dyn Fn(&[u8], u64) -> bool),
}

impl Which<'_> {
    fn is(&self, instance: &[u8], call_id: u64) -> bool {
        match self {
            Self::Every => true,
            Self::Instance(gr) => crate::gruu::names(gr, instance),
            Self::Proven(proven) => !instance.is_empty() && proven(instance, call_id),
        }
    }

    /// What a user without a live contact of these is. A public GRUU stays valid with the user, a temporary one ends
    /// with its contacts (RFC 5627 section 5.3).
    fn nobody<'a>(&self) -> Found<'a> {
        match self {
            Self::Every | Self::Instance(_) => Found::Offline,
            Self::Proven(_) => Found::Unknown,
        }
    }
}

/// A user in a [`Location::snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// `user@domain`, unescaped.
    pub aor: String,
    /// Live contacts, oldest first.
    pub contacts: Vec<RegisteredContact>,
}

/// A contact in a [`Location::snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredContact {
    /// The contact's URI as it was registered.
    pub uri: String,
    /// Seconds until it runs out, rounded up.
    pub expires: u32,
    /// Preference in thousandths, 0 to 1000.
    pub q: u16,
}

impl Location {
    /// An empty table with room for all the bindings the configuration allows.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            records: HashMap::builder()
                .capacity(config.max_bindings)
                .hasher(BuildHasherDefault::default())
                .build(),
            key: Keys::derive(&config.secret).aor,
            domains: config.domains().iter().map(ToString::to_string).collect(),
            max_bindings: config.max_bindings,
            max_contacts: config.registrar.max_contacts,
            bindings: Count::default(),
            aors: Count::default(),
            registered: Count::default(),
            workers: AtomicU64::new(0),
        })
    }

    /// Bindings in the table. One that ran out counts until the engine's timer has collected it.
    #[must_use]
    pub fn bindings(&self) -> usize {
        self.bindings.get()
    }

    /// Users known: those with bindings, and for [`limit::KNOWN`](crate::limit::KNOWN) seconds those whose last one is
    /// gone.
    #[must_use]
    pub fn aors(&self) -> usize {
        self.aors.get()
    }

    /// Users with at least one binding. One that ran out counts until the engine's timer has collected it.
    #[must_use]
    pub fn registered(&self) -> usize {
        self.registered.get()
    }

    /// Up to `limit` users with live contacts, in no order. For status pages: it allocates, and walks the table.
    #[must_use]
    pub fn snapshot(&self, now: Time, limit: usize) -> Vec<Registration> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let records = self.records.pin();
        let mut users = Vec::new();
        for (_, record) in &records {
            if users.len() == limit {
                break;
            }
            let contacts: Vec<_> = record
                .list(now)
                .map(|c| RegisteredContact { uri: text(c.uri), expires: c.expires, q: c.q })
                .collect();
            if !contacts.is_empty() {
                let domain = self.domains.get(usize::from(record.domain)).map_or("", String::as_str);
                users.push(Registration { aor: format!("{}@{domain}", text(record.user())), contacts });
            }
        }
        users
    }

    /// Whether this table was made for `config`: same keys, same domains.
    pub(crate) fn fits(&self, config: &Config, keys: &Keys) -> bool {
        let domains = config.domains();
        self.key == keys.aor
            && self.domains.iter().map(String::as_str).eq(domains.iter().map(ToString::to_string))
    }

    /// A number that no other engine of this table has.
    pub(crate) fn next_worker(&self) -> u64 {
        self.workers.fetch_add(1, Ordering::Relaxed)
    }

    /// The key of a user (unescaped, RFC 3261 section 10.3 item 5) of the domain with index `domain`.
    pub(crate) fn aor(&self, domain: u16, user: &[u8]) -> Aor {
        Aor(Prf::wide_lookup(&self.key).number(u64::from(domain)).field(user).finish128())
    }

    /// Looks a user up; `use_it` runs while the record is held.
    pub(crate) fn find<R>(&self, aor: Aor, now: Time, use_it: impl FnOnce(Found<'_>) -> R) -> R {
        self.find_which(aor, &Which::Every, now, use_it)
    }

    /// As [`find`](Self::find), for some of the user's contacts.
    pub(crate) fn find_which<R>(
        &self,
        aor: Aor,
        which: &Which<'_>,
        now: Time,
        use_it: impl FnOnce(Found<'_>) -> R,
    ) -> R {
        let records = self.records.pin();
        use_it(records.get(&aor).map_or(Found::Unknown, |record| record.targets(which, now)))
    }

    /// The flow of the user's live contact that a Request-URI in a dialog names by user, host and port, when it is
    /// reached by a flow and not by its URI.
    pub(crate) fn flow_to(&self, aor: Aor, uri: &Uri<'_>, now: Time) -> Option<BoundFlow> {
        self.records.pin().get(&aor)?.flow_to(uri, now)
    }

    /// The other flows of the instance whose live contact has this Request-URI (RFC 5626 section 7).
    pub(crate) fn other_flows(&self, aor: Aor, uri: &[u8], now: Time, each: impl FnMut(Target<'_>)) {
        if let Some(record) = self.records.pin().get(&aor) {
            record.other_flows(uri, now).for_each(each);
        }
    }

    /// Lists the live bindings of a user.
    pub(crate) fn list(&self, aor: Aor, now: Time, each: &mut dyn FnMut(Listed<'_>)) {
        if let Some(record) = self.records.pin().get(&aor) {
            record.list(now).for_each(each);
        }
    }

    /// Carries out all of `update`, or nothing of it, and lists the bindings as they are then.
    ///
    /// `Some` time in the answer: a record was made, and the caller has to put it into its [`Expiry`] for that time.
    /// Workers that add at the same moment can exceed the limit of bindings by one update each.
    pub(crate) fn update(
        &self,
        aor: Aor,
        (domain, user): (u16, &[u8]),
        update: &Update<'_>,
        now: Time,
        each: &mut dyn FnMut(Listed<'_>),
    ) -> Result<(Tally, Option<Time>), Refusal> {
        let records = self.records.pin();
        let mut tally = Tally::default();
        let outcome = records.compute(aor, |entry| {
            let old = entry.map(|(_, record)| record);
            let (next, counted) = match Record::next(old, (domain, user), update, now, self.max_contacts) {
                Ok(Some(next)) => next,
                Ok(None) => return Operation::Abort(Ok(old)),
                Err(refusal) => return Operation::Abort(Err(refusal)),
            };
            let (more, fewer) = (counted.added, counted.removed + counted.expired);
            if (more > fewer && self.bindings() + (more - fewer) > self.max_bindings)
                || (old.is_none() && self.aors() >= self.max_bindings)
            {
                return Operation::Abort(Err(Refusal::Full));
            }
            tally = counted;
            Operation::Insert(next)
        });
        let (record, due) = match outcome {
            Compute::Inserted(_, new) => {
                self.aors.change(1, 0);
                self.replaced(None, Some(new));
                (Some(new), Some(new.due()))
            }
            Compute::Updated { old: (_, old), new: (_, new) } => {
                self.replaced(Some(old), Some(new));
                (Some(new), None)
            }
            Compute::Aborted(Ok(old)) => {
                tally = Tally::default();
                (old, None)
            }
            Compute::Aborted(Err(refusal)) => return Err(refusal),
            Compute::Removed(..) => (None, None),
        };
        self.bindings.change(tally.added, tally.removed + tally.expired);
        if let Some(record) = record {
            record.list(now).for_each(each);
        }
        Ok((tally, due))
    }

    /// Removes what has run out of a record. Returns how many bindings did, and when to look again; `None` when the
    /// record is gone.
    fn expire(&self, aor: Aor, now: Time) -> (usize, Option<Time>) {
        let records = self.records.pin();
        let mut expired = 0;
        let outcome = records.compute(aor, |entry| {
            expired = 0;
            let Some((_, record)) = entry else { return Operation::Abort(None) };
            match record.without_expired(now) {
                None if record.forgotten(now) => Operation::Remove,
                None => Operation::Abort(Some(record.due())),
                Some((next, count)) => {
                    expired = count;
                    Operation::Insert(next)
                }
            }
        });
        let due = match outcome {
            Compute::Updated { old: (_, old), new: (_, new) } => {
                self.replaced(Some(old), Some(new));
                Some(new.due())
            }
            Compute::Aborted(due) => due,
            Compute::Removed(..) => {
                self.aors.change(0, 1);
                None
            }
            Compute::Inserted(_, new) => Some(new.due()),
        };
        self.bindings.change(0, expired);
        (expired, due)
    }

    /// Counts the user in or out of those that are registered.
    fn replaced(&self, old: Option<&Record>, new: Option<&Record>) {
        let registered = |record: Option<&Record>| usize::from(record.is_some_and(|r| !r.is_empty()));
        self.registered.change(registered(new), registered(old));
    }
}
