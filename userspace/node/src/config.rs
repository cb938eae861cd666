//! The configuration file of a node: its shape, its defaults, and what makes it wrong.
//!
//! One YAML document. Every key has a default but `dataplane.interface` (unless `dataplane.mode: off`) and
//! `sip.listen`. A key that is not known is an error which names the key and its line, because a misspelt key that is
//! silently ignored costs an outage later. Read by `run`, `check` and `doctor`; nothing here touches the machine.

mod choice;
mod gateways;
mod policing;
mod routes;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::choice::{Auto, Network, Queues};
use self::gateways::Gateway;
pub(crate) use self::policing::Policing;
use self::routes::Route;

use crate::secret;

/// Most workers: one for each queue that XDP can steer to.
pub(crate) const MAX_WORKERS: usize = strowger_xdp::MAX_WORKERS as usize;

/// The whole file.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Who this node is.
    #[serde(default)]
    pub node: Node,
    /// Where the packets come from.
    #[serde(default)]
    pub dataplane: Dataplane,
    /// The SIP element.
    pub sip: Sip,
    /// Who may register and call.
    #[serde(default)]
    pub auth: Auth,
    /// RFC 3261 section 10 limits.
    #[serde(default)]
    pub registrar: Registrar,
    /// Other SIP elements that calls are routed to, by name.
    #[serde(default)]
    pub gateways: std::collections::BTreeMap<String, Gateway>,
    /// Routing rules; the first that matches decides.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Who is asked for next hops that are names.
    #[serde(default)]
    pub dns: Dns,
    /// Sizes of every table.
    #[serde(default)]
    pub limits: Limits,
    /// Who is refused before he costs anything.
    #[serde(default)]
    pub policing: Policing,
    /// Where users and bindings are kept. Read, not used by this version.
    #[serde(default)]
    pub store: Store,
    /// Where call records go. Read, not used by this version.
    #[serde(default)]
    pub cdr: Cdr,
    /// The operators' console. Read, not used by this version.
    #[serde(default)]
    pub console: Console,
    /// What the node says about itself.
    #[serde(default)]
    pub log: Log,
}

/// `node:`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Node {
    /// Name in logs, status and reports: letters, digits, `-`, `_` and `.`, at most 63.
    pub name: String,
    /// Unix socket that `strowger status` asks; by default `/run/strowger/NAME.sock`.
    pub socket: Option<PathBuf>,
}

impl Default for Node {
    fn default() -> Self {
        Node { name: "strowger".to_owned(), socket: None }
    }
}

impl Node {
    /// The Unix socket's path, given or derived from the name.
    pub(crate) fn socket_path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| Path::new(SOCKET_DIR).join(format!("{}.sock", self.name)))
    }
}

/// Where status sockets are, one for each node on the machine.
pub(crate) const SOCKET_DIR: &str = "/run/strowger";

/// `dataplane:`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dataplane {
    /// The network device whose queues XDP serves. Required unless `mode: off`.
    pub interface: Option<String>,
    /// Network namespace of the device: a name under `/run/netns`, or an absolute path. Default: ours.
    pub netns: Option<String>,
    /// How packets reach us.
    pub mode: Mode,
    /// Which receive queues are served.
    pub queues: Queues,
    /// How many worker threads.
    pub workers: Auto,
    /// CPUs that the workers are pinned to, in order; empty: the CPUs this process may use, in order.
    pub cpus: Vec<usize>,
    /// How messages are spread over workers.
    pub steering: Steering,
    /// How workers wait for messages.
    pub polling: Polling,
    /// Microseconds that a worker which has run out of messages waits, while they come often, so that it takes more at once.
    pub gather_us: Gather,
    /// Frames of each queue.
    pub frames: Frames,
}

/// `dataplane.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// The best that works: zero-copy, else copy, else generic.
    #[default]
    Auto,
    /// Native XDP and zero-copy sockets, or nothing.
    ZeroCopy,
    /// Native XDP, the driver copies each frame once.
    Copy,
    /// XDP in the kernel's generic layer; works with every driver.
    Generic,
    /// No XDP: the kernel's UDP socket alone.
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Auto => "auto",
            Mode::ZeroCopy => "zero-copy",
            Mode::Copy => "copy",
            Mode::Generic => "generic",
            Mode::Off => "off",
        })
    }
}

/// `dataplane.steering`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Steering {
    /// All messages of a dialog reach the same worker.
    #[default]
    CallId,
    /// As the device's RSS spreads them.
    Flow,
}

/// `dataplane.polling`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Polling {
    /// Look for a moment, then sleep until something comes.
    #[default]
    Adaptive,
    /// Never sleep; the kernel polls the device when the worker says so.
    Busy,
    /// Sleep as soon as there is nothing to do.
    Power,
}

/// `dataplane.gather_us`: 0 to 1000
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u32")]
pub(crate) struct Gather(u32);

