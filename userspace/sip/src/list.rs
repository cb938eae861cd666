//! Values of headers that may have several: over all lines of the name, and over the commas in each line
//! (RFC 3261 section 7.3.1).

use core::marker::PhantomData;

use crate::class;
use crate::error::{ValueError, ValueFault};
use crate::limit;
use crate::message::Message;
use crate::name::HeaderName;

/// A value that can stand in a comma-separated list. Sealed: implemented by the typed views of this crate.
pub trait Value<'a>: Sized {
    /// Reads one value from `at` on; returns it and where it ended. Stops before a comma.
    ///
    /// # Errors
    /// What the grammar does not allow, with the offset into `text`.
    #[doc(hidden)]
    fn take(text: &'a [u8], at: usize) -> Result<(Self, usize), ValueError>;

    /// Offsets kept inside the value count from the message from now on.
    #[doc(hidden)]
    fn relocate(&mut self, _by: usize) {}
}

/// A text that is one value and nothing else.
#[inline]
pub(crate) fn single<'a, T: Value<'a>>(text: &'a [u8]) -> Result<T, ValueError> {
    let (value, end) = T::take(text, 0)?;
    let end = class::skip_lws(text, end);
    if end != text.len() {
        return Err(ValueError::new(ValueFault::Unexpected, end));
    }
    Ok(value)
}

/// Iterator over the values of a header. After an error it ends.
#[derive(Clone, Debug)]
pub struct Values<'a, T> {
    message: Message<'a>,
    name: HeaderName,
    entry: usize,
    /// Offset into the entry's value where the next value begins; `None` before the first one.
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

    fn step(&mut self) -> Result<Option<T>, ValueError> {
        let entries = self.message.index().entries();
        let (entry, at) = loop {
            let Some(entry) = entries.get(self.entry) else { return Ok(None) };
            if entry.name == self.name {
                match self.at {
                    Some(at) => break (entry, at),
                    // A line without any value adds nothing: "Supported:" is legal.
                    None if entry.value == entry.value_end => {}
                    None => break (entry, 0),
                }
            }
            self.entry += 1;
            self.at = None;
        };
        let base = usize::from(entry.value);
        if self.count == limit::LIST_VALUES {
            return Err(ValueError::new(ValueFault::TooMany, 0).within(self.name, base));
        }
        self.count += 1;
        let text = self.message.datagram().get(base..usize::from(entry.value_end)).unwrap_or_default();
        let (mut value, end) = T::take(text, at).map_err(|e| e.within(self.name, base))?;
        let end = class::skip_lws(text, end);
        match text.get(end) {
            None => {
                self.entry += 1;
                self.at = None;
            }
            Some(b',') => self.at = Some(end + 1),
            Some(_) => return Err(ValueError::new(ValueFault::Unexpected, end).within(self.name, base)),
        }
        value.relocate(base);
        Ok(Some(value))
    }
}

impl<'a, T: Value<'a>> Iterator for Values<'a, T> {
    type Item = Result<T, ValueError>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}

/// A token in a list: an option tag, a method, an event package.
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
    fn take(text: &'a [u8], at: usize) -> Result<(Token<'a>, usize), ValueError> {
        let from = class::skip_lws(text, at);
        let rest = text.get(from..).unwrap_or_default();
        let len = class::span(rest, class::TOKEN);
        if len == 0 {
            let fault = if rest.is_empty() { ValueFault::Ended } else { ValueFault::Unexpected };
            return Err(ValueError::new(fault, from));
        }
        Ok((Token(&rest[..len]), from + len))
    }
}
