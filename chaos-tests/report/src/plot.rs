//! A run as a picture (SVG): for each row a bar of how much of its budget it takes, on a log scale, with the budget as a line
//! and Docker's figures as marks.
//!
//! Pure. Less is better in every bar: where a figure shall be large the budget is divided by it. Colours are told apart by
//! people who see fewer of them (Okabe and Ito), and no meaning hangs on a colour alone: figures and verdicts are written.

use std::fmt::Write as _;

use crate::number::with_unit;
use crate::results::Run;
use crate::row::{Row, Verdict};

/// Where bars begin and end, in pixels.
const LEFT: f64 = 370.0;
const RIGHT: f64 = 720.0;
const WIDTH: f64 = 960.0;
/// Above the first bar, and beneath the last one.
const HEAD: f64 = 62.0;
const FOOT: f64 = 44.0;
/// Of one bar with its gap, and of the bar alone.
const STEP: f64 = 24.0;
const BAR: f64 = 14.0;
/// Half of a mark.
const MARK: f64 = 5.0;

const MET: &str = "#0072b2";
const BY_BEST: &str = "#e69f00";
const MISSED: &str = "#d55e00";
const INK: &str = "#222222";
const GRID: &str = "#d8d8d8";

/// One row that can be drawn.
struct Bar<'a> {
    row: &'a Row,
    share: f64,
    docker: Option<f64>,
    docker_here: Option<f64>,
}

impl<'a> Bar<'a> {
    /// `None`: the row has no budget that a figure could be a part of.
    fn of(row: &'a Row) -> Option<Self> {
        let share = |figure: Option<f64>| figure.and_then(|figure| row.share(figure));
        Some(Self {
            row,
            share: row.share(row.figure)?,
            docker: share(row.docker),
            docker_here: share(row.docker_here),
        })
    }

    fn shares(&self) -> impl Iterator<Item = f64> {
        [Some(self.share), self.docker, self.docker_here].into_iter().flatten()
    }
}

/// Powers of ten from one to another one.
#[derive(Clone, Copy)]
struct Scale {
    from: i32,
    to: i32,
}

impl Scale {
    /// Holds all shares and the budget itself, with room on both sides: the least bar is seen, too.
    fn of(bars: &[Bar<'_>]) -> Self {
        let shares = || bars.iter().flat_map(Bar::shares);
        let (least, most) = (shares().fold(1.0, f64::min), shares().fold(1.0, f64::max));
        #[expect(clippy::cast_possible_truncation, reason = "logarithms are small")]
        let power = |share: f64| share.log10().floor() as i32;
        Self { from: power(least * 0.7), to: power(most * 1.2) + 1 }
    }

    fn place(self, share: f64) -> f64 {
        let (from, to) = (f64::from(self.from), f64::from(self.to));
        LEFT + (share.log10() - from) / (to - from) * (RIGHT - LEFT)
    }
}

/// Draws a run. `None`: it has no row that can be drawn.
pub fn plot(run: &Run) -> Option<String> {
    let bars: Vec<Bar<'_>> = run.rows.iter().filter_map(Bar::of).collect();
    if bars.is_empty() {
        return None;
    }
    let scale = Scale::of(&bars);
    let count = f64::from(u32::try_from(bars.len()).unwrap_or(u32::MAX));
    let bottom = HEAD + count * STEP;
    let mut svg = String::new();
    head(&mut svg, run, bottom + FOOT);
    axis(&mut svg, scale, bottom);
    let mut top = HEAD;
    for bar in &bars {
        draw(&mut svg, bar, scale, top);
        top += STEP;
    }
    legend(&mut svg, &bars, bottom + FOOT - 10.0);
    svg += "</svg>\n";
    Some(svg)
}

fn head(svg: &mut String, run: &Run, height: f64) {
    let (group, about) = (escape(&run.group), escape(&run.machine.to_string()));
    add(
        svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             role=\"img\" aria-labelledby=\"title about\" font-family=\"system-ui, sans-serif\" font-size=\"12\">"
        ),
    );
    add(svg, format_args!("<title id=\"title\">Shoal, {group}: share of each budget</title>"));
    add(svg, format_args!("<desc id=\"about\">{about}</desc>"));
    add(svg, format_args!("<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>"));
    text(svg, (12.0, 20.0), "start", "font-size=\"15\" font-weight=\"bold\"", &group);
    text(svg, (12.0, 38.0), "start", "", &about);
}