impl Default for Gather {
    fn default() -> Self {
        Gather(200)
    }
}

impl From<Gather> for Duration {
    fn from(gather: Gather) -> Duration {
        Duration::from_micros(gather.0.into())
    }
}

impl TryFrom<u32> for Gather {
    type Error = &'static str;

    fn try_from(microseconds: u32) -> Result<Self, Self::Error> {
        // The heart must beat, and nobody's call gains by more.
        if microseconds <= 1000 { Ok(Gather(microseconds)) } else { Err("microseconds, 0 to 1000") }
    }
}

/// `dataplane.frames`: a power of two, 4096 to 65536
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u32")]
pub(crate) struct Frames(u32);

impl Frames {
    /// What there is when nothing is said; rings of half as many entries, as long as a NIC's usually are.
    pub(crate) const LEAST: Frames = Frames(4096);

    /// How many.
    pub(crate) const fn count(self) -> u32 {
        self.0
    }
}

impl Default for Frames {
    fn default() -> Self {
        Frames::LEAST
    }
}

impl TryFrom<u32> for Frames {
    type Error = &'static str;

    fn try_from(frames: u32) -> Result<Self, Self::Error> {
        // Fewer than what a NIC's own ring takes would starve the others; more than 256 MiB waits longer than a call does.
        let fits = frames.is_power_of_two() && (Frames::LEAST.0..=65_536).contains(&frames);
        if fits { Ok(Frames(frames)) } else { Err("frames, a power of two from 4096 to 65536") }
    }
}

/// `sip:`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sip {
    /// Addresses and ports we answer on, `ADDR:PORT` or `[V6]:PORT`; no wildcard, because XDP matches exactly.
    pub listen: Vec<SocketAddr>,
    /// Domains (names or addresses) whose users register here; by default the listen addresses.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Stay on the path of a dialog (RFC 3261 section 16.6 step 4).
    #[serde(default = "yes")]
    pub record_route: bool,
    /// Try the contacts of a 3xx that are users of ours, instead of leaving them to the caller (section 16.7 step 4).
    #[serde(default)]
    pub follow_redirects: bool,
}

/// `auth:`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Auth {
    /// Whether requests have to show who sends them. `false` serves everybody who can reach the node.
    pub required: bool,
    /// Digest realm; by default the first domain.
    pub realm: Option<String>,
    /// Digest algorithms, most wanted first.
    pub algorithms: Vec<Algorithm>,
    /// Seconds that a nonce is good for.
    pub nonce_lifetime: u32,
    /// Accept credentials without `qop`, as RFC 2069 had them.
    pub allow_without_qop: bool,
    /// Networks whose hosts are not asked who they are.
    pub trusted: Vec<Network>,
    /// The file of users; read again on SIGHUP.
    pub users: Option<PathBuf>,
}

impl Default for Auth {
    fn default() -> Self {
        Auth {
            required: true,
            realm: None,
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            nonce_lifetime: 300,
            allow_without_qop: false,
            trusted: Vec::new(),
            users: None,
        }
    }
}

impl Auth {
    /// What the engine is told.
    fn engine(&self) -> strowger_engine::Auth {
        let algorithm = |a: &Algorithm| match a {
            Algorithm::Sha512_256 => strowger_engine::Algorithm::Sha512_256,
            Algorithm::Sha256 => strowger_engine::Algorithm::Sha256,
            Algorithm::Md5 => strowger_engine::Algorithm::Md5,
        };
        strowger_engine::Auth {
            realm: self.realm.clone().unwrap_or_default(),
            algorithms: self.algorithms.iter().map(algorithm).collect(),
            nonce_lifetime: self.nonce_lifetime,
            allow_without_qop: self.allow_without_qop,
            trusted: self.trusted.iter().map(|network| network.0).collect(),
            ..strowger_engine::Auth::default()
        }
    }
}

/// Digest algorithms of RFC 8760.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Algorithm {
    /// SHA-512/256
    #[serde(rename = "SHA-512-256")]
    Sha512_256,
    /// SHA-256
    #[serde(rename = "SHA-256")]
    Sha256,
    /// MD5, for phones that know nothing else.
    #[serde(rename = "MD5")]
    Md5,
}

/// `registrar:` (times in seconds)
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Registrar {
    /// A shorter wish is answered 423 with Min-Expires.
    pub min_expires: u32,
    /// Given to those who name no time.
    pub default_expires: u32,
    /// A longer wish is cut to this.
    pub max_expires: u32,
    /// Bindings of one address-of-record.
    pub max_contacts: usize,
    /// Whether phones behind a NAT are reached where their REGISTER came from.
    pub nat: Nat,
    /// Bind contacts to flows (RFC 5626).
    pub outbound: bool,
    /// Flow-Timer of RFC 5626; 0 for none.
    pub flow_timer: u32,
    /// Give GRUUs (RFC 5627).
    pub gruu: bool,
    /// Service-Route of RFC 3608.
    pub service_route: Vec<String>,
}

