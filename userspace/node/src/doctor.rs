//! `strowger doctor`: can this machine run this configuration? Each finding with the command that mends it.
//!
//! Looks only; attaches and changes nothing. A finding is *good*, a *note* (works, but not at its best) or *bad* (the node
//! would not start). Any bad one makes the exit code 9.

mod nic;

use std::io::IsTerminal;
use std::net::UdpSocket;
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;
use serde::Serialize;
use strowger_xsk::Device;

use crate::config::{Config, Mode, Queues};
use crate::fault::Fault;
use crate::{dataplane, netns, privilege};

/// First kernel with everything we use: XDP links that detach with their owner (5.9), AF_XDP need-wakeup (5.4),
/// memory-mapped arrays (5.5), the coarse clock in BPF (5.11).
const OLDEST_KERNEL: (u32, u32) = (5, 11);

/// How a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Good,
    Note,
    Bad,
}

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Finding {
    grade: Grade,
    what: &'static str,
    seen: String,
    /// The command or key that mends it.
    fix: Option<String>,
}

impl Finding {
    fn good(what: &'static str, seen: impl Into<String>) -> Finding {
        Finding { grade: Grade::Good, what, seen: seen.into(), fix: None }
    }
    fn note(what: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { grade: Grade::Note, what, seen: seen.into(), fix: Some(fix.into()) }
    }
    fn bad(what: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { grade: Grade::Bad, what, seen: seen.into(), fix: Some(fix.into()) }
    }
}

/// Looks at everything, prints it, and fails when something would stop the node.
pub(crate) fn doctor(config: &Config, json: bool) -> Result<(), Fault> {
    let mut findings = vec![kernel(), privileges(config)];
    let fast = config.dataplane.mode != Mode::Off;
    if fast {
        findings.push(xdp_sockets());
    }

    let inside = config.clone();
    match netns::inside(config.dataplane.netns.as_deref(), move || Ok(in_namespace(&inside))) {
        Ok(more) => {
            if let Some(name) = &config.dataplane.netns {
                findings.push(Finding::good("namespace", netns::path(name).display().to_string()));
            }
            findings.extend(more);
        }
        Err(fault) => findings.push(Finding::bad(
            "namespace",
            fault.to_string(),
            "ip netns add NAME, or correct dataplane.netns",
        )),
    }
    findings.push(status_socket(config));
    findings.push(cpus(config));

    let bad = findings.iter().filter(|f| f.grade == Grade::Bad).count();
    if json {
        let text = serde_json::to_string_pretty(&findings).map_err(|e| Fault::Other(e.to_string()))?;
        println!("{text}");
    } else {
        print!(
            "{}",
            render(
                &findings,
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            )
        );
        for line in config.warnings() {
            eprintln!("warning: {line}");
        }
    }
    match bad {
        0 => Ok(()),
        1 => Err(Fault::Unfit("doctor: 1 finding would stop the node".to_owned())),
        n => Err(Fault::Unfit(format!("doctor: {n} findings would stop the node"))),
    }
}

fn render(findings: &[Finding], colour: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, paint) = match finding.grade {
            Grade::Good => ("ok", "\x1b[32m"),
            Grade::Note => ("note", "\x1b[33m"),
            Grade::Bad => ("BAD", "\x1b[31m"),
        };
        let (on, off) = if colour { (paint, "\x1b[0m") } else { ("", "") };
        text.push_str(&format!("{on}{word:<5}{off} {:<14} {}\n", finding.what, finding.seen));
        if let Some(fix) = &finding.fix {
            text.push_str(&format!("{:21}fix: {fix}\n", ""));
        }
    }
    text
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST_KERNEL {
        Finding::good("kernel", release)
    } else {
        Finding::bad(
            "kernel",
            format!("{release} is older than {}.{}", OLDEST_KERNEL.0, OLDEST_KERNEL.1),
            "boot a newer kernel, or set dataplane.mode: off",
        )
    }
}

