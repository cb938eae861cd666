//! What is done to hostile bytes, and what must then hold. Fuzz targets and ordinary tests share it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // no target uses all of it; a test may unwrap

use std::hint::black_box;

use strowger_sip::verdict::{Verdict, judge};
use strowger_sip::{
    AuthenticationInfo, Buffer, CSeq, Challenge, Contact, Credentials, Date, DialogReference, Disposition,
    EditError, EditPlan, Event, Fault, Hash, HeaderName, Host, Index, MediaType, Message, Method, NameAddr,
    Params, Privacy, RAck, Reply, RetryAfter, SdpFacts, SessionExpires, SubscriptionState, Uri, ValueError,
    Via, escape_user, unescape_into,
};

/// Parse: offsets lie inside, header lines tile the header section, verdict and parser agree.
pub fn parse(data: &[u8]) {
    let mut index = Index::new();
    match Message::parse(data, &mut index) {
        Ok(m) => {
            check_message(&m);
            assert!(m.headers_end() + 2 == m.body_range().start);
            let end = m.all().fold(m.first_line_end(), |at, header| {
                assert_eq!(header.line_range.start, at, "a byte that is in no header line");
                header.line_range.end
            });
            assert_eq!(end, m.headers_end());
        }
        Err(error) => {
            assert!(error.at <= data.len(), "{error}");
            black_box(error.to_string());
            let status = error.status();
            let mut index = Index::new();
            if let Some(m) = Message::salvage(data, &mut index) {
                check_message(&m);
                assert!(status.is_none() || m.is_request());
            }
        }
    }
    let mut index = Index::new();
    if let Verdict::Answer(status) = judge(data, &mut index) {
        assert!((400..600).contains(&status));
    }
}

fn check_message(m: &Message<'_>) {
    let extent = m.extent();
    assert!(extent.end <= m.datagram().len() && m.body_range().end == extent.end);
    assert_eq!(m.bytes(), &m.datagram()[extent.clone()]);
    let mut at = m.first_line_end();
    assert!(at <= extent.end);
    for header in m.all() {
        // Salvaged messages may have lines between the headers that were left out.
        assert!(header.line_range.start >= at && header.line_range.end <= extent.end);
        at = header.line_range.end;
        assert!(
            header.value_range.start >= header.line_range.start
                && header.value_range.end <= header.line_range.end
        );
        assert_eq!(&m.datagram()[header.value_range.clone()], header.value);
        assert_eq!(HeaderName::from_bytes(header.raw_name), header.name);
        assert!(!header.raw_name.is_empty());
        assert_eq!(header.value.trim_ascii(), header.value);
    }
    for name in HeaderName::ALL {
        let expected = m.all().filter(|h| h.name == *name).count();
        assert_eq!(m.headers(*name).count(), expected);
        assert_eq!(m.has(*name), expected > 0);
        assert_eq!(m.header(*name), m.all().find(|h| h.name == *name));
        assert_eq!(m.single(*name).is_err(), expected > 1);
    }
}

/// Every typed view of every header, of the message that `data` may be and of `data` as a value alone.
pub fn views(data: &[u8]) {
    let mut index = Index::new();
    if let Ok(m) = Message::parse(data, &mut index) {
        read_views(&m);
    }
    let mut index = Index::new();
    if let Some(m) = Message::salvage(data, &mut index) {
        read_views(&m);
    }
    value_views(data);
}

fn located<T>(m: &Message<'_>, result: Result<T, ValueError>) -> Option<T> {
    if let Err(error) = &result {
        assert!(error.at <= m.datagram().len(), "{error}");
        black_box(error.to_string());
    }
    result.ok()
}

