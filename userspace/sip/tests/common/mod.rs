//! Messages that several tests share. All are the project's own.
#![allow(dead_code, unreachable_pub)] // no test uses all of it

/// A request of about 500 bytes with a body, as a phone sends it.
pub const INVITE: &[u8] = b"INVITE sip:bob@example.net SIP/2.0\r\n\
Via: SIP/2.0/UDP 10.77.0.1:5062;rport;branch=z9hG4bK-d8754z-1a2b3c\r\n\
Max-Forwards: 70\r\n\
Contact: <sip:alice@10.77.0.1:5062>\r\n\
To: <sip:bob@example.net>\r\n\
From: \"Alice\" <sip:alice@example.net>;tag=7c12f90a\r\n\
Call-ID: MTk0OWU2ZGY2ZTk1@10.77.0.1\r\n\
CSeq: 1 INVITE\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 123\r\n\
\r\n\
v=0\r\no=- 1 1 IN IP4 10.77.0.1\r\ns=-\r\nc=IN IP4 10.77.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

/// A request with everything that the grammar allows to be unusual.
pub const TORTUOUS: &[u8] = b"INVITE sip:bob;day=mon%3d1@[2001:db8::7]:5070;lr;x SIP/2.0\r\n\
TO :\r\n <sip:bob@example.net> ;\r\n\ttag    = t-1\r\n\
from   : \"A \\\\\\\" B\"       <sip:alice@example.net>\r\n  ;\r\n  tag = f1\r\n\
MaX-fOrWaRdS: 0068\r\n\
I: weird{}[]<>()?\"@host \r\n\t\r\n\
cseq: 0009\r\n  INVITE\r\n\
Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\n\
s :\r\n\
NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n \t\r\n  \r\n\
Unknown: ;;,,;;,;\r\n\
Route:\r\n <sip:services.example.net;lr;unknownwith=value;unknown-no-value>\r\n\
v:  SIP  / 2.0  / TCP     a.example.net   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n\
m:\"Quoted \\\"\\\"\" <sip:alice@example.net> ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33\r\n\
l: 0\r\n\
\r\n";

/// A response on its way back through four hops.
pub const RESPONSE: &[u8] = b"SIP/2.0 200 OK\r\n\
Via: SIP/2.0/UDP 10.77.0.2:5060;branch=z9hG4bKaa1\r\n\
Via: SIP/2.0/UDP 10.77.0.3:5060;branch=z9hG4bKaa2;received=192.0.2.3, SIP/2.0/UDP [2001:db8::4];branch=z9hG4bKaa3\r\n\
Via: SIP/2.0/UDP 10.77.0.1:5062;rport=5062;branch=z9hG4bKaa4;received=10.77.0.1\r\n\
Record-Route: <sip:10.77.0.3;lr>, <sip:10.77.0.2;lr>\r\n\
From: <sip:alice@example.net>;tag=7c12f90a\r\n\
To: <sip:bob@example.net>;tag=99\r\n\
Call-ID: MTk0OWU2ZGY2ZTk1@10.77.0.1\r\n\
CSeq: 1 INVITE\r\n\
Contact: <sip:bob@10.77.0.9:5064>;expires=60\r\n\
Content-Length: 0\r\n\
\r\n";

/// A REGISTER with credentials.
pub const REGISTER: &[u8] = b"REGISTER sip:example.net SIP/2.0\r\n\
Via: SIP/2.0/UDP 10.77.0.1:5062;rport;branch=z9hG4bKreg1\r\n\
Max-Forwards: 70\r\n\
From: <sip:alice@example.net>;tag=1\r\n\
To: <sip:alice@example.net>\r\n\
Call-ID: reg-1@10.77.0.1\r\n\
CSeq: 2 REGISTER\r\n\
Contact: <sip:alice@10.77.0.1:5062;ob>;q=0.5;expires=3600;reg-id=1;+sip.instance=\"<urn:uuid:1>\"\r\n\
Supported: path, outbound, gruu\r\n\
Path: <sip:edge.example.net;lr;ob>\r\n\
Authorization: Digest username=\"alice\", realm=\"example.net\", nonce=\"n0nce\", uri=\"sip:example.net\", \
response=\"6629fae49393a05397450978507c4ef1\", algorithm=MD5, cnonce=\"0a4f\", qop=auth, nc=00000001\r\n\
Expires: 3600\r\n\
Content-Length: 0\r\n\
\r\n";

