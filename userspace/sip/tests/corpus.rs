//! Every message of RFC 4475 and RFC 5118 gets the verdict that its section states.
//!
//! The messages themselves are not part of the project. They are read from `$STROWGER_CORPUS`, or from `shared/corpus`
//! beside the project; without them this test says so and checks nothing. `verdicts.rs` has equivalents of its own.

#![allow(clippy::unwrap_used)] // a test may

mod exercise;

use std::path::{Path, PathBuf};

use strowger_sip::verdict::{Verdict, judge};
use strowger_sip::{
    Buffer, Contact, Credentials, EditPlan, HeaderName, Host, Index, Message, Method, Reply, Scheme, Uri,
};

use Verdict::{Answer, Drop, Serve};

/// (file, section of RFC 4475, verdict). Where a section leaves a choice, the choice is in `verdict::TABLE`.
const RFC_4475: &[(&str, &str, Verdict)] = &[
    ("wsinv", "3.1.1.1 well-formed", Serve),
    ("intmeth", "3.1.1.2 valid: forward, or 404", Serve),
    ("esc01", "3.1.1.3 valid", Serve),
    ("escnull", "3.1.1.4 valid", Serve),
    ("esc02", "3.1.1.5 valid: % is no escape there", Serve),
    ("lwsdisp", "3.1.1.6 valid", Serve),
    ("longreq", "3.1.1.7 valid", Serve),
    ("dblreq", "3.1.1.8 valid: trailing octets discarded", Serve),
    ("semiuri", "3.1.1.9 valid", Serve),
    ("transports", "3.1.1.10 valid", Serve),
    ("mpart01", "3.1.1.11 valid", Serve),
    ("unreason", "3.1.1.12 valid", Serve),
    ("noreason", "3.1.1.13 valid", Serve),
    ("badinv01", "3.1.2.1 respond 400", Answer(400)),
    ("clerr", "3.1.2.2 respond 400", Answer(400)),
    ("ncl", "3.1.2.3 respond with an error", Answer(400)),
    ("scalar02", "3.1.2.4 respond 400 due to CSeq", Answer(400)),
    ("scalarlg", "3.1.2.5 discard", Drop),
    ("quotbal", "3.1.2.6 return 400", Answer(400)),
    ("ltgtruri", "3.1.2.7 reasonable always to reject with 400", Answer(400)),
    ("lwsruri", "3.1.2.8 respond 400", Answer(400)),
    ("lwsstart", "3.1.2.9 acceptable to reject", Answer(400)),
    ("trws", "3.1.2.10 acceptable to reject", Answer(400)),
    ("escruri", "3.1.2.11 acceptable to reject with 400", Answer(400)),
    ("baddate", "3.1.2.12 not to be rejected unless Date is important", Serve),
    ("regbadct", "3.1.2.13 reasonable to respond 400", Answer(400)),
    ("badaspec", "3.1.2.14 reasonable to reject with 400", Answer(400)),
    ("baddn", "3.1.2.15 reasonable always to reject with 400", Answer(400)),
    ("badvers", "3.1.2.16 505", Answer(505)),
    ("mismatch01", "3.1.2.17 respond 400", Answer(400)),
    ("mismatch02", "3.1.2.18 respond 501 (400 acceptable)", Answer(501)),
    ("bigcode", "3.1.2.19 drop", Drop),
    ("badbranch", "3.2.1 reject or fall back to RFC 2543", Serve),
    ("insuf", "3.3.1 respond 400", Answer(400)),
    ("unkscm", "3.3.2 reject with 416", Answer(416)),
    ("novelsc", "3.3.3 treat as unknown: 416", Answer(416)),
    ("unksm2", "3.3.4 well-formed: proxies treat it as any other", Serve),
    ("bext01", "3.3.5 well-formed; 420 by what it requires", Serve),
    ("invut", "3.3.6 valid", Serve),
    ("regaut01", "3.3.7 well-formed", Serve),
    ("multi01", "3.3.8 respond 400", Answer(400)),
    ("mcl01", "3.3.9 respond with an error", Answer(400)),
    ("bcast", "3.3.10 proxies should drop", Drop),
    ("zeromf", "3.3.11 legal; 483 by a proxy that would forward", Serve),
    ("cparam01", "3.3.12 should succeed", Serve),
    ("cparam02", "3.3.13 should succeed", Serve),
    ("regescrt", "3.3.14 should succeed", Serve),
    ("sdp01", "3.3.15 well-formed; 406 or 400 by an endpoint", Serve),
    ("inv2543", "3.4.1 accept for backwards compatibility", Serve),
    ("test", "not of the RFC: a request line without SIP version (RFC 3261 section 7.1)", Drop),
];

