//! The laboratory's wire: two network namespaces joined by a veth pair, the node's end and the peers' end.
//!
//! `cargo xtask lab up` makes the standard one; the end-to-end tests make their own beside it under other names.
//! Making and removing are idempotent, and a half-made laboratory is repaired. Nothing outside the two namespaces is
//! touched: the interfaces are born inside them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;

use serde_json::Value;

use crate::Failure;
use crate::failure::Doing as _;
use crate::namespace::Namespace;
use crate::process;

/// The names and addresses of one laboratory. The addresses are the same in all of them: each has its own namespaces.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Where the node's workers live.
    pub node: Namespace,
    /// Where the phones live.
    pub peers: Namespace,
}

impl Lab {
    /// The node's end of the veth pair.
    pub const NODE_INTERFACE: &str = "sw-node";
    /// The peers' end.
    pub const PEERS_INTERFACE: &str = "sw-peers";
    /// The node's IPv4 address, in a /24.
    pub const NODE_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    /// The peers' IPv4 address, in the same /24.
    pub const PEERS_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// The node's IPv6 address, in a /64.
    pub const NODE_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2);
    /// The peers' IPv6 address, in the same /64.
    pub const PEERS_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
    /// Where the node listens for SIP.
    pub const SIP_PORT: u16 = 5060;

    /// The laboratory of `cargo xtask lab` and `cargo xtask build-and-load`.
    pub fn standard() -> Self {
        Self { node: Namespace::new("strowger-node"), peers: Namespace::new("strowger-peers") }
    }

    /// One of its own: the namespaces are `NAME-node` and `NAME-peers`.
    pub fn named(name: &str) -> Self {
        Self { node: Namespace::new(format!("{name}-node")), peers: Namespace::new(format!("{name}-peers")) }
    }

    /// Where the node listens over IPv4.
    pub fn node_v4() -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Self::NODE_V4), Self::SIP_PORT)
    }

    /// Where the node listens over IPv6.
    pub fn node_v6() -> SocketAddr {
        SocketAddr::new(IpAddr::V6(Self::NODE_V6), Self::SIP_PORT)
    }

    /// The node's end in one line.
    pub fn node_end(&self) -> String {
        format!("{} {} {} in {}", Self::NODE_INTERFACE, Self::NODE_V4, Self::NODE_V6, self.node.name())
    }

    /// The peers' end in one line.
    pub fn peers_end(&self) -> String {
        format!("{} {} {} in {}", Self::PEERS_INTERFACE, Self::PEERS_V4, Self::PEERS_V6, self.peers.name())
    }

    /// Makes what is missing and mends what is half made; gives what was done, one line each, nothing when all stood.
    ///
    /// # Errors
    /// What `ip` says, usually a missing privilege.
    pub fn up(&self) -> Result<Vec<String>, Failure> {
        let mut done = Vec::new();
        for namespace in [&self.node, &self.peers] {
            if namespace.ensure()? {
                done.push(format!("made namespace {}", namespace.name()));
            }
            // Also after a namespace that somebody else made: a local message needs the loopback.
            namespace.ip(&["link", "set", "lo", "up"])?;
        }
        if !self.joined()? {
            self.unplug()?;
            #[rustfmt::skip]
            self.node.ip(&[
                "link", "add", Self::NODE_INTERFACE, "type", "veth",
                "peer", "name", Self::PEERS_INTERFACE, "netns", self.peers.name(),
            ])?;
            done.push(format!("joined {} and {}", Self::NODE_INTERFACE, Self::PEERS_INTERFACE));
        }
        for end in self.ends() {
            done.extend(end.up()?);
        }
        Ok(done)
    }

    /// Removes everything that is there; gives what was done, one line each, nothing when nothing stood.
    ///
    /// # Errors
    /// What `ip` says. What could be removed before has been.
    pub fn down(&self) -> Result<Vec<String>, Failure> {
        let mut done = Vec::new();
        // A process that still runs inside would keep a namespace, and with it the interface, alive without a name.
        if self.unplug()? {
            done.push(format!("unplugged {} and {}", Self::NODE_INTERFACE, Self::PEERS_INTERFACE));
        }
        for namespace in [&self.node, &self.peers] {
            if namespace.remove()? {
                done.push(format!("removed namespace {}", namespace.name()));
            }
        }
        Ok(done)
    }

    /// Whether every part stands: both ends, joined to each other, up, with their addresses.
    pub fn stands(&self) -> bool {
        self.node.works()
            && self.peers.works()
            && self.joined().unwrap_or(false)
            && self.ends().iter().all(|end| end.stands().unwrap_or(false))
    }

    /// Whether any part is there.
    pub fn exists(&self) -> bool {
        self.node.exists() || self.peers.exists()
    }

    /// Name or number of the XDP programs attached to the node's interface; empty when there are none.
    ///
    /// # Errors
    /// The interface is not there.
    pub fn xdp_programs(&self) -> Result<Vec<String>, Failure> {
        xdp_programs(Some(&self.node), Self::NODE_INTERFACE)
    }

    /// Removes the laboratory when the guard goes out of scope, also when a test panics.
    #[must_use]
    pub fn guard(self) -> Guard {
        Guard { lab: self }
    }

    fn ends(&self) -> [End<'_>; 2] {
        [
            End {
                namespace: &self.node,
                interface: Self::NODE_INTERFACE,
                v4: Self::NODE_V4,
                v6: Self::NODE_V6,
            },
            End {
                namespace: &self.peers,
                interface: Self::PEERS_INTERFACE,
                v4: Self::PEERS_V4,
                v6: Self::PEERS_V6,
            },
        ]
    }

    /// Whether the two interfaces are the two ends of one pair, and not leftovers of two.
    fn joined(&self) -> Result<bool, Failure> {
        let [node, peers] = self.ends();
        let (Some(node), Some(peers)) = (node.link()?, peers.link()?) else { return Ok(false) };
        Ok(node["link_index"] == peers["ifindex"] && peers["link_index"] == node["ifindex"])
    }

    /// Deletes either end, wherever it is; the kernel takes the other with it. Tells whether there was one.
    fn unplug(&self) -> Result<bool, Failure> {
        let mut unplugged = false;
        for end in self.ends() {
            if end.link()?.is_some() {
                let deleted = end.namespace.ip(&["link", "del", end.interface]);
                // The kernel takes down a deleted namespace in the background, and with it the other end of its
                // wires: what was there a moment ago may have gone by itself.
                if deleted.is_err() && end.link()?.is_some() {
                    deleted?;
                }
                unplugged = true;
            }
        }
        Ok(unplugged)
    }
}

