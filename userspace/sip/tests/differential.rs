//! Two readings of every message: the crate's, and that of a naive parser written from the grammar. They must agree on
//! what is a message, and on start line, header names and values, body, topmost Via, CSeq and Content-Length; over the
//! project's messages, the RFCs' corpus where it is there, and mutations of both.
#![allow(clippy::unwrap_used)] // a test may

mod common;
#[path = "common/mutate.rs"]
mod mutate;

mod naive;

use std::path::{Path, PathBuf};
use std::time::Duration;

use strowger_sip::{CSeq, HeaderName, Host, Index, Message, StartLine, Transport};

fn compare(datagram: &[u8]) {
    let mut index = Index::new();
    let ours = Message::parse(datagram, &mut index);
    let theirs = naive::read(datagram);
    let (m, parts) = match (ours, theirs) {
        (Err(_), None) => return,
        (Ok(m), Some(parts)) => (m, parts),
        (Err(error), Some(_)) => panic!("only the naive parser takes it: {error}"),
        (Ok(_), None) => panic!("only we take it"),
    };
    match (m.start(), &parts.start) {
        (StartLine::Request(line), naive::Start::Request { method, uri }) => {
            assert_eq!((line.method.as_bytes(), line.uri), (&method[..], &uri[..]));
        }
        (StartLine::Status(line), naive::Start::Status { code, reason }) => {
            assert_eq!((line.code, line.reason), (*code, &reason[..]));
        }
        other => panic!("{other:?}"),
    }
    let headers: Vec<_> = m
        .all()
        .map(|h| {
            let meaning = match h.name {
                HeaderName::Other => String::from_utf8(h.raw_name.to_ascii_lowercase()).unwrap(),
                known => known.as_str().to_ascii_lowercase(),
            };
            (h.raw_name.to_vec(), meaning, h.value.to_vec())
        })
        .collect();
    assert_eq!(headers, parts.headers);
    assert_eq!(m.body(), parts.body);

    if let Some((_, _, value)) = parts.headers.iter().find(|h| h.1 == "via") {
        assert_eq!(m.top_via().ok().map(as_naive), naive::top_via(value), "{}", value.escape_ascii());
    }
    if let Some((_, _, value)) = parts.headers.iter().find(|h| h.1 == "cseq") {
        let ours = m.cseq().ok().map(|CSeq { number, method }| (number, method.as_bytes().to_vec()));
        assert_eq!(ours, naive::cseq(value));
    }
    if let Some((_, _, value)) = parts.headers.iter().find(|h| h.1 == "content-length") {
        let number: u32 = std::str::from_utf8(value).unwrap().parse().unwrap();
        assert_eq!(m.content_length(), Ok(Some(number)));
    }
}

fn as_naive(via: strowger_sip::Via<'_>) -> naive::Via {
    let transport = match via.transport() {
        Transport::Udp => "UDP".into(),
        Transport::Tcp => "TCP".into(),
        Transport::Tls => "TLS".into(),
        Transport::Sctp => "SCTP".into(),
        Transport::TlsSctp => "TLS-SCTP".into(),
        Transport::Ws => "WS".into(),
        Transport::Wss => "WSS".into(),
        Transport::Other(text) => String::from_utf8(text.to_ascii_uppercase()).unwrap(),
    };
    let host = match via.host() {
        Host::Name(name) => String::from_utf8(name.to_ascii_lowercase()).unwrap(),
        address => address.to_string(),
    };
    naive::Via {
        transport,
        host,
        port: via.port(),
        branch: via.branch().map(<[u8]>::to_vec),
        received: via.received(),
        rport: via.rport(),
    }
}

/// The RFCs' messages, where they are; see `corpus.rs`.
fn corpus() -> Vec<Vec<u8>> {
    let place = match std::env::var_os("STROWGER_CORPUS") {
        Some(place) => PathBuf::from(place),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
    };
    ["rfc4475", "rfc5118"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(place.join(folder)).ok())
        .flatten()
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn both_read_the_same() {
    for message in common::ALL {
        assert!(naive::read(message).is_some());
        compare(message);
    }
    for message in corpus() {
        compare(&message);
    }
}

#[test]
fn both_read_mutations_the_same() {
    let corpus = corpus();
    let options = common::options("OPTIONS", "OPTIONS", "");
    let messages: Vec<&[u8]> =
        common::ALL.into_iter().chain([&options[..]]).chain(corpus.iter().map(Vec::as_slice)).collect();
    mutate::run("differential", &messages, 100_000, Duration::from_secs(4), compare);
}
