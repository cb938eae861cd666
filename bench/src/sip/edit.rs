//! The workloads that write: forwarding a request, taking our Via off a response, answering.
//!
//! Strowger edits the message where it lies; the peers change their own representation and write it out anew, which is
//! what they have for bringing a changed message onto the wire. Both begin with the message parsed, and end with the
//! octets to send. Parsing, and putting the inputs back, is preparation and not measured.

use std::hint::black_box;

use strowger_sip::{Buffer, EditError, EditPlan, Essentials, HeaderName, Index, Message, Reply};

use super::messages::{Change, Sample};
use super::peers::{Editor, name};
use crate::case::{Case, Entry, Refusal};

/// What is done to the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A request on its way (RFC 3261 section 16.6): Request-URI replaced, `received` and `rport` of the topmost Via set,
    /// our Via and Record-Route put on top, Max-Forwards less one.
    Forward,
    /// A response on its way back (section 16.7): the topmost Via removed.
    StripVia,
    /// A response made of the request (section 8.2.6): with tag, `received` and `rport`, without body.
    Reply(u16),
}

/// Messages in a segment: few enough to stay in the first cache, as a message that was just parsed is.
const SEGMENT: usize = 16;
/// Free room before the message, as in a frame: XDP's 256 octets less the headers that come before SIP.
const HEADROOM: usize = 256;
/// Free room after it.
const TAILROOM: usize = 256;

/// All candidates on one kind of message.
#[must_use]
pub fn entries(workload: &'static str, work: Work, samples: &[Sample]) -> Vec<Entry> {
    let entry = |candidate, case| Entry { workload, candidate, case };
    vec![
        entry(name::STROWGER, InPlace::boxed(work, samples)),
        #[cfg(feature = "osip")]
        entry(name::OSIP, Rewrite::boxed(super::peers::osip::Osip, work, samples)),
        entry(name::RSIP, Rewrite::boxed(super::peers::rsip::Rsip, work, samples)),
        entry(name::RSIPSTACK, Rewrite::boxed(super::peers::rsipstack::RsipStack, work, samples)),
    ]
}

/// Our own way.
///
/// The views are of an unchanging copy of the message, because a view cannot outlive a change of its octets; the plan
/// made from them is applied to another copy, in a buffer with headroom. So the caches hold each message twice, which
/// they do not in the node.
struct InPlace {
    work: Work,
    messages: Vec<(Message<'static>, Essentials<'static>, Change)>,
    buffers: Vec<Vec<u8>>,
    plan: Box<EditPlan>,
    group: usize,
}

impl InPlace {
    fn boxed(work: Work, samples: &[Sample]) -> Result<Box<dyn Case>, Refusal> {
        let mut messages = Vec::new();
        for sample in samples {
            // As long as the program runs, like a worker's frames and index.
            let bytes: &'static [u8] = Vec::leak(sample.bytes.clone());
            let index: &'static mut Index = Box::leak(Box::new(Index::new()));
            let message = Message::parse(bytes, index).map_err(Refusal::of)?;
            messages.push((message, message.essentials().map_err(Refusal::of)?, sample.change.clone()));
        }
        let buffers = vec![Vec::new(); SEGMENT];
        let mut case = Self {
            work,
            messages,
            buffers,
            plan: Box::new(EditPlan::new()),
            group: samples.len() / SEGMENT - 1,
        };
        for (group, samples) in samples.chunks_exact(SEGMENT).enumerate() {
            case.prepare();
            assert_eq!(case.group, group, "the groups take turns from the first");
            let mut results = Vec::new();
            case.edit(|edited| results.push(edited.to_vec()));
            for (sample, result) in samples.iter().zip(&results) {
                let expected = written(work, sample);
                if *result != expected {
                    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    return Err(Refusal(format!("made\n{}\nand not\n{}", shown(result), shown(&expected))));
                }
            }
        }
        Ok(Box::new(case))
    }

    /// Edits one group; gives each result to `sent`.
    #[inline]
    fn edit(&mut self, mut sent: impl FnMut(&[u8])) {
        let Self { work, messages, buffers, plan, group } = self;
        let messages = messages.iter().skip(*group * SEGMENT);
        for ((message, headers, change), bytes) in messages.zip(buffers) {
            let end = bytes.len() - TAILROOM;
            let Some(mut buffer) = Buffer::new(bytes, HEADROOM..end) else { continue };
            let planned = match *work {
                Work::Forward => forward(plan, message, headers, change),
                Work::StripVia => {
                    plan.begin(message);
                    plan.remove_top_via(message)
                }
                Work::Reply(code) => plan.reply_read(
                    message,
                    headers,
                    &Reply {
                        code,
                        to_tag: Some(change.tag.as_bytes()),
                        received: Some(change.source.0),
                        rport: Some(change.source.1),
                        ..Reply::default()
                    },
                ),
            };
            let applied = planned.and_then(|()| plan.apply(&mut buffer));
            let _ = black_box(applied);
            sent(buffer.message());
        }
    }
}

#[inline]
fn forward(
    plan: &mut EditPlan,
    message: &Message<'_>,
    headers: &Essentials<'_>,
    change: &Change,
) -> Result<(), EditError> {
    plan.begin(message);
    plan.replace_request_uri(message, change.uri.as_bytes())?;
    plan.prepend_header(message, HeaderName::Via, &[change.via.as_bytes()])?;
    plan.prepend_header(message, HeaderName::RecordRoute, &[change.record_route.as_bytes()])?;
    plan.mark_via(&headers.via, Some(change.source.0), Some(change.source.1))?;
    let hops = headers.max_forwards.map_or(Some(70), |hops| hops.checked_sub(1));
    plan.set_max_forwards(message, hops.ok_or(EditError::Exhausted)?)
}

