//! `cargo xtask build-and-load`: from a fresh clone to a running node in one command.
//!
//! Without arguments the node stands in the laboratory, with `--iface` or `--config` on a real NIC. It asks for
//! nothing, says each step, and ends on a line that moves. Ctrl-C stops the node, makes sure that no XDP program is
//! left on the interface, and removes the laboratory.

mod live;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::failure::Doing as _;
use crate::lab::{self, Lab, network};
use crate::namespace::Namespace;
use crate::node::{Configuration, Console, Endpoint, Node, default_socket};
use crate::progress::{self, Step};
use crate::{Code, Failure, ebpf, interrupt, machine, process, workspace};

/// Options of `build-and-load`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Serve this NIC of the machine instead of the laboratory.
    #[arg(long, value_name = "IF", requires = "listen", conflicts_with = "config")]
    iface: Option<String>,
    /// Where to listen on it; may be given several times.
    #[arg(long, value_name = "ADDR:PORT", requires = "iface")]
    listen: Vec<SocketAddr>,
    /// With --iface: whoever reaches the node may register (in the laboratory it is always so).
    #[arg(long, requires = "iface")]
    open_registration: bool,
    /// Run with this configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data plane in the laboratory or on --iface.
    #[arg(long, default_value = "auto", conflicts_with = "config",
          value_parser = ["auto", "zero-copy", "copy", "generic", "off"])]
    mode: String,
    /// Leave the laboratory standing at the end.
    #[arg(long)]
    keep: bool,
    /// End by itself after so many seconds.
    #[arg(long = "for", value_name = "SECONDS", conflicts_with = "once")]
    seconds: Option<u64>,
    /// Bring the node up, print one status line, and end.
    #[arg(long)]
    once: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask build-and-load                                       a node in the lab
  cargo xtask build-and-load --iface eth1 --listen 192.0.2.10:5060 a node on a NIC
  cargo xtask build-and-load --config deploy/strowger.yaml         a node as a file says
  cargo xtask build-and-load --for 60                              for scripts: ends by itself

Needs root. On a NIC use a port that nobody else holds; traffic to other ports and addresses stays with the
kernel. Ctrl-C ends the node, checks that no XDP program is left on the interface, and removes the lab.
Without a terminal there is a status line every 5 seconds instead of one that moves.";

/// How long a node may take from its start to its first answer. Debug aid, not a promise: the node needs far less.
const UP_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to end.
const DOWN_LIMIT: Duration = Duration::from_secs(10);
/// The kernel since which the XDP program finds all that it calls.
const OLDEST_KERNEL: (u32, u32) = (5, 11);

/// Where the node will run.
struct Site {
    configuration: PathBuf,
    endpoint: Endpoint,
    lab: Option<Lab>,
}

/// Builds, loads, watches, and cleans up.
///
/// # Errors
/// The step that failed; what it had made is removed again.
pub fn run(args: &Args) -> Result<(), Failure> {
    machine::need_root("build-and-load")?;
    interrupt::watch()?;
    look_at_the_machine()?;
    machine::ensure(&[machine::IP, machine::ETHTOOL])?;
    refresh_object();
    let step = Step::begin_long("build the node");
    let binary = workspace::build_node(&step)?;
    step.done(binary.display());

    let site = Site::prepare(args)?;
    let console = Console::new(&binary, Some(site.endpoint.socket.clone()));
    if let Ok(status) = console.status() {
        let what = format!("node {} runs already (process {})", status.node.name, status.node.pid);
        return Err(Failure::failed(what).fix(format!("end it: kill {}", status.node.pid)));
    }
    check(&console, &site)?;
    if args.iface.is_some() && !args.open_registration {
        progress::warn(
            "nobody can register: there is no authentication yet, and --open-registration was not given",
        );
    }
    let guard = match &site.lab {
        None => None,
        Some(lab) => {
            let step = Step::begin("make the lab");
            let guard = (!args.keep).then(|| lab.clone().guard());
            let done = lab.up()?;
            step.done(if done.is_empty() { "it stands already".to_owned() } else { lab.node_end() });
            guard
        }
    };
    let result = serve(args, console, &site);
    if let Some(guard) = guard {
        let step = Step::begin("remove the lab");
        guard.down()?;
        step.done("");
    }
    result
}

