//! Lines over time, as SVG that stands in a page: no script, colours by the page's style.

use std::fmt::Write as _;
use std::ops::Range;

/// One chart.
pub struct Chart<'a> {
    pub title: &'a str,
    /// The unit that stands behind figures: ` %`, ` ms`.
    pub unit: &'a str,
    pub series: Vec<Series<'a>>,
    /// A line to hold against, with its name.
    pub limit: Option<(f64, &'a str)>,
    /// Times in which something was wrong, by number of points, with what it was.
    pub bands: &'a [(Range<usize>, String)],
    /// The first point's time of the day, in minutes; a point is a minute.
    pub begins: u32,
}

/// One line. What is not finite is a gap.
pub struct Series<'a> {
    pub name: &'a str,
    /// Into the page's colours.
    pub color: usize,
    pub values: Vec<f64>,
}

/// The page has so many colours.
pub const COLORS: usize = 8;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;
/// The scale goes up to this at least: below it a figure is next to nothing, in whatever unit, and is drawn as such.
const LEAST_SCALE: f64 = 0.1;
/// More points than the chart is wide are drawn as the highest of each run.
const MOST_POINTS: usize = 720;

impl Chart<'_> {
    /// The whole figure, with its title and legend.
    pub fn render(&self) -> String {
        let mut text = format!("<figure><figcaption>{}</figcaption>\n", escaped(self.title));
        text += &self.legend();
        let label = escaped(self.title);
        let _ = writeln!(text, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">");
        text += &self.bands();
        text += &self.grid();
        for series in &self.series {
            text += &self.line(series);
        }
        text += "</svg></figure>\n";
        text
    }

    fn legend(&self) -> String {
        if self.series.len() < 2 {
            return String::new();
        }
        let item = |series: &Series<'_>| {
            format!("<span><i class=\"{}\"></i>{}</span>", class(series.color), escaped(series.name))
        };
        format!("<p class=\"legend\">{}</p>\n", self.series.iter().map(item).collect::<String>())
    }

    fn points(&self) -> usize {
        self.series.iter().map(|series| series.values.len()).max().unwrap_or(0)
    }

    /// The end of the scale, and the distance of its lines.
    fn scale(&self) -> (f64, f64) {
        let values = self.series.iter().flat_map(|series| &series.values).copied().filter(|value| value.is_finite());
        let highest = values.fold(self.limit.map_or(0.0, |(limit, _)| limit * 1.05), f64::max);
        let highest = highest.max(LEAST_SCALE);
        let rough = highest / 4.0;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        ((highest / step).ceil().max(1.0) * step, step)
    }

    fn x(&self, point: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * point / (self.points().max(2) - 1) as f64
    }

    fn y(&self, value: f64) -> f64 {
        let (end, _) = self.scale();
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (value / end).clamp(0.0, 1.0))
    }

    fn bands(&self) -> String {
        let band = |(minutes, what): &(Range<usize>, String)| {
            let (from, until) = (self.x(minutes.start as f64), self.x(minutes.end.min(self.points()) as f64));
            let (width, height) = ((until.min(WIDTH - RIGHT) - from).max(1.0), HEIGHT - TOP - BOTTOM);
            let what = escaped(what);
            format!(
                "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"><title>{what}</title></rect>\n"
            )
        };
        self.bands.iter().filter(|(minutes, _)| minutes.start < self.points()).map(band).collect()
    }

    fn grid(&self) -> String {
        let mut text = String::new();
        let (end, step) = self.scale();
        for value in (0..).map(|line| f64::from(line) * step).take_while(|value| *value <= end + step / 2.0) {
            let y = self.y(value);
            let right = WIDTH - RIGHT;
            let _ = writeln!(text, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
            let (x, y, value, unit) = (LEFT - 6.0, y + 4.0, label(value, step), self.unit);
            let _ = writeln!(text, "<text class=\"at-y\" x=\"{x}\" y=\"{y:.1}\">{value}{unit}</text>");
        }
        if let Some((limit, name)) = self.limit {
            let (y, right) = (self.y(limit), WIDTH - RIGHT);
            let _ = writeln!(
                text,
                "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"><title>{}</title></line>",
                escaped(name)
            );
        }
        text + &self.times()
    }

    fn times(&self) -> String {
        let minutes = self.points();
        let steps = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720];
        let step = steps.into_iter().find(|step| minutes / step <= 12).unwrap_or(1440);
        let first = (self.begins as usize).next_multiple_of(step) - self.begins as usize;
        let label = |minute: usize| {
            let (x, of_day) = (self.x(minute as f64), (self.begins as usize + minute) % 1440);
            let y = HEIGHT - 6.0;
            format!("<text class=\"at-x\" x=\"{x:.1}\" y=\"{y}\">{:02}:{:02}</text>\n", of_day / 60, of_day % 60)
        };
        (first..minutes).step_by(step).map(label).collect()
    }

    fn line(&self, series: &Series<'_>) -> String {
        let run = series.values.len().div_ceil(MOST_POINTS).max(1);
        let mut path = String::new();
        let mut drawing = false;
        for (index, values) in series.values.chunks(run).enumerate() {
            let highest = values.iter().copied().filter(|value| value.is_finite()).fold(f64::NEG_INFINITY, f64::max);
            if highest.is_finite() {
                let (x, y) = (self.x((index * run) as f64), self.y(highest));
                let _ = write!(path, "{}{x:.1} {y:.1}", if drawing { "L" } else { "M" });
            }
            drawing = highest.is_finite();
        }
        let (class, name) = (class(series.color), escaped(series.name));
        format!("<path class=\"{class}\" d=\"{path}\"><title>{name}</title></path>\n")
    }
}

