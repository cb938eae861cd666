//! The header index: where each header line of a message begins, what it is called, where its value lies.
//!
//! One pass over the bytes (see `scan`) fills it; nothing is interpreted beyond the header's name, Content-Length
//! and the start line. It has no lifetime and no heap: a worker makes one and uses it for every message, and only
//! the entries that a message needs are written.

use core::hint::cold_path;

use crate::class;
use crate::error::{Fault, ParseError};
use crate::limit;
use crate::name::{self, HeaderName};
use crate::scan::{self, BLOCK};
use crate::start::{self, Spans};
use crate::text;

/// One header line. Offsets are into the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// First byte of the name.
    pub(crate) line: u16,
    /// First byte of the value, white space trimmed.
    pub(crate) value: u16,
    /// After the last byte of the value, white space trimmed.
    pub(crate) value_end: u16,
    /// Length of the raw name.
    pub(crate) name_len: u8,
    pub(crate) name: HeaderName,
}

/// Reusable storage for the header index of one message at a time: about 2.2 KiB, made once for each worker. It holds
/// offsets, not bytes, for at most [`limit::HEADER_LINES`] lines; nothing of the message before is left in it.
#[derive(Clone, Debug)]
pub struct Index {
    pub(crate) entries: [Entry; limit::HEADER_LINES],
    /// Entry of the first header of each name, or [`NONE`].
    first: [u8; NAMES],
    /// Bit `name` of the pair: the name is there more than once.
    repeated: [u64; 2],
    pub(crate) count: u16,
    /// First byte of the start line.
    pub(crate) start: u16,
    /// The first header line begins here.
    pub(crate) headers: u16,
    /// The empty line's CRLF begins here: end of the last header line.
    pub(crate) headers_end: u16,
    pub(crate) body: u16,
    /// After the last byte of the message.
    pub(crate) end: u16,
    pub(crate) spans: Spans,
}

/// Places for names: a power of two, so that a name needs no check.
const NAMES: usize = 128;
/// No entry.
const NONE: u8 = u8::MAX;

const _: () = assert!(limit::HEADER_LINES == NONE as usize && limit::MESSAGE <= u16::MAX as usize);
const _: () = assert!(name::COUNT < NAMES);

/// Headers whose repetition makes the whole message unreadable: who it is from and for, which transaction, how long.
/// Other singletons are judged when they are read.
const ONCE: [HeaderName; 6] = [
    HeaderName::ContentLength,
    HeaderName::CSeq,
    HeaderName::CallId,
    HeaderName::From,
    HeaderName::To,
    HeaderName::MaxForwards,
];

const ONCE_BITS: [u64; 2] = {
    let mut bits = [0; 2];
    let mut i = 0;
    while i < ONCE.len() {
        let (word, bit) = place(ONCE[i]);
        bits[word] |= bit;
        i += 1;
    }
    bits
};

