//! The guest's kernel: one of Debian's for clouds, from trixie-backports, unpacked and never installed.
//!
//! virtio-net binds AF_XDP with zero copy in both directions in new kernels only, and few machines run one. apt gets the
//! package, with directories of this chore's own, so the machine's sources, lists and packages stay as they are; apt
//! checks the archive's signature with Debian's keyring. What was got once stays under the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Doing as _;
use crate::progress::Step;
use crate::{Failure, process};

/// The release that has the kernel.
const SUITE: &str = "trixie-backports";
/// The line of kernels that this is known to work with; another is taken when the archive has none of it.
const KNOWN: &str = "linux-image-6.18.";
/// What the packages' names end with. Those for other machines, and those with debugging symbols, do not.
const FLAVOUR: &str = "-cloud-amd64";
/// With what apt believes the archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The image that QEMU boots.
    pub image: PathBuf,
    /// What lies under `lib/modules/RELEASE`.
    pub modules: PathBuf,
    /// Its release, as `uname -r` will say it.
    pub release: String,
}

impl Kernel {
    /// The kernel under `directory`, got first when it is not there.
    ///
    /// # Errors
    /// apt or dpkg is missing, no mirror is known, the archive cannot be reached or has no such package: each of them
    /// [`Code::Missing`](crate::Code::Missing).
    pub(super) fn get(directory: &Path, mirror: Option<&str>) -> Result<Self, Failure> {
        let unpacked = directory.join("kernel");
        if let Some(kernel) = Self::unpacked(&unpacked) {
            return Ok(kernel);
        }
        for tool in ["apt-get", "apt-cache", "dpkg"] {
            if process::find(tool).is_none() {
                return Err(Failure::missing(format!(
                    "the guest's kernel is a Debian package, and there is no {tool}"
                ))
                .fix("run it on Debian or Ubuntu, or in a container of one of them"));
            }
        }
        if !Path::new(KEYRING).exists() {
            return Err(Failure::missing("apt has no keys for Debian's archive")
                .fix("sudo apt-get install -y debian-archive-keyring"));
        }
        let mirror = match mirror {
            Some(mirror) => mirror.to_owned(),
            None => configured_mirror().ok_or_else(|| {
                Failure::missing(
                    "this machine's apt names no mirror of Debian to get the guest's kernel from",
                )
                .fix("cargo xtask test-zerocopy --mirror URL, with a Debian mirror")
            })?,
        };
        let step = Step::begin_long("get a kernel for the guest");
        let apt = Apt::new(&directory.join("apt"), &mirror)?;
        step.now("apt-get update");
        apt.get(&["update"])?;
        let package = newest(&apt.names()?)
            .ok_or_else(|| Failure::missing(format!("{SUITE} has no package linux-image-…{FLAVOUR}")))?;
        step.now(&package);
        let debs = directory.join("deb");
        let _ = fs::remove_dir_all(&debs);
        fs::create_dir_all(&debs).doing(format!("make {}", debs.display()))?;
        apt.download(&debs, &package)?;
        let deb = only_file(&debs)?;
        // Whoever interrupts this finds no half of a kernel the next time.
        let half = directory.join("kernel.half");
        let _ = fs::remove_dir_all(&half);
        let _ = fs::remove_dir_all(&unpacked);
        process::output(Command::new("dpkg").arg("-x").arg(&deb).arg(&half))?;
        fs::rename(&half, &unpacked).doing(format!("keep {}", unpacked.display()))?;
        let _ = fs::remove_dir_all(&debs);
        let kernel = Self::unpacked(&unpacked)
            .ok_or_else(|| Failure::failed(format!("{package} has no kernel where one was expected")))?;
        step.done(&package);
        Ok(kernel)
    }

    /// What `dpkg -x` left in `root`, when it is whole.
    fn unpacked(root: &Path) -> Option<Self> {
        let prefix = "vmlinuz-";
        let (image, release) = fs::read_dir(root.join("boot")).ok()?.flatten().find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((entry.path(), name.strip_prefix(prefix)?.to_owned()))
        })?;
        let modules = ["usr/lib/modules", "lib/modules"]
            .map(|place| root.join(place).join(&release))
            .into_iter()
            .find(|directory| directory.is_dir())?;
        Some(Self { image, modules, release })
    }

    /// The file of a module by its name (`virtio_net`), compressed or not; none when it is built in or absent.
    pub(super) fn module(&self, name: &str) -> Option<PathBuf> {
        let mut waiting = vec![self.modules.clone()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).ok()?.flatten() {
                let path = entry.path();
                if entry.file_type().ok()?.is_dir() {
                    waiting.push(path);
                } else if path.file_name().and_then(|file| file.to_str()).and_then(module_name) == Some(name)
                {
                    return Some(path);
                }
            }
        }
        None
    }
}

/// `virtio_net` of `virtio_net.ko.xz`; module names are the same with `-` and `_`, but their files have one of them.
fn module_name(file: &str) -> Option<&str> {
    file.strip_suffix(".ko.xz").or_else(|| file.strip_suffix(".ko"))
}

