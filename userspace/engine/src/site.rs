//! Who we are: which hosts, ports and domains mean this node (RFC 3261 sections 16.3 to 16.5 and 19.1.4).
//!
//! Built once from the configuration, asked for every URI and Via. Nothing is looked up outside.

use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;

use strowger_sip::Host;

use crate::config::{Config, Domain};

/// The port of a sip URI or a Via over UDP that names none (RFC 3261 sections 18.2.2 and 19.1.2).
pub(crate) const DEFAULT_PORT: u16 = 5060;

/// Names up to which comparing with each is the short way. Most nodes have one or two.
const FEW_NAMES: usize = 4;

/// A listen address and its text for Via and Record-Route: `192.0.2.1:5060`, `[2001:db8::1]:5060`.
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) text: Box<str>,
}

/// The node's addresses and domains.
pub(crate) struct Site {
    pub(crate) listen: Box<[Listen]>,
    /// Lower case, without the root's dot.
    names: Box<[(Box<[u8]>, u16)]>,
    /// The same, for more than [`FEW_NAMES`]. The standard library's hash is keyed at random.
    by_name: HashMap<Box<[u8]>, u16>,
    addresses: Box<[(IpAddr, u16)]>,
}

impl Site {
    /// `config` has been validated.
    pub(crate) fn new(config: &Config) -> Self {
        let listen =
            config.listen.iter().map(|a| Listen { address: *a, text: a.to_string().into_boxed_str() });
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        for (domain, index) in config.domains().into_iter().zip(0u16..) {
            match domain {
                Domain::Name(name) => {
                    names.push((name.into_bytes().into_boxed_slice(), index));
                }
                Domain::Address(ip) => addresses.push((ip, index)),
            }
        }
        Self {
            listen: listen.collect(),
            by_name: names.iter().cloned().collect(),
            names: names.into_boxed_slice(),
            addresses: addresses.into_boxed_slice(),
        }
    }

    /// Index of a listen address.
    pub(crate) fn listen_index(&self, address: SocketAddr) -> Option<u8> {
        // At most 32: a scan is faster than a hash.
        let at = self
            .listen
            .iter()
            .position(|l| l.address.port() == address.port() && l.address.ip() == address.ip())?;
        u8::try_from(at).ok()
    }

    /// Index of the listen address that a `sent-by`, or the host and port of a Route of ours, names.
    pub(crate) fn listen_named(&self, host: &Host<'_>, port: Option<u16>) -> Option<u8> {
        let ip = host.ip()?.to_canonical();
        self.listen_index(SocketAddr::new(ip, port.unwrap_or(DEFAULT_PORT)))
    }

    /// Index of the domain of ours that a host and port name.
    ///
    /// Without a port the host alone decides: `sip:a@example.net` may resolve to any port. With one, it must be a
    /// port we listen on, since `sip:a@192.0.2.1:5070` may be a phone on the same machine.
    pub(crate) fn domain(&self, host: &Host<'_>, port: Option<u16>) -> Option<u16> {
        match host {
            Host::Name(name) => {
                let name = name.strip_suffix(b".").unwrap_or(name);
                let index = match &*self.names {
                    few if few.len() <= FEW_NAMES => {
                        let (_, index) =
                            few.iter().find(|(own, _)| **own == *name || own.eq_ignore_ascii_case(name))?;
                        *index
                    }
                    _ => self.among_many(name)?,
                };
                port.is_none_or(|p| self.listen.iter().any(|l| l.address.port() == p)).then_some(index)
            }
            Host::V4(_) | Host::V6(_) => {
                let ip = host.ip()?.to_canonical();
                let (_, index) = *self.addresses.iter().find(|(address, _)| *address == ip)?;
                let own = self.listen.iter().any(|l| l.address.ip() == ip);
                let serves =
                    |p| self.listen.iter().any(|l| l.address.port() == p && (!own || l.address.ip() == ip));
                port.is_none_or(serves).then_some(index)
            }
        }
    }