/// Word and bit of a name in [`Index::repeated`].
#[inline(always)]
const fn place(name: HeaderName) -> (usize, u64) {
    ((name as usize >> 6) & 1, 1 << (name as usize & 63))
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    /// An empty index.
    #[must_use]
    pub const fn new() -> Self {
        const EMPTY: Entry = Entry { line: 0, value: 0, value_end: 0, name_len: 0, name: HeaderName::Other };
        Self {
            entries: [EMPTY; limit::HEADER_LINES],
            first: [NONE; NAMES],
            repeated: [0; 2],
            count: 0,
            start: 0,
            headers: 0,
            headers_end: 0,
            body: 0,
            end: 0,
            spans: Spans::NONE,
        }
    }

    /// The entries of the message that was read last.
    #[inline]
    pub(crate) fn entries(&self) -> &[Entry] {
        self.entries.get(..usize::from(self.count)).unwrap_or(&self.entries)
    }

    /// Number of the first entry of that name.
    #[inline]
    pub(crate) fn first(&self, name: HeaderName) -> Option<usize> {
        let first = self.first[name as usize % NAMES];
        (first != NONE).then_some(usize::from(first))
    }

    /// The first entry of that name.
    #[inline(always)]
    pub(crate) fn entry(&self, name: HeaderName) -> Option<&Entry> {
        // There is no entry with the number that stands for none.
        self.entries.get(usize::from(self.first[name as usize % NAMES]))
    }

    /// Is the name there more than once?
    #[inline]
    pub(crate) fn is_repeated(&self, name: HeaderName) -> bool {
        let (word, bit) = place(name);
        self.repeated[word] & bit != 0
    }

    /// Reads `bytes`. With `LENIENT`, faults that have a status are passed over: bad lines are left out, the first of
    /// a repeated header counts, the framing is what the datagram shows.
    #[inline]
    pub(crate) fn read<const LENIENT: bool>(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        let start = skip_empty_lines(bytes);
        self.read_from::<LENIENT>(bytes, start).map_err(|(fault, at)| {
            let response = start::is_response(bytes.get(start..).unwrap_or_default());
            ParseError { fault, at, response }
        })
    }

    #[inline(always)]
    fn read_from<const LENIENT: bool>(&mut self, bytes: &[u8], start: usize) -> Result<(), (Fault, usize)> {
        if bytes.len() > limit::MESSAGE {
            return Err((Fault::TooLarge, limit::MESSAGE));
        }
        if start == bytes.len() {
            return Err((Fault::Empty, start));
        }
        self.start = start as u16;
        let headers = match start::usual(bytes, start) {
            Some((spans, headers)) => {
                self.spans = spans;
                headers
            }
            None => self.read_start_line::<LENIENT>(bytes, start)?,
        };
        self.headers = headers as u16;
        let empty_line = match self.usual_lines(bytes, headers) {
            found @ Some(_) if !LENIENT => found,
            _ => self.read_header_lines::<LENIENT>(bytes, headers)?,
        };
        let Some(end) = empty_line else {
            if !LENIENT {
                return Err((Fault::NoEmptyLine, bytes.len()));
            }
            self.body = bytes.len() as u16;
            self.end = bytes.len() as u16;
            return Ok(());
        };
        self.headers_end = end as u16;
        let body = end + 2;
        self.body = body as u16;
        self.end = bytes.len() as u16;
        if LENIENT {
            return Ok(());
        }
        if self.repeated[0] & ONCE_BITS[0] != 0 || self.repeated[1] & ONCE_BITS[1] != 0 {
            return Err(self.duplicate());
        }
        if let Some(entry) = self.entry(HeaderName::ContentLength) {
            let range = usize::from(entry.value)..usize::from(entry.value_end);
            let at = range.start;
            let length = bytes.get(range).and_then(class::decimal).ok_or((Fault::ContentLength, at))?;
            let end = body.saturating_add(length as usize);
            if end > bytes.len() {
                return Err((Fault::Truncated, at));
            }
            self.end = end as u16;
        }
        Ok(())
    }

    /// Reads the line that begins at `start`; returns where the next one begins.
    #[inline(never)]
    fn read_start_line<const LENIENT: bool>(
        &mut self,
        bytes: &[u8],
        start: usize,
    ) -> Result<usize, (Fault, usize)> {
        let text = bytes.get(start..).unwrap_or_default();
        let line_feed = memchr::memchr(b'\n', text).ok_or((Fault::StartLine, start))?;
        let Some((line, [b'\r'])) = text.get(..line_feed).and_then(<[u8]>::split_last_chunk::<1>) else {
            return Err((Fault::BareLineEnd, start + line_feed));
        };
        if let Some(b' ' | b'\t') = text.get(line_feed + 1) {
            return Err((Fault::StartLine, start + line_feed));
        }
        self.spans = start::parse(line, LENIENT).map_err(|(fault, at)| (fault, start + at))?;
        // A request line has been looked at byte by byte, a reason phrase has not.
        if (LENIENT || self.spans.code != 0)
            && let Some(at) = line.iter().position(|&b| b.is_ascii_control() && b != b'\t')
        {
            return Err((Fault::Control, start + at));
        }
        Ok(start + line_feed + 1)
    }

    /// As [`read_header_lines`](Self::read_header_lines), for header lines as nearly all messages have them: nothing in them
    /// that needs a second look, and an empty line after them. `None` for any other, which says nothing about what is wrong.
    #[inline(always)]
    fn usual_lines(&mut self, bytes: &[u8], headers: usize) -> Option<usize> {
        let (empty_line, trailing) = self.line_ends(bytes, headers as u32)?;
        self.names(bytes)?;
        if trailing {
            let entries = self.entries.get_mut(..usize::from(self.count)).unwrap_or_default();
            for entry in entries {
                let (from, to) = trim(bytes, usize::from(entry.value), usize::from(entry.value_end));
                (entry.value, entry.value_end) = (from as u16, to as u16);
            }
        }
        Some(empty_line)
    }

    /// Writes `line` and, of the whole line, `value_end` of all entries; returns where the empty line is, and whether there is
    /// white space before a line end.
    #[inline(always)]
    fn line_ends(&mut self, bytes: &[u8], headers: u32) -> Option<(usize, bool)> {
        let mut entries = self.entries.iter_mut();
        let mut line = headers; // where the current (possibly folded) line began
        let mut seen = headers; // after the last line end
        let mut base = headers;
        let mut trailing = false;
        loop {
            let odd = match text::bytes_at::<BLOCK>(bytes, base) {
                Some(block) => scan::odd(block),
                None => last_odd(bytes, base as usize)?,
            };
            // A line end may have its LF in the next block.
            let mut odd = odd & u64::MAX << seen.saturating_sub(base);
            while odd != 0 {
                let at = base + odd.trailing_zeros();
                odd &= odd - 1;
                let [last, found @ .., next] = *text::bytes_at::<4>(bytes, at - 1)?;
                if u16::from_le_bytes(found) != u16::from_le_bytes(*b"\r\n") {
                    if found[0] < 0x80 && found[0] != b'\t' {
                        return None;
                    }
                    continue;
                }
                odd &= odd.wrapping_sub(1);
                seen = at + 2;
                if last <= b' ' {
                    cold_path();
                    trailing = true;
                }
                if next > b' ' {
                    let entry = entries.next()?;
                    (entry.line, entry.value_end) = (line as u16, at as u16);
                    line = seen;
                } else if next == b'\r' && bytes.get(at as usize + 3) == Some(&b'\n') {
                    let entry = entries.next()?;
                    (entry.line, entry.value_end) = (line as u16, at as u16);
                    self.count = (limit::HEADER_LINES - entries.len()) as u16;
                    return Some((seen as usize, trailing));
                } else if next != b' ' && next != b'\t' {
                    return None;
                }
            }
            base += BLOCK as u32;
        }
    }

    /// Reads the name of each line that `line_ends` has found, and where its value begins.
    #[inline(always)]
    fn names(&mut self, bytes: &[u8]) -> Option<()> {
        self.first = [NONE; NAMES];
        self.repeated = [0; 2];
        let entries = self.entries.get_mut(..usize::from(self.count))?;
        for (i, entry) in entries.iter_mut().enumerate() {
            let line = u32::from(entry.line);
            // A name, its colon, and the two bytes after it.
            match text::bytes_at::<18>(bytes, line).and_then(name_and_value) {
                Some((name, len)) => {
                    entry.value = (line + len + 2) as u16;
                    entry.name_len = len as u8;
                    entry.name = name;
                }
                None => unusual_line(bytes, entry)?,
            }
            let first = &mut self.first[entry.name as usize % NAMES];
            if *first == NONE {
                *first = i as u8;
            } else {
                let (word, bit) = place(entry.name);
                self.repeated[word] |= bit;
            }
        }
        Some(())
    }

    /// Reads the lines from `headers` to the empty line; returns where that is, if there is one. What follows the last
    /// line end without it is left to `headers_end`.
    #[inline(never)]
    fn read_header_lines<const LENIENT: bool>(
        &mut self,
        bytes: &[u8],
        headers: usize,
    ) -> Result<Option<usize>, (Fault, usize)> {
        self.first = [NONE; NAMES];
        self.repeated = [0; 2];
        let mut count = 0;
        let mut unit = headers; // where the current (possibly folded) line began
        let mut suspicious = false;
        let mut carried = 0; // a CR in the last lane of the block before
        let mut base = headers;
        let empty_line = 'scan: loop {
            let rest = bytes.get(base..).unwrap_or_default();
            let masks = match rest.first_chunk::<BLOCK>() {
                Some(block) => scan::masks(block),
                None if rest.is_empty() => break 'scan None,
                None => scan::masks(&padded(rest)),
            };
            // Each LF may have one control byte before it, which is shown to be CR below. Any other is looked at again.
            let odd = masks.control & !(masks.line_feed | masks.line_feed >> 1);
            suspicious |= carried & !masks.line_feed & 1 != 0;
            let mut line_feeds = masks.line_feed;
            while line_feeds != 0 {
                let lane = line_feeds.trailing_zeros();
                line_feeds &= line_feeds - 1;
                let at = base + lane as usize;
                let end = at - 1; // a header line does not begin before the start line's CRLF
                if bytes.get(end) != Some(&b'\r') {
                    return Err((Fault::BareLineEnd, at));
                }
                if end == unit {
                    suspicious |= odd & ((1 << lane) - 1) != 0;
                    break 'scan Some(end);
                }
                // Nothing visible begins with white space.
                if let Some(..=b' ') = bytes.get(at + 1)
                    && let Some(b' ' | b'\t') = bytes.get(at + 1)
                {
                    continue; // folded: the line goes on
                }
                match self.add(count, bytes, unit, end) {
                    Ok(()) => count += 1,
                    Err(_) if LENIENT => {}
                    Err(fault) => return Err((fault, unit)),
                }
                unit = at + 1;
            }
            suspicious |= odd & !(1 << 63) != 0;
            carried = odd >> 63;
            base += BLOCK;
        };
        self.count = count as u16;
        self.headers_end = unit as u16;
        if suspicious || (empty_line.is_none() && carried != 0) {
            check_controls(bytes, headers, empty_line.unwrap_or(bytes.len()))?;
        }
        Ok(empty_line)
    }

    /// Puts the header line `bytes[line..end]`, which is not empty, into entry `count`.
    fn add(&mut self, count: usize, bytes: &[u8], line: usize, end: usize) -> Result<(), Fault> {
        let (known, len, from) = unusual_name(bytes, line, end)?;
        let (from, to) = trim(bytes, from, end);
        let Some(entry) = self.entries.get_mut(count) else { return Err(Fault::TooManyHeaders) };
        *entry = Entry {
            line: line as u16,
            value: from as u16,
            value_end: to as u16,
            name_len: len as u8,
            name: known,
        };
        let first = &mut self.first[known as usize % NAMES];
        if *first == NONE {
            *first = count as u8;
        } else {
            let (word, bit) = place(known);
            self.repeated[word] |= bit;
        }
        Ok(())
    }

    #[cold]
    fn duplicate(&self) -> (Fault, usize) {
        for name in ONCE {
            if let Some(second) = self.entries().iter().filter(|e| e.name == name).nth(1) {
                return (Fault::Duplicate(name), usize::from(second.line));
            }
        }
        (Fault::HeaderLine, usize::from(self.start))
    }
}

