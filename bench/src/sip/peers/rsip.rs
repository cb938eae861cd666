//! rsip: a request or response is parsed into owned values; each header becomes typed by its own call.
//!
//! The headers are taken in one pass and by value, the cheapest way its interface offers: looking each one up by name
//! walks the list every time, and `typed()` on a borrowed header clones it first. It leaves Content-Length to the
//! caller: the body is whatever follows the empty line.

use ::rsip::common::uri::{Host, Param};
use ::rsip::headers::{ToTypedHeader as _, UntypedHeader as _};
use ::rsip::message::{HasHeaders as _, HeadersExt as _};
use ::rsip::{Header, Headers, Method, Response, SipMessage, Transport, Uri, headers, typed};

use super::Editor;
use crate::case::Refusal;
use crate::sip::facts::{
    CONTACT, Field, NEXT_VIA, OTHER_TRANSPORT, Parser, ROUTE, Sink, UDP, URI, UriFields, VIA, ViaFields,
};
use crate::sip::messages::{Change, Sample};

/// The version that Cargo.toml pins.
pub const VERSION: &str = "0.4.0";

/// rsip's parser.
#[derive(Debug)]
pub struct Rsip;

impl Parser for Rsip {
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
        for header in headers {
            match header {
                Header::Via(value) => {
                    vias += 1;
                    if vias == 1 {
                        via(&value.into_typed().map_err(Refusal::of)?, VIA, sink)?;
                    } else if vias == 2 && response {
                        via(&value.into_typed().map_err(Refusal::of)?, NEXT_VIA, sink)?;
                    }
                }
                Header::From(value) => {
                    if let Some(tag) = value.into_typed().map_err(Refusal::of)?.tag() {
                        sink.text(Field::FromTag, tag.value().as_bytes());
                    }
                }
                Header::To(value) => {
                    if let Some(tag) = value.into_typed().map_err(Refusal::of)?.tag() {
                        sink.text(Field::ToTag, tag.value().as_bytes());
                    }
                }
                Header::CallId(value) => sink.text(Field::CallId, value.value().as_bytes()),
                Header::CSeq(value) => {
                    let cseq = value.into_typed().map_err(Refusal::of)?;
                    sink.number(Field::CSeqNumber, u64::from(cseq.seq));
                    sink.text(Field::CSeqMethod, method(cseq.method).as_bytes());
                }
                Header::MaxForwards(value) => {
                    sink.number(Field::MaxForwards, u64::from(value.num().map_err(Refusal::of)?));
                }
                Header::Route(value) if !routed => {
                    routed = true;
                    if let Some(first) = value.into_typed().map_err(Refusal::of)?.uris().first() {
                        uri(&first.uri, ROUTE, sink);
                    }
                }
                Header::Contact(value) if !reachable => {
                    reachable = true;
                    uri(&value.into_typed().map_err(Refusal::of)?.uri, CONTACT, sink);
                }
                Header::ContentLength(value) => {
                    sink.number(Field::ContentLength, u64::from(value.length().map_err(Refusal::of)?));
                }
                Header::Authorization(value) => {
                    let credentials = value.into_typed().map_err(Refusal::of)?;
                    sink.text(Field::AuthUsername, credentials.username.as_bytes());
                    sink.text(Field::AuthRealm, credentials.realm.as_bytes());
                    sink.text(Field::AuthNonce, credentials.nonce.as_bytes());
                    sink.text(Field::AuthResponse, credentials.response.as_bytes());
                    if let Some(::rsip::headers::auth::AuthQop::Auth { cnonce, nc }) = &credentials.qop {
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
    host(via.uri.host(), fields.host, sink);
    if let Some(port) = via.uri.port() {
        sink.number(fields.port, u64::from(*port.value()));
    }
    if let Some(branch) = via.branch() {
        sink.text(fields.branch, branch.value().as_bytes());
    }
    if let Some(received) = via.received().map_err(Refusal::of)? {
        sink.address(fields.received, received);
    }
    for param in &via.params {
        if let Param::Other(name, value) = param
            && name.value().eq_ignore_ascii_case("rport")
        {
            let port = value.as_ref().map_or(Ok(0), |value| value.value().parse::<u16>());
            sink.number(fields.rport, u64::from(port.map_err(Refusal::of)?));
        }
    }
    Ok(())
}

fn uri<S: Sink>(uri: &Uri, fields: UriFields, sink: &mut S) {
    if let (Some(field), Some(user)) = (fields.user, uri.user()) {
        sink.text(field, user.as_bytes());
    }
    host(uri.host(), fields.host, sink);
    if let Some(port) = uri.port() {
        sink.number(fields.port, u64::from(*port.value()));
    }
}

fn host<S: Sink>(host: &Host, field: Field, sink: &mut S) {
    match host {
        Host::Domain(name) => sink.text(field, name.value().as_bytes()),
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

impl Editor for Rsip {
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
        lines.push(headers::Via::new(change.via.as_str()).into());
        lines.push(headers::RecordRoute::new(change.record_route.as_str()).into());
        let mut top = true;
        for header in headers {
            lines.push(match header {
                Header::Via(_) if top => {
                    top = false;
                    headers::Via::new(edited.via.to_string()).into()
                }
                Header::MaxForwards(value) => {
                    headers::MaxForwards::from(value.num().map_err(Refusal::of)? - 1).into()
                }
                other => other,
            });
        }
        request.headers = Headers::from(lines);
        sent(request.to_string().as_bytes());
        Ok(())
    }

    fn strip_via(&mut self, edited: &mut Edited, sent: &mut dyn FnMut(&[u8])) -> Result<(), Refusal> {
        let mut top = true;
        edited
            .message
            .headers_mut()
            .retain(|header| !(matches!(header, Header::Via(_)) && std::mem::take(&mut top)));
        sent(edited.message.to_string().as_bytes());
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
                    lines.push(headers::Via::new(edited.via.to_string()).into());
                }
                Header::To(to) => {
                    lines.push(headers::To::new(format!("{};tag={}", to.value(), change.tag)).into());
                }
                Header::Via(_) | Header::From(_) | Header::CallId(_) | Header::CSeq(_) => {
                    lines.push(header.clone());
                }
                _ => {}
            }
        }
        lines.push(headers::ContentLength::from(0).into());
        let response = Response {
            status_code: code.into(),
            headers: Headers::from(lines),
            version: ::rsip::Version::V2,
            body: Vec::new(),
        };
        sent(response.to_string().as_bytes());
        Ok(())
    }
}

/// Sets `received` and `rport`.
fn mark(via: &mut typed::Via, change: &Change) {
    let (address, port) = change.source;
    for param in &mut via.params {
        if let Param::Other(name, value) = param
            && name.value().eq_ignore_ascii_case("rport")
        {
            *value = Some(port.to_string().into());
        }
    }
    via.params.push(Param::Received(address.to_string().into()));
}
