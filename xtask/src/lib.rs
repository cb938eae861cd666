//! Every chore of the project, one verb each: `cargo xtask VERB`.
//!
//! The binary parses the command line; this library does the work, so that the end-to-end tests in `tests/` build
//! their laboratories with the same code. A verb is a module with an `Args` (its options and its help) and a `run`.
//! Nothing here is linked into the node.
#![forbid(unsafe_code)]

pub mod bench;
pub mod build_and_load;
pub mod ci;
pub mod ebpf;
pub mod failure;
pub mod fuzz;
pub mod interrupt;
pub mod lab;
pub mod machine;
pub mod namespace;
pub mod nic;
pub mod node;
pub mod process;
pub mod progress;
pub mod sim;
pub mod sipp;
pub mod test;
pub mod workspace;
pub mod zerocopy;

pub use failure::{Code, Failure};

/// The command line.
#[derive(Debug, clap::Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Every chore of Strowger, one verb each",
    after_help = AFTER_HELP,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Xtask {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Examples:
  cargo xtask build-and-load                        a node in the lab, from nothing (as root)
  cargo xtask lab call --calls 1000 --rate 100      in a second terminal: phones register and call
  cargo xtask sim --seeds 10000                     ten thousand worlds with bad networks and bad people
  cargo xtask test                                  every test; the last line is the verdict

Exit codes: 0 done; 1 what was asked for failed; 2 wrong command line; 3 a tool or
toolchain is missing; 4 not root; 5 the node did not start or died; 6 something was
left behind; 130 interrupted before it was done.
NO_COLOR is respected; without a terminal there are plain lines and no moving ones";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Build the node and run it: in the lab, or on a NIC.
    BuildAndLoad(build_and_load::Args),
    /// The laboratory: two namespaces and a wire, phones, calls.
    Lab(lab::Args),
    /// Every test, through one runner; the last line is its verdict.
    Test(test::Args),
    /// Zero copy on a driver that has it: a guest with virtio-net.
    TestZerocopy(zerocopy::Args),
    /// Rebuild the committed eBPF object, or check that it is fresh.
    BuildEbpf(ebpf::Args),
    /// Everything that a change must pass: format, lints, eBPF object, documentation, tests.
    Ci(ci::Args),
    /// Fuzz the SIP message.
    Fuzz(fuzz::Args),
    /// Whole nodes, phones and networks in virtual time, from seeds.
    Sim(sim::Args),
    /// Make a NIC ready for the data plane, and put it back.
    Nic(nic::Args),
    /// Measure, beside the peers.
    Bench(bench::Args),
}

impl Xtask {
    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever the verb met, with its fix and its exit code.
    pub fn run(self) -> Result<(), Failure> {
        match self.verb {
            Verb::BuildAndLoad(args) => build_and_load::run(&args),
            Verb::Lab(args) => lab::run(&args),
            Verb::Test(args) => test::run(&args),
            Verb::TestZerocopy(args) => zerocopy::run(&args),
            Verb::Ci(args) => ci::run(&args),
            Verb::BuildEbpf(args) => ebpf::run(&args),
            Verb::Fuzz(args) => fuzz::run(&args),
            Verb::Sim(args) => sim::run(&args),
            Verb::Nic(args) => nic::run(&args),
            Verb::Bench(args) => bench::run(&args),
        }
    }
}
