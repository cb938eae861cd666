//! `cargo xtask bench quick` and `full`: the peers side by side in a laboratory of the run's own, and the report of it;
//! `bench report`: a report written anew, or two compared.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use console::style;
use strowger_report::session::{Machine, Quantity, Scale, Session};
use strowger_report::{compare, hgrm, html, markdown, number, targets};

use super::generator::Generator;
use super::peers::{self, Kind, Peer, Place};
use super::plan::Plan;
use super::session::{BINDINGS, Runner, USERS, commit};
use crate::failure::Doing as _;
use crate::lab::Lab;
use crate::progress::{self, Step};
use crate::{Failure, interrupt, machine, process, workspace};

/// Options of `bench quick` and `bench full`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Another peer, in the node's place: a shell command that stays in the foreground. It runs in the laboratory's
    /// namespace and serves a registrar and stateful proxy. Can be given again, each with its address.
    #[arg(long, value_name = "CMD", requires = "peer_address")]
    peer_command: Vec<String>,
    /// Where it listens.
    #[arg(long, value_name = "ADDR:PORT", requires = "peer_command")]
    peer_address: Vec<SocketAddr>,
    /// Takes only these peers: floor, kamailio, off, generic, copy, busy.
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    only: Vec<String>,
    /// Where the report goes. Default: target/bench/reports for quick, bench/reports for full; a directory of its own.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The name of that directory. Default: the date, the number of CPUs, and quick or full.
    #[arg(long)]
    name: Option<String>,
    /// Figures of `bench engine --json FILE`, shown beside those through a node.
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
}

/// Options of `bench full` alone.
#[derive(Debug, clap::Args)]
pub struct FullArgs {
    /// No measurement begins after so many minutes. Less time is fewer rounds, and then fewer kinds of figures.
    #[arg(long, default_value_t = 23, value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: u64,
    #[command(flatten)]
    run: RunArgs,
}

/// Options of `bench report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// A session, as session.json of a report has it.
    session: PathBuf,
    /// A later one: what changed beyond noise is said.
    after: Option<PathBuf>,
    /// Writes HTML, Markdown and .hgrm of the first anew.
    #[arg(long, value_name = "DIR", conflicts_with = "after")]
    out: Option<PathBuf>,
}

/// `bench quick`.
///
/// # Errors
/// The laboratory or a peer cannot be had, the run was interrupted, or a target is missed.
pub fn quick(args: &RunArgs) -> Result<(), Failure> {
    run(args, &Plan::quick(), "quick")
}

/// `bench full`.
///
/// # Errors
/// The laboratory or a peer cannot be had, the run was interrupted, or a target is missed.
pub fn full(args: &FullArgs) -> Result<(), Failure> {
    let words = format!("full --minutes {}", args.minutes);
    run(&args.run, &Plan::full(Duration::from_secs(args.minutes * 60)), &words)
}

/// Measures and writes.
///
/// # Errors
/// Not root, a missing tool, a build that fails, an interruption; and a target that is missed.
fn run(args: &RunArgs, plan: &Plan, words: &str) -> Result<(), Failure> {
    machine::need_root(&format!("bench {words}"))?;
    interrupt::watch()?;
    machine::ensure(&[machine::IP])?;
    if args.only.is_empty() || args.only.iter().any(|key| key == "kamailio") {
        // Without it there is a report too; the targets that need it are not measured.
        if let Err(failure) = peers::ensure_kamailio() {
            progress::warn(format_args!("Kamailio takes no part: {failure}"));
        }
    }
    let takers = takers(args)?;
    let target = workspace::target()?;
    let [node, load, reflector] = build(&target)?;

    let name = format!("swt-bench-{}", std::process::id());
    let directory = target.join("bench").join(&name);
    fs::create_dir_all(&directory).doing(format!("make {}", directory.display()))?;
    let place = Place {
        lab: Lab::named(&name),
        directory: directory.clone(),
        node,
        users: USERS,
        bindings: BINDINGS,
    };
    peers::write_users(&place)?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let here = here();
    let guard = place.lab.clone().guard();
    guard.up()?;
    let generator = Generator { program: load, directory: directory.clone(), lab: place.lab.clone() };
    let mut runner = Runner::new(&place, generator, reflector, takers);
    runner.run(plan)?;
    drop(guard);
    let mut session = runner.session;
    session.kind = plan.kind.to_owned();
    session.started_unix = started;
    session.machine = here;
    session.command = format!("cargo xtask bench {words}");
    session.laboratory = format!(
        "two network namespaces joined by a veth pair, one queue; {USERS} users; generator and peer share the processors"
    );
    if let Some(file) = &args.engine {
        session.scale.extend(engine(file)?);
    }
    let date: String = number::date(started).chars().take(10).collect();
    let default = format!("{date}-{}cpu-{}", session.machine.cpus, plan.kind);
    session.name = args.name.clone().unwrap_or(default);
    let parent = args.out.clone().unwrap_or_else(|| match plan.kind {
        "full" => workspace::root().join("bench/reports"),
        _ => target.join("bench/reports"),
    });
    let out = parent.join(&session.name);
    anonymous(&mut session, &[(&directory, "RUN"), (&target, "target"), (&workspace::root(), ".")]);
    write(&session, &out, true)?;
    let _ = fs::remove_dir_all(&directory);
    verdict(&session, &out)
}

