//! `cargo xtask lab`: the laboratory in two network namespaces, its phones, and what the node there says.

pub mod network;
pub mod phones;
mod report;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use network::Lab;
use phones::{Phones, Traffic, knock};
use report::{CallReport, RegisterReport};

use crate::node::Console;
use crate::progress::Step;
use crate::{Code, Failure, interrupt, machine, progress, workspace};

/// Options of `lab`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    deed: Deed,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask lab call --calls 1000 --rate 100
  cargo xtask lab call --calls 200 --rate 50 --ipv6 --json
  cargo xtask lab register --users 500
  cargo xtask lab status --json

The node comes from `cargo xtask build-and-load` in another terminal. sipp, the phones, is installed by apt
when it is missing.";

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Make the namespaces and the wire between them, or mend what is half made.
    Up,
    /// Remove them.
    Down(DownArgs),
    /// Phones register through the node.
    Register(RegisterArgs),
    /// Phones register and call each other through the node; fails when a call fails.
    Call(CallArgs),
    /// Whether the laboratory stands, and what the node in it says.
    Status(StatusArgs),
}

#[derive(Debug, clap::Args)]
struct DownArgs {
    /// Also while a node runs in it.
    #[arg(long)]
    force: bool,
}

/// Options that `register` and `call` share.
#[derive(Debug, clap::Args)]
struct PhoneArgs {
    /// Over IPv6.
    #[arg(long)]
    ipv6: bool,
    /// The result as one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RegisterArgs {
    /// How many phones.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    users: u32,
    #[command(flatten)]
    phone: PhoneArgs,
}

#[derive(Debug, clap::Args)]
struct CallArgs {
    /// How many calls in all.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// Calls begun in a second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How many phones; half of them call the other half.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    users: u32,
    /// How long a call lasts, in milliseconds.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    hold: u64,
    #[command(flatten)]
    phone: PhoneArgs,
}

#[derive(Debug, clap::Args)]
struct StatusArgs {
    /// The node's own JSON object.
    #[arg(long)]
    json: bool,
}

/// `node.name` of the node in the laboratory.
pub const NODE_NAME: &str = "lab-1";

/// Where the laboratory keeps its files: configuration, logs, scenarios, statistics.
///
/// # Errors
/// Cargo does not name its target directory.
pub fn directory() -> Result<PathBuf, Failure> {
    Ok(workspace::target()?.join("lab"))
}

/// Does what was asked of the laboratory.
///
/// # Errors
/// Not root, a missing tool, or what the deed met.
pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.deed {
        Deed::Up => up(),
        Deed::Down(args) => down(args),
        Deed::Register(args) => register(args),
        Deed::Call(args) => call(args),
        Deed::Status(args) => status(args),
    }
}

fn up() -> Result<(), Failure> {
    machine::need_root("lab up")?;
    machine::ensure(&[machine::IP])?;
    let lab = Lab::standard();
    tell(&lab.up()?, "the lab stands already");
    println!("node   {}", lab.node_end());
    println!("peers  {}", lab.peers_end());
    Ok(())
}

fn down(args: &DownArgs) -> Result<(), Failure> {
    machine::need_root("lab down")?;
    if !args.force
        && let Ok(status) = console()?.status()
    {
        let what = format!("a node runs in the lab (process {})", status.node.pid);
        return Err(Failure::failed(what).fix("end it with Ctrl-C first, or add --force"));
    }
    tell(&Lab::standard().down()?, "there is no lab");
    Ok(())
}

fn register(args: &RegisterArgs) -> Result<(), Failure> {
    let bench = Bench::ready("lab register", &args.phone)?;
    let before = bench.console.status()?;
    let tally = bench.register(args.users)?;
    let after = bench.console.status()?;
    let report = RegisterReport { registrations: tally, sip: after.totals - before.totals };
    report.print(args.phone.json)?;
    if tally.failed > 0 {
        return Err(Failure::failed(format!("{} of {} phones could not register", tally.failed, args.users))
            .fix(format!("see {}", bench.directory.display())));
    }
    Ok(())
}

