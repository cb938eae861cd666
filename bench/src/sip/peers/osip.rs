//! libosip2 through its C interface. This file and the counting allocator are the only ones with unsafe code.
//!
//! Used as its manual says: `osip_message_init`, `osip_message_parse`, the accessors, `osip_message_free`. Its parser
//! turns the common headers, every URI and every parameter into C strings of their own, needed or not; numbers and
//! addresses it leaves as text, so the numbers that a proxy needs are converted here, and addresses stay text.
//! The layouts below are those of the public headers of libosip2 5.x as Debian builds it (without MINISIZE).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::Once;

use super::Editor;
use crate::allocations;
use crate::case::Refusal;
use crate::sip::facts::{
    CONTACT, Field, NEXT_VIA, OTHER_TRANSPORT, Parser, ROUTE, Sink, UDP, URI, UriFields, VIA, ViaFields,
};
use crate::sip::messages::{Change, Sample};

/// The version that it was linked with.
pub const VERSION: &str = env!("STROWGER_BENCH_OSIP");

/// The fields that are needed, and those before them; it is never made here.
#[repr(C)]
struct RawMessage {
    version: *mut c_char,
    uri: *mut RawUri,
    method: *mut c_char,
    status: c_int,
    reason: *mut c_char,
    accepts: List,
    accept_encodings: List,
    accept_languages: List,
    alert_infos: List,
    allows: List,
    authentication_infos: List,
    authorizations: List,
    call_id: *mut Pair,
    call_infos: List,
    contacts: List,
    content_encodings: List,
    content_length: *mut ContentLength,
    content_type: *mut c_void,
    cseq: *mut Pair,
    error_infos: List,
    from: *mut RawAddress,
    mime_version: *mut c_void,
    proxy_authenticates: List,
    proxy_authentication_infos: List,
    proxy_authorizations: List,
    record_routes: List,
    routes: List,
    to: *mut RawAddress,
    vias: List,
}

#[repr(C)]
struct List {
    count: c_int,
    node: *mut c_void,
}

#[repr(C)]
struct Param {
    name: *mut c_char,
    value: *mut c_char,
}

#[repr(C)]
struct RawVia {
    version: *mut c_char,
    protocol: *mut c_char,
    host: *mut c_char,
    port: *mut c_char,
    comment: *mut c_char,
    params: List,
}

#[repr(C)]
struct RawUri {
    scheme: *mut c_char,
    username: *mut c_char,
    password: *mut c_char,
    host: *mut c_char,
    port: *mut c_char,
    params: List,
    headers: List,
    string: *mut c_char,
}

/// From, To, Contact and Route are all this.
#[repr(C)]
struct RawAddress {
    display: *mut c_char,
    uri: *mut RawUri,
    params: List,
}

/// Call-ID (part before `@`, host) and CSeq (method, number) are both two strings; so is an unknown header.
#[repr(C)]
struct Pair {
    first: *mut c_char,
    second: *mut c_char,
}

#[repr(C)]
struct ContentLength {
    value: *mut c_char,
}

#[repr(C)]
struct RawBody {
    body: *mut c_char,
    length: usize,
    headers: *mut c_void,
    content_type: *mut c_void,
}

/// Only the first fields; it is never made here.
#[repr(C)]
struct Credentials {
    scheme: *mut c_char,
    username: *mut c_char,
    realm: *mut c_char,
    nonce: *mut c_char,
    uri: *mut c_char,
    response: *mut c_char,
    digest: *mut c_char,
    algorithm: *mut c_char,
    cnonce: *mut c_char,
    opaque: *mut c_char,
    qop: *mut c_char,
    nonce_count: *mut c_char,
}

