//! The token for one chunk of packet memory, and a batch of them.
//!
//! Whoever has a chunk's [`Frame`] may read and write it; nobody else can. The token can't be cloned, so a frame
//! sent twice, or read after it was given to the kernel, doesn't compile. It can be lost, though: dropping it instead
//! of giving it back is a bug, counted in [`frames_leaked`] and fatal in debug builds.

use std::mem::ManuallyDrop;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

static LEAKED: AtomicU64 = AtomicU64::new(0);

/// Frames dropped instead of given back, since the process started. Anything but 0 is a bug.
pub fn frames_leaked() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

/// One chunk, and where the packet lies in it. Made by [`super::Umem`] and by reception only.
#[must_use = "a frame that isn't transmitted must be recycled"]
#[derive(Debug)]
pub struct Frame {
    umem: NonZeroU32,
    chunk: u32,
    chunk_size: u16,
    start: u16,
    end: u16,
}

/// A range that isn't inside the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packet range {start}..{end} is not inside a chunk of {chunk_size} bytes")]
pub struct OutOfChunk {
    start: usize,
    end: usize,
    chunk_size: u16,
}

impl Frame {
    /// `chunk` is below the UMEM's count and owned by nobody else; `umem` answers for both.
    pub(super) fn new(umem: NonZeroU32, chunk: u32, chunk_size: u16, start: u16, end: u16) -> Self {
        debug_assert!(start <= end && end <= chunk_size);
        Self { umem, chunk, chunk_size, start, end }
    }

    /// Offset in the chunk of the packet's first byte.
    pub fn start(&self) -> usize {
        self.start.into()
    }

    /// Offset in the chunk one past the packet's last byte.
    pub fn end(&self) -> usize {
        self.end.into()
    }

    /// The packet's length in bytes.
    pub fn len(&self) -> usize {
        self.range().len()
    }

    /// Whether there is no packet in the chunk.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the packet lies in the chunk.
    pub fn range(&self) -> Range<usize> {
        self.start()..self.end()
    }

    /// The chunk's number in its UMEM: the same from reception to transmission when nothing was copied.
    pub fn chunk(&self) -> u32 {
        self.chunk
    }

    /// Says where the packet lies now, after an edit.
    pub fn set_range(&mut self, range: Range<usize>) -> Result<(), OutOfChunk> {
        let Range { start, end } = range;
        if start > end || end > usize::from(self.chunk_size) {
            return Err(OutOfChunk { start, end, chunk_size: self.chunk_size });
        }
        // Both are at most `chunk_size`, a `u16`.
        self.start = start as u16;
        self.end = end as u16;
        Ok(())
    }

    pub(super) fn umem(&self) -> NonZeroU32 {
        self.umem
    }

    /// Ends the token without counting it as lost; the chunk's number is now the caller's to account for.
    pub(super) fn into_chunk(self) -> u32 {
        ManuallyDrop::new(self).chunk
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        LEAKED.fetch_add(1, Ordering::Relaxed);
        if !std::thread::panicking() {
            debug_assert!(false, "chunk {} lost: a frame was dropped, not given back", self.chunk);
        }
    }
}

/// Up to 64 frames, as received. Reusable; must be empty when dropped, for the frames in it would be lost.
#[derive(Debug)]
pub struct FrameBatch {
    frames: [Option<Frame>; FrameBatch::CAPACITY],
    first: usize,
    end: usize,
}

impl FrameBatch {
    /// Frames in a full batch: enough to spread the cost of publishing an index, few enough to stay in the L1 cache
    /// together with their headers.
    pub const CAPACITY: usize = 64;

    /// An empty batch.
    pub const fn new() -> Self {
        Self { frames: [const { None }; Self::CAPACITY], first: 0, end: 0 }
    }

    /// How many frames are in it.
    pub fn len(&self) -> usize {
        self.end - self.first
    }

    /// Whether it has no frame.
    pub fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// Takes the frame that came first.
    pub fn pop(&mut self) -> Option<Frame> {
        if self.is_empty() {
            return None;
        }
        let frame = self.frames[self.first].take();
        self.first += 1;
        if self.is_empty() {
            (self.first, self.end) = (0, 0);
        }
        frame
    }

    /// Frames that can still be pushed.
    pub fn room(&self) -> usize {
        Self::CAPACITY - self.end
    }

    /// Adds a frame at the end; hands it back when there is no room.
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        match self.frames.get_mut(self.end) {
            Some(slot) => {
                *slot = Some(frame);
                self.end += 1;
                Ok(())
            }
            None => Err(frame),
        }
    }
}

impl Default for FrameBatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(chunk: u32) -> Frame {
        Frame::new(NonZeroU32::MIN, chunk, 2048, 256, 300)
    }

    #[test]
    fn the_token_is_small() {
        assert_eq!(size_of::<Frame>(), 16);
        assert_eq!(size_of::<Option<Frame>>(), 16);
    }

    #[test]
    fn a_range_must_be_inside_the_chunk() {
        let mut frame = frame(0);
        assert_eq!(frame.set_range(0..2048), Ok(()));
        assert_eq!((frame.start(), frame.end(), frame.len()), (0, 2048, 2048));
        assert!(frame.set_range(0..2049).is_err());
        #[allow(clippy::reversed_empty_ranges)]
        let backwards = 9..8;
        assert!(frame.set_range(backwards).is_err());
        assert!(frame.set_range(65_536..65_537).is_err());
        assert_eq!(frame.range(), 0..2048, "a refused range changes nothing");
        frame.into_chunk();
    }

    #[test]
    fn a_batch_keeps_order_and_hands_back_what_does_not_fit() {
        let mut batch = FrameBatch::new();
        for chunk in 0..64 {
            batch.push(frame(chunk)).unwrap();
        }
        assert_eq!(batch.room(), 0);
        assert_eq!(batch.push(frame(64)).unwrap_err().into_chunk(), 64);
        for chunk in 0..64 {
            assert_eq!(batch.pop().unwrap().into_chunk(), chunk);
        }
        assert!(batch.pop().is_none());
        assert_eq!(batch.room(), 64);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a frame was dropped")]
    fn a_lost_frame_is_fatal_in_debug_builds() {
        drop(frame(5));
    }
}
