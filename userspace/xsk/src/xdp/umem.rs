//! The UMEM: packet memory cut into chunks, with the [`book`](super::book) of who owns each.
//!
//! A chunk is free, held (somebody has its [`Frame`]), with the kernel for reception (fill ring, driver, RX ring), with
//! the kernel for transmission (TX ring, driver, completion ring), or on its way from one socket of the queue to
//! another. Every change of owner is checked against the book, also those that the kernel reports: an address out of
//! bounds, or of a chunk that the kernel doesn't have, never becomes a token, so two tokens for one chunk can't exist
//! whatever stands in the rings.
//!
//! Sockets that share a queue each have a [`Umem`] over the same memory and the same book; a free chunk is on the list of
//! one of them.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::book::{Book, Owner};
use super::frame::Frame;
use super::memory::{Memory, Pages};

/// Bytes that XDP keeps free before every received packet (`XDP_PACKET_HEADROOM`).
pub const XDP_HEADROOM: u32 = 256;

/// Most chunks in one UMEM: 4 GiB of them at 4096 bytes.
const MAX_FRAMES: u32 = 1 << 20;

/// The shape of a UMEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UmemConfig {
    /// Chunks; rounded up to a power of two.
    pub frames: u32,
    /// Bytes in a chunk: 2048 or 4096, the sizes that the kernel takes.
    pub chunk: u32,
    /// Bytes free before a packet besides [`XDP_HEADROOM`], for the message to grow to the front.
    pub headroom: u32,
    /// Whether to ask for huge pages.
    pub huge: bool,
}

impl Default for UmemConfig {
    fn default() -> Self {
        Self { frames: 8192, chunk: 4096, headroom: 256, huge: true }
    }
}

/// Why there is no UMEM.
#[derive(Debug, thiserror::Error)]
pub enum UmemError {
    /// The kernel takes chunks of 2048 or 4096 bytes.
    #[error("chunk of {0} bytes: must be 2048 or 4096")]
    Chunk(u32),
    /// The headroom leaves no room for an Ethernet frame of 1,522 bytes.
    #[error("headroom of {headroom} bytes leaves less than 1522 in a chunk of {chunk}")]
    Headroom {
        /// Bytes asked for besides [`XDP_HEADROOM`].
        headroom: u32,
        /// Bytes in a chunk.
        chunk: u32,
    },
    /// No frames, or more than 2^20.
    #[error("{0} frames: must be 1 to 1048576")]
    Frames(u32),
    /// No memory.
    #[error("no memory for {bytes} bytes of packets")]
    Memory {
        /// Bytes wanted.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Packet memory in chunks of one size, as one of a queue's sockets sees it: all of the memory, and the free chunks that
/// this socket may take. Bytes are reached through a [`Frame`] only.
#[derive(Debug)]
pub struct Umem {
    chunks: Arc<Chunks>,
    free: Vec<u32>,
}

/// What all sockets of a queue share.
#[derive(Debug)]
struct Chunks {
    memory: Memory,
    book: Book,
    id: NonZeroU32,
    frames: u32,
    chunk_shift: u32,
    headroom: u32,
}

impl Umem {
    /// Maps the memory; every chunk is free.
    ///
    /// Call it on the thread that will use it: the pages come from the NUMA node of that thread's CPU.
    pub fn new(config: &UmemConfig) -> Result<Self, UmemError> {
        Self::for_sockets(config, 1)
    }

    /// As [`Self::new`], for a queue with so many `sockets`.
    pub(super) fn for_sockets(config: &UmemConfig, sockets: u32) -> Result<Self, UmemError> {
        let &UmemConfig { frames, chunk, headroom, huge } = config;
        if !matches!(chunk, 2048 | 4096) {
            return Err(UmemError::Chunk(chunk));
        }
        // A full Ethernet frame with two VLAN tags must fit behind the headroom.
        if headroom.saturating_add(XDP_HEADROOM + 1522) > chunk {
            return Err(UmemError::Headroom { headroom, chunk });
        }
        if frames == 0 || frames > MAX_FRAMES {
            return Err(UmemError::Frames(frames));
        }
        let frames = frames.next_power_of_two();
        let bytes = frames as usize * chunk as usize;
        let memory =
            Memory::for_packets(bytes, huge).map_err(|source| UmemError::Memory { bytes, source })?;
        let chunks = Chunks {
            memory,
            book: Book::new(frames, sockets > 1),
            id: next_id(),
            frames,
            chunk_shift: chunk.trailing_zeros(),
            headroom,
        };
        // The chunks at the front go first.
        Ok(Self { chunks: Arc::new(chunks), free: (0..frames).rev().collect() })
    }

    /// The same memory for another socket of the queue. It has no free chunk yet, and room for all, so that its list
    /// never grows.
    pub(super) fn shared(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), free: Vec::with_capacity(self.frames() as usize) }
    }

    /// How many chunks there are.
    pub fn frames(&self) -> u32 {
        self.chunks.frames
    }

    /// Bytes in a chunk.
    pub fn chunk_size(&self) -> u32 {
        1 << self.chunks.chunk_shift
    }