#[link(name = "osipparser2")]
unsafe extern "C" {
    fn parser_init() -> c_int;
    fn osip_set_allocators(
        malloc: Option<unsafe extern "C" fn(usize) -> *mut c_void>,
        realloc: Option<unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void>,
        free: Option<unsafe extern "C" fn(*mut c_void)>,
    );
    fn osip_message_init(message: *mut *mut RawMessage) -> c_int;
    fn osip_message_parse(message: *mut RawMessage, bytes: *const c_char, length: usize) -> c_int;
    fn osip_message_free(message: *mut RawMessage);
    fn osip_message_get_method(message: *const RawMessage) -> *mut c_char;
    fn osip_message_get_uri(message: *const RawMessage) -> *mut RawUri;
    fn osip_message_get_status_code(message: *const RawMessage) -> c_int;
    fn osip_message_get_via(message: *const RawMessage, at: c_int, via: *mut *mut RawVia) -> c_int;
    fn osip_message_get_from(message: *const RawMessage) -> *mut RawAddress;
    fn osip_message_get_to(message: *const RawMessage) -> *mut RawAddress;
    fn osip_message_get_route(message: *const RawMessage, at: c_int, route: *mut *mut RawAddress) -> c_int;
    fn osip_message_get_contact(
        message: *const RawMessage,
        at: c_int,
        contact: *mut *mut RawAddress,
    ) -> c_int;
    fn osip_message_get_call_id(message: *const RawMessage) -> *mut Pair;
    fn osip_message_get_cseq(message: *const RawMessage) -> *mut Pair;
    fn osip_message_get_content_length(message: *const RawMessage) -> *mut ContentLength;
    fn osip_message_header_get_byname(
        message: *const RawMessage,
        name: *const c_char,
        at: c_int,
        header: *mut *mut Pair,
    ) -> c_int;
    fn osip_message_get_authorization(
        message: *const RawMessage,
        at: c_int,
        credentials: *mut *mut Credentials,
    ) -> c_int;
    fn osip_message_get_body(message: *const RawMessage, at: c_int, body: *mut *mut RawBody) -> c_int;
    fn osip_message_set_uri(message: *mut RawMessage, uri: *mut RawUri);
    fn osip_message_set_version(message: *mut RawMessage, version: *mut c_char);
    fn osip_message_set_status_code(message: *mut RawMessage, code: c_int);
    fn osip_message_set_reason_phrase(message: *mut RawMessage, reason: *mut c_char);
    fn osip_message_append_via(message: *mut RawMessage, value: *const c_char) -> c_int;
    fn osip_message_set_record_route(message: *mut RawMessage, value: *const c_char) -> c_int;
    fn osip_message_set_content_length(message: *mut RawMessage, value: *const c_char) -> c_int;
    fn osip_message_get_reason(code: c_int) -> *const c_char;
    fn osip_message_force_update(message: *mut RawMessage) -> c_int;
    fn osip_message_to_str(message: *mut RawMessage, text: *mut *mut c_char, length: *mut usize) -> c_int;
    fn osip_header_set_value(header: *mut Pair, value: *mut c_char);
    fn osip_uri_init(uri: *mut *mut RawUri) -> c_int;
    fn osip_uri_parse(uri: *mut RawUri, text: *const c_char) -> c_int;
    fn osip_uri_free(uri: *mut RawUri);
    fn osip_via_clone(via: *const RawVia, copy: *mut *mut RawVia) -> c_int;
    fn osip_via_free(via: *mut RawVia);
    fn osip_from_clone(address: *const RawAddress, copy: *mut *mut RawAddress) -> c_int;
    fn osip_call_id_clone(call_id: *const Pair, copy: *mut *mut Pair) -> c_int;
    fn osip_cseq_clone(cseq: *const Pair, copy: *mut *mut Pair) -> c_int;
    fn osip_list_get(list: *const List, at: c_int) -> *mut c_void;
    fn osip_list_add(list: *mut List, element: *mut c_void, at: c_int) -> c_int;
    fn osip_list_remove(list: *mut List, at: c_int) -> c_int;
    fn osip_uri_param_add(list: *mut List, name: *mut c_char, value: *mut c_char) -> c_int;
    fn osip_uri_param_get_byname(list: *const List, name: *const c_char, param: *mut *mut Param) -> c_int;
}

