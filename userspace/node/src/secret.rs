//! The node's secret: 32 random bytes that key branches, tags and Record-Route tokens.
//!
//! Kept in `store.dir`, so that a dialog that is up can be modified and ended through a restarted node. Where it can't
//! be kept the node runs all the same, with a new one: signalling goes on, and a warning says what is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of a secret.
pub(crate) const LENGTH: usize = 32;
/// Its file in `store.dir`.
const FILE: &str = "secret";

/// The secret of the node whose `store.dir` this is, made at the first start.
pub(crate) fn keep(dir: &Path) -> io::Result<[u8; LENGTH]> {
    match read(&dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir),
        read => read,
    }
}

/// A secret that nobody keeps.
pub(crate) fn random() -> io::Result<[u8; LENGTH]> {
    let mut secret = [0; LENGTH];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret)
}

fn read(path: &Path) -> io::Result<[u8; LENGTH]> {
    let bytes = fs::read(path)?;
    <[u8; LENGTH]>::try_from(bytes.as_slice()).map_err(|_| {
        let problem = format!(
            "{} has {} bytes and not {LENGTH}; remove it to have a new one made",
            path.display(),
            bytes.len()
        );
        io::Error::new(io::ErrorKind::InvalidData, problem)
    })
}

/// Written beside and renamed, so that a file by that name is always whole.
fn create(dir: &Path) -> io::Result<[u8; LENGTH]> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let secret = random()?;
    let beside = dir.join(format!("{FILE}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    fs::rename(&beside, dir.join(FILE))?;
    File::open(dir)?.sync_all()?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn made_once_kept_and_private() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = dir.path().join("a/b");
        let first = keep(&store).expect("made");
        assert_ne!(first, [0; LENGTH]);
        assert_eq!(keep(&store).expect("read"), first);
        assert_ne!(random().expect("random"), first);
        let mode = |path: &Path| fs::metadata(path).map(|m| m.permissions().mode() & 0o777).ok();
        assert_eq!((mode(&store), mode(&store.join(FILE))), (Some(0o700), Some(0o600)));
        assert_eq!(fs::read_dir(&store).map(Iterator::count).ok(), Some(1), "nothing is left beside it");
    }

    #[test]
    fn a_damaged_one_is_not_used_and_not_overwritten() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join(FILE), [1; 31]).expect("written");
        let error = keep(dir.path()).expect_err("one byte short");
        assert!(error.to_string().contains("31 bytes"), "{error}");
        assert_eq!(fs::read(dir.path().join(FILE)).map(|b| b.len()).ok(), Some(31));
    }
}