/// `registrar.nat`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Nat {
    /// Those whose Via and Contact do not name the address they send from.
    #[default]
    Auto,
    /// None.
    Off,
}

impl Default for Registrar {
    fn default() -> Self {
        Registrar {
            min_expires: 60,
            default_expires: 3600,
            max_expires: 7200,
            max_contacts: 10,
            nat: Nat::Auto,
            outbound: true,
            flow_timer: 0,
            gruu: true,
            service_route: Vec::new(),
        }
    }
}

/// `dns:`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dns {
    /// Name servers, `ADDR:PORT`; empty: those of /etc/resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// Seconds that one of them may take.
    pub timeout: u32,
}

impl Default for Dns {
    fn default() -> Self {
        Dns { servers: Vec::new(), timeout: 3 }
    }
}

/// `limits:`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Messages a second from one source address that is no gateway's; what comes above it is dropped.
    pub per_source_pps: u32,
    /// Transactions at once, in each worker.
    pub transactions: usize,
    /// Dialogs at once.
    pub dialogs: usize,
    /// Registered contacts at once.
    pub bindings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { per_source_pps: 2000, transactions: 200_000, dialogs: 200_000, bindings: 1_000_000 }
    }
}

/// `store:`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// Directory of users and bindings.
    pub dir: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Store { dir: "./data".into() }
    }
}

/// `cdr:`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cdr {
    /// Directory of call records.
    pub dir: PathBuf,
}

impl Default for Cdr {
    fn default() -> Self {
        Cdr { dir: "./cdr".into() }
    }
}

/// `console:`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Console {
    /// Address of the operators' console.
    pub listen: SocketAddr,
}

impl Default for Console {
    fn default() -> Self {
        Console { listen: SocketAddr::from(([127, 0, 0, 1], 8888)) }
    }
}

/// `log:`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// The least severe that is written. `trace` also turns on the XDP program's own log.
    pub level: Level,
    /// How it is written.
    pub format: Format,
}

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// What is wrong with a configuration. Each names the key, so that one can go and mend it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file can't be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Not YAML, an unknown key, a value of the wrong kind. The text names the key and line.
    #[error("{}: {error}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Key, line, column, and what is accepted.
        error: serde_yaml::Error,
    },
    /// A value that cannot work, by itself or with another.
    #[error("{}: {key}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Dotted key.
        key: String,
        /// What is wrong and what would be accepted.
        problem: String,
    },
}