/// Who takes part.
fn takers(args: &RunArgs) -> Result<Vec<Peer>, Failure> {
    let mut takers = peers::own();
    if let Some(unknown) = args.only.iter().find(|key| !takers.iter().any(|peer| &peer.key == *key)) {
        let known: Vec<&str> = takers.iter().map(|peer| peer.key.as_str()).collect();
        return Err(Failure::new(crate::Code::Usage, format!("--only {unknown}: there is no such peer"))
            .fix(format!("one of {}", known.join(", "))));
    }
    takers.retain(|peer| args.only.is_empty() || args.only.contains(&peer.key));
    takers.retain(|peer| peer.available().is_ok());
    if args.peer_command.len() != args.peer_address.len() {
        return Err(Failure::new(crate::Code::Usage, "each --peer-command needs its --peer-address"));
    }
    for (at, (line, address)) in args.peer_command.iter().zip(&args.peer_address).enumerate() {
        takers.push(Peer {
            key: format!("other-{}", at + 1),
            title: line.split_whitespace().next().unwrap_or("other").to_owned(),
            kind: Kind::Command { line: line.clone(), address: *address },
            workers: None,
        });
    }
    Ok(takers)
}

/// Node, generator and reflector, in release mode; in one build, so that what they share is built once.
fn build(target: &Path) -> Result<[PathBuf; 3], Failure> {
    const PROGRAMS: [(&str, &str); 3] = [
        ("strowger-node", "strowger"),
        ("strowger-load", "strowger-load"),
        ("strowger-reflector", "strowger-reflector"),
    ];
    let step = Step::begin_long("build the node, the generator and the reflector");
    let mut command = workspace::cargo();
    command.args(["build", "--release"]);
    command.args(PROGRAMS.iter().flat_map(|(package, _)| ["--package", package]));
    workspace::build(&mut command)?;
    step.done("");
    Ok(PROGRAMS.map(|(_, program)| target.join("release").join(program)))
}

/// This machine, now.
fn here() -> Machine {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|n| n.trim() == name));
        line.and_then(|line| line.split_once(':')).map_or("?", |(_, value)| value.trim()).to_owned()
    };
    let memory = read("/proc/meminfo");
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = memory.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let version = process::output(Command::new("rustc").arg("--version")).unwrap_or_default();
    let load = read("/proc/loadavg");
    Machine {
        cpu: field("model name"),
        cpus: std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        virtual_machine: field("flags").split(' ').any(|flag| flag == "hypervisor"),
        memory_bytes: kib.unwrap_or(0) * 1024,
        kernel: format!("Linux {}", machine::kernel()),
        load: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN),
        rustc: version.trim().to_owned(),
        commit: commit(),
    }
}

/// What `bench engine --json` found of a call's messages, in its process.
fn engine(file: &Path) -> Result<Vec<Scale>, Failure> {
    let text = fs::read_to_string(file).doing(format!("read {}", file.display()))?;
    let value: serde_json::Value = serde_json::from_str(&text).doing(format!("read {}", file.display()))?;
    let rows = value["rows"].as_array().cloned().unwrap_or_default();
    let of_a_call = rows.iter().filter(|row| {
        row["workload"].as_str().is_some_and(|name| name.starts_with("call: each of its seven messages"))
    });
    Ok(of_a_call
        .filter_map(|row| {
            Some(Scale {
                source: "engine in process, each message".to_owned(),
                quantity: Quantity::Bindings,
                size: row["candidate"].as_str()?.replace(',', "").parse().ok()?,
                cost_ns: row["median_ns"].as_f64(),
                p99_ns: None,
                pss_bytes: None,
                lossless: true,
            })
        })
        .collect())
}