    /// The domain with this name, when there are more than a comparison with each is worth.
    #[inline(never)]
    fn among_many(&self, name: &[u8]) -> Option<u16> {
        let mut lower = [0; strowger_sip::limit::HOST];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).copied()
    }

    /// Whether a host and port mean this node, by domain or by listen address.
    pub(crate) fn is_us(&self, host: &Host<'_>, port: Option<u16>) -> bool {
        self.domain(host, port).is_some() || self.listen_named(host, port).is_some()
    }

    /// The listen address to send to `remote` from: `preferred` when it has the same family, else the first that
    /// has. `None` when there is none.
    pub(crate) fn listen_for(&self, remote: SocketAddr, preferred: u8) -> Option<u8> {
        let same = |l: &Listen| l.address.is_ipv4() == remote.is_ipv4();
        if self.listen.get(usize::from(preferred)).is_some_and(same) {
            return Some(preferred);
        }
        u8::try_from(self.listen.iter().position(same)?).ok()
    }

    pub(crate) fn listen(&self, index: u8) -> Option<&Listen> {
        self.listen.get(usize::from(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site::new(&Config {
            listen: ["10.0.0.2:5060", "10.0.0.2:5080", "[2001:db8::2]:5062"]
                .map(|a| a.parse().unwrap())
                .into(),
            domains: vec![
                "Example.NET".into(),
                "10.0.0.2".into(),
                "203.0.113.7".into(),
                "2001:DB8:0::2".into(),
            ],
            secret: [1; 32],
            ..Config::default()
        })
    }

    fn host(text: &str) -> Host<'_> {
        Host::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn domains_by_host_and_port() {
        let site = site();
        for (text, port, expected) in [
            ("example.net", None, Some(0)),
            ("EXAMPLE.net.", Some(5060), Some(0)),
            ("example.net", Some(5062), Some(0)),
            ("example.net", Some(5061), None),
            ("www.example.net", None, None),
            ("10.0.0.2", None, Some(1)),
            ("10.0.0.2", Some(5080), Some(1)),
            ("10.0.0.2", Some(5062), None),
            ("10.0.0.3", None, None),
            ("203.0.113.7", Some(5062), Some(2)),
            ("203.0.113.7", Some(5070), None),
            ("[2001:db8:0:0::2]", None, Some(3)),
            ("[2001:db8::2]", Some(5060), None),
            ("[::ffff:10.0.0.2]", None, Some(1)),
        ] {
            assert_eq!(site.domain(&host(text), port), expected, "{text} {port:?}");
        }
    }

    #[test]
    fn listen_addresses_need_the_exact_port() {
        let site = site();
        assert_eq!(site.listen_named(&host("10.0.0.2"), None), Some(0));
        assert_eq!(site.listen_named(&host("10.0.0.2"), Some(5080)), Some(1));
        assert_eq!(site.listen_named(&host("10.0.0.2"), Some(5070)), None);
        assert_eq!(site.listen_named(&host("[2001:db8::2]"), None), None);
        assert_eq!(site.listen_named(&host("example.net"), Some(5060)), None);
        assert!(site.is_us(&host("example.net"), None) && !site.is_us(&host("10.0.0.2"), Some(5070)));
    }

    #[test]
    fn sends_from_the_same_family() {
        let site = site();
        let (v4, v6) = ("192.0.2.9:5060".parse().unwrap(), "[2001:db8::9]:5060".parse().unwrap());
        assert_eq!(site.listen_for(v4, 1), Some(1));
        assert_eq!(site.listen_for(v4, 2), Some(0));
        assert_eq!(site.listen_for(v6, 0), Some(2));
        let only4 = Site {
            listen: site.listen.into_iter().take(1).collect(),
            names: Box::new([]),
            by_name: HashMap::new(),
            addresses: Box::new([]),
        };
        assert_eq!(only4.listen_for(v6, 0), None);
    }

    #[test]
    fn many_domains_are_found_as_few_are() {
        for many in [1, FEW_NAMES, FEW_NAMES + 1, 40] {
            let names: Vec<String> = (0..many).map(|n| format!("Host{n}.Example.NET")).collect();
            let site = Site::new(&Config {
                listen: vec!["10.0.0.2:5060".parse().unwrap()],
                domains: names.clone(),
                secret: [1; 32],
                ..Config::default()
            });
            for (index, name) in (0u16..).zip(&names) {
                assert_eq!(site.domain(&host(&name.to_uppercase()), None), Some(index), "{name} of {many}");
            }
            assert_eq!(site.domain(&host("host40.example.net"), None), None);
        }
    }
}
