//! The guest's root file system: an initramfs in the cpio format "newc" (the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst), written by ourselves because it is forty lines.
//!
//! It holds busybox, the kernel's modules for virtio-net, the node under test, this program, what both need of `ip` and
//! `ss`, and the libraries of all of them. Nothing in it outlives the guest.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::kernel::Kernel;
use crate::failure::Doing as _;
use crate::{Failure, process};

/// Modules in the order they go in. Those that a kernel has built in are not there as files; `xsk_diag` answers `ss`.
const MODULES: [&str; 4] = ["failover", "net_failover", "virtio_net", "xsk_diag"];
/// Where the node lies in the guest.
pub(super) const NODE: &str = "/bin/strowger";
/// Where this program does.
const OURSELVES: &str = "/bin/xtask";

/// What the kernel starts: everything that must be there before a program can work, then this program, then the end.
const INIT: &str = "\
#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
stty -F /dev/ttyS1 raw -echo
xtask test-zerocopy --in-guest >/dev/ttyS1
sync
poweroff -f
";

/// Writes the image for this kernel and node to `path`.
///
/// # Errors
/// A file cannot be read or written, or a program's libraries not be found.
pub(super) fn write(path: &Path, kernel: &Kernel, node: &Path) -> Result<(), Failure> {
    let mut image = Cpio::default();
    for directory in ["dev", "proc", "sys", "run", "tmp", "bin", "modules", "etc", "var"] {
        image.directory(Path::new(directory));
    }
    // The kernel opens it for the init program before devtmpfs is mounted.
    image.entry("dev/console", 0o020_600, (5, 1), &[]);
    image.file("init", 0o755, INIT.as_bytes());
    let mut order = String::new();
    for name in MODULES {
        if let Some(file) = kernel.module(name) {
            image.file(&format!("modules/{name}.ko"), 0o644, &plain_module(&file)?);
            order.push_str(name);
            order.push('\n');
        }
    }
    image.file("modules/order", 0o644, order.as_bytes());
    let busybox = super::tool(&super::BUSYBOX)?;
    image.copy("bin/busybox", &busybox)?;
    for applet in ["sh", "mount", "cat", "insmod", "stty", "sync", "poweroff"] {
        image.link(&format!("bin/{applet}"), "busybox");
    }
    let ourselves = std::env::current_exe().doing("find this program's own file")?;
    let mut programs = vec![(OURSELVES.to_owned(), ourselves), (NODE.to_owned(), node.to_path_buf())];
    for name in ["ip", "ss", "setpriv"] {
        let found =
            process::find(name).ok_or_else(|| Failure::missing(format!("{name} is not installed")))?;
        programs.push((format!("/bin/{name}"), found));
    }
    // Debian has a busybox of its own libraries beside the static one; ldd fails on what has none.
    let mut libraries: BTreeSet<String> = libraries_of(&busybox).unwrap_or_default().into_iter().collect();
    for (inside, outside) in &programs {
        image.copy(inside.trim_start_matches('/'), outside)?;
        libraries.extend(libraries_of(outside)?);
    }
    for library in &libraries {
        image.copy(library.trim_start_matches('/'), Path::new(library))?;
    }
    let bytes = image.finish();
    fs::write(path, bytes).doing(format!("write {}", path.display()))
}

/// A module as insmod takes it: busybox's knows no compression.
fn plain_module(file: &Path) -> Result<Vec<u8>, Failure> {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(file).doing(format!("read {}", file.display()));
    }
    let busybox = super::tool(&super::BUSYBOX)?;
    let mut command = Command::new(busybox);
    command.arg("xzcat").arg(file).stdin(Stdio::null());
    let output = command.output().map_err(|error| process::not_started(&command, &error))?;
    if output.status.success() && !output.stdout.is_empty() {
        return Ok(output.stdout);
    }
    Err(Failure::failed(format!("could not unpack {}", file.display())))
}

/// The shared objects that a program loads, with the loader itself, by the paths where it will look for them.
fn libraries_of(program: &Path) -> Result<Vec<String>, Failure> {
    let text = process::output(Command::new("ldd").arg(program))?;
    let libraries: Vec<String> = text.lines().filter_map(library).map(str::to_owned).collect();
    if libraries.is_empty() && !text.contains("statically linked") {
        return Err(Failure::failed(format!("ldd names no library of {}", program.display())));
    }
    Ok(libraries)
}

/// The path in a line of ldd: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, or the loader's path alone.
fn library(line: &str) -> Option<&str> {
    let line = line.trim();
    let path = line.split_once("=> ").map_or(line, |(_, path)| path);
    path.split(' ').next().filter(|path| path.starts_with('/'))
}

/// An archive in memory.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    directories: BTreeSet<PathBuf>,
    count: u32,
}

/// Bytes that headers, names and contents are padded to.
const ALIGNMENT: usize = 4;

impl Cpio {
    /// One entry; `mode` with the bits of its kind, `device` its numbers when it is one.
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.count += 1;
        let (major, minor) = device;
        // No file here comes near 4 GiB, which is the format's limit.
        let (length, name_length) = (content.len() as u32, name.len() as u32 + 1);
        let fields = [self.count, mode, 0, 0, 1, 0, length, 0, 0, major, minor, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            // Writing to a Vec cannot fail.
            let _ = write!(self.bytes, "{field:08x}");
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// A directory, after those above it; the kernel makes none by itself.
    fn directory(&mut self, path: &Path) {
        if path.as_os_str().is_empty() || self.directories.contains(path) {
            return;
        }
        if let Some(above) = path.parent() {
            self.directory(above);
        }
        self.entry(&path.to_string_lossy(), 0o040_755, (0, 0), &[]);
        self.directories.insert(path.to_path_buf());
    }

    fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        if let Some(above) = Path::new(name).parent() {
            self.directory(above);
        }
        self.entry(name, 0o100_000 | permissions, (0, 0), content);
    }

    fn link(&mut self, name: &str, target: &str) {
        self.entry(name, 0o120_777, (0, 0), target.as_bytes());
    }

    fn copy(&mut self, name: &str, from: &Path) -> Result<(), Failure> {
        let content = fs::read(from).doing(format!("read {}", from.display()))?;
        self.file(name, 0o755, &content);
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_in_the_words_of_ldd() {
        assert_eq!(library("\tlinux-vdso.so.1 (0x00007ffe)"), None);
        assert_eq!(
            library("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)"),
            Some("/lib/x86_64-linux-gnu/libc.so.6")
        );
        assert_eq!(library("\t/lib64/ld-linux-x86-64.so.2 (0x7f)"), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(library("\tlibmissing.so => not found"), None);
    }

    /// The archive read back by somebody else's program.
    #[test]
    fn busybox_reads_the_archive() {
        let Ok(busybox) = super::super::tool(&super::super::BUSYBOX) else {
            eprintln!("SKIPPED: busybox is not installed");
            return;
        };
        let mut image = Cpio::default();
        image.file("a/b/odd", 0o644, b"12345");
        image.link("a/link", "b/odd");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("image.cpio");
        fs::write(&file, image.finish()).expect("written");
        let mut command = Command::new(busybox);
        command.args(["cpio", "-i", "-d"]).current_dir(directory.path());
        command.stdin(fs::File::open(&file).expect("there")).stderr(Stdio::null());
        assert!(command.status().expect("runs").success());
        assert_eq!(fs::read(directory.path().join("a/b/odd")).expect("unpacked"), b"12345");
        assert_eq!(fs::read_link(directory.path().join("a/link")).expect("unpacked"), Path::new("b/odd"));
    }
}
