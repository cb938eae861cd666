//! `strowger-reflector`: the ceiling of a laboratory.
//!
//! `reflect` sends every datagram back that AF_XDP brings, with addresses and ports exchanged and nothing read; `echo`
//! plays the other end and counts. Through the same XDP program, the same rings and the same wire as the node's, they
//! show what is left for SIP. `cargo xtask bench quick` and `full` run both.
#![forbid(unsafe_code)]

mod echo;
mod reflect;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;

/// The ceiling of a laboratory: what AF_XDP moves when nothing is done with it.
#[derive(Debug, Parser)]
#[command(name = "strowger-reflector")]
enum Deed {
    /// Sends back what comes, until SIGINT or SIGTERM. Needs root.
    Reflect(Reflect),
    /// Sends datagrams and counts those that come back; the result is one JSON object.
    Echo(Echo),
}

#[derive(Debug, clap::Args)]
struct Reflect {
    /// The interface, in this namespace.
    #[arg(long, value_name = "IF")]
    interface: String,
    /// The address that the datagrams are sent to.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// The program in the device's driver, or behind it.
    #[arg(long, default_value = "native", value_parser = ["native", "generic"])]
    attach: String,
}

#[derive(Debug, clap::Args)]
struct Echo {
    /// Where the reflector is.
    #[arg(long, value_name = "ADDR:PORT")]
    to: SocketAddr,
    /// Where to send from.
    #[arg(long, value_name = "ADDR:PORT")]
    local: SocketAddr,
    /// Datagrams under way at once. With 1, the times there and back are kept.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    window: u32,
    /// Octets of a datagram's payload.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(64..=1400))]
    octets: u16,
    /// How long.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
}

fn main() -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            eprintln!("strowger-reflector: watch for signals: {error}");
            return ExitCode::from(2);
        }
    }
    let done = match Deed::parse() {
        Deed::Reflect(args) => reflect::run(&args.interface, args.listen, args.attach == "generic", &stop),
        Deed::Echo(args) => echo::run(args.local, args.to, args.window, args.octets, args.seconds, &stop)
            .and_then(|result| {
                println!("{}", serde_json::to_string(&result).map_err(|error| error.to_string())?);
                Ok(())
            }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("strowger-reflector: {what}");
            ExitCode::FAILURE
        }
    }
}
