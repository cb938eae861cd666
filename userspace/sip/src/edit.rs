//! The edit plan: changes collected against a parsed message, then applied to the bytes where they lie.
//!
//! A plan holds offsets and its own text, never a borrow, so the message's bytes can be changed afterwards. Applying
//! it cuts the message at the edits into runs that are kept; one run stays where it is and the others move. The one
//! that stays is the longest that leaves room for the rest, which in a forwarded request is everything from the first
//! untouched header to the end of the body: the start line and the top headers grow into the headroom, and the edit
//! costs the bytes before it, not the message.

mod copy;
mod header;
mod layout;
mod reply;
mod request;

use core::fmt;
use core::ops::Range;

use crate::buffer::Buffer;
use crate::error::ValueError;
use crate::limit;
use crate::message::Message;
use crate::name::HeaderName;

pub use reply::{Reply, reason_phrase};

/// Why an edit was refused. The message is then as it was, and so is a plan to which one edit was to be added; of an operation
/// that makes several, such as [`EditPlan::remove_header`] or [`EditPlan::reply`], the plan may have some, and is to be
/// [begun](EditPlan::begin) anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditError {
    /// More than [`limit::EDITS`] edits.
    TooMany,
    /// More than [`limit::EDIT_TEXT`] octets of new text.
    TextFull,
    /// A range that is not in the message, or a request's edit of a response.
    OutOfRange,
    /// A range that overlaps one that is edited already.
    Overlap,
    /// The buffer does not hold the message that the plan was made for (its length differs).
    OtherMessage,
    /// The edited message has `needed` octets and the buffer (or the largest message) only `available`.
    NoRoom {
        /// Octets of the edited message.
        needed: usize,
        /// Octets of the whole buffer, at most [`limit::MESSAGE`].
        available: usize,
    },
    /// The header to edit is not there.
    Missing(HeaderName),
    /// The header to edit cannot be read.
    Value(ValueError),
    /// Max-Forwards is 0 and cannot be decremented.
    Exhausted,
    /// Not an INVITE: nothing else is cancelled (RFC 3261 section 9.1), or acknowledged (section 17.1.1.3).
    NotInvite,
}

impl From<ValueError> for EditError {
    fn from(error: ValueError) -> Self {
        EditError::Value(error)
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::TooMany => f.write_str("too many edits"),
            EditError::TextFull => f.write_str("too much new text"),
            EditError::OutOfRange => f.write_str("edit outside the message"),
            EditError::Overlap => f.write_str("edits overlap"),
            EditError::OtherMessage => f.write_str("the plan is for another message"),
            EditError::NoRoom { needed, available } => {
                write!(f, "edited message of {needed} octets in a buffer of {available}")
            }
            EditError::Missing(name) => write!(f, "no {name} to edit"),
            EditError::Value(error) => error.fmt(f),
            EditError::Exhausted => f.write_str("Max-Forwards is 0"),
            EditError::NotInvite => f.write_str("not an INVITE"),
        }
    }
}

impl core::error::Error for EditError {}

/// `datagram[from..to]` becomes `text[text..text + len]`.
#[derive(Clone, Copy, Debug)]
struct Edit {
    from: u16,
    to: u16,
    text: u16,
    len: u16,
}

/// See [`EditPlan::last`]; beyond every offset.
const CLOSED: u32 = u32::MAX;

/// Changes to one message. Fixed size (8.5 KiB), no heap; a worker makes one and uses it for every message.
///
/// Offsets are those of the [`Message`]; edits may be given in any order and may touch but not overlap. Text inserted
/// at one offset stands in the order of the calls, and before the replacement of a range that begins there. Bytes that no
/// edit covers are afterwards what they were.
///
/// Limits: [`limit::EDITS`], [`limit::EDIT_TEXT`], and [`limit::MESSAGE`] for what comes out. Errors: [`EditError`]. Not checked:
/// the new text. It is put in as it is, so a header's value that somebody else chose must not have a CR or LF in it; what a
/// view gave has none but those of folding.
#[derive(Clone, Debug)]
pub struct EditPlan {
    /// Sorted by `from`, then `to`, then time.
    edits: [Edit; limit::EDITS],
    text: [u8; limit::EDIT_TEXT + copy::SLACK],
    // Wider than needed: what is stored as a half word and loaded with its neighbour is waited for.
    count: u32,
    used: u32,
    /// Length of the datagram that the plan is for.
    datagram: u16,
    /// The message in the datagram: what lies outside (RFC 3261 sections 7.5 and 18.3) is dropped.
    start: u16,
    end: u16,
    /// Edits from here on come after all others: where the last one ends, `start` without any, [`CLOSED`] when the last
    /// one is to stay the last.
    last: u32,
    /// Length of the message after the edits.
    edited: u32,
}

