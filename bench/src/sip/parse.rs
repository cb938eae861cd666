//! The workload "parse": a datagram in, every field that a proxy needs out.

use std::hint::black_box;

use super::facts::{Consumed, Facts, Field, Parser};
use super::messages::Sample;
use super::peers::{self, name};
use crate::case::{Case, Entry, Refusal};

/// All candidates on one kind of message.
#[must_use]
pub fn entries(workload: &'static str, samples: &[Sample]) -> Vec<Entry> {
    let entry = |candidate, case| Entry { workload, candidate, case };
    vec![
        entry(
            name::STROWGER,
            ParseCase::boxed(peers::strowger::Strowger(strowger_sip::Index::new()), samples, &[]),
        ),
        #[cfg(feature = "osip")]
        entry(name::OSIP, ParseCase::boxed(peers::osip::Osip, samples, &[])),
        entry(name::RSIP, ParseCase::boxed(peers::rsip::Rsip, samples, &[Field::AuthUri])),
        entry(name::RSIPSTACK, ParseCase::boxed(peers::rsipstack::RsipStack, samples, &[Field::AuthUri])),
        entry(
            name::HTTPARSE,
            peers::httparse::Http::new(samples).map(|http| Box::new(http) as Box<dyn Case>),
        ),
    ]
}

/// All candidates on a message that we have not written ourselves: they are held to what Strowger reads in it.
#[must_use]
pub fn found_entries(workload: &'static str, mut samples: Vec<Sample>) -> Vec<Entry> {
    for sample in &mut samples {
        // When Strowger does not take it, the facts stay empty, and its own entry says why.
        let _ = peers::strowger::Strowger(strowger_sip::Index::new()).read(&sample.bytes, &mut sample.facts);
    }
    entries(workload, &samples)
}

/// One parser on all copies of one kind.
struct ParseCase<P> {
    parser: P,
    copies: Vec<Vec<u8>>,
}

impl<P: Parser + 'static> ParseCase<P> {
    /// The case, after every copy was read once and gave what it was written with, but for the fields `not_given`,
    /// which the parser has in another form than text.
    fn boxed(mut parser: P, samples: &[Sample], not_given: &[Field]) -> Result<Box<dyn Case>, Refusal> {
        for sample in samples {
            let mut read = Facts::default();
            parser.read(&sample.bytes, &mut read)?;
            let expected = not_given.iter().fold(sample.facts.clone(), |facts, field| facts.without(*field));
            let differences = expected.differences(&read);
            if !differences.is_empty() {
                return Err(Refusal(format!("reads otherwise than written: {}", differences.join("; "))));
            }
        }
        Ok(Box::new(Self { parser, copies: samples.iter().map(|sample| sample.bytes.clone()).collect() }))
    }
}

impl<P: Parser> Case for ParseCase<P> {
    fn run(&mut self) {
        for copy in &self.copies {
            let _ = black_box(self.parser.read(black_box(copy), &mut Consumed));
        }
    }

    fn operations(&self) -> u64 {
        self.copies.len() as u64
    }
}