fn read_views(m: &Message<'_>) {
    let _ = black_box(m.start());
    if let Some(essentials) = located(m, m.essentials()) {
        check_via(m, &essentials.via);
        check_address(m, &essentials.from);
        check_address(m, &essentials.to);
        assert!(!essentials.call_id.is_empty());
    }
    for via in m.vias() {
        if let Some(via) = located(m, via) {
            check_via(m, &via);
        }
    }
    let addresses = m.routes().chain(m.record_routes()).chain(m.path()).chain(m.service_routes());
    for address in addresses.chain(m.asserted_identities()).chain(m.preferred_identities()) {
        if let Some(address) = located(m, address) {
            check_address(m, &address);
        }
    }
    for contact in m.contacts() {
        if let Some(Contact::Address(contact)) = located(m, contact) {
            check_address(m, &contact.address);
            assert!(contact.q().is_none_or(|q| q <= 1000));
            black_box((contact.expires(), contact.reg_id(), contact.instance(), contact.wants_outbound()));
        }
    }
    for address in [m.reply_to(), m.refer_to(), m.referred_by()] {
        if let Some(Some(address)) = located(m, address) {
            check_address(m, &address);
        }
    }
    let tokens = m.require().chain(m.proxy_require()).chain(m.supported()).chain(m.unsupported());
    for token in tokens.chain(m.allow()).chain(m.allow_events()) {
        if let Some(token) = located(m, token) {
            assert!(!token.0.is_empty());
        }
    }
    for credentials in m.authorizations().chain(m.proxy_authorizations()) {
        located(m, credentials);
    }
    for challenge in m.www_authenticates().chain(m.proxy_authenticates()) {
        located(m, challenge);
    }
    for v in m.accept() {
        let _ = located(m, v);
    }
    for v in m.reasons() {
        let _ = located(m, v);
    }
    for v in m.warnings() {
        let _ = located(m, v);
    }
    located(m, m.authentication_info());
    located(m, m.replaces());
    located(m, m.join());
    located(m, m.target_dialog());
    located(m, m.rack());
    located(m, m.rseq());
    located(m, m.event());
    located(m, m.subscription_state());
    located(m, m.session_expires());
    located(m, m.min_se());
    located(m, m.min_expires());
    located(m, m.flow_timer());
    located(m, m.max_breadth());
    located(m, m.max_forwards());
    located(m, m.expires());
    located(m, m.content_length());
    located(m, m.retry_after());
    located(m, m.privacy());
    located(m, m.date());
    located(m, m.content_type());
    located(m, m.content_disposition());
    black_box(m.sdp());
}

fn check_via(m: &Message<'_>, via: &Via<'_>) {
    assert_eq!(&m.datagram()[via.range()], via.as_bytes());
    assert!(via.branch().is_none_or(|b| !b.is_empty()));
    assert_eq!(via.branch(), via.params().find(b"branch").and_then(|p| p.value));
    assert_eq!(via.received().is_some(), via.params().contains(b"received"));
    assert_eq!(via.rport().is_some(), via.params().contains(b"rport"));
    assert!(via.port() != Some(0));
    // A value on its own reads the same.
    let alone = Via::parse(via.as_bytes()).unwrap();
    assert_eq!(
        (alone.host(), alone.port(), alone.branch(), alone.transport()),
        (via.host(), via.port(), via.branch(), via.transport())
    );
}

fn check_address(m: &Message<'_>, address: &NameAddr<'_>) {
    assert_eq!(&m.datagram()[address.range()], address.as_bytes());
    assert_eq!(&m.datagram()[address.uri_range()], address.uri_bytes());
    assert_eq!(address.tag(), address.params().find(b"tag").and_then(|p| p.value));
    if let Some(uri) = located(m, address.uri()) {
        check_uri(&uri);
    }
    assert_eq!(NameAddr::parse(address.as_bytes()).unwrap().uri_bytes(), address.uri_bytes());
}

fn value_views(data: &[u8]) {
    let _ = black_box((Via::parse(data), NameAddr::parse(data), Uri::parse(data), Host::parse(data)));
    let _ =
        black_box((CSeq::parse(data), RAck::parse(data), Event::parse(data), SubscriptionState::parse(data)));
    let _ = black_box((
        DialogReference::parse(data),
        DialogReference::parse_target(data),
        SessionExpires::parse(data),
    ));
    let _ = black_box((
        RetryAfter::parse(data),
        Privacy::parse(data),
        MediaType::parse(data),
        Disposition::parse(data),
    ));
    let _ = black_box((Params::parse(data), HeaderName::from_bytes(data), SdpFacts::read(data)));
    if let Ok(date) = Date::parse(data) {
        let seconds = date.unix_seconds();
        if date.second < 60 {
            assert!(Date::format(seconds)[4..].eq_ignore_ascii_case(&data[4..]));
        }
    }
    authorization(data);
    uri(data);
}