/// (file, section of RFC 5118, verdict).
const RFC_5118: &[(&str, &str, Verdict)] = &[
    ("ipv6-good", "4.1 well-formed", Serve),
    ("ipv6-bad", "4.2 respond 400", Answer(400)),
    ("port-ambiguous", "4.3 well-formed", Serve),
    ("port-unambiguous", "4.4 well-formed", Serve),
    ("via-received-param-with-delim", "4.5 must parse", Serve),
    ("via-received-param-no-delim", "4.5 must parse", Serve),
    ("ipv6-in-sdp", "4.6 well-formed", Serve),
    ("mult-ip-in-header", "4.7 well-formed", Serve),
    ("mult-ip-in-sdp", "4.8 well-formed", Serve),
    ("ipv4-mapped-ipv6", "4.9 well-formed", Serve),
    ("ipv6-bug-abnf-3-colons", "4.10 must tolerate", Serve),
    ("ipv6-correct-abnf-2-colons", "4.10 well-formed", Serve),
];

fn corpus() -> Option<PathBuf> {
    let place = match std::env::var_os("STROWGER_CORPUS") {
        Some(place) => PathBuf::from(place),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
    };
    let found = place.is_dir();
    if !found {
        eprintln!("no corpus at {}: set STROWGER_CORPUS; nothing checked", place.display());
    }
    found.then_some(place)
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    ["", ".dat"]
        .iter()
        .find_map(|suffix| std::fs::read(folder.join(format!("{name}{suffix}"))).ok())
        .unwrap_or_else(|| panic!("{name} is missing in {}", folder.display()))
}

