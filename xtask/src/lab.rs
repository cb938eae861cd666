//! `cargo xtask lab`: the laboratory in two network namespaces, its phones, and what the node there says.

pub mod network;

pub use network::Lab;

use crate::{Failure, machine};

/// Options of `lab`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Make the namespaces and the wire between them, or mend what is half made.
    Up,
    /// Remove them.
    Down,
}

/// Does what was asked of the laboratory.
///
/// # Errors
/// Not root, a missing tool, or what the deed met.
pub fn run(args: &Args) -> Result<(), Failure> {
    match args.deed {
        Deed::Up => up(),
        Deed::Down => down(),
    }
}

fn up() -> Result<(), Failure> {
    machine::need_root("lab up")?;
    machine::ensure(&[machine::IP])?;
    let done = Lab::standard().up()?;
    tell(&done, "the lab stands already");
    println!(
        "node  {} {}/24 {}/64 in {}",
        Lab::NODE_INTERFACE,
        Lab::NODE_V4,
        Lab::NODE_V6,
        Lab::standard().node.name()
    );
    println!(
        "peers {} {}/24 {}/64 in {}",
        Lab::PEERS_INTERFACE,
        Lab::PEERS_V4,
        Lab::PEERS_V6,
        Lab::standard().peers.name()
    );
    Ok(())
}

fn down() -> Result<(), Failure> {
    machine::need_root("lab down")?;
    let done = Lab::standard().down()?;
    tell(&done, "there is no lab");
    Ok(())
}

fn tell(done: &[String], nothing: &str) {
    if done.is_empty() {
        println!("{nothing}");
    }
    for line in done {
        println!("{line}");
    }
}