unsafe extern "C" fn counted_malloc(size: usize) -> *mut c_void {
    allocations::record(size);
    // SAFETY: malloc takes any size.
    unsafe { libc::malloc(size) }
}

unsafe extern "C" fn counted_realloc(block: *mut c_void, size: usize) -> *mut c_void {
    allocations::record(size);
    // SAFETY: libosip2 passes null or a block that it has from `counted_malloc` or from here.
    unsafe { libc::realloc(block, size) }
}

unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: libosip2 passes null or a block that it has from the two functions above.
    unsafe { libc::free(block) }
}

/// Makes the library ready, once for the process.
fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: called before any other function of the library, by one thread; the three functions are those of
        // the C library and count besides.
        unsafe {
            osip_set_allocators(Some(counted_malloc), Some(counted_realloc), Some(free));
            parser_init();
        }
    });
}

/// A parsed message, freed when dropped.
struct Message(*mut RawMessage);

impl Message {
    fn new() -> Result<Self, Refusal> {
        initialise();
        let mut raw = null_mut();
        // SAFETY: `raw` takes the pointer to a message that the library makes.
        match unsafe { osip_message_init(&raw mut raw) } {
            0 if !raw.is_null() => Ok(Self(raw)),
            code => Err(Refusal(format!("osip_message_init: {code}"))),
        }
    }

    fn parse(datagram: &[u8]) -> Result<Self, Refusal> {
        let message = Self::new()?;
        // SAFETY: the message was just made; the library reads `len` octets and keeps no pointer to them.
        match unsafe { osip_message_parse(message.0, datagram.as_ptr().cast(), datagram.len()) } {
            0 => Ok(message),
            code => Err(Refusal(format!("osip_message_parse: {code}"))),
        }
    }

    /// Writes the message out anew.
    fn send(&mut self, sent: &mut dyn FnMut(&[u8])) -> Result<(), Refusal> {
        let mut text = null_mut();
        let mut length = 0;
        // SAFETY: the message lives; `text` and `length` take a new string of the library's allocator, which is ours
        // and is freed after its last use.
        unsafe {
            osip_message_force_update(self.0);
            let code = osip_message_to_str(self.0, &raw mut text, &raw mut length);
            if code != 0 || text.is_null() {
                return Err(Refusal(format!("osip_message_to_str: {code}")));
            }
            sent(std::slice::from_raw_parts(text.cast(), length));
            free(text.cast());
        }
        Ok(())
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: made by osip_message_init, freed once.
        unsafe { osip_message_free(self.0) }
    }
}

/// libosip2's parser.
#[derive(Debug)]
pub struct Osip;