/// Credentials, challenges and hashes, of `data` and of what it begins with.
pub fn authorization(data: &[u8]) {
    for text in [data, &data[..data.len() / 2]] {
        match Credentials::parse(text) {
            Ok(Credentials::Digest(digest)) => {
                assert!(digest.qop.is_none() || (digest.nc.is_some() && digest.cnonce.is_some()));
                for value in [digest.username, digest.realm, digest.nonce, digest.uri] {
                    let inside = value.as_ptr_range();
                    assert!(value.is_empty() || text.as_ptr_range().contains(&inside.start));
                    black_box(strowger_sip::quoted::unescape(value).count());
                }
                assert!(digest.response.matches(&digest.response));
            }
            Ok(Credentials::Other { scheme, .. }) => assert!(!scheme.is_empty()),
            Err(error) => assert!(error.at <= text.len(), "{error}"),
        }
        let _ = black_box((Challenge::parse(text), AuthenticationInfo::parse(text)));
        assert_eq!(
            Hash::from_hex(text).is_some(),
            (text.len() == 32 || text.len() == 64) && text.iter().all(u8::is_ascii_hexdigit)
        );
    }
}

/// A URI: parsed, taken apart, put together again with another user, host and port.
pub fn uri(data: &[u8]) {
    match Uri::parse(data) {
        Ok(uri) => check_uri(&uri),
        Err(error) => assert!(error.at <= data.len(), "{error}"),
    }
    let mut room = [0; 192];
    let user = &data[..data.len().min(64)];
    let escaped = escape_user(user, &mut room).unwrap();
    if !user.is_empty() {
        let made = [b"sip:", escaped, b"@h"].concat();
        let made = Uri::parse(&made).unwrap();
        let mut back = [0; 192];
        assert_eq!(unescape_into(made.user().unwrap(), &mut back), Ok(user));
    }
}

fn check_uri(uri: &Uri<'_>) {
    assert!(uri.is_equivalent(uri), "a URI is not equal to itself: {}", uri.as_bytes().escape_ascii());
    let mut room = [0; strowger_sip::limit::REQUEST_URI];
    for part in [uri.user(), uri.password()].into_iter().flatten() {
        assert!(unescape_into(part, &mut room).is_ok());
    }
    for param in uri.params().iter() {
        assert!(!param.name.is_empty() && param.value.is_none_or(|v| unescape_into(v, &mut room).is_ok()));
    }
    black_box(uri.header_pairs().count());
    if uri.host().is_some() {
        let made = [b"sip:u@", uri.host_bytes(), b":5070", uri.params().as_bytes()].concat();
        let again = Uri::parse(&made).unwrap_or_else(|e| panic!("{e}: {}", made.escape_ascii()));
        assert_eq!((again.host(), again.port(), again.params()), (uri.host(), Some(5070), uri.params()));
        assert_eq!(uri.is_equivalent(&again), again.is_equivalent(uri));
    }
}

/// The topmost Via goes the same way, whether it was read before or not.
fn removes_the_same_via(m: &Message<'_>, plan: &mut EditPlan) {
    let Ok(top) = m.top_via() else { return };
    let mut written = [(); 2].map(|()| vec![0; m.datagram().len()]);
    let [first, second] = &mut written;
    plan.begin(m);
    let unread = plan.remove_top_via(m).map(|()| plan.write_to(m.datagram(), first).unwrap().to_vec());
    plan.begin(m);
    let read = plan.remove_via(m, &top).map(|()| plan.write_to(m.datagram(), second).unwrap().to_vec());
    // Of a list with something unreadable behind its first value, only what was not read again is removed.
    if unread.is_ok() || m.vias().take(2).all(|via| via.is_ok()) {
        assert_eq!(read, unread);
    }
}

