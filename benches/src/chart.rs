//! The chart of handovers: a line from p50 to p99 for each system, on a logarithmic scale.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::options::{Group, Options};
use crate::stats::{Samples, Short};
use crate::system::Row;

const LEFT: f64 = 350.0;
const RIGHT: f64 = 90.0;
const SCALE: f64 = 480.0;
const TOP: f64 = 64.0;
const LINE: f64 = 30.0;

/// One style for light and for dark pages.
const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-size: 16px; font-weight: 600 } \
.faint { fill: #59636e; font-size: 12px } .grid { stroke: #d1d9e0 } .bar { stroke: #8c959f; stroke-width: 6 } \
.dot { fill: #59636e } .ours .bar { stroke: #2da44e } .ours .dot { fill: #1a7f37 } .ours text { font-weight: 600 } \
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .faint { fill: #9198a1 } .grid { stroke: #3d444d } \
.dot { fill: #b7bdc8 } .ours .dot { fill: #56d364 } }";

/// Draws all rows with a handover, and returns the path of the file as a message. Only a full run with all systems
/// replaces the chart that is kept with the sources.
pub(crate) fn draw(rows: &[Row], options: &Options) -> Result<String> {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let whole = options.wants(Group::Handover) && options.wants(Group::Peers) && !options.quick;
    let file = benches.join(if whole { "handover.svg" } else { "target/handover.svg" });
    fs::write(&file, svg(rows))?;
    Ok(format!("Drawn: {}", file.display()))
}

fn svg(rows: &[Row]) -> String {
    let mut lines: Vec<_> = rows.iter().filter_map(|row| Some((row, row.handover.as_ref()?))).collect();
    lines.sort_by_key(|(_, handover)| handover.p50());
    let decades = Decades::around(lines.iter().map(|(_, handover)| *handover));
    let bottom = lines.iter().fold(TOP, |y, _| y + LINE);
    let (width, height) = (LEFT + SCALE + RIGHT, bottom + 34.0);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>From a release to the next holder</title>\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"12\" y=\"24\">From a release to the next holder</text>\n\
         <text class=\"faint\" x=\"12\" y=\"44\">dot: median, end of the line: 99th percentile; logarithmic scale</text>\n"
    );
    for tick in decades.ticks() {
        let x = decades.x(tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text class=\"faint\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            bottom + 20.0,
            label(tick),
        );
    }
    let mut y = TOP + LINE / 2.0;
    for (row, handover) in lines {
        svg.push_str(&line(row, handover, &decades, y));
        y += LINE;
    }
    svg.push_str("</svg>\n");
    svg
}

fn line(row: &Row, handover: &Samples, decades: &Decades, y: f64) -> String {
    let (from, to) = (decades.x(handover.p50()), decades.x(handover.p99()));
    let class = if row.system.starts_with("kube-lease-lock") { "ours" } else { "other" };
    let settings = if row.settings.is_empty() { String::new() } else { format!(", {}", row.settings) };
    let text = y + 4.5;
    format!(
        "<g class=\"{class}\"><text text-anchor=\"end\" x=\"{:.1}\" y=\"{text:.1}\">{}{}</text>\
         <line class=\"bar\" stroke-linecap=\"round\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y}\" y2=\"{y}\"/>\
         <circle class=\"dot\" r=\"6\" cx=\"{from:.1}\" cy=\"{y}\"/>\
         <text class=\"faint\" x=\"{:.1}\" y=\"{text:.1}\">{}</text></g>\n",
        LEFT - 12.0,
        escape(&row.system),
        escape(&settings),
        to + 12.0,
        Short(handover.p50()),
    )
}

/// The scale, in powers of ten.
struct Decades {
    first: i32,
    last: i32,
}

impl Decades {
    fn around<'a>(all: impl Iterator<Item = &'a Samples>) -> Self {
        let logs =
            all.flat_map(|samples| [samples.p50(), samples.p99()]).map(|time| time.as_secs_f64().log10());
        let (least, most) =
            logs.fold((0.0_f64, -2.0_f64), |(least, most), log| (least.min(log), most.max(log)));
        #[expect(clippy::cast_possible_truncation, reason = "the numbers have few digits")]
        Self { first: (least.floor() as i32).max(-6), last: most.ceil() as i32 }
    }

    fn ticks(&self) -> impl Iterator<Item = Duration> {
        (self.first..=self.last).map(|power| Duration::from_secs_f64(10_f64.powi(power)))
    }

    fn x(&self, time: Duration) -> f64 {
        let share = (time.as_secs_f64().log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        LEFT + SCALE * share
    }
}

/// Formats a power of ten.
fn label(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..1_000_000 => format!("{} ms", micros / 1_000),
        micros => format!("{} s", micros / 1_000_000),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_ordered_by_their_handovers() {
        let samples = |millis| Some([Duration::from_millis(millis)].into_iter().collect());
        let row = |system: &str, millis| Row {
            system: system.to_owned(),
            handover: samples(millis),
            ..Row::default()
        };
        let svg = svg(&[row("slow & late", 10_000), row("kube-lease-lock", 1)]);
        assert!(svg.contains(">1 ms<") && svg.contains(">10 s<"), "{svg}");
        let (ours, other) =
            (svg.find("kube-lease-lock").unwrap_or(0), svg.find("slow &amp; late").unwrap_or(0));
        assert!(0 < ours && ours < other, "{svg}");
    }
}
