//! `strowger user hash`: a line for the users file, from a password that is neither shown nor given as an argument.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::{Args, ValueEnum};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use strowger_engine::Algorithm;
use strowger_sip::Hash;

use crate::fault::Fault;

/// Octets of a password that are read at most.
const LONGEST: usize = 1024;

/// `strowger user hash`
#[derive(Debug, Args)]
pub(crate) struct HashArgs {
    /// The user: `alice@example.net`, or `alice` with --realm.
    #[arg(value_name = "USER")]
    user: String,
    /// The digest realm, `auth.realm` in the configuration; by default the user's domain.
    #[arg(long, value_name = "REALM")]
    realm: Option<String>,
    /// Hash for this algorithm; may be given several times. By default for all.
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: Vec<Wanted>,
    /// For phones that authenticate as `alice@example.net` and not as `alice`: both need a line.
    #[arg(long)]
    full: bool,
}

/// An algorithm as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    #[value(name = "SHA-512-256", alias = "sha-512-256")]
    Sha512_256,
    #[value(name = "SHA-256", alias = "sha-256")]
    Sha256,
    #[value(name = "MD5", alias = "md5")]
    Md5,
}

impl From<Wanted> for Algorithm {
    fn from(wanted: Wanted) -> Algorithm {
        match wanted {
            Wanted::Sha512_256 => Algorithm::Sha512_256,
            Wanted::Sha256 => Algorithm::Sha256,
            Wanted::Md5 => Algorithm::Md5,
        }
    }
}

/// Runs the command.
pub(crate) fn hash(args: &HashArgs) -> Result<(), Fault> {
    let (user, domain) = match args.user.rsplit_once('@') {
        Some((user, domain)) => (user, Some(domain)),
        None => (args.user.as_str(), None),
    };
    let Some(domain) =
        domain.or(args.realm.as_deref()).filter(|domain| !domain.is_empty() && !user.is_empty())
    else {
        return Err(Fault::Other(format!("`{}`: give alice@example.net, or alice and --realm", args.user)));
    };
    let realm = args.realm.as_deref().unwrap_or(domain);
    let name = if args.full { format!("{user}@{domain}") } else { user.to_owned() };
    let password = read(&args.user).map_err(|error| Fault::Other(format!("no password: {error}")))?;
    println!("{}", line((&name, domain, realm), password.as_bytes(), &args.algorithm));
    Ok(())
}

/// One entry of the users file. Quoted as JSON, which is YAML.
fn line((name, domain, realm): (&str, &str, &str), password: &[u8], wanted: &[Wanted]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut line = format!("  - {{ user: {}, domain: {}", quoted(name), quoted(domain));
    for algorithm in Algorithm::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|w| Algorithm::from(*w) == algorithm) {
            continue;
        }
        let digits = match algorithm.ha1(name.as_bytes(), realm.as_bytes(), password) {
            Hash::Bits128(bytes) => hex(&bytes),
            Hash::Bits256(bytes) => hex(&bytes),
        };
        line += &format!(", {}: \"{digits}\"", algorithm.name().to_ascii_lowercase());
    }
    line + ", state: active }"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The password: twice from a terminal, without showing it; else the first line of standard input.
fn read(user: &str) -> io::Result<String> {
    if !io::stdin().is_terminal() {
        return first_line(&mut io::stdin().lock());
    }
    let silence = Silence::new()?;
    let password = asked(&format!("Password of {user}: "))?;
    let again = asked("Again: ")?;
    drop(silence);
    if password != again {
        return Err(io::Error::other("the two are not the same"));
    }
    Ok(password)
}

fn asked(prompt: &str) -> io::Result<String> {
    eprint!("{prompt}");
    io::stderr().flush()?;
    let line = first_line(&mut io::stdin().lock());
    eprintln!();
    line
}

fn first_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    io::Read::take(input, LONGEST as u64 + 2).read_line(&mut text)?;
    let password =
        text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() || password.len() > LONGEST {
        return Err(io::Error::other(format!("{} octets are not 1 to {LONGEST}", password.len())));
    }
    Ok(password.to_owned())
}

/// The terminal without echo. Dropped, it is as it was.
struct Silence(Termios);

impl Silence {
    fn new() -> io::Result<Silence> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Silence(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // It fails only when the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_the_users_file() {
        // RFC 2617 section 3.5 has this HA1.
        assert_eq!(
            line(("Mufasa", "host.com", "testrealm@host.com"), b"Circle Of Life", &[Wanted::Md5]),
            "  - { user: \"Mufasa\", domain: \"host.com\", md5: \"939e7578ed9e3c518a452acee763bce9\", state: active }"
        );
        let all = line(("a\"b", "c", "c"), b"x", &[]);
        let order: Vec<_> =
            ["sha-512-256: \"", "sha-256: \"", "md5: \""].iter().map(|key| all.find(key)).collect();
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{all}");
        assert!(all.contains(r#""a\"b""#), "{all}");
    }

    #[test]
    fn the_first_line_is_the_password() {
        let read = |text: &str| first_line(&mut text.as_bytes()).map_err(|e| e.to_string());
        assert_eq!(read("secret\nmore\n").as_deref(), Ok("secret"));
        assert_eq!(read("with space \r\n").as_deref(), Ok("with space "));
        assert_eq!(read("no end").as_deref(), Ok("no end"));
        assert!(read("").is_err() && read("\n").is_err() && read(&"x".repeat(1025)).is_err());
        assert_eq!(read(&"x".repeat(1024)).map(|p| p.len()), Ok(1024));
    }
}
