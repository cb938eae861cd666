//! Header names: one enum for all names of RFC 3261 and of the extensions in use, with their compact forms.
//!
//! The header index asks [`HeaderName::recognise`] once for each header line: the name's first 16 bytes in lower case go
//! through a perfect hash, and one compare of 16 bytes decides.

use core::fmt;

use wide::{bytemuck, u8x16};

macro_rules! header_names {
    ($($variant:ident = $name:literal $(, $compact:literal)? ;)*) => {
        /// `field-name` (RFC 3261 section 7.3.1): those of section 20 and of the extensions in the IANA registry that are in
        /// use, with their compact forms (section 7.3.3). Case does not count.
        ///
        /// A header line of any other name is kept and found as [`HeaderName::Other`] with its raw name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum HeaderName {
            $(#[doc = concat!("`", $name, "`", $(" (compact: `", $compact, "`)")?)] $variant,)*
            /// A name that is not in this list; or, in a [`ValueError`](crate::ValueError), no header at all.
            Other,
        }

        const ALL: &[HeaderName] = &[$(HeaderName::$variant),*];
        pub(crate) const NAMES: &[&str] = &[$($name),*];
        const COMPACT: &[Option<u8>] = &[$({ #[allow(unused_mut, unused_assignments)] { let mut c: Option<u8> = None; $(c = Some($compact.as_bytes()[0]);)? c } }),*];
    };
}

header_names! {
    Accept = "Accept";
    AcceptContact = "Accept-Contact", "a";
    AcceptEncoding = "Accept-Encoding";
    AcceptLanguage = "Accept-Language";
    AcceptResourcePriority = "Accept-Resource-Priority";
    AlertInfo = "Alert-Info";
    Allow = "Allow";
    AllowEvents = "Allow-Events", "u";
    AnswerMode = "Answer-Mode";
    AuthenticationInfo = "Authentication-Info";
    Authorization = "Authorization";
    CallId = "Call-ID", "i";
    CallInfo = "Call-Info";
    Contact = "Contact", "m";
    ContentDisposition = "Content-Disposition";
    ContentEncoding = "Content-Encoding", "e";
    ContentLanguage = "Content-Language";
    ContentLength = "Content-Length", "l";
    ContentType = "Content-Type", "c";
    CSeq = "CSeq";
    Date = "Date";
    Diversion = "Diversion";
    ErrorInfo = "Error-Info";
    Event = "Event", "o";
    Expires = "Expires";
    FeatureCaps = "Feature-Caps";
    FlowTimer = "Flow-Timer";
    From = "From", "f";
    Geolocation = "Geolocation";
    GeolocationError = "Geolocation-Error";
    GeolocationRouting = "Geolocation-Routing";
    HistoryInfo = "History-Info";
    Identity = "Identity", "y";
    IdentityInfo = "Identity-Info", "n";
    InfoPackage = "Info-Package";
    InReplyTo = "In-Reply-To";
    Join = "Join";
    MaxBreadth = "Max-Breadth";
    MaxForwards = "Max-Forwards";
    MimeVersion = "MIME-Version";
    MinExpires = "Min-Expires";
    MinSe = "Min-SE";
    Organization = "Organization";
    PAccessNetworkInfo = "P-Access-Network-Info";
    PAnswerState = "P-Answer-State";
    PAssertedIdentity = "P-Asserted-Identity";
    PAssertedService = "P-Asserted-Service";
    PAssociatedUri = "P-Associated-URI";
    PCalledPartyId = "P-Called-Party-ID";
    PChargingFunctionAddresses = "P-Charging-Function-Addresses";
    PChargingVector = "P-Charging-Vector";
    PEarlyMedia = "P-Early-Media";
    PPreferredIdentity = "P-Preferred-Identity";
    PPreferredService = "P-Preferred-Service";
    PVisitedNetworkId = "P-Visited-Network-ID";
    Path = "Path";
    PermissionMissing = "Permission-Missing";
    PolicyContact = "Policy-Contact";
    PolicyId = "Policy-ID";
    Priority = "Priority";
    PrivAnswerMode = "Priv-Answer-Mode";
    Privacy = "Privacy";
    ProxyAuthenticate = "Proxy-Authenticate";
    ProxyAuthorization = "Proxy-Authorization";
    ProxyRequire = "Proxy-Require";
    RAck = "RAck";
    RSeq = "RSeq";
    Reason = "Reason";
    RecordRoute = "Record-Route";
    RecvInfo = "Recv-Info";
    ReferEventsAt = "Refer-Events-At";
    ReferSub = "Refer-Sub";
    ReferTo = "Refer-To", "r";
    ReferredBy = "Referred-By", "b";
    RejectContact = "Reject-Contact", "j";
    RemotePartyId = "Remote-Party-ID";
    Replaces = "Replaces";
    ReplyTo = "Reply-To";
    RequestDisposition = "Request-Disposition", "d";
    Require = "Require";
    ResourcePriority = "Resource-Priority";
    RetryAfter = "Retry-After";
    Route = "Route";
    SecurityClient = "Security-Client";
    SecurityServer = "Security-Server";
    SecurityVerify = "Security-Verify";
    Server = "Server";
    ServiceRoute = "Service-Route";
    SessionExpires = "Session-Expires", "x";
    SessionId = "Session-ID";
    SipETag = "SIP-ETag";
    SipIfMatch = "SIP-If-Match";
    Subject = "Subject", "s";
    SubscriptionState = "Subscription-State";
    Supported = "Supported", "k";
    SuppressIfMatch = "Suppress-If-Match";
    TargetDialog = "Target-Dialog";
    Timestamp = "Timestamp";
    To = "To", "t";
    TriggerConsent = "Trigger-Consent";
    Unsupported = "Unsupported";
    UserAgent = "User-Agent";
    UserToUser = "User-to-User";
    Via = "Via", "v";
    Warning = "Warning";
    WwwAuthenticate = "WWW-Authenticate";
}

/// How many names the enum knows, without [`HeaderName::Other`].
pub(crate) const COUNT: usize = ALL.len();

const _: () = assert!(COUNT < 128, "the index keeps presence in 128 bits");

/// One spelling of a name, in lower case.
#[derive(Clone, Copy)]
struct Spelling {
    /// The first 16 bytes, zero after the end.
    head: [u64; 2],
    /// The bytes after those.
    tail: &'static [u8],
    name: HeaderName,
}

/// The empty name, which is nobody's.
const NOBODY: Spelling = Spelling { head: [0; 2], tail: b"", name: HeaderName::Other };

/// Keeps the first `len` bytes of a window.
const KEEP: [u8x16; 17] = {
    let mut masks = [u8x16::ZERO; 17];
    let mut len = 0;
    while len <= 16 {
        let bits: u128 = if len == 16 { u128::MAX } else { (1 << (8 * len)) - 1 };
        masks[len] = u8x16::new(bits.to_le_bytes());
        len += 1;
    }
    masks
};

/// Lower case for letters; `-` and digits stay.
const CASE: u8 = 0x20;

/// The first `len` bytes of the window in lower case, zero after them.
#[inline(always)]
fn head(window: &[u8; 16], len: usize) -> [u64; 2] {
    let bytes = (u8x16::new(*window) | u8x16::splat(CASE)) & TABLE.keep[len.min(16)];
    bytemuck::cast(bytes)
}

const SLOTS: usize = 512;
/// Found by trial: under this one no two spellings share a slot (asserted below).
const MULTIPLIER: u64 = 0xf1d9_b47f_a17d_6081;

#[inline(always)]
const fn slot(head: [u64; 2]) -> usize {
    ((head[0] ^ head[1].rotate_left(29)).wrapping_mul(MULTIPLIER) >> 55) as usize
}

const fn spelling(name: &'static str, of: HeaderName) -> Spelling {
    let name = name.as_bytes();
    let mut head = [0u8; 16];
    let mut i = 0;
    while i < name.len() && i < 16 {
        head[i] = name[i].to_ascii_lowercase();
        i += 1;
    }
    let bits = u128::from_le_bytes(head);
    let tail = if name.len() > 16 { name.split_at(16).1 } else { b"" };
    Spelling { head: [bits as u64, (bits >> 64) as u64], tail, name: of }
}

const SHORT_COUNT: usize = count(false);
const LONG_COUNT: usize = count(true);

const fn count(long: bool) -> usize {
    let mut count = 0;
    let mut i = 0;
    while i < COUNT {
        if (NAMES[i].len() >= 16) == long {
            count += 1;
        }
        if COMPACT[i].is_some() && !long {
            count += 1;
        }
        i += 1;
    }
    count
}

/// Names of 16 bytes and more. They are rare, and only looked for where the colon is not among a line's first 16 bytes.
static LONG: [Spelling; LONG_COUNT] = {
    let mut table = [NOBODY; LONG_COUNT];
    let mut at = 0;
    let mut i = 0;
    while i < COUNT {
        if NAMES[i].len() >= 16 {
            table[at] = spelling(NAMES[i], ALL[i]);
            at += 1;
        }
        i += 1;
    }
    table
};

/// What recognises a name, in one place: one address to be kept at hand.
struct Table {
    /// Keeps the first so many bytes of a window.
    keep: [u8x16; 17],
    /// All other spellings, full and compact, each in its slot; an empty slot holds what no name is.
    heads: [[u64; 2]; SLOTS],
    /// Whose slot it is.
    names: [HeaderName; SLOTS],
}

static TABLE: Table = {
    let mut table = Table { keep: KEEP, heads: [[u64::MAX; 2]; SLOTS], names: [HeaderName::Other; SLOTS] };
    let mut i = 0;
    while i < SHORT_COUNT {
        let slot = slot(SHORT[i].head);
        assert!(table.heads[slot][0] == u64::MAX, "two header names share a slot: find another multiplier");
        table.heads[slot] = SHORT[i].head;
        table.names[slot] = SHORT[i].name;
        i += 1;
    }
    table
};

const SHORT: [Spelling; SHORT_COUNT] = {
    let mut table = [NOBODY; SHORT_COUNT];
    let mut at = 0;
    let mut i = 0;
    while i < COUNT {
        if NAMES[i].len() < 16 {
            table[at] = spelling(NAMES[i], ALL[i]);
            at += 1;
        }
        if let Some(letter) = COMPACT[i] {
            table[at] = Spelling { head: [letter as u64, 0], tail: b"", name: ALL[i] };
            at += 1;
        }
        i += 1;
    }
    table
};

impl HeaderName {
    /// Every known name, in the order of the enum.
    pub const ALL: &'static [HeaderName] = ALL;

    /// The name as the RFCs write it; empty for [`HeaderName::Other`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        NAMES.get(self as usize).copied().unwrap_or("")
    }

    /// The one-letter form of RFC 3261 section 7.3.3 or of the extension, in lower case.
    #[must_use]
    pub fn compact(self) -> Option<u8> {
        COMPACT.get(self as usize).copied().flatten()
    }

    /// The name that `text` spells, in full or compact form, in any case.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> HeaderName {
        if text.contains(&b'\r') {
            return HeaderName::Other;
        }
        let mut window = [0; 16];
        let len = text.len().min(16);
        window[..len].copy_from_slice(&text[..len]);
        if let Some(rest) = text.get(16..) {
            return LONG
                .iter()
                .find(|s| s.head == head(&window, 16) && s.tail.eq_ignore_ascii_case(rest))
                .map_or(HeaderName::Other, |s| s.name);
        }
        Self::recognise(&window, len).unwrap_or(HeaderName::Other)
    }

    /// The name of `len` bytes, less than 16, at the front of `window`, which may hold anything after it. A CR in the
    /// name passes for `-`: the caller makes sure that there is none.
    #[inline(always)]
    pub(crate) fn recognise(window: &[u8; 16], len: usize) -> Option<HeaderName> {
        let head = head(window, len);
        let slot = slot(head) % SLOTS;
        (TABLE.heads[slot] == head).then_some(TABLE.names[slot])
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == HeaderName::Other { "header" } else { self.as_str() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(text: &[u8]) -> HeaderName {
        ALL.iter()
            .copied()
            .find(|n| {
                n.as_str().as_bytes().eq_ignore_ascii_case(text)
                    || n.compact().is_some_and(|c| text.len() == 1 && text[0].eq_ignore_ascii_case(&c))
            })
            .unwrap_or(HeaderName::Other)
    }

    #[test]
    fn every_name_is_found_in_every_case_and_no_neighbour_is() {
        for &name in HeaderName::ALL {
            let text = name.as_str();
            assert_eq!(HeaderName::from_bytes(text.as_bytes()), name);
            assert_eq!(HeaderName::from_bytes(text.to_uppercase().as_bytes()), name);
            assert_eq!(HeaderName::from_bytes(text.to_lowercase().as_bytes()), name);
            for at in 0..text.len() {
                for byte in 0..=255u8 {
                    let mut near = text.as_bytes().to_vec();
                    near[at] = byte;
                    assert_eq!(HeaderName::from_bytes(&near), naive(&near), "{near:?}");
                }
                assert_eq!(HeaderName::from_bytes(&text.as_bytes()[..at]), naive(&text.as_bytes()[..at]));
            }
        }
        for byte in 0..=255u8 {
            assert_eq!(HeaderName::from_bytes(&[byte]), naive(&[byte]));
        }
    }

    #[test]
    fn what_follows_the_name_in_the_window_does_not_matter() {
        for &name in HeaderName::ALL {
            let text = name.as_str().as_bytes();
            if text.len() < 16 {
                let mut window = [b'X'; 16];
                window[..text.len()].copy_from_slice(text);
                assert_eq!(HeaderName::recognise(&window, text.len()), Some(name));
            }
        }
    }
}
