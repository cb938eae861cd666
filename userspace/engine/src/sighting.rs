//! What the engine has learnt of sources, for those who police them.
//!
//! Only what an address cannot be made to show by somebody else counts: each of these needs an answer of ours to have
//! arrived there (a nonce, which is bound to the address and port that it was sent to). What anybody can send in
//! another's name says nothing of that other, and a ban for it would be a weapon. Filled by the element, emptied by
//! the node off the way of messages; without somebody who asked for it nothing is kept.

use core::net::IpAddr;
use std::collections::VecDeque;

use crate::time::Time;

/// What a source has shown of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A user there, who has shown that he is one, has registered, or asked what is. Where nobody is asked
    /// ([`Config::auth_required`](crate::Config::auth_required)) nobody has shown anything.
    Registered {
        /// Where.
        source: IpAddr,
        /// When the longest binding that can have been granted runs out.
        until: Time,
    },
    /// Somebody there has answered a challenge of ours, while it was fresh, with what no user's password makes.
    Guessed {
        /// Where.
        source: IpAddr,
    },
}

/// Sightings that nobody has asked for yet, the oldest first.
#[derive(Default)]
pub(crate) struct Sightings {
    waiting: VecDeque<Sighting>,
    room: usize,
}

impl Sightings {
    /// Keeps up to `room` from now on.
    pub(crate) fn watch(&mut self, room: usize) {
        self.waiting.reserve(room);
        self.room = room;
    }

    /// Notes one; `false` when it is lost because nobody has asked for so many. Nothing is lost that nobody wants.
    pub(crate) fn note(&mut self, sighting: Sighting) -> bool {
        let room = self.waiting.len() < self.room;
        if room {
            self.waiting.push_back(sighting);
        }
        room || self.room == 0
    }

    pub(crate) fn next(&mut self) -> Option<Sighting> {
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_silent_unless_somebody_watches() {
        let guess = |n: u8| Sighting::Guessed { source: IpAddr::from([192, 0, 2, n]) };
        let mut sightings = Sightings::default();
        assert!(sightings.note(guess(1)), "not lost: nobody wants it");
        assert_eq!(sightings.next(), None);
        sightings.watch(2);
        assert_eq!([guess(1), guess(2), guess(3)].map(|one| sightings.note(one)), [true, true, false]);
        assert_eq!([(); 3].map(|()| sightings.next()), [Some(guess(1)), Some(guess(2)), None]);
        assert!(sightings.note(guess(4)));
    }
}