/// The last block, which the datagram does not fill, with spaces after it.
#[inline(never)]
fn padded(rest: &[u8]) -> [u8; BLOCK] {
    let mut block = [b' '; BLOCK];
    let len = rest.len().min(BLOCK);
    block[..len].copy_from_slice(&rest[..len]);
    block
}

/// As [`scan::odd`], from `base` on where the datagram ends before the block does; `None` when nothing is left, or the whole
/// datagram is shorter than a block.
#[inline(always)]
fn last_odd(bytes: &[u8], base: usize) -> Option<u64> {
    let before = base.checked_sub(bytes.len().checked_sub(BLOCK)?)?;
    if before >= BLOCK {
        return None;
    }
    Some(scan::odd(bytes.last_chunk::<BLOCK>()?) >> before)
}

/// A known name of less than 16 bytes, its colon, one space, and a visible byte: how nearly every header line begins. The name
/// and its length.
#[inline(always)]
fn name_and_value(begin: &[u8; 18]) -> Option<(HeaderName, u32)> {
    let window = begin.first_chunk::<16>()?;
    let len = scan::colon(window);
    if len >= 16 {
        return None;
    }
    let name = HeaderName::recognise(window, len)?;
    (begin[len + 1] == b' ' && begin[len + 2] > b' ').then_some((name, len as u32))
}

