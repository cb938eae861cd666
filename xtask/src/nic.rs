//! `cargo xtask nic check|tune|undo IF`: a NIC and its machine made ready for the data plane, and put back.
//!
//! What is wanted, and why, is `strowger-nic`'s to say; `strowger doctor` says the same. Here is what it takes to change it
//! safely: nothing on the interface of the default route unasked, what was is saved before the first step, every step is
//! shown, and `undo` leaves the device as it was found.

mod state;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use console::style;
use strowger_nic::{Line, Readings, Roots, Step, Verdict, Wishes, plan};

use crate::failure::Doing as _;
use crate::{Code, Failure, machine, process};
use state::State;

/// Options of `nic`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    deed: Deed,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask nic check eth1                   what would be done, and why
  cargo xtask nic tune eth1 --queues 8         do it, a step at a time
  cargo xtask nic undo eth1                    as it was before
  cargo xtask nic check eth1 --json

What was is kept in /run/strowger/nic until it is undone; a restart of the machine undoes everything too.
deploy/NIC.md says what each driver needs.";

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Say how each setting stands, what it should be and why. Changes nothing.
    Check(CheckArgs),
    /// Change what should be otherwise; what was is saved first.
    Tune(TuneArgs),
    /// Put back what was before.
    Undo(UndoArgs),
}

/// Which device, and where.
#[derive(Debug, clap::Args)]
struct DeviceArgs {
    /// The device.
    #[arg(value_name = "IF")]
    interface: String,
    /// Its network namespace, a name in /run/netns.
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
}

/// What is wanted of it.
#[derive(Debug, clap::Args)]
struct WishArgs {
    /// Queues [default: one for each CPU, as far as the device has them].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    queues: Option<u32>,
    /// The CPUs of the workers, as in dataplane.cpus [default: all that this process may use].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cpus: Vec<u32>,
    /// For workers that poll the driver themselves: interrupts stay off meanwhile.
    #[arg(long)]
    busy_poll: bool,
    /// Leave alone what is the machine's: huge pages, governors, irqbalance.
    #[arg(long)]
    device_only: bool,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    wishes: WishArgs,
    /// One JSON array on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct TuneArgs {
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    wishes: WishArgs,
    /// Also when the default route leaves by this device: its link may go down for a moment.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct UndoArgs {
    #[command(flatten)]
    device: DeviceArgs,
    /// Also when the default route leaves by this device.
    #[arg(long)]
    force: bool,
}

/// Does what was asked of the device.
///
/// # Errors
/// No such device, not root, a step that was refused, or something that could not be put back.
pub fn run(args: &Args) -> Result<(), Failure> {
    let device = match &args.deed {
        Deed::Check(args) => &args.device,
        Deed::Tune(args) => &args.device,
        Deed::Undo(args) => &args.device,
    };
    machine::ensure(&[machine::ETHTOOL])?;
    if let Some(netns) = &device.netns {
        return inside(netns);
    }
    let roots = Roots::default();
    // A device's name is a component of paths here.
    if device.interface.contains('/') || !roots.sys.join("class/net").join(&device.interface).exists() {
        let what = format!("there is no device {} in this network namespace", device.interface);
        return Err(
            Failure::failed(what).fix("`ip -br link` lists those there are; --netns NAME looks elsewhere")
        );
    }
    match &args.deed {
        Deed::Check(args) => check(&roots, args),
        Deed::Tune(args) => tune(&roots, args),
        Deed::Undo(args) => undo(&roots, args),
    }
}

/// The same command line in the namespace: `ip netns exec` shows the namespace's own /sys there.
fn inside(netns: &str) -> Result<(), Failure> {
    machine::need_root("nic --netns NAME")?;
    machine::ensure(&[machine::IP])?;
    let ourselves = std::env::current_exe().doing("find this program's own file")?;
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns]).arg(ourselves);
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        if word == "--netns" {
            let _ = words.next();
        } else if !word.to_string_lossy().starts_with("--netns=") {
            command.arg(word);
        }
    }
    let status = command.status().map_err(|error| process::not_started(&command, &error))?;
    match status.code() {
        Some(0) => Ok(()),
        // It has said why.
        Some(code) if code == Code::Leftover as i32 => Err(Failure::new(Code::Leftover, "")),
        Some(code) if code == Code::Privilege as i32 => Err(Failure::new(Code::Privilege, "")),
        _ => Err(Failure::silent()),
    }
}

