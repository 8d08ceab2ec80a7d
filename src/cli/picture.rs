//! A picture of explored points: cost to the right, gain upwards, and the
//! front of those that no other beats.

use std::fmt::Write as _;

use super::axes::{Axis, Panel, begun, escaped};
use super::points::{Figure, Found, Point, Table, shown};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 500.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// The picture of a table.
pub fn svg(table: &Table, title: &str) -> String {
    let (x, y) = table.axes();
    let values = |figure: Figure| table.rows.iter().filter_map(move |(_, f)| figure.of(f));
    let across = Axis::over(values(x), LEFT, WIDTH - RIGHT);
    let up = Axis::over(values(y), HEIGHT - BOTTOM, TOP);
    let mut text = begun(title, (WIDTH, HEIGHT), LEFT);
    Panel { across, up, shown: [shown, shown], drop: 18.0, name: y.title() }.draw(&mut text);
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 15.0,
        x.title()
    );
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

fn words(point: &Point, (x, value_x): (Figure, f64), (y, value_y): (Figure, f64)) -> String {
    let at: Vec<String> = point.iter().map(|(path, value)| format!("{path}={value}")).collect();
    format!("{}: {} {}, {} {}", at.join(" "), x.title(), shown(value_x), y.title(), shown(value_y))
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