/// The edits a proxy makes, in place with little or much room: equal to a naive editor's, what was not edited identical,
/// and what comes out parses as what went in.
pub fn edit(data: &[u8]) {
    let (control, data) = data.split_at(data.len().min(8));
    let knob = |i: usize| usize::from(control.get(i).copied().unwrap_or(0));
    let mut index = Index::new();
    let Ok(m) = Message::parse(data, &mut index) else { return };
    let mut plan = EditPlan::new();
    removes_the_same_via(&m, &mut plan);
    plan.begin(&m);
    let mut refused = 0;
    let mut ask = |result: Result<(), EditError>| refused += usize::from(result.is_err());
    let names = HeaderName::ALL;
    let removed = names[knob(0) % names.len()];
    ask(plan.remove_header(&m, removed));
    ask(plan.prepend_header(&m, HeaderName::Via, &[b"SIP/2.0/UDP 10.0.0.1", b";branch=z9hG4bKx"]));
    ask(plan.append_header(&m, HeaderName::Server, &[b"S"]));
    if m.is_request() {
        ask(plan.replace_request_uri(&m, b"sip:new@example.net"));
        ask(plan.decrement_max_forwards(&m));
        ask(plan.set_top_via_params(&m, Some([192, 0, 2, 1].into()), Some(5060)));
        ask(plan.remove_first_route(&m));
    } else {
        ask(plan.remove_top_via(&m));
    }
    let from = m.extent().start + knob(1) * 256 + knob(2);
    let _ = plan.replace(from..from + knob(3), b"");
    // That last one may have cut anything away; only without it is the result a message for certain.
    let plain = plan.clone();
    let mut copied = vec![0; data.len() + 1024];
    let expected = match plan.write_to(data, &mut copied) {
        Ok(written) => written.to_vec(),
        Err(error) => {
            assert!(matches!(error, EditError::NoRoom { .. }));
            return;
        }
    };
    assert_eq!(expected.len(), plan.edited_len());
    let (head, tail) = (knob(4) * 3, knob(5) * 3);
    let mut room = vec![0xaa; head + data.len() + tail];
    room[head..head + data.len()].copy_from_slice(data);
    let mut buffer = Buffer::new(&mut room, head..head + data.len()).unwrap();
    match plain.apply(&mut buffer) {
        Ok(()) => assert_eq!(buffer.message(), expected),
        Err(error) => {
            assert!(matches!(error, EditError::NoRoom { .. }), "{error}");
            assert_eq!(buffer.message(), data, "a refused edit changed the message");
            assert!(expected.len() > head + data.len() + tail);
        }
    }
    if refused == 0 && knob(3) == 0 {
        let mut other = Index::new();
        let edited = match Message::parse(&expected, &mut other) {
            Ok(edited) => edited,
            Err(error) => {
                assert_eq!(error.fault, Fault::TooManyHeaders, "{error}: {}", expected.escape_ascii());
                return;
            }
        };
        assert_eq!(
            edited.body().len(),
            if removed == HeaderName::ContentLength { edited.body().len() } else { m.body().len() }
        );
        let untouched = |h: &strowger_sip::Header<'_>| {
            !matches!(
                h.name,
                HeaderName::Via | HeaderName::MaxForwards | HeaderName::Route | HeaderName::Server
            ) && h.name != removed
        };
        let lines = |m: &Message<'_>| {
            m.all().filter(untouched).map(|h| m.datagram()[h.line_range].to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(lines(&m), lines(&edited));
        if !matches!(removed, HeaderName::Via | HeaderName::Server) {
            assert!(!edited.has(removed) || matches!(removed, HeaderName::MaxForwards));
        }
        if m.is_request() {
            assert_eq!(edited.request().unwrap().uri, b"sip:new@example.net");
            assert_eq!(edited.top_via().unwrap().branch(), Some(&b"z9hG4bKx"[..]));
        }
    }
}

