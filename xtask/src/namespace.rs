//! Network namespaces by name, as iproute2 keeps them in /run/netns.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Failure;
use crate::failure::Doing as _;
use crate::process;

/// A named network namespace; it need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The namespace of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where iproute2 mounts it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Whether the name is taken, by a working namespace or by what an interrupted `ip netns add` left.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Whether it can be entered. An interrupted `ip netns add` leaves a plain file, which cannot.
    pub fn works(&self) -> bool {
        self.exists() && self.enter_on_a_thread(|| ()).is_ok()
    }

    /// Makes it when it is not there, or not in working order; tells whether it did.
    ///
    /// # Errors
    /// What `ip netns` says, usually a missing privilege.
    pub fn ensure(&self) -> Result<bool, Failure> {
        if self.works() {
            return Ok(false);
        }
        self.remove()?;
        process::output(Command::new("ip").args(["netns", "add", &self.name]))?;
        self.ip(&["link", "set", "lo", "up"])?;
        Ok(true)
    }

    /// Removes it when it is there; tells whether it did. Interfaces inside go with the last process in it.
    ///
    /// # Errors
    /// What `ip netns` says.
    pub fn remove(&self) -> Result<bool, Failure> {
        if !self.exists() {
            return Ok(false);
        }
        process::output(Command::new("ip").args(["netns", "del", &self.name]))?;
        Ok(true)
    }

    /// `ip -n NAME ARGUMENTS`, its standard output.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, arguments: &[&str]) -> Result<String, Failure> {
        process::output(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// The same, read as JSON.
    ///
    /// # Errors
    /// What `ip` says, or output that is not JSON.
    pub fn ip_json(&self, arguments: &[&str]) -> Result<serde_json::Value, Failure> {
        let text = process::output(Command::new("ip").args(["-n", &self.name, "-j", "-d"]).args(arguments))?;
        if text.trim().is_empty() {
            return Ok(serde_json::Value::Array(Vec::new()));
        }
        serde_json::from_str(&text).doing("read the JSON of ip")
    }

    /// A command that will run inside. It keeps the pid of the child, since `ip netns exec` execs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Moves the calling thread into the namespace for the rest of its life.
    ///
    /// # Errors
    /// The namespace is missing, or the privilege to enter it.
    pub fn enter(&self) -> Result<(), Failure> {
        let file = File::open(self.path()).doing(format!("open the namespace {}", self.name))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .doing(format!("enter the namespace {}", self.name))
    }

    /// Runs the closure on a thread inside the namespace and gives what it returns.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the closure panicked.
    pub fn enter_on_a_thread<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|_| Err(Failure::failed("a thread inside the namespace panicked")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_namespace_is_neither_there_nor_working() {
        let namespace = Namespace::new("swt-no-such-namespace");
        assert!(!namespace.exists());
        assert!(!namespace.works());
        assert!(namespace.enter_on_a_thread(|| ()).is_err());
        assert!(!namespace.remove().unwrap(), "removing what is not there is no error and no deed");
    }
}