fn judge_all(folder: &str, table: &[(&str, &str, Verdict)]) {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join(folder);
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, table.len(), "a file has no row, or a row no file");
    let mut index = Index::new();
    let mut wrong = Vec::new();
    for (name, section, expected) in table {
        let bytes = read(&folder, name);
        let verdict = judge(&bytes, &mut index);
        println!("{name:32} {verdict:?} ({section})");
        if verdict != *expected {
            let why = Message::parse(&bytes, &mut index).map(|m| m.essentials().map(|_| ()));
            wrong.push(format!("{name} ({section}): {verdict:?}, not {expected:?}; {why:?}"));
        }
        // Whatever the verdict, whoever reads, edits or answers the message must not break.
        exercise::all(&bytes);
        if let Some(message) = Message::salvage(&bytes, &mut index) {
            let mut plan = EditPlan::new();
            if plan.reply(&message, &Reply { code: 400, to_tag: Some(b"t"), ..Reply::default() }).is_ok() {
                let mut room = vec![0; bytes.len() + 400];
                room[200..200 + bytes.len()].copy_from_slice(&bytes);
                let mut buffer = Buffer::new(&mut room, 200..200 + bytes.len()).unwrap();
                plan.apply(&mut buffer).unwrap();
                let reply = buffer.message().to_vec();
                let reply =
                    Message::parse(&reply, &mut index).unwrap_or_else(|e| panic!("reply to {name}: {e}"));
                assert_eq!(reply.status().unwrap().code, 400, "{name}");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_message_of_rfc_4475_gets_its_verdict() {
    judge_all("rfc4475", RFC_4475);
}

#[test]
fn every_message_of_rfc_5118_gets_its_verdict() {
    judge_all("rfc5118", RFC_5118);
}

/// What the sections say beyond the verdict.
#[test]
fn details_of_rfc_4475() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("rfc4475");
    let mut index = Index::new();

    let bytes = read(&folder, "wsinv");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert_eq!(m.vias().map(|v| v.unwrap().branch().unwrap()).collect::<Vec<_>>().len(), 3);
    assert_eq!(m.header(HeaderName::Subject).unwrap().value, b"");
    assert_eq!(m.to().unwrap().tag(), Some(&b"1918181833n"[..]));
    assert_eq!(m.max_forwards(), Ok(Some(68)));
    assert_eq!(m.cseq().unwrap().number, 9);
    let Ok(Contact::Address(contact)) = m.contacts().next().unwrap() else { panic!() };
    assert_eq!(contact.q(), Some(330));

    let bytes = read(&folder, "intmeth");
    let m = Message::parse(&bytes, &mut index).unwrap();
    let Some(Method::Other(method)) = m.method() else { panic!() };
    assert_eq!(method, b"!interesting-Method0123456789_*+`.%indeed'~");
    let uri = Uri::parse(m.request().unwrap().uri).unwrap();
    assert_eq!(uri.user(), Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));

    let bytes = read(&folder, "esc02");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert_eq!(m.method(), Some(Method::Other(b"RE%47IST%45R")));

    let bytes = read(&folder, "escnull");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert!(m.contacts().all(|c| c.is_ok()));

    let bytes = read(&folder, "lwsdisp");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert_eq!(m.from().unwrap().display(), Some(&b"caller"[..]));

    let bytes = read(&folder, "dblreq");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert!(m.bytes().len() < bytes.len() && m.body().is_empty());
    assert_eq!(m.method(), Some(Method::Register));

    let bytes = read(&folder, "semiuri");
    let m = Message::parse(&bytes, &mut index).unwrap();
    let uri = Uri::parse(m.request().unwrap().uri).unwrap();
    assert_eq!(uri.user(), Some(&b"user;par=u%40example.net"[..]));

    let bytes = read(&folder, "transports");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert_eq!(m.vias().filter(Result::is_ok).count(), 5);

    let bytes = read(&folder, "unreason");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert!(!core::str::from_utf8(m.status().unwrap().reason).unwrap().is_ascii());

    let bytes = read(&folder, "noreason");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert_eq!(m.status().unwrap().reason, b"");

    let bytes = read(&folder, "baddate");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert!(m.date().is_err());

    let bytes = read(&folder, "badbranch");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert!(!m.top_via().unwrap().has_magic_cookie());

    let bytes = read(&folder, "unksm2");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert!(matches!(m.to().unwrap().uri().unwrap().scheme(), Scheme::Other(_)));

    let bytes = read(&folder, "bext01");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert_eq!(m.require().count() + m.proxy_require().count(), 4);

    let bytes = read(&folder, "regaut01");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert!(matches!(m.authorizations().next(), Some(Ok(Credentials::Other { .. }))));

    let bytes = read(&folder, "zeromf");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert_eq!(m.max_forwards(), Ok(Some(0)));

    for (file, in_uri, in_header) in [("cparam01", false, true), ("cparam02", true, false)] {
        let bytes = read(&folder, file);
        let m = Message::parse(&bytes, &mut index).unwrap();
        let Ok(Contact::Address(contact)) = m.contacts().next().unwrap() else { panic!() };
        assert_eq!(contact.uri().unwrap().params().contains(b"unknownparam"), in_uri);
        assert_eq!(contact.address.params().contains(b"unknownparam"), in_header);
    }

    let bytes = read(&folder, "regescrt");
    let m = Message::parse(&bytes, &mut index).unwrap();
    let Ok(Contact::Address(contact)) = m.contacts().next().unwrap() else { panic!() };
    assert_eq!(contact.uri().unwrap().header_pairs().next().unwrap().0, b"Route");
}

/// What the sections say beyond the verdict.
#[test]
fn details_of_rfc_5118() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("rfc5118");
    let mut index = Index::new();
    let uri = |name: &str, index: &mut Index| {
        let bytes = read(&folder, name);
        let m = Message::parse(&bytes, index).unwrap();
        let uri = Uri::parse(m.request().unwrap().uri).unwrap();
        (uri.host().and_then(|h| h.ip()).map(|ip| ip.to_string()), uri.port())
    };
    assert_eq!(uri("port-ambiguous", &mut index), (Some("2001:db8::10:5070".into()), None));
    assert_eq!(uri("port-unambiguous", &mut index), (Some("2001:db8::10".into()), Some(5070)));
    assert_eq!(uri("ipv6-bug-abnf-3-colons", &mut index), uri("ipv6-correct-abnf-2-colons", &mut index));
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let bytes = read(&folder, name);
        let m = Message::parse(&bytes, &mut index).unwrap();
        assert_eq!(m.top_via().unwrap().received(), Some("2001:db8::9:255".parse().unwrap()));
    }
    let bytes = read(&folder, "mult-ip-in-sdp");
    let m = Message::parse(&bytes, &mut index).unwrap();
    let sdp = m.sdp().unwrap();
    let connections: Vec<_> = sdp.media().iter().map(|media| media.connection).collect();
    assert_eq!(connections, [Some("192.0.2.1".parse().unwrap()), Some("2001:db8::1".parse().unwrap())]);
    let bytes = read(&folder, "ipv4-mapped-ipv6");
    let m = Message::parse(&bytes, &mut index).unwrap();
    assert_eq!(m.top_via().unwrap().host(), Host::V6("::ffff:192.0.2.10".parse().unwrap()));
    assert_eq!(m.top_via().unwrap().port(), Some(19823));
}