impl Case for InPlace {
    fn prepare(&mut self) {
        self.group = (self.group + 1) % (self.messages.len() / SEGMENT);
        let messages = self.messages.iter().skip(self.group * SEGMENT);
        for ((message, ..), bytes) in messages.zip(&mut self.buffers) {
            bytes.clear();
            bytes.resize(HEADROOM, 0);
            bytes.extend_from_slice(message.datagram());
            bytes.resize(bytes.len() + TAILROOM, 0);
            // As warm as right after parsing.
            let _ = black_box(message.essentials());
        }
    }

    fn run(&mut self) {
        self.edit(|edited| {
            black_box(edited);
        });
    }

    fn operations(&self) -> u64 {
        SEGMENT as u64
    }
}

/// A peer's way: its own representation is changed and written out.
struct Rewrite<E: Editor> {
    editor: E,
    work: Work,
    samples: Vec<Sample>,
    parsed: Vec<E::Message>,
    group: usize,
}

impl<E: Editor + 'static> Rewrite<E> {
    fn boxed(editor: E, work: Work, samples: &[Sample]) -> Result<Box<dyn Case>, Refusal> {
        let mut case = Self {
            editor,
            work,
            samples: samples.to_vec(),
            parsed: Vec::new(),
            group: samples.len() / SEGMENT - 1,
        };
        for samples in samples.chunks_exact(SEGMENT) {
            case.prepare();
            if case.parsed.len() < SEGMENT {
                return Err(Refusal("does not parse it".into()));
            }
            let mut results = Vec::new();
            case.edit(|edited| results.push(edited.to_vec()))?;
            for (sample, result) in samples.iter().zip(&results) {
                let (said, expected) = (lines(result), lines(&written(work, sample)));
                if said != expected {
                    let odd: Vec<_> = said.symmetric_difference(&expected).collect();
                    return Err(Refusal(format!("made another message: {odd:?}")));
                }
            }
        }
        Ok(Box::new(case))
    }

    fn edit(&mut self, mut sent: impl FnMut(&[u8])) -> Result<(), Refusal> {
        let samples = self.samples.iter().skip(self.group * SEGMENT);
        for (sample, message) in samples.zip(&mut self.parsed) {
            match self.work {
                Work::Forward => self.editor.forward(message, &sample.change, &mut sent)?,
                Work::StripVia => self.editor.strip_via(message, &mut sent)?,
                Work::Reply(code) => self.editor.reply(message, code, &sample.change, &mut sent)?,
            }
        }
        Ok(())
    }
}

impl<E: Editor + 'static> Case for Rewrite<E> {
    fn prepare(&mut self) {
        self.group = (self.group + 1) % (self.samples.len() / SEGMENT);
        let samples = self.samples.iter().skip(self.group * SEGMENT).take(SEGMENT);
        self.parsed.clear();
        self.parsed.extend(samples.filter_map(|sample| self.editor.parse(sample).ok()));
    }

    fn run(&mut self) {
        let done = self.edit(|edited| {
            black_box(edited);
        });
        let _ = black_box(done);
    }

    fn operations(&self) -> u64 {
        SEGMENT as u64
    }
}

/// What must come out, made naively from the lines of the message.
fn written(work: Work, sample: &Sample) -> Vec<u8> {
    let text = String::from_utf8_lossy(&sample.bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
    let change = &sample.change;
    let (address, port) = change.source;
    let mark = |lines: &mut Vec<String>| {
        if let Some(via) = lines.iter_mut().find(|line| line.starts_with("Via: ")) {
            *via = format!("{};rport={port};received={address}", via.trim_end_matches(";rport"));
        }
    };
    let mut body = body;
    match work {
        Work::Forward => {
            mark(&mut lines);
            lines[0] = format!("INVITE {} SIP/2.0", change.uri);
            for line in lines.iter_mut().filter(|line| *line == "Max-Forwards: 70") {
                *line = "Max-Forwards: 69".into();
            }
            lines.insert(1, format!("Via: {}", change.via));
            lines.insert(2, format!("Record-Route: {}", change.record_route));
        }
        Work::StripVia => {
            lines.remove(1);
        }
        Work::Reply(code) => {
            mark(&mut lines);
            let kept = ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "];
            lines.retain(|line| kept.iter().any(|name| line.starts_with(name)));
            for line in lines.iter_mut().filter(|line| line.starts_with("To: ")) {
                *line = format!("{line};tag={}", change.tag);
            }
            lines.insert(0, format!("SIP/2.0 {code} {}", if code == 200 { "OK" } else { "Not Found" }));
            lines.push("Content-Length: 0".into());
            body = "";
        }
    }
    format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes()
}

/// A message as its header lines and its body, for peers that write the same headers in another order and spelling.
/// Lines of one header keep their order by number.
fn lines(message: &[u8]) -> std::collections::BTreeSet<String> {
    let text = String::from_utf8_lossy(message);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let first = head.split("\r\n").next().unwrap_or_default();
    let mut seen = std::collections::BTreeMap::new();
    let mut lines: std::collections::BTreeSet<String> = head
        .split("\r\n")
        .map(|line| {
            // Reason phrases are free (section 7.2); rsip writes its own.
            let line = line.strip_prefix("SIP/2.0 ").and_then(|status| status.get(..3)).unwrap_or(line);
            let Some((name, value)) = line.split_once(':').filter(|_| line != first) else {
                return line.to_owned();
            };
            // libosip2 writes names and white space its own way.
            let name = name.to_ascii_lowercase();
            let number = seen.entry(name.clone()).and_modify(|n| *n += 1).or_insert(0);
            format!("{number} {name}: {}", value.trim())
        })
        .collect();
    lines.insert(body.to_owned());
    lines
}
