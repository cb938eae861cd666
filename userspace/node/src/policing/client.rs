//! The asking side of `strowger ban`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::fault::Fault;
use crate::policing::{Changed, Listing};
use crate::status::client::ask;
use crate::status::model::Request;

/// `strowger ban list`.
pub(crate) fn list(socket: Option<PathBuf>, json: bool) -> Result<(), Fault> {
    let text = ask(socket, &Request::Bans)?;
    let shown = if json { text } else { render(&read(&text)?) };
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", shown.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Fault::Other(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// `strowger ban add`.
pub(crate) fn add(socket: Option<PathBuf>, network: String, long: Option<Duration>) -> Result<(), Fault> {
    let seconds = long.map(|long| long.as_secs());
    changed(&ask(socket, &Request::Ban { network: network.clone(), seconds })?, &network)
}

/// `strowger ban remove`.
pub(crate) fn remove(socket: Option<PathBuf>, network: String) -> Result<(), Fault> {
    changed(&ask(socket, &Request::Unban { network: network.clone() })?, &network)
}

fn changed(text: &str, network: &str) -> Result<(), Fault> {
    match read::<Changed>(text)?.refused {
        None => Ok(()),
        Some(why) => Err(Fault::Other(format!("{network}: {why}"))),
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|e| {
        Fault::Other(format!("the node's answer is not understood ({e}); is it of another version?"))
    })
}

fn render(listing: &Listing) -> String {
    if listing.bans.is_empty() {
        return "nobody is banned".to_owned();
    }
    let mut text = format!("{:<43}  {:>8}  BY\n", "NETWORK", "SECONDS");
    for ban in &listing.bans {
        let left = ban.seconds.map_or_else(|| "-".to_owned(), |seconds| seconds.to_string());
        let why = format!("{:?}", ban.why).to_lowercase();
        text.push_str(&format!("{:<43}  {left:>8}  {why}\n", ban.network));
    }
    text
}

/// `90`, `90s`, `10m`, `2h` or `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("" | "s") => Some(1),
        Some("m") => Some(60),
        Some("h") => Some(3600),
        Some("d") => Some(86_400),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().filter(|n| digits.bytes().all(|b| b.is_ascii_digit()) && *n > 0);
    let seconds = unit.zip(number).and_then(|(unit, number)| number.checked_mul(unit));
    // A hundred years are as good as for ever.
    let seconds = seconds.filter(|seconds| *seconds <= 100 * 366 * 86_400);
    seconds.map(Duration::from_secs).ok_or_else(|| "a number with s, m, h or d, such as 10m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policing::{Shown, Why};

    #[test]
    fn durations_as_people_write_them() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in
            ["", "m", "0", "-5", "+5", "1.5h", "10 m", "10w", "1mm", "99999999999999999999", "40000d"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_ban_without_end_says_so() {
        let shown = |seconds, why| Shown { network: "192.0.2.0/24".to_owned(), seconds, why };
        let text =
            render(&Listing { bans: vec![shown(None, Why::Configuration), shown(Some(7), Why::Guessing)] });
        let fields: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(fields[1], ["192.0.2.0/24", "-", "configuration"]);
        assert_eq!(fields[2], ["192.0.2.0/24", "7", "guessing"]);
        assert_eq!(render(&Listing::default()), "nobody is banned");
    }
}
