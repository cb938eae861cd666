//! `strowger-load`: the command line. The library does the work.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use strowger_load::agents::Timing;
use strowger_load::digest::Allowed;
use strowger_load::failure::Failure;
use strowger_load::hgrm;
use strowger_load::live::Live;
use strowger_load::observe::{self, Watching};
use strowger_load::population::Population;
use strowger_load::record::{Load, Record, SCHEMA, Scenario};
use strowger_load::run::{Outcome, Shape, limit_text};
use strowger_load::scenario::{BUILT_IN, Script};
use strowger_load::site::{Plan, Site};
use strowger_load::span::Span;
use strowger_load::table::table;

/// A SIP load generator: callers and callees in one process, for any proxy.
///
/// Callees register at the proxy, callers call them through it, and both ends' messages are timed: from the moment a
/// request was meant to leave, so that a stall is seen in every call that it delayed (no coordinated omission).
#[derive(Debug, Parser)]
#[command(name = "strowger-load", version, disable_help_subcommand = true, arg_required_else_help = true, after_help = AFTER_HELP)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Examples:
  strowger-load run call --target 10.77.0.2:5060 --rate 500 --duration 30s --json call.json
      500 calls/s for 30 s after a second of warm-up; 1000 users register before
  strowger-load run call --no-proxy --rate 20000
      the generator alone: callers call callees directly. Do this first: it is the floor and the ceiling
  strowger-load search call --target 10.77.0.2:5060 --from 1000
      the highest rate with 0 failed and under 0.1 % repeated
  strowger-load run register-digest --target 10.77.0.2:5060 --outstanding 50
      closed loop: always 50 registrations under way
  strowger-load run mix --target 10.77.0.2:5060 --netns strowger-peers --watch node=$(pidof strowger)
      from a network namespace; the proxy's processor time and memory are in the report
  strowger-load show call > mine.yaml; strowger-load run ./mine.yaml --target ...
      a scenario of one's own