/// One of each header that has a typed view.
pub const EVERY_VIEW: &[u8] = b"NOTIFY sip:alice@10.77.0.1:5062 SIP/2.0\r\n\
Via: SIP/2.0/UDP 10.77.0.2;branch=z9hG4bKn1\r\n\
Max-Forwards: 70\r\n\
Max-Breadth: 60\r\n\
From: <sip:bob@example.net>;tag=2\r\n\
To: <sip:alice@example.net>;tag=1\r\n\
Call-ID: n1@10.77.0.9\r\n\
CSeq: 7 NOTIFY\r\n\
Contact: *\r\n\
Event: dialog;id=3\r\n\
Subscription-State: active;expires=600\r\n\
Allow: INVITE, ACK,BYE\r\n\
Allow-Events: presence, dialog\r\n\
Accept: application/sdp;q=0.5, text/*\r\n\
Require: 100rel\r\n\
Proxy-Require: sec-agree\r\n\
Supported: timer\r\n\
Unsupported: foo\r\n\
RAck: 1 1 INVITE\r\n\
RSeq: 1\r\n\
Replaces: a@b;to-tag=1;from-tag=2;early-only\r\n\
Join: a@b;to-tag=1;from-tag=2\r\n\
Target-Dialog: a@b;local-tag=1;remote-tag=2\r\n\
Refer-To: <sip:c@example.net?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n\
Referred-By: <sip:b@example.net>\r\n\
Reply-To: <sip:r@example.net>\r\n\
Session-Expires: 1800;refresher=uac\r\n\
Min-SE: 90\r\n\
Min-Expires: 60\r\n\
Flow-Timer: 120\r\n\
Expires: 600\r\n\
Retry-After: 5 (busy);duration=60\r\n\
Warning: 399 example.net \"x, y\"\r\n\
Reason: Q.850;cause=16;text=\"bye\", SIP;cause=200\r\n\
Privacy: id;header\r\n\
P-Asserted-Identity: \"Bob\" <sip:bob@example.net>, <tel:+12015550123>\r\n\
P-Preferred-Identity: <sip:bob@example.net>\r\n\
Path: <sip:p;lr>\r\n\
Service-Route: <sip:s;lr>\r\n\
Route: <sip:r1;lr>, <sip:r2;lr>\r\n\
Record-Route: <sip:rr;lr>\r\n\
WWW-Authenticate: Digest realm=\"a\", nonce=\"b\", qop=\"auth\", algorithm=SHA-256\r\n\
Proxy-Authenticate: Digest realm=\"a\", nonce=\"b\"\r\n\
Proxy-Authorization: Digest username=\"u\", realm=\"a\", nonce=\"b\", uri=\"sip:x\", response=\"00112233445566778899aabbccddeeff\"\r\n\
Authentication-Info: nextnonce=\"c\"\r\n\
Date: Sat, 13 Nov 2010 23:29:00 GMT\r\n\
Content-Type: application/sdp\r\n\
Content-Disposition: session;handling=optional\r\n\
Content-Length: 26\r\n\
\r\n\
m=audio 1 RTP/AVP 0\r\nc=x\r\n";

/// All of the above.
pub const ALL: [&[u8]; 5] = [INVITE, TORTUOUS, RESPONSE, REGISTER, EVERY_VIEW];

/// Header lines that make a request complete, but for the ones under test.
pub const ESSENTIALS: &str = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
Max-Forwards: 70\r\n\
From: <sip:a@example.net>;tag=1\r\n\
To: <sip:b@example.net>\r\n\
Call-ID: c1@192.0.2.1\r\n\
CSeq: 1 OPTIONS\r\n";

/// An OPTIONS with [`ESSENTIALS`], with `what` in it replaced, and more header lines.
pub fn options(what: &str, with: &str, more: &str) -> Vec<u8> {
    let message = format!("OPTIONS sip:b@example.net SIP/2.0\r\n{ESSENTIALS}{more}\r\n");
    assert!(message.contains(what), "{what} is not in the message");
    message.replacen(what, with, 1).into_bytes()
}