/// A reply to whatever can be answered parses, and corresponds.
pub fn reply(data: &[u8]) {
    let mut index = Index::new();
    let sound = Message::parse(data, &mut index).is_ok();
    let Some(m) = Message::salvage(data, &mut index) else {
        assert!(!sound, "a sound message cannot be salvaged");
        return;
    };
    let mut plan = EditPlan::new();
    let reply = Reply {
        code: 400,
        reason: b"Bad",
        to_tag: Some(b"tt"),
        received: Some("2001:db8::1".parse().unwrap()),
        rport: Some(65535),
        record_route: true,
        skip_vias: 0,
    };
    match plan.reply(&m, &reply) {
        Ok(()) => {}
        Err(EditError::TooMany) => return,
        Err(error) => {
            assert!(!m.is_request() || !m.has(HeaderName::Via), "{error}");
            return;
        }
    }
    let mut copied = vec![0; data.len() + 512];
    let Ok(written) = plan.write_to(data, &mut copied) else { return };
    assert_eq!(written, naive_reply(&m, &reply), "{}", data.escape_ascii());
    if let Ok(headers) = m.essentials() {
        let mut read = EditPlan::new();
        read.reply_read(&m, &headers, &reply).unwrap();
        assert_eq!(read.write_to(data, &mut vec![0; data.len() + 512]).unwrap(), written);
    }
    let mut room = vec![0xaa; data.len() + 600];
    room[300..300 + data.len()].copy_from_slice(data);
    let mut buffer = Buffer::new(&mut room, 300..300 + data.len()).unwrap();
    plan.apply(&mut buffer).unwrap();
    assert_eq!(buffer.message(), written);
    let mut other = Index::new();
    let answer =
        Message::parse(written, &mut other).unwrap_or_else(|e| panic!("{e}: {}", written.escape_ascii()));
    assert_eq!(answer.status().unwrap().code, 400);
    assert_eq!(answer.headers(HeaderName::Via).count(), m.headers(HeaderName::Via).count());
    for name in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
        assert_eq!(answer.header(name).map(|h| h.value), m.header(name).map(|h| h.value));
    }
    if let Ok(via) = m.top_via() {
        let answered = answer.top_via().unwrap();
        assert_eq!((answered.branch(), answered.host()), (via.branch(), via.host()));
        assert_eq!(answered.received(), reply.received);
        assert_eq!(answered.rport(), via.rport().map(|_| Some(65535)));
    }
    let to = |m: &Message<'_>| {
        m.header(HeaderName::To).and_then(|h| NameAddr::parse(h.value).ok().map(|a| a.uri_bytes().to_vec()))
    };
    assert_eq!(to(&m), to(&answer));
    assert!(answer.body().is_empty());
}

/// The reply as one would write it who copies lines.
fn naive_reply(m: &Message<'_>, reply: &Reply<'_>) -> Vec<u8> {
    let code = reply.code.to_string();
    let mut out = [b"SIP/2.0 ", code.as_bytes(), b" ", reply.reason, b"\r\n"].concat();
    let mut seen = Vec::new();
    for header in m.all() {
        let mut line = m.datagram()[header.line_range.clone()].to_vec();
        let start = header.line_range.start;
        let first = !seen.contains(&header.name);
        match header.name {
            HeaderName::Via => {
                if first && let Ok(via) = m.top_via() {
                    let end = via.range().end - start;
                    let params = || via.params().iter();
                    let place = |part: &[u8]| part.as_ptr() as usize - m.datagram().as_ptr() as usize - start;
                    // From the back, so that the places stay.
                    let mut changes = Vec::new();
                    if let Some(address) = reply.received {
                        let text = address.to_string();
                        match params().find(|p| p.name.eq_ignore_ascii_case(b"received")) {
                            Some(found) => {
                                let value = found.value.unwrap();
                                changes.push((place(value)..place(value) + value.len(), text));
                            }
                            None => changes.push((end..end, format!(";received={text}"))),
                        }
                    }
                    if let Some(port) = reply.rport
                        && let Some(found) = params().find(|p| p.name.eq_ignore_ascii_case(b"rport"))
                    {
                        let last = found.value.unwrap_or(found.name);
                        let text = format!("rport={port}");
                        changes.push((place(found.name)..place(last) + last.len(), text));
                    }
                    changes.sort_by_key(|(range, _)| (range.start, range.end));
                    // What is put after a Via that ends in its rport comes after that.
                    for (range, text) in changes.into_iter().rev() {
                        line.splice(range, text.into_bytes());
                    }
                }
            }
            HeaderName::RecordRoute if reply.record_route => {}
            HeaderName::Timestamp if first && reply.code == 100 => {}
            HeaderName::From | HeaderName::CallId | HeaderName::CSeq if first => {}
            HeaderName::To if first => {
                if let (Ok(to), Some(tag)) = (NameAddr::parse(header.value), reply.to_tag)
                    && to.tag().is_none()
                {
                    let end = header.value_range.start - start + to.range().end;
                    line.splice(end..end, [b";tag=", tag].concat());
                }
            }
            _ => continue,
        }
        seen.push(header.name);
        out.extend(line);
    }
    out.extend(b"Content-Length: 0\r\n\r\n");
    out
}

