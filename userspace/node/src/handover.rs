//! A node takes another's place while both run: `strowger run --replace`.
//!
//! The new node speaks to the running one over its status socket, which only its owner can open. While the old one serves, the new one
//! reads its configuration, makes its tables and loads its XDP program, and is given a copy of all bindings. Then the old one's workers
//! stand still: what the rings have is handled, and without beats the program that is attached passes everything to the
//! kernel's sockets, which keep it. In this gap the new node gets what has changed since the copy, and the kernel sockets,
//! the XDP link and the status socket themselves (`SCM_RIGHTS`); it serves by the kernel sockets at once, and by AF_XDP as soon
//! as the old process has closed its own. The interface is never without a program, and nobody's port is ever closed.
//!
//! ```text
//! new  {"ask":"hand-over","format":"1.1"}
//! old  an Offer, as one line of JSON; then frames, see `line`: Process
//! new  Copy                       when it is ready to take
//! old  Users … Copied             serving meanwhile
//! new  Pause
//! old  Users … Bans … State · Sockets of each worker · Link, Desk · Given      standing still
//! new  Ready                      when its workers stand ready
//! old  Yours                      and ends; never serves again
//! ```
//!
//! Until `Yours` is sent the old node can go on, and does when the new one fails, says nothing, or ends; it says `Kept` and why when it
//! can. When the old process dies meanwhile, which a descriptor of it tells without doubt, the new one starts with what it has been
//! given. So at each moment exactly one of the two serves.
//!
//! What is not handed over is what a restart loses too: transactions (their responses go on, see `Engine::succeed`), nonces (a client
//! is asked again, and answers by itself), the table of dialogs, scores of guessers, counters.

pub(crate) mod giver;
pub(crate) mod line;
pub(crate) mod taker;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The number of this exchange, and of the records in it. Nodes of different numbers do not understand each other.
pub(crate) fn format() -> String {
    format!("1.{}", strowger_engine::FORMAT)
}

/// What the running node says of itself, for the new one to decide whether it can take its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// See [`format()`].
    pub format: String,
    /// Its program's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its listen addresses, in the order in which records name them.
    pub listen: Vec<SocketAddr>,
    /// Its domains, likewise.
    pub domains: Vec<String>,
    /// The realm of its users.
    pub realm: String,
    /// The device.
    pub interface: Option<String>,
    /// Where that is.
    pub netns: Option<String>,
    /// How it is served now: `off` for not at all.
    pub mode: String,
    /// What nodes with one secret have in common.
    pub seal: String,
    /// Bindings there are.
    pub bindings: usize,
}

/// What the old node says when it has given all records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Since when it stands still, nanoseconds of CLOCK_MONOTONIC.
    pub since_ns: u64,
    /// Datagrams that its kernel sockets have dropped so far.
    pub dropped: u64,
    /// Messages in its rings that nobody handles any more.
    pub left: usize,
}

/// A ban on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenBan {
    /// ADDRESS/BITS.
    pub network: String,
    /// Until when, nanoseconds of CLOCK_MONOTONIC; none for no end.
    pub until_ns: Option<u64>,
    /// Why.
    pub why: crate::policing::Why,
}

/// The realm that a configuration means: its own, or the first domain, or the first listen address.
pub(crate) fn realm(config: &Config) -> String {
    let first = || config.sip.domains.first().cloned();
    let address = || config.sip.listen.first().map(|address| address.ip().to_string());
    config.auth.realm.clone().or_else(first).or_else(address).unwrap_or_default()
}