Exit codes: 0 done, nothing failed; 1 calls failed; 2 wrong command line or scenario; 3 the proxy
does not answer, is no proxy, or does not know the users; 4 privileges are missing; 5 the generator,
not the proxy, was the limit; 6 an address, interface, namespace or file of this machine; 130 interrupted";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Plays a scenario at one rate, or with so many at a time.
    Run(RunArgs),
    /// Looks for the highest lossless rate.
    Search(SearchArgs),
    /// The scenarios that are built in.
    List,
    /// The text of a built-in scenario.
    Show {
        /// Its name.
        scenario: String,
    },
    /// Users and passwords, one NAME,PASSWORD on each line: for the proxy's user list.
    Users(UserArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    common: Common,
    /// Begun each second, whatever became of those before (open loop). Default: the scenario's.
    #[arg(long, conflicts_with = "outstanding", value_parser = rate)]
    rate: Option<f64>,
    /// As many at a time; the next begins when one ends (closed loop).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    outstanding: Option<u32>,
    /// Ends after so many; without warm-up.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

#[derive(Debug, Args)]
struct SearchArgs {
    #[command(flatten)]
    common: Common,
    /// The first rate tried.
    #[arg(long, default_value = "100", value_parser = rate)]
    from: f64,
    /// The highest rate tried.
    #[arg(long, default_value = "200000", value_parser = rate)]
    to: f64,
    /// How close the last good and the first bad rate shall be, in percent.
    #[arg(long, default_value = "5", value_parser = rate)]
    precision: f64,
}

#[derive(Debug, Args)]
struct Common {
    /// A built-in scenario (see `list`), or the path of one's own, which ends with .yaml.
    scenario: String,
    /// The proxy.
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "no_proxy")]
    target: Option<SocketAddr>,
    /// Callers call callees directly: the generator's own cost and ceiling.
    #[arg(long, conflicts_with = "target")]
    no_proxy: bool,

    /// Our address. Default: the one that the kernel sends to the target from.
    #[arg(long, value_name = "ADDRESS")]
    local: Option<IpAddr>,
    /// The callees' address, when it is another.
    #[arg(long, value_name = "ADDRESS")]
    callee_local: Option<IpAddr>,
    /// First of two ports for each thread, callers' and callees'; 0 takes any. The same from run to run, so that users'
    /// registrations replace those of the run before: the proxy would call both. Default: 6060, without a proxy any.
    #[arg(long)]
    port: Option<u16>,
    /// The network namespace that we send from.
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// The callees' network namespace, when it is another.
    #[arg(long, value_name = "NAME")]
    callee_netns: Option<String>,
    /// The users' domain. Default: the target's address.
    #[arg(long)]
    domain: Option<String>,

    #[command(flatten)]
    users: UserArgs,
    /// Digest algorithm that challenges are answered with: any, MD5, SHA-256, SHA-512-256.
    #[arg(long, value_name = "ALGORITHM", default_value = "any")]
    digest: Allowed,

    /// The window that is measured.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: Span,
    /// Played before it, not measured.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    warm_up: Span,
    /// What has not ended so long after the window has failed. Default: the longest hold time, 64·T1 and a second.
    #[arg(long, value_name = "TIME")]
    drain: Option<Span>,
    /// Random gaps with that rate (a Poisson process) instead of equal ones.
    #[arg(long)]
    poisson: bool,
    /// How long calls last: a time, or a range as 10s..60s. Default: the scenario's.
    #[arg(long, value_name = "TIME")]
    hold: Option<Span>,
    /// RFC 3261's T1. Timers B and F are 64 of it.
    #[arg(long, value_name = "TIME", default_value = "500ms")]
    t1: Span,
    /// Calls that can go on at a time, about 5 KiB each while used.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    places: u32,

    /// Send and receive by AF_XDP on this interface instead of by the kernel's sockets. Needs privileges; with one thread.
    #[arg(long, value_name = "INTERFACE")]
    xdp: Option<String>,
    /// The callees' interface, when it is another: without a proxy, at the other end of a wire.
    #[arg(long, value_name = "INTERFACE", requires = "xdp")]
    callee_xdp: Option<String>,
    /// Threads; each has its own users and sockets.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Never sleep: a whole processor for each thread, and requests leave in time.
    #[arg(long)]
    spin: bool,
    /// Processor of the first thread; the next has the next. Default: as the kernel likes.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..1024))]
    cpu: Option<u32>,

    /// Watch a process and its children: processor time and memory. Can be given again.
    #[arg(long, value_name = "NAME=PID", value_parser = watch)]
    watch: Vec<(String, u32)>,
    /// Read the UDP losses of a network namespace, the proxy's. Can be given again.
    #[arg(long, value_name = "NAME")]
    watch_netns: Vec<String>,
    /// Do not ask first whether the proxy answers OPTIONS.
    #[arg(long)]
    no_knock: bool,
    /// Users are registered already.
    #[arg(long)]
    no_prepare: bool,

    /// Everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// One .hgrm file for each leg, milliseconds.
    #[arg(long, value_name = "DIRECTORY")]
    hgrm: Option<PathBuf>,
    /// A word for the proxy, in the JSON and the names of files.
    #[arg(long, default_value = "load")]
    label: String,
    /// No live view and no table.
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct UserArgs {
    /// How many users.
    #[arg(long, default_value_t = 1_000)]
    users: u32,
    /// Their names; {n} is the number.
    #[arg(long, value_name = "PATTERN", default_value = "u{n}")]
    user: String,
    /// Their passwords; {n} is the number.
    #[arg(long, value_name = "PATTERN", default_value = "secret-{n}")]
    password: String,
    /// The first number.
    #[arg(long, default_value_t = 100_000)]
    first_user: u32,
}

impl UserArgs {
    fn population(&self) -> Result<Population, Failure> {
        Population::new(&self.user, &self.password, self.first_user, self.users)
            .map_err(|error| Failure::Usage { what: error.to_string() })
    }
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().verb {
        Verb::Run(args) => run(&args),
        Verb::Search(args) => search(&args),
        Verb::List => list(),
        Verb::Show { scenario } => show(&scenario),
        Verb::Users(args) => users(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            if !failure.fix().is_empty() {
                eprintln!("  fix: {}", failure.fix());
            }
            ExitCode::from(failure.code())
        }
    }
}

