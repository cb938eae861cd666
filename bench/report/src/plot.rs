//! Plots as inline SVG: lines on logarithmic axes, and bars with their ranges. Colours are CSS variables (`--c0` …), so
//! that one drawing serves light and dark.

use std::fmt::Write as _;

use strowger_load::record::Latency;

use crate::number::{grouped, three};
use crate::spread::Spread;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// Colours there are; further lines begin again.
pub const COLOURS: usize = 8;

/// A line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is of.
    pub name: String,
    /// Which colour.
    pub colour: usize,
    /// Its points, x rising; both in the units of the axes.
    pub points: Vec<(f64, f64)>,
    /// Dots at the points: for few of them.
    pub dots: bool,
}

/// What stands below a plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// Percentiles: x is −log10(1 − p), so that 90, 99 and 99.9 % are equally far apart.
    Percentiles,
    /// A size on a logarithmic axis: x is its log10.
    Sizes(&'static str),
}

/// Lines over a logarithmic ordinate.
#[derive(Clone, Debug)]
pub struct Plot {
    /// For those who cannot see it.
    pub title: String,
    /// The abscissa.
    pub across: Across,
    /// Name and unit of the ordinate.
    pub up: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A distribution as the points of a percentile plot, microseconds; as many as can be told apart.
#[must_use]
pub fn percentiles(latency: &Latency) -> Vec<(f64, f64)> {
    let total: u64 = latency.buckets.iter().map(|(_, count)| count).sum();
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut below = 0;
    for (value, count) in &latency.buckets {
        let x = -(1.0 - below as f64 / total as f64).log10();
        let point = (x, *value as f64 / 1e3);
        below += count;
        match points.last() {
            Some((last, _)) if x - last < 0.012 => {}
            _ => points.push(point),
        }
    }
    if let Some((value, _)) = latency.buckets.last() {
        // The largest stands where the last value begins to be the largest.
        points.push(((total as f64).log10(), *value as f64 / 1e3));
    }
    points
}

impl Plot {
    /// The drawing; nothing when there is no point to draw.
    #[must_use]
    pub fn svg(&self) -> Option<String> {
        let all = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let values = || all().map(|(_, y)| y).filter(|y| *y > 0.0);
        let (low, high) = (values().reduce(f64::min)?, values().reduce(f64::max)?);
        let (left, right) = match self.across {
            Across::Percentiles => (0.0, all().map(|(x, _)| x).fold(2.0, f64::max)),
            Across::Sizes(_) => {
                (all().map(|(x, _)| x).reduce(f64::min)?, all().map(|(x, _)| x).reduce(f64::max)?)
            }
        };
        let right = if right - left < 0.1 { left + 1.0 } else { right };
        let ticks = ticks(low, high);
        let (bottom, top) = (ticks.first()?.log10(), ticks.last()?.log10());
        let x = |value: f64| LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| {
            let part = (value.max(1e-9).log10() - bottom) / (top - bottom);
            HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
        };
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(&self.title)
        );
        for tick in &ticks {
            let at = y(*tick);
            // Writing to a String cannot fail.
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                short(*tick)
            );
        }
        for (value, name) in self.marks(left, right) {
            let at = x(value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 17.0
            );
        }
        let below = match self.across {
            Across::Percentiles => "percentile",
            Across::Sizes(what) => what,
        };
        let _ = write!(
            svg,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{below}</text>\
             <text class=\"axis\" transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, WIDTH - RIGHT),
            HEIGHT - 7.0,
            f64::midpoint(TOP, HEIGHT - BOTTOM),
            escaped(&self.up)
        );
        for line in &self.lines {
            let colour = line.colour % COLOURS;
            let mut path = String::new();
            for (at, (px, py)) in line.points.iter().enumerate() {
                let _ = write!(path, "{}{:.1} {:.1}", if at == 0 { "M" } else { "L" }, x(*px), y(*py));
            }
            let _ = write!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"var(--c{colour})\" stroke-width=\"2\" \
                 stroke-linejoin=\"round\"><title>{}</title></path>",
                escaped(&line.name)
            );
            if line.dots {
                for (px, py) in &line.points {
                    let _ = write!(
                        svg,
                        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"var(--c{colour})\"><title>{}: {}</title></circle>",
                        x(*px),
                        y(*py),
                        escaped(&line.name),
                        three(*py)
                    );
                }
            }
        }
        svg.push_str("</svg>");
        Some(svg)
    }

    /// Where the abscissa is marked.
    fn marks(&self, left: f64, right: f64) -> Vec<(f64, String)> {
        match self.across {
            Across::Percentiles => {
                let names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"];
                let whole = names.iter().enumerate().map(|(at, name)| (at as f64, (*name).to_owned()));
                let half = std::iter::once((2.0_f64.log10(), "50 %".to_owned()));
                whole.chain(half).filter(|(at, _)| *at <= right).collect()
            }
            Across::Sizes(_) => (0..10)
                .map(f64::from)
                .filter(|at| (left - 0.01..=right + 0.01).contains(at))
                .map(|at| (at, short(10_f64.powf(at))))
                .collect(),
        }
    }
}

