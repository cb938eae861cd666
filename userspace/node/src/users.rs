//! The users file: who can authenticate, by HA1 alone. Read at start and again on SIGHUP; asked by every worker.
//!
//! ```yaml
//! users:
//!   - { user: alice, domain: example.net, sha-256: …, md5: …, state: active }
//! ```
//! `strowger user hash` writes such a line. A file that is wrong is refused whole, with the key and the line, and the
//! users that were known before stay.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use arc_swap::ArcSwap;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use strowger_engine::{Credentials, State, Users};
use strowger_sip::Hash;

use crate::config::ConfigError;

/// Octets of a name: those of a user in the location table.
const NAME: usize = strowger_engine::limit::USER;

/// By domain, then by name.
type Table = HashMap<Box<str>, HashMap<Box<[u8]>, Credentials>>;

/// The users of a file, as they were when it was last read without an error.
#[derive(Default)]
pub(crate) struct UserTable(ArcSwap<Table>);

impl UserTable {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<UserTable, ConfigError> {
        read(path).map(|table| UserTable(ArcSwap::from_pointee(table)))
    }

    /// Reads the file again. With an error everything stays as it is.
    pub(crate) fn reload(&self, path: &Path) -> Result<(), ConfigError> {
        self.0.store(read(path)?.into());
        Ok(())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.load().values().map(HashMap::len).sum()
    }
}

impl Users for UserTable {
    fn find(&self, user: &[u8], domain: &str) -> Option<Credentials> {
        self.0.load().get(domain)?.get(user).copied()
    }
}