fn run(args: &RunArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.common)?;
    let script = &session.site.plan.script;
    let rate = args.rate.or(script.rate).unwrap_or(100.0);
    let load = match args.outstanding {
        Some(outstanding) => Load::Closed { outstanding },
        None => Load::Open { rate, poisson: args.common.poisson },
    };
    let once = script.once.then(|| u64::from(session.site.plan.population.count()));
    let shape = Shape { load, count: args.count.or(once), ..session.shape() };
    let prepared = session.site.prepare(&session.live, &session.stop)?;
    let mut outcome = session.site.play(&shape, &session.live, &session.stop);
    outcome.run.prepared = prepared;
    session.keep(outcome)?;
    session.finish()?;
    session.verdict()
}

fn search(args: &SearchArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.common)?;
    if session.site.plan.script.once {
        return Err(Failure::Usage {
            what: "a scenario that plays each user once has no rate to search for".to_owned(),
        });
    }
    if args.from > args.to {
        return Err(Failure::Usage { what: "--from is above --to".to_owned() });
    }
    let shape =
        Shape { load: Load::Open { rate: args.from, poisson: args.common.poisson }, ..session.shape() };
    let mut prepared = session.site.prepare(&session.live, &session.stop)?;
    let mut outcomes = Vec::new();
    let range = (args.from, args.to, args.precision / 100.0);
    let found = session.site.search(&shape, range, &session.live, &session.stop, |outcome| {
        outcomes.push(Outcome { run: outcome.run.clone(), histograms: outcome.histograms.clone() });
    });
    for mut outcome in outcomes {
        outcome.run.prepared = prepared.take();
        session.keep(outcome)?;
    }
    session.record.search = Some(found);
    session.finish()?;
    session.verdict()
}

fn list() -> Result<(), Failure> {
    for (name, text) in BUILT_IN {
        let script = Script::parse(name, text)?;
        println!("{name:<18}{}", script.about);
        println!("{:<18}measures {}", "", script.legs().join(", "));
    }
    Ok(())
}

fn show(scenario: &str) -> Result<(), Failure> {
    // Says what there is when there is no such.
    Script::load(scenario)?;
    if let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| *name == scenario) {
        print!("{text}");
    }
    Ok(())
}

fn users(args: &UserArgs) -> Result<(), Failure> {
    let population = args.population()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for at in 0..population.count() {
        let line = writeln!(out, "{},{}", population.name_text(at), population.password_text(at));
        // Whoever reads may have had enough.
        if line.is_err() {
            break;
        }
    }
    Ok(())
}

/// What `run` and `search` share.
struct Session {
    site: Site,
    live: Live,
    stop: Arc<AtomicBool>,
    record: Record,
    json: Option<File>,
    hgrm: Option<PathBuf>,
    quiet: bool,
    warm_up: Duration,
    duration: Duration,
    drain: Option<Duration>,
}

