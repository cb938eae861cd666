//! Fixed memory for messages that are kept: requests to send again, responses to repeat.
//!
//! A message lies in a chain of cells of one size, so memory never falls to pieces: whatever was let go fits whatever
//! comes, and the last message's octets are the only waste. A [`Kept`] is the only way to its cells and can neither be
//! copied nor made up; who lets it go gives the cells back. Nothing here is ever read where it lies: a kept message
//! leaves by being written into a frame.

/// Octets of a cell: an INVITE of 700 octets takes three, a URI one.
const CELL: usize = 256;

/// No cell. Links are stored plus one, so that zeroed memory means this.
const NONE: u32 = 0;

/// A message in an [`Arena`]. Must go back there by [`Arena::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Kept {
    /// Its first cell, plus one.
    first: u32,
    /// Its last cell, plus one.
    last: u32,
    len: u16,
}

impl Kept {
    /// Octets of the message.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }
}

/// See the head of this file.
pub(crate) struct Arena {
    cells: Vec<[u8; CELL]>,
    /// The next cell of each chain, plus one. Cells that were never used come after those in this table.
    links: Vec<u32>,
    /// First cell that was given back, plus one.
    free: u32,
    used: usize,
    limit: usize,
}

impl Arena {
    /// Memory for `octets`, rounded up to whole cells. It is taken from the system when it is first used.
    pub(crate) fn new(octets: usize) -> Self {
        let limit = octets.div_ceil(CELL);
        Self {
            cells: Vec::with_capacity(limit),
            links: Vec::with_capacity(limit),
            free: NONE,
            used: 0,
            limit,
        }
    }

    /// Octets in use, whole cells.
    pub(crate) fn used(&self) -> usize {
        self.used * CELL
    }

    /// Octets there are.
    pub(crate) fn limit(&self) -> usize {
        self.limit * CELL
    }

    /// Whether messages of these lengths can all be kept.
    pub(crate) fn has_room(&self, lengths: &[usize]) -> bool {
        let cells: usize = lengths.iter().map(|len| len.div_ceil(CELL).max(1)).sum();
        cells <= self.limit - self.used
    }

    /// A copy of `message`; `None` when there is no room for it, or it is longer than a datagram.
    pub(crate) fn keep(&mut self, message: &[u8]) -> Option<Kept> {
        let len = u16::try_from(message.len()).ok()?;
        if !self.has_room(&[message.len()]) {
            return None;
        }
        let first = self.cell()?;
        let mut last = first;
        let mut parts = message.chunks(CELL);
        self.fill(last, parts.next().unwrap_or_default());
        for part in parts {
            let next = self.cell()?;
            self.fill(next, part);
            if let Some(link) = link_mut(&mut self.links, last) {
                *link = next;
            }
            last = next;
        }
        Some(Kept { first, last, len })
    }

    /// Gives the memory of a message back.
    pub(crate) fn release(&mut self, kept: Kept) {
        let Kept { first, last, len } = kept;
        if let Some(link) = link_mut(&mut self.links, last) {
            *link = self.free;
        }
        self.free = first;
        self.used -= usize::from(len).div_ceil(CELL).max(1);
    }

    /// As [`release`](Self::release), if there is one.
    pub(crate) fn release_any(&mut self, kept: &mut Option<Kept>) {
        if let Some(kept) = kept.take() {
            self.release(kept);
        }
    }

    /// Writes a message to the front of `out` and returns it; `None` when it is longer.
    pub(crate) fn read<'o>(&self, kept: &Kept, out: &'o mut [u8]) -> Option<&'o [u8]> {
        let whole = out.get_mut(..kept.len())?;
        let mut cell = kept.first;
        for part in whole.chunks_mut(CELL) {
            let index = usize::try_from(cell.checked_sub(1)?).ok()?;
            part.copy_from_slice(self.cells.get(index)?.get(..part.len())?);
            cell = *self.links.get(index)?;
        }
        Some(whole)
    }

    /// A cell that is nobody's, plus one.
    fn cell(&mut self) -> Option<u32> {
        let cell = match self.free {
            NONE if self.cells.len() < self.limit => {
                self.cells.push([0; CELL]);
                self.links.push(NONE);
                u32::try_from(self.cells.len()).ok()?
            }
            NONE => return None,
            cell => {
                let link = link_mut(&mut self.links, cell)?;
                self.free = core::mem::replace(link, NONE);
                cell
            }
        };
        self.used += 1;
        Some(cell)
    }

    fn fill(&mut self, cell: u32, part: &[u8]) {
        let index = cell.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let place =
            index.and_then(|index| self.cells.get_mut(index)).and_then(|cell| cell.get_mut(..part.len()));
        if let Some(place) = place {
            place.copy_from_slice(part);
        }
    }
}

fn link_mut(links: &mut [u32], cell: u32) -> Option<&mut u32> {
    links.get_mut(usize::try_from(cell.checked_sub(1)?).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The oracle: a list of vectors.
        #[test]
        fn gives_back_what_was_kept(steps in proptest::collection::vec((any::<bool>(), 0usize..3000, any::<u8>()), 1..200)) {
            let mut arena = Arena::new(20_000);
            let mut oracle: Vec<(Kept, Vec<u8>)> = Vec::new();
            for (keep, n, byte) in steps {
                if keep || oracle.is_empty() {
                    let message: Vec<u8> = (0..n).map(|i| byte.wrapping_add(i as u8)).collect();
                    let room = arena.has_room(&[n]);
                    let kept = arena.keep(&message);
                    prop_assert_eq!(kept.is_some(), room);
                    oracle.extend(kept.map(|kept| (kept, message)));
                } else {
                    let (kept, _) = oracle.swap_remove(n % oracle.len());
                    arena.release(kept);
                }
                let cells: usize = oracle.iter().map(|(_, m)| m.len().div_ceil(CELL).max(1)).sum();
                prop_assert_eq!(arena.used(), cells * CELL);
                for (kept, message) in &oracle {
                    let mut out = [0; 3000];
                    prop_assert_eq!(arena.read(kept, &mut out), Some(&message[..]));
                }
            }
            for (kept, _) in oracle {
                arena.release(kept);
            }
            prop_assert_eq!(arena.used(), 0);
        }
    }

    #[test]
    fn is_never_larger_than_it_was_made() {
        let mut arena = Arena::new(4 * CELL);
        assert_eq!((arena.limit(), arena.used()), (4 * CELL, 0));
        let first = arena.keep(&[1; 2 * CELL]).unwrap();
        let second = arena.keep(&[2; CELL + 1]).unwrap();
        assert!(!arena.has_room(&[0]) && arena.keep(b"").is_none());
        assert!(arena.read(&first, &mut [0; 10]).is_none(), "no room to read it to");
        arena.release(first);
        assert!(arena.has_room(&[CELL, CELL]) && !arena.has_room(&[CELL, CELL, 1]));
        assert!(arena.keep(&[0; 65_536]).is_none());
        // What was given back is used again, in whatever pieces.
        let third = arena.keep(&[3; 2 * CELL]).unwrap();
        let mut out = [0; 4 * CELL];
        assert_eq!(arena.read(&second, &mut out), Some(&[2; CELL + 1][..]));
        assert_eq!(arena.read(&third, &mut out), Some(&[3; 2 * CELL][..]));
        assert_eq!(arena.used(), arena.limit());
    }
}
