//! Values of headers that may have several: over all lines of the name, and over the commas in each line
//! (RFC 3261 section 7.3.1).

use core::marker::PhantomData;

use crate::error::{ValueError, ValueFault};
use crate::limit;
use crate::message::Message;
use crate::name::HeaderName;
use crate::scan;
use crate::text::Text;

/// A value that can stand in a comma-separated list. Sealed: implemented by the typed views of this crate.
pub trait Value<'a>: Sized {
    /// Reads one value from `at` on; returns it and where it ended. Stops before a comma.
    ///
    /// # Errors
    /// What the grammar does not allow.
    #[doc(hidden)]
    fn take(text: Text<'a>, at: usize) -> Result<(Self, usize), ValueError>;
}

/// A text that is one value from `at` on and nothing else.
#[inline(always)]
pub(crate) fn single<'a, T: Value<'a>>(text: Text<'a>, at: usize) -> Result<T, ValueError> {
    match T::take(text, at) {
        Ok((value, end)) if text.is_over(end) => Ok(value),
        Ok((_, end)) => Err(ValueError::new(ValueFault::Unexpected, text.skip_lws(end))),
        Err(error) => Err(error),
    }
}

/// Iterator over the values of a header: `value *( COMMA value )` on each of its lines (RFC 3261 section 7.3.1), topmost first.
/// A line without any value adds nothing.
///
/// Errors: what is wrong with a value; [`ValueFault::Unexpected`] where no comma follows it; [`ValueFault::TooMany`] after
/// [`limit::LIST_VALUES`]. After an error it ends: the values behind a malformed one are not guessed at.
#[derive(Clone, Debug)]
pub struct Values<'a, T> {
    message: Message<'a>,
    name: HeaderName,
    entry: usize,
    /// Where the next value begins; `None` before the first one of the entry.
    at: Option<usize>,
    count: usize,
    done: bool,
    value: PhantomData<fn() -> T>,
}

impl<'a, T: Value<'a>> Values<'a, T> {
    pub(crate) fn new(message: Message<'a>, name: HeaderName) -> Self {
        let first = message.index().first(name);
        Values {
            message,
            name,
            entry: first.unwrap_or_default(),
            at: None,
            count: 0,
            done: first.is_none(),
            value: PhantomData,
        }
    }

    #[inline(always)]
    fn step(&mut self) -> Result<Option<T>, ValueError> {
        let entries = self.message.index().entries();
        let (entry, at) = loop {
            let Some(entry) = entries.get(self.entry) else { return Ok(None) };
            if entry.name == self.name {
                match self.at {
                    Some(at) => break (entry, at),
                    // A line without any value adds nothing: "Supported:" is legal.
                    None if entry.value == entry.value_end => {}
                    None => break (entry, usize::from(entry.value)),
                }
            }
            self.entry += 1;
            self.at = None;
        };
        if self.count == limit::LIST_VALUES {
            return Err(ValueError::new(ValueFault::TooMany, at).of(self.name));
        }
        self.count += 1;
        let text = self.message.text(entry);
        let (value, end) = T::take(text, at).map_err(|e| e.of(self.name))?;
        if text.is_over(end) {
            self.entry += 1;
            self.at = None;
        } else {
            let comma = text.skip_lws(end);
            if text.byte(comma) != b',' {
                return Err(ValueError::new(ValueFault::Unexpected, comma).of(self.name));
            }
            self.at = Some(comma + 1);
        }
        Ok(Some(value))
    }
}

impl<'a, T: Value<'a>> Iterator for Values<'a, T> {
    type Item = Result<T, ValueError>;
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}

/// A `token` in a list (RFC 3261 section 25.1): an option tag, a method, an event package. Limited by the datagram alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a>(pub &'a [u8]);

impl Token<'_> {
    /// Tokens are compared without regard to case unless the header says otherwise (RFC 3261 section 7.3.1).
    #[must_use]
    pub fn is(&self, text: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }
}

impl<'a> Value<'a> for Token<'a> {
    fn take(text: Text<'a>, at: usize) -> Result<(Token<'a>, usize), ValueError> {
        let from = text.skip_lws(at);
        let to = scan::token_end(text, from);
        if to == from {
            let fault = if from >= text.end() { ValueFault::Ended } else { ValueFault::Unexpected };
            return Err(ValueError::new(fault, from));
        }
        Ok((Token(text.slice(from, to)), to))
    }
}
