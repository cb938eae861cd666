//! The texts of dialogs: strings of any length in a fixed block of memory.
//!
//! Used by the table of dialogs alone. A text is a chain of chunks, so there is nothing to fragment and one limit for
//! all lengths; it is copied out to be read, which happens when a call changes, not with every message. The links lie
//! side by side, apart from the chunks: to walk a chain does not wait for each chunk to come out of memory.

/// Octets of a chunk: a cache line.
pub(super) const CHUNK: usize = 64;

/// The end of a chain, and of the list of free chunks.
const NONE: u32 = u32::MAX;

/// A stored text. Neither `Clone` nor `Copy`: whoever has it gives it back with [`Texts::release`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    head: u32,
    len: u16,
}

impl Text {
    /// The text without octets; it takes no chunk.
    pub(super) const EMPTY: Self = Self { head: NONE, len: 0 };

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Chunks it takes.
    pub(super) const fn chunks(&self) -> usize {
        (self.len as usize).div_ceil(CHUNK)
    }
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Chunk([u8; CHUNK]);

/// All chunks there are.
pub(super) struct Texts {
    /// Made as they are first used, within the capacity that was taken at start.
    chunks: Vec<Chunk>,
    /// The next of each chunk.
    links: Vec<u32>,
    limit: usize,
    free: u32,
    used: usize,
}

impl Texts {
    /// Room for `limit` chunks of [`CHUNK`] octets. The memory is reserved here, and touched when it is first used.
    pub(super) fn new(limit: usize) -> Self {
        // Chunks are numbered in 32 bits, of which one value says that there is none.
        let limit = limit.min(NONE as usize);
        Self {
            chunks: Vec::with_capacity(limit),
            links: Vec::with_capacity(limit),
            limit,
            free: NONE,
            used: 0,
        }
    }

    pub(super) const fn used(&self) -> usize {
        self.used
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Stores the parts one after the other. `None`, and nothing stored, when there is no room or it is over 65,535.
    pub(super) fn store(&mut self, parts: &[&[u8]]) -> Option<Text> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut text = Text { head: NONE, len: u16::try_from(len).ok()? };
        if text.chunks() > self.limit - self.used {
            return None;
        }
        let mut octets = parts.iter().flat_map(|part| part.chunks(CHUNK)).peekable();
        let mut rest: &[u8] = octets.next().unwrap_or_default();
        let mut last = NONE;
        for _ in 0..text.chunks() {
            let chunk = self.take()?;
            match self.links.get_mut(last as usize) {
                Some(link) => *link = chunk,
                None => text.head = chunk,
            }
            let Some(Chunk(place)) = self.chunks.get_mut(chunk as usize) else { break };
            let mut filled = 0;
            while filled < CHUNK {
                if rest.is_empty() {
                    let Some(next) = octets.next() else { break };
                    rest = next;
                }
                let count = rest.len().min(CHUNK - filled);
                let (now, later) = rest.split_at(count);
                if let Some(place) = place.get_mut(filled..filled + count) {
                    place.copy_from_slice(now);
                }
                filled += count;
                rest = later;
            }
            last = chunk;
        }
        Some(text)
    }

    /// Copies a text out; cut where `out` ends.
    pub(super) fn read<'o>(&self, text: &Text, out: &'o mut [u8]) -> &'o mut [u8] {
        let len = usize::from(text.len).min(out.len());
        let out = &mut out[..len];
        let mut at = text.head;
        for place in out.chunks_mut(CHUNK) {
            let (Some(Chunk(chunk)), Some(next)) =
                (self.chunks.get(at as usize), self.links.get(at as usize))
            else {
                break;
            };
            place.copy_from_slice(chunk.get(..place.len()).unwrap_or_default());
            at = *next;
        }
        out
    }

    /// Takes a text back.
    pub(super) fn release(&mut self, text: Text) {
        let mut at = text.head;
        while let Some(link) = self.links.get_mut(at as usize) {
            let next = core::mem::replace(link, self.free);
            self.free = at;
            self.used -= 1;
            at = next;
        }
    }

    fn take(&mut self) -> Option<u32> {
        let at = if let Some(link) = self.links.get_mut(self.free as usize) {
            core::mem::replace(&mut self.free, core::mem::replace(link, NONE))
        } else if self.chunks.len() < self.limit {
            self.chunks.push(Chunk([0; CHUNK]));
            self.links.push(NONE);
            self.chunks.len() as u32 - 1
        } else {
            return None;
        };
        self.used += 1;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chunk_is_a_cache_line() {
        assert_eq!(size_of::<Chunk>(), 64);
    }

    #[test]
    fn full_is_full_and_nothing_is_half_stored() {
        let mut texts = Texts::new(3);
        let two = texts.store(&[&[b'a'; CHUNK + 1]]).unwrap();
        assert_eq!((texts.used(), texts.store(&[&[b'b'; CHUNK + 1]])), (2, None));
        assert_eq!(texts.used(), 2, "what found no room took none");
        let one = texts.store(&[b"c"]).unwrap();
        assert!(texts.store(&[b"d"]).is_none());
        texts.release(two);
        texts.release(one);
        assert_eq!(texts.used(), 0);
        assert!(texts.store(&[&[0; 65_536]]).is_none());
        assert_eq!(texts.store(&[b"", b""]), Some(Text::EMPTY));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Store(Vec<Vec<u8>>),
        Release(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let part = proptest::collection::vec(any::<u8>(), 0..200);
        prop_oneof![
            proptest::collection::vec(part, 0..5).prop_map(Step::Store),
            any::<usize>().prop_map(Step::Release),
        ]
    }

    proptest! {
        #[test]
        fn as_a_list_of_vectors_would(steps in proptest::collection::vec(step(), 0..60)) {
            const LIMIT: usize = 40;
            let mut texts = Texts::new(LIMIT);
            let mut oracle: Vec<(Text, Vec<u8>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Store(parts) => {
                        let whole = parts.concat();
                        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                        let room = LIMIT - texts.used();
                        match texts.store(&parts) {
                            Some(text) => oracle.push((text, whole)),
                            None => prop_assert!(whole.len().div_ceil(CHUNK) > room),
                        }
                    }
                    Step::Release(which) if !oracle.is_empty() => {
                        let (text, _) = oracle.swap_remove(which % oracle.len());
                        texts.release(text);
                    }
                    Step::Release(_) => {}
                }
                let used: usize = oracle.iter().map(|(text, _)| text.chunks()).sum();
                prop_assert_eq!(texts.used(), used);
                for (text, whole) in &oracle {
                    let mut out = [0; 1200];
                    prop_assert_eq!(&*texts.read(text, &mut out), &whole[..]);
                    prop_assert_eq!(texts.read(text, &mut out[..7]).to_vec(), whole[..whole.len().min(7)].to_vec());
                }
            }
        }
    }
}