/// Paths of this machine say nothing to a reader elsewhere.
fn anonymous(session: &mut Session, paths: &[(&Path, &str)]) {
    let mend = |text: &mut String| {
        for (path, word) in paths {
            *text = text.replace(&path.display().to_string(), word);
        }
    };
    for peer in &mut session.peers {
        for text in [&mut peer.command, &mut peer.configuration, &mut peer.version] {
            mend(text);
        }
    }
    session.omitted.iter_mut().for_each(mend);
}

/// Writes the report's files; `raw` says whether the session itself is among them.
fn write(session: &Session, out: &Path, raw: bool) -> Result<(), Failure> {
    let save = |name: &str, text: &str| {
        let path = out.join(name);
        fs::write(&path, text).doing(format!("write {}", path.display()))
    };
    fs::create_dir_all(out).doing(format!("make {}", out.display()))?;
    if raw {
        save("session.json", &serde_json::to_string(session).doing("write JSON")?)?;
    }
    save("report.html", &html::html(session))?;
    save("report.md", &markdown::markdown(session))?;
    for (name, text) in hgrm::files(session) {
        save(&name, &text)?;
    }
    Ok(())
}

/// Prints the targets; fails when one is missed.
fn verdict(session: &Session, out: &Path) -> Result<(), Failure> {
    let all = targets::of(session);
    for target in &all {
        let (word, look) = match target.met {
            Some(true) => ("met", console::Style::new().green()),
            Some(false) => ("missed", console::Style::new().red()),
            None => ("not measured", console::Style::new().dim()),
        };
        let figures = target.figures.as_deref().unwrap_or("–");
        println!("{:12} {}: {figures}, {}", look.apply_to(word), target.what, target.limit);
    }
    let disturbed = session.disturbed().count();
    if disturbed > 0 {
        println!("{} of {} runs were disturbed", disturbed, session.samples.len());
    }
    println!("report: {}", style(out.join("report.html").display()).bold());
    println!("{}", targets::summary(&all));
    match targets::missed(session, &all) {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} targets are missed"))),
    }
}

/// `bench report`.
///
/// # Errors
/// A file is not what it should be, or cannot be written.
pub fn report(args: &ReportArgs) -> Result<(), Failure> {
    let read = |path: &Path| {
        let text = fs::read_to_string(path).doing(format!("read {}", path.display()))?;
        Session::read(&text).doing(format!("read {}", path.display()))
    };
    let session = read(&args.session)?;
    if let Some(after) = &args.after {
        print!("{}", compare::compare(&session, &read(after)?).terminal());
        return Ok(());
    }
    match &args.out {
        Some(out) => {
            write(&session, out, false)?;
            println!("report: {}", out.join("report.html").display());
        }
        None => print!("{}", markdown::markdown(&session)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_report::session;

    #[test]
    fn a_report_is_written_read_and_compared() {
        let directory = tempfile::tempdir().unwrap();
        let mut session =
            Session { schema: session::SCHEMA, kind: "quick".into(), name: "x".into(), ..Session::default() };
        session
            .peers
            .push(session::Peer { configuration: "dir: /a/b/run/data".into(), ..session::Peer::default() });
        anonymous(&mut session, &[(Path::new("/a/b/run"), "RUN"), (Path::new("/a/b"), ".")]);
        assert_eq!(session.peers[0].configuration, "dir: RUN/data");
        write(&session, directory.path(), true).unwrap();
        let text = fs::read_to_string(directory.path().join("session.json")).unwrap();
        assert_eq!(Session::read(&text).unwrap(), session);
        assert!(fs::read_to_string(directory.path().join("report.html")).unwrap().ends_with("</html>\n"));
        let args = ReportArgs { session: directory.path().join("none.json"), after: None, out: None };
        assert!(report(&args).unwrap_err().what().contains("none.json"));
    }

    #[test]
    fn engine_figures_are_taken_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("engine.json");
        let rows = r#"{"rows":[{"workload":"INVITE","candidate":"1,000","median_ns":1.0},
            {"workload":"call: each of its seven messages, with timers","candidate":"1,000,000","median_ns":2100.5}]}"#;
        fs::write(&file, rows).unwrap();
        let scale = engine(&file).unwrap();
        assert_eq!((scale.len(), scale[0].size, scale[0].cost_ns), (1, 1_000_000, Some(2100.5)));
    }
}