/// Why `config` cannot take the place of the node that made `offer`, and what to do; `None` when it can, as far as can
/// be told from both.
fn obstacle(offer: &Offer, config: &Config) -> Option<String> {
    let instead = "stop it and start this one (systemctl restart), which costs what is under way";
    let differs = |key: &str, there: &str, here: &str| {
        Some(format!(
            "{key} is {there} with the node that runs and {here} here, and can't change on the way: {instead}"
        ))
    };
    let shown =
        |text: &Option<String>| text.as_ref().map_or("not set".to_owned(), |text| format!("`{text}`"));
    if offer.format != format() {
        return Some(format!(
            "the node that runs (strowger {}) hands over in format {}, and this is strowger {} with {}: {instead}",
            offer.version,
            offer.format,
            env!("CARGO_PKG_VERSION"),
            format()
        ));
    }
    let (mut there, mut here) = (offer.listen.clone(), config.sip.listen.clone());
    there.sort();
    here.sort();
    if there != here {
        return differs("sip.listen", &format!("{:?}", offer.listen), &format!("{:?}", config.sip.listen));
    }
    if offer.netns != config.dataplane.netns {
        return differs("dataplane.netns", &shown(&offer.netns), &shown(&config.dataplane.netns));
    }
    if offer.mode != "off"
        && config.dataplane.mode != crate::config::Mode::Off
        && offer.interface != config.dataplane.interface
    {
        let (there, here) = (shown(&offer.interface), shown(&config.dataplane.interface));
        return differs("dataplane.interface", &there, &here);
    }
    let generic = offer.mode == "generic";
    let fits = match config.dataplane.mode {
        crate::config::Mode::Auto | crate::config::Mode::Off => true,
        crate::config::Mode::Generic => generic,
        crate::config::Mode::ZeroCopy | crate::config::Mode::Copy => !generic,
    };
    if offer.mode != "off" && !fits {
        let (there, here) = (format!("`{}`", offer.mode), format!("`{}`", config.dataplane.mode));
        return differs("dataplane.mode", &there, &here);
    }
    let here = realm(config);
    if offer.realm != here {
        return differs("the realm (auth.realm)", &format!("`{}`", offer.realm), &format!("`{here}`"));
    }
    None
}

/// As [`Offer::seal`] has it.
pub(crate) fn seal(location: &strowger_engine::Location) -> String {
    format!("{:016x}", location.seal())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new("test.yaml")).expect("valid")
    }

    const NODE: &str = "dataplane: { interface: eth1, mode: auto }\nsip: { listen: [\"192.0.2.1:5060\", \"192.0.2.2:5060\"] }\n";

    fn offer(config: &Config) -> Offer {
        Offer {
            format: format(),
            version: "0.1.0".into(),
            pid: 7,
            listen: config.sip.listen.clone(),
            domains: vec![],
            realm: realm(config),
            interface: config.dataplane.interface.clone(),
            netns: config.dataplane.netns.clone(),
            mode: "copy".into(),
            seal: String::new(),
            bindings: 0,
        }
    }

    #[test]
    fn what_differs_is_named_with_what_to_do() {
        let base = config(NODE);
        assert_eq!(obstacle(&offer(&base), &base), None);
        let turned =
            NODE.replace("\"192.0.2.1:5060\", \"192.0.2.2:5060\"", "\"192.0.2.2:5060\", \"192.0.2.1:5060\"");
        let turned = config(&format!("{turned}auth: {{ realm: \"192.0.2.1\" }}\n"));
        assert_eq!(obstacle(&offer(&base), &turned), None, "the order does not matter");
        for (text, named) in [
            (NODE.replace("192.0.2.2:5060", "192.0.2.3:5060"), "sip.listen"),
            (NODE.replace("eth1", "eth2"), "dataplane.interface"),
            (NODE.replace("mode: auto", "mode: auto, netns: blue"), "dataplane.netns"),
            (NODE.replace("mode: auto", "mode: generic"), "dataplane.mode"),
            (format!("{NODE}auth: {{ realm: other }}\n"), "auth.realm"),
        ] {
            let why = obstacle(&offer(&base), &config(&text)).expect(named);
            assert!(why.contains(named) && why.contains("systemctl restart"), "{why}");
        }
        let newer = Offer { format: "9.9".into(), ..offer(&base) };
        assert!(obstacle(&newer, &base).is_some_and(|why| why.contains("9.9")));
        let generic = Offer { mode: "generic".into(), ..offer(&base) };
        assert_eq!(obstacle(&generic, &base), None);
        assert!(obstacle(&generic, &config(&NODE.replace("auto", "zero-copy"))).is_some());
        let off = Offer { mode: "off".into(), ..offer(&base) };
        assert_eq!(obstacle(&off, &config(&NODE.replace("eth1", "eth2"))), None, "nothing is on a device");
    }
}
