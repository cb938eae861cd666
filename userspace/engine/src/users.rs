//! Who may use the node: users and what proves them.
//!
//! The engine asks; the node answers from its file of users. No password is anywhere: only HA1, the hash of user,
//! realm and password (RFC 7616 section 3.4.2).

use core::fmt;

/// What is known of a user. An algorithm without a hash is one that the user cannot be authenticated by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// HA1 by MD5.
    pub md5: Option<[u8; 16]>,
    /// HA1 by SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// HA1 by SHA-512/256.
    pub sha512_256: Option<[u8; 32]>,
    /// Whether he may use the node.
    pub state: State,
}

/// Whether a user may use the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// He may.
    #[default]
    Active,
    /// Not in use: refused with 403 once he has proven who he is.
    Inactive,
    /// Locked out for a reason: the same.
    Suspended,
}

/// An HA1 is as good as a password: it is not printed.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Where users are looked up. Asked by every worker for every request with credentials, so it must neither block
/// nor allocate.
pub trait Users: Send + Sync {
    /// The user whose credentials carry the name `user`, octet by octet, in the domain of ours as the configuration
    /// spells it in lower case. Names with a domain (`alice@example.net`) are names of their own, since HA1 is
    /// over the name as the client has it.
    fn find(&self, user: &[u8], domain: &str) -> Option<Credentials>;
}

/// Nobody: what an engine has that was not given users.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoUsers;

impl Users for NoUsers {
    fn find(&self, _user: &[u8], _domain: &str) -> Option<Credentials> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_print_hashes() {
        let user = Credentials {
            md5: Some([171; 16]),
            sha256: Some([171; 32]),
            sha512_256: None,
            state: State::Suspended,
        };
        let text = format!("{user:?}");
        assert!(!text.contains("171") && text.contains("Suspended"), "{text}");
        assert_eq!(NoUsers.find(b"alice", "example.net"), None);
    }
}
