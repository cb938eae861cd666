//! The report as one HTML file: nothing is loaded, no script runs. Light and dark by the reader's preference; wide
//! tables scroll by themselves, so that it can be read on a phone.

use std::fmt::Write as _;

use crate::figures::{self, added, highest};
use crate::markdown::title;
use crate::plot::{Across, COLOURS, Line, Plot, bars, escaped, percentiles};
use crate::session::{FLOOR, Purpose, Quantity, Session};
use crate::tables::{self, Table};
use crate::targets;

const STYLE: &str = include_str!("report.css");

/// The whole file.
#[must_use]
pub fn html(session: &Session) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n");
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>\n{STYLE}</style></head>\n<body>\n",
        escaped(&title(session))
    );
    page.push_str(&head(session));
    page.push_str("<main>\n");
    section(&mut page, "targets", "Targets", &[verdicts(session)]);
    section(&mut page, "rates", "How many", &rates(session));
    section(&mut page, "cost", "What it costs", &costs(session));
    section(&mut page, "latency", "How long it takes", &latencies(session));
    let memory: Vec<String> = tables::memory(session).iter().map(plain).collect();
    section(&mut page, "memory", "Memory", &memory);
    section(&mut page, "scale", "With size", &scale(session));
    let trouble: Vec<String> =
        tables::ends(session).iter().chain(tables::trouble(session).iter()).map(plain).collect();
    section(&mut page, "trouble", "Where it broke, what was lost", &trouble);
    section(&mut page, "setting", "Machine, peers, configuration", &setting(session));
    section(&mut page, "reading", "How to read this", &[READING.to_owned()]);
    page.push_str("</main>\n</body></html>\n");
    page
}

const READING: &str = "<ul>
<li>Load is offered in an open loop: a request is sent when its time has come, whatever became of those before, and
latency counts from that time. A stall is in the latency of every request that it delayed.</li>
<li>In each round every peer has its turn, so that the machine's drift meets all alike. Figures are medians of the
rounds; the range is from the lowest to the highest round. Two figures whose ranges meet are the same.</li>
<li>The floor is the same load from caller to callee without a proxy. It is taken off, in each round its own.</li>
<li>Generator and peer share the processors. At the highest rates it is their sum that fills the machine; the
reflector and the floor show what was left for a proxy.</li>
<li>A veth pair copies each packet in software. It shows processor time and the cost of wake-ups; it does not show what
a NIC with zero copy does, nor a NIC's interrupts.</li>
</ul>";

fn section(page: &mut String, id: &str, name: &str, parts: &[String]) {
    if parts.iter().all(String::is_empty) {
        return;
    }
    let _ = writeln!(page, "<section id=\"{id}\"><h2>{name}</h2>");
    for part in parts {
        page.push_str(part);
    }
    page.push_str("</section>\n");
}

fn head(session: &Session) -> String {
    let targets = targets::of(session);
    let count = |met| targets.iter().filter(|target| target.met == met).count();
    let disturbed = session.disturbed().count();
    let mut text = format!(
        "<header><h1>Strowger and its peers</h1>\n<p class=\"lead\">{} run of {} on {}; {}</p>\n<p class=\"chips\">\
         <span class=\"chip good\">{} targets met</span>",
        escaped(&session.kind),
        escaped(&crate::number::date(session.started_unix)),
        escaped(&format!("{} ({} CPUs)", session.machine.cpu, session.machine.cpus)),
        escaped(&session.machine.kernel),
        count(Some(true))
    );
    for (number, what, class) in [
        (count(Some(false)), "missed", "bad"),
        (count(None), "not measured", "dim"),
        (disturbed, "disturbed runs", "warn"),
    ] {
        if number > 0 {
            let _ = write!(text, "<span class=\"chip {class}\">{number} {what}</span>");
        }
    }
    text.push_str("</p>\n");
    if disturbed > 0 {
        let _ = writeln!(
            text,
            "<p class=\"warning\">{disturbed} of {} runs were disturbed by something else on the machine or limited by \
             the generator; <a href=\"#trouble\">which</a>.</p>",
            session.samples.len()
        );
    }
    for what in &session.omitted {
        let _ = writeln!(text, "<p class=\"warning\">Not done: {}</p>", escaped(what));
    }
    text.push_str("</header>\n");
    text
}