impl Default for EditPlan {
    fn default() -> Self {
        Self::new()
    }
}

impl EditPlan {
    /// An empty plan for an empty message.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            edits: [Edit { from: 0, to: 0, text: 0, len: 0 }; limit::EDITS],
            text: [0; limit::EDIT_TEXT + copy::SLACK],
            count: 0,
            used: 0,
            datagram: 0,
            start: 0,
            end: 0,
            last: 0,
            edited: 0,
        }
    }

    /// Forgets all edits and begins anew for `message`.
    #[inline]
    pub fn begin(&mut self, message: &Message<'_>) {
        let extent = message.extent();
        self.begin_at(message.datagram().len(), extent);
    }

    #[inline]
    fn begin_at(&mut self, datagram: usize, extent: Range<usize>) {
        self.count = 0;
        self.used = 0;
        self.datagram = datagram as u16;
        self.start = extent.start as u16;
        self.end = extent.end as u16;
        self.last = u32::from(self.start);
        self.edited = extent.len() as u32;
    }

    /// Puts `text` in place of `range`.
    ///
    /// # Errors
    /// [`EditError::OutOfRange`], [`EditError::Overlap`], [`EditError::TooMany`], [`EditError::TextFull`].
    #[inline]
    pub fn replace(&mut self, range: Range<usize>, text: &[u8]) -> Result<(), EditError> {
        self.replace_with(range, &[text])
    }

    /// Puts the parts, one after the other, in place of `range`.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    #[inline]
    pub fn replace_with(&mut self, range: Range<usize>, parts: &[&[u8]]) -> Result<(), EditError> {
        let mut at = self.used as usize;
        for part in parts {
            at = self.put(at, part)?;
        }
        self.add(range, at)
    }

    /// Puts a part of new text at `at`, which is in `text`; returns where it ends. It counts once it is given to
    /// [`add`](Self::add).
    #[inline(always)]
    fn put(&mut self, at: usize, part: &[u8]) -> Result<usize, EditError> {
        copy::put(&mut self.text, at, part).ok_or(EditError::TextFull)
    }

    /// As [`put`](Self::put), for the first `len` octets of a block.
    #[inline(always)]
    fn put_block<const N: usize>(
        &mut self,
        at: usize,
        block: &[u8; N],
        len: usize,
    ) -> Result<usize, EditError> {
        copy::put_block(&mut self.text, at, block, len).ok_or(EditError::TextFull)
    }

    /// Edits `range`: the new text is what was put up to `used`.
    #[inline(always)]
    fn add(&mut self, range: Range<usize>, used: usize) -> Result<(), EditError> {
        let (start, end) = (range.start, range.end);
        let text = self.used as u16;
        let len = (used as u16).wrapping_sub(text);
        // Edits mostly come in order.
        if start >= self.last as usize
            && end >= start
            && end <= usize::from(self.end)
            && used <= limit::EDIT_TEXT
            && let Some(place) = self.edits.get_mut(self.count as usize)
        {
            *place = Edit { from: start as u16, to: end as u16, text, len };
            self.last = end as u32;
        } else {
            self.insert_before(range, used)?;
        }
        self.count += 1;
        self.used = used as u32;
        self.edited = self.edited + u32::from(len) - (end - start) as u32;
        Ok(())
    }

    /// Puts an edit to its place before the last one; refuses what cannot be.
    #[inline(never)]
    fn insert_before(&mut self, range: Range<usize>, used: usize) -> Result<(), EditError> {
        if range.start < usize::from(self.start)
            || range.start > range.end
            || range.end > usize::from(self.end)
        {
            return Err(EditError::OutOfRange);
        }
        if used > limit::EDIT_TEXT {
            return Err(EditError::TextFull);
        }
        let (from, to, text) = (range.start as u16, range.end as u16, self.used as u16);
        let edit = Edit { from, to, text, len: used as u16 - text };
        let count = self.count as usize;
        let edits = self.edits.get_mut(..=count).ok_or(EditError::TooMany)?;
        let mut place = if self.last == CLOSED { count.saturating_sub(1) } else { count };
        while place > 0 && (edits[place - 1].from, edits[place - 1].to) > (from, to) {
            place -= 1;
        }
        if (place > 0 && edits[place - 1].to > from) || (place < count && to > edits[place].from) {
            return Err(EditError::Overlap);
        }
        edits.copy_within(place..count, place + 1);
        edits[place] = edit;
        Ok(())
    }

    /// Inserts `text` before the byte at `at`.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn insert(&mut self, at: usize, text: &[u8]) -> Result<(), EditError> {
        self.replace_with(at..at, &[text])
    }

    /// Removes `range`.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn delete(&mut self, range: Range<usize>) -> Result<(), EditError> {
        self.replace_with(range, &[])
    }

    /// How many edits there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Is there no edit?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Length of the message after the edits.
    #[must_use]
    pub fn edited_len(&self) -> usize {
        self.edited as usize
    }

    /// Applies the plan to the message in `buffer`, in place. The plan stays, so that it can be applied to a copy.
    ///
    /// # Errors
    /// [`EditError::OtherMessage`], [`EditError::NoRoom`]; the buffer is then untouched.
    pub fn apply(&self, buffer: &mut Buffer<'_>) -> Result<(), EditError> {
        let (bytes, range) = buffer.parts();
        if range.len() != usize::from(self.datagram) {
            return Err(EditError::OtherMessage);
        }
        let needed = self.check_room(bytes.len())?;
        // No end of a message goes further than this.
        let front = range.start.saturating_sub(limit::MESSAGE);
        let back = bytes.len().min(range.end + limit::MESSAGE);
        let bytes = bytes.get_mut(front..back).unwrap_or_default();
        let base = (range.start - front) as u32;
        let start = self.place(base, (bytes.len() - needed) as u32);

        // Runs that move towards the front go first, front run first; then the others, last run first. A run's new place
        // then never covers a run that has yet to move: new places are in the order of the old ones. A text can be
        // written once the run after it is out of its way.
        let mut to = start;
        let mut from = base + u32::from(self.start);
        let mut backwards = false;
        for edit in self.edits() {
            let len = (base + u32::from(edit.from)).saturating_sub(from);
            if to < from {
                copy::shift(bytes, from as usize, len as usize, to as usize);
            }
            backwards |= to > from;
            let at = to + len;
            to = at + u32::from(edit.len);
            from = base + u32::from(edit.to);
            if to <= from {
                copy::put(bytes, at as usize, self.text_of(edit));
            }
        }
        let len = (base + u32::from(self.end)).saturating_sub(from);
        if to < from {
            copy::shift(bytes, from as usize, len as usize, to as usize);
        }
        if backwards || to > from {
            self.apply_backwards(bytes, base, start);
        }
        let start = front + start as usize;
        *range = start..start + needed;
        Ok(())
    }

    /// The second half of [`apply`](Self::apply): the runs that move towards the end, and the texts before them.
    #[inline(never)]
    fn apply_backwards(&self, bytes: &mut [u8], base: u32, start: u32) {
        let mut to = start + self.edited;
        let mut end = base + u32::from(self.end);
        for edit in self.edits().iter().rev() {
            let from = base + u32::from(edit.to);
            let len = end.saturating_sub(from);
            to = to.saturating_sub(len);
            let at = to.saturating_sub(u32::from(edit.len));
            if to > from {
                copy::shift(bytes, from as usize, len as usize, to as usize);
                copy::put(bytes, at as usize, self.text_of(edit));
            }
            to = at;
            end = base + u32::from(edit.from);
        }
        let from = base + u32::from(self.start);
        if start > from {
            copy::shift(bytes, from as usize, end.saturating_sub(from) as usize, start as usize);
        }
    }

    /// Writes the edited message into `out` and returns it; `datagram` is what the message was parsed from.
    ///
    /// # Errors
    /// [`EditError::OtherMessage`], [`EditError::NoRoom`].
    pub fn write_to<'o>(&self, datagram: &[u8], out: &'o mut [u8]) -> Result<&'o [u8], EditError> {
        if datagram.len() != usize::from(self.datagram) {
            return Err(EditError::OtherMessage);
        }
        let needed = self.check_room(out.len())?;
        let mut to = 0;
        let mut put = |piece: &[u8]| {
            if let Some(place) = out.get_mut(to..to + piece.len()) {
                place.copy_from_slice(piece);
            }
            to += piece.len();
        };
        let mut from = self.start;
        for edit in self.edits() {
            put(datagram.get(usize::from(from)..usize::from(edit.from)).unwrap_or_default());
            put(self.text_of(edit));
            from = edit.to;
        }
        put(datagram.get(usize::from(from)..usize::from(self.end)).unwrap_or_default());
        out.get(..needed).ok_or(EditError::NoRoom { needed, available: 0 })
    }

    /// Puts the edited message into `buffer`, at the place of what is there and as near to where that began as it fits;
    /// `datagram` is what the message was parsed from, and not in `buffer`.
    ///
    /// # Errors
    /// [`EditError::OtherMessage`], [`EditError::NoRoom`]; the buffer is then untouched.
    pub fn write_into(&self, datagram: &[u8], buffer: &mut Buffer<'_>) -> Result<(), EditError> {
        let (bytes, range) = buffer.parts();
        let needed = self.check_room(bytes.len())?;
        let start = range.start.min(bytes.len() - needed);
        let room = bytes.get_mut(start..).unwrap_or_default();
        let len = self.write_to(datagram, room)?.len();
        *range = start..start + len;
        Ok(())
    }

    fn edits(&self) -> &[Edit] {
        self.edits.get(..self.count as usize).unwrap_or_default()
    }

    #[inline]
    fn text_of(&self, edit: &Edit) -> &[u8] {
        let from = usize::from(edit.text);
        self.text.get(from..from + usize::from(edit.len)).unwrap_or_default()
    }

    fn check_room(&self, capacity: usize) -> Result<usize, EditError> {
        let needed = self.edited_len();
        let available = capacity.min(limit::MESSAGE);
        if needed > available { Err(EditError::NoRoom { needed, available }) } else { Ok(needed) }
    }

    /// Where the edited message begins: such that the longest run stays. When no run is long enough to matter, such that
    /// all move towards the front, which takes one pass. `last` is the last place it can begin.
    #[inline(always)]
    fn place(&self, base: u32, last: u32) -> u32 {
        /// To move so many octets costs no more than the second pass.
        const SHORT: u16 = 256;
        // Where the message would begin if the run at `from` stayed: its growth so far is taken from the front.
        let mut stays = (base + u32::from(self.start)) as i32;
        let mut from = self.start;
        let mut foremost = stays;
        let mut longest = (0, stays);
        let mut consider = |stays: i32, len: u16| {
            foremost = foremost.min(stays);
            if len >= longest.0 {
                longest = (len, stays);
            }
        };
        for edit in self.edits() {
            consider(stays, edit.from.saturating_sub(from));
            stays += i32::from(edit.to) - i32::from(edit.from) - i32::from(edit.len);
            from = edit.to;
        }
        consider(stays, self.end.saturating_sub(from));
        let preferred = if longest.0 <= SHORT && foremost >= 0 { foremost } else { longest.1 };
        match u32::try_from(preferred) {
            Ok(start) if start <= last => start,
            _ => self.place_in_little_room(base, last),
        }
    }

    /// As [`place`](Self::place) when there is no room for that: the longest run stays for which it is possible; when
    /// none can stay, as near as it goes to where the longest would.
    #[inline(never)]
    fn place_in_little_room(&self, base: u32, last: u32) -> u32 {
        let mut best = (false, 0, 0);
        let mut stays = (base + u32::from(self.start)) as i32;
        let mut from = self.start;
        let mut consider = |stays: i32, len: u16| {
            let clamped = stays.clamp(0, last as i32);
            let candidate = (clamped == stays, len, clamped as u32);
            if (candidate.0, candidate.1) >= (best.0, best.1) {
                best = candidate;
            }
        };
        for edit in self.edits() {
            consider(stays, edit.from.saturating_sub(from));
            stays += i32::from(edit.to) - i32::from(edit.from) - i32::from(edit.len);
            from = edit.to;
        }
        consider(stays, self.end.saturating_sub(from));
        best.2
    }
}

#[cfg(test)]
mod tests;
