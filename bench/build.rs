//! Tells the report which compiler built it and which libosip2 it is linked to.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!("cargo:rustc-env=STROWGER_BENCH_RUSTC={}", first_line(Command::new(rustc).arg("--version")));
    let osip = first_line(Command::new("pkg-config").args(["--modversion", "libosip2"]));
    println!("cargo:rustc-env=STROWGER_BENCH_OSIP={osip}");
}

/// The first line that the command prints; "unknown" when it does not run.
fn first_line(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}
