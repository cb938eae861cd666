//! Messages as a whole: framing, header lines, folding, compact forms, the headers every message has.

use strowger_sip::{Contact, Fault, HeaderName, Index, Message, Method, StartLine, ValueFault};

const INVITE: &[u8] = b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n\
Via: SIP/2.0/UDP bigbox3.site3.atlanta.example.com;branch=z9hG4bK4b43c2ff8.1, SIP/2.0/UDP [2001:db8::1];branch=z9hG4bK77ef4c2312983.1\r\n \
;received=192.0.2.2\r\n\
v: SIP/2.0/TCP c ;branch=z9hG4bKx\r\n\
Max-Forwards: 69\r\n\
t: Bob <sip:bob@biloxi.example.com>\r\n\
From: Alice <sip:alice@atlanta.example.com>;tag=1928301774\r\n\
CALL-ID : a84b4c76e66710\r\n\
CSeq: 314159\r\n\tINVITE\r\n\
Route: <sip:p1;lr>,<sip:p2;lr>\r\n\
Route: \"x, y\" <sip:p3>\r\n\
X-Own: ;;,,;\r\n\
m: <sip:alice@pc33>;q=0.5, *\r\n\
Supported:\r\n\
Require: a, b\r\n\
Require: c\r\n\
Expires: 60\r\n\
Content-Length: 4\r\n\
\r\n\
v=0\nrest";

#[test]
fn a_request_in_all_its_parts() {
    let mut index = Index::new();
    let m = Message::parse(INVITE, &mut index).unwrap();
    let StartLine::Request(line) = m.start() else { panic!("a response") };
    assert_eq!((line.method, line.uri), (Method::Invite, &b"sip:bob@biloxi.example.com"[..]));
    assert_eq!(m.body(), b"v=0\n");
    assert_eq!(m.bytes().len(), INVITE.len() - 4);
    let essentials = m.essentials().unwrap();
    assert_eq!(essentials.via.branch(), Some(&b"z9hG4bK4b43c2ff8.1"[..]));
    assert_eq!(essentials.from.tag(), Some(&b"1928301774"[..]));
    assert_eq!(essentials.to.tag(), None);
    assert_eq!(essentials.call_id, b"a84b4c76e66710");
    assert_eq!((essentials.cseq.number, essentials.max_forwards), (314159, Some(69)));
    let vias: Vec<_> = m.vias().map(|v| v.unwrap()).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!(vias[1].received(), Some([192, 0, 2, 2].into()));
    for via in &vias {
        assert_eq!(&INVITE[via.range()], via.as_bytes());
    }
    let routes: Vec<_> = m.routes().map(|r| r.unwrap().uri_bytes()).collect();
    assert_eq!(routes, [&b"sip:p1;lr"[..], b"sip:p2;lr", b"sip:p3"]);
    let contacts: Vec<_> = m.contacts().map(|c| c.unwrap()).collect();
    assert!(matches!(contacts[0], Contact::Address(a) if a.q() == Some(500)));
    assert!(matches!(contacts[1], Contact::Star));
    assert_eq!(m.supported().count(), 0);
    assert_eq!(m.require().map(|t| t.unwrap().0).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
    assert_eq!(m.expires(), Ok(Some(60)));
    assert_eq!(m.content_length(), Ok(Some(4)));
    let own = m.header(HeaderName::Other).unwrap();
    assert_eq!((own.raw_name, own.value), (&b"X-Own"[..], &b";;,,;"[..]));
    assert_eq!(&INVITE[own.line_range], b"X-Own: ;;,,;\r\n");
    let call_id = m.header(HeaderName::CallId).unwrap();
    assert_eq!(call_id.raw_name, b"CALL-ID");
    // Every byte of the header section belongs to exactly one line.
    let mut at = m.all().next().unwrap().line_range.start;
    for header in m.all() {
        assert_eq!(header.line_range.start, at);
        at = header.line_range.end;
    }
    assert_eq!(at, m.headers_end());
}

#[test]
fn a_response() {
    let mut index = Index::new();
    let bytes = b"\r\n\r\nSIP/2.0 183 Session Progress\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\r\n";
    let m = Message::parse(bytes, &mut index).unwrap();
    let status = m.status().unwrap();
    assert_eq!((status.code, status.reason), (183, &b"Session Progress"[..]));
    assert_eq!((m.method(), m.body(), m.extent()), (None, &b""[..], 4..bytes.len()));
    assert_eq!(m.essentials().unwrap_err().fault, ValueFault::Missing);
}

#[test]
fn an_index_is_used_again_without_traces() {
    let mut index = Index::new();
    Message::parse(INVITE, &mut index).unwrap();
    let m = Message::parse(b"OPTIONS sip:a SIP/2.0\r\nTo: <sip:a>\r\n\r\n", &mut index).unwrap();
    assert_eq!(m.all().count(), 1);
    for &name in HeaderName::ALL {
        assert_eq!(m.has(name), name == HeaderName::To, "{name}");
    }
}

fn fault(bytes: &[u8]) -> Option<(Fault, Option<u16>)> {
    Message::parse(bytes, &mut Index::new()).err().map(|e| (e.fault, e.status()))
}

#[test]
fn faults_and_their_status() {
    let head = |rest: &str| format!("BYE sip:a SIP/2.0\r\n{rest}").into_bytes();
    assert_eq!(fault(b""), Some((Fault::Empty, None)));
    assert_eq!(fault(b"\r\n\r\n"), Some((Fault::Empty, None)));
    assert_eq!(fault(b"\0\0\0\0"), Some((Fault::StartLine, None)));
    assert_eq!(fault(&head("\r\n")), None);
    assert_eq!(fault(&head("")), Some((Fault::NoEmptyLine, Some(400))));
    assert_eq!(fault(&head("To: x\r\n")), Some((Fault::NoEmptyLine, Some(400))));
    assert_eq!(fault(&head("To x\r\n\r\n")), Some((Fault::HeaderLine, Some(400))));
    assert_eq!(fault(&head(": x\r\n\r\n")), Some((Fault::HeaderLine, Some(400))));
    assert_eq!(fault(&head("T o: x\r\n\r\n")), Some((Fault::HeaderLine, Some(400))));
    assert_eq!(fault(&head("To: x\n\r\n")), Some((Fault::BareLineEnd, None)));
    assert_eq!(fault(&head("To: x\ry\r\n\r\n")), Some((Fault::BareLineEnd, None)));
    assert_eq!(fault(&head("To: x\0\r\n\r\n")), Some((Fault::Control, None)));
    assert_eq!(fault(&head("To: \"\\\0\" <sip:a>\r\n\r\n")), None);
    assert_eq!(fault(&head("To: a\r\nt: b\r\n\r\n")), Some((Fault::Duplicate(HeaderName::To), Some(400))));
    assert_eq!(fault(&head("l: 5\r\n\r\nabcd")), Some((Fault::Truncated, Some(400))));
    assert_eq!(fault(&head("l: -5\r\n\r\nabcd")), Some((Fault::ContentLength, Some(400))));
    assert_eq!(fault(b"BYE sip:a SIP/3.0\r\n\r\n"), Some((Fault::Version, Some(505))));
    assert_eq!(fault(b"SIP/2.0 200 OK\r\nl: 5\r\n\r\n"), Some((Fault::Truncated, None)));
}