impl WishArgs {
    fn wishes(&self) -> Wishes {
        let allowed = || {
            let set = rustix::thread::sched_getaffinity(None).ok();
            let numbers = 0..rustix::thread::CpuSet::MAX_CPU;
            let allowed = numbers.filter(|cpu| set.as_ref().is_some_and(|set| set.is_set(*cpu)));
            allowed.filter_map(|cpu| u32::try_from(cpu).ok()).collect()
        };
        Wishes {
            queues: self.queues,
            cpus: if self.cpus.is_empty() { allowed() } else { self.cpus.clone() },
            busy_poll: self.busy_poll,
            device_only: self.device_only,
        }
    }
}

fn check(roots: &Roots, args: &CheckArgs) -> Result<(), Failure> {
    let wishes = args.wishes.wishes();
    let readings = Readings::take(roots, &args.device.interface, &wishes.cpus);
    let lines = plan(roots, &readings, &wishes);
    if args.json {
        let text = serde_json::to_string_pretty(&lines).doing("write JSON")?;
        println!("{text}");
        return Ok(());
    }
    println!(
        "{}: driver {}",
        readings.interface,
        if readings.driver.is_empty() { "unknown" } else { &readings.driver }
    );
    print!("{}", table(&lines));
    let changes = lines.iter().filter(|line| line.verdict == Verdict::Change).count();
    println!("{changes} to change{}", if changes > 0 { ": cargo xtask nic tune does it" } else { "" });
    Ok(())
}

/// The lines below each other. What is to be changed has its command below.
fn table(lines: &[Line]) -> String {
    let width = |text: fn(&Line) -> &str| lines.iter().map(|line| text(line).len()).max().unwrap_or(0);
    let (name, now) = (width(|line| &line.setting), width(|line| &line.now));
    let mut text = String::new();
    for line in lines {
        let (word, why) = match line.verdict {
            Verdict::Good => (style("ok    ").green(), ""),
            Verdict::Change => (style("change").yellow(), line.why),
            Verdict::Fixed => (style("fixed ").yellow(), line.why),
            Verdict::Unsupported => (style("-     ").dim(), ""),
        };
        let want = line
            .want
            .as_deref()
            .filter(|_| !why.is_empty())
            .map_or(String::new(), |want| format!("-> {want}  "));
        let whole = format!("{word} {:name$}  {:now$}  {want}{why}", line.setting, line.now);
        text.push_str(whole.trim_end());
        text.push('\n');
        if let Some(step) = &line.step {
            text.push_str(&format!("       {}\n", style(step).dim()));
        }
    }
    text
}

fn tune(roots: &Roots, args: &TuneArgs) -> Result<(), Failure> {
    let interface = &args.device.interface;
    machine::need_root("nic tune IF")?;
    spare_the_default_route(roots, interface, args.force)?;
    let wishes = args.wishes.wishes();
    let mut readings = Readings::take(roots, interface, &wishes.cpus);
    let mut state = State::begin(roots, interface)?;
    state.remember(&readings, &plan(roots, &readings, &wishes))?;
    let (mut tried, mut done, mut refused) = (Vec::new(), 0, 0);
    // A step may change what others read: queues that are made anew have other interrupts.
    loop {
        let lines = plan(roots, &readings, &wishes);
        let open = |line: &&Line| line.verdict == Verdict::Change && !tried.contains(&line.knob);
        let Some(line) = lines.iter().find(open) else { break };
        let (Some(want), knob) = (line.want.clone(), line.knob.clone()) else { break };
        tried.push(knob.clone());
        let step = Step::new(roots, interface, &knob, &want);
        let outcome = step.take();
        readings = Readings::take(roots, interface, &wishes.cpus);
        let now = readings.value(&knob).unwrap_or("gone");
        match outcome {
            Ok(()) if now == want => {
                done += 1;
                println!("{} {step}", style("ok      ").green());
            }
            // Drivers round; what is short of the wish is still a change that undo knows.
            Ok(()) => println!("{} {step}: it is {now} now", style("rounded ").yellow()),
            Err(refusal) => {
                refused += 1;
                println!("{} {refusal}", style("refused ").red());
            }
        }
    }
    let after = plan(roots, &readings, &wishes);
    for line in after.iter().filter(|line| line.verdict == Verdict::Unsupported) {
        println!("{} {}: {}", style("-       ").dim(), line.setting, line.now);
    }
    if tried.is_empty() {
        state.forget_when_new()?;
        println!("{interface} is as it should be");
        return Ok(());
    }
    println!("{done} changed, {refused} refused; `cargo xtask nic undo {interface}` puts back what was");
    if refused > 0 {
        return Err(Failure::failed(format!("{refused} settings of {interface} were refused")).fix(
            "the reasons are above; most drivers refuse while a node or another XDP program holds the queues",
        ));
    }
    Ok(())
}

