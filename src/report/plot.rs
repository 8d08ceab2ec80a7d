//! Plots of characters.

use std::fmt::Write as _;

/// Columns and rows of a plot, axes aside.
const WIDTH: usize = 76;
const HEIGHT: usize = 11;

/// Cumulative distributions, one curve a level, drawn with the level's digit
/// (letters from 10 on): across goes the current in uA, from below to above
/// all; up goes the share of cells below it. `curves` have values in ascending
/// order, at least one each.
pub(super) fn cumulative(curves: &[(u16, &[f32])]) -> String {
    let top = curves.iter().filter_map(|(_, values)| values.last()).copied().fold(0f32, f32::max);
    let top = if top > 0.0 { f64::from(top) * 1.02 } else { 1.0 };
    let mut rows = vec![vec![' '; WIDTH]; HEIGHT];
    for (level, values) in curves {
        let mark = char::from_digit(u32::from(level % 36), 36).unwrap_or('*');
        let mut before = None;
        for column in 0..WIDTH {
            let current = top * (column as f64 + 0.5) / WIDTH as f64;
            let n_below = values.partition_point(|&value| f64::from(value) <= current);
            let share = n_below as f64 / values.len().max(1) as f64;
            let height = (share * (HEIGHT - 1) as f64).round_ties_even() as usize;
            // Where it stands still at an end there is nothing to see.
            let from = before.unwrap_or(0);
            if height != from || (height > 0 && height < HEIGHT - 1) {
                for row in rows.iter_mut().take(height + 1).skip(from.min(height)) {
                    row[column] = mark;
                }
            }
            before = Some(height);
        }
    }
    let mut text = String::new();
    for (height, row) in rows.iter().enumerate().rev() {
        let line: String = row.iter().collect();
        // Writing to a string cannot fail.
        let percent = 100 * height / (HEIGHT - 1);
        let _ = writeln!(text, "{percent:>4} % |{}", line.trim_end());
    }
    let _ = writeln!(text, "       +{}", "-".repeat(WIDTH));
    let right = format!("{top:.2} uA");
    let _ = writeln!(text, "        0{right:>width$}", width = WIDTH - 1);
    text
}

#[cfg(test)]
mod tests {
    //! Curves rise from left to right, each with its own mark.

    use super::*;

    #[test]
    fn a_higher_level_lies_further_right() {
        let (low, high) = (vec![1.0f32; 10], vec![3.0f32; 10]);
        let text = cumulative(&[(0, &low), (7, &high)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), HEIGHT + 2);
        for line in &lines[..HEIGHT] {
            let (zero, seven) = (line.rfind('0'), line.rfind('7'));
            assert!(zero < seven, "{text}");
        }
        assert!(lines[0].starts_with(" 100 % |") && text.contains("3.06 uA"), "{text}");
    }
}