fn look_at_the_machine() -> Result<(), Failure> {
    let step = Step::begin("look at the machine");
    let kernel = machine::kernel();
    if machine::kernel_version(&kernel).is_some_and(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        return Err(Failure::missing(format!("Linux {kernel} is too old for XDP as it is used here"))
            .fix(format!("use Linux {major}.{minor} or newer; 6.1 or newer is tested")));
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    step.done(format!("Linux {kernel}, {cpus} CPUs"));
    Ok(())
}

/// An object that is older than its sources is rebuilt when the machine can; else the committed one serves.
fn refresh_object() {
    let step = Step::begin("the XDP program is as its sources");
    if ebpf::check_sources().is_ok() {
        return step.done("");
    }
    drop(step);
    if let Err(failure) = ebpf::run(&ebpf::Args { check: false, install: false }) {
        progress::warn(format_args!("the committed XDP program is not from these sources: {failure}"));
    }
}

/// The binary's own opinion of the configuration, before anything is touched.
fn check(console: &Console, site: &Site) -> Result<(), Failure> {
    let step = Step::begin("check the configuration");
    process::output(Command::new(console.binary()).arg("check").arg(&site.configuration))
        .map_err(|failure| Failure::new(Code::Node, failure.what()))?;
    step.done(site.configuration.display());
    Ok(())
}

impl Site {
    fn prepare(args: &Args) -> Result<Self, Failure> {
        if let Some(file) = &args.config {
            let endpoint = Endpoint::read(file)?;
            return Ok(Self { configuration: file.clone(), endpoint, lab: None });
        }
        let lab = args.iface.is_none().then(Lab::standard);
        let configuration = match (&args.iface, &lab) {
            (Some(interface), _) => Configuration {
                name: format!("on-{interface}"),
                socket: None,
                interface: interface.clone(),
                netns: None,
                mode: args.mode.clone(),
                workers: None,
                plane: String::new(),
                listen: args.listen.clone(),
                open: args.open_registration,
                auth: String::new(),
                extra: String::new(),
            },
            (None, Some(lab)) => {
                Configuration { mode: args.mode.clone(), ..Configuration::for_lab(lab, lab::NODE_NAME) }
            }
            (None, None) => return Err(Failure::failed("neither a lab nor a NIC")),
        };
        let path = lab::directory()?.join(format!("{}.yaml", configuration.name));
        configuration.write(&path)?;
        let endpoint = Endpoint::read(&path)?;
        debug_assert_eq!(endpoint.socket, default_socket(&configuration.name));
        Ok(Self { configuration: path, endpoint, lab })
    }

    /// The XDP programs on the interface; none when there is no interface to look at.
    fn xdp_programs(&self) -> Result<Vec<String>, Failure> {
        let Some(interface) = &self.endpoint.interface else { return Ok(Vec::new()) };
        let namespace = self.endpoint.netns.as_ref().map(Namespace::new);
        network::xdp_programs(namespace.as_ref(), interface)
    }
}

fn serve(args: &Args, console: Console, site: &Site) -> Result<(), Failure> {
    interrupt::check()?;
    // What sits there already is not ours to remove; the node says so itself when it is in its way.
    let before = site.xdp_programs().unwrap_or_default();
    let step = Step::begin("start the node");
    let began = Instant::now();
    let log = lab::directory()?.join("node.log");
    std::fs::create_dir_all(lab::directory()?).doing("make the directory of the log")?;
    let mut node = Node::start(console, &site.configuration, &log)?;
    let status = node.wait_until_up(UP_LIMIT)?;
    let took = began.elapsed().as_millis();
    let dataplane = &status.dataplane;
    let reason = dataplane.fallback.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    step.done(format!("up after {took} ms in {} mode{reason}", dataplane.mode));
    if site.lab.is_some() && !args.once {
        eprintln!("\nThe node is up. In a second terminal:  cargo xtask lab call --calls 1000 --rate 100");
        eprintln!("Ctrl-C stops it and cleans up. Its log is {}\n", log.display());
    }
    let watched = live::watch(&mut node, args.once, args.seconds.map(Duration::from_secs));
    let ended = match &watched {
        // The node is gone already; what it left behind is still to be looked at.
        Err(_) if node.ended()?.is_some() => Ok(()),
        _ => {
            let step = Step::begin("stop the node");
            node.stop(Signal::TERM, DOWN_LIMIT).and_then(|status| match status.success() {
                true => {
                    step.done("");
                    Ok(())
                }
                false => Err(node.obituary(status)),
            })
        }
    };
    let left: Vec<String> = site
        .xdp_programs()
        .unwrap_or_default()
        .into_iter()
        .filter(|program| !before.contains(program))
        .collect();
    watched?;
    ended?;
    if left.is_empty() {
        let step = Step::begin("no XDP program is left on the interface");
        step.done("");
        return Ok(());
    }
    let interface = site.endpoint.interface.as_deref().unwrap_or_default();
    Err(Failure::new(Code::Leftover, format!("XDP program {} is still on {interface}", left.join(", ")))
        .fix(format!("ip link set dev {interface} xdp off")))
}
