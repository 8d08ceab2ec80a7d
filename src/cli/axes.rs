//! Axes of pictures: values and where they are drawn, frames and ticks.
//!
//! Pictures are SVG written by hand: a few shapes need no library.

use std::fmt::Write as _;

const GRID: &str = "#e5e7e9";
const FRAME: &str = "#566573";

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

/// A frame with its ticks.
pub(super) struct Panel<'a> {
    pub across: Axis,
    pub up: Axis,
    /// What stands at ticks below, and on the left.
    pub shown: [fn(f64) -> String; 2],
    /// How far below the frame that stands.
    pub drop: f64,
    /// Name of the axis upwards.
    pub name: &'a str,
}

impl Panel<'_> {
    /// Adds it to a picture.
    pub fn draw(&self, text: &mut String) {
        let (left, right) = (self.across.from, self.across.to);
        let (top, bottom) = (self.up.to, self.up.from);
        for tick in self.across.ticks() {
            let at = self.across.place(tick);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"{GRID}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + self.drop,
                self.shown[0](tick)
            );
        }
        for tick in self.up.ticks() {
            let at = self.up.place(tick);
            let _ = writeln!(
                text,
                "<line x1=\"{left}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"{GRID}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 8.0,
                at + 4.0,
                self.shown[1](tick)
            );
        }
        let middle = (top + bottom) / 2.0;
        let _ = writeln!(
            text,
            "<rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"{FRAME}\"/>\n\
             <text transform=\"translate(20 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            right - left,
            bottom - top,
            self.name,
        );
    }
}

/// Begins a picture of this size, its title above the left end of its frames.
pub(super) fn begun(title: &str, (width, height): (f64, f64), left: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"28\" font-size=\"16\">{}</text>\n",
        escaped(title)
    )
}

/// Words that mean nothing but themselves.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
