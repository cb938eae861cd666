//! A message of ranges that are kept and texts between them, written down front to back: replies, CANCEL, ACK.
//!
//! Most of the message goes there, so what stays is said and not what goes.

use core::ops::Range;

use super::{Edit, EditError, EditPlan};
use crate::limit;
use crate::message::Message;

/// A plan in the making. Ranges are kept in the order in which they lie.
pub(super) struct Layout<'p> {
    plan: &'p mut EditPlan,
    /// End of the range that was kept last: from here to the next one everything goes.
    kept: usize,
    /// The plan's text from here on comes between the two.
    text: usize,
    used: usize,
}

impl<'p> Layout<'p> {
    /// Forgets all edits and begins with nothing kept.
    #[inline]
    pub(super) fn begin(plan: &'p mut EditPlan, message: &Message<'_>) -> Self {
        plan.begin(message);
        let kept = usize::from(plan.start);
        Self { plan, kept, text: 0, used: 0 }
    }

    /// Text comes next.
    #[inline]
    pub(super) fn put(&mut self, text: &[u8]) -> Result<(), EditError> {
        let to = self.used + text.len();
        self.plan.text.get_mut(self.used..to).ok_or(EditError::TextFull)?.copy_from_slice(text);
        self.used = to;
        Ok(())
    }

    /// What lies in `range` comes next.
    #[inline]
    pub(super) fn keep(&mut self, range: Range<usize>) -> Result<(), EditError> {
        if range.start < self.kept {
            return Err(EditError::Overlap);
        }
        if range.start > self.kept || self.used > self.text {
            self.close(range.start)?;
        }
        self.kept = range.end;
        Ok(())
    }

    /// Nothing else is kept; `text` ends the message. More edits can then be made at the end of the headers, and come
    /// before `text`.
    #[inline]
    pub(super) fn end(mut self, message: &Message<'_>, text: &[u8]) -> Result<(), EditError> {
        self.keep(message.headers_end()..message.headers_end())?;
        self.put(text)?;
        let end = usize::from(self.plan.end);
        self.close(end.max(self.kept))?;
        self.plan.used = self.used as u16;
        Ok(())
    }

    /// What lies up to `to` becomes the text that was put.
    #[inline]
    fn close(&mut self, to: usize) -> Result<(), EditError> {
        let count = usize::from(self.plan.count);
        let edit = self.plan.edits.get_mut(count).ok_or(EditError::TooMany)?;
        let len = (self.used - self.text) as u16;
        *edit = Edit { from: self.kept as u16, to: to as u16, text: self.text as u16, len };
        self.plan.count += 1;
        self.text = self.used;
        Ok(())
    }
}

const _: () = assert!(limit::EDIT_TEXT <= u16::MAX as usize);