/// apt with everything of its own: source, lists, state and cache.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(root: &Path, mirror: &str) -> Result<Self, Failure> {
        for directory in ["parts", "lists/partial", "archives/partial", "state"] {
            let directory = root.join(directory);
            fs::create_dir_all(&directory).doing(format!("make {}", directory.display()))?;
        }
        let source = root.join("sources.list");
        let line = format!("deb [signed-by={KEYRING} arch=amd64] {mirror} {SUITE} main\n");
        fs::write(&source, line).doing(format!("write {}", source.display()))?;
        let status = root.join("state/status");
        fs::write(&status, "").doing(format!("write {}", status.display()))?;
        let own = |key: &str, path: &Path| format!("{key}={}", path.display());
        let options = vec![
            own("Dir::Etc::SourceList", &source),
            own("Dir::Etc::SourceParts", &root.join("parts")),
            own("Dir::State", &root.join("state")),
            own("Dir::State::Lists", &root.join("lists")),
            own("Dir::State::Status", &status),
            own("Dir::Cache", root),
            "APT::Architecture=amd64".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "Acquire::http::Timeout=30".to_owned(),
            // The target directory may be closed to apt's own user.
            "APT::Sandbox::User=root".to_owned(),
            // apt calls a mirror that does not answer a warning otherwise.
            "APT::Update::Error-Mode=any".to_owned(),
        ];
        Ok(Self { options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-qq").env("LC_ALL", "C").stdin(Stdio::null());
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    fn get(&self, arguments: &[&str]) -> Result<(), Failure> {
        gone_missing(process::output(self.command("apt-get").args(arguments))).map(drop)
    }

    fn names(&self) -> Result<String, Failure> {
        gone_missing(process::output(self.command("apt-cache").args(["pkgnames", "linux-image-"])))
    }

    fn download(&self, into: &Path, package: &str) -> Result<(), Failure> {
        let mut command = self.command("apt-get");
        gone_missing(process::output(command.args(["download", package]).current_dir(into))).map(drop)
    }
}

/// What the network does not give is missing: nothing failed that is ours.
fn gone_missing<T>(result: Result<T, Failure>) -> Result<T, Failure> {
    result.map_err(|failure| {
        let what = failure.what();
        let what = what.rsplit_once("`: ").map_or(what, |(_, complaint)| complaint);
        Failure::missing(format!("the guest's kernel cannot be got by apt from {SUITE}: {what}"))
            .fix("cargo xtask test-zerocopy --mirror URL, with another mirror of Debian")
    })
}

fn only_file(directory: &Path) -> Result<PathBuf, Failure> {
    let mut entries = fs::read_dir(directory).doing(format!("read {}", directory.display()))?.flatten();
    let found = entries.next().map(|entry| entry.path());
    found.ok_or_else(|| Failure::failed(format!("apt left nothing in {}", directory.display())))
}

/// The package to take of those that `apt-cache pkgnames` lists: the newest that is known to work, or else the newest.
fn newest(names: &str) -> Option<String> {
    let ours = names.lines().filter(|name| name.ends_with(FLAVOUR)).filter_map(|name| {
        let numbers = version(name);
        (numbers.len() > 1).then_some((name.starts_with(KNOWN), numbers, name))
    });
    ours.max().map(|(_, _, name)| name.to_owned())
}

/// The numbers that a package's name begins its version with: 6, 18, 15 of `linux-image-6.18.15+deb13-cloud-amd64`.
fn version(name: &str) -> Vec<u32> {
    let version = name.strip_prefix("linux-image-").unwrap_or_default();
    let end = version.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(version.len());
    version[..end].split('.').map_while(|number| number.parse().ok()).collect()
}

/// The mirror of Debian that this machine's apt is configured with, when it is a Debian.
fn configured_mirror() -> Option<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(fs::read_dir("/etc/apt/sources.list.d").ok()?.flatten().map(|entry| entry.path()));
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).find_map(|text| mirror_in(&text))
}

/// The first address in sources of either format that leads to a mirror of Debian's main archive.
fn mirror_in(sources: &str) -> Option<String> {
    let lines = sources.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(str::split_whitespace);
    let mirror =
        words.filter(|word| word.contains(":/")).find(|word| word.trim_end_matches('/').ends_with("/debian"));
    mirror.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_known_kernel_is_taken_or_else_the_newest() {
        let names = "linux-image-7.3.4+deb13-cloud-amd64\nlinux-image-6.18.9+deb13-cloud-amd64\n\
                     linux-image-cloud-amd64\nlinux-image-6.18.15+deb13-cloud-amd64-dbg\n\
                     linux-image-6.18.12+deb13-cloud-amd64\nlinux-image-6.18.20+deb13-amd64\n";
        assert_eq!(newest(names).as_deref(), Some("linux-image-6.18.12+deb13-cloud-amd64"));
        let others = "linux-image-7.0.9+deb13-cloud-amd64\nlinux-image-7.0.10+deb13-cloud-amd64\n";
        assert_eq!(newest(others).as_deref(), Some("linux-image-7.0.10+deb13-cloud-amd64"));
        assert_eq!(newest("linux-image-cloud-amd64\n"), None);
    }

    #[test]
    fn the_mirror_is_the_main_archives() {
        let one_line = "# deb http://old.invalid/debian x main\ndeb https://a.invalid/sdk y main\n\
                        deb [arch=amd64] http://m.invalid/debian bookworm main\n";
        assert_eq!(mirror_in(one_line).as_deref(), Some("http://m.invalid/debian"));
        let deb822 = "Types: deb\nURIs: http://s.invalid/debian-security\n\nTypes: deb\nURIs: http://m.invalid/debian/\n";
        assert_eq!(mirror_in(deb822).as_deref(), Some("http://m.invalid/debian/"));
        assert_eq!(mirror_in("deb http://archive.invalid/ubuntu noble main\n"), None);
    }

    #[test]
    fn modules_are_known_by_their_files() {
        assert_eq!(module_name("virtio_net.ko.xz"), Some("virtio_net"));
        assert_eq!(module_name("failover.ko"), Some("failover"));
        assert_eq!(module_name("modules.order"), None);
    }
}
