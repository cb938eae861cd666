//! Strowger itself, used as a proxy uses it: index, start line, then the typed views of what it needs.

use std::net::IpAddr;

use strowger_sip::{
    Contact, Credentials, DigestCredentials, Hash, Host, Index, Message, NameAddr, StartLine, Transport, Uri,
    Via,
};

use crate::case::Refusal;
use crate::sip::facts::{
    CONTACT, Field, NEXT_VIA, OTHER_TRANSPORT, Parser, ROUTE, Sink, UDP, URI, UriFields, VIA, ViaFields,
};

/// The library under test; the index is reused, as a worker does.
#[derive(Debug)]
pub struct Strowger(pub Index);

impl Parser for Strowger {
    #[inline]
    fn read<S: Sink>(&mut self, datagram: &[u8], sink: &mut S) -> Result<(), Refusal> {
        let message = Message::parse(datagram, &mut self.0).map_err(Refusal::of)?;
        match message.start() {
            StartLine::Request(line) => {
                sink.text(Field::Method, line.method.as_bytes());
                uri(&message.request_uri().map_err(Refusal::of)?, URI, sink);
                via(&message.top_via().map_err(Refusal::of)?, VIA, sink);
                if let Some(number) = message.max_forwards().map_err(Refusal::of)? {
                    sink.number(Field::MaxForwards, u64::from(number));
                }
                for credentials in message.authorizations() {
                    if let Credentials::Digest(digest) = credentials.map_err(Refusal::of)? {
                        authorization(&digest, sink);
                    }
                }
                if let Some(route) = message.routes().next() {
                    uri(&route.map_err(Refusal::of)?.uri().map_err(Refusal::of)?, ROUTE, sink);
                }
            }
            StartLine::Status(line) => {
                sink.number(Field::Status, u64::from(line.code));
                let mut vias = message.vias();
                if let Some(top) = vias.next() {
                    via(&top.map_err(Refusal::of)?, VIA, sink);
                }
                if let Some(next) = vias.next() {
                    via(&next.map_err(Refusal::of)?, NEXT_VIA, sink);
                }
            }
        }
        tag(&message.from().map_err(Refusal::of)?, Field::FromTag, sink);
        tag(&message.to().map_err(Refusal::of)?, Field::ToTag, sink);
        sink.text(Field::CallId, message.call_id().map_err(Refusal::of)?);
        let cseq = message.cseq().map_err(Refusal::of)?;
        sink.number(Field::CSeqNumber, u64::from(cseq.number));
        sink.text(Field::CSeqMethod, cseq.method.as_bytes());
        if let Some(contact) = message.contacts().next()
            && let Contact::Address(address) = contact.map_err(Refusal::of)?
        {
            uri(&address.uri().map_err(Refusal::of)?, CONTACT, sink);
        }
        if let Some(length) = message.content_length().map_err(Refusal::of)? {
            sink.number(Field::ContentLength, u64::from(length));
        }
        sink.text(Field::Body, message.body());
        Ok(())
    }
}

fn authorization<S: Sink>(digest: &DigestCredentials<'_>, sink: &mut S) {
    sink.text(Field::AuthUsername, digest.username);
    sink.text(Field::AuthRealm, digest.realm);
    sink.text(Field::AuthNonce, digest.nonce);
    sink.text(Field::AuthUri, digest.uri);
    match &digest.response {
        Hash::Bits128(bits) => sink.hash(Field::AuthResponse, bits),
        Hash::Bits256(bits) => sink.hash(Field::AuthResponse, bits),
    }
    if let Some(cnonce) = digest.cnonce {
        sink.text(Field::AuthCnonce, cnonce);
    }
    if let Some(count) = digest.nc {
        sink.number(Field::AuthNonceCount, u64::from(count));
    }
}

fn via<S: Sink>(via: &Via<'_>, fields: ViaFields, sink: &mut S) {
    if let Some(transport) = fields.transport {
        sink.text(transport, if via.transport() == Transport::Udp { UDP } else { OTHER_TRANSPORT });
    }
    host(&via.host(), fields.host, sink);
    if let Some(port) = via.port() {
        sink.number(fields.port, u64::from(port));
    }
    if let Some(branch) = via.branch() {
        sink.text(fields.branch, branch);
    }
    if let Some(received) = via.received() {
        sink.address(fields.received, received);
    }
    if let Some(rport) = via.rport() {
        sink.number(fields.rport, u64::from(rport.unwrap_or(0)));
    }
}

fn uri<S: Sink>(uri: &Uri<'_>, fields: UriFields, sink: &mut S) {
    if let (Some(field), Some(user)) = (fields.user, uri.user()) {
        sink.text(field, user);
    }
    if let Some(name) = &uri.host() {
        host(name, fields.host, sink);
    }
    if let Some(port) = uri.port() {
        sink.number(fields.port, u64::from(port));
    }
}

fn host<S: Sink>(host: &Host<'_>, field: Field, sink: &mut S) {
    match host {
        Host::Name(name) => sink.text(field, name),
        Host::V4(address) => sink.address(field, IpAddr::V4(*address)),
        Host::V6(address) => sink.address(field, IpAddr::V6(*address)),
    }
}

fn tag<S: Sink>(address: &NameAddr<'_>, field: Field, sink: &mut S) {
    if let Some(tag) = address.tag() {
        sink.text(field, tag);
    }
}
