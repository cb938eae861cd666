//! Users and their bindings on the way from one node to the next, which takes its place while both run.
//!
//! The one that goes writes each user as a block of octets, first all of them while it serves, then once more those that
//! have changed since ([`Location::hand_over`]). The one that comes reads them ([`Engine::inherit`](crate::Engine::inherit)): a
//! block that comes again replaces what was there. Both have the same secret, so that Call-IDs and GRUUs mean the same to
//! both, and the same clock. Listen addresses and domains are told by their place in the lists of the one that
//! goes; a [`Lineage`] says what they are here.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use papaya::{Compute, Operation};

use super::{Aor, Location, Record};
use crate::config::Config;
use crate::keys::Prf;
use crate::time::Time;

/// The number of the blocks' format. A node reads no other.
pub const FORMAT: u32 = 1;

/// What the places in another node's lists are here. See [`Engine::lineage`](crate::Engine::lineage).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    listen: Vec<Option<u8>>,
    domains: Vec<Option<u16>>,
}

impl Lineage {
    pub(crate) fn new(
        location: &Location,
        config: &Config,
        listen: &[SocketAddr],
        domains: &[String],
    ) -> Self {
        let address = |theirs: &SocketAddr| {
            let at = config.listen.iter().position(|ours| ours == theirs)?;
            u8::try_from(at).ok()
        };
        let domain = |theirs: &String| {
            let at = location.domains.iter().position(|ours| ours == theirs)?;
            u16::try_from(at).ok()
        };
        Self { listen: listen.iter().map(address).collect(), domains: domains.iter().map(domain).collect() }
    }

    pub(super) fn listen(&self, theirs: u8) -> Option<u8> {
        self.listen.get(usize::from(theirs)).copied().flatten()
    }

    pub(super) fn domain(&self, theirs: u16) -> Option<u16> {
        self.domains.get(usize::from(theirs)).copied().flatten()
    }
}

/// Why a user was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotInherited {
    /// The block is none of this [`FORMAT`].
    Malformed,
    /// He is of a domain that is none of ours.
    Domain,
    /// There is no room for his bindings.
    Full,
}

impl fmt::Display for NotInherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the record is not of this format",
            Self::Domain => "the user is of a domain that is none of ours",
            Self::Full => "no room: limits.bindings",
        })
    }
}

impl core::error::Error for NotInherited {}

impl Location {
    /// A number that nodes with the same secret have in common, and that says nothing of it.
    #[must_use]
    pub fn seal(&self) -> u64 {
        Prf::wide(&self.key).field(b"hand-over").finish128() as u64
    }

    /// The domains, in the order in which records name them.
    #[must_use]
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// Writes each user of whom something is still true at `now` and something has changed at `since` or later, as one
    /// block; [`Time::START`]: all of them. Workers may go on meanwhile: a user that one of them changes is written as he was or as he
    /// is.
    pub fn hand_over(&self, since: Time, now: Time, mut each: impl FnMut(&[u8])) {
        let mut block = Vec::new();
        for (_, record) in &self.records.pin() {
            block.clear();
            if (since == Time::START || record.is_newer(since)) && record.write(now, &mut block) {
                each(&block);
            }
        }
    }

    /// Puts a user in as `block` says, in the place of what was known of him. With the time in the answer, a record was
    /// made: see [`update`](Self::update). Also how many bindings he has.
    pub(crate) fn inherit(
        &self,
        now: Time,
        block: &[u8],
        lineage: &Lineage,
        seen: &mut dyn FnMut(IpAddr, Time),
    ) -> Result<(Aor, Option<Time>, usize), NotInherited> {
        let next = Record::read(block, lineage, now)?;
        let (aor, count) = (self.aor(next.domain, next.user()), next.count());
        next.sources().for_each(|(address, until)| seen(address, until));
        let records = self.records.pin();
        let mut next = Some(next);
        let outcome = records.compute(aor, |entry| {
            let before = entry.map_or(0, |(_, record)| record.count());
            let grows = count > before && self.bindings() + (count - before) > self.max_bindings;
            if grows || (entry.is_none() && self.aors() >= self.max_bindings) {
                return Operation::Abort(NotInherited::Full);
            }
            // Nobody else writes this user at the same time, so it is asked for once; if not, the first is in place.
            match next.take() {
                Some(next) => Operation::Insert(next),
                None => Operation::Abort(NotInherited::Full),
            }
        });
        let due = match outcome {
            Compute::Inserted(_, new) => {
                self.aors.change(1, 0);
                self.bindings.change(count, 0);
                self.replaced(None, Some(new));
                Some(new.due())
            }
            Compute::Updated { old: (_, old), new: (_, new) } => {
                self.bindings.change(count, old.count());
                self.replaced(Some(old), Some(new));
                None
            }
            Compute::Aborted(why) => return Err(why),
            Compute::Removed(..) => None,
        };
        Ok((aor, due, count))
    }
}
