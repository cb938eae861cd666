//! The asking side: finds the node's socket, reads the report, shows tables or JSON.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::SOCKET_DIR;
use crate::fault::Fault;
use crate::status::model::{Counts, Request, Status};

/// Longest we wait for the report; a node under load answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// `strowger status`.
pub(crate) fn run(socket: Option<PathBuf>, json: bool, all: bool, watch: Option<u64>) -> Result<(), Fault> {
    let path = find(socket)?;
    loop {
        let text = ask_at(&path, &Request::Status)?;
        let mut out = std::io::stdout().lock();
        let shown = if json {
            writeln!(out, "{}", text.trim_end())
        } else {
            let status: Status = serde_json::from_str(&text).map_err(|e| {
                Fault::Other(format!(
                    "{}: the node's answer is not understood ({e}); is it of another version?",
                    path.display()
                ))
            })?;
            if watch.is_some() && out.is_terminal() {
                // Home, and clear below: the table is repainted without flicker.
                let _ = write!(out, "\x1b[H\x1b[J");
            }
            write!(out, "{}", render(&status, all))
        };
        match shown.and_then(|()| out.flush()) {
            // `strowger status | head` is no failure.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Fault::Other(format!("standard output: {error}"))),
            Ok(()) => {}
        }
        match watch {
            Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
            None => return Ok(()),
        }
    }
}

/// What a node answers to a request: one JSON object. Without a path, it is the only node in the usual place.
pub(crate) fn ask(socket: Option<PathBuf>, request: &Request) -> Result<String, Fault> {
    ask_at(&find(socket)?, request)
}

fn find(socket: Option<PathBuf>) -> Result<PathBuf, Fault> {
    socket.map_or_else(|| only_socket(Path::new(SOCKET_DIR)), Ok)
}

/// The one socket in the usual place.
fn only_socket(dir: &Path) -> Result<PathBuf, Fault> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(|error| Fault::NotRunning { path: dir.into(), error })?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "sock"))
        .collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Fault::NotRunning {
            path: dir.into(),
            error: std::io::Error::new(std::io::ErrorKind::NotFound, "no status socket there"),
        }),
        several => {
            let names = several.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
            Err(Fault::Other(format!("several nodes run here ({names}); say which with --socket PATH")))
        }
    }
}