fn call(args: &CallArgs) -> Result<(), Failure> {
    let bench = Bench::ready("lab call", &args.phone)?;
    let before = bench.console.status()?;
    let registrations = bench.register(args.users)?;
    let traffic = Traffic {
        users: args.users,
        calls: args.calls,
        rate: args.rate,
        hold: Duration::from_millis(args.hold),
    };
    let bar = call_bar(args.calls);
    let phones = bench.phones().call(&traffic, |tally| {
        bar.set_position(tally.ok + tally.failed);
        bar.set_message(format!("{} up, {} failed", tally.current, tally.failed));
    })?;
    bar.finish_and_clear();
    let after = bench.console.status()?;
    let report =
        CallReport { mode: after.dataplane.mode, registrations, phones, sip: after.totals - before.totals };
    report.print(args.phone.json)?;
    let failed = registrations.failed + phones.calling.failed;
    if failed > 0 {
        let what =
            format!("{} calls and {} registrations failed", phones.calling.failed, registrations.failed);
        return Err(Failure::failed(what).fix(format!("see {}", bench.directory.display())));
    }
    Ok(())
}

fn status(args: &StatusArgs) -> Result<(), Failure> {
    let lab = Lab::standard();
    let text = console()?.status_text(args.json).map_err(|failure| {
        let stands =
            if lab.stands() { "the lab stands, but no node answers in it" } else { "there is no lab" };
        Failure::new(Code::Node, format!("{stands}: {failure}")).fix("cargo xtask build-and-load")
    })?;
    if !args.json {
        println!("node   {}", lab.node_end());
        println!("peers  {}", lab.peers_end());
    }
    print!("{text}");
    Ok(())
}

/// How the node of the laboratory is asked.
fn console() -> Result<Console, Failure> {
    let binary = workspace::target()?.join("release/strowger");
    Ok(Console::new(binary, Some(crate::node::default_socket(NODE_NAME))))
}

/// Everything that phones need before they can begin.
struct Bench {
    lab: Lab,
    console: Console,
    directory: PathBuf,
    local: IpAddr,
    node: SocketAddr,
}

impl Bench {
    fn ready(verb: &str, args: &PhoneArgs) -> Result<Self, Failure> {
        machine::need_root(verb)?;
        machine::ensure(&[machine::IP, machine::SIPP])?;
        interrupt::watch()?;
        let (local, node) = if args.ipv6 {
            (IpAddr::V6(Lab::PEERS_V6), Lab::node_v6())
        } else {
            (IpAddr::V4(Lab::PEERS_V4), Lab::node_v4())
        };
        let bench = Self { lab: Lab::standard(), console: console()?, directory: directory()?, local, node };
        let step = Step::begin("the node answers");
        if !bench.lab.stands() {
            return Err(Failure::new(Code::Node, "there is no lab")
                .fix("cargo xtask build-and-load in another terminal"));
        }
        knock(&bench.lab, local, node, Duration::from_secs(5))?;
        let status = bench.console.status()?;
        step.done(format!("{node} in {} mode", status.dataplane.mode));
        Ok(bench)
    }

    fn phones(&self) -> Phones<'_> {
        Phones { lab: &self.lab, local: self.local, node: self.node, directory: &self.directory }
    }

    fn register(&self, users: u32) -> Result<crate::sipp::Tally, Failure> {
        let step = Step::begin("phones register");
        let tally = self.phones().register(users, |ok| step.now(format!("{ok} of {users}")))?;
        step.done(format!("{} of {users}", tally.ok));
        Ok(tally)
    }
}

fn call_bar(calls: u32) -> ProgressBar {
    let target =
        if progress::on_a_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30.cyan} {pos} of {len} calls  {msg}  {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(u64::from(calls)), target).with_style(style)
}

fn tell(done: &[String], nothing: &str) {
    if done.is_empty() {
        println!("{nothing}");
    }
    for line in done {
        println!("{line}");
    }
}
