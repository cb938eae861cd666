//! Header names: one enum for all names of RFC 3261 and of the extensions in use, with their compact forms.
//!
//! The header index asks [`HeaderName::recognise`] once for each header line. It is a perfect hash over length and
//! three bytes, then one compare of 16 bytes (two for longer names); see `LOOKUP`.

use core::fmt;

use crate::class;

macro_rules! header_names {
    ($($variant:ident = $name:literal $(, $compact:literal)? ;)*) => {
        /// The name of a header field: RFC 3261 section 20 and the extensions of the IANA registry that are in use.
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
        const NAMES: &[&str] = &[$($name),*];
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

const _: () = assert!(COUNT < 128, "the index keeps presence in a u128");

/// The names in lower case, padded to two windows of 16 bytes, and their lengths.
static LOWER: [([u8; 32], u8); COUNT] = {
    let mut table = [([0; 32], 0); COUNT];
    let mut i = 0;
    while i < COUNT {
        let name = NAMES[i].as_bytes();
        let mut at = 0;
        while at < name.len() {
            table[i].0[at] = name[at].to_ascii_lowercase();
            at += 1;
        }
        table[i].1 = name.len() as u8;
        i += 1;
    }
    table
};

const SLOTS: usize = 1024;
const NONE: u8 = u8::MAX;
/// Found by trial: the least effort multiplier under which no two names share a slot (asserted below).
const MULTIPLIER: u32 = 0x4da9_8f1d;

/// Slot of a name of `len` bytes (not 0) whose first 16 bytes, in lower case, are `window`.
#[inline(always)]
const fn slot(window: &[u8; 16], len: usize) -> usize {
    let key = len as u32
        | (window[0] as u32) << 8
        | (window[(len - 1) & 15] as u32) << 16
        | (window[(len / 2) & 15] as u32) << 24;
    (key.wrapping_mul(MULTIPLIER) >> 22) as usize
}

static LOOKUP: [u8; SLOTS] = {
    let mut table = [NONE; SLOTS];
    let mut i = 0;
    while i < COUNT {
        let (name, len) = &LOWER[i];
        let mut window = [0; 16];
        let mut at = 0;
        while at < 16 {
            window[at] = name[at];
            at += 1;
        }
        let slot = slot(&window, *len as usize);
        assert!(table[slot] == NONE, "two header names share a slot: find another multiplier");
        table[slot] = i as u8;
        i += 1;
    }
    table
};

/// Name of each compact form, by letter.
static LETTERS: [HeaderName; 26] = {
    let mut table = [HeaderName::Other; 26];
    let mut i = 0;
    while i < COUNT {
        if let Some(letter) = COMPACT[i] {
            let at = (letter - b'a') as usize;
            assert!(matches!(table[at], HeaderName::Other), "a compact form is there twice");
            table[at] = ALL[i];
        }
        i += 1;
    }
    table
};

/// Lower case for letters; `-` and digits stay. CR would become `-`, so callers make sure that there is none.
const CASE: u128 = 0x2020_2020_2020_2020_2020_2020_2020_2020;

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
        let head = text.len().min(16);
        window[..head].copy_from_slice(&text[..head]);
        Self::recognise(&window, text)
    }

    /// As [`from_bytes`](Self::from_bytes), where the caller has the first 16 bytes at hand. `window` may hold anything
    /// after the name's end; `name` holds no CR.
    #[inline(always)]
    pub(crate) fn recognise(window: &[u8; 16], name: &[u8]) -> HeaderName {
        let len = name.len();
        if len <= 1 {
            return match name {
                [letter] if class::is(*letter, class::ALPHA) => {
                    LETTERS[usize::from((letter | 0x20).wrapping_sub(b'a')) % 26]
                }
                _ => HeaderName::Other,
            };
        }
        let lower = u128::from_le_bytes(*window) | CASE;
        let found = usize::from(LOOKUP[slot(&lower.to_le_bytes(), len) % SLOTS]);
        let Some((spelling, length)) = LOWER.get(found) else { return HeaderName::Other };
        if usize::from(*length) != len {
            return HeaderName::Other;
        }
        let Some(first) = spelling.first_chunk::<16>() else { return HeaderName::Other };
        let differ = lower ^ u128::from_le_bytes(*first);
        let same = if len >= 16 {
            differ == 0 && name[16..].iter().zip(&spelling[16..]).all(|(a, b)| a | 0x20 == *b)
        } else {
            differ << (128 - 8 * len as u32) == 0
        };
        if same { ALL[found] } else { HeaderName::Other }
    }

    /// May this header stand in a message only once (RFC 3261 section 20 and the extensions' grammar)?
    #[must_use]
    pub fn is_singleton(self) -> bool {
        use HeaderName::*;
        matches!(
            self,
            CallId
                | ContentDisposition
                | ContentLength
                | ContentType
                | CSeq
                | Date
                | Event
                | Expires
                | FlowTimer
                | From
                | Identity
                | MaxBreadth
                | MaxForwards
                | MimeVersion
                | MinExpires
                | MinSe
                | Organization
                | PChargingVector
                | Priority
                | RAck
                | RSeq
                | ReferSub
                | ReferTo
                | ReferredBy
                | Replaces
                | ReplyTo
                | RetryAfter
                | Server
                | SessionExpires
                | SessionId
                | SipETag
                | SipIfMatch
                | Subject
                | SubscriptionState
                | SuppressIfMatch
                | TargetDialog
                | Timestamp
                | To
                | UserAgent
        )
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
            let mut window = [b'X'; 16];
            let head = text.len().min(16);
            window[..head].copy_from_slice(&text[..head]);
            assert_eq!(HeaderName::recognise(&window, text), name);
        }
    }
}
