//! `cargo xtask test-zerocopy`: zero copy on a driver that has it, seen from both sides.
//!
//! No machine for tests has a NIC whose driver binds AF_XDP with zero copy; QEMU's virtio-net is one, and software
//! emulation is enough. So a guest is booted with two NICs on one wire: the node serves the first with
//! `dataplane.mode: zero-copy`, phones in a namespace of their own register and call each other through it over the second.
//! The guest says what it saw over a serial line; `verdict` judges it here. It needs no privilege, and leaves
//! nothing but files under the target directory.

mod guest;
mod image;
mod kernel;
mod phone;
mod verdict;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use kernel::Kernel;
use verdict::Evidence;

use crate::failure::Doing as _;
use crate::machine::Tool;
use crate::progress::Step;
use crate::{Failure, interrupt, process, workspace};

/// Options of `test-zerocopy`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The mirror of Debian to get the guest's kernel from [default: the one that this machine's apt uses].
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// The mode that the node is told to use; anything but zero-copy has to fail.
    #[arg(long, default_value = "zero-copy", hide = true)]
    mode: String,
    /// What the guest runs.
    #[arg(long, hide = true)]
    in_guest: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test-zerocopy
  cargo xtask test-zerocopy --mirror http://MIRROR/debian

Needs qemu-system-x86_64 and busybox (apt: qemu-system-x86, busybox-static) and no privilege. The kernel is
Debian's from trixie-backports: some 50 MB, got once by apt into the target directory, not installed.
Takes about 20 s; exit code 3 says what is missing.";

/// The machine that the guest runs on.
const QEMU: Tool = Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" };
/// The guest's shell.
const BUSYBOX: Tool = Tool { program: "busybox", package: "busybox-static" };

/// Longest time from power on to power off. A quiet machine with two cores needs 15 s.
const LIMIT: Duration = Duration::from_secs(180);
/// The guest's memory in MiB: the node's tables and 16 MiB of frames, twice the size of the image while it is unpacked.
const MEMORY: &str = "1024";
/// The workers of each node that is tried, one after the other: alone with the queue, and two sockets on its memory.
const WORKERS: [u32; 2] = [1, 2];
/// What the guest writes before what it is doing.
const STEP: &str = "step: ";
/// What the guest writes before the evidence of one node, a JSON object.
const EVIDENCE: &str = "evidence: ";
/// What the guest writes before a line for the reader, when it could not finish.
const TROUBLE: &str = "trouble: ";
/// What QEMU warns of, and is meant to be so.
const UNPLUGGED: &str = "is not connected to host network";
/// Where the guest finds the mode on its kernel's command line.
const MODE: &str = "strowger.mode=";

/// Boots the guest and judges what it saw.
///
/// # Errors
/// Something is missing, the guest did not finish, or what it saw is not zero copy.
pub fn run(args: &Args) -> Result<(), Failure> {
    if args.in_guest {
        return guest::run();
    }
    for needed in [QEMU, BUSYBOX] {
        tool(&needed)?;
    }
    interrupt::watch()?;
    let kernel = Kernel::get(&directory()?, args.mirror.as_deref())?;
    let step = Step::begin_long("build the node");
    let node = workspace::build_node(&step)?;
    step.done(node.display());
    prove(&kernel, &node, &args.mode)
}

/// The part of `cargo xtask test`: the node is built. What cannot be had here is said, and is no failure.
///
/// # Errors
/// What was seen is not zero copy.
pub fn test(node: &Path) -> Result<(), Failure> {
    let had = tool(&QEMU).and(tool(&BUSYBOX)).and_then(|_| Kernel::get(&directory()?, None));
    match had.and_then(|kernel| prove(&kernel, node, "zero-copy")) {
        Err(failure) if failure.code() == crate::Code::Missing => {
            crate::progress::warn(format_args!("skipped: zero copy in a guest, because {failure}"));
            Ok(())
        }
        result => result,
    }
}

/// Where the kernel is kept, and where the guest's files are.
fn directory() -> Result<PathBuf, Failure> {
    let directory = workspace::target()?.join("zerocopy");
    fs::create_dir_all(&directory).doing(format!("make {}", directory.display()))?;
    Ok(directory)
}

/// The tool's path, or how to get it. Nothing is installed for a test alone.
fn tool(tool: &Tool) -> Result<PathBuf, Failure> {
    process::find(tool.program).ok_or_else(|| {
        Failure::missing(format!("{} is not installed", tool.program)).fix(format!(
            "sudo apt-get install -y --no-install-recommends {} {}",
            QEMU.package, BUSYBOX.package
        ))
    })
}