/// One end of the pair with the addresses it must have.
struct End<'a> {
    namespace: &'a Namespace,
    interface: &'static str,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl End<'_> {
    /// The interface as `ip -j addr` shows it, if it is there.
    fn link(&self) -> Result<Option<Value>, Failure> {
        if !self.namespace.works() {
            return Ok(None);
        }
        let all = self.namespace.ip_json(&["addr", "show"])?;
        let found =
            all.as_array().and_then(|links| links.iter().find(|link| link["ifname"] == self.interface));
        Ok(found.cloned())
    }

    fn stands(&self) -> Result<bool, Failure> {
        let Some(link) = self.link()? else { return Ok(false) };
        Ok(is_up(&link) && self.missing_addresses(&link).is_empty())
    }

    fn missing_addresses(&self, link: &Value) -> Vec<String> {
        let has = |address: &str| {
            link["addr_info"].as_array().is_some_and(|all| all.iter().any(|entry| entry["local"] == address))
        };
        let mut missing = Vec::new();
        if !has(&self.v4.to_string()) {
            missing.push(format!("{}/24", self.v4));
        }
        if !has(&self.v6.to_string()) {
            missing.push(format!("{}/64", self.v6));
        }
        missing
    }

    fn up(&self) -> Result<Vec<String>, Failure> {
        let mut done = Vec::new();
        let link = self.link()?.ok_or_else(|| Failure::failed(format!("{} is not there", self.interface)))?;
        for address in self.missing_addresses(&link) {
            // No duplicate address detection: the address must answer at once, and nobody else is on this wire.
            let mut arguments = vec!["addr", "add", address.as_str(), "dev", self.interface];
            if address.contains(':') {
                arguments.push("nodad");
            }
            self.namespace.ip(&arguments)?;
            done.push(format!("gave {} {address}", self.interface));
        }
        if !is_up(&link) {
            self.namespace.ip(&["link", "set", self.interface, "up"])?;
            done.push(format!("brought {} up", self.interface));
        }
        Ok(done)
    }
}

fn is_up(link: &Value) -> bool {
    link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"))
}

/// Name or number of the XDP programs attached to an interface, native, generic or offloaded; without a namespace the
/// interface is one of ours.
///
/// # Errors
/// The interface is not there.
pub fn xdp_programs(namespace: Option<&Namespace>, interface: &str) -> Result<Vec<String>, Failure> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace.name()]);
    }
    let text = process::output(command.args(["-j", "-d", "link", "show", "dev", interface]))?;
    let links: Value = serde_json::from_str(&text).doing("read the JSON of ip")?;
    Ok(programs_of(&links[0]))
}

/// The programs in one link of `ip -j -d link`: `xdp.attached` when there are several modes, else `xdp.prog`.
fn programs_of(link: &Value) -> Vec<String> {
    let xdp = &link["xdp"];
    if xdp.is_null() {
        return Vec::new();
    }
    let one = |program: &Value| match (program["name"].as_str(), program["id"].as_u64()) {
        (Some(name), Some(id)) => format!("{name} (id {id})"),
        (None, Some(id)) => format!("id {id}"),
        _ => program.to_string(),
    };
    match xdp["attached"].as_array() {
        Some(all) => all.iter().map(|entry| one(&entry["prog"])).collect(),
        None => vec![one(&xdp["prog"])],
    }
}

/// See [`Lab::guard`].
#[derive(Debug)]
pub struct Guard {
    lab: Lab,
}

impl std::ops::Deref for Guard {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(failure) = self.lab.down() {
            eprintln!("the laboratory {} was not removed: {failure}", self.lab.node.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn programs_are_read_in_both_shapes_of_ip() {
        assert!(programs_of(&json!({"ifname": "sw-node"})).is_empty());
        let one = json!({"xdp": {"mode": 1, "prog": {"id": 7, "name": "strowger", "tag": "00"}}});
        assert_eq!(programs_of(&one), ["strowger (id 7)"]);
        let two = json!({"xdp": {"mode": 4, "attached": [
            {"mode": 1, "prog": {"id": 7, "name": "a"}}, {"mode": 2, "prog": {"id": 8}}]}});
        assert_eq!(programs_of(&two), ["a (id 7)", "id 8"]);
    }
}