/// A line for each power of ten, and a strong one for the budget.
fn axis(svg: &mut String, scale: Scale, bottom: f64) {
    for power in scale.from..=scale.to {
        let x = scale.place(10_f64.powi(power));
        let label = match power {
            0 => "budget".to_owned(),
            1.. => format!("{} ×", crate::number::number(10_f64.powi(power))),
            _ => format!("1/{}", crate::number::number(10_f64.powi(-power))),
        };
        let (colour, width, dashes) =
            if power == 0 { (INK, 2, " stroke-dasharray=\"5 3\"") } else { (GRID, 1, "") };
        add(
            svg,
            format_args!(
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}/>",
                HEAD - 4.0,
                bottom + 2.0
            ),
        );
        text(svg, (x, bottom + 15.0), "middle", "font-size=\"10\"", &label);
    }
}

fn draw(svg: &mut String, bar: &Bar<'_>, scale: Scale, top: f64) {
    let row = bar.row;
    let verdict = row.verdict();
    let (colour, word) = match verdict {
        Verdict::Met | Verdict::Untold => (MET, ""),
        Verdict::MetByBest => (BY_BEST, ", met by the best run"),
        Verdict::Missed => (MISSED, ", missed"),
    };
    let middle = top + STEP / 2.0;
    let end = scale.place(bar.share);
    text(svg, (LEFT - 8.0, middle + 4.0), "end", "", &escape(&row.what));
    add(
        svg,
        format_args!(
            "<rect x=\"{LEFT:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>",
            middle - BAR / 2.0,
            end - LEFT
        ),
    );
    if let Some(share) = bar.docker {
        diamond(svg, (scale.place(share), middle));
    }
    if let Some(share) = bar.docker_here {
        circle(svg, (scale.place(share), middle));
    }
    let unit = &row.unit;
    let of =
        row.budget.map_or_else(String::new, |budget| format!(" of {}", with_unit(budget, unit)));
    let said = format!("{}{of}{word}", with_unit(row.figure, unit));
    let weight = if verdict == Verdict::Missed { "font-weight=\"bold\"" } else { "" };
    text(svg, (RIGHT + 14.0, middle + 4.0), "start", weight, &escape(&said));
}

fn legend(svg: &mut String, bars: &[Bar<'_>], y: f64) {
    text(svg, (12.0, y), "start", "font-size=\"10\"", "shorter is better, log scale");
    let mut x = LEFT;
    if bars.iter().any(|bar| bar.docker.is_some()) {
        diamond(svg, (x, y - 3.5));
        let words = "Docker 29.7, quiet machine, another run";
        text(svg, (x + 10.0, y), "start", "font-size=\"10\"", words);
        x += 230.0;
    }
    if bars.iter().any(|bar| bar.docker_here.is_some()) {
        circle(svg, (x, y - 3.5));
        text(svg, (x + 10.0, y), "start", "font-size=\"10\"", "Docker 20.10 (Debian), same run");
    }
}

fn diamond(svg: &mut String, (x, y): (f64, f64)) {
    add(
        svg,
        format_args!(
            "<path d=\"M{:.1} {y:.1} L{x:.1} {:.1} L{:.1} {y:.1} L{x:.1} {:.1} Z\" fill=\"{INK}\" stroke=\"#ffffff\"/>",
            x - MARK,
            y - MARK,
            x + MARK,
            y + MARK
        ),
    );
}

fn circle(svg: &mut String, (x, y): (f64, f64)) {
    add(
        svg,
        format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{MARK}\" fill=\"#ffffff\" stroke=\"{INK}\" stroke-width=\"2\"/>"
        ),
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, more: &str, words: &str) {
    let more = if more.is_empty() { String::new() } else { format!(" {more}") };
    add(
        svg,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{INK}\"{more}>{words}</text>"
        ),
    );
}

fn add(svg: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(svg, "{line}").expect("a string takes everything");
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[path = "plot_tests.rs"]
mod tests;
