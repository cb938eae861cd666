//! A message over borrowed bytes: what [`Message::parse`] gives, and the way to every header.

use core::ops::Range;

use crate::address::{Contact, NameAddr, delta_seconds};
use crate::error::{ParseError, ValueError, ValueFault};
use crate::index::{Entry, Index};
use crate::list::{self, Token, Value, Values};
use crate::name::HeaderName;
use crate::number::{self, CSeq};
use crate::start::{METHODS, Method, RequestLine, StartLine, StatusLine};
use crate::text::Text;
use crate::uri::Uri;
use crate::via::Via;

/// `SIP-message = Request / Response` (RFC 3261 sections 7 and 25.1) where it lies: two references, cheap to copy. Header
/// values are read on demand.
///
/// Made by [`parse`](Self::parse), it has a sound start line, header lines with names and no control bytes, an empty line,
/// and a body of the length that Content-Length says. From, To, Call-ID, CSeq, Max-Forwards and Content-Length are there at
/// most once. Not checked until it is read: every value but that of Content-Length, whether the Request-URI is a URI, and
/// whether a header is there at all. A message that was [salvaged](Self::salvage) has only a start line of SIP, whatever its
/// version, and header lines with names; see there.
///
/// Limits: [`limit::MESSAGE`](crate::limit::MESSAGE), [`limit::HEADER_LINES`](crate::limit::HEADER_LINES),
/// [`limit::HEADER_NAME`](crate::limit::HEADER_NAME), [`limit::REQUEST_URI`](crate::limit::REQUEST_URI). Errors: [`Fault`](crate::Fault).
///
/// Offsets ([`Header::value_range`], [`Via::range`] and so on) count from the first byte that was given to
/// [`parse`](Self::parse).
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    index: &'a Index,
}

/// One header line: `field-name HCOLON field-value CRLF` (RFC 3261 section 7.3.1), folded or not.
///
/// The value is any bytes without control characters but those of folding, HTAB, and the second of a quoted pair; it may be
/// empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name; [`HeaderName::Other`] when the enum does not have it.
    pub name: HeaderName,
    /// The name as it stands.
    pub raw_name: &'a [u8],
    /// The value without white space at its ends; folding inside it is kept.
    pub value: &'a [u8],
    /// Where the value lies.
    pub value_range: Range<usize>,
    /// Where the whole line lies, with its folded lines and its last CRLF.
    pub line_range: Range<usize>,
}

/// The headers that every request and response must have (RFC 3261 section 8.1.1), read and found sound together; Max-Forwards,
/// if it is there. Not checked: the URIs in From and To, the Vias below the topmost, that there is a From tag or a branch.
#[derive(Clone, Copy, Debug)]
pub struct Essentials<'a> {
    /// The topmost Via.
    pub via: Via<'a>,
    /// From.
    pub from: NameAddr<'a>,
    /// To.
    pub to: NameAddr<'a>,
    /// Call-ID.
    pub call_id: &'a [u8],
    /// CSeq; in a request, its method is the request's.
    pub cseq: CSeq<'a>,
    /// Max-Forwards; a request of RFC 2543 has none.
    pub max_forwards: Option<u32>,
}

