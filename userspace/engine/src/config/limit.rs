//! Limits that are not configured, each with its reason.

/// Listen addresses: the index of one is a single base-32 digit in the branch of every request sent on.
pub const LISTEN: usize = 32;
/// Domains: the index of one is 16 bits in every record of the location table; a thousand are looked up as
/// fast as one.
pub const DOMAINS: usize = 1024;
/// Contacts of one user: a 200 to REGISTER lists them all (RFC 3261 section 10.3) and has to fit a datagram.
pub const CONTACTS: usize = 32;
/// Bindings of one node. Above it the table alone takes more than 20 GB.
pub const BINDINGS: usize = 100_000_000;
/// Octets of a user name after unescaping. RFC 3261 has no limit; names in the field stay under 64.
pub const USER: usize = 255;
/// Octets of a contact's URI: GRUUs and push tokens reach about 400.
pub const CONTACT: usize = 512;
/// Octets of an instance-id (RFC 5626 section 4.1): a URN, usually of a UUID, which is 45 with its brackets.
pub const INSTANCE: usize = 255;
/// Octets of the Path values kept with a binding (RFC 3327): a dozen proxies with tokens.
pub const PATH: usize = 1024;
/// Seconds a binding may be granted: 2^31 - 1, over which other implementations overflow.
pub const EXPIRES: u32 = i32::MAX as u32;
/// Records that may have run out looked at, or filed anew, in one [`Engine::on_timeout`](crate::Engine::on_timeout): about 100 µs.
pub const EXPIRY_BATCH: usize = 256;
/// Seconds a user without any binding stays known, so that calls get 480 and not 404.
pub const KNOWN: u64 = 600;
/// Seconds in the Retry-After of a 503 when a table is full. Bindings run out all the time; longer would
/// leave room unused, shorter would bring the same phones back at once.
pub const RETRY_AFTER: u32 = 60;
/// Values of Service-Route: each is in every 200 to REGISTER.
pub const SERVICE_ROUTES: usize = 4;
/// Octets of a digest realm; three challenges carry it.
pub const REALM: usize = 255;
/// Seconds a nonce may be good for: a day.
pub const NONCE_LIFETIME: u32 = 86_400;
/// Nonces whose counts a worker remembers: 512 MB.
pub const NONCES: usize = 1 << 24;
/// Networks of trusted peers: they are looked through for every request.
pub const TRUSTED: usize = 256;
/// Octets of the server name.
pub const SERVER: usize = 64;
/// Routing rules: each new request is held against all of them, about 20 ns for one.
pub const ROUTES: usize = 1024;
/// Octets of a prefix, or of what is put in front of a number: E.164 numbers have 15 digits.
pub const ROUTE_TEXT: usize = 64;
/// Octets of the reason phrase of a rule that refuses.
pub const PHRASE: usize = 63;
/// Gateway groups.
pub const GATEWAYS: usize = 256;
/// Targets of one gateway group: those a call was sent to are one bit each.
pub const TARGETS: usize = 32;
/// Targets of all groups together: the index of one is two base-32 digits in the branch of its probes.
pub const ALL_TARGETS: usize = 1024;
/// Octets of a gateway group's name.
pub const GATEWAY_NAME: usize = 63;
/// Workers of a node: two base-32 digits in the branch of every request sent on.
pub const WORKERS: usize = 1024;
/// Client branches of one worker: five base-32 digits in a branch.
pub const BRANCHES: usize = (1 << 25) - 1;
/// Messages that wait for [`Engine::transmit`](crate::Engine::transmit): those of a batch of datagrams, each of
/// which can bring the CANCELs of a fork. What does not fit is lost like a datagram.
pub const OUTBOX: usize = 4096;
/// Timers looked at in one [`Engine::on_timeout`](crate::Engine::on_timeout): about 100 µs.
pub const TIMER_BATCH: usize = 256;
/// Dialogs of one engine. Above it its tables alone take more than 8 GB.
pub const DIALOGS: usize = 16_000_000;
/// Seconds a call may last: times in a call are kept in milliseconds, in 32 bits.
pub const CALL_SECONDS: u32 = 4_000_000;
/// Call events that wait: above it the queue alone takes more than a gigabyte.
pub const CALL_EVENTS: usize = 1_000_000;