/// The answer as it came.
fn ask_at(path: &Path, request: &Request) -> Result<String, Fault> {
    let not_running = |error| Fault::NotRunning { path: path.into(), error };
    let mut stream = UnixStream::connect(path).map_err(not_running)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(not_running)?;
    let mut line = serde_json::to_vec(request).map_err(|e| Fault::Other(e.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(not_running)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(not_running)?;
    Ok(text)
}

/// The tables for people. Counters at zero are left out unless `all`.
fn render(status: &Status, all: bool) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| text.push_str(&format!("{label:<15}{value}\n"));

    let node = &status.node;
    line(
        "node",
        format!(
            "{} (strowger {}, pid {}), {} for {}",
            node.name,
            node.version,
            node.pid,
            node.state,
            duration(node.uptime_s)
        ),
    );
    line("listen", node.listen.join(", "));
    let plane = &status.dataplane;
    let mut mode = plane.mode.clone();
    if let Some(why) = &plane.fallback {
        mode.push_str(&format!(" (wanted {}: {why})", plane.wanted));
    }
    line("mode", mode);
    if let Some(interface) = &plane.interface {
        let netns = plane.netns.as_ref().map(|n| format!(" in {n}")).unwrap_or_default();
        let driver = plane
            .driver
            .as_ref()
            .filter(|d| !d.is_empty())
            .map(|d| format!(", driver {d}"))
            .unwrap_or_default();
        let attached = if plane.xdp_attached { "XDP attached" } else { "XDP not attached" };
        line("interface", format!("{interface}{netns}{driver}, {attached}"));
    }
    if let Some(memory) = &plane.memory {
        line("frame memory", memory.clone());
    }
    let t = &status.totals;
    line("messages in", format!("{} by AF_XDP, {} by the kernel socket", t.sip_in_xsk, t.sip_in_kernel));
    line("messages out", format!("{} by AF_XDP, {} by the kernel socket", t.sip_out_xsk, t.sip_out_kernel));
    line(
        "registrations",
        format!(
            "{} bindings of {} addresses-of-record",
            status.registrations.bindings, status.registrations.aors
        ),
    );
    line(
        "calls",
        format!(
            "{} INVITE, {} answered, {} BYE",
            status.calls.invites, status.calls.answered, status.calls.byes
        ),
    );
    // Those without room belong to what this node does not do.
    let levels: Vec<String> = (status.sip.occupancy.iter())
        .filter(|(_, level)| level.limit > 0)
        .map(|(name, level)| format!("{} of {} {name}", level.used, level.limit))
        .collect();
    if !levels.is_empty() {
        line("in use", levels.join(", "));
    }

    if plane.frames_leaked > 0 {
        line("frames leaked", plane.frames_leaked.to_string());
    }
    for queue in &plane.queues {
        let title = format!("queue {} (worker {}, {})", queue.queue, queue.worker, queue.mode);
        table(&mut text, &title, &[&queue.counters, &queue.statistics], all);
        if queue.worker == queue.owner {
            table(&mut text, &format!("queue {} frames", queue.queue), &[&queue.balance], true);
        }
    }
    for worker in &status.workers {
        let cpu = worker.cpu.map(|c| format!(", CPU {c}")).unwrap_or_default();
        let stuck = if worker.answering { "" } else { ", NOT ANSWERING: these figures are old" };
        table(&mut text, &format!("worker {}{cpu}{stuck}", worker.id), &[&worker.counters], all);
        table(&mut text, &format!("worker {} kernel sockets", worker.id), &[&worker.kernel], all);
    }
    if let Some(stand_in) = &status.stand_in {
        table(&mut text, "stand-in for stuck workers", &[&stand_in.counters], all);
    }
    for gateway in &status.gateways {
        let state = if gateway.up { "up" } else { "DOWN" };
        let title = format!("gateway {} {}, {state}", gateway.group, gateway.address);
        table(&mut text, &title, &[&gateway.counters], all);
    }
    if let Some(policing) = &status.policing {
        table(&mut text, &format!("policing, {} banned", policing.bans), &[&policing.counters], all);
    }
    table(&mut text, "SIP", &[&status.sip.counters], all);
    table(&mut text, "XDP verdicts", &[&plane.xdp], all);
    table(&mut text, "next hops", &[&plane.next_hops], all);
    text
}

fn table(text: &mut String, title: &str, counts: &[&Counts], all: bool) {
    let rows: Vec<_> = counts.iter().flat_map(|c| c.iter()).filter(|(_, n)| all || **n != 0).collect();
    text.push_str(&format!("\n{title}\n"));
    if rows.is_empty() {
        text.push_str("  all counters are 0\n");
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, n) in rows {
        text.push_str(&format!("  {name:<width$}  {n:>12}\n"));
    }
}

/// `90061` as `1d 1h 1m 1s`.
fn duration(seconds: u64) -> String {
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    parts[first..].iter().map(|(n, unit)| format!("{n}{unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(59), "59s");
        assert_eq!(duration(3600), "1h 0m 0s");
        assert_eq!(duration(90_061), "1d 1h 1m 1s");
    }

    #[test]
    fn one_socket_is_found_and_several_are_named() {
        let dir = tempfile::tempdir().expect("temporary directory");
        assert!(matches!(only_socket(dir.path()), Err(Fault::NotRunning { .. })));
        std::fs::write(dir.path().join("a.sock"), "").expect("writes");
        std::fs::write(dir.path().join("a.txt"), "").expect("writes");
        assert_eq!(only_socket(dir.path()).ok(), Some(dir.path().join("a.sock")));
        std::fs::write(dir.path().join("b.sock"), "").expect("writes");
        let text = only_socket(dir.path()).expect_err("two").to_string();
        assert!(text.contains("a.sock") && text.contains("b.sock") && text.contains("--socket"), "{text}");
    }

    #[test]
    fn nobody_there_is_said_so() {
        let fault = ask_at(Path::new("/nonexistent/x.sock"), &Request::Status).expect_err("nobody");
        assert_eq!(fault.code(), 1);
        assert!(fault.to_string().contains("/nonexistent/x.sock"));
    }
}
