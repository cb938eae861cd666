//! A table of fixed size whose places are used again: the entry behind a number is found without search, and a number
//! that outlived its entry is known by its generation.

/// One place.
struct Place<T> {
    generation: u32,
    /// While it is empty: the next empty one, plus one.
    next: u32,
    value: Option<T>,
}

/// See the head of this file.
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    /// First empty place that was used before, plus one; 0 for none.
    free: u32,
    used: usize,
    limit: usize,
    /// The generation of places that were not used yet.
    first: u32,
}

impl<T> Slab<T> {
    /// Octets of one place.
    #[cfg(test)]
    pub(crate) const PLACE: usize = size_of::<Place<T>>();

    /// Room for `limit` entries, less than 2^32 - 1. Memory is taken from the system when it is first used.
    pub(crate) fn new(limit: usize) -> Self {
        Self { places: Vec::with_capacity(limit), free: 0, used: 0, limit, first: 0 }
    }

    /// Places that are used for the first time have this generation, so that their entries are told from those of a table
    /// before this one. Said before the first entry.
    pub(crate) fn begin_at(&mut self, generation: u32) {
        self.first = generation;
    }

    /// Whether a generation is of a table that was there before this one began.
    pub(crate) fn precedes(&self, generation: u32) -> bool {
        generation.wrapping_sub(self.first).cast_signed() < 0
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Slot and generation that the next [`insert`](Self::insert) will have; `None` when the table is full.
    pub(crate) fn vacant(&self) -> Option<(u32, u32)> {
        match self.free.checked_sub(1) {
            Some(slot) => Some((slot, self.generation(slot))),
            None if self.places.len() < self.limit => {
                Some((u32::try_from(self.places.len()).ok()?, self.first))
            }
            None => None,
        }
    }

    /// Puts an entry into the [`vacant`](Self::vacant) place.
    pub(crate) fn insert(&mut self, value: T) -> Option<u32> {
        let (slot, _) = self.vacant()?;
        match self.places.get_mut(slot as usize) {
            Some(place) => {
                self.free = place.next;
                place.value = Some(value);
            }
            None => self.places.push(Place { generation: self.first, next: 0, value: Some(value) }),
        }
        self.used += 1;
        Some(slot)
    }

    /// Empties a place; its generation is another one from now on.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let place = self.places.get_mut(slot as usize)?;
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        place.next = self.free;
        self.free = slot + 1;
        self.used -= 1;
        Some(value)
    }

    /// The generation of a place, used or not.
    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.places.get(slot as usize).map_or(self.first, |place| place.generation)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.places.get(slot as usize)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.places.get_mut(slot as usize)?.value.as_mut()
    }

    /// Whether the entry that had this generation is still there.
    pub(crate) fn is(&self, slot: u32, generation: u32) -> bool {
        self.places.get(slot as usize).is_some_and(|p| p.generation == generation && p.value.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_does_not_outlive_its_entry() {
        let mut slab = Slab::new(2);
        assert_eq!(slab.vacant(), Some((0, 0)));
        assert_eq!((slab.insert("a"), slab.insert("b"), slab.insert("c")), (Some(0), Some(1), None));
        assert_eq!((slab.vacant(), slab.used(), slab.limit()), (None, 2, 2));
        assert!(slab.is(0, 0) && !slab.is(0, 1) && !slab.is(2, 0));
        assert_eq!((slab.remove(0), slab.remove(0)), (Some("a"), None));
        assert_eq!(slab.vacant(), Some((0, 1)));
        assert!(!slab.is(0, 0) && !slab.is(0, 1), "nobody is there");
        assert_eq!(slab.insert("d"), Some(0));
        assert!(slab.is(0, 1) && slab.get(0) == Some(&"d"));
    }
}