impl<'a> Message<'a> {
    /// Reads one datagram: start line, header lines, framing by Content-Length (RFC 3261 section 18.3: what is over
    /// is not part of the message, what is missing is an error). CRLFs before the start line are ignored
    /// (section 7.5).
    ///
    /// # Errors
    /// See [`Fault`](crate::Fault). [`ParseError::status`] says whether to answer; if so,
    /// [`salvage`](Self::salvage) gives a message to build the reply from.
    #[inline]
    pub fn parse(bytes: &'a [u8], index: &'a mut Index) -> Result<Message<'a>, ParseError> {
        #[cfg(feature = "plant-slow-parse")]
        core::hint::black_box(bytes.iter().fold(0_u8, |sum, octet| sum.wrapping_mul(31) ^ octet));
        index.read::<false>(bytes)?;
        Ok(Message { bytes, index })
    }

    /// Reads what can be read of a datagram that [`parse`](Self::parse) refused with a status, so that the refusal
    /// can be sent. Only for that: bad header lines are left out, of repeated headers the first counts, the URI may
    /// be unreadable, the framing is not checked. `None` for what has no status: noise, a method that is no token, control
    /// bytes, a CR or LF alone; and for more than [`limit::MESSAGE`](crate::limit::MESSAGE) octets. A response can be read
    /// too, but is never answered.
    #[must_use]
    pub fn salvage(bytes: &'a [u8], index: &'a mut Index) -> Option<Message<'a>> {
        index.read::<true>(bytes).ok()?;
        Some(Message { bytes, index })
    }

    /// The message: from the start line to the end of the body as Content-Length sets it.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.slice(self.extent())
    }

    /// Where the message lies in the datagram.
    #[must_use]
    pub fn extent(&self) -> Range<usize> {
        usize::from(self.index.start)..usize::from(self.index.end)
    }

    /// All bytes that were given to [`parse`](Self::parse).
    #[must_use]
    pub fn datagram(&self) -> &'a [u8] {
        self.bytes
    }

    /// The start line.
    #[inline(always)]
    #[must_use]
    pub fn start(&self) -> StartLine<'a> {
        match self.request() {
            Some(line) => StartLine::Request(line),
            None => StartLine::Status(self.status().unwrap_or(StatusLine { code: 0, reason: b"" })),
        }
    }

    /// The request line; `None` for a response.
    #[inline(always)]
    #[must_use]
    pub fn request(&self) -> Option<RequestLine<'a>> {
        let method = self.method()?;
        Some(RequestLine { method, uri: self.slice(self.uri_range()) })
    }

    /// The Request-URI, parsed.
    ///
    /// # Errors
    /// See [`Uri::parse`]; [`ValueFault::Missing`] for a response.
    #[inline(always)]
    pub fn request_uri(&self) -> Result<Uri<'a>, ValueError> {
        if !self.is_request() {
            return Err(ValueError::new(ValueFault::Missing, self.extent().start));
        }
        let range = self.uri_range();
        Uri::read(Text::new(self.bytes, range.end), range.start)
    }

    /// The status line; `None` for a request. The reason phrase may be empty, and need not be UTF-8.
    #[must_use]
    pub fn status(&self) -> Option<StatusLine<'a>> {
        let code = self.index.spans.code;
        (code != 0).then(|| StatusLine { code, reason: self.slice(self.uri_range()) })
    }

    /// The request's method; `None` for a response.
    #[inline(always)]
    #[must_use]
    pub fn method(&self) -> Option<Method<'a>> {
        let spans = &self.index.spans;
        if spans.code != 0 {
            return None;
        }
        if let Some(method) = METHODS.get(usize::from(spans.known)) {
            return Some(*method);
        }
        let start = usize::from(self.index.start);
        Method::from_bytes(self.slice(start..start + usize::from(spans.method)))
    }

    /// Is it a request?
    #[must_use]
    pub fn is_request(&self) -> bool {
        self.index.spans.code == 0
    }

    /// Where the Request-URI (of a response: the reason phrase) lies in the datagram.
    #[must_use]
    pub fn uri_range(&self) -> Range<usize> {
        let start = usize::from(self.index.start);
        start + usize::from(self.index.spans.from)..start + usize::from(self.index.spans.to)
    }

    /// The body, opaque: as long as Content-Length says, or without it all that is left (section 18.3).
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.slice(self.body_range())
    }

    /// Where the body lies.
    #[must_use]
    pub fn body_range(&self) -> Range<usize> {
        usize::from(self.index.body)..usize::from(self.index.end)
    }

    /// Offset of the first header line: where one more can be put on top.
    #[must_use]
    pub fn first_line_end(&self) -> usize {
        usize::from(self.index.headers)
    }

    /// Offset of the empty line after the headers: where one more header line can be added.
    #[must_use]
    pub fn headers_end(&self) -> usize {
        usize::from(self.index.headers_end)
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: HeaderName) -> Option<Header<'a>> {
        self.entry(name).map(|entry| self.view(entry))
    }

    /// All headers of that name, in order.
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let message = *self;
        let first = self.index.first(name).unwrap_or(usize::MAX);
        let entries = self.index.entries().get(first..).unwrap_or_default();
        entries.iter().filter(move |e| e.name == name).map(move |e| message.view(e))
    }

    /// All headers, in order.
    pub fn all(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let message = *self;
        self.index.entries().iter().map(move |e| message.view(e))
    }

    /// Is there a header of that name?
    #[must_use]
    pub fn has(&self, name: HeaderName) -> bool {
        self.index.first(name).is_some()
    }

    /// The value of a header that may be there once.
    ///
    /// # Errors
    /// [`ValueFault::Duplicate`] when it is there more than once.
    #[inline(always)]
    pub fn single(&self, name: HeaderName) -> Result<Option<&'a [u8]>, ValueError> {
        Ok(self.only(name)?.map(|entry| self.value(entry)))
    }

    /// All values of a header that may have several, over its lines and the commas in them (section 7.3.1). The views that
    /// are [`Value`]s can be asked for: `message.values::<NameAddr>(HeaderName::HistoryInfo)`.
    #[must_use]
    pub fn values<T: Value<'a>>(&self, name: HeaderName) -> Values<'a, T> {
        Values::new(*self, name)
    }

    /// The topmost Via: the first value of the first Via line, which must be followed by a comma or nothing. The Vias below
    /// it are not looked at.
    ///
    /// # Errors
    /// [`ValueFault::Missing`], or what is wrong with it; see [`Via::parse`].
    #[inline(always)]
    pub fn top_via(&self) -> Result<Via<'a>, ValueError> {
        let entry = self.entry(HeaderName::Via).ok_or(self.missing(HeaderName::Via))?;
        let text = self.text(entry);
        match Via::take(text, usize::from(entry.value)) {
            Ok((via, end)) if text.is_over(end) || text.byte(text.skip_lws(end)) == b',' => Ok(via),
            Ok((_, end)) => Err(ValueError::new(ValueFault::Unexpected, end).of(HeaderName::Via)),
            Err(error) => Err(error.of(HeaderName::Via)),
        }
    }

    /// All Via values, topmost first.
    #[must_use]
    pub fn vias(&self) -> Values<'a, Via<'a>> {
        self.values(HeaderName::Via)
    }

    /// From (section 20.20). The tag may be missing: a client of RFC 2543 has none.
    ///
    /// # Errors
    /// [`ValueFault::Missing`], [`ValueFault::Duplicate`], or what is wrong with it; see [`NameAddr::parse`].
    #[inline(always)]
    pub fn from(&self) -> Result<NameAddr<'a>, ValueError> {
        self.address(HeaderName::From)?.ok_or(self.missing(HeaderName::From))
    }

    /// To (section 20.39).
    ///
    /// # Errors
    /// [`ValueFault::Missing`], [`ValueFault::Duplicate`], or what is wrong with it; see [`NameAddr::parse`].
    #[inline(always)]
    pub fn to(&self) -> Result<NameAddr<'a>, ValueError> {
        self.address(HeaderName::To)?.ok_or(self.missing(HeaderName::To))
    }

    /// An address header that may be there once: From, To, Reply-To, Refer-To, Referred-By.
    ///
    /// # Errors
    /// [`ValueFault::Duplicate`] for more than one line, [`ValueFault::Unexpected`] for more than one value in it, or what
    /// is wrong with it; see [`NameAddr::parse`].
    #[inline(always)]
    pub fn address(&self, name: HeaderName) -> Result<Option<NameAddr<'a>>, ValueError> {
        let Some((text, at)) = self.place(name)? else { return Ok(None) };
        list::single(text, at).map(Some).map_err(|error| error.of(name))
    }

    /// As [`from`](Self::from) and [`to`](Self::to), for where both are read: the code is there once.
    #[inline(never)]
    fn one_address(&self, name: HeaderName) -> Result<NameAddr<'a>, ValueError> {
        self.address(name)?.ok_or(self.missing(name))
    }

    /// Call-ID: `callid = word [ "@" word ]` (section 20.8), where any number of `@` is taken; case counts.
    ///
    /// # Errors
    /// [`ValueFault::Missing`], [`ValueFault::Duplicate`]; [`ValueFault::Ended`] when it is empty,
    /// [`ValueFault::Unexpected`] for a byte outside `word`, [`ValueFault::TooLong`] over
    /// [`limit::IDENTIFIER`](crate::limit::IDENTIFIER).
    #[inline(always)]
    pub fn call_id(&self) -> Result<&'a [u8], ValueError> {
        let (text, at) = self.place(HeaderName::CallId)?.ok_or(self.missing(HeaderName::CallId))?;
        number::call_id(text, at).map_err(|error| error.of(HeaderName::CallId))
    }

    /// CSeq (section 20.16). Whether its method is the request's, [`essentials`](Self::essentials) checks.
    ///
    /// # Errors
    /// [`ValueFault::Missing`], [`ValueFault::Duplicate`], or what is wrong with it; see [`CSeq::parse`].
    #[inline(always)]
    pub fn cseq(&self) -> Result<CSeq<'a>, ValueError> {
        let (text, at) = self.place(HeaderName::CSeq)?.ok_or(self.missing(HeaderName::CSeq))?;
        CSeq::read(text, at).map_err(|error| error.of(HeaderName::CSeq))
    }

    /// Max-Forwards: `1*DIGIT`, 0 to 255 (section 20.22); `None` when it is not there (section 16.3 step 3 allows it).
    ///
    /// # Errors
    /// [`ValueFault::Duplicate`]; [`ValueFault::Number`] over [`limit::MAX_FORWARDS`](crate::limit::MAX_FORWARDS).
    #[inline(always)]
    pub fn max_forwards(&self) -> Result<Option<u32>, ValueError> {
        let Some((text, at)) = self.place(HeaderName::MaxForwards)? else { return Ok(None) };
        number::max_forwards(text, at).map(Some).map_err(|error| error.of(HeaderName::MaxForwards))
    }

    /// Content-Length: `1*DIGIT` (section 20.14). [`body`](Self::body) has as many octets.
    ///
    /// # Errors
    /// [`ValueFault::Number`], [`ValueFault::Duplicate`]; only after [`salvage`](Self::salvage), where it can also be larger
    /// than what is there.
    #[inline(always)]
    pub fn content_length(&self) -> Result<Option<u32>, ValueError> {
        let Some((text, at)) = self.place(HeaderName::ContentLength)? else { return Ok(None) };
        number::whole(text, at).map(Some).map_err(|error| error.of(HeaderName::ContentLength))
    }

    /// Expires in seconds: `delta-seconds` (section 20.19); over 2^32 − 1 it is 2^32 − 1. What is no number counts as 3600 in
    /// a REGISTER (section 10.3 step 7); here it is an error, and the caller decides.
    ///
    /// # Errors
    /// [`ValueFault::Duplicate`]; [`ValueFault::Number`].
    pub fn expires(&self) -> Result<Option<u32>, ValueError> {
        let seconds = |text| delta_seconds(text).ok_or(ValueError::new(ValueFault::Number, 0));
        self.read(HeaderName::Expires, seconds)
    }

    /// Route values, topmost first: `route-param` (section 20.34).
    #[must_use]
    pub fn routes(&self) -> Values<'a, NameAddr<'a>> {
        self.values(HeaderName::Route)
    }

    /// Record-Route values, topmost first: `rec-route` (section 20.30).
    #[must_use]
    pub fn record_routes(&self) -> Values<'a, NameAddr<'a>> {
        self.values(HeaderName::RecordRoute)
    }

    /// Contact values: `contact-param` (section 20.10). `*` beside other values is for the registrar to refuse (RFC 3261 section 10.3 step 6).
    #[must_use]
    pub fn contacts(&self) -> Values<'a, Contact<'a>> {
        self.values(HeaderName::Contact)
    }

    /// Option tags of Require (section 20.32).
    #[must_use]
    pub fn require(&self) -> Values<'a, Token<'a>> {
        self.values(HeaderName::Require)
    }

    /// Option tags of Proxy-Require (section 20.29).
    #[must_use]
    pub fn proxy_require(&self) -> Values<'a, Token<'a>> {
        self.values(HeaderName::ProxyRequire)
    }

    /// Option tags of Supported (section 20.37).
    #[must_use]
    pub fn supported(&self) -> Values<'a, Token<'a>> {
        self.values(HeaderName::Supported)
    }

    /// Reads the headers that every message must have, all or nothing.
    ///
    /// # Errors
    /// The first of them that is missing or wrong; a CSeq method that is not the request's (RFC 3261 section
    /// 8.1.1.5).
    #[inline(never)]
    pub fn essentials(&self) -> Result<Essentials<'a>, ValueError> {
        let via = self.top_via()?;
        let from = self.one_address(HeaderName::From)?;
        let to = self.one_address(HeaderName::To)?;
        let call_id = self.call_id()?;
        let cseq = self.cseq()?;
        if self.method().is_some_and(|method| method != cseq.method) {
            let at = self.entry(HeaderName::CSeq).map_or(0, |e| usize::from(e.value));
            return Err(ValueError::new(ValueFault::Mismatch, at).of(HeaderName::CSeq));
        }
        let max_forwards = self.max_forwards()?;
        Ok(Essentials { via, from, to, call_id, cseq, max_forwards })
    }

    /// Reads a header that may be there once with `parse`, and places its error.
    pub(crate) fn read<T>(
        &self,
        name: HeaderName,
        parse: impl FnOnce(&'a [u8]) -> Result<T, ValueError>,
    ) -> Result<Option<T>, ValueError> {
        let Some((text, at)) = self.place(name)? else { return Ok(None) };
        match parse(text.rest(at)) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(ValueError::new(error.fault, error.at + at).of(name)),
        }
    }

    /// The value of a header that may be there once, and where it begins.
    #[inline(always)]
    fn place(&self, name: HeaderName) -> Result<Option<(Text<'a>, usize)>, ValueError> {
        Ok(self.only(name)?.map(|entry| (self.text(entry), usize::from(entry.value))))
    }

    /// The entry of a header that may be there once.
    #[inline(always)]
    fn only(&self, name: HeaderName) -> Result<Option<&'a Entry>, ValueError> {
        let Some(entry) = self.entry(name) else { return Ok(None) };
        if self.index.is_repeated(name) {
            let at = usize::from(entry.line);
            return Err(ValueError { header: name, fault: ValueFault::Duplicate, at });
        }
        Ok(Some(entry))
    }

    /// The value of an entry, with what follows it in reach.
    #[inline(always)]
    pub(crate) fn text(&self, entry: &Entry) -> Text<'a> {
        Text::new(self.bytes, usize::from(entry.value_end))
    }

    pub(crate) fn missing(&self, header: HeaderName) -> ValueError {
        ValueError { header, fault: ValueFault::Missing, at: self.headers_end() }
    }

    pub(crate) fn index(&self) -> &'a Index {
        self.index
    }

    #[inline(always)]
    pub(crate) fn entry(&self, name: HeaderName) -> Option<&'a Entry> {
        self.index.entry(name)
    }

    #[inline]
    pub(crate) fn value(&self, entry: &Entry) -> &'a [u8] {
        self.slice(usize::from(entry.value)..usize::from(entry.value_end))
    }

    /// Offset after the CRLF that ends the header line.
    #[inline]
    pub(crate) fn line_end(&self, entry: &Entry) -> usize {
        // After the trimmed value there is white space, folding and the last CRLF.
        let mut at = usize::from(entry.value_end);
        loop {
            match self.bytes.get(at..).unwrap_or_default() {
                [b'\r', b'\n', b' ' | b'\t', ..] => at += 3,
                [b'\r', b'\n', ..] => return at + 2,
                [_, ..] => at += 1,
                [] => return at,
            }
        }
    }

    fn view(&self, entry: &Entry) -> Header<'a> {
        let line = usize::from(entry.line);
        Header {
            name: entry.name,
            raw_name: self.slice(line..line + usize::from(entry.name_len)),
            value: self.value(entry),
            value_range: usize::from(entry.value)..usize::from(entry.value_end),
            line_range: line..self.line_end(entry),
        }
    }

    fn slice(&self, range: Range<usize>) -> &'a [u8] {
        self.bytes.get(range).unwrap_or_default()
    }
}
