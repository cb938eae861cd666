//! The binary `strowger`: reads the command line, runs one subcommand, turns its fault into a line and an exit code.
#![forbid(unsafe_code)]

mod calls;
mod config;
mod dataplane;
mod doctor;
mod egress;
mod fault;
mod handover;
mod logging;
mod names;
mod netns;
mod orders;
mod password;
mod policing;
mod privilege;
mod report;
mod run;
mod secret;
mod status;
mod successor;
mod users;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::fault::Fault;

/// A kernel-bypass SIP proxy and registrar.
#[derive(Debug, Parser)]
#[command(name = "strowger", version, after_help = fault::EXIT_CODES, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node in the foreground until SIGTERM or SIGINT.
    ///
    /// Then it begins nothing new (503), finishes what is under way, at most 32 s, and ends; the second signal ends it at
    /// once. Calls that are up survive. SIGHUP reads the users again; SIGUSR2 has the node start its successor, which is the same
    /// command with --replace.
    #[command(after_help = "Examples:\n  strowger run --config /etc/strowger/strowger.yaml\n  \
                      strowger run --config /etc/strowger/strowger.yaml --replace")]
    Run {
        /// The node's configuration.
        #[arg(long, short, value_name = "FILE", default_value = "/etc/strowger/strowger.yaml")]
        config: PathBuf,
        /// Take the place of the node that runs with this node.socket: its bindings, its sockets, its XDP program's place.
        ///
        /// Calls that are up go on, and that node ends. Its transactions, nonces, counters and table of dialogs end with it, and so
        /// does what it knows of gateways and guessers: a request that gets lost just then is its client's to repeat. When this one
        /// cannot take the place, for whatever reason, that one serves on.
        #[arg(long)]
        replace: bool,
    },
    /// Say whether a configuration is valid, without touching the machine.
    #[command(after_help = "Example:\n  strowger check deploy/strowger.yaml")]
    Check {
        /// The configuration.
        #[arg(value_name = "FILE")]
        config: PathBuf,
        /// Print the configuration with every default filled in, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say whether this machine can run a configuration, and how to mend what is wrong.
    #[command(after_help = "Example:\n  strowger doctor deploy/strowger.yaml")]
    Doctor {
        /// The configuration.
        #[arg(value_name = "FILE")]
        config: PathBuf,
        /// Print the findings as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask the running node for its mode, queues, counters and registrations.
    #[command(
        after_help = "Examples:\n  strowger status\n  strowger status --json | jq .totals\n  strowger status --watch 1"
    )]
    Status(StatusArgs),
    /// List the calls that go through the node.
    #[command(
        after_help = "Examples:\n  strowger calls --uri alice@\n  strowger calls --json | jq -r '.calls[].call_id'"
    )]
    Calls {
        /// The node's status socket; by default the only one in /run/strowger.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// Print them as one JSON object.
        #[arg(long)]
        json: bool,
        /// Only calls whose caller or callee has this in its URI.
        #[arg(long, value_name = "PART")]
        uri: Option<String>,
        /// How many to show.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_most_calls)]
        most: usize,
    },
    /// End a call that is up: a BYE to each end.
    #[command(after_help = "Example:\n  strowger kill 3848276298220188511@192.0.2.11")]
    Kill {
        /// Its Call-ID, as `strowger calls` shows it. All dialogs of a forked call have the same.
        #[arg(value_name = "CALL-ID")]
        call_id: String,
        /// The node's status socket; by default the only one in /run/strowger.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// Users who can authenticate.
    #[command(subcommand)]
    User(UserCommand),
    /// Sources whose packets are dropped.
    #[command(subcommand)]
    Ban(BanCommand),
}

#[derive(Debug, Subcommand)]
enum BanCommand {
    /// Show who is banned, for how long, and by whom.
    #[command(after_help = "Example:\n  strowger ban list --json | jq -r '.bans[].network'")]
    List {
        /// The node's status socket; by default the only one in /run/strowger.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// Print them as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Ban an address or a network, until the node ends or for some time. Who is allowed cannot be banned.
    #[command(
        after_help = "Examples:\n  strowger ban add 192.0.2.66 --for 10m\n  strowger ban add 2001:db8:bad::/48"
    )]
    Add {
        /// ADDRESS or ADDRESS/BITS.
        #[arg(value_name = "NETWORK")]
        network: String,
        /// For so long: a number with s, m, h or d.
        #[arg(long = "for", value_name = "TIME", value_parser = policing::client::duration)]
        long: Option<Duration>,
        /// The node's status socket; by default the only one in /run/strowger.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// Take a ban back, whoever made it.
    #[command(after_help = "Example:\n  strowger ban remove 192.0.2.66")]
    Remove {
        /// ADDRESS or ADDRESS/BITS, as `strowger ban list` shows it.
        #[arg(value_name = "NETWORK")]
        network: String,
        /// The node's status socket; by default the only one in /run/strowger.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Write a line for the users file (`auth.users`) from a password: asked for, or read from standard input.
    #[command(after_help = "Examples:\n  strowger user hash alice@example.net\n  \
                      pwgen -s 20 1 | tee alice.secret | strowger user hash alice --realm example.net >> users.yaml")]
    Hash(password::HashArgs),
}

/// `strowger status`
#[derive(Debug, Args)]
struct StatusArgs {
    /// The node's status socket; by default the only one in /run/strowger.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print everything as one JSON object.
    #[arg(long)]
    json: bool,
    /// Show every counter, also those at zero.
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Ask again every so many seconds until interrupted.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

fn at_most_calls(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=calls::MOST).contains(n));
    number.ok_or_else(|| format!("1 to {}", calls::MOST))
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Run { config, replace } => {
            Config::read(&config).map_err(Fault::from).and_then(|config| run::run(config, replace))
        }
        Command::Check { config, json } => check(&config, json),
        Command::Doctor { config, json } => {
            Config::read(&config).map_err(Fault::from).and_then(|c| doctor::doctor(&c, json))
        }
        Command::User(UserCommand::Hash(args)) => password::hash(&args),
        Command::Calls { socket, json, uri, most } => calls::client::calls(socket, json, uri, most),
        Command::Kill { call_id, socket } => calls::client::kill(socket, call_id),
        Command::Ban(BanCommand::List { socket, json }) => policing::client::list(socket, json),
        Command::Ban(BanCommand::Add { network, long, socket }) => {
            policing::client::add(socket, network, long)
        }
        Command::Ban(BanCommand::Remove { network, socket }) => policing::client::remove(socket, network),
        Command::Status(args) => status::client::run(args.socket, args.json, args.all, args.watch),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(),
    }
}

fn check(path: &std::path::Path, json: bool) -> Result<(), Fault> {
    let config = Config::read(path)?;
    if json {
        let text = serde_json::to_string_pretty(&config).map_err(|e| Fault::Other(e.to_string()))?;
        println!("{text}");
    } else {
        println!("{}: valid", path.display());
    }
    if let Some(users) = &config.auth.users {
        users::UserTable::read(users)?;
    }
    for line in config.warnings() {
        eprintln!("warning: {line}");
    }
    Ok(())
}