/// A figure at a line of the scale, as exact as the distance of the lines asks for: `0.05`, `20`, `1.5M`.
fn label(value: f64, step: f64) -> String {
    let thousands = [(1e12, "T"), (1e9, "G"), (1e6, "M")];
    let (unit, letter) = thousands.into_iter().find(|(unit, _)| step * 2.0 >= *unit).unwrap_or((1.0, ""));
    let decimals = (-(step / unit).log10()).ceil().max(0.0) as usize;
    format!("{:.decimals$}{letter}", value / unit)
}

/// Colours come round again, dashed.
fn class(color: usize) -> String {
    let dashed = if color >= COLORS { " dashed" } else { "" };
    format!("c{}{dashed}", color % COLORS)
}

/// Text as it may stand in HTML and in its attributes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: Vec<f64>) -> Chart<'static> {
        let series = vec![Series { name: "a<b", color: 9, values }];
        Chart { title: "T & t", unit: "%", series, limit: Some((100.0, "full")), bands: &[], begins: 23 * 60 }
    }

    #[test]
    fn a_gap_breaks_the_line() {
        let svg = chart(vec![1.0, 2.0, f64::INFINITY, 3.0, f64::NAN, 4.0]).render();
        let line = svg.lines().find(|line| line.starts_with("<path")).expect("a line");
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (3, 1), "{line}");
        assert!(line.contains("c1 dashed") && line.contains("a&lt;b"), "{line}");
        assert!(svg.contains("T &amp; t") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn the_scale_holds_every_value_and_the_limit() {
        assert_eq!(chart(vec![3.0]).scale(), (150.0, 50.0));
        assert_eq!(chart(vec![180.0]).scale(), (200.0, 50.0));
        let bare = Chart { limit: None, ..chart(vec![0.0]) };
        assert_eq!(bare.scale().0, 0.1, "nothing is drawn against a tenth");
        assert_eq!(Chart { limit: None, ..chart(vec![4e-7]) }.scale().0, 0.1);
    }

    #[test]
    fn labels_differ_and_fit_however_small_or_large_the_values() {
        for highest in [0.0, 1e-12, 4e-7, 0.003, 0.07, 0.3, 1.0, 86.0, 9_999.0, 98_765.0, 4e6, 123_456_789.0, 8e12] {
            let svg = Chart { unit: " ms", limit: None, ..chart(vec![0.0, highest, highest / 3.0]) }.render();
            let labels: Vec<&str> = svg
                .lines()
                .filter(|line| line.contains("at-y"))
                .filter_map(|line| line.split('>').nth(1)?.split('<').next())
                .collect();
            let distinct: std::collections::BTreeSet<&&str> = labels.iter().collect();
            assert!(labels.len() > 2 && distinct.len() == labels.len(), "{highest}: {labels:?}");
            assert!(labels.iter().all(|label| label.len() <= 9), "{highest}: {labels:?} are cut off");
        }
    }

    #[test]
    fn nothing_at_all_is_drawn_too() {
        assert!(chart(Vec::new()).render().contains("<svg"));
    }

    #[test]
    fn a_long_time_is_drawn_with_few_points() {
        let mut values = vec![1.0; 4320];
        values[1001] = 99.0;
        let svg = Chart { limit: None, ..chart(values) }.render();
        assert!(svg.len() < 20_000, "{}", svg.len());
        let highest = format!("L{:.1} ", LEFT + (WIDTH - LEFT - RIGHT) * 996.0 / 4319.0);
        assert!(svg.contains(&highest), "the peak is there: {highest}");
    }
}
