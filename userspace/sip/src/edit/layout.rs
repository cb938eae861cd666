//! A message of ranges that are kept and texts between them, written down front to back: replies, CANCEL, ACK.
//!
//! Most of the message goes there, so what stays is said and not what goes.

use core::ops::Range;

use super::{CLOSED, EditError, EditPlan};
use crate::message::Message;

/// A plan in the making. Ranges are kept in the order in which they lie.
pub(super) struct Layout<'p> {
    pub(super) plan: &'p mut EditPlan,
    /// End of the range that was kept last: from here to the next one everything goes.
    kept: usize,
    /// End of the new text that was put.
    pub(super) used: usize,
}

impl<'p> Layout<'p> {
    /// Forgets all edits and begins with nothing kept.
    #[inline(always)]
    pub(super) fn begin(plan: &'p mut EditPlan, message: &Message<'_>) -> Self {
        plan.begin(message);
        let kept = usize::from(plan.start);
        Self { plan, kept, used: 0 }
    }

    /// Text comes next.
    #[inline(always)]
    pub(super) fn put(&mut self, text: &[u8]) -> Result<(), EditError> {
        self.used = self.plan.put(self.used, text)?;
        Ok(())
    }

    /// What lies in `range` comes next.
    #[inline(always)]
    pub(super) fn keep(&mut self, range: Range<usize>) -> Result<(), EditError> {
        if range.start > self.kept || self.used > self.plan.used as usize {
            self.plan.add(self.kept..range.start, self.used)?;
        }
        self.kept = range.end;
        Ok(())
    }

    /// Nothing else is kept; `text` ends the message. Edits can still be made where the headers end, and come before
    /// `text`.
    #[inline(always)]
    pub(super) fn end(mut self, message: &Message<'_>, text: &[u8]) -> Result<(), EditError> {
        self.keep(message.headers_end()..message.headers_end())?;
        self.put(text)?;
        let end = usize::from(self.plan.end);
        self.plan.add(self.kept..end, self.used)?;
        self.plan.last = CLOSED;
        Ok(())
    }
}