/// The targets, each with the colour of its verdict.
fn verdicts(session: &Session) -> String {
    let table = tables::targets(session);
    let mut text = String::from("<div class=\"wide\"><table class=\"targets\"><thead><tr>");
    for cell in &table.head {
        let _ = write!(text, "<th>{}</th>", escaped(cell));
    }
    text.push_str("</tr></thead><tbody>");
    for line in &table.lines {
        let verdict = line.last().map_or("", String::as_str);
        let class = match verdict {
            "met" => "good",
            "missed" => "bad",
            _ => "dim",
        };
        text.push_str("<tr>");
        for cell in line.iter().take(line.len().saturating_sub(1)) {
            let _ = write!(text, "<td>{}</td>", escaped(cell));
        }
        let _ = write!(text, "<td><span class=\"chip {class}\">{verdict}</span></td></tr>");
    }
    let _ = writeln!(text, "</tbody></table></div><p class=\"note\">{}</p>", escaped(&table.note));
    text
}

fn colour(session: &Session, peer: &str) -> usize {
    session.peers.iter().position(|found| found.key == peer).unwrap_or(COLOURS - 1) % COLOURS
}

fn rates(session: &Session) -> Vec<String> {
    let mut parts = Vec::new();
    for scenario in session.scenarios.keys() {
        let all: Vec<_> = session
            .peers
            .iter()
            .filter_map(|peer| {
                let found = highest(session, &peer.key, scenario)?;
                Some((peer.title.clone(), colour(session, &peer.key), found))
            })
            .collect();
        let about = session.scenarios.get(scenario).map(String::as_str).unwrap_or_default();
        let drawn = bars(&format!("Highest lossless rate, {scenario}"), "/s", &all);
        parts.extend(drawn.map(|svg| figure(&format!("{scenario}: highest lossless rate"), about, &svg, "")));
    }
    parts.extend(tables::rates(session).iter().map(plain));
    parts.extend(tables::echoes(session).iter().map(plain));
    parts
}

fn costs(session: &Session) -> Vec<String> {
    let mut parts = Vec::new();
    for scenario in session.scenarios.keys() {
        for rate in session.rates(scenario, Purpose::Cost) {
            let all: Vec<_> = session
                .peers
                .iter()
                .filter(|peer| peer.key != FLOOR)
                .filter_map(|peer| {
                    let found = added(session, &peer.key, scenario, rate)?;
                    Some((peer.title.clone(), colour(session, &peer.key), found))
                })
                .collect();
            let name = format!("{scenario} at {}/s: machine less floor", crate::number::grouped(rate, 0));
            let drawn = bars(&name, "µs", &all);
            parts.extend(drawn.map(|svg| figure(&name, "processor time for each, all processors", &svg, "")));
        }
    }
    parts.extend(tables::costs(session).iter().map(plain));
    parts
}

fn latencies(session: &Session) -> Vec<String> {
    let mut parts = Vec::new();
    let mut grid = String::new();
    for scenario in session.scenarios.keys() {
        for leg in figures::legs(session, scenario) {
            let lines: Vec<Line> = session
                .peers
                .iter()
                .filter_map(|peer| {
                    let curve = session.curves.iter().find(|curve| {
                        curve.peer == peer.key && &curve.scenario == scenario && curve.leg == leg
                    })?;
                    let points = percentiles(&curve.latency);
                    let colour = colour(session, &peer.key);
                    (!points.is_empty()).then(|| Line {
                        name: peer.title.clone(),
                        colour,
                        points,
                        dots: false,
                    })
                })
                .collect();
            let rate = session.rates(scenario, Purpose::Latency).first().copied().unwrap_or(0.0);
            let name = format!("{scenario}: {leg}");
            let plot = Plot { title: name.clone(), across: Across::Percentiles, up: "µs".to_owned(), lines };
            let about = format!("at {}/s, all rounds together", crate::number::grouped(rate, 0));
            if let Some(svg) = plot.svg() {
                grid.push_str(&figure(&name, &about, &svg, &legend(&plot.lines)));
            }
        }
    }
    if !grid.is_empty() {
        parts.push(format!("<div class=\"grid\">{grid}</div>"));
    }
    parts.extend(tables::latencies(session).iter().map(plain));
    parts
}