/// Whether others than the owner and the group can read the file. HA1s are as good as passwords.
pub(crate) fn is_open(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o007 != 0)
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.into(), error })?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Table, ConfigError> {
    let file: File =
        serde_yaml::from_str(text).map_err(|error| ConfigError::Syntax { path: path.into(), error })?;
    let mut table = Table::new();
    for (at, entry) in file.users.into_iter().enumerate() {
        let wrong = |key: &str, problem: String| ConfigError::Value {
            path: path.into(),
            key: format!("users[{at}].{key}"),
            problem,
        };
        if entry.user.is_empty() || entry.user.len() > NAME {
            return Err(wrong("user", format!("{} octets are not 1 to {NAME}", entry.user.len())));
        }
        if entry.domain.is_empty() {
            return Err(wrong("domain", "empty; one of sip.domains is wanted".to_owned()));
        }
        if entry.md5.is_none() && entry.sha256.is_none() && entry.sha512_256.is_none() {
            return Err(wrong(
                "md5",
                "neither md5 nor sha-256 nor sha-512-256: nothing to prove him by".to_owned(),
            ));
        }
        let domain = entry.domain.to_ascii_lowercase();
        let credentials = Credentials {
            md5: entry.md5.map(|Hex(bytes)| bytes),
            sha256: entry.sha256.map(|Hex(bytes)| bytes),
            sha512_256: entry.sha512_256.map(|Hex(bytes)| bytes),
            state: entry.state.into(),
        };
        let users = table.entry(domain.trim_end_matches('.').into()).or_default();
        if users.insert(entry.user.as_bytes().into(), credentials).is_some() {
            return Err(wrong("user", format!("`{}` of {domain} is there twice", entry.user)));
        }
    }
    Ok(table)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    users: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    user: String,
    domain: String,
    md5: Option<Hex<16>>,
    #[serde(rename = "sha-256")]
    sha256: Option<Hex<32>>,
    #[serde(rename = "sha-512-256")]
    sha512_256: Option<Hex<32>>,
    #[serde(default)]
    state: EntryState,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EntryState {
    #[default]
    Active,
    Inactive,
    Suspended,
}

impl From<EntryState> for State {
    fn from(state: EntryState) -> State {
        match state {
            EntryState::Active => State::Active,
            EntryState::Inactive => State::Inactive,
            EntryState::Suspended => State::Suspended,
        }
    }
}

/// A hash in hexadecimal digits.
struct Hex<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits<const N: usize>;
        impl<const N: usize> Visitor<'_> for Digits<N> {
            type Value = Hex<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} hexadecimal digits in quotes", 2 * N)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hex<N>, E> {
                let bytes = match Hash::from_hex(text.as_bytes()) {
                    Some(Hash::Bits128(bytes)) => <[u8; N]>::try_from(&bytes[..]).ok(),
                    Some(Hash::Bits256(bytes)) => <[u8; N]>::try_from(&bytes[..]).ok(),
                    None => None,
                };
                // The text is not repeated: it may be a password put into the wrong place.
                bytes.map(Hex).ok_or_else(|| E::custom(format_args!("not {} hexadecimal digits", 2 * N)))
            }
        }
        deserializer.deserialize_str(Digits::<N>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "939e7578ed9e3c518a452acee763bce9";

    fn error(text: &str) -> String {
        parse(text, Path::new("users.yaml")).expect_err("must be refused").to_string()
    }

    #[test]
    fn users_by_name_and_domain() {
        let sha = "00112233445566778899aabbccddeeff".repeat(2);
        let text = format!(
            "users:\n  - {{ user: alice, domain: Example.NET., md5: \"{MD5}\", sha-256: \"{sha}\" }}\n  \
             - {{ user: alice, domain: 10.0.0.1, sha-512-256: \"{sha}\", state: suspended }}\n"
        );
        let users = UserTable(ArcSwap::from_pointee(parse(&text, Path::new("u")).expect("valid")));
        assert_eq!(users.len(), 2);
        let alice = users.find(b"alice", "example.net").expect("known");
        assert_eq!((alice.md5.map(|b| b[0]), alice.sha256.map(|b| b[1])), (Some(0x93), Some(0x11)));
        assert_eq!((alice.sha512_256, alice.state), (None, State::Active));
        assert_eq!(users.find(b"alice", "10.0.0.1").map(|u| u.state), Some(State::Suspended));
        assert!(users.find(b"Alice", "example.net").is_none() && users.find(b"alice", "").is_none());
    }

    #[test]
    fn errors_name_key_and_line() {
        for (text, parts) in [
            (
                "users:\n  - { user: a, domain: b, md5: \"x\" }\n",
                &["users.yaml", "md5", "32 hexadecimal", "line 2"][..],
            ),
            (
                "users:\n  - { user: a, domain: b, sha-256: \"00\" }\n",
                &["sha-256", "64 hexadecimal", "line 2"],
            ),
            ("users:\n  - { user: a, domain: b, password: x }\n", &["password", "line 2"]),
            ("users:\n  - { user: a, domain: b, state: gone }\n", &["state", "gone", "suspended", "line 2"]),
            ("users:\n  - { domain: b }\n", &["user", "line 2"]),
            ("users:\n  - { user: a, domain: b }\n", &["users[0].md5", "nothing to prove"]),
            ("people: []\n", &["users.yaml", "people"]),
        ] {
            let error = error(text);
            for part in parts {
                assert!(error.contains(part), "{error:?} should say {part:?}");
            }
        }
        let one = format!("  - {{ user: a, domain: b, md5: \"{MD5}\" }}\n");
        assert!(error(&format!("users:\n{one}{one}")).contains("users[1].user: `a` of b is there twice"));
        assert!(!error("users:\n  - { user: a, domain: b, md5: \"my password\" }\n").contains("my password"));
    }

    #[test]
    fn a_bad_file_leaves_the_old_users() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("users.yaml");
        std::fs::write(&path, format!("users:\n  - {{ user: a, domain: b, md5: \"{MD5}\" }}\n"))
            .expect("written");
        let users = UserTable::read(&path).expect("valid");
        std::fs::write(&path, "users:\n  - { user: c, domain: b, md5: 1 }\n").expect("written");
        let error = users.reload(&path).expect_err("wrong").to_string();
        assert!(error.contains("md5") && error.contains("line 2"), "{error}");
        assert!(users.find(b"a", "b").is_some());
        std::fs::write(&path, "users: []\n").expect("written");
        users.reload(&path).expect("valid");
        assert_eq!((users.len(), users.find(b"a", "b")), (0, None));
        std::fs::remove_file(&path).expect("removed");
        assert!(users.reload(&path).is_err());
    }

    #[test]
    fn who_may_read_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("users.yaml");
        std::fs::write(&path, "users: []\n").expect("written");
        for (mode, open) in [(0o600, false), (0o640, false), (0o644, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
            assert_eq!(is_open(&path), open, "{mode:o}");
        }
    }
}