impl Session {
    fn open(args: &Common) -> Result<Self, Failure> {
        // Before anything is sent: a path that cannot be written shall not cost a run.
        let json = args.json.as_deref().map(create).transpose()?;
        if let Some(directory) = &args.hgrm {
            fs::create_dir_all(directory).map_err(|error| cannot_write(directory, &error))?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second one ends the program at once.
            let registered = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)));
            registered
                .map_err(|error| Failure::Local { what: format!("cannot watch for Ctrl-C: {error}") })?;
        }
        let script = Script::load(&args.scenario)?;
        let mut namespaces = vec![("own".to_owned(), args.netns.clone())];
        namespaces.extend(
            args.callee_netns.iter().chain(&args.watch_netns).map(|name| (name.clone(), Some(name.clone()))),
        );
        if let Some((name, pid)) = args.watch.iter().find(|(_, pid)| !observe::exists(*pid)) {
            return Err(Failure::Usage { what: format!("--watch {name}={pid}: there is no process {pid}") });
        }
        if args.t1.is_zero() || args.duration.is_zero() {
            return Err(Failure::Usage { what: "--t1 and --duration are not 0".to_owned() });
        }
        let t1 = args.t1.longest();
        let plan = Plan {
            target: args.target,
            local: args.local,
            callee_local: args.callee_local,
            port: args.port.unwrap_or(if args.no_proxy { 0 } else { 6060 }),
            netns: [args.netns.clone(), args.callee_netns.clone().or_else(|| args.netns.clone())],
            domain: args.domain.clone(),
            population: args.users.population()?,
            allowed: args.digest,
            hold: args.hold,
            timing: Timing { t1, t2: (8 * t1).max(t1), patience: 64 * t1 },
            xdp: args.xdp.clone(),
            callee_xdp: args.callee_xdp.clone(),
            threads: args.threads,
            places: args.places,
            spin: args.spin,
            cpu: args.cpu,
            knock: !args.no_knock,
            prepare: !args.no_prepare,
            watching: Watching { processes: args.watch.clone(), namespaces },
            script,
        };
        let scenario = Scenario {
            name: plan.script.name.clone(),
            about: plan.script.about.clone(),
            users: plan.population.count(),
            hold: plan.script.holds().then(|| plan.hold.or(plan.script.hold).unwrap_or_default().to_string()),
            messages: plan.script.messages(),
        };
        let site = Site::open(plan)?;
        let record = Record {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: std::env::args().collect(),
            label: args.label.clone(),
            started_unix: UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
            machine: observe::machine(),
            scenario,
            target: site.target.to_string(),
            no_proxy: args.no_proxy,
            io: site.io.clone(),
            threads: args.threads,
            runs: Vec::new(),
            search: None,
        };
        Ok(Self {
            site,
            live: Live::new(args.quiet),
            stop,
            record,
            json,
            hgrm: args.hgrm.clone(),
            quiet: args.quiet,
            warm_up: Duration::from_nanos(args.warm_up.longest()),
            duration: Duration::from_nanos(args.duration.longest()),
            drain: args.drain.map(|drain| Duration::from_nanos(drain.longest())),
        })
    }

    fn shape(&self) -> Shape {
        Shape {
            load: Load::default(),
            warm_up: self.warm_up,
            duration: self.duration,
            count: None,
            drain: self.drain,
        }
    }

    /// Adds a run to the record, and writes its histograms.
    fn keep(&mut self, outcome: Outcome) -> Result<(), Failure> {
        if let Some(directory) = &self.hgrm {
            let number = self.record.runs.len() + 1;
            for (leg, histogram) in outcome.histograms.iter().filter(|(_, histogram)| !histogram.is_empty()) {
                let scenario = hgrm::file_name(&self.record.scenario.name);
                let name = format!(
                    "{}-{scenario}-{number}-{}.hgrm",
                    hgrm::file_name(&self.record.label),
                    hgrm::file_name(leg)
                );
                let path = directory.join(name);
                fs::write(&path, hgrm::listing(histogram)).map_err(|error| cannot_write(&path, &error))?;
            }
        }
        self.record.runs.push(outcome.run);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        if let Some(file) = &mut self.json {
            // Without a buffer each number would be a system call: seconds, for a search.
            let mut out = std::io::BufWriter::new(file);
            serde_json::to_writer_pretty(&mut out, &self.record)
                .map_err(std::io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
                .and_then(|()| out.flush())
                .map_err(|error| Failure::Local { what: format!("cannot write the JSON: {error}") })?;
        }
        if !self.quiet {
            let mut out = std::io::stdout();
            // Whoever reads may have had enough.
            let _ = out.write_all(table(&self.record).as_bytes());
        }
        Ok(())
    }

    /// The exit code. A search has done what it was asked for when it found a lossless rate.
    fn verdict(&self) -> Result<(), Failure> {
        use std::sync::atomic::Ordering;
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        let Some(run) = self.record.runs.last() else { return Ok(()) };
        let run = match &self.record.search {
            Some(search) if search.highest.is_some() => return Ok(()),
            _ => run,
        };
        if !run.limits.is_empty() {
            let why: Vec<String> = run.limits.iter().map(limit_text).collect();
            return Err(Failure::Limited { why: why.join("; ") });
        }
        if run.counts.failed > 0 {
            return Err(Failure::Failed { failed: run.counts.failed, begun: run.counts.begun });
        }
        Ok(())
    }
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Local { what: format!("cannot write {}: {error}", path.display()) }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 10_000_000.0 => Ok(rate),
        _ => Err("a number above 0, at most 10000000".to_owned()),
    }
}

fn watch(text: &str) -> Result<(String, u32), String> {
    let (name, pid) = text.split_once('=').ok_or("NAME=PID")?;
    Ok((name.to_owned(), pid.parse().map_err(|_| "the process id is a number")?))
}
