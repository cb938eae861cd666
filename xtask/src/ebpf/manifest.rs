//! What the committed object was made of: hashes, versions, flags.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{OBJECT, build};
use crate::Failure;
use crate::failure::Doing as _;

/// Crates from the registry whose code is in the object; their versions are those of Cargo.lock.
const CRATES: [&str; 5] =
    ["aya-ebpf", "aya-ebpf-bindings", "aya-ebpf-macros", "aya-log-ebpf", "aya-log-ebpf-macros"];

/// The file beside the object. Maps are sorted, so that a diff shows what changed and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// SHA-256 of the object.
    pub(super) object: String,
    /// SHA-256 of each source file that went in, by its path in the tree.
    pub(super) sources: BTreeMap<String, String>,
    /// The tools that made it.
    pub(super) versions: BTreeMap<String, String>,
    /// The crates that went in, by their versions.
    pub(super) crates: BTreeMap<String, String>,
    /// Flags of the compiler, but for those that take this machine's paths out.
    pub(super) flags: Vec<String>,
}

impl Manifest {
    /// Describes `object`, made of `sources` (paths relative to `root`).
    pub(super) fn describe(
        root: &Path,
        object: &[u8],
        sources: &[String],
        versions: BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        let mut hashes = BTreeMap::new();
        for source in sources {
            let bytes = fs::read(root.join(source)).doing(format_args!("read {source}"))?;
            hashes.insert(source.clone(), sha256(&bytes));
        }
        Ok(Self {
            object: sha256(object),
            sources: hashes,
            versions,
            crates: crates(root)?,
            flags: build::FLAGS.map(str::to_owned).to_vec(),
        })
    }

    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read(path).doing(format_args!("read {}", path.display()))?;
        serde_json::from_slice(&text)
            .doing(format_args!("understand {}", path.display()))
            .map_err(|failure| failure.fix("rebuild it: cargo xtask build-ebpf"))
    }

    pub(super) fn to_json(&self) -> Result<String, Failure> {
        let text = serde_json::to_string_pretty(self).doing("write the manifest")?;
        Ok(text + "\n")
    }

    /// What in the tree under `root` isn't as this manifest says, each in a few words. Empty: the object is fresh.
    pub(super) fn changes(&self, root: &Path) -> Result<Vec<String>, Failure> {
        let mut changes = Vec::new();
        for (source, hash) in &self.sources {
            match fs::read(root.join(source)) {
                Ok(bytes) if sha256(&bytes) == *hash => {}
                Ok(_) => changes.push(format!("{source} changed")),
                Err(_) => changes.push(format!("{source} is gone")),
            }
        }
        for (name, version) in crates(root)? {
            match self.crates.get(&name) {
                Some(committed) if *committed == version => {}
                Some(committed) => changes.push(format!("{name} is {version}, was {committed}")),
                None => changes.push(format!("{name} is new")),
            }
        }
        if self.flags != build::FLAGS {
            changes.push("the flags of the compiler changed".to_owned());
        }
        match fs::read(root.join(OBJECT)) {
            Ok(bytes) if sha256(&bytes) == self.object => {}
            Ok(_) => changes.push(format!("{OBJECT} isn't the one of its manifest")),
            Err(_) => changes.push(format!("{OBJECT} is gone")),
        }
        Ok(changes)
    }

    /// Sources of this object that `committed` doesn't know. Those that changed or went, [`changes`](Self::changes)
    /// finds without a build.
    pub(super) fn sources_missing_in(&self, committed: &Self) -> Vec<String> {
        let new = self.sources.keys().filter(|source| !committed.sources.contains_key(*source));
        new.map(|source| format!("{source} is new")).collect()
    }
}

/// The versions of [`CRATES`] in Cargo.lock.
fn crates(root: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let lock = fs::read_to_string(root.join("Cargo.lock")).doing("read Cargo.lock")?;
    let mut versions = BTreeMap::new();
    for name in CRATES {
        let version = locked(&lock, name)
            .ok_or_else(|| Failure::failed(format!("Cargo.lock has no version of {name}")))?;
        versions.insert(name.to_owned(), version);
    }
    Ok(versions)
}

/// The version of the package `name`; a package is `name = "…"` and `version = "…"` on two lines.
fn locked(lock: &str, name: &str) -> Option<String> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != wanted);
    let version = lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')?;
    Some(version.to_owned())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "[[package]]\nname = \"aya-ebpf-bindings\"\nversion = \"0.2.0\"\n\n\
                        [[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\ndependencies = []\n";

    /// A tree with one source, an object, and the manifest that describes them.
    fn tree() -> (tempfile::TempDir, Manifest) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("xdp-ebpf/object")).unwrap();
        let packages = CRATES.map(|name| format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\n"));
        fs::write(root.path().join("Cargo.lock"), packages.join("\n")).unwrap();
        fs::write(root.path().join("main.rs"), "fn main() {}").unwrap();
        fs::write(root.path().join(OBJECT), "object").unwrap();
        let sources = ["main.rs".to_owned()];
        let manifest = Manifest::describe(root.path(), b"object", &sources, BTreeMap::new()).unwrap();
        (root, manifest)
    }

    #[test]
    fn the_version_of_a_package_is_its_own() {
        assert_eq!(locked(LOCK, "aya-ebpf").as_deref(), Some("0.2.1"));
        assert_eq!(locked(LOCK, "aya"), None);
    }

    #[test]
    fn an_untouched_tree_is_fresh() {
        let (root, manifest) = tree();
        assert_eq!(manifest.changes(root.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_changed_is_named() {
        let (root, manifest) = tree();
        fs::write(root.path().join("main.rs"), "fn main() { }").unwrap();
        assert_eq!(manifest.changes(root.path()).unwrap(), ["main.rs changed"]);

        let (root, manifest) = tree();
        fs::remove_file(root.path().join("main.rs")).unwrap();
        assert_eq!(manifest.changes(root.path()).unwrap(), ["main.rs is gone"]);

        let (root, manifest) = tree();
        fs::write(root.path().join(OBJECT), "another").unwrap();
        assert_eq!(
            manifest.changes(root.path()).unwrap(),
            [format!("{OBJECT} isn't the one of its manifest")]
        );

        let (root, mut manifest) = tree();
        manifest.flags.push("-Cdebuginfo=0".to_owned());
        assert_eq!(manifest.changes(root.path()).unwrap(), ["the flags of the compiler changed"]);

        let (root, mut manifest) = tree();
        manifest.crates.insert("aya-ebpf".to_owned(), "0.9.0".to_owned());
        assert_eq!(manifest.changes(root.path()).unwrap(), ["aya-ebpf is 1.0.0, was 0.9.0"]);
    }

    #[test]
    fn a_manifest_survives_its_file() {
        let (root, manifest) = tree();
        let path = root.path().join("manifest.json");
        fs::write(&path, manifest.to_json().unwrap()).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), manifest);
    }
}