/// What a proxy makes of an INVITE that it sent, CANCEL, ACK and its own reply, parses, says the same, and no more.
pub fn made_of_invite(data: &[u8]) {
    let mut index = Index::new();
    let Ok(m) = Message::parse(data, &mut index) else { return };
    if m.essentials().is_err() {
        return;
    }
    let mut plan = EditPlan::new();
    let lines = |m: &Message<'_>, name| {
        m.headers(name).map(|h| m.datagram()[h.line_range].to_vec()).collect::<Vec<_>>()
    };
    let vias =
        |m: &Message<'_>| m.vias().map_while(Result::ok).map(|v| v.as_bytes().to_vec()).collect::<Vec<_>>();
    let mut room = vec![0; data.len() + 512];
    let to = b"Bob <sip:b@c>;tag=r";
    for (method, to) in [(Method::Cancel, None), (Method::Ack, Some(&to[..]))] {
        let planned = match to {
            Some(to) => plan.ack(&m, to),
            None => plan.cancel(&m),
        };
        if m.method() != Some(Method::Invite) {
            assert_eq!(planned, Err(EditError::NotInvite));
            return;
        }
        match planned {
            Ok(()) => {}
            Err(EditError::TooMany) => continue,
            Err(error) => panic!("{error}: {}", data.escape_ascii()),
        }
        let written = plan.write_to(data, &mut room).unwrap();
        let mut other = Index::new();
        let made =
            Message::parse(written, &mut other).unwrap_or_else(|e| panic!("{e}: {}", written.escape_ascii()));
        let headers = made.essentials().unwrap_or_else(|e| panic!("{e}: {}", written.escape_ascii()));
        assert_eq!(made.request().unwrap().uri, m.request().unwrap().uri);
        assert_eq!((made.method(), headers.cseq.number), (Some(method), m.cseq().unwrap().number));
        assert_eq!(vias(&made), vias(&m)[..1]);
        assert_eq!((headers.max_forwards, made.body()), (Some(70), &b""[..]));
        for name in [HeaderName::From, HeaderName::CallId, HeaderName::Route] {
            assert_eq!(lines(&made, name), lines(&m, name));
        }
        match to {
            Some(to) => assert_eq!(headers.to.as_bytes(), to),
            None => assert_eq!(lines(&made, HeaderName::To), lines(&m, HeaderName::To)),
        }
        let routes = m.headers(HeaderName::Route).count();
        assert_eq!(made.all().count(), 7 + routes, "{}", written.escape_ascii());
    }
    let all = vias(&m);
    for skip_vias in 1..=all.len() {
        let planned = plan.reply(&m, &Reply { code: 408, skip_vias, ..Reply::default() });
        match planned {
            Ok(()) => {}
            Err(EditError::TooMany) => continue,
            // There may be a Via that cannot be read after those that can.
            Err(error) => {
                assert!(skip_vias == all.len(), "{error}: {}", data.escape_ascii());
                continue;
            }
        }
        let written = plan.write_to(data, &mut room).unwrap();
        let mut other = Index::new();
        let made =
            Message::parse(written, &mut other).unwrap_or_else(|e| panic!("{e}: {}", written.escape_ascii()));
        assert_eq!(vias(&made), all[skip_vias..]);
        assert_eq!(lines(&made, HeaderName::From), lines(&m, HeaderName::From));
    }
}

/// Everything above.
pub fn all(data: &[u8]) {
    parse(data);
    views(data);
    edit(data);
    edit(&[&[0; 8], data].concat());
    reply(data);
    made_of_invite(data);
}