    /// Bytes free before a packet besides [`XDP_HEADROOM`].
    pub fn headroom(&self) -> u32 {
        self.chunks.headroom
    }

    /// The pages that the memory got.
    pub fn pages(&self) -> Pages {
        self.chunks.memory.pages()
    }

    /// The packet.
    ///
    /// # Panics
    ///
    /// If the frame is of another UMEM.
    #[inline]
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        let base = self.base_of(frame);
        // SAFETY: `base_of` says that the frame is ours. It is the only token of its chunk, so nobody can write
        // while it is borrowed, and the kernel doesn't have a chunk that somebody holds.
        #[allow(unsafe_code)]
        unsafe {
            self.chunks.memory.bytes(base + frame.start()..base + frame.end())
        }
    }

    /// The whole chunk, for edits in place; the packet is at [`Frame::range`].
    ///
    /// # Panics
    ///
    /// If the frame is of another UMEM.
    #[inline]
    pub fn chunk_mut<'a>(&'a mut self, frame: &'a mut Frame) -> &'a mut [u8] {
        let base = self.base_of(frame);
        let end = base + (1 << self.chunks.chunk_shift);
        // SAFETY: as in `bytes`, and the token is borrowed mutably, so nobody reads either: other sockets of the queue
        // reach this memory through other tokens, of other chunks.
        #[allow(unsafe_code)]
        unsafe {
            self.chunks.memory.bytes_mut(base..end)
        }
    }

    /// A free chunk, with an empty packet right behind the headroom.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        let chunk = self.free.pop()?;
        self.chunks.book.assign(chunk, Owner::Held);
        let start = (XDP_HEADROOM + self.chunks.headroom) as u16;
        Some(Frame::new(self.chunks.id, chunk, self.chunk_size() as u16, start, start))
    }

    /// Puts a chunk on the free list.
    ///
    /// # Panics
    ///
    /// If the frame is of another UMEM.
    #[inline]
    pub fn give(&mut self, frame: Frame) {
        self.base_of(&frame);
        self.free_again(frame.into_chunk());
    }

    /// Chunks on this socket's free list.
    pub fn available(&self) -> u32 {
        // At most `frames`.
        self.free.len() as u32
    }

    /// Free chunk → the kernel's, to receive into; gives the address for the fill ring.
    pub(super) fn free_to_fill(&mut self) -> Option<u64> {
        let chunk = self.free.pop()?;
        self.chunks.book.assign(chunk, Owner::Receive);
        Some(u64::from(chunk) << self.chunks.chunk_shift)
    }

    /// What stands in the RX ring → a token. `None`: out of bounds, across chunks, or not the kernel's to give.
    #[inline]
    pub(super) fn received(&mut self, address: u64, len: u32) -> Option<Frame> {
        let (chunk, offset) = self.locate(address)?;
        let end = offset.checked_add(len).filter(|&end| end <= self.chunk_size())?;
        self.chunks.book.claim(chunk, Owner::Receive, Owner::Held).then(|| {
            // At most 4096 each.
            Frame::new(self.chunks.id, chunk, self.chunk_size() as u16, offset as u16, end as u16)
        })
    }

    /// A token → the kernel's, to transmit; gives the address and length for the TX ring.
    ///
    /// # Panics
    ///
    /// If the frame is of another UMEM.
    #[inline]
    pub(super) fn held_to_transmit(&mut self, frame: Frame) -> (u64, u32) {
        let address = (self.base_of(&frame) + frame.start()) as u64;
        let len = frame.len() as u32;
        self.chunks.book.assign(frame.into_chunk(), Owner::Transmit);
        (address, len)
    }

    /// What stands in the completion ring → the free list. `None`: out of bounds or not the kernel's to give.
    #[inline]
    pub(super) fn completed(&mut self, address: u64) -> Option<()> {
        let (chunk, _) = self.locate(address)?;
        self.chunks.book.claim(chunk, Owner::Transmit, Owner::Free).then(|| self.free.push(chunk))
    }

    /// Free chunks → another socket of the queue: at most `most` are offered to `put`, which says how many it took.
    pub(super) fn free_to_crossing(&mut self, most: u32, put: impl FnOnce(&[u32]) -> usize) -> u32 {
        let first = self.free.len().saturating_sub(most as usize);
        let offered = &self.free[first..];
        // Before they can be seen on the other side, which marks them free again.
        offered.iter().for_each(|&chunk| self.chunks.book.assign(chunk, Owner::Crossing));
        let taken = put(offered).min(offered.len());
        offered[taken..].iter().for_each(|&chunk| self.chunks.book.assign(chunk, Owner::Free));
        self.free.drain(first..first + taken);
        taken as u32
    }

    /// A chunk that another socket of the queue sent by [`Self::free_to_crossing`] → the free list.
    pub(super) fn free_again(&mut self, chunk: u32) {
        self.chunks.book.assign(chunk, Owner::Free);
        self.free.push(chunk);
    }

    /// How many chunks each owner has, by the book, all sockets together, in the order of [`Owner`].
    pub(super) fn owned(&self) -> [u32; 5] {
        self.chunks.book.count()
    }

    /// The memory that the kernel is to know: address and length.
    pub(super) fn registration(&self) -> (u64, u64) {
        let Chunks { memory, frames, chunk_shift, .. } = &*self.chunks;
        (memory.base().as_ptr().expose_provenance() as u64, u64::from(*frames) << chunk_shift)
    }

    fn locate(&self, address: u64) -> Option<(u32, u32)> {
        let Chunks { frames, chunk_shift, .. } = &*self.chunks;
        let chunk = u32::try_from(address >> chunk_shift).ok().filter(|chunk| chunk < frames)?;
        Some((chunk, address as u32 & (self.chunk_size() - 1)))
    }

    fn base_of(&self, frame: &Frame) -> usize {
        assert_eq!(frame.umem(), self.chunks.id, "frame of another UMEM");
        (frame.chunk() as usize) << self.chunks.chunk_shift
    }

    #[cfg(test)]
    fn extent(&self, frame: &Frame) -> std::ops::Range<usize> {
        let base = self.base_of(frame);
        base..base + self.chunk_size() as usize
    }
}

