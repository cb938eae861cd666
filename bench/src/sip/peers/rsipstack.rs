//! rsipstack's parser: descended from rsip's types, with a parser of its own on memchr.
//!
//! The headers are taken in one pass and each needed one is typed from its text, which avoids the clone that its
//! `typed()` makes.

use rsipstack::sip::param::Received;
use rsipstack::sip::{
    ContentLength, HasHeaders as _, Header, Headers, HeadersExt as _, Host, MaxForwards, Method, Param,
    RecordRoute, Response, SipMessage, To, ToTypedHeader as _, Transport, Uri, Version, Via, typed,
};

use super::Editor;
use crate::case::Refusal;
use crate::sip::facts::{
    CONTACT, Field, NEXT_VIA, OTHER_TRANSPORT, Parser, ROUTE, Sink, UDP, URI, UriFields, VIA, ViaFields,
};
use crate::sip::messages::{Change, Sample};

/// The version that Cargo.toml pins.
pub const VERSION: &str = "0.7.14";

/// rsipstack's parser.
#[derive(Debug)]
pub struct RsipStack;

impl Parser for RsipStack {
    fn read<S: Sink>(&mut self, datagram: &[u8], sink: &mut S) -> Result<(), Refusal> {
        let (headers, body, response) = match SipMessage::try_from(datagram).map_err(Refusal::of)? {
            SipMessage::Request(request) => {
                sink.text(Field::Method, method(request.method).as_bytes());
                uri(&request.uri, URI, sink);
                (request.headers, request.body, false)
            }
            SipMessage::Response(response) => {
                sink.number(Field::Status, u64::from(response.status_code.code()));
                (response.headers, response.body, true)
            }
        };
        let (mut vias, mut routed, mut reachable) = (0, false, false);
        for header in headers.iter() {
            match header {
                Header::Via(value) => {
                    vias += 1;
                    if vias == 1 {
                        via(&typed::Via::parse(value.value()).map_err(Refusal::of)?, VIA, sink)?;
                    } else if vias == 2 && response {
                        via(&typed::Via::parse(value.value()).map_err(Refusal::of)?, NEXT_VIA, sink)?;
                    }
                }
                Header::From(value) => {
                    if let Some(tag) = typed::From::parse(value.value()).map_err(Refusal::of)?.tag() {
                        sink.text(Field::FromTag, tag.value().as_bytes());
                    }
                }
                Header::To(value) => {
                    if let Some(tag) = typed::To::parse(value.value()).map_err(Refusal::of)?.tag() {
                        sink.text(Field::ToTag, tag.value().as_bytes());
                    }
                }
                Header::CallId(value) => sink.text(Field::CallId, value.value().as_bytes()),
                Header::CSeq(value) => {
                    let cseq = typed::CSeq::parse(value.value()).map_err(Refusal::of)?;
                    sink.number(Field::CSeqNumber, u64::from(cseq.seq));
                    sink.text(Field::CSeqMethod, method(cseq.method).as_bytes());
                }
                Header::MaxForwards(value) => number(value.value(), Field::MaxForwards, sink)?,
                Header::Route(value) if !routed => {
                    routed = true;
                    uri(&typed::Route::parse(value.value()).map_err(Refusal::of)?.uri, ROUTE, sink);
                }
                Header::Contact(value) if !reachable => {
                    reachable = true;
                    uri(&typed::Contact::parse(value.value()).map_err(Refusal::of)?.uri, CONTACT, sink);
                }
                Header::ContentLength(value) => number(value.value(), Field::ContentLength, sink)?,
                Header::Authorization(value) => {
                    let credentials = typed::Authorization::parse(value.value()).map_err(Refusal::of)?;
                    sink.text(Field::AuthUsername, credentials.username.as_bytes());
                    sink.text(Field::AuthRealm, credentials.realm.as_bytes());
                    sink.text(Field::AuthNonce, credentials.nonce.as_bytes());
                    sink.text(Field::AuthResponse, credentials.response.as_bytes());
                    if let Some(rsipstack::sip::headers::auth::AuthQop::Auth { cnonce, nc }) =
                        &credentials.qop
                    {
                        sink.text(Field::AuthCnonce, cnonce.as_bytes());
                        sink.number(Field::AuthNonceCount, u64::from(*nc));
                    }
                }
                _ => {}
            }
        }
        sink.text(Field::Body, &body);
        Ok(())
    }
}

fn number<S: Sink>(text: &str, field: Field, sink: &mut S) -> Result<(), Refusal> {
    sink.number(field, u64::from(text.parse::<u32>().map_err(Refusal::of)?));
    Ok(())
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Invite => "INVITE",
        Method::Register => "REGISTER",
        Method::Bye => "BYE",
        _ => "other",
    }
}

