//! httparse on an HTTP message of the same header lines and body: a lower bound, not a peer.
//!
//! It finds the lines, names and values and checks their octets. It interprets none: no Via, no address, no number, no
//! lookup by name. So it does less than any SIP parser here, and its time is what the first step alone costs at best.

use std::hint::black_box;
use std::mem::MaybeUninit;

use httparse::{ParserConfig, Request, Response, Status};

use crate::case::{Case, Refusal};
use crate::sip::messages::Sample;

/// The version that Cargo.toml pins.
pub const VERSION: &str = "1.10.1";

/// Header lines that are enough for every workload.
const HEADERS: usize = 64;

/// HTTP messages of one kind.
#[derive(Debug)]
pub struct Http {
    copies: Vec<Vec<u8>>,
    response: bool,
}

impl Http {
    /// The samples with HTTP's start line instead of SIP's, checked against a plain split at line ends and colons.
    ///
    /// # Errors
    /// httparse does not take one of them.
    pub fn new(samples: &[Sample]) -> Result<Self, Refusal> {
        let response = samples.first().is_some_and(|sample| sample.bytes.starts_with(b"SIP/"));
        let copies: Vec<Vec<u8>> = samples.iter().map(|sample| to_http(&sample.bytes)).collect();
        for copy in &copies {
            let text = String::from_utf8_lossy(copy);
            let head = text.split("\r\n\r\n").next().unwrap_or_default();
            let expected: Vec<(&str, &str)> =
                head.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
            let mut seen = Vec::new();
            read(copy, response, |name, value| {
                seen.push((name.to_owned(), String::from_utf8_lossy(value).into_owned()));
            })?;
            if !seen.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected) {
                return Err(Refusal("reads other headers than there are".into()));
            }
        }
        Ok(Self { copies, response })
    }
}

impl Case for Http {
    fn run(&mut self) {
        for copy in &self.copies {
            let end = read(black_box(copy), self.response, |name, value| {
                black_box((name, value));
            });
            let _ = black_box(end);
        }
    }

    fn operations(&self) -> u64 {
        self.copies.len() as u64
    }
}

/// The same lines under a start line of HTTP, as long as SIP's.
fn to_http(sip: &[u8]) -> Vec<u8> {
    let (line, rest) = sip.split_at(sip.windows(2).position(|w| w == b"\r\n").unwrap_or(0));
    let mut http = match line.strip_prefix(b"SIP/2.0") {
        Some(status) => [b"HTTP/1.1", status].concat(),
        None => {
            let text = String::from_utf8_lossy(line);
            let (method, target) = text.trim_end_matches(" SIP/2.0").split_once(' ').unwrap_or_default();
            format!("{method} /{} HTTP/1.1", target.get(2..).unwrap_or_default()).into_bytes()
        }
    };
    http.extend_from_slice(rest);
    http
}

/// Reads one message; gives each header to `seen`, and the length of the head back.
#[inline]
fn read(bytes: &[u8], response: bool, mut seen: impl FnMut(&str, &[u8])) -> Result<usize, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
    let (status, headers) = if response {
        let mut response = Response::new(&mut []);
        let status = ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, bytes, &mut headers)
            .map_err(Refusal::of)?;
        black_box((response.code, response.reason));
        (status, response.headers)
    } else {
        let mut request = Request::new(&mut []);
        let status = request.parse_with_uninit_headers(bytes, &mut headers).map_err(Refusal::of)?;
        black_box((request.method, request.path));
        (status, request.headers)
    };
    for header in headers {
        seen(header.name, header.value);
    }
    match status {
        Status::Complete(end) => Ok(end),
        Status::Partial => Err(Refusal("partial".into())),
    }
}