fn scale(session: &Session) -> Vec<String> {
    let mut parts = Vec::new();
    let mut grid = String::new();
    for (quantity, across) in
        [(Quantity::Bindings, Across::Sizes("bindings")), (Quantity::Dialogs, Across::Sizes("live dialogs"))]
    {
        let mut sources: Vec<&str> = Vec::new();
        for point in session.scale.iter().filter(|point| point.quantity == quantity) {
            if !sources.contains(&point.source.as_str()) {
                sources.push(&point.source);
            }
        }
        let lines: Vec<Line> = sources
            .iter()
            .enumerate()
            .map(|(colour, source)| Line {
                name: (*source).to_owned(),
                colour,
                dots: true,
                points: session
                    .scale
                    .iter()
                    .filter(|point| point.quantity == quantity && point.source == *source && point.size > 0)
                    .filter_map(|point| Some(((point.size as f64).log10(), point.cost_ns? / 1e3)))
                    .collect(),
            })
            .filter(|line| !line.points.is_empty())
            .collect();
        let name = match across {
            Across::Sizes(what) => format!("Cost against {what}"),
            Across::Percentiles => String::new(),
        };
        let plot = Plot { title: name.clone(), across, up: "µs".to_owned(), lines };
        if let Some(svg) = plot.svg() {
            grid.push_str(&figure(&name, "", &svg, &legend(&plot.lines)));
        }
    }
    if !grid.is_empty() {
        parts.push(format!("<div class=\"grid\">{grid}</div>"));
    }
    parts.extend(tables::scale(session).iter().map(plain));
    parts
}

fn setting(session: &Session) -> Vec<String> {
    let mut text = String::from("<dl>");
    for (name, value) in tables::machine(session) {
        let _ = write!(text, "<dt>{}</dt><dd>{}</dd>", escaped(&name), escaped(&value));
    }
    let _ = writeln!(text, "<dt>again</dt><dd><code>{}</code></dd></dl>", escaped(&session.command));
    for peer in &session.peers {
        let workers = peer.workers.map(|count| format!(", workers: {count}")).unwrap_or_default();
        let _ = write!(
            text,
            "<details><summary><b>{}</b> <span class=\"dim\">{}{workers}</span></summary>",
            escaped(&peer.title),
            escaped(&peer.version)
        );
        if !peer.command.is_empty() {
            let _ = write!(text, "<pre>{}</pre>", escaped(&peer.command));
        }
        if !peer.configuration.is_empty() {
            let _ = write!(text, "<pre>{}</pre>", escaped(&peer.configuration));
        }
        text.push_str("</details>\n");
    }
    vec![text]
}

fn legend(lines: &[Line]) -> String {
    let mut text = String::from("<p class=\"legend\">");
    for line in lines {
        let _ = write!(
            text,
            "<span><i style=\"background:var(--c{})\"></i>{}</span>",
            line.colour % COLOURS,
            escaped(&line.name)
        );
    }
    text.push_str("</p>");
    text
}

fn figure(name: &str, about: &str, svg: &str, legend: &str) -> String {
    format!(
        "<figure><figcaption><b>{}</b> <span class=\"dim\">{}</span></figcaption>{svg}{legend}</figure>\n",
        escaped(name),
        escaped(about)
    )
}

fn plain(table: &Table) -> String {
    let mut text = format!("<h3>{}</h3><div class=\"wide\"><table><thead><tr>", escaped(&table.title));
    for cell in &table.head {
        let _ = write!(text, "<th>{}</th>", escaped(cell));
    }
    text.push_str("</tr></thead><tbody>");
    for line in &table.lines {
        text.push_str("<tr>");
        for cell in line {
            let _ = write!(text, "<td>{}</td>", escaped(cell));
        }
        text.push_str("</tr>");
    }
    text.push_str("</tbody></table></div>");
    if !table.note.is_empty() {
        let _ = write!(text, "<p class=\"note\">{}</p>", escaped(&table.note));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_and_loads_nothing() {
        let mut session = figures::tests::session();
        session.peers[1].configuration = "if (a < b && c > d) { \"x\" }".to_owned();
        let page = html(&session);
        for part in ["Targets", "How many", "What it costs", "Memory", "Machine, peers, configuration"] {
            assert!(page.contains(part), "{part}");
        }
        assert!(page.contains("a &lt; b &amp;&amp; c &gt; d"), "configurations are text");
        for word in ["<script", "http://", "https://", "url(", "<link", "NaN", "inf"] {
            assert!(!page.contains(word), "{word}");
        }
        for element in ["section", "table", "figure", "svg", "div", "details", "p", "span"] {
            let opened =
                page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
            assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
        }
    }

    #[test]
    fn nothing_measured_is_no_empty_section() {
        let page = html(&Session { kind: "quick".to_owned(), ..Session::default() });
        assert!(!page.contains("id=\"memory\"") && !page.contains("id=\"cost\""), "{page}");
        assert!(page.contains("not measured"));
    }
}