impl Config {
    /// Reads and validates a file.
    pub(crate) fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.into(), error })?;
        Config::parse(&text, path)
    }

    /// Validates a text; `path` is only named in errors.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let config: Config =
            serde_yaml::from_str(text).map_err(|error| ConfigError::Syntax { path: path.into(), error })?;
        match config.problem() {
            None => Ok(config),
            Some((key, problem)) => Err(ConfigError::Value { path: path.into(), key, problem }),
        }
    }

    /// The first value that cannot work: its dotted key, and why.
    fn problem(&self) -> Option<(String, String)> {
        let wrong = |key: &str, problem: String| Some((key.to_owned(), problem));

        let name_ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = &self.node.name;
        if name.is_empty() || name.len() > 63 || !name.chars().all(name_ok) || name.starts_with('.') {
            return wrong("node.name", format!("`{name}` is not 1 to 63 letters, digits, `-`, `_` or `.`"));
        }

        match (&self.dataplane.interface, self.dataplane.mode) {
            (None, Mode::Off) => {}
            (None, _) => {
                return wrong(
                    "dataplane.interface",
                    "missing; name the network device (or set `mode: off`)".into(),
                );
            }
            // IFNAMSIZ is 16 with the terminating zero.
            (Some(interface), _)
                if interface.is_empty() || interface.len() > 15 || interface.contains('/') =>
            {
                return wrong(
                    "dataplane.interface",
                    format!("`{interface}` is not a device name of 1 to 15 bytes"),
                );
            }
            (Some(_), _) => {}
        }
        if let Queues::List(list) = &self.dataplane.queues {
            if list.is_empty() {
                return wrong("dataplane.queues", "the list is empty; `all` or for example `[0, 1]`".into());
            }
            for (at, queue) in list.iter().enumerate() {
                if *queue >= strowger_xdp::MAX_QUEUES {
                    return wrong(
                        "dataplane.queues",
                        format!(
                            "{queue} is beyond the last queue we can serve, {}",
                            strowger_xdp::MAX_QUEUES - 1
                        ),
                    );
                }
                if list[..at].contains(queue) {
                    return wrong("dataplane.queues", format!("{queue} is there twice"));
                }
            }
        }
        if let Auto::Count(n) = self.dataplane.workers
            && !(1..=MAX_WORKERS).contains(&n)
        {
            return wrong("dataplane.workers", format!("{n} is not `auto` or 1 to {MAX_WORKERS}"));
        }

        if self.auth.realm.as_ref().is_some_and(String::is_empty) {
            return wrong("auth.realm", "empty; leave it out for the first domain".into());
        }

        for (at, route) in self.routes.iter().enumerate() {
            if let Err((key, problem)) = route.engine(&self.gateways) {
                let dot = if key.is_empty() { "" } else { "." };
                return wrong(&format!("routes[{at}]{dot}{key}"), problem);
            }
        }

        if !(1..=10).contains(&self.dns.timeout) {
            return wrong("dns.timeout", format!("{} is not 1 to 10 seconds", self.dns.timeout));
        }
        if self.dns.servers.len() > 8 || self.dns.servers.iter().any(|server| server.port() == 0) {
            return wrong("dns.servers", "at most 8, each with a port".into());
        }

        if let Some((key, problem)) = self.policing.problem() {
            return wrong(&format!("policing.{key}"), problem);
        }
        // The program doesn't ask for credentials, so it may speak for an engine that doesn't either.
        if let Some(peer) = self.policing.answer_options.iter().find(|peer| !self.trusts(**peer)) {
            let problem =
                format!("{peer} has to show credentials; trust it in auth.trusted, or as a gateway");
            return wrong("policing.answer_options", problem);
        }

        let l = &self.limits;
        for (key, value) in [("transactions", l.transactions), ("dialogs", l.dialogs)] {
            if !(1..=100_000_000).contains(&value) {
                return wrong(&format!("limits.{key}"), format!("{value} is not 1 to 100000000"));
            }
        }
        // The rest is the engine's to judge; its errors begin with the key. Any secret does to be judged.
        let error = self.engine([1; secret::LENGTH]).validate().err()?.to_string();
        let (key, problem) = error.split_once(": ").unwrap_or(("sip", &error));
        wrong(key, problem.to_owned())
    }

    /// Whether the engine asks a source for no credentials.
    fn trusts(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        let gateways = self.gateways.values().filter(|gateway| gateway.trusted);
        !self.auth.required
            || self.auth.trusted.iter().any(|network| network.0.contains(source))
            || gateways.flat_map(|gateway| &gateway.targets).any(|target| target.address.ip() == source)
    }

    /// What the engine is told.
    pub(crate) fn engine(&self, secret: [u8; secret::LENGTH]) -> strowger_engine::Config {
        strowger_engine::Config {
            listen: self.sip.listen.clone(),
            domains: self.sip.domains.clone(),
            record_route: self.sip.record_route,
            follow_redirects: self.sip.follow_redirects,
            auth_required: self.auth.required,
            auth: self.auth.engine(),
            registrar: strowger_engine::Registrar {
                min_expires: self.registrar.min_expires,
                default_expires: self.registrar.default_expires,
                max_expires: self.registrar.max_expires,
                max_contacts: self.registrar.max_contacts,
                nat: self.registrar.nat == Nat::Auto,
                outbound: self.registrar.outbound,
                flow_timer: self.registrar.flow_timer,
                gruu: self.registrar.gruu,
                service_route: self.registrar.service_route.clone(),
            },
            gateways: self.gateways.iter().map(|(name, gateway)| gateway.engine(name)).collect(),
            // What cannot be told was refused by `problem`.
            routes: self.routes.iter().filter_map(|route| route.engine(&self.gateways).ok()).collect(),
            per_source_pps: self.limits.per_source_pps,
            max_bindings: self.limits.bindings,
            transactions: strowger_engine::Transactions::sized(self.limits.transactions),
            // Nobody writes call records yet.
            calls: strowger_engine::Calls {
                max_dialogs: self.limits.dialogs,
                max_events: 0,
                ..Default::default()
            },
            secret,
            server: format!("strowger/{}", env!("CARGO_PKG_VERSION")),
            ..strowger_engine::Config::default()
        }
    }

    /// Things that are accepted but worth a warning at start: one line each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.dataplane.mode == Mode::Off && self.policing.is_on() {
            lines.push(
                "policing: the XDP program does it, and with dataplane.mode: off there is none".to_owned(),
            );
        }
        if self.auth.required {
            match &self.auth.users {
                None => lines.push("auth.required is true and there is no auth.users: nobody can register".to_owned()),
                Some(users) if crate::users::is_open(users) => lines.push(format!(
                    "auth.users: {} can be read by everybody on this machine, and its hashes are as good as passwords",
                    users.display()
                )),
                Some(_) => {}
            }
        } else {
            lines.push(
                "auth.required is false: anybody who can reach this node can register and call".to_owned(),
            );
        }
        lines
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;