fn undo(roots: &Roots, args: &UndoArgs) -> Result<(), Failure> {
    let interface = &args.device.interface;
    machine::need_root("nic undo IF")?;
    spare_the_default_route(roots, interface, args.force)?;
    let Some(state) = State::load(roots, interface)? else {
        println!("nothing was changed on {interface}");
        return Ok(());
    };
    let cpus = state.cpus();
    let mut failed = Vec::new();
    for (knob, before) in state.before() {
        let readings = Readings::take(roots, interface, &cpus);
        // An interrupt that the driver has not made again has nothing to be put back to.
        let Some(now) = readings.value(knob).filter(|now| now != before) else { continue };
        let step = Step::new(roots, interface, knob, before);
        let why = match step.take() {
            Ok(()) => {
                let after = Readings::take(roots, interface, &cpus);
                let value = after.value(knob).unwrap_or("gone").to_owned();
                (value != *before).then(|| format!("it is {value} now"))
            }
            Err(refusal) => Some(refusal.reason),
        };
        match why {
            None => println!("{} {step}   (was {now})", style("ok      ").green()),
            Some(why) => {
                println!("{} {step}: {why}", style("failed  ").red());
                failed.push(knob.to_string());
            }
        }
    }
    if failed.is_empty() {
        state.forget()?;
        println!("{interface} is as it was");
        return Ok(());
    }
    Err(Failure::new(Code::Leftover, format!("not put back on {interface}: {}", failed.join(", ")))
        .fix("stop what holds the device, and undo again: what was is still known"))
}

/// Fails when the default route leaves by this device, unless it was forced: who tunes it loses his own way here.
fn spare_the_default_route(roots: &Roots, interface: &str, force: bool) -> Result<(), Failure> {
    let read = |file: &str| fs::read_to_string(roots.proc.join(file)).unwrap_or_default();
    let carries =
        default_routes(&read("net/route"), &read("net/ipv6_route")).iter().any(|name| name == interface);
    if !carries || force {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "the default route leaves by {interface}, and its link may go down for a moment"
    ))
    .fix("add --force, best from its own console"))
}

/// The devices of default routes, from /proc/net/route and /proc/net/ipv6_route.
fn default_routes(v4: &str, v6: &str) -> Vec<String> {
    const NOWHERE: &str = "00000000";
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let default = words.get(1) == Some(&NOWHERE) && words.get(7) == Some(&NOWHERE);
        words.first().filter(|_| default).map(|name| (*name).to_owned())
    });
    let v6 = v6.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let default = words.first()?.bytes().all(|digit| digit == b'0') && words.get(1) == Some(&"00");
        // Every namespace has an unreachable one by lo.
        words.last().filter(|name| default && **name != "lo").map(|name| (*name).to_owned())
    });
    v4.chain(v6).collect()
}

/// Where states are kept. The node's own directory in /run, so that a restart of the machine, which undoes the
/// settings, forgets them too.
fn directory() -> PathBuf {
    Path::new("/run/strowger/nic").to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_of_both_families() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n\
                  eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\n\
                  eth1\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\n\
                  eth3\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\n";
        let v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 \
                  00000400 00000001 00000000 00000003     eth2\n\
                  00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 \
                  ffffffff 00000001 00000000 00200200       lo\n\
                  fd770000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 \
                  00000100 00000001 00000000 00000001     eth1\n";
        assert_eq!(default_routes(v4, v6), ["eth0", "eth2"]);
    }

    #[test]
    fn the_default_routes_device_is_spared() {
        let directory = tempfile::tempdir().expect("a directory");
        let roots = Roots { sys: directory.path().to_path_buf(), proc: directory.path().to_path_buf() };
        fs::create_dir(directory.path().join("net")).expect("made");
        let routes = "head\nwan0\t00000000\t0\t0\t0\t0\t0\t00000000\t0\n";
        fs::write(directory.path().join("net/route"), routes).expect("written");
        assert!(spare_the_default_route(&roots, "wan0", false).is_err());
        assert!(spare_the_default_route(&roots, "wan0", true).is_ok());
        assert!(spare_the_default_route(&roots, "wan1", false).is_ok());
    }
}