impl Parser for Osip {
    fn read<S: Sink>(&mut self, datagram: &[u8], sink: &mut S) -> Result<(), Refusal> {
        let message = Message::parse(datagram)?;
        let raw = message.0.cast_const();
        // SAFETY: `raw` is a parsed message that lives to the end of this function. Its accessors give null or pointers
        // into it, every string ends in NUL, and nothing is changed meanwhile; the helpers are called under the
        // same conditions.
        unsafe {
            let status = osip_message_get_status_code(raw);
            if status == 0 {
                text(osip_message_get_method(raw), Field::Method, sink);
                uri(osip_message_get_uri(raw), URI, sink);
                let mut header: *mut Pair = null_mut();
                if osip_message_header_get_byname(raw, c"max-forwards".as_ptr(), 0, &raw mut header) >= 0 {
                    number((*header).second, Field::MaxForwards, sink)?;
                }
                let mut route: *mut RawAddress = null_mut();
                if osip_message_get_route(raw, 0, &raw mut route) >= 0 && !route.is_null() {
                    uri((*route).uri, ROUTE, sink);
                }
            } else {
                sink.number(Field::Status, u64::from(status.unsigned_abs()));
                via(raw, 1, NEXT_VIA, sink)?;
            }
            via(raw, 0, VIA, sink)?;
            tag(osip_message_get_from(raw), Field::FromTag, sink);
            tag(osip_message_get_to(raw), Field::ToTag, sink);
            if let Some(call_id) = osip_message_get_call_id(raw).as_ref() {
                sink.call_id(string(call_id.first).unwrap_or_default(), string(call_id.second));
            }
            if let Some(cseq) = osip_message_get_cseq(raw).as_ref() {
                text(cseq.first, Field::CSeqMethod, sink);
                number(cseq.second, Field::CSeqNumber, sink)?;
            }
            let mut contact: *mut RawAddress = null_mut();
            if osip_message_get_contact(raw, 0, &raw mut contact) >= 0 && !contact.is_null() {
                uri((*contact).uri, CONTACT, sink);
            }
            if let Some(length) = osip_message_get_content_length(raw).as_ref() {
                number(length.value, Field::ContentLength, sink)?;
            }
            let mut credentials: *mut Credentials = null_mut();
            osip_message_get_authorization(raw, 0, &raw mut credentials);
            if let Some(credentials) = credentials.as_ref() {
                quoted(credentials.username, Field::AuthUsername, sink);
                quoted(credentials.realm, Field::AuthRealm, sink);
                quoted(credentials.nonce, Field::AuthNonce, sink);
                quoted(credentials.uri, Field::AuthUri, sink);
                quoted(credentials.response, Field::AuthResponse, sink);
                quoted(credentials.cnonce, Field::AuthCnonce, sink);
                number(credentials.nonce_count, Field::AuthNonceCount, sink)?;
            }
            let mut body: *mut RawBody = null_mut();
            osip_message_get_body(raw, 0, &raw mut body);
            match body.as_ref() {
                Some(body) => {
                    sink.text(Field::Body, std::slice::from_raw_parts(body.body.cast(), body.length));
                }
                None => sink.text(Field::Body, b""),
            }
        }
        Ok(())
    }
}

/// A string of the library, without its NUL.
///
/// # Safety
/// Null, or a string that ends in NUL and lives as long as `'a`.
unsafe fn string<'a>(raw: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!raw.is_null()).then(|| unsafe { CStr::from_ptr(raw) }.to_bytes())
}

/// # Safety
/// As for [`string`].
unsafe fn text<S: Sink>(raw: *const c_char, field: Field, sink: &mut S) {
    // SAFETY: the caller's promise.
    if let Some(value) = unsafe { string(raw) } {
        sink.text(field, value);
    }
}

/// # Safety
/// As for [`string`].
unsafe fn quoted<S: Sink>(raw: *const c_char, field: Field, sink: &mut S) {
    // SAFETY: the caller's promise.
    if let Some(value) = unsafe { string(raw) } {
        sink.text(field, value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value));
    }
}

/// # Safety
/// As for [`string`].
unsafe fn number<S: Sink>(raw: *const c_char, field: Field, sink: &mut S) -> Result<(), Refusal> {
    // SAFETY: the caller's promise.
    let Some(value) = (unsafe { string(raw) }) else { return Ok(()) };
    let value = std::str::from_utf8(value).map_err(Refusal::of)?.parse().map_err(Refusal::of)?;
    sink.number(field, value);
    Ok(())
}

/// # Safety
/// `list` belongs to a living message.
unsafe fn param(list: &List, name: &CStr) -> Option<*mut c_char> {
    let mut found: *mut Param = null_mut();
    // SAFETY: the caller's promise; `found` takes a pointer into the list.
    unsafe {
        osip_uri_param_get_byname(list, name.as_ptr(), &raw mut found);
        found.as_ref().map(|param| param.value)
    }
}