fn via<S: Sink>(via: &typed::Via, fields: ViaFields, sink: &mut S) -> Result<(), Refusal> {
    if let Some(field) = fields.transport {
        sink.text(field, if via.transport == Transport::Udp { UDP } else { OTHER_TRANSPORT });
    }
    let sent_by = via.sent_by();
    host(&sent_by.host, fields.host, sink);
    if let Some(port) = &sent_by.port {
        sink.number(fields.port, u64::from(port.0));
    }
    if let Some(branch) = via.branch() {
        sink.text(fields.branch, branch.value().as_bytes());
    }
    if let Some(received) = via.received() {
        sink.address(fields.received, received.map_err(Refusal::of)?);
    }
    if let Some(rport) = via.rport() {
        sink.number(fields.rport, u64::from(rport.unwrap_or(0)));
    }
    Ok(())
}

fn uri<S: Sink>(uri: &Uri, fields: UriFields, sink: &mut S) {
    if let (Some(field), Some(user)) = (fields.user, uri.user()) {
        sink.text(field, user.as_bytes());
    }
    host(uri.host(), fields.host, sink);
    if let Some(port) = &uri.host_with_port.port {
        sink.number(fields.port, u64::from(port.0));
    }
}

fn host<S: Sink>(host: &Host, field: Field, sink: &mut S) {
    match host {
        Host::Domain(name) => sink.text(field, name.0.as_bytes()),
        Host::IpAddr(address) => sink.address(field, *address),
    }
}

/// A message whose topmost Via and next Request-URI are typed already: that is not counted as editing.
#[derive(Debug)]
pub struct Edited {
    message: SipMessage,
    via: typed::Via,
    next: Uri,
}

impl Editor for RsipStack {
    type Message = Edited;

    fn parse(&mut self, sample: &Sample) -> Result<Edited, Refusal> {
        let message = SipMessage::try_from(sample.bytes.as_slice()).map_err(Refusal::of)?;
        let via = message.via_header().and_then(|via| via.typed()).map_err(Refusal::of)?;
        let next = Uri::try_from(sample.change.uri.as_str()).map_err(Refusal::of)?;
        Ok(Edited { message, via, next })
    }

    fn forward(
        &mut self,
        edited: &mut Edited,
        change: &Change,
        sent: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Refusal> {
        let SipMessage::Request(request) = &mut edited.message else {
            return Err(Refusal("not a request".into()));
        };
        std::mem::swap(&mut request.uri, &mut edited.next);
        mark(&mut edited.via, change);
        let headers = std::mem::take(&mut request.headers);
        let mut lines: Vec<Header> = Vec::with_capacity(16);
        lines.push(Via::new(change.via.as_str()).into());
        lines.push(RecordRoute::new(change.record_route.as_str()).into());
        let mut top = true;
        for header in headers.0 {
            lines.push(match header {
                Header::Via(_) if top => {
                    top = false;
                    Via::new(edited.via.to_string()).into()
                }
                Header::MaxForwards(value) => {
                    let hops: u32 = value.value().parse().map_err(Refusal::of)?;
                    MaxForwards::new((hops - 1).to_string()).into()
                }
                other => other,
            });
        }
        request.headers = Headers(lines);
        sent(&request.to_bytes());
        Ok(())
    }

    fn strip_via(&mut self, edited: &mut Edited, sent: &mut dyn FnMut(&[u8])) -> Result<(), Refusal> {
        let mut top = true;
        let SipMessage::Response(response) = &mut edited.message else {
            return Err(Refusal("not a response".into()));
        };
        response.headers.retain(|header| !(matches!(header, Header::Via(_)) && std::mem::take(&mut top)));
        sent(&response.to_bytes());
        Ok(())
    }

    fn reply(
        &mut self,
        edited: &mut Edited,
        code: u16,
        change: &Change,
        sent: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Refusal> {
        mark(&mut edited.via, change);
        let mut lines: Vec<Header> = Vec::with_capacity(8);
        let mut top = true;
        for header in edited.message.headers().iter() {
            match header {
                Header::Via(_) if top => {
                    top = false;
                    lines.push(Via::new(edited.via.to_string()).into());
                }
                Header::To(to) => {
                    lines.push(To::new(format!("{};tag={}", to.value(), change.tag)).into());
                }
                Header::Via(_) | Header::From(_) | Header::CallId(_) | Header::CSeq(_) => {
                    lines.push(header.clone());
                }
                _ => {}
            }
        }
        lines.push(ContentLength::new("0").into());
        let response = Response {
            status_code: code.into(),
            headers: Headers(lines),
            version: Version::V2,
            body: Vec::new(),
            ..Response::default()
        };
        sent(&response.to_bytes());
        Ok(())
    }
}

/// Sets `received` and `rport`.
fn mark(via: &mut typed::Via, change: &Change) {
    let (address, port) = change.source;
    via.params.retain(|param| !matches!(param, Param::Rport(_) | Param::Received(_)));
    via.params.push(Param::Rport(Some(port)));
    via.params.push(Param::Received(Received::new(address.to_string())));
}