fn prove(kernel: &Kernel, node: &Path, mode: &str) -> Result<(), Failure> {
    let directory = directory()?;
    let step = Step::begin_long(format!("zero copy in a guest with Linux {}", kernel.release));
    step.now("write its image");
    let image = directory.join("image.cpio");
    image::write(&image, kernel, node)?;
    let log = directory.join("console.log");
    let mut guest = Guest::boot(&kernel.image, &image, &log, mode)?;
    let evidence = guest.watch(&step, &log)?;
    let record = directory.join("evidence.json");
    let text = serde_json::to_string_pretty(&evidence).doing("write the evidence")?;
    fs::write(&record, text).doing(format!("write {}", record.display()))?;
    let faults: Vec<String> = evidence.iter().flat_map(Evidence::faults).collect();
    if faults.is_empty() {
        step.done("");
        for node in &evidence {
            eprintln!("     {node}");
        }
        return Ok(());
    }
    Err(Failure::failed(format!("this is not zero copy: {}", faults.join("; "))).fix(format!(
        "see {} and {}",
        record.display(),
        log.display()
    )))
}

/// A running guest. Dropped, it is turned off.
struct Guest {
    child: Child,
}

impl Guest {
    fn boot(kernel: &Path, image: &Path, log: &Path, mode: &str) -> Result<Self, Failure> {
        // Should we be killed, so is it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(tool(&QEMU)?);
        // Without hardware acceleration on purpose: it is the same on every machine.
        command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", MEMORY]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(kernel).arg("-initrd").arg(image);
        command.args([
            "-append",
            &format!("console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 {MODE}{mode}"),
        ]);
        command.args([
            "-chardev",
            &format!("file,id=console,path={}", log.display()),
            "-serial",
            "chardev:console",
        ]);
        command.args(["-chardev", "stdio,id=report,signal=off", "-serial", "chardev:report"]);
        for (number, name) in ["node", "phones"].into_iter().enumerate() {
            // The driver has zero copy for devices that use the DMA API, and those are modern ones behind an IOMMU.
            let device = format!(
                "virtio-net-pci,netdev={name},mac=52:54:00:77:00:0{number},disable-legacy=on,iommu_platform=on,romfile="
            );
            command.args(["-netdev", &format!("hubport,id={name},hubid=0"), "-device", &device]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| process::not_started(&command, &error))?;
        Ok(Self { child })
    }

    /// Follows what it says until it is off, and gives its evidence.
    fn watch(&mut self, step: &Step, log: &Path) -> Result<Vec<Evidence>, Failure> {
        let (Some(said), Some(complaints)) = (self.child.stdout.take(), self.child.stderr.take()) else {
            return Err(Failure::failed("the guest has no serial line"));
        };
        let (sender, lines) = mpsc::channel();
        for (reader, prefix) in
            [(Box::new(said) as Box<dyn std::io::Read + Send>, ""), (Box::new(complaints), "qemu: ")]
        {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    if sender.send(format!("{prefix}{line}")).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let until = Instant::now() + LIMIT;
        let (mut evidence, mut trouble, mut last) = (Vec::new(), Vec::new(), "booting".to_owned());
        step.now(&last);
        loop {
            interrupt::check()?;
            if Instant::now() > until {
                return Err(Failure::failed(format!(
                    "the guest did not finish in {} s; last it was {last}",
                    LIMIT.as_secs()
                ))
                .fix(format!("see {}", log.display())));
            }
            let line = match lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let line = line.trim();
            if let Some(doing) = line.strip_prefix(STEP) {
                step.now(doing);
                last = doing.to_owned();
            } else if let Some(json) = line.strip_prefix(EVIDENCE) {
                evidence.push(serde_json::from_str(json).doing("read the guest's evidence")?);
            } else if !line.is_empty() && !line.ends_with(UNPLUGGED) {
                trouble.push(line.strip_prefix(TROUBLE).unwrap_or(line).to_owned());
            }
        }
        let status = self.child.wait().doing("wait for the guest")?;
        if evidence.len() == WORKERS.len() {
            return Ok(evidence);
        }
        let what = if trouble.is_empty() { format!("while it was {last}") } else { trouble.join("\n") };
        Err(Failure::failed(format!("the guest ended ({status}) without a result: {what}"))
            .fix(format!("see {}", log.display())))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