/// Numbers UMEMs so that a frame of one can't be used with another.
fn next_id() -> NonZeroU32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    NonZeroU32::new(LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1)).expect("under 2^32 UMEMs are made")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Umem {
        Umem::new(&UmemConfig { frames: 5, chunk: 2048, headroom: 64, huge: false }).unwrap()
    }

    #[test]
    fn shapes_the_kernel_would_refuse_are_refused_with_a_reason() {
        let good = UmemConfig { frames: 8, chunk: 2048, headroom: 0, huge: false };
        let refused = |config| Umem::new(&config).unwrap_err();
        assert!(matches!(refused(UmemConfig { chunk: 3000, ..good }), UmemError::Chunk(3000)));
        assert!(matches!(refused(UmemConfig { chunk: 8192, ..good }), UmemError::Chunk(8192)));
        assert!(matches!(refused(UmemConfig { frames: 0, ..good }), UmemError::Frames(0)));
        assert!(matches!(refused(UmemConfig { frames: MAX_FRAMES + 1, ..good }), UmemError::Frames(_)));
        assert!(matches!(refused(UmemConfig { headroom: 271, ..good }), UmemError::Headroom { .. }));
        assert!(matches!(refused(UmemConfig { headroom: u32::MAX, ..good }), UmemError::Headroom { .. }));
        Umem::new(&UmemConfig { headroom: 270, ..good }).unwrap();
    }

    #[test]
    fn frames_are_rounded_up_and_chunks_do_not_overlap() {
        let mut umem = small();
        assert_eq!(umem.frames(), 8);
        let mut frames: Vec<Frame> = std::iter::from_fn(|| umem.take()).collect();
        assert_eq!(frames.len(), 8);
        let mut extents: Vec<_> = frames.iter().map(|frame| umem.extent(frame)).collect();
        extents.sort_by_key(|extent| extent.start);
        assert!(extents.windows(2).all(|pair| pair[0].end == pair[1].start));
        for (mark, frame) in frames.iter_mut().enumerate() {
            assert_eq!(frame.start(), 256 + 64);
            umem.chunk_mut(frame).fill(mark as u8);
            frame.set_range(0..2048).unwrap();
        }
        for (mark, frame) in frames.iter().enumerate() {
            assert!(umem.bytes(frame).iter().all(|&byte| byte == mark as u8));
        }
        frames.into_iter().for_each(|frame| umem.give(frame));
        assert_eq!(umem.available(), 8);
    }

    #[test]
    fn addresses_from_the_kernel_are_checked() {
        let mut umem = small();
        let address = umem.free_to_fill().unwrap();
        assert!(umem.received(8 * 2048, 60).is_none(), "past the end");
        assert!(umem.received(u64::MAX, 60).is_none(), "far past the end");
        assert!(umem.received(1 << 43, 60).is_none(), "whose chunk number has 33 bits");
        assert!(umem.received(address + 2000, 49).is_none(), "across chunks");
        assert!(umem.received(address + 256, u32::MAX).is_none(), "longer than anything");
        assert!(umem.received(address + 2048, 60).is_none(), "a chunk that the kernel doesn't have");
        assert!(umem.completed(address).is_none(), "completed without having been sent");
        assert_eq!(umem.owned()[Owner::Receive as usize], 1, "nothing of this changed the book");

        let frame = umem.received(address + 256, 1792).unwrap();
        assert_eq!(frame.range(), 256..2048);
        assert!(umem.received(address + 256, 60).is_none(), "received twice");
        let (sent, len) = umem.held_to_transmit(frame);
        assert_eq!((sent, len), (address + 256, 1792));
        assert!(umem.completed(sent).is_some());
        assert!(umem.completed(sent).is_none(), "completed twice");
        assert_eq!(umem.available(), 8);
    }

    #[test]
    #[should_panic(expected = "frame of another UMEM")]
    fn a_frame_of_another_umem_opens_nothing() {
        let (mut one, two) = (small(), small());
        let frame = std::mem::ManuallyDrop::new(one.take().unwrap());
        two.bytes(&frame);
    }
}