/// Name and value of any other line that is right.
#[inline(never)]
fn unusual_line(bytes: &[u8], entry: &mut Entry) -> Option<()> {
    let (line, end) = (usize::from(entry.line), usize::from(entry.value_end));
    let (known, len, from) = unusual_name(bytes, line, end).ok()?;
    let (from, to) = trim(bytes, from, end);
    *entry = Entry { value: from as u16, value_end: to as u16, name_len: len as u8, name: known, ..*entry };
    Some(())
}

/// The name of a header line, however it is written: its length, and where the value begins after it.
#[inline(never)]
fn unusual_name(bytes: &[u8], line: usize, end: usize) -> Result<(HeaderName, usize, usize), Fault> {
    let text = bytes.get(line..end).unwrap_or_default();
    let colon = memchr::memchr(b':', text).ok_or(Fault::HeaderLine)?;
    let mut name = &text[..colon];
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    let known = HeaderName::from_bytes(name);
    if known == HeaderName::Other {
        if !class::is_token(name) {
            return Err(Fault::HeaderLine);
        }
        if name.len() > limit::HEADER_NAME {
            return Err(Fault::HeaderNameTooLong);
        }
    }
    Ok((known, name.len(), line + colon + 1))
}

/// `bytes[from..end]` without white space at its ends.
#[inline(never)]
fn trim(bytes: &[u8], from: usize, end: usize) -> (usize, usize) {
    let text = bytes.get(..end).unwrap_or_default();
    let from = class::skip_lws(text, from);
    let mut to = end;
    while to > from && text.get(to - 1).is_some_and(|&b| class::is(b, class::LWS)) {
        to -= 1;
    }
    (from, to)
}

