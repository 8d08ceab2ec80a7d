//! The picture of a training: accuracy above, loss below, batch by batch.

use std::fmt::Write as _;

use ohmc::tuning::{Score, Session};

use super::axes::{Axis, Panel, begun};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 600.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;

/// Top and bottom of both panels.
const PANELS: [(f64, f64); 2] = [(50.0, 290.0), (330.0, 550.0)];

const BATCHES: &str = "#95a5a6";
const HELD_OUT: &str = "#c0392b";

/// The picture of a session.
pub fn svg(title: &str, session: &Session<'_>) -> String {
    let batches: Vec<(f64, Score)> =
        (0u32..).zip(session.batches()).map(|(nth, b)| (f64::from(nth), b.score)).collect();
    // A session has far fewer batches than 2^53.
    let looks: Vec<(f64, Score)> =
        session.looks().iter().map(|look| (look.after as f64, look.score)).collect();
    drawn(title, &batches, &looks)
}

fn drawn(title: &str, batches: &[(f64, Score)], looks: &[(f64, Score)]) -> String {
    let mut text = begun(title, (WIDTH, HEIGHT), LEFT);
    let numbers = || batches.iter().chain(looks).map(|(number, _)| *number);
    let across = Axis::over(numbers(), LEFT, WIDTH - RIGHT);
    for (name, (top, bottom)) in ["right in %", "loss"].into_iter().zip(PANELS) {
        let figure = |score: &Score| match name {
            "loss" => score.mean_loss(),
            _ => score.accuracy(),
        };
        let values = batches.iter().chain(looks).map(|(_, score)| figure(score));
        let up = Axis::over(values, bottom, top);
        let whole = |tick| format!("{tick:.0}");
        Panel { across, up, shown: [whole, shown], drop: 16.0, name }.draw(&mut text);
        for (points, colour, width) in [(batches, BATCHES, 1.0), (looks, HELD_OUT, 2.0)] {
            let place = |(number, score): &(f64, Score)| {
                format!("{:.1},{:.1}", across.place(*number), up.place(figure(score)))
            };
            let points: Vec<String> = points.iter().map(place).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
                points.join(" ")
            );
        }
    }
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    let _ = writeln!(
        text,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">batches: \
         <tspan fill=\"{BATCHES}\">each on its own samples</tspan>, \
         <tspan fill=\"{HELD_OUT}\">what is held out</tspan></text>\n</svg>",
        HEIGHT - 12.0
    );
    text
}

/// A tick without the digits that its step makes up.
fn shown(tick: f64) -> String {
    let text = format!("{tick:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    //! Every batch and every look is drawn, within the frame.

    use super::*;

    #[test]
    fn all_points_lie_in_their_panels() {
        let score = |n_right, loss| Score { n: 100, n_right, loss };
        let batches: Vec<(f64, Score)> = (0..20)
            .map(|nth| (f64::from(nth), score(50 + nth as u64, 80.0 - f64::from(nth))))
            .collect();
        let looks = [(0.0, score(40, 90.0)), (20.0, score(75, 50.0))];
        let text = drawn("a < b", &batches, &looks);
        let lines: Vec<&str> =
            text.split("points=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(lines.iter().map(|l| l.split(' ').count()).collect::<Vec<_>>(), [20, 2, 20, 2]);
        for (line, (top, bottom)) in lines.iter().zip([PANELS[0], PANELS[0], PANELS[1], PANELS[1]])
        {
            for point in line.split(' ') {
                let (x, y) = point.split_once(',').unwrap_or_default();
                let (x, y): (f64, f64) = (x.parse().unwrap_or(0.0), y.parse().unwrap_or(0.0));
                assert!(
                    (LEFT..=WIDTH - RIGHT).contains(&x) && (top..=bottom).contains(&y),
                    "{point}"
                );
            }
        }
        assert!(text.contains("a &lt; b"));
        assert!(!drawn("", &[], &[]).contains("NaN"));
    }
}
