//! The configuration files that the chores write, and the little they read from one that somebody else wrote.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Failure;
use crate::failure::Doing as _;
use crate::lab::Lab;

/// A configuration with one interface, as a laboratory or a NIC needs it.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// `node.name`.
    pub name: String,
    /// `node.socket`; without it the node's default.
    pub socket: Option<PathBuf>,
    /// `dataplane.interface`.
    pub interface: String,
    /// `dataplane.netns`.
    pub netns: Option<String>,
    /// `dataplane.mode`.
    pub mode: String,
    /// `dataplane.workers`; without it the node's default.
    pub workers: Option<u32>,
    /// More of `dataplane:`, whole lines as they stand below it.
    pub plane: String,
    /// `sip.listen`.
    pub listen: Vec<SocketAddr>,
    /// Whether anybody may register (`auth.required: false`).
    pub open: bool,
    /// More of `auth:`, as a flow mapping has it: `algorithms: [MD5], users: FILE`.
    pub auth: String,
    /// Lines added as they are, for tests of what the node says to them.
    pub extra: String,
}

impl Configuration {
    /// The node of a laboratory, on IPv4 and IPv6.
    pub fn for_lab(lab: &Lab, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            socket: None,
            interface: Lab::NODE_INTERFACE.to_owned(),
            netns: Some(lab.node.name().to_owned()),
            mode: "auto".to_owned(),
            workers: None,
            plane: String::new(),
            listen: vec![Lab::node_v4(), Lab::node_v6()],
            open: true,
            auth: String::new(),
            extra: String::new(),
        }
    }

    /// The YAML.
    pub fn text(&self) -> String {
        let mut text = String::from("# Written by cargo xtask; the next run writes it anew.\n");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "node:\n  name: {}", self.name);
        if let Some(socket) = &self.socket {
            let _ = writeln!(text, "  socket: {}", socket.display());
        }
        let _ = writeln!(text, "dataplane:\n  interface: {}", self.interface);
        if let Some(netns) = &self.netns {
            let _ = writeln!(text, "  netns: {netns}");
        }
        let _ = writeln!(text, "  mode: {}", self.mode);
        if let Some(workers) = self.workers {
            let _ = writeln!(text, "  workers: {workers}");
        }
        text.push_str(&self.plane);
        let listen: Vec<String> = self.listen.iter().map(|address| format!("\"{address}\"")).collect();
        let listen = listen.join(", ");
        // The domains are the listen addresses by default, and so are the phones'.
        let _ = writeln!(text, "sip:\n  listen: [{listen}]");
        let more = if self.auth.is_empty() { String::new() } else { format!(", {}", self.auth) };
        let _ = writeln!(text, "auth: {{ required: {}{more} }}", !self.open);
        text.push_str(&self.extra);
        text
    }

    /// Writes the file, and its directory when it is missing. The node's store is beside it.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).doing(format!("make {}", directory.display()))?;
        }
        let store = format!("store:\n  dir: {}\n", path.with_extension("data").display());
        fs::write(path, self.text() + &store).doing(format!("write {}", path.display()))
    }
}

/// Where a node described by a file is found: its status socket and its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The status socket.
    pub socket: PathBuf,
    /// The interface that XDP serves; mode off needs none.
    pub interface: Option<String>,
    /// Its network namespace, when it is not ours.
    pub netns: Option<String>,
}

impl Endpoint {
    /// Reads them from a configuration file. Whether the file is right is for `strowger check` to say.
    ///
    /// # Errors
    /// The file cannot be read, or is no YAML of that shape.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).doing(format!("read {}", path.display()))?;
        Self::parse(&text).doing(format!("read {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, serde_yaml::Error> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            node: Node,
            #[serde(default)]
            dataplane: Dataplane,
        }
        #[derive(Default, Deserialize)]
        struct Node {
            name: Option<String>,
            socket: Option<PathBuf>,
        }
        #[derive(Default, Deserialize)]
        struct Dataplane {
            interface: Option<String>,
            netns: Option<String>,
        }
        let file: File = serde_yaml::from_str(text)?;
        let name = file.node.name.unwrap_or_else(|| DEFAULT_NAME.to_owned());
        Ok(Self {
            socket: file.node.socket.unwrap_or_else(|| default_socket(&name)),
            interface: file.dataplane.interface,
            netns: file.dataplane.netns,
        })
    }
}

/// `node.name` when the file does not say it.
const DEFAULT_NAME: &str = "strowger";

/// Where a node of this name puts its status socket by default.
pub fn default_socket(name: &str) -> PathBuf {
    Path::new("/run/strowger").join(format!("{name}.sock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let lab = Lab::named("swt-text");
        let mut configuration = Configuration::for_lab(&lab, "one");
        let endpoint = Endpoint::parse(&configuration.text()).unwrap();
        assert_eq!(endpoint.socket, PathBuf::from("/run/strowger/one.sock"));
        assert_eq!(endpoint.interface.as_deref(), Some("sw-node"));
        assert_eq!(endpoint.netns.as_deref(), Some("swt-text-node"));
        assert!(configuration.text().contains("listen: [\"10.77.0.2:5060\", \"[fd77::2]:5060\"]"));
        configuration.socket = Some(PathBuf::from("/tmp/other.sock"));
        configuration.workers = Some(2);
        assert!(configuration.text().contains("  workers: 2\n"));
        let endpoint = Endpoint::parse(&configuration.text()).unwrap();
        assert_eq!(endpoint.socket, PathBuf::from("/tmp/other.sock"));
    }
}