fn privileges(config: &Config) -> Finding {
    let needs = privilege::needs(config);
    let missing = privilege::missing(&needs);
    if missing.is_empty() {
        let names = needs.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(" ");
        return Finding::good("privileges", if names.is_empty() { "none needed".to_owned() } else { names });
    }
    let names =
        missing.iter().map(|(_, name, what)| format!("{name} ({what})")).collect::<Vec<_>>().join(", ");
    Finding::bad("privileges", format!("missing {names}"), "run as root, or as deploy/strowger.service does")
}

fn xdp_sockets() -> Finding {
    match rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None) {
        Ok(_) => Finding::good("AF_XDP", "sockets can be made"),
        Err(rustix::io::Errno::PERM) => Finding::bad("AF_XDP", "not permitted", "grant CAP_NET_RAW"),
        Err(errno) => Finding::bad(
            "AF_XDP",
            format!("the kernel has none ({errno})"),
            "a kernel with CONFIG_XDP_SOCKETS, or dataplane.mode: off",
        ),
    }
}

/// What only shows in the data plane's namespace.
fn in_namespace(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.dataplane.mode != Mode::Off
        && let Some(name) = config.dataplane.interface.as_deref()
    {
        match Device::find(name) {
            Ok(device) => device_findings(config, &device, &mut findings),
            Err(error) => findings.push(Finding::bad(
                "interface",
                format!("{name}: {error} in {}", netns::place(config.dataplane.netns.as_deref())),
                "`ip -br link` lists what is there; correct dataplane.interface",
            )),
        }
    }
    for address in &config.sip.listen {
        // Exclusive, so that a node that runs already shows as what it is: the port's owner.
        match UdpSocket::bind(address) {
            Ok(_) => findings.push(Finding::good("listen", format!("{address} is free"))),
            Err(error) => {
                let fault = dataplane::listen_fault(*address, &error);
                findings.push(Finding::bad(
                    "listen",
                    fault.to_string(),
                    "see above; `ss -lunp` lists who listens",
                ));
            }
        }
    }
    findings
}

fn device_findings(config: &Config, device: &Device, findings: &mut Vec<Finding>) {
    let name = &device.name;
    if device.up {
        let driver = if device.driver.is_empty() { "unknown" } else { &device.driver };
        findings.push(Finding::good("interface", format!("{name}: driver {driver}, MTU {}", device.mtu)));
    } else {
        findings.push(Finding::bad("interface", format!("{name} is down"), format!("ip link set {name} up")));
    }

    let wanted = match &config.dataplane.queues {
        Queues::All => device.rx_queues.min(strowger_xdp::MAX_QUEUES),
        Queues::List(list) => list.len() as u32,
    };
    match &config.dataplane.queues {
        Queues::List(list) if list.iter().any(|q| *q >= device.rx_queues) => findings.push(Finding::bad(
            "queues",
            format!("{name} has {}, numbered from 0; {list:?} are wanted", device.rx_queues),
            format!("correct dataplane.queues, or `ethtool -L {name} combined N`"),
        )),
        Queues::List(list) if list.len() < device.rx_queues as usize => findings.push(Finding::note(
            "queues",
            format!("{} of {} are served; the kernel socket serves the others", list.len(), device.rx_queues),
            "dataplane.queues: all",
        )),
        _ if device.rx_queues > strowger_xdp::MAX_QUEUES => findings.push(Finding::note(
            "queues",
            format!("{} of {} are served", strowger_xdp::MAX_QUEUES, device.rx_queues),
            format!("ethtool -L {name} combined {}", strowger_xdp::MAX_QUEUES),
        )),
        _ => findings.push(Finding::good("queues", format!("{} to serve", device.rx_queues))),
    }

    match strowger_xdp::on_interface(device.index) {
        Ok(None) => findings.push(Finding::good("XDP", format!("{name} carries no program"))),
        Ok(Some(program)) => findings.push(Finding::bad(
            "XDP",
            format!("{name} carries another program, {program}"),
            format!("stop what attached it, or `ip link set {name} xdp off`"),
        )),
        Err(error) => {
            findings.push(Finding::note("XDP", format!("cannot be asked: {error}"), "run doctor as root"))
        }
    }

    let bytes = u64::from(wanted) * dataplane::nic::memory(config.dataplane.frames);
    findings.push(memlock(bytes));
    findings.push(huge_pages(bytes));
    findings.extend(nic::findings(config, device));
}