/// 1, 2 and 5 times the powers of ten that enclose both; powers alone when they are far apart.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (high / low).log10();
    let steps: &[f64] = if decades > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let from = low.log10().floor() as i32;
    let to = high.log10().ceil() as i32 + 1;
    let all: Vec<f64> =
        (from..=to).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power))).collect();
    let first = all.iter().rposition(|tick| *tick <= low * 1.000_001).unwrap_or(0);
    let last = all.iter().position(|tick| *tick >= high * 0.999_999).unwrap_or(all.len() - 1);
    let last = last.max(first + 1).min(all.len() - 1);
    all.get(first..=last).unwrap_or_default().to_vec()
}

/// 1,500 as `1.5k`: for marks.
fn short(value: f64) -> String {
    let trimmed = |value: f64, unit: &str| {
        let text = format!("{value:.2}");
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match value {
        v if v >= 1e6 => trimmed(v / 1e6, "M"),
        v if v >= 1e3 => trimmed(v / 1e3, "k"),
        v => trimmed(v, ""),
    }
}

/// Bars, the longest the widest; each with its range.
#[must_use]
pub fn bars(title: &str, unit: &str, bars: &[(String, usize, Spread)]) -> Option<String> {
    let most = bars.iter().map(|(_, _, spread)| spread.high).reduce(f64::max).filter(|most| *most > 0.0)?;
    const ROW: f64 = 30.0;
    const NAMES: f64 = 190.0;
    const FIGURES: f64 = 110.0;
    let height = ROW * bars.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg class=\"bars\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        escaped(title)
    );
    let length = |value: f64| value.max(0.0) / most * (WIDTH - NAMES - FIGURES);
    for (at, (name, colour, spread)) in bars.iter().enumerate() {
        let top = ROW * at as f64 + 6.0;
        let middle = top + ROW / 2.0 - 4.0;
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" class=\"name\">{}</text>\
             <rect x=\"{NAMES}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"var(--c{})\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" class=\"name\">{} {unit}</text>",
            NAMES - 8.0,
            middle + 4.0,
            escaped(name),
            length(spread.median).max(1.0),
            ROW - 10.0,
            colour % COLOURS,
            NAMES + length(spread.high) + 8.0,
            middle + 4.0,
            if spread.median >= 100.0 { grouped(spread.median, 0) } else { three(spread.median) }
        );
        if spread.count > 1 {
            let (low, high) = (NAMES + length(spread.low), NAMES + length(spread.high));
            let _ = write!(
                svg,
                "<path class=\"range\" d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8\"/>",
                middle - 4.0,
                middle - 4.0
            );
        }
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// Text that may stand in XML and HTML.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_where_they_belong() {
        let buckets: Vec<(u64, u64)> = (1..=1000).map(|value| (value * 1000, 1)).collect();
        let points = percentiles(&Latency { buckets, ..Latency::default() });
        let at = |p: f64| {
            let x = -(1.0 - p).log10();
            points.iter().min_by(|a, b| (a.0 - x).abs().total_cmp(&(b.0 - x).abs())).unwrap().1
        };
        assert!((at(0.5) - 500.0).abs() < 15.0 && (at(0.99) - 990.0).abs() < 3.0);
        assert_eq!(points.last().unwrap(), &(3.0, 1000.0));
        assert!(points.len() < 300, "{}", points.len());
        assert!(percentiles(&Latency::default()).is_empty());
    }

    #[test]
    fn marks_enclose_the_values() {
        assert_eq!(ticks(30.0, 90.0), [20.0, 50.0, 100.0]);
        assert_eq!(ticks(100.0, 100.0), [100.0, 200.0]);
        assert_eq!(ticks(3.0, 40_000.0).len(), 6);
        assert_eq!([short(1500.0), short(2e6), short(0.5), short(20.0)], ["1.5k", "2M", "0.5", "20"]);
    }

    #[test]
    fn nothing_to_draw_is_nothing() {
        let plot = |points| Plot {
            title: "a & b".into(),
            across: Across::Percentiles,
            up: "µs".into(),
            lines: vec![Line { name: "<x>".into(), colour: 9, points, dots: true }],
        };
        assert!(plot(Vec::new()).svg().is_none());
        let svg = plot(vec![(0.0, 10.0), (1.0, 20.0)]).svg().unwrap();
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;x&gt;") && svg.contains("var(--c1)"), "{svg}");
        assert!(!svg.contains("NaN") && svg.ends_with("</svg>"));
        assert!(bars("none", "µs", &[]).is_none());
    }
}