/// # Safety
/// `raw` is a living message.
unsafe fn via<S: Sink>(
    raw: *const RawMessage,
    at: c_int,
    fields: ViaFields,
    sink: &mut S,
) -> Result<(), Refusal> {
    let mut via: *mut RawVia = null_mut();
    // SAFETY: the caller's promise; all that is reached through the Via belongs to the message.
    unsafe {
        osip_message_get_via(raw, at, &raw mut via);
        let Some(via) = via.as_ref() else { return Ok(()) };
        if let Some(field) = fields.transport {
            let udp = string(via.protocol).is_some_and(|p| p.eq_ignore_ascii_case(UDP));
            sink.text(field, if udp { UDP } else { OTHER_TRANSPORT });
        }
        text(via.host, fields.host, sink);
        number(via.port, fields.port, sink)?;
        text(param(&via.params, c"branch").unwrap_or(null_mut()), fields.branch, sink);
        text(param(&via.params, c"received").unwrap_or(null_mut()), fields.received, sink);
        match param(&via.params, c"rport") {
            Some(value) if value.is_null() => sink.number(fields.rport, 0),
            Some(value) => number(value, fields.rport, sink)?,
            None => {}
        }
    }
    Ok(())
}

/// # Safety
/// Null, or a URI of a living message.
unsafe fn uri<S: Sink>(uri: *const RawUri, fields: UriFields, sink: &mut S) {
    // SAFETY: the caller's promise; the strings belong to the URI.
    unsafe {
        let Some(uri) = uri.as_ref() else { return };
        if let Some(field) = fields.user {
            text(uri.username, field, sink);
        }
        text(uri.host, fields.host, sink);
        let _ = number(uri.port, fields.port, sink);
    }
}

/// # Safety
/// Null, or an address of a living message.
unsafe fn tag<S: Sink>(address: *const RawAddress, field: Field, sink: &mut S) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(address) = address.as_ref() {
            text(param(&address.params, c"tag").unwrap_or(null_mut()), field, sink);
        }
    }
}

/// A message, and what a proxy has ready for it: that is not counted as editing.
pub struct Edited {
    message: Message,
    /// The next Request-URI, parsed; null once the message has it.
    next: *mut RawUri,
    /// Values as the library wants them: with a NUL.
    via: CString,
    record_route: CString,
}

impl Drop for Edited {
    fn drop(&mut self) {
        if !self.next.is_null() {
            // SAFETY: made by osip_uri_init and not given to the message, which would have set it to null.
            unsafe { osip_uri_free(self.next) }
        }
    }
}

impl Editor for Osip {
    type Message = Edited;

    fn parse(&mut self, sample: &Sample) -> Result<Edited, Refusal> {
        let message = Message::parse(&sample.bytes)?;
        let text = |text: &str| CString::new(text).map_err(Refusal::of);
        let uri = text(&sample.change.uri)?;
        let mut next = null_mut();
        // SAFETY: the message lives; `next` takes a URI that the library makes, which then reads a string with a NUL. The
        // comparison holds the layout of `RawMessage` against an accessor before anything relies on it.
        unsafe {
            let mut via: *mut RawVia = null_mut();
            osip_message_get_via(message.0, 0, &raw mut via);
            if osip_list_get(&raw const (*message.0).vias, 0) != via.cast() {
                return Err(Refusal("osip_message has another layout than expected".into()));
            }
            osip_uri_init(&raw mut next);
            if osip_uri_parse(next, uri.as_ptr()) != 0 {
                osip_uri_free(next);
                return Err(Refusal("osip_uri_parse".into()));
            }
        }
        Ok(Edited {
            message,
            next,
            via: text(&sample.change.via)?,
            record_route: text(&sample.change.record_route)?,
        })
    }