/// RFC 3261 section 7.5: CRLF before the start line is ignored.
#[inline(always)]
fn skip_empty_lines(bytes: &[u8]) -> usize {
    let mut start = 0;
    while let Some([b'\r', b'\n']) = bytes.get(start..).and_then(<[u8]>::first_chunk::<2>) {
        start += 2;
    }
    start
}

/// Looks at every byte of a header section in which there is a control byte besides CRLF. HTAB is white space; any other
/// must be the second half of a quoted pair in a quoted string (RFC 3261 section 25.1), which CR and LF cannot be.
#[cold]
fn check_controls(bytes: &[u8], start: usize, end: usize) -> Result<(), (Fault, usize)> {
    let mut quoted = false;
    let mut escaped = false;
    let mut at = start;
    while at < end {
        let byte = bytes.get(at).copied().unwrap_or_default();
        match byte {
            b'\r' | b'\n' => {
                if bytes.get(at..at + 2) != Some(b"\r\n") {
                    return Err((Fault::BareLineEnd, at));
                }
                at += 1;
                escaped = false;
                // The next line is a new header unless it is folded.
                quoted &= matches!(bytes.get(at + 1), Some(b' ' | b'\t'));
            }
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'\t' => {}
            _ if byte.is_ascii_control() => return Err((Fault::Control, at)),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
