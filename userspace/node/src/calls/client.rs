//! The asking side of `strowger calls` and `strowger kill`.

use std::io::Write;
use std::path::PathBuf;

use crate::calls::{Call, Killed, Listing};
use crate::fault::Fault;
use crate::status::client::ask;
use crate::status::model::Request;

/// `strowger calls`.
pub(crate) fn calls(
    socket: Option<PathBuf>,
    json: bool,
    uri: Option<String>,
    most: usize,
) -> Result<(), Fault> {
    let text = ask(socket, &Request::Calls { uri, most })?;
    let shown = if json { text } else { render(&read::<Listing>(&text)?) };
    print(&shown)
}

/// `strowger kill`.
pub(crate) fn kill(socket: Option<PathBuf>, call_id: String) -> Result<(), Fault> {
    let Killed { killed, refused, silent } =
        read(&ask(socket, &Request::Kill { call_id: call_id.clone() })?)?;
    let mut why = refused;
    why.extend(silent.iter().map(|worker| format!("worker {worker} does not answer")));
    match (killed, why.is_empty()) {
        (0, true) => {
            Err(Fault::Other(format!("no call has the Call-ID {call_id}; `strowger calls` lists them")))
        }
        (0, false) => Err(Fault::Other(format!("{call_id}: {}", why.join(", ")))),
        (killed, true) => print(&format!("{killed} ended\n")),
        (killed, false) => print(&format!("{killed} ended, others not: {}\n", why.join(", "))),
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|e| {
        Fault::Other(format!("the node's answer is not understood ({e}); is it of another version?"))
    })
}

fn print(text: &str) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Fault::Other(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// A line for each call. What a message said is shown without the control characters that it may have had.
fn render(listing: &Listing) -> String {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    };
    let mut rows = vec![["STATE", "UP", "FROM", "TO", "GATEWAY", "CALL-ID"].map(str::to_owned)];
    rows.extend(listing.calls.iter().map(|call| {
        let Call { call_id, state, caller, callee, up_s, gateway, .. } = call;
        let up =
            up_s.map_or_else(|| "-".to_owned(), |s| format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60));
        let gateway = gateway.as_deref().unwrap_or("-");
        [state, &up, &caller.uri, &callee.uri, gateway, call_id].map(plain)
    }));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    if listing.more {
        text.push_str(&format!("only {} are shown; --most or --uri\n", listing.calls.len()));
    }
    for worker in &listing.silent {
        text.push_str(&format!("worker {worker} does not answer: its calls are not shown\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::End;

    #[test]
    fn a_table_with_nothing_in_it_that_moves_a_cursor() {
        let end = |uri: &str| End { uri: uri.to_owned(), address: None };
        let call = Call {
            call_id: "a\u{1b}[2J".to_owned(),
            state: "up".to_owned(),
            caller: end("sip:alice@example.net"),
            callee: end("sip:bob@example.net"),
            age_s: 3700,
            up_s: Some(3671),
            gateway: None,
            worker: 0,
        };
        let text = render(&Listing { calls: vec![call], more: true, silent: vec![3] });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "STATE  UP       FROM                   TO                   GATEWAY  CALL-ID");
        assert_eq!(
            lines[1],
            "up     1:01:11  sip:alice@example.net  sip:bob@example.net  -        a\u{fffd}[2J"
        );
        assert!(lines[2].contains("only 1") && lines[3].contains("worker 3"), "{text}");
    }
}