    fn forward(
        &mut self,
        edited: &mut Edited,
        change: &Change,
        sent: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Refusal> {
        let raw = edited.message.0;
        // SAFETY: the message lives. It takes over `next` (replacing its own URI, freed first) and every duplicate; the two
        // values are read and not kept.
        unsafe {
            osip_uri_free(osip_message_get_uri(raw));
            osip_message_set_uri(raw, std::mem::replace(&mut edited.next, null_mut()));
            let mut via: *mut RawVia = null_mut();
            osip_message_get_via(raw, 0, &raw mut via);
            mark(via, change)?;
            osip_message_append_via(raw, edited.via.as_ptr());
            osip_message_set_record_route(raw, edited.record_route.as_ptr());
            let mut header: *mut Pair = null_mut();
            if osip_message_header_get_byname(raw, c"max-forwards".as_ptr(), 0, &raw mut header) >= 0 {
                let text = string((*header).second).unwrap_or_default();
                let hops: u32 =
                    std::str::from_utf8(text).map_err(Refusal::of)?.parse().map_err(Refusal::of)?;
                free((*header).second.cast());
                osip_header_set_value(header, duplicate((hops - 1).to_string().as_bytes()));
            }
        }
        edited.message.send(sent)
    }

    fn strip_via(&mut self, edited: &mut Edited, sent: &mut dyn FnMut(&[u8])) -> Result<(), Refusal> {
        let raw = edited.message.0;
        // SAFETY: the message lives; the first Via is taken out of its list and freed, by nobody else.
        unsafe {
            let vias = &raw mut (*raw).vias;
            let via = osip_list_get(vias, 0);
            osip_list_remove(vias, 0);
            osip_via_free(via.cast());
        }
        edited.message.send(sent)
    }

    fn reply(
        &mut self,
        edited: &mut Edited,
        code: u16,
        change: &Change,
        sent: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Refusal> {
        let request = edited.message.0;
        let mut reply = Message::new()?;
        // SAFETY: both messages live. Clones and duplicates belong to the reply from then on and are freed with it.
        unsafe {
            let mut via: *mut RawVia = null_mut();
            osip_message_get_via(request, 0, &raw mut via);
            mark(via, change)?;
            osip_message_set_version(reply.0, duplicate(b"SIP/2.0"));
            osip_message_set_status_code(reply.0, c_int::from(code));
            let reason = string(osip_message_get_reason(c_int::from(code))).unwrap_or_default();
            osip_message_set_reason_phrase(reply.0, duplicate(reason));
            for at in 0..(*request).vias.count {
                let mut copy: *mut RawVia = null_mut();
                osip_via_clone(osip_list_get(&raw const (*request).vias, at).cast(), &raw mut copy);
                osip_list_add(&raw mut (*reply.0).vias, copy.cast(), -1);
            }
            osip_from_clone((*request).from, &raw mut (*reply.0).from);
            osip_from_clone((*request).to, &raw mut (*reply.0).to);
            let to = (*reply.0).to;
            osip_uri_param_add(&raw mut (*to).params, duplicate(b"tag"), duplicate(change.tag.as_bytes()));
            osip_call_id_clone((*request).call_id, &raw mut (*reply.0).call_id);
            osip_cseq_clone((*request).cseq, &raw mut (*reply.0).cseq);
            osip_message_set_content_length(reply.0, c"0".as_ptr());
        }
        reply.send(sent)
    }
}

/// Sets `received` and `rport`.
///
/// # Safety
/// `via` belongs to a living message.
unsafe fn mark(via: *mut RawVia, change: &Change) -> Result<(), Refusal> {
    let (address, port) = change.source;
    // SAFETY: the caller's promise; the Via takes over the duplicates. The old value of `rport` was freed or null.
    unsafe {
        let Some(via) = via.as_mut() else { return Err(Refusal("no Via".into())) };
        let mut rport: *mut Param = null_mut();
        osip_uri_param_get_byname(&raw const via.params, c"rport".as_ptr(), &raw mut rport);
        if let Some(rport) = rport.as_mut() {
            free(rport.value.cast());
            rport.value = duplicate(port.to_string().as_bytes());
        }
        osip_uri_param_add(
            &raw mut via.params,
            duplicate(b"received"),
            duplicate(address.to_string().as_bytes()),
        );
    }
    Ok(())
}

/// A string that the library may keep and free.
fn duplicate(text: &[u8]) -> *mut c_char {
    // SAFETY: the new block has room for the text and its NUL; what malloc refuses is null, as for the library's own.
    unsafe {
        let copy: *mut u8 = counted_malloc(text.len() + 1).cast();
        if !copy.is_null() {
            std::ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
            copy.add(text.len()).write(0);
        }
        copy.cast()
    }
}