/// AF_XDP charges UMEM to RLIMIT_MEMLOCK unless the process has CAP_IPC_LOCK.
fn memlock(bytes: u64) -> Finding {
    let exempt =
        rustix::thread::capabilities(None).is_ok_and(|c| c.effective.contains(CapabilitySet::IPC_LOCK));
    let limit = getrlimit(Resource::Memlock).current;
    match limit {
        _ if exempt => Finding::good("memlock", "CAP_IPC_LOCK: no limit"),
        None => Finding::good("memlock", "no limit"),
        Some(limit) if limit >= bytes => Finding::good("memlock", format!("{} MiB", limit >> 20)),
        Some(limit) => Finding::bad(
            "memlock",
            format!("{} KiB, and {} MiB are needed for frames", limit >> 10, bytes >> 20),
            "ulimit -l unlimited, LimitMEMLOCK=infinity in the unit, or grant CAP_IPC_LOCK",
        ),
    }
}

fn huge_pages(bytes: u64) -> Finding {
    const PAGE: u64 = 2 << 20;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name))
            .and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
    };
    let (free, size) = (field("HugePages_Free:").unwrap_or(0), field("Hugepagesize:").unwrap_or(0) << 10);
    let needed = bytes.div_ceil(PAGE);
    if size == PAGE && free >= needed {
        Finding::good("huge pages", format!("{free} of 2 MiB free, {needed} needed"))
    } else {
        Finding::note(
            "huge pages",
            format!("{free} free, {needed} of 2 MiB needed; ordinary pages are used instead"),
            format!("sysctl vm.nr_hugepages={needed}"),
        )
    }
}

fn status_socket(config: &Config) -> Finding {
    let path = config.node.socket_path();
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Finding::bad(
            "status socket",
            format!("a node answers at {} already", path.display()),
            "stop it, or choose another node.name",
        );
    }
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let nearest = dir.ancestors().find(|d| d.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::access(nearest, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Finding::good("status socket", path.display().to_string()),
        Err(errno) => Finding::bad(
            "status socket",
            format!("{} cannot be written to: {errno}", nearest.display()),
            "set node.socket to a path you own",
        ),
    }
}

fn cpus(config: &Config) -> Finding {
    let allowed = dataplane::allowed_cpus();
    match config.dataplane.cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        Some(cpu) => Finding::bad(
            "CPUs",
            format!("{cpu} is not one we may use ({allowed:?})"),
            "correct dataplane.cpus",
        ),
        None => Finding::good("CPUs", format!("may use {allowed:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_its_fix_below_it() {
        let text =
            render(&[Finding::good("kernel", "6.18"), Finding::bad("listen", "taken", "free it")], false);
        assert_eq!(
            text,
            "ok    kernel         6.18\nBAD   listen         taken\n                     fix: free it\n"
        );
        assert!(render(&[Finding::good("a", "b")], true).contains("\x1b[32m"));
    }

    #[test]
    fn this_kernel_and_memory_are_judged() {
        assert_eq!(kernel().grade, Grade::Good);
        assert_ne!(huge_pages(1 << 62).grade, Grade::Good, "nobody has so many");
        assert!(huge_pages(4 << 20).seen.contains("2 "), "two pages are needed for 4 MiB");
    }
}
