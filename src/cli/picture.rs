//! A picture of explored points: cost to the right, gain upwards, and the
//! front of those that no other beats.
//!
//! Written as SVG by hand: a few shapes need no library.

use std::fmt::Write as _;

use super::points::{Figure, Found, Point, Table, shown};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 500.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// Values along an axis, and where they are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    pub from: f64,
    pub to: f64,
}

impl Axis {
    /// An axis over some values, with room at both ends.
    pub fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let room = if high > low { (high - low) * 0.06 } else { low.abs().max(1.0) * 0.1 };
        Self { low: low - room, high: high + room, from, to }
    }

    pub fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Round values, about five of them.
    pub fn ticks(&self) -> Vec<f64> {
        let wanted = (self.high - self.low) / 5.0;
        let mut step = 1.0;
        while step > wanted {
            step /= 10.0;
        }
        while step * 10.0 <= wanted {
            step *= 10.0;
        }
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * step).into_iter().find(|s| *s >= wanted);
        let step = step.unwrap_or(wanted);
        let first = (self.low / step).ceil();
        (0..20).map(|n| (first + f64::from(n)) * step).take_while(|x| *x <= self.high).collect()
    }
}

/// The picture of a table.
pub fn svg(table: &Table, title: &str) -> String {
    let (x, y) = table.axes();
    let values = |figure: Figure| table.rows.iter().filter_map(move |(_, f)| figure.of(f));
    let across = Axis::over(values(x), LEFT, WIDTH - RIGHT);
    let up = Axis::over(values(y), HEIGHT - BOTTOM, TOP);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"16\">{}</text>\n",
        escaped(title)
    );
    frame(&mut text, (x, across), (y, up));
    let front = table.front(x, y);
    let mut best: Vec<(f64, f64)> = Vec::new();
    for ((point, found), is_best) in table.rows.iter().zip(front) {
        let Some((value_x, value_y)) = both(found, x, y) else { continue };
        let (at_x, at_y) = (across.place(value_x), up.place(value_y));
        let colour = if is_best { "#c0392b" } else { "#7f8c8d" };
        let words = escaped(&words(point, (x, value_x), (y, value_y)));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "<circle cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"4\" fill=\"{colour}\"><title>{words}</title></circle>"
        );
        if is_best {
            best.push((at_x, at_y));
            let label =
                point.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ");
            let (end, dx) = if at_x > WIDTH * 0.75 { ("end", -7.0) } else { ("start", 7.0) };
            let _ = writeln!(
                text,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{end}\">{}</text>",
                at_x + dx,
                at_y - 6.0,
                escaped(&label)
            );
        }
    }
    best.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let line: Vec<String> = best.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#c0392b\" stroke-width=\"1.5\"/>\n</svg>",
        line.join(" ")
    );
    text
}

fn both(found: &Found, x: Figure, y: Figure) -> Option<(f64, f64)> {
    Some((x.of(found)?, y.of(found)?))
}

/// Frame, ticks, names of the axes.
fn frame(text: &mut String, (x, across): (Figure, Axis), (y, up): (Figure, Axis)) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in across.ticks() {
        let at = across.place(tick);
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#e5e7e9\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            shown(tick)
        );
    }
    for tick in up.ticks() {
        let at = up.place(tick);
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#e5e7e9\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            shown(tick)
        );
    }
    let (middle_x, middle_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
    let _ = writeln!(
        text,
        "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#566573\"/>\n\
         <text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
         <text transform=\"translate(20 {middle_y}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        right - LEFT,
        bottom - TOP,
        HEIGHT - 15.0,
        x.title(),
        y.title(),
    );
}

fn words(point: &Point, (x, value_x): (Figure, f64), (y, value_y): (Figure, f64)) -> String {
    let at: Vec<String> = point.iter().map(|(path, value)| format!("{path}={value}")).collect();
    format!("{}: {} {}, {} {}", at.join(" "), x.title(), shown(value_x), y.title(), shown(value_y))
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    //! Every point is drawn, whatever its values.

    use super::*;

    #[test]
    fn points_lie_in_the_frame_and_names_are_text() {
        let row = |bits: &str, accuracy, energy_nj| {
            let point = vec![("a<b".to_string(), bits.to_string())];
            (
                point,
                Found { accuracy: Some(accuracy), energy_nj: Some(energy_nj), ..Found::default() },
            )
        };
        let table =
            Table { rows: vec![row("1", 50.0, 2.0), row("2", 60.0, 3.0), row("3", 55.0, 4.0)] };
        let text = svg(&table, "a & b");
        assert_eq!(text.matches("<circle").count(), 3);
        assert_eq!(text.matches("#c0392b\"><title>").count(), 2);
        assert!(text.contains("a &amp; b") && text.contains("a&lt;b=1") && !text.contains("a<b"));
        let alike = Table { rows: vec![row("1", 50.0, 2.0)] };
        assert!(!svg(&alike, "").contains("NaN"));
        assert!(!svg(&Table { rows: vec![] }, "").contains("NaN"));
    }
}
